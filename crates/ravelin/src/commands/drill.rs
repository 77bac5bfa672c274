//! `ravelin drill`

use engine::config::{Config, Layer};
use engine::drill::{DrillReport, DrillResult, Drilled, evidence};
use engine::{DrilledFile, Next, Outcome, SecondOpinion, Secret};
use jiff::Timestamp;
use serde::Serialize;

use super::{Ended, Session};
use crate::ask::Terminal;
use crate::cli::Drill;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

pub(crate) fn run(arguments: &Drill, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let mut layers: Vec<&Layer> = Vec::new();
    for name in &arguments.layers {
        layers.push(engine::find_layer(&config, name)?);
    }
    if layers.is_empty() {
        layers.extend(config.layers.iter().filter(|layer| layer.is_runnable()));
    }
    if arguments.evidence {
        return session.with_context(&config, |context| {
            let mut evidence = evidence(context)?;
            evidence.retain(|(name, ..)| layers.iter().any(|layer| layer.name == *name));
            print(&evidence, session)
        });
    }
    if arguments.type_passphrase {
        return ask(&layers, &config, session);
    }
    let report = session.with_context(&config, |context| {
        let listener = Listener::new(session.output);
        let report = engine::drill::drill(&layers, context, listener.watch(session.stop));
        listener.finish()?;
        Ok(report?)
    })?;
    if session.output.json {
        session.output.json(&report)?;
    } else {
        tell(&report, session);
    }
    Ok(match report.layers.as_slice() {
        [only] => match &only.result {
            DrillResult::Failed { failure } => Exit::of_code(failure.code),
            DrillResult::Done(_) => Exit::of_outcome(report.outcome),
        },
        _ => Exit::of_outcome(report.outcome),
    })
}

/// Drills each layer with the passphrase that is typed for it.
fn ask(layers: &[&Layer], config: &Config, session: &Session<'_>) -> Result<Exit, Ended> {
    let mut outcomes = Vec::new();
    for layer in layers {
        if layer.passphrase.is_none() {
            session
                .output
                .say(&format!("{}: it has no passphrase", layer.name));
            continue;
        }
        let mut terminal = Terminal::open().or_else(|_| Terminal::streams())?;
        let prompt = format!("Passphrase of layer `{}`: ", layer.name);
        let Some(typed) = terminal.ask_hidden(&prompt)? else {
            session
                .output
                .say(&format!("{}: nothing was typed", layer.name));
            outcomes.push(Outcome::Failed);
            continue;
        };
        let typed = Secret::new(typed.to_string());
        let report = session.with_context(config, |context| {
            let listener = Listener::new(session.output);
            let watch = listener.watch(session.stop);
            let report = engine::drill::drill_typed(layer, &typed, context, watch);
            listener.finish()?;
            Ok(report?)
        })?;
        if session.output.json {
            session.output.json(&report)?;
        } else {
            tell(&report, session);
        }
        outcomes.push(report.outcome);
    }
    let good = outcomes.iter().filter(|&&outcome| outcome == Outcome::Good);
    let good = good.count();
    Ok(Exit::of_outcome(match outcomes.len() {
        0 => Outcome::Good,
        all => Outcome::of_layers(good, all, session.stop.is_requested()),
    }))
}

/// Says what was found: what is wrong always, the rest to those who want good news.
pub(super) fn tell(report: &DrillReport, session: &Session<'_>) {
    for layer in &report.layers {
        let name = &layer.layer;
        match &layer.result {
            DrillResult::Failed { failure } => {
                let headline = format!("layer `{name}`: nothing could be restored");
                session.output.explain(&headline, failure);
            }
            DrillResult::Done(drilled) if drilled.passed() => {
                session.output.tell(&format!("{name}: {}", passed(drilled)));
            }
            DrillResult::Done(drilled) => {
                let mut explanation = engine::Explanation::of_code(engine::Code::NotProved);
                explanation.because = drilled.faults();
                explanation.next = Next::Run {
                    command: format!("ravelin verify --data {name}"),
                };
                let headline = format!("layer `{name}` did not pass its drill");
                session.output.explain(&headline, &explanation);
            }
        }
    }
}

