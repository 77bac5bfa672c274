//! Reads the items of a damaged archive: all that can still be read.
//!
//! Behind a lost chunk, or bytes that are no item, the reader looks for the next place where a
//! whole item begins: a map whose first key is one that items have. What stands between is lost.

use crate::item::ITEM_KEYS;
use crate::msgpack::Scanner;
use crate::{Archives, Error, Id, Item};

/// Longest item that is looked for.
const ITEM_SIZE_MAX: usize = 60 << 20;

/// What was lost of a stream of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lost {
    /// Chunks of the stream that cannot be read.
    pub(super) chunks: u64,
    /// Places where bytes between two whole items are no item.
    pub(super) gaps: u64,
}

/// Hands every whole item of a stream to `receive`; `is_lost` says which chunks not to try.
pub(super) fn salvage(
    archives: &Archives,
    stream: &[Id],
    is_lost: &dyn Fn(&Id) -> bool,
    receive: &mut dyn FnMut(Item) -> Result<(), Error>,
) -> Result<Lost, Error> {
    let mut lost = Lost::default();
    let mut reader = Reader {
        buffer: Vec::new(),
        is_in_step: true,
    };
    for id in stream {
        let plain = match is_lost(id) {
            true => None,
            false => archives.read(id).ok(),
        };
        match plain {
            Some(plain) => reader.buffer.extend_from_slice(&plain),
            None => {
                lost.chunks += 1;
                reader.buffer.clear();
                reader.is_in_step = false;
            }
        }
        reader.take(&mut lost, receive, false)?;
    }
    reader.take(&mut lost, receive, true)?;
    Ok(lost)
}

struct Reader {
    buffer: Vec<u8>,
    /// Whether an item begins at the first byte.
    is_in_step: bool,
}

enum Next {
    Item(usize, Box<Item>),
    /// More bytes are needed to tell.
    Unknown,
    None,
}

impl Reader {
    fn take(
        &mut self,
        lost: &mut Lost,
        receive: &mut dyn FnMut(Item) -> Result<(), Error>,
        is_end: bool,
    ) -> Result<(), Error> {
        let mut at = 0;
        while at < self.buffer.len() {
            let rest = self.buffer.get(at..).unwrap_or_default();
            let next = match self.is_in_step || may_begin(rest) {
                true => item_at(rest),
                false => Next::None,
            };
            match next {
                Next::Item(length, item) => {
                    receive(*item)?;
                    at += length;
                    self.is_in_step = true;
                }
                Next::Unknown if !is_end => break,
                Next::Unknown | Next::None => {
                    lost.gaps += u64::from(self.is_in_step);
                    self.is_in_step = false;
                    at += 1;
                }
            }
        }
        self.buffer.drain(..at);
        Ok(())
    }
}

fn item_at(bytes: &[u8]) -> Next {
    match Scanner::new().scan(bytes) {
        Ok(Some(length)) => match Item::read(bytes.get(..length).unwrap_or_default()) {
            Ok(item) if !item.path.is_empty() => Next::Item(length, Box::new(item)),
            _ => Next::None,
        },
        Ok(None) if bytes.len() <= ITEM_SIZE_MAX => Next::Unknown,
        _ => Next::None,
    }
}

/// Whether the bytes look like the beginning of an item.
fn may_begin(bytes: &[u8]) -> bool {
    let ([0x80..=0x8f, key @ ..] | [0xde, _, _, key @ ..]) = bytes else {
        return false;
    };
    let Some((head @ 0xa0..=0xbf, text)) = key.split_first() else {
        return false;
    };
    let length = usize::from(*head & 0x1f);
    let known = |text| ITEM_KEYS.iter().any(|key| key.as_bytes() == text);
    text.get(..length).is_some_and(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let path = name.into();
        Item {
            path,
            ..Item::default()
        }
        .write(&mut bytes);
        bytes
    }

    fn salvaged(pieces: &[Option<&[u8]>]) -> (String, Lost) {
        let (mut names, mut lost) = (String::new(), Lost::default());
        let mut reader = Reader {
            buffer: Vec::new(),
            is_in_step: true,
        };
        let mut receive = |item: Item| {
            names.push_str(&item.path.to_string());
            Ok(())
        };
        for piece in pieces {
            match piece {
                Some(piece) => reader.buffer.extend_from_slice(piece),
                None => {
                    reader.buffer.clear();
                    reader.is_in_step = false;
                }
            }
            reader.take(&mut lost, &mut receive, false).unwrap();
        }
        reader.take(&mut lost, &mut receive, true).unwrap();
        (names, lost)
    }

    #[test]
    fn items_behind_a_lost_chunk_are_found_wherever_it_was_cut() {
        let stream = [item("a"), item("b"), item("c"), item("d")].concat();
        let one = item("a").len();
        for from in 0..one {
            for to in (from + 1)..(2 * one) {
                let (names, _) = salvaged(&[Some(&stream[..from]), None, Some(&stream[to..])]);
                let expected = if to <= one { "bcd" } else { "cd" };
                let expected = if to == 2 * one - 1 { "cd" } else { expected };
                assert_eq!(names, expected, "{from}..{to}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_item_are_passed_over_and_counted() {
        let stream = [item("a"), b"\xc1 nonsense \x81\xa4path".to_vec(), item("b")].concat();
        let (names, lost) = salvaged(&[Some(&stream)]);
        assert_eq!((names.as_str(), lost.gaps), ("ab", 1));
        let (names, lost) = salvaged(&[Some(&item("a")[..10])]);
        assert_eq!((names.as_str(), lost.gaps), ("", 1));
    }

    #[test]
    fn pieces_of_any_size_make_the_same_items() {
        let stream = [item("a"), item("b"), item("c")].concat();
        for size in 1..stream.len() {
            let pieces: Vec<_> = stream.chunks(size).map(Some).collect();
            assert_eq!(salvaged(&pieces), ("abc".into(), Lost::default()));
        }
    }
}
