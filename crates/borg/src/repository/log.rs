//! The log as it stands in the files, whatever of it counts.

use super::Repository;
use super::entry::{Damage, Position, Tag};
use super::scan::{Found, SegmentReader};
use crate::{Error, Id};

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub at: Position,
    /// What it does.
    pub tag: Tag,
    /// To which object. All zero for a commit, as for the manifest.
    pub id: Id,
    /// What a PUT stores.
    pub data: Vec<u8>,
}

impl Repository {
    /// Calls `visit` for every whole entry of every segment, in the order of the log: also for
    /// those that were superseded and those that were never committed. Gives the damage between
    /// them.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], and those of `visit`, which end it.
    pub fn visit_log(
        &self,
        mut visit: impl FnMut(LogEntry) -> Result<(), Error>,
    ) -> Result<Vec<Damage>, Error> {
        let mut damages = Vec::new();
        for segment in self.segments.list()? {
            let mut reader = SegmentReader::open(&self.segments, segment)?;
            loop {
                match reader.next()? {
                    Found::Entry(entry) => visit(LogEntry {
                        at: entry.at,
                        tag: entry.tag,
                        id: entry.id,
                        data: entry.data().to_vec(),
                    })?,
                    Found::Damage(damage) => {
                        damages.push(damage);
                        reader.resynchronise()?;
                    }
                    Found::End => break,
                }
            }
        }
        Ok(damages)
    }
}
