//! Putting back: first what it would do, then the deed.
//!
//! One click puts back what is gone: nothing stands in its way, so nothing can be harmed. Whenever
//! something does, what would happen is shown first, and the choice that harms nothing is the one
//! that is set.

use std::path::PathBuf;
use std::sync::Arc;

use axum::response::Response;
use engine::{PlannedRestore, RestoreRequest, Selection, Undo, config};
use maud::{Markup, html};
use tree::{Conflict, RestoreOptions, TreePath};

use super::{basket, key_of, layer_of, open, snapshot_of};
use crate::Page;
use crate::ask::{Ask, Pairs, go, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::job::{Kind, Made};
use crate::layout::{Screen, exact_time, time, token};

/// Entries of a plan that are named.
const ENTRIES: usize = 200;

/// What is to be done where something stands already: value and key.
const CONFLICTS: [(&str, &str); 3] = [
    ("keep-both", "restore.keep-both"),
    ("overwrite", "restore.overwrite"),
    ("skip", "restore.skip"),
];

/// What a form asks for.
struct Wish {
    layer: config::Layer,
    request: RestoreRequest,
    paths: Vec<TreePath>,
    /// Whether the paths are those of the basket, so that no address has to name them.
    is_basket: bool,
}

/// Reads a form. `conflict` is what it says, else what harms nothing.
fn wish(page: &Arc<Page>, pairs: &Pairs) -> Result<Wish, Fault> {
    let config = page.config()?;
    let layer = layer_of(&config, pairs)?.clone();
    let mut opened = open(page, &layer)?;
    let typed = pairs.exact("snapshot");
    let (snapshot, _) = snapshot_of(page, &layer, &mut *opened, typed)?;
    let paths = basket::meant(page, pairs)?;
    if paths.is_empty() {
        return Err(Fault::Typed("restore.wrong-nothing"));
    }
    let (selection, target) = match pairs.get("where") {
        "elsewhere" => {
            let target = page.machine.places.expand(pairs.get("to"));
            if !target.is_absolute() {
                return Err(Fault::Typed("restore.wrong-target"));
            }
            (Selection::together(paths.clone()), target)
        }
        _ => (Selection::in_place(paths.clone()), PathBuf::from("/")),
    };
    let conflict = match pairs.get("conflict") {
        "overwrite" => Conflict::Overwrite,
        "skip" => Conflict::Skip,
        _ => Conflict::KeepBoth,
    };
    let request = RestoreRequest {
        layer: layer.clone(),
        snapshot,
        selection,
        target,
        options: RestoreOptions {
            conflict,
            ..RestoreOptions::default()
        },
    };
    Ok(Wish {
        layer,
        request,
        paths,
        is_basket: pairs.has("basket"),
    })
}

fn planned(page: &Page, wish: &Wish) -> Result<PlannedRestore, Fault> {
    let config = page.config()?;
    let request = wish.request.clone();
    Ok(page.with(&config, |context| engine::restore_plan(request, context))?)
}

/// Whether a plan only makes what is not there.
fn is_harmless(planned: &PlannedRestore) -> bool {
    planned.refusals().is_empty()
        && planned
            .actions()
            .iter()
            .all(|count| matches!(count.action, "create" | "already-right"))
}

/// Shows what a restore would do, and asks where to and how.
pub(crate) fn plan(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let query = &ask.query;
    let wish = wish(page, query)?;
    let mut planned = planned(page, &wish)?;
    let mut entries = Vec::new();
    planned.each(|entry| {
        if entries.len() < ENTRIES {
            entries.push(entry);
        }
    })?;
    let can_be_undone = engine::can_be_undone(&mut planned)?;
    let is_elsewhere = query.get("where") == "elsewhere";
    let conflict = if query.has("conflict") {
        query.get("conflict")
    } else {
        "keep-both"
    };
    let title = say.t("restore.plan");
    let middle = html! {
        h1 { (title) }
        p.lead {
            bdi { (wish.layer.name) } ", " (say.t("restore.as-of")) " " (exact_time(ask, wish.request.snapshot.time))
        }
        section.card {
            h2 { (say.t("restore.would")) }
            ul { @for path in wish.paths.iter().take(20) { li.path { bdi { (ask.shown(path)) } } }
                @if wish.paths.len() > 20 { li.dim { "…" } } }
            dl.facts {
                @for count in planned.actions() {
                    dt { (say.t(&format!("action.{}", count.action))) }
                    dd { (say.count(count.entries, "count.objects"))
                        @if count.bytes > 0 { ", " (say.size(count.bytes)) } }
                }
            }
            @if is_harmless(&planned) { p.dim { (say.t("restore.harmless")) } }
            @if can_be_undone { p.dim { (say.t("restore.undos-text")) } }
            @else { div.note.warn { p { (say.t("restore.no-undo")) } } }
            (each(ask, &entries, planned.refusals()))
        }
        form.card action="/restore/plan" {
            (hidden(&wish))
            fieldset {
                legend { (say.t("restore.where")) }
                label.choice {
                    input type="radio" name="where" value="back" checked[!is_elsewhere];
                    span { (say.t("restore.back")) }
                }
                label.choice for="elsewhere" {
                    input #elsewhere type="radio" name="where" value="elsewhere" checked[is_elsewhere];
                    span { (say.t("restore.elsewhere")) }
                }
                div.field {
                    label for="to" { (say.t("restore.folder")) }
                    input #to type="text" name="to" value=(query.get("to")) data-chooses="elsewhere"
                        placeholder="/tmp/restored" autocomplete="off" spellcheck="false";
                }
            }
            fieldset {
                legend { (say.t("restore.conflict")) }
                @for (value, key) in CONFLICTS {
                    label.choice {
                        input type="radio" name="conflict" value=(value) checked[conflict == value];
                        span { (say.t(key)) }
                    }
                }
            }
            div.actions { button { (say.t("restore.preview")) } }
        }
        div.actions {
            form method="post" action="/restore" {
                (token(ask))
                (hidden(&wish))
                input type="hidden" name="where" value=(query.get("where"));
                input type="hidden" name="to" value=(query.get("to"));
                input type="hidden" name="conflict" value=(conflict);
                input type="hidden" name="sure" value="yes";
                button.main.large { (icon("restore"))
                    @if is_elsewhere { (say.t("restore.do-elsewhere")) } @else { (say.t("restore.do-back")) }
                }
            }
            form action="/restore/pack" {
                (hidden(&wish))
                button { (icon("download")) (say.t("restore.download-tar")) }
            }
        }
    };
    Ok(Screen::new(ask, "/restore", title).answer(&middle))
}

/// The entries of a plan, and what stands against some.
fn each(
    ask: &Ask,
    entries: &[engine::PlannedEntry],
    refusals: &[engine::event::ProblemRecord],
) -> Markup {
    let say = ask.say;
    html! {
        details {
            summary { (say.t("fault.details")) }
            ul.rows { @for entry in entries {
                li.row.small {
                    span.path { bdi { "/" (entry.destination) } }
                    span.dim { (say.t(&format!("action.{}", entry.action))) }
                }
            } }
            @if entries.len() == ENTRIES { p.dim { "…" } }
        }
        @if !refusals.is_empty() {
            div.note.bad {
                h3 { (say.t("action.refuse")) }
                ul { @for refusal in refusals.iter().take(50) {
                    li.path { bdi { "/" (refusal.path) } ": " (refusal.what) }
                } }
            }
        }
    }
}

fn hidden(wish: &Wish) -> Markup {
    html! {
        input type="hidden" name="layer" value=(wish.layer.name);
        input type="hidden" name="snapshot" value=(wish.request.snapshot.name);
        @if wish.is_basket { input type="hidden" name="basket" value="1"; }
        @else { @for path in &wish.paths { input type="hidden" name="path" value=(key_of(path)); } }
    }
}

/// The address of the plan that a form asks for.
fn plan_address(wish: &Wish, pairs: &Pairs) -> String {
    let mut address = format!(
        "/restore/plan?layer={}&snapshot={}",
        quoted(&wish.layer.name),
        quoted(&wish.request.snapshot.name)
    );
    if wish.is_basket {
        address.push_str("&basket=1");
    } else {
        for path in &wish.paths {
            address.push_str("&path=");
            address.push_str(&key_of(path));
        }
    }
    for name in ["where", "to", "conflict"] {
        if pairs.has(name) {
            address.push_str(&format!("&{name}={}", quoted(pairs.get(name))));
        }
    }
    address
}

/// Puts back, unless something has to be decided first.
pub(crate) fn begin(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let wish = wish(page, &ask.form)?;
    let planned = planned(page, &wish)?;
    if !ask.form.has("sure") && !is_harmless(&planned) {
        return Ok(go(&plan_address(&wish, &ask.form)));
    }
    let first = wish
        .paths
        .first()
        .map(|path| ask.shown(path))
        .unwrap_or_default();
    let what = match wish.paths.len() {
        1 => first,
        count => format!("{first} (+{})", count - 1),
    };
    let config = page.config()?;
    let job = page
        .jobs
        .begin(page, Kind::Restore, &what, move |page, watch| {
            let done = page.with(&config, |context| {
                engine::restore_undoably(planned, context, watch)
            });
            Ok(Made::from(done?))
        })?;
    basket::take_out(page, &ask.form);
    page.audit.note(ask.at(), "restore", &what);
    Ok(go(&format!("/job?id={}", job.id)))
}

/// Brings back what a restore has replaced.
pub(crate) fn undo(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let id = ask.form.get("undo").to_owned();
    let undos = engine::undos(&page.machine)?;
    let undo = undos.iter().find(|undo| undo.id == id);
    let what = what(ask, undo.ok_or(Fault::NotFound)?);
    let config = page.config()?;
    let job = page
        .jobs
        .begin(page, Kind::Undo, &what, move |page, watch| {
            let done = page.with(&config, |context| engine::undo(&id, context, watch));
            Ok(Made::from(done?))
        })?;
    page.audit.note(ask.at(), "undo", &what);
    Ok(go(&format!("/job?id={}", job.id)))
}

/// What an undo is about, in a few words.
fn what(ask: &Ask, undo: &Undo) -> String {
    let first = undo.first().unwrap_or_default();
    let first = TreePath::from_local(&first).unwrap_or_default();
    match undo.files() {
        0 | 1 => ask.shown(&first),
        count => format!("{} (+{})", ask.shown(&first), count - 1),
    }
}

/// The button that undoes a restore.
pub(crate) fn undo_button(ask: &Ask, id: &str) -> Markup {
    html! {
        form method="post" action="/restore/undo" {
            (token(ask))
            input type="hidden" name="undo" value=(id);
            button { (icon("restore")) (ask.say.t("restore.undo")) }
        }
    }
}

/// The restores that can be undone.
pub(super) fn undos(page: &Page, ask: &Ask) -> Markup {
    let say = ask.say;
    let undos = engine::undos(&page.machine).unwrap_or_default();
    html! {
        @if !undos.is_empty() {
            section.card aria-labelledby="undos" {
                h2 #undos { (say.t("restore.undos")) }
                p.dim { (say.t("restore.undos-text")) }
                ul.rows { @for undo in &undos {
                    li.row {
                        div {
                            div.path.named { (icon("file")) span { bdi { (what(ask, undo)) } } }
                            div.dim.small { (say.t("restore.replaced-at")) " " (time(ask, undo.at)) }
                        }
                        (undo_button(ask, &undo.id))
                    }
                } }
            }
        }
    }
}
