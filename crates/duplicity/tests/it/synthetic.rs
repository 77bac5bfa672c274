//! A full set made of a chain stands for itself.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use duplicity::{Passphrase, Protection, Wanted};
use ravelin_duplicity as duplicity;
use store::{
    Capabilities, Content, Disk, Error, Folder, Name, Object, Range, Reading, Scope, Space, Store,
    WriteMode,
};

use crate::own::fill;
use crate::support::{Place, assert_same, at, in_archive_at, on_disk};

/// A chain of a full set and two increments.
fn chain(protection: Protection) -> (Place, duplicity::Archive) {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(protection);
    place.back_up(&archive, Wanted::Full, 0);
    place.write("text", "another line, again and again\n".repeat(50_000));
    fs::remove_file(place.path("source/zeros")).unwrap();
    place.back_up(&archive, Wanted::Increment, 1);
    place.write("sizes/3000001", testkit::Random::new(1).noise(2_900_000));
    place.write("new/file", "new");
    place.back_up(&archive, Wanted::Increment, 2);
    (place, archive)
}

#[test]
fn what_is_made_of_a_chain_needs_nothing_of_it() {
    for protection in [
        Protection::None,
        Protection::Passphrase(Passphrase::new("correct horse")),
    ] {
        let (place, archive) = chain(protection);
        let source = on_disk(&place.path("source"));
        let (set, summary) = archive
            .synthesize(at(10), &mut |_| ControlFlow::Continue(()))
            .unwrap()
            .unwrap();
        assert!(set.is_full() && summary.volumes > 4, "{summary:?}");
        assert_eq!(set.end(), at(2).next());
        // The chain goes; what is left restores the same, and the next increment stands on it.
        let plan = archive.collection(at(10)).unwrap().remove_all_but_full(1);
        assert_eq!(plan.sets.len(), 3);
        archive.remove(&plan).unwrap();
        fs::remove_dir_all(place.path("cache")).unwrap();
        let (found, problems) = in_archive_at(&archive, set.end(), "");
        assert_eq!(problems, [""; 0]);
        assert_same(&found, &source);
        place.write("new/file", "newer");
        // Without the archive directory the seconds of its time are all that is known of the old one.
        let edited = fs::File::options()
            .write(true)
            .open(place.path("source/new/file"));
        let later = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        edited.unwrap().set_modified(later).unwrap();
        let summary = place.back_up(&archive, Wanted::Increment, 11);
        assert_eq!(summary.changed, 1);
        let (found, _) = in_archive_at(&archive, at(11), "");
        assert_same(&found, &on_disk(&place.path("source")));
        // A full set alone is what it would become.
        let archive_of_one = Place::new();
        archive_of_one.write("a", "1");
        let one = archive_of_one.archive(Protection::None);
        archive_of_one.back_up(&one, Wanted::Full, 0);
        assert!(
            one.synthesize(at(1), &mut |_| ControlFlow::Continue(()))
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn a_damaged_chain_or_a_wish_to_stop_makes_no_set() {
    let (place, archive) = chain(Protection::None);
    let stopped = archive.synthesize(at(10), &mut |_| ControlFlow::Break(()));
    assert!(
        matches!(stopped, Err(duplicity::Error::Stopped)),
        "{stopped:?}"
    );
    assert_eq!(archive.collection(at(10)).unwrap().chains.len(), 1);
    let volume = place
        .store_names()
        .into_iter()
        .find(|name| name.starts_with("duplicity-full.") && name.contains(".vol2."))
        .unwrap();
    let volume = place.path("store").join(volume);
    let mut bytes = fs::read(&volume).unwrap();
    bytes[1000] ^= 1;
    fs::write(&volume, &bytes).unwrap();
    let failed = archive.synthesize(at(10), &mut |_| ControlFlow::Continue(()));
    assert!(failed.is_err());
    let collection = archive.collection(at(10)).unwrap();
    assert_eq!(
        (collection.chains.len(), collection.chains[0].sets.len()),
        (1, 3)
    );
    bytes[1000] ^= 1;
    fs::write(&volume, bytes).unwrap();
    // What was begun is gone with the next try.
    archive
        .synthesize(at(10), &mut |_| ControlFlow::Continue(()))
        .unwrap()
        .unwrap();
    let collection = archive.collection(at(10)).unwrap();
    assert_eq!(
        (collection.chains.len(), collection.incomplete.len()),
        (2, 0)
    );
}

/// Which volumes a full set has: their content by number.
fn volumes_of(place: &Place, set: &str) -> Vec<Vec<u8>> {
    let prefix = format!("duplicity-full.{set}.vol");
    let names = place.store_names().into_iter();
    let mut volumes: Vec<(u32, Vec<u8>)> = names
        .filter_map(|name| {
            let number = name.strip_prefix(&prefix)?.split('.').next()?;
            let bytes = fs::read(place.path("store").join(&name)).unwrap();
            Some((number.parse().unwrap(), bytes))
        })
        .collect();
    volumes.sort();
    volumes.into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn the_store_copies_the_volumes_in_which_nothing_changed() {
    for protection in [
        Protection::None,
        Protection::Passphrase(Passphrase::new("correct horse")),
    ] {
        let place = Place::new();
        let mut random = testkit::Random::new(5);
        // Volumes are of 1 MiB: `b` goes over several, `f` shares its last one with others.
        for (name, size) in [
            ("a/1", 400_000),
            ("a/2", 500_000),
            ("b", 3_300_000),
            ("c/changes", 700_000),
            ("d", 2_500_000),
            ("e/goes", 300_000),
            ("f", 4_000_000),
            ("g", 900_000),
        ] {
            place.write(name, random.noise(size));
        }
        let archive = place.archive(protection);
        let first = place.back_up(&archive, Wanted::Full, 0);
        place.write("c/changes", random.noise(600_000));
        place.write("d2", random.noise(50_000));
        place.back_up(&archive, Wanted::Increment, 1);
        fs::remove_file(place.path("source/e/goes")).unwrap();
        place.write("z", "new at the end");
        place.back_up(&archive, Wanted::Increment, 2);
        let old = volumes_of(&place, &at(0).to_string());
        assert_eq!(old.len(), first.volumes as usize);

        let mut heard = 0;
        let (set, summary) = archive
            .synthesize(at(10), &mut |bytes| {
                heard += bytes;
                ControlFlow::Continue(())
            })
            .unwrap()
            .unwrap();
        assert_eq!(heard, summary.bytes);
        assert!(summary.copied_volumes >= 6, "{summary:?}");
        assert!(summary.copied_bytes > 6_000_000, "{summary:?}");
        assert!(summary.stored_bytes < 6_000_000, "{summary:?}");
        let new = volumes_of(&place, &set.end().to_string());
        assert_eq!(new.len(), summary.volumes as usize);
        let same = new.iter().filter(|volume| old.contains(volume)).count();
        assert_eq!(same, summary.copied_volumes as usize);

        // It stands for itself, also without what this machine remembers.
        let plan = archive.collection(at(10)).unwrap().remove_all_but_full(1);
        archive.remove(&plan).unwrap();
        fs::remove_dir_all(place.path("cache")).unwrap();
        let source = on_disk(&place.path("source"));
        let (found, problems) = in_archive_at(&archive, set.end(), "");
        assert_eq!(problems, [""; 0]);
        assert_same(&found, &source);
        let collection = archive.collection(at(10)).unwrap();
        let verified = archive.verify(&collection, duplicity::Depth::Data, &mut |_, _| {
            ControlFlow::Continue(())
        });
        assert!(
            verified.findings.is_empty() && verified.objects.is_empty(),
            "{verified:?}"
        );
        // One file out of the middle of what was copied.
        let (found, _) = in_archive_at(&archive, set.end(), "f");
        assert_eq!(found.len(), 1);
        // The next increment finds the signatures of what was copied.
        let mut content = fs::read(place.path("source/f")).unwrap();
        content[2_000_000] ^= 1;
        place.write("f", content);
        // Without what this machine remembers, nothing tells apart two states of one second.
        let file = fs::File::options().write(true).open(place.path("source/f"));
        let file = file.unwrap();
        let before = file.metadata().unwrap().modified().unwrap();
        file.set_modified(before + Duration::from_secs(10)).unwrap();
        let summary = place.back_up(&archive, Wanted::Increment, 11);
        assert!(summary.delta_bytes < 100_000, "{summary:?}");
        let (found, _) = in_archive_at(&archive, at(11), "");
        assert_same(&found, &on_disk(&place.path("source")));
    }
}

/// Files of about a volume each, so that every volume begins inside of one: any of them changes.
#[test]
fn wherever_a_change_is_the_rest_is_copied() {
    let seed = 12;
    println!("seed {seed}");
    let mut random = testkit::Random::new(seed);
    for changed in [0, 3, 6, 11] {
        let place = Place::new();
        for number in 0..12 {
            let size = 700_000 + random.index(900_000);
            place.write(&format!("{number:02}"), random.noise(size));
        }
        let archive = place.archive(Protection::None);
        place.back_up(&archive, Wanted::Full, 0);
        place.write(&format!("{changed:02}"), random.noise(800_000));
        place.back_up(&archive, Wanted::Increment, 1);
        let made = archive.synthesize(at(10), &mut |_| ControlFlow::Continue(()));
        let (set, summary) = made.unwrap().unwrap();
        assert!(summary.copied_volumes > 4, "{changed}: {summary:?}");
        let (found, problems) = in_archive_at(&archive, set.end(), "");
        assert_eq!(problems, [""; 0], "{changed}");
        assert_same(&found, &on_disk(&place.path("source")));
    }
}

#[test]
fn a_damaged_volume_is_not_copied() {
    let place = Place::new();
    let mut random = testkit::Random::new(6);
    place.write("a", random.noise(3_000_000));
    place.write("b", "changes");
    let archive = place.archive(Protection::None);
    place.back_up(&archive, Wanted::Full, 0);
    place.write("b", "changed");
    place.back_up(&archive, Wanted::Increment, 1);
    let name = |name: &String| name.contains("duplicity-full.") && name.contains(".vol1.");
    let volume = place.store_names().into_iter().find(name).unwrap();
    let volume = place.path("store").join(volume);
    let whole = fs::read(&volume).unwrap();
    let mut bytes = whole.clone();
    bytes[500_000] ^= 1;
    fs::write(&volume, &bytes).unwrap();
    let failed = archive.synthesize(at(10), &mut |_| ControlFlow::Continue(()));
    assert!(
        matches!(failed, Err(duplicity::Error::Hash { .. })),
        "{failed:?}"
    );
    assert_eq!(archive.collection(at(10)).unwrap().chains.len(), 1);
    fs::write(&volume, whole).unwrap();
    let made = archive.synthesize(at(10), &mut |_| ControlFlow::Continue(()));
    assert!(made.unwrap().unwrap().1.copied_volumes > 0);
    assert_eq!(archive.collection(at(10)).unwrap().incomplete.len(), 0);
}

/// A store that says that it copies, and does not.
struct Uncopying(Disk);

impl Store for Uncopying {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.0.list(folder, scope, each)
    }
    fn stat(&self, name: &Name) -> Result<Object, Error> {
        self.0.stat(name)
    }
    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        self.0.read(name, range)
    }
    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        self.0.write(name, content, mode)
    }
    fn delete(&self, name: &Name) -> Result<(), Error> {
        self.0.delete(name)
    }
    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.0.rename(from, to)
    }
    fn space(&self) -> Result<Option<Space>, Error> {
        self.0.space()
    }
}

#[test]
fn where_the_store_cannot_copy_everything_passes_through_this_machine() {
    let place = Place::new();
    let mut random = testkit::Random::new(7);
    place.write("a", random.noise(3_000_000));
    place.write("b", "changes");
    let store = Arc::new(Uncopying(place.disk()));
    let archive = place.archive_on(store, place.settings(Protection::None));
    place.back_up(&archive, Wanted::Full, 0);
    place.write("b", "changed");
    place.back_up(&archive, Wanted::Increment, 1);
    let made = archive.synthesize(at(10), &mut |_| ControlFlow::Continue(()));
    let (set, summary) = made.unwrap().unwrap();
    assert_eq!(summary.copied_volumes, 0);
    let (found, problems) = in_archive_at(&archive, set.end(), "");
    assert_eq!(problems, [""; 0]);
    assert_same(&found, &on_disk(&place.path("source")));
}
