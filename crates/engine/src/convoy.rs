//! One read, every layer.
//!
//! The engine reads the sources once. Steps are gathered into small batches and handed to each
//! layer through a bounded queue of its own; each layer takes them in on a thread of its own.
//!
//! Why this cannot stall: the memory for blocks that were read ahead is bounded, and a batch that
//! is being filled holds back at most [`BATCH_BYTES_MAX`] and one block of it, which is less than
//! that bound. A full queue stops the reading until its layer has caught up.
//!
//! Nobody waits for the slowest ship: a layer that has held the reading up for too long, while others had
//! nothing to do, is left behind. It gets nothing more, the others go on and commit, also if it never ends
//! what it is at, and then it alone gets the rest from another reading, from where it fell back
//! ([`cross_from`]). It falls back between two objects only: one whose content was begun is handed on to
//! its end. Sources are read in the order of paths, so the path that it was given last says where that is.
//! What has become of the objects before it is not looked at again; a further name of a file among them is
//! only taken if nothing was done to the file since, for else its first name may be one that the layer has
//! never heard of.
//!
//! A layer that fails closes its queue. From then on it gets nothing, is not asked what it wants,
//! and the others go on; when none is left, the reading ends.
//!
//! Nothing is committed before everything is read, so that a run that is stopped leaves each layer
//! as it was. Commits run side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use jiff::Timestamp;
use tree::{Body, Ending, Entry, Problem, ProblemKind, Step, Time, TreePath};

use crate::event::{Event, PathRecord, ProblemRecord, Totals, Watch};
use crate::layer::{self, Committed, Intake};
use crate::report::Problems;

/// Most steps in a batch. Passing a batch on costs about as much as one step.
const BATCH_STEPS_MAX: usize = 256;

/// A batch is handed on when it holds this many bytes of content: 512 KiB.
const BATCH_BYTES_MAX: usize = 512 * 1024;

/// Batches that a layer may lag behind.
const QUEUE_BATCHES: usize = 4;

/// How often a layer is looked at that holds the others up.
const HELD_UP_LOOK: Duration = Duration::from_millis(10);

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// A layer that takes part, and what it takes.
pub(crate) struct Passenger<'a> {
    /// Its place in the plan.
    pub(crate) index: usize,
    /// Takes its steps.
    pub(crate) intake: Box<dyn Intake + 'a>,
}

/// An intake that took everything, or why it did not.
type Landed<'a> = Result<Box<dyn Intake + 'a>, layer::Error>;

/// A layer that was left behind, and is still at what it was handed.
pub(crate) struct Straggler<'scope, 'a> {
    aboard: Aboard<'a>,
    taking: ScopedJoinHandle<'scope, Result<(), layer::Error>>,
    pub(crate) fell_back: FellBack,
}

impl Straggler<'_, '_> {
    /// Its place in the plan.
    pub(crate) fn index(&self) -> usize {
        self.aboard.index
    }
}

/// A layer that is fed.
struct Aboard<'a> {
    index: usize,
    intake: Arc<Box<dyn Intake + 'a>>,
    /// Whether it gets nothing more: it has failed, or was left behind.
    is_out: Arc<AtomicBool>,
}

impl<'a> Aboard<'a> {
    /// What it came to; its thread has ended so.
    fn land(self, result: Result<(), layer::Error>) -> Landed<'a> {
        let intake = Arc::into_inner(self.intake);
        match (result, intake) {
            (Ok(()), Some(intake)) => Ok(intake),
            (Err(layer::Error::Panicked), _) | (_, None) => Err(layer::Error::Panicked),
            (Err(error), Some(intake)) => Err(intake.failure(error)),
        }
    }
}

/// Where and when a layer fell back.
#[derive(Debug, Clone)]
pub(crate) struct FellBack {
    /// The last path that it was given.
    pub(crate) after: TreePath,
    /// When the first reading began.
    pub(crate) since: Time,
}

impl FellBack {
    /// Whether a path was not reached.
    fn is_ahead(&self, path: &TreePath) -> bool {
        *path > self.after
    }

