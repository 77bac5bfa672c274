//! Real directories and real programs for the tests; depends on none of our crates.
