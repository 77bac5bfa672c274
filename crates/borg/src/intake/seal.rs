//! What the workers do: plain chunks in, framed objects out.
//!
//! Each worker takes the next batch and does all of its work, so that the bytes stay in its
//! core's cache. Only one step needs the others: which chunks are new is decided in the order of
//! the batches ([`Turn`]). So the first occurrence of a chunk in scan order is the one that is
//! stored, whichever worker is faster, and when the assembler comes to a later occurrence the
//! stored size is known.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::batch::{Batch, FileMark, Mark};
use super::spares::Spares;
use super::turn::Turn;
use crate::archive::sizes;
use crate::chunk_index::{ChunkIndex, LOOKUPS};
use crate::files_cache::FilesCache;
use crate::sealer::Sealer;
use crate::{ChunkRef, Compressor, Error, Id, Item, ItemOptions, Object, Totals, frame_put};

/// A batch after the work.
pub(super) struct SealedBatch {
    /// Its place in the order.
    pub(super) number: u64,
    /// For each chunk of the batch, what it became.
    pub(super) chunks: Vec<SealedChunk>,
    /// What happens in which order.
    pub(super) marks: Vec<SealedMark>,
    /// The items of [`SealedMark::Items`], one after the other, as the archive has them.
    pub(super) items: Vec<u8>,
}

/// One event of the scan after the work.
pub(super) enum SealedMark {
    /// Items that are complete.
    Items {
        /// Bytes of them.
        length: usize,
        /// Sums over their files.
        totals: Totals,
    },
    /// Something happens to a file that is read.
    File(FileMark),
}

/// A chunk after the work.
pub(super) struct SealedChunk {
    pub(super) id: Id,
    /// The framed entry, when the repository does not have the chunk yet.
    pub(super) object: Option<Object>,
}

/// What all workers share.
pub(super) struct Workshop {
    pub(super) sealer: Arc<Sealer>,
    /// Reference counts of all chunks. An entry whose stored size is 0 is on its way.
    pub(super) index: Arc<Mutex<ChunkIndex>>,
    /// Where unchanged files have their chunks.
    pub(super) files: Arc<FilesCache>,
    pub(super) item_options: ItemOptions,
    pub(super) turn: Turn,
    /// Memory of objects that were written.
    pub(super) spares: Spares,
}

/// One worker: takes batches until there are no more, or nobody wants the results.
pub(super) fn work(
    shop: &Workshop,
    batches: &Receiver<(u64, Batch)>,
    sealed: &Sender<Result<SealedBatch, Error>>,
) {
    let mut compressor = match shop.sealer.compressor() {
        Ok(compressor) => compressor,
        Err(error) => {
            let _ = sealed.send(Err(error));
            return;
        }
    };
    let mut packed = None;
    for (number, batch) in batches {
        let result = pack(shop, &mut compressor, number, batch, &mut packed);
        if let Some(result) = result.transpose()
            && sealed.send(result).is_err()
        {
            return;
        }
    }
    if let Some(mut packed) = packed {
        shop.sealer.key().authenticate(&mut packed.objects, &[]);
        let _ = sealed.send(Ok(packed.frame()));
    }
}

/// A batch of which everything is done but the authentication of its new objects.
struct Packed {
    sealed: SealedBatch,
    /// Which of its chunks are new.
    new: Vec<bool>,
    /// One for each of those.
    objects: Vec<Object>,
}

impl Packed {
    /// Makes entries of the objects, which are authenticated now.
    fn frame(mut self) -> SealedBatch {
        let chunks = self.sealed.chunks.iter_mut().zip(self.new);
        let new = chunks.filter_map(|(chunk, is_new)| is_new.then_some(chunk));
        for (chunk, mut object) in new.zip(self.objects) {
            frame_put(object.entry_mut(), &chunk.id);
            chunk.object = Some(object);
        }
        self.sealed
    }
}

