//! `restore`.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duplicity::{Archive, BackupSet};
use tree::{Conflict, Entry, Fidelity, Owner, Owners, RestoreOptions, Restorer, TreePath};

use super::backup::shown;
use super::failure::{Failure, code, of_problem};
use super::list::kind;
use super::log::{Level, info, quoted, warning};
use super::options::Select;
use super::passphrase::Asked;
use super::selection::{Deferred, Selection, Verdict};
use super::session::Session;

pub(crate) fn run(session: &Session<'_>, target: &Path) -> Result<u8, Failure> {
    let options = &session.options;
    let selection = selection(session)?;
    if !options.force {
        check_target(target)?;
    }
    let wanted = wanted(session)?;
    let collection = session.collection(&session.closed_archive())?;
    let sets = session.wanted_sets(&collection)?;
    let archive = session.archive(Asked::Read, &[])?;
    let is_folder = is_folder(&archive, sets, &wanted)?;
    let (root, name) = place(target, is_folder)?;
    let mapping = Mapping {
        session,
        wanted: &wanted,
        name,
        renames: renames(session)?,
        scanned: scanned(&archive, sets, &wanted, &selection)?,
        selection,
    };
    let restore_options = RestoreOptions {
        conflict: Conflict::Overwrite,
        owners: if options.numeric_owner || !options.restore_ownership {
            Owners::ByNumber
        } else {
            Owners::ByName
        },
        fidelity: Fidelity::AsItWas,
        ..RestoreOptions::default()
    };
    let restorer = Restorer::open(&root, restore_options).map_err(failed)?;
    let mut planner = restorer.planner();
    let wanted_paths = std::slice::from_ref(&wanted);
    for listed in archive.objects(sets, wanted_paths)? {
        session.check_stop()?;
        if let Some(entry) = mapping.map(listed?.entry) {
            planner.add(&entry);
        }
    }
    let plan = planner.finish();
    if plan.is_empty() {
        return Err(not_found(&wanted));
    }
    let total = plan.bytes_to_write();
    if options.dry_run {
        session.log.notice(&format!(
            "{} objects with {total} bytes would be restored to {}.",
            plan.len(),
            target.display()
        ));
        return Ok(0);
    }
    let delivery = archive.delivery(sets, wanted_paths)?;
    let restore = restorer.start(plan).map_err(failed)?;
    let progress = RefCell::new(Progress {
        done: 0,
        total,
        last: Instant::now(),
    });
    let delivered = delivery.run(
        &mut |entry| {
            let entry = mapping.map(entry)?;
            if session.log.shows(Level::Info) {
                let name = shown(&entry.path);
                let word = kind(&entry.kind);
                let text = format!("Writing {} of type {word}", String::from_utf8_lossy(name));
                let extra = format!("{} {word}", quoted(name));
                session.log.print(Level::Info, info::WRITING, &extra, &text);
            }
            Some(entry)
        },
        &restore,
        &|bytes| {
            progress.borrow_mut().add(session, bytes);
            if session.machine.stop.is_requested() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
    let report = restore.finish();
    session.check_stop()?;
    let mut failure = delivered.stopped.map(Failure::from);
    for problem in &delivered.problems {
        let text = duplicity::chain(problem);
        session.log.warn(
            warning::CANNOT_PROCESS,
            &quoted(problem.name.as_bytes()),
            &text,
        );
        failure.get_or_insert_with(|| of_problem(problem));
    }
    for problem in &report.problems {
        let name = shown(&problem.path);
        let text = format!("{}: {}", problem.path, duplicity::chain(&problem.what));
        session
            .log
            .warn(warning::CANNOT_PROCESS, &quoted(name), &text);
        failure.get_or_insert_with(|| Failure::new(code::GENERIC, format!("Not restored: {text}")));
    }
    if let Some(error) = &report.stopped {
        failure.get_or_insert_with(|| Failure::exception("OSError", duplicity::chain(error)));
    }
    if report.left_out.owners > 0 {
        session.log.info(&format!(
            "The owners of {} objects could not be restored: that takes root.",
            report.left_out.owners
        ));
    }
    progress.borrow().end(session);
    match failure.filter(|_| !options.ignore_errors) {
        Some(failure) => Err(failure),
        None => Ok(0),
    }
}

fn failed(error: tree::RestoreError) -> Failure {
    duplicity::Error::Target(Box::new(error)).into()
}

/// The rules about what is restored.
fn selection(session: &Session<'_>) -> Result<Selection, Failure> {
    let select = &session.options.select;
    if session.options.path_to_restore.is_some() && !select.is_empty() {
        return Err(Failure::usage(
            "--path-to-restore and rules of the selection cannot be combined: the one is for one \
             path, the others are for patterns.",
        ));
    }
    let is_of_sources = |select: &Select| {
        matches!(
            select,
            Select::IfPresent(_) | Select::OtherFilesystems | Select::FilesFrom(_)
        )
    };
    if select.iter().any(is_of_sources) {
        return Err(Failure::usage(
            "--exclude-if-present, --exclude-other-filesystems and --files-from are about sources, \
             not about restores.",
        ));
    }
    Selection::of_archive(&session.options)
}

/// Nothing is written over: the target is an empty folder or not there.
fn check_target(target: &Path) -> Result<(), Failure> {
    let is_free = match std::fs::symlink_metadata(target) {
        Err(_) => true,
        Ok(_) => std::fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none()),
    };
    let here = std::env::current_dir().and_then(std::fs::canonicalize);
    let is_here = std::fs::canonicalize(target)
        .and_then(|target| Ok(target == here?))
        .unwrap_or(false);
    if is_free && !is_here {
        return Ok(());
    }
    Err(Failure::new(
        code::TARGET_EXISTS,
        format!(
            "The target '{}' is not an empty folder, or the current one. Nothing is restored over \
             it without --force.",
            target.display()
        ),
    ))
}

/// The path that was asked for; the root is everything.
pub(crate) fn wanted(session: &Session<'_>) -> Result<TreePath, Failure> {
    let typed = session
        .options
        .path_to_restore
        .as_deref()
        .unwrap_or_default();
    local(typed)
}

fn local(typed: &[u8]) -> Result<TreePath, Failure> {
    TreePath::from_local(Path::new(std::ffi::OsStr::from_bytes(typed))).map_err(|error| {
        Failure::usage(format!(
            "The path {} is in no archive: {error}.",
            String::from_utf8_lossy(typed)
        ))
    })
}

/// Whether a folder stands at the wanted path.
fn is_folder(archive: &Archive, sets: &[BackupSet], wanted: &TreePath) -> Result<bool, Failure> {
    let mut objects = archive.objects(sets, std::slice::from_ref(wanted))?;
    match objects.next().transpose()? {
        Some(listed) => Ok(listed.entry.path != *wanted || listed.entry.is_directory()),
        None => Err(not_found(wanted)),
    }
}

pub(crate) fn not_found(wanted: &TreePath) -> Failure {
    Failure::new(
        code::PATH_NOT_FOUND,
        format!("{wanted} is not in the archive at that time: nothing is restored."),
    )
    .with(quoted(shown(wanted)))
}

/// The folder to restore into, and the name there of what is no folder.
fn place(target: &Path, is_folder: bool) -> Result<(PathBuf, Option<TreePath>), Failure> {
    if is_folder {
        return Ok((target.to_owned(), None));
    }
    let name = target
        .file_name()
        .and_then(|name| TreePath::new(name.as_bytes()).ok());
    let Some(name) = name else {
        return Err(Failure::usage(format!(
            "'{}' is no name for what is restored, which is not a folder.",
            target.display()
        )));
    };
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    Ok((folder, Some(name)))
}

fn renames(session: &Session<'_>) -> Result<Vec<(TreePath, TreePath)>, Failure> {
    let renames = session.options.renames.iter();
    renames
        .map(|(from, to)| Ok((local(from)?, local(to)?)))
        .collect()
}

/// The folders that are restored because something in them is.
fn scanned(
    archive: &Archive,
    sets: &[BackupSet],
    wanted: &TreePath,
    selection: &Selection,
) -> Result<HashSet<TreePath>, Failure> {
    let mut scanned = HashSet::new();
    if selection.is_empty() {
        return Ok(scanned);
    }
    let mut deferred = Deferred::default();
    for listed in archive.objects(sets, std::slice::from_ref(wanted))? {
        let entry = Arc::new(listed?.entry);
        let verdict = selection.judge(&entry);
        let due = deferred.take(&entry, verdict);
        scanned.extend(due.iter().map(|entry| entry.path.clone()));
    }
    Ok(scanned)
}

/// What becomes of an object of the archive.
struct Mapping<'a> {
    session: &'a Session<'a>,
    wanted: &'a TreePath,
    /// The name of what is restored, when it is no folder.
    name: Option<TreePath>,
    renames: Vec<(TreePath, TreePath)>,
    selection: Selection,
    scanned: HashSet<TreePath>,
}

