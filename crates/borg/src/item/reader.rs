//! The stream of items of an archive, read as its chunks come.

use super::{ITEM_KEYS, Item};
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
    /// Whether something is missing before the buffer, so that the next item has to be looked for.
    lost: bool,
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
            lost: false,
        }
    }

    /// Adds the next chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(chunk);
    }

    /// A chunk is missing here: what is unfinished stays so, and the next item is the first that
    /// begins behind it.
    pub fn lose_chunk(&mut self) {
        self.buffer.clear();
        self.taken = 0;
        self.lost = true;
    }

    /// No further chunk comes: what looked like the beginning of an item is none, and items may
    /// stand behind it. False when nothing is left to look at.
    pub fn give_up(&mut self) -> bool {
        let is_left = self.taken < self.buffer.len();
        self.pass_over();
        is_left
    }

    /// Goes on from the next bytes that are an item.
    fn pass_over(&mut self) {
        self.taken = (self.taken + 1).min(self.buffer.len());
        self.lost = true;
    }

    /// Looks for the beginning of an item. False when more chunks are needed.
    fn find_item(&mut self) -> bool {
        for start in self.taken..self.buffer.len() {
            let rest = self.buffer.get(start..).unwrap_or_default();
            if !begins_item(rest) {
                continue;
            }
            let found = match Scanner::new().scan(rest) {
                Ok(Some(length)) => Item::read(rest.get(..length).unwrap_or_default()).is_ok(),
                // It may end in the next chunk.
                Ok(None) if rest.len() <= ITEM_SIZE_MAX => {
                    self.taken = start;
                    return false;
                }
                _ => false,
            };
            if found {
                self.taken = start;
                self.scanner = Scanner::new();
                self.lost = false;
                return true;
            }
        }
        // A beginning may be cut in two.
        self.taken = self
            .taken
            .max(self.buffer.len().saturating_sub(BEGINNING_SIZE));
        false
    }

    /// The next item as it is spelt, or `None` when the next chunk is needed for it.
    ///
    /// # Errors
    ///
    /// [`Malformed`] when no item can begin here. Called again, it goes on at the next place where
    /// one can.
    pub fn next_encoded(&mut self) -> Result<Option<&[u8]>, Malformed> {
        if self.lost && !self.find_item() {
            return Ok(None);
        }
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let length = match self.scanner.scan(rest) {
            Ok(None) if rest.len() > ITEM_SIZE_MAX => Err(Malformed::TooLong {
                limit: ITEM_SIZE_MAX,
            }),
            scanned => scanned,
        };
        match length {
            Ok(Some(length)) => {
                let start = self.taken;
                self.scanner = Scanner::new();
                self.taken += length;
                Ok(self.buffer.get(start..self.taken))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.pass_over();
                Err(error)
            }
        }
    }

    /// The next item, or `None` when the next chunk is needed for it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::next_encoded`] and of [`Item::read`]. Called again, it goes on behind what
    /// is bad.
    pub fn next_item(&mut self) -> Result<Option<Item>, Malformed> {
        self.next_encoded()?.map(Item::read).transpose()
    }

    /// The bytes of which no item was made yet.
    pub(crate) fn rest(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    /// Makes sure that the last chunk ended with an item: otherwise items are missing. Behind
    /// damage without another item it is known that they are.
    ///
    /// # Errors
    ///
    /// [`Malformed::Truncated`].
    pub fn finish(&self) -> Result<(), Malformed> {
        match self.lost || self.buffer.len() == self.taken {
            true => Ok(()),
            false => Err(Malformed::Truncated),
        }
    }
}

/// Bytes that tell the beginning of an item: the head of a map and its first key.
const BEGINNING_SIZE: usize = 3 + 1 + 31;

/// Whether the bytes may be an item, which is a map whose first key is one that items have.
fn begins_item(bytes: &[u8]) -> bool {
    let ([0x81..=0x8f, rest @ ..] | [0xde, _, _, rest @ ..]) = bytes else {
        return false;
    };
    let Some((&head @ 0xa1..=0xbf, rest)) = rest.split_first() else {
        return false;
    };
    let key = rest.get(..usize::from(head & 0x1f));
    key.is_some_and(|key| ITEM_KEYS.iter().any(|known| known.as_bytes() == key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of these chunks, a lost one among them: the first letters of the paths, and how
    /// many places were no item.
    fn salvaged(chunks: &[Option<&[u8]>]) -> (String, u32) {
        let (mut names, mut gaps) = (String::new(), 0);
        let mut reader = ItemReader::new();
        let mut take = |reader: &mut ItemReader| {
            loop {
                match reader.next_item() {
                    Ok(Some(item)) => names.push_str(&item.path.to_string()[..1]),
                    Ok(None) => break,
                    Err(_) => gaps += 1,
                }
            }
        };
        for chunk in chunks {
            match chunk {
                Some(chunk) => reader.push(chunk),
                None => reader.lose_chunk(),
            }
            take(&mut reader);
        }
        let is_cut = reader.finish().is_err();
        while reader.give_up() {
            take(&mut reader);
        }
        (names, gaps + u32::from(is_cut))
    }

    #[test]
    fn behind_a_lost_chunk_the_next_whole_item_is_found_wherever_it_was_cut() {
        let good = stream();
        let one = good.len() / 3;
        for from in 0..one {
            for to in from + 1..=2 * one {
                let chunks = [Some(&good[..from]), None, Some(&good[to..])];
                let expected = if to <= one { "bc" } else { "c" };
                assert_eq!(salvaged(&chunks), (expected.into(), 0), "{from}..{to}");
                // In pieces, as chunks come.
                let mut pieces = vec![None];
                pieces.extend(good[to..].chunks(7).map(Some));
                assert_eq!(salvaged(&pieces), (expected.into(), 0), "{to}..");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_item_are_passed_over_and_counted() {
        let one = stream().len() / 3;
        let (first, rest) = (&stream()[..one], &stream()[one..]);
        for nonsense in [
            b"\xc1 nonsense \x81\xa4path".as_slice(),
            // No item, though it is well spelt.
            b"\x81\xa4path\xa1x",
        ] {
            let all = [first, nonsense, rest].concat();
            assert_eq!(salvaged(&[Some(&all)]), ("abc".into(), 1));
        }
        // What claims to be longer than all that there is hides nothing.
        let long = [first, b"\x81\xa4path\xc6\0\xff\xff\xff", rest].concat();
        assert_eq!(salvaged(&[Some(&long)]), ("abc".into(), 1));
        assert_eq!(salvaged(&[None, Some(&long)]), ("abc".into(), 1));
    }

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
