//! What was done: one file of JSON lines an operation, in the state home.
//!
//! A file is created when the operation begins and only ever grows, a line an event, each written
//! at once: after a crash it ends early, and that it never ended is how the crash is noticed. The
//! name begins with the time, so names in order are operations in order. Losing the folder costs
//! evidence; nothing that a restore needs stands in it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use crate::config::Config;
use crate::event::Event;
use crate::{Error, Random, create_private_folder};

/// Longest line that is read back: 1 MiB. Longer ones were not written by us.
const LINE_SIZE_MAX: u64 = 1 << 20;

/// The history of this machine.
#[derive(Debug, Clone)]
pub struct History {
    folder: PathBuf,
}

impl History {
    /// The history in a state home. The folder need not exist.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self {
            folder: state.join("history"),
        }
    }

    /// Begins the record of an operation.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when the folder cannot be written.
    pub fn begin(&self, now: Timestamp, random: Random) -> Result<Record, Error> {
        let failed = |source| Error::State {
            action: "write the history in",
            path: self.folder.clone(),
            source,
        };
        create_private_folder(&self.folder).map_err(failed)?;
        let mut salt = [0; 3];
        random(&mut salt).map_err(failed)?;
        // By their names the operations are sorted, also those of one second.
        let run = format!(
            "{}-{:02x}{:02x}{:02x}",
            now.strftime("%Y%m%dT%H%M%S.%3fZ"),
            salt[0],
            salt[1],
            salt[2]
        );
        let path = self.folder.join(format!("{run}.jsonl"));
        let file = fs::OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        Ok(Record {
            run,
            file: Mutex::new(Some(file)),
        })
    }

    /// The operations, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when the folder is there but cannot be read.
    pub fn operations(&self) -> Result<impl Iterator<Item = Operation> + use<>, Error> {
        let files = self.files()?.into_iter();
        let folder = self.folder.clone();
        Ok(files.filter_map(move |name| Operation::read(&folder.join(name), |_| true).ok()))
    }

    /// The operations, newest first, without the objects that they left out. Those that were over when
    /// they were read before come from memory: a page looks at a year of them again and again.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when the folder is there but cannot be read.
    pub fn outlines(&self, memory: &mut Outlines) -> Result<Vec<Arc<Operation>>, Error> {
        let files = self.files()?;
        let mut known = HashMap::with_capacity(files.len());
        let mut operations = Vec::with_capacity(files.len());
        for name in files {
            let path = || self.folder.join(&name);
            let read = || Operation::read(&path(), |line| !line.starts_with(PROBLEM)).ok();
            let before = memory.known.remove(&name);
            let Some(operation) = before.or_else(|| read().map(Arc::new)) else {
                continue;
            };
            if operation.is_over() {
                known.insert(name, Arc::clone(&operation));
            }
            operations.push(operation);
        }
        memory.known = known;
        Ok(operations)
    }

    /// The names of the records, newest first.
    fn files(&self) -> Result<Vec<OsString>, Error> {
        let failed = |source| Error::State {
            action: "read the history in",
            path: self.folder.clone(),
            source,
        };
        let mut files = Vec::new();
        match fs::read_dir(&self.folder) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(failed)?.file_name();
                    if name.as_bytes().ends_with(b".jsonl") {
                        files.push(name);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        files.sort_unstable_by(|a, b| b.cmp(a));
        Ok(files)
    }
}

/// Operations that were read before and were over: their records do not change any more.
#[derive(Debug, Default)]
pub struct Outlines {
    /// By the names of their records.
    known: HashMap<OsString, Arc<Operation>>,
}

/// How a line begins that tells of one object that was left out; there may be very many.
const PROBLEM: &[u8] = b"{\"event\":\"problem\"";

/// One operation of the past.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// What happened, in order. Lines that cannot be understood are left out.
    pub events: Vec<Event>,
}

impl Operation {
    /// What happened, without what is about a layer that was kept elsewhere then: under its name
    /// there is another copy now, of which that says nothing.
    pub fn events_of<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a Event> {
        let moved: Vec<&str> = match self.events.first() {
            Some(Event::Started { layers, stores, .. }) => layers
                .iter()
                .zip(stores)
                .filter(|(name, store)| {
                    let of_now = config.layers.iter().find(|layer| layer.name == **name);
                    of_now.is_some_and(|layer| layer.store != **store)
                })
                .map(|(name, _)| name.as_str())
                .collect(),
            _ => Vec::new(),
        };
        self.events
            .iter()
            .filter(move |event| event.layer().is_none_or(|layer| !moved.contains(&layer)))
    }

    /// Whether it has ended: nothing is added to its record any more.
    fn is_over(&self) -> bool {
        matches!(self.events.last(), Some(Event::Finished { .. }))
    }

