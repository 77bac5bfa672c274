//! Changes what an archive says about itself: its name, its comment.
//!
//! An archive object is never changed in place: another one is written that lists the same items,
//! the manifest names it instead, and the former one is deleted, in one transaction.

use bstr::{BStr, BString, ByteSlice};
use jiff::Timestamp as Moment;

use super::{Archives, salt};
use crate::security::SecurityDir;
use crate::{Archive, ArchiveEntry, Compression, Error, Host, KeyStorage, Operation, Passphrase};

/// Refuses names that the stock program cannot tell from paths: it does not list such archives, and a
/// repair of its would lose them.
pub(crate) fn check_name(name: &BStr) -> Result<(), Error> {
    match name.is_empty() || name.contains(&b'/') || name.contains_str("::") {
        true => Err(Error::ArchiveName { name: name.into() }),
        false => Ok(()),
    }
}

impl Archives {
    /// Gives an archive another name.
    ///
    /// # Errors
    ///
    /// [`Error::ArchiveName`], [`Error::NoArchive`], [`Error::ArchiveExists`], and those of writing.
    /// Nothing has changed then.
    pub fn rename(
        &mut self,
        name: &BStr,
        new_name: &BStr,
        host: &Host,
        now: Moment,
    ) -> Result<(), Error> {
        check_name(new_name)?;
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

    /// Writes an archive anew as it is, so that it is authenticated.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`]; [`Error::ArchiveTam`] for a forged one; those of writing.
    pub fn authenticate(&mut self, name: &BStr, host: &Host, now: Moment) -> Result<(), Error> {
        self.edit(name, host, now, |_| {})
    }

    /// Lets this and every other program refuse a manifest that is not authenticated, or no more.
    /// The manifest is written anew, authenticated in any case.
    ///
    /// # Errors
    ///
    /// Those of writing the key and the manifest.
    pub fn require_authentication(
        &mut self,
        required: bool,
        passphrase: &Passphrase,
        now: Moment,
    ) -> Result<(), Error> {
        if self.encryption().key_storage() != KeyStorage::Nowhere {
            self.key = self.key.with_tam_required(required);
            self.change_passphrase(passphrase)?;
        }
        self.manifest.forget_tam_required();
        let sealer = self.sealer(Compression::Lz4);
        self.commit(now, &sealer)?;
        self.remember()?;
        let folder = self.home.security_of(&self.repository.id());
        SecurityDir::new(folder).set_tam_required(required)
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
