//! Which chunks archives use, and how often.
//!
//! Archives of one tree share most chunks of their item streams. What a stretch of a stream says
//! depends on two things only: the bytes of its chunk, and the unfinished item that the chunk
//! before it has left. So each such pair is read, decrypted and parsed once, however many archives
//! have it, and counted as often as it occurs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::item::{ItemReader, read_chunks};
use crate::{Archive, Archives, Buffer, ChunkRef, Error, Id};

/// Chunks of a stream that are fetched at once.
const FETCH_COUNT: usize = 32;

/// References that are kept for stretches that may come again: 160 MiB. Beyond that, they are
/// counted at once and parsed again when they do.
const KEPT_MAX: usize = 4 << 20;

/// An unfinished item longer than this is not worth keeping.
const REST_MAX: usize = 64 << 10;

/// One use of a chunk: what is known of it, and how often it is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    pub(crate) chunk: ChunkRef,
    pub(crate) count: u32,
}

/// What one chunk of an item stream says.
struct Stretch {
    chunks: Vec<ChunkRef>,
    /// The beginning of the item that goes on in the next chunk.
    rest: Arc<[u8]>,
    /// How often it occurred.
    count: u32,
    /// Whether every chunk passed the test.
    is_whole: bool,
}

/// Counts the uses of chunks by archives.
pub(crate) struct Uses<'a> {
    archives: &'a Archives,
    stretches: HashMap<(Id, Arc<[u8]>), Stretch>,
    /// Chunks of metadata: their sizes and how often they are used.
    metadata: HashMap<Id, Use>,
    /// Uses of what is not kept.
    loose: HashMap<Id, Use>,
    /// References in `stretches`.
    kept: usize,
    /// What every chunk of content must pass.
    test: Option<&'a (dyn Fn(&Id) -> bool + Sync)>,
}

/// An archive that was counted.
pub(crate) struct Counted {
    pub(crate) archive: Archive,
    /// Whether all of its content passed the test, and no repair has put zeros into it.
    pub(crate) is_whole: bool,
}

impl<'a> Uses<'a> {
    pub(crate) fn new(archives: &'a Archives) -> Self {
        Self {
            archives,
            stretches: HashMap::new(),
            metadata: HashMap::new(),
            loose: HashMap::new(),
            kept: 0,
            test: None,
        }
    }

    /// The same, and every chunk of content is tested.
    pub(crate) fn with_test(
        archives: &'a Archives,
        test: &'a (dyn Fn(&Id) -> bool + Sync),
    ) -> Self {
        Self {
            test: Some(test),
            ..Self::new(archives)
        }
    }

    /// Counts everything that the archive with this id uses, its own object included.
    ///
    /// # Errors
    ///
    /// When any of its metadata cannot be read: what it uses is not known then.
    pub(crate) fn add(&mut self, id: &Id) -> Result<Counted, Error> {
        let (plain, csize) = self.archives.read_stored(id)?;
        let archive = self.archives.parse(&plain)?;
        self.add_metadata(id, size_of(plain.len()), csize);
        let mut rest: Arc<[u8]> = Arc::default();
        let mut all_whole = true;
        let mut fetched: HashMap<Id, (Buffer, u32)> = HashMap::new();
        for (index, id) in archive.items.iter().enumerate() {
            if let Some(stretch) = self.stretches.get_mut(&(*id, Arc::clone(&rest))) {
                stretch.count = stretch.count.saturating_add(1);
                all_whole &= stretch.is_whole;
                rest = Arc::clone(&stretch.rest);
                if let Some(metadata) = self.metadata.get_mut(id) {
                    metadata.count = metadata.count.saturating_add(1);
                }
                continue;
            }
            if !fetched.contains_key(id) {
                let ahead = archive.items.get(index..).unwrap_or_default();
                fetched = self.fetch(ahead)?;
            }
            let Some((plain, csize)) = fetched.get(id) else {
                return Err(Error::ObjectNotFound { id: *id });
            };
            self.add_metadata(id, size_of(plain.len()), *csize);
            let is_whole;
            (rest, is_whole) = self.parse(id, rest, plain)?;
            all_whole &= is_whole;
        }
        if rest.is_empty() {
            Ok(Counted {
                archive,
                is_whole: all_whole,
            })
        } else {
            let source = crate::Malformed::Truncated;
            Err(Error::Items { source })
        }
    }

