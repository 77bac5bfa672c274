//! Reading an archive back and checking it.
//!
//! Everything is read from the store: the archive directory is not asked, since it is not what a
//! restore on a new machine would have.

use std::collections::HashSet;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;

use tree::{Entry, TreePath};

use crate::archive::Archive;
use crate::collection::{BackupSet, Chain, Collection, StoredFile};
use crate::error::Error;
use crate::manifest::{Hash, Manifest};
use crate::restore::{Checker, Proof};
use crate::snapshot::{Item, ProblemKind};
use crate::tar::TarReader;
use crate::time::SetTime;

/// How deep a verification goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Every manifest can be read, and every volume that it names is there.
    Structure,
    /// Every byte is read: each volume has its hash, each tar can be read, and each file that the
    /// newest set of a chain restores is the one whose signature was kept.
    Data,
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Sets that were looked at.
    pub sets: u64,
    /// Files of the archive that were looked at.
    pub files: u64,
    /// Bytes that were read back.
    pub read_bytes: u64,
    /// What is wrong; empty when all is well.
    pub findings: Vec<Error>,
    /// Volumes that are missing or damaged: of which set, and which number. Those that could not be looked
    /// at are none.
    pub volumes: Vec<(SetTime, u32)>,
    /// Chains of which something is missing or damaged, whatever it is: when their full set was made.
    pub chains: Vec<SetTime>,
    /// Objects that cannot be restored as they were backed up.
    pub objects: Vec<String>,
    /// Volumes whose manifest has no hash for them.
    pub unverified: u64,
    /// Whether it was ended before it had seen everything.
    pub stopped: bool,
}

impl Verification {
    /// Whether nothing is wrong with what was looked at.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.objects.is_empty()
    }
}

impl Archive {
    /// Checks every chain of a collection.
    ///
    /// `on_step` hears how many files are done of how many, and ends the check by breaking.
    pub fn verify(
        &self,
        collection: &Collection,
        depth: Depth,
        on_step: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Verification {
        // What is checked must not come from the cache.
        let mut settings = (*self.settings).clone();
        settings.archive_dir = None;
        let archive = Self {
            settings: settings.into(),
            ..self.clone()
        };
        let total = collection
            .chains
            .iter()
            .flat_map(|chain| &chain.sets)
            .flat_map(BackupSet::files)
            .count() as u64;
        let mut run = Run {
            archive: &archive,
            depth,
            result: Verification::default(),
            total,
            on_step,
        };
        let headless: Vec<_> = collection.headless().map(|set| set.kind).collect();
        for set in &collection.incomplete {
            if headless.contains(&set.kind) || self.local_manifest(set).is_some() {
                let missing = Error::ManifestMissing { set: set.kind };
                run.result.findings.push(missing);
            }
        }
        let orphans = collection.orphans.iter();
        let orphans = orphans.map(|set| Error::Orphan { set: set.kind });
        run.result.findings.extend(orphans);
        for chain in &collection.chains {
            if run.chain(chain).is_break() {
                run.result.stopped = true;
                break;
            }
        }
        run.result
    }
}

impl Archive {
    /// The files of which content stands in a volume of the last of these sets, as far as the manifest and
    /// the signatures tell: those in the range of the volume that the set brought or changed.
    ///
    /// # Errors
    ///
    /// When the manifest or the signatures cannot be read.
    pub fn files_in_volume(&self, sets: &[BackupSet], number: u32) -> Result<Vec<Entry>, Error> {
        let Some(last) = sets.last() else {
            return Ok(Vec::new());
        };
        let manifest = self.manifest(last)?;
        let Some(volume) = manifest.volume(number) else {
            return Ok(Vec::new());
        };
        let range = &volume.start.path..=&volume.end.path;
        // The list of changes is not in every manifest; a full set brought everything.
        let changed: Option<HashSet<&[u8]>> = manifest
            .files
            .as_ref()
            .filter(|_| sets.len() > 1)
            .map(|files| files.iter().map(|file| file.path.as_slice()).collect());
        let mut found = Vec::new();
        for listed in self.listing(sets)? {
            let entry = listed?.entry;
            let is_brought = || {
                changed
                    .as_ref()
                    .is_none_or(|changed| changed.contains(entry.path.as_bytes()))
            };
            if entry.is_file() && range.contains(&&entry.path) && is_brought() {
                found.push(entry);
            }
        }
        Ok(found)
    }
}

struct Run<'a> {
    archive: &'a Archive,
    depth: Depth,
    result: Verification,
    total: u64,
    on_step: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

impl Run<'_> {
    fn chain(&mut self, chain: &Chain) -> ControlFlow<()> {
        let before = self.result.findings.len();
        let objects_before = self.result.objects.len();
        for set in &chain.sets {
            self.result.sets += 1;
            self.set(set)?;
        }
        // The content can be put together only where every volume is good.
        if self.depth == Depth::Data
            && self.result.findings.len() == before
            && chain.has_signatures()
            && let Err(error) = self.content(&chain.sets)
        {
            self.result.findings.push(error);
        }
        if self.is_damaged_since(before) || self.result.objects.len() > objects_before {
            self.result.chains.push(chain.start());
        }
        ControlFlow::Continue(())
    }

