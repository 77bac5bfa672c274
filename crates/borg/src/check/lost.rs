//! Pieces of files that are lost here, and may be found elsewhere.
//!
//! A piece is known by its id, which nobody can forge: wherever its bytes come from, they are what was
//! stored when they have it, and nothing else is taken.

use std::collections::HashSet;

use bstr::BString;
use jiff::Timestamp as Moment;

use super::{CheckReport, Checker, Hurt};
use crate::archives::ItemsAroundDamage;
use crate::{Archive, Error, Id, Item};

/// A file of which pieces are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFile {
    /// The archive in which it stands.
    pub archive: BString,
    /// When that was made.
    pub time: Moment,
    /// Where it stands there.
    pub path: BString,
    /// What is lost of it, in the order of the file.
    pub pieces: Vec<LostPiece>,
}

/// A piece that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostPiece {
    /// What it has to be.
    pub id: Id,
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub size: u32,
}

impl Checker {
    /// The files of which pieces are lost, as [`Self::check`] has found them; those for which a former
    /// repair has put zeros too. Of a file that stands in several archives with the same piece, one is
    /// named.
    ///
    /// # Errors
    ///
    /// When the repository cannot be read.
    pub fn lost(&self, found: &CheckReport) -> Result<Vec<LostFile>, Error> {
        let archives = &self.archives;
        let mut there: HashSet<Id> = archives.repository.ids()?.into_iter().collect();
        for bad in &found.bad_objects {
            there.remove(bad);
        }
        let mut named: HashSet<(BString, Id)> = HashSet::new();
        let mut lost = Vec::new();
        for hurt in &found.hurt {
            let entry = archives.manifest.archives.get(&hurt.name);
            let (Hurt::Parts { .. }, Some(entry)) = (&hurt.hurt, entry) else {
                continue;
            };
            let Ok(plain) = archives.read(&entry.id) else {
                continue;
            };
            let Ok((archive, _)) = Archive::open(&archives.key, &plain, false) else {
                continue;
            };
            let mut items = ItemsAroundDamage::new(&archive);
            while let Some(item) = items.next(archives)? {
                let Ok(item) = item else {
                    continue;
                };
                let mut pieces = lost_pieces(&item, &|id| there.contains(id));
                pieces.retain(|piece| named.insert((item.path.clone(), piece.id)));
                if !pieces.is_empty() {
                    lost.push(LostFile {
                        archive: hurt.name.clone(),
                        time: entry.time.instant(),
                        path: item.path,
                        pieces,
                    });
                }
            }
        }
        Ok(lost)
    }

    /// Whether these bytes are the piece with this id.
    #[must_use]
    pub fn is_piece(&self, id: &Id, plain: &[u8]) -> bool {
        self.archives.key.id_hash(plain) == *id
    }
}

fn lost_pieces(item: &Item, is_there: &dyn Fn(&Id) -> bool) -> Vec<LostPiece> {
    let chunks = item.chunks.as_deref().unwrap_or_default();
    let healthy = match item.chunks_healthy.as_deref() {
        // A list of another length cannot be what it was.
        Some(healthy) if healthy.len() == chunks.len() => healthy,
        _ => chunks,
    };
    let mut offset = 0;
    let mut pieces = Vec::new();
    for chunk in healthy {
        if !is_there(&chunk.id) {
            pieces.push(LostPiece {
                id: chunk.id,
                offset,
                size: chunk.size,
            });
        }
        offset += u64::from(chunk.size);
    }
    pieces
}
