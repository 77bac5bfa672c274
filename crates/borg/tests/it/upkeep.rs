//! Archives come and go, and the stock program agrees at every step.

use std::fs;
use std::ops::ControlFlow;

use borg::{Compaction, Encryption, Host, Keep, Period, keep};
use jiff::tz::TimeZone;
use testkit::{Ignore, Random, Tree, assert_same};

use crate::workshop::{Workshop, at, hour};

fn host() -> Host {
    Host::this_machine()
}

#[test]
fn pruning_keeps_what_the_stock_program_would_keep() {
    let Some(shop) = Workshop::new(Encryption::None) else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    let seed = 20_261_125;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    // Around both changes of the clock, the ends of years and weeks; dense and sparse.
    let mut time = at("2024-12-20T00:00:00Z");
    for number in 0..60 {
        let gap = *random.choose(&[1, 600, 3000, 40_000, 90_000, 700_000, 3_000_000]);
        let seconds = 1 + random.below(gap);
        let passed = jiff::SignedDuration::from_secs(i64::try_from(seconds).unwrap());
        time = time.checked_add(passed).unwrap();
        let name = match number % 9 {
            4 => format!("a-{number}.checkpoint"),
            _ => format!("a-{number}"),
        };
        shop.back_up(&name, source.path(), time);
    }
    for (zone, rules) in [
        ("UTC", vec![("--keep-daily", Period::Day, Some(7))]),
        (
            "Europe/Berlin",
            vec![
                ("--keep-hourly", Period::Hour, Some(5)),
                ("--keep-daily", Period::Day, Some(4)),
                ("--keep-weekly", Period::Week, Some(4)),
                ("--keep-monthly", Period::Month, Some(30)),
            ],
        ),
        (
            "America/St_Johns",
            vec![
                ("--keep-secondly", Period::Second, Some(2)),
                ("--keep-minutely", Period::Minute, Some(3)),
                ("--keep-13weekly", Period::ThirteenWeeks, Some(3)),
                ("--keep-yearly", Period::Year, Some(2)),
            ],
        ),
        (
            "Pacific/Auckland",
            vec![("--keep-3monthly", Period::ThreeMonths, Some(5))],
        ),
        (
            "Asia/Kolkata",
            vec![
                ("--keep-weekly", Period::Week, None),
                ("--keep-yearly", Period::Year, Some(9)),
            ],
        ),
    ] {
        let archives = shop.open();
        let list: Vec<_> = archives
            .list()
            .into_iter()
            .map(|(name, entry)| (name, entry.time.instant()))
            .collect();
        let ours = keep(
            &list,
            &Keep {
                within: None,
                periods: rules.iter().map(|rule| (rule.1, rule.2)).collect(),
            },
            &TimeZone::get(zone).unwrap(),
            time,
        );
        let ours: Vec<String> = list
            .iter()
            .zip(ours)
            .filter(|(_, reason)| reason.is_none())
            .map(|((name, _), _)| String::from_utf8_lossy(name).into_owned())
            .collect();
        drop(archives);
        let mut arguments = vec!["prune".to_owned(), "--dry-run".into(), "--list".into()];
        for (flag, _, count) in &rules {
            let count = count.map_or("-1".to_owned(), |count| count.to_string());
            arguments.push(format!("{flag}={count}"));
        }
        arguments.push(shop.location().into());
        let output = shop.stock.with_env("TZ", zone).output(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let mut theirs: Vec<String> = said
            .lines()
            .filter_map(|line| line.strip_prefix("Would prune:"))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect();
        theirs.reverse();
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        assert_eq!(
            sorted(ours),
            sorted(theirs),
            "{zone}: {arguments:?}\n{said}"
        );
    }
}

#[test]
fn deleted_archives_are_gone_and_the_others_are_whole() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let tree = Tree::new(31).odd_names().links().holes();
    for number in 0..5 {
        fs::write(tree.path().join("changed"), vec![number; 100_000]).unwrap();
        fs::write(tree.path().join(format!("only-{number}")), [number; 50]).unwrap();
        shop.back_up(&format!("a-{number}"), tree.path(), hour(number.into()));
    }
    let before = shop.open().repository_info(&host()).unwrap();
    let names = ["a-1", "a-3", "a-0"].map(Into::into);
    let plan = shop.open().plan_delete(&names, &host()).unwrap();
    let deleted = shop
        .open()
        .delete_archives(&names, &host(), hour(10))
        .unwrap();
    assert_eq!((plan, deleted.archives), (deleted, 3));
    let after = shop.open().repository_info(&host()).unwrap();
    assert_eq!(after.unique_csize + deleted.csize, before.unique_csize);
    shop.judge();
    let compacted = shop
        .open()
        .compact(&Compaction::default(), hour(11))
        .unwrap();
    assert!(
        compacted.unwrap().freed > deleted.csize / 2,
        "{compacted:?} {deleted:?}"
    );
    shop.judge();
    let target = shop.scratch.path().join("target");
    fs::create_dir(&target).unwrap();
    shop.stock
        .run_in(&target, ["extract", "--numeric-ids", &shop.archive("a-4")]);
    let extracted = target.join(tree.path().strip_prefix("/").unwrap());
    assert_same(tree.path(), &extracted, &Ignore::default());
    // Our counts are exact: the stock program goes on with them, and nothing is left in the end.
    for name in ["a-2", "a-4"] {
        let output = shop
            .stock
            .output(["delete", "--verbose", &shop.archive(name)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("Synchronizing"), "{said}");
    }
    shop.judge();
    let archives = shop.open();
    assert_eq!(
        archives.backend().ids().unwrap().len(),
        1,
        "only the manifest"
    );
}

#[test]
fn a_damaged_archive_is_not_deleted_and_nothing_is_changed() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    for number in 0..2 {
        fs::write(source.path().join("file"), [number; 1000]).unwrap();
        shop.back_up(&format!("a-{number}"), source.path(), hour(number.into()));
    }
    let archives = shop.open();
    let items = archives.archive(b"a-0").unwrap().items;
    let transaction = archives.backend().begin().unwrap();
    transaction.delete(&items[0]).unwrap();
    transaction.commit(hour(5)).unwrap();
    drop(archives);
    let result = shop
        .open()
        .delete_archives(&["a-0".into(), "a-1".into()], &host(), hour(6));
    assert!(
        matches!(result, Err(borg::Error::ObjectNotFound { .. })),
        "{result:?}"
    );
    assert_eq!(shop.open().list().len(), 2);
    // The whole one can go.
    shop.open()
        .delete_archives(&["a-1".into()], &host(), hour(6))
        .unwrap();
}

