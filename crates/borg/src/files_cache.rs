//! Which files the last backups saw in which state, and which chunks they had then.
//!
//! A file whose inode, size and ctime are as remembered need not be read again. The format is
//! Borg's (docs/formats/borg.md#caches), so that the two programs spare each other the reading.
//!
//! A file that changed in the same tick of the clock as the newest change that a run saw could
//! change again without looking any different; so it is not remembered, and is read again next
//! time. Borg does so too, however long ago that change was. Here a change is trusted when it was
//! [`SETTLED_AGE`] old as the run began: no clock of a file server is off by as much and ticks so
//! slowly. So the largest and only new file of last year is not read again every day.

use std::hash::{BuildHasher as _, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use jiff::Timestamp;
use tree::{Bookmarks, Entry, Time};

use crate::chunk_index::{ChunkIndex, LOOKUPS};
use crate::key::IdHasher;
use crate::msgpack::{Malformed, Reader, Writer};
use crate::{Id, Key};

/// A change that is older than this cannot be followed by another with the same time.
const SETTLED_AGE: Duration = Duration::from_secs(600);

/// The name of a file in the cache: the keyed hash of its absolute path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathHash(pub(crate) Id);

impl PathHash {
    /// Where a hash table begins to look: it is a hash already, and a keyed one in all repositories but
    /// those without encryption, where files of such names could at worst make the table slow.
    fn home(&self) -> u64 {
        self.0
            .0
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first))
    }
}

/// Names files.
pub(crate) struct PathHasher(IdHasher);

impl PathHasher {
    /// Hashes paths as the stock program does: with the folder in front that stored paths are
    /// relative to, and a slash behind that.
    pub(crate) fn new(base: &[u8], key: &Key) -> Self {
        Self(key.id_hasher(base))
    }

    pub(crate) fn hash(&self, entry: &Entry) -> PathHash {
        PathHash(self.0.hash(entry.path.as_bytes()))
    }
}

/// What tells that a file has not changed, and what becomes of the memory of files.
///
/// Its text form is that of `--files-cache`: `ctime,size,inode`, `rechunk,mtime`, `disabled`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesMemory {
    /// What is compared; `None`: nothing is remembered, and what is known stays as it is.
    pub mode: Option<FilesMode>,
    /// Another memory than the usual one, for sources that have nothing to do with those.
    pub suffix: Option<String>,
    /// How many runs a file is remembered that is not seen any more.
    pub runs: u64,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilesMode {
    /// Every file is read, and remembered.
    pub rechunk: bool,
    /// The time of the content, which programs can set, rather than that of the last change.
    pub mtime: bool,
    /// The number of the inode too. Some network file systems give other ones each time.
    pub inode: bool,
}

impl Default for FilesMemory {
    fn default() -> Self {
        Self {
            mode: Some(FilesMode::default()),
            suffix: None,
            runs: RUNS_REMEMBERED,
        }
    }
}

impl Default for FilesMode {
    fn default() -> Self {
        Self {
            rechunk: false,
            mtime: false,
            inode: true,
        }
    }
}

/// How many runs a file is remembered that is not seen any more.
///
/// Source: the default of `BORG_FILES_CACHE_TTL`, Borg 1.4's documentation.
const RUNS_REMEMBERED: u64 = 20;

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "files cache mode must be `disabled`, or `ctime` or `mtime` with `size`, `size,inode` or `rechunk`, not `{text}`"
)]
pub struct BadFilesMode {
    /// As it was written.
    pub text: String,
}

impl FilesMemory {
    /// With what a person said is to be compared.
    ///
    /// # Errors
    ///
    /// [`BadFilesMode`].
    pub fn with_mode(self, text: &str) -> Result<Self, BadFilesMode> {
        let bad = || BadFilesMode { text: text.into() };
        let words: std::collections::BTreeSet<&str> = text.split(',').collect();
        let has = |word| words.contains(word);
        let mode = match (has("ctime"), has("mtime")) {
            (false, false) if words.len() == 1 && has("disabled") => None,
            (true, false) | (false, true) => Some(FilesMode {
                rechunk: has("rechunk"),
                mtime: has("mtime"),
                inode: has("inode"),
            }),
            _ => return Err(bad()),
        };
        let known = ["ctime", "mtime", "size", "inode", "rechunk", "disabled"];
        let is_known = words.iter().all(|word| known.contains(word));
        let makes_sense = mode.is_none_or(|mode| {
            mode.rechunk && words.len() == 2 || !mode.rechunk && has("size") && !has("disabled")
        });
        match is_known && makes_sense {
            true => Ok(Self { mode, ..self }),
            false => Err(bad()),
        }
    }
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    inode: u64,
    size: u64,
    /// Or mtime, if that is compared. In nanoseconds, within what Borg keeps.
    ctime: i64,
}

