//! What a store holds: sets, the chains they form, and what belongs to neither.
//!
//! All of this is read from file names alone. Whether a set has all the volumes that it should
//! have, its manifest says: see [`BackupSet::missing`].

use std::collections::BTreeMap;

use crate::manifest::Manifest;
use crate::name::{FileName, Part, SetKind, Suffix};
use crate::time::SetTime;

/// How far ahead of our clock a set may be. A set from the future was made by a wrong clock or by
/// somebody who wants it to count as the newest.
const CLOCK_SLACK_SECONDS: i64 = 24 * 3600;

/// Everything that one store holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collection {
    /// Chains of complete sets, by the time of their full set.
    pub chains: Vec<Chain>,
    /// Complete increments whose earlier sets are missing.
    pub orphans: Vec<BackupSet>,
    /// Sets without a manifest: never finished, or being written now.
    pub incomplete: Vec<BackupSet>,
    /// Signature files of no set.
    pub orphan_signatures: Vec<BackupSet>,
    /// Sets dated later than the clock allows. Not part of any chain.
    pub future: Vec<BackupSet>,
}

/// A full set and the increments that stand on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The full set, then increments, each starting when the one before ended.
    pub sets: Vec<BackupSet>,
}

/// The files of one set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSet {
    /// Full or incremental, and when.
    pub kind: SetKind,
    /// The manifest; without it the set is not complete.
    pub manifest: Option<StoredFile>,
    /// The volumes by number.
    pub volumes: BTreeMap<u32, StoredFile>,
    /// The signatures; without them no increment can be made on this set.
    pub signatures: Option<StoredFile>,
    /// Figures of the run.
    pub statistics: Option<StoredFile>,
    /// A second file for what there is one of already: `.gz` beside `.gpg`.
    pub surplus: Vec<StoredFile>,
}

/// A file of a set in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// What its name says.
    pub name: FileName,
    /// The name itself, prefixes included.
    pub object: String,
    /// Bytes.
    pub size: u64,
}

/// What a set lacks or has too much of, measured by its manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// Volumes that the manifest names and the store does not hold.
    pub missing: Vec<u32>,
    /// Volumes that the store holds and the manifest does not name.
    pub surplus: Vec<u32>,
}

impl BackupSet {
    fn new(kind: SetKind) -> Self {
        Self {
            kind,
            manifest: None,
            volumes: BTreeMap::new(),
            signatures: None,
            statistics: None,
            surplus: Vec::new(),
        }
    }

    fn add(&mut self, file: StoredFile) {
        let place = match file.name.part {
            Part::Manifest => &mut self.manifest,
            Part::Signatures => &mut self.signatures,
            Part::Statistics => &mut self.statistics,
            Part::Volume { number } => {
                if let Some(second) = self.volumes.insert(number, file) {
                    self.surplus.push(second);
                }
                return;
            }
        };
        if let Some(second) = place.replace(file) {
            self.surplus.push(second);
        }
    }

    /// The moment that the set restores.
    #[must_use]
    pub fn end(&self) -> SetTime {
        self.kind.end()
    }

    /// Whether it was finished.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.manifest.is_some()
    }

    /// Whether reading it takes a key.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        let mut files = self.volumes.values().chain(&self.manifest);
        files.any(|file| file.name.suffix.is_encrypted())
    }

    /// Compares the volumes with the manifest's.
    #[must_use]
    pub fn missing(&self, manifest: &Manifest) -> Missing {
        let named: Vec<u32> = manifest
            .volumes
            .iter()
            .map(|volume| volume.number)
            .collect();
        let last = named.last().copied().unwrap_or(0);
        let is_missing =
            |number: &u32| !self.volumes.contains_key(number) || !named.contains(number);
        Missing {
            missing: (1..=last).filter(is_missing).collect(),
            surplus: self
                .volumes
                .keys()
                .copied()
                .filter(|&number| number > last)
                .collect(),
        }
    }

    /// Every file of the set, the manifest first: without it the rest counts for nothing, so a
    /// removal that is cut off leaves no set that looks complete.
    pub fn files(&self) -> impl Iterator<Item = &StoredFile> {
        self.manifest
            .iter()
            .chain(&self.signatures)
            .chain(&self.statistics)
            .chain(self.volumes.values())
            .chain(&self.surplus)
    }

    /// Bytes in the store.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files().map(|file| file.size).sum()
    }
}

impl Chain {
    /// The full set.
    #[must_use]
    pub fn full(&self) -> &BackupSet {
        // A chain is made with its full set, and sets are only ever added.
        &self.sets[0]
    }

    /// When the full set was made.
    #[must_use]
    pub fn start(&self) -> SetTime {
        self.full().end()
    }

    /// The newest moment that it restores.
    #[must_use]
    pub fn end(&self) -> SetTime {
        self.sets.last().unwrap_or_else(|| self.full()).end()
    }

