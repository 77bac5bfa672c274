//! `ravelin store login`

use std::fs;
use std::io::{self, BufRead};
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde::Serialize;
use store::{Client, DeviceSignIn, Environment, Error, ErrorKind, KeptIn, Operation};
use store::{Provider, Secret, SignIn};

use crate::cli::{KeepIn, LoginService, StoreLogin};
use crate::commands::{Ended, Session};
use crate::exit::Exit;

/// How long a person may take.
const WAIT: Duration = Duration::from_secs(15 * 60);

/// Longest client file that is read.
const CLIENT_FILE_MAX: u64 = 64 * 1024;

/// How the person proves who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Browser,
    Device,
    Code,
}

/// What docs/json.md promises.
#[derive(Serialize)]
struct Record<'a> {
    service: &'a str,
    account: Option<&'a str>,
    kept_in: &'static str,
    place: String,
}

pub(crate) fn run(arguments: &StoreLogin, session: &Session<'_>) -> Result<Exit, Ended> {
    let provider = match arguments.service {
        LoginService::Gdrive => Provider::Drive,
        LoginService::Dropbox => Provider::Dropbox,
    };
    let mut environment = session.machine.store_environment();
    environment.patience = super::PATIENCE;
    environment.keep = match arguments.keep {
        KeepIn::Auto => store::Keep::InKeyringElseFile,
        KeepIn::Keyring => store::Keep::InKeyring,
        KeepIn::File => store::Keep::InFile,
    };
    let client = client(provider, arguments, &environment).map_err(engine::Error::from)?;
    let kept = match way(provider, arguments, session) {
        Way::Browser => by_browser(provider, client, arguments, session, &environment)?,
        Way::Device => by_device(provider, client, arguments, session, &environment)?,
        Way::Code => by_code(provider, client, arguments, session, &environment)?,
    };
    let kept = match kept {
        Ok(kept) => kept,
        Err(_) if session.stop.is_requested() => return Ok(Exit::Interrupted),
        Err(error) => return Err(engine::Error::from(error).into()),
    };
    let (kept_in, place) = match kept {
        KeptIn::File(path) => ("file", path.display().to_string()),
        KeptIn::Keyring(name) => ("keyring", name),
    };
    if session.output.json {
        session.output.json(&Record {
            service: provider.name(),
            account: arguments.account.as_deref(),
            kept_in,
            place,
        })?;
    } else {
        let title = provider.title();
        session.output.tell(&format!(
            "signed in to {title}; the sign-in is kept in the {kept_in}: {place}"
        ));
    }
    Ok(Exit::Good)
}

/// The client: named now, or that of the last sign-in.
fn client(
    provider: Provider,
    arguments: &StoreLogin,
    environment: &Environment,
) -> Result<Client, Error> {
    if let Some(path) = &arguments.client_file {
        let text = private_text(path)
            .map_err(|error| Error::from_io(error, Operation::SignIn, &path.display()))?;
        return Client::read_google_file(&text);
    }
    if let Some(id) = &arguments.client_id {
        let variable = "RAVELIN_CLIENT_SECRET";
        return Ok(Client {
            id: id.clone(),
            secret: (environment.variable)(variable)
                .filter(|text| !text.is_empty())
                .map(Secret::new),
        });
    }
    let account = arguments.account.as_deref();
    // A sign-in that cannot be read is no reason not to make a new one.
    if let Ok(Some(client)) = Client::of_last_sign_in(provider, account, environment) {
        return Ok(client);
    }
    let why = match provider {
        Provider::Drive => {
            "Google wants to know which program asks: register a client of your own, as docs/stores.md shows, and name its file with --client-file"
        }
        Provider::Dropbox => {
            "Dropbox wants to know which program asks: register an app of your own, as docs/stores.md shows, and name its app key with --client-id"
        }
    };
    Err(Error::new(ErrorKind::SignIn, Operation::SignIn)
        .on(provider.name())
        .because(why))
}

fn private_text(path: &std::path::Path) -> io::Result<Secret> {
    let file = fs::File::open(path)?;
    let text = io::read_to_string(io::Read::take(file, CLIENT_FILE_MAX))?;
    Ok(Secret::new(text))
}

