//! Two-way synchronisation of a folder of this machine with a drop folder.
//!
//! # The order of steps, and why it is safe
//!
//! A round looks at both sides, decides for each file ([`decide`]), and acts:
//!
//! 1. Files that both sides changed get the name of a conflict copy here. Nothing is lost by it.
//! 2. What was deleted there is deleted here, if it is still what was agreed upon.
//! 3. What was changed or deleted here is committed there, each change upon the version that was
//!    seen: if another device was faster, nothing happens and the next round decides anew.
//! 4. What was changed there is downloaded, compared with its checksum, synced, and exchanged with
//!    the old file in one step; what comes out is looked at once more.
//!
//! The state is written after each step, and may be behind or gone: a content that both sides have
//! is agreed upon again without a transfer, and one that the history knows is never a conflict. So
//! a run that is killed anywhere is continued by the next.

mod decide;
mod ignore;
mod local;
mod state;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::ops::{Bound, ControlFlow};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use store::{Content as _, Name, Random, Spool, SpoolError};

use decide::{Action, Here, decide};
pub use ignore::{Ignore, Selection};
use local::{Local, Placed, Scanned, Stat};
use state::{Base, StateFile};
pub use watch::Watch;

use crate::{
    Change, Device, Error, Folder, Outcome, Problem, Version, What, conflict_name, hidden,
};

/// So often a run looks at both sides again because something changed meanwhile.
const ROUNDS: u32 = 12;

/// Changes that are committed together.
const BATCH_FILES: usize = 100;

/// Bytes of files that are held for one commit: 8 MiB, or one larger file.
const BATCH_SIZE: u64 = 8 << 20;

/// A file whose last change is at least so many nanoseconds old shows the next one in its times.
const SETTLED_AFTER: i64 = 2_000_000_000;

/// One step that was made, as it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which file.
    pub path: Name,
    /// What was done with it.
    pub did: Did,
    /// Bytes that were moved.
    pub bytes: u64,
}

/// What was done with a file, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Did {
    /// It went to the store.
    Uploaded,
    /// It came from the store.
    Downloaded,
    /// It was deleted on this machine.
    DeletedHere,
    /// It was deleted at the store.
    DeletedThere,
    /// Both sides had changed it: this machine's is kept under this name.
    KeptBoth,
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// All steps in their order.
    pub steps: Vec<Step>,
    /// Files that were changed at the store by hand and are versions now.
    pub adopted: Vec<Name>,
    /// What a person should know of single files.
    pub problems: Vec<Problem>,
    /// Files that were being written while they were read: the next run takes them.
    pub in_motion: Vec<Name>,
    /// Both sides are the same now, but for problems and files in motion.
    pub complete: bool,
}

