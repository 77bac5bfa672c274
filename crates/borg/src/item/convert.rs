//! Between items and entries of a tree.

use std::sync::Arc;

use bstr::{BString, ByteSlice};
use tree::{BadPath, DeviceNumber, Entry, EntryKind, Flags, Owner, TreePath};

use super::{Item, acl};

/// What of an entry goes into an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ItemOptions {
    /// Leave the names of owners out: `--numeric-ids`.
    pub numeric_ids: bool,
    /// Keep the time of the last access: `--atime`.
    pub atime: bool,
    /// Keep the time of the last change: off with `--noctime`.
    pub ctime: bool,
    /// Keep inode flags: off with `--noflags`.
    pub flags: bool,
    /// Keep ACLs: off with `--noacls`.
    pub acls: bool,
    /// Keep extended attributes: off with `--noxattrs`.
    pub xattrs: bool,
}

/// As the stock program does without options.
impl Default for ItemOptions {
    fn default() -> Self {
        Self {
            numeric_ids: false,
            atime: false,
            ctime: true,
            flags: true,
            acls: true,
            xattrs: true,
        }
    }
}

/// Why an item cannot be restored as an entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadItem {
    /// Its path leads out of the tree.
    #[error("the path is not a safe one")]
    Path(#[from] BadPath),
    /// The path of the item that it is a further name of leads out of the tree.
    #[error("the path of the hard link's source is not a safe one")]
    HardLink(#[source] BadPath),
    /// It is of no kind that a file system has.
    #[error("mode {mode:#o} is of no known kind")]
    Kind {
        /// The mode.
        mode: u32,
    },
    /// A symbolic link without a target.
    #[error("a symbolic link without a target")]
    NoTarget,
}

/// Kinds of objects in a mode (`S_IFMT` and its values in `stat.h`).
mod kind {
    pub(super) const MASK: u32 = 0o170_000;
    pub(super) const SOCKET: u32 = 0o140_000;
    pub(super) const SYMLINK: u32 = 0o120_000;
    pub(super) const FILE: u32 = 0o100_000;
    pub(super) const BLOCK_DEVICE: u32 = 0o060_000;
    pub(super) const DIRECTORY: u32 = 0o040_000;
    pub(super) const CHAR_DEVICE: u32 = 0o020_000;
    pub(super) const FIFO: u32 = 0o010_000;
}

/// Inode flags in BSD's numbers (`sys/stat.h` of the BSDs).
mod bsd {
    pub(super) const NO_DUMP: u64 = 1;
    pub(super) const IMMUTABLE: u64 = 2;
    pub(super) const APPEND: u64 = 4;
}

impl Item {
    /// The item of an entry; the chunks of a regular file have to be added.
    ///
    /// `None` for a socket: archives do not hold them.
    #[must_use]
    pub fn from_entry(entry: &Entry, options: ItemOptions) -> Option<Self> {
        let (kind, rdev, target) = match &entry.kind {
            EntryKind::File => (kind::FILE, None, None),
            EntryKind::Directory => (kind::DIRECTORY, None, None),
            EntryKind::Symlink { target } => (kind::SYMLINK, None, Some(target)),
            EntryKind::Fifo => (kind::FIFO, None, None),
            EntryKind::CharDevice(number) => (kind::CHAR_DEVICE, Some(rdev(*number)), None),
            EntryKind::BlockDevice(number) => (kind::BLOCK_DEVICE, Some(rdev(*number)), None),
            EntryKind::Socket => return None,
        };
        // A symbolic link's source is its target, so that it cannot be a further name.
        let can_be_linked = !matches!(kind, kind::DIRECTORY | kind::SYMLINK);
        let hard_link = entry.hard_link.as_ref().filter(|_| can_be_linked);
        let name = |name: &Option<Arc<str>>| {
            let name = name.as_ref().filter(|_| !options.numeric_ids);
            name.map(|name| BString::from(name.as_bytes()))
        };
        let acl = |acl: &Option<tree::Acl>| {
            let acl = acl.as_ref().filter(|_| options.acls);
            acl.map(|acl| acl::to_text(acl, options.numeric_ids))
        };
        Some(Self {
            path: path_text(&entry.path),
            mode: kind | (entry.mode & 0o7777),
            uid: Some(entry.owner.uid),
            gid: Some(entry.owner.gid),
            user: name(&entry.owner.user),
            group: name(&entry.owner.group),
            mtime: entry.mtime,
            ctime: options.ctime.then_some(entry.ctime),
            atime: options.atime.then_some(entry.atime),
            birthtime: None,
            size: None,
            chunks: None,
            chunks_healthy: None,
            source: match target {
                Some(target) => Some(target.clone().into()),
                None => hard_link.map(|first| path_text(first)),
            },
            hardlink_master: (can_be_linked && hard_link.is_none()).then_some(entry.links > 1),
            rdev,
            xattrs: match options.xattrs {
                true => entry.xattrs.clone(),
                false => Default::default(),
            },
            acl_access: acl(&entry.acl_access),
            acl_default: acl(&entry.acl_default),
            bsdflags: options
                .flags
                .then(|| bsd_flags(entry.flags))
                .filter(|&flags| flags != 0),
            part: None,
            others: Default::default(),
        })
    }

    /// The entry that this item was made of, ready to be restored.
    ///
    /// An ACL that makes no sense is left out.
    ///
    /// # Errors
    ///
    /// [`BadItem`]; nothing of such an item may be restored.
    pub fn to_entry(&self) -> Result<Entry, BadItem> {
        let device = DeviceNumber {
            major: rustix::fs::major(self.rdev.unwrap_or(0)),
            minor: rustix::fs::minor(self.rdev.unwrap_or(0)),
        };
        let kind = match self.mode & kind::MASK {
            kind::FILE => EntryKind::File,
            kind::DIRECTORY => EntryKind::Directory,
            kind::SYMLINK => EntryKind::Symlink {
                target: self.source.as_ref().ok_or(BadItem::NoTarget)?.to_vec(),
            },
            kind::FIFO => EntryKind::Fifo,
            kind::SOCKET => EntryKind::Socket,
            kind::CHAR_DEVICE => EntryKind::CharDevice(device),
            kind::BLOCK_DEVICE => EntryKind::BlockDevice(device),
            _ => return Err(BadItem::Kind { mode: self.mode }),
        };
        let source = match kind {
            EntryKind::Symlink { .. } | EntryKind::Directory => None,
            _ => self.source.as_ref(),
        };
        let hard_link = source
            .map(|source| TreePath::new(source).map(Arc::new))
            .transpose()
            .map_err(BadItem::HardLink)?;
        let linked = hard_link.is_some() || self.hardlink_master == Some(true);
        let name = |name: &Option<BString>| Some(name.as_ref()?.to_str().ok()?.into());
        let acl = |text: &Option<BString>| text.as_ref().and_then(|text| acl::from_text(text));
        Ok(Entry {
            path: TreePath::new(&self.path)?,
            size: match kind {
                EntryKind::File if hard_link.is_none() => self.content_size(),
                _ => 0,
            },
            kind,
            mode: self.mode & 0o7777,
            owner: Owner {
                uid: self.uid.unwrap_or(0),
                gid: self.gid.unwrap_or(0),
                user: name(&self.user),
                group: name(&self.group),
            },
            mtime: self.mtime,
            ctime: self.ctime.unwrap_or(self.mtime),
            atime: self.atime.unwrap_or(self.mtime),
            device: 0,
            inode: 0,
            links: if linked { 2 } else { 1 },
            hard_link,
            xattrs: self.xattrs.clone(),
            acl_access: acl(&self.acl_access),
            acl_default: acl(&self.acl_default),
            flags: flags(self.bsdflags.unwrap_or(0)),
        })
    }
}

/// The root of a tree is stored as the folder itself.
fn path_text(path: &TreePath) -> BString {
    match path.is_root() {
        true => ".".into(),
        false => path.as_bytes().into(),
    }
}

fn rdev(number: DeviceNumber) -> u64 {
    rustix::fs::makedev(number.major, number.minor)
}

fn bsd_flags(flags: Flags) -> u64 {
    let bit = |set: bool, number| if set { number } else { 0 };
    bit(flags.no_dump, bsd::NO_DUMP)
        | bit(flags.immutable, bsd::IMMUTABLE)
        | bit(flags.append_only, bsd::APPEND)
}

fn flags(bsd: u64) -> Flags {
    Flags {
        no_dump: bsd & bsd::NO_DUMP != 0,
        immutable: bsd & bsd::IMMUTABLE != 0,
        append_only: bsd & bsd::APPEND != 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tree::{Acl, AclEntry, AclWho, Time};

    use super::*;
    use crate::ItemReader;

    fn entry(kind: EntryKind) -> Entry {
        Entry {
            path: TreePath::new(b"a/\xff").unwrap(),
            kind,
            mode: 0o4751,
            owner: Owner {
                uid: 1000,
                gid: 100,
                user: Some("ada".into()),
                group: None,
            },
            mtime: Time { nanoseconds: 3 },
            ctime: Time { nanoseconds: 2 },
            atime: Time { nanoseconds: 1 },
            size: 0,
            device: 0,
            inode: 0,
            links: 1,
            hard_link: None,
            xattrs: [(b"user.a".to_vec(), vec![]), (b"user.b".to_vec(), vec![1])].into(),
            acl_access: Some(Acl {
                entries: vec![AclEntry {
                    who: AclWho::User(7, Some("eve".into())),
                    permissions: 5,
                }],
            }),
            acl_default: None,
            flags: Flags {
                no_dump: true,
                immutable: false,
                append_only: true,
            },
        }
    }

    fn every_kind() -> Vec<Entry> {
        let device = DeviceNumber {
            major: 259,
            minor: 70_000,
        };
        let target = b"../\xfe".to_vec();
        vec![
            entry(EntryKind::File),
            entry(EntryKind::Directory),
            entry(EntryKind::Symlink { target }),
            entry(EntryKind::Fifo),
            entry(EntryKind::CharDevice(device)),
            entry(EntryKind::BlockDevice(device)),
            Entry {
                hard_link: Some(Arc::new(TreePath::new("first").unwrap())),
                links: 2,
                ..entry(EntryKind::File)
            },
            Entry {
                path: TreePath::root(),
                ..entry(EntryKind::Directory)
            },
        ]
    }

    #[test]
    fn an_entry_comes_back_from_its_item_through_bytes() {
        let options = ItemOptions {
            atime: true,
            ..ItemOptions::default()
        };
        let mut stream = Vec::new();
        for entry in every_kind() {
            Item::from_entry(&entry, options)
                .unwrap()
                .write(&mut stream);
        }
        let mut reader = ItemReader::new();
        reader.push(&stream);
        for entry in every_kind() {
            let item = reader.next_item().unwrap().unwrap();
            assert_eq!(item.to_entry(), Ok(entry));
        }
        assert_eq!(reader.next_item(), Ok(None));
        reader.finish().unwrap();
    }

    #[test]
    fn options_leave_things_out() {
        let options = ItemOptions {
            numeric_ids: true,
            atime: false,
            ctime: false,
            flags: false,
            acls: false,
            xattrs: false,
        };
        let item = Item::from_entry(&entry(EntryKind::File), options).unwrap();
        assert_eq!((item.user, item.ctime, item.atime), (None, None, None));
        assert_eq!((item.bsdflags, item.acl_access), (None, None));
        assert!(item.xattrs.is_empty());
        assert_eq!(item.uid, Some(1000));
        assert_eq!(Item::from_entry(&entry(EntryKind::Socket), options), None);
    }

    #[test]
    fn the_first_of_several_names_is_the_master() {
        let options = ItemOptions::default();
        let item = |links, hard_link: Option<&str>, kind| {
            let entry = Entry {
                links,
                hard_link: hard_link.map(|path| Arc::new(TreePath::new(path).unwrap())),
                ..entry(kind)
            };
            Item::from_entry(&entry, options).unwrap()
        };
        assert_eq!(item(1, None, EntryKind::File).hardlink_master, Some(false));
        assert_eq!(item(2, None, EntryKind::Fifo).hardlink_master, Some(true));
        let second = item(2, Some("first"), EntryKind::File);
        assert_eq!(second.hardlink_master, None);
        assert_eq!(second.source, Some("first".into()));
        assert_eq!(item(2, None, EntryKind::Directory).hardlink_master, None);
        // The source of a symbolic link is its target, so it can be no further name.
        let target = b"target".to_vec();
        let link = item(2, Some("first"), EntryKind::Symlink { target });
        assert_eq!(link.source, Some("target".into()));
        assert_eq!(link.hardlink_master, None);
    }

    #[test]
    fn an_item_that_leads_out_of_the_tree_is_refused() {
        let item = |path: &str, source: &str| Item {
            path: path.into(),
            mode: 0o100_644,
            source: Some(source.into()),
            ..Item::default()
        };
        for path in ["/etc/passwd", "../x", "a/../../b", "a\0b"] {
            assert!(matches!(item(path, "x").to_entry(), Err(BadItem::Path(_))));
            assert!(matches!(
                item("x", path).to_entry(),
                Err(BadItem::HardLink(_))
            ));
        }
        let mode = |mode| {
            Item {
                mode,
                ..Item::default()
            }
            .to_entry()
        };
        assert_eq!(mode(0o644), Err(BadItem::Kind { mode: 0o644 }));
        assert_eq!(mode(0o120_777), Err(BadItem::NoTarget));
    }

    proptest! {
        #[test]
        fn whatever_is_read_can_be_written_and_read_again(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            if let Ok(item) = Item::read(&bytes) {
                let _ = item.to_entry();
                let mut again = Vec::new();
                item.write(&mut again);
                prop_assert_eq!(Item::read(&again).unwrap().path, item.path);
            }
        }

        #[test]
        fn a_damaged_item_never_panics(
            kind in 0..8usize, at in any::<prop::sample::Index>(), byte: u8,
        ) {
            let mut bytes = Vec::new();
            let mut item = Item::from_entry(&every_kind()[kind], ItemOptions::default()).unwrap();
            item.chunks = Some(vec![crate::ChunkRef { id: crate::Id([1; 32]), size: 1, csize: 2 }]);
            item.write(&mut bytes);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(item) = Item::read(&bytes) {
                let _ = item.to_entry();
            }
        }
    }
}
