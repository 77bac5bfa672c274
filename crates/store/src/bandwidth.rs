//! A limit on bytes per second, shared by all transfers of a store and changeable while they run.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes let through in one step: 20 steps a second at full speed, so that transfers flow evenly.
const STEPS_PER_SECOND: u64 = 20;

/// The least that goes through in one step.
const STEP_MIN: u64 = 1024;

/// Limits for both directions. Without a limit nothing is measured.
#[derive(Debug, Default)]
pub struct Bandwidth {
    up: Bucket,
    down: Bucket,
}

#[derive(Debug, Default)]
struct Bucket(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes_per_second: Option<u64>,
    /// When the bytes that were granted so far have been paid for.
    paid_until: Option<Instant>,
}

impl Bandwidth {
    /// Sets the limits in bytes per second; `None` is no limit. Transfers under way follow at once.
    pub fn set(&self, up: Option<u64>, down: Option<u64>) {
        for (bucket, limit) in [(&self.up, up), (&self.down, down)] {
            let mut state = bucket.0.lock().unwrap_or_else(PoisonError::into_inner);
            *state = State {
                bytes_per_second: limit,
                paid_until: None,
            };
        }
    }

    /// Whether what comes from the store has a limit now.
    pub(crate) fn limits_down(&self) -> bool {
        let state = self.down.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes_per_second.is_some()
    }

    /// A reader of what is sent to the store.
    pub(crate) fn up<R: Read>(self: &Arc<Self>, inner: R) -> Limited<R> {
        Limited {
            inner,
            bandwidth: Arc::clone(self),
            up: true,
        }
    }

    /// A reader of what comes from the store.
    pub(crate) fn down<R: Read>(self: &Arc<Self>, inner: R) -> Limited<R> {
        Limited {
            inner,
            bandwidth: Arc::clone(self),
            up: false,
        }
    }
}

impl Bandwidth {
    /// A writer of what is sent elsewhere than to a store.
    pub fn writer<W: Write>(self: &Arc<Self>, inner: W) -> LimitedWriter<W> {
        LimitedWriter {
            inner,
            bandwidth: Arc::clone(self),
        }
    }
}

impl Bucket {
    /// The most that may be read at once.
    fn step(&self, wanted: usize) -> usize {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes_per_second.map_or(wanted, |limit| {
            let step = (limit / STEPS_PER_SECOND).max(STEP_MIN);
            wanted.min(usize::try_from(step).unwrap_or(usize::MAX))
        })
    }

    /// Books `count` bytes and waits until they are paid for.
    fn pay(&self, count: usize, now: Instant) -> Duration {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(limit) = state.bytes_per_second.filter(|&limit| limit > 0) else {
            return Duration::ZERO;
        };
        let cost = Duration::from_nanos((count as u64).saturating_mul(1_000_000_000) / limit);
        let start = state.paid_until.unwrap_or(now).max(now);
        state.paid_until = Some(start + cost);
        start + cost - now
    }
}

/// A reader that keeps to the limit.
pub(crate) struct Limited<R> {
    inner: R,
    bandwidth: Arc<Bandwidth>,
    up: bool,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bucket = if self.up {
            &self.bandwidth.up
        } else {
            &self.bandwidth.down
        };
        let step = bucket.step(buffer.len());
        let count = self.inner.read(&mut buffer[..step])?;
        let wait = bucket.pay(count, Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        Ok(count)
    }
}

/// A writer that keeps to the limit for what is sent.
#[derive(Debug)]
pub struct LimitedWriter<W> {
    inner: W,
    bandwidth: Arc<Bandwidth>,
}

impl<W: Write> Write for LimitedWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let step = self.bandwidth.up.step(buffer.len());
        let count = self.inner.write(&buffer[..step])?;
        let wait = self.bandwidth.up.pay(count, Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_readers_share_one_limit() {
        let bandwidth = Bandwidth::default();
        bandwidth.set(Some(1000), None);
        let now = Instant::now();
        assert_eq!(bandwidth.up.pay(500, now), Duration::from_millis(500));
        assert_eq!(bandwidth.up.pay(500, now), Duration::from_secs(1));
        assert_eq!(bandwidth.down.pay(1 << 30, now), Duration::ZERO);
        // An idle time is not saved up.
        let later = now + Duration::from_secs(60);
        assert_eq!(bandwidth.up.pay(500, later), Duration::from_millis(500));
    }

    #[test]
    fn a_writer_sends_all_of_it_in_small_steps() {
        struct Steps(Vec<usize>);
        impl Write for Steps {
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                self.0.push(buffer.len());
                Ok(buffer.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bandwidth = Arc::new(Bandwidth::default());
        bandwidth.set(Some(1 << 30), Some(1));
        let mut writer = bandwidth.writer(Steps(Vec::new()));
        writer.write_all(&[0; 100 << 20]).unwrap();
        let Steps(steps) = &writer.inner;
        assert_eq!(steps.iter().sum::<usize>(), 100 << 20);
        assert_eq!(steps.iter().max(), Some(&((1 << 30) / 20)));
    }

    #[test]
    fn a_limit_can_be_lifted_while_it_runs() {
        let bandwidth = Arc::new(Bandwidth::default());
        bandwidth.set(Some(1), Some(1));
        bandwidth.set(None, None);
        let mut bytes = Vec::new();
        bandwidth
            .up([0; 100_000].as_slice())
            .read_to_end(&mut bytes)
            .unwrap();
        assert_eq!(bytes.len(), 100_000);
    }
}
