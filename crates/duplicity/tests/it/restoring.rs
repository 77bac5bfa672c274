//! What comes back into a file system.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use duplicity::{
    Archive, DifferenceKind, Error, Passphrase, Protection, Restored, Selection, Wanted,
};
use ravelin_duplicity as duplicity;
use tree::{RestoreOptions, Restorer, TreePath};

use crate::own::fill;
use crate::support::{Place, Seen, assert_same, at, on_disk};

/// Not encrypted where it makes no difference: hashing passphrases takes long.
fn protection() -> Protection {
    Protection::None
}

/// Restores the state of a minute into a folder of the place.
fn restore(
    place: &Place,
    archive: &Archive,
    minute: i64,
    selection: &Selection,
    target: &str,
) -> Restored {
    let collection = archive.collection(at(1000)).unwrap();
    let sets = collection.until(at(minute)).unwrap();
    let restorer = Restorer::open(place.path(target), RestoreOptions::default()).unwrap();
    let plan = archive.restore_plan(sets, selection, &restorer).unwrap();
    archive.restore(sets, selection, restorer, plan).unwrap()
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

/// The part of a state below a path, with the paths that it has there.
fn below(state: BTreeMap<String, Seen>, prefix: &str) -> BTreeMap<String, Seen> {
    let below = |name: String| {
        let rest = name.strip_prefix(prefix)?;
        match rest.strip_prefix('/') {
            Some(rest) => Some(rest.to_owned()),
            None if rest.is_empty() => Some(".".to_owned()),
            None => None,
        }
    };
    state
        .into_iter()
        .filter_map(|(name, seen)| Some((below(name)?, seen)))
        .collect()
}

#[test]
fn everything_of_any_moment_comes_back() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(protection());
    place.back_up(&archive, Wanted::Full, 0);
    let before = on_disk(&place.path("source"));
    place.write("text", "short");
    place.write("sizes/3000001", testkit::Random::new(9).noise(2_000_000));
    fs::remove_file(place.path("source/ord!")).unwrap();
    place.back_up(&archive, Wanted::Increment, 1);
    for (minute, state) in [(0, before), (1, on_disk(&place.path("source")))] {
        let target = format!("back {minute}");
        let restored = restore(&place, &archive, minute, &Selection::all(), &target);
        assert!(restored.is_complete(), "{restored:?}");
        assert_same(&on_disk(&place.path(&target)), &state);
    }
}

#[test]
fn a_path_comes_back_as_the_target_itself_or_under_another_name() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(protection());
    place.back_up(&archive, Wanted::Full, 0);
    let state = on_disk(&place.path("source"));
    let selection = Selection {
        path: path("sizes"),
        as_target: true,
        ..Selection::all()
    };
    assert!(restore(&place, &archive, 0, &selection, "sizes only").is_complete());
    assert_same(&on_disk(&place.path("sizes only")), &below(state, "sizes"));

    let selection = Selection {
        path: path("names"),
        renames: vec![(path("names"), path("other/words"))],
        ..Selection::all()
    };
    assert!(restore(&place, &archive, 0, &selection, "renamed").is_complete());
    let names = below(on_disk(&place.path("renamed")), "other/words");
    assert_same(&names, &below(on_disk(&place.path("source")), "names"));

    let selection = Selection {
        path: path("text"),
        as_target: true,
        ..Selection::all()
    };
    assert!(restore(&place, &archive, 0, &selection, "one file").is_complete());
    let text = fs::read(place.path("one file/text")).unwrap();
    assert_eq!(text, fs::read(place.path("source/text")).unwrap());
}

#[test]
fn sizes_in_a_listing_are_exact() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(protection());
    place.back_up(&archive, Wanted::Full, 0);
    let collection = archive.collection(at(1000)).unwrap();
    let listing = archive.listing(collection.until(at(0)).unwrap()).unwrap();
    let mut files = 0;
    for listed in listing {
        let entry = listed.unwrap().entry;
        if entry.is_file() {
            let source = place.path("source").join(entry.path.as_path());
            assert_eq!(
                entry.size,
                source.metadata().unwrap().len(),
                "{}",
                entry.path
            );
            files += 1;
        }
    }
    assert!(files > 15);
}

