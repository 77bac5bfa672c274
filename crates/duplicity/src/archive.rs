//! An archive: a store's folder, and how it is protected.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use sha1::digest::Digest;
use store::{Content as _, DigestKind, Folder, Hasher, Name, Random, Range, Scope, Store};

use crate::blocks::BlockReader;
use crate::collection::{BackupSet, Collection, StoredFile};
use crate::error::Error;
use crate::gunzip::Gunzip;
use crate::manifest::{Hash, MANIFEST_SIZE_MAX, Manifest};
use crate::name::{FileName, Part, Prefixes, Suffix};
use crate::openpgp::program::{Gpg, GpgError};
use crate::openpgp::{self, Keys, OpenError, Passphrase, SessionKey};
use crate::read_ahead::{self, ReadAhead};
use crate::retention::RemovalPlan;
use crate::spool::{Spool, SpoolReader};
use crate::time::SetTime;

/// How new files are protected, and how encrypted ones are opened.
#[derive(Debug, Clone, Default)]
pub enum Protection {
    /// Compressed only: whoever can read the store can read the files.
    #[default]
    None,
    /// Encrypted with a passphrase. No GnuPG is needed.
    Passphrase(Passphrase),
    /// By the real `gpg`, with keys that it has.
    Gpg(Box<Gpg>),
}

/// What an archive is opened with.
#[derive(Clone)]
pub struct Settings {
    /// What stands before the names of the files.
    pub prefixes: Prefixes,
    /// How new files are protected.
    pub protection: Protection,
    /// The local archive directory: manifests and signatures, readable without a key. It may be
    /// lost at any time. Without one they are fetched whenever they are needed.
    pub archive_dir: Option<PathBuf>,
    /// Where temporary files are made; they have no names and vanish with the process.
    pub scratch: PathBuf,
    /// Target size of a volume, in stored bytes.
    pub volume_size: u64,
    /// Whether new files are compressed.
    pub compress: bool,
    /// Whether files that are not encrypted are refused when reading: who can write to the store
    /// could else put an archive of their own in the place of an encrypted one. Then files that
    /// are encrypted to a key, as anybody can, do not pass for those of a passphrase either.
    pub encrypted_only: bool,
    /// Threads that compress.
    pub compressors: usize,
    /// Files that are uploaded at once.
    pub uploads: usize,
    /// Whether manifests list the changed files.
    pub list_changes: bool,
    /// The machine's name, for the manifest.
    pub host: Vec<u8>,
    /// What is backed up, as typed, for the manifest.
    pub local_dir: Vec<u8>,
    /// Whether an increment may be made of another machine or folder than its chain.
    pub allow_other_source: bool,
    /// Whether a full set that is cut off stays as it is, for the next full backup to go on with. What
    /// has changed before its end since then is in the next increment only.
    pub resume: bool,
    /// Where keys and salts come from.
    pub random: Random,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("prefixes", &self.prefixes)
            .field("protection", &self.protection)
            .field("archive_dir", &self.archive_dir)
            .field("volume_size", &self.volume_size)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Duplicity's own defaults: volumes of 200 MiB, names without prefixes, changes listed.
    #[must_use]
    pub fn new(scratch: PathBuf, random: Random) -> Self {
        Self {
            prefixes: Prefixes::default(),
            protection: Protection::None,
            archive_dir: None,
            scratch,
            volume_size: 200 << 20,
            compress: true,
            encrypted_only: false,
            compressors: std::thread::available_parallelism().map_or(1, usize::from),
            uploads: 2,
            list_changes: true,
            host: Vec::new(),
            local_dir: b"/".to_vec(),
            allow_other_source: false,
            resume: false,
            random,
        }
    }
}

/// The name of the archive directory of a target that was given none: duplicity's, made of the URL
/// as it was typed.
#[must_use]
pub fn default_name(url: &str) -> String {
    hex::encode(md5::Md5::digest(url.as_bytes()))
}

/// Signatures that are smaller, stored, are not worth a thread that decodes them.
const ALONE_MAX: u64 = 1 << 20;

/// How many other files are tried to see whether a passphrase is the archive's: one may be damaged,
/// too.
const OPENED_MAX: usize = 3;

