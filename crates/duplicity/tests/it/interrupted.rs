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

#[test]
fn what_could_not_be_looked_at_is_not_called_damaged() {
    let place = Place::new();
    fill(&place, 0);
    place.back_up(&place.archive(protection()), Wanted::Full, 0);
    let is_volume = |name: &&String| name.contains(".vol");
    let volumes = place.store_names().iter().filter(is_volume).count();
    assert!(volumes > 1, "{volumes}");
    // From the manifest, the second call behind the list, to the last volume.
    for call in 2..=2 + volumes {
        let store = Faulty::dying_at(place.disk(), call as u64);
        let archive = place.archive_on(Arc::new(store), place.settings(protection()));
        let collection = archive.collection(at(9)).unwrap();
        let mut on_step = |_, _| ControlFlow::Continue(());
        let found = archive.verify(&collection, duplicity::Depth::Data, &mut on_step);
        assert!(!found.is_clean(), "call {call}");
        assert!(
            !found.findings.iter().any(duplicity::Error::is_damage),
            "call {call}: {found:?}"
        );
        assert_eq!((found.volumes, found.chains), (vec![], vec![]));
    }
}

#[test]
fn damage_is_of_the_chain_that_it_is_in_also_where_it_is_of_no_volume() {
    let place = Place::new();
    place.write("a", "one");
    let archive = place.archive(protection());
    place.back_up(&archive, Wanted::Full, 0);
    place.back_up(&archive, Wanted::Full, 1);
    let is_signatures = |name: &String| name.starts_with("duplicity-full-signatures.");
    let last = place.store_names().into_iter().rfind(is_signatures);
    fs::remove_file(place.path("store").join(last.unwrap())).unwrap();
    let collection = archive.collection(at(9)).unwrap();
    let mut on_step = |_, _| ControlFlow::Continue(());
    let found = archive.verify(&collection, duplicity::Depth::Data, &mut on_step);
    assert_eq!(found.findings.len(), 1, "{found:?}");
    assert_eq!((found.volumes, found.chains), (vec![], vec![at(1)]));
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

/// Goes on with full sets that were cut off.
fn resuming(place: &Place) -> duplicity::Settings {
    let mut settings = place.settings(protection());
    settings.resume = true;
    settings
}

/// A full backup whose store dies once it has `volumes` of it.
fn cut_off(place: &Place, settings: duplicity::Settings, volumes: usize) {
    let store = Arc::new(Faulty::dying_at(place.disk(), 1_000_000));
    let archive = place.archive_on(store, settings);
    let intake = archive.begin(Wanted::Full, at(0)).unwrap();
    for step in crate::support::steps(&place.path("source"), &|entry| intake.wants(entry)) {
        intake.take(step).unwrap();
        if volumes_of(place).len() >= volumes {
            break;
        }
    }
    while volumes_of(place).len() < volumes {
        std::thread::yield_now();
    }
    drop(intake);
}

fn volumes_of(place: &Place) -> Vec<String> {
    let mut names = place.store_names();
    names.retain(|name| name.contains(".vol") && name.starts_with("duplicity-"));
    names
}

/// Backs up, again where the source demands it; says whether a set was gone on with at last.
fn go_on(place: &Place, archive: &duplicity::Archive, minute: i64) -> bool {
    loop {
        let intake = archive.begin(Wanted::Full, at(minute)).unwrap();
        let is_resumed = intake.is_resumed();
        let steps = crate::support::steps(&place.path("source"), &|entry| intake.wants(entry));
        let taken = steps.into_iter().try_for_each(|step| intake.take(step));
        match taken.and_then(|()| intake.commit()) {
            Err(duplicity::Error::Seam { .. }) if is_resumed => {}
            done => {
                done.unwrap();
                return is_resumed;
            }
        }
    }
}

#[test]
fn a_full_set_that_was_cut_off_at_any_call_is_gone_on_with_or_made_anew() {
    let mut resumed = 0;
    for call in 1.. {
        let place = Place::new();
        fill(&place, 7);
        place.write("empty", "");
        place.write("large", testkit::Random::new(3).noise(2_200_000));
        fs::hard_link(place.path("source/big 1"), place.path("source/z")).unwrap();
        let store = Arc::new(Faulty::dying_at(place.disk(), call));
        let archive = place.archive_on(store.clone(), resuming(&place));
        let result = place.try_back_up(&archive, Wanted::Full, 0);
        drop(archive);
        let healthy = place.archive_with(resuming(&place));
        if result.is_err() {
            resumed += u32::from(go_on(&place, &healthy, 1));
        }
        let collection = healthy.collection(at(9)).unwrap();
        assert!(collection.cleanup().is_empty(), "call {call}");
        let last = *collection.times().last().unwrap();
        let (found, problems) = crate::support::in_archive_at(&healthy, last, "");
        assert_eq!(problems, [""; 0], "call {call}");
        assert_same(&found, &on_disk(&place.path("source")));
        let mut on_step = |_, _| ControlFlow::Continue(());
        assert!(
            healthy
                .verify(&collection, duplicity::Depth::Data, &mut on_step)
                .is_clean()
        );
        // Its signatures are of what it holds: nothing seems changed.
        let summary = place.back_up(&healthy, Wanted::Increment, 5);
        assert_eq!((summary.changed, summary.deleted), (0, 0), "call {call}");
        let cache = fs::read_dir(place.path("cache")).unwrap();
        let names = cache.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.ends_with(".part")).count(), 0);
        if store.calls() < call {
            break;
        }
    }
    assert!(resumed > 3, "only {resumed} were gone on with");
}