/// What a comparison of the source with the newest state finds.
fn differences(place: &Place, archive: &Archive) -> Vec<(String, DifferenceKind)> {
    let collection = archive.collection(at(1000)).unwrap();
    let mut comparison = archive
        .comparison(collection.until(at(1000)).unwrap())
        .unwrap();
    for step in crate::support::steps(&place.path("source"), &|_| true) {
        comparison.take(step).unwrap();
    }
    let found = comparison.finish().unwrap();
    found
        .into_iter()
        .map(|difference| (difference.path.to_string(), difference.what))
        .collect()
}

#[test]
fn the_source_is_compared_with_the_archive() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(protection());
    place.back_up(&archive, Wanted::Full, 0);
    assert_eq!(differences(&place, &archive), []);
    let edit = |name: &str, content: &[u8]| {
        let path = place.path("source").join(name);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, content).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before).unwrap();
    };
    edit("sizes/512", &[7; 512]);
    edit("ord!", b"BEHIND");
    place.write("added", "1");
    fs::remove_file(place.path("source/link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", place.path("source/link")).unwrap();
    fs::remove_dir(place.path("source/empty")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(place.path("source/zeros"), mode).unwrap();
    let mut found = differences(&place, &archive);
    found.retain(|(path, _)| path != ".");
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [
        ("added", DifferenceKind::OnlyInSource),
        ("empty", DifferenceKind::OnlyInArchive),
        ("link", DifferenceKind::Kind),
        ("ord!", DifferenceKind::Content),
        ("sizes/512", DifferenceKind::Content),
        ("zeros", DifferenceKind::Mode),
    ];
    let expected = expected.map(|(path, what)| (path.to_owned(), what));
    assert_eq!(found, expected);
}

fn remove(place: &Place, folder: &str, part: &str) -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(place.path(folder)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().contains(part) {
            fs::remove_file(entry.path()).unwrap();
            removed += 1;
        }
    }
    removed
}

#[test]
fn without_any_signatures_the_volumes_alone_bring_everything_back() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(protection());
    place.back_up(&archive, Wanted::Full, 0);
    place.write("sizes/3000001", testkit::Random::new(9).noise(2_000_000));
    fs::remove_file(place.path("source/ord!")).unwrap();
    place.back_up(&archive, Wanted::Increment, 1);
    fs::remove_dir_all(place.path("cache")).unwrap();
    assert_eq!(remove(&place, "store", "sigtar"), 2);
    let restored = restore(&place, &archive, 1, &Selection::all(), "back");
    assert!(restored.is_complete(), "{restored:?}");
    assert_same(
        &on_disk(&place.path("back")),
        &on_disk(&place.path("source")),
    );
    // An increment cannot be made: the next backup is full.
    let intake = archive.begin(Wanted::Increment, at(2)).unwrap();
    assert!(intake.set().is_full());
}

#[test]
fn damaged_signatures_are_no_obstacle_either() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(Protection::None);
    place.back_up(&archive, Wanted::Full, 0);
    fs::remove_dir_all(place.path("cache")).unwrap();
    let name = place
        .store_names()
        .into_iter()
        .find(|name| name.contains("sigtar"))
        .unwrap();
    let path = place.path("store").join(name);
    let bytes = fs::read(&path).unwrap();
    // Cut in the middle: what comes first is good.
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let restored = restore(&place, &archive, 0, &Selection::all(), "back");
    assert!(restored.is_complete(), "{restored:?}");
    assert_same(
        &on_disk(&place.path("back")),
        &on_disk(&place.path("source")),
    );
}

#[test]
fn a_lost_volume_costs_the_files_in_it_and_brings_no_old_ones() {
    let place = Place::new();
    fill(&place);
    place.write("b", "old content");
    let archive = place.archive(protection());
    place.back_up(&archive, Wanted::Full, 0);
    place.write("b", "new content");
    place.write("a new one", "x");
    place.back_up(&archive, Wanted::Increment, 1);
    assert_eq!(remove(&place, "store", "duplicity-inc"), 2);
    // Back comes the manifest: only the volume is lost.
    let lost = restore_with_manifest(&place, &archive);
    assert!(!lost.is_complete());
    assert!(!place.path("back/b").exists(), "an old state came back");
    assert!(!place.path("back/a new one").exists());
    assert_eq!(
        fs::read(place.path("back/text")).unwrap(),
        fs::read(place.path("source/text")).unwrap()
    );
    let missing: Vec<String> = lost.missing.iter().map(ToString::to_string).collect();
    // What stands in the full set is there, and is not what was backed up.
    assert_eq!(missing, ["a new one"]);
    assert_eq!(lost.report.problems.len(), 2, "{:?}", lost.report.problems);
}

