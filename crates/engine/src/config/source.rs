//! `[[source]]`: what is protected.

use std::path::PathBuf;
use std::time::Duration;

use tree::{Preset, Rules};

use super::reader::Section;
use super::{Fault, absolute, hook, layer, value};
use crate::Places;

/// One set of paths with its exclude rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What people call it, when they gave it a name.
    pub name: Option<String>,
    /// Files and folders to back up; absolute, at least one. Where a command is called, the one
    /// folder that holds what it printed while a run goes on.
    pub paths: Vec<PathBuf>,
    /// The command whose output is backed up, in the place of files that are there.
    pub printed: Option<Printed>,
    /// Named sets of rules: caches, trash and so on.
    pub presets: Vec<Preset>,
    /// Rules of what is left out, in their order, `~` expanded.
    pub exclude: Vec<String>,
    /// A folder that holds an entry of one of these names is left out.
    pub exclude_if_present: Vec<String>,
    /// Files larger than this many bytes are left out.
    pub exclude_larger: Option<u64>,
    /// Leave out folders that a `CACHEDIR.TAG` marks.
    pub exclude_caches: bool,
    /// Leave out what carries the no-dump flag (`chattr +d`).
    pub exclude_no_dump: bool,
    /// Do not leave the file systems that the paths stand on.
    pub one_file_system: bool,
    /// The paths are read from snapshots of their file systems, which are btrfs.
    pub file_system_snapshot: bool,
}

/// A command whose output is backed up as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Which program, with its arguments. No shell takes part.
    pub command: Vec<String>,
    /// The name of the file.
    pub output: String,
    /// How it is brought back, as a line for a shell; kept beside the file.
    pub restore: Option<String>,
    /// How long the command may take before it is ended.
    pub patience: Duration,
}

/// How long a command may take where nothing is said: 12 hours.
const PATIENCE: Duration = Duration::from_secs(12 * 3600);

pub(super) fn read(root: &Section<'_>, places: &Places) -> Vec<Source> {
    if !root.has("source") {
        root.mistake("source", Fault::Missing);
    }
    root.tables("source")
        .into_iter()
        .map(|section| read_one(section, places))
        .collect()
}

fn read_one(section: Section<'_>, places: &Places) -> Source {
    let name = section.string("name").map(str::to_owned);
    if section.has("command") {
        return read_command(section, name, places);
    }
    if !section.has("paths") {
        section.mistake("paths", Fault::Missing);
    }
    let typed = section.strings("paths");
    if section.has("paths") && typed.is_empty() {
        section.mistake("paths", Fault::Empty);
    }
    let paths = typed
        .into_iter()
        .map(|path| absolute(&section, "paths", path, places))
        .collect::<Vec<_>>();
    section.settled(
        "paths",
        list(paths.iter().map(|path| path.display().to_string())),
    );

    let mut presets = Vec::new();
    for word in section.strings("presets") {
        match Preset::ALL.iter().find(|preset| preset.name() == word) {
            Some(&preset) => presets.push(preset),
            None => {
                let names = Preset::ALL.iter().map(|preset| preset.name());
                section.unknown_word("presets", word, names);
            }
        }
    }
    let names = presets
        .iter()
        .map(|preset: &Preset| preset.name().to_owned());
    section.settled("presets", list(names));

    let mut exclude = Vec::new();
    for rule in section.strings("exclude") {
        let rule = expand_rule(rule, places);
        if let Err(error) = Rules::default().add(&rule) {
            let message = error.to_string();
            section.mistake("exclude", Fault::BadRule { message });
        }
        exclude.push(rule);
    }
    section.settled("exclude", list(exclude.iter().cloned()));

    let mut exclude_if_present = Vec::new();
    for name in section.strings("exclude-if-present") {
        if name.is_empty() || name.contains('/') {
            let value = name.to_owned();
            let expected = "the name of a file, like `.nobackup`";
            section.mistake("exclude-if-present", Fault::BadValue { value, expected });
        }
        exclude_if_present.push(name.to_owned());
    }
    let exclude_larger = section.read("exclude-larger", "a size like `500 MiB`", value::size);
    if let Some(bytes) = exclude_larger {
        section.settled("exclude-larger", format!("{bytes} B"));
    }
    let file_system_snapshot = match section.string("file-system-snapshot") {
        None => false,
        Some("btrfs") => true,
        Some(word) => {
            section.unknown_word("file-system-snapshot", word, ["btrfs"].into_iter());
            false
        }
    };
    if file_system_snapshot {
        section.settled("file-system-snapshot", "btrfs");
    }
    let source = Source {
        name,
        paths,
        printed: None,
        presets,
        exclude,
        exclude_if_present,
        exclude_larger,
        exclude_caches: section.flag("exclude-caches", true),
        exclude_no_dump: section.flag("exclude-no-dump", false),
        one_file_system: section.flag("one-file-system", false),
        file_system_snapshot,
    };
    section.end(&[]);
    source
}

