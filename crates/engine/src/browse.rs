//! Looking into snapshots: which there are, what they hold, what changed between them.
//!
//! Recorded paths that are unusable are left out here: nothing can be done with them. A restore
//! names them.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use tree::{Entry, EntryKind, TreePath};

use crate::Error;
use crate::glob::Glob;
use crate::layer::{self, Fingerprint, Item, Layer, Snapshot};

/// The snapshot that a person means.
///
/// Understood are a full name, `latest`, `latest~1` for the one before and so on, and a date such
/// as `2026-11-24` for the newest that existed at the end of that day.
///
/// # Errors
///
/// [`layer::Error::NoSnapshot`] when there is none.
pub fn choose(
    snapshots: &[Snapshot],
    typed: &str,
    zone: &TimeZone,
) -> Result<Snapshot, layer::Error> {
    let by_name = || snapshots.iter().find(|snapshot| snapshot.name == typed);
    let by_age = || {
        let age = match typed.strip_prefix("latest")? {
            "" => 0,
            rest => rest.strip_prefix('~')?.parse::<usize>().ok()?,
        };
        snapshots.iter().rev().nth(age)
    };
    let by_date = || {
        let date: Date = typed.parse().ok()?;
        let end = date.tomorrow().ok()?.to_zoned_datetime(zone.clone()).ok()?;
        let end = end.timestamp();
        snapshots.iter().rev().find(|snapshot| snapshot.time < end)
    };
    by_name()
        .or_else(by_age)
        .or_else(by_date)
        .cloned()
        .ok_or_else(|| layer::Error::NoSnapshot {
            name: typed.to_owned(),
        })
}

/// Reads a path that a person typed, as it stands in a snapshot: a leading `/` is dropped.
///
/// # Errors
///
/// [`Error::BadPath`] when it climbs or holds a NUL byte.
pub fn typed_path(typed: &Path) -> Result<TreePath, Error> {
    TreePath::from_local(typed).map_err(|source| Error::BadPath {
        typed: typed.display().to_string(),
        source,
    })
}

/// Finds what a person means by a path: an absolute one is taken as it is; a relative one is
/// looked for from the folder `here`, and then from the top of the snapshots, as they are listed.
/// One that begins with a dot is always meant from `here`.
///
/// # Errors
///
/// [`Error::BadPath`] when it climbs out of everything or holds a NUL byte; when a snapshot cannot
/// be read.
pub fn locate(
    opened: &mut OpenedLayer<'_>,
    snapshots: &[&Snapshot],
    typed: &Path,
    here: &Path,
) -> Result<TreePath, Error> {
    if typed.is_absolute() {
        return typed_path(typed);
    }
    let local = typed_path(&without_dots(&here.join(typed)))?;
    let is_dotted = matches!(
        typed.components().next(),
        None | Some(Component::CurDir | Component::ParentDir)
    );
    let listed = match typed_path(typed) {
        Ok(listed) if !is_dotted && listed != local => listed,
        _ => return Ok(local),
    };
    let mut is_local = false;
    for snapshot in snapshots {
        let found = opened.layer.entries(snapshot, &mut |found| {
            is_local |= found.is_ok_and(|item| item.entry.path.starts_with(&local));
            match is_local {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        if is_local {
            return Ok(local);
        }
        found.map_err(Error::of_layer(opened.name))?;
    }
    Ok(listed)
}

/// A layer that is open, and its name.
pub struct OpenedLayer<'a> {
    /// The name.
    pub name: &'a str,
    /// The layer.
    pub layer: &'a mut dyn Layer,
}

/// The path without `.` and `..`, as it reads.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

/// What was found at a path of a snapshot.
#[derive(Debug)]
pub struct Listing {
    /// The objects.
    pub items: Vec<Item>,
    /// Why others may be missing.
    pub damage: Option<layer::Error>,
}

/// What stands at a path of a snapshot: the object itself, and what is directly below it. In the
/// order of paths.
///
/// Directly below a folder that was not backed up itself stands what was, wherever it is: at the top
/// `home/ann/Documents`, when nothing of `home` but that is there.
///
/// # Errors
///
/// When the snapshot cannot be read.
pub fn list(
    layer: &mut dyn Layer,
    snapshot: &Snapshot,
    below: &TreePath,
) -> Result<Listing, layer::Error> {
    // A folder stands before what it holds, so that what is inside the last one is deeper.
    let is_inside = |item: &Item, path: &TreePath| {
        let folder = &item.entry.path;
        folder != below && path.starts_with(folder)
    };
    let mut items: Vec<Item> = Vec::new();
    let damage = walk(layer, snapshot, below, &mut |item| {
        let path = &item.entry.path;
        if !items.last().is_some_and(|last| is_inside(last, path)) {
            items.push(item);
        }
        ControlFlow::Continue(())
    })?;
    items.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    items.dedup_by(|item, last| is_inside(last, &item.entry.path));
    Ok(Listing { items, damage })
}

/// Goes through what stands at a path of a snapshot and everything below it, one by one as the
/// snapshot has them, a folder before what it holds. Nothing is kept, so that a snapshot of any
/// size can be listed. Returns why others may be missing.
///
/// # Errors
///
/// When the snapshot cannot be read.
pub fn walk(
    layer: &mut dyn Layer,
    snapshot: &Snapshot,
    below: &TreePath,
    visit: &mut dyn FnMut(Item) -> ControlFlow<()>,
) -> Result<Option<layer::Error>, layer::Error> {
    let walked = layer.entries(snapshot, &mut |item| match item {
        Ok(item) if item.entry.path.starts_with(below) => visit(item),
        _ => ControlFlow::Continue(()),
    });
    match walked {
        Err(error) if error.is_damage() => Ok(Some(error)),
        walked => walked.map(|()| None),
    }
}

/// One path with all its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The path.
    pub path: TreePath,
    /// Its versions, oldest first.
    pub versions: Vec<Version>,
}

/// A state of one path that stands unchanged in one or more snapshots in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The object, as the first of those snapshots has it.
    pub entry: Entry,
    /// The oldest snapshot with this version.
    pub first: String,
    /// The newest snapshot with this version.
    pub last: String,
    /// How many snapshots have it.
    pub snapshots: usize,
    content: Option<Fingerprint>,
    first_index: usize,
}

