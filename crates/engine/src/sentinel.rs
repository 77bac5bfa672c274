//! The sentinel: a file that is written for nothing but to come back.
//!
//! Before each backup it gets a content that nobody can guess. It is backed up with everything else, what it
//! was is recorded with the sample, and every drill restores it: so it is known of each layer that what this
//! very machine wrote at a known time has come the whole way there and back, also where no other file of
//! the sample has changed for years.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::{Config, Machine, Places, create_private_folder, replace_private_file};

/// Where it is.
pub(crate) fn place(places: &Places) -> PathBuf {
    places.state.join("sentinel")
}

/// Writes it anew, where it is wanted. That it cannot be written fails no backup: the one of before stays.
pub(crate) fn write(config: &Config, machine: &Machine) {
    let Some(file) = &config.sentinel else {
        return;
    };
    let mut random = [0; 32];
    if (machine.random)(&mut random).is_err() {
        return;
    }
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Written by ravelin to see whether it comes back from the backups."
    );
    let _ = writeln!(text, "machine {}", machine.host);
    let _ = writeln!(text, "time {}", machine.now().timestamp());
    let _ = writeln!(text, "random {}", hex::encode(random));
    if create_private_folder(&machine.places.state).is_ok() {
        let _ = replace_private_file(file, text.as_bytes());
    }
}
