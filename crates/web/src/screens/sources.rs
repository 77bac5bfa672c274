//! What is backed up: the sources and their rules, what they leave out, and why.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use engine::config::{Edit, EditError, Source, SourceList};
use engine::{Config, Preview, Reading, Why};
use maud::{Markup, html};
use tree::{Preset, TreePath};

use crate::Page;
use crate::ask::{Ask, go};
use crate::fault::Fault;
use crate::icon::icon;
use crate::layout::{Screen, chip, fragment, ticked, token};
use crate::screens::layers::fault_of;

/// How long a preview looks at files.
const PATIENCE: Duration = Duration::from_secs(8);
/// And while somebody types.
const PATIENCE_LIVE: Duration = Duration::from_secs(2);
/// Most of what is left out that is shown.
const SHOWN: usize = 50;
/// And while somebody types.
const SHOWN_LIVE: usize = 5;

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.is_new() {
        return Ok(go("/welcome"));
    }
    let say = ask.say;
    let config = page.config()?;
    let edit = Edit::open(&page.config_file, &page.machine.places);
    let mark = edit.map_err(engine::Error::from)?.mark();
    let asked = ask.query.get("explain");
    let why = match asked {
        "" => None,
        asked => Some(explained(page, ask, &config, asked)?),
    };
    let title = say.t("nav.sources");
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("sources.lead")) }
        @for (index, source) in config.sources.iter().enumerate() {
            @if source.printed.is_some() { (printed(ask, source)) }
            @else { (form(page, ask, index, source, &mark)) }
        }
        section.card aria-labelledby="explain" {
            h2 #explain { (say.t("sources.explain")) }
            form.search action="/sources" {
                label.hidden for="path" { (say.t("sources.explain-label")) }
                input #path type="text" name="explain" value=(asked) placeholder="~/Documents/report.odt"
                    autocomplete="off" spellcheck="false";
                button { (icon("search")) (say.t("sources.explain-button")) }
            }
            @if let Some(why) = why { div role="status" { (why) } }
        }
        form.card action="/sources/preview" {
            h2 { (say.t("sources.preview")) }
            p { (say.t("sources.preview-text")) }
            button { (say.t("sources.preview-button")) }
        }
    };
    Ok(Screen::new(ask, "/sources", title).answer(&middle))
}

/// A source that is what a command prints: shown, and changed in the file only.
fn printed(ask: &Ask, source: &Source) -> Markup {
    html! {
        section.card {
            h2 { bdi { (source.name.as_deref().unwrap_or_default()) } }
            p { (ask.say.t("sources.printed")) }
            @if let Some(printed) = &source.printed { p.path { code { (printed.command.join(" ")) } } }
        }
    }
}

fn lines(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join("\n")
}

fn form(page: &Page, ask: &Ask, index: usize, source: &Source, mark: &str) -> Markup {
    let say = ask.say;
    let places = &page.machine.places;
    let id = |part: &str| format!("{part}-{index}");
    let paths = lines(source.paths.iter().map(|path| places.shorten(path)));
    let rules = lines(source.exclude.iter().map(|rule| shortened(page, rule)));
    html! {
        form.card method="post" action="/sources" {
            (token(ask))
            input type="hidden" name="source" value=(index);
            input type="hidden" name="mark" value=(mark);
            @if let Some(name) = &source.name { h2 { bdi { (name) } } }
            div.field {
                label for=(id("paths")) { (say.t("sources.paths")) }
                textarea id=(id("paths")) name="paths" rows="4" spellcheck="false" aria-describedby=(id("paths-help")) { (paths) }
                p.dim id=(id("paths-help")) { (say.t("sources.paths-text")) }
            }
            fieldset {
                legend { (say.t("sources.presets")) }
                @for preset in Preset::ALL {
                    label.choice {
                        input type="checkbox" name="preset" value=(preset.name())
                            checked[source.presets.contains(&preset)];
                        span { (say.t(&format!("preset.{}", preset.name()))) }
                    }
                }
            }
            div.field {
                label for=(id("exclude")) { (say.t("sources.exclude")) }
                textarea id=(id("exclude")) name="exclude" rows="4" spellcheck="false" aria-describedby=(id("exclude-help")) { (rules) }
                p.dim id=(id("exclude-help")) { (say.t("sources.exclude-text")) }
            }
            // With script, what the rules would leave out is looked at while they are typed.
            div.live id=(id("live")) role="status" hx-post="/sources/preview" hx-include="closest form"
                hx-sync="this:replace" hx-trigger="input delay:700ms from:closest form" {}
            div.actions {
                button formaction="/sources/preview" name="do" value="preview" { (say.t("sources.preview-this")) }
                button.main { (say.t("settings.save")) }
            }
        }
    }
}

