//! What is in a file tree, in one order: a folder before what is in it, names ascending bytewise.

mod explain;
mod glob;
mod handle;
mod limits;
mod links;
mod listing;
mod look;
mod names;
mod object;
mod pattern;
mod preset;
mod pseudo;
mod rules;
mod source;
mod stat;
mod walk;
mod xattrs;

use std::ops::ControlFlow;
use std::sync::Arc;

pub use explain::{Verdict, explain};
pub(crate) use limits::Limits;
pub(crate) use links::Links;
pub(crate) use look::{Described, Looker, OpenFile, Seen};
pub(crate) use object::{Examiner, problem};
pub use pattern::{BadPattern, Pattern, Style};
pub use preset::Preset;
pub use rules::{Rule, RuleAction, Rules};
pub use source::{Filter, Listener, Omission, Source};
pub(crate) use stat::Stat;
pub(crate) use walk::Walk;

use crate::{BadPath, Body, Step};

/// Walks through `source` and gives each object that is not left out, without its content, to
/// `sink`; by breaking it ends the walk.
///
/// The order is that of [`TreePath`](crate::TreePath): a folder before what is in it, names in a
/// folder ascending bytewise, the roots among each other as if they were in one tree. It does not
/// depend on how the file system lists names.
///
/// What cannot be read is a [`Step::Problem`], and the walk goes on. A folder that cannot be listed
/// is an entry of its own with the problem behind it.
///
/// Memory: the names in the folders on the way down, and one path for each object with names still
/// to come. Open files: less than half of what the process may have, at most 150.
///
/// # Errors
///
/// [`BadPath`] of a root with a `..` in it.
pub fn scan(source: &Source, mut sink: impl FnMut(Step) -> ControlFlow<()>) -> Result<(), BadPath> {
    let limits = Limits::of_this_process(1);
    let walk = Walk::new(source, limits)?;
    let _: ControlFlow<()> = hand_on(source, walk, limits, &mut sink);
    Ok(())
}

fn hand_on(
    source: &Source,
    mut walk: Walk<'_>,
    limits: Limits,
    sink: &mut impl FnMut(Step) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut looker = Looker::new(source, limits, true);
    let mut links = Links::default();
    while let Some(batch) = walk.next_batch() {
        for seen in looker.look(batch) {
            let Described {
                mut entry,
                problem,
                stat,
                ..
            } = match looker.describe(seen) {
                Ok(described) => described,
                Err(problem) => {
                    sink(Step::Problem(Arc::new(problem)))?;
                    continue;
                }
            };
            if entry.links > 1 && !entry.is_directory() {
                entry.hard_link = links.first_name(&stat);
                if entry.hard_link.is_none() {
                    links.note(entry.path.clone(), entry.links, &stat);
                }
            }
            let entry = Arc::new(entry);
            let body = Body::None;
            sink(Step::Entry { entry, body })?;
            if let Some(problem) = problem {
                sink(Step::Problem(Arc::new(problem)))?;
            }
        }
    }
    ControlFlow::Continue(())
}
