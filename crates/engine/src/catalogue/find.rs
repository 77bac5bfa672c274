//! Finding names in the catalogue.
//!
//! A pattern gives a run of letters that every match has in one name. The trigrams of that run name few
//! candidates, and only those are compared with the pattern. For a run of one or two letters, all trigrams
//! that begin with it do: two slashes stand behind each name in the index, so that one begins at every
//! letter.
//!
//! Candidates are taken one after the other, and a search that is limited ends as soon as it has enough:
//! nobody reads a hundred thousand paths, and nobody waits for them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use tree::TreePath;

use super::{Catalogue, Sql, time_of};
use crate::{Config, Error, Glob, Machine};

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// The paths, in their order.
    pub found: Vec<Located>,
    /// Whether there are more than it was limited to.
    pub has_more: bool,
}

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
        Ok(self.search(pattern, None, config, machine)?.found)
    }

    /// The same; with a limit, some of the matches: those of exactly this name first.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when the catalogue cannot be read.
    pub fn search(
        &mut self,
        pattern: &Glob,
        limit: Option<usize>,
        config: &Config,
        machine: &Machine,
    ) -> Result<Search, Error> {
        self.with(machine, |db| {
            let held = held(db, config)?;
            let mut search = Search::default();
            let mut paths = Paths::default();
            let mut on_candidate = |node, path: &TreePath| {
                if !pattern.matches(path) {
                    return Ok(ControlFlow::Continue(()));
                }
                let versions = versions(db, node, &held, config)?;
                if versions.is_empty() {
                    return Ok(ControlFlow::Continue(()));
                }
                if limit.is_some_and(|limit| search.found.len() >= limit) {
                    search.has_more = true;
                    return Ok(ControlFlow::Break(()));
                }
                let path = path.clone();
                search.found.push(Located { path, versions });
                Ok(ControlFlow::Continue(()))
            };
            let _ = candidates(db, pattern, limit.is_some(), &mut paths, &mut on_candidate)?;
            search.found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
            Ok(search)
        })
    }
}

impl Catalogue {
    /// The versions of one path in all snapshots of the layers of a configuration; none when nothing is
    /// known of it.
    ///
    /// # Errors
    ///
    /// [`Error::State`] when the catalogue cannot be read.
    pub fn versions(
        &mut self,
        path: &TreePath,
        config: &Config,
        machine: &Machine,
    ) -> Result<Vec<Stand>, Error> {
        self.with(machine, |db| match node_of(db, path)? {
            Some(node) => versions(db, node, &held(db, config)?, config),
            None => Ok(Vec::new()),
        })
    }
}

