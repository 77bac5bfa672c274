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
use std::fs;
use std::path::{Path, PathBuf};

use ravelin_testkit::corpus::{self, Set};
use ravelin_testkit::{Ignore, Usage, compare, measure};

use contender::{Contender, Job, Step};
use options::Options;
use table::{Measurement, Results};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::from_arguments(std::env::args().skip(1))?;
    let borg = ravelin_testkit::stock_borg().ok_or("stock Borg cannot be had")?;
    let contenders = [
        Contender::Borg(borg),
        Contender::Ours(options.program.clone()),
    ];
    fs::create_dir_all(&options.directory)?;

    let mut results = Results::default();
    for &set in &options.sets {
        let data = data_set(&options, set)?;
        for mode in &options.modes {
            for run in 0..options.runs {
                // Who begins changes from run to run.
                for turn in 0..contenders.len() {
                    let contender = &contenders[(run + turn) % contenders.len()];
                    let place = options.directory.join("run");
                    let job = Job {
                        data: &data,
                        place: &place,
                        mode,
                    };
                    one_run(contender, &job, &options, run == 0, |step, used, stored| {
                        eprintln!(
                            "{} {mode} run {run}: {} {step}: {:.2} s",
                            set.name(),
                            contender.name(),
                            used.wall.as_secs_f64()
                        );
                        results.add(Measurement {
                            set,
                            mode: mode.clone(),
                            step,
                            ours: contender.is_ours(),
                            used,
                            stored,
                        });
                    })?;
                }
            }
        }
        if !options.keep_data {
            fs::remove_dir_all(&data)?;
        }
    }
    print!("{}", results.to_markdown());
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

/// All steps of one program, in a place that is empty before and gone after.
fn one_run(
    contender: &Contender,
    job: &Job<'_>,
    options: &Options,
    check: bool,
    mut tell: impl FnMut(Step, Usage, u64),
) -> Result<(), Box<dyn Error>> {
    remove(job.place)?;
    fs::create_dir_all(job.place)?;
    contender.prepare(job)?;
    for step in Step::ALL {
        if !step.is_needed() && !options.steps.contains(&step) {
            continue;
        }
        corpus::warm(if step.reads_data() {
            job.data
        } else {
            job.place
        })?;
        rustix::fs::sync();
        let log = job.place.join("log");
        let mut command = contender.command(step, job)?;
        command
            .stdout(fs::File::create(&log)?)
            .stderr(fs::File::options().append(true).open(&log)?);
        let used = measure(&mut command)?;
        if !used.status.success() {
            let said = fs::read_to_string(&log)?;
            return Err(format!("{} {step}: {}\n{said}", contender.name(), used.status).into());
        }
        if step == Step::Restore {
            if check {
                check_restored(job)?;
            }
            remove(&job.restored())?;
        }
        if options.steps.contains(&step) {
            tell(step, used, corpus::bytes_below(&job.repository())?);
        }
    }
    Ok(remove(job.place)?)
}

/// A program that restores something else is not fast but wrong.
fn check_restored(job: &Job<'_>) -> Result<(), Box<dyn Error>> {
    let restored = contender::below(&job.restored(), job.data);
    let differences = compare(
        job.data,
        &restored,
        &Ignore {
            flags: true,
            ..Ignore::default()
        },
    );
    match differences.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "{} differences in what was restored: {first}",
            differences.len()
        )
        .into()),
    }
}

fn remove(directory: &Path) -> std::io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)
    } else {
        Ok(())
    }
}