impl Mapping<'_> {
    fn map(&self, mut entry: Entry) -> Option<Entry> {
        let is_in = match self.selection.judge(&entry) {
            Verdict::In => true,
            Verdict::Out => false,
            Verdict::Scanned => self.scanned.contains(&entry.path),
        };
        if !is_in {
            return None;
        }
        if !self.session.options.restore_ownership {
            entry.owner = Owner {
                uid: nix::unistd::geteuid().as_raw(),
                gid: nix::unistd::getegid().as_raw(),
                user: None,
                group: None,
            };
        }
        entry.path = match &self.name {
            Some(name) => name.clone(),
            None => self.path(entry.path),
        };
        Some(entry)
    }

    fn path(&self, path: TreePath) -> TreePath {
        let rename = self.renames.iter().find(|(from, _)| path.starts_with(from));
        let renamed = match rename {
            Some((from, to)) => behind(&path, from).fold(to.clone(), |path, name| path.join(name)),
            None => path,
        };
        if renamed.starts_with(self.wanted) {
            behind(&renamed, self.wanted).fold(TreePath::root(), |path, name| path.join(name))
        } else {
            renamed
        }
    }
}

/// The components of a path below one that it begins with.
pub(crate) fn behind<'a>(
    path: &'a TreePath,
    ancestor: &TreePath,
) -> impl Iterator<Item = &'a [u8]> {
    path.components().skip(ancestor.components().count())
}

struct Progress {
    done: u64,
    total: u64,
    last: Instant,
}

impl Progress {
    fn add(&mut self, session: &Session<'_>, bytes: u64) {
        self.done += bytes;
        if self.last.elapsed() >= Duration::from_millis(500) {
            self.last = Instant::now();
            self.say(session, self.done.min(self.total));
        }
    }

    fn end(&self, session: &Session<'_>) {
        self.say(session, self.total);
    }

    fn say(&self, session: &Session<'_>, done: u64) {
        let extra = format!("{done} {}", self.total);
        session.log.say(Level::Info, info::PROGRESS, &extra, "");
    }
}
