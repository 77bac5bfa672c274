//! `rsync` as an independent judge of two directories.

use std::path::Path;
use std::process::Command;

use crate::program::{require, run};

/// What `rsync` would change to make `found` the same as `expected`: nothing, if they are.
///
/// It compares content by checksum, and all that `-aHAX` means: type, mode, owner, times,
/// links, devices, access control lists and every extended attribute. A line a change, as
/// `--itemize-changes` writes it. None when `rsync` cannot be had; that is said.
///
/// # Panics
///
/// When `rsync` does not succeed. In CI, when it cannot be had.
#[must_use]
pub fn rsync_differences(expected: &Path, found: &Path) -> Option<Vec<String>> {
    let rsync = require("rsync")?;
    let mut command = Command::new(rsync);
    command
        .args([
            "-aHAX",
            "--dry-run",
            "--checksum",
            "--delete",
            "--itemize-changes",
        ])
        .args(["--numeric-ids", "--modify-window=-1"])
        // The slash at the end: what is in it.
        .arg(expected.join(""))
        .arg(found.join(""));
    Some(run(&mut command).lines().map(str::to_owned).collect())
}
