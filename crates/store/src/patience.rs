//! How long passing faults are put up with, and how the waiting between tries grows.

use std::time::{Duration, Instant};

use crate::{Error, ErrorKind};

/// Rules for trying again. The service's own Retry-After is the least that is waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the first failure of an operation on, so long tries go on.
    pub total: Duration,
    /// The longest first wait; it doubles with every try.
    pub wait_first: Duration,
    /// The longest wait that we choose ourselves.
    pub wait_max: Duration,
    /// A connection on which nothing moves for so long has failed.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self::PATIENT
    }
}

/// How often bytes that were damaged on the way are sent again: a bad memory chip does not pass.
const CORRUPT_TRIES: u32 = 3;

impl Patience {
    /// Half an hour, as fits a backup that runs by itself. The default.
    pub const PATIENT: Self = Self {
        total: Duration::from_secs(30 * 60),
        wait_first: Duration::from_secs(1),
        wait_max: Duration::from_secs(64),
        stall: Duration::from_secs(90),
    };

    /// No second try: for tests, and for a person who waits.
    pub const NONE: Self = Self {
        total: Duration::ZERO,
        wait_first: Duration::ZERO,
        wait_max: Duration::ZERO,
        stall: Duration::from_secs(60),
    };

    /// Calls `attempt` until it succeeds, fails for good, or patience ends. It is given the number
    /// of the try, from 0. When `stopping` is true, nothing is waited for any more; a first try is
    /// made all the same, so that what was begun can be tidied up.
    ///
    /// # Errors
    ///
    /// That of the last try, with [`Error::gave_up`] set when it was a passing one.
    pub fn run<T>(
        &self,
        random: &(dyn Fn(&mut [u8]) + Send + Sync),
        stopping: &(dyn Fn() -> bool + Send + Sync),
        mut attempt: impl FnMut(u32) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut first_failure = None;
        for number in 0_u32.. {
            let mut error = match attempt(number) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let corrupt = error.kind == ErrorKind::Corrupt && number + 1 < CORRUPT_TRIES;
            if error.gave_up || !(error.is_passing() || corrupt) {
                return Err(error);
            }
            let since = *first_failure.get_or_insert_with(Instant::now);
            let wait = self.wait(number, error.retry_after, random);
            if since.elapsed() + wait >= self.total || !pause(wait, stopping) {
                error.gave_up = true;
                return Err(error);
            }
        }
        Err(Error::new(ErrorKind::Unavailable, crate::Operation::Open))
    }

    /// The wait after try `number`: somewhere below a bound that doubles (so that many clients do
    /// not come back together), and never less than the service asked for.
    fn wait(
        &self,
        number: u32,
        least: Option<Duration>,
        random: &(dyn Fn(&mut [u8]) + Send + Sync),
    ) -> Duration {
        let bound = self
            .wait_first
            .saturating_mul(1 << number.min(16))
            .min(self.wait_max);
        let mut share = [0; 2];
        random(&mut share);
        let jittered = bound.mul_f64(f64::from(u16::from_le_bytes(share)) / 65535.0);
        jittered.max(least.unwrap_or_default())
    }
}

/// How often it is asked whether to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Sleeps, in slices. Gives `false`, early, when `stopping` is true.
pub(crate) fn pause(wait: Duration, stopping: &(dyn Fn() -> bool + Send + Sync)) -> bool {
    let until = Instant::now() + wait;
    loop {
        if stopping() {
            return false;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(LOOK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Operation;

    const QUICK: Patience = Patience {
        total: Duration::from_secs(5),
        wait_first: Duration::from_millis(1),
        wait_max: Duration::from_millis(4),
        stall: Duration::from_secs(1),
    };

    fn most(bytes: &mut [u8]) {
        bytes.fill(255);
    }

    fn never() -> bool {
        false
    }

    #[test]
    fn who_is_asked_to_stop_does_not_wait() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let asked = AtomicBool::new(false);
        let begun = Instant::now();
        let (error, tries) = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                asked.store(true, Ordering::Relaxed);
            });
            let mut tries = 0;
            let result = Patience {
                wait_first: Duration::from_secs(600),
                wait_max: Duration::from_secs(600),
                ..Patience::default()
            }
            .run::<()>(&most, &|| asked.load(Ordering::Relaxed), |_| {
                tries += 1;
                Err(passing())
            });
            (result.unwrap_err(), tries)
        });
        assert!(begun.elapsed() < Duration::from_secs(60));
        assert!(error.gave_up);
        assert_eq!(tries, 1);
    }

    fn passing() -> Error {
        Error::new(ErrorKind::Busy, Operation::Read)
    }

    #[test]
    fn a_passing_fault_is_tried_again_and_a_lasting_one_is_not() {
        let mut tries = 0;
        let result = QUICK.run(&most, &never, |number| {
            tries += 1;
            if number < 3 {
                Err(passing())
            } else {
                Ok(number)
            }
        });
        assert_eq!((result.unwrap(), tries), (3, 4));
        let mut tries = 0;
        let error = QUICK.run::<()>(&most, &never, |_| {
            tries += 1;
            Err(Error::new(ErrorKind::Denied, Operation::Read))
        });
        assert!(!error.unwrap_err().gave_up);
        assert_eq!(tries, 1);
    }

    #[test]
    fn who_gave_up_is_not_asked_to_start_over() {
        let error = Patience::NONE
            .run::<()>(&most, &never, |_| Err(passing()))
            .unwrap_err();
        assert!(error.gave_up);
        let mut error = Some(error);
        let mut tries = 0;
        QUICK
            .run::<()>(&most, &never, |_| {
                tries += 1;
                Err(error.take().unwrap())
            })
            .unwrap_err();
        assert_eq!(tries, 1);
    }

    #[test]
    fn the_service_says_the_least_wait_and_the_bound_doubles() {
        let second = Duration::from_secs(1);
        let patience = Patience::default();
        assert_eq!(patience.wait(0, None, &most), second);
        assert_eq!(patience.wait(3, None, &most), second * 8);
        assert_eq!(patience.wait(60, None, &most), second * 64);
        assert_eq!(patience.wait(0, Some(second * 90), &most), second * 90);
        // A wait longer than all patience is not begun.
        let error = QUICK.run::<()>(&most, &never, |_| {
            Err(Error {
                retry_after: Some(second * 60),
                ..passing()
            })
        });
        assert!(error.unwrap_err().gave_up);
    }

    #[test]
    fn damaged_bytes_are_sent_three_times_at_most() {
        let mut tries = 0;
        QUICK
            .run::<()>(&most, &never, |_| {
                tries += 1;
                Err(Error::new(ErrorKind::Corrupt, Operation::Write))
            })
            .unwrap_err();
        assert_eq!(tries, CORRUPT_TRIES);
    }
}
