//! The configuration: what was typed becomes what is meant in one step.
//!
//! Reading is strict and complete: an unknown key is a mistake, and all mistakes are reported
//! together, each with its line, its key and, where one comes near, the word that was meant.
//! Every key is shown in docs/config.toml, which a test reads.

mod edit;
mod guard;
mod hook;
mod layer;
mod mistake;
mod notify;
mod reader;
mod source;
mod value;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml_edit::Document;

use crate::secret::Reference;
use crate::{Places, Schedule};

pub use edit::{Edit, EditError, NewLayer, SourceList};
pub use guard::Guard;
pub use hook::{Hook, Moment};
pub use layer::{ArchiveEncryption, Duplicity, Keep, Kind, Layer};
pub use mistake::{Fault, Mistake, Mistakes};
pub use notify::{Notify, Occasion, Security, Sender, Smtp};
pub use reader::{Origin, Setting};
use reader::{Reader, Section};
pub use source::{Printed, Source};
pub use value::{duration, size};

/// Largest configuration file that is read: 1 MiB.
pub(crate) const FILE_SIZE_MAX: u64 = 1 << 20;

/// What is protected, by which layers, and how often it is checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// What is protected; at least one.
    pub sources: Vec<Source>,
    /// The independent copies, in the order of the file; at least one.
    pub layers: Vec<Layer>,
    /// Programs that are called around a backup, in the order of the file.
    pub hooks: Vec<Hook>,
    /// What scheduled runs wait for.
    pub wait: Wait,
    /// How often layers are read back.
    pub verify: Verify,
    /// From when on a change looks like an attack.
    pub guard: Guard,
    /// Who is told what.
    pub notify: Vec<Notify>,
    /// Where numbers for Prometheus are written after each run.
    pub metrics: Option<PathBuf>,
    /// What has to be sent to the page to get the same numbers there; `None`: it gives none.
    pub metrics_token: Option<Reference>,
    /// Where this machine says how it stands; `None`: nowhere.
    pub fleet: Option<Fleet>,
    /// The file that every drill has to bring back; `None`: there is none.
    pub sentinel: Option<PathBuf>,
    /// Every setting in effect, with where it comes from.
    pub settings: Vec<Setting>,
}

/// What scheduled runs wait for. For a network where one is needed, and for a drive that is away,
/// they wait always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wait {
    /// For mains power.
    pub battery: bool,
    /// For a network that does not cost by the byte.
    pub metered: bool,
}

/// Where this machine says how it stands, for who looks after several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// The place that they share.
    pub store: String,
    /// What their words are signed with.
    pub key: Reference,
}