#[test]
fn names_and_comments_change_as_the_stock_program_sees_them() {
    let Some(shop) = Workshop::new(Encryption::Repokey) else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    shop.back_up("one", source.path(), hour(1));
    shop.back_up("two", source.path(), hour(2));
    let mut archives = shop.open();
    let taken = archives.rename("one".into(), "two".into(), &host(), hour(3));
    assert!(matches!(taken, Err(borg::Error::ArchiveExists { .. })));
    archives
        .rename("one".into(), "eins".into(), &host(), hour(3))
        .unwrap();
    archives
        .set_comment("eins".into(), "the first", &host(), hour(4))
        .unwrap();
    drop(archives);
    let info = shop.stock.run(["info", "--json", &shop.archive("eins")]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let archive = &info["archives"][0];
    assert_eq!(archive["comment"], "the first");
    assert_eq!(archive["name"], "eins");
    shop.judge();
    let output = shop.stock.output(["delete", "-v", &shop.archive("eins")]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("Synchronizing"));
    shop.judge();
}

#[test]
fn statistics_are_those_of_the_stock_program() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let tree = Tree::new(32).odd_names().links();
    for number in 0..3 {
        fs::write(tree.path().join("changed"), vec![number; 300_000]).unwrap();
        shop.back_up(&format!("a-{number}"), tree.path(), hour(number.into()));
    }
    let theirs = shop.stock.run(["info", "--json", &shop.archive("a-1")]);
    let theirs: serde_json::Value = serde_json::from_str(&theirs).unwrap();
    let archives = shop.open();
    let ours = archives.archive_info("a-1".into(), &host()).unwrap();
    let stats = &theirs["archives"][0]["stats"];
    assert_eq!(stats["original_size"], ours.totals.size);
    assert_eq!(stats["compressed_size"], ours.totals.csize);
    assert_eq!(stats["nfiles"], ours.totals.nfiles);
    assert_eq!(stats["deduplicated_size"], ours.unique_csize);
    let ours = archives.repository_info(&host()).unwrap();
    let stats = &theirs["cache"]["stats"];
    assert_eq!(stats["total_chunks"], ours.total_chunks);
    assert_eq!(stats["total_size"], ours.total_size);
    assert_eq!(stats["total_csize"], ours.total_csize);
    assert_eq!(stats["total_unique_chunks"], ours.unique_chunks);
    assert_eq!(stats["unique_size"], ours.unique_size);
    assert_eq!(stats["unique_csize"], ours.unique_csize);
}

