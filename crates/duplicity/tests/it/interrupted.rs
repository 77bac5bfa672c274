//! Runs that do not come to their end, wherever that is.

use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use duplicity::{Protection, Wanted};
use ravelin_duplicity as duplicity;
use store::{ErrorKind, Fault, Faulty};

use crate::support::{Place, assert_same, at, in_archive, on_disk};

/// Not encrypted: the order of writing is the same, and hashing passphrases takes long.
fn protection() -> Protection {
    Protection::None
}

/// A source of a few volumes.
fn fill(place: &Place, round: u64) {
    for number in 0..3 {
        let noise = testkit::Random::new(round * 10 + number).noise(600_000);
        place.write(&format!("big {number}"), noise);
    }
    place.write("text", format!("round {round}\n").repeat(1000));
}

/// Strikes the store at each of its calls, and sees to it that nothing is lost or left.
fn strike_everywhere(wanted: Wanted, faulty: impl Fn(store::Disk, u64) -> Faulty<store::Disk>) {
    let place = Place::new();
    fill(&place, 0);
    let healthy = place.archive(protection());
    place.back_up(&healthy, Wanted::Full, 0);
    let mut minute = 0;
    for call in 1.. {
        let before = on_disk(&place.path("source"));
        let last = minute;
        minute += 1;
        fill(&place, call);
        let store = Arc::new(faulty(place.disk(), call));
        let archive = place.archive_on(store.clone(), place.settings(protection()));
        let result = place.try_back_up(&archive, wanted, minute);
        drop(archive);
        let is_over = store.calls() < call;
        let collection = healthy.collection(at(100_000)).unwrap();
        match &result {
            Ok(_) => {
                assert_eq!(collection.times().last(), Some(&at(minute)), "call {call}");
                assert_same(
                    &in_archive(&healthy, minute, "").0,
                    &on_disk(&place.path("source")),
                );
            }
            // What is said to have failed may stand only if it is whole: the answer was lost.
            Err(error) => {
                let (found, problems) = in_archive(&healthy, last, "");
                assert_eq!(problems, [""; 0], "call {call}: {error}");
                assert_same(&found, &before);
                if collection.times().last() == Some(&at(minute)) {
                    assert_same(
                        &in_archive(&healthy, minute, "").0,
                        &on_disk(&place.path("source")),
                    );
                }
            }
        }
        // The next run needs nobody, and leaves nothing behind.
        minute += 1;
        place.back_up(&healthy, Wanted::Increment, minute);
        let collection = healthy.collection(at(100_000)).unwrap();
        assert!(collection.cleanup().is_empty(), "call {call}");
        let (found, problems) = in_archive(&healthy, minute, "");
        assert_eq!(problems, [""; 0], "call {call}");
        assert_same(&found, &on_disk(&place.path("source")));
        // Begin afresh, so that the chain does not grow with the calls.
        if is_over {
            assert!(call > 4, "only {call} calls");
            break;
        }
        fs::remove_dir_all(place.path("store")).unwrap();
        fs::create_dir(place.path("store")).unwrap();
        minute += 1;
        place.back_up(&healthy, Wanted::Full, minute);
    }
}

#[test]
fn a_store_that_dies_at_any_call_costs_the_unfinished_set_only() {
    for wanted in [Wanted::Increment, Wanted::Full] {
        strike_everywhere(wanted, Faulty::dying_at);
    }
}

#[test]
fn a_full_store_costs_the_unfinished_set_only() {
    strike_everywhere(Wanted::Increment, |disk, call| {
        Faulty::new(disk, [(call, Fault::Before(ErrorKind::Full))])
    });
}

#[test]
fn a_lost_answer_costs_the_unfinished_set_only() {
    strike_everywhere(Wanted::Increment, |disk, call| {
        Faulty::new(disk, [(call, Fault::After(ErrorKind::Unavailable))])
    });
}

#[test]
fn a_cut_that_leaves_a_set_with_the_same_time_is_not_mixed_into_the_next() {
    let place = Place::new();
    fill(&place, 0);
    let healthy = place.archive(protection());
    place.back_up(&healthy, Wanted::Full, 0);
    fill(&place, 1);
    let store = Arc::new(Faulty::dying_at(place.disk(), 5));
    let archive = place.archive_on(store, place.settings(protection()));
    assert!(place.try_back_up(&archive, Wanted::Increment, 1).is_err());
    fs::remove_file(place.path("source/big 2")).unwrap();
    // A clock that stands still.
    place.back_up(&healthy, Wanted::Increment, 1);
    let times = healthy.collection(at(9)).unwrap().times();
    let last = times.last().unwrap();
    let (found, problems) = crate::support::in_archive_at(&healthy, *last, "");
    assert_eq!(problems, [""; 0]);
    assert_same(&found, &on_disk(&place.path("source")));
}

