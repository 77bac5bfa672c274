//! A source directory as steps, and an archive as a directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duplicity::{Archive, Item, Protection, SetTime, Settings, Summary, Wanted};
use ravelin_duplicity as duplicity;
use tree::{Block, Body, Ending, Entry, EntryKind, Flags, Owner, Step, Time, TreePath};

/// A moment that tests count from.
pub(crate) const START: i64 = 1_700_000_000;

pub(crate) fn at(minute: i64) -> SetTime {
    SetTime::from_seconds(START + minute * 60)
}

fn random(bytes: &mut [u8]) {
    fs::File::open("/dev/urandom")
        .unwrap()
        .read_exact(bytes)
        .unwrap();
}

/// A place to keep an archive, its cache and what it is made of.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for name in ["source", "store", "cache", "scratch"] {
            fs::create_dir(place.path(name)).unwrap();
        }
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn settings(&self, protection: Protection) -> Settings {
        let mut settings = Settings::new(self.path("scratch"), Arc::new(random));
        settings.protection = protection;
        settings.archive_dir = Some(self.path("cache"));
        settings.local_dir = self.path("source").as_os_str().as_bytes().to_vec();
        settings.volume_size = 1 << 20;
        settings
    }

    pub(crate) fn archive(&self, protection: Protection) -> Archive {
        self.archive_with(self.settings(protection))
    }

    pub(crate) fn archive_with(&self, settings: Settings) -> Archive {
        self.archive_on(Arc::new(self.disk()), settings)
    }

    /// The folder of the archive as a store.
    pub(crate) fn disk(&self) -> store::Disk {
        let environment = store::Environment::new(|| std::time::UNIX_EPOCH, random);
        store::Disk::new(&self.path("store"), &environment)
    }

    pub(crate) fn archive_on(&self, store: Arc<dyn store::Store>, settings: Settings) -> Archive {
        Archive::new(store, store::Folder::root(), settings)
    }

    /// Backs up as far as the store lets it.
    pub(crate) fn try_back_up(
        &self,
        archive: &Archive,
        wanted: Wanted,
        minute: i64,
    ) -> Result<Summary, duplicity::Error> {
        let intake = archive.begin(wanted, at(minute))?;
        for step in steps(&self.path("source"), &|entry| intake.wants(entry)) {
            intake.take(step)?;
        }
        intake.commit()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path("source").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn back_up(&self, archive: &Archive, wanted: Wanted, minute: i64) -> Summary {
        let intake = archive.begin(wanted, at(minute)).unwrap();
        for step in steps(&self.path("source"), &|entry| intake.wants(entry)) {
            intake.take(step).unwrap();
        }
        intake.commit().unwrap()
    }

    pub(crate) fn store_names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("store"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn entry_of(path: TreePath, file: &Path) -> Entry {
    let meta = fs::symlink_metadata(file).unwrap();
    let kind = meta.file_type();
    let kind = if kind.is_dir() {
        EntryKind::Directory
    } else if kind.is_symlink() {
        EntryKind::Symlink {
            target: fs::read_link(file).unwrap().as_os_str().as_bytes().to_vec(),
        }
    } else if kind.is_fifo() {
        EntryKind::Fifo
    } else if kind.is_socket() {
        EntryKind::Socket
    } else {
        EntryKind::File
    };
    let nanoseconds = |seconds: i64, rest: i64| Time::new(seconds, u32::try_from(rest).unwrap());
    Entry {
        path,
        size: if kind == EntryKind::File {
            meta.len()
        } else {
            0
        },
        kind,
        mode: meta.permissions().mode() & 0o7777,
        owner: Owner {
            uid: meta.uid(),
            gid: meta.gid(),
            user: None,
            group: None,
        },
        mtime: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        ctime: nanoseconds(meta.ctime(), meta.ctime_nsec()),
        atime: nanoseconds(meta.atime(), meta.atime_nsec()),
        device: meta.dev(),
        inode: meta.ino(),
        links: meta.nlink(),
        hard_link: None,
        xattrs: BTreeMap::new(),
        acl_access: None,
        acl_default: None,
        flags: Flags::default(),
    }
}

/// What a scan of `root` would hand on.
pub(crate) fn steps(root: &Path, wants: &dyn Fn(&Entry) -> bool) -> Vec<Step> {
    let mut paths = vec![TreePath::root()];
    collect(root, &TreePath::root(), &mut paths);
    paths.sort();
    let mut first_names: BTreeMap<(u64, u64), Arc<TreePath>> = BTreeMap::new();
    let mut steps = Vec::new();
    for path in paths {
        let file = root.join(path.as_path());
        let mut entry = entry_of(path.clone(), &file);
        if entry.is_file() && entry.links > 1 {
            let key = (entry.device, entry.inode);
            match first_names.get(&key) {
                Some(first) => entry.hard_link = Some(first.clone()),
                None => {
                    first_names.insert(key, Arc::new(path));
                }
            }
        }
        let wanted = entry.is_file() && wants(&entry) && entry.hard_link.is_none();
        let entry = Arc::new(entry);
        if !wanted {
            steps.push(Step::Entry {
                entry,
                body: Body::None,
            });
            continue;
        }
        let bytes = fs::read(&file).unwrap();
        if bytes.len() < 1000 {
            steps.push(Step::Entry {
                entry,
                body: Body::Whole(Block::new(bytes)),
            });
            continue;
        }
        steps.push(Step::Entry {
            entry,
            body: Body::Blocks,
        });
        steps.extend(
            bytes
                .chunks(100_000)
                .map(|piece| Step::Data(Block::new(piece.to_vec()))),
        );
        steps.push(Step::End(Ending::Complete));
    }
    steps
}

fn collect(root: &Path, folder: &TreePath, paths: &mut Vec<TreePath>) {
    for entry in fs::read_dir(root.join(folder.as_path())).unwrap() {
        let entry = entry.unwrap();
        let path = folder.join(entry.file_name().as_bytes());
        if entry.file_type().unwrap().is_dir() {
            collect(root, &path, paths);
        }
        paths.push(path);
    }
}

/// An object with what the format keeps of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: EntryKind,
    pub(crate) mode: u32,
    uid: u32,
    gid: u32,
    pub(crate) mtime: i64,
    pub(crate) content: Vec<u8>,
}

impl Seen {
    pub(crate) fn sha1(&self) -> String {
        let mut hasher = store::Hasher::new(store::DigestKind::Sha1);
        hasher.update(&self.content);
        hasher.finish().to_hex()
    }
}

fn seen(entry: &Entry, content: Vec<u8>) -> Seen {
    let is_link = matches!(entry.kind, EntryKind::Symlink { .. });
    Seen {
        kind: entry.kind.clone(),
        // Links have no permissions and duplicity does not restore their time.
        mode: if is_link { 0 } else { entry.mode },
        uid: entry.owner.uid,
        gid: entry.owner.gid,
        mtime: if is_link { 0 } else { entry.mtime.seconds() },
        content,
    }
}

/// What a directory holds.
pub(crate) fn on_disk(root: &Path) -> BTreeMap<String, Seen> {
    let mut paths = vec![TreePath::root()];
    collect(root, &TreePath::root(), &mut paths);
    paths
        .into_iter()
        .filter_map(|path| {
            let file = root.join(path.as_path());
            let entry = entry_of(path, &file);
            let content = if entry.is_file() {
                fs::read(&file).unwrap()
            } else {
                Vec::new()
            };
            (entry.kind != EntryKind::Socket)
                .then(|| (entry.path.to_string(), seen(&entry, content)))
        })
        .collect()
}

/// What an archive restores at a moment, below `wanted`, and what it cannot.
pub(crate) fn in_archive(
    archive: &Archive,
    minute: i64,
    wanted: &str,
) -> (BTreeMap<String, Seen>, Vec<String>) {
    in_archive_at(archive, at(minute), wanted)
}

/// The same at any moment.
pub(crate) fn in_archive_at(
    archive: &Archive,
    time: SetTime,
    wanted: &str,
) -> (BTreeMap<String, Seen>, Vec<String>) {
    let collection = archive.collection(at(20_000_000)).unwrap();
    let sets = collection.until(time).unwrap();
    let mut snapshot = archive
        .snapshot(sets, &TreePath::new(wanted).unwrap())
        .unwrap();
    let (mut found, mut problems) = (BTreeMap::new(), Vec::new());
    while let Some(item) = snapshot.next().unwrap() {
        match item {
            Item::Object(entry) => {
                let mut content = Vec::new();
                match snapshot.read_to_end(&mut content) {
                    Ok(_) => drop(found.insert(entry.path.to_string(), seen(&entry, content))),
                    Err(error) => problems.push(format!("{}: {error}", entry.path)),
                }
            }
            Item::Problem(problem) => problems.push(problem.to_string()),
        }
    }
    (found, problems)
}

/// Compares without printing megabytes.
pub(crate) fn assert_same(one: &BTreeMap<String, Seen>, other: &BTreeMap<String, Seen>) {
    let names = |all: &BTreeMap<String, Seen>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(one), names(other));
    for (name, seen) in one {
        let other = &other[name];
        assert!(
            seen.content == other.content,
            "content of {name}: {} and {} bytes",
            seen.content.len(),
            other.content.len()
        );
        assert!(
            seen == other,
            "{name}: {:?} {:o} {} and {:?} {:o} {}",
            seen.kind,
            seen.mode,
            seen.mtime,
            other.kind,
            other.mode,
            other.mtime
        );
    }
}
