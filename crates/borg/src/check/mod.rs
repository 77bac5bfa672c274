//! Checks a repository with all its archives, and says exactly what is hurt.
//!
//! The order is from the bottom up: the checksums of all segments; on demand the content of all
//! objects; the manifest; then every archive, its items, and whether the chunks of every file are
//! there. Nothing is changed by it. What a repair then does is said in [`repair`].
//!
//! Archives share most of their metadata, and what was found whole once is not looked at again.

mod lost;
mod repair;

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use bstr::BString;

use crate::archives::{ItemsAroundDamage, open_key};
use crate::cache::Cache;
use crate::security::{SecurityDir, Trust};
use crate::uses::{Uses, in_parallel, in_parallel_with};
use crate::{
    Archive, ArchiveEntry, Archives, Backend, BadTam, Checked, ChunkReader, Error, Home, Host, Id,
    Item, Key, Location, Manifest, OpenOptions, Opener, Operation, Passphrase, Sealed,
};

pub use lost::{LostFile, LostPiece};
pub use repair::RepairReport;

/// Objects that are verified between two looks at the listener…
const VERIFY_COUNT: usize = 512;

/// … so many at once by each processor, which has them in memory twice.
const BATCH_COUNT: usize = 8;

/// A repository that is opened to be checked, in whatever state it is.
#[derive(Debug)]
pub struct Checker {
    archives: Archives,
    /// What is wrong with the manifest, if it is.
    manifest: ManifestState,
    trust: Trust,
    removes_unauthenticated: bool,
}

/// The state of the manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestState {
    /// It can be trusted.
    Good,
    /// It is not there, or damaged. The archives are found by looking at every object.
    Lost {
        /// Why.
        what: String,
    },
}

/// The state of what is below the encryption.
#[derive(Debug, Clone)]
pub enum RepositoryState {
    /// Nobody has looked.
    NotChecked,
    /// What was found on this machine.
    Local(Checked),
    /// What the server says that it has found.
    Remote {
        /// Whether everything is as it should be.
        is_good: bool,
        /// Its own words, a line each.
        said: Vec<String>,
    },
}

impl RepositoryState {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::NotChecked => true,
            Self::Local(checked) => checked.is_good(),
            Self::Remote { is_good, .. } => *is_good,
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// Below the encryption: segments, index, commits.
    pub repository: RepositoryState,
    /// What is known of counters that were used is garbled: nothing can be written.
    pub counters_garbled: bool,
    /// Whether the manifest can be trusted.
    pub manifest: ManifestState,
    /// Archives that were looked at.
    pub archive_count: u64,
    /// Those that are hurt.
    pub hurt: Vec<HurtArchive>,
    /// Objects whose content was verified; 0 unless that was asked for.
    pub verified_count: u64,
    /// Objects that are there, but are not what they should be.
    pub bad_objects: Vec<Id>,
    /// Objects that nothing uses.
    pub orphans: Vec<Id>,
    /// Whether `orphans` is all that is known to be of no use. When parts of archives are lost,
    /// what they used looks the same.
    pub orphans_are_certain: bool,
}

/// An archive that is not as it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HurtArchive {
    /// Its name.
    pub name: BString,
    /// What is wrong with it.
    pub hurt: Hurt,
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hurt {
    /// Its object is lost or damaged: nothing of it can be read.
    Lost {
        /// Why.
        what: String,
    },
    /// Its authentication is wrong: somebody has forged it.
    Forged,
    /// It is not authenticated, though the repository asks for it: it is from an old program, or
    /// somebody has put it there.
    NotAuthenticated,
    /// Parts of it are lost.
    Parts {
        /// Chunks of the list of its files that are lost: some files are missing, and nobody knows
        /// which.
        lost_lists: u64,
        /// Places in the list that make no sense.
        gaps: u64,
        /// Files of which content is missing, in the order of the archive.
        files: Vec<HurtFile>,
    },
}

/// A file of which content is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HurtFile {
    /// Where it stands in the archive.
    pub path: BString,
    /// Pieces that are missing now.
    pub missing: u64,
    /// Bytes of these.
    pub missing_bytes: u64,
    /// Pieces that a repair has replaced with zeros.
    pub zeros: u64,
    /// How many of those are there again, and can be put back.
    pub healable: u64,
}

