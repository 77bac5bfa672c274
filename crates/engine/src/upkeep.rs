//! Keeping layers in order over the years: what stays, what goes, what is damaged.
//!
//! Everything here is a plan first, which can be shown, and then an act.

mod heal;
mod prune;
mod repair;

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::Serialize;
use tree::TreePath;

use crate::layer::{Error, Snapshot, VerifyStep};

pub use heal::{FoundIn, Healed, LostFile, LostPiece};
pub use prune::{NotPruned, PlannedSnapshot, PrunePlan, PruneReport, prune, prune_plan};
pub(crate) use prune::{is_tidy, prune_backed_up};
pub use repair::{
    Examination, HurtFile, HurtSnapshot, Mended, Repair, RepairOptions, RepairReport, repair,
};

/// What a layer must be able to do to be kept in order. A kind that cannot has none of it.
pub trait Upkeep {
    /// All snapshots, those that were not finished too, oldest first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn all_snapshots(&mut self) -> Result<Vec<Snapshot>, Error>;

    /// The snapshots in groups that can only go as a whole, since each stands on the one before; the
    /// group that the next snapshot is to stand on is the last. `None` where each can go alone.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn chains(&mut self) -> Result<Option<Vec<Vec<String>>>, Error> {
        Ok(None)
    }

    /// What deleting these snapshots would free. Nothing is changed.
    ///
    /// # Errors
    ///
    /// When one of them does not exist or cannot be read.
    fn delete_plan(&mut self, names: &[String]) -> Result<Deleted, Error>;

    /// Deletes snapshots and what only they used: all of it, or when it fails nothing.
    ///
    /// # Errors
    ///
    /// When one of them does not exist or cannot be read, and those of writing.
    fn delete(&mut self, names: &[String], now: Timestamp) -> Result<Deleted, Error>;

    /// What [`Self::compact`] would rewrite; `None` where only a server knows.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn compact_plan(&mut self) -> Result<Option<Compacted>, Error>;

    /// Frees the space of what was deleted; `None` where only a server knows how much.
    ///
    /// # Errors
    ///
    /// Those of writing. Nothing that counts is lost.
    fn compact(&mut self, now: Timestamp) -> Result<Option<Compacted>, Error>;

    /// Gives a snapshot another name.
    ///
    /// # Errors
    ///
    /// When another one has that name, and those of writing.
    fn rename(&mut self, snapshot: &Snapshot, name: &str, now: Timestamp) -> Result<(), Error>;

    /// Replaces the remark of a snapshot.
    ///
    /// # Errors
    ///
    /// Those of writing.
    fn set_comment(&mut self, snapshot: &Snapshot, text: &str, now: Timestamp)
    -> Result<(), Error>;

    /// What [`Self::recreate`] would do. Nothing is changed.
    ///
    /// # Errors
    ///
    /// When the snapshot is damaged or the store cannot be read.
    fn recreate_plan(&mut self, snapshot: &Snapshot, how: &Recreate) -> Result<Recreated, Error>;

    /// Makes a snapshot anew out of itself: with its name and its time, compressed or cut in
    /// another way, or without some of its files. The new one takes the place of the former when
    /// it is whole.
    ///
    /// # Errors
    ///
    /// When the snapshot is damaged, and those of writing. Nothing has changed then.
    fn recreate(
        &mut self,
        snapshot: &Snapshot,
        how: &Recreate,
        now: Timestamp,
    ) -> Result<Recreated, Error>;

    /// Makes a full snapshot of the newest state out of those that stand on one another, without
    /// reading the files anew: then the old ones can go. `None` when the newest is full already.
    ///
    /// `on_step` hears how many bytes of content were taken in, and ends it by breaking: then
    /// nothing is made.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where each snapshot stands alone; when one of them is damaged, and
    /// those of writing. Nothing has changed then.
    fn synthesize(
        &mut self,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Option<Synthesized>, Error> {
        let _ = on_step;
        Err(Error::Unsupported {
            what: "end a chain, for each of its snapshots stands alone",
        })
    }

    /// Sums over all snapshots.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn statistics(&mut self) -> Result<LayerStatistics, Error>;

    /// What one snapshot holds.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    fn snapshot_statistics(&mut self, snapshot: &Snapshot) -> Result<SnapshotStatistics, Error>;
}

/// How snapshots are made anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recreate {
    /// Compress all content so; else it stays as it is.
    pub compression: Option<borg::Compression>,
    /// Cut files so, where they were cut in another way.
    pub chunker_params: Option<borg::ChunkerParams>,
    /// Leave these out, with all that is below them.
    pub without: Vec<TreePath>,
}

/// What was made anew, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Recreated {
    /// The snapshot.
    pub snapshot: String,
    /// Whether there is anything to do.
    pub changes: bool,
    /// Regular files that stay.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Names that are left out.
    pub left_out: u64,
    /// Whether files are cut in another way.
    pub is_cut_anew: bool,
    /// Whether content is compressed once more.
    pub is_compressed_anew: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Deleted {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes of the store that nothing uses any more; they are free after a compaction.
    pub unused_bytes: u64,
}

/// What a compaction did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Compacted {
    /// Files of the store that were rewritten without what nothing uses.
    pub files: u64,
    /// Bytes that were freed.
    pub freed_bytes: u64,
    /// Nothing was freed, because the store only allows to add.
    pub append_only: bool,
}

/// A full snapshot that was made out of others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Synthesized {
    /// Its name.
    pub snapshot: String,
    /// Regular files.
    pub files: u64,
    /// Bytes of their content.
    pub bytes: u64,
    /// Bytes that were sent to the store.
    pub stored_bytes: u64,
    /// Bytes that the store has copied from what it had.
    pub copied_bytes: u64,
}

/// Sums over all snapshots of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct LayerStatistics {
    /// Snapshots.
    pub snapshots: u64,
    /// Bytes that they take in the store.
    pub stored_bytes: u64,
    /// Full snapshots with what stands on them, where snapshots stand on one another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chains: Option<u64>,
    /// What they share, where they are made of pieces.
    #[serde(flatten)]
    pub shared: Option<Shared>,
}

/// How much snapshots share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Shared {
    /// Bytes of all snapshots as they were read.
    pub bytes: u64,
    /// Bytes of these that differ from each other.
    pub unique_bytes: u64,
    /// Different pieces.
    pub unique_pieces: u64,
}

/// What one snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct SnapshotStatistics {
    /// What a person wrote about it.
    pub comment: String,
    /// Regular files.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes of the store that no other snapshot uses: what deleting it would free.
    pub own_stored_bytes: u64,
}
