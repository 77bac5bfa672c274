//! Counter values, reserved in the repository and on this machine.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::home::create_private_dir;
use crate::{Backend, Error, Reservation, plan_reservation, save_file};

/// Blocks of 16 bytes: 256 TiB, of which the numbers allow a million.
pub(crate) const COUNTER_LEAP: u64 = 1 << 44;

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

    /// What this machine remembers; `others` is what the repository knows. Where it is garbled,
    /// counters go on far behind anything that can ever have been written.
    fn read_local(&self, others: u64) -> Result<Option<u64>, Error> {
        match fs::read(&self.path) {
            Ok(bytes) => {
                let text = std::str::from_utf8(&bytes).unwrap_or_default();
                match u64::from_str_radix(text.trim_end(), 16) {
                    Ok(remembered) => Ok(Some(remembered)),
                    Err(_) => {
                        let leap = others.checked_add(COUNTER_LEAP);
                        leap.map(Some).ok_or(Error::CountersUsedUp)
                    }
                }
            }
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
        let others = stored.unwrap_or_default().max(floor);
        let known = [Some(others), self.read_local(others)?];
        let range =
            plan_reservation(known.into_iter().flatten(), blocks).ok_or(Error::CountersUsedUp)?;
        self.repository
            .commit_nonce_reservation(range.end, stored)?;
        self.write_local(range.end)?;
        Ok(range)
    }
}
