//! The configuration of a machine that is gone, from any of its layers.
//!
//! Every snapshot of a `borg` or `duplicity` layer holds the configuration file at its own place (see
//! [`Reading`](crate::Reading)), a drop folder holds it in its hidden folder, unless a password stands in
//! it. So the store and what opens it are enough to know all layers, sources and rules again. Secrets
//! were never in it: which are missing is said.
//!
//! Nothing that is there is replaced, and nothing is written before the file was read back and
//! understood. The passphrase is written before the configuration that needs it: a crash in between
//! leaves a passphrase that the same command finds again.
//!
//! Who can write to a place that is not encrypted can write a configuration there. It is only text until
//! somebody runs it, so that is said, and that programs are called by it.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use duplicity::{OpenError, Prefixes};
use jiff::Timestamp;
use serde::Serialize;
use store::{Folder as StoreFolder, Location, Scope};
use tree::TreePath;

use crate::config::{self, Config, FILE_SIZE_MAX};
use crate::event::PathRecord;
use crate::layer::{self, Access, Layer, Snapshot};
use crate::secret::Reference;
use crate::{Error, Machine, Standing, create_private_file};

/// Most snapshots that are looked through, newest first.
const SNAPSHOTS_MAX: usize = 20;

/// Most objects of a store that are looked at to know its kind.
const OBJECTS_MAX: usize = 4096;

/// The name that the layer has while its configuration is looked for.
const NAME: &str = "found";

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The store of one layer, as a configuration would name it; a folder of this machine as an
    /// absolute path.
    pub store: String,
    /// What opens it; nothing where it is not encrypted.
    pub passphrase: Option<Reference>,
    /// The path of the configuration on the old machine, where it was not `ravelin.toml`.
    pub path: Option<PathBuf>,
    /// The name of the old machine, where several share the store.
    pub host: Option<String>,
    /// Where it is written.
    pub file: PathBuf,
}

/// What stands at a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A Borg repository. Whether it is encrypted is known when it is opened.
    Borg,
    /// A duplicity archive.
    Duplicity {
        /// Whether its files are encrypted.
        encrypted: bool,
    },
    /// A drop folder.
    Drop,
}

/// A configuration that was found, and what is missing before it can be used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovered {
    /// Where it stood.
    #[serde(flatten)]
    pub path: PathRecord,
    /// In which snapshot; of a drop folder, of which device.
    pub snapshot: String,
    /// When that was made, as far as it is known.
    pub time: Option<Timestamp>,
    /// Whether nobody without a key could have written it.
    pub encrypted: bool,
    /// Whether one of its layers is where it was found; if not, that has moved.
    pub store_is_known: bool,
    /// The layers, with what opens them.
    pub layers: Vec<RecoveredLayer>,
    /// Whether it calls programs: around a backup, for a dump, or for a secret.
    pub calls_programs: bool,
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