    /// The sets that restore the newest moment not later than `time`; `None` when the chain starts
    /// later.
    #[must_use]
    pub fn until(&self, time: SetTime) -> Option<&[BackupSet]> {
        let count = self.sets.partition_point(|set| set.end() <= time);
        self.sets.get(..count).filter(|sets| !sets.is_empty())
    }

    /// Whether every set has its signatures, so that an increment can follow.
    #[must_use]
    pub fn has_signatures(&self) -> bool {
        self.sets.iter().all(|set| set.signatures.is_some())
    }
}

impl Collection {
    /// Sorts the files of a store, given as names (prefixes included) and sizes.
    ///
    /// `parse` is [`Prefixes::read`](crate::Prefixes::read); names that it does not know are
    /// foreign and ignored. So are files that only a local archive directory has.
    pub fn of<'a>(
        files: impl IntoIterator<Item = (&'a str, u64)>,
        parse: impl Fn(&str) -> Option<FileName>,
        now: SetTime,
    ) -> Self {
        let mut sets: BTreeMap<SetKind, BackupSet> = BTreeMap::new();
        for (object, size) in files {
            let Some(name) = parse(object).filter(|name| !name.partial) else {
                continue;
            };
            let file = StoredFile {
                name,
                object: object.to_owned(),
                size,
            };
            sets.entry(name.set)
                .or_insert_with(|| BackupSet::new(name.set))
                .add(file);
        }
        let mut collection = Self::default();
        let latest = SetTime::from_seconds(now.seconds().saturating_add(CLOCK_SLACK_SECONDS));
        let mut increments = Vec::new();
        for set in sets.into_values() {
            if set.end() > latest {
                collection.future.push(set);
            } else if set.manifest.is_none() && set.volumes.is_empty() && set.signatures.is_some() {
                collection.orphan_signatures.push(set);
            } else if !set.is_complete() {
                collection.incomplete.push(set);
            } else if set.kind.is_full() {
                collection.chains.push(Chain { sets: vec![set] });
            } else {
                increments.push(set);
            }
        }
        collection.attach(increments);
        collection
    }

    fn attach(&mut self, mut increments: Vec<BackupSet>) {
        // By start, and of two with one start the later first: that one counts.
        increments.sort_by_key(|set| match set.kind {
            SetKind::Incremental { start, end } => (start, std::cmp::Reverse(end)),
            SetKind::Full { time } => (time, std::cmp::Reverse(time)),
        });
        for set in increments {
            let SetKind::Incremental { start, end } = set.kind else {
                continue;
            };
            let chain = self.chains.iter_mut().find(|chain| chain.end() == start);
            match chain.filter(|_| end > start) {
                Some(chain) => chain.sets.push(set),
                None => self.orphans.push(set),
            }
        }
    }

    /// The chain that new increments are added to: the one that ends last.
    #[must_use]
    pub fn active(&self) -> Option<&Chain> {
        self.chains
            .iter()
            .max_by_key(|chain| (chain.end(), chain.start()))
    }

    /// The sets to restore for the newest state that is not later than `time`.
    #[must_use]
    pub fn until(&self, time: SetTime) -> Option<&[BackupSet]> {
        let candidates = self.chains.iter().filter_map(|chain| chain.until(time));
        candidates.max_by_key(|sets| sets.last().map(BackupSet::end))
    }

    /// The sets that duplicity restores for `time`: as [`until`](Self::until), but where all is
    /// later, the oldest full set. `None` when there is no set.
    #[must_use]
    pub fn nearest(&self, time: SetTime) -> Option<&[BackupSet]> {
        self.until(time).or_else(|| {
            let oldest = self.chains.iter().min_by_key(|chain| chain.start())?;
            oldest.sets.get(..1)
        })
    }

    /// Every moment that can be restored, oldest first.
    #[must_use]
    pub fn times(&self) -> Vec<SetTime> {
        let sets = self.chains.iter().flat_map(|chain| &chain.sets);
        let mut times: Vec<SetTime> = sets.map(BackupSet::end).collect();
        times.sort();
        times.dedup();
        times
    }

    /// Sets without a manifest that others stand on: they had one.
    pub fn headless(&self) -> impl Iterator<Item = &BackupSet> {
        self.incomplete.iter().filter(|set| {
            let stands_on_it = |other: &BackupSet| match other.kind {
                SetKind::Incremental { start, .. } => start == set.end(),
                SetKind::Full { .. } => false,
            };
            self.sets().any(stands_on_it)
        })
    }

    /// Every set, whatever state it is in.
    pub fn sets(&self) -> impl Iterator<Item = &BackupSet> {
        let sets = self.chains.iter().flat_map(|chain| &chain.sets);
        sets.chain(&self.orphans)
            .chain(&self.incomplete)
            .chain(&self.orphan_signatures)
            .chain(&self.future)
    }

