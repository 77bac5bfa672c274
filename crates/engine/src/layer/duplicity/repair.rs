//! An archive of duplicity that may be damaged.
//!
//! A volume cannot be made again as it was: it is known by the hash of what was encrypted, and no second
//! encryption of the same bytes gives the same. Nothing of the archive is changed therefore; what is whole in
//! a damaged chain is restored as before, also by the stock program. A repair sees to it that nothing more
//! stands on the damage: it remembers, in the state home, that the chain is given up, and the next backup
//! begins a new one, from the files themselves. That is forgotten of itself, as it names the chain. Nothing is
//! given up for what could not be looked at: a store that is away or a wrong passphrase is no damage.

use std::io::{self, Read};
use std::ops::ControlFlow;

use duplicity::{BackupSet, Chain, SetTime};
use jiff::Timestamp;

use super::{DuplicityLayer, Error, VerifyStep};
use crate::event::{PathRecord, chain};
use crate::upkeep::{Examination, HurtFile, HurtSnapshot, LostFile, LostPiece, Mended, Repair};
use crate::{create_private_folder, replace_private_file};

pub(super) struct DuplicityRepair {
    layer: DuplicityLayer,
    /// Whether the chain that grows is damaged.
    is_active_hurt: bool,
}

impl DuplicityRepair {
    pub(super) fn new(layer: DuplicityLayer) -> Self {
        Self {
            layer,
            is_active_hurt: false,
        }
    }

    /// The snapshots of a chain that damaged volumes hurt: those of their sets, and all that stand on them.
    fn hurt(&self, sets: &[BackupSet], volumes: &[(SetTime, u32)]) -> Vec<HurtSnapshot> {
        let mut hurt: Vec<HurtSnapshot> = Vec::new();
        for (index, set) in sets.iter().enumerate() {
            let until = sets.get(..=index).unwrap_or_default();
            let numbers = volumes.iter().filter(|(of, _)| *of == set.end());
            let numbers: Vec<u32> = numbers.map(|(_, number)| *number).collect();
            let mut files: Vec<HurtFile> = Vec::new();
            for number in &numbers {
                // What cannot be told is not named; that the volume is damaged is.
                let entries = self.layer.archive.files_in_volume(until, *number);
                files.extend(entries.unwrap_or_default().iter().map(|entry| HurtFile {
                    path: PathRecord::from(&entry.path),
                    missing_bytes: entry.size,
                    has_zeros: false,
                }));
            }
            // One that stands in two volumes is one file.
            files.dedup_by(|next, file| next.path == file.path);
            let what = match (numbers.as_slice(), hurt.first()) {
                ([], None) => continue,
                ([], Some(first)) => format!("it stands on {}", first.snapshot),
                ([one], _) => format!("volume {one} is lost; it had some or all of these files"),
                (more, _) => format!(
                    "{} volumes are lost; they had some or all of these files",
                    more.len()
                ),
            };
            hurt.push(HurtSnapshot {
                snapshot: set.end().to_string(),
                what,
                files,
            });
        }
        hurt
    }
}

impl Repair for DuplicityRepair {
    fn examine(
        &mut self,
        data: bool,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Examination, Error> {
        let depth = match data {
            true => duplicity::Depth::Data,
            false => duplicity::Depth::Structure,
        };
        let (archive, collection) = (&self.layer.archive, &self.layer.collection);
        let mut found = archive.verify(collection, depth, &mut |done, total| {
            let phase = "reading the archive";
            on_step(VerifyStep { phase, done, total })
        });
        if found.stopped {
            return Err(Error::Io {
                action: "read the archive to its end".to_owned(),
                source: io::ErrorKind::Interrupted.into(),
            });
        }
        let is_no_damage = |error: &duplicity::Error| !error.is_damage();
        if let Some(at) = found.findings.iter().position(is_no_damage) {
            return Err(found.findings.swap_remove(at).into());
        }
        let mut examination = Examination {
            snapshots: found.sets,
            objects: found.files,
            findings: found
                .findings
                .iter()
                .map(|error| chain(error).join(": "))
                .chain(found.objects)
                .collect(),
            ..Examination::default()
        };
        let mut is_active_hurt = false;
        for chain in &collection.chains {
            let hurt = self.hurt(&chain.sets, &found.volumes);
            let is_active = collection.active().map(Chain::start) == Some(chain.start());
            // By a volume, by a manifest, by signatures: the next backup would stand on it.
            is_active_hurt |= is_active && found.chains.contains(&chain.start());
            examination.hurt.extend(hurt);
        }
        self.is_active_hurt = is_active_hurt;
        if self.is_active_hurt && !self.layer.is_given_up() {
            let action = "let the next backup begin a new chain, from the files themselves";
            examination.actions.push(action.to_owned());
        }
        Ok(examination)
    }

    /// No piece is known by a digest of its content.
    fn lost(&mut self) -> Result<Vec<LostFile>, Error> {
        Ok(Vec::new())
    }

    fn offer(&mut self, _: &LostPiece, _: &mut dyn Read) -> Result<bool, Error> {
        Ok(false)
    }

    fn mend(&mut self, _: Timestamp) -> Result<Mended, Error> {
        let active = self.layer.collection.active().map(Chain::start);
        let Some(active) = active.filter(|_| self.is_active_hurt && !self.layer.is_given_up())
        else {
            return Ok(Mended::default());
        };
        let place = &self.layer.given_up;
        let folder = place.parent().map_or(Ok(()), create_private_folder);
        folder
            .and_then(|()| replace_private_file(place, active.to_string().as_bytes()))
            .map_err(|source| Error::Io {
                action: format!("write {}", place.display()),
                source,
            })?;
        Ok(Mended {
            done: vec!["the next backup begins a new chain, from the files themselves".to_owned()],
        })
    }
}
