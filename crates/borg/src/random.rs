//! Where chance comes from.

use std::io;

/// A source of random bytes. Keys, salts and padding take one as an argument, so that tests
/// can repeat them.
pub trait Random: Send {
    /// Fills `bytes`.
    ///
    /// # Errors
    ///
    /// When the source has none to give; nothing of `bytes` may be used then.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The operating system's random numbers, good enough for keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        getrandom::fill(bytes).map_err(io::Error::other)
    }
}
