//! What the last set of a chain knows of the source: the ground that an increment stands on.
//!
//! Duplicity compares type, permissions, owner and the second of the last change. An edit within
//! that second goes unseen. So the archive directory also keeps, for every object, a hash of what
//! else the file system says (size, nanoseconds, time of the inode's change, inode number). It is
//! a cache: without it duplicity's own comparison remains, and sizes that the signature rules out.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use tree::{Bookmarks, DeviceNumber, Entry, EntryKind, TreePath};
use xxhash_rust::xxh64::xxh64;

use crate::archive::Archive;
use crate::collection::BackupSet;
use crate::error::Error;
use crate::librsync::Signature;
use crate::member::{MemberKind, MemberName, entry_of};
use crate::tar::{TarHeader, TarReader};
use crate::time::SetTime;

/// Largest signature that is read: that of a file of 2⁵⁰ bytes, at duplicity's block length.
pub(crate) const SIGNATURE_SIZE_MAX: u64 = 512 << 20;

/// One object, as the chain has it. Some 140 bytes and the path.
pub(crate) struct BaseEntry {
    pub(crate) path: TreePath,
    pub(crate) kind: BaseKind,
    mode: u16,
    uid: u32,
    gid: u32,
    user: Option<Arc<str>>,
    group: Option<Arc<str>>,
    seconds: i64,
    /// The [`stat_key`] of a file, where it is known.
    stat: Option<u64>,
}

pub(crate) enum BaseKind {
    File(Place),
    Directory,
    Symlink(Box<[u8]>),
    Fifo,
    CharDevice(DeviceNumber),
    BlockDevice(DeviceNumber),
}

/// Where a file's signature is.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Which set of the chain.
    set: u32,
    /// Which member of its signature file.
    member: u64,
    size: u64,
    /// Number of the first block and the size of the blocks bound the size of the file.
    least: u64,
    most: u64,
}

/// The state of the source at the end of a chain. Entries are in order.
pub(crate) struct Base {
    pub(crate) entries: Vec<BaseEntry>,
    sets: Vec<BackupSet>,
    /// Where threads that ask about objects go on.
    bookmarks: Bookmarks,
}

impl Base {
    /// Reads the signatures of a chain.
    pub(crate) fn load(archive: &Archive, sets: &[BackupSet]) -> Result<Self, Error> {
        let mut names = HashSet::new();
        let mut entries: Vec<BaseEntry> = Vec::new();
        // Of what has changed since the first set, the newest: all of it is merged at once.
        let mut since: BTreeMap<TreePath, Change> = BTreeMap::new();
        for (index, set) in (0..).zip(sets) {
            let changes = changes(archive, set, index, &mut names)?;
            if index == 0 {
                entries = merge(entries, changes);
            } else {
                let by_path = |change: Change| (change.path().clone(), change);
                since.extend(changes.into_iter().map(by_path));
            }
        }
        if !since.is_empty() {
            entries = merge(entries, since.into_values());
        }
        let end = sets.last().map(BackupSet::end);
        if let Some(stats) = end.and_then(|end| load_stats(archive, end)) {
            note_stats(&mut entries, &stats);
        }
        Ok(Self {
            entries,
            sets: sets.to_vec(),
            bookmarks: Bookmarks::default(),
        })
    }

    /// The object at `path`.
    pub(crate) fn find(&self, path: &TreePath) -> Option<&BaseEntry> {
        let next = self.bookmarks.get();
        let index = match self.entries.get(next) {
            Some(entry) if entry.path == *path => next,
            _ => self
                .entries
                .binary_search_by(|entry| entry.path.cmp(path))
                .ok()?,
        };
        self.bookmarks.set(index + 1);
        self.entries.get(index)
    }
}

impl BaseEntry {
    /// Whether `entry`, which stands in its place now, has to be looked at.
    pub(crate) fn has_changed(&self, entry: &Entry) -> bool {
        if !self.is_like(entry) {
            return true;
        }
        // For anything but a file, what was compared is all there is.
        let BaseKind::File(place) = self.kind else {
            return false;
        };
        match self.stat {
            Some(stat) => stat != stat_key(entry),
            // A file with several names may have got a new one, which needs the content.
            None => entry.links > 1 || !(place.least..=place.most).contains(&entry.size),
        }
    }

