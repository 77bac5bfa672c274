//! Measures our program against stock Borg on the same data, mode and compression.
//!
//! ```console
//! $ bash benches/borg.sh --quick
//! ```
//!
//! Both do the same steps in repositories of their own, in turns, so that a slow minute of the
//! machine hurts both. Before each step the page cache is filled with what the step reads
//! (Borg drops what it has read from there) and what is still to be written is written out.
//! The table shows medians; a ratio above 1 says how many times less ours took.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

mod contender;
mod options;
mod table;

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::id;

use ravelin_testkit::corpus::{self, Set};
use ravelin_testkit::{Ignore, Usage, apart, compare, launch_if_asked, measure};
use rustix::fs::IFlags;

use contender::{Contender, Job, Step};
use options::Options;
use table::{Measurement, Results};

fn main() -> Result<(), Box<dyn Error>> {
    launch_if_asked()?;
    let options = Options::from_arguments(std::env::args().skip(1))?;
    let borg = ravelin_testkit::stock_borg().ok_or("stock Borg cannot be had")?;
    let contenders = [
        Contender::Borg(borg),
        Contender::Ours(options.program.clone()),
    ];
    fs::create_dir_all(&options.directory)?;
    spread(&options.directory);

    let mut runs = Runs {
        options: &options,
        results: Results::default(),
    };
    runs.clear()?;
    for &set in &options.sets {
        let data = data_set(&options, set)?;
        for mode in &options.modes {
            for number in 0..options.runs {
                // Who begins changes from run to run.
                for turn in 0..contenders.len() {
                    let contender = &contenders[(number + turn) % contenders.len()];
                    // From the name follows the part of the disk.
                    let name = format!(
                        "run-{number}-{}-{}-{mode}-{}",
                        contender.name(),
                        set.name(),
                        id()
                    );
                    let place = options.directory.join(name);
                    let job = Job {
                        set,
                        data: &data,
                        place: &place,
                        mode,
                    };
                    runs.one(contender, &job, number == 0)?;
                }
            }
            runs.make_room()?;
        }
        if !options.keep_data {
            fs::remove_dir_all(&data)?;
        }
    }
    runs.clear()?;
    print!("{}", runs.results.to_markdown());
    Ok(())
}

/// The data set, made now unless it is there from the last time.
fn data_set(options: &Options, set: Set) -> Result<PathBuf, Box<dyn Error>> {
    let name = format!("{}-{}", set.name(), options.scale);
    let made = options.directory.join(&name);
    if made.exists() {
        return Ok(made);
    }
    // Under another name until it is whole.
    let partial = options.directory.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    eprintln!("making data set {name}");
    corpus::generate(set, &partial, options.scale)?;
    fs::rename(&partial, &made)?;
    Ok(made)
}

/// Asks ext4 to put each run's folder into another part of the disk.
///
/// It avoids the numbers of files that were removed minutes ago, and looks at each of them again
/// for every new file: whoever writes many files where many were removed pays for that. So what
/// the runs leave stays as long as there is room. Other file systems do not know the flag, and
/// need not.
fn spread(directory: &Path) {
    let flagged = File::open(directory).and_then(|directory| {
        let flags = rustix::fs::ioctl_getflags(&directory)?;
        Ok(rustix::fs::ioctl_setflags(
            &directory,
            flags | IFlags::TOPDIR,
        )?)
    });
    if let Err(error) = flagged {
        eprintln!("runs are not spread over the disk: {error}");
    }
}

/// Bytes that the runs of one data set in one mode take at most.
const ROOM: u64 = 12 << 30;

struct Runs<'a> {
    options: &'a Options,
    results: Results,
}

impl Runs<'_> {
    /// All steps of one program. What it leaves stays until [`clear`](Self::clear).
    fn one(
        &mut self,
        contender: &Contender,
        job: &Job<'_>,
        check: bool,
    ) -> Result<(), Box<dyn Error>> {
        fs::create_dir_all(job.place)?;
        contender.prepare(job)?;
        for step in Step::ALL {
            let wanted = self.options.steps.contains(&step);
            if !wanted && !step.is_needed() {
                continue;
            }
            let used = one_step(contender, step, job)?;
            if step == Step::Restore && check {
                check_restored(contender, job)?;
            }
            if wanted {
                eprintln!(
                    "{} {} {step}: {} {:.2} s",
                    job.set.name(),
                    job.mode,
                    contender.name(),
                    used.wall.as_secs_f64()
                );
                self.results.add(Measurement {
                    set: job.set,
                    mode: job.mode.clone(),
                    step,
                    ours: contender.is_ours(),
                    used,
                    stored: corpus::bytes_below(&job.repository())?,
                });
            }
        }
        Ok(())
    }

    /// Removes what all runs have left, unless there is room for the next.
    fn make_room(&self) -> Result<(), Box<dyn Error>> {
        let disk = rustix::fs::statvfs(&self.options.directory)?;
        if disk.f_bavail * disk.f_frsize < ROOM {
            self.clear()?;
        }
        Ok(())
    }

    /// Removes what all runs have left.
    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.options.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("run-") {
                fs::remove_dir_all(entry.path())?;
            }
        }
        rustix::fs::sync();
        Ok(())
    }
}

fn one_step(contender: &Contender, step: Step, job: &Job<'_>) -> Result<Usage, Box<dyn Error>> {
    let repository = job.repository();
    corpus::warm(if step.reads_data() {
        job.data
    } else {
        &repository
    })?;
    rustix::fs::sync();
    let log = job.place.join("log");
    let mut command = apart(&contender.command(step, job)?)?;
    command
        .stdout(File::create(&log)?)
        .stderr(File::options().append(true).open(&log)?);
    let used = measure(&mut command)?;
    if used.status.success() {
        return Ok(used);
    }
    let said = fs::read_to_string(&log)?;
    Err(format!("{} {step}: {}\n{said}", contender.name(), used.status).into())
}

/// A program that restores something else is not fast but wrong.
fn check_restored(contender: &Contender, job: &Job<'_>) -> Result<(), Box<dyn Error>> {
    let restored = contender.restored(job);
    let ignore = Ignore {
        flags: true,
        ..Ignore::default()
    };
    let differences = compare(job.data, &restored, &ignore);
    let Some(first) = differences.first() else {
        return Ok(());
    };
    Err(format!(
        "{} differences in what was restored: {first}",
        differences.len()
    )
    .into())
}