    /// Lets through what the layer has not been given.
    fn pass(&self, step: Step, passes: &mut bool) -> Option<Step> {
        match &step {
            Step::Entry { entry, .. } => {
                *passes = self.is_ahead(&entry.path);
                let first = entry.hard_link.as_ref();
                let is_uncertain = entry.ctime.nanoseconds >= self.since.nanoseconds;
                if *passes && is_uncertain && first.is_some_and(|first| !self.is_ahead(first)) {
                    *passes = false;
                    return Some(Step::Problem(Arc::new(Problem {
                        path: entry.path.clone(),
                        what: ProblemKind::Changed,
                    })));
                }
            }
            Step::Problem(problem) => return self.is_ahead(&problem.path).then_some(step),
            Step::Data(_) | Step::Hole(_) | Step::End(_) => {}
        }
        passes.then_some(step)
    }
}

/// What came of the reading.
pub(crate) struct Crossing<'scope, 'a> {
    /// The layers that took everything, and the reasons of those that did not.
    pub(crate) passengers: Vec<(usize, Landed<'a>)>,
    /// The layers that were left behind. What they took is good.
    pub(crate) behind: Vec<Straggler<'scope, 'a>>,
    /// What was found.
    pub(crate) totals: Totals,
    /// What could not be read.
    pub(crate) problems: Problems,
    /// Whether the reading was stopped before its end.
    pub(crate) stopped: bool,
}

impl Crossing<'_, '_> {
    /// Nothing was read, because no layer was there to take it.
    pub(crate) fn of_nobody() -> Self {
        Self {
            passengers: Vec::new(),
            behind: Vec::new(),
            totals: Totals::default(),
            problems: Problems::default(),
            stopped: false,
        }
    }
}

/// Answers for all layers whether the content of a file is wanted.
pub(crate) struct Appetite<'p, 'a> {
    aboard: &'p [Aboard<'a>],
    fell_back: Option<&'p FellBack>,
}

impl Appetite<'_, '_> {
    /// Whether any layer that is still in wants the content.
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        if self.fell_back.is_some_and(|at| !at.is_ahead(&entry.path)) {
            return false;
        }
        self.aboard
            .iter()
            .any(|layer| !layer.is_out.load(Ordering::Relaxed) && layer.intake.wants(entry))
    }
}

/// How a reading is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// How long a layer may hold up others, in sum.
    pub(crate) patience: Duration,
    /// When the reading began.
    pub(crate) since: Time,
}

/// Reads the sources once and feeds every layer, each on a thread of the scope.
///
/// `read` walks the sources: it asks the [`Appetite`] about each file and hands each step to the
/// function it is given, until that says no.
pub(crate) fn cross<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    passengers: Vec<Passenger<'a>>,
    rules: Rules,
    watch: Watch<'_>,
    read: &mut impl FnMut(&Appetite<'_, 'a>, &mut dyn FnMut(Step) -> bool),
) -> Crossing<'scope, 'a> {
    lead(scope, passengers, rules, None, watch, read)
}

/// Reads the sources once more, for a layer that was left behind: when it has come to the end of what it
/// was handed, it gets what it has not got yet.
pub(crate) fn cross_from<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    straggler: Straggler<'scope, 'a>,
    watch: Watch<'_>,
    read: &mut impl FnMut(&Appetite<'_, 'a>, &mut dyn FnMut(Step) -> bool),
) -> Crossing<'scope, 'a> {
    let Straggler {
        aboard,
        taking,
        fell_back,
    } = straggler;
    let index = aboard.index;
    let taken = taking.join().unwrap_or(Err(layer::Error::Panicked));
    match aboard.land(taken) {
        Ok(intake) => {
            let rules = Rules {
                patience: Duration::MAX,
                since: fell_back.since,
            };
            let passengers = vec![Passenger { index, intake }];
            lead(scope, passengers, rules, Some(&fell_back), watch, read)
        }
        Err(error) => Crossing {
            passengers: vec![(index, Err(error))],
            ..Crossing::of_nobody()
        },
    }
}

