//! What is written is read back.

use std::fs;

use duplicity::{Passphrase, Protection, Wanted};
use ravelin_duplicity as duplicity;

use crate::support::{Place, assert_same, at, in_archive, on_disk};

fn noise(seed: u64, size: usize) -> Vec<u8> {
    testkit::Random::new(seed).noise(size)
}

/// Sizes around the limits of the format: blocks of 64 KiB, volumes of 1 MiB, tar records.
pub(crate) fn fill(place: &Place) {
    for size in [
        0,
        1,
        511,
        512,
        513,
        65_535,
        65_536,
        65_537,
        131_071,
        131_072,
        131_073,
        1 << 20,
        3_000_001,
    ] {
        place.write(&format!("sizes/{size}"), noise(size as u64, size));
    }
    place.write("text", "the same line again and again\n".repeat(50_000));
    place.write("zeros", vec![0; 700_000]);
    place.write("ord/x", "before");
    place.write("ord!", "behind");
    place.write("names/sp ace \"quoted\" 'too' \\", "1");
    place.write("names/schön 日本", "2");
    place.write(&format!("names/{}", "long".repeat(60)), "3");
    place.write(&format!("{0}/{0}/{0}/deep", "folder".repeat(30)), "4");
    place.write("7/12/3", noise(7, 200_000));
    use std::os::unix::ffi::OsStrExt;
    let raw = std::ffi::OsStr::from_bytes(b"not utf-8 \xff\xfe\n");
    fs::write(place.path("source").join(raw), "5").unwrap();
    std::os::unix::fs::symlink("text", place.path("source/link")).unwrap();
    std::os::unix::fs::symlink("x".repeat(300), place.path("source/long link")).unwrap();
    fs::hard_link(
        place.path("source/sizes/131073"),
        place.path("source/zz second name"),
    )
    .unwrap();
    fs::create_dir(place.path("source/empty")).unwrap();
}

fn passphrase() -> Protection {
    Protection::Passphrase(Passphrase::new("correct horse"))
}

#[test]
fn a_full_set_holds_everything() {
    for protection in [Protection::None, passphrase()] {
        let place = Place::new();
        fill(&place);
        let archive = place.archive(protection);
        let summary = place.back_up(&archive, Wanted::Full, 0);
        assert!(summary.volumes > 4, "{summary:?}");
        let (found, problems) = in_archive(&archive, 0, "");
        assert_eq!(problems, [""; 0]);
        assert_same(&found, &on_disk(&place.path("source")));
    }
}

#[test]
fn every_moment_of_a_chain_is_there() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(Protection::None);
    let mut states = Vec::new();
    place.back_up(&archive, Wanted::Full, 0);
    states.push(on_disk(&place.path("source")));
    for step in 1..=10_u8 {
        let minute = i64::from(step);
        let mut big = noise(3_000_001, 3_000_001);
        big[usize::from(step) * 1000] = step;
        big.truncate(3_000_000 - usize::from(step) * 70_000);
        place.write("sizes/3000001", big);
        place.write("sizes/65536", noise(minute.cast_unsigned(), 65_536));
        place.write(&format!("new/{step}"), noise(step.into(), 100_000));
        if step > 1 {
            fs::remove_file(place.path(&format!("source/new/{}", step - 1))).unwrap();
        }
        if step == 4 {
            fs::remove_dir_all(place.path("source/ord")).unwrap();
            place.write("ord", "a file now");
            fs::remove_file(place.path("source/text")).unwrap();
            fs::create_dir(place.path("source/text")).unwrap();
        }
        let summary = place.back_up(&archive, Wanted::Increment, minute);
        assert!(summary.stored_bytes < 700_000, "{summary:?}");
        states.push(on_disk(&place.path("source")));
    }
    for (minute, state) in (0..).zip(&states) {
        let (found, problems) = in_archive(&archive, minute, "");
        assert_eq!(problems, [""; 0]);
        assert_same(&found, state);
    }
    // A new machine: the archive directory is gone.
    fs::remove_dir_all(place.path("cache")).unwrap();
    let (found, _) = in_archive(&archive, 7, "");
    assert_same(&found, &states[7]);
}

#[test]
fn nothing_changed_stores_next_to_nothing() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(Protection::None);
    place.back_up(&archive, Wanted::Full, 0);
    let summary = place.back_up(&archive, Wanted::Increment, 1);
    assert_eq!(
        (summary.changed, summary.deleted, summary.volumes),
        (0, 0, 1),
        "{summary:?}"
    );
    assert!(summary.stored_bytes < 1000, "{summary:?}");
}

#[test]
fn an_edit_within_the_same_second_is_seen() {
    let place = Place::new();
    place.write("a", "one");
    place.write("b", "same");
    let archive = place.archive(Protection::None);
    place.back_up(&archive, Wanted::Full, 0);
    let path = place.path("source/a");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "two").unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(before)
        .unwrap();
    let summary = place.back_up(&archive, Wanted::Increment, 1);
    assert_eq!(summary.changed, 1);
    let (found, _) = in_archive(&archive, 1, "a");
    assert_same(
        &found,
        &on_disk(&place.path("source"))
            .into_iter()
            .filter(|(name, _)| name == "a")
            .collect(),
    );
}

#[test]
fn a_run_that_is_stopped_leaves_nothing_and_the_next_goes_on() {
    let place = Place::new();
    fill(&place);
    let archive = place.archive(Protection::None);
    place.back_up(&archive, Wanted::Full, 0);
    let state = on_disk(&place.path("source"));
    place.write("later", noise(1, 2_500_000));
    let intake = archive.begin(Wanted::Increment, at(1)).unwrap();
    for step in crate::support::steps(&place.path("source"), &|entry| intake.wants(entry)) {
        intake.take(step).unwrap();
    }
    while !place.store_names().iter().any(|name| name.contains("inc")) {
        std::thread::yield_now();
    }
    drop(intake);
    let left = place.store_names();
    assert!(!left.iter().any(|name| name.contains("inc")), "{left:?}");
    let (found, _) = in_archive(&archive, 5, "");
    assert_same(&found, &state);
    place.write("later", "short");
    place.back_up(&archive, Wanted::Increment, 2);
    let collection = archive.collection(at(9)).unwrap();
    assert!(collection.cleanup().is_empty());
    assert_eq!(collection.times(), [at(0), at(2)]);
    assert_same(
        &in_archive(&archive, 2, "").0,
        &on_disk(&place.path("source")),
    );
}
