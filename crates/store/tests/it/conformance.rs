//! Every kind of store keeps the contract.

use std::time::SystemTime;

use ravelin_store::conformance::{self, Check};
use ravelin_store::{Disk, Environment, Folder, Memory, Store};

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
