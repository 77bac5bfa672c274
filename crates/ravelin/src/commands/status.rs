//! `ravelin status`

use engine::fleet::Member;
use engine::layer::Depth;
use engine::scenarios::{Scenario, Scenarios, Verdict, scenarios};
use engine::status::{LayerStatus, State, Status};
use engine::timeline::{Moment, timeline};
use engine::timer::Installed;
use engine::{Config, History};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Ended, Session, history, schedule};
use crate::cli as arguments;
use crate::exit::Exit;
use crate::human;
use crate::paint::{Tone, paint};
use crate::table::{Align, prose_table, table};

pub(crate) fn run(arguments: &arguments::Status, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    // The scenarios are a forecast: nothing of them has happened.
    if arguments.scenarios {
        let (judged, at) = session.with_context(&config, |context| {
            let status = engine::status(context)?;
            Ok((scenarios(&status, context), status.at))
        })?;
        if session.output.json {
            session.output.json(&judged)?;
        } else {
            session.output.data(of_scenarios(&judged, at).as_bytes())?;
        }
        return Ok(Exit::Good);
    }
    if let Some(machine) = &arguments.forget {
        let is_known = engine::fleet::forget(machine, session.machine)?;
        session.output.say(&match is_known {
            true => format!("{machine} is not missed any more"),
            false => format!("nothing was known of {machine}"),
        });
        return Ok(if is_known { Exit::Good } else { Exit::Failed });
    }
    if let Some(stores) = &arguments.fleet {
        return of_fleet(stores, &config, session);
    }
    let status = session.with_context(&config, |context| Ok(engine::status(context)?))?;
    let installed = engine::timer::installed(&schedule::job(15, Some(&config), session)?);
    if session.output.json {
        let schedule = &installed;
        session.output.json(&StatusRecord {
            status: &status,
            schedule,
        })?;
    } else {
        let mut text = text(&status, session)?;
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
    Ok(match status.good {
        good if good == status.layers.len() => Exit::Good,
        0 => Exit::Failed,
        _ => Exit::Partial,
    })
}

/// A line a layer of each machine, and what cannot be believed.
fn of_fleet(stores: &[String], config: &Config, session: &Session<'_>) -> Result<Exit, Ended> {
    let Some(fleet) = &config.fleet else {
        session
            .output
            .say("the configuration has no `[fleet]`: its key says which machines are believed");
        return Ok(Exit::Usage);
    };
    let key = engine::fleet::fetch(fleet, session.machine)?;
    let stores = match stores {
        [] => std::slice::from_ref(&fleet.store),
        stores => stores,
    };
    let mut members: Vec<Member> = Vec::new();
    for store in stores {
        let read = session.with_context(config, |context| {
            Ok(engine::fleet::read(store, &key, context)?)
        });
        members.append(&mut read?);
    }
    if session.output.json {
        session.output.json(&members)?;
    } else if members.is_empty() {
        session
            .output
            .say("no machine has said yet how it stands: each does at the end of a run");
    } else {
        session
            .output
            .data(fleet_text(&members, session).as_bytes())?;
    }
    let good = members.iter().filter(|member| member.is_good()).count();
    Ok(match good {
        // Of nobody it cannot be said that all is well.
        0 => Exit::Failed,
        good if good == members.len() => Exit::Good,
        _ => Exit::Partial,
    })
}

fn fleet_text(members: &[Member], session: &Session<'_>) -> String {
    let now = session.machine.now().timestamp();
    let columns = [
        "MACHINE",
        "LAYER",
        "LAST BACKUP",
        "LAST DRILL",
        "HEARD",
        "STATE",
    ];
    let columns = columns.map(|name| (name, Align::Left));
    let ago =
        |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| human::ago(at, now));
    let mut rows = Vec::new();
    for member in members {
        let machine = member.machine.escape_debug().to_string();
        let Some(status) = &member.status else {
            let fault = member.fault.as_deref().unwrap_or_default();
            let verdict = match member.is_missing {
                true => "MISSING",
                false => "NOT BELIEVED",
            };
            let fault = paint(
                &format!("{verdict}: {}", fault.escape_debug()),
                Tone::Bad,
                session.output.colours,
            );
            let nothing = String::new;
            rows.push(vec![
                machine,
                nothing(),
                nothing(),
                nothing(),
                nothing(),
                fault,
            ]);
            continue;
        };
        for layer in &status.layers {
            let (state, tone) = state_of(layer.state);
            let (state, tone) = match (member.is_silent, status.alarm) {
                (true, _) => (format!("silent, was {state}"), Tone::Bad),
                (false, true) => (format!("{state}, alarm"), Tone::Bad),
                (false, false) => (state.to_owned(), tone),
            };
            rows.push(vec![
                machine.clone(),
                layer.layer.escape_debug().to_string(),
                ago(layer.last),
                ago(layer.drilled),
                ago(Some(status.at)),
                paint(&state, tone, session.output.colours),
            ]);
        }
    }
    let good = members.iter().filter(|member| member.is_good()).count();
    let mut text = format!(
        "{good} of {} good.\n\n",
        human::count(members.len() as u64, "machine")
    );
    text.push_str(&table(&columns, &rows));
    text
}

