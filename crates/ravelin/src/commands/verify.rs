//! `ravelin verify`

use engine::config::Layer;
use engine::layer::Depth;
use engine::{VerifyReport, VerifyResult};

use super::{Ended, Session};
use crate::cli::Verify;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

pub(crate) fn run(arguments: &Verify, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let mut layers: Vec<&Layer> = Vec::new();
    for name in &arguments.layers {
        layers.push(engine::find_layer(&config, name)?);
    }
    if layers.is_empty() {
        layers.extend(&config.layers);
    }
    let depth = if arguments.data {
        Depth::Data
    } else {
        Depth::Structure
    };
    let report = session.with_context(&config, |context| {
        let listener = Listener::new(session.output);
        let report = engine::verify(&layers, depth, context, listener.watch(session.stop));
        listener.finish()?;
        Ok(report?)
    })?;
    if session.output.json {
        session.output.json(&report)?;
    } else {
        tell(&report, session);
    }
    Ok(exit(&report))
}

/// Says in words what was found: damage always, that all is well to those who want good news.
pub(super) fn tell(report: &VerifyReport, session: &Session<'_>) {
    for layer in &report.layers {
        let name = &layer.layer;
        match &layer.result {
            VerifyResult::Failed { failure } => {
                session
                    .output
                    .explain(&format!("layer `{name}` could not be verified"), failure);
            }
            VerifyResult::Done(found) if !found.findings.is_empty() => {
                session
                    .output
                    .say(&format!("error: layer `{name}` is damaged"));
                for finding in &found.findings {
                    session.output.say(&format!("  {finding}"));
                }
                session.output.say("  next: back up to another layer before anything else; what is listed may not come back");
            }
            VerifyResult::Done(found) if found.stopped => {
                session
                    .output
                    .say(&format!("{name}: stopped before all was verified"));
            }
            VerifyResult::Done(found) => {
                let what = match report.depth {
                    Depth::Structure => "structure verified".to_owned(),
                    Depth::Data => format!(
                        "all data verified, {} read back",
                        human::size(found.read_bytes)
                    ),
                };
                session.output.tell(&format!(
                    "{name}: {what}, {}, {}",
                    human::count(found.snapshots, "snapshot"),
                    human::count(found.objects, "object"),
                ));
            }
        }
    }
}

/// How the program ends after a verification.
pub(super) fn exit(report: &VerifyReport) -> Exit {
    match report.layers.as_slice() {
        [only] => match &only.result {
            VerifyResult::Failed { failure } => Exit::of_code(failure.code),
            VerifyResult::Done(_) => Exit::of_outcome(report.outcome),
        },
        _ => Exit::of_outcome(report.outcome),
    }
}
