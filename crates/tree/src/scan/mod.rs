//! What is in a file tree, in one order: a folder before what is in it, names ascending bytewise.

mod explain;
mod folder;
mod object;
mod pattern;
mod rules;
mod source;
mod walk;

pub use explain::{Verdict, explain};
pub(crate) use folder::Name;
pub(crate) use object::{Object, People, examine, open};
pub use pattern::{BadPattern, Pattern};
pub use rules::{Preset, Rule, Rules};
pub use source::{Omission, Source};
pub(crate) use walk::{Found, Walk};
