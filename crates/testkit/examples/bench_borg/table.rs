//! The measurements as a table.

use std::fmt::Write as _;

use ravelin_testkit::Usage;
use ravelin_testkit::corpus::Set;

use crate::contender::{Mode, Step};

/// One step of one program in one run.
pub(crate) struct Measurement {
    pub(crate) set: Set,
    pub(crate) mode: Mode,
    pub(crate) step: Step,
    pub(crate) ours: bool,
    pub(crate) used: Usage,
    /// Bytes of the repository after the step.
    pub(crate) stored: u64,
}

/// All of them.
#[derive(Default)]
pub(crate) struct Results {
    measurements: Vec<Measurement>,
}

/// The medians of one program at one step.
struct Medians {
    wall: f64,
    processor: f64,
    memory: f64,
    stored: f64,
}

impl Results {
    pub(crate) fn add(&mut self, measurement: Measurement) {
        self.measurements.push(measurement);
    }

    /// A line for each data set, mode and step, in the order in which they were measured.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = String::from(
            "| data | mode | step | borg s | ravelin s | × | borg CPU s | ravelin CPU s | × CPU \
             | borg MiB | ravelin MiB | borg MB stored | ravelin MB stored |\n\
             |---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        let mut seen: Vec<(Set, &Mode, Step)> = Vec::new();
        for one in &self.measurements {
            let row = (one.set, &one.mode, one.step);
            if seen.contains(&row) {
                continue;
            }
            seen.push(row);
            let (Some(borg), Some(ours)) = (self.medians(row, false), self.medians(row, true))
            else {
                continue;
            };
            let line = format!(
                "| {} | {} | {} | {:.2} | {:.2} | **{:.1}** | {:.2} | {:.2} | {:.1} | {:.0} \
                 | {:.0} | {:.1} | {:.1} |",
                one.set.name(),
                one.mode,
                one.step,
                borg.wall,
                ours.wall,
                borg.wall / ours.wall,
                borg.processor,
                ours.processor,
                borg.processor / ours.processor,
                borg.memory,
                ours.memory,
                borg.stored,
                ours.stored,
            );
            // Writing to a string does not fail.
            let _ = writeln!(text, "{line}");
        }
        text
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
    fn medians(&self, row: (Set, &Mode, Step), ours: bool) -> Option<Medians> {
        let of = |value: &dyn Fn(&Measurement) -> f64| {
            let values = self
                .measurements
                .iter()
                .filter(|one| (one.set, &one.mode, one.step) == row && one.ours == ours)
                .map(value);
            median(values.collect())
        };
        Some(Medians {
            wall: of(&|one| one.used.wall.as_secs_f64())?,
            processor: of(&|one| one.used.processor().as_secs_f64())?,
            memory: of(&|one| one.used.peak_memory as f64 / f64::from(1 << 20))?,
            stored: of(&|one| one.stored as f64 / 1e6)?,
        })
    }
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(f64::midpoint(*values.get(low)?, *values.get(high)?))
}
