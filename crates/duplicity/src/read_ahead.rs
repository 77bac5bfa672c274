//! A stream that is read by a thread of its own, some blocks ahead of who needs it.

use std::io::{self, BufRead, Cursor, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// How many bytes are handed over at a time. Decoders are slow in small pieces.
pub(crate) const BLOCK: usize = 128 << 10;

/// How many blocks may wait.
pub(crate) const BLOCKS_AHEAD: usize = 4;

/// Decoding and what is made of it keep a core busy each.
#[derive(Debug)]
pub(crate) struct ReadAhead {
    /// An empty block is the end.
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Cursor<Vec<u8>>,
    ended: bool,
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
        Self {
            blocks,
            block: Cursor::default(),
            ended: false,
        }
    }
}

/// The next bytes, in a block that is full but for the last one, which is empty.
pub(crate) fn next_block(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = Vec::with_capacity(BLOCK);
    input.take(BLOCK as u64).read_to_end(&mut block)?;
    Ok(block)
}

/// What a reader that has blocks does when it is asked for bytes.
pub(crate) fn read_through(reader: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let count = reader.fill_buf()?.read(buffer)?;
    reader.consume(count);
    Ok(count)
}

impl BufRead for ReadAhead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while !self.ended && self.block.fill_buf()?.is_empty() {
            // A thread that broke down is not the end of the stream.
            let broken = |_| io::Error::other("the thread that reads broke down");
            let block = self.blocks.recv().map_err(broken)??;
            self.ended = block.is_empty();
            self.block = Cursor::new(block);
        }
        self.block.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.block.consume(count);
    }
}

impl Read for ReadAhead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_through(self, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ReadAhead::new(Cursor::new(bytes.clone()))
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, bytes);
        assert_eq!(ReadAhead::new(io::empty()).read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn what_breaks_off_is_an_error_and_no_end() {
        for panics in [false, true] {
            let left = 5 * BLOCK;
            let mut reader = ReadAhead::new(Breaks { left, panics });
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap_err();
            assert_eq!(read.len(), left);
        }
    }
}
