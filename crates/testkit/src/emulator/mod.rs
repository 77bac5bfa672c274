//! Small servers that behave like cloud services, on this machine, with faults on demand.
//!
//! Written from the services' public documentation, and judged by clients that others wrote: see the
//! tests of `store`. They keep everything in memory, listen on a free port of the loopback
//! address, and stop when dropped.

mod b2;
mod blocks;
mod drive;
mod dropbox;
mod forwarder;
mod http;
mod inbox;
mod oauth;

pub use b2::B2Emulator;
pub use drive::DriveEmulator;
pub use dropbox::DropboxEmulator;
pub use forwarder::Forwarder;
pub use http::{Fault, Faults, Trouble};
pub use inbox::{Inbox, Letter};
