//! What this program backs up stock Borg restores, and the other way round.

use std::fs;
use std::path::{Path, PathBuf};

use testkit::{Ignore, StockBorg, Tree, UsedCounters, assert_same, rsync_differences};

use crate::bench::Bench;

const PASSPHRASE: &str = "known to both";

/// One source, one layer, and a stock Borg that shares keys and caches with the program.
struct Pair {
    bench: Bench,
    stock: StockBorg,
    source: PathBuf,
}

impl Pair {
    fn new(source: &Path, encryption: &str, compression: &str) -> Option<Self> {
        let stock = testkit::stock_borg()?.with_passphrase(PASSPHRASE);
        let bench = Bench::sharing_with(&stock);
        bench.private_file("passphrase", PASSPHRASE);
        bench.file(
            ".config/ravelin/ravelin.toml",
            &format!(
                "[[source]]\npaths = [{source:?}]\nexclude-caches = false\n\n\
                 [layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\n\
                 encryption = \"{encryption}\"\ncompression = \"{compression}\"\n\
                 passphrase = {{ file = \"~/passphrase\" }}\n"
            ),
        );
        Some(Self {
            bench,
            stock,
            source: source.to_owned(),
        })
    }

    fn repository(&self) -> PathBuf {
        self.bench.home().join("repository")
    }

    fn restored(&self) -> PathBuf {
        let restored = self.bench.home().join("restored");
        restored.join(self.source.file_name().unwrap())
    }

    fn restore(&self, snapshot: &str) {
        let source = self.source.to_str().unwrap();
        self.bench
            .ravelin([
                "restore",
                snapshot,
                source,
                "--to",
                "restored",
                "--as-it-was",
            ])
            .assert()
            .success();
    }
}

/// What Borg keeps: no sockets, links to links apart, and times from 1970 to 2038 only.
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
fn a_tree_of_every_kind_of_file_comes_back_as_it_was() {
    let tree = everything_that_borg_keeps(31);
    let Some(pair) = Pair::new(tree.path(), "repokey-blake2", "auto,zstd,3") else {
        return;
    };
    pair.bench.ravelin(["init"]).assert().success();
    pair.bench.ravelin(["backup"]).assert().success();
    pair.restore("latest");
    assert_same(tree.path(), &pair.restored(), &Ignore::default());
    if let Some(differences) = rsync_differences(tree.path(), &pair.restored()) {
        assert_eq!(differences, Vec::<String>::new());
    }
    // Restored again, nothing is left to do.
    let again = pair
        .bench
        .ravelin(["restore", "latest"])
        .arg(tree.path())
        .args(["--to", "restored", "--as-it-was", "--dry-run", "--json"])
        .output()
        .unwrap();
    let plan: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(plan["bytes_to_write"], 0, "{plan}");
    testkit::clear_flags(&pair.restored());
}

#[test]
fn archives_of_stock_borg_are_restored_in_every_mode() {
    let tree = everything_that_borg_keeps(32);
    for (encryption, compression) in [
        ("none", "none"),
        ("authenticated", "lz4"),
        ("authenticated-blake2", "zstd,10"),
        ("repokey", "zlib,9"),
        ("repokey-blake2", "lzma,1"),
        ("keyfile", "auto,zlib"),
        ("keyfile-blake2", "obfuscate,3,zstd"),
    ] {
        let Some(pair) = Pair::new(tree.path(), encryption, "lz4") else {
            return;
        };
        let repository = pair.repository();
        let repository = repository.to_str().unwrap();
        pair.stock
            .run(["init", &format!("--encryption={encryption}"), repository]);
        let archive = format!("{repository}::theirs");
        let source = tree.path().to_str().unwrap();
        pair.stock
            .run(["create", "--compression", compression, &archive, source]);
        pair.restore("theirs");
        assert_same(tree.path(), &pair.restored(), &Ignore::default());
        pair.bench.ravelin(["verify", "--data"]).assert().success();
        testkit::clear_flags(&pair.restored());
    }
}

#[test]
fn no_counter_is_used_twice_whichever_of_the_two_programs_writes() {
    let tree = Tree::new(33).links().sizes();
    let Some(pair) = Pair::new(tree.path(), "repokey-blake2", "lz4") else {
        return;
    };
    let mut used = UsedCounters::default();
    let repository = pair.repository();
    let place = repository.to_str().unwrap();
    let mut seen = 0;
    let mut look = |what: &str| {
        used.look(&repository);
        assert!(used.len() > seen, "{what} has written nothing");
        seen = used.len();
    };
    pair.bench.ravelin(["init"]).assert().success();
    look("init");
    for round in 1..=3 {
        fs::write(tree.path().join("changed"), format!("round {round}")).unwrap();
        pair.bench.ravelin(["backup"]).assert().success();
        look("backup");
        let theirs = format!("{place}::theirs-{round}");
        fs::write(tree.path().join("changed"), format!("their round {round}")).unwrap();
        pair.stock
            .run(["create", &theirs, tree.path().to_str().unwrap()]);
        look("borg create");
    }
    pair.stock
        .run(["rename", &format!("{place}::theirs-2"), "renamed"]);
    look("borg rename");
    pair.stock.run(["delete", &format!("{place}::theirs-1")]);
    look("borg delete");
    pair.stock.run(["compact", place]);
    pair.bench.ravelin(["backup"]).assert().success();
    look("backup after a compaction");
    pair.stock.run(["check", "--verify-data", place]);
}