    /// Every file of ours, whatever it is.
    pub fn files(&self) -> impl Iterator<Item = &StoredFile> {
        self.sets().flat_map(BackupSet::files)
    }

    /// The time of a set that begins now: later than all that can be restored, and of no other set.
    /// Files of a set that was cut off must never be taken for those of a new one.
    #[must_use]
    pub fn free_time(&self, now: SetTime) -> SetTime {
        let last = self.times().last().copied();
        let mut time = last.map_or(now, |last| now.max(last.next()));
        while self.sets().any(|set| set.end() == time) {
            time = time.next();
        }
        time
    }

    /// Whether files of the newest set are encrypted.
    #[must_use]
    pub fn suffix(&self) -> Option<Suffix> {
        let last = self.active()?.sets.last()?;
        last.volumes.values().next().map(|file| file.name.suffix)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const HOUR: i64 = 3600;

    pub(crate) fn at(hour: i64) -> SetTime {
        SetTime::from_seconds(1_700_000_000 + hour * HOUR)
    }

    /// The names of a complete set of one volume; without a start it is full.
    pub(crate) fn set(start: Option<i64>, end: i64) -> Vec<String> {
        let set = match start {
            None => SetKind::Full { time: at(end) },
            Some(start) => SetKind::Incremental {
                start: at(start),
                end: at(end),
            },
        };
        [
            (Part::Volume { number: 1 }, Suffix::Gzip),
            (Part::Signatures, Suffix::Gzip),
            (Part::Manifest, Suffix::Plain),
        ]
        .map(|(part, suffix)| {
            FileName {
                set,
                part,
                suffix,
                partial: false,
            }
            .to_string()
        })
        .to_vec()
    }

    pub(crate) fn collection(names: &[Vec<String>]) -> Collection {
        let names = names.iter().flatten().map(|name| (name.as_str(), 10));
        Collection::of(names, FileName::parse, at(1000))
    }

    #[test]
    fn sets_form_chains() {
        let all = collection(&[
            set(Some(1), 2),
            set(None, 0),
            set(Some(0), 1),
            set(None, 5),
            set(Some(5), 6),
        ]);
        assert_eq!(all.chains.len(), 2);
        assert_eq!(all.chains[0].sets.len(), 3);
        assert_eq!(all.active().unwrap().start(), at(5));
        assert_eq!(all.times(), [0, 1, 2, 5, 6].map(at));
        assert!(all.orphans.is_empty() && all.incomplete.is_empty());
        assert_eq!(all.files().count(), 15);
    }

    #[test]
    fn a_moment_between_two_sets_restores_the_earlier() {
        let all = collection(&[set(None, 0), set(Some(0), 2), set(None, 4)]);
        assert_eq!(all.until(at(3)).unwrap().len(), 2);
        assert_eq!(all.until(at(1)).unwrap().len(), 1);
        assert_eq!(all.until(at(9)).unwrap()[0].end(), at(4));
        assert_eq!(all.until(at(-1)), None);
    }

    #[test]
    fn what_fits_nowhere_is_named() {
        let unfinished: Vec<String> = set(None, 8).into_iter().take(1).collect();
        let signatures: Vec<String> = set(None, 9).into_iter().skip(1).take(1).collect();
        let foreign = vec!["notes.txt".to_owned()];
        let all = collection(&[
            set(None, 0),
            set(Some(3), 4),
            unfinished,
            signatures,
            set(None, 2000),
            foreign,
        ]);
        assert_eq!(all.chains.len(), 1);
        assert_eq!(all.orphans[0].end(), at(4));
        assert_eq!(all.incomplete[0].end(), at(8));
        assert_eq!(all.orphan_signatures[0].end(), at(9));
        assert_eq!(all.future[0].end(), at(2000));
        assert_eq!(all.active().unwrap().end(), at(0));
    }

    #[test]
    fn of_two_increments_with_one_start_the_later_counts() {
        let all = collection(&[set(None, 0), set(Some(0), 1), set(Some(0), 2)]);
        assert_eq!(all.chains[0].end(), at(2));
        assert_eq!(all.orphans[0].end(), at(1));
    }

    #[test]
    fn a_set_knows_what_it_lacks() {
        let all = collection(&[set(None, 0)]);
        let text = |number: u32| {
            format!("Volume {number}:\n    StartingPath   .  \n    EndingPath     .  \n")
        };
        let three = Manifest::parse([text(1), text(2), text(3)].concat().as_bytes()).unwrap();
        assert_eq!(all.chains[0].full().missing(&three).missing, [2, 3]);
        assert_eq!(
            all.chains[0].full().missing(&Manifest::default()).surplus,
            [1]
        );
    }
}
