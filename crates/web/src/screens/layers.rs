//! Layers: each independent copy, what is known of it, and what can be asked of it.

mod add;
mod cloud;

use std::sync::Arc;

use axum::response::Response;
use engine::config::{Edit, EditError, Keep};
use engine::layer::Depth;
use engine::status::{LayerStatus, State};
use engine::{Outcome, Schedule, config};
use maud::{Markup, html};
use store::Location;

use crate::Page;
use crate::ask::{Ask, go, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::job::Kind;
use crate::layout::{Screen, chip, time, token};
use crate::screens::job::box_of;
use crate::screens::overview::{facts, state_of, trouble};

pub(crate) use add::{act as add, show as new};
pub(crate) use cloud::{Waiting, act as sign_in_act, show as sign_in};

/// Schedules that can be chosen; others stand in the file.
const SCHEDULES: [(&str, &str); 4] = [
    ("hourly", "welcome.hourly"),
    ("daily", "welcome.daily"),
    ("weekly", "welcome.weekly"),
    ("manual", "layer.on-demand"),
];

/// The rules of `keep` that are numbers, with their keys.
const RULES: [(&str, &str); 6] = [
    ("last", "keep.last"),
    ("hourly", "keep.hourly"),
    ("daily", "keep.daily"),
    ("weekly", "keep.weekly"),
    ("monthly", "keep.monthly"),
    ("yearly", "keep.yearly"),
];

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.is_new() {
        return Ok(go("/welcome"));
    }
    let say = ask.say;
    let config = page.config()?;
    let status = page.status(&config)?;
    let edit = Edit::open(&page.config_file, &page.machine.places);
    let mark = edit.map_err(engine::Error::from)?.mark();
    let running = page.jobs.running();
    let title = say.t("nav.layers");
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("layers.lead")) }
        @for job in &running { (box_of(ask, job)) }
        @for (layer, known) in config.layers.iter().zip(&status.layers) {
            (card(ask, layer, known, &mark))
        }
        section.card {
            h2 { (say.t("layers.more")) }
            p { (say.t("layers.more-text")) }
            p { a.button href="/layers/add" { (icon("layers")) (say.t("add.title")) } }
            p.path { code { (page.config_file.display()) } }
        }
    };
    let mut screen = Screen::new(ask, "/layers", title);
    screen.again = (!running.is_empty()).then_some(3);
    Ok(screen.answer(&middle))
}

fn card(ask: &Ask, layer: &config::Layer, known: &LayerStatus, mark: &str) -> Markup {
    let say = ask.say;
    let (tone, word) = state_of(known);
    let name = layer.name.as_str();
    let label = format!("layer-{name}");
    html! {
        section.card aria-labelledby=(label) {
            div.top {
                h2 id=(label) { bdi { (name) } }
                (chip(tone, say.t(word)))
            }
            p.dim.small.path { (say.t(&format!("kind.{}", known.kind))) ", " bdi { (layer.store) } }
            (facts(ask, known))
            p.small {
                @match &known.verified {
                    Some(verified) => {
                        (say.t("layers.verified")) " " (time(ask, verified.at)) ", "
                        (say.t(match verified.depth { Depth::Structure => "layers.structure", Depth::Data => "layers.data" })) "."
                    },
                    None => (say.t("layers.not-verified")),
                }
                @if let Some(said) = &known.second_opinion {
                    " " (say.t("layers.second-opinion")) " (" bdi { (said.program) } ") " (time(ask, said.at)) ": "
                    (say.t(if said.findings.is_empty() { "layers.opinion-good" } else { "layers.opinion-damage" })) "."
                }
            }
            (trouble(ask, known))
            @if known.state != State::NotRunnable {
                div.actions {
                    (button(ask, "/backup", name, None, "go", "layers.back-up"))
                    (button(ask, "/layers/verify", name, None, "good", "layers.verify"))
                    (button(ask, "/layers/verify", name, Some("data"), "good", "layers.verify-data"))
                    (button(ask, "/layers/drill", name, None, "restore", "layers.drill"))
                    a.button href={ "/restore/browse?layer=" (quoted(name)) } { (icon("folder")) (say.t("layers.browse")) span.hidden { " " (name) } }
                }
                @if let Some((provider, _)) = layer.store.parse::<Location>().ok().as_ref().and_then(cloud::service_of) {
                    p.small { a href={ "/layers/sign-in?place=" (quoted(&layer.store)) } {
                        (say.put("cloud.again", &[("service", provider.title())])) span.hidden { " " (name) }
                    } }
                }
                details {
                    summary { (say.t("layers.change")) }
                    (settings(ask, layer, mark))
                }
            }
        }
    }
}

