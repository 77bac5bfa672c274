//! One job: how far it is, and what came of it.

use std::sync::Arc;

use axum::http::{HeaderValue, header::HeaderName};
use axum::response::Response;
use engine::{Outcome, RestoreReport};
use maud::{Markup, html};

use crate::Page;
use crate::ask::{Ask, go};
use crate::fault::Fault;
use crate::icon::icon;
use crate::job::{Ended, Job, Kind, Progress};
use crate::layout::{Screen, explained, fragment, ticked, time, token};
use crate::say::Say;

/// Shows a job. Our script asks each second for what changes of it.
pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let job = page.jobs.find(ask.query.get("id")).ok_or(Fault::NotFound)?;
    let progress = job.progress();
    if ask.is_fragment {
        let mut response = fragment(moving(ask, &job, &progress, true));
        if progress.ended.is_some() {
            let name = HeaderName::from_static("hx-refresh");
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static("true"));
        }
        return Ok(response);
    }
    let say = ask.say;
    let title = say.t(&format!("job.{}", job.kind.name()));
    let middle = match &progress.ended {
        None => html! { h1 { (title) } (box_of(ask, &job)) p.dim { (say.t("job.leave")) } },
        Some(ended) => after(ask, &job, &progress, ended),
    };
    let mut screen = Screen::new(ask, "", title);
    screen.again = progress.ended.is_none().then_some(2);
    Ok(screen.answer(&middle))
}

/// A job that goes on, as a part of any screen.
pub(crate) fn box_of(ask: &Ask, job: &Job) -> Markup {
    let say = ask.say;
    let progress = job.progress();
    let address = format!("/job?id={}", job.id);
    let title = say.t(&format!("job.{}", job.kind.name()));
    html! {
        section.card aria-label=(title) hx-get=(address) hx-trigger="every 1s" hx-swap="none" {
            div.top {
                h2 { a href=(address) { (title) } @if !job.what.is_empty() { ": " bdi.path { (job.what) } } }
                form method="post" action="/job/stop" {
                    (token(ask))
                    input type="hidden" name="id" value=(job.id);
                    button.quiet { (say.t("job.stop")) }
                }
            }
            (moving(ask, job, &progress, false))
        }
    }
}

/// What changes while a job goes on; `alone` when it is sent to take the place of what is shown.
fn moving(ask: &Ask, job: &Job, progress: &Progress, alone: bool) -> Markup {
    let say = ask.say;
    let swap = alone.then_some("true");
    let words = alone.then_some("innerHTML");
    let id = |part: &str| format!("job-{}-{part}", job.id);
    let label = say.t("job.progress");
    html! {
        // Until the engine has said how much there is, the bar has no value.
        @if progress.total > 0 {
            progress id=(id("bar")) hx-swap-oob=[swap] aria-label=(label)
                max=(progress.total) value=(progress.done.min(progress.total)) {}
        } @else {
            progress id=(id("bar")) hx-swap-oob=[swap] aria-label=(label) {}
        }
        p id=(id("say")) hx-swap-oob=[words] role="status" { (sentence(say, job, progress)) }
        p.dim.small.path id=(id("more")) hx-swap-oob=[swap] {
            @if progress.files > 0 {
                (say.count(progress.files, "count.files")) ", " (say.size(progress.bytes))
                @if !progress.path.is_empty() { " · " bdi { (progress.path) } }
            } @else { "\u{a0}" }
        }
    }
}

/// What is being done, in words that change seldom.
fn sentence(say: Say, job: &Job, progress: &Progress) -> String {
    match (&progress.phase, &progress.layer) {
        (Some(phase), _) if phase == "committing" => say.t("job.committing").to_owned(),
        (Some(phase), Some(layer)) => {
            let key = match phase.as_str() {
                "restoring" => "job.restoring",
                _ => "job.reading-back",
            };
            say.put(key, &[("layer", layer)])
        }
        _ if progress.files > 0 => say.t("job.reading").to_owned(),
        _ if matches!(job.kind, Kind::Restore | Kind::Undo) => say.t("job.looking").to_owned(),
        _ if job.kind == Kind::SignIn => say.t("job.elsewhere").to_owned(),
        _ => say.t("job.beginning").to_owned(),
    }
}

