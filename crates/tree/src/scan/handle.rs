//! Opening objects through the handle of the folder that they are in.
//!
//! Opening never follows a symbolic link, never waits for the other end of a pipe and, where the
//! system allows it, leaves no trace in the access time.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};

const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// Opens an object for reading.
pub(crate) fn open_file(folder: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    open(folder, name, READ)
}

/// Opens a folder for listing.
pub(crate) fn open_folder(folder: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    open(folder, name, READ.union(OFlags::DIRECTORY))
}

fn open(folder: impl AsFd, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let quietly = flags.union(OFlags::NOATIME);
    match retry_on_intr(|| openat(&folder, name, quietly, Mode::empty())) {
        // Only the owner of a file may leave its access time alone.
        Err(Errno::PERM) => retry_on_intr(|| openat(&folder, name, flags, Mode::empty())),
        other => other,
    }
}

/// Opens a folder to find things in it only: symbolic links on the way are followed.
pub(super) fn open_way(folder: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(folder, path, flags, Mode::empty())
}