    /// Fetches the next chunks of a stream that were not met yet, on all cores.
    fn fetch(&self, ahead: &[Id]) -> Result<HashMap<Id, (Buffer, u32)>, Error> {
        let mut wanted: Vec<Id> = Vec::new();
        for (index, id) in ahead.iter().enumerate() {
            // The first is needed in any case; one that was met comes with the same rest again.
            if index == 0 || !self.metadata.contains_key(id) {
                wanted.push(*id);
            }
            if wanted.len() == FETCH_COUNT {
                break;
            }
        }
        let fetched = in_parallel(&wanted, |id| self.archives.read_stored(id))?;
        Ok(wanted.into_iter().zip(fetched).collect())
    }

    fn add_metadata(&mut self, id: &Id, size: u32, csize: u32) {
        let chunk = ChunkRef {
            id: *id,
            size,
            csize,
        };
        add(&mut self.metadata, chunk);
    }

    /// Reads one chunk of a stream behind `rest`; gives the rest that it leaves, and whether all
    /// content passed the test.
    fn parse(
        &mut self,
        id: &Id,
        rest: Arc<[u8]>,
        plain: &[u8],
    ) -> Result<(Arc<[u8]>, bool), Error> {
        let damaged = |source| Error::Items { source };
        let mut reader = ItemReader::new();
        reader.push(&rest);
        reader.push(plain);
        let (mut chunks, mut is_whole) = (Vec::new(), true);
        while let Some(encoded) = reader.next_encoded().map_err(damaged)? {
            let (content, is_repaired) = read_chunks(encoded).map_err(damaged)?;
            is_whole &= !is_repaired;
            chunks.extend(content.into_iter().flatten());
        }
        if let Some(test) = self.test {
            is_whole &= chunks.iter().all(|chunk| test(&chunk.id));
        }
        let left: Arc<[u8]> = reader.rest().into();
        if self.kept + chunks.len() > KEPT_MAX || rest.len() > REST_MAX || left.len() > REST_MAX {
            for chunk in chunks {
                add(&mut self.loose, chunk);
            }
            return Ok((left, is_whole));
        }
        self.kept += chunks.len();
        let stretch = Stretch {
            chunks,
            rest: Arc::clone(&left),
            count: 1,
            is_whole,
        };
        self.stretches.insert((*id, rest), stretch);
        Ok((left, is_whole))
    }

    /// Every use, chunks of metadata first. A chunk may come several times.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Use> {
        self.metadata.values().copied().chain(self.content())
    }

    /// Every use by a file. A chunk may come several times.
    pub(crate) fn content(&self) -> impl Iterator<Item = Use> {
        let stretches = self.stretches.values().flat_map(|stretch| {
            let count = stretch.count;
            let chunks = stretch.chunks.iter();
            chunks.map(move |&chunk| Use { chunk, count })
        });
        self.loose.values().copied().chain(stretches)
    }
}

fn add(uses: &mut HashMap<Id, Use>, chunk: ChunkRef) {
    match uses.entry(chunk.id) {
        Entry::Occupied(mut entry) => {
            let known = entry.get_mut();
            known.count = known.count.saturating_add(1);
        }
        Entry::Vacant(entry) => {
            entry.insert(Use { chunk, count: 1 });
        }
    }
}

pub(crate) fn size_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Does the same with all of `list`, on all cores, and gives the results in their order.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    list: &[T],
    work: impl Fn(&T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    in_parallel_with(list, || Ok(()), |(), one| work(one))
}

/// The same; each core has something of its own to work with.
pub(crate) fn in_parallel_with<T: Sync, W, R: Send>(
    list: &[T],
    begin: impl Fn() -> Result<W, Error> + Sync,
    work: impl Fn(&mut W, &T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    if list.len() < 2 || cores < 2 {
        let mut with = begin()?;
        return list.iter().map(|one| work(&mut with, one)).collect();
    }
    let next = AtomicUsize::new(0);
    let mut done = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores.min(list.len()))
            .map(|_| {
                scope.spawn(|| {
                    let mut with = begin()?;
                    let mut done = Vec::new();
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(one) = list.get(index) else {
                            return Ok::<_, Error>(done);
                        };
                        done.push((index, work(&mut with, one)?));
                    }
                })
            })
            .collect();
        let mut all = Vec::with_capacity(list.len());
        for thread in threads {
            all.extend(thread.join().map_err(|_| Error::Stopped)??);
        }
        Ok::<_, Error>(all)
    })?;
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
