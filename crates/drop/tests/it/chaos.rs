//! Random edits on two and three devices, by hand at the store as well, with the network cut at random.
//!
//! After every run, finished or cut off: each content that a device had is still there, or kept.
//! At the end: all devices, the plain files and the index have the same files, and every content
//! that a finished run has seen is in the history.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use ravelin_drop::{Folder, Step};
use store::Memory;
use testkit::Random;

use crate::bench::{Machine, at, name};
use crate::place::{OnDropbox, OnStore, Place};

const PATHS: [&str; 22] = [
    "a",
    "b",
    "a/x",
    "a/y",
    "a/x/deep",
    "c/1",
    "c/2",
    "c/3",
    "d/e/f/g",
    "d/e/f",
    "caf\u{e9}",
    "cafe\u{301}",
    "Case",
    "case",
    "space in name",
    "report.odt",
    "photos/1.jpg",
    "photos/2.jpg",
    "photos",
    "x%41",
    "-rf",
    "😀",
];

struct World<'a> {
    place: &'a dyn Place,
    paths: Vec<&'static str>,
    machines: Vec<Machine>,
    folders: Vec<Option<Folder>>,
    random: Random,
    clock: i64,
    written: u64,
    /// Contents that a finished run has seen.
    must_keep: BTreeSet<String>,
    cut: u64,
    finished: u64,
}

impl<'a> World<'a> {
    fn new(place: &'a dyn Place, devices: usize, seed: u64) -> Self {
        let names = ["laptop", "desktop", "tablet"];
        // A name that differs from another in capitals only stays on its device there.
        let taken = |path: &&str| !(place.folds_case() && **path == *"case");
        Self {
            place,
            paths: PATHS.into_iter().filter(taken).collect(),
            machines: names[..devices]
                .iter()
                .map(|name| Machine::new(name))
                .collect(),
            folders: (0..devices).map(|_| None).collect(),
            random: Random::new(seed),
            clock: 0,
            written: 0,
            must_keep: BTreeSet::new(),
            cut: 0,
            finished: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap()
    }

    fn path(&mut self) -> &'static str {
        let index = self.below(self.paths.len());
        self.paths[index]
    }

    fn content(&mut self) -> Vec<u8> {
        self.written += 1;
        match self.below(12) {
            0 => Vec::new(),
            1 => format!("one of few {}", self.below(3)).into_bytes(),
            2 => vec![b'.'; self.below(20_000)],
            _ => format!("content number {}", self.written).into_bytes(),
        }
    }

    fn step(&mut self) {
        self.clock += i64::try_from(self.below(40)).unwrap();
        let index = self.below(self.machines.len());
        let path = self.path();
        match self.below(24) {
            0..=8 => {
                let bytes = self.content();
                self.machines[index].write(path, &bytes);
            }
            9..=11 => self.machines[index].remove(path),
            12..=13 => {
                let to = self.path();
                let machine = &self.machines[index];
                if let Some(bytes) = machine.read(path)
                    && path != to
                {
                    machine.remove(path);
                    machine.write(to, &bytes);
                }
            }
            14 => {
                let _ = std::fs::remove_dir_all(self.machines[index].path(path));
            }
            15 => self.by_hand(path),
            16 => {
                // The state is lost.
                if self.below(5) == 0 {
                    let _ = std::fs::remove_dir_all(self.machines[index].state());
                    self.folders[index] = None;
                }
            }
            _ => self.sync(index),
        }
    }

    /// Somebody edits or deletes at the store itself.
    fn by_hand(&mut self, path: &str) {
        if !self.place.has(path) {
            return;
        }
        let bytes = (self.below(3) > 0).then(|| self.content());
        self.place.by_hand(path, bytes.as_deref());
    }

