//! How long the rest will take: a range, made from what was seen so far.
//!
//! Nobody knows: the next folder may hold one large file or a hundred thousand small ones. So each
//! measure of the work (files, bytes) is looked at with two rates, since the beginning and of the last
//! half minute, and the range spans what all of them say. Before half a minute has passed nothing is
//! said; neither where the range would be too wide to help; and never that nothing is left.

use std::collections::VecDeque;
use std::time::Duration;

/// Before that a rate says nothing.
const SILENT: Duration = Duration::from_secs(30);
/// What the recent rate is taken from.
const WINDOW: Duration = Duration::from_secs(30);
/// Samples are at least so far apart.
const STEP: Duration = Duration::from_secs(1);
/// A range whose ends differ more says nothing.
const WIDEST: u32 = 12;

/// Observes how work goes on. `N` measures of it, such as files and bytes.
#[derive(Debug)]
pub(crate) struct Rest<const N: usize> {
    samples: VecDeque<(Duration, [u64; N])>,
}

impl<const N: usize> Rest<N> {
    pub(crate) fn new() -> Self {
        Self {
            samples: VecDeque::new(),
        }
    }

    /// So much was `done` when so much time had `passed` since the beginning.
    pub(crate) fn observe(&mut self, passed: Duration, done: [u64; N]) {
        let newest = self.samples.back().map(|&(at, _)| at);
        if newest.is_some_and(|at| passed < at + STEP) {
            return;
        }
        self.samples.push_back((passed, done));
        // One sample that is older than the window stays, for the window begins there.
        while self
            .samples
            .get(1)
            .is_some_and(|&(second, _)| second + WINDOW <= passed)
        {
            self.samples.pop_front();
        }
    }

    /// What was done in a second lately, by one measure.
    pub(crate) fn rate(&self, measure: usize) -> Option<u64> {
        let (&(from, before), &(to, now)) = (self.samples.front()?, self.samples.back()?);
        let passed = u64::try_from((to - from).as_millis())
            .ok()
            .filter(|&passed| passed > 0)?;
        let done = now.get(measure)?.checked_sub(*before.get(measure)?)?;
        u64::try_from(u128::from(done) * 1000 / u128::from(passed)).ok()
    }

    /// The least and the most that the rest of `total` may take.
    pub(crate) fn left(&self, total: [u64; N]) -> Option<(Duration, Duration)> {
        let &(passed, done) = self.samples.back()?;
        if passed < SILENT {
            return None;
        }
        let mut range: Option<(Duration, Duration)> = None;
        for (index, (&done, &total)) in done.iter().zip(&total).enumerate() {
            let Some(remaining) = total.checked_sub(done).filter(|&left| left > 0 && done > 0)
            else {
                continue;
            };
            let seconds = u128::from(remaining) * passed.as_millis() / u128::from(done);
            let overall = u64::try_from(seconds).ok().map(Duration::from_millis);
            let rate = self.rate(index).filter(|&rate| rate > 0);
            let recent = rate.map(|rate| Duration::from_secs(remaining.div_ceil(rate)));
            for estimate in [overall, recent].into_iter().flatten() {
                let (low, high) = range.get_or_insert((estimate, estimate));
                *low = estimate.min(*low);
                *high = estimate.max(*high);
            }
        }
        // A tenth more on both sides: the last piece is never like the others.
        let (low, high) = range.map(|(low, high)| (low * 9 / 10, high * 11 / 10))?;
        let at_least = low.max(Duration::from_secs(20));
        (high <= at_least * WIDEST).then_some((low, high))
    }
}

/// A range in words: `2 to 5 min left`. Rounded outwards, and never nothing.
pub(crate) fn words((low, high): (Duration, Duration)) -> String {
    let minutes = |duration: Duration| duration.as_secs() / 60;
    let minutes_up = |duration: Duration| duration.as_secs().div_ceil(60).max(1);
    let (low, high) = match (minutes(low), minutes_up(high)) {
        (0, 1) => return "less than a minute left".to_owned(),
        (0, high) if high < 90 => return format!("up to {high} min left"),
        (low, high) if high < 90 => return range(low, high, "min"),
        (low, _) if low < 60 => {
            let high = high.as_secs().div_ceil(3600);
            return format!("{} min to {high} h left", low.max(1));
        }
        (low, high) => (low / 60, high.div_ceil(60)),
    };
    range(low, high, "h")
}

fn range(low: u64, high: u64, unit: &str) -> String {
    if low == high {
        format!("about {low} {unit} left")
    } else {
        format!("{low} to {high} {unit} left")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_is_said_in_the_first_half_minute() {
        let mut rest = Rest::new();
        for second in 1..30 {
            rest.observe(seconds(second), [second * 10]);
            assert_eq!(rest.left([1000]), None, "{second}");
        }
        rest.observe(seconds(30), [300]);
        let (low, high) = rest.left([1000]).unwrap();
        assert!(low < seconds(70) && seconds(70) < high, "{low:?} {high:?}");
    }

    #[test]
    fn the_range_spans_what_files_and_bytes_say_and_what_was_lately() {
        let mut rest = Rest::new();
        // Many small files first, then few large ones.
        for second in 1..=60 {
            let files = if second <= 20 {
                second * 100
            } else {
                2000 + second - 20
            };
            rest.observe(seconds(second), [files, second * 1_000_000]);
        }
        // 140 s by bytes and by the files of late, which crawl; 4 s by all files.
        let (low, high) = rest.left([2180, 200_000_000]).unwrap();
        assert!(
            low <= seconds(5) && high >= seconds(140),
            "{low:?} {high:?}"
        );
        assert_eq!(rest.rate(1), Some(1_000_000));
    }

    #[test]
    fn what_was_expected_and_is_exceeded_says_nothing() {
        let mut rest = Rest::new();
        for second in 1..=40 {
            rest.observe(seconds(second), [second]);
        }
        assert_eq!(rest.left([40]), None);
        assert_eq!(rest.left([30]), None);
    }

    #[test]
    fn a_range_that_is_too_wide_is_not_told() {
        let mut rest = Rest::new();
        for second in 1..=60 {
            rest.observe(seconds(second), [second.min(20) * 1000 + second]);
        }
        assert_eq!(rest.left([2_000_000]), None);
    }

    #[test]
    fn never_nothing_is_left() {
        for (low, high, text) in [
            (0, 0, "less than a minute left"),
            (3, 59, "less than a minute left"),
            (30, 61, "up to 2 min left"),
            (125, 290, "2 to 5 min left"),
            (120, 120, "about 2 min left"),
            (1800, 9000, "30 min to 3 h left"),
            (7200, 14_300, "2 to 4 h left"),
        ] {
            assert_eq!(words((seconds(low), seconds(high))), text);
        }
    }
}