/// A rule as a person writes it, if it is a plain path of the home.
fn shortened(page: &Page, rule: &str) -> String {
    let home = page.machine.places.home.display().to_string();
    match rule.strip_prefix(&home) {
        Some(rest) if rest.starts_with('/') => format!("~{rest}"),
        _ => rule.to_owned(),
    }
}

/// Keeps to the words that stand in the file, where a line means the same.
fn typed(page: &Page, text: &str, known: &[String]) -> Vec<String> {
    let places = &page.machine.places;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let expanded = places.expand(line);
            let same = known.iter().find(|old| places.expand(old) == expanded);
            same.cloned().unwrap_or_else(|| line.to_owned())
        })
        .collect()
}

/// Reads the change that a form asks for.
fn changed(page: &Page, ask: &Ask) -> Result<Edit, Fault> {
    let form = &ask.form;
    let edit = Edit::open(&page.config_file, &page.machine.places);
    let mut edit = edit.map_err(engine::Error::from)?;
    let index: usize = form.get("source").parse().map_err(|_| Fault::NotFound)?;
    let config = page.config()?;
    let source = config.sources.get(index).ok_or(Fault::NotFound)?;
    // What a command prints is set in the file only.
    if source.printed.is_some() {
        return Err(Fault::NotFound);
    }
    let presets: Vec<String> = Preset::ALL
        .iter()
        .map(|preset| preset.name())
        .filter(|name| form.all("preset").any(|chosen| chosen == *name))
        .map(str::to_owned)
        .collect();
    for (key, values) in [
        (
            SourceList::Paths,
            typed(
                page,
                form.get("paths"),
                &edit.list(index, SourceList::Paths),
            ),
        ),
        (SourceList::Presets, presets),
        (
            SourceList::Exclude,
            typed(
                page,
                form.get("exclude"),
                &edit.list(index, SourceList::Exclude),
            ),
        ),
    ] {
        edit.set_list(index, key, &values).map_err(fault_of)?;
    }
    Ok(edit)
}

/// Writes the sources into the file.
pub(crate) fn change(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let edit = changed(page, ask)?;
    let saved = edit.save(ask.form.get("mark"), &page.machine.places);
    saved.map_err(fault_of)?;
    page.audit.note(ask.at(), "change-sources", "");
    Ok(go("/sources?told=saved"))
}

/// Shows what the rules that stand in the file leave out.
pub(crate) fn preview(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let config = page.config()?;
    previewed(ask, &config, None)
}

/// Shows what the rules of a form would leave out. Nothing is changed.
pub(crate) fn preview_change(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let edit = changed(page, ask)?;
    let config = edit.config(&page.machine.places);
    let config = config.map_err(|mistakes| fault_of(EditError::Mistakes(mistakes)))?;
    if ask.is_fragment {
        return live(ask, &config);
    }
    let again = html! {
        form method="post" action="/sources" {
            (token(ask))
            @for name in ["source", "mark", "paths", "exclude"] {
                input type="hidden" name=(name) value=(ask.form.get(name));
            }
            @for preset in ask.form.all("preset") { input type="hidden" name="preset" value=(preset); }
            div.actions {
                button.main { (ask.say.t("settings.save")) }
                a.button href="/sources" { (ask.say.t("keep.back")) }
            }
        }
    };
    previewed(ask, &config, Some(&again))
}

