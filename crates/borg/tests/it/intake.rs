//! Trees go in, and the stock program gives them back.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use borg::{
    Access, Archives, Compression, Encryption, Home, Host, Intake, NewArchive, OpenOptions,
    Passphrase, RepositoryOptions, Statistics, Trust,
};
use jiff::Timestamp;
use testkit::{Ignore, StockBorg, Tree, assert_same};
use tree::{Options, Source, read_ahead};

const PASSPHRASE: &str = "a passphrase";

fn home(stock: &StockBorg) -> Home {
    Home::from_environment(stock.base_dir(), |_| None)
}

fn create(repository: &Path, stock: &StockBorg, encryption: Encryption, now: Timestamp) {
    let options = RepositoryOptions::new([encryption.type_byte() + 0x10; 32]);
    let passphrase = Passphrase::new(PASSPHRASE);
    let host = Host::this_machine();
    Archives::create(
        repository,
        &home(stock),
        &host,
        encryption,
        &passphrase,
        &options,
        now,
    )
    .unwrap();
}

fn open(repository: &Path, stock: &StockBorg) -> Archives {
    let options = OpenOptions::new(Access::Write, &Host::this_machine());
    let passphrase = Passphrase::new(PASSPHRASE);
    Archives::open(
        repository,
        &home(stock),
        &options,
        &passphrase,
        Trust::default(),
    )
    .unwrap()
}

fn back_up(
    repository: &Path,
    stock: &StockBorg,
    name: &str,
    root: &Path,
    compression: &str,
    now: Timestamp,
) -> Statistics {
    let new = NewArchive {
        hostname: "host".into(),
        username: "user".into(),
        cmdline: vec!["ravelin".into()],
        compression: compression.parse::<Compression>().unwrap(),
        checkpoint_interval: Some(Duration::from_secs(1800)),
        ..NewArchive::new(name, now)
    };
    let intake = Intake::begin(open(repository, stock), new, &Host::this_machine()).unwrap();
    let source = Source {
        roots: vec![root.to_owned()],
        ..Source::default()
    };
    read_ahead(
        &source,
        Options::default(),
        |entry| intake.wants(entry),
        |step| {
            intake.take(step).unwrap();
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    intake.commit().unwrap().1
}

/// Borg leaves out sockets, stores links to links apart, and keeps times from 1970 to 2038 only.
fn everything_that_borg_keeps(seed: u64) -> Tree {
    Tree::new(seed)
        .odd_names()
        .links()
        .special_files()
        .attributes()
        .inode_flags()
        .sizes()
        .holes()
        .times()
}

#[test]
fn stock_borg_accepts_what_we_write_in_every_mode_and_gives_it_back() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = stock.with_passphrase(PASSPHRASE);
    let tree = everything_that_borg_keeps(21);
    let scratch = tempfile::tempdir().unwrap();
    let compressions = [
        "none",
        "lz4",
        "zstd,3",
        "zlib,6",
        "auto,lzma,0",
        "obfuscate,1,lz4",
        "lz4",
    ];
    for (encryption, compression) in Encryption::ALL.into_iter().zip(compressions) {
        let repository = scratch.path().join(encryption.to_string());
        create(
            &repository,
            &stock,
            encryption,
            "2026-01-02T03:04:05Z".parse().unwrap(),
        );
        let first = back_up(
            &repository,
            &stock,
            "first",
            tree.path(),
            compression,
            "2026-01-02T03:05:05Z".parse().unwrap(),
        );
        assert!(first.unique_csize > 0);
        let second = back_up(
            &repository,
            &stock,
            "second",
            tree.path(),
            compression,
            "2026-01-02T04:05:05Z".parse().unwrap(),
        );
        assert_eq!(second.totals, first.totals, "{encryption}");
        assert_eq!(second.unique_csize, 0, "{encryption}: nothing has changed");
        let repository = repository.to_str().unwrap();
        stock.run(["check", "--verify-data", repository]);
        let target = scratch.path().join("target");
        std::fs::create_dir(&target).unwrap();
        stock.run_in(
            &target,
            ["extract", "--numeric-ids", &format!("{repository}::second")],
        );
        let extracted = target.join(tree.path().strip_prefix("/").unwrap());
        assert_same(tree.path(), &extracted, &Ignore::default());
        testkit::clear_flags(&target);
        std::fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn the_two_programs_take_turns_without_a_complaint() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = stock.with_passphrase(PASSPHRASE);
    let tree = Tree::every_kind(22);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("repository");
    let mut now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    create(&path, &stock, Encryption::RepokeyBlake2, now);
    let repository = path.to_str().unwrap();
    for round in 1..=5 {
        now = now.checked_add(jiff::Span::new().hours(1)).unwrap();
        std::fs::write(tree.path().join("changed"), format!("round {round}")).unwrap();
        back_up(
            &path,
            &stock,
            &format!("ours-{round}"),
            tree.path(),
            "lz4",
            now,
        );
        let output = stock.output([
            "create",
            "--verbose",
            "--stats",
            &format!("{repository}::theirs-{round}"),
            tree.path().to_str().unwrap(),
        ]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        for complaint in ["Synchronizing", "Discarding", "rror", "arning"] {
            assert!(!said.contains(complaint), "round {round}: {said}");
        }
        assert_eq!(open(&path, &stock).list().len(), 2 * round);
    }
    stock.run(["check", "--verify-data", repository]);
}

/// What is known of files is as large as their list, and need not be written each time.
#[test]
fn what_is_known_of_files_is_written_when_it_has_changed() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    std::fs::create_dir(&root).unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(root.join(name), name).unwrap();
    }
    let path = scratch.path().join("repository");
    // Long after those files were written: the newest of them is trusted, too.
    let mut now: Timestamp = "2200-01-02T03:04:05Z".parse().unwrap();
    create(&path, &stock, Encryption::RepokeyBlake2, now);
    let id = open(&path, &stock).backend().id();
    let known = home(&stock).cache_of(&id).join("files");
    let mut inodes = Vec::new();
    for name in ["first", "second", "third", "fourth"] {
        if name == "fourth" {
            std::fs::write(root.join("b"), "changed").unwrap();
        }
        now = now.checked_add(jiff::Span::new().hours(1)).unwrap();
        back_up(&path, &stock, name, &root, "lz4", now);
        let metadata = std::fs::metadata(&known).unwrap();
        inodes.push(std::os::unix::fs::MetadataExt::ino(&metadata));
    }
    assert_eq!(inodes[0], inodes[1]);
    assert_eq!(inodes[1], inodes[2]);
    assert_ne!(inodes[2], inodes[3]);
}