fn button(
    ask: &Ask,
    action: &str,
    layer: &str,
    depth: Option<&str>,
    drawing: &str,
    key: &str,
) -> Markup {
    html! {
        form method="post" action=(action) {
            (token(ask))
            input type="hidden" name="layer" value=(layer);
            @if let Some(depth) = depth { input type="hidden" name="depth" value=(depth); }
            button { (icon(drawing)) (ask.say.t(key)) span.hidden { " " (layer) } }
        }
    }
}

/// When a layer is due and which snapshots stay.
fn settings(ask: &Ask, layer: &config::Layer, mark: &str) -> Markup {
    let say = ask.say;
    let set = layer.schedule.to_string();
    let name = &layer.name;
    let meant = |word: &str| Schedule::parse(word) == Some(layer.schedule);
    let is_listed = SCHEDULES.iter().any(|(word, _)| meant(word));
    html! {
        form method="post" action="/layers/change" {
            (token(ask))
            input type="hidden" name="layer" value=(name);
            input type="hidden" name="mark" value=(mark);
            div.field {
                label for={ "schedule-" (name) } { (say.t("layers.schedule")) }
                select id={ "schedule-" (name) } name="schedule" {
                    @if !is_listed { option value=(set) selected { (set) } }
                    @for (word, key) in SCHEDULES {
                        option value=(word) selected[meant(word)] { (say.t(key)) }
                    }
                }
            }
            @if layer.is_prunable() {
                fieldset {
                    legend { (say.t("keep.title")) }
                    p.dim { (in_words(ask, &layer.keep)) }
                    div.cards {
                        @for (rule, key) in RULES {
                            @let id = format!("keep-{rule}-{name}");
                            div.field {
                                label for=(id) { (say.t(key)) }
                                input id=(id) type="number" name=(rule) min="1" max="100000" inputmode="numeric"
                                    value=[number(&layer.keep, rule)];
                            }
                        }
                    }
                    p.dim { (say.t("keep.text")) }
                }
            }
            div.actions {
                button name="do" value="preview" formaction="/layers/keep" { (say.t("keep.preview")) }
                button.main { (say.t("settings.save")) }
            }
        }
    }
}

fn number(keep: &Keep, rule: &str) -> Option<u32> {
    match rule {
        "last" => keep.last,
        "hourly" => keep.hourly,
        "daily" => keep.daily,
        "weekly" => keep.weekly,
        "monthly" => keep.monthly,
        _ => keep.yearly,
    }
}

/// Which snapshots stay, in a sentence.
fn in_words(ask: &Ask, keep: &Keep) -> String {
    let say = ask.say;
    if keep.is_everything() {
        return say.t("keep.everything").to_owned();
    }
    let parts = RULES.iter().filter_map(|(rule, _)| {
        let number = number(keep, rule)?;
        Some(say.count(u64::from(number), &format!("keep.say-{rule}")))
    });
    let parts: Vec<String> = parts.collect();
    say.put("keep.say", &[("rules", &parts.join(", "))])
}

/// What a form says of `keep`: every rule, with its number or none.
fn rules(ask: &Ask) -> Result<Vec<(&'static str, Option<u32>)>, Fault> {
    let read = |(rule, _): (&'static str, &str)| {
        let typed = ask.form.get(rule);
        if typed.is_empty() {
            return Ok((rule, None));
        }
        let number = typed.parse::<u32>().ok().filter(|number| *number > 0);
        number
            .map(|number| (rule, Some(number)))
            .ok_or(Fault::Typed("keep.wrong"))
    };
    RULES.into_iter().map(read).collect()
}

/// Reads the change that a form asks for.
fn changed(page: &Page, ask: &Ask) -> Result<(Edit, String), Fault> {
    let name = ask.form.exact("layer").to_owned();
    let config = page.config()?;
    let layer = engine::find_layer(&config, &name)?;
    let schedule = Schedule::parse(ask.form.get("schedule")).ok_or(Fault::Typed("layers.wrong"))?;
    let edit = Edit::open(&page.config_file, &page.machine.places);
    let mut edit = edit.map_err(engine::Error::from)?;
    // The same time in other words is no change: the person's words stay.
    if schedule != layer.schedule {
        edit.set_schedule(&name, schedule).map_err(fault_of)?;
    }
    if layer.is_prunable() {
        edit.set_keep(&name, &rules(ask)?).map_err(fault_of)?;
    }
    Ok((edit, name))
}

