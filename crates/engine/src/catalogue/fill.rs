//! Filling the catalogue: one moment of a series, object by object.
//!
//! Objects come folder by folder, as a scan or a snapshot gives them. The children of the folders above
//! the present one are held in memory, with the version that each has in the last moment, so that an
//! object that has not changed costs one look and no write. Any order gives the same result: lists of
//! paths that a person made are in none. Folders that were left are held for a while, so that such a list
//! does not read a large folder again for each object in it.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, params};
use tree::{Entry, EntryKind};

use super::Sql;

/// Most children of folders that were left and are still held.
const LEFT_CHILDREN_MAX: usize = 100_000;

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object<'a> {
    pub(super) path: &'a [u8],
    pub(super) state: State,
}

/// What tells two versions apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// The letter of `ls -l`.
    pub(super) kind: u8,
    pub(super) size: u64,
    /// Seconds since 1970. Of a folder nothing: its time changes with everything in it.
    pub(super) modified: i64,
}

impl<'a> From<&'a Entry> for Object<'a> {
    fn from(entry: &'a Entry) -> Self {
        let is_file = entry.is_file();
        Self {
            path: entry.path.as_bytes(),
            state: State {
                kind: match entry.kind {
                    EntryKind::File => b'-',
                    EntryKind::Directory => b'd',
                    EntryKind::Symlink { .. } => b'l',
                    EntryKind::Fifo => b'p',
                    EntryKind::Socket => b's',
                    EntryKind::CharDevice(_) => b'c',
                    EntryKind::BlockDevice(_) => b'b',
                },
                size: if is_file { entry.size } else { 0 },
                modified: match entry.is_directory() {
                    true => 0,
                    false => entry.mtime.seconds(),
                },
            },
        }
    }
}

/// One moment that is being filled.
pub(super) struct Filling<'a> {
    db: &'a Connection,
    series: i64,
    moment: i64,
    /// The folders above the present object; the first is the root.
    stack: Vec<Folder>,
    /// The children of folders that were left, by node.
    left: HashMap<i64, Children>,
    /// How many children these are.
    left_children: usize,
    /// The nodes that were seen, a bit each.
    seen: Vec<u64>,
}

struct Folder {
    name: Box<[u8]>,
    node: i64,
    children: Children,
}

type Children = HashMap<Box<[u8]>, Child>;

#[derive(Clone, Copy)]
struct Child {
    node: i64,
    /// Whether it was made a moment ago: nothing is below it.
    is_new: bool,
    /// The version that it has in the last moment of the series.
    open: Option<State>,
}

impl<'a> Filling<'a> {
    /// Begins the next moment of a series.
    pub(super) fn begin(db: &'a Connection, series: &str) -> Sql<Self> {
        let sql = "INSERT INTO series (key) VALUES (?1) ON CONFLICT (key) DO NOTHING";
        db.execute(sql, [series])?;
        let sql = "UPDATE series SET moment = moment + 1, mark = 0 WHERE key = ?1
                   RETURNING id, moment";
        let next = db.query_row(sql, [series], |row| Ok((row.get(0)?, row.get(1)?)));
        let (series, moment) = next?;
        let mut filling = Self {
            db,
            series,
            moment,
            stack: Vec::new(),
            left: HashMap::new(),
            left_children: 0,
            seen: Vec::new(),
        };
        let root = Child {
            node: 0,
            is_new: false,
            open: None,
        };
        filling.enter(b"", root)?;
        Ok(filling)
    }

    /// Takes an object in. Of a path that comes twice, what came first counts.
    pub(super) fn add(&mut self, object: Object<'_>) -> Sql<()> {
        let Some(child) = self.go_to(object.path)? else {
            return Ok(());
        };
        if !self.is_seen(child.node) && child.open != Some(object.state) {
            self.change(child, Some(object.state))?;
        }
        self.see(child.node);
        Ok(())
    }

    /// Takes in what has become of a path since the moment before: nothing, when it is gone.
    pub(super) fn tell(&mut self, path: &[u8], state: Option<State>) -> Sql<()> {
        match self.go_to(path)? {
            Some(child) if child.open != state => self.change(child, state),
            _ => Ok(()),
        }
    }

    /// Ends a moment of which only what changed was told.
    pub(super) fn finish_differences(self) -> (i64, i64) {
        (self.series, self.moment)
    }

