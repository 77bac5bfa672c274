//! The power fails in the middle of a command, or just after it was done: what was reported is
//! there, nothing that stood before is lost, and the next command needs no help. The files, the
//! repository and everything that the program remembers are on the disk that loses what no program
//! has synced.
//!
//! A few moments of each command by default; every one with `RAVELIN_TESTS=full`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use snapbox::cmd::cargo_bin;
use testkit::kill::{Fault, calls, strike};
use testkit::{FragileDisk, StockBorg, UsedCounters, run};

use crate::bench::{Bench, copy, files_below, flip_a_bit};

/// Moments of a command at which the power fails, unless all of them are tried.
const MOMENTS: u64 = 6;

const OLD: &str = "the former passphrase";
const NEW: &str = "the new passphrase";

struct Campaign {
    bench: Bench,
    base: PathBuf,
    _scratch: tempfile::TempDir,
    stock: StockBorg,
    // Dropped last: the others are on it.
    disk: FragileDisk,
}

impl Campaign {
    /// With a repository of three snapshots and something that the next backup finds.
    fn new() -> Option<Self> {
        testkit::kill::require_tracer()?;
        let stock = testkit::stock_borg()?;
        let disk = testkit::fragile_disk(96 << 20)?;
        let bench = Bench::on(disk.path());
        for (name, text) in [("old", OLD), ("new", NEW), ("passphrase", OLD)] {
            bench.private_file(name, text);
        }
        bench.configure("");
        bench.ravelin(["init"]).assert().success();
        small_segments(&bench.home().join("repository"));
        for number in 0..4u8 {
            bench.file("source/same", &"same".repeat(9000));
            bench.file("source/changed", &format!("{number}").repeat(20_000));
            bench.file(&format!("source/new-{number}"), "new");
            if number < 3 {
                bench.ravelin(["backup"]).assert().success();
            }
        }
        let scratch = tempfile::tempdir().unwrap();
        let campaign = Self {
            base: scratch.path().join("base"),
            bench,
            _scratch: scratch,
            stock,
            disk,
        };
        campaign.save();
        Some(campaign)
    }

    /// What every moment begins with.
    fn save(&self) {
        let _ = fs::remove_dir_all(&self.base);
        copy(&self.bench.home(), &self.base);
    }

    fn reset(&self) {
        fs::remove_dir_all(self.bench.home()).unwrap();
        copy(&self.base, &self.bench.home());
        drop(run(Command::new("sync").arg("-f").arg(self.disk.path())));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin!("ravelin"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.bench.home())
            .env("TZ", "UTC")
            .current_dir("/");
        command
    }

    fn repository(&self) -> PathBuf {
        self.bench.home().join("repository")
    }

    /// Cuts the power at chosen moments of a command, and twice after it was done. `after` is told
    /// whether it was.
    fn cut(&self, arguments: &[&str], mut after: impl FnMut(&str, bool)) {
        let home = self.bench.home();
        let places = [home.as_path()];
        self.reset();
        let count = calls(&mut self.command(arguments), &places).len() as u64;
        let moments = match std::env::var("RAVELIN_TESTS") {
            Ok(value) if value == "full" => count,
            _ => count.min(MOMENTS),
        };
        for moment in 0..moments {
            self.reset();
            // The last one is the last call of all.
            let number = count - moment * count / moments;
            let fault = match moment % 2 {
                0 => Fault::KillAfter,
                _ => Fault::Torn,
            };
            let mut used = UsedCounters::default();
            let outcome = strike(&mut self.command(arguments), &places, number, fault);
            used.look(&self.repository());
            self.disk.cut();
            let what = format!(
                "{arguments:?}, cut at {number} of {count}: {:?}",
                outcome.struck
            );
            after(&what, outcome.status.success());
            used.look(&self.repository());
        }
        for _ in 0..2 {
            self.reset();
            let status = self.command(arguments).status().unwrap();
            assert!(status.success(), "{arguments:?}");
            self.disk.cut();
            after(&format!("{arguments:?}, cut when it was done"), true);
        }
    }