    fn sync(&mut self, index: usize) {
        // Now and then the program ends and begins anew.
        let opened = self.folders[index]
            .take()
            .filter(|_| !self.random.once_in(20));
        let opened = match opened {
            Some(folder) => Ok(folder),
            None => {
                let random = Some(&mut self.random);
                self.place.open(&self.machines[index], random)
            }
        };
        let (place, machine) = (self.place, &self.machines[index]);
        let hashes = || -> BTreeSet<String> {
            let files = machine.files();
            files.values().map(|bytes| place.hash(bytes)).collect()
        };
        let before = hashes();
        place.storm(&mut self.random);
        let result = match opened {
            Ok(mut folder) => {
                let mut sync = machine.sync_of();
                sync.allow_empty = true;
                let mut go_on = |_: &Step| ControlFlow::Continue(());
                let result = sync.run(&mut folder, at(self.clock), &mut go_on);
                self.folders[index] = Some(folder);
                result
            }
            Err(error) => Err(error),
        };
        place.calm();
        let after = hashes();
        for content in &before {
            assert!(
                after.contains(content) || place.keeps(content),
                "a content vanished from {}: {result:#?}",
                machine.name
            );
        }
        match result {
            Ok(report) if report.complete => {
                self.finished += 1;
                self.must_keep.extend(before);
            }
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_passing(), "{error:?}");
                self.cut += 1;
            }
        }
    }

    fn end(&mut self) {
        let place = self.place;
        let sync = |machine: &Machine, clock: i64| {
            let mut folder = place.open(machine, None).unwrap();
            let report = machine.sync_with(&mut folder, at(clock)).unwrap();
            assert!(report.complete, "{report:#?}");
            report
        };
        // Long enough for deletions by hand to count, and so often that nobody has news.
        for _ in 0..6 {
            self.clock += 60;
            for machine in &self.machines {
                sync(machine, self.clock);
            }
        }
        let files = self.machines[0].files();
        for machine in &self.machines {
            let report = sync(machine, self.clock);
            assert_eq!(report.steps, [], "{}", machine.name);
            assert_eq!(report.problems, []);
            assert_same(&machine.files(), &files);
        }
        assert_same(&place.files(), &files);
        let mut folder = place.open(&Machine::new("observer"), None).unwrap();
        let index: BTreeMap<String, String> = folder
            .list()
            .iter()
            .map(|version| {
                let content = version.content().unwrap();
                (version.path.to_string(), content.hash.to_string())
            })
            .collect();
        let hashes = files
            .iter()
            .map(|(path, bytes)| (path.clone(), place.hash(bytes)))
            .collect();
        assert_same(&index, &hashes);
        assert_eq!(folder.verify().unwrap(), []);
        let mut known = BTreeSet::new();
        let mut paths: BTreeSet<store::Name> = folder
            .list()
            .into_iter()
            .chain(folder.deleted().unwrap())
            .map(|version| version.path)
            .collect();
        paths.extend(self.paths.iter().map(|path| name(path)));
        for path in paths {
            for version in folder.history(&path).unwrap_or_default() {
                known.extend(version.content().map(|content| content.hash.to_string()));
            }
        }
        let lost: Vec<_> = self
            .must_keep
            .difference(&known)
            .filter(|hash| !place.keeps_untold(hash))
            .collect();
        assert_eq!(lost, Vec::<&String>::new());
    }
}

#[track_caller]
fn assert_same<T: PartialEq>(left: &BTreeMap<String, T>, right: &BTreeMap<String, T>) {
    let mut paths: BTreeSet<&String> = left.keys().collect();
    paths.extend(right.keys());
    let differ: Vec<_> = paths
        .into_iter()
        .filter(|path| left.get(*path) != right.get(*path))
        .collect();
    assert_eq!(differ, Vec::<&String>::new());
}

fn seed() -> u64 {
    if let Some(seed) = std::env::var("RAVELIN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        return seed;
    }
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).unwrap();
    u32::from_le_bytes(bytes).into()
}

#[expect(clippy::print_stdout, reason = "a random test prints its seed")]
pub(crate) fn run(place: &dyn Place, devices: usize, operations: u64) {
    let seed = seed();
    println!("seed {seed}, {devices} devices: set RAVELIN_SEED={seed} to repeat");
    let mut world = World::new(place, devices, seed);
    for _ in 0..operations {
        world.step();
    }
    world.end();
    println!("{} runs finished, {} cut off", world.finished, world.cut);
    assert!(world.finished > operations / 20 && world.cut >= operations / 100);
}

/// The network breaks off about once in so many calls where a run makes many.
const CUT_EVERY: u64 = 600;

#[test]
fn two_devices_converge_and_no_version_is_lost_in_10_000_random_operations() {
    run(&OnStore::new(Arc::new(Memory::new()), CUT_EVERY), 2, 10_000);
}

#[test]
fn three_devices_converge_and_no_version_is_lost_in_10_000_random_operations() {
    run(&OnStore::new(Arc::new(Memory::new()), CUT_EVERY), 3, 10_000);
}

#[test]
fn three_devices_converge_on_a_disk_and_no_version_is_lost() {
    let scratch = crate::bench::scratch();
    let disk = store::Disk::new(scratch.path(), &crate::bench::environment());
    let place = OnStore::new(Arc::new(disk), CUT_EVERY);
    run(&place.in_folder(scratch.path().to_owned()), 3, 2000);
}

#[test]
fn two_devices_converge_on_dropbox_and_no_revision_is_lost() {
    run(&OnDropbox::new(), 2, 500);
}

#[test]
fn three_devices_converge_on_dropbox_and_no_revision_is_lost() {
    run(&OnDropbox::new(), 3, 500);
}
