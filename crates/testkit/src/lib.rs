//! Real directories and real programs for the tests; depends on none of our crates.
//!
//! ```no_run
//! # use ravelin_testkit as testkit;
//! let Some(borg) = testkit::stock_borg() else { return };
//! borg.run(["init", "--encryption=none", "/tmp/repository"]);
//! ```

mod browser;
mod change;
pub mod corpus;
mod counters;
pub mod emulator;
mod fragile;
pub mod kill;
mod program;
mod random;
pub mod servers;
mod skip;
mod sshd;
mod stock;
mod tree;
mod usage;

pub use browser::Browser;
pub use change::Changes;
pub use counters::UsedCounters;
pub use fragile::{FragileDisk, fragile_disk};
pub use program::{output, require, run};
pub use random::Random;
pub use skip::{in_ci, is_root, missing, require_root, say_skipped};
pub use sshd::{Sshd, rsh_stand_in, sshd};
pub use stock::{
    CloudPrograms, MailLine, MailServer, StockBorg, StockDuplicity, axe, cloud_programs,
    mail_server, schema_faults, stock_borg, stock_borg_with_fuse, stock_borgmatic, stock_duplicity,
};
pub use tree::{Difference, Ignore, Tree, assert_same, clear_flags, compare, rsync_differences};
pub use usage::{Usage, apart, launch_if_asked, measure};
