//! `--read-special`: what devices and pipes give, stored as if it were the content of files.

use std::fs::File;
use std::path::{Path, PathBuf};

use borg::{Item, ItemOptions};
use tree::{Entry, EntryKind};

use super::inode;

/// Kind and permissions, as a regular file has them.
const REGULAR: u32 = 0o100_000;

/// Opens what is neither a file nor a folder, or where a link to such a thing leads; `None` for
/// all else.
pub(super) fn open(roots: &[PathBuf], entry: &Entry) -> Option<(Item, File)> {
    let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
    let is_special = matches!(
        entry.kind,
        EntryKind::Fifo | EntryKind::CharDevice(_) | EntryKind::BlockDevice(_)
    );
    if !is_link && !is_special {
        return None;
    }
    let path = local_path(roots, entry)?;
    if is_link {
        use std::os::unix::fs::FileTypeExt;
        let kind = std::fs::metadata(&path).ok()?.file_type();
        if !kind.is_fifo() && !kind.is_char_device() && !kind.is_block_device() {
            return None;
        }
    }
    let mut item = Item::from_entry(entry, ItemOptions::default())?;
    item.mode = REGULAR | item.mode & 0o7777;
    item.source = None;
    item.rdev = None;
    item.hardlink_master = Some(false);
    Some((item, File::open(&path).ok()?))
}

/// Where an object stands on this machine.
fn local_path(roots: &[PathBuf], entry: &Entry) -> Option<PathBuf> {
    let stored = entry.path.as_path();
    roots
        .iter()
        .map(|root| {
            let text = root.to_string_lossy();
            match text.find("/./") {
                Some(at) => Path::new(text.get(..=at).unwrap_or("/")).join(stored),
                None if root.is_absolute() => Path::new("/").join(stored),
                None => stored.to_owned(),
            }
        })
        .find(|path| inode(path) == Some((entry.device, entry.inode)))
}
