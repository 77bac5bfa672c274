//! Signing in to a cloud, so that a layer can be kept there.
//!
//! A person allows the access on the service's own page: this program never sees their password. The
//! answer is a code, which the browser brings to a port of this machine that is open for it alone, or
//! which is typed in at the service (Google), or which is pasted here (Dropbox). It is worth nothing
//! without what never left this program. The sign-in is kept as `ravelin store login --keep file` keeps
//! it, readable by its owner alone: backups that start on their own find it there.

use std::ops::ControlFlow;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, header::HeaderName};
use axum::response::Response;
use engine::{Explanation, Outcome};
use maud::{Markup, html};
use store::{
    Client, DeviceSignIn, Environment, Error, Keep, Location, Patience, Provider, Secret, SignIn,
};

use crate::Page;
use crate::ask::{Ask, Pairs, go, quoted};
use crate::fault::Fault;
use crate::icon::icon;
use crate::job::{Job, Kind};
use crate::layout::{Screen, explained, fragment, ticked, token};

/// How long a person may take.
const WAIT: Duration = Duration::from_secs(15 * 60);

/// How long passing faults are put up with while a person waits.
const PATIENCE: Patience = Patience {
    total: Duration::from_secs(30),
    ..Patience::PATIENT
};

/// Longest id of a client.
const ID_MAX: usize = 200;

/// What the form of a new layer says, which goes along to the sign-in and back.
const CARRIED: [&str; 5] = ["kind", "place", "name", "schedule", "folder"];

/// A sign-in under way. It ends with the program.
pub(crate) struct Waiting {
    provider: Provider,
    account: Option<String>,
    /// The page that the person opens.
    url: String,
    how: How,
}

enum How {
    /// A code is pasted here.
    Pasted(Box<SignIn>),
    /// This code is typed in at the service.
    Typed(String, Arc<Job>),
    /// The browser brings the code.
    Brought(Arc<Job>),
}

impl Waiting {
    fn job(&self) -> Option<&Arc<Job>> {
        match &self.how {
            How::Pasted(_) => None,
            How::Typed(_, job) | How::Brought(job) => Some(job),
        }
    }
}

/// The service and the account of a place, where one signs in to it.
pub(super) fn service_of(location: &Location) -> Option<(Provider, Option<String>)> {
    match location {
        Location::Drive { account, .. } => Some((Provider::Drive, account.clone())),
        Location::Dropbox { account, .. } => Some((Provider::Dropbox, account.clone())),
        _ => None,
    }
}

/// The address of the sign-in for a place; what was typed goes along.
pub(super) fn address(typed: &Pairs) -> String {
    with_carried("/layers/sign-in?", typed)
}

fn with_carried(address: &str, typed: &Pairs) -> String {
    let carried = CARRIED.iter().filter(|name| typed.has(name));
    let carried = carried.map(|name| format!("{name}={}", quoted(typed.get(name))));
    format!("{address}{}", carried.collect::<Vec<_>>().join("&"))
}

/// Where the way leads when the sign-in stands.
fn back(typed: &Pairs) -> Response {
    if typed.has("kind") {
        return go(&with_carried("/layers/add?told=signed-in&", typed));
    }
    go("/layers?told=signed-in")
}

fn waiting(page: &Page) -> MutexGuard<'_, Option<Waiting>> {
    page.sign_in.lock().unwrap_or_else(PoisonError::into_inner)
}

fn environment(page: &Page) -> Environment {
    let mut environment = page.machine.store_environment();
    environment.patience = PATIENCE;
    environment.keep = Keep::InFile;
    environment
}

/// The service that a request is about.
fn asked_for(typed: &Pairs) -> Result<(Provider, Option<String>), Fault> {
    let location = typed.get("place").parse::<Location>();
    let service = location.ok().and_then(|location| service_of(&location));
    service.ok_or(Fault::NotFound)
}

/// Asks for what the service wants to know, or shows what to do there.
pub(crate) fn show(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let (provider, account) = asked_for(&ask.query)?;
    let mut waiting = waiting(page);
    let is_meant = |one: &&mut Waiting| one.provider == provider && one.account == account;
    let Some(one) = waiting.as_mut().filter(is_meant) else {
        drop(waiting);
        return Ok(answer(page, ask, &ask.query, None));
    };
    let ended = one.job().and_then(|job| job.progress().ended);
    if ask.is_fragment {
        let mut response = fragment(html! {});
        if ended.is_some() {
            let name = HeaderName::from_static("hx-refresh");
            let headers = response.headers_mut();
            headers.insert(name, HeaderValue::from_static("true"));
        }
        return Ok(response);
    }
    let Some(ended) = ended else {
        let title = title(ask, provider);
        let middle = html! { h1 { (title) } (steps(ask, &ask.query, one)) };
        let mut screen = Screen::new(ask, "/layers", &title);
        screen.again = one.job().is_some().then_some(2);
        return Ok(screen.answer(&middle));
    };
    *waiting = None;
    drop(waiting);
    match ended.failure {
        None => Ok(back(&ask.query)),
        Some(why) => Ok(answer(page, ask, &ask.query, Some(Refused::Service(&why)))),
    }
}

