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
