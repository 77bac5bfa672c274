//! Gets objects out of a repository.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::entry::{self, Damage, DamageKind, HEADER_SIZE, Header, PUT_SIZE, Position, Tag};
use super::{ENTRY_SIZE_GUESS, Repository, lock, packed, read};
use crate::{Buffer, Error, Id};

impl Repository {
    /// Reads an object.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::Damaged`] when it is not what was written;
    /// [`Error::Io`].
    pub fn get(&self, id: &Id) -> Result<Vec<u8>, Error> {
        let mut buffer = Buffer::new();
        let object = self.append(id, None, &mut buffer)?;
        Ok(buffer.get(object).unwrap_or_default().to_vec())
    }

    /// Reads an object behind what stands in `buffer`. Gives where in it the object is; when it
    /// cannot be read, nothing is added.
    ///
    /// With `csize`, the stored size that an archive knows, it takes one read instead of two. It
    /// may be wrong.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn append(
        &self,
        id: &Id,
        csize: Option<usize>,
        buffer: &mut Buffer,
    ) -> Result<Range<usize>, Error> {
        let at = self
            .location(id)?
            .ok_or(Error::ObjectNotFound { id: *id })?;
        let start = buffer.len();
        self.read_entry(id, at, csize, buffer)
            .map(|()| start + PUT_SIZE..buffer.len())
            .inspect_err(|_| buffer.truncate(start))
    }

    /// Where an object is, so that several can be read in the order in which they are stored.
    ///
    /// # Errors
    ///
    /// Those of loading the index: [`Error::CheckNeeded`], [`Error::Io`].
    pub fn location(&self, id: &Id) -> Result<Option<Position>, Error> {
        self.load()?;
        let loaded = read(&self.loaded);
        let value = loaded.as_ref().and_then(|loaded| loaded.index.get(id));
        Ok(value.map(position))
    }

    /// Where several objects are.
    ///
    /// # Errors
    ///
    /// As [`Self::location`].
    pub fn locations(&self, ids: &[Id]) -> Result<Vec<Option<Position>>, Error> {
        self.load()?;
        let loaded = read(&self.loaded);
        let Some(loaded) = loaded.as_ref() else {
            return Ok(vec![None; ids.len()]);
        };
        let values = ids.iter().map(|id| loaded.index.get(id).map(position));
        Ok(values.collect())
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    ///
    /// As [`Self::location`].
    pub fn contains(&self, id: &Id) -> Result<bool, Error> {
        Ok(self.location(id)?.is_some())
    }

    /// How many objects there are.
    ///
    /// # Errors
    ///
    /// As [`Self::location`].
    pub fn len(&self) -> Result<usize, Error> {
        self.load()?;
        Ok(read(&self.loaded)
            .as_ref()
            .map_or(0, |loaded| loaded.index.len()))
    }

    /// Whether there is none.
    ///
    /// # Errors
    ///
    /// As [`Self::location`].
    pub fn is_empty(&self) -> Result<bool, Error> {
        Ok(self.len()? == 0)
    }

    /// All objects in the order of the index, which is by chance.
    ///
    /// # Errors
    ///
    /// As [`Self::location`].
    pub fn ids(&self) -> Result<Vec<Id>, Error> {
        self.load()?;
        let loaded = read(&self.loaded);
        let ids = loaded.iter().flat_map(|loaded| loaded.index.iter());
        Ok(ids.map(|(id, _)| id).collect())
    }

    /// All objects with their places, in the order in which they are stored: reading them in that
    /// order is the fastest.
    ///
    /// # Errors
    ///
    /// As [`Self::location`].
    pub fn ids_by_position(&self) -> Result<Vec<(Position, Id)>, Error> {
        self.load()?;
        let loaded = read(&self.loaded);
        let entries = loaded.iter().flat_map(|loaded| loaded.index.iter());
        let mut ids: Vec<_> = entries.map(|(id, value)| (position(value), id)).collect();
        ids.sort_unstable_by_key(|(at, _)| *at);
        Ok(ids)
    }

    /// What was met in the log that could not be read, when the index had to be made from it.
    /// Other objects can be read; nothing can be written before the repository was repaired.
    ///
    /// # Errors
    ///
    /// As [`Self::location`].
    pub fn damages(&self) -> Result<Vec<Damage>, Error> {
        self.load()?;
        let loaded = read(&self.loaded);
        Ok(loaded
            .as_ref()
            .map_or_else(Vec::new, |loaded| loaded.damages.clone()))
    }

    /// The same with the entry's header.
    fn read_entry(
        &self,
        id: &Id,
        at: Position,
        csize: Option<usize>,
        buffer: &mut Buffer,
    ) -> Result<(), Error> {
        self.make_readable(at)?;
        let damaged = |kind| Error::Damaged(Damage { at, kind });
        let start = buffer.len();
        let guess = csize.map_or(ENTRY_SIZE_GUESS, |csize| csize.saturating_add(PUT_SIZE));
        let guess = guess.clamp(PUT_SIZE, entry::ENTRY_SIZE_MAX);
        let count = self.segments.read_at(at, buffer.room(guess))?;
        buffer.advance(count);
        let header = buffer
            .get(start..)
            .and_then(|entry| entry.first_chunk::<HEADER_SIZE>())
            .ok_or(damaged(DamageKind::Truncated))?;
        let header = Header::parse(*header).map_err(damaged)?;
        if header.tag != Tag::Put {
            return Err(damaged(DamageKind::NotTheObject));
        }
        if header.size > count {
            // The guess was too low, or the file ends.
            let rest = Position {
                offset: at
                    .offset
                    .saturating_add(u32::try_from(count).unwrap_or(u32::MAX)),
                ..at
            };
            let more = self
                .segments
                .read_at(rest, buffer.room(header.size - count))?;
            buffer.advance(more);
        }
        buffer.truncate(start + header.size);
        let Some(entry) = buffer.get(start..start + header.size) else {
            return Err(damaged(DamageKind::Truncated));
        };
        if entry::checksum(entry) != header.crc {
            return Err(damaged(DamageKind::Checksum));
        }
        if entry::id_of(entry) != Some(*id) {
            return Err(damaged(DamageKind::NotTheObject));
        }
        Ok(())
    }

    /// Makes sure that an entry that was just appended is in its file.
    pub(super) fn make_readable(&self, at: Position) -> Result<(), Error> {
        if packed(at) < self.written.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut writing = lock(&self.writing);
        let Some(writing) = writing.as_mut() else {
            return Ok(());
        };
        writing.flush()?;
        self.set_written(writing.written_up_to());
        Ok(())
    }
}

fn position([segment, offset]: [u32; 2]) -> Position {
    Position { segment, offset }
}
