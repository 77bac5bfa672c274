//! Memory of chunks and of objects that were written, kept for the next ones.
//!
//! New memory costs as much as copying into it. But what waits for a chunk that it fits is memory,
//! too: so a few of each kind are kept, and none that is larger than usual.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::batch::Plain;
use crate::Object;

/// Objects with more memory than this are large.
const SMALL_SIZE: usize = 64 << 10;

/// Most small objects kept.
const SMALL_COUNT: usize = 128;

/// Most large objects kept.
const LARGE_COUNT: usize = 2;

/// Most room in each of them, what compression adds at worst included.
const LARGE_SIZE: usize = 3 << 20;

/// Most large chunks kept.
const CHUNK_COUNT: usize = 2;

/// As much of a large chunk is kept: a usual one.
const CHUNK_SIZE: usize = 2 << 20;

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
        let needed = size + size / 8 + 1024;
        let mut shelves = self.lock();
        let free = if needed <= SMALL_SIZE {
            shelves.small.pop()
        } else {
            let mut large = shelves.large.iter();
            large
                .position(|object| object.capacity() >= needed)
                .map(|index| shelves.large.swap_remove(index))
        };
        free.unwrap_or_default()
    }

    /// Keeps the memory of an object, unless it is too large or enough is kept.
    pub(super) fn put(&self, object: Object) {
        let capacity = object.capacity();
        let mut shelves = self.lock();
        let (shelf, count) = if capacity <= SMALL_SIZE {
            (&mut shelves.small, SMALL_COUNT)
        } else if capacity <= LARGE_SIZE {
            (&mut shelves.large, LARGE_COUNT)
        } else {
            return;
        };
        if shelf.len() < count {
            shelf.push(object);
        }
    }

    /// Keeps the memory of a chunk, unless enough is kept.
    pub(super) fn put_plain(&self, plain: Plain) {
        let Plain::Owned(mut bytes) = plain else {
            return;
        };
        bytes.clear();
        bytes.shrink_to(CHUNK_SIZE);
        let mut shelves = self.lock();
        if bytes.capacity() > SMALL_SIZE && shelves.plain.len() < CHUNK_COUNT {
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
