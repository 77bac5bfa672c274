//! Restoring into a file system: a plan from the signatures, then the deed from the volumes.
//!
//! What comes out of the volumes is compared with the signatures before it gets its name: a file
//! whose delta went wrong, or whose volume is damaged, is reported and not put in place of
//! anything. Signatures and volumes have one order, so both are walked side by side.

use std::io::Read;
use std::iter::Peekable;

use sha1::Sha1;
use sha1::digest::Digest;
use tree::{
    Entry, FileWriter, Placed, ProblemKind, RestoreError, RestorePlan, RestoreReport, Restorer,
    TreePath,
};

use crate::archive::Archive;
use crate::collection::BackupSet;
use crate::error::Error;
use crate::librsync::SignatureWriter;
use crate::listing::{Listed, Listing};
use crate::snapshot::{Item, Problem, Snapshot};

/// Largest file, for writers that are placed before the size of their file is known.
const SIZE_MAX: u64 = i64::MAX.cast_unsigned();

/// How much of a file is read at a time.
const BLOCK: usize = 128 << 10;

/// What is to be restored, and where it goes below the target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// This path and all below it; the root is everything.
    pub path: TreePath,
    /// The path becomes the target itself, instead of standing below it as it was stored. A file
    /// stands in the target under its own name.
    pub as_target: bool,
    /// Paths that begin with the first become paths that begin with the second, the first rule
    /// that fits; applied before `as_target`.
    pub renames: Vec<(TreePath, TreePath)>,
}

impl Selection {
    /// Everything, as it was stored.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Where an object goes; `None` when the renamed path is longer than paths can be.
    fn destination(&self, path: &TreePath) -> TreePath {
        let mut path = path.clone();
        if let Some((from, to)) = self.renames.iter().find(|(from, _)| path.starts_with(from)) {
            path = behind(&path, from).fold(to.clone(), |path, name| path.join(name));
        }
        if self.as_target && path.starts_with(&self.path) {
            let below =
                behind(&path, &self.path).fold(TreePath::root(), |path, name| path.join(name));
            return below;
        }
        path
    }
}

/// The components of `path` below `ancestor`.
fn behind<'a>(path: &'a TreePath, ancestor: &TreePath) -> impl Iterator<Item = &'a [u8]> {
    path.components().skip(ancestor.components().count())
}

/// What came of a restore.
#[derive(Debug)]
pub struct Restored {
    /// What happened below the target.
    pub report: RestoreReport,
    /// What the archive could not give.
    pub problems: Vec<Problem>,
    /// Objects that the signatures know and no volume holds.
    pub missing: Vec<TreePath>,
    /// What ended the restore before its time.
    pub stopped: Option<Error>,
}

impl Restored {
    /// Whether everything that the plan promised is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.report.is_complete()
            && self.problems.is_empty()
            && self.missing.is_empty()
            && self.stopped.is_none()
    }
}

impl Archive {
    /// What restoring would do; no volume is read.
    ///
    /// # Errors
    ///
    /// When the signatures cannot be read.
    pub fn restore_plan(
        &self,
        sets: &[BackupSet],
        selection: &Selection,
        restorer: &Restorer,
    ) -> Result<RestorePlan, Error> {
        let mut planner = restorer.planner();
        for listed in self.selected(sets, selection)? {
            planner.add(&placed_entry(listed?.entry, selection));
        }
        Ok(planner.finish())
    }

    fn selected<'a>(
        &self,
        sets: &[BackupSet],
        selection: &'a Selection,
    ) -> Result<impl Iterator<Item = Result<Listed, Error>> + 'a, Error> {
        let listing: Listing = self.listing(sets)?;
        Ok(listing.filter(|listed| match listed {
            Ok(listed) => listed.entry.path.starts_with(&selection.path),
            Err(_) => true,
        }))
    }

    /// Carries out a plan that was made of the same sets and selection.
    ///
    /// # Errors
    ///
    /// When nothing could be begun: a manifest or the signatures cannot be read, or the target
    /// cannot be used. Everything later is in what is given back.
    pub fn restore(
        &self,
        sets: &[BackupSet],
        selection: &Selection,
        restorer: Restorer,
        plan: RestorePlan,
    ) -> Result<Restored, Error> {
        let mut run = Run {
            listing: Numbered {
                listing: self.selected(sets, selection)?.peekable(),
                next: 0,
            },
            snapshot: self.snapshot(sets, &selection.path)?,
            selection,
            problems: Vec::new(),
            missing: Vec::new(),
        };
        let restore = restorer
            .start(plan)
            .map_err(|error| Error::Target(Box::new(error)))?;
        let stopped = run.run(&restore).err();
        let (problems, missing) = (run.problems, run.missing);
        Ok(Restored {
            report: restore.finish(),
            problems,
            missing,
            stopped,
        })
    }
}

