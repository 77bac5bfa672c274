//! The files of the log: `data/<number / files a folder>/<number>`.
//!
//! A segment is created, appended to, closed, and removed as a whole; one that was closed never
//! changes. An empty file counts as not there: it is what a removal leaves that had to cut the
//! file before a full disk let it go.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::entry::{Damage, DamageKind, Position};
use crate::hash_index::VALUE_MAX;
use crate::{Error, save_file};

/// So many files are kept open for reading.
const HANDLES_MAX: usize = 90;

/// Where the segments are, and those that are open for reading.
#[derive(Debug)]
pub(super) struct Segments {
    /// The folder `data`.
    path: PathBuf,
    per_directory: u32,
    file_mode: u32,
    handles: Mutex<Handles>,
}

#[derive(Debug, Default)]
struct Handles {
    open: HashMap<u32, Handle>,
    /// Counts uses; the handle with the lowest one is closed first.
    clock: u64,
}

#[derive(Debug)]
struct Handle {
    file: Arc<File>,
    used: u64,
}

impl Segments {
    pub(super) fn new(repository: &Path, per_directory: u32, file_mode: u32) -> Self {
        Self {
            path: repository.join("data"),
            per_directory: per_directory.max(1),
            file_mode,
            handles: Mutex::default(),
        }
    }

    pub(super) fn path(&self, segment: u32) -> PathBuf {
        let directory = (segment / self.per_directory).to_string();
        self.path.join(directory).join(segment.to_string())
    }

    /// The folder in which the segment's name stands.
    pub(super) fn directory(&self, segment: u32) -> PathBuf {
        self.path.join((segment / self.per_directory).to_string())
    }

    /// All segments, in ascending order, empty files included.
    pub(super) fn list(&self) -> Result<Vec<u32>, Error> {
        let mut segments = Vec::new();
        for directory in self.directories()? {
            segments.append(&mut self.list_directory(directory)?);
        }
        Ok(segments)
    }

