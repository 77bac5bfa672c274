//! Changing the file that people write: what they wrote stays as it is, comments and order
//! included, and only what is meant changes.
//!
//! A change is made on the text, read back strictly, and takes the place of the file in one step,
//! unless somebody has changed the file meanwhile. No step leaves a half-written file, and none
//! writes one that the program would not read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value};

use super::{Config, Error, Mistakes, read_text};
use crate::{Places, Schedule, replace_private_file};

/// A configuration that is being changed.
#[derive(Debug, Clone)]
pub struct Edit {
    file: PathBuf,
    before: String,
    document: DocumentMut,
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file cannot be read, or holds mistakes.
    #[error(transparent)]
    Config(#[from] Error),
    /// What the change would make of it has mistakes; nothing was written.
    #[error("the change would make mistakes")]
    Mistakes(#[source] Mistakes),
    /// The file was changed by somebody else meanwhile.
    #[error("{} was changed meanwhile", path.display())]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// There is a layer of this name.
    #[error("there is a layer `{name}` already")]
    Exists {
        /// Its name.
        name: String,
    },
    /// There is no such source or layer.
    #[error("there is no {what} in the configuration")]
    NoSuch {
        /// What.
        what: String,
    },
    /// The file cannot be written.
    #[error("cannot write the configuration {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Edit {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Those of [`Config::read`].
    pub fn open(file: &Path, places: &Places) -> Result<Self, Error> {
        // A link to where the file really is stays a link.
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let before = read_text(&file)?;
        Config::parse(&before, &file, places)?;
        let document = before.parse::<DocumentMut>().unwrap_or_default();
        Ok(Self {
            file,
            before,
            document,
        })
    }

    /// Stands for what the file held when it was opened.
    #[must_use]
    pub fn mark(&self) -> String {
        let digest = Sha256::digest(&self.before);
        digest
            .iter()
            .take(12)
            .fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
    }

    /// What the file would hold.
    #[must_use]
    pub fn text(&self) -> String {
        self.document.to_string()
    }

    /// What the file would mean.
    ///
    /// # Errors
    ///
    /// All mistakes in it.
    pub fn config(&self, places: &Places) -> Result<Config, Mistakes> {
        Config::parse(&self.text(), &self.file, places)
    }

    /// Writes the change, if the file is still the one with this mark.
    ///
    /// # Errors
    ///
    /// [`EditError`]; the file is as it was then.
    pub fn save(&self, mark: &str, places: &Places) -> Result<Config, EditError> {
        let config = self.config(places).map_err(EditError::Mistakes)?;
        if self.mark() != mark || read_text(&self.file)? != self.before {
            let path = self.file.clone();
            return Err(EditError::Changed { path });
        }
        let written = replace_private_file(&self.file, self.text().as_bytes());
        written.map_err(|source| EditError::Write {
            path: self.file.clone(),
            source,
        })?;
        Ok(config)
    }

    fn source(&mut self, index: usize) -> Result<&mut Table, EditError> {
        let sources = self.document.get_mut("source");
        let sources = sources.and_then(Item::as_array_of_tables_mut);
        sources
            .and_then(|sources| sources.get_mut(index))
            .ok_or_else(|| EditError::NoSuch {
                what: format!("source {}", index + 1),
            })
    }

    fn layer(&mut self, name: &str) -> Result<&mut Table, EditError> {
        let layer = self.document.get_mut("layer").and_then(Item::as_table_mut);
        layer
            .and_then(|layers| layers.get_mut(name))
            .and_then(Item::as_table_mut)
            .ok_or_else(|| EditError::NoSuch {
                what: format!("layer `{name}`"),
            })
    }

    /// A list of a source, as it is written; empty when there is none.
    #[must_use]
    pub fn list(&self, source: usize, key: SourceList) -> Vec<String> {
        let sources = self.document.get("source");
        let sources = sources.and_then(Item::as_array_of_tables);
        let table = sources.and_then(|sources| sources.get(source));
        let array = table
            .and_then(|table| table.get(key.name()))
            .and_then(Item::as_array);
        let texts = array.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    /// Makes a list of a source hold just these: `paths`, `presets` or `exclude`. What is in it
    /// already stays where it is, with its comments.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuch`].
    pub fn set_list(
        &mut self,
        source: usize,
        key: SourceList,
        values: &[String],
    ) -> Result<(), EditError> {
        let key = key.name();
        let table = self.source(source)?;
        if !table.contains_key(key) {
            if values.is_empty() {
                return Ok(());
            }
            table.insert(key, Item::Value(Value::Array(Array::new())));
        }
        let Some(array) = table.get_mut(key).and_then(Item::as_array_mut) else {
            return Ok(());
        };
        *array = with_just(array, values);
        Ok(())
    }

    /// Adds a layer behind everything else.
    ///
    /// # Errors
    ///
    /// [`EditError::Exists`] when a layer has this name; [`EditError::NoSuch`] when the layers are
    /// written in a way that nothing can be added to.
    pub fn add_layer(&mut self, name: &str, new: &NewLayer<'_>) -> Result<(), EditError> {
        let layers = self.document.get("layer").and_then(Item::as_table_like);
        if layers.is_some_and(|layers| layers.contains_key(name)) {
            let name = name.to_owned();
            return Err(EditError::Exists { name });
        }
        let quoted = |text: &str| Value::from(text).to_string();
        let mut text = self.text();
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let _ = write!(
            text,
            "{end}\n[layer.{}]\nkind = {}\nstore = {}\n",
            toml_edit::Key::new(name),
            quoted(new.kind),
            quoted(new.store)
        );
        if let Some(file) = new.passphrase {
            let _ = write!(
                text,
                "# Who has this file can read the backup; who has lost it cannot. Keep a copy elsewhere.\n\
                 passphrase = {{ file = {} }}\n",
                quoted(file)
            );
        }
        if let Some(folder) = new.folder {
            let _ = writeln!(text, "folder = {}", quoted(folder));
        }
        let _ = writeln!(text, "schedule = {}", quoted(&new.schedule.to_string()));
        self.document = text.parse().map_err(|_| EditError::NoSuch {
            what: "table of layers that another one can be added to".to_owned(),
        })?;
        Ok(())
    }

    /// Sets when a layer is due.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuch`].
    pub fn set_schedule(&mut self, layer: &str, schedule: Schedule) -> Result<(), EditError> {
        let table = self.layer(layer)?;
        set(table, "schedule", Value::from(schedule.to_string()));
        Ok(())
    }

    /// Sets which snapshots of a layer stay: words such as `daily` with numbers. Those that are not
    /// named, and `within`, stay as they are; without a number a word is taken away.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSuch`].
    pub fn set_keep(
        &mut self,
        layer: &str,
        rules: &[(&str, Option<u32>)],
    ) -> Result<(), EditError> {
        let table = self.layer(layer)?;
        if table.get("keep").is_none() {
            if rules.iter().all(|(_, number)| number.is_none()) {
                return Ok(());
            }
            table.insert("keep", Item::Value(Value::InlineTable(InlineTable::new())));
        }
        let Some(keep) = table.get_mut("keep").and_then(Item::as_table_like_mut) else {
            return Ok(());
        };
        for (word, number) in rules {
            let Some(number) = number else {
                keep.remove(word);
                continue;
            };
            let new = Value::from(i64::from(*number));
            match keep.get_mut(word).and_then(Item::as_value_mut) {
                Some(value) => replace(value, new),
                None => {
                    keep.insert(word, Item::Value(new));
                }
            }
        }
        if keep.is_empty() {
            table.remove("keep");
        }
        Ok(())
    }
}

/// A layer that is added, as the file will have it.
#[derive(Debug, Clone, Copy)]
pub struct NewLayer<'a> {
    /// `borg`, `duplicity` or `drop`.
    pub kind: &'a str,
    /// Where its bytes are kept.
    pub store: &'a str,
    /// The file with its passphrase.
    pub passphrase: Option<&'a str>,
    /// The folder of this machine, of a drop layer.
    pub folder: Option<&'a str>,
    /// When it is due.
    pub schedule: Schedule,
}

/// A list of a source that can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceList {
    /// What is protected.
    Paths,
    /// Named sets of rules.
    Presets,
    /// Rules of what is left out.
    Exclude,
}

impl SourceList {
    fn name(self) -> &'static str {
        match self {
            Self::Paths => "paths",
            Self::Presets => "presets",
            Self::Exclude => "exclude",
        }
    }
}

