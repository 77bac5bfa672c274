//! The memory that content may take between the files and those who take it in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Least memory that can be worked with: 8 MiB.
pub(super) const MEMORY_MIN: usize = 8 << 20;

/// A number of bytes that is shared out.
///
/// A quarter of it is for batches that are read ahead of their turn. The batch whose turn it is may
/// use all of it. So it always comes forward, whatever was read ahead, as long as those who take
/// the content in hold less than the rest.
#[derive(Debug)]
pub(super) struct Memory {
    size: usize,
    /// Bytes that are shared out.
    used: AtomicUsize,
    /// Threads that wait for some.
    waiting: AtomicUsize,
    gate: Mutex<()>,
    freed: Condvar,
    /// Buffers of one size that are not in use, so that the system need not clear new ones.
    spare: Mutex<Vec<Vec<u8>>>,
    spare_size: usize,
}

/// Bytes of a [`Memory`], which has to outlive all its shares.
#[derive(Debug)]
pub(crate) struct Share {
    memory: Arc<Memory>,
    size: usize,
}

/// Who asks for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The batch that is handed on now.
    Now,
    /// One that comes later.
    Later,
}

/// Buffers that are kept for later.
const SPARE_MAX: usize = 2;

impl Memory {
    /// `spare_size`: the size of buffers that are worth keeping.
    pub(super) fn new(size: usize, spare_size: usize) -> Arc<Self> {
        Arc::new(Self {
            size: size.max(MEMORY_MIN),
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            gate: Mutex::default(),
            freed: Condvar::new(),
            spare: Mutex::default(),
            spare_size,
        })
    }

    /// Takes so many bytes if they are free.
    pub(super) fn try_take(self: &Arc<Self>, bytes: usize, turn: Turn) -> Option<Share> {
        let limit = match turn {
            Turn::Now => self.size,
            Turn::Later => self.size / 4,
        };
        self.used
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= limit)
            })
            .is_ok()
            .then(|| Share {
                memory: Arc::clone(self),
                size: bytes,
            })
    }

    /// Waits for so many bytes. `turn` says whose turn it is, or that there is nothing to wait for
    /// any more; whenever its answer changes, [`wake`](Self::wake) has to be called.
    pub(super) fn take(
        self: &Arc<Self>,
        bytes: usize,
        turn: impl Fn() -> Option<Turn>,
    ) -> Option<Share> {
        if let Some(share) = self.try_take(bytes, turn()?) {
            return Some(share);
        }
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever gives back looks at this number after that, and this thread at what is free
        // after it has announced itself: one of the two sees the other.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let share = loop {
            let Some(turn) = turn() else {
                break None;
            };
            if let Some(share) = self.try_take(bytes, turn) {
                break Some(share);
            }
            gate = self
                .freed
                .wait(gate)
                .unwrap_or_else(PoisonError::into_inner);
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        share
    }

    /// Lets all that wait look again.
    pub(super) fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.freed.notify_all();
        }
    }

    /// An empty buffer for so many bytes, one that is kept if they are as many.
    pub(super) fn buffer(&self, bytes: usize) -> Vec<u8> {
        if bytes != self.spare_size {
            return Vec::with_capacity(bytes);
        }
        let spare = self
            .spare
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        spare.unwrap_or_else(|| Vec::with_capacity(self.spare_size))
    }

    /// How many bytes are shared out.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::SeqCst)
    }
}

impl Share {
    /// Frees what is more than so many bytes.
    pub(super) fn cut(&mut self, size: usize) {
        if let Some(surplus @ 1..) = self.size.checked_sub(size) {
            self.size = size;
            self.memory.used.fetch_sub(surplus, Ordering::SeqCst);
            self.memory.wake();
        }
    }

    /// Frees the bytes, and keeps the buffer that they were for if it is worth it.
    pub(crate) fn give_back(self, mut buffer: Vec<u8>) {
        if buffer.capacity() == self.memory.spare_size {
            buffer.clear();
            let mut spare = self
                .memory
                .spare
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if spare.len() < SPARE_MAX {
                spare.push(buffer);
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.size, Ordering::SeqCst);
        self.memory.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc::channel;
    use std::thread;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_comes_later_leaves_the_rest_to_what_comes_now() {
        let memory = Memory::new(MEMORY_MIN, MIB);
        let later: Vec<_> = (0..2)
            .map(|_| memory.try_take(MIB, Turn::Later).unwrap())
            .collect();
        assert!(memory.try_take(1, Turn::Later).is_none());
        let now: Vec<_> = (0..6)
            .map(|_| memory.try_take(MIB, Turn::Now).unwrap())
            .collect();
        assert!(memory.try_take(1, Turn::Now).is_none());
        assert_eq!(memory.used(), MEMORY_MIN);
        drop((later, now));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn whoever_waits_goes_on_when_memory_is_freed_or_there_is_no_need_any_more() {
        let memory = Memory::new(MEMORY_MIN, MIB);
        let all = memory.try_take(MEMORY_MIN, Turn::Now).unwrap();
        let stopped = std::sync::atomic::AtomicBool::new(false);
        let turn = || (!stopped.load(Ordering::SeqCst)).then_some(Turn::Now);
        thread::scope(|scope| {
            let (sender, taken) = channel();
            let (memory, turn) = (&memory, &turn);
            scope.spawn(move || sender.send(memory.take(MIB, turn)));
            drop(all);
            assert!(taken.recv().unwrap().is_some());

            let all = memory.try_take(MEMORY_MIN, Turn::Now).unwrap();
            let (sender, taken) = channel();
            scope.spawn(move || sender.send(memory.take(MIB, turn)));
            stopped.store(true, Ordering::SeqCst);
            memory.wake();
            assert!(taken.recv().unwrap().is_none());
            drop(all);
        });
    }

    #[test]
    fn what_was_not_needed_of_a_share_is_free_for_others() {
        let memory = Memory::new(MEMORY_MIN, MIB);
        let mut share = memory.try_take(MEMORY_MIN, Turn::Now).unwrap();
        share.cut(MEMORY_MIN);
        assert_eq!(memory.used(), MEMORY_MIN);
        share.cut(10);
        assert_eq!(memory.used(), 10);
        drop(share);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn buffers_of_the_usual_size_are_used_again() {
        let memory = Memory::new(MEMORY_MIN, 4096);
        let mut buffer = memory.buffer(4096);
        let at = buffer.as_ptr();
        buffer.push(1);
        memory.try_take(4096, Turn::Now).unwrap().give_back(buffer);
        let again = memory.buffer(4096);
        assert_eq!((again.as_ptr(), again.len()), (at, 0));
    }
}
