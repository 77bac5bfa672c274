use std::os::unix::fs::PermissionsExt;

use super::super::entry::{COMMIT, ENTRY_SIZE_MAX, HEADER_SIZE, MAGIC};
use super::*;

#[test]
fn what_was_committed_is_there_for_the_next_who_opens() {
    let scratch = Scratch::new();
    assert_eq!(scratch.reader().transaction(), None);
    assert!(scratch.reader().is_empty().unwrap());
    let mut expected = some_objects(1);
    let first = scratch.store(&expected);
    assert_eq!(objects(&scratch.reader()), expected);
    let more = BTreeMap::from([(id(200), content(9, 5)), (id(3), content(9, 7))]);
    let second = scratch.store(&more);
    expected.extend(more);
    let repository = scratch.reader();
    assert_eq!(objects(&repository), expected);
    assert!(second > first);
    assert_eq!(repository.transaction(), Some(second));
    assert_eq!(repository.tail(), Tail::Clean);
    assert_eq!(repository.id(), Id([7; 32]));
    let missing = repository.get(&id(99));
    assert!(matches!(missing, Err(Error::ObjectNotFound { id }) if id == self::id(99)));
}

#[test]
fn a_commit_makes_the_files_that_the_stock_program_makes() {
    let scratch = Scratch::with(|_| {});
    scratch.store(&BTreeMap::from([(Id::MANIFEST, vec![0; 10])]));
    assert_eq!(scratch.segments(), [(0, 59), (1, 17)]);
    let objects = [(id(1), vec![0; 5]), (id(2), vec![0; 6])];
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    for (id, data) in &objects {
        transaction.put(id, data).unwrap();
    }
    transaction.put(&Id::MANIFEST, &[0; 20]).unwrap();
    assert_eq!(transaction.commit(NOW).unwrap(), 5);
    // Data; the DELETE of the old manifest; the new manifest; the commit.
    let expected = [(0, 59), (1, 17), (2, 101), (3, 49), (4, 69), (5, 17)];
    assert_eq!(sizes(&repository), expected);
    let names = [
        "README",
        "config",
        "data",
        "hints.5",
        "index.5",
        "integrity.5",
    ];
    drop(repository);
    assert_eq!(scratch.names(), names);
}

#[test]
fn a_segment_ends_when_it_is_larger_than_its_limit() {
    let scratch = Scratch::with(|options| options.max_segment_size = 100);
    let objects: Objects = (1..4)
        .map(|number| (id(number), vec![number; 10]))
        .collect();
    scratch.store(&objects);
    // 8 + 2 × 51 is more than 100.
    assert_eq!(scratch.segments(), [(0, 110), (1, 59), (2, 17)]);
}

#[test]
fn a_transaction_that_is_dropped_leaves_nothing() {
    let scratch = Scratch::new();
    let expected = some_objects(1);
    scratch.store(&expected);
    let before = scratch.segments();
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    for number in 0..90 {
        transaction.put(&id(number), &content(number, 400)).unwrap();
    }
    assert!(sizes(&repository).len() > before.len());
    assert_eq!(repository.get(&id(5)).unwrap(), content(5, 400));
    drop(transaction);
    assert_eq!(sizes(&repository), before);
    assert_eq!(objects(&repository), expected);
    // And the next one is not disturbed.
    let transaction = repository.begin().unwrap();
    transaction.put(&id(77), b"x").unwrap();
    transaction.commit(NOW).unwrap();
    assert_eq!(repository.get(&id(77)).unwrap(), b"x");
}

#[test]
fn readers_see_what_the_transaction_has_written() {
    let scratch = Scratch::new();
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let repository = &repository;
            scope.spawn(move || {
                for round in 0..2000 {
                    let number = u8::try_from((round + reader) % 50).unwrap();
                    match repository.get(&id(number)) {
                        Ok(data) => assert_eq!(data, content(number, 300)),
                        Err(error) => assert!(matches!(error, Error::ObjectNotFound { .. })),
                    }
                }
            });
        }
        for _ in 0..20 {
            for number in 0..50 {
                transaction.put(&id(number), &content(number, 300)).unwrap();
            }
        }
    });
    transaction.commit(NOW).unwrap();
    assert_eq!(repository.len().unwrap(), 50);
}

