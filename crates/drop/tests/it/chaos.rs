//! Random edits on two and three devices, by hand at the store as well, with the network cut at random.
//!
//! After every run, finished or cut off: each content that a device had is still there, or kept.
//! At the end: all devices, the plain files and the index have the same files, and every content
//! that a finished run has seen is in the history.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use ravelin_drop::{Folder, Step};
use sha2::{Digest, Sha256};
use store::{ErrorKind, Fault, Faulty, Memory, Store, WriteMode};
use testkit::Random;

use crate::bench::{Machine, at, environment, folder_on, name, plain};

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

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn is_kept(store: &dyn Store, hash: &str) -> bool {
    let kept = format!(".ravelin-drop/kept/{}/{hash}", &hash[..2]);
    store.stat(&name(&kept)).is_ok()
}

struct World {
    store: Arc<dyn Store>,
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

impl World {
    fn new(store: Arc<dyn Store>, devices: usize, seed: u64) -> Self {
        Folder::create(&*store, &environment()).unwrap();
        let names = ["laptop", "desktop", "tablet"];
        Self {
            store,
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
        let path = PATHS[self.below(PATHS.len())];
        match self.below(24) {
            0..=8 => {
                let bytes = self.content();
                self.machines[index].write(path, &bytes);
            }
            9..=11 => self.machines[index].remove(path),
            12..=13 => {
                let to = PATHS[self.below(PATHS.len())];
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
        let path = name(path);
        if self.store.stat(&path).is_ok() {
            if self.below(3) == 0 {
                self.store.delete(&path).unwrap();
            } else {
                let bytes = self.content();
                self.store.write(&path, &bytes, WriteMode::Replace).unwrap();
            }
        }
    }

    /// The store behind a network that breaks off now and then, for one call or for a while.
    fn network(&mut self) -> Arc<dyn Store> {
        let mut faults = Vec::new();
        let mut call = 0;
        while call < 200_000 {
            call += 10 + self.random.below(1200);
            let fault = match self.below(4) {
                0 => Fault::After(ErrorKind::Unavailable),
                1 => Fault::Cut(self.random.below(5)),
                _ => Fault::Before(ErrorKind::Unavailable),
            };
            faults.push((call, fault));
            if self.random.once_in(3) {
                for _ in 0..self.below(60) {
                    call += 1;
                    faults.push((call, Fault::Before(ErrorKind::Unavailable)));
                }
            }
        }
        Arc::new(Faulty::new(Arc::clone(&self.store), faults))
    }

    fn sync(&mut self, index: usize) {
        // Now and then the program ends and begins anew.
        let opened = self.folders[index]
            .take()
            .filter(|_| !self.random.once_in(20));
        let opened = match opened {
            Some(folder) => Ok(folder),
            None => {
                let network = self.network();
                self.machines[index].folder(network)
            }
        };
        let machine = &self.machines[index];
        let before: BTreeSet<String> = machine.files().values().map(|b| hash(b)).collect();
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
        let after: BTreeSet<String> = machine.files().values().map(|b| hash(b)).collect();
        for content in &before {
            assert!(
                after.contains(content) || is_kept(&*self.store, content),
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
        let store = Arc::clone(&self.store);
        // Long enough for deletions by hand to count, and so often that nobody has news.
        for _ in 0..6 {
            self.clock += 60;
            for machine in &self.machines {
                machine.sync(&store, at(self.clock));
            }
        }
        let files = self.machines[0].files();
        for machine in &self.machines {
            let report = machine.sync(&store, at(self.clock));
            assert_eq!(report.steps, [], "{}", machine.name);
            assert_eq!(report.problems, []);
            assert_same(&machine.files(), &files);
        }
        assert_same(&plain(&*self.store), &files);
        let mut folder = folder_on(store, "observer");
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
            .map(|(path, bytes)| (path.clone(), hash(bytes)))
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
        paths.extend(PATHS.iter().map(|path| name(path)));
        for path in paths {
            for version in folder.history(&path).unwrap_or_default() {
                known.extend(version.content().map(|content| content.hash.to_string()));
            }
        }
        let lost: Vec<_> = self.must_keep.difference(&known).collect();
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
pub(crate) fn run(store: Arc<dyn Store>, devices: usize, operations: u64) {
    let seed = seed();
    println!("seed {seed}, {devices} devices: set RAVELIN_SEED={seed} to repeat");
    let mut world = World::new(store, devices, seed);
    for _ in 0..operations {
        world.step();
    }
    world.end();
    println!("{} runs finished, {} cut off", world.finished, world.cut);
    assert!(world.finished > operations / 20 && world.cut >= operations / 100);
}

#[test]
fn two_devices_converge_and_no_version_is_lost_in_10_000_random_operations() {
    run(Arc::new(Memory::new()), 2, 10_000);
}

#[test]
fn three_devices_converge_and_no_version_is_lost_in_10_000_random_operations() {
    run(Arc::new(Memory::new()), 3, 10_000);
}
