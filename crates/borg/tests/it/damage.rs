//! Damage of every kind to every kind of object: it is found, named, and mended as far as it can
//! be.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use borg::{
    Access, CheckReport, Checker, Encryption, Home, Host, Hurt, OpenOptions, Passphrase, Trust,
};
use jiff::Timestamp;
use testkit::Random;

use crate::workshop::{PASSPHRASE, Workshop, hour};

impl Workshop {
    fn check(&self) -> CheckReport {
        let mut checker = self.checker(Access::Read, Trust::default()).unwrap();
        checker
            .check(true, &mut |_| ControlFlow::Continue(()))
            .unwrap()
    }

    fn repair(&self, now: Timestamp) -> borg::RepairReport {
        let mut checker = self.checker(Access::Write, Trust::default()).unwrap();
        let found = checker
            .check(true, &mut |_| ControlFlow::Continue(()))
            .unwrap();
        let repaired = checker.repair(&found, &Host::this_machine(), now).unwrap();
        drop(checker);
        let again = self.check();
        assert!(
            again.repository.is_good() && again.bad_objects.is_empty(),
            "{again:?}"
        );
        let only_zeros = |hurt: &borg::HurtArchive| match &hurt.hurt {
            Hurt::Parts {
                lost_lists: 0,
                gaps: 0,
                files,
            } => files.iter().all(|file| file.missing == 0),
            _ => false,
        };
        assert!(again.hurt.iter().all(only_zeros), "{again:?}");
        repaired
    }

    /// Deletes objects as damage does: nobody is told.
    fn lose(&self, ids: &[borg::Id]) {
        let archives = self.open();
        let changes = archives.backend().begin().unwrap();
        for id in ids {
            changes.delete(id).unwrap();
        }
        changes.commit(hour(100)).unwrap();
    }
}

/// Three snapshots of two files, one of which is always another.
fn three_snapshots(shop: &Workshop) -> tempfile::TempDir {
    snapshots(shop, 3)
}

fn snapshots(shop: &Workshop, count: u8) -> tempfile::TempDir {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("same"), vec![b's'; 70_000]).unwrap();
    for number in 0..count {
        fs::write(source.path().join("other"), vec![number; 60_000]).unwrap();
        shop.back_up(
            &format!("a-{number}"),
            source.path(),
            hour(1 + i64::from(number)),
        );
    }
    source
}

fn chunks_of(shop: &Workshop, archive: &str, name: &str) -> Vec<borg::Id> {
    let archives = shop.open();
    let archive = archives.archive(archive.as_bytes()).unwrap();
    let mut chunks = Vec::new();
    archives
        .items(&archive, |item| {
            if item.path.ends_with(name.as_bytes()) {
                chunks.extend(item.chunks.into_iter().flatten().map(|chunk| chunk.id));
            }
            Ok(())
        })
        .unwrap();
    assert!(!chunks.is_empty());
    chunks
}

#[test]
fn a_whole_repository_has_nothing_to_report_and_a_repair_leaves_it_alone() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let _source = three_snapshots(&shop);
    let report = shop.check();
    assert!(report.is_good() && report.orphans.is_empty(), "{report:?}");
    assert_eq!(report.archive_count, 3);
    assert!(report.verified_count >= 8, "{report:?}");
    let before = shop.open().backend().local().unwrap().transaction();
    shop.repair(hour(50));
    let after = shop.open().backend().local().unwrap().transaction();
    assert_eq!(before, after, "nothing was written");
}

#[test]
fn missing_content_is_named_replaced_by_zeros_and_healed_when_it_reappears() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let source = three_snapshots(&shop);
    let lost = chunks_of(&shop, "a-1", "other");
    shop.lose(&lost);
    let report = shop.check();
    let [hurt] = report.hurt.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(hurt.name, "a-1");
    let Hurt::Parts { files, .. } = &hurt.hurt else {
        panic!("{report:?}");
    };
    assert_eq!(files.len(), 1);
    assert!(files[0].path.ends_with(b"/other"));
    assert_eq!((files[0].missing, files[0].missing_bytes), (1, 60_000));

    let repaired = shop.repair(hour(101));
    assert_eq!((repaired.mended_archives, repaired.zeroed_files), (1, 1));
    shop.judge();
    let health = [
        "list",
        "--format",
        "{health} {path}{NL}",
        &shop.archive("a-1"),
    ];
    let listed = shop.stock.run(health);
    assert!(
        listed
            .lines()
            .any(|line| line.starts_with("broken ") && line.ends_with("/other")),
        "{listed}"
    );

    // The content is backed up again, and the snapshot is whole again.
    fs::write(source.path().join("other"), vec![1; 60_000]).unwrap();
    shop.back_up("a-3", source.path(), hour(102));
    let repaired = shop.repair(hour(103));
    assert_eq!((repaired.mended_archives, repaired.healed_files), (1, 1));
    assert!(shop.check().is_good());
    shop.judge();
}

