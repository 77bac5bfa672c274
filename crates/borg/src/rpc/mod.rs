//! What a program and a repository on another machine say to each other: Borg's remote
//! procedure calls, over a pair of pipes that `ssh` makes.
//!
//! A call is a map `{i: number, m: method, a: {name: value}}`, its answer `{i: number, r: result}`
//! or `{i: number, exception_class: …}`. The first call of every client, `negotiate`, is in the
//! older form `[1, number, method, [values]]`, answered by `[1, number, nil, result]`; clients of
//! Borg 1.0 speak it throughout. Calls may be sent ahead of their answers; the server answers
//! strictly in order. Everything else that the server has to say goes to standard error, one JSON
//! object a line.
//!
//! Format: docs/formats/borg.md#remote-repositories.

mod client;
mod failure;
pub(crate) mod frames;
mod prefetch;
pub(crate) mod request;
mod said;
mod serve;

pub use client::{Remote, RemoteChanges};
pub use said::{Said, ServerListener, Severity};
pub use serve::{ServeOptions, serve};

/// The release of Borg whose protocol this is, as its programs tell each other.
const VERSION: [i64; 4] = [1, 4, 5, -1];

/// Calls that are on their way at once.
///
/// Source: `MAX_INFLIGHT` in Borg 1.4's `remote.py`.
const IN_FLIGHT_MAX: usize = 100;

/// Nobody sends more in one piece: an object and what is around it. Other programs read three
/// times as much.
const FRAME_SIZE_MAX: usize = 64 * 1024 * 1024;
