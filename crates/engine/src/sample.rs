//! What a few files were when they were backed up: the digests that a drill compares with.
//!
//! Of all files that are read, those are kept whose paths come first in an order that is as good as
//! random and always the same. So the sample is spread over everything, needs no second reading,
//! and is as large for ten files as for ten million.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tree::{Body, Ending, Entry, Step, Time, TreePath};

use crate::event::PathRecord;
use crate::{Config, Machine, replace_private_file};

/// Most paths in the sample.
const PATHS_MAX: usize = 256;

/// Most versions of a path that are remembered: layers may lag behind one another.
const VERSIONS_MAX: usize = 4;

/// The same of the sentinel, which is another one in each run.
const SENTINELS_MAX: usize = 400;

/// Larger files are not sampled: 16 MiB.
pub(crate) const SIZE_MAX: u64 = 16 << 20;

/// One version of a file, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Version {
    size: u64,
    modified_ns: i64,
    sha256: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    path: PathRecord,
    versions: Vec<Version>,
}

/// The sample of this machine.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    /// By the place in the order.
    kept: BTreeMap<u64, Kept>,
    /// The one that is always in it, and first.
    sentinel: Option<TreePath>,
    /// The file that is being read, when it is sampled.
    open: Option<(Entry, Sha256)>,
    changed: bool,
}

fn file(machine: &Machine) -> PathBuf {
    machine.places.state.join("samples.json")
}

/// The place of a path in the order.
pub(crate) fn place(path: &TreePath) -> u64 {
    let digest = Sha256::digest(path.as_bytes());
    let first = digest.first_chunk().copied().unwrap_or_default();
    u64::from_be_bytes(first)
}

/// Where the file of a step stands in the order, when it is a regular one and no further name.
pub(crate) fn place_of(step: &Step) -> Option<u64> {
    match step {
        Step::Entry { entry, .. } if entry.is_file() && entry.hard_link.is_none() => {
            Some(place(&entry.path))
        }
        _ => None,
    }
}

impl Samples {
    /// What earlier runs sampled. What cannot be read is begun anew.
    pub(crate) fn read(config: &Config, machine: &Machine) -> Self {
        let sentinel = config.sentinel.as_ref();
        let sentinel = sentinel.and_then(|file| TreePath::from_local(file).ok());
        let place = |path: &TreePath| match sentinel.as_ref() == Some(path) {
            true => 0,
            false => place(path),
        };
        let read = fs::read(file(machine)).ok();
        let list: Vec<Kept> = read
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let kept = list
            .into_iter()
            .filter_map(|kept| Some((place(&kept.path.to_path()?), kept)));
        Self {
            kept: kept.take(PATHS_MAX).collect(),
            sentinel,
            ..Self::default()
        }
    }

    /// Keeps it for the next run. That it could not be written costs evidence, no backup.
    pub(crate) fn write(&self, machine: &Machine) {
        if self.changed {
            let list: Vec<&Kept> = self.kept.values().collect();
            let text = serde_json::to_vec(&list).unwrap_or_default();
            let _ = replace_private_file(&file(machine), &text);
        }
    }

    /// Looks at a step of the reading; `place` is where a regular file stands in the order.
    pub(crate) fn see(&mut self, step: &Step, place: Option<u64>) {
        match step {
            Step::Entry { entry, body } => {
                self.open = None;
                let place = place.map(|place| match self.is_sentinel(&entry.path) {
                    true => 0,
                    false => place,
                });
                if !place.is_some_and(|place| self.takes(entry, place)) {
                    return;
                }
                match body {
                    Body::Whole(block) => self.keep(entry, &Sha256::digest(&**block)),
                    Body::Blocks => self.open = Some((Entry::clone(entry), Sha256::new())),
                    Body::None => {}
                }
            }
            Step::Data(block) => {
                if let Some((_, hasher)) = &mut self.open {
                    hasher.update(&**block);
                }
            }
            Step::Hole(bytes) => {
                if let Some((_, hasher)) = &mut self.open {
                    let zeros = [0; 4096];
                    let mut left = *bytes;
                    while left > 0 {
                        let part = left.min(4096);
                        hasher.update(
                            zeros
                                .get(..usize::try_from(part).unwrap_or(0))
                                .unwrap_or_default(),
                        );
                        left -= part;
                    }
                }
            }
            Step::End(Ending::Complete) => {
                if let Some((entry, hasher)) = self.open.take() {
                    self.keep(&entry, &hasher.finalize());
                }
            }
            Step::End(_) => self.open = None,
            Step::Problem(_) => {}
        }
    }

