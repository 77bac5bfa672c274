//! A judge of Borg repositories: no counter of the cipher encrypts two different things.
//!
//! It reads segments by itself, as docs/formats/borg.md describes them, and looks at every object:
//! also at those that were deleted, superseded, or never committed.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

/// Bytes of checksum, size and tag in front of every entry.
const HEADER_SIZE: usize = 9;

/// Bytes of the id, which only a PUT and a DELETE have.
const ID_SIZE: usize = 32;

/// The tag of an entry that holds an object.
const PUT: u8 = 0;

/// The first bytes of objects that are encrypted: their type.
const ENCRYPTED: [u8; 4] = [0x00, 0x03, 0x04, 0x05];

/// Type, authentication code and counter stand before what is encrypted.
const OBJECT_HEADER_SIZE: usize = 1 + 32 + 8;

/// The cipher counts blocks of so many bytes.
const BLOCK_SIZE: usize = 16;

/// The counters that were seen in one repository, over its whole life.
#[derive(Debug, Default)]
pub struct UsedCounters {
    /// First counter → the one after the last, and a digest of what was encrypted.
    ranges: BTreeMap<u64, (u64, u64)>,
}

impl UsedCounters {
    /// Looks at every object that is in the repository now. Call it after each command, before
    /// the next one can remove what the last one left.
    ///
    /// A copy of an object, as compaction makes it, is the same thing and may have the same counters.
    ///
    /// # Panics
    ///
    /// When a counter encrypts two different things; when the repository cannot be read.
    pub fn look(&mut self, repository: &Path) {
        for segment in segments(repository) {
            let bytes = fs::read(&segment).unwrap_or_default();
            for object in objects(&bytes) {
                self.add(object, &segment);
            }
        }
    }

    /// How many stretches of counters were seen.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether none was seen: nothing is encrypted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    fn add(&mut self, object: &[u8], segment: &Path) {
        let Some((header, encrypted)) = object.split_at_checked(OBJECT_HEADER_SIZE) else {
            return;
        };
        if !ENCRYPTED.contains(&header[0]) {
            return;
        }
        let mut counter = [0; 8];
        counter.copy_from_slice(&header[OBJECT_HEADER_SIZE - 8..]);
        let first = u64::from_be_bytes(counter);
        let end = first + encrypted.len().div_ceil(BLOCK_SIZE) as u64;
        let mut hasher = DefaultHasher::new();
        hasher.write(encrypted);
        let digest = hasher.finish();
        if self.ranges.get(&first) == Some(&(end, digest)) {
            return;
        }
        let before = self.ranges.range(..end).next_back();
        assert!(
            before.is_none_or(|(_, (before, _))| *before <= first),
            "{}: counters {first} to {end} were used for {before:?} already",
            segment.display(),
        );
        self.ranges.insert(first, (end, digest));
    }
}

fn segments(repository: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
        entries.flatten().map(|entry| entry.path()).collect()
    };
    let folders = list(&repository.join("data"));
    folders.iter().flat_map(|folder| list(folder)).collect()
}

/// The objects of a segment, up to where it is torn.
fn objects(segment: &[u8]) -> Vec<&[u8]> {
    let mut objects = Vec::new();
    let mut rest = segment.get(8..).unwrap_or_default();
    while let Some(header) = rest.first_chunk::<HEADER_SIZE>() {
        let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let Some((entry, behind)) = rest.split_at_checked(size.max(HEADER_SIZE)) else {
            break;
        };
        if header[8] == PUT
            && let Some(object) = entry.get(HEADER_SIZE + ID_SIZE..)
        {
            objects.push(object);
        }
        rest = behind;
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(objects: &[(u64, &[u8])]) -> Vec<u8> {
        let mut bytes = b"BORG_SEG".to_vec();
        for (counter, encrypted) in objects {
            let size = HEADER_SIZE + ID_SIZE + OBJECT_HEADER_SIZE + encrypted.len();
            bytes.extend([0; 4]);
            bytes.extend(u32::try_from(size).unwrap().to_le_bytes());
            bytes.push(PUT);
            bytes.extend([7; ID_SIZE]);
            bytes.push(0x05);
            bytes.extend([8; 32]);
            bytes.extend(counter.to_be_bytes());
            bytes.extend(*encrypted);
        }
        bytes
    }

    fn repository(objects: &[(u64, &[u8])]) -> tempfile::TempDir {
        let repository = tempfile::tempdir().unwrap();
        let folder = repository.path().join("data/0");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("0"), segment(objects)).unwrap();
        repository
    }

    #[test]
    fn neighbours_and_copies_are_fine() {
        let repository = repository(&[(0, &[1; 16]), (1, &[2; 17]), (3, &[3]), (0, &[1; 16])]);
        let mut used = UsedCounters::default();
        used.look(repository.path());
        used.look(repository.path());
        assert_eq!(used.len(), 3);
    }

    #[test]
    #[should_panic(expected = "were used for")]
    fn one_block_that_is_used_twice_is_found() {
        let repository = repository(&[(5, &[1; 17]), (6, &[2])]);
        UsedCounters::default().look(repository.path());
    }

    #[test]
    #[should_panic(expected = "were used for")]
    fn another_content_under_the_same_counter_is_found_in_a_later_look() {
        let mut used = UsedCounters::default();
        used.look(repository(&[(5, &[1; 16])]).path());
        used.look(repository(&[(5, &[2; 16])]).path());
    }
}
