//! A repository opened with its key: its archives, and what can be done with them.

mod delete;
mod edit;
mod info;
mod keys;
mod recreate;

pub use delete::Deleted;
pub(crate) use edit::check_name;
pub use info::{ArchiveInfo, ChunkUse, Chunks, RepositoryInfo};
pub use keys::{KeyForm, export_key, import_key, move_out_of_passphrase, put_key, read_paper_key};
pub use recreate::{Recompress, Recreate};

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use jiff::Timestamp as Moment;

use crate::cache::Cache;
use crate::chunk_index::ChunkIndex;
use crate::counters_store::StoredCounters;
use crate::sealer::Sealer;
use crate::security::{Appearance, CacheMemory, SecurityDir, Trust};
use crate::uses::{Use, Uses, size_of};
use crate::{
    Access, Archive, ArchiveEntry, Backend, Buffer, Changes, ChunkRef, Compression, Compressor,
    Counters, Encryption, Error, Home, Host, Id, Item, ItemReader, Key, KeyError, KeyStorage,
    Location, Manifest, Object, OpenOptions, Opener, Operation, Passphrase, Random, RelatedSecrets,
    RepositoryOptions, Sealed, SystemRandom, TAM_SIZE, Tam, frame_put, key_file_text,
    read_key_file, save_file,
};

/// The archives of one repository, with everything that it takes to read and write them.
#[derive(Debug)]
pub struct Archives {
    pub(crate) repository: Backend,
    pub(crate) key: Key,
    pub(crate) manifest: Manifest,
    /// The id hash of the manifest as it is stored: what caches are compared with.
    pub(crate) manifest_id: Id,
    /// Whether the manifest that was read is authenticated.
    is_manifest_authentic: bool,
    /// No counter below this may be used any more, as far as the manifest can tell.
    counter_floor: u64,
    /// How long to wait for locks.
    lock_wait: Duration,
    pub(crate) home: Home,
    /// Where the repository is, as the stock program writes it.
    location: String,
    /// Whether reading the repository takes a secret.
    keeps_secret: bool,
    /// What has been written and is not committed.
    pub(crate) transaction: Option<Changes>,
    /// Chunks that were compressed anew since it was opened, and how.
    recompressed: Option<((Recompress, Compression), HashSet<Id>)>,
}

impl Archives {
    /// Makes a repository with an empty manifest.
    ///
    /// The key is written before the first commit: a crash in between leaves a key without a
    /// repository, never the other way round.
    ///
    /// # Errors
    ///
    /// Those of [`crate::Repository::create`], and [`Error::LocalState`] when this machine's side of it
    /// cannot be written.
    pub fn create(
        location: impl Into<Location>,
        home: &Home,
        host: &Host,
        encryption: Encryption,
        passphrase: &Passphrase,
        options: &RepositoryOptions,
        now: Moment,
    ) -> Result<Self, Error> {
        Self::create_related(
            location,
            home,
            host,
            (encryption, None),
            passphrase,
            options,
            now,
        )
    }

