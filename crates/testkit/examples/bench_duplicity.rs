//! Measures our program against stock duplicity on the same data.
//!
//! ```console
//! $ bash benches/duplicity.sh --quick
//! ```
//!
//! Both do the same steps on the same files, in turns, each into an archive of its own. Before each
//! step what it reads is brought into the page cache and what is to be written is written out. The
//! table shows medians; a ratio above 1 says how many times less ours took.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ravelin_testkit::corpus::{self, Set};
use ravelin_testkit::{StockDuplicity, Usage, apart, launch_if_asked, measure};

const PASSPHRASE: &str = "of the measurements";

const USAGE: &str = "usage: duplicity.sh [OPTION…]

  --quick            a twentieth of the data, one run: does it work?
  --runs N           how many runs of each, of which the median counts (default: 1)
  --sets A,B         of mixed, small, big (default: mixed,small)
  --modes A,B        of passphrase, none (default: passphrase)
  --chain N          increments before one file is restored (default: 10)
  --scale F          size of the data sets (default: 1.0)
  --dir DIRECTORY    where data and archives are (default: target/bench)
  --program PATH     our program (default: target/release/ravelin)

Prints a table in Markdown to stdout, progress to stderr.";

struct Options {
    runs: usize,
    sets: Vec<Set>,
    modes: Vec<String>,
    chain: u64,
    scale: f64,
    directory: PathBuf,
    program: PathBuf,
}

impl Options {
    fn from_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            runs: 1,
            sets: vec![Set::Mixed, Set::Small],
            modes: vec!["passphrase".to_owned()],
            chain: 10,
            scale: 1.0,
            directory: PathBuf::from("target/bench"),
            program: PathBuf::from("target/release/ravelin"),
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match argument.as_str() {
                "--quick" => options.scale = 0.05,
                "--runs" => options.runs = value()?.parse()?,
                "--sets" => {
                    let sets = value()?;
                    let sets = sets
                        .split(',')
                        .map(|name| Set::from_name(name).ok_or(USAGE));
                    options.sets = sets.collect::<Result<_, _>>()?;
                }
                "--modes" => options.modes = value()?.split(',').map(str::to_owned).collect(),
                "--chain" => options.chain = value()?.parse()?,
                "--scale" => options.scale = value()?.parse()?,
                "--dir" => options.directory = value()?.into(),
                "--program" => options.program = value()?.into(),
                _ => return Err(USAGE.into()),
            }
        }
        options.directory = std::path::absolute(&options.directory)?;
        options.program = std::path::absolute(&options.program)?;
        Ok(options)
    }
}

/// What is measured, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Full,
    Unchanged,
    Day,
    Restore,
    OneFile,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unchanged => "nothing changed",
            Self::Day => "a day's changes",
            Self::Restore => "restore everything",
            Self::OneFile => "restore one file",
        }
    }
}

enum Contender {
    Stock(Box<StockDuplicity>),
    Ours(PathBuf),
}

/// One contender on one set in one mode.
struct Job<'a> {
    data: &'a Path,
    place: PathBuf,
    mode: &'a str,
}

impl Job<'_> {
    fn store(&self) -> PathBuf {
        self.place.join("store")
    }

    fn url(&self) -> String {
        format!("file://{}", self.store().display())
    }
}