fn lead<'scope, 'a: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    passengers: Vec<Passenger<'a>>,
    rules: Rules,
    fell_back: Option<&FellBack>,
    watch: Watch<'_>,
    read: &mut impl FnMut(&Appetite<'_, 'a>, &mut dyn FnMut(Step) -> bool),
) -> Crossing<'scope, 'a> {
    let several = passengers.len() > 1;
    let mut tally = Tally::new(watch);
    let mut stopped = false;
    let (mut aboard, mut queues, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    for Passenger { index, intake } in passengers {
        let intake = Arc::new(intake);
        let is_out: Arc<AtomicBool> = Arc::default();
        let (sender, receiver) = bounded(QUEUE_BATCHES);
        queues.push(Queue::new(sender, Arc::clone(&is_out)));
        let (taker, taker_is_out) = (Arc::clone(&intake), Arc::clone(&is_out));
        threads.push(scope.spawn(move || {
            let result = take_all(&**taker, &receiver, several);
            if result.is_err() {
                taker_is_out.store(true, Ordering::Relaxed);
            }
            result
        }));
        aboard.push(Aboard {
            index,
            intake,
            is_out,
        });
    }
    let mut loader = Loader::new(queues, rules.patience);
    let appetite = Appetite {
        aboard: &aboard,
        fell_back,
    };
    let mut passes = true;
    read(&appetite, &mut |step| {
        if watch.stop.is_requested() {
            stopped = true;
            return false;
        }
        let step = match fell_back {
            Some(at) => at.pass(step, &mut passes),
            None => Some(step),
        };
        let Some(step) = step else {
            return true;
        };
        tally.count(&step);
        loader.load(step)
    });
    let left = loader.finish();
    let mut crossing = Crossing {
        passengers: Vec::new(),
        behind: Vec::new(),
        totals: tally.totals,
        problems: tally.problems,
        stopped,
    };
    for ((aboard, taking), left_after) in aboard.into_iter().zip(threads).zip(left) {
        match left_after {
            Some(after) => {
                let since = rules.since;
                crossing.behind.push(Straggler {
                    aboard,
                    taking,
                    fell_back: FellBack { after, since },
                });
            }
            None => {
                let taken = taking.join().unwrap_or(Err(layer::Error::Panicked));
                crossing.passengers.push((aboard.index, aboard.land(taken)));
            }
        }
    }
    crossing
}

/// Commits the layers side by side.
pub(crate) fn commit<'a>(
    intakes: Vec<(usize, Box<dyn Intake + 'a>)>,
    now: Timestamp,
    done: &(dyn Fn(usize, &Result<Committed, layer::Error>) + Sync),
) -> Vec<(usize, Result<Committed, layer::Error>)> {
    thread::scope(|scope| {
        let threads: Vec<_> = intakes
            .into_iter()
            .map(|(index, intake)| {
                let thread = scope.spawn(move || {
                    let result = intake.commit(now);
                    done(index, &result);
                    result
                });
                (index, thread)
            })
            .collect();
        threads
            .into_iter()
            .map(|(index, thread)| {
                let result = thread.join().unwrap_or_else(|_| {
                    let result = Err(layer::Error::Panicked);
                    done(index, &result);
                    result
                });
                (index, result)
            })
            .collect()
    })
}

/// One layer's thread: takes batch after batch until the queue is closed.
fn take_all(
    intake: &dyn Intake,
    batches: &Receiver<Vec<Step>>,
    several: bool,
) -> Result<(), layer::Error> {
    // Among several layers, content may come that only another one wants.
    let mut skipping = false;
    for step in batches.iter().flatten() {
        let step = match step {
            Step::Entry { entry, body } if several => {
                skipping = !matches!(body, Body::None) && !intake.wants(&entry);
                let body = if skipping { Body::None } else { body };
                Step::Entry { entry, body }
            }
            Step::Data(_) | Step::Hole(_) | Step::End(_) if skipping => continue,
            other => other,
        };
        intake.take(step)?;
    }
    Ok(())
}

/// What one layer is handed.
struct Queue {
    /// `None` when it gets nothing more.
    sender: Option<Sender<Vec<Step>>>,
    /// How long it has held the others up.
    held_up: Duration,
    /// The last path that it was given, when it was left behind.
    left_after: Option<TreePath>,
    /// Said when it was.
    is_out: Arc<AtomicBool>,
}

impl Queue {
    fn new(sender: Sender<Vec<Step>>, is_out: Arc<AtomicBool>) -> Self {
        Self {
            is_out,
            sender: Some(sender),
            held_up: Duration::ZERO,
            left_after: None,
        }
    }

    fn is_open(&self) -> bool {
        self.sender.is_some()
    }
}

/// Gathers steps into batches and hands each to all queues that are still open.
struct Loader {
    queues: Vec<Queue>,
    patience: Duration,
    batch: Vec<Step>,
    batch_bytes: usize,
    /// The last object.
    last: Option<Arc<Entry>>,
    /// Whether more of its content comes.
    is_within: bool,
    /// The last object that was handed on whole; `None` within one.
    reached: Option<Arc<Entry>>,
}

impl Loader {
    fn new(queues: Vec<Queue>, patience: Duration) -> Self {
        Self {
            queues,
            patience,
            batch: Vec::with_capacity(BATCH_STEPS_MAX),
            batch_bytes: 0,
            last: None,
            is_within: false,
            reached: None,
        }
    }

    /// Takes a step in. Says whether any layer is left to take more.
    fn load(&mut self, step: Step) -> bool {
        match &step {
            Step::Entry { entry, body } => {
                self.last = Some(Arc::clone(entry));
                self.is_within = matches!(body, Body::Blocks);
                if let Body::Whole(block) = body {
                    self.batch_bytes += block.len();
                }
            }
            Step::Data(block) => self.batch_bytes += block.len(),
            Step::End(_) => self.is_within = false,
            Step::Hole(_) | Step::Problem(_) => {}
        }
        self.batch.push(step);
        if self.batch.len() < BATCH_STEPS_MAX && self.batch_bytes < BATCH_BYTES_MAX {
            return true;
        }
        self.send()
    }

    fn send(&mut self) -> bool {
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_STEPS_MAX));
        self.batch_bytes = 0;
        let open: Vec<usize> = (0..self.queues.len())
            .filter(|&index| self.queues.get(index).is_some_and(Queue::is_open))
            .collect();
        let Some((&last, others)) = open.split_last() else {
            return false;
        };
        // The last queue takes the batch itself, so that a single layer pays for no copy.
        for &index in others {
            self.hand_on(index, batch.clone());
        }
        self.hand_on(last, batch);
        self.reached = self.last.clone().filter(|_| !self.is_within);
        self.queues.iter().any(Queue::is_open)
    }

    /// Waits for a free place in a queue. Closes it when its layer has failed, or when others have waited
    /// for it too long.
    fn hand_on(&mut self, index: usize, mut batch: Vec<Step>) {
        loop {
            let idle = self.queues.iter().enumerate().any(|(other, queue)| {
                other != index && queue.sender.as_ref().is_some_and(Sender::is_empty)
            });
            let Some(queue) = self.queues.get_mut(index) else {
                return;
            };
            let Some(sender) = &queue.sender else {
                return;
            };
            batch = match sender.send_timeout(batch, HELD_UP_LOOK) {
                Ok(()) => return,
                Err(SendTimeoutError::Disconnected(_)) => {
                    queue.sender = None;
                    return;
                }
                Err(SendTimeoutError::Timeout(batch)) => batch,
            };
            if idle {
                queue.held_up += HELD_UP_LOOK;
            }
            if queue.held_up >= self.patience
                && let Some(reached) = &self.reached
            {
                queue.left_after = Some(reached.path.clone());
                queue.is_out.store(true, Ordering::Relaxed);
                queue.sender = None;
                return;
            }
        }
    }

    /// Hands on what is left and closes the queues. Gives the last path of those that were left behind.
    fn finish(mut self) -> Vec<Option<TreePath>> {
        self.send();
        let queues = self.queues.into_iter();
        queues.map(|queue| queue.left_after).collect()
    }
}