/// Puts the manifest of the increment back from the archive directory and restores.
fn restore_with_manifest(place: &Place, archive: &Archive) -> Restored {
    let cached = fs::read_dir(place.path("cache"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.contains("duplicity-inc") && name.ends_with("manifest")
        })
        .unwrap();
    let name = cached.file_name().unwrap();
    fs::copy(&cached, place.path("store").join(name)).unwrap();
    restore(place, archive, 1, &Selection::all(), "back")
}

#[test]
fn a_flipped_bit_anywhere_never_brings_a_wrong_file_back() {
    let place = Place::new();
    place.write("a", testkit::Random::new(1).noise(150_000));
    place.write("b", "text ".repeat(3000));
    place.write("c/d", "small");
    let archive = place.archive(Protection::Passphrase(Passphrase::new("correct horse")));
    place.back_up(&archive, Wanted::Full, 0);
    place.write("b", "text ".repeat(2000));
    place.back_up(&archive, Wanted::Increment, 1);
    let state = on_disk(&place.path("source"));
    let mut random = testkit::Random::new(20_261_125);
    for round in 0..24 {
        fs::remove_dir_all(place.path("cache")).unwrap();
        let names = place.store_names();
        let name = &names[round % names.len()];
        let path = place.path("store").join(name);
        let good = fs::read(&path).unwrap();
        let mut bad = good.clone();
        let at_byte = usize::try_from(random.below(bad.len() as u64)).unwrap();
        bad[at_byte] ^= 1 << random.below(8);
        fs::write(&path, &bad).unwrap();
        let target = format!("back {round}");
        let collection = archive.collection(at(1000)).unwrap();
        let restorer = Restorer::open(place.path(&target), RestoreOptions::default()).unwrap();
        let sets = collection.until(at(1)).unwrap();
        let done = archive
            .restore_plan(sets, &Selection::all(), &restorer)
            .and_then(|plan| archive.restore(sets, &Selection::all(), restorer, plan));
        if Path::new(&place.path(&target)).exists() {
            for (name, seen) in on_disk(&place.path(&target)) {
                let is_file = seen.kind == tree::EntryKind::File;
                let expected = &state[&name];
                assert!(
                    !is_file || seen.content == expected.content,
                    "{name} is wrong after bit {at_byte} of a copy of round {round}"
                );
            }
        }
        if let Ok(restored) = done
            && restored.is_complete()
        {
            assert_same(&on_disk(&place.path(&target)), &state);
        }
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn two_runs_of_one_machine_do_not_write_at_once() {
    let place = Place::new();
    place.write("a", "1");
    let archive = place.archive(Protection::None);
    let intake = archive.begin(Wanted::Full, at(0)).unwrap();
    assert!(matches!(
        archive.begin(Wanted::Full, at(0)),
        Err(Error::Locked)
    ));
    drop(intake);
    place.back_up(&archive, Wanted::Full, 1);
}

/// The thread that writes fails while files wait for it, the last of them in more pieces than can
/// wait: whoever reads must not wait for ever.
#[test]
fn a_full_disk_ends_a_restore_and_says_so() {
    if testkit::require_root().is_none() {
        return;
    }
    let place = Place::new();
    let noise = testkit::Random::new(8).noise(1 << 20);
    place.write("0", &noise[..900_000]);
    for number in 1..12 {
        place.write(&format!("1-{number:02}"), &noise[..30_000]);
    }
    place.write("2", &noise);
    let mut settings = place.settings(protection());
    settings.compressors = 1;
    let archive = place.archive_with(settings);
    place.back_up(&archive, Wanted::Full, 1);

    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&small)
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        testkit::skip!("nothing can be mounted here");
    }
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let (place, archive) = (&place, &archive);
        scope.spawn(move || {
            let restored = restore(place, archive, 1, &Selection::all(), "small/target");
            let stopped = restored.report.stopped.is_some() && restored.stopped.is_some();
            let _ = ended.send(stopped && !restored.is_complete());
        });
        let told = end.recv_timeout(std::time::Duration::from_secs(120));
        let _ = std::process::Command::new("umount")
            .arg("--lazy")
            .arg(&small)
            .status();
        if told.is_err() {
            // Its thread would be waited for without end.
            eprintln!("the restore hangs");
            std::process::abort();
        }
        assert_eq!(told, Ok(true));
    });
}
