//! What a test does when the machine lacks something.
//!
//! At a desk the test is skipped and says so; in CI, where a test that silently does nothing
//! would look like a proof, a missing program is a failure.

use std::fmt::Display;
use std::io::Write as _;

/// Whether this is the build server: the environment has `CI` with anything but `false` or `0`.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Says on the terminal that the running test is skipped, and why.
///
/// Written past the test runner's capture, which shows nothing of tests that pass.
pub fn say_skipped(reason: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // One write, so that lines of tests side by side do not mix. Nobody to tell is no failure.
    let line = format!("skipped: {test}: {reason}\n");
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// Says that something which a build server must have is missing here.
///
/// # Panics
///
/// In CI.
pub fn missing(what: impl Display, why: impl Display) {
    assert!(!in_ci(), "{what} is missing, and this is CI: {why}");
    say_skipped(format_args!("{what} is missing: {why}"));
}

/// Leaves a test with a reason: `skip!("the file system keeps no {what}")`.
///
/// For what a machine may rightly lack, such as a file system's feature. Programs go through
/// [`require`](crate::require), which fails in CI.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::say_skipped(::std::format_args!($($reason)*));
        return;
    }};
}

/// Some when the test runs as root; else it is said to be skipped.
#[must_use]
pub fn require_root() -> Option<()> {
    if is_root() {
        return Some(());
    }
    say_skipped("needs root");
    None
}

/// Whether the test runs as root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
