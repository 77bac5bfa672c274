//! Measures how long small calls take: our program in the place of `borg` against stock Borg.
//!
//! ```console
//! $ bash benches/borg-cli.sh
//! ```
//!
//! Both have a repository of their own with the same archives in it, and are called in turns. All
//! that they read is in memory. The table shows medians of the time that passed and of the processor's
//! time, which other work on the machine disturbs less; a ratio says how many times less ours took.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::error::Error;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ravelin_testkit::{Usage, measure};

const USAGE: &str = "usage: borg-cli.sh [OPTION…]

  --runs N         how many calls of each, of which the median counts (default: 15)
  --archives N     archives in the repository (default: 10)
  --files N        files in each (default: 100)
  --program PATH   our program (default: target/release/ravelin)

Prints a table in Markdown to stdout.";

/// Repositories: in one, opening the key is most of the work.
const MODES: &[&str] = &["none", "repokey-blake2"];

/// What is typed.
const CALLS: &[&[&str]] = &[
    &["--version"],
    &["list", "--short", "repo"],
    &["list", "--json", "repo"],
    &["info", "repo"],
    &["list", "repo::archive-1"],
    &["info", "--json", "repo::archive-1"],
];

/// A program under the name `borg`, and a home with its repository.
struct Contender {
    home: tempfile::TempDir,
}

impl Contender {
    fn new(
        program: &Path,
        mode: &str,
        files: usize,
        archives: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let home = tempfile::tempdir()?;
        let contender = Self { home };
        symlink(program, contender.path("borg"))?;
        fs::create_dir(contender.path("input"))?;
        contender.succeed(&["init", "-e", mode, "repo"])?;
        for number in 0..files {
            let path = contender.path(&format!("input/file-{number}"));
            fs::write(path, format!("content {number}\n").repeat(1 + number))?;
        }
        for number in 1..=archives {
            let content = format!("other content {number}\n").repeat(1000);
            fs::write(contender.path("input/file-0"), content)?;
            let archive = format!("repo::archive-{number}");
            contender.succeed(&["create", &archive, "input"])?;
        }
        Ok(contender)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("borg"));
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("BORG_PASSPHRASE", "secret")
            .current_dir(self.home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn succeed(&self, words: &[&str]) -> Result<Usage, Box<dyn Error>> {
        let usage = measure(&mut self.command(words))?;
        match usage.status.success() {
            true => Ok(usage),
            false => Err(format!("{words:?} fails: {}", usage.status).into()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut runs, mut archives, mut files) = (15, 10, 100);
    let mut program = PathBuf::from("target/release/ravelin");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match argument.as_str() {
            "--runs" => runs = value.parse()?,
            "--archives" => archives = value.parse()?,
            "--files" => files = value.parse()?,
            "--program" => program = value.into(),
            _ => return Err(USAGE.into()),
        }
    }
    let stock = ravelin_testkit::stock_borg().ok_or("stock Borg cannot be had")?;
    eprintln!("making repositories of {archives} archives with {files} files");
    println!("| mode | `borg …` | Borg ms | here ms | × | Borg CPU ms | here CPU ms | × CPU |");
    println!("|---|---|--:|--:|--:|--:|--:|--:|");
    let program = std::path::absolute(program)?;
    for mode in MODES {
        let stock = Contender::new(&stock.program(), mode, files, archives)?;
        let ours = Contender::new(&program, mode, files, archives)?;
        compare(mode, &stock, &ours, runs)?;
    }
    Ok(())
}

/// Puts the calls to both, and prints a line for each.
fn compare(
    mode: &str,
    stock: &Contender,
    ours: &Contender,
    runs: usize,
) -> Result<(), Box<dyn Error>> {
    for words in CALLS {
        let (mut theirs, mut our_own) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            theirs.push(stock.succeed(words)?);
            our_own.push(ours.succeed(words)?);
        }
        let columns = [
            |usage: &Usage| usage.wall,
            |usage: &Usage| usage.processor(),
        ];
        let columns = columns.map(|time| {
            let [theirs, ours] = [&theirs, &our_own].map(|usages| {
                let times = usages.iter().map(time).collect();
                median(times).as_secs_f64() * 1000.0
            });
            format!("{theirs:.0} | {ours:.1} | {:.0}", theirs / ours)
        });
        println!(
            "| {mode} | `{}` | {} |",
            words.join(" "),
            columns.join(" | ")
        );
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
