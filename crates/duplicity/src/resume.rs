//! Going on with a full set that was cut off.
//!
//! While a full set is made, the archive directory keeps a manifest of the volumes that were handed
//! to the store: `….manifest.part`, which the stock program writes and reads, too. The next full
//! backup reads those volumes back, up to the first that is not there as it was made, and removes
//! what is behind them. It makes the signatures of what it has read, so what a set says of an object
//! is true of the bytes in its volumes. Then it goes on with the source behind their end.
//!
//! Nothing before that end is read from the source again. What is new, changed or gone there since
//! then differs from the signatures: the next increment brings it. That one reads those files once
//! more, as nothing was noted of their inodes. A file that lies in the last
//! of those volumes in part goes on only when the bytes before are still the same; else the volumes
//! with it are given up ([`Error::Seam`]), before anything was written behind them.
//!
//! The part goes before the manifest is stored, and a volume stands in it before it is in the
//! store. So a part speaks of an unfinished set only, and what it speaks of is compared with its
//! hash. Killed anywhere, a set is gone on with or made anew.
//!
//! Increments are made anew: no signature comes out of a delta alone.

use std::io::{self, BufReader, Read, Write};

use store::{Digest, DigestKind, Hasher};
use tree::{Entry, TreePath};

use crate::archive::{Archive, Protection};
use crate::backup::BLOCK;
use crate::collection::{BackupSet, Collection};
use crate::error::Error;
use crate::librsync::{SignatureWriter, block_length};
use crate::manifest::{Manifest, VolumeInfo};
use crate::member::{MemberKind, MemberName, entry_of, note_size};
use crate::name::{FileName, Part, SetKind, Suffix};
use crate::openpgp::OpenError;
use crate::read_ahead;
use crate::retention::RemovalPlan;
use crate::tar::{TarHeader, TarReader};

/// Content of a file up to this size is kept until its size, and so the length of its signature's
/// blocks, is known.
const WAITING_MAX: usize = 1 << 20;

/// Gets an object, the header of its member and its signature.
type TakeObject<'a> = dyn FnMut(&Entry, TarHeader, &[u8]) -> Result<(), Error> + 'a;

/// A set that was cut off and can be gone on with.
pub(crate) struct Begun {
    /// What the store has of it.
    pub(crate) files: BackupSet,
    /// Its volumes, as the part of a manifest has them: numbered from 1, each with a hash.
    volumes: Vec<VolumeInfo>,
}

/// What the volumes hold that were read back.
pub(crate) struct ReadBack {
    /// The volumes.
    pub(crate) volumes: Vec<VolumeInfo>,
    /// The last object that they hold whole.
    last: Option<TreePath>,
    /// The file that begins in them and does not end there.
    pub(crate) seam: Option<Seam>,
}

/// Where a file goes on that lies in part in volumes that were read back.
pub(crate) struct Seam {
    pub(crate) path: TreePath,
    /// The header of its members.
    header: TarHeader,
    /// Members that are there.
    blocks: u64,
    /// Of their content.
    digest: Digest,
    /// Of what the source has now.
    now: Hasher,
    /// Members of it.
    compared: u64,
    /// Whether all of them have been compared, and are the same.
    holds: bool,
}

/// Whether a file may be the one of which the beginning is there.
pub(crate) enum Compared {
    /// So far it is.
    Same,
    /// It is another one.
    Other,
}

impl Seam {
    /// Whether a file with this header may be the same.
    pub(crate) fn is_of(&self, header: &TarHeader) -> bool {
        let facts = |header: &TarHeader| {
            let owner = (header.uid, header.gid);
            let names = (header.user.clone(), header.group.clone());
            (header.kind, header.mode, header.mtime, owner, names)
        };
        facts(header) == facts(&self.header)
    }

    /// Takes the next member of the file as it is now, of those that are there.
    pub(crate) fn compare(&mut self, data: &[u8], is_last: bool) -> Compared {
        self.now.update(data);
        self.compared += 1;
        if self.compared < self.blocks && !is_last {
            return Compared::Same;
        }
        let now = std::mem::replace(&mut self.now, Hasher::new(DigestKind::Sha256));
        self.holds = self.compared == self.blocks && !is_last && now.finish() == self.digest;
        match self.holds {
            true => Compared::Same,
            false => Compared::Other,
        }
    }