    /// The stock program finds nothing wrong, and nothing left over.
    fn judge(&self, passphrase: &str, what: &str) {
        let stock = self
            .stock
            .with_passphrase(passphrase)
            .with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
        let repository = self.repository();
        let repository = repository.to_str().unwrap();
        let output = stock.output(["check", "--verbose", "--verify-data", repository]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {said}");
        assert!(!said.contains("orphan"), "{what}: {said}");
    }
}

/// A commit asks for room for a whole segment, and these disks are small.
fn small_segments(repository: &Path) {
    let config = repository.join("config");
    let text = fs::read_to_string(&config).unwrap();
    let small = text.replace("524288000", "1000000");
    assert_ne!(small, text);
    fs::write(&config, small).unwrap();
}

#[test]
fn a_backup_that_was_reported_survives_and_one_that_was_not_costs_nothing_else() {
    let Some(campaign) = Campaign::new() else {
        return;
    };
    let before = campaign.bench.snapshots("before");
    let mut moment = 0;
    campaign.cut(&["backup"], |what, is_done| {
        let left = campaign.bench.snapshots(what);
        assert!(left.starts_with(&before), "{what}: {left:?}");
        assert!(!is_done || left.len() == before.len() + 1, "{what}");
        campaign.bench.succeeds(["backup"], what);
        assert_eq!(
            campaign.bench.snapshots(what).len(),
            left.len() + 1,
            "{what}"
        );
        campaign.bench.succeeds(["verify", "--data"], what);
        moment += 1;
        if moment % 3 == 0 {
            campaign.judge(OLD, what);
        }
    });
}

#[test]
fn a_prune_loses_nothing_that_stays() {
    let Some(campaign) = Campaign::new() else {
        return;
    };
    let newest = campaign.bench.snapshots("before").split_off(2);
    campaign.bench.configure("keep = { last = 1 }\n");
    campaign.save();
    let mut moment = 0;
    campaign.cut(&["prune"], |what, is_done| {
        let left = campaign.bench.snapshots(what);
        assert!(left.ends_with(&newest), "{what}: {left:?}");
        assert!(!is_done || left == newest, "{what}: {left:?}");
        campaign.bench.succeeds(["prune"], what);
        assert_eq!(campaign.bench.snapshots(what), newest, "{what}");
        campaign.bench.succeeds(["verify", "--data"], what);
        moment += 1;
        if moment % 3 == 0 {
            campaign.judge(OLD, what);
        }
    });
}

#[test]
fn a_compaction_loses_nothing() {
    let Some(campaign) = Campaign::new() else {
        return;
    };
    campaign
        .bench
        .ravelin(["delete", "latest~1", "latest~2"])
        .assert()
        .success();
    campaign.save();
    let before = campaign.bench.snapshots("before");
    let mut moment = 0;
    campaign.cut(&["compact"], |what, _| {
        assert_eq!(campaign.bench.snapshots(what), before, "{what}");
        campaign.bench.succeeds(["backup"], what);
        campaign.bench.succeeds(["compact"], what);
        campaign.bench.succeeds(["verify", "--data"], what);
        moment += 1;
        if moment % 3 == 0 {
            campaign.judge(OLD, what);
        }
    });
}

#[test]
fn a_repair_can_be_done_again() {
    let Some(campaign) = Campaign::new() else {
        return;
    };
    flip_a_bit(&campaign.repository().join("data/0"));
    campaign.save();
    let mut moment = 0;
    campaign.cut(&["repair"], |what, is_done| {
        if is_done {
            campaign.bench.succeeds(["repair", "--dry-run"], what);
        }
        campaign.bench.succeeds(["repair"], what);
        assert_eq!(campaign.bench.snapshots(what).len(), 3, "{what}");
        campaign.bench.succeeds(["backup"], what);
        // What has healed is needed no more.
        campaign.bench.succeeds(["repair"], what);
        moment += 1;
        if moment % 3 == 0 {
            campaign.judge(OLD, what);
        }
    });
}

#[test]
fn a_key_opens_with_one_of_the_passphrases_and_with_the_new_one_when_that_was_reported() {
    let Some(campaign) = Campaign::new() else {
        return;
    };
    let home = campaign.bench.home();
    let new = home.join("new").display().to_string();
    let change = ["key", "change-passphrase", "--new-file", &new];
    campaign.cut(&change, |what, is_done| {
        let output = campaign.bench.ravelin(["snapshots"]).output().unwrap();
        let opens = match output.status.code() {
            Some(0) => OLD,
            Some(12) => {
                fs::copy(&new, home.join("passphrase")).unwrap();
                NEW
            }
            _ => panic!("{what}: {output:?}"),
        };
        assert!(!is_done || opens == NEW, "{what}");
        campaign.bench.succeeds(["backup"], what);
        campaign.judge(opens, what);
    });
}

#[test]
fn a_disk_that_is_really_full_ends_a_backup_and_goes_on_when_there_is_room() {
    let (Some(stock), Some(disk)) = (testkit::stock_borg(), testkit::fragile_disk(80 << 20)) else {
        return;
    };
    let bench = Bench::new();
    bench.private_file("passphrase", OLD);
    let repository = disk.path().join("repository");
    bench.private_file(
        ".config/ravelin/ravelin.toml",
        &format!(
            "[[source]]\npaths = [\"~/source\"]\n\n[layer.disk]\nkind = \"borg\"\n\
             store = \"{}\"\npassphrase = {{ file = \"~/passphrase\" }}\n",
            repository.display()
        ),
    );
    bench.file("source/small", "small");
    bench.ravelin(["init"]).assert().success();
    small_segments(&repository);
    bench.ravelin(["backup"]).assert().success();
    let large = bench.home().join("source/large");
    let noise = testkit::Random::new(71).noise(100 << 20);
    fs::write(&large, &noise).unwrap();
    let output = bench.ravelin(["backup"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.contains("[disk-full]"), "{said}");
    let count = || bench.snapshots("after that").len();
    assert_eq!(count(), 1);
    // What fits is taken at once; what the failed one left does not stand in its way.
    fs::write(&large, &noise[..12 << 20]).unwrap();
    bench.ravelin(["backup"]).assert().success();
    fs::write(&large, &noise[20 << 20..24 << 20]).unwrap();
    bench.ravelin(["backup"]).assert().success();
    assert_eq!(count(), 3);
    // Old ones can be removed where nothing can be added: a commit leaves room for the one that
    // frees something.
    let free = rustix::fs::statvfs(disk.path()).unwrap();
    let free = free.f_bavail * free.f_frsize;
    let filler = disk.path().join("filler");
    let left = usize::try_from(free).unwrap().saturating_sub(26 << 20);
    fs::write(&filler, &noise[..left]).unwrap();
    fs::write(&large, &noise[60 << 20..72 << 20]).unwrap();
    bench.ravelin(["backup"]).assert().failure();
    assert_eq!(count(), 3);
    bench.ravelin(["delete", "latest~1"]).assert().success();
    bench.ravelin(["compact"]).assert().success();
    assert_eq!(count(), 2);
    fs::remove_file(&filler).unwrap();
    bench.ravelin(["backup"]).assert().success();
    bench.ravelin(["verify", "--data"]).assert().success();
    let stock = stock
        .with_passphrase(OLD)
        .with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    stock.run(["check", "--verify-data", repository.to_str().unwrap()]);
}

/// What happens to a file.
type Hurt<'a> = &'a dyn Fn(&Path);

#[test]
fn whatever_is_remembered_may_be_lost_or_garbled_and_heals_by_itself() {
    let Some(campaign) = Campaign::new() else {
        return;
    };
    let before = campaign.bench.snapshots("before");
    let home = campaign.bench.home();
    let garble = |file: &Path| {
        let mut bytes = fs::read(file).unwrap();
        bytes.truncate(bytes.len() / 2);
        if let Some(byte) = bytes.first_mut() {
            *byte ^= 0x55;
        }
        fs::write(file, bytes).unwrap();
    };
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    let empty = |file: &Path| fs::write(file, "").unwrap();
    let ways: [(&str, Hurt<'_>); 3] = [("lost", &remove), ("garbled", &garble), ("empty", &empty)];
    for (way, hurt) in ways {
        for place in [".cache", ".config/borg", ".local/state"] {
            campaign.reset();
            let what = format!("{place} {way}");
            let files = files_below(&home.join(place));
            assert!(!files.is_empty(), "{what}");
            for file in &files {
                hurt(file);
            }
            assert_eq!(campaign.bench.snapshots(&what), before, "{what}");
            campaign.bench.succeeds(["backup"], &what);
            campaign.bench.succeeds(["verify", "--data"], &what);
            assert_eq!(
                campaign.bench.snapshots(&what).len(),
                before.len() + 1,
                "{what}"
            );
        }
    }
    campaign.judge(OLD, "all that");
}