    /// Whether a finding is of damage, of those behind the first `count`.
    fn is_damaged_since(&self, count: usize) -> bool {
        let mut new = self.result.findings.iter().skip(count);
        new.any(Error::is_damage)
    }

    fn step(&mut self, file: &StoredFile) -> ControlFlow<()> {
        self.result.files += 1;
        if self.depth == Depth::Data {
            self.result.read_bytes += file.size;
        }
        (self.on_step)(self.result.files, self.total)
    }

    fn set(&mut self, set: &BackupSet) -> ControlFlow<()> {
        let manifest = self.archive.remote_manifest(set).and_then(|bytes| {
            Manifest::parse(&bytes).map_err(|source| Error::Manifest {
                set: set.kind,
                source,
            })
        });
        if let Some(file) = &set.manifest {
            self.step(file)?;
        }
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(error) => {
                self.result.findings.push(error);
                return ControlFlow::Continue(());
            }
        };
        for number in set.missing(&manifest).missing {
            self.result.volumes.push((set.end(), number));
            self.result.findings.push(Error::VolumeMissing {
                number,
                set: set.kind,
            });
        }
        for volume in &manifest.volumes {
            let hash = volume.hash();
            self.result.unverified += u64::from(hash.is_none());
            if let Some(file) = set.volumes.get(&volume.number) {
                let before = self.result.findings.len();
                let going = self.file(file, hash);
                if self.is_damaged_since(before) {
                    self.result.volumes.push((set.end(), volume.number));
                }
                going?;
            }
        }
        match &set.signatures {
            Some(file) => self.file(file, None)?,
            None => self.result.findings.push(Error::Signatures {
                object: set.kind.to_string(),
                what: "they are missing".to_owned(),
            }),
        }
        ControlFlow::Continue(())
    }

    fn file(&mut self, file: &StoredFile, hash: Option<Hash>) -> ControlFlow<()> {
        if self.depth == Depth::Data {
            let read = self.archive.fetch(file, hash).and_then(|spool| {
                let plain = self.archive.unwrap(file, spool)?;
                read_tar(plain).map_err(|source| Error::Damaged {
                    object: file.object.clone(),
                    source,
                })
            });
            if let Err(error) = read {
                self.result.findings.push(error);
            }
        }
        self.step(file)
    }

    /// Puts together what the chain restores and compares it with the signatures, object by object:
    /// memory is bounded.
    fn content(&mut self, sets: &[BackupSet]) -> Result<(), Error> {
        let mut listing = self.archive.listing(sets)?.peekable();
        let mut snapshot = self.archive.snapshot(sets, &TreePath::root())?;
        while let Some(item) = snapshot.next()? {
            let entry = match item {
                Item::Object(entry) => entry,
                Item::Problem(problem) => match problem.source {
                    // It could not be looked at, which says nothing about it.
                    ProblemKind::Volume(error) if !error.is_damage() => return Err(*error),
                    _ => {
                        self.result.objects.push(problem.to_string());
                        continue;
                    }
                },
            };
            let mut listed = None;
            while let Some(next) =
                listing.next_if(|next| !matches!(next, Ok(next) if next.entry.path > entry.path))
            {
                let next = next?;
                if next.entry.path == entry.path {
                    listed = Some(next);
                } else {
                    self.in_no_volume(&next.entry);
                }
            }
            let Some(listed) = listed else {
                self.result
                    .objects
                    .push(format!("{} has no signature", entry.path));
                continue;
            };
            if !entry.is_file() {
                continue;
            }
            let mut check = Checker::new(&Proof {
                fingerprint: listed.fingerprint,
                block_length: listed.block_length,
            });
            let mut buffer = vec![0; 128 << 10];
            loop {
                match snapshot.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => check.push(buffer.get(..count).unwrap_or_default()),
                    Err(error) => {
                        self.result.objects.push(format!("{}: {error}", entry.path));
                        break;
                    }
                }
            }
            if !check.ends_right() {
                self.result
                    .objects
                    .push(format!("{} is not what was backed up", entry.path));
            }
        }
        for next in listing {
            self.in_no_volume(&next?.entry);
        }
        Ok(())
    }

    fn in_no_volume(&mut self, entry: &Entry) {
        let text = format!("{} is in no volume", entry.path);
        self.result.objects.push(text);
    }
}

/// Reads a tar and everything behind it to the end.
fn read_tar(plain: impl Read) -> io::Result<()> {
    let mut tar = TarReader::new(BufReader::with_capacity(128 << 10, plain));
    while tar.next().map_err(io::Error::other)?.is_some() {}
    Ok(())
}
