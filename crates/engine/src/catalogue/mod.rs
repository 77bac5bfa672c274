//! The catalogue: which version of which file stands in which snapshot of which layer.
//!
//! It answers a search over all layers and all times without opening a layer. It is an index and
//! nothing else: a restore never asks it, it may be deleted at any time, and one that is damaged is
//! thrown away; what it lacks is read from the layers again, by [`Catalogue::catch_up`].
//!
//! # How it is kept small
//!
//! From one snapshot to the next hardly anything changes. So a version of a file is one row, with the
//! first and the last of the moments that it stands in; `last` is empty as long as it still does, and a
//! snapshot in which nothing changed adds no row. Moments are numbered in the order in which they
//! came in, not by time: what an older snapshot holds may come in later, and the rows are right in any
//! order. Layers that are fed by one reading hold the same moment and share its rows: that is what a
//! *series* is. Snapshots of other machines or programs, and drop folders, have series of their own.
//!
//! Names are kept once each, with an index of their trigrams; a path is a chain of nodes. Versions are
//! told apart by kind, size and time of change to the second, for that is what every layer knows.
//!
//! # Why it cannot harm
//!
//! A run spools what it reads to an unnamed file, and only after the layers have committed, what differs
//! from the run before becomes one transaction here: what is not backed up is never listed. Whatever
//! fails, the run does not. A snapshot that could not be taken in stays known as one that is not read yet.
//! A snapshot that is read from a layer is compared with the one that was read before in the same way.

mod feed;
mod fill;
mod find;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
};
use serde::Serialize;

use crate::config::{self, Config, Kind};
use crate::event::{Event, Watch};
use crate::explain::{Explanation, explain_layer};
use crate::layer::{self, Access, Layer, Snapshot};
use crate::machine::Context;
use crate::{Error, Machine, create_private_folder};

pub(crate) use feed::Feed;
use feed::Last;
use fill::Filling;
pub use find::{Located, Search, Stand, StandsIn};

/// Says that a file is one of ours, and of which form: others are thrown away.
const APPLICATION: i32 = 0x5276_436c;
const FORM: i32 = 2;

/// How long another process that writes is waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// When so many snapshots are gone, the versions that only they held are removed.
const GONE_MAX: i64 = 20;

/// Series of which a spool is held while a layer is read.
const SPOOLS_MAX: usize = 8;

/// What a run feeds, and what layers hold of it.
const MACHINE: &str = "machine";

const SCHEMA: &str = "
CREATE TABLE layer (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, store TEXT NOT NULL,
    gone INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE series (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, moment INTEGER NOT NULL DEFAULT 0,
    mark INTEGER NOT NULL DEFAULT 0
);
-- Without a moment: known, and not read yet.
CREATE TABLE snapshot (
    layer INTEGER NOT NULL, name TEXT NOT NULL, id TEXT NOT NULL, time INTEGER NOT NULL,
    series INTEGER, moment INTEGER,
    PRIMARY KEY (layer, name)
) WITHOUT ROWID;
CREATE TABLE name (id INTEGER PRIMARY KEY, text BLOB NOT NULL UNIQUE);
CREATE TABLE node (
    id INTEGER PRIMARY KEY, parent INTEGER NOT NULL, name INTEGER NOT NULL,
    UNIQUE (parent, name)
);
CREATE INDEX node_name ON node (name);
CREATE TABLE version (
    node INTEGER NOT NULL, series INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER,
    kind INTEGER NOT NULL, size INTEGER NOT NULL, modified INTEGER NOT NULL,
    PRIMARY KEY (node, series, first)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE trigram USING fts5 (
    text, content = '', contentless_delete = 1, tokenize = 'trigram', detail = none
);
CREATE VIRTUAL TABLE term USING fts5vocab (trigram, 'instance');
";

/// The catalogue of this machine.
pub struct Catalogue {
    db: Connection,
    /// Where it is; `None` where it could only be made in memory.
    file: Option<PathBuf>,
}

/// What became of the snapshots of a layer that were not in the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaughtUp {
    /// Which layer.
    pub layer: String,
    /// How many were read.
    pub read: u64,
    /// How many are still missing.
    pub missing: u64,
    /// Why, where something went wrong.
    pub failure: Option<Explanation>,
}

/// How much the catalogue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Holdings {
    /// Snapshots that were taken in.
    pub snapshots: u64,
    /// Snapshots that are known and were not read yet.
    pub missing: u64,
    /// Paths.
    pub paths: u64,
    /// Versions of them.
    pub versions: u64,
    /// Bytes on the disk; none where it is in memory.
    pub bytes: u64,
}