impl FileState {
    pub(crate) fn of(entry: &Entry, mode: FilesMode) -> Self {
        let time = if mode.mtime { entry.mtime } else { entry.ctime };
        Self {
            inode: entry.inode,
            size: entry.size,
            ctime: clamp(time),
        }
    }

    fn is_as(&self, other: &Self, mode: FilesMode) -> bool {
        self.size == other.size
            && self.ctime == other.ctime
            && (!mode.inode || self.inode == other.inode)
    }
}

/// Largest time that Borg stores: two days before 32-bit seconds end.
///
/// Source: `MAX_NS` in Borg 1.4's `helpers/time.py`.
const TIME_MAX: i64 = ((1 << 31) - 1 - 48 * 3600) * 1_000_000_000;

fn clamp(time: Time) -> i64 {
    time.nanoseconds.clamp(0, TIME_MAX)
}

/// The cache as it was read. Looked up by several threads.
///
/// Files keep the order in which they were written, which is nearly that of a scan: so a file that is
/// taken in is mostly found beside the one before, without its hash ([`FilesCache::follow`]).
#[derive(Debug, Default)]
pub(crate) struct FilesCache {
    /// Where each path stands in `known`.
    places: HashTable<Place>,
    known: Vec<Known>,
    /// The chunks of all files, one after the other.
    chunks: Vec<Id>,
    /// For [tags](Self::tag).
    tags: RandomState,
    /// Where threads that ask about files go on.
    bookmarks: Bookmarks,
}

/// Where a file stands in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(u32);

#[derive(Debug)]
struct Known {
    path: PathHash,
    state: FileState,
    /// How many runs ago it was last seen, this run counted.
    age: u64,
    chunks: Range<usize>,
    /// Whether the repository has all of them.
    is_stored: bool,
    /// One of the constants below.
    fate: AtomicU8,
    /// The [tag](FilesCache::tag) of a file that is expected; else 0.
    expected: AtomicU64,
}

impl Place {
    fn index(self) -> usize {
        self.0 as usize
    }
}

/// Bytes that a file of one chunk takes in the cache. As many are made room for at once as these would be.
const FILE_SIZE: usize = 96;

/// How far a file that was expected is looked for behind the one that came before it: past files that
/// have gone, or are not known any more.
const AHEAD: usize = 32;

const UNSEEN: u8 = 0;
const SEEN: u8 = 1;
const REPLACED: u8 = 2;

