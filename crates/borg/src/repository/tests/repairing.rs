//! What a check says, and what a repair keeps.

use std::time::Duration;

use super::*;

fn check(scratch: &Scratch) -> Checked {
    scratch.reader().check(|_, _| {}).unwrap()
}

fn repair(scratch: &Scratch) -> Repaired {
    let repository = scratch.writer();
    let found = repository.check(|_, _| {}).unwrap();
    let repaired = repository.repair(&found).unwrap();
    assert!(repository.check(|_, _| {}).unwrap().is_good());
    repaired
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_good_repository_is_good() {
    let scratch = Scratch::new();
    scratch.store(&some_objects(1));
    scratch.store(&some_objects(2));
    let mut told = Vec::new();
    let checked = scratch
        .reader()
        .check(|done, of| told.push((done, of)))
        .unwrap();
    assert!(checked.is_good());
    assert!(!checked.index_missing);
    assert_eq!(checked.object_count, 9);
    assert_eq!(checked.segment_count, scratch.segments().len());
    assert_eq!(told.last(), Some(&(told.len(), told.len())));
    let empty = Scratch::new();
    assert!(check(&empty).is_good());
    assert_eq!(repair(&empty), Repaired::default());
}

#[test]
fn each_damaged_place_is_named_and_the_rest_survives_the_repair() {
    let scratch = Scratch::with(|_| {});
    let mut expected = some_objects(1);
    scratch.store(&expected);
    let mut damaged = Vec::new();
    // In the content, in the size, and in the tag of an entry.
    for (number, offset) in [(2, 60), (4, 5), (6, 8)] {
        let at = scratch.reader().location(&id(number)).unwrap().unwrap();
        flip(&scratch.segment(at.segment), at.offset as usize + offset);
        damaged.push(at);
        expected.remove(&id(number));
    }
    let checked = check(&scratch);
    let places: Vec<_> = checked
        .damages
        .iter()
        .map(|place| place.damage.at)
        .collect();
    assert_eq!(places, damaged);
    let lost: Vec<_> = checked
        .index_differences
        .iter()
        .map(|it| it.indexed)
        .collect();
    assert_eq!(lost, damaged.into_iter().map(Some).collect::<Vec<_>>());
    assert!(
        checked
            .index_differences
            .iter()
            .all(|it| it.found.is_none())
    );
    let repaired = repair(&scratch);
    assert_eq!(repaired.recovered_segments, [0]);
    assert_eq!(repaired.object_count, expected.len());
    assert_eq!(objects(&scratch.reader()), expected);
    let more = BTreeMap::from([(id(2), b"again".to_vec())]);
    scratch.store(&more);
    expected.extend(more);
    assert_eq!(objects(&scratch.reader()), expected);
}

#[test]
fn a_damaged_commit_is_written_again() {
    for with_check in [true, false] {
        let scratch = Scratch::with(|_| {});
        scratch.store(&some_objects(1));
        let expected = some_objects(2);
        let commit = scratch.store(&expected);
        flip(&scratch.segment(commit), 12);
        assert!(!check(&scratch).is_good());
        if with_check {
            assert_eq!(repair(&scratch).commit_written, Some(commit));
        } else {
            scratch.writer().repair_commit().unwrap();
        }
        assert_eq!(scratch.reader().tail(), Tail::Clean);
        assert_eq!(scratch.reader().transaction(), Some(commit));
        assert_eq!(objects(&scratch.reader()), expected);
        drop(scratch.writer().begin().unwrap());
    }
}

#[test]
fn of_a_damaged_transaction_all_that_is_whole_is_kept_if_its_manifest_is() {
    let scratch = Scratch::with(|_| {});
    let old = some_objects(1);
    scratch.store(&old);
    let mut expected = some_objects(2);
    let commit = scratch.store(&expected);
    let victim = scratch.reader().location(&id(5)).unwrap().unwrap();
    let manifest = scratch.reader().location(&Id::MANIFEST).unwrap().unwrap();
    flip(&scratch.segment(commit), 12);
    flip(
        &scratch.segment(victim.segment),
        victim.offset as usize + 50,
    );
    let repository = scratch.writer();
    let refused = repository.repair_commit();
    assert!(matches!(refused, Err(Error::CommitDamaged { .. })));
    drop(repository);
    let copy_path = scratch.directory.path().join("copy");
    copy(&scratch.path(), &copy_path);
    let repaired = repair(&scratch);
    assert_eq!(repaired.commit_written, Some(commit));
    // The DELETE of the old one was whole.
    expected.remove(&id(5));
    assert_eq!(objects(&scratch.reader()), expected);
    // Without a manifest, the state before is worth more.
    fs::remove_dir_all(scratch.path()).unwrap();
    copy(&copy_path, &scratch.path());
    let path = scratch.segment(manifest.segment);
    flip(&path, manifest.offset as usize + 45);
    let repaired = repair(&scratch);
    assert_eq!(repaired.commit_written, None);
    assert!(repaired.removed_segments.contains(&commit));
    assert_eq!(objects(&scratch.reader()), old);
}

#[test]
fn a_repository_without_any_commit_gets_one() {
    let scratch = Scratch::new();
    let expected = some_objects(1);
    let commit = scratch.store(&expected);
    fs::write(scratch.segment(commit), b"").unwrap();
    for kind in ["index", "hints", "integrity"] {
        fs::remove_file(scratch.path().join(format!("{kind}.{commit}"))).unwrap();
    }
    assert_eq!(scratch.reader().transaction(), None);
    let repaired = repair(&scratch);
    assert_eq!(repaired.commit_written, Some(commit + 1));
    assert_eq!(objects(&scratch.reader()), expected);
}

#[test]
fn an_index_that_lies_is_made_anew() {
    let scratch = Scratch::new();
    let expected = some_objects(1);
    let commit = scratch.store(&expected);
    scratch.edit(&format!("index.{commit}"), |bytes| bytes[20_000] ^= 1);
    let checked = check(&scratch);
    assert!(checked.index_missing);
    assert!(checked.is_good());
    // One without a checksum is believed, and compared.
    fs::remove_file(scratch.path().join(format!("integrity.{commit}"))).unwrap();
    let repository = scratch.writer();
    let mut index = replay::load(
        &repository.path,
        &repository.segments,
        &read(&repository.end).clone(),
        false,
    )
    .unwrap()
    .index;
    let former = index.remove(&id(3)).unwrap();
    index.insert(&id(100), [0, 8]);
    let path = scratch.path().join(format!("index.{commit}"));
    index
        .save(&mut fs::File::create(path).unwrap(), "any")
        .unwrap();
    drop(repository);
    let checked = check(&scratch);
    let differences: Vec<_> = checked.index_differences.iter().map(|it| it.id).collect();
    assert_eq!(differences, [id(3), id(100)]);
    assert_eq!(
        checked.index_differences[0].found.unwrap().segment,
        former[0]
    );
    repair(&scratch);
    assert_eq!(objects(&scratch.reader()), expected);
}

#[test]
fn a_check_that_runs_out_of_time_goes_on_where_it_stopped() {
    let scratch = Scratch::new();
    scratch.store(&some_objects(1));
    let all = scratch.segments().len();
    let mut checked = 0;
    for round in 1..=all {
        let part = scratch
            .writer()
            .check_for(Duration::ZERO, |_, _| {})
            .unwrap();
        assert_eq!(part.segment_count, 1, "{round}");
        checked += part.segment_count;
    }
    assert_eq!(checked, all);
    let rest = scratch
        .writer()
        .check_for(Duration::ZERO, |_, _| {})
        .unwrap();
    assert_eq!((rest.segment_count, rest.checked_up_to), (0, None));
    let again = scratch
        .writer()
        .check_for(Duration::from_secs(1000), |_, _| {})
        .unwrap();
    assert_eq!(again.segment_count, all);
    assert!(matches!(
        scratch.reader().check_for(Duration::ZERO, |_, _| {}),
        Err(Error::ReadOnly { .. })
    ));
}

#[test]
fn an_append_only_repository_is_checked_and_not_repaired() {
    let scratch = Scratch::with(|options| options.append_only = true);
    scratch.store(&some_objects(1));
    let repository = scratch.writer();
    let found = repository.check(|_, _| {}).unwrap();
    assert!(matches!(
        repository.repair(&found),
        Err(Error::AppendOnly { .. })
    ));
}