type Sql<T> = Result<T, rusqlite::Error>;

impl Catalogue {
    /// Opens the catalogue. One that is damaged or of another form is thrown away; where no file can be
    /// had, it is made in memory and forgotten at the end.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when there is no memory for it either.
    pub fn open(machine: &Machine) -> Result<Self, Error> {
        let file = file(machine);
        let opened = create_private_folder(&machine.places.cache).and_then(|()| {
            let is_new = !file.exists();
            open_file(&file)
                .or_else(|error| match is_damage(&error) && !is_new {
                    true => {
                        remove(&file);
                        open_file(&file)
                    }
                    false => Err(error),
                })
                .map_err(io::Error::other)
        });
        match opened {
            Ok(db) => Ok(Self {
                db,
                file: Some(file),
            }),
            Err(_) => Ok(Self {
                db: Connection::open_in_memory()
                    .and_then(prepare)
                    .map_err(|error| failed(&file, error))?,
                file: None,
            }),
        }
    }

    /// Throws everything away.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when no new one can be made.
    pub fn clear(&mut self, machine: &Machine) -> Result<(), Error> {
        let memory = Connection::open_in_memory().map_err(|error| failed(&file(machine), error))?;
        // The file is closed before it is removed, with what SQLite keeps beside it.
        drop(std::mem::replace(&mut self.db, memory));
        if let Some(file) = &self.file {
            remove(file);
        }
        *self = Self::open(machine)?;
        Ok(())
    }

    /// Does something with the database. When that shows that it is damaged, it is thrown away, and the
    /// same is tried with an empty one.
    fn with<T>(
        &mut self,
        machine: &Machine,
        work: impl Fn(&mut Connection) -> Sql<T>,
    ) -> Result<T, Error> {
        let of_file = |error| failed(&file(machine), error);
        match work(&mut self.db) {
            Err(error) if is_damage(&error) => {
                self.clear(machine)?;
                work(&mut self.db).map_err(of_file)
            }
            result => result.map_err(of_file),
        }
    }

    /// Reads all of it: whether SQLite finds it whole. One that is not is thrown away.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when no new one can be made.
    pub fn check(&mut self, machine: &Machine) -> Result<bool, Error> {
        let check = |db: &Connection| -> Sql<bool> {
            let said: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            Ok(said == "ok")
        };
        let is_whole = check(&self.db).unwrap_or(false);
        if !is_whole {
            self.clear(machine)?;
        }
        Ok(is_whole)
    }

    /// Learns which snapshots a layer has: those that are gone are forgotten, new ones are known as
    /// not read yet.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when it cannot be written.
    pub fn know(
        &mut self,
        layer: &config::Layer,
        snapshots: &[Snapshot],
        machine: &Machine,
    ) -> Result<(), Error> {
        self.with(machine, |db| {
            let transaction = begin(db)?;
            know(&transaction, layer, snapshots)?;
            transaction.commit()
        })
    }

    /// Takes in what a run has fed to layers: one moment, and a snapshot of each.
    pub(crate) fn take_in(
        &mut self,
        feed: &Feed,
        snapshots: &[(&config::Layer, Snapshot)],
        machine: &Machine,
    ) -> Result<(), Error> {
        let last = self.take(feed, MACHINE, feed::last(machine), snapshots, machine)?;
        if let Some(last) = last {
            let _ = last.keep(machine);
        }
        Ok(())
    }

    /// Takes in a moment of a series: what differs from `last` if that is the moment before, else
    /// everything. Gives what the next one can be compared with.
    fn take(
        &mut self,
        feed: &Feed,
        series: &str,
        last: Option<Last>,
        snapshots: &[(&config::Layer, Snapshot)],
        machine: &Machine,
    ) -> Result<Option<Last>, Error> {
        let mut mark = [0; 8];
        // Without one, the next moment tells everything once more.
        let has_mark = (machine.random)(&mut mark).is_ok();
        let mark = u64::from_le_bytes(mark).max(1);
        let last = last.filter(|_| has_mark && feed.is_ordered());
        let is_told = last.is_some_and(|last| {
            self.tell_differences(feed, series, (&last, mark), snapshots, machine)
                .unwrap_or(false)
        });
        if !is_told {
            let mark = has_mark.then_some(mark);
            self.fill(feed, series, mark, snapshots, machine)?;
        }
        let marked = has_mark.then(|| feed.marked(mark).ok());
        Ok(marked.flatten())
    }

