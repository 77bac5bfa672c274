//! How fast a search over all layers and times is: `cargo run -p ravelin-engine --example
//! catalogue_speed [FILES [SNAPSHOTS]]`.
//!
//! A layer that is only computed gives a million files in fifty thousand folders, fifty times over. From
//! one snapshot to the next one file in a hundred changes, and as many as two in a thousand come and go.
//! Four names in ten are those of everybody (`README.md`), the others are one of a kind. What is measured
//! is each search as a person makes it, opening of the catalogue included: the first thousand paths, as
//! `ravelin find` shows them; a `+` says that there are more.

#![expect(clippy::print_stdout, reason = "it is a report")]

use std::error::Error;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan};
use ravelin_engine::layer::{
    Access, Depth, Details, Error as LayerError, Found, Intake, Item, Layer, NewSnapshot,
    RestoreStep, Verification, VerifyStep,
};
use ravelin_engine::{
    Catalogue, Config, Context, Glob, Machine, Places, Selection, Snapshot, Stop, Surroundings,
    Watch, config,
};
use tree::{Entry, EntryKind, Restore, Time, TreePath};

const PER_FOLDER: u64 = 20;
/// Paths that `ravelin find` shows to a person unless more are asked for.
const LIMIT: usize = 1000;
const COMMON: [&str; 8] = [
    "README.md",
    "index.js",
    "package.json",
    "__init__.py",
    "Makefile",
    "mod.rs",
    "style.css",
    "LICENSE",
];
const WORDS: [&str; 8] = [
    "report", "invoice", "holiday", "letter", "draft", "minutes", "garden", "thesis",
];
const ENDINGS: [&str; 4] = ["odt", "pdf", "jpg", "txt"];

/// Files that nobody keeps.
struct Computed {
    files: u64,
    snapshots: u64,
}

/// As good as random, and always the same.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

fn choose<'a>(from: &[&'a str], value: u64) -> &'a str {
    let count = u64::try_from(from.len()).unwrap_or(1);
    let index = usize::try_from(value % count).unwrap_or(0);
    from.get(index).copied().unwrap_or_default()
}

/// Folders come in the order of paths, as every layer lists them.
fn folder(number: u64) -> String {
    let (group, folder) = (number / 1000, number % 1000);
    format!("home/ada/{group:04}/{folder:03}/project-{number}")
}

fn name(file: u64) -> String {
    let random = mix(file);
    if random % 10 < 4 {
        let common = choose(&COMMON, random >> 8);
        return match file % PER_FOLDER {
            // Two of one name in a folder there cannot be.
            0 => common.to_owned(),
            number => format!("{number}-{common}"),
        };
    }
    let word = choose(&WORDS, random >> 8);
    let ending = choose(&ENDINGS, random >> 16);
    format!("{word}-{file:07}.{ending}")
}

impl Computed {
    /// The last snapshot until this one in which the file changed.
    fn changed(&self, file: u64, snapshot: u64) -> u64 {
        let mut before = (0..=snapshot).rev();
        let is_change = |at: &u64| mix(file ^ (at << 40)).is_multiple_of(100);
        before.find(is_change).unwrap_or(0)
    }

    /// Whether it is there: one in a thousand comes, one in a thousand goes at some time.
    fn is_there(&self, file: u64, snapshot: u64) -> bool {
        let random = mix(file ^ 0x5555);
        let at = (random >> 16) % self.snapshots;
        match random % 20 {
            0 => snapshot >= at,
            1 => snapshot < at,
            _ => true,
        }
    }

    fn entry(&self, file: u64, folder: &TreePath, snapshot: u64) -> Entry {
        let changed = self.changed(file, snapshot);
        let seconds = 1_700_000_000 + i64::try_from(changed * 86_400 + file % 86_400).unwrap_or(0);
        let time = Time::new(seconds, 0);
        let path = folder.join(name(file).as_bytes());
        Entry {
            size: mix(file ^ changed) % 100_000,
            ..Entry::new(path, EntryKind::File, 0o644, (1000, 1000), time)
        }
    }
}

impl Layer for Computed {
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, LayerError> {
        let start: Timestamp = Timestamp::UNIX_EPOCH;
        let all = (0..self.snapshots).map(|number| {
            let hours = i64::try_from(24 * number).unwrap_or(0);
            Snapshot {
                name: format!("nas-{number:04}"),
                id: number.to_string(),
                time: start.saturating_add(hours.hours()).unwrap_or(start),
            }
        });
        Ok(all.collect())
    }

