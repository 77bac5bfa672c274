//! This machine's cache of a repository: chunk references and known files, in Borg's format.
//!
//! The cache may be lost at any time: chunk references are counted again from the archives, and
//! unknown files are read again. It is trusted only while it names the manifest that the
//! repository has, and while its files have the checksums that its configuration says.
//!
//! [`Cache::save`] replaces the files one by one, the configuration, which holds the manifest's
//! id and the checksums, last. A crash in between leaves files that do not match their checksums:
//! they are thrown away and made anew, by us and by the stock program alike. It runs after the
//! repository has committed; a crash before it leaves a cache that names an older manifest, and
//! is made anew too.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bstr::BString;

use crate::archives::Count;
use crate::chunk_index::ChunkIndex;
use crate::files_cache::{FilesCache, FilesMemory, FreshFiles};
use crate::hash_index::HashIndex;
use crate::home::create_private_dir;
use crate::ini::Ini;
use crate::integrity::{Digests, Expected};
use crate::lock::Lock;
use crate::security::CacheMemory;
use crate::{Error, Home, Host, Id, save_file};

const CONFIG: &str = "config";
const CHUNKS: &str = "chunks";
const FILES: &str = "files";

/// Where the stock program keeps the former files while it writes new ones.
const UNDO: &str = "txn.active";
/// The same while it is being made or removed.
const UNDO_UNFINISHED: &str = "txn.tmp";

/// The signature that tells backup programs to leave a folder out.
///
/// Source: the Cache Directory Tagging Specification, <https://bford.info/cachedir/>.
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This folder holds caches of Borg repositories. They can be made again at any time.\n";

/// The cache of one repository, held by this process.
pub(crate) struct Cache {
    path: PathBuf,
    config: Ini,
    /// Which chunks the archives use. `None` until they are counted.
    chunks: Option<ChunkIndex>,
    /// Archives that could not be read when the chunks were counted; `None` if they were not.
    unreadable: Option<Vec<BString>>,
    /// Which files the last backups saw.
    files: Arc<FilesCache>,
    /// The name of the file that they stand in, and how many runs they are remembered.
    files_name: String,
    files_runs: u64,
    /// Whether that file is still as it was read.
    files_as_read: bool,
    /// Whether that file was there, and is not as it was written.
    files_damaged: bool,
    /// Held until the end.
    _lock: Lock,
}

impl Cache {
    /// Reads what the cache remembers of a repository, without holding it.
    pub(crate) fn remembered(home: &Home, repository: &Id) -> CacheMemory {
        let config = read_config(&home.cache_of(repository), repository);
        let get = |key| config.get("cache", key).map(str::to_owned);
        CacheMemory {
            location: get("previous_location"),
            key_type: get("key_type"),
            manifest_timestamp: get("timestamp"),
        }
    }

    /// Remembers where a repository has been moved to.
    pub(crate) fn remember_location(
        home: &Home,
        repository: &Id,
        location: &str,
    ) -> Result<(), Error> {
        let path = home.cache_of(repository).join(CONFIG);
        match path.exists() {
            true => CacheSettings::open(&path)?.set("cache", "previous_location", Some(location)),
            false => Ok(()),
        }
    }

    /// Takes hold of the cache; an absent, damaged or outdated one begins empty.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another process holds it until the end of the wait, and
    /// [`Error::LocalState`] when it cannot be created.
    pub(crate) fn open(
        home: &Home,
        repository: &Id,
        manifest: &Id,
        host: &Host,
        wait: Duration,
    ) -> Result<Self, Error> {
        let path = home.cache_of(repository);
        create(home, &path).map_err(|source| Error::LocalState {
            path: path.clone(),
            source,
        })?;
        let lock = Lock::exclusive(&path.join("lock"), host, wait)?;
        undo_unfinished(&path).map_err(|source| Error::LocalState {
            path: path.clone(),
            source,
        })?;
        let config = read_config(&path, repository);
        let names_manifest = config.get("cache", "manifest") == Some(&manifest.to_string());
        let chunks = names_manifest
            .then(|| {
                let expected = expected(&config, CHUNKS)?;
                HashIndex::load(&path.join(CHUNKS), CHUNKS, Some(&expected)).ok()
            })
            .flatten();
        Ok(Self {
            chunks: chunks.map(ChunkIndex::from),
            unreadable: None,
            files: Arc::default(),
            files_name: FILES.into(),
            files_runs: FilesMemory::default().runs,
            files_as_read: false,
            files_damaged: false,
            path,
            config,
            _lock: lock,
        })
    }

