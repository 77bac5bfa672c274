//! Bringing files back: first the plan, then the deed.
//!
//! The snapshot is gone through twice. The first time each selected entry is compared with what
//! stands at its place, which makes the plan; the second time what the plan asks for is written.
//! Both times the selected entries have the same numbers.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;
use tree::{Action, Entry, RestoreOptions, RestorePlan, Restorer, TreePath};

use crate::event::{Event, PathRecord, ProblemRecord, Verb, Watch, chain};
use crate::explain::{Explanation, explain, explain_layer};
use crate::layer::{Access, Layer, RestoreStep};
use crate::machine::Context;
use crate::operation::Operation;
use crate::report::{Outcome, Problems};
use crate::{Error, Selection, Snapshot, config};

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Most refusals that a plan names. The report counts all.
const REFUSALS_MAX: usize = 1000;

/// What is to be restored.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// From which layer.
    pub layer: config::Layer,
    /// From which snapshot.
    pub snapshot: Snapshot,
    /// Which paths.
    pub selection: Selection,
    /// Into which folder; `/` to restore in place.
    pub target: PathBuf,
    /// How.
    pub options: RestoreOptions,
}

/// A restore that is planned: what it would do is known, nothing is done.
pub struct PlannedRestore {
    request: RestoreRequest,
    layer: Box<dyn Layer>,
    restorer: Restorer,
    plan: RestorePlan,
    /// What cannot be restored, known before anything is done.
    refusals: Vec<ProblemRecord>,
    /// Records of the snapshot of which nothing can be made.
    unusables: Problems,
}

/// How many entries come to an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ActionCount {
    /// `create`, `replace`, `keep-both`, `mend`, `already-right`, `skip`, `superseded`, `refuse`.
    pub action: &'static str,
    /// How many.
    pub entries: u64,
    /// Bytes of content that this takes.
    pub bytes: u64,
}

/// What would be done with one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedEntry {
    /// See [`ActionCount::action`].
    pub action: &'static str,
    /// Its path in the snapshot.
    pub path: PathRecord,
    /// Where it would stand, below the target.
    pub destination: PathRecord,
}

/// What a restore would change below its target.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Where something stands that would be replaced.
    pub(crate) replaced: Vec<TreePath>,
    /// What would be created, with the path that it would get.
    pub(crate) created: Vec<Entry>,
}

/// What came of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// Identifies the operation.
    pub run: String,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    pub finished: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// From which layer.
    pub layer: String,
    /// From which snapshot.
    pub snapshot: String,
    /// Into which folder.
    pub target: String,
    /// What was done with how many entries; actions that no entry came to are left out.
    pub actions: Vec<ActionCount>,
    /// What was restored under a new name.
    pub renamed: Vec<Renamed>,
    /// How many objects came back without something that could not, or was not to be, restored.
    pub left_out: LeftOut,
    /// What could not be restored.
    pub problems: Problems,
    /// What ended the restore before its time.
    pub failure: Option<Explanation>,
}

/// An object that was restored under a new name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// The name that was taken.
    pub from: PathRecord,
    /// The name that it got.
    pub to: PathRecord,
}

/// How many objects came back without something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LeftOut {
    /// The owner: it takes root to give a file away.
    pub owners: u64,
    /// Set-uid or set-gid.
    pub set_ids: u64,
    /// Extended attributes.
    pub xattrs: u64,
    /// An ACL.
    pub acls: u64,
    /// An inode flag.
    pub flags: u64,
}

