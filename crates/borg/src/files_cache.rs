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

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tree::{Entry, Time};

use crate::id_map::IdMap;
use crate::msgpack::{Malformed, Reader, Writer};
use crate::{Id, Key};

/// A change that is older than this cannot be followed by another with the same time.
const SETTLED_AGE: Duration = Duration::from_secs(600);

/// The name of a file in the cache: the keyed hash of its absolute path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathHash(pub(crate) Id);

impl PathHash {
    /// Hashes the path as the stock program does: with the folder in front that stored paths are
    /// relative to, and a slash behind that.
    pub(crate) fn of(base: &[u8], entry: &Entry, key: &Key, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        scratch.extend_from_slice(base);
        scratch.extend_from_slice(entry.path.as_bytes());
        Self(key.id_hash(scratch))
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
#[derive(Debug, Default)]
pub(crate) struct FilesCache {
    known: IdMap<Known>,
    /// The chunks of all files, one after the other.
    chunks: Vec<Id>,
}

#[derive(Debug)]
struct Known {
    state: FileState,
    /// How many runs ago it was last seen, this run counted.
    age: u64,
    chunks: Range<usize>,
    /// One of the constants below.
    fate: AtomicU8,
}

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
        while !reader.rest().is_empty() {
            if reader.array()? != 2 {
                return Err(reader.unexpected("a path and its state"));
            }
            let path = Id(*reader.raw_array()?);
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
            cache.known.insert(
                path,
                Known {
                    state: FileState { inode, size, ctime },
                    age,
                    chunks: first..cache.chunks.len(),
                    fate: AtomicU8::new(UNSEEN),
                },
            );
        }
        Ok(cache)
    }

    /// The chunks of the file, if it is in the state that is remembered.
    pub(crate) fn lookup(
        &self,
        path: &PathHash,
        state: &FileState,
        mode: FilesMode,
    ) -> Option<&[Id]> {
        let known = self.known.get(&path.0)?;
        if mode.rechunk || !known.state.is_as(state, mode) {
            return None;
        }
        self.chunks.get(known.chunks.clone())
    }

    /// Whether anything is known of a file of this name.
    pub(crate) fn knows(&self, path: &PathHash) -> bool {
        self.known.contains_key(&path.0)
    }

    /// Keeps the entry young: its file was seen unchanged.
    pub(crate) fn mark_seen(&self, path: &PathHash) {
        if let Some(known) = self.known.get(&path.0) {
            known.fate.store(SEEN, Ordering::Relaxed);
        }
    }