    /// Whether the chunk references are those of the manifest that is in the repository.
    pub(crate) fn is_in_sync(&self) -> bool {
        self.chunks.is_some()
    }

    /// Takes chunk references that were counted from all archives.
    pub(crate) fn replace_chunks(&mut self, count: Count) {
        self.chunks = Some(count.index);
        self.unreadable = Some(count.damaged.into_iter().map(|(name, _)| name).collect());
    }

    /// The archives that could not be read when the chunks were counted; `None` if they were
    /// counted earlier.
    pub(crate) fn unreadable(&self) -> Option<&[BString]> {
        self.unreadable.as_deref()
    }

    /// Hands out the chunk references. [`Self::save`] gets them back.
    pub(crate) fn take_chunks(&mut self) -> ChunkIndex {
        self.chunks.take().unwrap_or_default()
    }

    /// Reads what the last backups saw; `index` says which chunks are there.
    pub(crate) fn load_files(
        &mut self,
        memory: &FilesMemory,
        index: &ChunkIndex,
    ) -> Arc<FilesCache> {
        if let Some(suffix) = &memory.suffix {
            self.files_name = format!("{FILES}.{suffix}");
        }
        self.files_runs = memory.runs;
        if memory.mode.is_none() {
            return Arc::default();
        }
        let bytes = fs::read(self.path.join(&self.files_name)).unwrap_or_default();
        if let Some(expected) = expected(&self.config, &self.files_name) {
            let digests = Digests::of(&self.files_name, &bytes, None);
            let read = || FilesCache::read(&bytes).ok();
            let files = expected.allows(&digests).then(read).flatten();
            self.files_as_read = files.is_some();
            self.files_damaged = files.is_none();
            let mut files = files.unwrap_or_default();
            files.trust(index);
            self.files = Arc::new(files);
        }
        Arc::clone(&self.files)
    }

    /// Whether what was known of files could not be used.
    pub(crate) fn files_damaged(&self) -> bool {
        self.files_damaged
    }

    /// Writes the cache for a manifest that has been committed.
    pub(crate) fn save(
        &mut self,
        manifest: &Id,
        remember: &CacheMemory,
        chunks: &mut ChunkIndex,
        fresh: &FreshFiles,
    ) -> Result<(), Error> {
        self.write_files(fresh)
            .and_then(|()| self.write(manifest, remember, chunks))
            .map_err(|source| self.error(source))
    }

    /// Writes the chunk references for a manifest that has been committed, and leaves what is
    /// known of files as it is.
    pub(crate) fn save_chunks(
        &mut self,
        manifest: &Id,
        remember: &CacheMemory,
        chunks: &mut ChunkIndex,
    ) -> Result<(), Error> {
        self.write(manifest, remember, chunks)
            .map_err(|source| self.error(source))
    }

    /// Writes what is known of files, and leaves the rest of the cache as outdated as it is.
    pub(crate) fn save_files(&mut self, fresh: &FreshFiles) -> Result<(), Error> {
        self.write_files(fresh)
            .and_then(|()| self.write_config())
            .map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> Error {
        Error::LocalState {
            path: self.path.clone(),
            source,
        }
    }

    fn write_files(&mut self, fresh: &FreshFiles) -> io::Result<()> {
        if self.files_as_read && self.files.is_as_read(fresh) {
            return Ok(());
        }
        let name = &self.files_name;
        let bytes = self.files.write(fresh, self.files_runs);
        save_file::write(&self.path.join(name), &bytes)?;
        self.files_as_read = false;
        let digests = Digests::of(name, &bytes, None);
        self.config.set("integrity", name, &digests.to_json());
        Ok(())
    }

    fn write_config(&self) -> io::Result<()> {
        save_file::write(&self.path.join(CONFIG), self.config.to_string().as_bytes())
    }

    fn write(
        &mut self,
        manifest: &Id,
        remember: &CacheMemory,
        chunks: &mut ChunkIndex,
    ) -> io::Result<()> {
        let aside = self.path.join("chunks.new");
        let mut file = File::create(&aside)?;
        let digests = chunks.save(&mut file, CHUNKS)?;
        fs::rename(&aside, self.path.join(CHUNKS))?;
        self.config.set("integrity", CHUNKS, &digests.to_json());
        let manifest = manifest.to_string();
        self.config.set("cache", "manifest", &manifest);
        self.config.set("integrity", "manifest", &manifest);
        for (key, value) in [
            ("timestamp", &remember.manifest_timestamp),
            ("key_type", &remember.key_type),
            ("previous_location", &remember.location),
        ] {
            if let Some(value) = value {
                self.config.set("cache", key, value);
            }
        }
        for features in ["ignored_features", "mandatory_features"] {
            self.config.set("cache", features, "");
        }
        self.write_config()
    }
}

/// The settings of a cache, for a person who looks at them or changes them.
pub struct CacheSettings {
    path: PathBuf,
    ini: Ini,
}

impl CacheSettings {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`Error::LocalState`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::LocalState {
            path: path.into(),
            source,
        };
        let text = fs::read_to_string(path).map_err(failed)?;
        let ini = text
            .parse()
            .map_err(|error| failed(io::Error::other(error)))?;
        let path = path.into();
        Ok(Self { path, ini })
    }

