//! Stores against the contract, and against real servers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod b2;
mod conformance;
mod drive;
mod dropbox;
mod faults;
mod hostile;
mod keyring;
mod killed;
mod lost;
mod probe;
mod router;
mod s3;
mod sftp;
mod webdav;
