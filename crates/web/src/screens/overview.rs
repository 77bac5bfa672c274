//! Overview: is everything protected? One sentence, then each layer, then the last thirty days.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::Response;
use engine::event::{Event, Verb};
use engine::status::{LayerStatus, State};
use engine::{Outcome, Status, Wait, Wanted};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use maud::{Markup, html};

use crate::Page;
use crate::ask::{Ask, go};
use crate::fault::Fault;
use crate::icon::icon;
use crate::job::{Job, Kind};
use crate::layout::{Screen, chip, explained, time, token};
use crate::screens::job::box_of;

/// Days of the strip.
const DAYS: i32 = 30;

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.is_new() {
        return Ok(go("/welcome"));
    }
    let say = ask.say;
    let config = page.config()?;
    let status = page.status(&config)?;
    let days = days(page, ask)?;
    let running = page.jobs.running();
    let title = say.t("nav.overview");
    let middle = html! {
        (hero(ask, &status, &running))
        @for job in &running { (box_of(ask, job)) }
        @if page.is_unscheduled(&config) && status.layers.iter().any(|layer| layer.next_due.is_some()) {
            div.note.warn {
                (icon("warn")) " " (say.t("overview.unscheduled")) " "
                a href="/settings" { (say.t("overview.unscheduled-link")) }
            }
        }
        h2.hidden { (say.t("overview.layers")) }
        ul.cards { @for layer in &status.layers { (card(ask, layer)) } }
        (strip(ask, &days))
    };
    let mut screen = Screen::new(ask, "/", title);
    screen.again = (!running.is_empty()).then_some(3);
    Ok(screen.answer(&middle))
}

/// How things stand, in one sentence; the worst of it decides.
fn hero(ask: &Ask, status: &Status, running: &[Arc<Job>]) -> Markup {
    let say = ask.say;
    let is_backing_up = running
        .iter()
        .any(|job| matches!(job.kind, Kind::Backup | Kind::First | Kind::Layer));
    let (good, all) = (status.good, status.layers.len());
    let (good_text, all_text) = (good.to_string(), all.to_string());
    let numbers = [("good", good_text.as_str()), ("all", all_text.as_str())];
    let is_never = |layer: &LayerStatus| layer.state == State::Never;
    let (tone, sentence) = if is_backing_up {
        ("wait", say.t("overview.backing-up").to_owned())
    } else if good == all {
        let count = u64::try_from(all).unwrap_or(u64::MAX);
        ("good", say.count(count, "overview.protected"))
    } else if good > 0 {
        ("warn", say.put("overview.partly", &numbers))
    } else if status.layers.iter().all(is_never) {
        ("warn", say.t("overview.never").to_owned())
    } else {
        ("bad", say.t("overview.unprotected").to_owned())
    };
    let last = status.layers.iter().filter_map(|layer| layer.last.as_ref());
    let last = last.max_by_key(|last| last.at);
    let next = status
        .layers
        .iter()
        .filter_map(|layer| layer.next_due)
        .min();
    html! {
        section.card.hero.(tone) {
            div {
                h1 { (icon(tone)) span { (sentence) } }
                p.dim {
                    @if let Some(last) = last {
                        (say.t("overview.last")) " " (time(ask, last.at)) ", "
                        (say.count(last.statistics.files, "count.files")) ", "
                        (say.size(last.statistics.bytes)) ". "
                    }
                    @match next {
                        Some(next) if !is_due(ask, next) => { (say.t("overview.next-due")) " " (time(ask, next)) "." },
                        Some(_) => (say.t("overview.due")),
                        None => {},
                    }
                }
            }
            form method="post" action="/backup" {
                (token(ask))
                button.main.large disabled[is_backing_up] { (icon("go")) (say.t("overview.back-up")) }
            }
        }
    }
}

/// Whether it is time: within the minute counts.
fn is_due(ask: &Ask, due: Timestamp) -> bool {
    due.duration_since(ask.at()) < SignedDuration::from_mins(1)
}

