//! What goes on behind the page: operations of the engine on threads of their own, with their
//! progress as it can be shown at any moment.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use engine::event::ProblemRecord;
use engine::{Code, Event, Explanation, Outcome, RestoreReport, Stop, Undoable, Watch};
use jiff::Timestamp;

use crate::Page;
use crate::fault::Fault;

/// Jobs that are remembered after their end.
const REMEMBERED: usize = 50;
/// Problems that a job names; the history has all.
const PROBLEMS_MAX: usize = 50;

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Backup,
    /// The first one, with the creation of what is missing, and a proof.
    First,
    /// The first one of a layer that was added.
    Layer,
    Verify,
    Drill,
    Restore,
    Undo,
    /// What the catalogue lacks is read.
    Catalogue,
    /// Somebody signs in to a cloud.
    SignIn,
}

impl Kind {
    /// The end of the keys of its messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::First => "first",
            Self::Layer => "layer",
            Self::Verify => "verify",
            Self::Drill => "drill",
            Self::Restore => "restore",
            Self::Undo => "undo",
            Self::Catalogue => "catalogue",
            Self::SignIn => "sign-in",
        }
    }
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) started: Timestamp,
    /// To which layers, or which files.
    pub(crate) what: String,
    stop: Arc<Stop>,
    state: Mutex<Progress>,
}

/// How far a job is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// What the engine calls what it does.
    pub(crate) phase: Option<String>,
    /// The layer that it is about.
    pub(crate) layer: Option<String>,
    /// Done, in the unit of `total`.
    pub(crate) done: u64,
    /// How much there is; 0 when that is not known.
    pub(crate) total: u64,
    /// Files that were read.
    pub(crate) files: u64,
    /// Bytes that were read.
    pub(crate) bytes: u64,
    /// Where the reading is.
    pub(crate) path: String,
    /// The layers that are good already.
    pub(crate) layers_done: Vec<String>,
    /// What could not be handled.
    pub(crate) problems: Vec<ProblemRecord>,
    /// The layers that failed, and why.
    pub(crate) failures: Vec<(String, Explanation)>,
    /// How it ended.
    pub(crate) ended: Option<Ended>,
}

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
    /// Why it did not even begin, or ended before its time.
    pub(crate) failure: Option<Explanation>,
    /// What a restore did.
    pub(crate) restored: Option<Box<RestoreReport>>,
    /// What undoes it.
    pub(crate) undo: Option<String>,
    /// How many files an undo has taken away, and how many it has not.
    pub(crate) removed: (u64, u64),
    /// Why nothing runs on its own from now on.
    pub(crate) unscheduled: Option<Explanation>,
}

/// What the work of a job gives back.
pub(crate) struct Made {
    pub(crate) outcome: Outcome,
    pub(crate) restored: Option<Box<RestoreReport>>,
    pub(crate) undo: Option<String>,
    pub(crate) removed: (u64, u64),
    pub(crate) unscheduled: Option<Explanation>,
    /// The layers that failed, where no event has told.
    pub(crate) failures: Vec<(String, Explanation)>,
}

impl From<Undoable> for Made {
    fn from(done: Undoable) -> Self {
        Self {
            undo: done.undo,
            removed: (done.removed, done.left),
            restored: Some(Box::new(done.report.clone())),
            ..Self::from(done.report.outcome)
        }
    }
}

impl From<Outcome> for Made {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            restored: None,
            undo: None,
            removed: (0, 0),
            unscheduled: None,
            failures: Vec::new(),
        }
    }
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        self.lock().clone()
    }

    /// Whether it goes on.
    pub(crate) fn is_running(&self) -> bool {
        self.lock().ended.is_none()
    }

    /// Asks it to end tidily.
    pub(crate) fn stop(&self) {
        self.stop.request();
    }

    fn hear(&self, event: Event) {
        let mut progress = self.lock();
        match event {
            Event::Started { expected, .. } => {
                progress.done = 0;
                progress.total = expected.map_or(0, |totals| totals.bytes);
                progress.phase = None;
            }
            Event::Progress { totals, path } => {
                progress.files = totals.files;
                progress.bytes = totals.bytes;
                progress.done = totals.bytes;
                progress.path = path.to_string();
            }
            Event::Step {
                layer,
                phase,
                done,
                total,
            } => {
                progress.layer = Some(layer);
                progress.phase = Some(phase);
                progress.done = done;
                progress.total = total;
            }
            Event::Committing { totals } => {
                progress.phase = Some("committing".to_owned());
                progress.files = totals.files;
                progress.bytes = totals.bytes;
                progress.done = 0;
                progress.total = 0;
            }
            Event::Problem(problem) if progress.problems.len() < PROBLEMS_MAX => {
                progress.problems.push(problem);
            }
            Event::LayerDone { layer, .. } => progress.layers_done.push(layer),
            Event::LayerFailed { layer, failure, .. } => progress.failures.push((layer, failure)),
            _ => {}
        }
    }
}

