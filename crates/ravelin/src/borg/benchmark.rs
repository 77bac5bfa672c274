//! `borg benchmark crud`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::arguments::Arguments;
use super::fail::Failure;
use super::place::variable;
use super::session::Session;
use super::{print, text};

/// A set of files: its letter, how many, how large, and whether they are random.
const SETS: &[(&str, usize, usize, bool)] = &[
    ("BIG", 10, 100_000_000, false),
    ("R-BIG", 10, 100_000_000, true),
    ("MEDIUM", 1000, 1_000_000, false),
    ("R-MEDIUM", 1000, 1_000_000, true),
    ("SMALL", 10_000, 10_000, false),
    ("R-SMALL", 10_000, 10_000, true),
];

/// The same, to see that it works at all.
const TEST_SETS: &[(&str, usize, usize, bool)] = &[("TEST", 1, 1, false), ("R-TEST", 10, 10, true)];

/// Each set is made into an archive, read, made into one again and deleted.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let folder = PathBuf::from(arguments.os("path").unwrap_or_default());
    let sets = match variable("_BORG_BENCHMARK_CRUD_TEST") {
        Some(_) => TEST_SETS,
        None => SETS,
    };
    let repository = spot.written.clone();
    for (name, count, size, is_random) in sets {
        session.go_on()?;
        let data = folder.join("borg-test-data");
        let made = make(&data, *count, *size, *is_random);
        let measured = made.and_then(|()| measure(&repository, &data));
        // Whatever came of it, gigabytes must not stay.
        let removed = fs::remove_dir_all(&data);
        let times = measured?;
        removed?;
        let bytes = (*count as u64) * (*size as u64);
        for (letter, time) in ["C", "R", "U", "D"].iter().zip(times) {
            #[expect(clippy::cast_precision_loss, reason = "a speed for people")]
            let speed = bytes as f64 / time.as_secs_f64().max(1e-6) / 1e6;
            let kind = if *is_random { "random" } else { "all-zero" };
            let line = format!(
                "{letter}-{name:<10} {speed:9.2} MB/s ({count} * {} {kind} files: {:.2}s)\n",
                text::size(*size as u64, session.iec),
                time.as_secs_f64()
            );
            print(line.as_bytes())?;
        }
    }
    Ok(())
}

fn make(folder: &Path, count: usize, size: usize, is_random: bool) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let mut content = vec![0; size];
    for number in 0..count {
        if is_random {
            engine::random::system(&mut content)?;
        }
        let mut file = fs::File::create(folder.join(format!("file-{number}")))?;
        file.write_all(&content)?;
    }
    Ok(())
}

/// Create, extract, create again, delete: by this program, as it would be called.
fn measure(repository: &str, data: &Path) -> Result<[Duration; 4], Failure> {
    let program = std::env::current_exe()?;
    let time = |words: &[&str]| -> Result<Duration, Failure> {
        let began = Instant::now();
        let status = Command::new(&program)
            .arg("borg")
            .args(words)
            .stdout(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(began.elapsed()),
            false => Err(Failure::error(format!("`borg {}` failed", words.join(" ")))),
        }
    };
    let archive = format!("{repository}::borg-benchmark-crud");
    let again = format!("{archive}-again");
    let data = data.to_string_lossy();
    let created = time(&[
        "create",
        "--compression=none",
        "--files-cache=disabled",
        &archive,
        &data,
    ])?;
    let read = time(&["extract", "--dry-run", &archive])?;
    let updated = time(&[
        "create",
        "--compression=none",
        "--files-cache=disabled",
        &again,
        &data,
    ])?;
    let began = Instant::now();
    time(&["delete", &archive])?;
    time(&["delete", &again])?;
    Ok([created, read, updated, began.elapsed()])
}