#[test]
fn a_lost_list_of_files_costs_its_snapshot_and_no_other() {
    let Some(shop) = Workshop::new(Encryption::Repokey) else {
        return;
    };
    let _source = three_snapshots(&shop);
    let items = shop.open().archive(b"a-1").unwrap().items;
    shop.lose(&items);
    let report = shop.check();
    assert_eq!(report.hurt.len(), 1);
    assert!(
        matches!(report.hurt[0].hurt, Hurt::Parts { lost_lists: 1, .. }),
        "{report:?}"
    );
    assert!(!report.orphans_are_certain);
    let repaired = shop.repair(hour(101));
    assert_eq!(
        repaired.deleted_orphans, 0,
        "what the lost list used may be needed again"
    );
    // By now it is certain that nothing uses it.
    let repaired = shop.repair(hour(102));
    assert!(repaired.deleted_orphans > 0);
    shop.judge();
    assert_eq!(shop.open().list().len(), 3);
}

#[test]
fn a_backup_goes_on_beside_a_damaged_snapshot_when_the_cache_is_lost() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let source = three_snapshots(&shop);
    let items = shop.open().archive(b"a-1").unwrap().items;
    let lost = chunks_of(&shop, "a-2", "same");
    shop.lose(&items);
    shop.lose(&lost);
    fs::remove_dir_all(shop.home().cache_of(&shop.open().backend().id())).unwrap();
    shop.back_up("a-3", source.path(), hour(101));
    // What "a-1" uses is not known, so what only "a-0" is known to use stays.
    let host = Host::this_machine();
    let deleted = shop
        .open()
        .delete_archives(&["a-0".into()], &host, hour(102));
    assert_eq!(deleted.unwrap().chunks, 0);
    // The new snapshot is whole, and has brought back what the others had lost.
    let report = shop.check();
    let hurt: Vec<_> = report
        .hurt
        .iter()
        .map(|hurt| hurt.name.to_string())
        .collect();
    assert_eq!(hurt, ["a-1"], "{report:?}");
    shop.repair(hour(103));
    shop.repair(hour(104));
    shop.judge();
    let deleted = shop
        .open()
        .delete_archives(&["a-2".into()], &host, hour(105));
    assert!(deleted.unwrap().chunks > 0, "a repair counts anew");
    shop.judge();
}

#[test]
fn a_lost_archive_object_is_reported_and_goes() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let _source = three_snapshots(&shop);
    let id = shop.open().list()[1].1.id;
    shop.lose(&[id]);
    let report = shop.check();
    assert!(
        matches!(report.hurt[0].hurt, Hurt::Lost { .. }),
        "{report:?}"
    );
    assert_eq!(shop.repair(hour(101)).removed_archives, 1);
    assert_eq!(shop.open().list().len(), 2);
    shop.repair(hour(102));
    shop.judge();
}

#[test]
fn a_lost_manifest_is_made_anew_from_the_archives() {
    for encryption in [Encryption::RepokeyBlake2, Encryption::None] {
        let Some(shop) = Workshop::new(encryption) else {
            return;
        };
        let _source = three_snapshots(&shop);
        shop.lose(&[borg::Id::MANIFEST]);
        assert!(shop.try_open(Access::Read).is_err());
        let report = shop.check();
        assert!(matches!(report.manifest, borg::ManifestState::Lost { .. }));
        assert_eq!(report.archive_count, 3);
        assert!(shop.repair(hour(101)).manifest_rebuilt);
        let archives = shop.open();
        let names: Vec<_> = archives
            .list()
            .iter()
            .map(|(name, _)| name.to_vec())
            .collect();
        assert_eq!(names, [b"a-0", b"a-1", b"a-2"]);
        drop(archives);
        shop.judge();
    }
}