    /// Makes a repository that names and cuts chunks as another one does, by its secrets.
    ///
    /// # Errors
    ///
    /// As [`Self::create`], and [`KeyError::Unrelated`].
    pub fn create_related(
        location: impl Into<Location>,
        home: &Home,
        host: &Host,
        (encryption, related): (Encryption, Option<&RelatedSecrets>),
        passphrase: &Passphrase,
        options: &RepositoryOptions,
        now: Moment,
    ) -> Result<Self, Error> {
        let location = location.into();
        let key_file = match encryption.key_storage() {
            KeyStorage::File => Some(home.new_key_file(&location)),
            _ => None,
        };
        if let Some(path) = key_file.as_ref().filter(|path| path.exists()) {
            // Another repository would lose its key.
            let path = path.clone();
            return Err(KeyError::Exists { path }.into());
        }
        let mut open_options = OpenOptions::new(Access::Write, host);
        open_options.umask = options.umask;
        let no_chance = |source| Error::Random { source };
        let key = Key::generate(encryption, Id(options.repository_id), &mut SystemRandom);
        let mut key = key.map_err(no_chance)?;
        if let Some(related) = related {
            key = key.related_to(related)?;
        }
        let repository = Backend::create(&location, options, &open_options)?;
        if repository.id() != key.repository_id() {
            // A server chooses the id itself.
            key = key.of_repository(repository.id());
        }
        if encryption.key_storage() != KeyStorage::Nowhere {
            let blob = key
                .to_blob(passphrase, &mut SystemRandom)
                .map_err(no_chance)?;
            if encryption.key_storage() == KeyStorage::Repository {
                repository.save_key(&blob)?;
            } else {
                let file = home.new_key_file(&location);
                let text = key_file_text(&repository.id(), &blob);
                crate::home::create_private_dir(file.parent().unwrap_or(&home.keys))
                    .and_then(|()| save_file::write(&file, text.as_bytes()))
                    .map_err(|source| Error::LocalState { path: file, source })?;
            }
        }
        let mut archives = Self::assemble(
            repository,
            key,
            home,
            passphrase,
            open_options.lock_wait,
            0,
            Manifest::default(),
        );
        let sealer = archives.sealer(Compression::Lz4);
        archives.commit(now, &sealer)?;
        archives.remember()?;
        Ok(archives)
    }

    /// Opens a repository.
    ///
    /// # Errors
    ///
    /// Those of [`crate::Repository::open`]; [`Error::Key`] for a key that is missing, damaged or locked
    /// with another passphrase; [`Error::Object`] and [`Error::Manifest`] for a manifest that
    /// cannot be trusted; those of a repository that is not as this machine remembers it.
    pub fn open(
        location: impl Into<Location>,
        home: &Home,
        options: &OpenOptions,
        passphrase: &Passphrase,
        trust: Trust,
    ) -> Result<Self, Error> {
        let repository = Backend::open(&location.into(), options)?;
        let stored = repository.get(&Id::MANIFEST)?;
        let security = SecurityDir::new(home.security_of(&repository.id()));
        let key = open_key(&repository, &stored, home, passphrase)?;
        let counter_floor = key.counter_after(&stored);
        let mut plain = Buffer::new();
        let sealed = Sealed {
            id: Id::MANIFEST,
            stored: &stored,
            size_hint: None,
        };
        let mut opener = Opener::new().map_err(|source| Error::Memory { source })?;
        key.open(sealed, &mut opener, &mut plain)
            .map_err(|source| Error::Object {
                id: Id::MANIFEST,
                source,
            })?;
        let (manifest, tam) =
            Manifest::open(&key, &plain, key.tam_required() && !trust.unauthenticated)?;
        let manifest_id = key.id_hash(&plain);
        let mut archives = Self::assemble(
            repository,
            key,
            home,
            passphrase,
            options.lock_wait,
            counter_floor,
            manifest,
        );
        archives.manifest_id = manifest_id;
        archives.is_manifest_authentic = tam != Tam::Absent;
        let remembered = Cache::remembered(home, &archives.repository.id());
        security.check(&archives.appearance(), &remembered, trust)?;
        if trust.relocated {
            Cache::remember_location(home, &archives.repository.id(), &archives.location)?;
        }
        archives.manifest.check_features(Operation::Read)?;
        Ok(archives)
    }

    /// From the parts; what is remembered is not compared.
    pub(crate) fn assemble(
        repository: Backend,
        key: Key,
        home: &Home,
        passphrase: &Passphrase,
        lock_wait: Duration,
        counter_floor: u64,
        manifest: Manifest,
    ) -> Self {
        Self {
            location: repository.location().to_string(),
            repository,
            keeps_secret: key.encryption().keeps_secret(passphrase),
            key,
            manifest,
            manifest_id: Id::MANIFEST,
            is_manifest_authentic: false,
            counter_floor,
            lock_wait,
            home: home.clone(),
            transaction: None,
            recompressed: None,
        }
    }