    /// The highest number.
    pub(super) fn latest(&self) -> Result<Option<u32>, Error> {
        for directory in self.directories()?.into_iter().rev() {
            if let Some(segment) = self.list_directory(directory)?.pop() {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }

    /// The numbers of the folders, in ascending order.
    pub(super) fn directories(&self) -> Result<Vec<u32>, Error> {
        numbers(&self.path)
    }

    /// The segments of one folder, in ascending order.
    pub(super) fn list_directory(&self, directory: u32) -> Result<Vec<u32>, Error> {
        let segments = numbers(&self.path.join(directory.to_string()))?;
        // Otherwise the repository would look empty, and be written to as such.
        let misplaced = |segment: &&u32| **segment / self.per_directory != directory;
        if let Some(segment) = segments.iter().find(misplaced) {
            return Err(Error::Config {
                path: save_file::parent(&self.path).to_owned(),
                what: format!(
                    "with {} segments a folder, segment {segment} cannot be in folder {directory}",
                    self.per_directory
                ),
            });
        }
        Ok(segments)
    }

    /// Bytes of a segment's file; 0 for one that is not there.
    pub(super) fn size(&self, segment: u32) -> Result<u64, Error> {
        let path = self.path(segment);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(Error::io("look at", path)(error)),
        }
    }

    /// A handle to read from. Others may read from it at the same time.
    pub(super) fn open(&self, segment: u32) -> Result<Arc<File>, Error> {
        let mut handles = self.handles();
        handles.clock += 1;
        let now = handles.clock;
        if let Some(handle) = handles.open.get_mut(&segment) {
            handle.used = now;
            return Ok(Arc::clone(&handle.file));
        }
        drop(handles);
        let path = self.path(segment);
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => missing(segment),
            _ => Error::io("open", path)(error),
        })?;
        let file = Arc::new(file);
        let mut handles = self.handles();
        if handles.open.len() >= HANDLES_MAX {
            let oldest = handles.open.iter().min_by_key(|(_, handle)| handle.used);
            if let Some(oldest) = oldest.map(|(segment, _)| *segment) {
                handles.open.remove(&oldest);
            }
        }
        let handle = Handle {
            file: Arc::clone(&file),
            used: now,
        };
        handles.open.insert(segment, handle);
        Ok(file)
    }

    /// Reads until `buffer` is full or the segment ends; gives the number of bytes.
    pub(super) fn read_at(&self, at: Position, buffer: &mut [u8]) -> Result<usize, Error> {
        let read = |file: &File| {
            let mut filled = 0;
            while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, u64::from(at.offset) + filled as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        };
        let file = self.open(at.segment)?;
        let mut read = read;
        match read(&file) {
            // A server of files may have forgotten what was open for long.
            Err(error) if error.raw_os_error() == Some(Errno::STALE.raw_os_error()) => {
                self.forget(at.segment);
                let file = self.open(at.segment)?;
                read(&file)
            }
            result => result,
        }
        .map_err(Error::io("read", self.path(at.segment)))
    }

    /// Creates a segment that must not exist yet.
    pub(super) fn create(&self, segment: u32) -> Result<File, Error> {
        if segment > VALUE_MAX {
            return Err(Error::SegmentsUsedUp);
        }
        // A file of that number may have been removed since it was opened.
        self.forget(segment);
        let path = self.path(segment);
        let mut created = save_file::create_new(&path, self.file_mode);
        if matches!(&created, Err(error) if error.kind() == ErrorKind::NotFound) {
            created = self
                .create_directory(segment)
                .and_then(|()| save_file::create_new(&path, self.file_mode));
        }
        created.map_err(Error::io("create", path))
    }

    /// Makes sure that the folder of a segment is there.
    pub(super) fn make_directory(&self, segment: u32) -> Result<(), Error> {
        let directory = self.directory(segment);
        if directory.is_dir() {
            return Ok(());
        }
        self.create_directory(segment)
            .map_err(Error::io("create", directory))
    }

    fn create_directory(&self, segment: u32) -> io::Result<()> {
        fs::DirBuilder::new()
            // Those who may read a folder need to enter it.
            .mode(self.file_mode | (self.file_mode & 0o444) >> 2)
            .create(self.directory(segment))?;
        save_file::sync_directory(&self.path)
    }

    /// Removes a segment, if it is there. The removal is not durable yet.
    pub(super) fn remove(&self, segment: u32) -> Result<(), Error> {
        self.forget(segment);
        let path = self.path(segment);
        match remove_even_when_full(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(Error::io("remove", path)),
        }
    }

    /// Removes folders in which no segment is left.
    pub(super) fn remove_empty_directories(&self) -> Result<(), Error> {
        for directory in self.directories()? {
            // Those that are not empty stay.
            let _ = fs::remove_dir(self.path.join(directory.to_string()));
        }
        save_file::sync_directory(&self.path).map_err(Error::io("sync", &self.path))
    }

    pub(super) fn forget(&self, segment: u32) {
        self.handles().open.remove(&segment);
    }

    fn handles(&self) -> std::sync::MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The damage that a segment is not there.
pub(super) fn missing(segment: u32) -> Error {
    Error::Damaged(Damage {
        at: Position { segment, offset: 0 },
        kind: DamageKind::Missing,
    })
}

/// Some file systems need space to remove a file, and cutting it gives them some.
fn remove_even_when_full(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::StorageFull => {
            // Cut through one name, the content would be gone under all of them.
            if fs::metadata(path)?.nlink() > 1 {
                return Err(error);
            }
            fs::OpenOptions::new().write(true).open(path)?.set_len(0)?;
            fs::remove_file(path)
        }
        result => result,
    }
}

/// The names in a folder that are numbers, spelt as we spell them, in ascending order.
fn numbers(path: &Path) -> Result<Vec<u32>, Error> {
    let entries = fs::read_dir(path).map_err(Error::io("list", path))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io("list", path))?.file_name();
        let name = name.to_str().unwrap_or_default();
        let number = name.parse::<u32>().ok().filter(|&number| {
            // The numbers above are marks in the index.
            number <= VALUE_MAX && number.to_string() == name
        });
        numbers.extend(number);
    }
    numbers.sort_unstable();
    Ok(numbers)
}
