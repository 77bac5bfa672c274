//! The items of an archive as one stream of bytes, cut into chunks of its own.

use crate::chunker::{Chunker, ChunkerParams};
use crate::{Error, Id};

/// The buffer is cut when it holds more than this: some chunks of the largest size.
///
/// Where the cuts fall does not depend on it, for a cut is looked for from the last one on, and the
/// last chunk of a full buffer waits for more. The stock program gathers 8 MiB.
const BUFFER_SIZE: usize = 1 << 20;

/// Stores chunks, and gives their ids.
type StoreMany<'a> = dyn FnMut(&[&[u8]]) -> Result<Vec<Id>, Error> + 'a;

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

    /// Adds items, which `write` appends; `store` gets the chunks that are complete, some at once.
    pub(crate) fn add(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
        store: &mut StoreMany<'_>,
    ) -> Result<(), Error> {
        write(&mut self.buffer);
        if self.buffer.len() > BUFFER_SIZE {
            self.cut(false, store)?;
        }
        Ok(())
    }

    /// Stores what is left, and gives all chunks of the stream. It may go on afterwards.
    pub(crate) fn flush(&mut self, store: &mut StoreMany<'_>) -> Result<&[Id], Error> {
        self.cut(true, store)?;
        Ok(&self.ids)
    }

    fn cut(&mut self, all: bool, store: &mut StoreMany<'_>) -> Result<(), Error> {
        let mut cuts = self.chunker.cuts(&self.buffer);
        // Where the last chunk really ends is known only when more has been added.
        let rest = if all || cuts.len() == 1 {
            None
        } else {
            cuts.pop()
        };
        let stored = rest.map_or(self.buffer.len(), |rest| rest.start);
        let chunks = cuts.into_iter().filter_map(|cut| self.buffer.get(cut));
        let chunks: Vec<&[u8]> = chunks.collect();
        self.ids.append(&mut store(&chunks)?);
        self.buffer.drain(..stored);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Item;

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
        let mut store = |chunks: &[&[u8]]| {
            lengths.extend(chunks.iter().map(|chunk| chunk.len()));
            Ok(vec![Id([0; 32]); chunks.len()])
        };
        for item in &items {
            stream.add(|out| item.write(out), &mut store).unwrap();
        }
        stream.flush(&mut store).unwrap();
        let expected: Vec<usize> = expected.into_iter().map(|cut| cut.len()).collect();
        assert_eq!(lengths, expected);
    }
}
