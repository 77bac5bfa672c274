//! The configuration of a machine that is gone, from any of its layers.
//!
//! Every snapshot holds the configuration file at its own place (see [`Reading`](crate::Reading)), unless a
//! password stands in it. So the store and what opens it are enough to know all layers, sources and rules
//! again. Secrets were never in it: which are missing is said.
//!
//! Nothing that is there is replaced, and nothing is written before the file was read back and understood.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use tree::TreePath;

use crate::config::{self, Config, FILE_SIZE_MAX};
use crate::event::PathRecord;
use crate::layer::{self, Access, Layer, Snapshot};
use crate::secret::Reference;
use crate::{Error, Machine, Standing, create_private_file};

/// Most snapshots that are looked through, newest first.
const SNAPSHOTS_MAX: usize = 20;

/// The name that the layer has while its configuration is looked for.
const NAME: &str = "found";

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The store of one layer, as a configuration would name it.
    pub store: String,
    /// What opens it; nothing where it is not encrypted.
    pub passphrase: Option<Reference>,
    /// The path of the configuration on the old machine, where it was not `ravelin.toml`.
    pub path: Option<PathBuf>,
    /// Where it is written.
    pub file: PathBuf,
}

/// A configuration that was found, and what is missing before it can be used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovered {
    /// Where it stood.
    #[serde(flatten)]
    pub path: PathRecord,
    /// In which snapshot.
    pub snapshot: String,
    /// When that was made.
    pub time: Timestamp,
    /// The layers, with what opens them.
    pub layers: Vec<RecoveredLayer>,
    /// Whether it calls programs around a backup, which have to be there too.
    pub has_hooks: bool,
    /// The file itself.
    #[serde(skip)]
    pub text: String,
}

/// A layer of a configuration that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecoveredLayer {
    /// Which one.
    pub layer: String,
    /// Where it is.
    pub store: String,
    /// Where its passphrase is to be, as the configuration says it.
    pub passphrase: Option<String>,
    /// Whether it is there; unknown where a program would have to be asked.
    pub passphrase_is_there: Option<bool>,
}

/// Looks for the configuration in a layer. Nothing is written.
///
/// # Errors
///
/// [`Error::ConfigExists`] when this machine has one; [`Error::Config`] when the store is none;
/// [`Error::Layer`] when it cannot be opened; [`Error::NotInLayer`] when no snapshot has one.
pub fn find_config(search: &Search, machine: &Machine) -> Result<Recovered, Error> {
    if search.file.symlink_metadata().is_ok() {
        let path = search.file.clone();
        return Err(Error::ConfigExists { path });
    }
    let config = as_layer(search, machine)?;
    let of_layer = || Error::of_layer(NAME);
    let Some(layer) = config.layer(NAME) else {
        return Err(not_there(search));
    };
    let mut open = layer::open(layer, Access::Read, machine).map_err(of_layer())?;
    let wanted = match &search.path {
        Some(path) => Some(crate::browse::typed_path(path)?),
        None => None,
    };
    let snapshots = open.snapshots().map_err(of_layer())?;
    let mut mistakes = None;
    for snapshot in snapshots.iter().rev().take(SNAPSHOTS_MAX) {
        let candidates = candidates(&mut *open, snapshot, wanted.as_ref()).map_err(of_layer())?;
        for path in candidates {
            let Some(text) = read(&mut *open, snapshot, &path) else {
                continue;
            };
            match Config::parse(&text, &search.file, &machine.places) {
                Ok(config) => return Ok(recovered(&config, snapshot, &path, text, machine)),
                // One of another program, or of another version of this one.
                Err(found) => mistakes = mistakes.or(Some(found)),
            }
        }
    }
    match mistakes {
        Some(mistakes) if wanted.is_some() => Err(config::Error::from(mistakes).into()),
        _ => Err(not_there(search)),
    }
}

/// Writes what was found. A passphrase that the layer was opened with, and that the configuration wants in
/// a file, is put there; gives that file.
///
/// # Errors
///
/// [`Error::State`] when a file cannot be written.
pub fn write_config(
    found: &Recovered,
    search: &Search,
    machine: &Machine,
) -> Result<Option<PathBuf>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::State {
            action: "write",
            path,
            source,
        }
    };
    let config =
        Config::parse(&found.text, &search.file, &machine.places).map_err(config::Error::from)?;
    let same = config
        .layers
        .iter()
        .find(|layer| is_same_store(&layer.store, &search.store, machine));
    let mut written = None;
    if let (Some(Reference::File(file)), Some(reference)) = (
        same.and_then(|layer| layer.passphrase.as_ref()),
        &search.passphrase,
    ) && file.symlink_metadata().is_err()
    {
        let secret = machine
            .keeper()
            .fetch(reference)
            .map_err(|error| Error::of_layer(NAME)(error.into()))?;
        let line = zeroize::Zeroizing::new(format!("{}\n", secret.expose()));
        create_private_file(file, line.as_bytes()).map_err(failed(file))?;
        written = Some(file.clone());
    }
    create_private_file(&search.file, found.text.as_bytes()).map_err(failed(&search.file))?;
    Ok(written)
}

