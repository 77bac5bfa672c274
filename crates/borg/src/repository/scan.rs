//! Reads a segment from one entry to the next.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::entry::{self, Damage, DamageKind, HEADER_SIZE, Header, MAGIC, PUT_SIZE, Position, Tag};
use super::segments::Segments;
use crate::{Error, Id};

/// So much is read at once. A larger entry makes the buffer grow, to 20 MiB at most.
const READ_SIZE: usize = 1 << 20;

/// The same where most data is passed over.
const PASSING_READ_SIZE: usize = 64 << 10;

/// Objects of fewer bytes are sooner read twice than passed over: see [`Repository::check_unread`].
///
/// [`Repository::check_unread`]: super::Repository::check_unread
pub const PASSED_SIZE_MIN: u32 = 128 << 10;

/// One entry as it was read; its checksum has been verified.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) at: Position,
    pub(super) tag: Tag,
    /// All zero for a commit.
    pub(super) id: Id,
    /// Header included.
    pub(super) size: u32,
    bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// What is stored: empty but for a PUT.
    pub(super) fn data(&self) -> &'a [u8] {
        self.bytes.get(PUT_SIZE..).unwrap_or_default()
    }

    /// It without its data.
    pub(super) fn info(&self) -> EntryInfo {
        EntryInfo {
            at: self.at,
            tag: self.tag,
            id: self.id,
            size: self.size,
        }
    }

    /// The whole entry.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// An entry without its data.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryInfo {
    pub(super) at: Position,
    pub(super) tag: Tag,
    /// All zero for a commit.
    pub(super) id: Id,
    /// Header included.
    pub(super) size: u32,
}

/// What [`SegmentReader::next`] finds.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Entry(Entry<'a>),
    /// What follows the damage can be read after [`SegmentReader::resynchronise`].
    Damage(Damage),
    End,
}

/// Reads one segment from its beginning.
#[derive(Debug)]
pub(super) struct SegmentReader {
    segment: u32,
    file: Arc<File>,
    path: std::path::PathBuf,
    buffer: Vec<u8>,
    /// What is left of the buffer.
    start: usize,
    end: usize,
    /// Offset in the file of the buffer's `start`.
    offset: u64,
    at_end_of_file: bool,
}

impl SegmentReader {
    /// Opens a segment. An empty one has no entries.
    pub(super) fn open(segments: &Segments, segment: u32) -> Result<Self, Error> {
        Self::open_with(segments, segment, READ_SIZE)
    }

    /// The same for one of which most will be [passed over](Self::pass).
    pub(super) fn open_to_pass(segments: &Segments, segment: u32) -> Result<Self, Error> {
        Self::open_with(segments, segment, PASSING_READ_SIZE)
    }