#[test]
fn only_one_transaction_at_a_time_and_only_for_writers() {
    let scratch = Scratch::new();
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    assert!(matches!(repository.begin(), Err(Error::TransactionOpen)));
    drop(transaction);
    drop(repository.begin().unwrap());
    drop(repository);
    for access in [Access::Read, Access::NoLock] {
        let result = scratch.open(access).unwrap().begin().map(drop);
        assert!(matches!(result, Err(Error::ReadOnly { .. })));
    }
}

#[test]
fn who_has_lost_the_lock_does_not_commit() {
    let scratch = Scratch::new();
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    transaction.put(&id(1), b"x").unwrap();
    Repository::break_lock(&scratch.path()).unwrap();
    let result = transaction.commit(NOW);
    assert!(matches!(result, Err(Error::LockLost { .. })));
    assert!(matches!(repository.begin(), Err(Error::LockLost { .. })));
    drop(repository);
    assert_eq!(scratch.reader().transaction(), None);
}

#[test]
fn content_that_looks_like_a_commit_does_not_commit() {
    let scratch = Scratch::new();
    let expected = some_objects(1);
    let committed = scratch.store(&expected);
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    let mut data = content(1, 500);
    data.extend_from_slice(&COMMIT);
    transaction.put(&id(100), &data).unwrap();
    repository.get(&id(100)).unwrap();
    std::mem::forget(transaction);
    drop(repository);
    let repository = scratch.reader();
    assert_eq!(repository.transaction(), Some(committed));
    let unfinished = Tail::Unfinished {
        segment_count: 1,
        has_manifest: false,
    };
    assert_eq!(repository.tail(), unfinished);
    assert_eq!(objects(&repository), expected);
    drop(repository);
    drop(scratch.writer().begin().unwrap());
    assert_eq!(scratch.reader().tail(), Tail::Clean);
}

#[test]
fn an_empty_segment_counts_as_not_there() {
    let scratch = Scratch::new();
    let expected = some_objects(1);
    let committed = scratch.store(&expected);
    let repository = scratch.writer();
    for segment in [committed + 1, committed + 4] {
        repository.segments.create(segment).unwrap();
    }
    drop(repository);
    assert_eq!(scratch.reader().transaction(), Some(committed));
    assert_eq!(objects(&scratch.reader()), expected);
    scratch.store(&BTreeMap::from([(id(50), vec![5])]));
    assert_eq!(scratch.reader().len().unwrap(), expected.len() + 1);
}

#[test]
fn the_quota_counts_superseded_objects_and_dooms_the_transaction() {
    let scratch = Scratch::with(|options| options.storage_quota = 1000);
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    transaction.put(&id(1), &[0; 400]).unwrap();
    transaction.put(&id(1), &[1; 400]).unwrap();
    assert_eq!(transaction.quota_used(), 882);
    let result = transaction.put(&id(1), &[2; 78]);
    assert!(matches!(
        result,
        Err(Error::QuotaExceeded {
            quota: 1000,
            used: 1001
        })
    ));
    assert!(matches!(transaction.put(&id(2), b""), Err(Error::Doomed)));
    assert!(matches!(transaction.commit(NOW), Err(Error::Doomed)));
    assert!(repository.is_empty().unwrap());
    assert_eq!(sizes(&repository), []);
    drop(repository);
    let mut options = OpenOptions::new(Access::Write, &Host::named("nas@17"));
    options.storage_quota = Some(0);
    let repository = Repository::open(&scratch.path(), &options).unwrap();
    repository.begin().unwrap().put(&id(1), &[0; 2000]).unwrap();
}

#[test]
fn space_is_kept_free_to_go_on_later() {
    let scratch = Scratch::with(|options| options.additional_free_space = 1 << 62);
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    transaction.put(&id(1), b"x").unwrap();
    assert!(matches!(
        transaction.commit(NOW),
        Err(Error::NoSpace { .. })
    ));
    assert_eq!(sizes(&repository), []);
}

#[test]
fn an_append_only_repository_lists_its_transactions_and_is_not_destroyed() {
    let scratch = Scratch::with(|options| options.append_only = true);
    scratch.store(&some_objects(1));
    scratch.store(&some_objects(2));
    let log = fs::read_to_string(scratch.path().join("transactions")).unwrap();
    let transactions: Vec<_> = log.lines().collect();
    assert_eq!(transactions.len(), 2);
    assert_eq!(
        transactions[0],
        "transaction 1, UTC time 2023-11-14T22:13:20.123000"
    );
    let result = scratch.writer().destroy();
    assert!(matches!(result, Err(Error::AppendOnly { .. })));
}

