//! Decides about every entry, before anything is done.
//!
//! An archive may list its entries in any order, twice, or with a file where another entry needs
//! a folder. The planner remembers what it has planned under every path, so that it can tell; the
//! entries themselves it forgets.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{self, Stat};
use rustix::io::Errno;

use super::accounts::Accounts;
use super::attributes::{AttributeWriter, Attributes, Object};
use super::beneath::Folder;
use super::error::Refusal;
use super::handles::Handles;
use super::home::{Barred, Home};
use super::key::{PathKey, PathKeys};
use super::names::{NAME_MAX, is_temporary, name_beside};
use super::options::{Conflict, Fidelity, RestoreOptions};
use super::plan::{Action, Decision, RestorePlan};
use super::report::Results;
use super::standing::{has_content_of, identity, is_folder, is_unfinished, open_to_look, stat_in};
use super::{COPIES_MAX, DEPTH_MAX, PATH_SIZE_MAX};
use crate::{BadPath, Entry, EntryKind, TreePath};

/// Most bytes of an unusable name that are kept to name it.
const RECORDED_MAX: usize = 256;

/// Takes every entry of a restore, in the order of the archive, and makes the plan.
#[derive(Debug)]
pub struct Planner<'a> {
    options: &'a RestoreOptions,
    accounts: Accounts,
    /// Takes what comparing attributes has to say, which is of no use here.
    results: Results,
    /// `None` while the target does not exist.
    pub(super) handles: Option<Handles>,
    pub(super) planned: HashMap<PathKey, Planned>,
    /// Bytes of content of every entry.
    sizes: Vec<u64>,
    /// The folder of the last entry, as the next entry is probably in it too.
    pub(super) last_home: Option<(PathKey, Home)>,
    pub(super) plan: RestorePlan,
}

/// What will stand under a path of the archive.
#[derive(Debug, Clone, Copy)]
pub(super) enum Planned {
    /// A folder.
    Folder {
        /// The entry that asks for it; none when only something inside does.
        entry: Option<u32>,
        /// Whether it stands there already.
        stands: bool,
    },
    /// Anything else, by an entry.
    Object { entry: u32 },
    /// Something that gets this as its new name.
    Copy,
    /// A folder that is skipped with everything in it.
    Skipped,
    /// Nothing: what should be a folder cannot be one.
    Refused,
}

/// What comes of looking at one entry.
struct Verdict {
    action: Action,
    /// Another path than the entry's.
    new_path: Option<TreePath>,
    refusal: Option<Refusal>,
}

impl From<Action> for Verdict {
    fn from(action: Action) -> Self {
        Self {
            action,
            new_path: None,
            refusal: None,
        }
    }
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        Self {
            action: Action::Refuse,
            new_path: None,
            refusal: Some(refusal),
        }
    }
}

impl<'a> Planner<'a> {
    pub(super) fn new(options: &'a RestoreOptions, target: Option<&Arc<Folder>>) -> Self {
        let keys = PathKeys::default();
        Self {
            options,
            accounts: Accounts::new(options),
            results: Results::default(),
            handles: target.map(|root| Handles::new(Arc::clone(root), keys.clone())),
            planned: HashMap::new(),
            sizes: Vec::new(),
            last_home: None,
            plan: RestorePlan {
                keys,
                ..RestorePlan::default()
            },
        }
    }

    /// Decides about the next entry.
    ///
    /// Of two entries with one path the later counts; but a folder stays a folder.
    pub fn add(&mut self, entry: &Entry) -> Action {
        let number = self.plan.decisions.len();
        if let Some(refusal) = self.hopeless(entry) {
            return self.decide(entry, refusal.into(), false);
        }
        // The number fits: `hopeless` has seen to it.
        let index = u32::try_from(number).unwrap_or(u32::MAX);
        if entry.is_directory() {
            let verdict = self.folder(index, entry);
            return self.decide(entry, verdict, false);
        }
        let link = self.link_source(entry);
        let verdict = self.object(index, entry, link.as_ref());
        let makes = matches!(
            verdict.action,
            Action::Create | Action::Replace | Action::KeepBoth
        );
        if makes && let Some(link) = &link {
            self.plan.link_sources.insert(link.key);
        }
        let content = makes && entry.is_file() && link.is_none();
        self.decide(entry, verdict, content)
    }

    /// Counts an entry whose recorded path is unusable, so that it is reported with the others and
    /// the numbers of the entries stay in step.
    pub fn add_unusable(&mut self, recorded: &[u8], why: BadPath) -> Action {
        let shown = recorded.get(..RECORDED_MAX).unwrap_or(recorded);
        let refusal = Refusal::BadPath {
            recorded: shown.into(),
            why,
        };
        self.record(&TreePath::root(), 0, refusal.into())
    }

