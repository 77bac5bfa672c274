//! `[[hook]]`: programs of the user's that are called around a backup.

use std::time::Duration;

use super::reader::Section;
use super::{Fault, layer, value};

/// How long a hook may take where nothing is said: an hour.
const PATIENCE: Duration = Duration::from_secs(3600);

/// When a hook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before anything is read. It can put the backup off, or forbid it.
    Before,
    /// After a backup that reached every layer.
    After,
    /// After one that failed, in some layers or in all, or that a hook forbade.
    Failure,
    /// At the end, however it ended, once a hook before the backup was called.
    Always,
}

impl Moment {
    /// All moments, with their words.
    pub(crate) const ALL: [(&'static str, Self); 4] = [
        ("before", Self::Before),
        ("after", Self::After),
        ("failure", Self::Failure),
        ("always", Self::Always),
    ];

    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, moment)| *moment == self);
        found.map_or("always", |(name, _)| name)
    }
}

/// A program that is called around a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// When.
    pub on: Moment,
    /// Which program, with its arguments. No shell takes part.
    pub command: Vec<String>,
    /// How long it may take before it is ended.
    pub patience: Duration,
}

pub(super) fn read(root: &Section<'_>) -> Vec<Hook> {
    let sections = root.tables("hook").into_iter();
    sections.filter_map(read_one).collect()
}

fn read_one(section: Section<'_>) -> Option<Hook> {
    if !section.has("on") {
        section.mistake("on", Fault::Missing);
    }
    let on = section.word("on", &Moment::ALL);
    if !section.has("command") {
        section.mistake("command", Fault::Missing);
    }
    let command = layer::command(&section);
    if section.has("command") && command.is_none() && !section.is_string("command") {
        section.mistake("command", Fault::Empty);
    }
    let patience = patience(&section, PATIENCE);
    section.end(&[]);
    Some(Hook {
        on: on?,
        command: command?,
        patience,
    })
}

/// How long a program may take.
pub(super) fn patience(section: &Section<'_>, default: Duration) -> Duration {
    let given = section.read("patience", "a duration like `10 min`", value::duration);
    let patience = given.unwrap_or(default);
    section.settled("patience", format!("{} s", patience.as_secs()));
    patience
}
