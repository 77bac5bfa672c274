//! `ravelin verify`

use std::time::Duration;

use engine::config::{Config, Layer};
use engine::layer::Depth;
use engine::{
    LayerOpinion, OpinionReport, OpinionResult, PartReport, Turn, VerifyReport, VerifyResult, Work,
};
use jiff::SignedDuration;

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
    if let Some(limit) = arguments.max_duration {
        return run_for(&layers, limit, &config, session);
    }
    if arguments.second_opinion {
        return ask(&layers, &config, session);
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

/// Lets the stock programs check the layers. They lock them, so no backup is made meanwhile.
fn ask(layers: &[&Layer], config: &Config, session: &Session<'_>) -> Result<Exit, Ended> {
    let turn = Turn::take(Work::Backup, session.machine)?;
    let report = session.with_context(config, |context| {
        let listener = Listener::new(session.output);
        let report = engine::second_opinion(layers, context, listener.watch(session.stop));
        listener.finish()?;
        Ok(report?)
    })?;
    drop(turn);
    if session.output.json {
        session.output.json(&report)?;
    } else {
        tell_opinions(&report, session);
    }
    let is_absent = |one: &LayerOpinion| one.result == OpinionResult::Absent;
    Ok(match report.layers.as_slice() {
        [only] if let OpinionResult::Failed { failure } = &only.result => {
            Exit::of_code(failure.code)
        }
        all if all.iter().all(is_absent) => Exit::Failed,
        _ => Exit::of_outcome(report.outcome),
    })
}

/// Says what the stock programs said: damage always. That one is absent is said to who has asked.
pub(super) fn tell_opinions(report: &OpinionReport, session: &Session<'_>) {
    for opinion in &report.layers {
        let name = &opinion.layer;
        let program = opinion.program.unwrap_or_default();
        match (&opinion.result, opinion.program) {
            (OpinionResult::Absent, None) => session.output.say(&format!(
                "{name}: there is no other program that could check it where it is"
            )),
            (OpinionResult::Absent, Some(_)) => session
                .output
                .say(&format!("{name}: stock {program} is not installed")),
            (OpinionResult::Failed { failure }, _) => {
                let headline = format!("stock {program} could not check layer `{name}`");
                session.output.explain(&headline, failure);
            }
            (OpinionResult::Done { findings, took_ms }, _) if findings.is_empty() => {
                let took = SignedDuration::from_millis(i64::try_from(*took_ms).unwrap_or(i64::MAX));
                let took = human::duration(took);
                let text = format!("{name}: stock {program} has checked it in {took}: all well");
                session.output.tell(&text);
            }
            (OpinionResult::Done { findings, .. }, _) => {
                session.output.say(&format!(
                    "error: stock {program} finds layer `{name}` damaged"
                ));
                for finding in findings {
                    session.output.say(&format!("  {finding}"));
                }
                session.output.say(&format!(
                    "  next: run `ravelin verify --data {name}`, and back up to another layer first"
                ));
            }
        }
    }
}

/// Reads for so long in each layer.
fn run_for(
    layers: &[&Layer],
    limit: Duration,
    config: &Config,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let mut reports = Vec::new();
    for layer in layers {
        let report = session.with_context(config, |context| {
            let listener = Listener::new(session.output);
            let report = engine::verify_for(layer, limit, context, listener.watch(session.stop));
            listener.finish()?;
            Ok(report?)
        })?;
        if !session.output.json {
            tell_part(&report, session);
        }
        reports.push(report);
    }
    if session.output.json {
        session.output.json(&reports)?;
    }
    let is_good = reports
        .iter()
        .all(|report| report.found.findings.is_empty());
    Ok(match is_good {
        true => Exit::Good,
        false => Exit::Failed,
    })
}

fn tell_part(report: &PartReport, session: &Session<'_>) {
    let (name, found) = (&report.layer, &report.found);
    if !found.findings.is_empty() {
        session
            .output
            .say(&format!("error: layer `{name}` is damaged"));
        for finding in &found.findings {
            session.output.say(&format!("  {finding}"));
        }
        session.output.say(&format!(
            "  next: `ravelin repair --dry-run {name}` says which files are hurt"
        ));
    }
    let read = match (found.files, found.read_bytes) {
        (Some(files), Some(bytes)) => format!(
            "{} of the store read, {}",
            human::count(files, "file"),
            human::size(bytes)
        ),
        _ => "the server has read a part".to_owned(),
    };
    let next = match found.to_the_end {
        Some(true) => "up to the end; the next one begins anew",
        Some(false) => "the next one goes on from here",
        None => "the next one goes on where it stopped",
    };
    session.output.tell(&format!("{name}: {read}; {next}"));
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