    /// The plan for all entries that were added.
    #[must_use]
    pub fn finish(self) -> RestorePlan {
        self.plan
    }

    fn decide(&mut self, entry: &Entry, verdict: Verdict, content: bool) -> Action {
        let bytes = if content { entry.size } else { 0 };
        let number = self.plan.decisions.len();
        let action = self.record(&entry.path, bytes, verdict);
        if let Some(decision) = self.plan.decisions.get_mut(number) {
            decision.content = content;
        }
        action
    }

    fn record(&mut self, path: &TreePath, bytes: u64, verdict: Verdict) -> Action {
        let number = self.plan.decisions.len();
        if let Some(refusal) = verdict.refusal {
            self.plan.refusals.insert(number, (path.clone(), refusal));
        }
        if let Some(new_path) = verdict.new_path {
            self.plan.new_paths.insert(number, new_path);
        }
        let action = verdict.action;
        self.plan.decisions.push(Decision {
            action,
            content: false,
        });
        self.plan.tallies.add(action, bytes);
        self.sizes.push(bytes);
        action
    }

    /// What no target could take.
    fn hopeless(&self, entry: &Entry) -> Option<Refusal> {
        if entry.path.is_root() && !entry.is_directory() {
            return Some(Refusal::NotAFolderAtRoot);
        }
        if entry.path.as_bytes().len() > PATH_SIZE_MAX
            || entry.path.components().count() > DEPTH_MAX
            || self.plan.decisions.len() >= u32::MAX as usize
        {
            return Some(Refusal::TooDeep);
        }
        for name in entry.path.components() {
            if name.len() > NAME_MAX {
                return Some(Refusal::LongName { bytes: name.len() });
            }
            if is_temporary(name) {
                return Some(Refusal::Leftover);
            }
        }
        let device = matches!(
            entry.kind,
            EntryKind::CharDevice(_) | EntryKind::BlockDevice(_)
        );
        (device && self.options.fidelity != Fidelity::AsItWas).then_some(Refusal::Device)
    }

    /// Decides about a folder.
    fn folder(&mut self, index: u32, entry: &Entry) -> Verdict {
        let key = self.plan.keys.of(&entry.path);
        let (verdict, planned) = match self.planned.get(&key).copied() {
            Some(Planned::Folder {
                entry: earlier,
                stands,
            }) => {
                let before = earlier.map(|earlier| self.supersede(earlier, key));
                let verdict = if stands {
                    self.standing_folder(entry)
                } else {
                    before.unwrap_or(Action::Create).into()
                };
                (verdict, Planned::folder(index, stands))
            }
            Some(planned @ Planned::Object { .. }) => (Refusal::TwoKinds.into(), planned),
            Some(Planned::Skipped) => (Action::Skip.into(), Planned::Skipped),
            Some(Planned::Refused) => {
                let parent = entry.path.clone();
                (
                    Refusal::ParentNotAFolder { parent }.into(),
                    Planned::Refused,
                )
            }
            taken @ (None | Some(Planned::Copy)) => {
                self.first_folder(index, entry, key, taken.is_some())
            }
        };
        self.planned.insert(key, planned);
        verdict
    }

    /// Decides about a folder that nothing was planned for.
    fn first_folder(
        &mut self,
        index: u32,
        entry: &Entry,
        key: PathKey,
        taken: bool,
    ) -> (Verdict, Planned) {
        let made = Planned::folder(index, false);
        let (home, name) = match (entry.path.parent(), entry.path.name()) {
            (Some(parent), Some(name)) => (self.home(&parent), name),
            _ if self.handles.is_some() => {
                return (self.standing_folder(entry), Planned::folder(index, true));
            }
            _ => return (Action::Create.into(), made),
        };
        let stat = match home.stat(name) {
            Ok(stat) => stat,
            Err(Barred::Skipped) => return (Action::Skip.into(), Planned::Skipped),
            Err(Barred::Refused(refusal)) => return (refusal.into(), Planned::Refused),
        };
        match stat {
            None if !taken => (Action::Create.into(), made),
            Some(stat) if !taken && is_folder(&stat) => {
                (self.standing_folder(entry), Planned::folder(index, true))
            }
            _ => match self.options.conflict {
                Conflict::KeepBoth => self.folder_beside(index, entry, key, name, &home),
                Conflict::Skip => (Action::Skip.into(), Planned::Skipped),
                Conflict::Overwrite | Conflict::OnlyIfDifferent => (Action::Replace.into(), made),
            },
        }
    }

