//! The names in a folder, ascending bytewise.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

use super::handle::open_file;
use super::source::{CACHE_TAG_NAME, CACHE_TAG_SIGNATURE};

/// All names in a folder. About ten bytes a name more than the names themselves, so that folders
/// with millions of names fit into memory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The names, each with its NUL.
    text: Vec<u8>,
    names: Vec<Name>,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    start: u32,
    /// Without the NUL.
    length: u16,
    kind: FileType,
}

/// Bytes of names that the system is asked for at once.
const BUFFER_SIZE: usize = 64 * 1024;

/// Room for what the system says about the names in a folder, used again for each folder.
pub(super) struct ListingBuffer(Vec<MaybeUninit<u8>>);

impl Default for ListingBuffer {
    fn default() -> Self {
        Self(vec![MaybeUninit::uninit(); BUFFER_SIZE])
    }
}

impl Listing {
    /// Reads all names. What could be read before an error is given as well.
    pub(super) fn read(folder: impl AsFd, buffer: &mut ListingBuffer) -> (Self, Option<Errno>) {
        let mut listing = Self::default();
        let mut failed = None;
        let mut entries = RawDir::new(folder, &mut buffer.0);
        while let Some(next) = entries.next() {
            match next {
                Ok(entry) => {
                    let name = entry.file_name();
                    if is_name(name.to_bytes()) {
                        listing.push(name, entry.file_type());
                    }
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        listing.sort();
        (listing, failed)
    }

    /// A listing of one name, which may be `.`: the folder itself.
    pub(super) fn of(name: &CStr, kind: FileType) -> Self {
        let mut listing = Self::default();
        listing.push(name, kind);
        listing
    }

    fn push(&mut self, name: &CStr, kind: FileType) {
        // Longer names than any file system has, or 4 GiB of them, cannot come.
        let (Ok(start), Ok(length)) = (
            u32::try_from(self.text.len()),
            u16::try_from(name.count_bytes()),
        ) else {
            return;
        };
        self.text.extend_from_slice(name.to_bytes_with_nul());
        self.names.push(Name {
            start,
            length,
            kind,
        });
    }

    fn sort(&mut self) {
        let text = &self.text;
        let bytes = |name: &Name| slice(text, *name, 0);
        self.names.sort_unstable_by(|a, b| bytes(a).cmp(bytes(b)));
        // A folder that changes while it is listed may give a name twice.
        self.names.dedup_by(|a, b| bytes(a) == bytes(b));
        self.names.shrink_to_fit();
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// A name, for the system and as bytes.
    pub(super) fn name(&self, index: usize) -> &CStr {
        self.names
            .get(index)
            .and_then(|name| CStr::from_bytes_with_nul(slice(&self.text, *name, 1)).ok())
            .unwrap_or_default()
    }

    /// What the listing says that it is; not every file system does.
    pub(super) fn kind(&self, index: usize) -> FileType {
        self.names
            .get(index)
            .map_or(FileType::Unknown, |name| name.kind)
    }

    /// Forgets all names but those that are wanted.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(&[u8]) -> bool) {
        let text = &self.text;
        self.names.retain(|name| is_wanted(slice(text, *name, 0)));
    }

    /// Where a name stands.
    pub(super) fn find(&self, name: &[u8]) -> Option<usize> {
        self.names
            .binary_search_by(|other| slice(&self.text, *other, 0).cmp(name))
            .ok()
    }
}

/// Whether it is the name of something in a folder, and cannot lead anywhere else.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/')
}

/// The bytes of a name, with so many behind it.
fn slice(text: &[u8], name: Name, more: usize) -> &[u8] {
    let start = name.start as usize;
    let end = start + usize::from(name.length) + more;
    text.get(start..end).unwrap_or_default()
}

/// Whether the tag in a folder is a real one: some programs make empty files of that name.
pub(super) fn is_cache(folder: impl AsFd) -> bool {
    let mut name = CACHE_TAG_NAME.to_vec();
    name.push(0);
    let Ok(name) = CStr::from_bytes_with_nul(&name) else {
        return false;
    };
    let Ok(handle) = open_file(folder, name) else {
        return false;
    };
    let mut begin = [0; CACHE_TAG_SIGNATURE.len()];
    matches!(rustix::io::pread(handle, &mut begin, 0), Ok(read) if read == begin.len())
        && begin == *CACHE_TAG_SIGNATURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_ascend_bytewise_whatever_they_are_made_of() {
        let mut listing = Listing::default();
        for name in [c"b", c"a!", c"a", c"\xff", c"ab", c"a", c"B"] {
            listing.push(name, FileType::RegularFile);
        }
        listing.sort();
        let names: Vec<&CStr> = (0..listing.len())
            .map(|index| listing.name(index))
            .collect();
        assert_eq!(names, [c"B", c"a", c"a!", c"ab", c"b", c"\xff"]);
        assert_eq!(listing.find(b"ab"), Some(3));
        assert_eq!(listing.find(b"c"), None);
    }

    #[test]
    fn a_tag_is_real_when_its_content_says_so() {
        let scratch = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(scratch.path()).unwrap();
        let tag = scratch.path().join("CACHEDIR.TAG");
        assert!(!is_cache(&handle));
        std::fs::write(&tag, "").unwrap();
        assert!(!is_cache(&handle));
        std::fs::write(&tag, "Signature: 8a477f597d28d172789f06886806bc55\n# x").unwrap();
        assert!(is_cache(&handle));
    }
}
