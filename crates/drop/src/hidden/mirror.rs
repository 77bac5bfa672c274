//! The plain files, brought in line with the index.
//!
//! A plain file is looked at before it is replaced or deleted. If it is neither what this device
//! saw last nor any version of the file that is known, somebody has put it there by hand: its
//! content becomes a conflict copy before anything else is done. Between the look and the act is
//! a moment in which a change by hand could be missed; no store but Dropbox offers to close it.

use std::io::Read;
use std::sync::Arc;

use jiff::Timestamp;
use store::{DigestKind, ErrorKind, Name, Range, Spool, Store, WriteMode};

use super::seen::{Sight, tag};
use super::{Hidden, digest, kept_name};
use crate::folder::not_held;
use crate::{Change, Device, Error, Outcome, Problem, What, conflict_name};

/// What of a file is held in memory while it is copied: 4 MiB.
const MEMORY_MAX: usize = 4 << 20;

/// An object of a store as content for another.
pub(super) struct Stored {
    store: Arc<dyn Store>,
    name: Name,
    size: u64,
}

impl Stored {
    pub(super) fn new(store: Arc<dyn Store>, name: Name, size: u64) -> Self {
        Self { store, name, size }
    }
}

impl store::Content for Stored {
    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, offset: u64) -> std::io::Result<Box<dyn Read + Send + '_>> {
        let range = if offset == 0 {
            Range::WHOLE
        } else {
            Range {
                start: offset,
                size: None,
            }
        };
        Ok(self.store.read(&self.name, range)?.body)
    }
}

impl Hidden {
    /// Brings the plain files of these changes in line; those that the store refuses are problems.
    pub(super) fn mirror_changes(
        &mut self,
        changes: &[Change<'_>],
        now: Timestamp,
    ) -> Result<(), Error> {
        let number = self.index.number;
        for deletes in [true, false] {
            for change in changes {
                let content = match &change.what {
                    What::Delete if deletes => None,
                    What::Put { content, hash, .. } if !deletes => Some((*content, &**hash)),
                    _ => continue,
                };
                self.mirror(&change.path, content, now)?;
            }
        }
        // While this device wrote, another may have committed: what is plain now must be theirs.
        self.read_changes()?;
        if self.index.number != number || !self.exclusive {
            for change in changes {
                let live = self.index.live(&change.path);
                let current = live.map(|record| &record.version.id);
                if current != self.seen.get(&change.path).map(|sight| &sight.version) {
                    self.mirror(&change.path, None, now)?;
                }
            }
        }
        Ok(())
    }

    /// Brings one plain file in line. `content` is what a device holds at hand, with its checksum.
    pub(super) fn mirror(
        &mut self,
        path: &Name,
        content: Option<(&dyn store::Content, &str)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        if !self.save_what_is_foreign(path, now)? {
            return Ok(());
        }
        let Some(record) = self.index.live(path).cloned() else {
            self.store.delete(path)?;
            self.seen.forget(path);
            return Ok(());
        };
        let (Some(kept), Some(is)) = (&record.kept, record.version.content()) else {
            return Ok(());
        };
        let stored;
        let content = match content {
            Some((content, hash)) if *hash == *is.hash => content,
            _ => {
                stored = Stored::new(Arc::clone(&self.store), kept_name(kept)?, is.size);
                &stored
            }
        };
        match self.store.write(path, content, WriteMode::Replace) {
            Ok(object) => {
                let sight = Sight {
                    tag: tag(&object),
                    version: record.version.id,
                    missing_since: None,
                };
                self.seen.set(path, sight);
                Ok(())
            }
            Err(error) if error.is_passing() => Err(error.into()),
            // It is in the history, and devices get it from there. But no other program sees it.
            Err(error) => {
                self.problems.push(Problem::new(
                    path,
                    format!("it is kept, but cannot stand under its name at the store: {error}"),
                ));
                Ok(())
            }
        }
    }

    /// Makes a version of what stands there if nobody knows it. `false` when it must be left alone.
    fn save_what_is_foreign(&mut self, path: &Name, now: Timestamp) -> Result<bool, Error> {
        let found = match self.store.stat(path) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(true),
            found => found?,
        };
        if self
            .seen
            .get(path)
            .is_some_and(|sight| sight.tag == tag(&found))
        {
            return Ok(true);
        }
        let Some((spool, hash)) = self.fetch_plain(path)? else {
            return Ok(true);
        };
        if self.index.ever(path, &hash) {
            return Ok(true);
        }
        let modified = found
            .modified
            .and_then(|time| Timestamp::try_from(time).ok())
            .unwrap_or(now);
        let device = Device::elsewhere();
        for number in 1..100 {
            let change = Change {
                path: conflict_name(path, &device, now, number)?,
                base: None,
                what: What::Put {
                    content: &spool,
                    hash: hash.clone(),
                    modified,
                },
            };
            let outcomes = self.commit_as(&device, &[change], now)?;
            if let [Outcome::Done(_)] = outcomes[..] {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads a plain file; `None` when it is gone.
    pub(super) fn fetch_plain(&self, path: &Name) -> Result<Option<(Spool, Box<str>)>, Error> {
        let reading = match self.store.read(path, Range::WHOLE) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            reading => reading?,
        };
        let folder = crate::folder::spool_folder(&self.environment);
        let spool = Spool::collect(reading.body, MEMORY_MAX, &folder)
            .map_err(|error| not_held(error, path))?;
        let reader = store::Content::open(&spool, 0);
        let (hash, _) = reader
            .and_then(|reader| digest(reader, DigestKind::Sha256))
            .map_err(|source| Error::cannot_hold(folder, source))?;
        Ok(Some((spool, hash)))
    }
}