    /// Whether duplicity would take the object for unchanged.
    pub(crate) fn is_like(&self, entry: &Entry) -> bool {
        let kind = match (&self.kind, &entry.kind) {
            (BaseKind::File(_), EntryKind::File)
            | (BaseKind::Directory, EntryKind::Directory)
            | (BaseKind::Fifo, EntryKind::Fifo) => true,
            (BaseKind::Symlink(known), EntryKind::Symlink { target }) => {
                return **known == **target;
            }
            (BaseKind::CharDevice(known), EntryKind::CharDevice(device))
            | (BaseKind::BlockDevice(known), EntryKind::BlockDevice(device)) => {
                return known == device && u32::from(self.mode) == entry.mode & 0o7777;
            }
            _ => false,
        };
        let owner = &entry.owner;
        kind && u32::from(self.mode) == entry.mode & 0o7777
            && self.seconds == entry.mtime.seconds().max(0)
            && is_same(
                self.user.as_deref(),
                owner.user.as_deref(),
                self.uid == owner.uid,
            )
            && is_same(
                self.group.as_deref(),
                owner.group.as_deref(),
                self.gid == owner.gid,
            )
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.kind, BaseKind::File(_))
    }
}

/// Names count where both sides have one, as they do when duplicity restores.
pub(crate) fn is_same(known: Option<&str>, name: Option<&str>, is_same_number: bool) -> bool {
    match (known, name) {
        (Some(known), Some(name)) => known == name,
        _ => is_same_number,
    }
}

/// A change that one set's signature file brings.
enum Change {
    Is(BaseEntry),
    Gone(TreePath),
}

impl Change {
    fn path(&self) -> &TreePath {
        match self {
            Self::Is(entry) => &entry.path,
            Self::Gone(path) => path,
        }
    }
}

fn changes(
    archive: &Archive,
    set: &BackupSet,
    index: u32,
    names: &mut HashSet<Arc<str>>,
) -> Result<Vec<Change>, Error> {
    let object = set
        .signatures
        .as_ref()
        .map_or_else(|| set.kind.to_string(), |file| file.object.clone());
    let bad = |what: String| Error::Signatures {
        object: object.clone(),
        what,
    };
    let mut tar = TarReader::new(archive.signatures(set)?);
    let mut changes: Vec<Change> = Vec::new();
    let mut member = 0;
    while let Some(header) = tar.next().map_err(|error| bad(error.to_string()))? {
        let name = MemberName::parse(&header.name).map_err(|error| bad(error.to_string()))?;
        let change = if name.kind == MemberKind::Deleted {
            Change::Gone(name.path)
        } else {
            let mut place = Place {
                set: index,
                member,
                size: header.size,
                least: 0,
                most: u64::MAX,
            };
            if name.kind == MemberKind::Signature {
                place
                    .bound(&mut tar.data())
                    .map_err(|error| bad(error.to_string()))?;
            }
            let entry = base_entry(name, &header, place, names);
            Change::Is(
                entry.ok_or_else(|| bad("a member of a type that no backup has".to_owned()))?,
            )
        };
        member += 1;
        match changes.last().map(|last| last.path().cmp(change.path())) {
            None | Some(std::cmp::Ordering::Less) => changes.push(change),
            // Old versions could leave a second root behind a restart.
            Some(_) if change.path().is_root() => {}
            Some(_) => return Err(bad(format!("{} is out of order", change.path()))),
        }
    }
    Ok(changes)
}

impl Place {
    /// Reads the head of the signature: it bounds the size of the file.
    fn bound(&mut self, data: &mut impl Read) -> io::Result<()> {
        let mut head = [0; 12];
        if self.size < head.len() as u64 {
            return Ok(());
        }
        data.read_exact(&mut head)?;
        let word = |at: usize| {
            head.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u32::from_be_bytes)
        };
        let (length, strong) = (u64::from(word(4)), u64::from(word(8)));
        let blocks = (self.size - 12) / (4 + strong);
        self.most = blocks.saturating_mul(length);
        self.least = blocks
            .checked_sub(1)
            .map_or(0, |whole| whole.saturating_mul(length) + 1);
        Ok(())
    }
}

