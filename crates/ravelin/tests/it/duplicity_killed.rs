//! The program dies, or its disk is full, in the middle of a backup into a `duplicity` layer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::io::Errno;
use testkit::kill::{Fault, calls, strike};

use crate::bench::Bench;

/// How many moments are struck for each kind of fault; each takes three runs of the program.
const MOMENTS: u64 = 10;

struct Scene {
    bench: Bench,
    store: PathBuf,
    cache: PathBuf,
}

impl Scene {
    /// A layer with a full backup, and a source that has changed since.
    fn new() -> Self {
        let bench = Bench::new();
        bench.file(
            ".config/ravelin/ravelin.toml",
            "[[source]]\npaths = [\"~/documents\"]\n\n[layer.offsite]\nkind = \"duplicity\"\n\
             store = \"~/store\"\nencryption = \"none\"\nvolume-size = \"1 MiB\"\n",
        );
        let noise = testkit::Random::new(1).noise(2_500_000);
        fs::create_dir_all(bench.home().join("documents")).unwrap();
        fs::write(bench.home().join("documents/noise"), noise).unwrap();
        bench.file("documents/plan.txt", "first\n");
        let scene = Self {
            store: bench.home().join("store"),
            cache: bench.home().join(".cache"),
            bench,
        };
        scene.run(&["init"]);
        scene.run(&["backup"]);
        for folder in ["store", ".cache", ".local"] {
            scene.copy(folder, &format!("pristine/{folder}"));
        }
        let noise = testkit::Random::new(2).noise(1_500_000);
        fs::write(scene.bench.home().join("documents/more noise"), noise).unwrap();
        scene.bench.file("documents/plan.txt", "second\n");
        scene
    }

    /// Everything as it was before the run that is struck.
    fn reset(&self) {
        for folder in ["store", ".cache", ".local"] {
            fs::remove_dir_all(self.bench.home().join(folder)).unwrap();
            self.copy(&format!("pristine/{folder}"), folder);
        }
    }

    fn copy(&self, from: &str, to: &str) {
        let to = self.bench.home().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let status = Command::new("cp")
            .args(["-a", "--no-target-directory"])
            .arg(self.bench.home().join(from))
            .arg(to)
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(snapbox::cmd::cargo_bin!("ravelin"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.bench.home())
            .env("TZ", "UTC")
            .current_dir(self.bench.home());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn plan(&self, snapshot: &str) -> String {
        let plan = self.bench.home().join("documents/plan.txt");
        self.run(&["cat", snapshot, &plan.display().to_string()])
    }

    /// What was there is there, the next run needs nobody, and nothing is left behind.
    fn judge(&self, what: &str) {
        let names = |folder: &Path| -> Vec<String> {
            fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        };
        let full = names(&self.store)
            .into_iter()
            .find_map(|name| {
                let rest = name.strip_prefix("duplicity-full.")?;
                Some(rest.strip_suffix(".manifest")?.to_owned())
            })
            .unwrap();
        assert_eq!(self.plan(&full), "first\n", "{what}");
        self.run(&["backup"]);
        assert_eq!(self.plan("latest"), "second\n", "{what}");
        self.run(&["verify", "--data"]);
        // Every file belongs to a set that has a manifest.
        let all = names(&self.store);
        for name in &all {
            let set = name
                .replace("duplicity-full-signatures", "duplicity-full")
                .replace("duplicity-new-signatures", "duplicity-inc");
            let is_ours = set.starts_with("duplicity-");
            let stem = set
                .split(".vol")
                .next()
                .unwrap()
                .trim_end_matches(".manifest")
                .trim_end_matches(".gz")
                .trim_end_matches(".sigtar");
            assert!(
                !is_ours || all.contains(&format!("{stem}.manifest")),
                "{what}: {name} was left in {all:?}"
            );
        }
        let scratch = self.cache.join("ravelin/duplicity");
        for layer in fs::read_dir(scratch).unwrap() {
            let scratch = layer.unwrap().path().join("scratch");
            assert!(
                !scratch.exists() || names(&scratch).is_empty(),
                "{what}: temporary files were left"
            );
        }
    }

    fn strike_all(&self, fault: Fault) {
        let folders = [self.store.as_path(), self.cache.as_path()];
        let mut backup = self.command(&["backup"]);
        let all = calls(&mut backup, &folders).len() as u64;
        assert!(all >= 10, "only {all} calls");
        let step = all.div_ceil(MOMENTS).max(1);
        let mut numbers: Vec<u64> = (1..=all).step_by(usize::try_from(step).unwrap()).collect();
        // The end is where sets come to stand.
        numbers.extend(all.saturating_sub(4)..=all);
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            self.reset();
            let outcome = strike(&mut self.command(&["backup"]), &folders, number, fault);
            let what = format!("{fault:?} at call {number} of {all}, {:?}", outcome.struck);
            self.judge(&what);
        }
    }
}

#[test]
fn a_backup_that_is_killed_anywhere_costs_its_own_work_only() {
    if testkit::kill::require_tracer().is_none() {
        return;
    }
    let scene = Scene::new();
    scene.strike_all(Fault::Kill);
    scene.strike_all(Fault::Torn);
}

#[test]
fn a_disk_that_is_full_from_any_moment_costs_the_unfinished_work_only() {
    if testkit::kill::require_tracer().is_none() {
        return;
    }
    Scene::new().strike_all(Fault::ErrorFrom(Errno::NOSPC));
}
