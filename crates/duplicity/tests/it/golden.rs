//! Archives made by older versions of the real program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use duplicity::{Depth, Passphrase, Protection, SetTime};
use ravelin_duplicity as duplicity;

use crate::support::{Place, Seen, in_archive_at};
use tree::EntryKind;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/duplicity-0.8.22")
        .join(name)
}

fn copy_into(place: &Place, form: &str) {
    for file in fs::read_dir(golden(form)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), place.path("store").join(file.file_name())).unwrap();
    }
}

fn line(path: &str, seen: &Seen) -> String {
    let meta = format!("{:o} {}", seen.mode, seen.mtime);
    let (kind, meta, what) = match &seen.kind {
        EntryKind::Directory => ("d", meta, String::new()),
        EntryKind::Symlink { target } => (
            "l",
            String::new(),
            String::from_utf8(target.clone()).unwrap(),
        ),
        EntryKind::Fifo => ("p", meta, String::new()),
        _ => ("-", meta, seen.sha1()),
    };
    format!("{path}\t{kind}\t{meta}\t{what}")
}

fn listed(state: &BTreeMap<String, Seen>) -> Vec<String> {
    let mut lines: Vec<String> = state.iter().map(|(path, seen)| line(path, seen)).collect();
    lines.sort();
    lines
}

#[test]
fn every_set_of_0_8_22_is_restored() {
    for (form, protection) in [
        ("plain", Protection::None),
        (
            "symmetric",
            Protection::Passphrase(Passphrase::new("golden")),
        ),
    ] {
        let place = Place::new();
        copy_into(&place, form);
        let archive = place.archive(protection);
        for set in 0..3 {
            let (state, problems) = in_archive_at(
                &archive,
                SetTime::from_seconds(1_650_000_000 + set * 100_000),
                "",
            );
            assert_eq!(problems, [""; 0]);
            let expected = fs::read_to_string(golden(&format!("expected-{set}.txt"))).unwrap();
            assert_eq!(
                listed(&state),
                expected.lines().collect::<Vec<_>>(),
                "{form} {set}"
            );
        }
        let collection = archive
            .collection(SetTime::from_seconds(1_700_000_000))
            .unwrap();
        let verified = archive.verify(&collection, Depth::Data, &mut |_, _| {
            std::ops::ControlFlow::Continue(())
        });
        assert!(verified.is_clean(), "{verified:?}");
        assert_eq!((verified.sets, verified.files), (3, 9));
    }
}

#[test]
fn a_wrong_passphrase_is_named_and_nothing_is_read() {
    let place = Place::new();
    copy_into(&place, "symmetric");
    let archive = place.archive(Protection::Passphrase(Passphrase::new("wrong")));
    let collection = archive
        .collection(SetTime::from_seconds(1_700_000_000))
        .unwrap();
    let error = archive
        .snapshot(&collection.chains[0].sets, &tree::TreePath::root())
        .err()
        .unwrap();
    assert!(matches!(error, duplicity::Error::Open { .. }), "{error:?}");
}

#[test]
fn one_file_is_restored_from_the_volumes_that_hold_it() {
    let place = Place::new();
    copy_into(&place, "plain");
    let archive = place.archive(Protection::None);
    let (state, _) = in_archive_at(
        &archive,
        SetTime::from_seconds(1_650_200_000),
        "sizes/65536",
    );
    assert_eq!(state.keys().collect::<Vec<_>>(), ["sizes/65536"]);
    let names: Vec<String> = archive
        .listing(
            &archive
                .collection(SetTime::from_seconds(1_700_000_000))
                .unwrap()
                .chains[0]
                .sets,
        )
        .unwrap()
        .map(|listed| listed.unwrap().entry.path.to_string())
        .collect();
    let (whole, _) = in_archive_at(&archive, SetTime::from_seconds(1_650_200_000), "");
    let mut expected: Vec<String> = whole.into_keys().collect();
    let mut sorted = names.clone();
    expected.sort();
    sorted.sort();
    assert_eq!(sorted, expected);
}
