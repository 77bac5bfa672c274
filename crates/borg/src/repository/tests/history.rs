//! Random histories against a model.

use proptest::prelude::*;

use super::super::{auxiliary, replay, usage::Usage};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, usize),
    Delete(u8),
    Commit,
    /// With a threshold in tenths.
    Compact(u8),
    RollBack,
    /// The process ends in the middle; what it has written is there, or not.
    Crash {
        flushed: bool,
    },
    /// The index of an earlier transaction comes back, as after a crash behind a commit.
    OldIndex,
    LoseIndex,
    LoseHints,
    LoseIntegrity,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..12u8, 0..900usize).prop_map(|(key, size)| Step::Put(key, size)),
        4 => (0..12u8).prop_map(Step::Delete),
        3 => Just(Step::Commit),
        2 => (0..10u8).prop_map(Step::Compact),
        1 => Just(Step::RollBack),
        1 => any::<bool>().prop_map(|flushed| Step::Crash { flushed }),
        1 => Just(Step::OldIndex),
        1 => Just(Step::LoseIndex),
        1 => Just(Step::LoseHints),
        1 => Just(Step::LoseIntegrity),
        1 => Just(Step::Reopen),
    ]
}

/// Number 0 stands for the manifest.
fn key(number: u8) -> Id {
    if number == 0 {
        Id::MANIFEST
    } else {
        id(number)
    }
}

/// What is the same whether it was counted on the way or from the log: live objects, quota and
/// the places of superseded objects.
type Books = (BTreeMap<u32, i64>, u64, BTreeMap<Id, Vec<u32>>);

///
/// A compaction forgets superseded objects one by one, and a log that was compacted does not
/// show any more what it has forgotten.
fn books(usage: Usage, was_compacted: bool) -> Books {
    let shadow = if was_compacted {
        BTreeMap::new()
    } else {
        usage.shadow.into_iter().collect()
    };
    (usage.live, usage.quota, shadow)
}

fn assert_same_as_replayed(repository: &Repository, was_compacted: bool) {
    let end = read(&repository.end).clone();
    let Some(transaction) = end.transaction else {
        return;
    };
    let saved = auxiliary::load_usage(&repository.path, transaction).unwrap();
    let without_index = LogEnd {
        index_transaction: None,
        ..end
    };
    let replayed =
        replay::load(&repository.path, &repository.segments, &without_index, true).unwrap();
    assert_eq!(replayed.damages, []);
    assert_eq!(
        books(saved, was_compacted),
        books(replayed.usage.unwrap(), was_compacted)
    );
    let index = auxiliary::load_index(&repository.path, transaction).unwrap();
    let sorted = |index: &auxiliary::Index| {
        let mut entries: Vec<_> = index.iter().collect();
        entries.sort_unstable();
        entries
    };
    assert_eq!(sorted(&index), sorted(&replayed.index));
}

fn remove(scratch: &Scratch, kind: &str) {
    for name in scratch.names() {
        if name.starts_with(kind) {
            fs::remove_file(scratch.path().join(name)).unwrap();
        }
    }
}

fn run(steps: Vec<Step>) {
    let scratch = Scratch::new();
    let old = scratch.directory.path().join("old");
    let mut committed = Objects::new();
    let mut was_compacted = false;
    let mut steps = steps.into_iter().peekable();
    while steps.peek().is_some() {
        let repository = scratch.writer();
        assert_eq!(objects(&repository), committed);
        let mut current = committed.clone();
        let mut transaction = repository.begin().unwrap();
        for step in steps.by_ref() {
            match step {
                Step::Put(number, size) => {
                    let data = content(number, size);
                    transaction.put(&key(number), &data).unwrap();
                    current.insert(key(number), data);
                }
                Step::Delete(number) => {
                    let result = transaction.delete(&key(number));
                    assert_eq!(result.is_ok(), current.remove(&key(number)).is_some());
                    if matches!(result, Err(Error::Doomed)) {
                        panic!("a missing object must not doom");
                    }
                }
                Step::Commit => {
                    transaction.commit(NOW).unwrap();
                    committed = current.clone();
                    assert_same_as_replayed(&repository, was_compacted);
                    transaction = repository.begin().unwrap();
                }
                Step::Compact(tenths) => {
                    let options = Compaction {
                        threshold: f64::from(tenths) / 10.0,
                        cleanup_commits: tenths == 9,
                    };
                    transaction.commit_and_compact(&options, NOW).unwrap();
                    committed = current.clone();
                    was_compacted = true;
                    assert_same_as_replayed(&repository, was_compacted);
                    transaction = repository.begin().unwrap();
                }
                Step::RollBack => {
                    transaction.roll_back().unwrap();
                    current = committed.clone();
                    assert_eq!(objects(&repository), committed);
                    transaction = repository.begin().unwrap();
                }
                Step::Crash { flushed } => {
                    if flushed {
                        lock(&repository.writing).as_mut().unwrap().flush().unwrap();
                    }
                    std::mem::forget(transaction);
                    drop(repository);
                    // A reader sees the last commit, and no lock is in the way.
                    assert_eq!(objects(&scratch.reader()), committed);
                    break;
                }
                Step::OldIndex => {
                    drop(transaction);
                    drop(repository);
                    if old.exists() {
                        for kind in ["index", "hints", "integrity"] {
                            remove(&scratch, kind);
                        }
                        copy(&old, &scratch.path());
                        fs::remove_dir_all(&old).unwrap();
                    } else {
                        fs::create_dir(&old).unwrap();
                        for name in scratch.names() {
                            if name.starts_with('i') || name.starts_with('h') {
                                fs::copy(scratch.path().join(&name), old.join(&name)).unwrap();
                            }
                        }
                    }
                    break;
                }
                Step::LoseIndex | Step::LoseHints | Step::LoseIntegrity | Step::Reopen => {
                    drop(transaction);
                    drop(repository);
                    match step {
                        Step::LoseIndex => remove(&scratch, "index"),
                        Step::LoseHints => remove(&scratch, "hints"),
                        Step::LoseIntegrity => remove(&scratch, "integrity"),
                        _ => {}
                    }
                    break;
                }
            }
            assert_eq!(objects(&repository), current);
        }
    }
    assert_eq!(objects(&scratch.reader()), committed);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_repository_is_a_map_that_survives_crashes(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        run(steps);
    }
}
