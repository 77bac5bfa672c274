//! A stream that is read by a thread of its own, some blocks ahead of who needs it.

use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::blocks::Blocks;

/// How many bytes are handed over at a time. Decoders are slow in small pieces.
pub(crate) const BLOCK: usize = 128 << 10;

/// How many blocks may wait.
pub(crate) const BLOCKS_AHEAD: usize = 4;

/// Decoding and what is made of it keep a core busy each.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    /// An empty block is the end.
    blocks: Receiver<io::Result<Vec<u8>>>,
}

impl ReadAhead {
    /// Begins to read. Dropped before the end, it leaves the rest unread.
    pub(crate) fn new(mut input: impl Read + Send + 'static) -> Self {
        let (out, blocks) = sync_channel(BLOCKS_AHEAD);
        thread::spawn(move || {
            loop {
                let block = next_block(&mut input);
                let is_last = block.as_ref().map_or(true, Vec::is_empty);
                if out.send(block).is_err() || is_last {
                    return;
                }
            }
        });
        Self { blocks }
    }
}

/// The next bytes, in a block that is full but for the last one, which is empty.
pub(crate) fn next_block(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    input.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

impl Blocks for ReadAhead {
    fn next_block(&mut self, _: Vec<u8>) -> io::Result<Option<Cursor<Vec<u8>>>> {
        // A thread that broke down is not the end of the stream.
        let broken = |_| io::Error::other("the thread that reads broke down");
        let block = self.blocks.recv().map_err(broken)??;
        Ok((!block.is_empty()).then(|| Cursor::new(block)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blocks::BlockReader;

    /// Gives so many bytes, then fails or panics.
    struct Breaks {
        left: usize,
        panics: bool,
    }

    impl Read for Breaks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 {
                assert!(!self.panics, "on purpose");
                return Err(io::Error::other("cut"));
            }
            let count = buffer.len().min(self.left);
            buffer[..count].fill(7);
            self.left -= count;
            Ok(count)
        }
    }

    #[test]
    fn every_byte_comes_in_order() {
        let bytes = testkit::Random::new(6).noise(3 * BLOCK + 17);
        let mut read = Vec::new();
        BlockReader::new(ReadAhead::new(Cursor::new(bytes.clone())))
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, bytes);
        let mut empty = BlockReader::new(ReadAhead::new(io::empty()));
        for _ in 0..2 {
            assert_eq!(empty.read(&mut [0; 8]).unwrap(), 0);
        }
    }

    #[test]
    fn what_breaks_off_is_an_error_and_no_end() {
        for panics in [false, true] {
            let left = 5 * BLOCK;
            let mut reader = BlockReader::new(ReadAhead::new(Breaks { left, panics }));
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap_err();
            assert_eq!(read.len(), left);
        }
    }
}
