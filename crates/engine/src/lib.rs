//! The strategy: configuration, plan, run, report.

pub mod browse;
pub mod clock;
pub mod compare;
pub mod config;
mod convoy;
pub mod drill;
mod due;
mod dump;
mod error;
pub mod event;
mod explain;
mod glob;
pub mod history;
mod hook;
pub mod keys;
pub mod layer;
mod machine;
pub mod metrics;
pub mod notify;
mod operation;
mod past;
mod places;
mod plan;
mod preview;
mod program;
mod proof;
mod quickstart;
pub mod random;
mod report;
mod restore;
mod run;
mod runbook;
mod sample;
mod schedule;
pub mod secret;
mod selection;
pub mod setup;
mod source;
mod standing;
pub mod status;
pub mod stock;
mod surroundings;
pub mod timer;
mod turn;
pub mod upkeep;
mod verify;
pub mod wait;

pub use clock::Clock;
pub use config::Config;
pub use drill::{DrillReport, Drilled, DrilledFile};
pub use due::{Due, back_up, run_due};
pub use error::Error;
pub use event::{Event, Stop, Watch};
pub use explain::{
    Code, Explanation, Next, explain, explain_drop, explain_layer, page as errors_page,
};
pub use glob::Glob;
pub use history::{History, Outlines};
pub use hook::HookFault;
pub use layer::{Layer, Snapshot};
pub use machine::{Context, Machine, Open, Variable};
pub use places::{Places, create_private_file, create_private_folder, replace_private_file};
pub use plan::{Held, Plan, Wanted, choose_layer, find_layer, next_due, plan};
pub use preview::{LeftOutHere, Preview, preview};
pub use proof::{Proof, prove};
pub use quickstart::{Quickstart, quickstart};
pub use random::Random;
pub use report::{LayerReport, LayerResult, Outcome, Problems, Report};
pub use restore::{
    ActionCount, LeftOut, PlannedEntry, PlannedRestore, Renamed, RestoreReport, RestoreRequest,
    restore, restore_plan,
};
pub use run::{record_failure, run};
pub use runbook::runbook;
pub use schedule::Schedule;
pub use secret::Secret;
pub use selection::{Admission, Selection};
pub use source::{Reading, Why};
pub use standing::Standing;
pub use status::{Status, status, status_again};
pub use surroundings::Surroundings;
pub use turn::{Turn, Work};
pub use verify::{LayerVerification, PartReport, VerifyReport, VerifyResult, verify, verify_for};
pub use wait::{Wait, Waiting};