    /// The file that is written for nothing but to come back, where one is wanted.
    pub(crate) fn sentinel(&self) -> Option<&TreePath> {
        self.sentinel.as_ref()
    }

    /// Whether the sentinel was read that was written in this time.
    pub(crate) fn sentinel_within(&self, began: Timestamp, ended: Timestamp) -> bool {
        // The clock of files goes in steps, and so stays behind a little.
        let began = began.as_nanosecond() - 1_000_000_000;
        let ended = ended.as_nanosecond();
        let kept = self.sentinel.as_ref().and_then(|_| self.kept.get(&0));
        kept.is_some_and(|kept| {
            let written = kept
                .versions
                .iter()
                .map(|version| i128::from(version.modified_ns));
            written.into_iter().any(|at| (began..=ended).contains(&at))
        })
    }

    fn is_sentinel(&self, path: &TreePath) -> bool {
        self.sentinel.as_ref() == Some(path)
    }

    /// The place of a path in this sample.
    fn place(&self, path: &TreePath) -> u64 {
        match self.is_sentinel(path) {
            true => 0,
            false => place(path),
        }
    }

    fn takes(&self, entry: &Entry, place: u64) -> bool {
        if entry.size == 0 || entry.size > SIZE_MAX {
            return false;
        }
        let last = self.kept.last_key_value();
        self.kept.len() < PATHS_MAX || last.is_some_and(|(&last, _)| place <= last)
    }

    fn keep(&mut self, entry: &Entry, digest: &[u8]) {
        let version = Version {
            size: entry.size,
            modified_ns: entry.mtime.nanoseconds,
            sha256: hex::encode(digest),
        };
        let versions_max = match self.is_sentinel(&entry.path) {
            true => SENTINELS_MAX,
            false => VERSIONS_MAX,
        };
        let place = self.place(&entry.path);
        let kept = self.kept.entry(place).or_insert_with(|| Kept {
            path: PathRecord::from(&entry.path),
            versions: Vec::new(),
        });
        kept.versions.retain(|known| *known != version);
        kept.versions.insert(0, version);
        kept.versions.truncate(versions_max);
        self.changed = true;
        if self.kept.len() > PATHS_MAX {
            self.kept.pop_last();
        }
    }

    /// Whether a file had this SHA-256 when it was backed up as this entry; `None` when that was
    /// not recorded.
    pub(crate) fn confirm(&self, entry: &Entry, sha256: &str) -> Option<bool> {
        let kept = self.kept.get(&self.place(&entry.path))?;
        let mut versions = kept.versions.iter().filter(|version| {
            version.size == entry.size && is_moment(entry.mtime, version.modified_ns)
        });
        let newest = versions.next()?;
        // Of one second there may be several.
        Some(newest.sha256 == sha256 || versions.any(|version| version.sha256 == sha256))
    }
}

/// Whether a layer's time of a file is this one, in nanoseconds: some formats keep only the second.
pub(crate) fn is_moment(kept: Time, nanoseconds: i64) -> bool {
    const SECOND: i64 = 1_000_000_000;
    kept.nanoseconds == nanoseconds
        || kept.nanoseconds % SECOND == 0
            && kept.nanoseconds.div_euclid(SECOND) == nanoseconds.div_euclid(SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_keeps_seconds_means_any_moment_of_one() {
        let whole = Time::new(-5, 0);
        assert!(is_moment(whole, -5_000_000_000) && is_moment(whole, -4_000_000_001));
        assert!(!is_moment(whole, -4_000_000_000) && !is_moment(whole, -5_000_000_001));
        let exact = Time::new(7, 1);
        assert!(is_moment(exact, 7_000_000_001) && !is_moment(exact, 7_000_000_002));
    }
}