fn not_there(search: &Search) -> Error {
    Error::NotInLayer {
        store: search.store.clone(),
    }
}

fn is_same_store(one: &str, other: &str, machine: &Machine) -> bool {
    let clean = |store: &str| {
        let path = machine.places.expand(store);
        path.canonicalize().unwrap_or(path)
    };
    one == other || clean(one) == clean(other)
}

/// A configuration of this one layer.
fn as_layer(search: &Search, machine: &Machine) -> Result<Config, Error> {
    let store = if search.store.contains("://") {
        search.store.clone()
    } else {
        let path = machine.places.expand(&search.store);
        std::path::absolute(&path)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let standing = Standing::at(Path::new(store.strip_prefix("file://").unwrap_or(&store)));
    let is_borg = match standing {
        Standing::Borg => true,
        Standing::Duplicity => false,
        _ => !store.contains("://") || store.starts_with("ssh://"),
    };
    let kind = if is_borg { "borg" } else { "duplicity" };
    let mut text = format!(
        "[[source]]\npaths = [\"/\"]\n[layer.{NAME}]\nkind = \"{kind}\"\nstore = {}\n",
        toml_edit::Value::from(store)
    );
    match &search.passphrase {
        Some(reference) => text.push_str(&format!("passphrase = {reference}\n")),
        // Said by name, since one that is not encrypted may be the work of somebody else.
        None => text.push_str("encryption = \"none\"\n"),
    }
    let file = Path::new("--from");
    Ok(Config::parse(&text, file, &machine.places).map_err(config::Error::from)?)
}

/// The files of a snapshot that may be the configuration, the likeliest first.
fn candidates(
    layer: &mut dyn Layer,
    snapshot: &Snapshot,
    wanted: Option<&TreePath>,
) -> Result<Vec<TreePath>, layer::Error> {
    let mut found = Vec::new();
    let listed = layer.entries(snapshot, &mut |item| {
        let Ok(item) = item else {
            return ControlFlow::Continue(());
        };
        let entry = item.entry;
        let is_one = match wanted {
            Some(wanted) => entry.path == *wanted,
            None => entry.path.name() == Some(b"ravelin.toml"),
        };
        if is_one && entry.is_file() && entry.size <= FILE_SIZE_MAX {
            found.push(entry.path);
        }
        ControlFlow::Continue(())
    });
    match listed {
        Err(error) if !error.is_damage() => return Err(error),
        _ => {}
    }
    let is_usual = |path: &TreePath| path.as_bytes().ends_with(b"/ravelin/ravelin.toml");
    found.sort_by_key(|path| (!is_usual(path), path.as_bytes().len()));
    Ok(found)
}

/// The text of a file; `None` when it is damaged, or none.
fn read(layer: &mut dyn Layer, snapshot: &Snapshot, path: &TreePath) -> Option<String> {
    let mut text = String::new();
    let content = layer.content(snapshot, path).ok()?;
    let read = content.take(FILE_SIZE_MAX + 1).read_to_string(&mut text);
    let is_whole = read.is_ok_and(|length| u64::try_from(length).is_ok_and(|n| n <= FILE_SIZE_MAX));
    is_whole.then_some(text)
}

fn recovered(
    config: &Config,
    snapshot: &Snapshot,
    path: &TreePath,
    text: String,
    machine: &Machine,
) -> Recovered {
    let layers = config.layers.iter().map(|layer| RecoveredLayer {
        layer: layer.name.clone(),
        store: layer.store.clone(),
        passphrase: layer.passphrase.as_ref().map(ToString::to_string),
        passphrase_is_there: layer.passphrase.as_ref().and_then(|reference| {
            match reference {
                Reference::File(file) => Some(file.symlink_metadata().is_ok()),
                Reference::Environment(name) => Some((machine.variable)(name).is_some()),
                // Programs are not called before a person has read the file.
                Reference::Keyring(_) | Reference::Command(_) | Reference::Credential(_) => None,
            }
        }),
    });
    Recovered {
        path: PathRecord::from(path),
        snapshot: snapshot.name.clone(),
        time: snapshot.time,
        layers: layers.collect(),
        has_hooks: !config.hooks.is_empty(),
        text,
    }
}
