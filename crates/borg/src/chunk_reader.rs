//! Reads the content of files: several chunks at a time, into memory that is used again.
//!
//! Authentication codes and ids are computed for all chunks of a batch at once, which for BLAKE2b
//! takes half the time of one after the other.

use crate::{Archives, BadObject, Buffer, ChunkRef, Error, Opener, Sealed};

/// Bytes of plain content in a batch: a few chunks of usual size.
const BATCH_BYTES: u64 = 4 << 20;

/// Chunks in a batch, however small they are.
const BATCH_LENGTH: usize = 64;

/// Buffers with more memory than this are large…
const SMALL_SIZE: usize = 128 << 10;

/// … of which so many are kept, of those for stored and of those for plain bytes…
const LARGE_COUNT: usize = 2;

/// … with no more memory than this: a chunk of usual size.
const LARGE_SIZE: usize = 2 << 20;

/// How many chunks, of these plain sizes, are best read together: one at least, if there is one.
pub fn read_batch_length(sizes: impl IntoIterator<Item = u32>) -> usize {
    let mut bytes = 0;
    let mut sizes = sizes.into_iter().peekable();
    let any = usize::from(sizes.peek().is_some());
    let count = sizes
        .take(BATCH_LENGTH)
        .take_while(|&size| {
            bytes += u64::from(size);
            bytes <= BATCH_BYTES
        })
        .count();
    count.max(any)
}

/// Reads chunks of one repository. One a thread.
pub struct ChunkReader<'a> {
    archives: &'a Archives,
    opener: Opener,
    stored: Vec<Buffer>,
    plains: Vec<Buffer>,
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
            stored: Vec::new(),
            plains: Vec::new(),
        })
    }

    /// Reads chunks and hands out their plain content, checked, in the given order.
    ///
    /// All of them are in memory at the same time; [`read_batch_length`] says how many are good.
    ///
    /// What one chunk suffers from, [`Error::ObjectNotFound`], [`Error::Damaged`],
    /// [`Error::Object`] or [`Error::ChunkSize`], is handed out in its place.
    pub fn read(&mut self, chunks: &[ChunkRef]) -> Vec<Result<&[u8], Error>> {
        let Self {
            archives,
            opener,
            stored,
            plains,
        } = self;
        stored.resize_with(stored.len().max(chunks.len()), Buffer::new);
        for buffers in [&mut *stored, &mut *plains] {
            release(buffers);
        }
        // Over a connection, all of them are under way at once.
        archives.prefetch(chunks);
        let fetched: Vec<Result<&[u8], Error>> = chunks
            .iter()
            .zip(stored.iter_mut())
            .map(|(chunk, buffer)| {
                let csize = usize::try_from(chunk.csize).ok();
                archives.repository.get_into(&chunk.id, csize, buffer)
            })
            .collect();
        let sealed: Vec<Sealed<'_>> = chunks
            .iter()
            .zip(&fetched)
            .map(|(chunk, stored)| Sealed {
                id: chunk.id,
                stored: stored.as_deref().unwrap_or_default(),
                size_hint: usize::try_from(chunk.size).ok(),
            })
            .collect();
        let opened = archives.key.open_many(&sealed, opener, plains);
        chunks
            .iter()
            .zip(fetched)
            .zip(opened.into_iter().zip(plains.iter()))
            .map(|((chunk, fetched), (opened, plain))| {
                fetched?;
                checked(chunk, opened, plain)
            })
            .collect()
    }
}

/// Lets go of the memory that a batch of large chunks has left where small ones will be.
fn release(buffers: &mut [Buffer]) {
    let large = buffers
        .iter_mut()
        .filter(|buffer| buffer.capacity() > SMALL_SIZE);
    for (number, buffer) in large.enumerate() {
        buffer.shrink(if number < LARGE_COUNT { LARGE_SIZE } else { 0 });
    }
}

fn checked<'p>(
    chunk: &ChunkRef,
    opened: Result<(), BadObject>,
    plain: &'p Buffer,
) -> Result<&'p [u8], Error> {
    let id = chunk.id;
    opened.map_err(|source| Error::Object { id, source })?;
    let found = u32::try_from(plain.len()).unwrap_or(u32::MAX);
    if found == chunk.size {
        Ok(plain)
    } else {
        Err(Error::ChunkSize {
            id,
            known: chunk.size,
            found,
        })
    }
}