/// What came of a job.
fn after(ask: &Ask, job: &Job, progress: &Progress, ended: &Ended) -> Markup {
    let say = ask.say;
    let (tone, word) = match ended.outcome {
        Outcome::Good => ("good", "good"),
        Outcome::Skipped => ("warn", "skipped"),
        Outcome::Partial => ("warn", "partial"),
        Outcome::Failed => ("bad", "failed"),
        Outcome::Stopped => ("wait", "stopped"),
    };
    let name = job.kind.name();
    let sentence = say
        .find(&format!("ended.{name}-{word}"))
        .unwrap_or_else(|| say.t(&format!("ended.{word}")));
    html! {
        section.card.hero.(tone) {
            div {
                h1 { (icon(tone)) span { (sentence) } }
                p.dim {
                    (time(ask, ended.at)) ", "
                    (say.duration(ended.at.duration_since(job.started)))
                    @if progress.files > 0 && !matches!(job.kind, Kind::Restore | Kind::Undo) {
                        ", " (say.count(progress.files, "count.files")) ", " (say.size(progress.bytes))
                    }
                }
            }
            a.button href="/" { (say.t("fault.home")) }
        }
        @if let Some(failure) = &ended.failure { div.note.bad { (explained(say, failure)) } }
        @for (layer, failure) in &progress.failures {
            div.note.bad { h2 { bdi { (layer) } } (explained(say, failure)) }
        }
        @if let Some(failure) = &ended.unscheduled {
            div.note.warn { p { (say.t("job.unscheduled")) } (explained(say, failure)) }
        }
        @if matches!(job.kind, Kind::First | Kind::Layer) && ended.outcome != Outcome::Failed {
            @let layer = if job.what.is_empty() { "disk" } else { &job.what };
            div.card { h2 { (say.t("job.passphrase")) }
                p { (ticked(&say.put("job.passphrase-text", &[("layer", layer)]))) }
                p { a.button href="/sheet" { (icon("sheet")) (say.t("nav.sheet")) } } }
        }
        @if let Some(report) = &ended.restored { (restored(ask, job.kind, report, ended.removed)) }
        @if let Some(undo) = &ended.undo {
            div.card.row {
                p { (say.t("restore.kept")) }
                (crate::screens::restore::undo_button(ask, undo))
            }
        }
        @if !progress.problems.is_empty() {
            div.card {
                h2 { (say.t("activity.problems")) }
                ul.rows { @for problem in &progress.problems {
                    li { div.path { bdi { "/" (problem.path) } } div.dim { (problem.what) } }
                } }
            }
        }
    }
}

/// What a restore did.
fn restored(ask: &Ask, kind: Kind, report: &RestoreReport, (removed, left): (u64, u64)) -> Markup {
    let say = ask.say;
    html! {
        div.card {
            h2 { @if kind == Kind::Undo { (say.t("restored.undone")) } @else { (say.t("restored.title")) } }
            dl.facts {
                dt { (say.t("restored.to")) } dd.path { bdi { (report.target) } }
                @for count in &report.actions {
                    dt { (say.t(&format!("action.{}", count.action))) }
                    dd { (say.count(count.entries, "count.objects")) @if count.bytes > 0 { ", " (say.size(count.bytes)) } }
                }
                @if removed > 0 { dt { (say.t("restored.removed")) } dd { (say.count(removed, "count.files")) } }
                @if left > 0 { dt { (say.t("restored.left")) } dd { (say.count(left, "count.files")) } }
            }
            @if !report.renamed.is_empty() {
                p { (say.t("restored.renamed")) }
                ul.rows { @for renamed in report.renamed.iter().take(50) {
                    li.path { bdi { (renamed.to) } }
                } }
            }
            @if report.problems.count > 0 {
                h3 { (say.count(report.problems.count, "count.problems")) }
                ul.rows { @for problem in report.problems.first.iter().take(50) {
                    li { div.path { bdi { (problem.path) } } div.dim { (problem.what) } }
                } }
            }
            @if let Some(failure) = &report.failure { div.note.bad { (explained(say, failure)) } }
        }
    }
}

/// Asks a job to end.
pub(crate) fn stop(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let job = page.jobs.find(ask.form.get("id")).ok_or(Fault::NotFound)?;
    job.stop();
    page.audit.note(ask.at(), "stop", job.kind.name());
    Ok(go(&format!("/job?id={}", job.id)))
}
