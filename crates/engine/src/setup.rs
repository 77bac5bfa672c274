//! The first configuration, and the stores that it needs.
//!
//! Nothing is ever replaced: a configuration or a passphrase that is there stays as it is. The
//! passphrase is written, and synced, before the repository that needs it is created; a crash in
//! between leaves an unused passphrase, never a repository that nobody can open.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::layer::{self, Access};
use crate::machine::Context;
use crate::{Config, Error, Machine, config, create_private_file, secret};

/// A first configuration: one source, one `borg` layer on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstConfig {
    /// Where it is written.
    pub file: PathBuf,
    /// What is protected.
    pub paths: Vec<PathBuf>,
    /// The folder of the repository.
    pub store: PathBuf,
    /// Where its generated passphrase is kept.
    pub passphrase: PathBuf,
}

impl FirstConfig {
    /// The usual places: the repository in the data home, the passphrase beside the configuration.
    #[must_use]
    pub fn new(file: PathBuf, paths: Vec<PathBuf>, machine: &Machine) -> Self {
        Self {
            file,
            paths,
            store: machine.places.data.join("disk"),
            passphrase: machine.places.config.join("disk.passphrase"),
        }
    }

    /// Writes the configuration and a new passphrase.
    ///
    /// # Errors
    ///
    /// [`Error::ConfigExists`] when there is a configuration; [`Error::State`] when a file cannot
    /// be written.
    pub fn write(&self, machine: &Machine) -> Result<Config, Error> {
        if self.file.symlink_metadata().is_ok() {
            return Err(Error::ConfigExists {
                path: self.file.clone(),
            });
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| Error::State {
                action: "write",
                path,
                source,
            }
        };
        // An earlier attempt may have left a passphrase, and a repository that needs it.
        if self.passphrase.symlink_metadata().is_err() {
            let passphrase = secret::generate(machine.random).map_err(failed(&self.passphrase))?;
            let line = format!("{}\n", passphrase.expose());
            create_private_file(&self.passphrase, line.as_bytes())
                .map_err(failed(&self.passphrase))?;
        }
        let text = self.text(machine);
        create_private_file(&self.file, text.as_bytes()).map_err(failed(&self.file))?;
        Ok(Config::parse(&text, &self.file, &machine.places).map_err(config::Error::from)?)
    }

    /// The text of the configuration, with comments.
    #[must_use]
    pub fn text(&self, machine: &Machine) -> String {
        let quoted = |path: &Path| {
            let text = machine.places.shorten(path);
            toml_edit::Value::from(text).to_string()
        };
        let paths: Vec<String> = self.paths.iter().map(|path| quoted(path)).collect();
        format!(
            r#"# What ravelin protects, and where it keeps the copies.
# Every key is shown in docs/config.toml; `ravelin config check` reads this file over.

# What is protected.
[[source]]
paths = [{paths}]
presets = ["caches", "trash"]
exclude = []

# A first layer: a Borg repository on this machine. It brings back deleted and changed files
# quickly. It does not survive the loss of this disk: for that, let `store` lead to another disk,
# or add a second layer.
[layer.disk]
kind = "borg"
store = {store}
encryption = "repokey-blake2"
# Who has this file can read the backup; who has lost it cannot. Keep a copy elsewhere.
passphrase = {{ file = {passphrase} }}
schedule = "daily"
"#,
            paths = paths.join(", "),
            store = quoted(&self.store),
            passphrase = quoted(&self.passphrase),
        )
    }
}

/// What creating the stores did for one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Created {
    /// It was not there, and is now.
    New,
    /// It is there already.
    Existing,
}

/// Creates the layers that are not there yet.
///
/// # Errors
///
/// [`Error::Layer`] for the first layer that can neither be opened nor created.
pub fn create_layers(
    layers: &[&config::Layer],
    context: Context<'_>,
) -> Result<Vec<(String, Created)>, Error> {
    let create = |layer: &config::Layer| match (context.open)(layer, Access::Read) {
        Ok(_) => Ok(Created::Existing),
        Err(layer::Error::NotCreated { .. }) => {
            (context.open)(layer, Access::Create).map(|_| Created::New)
        }
        Err(error) => Err(error),
    };
    layers
        .iter()
        .map(|layer| {
            let created = create(layer).map_err(Error::of_layer(&layer.name))?;
            Ok((layer.name.clone(), created))
        })
        .collect()
}
