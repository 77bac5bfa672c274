//! Finding names in the catalogue.
//!
//! A pattern gives the longest run of letters that every match has in one name. The trigrams of that run
//! name few candidates, and only those are compared with the pattern. A run of one or two letters has no
//! trigram: then all names are looked at, each once however many paths have it.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use rusqlite::Connection;
use tree::TreePath;

use super::{Catalogue, Sql, time_of};
use crate::{Config, Error, Glob, Machine};

/// A path that was found, with its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The path.
    pub path: TreePath,
    /// Its versions, by when they were changed.
    pub versions: Vec<Stand>,
}

/// A version of a path, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stand {
    /// What it is: the letter of `ls -l`.
    pub kind: char,
    /// Bytes of a file's content.
    pub size: u64,
    /// When it was changed, to the second; of a folder it is not kept.
    pub modified: Option<Timestamp>,
    /// The layers that have it, in the order of the configuration.
    pub layers: Vec<StandsIn>,
}

/// The snapshots of one layer that have a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandsIn {
    /// Which layer.
    pub layer: String,
    /// The oldest of them.
    pub first: String,
    /// The newest of them.
    pub last: String,
    /// How many there are.
    pub snapshots: usize,
    first_time: Timestamp,
    last_time: Timestamp,
}

/// A snapshot that is in the catalogue.
struct Held {
    moment: i64,
    /// The place of its layer in the configuration.
    layer: usize,
    name: String,
    time: Timestamp,
}

impl Catalogue {
    /// Looks for a name in all snapshots of the layers of a configuration; gives paths in their order.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when the catalogue cannot be read.
    pub fn find(
        &mut self,
        pattern: &Glob,
        config: &Config,
        machine: &Machine,
    ) -> Result<Vec<Located>, Error> {
        self.with(machine, |db| {
            let held = held(db, config)?;
            let mut found = Vec::new();
            let mut paths = Paths::default();
            for node in candidates(db, pattern)? {
                let Some(path) = paths.of(db, node)?.filter(|path| pattern.matches(path)) else {
                    continue;
                };
                let versions = versions(db, node, &held, config)?;
                if !versions.is_empty() {
                    found.push(Located { path, versions });
                }
            }
            found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            Ok(found)
        })
    }
}

/// The snapshots of the layers of a configuration, by series and moment.
fn held(db: &Connection, config: &Config) -> Sql<HashMap<i64, Vec<Held>>> {
    let mut held: HashMap<i64, Vec<Held>> = HashMap::new();
    let mut query = db.prepare_cached(
        "SELECT series, moment, snapshot.name, time, layer.name, store
         FROM snapshot JOIN layer ON layer = layer.id
         WHERE moment IS NOT NULL ORDER BY moment",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (name, store): (String, String) = (row.get(4)?, row.get(5)?);
        let mut layers = config.layers.iter();
        let layer = layers.position(|layer| layer.name == name && layer.store == store);
        if let Some(layer) = layer {
            held.entry(row.get(0)?).or_default().push(Held {
                moment: row.get(1)?,
                layer,
                name: row.get(2)?,
                time: time_of(row.get(3)?),
            });
        }
    }
    Ok(held)
}

/// The nodes that may match.
fn candidates(db: &Connection, pattern: &Glob) -> Sql<Vec<i64>> {
    let literal = pattern.literal();
    let names = names(db, literal, pattern)?;
    let mut nodes = Vec::new();
    {
        let mut query = db.prepare_cached("SELECT id FROM node WHERE name = ?1")?;
        for name in names {
            let mut rows = query.query([name])?;
            while let Some(row) = rows.next()? {
                nodes.push(row.get(0)?);
            }
        }
    }
    if pattern.is_of_name() {
        return Ok(nodes);
    }
    // Of a path, the run may stand in a folder above: everything below it is a candidate.
    let mut all = Vec::new();
    let mut known = std::collections::HashSet::new();
    let mut query = db.prepare_cached("SELECT id FROM node WHERE parent = ?1")?;
    while let Some(node) = nodes.pop() {
        if known.insert(node) {
            all.push(node);
            let mut rows = query.query([node])?;
            while let Some(row) = rows.next()? {
                nodes.push(row.get(0)?);
            }
        }
    }
    Ok(all)
}

/// The names that may be in a match.
fn names(db: &Connection, literal: &[u8], pattern: &Glob) -> Sql<Vec<i64>> {
    let fits = |text: &[u8]| match pattern.is_of_name() {
        true => TreePath::new(text).is_ok_and(|name| pattern.matches(&name)),
        false => contains(text, literal),
    };
    let trigrams = std::str::from_utf8(literal).map_or_else(|_| String::new(), trigrams);
    let sql = match trigrams.is_empty() {
        true => "SELECT id, text FROM name WHERE ?1 = ''",
        false => {
            "SELECT name.id, name.text FROM trigram JOIN name ON name.id = trigram.rowid
             WHERE trigram MATCH ?1"
        }
    };
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query([&trigrams])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        if fits(row.get_ref(1)?.as_blob()?) {
            names.push(row.get(0)?);
        }
    }
    Ok(names)
}

