//! Plain chunks, a bounded number of them kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::{Archives, Buffer, Id};

/// A chunk that is there, on its way, or could not be read.
type Slot = Arc<OnceLock<Option<Buffer>>>;

/// Keeps the plain bytes of the objects that were read last.
pub(super) struct Cache {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    slots: HashMap<Id, Entry>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

struct Entry {
    slot: Slot,
    size: usize,
    used: u64,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            kept: Mutex::default(),
        }
    }

    /// Hands out an object; several threads that want the same one wait for one of them to read
    /// it. `None` when it cannot be read.
    pub(super) fn with<T>(
        &self,
        archives: &Archives,
        id: &Id,
        work: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let slot = self.slot(id);
        let plain = slot.get_or_init(|| archives.read(id).ok());
        match plain {
            Some(plain) => {
                self.settle(id, plain.len());
                Some(work(plain))
            }
            None => {
                // The next one may have more luck: the store may have been away.
                self.forget(id);
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, id: &Id) -> Slot {
        let mut kept = self.lock();
        kept.clock += 1;
        let used = kept.clock;
        let entry = kept.slots.entry(*id).or_insert_with(|| Entry {
            slot: Slot::default(),
            size: 0,
            used,
        });
        entry.used = used;
        Arc::clone(&entry.slot)
    }

    /// Counts what was read, and lets go of what has not been used for longest.
    fn settle(&self, id: &Id, size: usize) {
        let mut kept = self.lock();
        match kept.slots.get_mut(id) {
            Some(entry) if entry.size == 0 && size > 0 => entry.size = size,
            _ => return,
        }
        kept.bytes += size;
        while kept.bytes > self.bytes_max {
            let settled = kept.slots.iter().filter(|(_, entry)| entry.size > 0);
            let oldest = settled.min_by_key(|(_, entry)| entry.used);
            let Some((oldest, size)) = oldest.map(|(id, entry)| (*id, entry.size)) else {
                return;
            };
            kept.slots.remove(&oldest);
            kept.bytes -= size;
        }
    }

    fn forget(&self, id: &Id) {
        let mut kept = self.lock();
        if let Some(entry) = kept.slots.remove(id) {
            kept.bytes -= entry.size;
        }
    }
}