/// A source that is what a command prints. Its name becomes the name of a folder.
fn read_command(section: Section<'_>, name: Option<String>, places: &Places) -> Source {
    if section.has("paths") {
        let allowed = vec!["paths".to_owned(), "command".to_owned()];
        section.mistake("", Fault::NotExactlyOne { allowed });
    }
    if name.is_none() {
        section.mistake("name", Fault::Missing);
    }
    let plain = |text: &str| is_file_name(text).then(|| text.to_owned());
    let name = name.and_then(|_| section.read("name", "a name without `/`", plain));
    let command = layer::command(&section).unwrap_or_default();
    if command.is_empty() && !section.is_string("command") {
        section.mistake("command", Fault::Empty);
    }
    let output = section.read("output", "the name of a file, like `app.sql`", plain);
    let output = output.unwrap_or_else(|| "output".to_owned());
    section.settled("output", output.as_str());
    let restore = section.string("restore").map(str::to_owned);
    let restore = restore.or_else(|| usual_restore(&command, &output));
    let printed = Printed {
        command,
        output,
        restore,
        patience: hook::patience(&section, PATIENCE),
    };
    section.end(&[]);
    let folder = places.state.join("commands");
    Source {
        paths: vec![folder.join(name.as_deref().unwrap_or("unnamed"))],
        name,
        printed: Some(printed),
        presets: Vec::new(),
        exclude: Vec::new(),
        exclude_if_present: Vec::new(),
        exclude_larger: None,
        exclude_caches: false,
        exclude_no_dump: false,
        one_file_system: false,
        file_system_snapshot: false,
    }
}

fn is_file_name(text: &str) -> bool {
    !text.starts_with('.') && !text.contains(['/', '\0', '\n']) && text.len() <= 200
}

/// What brings a dump of a known program back, where nothing else is said.
fn usual_restore(command: &[String], output: &str) -> Option<String> {
    let program = command.first()?.rsplit('/').next()?;
    let line = match program {
        "pg_dump" => format!("createdb NAME && psql --dbname=NAME --file={output}"),
        "pg_dumpall" => format!("psql --dbname=postgres --file={output}"),
        "mysqldump" => format!("mysql < {output}"),
        "mariadb-dump" => format!("mariadb < {output}"),
        "mongodump" => format!("mongorestore --archive={output}"),
        "sqlite3" => format!("sqlite3 NEW-DATABASE < {output}"),
        _ => return None,
    };
    Some(line)
}

/// A rule that starts with `~/`, with or without a style, means the home directory.
fn expand_rule(rule: &str, places: &Places) -> String {
    let (style, rest) = match rule.split_once(':') {
        Some((style, rest)) if style.len() == 2 => (format!("{style}:"), rest),
        _ => (String::new(), rule),
    };
    if rest == "~" || rest.starts_with("~/") {
        format!("{style}{}", places.expand(rest).display())
    } else {
        rule.to_owned()
    }
}

fn list(words: impl Iterator<Item = String>) -> toml_edit::Value {
    toml_edit::Value::Array(words.collect())
}
