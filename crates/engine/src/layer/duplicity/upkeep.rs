//! A duplicity archive kept in order: chains go as a whole, the one that grows never.

use std::io;
use std::ops::ControlFlow;

use duplicity::{Chain, RemovalPlan, SetTime};
use jiff::Timestamp;

use super::{DuplicityLayer, Error};
use crate::layer::{Layer, Snapshot, VerifyStep};
use crate::upkeep::{
    Compacted, Deleted, LayerStatistics, Recreate, Recreated, SnapshotStatistics, Synthesized,
    Upkeep,
};

impl DuplicityLayer {
    /// What goes when these snapshots do.
    fn removal(&self, names: &[String]) -> Result<RemovalPlan, Error> {
        let mut plan = RemovalPlan::default();
        let mut found = 0;
        let is_named = |time: SetTime| names.iter().any(|name| *name == time.to_string());
        let active = self.collection.active().map(Chain::start);
        for chain in &self.collection.chains {
            let named: Vec<_> = chain
                .sets
                .iter()
                .filter(|set| is_named(set.end()))
                .collect();
            let Some(first) = named.first() else { continue };
            let why = if Some(chain.start()) == active {
                "the next one is to stand on it"
            } else if named.len() < chain.sets.len() {
                "others of its chain stand on it, or it on them: a chain goes as a whole"
            } else {
                found += named.len();
                // The newest first: what is left at any moment is whole.
                plan.sets.extend(chain.sets.iter().rev().cloned());
                continue;
            };
            return Err(Error::Needed {
                name: first.end().to_string(),
                why,
            });
        }
        if found < names.len() {
            let times = self.collection.times();
            let is_there = |name: &&String| !times.iter().any(|time| time.to_string() == **name);
            if let Some(name) = names.iter().find(is_there) {
                return Err(Error::NoSnapshot { name: name.clone() });
            }
        }
        Ok(plan)
    }
}

fn deleted(plan: &RemovalPlan) -> Deleted {
    Deleted {
        snapshots: plan.sets.len() as u64,
        unused_bytes: plan.size(),
    }
}

impl Upkeep for DuplicityLayer {
    fn all_snapshots(&mut self) -> Result<Vec<Snapshot>, Error> {
        self.snapshots()
    }

    fn chains(&mut self) -> Result<Option<Vec<Vec<String>>>, Error> {
        let mut chains: Vec<&Chain> = self.collection.chains.iter().collect();
        chains.sort_by_key(|chain| (chain.end(), chain.start()));
        let names = |chain: &Chain| {
            let sets = chain.sets.iter();
            sets.map(|set| set.end().to_string()).collect()
        };
        Ok(Some(chains.into_iter().map(names).collect()))
    }

    fn delete_plan(&mut self, names: &[String]) -> Result<Deleted, Error> {
        Ok(deleted(&self.removal(names)?))
    }

    fn delete(&mut self, names: &[String], _now: Timestamp) -> Result<Deleted, Error> {
        let plan = self.removal(names)?;
        self.archive.remove(&plan)?;
        let done = deleted(&plan);
        self.freed_bytes += done.unused_bytes;
        self.collection = self.archive.collection(self.now())?;
        Ok(done)
    }

    fn compact_plan(&mut self) -> Result<Option<Compacted>, Error> {
        Ok(Some(Compacted::default()))
    }

    /// Files go with their sets: what was deleted is free already. What broken-off runs left
    /// halfway goes now.
    fn compact(&mut self, _now: Timestamp) -> Result<Option<Compacted>, Error> {
        Ok(Some(Compacted {
            files: self.archive.tidy()?,
            freed_bytes: std::mem::take(&mut self.freed_bytes),
            append_only: false,
        }))
    }

    /// Snapshots of this kind are called by their time.
    fn rename(&mut self, _: &Snapshot, _: &str, _: Timestamp) -> Result<(), Error> {
        Err(Error::Unsupported {
            what: "give a snapshot another name",
        })
    }

    /// The format has no place for remarks.
    fn set_comment(&mut self, _: &Snapshot, _: &str, _: Timestamp) -> Result<(), Error> {
        Err(Error::Unsupported {
            what: "keep a remark",
        })
    }

    /// What stands on a set would have to be made anew with it.
    fn recreate_plan(&mut self, _: &Snapshot, _: &Recreate) -> Result<Recreated, Error> {
        Err(Error::Unsupported {
            what: "make a snapshot anew",
        })
    }

    fn recreate(&mut self, _: &Snapshot, _: &Recreate, _: Timestamp) -> Result<Recreated, Error> {
        Err(Error::Unsupported {
            what: "make a snapshot anew",
        })
    }

    fn synthesize(
        &mut self,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Option<Synthesized>, Error> {
        // A full backup out of what is damaged would be damaged, too.
        if self.is_given_up() {
            let start = self.collection.active().map(Chain::start);
            let start = start.map(|start| start.to_string()).unwrap_or_default();
            let why = "a repair has given it up, and the next backup begins a new one";
            return Err(Error::from(duplicity::Error::Damaged {
                object: format!("the chain that begins with {start}"),
                source: io::Error::other(why),
            }));
        }
        let mut done = 0;
        let made = self.archive.synthesize(self.now(), &mut |bytes| {
            done += bytes;
            on_step(VerifyStep {
                phase: "bytes put together",
                done,
                total: 0,
            })
        })?;
        self.collection = self.archive.collection(self.now())?;
        Ok(made.map(|(set, summary)| Synthesized {
            snapshot: set.end().to_string(),
            files: summary.files,
            bytes: summary.bytes,
            stored_bytes: summary.stored_bytes,
            copied_bytes: summary.copied_bytes,
        }))
    }

    /// The format has no pieces that several snapshots share.
    fn statistics(&mut self) -> Result<LayerStatistics, Error> {
        let sets = || self.collection.chains.iter().flat_map(|chain| &chain.sets);
        Ok(LayerStatistics {
            snapshots: sets().count() as u64,
            stored_bytes: sets().map(duplicity::BackupSet::size).sum(),
            chains: Some(self.collection.chains.len() as u64),
            shared: None,
        })
    }

    /// What others stand on goes only with them: its own bytes are those of its set.
    fn snapshot_statistics(&mut self, snapshot: &Snapshot) -> Result<SnapshotStatistics, Error> {
        let details = self.details(snapshot)?;
        let sets = self.sets(snapshot)?;
        Ok(SnapshotStatistics {
            comment: String::new(),
            files: details.files,
            bytes: details.bytes,
            own_stored_bytes: sets.last().map_or(0, duplicity::BackupSet::size),
        })
    }
}
