//! Measures what a repository takes over time: listing, checking, one file, a mount, pruning.
//!
//! ```console
//! $ bash benches/borg-time.sh --files 10000 --snapshots 100
//! $ bash benches/borg-time.sh --files 1000000 --snapshots 3 --keep 1 --runs 1
//! ```
//!
//! Our program makes the snapshots; then both programs do each step on copies of one state of
//! repository and caches, in turns. The table shows medians; a ratio above 1 says how many times
//! less ours took.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::error::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ravelin_testkit::{Random, StockBorg, Usage, apart, launch_if_asked, measure, run};

const PRUNE: &str = "prune and compact";
const MOUNT: &str = "mount, one folder, one file";

type Failure = Box<dyn Error>;

const PASSPHRASE: &str = "known to both";

struct Options {
    files: usize,
    snapshots: usize,
    runs: usize,
    /// Snapshots that pruning keeps.
    keep: String,
    /// Parts of the names of steps that are measured; empty: all.
    steps: Vec<String>,
    /// Steps for which the stock program takes too long.
    ours_only: Vec<String>,
    directory: PathBuf,
}

impl Options {
    fn from_arguments(arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            files: 10_000,
            snapshots: 100,
            runs: 3,
            keep: "10".into(),
            steps: Vec::new(),
            ours_only: Vec::new(),
            directory: "target/bench-time".into(),
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or("a value is missing")?;
            match name.as_str() {
                "--files" => options.files = value.parse()?,
                "--snapshots" => options.snapshots = value.parse()?,
                "--runs" => options.runs = value.parse()?,
                "--keep" => options.keep = value,
                "--steps" => options.steps = list(&value),
                "--ours-only" => options.ours_only = list(&value),
                "--directory" => options.directory = value.into(),
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::to_owned).collect()
}

/// Whether one of the parts is in the name of a step.
fn names(parts: &[String], step: &str) -> bool {
    parts.iter().any(|part| step.contains(part.as_str()))
}

/// Where things are; both programs see the same repository, caches and keys.
struct Place {
    home: PathBuf,
    /// Copies of repository and Borg's directories as they are before a step that changes them.
    pristine: PathBuf,
    stock: StockBorg,
    program: PathBuf,
}

impl Place {
    fn repository(&self) -> PathBuf {
        self.home.join("repository")
    }

    fn ravelin(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        self.stock.settle(&mut command);
        command
            .args(arguments)
            .env("HOME", &self.home)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .current_dir(&self.home);
        command
    }

    fn configure(&self, more: &str) -> Result<(), Failure> {
        let folder = self.home.join(".config/ravelin");
        fs::create_dir_all(&folder)?;
        let passphrase = self.home.join("passphrase");
        fs::write(&passphrase, PASSPHRASE)?;
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600))?;
        fs::write(
            folder.join("ravelin.toml"),
            format!(
                "[[source]]\npaths = [\"~/source\"]\n\n[layer.disk]\nkind = \"borg\"\n\
                 store = \"~/repository\"\npassphrase = {{ file = \"~/passphrase\" }}\n{more}"
            ),
        )?;
        Ok(())
    }

    fn save(&self) {
        let _ = fs::remove_dir_all(&self.pristine);
        copy(&self.repository(), &self.pristine.join("repository"));
        copy(self.stock.base_dir(), &self.pristine.join("base"));
    }

    fn reset(&self) {
        for (from, to) in [
            ("repository", self.repository()),
            ("base", self.stock.base_dir().to_owned()),
        ] {
            let _ = fs::remove_dir_all(&to);
            copy(&self.pristine.join(from), &to);
        }
        drop(run(&mut Command::new("sync")));
    }
}

fn copy(from: &Path, to: &Path) {
    if let Some(parent) = to.parent() {
        let _ = fs::create_dir_all(parent);
    }
    drop(run(Command::new("cp").arg("-a").args([from, to])));
}

/// A step: what it is called, the commands of ours, and those of stock Borg.
struct Step {
    name: &'static str,
    changes: bool,
    ours: Vec<Vec<String>>,
    theirs: Vec<Vec<String>>,
}

