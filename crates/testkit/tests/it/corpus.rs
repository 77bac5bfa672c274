//! Data sets never change.

use ravelin_testkit::corpus::{self, Set};

/// The digest of a small edition of a set, then after each of two days.
fn digests(set: Set) -> [String; 3] {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("set");
    corpus::generate(set, &directory, 0.004).unwrap();
    let made = corpus::digest(&directory).unwrap();
    corpus::mutate(&directory, 1).unwrap();
    let first = corpus::digest(&directory).unwrap();
    corpus::mutate(&directory, 2).unwrap();
    [made, first, corpus::digest(&directory).unwrap()]
}

#[test]
fn a_data_set_is_the_same_every_time_and_so_are_its_days() {
    for set in Set::ALL {
        let [made, first, second] = digests(set);
        assert_eq!(digests(set), [made.clone(), first.clone(), second.clone()]);
        assert_ne!(first, second, "{}", set.name());
    }
}

/// Measurements of different releases are compared, so this must hold for years. A change of a
/// set on purpose needs new measurements of everything.
#[test]
fn the_data_sets_are_those_of_the_published_measurements() {
    let made = Set::ALL.map(|set| digests(set)[0].clone());
    assert_eq!(
        made,
        [
            "8588ff138819d70d44f3c22fc58eb508bf215bb23329a5e59b37582e10d5a5ed",
            "9deb1ccf2c99d756b51c1acbe64eaad5b8bd5ad5d382587a5fb9960d05147ac9",
            "0405ae3e2e14e900ac77ada4ab40ed76d5d3a294451389818a31c0a305cd7bf3"
        ]
    );
}

#[test]
fn a_directory_that_exists_is_never_written_to() {
    let scratch = tempfile::tempdir().unwrap();
    assert!(corpus::generate(Set::Big, scratch.path(), 0.001).is_err());
}
