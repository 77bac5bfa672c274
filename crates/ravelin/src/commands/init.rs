//! `ravelin init`

use std::path::{self, PathBuf};

use engine::setup::{Created, FirstConfig, create_layers};
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::Init;
use crate::exit::Exit;

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

pub(crate) fn run(arguments: &Init, session: &Session<'_>) -> Result<Exit, Ended> {
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
