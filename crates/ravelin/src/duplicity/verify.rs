//! `verify`: reads the archive back, and with `--compare-data` compares it with the source.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duplicity::{Item, Snapshot};
use tree::{Entry, EntryKind, Filter, Step, TreePath};

use super::backup::shown;
use super::failure::{Failure, code, of_problem};
use super::log::{quoted, warning};
use super::passphrase::Asked;
use super::restore::{behind, not_found, wanted};
use super::selection::{Deferred, Selection, Verdict};
use super::session::Session;

pub(crate) fn run(session: &Session<'_>, folder: &Path) -> Result<u8, Failure> {
    let wanted = wanted(session)?;
    let selection = Arc::new(Selection::of_source(&session.options, folder)?);
    let collection = session.collection(&session.closed_archive())?;
    let sets = session.wanted_sets(&collection)?;
    let archive = session.archive(Asked::Read, &[])?;
    let mut there = if session.options.compare_data {
        Some(Local::look(folder, &selection)?)
    } else {
        None
    };
    let mut snapshot = archive.snapshot(sets, &wanted)?;
    let (mut total, mut differences) = (0_u64, 0_u64);
    let mut failure = None;
    let mut is_found = false;
    while let Some(item) = snapshot.next()? {
        session.check_stop()?;
        let mut entry = match item {
            Item::Object(entry) => entry,
            Item::Problem(problem) => {
                let name = quoted(problem.name.as_bytes());
                session
                    .log
                    .warn(warning::CANNOT_PROCESS, &name, &duplicity::chain(&problem));
                failure.get_or_insert_with(|| of_problem(&problem));
                continue;
            }
        };
        is_found = true;
        let below = behind(&entry.path, &wanted);
        entry.path = below.fold(TreePath::root(), |path, name| path.join(name));
        if selection.judge(&entry) != Verdict::In {
            continue;
        }
        total += 1;
        let difference = match &mut there {
            Some(there) => {
                for missed in there.until(&entry.path) {
                    total += 1;
                    differences += 1;
                    say(session, &missed, "is not in the archive");
                }
                there.compare(&entry, &mut snapshot)?
            }
            None => drain(&mut snapshot)
                .map_err(|error| unreadable(&entry.path, &error))
                .map(|()| None)?,
        };
        if let Some(what) = difference {
            differences += 1;
            say(session, &entry.path, &what);
        }
    }
    if let Some(mut there) = there {
        for missed in there.rest() {
            total += 1;
            differences += 1;
            say(session, &missed, "is not in the archive");
        }
    }
    session.log.notice(&format!(
        "Verify complete: {total} file(s) compared, {differences} difference(s) found."
    ));
    if let Some(failure) = failure {
        return Err(failure);
    }
    if !is_found && !wanted.is_root() {
        return Err(not_found(&wanted));
    }
    Ok(u8::from(differences > 0))
}

fn say(session: &Session<'_>, path: &TreePath, what: &str) {
    let name = String::from_utf8_lossy(shown(path));
    session
        .log
        .notice(&format!("Difference found: {name} {what}"));
}

fn unreadable(path: &TreePath, error: &std::io::Error) -> Failure {
    Failure::new(code::GENERIC, format!("{path}: {error}"))
}

fn drain(snapshot: &mut Snapshot) -> std::io::Result<()> {
    std::io::copy(snapshot, &mut std::io::sink()).map(drop)
}

/// What the source has now, in the order of the archive.
struct Local {
    folder: PathBuf,
    entries: std::iter::Peekable<std::vec::IntoIter<Arc<Entry>>>,
}