#[test]
fn volumes_of_a_set_that_was_cut_off_stay_and_are_not_read_from_the_source_again() {
    let place = Place::new();
    fill(&place, 1);
    cut_off(&place, resuming(&place), 1);
    let volume = place.path("store").join(&volumes_of(&place)[0]);
    let before = fs::read(&volume).unwrap();
    let archive = place.archive_with(resuming(&place));
    let intake = archive.begin(Wanted::Full, at(3)).unwrap();
    assert!(intake.is_resumed());
    assert_eq!(intake.set().end(), at(0));
    let entry = |name: &str| {
        let path = tree::TreePath::new(name.as_bytes()).unwrap();
        crate::support::entry_of(path, &place.path("source").join(name))
    };
    assert!(!intake.wants(&entry("big 0")));
    assert!(intake.wants(&entry("text")));
    drop(intake);
    assert!(go_on(&place, &archive, 4));
    assert_eq!(fs::read(&volume).unwrap(), before);
    assert_same(
        &in_archive(&archive, 9, "").0,
        &on_disk(&place.path("source")),
    );
}

/// What becomes of the source between the two runs never makes a file that was nowhere: each one is
/// as it was, as it is, or away; and the next increment has all as it is.
#[test]
fn a_source_that_changes_while_a_set_is_cut_off_is_never_mixed_within_a_file() {
    let change = |name: &'static str| move |place: &Place| place.write(name, "now");
    let in_part = |place: &Place, of: &dyn Fn(&mut Vec<u8>)| {
        let path = place.path("source/large");
        let mut bytes = fs::read(&path).unwrap();
        of(&mut bytes);
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, bytes).unwrap();
        // Only the content can tell.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(before).unwrap();
    };
    type Change = Box<dyn Fn(&Place)>;
    let changes: [(&str, Change); 10] = [
        ("new before", Box::new(change("a"))),
        ("changed before", Box::new(change("first"))),
        ("new behind", Box::new(change("z"))),
        (
            "gone before",
            Box::new(|place| fs::remove_file(place.path("source/first")).unwrap()),
        ),
        (
            "gone at the seam",
            Box::new(|place| fs::remove_file(place.path("source/large")).unwrap()),
        ),
        ("another at the seam", Box::new(change("large"))),
        (
            "a folder at the seam",
            Box::new(|place| {
                fs::remove_file(place.path("source/large")).unwrap();
                place.write("large/within", "now");
            }),
        ),
        (
            "a bit before the seam",
            Box::new(move |place| in_part(place, &|bytes| bytes[9] ^= 1)),
        ),
        (
            "a bit behind the seam",
            Box::new(move |place| {
                in_part(place, &|bytes| *bytes.last_mut().unwrap() ^= 1);
            }),
        ),
        (
            "shorter than the seam",
            Box::new(move |place| in_part(place, &|bytes| bytes.truncate(70_000))),
        ),
    ];
    for (what, change) in changes {
        let place = Place::new();
        place.write("first", testkit::Random::new(4).noise(1_500_000));
        place.write("large", testkit::Random::new(5).noise(3_000_000));
        place.write("later", "then");
        let before = on_disk(&place.path("source"));
        cut_off(&place, resuming(&place), 2);
        change(&place);
        let after = on_disk(&place.path("source"));
        let archive = place.archive_with(resuming(&place));
        assert!(go_on(&place, &archive, 1), "{what}");
        let (found, problems) = in_archive(&archive, 2, "");
        assert_eq!(problems, [""; 0], "{what}");
        for (name, object) in &found {
            let one_of = [before.get(name), after.get(name)];
            assert!(one_of.contains(&Some(object)), "{what}: {name}");
        }
        assert_eq!(found.get("later"), after.get("later"), "{what}");
        place.back_up(&archive, Wanted::Increment, 3);
        let (found, problems) = in_archive(&archive, 3, "");
        assert_eq!(problems, [""; 0], "{what}");
        assert_same(&found, &after);
        let collection = archive.collection(at(9)).unwrap();
        assert!(collection.cleanup().is_empty(), "{what}");
    }
}

