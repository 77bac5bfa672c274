//! One run at a time: who works holds a lock of the kernel on a file in the state home.
//!
//! The kernel takes the lock back when the process ends in any way, `kill -9` included, so no
//! lock outlives its holder and nobody ever has to remove one. Programs that we start do not
//! inherit it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{FlockOperation, flock};

use crate::{Error, Machine, create_private_folder};

/// What only one process at a time may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Adding snapshots.
    Backup,
    /// Reading layers back on schedule. It may take hours, and backups go on meanwhile.
    Verify,
    /// Telling people, and remembering what they were told.
    Notify,
}

impl Work {
    fn file(self) -> &'static str {
        match self {
            Self::Backup => "backup.lock",
            Self::Verify => "verify.lock",
            Self::Notify => "notify.lock",
        }
    }
}

/// The right to do a kind of work, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    _file: File,
}

impl Turn {
    /// Takes the turn if nobody has it.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] when another process has it; [`Error::State`] when the lock file cannot be
    /// written.
    pub fn take(work: Work, machine: &Machine) -> Result<Self, Error> {
        let path = machine.places.state.join(work.file());
        let failed = |source| Error::State {
            action: "write",
            path: path.clone(),
            source,
        };
        create_private_folder(&machine.places.state).map_err(failed)?;
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                let _ = file.take(100).read_to_string(&mut holder);
                return Err(Error::Busy {
                    holder: holder.trim().to_owned(),
                });
            }
            Err(errno) => return Err(failed(io::Error::from(errno))),
        }
        let holder = format!(
            "process {} since {}\n",
            std::process::id(),
            machine.now().strftime("%Y-%m-%d %H:%M")
        );
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(holder.as_bytes()));
        // Who holds it is told to people only; on a full disk the lock is held all the same.
        drop(written);
        Ok(Self { _file: file })
    }
}