    /// All archives, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<(&[u8], &ArchiveEntry)> {
        let mut archives: Vec<_> = self
            .manifest
            .archives
            .iter()
            .map(|(name, entry)| (name.as_bytes(), entry))
            .collect();
        archives.sort_by_key(|(_, entry)| entry.time.instant());
        archives
    }

    /// What an archive says about itself.
    ///
    /// # Errors
    ///
    /// [`Error::NoArchive`]; [`Error::Object`] when its object is damaged.
    pub fn archive(&self, name: &[u8]) -> Result<Archive, Error> {
        let entry = self.manifest.archives.get(name.as_bstr());
        let entry = entry.ok_or_else(|| Error::NoArchive { name: name.into() })?;
        self.parse(&self.read(&entry.id)?)
    }

    /// Reads an archive object; one without authentication is accepted, a forged one is not.
    pub(crate) fn parse(&self, plain: &[u8]) -> Result<Archive, Error> {
        let (archive, _) = Archive::open(&self.key, plain, false)
            .map_err(|source| Error::ArchiveTam { source })?;
        Ok(archive)
    }

    /// The same, with what it is stored under and whether it is authenticated.
    ///
    /// # Errors
    ///
    /// As [`Self::archive`].
    pub fn archive_with_tam(&self, name: &[u8]) -> Result<(Archive, Id, Tam), Error> {
        let entry = self.manifest.archives.get(name.as_bstr());
        let entry = entry.ok_or_else(|| Error::NoArchive { name: name.into() })?;
        let plain = self.read(&entry.id)?;
        let (archive, tam) = Archive::open(&self.key, &plain, false)
            .map_err(|source| Error::ArchiveTam { source })?;
        Ok((archive, entry.id, tam))
    }

    /// Hands every item of an archive to `receive`, in order.
    ///
    /// # Errors
    ///
    /// Those of `receive`; [`Error::Object`] or [`Error::Items`] when the archive is damaged.
    pub fn items(
        &self,
        archive: &Archive,
        mut receive: impl FnMut(Item) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let damaged = |source| Error::Items { source };
        let mut reader = ItemReader::new();
        self.prefetch_ids(&archive.items);
        for id in &archive.items {
            reader.push(&self.read(id)?);
            while let Some(item) = reader.next_item().map_err(damaged)? {
                receive(item)?;
            }
        }
        reader.finish().map_err(damaged)
    }

    /// Like [`Self::items`], but goes on behind what is damaged: `damaged` hears why items are
    /// missing, and the next item is the first that can be read again.
    ///
    /// # Errors
    ///
    /// Those of `receive`; what is no damage, such as a disk that does not answer.
    pub fn items_around_damage(
        &self,
        archive: &Archive,
        mut receive: impl FnMut(Item) -> Result<(), Error>,
        mut damaged: impl FnMut(Error),
    ) -> Result<(), Error> {
        let mut items = ItemsAroundDamage::new(archive);
        self.prefetch_ids(&archive.items);
        while let Some(found) = items.next(self)? {
            match found {
                Ok(item) => receive(item)?,
                Err(error) => damaged(error),
            }
        }
        Ok(())
    }

    /// Says which chunks will be read, in this order, after those that were named before: over a
    /// connection they are asked for ahead.
    pub fn prefetch(&self, chunks: &[ChunkRef]) {
        let sized = |chunk: &ChunkRef| (chunk.id, usize::try_from(chunk.csize).ok());
        self.repository.prefetch(chunks.iter().map(sized));
    }

    /// The same for objects of metadata, whose sizes are not known.
    pub(crate) fn prefetch_ids(&self, ids: &[Id]) {
        self.repository.prefetch(ids.iter().map(|id| (*id, None)));
    }

    /// Where the repository is, as a person reads it.
    pub(crate) fn location_text(&self) -> String {
        self.location.clone()
    }

    /// The plain bytes of an object, checked.
    ///
    /// # Errors
    ///
    /// [`Error::Object`] when it is not what belongs under this id; those of [`Backend::get`].
    pub fn read(&self, id: &Id) -> Result<Buffer, Error> {
        self.read_stored(id).map(|(plain, _)| plain)
    }

    /// The plain bytes of an object, checked, and how many bytes it takes in the repository.
    pub(crate) fn read_stored(&self, id: &Id) -> Result<(Buffer, u32), Error> {
        let stored = self.repository.get(id)?;
        let plain = self.open_stored(id, &stored)?;
        Ok((plain, size_of(stored.len())))
    }

    /// The plain bytes of an object that was fetched, checked.
    fn open_stored(&self, id: &Id, stored: &[u8]) -> Result<Buffer, Error> {
        let mut opener = Opener::new().map_err(|source| Error::Memory { source })?;
        let mut plain = Buffer::new();
        let sealed = Sealed {
            id: *id,
            stored,
            size_hint: None,
        };
        self.key
            .open(sealed, &mut opener, &mut plain)
            .map_err(|source| Error::Object { id: *id, source })?;
        Ok(plain)
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether the manifest, as it was read, is authenticated.
    #[must_use]
    pub fn is_manifest_authentic(&self) -> bool {
        self.is_manifest_authentic
    }

    /// The id that content is stored under.
    #[must_use]
    pub fn id_hash(&self, plain: &[u8]) -> Id {
        self.key.id_hash(plain)
    }

    /// What another repository needs to name and cut chunks as this one does.
    #[must_use]
    pub fn related_secrets(&self) -> RelatedSecrets {
        self.key.related_secrets()
    }

    /// Where its key is kept: the file, if it is kept in one.
    #[must_use]
    pub fn key_file(&self) -> Option<std::path::PathBuf> {
        match self.key.encryption().key_storage() {
            KeyStorage::File => self.home.find_key_file(&self.repository.id()).ok(),
            _ => None,
        }
    }

    /// Removes the repository with all that is in it, and what this machine has of it; what it
    /// remembers of it stays on demand.
    ///
    /// # Errors
    ///
    /// As [`Backend::destroy`].
    pub fn destroy(self, keep_security: bool) -> Result<(), Error> {
        let (home, id) = (self.home.clone(), self.repository.id());
        let repository = self.repository.clone();
        drop(self);
        repository.destroy()?;
        home.forget(&id, keep_security)
    }

    /// The mode of its key.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        self.key.encryption()
    }

    /// The repository below.
    #[must_use]
    pub fn backend(&self) -> &Backend {
        &self.repository
    }

    /// Which of these objects the repository does not have.
    ///
    /// # Errors
    ///
    /// As [`Backend::ids`].
    pub fn missing(&self, ids: impl IntoIterator<Item = Id>) -> Result<Vec<Id>, Error> {
        let known: HashSet<Id> = self.repository.ids()?.into_iter().collect();
        let missing = ids.into_iter().filter(|id| !known.contains(id));
        Ok(missing.collect())
    }

    /// What it takes to write objects with this compression.
    pub(crate) fn sealer(&self, compression: Compression) -> Arc<Sealer> {
        let security = self.home.security_of(&self.repository.id());
        let counters = StoredCounters::new(self.repository.clone(), security);
        Arc::new(Sealer::new(
            self.key.clone(),
            compression,
            Counters::new(self.counter_floor, counters),
        ))
    }

    /// Counts the references of all chunks from all archives.
    ///
    /// What a damaged archive uses is not known. So that nothing of it is ever deleted, no chunk
    /// has a last use then, until a repair has made an end of the damage.
    ///
    /// # Errors
    ///
    /// What is no damage, such as a disk that does not answer.
    pub(crate) fn count_chunks(&self) -> Result<Count, Error> {
        let mut uses = Uses::new(self);
        let mut damaged = Vec::new();
        for (name, entry) in &self.manifest.archives {
            match uses.add(&entry.id) {
                Ok(_) => {}
                Err(error) if error.is_damage() => damaged.push((name.clone(), error)),
                Err(error) => return Err(error),
            }
        }
        let mut index = ChunkIndex::default();
        for Use { chunk, count } in uses.iter() {
            let count = if damaged.is_empty() { count } else { u32::MAX };
            index.add_many(&chunk.id, chunk.size, chunk.csize, count);
        }
        Ok(Count { index, damaged })
    }

    fn transaction(&mut self) -> Result<&Changes, Error> {
        if self.transaction.is_none() {
            self.transaction = Some(self.repository.begin()?);
        }
        self.transaction.as_ref().ok_or(Error::TransactionOpen)
    }

    /// Appends an object that has its header.
    pub(crate) fn put(&mut self, entry: &[u8]) -> Result<(), Error> {
        self.transaction()?.put_framed(entry)
    }

    /// Deletes an object.
    pub(crate) fn delete(&mut self, id: &Id) -> Result<(), Error> {
        self.transaction()?.delete(id)
    }

    /// Stores a chunk of metadata, unless it is there, and counts one reference to it.
    pub(crate) fn store(
        &mut self,
        plain: &[u8],
        sealer: &Sealer,
        compressor: &mut Compressor,
        index: &mut ChunkIndex,
    ) -> Result<Id, Error> {
        let id = self.key.id_hash(plain);
        self.store_as(&[id], &[plain], sealer, compressor, index)?;
        Ok(id)
    }

    /// The same for several chunks, whose ids are computed at once.
    pub(crate) fn store_many(
        &mut self,
        plains: &[&[u8]],
        sealer: &Sealer,
        compressor: &mut Compressor,
        index: &mut ChunkIndex,
    ) -> Result<Vec<Id>, Error> {
        let ids = self.key.id_hash_many(plains.iter().copied());
        self.store_as(&ids, plains, sealer, compressor, index)?;
        Ok(ids)
    }

    fn store_as(
        &mut self,
        ids: &[Id],
        plains: &[&[u8]],
        sealer: &Sealer,
        compressor: &mut Compressor,
        index: &mut ChunkIndex,
    ) -> Result<(), Error> {
        let (mut new, mut objects) = (Vec::new(), Vec::new());
        for (id, plain) in ids.iter().zip(plains) {
            if index.add_reference(id, plain.len())? {
                let mut object = Object::new();
                sealer.pack(plain, compressor, &mut object)?;
                new.push(id);
                objects.push(object);
            }
        }
        sealer.seal_many(&mut objects)?;
        for (id, object) in new.into_iter().zip(&mut objects) {
            index.set_csize(id, object.stored().len());
            frame_put(object.entry_mut(), id);
            self.put(object.entry_mut())?;
        }
        Ok(())
    }

    /// Writes the manifest and commits everything. From then on it counts.
    pub(crate) fn commit(&mut self, now: Moment, sealer: &Sealer) -> Result<(), Error> {
        self.manifest.advance(now);
        let packed = self.manifest.pack(&self.key, &salt()?)?;
        let mut objects = [Object::new()];
        let mut compressor = sealer.compressor()?;
        for object in &mut objects {
            sealer.pack(&packed, &mut compressor, object)?;
        }
        sealer.seal_many(&mut objects)?;
        for object in &mut objects {
            frame_put(object.entry_mut(), &Id::MANIFEST);
            self.put(object.entry_mut())?;
        }
        if let Some(transaction) = self.transaction.take() {
            transaction.commit(now)?;
        }
        self.manifest_id = self.key.id_hash(&packed);
        Ok(())
    }

    /// Lets this machine remember what was committed.
    pub(crate) fn remember(&self) -> Result<(), Error> {
        SecurityDir::new(self.home.security_of(&self.repository.id())).save(&self.appearance())
    }

    /// The same for the cache.
    pub(crate) fn memory(&self) -> CacheMemory {
        let shown = self.appearance();
        CacheMemory {
            location: Some(shown.location),
            key_type: Some(shown.key_type.to_string()),
            manifest_timestamp: Some(shown.manifest_timestamp),
        }
    }

    pub(crate) fn appearance(&self) -> Appearance {
        let timestamp = self.manifest.timestamp.as_ref();
        Appearance {
            location: self.location.clone(),
            key_type: self.key.encryption().type_byte(),
            encrypted: self.keeps_secret,
            manifest_timestamp: timestamp.map_or_else(String::new, |time| time.as_str().into()),
        }
    }

    /// Takes hold of this machine's cache, whatever is in it, to put something else there.
    pub(crate) fn cache_to_fill(&self, host: &Host) -> Result<Cache, Error> {
        let id = self.repository.id();
        Cache::open(&self.home, &id, &self.manifest_id, host, self.lock_wait)
    }

    /// Takes hold of this machine's cache; counts references anew if it is not up to date.
    pub(crate) fn cache(&self, host: &Host) -> Result<Cache, Error> {
        let id = self.repository.id();
        let mut cache = Cache::open(&self.home, &id, &self.manifest_id, host, self.lock_wait)?;
        if !cache.is_in_sync() {
            cache.replace_chunks(self.count_chunks()?);
        }
        Ok(cache)
    }
}

