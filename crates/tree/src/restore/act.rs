//! Does what the plan says, entry by entry.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs;
use rustix::io::Errno;

use super::TargetLock;
use super::accounts::Accounts;
use super::attributes::{AttributeWriter, Attributes, Before, Object};
use super::beneath::Folder;
use super::directories::Directories;
use super::error::{RestoreError, Stop};
use super::file::FileWriter;
use super::key::PathKey;
use super::options::RestoreOptions;
use super::plan::{Action, RestorePlan};
use super::publish::{Lacks, Nameless, Place};
use super::report::{RestoreReport, Results};
use super::special;
use super::standing::{has_content_of, identity, open_to_look, stat_in};
use super::trouble::Trouble;
use crate::{Entry, ProblemKind, TreePath};

/// A restore that is going on.
///
/// Every entry of the plan goes to [`place`](Self::place) with its number, from any number of
/// threads, best in the order of the archive; [`finish`](Self::finish) comes when all are placed
/// and all files are finished.
#[derive(Debug)]
#[must_use = "folders get their attributes from `finish`"]
pub struct Restore {
    target: PathBuf,
    lock: TargetLock,
    options: RestoreOptions,
    accounts: Accounts,
    plan: RestorePlan,
    directories: Mutex<Directories>,
    /// What further names are linked to, by the key of the first name.
    first_names: Mutex<HashMap<PathKey, FirstName>>,
    /// Further names of files that were still being written.
    waiting: Mutex<Vec<(usize, Entry)>>,
    /// Objects to be locked when nothing is left to do with them.
    locks: Mutex<Vec<Lock>>,
    results: Results,
    lacks: Lacks,
    stop: OnceLock<Stop>,
}

/// What came of an entry.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Placed<'a> {
    /// Nothing is left to do.
    Done,
    /// It could not be restored; the report will say why.
    Failed,
    /// The content is wanted: bytes for this writer.
    ///
    /// That may be so even for a further name of a file, when its first name could not be
    /// restored.
    Content(FileWriter<'a>),
}

/// An object whose first name is restored, or about to be.
#[derive(Debug)]
enum FirstName {
    /// Its content is still coming.
    Coming,
    /// It stands there.
    Stands {
        destination: TreePath,
        identity: (u64, u64),
    },
}

/// An object that is to be made, and where.
#[derive(Debug)]
pub(super) struct Task {
    /// The path in the archive.
    pub(super) path: TreePath,
    /// The path below the target.
    pub(super) destination: TreePath,
    pub(super) folder: Arc<Folder>,
    pub(super) action: Action,
    /// Bytes of content.
    pub(super) size: u64,
    /// The first name, when this is a further one that gets its own content.
    pub(super) first: Option<Arc<TreePath>>,
}

/// An object that gets immutable or append-only.
#[derive(Debug)]
struct Lock {
    destination: TreePath,
    identity: (u64, u64),
    attributes: Attributes,
}

impl Restore {
    pub(super) fn new(
        target: PathBuf,
        lock: TargetLock,
        made: bool,
        options: RestoreOptions,
        mut plan: RestorePlan,
    ) -> Result<Self, Errno> {
        let directories = Directories::new(Arc::clone(&lock.0), plan.keys.clone(), made)?;
        let results = Results::default();
        let mut refusals: Vec<_> = plan.refusals.drain().collect();
        refusals.sort_unstable_by_key(|&(number, _)| number);
        for (_, (path, refusal)) in refusals {
            results.problem(&path, refusal.into());
            results.count(Action::Refuse, 0);
        }
        Ok(Self {
            target,
            lock,
            accounts: Accounts::new(&options),
            options,
            plan,
            directories: Mutex::new(directories),
            first_names: Mutex::default(),
            waiting: Mutex::default(),
            locks: Mutex::default(),
            results,
            lacks: Lacks::default(),
            stop: OnceLock::new(),
        })
    }

    /// The plan that is carried out.
    #[must_use]
    pub fn plan(&self) -> &RestorePlan {
        &self.plan
    }

