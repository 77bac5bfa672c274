//! The borg crate against real repositories and the real program.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may say where")]

extern crate ravelin_borg as borg;

mod codec;
mod damage;
mod intake;
mod keys;
mod remote;
mod upkeep;
mod workshop;
