//! Appends entries to the log.
//!
//! Entries are gathered and written a megabyte at a time; a large one is written from where it
//! stands. What is full is handed to the [`Syncer`]. The commit is written last, into a segment
//! of its own, and only after everything before it is durable: whenever the power fails, either
//! the commit is not there, or all that it makes valid is.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;

use super::entry::{COMMIT, MAGIC, MAGIC_SIZE, Position};
use super::segments::Segments;
use super::syncer::Syncer;
use crate::{Error, save_file};

/// Entries are written together until they are so large.
const WRITE_SIZE: usize = 1 << 20;

/// An entry of this size is not worth copying.
const LARGE_ENTRY: usize = 1 << 17;

/// Writing out begins every so many bytes.
const WRITE_OUT_SIZE: u64 = 16 << 20;

/// The end of the log that is being written.
#[derive(Debug)]
pub(super) struct Writer {
    segments: Arc<Segments>,
    /// A new segment begins when the current one has more bytes than this.
    segment_size_max: u32,
    /// Number of the segment that is open, or will be.
    segment: u32,
    open: Option<Open>,
    /// What has been appended and not written.
    buffer: Vec<u8>,
    syncer: Syncer,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    /// Bytes appended, of which those in the buffer are not written.
    size: u64,
    /// Bytes whose writing-out has begun.
    written_out: u64,
}

impl Writer {
    /// Continues the log with the given segment.
    pub(super) fn new(segments: Arc<Segments>, segment: u32, segment_size_max: u32) -> Self {
        Self {
            segments,
            segment_size_max,
            segment,
            open: None,
            buffer: Vec::with_capacity(WRITE_SIZE + LARGE_ENTRY),
            syncer: Syncer::new(),
        }
    }

    /// The first position that is not in a file yet.
    pub(super) fn written_up_to(&self) -> Position {
        let size = self.open.as_ref().map_or(0, |open| open.size);
        let written = size - self.buffer.len() as u64;
        Position {
            segment: self.segment,
            offset: u32::try_from(written).unwrap_or(u32::MAX),
        }
    }

    /// Whether the next entry would go into a new segment because the current one is full.
    pub(super) fn is_full(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.size > u64::from(self.segment_size_max))
    }

    /// Appends an entry; with `in_new_segment`, as the first one of a segment.
    pub(super) fn append(&mut self, entry: &[u8], in_new_segment: bool) -> Result<Position, Error> {
        if in_new_segment || self.is_full() {
            self.close()?;
        }
        self.open()?;
        let size = self.open.as_ref().map_or(0, |open| open.size);
        let at = Position {
            segment: self.segment,
            offset: u32::try_from(size).map_err(|_| Error::SegmentsUsedUp)?,
        };
        if entry.len() >= LARGE_ENTRY {
            self.write(entry)?;
        } else {
            self.buffer.extend_from_slice(entry);
        }
        if let Some(open) = &mut self.open {
            open.size += entry.len() as u64;
        }
        if self.buffer.len() >= WRITE_SIZE {
            self.flush()?;
        } else {
            self.begin_write_out();
        }
        Ok(at)
    }

    /// Writes what was appended, so that it can be read. It is not durable yet.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.write(&[])?;
        self.begin_write_out();
        Ok(())
    }

    /// Waits until all closed segments are durable.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        self.close()?;
        let segment = self.segments.directory(self.segment);
        self.syncer.finish().map_err(Error::io("sync", segment))
    }

    /// Makes everything durable, then writes a commit into a segment of its own and makes that
    /// durable. Gives the segment.
    pub(super) fn commit(&mut self) -> Result<u32, Error> {
        self.finish()?;
        let segment = self.segment;
        let mut file = self.segments.create(segment)?;
        self.segment += 1;
        let path = self.segments.path(segment);
        file.write_all(&[MAGIC.as_slice(), &COMMIT].concat())
            .map_err(Error::io("write", &path))?;
        file.sync_data().map_err(Error::io("sync", &path))?;
        let directory = self.segments.directory(segment);
        save_file::sync_directory(&directory).map_err(Error::io("sync", directory))?;
        Ok(segment)
    }

    /// Makes everything durable, then writes a commit behind it, into the same segment. Gives the
    /// segment.
    pub(super) fn commit_here(&mut self) -> Result<u32, Error> {
        self.open()?;
        self.write(&[])?;
        let segment = self.segment;
        let directory = self.segments.directory(segment);
        if let Some(open) = &mut self.open {
            self.syncer.sync(Arc::clone(&open.file), directory.clone());
            self.buffer.extend_from_slice(&COMMIT);
            open.size += COMMIT.len() as u64;
        }
        self.syncer.finish().map_err(Error::io("sync", directory))?;
        self.finish()?;
        Ok(segment)
    }

    fn open(&mut self) -> Result<(), Error> {
        if self.open.is_none() {
            let file = self.segments.create(self.segment)?;
            self.buffer.extend_from_slice(MAGIC);
            self.open = Some(Open {
                file: Arc::new(file),
                size: MAGIC_SIZE.into(),
                written_out: 0,
            });
        }
        Ok(())
    }

    /// Ends the segment that is open, if one is. The next entry begins a new one.
    fn close(&mut self) -> Result<(), Error> {
        if self.open.is_none() {
            return Ok(());
        }
        self.write(&[])?;
        if let Some(open) = self.open.take() {
            let directory = self.segments.directory(self.segment);
            self.syncer.sync(open.file, directory);
            self.segment += 1;
        }
        Ok(())
    }

    /// Writes the buffer and what follows it, in one call where the system takes it so.
    fn write(&mut self, entry: &[u8]) -> Result<(), Error> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        write_both(&open.file, &self.buffer, entry)
            .map_err(Error::io("write", self.segments.path(self.segment)))?;
        self.buffer.clear();
        Ok(())
    }

    fn begin_write_out(&mut self) {
        let buffered = self.buffer.len() as u64;
        if let Some(open) = &mut self.open {
            let length = open.size - buffered - open.written_out;
            if length >= WRITE_OUT_SIZE {
                self.syncer.write_out(&open.file, open.written_out, length);
                open.written_out += length;
            }
        }
    }
}

fn write_both(mut file: &File, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
    while !first.is_empty() && !second.is_empty() {
        match file.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                let of_first = count.min(first.len());
                first = &first[of_first..];
                second = &second[count - of_first..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.write_all(first)?;
    file.write_all(second)
}