fn placed_entry(mut entry: Entry, selection: &Selection) -> Entry {
    let is_file_itself =
        selection.as_target && entry.path == selection.path && !entry.is_directory();
    let name = entry.path.name().map(<[u8]>::to_vec);
    entry.path = match name.filter(|_| is_file_itself) {
        Some(name) => TreePath::root().join(&name),
        None => selection.destination(&entry.path),
    };
    entry
}

/// The objects of the signatures with their numbers in the plan.
struct Numbered<L: Iterator<Item = Result<Listed, Error>>> {
    listing: Peekable<L>,
    next: usize,
}

impl<L: Iterator<Item = Result<Listed, Error>>> Numbered<L> {
    /// Goes on to `path`; those before it are in no volume.
    fn find(
        &mut self,
        path: &TreePath,
        missing: &mut Vec<TreePath>,
    ) -> Result<Option<(usize, Listed)>, Error> {
        loop {
            match self.listing.peek() {
                Some(Ok(listed)) if listed.entry.path > *path => return Ok(None),
                None => return Ok(None),
                _ => {}
            }
            let Some(listed) = self.listing.next().transpose()? else {
                return Ok(None);
            };
            let number = self.next;
            self.next += 1;
            if listed.entry.path == *path {
                return Ok(Some((number, listed)));
            }
            missing.push(listed.entry.path);
        }
    }
}

struct Run<'a, L: Iterator<Item = Result<Listed, Error>>> {
    listing: Numbered<L>,
    snapshot: Snapshot,
    selection: &'a Selection,
    problems: Vec<Problem>,
    missing: Vec<TreePath>,
}

impl<L: Iterator<Item = Result<Listed, Error>>> Run<'_, L> {
    fn run(&mut self, restore: &tree::Restore) -> Result<(), Error> {
        while let Some(item) = self.snapshot.next()? {
            let entry = match item {
                Item::Object(entry) => entry,
                Item::Problem(problem) => {
                    self.problems.push(problem);
                    continue;
                }
            };
            // What no signature knows was taken back, or its deletion was in a volume that is lost.
            let Some((number, listed)) = self.listing.find(&entry.path, &mut self.missing)? else {
                continue;
            };
            let mut entry = placed_entry(entry, self.selection);
            if entry.is_file() {
                entry.size = SIZE_MAX;
            }
            match restore.place(number, entry).map_err(stop)? {
                Placed::Content(file) => self.content(&listed, file).map_err(stop)?,
                Placed::Done | Placed::Failed => {}
            }
        }
        while let Some(listed) = self.listing.listing.next().transpose()? {
            self.missing.push(listed.entry.path);
        }
        Ok(())
    }

    fn content(&mut self, listed: &Listed, file: FileWriter<'_>) -> Result<(), RestoreError> {
        let mut signature = Vec::new();
        let mut digest = Sha1::new();
        let mut writer = SignatureWriter::new(listed.block_length, &mut signature);
        let mut buffer = vec![0; BLOCK];
        let mut size = 0;
        loop {
            let count = match self.snapshot.read(&mut buffer) {
                Ok(count) => count,
                Err(source) => {
                    file.give_up(ProblemKind::Io {
                        action: "read the content from the archive",
                        source,
                    });
                    return Ok(());
                }
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            writer.push(bytes, &mut signature);
            digest.update(&signature);
            signature.clear();
            file.write_at(size, bytes)?;
            size += count as u64;
        }
        writer.finish(&mut signature);
        digest.update(&signature);
        let made: [u8; 20] = digest.finalize().into();
        if listed
            .fingerprint
            .is_some_and(|kept| made.first_chunk() != Some(&kept))
        {
            let source = std::io::Error::other("the content is not what was backed up");
            file.give_up(ProblemKind::Io {
                action: "restore the content",
                source,
            });
            return Ok(());
        }
        file.finish_at(size).map(drop)
    }
}

fn stop(error: RestoreError) -> Error {
    Error::Target(Box::new(error))
}
