//! What happens while the engine works, told to whoever listens.
//!
//! The terminal, the page and the history are readers of one stream. Written as JSON lines, it
//! *is* the history: see [`crate::history`].

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tree::{Problem, TreePath};

use crate::drill::Drilled;
use crate::explain::Explanation;
use crate::layer::{Depth, Statistics, VerifyStep};
use crate::report::Outcome;

/// One thing that happened.
///
/// In JSON, `event` names the variant and the other keys are its fields. Variants and fields are
/// added over time, never changed: a reader skips what it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// An operation begins.
    Started {
        /// Identifies the operation.
        run: String,
        /// What is done.
        verb: Verb,
        /// When.
        at: Timestamp,
        /// On which machine.
        host: String,
        /// The layers that take part.
        layers: Vec<String>,
        /// Where each of them is kept, in the same order; empty in older records.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stores: Vec<String>,
        /// What the last such operation found in the sources, when it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<Totals>,
    },
    /// A layer is open and takes part under this snapshot name.
    LayerStarted {
        /// Which layer.
        layer: String,
        /// The snapshot that will stand when it is committed.
        snapshot: String,
    },
    /// How far the reading of the sources came. Sent a few times a second, not kept.
    Progress {
        /// What was found so far.
        totals: Totals,
        /// Where the reading is.
        #[serde(flatten)]
        path: PathRecord,
    },
    /// How far a verification or a restore came. Sent a few times a second, not kept.
    Step {
        /// Which layer.
        layer: String,
        /// What is being done, as a phrase: `reading segments`.
        phase: String,
        /// How much is done, in the unit of `total`.
        done: u64,
        /// How much there is to do; 0 when that is not known.
        total: u64,
    },
    /// One object could not be handled.
    Problem(ProblemRecord),
    /// All sources were read; the layers write what is left and commit.
    Committing {
        /// What was found.
        totals: Totals,
    },
    /// A layer has committed its snapshot: it can be restored from now on.
    LayerDone {
        /// Which layer.
        layer: String,
        /// The new snapshot.
        snapshot: String,
        /// When it was committed.
        at: Timestamp,
        /// What it took.
        statistics: Statistics,
    },
    /// A layer failed; it got no snapshot. The others went on.
    LayerFailed {
        /// Which layer.
        layer: String,
        /// When.
        at: Timestamp,
        /// Why, and what can be done.
        failure: Explanation,
    },
    /// A layer was read back.
    Verified {
        /// Which layer.
        layer: String,
        /// How deep.
        depth: Depth,
        /// When it was finished.
        at: Timestamp,
        /// What was found, one sentence each; empty when all is well.
        findings: Vec<String>,
    },
    /// The stock program of a layer's format has checked it.
    SecondOpinion {
        /// Which layer.
        layer: String,
        /// The program.
        program: String,
        /// When it was finished.
        at: Timestamp,
        /// What it found, in its own words; empty when all is well.
        findings: Vec<String>,
        /// How long it took.
        took_ms: u64,
    },
    /// A layer has held the others up for too long: they go on, and it gets the rest alone.
    LeftBehind {
        /// Which layer.
        layer: String,
        /// When.
        at: Timestamp,
        /// The last object that it was given with them.
        #[serde(flatten)]
        path: PathRecord,
    },
    /// Old snapshots of a layer were removed.
    Pruned {
        /// Which layer.
        layer: String,
        /// When it was finished.
        at: Timestamp,
        /// The snapshots that are gone.
        removed: Vec<String>,
        /// Bytes of the store that were freed; `None` where only a server knows.
        freed_bytes: Option<u64>,
    },
    /// Files came back from a layer.
    Restored {
        /// Which layer.
        layer: String,
        /// From which snapshot.
        snapshot: String,
        /// When it was finished.
        at: Timestamp,
        /// Objects that were written or already right.
        entries: u64,
        /// Bytes of content that were written.
        bytes: u64,
        /// Whether this was a proof into a scratch place, compared byte by byte.
        proof: bool,
    },
    /// Files came back from a layer as on a new machine, and were compared.
    Drilled {
        /// Which layer.
        layer: String,
        /// When.
        at: Timestamp,
        /// What is wrong, one sentence each; empty when all is well.
        faults: Vec<String>,
        /// What was compared, and how.
        evidence: Drilled,
    },
    /// The operation is over.
    Finished {
        /// When.
        at: Timestamp,
        /// How it ended.
        outcome: Outcome,
        /// What was found in the sources, for a backup.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        totals: Option<Totals>,
        /// Objects that could not be handled.
        problems: u64,
    },
}