    /// What becomes of the attributes of a folder that stands there. What goes into it is decided
    /// entry by entry.
    fn standing_folder(&mut self, entry: &Entry) -> Verdict {
        let destination = self.destination(&entry.path);
        let folder = match &mut self.handles {
            Some(handles) => handles.open(&destination),
            None => Err(Errno::NOENT),
        };
        let stat = folder.and_then(|folder| Ok((fs::fstat(&*folder)?, folder)));
        match stat {
            Err(errno) => Refusal::from(errno).into(),
            Ok((stat, folder)) => {
                let mends = match self.options.conflict {
                    Conflict::Overwrite | Conflict::OnlyIfDifferent => true,
                    Conflict::KeepBoth | Conflict::Skip => {
                        is_unfinished(&stat, entry)
                            || Attributes::lock(entry.flags, self.options.fidelity)
                    }
                };
                match (
                    self.differs(entry, Object::Opened(folder.as_fd()), &stat),
                    mends,
                ) {
                    (false, _) => Action::AlreadyRight.into(),
                    (true, true) => Action::Mend.into(),
                    (true, false) => Action::Skip.into(),
                }
            }
        }
    }

    /// A new name for a folder where something else stands.
    ///
    /// A folder that has this name already was made by an earlier restore, and is gone into.
    fn folder_beside(
        &mut self,
        index: u32,
        entry: &Entry,
        key: PathKey,
        name: &[u8],
        home: &Home,
    ) -> (Verdict, Planned) {
        for copy_number in 1..=COPIES_MAX {
            let copy = self.copy(entry, &name_beside(name, true, copy_number));
            let stands = match home.stat(copy.name().unwrap_or_default()) {
                Ok(None) => false,
                Ok(Some(stat)) if is_folder(&stat) => true,
                Ok(Some(_)) => continue,
                Err(_) => break,
            };
            if self.take_for_copy(&copy) {
                self.plan.moved.insert(key, copy);
                return (Action::KeepBoth.into(), Planned::folder(index, stands));
            }
        }
        (Refusal::NoFreeName.into(), Planned::Refused)
    }

    /// Decides about anything but a folder.
    fn object(&mut self, index: u32, entry: &Entry, link: Option<&LinkSource>) -> Verdict {
        let (Some(parent), Some(name)) = (entry.path.parent(), entry.path.name()) else {
            return Refusal::NotAFolderAtRoot.into();
        };
        let key = self.plan.keys.of(&entry.path);
        let mut taken = false;
        match self.planned.get(&key).copied() {
            Some(Planned::Folder { .. } | Planned::Skipped | Planned::Refused) => {
                return Refusal::TwoKinds.into();
            }
            Some(Planned::Object { entry: earlier }) => {
                self.supersede(earlier, key);
            }
            Some(Planned::Copy) => taken = true,
            None => {}
        }
        let home = self.home(&parent);
        let verdict = match home.stat(name) {
            Err(Barred::Skipped) => return Action::Skip.into(),
            Err(Barred::Refused(refusal)) => return refusal.into(),
            Ok(None) if !taken => Action::Create.into(),
            Ok(None) => self.object_beside(entry, link, name, &home),
            Ok(Some(stat)) => self.standing_object(entry, link, name, &home, &stat, taken),
        };
        if verdict.action != Action::Refuse {
            self.planned.insert(key, Planned::Object { entry: index });
        }
        verdict
    }

    /// Decides about anything but a folder where something stands already.
    fn standing_object(
        &mut self,
        entry: &Entry,
        link: Option<&LinkSource>,
        name: &[u8],
        home: &Home,
        stat: &Stat,
        taken: bool,
    ) -> Verdict {
        let conflict = self.options.conflict;
        if !taken
            && conflict != Conflict::Overwrite
            && let Some(action) = self.right(entry, link, name, home, stat)
        {
            return action.into();
        }
        match conflict {
            Conflict::Skip => Action::Skip.into(),
            Conflict::KeepBoth => self.object_beside(entry, link, name, home),
            Conflict::Overwrite | Conflict::OnlyIfDifferent => {
                if is_folder(stat) && !home.has_empty_folder(name) {
                    Refusal::FolderInTheWay.into()
                } else {
                    Action::Replace.into()
                }
            }
        }
    }

    /// A new name for anything but a folder.
    ///
    /// Where an earlier restore of the same entry has left its copy, that one is taken for it.
    fn object_beside(
        &mut self,
        entry: &Entry,
        link: Option<&LinkSource>,
        name: &[u8],
        home: &Home,
    ) -> Verdict {
        for copy_number in 1..=COPIES_MAX {
            let copy_name = name_beside(name, false, copy_number);
            let action = match home.stat(&copy_name) {
                Ok(None) => Action::KeepBoth,
                Ok(Some(stat)) => match self.right(entry, link, &copy_name, home, &stat) {
                    Some(action) => action,
                    None => continue,
                },
                Err(_) => break,
            };
            let copy = self.copy(entry, &copy_name);
            if self.take_for_copy(&copy) {
                return Verdict {
                    new_path: Some(copy),
                    ..action.into()
                };
            }
        }
        Refusal::NoFreeName.into()
    }