    /// Spells the cache for the next run: what is `fresh`, what was seen again, and what was not
    /// seen for fewer than `runs` runs (another source may still have it).
    pub(crate) fn write(&self, fresh: &FreshFiles, runs: u64) -> Vec<u8> {
        for (path, ..) in &fresh.files {
            if let Some(known) = self.known.get(&path.0) {
                known.fate.store(REPLACED, Ordering::Relaxed);
            }
        }
        let newest = fresh.newest.map_or(i64::MAX, |it| it.max(fresh.settled));
        let settled = |state: &FileState| state.ctime < newest;
        let mut out = Vec::new();
        for (path, state, chunks) in &fresh.files {
            if settled(state) {
                let chunks = fresh.chunks.get(chunks.clone()).unwrap_or_default();
                write_file(&mut out, &path.0, 0, state, chunks);
            }
        }
        for (path, known) in &self.known {
            let age = match known.fate.load(Ordering::Relaxed) {
                UNSEEN if known.age < runs => known.age,
                SEEN if settled(&known.state) => 0,
                _ => continue,
            };
            let chunks = self.chunks.get(known.chunks.clone()).unwrap_or_default();
            write_file(&mut out, path, age, &known.state, chunks);
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

/// The files that this run has read.
#[derive(Debug)]
pub(crate) struct FreshFiles {
    files: Vec<(PathHash, FileState, Range<usize>)>,
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

    /// Remembers a file that was read from beginning to end.
    pub(crate) fn remember(
        &mut self,
        path: PathHash,
        state: FileState,
        chunks: impl IntoIterator<Item = Id>,
    ) {
        let first = self.chunks.len();
        self.chunks.extend(chunks);
        self.files.push((path, state, first..self.chunks.len()));
        self.newest = self.newest.max(Some(state.ctime));
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

    fn none() -> FreshFiles {
        FreshFiles::new(Timestamp::UNIX_EPOCH)
    }

    fn fresh(files: &[(PathHash, FileState)]) -> FreshFiles {
        let mut fresh = none();
        for (path, state) in files {
            fresh.remember(*path, *state, [Id([9; 32])]);
        }
        fresh
    }

    fn next_run(cache: &FilesCache, fresh: &FreshFiles) -> FilesCache {
        FilesCache::read(&cache.write(fresh, 20)).unwrap()
    }

    #[test]
    fn a_file_is_known_again_in_the_same_state_only() {
        let cache = next_run(
            &FilesCache::default(),
            &fresh(&[(FIRST, state(10)), (SECOND, state(11))]),
        );
        assert_eq!(
            cache.lookup(&FIRST, &state(10), FilesMode::default()),
            Some([Id([9; 32])].as_slice())
        );
        assert_eq!(cache.lookup(&FIRST, &state(12), FilesMode::default()), None);
    }

    #[test]
    fn the_newest_change_of_a_run_is_not_trusted() {
        let cache = next_run(
            &FilesCache::default(),
            &fresh(&[(FIRST, state(10)), (SECOND, state(11))]),
        );
        assert_eq!(
            cache.lookup(&SECOND, &state(11), FilesMode::default()),
            None
        );
    }

    #[test]
    fn the_newest_change_is_trusted_when_it_was_long_ago() {
        let began = Timestamp::from_second(1_000_000).unwrap();
        let at = |second: i64| state(second * 1_000_000_000);
        for (second, is_known) in [(999_399, true), (999_400, false), (1_000_100, false)] {
            let mut fresh = FreshFiles::new(began);
            fresh.remember(FIRST, at(second), []);
            let cache = next_run(&FilesCache::default(), &fresh);
            assert_eq!(
                cache
                    .lookup(&FIRST, &at(second), FilesMode::default())
                    .is_some(),
                is_known
            );
            // So it is when the file is seen again unchanged, beside one that is new.
            cache.mark_seen(&FIRST);
            let mut fresh = FreshFiles::new(began);
            fresh.remember(SECOND, at(5), []);
            let cache = next_run(&cache, &fresh);
            assert_eq!(
                cache
                    .lookup(&FIRST, &at(second), FilesMode::default())
                    .is_some(),
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
            assert!(
                cache
                    .lookup(&FIRST, &state(10), FilesMode::default())
                    .is_some()
            );
        }
        cache.mark_seen(&FIRST);
        cache = next_run(&cache, &none());
        assert!(
            cache
                .lookup(&FIRST, &state(10), FilesMode::default())
                .is_some()
        );
        for _ in 0..20 {
            cache = next_run(&cache, &none());
        }
        assert!(
            cache
                .lookup(&FIRST, &state(10), FilesMode::default())
                .is_none()
        );
    }

    #[test]
    fn a_file_that_was_read_again_replaces_what_was_known() {
        let before = next_run(
            &FilesCache::default(),
            &fresh(&[(FIRST, state(10)), (SECOND, state(11))]),
        );
        let after = next_run(&before, &fresh(&[(FIRST, state(20)), (SECOND, state(21))]));
        assert!(
            after
                .lookup(&FIRST, &state(20), FilesMode::default())
                .is_some()
        );
        assert!(
            after
                .lookup(&FIRST, &state(10), FilesMode::default())
                .is_none()
        );
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
        let is_known = |state: &FileState, mode| cache.lookup(&FIRST, state, mode).is_some();
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