/// How often each kind of check is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// Whether everything that is needed is there.
    pub structure: Schedule,
    /// Whether every byte reads back as it was written.
    pub data: Schedule,
    /// Whether real files come back as they were.
    pub drill: Schedule,
    /// Whether the stock program of the format, where it is installed, finds all well. `None`: as
    /// if it said monthly for layers on this machine, and never for others.
    pub second_opinion: Option<Schedule>,
    /// In how long every byte is read back by parts, one at each scheduled run; `None`: not so.
    pub rolling: Option<Duration>,
    /// How often each passphrase is to be typed by a person; `None`: never.
    pub passphrase: Option<Duration>,
    /// Whether a file is written before each backup that every drill has to bring back.
    pub sentinel: bool,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file.
    #[error("there is no configuration at {}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may change the file: it names programs that are run.
    #[error("the configuration {} may be changed by others (mode {mode:03o})", path.display())]
    Writable {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds mistakes.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    ///
    /// [`Error`] when there is none, when it cannot be read, when others may change it, or with
    /// all its mistakes.
    pub fn read(file: &Path, places: &Places) -> Result<Self, Error> {
        let text = read_text(file)?;
        Ok(Self::parse(&text, file, places)?)
    }

    /// Reads the text of a configuration; `file` is where it came from, for the messages.
    ///
    /// # Errors
    ///
    /// All mistakes in it.
    pub fn parse(text: &str, file: &Path, places: &Places) -> Result<Self, Mistakes> {
        let mistakes = |list| Mistakes {
            file: file.to_owned(),
            list,
        };
        let reader = Reader::new(text);
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let message = error.message().trim().replace('\n', ", ");
                return Err(mistakes(vec![Mistake {
                    line: reader.line(error.span()),
                    key: String::new(),
                    fault: Fault::Syntax { message },
                }]));
            }
        };
        let root = reader.root(document.as_table());
        let sources = source::read(&root, places);
        let layers = layer::read(&root, places);
        let hooks = hook::read(&root);
        let wait = Wait::read(&root);
        let verify = Verify::read(&root);
        let guard = Guard::read(&root);
        let notify = notify::read(&root, places);
        let (metrics, metrics_token) = read_metrics(&root, places);
        let fleet = read_fleet(&root, places);
        root.end(&[]);
        let settings = reader.finish().map_err(mistakes)?;
        Ok(Self {
            file: file.to_owned(),
            sources,
            layers,
            hooks,
            wait,
            verify,
            guard,
            notify,
            metrics,
            metrics_token,
            fleet,
            sentinel: verify.sentinel.then(|| crate::sentinel::place(places)),
            settings,
        })
    }

    /// What the file asks for and this version does not do yet, one sentence each.
    ///
    /// It is understood, so that a file may be written for the whole strategy; that it does nothing
    /// yet must not go unsaid.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for key in self.passwords() {
            notes.push(format!(
                "a password stands in `{key}`, so this file is not added to the snapshots: `ravelin init --from` will not find it"
            ));
        }
        for layer in &self.layers {
            let name = &layer.name;
            if !layer.is_runnable() {
                notes.push(match &layer.kind {
                    Kind::Drop { .. } => format!(
                        "layer `{name}` names no `folder`: only `ravelin drop` works with it"
                    ),
                    kind => format!(
                        "layer `{name}` (kind `{}`, store `{}`) cannot be run yet",
                        kind.name(),
                        layer.store
                    ),
                });
            }
            if !layer.keep.is_everything() && !layer.is_prunable() {
                notes.push(format!(
                    "`keep` of layer `{name}` is not acted on yet: all snapshots stay"
                ));
            }
        }
        notes
    }

    /// The keys of addresses in which a password stands. A file with one is added to no snapshot.
    #[must_use]
    pub fn passwords(&self) -> Vec<String> {
        let settings = self.settings.iter();
        let with_password = settings.filter(|setting| has_password(&setting.value));
        let mut keys: Vec<String> = with_password.map(|setting| setting.key.clone()).collect();
        // Of a store the setting is shown without.
        let layers = self.layers.iter();
        let layers = layers.filter(|layer| has_password(&layer.store));
        keys.extend(layers.map(|layer| format!("layer.{}.store", layer.name)));
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The file as every layer may hold it; `None` when a password stands in it, or it cannot be read
    /// any more.
    pub(crate) fn text_for_layers(&self) -> Option<String> {
        if self.passwords().is_empty() {
            read_text(&self.file).ok()
        } else {
            None
        }
    }

    /// The files with secrets that the configuration names, and what stands in each, as the end of
    /// “it holds …”.
    #[must_use]
    pub fn secret_files(&self) -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        for layer in &self.layers {
            if let Some(Reference::File(path)) = &layer.passphrase {
                files.push((
                    path.clone(),
                    format!("the passphrase of layer `{}`", layer.name),
                ));
            }
        }
        if let Some(Reference::File(path)) = &self.metrics_token {
            files.push((path.clone(), "the token of `[metrics]`".to_owned()));
        }
        if let Some(Reference::File(path)) = self.fleet.as_ref().map(|fleet| &fleet.key) {
            files.push((path.clone(), "the key of `[fleet]`".to_owned()));
        }
        for notify in &self.notify {
            if let Some(Reference::File(path)) = notify.secret() {
                files.push((path.clone(), "a secret of `[[notify]]`".to_owned()));
            }
        }
        files
    }

    /// The secrets that a program is asked for.
    pub(crate) fn asks_programs_for_secrets(&self) -> bool {
        let layers = self
            .layers
            .iter()
            .filter_map(|layer| layer.passphrase.as_ref());
        let notify = self.notify.iter().filter_map(Notify::secret);
        layers
            .chain(notify)
            .any(|reference| matches!(reference, Reference::Command(_)))
    }

    /// Whether programs are called that somebody chose, besides those for secrets: hooks, sources
    /// that are what a command prints, the local mail program.
    #[must_use]
    pub fn calls_others(&self) -> bool {
        let is_sendmail =
            |notify: &Notify| matches!(notify.sender, Sender::Email { smtp: None, .. });
        !self.hooks.is_empty()
            || self.sources.iter().any(|source| source.printed.is_some())
            || self.notify.iter().any(is_sendmail)
    }

    /// The layer of that name.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.name == name)
    }
}