fn of_scenarios(judged: &Scenarios, now: Timestamp) -> String {
    let columns = [
        ("IF", Align::Left),
        ("YOUR FILES", Align::Left),
        ("AS OF", Align::Left),
        ("BACK IN", Align::Left),
        ("FROM", Align::Left),
    ];
    let of_one = |scenario: &Scenario| {
        let verdict = match scenario.verdict {
            Verdict::Covered => "come back",
            Verdict::Perhaps => "may come back",
            Verdict::NotCovered => "ARE LOST",
        };
        let as_of = scenario.good_until.map(|at| human::ago(at, now));
        let seconds = scenario
            .takes_s
            .map(|seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)));
        let mut from = scenario.layers.join(", ");
        if !scenario.because.is_empty() {
            let joint = if from.is_empty() { "" } else { ": " };
            from = format!("{from}{joint}{}", scenario.because);
        }
        vec![
            scenario.disaster.name().to_owned(),
            verdict.to_owned(),
            as_of.unwrap_or_default(),
            seconds.map(human::duration).unwrap_or_default(),
            from,
        ]
    };
    let rows: Vec<Vec<String>> = judged.scenarios.iter().map(of_one).collect();
    let mut text = prose_table(&columns, &rows);
    text.push('\n');
    match (judged.weakest, &judged.next) {
        (Some(weakest), Some(next)) => {
            text.push_str(&format!(
                "Weakest point: {}.\nNext: {next}\n",
                weakest.name()
            ));
        }
        _ => text.push_str("No weak point is known.\n"),
    }
    let is_measured =
        |scenario: &Scenario| scenario.layers.is_empty() || scenario.takes_s.is_some();
    if !judged.scenarios.iter().all(is_measured) {
        text.push_str("How long it takes is known after `ravelin drill`.\n");
    }
    text
}

#[derive(Serialize)]
struct StatusRecord<'a> {
    #[serde(flatten)]
    status: &'a Status,
    schedule: &'a [Installed],
}

/// How the last backups of a layer went, as lines to be looked at.
fn lately(layer: &str, session: &Session<'_>) -> Result<String, Ended> {
    let past = History::new(&session.machine.places.state);
    let is_wanted = |moment: &Moment| history::is_backup(moment) && moment.layer == layer;
    let backups = timeline(&past, is_wanted, history::DRAWN)?;
    let Some(curves) = history::curves(&backups) else {
        return Ok(String::new());
    };
    let names = ["lately", "", ""].into_iter();
    let lines = names.zip(curves);
    Ok(lines
        .map(|(name, curve)| format!("  {name:<12}{curve}\n"))
        .collect())
}

fn text(status: &Status, session: &Session<'_>) -> Result<String, Ended> {
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
    if let Some(alarm) = &status.guard {
        text.push_str(&format!(
            "ALARM since {}: {alarm}. Nothing old is removed: ravelin guard\n",
            human::minute(alarm.since, &session.zone)
        ));
    }
    for layer in &status.layers {
        text.push('\n');
        text.push_str(&of_layer(layer, status.at, session));
        text.push_str(&lately(&layer.layer, session)?);
    }
    if let Some(since) = status.unfinished {
        let since = human::time(since, &session.zone);
        text.push_str(&format!(
            "\nAn operation that began at {since} did not end: it is under way, or it was killed.\n"
        ));
    }
    Ok(text)
}

/// A word for how a layer stands.
fn state_of(state: State) -> (&'static str, Tone) {
    match state {
        State::Good => ("good", Tone::Good),
        State::Late => ("late", Tone::Warning),
        State::Failed => ("failed", Tone::Bad),
        State::DrillFailed => ("failed its drill", Tone::Bad),
        State::Damaged => ("damaged", Tone::Bad),
        State::Never => ("no backup yet", Tone::Warning),
        State::NotRunnable => ("not run by itself", Tone::Warning),
    }
}

fn of_layer(layer: &LayerStatus, now: Timestamp, session: &Session<'_>) -> String {
    let (state, tone) = state_of(layer.state);
    let mut text = format!(
        "{}  {}  ({}, {})\n",
        layer.layer,
        paint(state, tone, session.output.colours),
        layer.kind,
        layer.store
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
    if layer.absent {
        line(
            "not there",
            "its drive is away, or what was in it is gone".to_owned(),
        );
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
    if let Some(said) = &layer.second_opinion {
        let found = match said.findings.len() {
            0 => "all well".to_owned(),
            count => format!(
                "damage: {}",
                human::count(u64::try_from(count).unwrap_or(0), "finding")
            ),
        };
        let ago = human::ago(said.at, now);
        line(
            "2nd opinion",
            format!("{ago}, stock {}: {found}", said.program),
        );
    }
    if let Some(at) = layer.rolled_at {
        line("read all", format!("{}, by parts", human::ago(at, now)));
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
    let typed = layer.typed_at.map(|at| human::ago(at, now));
    match (layer.is_typing_due, typed) {
        (true, typed) => line(
            "passphrase",
            format!(
                "typed {}: ravelin drill --type-passphrase {}",
                typed.unwrap_or_else(|| "never".to_owned()),
                layer.layer
            ),
        ),
        (false, Some(typed)) => line("passphrase", format!("typed {typed}")),
        (false, None) => {}
    }
    text
}