/// A browser where there is one; else a code, typed in elsewhere (Google) or copied from there
/// (Dropbox).
fn way(provider: Provider, arguments: &StoreLogin, session: &Session<'_>) -> Way {
    let displays = ["DISPLAY", "WAYLAND_DISPLAY"];
    let has_display = displays
        .iter()
        .any(|name| (session.machine.variable)(name).is_some_and(|value| !value.is_empty()));
    let headless = match provider {
        Provider::Drive => Way::Device,
        Provider::Dropbox => Way::Code,
    };
    if arguments.no_browser || (arguments.port.is_none() && !has_display) {
        headless
    } else {
        Way::Browser
    }
}

type Kept = Result<KeptIn, Error>;

fn by_browser(
    provider: Provider,
    client: Client,
    arguments: &StoreLogin,
    session: &Session<'_>,
    environment: &Environment,
) -> Result<Kept, Ended> {
    let port = arguments.port.unwrap_or(match provider {
        Provider::Drive => 0,
        // Dropbox compares the whole address with the registered one.
        Provider::Dropbox => DROPBOX_PORT,
    });
    let sign_in = match SignIn::with_browser(provider, client, port, environment) {
        Ok(sign_in) => sign_in,
        Err(error) => return Ok(Err(error)),
    };
    session.output.say(&format!(
        "open this page in a browser of this machine and allow the access:\n\n  {}\n",
        sign_in.url()
    ));
    open_browser(sign_in.url());
    Ok(sign_in.wait_unless(arguments.account.as_deref(), WAIT, &|| stop(session)))
}

/// The port of the address `http://127.0.0.1:53682/`, to be registered with the app.
const DROPBOX_PORT: u16 = 53682;

fn by_device(
    provider: Provider,
    client: Client,
    arguments: &StoreLogin,
    session: &Session<'_>,
    environment: &Environment,
) -> Result<Kept, Ended> {
    let sign_in = match DeviceSignIn::begin(provider, client, environment) {
        Ok(sign_in) => sign_in,
        Err(error) => return Ok(Err(error)),
    };
    session.output.say(&format!(
        "on any machine with a browser, open\n\n  {}\n\nand type in the code  {}",
        sign_in.url(),
        sign_in.user_code()
    ));
    Ok(sign_in.wait_unless(arguments.account.as_deref(), &|| stop(session)))
}

fn by_code(
    provider: Provider,
    client: Client,
    arguments: &StoreLogin,
    session: &Session<'_>,
    environment: &Environment,
) -> Result<Kept, Ended> {
    let sign_in = SignIn::with_code(provider, client, environment);
    session.output.say(&format!(
        "on any machine with a browser, open\n\n  {}\n\nallow the access, and paste the code that is shown:",
        sign_in.url()
    ));
    let Some(code) = typed(session)? else {
        return Ok(Err(given_up(provider)));
    };
    if code.trim().is_empty() {
        return Ok(Err(Error::new(ErrorKind::SignIn, Operation::SignIn)
            .on(provider.name())
            .because("no code was given")));
    }
    Ok(sign_in.finish(arguments.account.as_deref(), &code))
}

/// A line from the person; `None` when they would rather stop.
fn typed(session: &Session<'_>) -> io::Result<Option<String>> {
    // Read aside: reading goes on over a Ctrl-C.
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line);
        // Who asked may have gone.
        let _ = sender.send(read.map(|_| line));
    });
    loop {
        match receiver.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => return line.map(Some),
            Err(_) if session.stop.is_requested() => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

fn given_up(provider: Provider) -> Error {
    Error::new(ErrorKind::SignIn, Operation::SignIn)
        .on(provider.name())
        .because("the sign-in was given up")
}

fn stop(session: &Session<'_>) -> ControlFlow<()> {
    if session.stop.is_requested() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// Opens the page. Where that is impossible the person has the address.
fn open_browser(url: &str) {
    let opened = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut child) = opened {
        // It ends when the browser has the page; nobody waits for it.
        std::thread::spawn(move || child.wait());
    }
}
