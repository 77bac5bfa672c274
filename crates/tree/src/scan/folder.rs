//! The names in a folder, in the order of the scan.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType};
use rustix::io::Errno;

use super::object;
use super::source::{CACHE_TAG_NAME, CACHE_TAG_SIGNATURE};

/// One name in a folder.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) name: CString,
    /// As the listing says; not every file system does.
    pub(crate) file_type: FileType,
}

impl Name {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// Whether the object can be opened to read it, as far as the listing tells.
    pub(crate) fn can_be_opened(&self) -> bool {
        matches!(self.file_type, FileType::RegularFile | FileType::Directory)
    }
}

/// All names in a folder, ascending bytewise. What could be read before an error is given too.
pub(crate) fn list(folder: &OwnedFd) -> (Vec<Name>, Option<Errno>) {
    let mut names = Vec::new();
    let mut dir = match Dir::read_from(folder) {
        Ok(dir) => dir,
        Err(error) => return (names, Some(error)),
    };
    let mut failed = None;
    while let Some(next) = dir.read() {
        match next {
            Ok(found) => {
                let name = found.file_name();
                if !matches!(name.to_bytes(), b"." | b"..") {
                    names.push(Name {
                        name: name.to_owned(),
                        file_type: found.file_type(),
                    });
                }
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    (names, failed)
}

/// Whether the folder's tag is a real one: some programs make empty files of that name.
pub(crate) fn is_cache(folder: &OwnedFd) -> bool {
    use std::os::fd::AsFd;
    let Ok(name) = CString::new(CACHE_TAG_NAME) else {
        return false;
    };
    let Ok(Some(handle)) = object::open(folder.as_fd(), &name) else {
        return false;
    };
    let mut begin = Vec::new();
    let read = std::fs::File::from(handle)
        .take(CACHE_TAG_SIGNATURE.len() as u64)
        .read_to_end(&mut begin);
    read.is_ok() && begin == CACHE_TAG_SIGNATURE
}
