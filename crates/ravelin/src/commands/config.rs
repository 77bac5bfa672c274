//! `ravelin config`

use engine::config::{Origin, Setting};
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::Config;
use crate::exit::Exit;
use crate::human;

pub(crate) fn run(which: &Config, session: &Session<'_>) -> Result<Exit, Ended> {
    match which {
        Config::Check => check(session),
        Config::Show => show(session),
        Config::Schema => {
            session.output.data(SCHEMA.as_bytes())?;
            Ok(Exit::Good)
        }
    }
}

/// The JSON Schema of the configuration. A test holds it to what is understood.
const SCHEMA: &str = include_str!("../../../../docs/config.schema.json");

#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    valid: bool,
    mistakes: &'a [MistakeRecord],
}

#[derive(Serialize)]
struct MistakeRecord {
    line: usize,
    key: String,
    message: String,
}

fn check(session: &Session<'_>) -> Result<Exit, Ended> {
    let file = session.config_file.display().to_string();
    let config = match engine::Config::read(&session.config_file, &session.machine.places) {
        Err(engine::config::Error::Mistakes(mistakes)) if session.output.json => {
            let mistakes: Vec<MistakeRecord> = mistakes
                .list
                .iter()
                .map(|mistake| MistakeRecord {
                    line: mistake.line,
                    key: mistake.key.clone(),
                    message: mistake.fault.to_string(),
                })
                .collect();
            let valid = false;
            session.output.json(&Checked {
                file,
                valid,
                mistakes: &mistakes,
            })?;
            return Ok(Exit::Usage);
        }
        result => result.map_err(engine::Error::from)?,
    };
    if session.output.json {
        let valid = true;
        return session.answer(&Checked {
            file,
            valid,
            mistakes: &[],
        });
    }
    let count = |length: usize, noun| human::count(u64::try_from(length).unwrap_or(0), noun);
    session.output.tell(&format!(
        "{file} is fine: {}, {}",
        count(config.sources.len(), "source"),
        count(config.layers.len(), "layer")
    ));
    for note in config.notes() {
        session.output.tell(&format!("note: {note}"));
    }
    Ok(Exit::Good)
}

#[derive(Serialize)]
struct SettingRecord<'a> {
    key: &'a str,
    /// In TOML.
    value: &'a str,
    /// `null` for a default.
    line: Option<usize>,
}

fn show(session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let line = |setting: &Setting| match setting.origin {
        Origin::Line(line) => Some(line),
        Origin::Default => None,
    };
    if session.output.json {
        let records: Vec<SettingRecord<'_>> = config
            .settings
            .iter()
            .map(|setting| SettingRecord {
                key: &setting.key,
                value: &setting.value,
                line: line(setting),
            })
            .collect();
        return session.answer(&records);
    }
    let mut text = String::new();
    for setting in &config.settings {
        let origin = line(setting).map_or("default".to_owned(), |line| format!("line {line}"));
        let shown = format!("{} = {}", setting.key, setting.value);
        text.push_str(&format!("{shown}  # {origin}\n"));
    }
    session.output.data(text.as_bytes())?;
    Ok(Exit::Good)
}