#[test]
fn a_repository_is_destroyed_whole() {
    let scratch = Scratch::new();
    scratch.store(&some_objects(1));
    assert!(matches!(
        scratch.reader().destroy(),
        Err(Error::ReadOnly { .. })
    ));
    scratch.writer().destroy().unwrap();
    let result = scratch.open(Access::Read).map(drop);
    assert!(matches!(result, Err(Error::DoesNotExist { .. })));
}

#[test]
fn what_is_no_entry_or_too_large_is_refused_and_harms_nothing() {
    let scratch = Scratch::with(|_| {});
    let repository = scratch.writer();
    let transaction = repository.begin().unwrap();
    let largest = vec![1; OBJECT_SIZE_MAX];
    transaction.put(&id(1), &largest).unwrap();
    for size in [OBJECT_SIZE_MAX + 1, 2 * OBJECT_SIZE_MAX] {
        let result = transaction.put(&id(2), &vec![1; size]);
        assert!(matches!(result, Err(Error::ObjectTooLarge { .. })));
        let result = transaction.put_framed(&vec![0; size + 41]);
        assert!(matches!(result, Err(Error::ObjectTooLarge { .. })));
    }
    let mut framed = vec![0; 50];
    frame_put(&mut framed, &id(3));
    for bad in [&framed[..49], &framed[..9], b"", &[0; 50]] {
        assert!(matches!(transaction.put_framed(bad), Err(Error::NotFramed)));
    }
    transaction.put_framed(&framed).unwrap();
    transaction.commit(NOW).unwrap();
    assert_eq!(repository.get(&id(1)).unwrap(), largest);
    assert_eq!(repository.get(&id(3)).unwrap(), [0; 9]);
}

#[test]
fn a_wrong_guess_of_the_size_does_not_matter() {
    let scratch = Scratch::with(|_| {});
    let sizes = [0, 1, 1000, 16_343, 16_344, 100_000];
    let expected: Objects = sizes
        .iter()
        .zip(0..)
        .map(|(&size, number)| (id(number), content(number, size)))
        .collect();
    scratch.store(&expected);
    let repository = scratch.reader();
    let mut buffer = crate::Buffer::new();
    for (id, data) in &expected {
        for guess in [0, 1, data.len(), data.len() + 1, ENTRY_SIZE_MAX, usize::MAX] {
            let place = repository.append(id, Some(guess), &mut buffer).unwrap();
            assert_eq!(&buffer[place], data);
        }
    }
}

#[test]
fn objects_are_listed_in_the_order_of_the_disk() {
    let scratch = Scratch::new();
    scratch.store(&some_objects(1));
    let repository = scratch.reader();
    let ids = repository.ids_by_position().unwrap();
    assert!(ids.is_sorted());
    assert_eq!(ids.len(), repository.len().unwrap());
    for (at, id) in ids {
        assert_eq!(repository.location(&id).unwrap(), Some(at));
    }
}

#[test]
fn every_entry_of_the_log_can_be_visited() {
    let scratch = Scratch::new();
    scratch.store(&BTreeMap::from([(id(1), b"old".to_vec())]));
    scratch.store(&BTreeMap::from([(id(1), b"new".to_vec())]));
    let mut entries = Vec::new();
    let damages = scratch.reader().visit_log(|entry| {
        entries.push((entry.tag, entry.data));
        Ok(())
    });
    assert_eq!(damages.unwrap(), []);
    let expected = [
        (Tag::Put, b"old".to_vec()),
        (Tag::Commit, Vec::new()),
        (Tag::Delete, Vec::new()),
        (Tag::Put, b"new".to_vec()),
        (Tag::Commit, Vec::new()),
    ];
    assert_eq!(entries, expected);
}