/// The list with just these values: what is kept keeps its place and its comments.
///
/// A comment behind a value, `"caches", # they come back`, is for the parser the beginning of what
/// comes next, so it is taken from there.
fn with_just(array: &Array, values: &[String]) -> Array {
    let mut new = Array::new();
    *new.decor_mut() = array.decor().clone();
    new.set_trailing_comma(array.trailing_comma());
    let mut known: Vec<&str> = Vec::new();
    // What stands behind the last value that was kept, on its line.
    let mut behind = String::new();
    let mut last_was_kept = true;
    let is_tall = array
        .iter()
        .any(|value| text_of(value.decor().prefix()).contains('\n'));
    for value in array {
        let (head, tail) = at_line_end(text_of(value.decor().prefix()));
        if last_was_kept {
            behind = head.to_owned();
        }
        let text = value.as_str().unwrap_or_default();
        last_was_kept = values.iter().any(|wanted| wanted == text) && !known.contains(&text);
        if !last_was_kept {
            continue;
        }
        known.push(text);
        let is_first = new.is_empty() && !is_tall;
        let tail = if is_first { "" } else { tail };
        let mut kept = value.clone();
        kept.decor_mut()
            .set_prefix(format!("{}{tail}", std::mem::take(&mut behind)));
        new.push_formatted(kept);
    }
    let (head, tail) = at_line_end(text_of(Some(array.trailing())));
    if last_was_kept {
        behind = head.to_owned();
    }
    for value in values {
        if known.contains(&value.as_str()) || value.is_empty() {
            continue;
        }
        known.push(value);
        if is_tall {
            let prefix = format!("{}\n    ", std::mem::take(&mut behind));
            new.push_formatted(Value::from(value.as_str()).decorated(prefix, ""));
        } else {
            new.push(value.as_str());
        }
    }
    new.set_trailing(format!("{behind}{tail}"));
    new
}

