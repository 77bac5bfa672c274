//! Another layer: what it is for, where it is kept, how often.
//!
//! The place is tried before anything is written. Then, in this order, each step of which leaves at
//! worst something unused: the passphrase is written and synced, the configuration names the layer,
//! the layer is made, backed up to and read back. A backup of Borg or duplicity that stands at the place
//! already becomes the layer after it was opened with its passphrase. What runs programs (`rclone:` remotes, hooks,
//! commands) and what would put a password into the file is refused here: those stand in the file
//! only, by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use engine::config::{self, Edit, EditError, NewLayer};
use engine::layer::Access;
use engine::{Config, Explanation, Outcome, Schedule, Secret, Standing};
use maud::{Markup, html};
use store::{Location, Patience, Server, Space};

use super::{SCHEDULES, cloud, fault_of};
use crate::Page;
use crate::ask::{Ask, go};
use crate::fault::{Fault, is_about_the_passphrase};
use crate::icon::icon;
use crate::job::{Kind, Made};
use crate::layout::{Screen, explained, ticked, token};

/// What a layer is for, by the kind that serves it: name and the keys of its words.
const PURPOSES: [(&str, &str, &str); 3] = [
    ("borg", "add.borg", "add.borg-text"),
    ("duplicity", "add.duplicity", "add.duplicity-text"),
    ("drop", "add.drop", "add.drop-text"),
];

/// Examples of places, with the keys of their words.
const EXAMPLES: [(&str, &str); 8] = [
    ("/media/disk/backups", "add.example-disk"),
    ("ssh://me@nas/./backups", "add.example-ssh"),
    ("sftp://me@nas/backups", "add.example-sftp"),
    (
        "webdav+https://me@cloud.example/backups",
        "add.example-webdav",
    ),
    ("s3://bucket/backups", "add.example-s3"),
    ("b2://bucket/backups", "add.example-b2"),
    ("dropbox:/Backups", "add.example-dropbox"),
    ("gdrive:/Backups", "add.example-gdrive"),
];

/// How long passing faults are put up with while a person waits.
const PATIENCE: Patience = Patience {
    total: Duration::from_secs(30),
    ..Patience::PATIENT
};

/// What a try of the place came to.
enum Tried {
    /// What was typed does not do; the key of a message.
    Wrong(&'static str),
    /// It works, with so much room.
    Works(Option<Space>),
    /// It does not.
    Fails(Box<Explanation>),
    /// Nobody is signed in to this service.
    SignIn(store::Provider),
    /// A backup stands there that the layer can go on with; made by whom.
    Standing(&'static str),
}

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if page.is_new() {
        return Ok(go("/welcome"));
    }
    page.config()?;
    Ok(answer(ask, None))
}

/// The questions, with what was answered before, and what came of it.
fn answer(ask: &Ask, tried: Option<&Tried>) -> Response {
    let say = ask.say;
    let form = &ask.form;
    let title = say.t("add.title");
    // Who comes back from a sign-in finds what they had typed.
    let typed = |field: &str| {
        let typed = form.get(field);
        if typed.is_empty() {
            ask.query.get(field)
        } else {
            typed
        }
    };
    let chosen = |field: &str, usual: &str| {
        let typed = form.get(field);
        if typed.is_empty() { usual } else { typed }.to_owned()
    };
    let asked = PURPOSES.map(|(kind, ..)| kind);
    let asked = asked
        .into_iter()
        .find(|kind| *kind == ask.query.get("kind"));
    let kind = chosen("kind", asked.unwrap_or("duplicity"));
    let often = SCHEDULES
        .iter()
        .find(|(value, _)| *value == typed("schedule"));
    let often = often.map_or("daily", |(value, _)| *value);
    let middle = html! {
        h1 { (title) }
        p.lead { (say.t("add.lead")) }
        @if let Some(tried) = tried { (result(ask, tried)) }
        form method="post" action="/layers/add" {
            (token(ask))
            fieldset.card {
                legend { (say.t("add.what-for")) }
                @for (value, name, text) in PURPOSES {
                    label.choice {
                        input type="radio" name="kind" value=(value) checked[kind == value];
                        span { strong { (say.t(name)) } span.dim { (say.t(text)) } }
                    }
                }
            }
            fieldset.card {
                legend { (say.t("add.where")) }
                div.field {
                    label for="place" { (say.t("add.place")) }
                    input #place type="text" name="place" value=(typed("place")) required
                        autocomplete="off" spellcheck="false" aria-describedby="place-help";
                }
                div #place-help {
                    p.dim { (say.t("add.place-text")) }
                    details {
                        summary { (say.t("add.examples")) }
                        dl.facts { @for (example, key) in EXAMPLES {
                            dt { code { (example) } } dd { (ticked(say.t(key))) }
                        } }
                        p.dim { (ticked(say.t("add.secrets"))) }
                    }
                }
                div.actions { button name="do" value="test" { (icon("search")) (say.t("add.test")) } }
                @if matches!(tried, Some(Tried::Standing(_))) || form.get("do") == "adopt" {
                    div.field {
                        label for="passphrase" { (say.t("welcome.its-passphrase")) }
                        input #passphrase type="password" name="passphrase" autocomplete="off"
                            aria-describedby="passphrase-help";
                        p.dim #passphrase-help { (say.t("welcome.its-passphrase-text")) }
                    }
                    div.actions { button.main name="do" value="adopt" { (say.t("welcome.adopt")) } }
                }
            }
            fieldset.card {
                legend { (say.t("add.rest")) }
                div.field {
                    label for="name" { (say.t("add.name")) }
                    input #name type="text" name="name" value=(typed("name")) maxlength="64"
                        placeholder="offsite" pattern="[A-Za-z0-9_][A-Za-z0-9_\\-]*" autocomplete="off" spellcheck="false"
                        aria-describedby="name-help";
                    p.dim #name-help { (say.t("add.name-text")) }
                }
                div.field {
                    label for="schedule" { (say.t("layers.schedule")) }
                    select #schedule name="schedule" {
                        @for (value, key) in SCHEDULES {
                            option value=(value) selected[often == value] { (say.t(key)) }
                        }
                    }
                }
                div.field {
                    label for="folder" { (say.t("add.folder")) }
                    input #folder type="text" name="folder" value=(typed("folder"))
                        placeholder="~/Drop" autocomplete="off" spellcheck="false" aria-describedby="folder-help";
                    p.dim #folder-help { (say.t("add.folder-text")) }
                }
            }
            div.actions {
                button.main.large name="do" value="add" { (icon("go")) (say.t("add.add")) }
                span.dim.small { (say.t("add.after")) }
            }
        }
        p { a href="/layers" { (say.t("keep.back")) } }
    };
    Screen::new(ask, "/layers", title).answer(&middle)
}

