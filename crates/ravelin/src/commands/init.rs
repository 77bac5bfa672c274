//! `ravelin init`

use std::path::{self, Path, PathBuf};

use engine::setup::{Created, FirstConfig, create_layers};
use engine::{Config, create_private_file};
use serde::Serialize;

use super::{Ended, Session, recover};
use crate::cli::Init;
use crate::exit::Exit;
use crate::import::{self, Program};

#[derive(Serialize)]
struct InitRecord {
    config: PathBuf,
    config_written: bool,
    layers: Vec<CreatedRecord>,
}

#[derive(Serialize)]
struct CreatedRecord {
    layer: String,
    created: bool,
}

#[derive(Serialize)]
struct ImportRecord {
    config: PathBuf,
    passphrases: Vec<PathBuf>,
    left_out: Vec<String>,
}

pub(crate) fn run(arguments: &Init, session: &Session<'_>) -> Result<Exit, Ended> {
    if let Some(program) = arguments.import {
        return take_over(program, arguments, session);
    }
    if let Some(store) = &arguments.from {
        return recover::run(store, arguments, session);
    }
    if let Some(word) = &arguments.file {
        let next = format!("Run `ravelin init --source {}`.", word.display());
        let what = "what to protect is named by an option";
        return Ok(refuse(what, &next, session));
    }
    let file = &session.config_file;
    let is_first = file.symlink_metadata().is_err();
    if is_first {
        let first = first_config(arguments, session)?;
        if arguments.dry_run {
            let text = first.text(session.machine);
            session
                .output
                .say(&format!("would write {}:\n\n{text}", file.display()));
            return Ok(Exit::Good);
        }
        first.write(session.machine)?;
        session.output.tell(&format!("wrote {}", file.display()));
        session.output.tell(&format!(
            "the passphrase is in {}: keep a copy elsewhere",
            first.passphrase.display()
        ));
    } else if !arguments.sources.is_empty() || arguments.store.is_some() {
        let path = file.clone();
        return Err(engine::Error::ConfigExists { path }.into());
    }
    let config = session.config()?;
    let layers: Vec<_> = config
        .layers
        .iter()
        .filter(|layer| layer.is_runnable())
        .collect();
    if arguments.dry_run {
        for layer in layers {
            session.output.say(&format!(
                "would create layer `{}` unless it exists",
                layer.name
            ));
        }
        return Ok(Exit::Good);
    }
    let created = session.with_context(&config, |context| Ok(create_layers(&layers, context)?))?;
    let mut records = Vec::new();
    for (layer, created) in created {
        let created = created == Created::New;
        let what = if created { "created" } else { "exists already" };
        session.output.tell(&format!("layer `{layer}` {what}"));
        records.push(CreatedRecord { layer, created });
    }
    if session.output.json {
        session.output.json(&InitRecord {
            config: file.clone(),
            config_written: is_first,
            layers: records,
        })?;
    }
    Ok(Exit::Good)
}

fn refuse(what: &str, next: &str, session: &Session<'_>) -> Exit {
    session.output.say(&format!("error: {what}"));
    session.output.say(&format!("  next: {next}"));
    Exit::Usage
}

fn first_config(arguments: &Init, session: &Session<'_>) -> Result<FirstConfig, Ended> {
    let mut paths = Vec::new();
    for source in &arguments.sources {
        paths.push(path::absolute(source)?);
    }
    if paths.is_empty() {
        paths.push(session.machine.places.home.clone());
    }
    let mut first = FirstConfig::new(session.config_file.clone(), paths, session.machine);
    if let Some(store) = &arguments.store {
        first.store = path::absolute(store)?;
    }
    Ok(first)
}

/// Makes a configuration of another program's settings. Passphrases are written before the
/// configuration that needs them, and nothing is replaced.
fn take_over(program: Program, arguments: &Init, session: &Session<'_>) -> Result<Exit, Ended> {
    let places = &session.machine.places;
    let output = session.output;
    let refuse = |what: &str, next: &str| Ok(refuse(what, next, session));
    let usual = program.usual_files(places);
    let settings = arguments.settings.clone().or(arguments.file.clone());
    let settings = settings.or_else(|| usual.into_iter().find(|file| file.exists()));
    let Some(settings) = settings else {
        return refuse(
            "the settings to take over were not found",
            "Name their file: --settings FILE.",
        );
    };
    let shown = settings.display();
    let text = match import::read_file(&settings) {
        Ok(text) => text,
        Err(error) => {
            return refuse(
                &format!("cannot read {shown}: {error}"),
                "Name a file that you may read: --settings FILE.",
            );
        }
    };
    let imported = match program.import(&text, places) {
        Ok(imported) => imported,
        Err(error) => {
            return refuse(
                &format!("{shown} cannot be taken over: {error}"),
                "Write the configuration by hand: docs/guide/migrate.md translates.",
            );
        }
    };
    let file = &session.config_file;
    // What does not read back is not written.
    Config::parse(&imported.text, file, places)
        .map_err(|mistakes| engine::Error::from(engine::config::Error::from(mistakes)))?;
    if arguments.dry_run {
        output.say(&format!(
            "would write {}:\n\n{}",
            file.display(),
            imported.text
        ));
        return Ok(Exit::Good);
    }
    if file.symlink_metadata().is_ok() {
        let path = file.clone();
        return Err(engine::Error::ConfigExists { path }.into());
    }
    let mut passphrases = Vec::new();
    for (path, secret) in &imported.secrets {
        let line = zeroize::Zeroizing::new(format!("{}\n", secret.expose()));
        write(path, line.as_bytes())?;
        output.tell(&format!(
            "the passphrase is in {}: keep a copy elsewhere",
            path.display()
        ));
        passphrases.push(path.clone());
    }
    write(file, imported.text.as_bytes())?;
    output.tell(&format!("wrote {}", file.display()));
    for line in &imported.left_out {
        output.tell(&format!("not taken over: {line}"));
    }
    output.tell("next: read it, then `ravelin init`, `ravelin backup` and `ravelin drill`");
    if output.json {
        output.json(&ImportRecord {
            config: file.clone(),
            passphrases,
            left_out: imported.left_out,
        })?;
    }
    Ok(Exit::Good)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), engine::Error> {
    create_private_file(path, bytes).map_err(|source| engine::Error::State {
        action: "write",
        path: path.to_owned(),
        source,
    })
}