/// The right to follow a folder; it ends with this value, or with the program.
#[derive(Debug)]
pub struct Following(#[expect(dead_code, reason = "held for its lock")] Option<File>);

/// A folder of this machine that is kept the same as a drop folder.
pub struct Sync {
    local: Local,
    /// The name of this device, for conflict copies.
    pub device: Device,
    /// What is left out.
    pub ignore: Ignore,
    /// Which folders this device has.
    pub selection: Selection,
    /// That all files of this machine are gone is meant: they are deleted at the store, too.
    pub allow_empty: bool,
    state: Option<PathBuf>,
    random: Random,
}

/// Both sides and what has to happen.
struct Round {
    here: BTreeMap<Name, Here>,
    there: BTreeMap<Name, Version>,
    actions: Vec<(Name, Action)>,
}

impl Sync {
    /// Takes a folder of this machine, which must exist. Its rules in `.ravelinignore` are read.
    ///
    /// `state` is a folder of this machine for what was last agreed upon; without one each run
    /// compares every content.
    ///
    /// # Errors
    ///
    /// [`Error::Local`] when the folder cannot be opened, [`Error::BadPattern`] for its rules.
    pub fn new(
        folder: &Path,
        device: Device,
        state: Option<&Path>,
        random: Random,
    ) -> Result<Self, Error> {
        let local = Local::open(folder)?;
        let text = crate::local_file::read(&folder.join(ignore::IGNORE_FILE));
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_default();
        Ok(Self {
            local,
            device,
            ignore: Ignore::parse(&text)?,
            selection: Selection::default(),
            allow_empty: false,
            state: state.map(Path::to_owned),
            random,
        })
    }

    fn random(&self) -> String {
        let mut bytes = [0; 8];
        (self.random)(&mut bytes);
        hex::encode(bytes)
    }

    fn is_left_out(&self, path: &str) -> bool {
        self.ignore.is_ignored(path) || !self.selection.holds(path)
    }

    /// The file of the state: one for each pair of a folder here and a folder there.
    fn state_path(&self, folder: &Folder, ending: &str) -> Option<PathBuf> {
        use sha2::Digest as _;
        let path = std::os::unix::ffi::OsStrExt::as_bytes(self.local.path.as_os_str());
        let hash = sha2::Sha256::digest([folder.id().as_bytes(), b"\0", path].concat());
        let mut short = hex::encode(hash);
        short.truncate(16);
        Some(self.state.as_ref()?.join(format!("sync-{short}.{ending}")))
    }

    /// What a run would do, as far as both sides tell at present. Changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Sync::run`].
    pub fn plan(&self, folder: &mut Folder, now: Timestamp) -> Result<Vec<(Name, Did)>, Error> {
        let state_path = self.state_path(folder, "json");
        let mut state = StateFile::load(state_path.as_deref(), folder.id());
        folder.refresh(now)?;
        let mut report = SyncReport::default();
        let round = self.look(folder, &mut state, &mut report, i64::MAX)?;
        let did = |action: &Action| {
            Some(match action {
                Action::Agree | Action::Forget => return None,
                Action::Upload(_) => Did::Uploaded,
                Action::DeleteThere(_) => Did::DeletedThere,
                Action::Download => Did::Downloaded,
                Action::DeleteHere => Did::DeletedHere,
                Action::KeepBoth(_) => Did::KeptBoth,
            })
        };
        Ok(round
            .actions
            .into_iter()
            .filter_map(|(path, action)| Some((path, did(&action)?)))
            .collect())
    }

    /// Makes both sides the same.
    ///
    /// `on_step` hears of each step and ends the run by breaking.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached or the folder cannot be read; what was done stays, and the
    /// next run goes on. [`Error::FolderGone`] when the folder here has lost all its files and
    /// [`allow_empty`](Self::allow_empty) does not say that this is meant: a drive may be missing.
    pub fn run(
        &self,
        folder: &mut Folder,
        now: Timestamp,
        on_step: &mut dyn FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<SyncReport, Error> {
        let (_lock, started) = self.lock(folder)?;
        let state_path = self.state_path(folder, "json");
        let mut state = StateFile::load(state_path.as_deref(), folder.id());
        let mut report = SyncReport::default();
        let result = self.rounds(folder, &mut state, &mut report, now, started, on_step);
        // What was agreed upon is agreed upon, whatever came after.
        let saved = state.save().and_then(|()| folder.save());
        report.problems.extend(folder.take_problems());
        report.problems.sort_by(|a, b| a.path.cmp(&b.path));
        report.problems.dedup();
        result.and(saved)?;
        Ok(report)
    }

    fn rounds(
        &self,
        folder: &mut Folder,
        state: &mut StateFile,
        report: &mut SyncReport,
        now: Timestamp,
        started: i64,
        on_step: &mut dyn FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        folder.refresh(now)?;
        let ignored = |name: &Name| self.ignore.is_ignored(name.as_str());
        report.adopted = folder.adopt(now, &ignored)?;
        let mut acting = Acting {
            sync: self,
            now,
            started,
            on_step,
        };
        for _ in 0..ROUNDS {
            report.in_motion.clear();
            report.problems.clear();
            let round = self.look(folder, state, report, started)?;
            let work = acting.act(folder, state, report, &round)?;
            if !work {
                report.complete = true;
                return Ok(());
            }
            folder.refresh(now)?;
        }
        Ok(())
    }

    /// The right to follow the folder, for as long as it is held: changes are to be followed by one
    /// run alone, which goes on without an end. `None` when another does.
    ///
    /// # Errors
    ///
    /// When the state folder cannot be written.
    pub fn follow(&self, folder: &Folder) -> Result<Option<Following>, Error> {
        match self.state_path(folder, "watch") {
            Some(path) => Ok(self.take(&path)?.map(|file| Following(Some(file)))),
            None => Ok(Some(Following(None))),
        }
    }

    /// Locks a file of the state; `None` when another run has it.
    fn take(&self, path: &Path) -> Result<Option<File>, Error> {
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above).map_err(Error::local("create", above))?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::local("open", path))?;
        use rustix::fs::{FlockOperation, flock};
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::local("lock", path)(error.into())),
        }
    }

    /// One run at a time; the time of this file system at the start.
    fn lock(&self, folder: &Folder) -> Result<(Option<File>, i64), Error> {
        let Some(path) = self.state_path(folder, "lock") else {
            return Ok((None, 0));
        };
        let file = self.take(&path)?.ok_or_else(|| Error::Busy {
            path: self.local.path.clone(),
        })?;
        std::io::Write::write_all(&mut &file, b".")
            .and_then(|()| file.metadata())
            .map(|metadata| {
                let started = metadata
                    .mtime()
                    .saturating_mul(1_000_000_000)
                    .saturating_add(metadata.mtime_nsec());
                (Some(file), started)
            })
            .map_err(Error::local("write", &path))
    }

    /// Looks at both sides and decides.
    fn look(
        &self,
        folder: &mut Folder,
        state: &mut StateFile,
        report: &mut SyncReport,
        started: i64,
    ) -> Result<Round, Error> {
        let ignored = |path: &str, is_folder: bool| {
            self.ignore.is_ignored(path)
                || if is_folder {
                    !self.selection.reaches(path)
                } else {
                    !self.selection.holds(path)
                }
        };
        let scanned = self.local.scan(&ignored)?;
        let agreed = state
            .saved
            .files
            .keys()
            .filter(|path| !self.is_left_out(path))
            .count();
        if agreed > 0 && scanned.files.is_empty() && scanned.unknown.is_empty() && !self.allow_empty
        {
            return Err(Error::FolderGone {
                path: self.local.path.clone(),
                files: agreed,
            });
        }
        report.problems.extend(scanned.problems.iter().cloned());
        self.tidy(folder, &scanned)?;
        let there: BTreeMap<Name, Version> = folder
            .list()
            .into_iter()
            .filter(|version| !self.is_left_out(version.path.as_str()))
            .map(|version| (version.path.clone(), version))
            .collect();
        // What lost a race was never agreed upon by the others.
        let lost: Vec<Name> = state
            .saved
            .files
            .iter()
            .filter_map(|(path, base)| {
                let name = Name::new(path).ok()?;
                folder.keeping.is_lost(&name, &base.version).then_some(name)
            })
            .collect();
        for path in lost {
            state.forget(&path);
        }
        let mut here = BTreeMap::new();
        let mut skip: BTreeSet<Name> = BTreeSet::new();
        for (path, stat) in &scanned.files {
            match self.known_or_read(folder, state, path, stat, started) {
                Ok(Some(file)) => {
                    here.insert(path.clone(), file);
                }
                Ok(None) => {
                    report.in_motion.push(path.clone());
                    skip.insert(path.clone());
                }
                Err(error) => {
                    report.problems.push(Problem::new(path, one_line(&error)));
                    skip.insert(path.clone());
                }
            }
        }
        let mut paths: BTreeSet<Name> = here.keys().chain(there.keys()).cloned().collect();
        paths.extend(
            state
                .saved
                .files
                .keys()
                .filter_map(|path| Name::new(path).ok()),
        );
        let mut actions = Vec::new();
        for path in paths {
            let unknown = |below: &String| path.as_str().starts_with(below);
            if self.is_left_out(path.as_str())
                || skip.contains(&path)
                || scanned.unknown.iter().any(unknown)
            {
                continue;
            }
            let (here, there) = (here.get(&path), there.get(&path));
            let base = state.get(&path).cloned();
            let mut known = |hash: &str| folder.keeping.ever(&path, hash);
            if let Some(action) = decide(here, there, base.as_ref(), &mut known)? {
                actions.push((path, action));
            }
        }
        let mut round = Round {
            here,
            there,
            actions,
        };
        part_the_clashing(&mut round, folder.keeping.folds_case(), report);
        Ok(round)
    }

    /// Removes what an interrupted run has exchanged, if it is a known version; else it comes back.
    fn tidy(&self, folder: &mut Folder, scanned: &Scanned) -> Result<(), Error> {
        for (left, of) in &scanned.left {
            let (file, _) = self.local.read(left)?;
            let fail = Error::local("read", &self.local.path.join(left.as_str()));
            let (hash, _) = hidden::digest(file, folder.digest_kind()).map_err(fail)?;
            if folder.keeping.ever(of, &hash)? {
                self.local.remove_left(left)?;
            } else {
                self.keep_beside(left, of, Timestamp::UNIX_EPOCH)?;
            }
        }
        Ok(())
    }

    /// Gives a file the name of a conflict copy of `of`, or a place in one when `of` is a folder
    /// that it is in.
    fn keep_beside(&self, file: &Name, of: &Name, now: Timestamp) -> Result<Name, Error> {
        let below = file.as_str().strip_prefix(&format!("{of}/"));
        for number in 1..1000 {
            let mut name = conflict_name(of, &self.device, now, number)?;
            if let Some(below) = below {
                name = hidden::name(&format!("{name}/{below}"))?;
            }
            if self.local.rename(file, &name)? {
                return Ok(name);
            }
        }
        Err(Error::Conflict { name: of.clone() })
    }

    /// A file's checksum, from the state where its times tell that it is the same; `None` when it
    /// is being written to.
    fn known_or_read(
        &self,
        folder: &Folder,
        state: &StateFile,
        path: &Name,
        stat: &Stat,
        started: i64,
    ) -> Result<Option<Here>, Error> {
        if let Some(base) = state.get(path)
            && base.settled
            && base.stat == *stat
        {
            return Ok(Some(Here {
                hash: base.hash.clone(),
                stat: *stat,
                settled: true,
            }));
        }
        let (file, before) = self.local.read(path)?;
        let fail = Error::local("read", &self.local.path.join(path.as_str()));
        let (hash, size) = hidden::digest(&file, folder.digest_kind()).map_err(fail)?;
        let after = Local::stat_open(&file);
        if after != Some(before) || before.size != size {
            return Ok(None);
        }
        Ok(Some(Here {
            hash,
            stat: before,
            settled: is_settled(&before, started),
        }))
    }
}

