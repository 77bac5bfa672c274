//! The items of an archive as one stream of bytes, cut into chunks of its own.

use crate::chunker::{Chunker, ChunkerParams};
use crate::{Error, Id, Item};

/// The buffer is cut when it holds more than this.
///
/// Source: `ChunkBuffer.BUFFER_SIZE` in Borg 1.4's `archive.py`. With another size the chunks
/// would differ from the stock program's, and archives of unchanged trees share them.
const BUFFER_SIZE: usize = 8 << 20;

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