    /// Whether all of what is there was compared, and is the same: the file goes on.
    pub(crate) fn holds(&self) -> bool {
        self.holds
    }
}

/// How far the volumes go that were read back.
#[derive(Clone)]
pub(crate) struct Reach {
    last: Option<TreePath>,
    seam: Option<TreePath>,
}

impl Reach {
    /// Whether nothing of `path` is written any more: its place in the order is before their end.
    pub(crate) fn covers(&self, path: &TreePath) -> bool {
        Some(path) <= self.last.as_ref() || self.seam.as_ref().is_some_and(|seam| path < seam)
    }
}

impl ReadBack {
    /// How far they go.
    pub(crate) fn reach(&self) -> Reach {
        Reach {
            last: self.last.clone(),
            seam: self.seam.as_ref().map(|seam| seam.path.clone()),
        }
    }
}

impl Archive {
    /// Whether the set is one that is gone on with when it is cut off.
    ///
    /// To which keys a volume is encrypted, only its own packets say: the set might be in part for
    /// keys of another time.
    pub(crate) fn is_resumed(&self, set: SetKind) -> bool {
        let settings = &self.settings;
        settings.resume && set.is_full() && !matches!(settings.protection, Protection::Gpg(_))
    }

    /// The full set to go on with: the newest of all sets, of this machine and folder.
    pub(crate) fn begun(&self, collection: &Collection) -> Option<Begun> {
        let others = collection.times().last().copied();
        let headless: Vec<SetKind> = collection.headless().map(|set| set.kind).collect();
        let files = collection.incomplete.iter().rfind(|set| {
            self.is_resumed(set.kind)
                && set.manifest.is_none()
                && Some(set.end()) > others
                && !headless.contains(&set.kind)
                && self.local_manifest(set).is_none()
        })?;
        let path = self.local_path(&part_of(files.kind))?;
        let part = Manifest::parse_part(&std::fs::read(path).ok()?);
        let settings = &self.settings;
        let is_here = part.host.as_ref().is_none_or(|host| *host == settings.host)
            && part.local_dir.as_ref() == Some(&settings.local_dir);
        let suffix = self.suffix_of(Part::Volume { number: 1 });
        let is_good = |(number, info): &(u32, &VolumeInfo)| {
            let file = files.volumes.get(number);
            info.number == *number
                && info.hash().is_some()
                && file.is_some_and(|file| file.name.suffix == suffix)
        };
        let volumes: Vec<VolumeInfo> = (1..)
            .zip(&part.volumes)
            .take_while(is_good)
            .map(|(_, info)| info.clone())
            .collect();
        (is_here && !volumes.is_empty()).then(|| Begun {
            files: files.clone(),
            volumes,
        })
    }

