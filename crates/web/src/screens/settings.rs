//! Settings: language, work that runs on its own, who is signed in.

use std::sync::Arc;

use axum::response::Response;
use maud::html;

use crate::Page;
use crate::ask::{Ask, go};
use crate::fault::Fault;
use crate::layout::{Screen, chip, exact_time, time, token};
use crate::say::Language;
use crate::settings::Settings;

pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let say = ask.say;
    let state = &page.machine.places.state;
    let set = Settings::read(state).language;
    let installed = page.config().map(|config| page.installed(&config));
    let installed = installed.unwrap_or_default();
    let visitor = ask.visitor.as_ref();
    let sessions = u64::try_from(page.sessions.count()).unwrap_or(1);
    let title = say.t("nav.settings");
    let middle = html! {
        h1 { (title) }
        section.card {
            h2 { (say.t("settings.language")) }
            form method="post" action="/settings/language" {
                (token(ask))
                div.field {
                    label for="language" { (say.t("settings.language-label")) }
                    select #language name="language" {
                        option value="" selected[set.is_none()] { (say.t("settings.language-browser")) }
                        @for language in Language::ALL {
                            option value=(language.code()) lang=(language.code()) selected[set == Some(language)] {
                                (language.own_name())
                            }
                        }
                    }
                }
                button { (say.t("settings.save")) }
            }
        }
        section.card {
            h2 { (say.t("settings.schedule")) }
            @if installed.is_empty() {
                p { (chip("warn", say.t("settings.schedule-off"))) }
                p { (say.t("settings.schedule-off-text")) }
                form method="post" action="/settings/schedule" {
                    (token(ask))
                    button.main name="do" value="install" { (say.t("settings.schedule-install")) }
                }
            } @else {
                @for one in &installed {
                    p {
                        @if one.enabled { (chip("good", say.t("settings.schedule-on"))) }
                        @else { (chip("warn", say.t("settings.schedule-asleep"))) }
                        " " (one.by.name())
                        @if let Some(next) = one.next { ", " (say.t("overview.next")) " " (time(ask, next)) }
                    }
                    @for note in &one.notes { p.dim.small { (note) } }
                }
                form method="post" action="/settings/schedule" {
                    (token(ask))
                    button.danger name="do" value="remove" data-ask=(say.t("settings.schedule-remove-ask")) {
                        (say.t("settings.schedule-remove"))
                    }
                }
            }
        }
        section.card {
            h2 { (say.t("settings.access")) }
            p {
                (say.t("settings.address")) " " code { (page.address.url()) } ". "
                (say.count(sessions, "settings.sessions"))
                @if let Some(visitor) = visitor { " " (say.t("settings.since")) " " (exact_time(ask, visitor.since)) "." }
            }
            div.actions {
                form method="post" action="/settings/sign-out" { (token(ask)) button { (say.t("settings.sign-out")) } }
                form method="post" action="/settings/sign-out-all" { (token(ask))
                    button.danger { (say.t("settings.sign-out-all")) } }
            }
        }
        section.card {
            h2 { (say.t("settings.file")) }
            p { (say.t("settings.file-text")) }
            p.path { code { (page.config_file.display()) } }
        }
    };
    Ok(Screen::new(ask, "/settings", title).answer(&middle))
}

pub(crate) fn set_language(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let typed = ask.form.get("language");
    let language = Language::ALL
        .into_iter()
        .find(|language| language.code() == typed);
    let state = &page.machine.places.state;
    let written = Settings { language }.write(state);
    written.map_err(|source| engine::Error::State {
        action: "write the settings of the page in",
        path: state.clone(),
        source,
    })?;
    page.audit.note(ask.at(), "language", typed);
    Ok(go("/settings?told=saved"))
}

/// Lets the system call us, or no longer.
pub(crate) fn schedule(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    // What cannot be read would fail every quarter of an hour.
    let config = page.config()?;
    let (did, told) = match ask.form.get("do") {
        "install" => {
            page.install_schedule(&config)?;
            ("schedule-install", "scheduled")
        }
        "remove" => {
            engine::timer::remove(&page.scheduled_job(&config))?;
            page.forget_installed();
            ("schedule-remove", "unscheduled")
        }
        _ => return Err(Fault::NotFound),
    };
    page.audit.note(ask.at(), did, "");
    Ok(go(&format!("/settings?told={told}")))
}

pub(crate) fn sign_out(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    if let Some(cookie) = &ask.cookie {
        page.sessions.end(cookie);
    }
    page.audit.note(ask.at(), "sign-out", "");
    Ok(go("/sign-in"))
}

pub(crate) fn sign_out_all(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let count = page.sessions.end_all();
    page.audit
        .note(ask.at(), "sign-out-all", &count.to_string());
    Ok(go("/sign-in"))
}
