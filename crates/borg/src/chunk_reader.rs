//! Reads the content of files: several chunks at a time, into memory that is used again.
//!
//! Authentication codes of a batch and the ids of the one before it are computed at once, which for
//! BLAKE2b takes half the time of one after the other.

use crate::{Archives, BadObject, Buffer, ChunkRef, Error, Fetched, Id, Opener};

/// Bytes of plain content in a batch of several chunks.
const BATCH_BYTES: u64 = 6 << 20;

/// The same in a batch of two, so that even these are enough for the four lanes of BLAKE2b.
const PAIR_BYTES: u64 = 8 << 20;

/// Chunks in a batch, however small they are.
const BATCH_LENGTH: usize = 64;

/// Tells which chunks are best read together.
#[derive(Debug, Default)]
pub struct ReadBatch {
    chunks: usize,
    bytes: u64,
}

impl ReadBatch {
    /// Whether a chunk of this plain size is to be read with those that were taken before. The
    /// first is always taken.
    pub fn takes(&mut self, size: u32) -> bool {
        let bytes = self.bytes + u64::from(size);
        let takes = match self.chunks {
            0 => true,
            1 => bytes <= PAIR_BYTES,
            _ => self.chunks < BATCH_LENGTH && bytes <= BATCH_BYTES,
        };
        if takes {
            self.chunks += 1;
            self.bytes = bytes;
        }
        takes
    }
}

/// An object that is to be read, and its sizes where they are known.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    id: Id,
    size: Option<u32>,
    csize: Option<u32>,
}

impl From<&ChunkRef> for Wanted {
    fn from(chunk: &ChunkRef) -> Self {
        Self {
            id: chunk.id,
            size: Some(chunk.size),
            csize: Some(chunk.csize),
        }
    }
}

/// Reads chunks of one repository. One a thread.
pub struct ChunkReader<'a> {
    archives: &'a Archives,
    opener: Opener,
    /// The objects of a batch, one behind the other.
    stored: Buffer,
    /// The batch that was asked for last, and what could not be fetched of it.
    behind: Vec<(Wanted, Option<Error>)>,
}

impl<'a> ChunkReader<'a> {
    /// Sets up decompression.
    ///
    /// # Errors
    ///
    /// [`Error::Memory`].
    pub fn new(archives: &'a Archives) -> Result<Self, Error> {
        Ok(Self {
            archives,
            opener: Opener::new().map_err(|source| Error::Memory { source })?,
            stored: Buffer::new(),
            behind: Vec::new(),
        })
    }

    /// Reads a batch, and hands out the plain content, checked, of the batch *before* it, with the
    /// index in that batch and in its order. An empty batch brings the last: see
    /// [`Key::open_many`](crate::Key::open_many) for why.
    ///
    /// All chunks of a batch are in memory at the same time; [`ReadBatch`] says how many are
    /// good.
    ///
    /// What one chunk suffers from, [`Error::ObjectNotFound`], [`Error::Damaged`],
    /// [`Error::Object`] or [`Error::ChunkSize`], is handed out in its place.
    pub fn read(&mut self, next: &[ChunkRef], deliver: impl FnMut(usize, Result<&[u8], Error>)) {
        let next: Vec<Wanted> = next.iter().map(Wanted::from).collect();
        self.read_wanted(&next, deliver);
    }

    fn read_wanted(
        &mut self,
        next: &[Wanted],
        mut deliver: impl FnMut(usize, Result<&[u8], Error>),
    ) {
        let Self {
            archives,
            opener,
            stored,
            behind,
        } = self;
        stored.clear();
        let size = |size: Option<u32>| size.and_then(|size| usize::try_from(size).ok());
        let sized = next.iter().map(|wanted| (wanted.id, size(wanted.csize)));
        // Over a connection, all of them are under way at once.
        archives.repository.prefetch(sized.clone());
        let mut places = Vec::with_capacity(next.len());
        let mut failures = Vec::with_capacity(next.len());
        for (id, csize) in sized {
            let end = stored.len();
            let (place, failure) = match archives.repository.append(&id, csize, stored) {
                Ok(place) => (place, None),
                Err(error) => (end..end, Some(error)),
            };
            places.push(place);
            failures.push(failure);
        }
        let mut fetched: Vec<Fetched<'_>> = stored
            .parts_mut(&places)
            .zip(next)
            .map(|(stored, wanted)| Fetched {
                id: wanted.id,
                stored,
                size_hint: size(wanted.size),
            })
            .collect();
        archives
            .key
            .open_many(&mut fetched, opener, |index, opened| {
                let Some((wanted, failure)) = behind.get_mut(index) else {
                    return;
                };
                let result = match failure.take() {
                    Some(error) => Err(error),
                    None => checked(wanted, opened),
                };
                deliver(index, result);
            });
        *behind = next.iter().copied().zip(failures).collect();
    }

    /// Reads one batch, and hands it out at once: see [`read`](Self::read).
    pub fn read_at_once(
        &mut self,
        batch: &[ChunkRef],
        deliver: impl FnMut(usize, Result<&[u8], Error>),
    ) {
        self.read(batch, |_, _| {});
        self.read(&[], deliver);
    }

    /// The same for objects of which nothing is known but their ids.
    pub(crate) fn read_objects(
        &mut self,
        ids: &[Id],
        deliver: impl FnMut(usize, Result<&[u8], Error>),
    ) {
        let unknown = |id: &Id| Wanted {
            id: *id,
            size: None,
            csize: None,
        };
        let wanted: Vec<Wanted> = ids.iter().map(unknown).collect();
        self.read_wanted(&wanted, |_, _| {});
        self.read_wanted(&[], deliver);
    }
}

fn checked<'p>(wanted: &Wanted, opened: Result<&'p [u8], BadObject>) -> Result<&'p [u8], Error> {
    let id = wanted.id;
    let plain = opened.map_err(|source| Error::Object { id, source })?;
    let found = u32::try_from(plain.len()).unwrap_or(u32::MAX);
    match wanted.size {
        Some(known) if known != found => Err(Error::ChunkSize { id, known, found }),
        _ => Ok(plain),
    }
}
