//! The folder that an entry goes into, as it is or will be.

use std::sync::Arc;

use rustix::fs::{Dir, Stat};
use rustix::io::Errno;

use super::beneath::Folder;
use super::error::Refusal;
use super::handles::{Handles, Prefix, prefixes};
use super::planner::{Planned, Planner};
use super::standing::stat_in;
use crate::TreePath;

/// The folder that an entry goes into.
#[derive(Debug, Clone)]
pub(super) enum Home {
    /// It will be made.
    Absent,
    /// It stands there.
    Stands(Arc<Folder>),
    /// It is skipped, and what goes into it too.
    Skipped,
    /// It cannot be.
    Refused(Refusal),
}

/// Why nothing can be put into a [`Home`].
pub(super) enum Barred {
    Skipped,
    Refused(Refusal),
}

impl Home {
    /// What stands under a name in it.
    pub(super) fn stat(&self, name: &[u8]) -> Result<Option<Stat>, Barred> {
        match self {
            Self::Absent => Ok(None),
            Self::Stands(folder) => {
                stat_in(folder, name).map_err(|errno| Barred::Refused(errno.into()))
            }
            Self::Skipped => Err(Barred::Skipped),
            Self::Refused(refusal) => Err(Barred::Refused(refusal.clone())),
        }
    }

    /// Whether a folder stands under a name in it that has no entries.
    pub(super) fn has_empty_folder(&self, name: &[u8]) -> bool {
        let Self::Stands(folder) = self else {
            return false;
        };
        let is_empty = || -> Result<bool, Errno> {
            for entry in Dir::read_from(folder.open_below(name)?)? {
                if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        is_empty().unwrap_or(false)
    }
}

impl Planner<'_> {
    /// The folder at `path`, which some entry goes into.
    pub(super) fn home(&mut self, path: &TreePath) -> Home {
        let key = self.plan.keys.of(path);
        if let Some((last, home)) = &self.last_home
            && *last == key
        {
            return home.clone();
        }
        let home = self.find_home(path);
        self.last_home = Some((key, home.clone()));
        home
    }

    /// Goes down from the deepest folder on the way that something is planned for, and plans the
    /// others: folders that the archive has no entry for, or has it later.
    fn find_home(&mut self, path: &TreePath) -> Home {
        let keys = self.plan.keys.clone();
        let prefixes = prefixes(&keys, path);
        let known = prefixes
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, prefix)| Some((index, *prefix, *self.planned.get(&prefix.key)?)));
        let (mut home, below) = match known {
            Some((index, prefix, planned)) => (self.planned_home(prefix, planned), index + 1),
            None => (self.root(), 0),
        };
        for prefix in prefixes.iter().skip(below) {
            let name = prefix.name();
            let next = match &home {
                Home::Stands(folder) => match folder.open_below(name) {
                    Ok(folder) => Home::Stands(Arc::new(folder)),
                    Err(Errno::NOENT) => Home::Absent,
                    // A link, or a file: nothing says that the archive has a folder here.
                    Err(Errno::NOTDIR) => Home::Refused(Refusal::ParentNotAFolder {
                        parent: prefix.to_path(),
                    }),
                    Err(errno) => Home::Refused(errno.into()),
                },
                home => home.clone(),
            };
            let planned = match &next {
                Home::Absent => Planned::Folder {
                    entry: None,
                    stands: false,
                },
                Home::Stands(_) => Planned::Folder {
                    entry: None,
                    stands: true,
                },
                Home::Skipped => Planned::Skipped,
                Home::Refused(_) => Planned::Refused,
            };
            self.planned.insert(prefix.key, planned);
            home = next;
            if matches!(home, Home::Skipped | Home::Refused(_)) {
                break;
            }
        }
        home
    }

    fn root(&self) -> Home {
        match &self.handles {
            Some(handles) => Home::Stands(Arc::clone(&handles.root)),
            None => Home::Absent,
        }
    }

    fn planned_home(&mut self, prefix: Prefix<'_>, planned: Planned) -> Home {
        let path = prefix.to_path();
        match planned {
            Planned::Folder { stands: false, .. } => Home::Absent,
            Planned::Folder { stands: true, .. } => {
                let destination = self.destination(&path);
                let open = |handles: &mut Handles| handles.open(&destination);
                match self.handles.as_mut().map(open) {
                    Some(Ok(folder)) => Home::Stands(folder),
                    Some(Err(errno)) => Home::Refused(errno.into()),
                    None => Home::Absent,
                }
            }
            Planned::Skipped => Home::Skipped,
            Planned::Object { .. } | Planned::Copy | Planned::Refused => {
                Home::Refused(Refusal::ParentNotAFolder { parent: path })
            }
        }
    }
}
