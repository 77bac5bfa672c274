//! A configuration as it comes together.

use std::collections::BTreeSet;
use std::path::PathBuf;

use engine::{Places, Secret};

use super::{ImportError, Imported};

/// What is known so far. Every value is quoted where it goes in.
pub(super) struct Draft<'a> {
    pub(super) places: &'a Places,
    sources: Vec<String>,
    layers: Vec<String>,
    hooks: Vec<String>,
    verify: Vec<String>,
    notify: Vec<String>,
    names: BTreeSet<String>,
    secrets: Vec<(PathBuf, Secret)>,
    left_out: Vec<String>,
}

/// A text as TOML writes it.
pub(super) fn quoted(text: impl Into<String>) -> String {
    toml_edit::Value::from(text.into()).to_string()
}

/// A list of texts as TOML writes it.
pub(super) fn list<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

impl<'a> Draft<'a> {
    pub(super) fn new(places: &'a Places) -> Self {
        Self {
            places,
            sources: Vec::new(),
            layers: Vec::new(),
            hooks: Vec::new(),
            verify: Vec::new(),
            notify: Vec::new(),
            names: BTreeSet::new(),
            secrets: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// A table of what is protected: its lines.
    pub(super) fn source(&mut self, lines: &[String]) {
        self.sources
            .push(format!("[[source]]\n{}\n", lines.join("\n")));
    }

    pub(super) fn layer(&mut self, name: &str, lines: &[String]) {
        self.layers
            .push(format!("[layer.{name}]\n{}\n", lines.join("\n")));
    }

    pub(super) fn hook(&mut self, on: &str, shell: &str) {
        let command = list(["sh", "-c", shell]);
        self.hooks.push(format!(
            "[[hook]]\non = {}\ncommand = {command}\n",
            quoted(on)
        ));
    }

    pub(super) fn verify(&mut self, key: &str, schedule: &str) {
        self.verify.push(format!("{key} = {}\n", quoted(schedule)));
    }

    pub(super) fn notify(&mut self, lines: &[String]) {
        self.notify
            .push(format!("[[notify]]\n{}\n", lines.join("\n")));
    }

    /// Says that a setting was not taken over.
    pub(super) fn leave_out(&mut self, setting: &str, why: &str) {
        // What ends a line would end the comment that this becomes.
        let line = format!("{setting}: {why}").replace(char::is_control, " ");
        if !self.left_out.contains(&line) {
            self.left_out.push(line);
        }
    }

    /// A name for a layer that no other has, near to what was wanted.
    pub(super) fn name(&mut self, wanted: &str) -> String {
        let mut name = String::new();
        for letter in wanted.to_ascii_lowercase().chars() {
            if letter.is_ascii_alphanumeric() {
                name.push(letter);
            } else if !name.is_empty() && !name.ends_with('-') {
                name.push('-');
            }
        }
        let base = name.trim_end_matches('-');
        let base = if base.is_empty() { "disk" } else { base };
        let mut name = base.to_owned();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{base}-{number}");
            number += 1;
        }
        name
    }

    /// Puts a passphrase into a file of its own; gives what the configuration says of it.
    pub(super) fn secret(&mut self, layer: &str, secret: Secret) -> String {
        let path = self.places.config.join(format!("{layer}.passphrase"));
        let shown = quoted(self.places.shorten(&path));
        self.secrets.push((path, secret));
        format!("passphrase = {{ file = {shown} }}")
    }

    pub(super) fn finish(self) -> Result<Imported, ImportError> {
        if self.sources.is_empty() {
            return Err(ImportError::Missing("folder that is backed up"));
        }
        if self.layers.is_empty() {
            return Err(ImportError::Missing("place that backups go to"));
        }
        let mut text = String::from(
            "# What ravelin protects, and where it keeps the copies; made from other settings.\n\
             # Every key is shown in docs/config.toml; `ravelin config check` reads this file over.\n",
        );
        if !self.left_out.is_empty() {
            text += "#\n# Not taken over:\n";
            for line in &self.left_out {
                text += &format!("# - {line}\n");
            }
        }
        let verify = if self.verify.is_empty() {
            Vec::new()
        } else {
            vec![format!("[verify]\n{}", self.verify.concat())]
        };
        for table in [self.sources, self.layers, self.hooks, verify, self.notify].concat() {
            text.push('\n');
            text += &table;
        }
        Ok(Imported {
            text,
            secrets: self.secrets,
            left_out: self.left_out,
        })
    }
}
