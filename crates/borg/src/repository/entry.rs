//! Entries of a segment, and what can be wrong with them.
//!
//! ```text
//! segment: BORG_SEG | entry | entry | …
//! PUT:     crc32 | size | 0 | id | data
//! DELETE:  crc32 | size | 1 | id
//! COMMIT:  crc32 | size | 2
//! ```
//!
//! Integers have 32 bits, little-endian; the tag has 8. The size is that of the whole entry. The
//! checksum covers all that follows it.
//!
//! Source: `LoggedIO` in Borg 1.4's `repository.py`.

use std::fmt;

use crate::Id;
use crate::key::ENTRY_HEADER_SIZE;

/// How a segment begins.
pub(super) const MAGIC: &[u8; 8] = b"BORG_SEG";
/// The same in the format of Borg's ancestor.
pub(super) const ATTIC_MAGIC: &[u8; 8] = b"ATTICSEG";
pub(super) const MAGIC_SIZE: u32 = 8;

/// Bytes of CRC32, size and tag that start every entry.
pub(super) const HEADER_SIZE: usize = 9;

/// Bytes of a DELETE, and of a PUT before its data.
pub(super) const PUT_SIZE: usize = ENTRY_HEADER_SIZE;

/// Largest entry that Borg 1.x writes: 20 MiB, header and key included.
///
/// Source: `MAX_OBJECT_SIZE` in Borg 1.4's `constants.py`.
pub(super) const ENTRY_SIZE_MAX: usize = 20 * 1024 * 1024;

/// Largest object: what is left of an entry for its data.
pub const OBJECT_SIZE_MAX: usize = ENTRY_SIZE_MAX - PUT_SIZE;

/// The entry that makes all before it valid. It has no content, so it is always the same.
pub(super) const COMMIT: [u8; HEADER_SIZE] = *b"\x40\xf4\x3c\x25\x09\x00\x00\x00\x02";

/// Where an entry starts. Ordered as the entries are on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment, as in its file's name.
    pub segment: u32,
    /// Bytes from the start of that file.
    pub offset: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in segment {} at byte {}", self.segment, self.offset)
    }
}

/// A damaged place in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {at}")]
pub struct Damage {
    /// Where the damaged entry starts.
    pub at: Position,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What can be wrong with a segment or an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// The file does not begin as a segment.
    Magic,
    /// The entry announces a size that Borg does not write.
    Size {
        /// That size.
        size: u32,
    },
    /// The entry is of a kind that Borg 1.x does not know.
    Tag {
        /// Its tag.
        tag: u8,
    },
    /// The file ends before the entry does.
    Truncated,
    /// The content is not what was written.
    Checksum,
    /// The segment is not there.
    Missing,
    /// Another kind of entry, or one of another object, stands where the index says that an
    /// object is.
    NotTheObject,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no segment begins"),
            Self::Size { size } => write!(f, "impossible entry size {size}"),
            Self::Tag { tag } => write!(f, "unknown entry tag {tag}"),
            Self::Truncated => f.write_str("cut off entry"),
            Self::Checksum => f.write_str("checksum mismatch"),
            Self::Missing => f.write_str("missing segment"),
            Self::NotTheObject => f.write_str("another entry than expected"),
        }
    }
}

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// Stores an object.
    Put,
    /// Removes an object.
    Delete,
    /// Makes everything before it valid.
    Commit,
}

/// The fixed part of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) crc: u32,
    /// Of the whole entry, within the limits of its kind.
    pub(super) size: usize,
    pub(super) tag: Tag,
}