impl Event {
    /// The layer that it is about, when it is about one.
    #[must_use]
    pub fn layer(&self) -> Option<&str> {
        match self {
            Self::LayerStarted { layer, .. }
            | Self::Step { layer, .. }
            | Self::LeftBehind { layer, .. }
            | Self::LayerDone { layer, .. }
            | Self::LayerFailed { layer, .. }
            | Self::Verified { layer, .. }
            | Self::SecondOpinion { layer, .. }
            | Self::Pruned { layer, .. }
            | Self::Restored { layer, .. }
            | Self::Drilled { layer, .. } => Some(layer),
            Self::Started { .. }
            | Self::Progress { .. }
            | Self::Problem(_)
            | Self::Committing { .. }
            | Self::Finished { .. } => None,
        }
    }

    /// Whether the history keeps it: progress is forgotten.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !matches!(self, Self::Progress { .. } | Self::Step { .. })
    }
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Adds snapshots.
    Backup,
    /// Reads layers back.
    Verify,
    /// Lets the stock programs check layers.
    SecondOpinion,
    /// Brings files back.
    Restore,
    /// Brings some files back to see whether that works.
    Drill,
    /// Removes old snapshots.
    Prune,
}

/// What was found in the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Objects of every kind.
    pub entries: u64,
    /// Regular files among them, further names of one file not counted.
    pub files: u64,
    /// Bytes of content of those files.
    pub bytes: u64,
    /// Bytes that had to be read, because a layer wanted them.
    pub read_bytes: u64,
}

/// A path in JSON: as text, and exactly, in base64, where text cannot hold it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRecord {
    /// The path; bytes that are not UTF-8 are shown as `U+FFFD`.
    pub path: String,
    /// The exact bytes, only where `path` cannot hold them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
}

impl From<&TreePath> for PathRecord {
    fn from(path: &TreePath) -> Self {
        Self::from(path.as_bytes())
    }
}

impl From<&[u8]> for PathRecord {
    fn from(path: &[u8]) -> Self {
        match std::str::from_utf8(path) {
            Ok(text) => Self {
                path: text.to_owned(),
                path_base64: None,
            },
            Err(_) => Self {
                path: String::from_utf8_lossy(path).into_owned(),
                path_base64: Some(STANDARD.encode(path)),
            },
        }
    }
}

/// As a [`TreePath`] is shown, safe for a terminal; what is none is shown in quotes.
impl fmt::Display for PathRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_path() {
            Some(path) => path.fmt(f),
            None => write!(f, "{:?}", self.path),
        }
    }
}

impl PathRecord {
    /// The path that was recorded; `None` when it cannot be one of a snapshot.
    #[must_use]
    pub fn to_path(&self) -> Option<TreePath> {
        let bytes = match &self.path_base64 {
            Some(text) => STANDARD.decode(text).ok()?,
            None => self.path.clone().into_bytes(),
        };
        TreePath::new(bytes).ok()
    }
}

/// One object that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemRecord {
    /// Which object.
    #[serde(flatten)]
    pub path: PathRecord,
    /// What happened, with its causes.
    pub what: String,
}

impl From<&Problem> for ProblemRecord {
    fn from(problem: &Problem) -> Self {
        Self {
            path: PathRecord::from(&problem.path),
            what: chain(&problem.what).join(": "),
        }
    }
}

/// An error and its causes, outermost first.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect()
}

/// Asks an operation to end soon, from another thread or a signal handler.
///
/// The operation stops between two steps; what is committed stays, what is not is left out.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// Asks. Cannot be taken back.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who listens to an operation and may stop it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Told everything that happens, from several threads.
    pub sink: &'a (dyn Fn(Event) + Sync),
    /// Ends the operation early.
    pub stop: &'a Stop,
}

impl Watch<'_> {
    /// Tells that something happened.
    pub fn tell(&self, event: Event) {
        (self.sink)(event);
    }

    /// Tells how far work on a layer came. Breaks when it is to end.
    pub fn step(&self, layer: &str, step: VerifyStep) -> ControlFlow<()> {
        self.tell(Event::Step {
            layer: layer.to_owned(),
            phase: step.phase.to_owned(),
            done: step.done,
            total: step.total,
        });
        match self.stop.is_requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_json_object() {
        let event = Event::Problem(ProblemRecord {
            path: PathRecord::from(&TreePath::new(b"a/\xff").unwrap()),
            what: "vanished before it could be read".to_owned(),
        });
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(
            json,
            "{\"event\":\"problem\",\"path\":\"a/\u{fffd}\",\"path_base64\":\"YS//\",\
             \"what\":\"vanished before it could be read\"}"
        );
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn any_path_survives_json() {
        for bytes in [
            b"plain".as_slice(),
            b"new\nline",
            b"\xc3\x28",
            "\u{fffd}".as_bytes(),
        ] {
            let path = TreePath::new(bytes).unwrap();
            assert_eq!(PathRecord::from(&path).to_path(), Some(path));
        }
    }
}
