//! The key of a repository over time: another passphrase, another place, copies.
//!
//! A key is replaced whole: the former blob is there until the new one is, so that at any moment
//! there is one that opens.
//!
//! Every object says in its first byte where the key is kept, and the stock program reads none that
//! says otherwise. That byte is not part of what is authenticated, so a key moves by writing every
//! object again with another first byte; nothing is encrypted anew, and no counter is used twice.
//! The order is: the copy of the key at the new place; all objects and the manifest, in one
//! transaction; what this machine remembers; only then the former copy is removed. A crash in
//! between leaves a copy too much, and moving again removes it.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp as Moment;

use super::{Archives, open_key};
use crate::home::create_private_dir;
use crate::key::paper;
use crate::{
    Access, Backend, BadPaper, Compaction, Compression, ENTRY_HEADER_SIZE, Encryption, Error, Home,
    Host, Id, Key, KeyError, KeyStorage, Location, OpenOptions, Passphrase, SystemRandom,
    frame_put, key_file_text, read_key_file, save_file,
};

/// The form of a copy of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyForm {
    /// A key file: what a repository with a key file has, and what every program reads.
    File,
    /// Lines to be printed, and typed again, with checks.
    Paper,
}

impl Archives {
    /// Writes the key under another passphrase. Copies of the key keep their former one.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoKey`] in a repository without; those of writing: the former passphrase opens
    /// the key then.
    pub fn change_passphrase(&mut self, new: &Passphrase) -> Result<(), Error> {
        let encryption = self.key.encryption();
        let blob = self
            .key
            .to_blob(new, &mut SystemRandom)
            .map_err(|source| Error::Random { source })?;
        match encryption.key_storage() {
            KeyStorage::Nowhere => return Err(KeyError::NoKey { encryption }.into()),
            KeyStorage::Repository => self.repository.save_key(&blob)?,
            KeyStorage::File => {
                let file = self.home.find_key_file(&self.repository.id())?;
                self.write_key_file(&file, &blob)?;
            }
        }
        self.keeps_secret = encryption.keeps_secret(new);
        Ok(())
    }

    /// Moves the key into the repository, or into a file of this machine.
    ///
    /// Everything is written once more, and then the former objects are freed: for a while the
    /// repository takes twice its space.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoKey`] in a repository without a key, or one whose key can only be in the
    /// repository; those of writing: the key is where it was then, or at both places.
    pub fn move_key(
        &mut self,
        to: KeyStorage,
        passphrase: &Passphrase,
        host: &Host,
        now: Moment,
    ) -> Result<(), Error> {
        let encryption = self.key.encryption();
        let moved = encryption
            .with_storage(to)
            .ok_or(KeyError::NoKey { encryption })?;
        let id = self.repository.id();
        let key_file = self.home.find_key_file(&id).ok();
        if moved != encryption {
            let blob = self
                .key
                .to_blob(passphrase, &mut SystemRandom)
                .map_err(|source| Error::Random { source })?;
            if to == KeyStorage::Repository {
                self.repository.save_key(&blob)?;
            } else {
                let file = key_file
                    .clone()
                    .unwrap_or_else(|| self.home.new_key_file(&self.repository.location()));
                self.write_key_file(&file, &blob)?;
            }
            let mut cache = self.cache(host)?;
            let index = cache.take_chunks();
            self.key = self.key.with_encryption(moved);
            self.keeps_secret = moved.keeps_secret(passphrase);
            let sealer = self.sealer(Compression::Lz4);
            let changed = self.change(&mut cache, index, &sealer, now, |archives, _| {
                archives.retype(moved.type_byte())
            });
            if changed.is_err() {
                self.key = self.key.with_encryption(encryption);
            }
            changed?;
            self.compact(&Compaction::default(), now)?;
        }
        match (to, key_file) {
            (KeyStorage::File, _) => self.repository.save_key(""),
            (_, Some(file)) => {
                fs::remove_file(&file).map_err(|source| Error::LocalState { path: file, source })
            }
            _ => Ok(()),
        }
    }

    /// Writes all objects but the manifest with another first byte.
    fn retype(&mut self, type_byte: u8) -> Result<(), Error> {
        for id in self.repository.ids()? {
            if id == Id::MANIFEST {
                continue;
            }
            let stored = self.repository.get(&id)?;
            let mut entry = vec![0; ENTRY_HEADER_SIZE];
            entry.push(type_byte);
            entry.extend_from_slice(stored.get(1..).unwrap_or_default());
            frame_put(&mut entry, &id);
            self.put(&entry)?;
        }
        Ok(())
    }

    fn write_key_file(&self, file: &Path, blob: &str) -> Result<(), Error> {
        write_key_file(&self.home, file, &self.repository.id(), blob)
    }
}

fn write_key_file(home: &Home, file: &Path, id: &Id, blob: &str) -> Result<(), Error> {
    create_private_dir(file.parent().unwrap_or(&home.keys))
        .and_then(|()| save_file::write(file, key_file_text(id, blob).as_bytes()))
        .map_err(|source| Error::LocalState {
            path: file.into(),
            source,
        })
}

