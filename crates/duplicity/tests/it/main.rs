//! The crate against real directories and the real programs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod golden;
mod hostile;
mod keys;
mod own;
mod real_duplicity;
mod support;
