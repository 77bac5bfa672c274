//! The first visit: what, where, how often. All else has a default that can be seen.
//!
//! Backups of other programs that stand at the chosen place are offered for adoption. The first
//! backup begins at once, is read back, and one file is restored as a proof; from then on the
//! system calls us.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::response::Response;
use engine::setup::{FirstConfig, FirstFormat};
use engine::{Config, Outcome, Secret, Standing};
use maud::{Markup, html};

use crate::Page;
use crate::ask::{Ask, go};
use crate::fault::{Fault, is_about_the_passphrase};
use crate::icon::icon;
use crate::job::{Kind, Made};
use crate::layout::{Screen, token};

/// How often, as the configuration has it, with the key of its words.
const SCHEDULES: [(&str, &str); 3] = [
    ("hourly", "welcome.hourly"),
    ("daily", "welcome.daily"),
    ("weekly", "welcome.weekly"),
];

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if !page.is_new() {
        return Ok(go("/"));
    }
    Ok(answer(page, ask, None, &[]))
}

/// The three questions, with what was answered before.
fn answer(page: &Page, ask: &Ask, wrong: Option<&str>, found: &[(PathBuf, Standing)]) -> Response {
    let say = ask.say;
    let form = &ask.form;
    let is_first = !form.has("where");
    let home = page.machine.places.home.display().to_string();
    let usual = page.machine.places.data.join("disk");
    let title = say.t("welcome.title");
    let schedule = if form.has("often") {
        form.get("often")
    } else {
        "daily"
    };
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("welcome.lead")) }
        @if let Some(wrong) = wrong {
            div.note.bad role="alert" { (icon("bad")) " " (say.t(wrong)) }
        }
        form method="post" action="/welcome" {
            (token(ask))
            @if !found.is_empty() { (offer(ask, found)) }
            fieldset.card {
                legend { (say.t("welcome.what")) }
                label.choice {
                    input type="checkbox" name="home" value="yes" checked[is_first || form.has("home")];
                    span { strong { (say.t("welcome.home")) } span.dim.path { (home) " · " (say.t("welcome.home-text")) } }
                }
                div.field {
                    label for="folder" { (say.t("welcome.folder")) }
                    input #folder type="text" name="folder" value=(form.get("folder"))
                        placeholder="/srv/photos" autocomplete="off" spellcheck="false" aria-describedby="folder-help";
                    p.dim #folder-help { (say.t("welcome.folder-text")) }
                }
            }
            fieldset.card {
                legend { (say.t("welcome.where")) }
                label.choice {
                    input type="radio" name="where" value="here" checked[form.get("where") != "there"];
                    span { strong { (say.t("welcome.here")) } span.dim { (say.t("welcome.here-text")) } " "
                        span.dim.path { (usual.display()) } }
                }
                label.choice for="there" {
                    input #there type="radio" name="where" value="there" checked[form.get("where") == "there"];
                    span { strong { (say.t("welcome.there")) } span.dim { (say.t("welcome.there-text")) } }
                }
                div.field {
                    label for="place" { (say.t("welcome.place")) }
                    input #place type="text" name="place" value=(form.get("place")) data-chooses="there"
                        placeholder="/media/disk/backups" autocomplete="off" spellcheck="false";
                }
            }
            fieldset.card {
                legend { (say.t("welcome.often")) }
                @for (value, key) in SCHEDULES {
                    label.choice {
                        input type="radio" name="often" value=(value) checked[schedule == value];
                        span { (say.t(key)) }
                    }
                }
            }
            div.actions {
                button.main.large name="do" value="begin" { (icon("go")) (say.t("welcome.begin")) }
                span.dim.small { (say.t("welcome.after")) }
            }
        }
    };
    Screen::new(ask, "", title).alone().answer(&middle)
}

/// Backups of other programs that may go on here.
fn offer(ask: &Ask, found: &[(PathBuf, Standing)]) -> Markup {
    let say = ask.say;
    html! {
        section.card.wait aria-labelledby="found" {
            h2 #found { (say.t("welcome.found")) }
            @for (index, (path, standing)) in found.iter().enumerate() {
                @let id = format!("adopt-{index}");
                @if *standing == Standing::Restic {
                    p { bdi.path { (path.display()) } ": " (say.t("welcome.restic")) }
                } @else {
                    label.choice for=(id) {
                        input id=(id) type="radio" name="adopt" value=(path.display()) checked[index == 0];
                        span {
                            strong.path { (path.display()) }
                            span.dim { (say.t(if *standing == Standing::Borg { "welcome.borg" } else { "welcome.duplicity" })) }
                        }
                    }
                }
            }
            @if found.iter().any(|(_, standing)| *standing != Standing::Restic) {
                div.field {
                    label for="passphrase" { (say.t("welcome.its-passphrase")) }
                    input #passphrase type="password" name="passphrase" autocomplete="off";
                    p.dim { (say.t("welcome.its-passphrase-text")) }
                }
                div.actions {
                    button.main name="do" value="adopt" { (say.t("welcome.adopt")) }
                    button name="do" value="new" { (say.t("welcome.new-beside")) }
                }
            } @else {
                div.actions { button name="do" value="new" { (say.t("welcome.new-beside")) } }
            }
        }
    }
}

