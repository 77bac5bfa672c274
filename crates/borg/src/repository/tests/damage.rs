//! What a reader and a writer do when bytes are not what was written.

use super::super::entry::COMMIT;
use super::*;

/// Two transactions; the second replaces some objects of the first.
fn two_transactions() -> (Scratch, Objects, Objects) {
    let scratch = Scratch::with(|_| {});
    let first = some_objects(1);
    scratch.store(&first);
    let mut second = first.clone();
    let more = BTreeMap::from([
        (Id::MANIFEST, content(2, 60)),
        (id(3), content(77, 30)),
        (id(50), content(2, 300)),
    ]);
    scratch.store(&more);
    second.extend(more);
    (scratch, first, second)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut self::files(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Reads everything; no object may have other bytes than one of those given.
fn read_all(scratch: &Scratch, allowed: &[&Objects]) -> Option<Objects> {
    let repository = scratch.open(Access::NoLock).ok()?;
    let mut found = Objects::new();
    for id in repository.ids().ok()? {
        if let Ok(data) = repository.get(&id) {
            let is_right = allowed
                .iter()
                .any(|objects| objects.get(&id) == Some(&data));
            assert!(is_right, "{id} has wrong bytes");
            found.insert(id, data);
        }
    }
    Some(found)
}

#[test]
fn no_flipped_bit_gives_wrong_bytes() {
    let (scratch, first, second) = two_transactions();
    for file in files(&scratch.path()) {
        let good = fs::read(&file).unwrap();
        // Of a large file, a spread of bits.
        let step = (good.len() * 8 / 600) | 1;
        for bit in (0..good.len() * 8).step_by(step) {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &bad).unwrap();
            read_all(&scratch, &[&first, &second]);
        }
        fs::write(&file, &good).unwrap();
    }
    assert_eq!(read_all(&scratch, &[&second]), Some(second));
}

#[test]
fn no_truncated_or_missing_file_gives_wrong_bytes() {
    let (scratch, first, second) = two_transactions();
    for file in files(&scratch.path()) {
        let good = fs::read(&file).unwrap();
        let lengths = (0..good.len()).step_by(1 + good.len() / 200);
        for length in lengths {
            fs::write(&file, &good[..length]).unwrap();
            read_all(&scratch, &[&first, &second]);
        }
        fs::remove_file(&file).unwrap();
        read_all(&scratch, &[&first, &second]);
        fs::write(&file, &good).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_the_last_commit_does_not_hide_the_newest_transaction() {
    let (scratch, _, second) = two_transactions();
    let commit = scratch.reader().transaction().unwrap();
    let path = scratch.segment(commit);
    let good = fs::read(&path).unwrap();
    let aux = scratch.directory.path().join("aux");
    fs::create_dir(&aux).unwrap();
    for with_index in [true, false] {
        if !with_index {
            for name in ["index", "hints", "integrity"] {
                let name = format!("{name}.{commit}");
                fs::rename(scratch.path().join(&name), aux.join(&name)).unwrap();
            }
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            let repository = scratch.writer();
            let expected = Tail::CommitDamaged {
                segment: commit,
                restorable: true,
            };
            assert_eq!(repository.tail(), expected, "bit {bit}");
            assert_eq!(objects(&repository), second, "bit {bit}");
            let refused = repository.begin().map(drop);
            assert!(matches!(refused, Err(Error::CommitDamaged { .. })));
        }
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_lost_commit_is_noticed_while_its_index_is_there() {
    let (scratch, _, second) = two_transactions();
    let commit = scratch.reader().transaction().unwrap();
    let path = scratch.segment(commit);
    fs::remove_file(&path).unwrap();
    let repository = scratch.writer();
    let restorable = Tail::CommitDamaged {
        segment: commit,
        restorable: true,
    };
    assert_eq!(repository.tail(), restorable);
    assert_eq!(objects(&repository), second);
}

#[test]
fn a_commit_that_was_being_written_is_no_damage() {
    let (scratch, first, _) = two_transactions();
    let commit = scratch.reader().transaction().unwrap();
    let path = scratch.segment(commit);
    for kind in ["index", "hints", "integrity"] {
        fs::remove_file(scratch.path().join(format!("{kind}.{commit}"))).unwrap();
    }
    let good = fs::read(&path).unwrap();
    let torn = (0..good.len()).map(|length| good[..length].to_vec());
    for bytes in torn.chain([vec![0; good.len()]]) {
        fs::write(&path, &bytes).unwrap();
        let repository = scratch.reader();
        let unfinished = Tail::Unfinished {
            segment_count: 3,
            has_manifest: true,
        };
        assert_eq!(repository.tail(), unfinished, "{bytes:?}");
        assert_eq!(objects(&repository), first);
    }
    drop(scratch.writer().begin().unwrap());
    assert_eq!(objects(&scratch.reader()), first);
}

#[test]
fn a_damaged_commit_of_a_damaged_transaction_is_not_taken_for_good() {
    let (scratch, first, _) = two_transactions();
    let commit = scratch.reader().transaction().unwrap();
    fs::write(scratch.segment(commit), [0xff; 17]).unwrap();
    let manifest = scratch.segment(commit - 1);
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[60] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let repository = scratch.writer();
    let damaged = Tail::CommitDamaged {
        segment: commit,
        restorable: false,
    };
    assert_eq!(repository.tail(), damaged);
    assert_eq!(objects(&repository), first);
    assert!(repository.begin().is_err());
}

#[test]
fn a_repository_that_was_rolled_back_by_hand_says_so_and_goes_on() {
    let (scratch, first, _) = two_transactions();
    let repository = scratch.reader();
    let commit = repository.transaction().unwrap();
    for segment in commit - 2..=commit {
        fs::remove_file(repository.segments.path(segment)).unwrap();
    }
    drop(repository);
    let repository = scratch.writer();
    let rolled_back = Tail::RolledBack {
        index_transaction: commit,
    };
    assert_eq!(repository.tail(), rolled_back);
    assert_eq!(objects(&repository), first);
    let transaction = repository.begin().unwrap();
    transaction.put(&id(99), b"x").unwrap();
    transaction.commit(NOW).unwrap();
    drop(repository);
    assert_eq!(scratch.reader().tail(), Tail::Clean);
    assert_eq!(scratch.reader().get(&id(99)).unwrap(), b"x");
}

#[test]
fn with_damage_in_the_log_and_no_index_the_rest_is_read_and_nothing_is_written() {
    let (scratch, _, second) = two_transactions();
    let commit = scratch.reader().transaction().unwrap();
    let victim = id(7);
    let at = scratch.reader().location(&victim).unwrap().unwrap();
    let path = scratch.segment(at.segment);
    let mut bytes = fs::read(&path).unwrap();
    bytes[at.offset as usize + 300] ^= 4;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(scratch.path().join(format!("index.{commit}"))).unwrap();
    let repository = scratch.writer();
    let damage = Damage {
        at,
        kind: DamageKind::Checksum,
    };
    assert_eq!(repository.damages().unwrap(), [damage]);
    let mut expected = second;
    expected.remove(&victim);
    assert_eq!(objects(&repository), expected);
    assert!(matches!(repository.begin(), Err(Error::CheckNeeded { .. })));
}

#[test]
fn an_index_without_any_commit_needs_a_check() {
    let (scratch, ..) = two_transactions();
    fs::remove_dir_all(scratch.path().join("data")).unwrap();
    fs::create_dir(scratch.path().join("data")).unwrap();
    let repository = scratch.writer();
    assert!(matches!(repository.ids(), Err(Error::CheckNeeded { .. })));
    assert!(matches!(repository.begin(), Err(Error::CheckNeeded { .. })));
}

#[test]
fn an_object_that_is_not_where_the_index_says_is_damage() {
    let (scratch, _, second) = two_transactions();
    let repository = scratch.writer();
    let there = repository.location(&id(50)).unwrap().unwrap();
    if let Some(loaded) = write(&repository.loaded).as_mut() {
        loaded.index.insert(&id(3), [there.segment, there.offset]);
        loaded
            .index
            .insert(&id(4), [there.segment, there.offset + 1]);
        loaded.index.insert(&id(5), [9999, 8]);
        loaded.index.insert(&id(6), [there.segment, u32::MAX]);
    }
    for number in 3..7 {
        let result = repository.get(&id(number));
        assert!(matches!(result, Err(Error::Damaged(_))), "{number}");
    }
    assert_eq!(repository.get(&id(50)).unwrap(), second[&id(50)]);
}

#[test]
fn entries_inside_a_damaged_object_are_not_taken_for_entries() {
    let scratch = Scratch::with(|_| {});
    // Someone has backed up a repository, unencrypted.
    let mut inner = vec![0; 41];
    inner.extend_from_slice(b"an entry of another repository");
    frame_put(&mut inner, &id(66));
    let mut data = content(1, 200);
    data.extend_from_slice(&inner);
    data.extend_from_slice(&COMMIT);
    let objects = BTreeMap::from([(id(1), data), (id(2), content(2, 100))]);
    let commit = scratch.store(&objects);
    let path = scratch.segment(0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[60] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(scratch.path().join(format!("index.{commit}"))).unwrap();
    let repository = scratch.reader();
    assert_eq!(repository.ids().unwrap(), [id(2)]);
    assert_eq!(repository.get(&id(2)).unwrap(), content(2, 100));
}
