//! Makes a data set for measurements, the same every time.
//!
//! ```console
//! $ cargo run --release -p ravelin-testkit --example corpus -- mixed /tmp/mixed
//! $ cargo run --release -p ravelin-testkit --example corpus -- mixed /tmp/mixed --mutate 1 --digest
//! ```

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::path::PathBuf;

use ravelin_testkit::corpus::{self, Set};

const USAGE: &str =
    "usage: corpus mixed|small|big DIRECTORY [--scale FACTOR] [--mutate DAY] [--digest]

Makes the data set in DIRECTORY, which must not exist.
  --scale FACTOR  smaller or larger than the usual 1.0
  --mutate DAY    change the set that is there as a day of work does, instead of making it
  --digest        print a digest of all that is there then";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let set = arguments
        .next()
        .and_then(|name| Set::from_name(&name))
        .ok_or(USAGE)?;
    let directory = PathBuf::from(arguments.next().ok_or(USAGE)?);
    let (mut scale, mut day, mut wants_digest) = (1.0, None, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--scale" => scale = value()?.parse()?,
            "--mutate" => day = Some(value()?.parse()?),
            "--digest" => wants_digest = true,
            _ => return Err(USAGE.into()),
        }
    }
    match day {
        Some(day) => corpus::mutate(&directory, day)?,
        None => corpus::generate(set, &directory, scale)?,
    }
    if wants_digest {
        println!("{}", corpus::digest(&directory)?);
    }
    Ok(())
}