/// Puts a batch in the place of `packed`, and gives what was there when it is ready; without
/// encryption, gives the batch itself.
///
/// The ids of a batch and the authentication codes of the one before are computed at once: so the
/// lanes of BLAKE2b have something to do when a batch is of two large chunks, and batches can be
/// so small.
fn pack(
    shop: &Workshop,
    compressor: &mut Compressor,
    number: u64,
    batch: Batch,
    packed: &mut Option<Packed>,
) -> Result<Option<SealedBatch>, Error> {
    let ticket = shop.turn.ticket(number);
    let mut before = packed.take();
    let objects = before.as_mut().map(|before| &mut *before.objects);
    let plains: Vec<&[u8]> = batch.chunks.iter().map(|chunk| &**chunk).collect();
    let key = shop.sealer.key();
    let ids = key.authenticate(objects.unwrap_or_default(), &plains);
    let Claimed { new, known } = ticket.pass(|| claim(shop, &ids, &batch))?;
    let mut objects = Vec::new();
    let mut chunks = Vec::with_capacity(ids.len());
    for ((id, plain), is_new) in ids.into_iter().zip(batch.chunks).zip(&new) {
        if *is_new {
            let mut object = shop.spares.take(plain.len());
            shop.sealer.pack(&plain, compressor, &mut object)?;
            objects.push(object);
        }
        chunks.push(SealedChunk { id, object: None });
        shop.spares.put_plain(plain);
    }
    shop.sealer.encrypt_many(&mut objects)?;
    let (marks, items) = write_items(shop, batch.marks, &known)?;
    let now = Packed {
        sealed: SealedBatch {
            number,
            chunks,
            marks,
            items,
        },
        new,
        objects,
    };
    if !key.encryption().encrypts() {
        // There is nothing to wait for.
        return Ok(Some(now.frame()));
    }
    *packed = Some(now);
    Ok(before.map(Packed::frame))
}

/// What the index says of the chunks of a batch.
struct Claimed {
    /// Which of those that were read are new.
    new: Vec<bool>,
    /// Those of its unchanged files, one after the other.
    known: Vec<ChunkRef>,
}

/// Counts one reference more for each chunk of the batch.
fn claim(shop: &Workshop, ids: &[Id], batch: &Batch) -> Result<Claimed, Error> {
    let mut index = shop.index.lock().unwrap_or_else(PoisonError::into_inner);
    let unchanged = batch.marks.iter().filter_map(|mark| match mark {
        Mark::Unchanged { place, .. } => Some(shop.files.chunks(*place)),
        _ => None,
    });
    let unchanged: Vec<Id> = unchanged.flatten().copied().collect();
    let mut known = Vec::with_capacity(unchanged.len());
    for some in unchanged.chunks(LOOKUPS) {
        index.warm(some);
        for id in some {
            known.push(index.use_known(id)?);
        }
    }
    let new = ids
        .iter()
        .zip(&batch.chunks)
        .map(|(id, plain)| index.add_reference(id, plain.len()))
        .collect::<Result<_, Error>>()?;
    Ok(Claimed { new, known })
}

/// Writes the items that are complete; `known` has the chunks of unchanged files.
fn write_items(
    shop: &Workshop,
    marks: Vec<Mark>,
    mut known: &[ChunkRef],
) -> Result<(Vec<SealedMark>, Vec<u8>), Error> {
    let (mut sealed, mut items) = (Vec::new(), Vec::new());
    let mut chunks = Vec::new();
    for mark in marks {
        let first = items.len();
        let mut sums = Totals::default();
        match mark {
            Mark::File(mark) => {
                sealed.push(SealedMark::File(mark));
                continue;
            }
            Mark::Item(item) => item.write(&mut items),
            Mark::Unchanged { entry, place } => {
                let count = shop.files.chunks(place).len();
                let (own, others) = known.split_at_checked(count).ok_or(Error::Stopped)?;
                known = others;
                let Some(mut item) = Item::from_entry(&entry, shop.item_options) else {
                    continue;
                };
                sums.add_file(own);
                chunks.clear();
                chunks.extend_from_slice(own);
                item.size = Some(sizes(own).0);
                item.chunks = Some(chunks);
                item.write(&mut items);
                chunks = item.chunks.take().unwrap_or_default();
            }
        }
        let written = items.len() - first;
        match sealed.last_mut() {
            Some(SealedMark::Items { length, totals }) => {
                *length += written;
                totals.add(&sums);
            }
            _ => sealed.push(SealedMark::Items {
                length: written,
                totals: sums,
            }),
        }
    }
    Ok((sealed, items))
}