    /// Takes in what differs between two moments. Says no when that is not to be had: nothing is changed
    /// then.
    fn tell_differences(
        &mut self,
        feed: &Feed,
        series: &str,
        (last, mark): (&Last, u64),
        snapshots: &[(&config::Layer, Snapshot)],
        machine: &Machine,
    ) -> Result<bool, Error> {
        self.with(machine, |db| {
            let transaction = begin(db)?;
            let sql = "SELECT mark FROM series WHERE key = ?1";
            let known: Option<i64> = transaction
                .query_row(sql, [series], |row| row.get(0))
                .optional()?;
            if known != Some(last.mark.cast_signed()) {
                return Ok(false);
            }
            let mut filling = Filling::begin(&transaction, series)?;
            match feed::differences(last, feed, &mut |path, state| {
                filling.tell(path, state).map_err(Told::Here)
            }) {
                Ok(()) => {}
                Err(Told::Here(error)) => return Err(error),
                // Nothing of it counts: the transaction ends here.
                Err(Told::Spool) => return Ok(false),
            }
            let moment = filling.finish_differences();
            hold_all(&transaction, snapshots, moment)?;
            set_mark(&transaction, moment, mark)?;
            transaction.commit()?;
            Ok(true)
        })
    }

    /// Takes in a whole moment.
    fn fill(
        &mut self,
        feed: &Feed,
        series: &str,
        mark: Option<u64>,
        snapshots: &[(&config::Layer, Snapshot)],
        machine: &Machine,
    ) -> Result<(), Error> {
        let unreadable = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        self.with(machine, |db| {
            let transaction = begin(db)?;
            let mut filling = Filling::begin(&transaction, series)?;
            // What cannot be read back of the spool ends it, and nothing of it counts.
            let mut spooled = feed.read().map_err(unreadable)?;
            while let Some(object) = spooled.next().map_err(unreadable)? {
                filling.add(object)?;
            }
            let moment = filling.finish()?;
            hold_all(&transaction, snapshots, moment)?;
            if let Some(mark) = mark {
                set_mark(&transaction, moment, mark)?;
            }
            transaction.commit()
        })
    }

    /// Reads the snapshots that are not in the catalogue from their layers, the newest first. What
    /// goes wrong with a layer is told and keeps no other one.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when the catalogue cannot be written.
    pub fn catch_up(
        &mut self,
        layers: &[&config::Layer],
        context: Context<'_>,
        watch: Watch<'_>,
    ) -> Result<Vec<CaughtUp>, Error> {
        let mut caught_up = Vec::new();
        for layer in layers {
            if watch.stop.is_requested() {
                break;
            }
            let mut report = CaughtUp {
                layer: layer.name.clone(),
                read: 0,
                missing: 0,
                failure: None,
            };
            match (context.open)(layer, Access::Read) {
                Ok(mut open) => {
                    self.read_layer(&mut *open, layer, context, watch, &mut report)?;
                }
                Err(error) => report.failure = Some(explain_layer(&error, &layer.name)),
            }
            report.missing = self.missing(layer, context.machine)?.len() as u64;
            caught_up.push(report);
        }
        Ok(caught_up)
    }

    fn read_layer(
        &mut self,
        open: &mut dyn Layer,
        layer: &config::Layer,
        context: Context<'_>,
        watch: Watch<'_>,
        report: &mut CaughtUp,
    ) -> Result<(), Error> {
        let machine = context.machine;
        match open.snapshots() {
            Ok(snapshots) => self.know(layer, &snapshots, machine)?,
            Err(error) => {
                report.failure = Some(explain_layer(&error, &layer.name));
                return Ok(());
            }
        }
        let missing = self.missing(layer, machine)?;
        let mut lasts = HashMap::new();
        for (done, snapshot) in missing.iter().enumerate() {
            if watch.stop.is_requested() {
                break;
            }
            watch.tell(Event::Step {
                layer: layer.name.clone(),
                phase: "reading snapshots into the catalogue".to_owned(),
                done: done as u64,
                total: missing.len() as u64,
            });
            match self.read_snapshot(open, layer, snapshot, &mut lasts, (machine, watch)) {
                Ok(true) => report.read += 1,
                Ok(false) => break,
                Err(Failure::Here(error)) => return Err(error),
                Err(Failure::There(error)) => {
                    report.failure = Some(explain_layer(&error, &layer.name));
                }
            }
        }
        Ok(())
    }

