//! Damage, found and mended.
//!
//! A copy is known by the SHA-256 of its content. What has it is right, wherever it comes from, and takes
//! the place of the damaged copy in one step. A copy that is nowhere else is set aside, so that the same
//! content gets a whole one when somebody puts it again: it is copied first, looked at once more and
//! deleted then, and a crash in between leaves it twice. Only bytes that were read and are others are set
//! aside: what cannot be read now may be read tomorrow, and stays.
//!
//! A plain file is written anew only when nobody has changed it since this device saw it whole, as far as
//! the store tells, and only from a copy that was found whole. What stood there is kept beside the set-aside
//! copies first: a store that tells states apart by size and time overlooks a change that alters neither.
//! One that somebody has changed is no damage but a change by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;
use store::{DigestKind, ErrorKind, Name, Operation, Range, WriteMode};

use super::line::Kept;
use super::mirror::Stored;
use super::seen::tag;
use super::{HIDDEN, Hidden, digest, kept_name, name};
use crate::{Content, Damage, Error, LostContent, Mended, Version};

/// Says how many copies were read of how many, and may break off.
pub(crate) type OnStep<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// What stands in the place of a copy.
#[derive(PartialEq, Eq)]
enum Found {
    Whole,
    Missing,
    /// Other bytes.
    Other,
    /// It cannot be read.
    Unreadable,
}

impl Hidden {
    /// Compares what is kept with what is recorded: whether it is there in its size, and with `data`
    /// every byte of it and of the plain files.
    pub(super) fn find_damage(&mut self, data: bool, on_step: OnStep<'_>) -> Result<Damage, Error> {
        let mut damage = Damage::default();
        let mut needed: BTreeMap<Kept, (Name, Timestamp, Content)> = BTreeMap::new();
        for record in self.index.all().flatten() {
            if let (Some(kept), Some(content)) = (&record.kept, record.version.content()) {
                let is = (
                    record.version.path.clone(),
                    record.version.at,
                    content.clone(),
                );
                let newest = needed.entry(kept.clone()).or_insert_with(|| is.clone());
                if newest.1 < is.1 {
                    *newest = is;
                }
            }
        }
        let total = needed.len() as u64;
        for (kept, (path, at, content)) in needed {
            if on_step(damage.copies, total).is_break() {
                return Err(Error::Stopped);
            }
            damage.copies += 1;
            let found = self.look(&kept_name(&kept)?, &content, data)?;
            if found != Found::Whole {
                damage.lost.push(LostContent {
                    plain: self.plain_with(&content)?,
                    path,
                    at,
                    content,
                    is_missing: found == Found::Missing,
                });
            }
        }
        if data {
            let live = self.index.all_live().map(|record| record.version.clone());
            for version in live.collect::<Vec<_>>() {
                if on_step(damage.copies, total).is_break() {
                    return Err(Error::Stopped);
                }
                if self.is_rotten(&version)? {
                    damage.plain.push(version.path);
                }
            }
        }
        Ok(damage)
    }

    /// Whether a plain file has other bytes than its present version, though the store tells of no change
    /// since this device saw it.
    fn is_rotten(&self, version: &Version) -> Result<bool, Error> {
        let sight = self.seen.get(&version.path);
        let (Some(content), Some(sight)) = (version.content(), sight) else {
            return Ok(false);
        };
        let is_unchanged = sight.version == version.id
            && match self.store.stat(&version.path) {
                Err(error) if error.kind == ErrorKind::NotFound => false,
                found => tag(&found?) == sight.tag,
            };
        Ok(is_unchanged && self.look(&version.path, content, true)? == Found::Other)
    }

