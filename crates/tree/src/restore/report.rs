//! What came of a restore.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::error::RestoreError;
use super::plan::{Action, Tallies, Tally};
use crate::{Problem, ProblemKind, TreePath};

/// Most problems that are kept by name. An archive full of hostile entries must not fill the
/// memory; the rest are counted.
const PROBLEMS_MAX: usize = 10_000;

/// What came of a restore.
#[derive(Debug, Default)]
pub struct RestoreReport {
    /// What could not be restored, or not entirely. At most 10,000 are named.
    pub problems: Vec<Problem>,
    /// How many problems there were beyond those that are named.
    pub problems_unnamed: u64,
    /// What was left out because of the options, the rights or the target's file system.
    pub left_out: LeftOut,
    /// What was restored under a new name, with the path it would have had.
    pub renamed: Vec<(TreePath, TreePath)>,
    /// What ended the restore before its time.
    pub stopped: Option<RestoreError>,
    pub(super) done: Tallies,
}

impl RestoreReport {
    /// How many entries came to an action, and the bytes of content written by it.
    ///
    /// For [`Action::Refuse`] see [`problems`](Self::problems).
    #[must_use]
    pub fn done(&self, action: Action) -> Tally {
        self.done.of(action)
    }

    /// Whether everything that the plan promised is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty() && self.problems_unnamed == 0 && self.stopped.is_none()
    }
}

/// How many objects came back without something, for reasons that are no fault of theirs: not
/// asked for, no right to do it, or nothing that the target's file system keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The owner: it takes root to give a file away.
    pub owners: u64,
    /// Set-uid or set-gid.
    pub set_ids: u64,
    /// One or several extended attributes.
    pub xattrs: u64,
    /// An ACL.
    pub acls: u64,
    /// An inode flag.
    pub flags: u64,
}

/// The kinds of [`LeftOut`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Without {
    Owner,
    SetId,
    Xattr,
    Acl,
    Flag,
}

/// What the threads of a restore write their results to.
#[derive(Debug, Default)]
pub(super) struct Results {
    problems: Mutex<Problems>,
    renamed: Mutex<Vec<(TreePath, TreePath)>>,
    counts: [Count; Action::COUNT],
    without: [AtomicU64; 5],
}

#[derive(Debug, Default)]
struct Count {
    entries: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Problems {
    named: Vec<Problem>,
    unnamed: u64,
}

impl Results {
    pub(super) fn problem(&self, path: &TreePath, what: ProblemKind) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.named.len() < PROBLEMS_MAX {
            let path = path.clone();
            problems.named.push(Problem { path, what });
        } else {
            problems.unnamed += 1;
        }
    }

    pub(super) fn renamed(&self, from: &TreePath, to: &TreePath) {
        let mut renamed = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
        renamed.push((from.clone(), to.clone()));
    }

    pub(super) fn count(&self, action: Action, bytes: u64) {
        if let Some(count) = self.counts.get(action as usize) {
            count.entries.fetch_add(1, Ordering::Relaxed);
            count.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn without(&self, what: Without) {
        if let Some(count) = self.without.get(what as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn into_report(self, stopped: Option<RestoreError>) -> RestoreReport {
        let problems = self.problems.into_inner();
        let problems = problems.unwrap_or_else(PoisonError::into_inner);
        let renamed = self.renamed.into_inner();
        let [owners, set_ids, xattrs, acls, flags] = self.without.map(AtomicU64::into_inner);
        RestoreReport {
            problems: problems.named,
            problems_unnamed: problems.unnamed,
            left_out: LeftOut {
                owners,
                set_ids,
                xattrs,
                acls,
                flags,
            },
            renamed: renamed.unwrap_or_else(PoisonError::into_inner),
            stopped,
            done: Tallies::from(self.counts.map(|count| Tally {
                entries: count.entries.into_inner(),
                bytes: count.bytes.into_inner(),
            })),
        }
    }
}
