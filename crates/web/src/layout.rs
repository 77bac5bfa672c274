//! The frame of every screen, and the parts that screens share.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{Explanation, Next};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::Page;
use crate::ask::Ask;
use crate::assets::{HTMX, ICON, SCRIPT, STYLE};
use crate::fault::Fault;
use crate::icon::icon;
use crate::say::Say;

/// The screens that the navigation leads to: address, icon, key of the name.
const SCREENS: [(&str, &str, &str); 8] = [
    ("/", "overview", "nav.overview"),
    ("/restore", "restore", "nav.restore"),
    ("/sources", "sources", "nav.sources"),
    ("/layers", "layers", "nav.layers"),
    ("/activity", "activity", "nav.activity"),
    ("/drop", "drop", "nav.drop"),
    ("/sheet", "sheet", "nav.sheet"),
    ("/settings", "settings", "nav.settings"),
];

/// Nothing that a page does not bring itself: no styles or code from attributes.
const HTMX_CONFIG: &str = r#"{"includeIndicatorStyles":false,"allowEval":false,"selfRequestsOnly":true,"historyCacheSize":0,"refreshOnHistoryMiss":true}"#;

/// A whole page.
pub(crate) struct Screen<'a> {
    pub(crate) ask: &'a Ask,
    /// What stands in the tab.
    pub(crate) title: &'a str,
    /// The address of the screen in the navigation that this one belongs to; empty: none.
    pub(crate) here: &'a str,
    /// Without script, the page is loaded again after so many seconds.
    pub(crate) again: Option<u32>,
    /// Whether the other screens are left out.
    is_alone: bool,
}

impl<'a> Screen<'a> {
    pub(crate) fn new(ask: &'a Ask, here: &'a str, title: &'a str) -> Self {
        Self {
            ask,
            title,
            here,
            again: None,
            is_alone: false,
        }
    }

    /// Without the way to the other screens.
    pub(crate) fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// The answer with this in its middle.
    pub(crate) fn answer(&self, middle: &Markup) -> Response {
        self.answer_with(StatusCode::OK, middle)
    }

    pub(crate) fn answer_with(&self, status: StatusCode, middle: &Markup) -> Response {
        let say = self.ask.say;
        let is_in = self.ask.visitor.is_some();
        let is_alone = self.is_alone || !is_in;
        let page = html! {
            (DOCTYPE)
            html lang=(say.language.code()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (self.title) " · Ravelin" }
                    link rel="icon" type="image/svg+xml" href=(ICON.address());
                    link rel="stylesheet" href=(STYLE.address());
                    meta name="htmx-config" content=(HTMX_CONFIG);
                    @if is_in { script src=(HTMX.address()) defer {} }
                    script src=(SCRIPT.address()) defer {}
                    @if let Some(seconds) = self.again {
                        noscript { meta http-equiv="refresh" content=(seconds); }
                    }
                }
                body class=[is_alone.then_some("alone")] {
                    a.skip href="#main" { (say.t("nav.skip")) }
                    header.head {
                        @if self.ask.is_guest() { span.brand { img src=(ICON.address()) alt=""; "Ravelin" } }
                        @else { a.brand href="/" { img src=(ICON.address()) alt=""; "Ravelin" } }
                        @if !is_alone { (navigation(say, self.here)) }
                    }
                    main #main tabindex="-1" {
                        (told(self.ask))
                        (middle)
                    }
                }
            }
        };
        let headers = [(header::CONTENT_LANGUAGE, say.language.code())];
        (status, headers, page).into_response()
    }
}

fn navigation(say: Say, here: &str) -> Markup {
    html! {
        nav.nav aria-label=(say.t("nav.label")) {
            @for (address, drawing, name) in SCREENS {
                a href=(address) aria-current=[(address == here).then_some("page")] {
                    (icon(drawing)) (say.t(name))
                }
            }
        }
    }
}

/// What the deed before this page came to: `?told=KEY`, a text of our own catalogue only.
fn told(ask: &Ask) -> Markup {
    let key = format!("told.{}", ask.query.get("told"));
    match ask.say.find(&key) {
        Some(text) => html! { div.note.good role="status" { (icon("good")) " " (text) } },
        None => html! {},
    }
}

