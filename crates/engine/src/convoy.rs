//! One read, every layer.
//!
//! The engine reads the sources once. Steps are gathered into small batches and handed to each
//! layer through a bounded queue of its own; each layer takes them in on a thread of its own.
//!
//! Why this cannot stall: the memory for blocks that were read ahead is bounded, and a batch that
//! is being filled holds back at most [`BATCH_BYTES_MAX`] and one block of it, which is less than
//! that bound. A full queue stops the reading until its layer has caught up.
//!
//! A layer that fails closes its queue. From then on it gets nothing, is not asked what it wants,
//! and the others go on; when none is left, the reading ends.
//!
//! Nothing is committed before everything is read, so that a run that is stopped leaves each layer
//! as it was. Commits run side by side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::Timestamp;
use tree::{Body, Ending, Entry, Step};

use crate::event::{Event, PathRecord, ProblemRecord, Totals, Watch};
use crate::layer::{self, Committed, Intake};
use crate::report::Problems;

/// Most steps in a batch. Passing a batch on costs about as much as one step.
const BATCH_STEPS_MAX: usize = 256;

/// A batch is handed on when it holds this many bytes of content: 512 KiB.
const BATCH_BYTES_MAX: usize = 512 * 1024;

/// Batches that a layer may lag behind.
const QUEUE_BATCHES: usize = 4;

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

/// What came of the reading.
pub(crate) struct Crossing<'a> {
    /// The layers that took everything, and the reasons of those that did not.
    pub(crate) passengers: Vec<(usize, Landed<'a>)>,
    /// What was found.
    pub(crate) totals: Totals,
    /// What could not be read.
    pub(crate) problems: Problems,
    /// Whether the reading was stopped before its end.
    pub(crate) stopped: bool,
}

impl Crossing<'_> {
    /// Nothing was read, because no layer was there to take it.
    pub(crate) fn of_nobody() -> Self {
        Self {
            passengers: Vec::new(),
            totals: Totals::default(),
            problems: Problems::default(),
            stopped: false,
        }
    }
}

/// Answers for all layers whether the content of a file is wanted.
pub(crate) struct Appetite<'p, 'a> {
    passengers: &'p [Passenger<'a>],
    failed: &'p [AtomicBool],
}

impl Appetite<'_, '_> {
    /// Whether any layer that is still in wants the content.
    pub(crate) fn wants(&self, entry: &Entry) -> bool {
        self.passengers
            .iter()
            .zip(self.failed)
            .any(|(passenger, failed)| {
                !failed.load(Ordering::Relaxed) && passenger.intake.wants(entry)
            })
    }
}

/// Reads the sources once and feeds every layer.
///
/// `read` walks the sources: it asks the [`Appetite`] about each file and hands each step to the
/// function it is given, until that says no.
pub(crate) fn cross<'a>(
    passengers: Vec<Passenger<'a>>,
    watch: Watch<'_>,
    read: impl FnOnce(&Appetite<'_, 'a>, &mut dyn FnMut(Step) -> bool),
) -> Crossing<'a> {
    let failed: Vec<AtomicBool> = passengers.iter().map(|_| AtomicBool::new(false)).collect();
    let several = passengers.len() > 1;
    let mut tally = Tally::new(watch);
    let mut stopped = false;
    let results: Vec<Result<(), layer::Error>> = thread::scope(|scope| {
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for (passenger, failed) in passengers.iter().zip(&failed) {
            let (sender, receiver) = bounded(QUEUE_BATCHES);
            queues.push(Some(sender));
            threads.push(scope.spawn(move || {
                let result = take_all(&*passenger.intake, &receiver, several);
                if result.is_err() {
                    failed.store(true, Ordering::Relaxed);
                }
                result
            }));
        }
        let mut loader = Loader::new(queues);
        let appetite = Appetite {
            passengers: &passengers,
            failed: &failed,
        };
        read(&appetite, &mut |step| {
            if watch.stop.is_requested() {
                stopped = true;
                return false;
            }
            tally.count(&step);
            loader.load(step)
        });
        loader.finish();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(layer::Error::Panicked)))
            .collect()
    });
    let passengers = passengers
        .into_iter()
        .zip(results)
        .map(|(passenger, result)| {
            let landed = match result {
                Ok(()) => Ok(passenger.intake),
                Err(layer::Error::Panicked) => Err(layer::Error::Panicked),
                Err(error) => Err(passenger.intake.failure(error)),
            };
            (passenger.index, landed)
        })
        .collect();
    Crossing {
        passengers,
        totals: tally.totals,
        problems: tally.problems,
        stopped,
    }
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

/// Gathers steps into batches and hands each to all queues that are still open.
struct Loader {
    queues: Vec<Option<Sender<Vec<Step>>>>,
    batch: Vec<Step>,
    batch_bytes: usize,
}

impl Loader {
    fn new(queues: Vec<Option<Sender<Vec<Step>>>>) -> Self {
        Self {
            queues,
            batch: Vec::with_capacity(BATCH_STEPS_MAX),
            batch_bytes: 0,
        }
    }

    /// Takes a step in. Says whether any layer is left to take more.
    fn load(&mut self, step: Step) -> bool {
        if let Step::Entry {
            body: Body::Whole(block),
            ..
        }
        | Step::Data(block) = &step
        {
            self.batch_bytes += block.len();
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
        let mut open: Vec<&mut Option<_>> = self
            .queues
            .iter_mut()
            .filter(|queue| queue.is_some())
            .collect();
        let Some(last) = open.pop() else {
            return false;
        };
        // The last queue takes the batch itself, so that a single layer pays for no copy.
        for queue in open {
            hand_on(queue, batch.clone());
        }
        hand_on(last, batch);
        self.queues.iter().any(Option::is_some)
    }

    /// Hands on what is left and closes the queues.
    fn finish(mut self) {
        self.send();
    }
}

/// Waits for a free place in a queue. Closes it when its layer has failed.
fn hand_on(queue: &mut Option<Sender<Vec<Step>>>, batch: Vec<Step>) {
    let sent = queue
        .as_ref()
        .is_some_and(|sender| sender.send(batch).is_ok());
    if !sent {
        *queue = None;
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
    use std::sync::{Arc, Mutex};

    use tree::{Block, EntryKind, Problem, ProblemKind, Time, TreePath};

    use super::*;
    use crate::Stop;

    /// Writes down what it is given, and fails at the step that it is told to.
    #[derive(Default)]
    struct Recorder {
        taken: Mutex<Vec<String>>,
        declines: Vec<&'static str>,
        fails_at: Option<&'static str>,
        panics_at: Option<&'static str>,
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

    fn cross_all<'a>(recorders: &'a [Recorder], count: usize, stop: &Stop) -> Crossing<'a> {
        let passengers = recorders
            .iter()
            .enumerate()
            .map(|(index, recorder)| Passenger {
                index,
                intake: Box::new(recorder) as Box<dyn Intake>,
            })
            .collect();
        let watch = Watch {
            sink: &|_| {},
            stop,
        };
        cross(passengers, watch, |appetite, take| {
            steps(count, appetite).into_iter().all(take);
        })
    }

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
        assert!(crossing.passengers.iter().all(|(_, result)| result.is_ok()));
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
        let results: Vec<_> = crossing
            .passengers
            .into_iter()
            .map(|(_, result)| result.err())
            .collect();
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
}