fn passed(drilled: &Drilled) -> String {
    let files = u64::try_from(drilled.files.len()).unwrap_or(u64::MAX);
    let took = i64::try_from(drilled.took_ms).unwrap_or(i64::MAX);
    let mut text = format!(
        "{} ({}) came back in {} without any cache, every byte as it was",
        human::count(files, "file"),
        human::size(drilled.bytes),
        human::duration(jiff::SignedDuration::from_millis(took)),
    );
    let agrees = |opinion: &&SecondOpinion| opinion.agrees();
    if let Some(opinion) = drilled.second_opinion.as_ref().filter(agrees) {
        text.push_str(&format!("; stock {} agrees", opinion.program));
    }
    if let Some(opinion) = drilled.by_hand.as_ref().filter(agrees) {
        text.push_str(&format!("; {} brought the same", opinion.program));
    }
    text
}

#[derive(Serialize)]
struct EvidenceRecord<'a> {
    layer: &'a str,
    at: Timestamp,
    passed: bool,
    evidence: &'a Drilled,
}

/// Prints the kept evidence as a page that can be filed.
fn print(kept: &[(String, Timestamp, Drilled)], session: &Session<'_>) -> Result<Exit, Ended> {
    if session.output.json {
        let records: Vec<EvidenceRecord<'_>> = kept
            .iter()
            .map(|(layer, at, evidence)| EvidenceRecord {
                layer,
                at: *at,
                passed: evidence.passed(),
                evidence,
            })
            .collect();
        return session.answer(&records);
    }
    let mut page = format!("# Restore drills on {}\n", session.machine.host);
    if kept.is_empty() {
        page.push_str("\nNone yet: `ravelin drill`\n");
    }
    for (layer, at, drilled) in kept {
        let verdict = if drilled.passed() { "passed" } else { "FAILED" };
        let took = i64::try_from(drilled.took_ms).unwrap_or(i64::MAX);
        page.push_str(&format!(
            "\n## Layer {layer}: {verdict}\n\n{}, snapshot {}. {} came back in {}, without any local cache.\n",
            human::time(*at, &session.zone),
            drilled.snapshot,
            human::size(drilled.bytes),
            human::duration(jiff::SignedDuration::from_millis(took)),
        ));
        let stock = drilled.second_opinion.iter();
        let stock = stock.map(|opinion| (format!("stock {}", opinion.program), opinion));
        let by_hand = drilled.by_hand.iter();
        let by_hand = by_hand.map(|opinion| (opinion.program.clone(), opinion));
        for (program, opinion) in stock.chain(by_hand) {
            page.push_str(&match &opinion.unproved {
                Some(why) => format!("Not proved by {program}, because {why}.\n"),
                None if opinion.agrees() => format!(
                    "Proved by {program}: the commands of the runbook restored the same files with the same content.\n"
                ),
                None => format!("NOT confirmed by {program} with the commands of the runbook.\n"),
            });
        }
        for fault in drilled.faults() {
            page.push_str(&format!("\n**{fault}**\n"));
        }
        page.push_str("\n| file | picked as | bytes | SHA-256 | as recorded | as live |\n|---|---|---|---|---|---|\n");
        for file in &drilled.files {
            page.push_str(&row(file));
        }
    }
    session.output.data(page.as_bytes())?;
    Ok(Exit::Good)
}

fn row(file: &DrilledFile) -> String {
    let compared = |same: Option<bool>, unknown: &'static str| match same {
        Some(true) => "yes",
        Some(false) => "NO",
        None => unknown,
    };
    format!(
        "| {} | {} | {} | {} | {} | {} |\n",
        file.path.to_string().replace('|', "\\|"),
        file.picked,
        file.bytes,
        file.sha256,
        compared(file.as_recorded, "not recorded"),
        compared(file.as_live, "changed since"),
    )
}