    fn change(&mut self, child: Child, state: Option<State>) -> Sql<()> {
        if child.open.is_some() {
            self.close(child.node)?;
        }
        let Some(State {
            kind,
            size,
            modified,
        }) = state
        else {
            return Ok(());
        };
        let mut insert = self.db.prepare_cached(
            "INSERT INTO version (node, series, first, kind, size, modified)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        insert.execute(params![
            child.node,
            self.series,
            self.moment,
            kind,
            size,
            modified
        ])?;
        Ok(())
    }

    /// The node of a path, by way of the folders above it; none of the root.
    fn go_to(&mut self, path: &[u8]) -> Sql<Option<Child>> {
        let mut parents: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        let Some(name) = parents.pop().filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let below_root = self.stack.iter().skip(1);
        let common = below_root
            .zip(&parents)
            .take_while(|(folder, name)| *folder.name == ***name)
            .count();
        while self.stack.len() > common + 1 {
            self.leave();
        }
        for folder in parents.iter().skip(common) {
            let child = self.child(folder)?;
            self.enter(folder, child)?;
        }
        self.child(name).map(Some)
    }

    /// Ends what was not seen any more, and gives the number of the series and of the moment.
    pub(super) fn finish(self) -> Sql<(i64, i64)> {
        let mut gone = Vec::new();
        {
            let mut open = self
                .db
                .prepare_cached("SELECT node FROM version WHERE series = ?1 AND last IS NULL")?;
            let mut rows = open.query([self.series])?;
            while let Some(row) = rows.next()? {
                let node: i64 = row.get(0)?;
                if !self.is_seen(node) {
                    gone.push(node);
                }
            }
        }
        for node in gone {
            self.close(node)?;
        }
        Ok((self.series, self.moment))
    }

    /// Ends the open version of a node with the moment before.
    fn close(&self, node: i64) -> Sql<()> {
        let mut update = self.db.prepare_cached(
            "UPDATE version SET last = ?3 WHERE node = ?1 AND series = ?2 AND last IS NULL",
        )?;
        update.execute(params![node, self.series, self.moment - 1])?;
        Ok(())
    }

    /// The child of the present folder with this name; it is made if there is none.
    fn child(&mut self, name: &[u8]) -> Sql<Child> {
        let Some(folder) = self.stack.last_mut() else {
            return Err(rusqlite::Error::InvalidQuery);
        };
        if let Some(child) = folder.children.get(name) {
            return Ok(*child);
        }
        let id = name_id(self.db, name)?;
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO node (parent, name) VALUES (?1, ?2)")?;
        let child = Child {
            node: insert.insert(params![folder.node, id])?,
            is_new: true,
            open: None,
        };
        folder.children.insert(name.into(), child);
        Ok(child)
    }

    /// Goes out of the present folder.
    fn leave(&mut self) {
        let Some(folder) = self.stack.pop() else {
            return;
        };
        if self.left_children > LEFT_CHILDREN_MAX {
            self.left.clear();
            self.left_children = 0;
        }
        self.left_children += folder.children.len();
        self.left.insert(folder.node, folder.children);
    }

    /// Goes into a folder: learns what is in it.
    fn enter(&mut self, name: &[u8], folder: Child) -> Sql<()> {
        let children = match self.left.remove(&folder.node) {
            Some(children) => {
                self.left_children -= children.len();
                children
            }
            None => self.children(folder)?,
        };
        // From now on something may be below it.
        let above = self.stack.last_mut();
        if let Some(entered) = above.and_then(|above| above.children.get_mut(name)) {
            entered.is_new = false;
        }
        self.stack.push(Folder {
            name: name.into(),
            node: folder.node,
            children,
        });
        Ok(())
    }

    /// What is in a folder.
    fn children(&self, folder: Child) -> Sql<Children> {
        let mut children = HashMap::new();
        if !folder.is_new {
            let mut query = self.db.prepare_cached(
                "SELECT name.text, node.id, kind, size, modified
                 FROM node JOIN name ON name.id = node.name
                 LEFT JOIN version
                     ON version.node = node.id AND series = ?2 AND last IS NULL
                 WHERE parent = ?1",
            )?;
            let mut rows = query.query(params![folder.node, self.series])?;
            while let Some(row) = rows.next()? {
                let text = row.get_ref(0)?.as_blob()?;
                let kind: Option<u8> = row.get(2)?;
                let open = match kind {
                    Some(kind) => Some(State {
                        kind,
                        size: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
                        modified: row.get(4)?,
                    }),
                    None => None,
                };
                let child = Child {
                    node: row.get(1)?,
                    is_new: false,
                    open,
                };
                children.insert(text.into(), child);
            }
        }
        Ok(children)
    }

    fn is_seen(&self, node: i64) -> bool {
        let (word, bit) = place(node);
        self.seen.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn see(&mut self, node: i64) {
        let (word, bit) = place(node);
        if self.seen.len() <= word {
            self.seen.resize(word + word / 2 + 64, 0);
        }
        if let Some(bits) = self.seen.get_mut(word) {
            *bits |= bit;
        }
    }
}

/// Where the bit of a node stands. Numbers are given in a row, and so are no larger than the nodes are
/// many.
fn place(node: i64) -> (usize, u64) {
    let node = usize::try_from(node).unwrap_or(0);
    (node / 64, 1 << (node % 64))
}