/// What all archives use.
pub(crate) struct Count {
    pub(crate) index: ChunkIndex,
    /// Those that could not be read to their end, and why.
    pub(crate) damaged: Vec<(BString, Error)>,
}

impl Count {
    /// The references, if nothing is damaged.
    pub(crate) fn whole(self) -> Result<ChunkIndex, Error> {
        match self.damaged.into_iter().next() {
            None => Ok(self.index),
            Some((_, error)) => Err(error),
        }
    }
}

/// The items of an archive, and in the place of those that are lost: why.
pub(crate) struct ItemsAroundDamage {
    /// The chunks that were not read yet.
    chunks: std::vec::IntoIter<Id>,
    reader: ItemReader,
}

impl ItemsAroundDamage {
    pub(crate) fn new(archive: &Archive) -> Self {
        Self {
            chunks: archive.items.clone().into_iter(),
            reader: ItemReader::new(),
        }
    }

    /// The next item, or the next damage.
    ///
    /// # Errors
    ///
    /// What is no damage, such as a disk that does not answer.
    pub(crate) fn next(
        &mut self,
        archives: &Archives,
    ) -> Result<Option<Result<Item, Error>>, Error> {
        let malformed = |source| Error::Items { source };
        loop {
            match self.reader.next_item() {
                Ok(Some(item)) => return Ok(Some(Ok(item))),
                Ok(None) => {}
                Err(source) => return Ok(Some(Err(malformed(source)))),
            }
            let Some(id) = self.chunks.next() else {
                let is_cut = self.reader.finish();
                if !self.reader.give_up() {
                    return Ok(None);
                }
                if let Err(source) = is_cut {
                    return Ok(Some(Err(malformed(source))));
                }
                continue;
            };
            match archives.read(&id) {
                Ok(chunk) => self.reader.push(&chunk),
                Err(error) if error.is_damage() => {
                    self.reader.lose_chunk();
                    return Ok(Some(Err(error)));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Opens the key that goes with a stored object.
pub(crate) fn open_key(
    repository: &Backend,
    stored: &[u8],
    home: &Home,
    passphrase: &Passphrase,
) -> Result<Key, Error> {
    let encryption = Encryption::of_object(stored)?;
    let blob = match encryption.key_storage() {
        KeyStorage::Nowhere => return Ok(Key::plaintext(repository.id())),
        KeyStorage::Repository => repository.load_key()?.unwrap_or_default(),
        KeyStorage::File => {
            let file = home.find_key_file(&repository.id())?;
            read_key_file(&file, &repository.id())?
        }
    };
    let required = SecurityDir::new(home.security_of(&repository.id())).tam_was_required();
    Ok(Key::from_blob(encryption, &blob, passphrase, required)?)
}

/// Random bytes for the authentication of one piece of metadata.
pub(crate) fn salt() -> Result<[u8; TAM_SIZE], Error> {
    let mut salt = [0; TAM_SIZE];
    SystemRandom
        .fill(&mut salt)
        .map_err(|source| Error::Random { source })?;
    Ok(salt)
}
