//! Counter values, reserved in the repository and on this machine.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::home::create_private_dir;
use crate::{Backend, Error, Reservation, plan_reservation, save_file};

/// Keeps the end of what was reserved in the repository's `nonce` file and in a file of the same
/// name in this machine's security folder. Whichever is lost, the other one still holds.
pub(crate) struct StoredCounters {
    repository: Backend,
    /// This machine's file.
    path: PathBuf,
}

impl StoredCounters {
    pub(crate) fn new(repository: Backend, security: PathBuf) -> Self {
        Self {
            repository,
            path: security.join("nonce"),
        }
    }

    fn read_local(&self) -> Result<Option<u64>, Error> {
        match fs::read_to_string(&self.path) {
            Ok(text) => u64::from_str_radix(text.trim_end(), 16)
                .map(Some)
                .map_err(|_| Error::NonceGarbled {
                    path: self.path.clone(),
                }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::LocalState {
                path: self.path.clone(),
                source,
            }),
        }
    }

    fn write_local(&self, end: u64) -> Result<(), Error> {
        create_private_dir(save_file::parent(&self.path))
            .and_then(|()| save_file::write(&self.path, format!("{end:016x}").as_bytes()))
            .map_err(|source| Error::LocalState {
                path: self.path.clone(),
                source,
            })
    }
}

impl Reservation for StoredCounters {
    type Error = Error;

    fn reserve(&mut self, floor: u64, blocks: u64) -> Result<Range<u64>, Error> {
        let stored = self.repository.get_free_nonce()?;
        let known = [Some(floor), stored, self.read_local()?];
        let range =
            plan_reservation(known.into_iter().flatten(), blocks).ok_or(Error::CountersUsedUp)?;
        self.repository
            .commit_nonce_reservation(range.end, stored)?;
        self.write_local(range.end)?;
        Ok(range)
    }
}
