//! Damage of copies and of plain files: found, and mended from whatever still has the content.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ravelin_drop::{Damage, Device, Error, Folder, Mended, Version};
use store::{Disk, Memory, Name, Store};

use crate::bench::{Poor, at, environment, folder_on, name, scratch};

/// A folder on a disk, of a device that remembers what it saw.
struct Place {
    scratch: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { scratch: scratch() };
        fs::create_dir(place.path("store")).unwrap();
        fs::create_dir(place.path("state")).unwrap();
        Folder::create(&*place.store(), &environment()).unwrap();
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.scratch.path().join(path)
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(Disk::new(&self.path("store"), &environment()))
    }

    fn folder(&self) -> Folder {
        let state = self.path("state");
        let device = Device::new("laptop");
        let folder = Folder::on(self.store(), &environment(), &device, Some(&state));
        folder.unwrap().unwrap()
    }

    /// The copy of a content.
    fn copy(&self, content: &[u8]) -> PathBuf {
        let mut hasher = store::Hasher::new(store::DigestKind::Sha256);
        hasher.update(content);
        let hash = hasher.finish().to_hex();
        let kept = format!("store/.ravelin-drop/kept/{}/{hash}", &hash[..2]);
        self.path(&kept)
    }
}

/// Changes a byte, but not what a look from outside shows.
fn rot(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let mut bytes = fs::read(path).unwrap();
    bytes[1] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

fn put(folder: &mut Folder, path: &Name, content: &str, seconds: i64) {
    let now = at(seconds);
    folder.put(path, content.as_bytes(), now, now).unwrap();
}

fn examine(folder: &mut Folder, data: bool) -> Damage {
    let going = &mut |_, _| ControlFlow::Continue(());
    folder.examine(data, going).unwrap()
}

fn contents(folder: &mut Folder, path: &Name) -> Vec<Option<String>> {
    let history = folder.history(path).unwrap();
    let mut read = |version| {
        let mut text = String::new();
        let mut reader = folder.read(version).ok()?;
        reader.read_to_string(&mut text).ok()?;
        Some(text)
    };
    history.iter().map(&mut read).collect()
}

#[test]
fn a_copy_that_is_gone_is_named() {
    let place = Place::new();
    let mut folder = place.folder();
    let path = name("report.txt");
    for (seconds, text) in [(1, "monday"), (2, "tuesday")] {
        put(&mut folder, &path, text, seconds);
    }
    fs::remove_file(place.copy(b"monday")).unwrap();
    let history = folder.history(&path).unwrap();
    let is_monday = |version: &&Version| version.at == at(1);
    let monday = history.iter().find(is_monday).unwrap();
    let is_missing = |error| matches!(error, Error::Missing { name, .. } if name == path);
    assert!(is_missing(folder.read(monday).err().unwrap()));
    assert!(is_missing(folder.restore(monday, at(3)).unwrap_err()));
    assert_eq!(
        folder.history(&path).unwrap().len(),
        2,
        "nothing was written"
    );
}

#[test]
fn a_copy_comes_back_from_its_plain_file_or_from_what_is_offered() {
    let place = Place::new();
    let mut folder = place.folder();
    let path = name("report.txt");
    for (seconds, text) in [(1, "monday"), (2, "tuesday"), (3, "friday")] {
        put(&mut folder, &path, text, seconds);
    }
    assert_eq!(examine(&mut folder, true).lost, []);
    rot(&place.copy(b"monday"));
    fs::remove_file(place.copy(b"tuesday")).unwrap();
    rot(&place.copy(b"friday"));

    // Without reading them only what is missing is seen.
    let damage = examine(&mut folder, false);
    assert_eq!((damage.copies, damage.lost.len()), (3, 1));
    let damage = examine(&mut folder, true);
    let seen: Vec<(i64, bool, bool)> = damage
        .lost
        .iter()
        .map(|lost| {
            let seconds = lost.at.as_second() - at(0).as_second();
            (seconds, lost.is_missing, lost.plain.is_some())
        })
        .collect();
    let seen: BTreeSet<_> = seen.into_iter().collect();
    let expected = [(1, false, false), (2, true, false), (3, false, true)];
    assert_eq!(seen, BTreeSet::from(expected));
    assert_eq!(damage.plain, []);

    let hash = |seconds: i64| {
        let mut lost = damage.lost.iter();
        let lost = lost.find(|lost| lost.at == at(seconds)).unwrap();
        lost.content.hash.clone()
    };
    // Something else is not taken, nor is anything kept that is only shown.
    assert!(!folder.offer(&hash(1), &b"Monday"[..], true).unwrap());
    assert!(folder.offer(&hash(1), &b"monday"[..], false).unwrap());
    assert_ne!(fs::read(place.copy(b"monday")).unwrap(), b"monday");
    assert!(folder.offer(&hash(1), &b"monday"[..], true).unwrap());
    assert!(folder.offer(&hash(2), &b"tuesday"[..], true).unwrap());
    let put_back = BTreeSet::from([hash(1), hash(2)]);
    let mended = folder.mend(&damage, &put_back, at(10)).unwrap();
    let expected = Mended {
        from_plain: 1,
        ..Mended::default()
    };
    assert_eq!(mended, expected);
    let whole = ["monday", "tuesday", "friday"].map(|text| Some(text.to_owned()));
    assert_eq!(contents(&mut folder, &path), whole);
    assert_eq!(examine(&mut folder, true).lost, []);
}

#[test]
fn a_copy_that_is_nowhere_else_is_set_aside_and_comes_back_when_it_is_put_again() {
    let place = Place::new();
    let mut folder = place.folder();
    let path = name("report.txt");
    put(&mut folder, &path, "monday", 1);
    put(&mut folder, &path, "tuesday", 2);
    rot(&place.copy(b"monday"));
    let rotten = fs::read(place.copy(b"monday")).unwrap();
    let damage = examine(&mut folder, true);
    let mended = folder.mend(&damage, &BTreeSet::new(), at(3)).unwrap();
    assert_eq!(mended.set_aside, 1);
    let aside = place.path("store/.ravelin-drop/damaged");
    let aside: Vec<PathBuf> = fs::read_dir(aside)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(fs::read(&aside[0]).unwrap(), rotten);
    assert_eq!(
        contents(&mut folder, &path),
        [None, Some("tuesday".to_owned())]
    );
    // Before, the damaged copy was taken for the whole one.
    put(&mut folder, &path, "monday", 4);
    let whole = ["monday", "tuesday", "monday"].map(|text| Some(text.to_owned()));
    assert_eq!(contents(&mut folder, &path), whole);
    assert_eq!(examine(&mut folder, true).lost, []);
}

#[test]
fn a_plain_file_that_somebody_changed_is_no_damage() {
    let place = Place::new();
    let mut folder = place.folder();
    let path = name("report.txt");
    put(&mut folder, &path, "as it was", 1);
    folder.save().unwrap();
    fs::write(place.path("store/report.txt"), "by hand").unwrap();
    let mut folder = place.folder();
    let damage = examine(&mut folder, true);
    assert_eq!((&damage.lost[..], &damage.plain[..]), (&[][..], &[][..]));
    let mended = folder.mend(&damage, &BTreeSet::new(), at(3)).unwrap();
    assert_eq!(mended, Mended::default());
    let plain = fs::read_to_string(place.path("store/report.txt")).unwrap();
    assert_eq!(plain, "by hand");
}

#[test]
fn a_rotten_plain_file_is_written_anew_and_what_stood_there_is_kept() {
    let memory = Memory::new();
    // It tells the states of an object apart by size and time only, as SFTP.
    let vague: Arc<dyn Store> = Arc::new(Poor {
        has_versions: false,
        ..Poor::new(&memory)
    });
    Folder::create(&*vague, &environment()).unwrap();
    let mut folder = folder_on(vague, "laptop");
    let path = name("report.txt");
    put(&mut folder, &path, "as it was", 1);
    let rotten: &[u8] = b"as it wax";
    memory
        .write(&path, &rotten.to_vec(), store::WriteMode::Replace)
        .unwrap();
    let damage = examine(&mut folder, true);
    assert_eq!(
        (&damage.lost[..], &damage.plain[..]),
        (&[][..], &[path.clone()][..])
    );
    let mended = folder.mend(&damage, &BTreeSet::new(), at(3)).unwrap();
    assert_eq!(mended.plain, 1);
    let read = |name: &Name| store::read_all(&memory, name, 1 << 20).unwrap();
    assert_eq!(read(&path), b"as it was");
    let aside = store::Folder::new(".ravelin-drop/damaged").unwrap();
    let aside = store::list_all(&memory, &aside).unwrap();
    let aside: Vec<Vec<u8>> = aside.iter().map(|object| read(&object.name)).collect();
    assert_eq!(aside, [rotten]);
    assert_eq!(
        examine(&mut folder, true),
        Damage {
            copies: 1,
            ..Damage::default()
        }
    );
    // Nothing is done twice.
    let mended = folder.mend(&damage, &BTreeSet::new(), at(4)).unwrap();
    assert_eq!(mended, Mended::default());
}

#[test]
fn a_copy_that_is_whole_again_is_not_set_aside() {
    let place = Place::new();
    let mut folder = place.folder();
    let path = name("report.txt");
    put(&mut folder, &path, "monday", 1);
    put(&mut folder, &path, "tuesday", 2);
    let copy = place.copy(b"monday");
    rot(&copy);
    let damage = examine(&mut folder, true);
    assert_eq!(damage.lost.len(), 1);
    // Another device was faster.
    fs::write(&copy, "monday").unwrap();
    let mended = folder.mend(&damage, &BTreeSet::new(), at(3)).unwrap();
    assert_eq!(mended, Mended::default());
    assert_eq!(fs::read(&copy).unwrap(), b"monday");
}
