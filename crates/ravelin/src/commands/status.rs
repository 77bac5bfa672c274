//! `ravelin status`

use engine::layer::Depth;
use engine::status::{LayerStatus, State, Status};
use engine::timer::Installed;
use jiff::Timestamp;

use serde::Serialize;

use super::{Ended, Session, schedule};
use crate::exit::Exit;
use crate::human;

pub(crate) fn run(session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let status = session.with_context(&config, |context| Ok(engine::status(context)?))?;
    let installed = engine::timer::installed(&schedule::job(15, Some(&config), session)?);
    if session.output.json {
        let schedule = &installed;
        session.output.json(&StatusRecord {
            status: &status,
            schedule,
        })?;
    } else {
        let mut text = text(&status, session);
        text.push('\n');
        text.push_str(&schedule::text(&installed, session));
        for one in engine::notify::undelivered(session.machine) {
            text.push_str(&format!(
                "The last alarm did not arrive: {}: {}\n",
                one.receiver, one.reason
            ));
        }
        session.output.data(text.as_bytes())?;
    }
    Ok(Exit::Good)
}

#[derive(Serialize)]
struct StatusRecord<'a> {
    #[serde(flatten)]
    status: &'a Status,
    schedule: &'a [Installed],
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
        State::NotRunnable => "not run by itself",
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
    if let Some(waiting) = &layer.waiting {
        let reason = waiting.wait.reason(&session.zone);
        line(
            "waiting",
            format!(
                "since {}: {reason}",
                human::minute(waiting.since, &session.zone)
            ),
        );
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
    match &layer.drill {
        Some(drill) => {
            let files = u64::try_from(drill.files).unwrap_or(u64::MAX);
            let found = match drill.faults.first() {
                None => format!("{} came back unchanged", human::count(files, "file")),
                Some(fault) => format!("FAILED: {fault}"),
            };
            line("drill", format!("{}, {found}", human::ago(drill.at, now)));
        }
        None => line("drill", "never: ravelin drill".to_owned()),
    }
    if let Some(at) = layer.restored_at {
        line("restored", human::ago(at, now));
    }
    text
}
