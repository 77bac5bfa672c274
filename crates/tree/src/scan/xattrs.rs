//! Extended attributes and POSIX ACLs of one object.

use std::ffi::CStr;
use std::io::Write as _;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;

use super::names::Names;
use crate::acl::{ACL_ACCESS_XATTR, ACL_DEFAULT_XATTR};
use crate::{Acl, Entry};

/// Where attributes are read from.
#[derive(Clone, Copy)]
pub(super) enum Object<'a> {
    /// An open file or folder.
    Open(BorrowedFd<'a>),
    /// What cannot be opened, or must not be: a name in a folder.
    Named(BorrowedFd<'a>, &'a CStr),
}

/// Most bytes of one attribute, and of the list of their names: the kernel's own limits.
///
/// Source: `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` in Linux's `limits.h`.
const XATTR_SIZE_MAX: usize = 1 << 16;

/// Bytes that are offered to the system at first: it takes memory of its own for all of them.
const XATTR_SIZE_USUAL: usize = 256;

/// Reads attributes, again and again into the same memory.
pub(super) struct Xattrs {
    list: Vec<u8>,
    value: Vec<u8>,
    path: Vec<u8>,
}

impl Default for Xattrs {
    fn default() -> Self {
        Self {
            list: vec![0; XATTR_SIZE_MAX],
            value: vec![0; XATTR_SIZE_MAX],
            path: Vec::new(),
        }
    }
}

impl Xattrs {
    /// Reads all attributes that may be read into the entry.
    pub(super) fn read(
        &mut self,
        object: Object<'_>,
        entry: &mut Entry,
        names: &mut Names,
    ) -> Result<(), Errno> {
        if let Object::Named(folder, name) = object {
            // The way leads through the handle of the folder, so that the system looks up the
            // last component only.
            self.path.clear();
            let written = write!(self.path, "/proc/self/fd/{}/", folder.as_raw_fd());
            if written.is_err() {
                return Ok(());
            }
            self.path.extend_from_slice(name.to_bytes());
        }
        let length = with_room(&mut self.list, |list| match object {
            Object::Open(handle) => flistxattr(handle, list),
            Object::Named(..) => llistxattr(&*self.path, list),
        });
        let length = match length {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
            // An object that cannot be opened is gone, or there is no `/proc` to go through.
            Err(Errno::NOENT) if matches!(object, Object::Named(..)) => return Ok(()),
            Ok(length) => length,
            Err(error) => return Err(error),
        };
        let list = self.list.get(..length).unwrap_or_default();
        for name in list.split_inclusive(|&byte| byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            let length = with_room(&mut self.value, |value| match object {
                Object::Open(handle) => fgetxattr(handle, name, value),
                Object::Named(..) => lgetxattr(&*self.path, name, value),
            });
            match length {
                Ok(length) => {
                    let value = self.value.get(..length).unwrap_or_default();
                    keep(entry, name.to_bytes(), value, names);
                }
                // Gone meanwhile, not for us to see, or a name without a value.
                Err(
                    Errno::NODATA | Errno::NOENT | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP,
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Asks with a part of the buffer, and with all of it when that is too small.
fn with_room(
    buffer: &mut [u8],
    mut ask: impl FnMut(&mut [u8]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    let usual = buffer.get_mut(..XATTR_SIZE_USUAL).unwrap_or_default();
    match ask(usual) {
        Err(Errno::RANGE) => ask(buffer),
        other => other,
    }
}

/// Takes an attribute into the entry: ACLs decoded, unless they are not what they should be.
fn keep(entry: &mut Entry, name: &[u8], value: &[u8], names: &mut Names) {
    let acl = if name == ACL_ACCESS_XATTR.as_bytes() {
        &mut entry.acl_access
    } else if name == ACL_DEFAULT_XATTR.as_bytes() {
        &mut entry.acl_default
    } else {
        entry.xattrs.insert(name.to_vec(), value.to_vec());
        return;
    };
    match Acl::decode(value, names) {
        Ok(decoded) => *acl = Some(decoded),
        Err(_) => {
            entry.xattrs.insert(name.to_vec(), value.to_vec());
        }
    }
}
