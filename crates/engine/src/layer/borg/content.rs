//! The content of one file, as a stream.

use std::io;

use borg::{Archives, ChunkReader, Error as BorgError};

use super::{Content, Error};

/// Said of a file in which a repair has replaced what was lost.
pub(super) const REPAIRED: &str = "a repair has put zeros in the place of what was lost";

/// Reads the content of one file, chunk by chunk.
pub(super) struct Reader<'a> {
    chunks: ChunkReader<'a>,
    content: Content,
    next: usize,
    plain: Vec<u8>,
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(archives: &'a Archives, content: Content) -> Result<Self, Error> {
        Ok(Self {
            chunks: ChunkReader::new(archives)?,
            content,
            next: 0,
            plain: Vec::new(),
            position: 0,
        })
    }

    fn read_next(&mut self) -> Result<(), BorgError> {
        let rest = self.content.chunks.get(self.next..).unwrap_or_default();
        let plain = &mut self.plain;
        plain.clear();
        self.position = 0;
        let mut result = Ok(());
        let batch = rest.get(..1).unwrap_or_default();
        self.chunks.read_at_once(batch, |_, chunk| match chunk {
            Ok(chunk) => plain.extend_from_slice(chunk),
            Err(error) => result = Err(error),
        });
        result?;
        self.next += 1;
        Ok(())
    }
}

impl io::Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.plain.len() {
            if self.next == self.content.chunks.len() {
                return Ok(0);
            }
            if self.content.is_repaired {
                return Err(io::Error::other(REPAIRED));
            }
            self.read_next().map_err(io::Error::other)?;
        }
        let rest = self.plain.get(self.position..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(from);
        }
        self.position += length;
        Ok(length)
    }
}
