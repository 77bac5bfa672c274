//! Links and special files: everything that is made in one piece.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Dev, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::beneath::Folder;
use super::publish::Temporary;
use super::standing::{file_type, identity};
use super::trouble::Trouble;
use crate::{Entry, EntryKind};

/// Something made under a temporary name, with a handle that refers to it.
pub(super) struct Made {
    pub(super) temporary: Temporary,
    pub(super) handle: OwnedFd,
    pub(super) stat: Stat,
}

/// Makes a symbolic link, a pipe, a socket or a device node.
///
/// Nothing of it is ever opened: a pipe would wait, a device would act. A handle that only refers
/// to it serves for the attributes, once it is certain that it refers to what was made: somebody
/// with rights in the folder could have put another object under the name meanwhile.
pub(super) fn make(folder: &Arc<Folder>, entry: &Entry) -> Result<Made, Trouble> {
    let failed = Trouble::at(match entry.kind {
        EntryKind::Symlink { .. } => "make the symbolic link",
        EntryKind::Fifo => "make the pipe",
        EntryKind::Socket => "make the socket",
        _ => "make the device node",
    });
    let private = Mode::RUSR | Mode::WUSR;
    let make = |folder: &Folder, name: &str| match &entry.kind {
        EntryKind::Symlink { target } => fs::symlinkat(target.as_slice(), folder, name),
        kind => fs::mknodat(folder, name, file_type(kind), private, device_of(entry)),
    };
    let (temporary, ()) = Temporary::make(folder, make).map_err(&failed)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = fs::openat(&**folder, &*temporary.name, flags, Mode::empty()).map_err(&failed)?;
    let stat = fs::fstat(handle.as_fd()).map_err(&failed)?;
    let ours = FileType::from_raw_mode(stat.st_mode) == file_type(&entry.kind)
        && stat.st_nlink == 1
        && stat.st_rdev == device_of(entry);
    if !ours {
        return Err(failed(Errno::STALE));
    }
    Ok(Made {
        temporary,
        handle,
        stat,
    })
}

/// The device that a node stands for; 0 for anything else.
fn device_of(entry: &Entry) -> Dev {
    match &entry.kind {
        EntryKind::CharDevice(number) | EntryKind::BlockDevice(number) => {
            fs::makedev(number.major, number.minor)
        }
        _ => 0,
    }
}

/// Makes a further name of an object that was restored before; `None` when another object stands
/// under that name by now.
pub(super) fn make_link(
    from: &Folder,
    name: &[u8],
    object: (u64, u64),
    folder: &Arc<Folder>,
) -> Result<Option<Temporary>, Errno> {
    let link = |folder: &Folder, temporary: &str| {
        // Without AT_SYMLINK_FOLLOW: a symbolic link is linked itself.
        fs::linkat(from, name, folder, temporary, AtFlags::empty())
    };
    let (temporary, ()) = Temporary::make(folder, link)?;
    let stat = fs::statat(&**folder, &*temporary.name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok((identity(&stat) == object).then_some(temporary))
}