/// The part of a form that makes it one of this session.
pub(crate) fn token(ask: &Ask) -> Markup {
    html! { input type="hidden" name="token" value=(ask.form_token()); }
}

/// A time, roughly; exactly when pointed at, and for machines.
pub(crate) fn time(ask: &Ask, at: Timestamp) -> Markup {
    let exact = ask.say.time(at, ask.now.time_zone());
    html! { time datetime=(at) title=(exact) { (ask.say.relative(at, ask.at())) } }
}

/// A time to the minute.
pub(crate) fn exact_time(ask: &Ask, at: Timestamp) -> Markup {
    html! { time datetime=(at) { (ask.say.time(at, ask.now.time_zone())) } }
}

/// A state as icon, word and colour.
pub(crate) fn chip(tone: &str, word: &str) -> Markup {
    html! { span.chip.(tone) { (icon(tone)) (word) } }
}

/// What is wrong, why, and what to do: in that order and nothing else.
pub(crate) fn explained(say: Say, explanation: &Explanation) -> Markup {
    let code = explanation.code;
    let meaning = say.find(&format!("error.{}", code.name()));
    html! {
        p { strong { (meaning.unwrap_or_else(|| code.meaning())) } }
        p { (say.t("fault.next")) " " (next(say, explanation)) }
        details {
            summary { (say.t("fault.details")) }
            ul { @for cause in &explanation.because { li.path { (cause) } } }
            p.dim.small { code { (code.name()) } }
        }
    }
}

/// What can be done about it.
pub(crate) fn next(say: Say, explanation: &Explanation) -> Markup {
    let code = explanation.code;
    match &explanation.next {
        Next::Run { command } => html! { (say.t("fault.run")) " " code { (command) } },
        Next::Edit { file, line } => {
            let line = line.to_string();
            html! { (say.put("fault.edit", &[("file", file), ("line", &line)])) }
        }
        Next::Advice { text } => {
            // What is said for the case at hand stays in the words of the engine.
            let general = say.find(&format!("next.{}", code.name()));
            let general = general.filter(|_| text == code.advice());
            ticked(general.unwrap_or(text))
        }
    }
}

/// Text in which `backquotes` stand for code.
pub(crate) fn ticked(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// A page that says why there is no other.
pub(crate) fn fault(page: &Page, ask: &Ask, fault: &Fault) -> Response {
    if matches!(fault, Fault::SignIn) {
        return crate::screens::sign_in::needed(page, ask);
    }
    let say = ask.say;
    let (title, text) = match fault {
        // Guests learn nothing of this machine.
        Fault::Explained(_) if ask.is_guest() => {
            (say.t("guest.nothing"), plain(say, "guest.failed"))
        }
        Fault::NotFound if ask.is_guest() => (say.t("guest.nothing"), plain(say, "guest.unknown")),
        Fault::Explained(explanation) => (say.t("fault.title"), explained(say, explanation)),
        Fault::NotFound => (say.t("fault.not-found"), plain(say, "fault.not-found-text")),
        Fault::Stale => (say.t("fault.title"), plain(say, "fault.stale")),
        Fault::Typed(key) => (say.t("fault.title"), plain(say, key)),
        Fault::Busy => (say.t("fault.title"), plain(say, "fault.busy")),
        Fault::TooMany(seconds) => {
            let seconds = seconds.to_string();
            let text = say.put("fault.too-many", &[("seconds", &seconds)]);
            (say.t("fault.title"), html! { p { (text) } })
        }
        Fault::SignIn => (say.t("fault.title"), html! {}),
    };
    let middle = html! {
        h1 { (title) }
        div.card.bad { (text) }
        @if !ask.is_guest() { p { a href="/" { (say.t("fault.home")) } } }
    };
    let mut screen = Screen::new(ask, "", title);
    screen.is_alone = ask.is_guest();
    let mut response = screen.answer_with(fault.status(), &middle);
    if let Fault::TooMany(seconds) = fault {
        let value = header::HeaderValue::from(u64::try_from(*seconds).unwrap_or(1));
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

fn plain(say: Say, key: &str) -> Markup {
    html! { p { (ticked(say.t(key))) } }
}

/// Part of a page, for our own script.
pub(crate) fn fragment(middle: Markup) -> Response {
    let PreEscaped(text) = middle;
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response()
}