fn base_entry(
    name: MemberName,
    header: &TarHeader,
    place: Place,
    names: &mut HashSet<Arc<str>>,
) -> Option<BaseEntry> {
    let entry = entry_of(name.path, header).ok()?;
    let mut intern = |name: Option<Arc<str>>| {
        let name = name?;
        if let Some(known) = names.get(&name) {
            return Some(known.clone());
        }
        names.insert(name.clone());
        Some(name)
    };
    Some(BaseEntry {
        kind: match entry.kind {
            EntryKind::File => BaseKind::File(place),
            EntryKind::Directory => BaseKind::Directory,
            EntryKind::Symlink { target } => BaseKind::Symlink(target.into()),
            EntryKind::Fifo => BaseKind::Fifo,
            EntryKind::CharDevice(device) => BaseKind::CharDevice(device),
            EntryKind::BlockDevice(device) => BaseKind::BlockDevice(device),
            EntryKind::Socket => return None,
        },
        path: entry.path,
        mode: u16::try_from(entry.mode).unwrap_or(0),
        uid: entry.owner.uid,
        gid: entry.owner.gid,
        user: intern(entry.owner.user),
        group: intern(entry.owner.group),
        seconds: entry.mtime.seconds(),
        stat: None,
    })
}

fn merge(entries: Vec<BaseEntry>, changes: impl IntoIterator<Item = Change>) -> Vec<BaseEntry> {
    if entries.is_empty() {
        let is = |change| match change {
            Change::Is(entry) => Some(entry),
            Change::Gone(_) => None,
        };
        return changes.into_iter().filter_map(is).collect();
    }
    let mut merged = Vec::with_capacity(entries.len());
    let mut entries = entries.into_iter().peekable();
    for change in changes {
        while let Some(entry) = entries.next_if(|entry| entry.path < *change.path()) {
            merged.push(entry);
        }
        entries.next_if(|entry| entry.path == *change.path());
        if let Change::Is(entry) = change {
            merged.push(entry);
        }
    }
    merged.extend(entries);
    merged
}

/// Gets signatures by their place; asked in order, it reads every signature file once.
pub(crate) struct Signatures {
    archive: Archive,
    open: HashMap<u32, (u64, TarReader<Box<dyn BufRead + Send>>)>,
}

impl Signatures {
    pub(crate) fn new(archive: &Archive) -> Self {
        Self {
            archive: archive.clone(),
            open: HashMap::new(),
        }
    }

    /// The signature at a place; `None` when it is not one that a delta can be made from.
    pub(crate) fn get(&mut self, base: &Base, place: Place) -> Result<Option<Signature>, Error> {
        let Some(set) = usize::try_from(place.set)
            .ok()
            .and_then(|index| base.sets.get(index))
        else {
            return Ok(None);
        };
        if place.size > SIGNATURE_SIZE_MAX {
            return Ok(None);
        }
        let bad = |what: String| Error::Signatures {
            object: set.kind.to_string(),
            what,
        };
        let ahead = self
            .open
            .get(&place.set)
            .is_some_and(|(next, _)| *next > place.member);
        if ahead || !self.open.contains_key(&place.set) {
            self.open.insert(
                place.set,
                (0, TarReader::new(self.archive.signatures(set)?)),
            );
        }
        let Some((next, tar)) = self.open.get_mut(&place.set) else {
            return Ok(None);
        };
        while *next <= place.member {
            if tar
                .next()
                .map_err(|error| bad(error.to_string()))?
                .is_none()
            {
                return Ok(None);
            }
            *next += 1;
        }
        let mut bytes = Vec::new();
        tar.data()
            .read_to_end(&mut bytes)
            .map_err(|error| bad(error.to_string()))?;
        Ok(Signature::parse(&bytes).ok())
    }
}

/// What the file system says of the objects of a run, written next to its signatures.
#[derive(Default)]
pub(crate) struct Stats(Vec<(u64, u64)>);

/// First bytes of the file: its kind and version.
const STATS_MAGIC: &[u8; 8] = b"RavStat2";

impl Stats {
    pub(crate) fn add(&mut self, entry: &Entry) {
        if entry.is_file() {
            self.0.push((path_key(&entry.path), stat_key(entry)));
        }
    }

    pub(crate) fn save(&self, archive: &Archive, time: SetTime) {
        let bytes: Vec<u8> = STATS_MAGIC
            .iter()
            .copied()
            .chain(
                self.0
                    .iter()
                    .flat_map(|(path, stat)| [path.to_le_bytes(), stat.to_le_bytes()].concat()),
            )
            .collect();
        Self::put(archive, time, &bytes);
    }

    /// What is known of the objects of the set that ended at `time`, as [`put`](Self::put) takes it.
    pub(crate) fn bytes_of(archive: &Archive, time: SetTime) -> Option<Vec<u8>> {
        std::fs::read(stats_path(archive, time)?).ok()
    }