impl Local {
    fn look(folder: &Path, selection: &Arc<Selection>) -> Result<Self, Failure> {
        let mut entries = Vec::new();
        let bytes = folder.as_os_str().as_bytes();
        let is_folder = std::fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir())
            && !folder.is_symlink();
        if is_folder {
            let root = [bytes.strip_suffix(b"/").unwrap_or(bytes), b"/./"].concat();
            let filter = Arc::clone(selection);
            let scan = tree::Source {
                roots: vec![Path::new(std::ffi::OsStr::from_bytes(&root)).to_owned()],
                filter: (!selection.is_empty())
                    .then(|| Filter::new(move |path, is_folder| filter.admits(path, is_folder))),
                ..tree::Source::default()
            };
            let mut deferred = Deferred::default();
            let scanned = tree::scan(&scan, |step| {
                if let Step::Entry { entry, .. } = step
                    && entry.kind != EntryKind::Socket
                {
                    entries.extend(deferred.take(&entry, selection.judge(&entry)));
                }
                ControlFlow::Continue(())
            });
            scanned.map_err(|error| Failure::usage(error.to_string()))?;
        } else if folder.symlink_metadata().is_ok() {
            let name = folder.file_name().unwrap_or_default().as_bytes();
            let parent = folder.parent().map(Path::as_os_str).unwrap_or_default();
            let parent = if parent.is_empty() {
                b"."
            } else {
                parent.as_bytes()
            };
            let root = [parent, b"/./", name].concat();
            let scan = tree::Source {
                roots: vec![Path::new(std::ffi::OsStr::from_bytes(&root)).to_owned()],
                ..tree::Source::default()
            };
            let scanned = tree::scan(&scan, |step| {
                if let Step::Entry { entry, .. } = step {
                    let mut entry = (*entry).clone();
                    entry.path = TreePath::root();
                    entries.push(Arc::new(entry));
                }
                ControlFlow::Continue(())
            });
            scanned.map_err(|error| Failure::usage(error.to_string()))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            entries: entries.into_iter().peekable(),
        })
    }

    /// What stands before `path` and was not asked for.
    fn until(&mut self, path: &TreePath) -> Vec<TreePath> {
        let mut missed = Vec::new();
        while let Some(entry) = self.entries.next_if(|entry| entry.path < *path) {
            missed.push(entry.path.clone());
        }
        missed
    }

    fn rest(&mut self) -> Vec<TreePath> {
        self.entries
            .by_ref()
            .map(|entry| entry.path.clone())
            .collect()
    }

    /// In what the object here differs from the one in the archive, whose content comes from
    /// `snapshot`.
    fn compare(
        &mut self,
        kept: &Entry,
        snapshot: &mut Snapshot,
    ) -> Result<Option<String>, Failure> {
        let Some(here) = self.entries.next_if(|entry| entry.path == kept.path) else {
            drain(snapshot).map_err(|error| unreadable(&kept.path, &error))?;
            return Ok(Some("is not in the source".to_owned()));
        };
        let content = if kept.is_file() && here.is_file() {
            let path = if kept.path.is_root() {
                self.folder.clone()
            } else {
                self.folder.join(kept.path.as_path())
            };
            same_content(&path, snapshot).map_err(|error| unreadable(&kept.path, &error))?
        } else {
            drain(snapshot).map_err(|error| unreadable(&kept.path, &error))?;
            true
        };
        Ok(difference(kept, &here).or_else(|| (!content).then(|| "has other content".to_owned())))
    }
}

fn difference(kept: &Entry, here: &Entry) -> Option<String> {
    if kept.kind != here.kind {
        return Some(format!("is {}, and was {}", here.kind, kept.kind));
    }
    if matches!(kept.kind, EntryKind::Symlink { .. }) {
        return None;
    }
    let mode = here.mode & 0o7777;
    if kept.mode != mode {
        return Some(format!("has permissions {mode:o}, and had {:o}", kept.mode));
    }
    let same = |kept: Option<&str>, here: Option<&str>, numbers: bool| match (kept, here) {
        (Some(kept), Some(here)) => kept == here,
        _ => numbers,
    };
    let (was, is) = (&kept.owner, &here.owner);
    if !same(was.user.as_deref(), is.user.as_deref(), was.uid == is.uid)
        || !same(was.group.as_deref(), is.group.as_deref(), was.gid == is.gid)
    {
        return Some(format!(
            "belongs to {}:{}, and belonged to {}:{}",
            is.uid, is.gid, was.uid, was.gid
        ));
    }
    if kept.mtime.seconds() != here.mtime.seconds().max(0) {
        return Some("has another time of change".to_owned());
    }
    None
}

/// Compares to the end of both, so that all of the archive is read.
fn same_content(path: &Path, snapshot: &mut Snapshot) -> std::io::Result<bool> {
    let mut here = File::open(path).ok();
    let mut is_same = here.is_some();
    let mut kept = vec![0; 128 << 10];
    let mut there = vec![0; 128 << 10];
    loop {
        let count = snapshot.read(&mut kept)?;
        let bytes = kept.get(..count).unwrap_or_default();
        if let Some(here) = here.as_mut().filter(|_| is_same) {
            if bytes.is_empty() {
                return Ok(matches!(here.read(&mut there), Ok(0)));
            }
            let part = there.get_mut(..count).unwrap_or_default();
            is_same = here.read_exact(part).is_ok() && part == bytes;
        }
        if bytes.is_empty() {
            return Ok(is_same);
        }
    }
}
