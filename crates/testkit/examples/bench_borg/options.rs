//! What is to be measured.

use std::path::PathBuf;

use ravelin_testkit::corpus::Set;

use crate::contender::{Mode, Step};

pub(crate) const USAGE: &str = "usage: borg.sh [OPTION…]

  --quick            a twentieth of the data, one run, two modes: does it work?
  --runs N           how many runs of each, of which the median counts (default: 3)
  --sets A,B         of mixed, small, big (default: all)
  --modes A,B        of repokey-blake2+lz4, repokey+lz4, repokey-blake2+zstd,3, none+lz4
                     (default: all), separated by spaces or semicolons
  --steps A,B        of first, second, restore, verify (default: all)
  --scale F          size of the data sets (default: 1.0)
  --dir DIRECTORY    where data and repositories are (default: target/bench); takes four
                     times the largest set for each run
  --program PATH     our program (default: target/release/ravelin)
  --drop-data        remove the data sets afterwards

Prints a table in Markdown to stdout, progress to stderr.";

/// The command line, understood.
pub(crate) struct Options {
    pub(crate) runs: usize,
    pub(crate) sets: Vec<Set>,
    pub(crate) modes: Vec<Mode>,
    pub(crate) steps: Vec<Step>,
    pub(crate) scale: f64,
    pub(crate) directory: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) keep_data: bool,
}

impl Options {
    pub(crate) fn from_arguments(
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<Self, String> {
        let mut options = Self {
            runs: 3,
            sets: Set::ALL.to_vec(),
            modes: Mode::all(),
            steps: Step::ALL.to_vec(),
            scale: 1.0,
            directory: PathBuf::from("target/bench"),
            program: PathBuf::from("target/release/ravelin"),
            keep_data: true,
        };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(USAGE);
            match argument.as_str() {
                "--quick" => {
                    options.runs = 1;
                    options.scale = 0.05;
                    options.modes.retain(|mode| mode.compression == "lz4");
                    options.modes.truncate(2);
                }
                "--runs" => options.runs = value()?.parse().map_err(|_| USAGE)?,
                "--sets" => options.sets = each(value()?.split(','), Set::from_name)?,
                "--modes" => options.modes = each(value()?.split([' ', ';']), Mode::from_name)?,
                "--steps" => options.steps = each(value()?.split(','), Step::from_name)?,
                "--scale" => options.scale = value()?.parse().map_err(|_| USAGE)?,
                "--dir" => options.directory = value()?.into(),
                "--program" => options.program = value()?.into(),
                "--drop-data" => options.keep_data = false,
                _ => return Err(USAGE.to_owned()),
            }
        }
        // Programs are started in other directories.
        options.directory = absolute(options.directory)?;
        options.program = absolute(options.program)?;
        Ok(options)
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| error.to_string())
}

fn each<'a, T>(
    names: impl Iterator<Item = &'a str>,
    from_name: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, String> {
    names
        .map(|name| from_name(name).ok_or_else(|| format!("{name}?\n{USAGE}")))
        .collect()
}