fn is_settled(stat: &Stat, started: i64) -> bool {
    stat.changed.saturating_add(SETTLED_AFTER) < started
}

fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// A file here that stands where the other side has a folder, or in a folder where it has a file,
/// is kept beside it. Where the store folds case, two names here that it takes for one are a
/// problem, and only the first goes there.
fn part_the_clashing(round: &mut Round, folds_case: bool, report: &mut SyncReport) {
    let mut then: BTreeSet<Name> = round.there.keys().cloned().collect();
    for (path, action) in &round.actions {
        match action {
            Action::DeleteThere(_) => {
                then.remove(path);
            }
            Action::Download => {
                then.insert(path.clone());
            }
            _ => {}
        }
    }
    let mut folded: BTreeMap<String, Name> = BTreeMap::new();
    if folds_case {
        folded.extend(then.iter().map(|name| (fold(name.as_str()), name.clone())));
    }
    let mut parted: BTreeSet<Name> = BTreeSet::new();
    for (path, action) in &mut round.actions {
        if !matches!(action, Action::Upload(_)) {
            continue;
        }
        if let Some(folder) = clash(&then, path) {
            *action = Action::KeepBoth(folder);
            continue;
        }
        if folds_case {
            match folded.get(&fold(path.as_str())) {
                Some(other) if other != path => {
                    let what = format!(
                        "the store takes it for the same name as `{other}`, so it stays on this machine: give one of them another name"
                    );
                    report.problems.push(Problem::new(&*path, what));
                    *action = Action::Agree;
                    parted.insert(path.clone());
                    continue;
                }
                _ => {
                    folded.insert(fold(path.as_str()), path.clone());
                }
            }
        }
        then.insert(path.clone());
    }
    round
        .actions
        .retain(|(path, action)| !(parted.contains(path) && *action == Action::Agree));
}