    /// What an object of the store is, compared with what it should be.
    fn look(&self, object: &Name, content: &Content, data: bool) -> Result<Found, Error> {
        let found = match self.store.stat(object) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Found::Missing),
            found => found?,
        };
        if found.size != content.size {
            return Ok(Found::Other);
        }
        if !data {
            return Ok(Found::Whole);
        }
        let read = self.store.read(object, Range::WHOLE).and_then(|reading| {
            digest(reading.body, DigestKind::Sha256)
                .map_err(|error| store::Error::from_io(error, Operation::Read, object))
        });
        match read {
            Ok((hash, _)) if hash == content.hash => Ok(Found::Whole),
            Ok(_) => Ok(Found::Other),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Found::Missing),
            // A disk that cannot read it may have lost it; whoever must not read it knows nothing of it.
            Err(error) if is_loss(&error) => Ok(Found::Unreadable),
            Err(error) => Err(error.into()),
        }
    }

    /// A file whose present version has a content, and whose plain file has it, too.
    fn plain_with(&self, content: &Content) -> Result<Option<Name>, Error> {
        for record in self.index.all_live() {
            let path = &record.version.path;
            let is = record.version.content();
            if is.is_some_and(|is| is.hash == content.hash)
                && self.look(path, content, true)? == Found::Whole
            {
                return Ok(Some(path.clone()));
            }
        }
        Ok(None)
    }

    /// Puts the copies of a content back that versions need.
    pub(super) fn put_copies_back(
        &self,
        hash: &str,
        content: &dyn store::Content,
    ) -> Result<(), Error> {
        let needed = self.index.needed().into_iter();
        for kept in needed.filter(|kept| *kept.hash == *hash) {
            self.store
                .write(&kept_name(kept)?, content, WriteMode::Replace)?;
        }
        Ok(())
    }

    /// Mends what was found, but for the contents that were put back.
    pub(super) fn mend_damage(
        &mut self,
        damage: &Damage,
        put_back: &BTreeSet<Box<str>>,
        now: Timestamp,
    ) -> Result<Mended, Error> {
        // It may be long ago that it was found.
        self.read_changes()?;
        let mut mended = Mended::default();
        let mut gone: BTreeSet<&str> = BTreeSet::new();
        for lost in &damage.lost {
            let hash = &lost.content.hash;
            if put_back.contains(hash) {
                continue;
            }
            let plain = lost.plain.as_ref();
            let plain = plain.map(|path| self.fetch_plain(path)).transpose()?;
            match plain.flatten() {
                Some((spool, is)) if is == *hash => {
                    self.put_copies_back(hash, &spool)?;
                    mended.from_plain += 1;
                }
                _ => {
                    gone.insert(hash);
                    mended.set_aside += u64::from(self.set_aside(&lost.content)?);
                }
            }
        }
        for path in &damage.plain {
            let live = self.index.live(path).map(|record| record.version.clone());
            let Some((version, content)) = live
                .as_ref()
                .and_then(|version| Some((version, version.content()?)))
            else {
                continue;
            };
            if gone.contains(&*content.hash) || !self.is_rotten(version)? {
                continue;
            }
            let Some((spool, hash)) = self.fetch_plain(path)? else {
                continue;
            };
            let aside = name(&format!("{HIDDEN}/damaged/{hash}"))?;
            self.store.write(&aside, &spool, WriteMode::Replace)?;
            self.mirror(path, None, now)?;
            mended.plain += 1;
        }
        Ok(mended)
    }

    /// Puts the copies of a content out of the way that have other bytes.
    fn set_aside(&self, content: &Content) -> Result<bool, Error> {
        let needed = self.index.needed().into_iter();
        let mut is_done = false;
        for kept in needed.filter(|kept| *kept.hash == *content.hash) {
            let object = kept_name(kept)?;
            let is_damaged = || Ok::<_, Error>(self.look(&object, content, true)? == Found::Other);
            if !is_damaged()? {
                continue;
            }
            let size = self.store.stat(&object)?.size;
            let aside = name(&format!("{HIDDEN}/damaged/{}", kept.text()))?;
            let copy = Stored::new(Arc::clone(&self.store), object.clone(), size);
            match self.store.write(&aside, &copy, WriteMode::Replace) {
                Err(error) if is_loss(&error) => continue,
                written => drop(written?),
            }
            // Another device may have put a whole one in its place meanwhile.
            if is_damaged()? {
                self.store.delete(&object)?;
                is_done = true;
            }
        }
        Ok(is_done)
    }
}

fn is_loss(error: &store::Error) -> bool {
    matches!(error.kind, ErrorKind::Io | ErrorKind::Corrupt)
}
