//! The text form of Borg's configuration files.
//!
//! Sections in brackets, `key = value` or `key: value`, keys without regard to case. A value goes
//! on in the lines that are indented deeper than its key. Lines that begin with `#` or `;` are
//! comments; they are not kept. Anything unknown is kept and written back.
//!
//! Format: Python's `configparser`, without interpolation.

use std::fmt;
use std::str::FromStr;

/// A configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ini {
    sections: Vec<Section>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    name: String,
    entries: Vec<(String, String)>,
}

/// Why a text is no configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line_number}: {what}")]
pub(crate) struct BadIni {
    /// Counted from 1.
    line_number: usize,
    what: &'static str,
}

impl Ini {
    /// The value of a key.
    pub(crate) fn get(&self, section: &str, key: &str) -> Option<&str> {
        let (_, value) = self
            .section(section)?
            .entries
            .iter()
            .find(|(name, _)| *name == key)?;
        Some(value)
    }

    /// All keys of a section with their values, in the order of the file.
    pub(crate) fn entries(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.section(section).map(|section| &section.entries);
        entries
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Sets a value; section and key are added at the end when they are new.
    pub(crate) fn set(&mut self, section: &str, key: &str, value: &str) {
        let index = self.sections.iter().position(|known| known.name == section);
        let index = index.unwrap_or_else(|| {
            self.sections.push(Section::new(section));
            self.sections.len() - 1
        });
        let entries = &mut self.sections[index].entries;
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some((_, known)) => value.clone_into(known),
            None => entries.push((key.into(), value.into())),
        }
    }

    /// Removes a key. Says whether it was there.
    pub(crate) fn remove(&mut self, section: &str, key: &str) -> bool {
        let Some(section) = self.sections.iter_mut().find(|known| known.name == section) else {
            return false;
        };
        let before = section.entries.len();
        section.entries.retain(|(name, _)| name != key);
        section.entries.len() < before
    }

    /// Whether there is such a section.
    pub(crate) fn has_section(&self, section: &str) -> bool {
        self.section(section).is_some()
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }
}

impl Section {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            entries: Vec::new(),
        }
    }
}

impl FromStr for Ini {
    type Err = BadIni;

    fn from_str(text: &str) -> Result<Self, BadIni> {
        let mut ini = Self::default();
        let mut key_indent = 0;
        for (index, line) in text.lines().enumerate() {
            let bad = |what| BadIni {
                line_number: index + 1,
                what,
            };
            let content = line.trim();
            if content.is_empty() {
                // A blank line inside a value is a part of it; at the end it is trimmed.
                if let Some((_, value)) = ini.last_entry() {
                    value.push('\n');
                }
                continue;
            }
            if content.starts_with(['#', ';']) {
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            if let Some((_, value)) = ini.last_entry().filter(|_| indent > key_indent) {
                value.push('\n');
                value.push_str(content);
                continue;
            }
            key_indent = indent;
            let header = content
                .strip_prefix('[')
                .and_then(|rest| rest.rsplit_once(']'))
                .filter(|(name, _)| !name.is_empty());
            if let Some((name, _)) = header {
                if ini.has_section(name) {
                    return Err(bad("the section stands there twice"));
                }
                ini.sections.push(Section::new(name));
                continue;
            }
            let Some(section) = ini.sections.last_mut() else {
                return Err(bad("a section must come first"));
            };
            let (key, value) = content
                .split_once(['=', ':'])
                .ok_or_else(|| bad("neither a section nor a key with a value"))?;
            let key = key.trim_end().to_lowercase();
            if section.entries.iter().any(|(known, _)| *known == key) {
                return Err(bad("the key stands there twice"));
            }
            section.entries.push((key, value.trim_start().into()));
        }
        for section in &mut ini.sections {
            for (_, value) in &mut section.entries {
                value.truncate(value.trim_end().len());
            }
        }
        Ok(ini)
    }
}

impl Ini {
    fn last_entry(&mut self) -> Option<&mut (String, String)> {
        self.sections.last_mut()?.entries.last_mut()
    }
}

impl fmt::Display for Ini {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for section in &self.sections {
            writeln!(f, "[{}]", section.name)?;
            for (key, value) in &section.entries {
                writeln!(f, "{key} = {}", value.replace('\n', "\n\t"))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[repository]\nversion = 1\nkey = abc\n\tdef\n\tghi\nid = 00ff\n\n";

    #[test]
    fn what_is_written_is_what_was_read() {
        let ini: Ini = TEXT.parse().unwrap();
        assert_eq!(ini.get("repository", "key"), Some("abc\ndef\nghi"));
        assert_eq!(ini.to_string(), TEXT);
    }

    #[test]
    fn other_spellings_are_read() {
        let text = "# by hand\n [ a b ]x\n  Key : 50%\n   more\n; no\n\n  other=\n\n\n[c]\n";
        let ini: Ini = text.parse().unwrap();
        assert_eq!(ini.get(" a b ", "key"), Some("50%\nmore"));
        assert_eq!(ini.get(" a b ", "other"), Some(""));
        assert!(ini.has_section("c"));
        assert_eq!(ini.get("c", "key"), None);
    }

    #[test]
    fn values_are_set_added_and_removed() {
        let mut ini: Ini = TEXT.parse().unwrap();
        ini.set("repository", "version", "2");
        ini.set("other", "new", "x");
        assert!(ini.remove("repository", "key"));
        assert!(!ini.remove("repository", "key"));
        let expected = "[repository]\nversion = 2\nid = 00ff\n\n[other]\nnew = x\n\n";
        assert_eq!(ini.to_string(), expected);
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_line() {
        for (text, line_number) in [
            ("a = b", 1),
            ("[a]\nb", 2),
            ("[a]\nb = 1\nB: 2", 3),
            ("[a]\n[a]", 2),
        ] {
            let error = text.parse::<Ini>().unwrap_err();
            assert_eq!(error.line_number, line_number, "{text}");
        }
    }
}
