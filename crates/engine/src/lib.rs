//! The strategy: configuration, plan, run, report.

pub mod browse;
pub mod clock;
pub mod config;
mod convoy;
mod error;
pub mod event;
mod explain;
mod glob;
pub mod history;
pub mod keys;
pub mod layer;
mod machine;
mod places;
mod plan;
mod proof;
mod quickstart;
pub mod random;
mod report;
mod restore;
mod run;
mod schedule;
pub mod secret;
mod selection;
pub mod setup;
mod source;
pub mod status;
pub mod upkeep;
mod verify;

pub use clock::Clock;
pub use config::Config;
pub use error::Error;
pub use event::{Event, Stop, Watch};
pub use explain::{Code, Explanation, Next, explain, explain_layer, page as errors_page};
pub use glob::Glob;
pub use history::History;
pub use layer::{Layer, Snapshot};
pub use machine::{Context, Machine, Open, Variable};
pub use places::{Places, create_private_file, create_private_folder};
pub use plan::{Plan, Wanted, choose_layer, find_layer, next_due, plan};
pub use proof::{Proof, prove};
pub use quickstart::{Quickstart, quickstart};
pub use random::Random;
pub use report::{LayerReport, LayerResult, Outcome, Problems, Report};
pub use restore::{
    ActionCount, LeftOut, PlannedRestore, Renamed, RestoreReport, RestoreRequest, restore,
    restore_plan,
};
pub use run::{record_failure, run};
pub use schedule::Schedule;
pub use secret::Secret;
pub use selection::{Admission, Selection};
pub use source::{Reading, Why};
pub use status::{Status, status};
pub use verify::{LayerVerification, VerifyReport, VerifyResult, verify};
