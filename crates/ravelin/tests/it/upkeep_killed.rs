//! Old snapshots are removed, damage is mended, a key is changed, and the program is killed or the
//! disk refuses in the middle of it: nothing that counts is lost, and the next one needs no help.
//!
//! A few moments of each by default; every one with `RAVELIN_TESTS=full`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use rustix::io::Errno;
use snapbox::cmd::cargo_bin;
use testkit::StockBorg;
use testkit::kill::{Call, Fault, Outcome, calls, strike};

use crate::bench::{Bench, copy, flip_a_bit};

const OLD: &str = "the former passphrase";
const NEW: &str = "the new passphrase";

/// Moments of a command at which it is struck, unless all of them are.
const MOMENTS: u64 = 9;

struct Campaign {
    bench: Bench,
    stock: StockBorg,
    /// A copy of the home directory before the command.
    base: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Campaign {
    /// With a repository of six snapshots, made ready by `prepare`.
    fn new(prepare: impl FnOnce(&Bench)) -> Option<Self> {
        testkit::kill::require_tracer()?;
        let stock = testkit::stock_borg()?;
        let bench = Bench::new();
        for (name, text) in [("old", OLD), ("new", NEW), ("passphrase", OLD)] {
            bench.private_file(name, text);
        }
        bench.configure("");
        bench.ravelin(["init"]).assert().success();
        let noise = testkit::Random::new(5).noise(60_000);
        bench.file("source/noise", "");
        fs::write(bench.home().join("source/noise"), noise).unwrap();
        for number in 0..6u8 {
            bench.file("source/same", &"same".repeat(9000));
            bench.file("source/changed", &format!("{number}").repeat(20_000));
            bench.file(&format!("source/new-{number}"), "new");
            bench.ravelin(["backup"]).assert().success();
        }
        prepare(&bench);
        let scratch = tempfile::tempdir().unwrap();
        let campaign = Self {
            base: scratch.path().join("base"),
            bench,
            stock,
            _scratch: scratch,
        };
        copy(&campaign.bench.home(), &campaign.base);
        Some(campaign)
    }

    fn reset(&self) {
        fs::remove_dir_all(self.bench.home()).unwrap();
        copy(&self.base, &self.bench.home());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin!("ravelin"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.bench.home())
            .env("TZ", "UTC")
            .current_dir(self.bench.home());
        command
    }

    /// Strikes a command at chosen calls; `after` is told how it ended, and what was struck.
    fn strike(
        &self,
        arguments: &[&str],
        faults: &[Fault],
        is_chosen: impl Fn(&Call) -> bool,
        mut after: impl FnMut(&str, &Outcome),
    ) {
        let home = self.bench.home();
        let places = [home.as_path()];
        self.reset();
        let all = calls(&mut self.command(arguments), &places);
        let chosen: Vec<u64> = (1..)
            .zip(&all)
            .filter(|(_, call)| is_chosen(call))
            .map(|(number, _)| number)
            .collect();
        assert!(!chosen.is_empty(), "{arguments:?}: {all:?}");
        let count = chosen.len() as u64;
        let moments = match std::env::var("RAVELIN_TESTS") {
            Ok(value) if value == "full" => count,
            _ => count.min(MOMENTS),
        };
        for moment in 0..moments {
            let index = usize::try_from(moment * count / moments).unwrap();
            let fault = faults[usize::try_from(moment).unwrap() % faults.len()];
            self.reset();
            let outcome = strike(&mut self.command(arguments), &places, chosen[index], fault);
            let what = format!(
                "{arguments:?}, {fault:?} at {} of {}: {:?}",
                chosen[index],
                all.len(),
                outcome.struck
            );
            after(&what, &outcome);
        }
    }

    /// The stock program finds nothing wrong.
    fn judge(&self, passphrase: &str, what: &str) {
        let stock = self.stock.with_passphrase(passphrase);
        let repository = self.bench.home().join("repository");
        let output = stock
            .with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
            .output(["check", "--verify-data", repository.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {said}");
    }
}

const DEATHS: [Fault; 3] = [Fault::Kill, Fault::KillAfter, Fault::Torn];

#[test]
fn a_prune_that_dies_removes_nothing_that_stays_and_the_next_one_finishes_it() {
    let Some(campaign) = Campaign::new(|bench| bench.configure("keep = { last = 2 }\n")) else {
        return;
    };
    let newest = campaign.bench.snapshots("before").split_off(4);
    let mut moment = 0;
    campaign.strike(
        &["prune"],
        &DEATHS,
        |_| true,
        |what, _| {
            let left = campaign.bench.snapshots(what);
            assert!(left.ends_with(&newest), "{what}: {left:?}");
            campaign.bench.succeeds(["prune"], what);
            assert_eq!(campaign.bench.snapshots(what), newest, "{what}");
            campaign.bench.succeeds(["verify", "--data"], what);
            moment += 1;
            if moment % 3 == 0 {
                campaign.judge(OLD, what);
            }
        },
    );
}

#[test]
fn a_compaction_that_dies_loses_nothing() {
    let Some(campaign) = Campaign::new(|bench| {
        bench
            .ravelin(["delete", "latest~2", "latest~3", "latest~5"])
            .assert()
            .success();
    }) else {
        return;
    };
    let before = campaign.bench.snapshots("before");
    let mut moment = 0;
    campaign.strike(
        &["compact"],
        &DEATHS,
        |_| true,
        |what, _| {
            assert_eq!(campaign.bench.snapshots(what), before, "{what}");
            campaign.bench.succeeds(["backup"], what);
            campaign.bench.succeeds(["compact"], what);
            campaign.bench.succeeds(["verify", "--data"], what);
            moment += 1;
            if moment % 3 == 0 {
                campaign.judge(OLD, what);
            }
        },
    );
}

#[test]
fn a_repair_that_dies_can_be_done_again() {
    let Some(campaign) = Campaign::new(|bench| {
        // A bit of the first segment with content.
        flip_a_bit(&bench.home().join("repository/data/0"));
    }) else {
        return;
    };
    let mut moment = 0;
    campaign.strike(
        &["repair"],
        &DEATHS,
        |_| true,
        |what, _| {
            campaign.bench.succeeds(["repair"], what);
            assert_eq!(campaign.bench.snapshots(what).len(), 6, "{what}");
            campaign.bench.succeeds(["backup"], what);
            moment += 1;
            if moment % 3 == 0 {
                campaign.judge(OLD, what);
            }
        },
    );
}

#[test]
fn a_key_change_that_dies_leaves_a_key_that_one_of_the_passphrases_opens() {
    let Some(campaign) = Campaign::new(|_| {}) else {
        return;
    };
    let change = ["key", "change-passphrase", "--new-file", "new"];
    campaign.strike(
        &change,
        &DEATHS,
        |_| true,
        |what, _| {
            let output = campaign.bench.ravelin(["snapshots"]).output().unwrap();
            let opens = match output.status.code() {
                Some(0) => OLD,
                Some(12) => {
                    let home = campaign.bench.home();
                    fs::copy(home.join("new"), home.join("passphrase")).unwrap();
                    NEW
                }
                _ => panic!("{what}: {output:?}"),
            };
            campaign.bench.succeeds(["backup"], what);
            campaign.judge(opens, what);
        },
    );
}

#[test]
fn a_key_that_is_being_moved_opens_at_any_moment() {
    let Some(campaign) = Campaign::new(|_| {}) else {
        return;
    };
    campaign.strike(
        &["key", "move", "file"],
        &DEATHS,
        |_| true,
        |what, _| {
            assert_eq!(campaign.bench.snapshots(what).len(), 6, "{what}");
            campaign.bench.succeeds(["key", "move", "file"], what);
            campaign.bench.succeeds(["backup"], what);
            let keys = campaign.bench.home().join(".config/borg/keys");
            assert_eq!(fs::read_dir(keys).unwrap().count(), 1, "{what}");
        },
    );
}

#[test]
fn a_full_disk_or_a_sync_that_fails_is_an_error_and_loses_nothing() {
    let Some(campaign) = Campaign::new(|bench| {
        bench.configure("keep = { last = 2 }\n");
        bench.file("source/changed", &"y".repeat(30_000));
    }) else {
        return;
    };
    let before = campaign.bench.snapshots("before");
    let full = [
        Fault::ErrorFrom(Errno::NOSPC),
        Fault::ErrorFrom(Errno::DQUOT),
    ];
    let in_repository = |call: &Call| {
        call.path
            .starts_with(campaign.bench.home().join("repository"))
    };
    let after = |what: &str, outcome: &Outcome| {
        let left = campaign.bench.snapshots(what);
        // What was reported as done is there; what failed was said to have failed.
        let is_pruned = left.len() < before.len();
        if !is_pruned {
            assert!(left.starts_with(&before), "{what}: {left:?}");
            assert!(!outcome.status.success(), "{what}");
        }
        campaign.bench.succeeds(["backup"], what);
        assert_eq!(campaign.bench.snapshots(what).len(), 2, "{what}");
        campaign.bench.succeeds(["verify", "--data"], what);
        campaign.judge(OLD, what);
    };
    campaign.strike(
        &["backup"],
        &full,
        |call| call.writes && in_repository(call),
        after,
    );
    let failing = [Fault::Error(Errno::IO)];
    let is_sync = |call: &Call| call.name.contains("sync") && in_repository(call);
    campaign.strike(&["backup"], &failing, is_sync, after);
}