impl Contender {
    fn name(&self) -> &'static str {
        match self {
            Self::Stock(_) => "duplicity",
            Self::Ours(_) => "ravelin",
        }
    }

    fn prepare(&self, job: &Job<'_>) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(job.store())?;
        fs::create_dir_all(job.place.join("tmp"))?;
        let Self::Ours(_) = self else { return Ok(()) };
        let passphrase = job.place.join("passphrase");
        fs::write(&passphrase, PASSPHRASE)?;
        fs::set_permissions(&passphrase, fs::Permissions::from_mode(0o600))?;
        fs::write(
            job.place.join("ravelin.toml"),
            format!(
                "[[source]]\npaths = [{:?}]\nexclude-caches = false\n\n\
                 [layer.bench]\nkind = \"duplicity\"\nstore = {:?}\nschedule = \"manual\"\n\
                 encryption = {:?}\npassphrase = {{ file = {:?} }}\n",
                job.data.display().to_string(),
                job.store().display().to_string(),
                job.mode,
                passphrase.display().to_string(),
            ),
        )?;
        run(&self.ours(job, &["init"]), &job.place)?;
        Ok(())
    }

    fn ours(&self, job: &Job<'_>, arguments: &[&str]) -> Command {
        let Self::Ours(program) = self else {
            return Command::new("false");
        };
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(job.place.join("ravelin.toml"))
            .args(arguments)
            .env("HOME", &job.place)
            .env("TMPDIR", job.place.join("tmp"));
        for (variable, folder) in [
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_STATE_HOME", "state"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_DATA_HOME", "share"),
        ] {
            command.env(variable, job.place.join(folder));
        }
        command
    }

    fn stock(&self, job: &Job<'_>, arguments: &[&str]) -> Command {
        let Self::Stock(stock) = self else {
            return Command::new("false");
        };
        let mut command = stock.command(arguments);
        command.args([
            "--archive-dir",
            &job.place.join("cache").display().to_string(),
        ]);
        if job.mode == "none" {
            command.arg("--no-encryption");
        } else {
            command.env("PASSPHRASE", PASSPHRASE);
        }
        command.env("TMPDIR", job.place.join("tmp"));
        command
    }

    fn back_up(&self, job: &Job<'_>, full: bool) -> Command {
        match self {
            Self::Stock(_) => {
                let action = if full { "full" } else { "incremental" };
                let data = job.data.display().to_string();
                self.stock(job, &[action, &data, &job.url()])
            }
            Self::Ours(_) => self.ours(job, &["backup"]),
        }
    }

    /// Restores a path of the data, or all of it.
    fn restore(&self, job: &Job<'_>, path: Option<&Path>, target: &Path) -> Command {
        match self {
            Self::Stock(_) => {
                let (url, target) = (job.url(), target.display().to_string());
                let mut arguments = vec!["restore".to_owned()];
                if let Some(path) = path {
                    arguments.push(format!("--path-to-restore={}", path.display()));
                }
                arguments.extend([url, target]);
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                self.stock(job, &arguments)
            }
            Self::Ours(_) => {
                let path = path.map_or(job.data.to_owned(), |path| job.data.join(path));
                let (path, target) = (path.display().to_string(), target.display().to_string());
                self.ours(job, &["restore", "latest", &path, "--to", &target])
            }
        }
    }

    /// Where what was restored is.
    fn restored(&self, job: &Job<'_>, path: Option<&Path>, target: &Path) -> PathBuf {
        match self {
            Self::Stock(_) => target.to_owned(),
            Self::Ours(_) => {
                let name = path.unwrap_or(job.data).file_name();
                target.join(name.unwrap_or_default())
            }
        }
    }
}

fn run(command: &Command, place: &Path) -> Result<Usage, Box<dyn Error>> {
    let log = place.join("log");
    let mut apart = apart(command)?;
    apart
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?);
    let used = measure(&mut apart)?;
    if used.status.success() {
        return Ok(used);
    }
    let said = fs::read_to_string(&log)?;
    Err(format!("{command:?}: {}\n{said}", used.status).into())
}

/// Whether two folders or files have the same content.
fn compare(one: &Path, other: &Path) -> Result<(), Box<dyn Error>> {
    let output = Command::new("diff")
        .args(["--recursive", "--no-dereference", "--brief"])
        .args([one, other])
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Err(format!("wrong: {}", said.lines().next().unwrap_or("?")).into())
}

#[derive(Debug, Default)]
struct Figures {
    wall: Vec<Duration>,
    processor: Vec<Duration>,
    memory: Vec<u64>,
    stored: Vec<u64>,
}

type Results = BTreeMap<(String, String, Step, &'static str), Figures>;

fn main() -> Result<(), Box<dyn Error>> {
    launch_if_asked()?;
    let options = Options::from_arguments(std::env::args().skip(1))?;
    let stock = ravelin_testkit::stock_duplicity().ok_or("stock duplicity cannot be had")?;
    let contenders = [
        Contender::Stock(Box::new(stock)),
        Contender::Ours(options.program.clone()),
    ];
    let base = options.directory.join("duplicity");
    let mut results = Results::new();
    for &set in &options.sets {
        for mode in &options.modes {
            for number in 0..options.runs {
                if base.exists() {
                    fs::remove_dir_all(&base)?;
                }
                fs::create_dir_all(&base)?;
                one_run(
                    &options,
                    &contenders,
                    set,
                    mode,
                    number,
                    &base,
                    &mut results,
                )?;
            }
        }
    }
    fs::remove_dir_all(&base)?;
    print(&results);
    Ok(())
}

/// What both do in turns.
type Act<'a> = dyn FnMut(&Contender, &Job<'_>) -> Result<(), Box<dyn Error>> + 'a;

