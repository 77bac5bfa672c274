//! Random bytes for keys, passphrases and identifiers.

use std::io;

/// Fills a buffer with random bytes that nobody can guess. Tests bring their own.
pub type Random = fn(&mut [u8]) -> io::Result<()>;

/// The operating system's random numbers.
///
/// # Errors
///
/// When the system has none, which no running Linux does.
pub fn system(buffer: &mut [u8]) -> io::Result<()> {
    getrandom::fill(buffer).map_err(io::Error::other)
}
