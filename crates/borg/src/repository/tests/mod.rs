//! Repositories in scratch directories, and a model of what must be in them.

mod compaction;
mod damage;
mod history;
mod repairing;
mod rules;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::*;

const NOW: Timestamp = Timestamp::constant(1_700_000_000, 123_000_000);

/// A repository in a scratch directory.
struct Scratch {
    directory: tempfile::TempDir,
}

type Objects = BTreeMap<Id, Vec<u8>>;

impl Scratch {
    /// With segments of about two kilobytes, three in a folder.
    fn new() -> Self {
        Self::with(|options| {
            options.max_segment_size = 2000;
            options.segments_per_dir = 3;
        })
    }

    fn with(change: impl FnOnce(&mut RepositoryOptions)) -> Self {
        // Nothing here asks whether bytes survive a power cut, and in memory a sync costs nothing.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let mut options = RepositoryOptions::new([7; 32]);
        change(&mut options);
        Repository::create(&directory.path().join("repository"), &options).unwrap();
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    fn open(&self, access: Access) -> Result<Repository, Error> {
        open(&self.path(), access)
    }

    fn writer(&self) -> Repository {
        self.open(Access::Write).unwrap()
    }

    fn reader(&self) -> Repository {
        self.open(Access::Read).unwrap()
    }

    /// Commits objects in one transaction.
    fn store(&self, objects: &Objects) -> u32 {
        let repository = self.writer();
        let transaction = repository.begin().unwrap();
        for (id, data) in objects {
            transaction.put(id, data).unwrap();
        }
        transaction.commit(NOW).unwrap()
    }

    fn segment(&self, number: u32) -> PathBuf {
        self.reader().segments.path(number)
    }

    /// Numbers and sizes of all segments.
    fn segments(&self) -> Vec<(u32, u64)> {
        sizes(&self.reader())
    }

    /// Changes the bytes of a file in place.
    fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn open(path: &Path, access: Access) -> Result<Repository, Error> {
    Repository::open(path, &OpenOptions::new(access, &Host::named("nas@17")))
}

fn sizes(repository: &Repository) -> Vec<(u32, u64)> {
    let segments = repository.segments.list().unwrap();
    segments
        .into_iter()
        .map(|segment| (segment, repository.segments.size(segment).unwrap()))
        .collect()
}

/// All that a reader sees.
fn objects(repository: &Repository) -> Objects {
    let ids = repository.ids().unwrap();
    ids.into_iter()
        .map(|id| (id, repository.get(&id).unwrap()))
        .collect()
}

fn id(number: u8) -> Id {
    let mut id = [number; 32];
    id[31] = 1;
    Id(id)
}

fn content(number: u8, size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| number ^ u8::try_from(at % 251).unwrap())
        .collect()
}

/// A manifest and a few objects of different sizes.
fn some_objects(seed: u8) -> Objects {
    let mut objects: Objects = (0..8)
        .map(|number| {
            (
                id(number),
                content(seed ^ number, 100 * usize::from(number)),
            )
        })
        .collect();
    objects.insert(Id::MANIFEST, content(seed, 50));
    objects
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
