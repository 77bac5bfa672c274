//! `ravelin init --from`

use std::io::IsTerminal;
use std::path::{self, PathBuf};
use std::sync::Arc;

use engine::Machine;
use engine::recover::{Recovered, Search, find_config, write_config};
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
    #[serde(flatten)]
    found: &'a Recovered,
    /// Where the passphrase was put.
    passphrase_written: Option<PathBuf>,
}

pub(super) fn run(store: &str, arguments: &Init, session: &Session<'_>) -> Result<Exit, Ended> {
    let (passphrase, machine) = passphrase(arguments, session)?;
    let machine = machine.as_ref().unwrap_or(session.machine);
    let search = Search {
        store: store.to_owned(),
        passphrase,
        path: arguments.path.clone(),
        file: session.config_file.clone(),
    };
    let found = find_config(&search, machine)?;
    if arguments.dry_run {
        let file = search.file.display();
        session
            .output
            .say(&format!("would write {file}:\n\n{}", found.text));
        return Ok(Exit::Good);
    }
    let written = write_config(&found, &search, machine)?;
    if session.output.json {
        session.output.json(&Record {
            config: search.file,
            found: &found,
            passphrase_written: written,
        })?;
    } else {
        tell(&found, &search, written.as_ref(), session);
    }
    Ok(Exit::Good)
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
    let typed = terminal.read_secure_line()?;
    if typed.is_empty() {
        return Ok((None, None));
    }
    let variable = Arc::clone(&session.machine.variable);
    let machine = session.machine.with_variables(Arc::new(move |name: &str| {
        if name == TYPED {
            Some(typed.clone().into())
        } else {
            variable(name)
        }
    }));
    Ok((
        Some(Reference::Environment(TYPED.to_owned())),
        Some(machine),
    ))
}

fn tell(found: &Recovered, search: &Search, written: Option<&PathBuf>, session: &Session<'_>) {
    let output = &session.output;
    output.say(&format!(
        "wrote {}, as it was in {} of {}",
        search.file.display(),
        found.snapshot,
        human::minute(found.time, &session.zone)
    ));
    if let Some(file) = written {
        output.say(&format!("the passphrase is in {}", file.display()));
    }
    for layer in &found.layers {
        let is_written = written.is_some_and(|file| {
            let file = Reference::File(file.clone()).to_string();
            layer.passphrase.as_ref() == Some(&file)
        });
        let passphrase = match (&layer.passphrase, layer.passphrase_is_there) {
            (None, _) => "no passphrase".to_owned(),
            (Some(_), Some(true)) => "its passphrase is there".to_owned(),
            (Some(_), _) if is_written => "its passphrase is there".to_owned(),
            (Some(reference), Some(false)) => format!("MISSING: its passphrase, in {reference}"),
            (Some(reference), None) => format!("its passphrase is asked for in {reference}"),
        };
        output.say(&format!("{}: {}, {passphrase}", layer.layer, layer.store));
    }
    if found.has_hooks {
        output.say("it calls programs around each backup: read it before the first run");
    }
    output.say("next: `ravelin config check`, then docs/guide/restore-a-machine.md");
}