    /// Reads one snapshot; says whether it came to its end. It is spooled first: nobody is kept from
    /// writing while a layer is slow. `lasts` has the spool of the snapshot before, of each series.
    fn read_snapshot(
        &mut self,
        open: &mut dyn Layer,
        layer: &config::Layer,
        snapshot: &Snapshot,
        lasts: &mut HashMap<String, Last>,
        (machine, watch): (&Machine, Watch<'_>),
    ) -> Result<bool, Failure> {
        let mut feed = Feed::new(machine);
        let listed = open.entries(snapshot, &mut |found| {
            if let Ok(item) = found {
                feed.add(&item.entry);
            }
            match watch.stop.is_requested() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if watch.stop.is_requested() {
            return Ok(false);
        }
        match listed {
            // What can still be read of it can be found.
            Err(error) if !error.is_damage() => return Err(Failure::There(error)),
            _ => {}
        }
        feed.finish();
        let series = series_of(layer, snapshot, machine);
        let snapshots = [(layer, snapshot.clone())];
        if lasts.len() >= SPOOLS_MAX && !lasts.contains_key(&series) {
            lasts.clear();
        }
        let last = lasts.remove(&series);
        let taken = self.take(&feed, &series, last, &snapshots, machine);
        if let Some(last) = taken.map_err(Failure::Here)? {
            lasts.insert(series, last);
        }
        Ok(true)
    }

    /// The snapshots of a layer that are known and not read yet, newest first.
    fn missing(
        &mut self,
        layer: &config::Layer,
        machine: &Machine,
    ) -> Result<Vec<Snapshot>, Error> {
        self.with(machine, |db| {
            let mut query = db.prepare_cached(
                "SELECT snapshot.name, snapshot.id, time FROM snapshot JOIN layer ON layer = layer.id
                 WHERE layer.name = ?1 AND store = ?2 AND moment IS NULL ORDER BY time DESC",
            )?;
            let rows = query.query_map(params![layer.name, layer.store], |row| {
                Ok(Snapshot {
                    name: row.get(0)?,
                    id: row.get(1)?,
                    time: time_of(row.get(2)?),
                })
            })?;
            rows.collect()
        })
    }

    /// The layers of a configuration of which something is not in the catalogue, as far as it knows:
    /// it learns of new snapshots at each run, and when it catches up.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when it cannot be read.
    pub fn incomplete<'c>(
        &mut self,
        config: &'c Config,
        machine: &Machine,
    ) -> Result<Vec<&'c config::Layer>, Error> {
        let mut incomplete = Vec::new();
        for layer in &config.layers {
            let is_known = self.with(machine, |db| {
                let sql = "SELECT id FROM layer WHERE name = ?1 AND store = ?2";
                let key = params![layer.name, layer.store];
                let found: Option<i64> = db.query_row(sql, key, |row| row.get(0)).optional()?;
                Ok(found.is_some())
            })?;
            let is_complete = is_known && self.missing(layer, machine)?.is_empty();
            if layer.is_runnable() && !is_complete {
                incomplete.push(layer);
            }
        }
        Ok(incomplete)
    }

    /// How much it holds.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when it cannot be read.
    pub fn holdings(&mut self, machine: &Machine) -> Result<Holdings, Error> {
        let bytes = self.file.as_ref().and_then(|file| fs::metadata(file).ok());
        let bytes = bytes.map_or(0, |metadata| metadata.len());
        self.with(machine, |db| {
            let count = |sql: &str| -> Sql<u64> {
                let count: i64 = db.query_row(sql, [], |row| row.get(0))?;
                Ok(u64::try_from(count).unwrap_or(0))
            };
            Ok(Holdings {
                snapshots: count("SELECT count(*) FROM snapshot WHERE moment IS NOT NULL")?,
                missing: count("SELECT count(*) FROM snapshot WHERE moment IS NULL")?,
                paths: count("SELECT count(*) FROM node")?,
                versions: count("SELECT count(*) FROM version")?,
                bytes,
            })
        })
    }
}

/// Learns that snapshots of a layer were deleted, renamed or, under their names, made anew. What cannot
/// be learnt now is when the layer is asked the next time.
pub fn changed(layer: &config::Layer, anew: &[String], open: &mut dyn Layer, machine: &Machine) {
    if !file(machine).exists() {
        return;
    }
    forget(&layer.name, anew, machine);
    if let (Ok(snapshots), Ok(mut catalogue)) = (open.snapshots(), Catalogue::open(machine)) {
        let _ = catalogue.know(layer, &snapshots, machine);
    }
}

/// Forgets snapshots that were deleted.
pub(crate) fn forget(layer: &str, names: &[String], machine: &Machine) {
    if !file(machine).exists() {
        return;
    }
    if let Ok(mut catalogue) = Catalogue::open(machine) {
        let _ = catalogue.with(machine, |db| {
            let transaction = begin(db)?;
            let sql = "SELECT id FROM layer WHERE name = ?1";
            let id: Option<i64> = transaction
                .query_row(sql, [layer], |row| row.get(0))
                .optional()?;
            if let Some(id) = id {
                for name in names {
                    let sql = "DELETE FROM snapshot WHERE layer = ?1 AND name = ?2";
                    transaction.execute(sql, params![id, name])?;
                }
                are_gone(&transaction, id, names.len())?;
            }
            transaction.commit()
        });
    }
}

/// Why differences were not taken in.
enum Told {
    /// The catalogue says no.
    Here(rusqlite::Error),
    /// A spool is not whole.
    Spool,
}

impl From<io::Error> for Told {
    fn from(_: io::Error) -> Self {
        Self::Spool
    }
}

/// Why a snapshot was not taken in.
enum Failure {
    /// The catalogue says no.
    Here(Error),
    /// The layer says no.
    There(layer::Error),
}

/// Begins a change, and waits for another process that is at one.
fn begin(db: &mut Connection) -> Sql<Transaction<'_>> {
    db.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn file(machine: &Machine) -> PathBuf {
    machine.places.cache.join("catalogue.sqlite")
}

fn failed(file: &Path, error: rusqlite::Error) -> Error {
    Error::State {
        action: "use the catalogue",
        path: file.to_owned(),
        source: io::Error::other(error),
    }
}

/// Whether the file is not, or no longer, what it should be.
fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    let is_broken = matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    );
    // A table or a type that is not what we made.
    let is_foreign = matches!(
        error,
        rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::QueryReturnedNoRows
            | rusqlite::Error::InvalidQuery
    ) || matches!(
        code,
        Some(ErrorCode::Unknown | ErrorCode::ConstraintViolation)
    );
    is_broken || is_foreign
}