    fn open_with(segments: &Segments, segment: u32, read_size: usize) -> Result<Self, Error> {
        let path = segments.path(segment);
        let file = File::open(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => super::segments::missing(segment),
            _ => Error::io("open", &path)(error),
        })?;
        Ok(Self {
            segment,
            file: Arc::new(file),
            path,
            buffer: vec![0; read_size],
            start: 0,
            end: 0,
            offset: 0,
            at_end_of_file: false,
        })
    }

    /// The next entry. After damage, nothing is certain about what follows: the next call must
    /// be [`Self::resynchronise`], or none.
    pub(super) fn next(&mut self) -> Result<Found<'_>, Error> {
        if self.offset == 0 {
            self.fill(MAGIC.len())?;
            let rest = self.rest();
            if rest.is_empty() {
                return Ok(Found::End);
            }
            if !rest.starts_with(MAGIC) {
                return Ok(Found::Damage(self.damage(DamageKind::Magic)));
            }
            self.consume(MAGIC.len());
        }
        self.fill(HEADER_SIZE)?;
        if self.rest().is_empty() {
            return Ok(Found::End);
        }
        match self.entry_size()? {
            Err(kind) => Ok(Found::Damage(self.damage(kind))),
            Ok(header) => Ok(Found::Entry(self.take(header))),
        }
    }

    /// Passes over the next entry without reading its data, if it is a large PUT of which
    /// `is_known` says that it was verified before at this place, and its end is there.
    pub(super) fn pass(
        &mut self,
        is_known: impl FnOnce(&Id, Position) -> bool,
    ) -> Result<Option<EntryInfo>, Error> {
        if self.offset == 0 {
            return Ok(None);
        }
        self.fill(PUT_SIZE)?;
        let at = self.position();
        let head = self.rest().get(..PUT_SIZE).unwrap_or_default();
        let header = head.first_chunk().copied().map(Header::parse);
        let (Some(Ok(header)), Some(id)) = (header, entry::id_of(head)) else {
            return Ok(None);
        };
        let size = u32::try_from(header.size).unwrap_or(u32::MAX);
        if size < PASSED_SIZE_MIN || !is_known(&id, at) {
            return Ok(None);
        }
        let ahead = header.size.saturating_sub(self.rest().len());
        if ahead == 0 {
            self.consume(header.size);
        } else {
            let io = |action| Error::io(action, &self.path);
            let length = self.file.metadata().map_err(io("examine"))?.len();
            if self.offset + header.size as u64 > length {
                return Ok(None);
            }
            let ahead = SeekFrom::Current(i64::try_from(ahead).unwrap_or(i64::MAX));
            (&*self.file).seek(ahead).map_err(io("read"))?;
            self.consume(self.rest().len());
            self.offset = u64::from(at.offset) + header.size as u64;
        }
        Ok(Some(EntryInfo {
            at,
            tag: header.tag,
            id,
            size,
        }))
    }

    /// Goes on behind damage, at the next place where a whole entry stands. Gives the number of
    /// bytes that were passed over.
    ///
    /// Where the damaged entry has a possible size and a whole entry follows at that distance, the
    /// damage is inside: then its content is not searched, in which whole entries of another
    /// repository could stand that was backed up.
    pub(super) fn resynchronise(&mut self) -> Result<u64, Error> {
        let from = self.offset;
        if self.offset == 0 {
            // Entries begin where they would without the damage, if there are any.
            self.fill(MAGIC.len())?;
            self.consume(MAGIC.len().min(self.rest().len()));
            if self.is_whole_entry_at(0)? {
                return Ok(self.offset - from);
            }
        } else {
            self.fill(HEADER_SIZE)?;
            let header = self.rest().first_chunk().copied().map(Header::parse);
            if let Some(Ok(header)) = header
                && self.is_whole_entry_at(header.size)?
            {
                self.consume(header.size);
                return Ok(self.offset - from);
            }
            self.consume(1.min(self.rest().len()));
        }
        while !self.is_whole_entry_at(0)? {
            self.fill(1)?;
            if self.rest().is_empty() {
                break;
            }
            self.consume(1);
        }
        Ok(self.offset - from)
    }

    /// Whether a whole entry, or the end of the file, is so many bytes ahead.
    fn is_whole_entry_at(&mut self, ahead: usize) -> Result<bool, Error> {
        self.fill(ahead + HEADER_SIZE)?;
        let Some(there) = self.rest().get(ahead..) else {
            return Ok(false);
        };
        if there.is_empty() {
            return Ok(true);
        }
        let Some(Ok(header)) = there.first_chunk().copied().map(Header::parse) else {
            return Ok(false);
        };
        self.fill(ahead + header.size)?;
        let entry = self.rest().get(ahead..ahead + header.size);
        Ok(entry.is_some_and(|entry| entry::checksum(entry) == header.crc))
    }

    /// Brings the whole next entry into the buffer and verifies it.
    fn entry_size(&mut self) -> Result<Result<Header, DamageKind>, Error> {
        let Some(header) = self.rest().first_chunk().copied() else {
            return Ok(Err(DamageKind::Truncated));
        };
        let header = match Header::parse(header) {
            Ok(header) => header,
            Err(kind) => return Ok(Err(kind)),
        };
        self.fill(header.size)?;
        Ok(match self.rest().get(..header.size) {
            None => Err(DamageKind::Truncated),
            Some(entry) if entry::checksum(entry) != header.crc => Err(DamageKind::Checksum),
            Some(_) => Ok(header),
        })
    }

    fn take(&mut self, header: Header) -> Entry<'_> {
        let at = self.position();
        let start = self.start;
        self.consume(header.size);
        let bytes = &self.buffer[start..start + header.size];
        Entry {
            at,
            tag: header.tag,
            id: entry::id_of(bytes).unwrap_or(Id([0; 32])),
            size: u32::try_from(header.size).unwrap_or(u32::MAX),
            bytes,
        }
    }

    /// Reads until so many bytes are in the buffer, or all that there are.
    fn fill(&mut self, wanted: usize) -> Result<(), Error> {
        if self.end - self.start >= wanted || self.at_end_of_file {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted.next_multiple_of(READ_SIZE), 0);
        }
        while self.end < wanted && !self.at_end_of_file {
            match (&*self.file).read(&mut self.buffer[self.end..]) {
                Ok(0) => self.at_end_of_file = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path)(error)),
            }
        }
        Ok(())
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    fn position(&self) -> Position {
        Position {
            segment: self.segment,
            // No segment of Borg's is larger; positions behind are of no use to anybody.
            offset: u32::try_from(self.offset).unwrap_or(u32::MAX),
        }
    }

    fn damage(&self, kind: DamageKind) -> Damage {
        Damage {
            at: self.position(),
            kind,
        }
    }
}
