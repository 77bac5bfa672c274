//! The tools of the tests, tested with the real programs.

#![expect(clippy::unwrap_used, reason = "a helper of a test may end it")]

mod architecture;
mod corpus;
mod dependencies;
mod kill;
mod stock;
mod tree;
