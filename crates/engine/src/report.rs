//! How an operation ended.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::{ProblemRecord, Totals};
use crate::explain::{Code, Explanation};
use crate::guard::Alarm;
use crate::layer::Statistics;

/// Most problems that a report names one by one. All are counted, and the history names all.
const PROBLEMS_NAMED_MAX: usize = 1000;

/// What a backup did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Identifies the run; its events stand in the history under this name.
    pub run: String,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    pub finished: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found in the sources.
    pub totals: Totals,
    /// How each layer fared, in the order of the plan.
    pub layers: Vec<LayerReport>,
    /// What could not be read.
    pub problems: Problems,
    /// Why nothing old is removed until a person says go on, when an alarm stands.
    pub guard: Option<Alarm>,
}

/// What came of one thing that was done with layers, one after another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayersReport<L> {
    /// Identifies the operation.
    pub run: String,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    pub finished: Timestamp,
    /// How it ended: [`Outcome::Failed`] also when what was found is bad.
    pub outcome: Outcome,
    /// What came of each layer that it got to.
    pub layers: Vec<L>,
}

/// How one layer fared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    /// Which layer.
    pub layer: String,
    /// How it ended.
    #[serde(flatten)]
    pub result: LayerResult,
}

/// How it ended for one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum LayerResult {
    /// The snapshot is committed.
    Done {
        /// Its name.
        snapshot: String,
        /// What it took.
        statistics: Statistics,
        /// Earlier snapshots of the layer that were found damaged on the way.
        damaged: Vec<String>,
    },
    /// There is no new snapshot.
    Failed {
        /// Why, and what can be done.
        failure: Explanation,
    },
    /// The run was stopped before the layer could commit.
    Stopped,
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything was done.
    Good,
    /// Every layer is good, but some files were left out, which the problems name, or an earlier
    /// snapshot was found damaged.
    Skipped,
    /// Some layers are good, some failed.
    Partial,
    /// No layer is good.
    Failed,
    /// It was stopped before its end.
    Stopped,
}

impl Outcome {
    /// How an operation ended that was stopped, or in which so many of its layers are good.
    #[must_use]
    pub fn of_layers(good: usize, all: usize, stopped: bool) -> Self {
        if stopped {
            Self::Stopped
        } else if good == all {
            Self::Good
        } else if good == 0 {
            Self::Failed
        } else {
            Self::Partial
        }
    }
}

/// The objects that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Problems {
    /// How many there were.
    pub count: u64,
    /// The first of them, at most a thousand.
    pub first: Vec<ProblemRecord>,
}

impl Problems {
    /// Counts one more.
    pub fn add(&mut self, problem: ProblemRecord) {
        self.count += 1;
        if self.first.len() < PROBLEMS_NAMED_MAX {
            self.first.push(problem);
        }
    }
}

impl Report {
    /// How a run ended whose layers fared so.
    #[must_use]
    pub fn outcome_of(layers: &[LayerReport], problems: &Problems) -> Outcome {
        let count = |wanted: fn(&LayerResult) -> bool| {
            layers.iter().filter(|layer| wanted(&layer.result)).count()
        };
        let stopped = count(|result| matches!(result, LayerResult::Stopped));
        let failed = count(|result| matches!(result, LayerResult::Failed { .. }));
        let hurt = count(
            |result| matches!(result, LayerResult::Done { damaged, .. } if !damaged.is_empty()),
        );
        if stopped > 0 {
            Outcome::Stopped
        } else if failed == layers.len() {
            Outcome::Failed
        } else if failed > 0 {
            Outcome::Partial
        } else if problems.count > 0 || hurt > 0 {
            Outcome::Skipped
        } else {
            Outcome::Good
        }
    }

    /// Why nothing was backed up, when all layers failed for one and the same reason.
    #[must_use]
    pub fn common_failure(&self) -> Option<Code> {
        let mut codes = self.layers.iter().map(|layer| match &layer.result {
            LayerResult::Failed { failure } => Some(failure.code),
            _ => None,
        });
        let first = codes.next()??;
        codes.all(|code| code == Some(first)).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(results: &[&str], problem_count: u64) -> Outcome {
        let layers: Vec<LayerReport> = results
            .iter()
            .map(|&result| LayerReport {
                layer: "disk".to_owned(),
                result: match result {
                    "done" | "hurt" => LayerResult::Done {
                        snapshot: "s".to_owned(),
                        statistics: Statistics::default(),
                        damaged: match result {
                            "hurt" => vec!["r".to_owned()],
                            _ => Vec::new(),
                        },
                    },
                    "failed" => LayerResult::Failed {
                        failure: Explanation::of_code(Code::Unexpected),
                    },
                    _ => LayerResult::Stopped,
                },
            })
            .collect();
        let problems = Problems {
            count: problem_count,
            ..Problems::default()
        };
        Report::outcome_of(&layers, &problems)
    }

    #[test]
    fn the_outcome_is_the_worst_that_happened() {
        assert_eq!(outcome(&["done", "done"], 0), Outcome::Good);
        assert_eq!(outcome(&["done"], 1), Outcome::Skipped);
        assert_eq!(outcome(&["done", "hurt"], 0), Outcome::Skipped);
        assert_eq!(outcome(&["done", "failed"], 1), Outcome::Partial);
        assert_eq!(outcome(&["failed", "failed"], 0), Outcome::Failed);
        assert_eq!(outcome(&["failed", "stopped"], 0), Outcome::Stopped);
    }
}