/// Counts what is found and tells about it.
struct Tally<'a> {
    watch: Watch<'a>,
    totals: Totals,
    problems: Problems,
    told: Instant,
}

impl<'a> Tally<'a> {
    fn new(watch: Watch<'a>) -> Self {
        Self {
            watch,
            totals: Totals::default(),
            problems: Problems::default(),
            told: Instant::now(),
        }
    }

    fn count(&mut self, step: &Step) {
        match step {
            Step::Entry { entry, body } => {
                self.totals.entries += 1;
                if entry.is_file() && entry.hard_link.is_none() {
                    self.totals.files += 1;
                    self.totals.bytes += entry.size;
                }
                if let Body::Whole(block) = body {
                    self.totals.read_bytes += block.len() as u64;
                }
                if self.totals.entries.is_multiple_of(64) {
                    self.tell_progress(entry);
                }
            }
            Step::Data(block) => self.totals.read_bytes += block.len() as u64,
            Step::Hole(bytes) => self.totals.read_bytes += bytes,
            Step::End(Ending::Changed(problem) | Ending::Failed(problem))
            | Step::Problem(problem) => {
                let record = ProblemRecord::from(&**problem);
                self.watch.tell(Event::Problem(record.clone()));
                self.problems.add(record);
            }
            Step::End(Ending::Complete) => {}
        }
    }

