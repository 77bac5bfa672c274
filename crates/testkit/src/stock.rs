//! Stock programs in private environments: the judges of the formats.
//!
//! Each is installed once from the Python package registry into `target/stock/NAME`. Test
//! programs and threads that ask at the same time wait for the one that installs. The marker
//! file is written last, so an installation that was interrupted is begun anew. A failure is
//! remembered for a while, so that a machine without a network does not wait in every test.

mod axe;
mod borg;
mod borgmatic;
mod clouds;
mod duplicity;
mod mail;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use axe::axe;
pub use borg::{StockBorg, stock_borg, stock_borg_with_fuse};
pub use borgmatic::stock_borgmatic;
pub use clouds::{CloudPrograms, cloud_programs};
pub use duplicity::{StockDuplicity, stock_duplicity};
pub use mail::{MailLine, MailServer, mail_server};
pub use schema::schema_faults;

use crate::program::{find, install_packages, lock_file, said};

/// How long a failed installation is not tried again.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// Written into an environment when it is whole.
const MARKER: &str = "ravelin-installed";

/// What has to be installed.
struct Recipe {
    /// Name of the environment: program and version.
    name: &'static str,
    /// What the Python package registry calls it; several are separated by spaces.
    requirement: &'static str,
    /// Debian packages that it takes to build.
    packages: &'static [&'static str],
}

/// Where the environments are: in the workspace's build directory.
pub(crate) fn directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    target.join("stock")
}

/// The directory of an environment that is whole, installed now if need be.
fn environment(recipe: &Recipe) -> Result<PathBuf, String> {
    let directory = directory();
    fs::create_dir_all(&directory)
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    let directory = directory
        .canonicalize()
        .map_err(|error| error.to_string())?;
    let home = directory.join(recipe.name);
    if home.join(MARKER).exists() {
        return Ok(home);
    }

    let _one_at_a_time = lock_file(&directory.join(format!("{}.lock", recipe.name)))
        .map_err(|error| format!("cannot lock {}: {error}", directory.display()))?;
    if home.join(MARKER).exists() {
        return Ok(home);
    }
    let failure = directory.join(format!("{}.failed", recipe.name));
    if let Some(why) = recent(&failure) {
        return Err(why);
    }
    let installed = install(recipe, &home);
    // The memory of a failure is a convenience: without it the next test tries again.
    let _ = match &installed {
        Ok(()) => fs::remove_file(&failure),
        Err(why) => fs::write(&failure, why),
    };
    installed.map(|()| home)
}

/// Why the last installation failed, if that was not long ago.
fn recent(failure: &Path) -> Option<String> {
    let age = fs::metadata(failure)
        .ok()?
        .modified()
        .ok()?
        .elapsed()
        .unwrap_or_default();
    (age < FAILURE_REMEMBERED)
        .then(|| fs::read_to_string(failure).ok())
        .flatten()
}

fn install(recipe: &Recipe, home: &Path) -> Result<(), String> {
    let python = find("python3").ok_or("python3 is not installed")?;
    // Where the packages cannot be installed, what they bring may still be there.
    let packages = install_packages(recipe.packages);
    if home.exists() {
        fs::remove_dir_all(home)
            .map_err(|error| format!("cannot clear {}: {error}", home.display()))?;
    }
    said(Command::new(python).args(["-m", "venv"]).arg(home))
        .and_then(|()| {
            said(
                Command::new(home.join("bin/python"))
                    .args([
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                    ])
                    .args(recipe.requirement.split_whitespace()),
            )
        })
        .map_err(|why| match packages {
            Ok(()) => why,
            Err(hint) => format!("{why} ({hint})"),
        })?;
    fs::write(home.join(MARKER), recipe.requirement)
        .map_err(|error| format!("cannot finish {}: {error}", home.display()))
}
