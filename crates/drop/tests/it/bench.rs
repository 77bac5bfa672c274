//! Stores, devices and a clock for the tests.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use ravelin_drop::{Device, Error, Folder, Sync, SyncReport};
use store::{Environment, Memory, Name, Store, WriteMode};

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// The clock of the tests, in seconds after some day.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// Without the patience of half an hour: a store that is cut off stays so in a test, also where one of its
/// objects is copied to another and the real store behind it tries again and again.
pub(crate) fn environment() -> Environment {
    let mut environment = Environment::new(
        || SystemTime::UNIX_EPOCH,
        |bytes| getrandom::fill(bytes).unwrap(),
    );
    environment.patience.total = Duration::from_secs(10);
    environment
}

/// A scratch folder in memory where there is one.
pub(crate) fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

pub(crate) fn folder_on(store: Arc<dyn Store>, device: &str) -> Folder {
    Folder::on(store, &environment(), &Device::new(device), None)
        .unwrap()
        .unwrap()
}

/// A store in memory that lacks what some have.
pub(crate) struct Poor {
    pub(crate) memory: Memory,
    /// Whether it can create exclusively.
    pub(crate) creates: bool,
    /// Whether it tells the states of an object apart otherwise than by size and time.
    pub(crate) has_versions: bool,
}

impl Poor {
    pub(crate) fn new(memory: &Memory) -> Self {
        Self {
            memory: memory.clone(),
            creates: true,
            has_versions: true,
        }
    }

    fn seen(&self, object: store::Object) -> store::Object {
        if self.has_versions {
            return object;
        }
        store::Object {
            version: None,
            modified: Some(SystemTime::UNIX_EPOCH),
            ..object
        }
    }
}

impl Store for Poor {
    fn capabilities(&self) -> store::Capabilities {
        let has = self.memory.capabilities();
        store::Capabilities {
            create: has.create && self.creates,
            ..has
        }
    }
    fn list(
        &self,
        folder: &store::Folder,
        scope: store::Scope,
        each: &mut dyn FnMut(store::Object) -> ControlFlow<()>,
    ) -> Result<(), store::Error> {
        let each = &mut |object| each(self.seen(object));
        self.memory.list(folder, scope, each)
    }
    fn stat(&self, name: &Name) -> Result<store::Object, store::Error> {
        self.memory.stat(name).map(|object| self.seen(object))
    }
    fn read(&self, name: &Name, range: store::Range) -> Result<store::Reading, store::Error> {
        self.memory.read(name, range)
    }
    fn write(
        &self,
        name: &Name,
        content: &dyn store::Content,
        mode: WriteMode,
    ) -> Result<store::Object, store::Error> {
        if mode == WriteMode::Create && !self.creates {
            let error = store::Error::new(store::ErrorKind::Unsupported, store::Operation::Write);
            return Err(error.on(name));
        }
        let written = self.memory.write(name, content, mode);
        written.map(|object| self.seen(object))
    }
    fn delete(&self, name: &Name) -> Result<(), store::Error> {
        self.memory.delete(name)
    }
    fn rename(&self, from: &Name, to: &Name) -> Result<(), store::Error> {
        self.memory.rename(from, to)
    }
    fn space(&self) -> Result<Option<store::Space>, store::Error> {
        self.memory.space()
    }
}

/// A machine with a folder and a state.
pub(crate) struct Machine {
    pub(crate) name: String,
    scratch: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new(name: &str) -> Self {
        let scratch = scratch();
        fs::create_dir(scratch.path().join("Drop")).unwrap();
        fs::create_dir(scratch.path().join("state")).unwrap();
        Self {
            name: name.to_owned(),
            scratch,
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.scratch.path().join("Drop").join(path)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Writes a file, whatever stands there.
    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        let mut above = path.parent().unwrap().to_owned();
        while !above.is_dir() {
            let _ = fs::remove_file(&above);
            if fs::create_dir_all(&above).is_ok() {
                break;
            }
            above.pop();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        fs::read(self.path(path)).ok()
    }

    pub(crate) fn remove(&self, path: &str) {
        let _ = fs::remove_file(self.path(path));
    }

    /// All files with their contents.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![(self.path(""), String::new())];
        while let Some((folder, prefix)) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
                if entry.file_type().unwrap().is_dir() {
                    folders.push((entry.path(), format!("{path}/")));
                } else {
                    found.insert(path, fs::read(entry.path()).unwrap());
                }
            }
        }
        found
    }

    pub(crate) fn folder(&self, store: Arc<dyn Store>) -> Result<Folder, Error> {
        let device = Device::new(&self.name);
        let folder = Folder::on(store, &environment(), &device, Some(&self.state()))?;
        Ok(folder.unwrap())
    }

    pub(crate) fn sync_of(&self) -> Sync {
        let device = Device::new(&self.name);
        let random = environment().random;
        Sync::new(&self.path(""), device, Some(&self.state()), random).unwrap()
    }

    pub(crate) fn try_sync(
        &self,
        store: Arc<dyn Store>,
        now: Timestamp,
    ) -> Result<SyncReport, Error> {
        let mut folder = self.folder(store)?;
        self.sync_with(&mut folder, now)
    }

    pub(crate) fn sync_with(
        &self,
        folder: &mut Folder,
        now: Timestamp,
    ) -> Result<SyncReport, Error> {
        let mut sync = self.sync_of();
        sync.allow_empty = true;
        sync.run(folder, now, &mut |_| ControlFlow::Continue(()))
    }

    #[track_caller]
    pub(crate) fn sync(&self, store: &Arc<dyn Store>, now: Timestamp) -> SyncReport {
        let report = self.try_sync(Arc::clone(store), now).unwrap();
        assert!(report.complete, "{report:#?}");
        report
    }
}

/// The plain files of a store, without the hidden folder.
pub(crate) fn plain(store: &dyn Store) -> BTreeMap<String, Vec<u8>> {
    let all = store::list_all(store, &store::Folder::root()).unwrap();
    let plain = all
        .into_iter()
        .filter(|object| !object.name.as_str().starts_with(".ravelin-drop/"));
    plain
        .map(|object| {
            let bytes = store::read_all(store, &object.name, 1 << 30).unwrap();
            (object.name.to_string(), bytes)
        })
        .collect()
}