    fn tell_progress(&mut self, entry: &Entry) {
        if self.told.elapsed() >= PROGRESS_INTERVAL {
            self.told = Instant::now();
            self.watch.tell(Event::Progress {
                totals: self.totals,
                path: PathRecord::from(&entry.path),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tree::{Block, EntryKind};

    use super::*;
    use crate::Stop;

    /// Writes down what it is given, and fails at the step that it is told to.
    #[derive(Default)]
    struct Recorder {
        taken: Mutex<Vec<String>>,
        declines: Vec<&'static str>,
        fails_at: Option<&'static str>,
        panics_at: Option<&'static str>,
        /// At this step it waits until it may go on.
        waits: Option<(&'static str, Arc<AtomicBool>)>,
    }

    impl Intake for &Recorder {
        fn wants(&self, entry: &Entry) -> bool {
            !self.declines.contains(&entry.path.to_string().as_str())
        }

        fn take(&self, step: Step) -> Result<(), layer::Error> {
            let line = match step {
                Step::Entry { entry, body } => match body {
                    Body::None => format!("{}", entry.path),
                    Body::Whole(block) => {
                        format!("{}={}", entry.path, String::from_utf8_lossy(&block))
                    }
                    Body::Blocks => format!("{}…", entry.path),
                },
                Step::Data(block) => format!("+{}", block.len()),
                Step::Hole(bytes) => format!("+hole {bytes}"),
                Step::End(_) => "end".to_owned(),
                Step::Problem(problem) => problem.to_string(),
            };
            assert!(self.panics_at != Some(line.as_str()), "told to");
            if self.fails_at == Some(line.as_str()) {
                return Err(layer::Error::Io {
                    action: "write".to_owned(),
                    source: std::io::ErrorKind::StorageFull.into(),
                });
            }
            if let Some((at, gate)) = &self.waits {
                while *at == line && !gate.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            self.taken.lock().unwrap().push(line);
            Ok(())
        }

        fn commit(self: Box<Self>, _: Timestamp) -> Result<Committed, layer::Error> {
            Ok(Committed::default())
        }
    }

    fn file(name: &str, size: u64) -> Arc<Entry> {
        let path = TreePath::new(name).unwrap();
        Arc::new(Entry {
            size,
            device: 1,
            inode: 1,
            ..Entry::new(path, EntryKind::File, 0o644, (0, 0), Time::default())
        })
    }

    /// The steps of small files `0` to `count`, a long file, a vanished one and one that changed.
    fn steps(count: usize, appetite: &Appetite<'_, '_>) -> Vec<Step> {
        let vanished = Arc::new(Problem {
            path: TreePath::new("gone").unwrap(),
            what: ProblemKind::Vanished,
        });
        let mut steps: Vec<Step> = (0..count)
            .map(|number| {
                let entry = file(&number.to_string(), 1);
                let body = if appetite.wants(&entry) {
                    Body::Whole(Block::new(b"x".to_vec()))
                } else {
                    Body::None
                };
                Step::Entry { entry, body }
            })
            .collect();
        let long = file("long", 7);
        let wanted = appetite.wants(&long);
        let body = if wanted { Body::Blocks } else { Body::None };
        steps.push(Step::Entry { entry: long, body });
        if wanted {
            steps.push(Step::Data(Block::new(vec![0; 3])));
            steps.push(Step::Hole(4));
            steps.push(Step::End(Ending::Complete));
        }
        steps.push(Step::Problem(vanished));
        steps
    }

    /// What became of each layer, and of the reading.
    struct Crossed {
        results: Vec<Option<layer::Error>>,
        totals: Totals,
        problems: Problems,
        stopped: bool,
    }

    fn cross_all(recorders: &[Recorder], count: usize, stop: &Stop) -> Crossed {
        let watch = Watch {
            sink: &|_| {},
            stop,
        };
        thread::scope(|scope| {
            let passengers = passengers(recorders);
            let crossing = cross(scope, passengers, RULES, watch, &mut |appetite, take| {
                steps(count, appetite).into_iter().all(take);
            });
            let results = crossing.passengers.into_iter();
            Crossed {
                results: results.map(|(_, result)| result.err()).collect(),
                totals: crossing.totals,
                problems: crossing.problems,
                stopped: crossing.stopped,
            }
        })
    }

    fn passengers(recorders: &[Recorder]) -> Vec<Passenger<'_>> {
        let recorders = recorders.iter().enumerate();
        let passengers = recorders.map(|(index, recorder)| Passenger {
            index,
            intake: Box::new(recorder) as Box<dyn Intake>,
        });
        passengers.collect()
    }

    const RULES: Rules = Rules {
        patience: Duration::from_secs(600),
        since: Time {
            nanoseconds: i64::MAX,
        },
    };

    fn taken(recorder: &Recorder) -> Vec<String> {
        recorder.taken.lock().unwrap().clone()
    }

    #[test]
    fn every_layer_gets_every_step_in_order() {
        let recorders = [Recorder::default(), Recorder::default()];
        let crossing = cross_all(&recorders, 1000, &Stop::default());
        let lines = taken(&recorders[0]);
        assert_eq!(lines.len(), 1005);
        assert_eq!(lines[999], "999=x");
        assert_eq!(
            lines[1000..],
            [
                "long…",
                "+3",
                "+hole 4",
                "end",
                "gone: vanished before it could be read"
            ]
        );
        assert_eq!(lines, taken(&recorders[1]));
        let expected = Totals {
            entries: 1001,
            files: 1001,
            bytes: 1007,
            read_bytes: 1007,
        };
        assert_eq!(crossing.totals, expected);
        assert_eq!(crossing.problems.count, 1);
        assert!(crossing.results.iter().all(Option::is_none));
    }

    #[test]
    fn what_a_layer_does_not_want_does_not_reach_it() {
        let modest = Recorder {
            declines: vec!["0", "long"],
            ..Recorder::default()
        };
        let recorders = [modest, Recorder::default()];
        cross_all(&recorders, 2, &Stop::default());
        let gone = "gone: vanished before it could be read";
        assert_eq!(taken(&recorders[0]), ["0", "1=x", "long", gone]);
        assert_eq!(
            taken(&recorders[1]),
            ["0=x", "1=x", "long…", "+3", "+hole 4", "end", gone]
        );
    }

    #[test]
    fn what_nobody_wants_is_not_read() {
        let modest = || Recorder {
            declines: vec!["0", "long"],
            ..Recorder::default()
        };
        let recorders = [modest(), modest()];
        let crossing = cross_all(&recorders, 1, &Stop::default());
        assert_eq!(crossing.totals.read_bytes, 0);
        assert_eq!(crossing.totals.bytes, 8);
    }

    #[test]
    fn a_layer_that_fails_or_panics_is_dropped_and_the_others_finish() {
        let full = Recorder {
            fails_at: Some("700=x"),
            ..Recorder::default()
        };
        let buggy = Recorder {
            panics_at: Some("10=x"),
            ..Recorder::default()
        };
        let recorders = [full, Recorder::default(), buggy];
        let crossing = cross_all(&recorders, 100_000, &Stop::default());
        let results = crossing.results;
        assert!(matches!(results[0], Some(layer::Error::Io { .. })));
        assert!(results[1].is_none());
        assert!(matches!(results[2], Some(layer::Error::Panicked)));
        assert_eq!(taken(&recorders[1]).len(), 100_005);
    }

    #[test]
    fn reading_ends_when_no_layer_is_left() {
        let recorders = [Recorder {
            fails_at: Some("0=x"),
            ..Recorder::default()
        }];
        let crossing = cross_all(&recorders, 1_000_000, &Stop::default());
        assert!(
            crossing.totals.entries < 1_000_000,
            "{}",
            crossing.totals.entries
        );
    }

    #[test]
    fn a_stop_ends_the_reading_at_a_step() {
        let stop = Stop::default();
        stop.request();
        let recorders = [Recorder::default()];
        let crossing = cross_all(&recorders, 1000, &stop);
        assert!(crossing.stopped);
        assert_eq!(crossing.totals.entries, 0);
    }

    #[test]
    fn who_holds_the_others_up_is_left_behind_and_gets_the_rest_alone() {
        let gate: Arc<AtomicBool> = Arc::default();
        let slow = Recorder {
            waits: Some(("x/000300=x", Arc::clone(&gate))),
            ..Recorder::default()
        };
        let recorders = [slow, Recorder::default()];
        let stop = Stop::default();
        let watch = Watch {
            sink: &|_| {},
            stop: &stop,
        };
        let read = &mut |appetite: &Appetite<'_, '_>, take: &mut dyn FnMut(Step) -> bool| {
            let mut steps = Vec::new();
            for number in 0..9000 {
                let entry = file(&format!("x/{number:06}"), 1);
                let body = match appetite.wants(&entry) {
                    true => Body::Whole(Block::new(b"x".to_vec())),
                    false => Body::None,
                };
                steps.push(Step::Entry { entry, body });
                if number == 2000 {
                    let path = TreePath::new("x/002000-gone").unwrap();
                    let what = ProblemKind::Vanished;
                    steps.push(Step::Problem(Arc::new(Problem { path, what })));
                }
            }
            steps.push(Step::Entry {
                entry: file("z", 1),
                body: Body::None,
            });
            steps.into_iter().all(take);
        };
        let rules = Rules {
            patience: Duration::from_millis(50),
            ..RULES
        };
        thread::scope(|scope| {
            let mut crossing = cross(scope, passengers(&recorders), rules, watch, read);
            // The other one has landed, and may commit, while this one is at its step.
            let [(1, Ok(_))] = &crossing.passengers[..] else {
                panic!("{}", crossing.passengers.len());
            };
            assert_eq!(taken(&recorders[0]).len(), 300);
            gate.store(true, Ordering::Relaxed);
            let straggler = crossing.behind.pop().unwrap();
            assert_eq!(straggler.index(), 0);
            let rest = cross_from(scope, straggler, watch, read);
            assert!(matches!(&rest.passengers[..], [(0, Ok(_))]) && rest.behind.is_empty());
        });
        let whole = taken(&recorders[1]);
        assert_eq!(whole.len(), 9002);
        // Everything once, in order, wherever it fell back.
        let all = taken(&recorders[0]);
        let without_gone = |lines: &[String]| -> Vec<String> {
            let lines = lines.iter().filter(|line| !line.contains("gone"));
            lines.cloned().collect()
        };
        assert_eq!(without_gone(&all), without_gone(&whole));
        assert_eq!(all.iter().filter(|line| line.contains("gone")).count(), 1);
    }

    #[test]
    fn a_further_name_is_taken_later_only_if_nothing_was_done_to_the_file_since() {
        let fell_back = FellBack {
            after: TreePath::new("m").unwrap(),
            since: Time::new(100, 0),
        };
        let step = |path: &str, first: &str, changed: i64| {
            let first = TreePath::new(first).unwrap();
            Step::Entry {
                entry: Arc::new(Entry {
                    hard_link: Some(Arc::new(first)),
                    ctime: Time::new(changed, 0),
                    ..Entry::clone(&file(path, 1))
                }),
                body: Body::None,
            }
        };
        let pass = |step| fell_back.pass(step, &mut true);
        assert!(pass(step("b", "a", 50)).is_none());
        assert!(matches!(pass(step("z", "a", 50)), Some(Step::Entry { .. })));
        assert!(matches!(
            pass(step("z", "n", 150)),
            Some(Step::Entry { .. })
        ));
        assert!(matches!(pass(step("z", "a", 150)), Some(Step::Problem(_))));
    }
}
