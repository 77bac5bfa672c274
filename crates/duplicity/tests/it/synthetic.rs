//! A full set made of a chain stands for itself.

use std::fs;
use std::ops::ControlFlow;
use std::time::{Duration, UNIX_EPOCH};

use duplicity::{Passphrase, Protection, Wanted};
use ravelin_duplicity as duplicity;

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