fn failed(code: Code) -> (Made, Option<Explanation>) {
    (Outcome::Failed.into(), Some(Explanation::of_code(code)))
}

/// All jobs of this program's life.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    jobs: VecDeque<Arc<Job>>,
    threads: Vec<JoinHandle<()>>,
    number: u64,
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs, newest first.
    pub(crate) fn all(&self) -> Vec<Arc<Job>> {
        self.lock().jobs.iter().cloned().collect()
    }

    /// One by its id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.all().into_iter().find(|job| job.id == id)
    }

    /// Those that go on.
    pub(crate) fn running(&self) -> Vec<Arc<Job>> {
        let mut jobs = self.all();
        jobs.retain(|job| job.is_running());
        jobs
    }

    /// Begins a job.
    ///
    /// # Errors
    ///
    /// [`Fault::Busy`] when one of its kind goes on, or three of others.
    pub(crate) fn begin(
        &self,
        page: &Arc<Page>,
        kind: Kind,
        what: &str,
        work: impl FnOnce(&Arc<Page>, Watch<'_>) -> Result<Made, Fault> + Send + 'static,
    ) -> Result<Arc<Job>, Fault> {
        let mut inner = self.lock();
        let running = inner.jobs.iter().filter(|job| job.is_running());
        let running: Vec<Kind> = running.map(|job| job.kind).collect();
        if running.contains(&kind) || running.len() > 3 {
            return Err(Fault::Busy);
        }
        inner.number += 1;
        let job = Arc::new(Job {
            id: inner.number.to_string(),
            kind,
            started: page.timestamp(),
            what: what.to_owned(),
            stop: Arc::new(Stop::default()),
            state: Mutex::default(),
        });
        let (page, its) = (Arc::clone(page), Arc::clone(&job));
        let run = move || {
            let hear = |event: Event| its.hear(event);
            let watch = Watch {
                sink: &hear,
                stop: &its.stop,
            };
            let done = catch_unwind(AssertUnwindSafe(|| {
                let made = work(&page, watch);
                (made, page.timestamp())
            }));
            let ((made, failure), at) = match done {
                Ok((Ok(made), at)) => ((made, None), at),
                Ok((Err(Fault::Explained(failure)), at)) => {
                    ((Outcome::Failed.into(), Some(*failure)), at)
                }
                Ok((Err(_), at)) => (failed(Code::Unexpected), at),
                Err(_) => (failed(Code::Bug), page.timestamp()),
            };
            let mut progress = its.lock();
            progress.failures.extend(made.failures);
            progress.ended = Some(Ended {
                at,
                outcome: made.outcome,
                failure,
                restored: made.restored,
                undo: made.undo,
                removed: made.removed,
                unscheduled: made.unscheduled,
            });
        };
        let thread = std::thread::Builder::new().name(format!("job-{}", kind.name()));
        let thread = thread.spawn(run).map_err(|_| Fault::Busy)?;
        inner.threads.retain(|thread| !thread.is_finished());
        inner.threads.push(thread);
        inner.jobs.push_front(Arc::clone(&job));
        while inner.jobs.len() > REMEMBERED
            && inner.jobs.back().is_some_and(|job| !job.is_running())
        {
            inner.jobs.pop_back();
        }
        Ok(job)
    }

    /// Asks all to end, and waits for them.
    pub(crate) fn end(&self) {
        for job in self.running() {
            job.stop();
        }
        let threads = std::mem::take(&mut self.lock().threads);
        for thread in threads {
            // One that panicked is over, too.
            let _ = thread.join();
        }
    }
}