    /// Reads the volumes of a set that was cut off; `take` gets each object that is whole, with its
    /// header and its signature. `None` when nothing can be gone on with, whatever `take` has got.
    ///
    /// # Errors
    ///
    /// Those of `take`, and [`Error::Store`] when the store cannot be asked now. [`Error::Open`] when
    /// the passphrase is another one: it may be mistyped, and a set would be thrown away.
    pub(crate) fn read_back(
        &self,
        begun: &Begun,
        take: &mut TakeObject<'_>,
    ) -> Result<Option<ReadBack>, Error> {
        let mut back = ReadBack {
            volumes: Vec::new(),
            last: None,
            seam: None,
        };
        let mut file: Option<Growing> = None;
        for info in &begun.volumes {
            let Some(stored) = begun.files.volumes.get(&info.number) else {
                break;
            };
            let spool = match self.fetch(stored, info.hash()) {
                Ok(spool) => spool,
                Err(Error::Store(error)) if error.is_passing() => return Err(error.into()),
                Err(_) => break,
            };
            let plain = match self.unwrap(stored, spool) {
                Ok(plain) => plain,
                Err(error @ Error::Open { .. }) => return Err(error),
                Err(_) => break,
            };
            let plain = BufReader::with_capacity(read_ahead::BLOCK, plain);
            let expected = begun.blocks_of(&info.end.path).max(stored.size);
            let mut tar = TarReader::new(plain);
            loop {
                let header = match tar.next() {
                    Ok(Some(header)) => header,
                    Ok(None) => break,
                    // Its hash is right. To a wrong passphrase it may open all the same, as rubbish.
                    Err(error) if stored.name.suffix.is_encrypted() => {
                        let object = stored.object.clone();
                        let source = OpenError::Passphrase(io::Error::other(error).into());
                        return Err(Error::Open { object, source });
                    }
                    // This is not what we or the stock program write.
                    Err(_) => return Ok(None),
                };
                let Ok(name) = MemberName::parse(&header.name) else {
                    return Ok(None);
                };
                if name.kind != MemberKind::Snapshot {
                    return Ok(None);
                }
                let is_next = match (&file, name.block) {
                    (None, None | Some(1)) => true,
                    (Some(file), Some(number)) => {
                        file.path == name.path && file.blocks + 1 == number
                    }
                    _ => false,
                };
                let Ok(mut entry) = entry_of(name.path.clone(), &header) else {
                    return Ok(None);
                };
                if !is_next || (name.block.is_some() && !entry.is_file()) {
                    return Ok(None);
                }
                let mut signature = Vec::new();
                let mut header = header;
                if entry.is_file() {
                    let is_last = name.block.is_none() || header.size < BLOCK as u64;
                    let mut growing = file
                        .take()
                        .unwrap_or_else(|| Growing::new(name.path, header, expected));
                    if growing.push(&mut tar.data()).is_err() {
                        return Ok(None);
                    }
                    if !is_last {
                        file = Some(growing);
                        continue;
                    }
                    entry.size = growing.size;
                    (header, signature) = growing.finish();
                }
                back.last = Some(entry.path.clone());
                match take(&entry, header, &signature) {
                    Err(Error::Order) => return Ok(None),
                    taken => taken?,
                }
            }
            back.volumes.push(info.clone());
        }
        if back.volumes.is_empty() {
            return Ok(None);
        }
        back.seam = file.map(Growing::into_seam);
        Ok(Some(back))
    }

