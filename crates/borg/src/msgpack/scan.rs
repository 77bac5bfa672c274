//! Finds the end of a value whose bytes come piece by piece.

use super::read::{Head, Reader};
use super::{DEPTH_MAX, Malformed};

/// Finds where a value ends, looking at each byte once however often more of them arrive.
#[derive(Debug, Clone)]
pub(crate) struct Scanner {
    /// How many values are still to come, for each container that is open.
    open: [u64; DEPTH_MAX],
    depth: usize,
    /// Offset of the next head.
    position: usize,
}

impl Scanner {
    /// Begins at the first byte of a value.
    pub(crate) fn new() -> Self {
        let mut open = [0; DEPTH_MAX];
        if let Some(outermost) = open.first_mut() {
            *outermost = 1;
        }
        Self {
            open,
            depth: 0,
            position: 0,
        }
    }

    /// Looks on. `bytes` are those of earlier calls with more behind them.
    ///
    /// Gives the length of the value, or `None` when more bytes are needed.
    ///
    /// # Errors
    ///
    /// [`Malformed::TooDeep`], or [`Malformed::Unexpected`] for a byte that begins no value.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        loop {
            while self.open.get(self.depth) == Some(&0) {
                let Some(parent) = self.depth.checked_sub(1) else {
                    return Ok((self.position <= bytes.len()).then_some(self.position));
                };
                self.depth = parent;
            }
            let mut reader = Reader::new(bytes.get(self.position..).unwrap_or_default());
            let head = match reader.head() {
                Ok(head) => head,
                Err(Malformed::Truncated) => return Ok(None),
                Err(Malformed::Unexpected { expected, at }) => {
                    let at = at + self.position;
                    return Err(Malformed::Unexpected { expected, at });
                }
                Err(other) => return Err(other),
            };
            if let Some(left) = self.open.get_mut(self.depth) {
                *left -= 1;
            }
            self.position += reader.position();
            match head {
                // The content may not be there yet; then the next head is not there either.
                Head::Raw(length) => self.position += length,
                Head::Array(length) => self.enter(length as u64)?,
                Head::Map(length) => self.enter(2 * length as u64)?,
                _ => {}
            }
        }
    }

    fn enter(&mut self, values: u64) -> Result<(), Malformed> {
        self.depth += 1;
        *self.open.get_mut(self.depth).ok_or(Malformed::TooDeep)? = values;
        Ok(())
    }
}