/// The node of a path.
fn node_of(db: &Connection, path: &TreePath) -> Sql<Option<i64>> {
    let mut query = db.prepare_cached(
        "SELECT node.id FROM node JOIN name ON name.id = node.name WHERE parent = ?1 AND text = ?2",
    )?;
    let mut node = 0;
    for name in path.as_bytes().split(|&byte| byte == b'/') {
        let below = query.query_row(params![node, name], |row| row.get(0));
        match below.optional()? {
            Some(below) => node = below,
            None => return Ok(None),
        }
    }
    Ok(Some(node))
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

/// Hears of a node that may match, with its path.
type OnNode<'a> = &'a mut dyn FnMut(i64, &TreePath) -> Sql<ControlFlow<()>>;

/// Names the nodes that may match, until nobody wants more.
fn candidates(
    db: &Connection,
    pattern: &Glob,
    is_limited: bool,
    paths: &mut Paths,
    on_node: OnNode<'_>,
) -> Sql<ControlFlow<()>> {
    let mut nodes_of_name = db.prepare_cached("SELECT id FROM node WHERE name = ?1")?;
    let is_in_name = pattern.anchor().is_in_name;
    let mut below = Below {
        depth: pattern.depth(),
        known: HashSet::new(),
    };
    names(db, pattern, is_limited, &mut |name| {
        let mut rows = nodes_of_name.query([name])?;
        while let Some(row) = rows.next()? {
            let node = row.get(0)?;
            let Some(path) = paths.of(db, node)? else {
                continue;
            };
            let ended = match is_in_name {
                true => on_node(node, &path)?,
                // The run may stand in a folder above: everything below it is a candidate.
                false => below.walk(db, node, path, on_node)?,
            };
            if ended.is_break() {
                return Ok(ended);
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// Goes through folders.
struct Below {
    /// How many names a match has, where that is known.
    depth: Option<usize>,
    /// What was seen: a folder below another one comes twice.
    known: HashSet<i64>,
}

impl Below {
    fn walk(
        &mut self,
        db: &Connection,
        top: i64,
        path: TreePath,
        on_node: OnNode<'_>,
    ) -> Sql<ControlFlow<()>> {
        let mut query = db.prepare_cached(
            "SELECT node.id, text FROM node JOIN name ON name.id = node.name WHERE parent = ?1",
        )?;
        let mut stack = vec![(top, path)];
        while let Some((node, path)) = stack.pop() {
            let depth = path.components().count();
            if self.depth.is_some_and(|deepest| depth > deepest) || !self.known.insert(node) {
                continue;
            }
            if on_node(node, &path)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if self.depth == Some(depth) {
                continue;
            }
            let mut rows = query.query([node])?;
            while let Some(row) = rows.next()? {
                let mut child = path.as_bytes().to_vec();
                child.push(b'/');
                child.extend_from_slice(row.get_ref(1)?.as_blob()?);
                if let Ok(child) = TreePath::new(&child) {
                    stack.push((row.get(0)?, child));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Hands out the names that may be in a match, until nobody wants more.
fn names(
    db: &Connection,
    pattern: &Glob,
    is_limited: bool,
    on_name: &mut dyn FnMut(i64) -> Sql<ControlFlow<()>>,
) -> Sql<ControlFlow<()>> {
    let literal = pattern.anchor().literal;
    let mut first = None;
    if pattern.is_of_name() && is_limited {
        let mut query = db.prepare_cached("SELECT id FROM name WHERE text = ?1")?;
        first = query
            .query_row([pattern.typed()], |row| row.get(0))
            .optional()?;
        if let Some(name) = first
            && on_name(name)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
    let fits = |text: &[u8]| {
        contains(text, literal)
            && (!pattern.is_of_name()
                || TreePath::new(text).is_ok_and(|name| pattern.matches(&name)))
    };
    let trigrams = std::str::from_utf8(literal).map_or_else(|_| String::new(), trigrams);
    let is_short = matches!(literal.len(), 1 | 2) && literal.is_ascii();
    if is_limited && is_short {
        return names_with(db, literal, &mut |name, text| match fits(text) {
            true if Some(name) != first => on_name(name),
            _ => Ok(ControlFlow::Continue(())),
        });
    }
    let sql = match trigrams.is_empty() {
        true => "SELECT id, text FROM name WHERE ?1 = ''",
        false => {
            "SELECT name.id, name.text FROM trigram JOIN name ON name.id = trigram.rowid
             WHERE trigram MATCH ?1"
        }
    };
    let mut query = db.prepare_cached(sql)?;
    let mut rows = query.query([&trigrams])?;
    while let Some(row) = rows.next()? {
        let name = row.get(0)?;
        if Some(name) != first && fits(row.get_ref(1)?.as_blob()?) && on_name(name)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Hears of a name that may be in a match.
type OnName<'a> = &'a mut dyn FnMut(i64, &[u8]) -> Sql<ControlFlow<()>>;

/// Hands out the names in which one or two letters are, by the trigrams that begin with these.
fn names_with(db: &Connection, letters: &[u8], on_name: OnName<'_>) -> Sql<ControlFlow<()>> {
    let from = String::from_utf8_lossy(letters).to_ascii_lowercase();
    let mut end = from.clone().into_bytes();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    let end = String::from_utf8_lossy(&end).into_owned();
    let mut terms = db.prepare_cached("SELECT doc FROM term WHERE term >= ?1 AND term < ?2")?;
    let mut query = db.prepare_cached("SELECT text FROM name WHERE id = ?1")?;
    let mut known = HashSet::new();
    let mut rows = terms.query([&from, &end])?;
    while let Some(row) = rows.next()? {
        let name: i64 = row.get(0)?;
        if !known.insert(name) {
            continue;
        }
        let mut texts = query.query([name])?;
        // What was deleted may still stand in the index.
        let Some(text) = texts.next()? else {
            continue;
        };
        if on_name(name, text.get_ref(0)?.as_blob()?)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
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
