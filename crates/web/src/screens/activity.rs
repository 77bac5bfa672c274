//! Activity: what happened, in plain words, and what was done through this page.

use std::sync::Arc;

use axum::response::Response;
use engine::Outcome;
use engine::event::{Event, ProblemRecord, Verb};
use engine::history::Operation;
use engine::layer::Depth;
use jiff::Timestamp;
use maud::{Markup, html};

use crate::Page;
use crate::ask::Ask;
use crate::fault::Fault;
use crate::layout::{Screen, chip, exact_time, explained, time};
use crate::screens::job::box_of;

/// Operations on one page.
const SHOWN: usize = 40;
/// Problems that are named of one operation.
const PROBLEMS: usize = 100;
/// Deeds that are shown.
const DEEDS: usize = 40;

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let before: Option<Timestamp> = ask.query.get("before").parse().ok();
    let history = engine::History::new(&page.machine.places.state);
    let mut shown: Vec<(Timestamp, Operation)> = Vec::new();
    let mut more = None;
    for operation in history.operations()? {
        let Some(began) = began(&operation) else {
            continue;
        };
        if before.is_some_and(|before| began >= before) {
            continue;
        }
        if shown.len() == SHOWN {
            more = shown.last().map(|(at, _)| *at);
            break;
        }
        shown.push((began, operation));
    }
    let running = page.jobs.running();
    let deeds = page.audit.newest(DEEDS);
    let title = say.t("nav.activity");
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("activity.lead")) }
        @for job in &running { (box_of(ask, job)) }
        section.card aria-labelledby="runs" {
            h2 #runs { (say.t("activity.runs")) }
            @if shown.is_empty() { p.dim { (say.t("activity.empty")) } }
            ul.rows { @for (began, operation) in &shown { li { (row(ask, *began, operation)) } } }
            @if let Some(more) = more {
                p { a href={ "/activity?before=" (more) } { (say.t("activity.older")) } }
            }
        }
        section.card aria-labelledby="deeds" {
            h2 #deeds { (say.t("activity.deeds")) }
            @if deeds.is_empty() { p.dim { (say.t("activity.no-deeds")) } }
            ul.rows { @for deed in &deeds {
                li.row {
                    span.path {
                        (say.t(&format!("did.{}", deed.did)))
                        @if !deed.what.is_empty() { ": " bdi { (deed.what) } }
                    }
                    span.dim.small { (exact_time(ask, deed.at)) }
                }
            } }
        }
    };
    let mut screen = Screen::new(ask, "/activity", title);
    screen.again = (!running.is_empty()).then_some(3);
    Ok(screen.answer(&middle))
}

fn began(operation: &Operation) -> Option<Timestamp> {
    match operation.events.first() {
        Some(Event::Started { at, .. }) => Some(*at),
        _ => None,
    }
}

/// An operation in words.
fn row(ask: &Ask, began: Timestamp, operation: &Operation) -> Markup {
    let say = ask.say;
    let events = &operation.events;
    let verb = match events.first() {
        Some(Event::Started { verb, .. }) => match verb {
            Verb::Backup => "verb.backup",
            Verb::Verify => "verb.verify",
            Verb::SecondOpinion => "verb.second-opinion",
            Verb::Restore => "verb.restore",
            Verb::Drill => "verb.drill",
            Verb::Prune => "verb.prune",
        },
        _ => "verb.backup",
    };
    let ended = events.iter().rev().find_map(|event| match event {
        Event::Finished {
            at,
            outcome,
            totals,
            problems,
        } => Some((*at, *outcome, *totals, *problems)),
        _ => None,
    });
    let (tone, word) = match ended.map(|(_, outcome, _, _)| outcome) {
        Some(Outcome::Good) => ("good", "outcome.good"),
        Some(Outcome::Skipped) => ("warn", "outcome.skipped"),
        Some(Outcome::Partial) => ("warn", "outcome.partial"),
        Some(Outcome::Failed) => ("bad", "outcome.failed"),
        Some(Outcome::Stopped) => ("wait", "outcome.stopped"),
        None => ("wait", "outcome.unfinished"),
    };
    let problems: Vec<&ProblemRecord> = events
        .iter()
        .filter_map(|event| match event {
            Event::Problem(problem) => Some(problem),
            _ => None,
        })
        .collect();
    html! {
        div.row {
            h3 { (say.t(verb)) }
            (chip(tone, say.t(word)))
        }
        p.dim.small {
            (time(ask, began)) " · " (exact_time(ask, began))
            @if let Some((at, _, totals, _)) = ended {
                " · " (say.duration(at.duration_since(began)))
                @if let Some(totals) = totals {
                    " · " (say.count(totals.files, "count.files")) ", " (say.size(totals.bytes))
                }
            }
        }
        @for event in events { (line(ask, event)) }
        @if !problems.is_empty() {
            @let count = ended.map_or(0, |(_, _, _, count)| count).max(u64::try_from(problems.len()).unwrap_or(0));
            details {
                summary { (say.count(count, "count.problems")) }
                p { (say.t("activity.problem-next")) }
                ul.rows { @for problem in problems.iter().take(PROBLEMS) {
                    li { div.path { bdi { "/" (problem.path) } } div.dim { (problem.what) } }
                } }
            }
        }
    }
}

/// What happened to one layer.
fn line(ask: &Ask, event: &Event) -> Markup {
    let say = ask.say;
    match event {
        Event::LayerDone {
            layer, statistics, ..
        } => html! {
            p { strong { bdi { (layer) } } ": " (say.put("line.done", &[("size", &say.size(statistics.added_bytes))])) }
        },
        Event::LayerFailed { layer, failure, .. } => html! {
            div.note.bad { h3 { bdi { (layer) } } (explained(say, failure)) }
        },
        Event::Verified {
            layer,
            depth,
            findings,
            ..
        } => {
            let key = match (findings.is_empty(), depth) {
                (true, Depth::Structure) => "line.verified-structure",
                (true, Depth::Data) => "line.verified-data",
                (false, _) => "line.damaged",
            };
            html! {
                p { strong { bdi { (layer) } } ": " (say.t(key)) }
                @if !findings.is_empty() {
                    ul { @for finding in findings.iter().take(20) { li.path { (finding) } } }
                }
            }
        }
        Event::SecondOpinion {
            layer,
            program,
            findings,
            ..
        } => {
            let key = match findings.is_empty() {
                true => "line.opinion-good",
                false => "line.opinion-damage",
            };
            html! {
                p { strong { bdi { (layer) } } ": " (say.put(key, &[("program", program.as_str())])) }
                @if !findings.is_empty() {
                    ul { @for finding in findings.iter().take(20) { li.path { (finding) } } }
                }
            }
        }
        Event::Pruned { layer, removed, .. } => {
            let count = u64::try_from(removed.len()).unwrap_or(u64::MAX);
            html! { p { strong { bdi { (layer) } } ": " (say.count(count, "line.pruned")) } }
        }
        Event::Restored { layer, entries, .. } => html! {
            p { strong { bdi { (layer) } } ": " (say.count(*entries, "line.restored")) }
        },
        Event::Drilled {
            layer,
            faults,
            evidence,
            ..
        } => {
            let count = u64::try_from(evidence.files.len()).unwrap_or(u64::MAX);
            html! {
                p {
                    strong { bdi { (layer) } } ": "
                    @if faults.is_empty() { (say.count(count, "line.drilled")) } @else { (say.t("line.drill-failed")) }
                }
                @if !faults.is_empty() {
                    ul { @for fault in faults.iter().take(20) { li.path { (fault) } } }
                }
            }
        }
        _ => html! {},
    }
}