    fn read(path: &Path, is_wanted: impl Fn(&[u8]) -> bool) -> io::Result<Self> {
        use std::io::Read as _;
        let mut lines = BufReader::new(File::open(path)?);
        let mut events = Vec::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = (&mut lines)
                .take(LINE_SIZE_MAX)
                .read_until(b'\n', &mut line)?;
            if length == 0 {
                return Ok(Self { events });
            }
            if is_wanted(&line) {
                events.extend(serde_json::from_slice::<Event>(&line).ok());
            }
        }
    }
}

/// The record of an operation that is under way.
#[derive(Debug)]
pub struct Record {
    run: String,
    /// `None` after a write failed: the rest is not recorded, the operation goes on.
    file: Mutex<Option<File>>,
}

impl Record {
    /// Identifies the operation.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Adds an event, if it is one that is kept.
    ///
    /// A full disk must not stop a backup: after a failed write nothing more is recorded, and the
    /// record looks like that of an operation that never ended, which errs on the safe side.
    pub fn add(&self, event: &Event) {
        if !event.is_kept() {
            return;
        }
        let Ok(mut line) = serde_json::to_vec(event) else {
            return;
        };
        line.push(b'\n');
        let Ok(mut slot) = self.file.lock() else {
            return;
        };
        if let Some(file) = slot.as_mut()
            && file.write_all(&line).is_err()
        {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{PathRecord, Totals, Verb};
    use crate::report::Outcome;

    fn seven(buffer: &mut [u8]) -> io::Result<()> {
        buffer.fill(7);
        Ok(())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn started(second: i64) -> Event {
        Event::Started {
            run: "r".to_owned(),
            verb: Verb::Backup,
            at: at(second),
            host: "nas".to_owned(),
            layers: vec!["disk".to_owned()],
            stores: vec!["/backup".to_owned()],
            expected: None,
        }
    }

    #[test]
    fn what_was_recorded_is_read_back_newest_first() {
        let state = tempfile::tempdir().unwrap();
        let history = History::new(state.path());
        assert_eq!(history.operations().unwrap().count(), 0);
        let finished = Event::Finished {
            at: at(200),
            outcome: Outcome::Good,
            totals: Some(Totals::default()),
            problems: 0,
        };
        for second in [100, 300] {
            let record = history.begin(at(second), seven).unwrap();
            record.add(&started(second));
            record.add(&Event::Progress {
                totals: Totals::default(),
                path: PathRecord::from(&tree::TreePath::root()),
            });
            record.add(&finished);
        }
        let operations: Vec<Operation> = history.operations().unwrap().collect();
        assert_eq!(operations.len(), 2);
        assert_eq!(operations[0].events, [started(300), finished.clone()]);
        assert_eq!(operations[1].events, [started(100), finished]);
    }

    #[test]
    fn what_is_over_is_read_once_and_what_goes_on_each_time() {
        let state = tempfile::tempdir().unwrap();
        let history = History::new(state.path());
        let finished = Event::Finished {
            at: at(200),
            outcome: Outcome::Skipped,
            totals: None,
            problems: 1,
        };
        let problem = Event::Problem(crate::event::ProblemRecord {
            path: PathRecord::from(&tree::TreePath::root()),
            what: "permission denied".to_owned(),
        });
        let over = history.begin(at(100), seven).unwrap();
        for event in [&started(100), &problem, &finished] {
            over.add(event);
        }
        let running = history.begin(at(300), seven).unwrap();
        running.add(&started(300));
        let mut memory = Outlines::default();
        let first = history.outlines(&mut memory).unwrap();
        assert_eq!(first[0].events, [started(300)]);
        assert_eq!(first[1].events, [started(100), finished.clone()]);
        running.add(&finished);
        let second = history.outlines(&mut memory).unwrap();
        assert_eq!(second[0].events, [started(300), finished]);
        assert!(Arc::ptr_eq(&first[1], &second[1]));
        // What is gone is forgotten.
        fs::remove_dir_all(state.path().join("history")).unwrap();
        assert_eq!(history.outlines(&mut memory).unwrap(), []);
        assert!(memory.known.is_empty());
    }

    #[test]
    fn a_torn_line_costs_itself_only() {
        let state = tempfile::tempdir().unwrap();
        let history = History::new(state.path());
        let record = history.begin(at(100), seven).unwrap();
        record.add(&started(100));
        let path = fs::read_dir(state.path().join("history"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
        file.write_all(b"{\"event\":\"fut").unwrap();
        let operation = history.operations().unwrap().next().unwrap();
        assert_eq!(operation.events, [started(100)]);
    }
}