/// What a change that was not made says on the page.
pub(crate) fn fault_of(error: EditError) -> Fault {
    match error {
        EditError::Config(error) => engine::Error::from(error).into(),
        EditError::Mistakes(mistakes) => {
            engine::Error::from(config::Error::Mistakes(mistakes)).into()
        }
        EditError::Changed { .. } => Fault::Typed("fault.changed"),
        EditError::Exists { .. } => Fault::Typed("add.exists"),
        EditError::NoSuch { .. } => Fault::NotFound,
        EditError::Write { path, source } => engine::Error::State {
            action: "write",
            path,
            source,
        }
        .into(),
    }
}

/// Writes the schedule and the rules of a layer into the file.
pub(crate) fn change(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let (edit, name) = changed(page, ask)?;
    let saved = edit.save(ask.form.get("mark"), &page.machine.places);
    saved.map_err(fault_of)?;
    page.forget_installed();
    page.audit.note(ask.at(), "change-layer", &name);
    Ok(go("/layers?told=saved"))
}

/// Shows which snapshots the rules of a form would remove. Nothing is changed.
pub(crate) fn keep(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let (edit, name) = changed(page, ask)?;
    let config = edit.config(&page.machine.places);
    let config = config.map_err(|mistakes| fault_of(EditError::Mistakes(mistakes)))?;
    let layer = engine::find_layer(&config, &name)?;
    let plan = page.with(&config, |context| {
        engine::upkeep::prune_plan(layer, context)
    })?;
    let removed = plan.doomed();
    let kept: Vec<_> = plan
        .snapshots
        .iter()
        .filter(|one| one.kept_by.is_some())
        .collect();
    let count = u64::try_from(removed.len()).unwrap_or(u64::MAX);
    let title = say.t("keep.preview");
    let middle = html! {
        h1 { (title) }
        p.lead { bdi { (name) } ": " (in_words(ask, &layer.keep)) }
        section.card {
            h2 { (say.count(count, "keep.would-remove")) }
            ul.rows { @for snapshot in removed.iter().take(200) { li.path { bdi { (snapshot) } } } }
            @if removed.is_empty() { p.dim { (say.t("keep.removes-nothing")) } }
        }
        section.card {
            h2 { (say.count(u64::try_from(kept.len()).unwrap_or(u64::MAX), "keep.would-keep")) }
            ul.rows { @for snapshot in kept.iter().rev().take(200) {
                li.row {
                    span.path { bdi { (snapshot.name) } }
                    span.dim.small { @if let Some(rule) = &snapshot.kept_by { code { (rule) } } }
                }
            } }
            @if plan.left_alone > 0 { p.dim { (say.count(plan.left_alone, "keep.left-alone")) } }
        }
        form method="post" action="/layers/change" {
            (token(ask))
            @for field in ["layer", "mark", "schedule"].into_iter().chain(RULES.map(|(rule, _)| rule)) {
                input type="hidden" name=(field) value=(ask.form.get(field));
            }
            div.actions {
                button.main { (say.t("settings.save")) }
                a.button href="/layers" { (say.t("keep.back")) }
            }
        }
    };
    Ok(Screen::new(ask, "/layers", title).answer(&middle))
}

/// Reads a layer back.
pub(crate) fn verify(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let config = page.config()?;
    let name = engine::find_layer(&config, ask.form.exact("layer"))?
        .name
        .clone();
    let depth = match ask.form.get("depth") {
        "data" => Depth::Data,
        _ => Depth::Structure,
    };
    let what = name.clone();
    let job = page
        .jobs
        .begin(page, Kind::Verify, &name, move |page, watch| {
            let layer = engine::find_layer(&config, &what)?;
            let report = page.with(&config, |context| {
                engine::verify(&[layer], depth, context, watch)
            })?;
            Ok(report.outcome.into())
        })?;
    page.audit.note(ask.at(), "verify", &name);
    Ok(go(&format!("/job?id={}", job.id)))
}

/// Restores some files of a layer as a new machine would, and compares them.
pub(crate) fn drill(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let config = page.config()?;
    let name = engine::find_layer(&config, ask.form.exact("layer"))?
        .name
        .clone();
    let what = name.clone();
    let job = page
        .jobs
        .begin(page, Kind::Drill, &name, move |page, watch| {
            let layer = engine::find_layer(&config, &what)?;
            let report = page.with(&config, |context| {
                engine::drill::drill(&[layer], context, watch)
            })?;
            let outcome: Outcome = report.outcome;
            Ok(outcome.into())
        })?;
    page.audit.note(ask.at(), "drill", &name);
    Ok(go(&format!("/job?id={}", job.id)))
}
