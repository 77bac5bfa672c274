//! Cuts a stream of bytes into the values that were written to it.

use std::io::{self, ErrorKind, Read};

use super::FRAME_SIZE_MAX;
use crate::Malformed;
use crate::msgpack::Scanner;

/// So much is asked for at once.
const READ_SIZE: usize = 256 * 1024;

/// Reads one value after the other.
pub(crate) struct Frames<R> {
    input: R,
    buffer: Vec<u8>,
    /// What has not been handed out.
    start: usize,
    end: usize,
}

/// Why there is no next value.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The pipe says no.
    Io(io::Error),
    /// What came is not of this protocol.
    Malformed(Malformed),
}

impl<R: Read> Frames<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            buffer: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    /// The next value, whole, or `None` at the end. One that is cut off by the end is an error.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Broken> {
        let mut scanner = Scanner::new();
        loop {
            let rest = &self.buffer[self.start..self.end];
            if let Some(length) = scanner.scan(rest).map_err(Broken::Malformed)? {
                let from = self.start;
                self.start += length;
                return Ok(Some(&self.buffer[from..from + length]));
            }
            if rest.len() >= FRAME_SIZE_MAX {
                let limit = FRAME_SIZE_MAX;
                return Err(Broken::Malformed(Malformed::TooLong { limit }));
            }
            if self.read().map_err(Broken::Io)? == 0 {
                return match self.end - self.start {
                    0 => Ok(None),
                    _ => Err(Broken::Malformed(Malformed::Truncated)),
                };
            }
        }
    }

    /// Whether a whole value may be there without waiting.
    pub(super) fn has_more(&self) -> bool {
        self.start < self.end
    }

    fn read(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.end + READ_SIZE {
            // Doubling: a large value arrives in many pieces.
            let size = (self.end + READ_SIZE).max(self.buffer.len() * 2);
            self.buffer.resize(size.min(FRAME_SIZE_MAX + READ_SIZE), 0);
        }
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut buffer[..1])
        }
    }

    #[test]
    fn values_are_found_however_they_arrive() {
        let bytes = b"\x92\x01\xa2ab\xc0\xdb\x00\x00\x00\x03xyz";
        let mut frames = Frames::new(Trickle(bytes));
        for expected in [
            b"\x92\x01\xa2ab".as_slice(),
            b"\xc0",
            b"\xdb\x00\x00\x00\x03xyz",
        ] {
            assert_eq!(frames.next().unwrap(), Some(expected));
        }
        assert!(frames.next().unwrap().is_none());
    }

    #[test]
    fn a_value_that_is_cut_off_is_no_end() {
        let mut frames = Frames::new(b"\xa3ab".as_slice());
        assert!(matches!(
            frames.next(),
            Err(Broken::Malformed(Malformed::Truncated))
        ));
    }

    #[test]
    fn a_length_from_outside_allocates_nothing_and_ends_somewhere() {
        let endless = b"\xdb\xff\xff\xff\xff".chain(io::repeat(0));
        let mut frames = Frames::new(endless);
        assert!(matches!(
            frames.next(),
            Err(Broken::Malformed(Malformed::TooLong { .. }))
        ));
        assert!(frames.buffer.len() <= FRAME_SIZE_MAX + READ_SIZE);
    }
}
