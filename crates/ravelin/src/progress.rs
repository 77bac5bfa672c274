//! Progress on a terminal: what was done, and how much of it there was the last time.
//!
//! There is no time that is left: the first run knows no total, and a later one reads only what
//! changed, so any such number would be made up.

use std::time::Duration;

use engine::Event;
use engine::event::Totals;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Mutex, PoisonError};

use crate::human;

/// Longest path that is shown; the end of a longer one says more than its beginning.
const PATH_WIDTH: usize = 40;

/// One line that is drawn over and over.
pub(crate) struct Progress {
    bar: ProgressBar,
    expected: Mutex<Option<Totals>>,
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
            expected: Mutex::new(None),
        }
    }

    /// Draws what an event says.
    pub(crate) fn hear(&self, event: &Event) {
        match event {
            Event::Started { expected, .. } => {
                *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = *expected;
            }
            Event::Progress { totals, path } => {
                let expected = *self.expected.lock().unwrap_or_else(PoisonError::into_inner);
                self.bar.set_message(format!(
                    "{}  {}",
                    reading(*totals, expected),
                    tail(&path.to_string())
                ));
            }
            Event::Committing { totals } => {
                self.bar
                    .set_message(format!("{}  committing", reading(*totals, None)));
            }
            Event::Step {
                layer,
                phase,
                done,
                total,
            } => {
                let count = match total {
                    0 => human::grouped(*done),
                    total => format!("{} of {}", human::grouped(*done), human::grouped(*total)),
                };
                self.bar.set_message(format!("{layer}: {phase}  {count}"));
            }
            _ => {}
        }
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

fn reading(totals: Totals, expected: Option<Totals>) -> String {
    let found = format!(
        "{}, {}",
        human::count(totals.files, "file"),
        human::size(totals.bytes)
    );
    let read = human::size(totals.read_bytes);
    match expected {
        Some(expected) if expected.files > totals.files => format!(
            "{found} ({read} read) of about {}, {}",
            human::grouped(expected.files),
            human::size(expected.bytes)
        ),
        _ => format!("{found} ({read} read)"),
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
        assert_eq!(reading(now, None), "1,200 files, 5.3 MB (7 B read)");
        assert_eq!(
            reading(now, Some(totals(2000, 9_000_000, 0))),
            "1,200 files, 5.3 MB (7 B read) of about 2,000, 9.0 MB"
        );
        assert_eq!(
            reading(now, Some(totals(1000, 1, 0))),
            "1,200 files, 5.3 MB (7 B read)"
        );
    }

    #[test]
    fn a_long_path_shows_its_end() {
        assert_eq!(tail("short"), "short");
        assert_eq!(tail(&"x".repeat(60)).chars().count(), PATH_WIDTH);
    }
}
