//! `ravelin init --from`

use std::io::IsTerminal;
use std::path::{self, PathBuf};
use std::sync::Arc;

use engine::Machine;
use engine::recover::{Found, Recovered, Search, find_config, look, write_config};
use engine::secret::Reference;
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::Init;
use crate::exit::Exit;
use crate::human;

/// What a passphrase that was typed is called for as long as the program runs.
const TYPED: &str = "RAVELIN_TYPED_PASSPHRASE";

#[derive(Serialize)]
struct Record<'a> {
    config: PathBuf,
    config_written: bool,
    #[serde(flatten)]
    found: &'a Recovered,
    /// Where the passphrase was put.
    passphrase_written: Option<PathBuf>,
}

pub(super) fn run(store: &str, arguments: &Init, session: &Session<'_>) -> Result<Exit, Ended> {
    let mut search = Search {
        store: typed_store(store, session)?,
        passphrase: None,
        path: arguments.path.clone(),
        host: arguments.host.clone(),
        file: session.config_file.clone(),
    };
    if search.file.symlink_metadata().is_ok() {
        let path = search.file;
        return Err(engine::Error::ConfigExists { path }.into());
    }
    let is_open = matches!(
        look(&search, session.machine)?,
        Found::Drop | Found::Duplicity { encrypted: false }
    );
    let mut typed = None;
    if !is_open {
        (search.passphrase, typed) = passphrase(arguments, session)?;
    }
    let machine = typed.as_ref().unwrap_or(session.machine);
    let found = find_config(&search, machine)?;
    let mut written = None;
    if !arguments.dry_run {
        written = write_config(&found, &search, machine)?;
    }
    if session.output.json {
        session.output.json(&Record {
            config: search.file,
            config_written: !arguments.dry_run,
            found: &found,
            passphrase_written: written,
        })?;
    } else {
        tell(&found, &search, written.as_ref(), arguments, session);
    }
    Ok(Exit::Good)
}

/// The store as a configuration would name it: of a folder of this machine, the absolute path.
fn typed_store(store: &str, session: &Session<'_>) -> Result<String, Ended> {
    if store.contains(':') {
        return Ok(store.to_owned());
    }
    let path = session.machine.places.expand(store);
    Ok(path::absolute(path)?.display().to_string())
}

/// What opens the layer: what the command line names, or what is typed, kept for this machine only while
/// the program runs.
fn passphrase(
    arguments: &Init,
    session: &Session<'_>,
) -> Result<(Option<Reference>, Option<Machine>), Ended> {
    if let Some(file) = &arguments.passphrase_file {
        return Ok((Some(Reference::File(path::absolute(file)?)), None));
    }
    if let Some(name) = &arguments.passphrase_env {
        return Ok((Some(Reference::Environment(name.clone())), None));
    }
    if !std::io::stdin().is_terminal() {
        return Ok((None, None));
    }
    let terminal = console::Term::stderr();
    terminal.write_str("Passphrase of that layer (nothing if it has none): ")?;
    let typed = zeroize::Zeroizing::new(terminal.read_secure_line()?);
    if typed.is_empty() {
        return Ok((None, None));
    }
    let variable = Arc::clone(&session.machine.variable);
    let machine = session.machine.with_variables(Arc::new(move |name: &str| {
        if name == TYPED {
            Some(typed.as_str().into())
        } else {
            variable(name)
        }
    }));
    let reference = Reference::Environment(TYPED.to_owned());
    Ok((Some(reference), Some(machine)))
}

fn tell(
    found: &Recovered,
    search: &Search,
    written: Option<&PathBuf>,
    arguments: &Init,
    session: &Session<'_>,
) {
    let say = |text: &str| session.output.say(text);
    let file = search.file.display();
    let time = match found.time {
        Some(time) => format!(" of {}", human::minute(time, &session.zone)),
        None => String::new(),
    };
    let from = format!("as it was in {}{time}", found.snapshot.escape_debug());
    if arguments.dry_run {
        say(&format!("would write {file}, {from}:\n\n{}", found.text));
    } else {
        say(&format!("wrote {file}, {from}"));
    }
    if let Some(file) = written {
        say(&format!("the passphrase is in {}", file.display()));
    }
    for layer in &found.layers {
        let passphrase = match (&layer.passphrase, layer.passphrase_is_there) {
            (None, _) => "no passphrase".to_owned(),
            (Some(reference), Some(true)) => format!("its passphrase is there: {reference}"),
            (Some(reference), Some(false)) => format!("MISSING: its passphrase, {reference}"),
            (Some(reference), None) => format!("its passphrase is asked for: {reference}"),
        };
        say(&format!("{}: {}, {passphrase}", layer.layer, layer.store));
    }
    if !found.store_is_known {
        let store = &search.store;
        say(&format!(
            "no layer is at {store}: change the `store` of the one that has moved there"
        ));
    }
    if !found.encrypted {
        say("this place is not encrypted: whoever can write there could have written it");
    }
    if found.calls_programs {
        say("it calls programs: read it before the first run");
    }
    say("next: `ravelin config check`, `ravelin status`, and docs/guide/restore-a-machine.md");
}