/// The number of a name; it is given one if it has none.
fn name_id(db: &Connection, name: &[u8]) -> Sql<i64> {
    let mut query = db.prepare_cached("SELECT id FROM name WHERE text = ?1")?;
    let found: Option<i64> = query.query_row([name], |row| row.get(0)).optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    let mut insert = db.prepare_cached("INSERT INTO name (text) VALUES (?1)")?;
    let id = insert.insert([name])?;
    let mut index = db.prepare_cached("INSERT INTO trigram (rowid, text) VALUES (?1, ?2)")?;
    // No name has a slash: with two behind it, a trigram begins at each of its letters.
    index.execute(params![id, format!("{}//", String::from_utf8_lossy(name))])?;
    Ok(id)
}

/// Removes the versions that no snapshot holds, and the nodes and names that nothing needs then.
pub(super) fn purge(db: &Connection) -> Sql<()> {
    let mut held: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    {
        let sql = "SELECT series, moment FROM snapshot WHERE moment IS NOT NULL ORDER BY moment";
        let mut query = db.prepare(sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            held.entry(row.get(0)?).or_default().push(row.get(1)?);
        }
    }
    let is_held = |series: i64, first: i64, last: i64| {
        held.get(&series).is_some_and(|moments| {
            let next = moments.partition_point(|&moment| moment < first);
            moments.get(next).is_some_and(|&moment| moment <= last)
        })
    };
    let mut doomed = Vec::new();
    {
        let sql = "SELECT node, series, first, last FROM version WHERE last IS NOT NULL";
        let mut query = db.prepare(sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (node, series, first): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if !is_held(series, first, row.get(3)?) {
                doomed.push((node, series, first));
            }
        }
    }
    let sql = "DELETE FROM version WHERE node = ?1 AND series = ?2 AND first = ?3";
    let mut delete = db.prepare(sql)?;
    for (node, series, first) in doomed {
        delete.execute(params![node, series, first])?;
    }
    // From below: a folder is needed as long as something is in it.
    let sql = "DELETE FROM node WHERE NOT EXISTS (SELECT 1 FROM version WHERE node = node.id)
               AND NOT EXISTS (SELECT 1 FROM node AS child WHERE child.parent = node.id)";
    while db.execute(sql, [])? > 0 {}
    let unused = "NOT EXISTS (SELECT 1 FROM node WHERE node.name = name.id)";
    let sql = format!("DELETE FROM trigram WHERE rowid IN (SELECT id FROM name WHERE {unused})");
    db.execute(&sql, [])?;
    db.execute(&format!("DELETE FROM name WHERE {unused}"), [])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that stand open in the only series.
    fn open(db: &Connection) -> Vec<String> {
        let sql = "WITH RECURSIVE path (node, text) AS (
                       SELECT 0, '' UNION ALL
                       SELECT node.id, path.text || '/' || CAST(name.text AS TEXT)
                       FROM path JOIN node ON parent = path.node JOIN name ON name.id = node.name
                   )
                   SELECT text FROM path JOIN version USING (node) WHERE last IS NULL ORDER BY text";
        let mut query = db.prepare(sql).unwrap();
        let rows = query.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Sql<_>>().unwrap()
    }

    fn fill(db: &Connection, paths: &[&str]) {
        let mut filling = Filling::begin(db, "any").unwrap();
        let state = State {
            kind: b'-',
            size: 1,
            modified: 2,
        };
        for path in paths {
            let path = path.as_bytes();
            filling.add(Object { path, state }).unwrap();
        }
        filling.finish().unwrap();
    }

    #[test]
    fn objects_may_come_in_any_order_and_twice() {
        let db = super::super::prepare(Connection::open_in_memory().unwrap()).unwrap();
        let paths = ["a/s/x", "b/y", "a/s/z", "a/s/x", "a/t", "b", "a/s", "a"];
        let sorted = ["/a", "/a/s", "/a/s/x", "/a/s/z", "/a/t", "/b", "/b/y"];
        fill(&db, &paths);
        assert_eq!(open(&db), sorted);
        fill(&db, &paths);
        assert_eq!(open(&db), sorted);
        fill(&db, &["b/y", "a/u", "b", "a/s/x"]);
        assert_eq!(open(&db), ["/a/s/x", "/a/u", "/b", "/b/y"]);
    }

    #[test]
    fn more_may_be_left_than_is_held() {
        let db = super::super::prepare(Connection::open_in_memory().unwrap()).unwrap();
        let count = LEFT_CHILDREN_MAX / 2 + 10;
        let inside = |folder: &str| {
            (0..count)
                .map(|number| format!("{folder}/{number}"))
                .collect()
        };
        let paths: Vec<Vec<String>> = ["a", "b", "c", "a", "b"].map(inside).to_vec();
        let paths: Vec<&str> = paths.iter().flatten().map(String::as_str).collect();
        fill(&db, &paths);
        assert_eq!(open(&db).len(), 3 * count);
    }
}
