//! `ravelin quickstart`

use std::path::{self, PathBuf};

use engine::setup::Created;
use engine::setup::FirstConfig;
use engine::{Config, Outcome, Quickstart, VerifyReport};
use serde::Serialize;

use super::{Ended, Session, backup, verify};
use crate::cli;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

#[derive(Serialize)]
struct QuickstartRecord<'a> {
    config: PathBuf,
    /// Whether this wrote the configuration.
    first: bool,
    #[serde(flatten)]
    done: &'a Quickstart,
}

pub(crate) fn run(arguments: &cli::Quickstart, session: &Session<'_>) -> Result<Exit, Ended> {
    let file = &session.config_file;
    let is_first = file.symlink_metadata().is_err();
    if is_first && arguments.paths.is_empty() {
        let output = session.output;
        output.say("error: the first time, quickstart has to be told what to protect");
        output.say("  next: run `ravelin quickstart ~/Documents`, or name any other folders");
        return Ok(Exit::Usage);
    }
    let mut paths = Vec::new();
    for typed in &arguments.paths {
        paths.push(path::absolute(typed)?);
    }
    let config = if is_first {
        write_config(paths, session)?
    } else {
        let config = session.config()?;
        refuse_other_paths(&config, &paths)?;
        config
    };
    let done = session.with_context(&config, |context| {
        let listener = Listener::new(session.output);
        let done = engine::quickstart(context, listener.watch(session.stop));
        listener.finish()?;
        Ok(done?)
    })?;
    if session.output.json {
        session.output.json(&QuickstartRecord {
            config: file.clone(),
            first: is_first,
            done: &done,
        })?;
    } else {
        tell(&done, session);
    }
    Ok(match Exit::of_report(&done.backup) {
        Exit::Good => Exit::of_outcome(done.outcome()),
        exit => exit,
    })
}

fn write_config(paths: Vec<PathBuf>, session: &Session<'_>) -> Result<Config, Ended> {
    if paths.iter().all(|path| path.symlink_metadata().is_err()) {
        return Err(engine::Error::NoSource { paths }.into());
    }
    let first = FirstConfig::new(session.config_file.clone(), paths, session.machine);
    let config = first.write(session.machine)?;
    let places = &session.machine.places;
    session.output.tell(&format!(
        "Configuration: {}\nRepository:    {}\nPassphrase:    {}  (keep a copy elsewhere: without it nothing can be restored)",
        places.shorten(&first.file),
        places.shorten(&first.store),
        places.shorten(&first.passphrase),
    ));
    Ok(config)
}

/// A configuration is never changed behind a person's back: other paths are refused.
fn refuse_other_paths(config: &Config, paths: &[PathBuf]) -> Result<(), Ended> {
    let known: Vec<&PathBuf> = config
        .sources
        .iter()
        .flat_map(|source| &source.paths)
        .collect();
    let is_known = |path: &PathBuf| known.iter().any(|known| path.starts_with(known));
    if paths.iter().all(is_known) {
        return Ok(());
    }
    let path = config.file.clone();
    Err(engine::Error::ConfigExists { path }.into())
}

fn tell(done: &Quickstart, session: &Session<'_>) {
    for (layer, created) in &done.created {
        if *created == Created::New {
            session.output.tell(&format!("{layer}: created"));
        }
    }
    backup::tell(&done.backup, session);
    if let Some(report) = &done.verify {
        verify::tell(report, session);
    }
    match &done.proof {
        Some(proof) if proof.same => {
            let path = &proof.path;
            session.output.tell(&format!(
                "proof: restored {path} ({}) into a scratch folder, every byte is the same",
                human::size(proof.bytes)
            ));
        }
        Some(proof) => {
            let path = &proof.path;
            let explanation = engine::Explanation::of_code(engine::Code::NotProved);
            session.output.explain(
                &format!("{path} came back with other content"),
                &explanation,
            );
        }
        None if done.verify.as_ref().is_some_and(VerifyReport::is_good) => {
            session.output.tell("proof: no file was there to restore");
        }
        None => {}
    }
    if !matches!(done.outcome(), Outcome::Failed | Outcome::Stopped) {
        session.output.tell(NEXT);
    }
}

/// What to do with a backup that stands.
const NEXT: &str = "
Next:
  ravelin status                           is everything protected?
  ravelin snapshots                        which snapshots are there?
  ravelin find NAME                        look for a file in all of them
  ravelin restore latest PATH --to FOLDER  bring something back
  ravelin backup                           back up again
  ravelin schedule install                 back up by itself from now on
  ravelin runbook                          the page for the worst day, to be printed";
