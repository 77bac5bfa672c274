//! Which sets may go: plans, made from what is there, carried out by [`Archive::remove`].
//!
//! A set that a kept one stands on is never in a plan, and neither is the chain that new
//! increments are added to.
//!
//! [`Archive::remove`]: crate::Archive::remove

use crate::collection::{BackupSet, Chain, Collection, StoredFile};
use crate::time::SetTime;

/// What would be removed, and what must stay although it is old.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovalPlan {
    /// The sets that go, newest first: what is left at any moment is whole.
    pub sets: Vec<BackupSet>,
    /// Files that go on their own: signatures of sets that are gone.
    pub files: Vec<StoredFile>,
    /// Moments that are older than asked for, but that newer sets stand on.
    pub needed: Vec<SetTime>,
}

impl RemovalPlan {
    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.files.is_empty()
    }

    /// Bytes that the store would get back.
    #[must_use]
    pub fn size(&self) -> u64 {
        let files: u64 = self.files.iter().map(|file| file.size).sum();
        files + self.sets.iter().map(BackupSet::size).sum::<u64>()
    }

    /// Every file to delete, in an order that is safe to break off anywhere.
    pub fn objects(&self) -> impl Iterator<Item = &StoredFile> {
        self.sets
            .iter()
            .flat_map(BackupSet::files)
            .chain(&self.files)
    }

    fn push(&mut self, sets: impl IntoIterator<Item = BackupSet>) {
        self.sets.extend(sets);
        self.sets
            .sort_by_key(|set| std::cmp::Reverse((set.end(), set.kind)));
    }
}

impl Collection {
    /// Chains that ended before `time`. The active one stays.
    #[must_use]
    pub fn remove_older_than(&self, time: SetTime) -> RemovalPlan {
        let mut plan = RemovalPlan::default();
        for chain in &self.chains {
            if chain.end() < time && !self.is_active(chain) {
                plan.push(chain.sets.iter().cloned());
            } else {
                let old = chain.sets.iter().map(BackupSet::end);
                plan.needed.extend(old.filter(|&end| end < time));
            }
        }
        let orphans = self.orphan_signatures.iter().filter(|set| set.end() < time);
        plan.files
            .extend(orphans.flat_map(BackupSet::files).cloned());
        plan
    }

    /// All chains but the `count` newest. At least one stays.
    #[must_use]
    pub fn remove_all_but_full(&self, count: usize) -> RemovalPlan {
        match self.nth_newest(count) {
            Some(chain) => self.remove_older_than(chain.start()),
            None => RemovalPlan::default(),
        }
    }

    /// The increments of all chains but the `count` newest; their full sets stay.
    #[must_use]
    pub fn remove_increments_of_all_but_full(&self, count: usize) -> RemovalPlan {
        let mut plan = RemovalPlan::default();
        let Some(oldest) = self.nth_newest(count) else {
            return plan;
        };
        for chain in &self.chains {
            if chain.end() < oldest.start() && !self.is_active(chain) {
                plan.push(chain.sets.iter().filter(|set| !set.kind.is_full()).cloned());
            }
        }
        plan
    }

    /// What is of no use: orphaned and unfinished sets, signatures of nothing.
    ///
    /// Another program that is writing to the store now has an unfinished set there.
    #[must_use]
    pub fn cleanup(&self) -> RemovalPlan {
        let mut plan = RemovalPlan::default();
        plan.push(self.orphans.iter().chain(&self.incomplete).cloned());
        plan.files.extend(
            self.orphan_signatures
                .iter()
                .flat_map(BackupSet::files)
                .cloned(),
        );
        let sets = self.chains.iter().flat_map(|chain| &chain.sets);
        plan.files
            .extend(sets.flat_map(|set| &set.surplus).cloned());
        plan
    }

    fn is_active(&self, chain: &Chain) -> bool {
        self.active()
            .is_some_and(|active| active.start() == chain.start())
    }

    /// The `count`-th chain from the newest; the newest for 0. `None` when there are fewer.
    fn nth_newest(&self, count: usize) -> Option<&Chain> {
        let mut chains: Vec<&Chain> = self.chains.iter().collect();
        chains.sort_by_key(|chain| std::cmp::Reverse(chain.start()));
        chains.get(count.max(1) - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::tests::{at, collection, set};

    fn ends(plan: &RemovalPlan) -> Vec<SetTime> {
        plan.sets.iter().map(BackupSet::end).collect()
    }

    fn three() -> Collection {
        collection(&[
            set(None, 0),
            set(Some(0), 1),
            set(None, 10),
            set(Some(10), 11),
            set(None, 20),
            set(Some(20), 21),
        ])
    }

    #[test]
    fn whole_chains_go_newest_set_first() {
        let plan = three().remove_older_than(at(15));
        assert_eq!(ends(&plan), [11, 10, 1, 0].map(at));
        let manifest = plan.objects().next().unwrap();
        assert!(
            manifest.object.ends_with(".manifest"),
            "{}",
            manifest.object
        );
        assert_eq!(plan.size(), 120);
    }

    #[test]
    fn what_newer_sets_stand_on_stays_and_is_named() {
        let plan = three().remove_older_than(at(11));
        assert_eq!(ends(&plan), [1, 0].map(at));
        assert_eq!(plan.needed, [at(10)]);
    }

    #[test]
    fn the_active_chain_always_stays() {
        let plan = three().remove_older_than(at(900));
        assert_eq!(ends(&plan), [11, 10, 1, 0].map(at));
        assert_eq!(
            ends(&three().remove_all_but_full(0)),
            [11, 10, 1, 0].map(at)
        );
    }

    #[test]
    fn the_newest_fulls_stay() {
        assert_eq!(ends(&three().remove_all_but_full(2)), [1, 0].map(at));
        assert!(three().remove_all_but_full(3).is_empty());
        assert!(three().remove_all_but_full(9).is_empty());
    }

    #[test]
    fn increments_of_old_chains_go_without_their_full() {
        assert_eq!(
            ends(&three().remove_increments_of_all_but_full(1)),
            [11, 1].map(at)
        );
    }

    #[test]
    fn cleanup_takes_what_is_of_no_use() {
        let unfinished: Vec<String> = set(None, 30).into_iter().take(1).collect();
        let lost: Vec<String> = set(None, 31).into_iter().skip(1).take(1).collect();
        let all = collection(&[set(None, 0), set(Some(5), 6), unfinished, lost]);
        let plan = all.cleanup();
        assert_eq!(ends(&plan), [30, 6].map(at));
        assert_eq!(plan.files.len(), 1);
    }
}
