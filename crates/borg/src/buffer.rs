//! Memory that is used over and over.

use std::mem;
use std::ops::{Deref, DerefMut, Range};

/// Capacities are rounded up to a multiple of this, smaller ones to a power of two, so that a pool
/// of buffers soon stops growing.
const GRAIN: usize = 64 * 1024;

/// Least capacity.
const CAPACITY_MIN: usize = 4 * 1024;

/// Bytes that grow and shrink without being set to zero again.
///
/// Compressors and ciphers want a slice to write into, larger than what they will fill. A `Vec`
/// would have to zero that slice each time; this remembers how far it was ever zeroed. It reads
/// as the slice of what has been written.
#[derive(Default)]
pub struct Buffer {
    /// Longer than what counts: behind `end` stands what an earlier use left there.
    bytes: Vec<u8>,
    end: usize,
}

impl Buffer {
    /// An empty buffer, which holds no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the content and keeps the memory.
    pub fn clear(&mut self) {
        self.end = 0;
    }

    /// Forgets what stands behind the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.end = self.end.min(length);
    }

    /// Adds bytes at the end.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
        self.advance(bytes.len());
    }

    /// Several parts of what was written, which follow each other; those that do not are empty.
    pub(crate) fn parts_mut(&mut self, places: &[Range<usize>]) -> impl Iterator<Item = &mut [u8]> {
        let (mut rest, mut passed) = (&mut **self, 0);
        places
            .iter()
            .map(move |place| {
                let skipped = place.start.checked_sub(passed)?;
                let (_, behind) = mem::take(&mut rest).split_at_mut_checked(skipped)?;
                let (part, behind) = behind.split_at_mut_checked(place.len())?;
                (rest, passed) = (behind, place.start + place.len());
                Some(part)
            })
            .map(Option::unwrap_or_default)
    }

    /// How many bytes it can hold without asking for memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Exactly `size` bytes behind the end, with any content. [`Self::advance`] makes the first
    /// of them count.
    pub(crate) fn room(&mut self, size: usize) -> &mut [u8] {
        let needed = self.end + size;
        if self.bytes.len() < needed {
            let grown = needed.max(self.bytes.len() / 2 * 3);
            // Fresh zeroed memory costs nothing until it is touched; growing in place would
            // touch all of it.
            let mut bytes = vec![0; rounded_up(grown)];
            bytes[..self.end].copy_from_slice(&self.bytes[..self.end]);
            self.bytes = bytes;
        }
        &mut self.bytes[self.end..needed]
    }

    /// Makes the first `size` bytes of the [`Self::room`] count.
    pub(crate) fn advance(&mut self, size: usize) {
        self.end = (self.end + size).min(self.bytes.len());
    }
}

fn rounded_up(capacity: usize) -> usize {
    if capacity < GRAIN {
        capacity.next_power_of_two().max(CAPACITY_MIN)
    } else {
        capacity.next_multiple_of(GRAIN)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.end]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.end]
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.end, self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_survives_growth_and_only_that_counts() {
        let mut buffer = Buffer::new();
        buffer.extend_from_slice(b"head");
        let room = buffer.room(200_000);
        assert_eq!(room.len(), 200_000);
        room[..4].copy_from_slice(b"tail");
        buffer.advance(4);
        assert_eq!(&*buffer, b"headtail");
        buffer.truncate(2);
        assert_eq!(&*buffer, b"he");
        buffer.clear();
        assert!(buffer.is_empty());
        assert!(buffer.capacity() >= 200_004);
    }
    #[test]
    fn parts_are_those_that_were_asked_for() {
        let mut buffer = Buffer::new();
        buffer.extend_from_slice(b"one, two, three");
        let parts: Vec<_> = buffer.parts_mut(&[0..3, 5..8, 8..8, 10..15]).collect();
        assert_eq!(parts, [&b"one"[..], b"two", b"", b"three"]);
        let parts: Vec<_> = buffer.parts_mut(&[4..99, 1..2]).collect();
        assert_eq!(parts, [b"", b""]);
    }
}