/// What the store has lost of a finished set is put back, and never taken for a run that was cut
/// off, however old it is.
#[test]
fn a_lost_manifest_is_told_and_put_back_and_costs_no_set() {
    let place = Place::new();
    place.write("a", testkit::Random::new(8).noise(2_000_000));
    let archive = place.archive(Protection::Passphrase(duplicity::Passphrase::new("secret")));
    place.back_up(&archive, Wanted::Full, 0);
    place.write("b", "new");
    place.back_up(&archive, Wanted::Increment, 1);
    let is_lost = |name: &String| name.starts_with("duplicity-full.") && name.contains(".manifest");
    let manifest = place.store_names().into_iter().find(is_lost).unwrap();
    let manifest = place.path("store").join(manifest);
    let days = 24 * 60;
    let lose = || fs::remove_file(&manifest).unwrap();
    let verified = || {
        let collection = archive.collection(at(3 * days)).unwrap();
        let mut on_step = |_, _| ControlFlow::Continue(());
        archive.verify(&collection, duplicity::Depth::Structure, &mut on_step)
    };
    assert!(verified().is_clean());
    lose();
    let found = verified();
    assert!(
        matches!(
            found.findings[..],
            [
                duplicity::Error::ManifestMissing { .. },
                duplicity::Error::Orphan { .. }
            ]
        ),
        "{found:?}"
    );
    place.write("c", "newer");
    let summary = place.back_up(&archive, Wanted::Increment, 3 * days);
    assert!(summary.raw_bytes < 1000, "no increment: {summary:?}");
    assert!(verified().is_clean());
    assert_eq!(archive.collection(at(3 * days)).unwrap().chains.len(), 1);

    // Where nobody remembers it, the set is left alone, and a new one begins.
    let volumes = || {
        let is_volume = |name: &&String| name.contains("duplicity-full.") && name.contains(".vol");
        place.store_names().iter().filter(is_volume).count()
    };
    let before = volumes();
    lose();
    fs::remove_dir_all(place.path("cache")).unwrap();
    place.back_up(&archive, Wanted::Increment, 6 * days);
    assert_eq!(volumes(), 2 * before, "the volumes of the old set are gone");
    assert!(!verified().is_clean());
}

/// A bit of an encrypted file may have flipped where it reads as a wrong passphrase.
#[test]
fn a_damaged_manifest_is_no_wrong_passphrase_and_ends_its_chain() {
    let secret = |text: &str| Protection::Passphrase(duplicity::Passphrase::new(text));
    let place = Place::new();
    fill(&place, 0);
    let archive = place.archive(secret("secret"));
    place.back_up(&archive, Wanted::Full, 0);
    place.write("text", "more");
    place.back_up(&archive, Wanted::Increment, 1);
    let is_manifest = |kind: &str, name: &str| name.starts_with(kind) && name.contains("manifest");
    for (minute, kind) in [(2, "duplicity-full."), (4, "duplicity-inc.")] {
        let mut names = place.store_names().into_iter();
        let name = names.rfind(|name| is_manifest(kind, name)).unwrap();
        let path = place.path("store").join(&name);
        let good = fs::read(&path).unwrap();
        let collection = archive.collection(at(9)).unwrap();
        // In the packet that says how the passphrase becomes a key, in the first bytes of what is
        // encrypted, and further behind.
        for byte in [7, 19, 20, 25, good.len() / 2, good.len() - 1] {
            let mut bytes = good.clone();
            bytes[byte] ^= 4;
            fs::write(&path, bytes).unwrap();
            let mut on_step = |_, _| ControlFlow::Continue(());
            let found = archive.verify(&collection, duplicity::Depth::Structure, &mut on_step);
            assert_eq!(found.findings.len(), 1, "byte {byte}: {found:?}");
            assert!(found.findings[0].is_damage(), "byte {byte}: {found:?}");
        }
        fs::remove_dir_all(place.path("cache")).unwrap();
        let result = place
            .archive(secret("another"))
            .begin(Wanted::Increment, at(minute));
        let error = result.map(drop).unwrap_err();
        assert!(matches!(error, duplicity::Error::Open { .. }), "{error:?}");
        // What nobody can restore is not gone on with, and somebody is told.
        let intake = archive.begin(Wanted::Increment, at(minute)).unwrap();
        assert!(!intake.given_up().is_empty());
        drop(intake);
        place.back_up(&archive, Wanted::Increment, minute);
        place.write("text", format!("since {minute}"));
        place.back_up(&archive, Wanted::Increment, minute + 1);
        assert_same(
            &in_archive(&archive, minute + 1, "").0,
            &on_disk(&place.path("source")),
        );
        fs::write(&path, good).unwrap();
    }
}