    /// Keeps what is known of the objects of a set.
    pub(crate) fn put(archive: &Archive, time: SetTime, bytes: &[u8]) {
        let Some(path) = stats_path(archive, time) else {
            return;
        };
        // Only the newest is of use.
        if let Some(folder) = path.parent()
            && let Ok(listing) = std::fs::read_dir(folder)
        {
            for old in listing.flatten() {
                if old.file_name().to_string_lossy().ends_with(".ravelin-stat") {
                    let _ = std::fs::remove_file(old.path());
                }
            }
        }
        let written =
            crate::archive::private_file(&path).and_then(|mut file| file.write_all(bytes));
        if written.is_err() {
            // Half a file would be taken for all of it.
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn stats_path(archive: &Archive, time: SetTime) -> Option<std::path::PathBuf> {
    let folder = archive.settings.archive_dir.as_ref()?;
    Some(folder.join(format!(
        ".{}{time}.ravelin-stat",
        archive.settings.prefixes.all
    )))
}

fn load_stats(archive: &Archive, time: SetTime) -> Option<Vec<(u64, u64)>> {
    let bytes = std::fs::read(stats_path(archive, time)?).ok()?;
    let records = bytes.strip_prefix(STATS_MAGIC)?.chunks_exact(16);
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    records
        .map(|record| Some((word(record.get(..8)?)?, word(record.get(8..)?)?)))
        .collect()
}

/// Tells the files of a base what is known of them. All of that mostly stands in their order.
fn note_stats(entries: &mut [BaseEntry], stats: &[(u64, u64)]) {
    let mut next = 0;
    let mut places = None;
    for entry in entries.iter_mut().filter(|entry| entry.is_file()) {
        let key = path_key(&entry.path);
        let is_it = |index: &usize| stats.get(*index).is_some_and(|(path, _)| *path == key);
        let look_up = || {
            let places = places.get_or_insert_with(|| {
                let paths = stats.iter().map(|(path, _)| *path);
                paths.zip(0..).collect::<HashMap<u64, usize>>()
            });
            places.get(&key).copied()
        };
        if let Some(index) = Some(next).filter(is_it).or_else(look_up) {
            entry.stat = stats.get(index).map(|(_, stat)| *stat);
            next = index + 1;
        }
    }
}

// Nobody gains by a collision: a path that has the key of another makes a file look changed, and of
// the keys of what stands in the file system only those of one's own files could be chosen.

fn path_key(path: &TreePath) -> u64 {
    xxh64(path.as_bytes(), 0)
}

fn stat_key(entry: &Entry) -> u64 {
    let numbers = [
        entry.size,
        entry.mtime.nanoseconds.cast_unsigned(),
        entry.ctime.nanoseconds.cast_unsigned(),
        entry.inode,
        entry.device,
    ];
    xxh64(numbers.map(u64::to_le_bytes).as_flattened(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> BaseEntry {
        BaseEntry {
            path: TreePath::new(path).unwrap(),
            kind: BaseKind::File(Place {
                set: 0,
                member: 0,
                size: 0,
                least: 0,
                most: 0,
            }),
            mode: 0,
            uid: 0,
            gid: 0,
            user: None,
            group: None,
            seconds: 0,
            stat: None,
        }
    }

    #[test]
    fn what_is_known_of_files_is_found_in_any_order() {
        let stats_of = |paths: &[&str]| -> Vec<(u64, u64)> {
            let keys = paths
                .iter()
                .map(|path| path_key(&TreePath::new(*path).unwrap()));
            keys.zip(1..).collect()
        };
        for (written, known) in [
            (["a", "b", "c"].as_slice(), [Some(1), Some(2), Some(3)]),
            // One that is no more, or was unreadable.
            (&["a", "x", "b", "c"], [Some(1), Some(3), Some(4)]),
            (&["b", "c"], [None, Some(1), Some(2)]),
            (&["a", "c"], [Some(1), None, Some(2)]),
            (&["c", "a", "b"], [Some(2), Some(3), Some(1)]),
            (&[], [None, None, None]),
        ] {
            let mut entries = ["a", "b", "c"].map(file);
            note_stats(&mut entries, &stats_of(written));
            assert_eq!(entries.map(|entry| entry.stat), known, "{written:?}");
        }
    }
}