fn one_run(
    options: &Options,
    contenders: &[Contender],
    set: Set,
    mode: &str,
    number: usize,
    base: &Path,
    results: &mut Results,
) -> Result<(), Box<dyn Error>> {
    let data = base.join("data");
    eprintln!("making data set {}", set.name());
    corpus::generate(set, &data, options.scale)?;
    let jobs: Vec<Job<'_>> = contenders
        .iter()
        .map(|contender| Job {
            data: &data,
            place: base.join(contender.name()),
            mode,
        })
        .collect();
    for (contender, job) in contenders.iter().zip(&jobs) {
        contender.prepare(job)?;
    }
    let mut note = |step: Step, contender: &Contender, job: &Job<'_>, used: Usage| {
        eprintln!(
            "{} {mode} {}: {} {:.2} s",
            set.name(),
            contender.name(),
            step.name(),
            used.wall.as_secs_f64()
        );
        let key = (
            set.name().to_owned(),
            mode.to_owned(),
            step,
            contender.name(),
        );
        let figures = results.entry(key).or_default();
        figures.wall.push(used.wall);
        figures.processor.push(used.processor());
        figures.memory.push(used.peak_memory);
        figures
            .stored
            .push(corpus::bytes_below(&job.store()).unwrap_or(0));
    };
    // Who begins changes from run to run and from step to step.
    let mut turn = number;
    let mut each = |act: &mut Act<'_>| {
        turn += 1;
        for offset in 0..contenders.len() {
            let index = (turn + offset) % contenders.len();
            if let (Some(contender), Some(job)) = (contenders.get(index), jobs.get(index)) {
                rustix::fs::sync();
                act(contender, job)?;
            }
        }
        Ok::<(), Box<dyn Error>>(())
    };
    for step in [Step::Full, Step::Unchanged, Step::Day] {
        if step == Step::Day {
            corpus::mutate(&data, 1)?;
        }
        each(&mut |contender, job| {
            corpus::warm(&data)?;
            let used = run(&contender.back_up(job, step == Step::Full), &job.place)?;
            note(step, contender, job, used);
            Ok(())
        })?;
    }
    each(&mut |contender, job| {
        corpus::warm(&job.store())?;
        let target = job.place.join("restored");
        let used = run(&contender.restore(job, None, &target), &job.place)?;
        note(Step::Restore, contender, job, used);
        if number == 0 {
            compare(&data, &contender.restored(job, None, &target))?;
        }
        Ok(())
    })?;
    // Not earlier: ext4 is slow to make files where many were removed seconds ago.
    for job in &jobs {
        fs::remove_dir_all(job.place.join("restored"))?;
    }
    for day in 2..=options.chain {
        corpus::mutate(&data, day)?;
        each(&mut |contender, job| run(&contender.back_up(job, false), &job.place).map(drop))?;
    }
    let file = some_file(&data)?;
    each(&mut |contender, job| {
        corpus::warm(&job.store())?;
        let target = job.place.join("one");
        let used = run(&contender.restore(job, Some(&file), &target), &job.place)?;
        note(Step::OneFile, contender, job, used);
        compare(
            &data.join(&file),
            &contender.restored(job, Some(&file), &target),
        )?;
        Ok(())
    })
}

/// A file from the middle of the data, relative to it.
fn some_file(data: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let mut files = Vec::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.path().to_str().is_some_and(str::is_ascii) {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    let middle = files.get(files.len() / 2).ok_or("the data set is empty")?;
    Ok(middle.strip_prefix(data)?.to_owned())
}

fn median<T: Copy + Ord>(values: &[T]) -> Option<T> {
    let mut values = values.to_vec();
    values.sort();
    values.get(values.len() / 2).copied()
}

fn print(results: &Results) {
    println!(
        "| set | encryption | step | duplicity s | ours s | **ratio** | duplicity CPU s | ours CPU s | duplicity MiB | ours MiB | duplicity MB stored | ours MB stored |"
    );
    println!("|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for ((set, mode, step, name), stock) in results {
        if *name != "duplicity" {
            continue;
        }
        let Some(ours) = results.get(&(set.clone(), mode.clone(), *step, "ravelin")) else {
            continue;
        };
        let seconds = |values: &[Duration]| median(values).map_or(0.0, |value| value.as_secs_f64());
        let number = |values: &[u64], unit: u64| median(values).unwrap_or(0) / unit;
        println!(
            "| {set} | {mode} | {} | {:.2} | {:.2} | **{:.1}** | {:.1} | {:.1} | {} | {} | {} | {} |",
            step.name(),
            seconds(&stock.wall),
            seconds(&ours.wall),
            seconds(&stock.wall) / seconds(&ours.wall).max(0.001),
            seconds(&stock.processor),
            seconds(&ours.processor),
            number(&stock.memory, 1 << 20),
            number(&ours.memory, 1 << 20),
            number(&stock.stored, 1_000_000),
            number(&ours.stored, 1_000_000),
        );
    }
}
