//! Counter values of AES-CTR, each handed out once.
//!
//! A counter that is used twice with one key gives away both contents. So a range is reserved
//! on stable storage, both in the repository and on this machine, *before* the first value of
//! it is used: after a crash the rest of the range is lost, never used again. Decryption takes
//! the counter from the object and cannot move this one.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Counter values reserved beyond what is needed at once. One value is one block of 16 bytes.
///
/// Source: `NONCE_SPACE_RESERVATION` in Borg 1.4's `nonces.py`.
const RESERVATION_BLOCKS: u64 = 1 << 28;

/// Reserves counter values on stable storage.
pub trait Reservation: Send {
    /// What can go wrong.
    type Error;

    /// Reserves at least `blocks` values, none below `floor`, and gives the range.
    ///
    /// When this returns, the end of the range has been written to the repository and to this
    /// machine, and survives a crash. [`plan_reservation`] computes the range.
    ///
    /// # Errors
    ///
    /// When one of them cannot be written, or was changed by somebody else meanwhile. Nothing
    /// may be encrypted then.
    fn reserve(&mut self, floor: u64, blocks: u64) -> Result<Range<u64>, Self::Error>;
}

/// The range to reserve: it begins behind everything that any of `known` (what the repository,
/// this machine, and the manifest say) has reserved or used. `None` when all values are used up.
#[must_use]
pub fn plan_reservation(known: impl IntoIterator<Item = u64>, blocks: u64) -> Option<Range<u64>> {
    let start = known.into_iter().max().unwrap_or(0);
    let end = start
        .checked_add(blocks)?
        .checked_add(RESERVATION_BLOCKS)
        .filter(|&end| end < u64::MAX)?;
    Some(start..end)
}

/// Hands out counter values to any number of threads.
pub struct Counters<R: Reservation>(Mutex<State<R>>);

struct State<R> {
    free: Range<u64>,
    reservation: R,
}

impl<R: Reservation> Counters<R> {
    /// Begins without a reservation; nothing below `floor` will be handed out.
    ///
    /// `floor` is what [`super::Key::counter_after`] says of the manifest.
    pub fn new(floor: u64, reservation: R) -> Self {
        Self(Mutex::new(State {
            free: floor..floor,
            reservation,
        }))
    }

    /// Takes `blocks` values in a row and gives the first of them. Nobody else gets them.
    ///
    /// # Errors
    ///
    /// Those of the reservation, when the reserved values are used up.
    pub fn take(&self, blocks: u64) -> Result<u64, R::Error> {
        // A thread that panicked while reserving has moved nothing: `free` changes last.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.free.end - state.free.start < blocks {
            // Behind the end, not behind the last used value: one thread may still be about to
            // use the values it took before.
            let floor = state.free.end;
            let reserved = state.reservation.reserve(floor, blocks)?;
            assert!(
                reserved.start >= floor && reserved.end - reserved.start >= blocks,
                "a reservation must not overlap the former one"
            );
            state.free = reserved;
        }
        let first = state.free.start;
        state.free.start += blocks;
        Ok(first)
    }
}

impl<R: Reservation> fmt::Debug for Counters<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Counters({:?})", state.free)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Reserves little at a time, and remembers what is on "stable storage".
    struct Little(Arc<AtomicU64>);

    impl Reservation for Little {
        type Error = &'static str;

        fn reserve(&mut self, floor: u64, blocks: u64) -> Result<Range<u64>, &'static str> {
            let start = floor.max(self.0.load(Ordering::SeqCst));
            let end = start + blocks + 10;
            self.0.store(end, Ordering::SeqCst);
            Ok(start..end)
        }
    }

    #[test]
    fn no_value_is_handed_out_twice_or_before_it_was_reserved() {
        let stable = Arc::new(AtomicU64::new(50));
        let counters = Counters::new(100, Little(stable.clone()));
        let mut taken: Vec<Range<u64>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (1..5u64)
                .map(|blocks| {
                    let (counters, stable) = (&counters, &stable);
                    scope.spawn(move || {
                        (0..200)
                            .map(|_| {
                                let first = counters.take(blocks).unwrap();
                                assert!(first + blocks <= stable.load(Ordering::SeqCst));
                                first..first + blocks
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        taken.sort_by_key(|range| range.start);
        assert!(taken[0].start >= 100);
        assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }

    #[test]
    fn a_reservation_begins_behind_all_that_is_known() {
        assert_eq!(
            plan_reservation([7, 900, 30], 5),
            Some(900..905 + RESERVATION_BLOCKS)
        );
        assert_eq!(plan_reservation([], 1), Some(0..1 + RESERVATION_BLOCKS));
        assert_eq!(plan_reservation([u64::MAX - RESERVATION_BLOCKS], 1), None);
        assert_eq!(plan_reservation([u64::MAX], u64::MAX), None);
    }
}