/// Writes the configuration and begins the first backup.
pub(crate) fn begin(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if !page.is_new() {
        return Ok(go("/"));
    }
    let form = &ask.form;
    let places = &page.machine.places;
    let mut paths = Vec::new();
    if form.has("home") {
        paths.push(places.home.clone());
    }
    if form.has("folder") {
        paths.push(places.expand(form.get("folder")));
    }
    let wrong = |key| Ok(answer(page, ask, Some(key), &[]));
    if paths.is_empty() {
        return wrong("welcome.wrong-nothing");
    }
    if !paths.iter().all(|path| path.is_absolute() && path.exists()) {
        return wrong("welcome.wrong-folder");
    }
    let Some((schedule, _)) = SCHEDULES
        .into_iter()
        .find(|(schedule, _)| *schedule == form.get("often"))
    else {
        return wrong("welcome.wrong-often");
    };
    let mut first = FirstConfig::new(page.config_file.clone(), paths, &page.machine);
    first.schedule = schedule;
    if form.get("where") == "there" {
        let place = places.expand(form.get("place"));
        if !place.is_absolute() {
            return wrong("welcome.wrong-place");
        }
        first.store = place;
    }
    let found = Standing::backups_below(&first.store);
    let config = match form.get("do") {
        "adopt" => match adopt(page, ask, first, &found)? {
            Ok(config) => config,
            Err(key) => return Ok(answer(page, ask, Some(key), &found)),
        },
        "new" => write_new(page, first)?,
        _ if !found.is_empty() => return Ok(answer(page, ask, None, &found)),
        _ => write_new(page, first)?,
    };
    page.audit
        .note(ask.at(), "first", &config.file.display().to_string());
    let job = page.jobs.begin(page, Kind::First, "", move |page, watch| {
        let done = page.with(&config, |context| engine::quickstart(context, watch))?;
        let outcome = done.outcome();
        let mut made = Made::from(outcome);
        // A first backup that failed is tried again by whoever mends it; the schedule helps there,
        // too. Where there is none, the page goes on saying so.
        if outcome != Outcome::Stopped {
            let installed = page.install_schedule(&config);
            made.unscheduled = installed.err().map(|error| engine::explain(&error));
        }
        Ok(made)
    })?;
    Ok(go(&format!("/job?id={}", job.id)))
}

/// A new repository; beside what stands at the place already.
fn write_new(page: &Page, mut first: FirstConfig) -> Result<Config, Fault> {
    if Standing::at(&first.store) != Standing::Nothing {
        first.store = free(|number| {
            let name = if number == 1 {
                "ravelin".to_owned()
            } else {
                format!("ravelin-{number}")
            };
            first.store.join(name)
        });
    }
    Ok(first.write(&page.machine)?)
}

/// Goes on with a backup that is there, unless its passphrase does not open it.
fn adopt(
    page: &Page,
    ask: &Ask,
    mut first: FirstConfig,
    found: &[(PathBuf, Standing)],
) -> Result<Result<Config, &'static str>, Fault> {
    let chosen = ask.form.exact("adopt");
    let known = found
        .iter()
        .find(|(path, _)| path.display().to_string() == chosen);
    let Some((path, standing)) = known else {
        return Ok(Err("welcome.wrong-adopt"));
    };
    first.format = match standing {
        Standing::Borg => FirstFormat::Borg,
        Standing::Duplicity => FirstFormat::Duplicity,
        _ => return Ok(Err("welcome.wrong-adopt")),
    };
    first.store.clone_from(path);
    let folder = page.machine.places.config.clone();
    first.passphrase = free(|number| match number {
        1 => folder.join("disk.passphrase"),
        number => folder.join(format!("disk-{number}.passphrase")),
    });
    let passphrase = Secret::new(ask.form.exact("passphrase").to_owned());
    match first.adopt(&passphrase, &page.machine) {
        Ok(config) => Ok(Ok(config)),
        Err(error) if is_about_the_passphrase(&error) => Ok(Err("welcome.wrong-passphrase")),
        Err(error) => Err(error.into()),
    }
}

/// The first path of a row at which nothing stands.
fn free(path: impl Fn(u32) -> PathBuf) -> PathBuf {
    let is_free = |path: &PathBuf| Path::symlink_metadata(path).is_err();
    let mut number = 1;
    loop {
        let candidate = path(number);
        if number > 1000 || is_free(&candidate) {
            return candidate;
        }
        number += 1;
    }
}
