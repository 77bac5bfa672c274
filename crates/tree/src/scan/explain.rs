//! Why a path is, or is not, in a scan.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use super::handle::open_folder;
use super::listing::is_cache;
use super::object::{kind, problem};
use super::pseudo;
use super::rules::{Decisive, FolderName};
use super::source::{Fate, Folder, Omission, Root, Source};
use super::stat::Stat;
use super::walk::find;
use crate::{BadPath, ProblemKind, TreePath};

/// What would become of a path.
#[derive(Debug)]
pub enum Verdict {
    /// It is in the scan.
    Included {
        /// The rule that keeps it, where one is about it.
        rule: Option<String>,
    },
    /// It is left out, or a folder above it is.
    Omitted {
        /// What is left out: the stored path, or that of the folder above it.
        at: TreePath,
        /// Why.
        omission: Omission,
    },
    /// No root holds it.
    NotInRoots,
    /// It is not there.
    Missing {
        /// What is not there: the stored path, or that of a folder above it.
        at: TreePath,
    },
    /// It leads through something that is no folder. A symbolic link is scanned as such; what it
    /// leads to is not.
    NoFolder {
        /// What is no folder.
        at: TreePath,
    },
    /// It cannot be looked at.
    Unreadable {
        /// Where it failed.
        at: TreePath,
        /// Why.
        what: ProblemKind,
    },
}

/// Says what the scan of `source` would do with a path of this machine.
///
/// It goes down from the root as the walk does, and asks the same questions about each folder on
/// the way.
///
/// # Errors
///
/// [`BadPath`] when the path, or a root, has a `..` in it.
pub fn explain(source: &Source, path: &Path) -> Result<Verdict, BadPath> {
    let local = TreePath::from_local(path)?;
    let mut roots = Vec::new();
    for root in &source.roots {
        let root = Root::new(root, source.top.as_deref())?;
        if root.base.is_absolute() == path.is_absolute()
            && let Some(way) = way(&root, &local)
        {
            roots.push((root, way));
        }
    }
    roots.sort_unstable();
    let mut verdict = Verdict::NotInRoots;
    // Where the walk from an outer root does not go down, an inner root may.
    let mut stopped_at: Option<TreePath> = None;
    for (root, way) in &roots {
        if let Some(at) = &stopped_at
            && (root.path == *at || !root.path.starts_with(at))
        {
            continue;
        }
        let descent = Descent {
            source,
            roots: &roots,
            prefix: root.rule_prefix.clone(),
        };
        match descent.go(root, way) {
            Outcome::Final(verdict) => return Ok(verdict),
            Outcome::Stopped { at, why } => {
                verdict = why;
                stopped_at = Some(at);
            }
        }
    }
    Ok(verdict)
}

/// The names that lead from a root to a path below it.
fn way(root: &Root, local: &TreePath) -> Option<Vec<CString>> {
    let mut start = root.rule_prefix.clone();
    start.extend_from_slice(root.path.as_bytes());
    let start = TreePath::new(start).ok()?;
    if !local.starts_with(&start) {
        return None;
    }
    local
        .components()
        .skip(start.components().count())
        .map(|name| CString::new(name).ok())
        .collect()
}

/// What came of going down from one root.
enum Outcome {
    Final(Verdict),
    /// The walk does not enter `at`.
    Stopped {
        at: TreePath,
        why: Verdict,
    },
}

struct Descent<'a> {
    source: &'a Source,
    roots: &'a [(Root, Vec<CString>)],
    prefix: Vec<u8>,
}

/// What a folder on the way tells about what is in it.
struct Above {
    handle: OwnedFd,
    decisive: Decisive,
    root_device: Option<u64>,
    /// Set when only markers stay in.
    markers_only: Option<Omission>,
}

