//! The engine from outside: configurations, runs over real folders, the papers that are made of it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod configuration;
mod papers;
