//! A backup that dies: nothing that stood before is lost, and the next one needs no help.

use std::fs;
use std::path::Path;
use std::process::Command;

use snapbox::cmd::cargo_bin;
use testkit::kill::{Fault, calls, strike};
use testkit::{Tree, UsedCounters, assert_same};

use crate::bench::Bench;

/// Moments of a backup at which it is killed; spread over all its changes to files.
const MOMENTS: u64 = 16;

fn backup(bench: &Bench) -> Command {
    let mut command = Command::new(cargo_bin!("ravelin"));
    command
        .arg("backup")
        .env_clear()
        .env("HOME", bench.home())
        .env("TZ", "UTC")
        .current_dir(bench.home());
    command
}

/// Changes enough that every backup has something to write.
fn change(tree: &Path, round: u64) {
    let text = |name: &str| format!("{name} of round {round}\n").repeat(500);
    fs::write(tree.join("changed"), text("changed")).unwrap();
    fs::write(tree.join(format!("new-{round}")), text("new")).unwrap();
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_the_next_one_needs_no_help() {
    let Some(()) = testkit::kill::require_tracer() else {
        return;
    };
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let tree = Tree::new(41).links();
    let bench = Bench::new();
    let source = tree.path().to_str().unwrap();
    bench.ravelin(["quickstart", source]).assert().success();
    let keep = tempfile::tempdir().unwrap();
    let first = keep.path().join("first");
    let copied = Command::new("cp")
        .arg("-a")
        .args([tree.path(), &first])
        .status();
    assert!(copied.unwrap().success());

    let repository = bench.home().join(".local/share/ravelin/disk");
    let passphrase = bench.home().join(".config/ravelin/disk.passphrase");
    let stock = stock.with_env(
        "BORG_PASSCOMMAND",
        format!("cat {}", passphrase.to_str().unwrap()),
    );
    let home = bench.home();
    let places = [home.as_path()];
    change(tree.path(), 0);
    let count = calls(&mut backup(&bench), &places).len() as u64;
    assert!(count > MOMENTS, "{count}");
    let mut used = UsedCounters::default();
    for moment in 0..MOMENTS {
        change(tree.path(), moment + 1);
        let number = 1 + moment * count / MOMENTS;
        let fault = match moment % 3 {
            0 => Fault::Kill,
            1 => Fault::KillAfter,
            _ => Fault::Torn,
        };
        let outcome = strike(&mut backup(&bench), &places, number, fault);
        let what = format!("{fault:?} at {number} of {count}: {:?}", outcome.struck);
        used.look(&repository);
        let before = snapshots(&bench);
        bench.ravelin(["backup"]).assert().success();
        used.look(&repository);
        let after = snapshots(&bench);
        assert_eq!(after.len(), before.len() + 1, "{what}");
        assert_eq!(after[..before.len()], before, "{what}");
        bench.ravelin(["verify", "--data"]).assert().success();
    }
    stock.run(["check", "--verify-data", repository.to_str().unwrap()]);
    // The first snapshot is as it was after all that.
    let oldest = snapshots(&bench).remove(0);
    bench
        .ravelin(["restore", &oldest, source, "--to", "restored"])
        .assert()
        .success();
    let restored = home.join("restored").join(tree.path().file_name().unwrap());
    assert_same(&first, &restored, &testkit::Ignore::default());
}

fn snapshots(bench: &Bench) -> Vec<String> {
    let listed = bench.ravelin(["snapshots", "--json"]).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let list = listed["snapshots"].as_array().unwrap();
    list.iter()
        .map(|snapshot| snapshot["name"].as_str().unwrap().to_owned())
        .collect()
}