impl Descent<'_> {
    fn go(&self, root: &Root, way: &[CString]) -> Outcome {
        let mut path = root.path.clone();
        let (parent, first) = match find(root) {
            Ok(found) => found,
            Err(error) => return Outcome::Final(failed(path, error)),
        };
        let mut above = Above {
            handle: parent,
            decisive: None,
            root_device: None,
            markers_only: None,
        };
        let mut name = first.name(0);
        let mut rest = way.iter();
        loop {
            let next = rest.next();
            above = match self.step(&above, &path, name, next.is_none()) {
                Ok(entered) => entered,
                Err(outcome) => return outcome,
            };
            let Some(next) = next else {
                // The last step always comes to an end of its own.
                return Outcome::Final(Verdict::Included { rule: None });
            };
            path = path.join(next.to_bytes());
            name = next;
        }
    }

    /// Enters a folder on the way, or says why not. At the last name it always says what becomes
    /// of it.
    fn step(
        &self,
        above: &Above,
        path: &TreePath,
        name: &std::ffi::CStr,
        is_last: bool,
    ) -> Result<Above, Outcome> {
        let source = self.source;
        let omitted = |omission| Verdict::Omitted {
            at: path.clone(),
            omission,
        };
        let stop = |why| Outcome::Stopped {
            at: path.clone(),
            why,
        };
        let stat = Stat::at(&above.handle, name)
            .map_err(|error| Outcome::Final(failed(path.clone(), error)))?;
        if let Some(omission) = &above.markers_only
            && !source.is_marker(name.to_bytes())
        {
            return Err(stop(omitted(omission.clone())));
        }
        let is_folder = stat.kind == FileType::Directory;
        let folder = is_folder.then_some(FolderName {
            parent: above.handle.as_fd(),
            name,
        });
        let decisive = source.decide(&self.prefix, path, above.decisive, folder);
        let rules = &source.rules;
        let by_rule = source.by_rule(decisive);
        let included = || Verdict::Included {
            rule: rules.get(decisive).map(ToString::to_string),
        };
        if !is_folder {
            let no_folder = || Verdict::NoFolder { at: path.clone() };
            let kind = kind(&above.handle, name, &stat)
                .map_err(|what| Outcome::Final(unreadable(path, what)))?;
            let flags = stat.flags(super::handle::open_file(&above.handle, name).ok());
            let omission = by_rule.or_else(|| source.by_metadata(&kind, flags, stat.size));
            return Err(match omission {
                Some(omission) if is_last => Outcome::Final(omitted(omission)),
                None if is_last => Outcome::Final(included()),
                _ => stop(no_folder()),
            });
        }
        if let Some(omission) = by_rule.clone()
            && !rules.look_below(decisive)
        {
            return Err(stop(omitted(omission)));
        }
        let end = || match &by_rule {
            Some(omission) => Outcome::Final(omitted(omission.clone())),
            None => Outcome::Final(included()),
        };
        let handle = match open_folder(&above.handle, name) {
            Ok(handle) => handle,
            Err(_) if is_last => return Err(end()),
            Err(error) => return Err(stop(unreadable(path, problem("open the folder", error)))),
        };
        let is_root = self.roots.iter().any(|(root, _)| root.path == *path);
        let root_device = above
            .root_device
            .filter(|_| !is_root)
            .unwrap_or(stat.device);
        let folder = Folder {
            flags: stat.flags(Some(&handle)),
            device: stat.device,
            root_device,
        };
        let is_pseudo = || pseudo::holds(&handle);
        let holds = |name: &[u8]| statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        let markers_only = match source.fate(&folder, is_pseudo, holds, || is_cache(&handle)) {
            Fate::Entered => None,
            Fate::MarkersOnly(omission) => Some(omission),
            Fate::NotEntered(_) if is_last => return Err(end()),
            Fate::NotEntered(omission) | Fate::LeftOut(omission) => {
                return Err(stop(omitted(omission)));
            }
        };
        if is_last {
            return Err(end());
        }
        Ok(Above {
            handle,
            decisive,
            root_device: Some(root_device),
            markers_only,
        })
    }
}

fn failed(at: TreePath, error: Errno) -> Verdict {
    match error {
        Errno::NOENT => Verdict::Missing { at },
        Errno::NOTDIR => Verdict::NoFolder { at },
        error => {
            let what = problem("look at", error);
            Verdict::Unreadable { at, what }
        }
    }
}

fn unreadable(at: &TreePath, what: ProblemKind) -> Verdict {
    Verdict::Unreadable {
        at: at.clone(),
        what,
    }
}
