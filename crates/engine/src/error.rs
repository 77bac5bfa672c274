//! What can go wrong with an operation as a whole.

use std::io;
use std::path::PathBuf;

use tree::TreePath;

use crate::config;
use crate::guard::Alarm;
use crate::layer;

/// Why an operation could not be done.
///
/// What goes wrong with one layer while others go on, or with one file, is no error but stands in
/// the report. [`crate::explain()`] gives every error its code, sentence and next step.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// There is a configuration already, and it is not replaced.
    #[error("there is a configuration already: {}", path.display())]
    ConfigExists {
        /// Which file.
        path: PathBuf,
    },
    /// No layer has this name.
    #[error("there is no layer `{name}`")]
    NoLayer {
        /// What was asked for.
        name: String,
        /// The layers that there are.
        known: Vec<String>,
    },
    /// A layer cannot do what it was asked for.
    #[error("layer `{layer}`")]
    Layer {
        /// Which layer.
        layer: String,
        /// Why.
        source: layer::Error,
    },
    /// No path of any source exists.
    #[error("nothing to back up: {}", absent(paths))]
    NoSource {
        /// The paths.
        paths: Vec<PathBuf>,
    },
    /// What was typed is not a path inside a snapshot.
    #[error("`{typed}` is not a path inside a snapshot")]
    BadPath {
        /// What was typed.
        typed: String,
        /// Why not.
        source: tree::BadPath,
    },
    /// Nothing of this path is in the snapshot.
    #[error("{path} is not in snapshot `{snapshot}`")]
    NoEntry {
        /// Which path.
        path: TreePath,
        /// Which snapshot.
        snapshot: String,
    },
    /// The folder to restore into says no.
    #[error("cannot restore")]
    Restore {
        /// Why.
        source: tree::RestoreError,
    },
    /// The file that was to prove a restore did not come back.
    #[error("{path} could not be compared with what was restored")]
    Proof {
        /// Which file.
        path: TreePath,
        /// What the system says.
        source: io::Error,
    },
    /// A file that a person named cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What stands at a path of a snapshot has no content.
    #[error("{path} is {what} in snapshot `{snapshot}`")]
    NotAFile {
        /// Which path.
        path: TreePath,
        /// What it is, with its article.
        what: &'static str,
        /// Which snapshot.
        snapshot: String,
    },
    /// The program's own files cannot be written or read.
    #[error("cannot {action} {}", path.display())]
    State {
        /// What was tried, as a verb.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was typed is not where a store can be.
    #[error("this is no place of a store")]
    BadStore(#[source] store::BadLocation),
    /// A store cannot do what it was asked for.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The key of the fleet could be found by trying.
    #[error("the key of `[fleet]` has {size} bytes, and with fewer than 16 it can be guessed")]
    FleetKey {
        /// How many it has.
        size: usize,
    },
    /// A hook forbids the backup, or cannot be called.
    #[error("the hook `{program}` before the backup says no: {reason}")]
    Hook {
        /// Which program.
        program: String,
        /// What it said.
        reason: String,
    },
    /// A source cannot be read as it was at one moment, or a snapshot for that not be removed.
    #[error("cannot have a file-system snapshot for {}", path.display())]
    FileSystemSnapshot {
        /// Which path of a source, or which subvolume.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process is at the same work.
    #[error("another ravelin is at work: {holder}")]
    Busy {
        /// Who, as `process 4711 since 2026-11-24 07:30`.
        holder: String,
    },
    /// An alarm stands, and so nothing old is removed.
    #[error("nothing old is removed while the alarm of {} stands: {alarm}", .alarm.since.strftime("%Y-%m-%d"))]
    Guarded {
        /// The alarm.
        alarm: Alarm,
    },
    /// No snapshot of a layer holds a configuration.
    #[error("no snapshot at {store} holds a configuration of ravelin")]
    NotInLayer {
        /// The store that was looked through.
        store: String,
    },
    /// Nothing on this machine can run work on a schedule, or what can says no.
    #[error("{} cannot run ravelin on a schedule", .refusals.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and "))]
    NoScheduler {
        /// Each that was asked, with its reason.
        refusals: Vec<(&'static str, String)>,
    },
    /// It was stopped before its end.
    #[error("stopped before the end")]
    Stopped,
}

impl Error {
    /// Says which layer an error is about.
    pub fn of_layer(layer: &str) -> impl FnOnce(layer::Error) -> Self {
        let layer = layer.to_owned();
        move |source| Self::Layer { layer, source }
    }
}

/// Names paths that do not exist, as far as a person reads on.
fn absent(paths: &[PathBuf]) -> String {
    const NAMED: usize = 3;
    let named: Vec<String> = paths
        .iter()
        .take(NAMED)
        .map(|path| path.display().to_string())
        .collect();
    let more = match paths.len() {
        0 => return "none of the paths of the sources exists".to_owned(),
        1..=NAMED => "",
        _ => " …",
    };
    format!("there is no {}{more}", named.join(", no "))
}