fn main() -> Result<(), Failure> {
    launch_if_asked()?;
    let options = Options::from_arguments(std::env::args().skip(1))?;
    let stock = ravelin_testkit::stock_borg_with_fuse()
        .or_else(ravelin_testkit::stock_borg)
        .ok_or("stock Borg cannot be had")?
        .with_passphrase(PASSPHRASE)
        // As everybody has it; the tests leave it out to save time.
        .with_env("BORG_SELFTEST", "enabled");
    let directory = std::path::absolute(&options.directory)?;
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    let place = Place {
        home: directory.join("home"),
        pristine: directory.join("pristine"),
        stock,
        program: std::path::absolute("target/release/ravelin")?,
    };
    make(&place, &options)?;
    place.save();
    let repository = place.repository();
    let repository = repository.to_str().ok_or("a path that is no text")?;
    let list = place.stock.run(["list", "--short", repository]);
    let latest = list.lines().last().ok_or("no archive")?;
    let archive = format!("{repository}::{latest}");
    let source = place.home.join("source");
    let source = source.to_str().ok_or("a path that is no text")?;
    let again = format!("{repository}::again");
    // At the end of the archive, so that nobody is lucky.
    let last = options.files.saturating_sub(1);
    let file = format!(
        "{}/source/{:03}/{}",
        place.home.display(),
        last / 1000,
        last % 1000
    );
    let in_archive = file.trim_start_matches('/');
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let steps = [
        Step {
            name: "list",
            changes: false,
            ours: vec![words(&["snapshots"])],
            theirs: vec![words(&["list", repository])],
        },
        Step {
            name: "info",
            changes: false,
            ours: vec![words(&["info", "latest"])],
            theirs: vec![words(&["info", &archive])],
        },
        Step {
            name: "all names of a snapshot",
            changes: false,
            ours: vec![words(&["ls", "--recursive", "latest"])],
            theirs: vec![words(&["list", "--short", &archive])],
        },
        Step {
            name: "one file",
            changes: false,
            ours: vec![words(&["cat", "latest", &file])],
            theirs: vec![words(&["extract", "--stdout", &archive, in_archive])],
        },
        Step {
            name: "check",
            changes: false,
            ours: vec![words(&["repair", "--dry-run"])],
            theirs: vec![words(&["check", repository])],
        },
        Step {
            name: "check with data",
            changes: false,
            ours: vec![words(&["repair", "--dry-run", "--data"])],
            theirs: vec![words(&["check", "--verify-data", repository])],
        },
        Step {
            name: "backup, nothing changed",
            changes: true,
            ours: vec![words(&["backup"])],
            theirs: vec![words(&["create", &again, source])],
        },
        Step {
            name: PRUNE,
            changes: true,
            ours: vec![words(&["prune"])],
            theirs: vec![
                words(&["prune", "--keep-last", &options.keep, repository]),
                words(&["compact", repository]),
            ],
        },
    ];
    println!(
        "| {} files, {} snapshots | Borg s | ours s | ratio | Borg MiB | ours MiB |",
        options.files, options.snapshots
    );
    println!("|---|--:|--:|--:|--:|--:|");
    let is_wanted = |step: &str| options.steps.is_empty() || names(&options.steps, step);
    for step in steps.iter().filter(|step| is_wanted(step.name)) {
        // Else a backup prunes as well.
        place.configure(&match step.name {
            PRUNE => format!("keep = {{ last = {} }}\n", options.keep),
            _ => String::new(),
        })?;
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        for number in 0..options.runs {
            for turn in 0..2 {
                if step.changes {
                    place.reset();
                }
                let is_ours = (number + turn) % 2 == 0;
                if !is_ours && names(&options.ours_only, step.name) {
                    continue;
                }
                if is_ours {
                    ours.push(all(&step.ours, |words| {
                        let words: Vec<&str> = words.iter().map(String::as_str).collect();
                        place.ravelin(&words)
                    })?);
                } else {
                    theirs.push(all(&step.theirs, |words| place.stock.command(words))?);
                }
            }
        }
        show(step.name, median(ours), median(theirs));
    }
    if Path::new("/dev/fuse").exists() && is_wanted(MOUNT) {
        place.reset();
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        let mount_point = directory.join("mnt");
        fs::create_dir_all(&mount_point)?;
        let at = mount_point.to_str().ok_or("a path that is no text")?;
        let file = mount_point.join(in_archive);
        for _ in 0..options.runs {
            let mount = place.ravelin(&["mount", "--foreground", "--snapshot", "latest", at]);
            ours.push(mounted(mount, &mount_point, &file)?);
            if !names(&options.ours_only, MOUNT) {
                let mount = place.stock.command(["mount", "--foreground", &archive, at]);
                theirs.push(mounted(mount, &mount_point, &file)?);
            }
        }
        show(MOUNT, median(ours), median(theirs));
    }
    fs::remove_dir_all(&directory)?;
    Ok(())
}

