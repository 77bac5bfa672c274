//! The tools of the tests, tested with the real programs.

mod stock;