impl FilesCache {
    /// Reads a cache file.
    ///
    /// # Errors
    ///
    /// [`Malformed`]: the cache cannot be used; files will be read again.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut cache = Self::default();
        let count = bytes.len() / FILE_SIZE;
        cache.places.reserve(count, |_| 0);
        cache.known.reserve(count);
        cache.chunks.reserve(count);
        while !reader.rest().is_empty() {
            if reader.array()? != 2 {
                return Err(reader.unexpected("a path and its state"));
            }
            let path = PathHash(Id(*reader.raw_array()?));
            if reader.array()? != 5 {
                return Err(reader.unexpected("the state of a file"));
            }
            let age = reader.unsigned()?.saturating_add(1);
            let inode = reader.unsigned()?;
            let size = reader.unsigned()?;
            let ctime = reader.signed()?;
            let count = reader.array()?;
            let first = cache.chunks.len();
            for _ in 0..count {
                cache.chunks.push(Id(*reader.raw_array()?));
            }
            let file = Known {
                path,
                state: FileState { inode, size, ctime },
                age,
                chunks: first..cache.chunks.len(),
                is_stored: false,
                fate: AtomicU8::new(UNSEEN),
                expected: AtomicU64::new(0),
            };
            let next = u32::try_from(cache.known.len());
            let next = next.map_err(|_| reader.unexpected("fewer files"))?;
            let Self { places, known, .. } = &mut cache;
            let path_at = |place: &Place| known.get(place.index()).map(|known| &known.path);
            let is_it = |place: &Place| path_at(place) == Some(&path);
            let home = |place: &Place| path_at(place).map_or(0, PathHash::home);
            match places.entry(path.home(), is_it, home) {
                Slot::Vacant(slot) => {
                    slot.insert(Place(next));
                    known.push(file);
                }
                // Of a path that stands there twice, the last counts.
                Slot::Occupied(slot) => {
                    if let Some(former) = known.get_mut(slot.get().index()) {
                        *former = file;
                    }
                }
            }
        }
        Ok(cache)
    }

    /// Notes which files need not be read: the repository has all of their chunks.
    pub(crate) fn trust(&mut self, index: &ChunkIndex) {
        let mut warmed = 0;
        for known in &mut self.known {
            if known.chunks.end > warmed {
                let first = warmed;
                warmed = known.chunks.end.max(first + LOOKUPS).min(self.chunks.len());
                index.warm(self.chunks.get(first..warmed).unwrap_or_default());
            }
            let chunks = self.chunks.get(known.chunks.clone()).unwrap_or_default();
            known.is_stored = chunks.iter().all(|id| index.contains(id));
        }
    }

    /// Where a file of this name stands.
    pub(crate) fn find(&self, path: &PathHash) -> Option<Place> {
        let next = self.bookmarks.get();
        let is_it = |known: &Known| known.path == *path;
        let index = match self.known.get(next).is_some_and(is_it) {
            true => next,
            false => {
                let is_there = |place: &Place| self.known.get(place.index()).is_some_and(is_it);
                self.places.find(path.home(), is_there)?.index()
            }
        };
        self.bookmarks.set(index + 1);
        u32::try_from(index).ok().map(Place)
    }

    /// Whether the file is in the state that is remembered, and need not be read.
    pub(crate) fn is_unchanged(&self, place: Place, state: &FileState, mode: FilesMode) -> bool {
        self.known
            .get(place.index())
            .is_some_and(|known| !mode.rechunk && known.is_stored && known.state.is_as(state, mode))
    }

    /// The chunks of a file.
    pub(crate) fn chunks(&self, place: Place) -> &[Id] {
        let known = self.known.get(place.index());
        let chunks = known.and_then(|known| self.chunks.get(known.chunks.clone()));
        chunks.unwrap_or_default()
    }

    /// Notes that a file was found unchanged, and will be taken in.
    pub(crate) fn expect(&self, place: Place, entry: &Entry) {
        if let Some(known) = self.known.get(place.index()) {
            known.expected.store(self.tag(entry), Ordering::Relaxed);
        }
    }

    /// Tells paths apart within one run, faster than a [`PathHash`]; never 0.
    fn tag(&self, entry: &Entry) -> u64 {
        self.tags.hash_one(entry.path.as_bytes()) | 1
    }

    /// Where an expected file stands, if that is soon after `last`, the place of the one before it.
    pub(crate) fn follow(
        &self,
        last: Option<Place>,
        entry: &Entry,
        state: &FileState,
    ) -> Option<Place> {
        let first = last.map_or(0, |last| last.index() + 1);
        let tag = self.tag(entry);
        let is_it =
            |known: &Known| known.state == *state && known.expected.load(Ordering::Relaxed) == tag;
        let mut ahead = self.known.get(first..)?.iter().take(AHEAD);
        let steps = ahead.position(is_it)?;
        u32::try_from(first + steps).ok().map(Place)
    }

    /// Keeps the entry young: its file was seen unchanged.
    pub(crate) fn mark_seen(&self, place: Place) {
        self.set_fate(place, SEEN);
    }

    fn set_fate(&self, place: Place, fate: u8) {
        if let Some(known) = self.known.get(place.index()) {
            known.fate.store(fate, Ordering::Relaxed);
        }
    }

    /// Whether the next run is to read what this one did: nothing is `fresh`, and all files were there
    /// again as they had been.
    pub(crate) fn is_as_read(&self, fresh: &FreshFiles) -> bool {
        let is_as_read = |known: &Known| {
            let fate = known.fate.load(Ordering::Relaxed);
            // They are a run older than they were when they were written.
            fate == SEEN && known.age == 1 && fresh.trusts(&known.state)
        };
        fresh.files.is_empty() && self.known.iter().all(is_as_read)
    }

    /// Spells the cache for the next run: what is `fresh`, what was seen again, and what was not
    /// seen for fewer than `runs` runs (another source may still have it). Each stands where the scan
    /// came to it.
    pub(crate) fn write(&self, fresh: &FreshFiles, runs: u64) -> Vec<u8> {
        for file in &fresh.files {
            if let Some(place) = self.find(&file.seen.path) {
                self.set_fate(place, REPLACED);
            }
        }
        let mut out = Vec::new();
        let mut in_turn: Vec<&FreshFile> = fresh.files.iter().collect();
        in_turn.sort_by_key(|file| file.seen.after);
        let mut in_turn = in_turn.into_iter().peekable();
        let mut write_fresh = |out: &mut Vec<u8>, after: Option<Place>| {
            while let Some(file) = in_turn.next_if(|file| file.seen.after <= after) {
                if fresh.trusts(&file.seen.state) {
                    let chunks = fresh.chunks.get(file.chunks.clone()).unwrap_or_default();
                    write_file(out, &file.seen.path.0, 0, &file.seen.state, chunks);
                }
            }
        };
        write_fresh(&mut out, None);
        for (place, known) in (0..).map(Place).zip(&self.known) {
            let age = match known.fate.load(Ordering::Relaxed) {
                UNSEEN if known.age < runs => Some(known.age),
                SEEN if fresh.trusts(&known.state) => Some(0),
                _ => None,
            };
            if let Some(age) = age {
                let chunks = self.chunks(place);
                write_file(&mut out, &known.path.0, age, &known.state, chunks);
            }
            write_fresh(&mut out, Some(place));
        }
        out
    }
}