/// Removes a database with what SQLite keeps beside it.
fn remove(file: &Path) {
    for ending in ["", "-wal", "-shm", "-journal"] {
        let mut name = file.as_os_str().to_owned();
        name.push(ending);
        let _ = fs::remove_file(PathBuf::from(name));
    }
}

fn open_file(file: &Path) -> Sql<Connection> {
    use std::os::unix::fs::OpenOptionsExt;
    // The names of files are nobody else's business; SQLite gives its other files the same rights.
    let made = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(file);
    drop(made);
    let db = Connection::open(file)?;
    db.busy_timeout(PATIENCE)?;
    // Read while a run writes. After a power cut the last transactions may be missing, no more.
    db.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    db.execute_batch("PRAGMA synchronous = NORMAL")?;
    prepare(db)
}

/// Makes the tables of a new database; of another form there are none.
fn prepare(db: Connection) -> Sql<Connection> {
    db.execute_batch("PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY")?;
    let number = |pragma: &str| -> Sql<i32> {
        db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
    };
    match (number("application_id")?, number("user_version")?) {
        (APPLICATION, FORM) => {}
        (0, 0) if number("schema_version")? == 0 => {
            db.execute_batch(&format!(
                "BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION};
                 PRAGMA user_version = {FORM}; COMMIT"
            ))?;
        }
        _ => return Err(rusqlite::Error::InvalidQuery),
    }
    Ok(db)
}

