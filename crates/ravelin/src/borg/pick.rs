//! Which archives a command is about: prefix, pattern, order, the first or last of them.

use borg::{ArchiveEntry, Archives};
use bstr::{BString, ByteSlice};
use tree::{Pattern, Style};

use super::arguments::Arguments;
use super::fail::Failure;
use super::place::placeholders;
use super::session::Session;

/// Chooses archives of a repository.
pub(crate) struct Pick {
    prefix: Option<String>,
    glob: Option<Pattern>,
    sort_by: Vec<String>,
    first: usize,
    last: usize,
    checkpoints: bool,
}

/// An archive, as the manifest has it.
pub(crate) type Listed = (BString, ArchiveEntry);

impl Pick {
    /// Reads the options.
    pub(crate) fn of(session: &Session, arguments: &Arguments) -> Result<Self, Failure> {
        let with_values = |name: &str| {
            let text = arguments.text(name);
            text.map(|text| placeholders(&text, session.now))
                .transpose()
        };
        let prefix = with_values("prefix")?;
        let glob = with_values("glob_archives")?;
        if prefix.is_some() && glob.is_some() {
            return Err(Failure::usage(
                "The options --prefix and --glob-archives are mutually exclusive.",
            ));
        }
        let glob = glob.map(|glob| Pattern::with_style(&format!("sh:{glob}"), Style::Shell));
        let glob = glob
            .transpose()
            .map_err(|error| Failure::usage(format!("argument --glob-archives: {error}")))?;
        let sort_by: Vec<String> = arguments
            .text("sort_by")
            .unwrap_or_else(|| "timestamp".into())
            .split(',')
            .map(str::to_owned)
            .collect();
        let known = ["timestamp", "archive", "name", "id"];
        if let Some(bad) = sort_by.iter().find(|key| !known.contains(&key.as_str())) {
            return Err(Failure::usage(format!(
                "argument --sort-by: Invalid sort key: {bad}"
            )));
        }
        let number = |name: &str| {
            let number = arguments.number(name, 0usize)?;
            if arguments.has(name) && number == 0 {
                return Err(Failure::usage(format!(
                    "argument --{name}: A positive integer is required."
                )));
            }
            Ok(number)
        };
        let (first, last) = (number("first")?, number("last")?);
        if first > 0 && last > 0 {
            return Err(Failure::usage(
                "argument --last: not allowed with argument --first",
            ));
        }
        Ok(Self {
            prefix,
            glob,
            sort_by,
            first,
            last,
            checkpoints: arguments.has("consider_checkpoints"),
        })
    }

    /// Whether any of the options was given.
    pub(crate) fn is_asked_for(arguments: &Arguments) -> bool {
        ["prefix", "glob_archives", "first", "last"]
            .iter()
            .any(|name| arguments.has(name))
    }

    /// Also checkpoints, whatever was asked for.
    pub(crate) fn with_checkpoints(mut self) -> Self {
        self.checkpoints = true;
        self
    }

    /// Whether the name is one of those.
    pub(crate) fn takes(&self, name: &[u8]) -> bool {
        self.prefix
            .as_ref()
            .is_none_or(|prefix| name.starts_with(prefix.as_bytes()))
            // The whole name: archives have no slash, so nothing is below one.
            && self.glob.as_ref().is_none_or(|glob| glob.matches(name))
            && (self.checkpoints || borg::checkpoint_of(name).is_none())
    }

    /// The archives, in the order that was asked for.
    pub(crate) fn choose(&self, archives: &Archives) -> Vec<Listed> {
        let mut all: Vec<Listed> = archives
            .list()
            .into_iter()
            .filter(|(name, _)| self.takes(name))
            .map(|(name, entry)| (name.into(), entry.clone()))
            .collect();
        for key in self.sort_by.iter().rev() {
            match key.as_str() {
                "timestamp" => all.sort_by_key(|(_, entry)| entry.time.instant()),
                "id" => all.sort_by_key(|(_, entry)| entry.id.0),
                _ => all.sort_by(|one, other| one.0.as_bytes().cmp(other.0.as_bytes())),
            }
        }
        if self.first > 0 {
            all.truncate(self.first);
        } else if self.last > 0 {
            all.drain(..all.len().saturating_sub(self.last));
        }
        all
    }
}
