//! The program as a person meets it: what it prints, where, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod alarms;
mod bench;
mod borg_command;
mod borg_frontends;
mod comparing;
mod configuration;
mod damaged;
mod drilling;
mod drop_killed;
mod drop_large;
mod dropping;
mod duplicity;
mod duplicity_command_line;
mod duplicity_killed;
mod explaining;
mod first_backup;
mod golden;
mod guarding;
mod guide;
mod hooks;
mod importing;
mod keeping;
mod killed;
mod mount;
mod package;
mod page_tls;
mod page_upload;
mod power_cut;
mod real_tree;
mod recalling;
mod recovering;
mod rolling;
mod runbook;
mod scheduling;
mod schema;
mod second_opinion;
mod ssh;
mod stock_borg;
mod stores;
mod stumbling;
mod tar;
mod terminal;
mod together;
mod upkeep_killed;
