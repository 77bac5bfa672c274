//! The stream of items of an archive, read as its chunks come.

use super::Item;
use crate::msgpack::{Malformed, Scanner};

/// Longest item: what the stock program reads. Enough for a file of a million chunks.
///
/// Source: `get_limited_unpacker` in Borg 1.4's `helpers/msgpack.py`.
const ITEM_SIZE_MAX: usize = 60 << 20;

/// Takes the chunks of an item stream, in order, and gives the items, which may begin in one
/// chunk and end in another.
pub struct ItemReader {
    /// From the first byte that no item was made of.
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been given out as items.
    taken: usize,
    /// How far the next item has been looked at.
    scanner: Scanner,
}

impl Default for ItemReader {
    fn default() -> Self {
        Self::new()
    }
}

impl ItemReader {
    /// Begins before the first chunk.
    #[must_use]
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            taken: 0,
            scanner: Scanner::new(),
        }
    }

    /// Adds the next chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// The next item as it is spelt, or `None` when the next chunk is needed for it.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when no item can begin here; nothing behind this can be found then.
    pub fn next_encoded(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some(length) = self.scanner.scan(rest)? else {
            if rest.len() > ITEM_SIZE_MAX {
                let limit = ITEM_SIZE_MAX;
                return Err(Malformed::TooLong { limit });
            }
            return Ok(None);
        };
        self.scanner = Scanner::new();
        self.taken += length;
        Ok(rest.get(..length))
    }

    /// The next item, or `None` when the next chunk is needed for it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::next_encoded`] and of [`Item::read`]. After the latter, the items behind
    /// the bad one can still be read.
    pub fn next_item(&mut self) -> Result<Option<Item>, Malformed> {
        self.next_encoded()?.map(Item::read).transpose()
    }

    /// Makes sure that the last chunk ended with an item: otherwise items are missing.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`].
    pub fn finish(&self) -> Result<(), Malformed> {
        match self.buffer.len() == self.taken {
            true => Ok(()),
            false => Err(Malformed::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut stream = Vec::new();
        for name in ["a", "b", "c"] {
            let path = name.repeat(40).into();
            Item {
                path,
                ..Item::default()
            }
            .write(&mut stream);
        }
        stream
    }

    #[test]
    fn an_item_may_begin_in_one_chunk_and_end_in_another() {
        let stream = stream();
        for size in 1..stream.len() {
            let mut reader = ItemReader::new();
            let mut names = String::new();
            for chunk in stream.chunks(size) {
                reader.push(chunk);
                while let Some(item) = reader.next_item().unwrap() {
                    names.push_str(&item.path.to_string()[..1]);
                }
            }
            reader.finish().unwrap();
            assert_eq!(names, "abc");
        }
    }

    #[test]
    fn a_stream_that_ends_within_an_item_is_an_error() {
        let stream = stream();
        for length in 1..stream.len() {
            let mut reader = ItemReader::new();
            reader.push(&stream[..length]);
            let mut count = 0;
            while reader.next_item().unwrap().is_some() {
                count += 1;
            }
            let whole = length == count * stream.len() / 3;
            assert_eq!(reader.finish().is_ok(), whole, "{length}");
        }
    }

    #[test]
    fn a_bad_item_does_not_hide_those_behind_it() {
        let good = stream();
        let mut reader = ItemReader::new();
        reader.push(b"\x81\xa4path\xa1x");
        reader.push(&good);
        assert_eq!(
            reader.next_item(),
            Err(Malformed::MissingKey { key: "mtime" })
        );
        assert!(reader.next_item().unwrap().is_some());
    }

    #[test]
    fn an_endless_item_is_given_up() {
        let mut reader = ItemReader::new();
        reader.push(b"\x81\xdb\xff\xff\xff\xff");
        let chunk = vec![0; 8 << 20];
        let mut result = Ok(None);
        for _ in 0..10 {
            reader.push(&chunk);
            result = reader.next_item();
            if result.is_err() {
                break;
            }
        }
        assert!(matches!(result, Err(Malformed::TooLong { .. })));
    }
}