fn write_file(out: &mut Vec<u8>, path: &Id, age: u64, state: &FileState, chunks: &[Id]) {
    let mut writer = Writer::new(out);
    writer.array(2);
    writer.raw(path.0);
    writer.array(5);
    writer.unsigned(age);
    writer.unsigned(state.inode);
    writer.unsigned(state.size);
    writer.signed(state.ctime);
    writer.array(chunks.len());
    for id in chunks {
        writer.raw(id.0);
    }
}

/// A file that is being read, as it will be known again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeenFile {
    pub(crate) path: PathHash,
    pub(crate) state: FileState,
    /// The last file before it that was unchanged.
    pub(crate) after: Option<Place>,
}

#[derive(Debug)]
struct FreshFile {
    seen: SeenFile,
    chunks: Range<usize>,
}

/// The files that this run has read.
#[derive(Debug)]
pub(crate) struct FreshFiles {
    files: Vec<FreshFile>,
    chunks: Vec<Id>,
    /// The newest ctime among them.
    newest: Option<i64>,
    /// Changes before this moment are trusted, even the newest.
    settled: i64,
}

impl FreshFiles {
    /// None yet, in a run that begins now.
    pub(crate) fn new(began: Timestamp) -> Self {
        let settled = began.as_nanosecond() - SETTLED_AGE.as_nanos().cast_signed();
        Self {
            files: Vec::new(),
            chunks: Vec::new(),
            newest: None,
            settled: i64::try_from(settled).unwrap_or(i64::MIN),
        }
    }

    /// Whether nothing can have happened to a file in this state without its looking different.
    fn trusts(&self, state: &FileState) -> bool {
        let newest = self.newest.map_or(i64::MAX, |it| it.max(self.settled));
        state.ctime < newest
    }