    /// Restores an entry: at once, or with the content that is then delivered.
    ///
    /// `number` is the entry's number in the plan. The entry is taken, not borrowed, for its
    /// attributes are needed until its content has come.
    ///
    /// # Errors
    ///
    /// Only what ends the whole restore: a full disk, a target that has become read-only. The
    /// same error comes from every later call.
    pub fn place(&self, number: usize, entry: Entry) -> Result<Placed<'_>, RestoreError> {
        self.check_stopped()?;
        let action = self.plan.action(number);
        if matches!(action, Action::Refuse | Action::Superseded) {
            return Ok(Placed::Done);
        }
        let path = entry.path.clone();
        match self.act(number, action, entry) {
            Ok(placed) => Ok(placed),
            Err(Trouble::Stop(stop)) => Err(self.stop(stop)),
            Err(Trouble::Entry(what)) => {
                if let ProblemKind::Io { source, .. } = &what
                    && source.kind() == io::ErrorKind::NotFound
                {
                    // Somebody has removed its folder: it is made anew for the next entry.
                    let destination = self.plan.destination(number, &path);
                    let parent = destination.parent().unwrap_or_default();
                    guard(&self.directories).forget(&parent);
                }
                self.lost(&path, what);
                Ok(Placed::Failed)
            }
        }
    }

    /// Finishes the folders, and says what came of it all.
    ///
    /// Also after an error: what was restored until then is finished.
    pub fn finish(self) -> RestoreReport {
        let waiting = std::mem::take(&mut *guard(&self.waiting));
        for (number, entry) in waiting {
            let result = self.link_late(number, &entry);
            // An error is kept as what ended the restore; the folders are finished anyhow.
            let _kept = self.settle(&entry.path, result);
        }
        for lock in std::mem::take(&mut *guard(&self.locks)) {
            if let Err(what) = self.lock_object(&lock) {
                self.results.problem(&lock.destination, what);
            }
        }
        guard(&self.directories).finish(self.attribute_writer());
        if self.options.sync
            && let Err(errno) = fs::syncfs(&*self.lock.0)
        {
            let (action, source) = ("write everything to the disk", errno.into());
            let what = ProblemKind::Io { action, source };
            self.results.problem(&TreePath::root(), what);
        }
        let stopped = self.stop.get().map(|stop| stop.error(self.target));
        self.results.into_report(stopped)
    }

    fn act(&self, number: usize, action: Action, entry: Entry) -> Result<Placed<'_>, Trouble> {
        let destination = self.plan.destination(number, &entry.path).into_owned();
        if entry.is_directory() {
            self.place_folder(action, entry, &destination)?;
        } else if let Action::Skip | Action::AlreadyRight = action {
            self.leave(action, &entry, &destination);
        } else if action == Action::Mend {
            self.mend(entry, &destination)?;
        } else {
            return self.make(number, action, entry, destination);
        }
        Ok(Placed::Done)
    }

    fn place_folder(
        &self,
        action: Action,
        entry: Entry,
        destination: &TreePath,
    ) -> Result<(), Trouble> {
        if action == Action::KeepBoth {
            self.results.renamed(&entry.path, destination);
        }
        if action != Action::Skip {
            let attributes = Attributes::new(entry, &self.accounts);
            let replace = action == Action::Replace;
            let mut directories = guard(&self.directories);
            directories.place(destination, attributes, replace)?;
        }
        self.results.count(action, 0);
        Ok(())
    }

    /// Leaves what stands there as it is. It may be what others are further names of.
    fn leave(&self, action: Action, entry: &Entry, destination: &TreePath) {
        let key = self.plan.keys.of(&entry.path);
        if action == Action::AlreadyRight
            && self.plan.link_sources.contains(&key)
            && let Some(identity) = self.identity_at(destination)
        {
            self.first_name_stands(key, destination, identity);
        }
        self.results.count(action, 0);
    }

    fn identity_at(&self, path: &TreePath) -> Option<(u64, u64)> {
        let folder = guard(&self.directories).standing(&path.parent()?).ok()?;
        let stat = stat_in(&folder, path.name()?).ok()??;
        Some(identity(&stat))
    }

    /// Writes the attributes of what stands there with the right content.
    fn mend(&self, entry: Entry, destination: &TreePath) -> Result<(), Trouble> {
        let failed = Trouble::at("open it");
        let folder = self.home(destination)?;
        let name = destination.name().unwrap_or_default();
        let is_file = entry.is_file();
        let handle = open_to_look(&folder, name, is_file).map_err(&failed)?;
        let stat = fs::fstat(&handle).map_err(&failed)?;
        if !has_content_of(&entry, &stat, &folder, name) {
            return Err(ProblemKind::Appeared.into());
        }
        let path = entry.path.clone();
        let attributes = Attributes::new(entry, &self.accounts);
        let object = if is_file {
            Object::Opened(handle.as_fd())
        } else {
            Object::Referred(handle.as_fd())
        };
        let writer = self.attribute_writer();
        writer.write(&attributes, object, &stat, Before::Stood, &path);
        let key = self.plan.keys.of(&path);
        if self.plan.link_sources.contains(&key) {
            self.first_name_stands(key, destination, identity(&stat));
        }
        self.lock_later(destination, identity(&stat), attributes);
        self.results.count(Action::Mend, 0);
        Ok(())
    }

    /// Makes an object that is not a folder.
    fn make(
        &self,
        number: usize,
        action: Action,
        entry: Entry,
        destination: TreePath,
    ) -> Result<Placed<'_>, Trouble> {
        let mut task = Task {
            path: entry.path.clone(),
            folder: self.home(&destination)?,
            destination,
            action,
            size: 0,
            first: None,
        };
        if let Some(first) = &entry.hard_link {
            match self.link(&task, first)? {
                Linked::Done => return Ok(Placed::Done),
                Linked::FirstIsComing => {
                    guard(&self.waiting).push((number, entry));
                    return Ok(Placed::Done);
                }
                Linked::FirstIsMissing => task.first = Some(Arc::clone(first)),
            }
        }
        if !entry.is_file() {
            self.make_special(&task, entry)?;
            return Ok(Placed::Done);
        }
        task.size = entry.size;
        let key = self.plan.keys.of(&task.path);
        if self.plan.link_sources.contains(&key) {
            guard(&self.first_names).insert(key, FirstName::Coming);
        }
        let attributes = Attributes::new(entry, &self.accounts);
        FileWriter::create(self, task, attributes)
            .map(Placed::Content)
            .map_err(Trouble::at("make the file"))
    }

    fn make_special(&self, task: &Task, entry: Entry) -> Result<(), Trouble> {
        let made = special::make(&task.folder, &entry)?;
        let attributes = Attributes::new(entry, &self.accounts);
        let before = Before::Made {
            with_acl: task.folder.passes_acl_on,
        };
        let object = Object::Referred(made.handle.as_fd());
        let writer = self.attribute_writer();
        writer.write(&attributes, object, &made.stat, before, &task.path);
        let object = Nameless::Temporary(made.temporary);
        self.publish(task, object, identity(&made.stat)).map(drop)
    }

    /// Makes a further name of what stands under the first.
    fn link(&self, task: &Task, first: &TreePath) -> Result<Linked, Trouble> {
        let key = self.plan.keys.of(first);
        let (path, object) = match guard(&self.first_names).get(&key) {
            None => return Ok(Linked::FirstIsMissing),
            Some(FirstName::Coming) => return Ok(Linked::FirstIsComing),
            Some(FirstName::Stands {
                destination,
                identity,
            }) => (destination.clone(), *identity),
        };
        let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
            return Ok(Linked::FirstIsMissing);
        };
        let folder = guard(&self.directories).standing(&parent);
        let linked =
            folder.and_then(|folder| special::make_link(&folder, name, object, &task.folder));
        match linked {
            Ok(Some(temporary)) => {
                self.publish(task, Nameless::Temporary(temporary), object)?;
                Ok(Linked::Done)
            }
            Err(errno) if Stop::from_errno(errno).is_some() => {
                Err(Trouble::at("make the hard link")(errno))
            }
            // Somebody has removed or replaced the first name, it has as many names as the file
            // system allows, or lies on another one: this name gets content of its own.
            Ok(None) | Err(_) => Ok(Linked::FirstIsMissing),
        }
    }

    /// Links what had to wait for the content of its first name.
    fn link_late(&self, number: usize, entry: &Entry) -> Result<(), Trouble> {
        let destination = self.plan.destination(number, &entry.path).into_owned();
        let task = Task {
            path: entry.path.clone(),
            folder: self.home(&destination)?,
            destination,
            action: self.plan.action(number),
            size: 0,
            first: None,
        };
        let first = entry.hard_link.as_deref().unwrap_or(&entry.path);
        match self.link(&task, first)? {
            Linked::Done => Ok(()),
            Linked::FirstIsComing | Linked::FirstIsMissing => {
                let first = first.clone();
                Err(ProblemKind::FirstNameMissing { first }.into())
            }
        }
    }

    /// Gives a finished object its name, and takes note of it; returns where it stands.
    pub(super) fn publish(
        &self,
        task: &Task,
        object: Nameless<'_>,
        identity: (u64, u64),
    ) -> Result<TreePath, Trouble> {
        let place = Place {
            folder: &task.folder,
            name: task.destination.name().unwrap_or_default(),
            recorded_name: task.path.name().unwrap_or_default(),
            replace: task.action == Action::Replace,
            conflict: self.options.conflict,
            lacks: &self.lacks,
        };
        let (action, destination) = match place.publish(object)? {
            None => (task.action, task.destination.clone()),
            Some(name) => {
                let parent = task.destination.parent().unwrap_or_default();
                (Action::KeepBoth, parent.join(&name))
            }
        };
        if action == Action::KeepBoth {
            self.results.renamed(&task.path, &destination);
        }
        let key = self.plan.keys.of(&task.path);
        if self.plan.link_sources.contains(&key) {
            self.first_name_stands(key, &destination, identity);
        }
        if let Some(first) = &task.first {
            // From now on this is what the others are further names of.
            self.first_name_stands(self.plan.keys.of(first), &destination, identity);
        }
        self.results.count(action, task.size);
        Ok(destination)
    }

    fn first_name_stands(&self, key: PathKey, destination: &TreePath, identity: (u64, u64)) {
        let stands = FirstName::Stands {
            destination: destination.clone(),
            identity,
        };
        guard(&self.first_names).insert(key, stands);
    }

    /// The folder that something goes into.
    fn home(&self, destination: &TreePath) -> Result<Arc<Folder>, Trouble> {
        let parent = destination.parent().unwrap_or_default();
        guard(&self.directories).folder(&parent)
    }

    /// Leaves immutable and append-only for the end: an object that has them takes no further
    /// names.
    pub(super) fn lock_later(
        &self,
        destination: &TreePath,
        identity: (u64, u64),
        attributes: Attributes,
    ) {
        if Attributes::lock(attributes.flags, self.options.fidelity) {
            guard(&self.locks).push(Lock {
                destination: destination.clone(),
                identity,
                attributes,
            });
        }
    }

    fn lock_object(&self, lock: &Lock) -> Result<(), ProblemKind> {
        let failed = |errno: Errno| ProblemKind::Io {
            action: "open it",
            source: errno.into(),
        };
        let path = &lock.destination;
        let parent = path.parent().unwrap_or_default();
        let folder = guard(&self.directories).standing(&parent).map_err(failed)?;
        let name = path.name().unwrap_or_default();
        let handle = open_to_look(&folder, name, true).map_err(failed)?;
        if identity(&fs::fstat(&handle).map_err(failed)?) != lock.identity {
            return Err(ProblemKind::Displaced);
        }
        let object = Object::Opened(handle.as_fd());
        let writer = self.attribute_writer();
        writer.write_locks(&lock.attributes, object, path);
        Ok(())
    }

    /// Takes note of what came of an entry; whether it is restored.
    pub(super) fn settle(
        &self,
        path: &TreePath,
        result: Result<(), Trouble>,
    ) -> Result<bool, RestoreError> {
        match result {
            Ok(()) => Ok(true),
            Err(Trouble::Stop(stop)) => Err(self.stop(stop)),
            Err(Trouble::Entry(what)) => {
                self.lost(path, what);
                Ok(false)
            }
        }
    }

    /// Takes note that an entry is not restored.
    pub(super) fn lost(&self, path: &TreePath, what: ProblemKind) {
        guard(&self.first_names).remove(&self.plan.keys.of(path));
        self.results.problem(path, what);
    }

    pub(super) fn options(&self) -> &RestoreOptions {
        &self.options
    }

    pub(super) fn lacks(&self) -> &Lacks {
        &self.lacks
    }

    pub(super) fn attribute_writer(&self) -> AttributeWriter<'_> {
        AttributeWriter {
            fidelity: self.options.fidelity,
            accounts: &self.accounts,
            results: &self.results,
        }
    }

    pub(super) fn check_stopped(&self) -> Result<(), RestoreError> {
        match self.stop.get() {
            None => Ok(()),
            Some(stop) => Err(stop.error(self.target.clone())),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.get().is_some()
    }

    /// Ends the restore; the first reason counts.
    pub(super) fn stop(&self, stop: Stop) -> RestoreError {
        self.stop.get_or_init(|| stop).error(self.target.clone())
    }
}

/// What came of the attempt to make a further name.
enum Linked {
    Done,
    FirstIsComing,
    FirstIsMissing,
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
