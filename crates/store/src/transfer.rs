//! Several transfers at once: the same work for each item, a few threads, results in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Does `work` for every item on up to `parallel` threads and gives the results in the order of
/// the items.
///
/// Items are taken one by one as threads become free, so memory is bounded by `parallel` items.
///
/// # Errors
///
/// The first error in time; no further items are begun then, those under way are finished.
pub fn in_parallel<I, T, E>(
    items: I,
    parallel: usize,
    work: impl Fn(I::Item) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E>
where
    I: IntoIterator,
    I::IntoIter: Send,
    I::Item: Send,
    T: Send,
    E: Send,
{
    let items = Mutex::new(items.into_iter().enumerate());
    let stopped = AtomicBool::new(false);
    let results = Mutex::new((BTreeMap::new(), None));
    let worker = || {
        while !stopped.load(Ordering::Relaxed) {
            let next = items.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((index, item)) = next else { return };
            let result = work(item);
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(value) => {
                    results.0.insert(index, value);
                }
                Err(error) => {
                    results.1.get_or_insert(error);
                    stopped.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    if parallel <= 1 {
        worker();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..parallel {
                scope.spawn(worker);
            }
        });
    }
    let (values, error) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    error.map_or_else(|| Ok(values.into_values().collect()), Err)
}

/// A number of permits: who wants one waits until another gives it back.
///
/// Shared by all users of an account, so that a service that asks for fewer requests gets fewer.
#[derive(Debug)]
pub struct Permits {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    taken: usize,
    limit: usize,
    most: usize,
    good: usize,
}

/// One permit; given back when dropped.
#[derive(Debug)]
pub struct Permit<'a>(&'a Permits);

impl Permits {
    /// So many permits; at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let most = most.max(1);
        let state = State {
            taken: 0,
            limit: most,
            most,
            good: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Waits for a permit.
    pub fn take(&self) -> Permit<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.taken >= state.limit {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.taken += 1;
        Permit(self)
    }

    /// The service asked for fewer requests: half as many at once from now on.
    pub fn fewer(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.limit = (state.limit / 2).max(1);
        state.good = 0;
    }

    /// A request went well. After a round of them, one more at once is tried.
    pub fn went_well(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.good += 1;
        if state.good >= state.limit * 8 && state.limit < state.most {
            state.limit += 1;
            state.good = 0;
            self.changed.notify_one();
        }
    }

    /// How many may be taken at once at present.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .limit
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .taken -= 1;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn results_come_in_order_and_no_more_run_at_once_than_allowed() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results = in_parallel(0..40, 4, |item| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(std::time::Duration::from_millis(1));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(item * 2)
        });
        assert_eq!(
            results.unwrap(),
            (0..40).map(|item| item * 2).collect::<Vec<_>>()
        );
        assert!(most.into_inner() <= 4);
    }

    #[test]
    fn after_an_error_nothing_new_is_begun() {
        let begun = AtomicUsize::new(0);
        let result = in_parallel(0..1000, 2, |item| {
            begun.fetch_add(1, Ordering::SeqCst);
            if item == 3 { Err("broken") } else { Ok(()) }
        });
        assert_eq!(result, Err("broken"));
        assert!(begun.into_inner() < 1000);
    }

    #[test]
    fn permits_shrink_quickly_and_grow_slowly() {
        let permits = Permits::new(8);
        permits.fewer();
        permits.fewer();
        assert_eq!(permits.limit(), 2);
        for _ in 0..16 {
            drop(permits.take());
            permits.went_well();
        }
        assert_eq!(permits.limit(), 3);
    }
}