/// How a layer stands: tone and the key of a word.
pub(crate) fn state_of(layer: &LayerStatus) -> (&'static str, &'static str) {
    match layer.state {
        State::Good if layer.waiting.is_some() => ("wait", "state.waiting"),
        State::Good => ("good", "state.good"),
        State::Late => ("warn", "state.late"),
        State::Failed => ("bad", "state.failed"),
        State::Damaged => ("bad", "state.damaged"),
        State::DrillFailed => ("bad", "state.drill-failed"),
        State::Never => ("warn", "state.never"),
        State::NotRunnable => ("wait", "state.not-runnable"),
    }
}

fn card(ask: &Ask, layer: &LayerStatus) -> Markup {
    let say = ask.say;
    let (tone, word) = state_of(layer);
    html! {
        li.card {
            div.top {
                h3 { bdi { (layer.layer) } }
                (chip(tone, say.t(word)))
            }
            p.dim.small.path { (say.t(&format!("kind.{}", layer.kind))) ", " bdi { (layer.store) } }
            (facts(ask, layer))
            (trouble(ask, layer))
        }
    }
}

/// What is known of a layer.
pub(crate) fn facts(ask: &Ask, layer: &LayerStatus) -> Markup {
    let say = ask.say;
    let proved = layer.drill.as_ref();
    html! {
        dl.facts {
            dt { (say.t("layer.last")) }
            dd { @match &layer.last { Some(last) => (time(ask, last.at)), None => (say.t("layer.none")) } }
            @if layer.state != State::NotRunnable {
                dt { (say.t("layer.next")) }
                dd {
                    @match layer.next_due {
                        Some(due) if is_due(ask, due) => (say.t("layer.due")),
                        Some(due) => (time(ask, due)),
                        None => (say.t("layer.on-demand")),
                    }
                }
            }
            @if let Some(last) = &layer.last {
                dt { (say.t("layer.size")) }
                dd {
                    (say.count(last.statistics.files, "count.files")) ", " (say.size(last.statistics.bytes))
                }
            }
            dt { (say.t("layer.proved")) }
            dd {
                @match (proved, layer.restored_at) {
                    (Some(drill), _) if drill.faults.is_empty() => {
                        (time(ask, drill.at)) ", "
                        (say.count(u64::try_from(drill.files).unwrap_or(u64::MAX), "count.files-back"))
                    },
                    (Some(drill), _) => { (say.t("layer.proof-failed")) " " (time(ask, drill.at)) },
                    (None, Some(at)) => (time(ask, at)),
                    (None, None) => (say.t("layer.not-proved")),
                }
            }
        }
    }
}

/// What keeps a layer from being good, and what can be done.
pub(crate) fn trouble(ask: &Ask, layer: &LayerStatus) -> Markup {
    let say = ask.say;
    html! {
        @if let Some(failure) = &layer.failure {
            div.note.bad { (explained(say, failure)) }
        }
        @if let Some(verified) = layer.verified.as_ref().filter(|verified| !verified.findings.is_empty()) {
            div.note.bad {
                p { strong { (say.t("layer.damage")) } }
                details {
                    summary { (say.t("fault.details")) }
                    ul { @for finding in verified.findings.iter().take(20) { li.path { (finding) } } }
                }
            }
        }
        @if let Some(waiting) = &layer.waiting {
            div.note.wait { (say.t("layer.waits")) " " (reason(ask, &waiting.wait)) }
        }
        @if let Some(last) = layer.last.as_ref().filter(|last| last.problems > 0) {
            div.note.warn {
                (say.count(last.problems, "layer.left-out")) " "
                a href="/activity" { (say.t("layer.which")) }
            }
        }
    }
}