/// Whether a text is an address with a password: `scheme://user:password@host`.
fn has_password(text: &str) -> bool {
    let authorities = text.split("://").skip(1);
    authorities
        .filter_map(|rest| {
            rest.split(['/', '?', '#', '"', ' '])
                .next()?
                .rsplit_once('@')
        })
        .any(|(user, _)| user.contains(':'))
}

impl Wait {
    fn read(root: &Section<'_>) -> Self {
        let Some(section) = root.table("wait") else {
            return Self::default();
        };
        let wait = Self {
            battery: section.flag("battery", false),
            metered: section.flag("metered", false),
        };
        section.end(&[]);
        wait
    }
}

impl Verify {
    fn read(root: &Section<'_>) -> Self {
        let usual = Self {
            structure: Schedule::EveryDays(7),
            data: Schedule::EveryDays(30),
            drill: Schedule::EveryDays(7),
            second_opinion: None,
            rolling: None,
            passphrase: None,
            sentinel: false,
        };
        let Some(section) = root.table("verify") else {
            return usual;
        };
        let verify = Self {
            structure: schedule(&section, "structure", usual.structure),
            data: schedule(&section, "data", usual.data),
            drill: schedule(&section, "drill", usual.drill),
            second_opinion: section
                .has("second-opinion")
                .then(|| schedule(&section, "second-opinion", Schedule::EveryDays(30))),
            rolling: period(&section, "rolling"),
            passphrase: period(&section, "passphrase"),
            sentinel: section.flag("sentinel", false),
        };
        section.end(&[]);
        verify
    }
}

fn read_fleet(root: &Section<'_>, places: &Places) -> Option<Fleet> {
    let section = root.table("fleet")?;
    let store = section.required_string("store");
    let store = store.map(|typed| match typed.starts_with(['/', '~']) {
        true => absolute(&section, "store", typed, places)
            .display()
            .to_string(),
        false => typed.to_owned(),
    });
    if let Some(store) = &store {
        section.settled("store", store.clone());
    }
    if !section.has("key") {
        section.mistake("key", Fault::Missing);
    }
    let key = layer::secret(&section, "key", places);
    section.end(&[]);
    Some(Fleet {
        store: store?,
        key: key?,
    })
}

/// Reads a duration of a day or more that has no default.
fn period(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    let period = section.read(key, "a duration like `4 weeks`", |text| {
        duration(text).filter(|period| *period >= Duration::from_secs(24 * 3600))
    });
    if let Some(period) = period {
        section.settled(key, format!("{} s", period.as_secs()));
    }
    period
}

fn read_metrics(root: &Section<'_>, places: &Places) -> (Option<PathBuf>, Option<Reference>) {
    let Some(section) = root.table("metrics") else {
        return (None, None);
    };
    if !section.has("file") && !section.has("token") {
        section.mistake("file", Fault::Missing);
    }
    let file = section.string("file");
    let file = file.map(|typed| absolute(&section, "file", typed, places));
    if let Some(file) = &file {
        section.settled("file", file.display().to_string());
    }
    let token = layer::secret(&section, "token", places);
    section.end(&[]);
    (file, token)
}

/// Reads a schedule that has a default.
fn schedule(section: &Section<'_>, key: &'static str, default: Schedule) -> Schedule {
    let expected =
        "a schedule like `hourly`, `daily 02:00`, `weekly sunday`, `every 4 hours` or `manual`";
    let value = section
        .read(key, expected, Schedule::parse)
        .unwrap_or(default);
    section.settled(key, value.to_string());
    value
}

/// Reads a path that does not depend on where the program was started.
fn absolute(section: &Section<'_>, key: &'static str, typed: &str, places: &Places) -> PathBuf {
    let path = places.expand(typed);
    if !path.is_absolute() {
        let path = typed.to_owned();
        section.mistake(key, Fault::RelativePath { path });
    } else if tree::TreePath::from_local(&path).is_err() {
        let value = typed.to_owned();
        let expected = "a path without `..`";
        section.mistake(key, Fault::BadValue { value, expected });
    }
    path
}

fn read_text(path: &Path) -> Result<String, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => Error::NotFound {
            path: path.to_owned(),
        },
        _ => Error::Read {
            path: path.to_owned(),
            source,
        },
    };
    let file = fs::File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(Error::Writable {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > FILE_SIZE_MAX {
        return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
    }
    let mut text = String::new();
    file.take(FILE_SIZE_MAX)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}