fn gunzip(file: impl Read + Send + 'static) -> Box<dyn Read + Send> {
    let file = BufReader::with_capacity(read_ahead::BLOCK, file);
    Box::new(BlockReader::new(Gunzip::new(file)))
}

/// Gives all of an object to `take`.
fn copy_out(
    mut body: impl Read,
    mut take: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut buffer = vec![0; read_ahead::BLOCK];
    loop {
        let count = body
            .read(&mut buffer)
            .map_err(Error::io("read from the store"))?;
        match buffer.get(..count).unwrap_or_default() {
            [] => return Ok(()),
            bytes => take(bytes)?,
        }
    }
}

/// Compares bytes with the hash that they should have, if one is known.
struct HashCheck(Option<(Hasher, store::Digest)>);

impl HashCheck {
    fn new(hash: Option<Hash>) -> Self {
        Self(hash.map(|hash| match hash {
            Hash::Sha1(wanted) => (Hasher::new(DigestKind::Sha1), store::Digest::Sha1(wanted)),
            Hash::Md5(wanted) => (Hasher::new(DigestKind::Md5), store::Digest::Md5(wanted)),
        }))
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some((made, _)) = &mut self.0 {
            made.update(bytes);
        }
    }

    /// That was all of the file.
    fn end(self, file: &StoredFile) -> Result<(), Error> {
        if self.0.is_none_or(|(made, wanted)| made.finish() == wanted) {
            return Ok(());
        }
        Err(Error::Hash {
            object: file.object.clone(),
        })
    }
}

/// One archive.
#[derive(Clone)]
pub struct Archive {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) folder: Folder,
    pub(crate) settings: Arc<Settings>,
    pub(crate) keys: Arc<Keys>,
}