/// What a layer waits for.
fn reason(ask: &Ask, wait: &Wait) -> String {
    let say = ask.say;
    match wait {
        Wait::Power => say.t("wait.power").to_owned(),
        Wait::Network => say.t("wait.network").to_owned(),
        Wait::Metered => say.t("wait.metered").to_owned(),
        Wait::Drive { store } => say.put("wait.drive", &[("store", &store.display().to_string())]),
        Wait::Retry { at, .. } => {
            let at = say.time(*at, ask.now.time_zone());
            say.put("wait.retry", &[("at", &at)])
        }
        Wait::Hook { program } => say.put("wait.hook", &[("program", program)]),
    }
}

/// How a day went, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Day {
    Good,
    Partly,
    Failed,
}

/// The last thirty days, as far as the history knows.
fn days(page: &Page, ask: &Ask) -> Result<BTreeMap<Date, Day>, Fault> {
    let since = ask.at() - SignedDuration::from_hours(24 * i64::from(DAYS + 1));
    let zone = ask.now.time_zone();
    let mut days = BTreeMap::new();
    for operation in page.outlines()? {
        let Some(Event::Started { at, verb, .. }) = operation.events.first() else {
            continue;
        };
        if *at < since {
            break;
        }
        let outcome = operation.events.iter().rev().find_map(|event| match event {
            Event::Finished { outcome, .. } => Some(*outcome),
            _ => None,
        });
        let how = match (verb, outcome) {
            (Verb::Backup, Some(Outcome::Good)) => Day::Good,
            (Verb::Backup, Some(Outcome::Skipped | Outcome::Partial)) => Day::Partly,
            (Verb::Backup, _) => Day::Failed,
            // Good news of other kinds is no backup; bad news counts.
            (_, Some(Outcome::Failed)) => Day::Failed,
            _ => continue,
        };
        let day = at.to_zoned_datetime(zone.clone()).date();
        // What went well later on the same day has mended what went wrong before.
        let known: &mut Day = days.entry(day).or_insert(how);
        if *known != how {
            *known = Day::Partly;
        }
    }
    Ok(days)
}

fn strip(ask: &Ask, days: &BTreeMap<Date, Day>) -> Markup {
    let say = ask.say;
    let today = ask.now.date();
    let dates = (0..DAYS)
        .rev()
        .filter_map(|back| today.checked_sub(back.days()).ok());
    let of = |date: &Date| match days.get(date) {
        Some(Day::Good) => ("good", "day.good"),
        Some(Day::Partly) => ("warn", "day.partly"),
        Some(Day::Failed) => ("bad", "day.failed"),
        None => ("", "day.none"),
    };
    html! {
        section.card {
            h2 #days { (say.t("day.title")) }
            ol.strip aria-labelledby="days" {
                @for date in dates {
                    @let (tone, word) = of(&date);
                    @let text = format!("{}: {}", say.day(date), say.t(word));
                    li class=(tone) title=(text) { span.hidden { (text) } }
                }
            }
            div.legend aria-hidden="true" {
                @for (tone, word) in [("good", "day.good"), ("warn", "day.partly"), ("bad", "day.failed"), ("", "day.none")] {
                    span { span.strip { li class=(tone) {} } (say.t(word)) }
                }
            }
        }
    }
}

/// Back up now: all layers, due or not.
pub(crate) fn back_up(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let config = page.config()?;
    let named: Vec<String> = ask.form.all("layer").map(str::to_owned).collect();
    for name in &named {
        engine::find_layer(&config, name)?;
    }
    let wanted = if named.is_empty() {
        Wanted::All
    } else {
        Wanted::Named(named.clone())
    };
    let what = named.join(", ");
    let job = page
        .jobs
        .begin(page, Kind::Backup, &what, move |page, watch| {
            page.with(&config, |context| {
                let plan = engine::plan(context, &wanted);
                if let Err(error @ engine::Error::NoSource { .. }) = &plan {
                    engine::record_failure(error, &config.layers, context)?;
                }
                let due = engine::back_up(&plan?, context, watch)?;
                let outcome = due.outcome().unwrap_or(Outcome::Good);
                Ok(outcome.into())
            })
        })?;
    page.audit.note(ask.at(), "backup", &what);
    Ok(go(&format!("/job?id={}", job.id)))
}