    /// Whether the right object stands under a name, and what is to be done about it.
    fn right(
        &self,
        entry: &Entry,
        link: Option<&LinkSource>,
        name: &[u8],
        home: &Home,
        stat: &Stat,
    ) -> Option<Action> {
        let Home::Stands(folder) = home else {
            return None;
        };
        if let Some(link) = link {
            let same = link.identity == Some(identity(stat));
            return same.then_some(Action::AlreadyRight);
        }
        if !has_content_of(entry, stat, folder, name) {
            return None;
        }
        // An interrupted restore may have got no further than the flags.
        let mends = self.options.conflict == Conflict::OnlyIfDifferent
            || Attributes::lock(entry.flags, self.options.fidelity);
        let differs = mends
            && match open_to_look(folder, name, entry.is_file()) {
                Ok(handle) if entry.is_file() => {
                    self.differs(entry, Object::Opened(handle.as_fd()), stat)
                }
                Ok(handle) => self.differs(entry, Object::Referred(handle.as_fd()), stat),
                Err(_) => false,
            };
        Some(if differs {
            Action::Mend
        } else {
            Action::AlreadyRight
        })
    }

    fn differs(&self, entry: &Entry, object: Object<'_>, stat: &Stat) -> bool {
        let writer = AttributeWriter {
            fidelity: self.options.fidelity,
            accounts: &self.accounts,
            results: &self.results,
        };
        writer.would_change(&Attributes::of(entry, &self.accounts), object, stat)
    }

    /// What a further name of an object is to be linked to, when that is restored too.
    fn link_source(&mut self, entry: &Entry) -> Option<LinkSource> {
        let first = entry.hard_link.as_deref()?;
        let key = self.plan.keys.of(first);
        let Some(Planned::Object { entry: number }) = self.planned.get(&key).copied() else {
            return None;
        };
        let number = number as usize;
        let stands = match self.plan.action(number) {
            Action::AlreadyRight | Action::Mend => true,
            Action::Create | Action::Replace | Action::KeepBoth => false,
            Action::Skip | Action::Superseded | Action::Refuse => return None,
        };
        let identity = if stands {
            let destination = self.plan.destination(number, first).into_owned();
            self.identity_at(&destination)
        } else {
            None
        };
        Some(LinkSource { key, identity })
    }

    fn identity_at(&mut self, path: &TreePath) -> Option<(u64, u64)> {
        let folder = self.handles.as_mut()?.open(&path.parent()?).ok()?;
        let stat = stat_in(&folder, path.name()?).ok()??;
        Some(identity(&stat))
    }

    /// Drops the decision about an earlier entry of the same path, and says what it was.
    fn supersede(&mut self, earlier: u32, key: PathKey) -> Action {
        let number = earlier as usize;
        let Some(decision) = self.plan.decisions.get_mut(number) else {
            return Action::Superseded;
        };
        let action = std::mem::replace(&mut decision.action, Action::Superseded);
        decision.content = false;
        let bytes = self.sizes.get(number).copied().unwrap_or(0);
        self.plan.tallies.take(action, bytes);
        self.plan.tallies.add(Action::Superseded, 0);
        if let Some(copy) = self.plan.new_paths.remove(&number) {
            self.planned.remove(&self.plan.keys.of(&copy));
        }
        self.planned.remove(&key);
        action
    }

    /// Where a path of the archive leads in the target.
    pub(super) fn destination(&self, path: &TreePath) -> TreePath {
        self.plan
            .moved
            .destination(&self.plan.keys, path)
            .into_owned()
    }

    /// The path of a copy, next to where the entry would stand.
    fn copy(&self, entry: &Entry, name: &[u8]) -> TreePath {
        let parent = entry.path.parent().unwrap_or_default();
        self.destination(&parent).join(name)
    }

    /// Takes a path for a copy; `false` when something else is planned there.
    fn take_for_copy(&mut self, copy: &TreePath) -> bool {
        let key = self.plan.keys.of(copy);
        let free = !self.planned.contains_key(&key);
        if free {
            self.planned.insert(key, Planned::Copy);
        }
        free
    }
}

/// What a further name of an object is linked to.
struct LinkSource {
    key: PathKey,
    /// Which object it is, when it stands there and stays.
    identity: Option<(u64, u64)>,
}

impl Planned {
    fn folder(entry: u32, stands: bool) -> Self {
        Self::Folder {
            entry: Some(entry),
            stands,
        }
    }
}