/// Why a sign-in did not come about.
enum Refused<'a> {
    /// What was typed does not do; the key of a message.
    Typed(&'static str),
    Service(&'a Explanation),
}

fn title(ask: &Ask, provider: Provider) -> String {
    ask.say.put("cloud.title", &[("service", provider.title())])
}

fn carried(typed: &Pairs) -> Markup {
    html! {
        @for name in CARRIED.iter().filter(|name| typed.has(name)) {
            input type="hidden" name=(name) value=(typed.get(name));
        }
    }
}

/// The form that begins a sign-in, and why the one before did not come about.
fn answer(page: &Page, ask: &Ask, typed: &Pairs, refused: Option<Refused<'_>>) -> Response {
    let say = ask.say;
    let Ok((provider, account)) = asked_for(typed) else {
        return go("/layers/add");
    };
    let last = Client::of_last_sign_in(provider, account.as_deref(), &environment(page));
    let is_known = matches!(last, Ok(Some(_)));
    let (field, help) = match provider {
        Provider::Drive => ("cloud.google-client", "cloud.google-text"),
        Provider::Dropbox => ("cloud.dropbox-client", "cloud.dropbox-text"),
    };
    let client = html! {
        div.field {
            label for="client" { (say.t(field)) }
            @if provider == Provider::Drive {
                textarea #client name="client" rows="4" required[!is_known] autocomplete="off" spellcheck="false"
                    aria-describedby="client-help" {}
            } @else {
                input #client type="text" name="client" required[!is_known] maxlength=(ID_MAX) autocomplete="off"
                    spellcheck="false" aria-describedby="client-help";
            }
            p.dim #client-help { (ticked(say.t(help))) }
        }
    };
    let title = title(ask, provider);
    let middle = html! {
        h1 { (title) }
        p.lead { (say.put("cloud.lead", &[("service", provider.title())])) }
        @match refused {
            None => {},
            Some(Refused::Typed(key)) => div.note.bad role="alert" { (icon("bad")) " " (say.t(key)) },
            Some(Refused::Service(why)) => div.note.bad role="alert" { (explained(say, why)) },
        }
        form.card method="post" action="/layers/sign-in" {
            (token(ask))
            (carried(typed))
            @if is_known {
                p { (say.t("cloud.known")) }
                details { summary { (say.t("cloud.other")) } (client) }
            } @else { (client) }
            div.actions {
                @if provider == Provider::Drive {
                    @if page.address.is_here() {
                        button.main name="do" value="browser" { (say.t("cloud.browser")) }
                    }
                    button.main[!page.address.is_here()] name="do" value="device" { (say.t("cloud.device")) }
                } @else {
                    button.main name="do" value="paste" { (say.t("cloud.go")) }
                }
            }
        }
        p { a href=(with_carried("/layers/add?", typed)) { (say.t("cloud.back")) } }
    };
    Screen::new(ask, "/layers", &title).answer(&middle)
}

/// What a person does at the service, and here.
fn steps(ask: &Ask, typed: &Pairs, waiting: &Waiting) -> Markup {
    let say = ask.say;
    let service = waiting.provider.title();
    // Without a referrer: the service need not know where we are.
    let link = html! {
        a.button.main href=(waiting.url) target="_blank" rel="noopener noreferrer" {
            (say.put("cloud.open", &[("service", service)]))
        }
    };
    html! {
        @match &waiting.how {
            How::Pasted(_) => {
                section.card {
                    p { (say.t("cloud.paste-text")) }
                    div.actions { (link) }
                    form method="post" action="/layers/sign-in" {
                        (token(ask))
                        (carried(typed))
                        div.field {
                            label for="code" { (say.t("cloud.code")) }
                            input #code type="text" name="code" required autocomplete="off" spellcheck="false";
                        }
                        div.actions { button.main name="do" value="code" { (say.t("cloud.finish")) } }
                    }
                }
            },
            How::Typed(code, _) => {
                section.card {
                    p { (say.t("cloud.device-text")) }
                    p { (say.t("cloud.code")) ": " strong { code { (code) } } }
                    div.actions { (link) }
                }
            },
            How::Brought(_) => section.card {
                p { (say.t("cloud.browser-text")) }
                div.actions { (link) }
            },
        }
        @if waiting.job().is_some() {
            p role="status" hx-get=(address(typed)) hx-trigger="every 1s" hx-swap="none" {
                (say.put("cloud.waiting", &[("service", service)]))
            }
        }
        form method="post" action="/layers/sign-in" {
            (token(ask))
            (carried(typed))
            button.quiet name="do" value="stop" { (say.t("cloud.stop")) }
        }
    }
}

/// Begins a sign-in, takes its code, or gives it up.
pub(crate) fn act(page: &Arc<Page>, ask: &Ask) -> Result<Response, Fault> {
    let form = &ask.form;
    let (provider, account) = asked_for(form)?;
    let refuse = |key| Ok(answer(page, ask, form, Some(Refused::Typed(key))));
    let failed = |error: Error| {
        let why = engine::explain(&engine::Error::from(error));
        Ok(answer(page, ask, form, Some(Refused::Service(&why))))
    };
    match form.get("do") {
        "stop" => {
            give_up(page);
            return Ok(go(&with_carried("/layers/add?", form)));
        }
        "code" => {
            let is_meant = |one: &mut Waiting| {
                let is_pasted = matches!(one.how, How::Pasted(_));
                is_pasted && one.provider == provider && one.account == account
            };
            let Some(one) = waiting(page).take_if(is_meant) else {
                return refuse("cloud.over");
            };
            let How::Pasted(sign_in) = &one.how else {
                return refuse("cloud.over");
            };
            let Err(error) = sign_in.finish(account.as_deref(), form.get("code")) else {
                page.audit.note(ask.at(), "sign-in-cloud", provider.title());
                return Ok(back(form));
            };
            // Codes are mistyped.
            let why = engine::explain(&engine::Error::from(error));
            let title = title(ask, provider);
            let middle = html! {
                h1 { (title) }
                div.note.bad role="alert" { (explained(ask.say, &why)) }
                (steps(ask, form, &one))
            };
            waiting(page).get_or_insert(one);
            return Ok(Screen::new(ask, "/layers", &title).answer(&middle));
        }
        _ => {}
    }
    let environment = environment(page);
    let client = match client(provider, account.as_deref(), form, &environment) {
        Ok(Some(client)) => client,
        Ok(None) => return refuse("cloud.no-client"),
        Err(error) => return failed(error),
    };
    give_up(page);
    let begun = match (provider, form.get("do")) {
        (Provider::Dropbox, _) => {
            let sign_in = SignIn::with_code(provider, client, &environment);
            Ok((sign_in.url().to_owned(), How::Pasted(Box::new(sign_in))))
        }
        (Provider::Drive, "browser") if page.address.is_here() => {
            match SignIn::with_browser(provider, client, 0, &environment) {
                Ok(sign_in) => {
                    let (url, account) = (sign_in.url().to_owned(), account.clone());
                    let job = begin(page, provider, move |stop| {
                        sign_in.wait_unless(account.as_deref(), WAIT, stop)
                    })?;
                    Ok((url, How::Brought(job)))
                }
                Err(error) => Err(error),
            }
        }
        (Provider::Drive, _) => match DeviceSignIn::begin(provider, client, &environment) {
            Ok(sign_in) => {
                let (url, code) = (sign_in.url().to_owned(), sign_in.user_code().to_owned());
                let account = account.clone();
                let job = begin(page, provider, move |stop| {
                    sign_in.wait_unless(account.as_deref(), stop)
                })?;
                Ok((url, How::Typed(code, job)))
            }
            Err(error) => Err(error),
        },
    };
    let (url, how) = match begun {
        Ok(begun) => begun,
        Err(error) => return failed(error),
    };
    *waiting(page) = Some(Waiting {
        provider,
        account,
        url,
        how,
    });
    Ok(go(&address(form)))
}

/// Waits for a person on a thread of its own.
fn begin(
    page: &Arc<Page>,
    provider: Provider,
    wait: impl FnOnce(&dyn Fn() -> ControlFlow<()>) -> Result<store::KeptIn, Error> + Send + 'static,
) -> Result<Arc<Job>, Fault> {
    page.jobs
        .begin(page, Kind::SignIn, provider.title(), move |page, watch| {
            let stop = || match watch.stop.is_requested() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            wait(&stop).map_err(engine::Error::from)?;
            page.audit
                .note(page.timestamp(), "sign-in-cloud", provider.title());
            Ok(Outcome::Good.into())
        })
}

/// Ends what is under way, so that the next one can begin.
fn give_up(page: &Page) {
    let before = waiting(page).take();
    let Some(job) = before.as_ref().and_then(Waiting::job) else {
        return;
    };
    job.stop();
    let since = Instant::now();
    while job.is_running() && since.elapsed() < Duration::from_secs(2) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The client: as typed, else that of the last sign-in.
fn client(
    provider: Provider,
    account: Option<&str>,
    form: &Pairs,
    environment: &Environment,
) -> Result<Option<Client>, Error> {
    let typed = form.get("client");
    if typed.is_empty() {
        // A sign-in that cannot be read is no reason not to make a new one.
        return Ok(Client::of_last_sign_in(provider, account, environment).unwrap_or_default());
    }
    if provider == Provider::Drive {
        return Client::read_google_file(&Secret::new(typed.to_owned())).map(Some);
    }
    let is_id = typed.len() <= ID_MAX && typed.bytes().all(|byte| byte.is_ascii_graphic());
    Ok(is_id.then(|| Client {
        id: typed.to_owned(),
        secret: None,
    }))
}