#[test]
fn counter_values_are_reserved_once() {
    let scratch = Scratch::new();
    let repository = scratch.writer();
    assert_eq!(repository.get_free_nonce().unwrap(), None);
    repository.commit_nonce_reservation(0x1000, None).unwrap();
    let result = repository.commit_nonce_reservation(0x2000, None);
    assert!(matches!(result, Err(Error::NonceConflict)));
    repository
        .commit_nonce_reservation(0x2000, Some(0x1000))
        .unwrap();
    let path = scratch.path().join("nonce");
    assert_eq!(fs::read_to_string(&path).unwrap(), "0000000000002000");
    drop(repository);
    let result = scratch
        .reader()
        .commit_nonce_reservation(0x3000, Some(0x2000));
    assert!(matches!(result, Err(Error::ReadOnly { .. })));
    for garbled in [
        "",
        "2000",
        "+000000000002000",
        "000000000000200g",
        "0000000000002000 x",
    ] {
        fs::write(&path, garbled).unwrap();
        let result = scratch.reader().get_free_nonce();
        assert!(
            matches!(result, Err(Error::NonceGarbled { .. })),
            "{garbled}"
        );
    }
    fs::write(&path, "00000000000000ff\n").unwrap();
    assert_eq!(scratch.reader().get_free_nonce().unwrap(), Some(0xff));
}

#[test]
fn the_key_and_other_values_are_kept_in_the_configuration() {
    let scratch = Scratch::new();
    let blob = "aGVsbG8=\nd29ybGQ=\n";
    let repository = scratch.writer();
    assert_eq!(repository.load_key(), None);
    repository.save_key(blob).unwrap();
    assert!(repository.set_config("id", Some("x")).is_err());
    drop(repository);
    assert_eq!(scratch.reader().load_key().unwrap(), blob.trim_end());
    assert_eq!(scratch.names(), ["README", "config", "data"]);
}

#[test]
fn a_repository_is_made_only_where_nothing_is() {
    let scratch = Scratch::new();
    let create = |path: &Path| Repository::create(path, &RepositoryOptions::new([1; 32]));
    let here = scratch.directory.path();
    assert!(matches!(
        create(&scratch.path()),
        Err(Error::AlreadyExists { .. })
    ));
    let below = scratch.path().join("data/x");
    assert!(matches!(create(&below), Err(Error::BelowAnother { .. })));
    assert!(matches!(create(here), Err(Error::PathOccupied { .. })));
    fs::write(here.join("file"), "").unwrap();
    assert!(matches!(
        create(&here.join("file")),
        Err(Error::PathOccupied { .. })
    ));
    let deep = here.join("a/b/c");
    assert!(matches!(create(&deep), Err(Error::ParentMissing { .. })));
    let mut options = RepositoryOptions::new([1; 32]);
    options.make_parents = true;
    Repository::create(&deep, &options).unwrap();
    fs::create_dir(here.join("empty")).unwrap();
    create(&here.join("empty")).unwrap();
}

#[test]
fn nobody_else_may_read_what_is_stored() {
    let scratch = Scratch::new();
    scratch.store(&some_objects(1));
    let mut directories = vec![scratch.path()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let mode = metadata.permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", entry.path().display());
            if metadata.is_dir() {
                assert_eq!(mode & 0o700, 0o700);
                directories.push(entry.path());
            }
        }
    }
}

#[test]
fn what_is_no_repository_is_not_opened_and_not_touched() {
    let scratch = Scratch::new();
    let here = scratch.directory.path();
    let open = |path: &Path| open(path, Access::Read).map(drop);
    assert!(matches!(
        open(&here.join("x")),
        Err(Error::DoesNotExist { .. })
    ));
    assert!(matches!(open(here), Err(Error::NotARepository { .. })));
    assert_eq!(fs::read_dir(here).unwrap().count(), 1);
    let file = scratch.path().join("README");
    assert!(matches!(open(&file), Err(Error::NotARepository { .. })));
    scratch.store(&some_objects(1));
    let (last, _) = scratch.segments().pop().unwrap();
    let last = format!("data/{}/{last}", last / 3);
    scratch.edit(&last, |bytes| bytes[..8].copy_from_slice(b"ATTICSEG"));
    assert!(matches!(open(&scratch.path()), Err(Error::Version { .. })));
    scratch.edit(&last, |bytes| bytes[..8].copy_from_slice(MAGIC));
    // A wrong number of segments a folder must not make it look empty.
    scratch.edit("config", |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("per_dir = 3", "per_dir = 2").into_bytes();
    });
    assert!(matches!(open(&scratch.path()), Err(Error::Config { .. })));
}

#[test]
fn a_commit_entry_has_the_size_of_a_header() {
    assert_eq!(COMMIT.len(), HEADER_SIZE);
}
