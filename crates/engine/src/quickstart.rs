//! From nothing to a proved backup in one go.

use serde::Serialize;

use crate::event::Watch;
use crate::layer::{Access, Depth};
use crate::machine::Context;
use crate::plan::{Wanted, plan};
use crate::proof::{Proof, prove};
use crate::report::{LayerResult, Outcome, Report};
use crate::run::run;
use crate::setup::{Created, create_layers};
use crate::status::status;
use crate::verify::{VerifyReport, verify};
use crate::{Error, browse, config};

/// What a quickstart did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Quickstart {
    /// The layers that had to be there, and which of them were made.
    #[serde(skip)]
    pub created: Vec<(String, Created)>,
    /// The backup.
    pub backup: Report,
    /// The verification of the layers that were backed up, every byte read back. `None` when none
    /// was.
    pub verify: Option<VerifyReport>,
    /// The file that was restored and compared. `None` when the backup has none that could be, or
    /// the verification was not good.
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
    // A layer that had snapshots and is not there any more is on a drive that is away: another one
    // in its place would hide that.
    let known = status(context)?;
    let is_new = |layer: &&config::Layer| {
        let mut layers = known.layers.iter();
        layers.all(|known| known.layer != layer.name || known.last.is_none())
    };
    let new: Vec<_> = layers.into_iter().filter(is_new).collect();
    let created = create_layers(&new, context)?;
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
            created,
            backup,
            verify: None,
            proof: None,
        });
    };
    let verified: Vec<&config::Layer> = done.iter().map(|&(layer, _)| layer).collect();
    let verify = verify(&verified, Depth::Data, context, watch)?;
    // Where damage was found there is nothing to prove.
    let proof = if verify.outcome != Outcome::Good {
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
        created,
        backup,
        verify: Some(verify),
        proof,
    })
}
