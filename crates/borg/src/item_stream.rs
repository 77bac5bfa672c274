//! The items of an archive as one stream of bytes, cut into chunks of its own.

use crate::chunker::{Chunker, ChunkerParams};
use crate::{Error, Id, Item};

/// The buffer is cut when it holds more than this: some chunks of the largest size.
///
/// Where the cuts fall does not depend on it, for a cut is looked for from the last one on, and the
/// last chunk of a full buffer waits for more. The stock program gathers 8 MiB.
const BUFFER_SIZE: usize = 1 << 20;

/// Gathers items and cuts them.
pub(crate) struct ItemStream {
    buffer: Vec<u8>,
    chunker: Chunker,
    /// The chunks so far.
    ids: Vec<Id>,
}

impl ItemStream {
    /// Begins a stream; `seed` is that of the key.
    pub(crate) fn new(seed: u32) -> Self {
        Self {
            buffer: Vec::new(),
            chunker: Chunker::new(ChunkerParams::ITEMS, seed),
            ids: Vec::new(),
        }
    }

    /// Adds an item; `store` gets the chunks that are complete.
    pub(crate) fn add(
        &mut self,
        item: &Item,
        store: &mut dyn FnMut(&[u8]) -> Result<Id, Error>,
    ) -> Result<(), Error> {
        item.write(&mut self.buffer);
        if self.buffer.len() > BUFFER_SIZE {
            self.cut(false, store)?;
        }
        Ok(())
    }

    /// Stores what is left, and gives all chunks of the stream. It may go on afterwards.
    pub(crate) fn flush(
        &mut self,
        store: &mut dyn FnMut(&[u8]) -> Result<Id, Error>,
    ) -> Result<&[Id], Error> {
        self.cut(true, store)?;
        Ok(&self.ids)
    }

    fn cut(
        &mut self,
        all: bool,
        store: &mut dyn FnMut(&[u8]) -> Result<Id, Error>,
    ) -> Result<(), Error> {
        let mut cuts = self.chunker.cuts(&self.buffer);
        // Where the last chunk really ends is known only when more has been added.
        let rest = if all || cuts.len() == 1 {
            None
        } else {
            cuts.pop()
        };
        for cut in cuts {
            let chunk = self.buffer.get(cut).unwrap_or_default();
            self.ids.push(store(chunk)?);
        }
        let stored = rest.map_or(self.buffer.len(), |rest| rest.start);
        self.buffer.drain(..stored);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_fall_where_they_would_in_the_whole_stream() {
        let items: Vec<Item> = (0..100_000u32)
            .map(|number| Item {
                path: format!("folder/{}/{number}", number.wrapping_mul(2_654_435_761)).into(),
                mode: 0o100_644,
                size: Some(number.into()),
                ..Item::default()
            })
            .collect();
        let mut whole = Vec::new();
        items.iter().for_each(|item| item.write(&mut whole));
        assert!(whole.len() > 4 * BUFFER_SIZE);
        let expected = Chunker::new(ChunkerParams::ITEMS, 7).cuts(&whole);

        let mut stream = ItemStream::new(7);
        let mut lengths = Vec::new();
        let mut store = |chunk: &[u8]| {
            lengths.push(chunk.len());
            Ok(Id([0; 32]))
        };
        for item in &items {
            stream.add(item, &mut store).unwrap();
        }
        stream.flush(&mut store).unwrap();
        let expected: Vec<usize> = expected.into_iter().map(|cut| cut.len()).collect();
        assert_eq!(lengths, expected);
    }
}
