//! The basket: what is gathered over searches, folders and times before it is put back.
//!
//! It holds names and no content. There is one, as the page is one person's; it ends with the program.
//! What is of one snapshot comes back together, through the same plan as everything else.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use axum::response::Response;
use maud::{Markup, html};
use tree::TreePath;

use super::{key_of, path_of};
use crate::Page;
use crate::ask::{Ask, Pairs, go, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, token};

/// Most things in the basket.
const PICKED_MAX: usize = 2000;

/// A snapshot of a layer, by their names.
type Moment = (String, String);

/// What was picked, by where it is.
pub(crate) type Basket = BTreeMap<Moment, Vec<TreePath>>;

fn basket(page: &Page) -> MutexGuard<'_, Basket> {
    page.basket.lock().unwrap_or_else(PoisonError::into_inner)
}

fn moment(pairs: &Pairs) -> Moment {
    let part = |name| pairs.exact(name).to_owned();
    (part("layer"), part("snapshot"))
}

fn paths(pairs: &Pairs) -> Result<Vec<TreePath>, Fault> {
    pairs.all("path").take(PICKED_MAX).map(path_of).collect()
}

/// What a form is about: the paths that it names, or those of the basket.
pub(super) fn meant(page: &Page, pairs: &Pairs) -> Result<Vec<TreePath>, Fault> {
    if pairs.has("basket") {
        return Ok(basket(page)
            .get(&moment(pairs))
            .cloned()
            .unwrap_or_default());
    }
    paths(pairs)
}

/// Takes out what a form has put back.
pub(super) fn take_out(page: &Page, pairs: &Pairs) {
    if pairs.has("basket") {
        basket(page).remove(&moment(pairs));
    }
}

fn count(basket: &Basket) -> u64 {
    u64::try_from(basket.values().map(Vec::len).sum::<usize>()).unwrap_or(u64::MAX)
}

/// The way to the basket, when something is in it.
pub(super) fn way(page: &Page, ask: &Ask) -> Markup {
    let picked = count(&basket(page));
    html! {
        @if picked > 0 {
            p { a.button href="/restore/basket" {
                (icon("restore")) (ask.say.t("basket.title")) ": " (ask.say.count(picked, "basket.things"))
            } }
        }
    }
}

/// The button that puts one path of a snapshot into the basket; it leads back to `from`.
pub(super) fn button(
    ask: &Ask,
    layer: &str,
    snapshot: &str,
    path: &TreePath,
    from: &str,
) -> Markup {
    html! {
        form method="post" action="/restore/basket" {
            (token(ask))
            input type="hidden" name="layer" value=(layer);
            input type="hidden" name="snapshot" value=(snapshot);
            input type="hidden" name="path" value=(key_of(path));
            input type="hidden" name="from" value=(from);
            button.quiet { (ask.say.t("basket.add")) span.hidden { " " (ask.shown(path)) } }
        }
    }
}

/// What is in the basket; and what was ticked in a folder, to be put in.
pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let ticked = paths(&ask.query)?;
    let picked = basket(page).clone();
    let title = say.t("basket.title");
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("basket.lead")) }
        @if !ticked.is_empty() {
            form.card method="post" action="/restore/basket" {
                (token(ask))
                h2 { (say.t("basket.ticked")) }
                input type="hidden" name="layer" value=(ask.query.exact("layer"));
                input type="hidden" name="snapshot" value=(ask.query.exact("snapshot"));
                ul.rows { @for path in &ticked { li.path {
                    input type="hidden" name="path" value=(key_of(path));
                    bdi { (ask.shown(path)) }
                } } }
                div.actions { button.main { (say.t("basket.add")) } }
            }
        }
        @if picked.is_empty() && ticked.is_empty() { p.card.dim { (say.t("basket.empty")) } }
        @for ((layer, snapshot), paths) in &picked {
            (group(ask, layer, snapshot, paths))
        }
        @if !picked.is_empty() {
            form method="post" action="/restore/basket" {
                (token(ask))
                button.quiet name="do" value="empty" { (say.t("basket.clear")) }
            }
        }
        p { a href="/restore" { (say.t("restore.again")) } }
    };
    Ok(Screen::new(ask, "/restore", title).answer(&middle))
}

/// What is of one snapshot.
fn group(ask: &Ask, layer: &str, snapshot: &str, paths: &[TreePath]) -> Markup {
    let say = ask.say;
    let of = format!(
        "basket=1&layer={}&snapshot={}",
        quoted(layer),
        quoted(snapshot)
    );
    html! {
        section.card aria-label={ (layer) ", " (snapshot) } {
            h2 { bdi { (layer) } }
            p.dim.small.path { bdi { (snapshot) } }
            ul.rows { @for path in paths { li.row {
                span.path { bdi { (ask.shown(path)) } }
                form method="post" action="/restore/basket" {
                    (token(ask))
                    input type="hidden" name="layer" value=(layer);
                    input type="hidden" name="snapshot" value=(snapshot);
                    input type="hidden" name="path" value=(key_of(path));
                    button.quiet name="do" value="remove" {
                        (say.t("basket.remove")) span.hidden { " " (ask.shown(path)) }
                    }
                }
            } } }
            div.actions {
                a.button.main href={ "/restore/plan?" (of) } { (icon("restore")) (say.t("basket.go")) }
                a.button href={ "/restore/pack?" (of) } { (icon("download")) (say.t("restore.download-tar")) }
            }
        }
    }
}

/// Puts things in, takes one out, or empties the basket.
pub(crate) fn change(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let form = &ask.form;
    let moment = moment(form);
    let paths = paths(form)?;
    let mut basket = basket(page);
    match form.get("do") {
        "empty" => basket.clear(),
        "remove" => {
            if let Some(held) = basket.get_mut(&moment) {
                held.retain(|path| !paths.contains(path));
            }
            basket.retain(|_, held| !held.is_empty());
        }
        _ => {
            let room = PICKED_MAX.saturating_sub(basket.values().map(Vec::len).sum());
            if paths.len() > room {
                return Err(Fault::Typed("basket.full"));
            }
            let config = page.config()?;
            engine::find_layer(&config, &moment.0)?;
            let held = basket.entry(moment).or_default();
            for path in paths {
                if !held.contains(&path) {
                    held.push(path);
                }
            }
            basket.retain(|_, held| !held.is_empty());
            let from = form.get("from");
            let is_ours = from.starts_with("/restore?") || from.starts_with("/restore/versions?");
            if is_ours && from.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Ok(go(&format!("{from}&told=picked")));
            }
        }
    }
    Ok(go("/restore/basket"))
}
