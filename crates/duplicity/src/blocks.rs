//! Streams that come in blocks, as readers.

use std::io::{self, BufRead, Cursor, Read};

/// A stream that comes in blocks.
pub(crate) trait Blocks {
    /// The next bytes, which may be none; `None` at the end, behind which nobody asks again.
    ///
    /// `used` is the block before, whose room may be taken: large pieces of memory are slow to come by.
    fn next_block(&mut self, used: Vec<u8>) -> io::Result<Option<Cursor<Vec<u8>>>>;
}

/// Reads what comes in blocks.
#[derive(Debug)]
pub(crate) struct BlockReader<B> {
    /// `None` behind the end.
    blocks: Option<B>,
    block: Cursor<Vec<u8>>,
}

impl<B> BlockReader<B> {
    /// Nothing is read yet.
    pub(crate) fn new(blocks: B) -> Self {
        Self {
            blocks: Some(blocks),
            block: Cursor::default(),
        }
    }
}

impl<B: Blocks> BufRead for BlockReader<B> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.block.fill_buf()?.is_empty()
            && let Some(blocks) = &mut self.blocks
        {
            let used = std::mem::take(&mut self.block).into_inner();
            match blocks.next_block(used)? {
                Some(block) => self.block = block,
                None => self.blocks = None,
            }
        }
        self.block.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.block.consume(count);
    }
}

impl<B: Blocks> Read for BlockReader<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is asked for comes from the end.
    struct Given(Vec<io::Result<Option<&'static str>>>);

    impl Blocks for Given {
        fn next_block(&mut self, _: Vec<u8>) -> io::Result<Option<Cursor<Vec<u8>>>> {
            let block = self.0.pop().expect("nobody asks behind the end")?;
            Ok(block.map(|block| Cursor::new(block.into())))
        }
    }

    #[test]
    fn an_empty_block_is_no_end_and_an_error_is_none_either() {
        let cut = || Err(io::Error::other("cut"));
        let blocks = [
            Ok(None),
            Ok(Some("d")),
            cut(),
            Ok(Some("")),
            Ok(Some("abc")),
        ];
        let mut reader = BlockReader::new(Given(blocks.into()));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap_err();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"d");
        assert!(reader.fill_buf().unwrap().is_empty());
    }

    #[test]
    fn what_was_read_gives_its_room_back() {
        struct Counts(usize);
        impl Blocks for Counts {
            fn next_block(&mut self, used: Vec<u8>) -> io::Result<Option<Cursor<Vec<u8>>>> {
                assert_eq!(used.len(), self.0);
                self.0 += 1;
                Ok((self.0 < 5).then(|| Cursor::new(vec![0; self.0])))
            }
        }
        let read = io::copy(&mut BlockReader::new(Counts(0)), &mut io::sink());
        assert_eq!(read.unwrap(), 1 + 2 + 3 + 4);
    }
}