/// A copy of the key of a repository, for a safe place. It takes no passphrase to make one, and
/// the passphrase to use it.
///
/// # Errors
///
/// [`KeyError::NotFound`] when there is no key, [`KeyError::Damaged`] when it is none, and those
/// of opening the repository.
pub fn export_key(
    location: impl Into<Location>,
    home: &Home,
    host: &Host,
    form: KeyForm,
) -> Result<String, Error> {
    let options = OpenOptions::new(Access::NoLock, host);
    let repository = Backend::open(&location.into(), &options)?;
    let id = repository.id();
    let blob = match repository.load_key()? {
        Some(blob) if !blob.trim().is_empty() => blob,
        _ => read_key_file(&home.find_key_file(&id)?, &id)?,
    };
    // A copy that nobody could use is no copy.
    let paper = paper::to_paper(&id, &blob)?;
    Ok(match form {
        KeyForm::File => key_file_text(&id, blob.trim_end()),
        KeyForm::Paper => paper,
    })
}

/// Puts a copy of the key back, in either form, after it was shown to open the repository.
///
/// # Errors
///
/// [`Error::Paper`] for a mistake of typing; [`KeyError::WrongPassphrase`],
/// [`KeyError::OtherRepository`], [`KeyError::Damaged`]; [`Error::Object`] when it does not open
/// what is stored. The key is then what it was.
pub fn import_key(
    location: impl Into<Location>,
    home: &Home,
    host: &Host,
    copy: &str,
    passphrase: &Passphrase,
) -> Result<(), Error> {
    let options = OpenOptions::new(Access::Write, host);
    let repository = Backend::open(&location.into(), &options)?;
    let id = repository.id();
    let blob = match copy.strip_prefix("BORG_KEY ") {
        Some(rest) => {
            let (found, blob) = rest.split_once('\n').unwrap_or((rest, ""));
            if found.trim() != id.to_string() {
                return Err(KeyError::OtherRepository {
                    repository_id: id,
                    path: PathBuf::new(),
                }
                .into());
            }
            blob.to_owned()
        }
        None => paper::from_paper(&id, copy).map_err(|source| Error::Paper { source })?,
    };
    let stored = repository.get(&Id::MANIFEST)?;
    let encryption = Encryption::of_object(&stored)?;
    let key = Key::from_blob(encryption, &blob, passphrase, false)?;
    open_with(&key, &stored)?;
    store_key(&repository, encryption, home, &blob)?;
    // It can be read where the next one will look for it.
    open_key(&repository, &stored, home, passphrase).map(drop)
}

/// Reads what was typed from paper; the blob of the key. The error says which line is the first that
/// is missing or wrong, so that whoever types it can be told line by line.
///
/// # Errors
///
/// [`BadPaper`].
pub fn read_paper_key(repository: &Id, typed: &str) -> Result<String, BadPaper> {
    paper::from_paper(repository, typed)
}

/// Puts a key back as it is, without the passphrase that would show that it is the right one:
/// [`import_key`] is safer. Gives the mode of the repository.
///
/// # Errors
///
/// [`KeyError::NoKey`] when the repository has none; those of writing.
pub fn put_key(repository: &Backend, home: &Home, blob: &str) -> Result<(), Error> {
    let encryption = Encryption::of_object(&repository.get(&Id::MANIFEST)?)?;
    store_key(repository, encryption, home, blob)
}

/// Moves a repository of the mode `passphrase`, which died with Borg 1.0, to `repokey`: the key that
/// the passphrase makes is kept in the repository from now on, under that passphrase. What was written
/// before is read by it as it is, so nothing is written again. Gives whether there was anything to do.
///
/// # Errors
///
/// [`KeyError::WrongPassphrase`] when the key that it makes does not open the manifest;
/// [`KeyError::NoKey`] in a repository of another mode; those of reading and writing.
pub fn move_out_of_passphrase(
    repository: &Backend,
    passphrase: &Passphrase,
) -> Result<bool, Error> {
    let is_kept = repository.load_key()?;
    if is_kept.is_some_and(|blob| !blob.trim().is_empty()) {
        return Ok(false);
    }
    let stored = repository.get(&Id::MANIFEST)?;
    if !Encryption::is_of_passphrase(&stored) {
        let encryption = Encryption::of_object(&stored)?;
        return Err(KeyError::NoKey { encryption }.into());
    }
    let key = Key::of_passphrase(repository.id(), passphrase);
    open_with(&key, &stored).map_err(|_| KeyError::WrongPassphrase)?;
    let blob = key
        .to_blob(passphrase, &mut SystemRandom)
        .map_err(|source| Error::Random { source })?;
    repository.save_key(&blob)?;
    Ok(true)
}

/// Keeps a blob where keys of this mode are.
fn store_key(
    repository: &Backend,
    encryption: Encryption,
    home: &Home,
    blob: &str,
) -> Result<(), Error> {
    let id = repository.id();
    match encryption.key_storage() {
        KeyStorage::Nowhere => Err(KeyError::NoKey { encryption }.into()),
        KeyStorage::Repository => repository.save_key(blob.trim()),
        KeyStorage::File => {
            let file = home
                .find_key_file(&id)
                .unwrap_or_else(|_| home.new_key_file(&repository.location()));
            write_key_file(home, &file, &id, blob.trim())
        }
    }
}

fn open_with(key: &Key, stored: &[u8]) -> Result<(), Error> {
    let mut opener = crate::Opener::new().map_err(|source| Error::Memory { source })?;
    let sealed = crate::Sealed {
        id: Id::MANIFEST,
        stored,
        size_hint: None,
    };
    let mut plain = crate::Buffer::new();
    key.open(sealed, &mut opener, &mut plain)
        .map_err(|source| Error::Object {
            id: Id::MANIFEST,
            source,
        })
}
