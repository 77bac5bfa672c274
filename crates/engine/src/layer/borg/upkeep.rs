//! A Borg repository kept in order.

use bstr::{BString, ByteSlice};
use jiff::Timestamp;
use tree::TreePath;

use borg::{Archives, Compaction, Error as BorgError};

use super::{BorgLayer, Error};
use crate::layer::Snapshot;
use crate::upkeep::{
    Compacted, Deleted, LayerStatistics, Recreate, Recreated, Shared, SnapshotStatistics, Upkeep,
};

impl BorgLayer {
    fn archives_mut(&mut self) -> Result<&mut Archives, Error> {
        self.archives
            .as_mut()
            .ok_or(Error::Borg(BorgError::Stopped))
    }

    /// The exact name of an archive: a snapshot's may have lost bytes that are no text.
    fn exact_name(&self, snapshot: &Snapshot) -> Result<BString, Error> {
        let list = self.archives()?.list();
        let entry = list
            .iter()
            .find(|(_, entry)| entry.id.to_string() == snapshot.id);
        entry
            .map(|(name, _)| BString::from(*name))
            .ok_or_else(|| Error::NoSnapshot {
                name: snapshot.name.clone(),
            })
    }
}

fn exact(names: &[String]) -> Vec<BString> {
    names.iter().map(|name| name.as_str().into()).collect()
}

fn deleted(deleted: borg::Deleted) -> Deleted {
    Deleted {
        snapshots: deleted.archives,
        unused_bytes: deleted.csize,
    }
}

/// Whether an item is not among what is left out.
fn stays(item: &borg::Item, without: &[TreePath]) -> bool {
    let Ok(path) = TreePath::new(&item.path) else {
        return true;
    };
    !without.iter().any(|ancestor| path.starts_with(ancestor))
}

impl Upkeep for BorgLayer {
    fn all_snapshots(&mut self) -> Result<Vec<Snapshot>, Error> {
        let list = self.archives()?.list().into_iter();
        let snapshots = list.map(|(name, entry)| Snapshot {
            name: name.to_str_lossy().into_owned(),
            id: entry.id.to_string(),
            time: entry.time.instant(),
        });
        Ok(snapshots.collect())
    }

    fn delete_plan(&mut self, names: &[String]) -> Result<Deleted, Error> {
        let plan = self.archives()?.plan_delete(&exact(names), &self.host)?;
        Ok(deleted(plan))
    }

    fn delete(&mut self, names: &[String], now: Timestamp) -> Result<Deleted, Error> {
        let host = self.host.clone();
        let done = self
            .archives_mut()?
            .delete_archives(&exact(names), &host, now)?;
        Ok(deleted(done))
    }

    fn compact_plan(&mut self) -> Result<Option<Compacted>, Error> {
        let archives = self.archives()?;
        let append_only = archives.is_append_only();
        let sparse = archives.plan_compact(&Compaction::default())?;
        Ok(sparse.map(|sparse| Compacted {
            files: sparse.len() as u64,
            freed_bytes: sparse.iter().map(|segment| segment.freeable).sum(),
            append_only,
        }))
    }

    fn compact(&mut self, now: Timestamp) -> Result<Option<Compacted>, Error> {
        let archives = self.archives_mut()?;
        let append_only = archives.is_append_only();
        let done = archives.compact(&Compaction::default(), now)?;
        Ok(done.map(|done| Compacted {
            files: done.segment_count as u64,
            freed_bytes: done.freed,
            append_only,
        }))
    }

    fn rename(&mut self, snapshot: &Snapshot, name: &str, now: Timestamp) -> Result<(), Error> {
        let former = self.exact_name(snapshot)?;
        let host = self.host.clone();
        let archives = self.archives_mut()?;
        Ok(archives.rename(former.as_bstr(), name.into(), &host, now)?)
    }

    fn set_comment(
        &mut self,
        snapshot: &Snapshot,
        text: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let name = self.exact_name(snapshot)?;
        let host = self.host.clone();
        let archives = self.archives_mut()?;
        Ok(archives.set_comment(name.as_bstr(), text, &host, now)?)
    }

    fn recreate_plan(&mut self, snapshot: &Snapshot, how: &Recreate) -> Result<Recreated, Error> {
        let archives = self.archives()?;
        let archive = self.archive(snapshot)?;
        let is_cut_anew =
            how.chunker_params.is_some() && how.chunker_params != archive.chunker_params;
        let mut plan = Recreated {
            snapshot: snapshot.name.clone(),
            is_cut_anew,
            is_compressed_anew: how.compression.is_some(),
            ..Recreated::default()
        };
        archives.items(&archive, |item| {
            if !stays(&item, &how.without) {
                plan.left_out += 1;
            } else if item.part.is_none() && item.chunks.is_some() {
                plan.files += 1;
                plan.bytes += item.content_size();
            }
            Ok(())
        })?;
        plan.changes = plan.left_out > 0 || plan.is_cut_anew || plan.is_compressed_anew;
        Ok(plan)
    }

    fn recreate(
        &mut self,
        snapshot: &Snapshot,
        how: &Recreate,
        now: Timestamp,
    ) -> Result<Recreated, Error> {
        let mut made = self.recreate_plan(snapshot, how)?;
        if !made.changes {
            return Ok(made);
        }
        let name = self.exact_name(snapshot)?;
        let host = self.host.clone();
        let options = borg::Recreate {
            keep: &|item| stays(item, &how.without),
            chunker_params: how.chunker_params,
            compression: how
                .compression
                .clone()
                .unwrap_or_else(|| self.compression.clone()),
            recompress: match how.compression {
                Some(_) => borg::Recompress::Always,
                None => borg::Recompress::Never,
            },
            comment: None,
            time: None,
            target: None,
            cmdline: vec!["ravelin".into(), "recreate".into(), name.clone()],
        };
        let archives = self.archives_mut()?;
        let totals = archives.recreate(name.as_bstr(), &options, &host, now)?;
        made.files = totals.nfiles;
        made.bytes = totals.size;
        Ok(made)
    }

    fn statistics(&mut self) -> Result<LayerStatistics, Error> {
        let archives = self.archives()?;
        let info = archives.repository_info(&self.host)?;
        Ok(LayerStatistics {
            snapshots: archives.list().len() as u64,
            stored_bytes: info.unique_csize,
            chains: None,
            shared: Some(Shared {
                bytes: info.total_size,
                unique_bytes: info.unique_size,
                unique_pieces: info.unique_chunks,
            }),
        })
    }

    fn snapshot_statistics(&mut self, snapshot: &Snapshot) -> Result<SnapshotStatistics, Error> {
        let name = self.exact_name(snapshot)?;
        let info = self.archives()?.archive_info(name.as_bstr(), &self.host)?;
        let comment = info.archive.comment.unwrap_or_default();
        Ok(SnapshotStatistics {
            comment: comment.to_str_lossy().into_owned(),
            files: info.totals.nfiles,
            bytes: info.totals.size,
            own_stored_bytes: info.unique_csize,
        })
    }
}
