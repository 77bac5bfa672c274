//! What stands in the archive at one moment, from the signatures alone: no volume is read.

use std::cmp::Ordering;
use std::io::{BufRead, Read};
use std::iter::Peekable;

use sha1::Sha1;
use sha1::digest::Digest;
use tree::{Entry, TreePath};

use crate::archive::Archive;
use crate::collection::BackupSet;
use crate::error::Error;
use crate::member::{MemberKind, MemberName, entry_of, noted_size};
use crate::snapshot::{Item, Problem, Snapshot};
use crate::tar::{TarHeader, TarReader};

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The object. The size of a file is exact in archives that were made here; in those of others
    /// it is rounded up to whole blocks of its signature, as the format keeps no exact one.
    pub entry: Entry,
    /// The beginning of the SHA-1 of a file's signature: equal for equal content of one size.
    pub fingerprint: Option<[u8; 16]>,
    /// Block length of a file's signature, from which the same fingerprint can be made.
    pub block_length: u32,
}

/// The objects of an archive at one moment, in order.
pub struct Listing {
    sets: Vec<Peekable<Changes>>,
}

impl Archive {
    /// Lists what `sets` restore; they are those of
    /// [`Collection::until`](crate::Collection::until). Memory is bounded.
    ///
    /// # Errors
    ///
    /// When the signatures of a set cannot be opened.
    pub fn listing(&self, sets: &[BackupSet]) -> Result<Listing, Error> {
        self.listing_of(sets, &[TreePath::root()])
    }

    /// The same of what is `wanted` and below.
    fn listing_of(&self, sets: &[BackupSet], wanted: &[TreePath]) -> Result<Listing, Error> {
        let open = |set| Ok(self.changes(set, wanted)?.peekable());
        Ok(Listing {
            sets: sets.iter().map(open).collect::<Result<_, Error>>()?,
        })
    }

    /// The paths that a set says something about, in order.
    pub(crate) fn paths_of(&self, set: &BackupSet) -> Result<Vec<TreePath>, Error> {
        let changes = self.changes(set, &[TreePath::root()])?;
        changes.map(|change| Ok(change?.0)).collect()
    }

    /// Those of `sets` that say something about `wanted` or what is below, and the first. For those
    /// that are left out nothing has to be fetched. All of them where any signature is of no use,
    /// as the volumes tell then what there is.
    pub(crate) fn sets_about(
        &self,
        sets: &[BackupSet],
        wanted: &[TreePath],
    ) -> Result<Vec<BackupSet>, Error> {
        let is_about = |set: &BackupSet| {
            let first = self.changes(set, wanted)?.next().transpose();
            first.map(|change| change.is_some())
        };
        let whole = sets;
        let Some((first, others)) = whole.split_first() else {
            return Ok(Vec::new());
        };
        let mut kept = vec![first.clone()];
        for sets in others.chunks(self.settings.compressors.max(1)) {
            let answers: Vec<_> = std::thread::scope(|scope| {
                let asked: Vec<_> = sets
                    .iter()
                    .map(|set| scope.spawn(move || is_about(set)))
                    .collect();
                let answers = asked.into_iter().map(std::thread::ScopedJoinHandle::join);
                answers.collect()
            });
            for (set, answer) in sets.iter().zip(answers) {
                match answer.map_err(|_| Error::Worker)? {
                    Ok(true) => kept.push(set.clone()),
                    Ok(false) => {}
                    Err(_) => return Ok(whole.to_vec()),
                }
            }
        }
        Ok(kept)
    }

    /// What a set changes of what is `wanted` and below.
    fn changes(&self, set: &BackupSet, wanted: &[TreePath]) -> Result<Changes, Error> {
        let object = set
            .signatures
            .as_ref()
            .map_or_else(|| set.kind.to_string(), |file| file.object.clone());
        Ok(Changes {
            tar: TarReader::new(self.signatures(set)?),
            object,
            wanted: wanted.to_vec(),
            last: None,
            failed: false,
        })
    }
}

