//! Trees of real files: scanned, read and restored.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod read_ahead;
mod restore;
mod restore_attack;
mod restore_conflict;
mod restore_interrupted;
mod scan;