fn time_of(microseconds: i64) -> Timestamp {
    Timestamp::from_microsecond(microseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The number of a layer. One whose name stands for another store now has nothing yet.
fn layer_id(db: &Connection, layer: &config::Layer) -> Sql<i64> {
    let sql = "SELECT id, store FROM layer WHERE name = ?1";
    let found: Option<(i64, String)> = db
        .query_row(sql, [&layer.name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match found {
        Some((id, store)) if store == layer.store => Ok(id),
        Some((id, _)) => {
            db.execute("DELETE FROM snapshot WHERE layer = ?1", [id])?;
            let sql = "UPDATE layer SET store = ?2 WHERE id = ?1";
            db.execute(sql, params![id, layer.store])?;
            Ok(id)
        }
        None => {
            let sql = "INSERT INTO layer (name, store) VALUES (?1, ?2)";
            db.execute(sql, params![layer.name, layer.store])?;
            Ok(db.last_insert_rowid())
        }
    }
}

fn know(db: &Connection, layer: &config::Layer, snapshots: &[Snapshot]) -> Sql<()> {
    let layer = layer_id(db, layer)?;
    let mut known = HashMap::new();
    {
        let mut query = db.prepare("SELECT name, id FROM snapshot WHERE layer = ?1")?;
        let mut rows = query.query([layer])?;
        while let Some(row) = rows.next()? {
            known.insert(row.get::<_, String>(0)?, row.get::<_, String>(1)?);
        }
    }
    for snapshot in snapshots {
        let key = params![
            layer,
            snapshot.name,
            snapshot.id,
            snapshot.time.as_microsecond()
        ];
        let sql = match known.remove(&snapshot.name) {
            Some(id) if id == snapshot.id => continue,
            // What a run has made is known by its name first.
            Some(id) if id.is_empty() => {
                "UPDATE snapshot SET id = ?3, time = ?4 WHERE layer = ?1 AND name = ?2"
            }
            _ => "INSERT OR REPLACE INTO snapshot (layer, name, id, time) VALUES (?1, ?2, ?3, ?4)",
        };
        db.execute(sql, key)?;
    }
    let gone = known.len();
    for (name, _) in known {
        let sql = "DELETE FROM snapshot WHERE layer = ?1 AND name = ?2";
        db.execute(sql, params![layer, name])?;
    }
    are_gone(db, layer, gone)
}

/// Writes down that a snapshot holds a moment.
fn hold(db: &Connection, layer: i64, snapshot: &Snapshot, series: i64, moment: i64) -> Sql<()> {
    let sql = "INSERT OR REPLACE INTO snapshot (layer, name, id, time, series, moment)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (name, id) = (&snapshot.name, &snapshot.id);
    let time = snapshot.time.as_microsecond();
    db.execute(sql, params![layer, name, id, time, series, moment])?;
    Ok(())
}

fn hold_all(
    db: &Connection,
    snapshots: &[(&config::Layer, Snapshot)],
    (series, moment): (i64, i64),
) -> Sql<()> {
    for (layer, snapshot) in snapshots {
        hold(db, layer_id(db, layer)?, snapshot, series, moment)?;
    }
    Ok(())
}

/// Writes down which spool holds what the last moment of a series is.
fn set_mark(db: &Connection, (series, _): (i64, i64), mark: u64) -> Sql<()> {
    let sql = "UPDATE series SET mark = ?2 WHERE id = ?1";
    db.execute(sql, params![series, mark.cast_signed()])?;
    Ok(())
}

/// Counts snapshots that are gone. When they are many, what only they held goes, too.
fn are_gone(db: &Connection, layer: i64, gone: usize) -> Sql<()> {
    if gone == 0 {
        return Ok(());
    }
    let count = i64::try_from(gone).unwrap_or(i64::MAX);
    let sql = "UPDATE layer SET gone = gone + ?2 WHERE id = ?1";
    db.execute(sql, params![layer, count])?;
    let sql = "SELECT sum(gone) FROM layer";
    let total: i64 = db.query_row(sql, [], |row| row.get(0))?;
    if total < GONE_MAX {
        return Ok(());
    }
    fill::purge(db)?;
    db.execute("UPDATE layer SET gone = 0", [])?;
    Ok(())
}

/// To which series a snapshot belongs that is read from a layer: snapshots that are alike are to share
/// one.
fn series_of(layer: &config::Layer, snapshot: &Snapshot, machine: &Machine) -> String {
    match &layer.kind {
        Kind::Duplicity(_) => MACHINE.to_owned(),
        Kind::Drop { .. } => format!("drop {}", layer.name),
        Kind::Borg { .. } => {
            let ours = snapshot.name.strip_prefix(&machine.host);
            if ours.is_some_and(|rest| rest.starts_with('-')) {
                return MACHINE.to_owned();
            }
            // `etc-2026-11-24` and `etc-2026-11-25` are alike, whoever made them.
            let end = snapshot.name.find(|c: char| c.is_ascii_digit());
            let prefix = snapshot.name.get(..end.unwrap_or(snapshot.name.len()));
            format!("borg {} {}", layer.name, prefix.unwrap_or_default())
        }
    }
}