impl Iterator for Listing {
    type Item = Result<Listed, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut least: Option<TreePath> = None;
            for set in &mut self.sets {
                match set.peek() {
                    Some(Ok((path, _))) if least.as_ref().is_none_or(|least| path < least) => {
                        least = Some(path.clone());
                    }
                    Some(Err(_)) => return set.next()?.err().map(Err),
                    _ => {}
                }
            }
            let least = least?;
            let mut newest = None;
            for set in &mut self.sets {
                if let Some(Ok((_, listed))) =
                    set.next_if(|change| matches!(change, Ok((path, _)) if *path == least))
                {
                    newest = listed;
                }
            }
            if let Some(listed) = newest {
                return Some(Ok(*listed));
            }
        }
    }
}

/// The objects of an archive at one moment, in order: from the signatures, and where those are
/// missing or damaged, from the volumes.
///
/// Files that come from the volumes have no fingerprint. Two walks over the same sets give the same.
pub struct Objects {
    archive: Archive,
    sets: Vec<BackupSet>,
    wanted: Vec<TreePath>,
    listing: Option<Listing>,
    volumes: Option<Box<Snapshot>>,
    /// Why the signatures are of no use.
    failure: Option<Error>,
    last: Option<TreePath>,
    /// What the volumes hold that cannot be restored.
    problems: Vec<Problem>,
}

impl Archive {
    /// The objects that `sets` restore at `wanted` and below.
    ///
    /// # Errors
    ///
    /// When the store says no. Damaged signatures are no error: see [`Objects`].
    pub fn objects(&self, sets: &[BackupSet], wanted: &[TreePath]) -> Result<Objects, Error> {
        let mut objects = Objects {
            archive: self.clone(),
            sets: sets.to_vec(),
            wanted: wanted.to_vec(),
            listing: None,
            volumes: None,
            failure: None,
            last: None,
            problems: Vec::new(),
        };
        match self.listing_of(sets, wanted) {
            Ok(listing) => objects.listing = Some(listing),
            Err(error) => objects.fall_back(error)?,
        }
        Ok(objects)
    }
}

/// Where a path stands.
enum Among {
    /// It is wanted, or below what is.
    Them,
    /// What is wanted may come.
    Before,
    /// Nothing that is wanted comes any more.
    Behind,
}

fn place_among(wanted: &[TreePath], path: &TreePath) -> Among {
    if wanted.iter().any(|wanted| path.starts_with(wanted)) {
        Among::Them
    } else if wanted.iter().any(|wanted| path < wanted) {
        Among::Before
    } else {
        Among::Behind
    }
}

impl Objects {
    /// What cannot be restored, as far as it was met: only volumes tell.
    pub fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// Whether the volumes are read, because signatures are missing or damaged.
    #[must_use]
    pub fn is_from_volumes(&self) -> bool {
        self.volumes.is_some()
    }

    fn fall_back(&mut self, error: Error) -> Result<(), Error> {
        let is_lost = match &error {
            Error::Signatures { .. } | Error::Damaged { .. } | Error::Open { .. } => true,
            Error::Store(error) => error.kind == store::ErrorKind::NotFound,
            _ => false,
        };
        if !is_lost {
            return Err(error);
        }
        self.listing = None;
        self.volumes = Some(Box::new(
            self.archive.snapshot_of(&self.sets, &self.wanted)?,
        ));
        self.failure = Some(error);
        Ok(())
    }

    fn next_of_volumes(&mut self) -> Result<Option<Listed>, Error> {
        let Some(volumes) = &mut self.volumes else {
            return Ok(None);
        };
        while let Some(item) = volumes.next()? {
            let mut entry = match item {
                Item::Object(entry) => entry,
                Item::Problem(problem) => {
                    self.problems.push(problem);
                    continue;
                }
            };
            if self.last.as_ref().is_some_and(|last| entry.path <= *last) {
                continue;
            }
            if entry.is_file() {
                // Content that cannot be read is found out by who reads it for good.
                entry.size = std::io::copy(&mut **volumes, &mut std::io::sink()).unwrap_or(0);
            }
            self.failure = None;
            return Ok(Some(Listed {
                entry,
                fingerprint: None,
                block_length: 0,
            }));
        }
        // Neither the signatures nor a single volume could be read: the first reason counts.
        match self.failure.take() {
            Some(error) if !self.problems.is_empty() => Err(error),
            _ => Ok(None),
        }
    }
}

