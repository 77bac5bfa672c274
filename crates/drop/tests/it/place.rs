//! Where a drop folder is kept, and what else happens there: edits by hand, and a network that breaks
//! off.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ravelin_drop::{Device, Error, Folder};
use store::{
    DigestKind, Environment, ErrorKind, Fault, Faulty, Hasher, Location, Store, WriteMode,
};
use testkit::Random;
use testkit::emulator::{DropboxEmulator, Trouble};

use crate::bench::{Machine, environment, name, plain};

/// A place for a drop folder.
pub(crate) trait Place {
    /// Opens the drop folder for a device, over a network that breaks off now and then when `random`
    /// says when.
    fn open(&self, machine: &Machine, random: Option<&mut Random>) -> Result<Folder, Error>;

    /// Before a run: the network may become bad.
    fn storm(&self, _random: &mut Random) {}

    /// After a run: it is good again.
    fn calm(&self) {}

    /// The files that stand there plainly.
    fn files(&self) -> BTreeMap<String, Vec<u8>>;

    /// Whether a plain file stands there.
    fn has(&self, path: &str) -> bool;

    /// Somebody changes a plain file, or deletes it.
    fn by_hand(&self, path: &str, bytes: Option<&[u8]>);

    /// Whether some version has a content of this checksum.
    fn keeps(&self, hash: &str) -> bool;

    /// Whether a content that no history tells of is kept all the same.
    fn keeps_untold(&self, _hash: &str) -> bool {
        false
    }

    /// How contents are told apart there.
    fn digest(&self) -> DigestKind {
        DigestKind::Sha256
    }

    /// Whether two names that differ only in capitals are one.
    fn folds_case(&self) -> bool {
        false
    }

    fn hash(&self, bytes: &[u8]) -> String {
        let mut hasher = Hasher::new(self.digest());
        hasher.update(bytes);
        hasher.finish().to_hex()
    }
}

/// A store with a history of our own.
pub(crate) struct OnStore {
    store: Arc<dyn Store>,
    /// The folder in which the server keeps the files, for edits behind its back; without one they
    /// go through the store.
    folder: Option<PathBuf>,
    /// The server tells states of a file apart by whole seconds only.
    whole_seconds: bool,
    /// The network breaks off once in so many calls, or twice.
    cut_every: u64,
}

impl OnStore {
    pub(crate) fn new(store: Arc<dyn Store>, cut_every: u64) -> Self {
        Folder::create(&*store, &environment()).unwrap();
        Self {
            store,
            folder: None,
            whole_seconds: false,
            cut_every,
        }
    }

    /// Edits by hand are made in the server's own folder.
    pub(crate) fn in_folder(self, folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
            ..self
        }
    }

    /// An edit by hand is made in a second of its own.
    pub(crate) fn of_whole_seconds(self) -> Self {
        Self {
            whole_seconds: true,
            ..self
        }
    }

    /// The store behind a network that breaks off now and then, for one call or for a while.
    fn network(&self, random: &mut Random) -> Arc<dyn Store> {
        let mut faults = Vec::new();
        let mut call = 0;
        while call < 200_000 {
            call += 10 + random.below(2 * self.cut_every);
            let fault = match random.below(4) {
                0 => Fault::After(ErrorKind::Unavailable),
                1 => Fault::Cut(random.below(5)),
                _ => Fault::Before(ErrorKind::Unavailable),
            };
            faults.push((call, fault));
            if random.once_in(3) {
                for _ in 0..random.below(60) {
                    call += 1;
                    faults.push((call, Fault::Before(ErrorKind::Unavailable)));
                }
            }
        }
        Arc::new(Faulty::new(Arc::clone(&self.store), faults))
    }
}

impl Place for OnStore {
    fn open(&self, machine: &Machine, random: Option<&mut Random>) -> Result<Folder, Error> {
        machine.folder(match random {
            Some(random) => self.network(random),
            None => Arc::clone(&self.store),
        })
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        plain(&*self.store)
    }

    fn has(&self, path: &str) -> bool {
        match &self.folder {
            Some(folder) => folder.join(path).is_file(),
            None => self.store.stat(&name(path)).is_ok(),
        }
    }

    fn by_hand(&self, path: &str, bytes: Option<&[u8]>) {
        let Some(folder) = &self.folder else {
            let path = name(path);
            match bytes {
                None => self.store.delete(&path).unwrap(),
                Some(bytes) => {
                    let written = self.store.write(&path, &bytes.to_vec(), WriteMode::Replace);
                    drop(written.unwrap());
                }
            }
            return;
        };
        let path = folder.join(path);
        let Some(bytes) = bytes else {
            return fs::remove_file(path).unwrap();
        };
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, bytes).unwrap();
        if self.whole_seconds {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(before + Duration::from_secs(7)).unwrap();
        }
    }

    fn keeps(&self, hash: &str) -> bool {
        let kept = format!(".ravelin-drop/kept/{}/{hash}", &hash[..2]);
        self.store.stat(&name(&kept)).is_ok()
    }
}

/// A Dropbox, whose own revisions are the history.
pub(crate) struct OnDropbox {
    pub(crate) emulator: DropboxEmulator,
    pub(crate) environment: Environment,
    _state: tempfile::TempDir,
}

impl OnDropbox {
    /// Signs in. What breaks off is not tried again by the store itself.
    pub(crate) fn new() -> Self {
        let (emulator, state) = (DropboxEmulator::start(), tempfile::tempdir().unwrap());
        emulator.set_page(5);
        let mut environment = crate::dropbox::signed_in(&emulator, state.path());
        environment.patience.total = Duration::ZERO;
        Self {
            emulator,
            environment,
            _state: state,
        }
    }
}

impl Place for OnDropbox {
    fn open(&self, machine: &Machine, _: Option<&mut Random>) -> Result<Folder, Error> {
        let location: Location = "dropbox:/Drop".parse().unwrap();
        let device = Device::new(&machine.name);
        let folder = Folder::open(&location, &self.environment, &device, None)?;
        Ok(folder.unwrap())
    }

    fn storm(&self, random: &mut Random) {
        for _ in 0..random.below(3) {
            let trouble = match random.below(5) {
                0 => Trouble::CutRequest(usize::try_from(random.below(60)).unwrap()),
                1 => Trouble::CutAnswer(usize::try_from(random.below(60)).unwrap()),
                2 => Trouble::Status(503, None),
                _ => Trouble::LoseAnswer,
            };
            self.emulator.faults.add(testkit::emulator::Fault {
                on: "/2/files/".into(),
                skip: u32::try_from(random.below(15)).unwrap(),
                times: 1,
                trouble,
            });
        }
    }

    fn calm(&self) {
        self.emulator.faults.clear();
    }

    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.emulator.files("/Drop")
    }

    fn has(&self, path: &str) -> bool {
        self.emulator.object(&format!("/Drop/{path}")).is_some()
    }

    fn by_hand(&self, path: &str, bytes: Option<&[u8]>) {
        let path = format!("/Drop/{path}");
        match bytes {
            Some(bytes) => self.emulator.put(&path, bytes),
            None => self.emulator.delete(&path),
        }
    }

    fn keeps(&self, hash: &str) -> bool {
        self.emulator.keeps(hash)
    }

    /// Dropbox tells nothing of a file whose name a folder has since.
    fn keeps_untold(&self, hash: &str) -> bool {
        self.keeps(hash)
    }

    fn digest(&self) -> DigestKind {
        DigestKind::Dropbox
    }

    fn folds_case(&self) -> bool {
        true
    }
}
