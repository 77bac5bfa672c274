//! Progress on a terminal: what was done, how fast, and how much of it there was the last time.
//!
//! The first run knows no total, and a later one reads only what changed: so what is left is a range,
//! told after half a minute and only where there is something to tell it by. See [`crate::rest`].

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::Event;
use engine::event::Totals;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::human;
use crate::rest::{Rest, words};

/// Longest path that is shown; the end of a longer one says more than its beginning.
const PATH_WIDTH: usize = 40;

/// One line that is drawn over and over.
pub(crate) struct Progress {
    bar: ProgressBar,
    course: Mutex<Course>,
}

/// How the work went so far.
#[derive(Debug)]
struct Course {
    /// What the last reading of the sources found.
    expected: Option<Totals>,
    began: Instant,
    /// Of the sources: files and bytes that were found, bytes that were read.
    reading: Rest<3>,
    /// The phase of a layer that is under way, since when, and how much of it was done.
    step: Option<(String, Instant, Rest<1>)>,
}

impl Course {
    fn new() -> Self {
        Self {
            expected: None,
            began: Instant::now(),
            reading: Rest::new(),
            step: None,
        }
    }

    fn progress(&mut self, totals: Totals) -> String {
        let done = [totals.files, totals.bytes, totals.read_bytes];
        self.reading.observe(self.began.elapsed(), done);
        let rate = self.reading.rate(2);
        let mut text = reading(totals, rate, self.expected);
        // What was read the last time says nothing: most of it did not change.
        let total = self.expected.map(|it| [it.files, it.bytes, 0]);
        if let Some(left) = total.and_then(|total| self.reading.left(total)) {
            text.push_str(&format!("  {}", words(left)));
        }
        text
    }

    fn step(&mut self, layer: &str, phase: &str, done: u64, total: u64) -> String {
        let name = format!("{layer}: {phase}");
        let step = match &mut self.step {
            Some(step) if step.0 == name => step,
            step => step.insert((name.clone(), Instant::now(), Rest::new())),
        };
        step.2.observe(step.1.elapsed(), [done]);
        let count = match total {
            0 => human::grouped(done),
            total => format!("{} of {}", human::grouped(done), human::grouped(total)),
        };
        let left = step
            .2
            .left([total])
            .map(|left| format!("  {}", words(left)));
        format!("{name}  {count}{}", left.unwrap_or_default())
    }
}

impl Progress {
    /// A line on stderr; nothing is drawn when nobody watches.
    pub(crate) fn new(draws: bool) -> Self {
        let target = if draws {
            ProgressDrawTarget::stderr_with_hz(8)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        if draws {
            bar.enable_steady_tick(Duration::from_millis(125));
        }
        Self {
            bar,
            course: Mutex::new(Course::new()),
        }
    }

    /// Draws what an event says.
    pub(crate) fn hear(&self, event: &Event) {
        let mut course = self.course.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Started { expected, .. } => {
                *course = Course::new();
                course.expected = *expected;
            }
            Event::Progress { totals, path } => {
                let text = course.progress(*totals);
                self.bar
                    .set_message(format!("{text}  {}", tail(&path.to_string())));
            }
            Event::Committing { totals } => {
                self.bar
                    .set_message(format!("{}  committing", reading(*totals, None, None)));
            }
            Event::Step {
                layer,
                phase,
                done,
                total,
            } => {
                self.bar
                    .set_message(course.step(layer, phase, *done, *total));
            }
            _ => {}
        }
    }

    /// Writes something that stays above the line.
    pub(crate) fn aside(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Draws a text.
    pub(crate) fn say(&self, text: &'static str) {
        self.bar.set_message(text);
    }

    /// Clears the line, so that text can follow.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// What was found, and how fast it is read: `rate` is in bytes a second.
fn reading(totals: Totals, rate: Option<u64>, expected: Option<Totals>) -> String {
    let found = format!(
        "{}, {}",
        human::count(totals.files, "file"),
        human::size(totals.bytes)
    );
    let mut read = human::size(totals.read_bytes) + " read";
    if let Some(rate) = rate.filter(|&rate| rate > 0) {
        read.push_str(&format!(", {}/s", human::size(rate)));
    }
    match expected {
        Some(expected) if expected.files > totals.files => format!(
            "{found} ({read}) of about {}, {}",
            human::grouped(expected.files),
            human::size(expected.bytes)
        ),
        _ => format!("{found} ({read})"),
    }
}

fn tail(path: &str) -> String {
    let length = path.chars().count();
    if length <= PATH_WIDTH {
        return path.to_owned();
    }
    let end: String = path.chars().skip(length - PATH_WIDTH + 1).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_from_last_time_is_called_about() {
        let totals = |files, bytes, read_bytes| Totals {
            entries: files,
            files,
            bytes,
            read_bytes,
        };
        let now = totals(1200, 5_300_000, 7);
        assert_eq!(reading(now, None, None), "1,200 files, 5.3 MB (7 B read)");
        assert_eq!(
            reading(now, Some(8_500_000), Some(totals(2000, 9_000_000, 0))),
            "1,200 files, 5.3 MB (7 B read, 8.5 MB/s) of about 2,000, 9.0 MB"
        );
        assert_eq!(
            reading(now, None, Some(totals(1000, 1, 0))),
            "1,200 files, 5.3 MB (7 B read)"
        );
    }

    #[test]
    fn a_long_path_shows_its_end() {
        assert_eq!(tail("short"), "short");
        assert_eq!(tail(&"x".repeat(60)).chars().count(), PATH_WIDTH);
    }
}