    /// Removes what the store has of a set behind the volumes that were read back. Says whether
    /// it is gone: files of one set that are not in its manifest are damage.
    pub(crate) fn remove_rest(&self, begun: &Begun, back: &ReadBack) -> Result<bool, Error> {
        let is_kept = |file: &&crate::collection::StoredFile| {
            let Part::Volume { number } = file.name.part else {
                return false;
            };
            back.volumes.iter().any(|info| info.number == number)
        };
        let plan = RemovalPlan {
            files: begun
                .files
                .files()
                .filter(|file| !is_kept(file))
                .cloned()
                .collect(),
            ..RemovalPlan::default()
        };
        match self.remove_files(&plan) {
            // Keys that may add and not delete are a protection.
            Err(Error::Store(error)) if error.kind == store::ErrorKind::Denied => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    /// Begins the part of a manifest with the volumes that were read back.
    pub(crate) fn begin_part(&self, set: SetKind, volumes: Vec<VolumeInfo>) {
        let part = self.part_with(volumes);
        self.keep(&part_of(set), |out| out.write_all(&part.to_bytes()));
    }

    fn part_with(&self, volumes: Vec<VolumeInfo>) -> Manifest {
        Manifest {
            host: Some(self.settings.host.clone()).filter(|host| !host.is_empty()),
            local_dir: Some(self.settings.local_dir.clone()),
            volumes,
            files: None,
        }
    }

    /// Writes down that a volume is on its way to the store. That it fails is no error: then the set
    /// is made anew.
    pub(crate) fn note_volume(&self, set: SetKind, info: &VolumeInfo) {
        let Some(path) = self.local_path(&part_of(set)) else {
            return;
        };
        if info.number == 1 {
            return self.begin_part(set, vec![info.clone()]);
        }
        let volume = Manifest {
            volumes: vec![info.clone()],
            ..Manifest::default()
        };
        let file = std::fs::OpenOptions::new().append(true).open(path);
        let _ = file.and_then(|mut file| {
            file.write_all(&volume.to_bytes())?;
            file.sync_data()
        });
    }

    /// Takes the volumes with `path`, and those behind, out of the part of a manifest.
    pub(crate) fn cut_part(&self, set: SetKind, volumes: &[VolumeInfo], path: &TreePath) {
        let is_before = |info: &&VolumeInfo| info.end.path < *path;
        let before: Vec<VolumeInfo> = volumes.iter().take_while(is_before).cloned().collect();
        if before.is_empty() {
            self.remove_part(set);
        } else {
            self.begin_part(set, before);
        }
    }

    /// Whether the next run may go on with a set.
    pub(crate) fn has_part(&self, set: SetKind) -> bool {
        let path = self.local_path(&part_of(set));
        self.is_resumed(set) && path.is_some_and(|path| path.exists())
    }

    /// Nobody goes on with a set.
    pub(crate) fn remove_part(&self, set: SetKind) {
        if let Some(path) = self.local_path(&part_of(set)) {
            // What cannot be removed speaks of a set that is complete: nobody looks at it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Begun {
    /// Bytes of a file that are in whole members, as far as the part says.
    fn blocks_of(&self, path: &TreePath) -> u64 {
        let ends = self.volumes.iter().map(|info| &info.end);
        let blocks = ends.filter_map(|end| end.block.filter(|_| end.path == *path));
        blocks.max().unwrap_or(0).saturating_mul(BLOCK as u64)
    }
}

/// The part of a manifest in the archive directory.
fn part_of(set: SetKind) -> FileName {
    FileName {
        set,
        part: Part::Manifest,
        suffix: Suffix::Plain,
        partial: true,
    }
}

/// A file whose members are being read.
struct Growing {
    path: TreePath,
    header: TarHeader,
    /// Members so far.
    blocks: u64,
    size: u64,
    hasher: Hasher,
    /// Content that waits for the size.
    waiting: Vec<u8>,
    signer: Option<SignatureWriter>,
    signature: Vec<u8>,
    /// What the size may be about, where it is not known when it has to be.
    expected: u64,
}

impl Growing {
    fn new(path: TreePath, header: TarHeader, expected: u64) -> Self {
        Self {
            path,
            header,
            blocks: 0,
            size: 0,
            hasher: Hasher::new(DigestKind::Sha256),
            waiting: Vec::new(),
            signer: None,
            signature: Vec::new(),
            expected,
        }
    }

    /// Takes the next member.
    fn push(&mut self, data: &mut impl Read) -> io::Result<()> {
        self.blocks += 1;
        let mut buffer = vec![0; BLOCK];
        loop {
            let count = data.read(&mut buffer)?;
            let piece = buffer.get(..count).unwrap_or_default();
            if piece.is_empty() {
                return Ok(());
            }
            self.size += count as u64;
            self.hasher.update(piece);
            if self.signer.is_none() && self.waiting.len() + count > WAITING_MAX {
                self.sign(self.expected);
            }
            match &mut self.signer {
                Some(signer) => signer.push(piece, &mut self.signature),
                None => self.waiting.extend_from_slice(piece),
            }
        }
    }

    /// Signs what has waited, as a file of this size.
    fn sign(&mut self, size: u64) {
        let mut signer = SignatureWriter::new(block_length(size), &mut self.signature);
        signer.push(&std::mem::take(&mut self.waiting), &mut self.signature);
        self.signer = Some(signer);
    }

    /// The header of the file and its signature.
    fn finish(mut self) -> (TarHeader, Vec<u8>) {
        if self.signer.is_none() {
            self.sign(self.size);
        }
        if let Some(signer) = self.signer.take() {
            signer.finish(&mut self.signature);
        }
        note_size(&mut self.header, self.size);
        (self.header, self.signature)
    }

    fn into_seam(self) -> Seam {
        Seam {
            path: self.path,
            header: self.header,
            blocks: self.blocks,
            digest: self.hasher.finish(),
            now: Hasher::new(DigestKind::Sha256),
            compared: 0,
            holds: false,
        }
    }
}