fn result(ask: &Ask, tried: &Tried) -> Markup {
    let say = ask.say;
    match tried {
        Tried::Wrong(key) => html! {
            div.note.bad role="alert" { (icon("bad")) " " (ticked(say.t(key))) }
        },
        Tried::Works(space) => html! {
            div.note.good role="status" {
                (icon("good")) " " (say.t("add.works"))
                @if let Some(space) = space {
                    " " (say.put("add.free", &[("size", &say.size(space.free))]))
                }
            }
        },
        Tried::Fails(why) => html! { div.note.bad role="alert" { (explained(say, why)) } },
        Tried::SignIn(provider) => html! {
            div.note role="alert" {
                p { (say.put("cloud.needed", &[("service", provider.title())])) }
                p { a.button.main href=(cloud::address(&ask.form)) {
                    (say.put("cloud.title", &[("service", provider.title())]))
                } }
            }
        },
        Tried::Standing(program) => html! {
            div.note role="status" { (say.put("add.standing", &[("program", program)])) }
        },
    }
}

/// A place as it may be typed here.
struct Place {
    /// As the file will have it.
    store: String,
    location: Location,
    /// Borg speaks to another Borg there: no file of ours can be tried.
    is_borg_server: bool,
}

/// Reads a place; else, the key of why not.
fn place(page: &Page, kind: &str, typed: &str) -> Result<Place, &'static str> {
    if typed.is_empty() || typed.chars().any(char::is_control) {
        return Err("add.wrong-place");
    }
    let is_address = typed.contains(':') && !typed.starts_with(['/', '~']);
    if !is_address {
        let path = page.machine.places.expand(typed);
        if !path.is_absolute() {
            return Err("add.wrong-place");
        }
        let location = Location::Disk(path.clone());
        return Ok(Place {
            store: page.machine.places.shorten(&path),
            location,
            is_borg_server: false,
        });
    }
    let location: Location = typed.parse().map_err(|_| "add.wrong-place")?;
    let has_secret = |server: &Server| server.password.is_some();
    let allowed = match &location {
        Location::Sftp { server, .. } => !has_secret(server),
        Location::WebDav { server, tls, .. } => *tls && !has_secret(server),
        Location::S3(s3) => {
            s3.tls
                && s3.key.is_none()
                && s3
                    .server
                    .as_ref()
                    .is_none_or(|server| server.user.is_none())
        }
        Location::B2 { key, .. } => key.is_none(),
        Location::Drive { .. } | Location::Dropbox { .. } => true,
        // A folder is typed as one; a remote of rclone may run anything.
        Location::Disk(_) | Location::Memory | Location::Rclone(_) => false,
    };
    if !allowed {
        return Err("add.refused");
    }
    let is_ssh = typed.starts_with("ssh://");
    match (kind, is_ssh) {
        ("borg", false) => return Err("add.wrong-borg"),
        ("duplicity" | "drop", true) => return Err("add.wrong-ssh"),
        _ => {}
    }
    Ok(Place {
        store: typed.to_owned(),
        location,
        is_borg_server: is_ssh,
    })
}

