//! `[[source]]`: what is protected.

use std::path::PathBuf;

use tree::{Preset, Rules};

use super::reader::Section;
use super::{Fault, absolute, value};
use crate::Places;

/// One set of paths with its exclude rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What people call it, when they gave it a name.
    pub name: Option<String>,
    /// Files and folders to back up; absolute, at least one.
    pub paths: Vec<PathBuf>,
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
}

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
    let source = Source {
        name,
        paths,
        presets,
        exclude,
        exclude_if_present,
        exclude_larger,
        exclude_caches: section.flag("exclude-caches", true),
        exclude_no_dump: section.flag("exclude-no-dump", false),
        one_file_system: section.flag("one-file-system", false),
    };
    section.end(&[]);
    source
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