/// Looks what kind of layer stands at a store, as far as that can be seen without opening it.
///
/// # Errors
///
/// [`Error::Layer`] when the store cannot be read; [`Error::NotInLayer`] when it is no layer.
pub fn look(search: &Search, machine: &Machine) -> Result<Found, Error> {
    let failed = |error: store::Error| Error::of_layer(&shown(&search.store))(error.into());
    let location = search.store.parse::<Location>();
    let location = match location {
        // Borg's own forms: `user@host:path`, and SSH, which is Borg's here.
        Err(_) => return Ok(Found::Borg),
        Ok(_) if search.store.starts_with("ssh://") => return Ok(Found::Borg),
        Ok(location) => location,
    };
    if let Location::Disk(path) = &location {
        match Standing::at(path) {
            Standing::Borg => return Ok(Found::Borg),
            Standing::Nothing => return Err(not_there(search)),
            _ => {}
        }
    }
    let store = store::open(&location, &machine.store_environment()).map_err(failed)?;
    if !drop::configurations(&*store)
        .map_err(of_drop(search))?
        .is_empty()
    {
        return Ok(Found::Drop);
    }
    let (mut looked, mut encrypted) = (0, None);
    let prefixes = Prefixes::default();
    store
        .list(&StoreFolder::root(), Scope::Folder, &mut |object| {
            looked += 1;
            if let Some(name) = prefixes.read(object.name.as_str()) {
                encrypted = Some(name.suffix.is_encrypted());
            }
            if encrypted.is_some() || looked >= OBJECTS_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .map_err(failed)?;
    match encrypted {
        Some(encrypted) => Ok(Found::Duplicity { encrypted }),
        None => Err(not_there(search)),
    }
}

/// Looks for the configuration in a layer. Nothing is written.
///
/// # Errors
///
/// [`Error::ConfigExists`] when this machine has one; [`Error::Layer`] when the layer cannot be opened;
/// [`Error::NotInLayer`] when no snapshot has one; [`Error::Config`] when the one at the path that was
/// asked for is not understood.
pub fn find_config(search: &Search, machine: &Machine) -> Result<Recovered, Error> {
    if search.file.symlink_metadata().is_ok() {
        let path = search.file.clone();
        return Err(Error::ConfigExists { path });
    }
    match look(search, machine)? {
        Found::Drop => in_drop_folder(search, machine),
        found @ Found::Borg => in_snapshots(search, found, machine),
        found @ Found::Duplicity { .. } => match in_snapshots(search, found, machine) {
            // Encrypted to keys of GnuPG: a passphrase is theirs, and the agent knows it.
            Err(error) if is_key_needed(&error) => {
                let without = Search {
                    passphrase: None,
                    ..search.clone()
                };
                in_snapshots(&without, found, machine)
            }
            result => result,
        },
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
    let mut layers = config.layers.iter();
    let same = layers.find(|layer| is_same_store(&layer.store, &search.store, machine));
    let mut written = None;
    if let (Some(Reference::File(file)), Some(reference)) = (
        same.and_then(|layer| layer.passphrase.as_ref()),
        &search.passphrase,
    ) && file.symlink_metadata().is_err()
    {
        let secret = machine.keeper().fetch(reference);
        let secret =
            secret.map_err(|error| Error::of_layer(&shown(&search.store))(error.into()))?;
        let line = zeroize::Zeroizing::new(format!("{}\n", secret.expose()));
        create_private_file(file, line.as_bytes()).map_err(failed(file))?;
        written = Some(file.clone());
    }
    create_private_file(&search.file, found.text.as_bytes()).map_err(failed(&search.file))?;
    Ok(written)
}

/// The store without the password that it may have.
fn shown(store: &str) -> String {
    let location = store.parse::<Location>();
    location.map_or_else(|_| store.to_owned(), |location| location.to_string())
}

fn not_there(search: &Search) -> Error {
    Error::NotInLayer {
        store: shown(&search.store),
    }
}

fn of_drop(search: &Search) -> impl FnOnce(drop::Error) -> Error {
    let store = shown(&search.store);
    move |error| Error::of_layer(&store)(error.into())
}

fn is_key_needed(error: &Error) -> bool {
    let Error::Layer {
        source: layer::Error::Duplicity(error),
        ..
    } = error
    else {
        return false;
    };
    matches!(
        **error,
        duplicity::Error::Open {
            source: OpenError::KeyNeeded,
            ..
        }
    )
}

fn is_same_store(one: &str, other: &str, machine: &Machine) -> bool {
    let clean = |store: &str| {
        let path = store.strip_prefix("file://").unwrap_or(store);
        let path = machine.places.expand(path);
        path.canonicalize().unwrap_or(path)
    };
    one == other || clean(one) == clean(other)
}

/// A configuration of this one layer.
fn as_layer(search: &Search, found: Found, machine: &Machine) -> Result<Config, Error> {
    let kind = match found {
        Found::Borg => "borg",
        Found::Duplicity { .. } | Found::Drop => "duplicity",
    };
    let mut text = format!(
        "[[source]]\npaths = [\"/\"]\n[layer.{NAME}]\nkind = \"{kind}\"\nstore = {}\n",
        toml_edit::Value::from(search.store.as_str())
    );
    text.push_str(&match (found, &search.passphrase) {
        // What is not encrypted may be the work of somebody else: that is said with the result.
        (Found::Duplicity { encrypted: false }, _) | (Found::Borg, None) => {
            "encryption = \"none\"\n".to_owned()
        }
        (_, Some(reference)) => format!("passphrase = {reference}\n"),
        // GnuPG knows itself which key opens it.
        (_, None) => "encryption = \"keys\"\nencrypt-to = [\"nobody\"]\n".to_owned(),
    });
    let file = Path::new("--from");
    Ok(Config::parse(&text, file, &machine.places).map_err(config::Error::from)?)
}

fn in_snapshots(search: &Search, found: Found, machine: &Machine) -> Result<Recovered, Error> {
    let config = as_layer(search, found, machine)?;
    let store = shown(&search.store);
    let of_layer = || Error::of_layer(&store);
    let layer = config.layer(NAME).ok_or_else(|| not_there(search))?;
    let encrypted = match found {
        Found::Duplicity { encrypted } => encrypted,
        _ => search.passphrase.is_some(),
    };
    let mut open = layer::open(layer, Access::Read, machine).map_err(of_layer())?;
    let wanted = match &search.path {
        Some(path) => Some(crate::browse::typed_path(path)?),
        None => None,
    };
    let usual = TreePath::from_local(&search.file).ok();
    let snapshots = open.snapshots().map_err(of_layer())?;
    let mut mistakes = None;
    for snapshot in of_machine(&snapshots, search, machine).take(SNAPSHOTS_MAX) {
        let mut candidates = Candidates::new(wanted.as_ref(), usual.as_ref());
        while let Some(path) = candidates.next(&mut *open, snapshot).map_err(of_layer())? {
            let Some(text) = read(&mut *open, snapshot, &path) else {
                continue;
            };
            match Config::parse(&text, &search.file, &machine.places) {
                Ok(config) => {
                    let path = PathRecord::from(&path);
                    let time = Some(snapshot.time);
                    let from = (path, snapshot.name.clone(), time, encrypted);
                    return Ok(recovered(&config, from, text, search, machine));
                }
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

fn in_drop_folder(search: &Search, machine: &Machine) -> Result<Recovered, Error> {
    let location = search.store.parse::<Location>();
    let location = location.map_err(|_| not_there(search))?;
    let store = store::open(&location, &machine.store_environment())
        .map_err(|error| Error::of_layer(&shown(&search.store))(error.into()))?;
    let all = drop::configurations(&*store).map_err(of_drop(search))?;
    let name = search.host.as_deref().unwrap_or(&machine.host);
    let mut of_name = all.iter().filter(|kept| kept.device == name);
    let newest = || all.iter().max_by_key(|kept| kept.at);
    let kept = match of_name.next() {
        None if search.host.is_none() => newest(),
        found => found,
    };
    let kept = kept.ok_or_else(|| not_there(search))?;
    let text = kept.read(&*store).map_err(of_drop(search))?;
    let config =
        Config::parse(&text, &search.file, &machine.places).map_err(config::Error::from)?;
    let path = PathRecord::from(search.file.as_os_str().as_encoded_bytes());
    let from = (path, kept.device.clone(), kept.at, false);
    Ok(recovered(&config, from, text, search, machine))
}

/// The snapshots of the old machine, newest first: those named after it, and all where there are none
/// of that name.
fn of_machine<'a>(
    snapshots: &'a [Snapshot],
    search: &Search,
    machine: &Machine,
) -> impl Iterator<Item = &'a Snapshot> {
    let name = search.host.as_ref().unwrap_or(&machine.host);
    let prefix = format!("{name}-");
    let is_named = move |snapshot: &&Snapshot| snapshot.name.starts_with(&prefix);
    let any_named = snapshots.iter().any(|snapshot| is_named(&snapshot));
    let newest_first = snapshots.iter().rev();
    newest_first.filter(move |snapshot| !any_named || is_named(snapshot))
}

/// The paths of a snapshot where the configuration may stand, the likeliest first. The snapshot is only
/// looked through when it stands at none of the usual places.
struct Candidates<'a> {
    first: Vec<TreePath>,
    wanted: Option<&'a TreePath>,
    listed: bool,
}

impl<'a> Candidates<'a> {
    fn new(wanted: Option<&'a TreePath>, usual: Option<&TreePath>) -> Self {
        Self {
            first: wanted.or(usual).cloned().into_iter().collect(),
            wanted,
            listed: false,
        }
    }

    fn next(
        &mut self,
        layer: &mut dyn Layer,
        snapshot: &Snapshot,
    ) -> Result<Option<TreePath>, layer::Error> {
        if self.first.is_empty() && !self.listed && self.wanted.is_none() {
            self.listed = true;
            self.first = named_so(layer, snapshot)?;
        }
        Ok(self.first.pop())
    }
}

/// The files of a snapshot that are called like a configuration, the likeliest last: `ravelin.toml`, or
/// any such file in a folder `ravelin`.
fn named_so(layer: &mut dyn Layer, snapshot: &Snapshot) -> Result<Vec<TreePath>, layer::Error> {
    let mut found = Vec::new();
    let listed = layer.entries(snapshot, &mut |item| {
        if let Ok(item) = item
            && is_named_so(&item.entry.path)
            && item.entry.is_file()
            && item.entry.size <= FILE_SIZE_MAX
        {
            found.push(item.entry.path);
        }
        ControlFlow::Continue(())
    });
    match listed {
        Err(error) if !error.is_damage() => return Err(error),
        _ => {}
    }
    let is_usual = |path: &TreePath| path.as_bytes().ends_with(b"ravelin/ravelin.toml");
    found.sort_by_key(|path| (is_usual(path), std::cmp::Reverse(path.as_bytes().len())));
    Ok(found)
}

fn is_named_so(path: &TreePath) -> bool {
    let name = path.name().unwrap_or_default();
    let folder = path.parent();
    let folder = folder.as_ref().and_then(TreePath::name);
    name == b"ravelin.toml" || (name.ends_with(b".toml") && folder == Some(b"ravelin"))
}

/// The text of a file; `None` when there is none, it is damaged, or it is no text.
fn read(layer: &mut dyn Layer, snapshot: &Snapshot, path: &TreePath) -> Option<String> {
    let mut text = String::new();
    let content = layer.content(snapshot, path).ok()?;
    let read = content.take(FILE_SIZE_MAX + 1).read_to_string(&mut text);
    let is_whole = read.is_ok_and(|length| u64::try_from(length).is_ok_and(|n| n <= FILE_SIZE_MAX));
    is_whole.then_some(text)
}

fn recovered(
    config: &Config,
    (path, snapshot, time, encrypted): (PathRecord, String, Option<Timestamp>, bool),
    text: String,
    search: &Search,
    machine: &Machine,
) -> Recovered {
    let layers = config.layers.iter().map(|layer| RecoveredLayer {
        layer: layer.name.clone(),
        store: shown(&layer.store),
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
        path,
        snapshot,
        time,
        encrypted,
        store_is_known: config
            .layers
            .iter()
            .any(|layer| is_same_store(&layer.store, &search.store, machine)),
        layers: layers.collect(),
        calls_programs: config.calls_others() || config.asks_programs_for_secrets(),
        text,
    }
}