#[test]
fn an_archive_that_is_not_authenticated_is_named_and_left_alone() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let _source = three_snapshots(&shop);
    // What the stock program does here with an archive from before its version 1.2.5.
    shop.stock.run_python(
        "
import sys
from borg.logger import setup_logging
setup_logging()
from borg.repository import Repository
from borg.helpers import Manifest
from borg.helpers.msgpack import packb, unpackb
with Repository(sys.argv[1], exclusive=True) as repository:
    manifest, key = Manifest.load(repository, Manifest.NO_OPERATION_CHECK)
    info = manifest.archives['a-1']
    archive = unpackb(key.decrypt(info.id, repository.get(info.id)))
    archive.pop('tam', None) or archive.pop(b'tam', None)
    data = packb(archive)
    id = key.id_hash(data)
    repository.put(id, key.encrypt(data))
    repository.delete(info.id)
    manifest.archives['a-1'] = (id, info.ts)
    manifest.write()
    repository.commit(compact=False)
",
        [shop.location()],
    );
    let report = shop.check();
    assert_eq!(report.hurt.len(), 1, "{report:?}");
    assert_eq!(report.hurt[0].hurt, Hurt::NotAuthenticated);
    let mut checker = shop.checker(Access::Write, Trust::default()).unwrap();
    let found = checker
        .check(false, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    checker
        .repair(&found, &Host::this_machine(), hour(101))
        .unwrap();
    drop(checker);
    assert_eq!(shop.open().list().len(), 3);
}

#[test]
fn a_wrong_passphrase_is_no_damage() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let _source = three_snapshots(&shop);
    for lose_manifest in [false, true] {
        if lose_manifest {
            shop.lose(&[borg::Id::MANIFEST]);
        }
        let result = Checker::open(
            &shop.repository,
            &shop.home(),
            &OpenOptions::new(Access::Read, &Host::this_machine()),
            &Passphrase::new("another"),
            Trust::default(),
        );
        assert!(
            matches!(
                result,
                Err(borg::Error::Key(borg::KeyError::WrongPassphrase))
            ),
            "{result:?}"
        );
    }
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(files_below(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(file, target).unwrap();
    }
}

/// What can happen to a file.
const DAMAGES: [&str; 6] = [
    "flip",
    "truncate",
    "remove",
    "empty",
    "zero the end",
    "append",
];

fn damage(file: &Path, damage: &str, random: &mut Random) {
    let mut bytes = fs::read(file).unwrap();
    let length = bytes.len();
    match damage {
        "flip" => bytes[random.index(length)] ^= 1 << random.below(8),
        "truncate" => bytes.truncate(length - 1 - random.index(length.min(40) - 1)),
        "empty" => bytes.clear(),
        "zero the end" => bytes[length - length.min(20)..].fill(0),
        "append" => bytes.extend_from_slice(&random.noise(30)),
        _ => return fs::remove_file(file).unwrap(),
    }
    fs::write(file, &bytes).unwrap();
}

/// Opens the damaged repository of `case`, which has its own memory of what was, and repairs it.
/// Says what is not as it should be.
fn find_and_repair(case: &Path) -> Result<(), String> {
    let home = Home::from_environment(&case.join("base"), |_| None);
    let host = Host::this_machine();
    let open = |replayed| {
        Checker::open(
            &case.join("repository"),
            &home,
            &OpenOptions::new(Access::Write, &host),
            &Passphrase::new(PASSPHRASE),
            Trust {
                // The memory is that of another place.
                relocated: true,
                replayed,
                ..Trust::default()
            },
        )
    };
    let is_there = |checker: &Checker| {
        let list = checker.archives().list();
        list.iter().any(|(name, _)| *name == b"a-1")
    };
    let (opened, is_replay) = match open(false) {
        // An older state: not shown without a word, and not repaired without one.
        Err(borg::Error::Replayed { .. }) => (open(true), true),
        opened => (opened, false),
    };
    let mut checker = opened.map_err(|error| format!("{error:?}"))?;
    let mut is_first = true;
    // What nothing uses goes with the second repair, when it is certain that it is lost.
    for now in [hour(200), hour(201)] {
        let was_there = is_there(&checker);
        let report = checker
            .check(true, &mut |_| ControlFlow::Continue(()))
            .map_err(|error| format!("{error:?}"))?;
        let is_said = is_replay || report.manifest != borg::ManifestState::Good;
        if is_first && !was_there && !is_said {
            return Err("the newest snapshot has vanished".into());
        }
        is_first = false;
        let repaired = checker.repair(&report, &host, now);
        repaired.map_err(|error| format!("{error:?} {report:?}"))?;
    }
    Ok(())
}

