//! A machine with a folder to back up and layers in memory.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use jiff::{ToSpan, ZonedDateTime};
use ravelin_engine::layer::{Access, Error, Layer};
use ravelin_engine::{
    Config, Context, Due, Event, Machine, Places, Report, Snapshot, Stop, Surroundings, Wanted,
    Watch, config,
};
use tempfile::TempDir;

use crate::memory::{Fault, Memory, Shelf, files};

thread_local! {
    /// Minutes since the beginning of the test, which has its thread for itself. The threads of the
    /// engine share them.
    static MINUTES: Arc<AtomicI64> = Arc::default();
    static ON_BATTERY: Cell<bool> = const { Cell::new(false) };
    static OFFLINE: Cell<bool> = const { Cell::new(false) };
    static METERED: Cell<bool> = const { Cell::new(false) };
}

/// Lets time pass.
pub(crate) fn wait_hours(hours: i64) {
    wait_minutes(60 * hours);
}

/// Lets time pass, or sets the clock back.
pub(crate) fn wait_minutes(minutes: i64) {
    MINUTES.with(|passed| passed.fetch_add(minutes, Ordering::Relaxed));
}

/// Changes what the machine runs on.
pub(crate) fn surround(on_battery: bool, offline: bool, metered: bool) {
    ON_BATTERY.set(on_battery);
    OFFLINE.set(offline);
    METERED.set(metered);
}

fn clock() -> ravelin_engine::Clock {
    let passed = MINUTES.with(Arc::clone);
    Arc::new(move || {
        let start: ZonedDateTime = "2026-11-24T07:30:00[UTC]".parse().unwrap();
        start
            .checked_add(passed.load(Ordering::Relaxed).minutes())
            .unwrap()
    })
}

/// Names of operations are told apart by it.
fn random(buffer: &mut [u8]) -> std::io::Result<()> {
    getrandom::fill(buffer).map_err(std::io::Error::other)
}

pub(crate) struct Workshop {
    folder: TempDir,
    pub(crate) machine: Machine,
    pub(crate) config: Config,
    pub(crate) shelves: HashMap<String, Shelf>,
    pub(crate) faults: HashMap<String, Fault>,
    /// Layers that wait in the middle of a run until another one has a snapshot.
    pub(crate) waits: HashMap<String, String>,
    pub(crate) stop: Stop,
    pub(crate) events: Mutex<Vec<Event>>,
}

impl Workshop {
    /// A workshop with layers of these names and `source` as its source.
    pub(crate) fn new(layers: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        fs::create_dir_all(home.join("source")).unwrap();
        let stores = folder.path().join("stores");
        let mut text = String::from("[[source]]\npaths = [\"~/source\"]\n");
        for name in layers {
            let store = stores.join(name);
            fs::create_dir_all(&store).unwrap();
            text.push_str(&format!(
                "[layer.{name}]\nkind = \"borg\"\nencryption = \"none\"\nstore = \"{}\"\n",
                store.display()
            ));
        }
        let places = Places::from_environment(&home, |_| None);
        let config = Config::parse(&text, Path::new("ravelin.toml"), &places).unwrap();
        Self {
            folder,
            machine: Machine {
                places,
                host: "nas".to_owned(),
                user: "ada".to_owned(),
                variable: Arc::new(|_: &str| None),
                clock: clock(),
                surroundings: Surroundings {
                    on_battery: || ON_BATTERY.get(),
                    online: || !OFFLINE.get(),
                    metered: || METERED.get(),
                },
                random,
                stop: Arc::default(),
            },
            config,
            shelves: layers
                .iter()
                .map(|&name| (name.to_owned(), Shelf::default()))
                .collect(),
            faults: HashMap::new(),
            waits: HashMap::new(),
            stop: Stop::default(),
            events: Mutex::default(),
        }
    }

    /// The folder that is backed up.
    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().join("home/source")
    }

    /// Writes a file into it.
    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Does something in the context of this machine.
    pub(crate) fn with<T>(&self, work: impl FnOnce(Context<'_>, Watch<'_>) -> T) -> T {
        let open = |layer: &config::Layer, _: Access| -> Result<Box<dyn Layer>, Error> {
            Ok(Box::new(self.memory(&layer.name)))
        };
        let context = Context {
            config: &self.config,
            machine: &self.machine,
            open: &open,
        };
        let sink = |event: Event| self.events.lock().unwrap().push(event);
        let watch = Watch {
            sink: &sink,
            stop: &self.stop,
        };
        work(context, watch)
    }

    /// Backs up to what is wanted.
    pub(crate) fn back_up(&self, wanted: &Wanted) -> Report {
        self.with(|context, watch| {
            let plan = ravelin_engine::plan(context, wanted).unwrap();
            ravelin_engine::run(&plan, context, watch).unwrap()
        })
    }

    /// Does what is due, as a timer would.
    pub(crate) fn run_due(&self) -> Due {
        self.with(|context, watch| ravelin_engine::run_due(context, watch).unwrap())
    }

    /// One opening of a layer.
    pub(crate) fn memory(&self, layer: &str) -> Memory {
        Memory {
            shelf: self.shelves[layer].clone(),
            fault: self.faults.get(layer).copied().unwrap_or_default(),
            waits_for: self
                .waits
                .get(layer)
                .map(|other| self.shelves[other].clone()),
        }
    }

    /// The snapshots of a layer.
    pub(crate) fn snapshots(&self, layer: &str) -> Vec<Snapshot> {
        self.memory(layer).snapshots().unwrap()
    }

    /// The files of the newest snapshot of a layer, below the source, with their content.
    pub(crate) fn newest(&self, layer: &str) -> BTreeMap<String, String> {
        let mut memory = self.memory(layer);
        let snapshots = memory.snapshots().unwrap();
        let prefix = self.prefix() + "/";
        files(&mut memory, snapshots.last().unwrap())
            .into_iter()
            .filter_map(|(path, text)| Some((path.strip_prefix(&prefix)?.to_owned(), text)))
            .collect()
    }

    /// The path of the source, as it stands in snapshots.
    pub(crate) fn prefix(&self) -> String {
        self.source()
            .display()
            .to_string()
            .trim_start_matches('/')
            .to_owned()
    }
}
