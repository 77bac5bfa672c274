//! How often guests may ask. A guest is known by a link alone: no session, and no address that a
//! proxy could not have invented.
//!
//! Each link that is ours has a measure of its own; all that is guessed shares one. Whoever guesses
//! is slowed down, and whoever holds a link that was used before does not notice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Requests at once; one more each second.
const BURST: i64 = 60;
/// Links that are remembered; beyond that, all are forgotten.
const KNOWN_MAX: usize = 10_000;

/// Counts the requests of guests.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    measures: Mutex<Measures>,
}

#[derive(Debug, Default)]
struct Measures {
    known: HashMap<String, Measure>,
    unknown: Measure,
}

/// How much of the burst is used up, and when that was true.
#[derive(Debug, Default, Clone, Copy)]
struct Measure {
    used: i64,
    at: i64,
}

impl Measure {
    fn take(&mut self, now: Timestamp) -> Result<(), i64> {
        let now = now.as_second();
        let passed = now.saturating_sub(self.at).max(0);
        self.used = self.used.saturating_sub(passed).max(0);
        self.at = now;
        if self.used >= BURST {
            return Err(self.used - BURST + 1);
        }
        self.used += 1;
        Ok(())
    }
}

impl Rate {
    /// Whether somebody with this token may ask now; else, how many seconds to wait.
    pub(crate) fn take(&self, token: &str, now: Timestamp) -> Result<(), i64> {
        let mut measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        let measures = &mut *measures;
        let measure = measures.known.get_mut(token);
        measure.unwrap_or(&mut measures.unknown).take(now)
    }

    /// The token turned out to be one of ours.
    pub(crate) fn know(&self, token: &str) {
        let mut measures = self.measures.lock().unwrap_or_else(PoisonError::into_inner);
        if measures.known.len() >= KNOWN_MAX {
            measures.known.clear();
        }
        measures.known.entry(token.to_owned()).or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn who_guesses_waits_and_who_has_a_link_does_not() {
        let rate = Rate::default();
        rate.know("ours");
        for guess in 0..BURST {
            assert_eq!(rate.take(&guess.to_string(), at(0)), Ok(()));
        }
        assert_eq!(rate.take("another", at(0)), Err(1));
        assert_eq!(rate.take("ours", at(0)), Ok(()));
        assert_eq!(rate.take("another", at(1)), Ok(()));
        assert_eq!(rate.take("another", at(1)), Err(1));
        // A clock that goes back gives nobody more.
        assert_eq!(rate.take("another", at(-100)), Err(1));
    }

    #[test]
    fn a_link_is_bounded_too() {
        let rate = Rate::default();
        rate.know("ours");
        let taken = (0..2 * BURST).filter(|_| rate.take("ours", at(0)).is_ok());
        assert_eq!(taken.count(), 60);
    }
}