/// Plans a restore. Nothing is changed.
///
/// # Errors
///
/// [`Error::NoEntry`] when a path is not in the snapshot; [`Error::Restore`] when the target is
/// none; [`Error::Layer`] when the snapshot cannot be read.
pub fn restore_plan(
    request: RestoreRequest,
    context: Context<'_>,
) -> Result<PlannedRestore, Error> {
    let of_layer = || Error::of_layer(&request.layer.name);
    let mut layer = (context.open)(&request.layer, Access::Read).map_err(of_layer())?;
    let restorer = Restorer::open(&request.target, request.options.clone())
        .map_err(|source| Error::Restore { source })?;
    let mut planner = restorer.planner();
    let mut admission = request.selection.admission();
    let mut missing: Vec<_> = request.selection.paths().to_vec();
    let mut number = 0;
    let mut refused: Vec<(usize, TreePath)> = Vec::new();
    let mut unusables = Problems::default();
    let listed = layer.entries(&request.snapshot, &mut |found| {
        match found {
            Ok(item) => {
                if !missing.is_empty() {
                    missing.retain(|path| !item.entry.path.starts_with(path));
                }
                if let Some(entry) = admission.admit(item.entry) {
                    if planner.add(&entry) == Action::Refuse && refused.len() < REFUSALS_MAX {
                        refused.push((number, entry.path));
                    }
                    number += 1;
                }
            }
            // Which of them were asked for cannot be told by a path that leads elsewhere.
            Err(unusable) if request.selection.is_everything() => unusables.add(ProblemRecord {
                path: PathRecord::from(unusable.recorded.as_slice()),
                what: unusable.what,
            }),
            Err(_) => {}
        }
        ControlFlow::Continue(())
    });
    missing.retain(|path| !path.is_root());
    match listed {
        // The rest is worth having, unless just what was asked for may be what is lost.
        Err(error) if error.is_damage() && missing.is_empty() && number > 0 => {
            unusables.add(ProblemRecord {
                path: PathRecord::from(&TreePath::root()),
                what: format!(
                    "a part of the list of files is damaged, and what stood there is not restored: {}",
                    chain(&error).join(": ")
                ),
            });
        }
        listed => listed.map_err(of_layer())?,
    }
    if let Some(path) = missing.into_iter().next() {
        let snapshot = request.snapshot.name;
        return Err(Error::NoEntry { path, snapshot });
    }
    let plan = planner.finish();
    let refusals = refused.iter().filter_map(|(number, path)| {
        Some(ProblemRecord {
            path: PathRecord::from(path),
            what: plan.refusal(*number)?.to_string(),
        })
    });
    Ok(PlannedRestore {
        refusals: refusals.chain(unusables.first.iter().cloned()).collect(),
        unusables,
        request,
        layer,
        restorer,
        plan,
    })
}

impl PlannedRestore {
    /// What would be done with how many entries; actions that no entry comes to are left out.
    #[must_use]
    pub fn actions(&self) -> Vec<ActionCount> {
        counts(|action| self.plan.tally(action))
    }

    /// What would be done with each entry, in the order of the snapshot, whose list of files is
    /// read once more.
    ///
    /// # Errors
    ///
    /// [`Error::Layer`] when it cannot be read again.
    pub fn each(&mut self, mut receive: impl FnMut(PlannedEntry)) -> Result<(), Error> {
        self.go_through(|action, entry, destination| {
            receive(PlannedEntry {
                action: name(action),
                path: PathRecord::from(&entry.path),
                destination: PathRecord::from(destination),
            });
        })
    }

    /// What would change below the target; `None` when that is more than `entries_max` objects.
    pub(crate) fn changes(&mut self, entries_max: usize) -> Result<Option<Changes>, Error> {
        let mut changes = Changes::default();
        let mut count = 0;
        self.go_through(|action, entry, destination| {
            let is_replaced = action == Action::Replace;
            if !is_replaced && !matches!(action, Action::Create | Action::KeepBoth) {
                return;
            }
            count += 1;
            if count > entries_max {
                return;
            }
            if is_replaced {
                changes.replaced.push(destination.clone());
            } else {
                let mut entry = entry.clone();
                entry.path = destination.clone();
                changes.created.push(entry);
            }
        })?;
        Ok((count <= entries_max).then_some(changes))
    }

    /// The layer that it would come from.
    pub(crate) fn layer(&self) -> &str {
        &self.request.layer.name
    }

    /// Goes through the entries once more: what would be done, the entry, and its path below the target.
    fn go_through(
        &mut self,
        mut receive: impl FnMut(Action, &Entry, &TreePath),
    ) -> Result<(), Error> {
        let mut admission = self.request.selection.admission();
        let mut number = 0;
        let listed = self.layer.entries(&self.request.snapshot, &mut |found| {
            let entry = found.ok().and_then(|item| admission.admit(item.entry));
            if let Some(entry) = entry {
                let destination = self.plan.destination(number, &entry.path);
                receive(self.plan.action(number), &entry, &destination);
                number += 1;
            }
            ControlFlow::Continue(())
        });
        match listed {
            // The plan has named what is missing.
            Err(error) if !error.is_damage() => {
                Err(Error::of_layer(&self.request.layer.name)(error))
            }
            _ => Ok(()),
        }
    }

    /// Bytes of content that would be written.
    #[must_use]
    pub fn bytes_to_write(&self) -> u64 {
        self.plan.bytes_to_write()
    }

    /// What cannot be restored, and why.
    #[must_use]
    pub fn refusals(&self) -> &[ProblemRecord] {
        &self.refusals
    }

    /// What would be restored.
    pub(crate) fn selection(&self) -> &Selection {
        &self.request.selection
    }