fn text_of(raw: Option<&toml_edit::RawString>) -> &str {
    raw.and_then(toml_edit::RawString::as_str)
        .unwrap_or_default()
}

/// What stands before a value: the rest of the line before, and the lines of its own.
fn at_line_end(before: &str) -> (&str, &str) {
    match before.find('\n') {
        Some(end) => before.split_at(end),
        None => ("", before),
    }
}

/// Sets a key; what stands around an old value stays.
fn set(table: &mut Table, key: &str, new: Value) {
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(value) => replace(value, new),
        None => {
            table.insert(key, Item::Value(new));
        }
    }
}

fn replace(value: &mut Value, mut new: Value) {
    *new.decor_mut() = value.decor().clone();
    *value = new;
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# Mine.
[[source]]
paths = [\"~/Documents\"] # what counts
presets = [
    \"caches\", # they come back
    \"trash\",
]

# Fast.
[layer.disk]
kind = \"borg\"
store = \"/mnt/disk\"   # the old one
encryption = \"none\"
schedule = \"daily\" # enough
keep = { daily = 7, weekly = 4 } # for now
";

    fn edit(folder: &Path) -> (Edit, Places) {
        let file = folder.join("ravelin.toml");
        crate::create_private_file(&file, TEXT.as_bytes()).unwrap();
        let places = Places::from_environment(folder, |_| None);
        (Edit::open(&file, &places).unwrap(), places)
    }

    #[test]
    fn a_layer_is_added_behind_everything_else_and_never_twice() {
        let folder = tempfile::tempdir().unwrap();
        let (mut edit, places) = edit(folder.path());
        let new = NewLayer {
            kind: "duplicity",
            store: "sftp://nas/back \"ups\"",
            passphrase: Some("~/.config/ravelin/away.passphrase"),
            folder: None,
            schedule: Schedule::parse("weekly").unwrap(),
        };
        edit.add_layer("away", &new).unwrap();
        assert!(edit.text().starts_with(TEXT));
        let again = edit.add_layer("away", &new).unwrap_err();
        assert!(matches!(again, EditError::Exists { .. }));
        edit.save(&edit.mark(), &places).unwrap();
        let config = Config::read(&folder.path().join("ravelin.toml"), &places).unwrap();
        let layer = config.layer("away").unwrap();
        assert_eq!(layer.store, "sftp://nas/back \"ups\"");
        assert_eq!(layer.schedule, new.schedule);
        assert_eq!(config.layers.len(), 2);
    }

    #[test]
    fn comments_and_order_survive_and_only_what_is_meant_changes() {
        let folder = tempfile::tempdir().unwrap();
        let (mut edit, places) = edit(folder.path());
        let list = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let paths = list(&["~/Documents", "/srv/a \"b\""]);
        edit.set_list(0, SourceList::Paths, &paths).unwrap();
        let presets = list(&["caches", "containers"]);
        edit.set_list(0, SourceList::Presets, &presets).unwrap();
        edit.set_list(0, SourceList::Exclude, &list(&["~/Videos"]))
            .unwrap();
        edit.set_schedule("disk", Schedule::Hourly).unwrap();
        let rules = [("daily", Some(14)), ("weekly", None), ("monthly", Some(6))];
        edit.set_keep("disk", &rules).unwrap();
        let mark = edit.mark();
        edit.save(&mark, &places).unwrap();
        let text = std::fs::read_to_string(folder.path().join("ravelin.toml")).unwrap();
        for line in [
            "# Mine.",
            "# what counts",
            "\"caches\", # they come back",
            "# Fast.",
            "store = \"/mnt/disk\"   # the old one",
            "schedule = \"hourly\" # enough",
            "# for now",
            "exclude = [\"~/Videos\"]",
            "daily = 14",
            "monthly = 6",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        assert!(
            !text.contains("trash") && !text.contains("weekly"),
            "{text}"
        );
        let config = Config::read(&folder.path().join("ravelin.toml"), &places).unwrap();
        assert_eq!(config.sources[0].paths.len(), 2);
        assert_eq!(config.layers[0].keep.daily, Some(14));
    }

    #[test]
    fn a_file_that_somebody_else_changed_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (mut edit, places) = edit(folder.path());
        let mark = edit.mark();
        edit.set_schedule("disk", Schedule::Hourly).unwrap();
        let file = folder.path().join("ravelin.toml");
        let theirs = TEXT.replace("# Mine.", "# Yours.");
        std::fs::write(&file, &theirs).unwrap();
        let saved = edit.save(&mark, &places);
        assert!(matches!(saved, Err(EditError::Changed { .. })), "{saved:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs);
    }

    #[test]
    fn a_change_that_makes_mistakes_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut edit, places) = edit(folder.path());
        edit.set_list(0, SourceList::Paths, &["relative".to_owned()])
            .unwrap();
        let mark = edit.mark();
        let saved = edit.save(&mark, &places);
        assert!(matches!(saved, Err(EditError::Mistakes(_))), "{saved:?}");
        let text = std::fs::read_to_string(folder.path().join("ravelin.toml")).unwrap();
        assert_eq!(text, TEXT);
        assert!(edit.set_schedule("nowhere", Schedule::Manual).is_err());
    }
}