    /// Remembers a file that was read from beginning to end.
    pub(crate) fn remember(&mut self, seen: SeenFile, chunks: impl IntoIterator<Item = Id>) {
        let first = self.chunks.len();
        self.chunks.extend(chunks);
        self.newest = self.newest.max(Some(seen.state.ctime));
        let chunks = first..self.chunks.len();
        self.files.push(FreshFile { seen, chunks });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: PathHash = PathHash(Id([1; 32]));
    const SECOND: PathHash = PathHash(Id([2; 32]));

    fn state(ctime: i64) -> FileState {
        FileState {
            inode: 7,
            size: 3,
            ctime,
        }
    }

    fn seen(path: PathHash, state: FileState) -> SeenFile {
        let after = None;
        SeenFile { path, state, after }
    }

    fn none() -> FreshFiles {
        FreshFiles::new(Timestamp::UNIX_EPOCH)
    }

    fn fresh(files: &[(PathHash, FileState)]) -> FreshFiles {
        let mut fresh = none();
        for (path, state) in files {
            fresh.remember(seen(*path, *state), [Id([9; 32])]);
        }
        fresh
    }

    /// The chunks of a file, if it is known in this state.
    fn lookup<'c>(
        cache: &'c FilesCache,
        path: &PathHash,
        state: &FileState,
        mode: FilesMode,
    ) -> Option<&'c [Id]> {
        let place = cache.find(path)?;
        let is_unchanged = cache.is_unchanged(place, state, mode);
        is_unchanged.then(|| cache.chunks(place))
    }

    /// As it is read in a run whose repository has all chunks.
    fn trusted(bytes: &[u8]) -> FilesCache {
        let mut cache = FilesCache::read(bytes).unwrap();
        let mut index = ChunkIndex::default();
        for id in &cache.chunks {
            index.add(id, 1, 1);
        }
        cache.trust(&index);
        cache
    }

    fn next_run(cache: &FilesCache, fresh: &FreshFiles) -> FilesCache {
        trusted(&cache.write(fresh, 20))
    }

    #[test]
    fn a_file_is_known_again_in_the_same_state_only() {
        let cache = next_run(
            &FilesCache::default(),
            &fresh(&[(FIRST, state(10)), (SECOND, state(11))]),
        );
        assert_eq!(
            lookup(&cache, &FIRST, &state(10), FilesMode::default()),
            Some([Id([9; 32])].as_slice())
        );
        assert_eq!(
            lookup(&cache, &FIRST, &state(12), FilesMode::default()),
            None
        );
    }

    #[test]
    fn the_newest_change_of_a_run_is_not_trusted() {
        let cache = next_run(
            &FilesCache::default(),
            &fresh(&[(FIRST, state(10)), (SECOND, state(11))]),
        );
        assert_eq!(
            lookup(&cache, &SECOND, &state(11), FilesMode::default()),
            None
        );
    }

    #[test]
    fn the_newest_change_is_trusted_when_it_was_long_ago() {
        let began = Timestamp::from_second(1_000_000).unwrap();
        let at = |second: i64| state(second * 1_000_000_000);
        for (second, is_known) in [(999_399, true), (999_400, false), (1_000_100, false)] {
            let mut fresh = FreshFiles::new(began);
            fresh.remember(seen(FIRST, at(second)), []);
            let cache = next_run(&FilesCache::default(), &fresh);
            assert_eq!(
                lookup(&cache, &FIRST, &at(second), FilesMode::default()).is_some(),
                is_known
            );
            // So it is when the file is seen again unchanged, beside one that is new.
            if let Some(place) = cache.find(&FIRST) {
                cache.mark_seen(place);
            }
            let mut fresh = FreshFiles::new(began);
            fresh.remember(seen(SECOND, at(5)), []);
            let cache = next_run(&cache, &fresh);
            assert_eq!(
                lookup(&cache, &FIRST, &at(second), FilesMode::default()).is_some(),
                is_known
            );
        }
    }

    #[test]
    fn what_is_not_seen_any_more_is_forgotten_after_some_runs() {
        let mut cache = next_run(
            &FilesCache::default(),
            &fresh(&[(FIRST, state(10)), (SECOND, state(11))]),
        );
        for _ in 0..18 {
            cache = next_run(&cache, &none());
            assert!(lookup(&cache, &FIRST, &state(10), FilesMode::default()).is_some());
        }
        cache.mark_seen(cache.find(&FIRST).unwrap());
        cache = next_run(&cache, &none());
        assert!(lookup(&cache, &FIRST, &state(10), FilesMode::default()).is_some());
        for _ in 0..20 {
            cache = next_run(&cache, &none());
        }
        assert!(lookup(&cache, &FIRST, &state(10), FilesMode::default()).is_none());
    }

    #[test]
    fn a_file_that_was_read_again_replaces_what_was_known() {
        let before = next_run(
            &FilesCache::default(),
            &fresh(&[(FIRST, state(10)), (SECOND, state(11))]),
        );
        let after = next_run(&before, &fresh(&[(FIRST, state(20)), (SECOND, state(21))]));
        assert!(lookup(&after, &FIRST, &state(20), FilesMode::default()).is_some());
        assert!(lookup(&after, &FIRST, &state(10), FilesMode::default()).is_none());
    }

    /// Paths by their first bytes, in the order of the cache.
    fn order(cache: &FilesCache) -> Vec<u8> {
        cache.known.iter().map(|known| known.path.0.0[0]).collect()
    }

    fn path(number: u8) -> PathHash {
        PathHash(Id([number; 32]))
    }

    /// A cache of files that are called by their numbers.
    fn cache_of(numbers: impl IntoIterator<Item = u8>) -> FilesCache {
        let files: Vec<_> = numbers
            .into_iter()
            .map(|number| (path(number), state(number.into())))
            .chain([(path(u8::MAX), state(1000))])
            .collect();
        next_run(&FilesCache::default(), &fresh(&files))
    }

    #[test]
    fn files_stand_where_the_scan_came_to_them() {
        let cache = cache_of([2, 4, 6, 8]);
        assert_eq!(order(&cache), [2, 4, 6, 8]);
        let mut fresh = none();
        let mut read = |number, after: Option<u8>| {
            let after = after.map(|number| cache.find(&path(number)).unwrap());
            let state = state(20);
            let path = path(number);
            fresh.remember(SeenFile { path, state, after }, []);
        };
        // 1 and 5 are new, 4 has changed, 8 is not seen.
        read(1, None);
        read(4, Some(2));
        read(5, Some(2));
        read(99, Some(6));
        fresh.newest = Some(21);
        for number in [2, 6] {
            cache.mark_seen(cache.find(&path(number)).unwrap());
        }
        assert_eq!(order(&next_run(&cache, &fresh)), [1, 2, 4, 5, 6, 99, 8]);
    }

    fn entry(path: &str) -> Entry {
        let item = crate::Item {
            path: path.into(),
            mode: 0o100_644,
            ..crate::Item::default()
        };
        item.to_entry().unwrap()
    }

    #[test]
    fn an_expected_file_is_found_behind_the_one_before() {
        let cache = cache_of(1..=100);
        let place = |number| cache.find(&path(number)).unwrap();
        let number = |found: Option<Place>| found.map(|place| place.0 + 1);
        assert_eq!(number(cache.follow(None, &entry("a"), &state(1))), None);
        cache.expect(place(1), &entry("a"));
        cache.expect(place(4), &entry("b"));
        cache.expect(place(60), &entry("c"));
        let follow = |last: Option<u8>, path: &str, ctime| {
            number(cache.follow(last.map(place), &entry(path), &state(ctime)))
        };
        assert_eq!(follow(None, "a", 1), Some(1));
        assert_eq!(
            follow(Some(1), "b", 4),
            Some(4),
            "past what is not there any more"
        );
        assert_eq!(follow(Some(1), "other", 4), None, "another path");
        assert_eq!(follow(Some(1), "b", 5), None, "another state");
        assert_eq!(follow(Some(4), "b", 4), None, "it has passed");
        assert_eq!(follow(Some(4), "c", 60), None, "too far away");
        assert_eq!(follow(Some(100), "a", 1), None, "the end");
    }

    #[test]
    fn a_file_is_found_wherever_the_last_one_was() {
        let cache = cache_of(1..=9);
        for number in [1, 2, 3, 9, 1, 5, 6, 6, 4] {
            let place = cache.find(&path(number)).unwrap();
            assert_eq!(cache.known[place.index()].path, path(number));
        }
        assert_eq!(cache.find(&path(77)), None);
    }

    #[test]
    fn it_is_as_read_only_if_nothing_has_changed() {
        let see_all = |cache: &FilesCache| {
            for number in [1, 2, 3] {
                assert!(!cache.is_as_read(&none()), "before {number}");
                cache.mark_seen(cache.find(&path(number)).unwrap());
            }
        };
        let cache = cache_of(1..=3);
        see_all(&cache);
        assert!(cache.is_as_read(&none()));
        let bytes = cache.write(&none(), 20);
        assert!(trusted(&bytes).write(&none(), 1).is_empty());
        assert!(!cache.is_as_read(&fresh(&[(path(4), state(4))])));
        // They were not there last time, and are young again.
        let cache = next_run(&cache_of(1..=3), &none());
        see_all(&cache);
        assert!(!cache.is_as_read(&none()));
        assert_eq!(cache.write(&none(), 20), bytes);
    }

    #[test]
    fn of_a_path_that_stands_there_twice_the_last_counts() {
        let mut bytes = Vec::new();
        for (number, ctime) in [(7, 1), (8, 2), (7, 3)] {
            write_file(&mut bytes, &path(number).0, 0, &state(ctime), &[]);
        }
        let cache = trusted(&bytes);
        let is_known = |ctime| lookup(&cache, &path(7), &state(ctime), FilesMode::default());
        assert!(is_known(1).is_none());
        assert!(is_known(3).is_some());
        assert_eq!(order(&cache), [7, 8]);
    }

    #[test]
    fn a_file_with_a_lost_chunk_is_read_again() {
        let files = [
            (FIRST, state(10), 1),
            (SECOND, state(11), 2),
            (path(3), state(12), 3),
        ];
        let mut fresh = none();
        for (path, state, chunk) in files {
            fresh.remember(seen(path, state), [Id([9; 32]), Id([chunk; 32])]);
        }
        fresh.newest = Some(100);
        let bytes = FilesCache::default().write(&fresh, 20);
        let mut cache = FilesCache::read(&bytes).unwrap();
        let mut index = ChunkIndex::default();
        for id in [9, 1, 3] {
            index.add(&Id([id; 32]), 1, 1);
        }
        index.lose(Id([3; 32]));
        cache.trust(&index);
        let is_known = files
            .map(|(path, state, _)| lookup(&cache, &path, &state, FilesMode::default()).is_some());
        assert_eq!(is_known, [true, false, false]);
    }

    #[test]
    fn modes_are_read_as_borg_reads_them() {
        let memory = |text: &str| FilesMemory::default().with_mode(text);
        for (text, rechunk, mtime, inode) in [
            ("ctime,size,inode", false, false, true),
            ("ctime,size", false, false, false),
            ("mtime,size,inode", false, true, true),
            ("inode,size,mtime", false, true, true),
            ("rechunk,ctime", true, false, false),
            ("rechunk,mtime", true, true, false),
        ] {
            let mode = Some(FilesMode {
                rechunk,
                mtime,
                inode,
            });
            assert_eq!(memory(text).unwrap().mode, mode, "{text}");
        }
        assert_eq!(memory("disabled").unwrap().mode, None);
        for text in [
            "",
            "ctime",
            "size,inode",
            "ctime,mtime,size",
            "ctime,size,x",
            "rechunk",
        ] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_compared_may_differ() {
        let cache = next_run(
            &FilesCache::default(),
            &fresh(&[(FIRST, state(1)), (SECOND, state(9))]),
        );
        let mut other = state(1);
        other.inode += 1;
        let is_known = |state: &FileState, mode| lookup(&cache, &FIRST, state, mode).is_some();
        let without_inode = FilesMode {
            inode: false,
            ..FilesMode::default()
        };
        assert!(!is_known(&other, FilesMode::default()));
        assert!(is_known(&other, without_inode));
        let rechunk = FilesMode {
            rechunk: true,
            ..without_inode
        };
        assert!(!is_known(&state(1), rechunk));
    }

    #[test]
    fn a_damaged_cache_is_refused() {
        let bytes =
            FilesCache::default().write(&fresh(&[(FIRST, state(1)), (SECOND, state(2))]), 20);
        for length in 1..bytes.len() {
            assert!(FilesCache::read(&bytes[..length]).is_err(), "{length}");
        }
    }
}
