//! A drop folder that may be damaged: the copies of contents, and the plain files.

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::ControlFlow;

use ::drop::{Damage, LostContent};
use jiff::Timestamp;

use super::{DropLayer, Error, Layer, VerifyStep};
use crate::event::PathRecord;
use crate::upkeep::{Examination, HurtFile, HurtSnapshot, LostFile, LostPiece, Mended, Repair};

pub(super) struct DropRepair {
    layer: DropLayer,
    /// Whether what is offered is kept.
    write: bool,
    damage: Damage,
    /// The contents that are there again.
    put_back: BTreeSet<Box<str>>,
}

impl DropRepair {
    pub(super) fn new(layer: DropLayer, write: bool) -> Self {
        Self {
            layer,
            write,
            damage: Damage::default(),
            put_back: BTreeSet::new(),
        }
    }

    /// The snapshots in which a content is lost.
    fn hurt(&mut self) -> Result<Vec<HurtSnapshot>, Error> {
        let lost = self.damage.lost.iter().map(|lost| &lost.content.hash);
        let lost: BTreeSet<&Box<str>> = lost.collect();
        let mut hurt = Vec::new();
        if lost.is_empty() {
            return Ok(hurt);
        }
        for snapshot in self.layer.snapshots()? {
            let versions = self.layer.versions(&snapshot)?;
            let contents = versions
                .iter()
                .filter_map(|version| Some((&version.path, version.content()?)));
            let files: Vec<HurtFile> = contents
                .filter(|(_, content)| lost.contains(&content.hash))
                .map(|(path, content)| HurtFile {
                    path: PathRecord::from(&self.layer.path_of(path)),
                    missing_bytes: content.size,
                    has_zeros: false,
                })
                .collect();
            if !files.is_empty() {
                hurt.push(HurtSnapshot {
                    snapshot: snapshot.name,
                    what: format!("the copies of {} files are lost", files.len()),
                    files,
                });
            }
        }
        Ok(hurt)
    }
}

impl Repair for DropRepair {
    fn examine(
        &mut self,
        data: bool,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Examination, Error> {
        self.damage = self.layer.there.examine(data, &mut |done, total| {
            on_step(VerifyStep {
                phase: "reading kept copies",
                done,
                total,
            })
        })?;
        let (lost, plain) = (&self.damage.lost, &self.damage.plain);
        let copies = lost.iter().map(|lost| {
            let state = if lost.is_missing {
                "missing"
            } else {
                "damaged"
            };
            let at = lost.at.strftime("%Y-%m-%dT%H:%M:%SZ");
            format!("the copy of {} of {at} is {state}", lost.path)
        });
        let plain_findings = plain
            .iter()
            .map(|path| format!("{path} is not what was stored, though nobody has changed it"));
        let findings = copies.chain(plain_findings).collect();
        let from_plain = lost.iter().filter(|lost| lost.plain.is_some()).count();
        let damaged = lost
            .iter()
            .filter(|lost| !lost.is_missing && lost.plain.is_none());
        let mut actions = Vec::new();
        for (count, action) in [
            (from_plain, "put {} copies back that plain files still have"),
            (
                damaged.count(),
                "set {} damaged copies aside that are nowhere else, if they can be read",
            ),
            (
                plain.len(),
                "write {} plain files anew from their copies, and keep what stands there",
            ),
        ] {
            if count > 0 {
                actions.push(action.replace("{}", &count.to_string()));
            }
        }
        Ok(Examination {
            snapshots: self.layer.snapshots()?.len() as u64,
            objects: self.damage.copies,
            findings,
            hurt: self.hurt()?,
            unused_objects: 0,
            actions,
        })
    }

    fn lost(&mut self) -> Result<Vec<LostFile>, Error> {
        let lost = self.damage.lost.iter();
        let elsewhere = lost.filter(|lost| lost.plain.is_none());
        let files = elsewhere.filter_map(|lost| {
            Some(LostFile {
                path: self.layer.path_of(&lost.path),
                time: lost.at,
                pieces: vec![LostPiece {
                    id: id_of(lost)?,
                    offset: 0,
                    size: lost.content.size,
                }],
            })
        });
        Ok(files.collect())
    }

    fn offer(&mut self, piece: &LostPiece, content: &mut dyn Read) -> Result<bool, Error> {
        let mut lost = self.damage.lost.iter();
        let Some(lost) = lost.find(|lost| id_of(lost) == Some(piece.id)) else {
            return Ok(false);
        };
        let hash = &lost.content.hash;
        let is_it = self.layer.there.offer(hash, content, self.write)?;
        if is_it {
            self.put_back.insert(hash.clone());
        }
        Ok(is_it)
    }

    fn mend(&mut self, now: Timestamp) -> Result<Mended, Error> {
        let mended = self.layer.there.mend(&self.damage, &self.put_back, now)?;
        self.layer.there.save()?;
        let mut done = Vec::new();
        for (count, what) in [
            (
                self.put_back.len() as u64,
                "copies were put back that were found elsewhere",
            ),
            (
                mended.from_plain,
                "copies were put back that plain files still had",
            ),
            (
                mended.set_aside,
                "damaged copies were set aside, in `.ravelin-drop/damaged`",
            ),
            (
                mended.plain,
                "plain files were written anew from their copies; what stood there is in `.ravelin-drop/damaged`",
            ),
        ] {
            if count > 0 {
                done.push(format!("{count} {what}"));
            }
        }
        Ok(Mended { done })
    }
}

/// The SHA-256 of a lost content.
fn id_of(lost: &LostContent) -> Option<[u8; 32]> {
    let mut id = [0; 32];
    hex::decode_to_slice(lost.content.hash.as_bytes(), &mut id).ok()?;
    Some(id)
}
