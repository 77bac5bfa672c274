//! The crate against real directories and the real programs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod emergency;
mod fetches;
mod golden;
mod hostile;
mod interrupted;
mod keys;
mod own;
mod real_duplicity;
mod restoring;
mod support;
mod synthetic;
