//! A set in the making.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tree::{Body, Entry, EntryKind, Step, Time, TreePath};

use super::{DuplicityLayer, Error, Intake};
use crate::layer::{Committed, Statistics};

/// Takes a set in, and adds the folders above the sources: a reader of the format walks a tree and
/// wants it to be one.
pub(super) struct DuplicityIntake<'a> {
    intake: duplicity::Intake,
    /// The snapshots of the chain that was not gone on with, as it is damaged.
    damaged: Vec<String>,
    layer: &'a mut DuplicityLayer,
    /// The last entry that was taken.
    last: Mutex<Option<TreePath>>,
}

impl<'a> DuplicityIntake<'a> {
    pub(super) fn new(
        intake: duplicity::Intake,
        damaged: Vec<String>,
        layer: &'a mut DuplicityLayer,
    ) -> Self {
        Self {
            intake,
            damaged,
            layer,
            last: Mutex::new(None),
        }
    }

    /// Takes the folders above `path` that did not come yet.
    fn take_way_to(&self, path: &TreePath) -> Result<(), Error> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_taken =
            |folder: &TreePath| last.as_ref().is_some_and(|last| last.starts_with(folder));
        let mut way = Vec::new();
        let mut folder = path.parent();
        while let Some(above) = folder.filter(|folder| !is_taken(folder)) {
            folder = above.parent();
            way.push(above);
        }
        for folder in way.into_iter().rev() {
            let entry = Arc::new(folder_entry(folder));
            let body = Body::None;
            self.intake.take(Step::Entry { entry, body })?;
        }
        *last = Some(path.clone());
        Ok(())
    }
}

impl Intake for DuplicityIntake<'_> {
    fn wants(&self, entry: &Entry) -> bool {
        self.intake.wants(entry)
    }

    fn take(&self, step: Step) -> Result<(), Error> {
        if let Step::Entry { entry, .. } = &step {
            self.take_way_to(&entry.path)?;
        }
        Ok(self.intake.take(step)?)
    }

    fn snapshot(&self) -> Option<String> {
        Some(self.intake.set().end().to_string())
    }

    fn damaged(&self) -> Vec<String> {
        self.damaged.clone()
    }

    fn commit(self: Box<Self>, _now: Timestamp) -> Result<Committed, Error> {
        let Self { intake, layer, .. } = *self;
        let end = intake.set().end();
        let summary = intake.commit()?;
        layer.collection = layer.archive.collection(end.max(layer.now()))?;
        Ok(Statistics {
            files: summary.files,
            bytes: summary.bytes,
            added_bytes: summary.stored_bytes,
        }
        .into())
    }
}

/// A folder above the sources, as it stands on this machine. One that cannot be looked at any more
/// gets what restores it harmlessly: only root may enter.
fn folder_entry(path: TreePath) -> Entry {
    let local = Path::new("/").join(path.as_path());
    let (mut mode, mut owner, mut mtime) = (0o700, (0, 0), Time::default());
    if let Ok(metadata) = std::fs::metadata(&local) {
        mode = metadata.mode() & 0o7777;
        owner = (metadata.uid(), metadata.gid());
        mtime = Time::new(metadata.mtime(), 0);
    }
    Entry::new(path, EntryKind::Directory, mode, owner, mtime)
}