/// Whether the place is there, and lets us write, read and delete.
fn try_place(page: &Page, place: &Place) -> Tried {
    if place.is_borg_server {
        // It is spoken to when the layer is made; until then nothing of ours can be there.
        return Tried::Wrong("add.not-tried");
    }
    let mut environment = page.machine.store_environment();
    environment.patience = PATIENCE;
    if let Location::Disk(path) = &place.location {
        // The drive has to be there; the last folder may be new.
        let above = path.parent().unwrap_or(path);
        if !above.is_dir() {
            return Tried::Wrong("add.no-folder");
        }
        if !path.is_dir() {
            return Tried::Works(None);
        }
    }
    match store::probe::touch(&place.location, &environment) {
        Ok(space) => Tried::Works(space),
        Err(error) => {
            let why = engine::explain(&engine::Error::from(error));
            match cloud::service_of(&place.location) {
                Some((provider, _)) if why.code == engine::Code::StoreSignIn => {
                    Tried::SignIn(provider)
                }
                _ => Tried::Fails(Box::new(why)),
            }
        }
    }
}

/// Tries the place, or adds the layer.
pub(crate) fn act(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let form = &ask.form;
    let again = |tried: &Tried| Ok(answer(ask, Some(tried)));
    let kind = PURPOSES.iter().find(|(kind, ..)| *kind == form.get("kind"));
    let Some((kind, ..)) = kind else {
        return again(&Tried::Wrong("add.wrong-kind"));
    };
    let place = match place(page, kind, form.get("place")) {
        Ok(place) => place,
        Err(key) => return again(&Tried::Wrong(key)),
    };
    let tried = try_place(page, &place);
    let is_for_now = matches!(tried, Tried::Works(_)) || place.is_borg_server;
    if form.get("do") == "test" || !is_for_now {
        return again(&tried);
    }
    let is_adopted = form.get("do") == "adopt";
    let standing = match *kind {
        "drop" => Standing::Nothing,
        // Who speaks for it is asked when the layer is made.
        _ if place.is_borg_server && is_adopted => Standing::Borg,
        _ if place.is_borg_server => Standing::Nothing,
        _ => standing(page, &place)?,
    };
    if standing != Standing::Nothing && is_used(&page.config()?, &place) {
        return again(&Tried::Wrong("add.occupied"));
    }
    match (*kind, standing) {
        (_, Standing::Nothing) if is_adopted => return again(&Tried::Wrong("welcome.wrong-adopt")),
        (_, Standing::Nothing) => {}
        ("borg", Standing::Borg) | ("duplicity", Standing::Duplicity) if is_adopted => {}
        ("borg", Standing::Borg) => return again(&Tried::Standing("Borg")),
        ("duplicity", Standing::Duplicity) => return again(&Tried::Standing("duplicity")),
        _ => return again(&Tried::Wrong("add.occupied")),
    }
    let name = name(form.get("name"), kind);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.starts_with('-') || !name.bytes().all(fits) {
        return again(&Tried::Wrong("add.wrong-name"));
    }
    let Some(schedule) = Schedule::parse(form.get("schedule")) else {
        return again(&Tried::Wrong("layers.wrong"));
    };
    let folder = match folder(page, kind, form.get("folder")) {
        Ok(folder) => folder,
        Err(key) => return again(&Tried::Wrong(key)),
    };
    let edit = Edit::open(&page.config_file, &page.machine.places);
    let mut edit = edit.map_err(engine::Error::from)?;
    let mark = edit.mark();
    // Beside the configuration, and never in the place of one that is there.
    let file = page
        .machine
        .places
        .config
        .join(format!("{name}.passphrase"));
    if *kind != "drop" && file.symlink_metadata().is_ok() {
        return again(&Tried::Wrong("add.passphrase-exists"));
    }
    let passphrase = (*kind != "drop").then_some(file);
    let shorten = |path: &PathBuf| page.machine.places.shorten(path);
    let written = passphrase.as_ref().map(shorten);
    let new = NewLayer {
        kind,
        store: &place.store,
        passphrase: written.as_deref(),
        folder: folder.as_deref(),
        schedule,
    };
    match edit.add_layer(&name, &new) {
        Err(EditError::Exists { .. }) => return again(&Tried::Wrong("add.exists")),
        added => added.map_err(fault_of)?,
    }
    let Ok(config) = edit.config(&page.machine.places) else {
        return again(&Tried::Wrong("add.wrong-name"));
    };
    if let Some(file) = &passphrase {
        let known = Secret::new(form.exact("passphrase").to_owned());
        write_passphrase(page, file, is_adopted.then_some(&known))?;
        let layer = engine::find_layer(&config, &name)?;
        let refused = if is_adopted {
            refusal(engine::setup::opens(layer, &page.machine))
        } else if place.is_borg_server {
            is_free(layer, page)
        } else {
            Ok(None)
        };
        // What does not open, or would be another's, leaves nothing behind.
        if !matches!(refused, Ok(None)) {
            let _ = std::fs::remove_file(file);
        }
        if let Some(tried) = refused? {
            return again(&tried);
        }
    }
    let saved = edit.save(&mark, &page.machine.places);
    if saved.is_err()
        && let Some(file) = &passphrase
    {
        // Ours, a moment old, and nothing was encrypted with it.
        let _ = std::fs::remove_file(file);
    }
    let config = saved.map_err(fault_of)?;
    page.forget_installed();
    page.audit.note(ask.at(), "add-layer", &name);
    if *kind == "drop" {
        return Ok(go("/drop"));
    }
    begin(page, config, &name)
}