/// In either case of letters.
fn contains(text: &[u8], literal: &[u8]) -> bool {
    let mut windows = text.windows(literal.len().max(1));
    literal.is_empty() || windows.any(|window| window.eq_ignore_ascii_case(literal))
}

/// What the index is asked: every three letters in a row. Empty when there are not so many.
fn trigrams(literal: &str) -> String {
    let letters: Vec<char> = literal.chars().collect();
    let quoted = letters.windows(3).map(|three| {
        let three: String = three.iter().collect();
        format!("\"{}\"", three.replace('"', "\"\""))
    });
    quoted.collect::<Vec<_>>().join(" AND ")
}

/// Puts paths together, and remembers the folders.
#[derive(Default)]
struct Paths {
    known: HashMap<i64, Vec<u8>>,
}

impl Paths {
    /// The path of a node; `None` when the catalogue is not what it should be.
    fn of(&mut self, db: &Connection, node: i64) -> Sql<Option<TreePath>> {
        let mut query = db.prepare_cached(
            "SELECT parent, text FROM node JOIN name ON name.id = node.name WHERE node.id = ?1",
        )?;
        let mut chain: Vec<(i64, Vec<u8>)> = Vec::new();
        let mut at = node;
        let mut path = loop {
            if at == 0 {
                break Vec::new();
            }
            if let Some(known) = self.known.get(&at) {
                break known.clone();
            }
            // A circle would be one of a damaged file.
            if chain.len() > 4096 {
                return Ok(None);
            }
            let (parent, text) = query.query_row([at], |row| Ok((row.get(0)?, row.get(1)?)))?;
            chain.push((at, text));
            at = parent;
        };
        for (folder, text) in chain.into_iter().rev() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&text);
            if folder != node {
                self.known.insert(folder, path.clone());
            }
        }
        Ok(TreePath::new(&path).ok())
    }
}

/// The versions of a node that stand in a snapshot.
fn versions(
    db: &Connection,
    node: i64,
    held: &HashMap<i64, Vec<Held>>,
    config: &Config,
) -> Sql<Vec<Stand>> {
    let mut query = db.prepare_cached(
        "SELECT series, first, last, kind, size, modified FROM version WHERE node = ?1",
    )?;
    let mut rows = query.query([node])?;
    // A version may stand in several series, and come back after it was gone.
    let mut found: BTreeMap<(i64, u8, i64), BTreeMap<usize, StandsIn>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let snapshots = held.get(&row.get(0)?).map_or(&[][..], Vec::as_slice);
        let (first, last): (i64, Option<i64>) = (row.get(1)?, row.get(2)?);
        let begin = snapshots.partition_point(|snapshot| snapshot.moment < first);
        let last = last.unwrap_or(i64::MAX);
        let within = snapshots.iter().skip(begin);
        let mut within = within
            .take_while(|snapshot| snapshot.moment <= last)
            .peekable();
        if within.peek().is_none() {
            continue;
        }
        let version = (row.get(5)?, row.get(3)?, row.get(4)?);
        let layers = found.entry(version).or_default();
        for snapshot in within {
            add(layers, snapshot, config);
        }
    }
    let stands = found
        .into_iter()
        .map(|((modified, kind, size), layers)| Stand {
            kind: char::from(kind),
            size: u64::try_from(size).unwrap_or(0),
            modified: match kind {
                b'd' => None,
                _ => Timestamp::from_second(modified).ok(),
            },
            layers: layers.into_values().collect(),
        });
    Ok(stands.collect())
}

fn add(layers: &mut BTreeMap<usize, StandsIn>, snapshot: &Held, config: &Config) {
    let layer = config.layers.get(snapshot.layer);
    let stands = layers.entry(snapshot.layer).or_insert_with(|| StandsIn {
        layer: layer.map(|layer| layer.name.clone()).unwrap_or_default(),
        first: snapshot.name.clone(),
        last: snapshot.name.clone(),
        snapshots: 0,
        first_time: snapshot.time,
        last_time: snapshot.time,
    });
    stands.snapshots += 1;
    if snapshot.time < stands.first_time {
        stands.first.clone_from(&snapshot.name);
        stands.first_time = snapshot.time;
    }
    if snapshot.time >= stands.last_time {
        stands.last.clone_from(&snapshot.name);
        stands.last_time = snapshot.time;
    }
}
