//! Examines a layer that may be damaged, and mends what can be mended.

use std::io::Read;
use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::Serialize;

use super::heal::{self, Healed, LostFile, LostPiece};
use crate::event::{PathRecord, Watch};
use crate::layer::{Error as LayerError, VerifyStep};
use crate::machine::Context;
use crate::{Error, config};

/// A layer that is opened to be examined, in whatever state it is.
pub trait Repair {
    /// Reads everything back and says what is wrong; with `data`, every byte. Nothing is changed.
    ///
    /// # Errors
    ///
    /// When the examination itself cannot be made.
    fn examine(
        &mut self,
        data: bool,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Examination, LayerError>;

    /// The files of which the last examination has found pieces lost.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn lost(&mut self) -> Result<Vec<LostFile>, LayerError>;

    /// Offers bytes that may be a lost piece, as many as it has. Says whether they are, and keeps them for
    /// the mending. What cannot be read to its end is none.
    ///
    /// # Errors
    ///
    /// When there is no room for them.
    fn offer(&mut self, piece: &LostPiece, content: &mut dyn Read) -> Result<bool, LayerError>;

    /// Mends what the last examination has found, with what was offered since.
    ///
    /// # Errors
    ///
    /// Those of writing. What was whole is whole then, and it can be done again.
    fn mend(&mut self, now: Timestamp) -> Result<Mended, LayerError>;
}

/// What an examination has found, and what mending would do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Examination {
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Stored objects of which every byte was read.
    pub objects: u64,
    /// What is wrong below the snapshots, one sentence each.
    pub findings: Vec<String>,
    /// The snapshots that are hurt, and no others.
    pub hurt: Vec<HurtSnapshot>,
    /// Stored objects that nothing uses; they take space and hurt nothing.
    pub unused_objects: u64,
    /// What mending would do, one sentence each; empty when there is nothing to do.
    pub actions: Vec<String>,
}

impl Examination {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.is_empty() && self.hurt.is_empty()
    }
}

/// A snapshot that is not as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HurtSnapshot {
    /// Its name.
    pub snapshot: String,
    /// What is wrong with it.
    pub what: String,
    /// The files of which content is missing.
    pub files: Vec<HurtFile>,
}

/// A file of which content is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HurtFile {
    /// Where it stands.
    #[serde(flatten)]
    pub path: PathRecord,
    /// Bytes that are missing.
    pub missing_bytes: u64,
    /// Whether a repair has put zeros in the place of what is missing.
    pub has_zeros: bool,
}

/// What mending has done, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Mended {
    /// The sentences; empty when there was nothing to do.
    pub done: Vec<String>,
}

/// What was found in a layer, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepairReport {
    /// Which layer.
    pub layer: String,
    /// What was found.
    #[serde(flatten)]
    pub found: Examination,
    /// What is lost and was found elsewhere; a repair puts it back.
    pub healed: Vec<Healed>,
    /// What was done; `None` when it was only to be shown.
    pub mended: Option<Mended>,
}

/// How a repair is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairOptions {
    /// Every byte is read, not only the structure.
    pub data: bool,
    /// Nothing is changed.
    pub dry_run: bool,
    /// It was moved or set back to an older state on purpose.
    pub trust: bool,
}

/// Examines a layer, and unless it is a dry run mends it: with what other layers and the files themselves
/// still have of what it has lost.
///
/// # Errors
///
/// When the layer cannot be opened even for this, or not written.
pub fn repair(
    layer: &config::Layer,
    how: RepairOptions,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<RepairReport, Error> {
    let failed = || Error::of_layer(&layer.name);
    let mut open = crate::layer::open_damaged(layer, !how.dry_run, how.trust, context.machine)
        .map_err(failed())?;
    let on_step = &mut |step: VerifyStep| watch.step(&layer.name, step);
    let found = match open.examine(how.data, on_step) {
        Err(_) if watch.stop.is_requested() => return Err(Error::Stopped),
        found => found.map_err(failed())?,
    };
    let healed = heal::gather(&mut *open, layer, context, watch)?;
    let now = context.machine.now().timestamp();
    let mended = match how.dry_run {
        true => None,
        false => Some(open.mend(now).map_err(failed())?),
    };
    Ok(RepairReport {
        layer: layer.name.clone(),
        found,
        healed,
        mended,
    })
}