    /// A value.
    #[must_use]
    pub fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.ini.get(section, key)
    }

    /// Sets a value, or removes it with `None`, and writes the file.
    ///
    /// # Errors
    ///
    /// [`Error::LocalState`].
    pub fn set(&mut self, section: &str, key: &str, value: Option<&str>) -> Result<(), Error> {
        match value {
            Some(value) => self.ini.set(section, key, value),
            None => {
                self.ini.remove(section, key);
            }
        }
        let text = self.ini.to_string();
        save_file::write(&self.path, text.as_bytes()).map_err(|source| Error::LocalState {
            path: self.path.clone(),
            source,
        })
    }
}

impl std::fmt::Display for CacheSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.ini.fmt(f)
    }
}

/// Whether another program has changed the cache of a repository without its checksums, as
/// versions of Borg before 1.1 do: they cannot be checked then.
#[must_use]
pub fn cache_lost_checksums(home: &Home, repository: &Id) -> bool {
    let config = read_config(&home.cache_of(repository), repository);
    config.get("integrity", "manifest") != config.get("cache", "manifest")
}

fn create(home: &Home, path: &Path) -> io::Result<()> {
    create_private_dir(&home.cache)?;
    let tag = home.cache.join("CACHEDIR.TAG");
    if !tag.exists() {
        save_file::write(&tag, CACHE_TAG.as_bytes())?;
    }
    create_private_dir(path)?;
    // The stock program counts references archive by archive, and keeps the counts here.
    create_private_dir(&path.join("chunks.archive.d"))?;
    let readme = path.join("README");
    if !readme.exists() {
        save_file::write(&readme, b"This is a Borg Backup cache\n")?;
    }
    for (name, content) in [(FILES, "".as_bytes()), ("pre12-meta", b"{}")] {
        if !path.join(name).exists() {
            save_file::write(&path.join(name), content)?;
        }
    }
    Ok(())
}

/// The configuration; an absent or garbled one is like that of a new cache.
fn read_config(path: &Path, repository: &Id) -> Ini {
    let config = fs::read_to_string(path.join(CONFIG))
        .ok()
        .and_then(|text| text.parse::<Ini>().ok())
        .filter(|config| {
            config.get("cache", "version") == Some("1")
                && config.get("cache", "repository") == Some(&repository.to_string())
        });
    config.unwrap_or_else(|| {
        let mut config = Ini::default();
        config.set("cache", "version", "1");
        config.set("cache", "repository", &repository.to_string());
        config.set("cache", "manifest", "");
        config.set("integrity", "manifest", "");
        config
    })
}

/// The checksums of a file, unless another program has changed the cache without them.
fn expected(config: &Ini, name: &str) -> Option<Expected> {
    if config.get("integrity", "manifest") != config.get("cache", "manifest") {
        return None;
    }
    Expected::from_json(config.get("integrity", name)?.as_bytes())
}

/// Puts the former files back that the stock program set aside before it was killed.
fn undo_unfinished(path: &Path) -> io::Result<()> {
    remove_directory(&path.join(UNDO_UNFINISHED))?;
    let undo = path.join(UNDO);
    if !undo.exists() {
        return Ok(());
    }
    for file in fs::read_dir(&undo)? {
        let file = file?;
        fs::rename(file.path(), path.join(file.file_name()))?;
    }
    save_file::sync_directory(path)?;
    remove_directory(&undo)
}

fn remove_directory(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