/// Looks for a name in all snapshots.
///
/// # Errors
///
/// When a snapshot cannot be read.
pub fn find(layer: &mut dyn Layer, pattern: &Glob) -> Result<Vec<Found>, layer::Error> {
    let searched = search(
        layer,
        &|path| pattern.matches(path),
        usize::MAX,
        &mut |_| ControlFlow::Continue(()),
    )?;
    Ok(searched.found)
}

/// What a search came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    /// What was found, in the order of paths.
    pub found: Vec<Found>,
    /// How many snapshots were looked through, the newest first.
    pub looked: usize,
    /// How many there are.
    pub snapshots: usize,
    /// Whether further paths would match than were asked for.
    pub has_more: bool,
}

/// Looks for paths in the snapshots, newest first: at most `paths_max` of them, and until
/// `on_snapshot`, which hears how many were looked through, breaks.
///
/// # Errors
///
/// When a snapshot cannot be read.
pub fn search(
    layer: &mut dyn Layer,
    matches: &dyn Fn(&TreePath) -> bool,
    paths_max: usize,
    on_snapshot: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Searched, layer::Error> {
    let snapshots = layer.snapshots()?;
    let mut found: BTreeMap<TreePath, Vec<Version>> = BTreeMap::new();
    let mut looked = 0;
    let mut has_more = false;
    for (index, snapshot) in snapshots.iter().enumerate().rev() {
        layer.entries(snapshot, &mut |item| {
            if let Ok(item) = item
                && matches(&item.entry.path)
            {
                if let Some(versions) = found.get_mut(&item.entry.path) {
                    add_older(versions, item, snapshot, index);
                } else if found.len() < paths_max {
                    let path = item.entry.path.clone();
                    found.insert(path, vec![Version::of(item, snapshot, index)]);
                } else {
                    has_more = true;
                }
            }
            ControlFlow::Continue(())
        })?;
        looked += 1;
        if on_snapshot(looked).is_break() {
            break;
        }
    }
    let found = found.into_iter().map(|(path, mut versions)| {
        versions.reverse();
        Found { path, versions }
    });
    Ok(Searched {
        found: found.collect(),
        looked,
        snapshots: snapshots.len(),
        has_more,
    })
}

impl Version {
    fn of(item: Item, snapshot: &Snapshot, index: usize) -> Self {
        Self {
            entry: item.entry,
            first: snapshot.name.clone(),
            last: snapshot.name.clone(),
            snapshots: 1,
            content: item.content,
            first_index: index,
        }
    }
}

/// Adds what the snapshot with this index has to the versions of a path, of which the last is the
/// oldest.
fn add_older(versions: &mut Vec<Version>, item: Item, snapshot: &Snapshot, index: usize) {
    match versions.last_mut() {
        Some(version)
            if version.first_index == index + 1
                && version.content == item.content
                && is_same_object(&version.entry, &item.entry) =>
        {
            version.entry = item.entry;
            version.first.clone_from(&snapshot.name);
            version.first_index = index;
            version.snapshots += 1;
        }
        // The same path once more in one snapshot: what came first counts.
        Some(version) if version.first_index == index => {}
        _ => versions.push(Version::of(item, snapshot, index)),
    }
}

/// How one path differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path.
    pub path: TreePath,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a path between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added {
        /// Bytes of content.
        size: u64,
    },
    /// It is gone.
    Removed {
        /// Bytes of content that it had.
        size: u64,
    },
    /// Its content changed, or its target, or it became another kind of object.
    Content {
        /// Bytes before.
        before: u64,
        /// Bytes after.
        after: u64,
        /// What else changed, as for [`Metadata`](Self::Metadata).
        metadata: Vec<&'static str>,
    },
    /// Only what is known about it changed: these of mode, owner, times, attributes, ACL, flags.
    Metadata(Vec<&'static str>),
}

/// What changed from one snapshot to another at a path and below it, in the order of paths.
///
/// Keeps one summary for each object of the first snapshot in memory: about 150 bytes and the
/// path.
///
/// # Errors
///
/// When a snapshot cannot be read.
pub fn diff(
    layer: &mut dyn Layer,
    from: &Snapshot,
    to: &Snapshot,
    below: &TreePath,
) -> Result<Vec<Change>, layer::Error> {
    let mut before: HashMap<TreePath, Item> = HashMap::new();
    layer.entries(from, &mut |item| {
        if let Ok(item) = item
            && item.entry.path.starts_with(below)
        {
            before.insert(item.entry.path.clone(), item);
        }
        ControlFlow::Continue(())
    })?;
    let mut changes = Vec::new();
    layer.entries(to, &mut |new| {
        if let Ok(new) = new
            && new.entry.path.starts_with(below)
        {
            let old = before.remove(&new.entry.path);
            changes.extend(changed(old, new));
        }
        ControlFlow::Continue(())
    })?;
    changes.extend(before.into_iter().map(|(path, old)| Change {
        path,
        kind: ChangeKind::Removed {
            size: old.entry.size,
        },
    }));
    changes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(changes)
}

/// What happened to a path that the newer snapshot has.
fn changed(old: Option<Item>, new: Item) -> Option<Change> {
    let kind = match old {
        None => ChangeKind::Added {
            size: new.entry.size,
        },
        Some(old) if old.content != new.content || !is_same_object(&old.entry, &new.entry) => {
            ChangeKind::Content {
                before: old.entry.size,
                after: new.entry.size,
                metadata: changed_metadata(&old.entry, &new.entry),
            }
        }
        Some(old) => match changed_metadata(&old.entry, &new.entry) {
            list if list.is_empty() => return None,
            list => ChangeKind::Metadata(list),
        },
    };
    let path = new.entry.path;
    Some(Change { path, kind })
}

fn is_same_object(old: &Entry, new: &Entry) -> bool {
    old.kind == new.kind && old.size == new.size && old.hard_link == new.hard_link
}

/// What differs apart from the content. The time of the last change of metadata is no difference:
/// it changes with any of the others, and by itself.
fn changed_metadata(old: &Entry, new: &Entry) -> Vec<&'static str> {
    let is_link = matches!(new.kind, EntryKind::Symlink { .. });
    [
        ("mode", !is_link && old.mode != new.mode),
        (
            "owner",
            (old.owner.uid, old.owner.gid) != (new.owner.uid, new.owner.gid),
        ),
        ("modified", old.mtime != new.mtime),
        ("attributes", old.xattrs != new.xattrs),
        (
            "acl",
            old.acl_access != new.acl_access || old.acl_default != new.acl_default,
        ),
        ("flags", old.flags != new.flags),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_name_snapshots_in_several_ways() {
        let snapshots: Vec<Snapshot> = [
            "2026-11-22T10:00:00Z",
            "2026-11-24T01:00:00Z",
            "2026-11-24T23:30:00Z",
        ]
        .into_iter()
        .map(|time| Snapshot {
            name: format!("nas-{time}"),
            id: String::new(),
            time: time.parse().unwrap(),
        })
        .collect();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let chosen = |typed: &str| {
            let chosen = choose(&snapshots, typed, &zone).ok()?;
            snapshots.iter().position(|snapshot| *snapshot == chosen)
        };
        assert_eq!(chosen("nas-2026-11-22T10:00:00Z"), Some(0));
        assert_eq!(chosen("latest"), Some(2));
        assert_eq!(chosen("latest~2"), Some(0));
        assert_eq!(chosen("latest~3"), None);
        // 23:30 UTC is already the next day in Berlin.
        assert_eq!(chosen("2026-11-24"), Some(1));
        assert_eq!(chosen("2026-11-23"), Some(0));
        assert_eq!(chosen("2026-11-25"), Some(2));
        assert_eq!(chosen("2026-11-21"), None);
        assert_eq!(chosen("latest~x"), None);
        assert_eq!(chosen("nas"), None);
    }
}
