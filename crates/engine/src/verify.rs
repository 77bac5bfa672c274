//! Reading layers back: what the program says is verified was looked at just now.

use std::ops::ControlFlow;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Event, Verb, Watch};
use crate::explain::{Explanation, explain_layer};
use crate::layer::{Access, Depth, PartVerified, Verification, VerifyStep};
use crate::machine::Context;
use crate::operation::{Operation, go_through};
use crate::report::Outcome;
use crate::{Error, config};

/// What a verification of one or more layers found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VerifyReport {
    /// Identifies the operation.
    pub run: String,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    pub finished: Timestamp,
    /// How deep it went.
    pub depth: Depth,
    /// How it ended: [`Outcome::Failed`] also when damage was found.
    pub outcome: Outcome,
    /// What was found in each layer.
    pub layers: Vec<LayerVerification>,
}

impl VerifyReport {
    /// Whether everything was looked at and nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.outcome == Outcome::Good
    }
}

/// What was found in one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerVerification {
    /// Which layer.
    pub layer: String,
    /// What was found, or why it could not be looked at.
    #[serde(flatten)]
    pub result: VerifyResult,
}

/// How the verification of one layer ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum VerifyResult {
    /// It was looked at; what is wrong stands in the findings.
    Done(Verification),
    /// It could not be looked at.
    Failed {
        /// Why, and what can be done.
        failure: Explanation,
    },
}

impl VerifyResult {
    /// Whether everything was looked at and nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Done(done) if done.findings.is_empty() && !done.stopped)
    }
}

/// What a verification of a part of one layer found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartReport {
    /// Which layer.
    pub layer: String,
    /// What was found.
    #[serde(flatten)]
    pub found: PartVerified,
}

/// Reads a part of a layer back, for about so long, and goes on where the last such verification
/// has stopped: on a store that is too large to be read at once, all of it is read in turn.
///
/// Damage is recorded, as by [`verify`]; that a part is good is not taken for a verification.
///
/// # Errors
///
/// When it cannot be done with this layer, or not be recorded.
pub fn verify_for(
    layer: &config::Layer,
    limit: Duration,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<PartReport, Error> {
    let machine = context.machine;
    let clock = || (machine.clock)().timestamp();
    let failed = || Error::of_layer(&layer.name);
    let mut open = (context.open)(layer, Access::Write).map_err(failed())?;
    let found = open.verify_for(limit, &mut |step| {
        // It ends by its limit.
        let _ = watch.step(&layer.name, step);
    });
    let found = found.map_err(failed())?;
    if !found.findings.is_empty() {
        let started = clock();
        let operation = Operation::begin(Verb::Verify, [layer], started, None, machine, None)?;
        operation.tell(Event::Verified {
            layer: layer.name.clone(),
            depth: Depth::Structure,
            at: clock(),
            findings: found.findings.clone(),
        });
        operation.finish(clock(), Outcome::Failed, None, 0);
    }
    Ok(PartReport {
        layer: layer.name.clone(),
        found,
    })
}

/// Reads layers back, one after another.
///
/// # Errors
///
/// When the operation could not be recorded. What is wrong with a layer stands in the report.
pub fn verify(
    layers: &[&config::Layer],
    depth: Depth,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<VerifyReport, Error> {
    let clock = || context.machine.now().timestamp();
    let is_good = |report: &LayerVerification| Some(report.result.is_good());
    let verb = Verb::Verify;
    let report = go_through(verb, layers, context, watch, is_good, |operation, layer| {
        let name = &layer.name;
        let on_step = &mut |step: VerifyStep| watch.step(name, step);
        let verified =
            (context.open)(layer, Access::Read).and_then(|mut open| open.verify(depth, on_step));
        let result = match verified {
            Ok(found) => {
                if !found.stopped {
                    operation.tell(Event::Verified {
                        layer: name.clone(),
                        depth,
                        at: clock(),
                        findings: found.findings.clone(),
                    });
                }
                VerifyResult::Done(found)
            }
            Err(error) => {
                let failure = explain_layer(&error, name);
                operation.layer_failed(name, clock(), &failure);
                VerifyResult::Failed { failure }
            }
        };
        ControlFlow::Continue(LayerVerification {
            layer: name.clone(),
            result,
        })
    })?;
    Ok(VerifyReport {
        run: report.run,
        started: report.started,
        finished: report.finished,
        depth,
        outcome: report.outcome,
        layers: report.layers,
    })
}
