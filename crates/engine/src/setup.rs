//! The first configuration, and the stores that it needs.
//!
//! Nothing is ever replaced: a configuration or a passphrase that is there stays as it is. The
//! passphrase is written, and synced, before the repository that needs it is created; a crash in
//! between leaves an unused passphrase, never a repository that nobody can open.

use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::layer::{self, Access};
use crate::machine::Context;
use crate::{Config, Error, Machine, Random, Secret, config, create_private_file, secret};

/// A first configuration: one source, one layer on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstConfig {
    /// Where it is written.
    pub file: PathBuf,
    /// What is protected.
    pub paths: Vec<PathBuf>,
    /// The folder of the repository.
    pub store: PathBuf,
    /// Where its passphrase is kept.
    pub passphrase: PathBuf,
    /// When it is due, as the configuration has it.
    pub schedule: &'static str,
    /// Its format.
    pub format: FirstFormat,
}

/// The format of a first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstFormat {
    /// A Borg repository: a new one, or one that is there.
    Borg,
    /// A duplicity archive that is there.
    Duplicity,
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
            schedule: "daily",
            format: FirstFormat::Borg,
        }
    }

    /// Writes the configuration and a new passphrase.
    ///
    /// # Errors
    ///
    /// [`Error::ConfigExists`] when there is a configuration; [`Error::State`] when a file cannot
    /// be written.
    pub fn write(&self, machine: &Machine) -> Result<Config, Error> {
        self.write_with(None, machine)
    }

    /// Writes the configuration for a layer that is there already, and its passphrase, after it was
    /// opened with them: what does not open leaves nothing behind.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write); [`Error::Layer`] when the layer cannot be opened.
    pub fn adopt(&self, passphrase: &Secret, machine: &Machine) -> Result<Config, Error> {
        let before = self.passphrase.symlink_metadata().is_ok();
        let config = self.write_with(Some(passphrase), machine)?;
        let opened = config.layers.first().map(|first| opens(first, machine));
        if let Some(Err(error)) = opened {
            // Ours, and a moment old.
            let _ = std::fs::remove_file(&self.file);
            if !before {
                let _ = std::fs::remove_file(&self.passphrase);
            }
            return Err(error);
        }
        Ok(config)
    }

    fn write_with(&self, known: Option<&Secret>, machine: &Machine) -> Result<Config, Error> {
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
            let generated;
            let passphrase = match known {
                Some(known) => known,
                None => {
                    generated =
                        secret::generate(machine.random).map_err(failed(&self.passphrase))?;
                    &generated
                }
            };
            keep_passphrase(&self.passphrase, passphrase).map_err(failed(&self.passphrase))?;
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
        let (words, kind) = match self.format {
            FirstFormat::Borg => (
                "A first layer: a Borg repository on this machine.",
                "kind = \"borg\"\nencryption = \"repokey-blake2\"",
            ),
            FirstFormat::Duplicity => (
                "A first layer: the duplicity archive that was there already.",
                "kind = \"duplicity\"",
            ),
        };
        format!(
            r#"# What ravelin protects, and where it keeps the copies.
# Every key is shown in docs/config.toml; `ravelin config check` reads this file over.

# What is protected.
[[source]]
paths = [{paths}]
presets = ["caches", "trash"]
exclude = []

# {words} It brings back deleted and changed files
# quickly. It does not survive the loss of this disk: for that, let `store` lead to another disk,
# or add a second layer.
[layer.disk]
{kind}
store = {store}
# Who has this file can read the backup; who has lost it cannot. Keep a copy elsewhere.
passphrase = {{ file = {passphrase} }}
schedule = "{schedule}"
"#,
            paths = paths.join(", "),
            store = quoted(&self.store),
            passphrase = quoted(&self.passphrase),
            schedule = self.schedule,
        )
    }
}

/// Opens a layer that is there already, and reads a little of what its newest snapshot holds: the list
/// of snapshots of a duplicity archive can be seen without any passphrase.
///
/// # Errors
///
/// [`Error::Layer`] when it cannot be read with what the configuration says.
pub fn opens(layer: &config::Layer, machine: &Machine) -> Result<(), Error> {
    read_a_little(layer, machine).map_err(Error::of_layer(&layer.name))
}

fn read_a_little(layer: &config::Layer, machine: &Machine) -> Result<(), layer::Error> {
    let mut opened = layer::open(layer, Access::Read, machine)?;
    let newest = opened.snapshots()?.into_iter().max_by_key(|one| one.time);
    let Some(newest) = newest else { return Ok(()) };
    let mut first = None;
    opened.entries(&newest, &mut |found| match found {
        Ok(item) if item.entry.is_file() && item.entry.size > 0 => {
            first = Some(item.entry.path);
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })?;
    // The lists may have been read before, and kept on this machine.
    if let Some(path) = first {
        let mut content = opened.content(&newest, &path)?;
        let read = content.read(&mut [0]);
        read.map_err(|source| layer::Error::Io {
            action: format!("read {path}"),
            source,
        })?;
    }
    Ok(())
}

/// Writes a new passphrase, for a layer that is not there yet.
///
/// # Errors
///
/// When something stands there already, or the file cannot be written.
pub fn create_passphrase(file: &Path, random: Random) -> io::Result<()> {
    keep_passphrase(file, &secret::generate(random)?)
}

/// Writes the passphrase of a layer that is there already.
///
/// # Errors
///
/// As [`create_passphrase`].
pub fn keep_passphrase(file: &Path, passphrase: &Secret) -> io::Result<()> {
    let line = zeroize::Zeroizing::new(format!("{}\n", passphrase.expose()));
    create_private_file(file, line.as_bytes())
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