impl Archive {
    /// Opens the archive in a folder of a store. Nothing is read yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, folder: Folder, settings: Settings) -> Self {
        Self {
            store,
            folder,
            settings: Arc::new(settings),
            keys: Arc::default(),
        }
    }

    /// Begins to make keys of files that will be written.
    pub(crate) fn prepare_keys(&self, count: usize) {
        if let Protection::Passphrase(passphrase) = &self.settings.protection {
            self.keys.prepare(count, passphrase, &self.settings.random);
        }
    }

    /// The key of a new file.
    pub(crate) fn key(&self, passphrase: &Passphrase) -> SessionKey {
        self.keys.next(passphrase, &self.settings.random)
    }

    /// What the store holds. Reads the listing only.
    ///
    /// # Errors
    ///
    /// When the store cannot be listed.
    pub fn collection(&self, now: SetTime) -> Result<Collection, Error> {
        let mut files = Vec::new();
        self.store
            .list(&self.folder, Scope::Folder, &mut |object| {
                files.push((object.name.file_name().to_owned(), object.size));
                std::ops::ControlFlow::Continue(())
            })?;
        let files = files.iter().map(|(name, size)| (name.as_str(), *size));
        Ok(Collection::of(
            files,
            |name| self.settings.prefixes.read(name),
            now,
        ))
    }

    /// The manifest of a set: from the archive directory when it is there, else from the store.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, opened or understood.
    pub fn manifest(&self, set: &BackupSet) -> Result<Manifest, Error> {
        self.admit(set)?;
        let parse = |bytes: &[u8]| {
            Manifest::parse(bytes).map_err(|source| Error::Manifest {
                set: set.kind,
                source,
            })
        };
        let local = FileName {
            set: set.kind,
            part: Part::Manifest,
            suffix: Suffix::Plain,
            partial: false,
        };
        if let Some(manifest) = self.local_manifest(set) {
            return Ok(manifest);
        }
        let manifest = parse(&self.remote_manifest(set)?)?;
        self.keep(&local, |out| out.write_all(&manifest.to_bytes()));
        Ok(manifest)
    }

    /// The manifest of a set that was finished, as the archive directory has it.
    pub(crate) fn local_manifest(&self, set: &BackupSet) -> Option<Manifest> {
        let local = FileName {
            set: set.kind,
            part: Part::Manifest,
            suffix: Suffix::Plain,
            partial: false,
        };
        Manifest::parse(&std::fs::read(self.local_path(&local)?).ok()?).ok()
    }

    /// The manifest's bytes from the store.
    pub(crate) fn remote_manifest(&self, set: &BackupSet) -> Result<Vec<u8>, Error> {
        let Some(file) = &set.manifest else {
            return Err(Error::ManifestMissing { set: set.kind });
        };
        let mut bytes = Vec::new();
        let spool = self.fetch(file, None)?;
        let mut reader = self.unwrap(file, spool)?.take(MANIFEST_SIZE_MAX);
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| self.unreadable(file, error))?;
        Ok(bytes)
    }

    /// The signatures of a set as a plain tar: from the archive directory, else from the store,
    /// from where they are put into the archive directory.
    pub(crate) fn signatures(&self, set: &BackupSet) -> Result<Box<dyn BufRead + Send>, Error> {
        let plain = self.plain_signatures(set)?;
        let stored = set.signatures.as_ref().map_or(0, |file| file.size);
        // They are read in small pieces, and a decoder is slow with those.
        Ok(if stored < ALONE_MAX {
            Box::new(BufReader::with_capacity(read_ahead::BLOCK, plain))
        } else {
            Box::new(BlockReader::new(ReadAhead::new(plain)))
        })
    }

    fn plain_signatures(&self, set: &BackupSet) -> Result<Box<dyn Read + Send>, Error> {
        self.admit(set)?;
        let local = FileName {
            set: set.kind,
            part: Part::Signatures,
            suffix: Suffix::Gzip,
            partial: false,
        };
        let open = || File::open(self.local_path(&local)?).ok();
        if let Some(file) = open() {
            return Ok(gunzip(file));
        }
        let Some(file) = &set.signatures else {
            return Err(Error::Signatures {
                object: set.kind.to_string(),
                what: "they are missing".to_owned(),
            });
        };
        let spool = self.fetch(file, None)?;
        let mut plain = self.unwrap(file, spool)?;
        if self.settings.archive_dir.is_none() {
            return Ok(plain);
        }
        let mut failure = None;
        self.keep(&local, |out| {
            let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            if let Err(error) = io::copy(&mut plain, &mut gzip) {
                failure = Some(io::Error::new(error.kind(), error.to_string()));
                return Err(error);
            }
            gzip.finish().map(drop)
        });
        if let Some(error) = failure {
            return Err(self.unreadable(file, error));
        }
        match open() {
            Some(file) => Ok(gunzip(file)),
            // The archive directory cannot be written: a nuisance, not an error.
            None => {
                let spool = self.fetch(file, None)?;
                self.unwrap(file, spool)
            }
        }
    }

    /// Fetches a file whole and checks its hash. One that lies on this machine is not copied.
    pub(crate) fn fetch(&self, file: &StoredFile, hash: Option<Hash>) -> Result<Spool, Error> {
        if let Some(local) = self.local_file(file)? {
            self.check_local(file, &local, hash)?;
            return self.local_spool(&local);
        }
        let mut check = HashCheck::new(hash);
        let mut spool = Spool::new(&self.settings.scratch);
        let name = self.object(&file.object)?;
        let body = self.store.read(&name, Range::WHOLE)?.body;
        copy_out(body, |bytes| {
            check.update(bytes);
            let written = spool.write_all(bytes);
            written.map_err(Error::io("write a temporary file"))
        })?;
        check.end(file)?;
        Ok(spool)
    }

    /// A file of the archive that lies on this machine.
    pub(crate) fn local_file(&self, file: &StoredFile) -> Result<Option<File>, Error> {
        Ok(self.store.file(&self.object(&file.object)?)?)
    }

    /// Checks the hash of a file that lies on this machine.
    pub(crate) fn check_local(
        &self,
        file: &StoredFile,
        local: &File,
        hash: Option<Hash>,
    ) -> Result<(), Error> {
        if hash.is_none() {
            return Ok(());
        }
        let mut check = HashCheck::new(hash);
        let content = self.local_spool(local)?;
        let body = content.open(0).map_err(Error::io("read from the store"))?;
        copy_out(body, |bytes| {
            check.update(bytes);
            Ok(())
        })?;
        check.end(file)
    }

    /// The bytes of a file that lies on this machine.
    pub(crate) fn local_spool(&self, local: &File) -> Result<Spool, Error> {
        let failed = Error::io("read from the store");
        let local = local.try_clone().and_then(|local| {
            let size = local.metadata()?.len();
            Ok(Spool::of(local, size, &self.settings.scratch))
        });
        local.map_err(failed)
    }

    /// Refuses a set with a file that is not encrypted, where all should be.
    pub(crate) fn admit(&self, set: &BackupSet) -> Result<(), Error> {
        set.files().try_for_each(|file| self.admit_file(file))
    }

    fn admit_file(&self, file: &StoredFile) -> Result<(), Error> {
        if self.settings.encrypted_only && !file.name.suffix.is_encrypted() {
            return Err(Error::NotEncrypted {
                object: file.object.clone(),
            });
        }
        Ok(())
    }

    /// The plain content of a fetched file.
    pub(crate) fn unwrap(
        &self,
        file: &StoredFile,
        spool: Spool,
    ) -> Result<Box<dyn Read + Send>, Error> {
        self.admit_file(file)?;
        let reader = spool
            .into_reader()
            .map_err(Error::io("read a temporary file"))?;
        match file.name.suffix {
            Suffix::Plain => Ok(Box::new(BufReader::new(reader))),
            Suffix::Gzip => Ok(gunzip(reader)),
            Suffix::Gpg => self.open(file, reader),
            Suffix::Smime => Err(Error::Smime {
                object: file.object.clone(),
            }),
        }
    }

    fn open(&self, file: &StoredFile, reader: SpoolReader) -> Result<Box<dyn Read + Send>, Error> {
        let passphrase = match &self.settings.protection {
            Protection::None => None,
            Protection::Passphrase(passphrase) => Some(passphrase),
            Protection::Gpg(gpg) => return self.open_by_program(file, reader, gpg),
        };
        let mut again = reader
            .try_clone()
            .map_err(Error::io("read a temporary file"))?;
        match openpgp::open(BufReader::with_capacity(64 << 10, reader), passphrase) {
            Ok(plain) => Ok(plain),
            // Whoever restores need not know which keys it was encrypted to: GnuPG finds them.
            Err(OpenError::KeyNeeded) if !self.settings.encrypted_only => {
                let gpg = Gpg {
                    passphrase: passphrase.cloned(),
                    ..Gpg::default()
                };
                again.rewind().map_err(Error::io("read a temporary file"))?;
                self.open_by_program(file, again, &gpg)
            }
            // What opens other files is the right passphrase: this file is not what was written.
            Err(source @ OpenError::Passphrase(_)) if self.opens_others(file, passphrase) => {
                Err(Error::Damaged {
                    object: file.object.clone(),
                    source: io::Error::other(source),
                })
            }
            Err(source) => Err(Error::Open {
                object: file.object.clone(),
                source,
            }),
        }
    }

    /// Whether the passphrase opens another manifest of the archive.
    fn opens_others(&self, file: &StoredFile, passphrase: Option<&Passphrase>) -> bool {
        // Sets of any time: nothing is made here.
        let Ok(collection) = self.collection(SetTime::new(jiff::Timestamp::MAX)) else {
            return false;
        };
        let others = collection.files().filter(|other| {
            other.name.part == Part::Manifest
                && other.name.suffix == Suffix::Gpg
                && other.object != file.object
        });
        others.take(OPENED_MAX).any(|other| {
            let spool = self.fetch(other, None);
            let reader = spool.ok().and_then(|spool| spool.into_reader().ok());
            reader.is_some_and(|reader| {
                let mut plain = Vec::new();
                let opened = openpgp::open(BufReader::new(reader), passphrase);
                // To its end: by its first bytes a wrong passphrase may seem right.
                opened.is_ok_and(|opened| {
                    let read = opened.take(MANIFEST_SIZE_MAX).read_to_end(&mut plain);
                    read.is_ok() && Manifest::parse(&plain).is_ok()
                })
            })
        })
    }

    fn open_by_program(
        &self,
        file: &StoredFile,
        reader: SpoolReader,
        gpg: &Gpg,
    ) -> Result<Box<dyn Read + Send>, Error> {
        let mut plain = Spool::new(&self.settings.scratch);
        gpg.open(reader, &mut plain)
            .map_err(|source| match source {
                GpgError::Damaged { .. } => Error::Damaged {
                    object: file.object.clone(),
                    source: io::Error::other(source),
                },
                source => Error::Gpg {
                    object: file.object.clone(),
                    source,
                },
            })?;
        let reader = plain
            .into_reader()
            .map_err(Error::io("read a temporary file"))?;
        Ok(Box::new(BufReader::new(reader)))
    }

    /// An error while reading the content of a file.
    pub(crate) fn unreadable(&self, file: &StoredFile, error: io::Error) -> Error {
        match store::Error::unwrap_io(error) {
            Ok(error) => error.into(),
            Err(source) => Error::Damaged {
                object: file.object.clone(),
                source,
            },
        }
    }

    /// Removes what a plan names, in its order, from the store and from the archive directory.
    ///
    /// Broken off anywhere, it leaves no set that looks complete and is not; the same plan can be
    /// carried out again.
    ///
    /// # Errors
    ///
    /// When the store refuses: what came before is gone. [`Error::Locked`] while another run of
    /// this machine is writing: it may be about to stand on what would go.
    pub fn remove(&self, plan: &RemovalPlan) -> Result<(), Error> {
        let lock = self.lock()?;
        self.remove_files(plan)?;
        if let Some(lock) = lock {
            lock.release();
        }
        Ok(())
    }

    /// Removes what interrupted writes left in the store: see [`store::Store::tidy`]. Gives how many
    /// pieces went.
    ///
    /// # Errors
    ///
    /// As of [`remove`](Self::remove).
    pub fn tidy(&self) -> Result<u64, Error> {
        let lock = self.lock()?;
        let removed = self.store.tidy(store::ABANDONED)?;
        if let Some(lock) = lock {
            lock.release();
        }
        Ok(removed)
    }

    /// As [`remove`](Self::remove), for who holds the lock.
    pub(crate) fn remove_files(&self, plan: &RemovalPlan) -> Result<(), Error> {
        for file in plan.objects() {
            // The local copy first: it says that the set was finished.
            self.forget(&file.name);
            self.store.delete(&self.object(&file.object)?)?;
        }
        Ok(())
    }

    fn forget(&self, name: &FileName) {
        let suffix = match name.part {
            Part::Signatures => Suffix::Gzip,
            Part::Manifest => Suffix::Plain,
            Part::Volume { .. } | Part::Statistics => return,
        };
        if let Some(path) = self.local_path(&FileName { suffix, ..*name }) {
            // A cache: what cannot be removed is seen to be surplus next time.
            let _ = std::fs::remove_file(path);
        }
    }

    pub(crate) fn object(&self, name: &str) -> Result<Name, Error> {
        self.folder.join(name).map_err(|source| {
            let error = store::Error::new(store::ErrorKind::Invalid, store::Operation::Open);
            error.on(name).because(source).into()
        })
    }

    /// Where the archive directory has a file.
    pub(crate) fn local_path(&self, name: &FileName) -> Option<PathBuf> {
        let folder = self.settings.archive_dir.as_ref()?;
        Some(folder.join(self.settings.prefixes.write(name)))
    }

    /// Puts a file into the archive directory, whole or not at all. That it fails is no error: the
    /// directory is a cache.
    pub(crate) fn keep(
        &self,
        name: &FileName,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> bool {
        let Some(path) = self.local_path(name) else {
            return false;
        };
        let written = (|| {
            let folder = path.parent().unwrap_or(&path);
            std::fs::create_dir_all(folder)?;
            let temporary = path.with_extension("ravelin-new");
            let mut file = private_file(&temporary)?;
            write(&mut file)?;
            file.sync_data()?;
            std::fs::rename(&temporary, &path)
        })();
        written.is_ok()
    }
}

/// A file that only its owner can read: manifests and signatures tell what is backed up.
pub(crate) fn private_file(path: &std::path::Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