    fn entries(
        &mut self,
        snapshot: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), LayerError> {
        let snapshot: u64 = snapshot.id.parse().unwrap_or(0);
        for number in 0..self.files.div_ceil(PER_FOLDER) {
            let text = folder(number);
            let Ok(path) = TreePath::new(&text) else {
                continue;
            };
            let kind = EntryKind::Directory;
            let entry = Entry::new(path.clone(), kind, 0o755, (1000, 1000), Time::default());
            let _ = receive(Ok(Item {
                entry,
                content: None,
            }));
            let end = self.files.min((number + 1) * PER_FOLDER);
            let there = (number * PER_FOLDER..end).filter(|&file| self.is_there(file, snapshot));
            let mut entries: Vec<Entry> = there
                .map(|file| self.entry(file, &path, snapshot))
                .collect();
            entries.sort_unstable_by(|one, other| one.path.cmp(&other.path));
            for entry in entries {
                let content = None;
                if receive(Ok(Item { entry, content })).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn details(&mut self, _: &Snapshot) -> Result<Details, LayerError> {
        Err(NO)
    }

    fn content<'a>(
        &'a mut self,
        _: &Snapshot,
        _: &TreePath,
    ) -> Result<Box<dyn Read + 'a>, LayerError> {
        Err(NO)
    }

    fn restore(
        &mut self,
        _: &Snapshot,
        _: &Selection,
        _: &Restore,
        _: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), LayerError> {
        Err(NO)
    }

    fn begin<'a>(
        &'a mut self,
        _: &NewSnapshot,
        _: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Box<dyn Intake + 'a>, LayerError> {
        Err(NO)
    }

    fn verify(
        &mut self,
        _: Depth,
        _: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, LayerError> {
        Err(NO)
    }
}

/// What is only computed has nothing to give.
const NO: LayerError = LayerError::Unsupported {
    what: "do more than list files",
};

fn machine(home: &Path) -> Machine {
    Machine {
        places: Places::from_environment(home, |_| None),
        host: "nas".to_owned(),
        user: "ada".to_owned(),
        variable: Arc::new(|_: &str| None),
        clock: Arc::new(ravelin_engine::clock::system),
        surroundings: Surroundings {
            on_battery: || false,
            online: || true,
            metered: || false,
        },
        random: |bytes| {
            bytes.fill(7);
            Ok(())
        },
        stop: Arc::default(),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual| arguments.next().map_or(Ok(usual), |text| text.parse());
    let (files, snapshots) = (number(1_000_000)?, number(50)?);
    let home = tempfile::tempdir()?;
    let machine = machine(home.path());
    let text = "[[source]]\npaths = [\"/\"]\n[layer.disk]\nkind = \"borg\"\nencryption = \"none\"\n\
                store = \"/nonexistent\"\n";
    let config = Config::parse(text, Path::new("r.toml"), &machine.places)?;
    let open = |_: &config::Layer, _: Access| -> Result<Box<dyn Layer>, LayerError> {
        Ok(Box::new(Computed { files, snapshots }))
    };
    let context = Context {
        config: &config,
        machine: &machine,
        open: &open,
    };
    let stop = Stop::default();
    let watch = Watch {
        sink: &|_| {},
        stop: &stop,
    };
    let layers: Vec<&config::Layer> = config.layers.iter().collect();
    let begin = Instant::now();
    let mut catalogue = Catalogue::open(&machine)?;
    catalogue.catch_up(&layers, context, watch)?;
    let holdings = catalogue.holdings(&machine)?;
    drop(catalogue);
    println!(
        "{files} files, {snapshots} snapshots: {} paths, {} versions, {} MB, filled in {:.0} s",
        holdings.paths,
        holdings.versions,
        holdings.bytes / 1_000_000,
        begin.elapsed().as_secs_f64()
    );
    println!(
        "{:<28} {:>9} {:>9} {:>9}",
        "search", "paths", "best ms", "worst ms"
    );
    for typed in [
        // One that is there.
        name(files / 9 * 4 + 3).as_str(),
        "invoice-01234",
        "report-07777*.odt",
        "**/project-4321/*",
        "*-0999999.*",
        "README.md",
        "nothing-of-this-name",
        "q7",
        "z",
        "invoice",
        "ada/0007",
        "home/*",
        "**/*.jpg",
        "*",
    ] {
        let pattern = Glob::new(typed.as_bytes());
        let (mut best, mut worst) = (Duration::MAX, Duration::ZERO);
        let (mut paths, mut has_more) = (0, false);
        for _ in 0..5 {
            let begin = Instant::now();
            let mut catalogue = Catalogue::open(&machine)?;
            let search = catalogue.search(&pattern, Some(LIMIT), &config, &machine)?;
            paths = search.found.len();
            has_more = search.has_more;
            let took = begin.elapsed();
            best = best.min(took);
            worst = worst.max(took);
        }
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "{typed:<28} {paths:>8}{} {:>9.1} {:>9.1}",
            if has_more { '+' } else { ' ' },
            ms(best),
            ms(worst)
        );
    }
    Ok(())
}
