//! What a restore would do, as a value that can be shown before it is done.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::error::Refusal;
use super::key::{PathKey, PathKeys};
use crate::TreePath;

/// What happens to one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Action {
    /// Nothing stands there: it is restored.
    Create,
    /// What stands there is replaced.
    Replace,
    /// What stands there stays, and the restored one gets a new name.
    KeepBoth,
    /// The right one stands there; owner, permissions or the like are mended.
    Mend,
    /// It stands there as recorded: nothing is done, its content is not needed.
    AlreadyRight,
    /// What stands there stays as it is, and the entry is not restored. A folder that stays as
    /// it is still receives what goes into it.
    Skip,
    /// A later entry of the archive has the same path and counts instead.
    Superseded,
    /// It cannot be restored; [`RestorePlan::refusal`] says why.
    Refuse,
}

impl Action {
    /// All actions, in the order in which a plan is shown.
    pub const ALL: [Self; 8] = [
        Self::Create,
        Self::Replace,
        Self::KeepBoth,
        Self::Mend,
        Self::AlreadyRight,
        Self::Skip,
        Self::Superseded,
        Self::Refuse,
    ];

    pub(super) const COUNT: usize = Self::ALL.len();
}

/// How many entries, and how many bytes of content they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many entries.
    pub entries: u64,
    /// Bytes of content. Further names of a file count none.
    pub bytes: u64,
}

/// A [`Tally`] for every [`Action`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tallies([Tally; Action::COUNT]);

impl From<[Tally; Action::COUNT]> for Tallies {
    fn from(tallies: [Tally; Action::COUNT]) -> Self {
        Self(tallies)
    }
}

impl Tallies {
    pub(super) fn of(&self, action: Action) -> Tally {
        self.0.get(action as usize).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, action: Action, bytes: u64) {
        if let Some(tally) = self.0.get_mut(action as usize) {
            tally.entries += 1;
            tally.bytes = tally.bytes.saturating_add(bytes);
        }
    }

    pub(super) fn take(&mut self, action: Action, bytes: u64) {
        if let Some(tally) = self.0.get_mut(action as usize) {
            tally.entries = tally.entries.saturating_sub(1);
            tally.bytes = tally.bytes.saturating_sub(bytes);
        }
    }
}

/// What was decided about one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) action: Action,
    /// Whether the entry's content has to be delivered.
    pub(super) content: bool,
}

/// What a restore would do with every entry, by the number of the entry: the first that was
/// given to the [`Planner`](super::Planner) has number 0.
///
/// Two bytes an entry, and a little more for what is refused or gets a new name.
#[derive(Debug, Default)]
pub struct RestorePlan {
    pub(super) keys: PathKeys,
    pub(super) decisions: Vec<Decision>,
    pub(super) tallies: Tallies,
    /// New paths of entries that get one of their own.
    pub(super) new_paths: HashMap<usize, TreePath>,
    pub(super) moved: Moved,
    pub(super) refusals: HashMap<usize, (TreePath, Refusal)>,
    /// First names of objects that have further ones.
    pub(super) link_sources: HashSet<PathKey>,
}

impl RestorePlan {
    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.decisions.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decisions.is_empty()
    }

    /// What happens to an entry; [`Action::Superseded`] for a number that no entry has.
    #[must_use]
    pub fn action(&self, number: usize) -> Action {
        self.decisions
            .get(number)
            .map_or(Action::Superseded, |decision| decision.action)
    }

    /// Whether the content of an entry has to be delivered: worth fetching ahead.
    #[must_use]
    pub fn needs_content(&self, number: usize) -> bool {
        self.decisions
            .get(number)
            .is_some_and(|decision| decision.content)
    }

    /// How many entries have an action, and the bytes of content that it takes.
    #[must_use]
    pub fn tally(&self, action: Action) -> Tally {
        self.tallies.of(action)
    }

    /// Bytes of content that will be written.
    #[must_use]
    pub fn bytes_to_write(&self) -> u64 {
        [Action::Create, Action::Replace, Action::KeepBoth]
            .into_iter()
            .map(|action| self.tally(action).bytes)
            .fold(0, u64::saturating_add)
    }

    /// Why an entry is refused, if it is.
    #[must_use]
    pub fn refusal(&self, number: usize) -> Option<&Refusal> {
        self.refusals.get(&number).map(|(_, refusal)| refusal)
    }

    /// Where an entry will stand: its own path, unless it, or a folder that it is in, gets a new
    /// name.
    #[must_use]
    pub fn destination<'a>(&self, number: usize, path: &'a TreePath) -> Cow<'a, TreePath> {
        match self.new_paths.get(&number) {
            Some(new) => Cow::Owned(new.clone()),
            None => self.moved.destination(&self.keys, path),
        }
    }
}

/// Folders that get a new name, with everything below, and where they go.
#[derive(Debug, Default)]
pub(super) struct Moved(HashMap<PathKey, TreePath>);

impl Moved {
    pub(super) fn insert(&mut self, folder: PathKey, to: TreePath) {
        self.0.insert(folder, to);
    }

    /// Where a path leads: by the deepest folder on its way that was moved.
    pub(super) fn destination<'a>(&self, keys: &PathKeys, path: &'a TreePath) -> Cow<'a, TreePath> {
        if self.0.is_empty() {
            return Cow::Borrowed(path);
        }
        let mut key = PathKeys::ROOT;
        let mut deepest = None;
        for (index, name) in path.components().enumerate() {
            key = keys.child(key, name);
            if let Some(to) = self.0.get(&key) {
                deepest = Some((index + 1, to));
            }
        }
        match deepest {
            None => Cow::Borrowed(path),
            Some((depth, to)) => {
                let below = path.components().skip(depth);
                Cow::Owned(below.fold(to.clone(), |path, name| path.join(name)))
            }
        }
    }
}
