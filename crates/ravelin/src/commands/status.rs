//! `ravelin status`

use engine::layer::Depth;
use engine::status::{LayerStatus, State, Status};
use jiff::Timestamp;

use super::{Ended, Session};
use crate::exit::Exit;
use crate::human;

pub(crate) fn run(session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let status = session.with_context(&config, |context| Ok(engine::status(context)?))?;
    if session.output.json {
        session.output.json(&status)?;
    } else {
        session.output.data(text(&status, session).as_bytes())?;
    }
    Ok(Exit::Good)
}

fn text(status: &Status, session: &Session<'_>) -> String {
    let all = status.layers.len();
    let mut text = match (status.good, all) {
        (0, 1) => "Not protected: the only layer needs attention.\n".to_owned(),
        (0, all) => format!("Not protected: none of {all} layers is good.\n"),
        (good, all) if good == all => {
            let layers = if all == 1 {
                "1 layer"
            } else {
                &format!("{all} layers")
            };
            format!("Protected by {layers}.\n")
        }
        (good, all) => format!("Protected by {good} of {all} layers.\n"),
    };
    for layer in &status.layers {
        text.push('\n');
        text.push_str(&of_layer(layer, status.at, session));
    }
    if let Some(since) = status.unfinished {
        let since = human::time(since, &session.zone);
        text.push_str(&format!(
            "\nAn operation that began at {since} did not end: it is under way, or it was killed.\n"
        ));
    }
    text
}

fn of_layer(layer: &LayerStatus, now: Timestamp, session: &Session<'_>) -> String {
    let state = match layer.state {
        State::Good => "good",
        State::Late => "late",
        State::Failed => "failed",
        State::Damaged => "damaged",
        State::Never => "no backup yet",
        State::NotRunnable => "cannot be run by this version yet",
    };
    let mut text = format!(
        "{}  {state}  ({}, {})\n",
        layer.layer, layer.kind, layer.store
    );
    let mut line = |name: &str, value: String| {
        text.push_str(&format!("  {name:<12}{value}\n"));
    };
    if let Some(last) = &layer.last {
        line(
            "last backup",
            format!("{}, {}", human::ago(last.at, now), last.snapshot),
        );
        line(
            "size",
            format!(
                "{}, {}",
                human::count(last.statistics.files, "file"),
                human::size(last.statistics.bytes)
            ),
        );
        if last.problems > 0 {
            let objects = human::count(last.problems, "object");
            line(
                "left out",
                format!("{objects} could not be read: `ravelin backup` names them"),
            );
        }
    }
    if let (Some(failure), Some(at)) = (&layer.failure, layer.failed_at) {
        let because = failure.because.join(": ");
        line(
            "failed",
            format!("{}: {because} [{}]", human::ago(at, now), failure.code),
        );
        line("next step", failure.next.to_string());
    }
    if layer.state == State::NotRunnable {
        return text;
    }
    match layer.next_due {
        Some(due) if due <= now => line("next", "due now: ravelin run".to_owned()),
        Some(due) => line("next", human::minute(due, &session.zone)),
        None => line("next", "when asked for".to_owned()),
    }
    match &layer.verified {
        Some(verified) => {
            let depth = match verified.depth {
                Depth::Structure => "structure",
                Depth::Data => "all data",
            };
            let found = match verified.findings.len() {
                0 => "all well".to_owned(),
                count => format!(
                    "damage: {}",
                    human::count(u64::try_from(count).unwrap_or(0), "finding")
                ),
            };
            line(
                "verified",
                format!("{}, {depth}, {found}", human::ago(verified.at, now)),
            );
        }
        None => line("verified", "never: ravelin verify".to_owned()),
    }
    if let Some(at) = layer.restored_at {
        line("restored", human::ago(at, now));
    }
    text
}
