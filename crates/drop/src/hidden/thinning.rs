//! Old versions let go, and the copies that nobody needs any more deleted.
//!
//! First a change says which versions are no longer kept and which copies are given up; then the
//! copies are deleted. A copy that is given up is never used again: a device that was about to
//! refer to it finds its number taken by this change, reads it, and writes a copy of the next
//! generation. So a deletion can be late or be repeated without taking what somebody needs. A
//! crash between the two leaves copies that the next thinning deletes.
//!
//! Where the store cannot give a number to one device only, another device's change may come into
//! sight late. There a copy is deleted a day after it was given up, if nothing needs it then.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use store::{Folder as StoreFolder, Scope};

use super::index::Record;
use super::line::{Kept, Line};
use super::{HIDDEN, Hidden, kept_name};
use crate::{Error, Rule, State, ThinPlan, Thinned, Version};

/// So long after it was given up a copy is deleted, where changes may come into sight late.
const SIGHT: SignedDuration = SignedDuration::from_hours(24);

impl Hidden {
    pub(super) fn plan_thinning(&self, rule: &Rule, now: Timestamp) -> ThinPlan {
        let mut versions = Vec::new();
        for records in self.index.all() {
            let live = records
                .last()
                .and_then(|record| self.index.live(&record.version.path))
                .map(|record| &record.version.id);
            let kept = contents_to_keep(records, rule, now);
            for (index, record) in records.iter().enumerate() {
                // A deletion stays for as long as what was deleted.
                let content = (0..=index).rev().find(|index| {
                    let record = records.get(*index);
                    record.is_some_and(|record| record.version.content().is_some())
                });
                let stays = live == Some(&record.version.id)
                    || content.is_some_and(|index| kept.contains(&index));
                if !stays {
                    versions.push(record.version.clone());
                }
            }
        }
        let bytes = versions
            .iter()
            .filter_map(Version::content)
            .map(|content| content.size)
            .sum();
        ThinPlan { versions, bytes }
    }

    pub(super) fn thin_now(&mut self, plan: &ThinPlan, now: Timestamp) -> Result<Thinned, Error> {
        let listed = self.kept_copies()?;
        let mut thinned = 0;
        self.write_change(now, |hidden, _| {
            thinned = 0;
            let mut after = hidden.index.clone();
            let mut lines = Vec::new();
            for version in &plan.versions {
                // What has become the present one since the plan was made stays.
                let live = hidden.index.live(&version.path);
                let is_live = live.is_some_and(|record| record.version.id == version.id);
                if is_live || hidden.index.version(&version.path, &version.id).is_none() {
                    continue;
                }
                let line = Line::Thin {
                    path: version.path.clone(),
                    version: version.id.clone(),
                };
                after.apply(line.clone());
                lines.push(line);
                thinned += 1;
            }
            let needed = after.needed();
            let purge = listed
                .iter()
                .filter(|(kept, _)| !needed.contains(kept) && hidden.index.purged(kept).is_none());
            lines.extend(purge.map(|(kept, _)| Line::Purge {
                kept: kept.clone(),
                at: now,
            }));
            Ok(lines)
        })?;
        let mut bytes = 0;
        let needed: BTreeSet<Kept> = self.index.needed().into_iter().cloned().collect();
        for (kept, size) in listed {
            let due = self
                .index
                .purged(&kept)
                .is_some_and(|at| self.exclusive || now.duration_since(at) >= SIGHT);
            if due && !needed.contains(&kept) {
                self.store.delete(&kept_name(&kept)?)?;
                bytes += size;
            }
        }
        // What broken-off uploads left is of no more use than what was thinned.
        self.store.tidy(store::ABANDONED)?;
        Ok(Thinned {
            versions: thinned,
            bytes,
        })
    }

    /// Every copy that the store holds, with its size.
    fn kept_copies(&self) -> Result<Vec<(Kept, u64)>, Error> {
        let folder = format!("{HIDDEN}/kept");
        let folder = StoreFolder::new(&folder).map_err(|source| Error::BadName {
            name: folder,
            source,
        })?;
        let mut copies = Vec::new();
        self.store.list(&folder, Scope::Tree, &mut |object| {
            if let Some(kept) = Kept::parse(object.name.file_name()) {
                copies.push((kept, object.size));
            }
            ControlFlow::Continue(())
        })?;
        copies.sort();
        Ok(copies)
    }
}

/// The indices of the contents that a rule keeps. One that was deleted ages from its deletion.
fn contents_to_keep(records: &[Record], rule: &Rule, now: Timestamp) -> BTreeSet<usize> {
    let mut indices = Vec::new();
    let mut times = Vec::new();
    for (index, record) in records.iter().enumerate() {
        if record.version.content().is_some() {
            let deleted = records
                .get(index + 1)
                .filter(|next| next.version.state == State::Deleted);
            indices.push(index);
            times.push(deleted.map_or(record.version.at, |next| next.version.at));
        }
    }
    let keep = rule.keep(&times, now);
    let kept = indices.into_iter().zip(keep).filter(|(_, keep)| *keep);
    kept.map(|(index, _)| index).collect()
}