#[test]
fn an_archive_made_anew_has_the_same_content_in_other_pieces() {
    let Some(shop) = Workshop::new(Encryption::RepokeyBlake2) else {
        return;
    };
    let tree = Tree::new(33).odd_names().links().holes();
    let noise = Random::new(9).noise(3_000_000);
    fs::write(tree.path().join("noise"), noise).unwrap();
    shop.back_up("one", tree.path(), hour(1));
    shop.back_up("two", tree.path(), hour(2));
    let without = |item: &borg::Item| !item.path.ends_with(b"/noise");
    let mut options = borg::Recreate {
        keep: &|_| true,
        chunker_params: Some("buzhash,10,16,12,4095".parse().unwrap()),
        compression: "zstd,3".parse().unwrap(),
        recompress: borg::Recompress::Never,
        comment: Some("in other pieces".into()),
        time: None,
        target: None,
        cmdline: vec!["ravelin".into()],
    };
    let mut archives = shop.open();
    let before = archives.archive_info("one".into(), &host()).unwrap();
    let totals = archives
        .recreate("one".into(), &options, &host(), hour(3))
        .unwrap();
    assert_eq!(
        (totals.size, totals.nfiles),
        (before.totals.size, before.totals.nfiles)
    );
    assert_eq!(archives.list().len(), 2);
    drop(archives);
    shop.judge();
    options.chunker_params = None;
    options.recompress = borg::Recompress::Always;
    options.keep = &without;
    options.target = Some("three".into());
    shop.open()
        .recreate("two".into(), &options, &host(), hour(4))
        .unwrap();
    shop.judge();
    let target = shop.scratch.path().join("target");
    for (name, has_noise) in [("one", true), ("two", true), ("three", false)] {
        fs::create_dir(&target).unwrap();
        shop.stock
            .run_in(&target, ["extract", "--numeric-ids", &shop.archive(name)]);
        let extracted = target.join(tree.path().strip_prefix("/").unwrap());
        assert_eq!(extracted.join("noise").exists(), has_noise);
        if has_noise {
            assert_same(tree.path(), &extracted, &Ignore::default());
        }
        testkit::clear_flags(&target);
        fs::remove_dir_all(&target).unwrap();
    }
    for name in ["one", "two", "three"] {
        let output = shop.stock.output(["delete", "-v", &shop.archive(name)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !said.contains("Synchronizing"),
            "{said}"
        );
    }
    shop.judge();
    assert_eq!(shop.open().backend().ids().unwrap().len(), 1);
}

#[test]
fn an_append_only_repository_can_be_set_back_to_before_a_deletion() {
    let Some(shop) = Workshop::with_options(Encryption::RepokeyBlake2, |options| {
        options.append_only = true;
    }) else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    shop.back_up("one", source.path(), hour(1));
    let mut archives = shop.open();
    let before = archives.backend().local().unwrap().transaction().unwrap();
    archives
        .delete_archives(&["one".into()], &host(), hour(2))
        .unwrap();
    let compacted = archives.compact(&Compaction::default(), hour(3)).unwrap();
    assert_eq!(compacted.unwrap().freed, 0);
    assert!(archives.list().is_empty());
    drop(archives);
    let log = fs::read_to_string(shop.repository.join("transactions")).unwrap();
    let line = format!("transaction {before}, UTC time ");
    assert!(log.contains(&line), "{log}");
    // By hand, as the log is for: everything behind that transaction goes.
    for file in fs::read_dir(shop.repository.join("data/0")).unwrap() {
        let path = file.unwrap().path();
        let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        if number > before {
            fs::remove_file(path).unwrap();
        }
    }
    // It is noticed, and believed when a person says so.
    let noticed = shop.try_open(borg::Access::Read);
    assert!(
        matches!(noticed, Err(borg::Error::Replayed { .. })),
        "{noticed:?}"
    );
    let trust = borg::Trust {
        replayed: true,
        ..borg::Trust::default()
    };
    let mut checker = shop.checker(borg::Access::Write, trust).unwrap();
    let found = checker
        .check(true, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    assert_eq!(found.archive_count, 1);
    assert!(found.hurt.is_empty(), "{found:?}");
    let repaired = checker.repair(&found, &host(), hour(4));
    assert!(
        matches!(repaired, Ok(_) | Err(borg::Error::AppendOnly { .. })),
        "{repaired:?}"
    );
}

#[test]
fn a_quota_ends_a_backup_and_leaves_what_stood_before() {
    let Some(shop) = Workshop::with_options(Encryption::RepokeyBlake2, |options| {
        options.storage_quota = 400_000;
    }) else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("file"), "content").unwrap();
    shop.back_up("one", source.path(), hour(1));
    let noise = Random::new(8).noise(1_000_000);
    fs::write(source.path().join("large"), noise).unwrap();
    let stopped = shop.try_back_up("two", source.path(), hour(2));
    assert!(
        matches!(stopped, Err(borg::Error::QuotaExceeded { .. })),
        "{stopped:?}"
    );
    assert_eq!(shop.open().list().len(), 1);
    shop.judge();
}

#[test]
fn a_repository_that_was_moved_is_known_at_its_new_place_once_that_was_confirmed() {
    let Some(mut shop) = Workshop::new(Encryption::Repokey) else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    shop.back_up("a", source.path(), hour(1));
    let moved = shop.scratch.path().join("moved");
    fs::rename(&shop.repository, &moved).unwrap();
    shop.repository = moved;
    let refused = shop.try_open(borg::Access::Read);
    assert!(matches!(refused, Err(borg::Error::Relocated { .. })));
    let trust = borg::Trust {
        relocated: true,
        ..borg::Trust::default()
    };
    let mut checker = shop.checker(borg::Access::Write, trust).unwrap();
    let found = checker.check(false, &mut |_| ControlFlow::Continue(()));
    checker.repair(&found.unwrap(), &host(), hour(2)).unwrap();
    drop(checker);
    assert_eq!(shop.open().list().len(), 1);
}
