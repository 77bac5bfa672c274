//! Drop folders on real stores and real folders.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bench;
mod chaos;
mod damage;
mod dropbox;
mod history;
mod place;
mod servers;
mod sharing;
mod syncing;