/// What names that differ only in capitals have in common.
pub(crate) fn fold(text: &str) -> String {
    text.to_lowercase()
}

/// Whether a name needs a folder where another is a file (then which), or the other way round.
fn clash(names: &BTreeSet<Name>, path: &Name) -> Option<Option<Name>> {
    let above = path.as_str().match_indices('/').find_map(|(at, _)| {
        let name = Name::new(path.as_str().get(..at)?).ok()?;
        names.contains(&name).then_some(name)
    });
    if above.is_some() {
        return Some(above);
    }
    let prefix = format!("{path}/");
    let below = names
        .range::<Name, _>((Bound::Excluded(path), Bound::Unbounded))
        .find(|name| name.as_str() >= prefix.as_str());
    below
        .is_some_and(|name| name.as_str().starts_with(&prefix))
        .then_some(None)
}

/// What acting needs beside both sides.
struct Acting<'a> {
    sync: &'a Sync,
    now: Timestamp,
    started: i64,
    on_step: &'a mut dyn FnMut(&Step) -> ControlFlow<()>,
}

/// A file that waits for the commit.
struct Held {
    path: Name,
    base: Option<crate::VersionId>,
    /// `None` for a deletion.
    content: Option<(Spool, Box<str>, Stat)>,
}

impl Acting<'_> {
    fn step(
        &mut self,
        report: &mut SyncReport,
        path: &Name,
        did: Did,
        bytes: u64,
    ) -> Result<(), Error> {
        let step = Step {
            path: path.clone(),
            did,
            bytes,
        };
        let flow = (self.on_step)(&step);
        report.steps.push(step);
        match flow {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Stopped),
        }
    }

    /// Does what was decided. Whether there was anything to do.
    fn act(
        &mut self,
        folder: &mut Folder,
        state: &mut StateFile,
        report: &mut SyncReport,
        round: &Round,
    ) -> Result<bool, Error> {
        let mut work = false;
        for (path, action) in &round.actions {
            match action {
                Action::Agree => {
                    if let (Some(here), Some(there)) = (round.here.get(path), round.there.get(path))
                    {
                        state.set(path, agreed(here, there));
                    }
                }
                Action::Forget => state.forget(path),
                Action::KeepBoth(folder) => {
                    work = true;
                    self.part(report, path, folder.as_ref(), state)?;
                }
                _ => {}
            }
        }
        for (path, action) in &round.actions {
            if let (Action::DeleteHere, Some(here)) = (action, round.here.get(path)) {
                work |= self.delete_here(report, state, path, here)?;
            }
        }
        work |= self.send(folder, state, report, round)?;
        for (path, action) in &round.actions {
            if let (Action::Download, Some(there)) = (action, round.there.get(path)) {
                work |= self.fetch(folder, state, report, path, round.here.get(path), there)?;
            }
        }
        state.save()?;
        Ok(work)
    }

    fn part(
        &mut self,
        report: &mut SyncReport,
        path: &Name,
        folder: Option<&Name>,
        state: &mut StateFile,
    ) -> Result<(), Error> {
        let sync = self.sync;
        if sync.local.stat(path).is_none() {
            return Ok(());
        }
        let of = folder.unwrap_or(path);
        let name = sync.keep_beside(path, of, self.now)?;
        state.forget(path);
        sync.local.prune(path);
        self.step(report, &name, Did::KeptBoth, 0)
    }

    fn delete_here(
        &mut self,
        report: &mut SyncReport,
        state: &mut StateFile,
        path: &Name,
        here: &Here,
    ) -> Result<bool, Error> {
        let sync = self.sync;
        match sync.local.remove(path, &here.stat, &sync.random())? {
            Placed::Done(_) => {
                state.forget(path);
                sync.local.prune(path);
                self.step(report, path, Did::DeletedHere, 0)?;
            }
            Placed::Changed => {}
            Placed::Edited(name) => {
                let name = sync.keep_beside(&name, path, self.now)?;
                self.step(report, &name, Did::KeptBoth, 0)?;
            }
        }
        Ok(true)
    }

    /// Commits what was changed here, in batches.
    fn send(
        &mut self,
        folder: &mut Folder,
        state: &mut StateFile,
        report: &mut SyncReport,
        round: &Round,
    ) -> Result<bool, Error> {
        let mut work = false;
        let mut held: Vec<Held> = Vec::new();
        let mut size = 0;
        // Deletions first, for a file may stand where a folder was.
        let deletions = round
            .actions
            .iter()
            .filter(|(_, action)| matches!(action, Action::DeleteThere(_)));
        let uploads = round
            .actions
            .iter()
            .filter(|(_, action)| matches!(action, Action::Upload(_)));
        for (path, action) in deletions.chain(uploads) {
            let file = match action {
                Action::DeleteThere(version) => Held {
                    path: path.clone(),
                    base: Some(version.clone()),
                    content: None,
                },
                Action::Upload(base) => match self.hold(folder, path) {
                    Ok(Some(content)) => {
                        size += content.0.size();
                        Held {
                            path: path.clone(),
                            base: base.clone(),
                            content: Some(content),
                        }
                    }
                    Ok(None) => {
                        report.in_motion.push(path.clone());
                        continue;
                    }
                    Err(error) => {
                        report.problems.push(Problem::new(path, one_line(&error)));
                        continue;
                    }
                },
                _ => continue,
            };
            held.push(file);
            if held.len() >= BATCH_FILES || size >= BATCH_SIZE {
                work |= self.commit(folder, state, report, &std::mem::take(&mut held))?;
                size = 0;
            }
        }
        if !held.is_empty() {
            work |= self.commit(folder, state, report, &held)?;
        }
        Ok(work)
    }

    /// Reads a file aside; `None` when it changed meanwhile.
    fn hold(&self, folder: &Folder, path: &Name) -> Result<Option<(Spool, Box<str>, Stat)>, Error> {
        let local = &self.sync.local;
        let (file, before) = local.read(path)?;
        let (spool, hash) = folder.hold(&file).map_err(|error| match error {
            SpoolError::Stream(error) => {
                Error::local("read", &local.path.join(path.as_str()))(error)
            }
            SpoolError::Hold { folder, source } => Error::cannot_hold(folder, source),
        })?;
        if Local::stat_open(&file) != Some(before) || spool.size() != before.size {
            return Ok(None);
        }
        Ok(Some((spool, hash, before)))
    }

    fn commit(
        &mut self,
        folder: &mut Folder,
        state: &mut StateFile,
        report: &mut SyncReport,
        held: &[Held],
    ) -> Result<bool, Error> {
        let changes: Vec<Change<'_>> = held
            .iter()
            .map(|held| Change {
                path: held.path.clone(),
                base: held.base.clone(),
                what: match &held.content {
                    None => What::Delete,
                    Some((spool, hash, stat)) => What::Put {
                        content: spool,
                        hash: hash.clone(),
                        modified: timestamp(stat.modified),
                    },
                },
            })
            .collect();
        let outcomes = folder.commit(&changes, self.now)?;
        let mut work = false;
        for (held, outcome) in held.iter().zip(outcomes) {
            match outcome {
                Outcome::Done(version) => {
                    work = true;
                    match &held.content {
                        None => {
                            state.forget(&held.path);
                            self.step(report, &held.path, Did::DeletedThere, 0)?;
                        }
                        Some((spool, hash, stat)) => {
                            let base = Base {
                                version,
                                hash: hash.clone(),
                                stat: *stat,
                                settled: is_settled(stat, self.started),
                            };
                            state.set(&held.path, base);
                            self.step(report, &held.path, Did::Uploaded, spool.size())?;
                        }
                    }
                }
                Outcome::Conflict => work = true,
                Outcome::Refused(error) => {
                    report
                        .problems
                        .push(Problem::new(&held.path, one_line(&error)));
                }
            }
        }
        state.save()?;
        Ok(work)
    }

    fn fetch(
        &mut self,
        folder: &mut Folder,
        state: &mut StateFile,
        report: &mut SyncReport,
        path: &Name,
        here: Option<&Here>,
        there: &Version,
    ) -> Result<bool, Error> {
        let Some(content) = there.content() else {
            return Ok(false);
        };
        let sync = self.sync;
        let body = match folder.read(there) {
            Err(Error::NoVersion { .. }) => return Ok(true),
            body => body?,
        };
        let modified = i64::try_from(content.modified.as_nanosecond()).unwrap_or(0);
        let expected = here.map(|here| &here.stat);
        let placed = sync
            .local
            .place(path, body, modified, expected, &sync.random());
        match placed {
            Ok(Placed::Done(stat)) => {
                let base = Base {
                    version: there.id.clone(),
                    hash: content.hash.clone(),
                    stat,
                    settled: is_settled(&stat, self.started),
                };
                state.set(path, base);
                self.step(report, path, Did::Downloaded, content.size)?;
            }
            // Folders in which nothing is give way; the next round places the file.
            Ok(Placed::Changed) if here.is_none() && sync.local.clear_empty(path) => {}
            Ok(Placed::Changed) if here.is_none() && sync.local.stat(path).is_none() => {
                report.problems.push(Problem::new(
                    path,
                    "a folder or something else stands on this machine where this file should be",
                ));
                return Ok(false);
            }
            Ok(Placed::Changed) => {}
            Ok(Placed::Edited(name)) => {
                let name = sync.keep_beside(&name, path, self.now)?;
                self.step(report, &name, Did::KeptBoth, 0)?;
            }
            // A damaged copy, or a file that this machine refuses, keeps no other from coming.
            Err(Error::Store(error)) if !error.is_passing() => {
                report.problems.push(Problem::new(path, one_line(&error)));
                return Ok(false);
            }
            Err(error @ Error::Local { .. }) if !is_full(&error) => {
                report.problems.push(Problem::new(path, one_line(&error)));
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

fn is_full(error: &Error) -> bool {
    matches!(error, Error::Local { source, .. } if matches!(
        source.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    ))
}

fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn agreed(here: &Here, there: &Version) -> Base {
    Base {
        version: there.id.clone(),
        hash: here.hash.clone(),
        stat: here.stat,
        settled: here.settled,
    }
}
