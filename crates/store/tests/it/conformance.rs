//! Every kind of store keeps the contract.

use std::time::SystemTime;

use ravelin_store::conformance::{self, Check};
use ravelin_store::{Disk, Environment, Folder, Memory, Name, Store, WriteMode};

/// Real time and the system's randomness.
pub(crate) fn environment() -> Environment {
    #[expect(
        clippy::disallowed_methods,
        reason = "servers compare our clock with theirs"
    )]
    Environment::new(SystemTime::now, |bytes| getrandom::fill(bytes).unwrap())
}

/// Runs the suite and shows every rule that is broken.
#[track_caller]
pub(crate) fn check(store: &dyn Store) {
    let broken = broken(store);
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The rules that a store breaks.
pub(crate) fn broken(store: &dyn Store) -> Vec<Check> {
    let checks = conformance::run(store, &Folder::new("scratch/conformance").unwrap());
    checks
        .into_iter()
        .filter(|check| !check.is_good())
        .collect()
}

#[test]
fn memory_keeps_the_contract() {
    check(&Memory::new());
}

#[test]
fn a_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    check(&Disk::new(folder.path(), &environment()));
}

/// What a broken-off write left goes when it is old, and nothing else does. `root` is where the
/// server has the store's files.
pub(crate) fn tidies(store: &dyn Store, root: &std::path::Path) {
    let day = std::time::Duration::from_secs(24 * 3600);
    let now = (environment().clock)();
    let name = Name::new("tidy/folder/object").unwrap();
    store.write(&name, b"whole", WriteMode::Replace).unwrap();
    let folder = root.join("tidy/folder");
    let files = [".ravelin-tmp-old", ".ravelin-tmp-new", "old"];
    for (file, time) in files
        .into_iter()
        .zip([now - day - day, now, now - day - day])
    {
        let file = std::fs::File::create(folder.join(file)).unwrap();
        file.set_modified(time).unwrap();
    }
    assert_eq!(store.tidy(day).unwrap(), 1);
    assert_eq!(store.tidy(day).unwrap(), 0);
    let left = |file: &&&str| folder.join(file).exists();
    let left: Vec<&&str> = files.iter().filter(left).collect();
    assert_eq!(left, [&files[1], &files[2]]);
    store.stat(&name).unwrap();
    std::fs::remove_dir_all(root.join("tidy")).unwrap();
}
