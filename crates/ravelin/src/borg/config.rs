//! `borg config`

use std::path::PathBuf;
use std::sync::Arc;

use borg::{Access, Backend, Repository};

use super::arguments::Arguments;
use super::fail::Failure;
use super::init::quota;
use super::print;
use super::session::Session;

/// Values of a repository that may be seen and changed, and what they are without being set.
const KNOWN: &[(&str, &str)] = &[
    ("version", "1"),
    ("segments_per_dir", "1000"),
    ("max_segment_size", "524288000"),
    ("additional_free_space", "0"),
    ("storage_quota", "0"),
    ("append_only", "False"),
];

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let has = |name| arguments.has(name);
    if has("delete") && has("list") {
        return Err(Failure::usage(
            "argument -l/--list: not allowed with argument -d/--delete",
        ));
    }
    let spot = session.repository(arguments)?;
    if !has("list") && !has("name") {
        return Err(Failure::command("No config key name was provided."));
    }
    let backend = Backend::open(&spot.location, &session.options(Access::Write))?;
    let Backend::Local(repository) = &backend else {
        return Err(Failure::command(
            "The configuration of a repository elsewhere cannot be changed.",
        ));
    };
    if has("cache") {
        let file = session.home.cache_of(&repository.id()).join("config");
        return cache(arguments, file);
    }
    of_repository(arguments, repository)
}

fn no_option(name: &str, section: &str) -> Failure {
    Failure::error(format!("No option '{name}' in section: '{section}'"))
}

fn of_repository(arguments: &Arguments, repository: &Arc<Repository>) -> Result<(), Failure> {
    let config = repository.config();
    if arguments.has("list") {
        let mut text = String::from("[repository]\n");
        for (name, usual) in KNOWN {
            let value = config.get(name).unwrap_or(usual);
            text.push_str(&format!("{name} = {value}\n"));
        }
        for (name, value) in config.entries() {
            if !KNOWN.iter().any(|(known, _)| *known == name) && name != "key" {
                text.push_str(&format!("{name} = {value}\n"));
            }
        }
        return print(text.as_bytes());
    }
    let typed = arguments.text("name").unwrap_or_default();
    let name = match typed.split_once('.') {
        Some(("repository", name)) => name,
        Some(_) => return Err(Failure::error("Invalid section")),
        None => &typed,
    };
    let value = arguments.text("value");
    let is_valid = match (name, &value) {
        ("segments_per_dir" | "last_segment_checked", Some(value)) => value.parse::<u32>().is_ok(),
        ("max_segment_size" | "additional_free_space", Some(value)) => {
            borg::parse_size(value).is_some()
        }
        ("storage_quota", Some(value)) => value == "0" || quota(value).is_ok(),
        ("append_only", Some(value)) => ["0", "1"].contains(&value.as_str()),
        ("id", Some(value)) => value.parse::<borg::Id>().is_ok(),
        (
            "segments_per_dir"
            | "last_segment_checked"
            | "max_segment_size"
            | "additional_free_space"
            | "storage_quota"
            | "append_only"
            | "id",
            None,
        ) => true,
        _ => return Err(Failure::error("Invalid name")),
    };
    if !is_valid {
        return Err(Failure::error("Invalid value"));
    }
    if arguments.has("delete") {
        repository.set_config(name, None)?;
        return Ok(());
    }
    match value {
        Some(value) => Ok(repository.set_config(name, Some(&value))?),
        None => match config.get(name) {
            Some(value) => print(format!("{value}\n").as_bytes()),
            None => Err(no_option(name, "repository")),
        },
    }
}

/// The configuration of the cache can be seen and changed as it is; what makes no sense in it makes
/// the next command begin a new cache.
fn cache(arguments: &Arguments, file: PathBuf) -> Result<(), Failure> {
    let mut settings = borg::CacheSettings::open(&file)?;
    if arguments.has("list") {
        return print(settings.to_string().as_bytes());
    }
    let typed = arguments.text("name").unwrap_or_default();
    let (section, name) = typed.split_once('.').unwrap_or(("cache", &typed));
    match (arguments.text("value"), arguments.has("delete")) {
        (_, true) => settings.set(section, name, None)?,
        (Some(value), false) => settings.set(section, name, Some(&value))?,
        (None, false) => {
            let value = settings.get(section, name);
            let value = value.ok_or_else(|| no_option(name, section))?;
            return print(format!("{value}\n").as_bytes());
        }
    }
    Ok(())
}
