//! Changes what an archive says about itself: its name, its comment.
//!
//! An archive object is never changed in place: another one is written that lists the same items,
//! the manifest names it instead, and the former one is deleted, in one transaction.

use bstr::{BStr, BString, ByteSlice};
use jiff::Timestamp as Moment;

use super::{Archives, salt};
use crate::{Archive, ArchiveEntry, Compression, Error, Host, Operation};

impl Archives {
    /// Gives an archive another name.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`], [`Error::ArchiveExists`], and those of writing. Nothing has changed
    /// then.
    pub fn rename(
        &mut self,
        name: &BStr,
        new_name: &BStr,
        host: &Host,
        now: Moment,
    ) -> Result<(), Error> {
        if name != new_name && self.manifest.archives.contains_key(new_name) {
            let name = new_name.to_owned();
            return Err(Error::ArchiveExists { name });
        }
        self.edit(name, host, now, |archive| archive.name = new_name.into())
    }

    /// Replaces the comment of an archive.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`], and those of writing. Nothing has changed then.
    pub fn set_comment(
        &mut self,
        name: &BStr,
        comment: impl Into<BString>,
        host: &Host,
        now: Moment,
    ) -> Result<(), Error> {
        let comment = comment.into();
        self.edit(name, host, now, |archive| archive.comment = Some(comment))
    }

    fn edit(
        &mut self,
        name: &BStr,
        host: &Host,
        now: Moment,
        change: impl FnOnce(&mut Archive),
    ) -> Result<(), Error> {
        self.manifest.check_features(Operation::Write)?;
        let former = self.manifest.archives.get(name).cloned();
        let former = former.ok_or_else(|| Error::NoArchive { name: name.into() })?;
        let mut archive = self.archive(name.as_bytes())?;
        change(&mut archive);
        let mut cache = self.cache(host)?;
        let index = cache.take_chunks();
        let sealer = self.sealer(Compression::Lz4);
        let mut compressor = sealer.compressor()?;
        let packed = archive.pack(&self.key, &salt()?);
        self.change(&mut cache, index, &sealer, now, |archives, index| {
            let id = archives.store(&packed, &sealer, &mut compressor, index)?;
            let time = former.time.clone();
            let archive_entry = ArchiveEntry { id, time };
            archives.manifest.archives.remove(name);
            archives
                .manifest
                .archives
                .insert(archive.name.clone(), archive_entry);
            if index.remove_reference(&former.id) {
                archives.delete(&former.id)?;
            }
            Ok(())
        })
    }
}
