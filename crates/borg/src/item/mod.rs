//! Items: what an archive holds about one object of a file system.

mod acl;
mod convert;
mod read;
mod reader;
mod write;

use std::collections::BTreeMap;

use bstr::BString;

use crate::Id;
use crate::msgpack::Others;

pub use convert::{BadItem, ItemOptions};
pub(crate) use read::read_chunks;
pub use reader::ItemReader;

/// One object of a file system, in Borg's words.
///
/// Texts are bytes, as the file system has them. A field that is `None` is absent, except for
/// `user` and `group`, which are there and say "unknown".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item {
    /// Where it stands, relative. As written by whoever made the archive: it may be absolute or
    /// lead upwards, so nothing may be written there before [`Item::to_entry`] has checked it.
    pub path: BString,
    /// Kind and permissions, as `stat` gives them.
    pub mode: u32,
    /// Number of the owner.
    pub uid: Option<u32>,
    /// Number of the group.
    pub gid: Option<u32>,
    /// Name of the owner, if it was known.
    pub user: Option<BString>,
    /// Name of the group, if it was known.
    pub group: Option<BString>,
    /// When the content changed.
    pub mtime: tree::Time,
    /// When content or metadata changed.
    pub ctime: Option<tree::Time>,
    /// When it was read.
    pub atime: Option<tree::Time>,
    /// When it was created, where the system tells.
    pub birthtime: Option<tree::Time>,
    /// Bytes of content.
    pub size: Option<u64>,
    /// The content. A regular file has a list, if need be an empty one, unless it is a further
    /// name of another.
    pub chunks: Option<Vec<ChunkRef>>,
    /// What `chunks` were before a repair put zeros in the place of missing ones.
    pub chunks_healthy: Option<Vec<ChunkRef>>,
    /// Target of a symbolic link; for other kinds the path of the item whose object this is a
    /// further name of.
    pub source: Option<BString>,
    /// Whether later items may be further names of this object.
    pub hardlink_master: Option<bool>,
    /// Number of a device.
    pub rdev: Option<u64>,
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Access ACL in Borg's text form: see the formats documentation.
    pub acl_access: Option<BString>,
    /// Default ACL of a directory, in the same form.
    pub acl_default: Option<BString>,
    /// Inode flags, in the numbers of BSD. Absent when there are none.
    pub bsdflags: Option<u64>,
    /// This is the part of so high a number of a file that a checkpoint interrupted; the file
    /// itself follows. Such items are not shown.
    pub part: Option<u64>,
    /// What else there is, by key. Values are in MessagePack, as they were read.
    pub others: Others,
}

/// A piece of the content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    /// What it is stored under.
    pub id: Id,
    /// Plain bytes.
    pub size: u32,
    /// Bytes of the stored object, with all headers of it. 0 where a cache did not know.
    pub csize: u32,
}

/// All keys that items of Borg 1.x have.
///
/// Source: `ITEM_KEYS` in Borg 1.4's `constants.py`.
pub const ITEM_KEYS: [&str; 23] = [
    "acl_access",
    "acl_default",
    "acl_extended",
    "acl_nfs4",
    "atime",
    "birthtime",
    "bsdflags",
    "chunks",
    "chunks_healthy",
    "ctime",
    "gid",
    "group",
    "hardlink_master",
    "mode",
    "mtime",
    "part",
    "path",
    "rdev",
    "size",
    "source",
    "uid",
    "user",
    "xattrs",
];

impl Item {
    /// Keys of this item that items of Borg 1.x do not have.
    pub fn unknown_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.others
            .keys()
            .map(Vec::as_slice)
            .filter(|key| !ITEM_KEYS.iter().any(|known| known.as_bytes() == *key))
    }

    /// Bytes of content: what `size` says, or else the sum of the chunks.
    #[must_use]
    pub fn content_size(&self) -> u64 {
        self.size.unwrap_or_else(|| {
            let chunks = self.chunks.iter().flatten();
            chunks.map(|chunk| u64::from(chunk.size)).sum()
        })
    }
}
