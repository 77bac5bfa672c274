//! What the workers do: plain chunks in, framed objects out.
//!
//! Each worker takes the next batch and does all of its work, so that the bytes stay in its
//! core's cache. Only one step needs the others: which chunks are new is decided in the order of
//! the batches ([`Turn`]). So the first occurrence of a chunk in scan order is the one that is
//! stored, whichever worker is faster, and when the assembler comes to a later occurrence the
//! stored size is known.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use super::batch::{Batch, Mark};
use super::turn::Turn;
use crate::chunk_index::ChunkIndex;
use crate::sealer::Sealer;
use crate::{Compressor, Error, Id, Object, frame_put};

/// A batch after the work.
pub(super) struct SealedBatch {
    /// Its place in the order.
    pub(super) number: u64,
    /// For each chunk of the batch, what it became.
    pub(super) chunks: Vec<SealedChunk>,
    /// As they came.
    pub(super) marks: Vec<Mark>,
}

/// A chunk after the work.
pub(super) struct SealedChunk {
    pub(super) id: Id,
    /// Plain bytes.
    pub(super) size: u32,
    /// The framed entry, when the repository does not have the chunk yet.
    pub(super) object: Option<Object>,
}

/// What all workers share.
pub(super) struct Workshop {
    pub(super) sealer: Arc<Sealer>,
    /// Reference counts of all chunks. An entry whose stored size is 0 is on its way.
    pub(super) index: Arc<Mutex<ChunkIndex>>,
    pub(super) turn: Turn,
    /// Memory of objects that were written.
    pub(super) used_objects: Receiver<Object>,
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
    for (number, batch) in batches {
        if sealed
            .send(seal(shop, &mut compressor, number, batch))
            .is_err()
        {
            return;
        }
    }
}

fn seal(
    shop: &Workshop,
    compressor: &mut Compressor,
    number: u64,
    batch: Batch,
) -> Result<SealedBatch, Error> {
    let ticket = shop.turn.ticket(number);
    let key = shop.sealer.key();
    let ids = key.id_hash_many(batch.chunks.iter().map(|chunk| &**chunk));
    let new = ticket.pass(|| claim(shop, &ids, &batch))?;
    let mut objects = Vec::new();
    let mut chunks = Vec::with_capacity(ids.len());
    for ((id, plain), is_new) in ids.into_iter().zip(batch.chunks).zip(&new) {
        if *is_new {
            let mut object = shop.used_objects.try_recv().unwrap_or_default();
            shop.sealer.pack(&plain, compressor, &mut object)?;
            objects.push(object);
        }
        chunks.push(SealedChunk {
            id,
            size: u32::try_from(plain.len()).unwrap_or(u32::MAX),
            object: None,
        });
    }
    shop.sealer.seal_many(&mut objects)?;
    let new_chunks = chunks.iter_mut().zip(new).filter(|(_, is_new)| *is_new);
    for ((chunk, _), mut object) in new_chunks.zip(objects) {
        frame_put(object.entry_mut(), &chunk.id);
        chunk.object = Some(object);
    }
    Ok(SealedBatch {
        number,
        chunks,
        marks: batch.marks,
    })
}

/// Counts one reference more for each chunk of the batch; says which of them are new.
fn claim(shop: &Workshop, ids: &[Id], batch: &Batch) -> Result<Vec<bool>, Error> {
    let mut index = shop.index.lock().unwrap_or_else(PoisonError::into_inner);
    for mark in &batch.marks {
        if let Mark::Unchanged { chunks, .. } = mark {
            for id in chunks {
                index.add_reference(id, None)?;
            }
        }
    }
    ids.iter()
        .zip(&batch.chunks)
        .map(|(id, plain)| index.add_reference(id, Some(plain.len())))
        .collect()
}