fn show(name: &str, ours: (Duration, u64), theirs: (Duration, u64)) {
    if theirs.1 == 0 {
        let (seconds, peak) = (ours.0.as_secs_f64(), ours.1 >> 20);
        println!("| {name} | | {seconds:.3} | | | {peak} |");
        return;
    }
    println!(
        "| {name} | {:.3} | {:.3} | {:.1} | {} | {} |",
        theirs.0.as_secs_f64(),
        ours.0.as_secs_f64(),
        theirs.0.as_secs_f64() / ours.0.as_secs_f64(),
        theirs.1 >> 20,
        ours.1 >> 20,
    );
}

/// Starts a program that mounts; gives the time until the folder of a file was listed and the file
/// read, and the largest memory.
fn mounted(
    mut mount: Command,
    mount_point: &Path,
    file: &Path,
) -> Result<(Duration, u64), Failure> {
    let began = Instant::now();
    let mut child = mount.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    while !fs::read_to_string("/proc/self/mounts")?.contains(&*mount_point.to_string_lossy()) {
        if let Some(status) = child.try_wait()? {
            return Err(format!("{mount:?} ended with {status}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let folder = file.parent().ok_or("a file without a folder")?;
    let count = fs::read_dir(folder)?.count();
    let size = fs::read(file)?.len();
    let took = began.elapsed();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .ok_or("no peak of memory")?;
    drop(run(Command::new("fusermount3").arg("-u").arg(mount_point)));
    child.wait()?;
    if count == 0 || size == 0 {
        return Err("nothing is mounted".into());
    }
    Ok((took, peak << 10))
}

/// The repository with its snapshots.
fn make(place: &Place, options: &Options) -> Result<(), Failure> {
    let mut random = Random::new(1);
    let began = Instant::now();
    let source = place.home.join("source");
    for number in 0..options.files {
        let folder = source.join(format!("{:03}", number / 1000));
        if number % 1000 == 0 {
            fs::create_dir_all(&folder)?;
        }
        let text = format!("file {number} {:016x}\n", random.next_u64()).repeat(20);
        fs::write(folder.join((number % 1000).to_string()), text)?;
    }
    place.configure("")?;
    drop(run(&mut place.ravelin(&["init"])));
    for snapshot in 0..options.snapshots {
        for _ in 0..20 {
            let number = random.index(options.files);
            let file = source.join(format!("{:03}/{}", number / 1000, number % 1000));
            fs::write(file, random.noise(5000))?;
        }
        let used = measure(apart(&place.ravelin(&["backup"]))?.stdout(Stdio::null()))?;
        if !used.status.success() {
            return Err(format!("a backup ended with {}", used.status).into());
        }
        if snapshot % 20 == 0 {
            let seconds = used.wall.as_secs_f64();
            let peak = used.peak_memory >> 20;
            eprintln!("snapshot {snapshot}: {seconds:.2} s, {peak} MiB");
        }
    }
    eprintln!("made in {:.0?}", began.elapsed());
    Ok(())
}

/// Runs commands one after the other; gives the time of all and the largest memory.
fn all(
    list: &[Vec<String>],
    command: impl Fn(&[String]) -> Command,
) -> Result<(Duration, u64), Failure> {
    let mut sum = (Duration::ZERO, 0);
    for words in list {
        let used: Usage = measure(apart(&command(words))?.stdout(Stdio::null()))?;
        if !used.status.success() {
            return Err(format!("{words:?} ended with {}", used.status).into());
        }
        sum.0 += used.wall;
        sum.1 = sum.1.max(used.peak_memory);
    }
    Ok(sum)
}

fn median(mut list: Vec<(Duration, u64)>) -> (Duration, u64) {
    list.sort();
    list.get(list.len() / 2).copied().unwrap_or_default()
}
