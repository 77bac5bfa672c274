//! The screens. Each reads what it shows anew; none keeps anything.

pub(crate) mod activity;
pub(crate) mod drop;
pub(crate) mod job;
pub(crate) mod layers;
pub(crate) mod metrics;
pub(crate) mod overview;
pub(crate) mod restore;
pub(crate) mod settings;
pub(crate) mod sheet;
pub(crate) mod sign_in;
pub(crate) mod sources;
pub(crate) mod welcome;
