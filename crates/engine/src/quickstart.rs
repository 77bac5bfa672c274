//! From nothing to a proved backup in one go.

use serde::Serialize;

use crate::event::Watch;
use crate::layer::{Access, Depth};
use crate::machine::Context;
use crate::plan::{Wanted, plan};
use crate::proof::{Proof, prove};
use crate::report::{LayerResult, Outcome, Report};
use crate::run::run;
use crate::setup::create_layers;
use crate::verify::{VerifyReport, verify};
use crate::{Error, browse, config};

/// What a quickstart did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quickstart {
    /// The backup.
    pub backup: Report,
    /// The verification of the layers that were backed up, every byte read back. `None` when none
    /// was.
    pub verify: Option<VerifyReport>,
    /// The file that was restored and compared. `None` when the backup has none that could be.
    pub proof: Option<Proof>,
}

impl Quickstart {
    /// How it ended: the worst of its parts.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let verified = self
            .verify
            .as_ref()
            .map_or(Outcome::Good, |report| report.outcome);
        let proved = match &self.proof {
            Some(proof) if !proof.same => Outcome::Failed,
            _ => Outcome::Good,
        };
        match (self.backup.outcome, verified, proved) {
            (outcome @ (Outcome::Failed | Outcome::Stopped), _, _) => outcome,
            (_, outcome @ (Outcome::Failed | Outcome::Stopped), _) => outcome,
            (_, _, Outcome::Failed) => Outcome::Failed,
            (Outcome::Partial, _, _) | (_, Outcome::Partial, _) => Outcome::Partial,
            (outcome, _, _) => outcome,
        }
    }
}

/// Creates the layers that are missing, backs up to all of them, reads them back, and restores
/// one file as a proof.
///
/// # Errors
///
/// When a part could not begin. What goes wrong with a layer or a file stands in the reports.
pub fn quickstart(context: Context<'_>, watch: Watch<'_>) -> Result<Quickstart, Error> {
    let layers = context.config.layers.iter();
    let layers: Vec<_> = layers.filter(|layer| layer.is_runnable()).collect();
    create_layers(&layers, context)?;
    let backup = run(&plan(context, &Wanted::All)?, context, watch)?;
    let done: Vec<(&config::Layer, &str)> = backup
        .layers
        .iter()
        .filter_map(|report| match &report.result {
            LayerResult::Done { snapshot, .. } => {
                Some((context.config.layer(&report.layer)?, snapshot.as_str()))
            }
            _ => None,
        })
        .collect();
    let Some(&(first, snapshot)) = done.first() else {
        return Ok(Quickstart {
            backup,
            verify: None,
            proof: None,
        });
    };
    let verified: Vec<&config::Layer> = done.iter().map(|&(layer, _)| layer).collect();
    let verify = verify(&verified, Depth::Data, context, watch)?;
    let proof = if verify.outcome == Outcome::Stopped {
        None
    } else {
        let of_layer = || Error::of_layer(&first.name);
        let mut layer = (context.open)(first, Access::Read).map_err(of_layer())?;
        let snapshots = layer.snapshots().map_err(of_layer())?;
        let zone = context.machine.now().time_zone().clone();
        let snapshot = browse::choose(&snapshots, snapshot, &zone).map_err(of_layer())?;
        drop(layer);
        prove(first, &snapshot, context, watch)?
    };
    Ok(Quickstart {
        backup,
        verify: Some(verify),
        proof,
    })
}
