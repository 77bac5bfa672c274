//! axe, which tells whether a page can be used by everybody.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use super::{Recipe, environment};
use crate::skip::missing;

/// A package that does nothing but bring the script.
const AXE: Recipe = Recipe {
    name: "axe-1",
    requirement: "--no-deps axe-playwright-python==0.1.8",
    packages: &["python3-venv"],
};

/// The script, to be run in a page: it defines `axe`.
///
/// Where it cannot be had the test is said to be skipped and nothing is given back.
///
/// # Panics
///
/// In CI, when it cannot be had.
#[must_use]
pub fn axe() -> Option<&'static str> {
    static SCRIPT: OnceLock<Result<String, String>> = OnceLock::new();
    match SCRIPT.get_or_init(|| environment(&AXE).and_then(|home| read(&home))) {
        Ok(script) => Some(script),
        Err(why) => {
            missing("axe", why);
            None
        }
    }
}

fn read(home: &Path) -> Result<String, String> {
    let libraries = fs::read_dir(home.join("lib")).map_err(|error| error.to_string())?;
    let script = libraries
        .filter_map(Result::ok)
        .map(|python| {
            python
                .path()
                .join("site-packages/axe_playwright_python/axe.min.js")
        })
        .find(|script| script.exists())
        .ok_or("the package brings no axe.min.js")?;
    fs::read_to_string(script).map_err(|error| error.to_string())
}
