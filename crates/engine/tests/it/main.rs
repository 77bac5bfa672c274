//! The engine from outside: configurations, runs over real folders, the papers that are made of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod browsing;
mod catalogue;
mod configuration;
mod disasters;
mod due;
mod guards;
mod memory;
mod notifications;
mod papers;
mod restores;
mod runs;
mod workshop;
