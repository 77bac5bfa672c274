//! borgmatic, which calls Borg by a configuration file.

use std::path::PathBuf;
use std::sync::OnceLock;

use super::{Recipe, environment};
use crate::skip::missing;

const BORGMATIC: Recipe = Recipe {
    name: "borgmatic-2.0.13",
    requirement: "borgmatic==2.0.13",
    packages: &["python3-venv"],
};

/// The program, installed on first use into `target/stock/`.
///
/// Where it cannot be had the test is said to be skipped and nothing is given back.
///
/// # Panics
///
/// In CI, when it cannot be had.
#[must_use]
pub fn stock_borgmatic() -> Option<PathBuf> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INSTALLED.get_or_init(|| environment(&BORGMATIC)) {
        Ok(home) => Some(home.join("bin/borgmatic")),
        Err(why) => {
            missing("borgmatic", why);
            None
        }
    }
}
