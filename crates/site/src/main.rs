//! Writes the documents of this project as a static site.
//!
//! `cargo run -p ravelin-site [FOLDER]`, by default into `target/site`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ravelin_site::Site;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::args_os().nth(1);
    let folder = folder.map_or_else(|| root.join("target/site"), PathBuf::from);
    match build(&root, &folder) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all links lead somewhere; only then the site is written.
fn build(root: &Path, folder: &Path) -> io::Result<bool> {
    let site = Site::read(root)?;
    let faults = site.faults();
    for fault in &faults {
        writeln!(io::stderr(), "{fault}")?;
    }
    if !faults.is_empty() {
        return Ok(false);
    }
    site.write(folder)?;
    writeln!(io::stdout(), "{}", folder.join("index.html").display())?;
    Ok(true)
}
