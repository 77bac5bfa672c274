//! Folders below a handle, and nothing else.
//!
//! A path is resolved by the kernel from a handle that is held open, with every symbolic link on
//! the way refused (`openat2` with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`). Where a kernel or a
//! container does not have that call, the components are opened one by one with `O_NOFOLLOW`,
//! which refuses the same. Whoever swaps a folder for a link meanwhile gains nothing: the handle
//! stays with the folder.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::ACL_DEFAULT_XATTR;

/// How a folder is opened: itself, never what a link leads to.
const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// The same without the right to list it: enough to reach what is inside.
const FOLDER_UNREAD: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

/// Longest path that the kernel takes at once: `PATH_MAX`, with some room.
pub(super) const PIECE_SIZE_MAX: usize = 4000;

/// Set once `openat2` has turned out to be missing.
static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// An open folder below the target.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    /// Whether what is created in it gets an ACL from it.
    pub(super) passes_acl_on: bool,
    /// Whether the handle may be read: listed, synced, asked for attributes.
    pub(super) readable: bool,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Folder {
    pub(super) fn from_handle(handle: OwnedFd) -> Self {
        // A folder whose default ACL is out of reach may have one: then ACLs that should not be
        // there are removed in vain, which harms nothing.
        let passes_acl_on = !matches!(
            fs::fgetxattr_query(&handle, ACL_DEFAULT_XATTR),
            Err(Errno::NODATA | Errno::OPNOTSUPP)
        );
        Self {
            handle,
            passes_acl_on,
            readable: true,
        }
    }

    /// Opens the folder at `path`, relative to this one: one or several levels down, at most
    /// [`PIECE_SIZE_MAX`] bytes.
    ///
    /// # Errors
    ///
    /// `NOENT` when something is missing, `NOTDIR` when something on the way, or at its end, is a
    /// symbolic link or another thing that is no folder.
    pub(super) fn open_below(&self, path: &[u8]) -> Result<Self, Errno> {
        match open_with(self.as_fd(), path, FOLDER) {
            Ok(handle) => Ok(Self::from_handle(handle)),
            Err(Errno::ACCESS) => Ok(Self {
                handle: open_with(self.as_fd(), path, FOLDER_UNREAD)?,
                passes_acl_on: true,
                readable: false,
            }),
            Err(errno) => Err(errno),
        }
    }

    /// Opens a folder that was just made here.
    pub(super) fn open_made(&self, name: &[u8]) -> Result<Self, Errno> {
        let handle = fs::openat(self, name, FOLDER, Mode::empty()).map_err(no_folder)?;
        Ok(if self.passes_acl_on {
            Self::from_handle(handle)
        } else {
            Self {
                handle,
                passes_acl_on: false,
                readable: true,
            }
        })
    }
}

fn open_with(from: BorrowedFd<'_>, piece: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        match fs::openat2(from, piece, flags, Mode::empty(), RESOLVE) {
            // Old sandboxes answer EPERM to calls that they do not know.
            Err(Errno::NOSYS | Errno::PERM) => NO_OPENAT2.store(true, Ordering::Relaxed),
            // The kernel could not rule out a race with a rename; by components there is none.
            Err(Errno::AGAIN) => {}
            result => return result.map_err(no_folder),
        }
    }
    open_stepwise(from, piece, flags)
}

fn open_stepwise(from: BorrowedFd<'_>, piece: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut reached: Option<OwnedFd> = None;
    let mut components = piece.split(|&byte| byte == b'/').peekable();
    while let Some(name) = components.next() {
        let at = reached.as_ref().map_or(from, AsFd::as_fd);
        // A folder on the way need not be readable.
        let flags = if components.peek().is_some() {
            FOLDER_UNREAD
        } else {
            flags
        };
        reached = Some(fs::openat(at, name, flags, Mode::empty()).map_err(no_folder)?);
    }
    reached.ok_or(Errno::INVAL)
}

/// A link where a folder should be has several names.
fn no_folder(errno: Errno) -> Errno {
    match errno {
        Errno::LOOP | Errno::XDEV | Errno::NOTDIR => Errno::NOTDIR,
        errno => errno,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(path: &std::path::Path) -> Folder {
        Folder::from_handle(fs::open(path, FOLDER, Mode::empty()).unwrap())
    }

    #[test]
    fn a_link_is_refused_at_the_end_and_on_the_way_with_either_call() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(scratch.path().join("a/b")).unwrap();
        symlink("a", scratch.path().join("link")).unwrap();
        std::fs::write(scratch.path().join("file"), "").unwrap();
        let root = folder(scratch.path());
        assert!(root.open_below(b"a/b").is_ok());
        assert_eq!(root.open_below(b"x").unwrap_err(), Errno::NOENT);
        assert!(open_stepwise(root.as_fd(), b"a/b", FOLDER).is_ok());
        for path in [b"link".as_slice(), b"link/b", b"file", b"file/b"] {
            assert_eq!(root.open_below(path).unwrap_err(), Errno::NOTDIR);
            let stepwise = open_stepwise(root.as_fd(), path, FOLDER);
            assert_eq!(stepwise.unwrap_err(), Errno::NOTDIR);
        }
    }
}