/// The file that holds the key: whatever happens to it is told as what it is, nothing else of the
/// repository is touched, and a copy of the key brings everything back.
#[test]
fn a_damaged_key_is_told_and_its_copy_brings_everything_back() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let seed = 7_002;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let _source = snapshots(&shop, 2);
    let host = Host::this_machine();
    let copy = borg::export_key(&shop.repository, &shop.home(), &host, borg::KeyForm::File);
    let copy = copy.unwrap();
    let config = shop.repository.join("config");
    let whole = fs::read(&config).unwrap();
    let key = String::from_utf8(whole.clone()).unwrap().find("key = ");
    let key = key.unwrap() + "key = ".len();
    let all_but_config = || -> Vec<(PathBuf, Vec<u8>)> {
        let files = files_below(&shop.repository).into_iter();
        let others = files.filter(|file| *file != config && !file.ends_with("lock.roster"));
        others
            .map(|file| (file.clone(), fs::read(&file).unwrap()))
            .collect()
    };
    let before = all_but_config();
    let mut mended = 0;
    for round in 0..60 {
        let kind = match round {
            0..40 => "flip",
            40..50 => "truncate",
            _ => DAMAGES[2 + round % 4],
        };
        fs::write(&config, &whole).unwrap();
        damage(&config, kind, &mut random);
        let damaged = fs::read(&config).unwrap_or_default();
        let same = whole.iter().zip(&damaged).take_while(|(a, b)| a == b);
        let at = same.count();
        let case = format!("{kind} at {at} of {}", whole.len());
        match shop.try_open(Access::Read) {
            // What was hit says nothing, or something else that is allowed.
            Ok(archives) => assert_eq!(archives.list().len(), 2, "{case}"),
            Err(borg::Error::Key(_)) if at >= key => {
                let passphrase = Passphrase::new(PASSPHRASE);
                let home = shop.home();
                borg::import_key(&shop.repository, &home, &host, &copy, &passphrase)
                    .unwrap_or_else(|error| panic!("{case}: {error}"));
                assert_eq!(shop.open().list().len(), 2, "{case}");
                shop.stock.run(["list", shop.location()]);
                mended += 1;
            }
            Err(error) => {
                let is_told = matches!(
                    error,
                    borg::Error::Config { .. }
                        | borg::Error::NotARepository { .. }
                        | borg::Error::Version { .. }
                        | borg::Error::Key(_)
                );
                assert!(is_told, "{case}: {error:?}");
            }
        }
        assert!(all_but_config() == before, "{case}: something else changed");
    }
    assert!(mended > 20, "{mended}");
}

/// Every file of a repository × what can happen to it: the newest snapshot never vanishes without
/// a word, and after the repair the stock program finds nothing wrong.
#[test]
fn no_damage_to_any_file_makes_the_newest_snapshot_vanish_in_silence() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let seed = 7_001;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let _source = snapshots(&shop, 2);
    let mut cases = Vec::new();
    for file in files_below(&shop.repository) {
        let name = file.strip_prefix(&shop.repository).unwrap();
        // Without it this is no repository, and both programs say so.
        if name == Path::new("config") || name == Path::new("README") {
            continue;
        }
        for kind in DAMAGES {
            let case = shop.scratch.path().join(format!("case-{}", cases.len()));
            copy(&shop.repository, &case.join("repository"));
            copy(shop.stock.base_dir(), &case.join("base"));
            damage(&case.join("repository").join(name), kind, &mut random);
            cases.push((format!("{kind} {}", name.display()), case));
        }
    }
    assert!(cases.len() > 60, "{}", cases.len());
    let (even, odd) = cases.split_at(cases.len() / 2);
    let examine = |cases: &[(String, PathBuf)]| -> Vec<String> {
        let failed = |(what, case): &(String, PathBuf)| {
            let error = find_and_repair(case).err()?;
            Some(format!("{what}: {error}"))
        };
        cases.iter().filter_map(failed).collect()
    };
    let failures = std::thread::scope(|scope| {
        let other = scope.spawn(|| examine(odd));
        let mut failures = examine(even);
        failures.extend(other.join().unwrap());
        failures
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    // One process for all of them: the stock program takes longer to start than to check.
    let judged = shop.stock.run_python(
        "
import sys
from borg.archiver import Archiver
for path in sys.argv[1:]:
    archiver = Archiver()
    try:
        print(archiver.run(archiver.parse_args(['check', '--verify-data', path])))
    except Exception as error:
        print(repr(error))
",
        cases.iter().map(|(_, case)| case.join("repository")),
    );
    let codes: Vec<_> = judged.lines().collect();
    assert_eq!(codes.len(), cases.len(), "{judged}");
    for ((what, case), code) in cases.iter().zip(codes) {
        if code != "0" {
            let path = case.join("repository");
            let output = shop.stock.output(["check".as_ref(), path.as_os_str()]);
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("{what}: {code}: {said}");
        }
    }
}