impl Header {
    /// Parses a header. The checksum is not verified: that takes the whole entry.
    ///
    /// A size that Borg does not write is refused, so that a damaged header never makes the
    /// caller allocate gigabytes.
    pub(super) fn parse(bytes: [u8; HEADER_SIZE]) -> Result<Self, DamageKind> {
        let [c0, c1, c2, c3, s0, s1, s2, s3, tag] = bytes;
        let announced = u32::from_le_bytes([s0, s1, s2, s3]);
        let (tag, sizes) = match tag {
            0 => (Tag::Put, PUT_SIZE..=ENTRY_SIZE_MAX),
            1 => (Tag::Delete, PUT_SIZE..=PUT_SIZE),
            2 => (Tag::Commit, HEADER_SIZE..=HEADER_SIZE),
            tag => return Err(DamageKind::Tag { tag }),
        };
        let size = usize::try_from(announced)
            .ok()
            .filter(|size| sizes.contains(size))
            .ok_or(DamageKind::Size { size: announced })?;
        Ok(Self {
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            size,
            tag,
        })
    }
}

/// Computes the checksum of a whole entry; its first four bytes are where it is kept.
pub(super) fn checksum(entry: &[u8]) -> u32 {
    crc32fast::hash(entry.get(4..).unwrap_or_default())
}

/// The id of a whole PUT or DELETE.
pub(super) fn id_of(entry: &[u8]) -> Option<Id> {
    let id = entry.get(HEADER_SIZE..)?.first_chunk()?;
    Some(Id(*id))
}

/// Writes the header of a PUT into the first [`ENTRY_HEADER_SIZE`] bytes of `entry`, behind which
/// the object stands. That makes it ready for [`super::Transaction::put_framed`].
///
/// This is the part of storing that any number of threads can do at once. An object of more than
/// [`OBJECT_SIZE_MAX`] bytes is refused by the transaction.
pub fn frame_put(entry: &mut [u8], id: &Id) {
    frame(entry, 0, id);
}

/// The entry that removes an object.
pub(super) fn delete_entry(id: &Id) -> [u8; PUT_SIZE] {
    let mut entry = [0; PUT_SIZE];
    frame(&mut entry, 1, id);
    entry
}

fn frame(entry: &mut [u8], tag: u8, id: &Id) {
    let size = u32::try_from(entry.len()).unwrap_or(u32::MAX);
    let Some(header) = entry.first_chunk_mut::<PUT_SIZE>() else {
        return;
    };
    header[4..8].copy_from_slice(&size.to_le_bytes());
    header[8] = tag;
    header[HEADER_SIZE..].copy_from_slice(&id.0);
    let crc = checksum(entry);
    if let Some(place) = entry.first_chunk_mut() {
        *place = crc.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: u32, tag: u8) -> [u8; HEADER_SIZE] {
        let mut header = [0; HEADER_SIZE];
        header[4..8].copy_from_slice(&size.to_le_bytes());
        header[8] = tag;
        header
    }

    #[test]
    fn an_impossible_size_is_refused_before_anything_is_allocated() {
        let max = u32::try_from(ENTRY_SIZE_MAX).unwrap();
        for (size, tag) in [
            (0, 0),
            (40, 0),
            (max + 1, 0),
            (u32::MAX, 0),
            (40, 1),
            (42, 1),
            (8, 2),
            (10, 2),
        ] {
            let result = Header::parse(header(size, tag));
            assert_eq!(result, Err(DamageKind::Size { size }), "tag {tag}");
        }
        assert_eq!(Header::parse(header(max, 0)).unwrap().size, ENTRY_SIZE_MAX);
        assert_eq!(Header::parse(header(9, 3)), Err(DamageKind::Tag { tag: 3 }));
    }

    #[test]
    fn a_framed_entry_parses_and_its_checksum_holds() {
        let id = Id([7; 32]);
        let mut entry = vec![0; PUT_SIZE];
        entry.extend_from_slice(b"content");
        frame_put(&mut entry, &id);
        let header = Header::parse(*entry.first_chunk().unwrap()).unwrap();
        assert_eq!((header.size, header.tag), (entry.len(), Tag::Put));
        assert_eq!(header.crc, checksum(&entry));
        assert_eq!(id_of(&entry), Some(id));
    }

    #[test]
    fn a_commit_is_always_the_same() {
        let header = Header::parse(COMMIT).unwrap();
        assert_eq!(header.tag, Tag::Commit);
        assert_eq!(header.crc, checksum(&COMMIT));
    }
}