/// Looks at the files, for so long.
fn look(config: &Config, patience: Duration) -> Result<(Preview, u64), Fault> {
    let since = Instant::now();
    let found = engine::preview(config, &mut || since.elapsed() < patience);
    let found = found.map_err(|_| Fault::Typed("sources.wrong"))?;
    let out = found.left_out.iter().map(|one| one.bytes).sum();
    Ok((found, out))
}

/// What the rules of a form would leave out, in short, while they are typed.
fn live(ask: &Ask, config: &Config) -> Result<Response, Fault> {
    let say = ask.say;
    let (found, out) = look(config, PATIENCE_LIVE)?;
    Ok(fragment(html! {
        p {
            (say.t("sources.in")) ": " (say.count(found.files, "count.files")) ", " (say.size(found.bytes)) ". "
            (say.t("sources.out")) ": " (say.size(out)) "."
        }
        @if found.ended_early { p.dim.small { (say.t("sources.ended-early")) } }
        (left_out(ask, &found, SHOWN_LIVE))
    }))
}

fn left_out(ask: &Ask, found: &Preview, shown: usize) -> Markup {
    let say = ask.say;
    html! {
        ul.rows { @for one in found.left_out.iter().take(shown) {
            li.row {
                div { div.path { bdi { (ask.shown(&one.path)) } } div.dim.small { (ticked(&one.because)) } }
                span.small { (say.count(one.files, "count.files")) ", " (say.size(one.bytes)) }
            }
        } }
    }
}

fn previewed(ask: &Ask, config: &Config, more: Option<&Markup>) -> Result<Response, Fault> {
    let say = ask.say;
    let (found, out) = look(config, PATIENCE)?;
    let title = say.t("sources.preview");
    let middle = html! {
        h1 { (title) }
        section.card {
            dl.facts {
                dt { (say.t("sources.in")) } dd { (say.count(found.files, "count.files")) ", " (say.size(found.bytes)) }
                dt { (say.t("sources.out")) } dd { (say.size(out)) }
            }
            @if found.ended_early { p.dim { (say.t("sources.ended-early")) } }
        }
        section.card {
            h2 { (say.t("sources.left-out")) }
            @if found.left_out.is_empty() { p.dim { (say.t("sources.nothing-out")) } }
            (left_out(ask, &found, SHOWN))
        }
        @match more { Some(more) => (more), None => p { a href="/sources" { (say.t("keep.back")) } } }
    };
    Ok(Screen::new(ask, "/sources", title).answer(&middle))
}

/// Whether a path is in the backup, and by which rule.
fn explained(page: &Page, ask: &Ask, config: &Config, asked: &str) -> Result<Markup, Fault> {
    let say = ask.say;
    let path = page.machine.places.expand(asked);
    let bad = |_| Fault::Typed("sources.wrong");
    if !path.is_absolute() {
        return Err(Fault::Typed("sources.wrong"));
    }
    let tree_path = TreePath::from_local(&path).map_err(bad)?;
    let why = Reading::new(config).and_then(|reading| reading.explain(&path));
    let (tone, word, because) = match why.map_err(bad)? {
        Why::Included { rule: Some(rule) } => ("good", "sources.is-in", Some(rule)),
        Why::Included { rule: None } => ("good", "sources.is-in", None),
        Why::NotInSources => (
            "warn",
            "sources.is-out",
            Some(say.t("sources.no-source").to_owned()),
        ),
        Why::LeftOut { at, because } | Why::Unreadable { at, because } if at == tree_path => {
            ("warn", "sources.is-out", Some(because))
        }
        Why::LeftOut { at, because } | Why::Unreadable { at, because } => (
            "warn",
            "sources.is-out",
            Some(format!("{}: {because}", ask.shown(&at))),
        ),
    };
    Ok(html! {
        p { (chip(tone, say.t(word))) " " bdi.path { (ask.shown(&tree_path)) } }
        @if let Some(because) = because { p.dim.path { (ticked(&because)) } }
    })
}