impl Iterator for Objects {
    type Item = Result<Listed, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(listing) = &mut self.listing {
            match listing.next()? {
                Ok(listed) => {
                    self.last = Some(listed.entry.path.clone());
                    return Some(Ok(listed));
                }
                Err(error) => {
                    if let Err(error) = self.fall_back(error) {
                        self.listing = None;
                        return Some(Err(error));
                    }
                }
            }
        }
        self.next_of_volumes().transpose()
    }
}

/// What one set's signature file changes, in order; `None` for what is gone.
struct Changes {
    tar: TarReader<Box<dyn BufRead + Send>>,
    object: String,
    /// What is looked at: these paths and all below them.
    wanted: Vec<TreePath>,
    last: Option<TreePath>,
    failed: bool,
}

type Change = (TreePath, Option<Box<Listed>>);

impl Iterator for Changes {
    type Item = Result<Change, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let change = self.change().transpose()?;
        let change = change.map_err(|what| Error::Signatures {
            object: self.object.clone(),
            what,
        });
        self.failed = change.is_err();
        Some(change)
    }
}

impl Changes {
    fn change(&mut self) -> Result<Option<Change>, String> {
        loop {
            let Some(header) = self.tar.next().map_err(|error| error.to_string())? else {
                return Ok(None);
            };
            let name = MemberName::parse(&header.name).map_err(|error| error.to_string())?;
            match self
                .last
                .as_ref()
                .map_or(Ordering::Greater, |last| name.path.cmp(last))
            {
                Ordering::Greater => {}
                // Old versions could leave a second root behind a restart.
                _ if name.path.is_root() => continue,
                _ => return Err(format!("{} is out of order", name.path)),
            }
            self.last = Some(name.path.clone());
            match place_among(&self.wanted, &name.path) {
                Among::Them => {}
                Among::Before => continue,
                Among::Behind => return Ok(None),
            }
            if name.kind == MemberKind::Deleted {
                return Ok(Some((name.path, None)));
            }
            let mut entry =
                entry_of(name.path.clone(), &header).map_err(|error| error.to_string())?;
            let (mut fingerprint, mut block_length) = (None, 0);
            if name.kind == MemberKind::Signature {
                let (made, length) = self.fingerprint(&mut entry, &header)?;
                (fingerprint, block_length) = (Some(made), length);
            }
            return Ok(Some((
                name.path,
                Some(Box::new(Listed {
                    entry,
                    fingerprint,
                    block_length,
                })),
            )));
        }
    }

    fn fingerprint(
        &mut self,
        entry: &mut Entry,
        header: &TarHeader,
    ) -> Result<([u8; 16], u32), String> {
        let mut hash = Sha1::new();
        let mut head = Vec::with_capacity(12);
        let mut data = self.tar.data();
        let mut read = || -> std::io::Result<u64> {
            data.by_ref().take(12).read_to_end(&mut head)?;
            hash.update(&head);
            let mut buffer = [0; 4096];
            let mut size = 0;
            loop {
                let count = data.read(&mut buffer)?;
                if count == 0 {
                    return Ok(size);
                }
                size += count as u64;
                hash.update(buffer.get(..count).unwrap_or_default());
            }
        };
        let size = read().map_err(|error| error.to_string())?;
        let word = |at: usize| {
            head.get(at..at + 4)
                .and_then(|bytes| bytes.try_into().ok())
                .map_or(0, u32::from_be_bytes)
        };
        let blocks = size / (4 + u64::from(word(8)));
        entry.size = noted_size(header, blocks, word(4).into());
        let digest: [u8; 20] = hash.finalize().into();
        Ok((digest.first_chunk().copied().unwrap_or_default(), word(4)))
    }
}