#[test]
fn a_set_that_was_cut_off_is_made_anew_where_it_cannot_be_trusted() {
    let damage = |place: &Place| {
        let volume = place.path("store").join(&volumes_of(place)[0]);
        let mut bytes = fs::read(&volume).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(volume, bytes).unwrap();
    };
    let forget = |place: &Place| fs::remove_dir_all(place.path("cache")).unwrap();
    let elsewhere =
        |settings: &mut duplicity::Settings| settings.local_dir = b"/elsewhere".to_vec();
    let other_kind = |settings: &mut duplicity::Settings| settings.compress = false;
    type Change<'a> = (&'a dyn Fn(&Place), &'a dyn Fn(&mut duplicity::Settings));
    let changes: [Change; 4] = [
        (&damage, &|_| ()),
        (&forget, &|_| ()),
        (&|_| (), &elsewhere),
        (&|_| (), &other_kind),
    ];
    for (number, (in_store, in_settings)) in changes.into_iter().enumerate() {
        let place = Place::new();
        fill(&place, 1);
        cut_off(&place, resuming(&place), 1);
        in_store(&place);
        let mut settings = resuming(&place);
        in_settings(&mut settings);
        let archive = place.archive_with(settings);
        // Two days later, as what nobody knows may be another program's for a day.
        assert!(!go_on(&place, &archive, 2 * 24 * 60), "{number}");
        let collection = archive.collection(at(9_999)).unwrap();
        assert!(collection.cleanup().is_empty(), "{number}");
        assert_same(
            &in_archive(&archive, 9_999, "").0,
            &on_disk(&place.path("source")),
        );
    }
    // A mistyped passphrase throws nothing away.
    let secret = |text: &str| Protection::Passphrase(duplicity::Passphrase::new(text));
    let place = Place::new();
    fill(&place, 1);
    let mut settings = resuming(&place);
    settings.protection = secret("secret");
    cut_off(&place, settings.clone(), 1);
    // Of so many, some open it, as rubbish.
    for number in 0..60 {
        settings.protection = secret(&format!("sercet {number}"));
        let archive = place.archive_with(settings.clone());
        let error = archive.begin(Wanted::Full, at(1)).map(drop).unwrap_err();
        assert!(matches!(error, duplicity::Error::Open { .. }), "{error:?}");
    }
    settings.protection = secret("secret");
    let archive = place.archive_with(settings);
    assert!(go_on(&place, &archive, 2));
    assert_same(
        &in_archive(&archive, 9, "").0,
        &on_disk(&place.path("source")),
    );
}
