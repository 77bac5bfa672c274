//! Faults at a chosen system call: a death, a torn write, a disk that is full.
//!
//! A program is run under `ptrace`. Its system calls that change files below the given
//! directories are counted; at the N-th one the fault strikes. A first run without a fault says
//! how many there are, then each number is a test of its own:
//!
//! ```no_run
//! # use ravelin_testkit as testkit;
//! # fn backup() -> std::process::Command { std::process::Command::new("true") }
//! # let repository = std::path::Path::new("/tmp/repository");
//! use testkit::kill::{Fault, calls, strike};
//!
//! let Some(()) = testkit::kill::require_tracer() else { return };
//! for number in 1..=calls(&mut backup(), &[repository]).len() as u64 {
//!     let outcome = strike(&mut backup(), &[repository], number, Fault::Kill);
//!     // … and now everything that was committed must be there …
//! }
//! ```
//!
//! Threads and child processes are followed, and a death is the death of all. The numbers of a
//! program with several threads shift from run to run: a campaign over all of them still meets
//! every kind of moment. What is written through a memory map is not seen.

#[cfg(target_arch = "x86_64")]
mod call;
#[cfg(not(target_arch = "x86_64"))]
#[path = "kill/elsewhere.rs"]
mod tracer;
#[cfg(target_arch = "x86_64")]
mod tracer;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::io::Errno;

use crate::skip::say_skipped;

/// A system call that changes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its name: `pwrite64`, `renameat2`.
    pub name: &'static str,
    /// What it changes; of two names the second, which is the new one.
    pub path: PathBuf,
    /// Whether it adds content or a name, which a full disk refuses.
    pub writes: bool,
}

/// What happens at the chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `SIGKILL` before the call: it has no effect.
    Kill,
    /// `SIGKILL` after the call: nothing follows it.
    KillAfter,
    /// Half of what a write was given reaches the file, then `SIGKILL`. Other calls: as
    /// [`KillAfter`](Self::KillAfter).
    Torn,
    /// The call fails and has no effect; the program goes on.
    Error(Errno),
    /// This call and all after it of the same kind (writing, or not writing) fail: a disk that
    /// is full stays full.
    ErrorFrom(Errno),
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How the program ended.
    pub status: ExitStatus,
    /// The call that was struck; nothing when the program made fewer calls.
    pub struck: Option<Call>,
    /// The calls that were counted, the struck one included.
    pub calls: u64,
}

/// Some when programs can be traced here; else the test is said to be skipped.
#[must_use]
pub fn require_tracer() -> Option<()> {
    match tracer::can_trace() {
        Ok(()) => Some(()),
        Err(why) => {
            say_skipped(format_args!("programs cannot be traced: {why}"));
            None
        }
    }
}

/// Runs a program to its end and gives every call of it that changes something below one of the
/// directories, in order.
///
/// # Panics
///
/// When it cannot be started or traced, runs for more than ten minutes, or does not succeed.
pub fn calls(command: &mut Command, directories: &[&Path]) -> Vec<Call> {
    let (outcome, calls) = tracer::run(command, directories, None);
    assert!(
        outcome.status.success(),
        "{command:?}: {} without a fault",
        outcome.status
    );
    calls
}

/// Runs a program and strikes it at the call of a number, from 1.
///
/// # Panics
///
/// When it cannot be started or traced, or runs for more than ten minutes.
pub fn strike(command: &mut Command, directories: &[&Path], number: u64, fault: Fault) -> Outcome {
    tracer::run(command, directories, Some((number, fault))).0
}
