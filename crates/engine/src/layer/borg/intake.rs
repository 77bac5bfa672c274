//! An archive in the making.

use std::time::Duration;

use borg::{Archives, Compression, Error as BorgError, NewArchive};
use jiff::Timestamp;
use tree::{Entry, Step};

use super::{BorgLayer, Error, Intake, NewSnapshot};
use crate::layer::{Committed, Statistics};

/// How often an archive that is not finished is made to stand as a checkpoint, so that a killed
/// run has not worked for nothing. As Borg does.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30 * 60);

/// Begins an archive.
pub(super) fn begin<'a>(
    archives: Archives,
    layer: &'a mut BorgLayer,
    new: &NewSnapshot,
) -> Result<Box<dyn Intake + 'a>, Error> {
    let new = new_archive(new, &layer.compression);
    let intake = borg::Intake::begin(archives, new, &layer.host)?;
    Ok(Box::new(BorgIntake { intake, layer }))
}

/// A snapshot in Borg's words.
pub(super) fn new_archive(new: &NewSnapshot, compression: &Compression) -> NewArchive {
    NewArchive {
        hostname: new.host.as_str().into(),
        username: new.user.as_str().into(),
        cmdline: vec!["ravelin".into(), "backup".into()],
        compression: compression.clone(),
        checkpoint_interval: Some(CHECKPOINT_INTERVAL),
        ..NewArchive::new(new.name.as_str(), new.time)
    }
}

/// Borg's statistics in our words.
pub(super) fn statistics(of: &borg::Statistics) -> Statistics {
    Statistics {
        files: of.totals.nfiles,
        bytes: of.totals.size,
        added_bytes: of.unique_csize,
    }
}

struct BorgIntake<'a> {
    intake: borg::Intake,
    layer: &'a mut BorgLayer,
}

impl Intake for BorgIntake<'_> {
    fn wants(&self, entry: &Entry) -> bool {
        self.intake.wants(entry)
    }

    fn take(&self, step: Step) -> Result<(), Error> {
        Ok(self.intake.take(step)?)
    }

    fn damaged(&self) -> Vec<String> {
        let unreadable = self.intake.unreadable().iter();
        unreadable.map(ToString::to_string).collect()
    }

    fn failure(self: Box<Self>, shown: Error) -> Error {
        // Only where the writer behind has stopped is there a deeper reason, and then a commit
        // cannot but tell it.
        match shown {
            Error::Borg(BorgError::Stopped) => match self.intake.commit() {
                Err(reason) => Error::Borg(reason),
                Ok(_) => shown,
            },
            shown => shown,
        }
    }

    fn commit(self: Box<Self>, _now: Timestamp) -> Result<Committed, Error> {
        let Self { intake, layer } = *self;
        let (archives, made) = intake.commit()?;
        layer.archives = Some(archives);
        Ok(statistics(&made).into())
    }
}
