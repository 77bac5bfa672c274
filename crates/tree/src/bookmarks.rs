//! Where the threads of a scan stand in a list that has its order.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A bookmark for each thread that looks up what it scans, in a list of what was scanned before: the next
/// one mostly stands behind the last one. Threads read different folders, so one bookmark for all would be
/// wrong most of the time.
///
/// It is a guess: what stands there is compared. Beyond eight threads, some share theirs.
#[derive(Debug, Default)]
pub struct Bookmarks([Bookmark; THREADS]);

/// How many threads have a bookmark of their own.
const THREADS: usize = 8;

/// A place, alone in its line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Bookmark(AtomicUsize);

impl Bookmarks {
    /// Where this thread looks first.
    #[must_use]
    pub fn get(&self) -> usize {
        self.own().map_or(0, |place| place.load(Ordering::Relaxed))
    }

    /// Notes where this thread is to look first.
    pub fn set(&self, place: usize) {
        if let Some(own) = self.own() {
            own.store(place, Ordering::Relaxed);
        }
    }

    fn own(&self) -> Option<&AtomicUsize> {
        self.0.get(thread_number()).map(|bookmark| &bookmark.0)
    }
}

/// Tells threads apart, mostly.
fn thread_number() -> usize {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = COUNT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| number % THREADS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_their_own() {
        let bookmarks = Bookmarks::default();
        bookmarks.set(7);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(bookmarks.get(), 0);
                bookmarks.set(9);
            });
        });
        assert_eq!(bookmarks.get(), 7);
    }
}