impl CheckReport {
    /// Whether everything is as it should be. Orphans take space and hurt nothing.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.repository.is_good()
            && !self.counters_garbled
            && self.manifest == ManifestState::Good
            && self.hurt.is_empty()
            && self.bad_objects.is_empty()
    }
}

/// Says which names are meant.
type NameTest<'a> = &'a dyn Fn(&[u8]) -> bool;

/// What is checked.
pub struct CheckScope<'a> {
    /// What is below the encryption.
    pub repository: bool,
    /// The content of every object.
    pub data: bool,
    /// The archives whose names it takes; `None`: all of them. Orphans are known only then.
    pub archives: Option<NameTest<'a>>,
}

/// How far a check came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckStep {
    /// What is being done, as a phrase.
    pub phase: &'static str,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do.
    pub total: u64,
}

impl Checker {
    /// Opens a repository for a check, or with [`crate::Access::Write`] for a repair.
    ///
    /// What this machine remembers is compared as by [`Archives::open`], unless the manifest is
    /// lost, when there is nothing to compare.
    ///
    /// # Errors
    ///
    /// Those of [`crate::Repository::open`]; [`Error::Key`] for a missing key or a wrong passphrase: that
    /// is no damage. [`Error::Replayed`] when an older state was put back.
    pub fn open(
        location: impl Into<Location>,
        home: &Home,
        options: &OpenOptions,
        passphrase: &Passphrase,
        trust: Trust,
    ) -> Result<Self, Error> {
        let location = location.into();
        match Archives::open(&location, home, options, passphrase, trust) {
            Ok(archives) => Ok(Self {
                archives,
                manifest: ManifestState::Good,
                trust,
                removes_unauthenticated: false,
            }),
            Err(
                reason @ (Error::ObjectNotFound { id: Id::MANIFEST }
                | Error::Object {
                    id: Id::MANIFEST, ..
                }
                | Error::Damaged(_)
                | Error::DamagedThere { .. }
                | Error::UnknownEncryption(_)
                | Error::CheckNeeded { .. }
                | Error::Manifest(
                    crate::BadManifest::Tam(_) | crate::BadManifest::Malformed(_),
                )),
            ) => {
                let archives = without_manifest(&location, home, options, passphrase)?;
                Ok(Self {
                    archives,
                    manifest: ManifestState::Lost {
                        what: reason.to_string(),
                    },
                    trust,
                    removes_unauthenticated: false,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Lets a repair remove archives that are not authenticated, as the stock program does, rather
    /// than leave them alone as long as they are whole.
    pub fn remove_unauthenticated(&mut self) {
        self.removes_unauthenticated = true;
    }

    /// Checks everything; with `data`, also that every object has the content it should have.
    ///
    /// `on_step` hears how far it came, and ends the check early by breaking.
    ///
    /// # Errors
    ///
    /// When the check itself cannot be made; [`Error::Stopped`] when it was ended early. What it
    /// finds is no error.
    pub fn check(
        &mut self,
        data: bool,
        on_step: &mut dyn FnMut(CheckStep) -> ControlFlow<()>,
    ) -> Result<CheckReport, Error> {
        let scope = CheckScope {
            repository: true,
            data,
            archives: None,
        };
        self.check_scope(&scope, on_step)
    }

    /// Checks a part of everything.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn check_scope(
        &mut self,
        scope: &CheckScope<'_>,
        on_step: &mut dyn FnMut(CheckStep) -> ControlFlow<()>,
    ) -> Result<CheckReport, Error> {
        let mut flow = ControlFlow::Continue(());
        let mut on_segment = |done: usize, total: usize| {
            flow = on_step(CheckStep {
                phase: "reading segments",
                done: done as u64,
                total: total as u64,
            });
        };
        let repository = match &self.archives.repository {
            _ if !scope.repository => RepositoryState::NotChecked,
            Backend::Local(repository) => RepositoryState::Local(repository.check(on_segment)?),
            Backend::Remote(remote) => {
                // Only what it says from now on is about this.
                drop(remote.take_said());
                on_segment(0, 1);
                let is_good = remote.check(false)?;
                let said = remote.take_said();
                RepositoryState::Remote { is_good, said }
            }
        };
        go_on(flow)?;
        let mut report = CheckReport {
            repository,
            counters_garbled: self.counters_garbled()?,
            manifest: self.manifest.clone(),
            archive_count: 0,
            hurt: Vec::new(),
            verified_count: 0,
            bad_objects: Vec::new(),
            orphans: Vec::new(),
            orphans_are_certain: true,
        };
        if self.manifest == ManifestState::Good {
            self.archives.manifest.check_features(Operation::Check)?;
        }
        if scope.data {
            self.verify_objects(&mut report, on_step)?;
        }
        if self.manifest != ManifestState::Good && self.archives.manifest.archives.is_empty() {
            self.archives.manifest.archives = self.find_archives(on_step)?;
        }
        self.check_archives(scope, &mut report, on_step)?;
        Ok(report)
    }

    /// Whether nobody can tell which counters were used. A server tells when it is asked for some.
    fn counters_garbled(&self) -> Result<bool, Error> {
        let Some(repository) = self.archives.repository.local() else {
            return Ok(false);
        };
        match repository.get_free_nonce() {
            Ok(_) => Ok(false),
            Err(Error::NonceGarbled { .. }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Verifies the content of every object, on all processors.
    fn verify_objects(
        &self,
        report: &mut CheckReport,
        on_step: &mut dyn FnMut(CheckStep) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let ids = self.archives.repository.ids()?;
        let total = ids.len() as u64;
        for group in ids.chunks(VERIFY_COUNT) {
            let batches: Vec<&[Id]> = group.chunks(BATCH_COUNT).collect();
            let reader = || ChunkReader::new(&self.archives);
            let bad = in_parallel_with(&batches, reader, |reader, batch| {
                let (mut bad, mut failed) = (Vec::<Id>::new(), None);
                reader.read_objects(batch, |index, read| match read {
                    Err(error) if error.is_damage() => bad.extend(batch.get(index)),
                    Err(error) => failed = Some(error),
                    Ok(_) => {}
                });
                failed.map_or(Ok(bad), Err)
            })?;
            report.verified_count += group.len() as u64;
            report.bad_objects.extend(bad.into_iter().flatten());
            go_on(on_step(CheckStep {
                phase: "reading objects",
                done: report.verified_count,
                total,
            }))?;
        }
        Ok(())
    }

    /// Looks at every object for one that is an archive, authentic and whole.
    fn find_archives(
        &self,
        on_step: &mut dyn FnMut(CheckStep) -> ControlFlow<()>,
    ) -> Result<BTreeMap<BString, ArchiveEntry>, Error> {
        let ids = self.archives.repository.ids()?;
        let total = ids.len() as u64;
        let key = &self.archives.key;
        let mut found: Vec<(Archive, Id)> = Vec::new();
        let mut done = 0;
        for group in ids.chunks(VERIFY_COUNT) {
            let batches: Vec<&[Id]> = group.chunks(BATCH_COUNT).collect();
            let reader = || ChunkReader::new(&self.archives);
            let archives = in_parallel_with(&batches, reader, |reader, batch| {
                let (mut archives, mut failed) = (Vec::new(), None);
                reader.read_objects(batch, |index, read| match read {
                    Err(error) if error.is_damage() => {}
                    Err(error) => failed = Some(error),
                    Ok(plain) => {
                        let opened = Archive::open(key, plain, key.tam_required());
                        let archive = opened.ok().map(|(archive, _)| archive);
                        archives.extend(archive.zip(batch.get(index).copied()));
                    }
                });
                failed.map_or(Ok(archives), Err)
            })?;
            found.extend(archives.into_iter().flatten());
            done += group.len() as u64;
            go_on(on_step(CheckStep {
                phase: "looking for archives",
                done,
                total,
            }))?;
        }
        found.sort_by_key(|(archive, _)| archive.time.instant());
        let mut archives = BTreeMap::new();
        for (archive, id) in found {
            let time = archive.time.clone();
            let entry = ArchiveEntry { id, time };
            let name = (1u32..)
                .map(|number| match number {
                    1 => archive.name.clone(),
                    _ => format!("{}.{}", archive.name, number - 1).into(),
                })
                .find(|name| !archives.contains_key(name));
            if let Some(name) = name {
                archives.insert(name, entry);
            }
        }
        Ok(archives)
    }

    fn check_archives(
        &self,
        scope: &CheckScope<'_>,
        report: &mut CheckReport,
        on_step: &mut dyn FnMut(CheckStep) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let archives = &self.archives;
        let mut there: HashSet<Id> = archives.repository.ids()?.into_iter().collect();
        for bad in &report.bad_objects {
            there.remove(bad);
        }
        let is_there = |id: &Id| there.contains(id);
        let mut uses = Uses::with_test(archives, &is_there);
        let mut used: HashSet<Id> = HashSet::new();
        let wanted = |name: &[u8]| scope.archives.is_none_or(|takes| takes(name));
        let mut list = archives.list();
        list.retain(|(name, _)| wanted(name));
        let total = list.len() as u64;
        for (name, entry) in list {
            report.archive_count += 1;
            let hurt = self.check_archive(entry, &is_there, &mut uses, &mut used)?;
            if let Some(hurt) = hurt {
                report.orphans_are_certain &= !matches!(
                    hurt,
                    Hurt::Lost { .. }
                        | Hurt::Parts {
                            lost_lists: 1..,
                            ..
                        }
                        | Hurt::Parts { gaps: 1.., .. }
                );
                let name = name.into();
                report.hurt.push(HurtArchive { name, hurt });
            }
            go_on(on_step(CheckStep {
                phase: "checking archives",
                done: report.archive_count,
                total,
            }))?;
        }
        if scope.archives.is_some() {
            report.orphans_are_certain = false;
            return Ok(());
        }
        used.extend(uses.iter().map(|used| used.chunk.id));
        used.insert(Id::MANIFEST);
        report.orphans = there
            .iter()
            .copied()
            .filter(|id| !used.contains(id))
            .collect();
        report.orphans_are_certain &= match &report.repository {
            RepositoryState::NotChecked => true,
            RepositoryState::Local(checked) => checked.damages.is_empty(),
            RepositoryState::Remote { is_good, .. } => *is_good,
        };
        Ok(())
    }

    fn check_archive(
        &self,
        entry: &ArchiveEntry,
        is_there: &dyn Fn(&Id) -> bool,
        uses: &mut Uses<'_>,
        used: &mut HashSet<Id>,
    ) -> Result<Option<Hurt>, Error> {
        let archives = &self.archives;
        used.insert(entry.id);
        let key = &archives.key;
        let lost = |error: &dyn std::error::Error| Hurt::Lost {
            what: error.to_string(),
        };
        if !is_there(&entry.id) {
            let what = "its object is missing or damaged".into();
            return Ok(Some(Hurt::Lost { what }));
        }
        let plain = match archives.read(&entry.id) {
            Ok(plain) => plain,
            Err(error) => return Ok(Some(lost(&error))),
        };
        let (archive, authenticated) = match Archive::open(key, &plain, key.tam_required()) {
            Ok((archive, _)) => (archive, true),
            Err(BadTam::Missing | BadTam::Unsupported { .. }) => match Archive::read(&plain) {
                Ok(archive) => (archive, false),
                Err(error) => return Ok(Some(lost(&error))),
            },
            Err(BadTam::Wrong) => return Ok(Some(Hurt::Forged)),
            Err(error) => return Ok(Some(lost(&error))),
        };
        let lists_are_there = archive.items.iter().all(is_there);
        if lists_are_there
            && let Ok(counted) = uses.add(&entry.id)
            && counted.is_whole
        {
            return Ok((!authenticated).then_some(Hurt::NotAuthenticated));
        }
        // Something is missing: what, and to whom.
        used.extend(archive.items.iter().copied());
        let (mut lost_lists, mut gaps, mut files) = (0, 0, Vec::new());
        let mut items = ItemsAroundDamage::new(&archive);
        while let Some(found) = items.next(archives)? {
            match found {
                Ok(item) => {
                    used.extend(item.chunks.iter().flatten().map(|chunk| chunk.id));
                    let healthy = item.chunks_healthy.iter().flatten();
                    used.extend(healthy.map(|chunk| chunk.id));
                    if item.part.is_none() {
                        files.extend(hurt_file(&item, is_there));
                    }
                }
                Err(Error::Items { .. }) => gaps += 1,
                Err(_) => lost_lists += 1,
            }
        }
        if !authenticated {
            return Ok(Some(Hurt::NotAuthenticated));
        }
        let is_whole = files.is_empty() && lost_lists == 0 && gaps == 0;
        Ok((!is_whole).then_some(Hurt::Parts {
            lost_lists,
            gaps,
            files,
        }))
    }
}

/// Ends the check where its listener asks for it.
fn go_on(flow: ControlFlow<()>) -> Result<(), Error> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Stopped),
    }
}

/// What is missing of a file.
fn hurt_file(item: &Item, is_there: &dyn Fn(&Id) -> bool) -> Option<HurtFile> {
    let chunks = item.chunks.as_ref()?;
    let mut hurt = HurtFile {
        path: item.path.clone(),
        missing: 0,
        missing_bytes: 0,
        zeros: 0,
        healable: 0,
    };
    for chunk in chunks {
        if !is_there(&chunk.id) {
            hurt.missing += 1;
            hurt.missing_bytes += u64::from(chunk.size);
        }
    }
    if let Some(healthy) = &item.chunks_healthy {
        for (chunk, healthy) in chunks.iter().zip(healthy) {
            if chunk.id != healthy.id {
                hurt.zeros += 1;
                hurt.healable += u64::from(is_there(&healthy.id));
            }
        }
    }
    (hurt.missing + hurt.zeros > 0 || item.chunks_healthy.is_some()).then_some(hurt)
}

/// Opens a repository whose manifest is lost. The key is found by any object that it opens.
fn without_manifest(
    location: &Location,
    home: &Home,
    options: &OpenOptions,
    passphrase: &Passphrase,
) -> Result<Archives, Error> {
    let repository = Backend::open(location, options)?;
    let ids = repository.ids()?;
    let mut failed = None;
    let mut opened: Option<Key> = None;
    for id in ids.iter().filter(|id| **id != Id::MANIFEST) {
        let Ok(stored) = repository.get(id) else {
            continue;
        };
        match open_key(&repository, &stored, home, passphrase) {
            Ok(key) => {
                let mut opener = Opener::new().map_err(|source| Error::Memory { source })?;
                let sealed = Sealed {
                    id: *id,
                    stored: &stored,
                    size_hint: None,
                };
                if key
                    .open(sealed, &mut opener, &mut crate::Buffer::new())
                    .is_ok()
                {
                    opened = Some(key);
                    break;
                }
            }
            Err(error @ Error::Key(crate::KeyError::WrongPassphrase)) => return Err(error),
            Err(error) => failed = Some(error),
        }
    }
    let Some(key) = opened else {
        return Err(failed.unwrap_or(Error::ObjectNotFound { id: Id::MANIFEST }));
    };
    let floor = counter_after_all(&repository, &key, &ids)?;
    Ok(Archives::assemble(
        repository,
        key,
        home,
        passphrase,
        options.lock_wait,
        floor,
        Manifest::default(),
    ))
}

/// The first counter that none of these objects was made with, nor any before it.
fn counter_after_all(repository: &Backend, key: &Key, ids: &[Id]) -> Result<u64, Error> {
    let floor = AtomicU64::new(0);
    for group in ids.chunks(VERIFY_COUNT) {
        in_parallel(group, |id| {
            if let Ok(stored) = repository.get(id) {
                floor.fetch_max(key.counter_after(&stored), Ordering::Relaxed);
            }
            Ok(())
        })?;
    }
    Ok(floor.into_inner())
}

impl Checker {
    /// The archives, as far as they can be found.
    #[must_use]
    pub fn archives(&self) -> &Archives {
        &self.archives
    }

    /// Makes sure that this machine remembers what was repaired, also if it is an older state: in
    /// its security directory and in its cache.
    fn settle(&self, host: &Host) -> Result<(), Error> {
        let archives = &self.archives;
        let id = archives.repository.id();
        let security = SecurityDir::new(archives.home.security_of(&id));
        let remembered = Cache::remembered(&archives.home, &id);
        let trust = Trust {
            replayed: false,
            ..self.trust
        };
        let shown = archives.appearance();
        let location = remembered.location.as_ref();
        let moved = location.is_some_and(|location| *location != shown.location);
        match security.check(&shown, &remembered, trust) {
            Ok(()) if !moved => {}
            // The cache remembers, too, where it was.
            Ok(()) => {
                let mut cache = archives.cache(host)?;
                let mut index = cache.take_chunks();
                cache.save_chunks(&archives.manifest_id, &archives.memory(), &mut index)?;
            }
            Err(Error::Replayed { .. }) => {
                let mut cache = archives.cache_to_fill(host)?;
                let mut index = archives.count_chunks()?.whole()?;
                cache.save_chunks(&archives.manifest_id, &archives.memory(), &mut index)?;
            }
            Err(error) => return Err(error),
        }
        archives.remember()
    }
}