    /// The folder that would be restored into.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.request.target
    }
}

/// Does what was planned.
///
/// Stopped, or ended by a full disk, it leaves what it has finished; planned and run again, it
/// does the rest.
///
/// # Errors
///
/// When the restore could not begin. What goes wrong with an entry stands in the report.
pub fn restore(
    planned: PlannedRestore,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<RestoreReport, Error> {
    carry_out(planned, context, watch, None)
}

/// The same; `proof` says whether what was restored, into a scratch place, is what it should be.
pub(crate) fn carry_out(
    planned: PlannedRestore,
    context: Context<'_>,
    watch: Watch<'_>,
    proof: Option<&dyn Fn() -> bool>,
) -> Result<RestoreReport, Error> {
    let PlannedRestore {
        request,
        mut layer,
        restorer,
        plan,
        unusables: mut problems,
        ..
    } = planned;
    let machine = context.machine;
    let clock = || (machine.clock)().timestamp();
    let started = clock();
    let operation = Operation::begin(
        Verb::Restore,
        [&request.layer],
        started,
        None,
        machine,
        Some(watch),
    )?;
    let tell = |event| operation.tell(event);
    let total = plan.bytes_to_write();
    let restore = restorer
        .start(plan)
        .map_err(|source| Error::Restore { source })?;
    let told = Mutex::new(Instant::now());
    let on_step = |step: RestoreStep| {
        if let Ok(mut told) = told.try_lock()
            && told.elapsed() >= PROGRESS_INTERVAL
        {
            *told = Instant::now();
            tell(Event::Step {
                layer: request.layer.name.clone(),
                phase: "restoring".to_owned(),
                done: step.bytes,
                total,
            });
        }
        if watch.stop.is_requested() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let result = layer.restore(&request.snapshot, &request.selection, &restore, &on_step);
    let done = restore.finish();

    for problem in &problems.first {
        tell(Event::Problem(problem.clone()));
    }
    for problem in &done.problems {
        let problem = ProblemRecord::from(problem);
        tell(Event::Problem(problem.clone()));
        problems.add(problem);
    }
    problems.count += done.problems_unnamed;
    let actions = counts(|action| done.done(action));
    let failure = match (result, done.stopped) {
        (_, Some(source)) => Some(explain(&Error::Restore { source })),
        (Err(error), None) => Some(explain_layer(&error, &request.layer.name)),
        (Ok(()), None) => None,
    };
    let outcome = if failure.is_some() {
        Outcome::Failed
    } else if watch.stop.is_requested() {
        Outcome::Stopped
    } else if problems.count > 0 {
        Outcome::Skipped
    } else {
        Outcome::Good
    };
    let finished = clock();
    // Only what came back whole is evidence that a restore works.
    if outcome == Outcome::Good && proof.is_none_or(|is_right| is_right()) {
        tell(Event::Restored {
            layer: request.layer.name.clone(),
            snapshot: request.snapshot.name.clone(),
            at: finished,
            entries: actions.iter().map(|count| count.entries).sum(),
            bytes: actions.iter().map(|count| count.bytes).sum(),
            proof: proof.is_some(),
        });
    }
    operation.finish(finished, outcome, None, problems.count);
    Ok(RestoreReport {
        run: operation.run().to_owned(),
        started,
        finished,
        outcome,
        layer: request.layer.name,
        snapshot: request.snapshot.name,
        target: request.target.display().to_string(),
        actions,
        renamed: done
            .renamed
            .iter()
            .map(|(from, to)| Renamed {
                from: PathRecord::from(from),
                to: PathRecord::from(to),
            })
            .collect(),
        left_out: LeftOut {
            owners: done.left_out.owners,
            set_ids: done.left_out.set_ids,
            xattrs: done.left_out.xattrs,
            acls: done.left_out.acls,
            flags: done.left_out.flags,
        },
        problems,
        failure,
    })
}

fn counts(tally: impl Fn(Action) -> tree::Tally) -> Vec<ActionCount> {
    let count = |action| {
        let tally = tally(action);
        ActionCount {
            action: name(action),
            entries: tally.entries,
            bytes: tally.bytes,
        }
    };
    let counts = Action::ALL.into_iter().map(count);
    counts.filter(|count| count.entries > 0).collect()
}

fn name(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Replace => "replace",
        Action::KeepBoth => "keep-both",
        Action::Mend => "mend",
        Action::AlreadyRight => "already-right",
        Action::Skip => "skip",
        Action::Superseded => "superseded",
        Action::Refuse => "refuse",
    }
}
