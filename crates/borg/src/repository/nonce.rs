//! The counter values that are still free, as the repository remembers them.

use std::fs;
use std::io;

use super::{Access, Repository};
use crate::{Error, save_file};

const FILE: &str = "nonce";

/// 16 digits and a line end; a longer file is garbled.
const SIZE_MAX: u64 = 64;

impl Repository {
    /// The first counter value that nobody has reserved; `None` when nobody ever has.
    ///
    /// # Errors
    ///
    /// [`Error::NonceGarbled`]: what is there must not be taken for nothing.
    pub fn get_free_nonce(&self) -> Result<Option<u64>, Error> {
        let path = self.path.join(FILE);
        let garbled = || Error::NonceGarbled { path: path.clone() };
        match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("look at", path)(error)),
            Ok(metadata) if metadata.len() > SIZE_MAX => return Err(garbled()),
            Ok(_) => {}
        }
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let digits = text.trim_ascii();
        std::str::from_utf8(digits)
            .ok()
            .filter(|digits| digits.len() == 16 && !digits.starts_with('+'))
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Some)
            .ok_or_else(garbled)
    }

    /// Reserves all counter values below `next_free`. When this has returned they stay reserved,
    /// whatever happens.
    ///
    /// # Errors
    ///
    /// [`Error::NonceConflict`] when the first free value is not `expected`: another program has
    /// reserved some. [`Error::ReadOnly`], [`Error::Io`].
    pub fn commit_nonce_reservation(
        &self,
        next_free: u64,
        expected: Option<u64>,
    ) -> Result<(), Error> {
        if self.access != Access::Write {
            return Err(self.read_only());
        }
        if self.get_free_nonce()? != expected {
            return Err(Error::NonceConflict);
        }
        self.write_free_nonce(next_free)
    }

    /// Puts a value into the place of one that is [garbled](Error::NonceGarbled). It must be beyond
    /// everything that was ever used.
    ///
    /// # Errors
    ///
    /// [`Error::ReadOnly`], [`Error::Io`].
    pub(crate) fn replace_garbled_nonce(&self, next_free: u64) -> Result<(), Error> {
        if self.access != Access::Write {
            return Err(self.read_only());
        }
        match self.get_free_nonce() {
            Err(Error::NonceGarbled { .. }) => self.write_free_nonce(next_free),
            found => found.map(drop),
        }
    }

    fn write_free_nonce(&self, next_free: u64) -> Result<(), Error> {
        let path = self.path.join(FILE);
        let text = format!("{next_free:016x}");
        save_file::write_with_mode(&path, text.as_bytes(), self.file_mode)
            .map_err(Error::io("write", path))
    }
}
