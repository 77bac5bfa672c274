//! Space is freed, and nothing comes back that was deleted.

use super::*;

fn compact(scratch: &Scratch, change: impl FnOnce(&Transaction<&Repository>)) -> Compacted {
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    change(&transaction);
    let options = Compaction::default();
    transaction.commit_and_compact(&options, NOW).unwrap()
}

/// Index and books as they are made from the log alone.
fn without_index(scratch: &Scratch) -> Objects {
    for name in scratch.names() {
        if ["index", "hints", "integrity"]
            .iter()
            .any(|kind| name.starts_with(kind))
        {
            fs::remove_file(scratch.path().join(name)).unwrap();
        }
    }
    objects(&scratch.reader())
}

#[test]
fn deleted_objects_free_their_space_and_stay_deleted() {
    let scratch = Scratch::new();
    let mut expected = some_objects(1);
    scratch.store(&expected);
    let before: u64 = scratch.segments().iter().map(|(_, size)| size).sum();
    let compacted = compact(&scratch, |transaction| {
        for number in 4..8 {
            transaction.delete(&id(number)).unwrap();
            expected.remove(&id(number));
        }
    });
    let after: u64 = scratch.segments().iter().map(|(_, size)| size).sum();
    assert_eq!(compacted.freed, (400 + 500 + 600 + 700) + 4 * 41);
    assert!(before - after > 2000);
    assert_eq!(scratch.reader().transaction(), Some(compacted.transaction));
    assert_eq!(objects(&scratch.reader()), expected);
    assert_eq!(without_index(&scratch), expected);
}

#[test]
fn what_is_dense_is_left_alone() {
    let scratch = Scratch::new();
    scratch.store(&some_objects(1));
    let before = scratch.segments();
    compact(&scratch, |transaction| {
        transaction.put(&id(99), b"x").map(drop).unwrap();
    });
    let after = scratch.segments();
    for segment in &before {
        // A commit alone in its segment is not worth keeping.
        assert!(after.contains(segment) || segment.1 == 17, "{segment:?}");
    }
}

#[test]
fn a_delete_is_kept_while_an_older_segment_has_the_object() {
    let scratch = Scratch::with(|_| {});
    // Segment 0 is large and stays; the object to be deleted is a small part of it.
    scratch.store(&BTreeMap::from([
        (id(1), vec![1; 10]),
        (id(2), vec![2; 50_000]),
    ]));
    let compacted = compact(&scratch, |transaction| transaction.delete(&id(1)).unwrap());
    assert!(compacted.segment_count > 0);
    let expected = BTreeMap::from([(id(2), vec![2; 50_000])]);
    assert_eq!(without_index(&scratch), expected);
    // The DELETE moves on, time and again, and still holds.
    for _ in 0..3 {
        compact(&scratch, |_| {});
        assert_eq!(objects(&scratch.reader()), expected);
    }
    assert_eq!(without_index(&scratch), expected);
    // With the object, the DELETE goes as well.
    compact(&scratch, |transaction| transaction.delete(&id(2)).unwrap());
    compact(&scratch, |_| {});
    compact(&scratch, |_| {});
    let mut entries = 0;
    let visited = scratch.reader().visit_log(|entry| {
        entries += u32::from(entry.tag != Tag::Commit);
        Ok(())
    });
    visited.unwrap();
    assert_eq!(entries, 0);
}

#[test]
fn a_full_segment_is_committed_before_its_sources_go() {
    let scratch = Scratch::new();
    let mut expected: Objects = (0..60)
        .map(|number| (id(number), content(number, 300)))
        .collect();
    scratch.store(&expected);
    let compacted = compact(&scratch, |transaction| {
        for number in (0..60).step_by(2) {
            transaction.delete(&id(number)).unwrap();
            expected.remove(&id(number));
        }
    });
    assert!(compacted.segment_count > 5);
    assert_eq!(objects(&scratch.reader()), expected);
    assert_eq!(without_index(&scratch), expected);
    let checked = scratch.reader().check(|_, _| {}).unwrap();
    assert_eq!(checked.damages, []);
}

#[test]
fn old_commits_are_cleaned_up_when_asked_for() {
    let scratch = Scratch::new();
    for number in 0..5 {
        scratch.store(&BTreeMap::from([(id(number), vec![number; 1000])]));
    }
    let repository = scratch.writer();
    let options = Compaction {
        threshold: 0.9,
        cleanup_commits: true,
    };
    let transaction = repository.begin().unwrap();
    assert_eq!(transaction.sparse_segments(0.9).unwrap(), []);
    let options = Compaction {
        threshold: 0.5,
        ..options
    };
    transaction.commit_and_compact(&options, NOW).unwrap();
    let commits = sizes(&repository)
        .iter()
        .filter(|(_, size)| *size == 17)
        .count();
    assert_eq!(commits, 1);
    assert_eq!(repository.len().unwrap(), 5);
}

#[test]
fn an_append_only_repository_is_not_compacted() {
    let scratch = Scratch::with(|options| options.append_only = true);
    scratch.store(&some_objects(1));
    let before = scratch.segments();
    let compacted = compact(&scratch, |transaction| transaction.delete(&id(7)).unwrap());
    assert_eq!((compacted.segment_count, compacted.freed), (0, 0));
    assert!(
        before
            .iter()
            .all(|segment| scratch.segments().contains(segment))
    );
}

#[test]
fn damage_ends_a_compaction_and_nothing_is_lost() {
    let scratch = Scratch::new();
    let mut expected = some_objects(1);
    scratch.store(&expected);
    let at = scratch.reader().location(&id(6)).unwrap().unwrap();
    let path = scratch.segment(at.segment);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[at.offset as usize + 60] ^= 1;
    fs::write(&path, bad).unwrap();
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    transaction.delete(&id(7)).unwrap();
    transaction.delete(&id(5)).unwrap();
    expected.remove(&id(7));
    expected.remove(&id(5));
    let result = transaction.commit_and_compact(&Compaction::default(), NOW);
    assert!(matches!(result, Err(Error::Damaged(_))), "{result:?}");
    drop(repository);
    fs::write(&path, good).unwrap();
    assert_eq!(objects(&scratch.reader()), expected);
    scratch.store(&BTreeMap::from([(id(5), vec![1])]));
}