/// What stands at a place that files of ours can reach.
fn standing(page: &Page, place: &Place) -> Result<Standing, Fault> {
    let mut environment = page.machine.store_environment();
    environment.patience = PATIENCE;
    let standing = Standing::of(&place.location, &environment);
    Ok(standing.map_err(engine::Error::from)?)
}

/// Whether a layer is there already.
fn is_used(config: &Config, place: &Place) -> bool {
    let is_here = |layer: &config::Layer| match (&place.location, layer.local_store()) {
        (Location::Disk(path), Some(store)) => *path == store,
        _ => layer.store == place.store,
    };
    config.layers.iter().any(is_here)
}

/// Whether the Borg of another machine has no repository at the place; else, what to say of it.
fn is_free(layer: &config::Layer, page: &Page) -> Result<Option<Tried>, Fault> {
    let opened = engine::layer::open(layer, Access::Read, &page.machine);
    match opened.map(drop) {
        Err(engine::layer::Error::NotCreated { .. }) => Ok(None),
        Ok(()) => Ok(Some(Tried::Standing("Borg"))),
        Err(error) => match engine::Error::of_layer(&layer.name)(error) {
            error if is_about_the_passphrase(&error) => Ok(Some(Tried::Standing("Borg"))),
            error => Err(error.into()),
        },
    }
}

/// What to say of a backup that should have been opened.
fn refusal(opened: Result<(), engine::Error>) -> Result<Option<Tried>, Fault> {
    match opened {
        Ok(()) => Ok(None),
        Err(error) if is_about_the_passphrase(&error) => {
            Ok(Some(Tried::Wrong("welcome.wrong-passphrase")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the layer, backs up to it, reads it back and restores one file as a proof.
fn begin(page: &Arc<Page>, mut config: Config, name: &str) -> Result<Response, Fault> {
    config.layers.retain(|layer| layer.name == name);
    let job = page
        .jobs
        .begin(page, Kind::Layer, name, move |page, watch| {
            let done = page.with(&config, |context| engine::quickstart(context, watch))?;
            let outcome: Outcome = done.outcome();
            Ok(Made::from(outcome))
        })?;
    Ok(go(&format!("/job?id={}", job.id)))
}

/// The name of the layer: as typed, else after what it is for.
fn name(typed: &str, kind: &str) -> String {
    let usual = match kind {
        "borg" => "nearby",
        "drop" => "drop",
        _ => "offsite",
    };
    if typed.is_empty() { usual } else { typed }.to_owned()
}

/// The folder of this machine of a drop layer.
fn folder(page: &Page, kind: &str, typed: &str) -> Result<Option<String>, &'static str> {
    if kind != "drop" || typed.is_empty() {
        return Ok(None);
    }
    let path = page.machine.places.expand(typed);
    if !path.is_absolute() || typed.chars().any(char::is_control) {
        return Err("add.wrong-folder");
    }
    Ok(Some(page.machine.places.shorten(&path)))
}

/// Writes a passphrase: a new one, or the one that is known.
fn write_passphrase(page: &Page, file: &Path, known: Option<&Secret>) -> Result<(), Fault> {
    let failed = |source| engine::Error::State {
        action: "write",
        path: file.to_owned(),
        source,
    };
    let written = match known {
        Some(known) => engine::setup::keep_passphrase(file, known),
        None => engine::setup::create_passphrase(file, page.machine.random),
    };
    Ok(written.map_err(failed)?)
}
