//! Memory of chunks and of objects that were written, kept for the next ones.
//!
//! Small and large ones are kept apart: else each of the many small ones would some day serve a
//! large chunk, and keep its memory for good.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::batch::Plain;
use crate::Object;

/// Objects with more memory than this are large.
const SMALL_SIZE: usize = 64 << 10;

/// Most small objects kept.
const SMALL_COUNT: usize = 128;

/// Most large objects kept, and most large chunks.
const LARGE_COUNT: usize = 2;

/// As much of a large one is kept: a chunk of usual size.
const LARGE_SIZE: usize = 2 << 20;

/// The objects that are free.
#[derive(Default)]
pub(super) struct Spares(Mutex<Shelves>);

#[derive(Default)]
struct Shelves {
    small: Vec<Object>,
    large: Vec<Object>,
    /// Of chunks that were cut out of streams.
    plain: Vec<Vec<u8>>,
}

impl Spares {
    /// An object for a chunk of so many plain bytes; with memory, if one is free.
    pub(super) fn take(&self, size: usize) -> Object {
        // What compression adds at worst, and what stands in front.
        let is_small = size + size / 64 + 1024 <= SMALL_SIZE;
        let mut shelves = self.lock();
        let shelf = match is_small {
            true => &mut shelves.small,
            false => &mut shelves.large,
        };
        shelf.pop().unwrap_or_default()
    }

    /// Keeps the memory of an object, unless enough is kept.
    pub(super) fn put(&self, mut object: Object) {
        object.shrink(LARGE_SIZE);
        let mut shelves = self.lock();
        let (shelf, most) = match object.capacity() <= SMALL_SIZE {
            true => (&mut shelves.small, SMALL_COUNT),
            false => (&mut shelves.large, LARGE_COUNT),
        };
        if shelf.len() < most {
            shelf.push(object);
        }
    }

    /// Keeps the memory of a chunk, unless enough is kept.
    pub(super) fn put_plain(&self, plain: Plain) {
        let Plain::Owned(mut bytes) = plain else {
            return;
        };
        bytes.clear();
        bytes.shrink_to(LARGE_SIZE);
        let mut shelves = self.lock();
        if bytes.capacity() > SMALL_SIZE && shelves.plain.len() < LARGE_COUNT {
            shelves.plain.push(bytes);
        }
    }

    /// Memory for a chunk; without any, if none is free.
    pub(super) fn take_plain(&self) -> Vec<u8> {
        self.lock().plain.pop().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
