//! A new full set made of a chain, without the source: so a long chain can end, and the old one
//! can go, although nobody reads all files again.
//!
//! A volume of the old full set in whose range no increment says anything is taken over as it is:
//! its hash is compared, and the store copies it, where it can. Everything else comes out of the
//! chain as a restore would bring it, is compared with the kept signatures, and goes into new
//! volumes. A file at the edge between the two is read whole, and its blocks that are not in a
//! volume that was taken over are written: the numbers of the blocks go on.
//!
//! The result is an ordinary full set, whose manifest is written last. If anything of the chain
//! cannot be put together, no set is made: a full set stands for itself, and would hide what is
//! missing. The chain is left as it is.
//!
//! The new set is dated one second after the state that it holds, as two sets of one second are
//! told apart by nobody.

use std::io::{BufRead, Read};
use std::ops::ControlFlow;
use std::sync::Arc;

use store::{Digest, ErrorKind, Operation};
use tree::{Block, Body, Ending, Entry, Step, TreePath};

use crate::archive::{Archive, Protection};
use crate::backup::{self, CopiedPart, Intake, Summary, Wanted};
use crate::base::{SIGNATURE_SIZE_MAX, Stats};
use crate::collection::{Chain, StoredFile};
use crate::error::Error;
use crate::listing::Listed;
use crate::manifest::{Hash, Position, VolumeInfo};
use crate::member::MemberName;
use crate::name::{Part, SetKind};
use crate::restore::{Checker, Proof};
use crate::snapshot::{Item, Snapshot};
use crate::tar::{TarHeader, TarReader};
use crate::time::SetTime;

/// How much of a file is handed on at a time.
const BLOCK: usize = 128 << 10;

/// Bytes of a member of a file that comes in several.
const MEMBER: u64 = backup::BLOCK as u64;

impl Archive {
    /// Makes a full set of the newest state of the chain that increments are added to. `None` when
    /// that is a full set already.
    ///
    /// `on_bytes` hears how many bytes of content were read since it was last called, and ends it
    /// by breaking: then no set is made, as after an error.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written, or [`Error::Damaged`] when the chain does not
    /// restore what was backed up.
    pub fn synthesize(
        &self,
        now: SetTime,
        on_bytes: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<Option<(SetKind, Summary)>, Error> {
        let collection = self.collection(now)?;
        let Some(chain) = collection.active().filter(|chain| chain.sets.len() > 1) else {
            return Ok(None);
        };
        let last = chain.sets.last().unwrap_or(chain.full());
        let manifest = self.manifest(last)?;
        let mut settings = (*self.settings).clone();
        settings.host = manifest.host.unwrap_or_default();
        settings.local_dir = manifest.local_dir.unwrap_or_default();
        // What it is made of is in the store: it is made anew in no time.
        settings.resume = false;
        let archive = Self {
            settings: settings.into(),
            ..self.clone()
        };
        let known = Stats::bytes_of(&archive, last.end());
        let mut volumes = archive.volumes(chain)?;
        let made = loop {
            match archive.make_full(chain, &volumes, on_bytes) {
                // Not every server copies that says so.
                Err(Error::Store(error)) if is_no_copy(&error) && !volumes.is_empty() => {
                    volumes.clear();
                }
                made => break made?,
            }
        };
        if let Some(bytes) = known {
            // The source is still what it was when the last set was made.
            Stats::put(&archive, made.0.end(), &bytes);
        }
        Ok(Some(made))
    }

    /// Makes the set; those of the old volumes that stay are taken over.
    fn make_full(
        &self,
        chain: &Chain,
        volumes: &[OldVolume],
        on_bytes: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(SetKind, Summary), Error> {
        let intake = self.begin(Wanted::Full, chain.end())?;
        // Nobody has added a set in between: that would be older than what is made of this one.
        let again = self.collection(chain.end())?;
        if again.active().map(Chain::end) != Some(chain.end()) {
            return Err(Error::Locked);
        }
        for volume in volumes.iter().filter(|volume| volume.stays) {
            self.check_hash(volume)?;
        }
        let set = intake.set();
        let mut objects = self.objects(&chain.sets, &[TreePath::root()])?;
        let root = [TreePath::root()];
        let full = chain.full().kind;
        let mut snapshot = self.snapshot_without(&chain.sets, &root, &|set, number| {
            let of_full = |volume: &&OldVolume| set == full && volume.info.number == number;
            let volume = volumes.iter().find(of_full);
            volume.is_some_and(|volume| volume.stays && !volume.has_edge)
        })?;
        let mut signatures = match volumes.iter().any(|volume| volume.stays) {
            true => Some(TarReader::new(self.signatures(chain.full())?)),
            false => None,
        };
        // Up to which number volumes were taken over.
        let mut copied = 0;
        let mut ahead = None;
        while let Some(listed) = objects.next().transpose()? {
            let path = &listed.entry.path;
            let (lies_in, stay) = with_path(volumes, path);
            if let Some(tar) = &mut signatures
                && stay > 0
                && stay == lies_in.len()
            {
                for volume in lies_in {
                    if volume.info.number > copied {
                        intake.copy_volume(&volume.info, &volume.file)?;
                        copied = volume.info.number;
                    }
                }
                let (header, signature) = signature_of(tar, path)?;
                intake.take_copied(&listed.entry, header, &signature)?;
                if on_bytes(listed.entry.size).is_break() {
                    return Err(Error::Stopped);
                }
                continue;
            }
            if !listed.entry.is_file() {
                let entry = Arc::new(listed.entry);
                let body = Body::None;
                intake.take(Step::Entry { entry, body })?;
                continue;
            }
            let first_member = find(&mut snapshot, &mut ahead, path)?;
            if stay > 0 {
                if first_member != MEMBER {
                    // The numbers of its blocks would say something else.
                    let refused = store::Error::new(ErrorKind::Unsupported, Operation::Copy);
                    return Err(refused.on(path).into());
                }
                let (parts, last) = parts_of(path, lies_in, copied);
                intake.split(parts);
                copied = last;
            }
            if copy(&mut snapshot, listed, &intake, on_bytes)?.is_break() {
                return Err(Error::Stopped);
            }
        }
        if let Some(problem) = objects.take_problems().pop() {
            return Err(damaged(&TreePath::root(), std::io::Error::other(problem)));
        }
        Ok((set, intake.commit()?))
    }

    /// The volumes of the full set of a chain, and which of them the new set can have; empty when
    /// that is none.
    fn volumes(&self, chain: &Chain) -> Result<Vec<OldVolume>, Error> {
        let full = chain.full();
        // To whom a volume is encrypted, only its own packets say: the keys may have been others.
        let may_have_other_keys = matches!(self.settings.protection, Protection::Gpg(_));
        if may_have_other_keys || !self.store.capabilities().copy {
            return Ok(Vec::new());
        }
        // The passphrase may have been another, too: the manifest in the store tells.
        if full.is_encrypted() && self.remote_manifest(full).is_err() {
            return Ok(Vec::new());
        }
        let mut touched = Vec::new();
        for set in chain.sets.iter().skip(1) {
            match self.paths_of(set) {
                Ok(paths) => touched.extend(paths),
                Err(Error::Store(error)) if error.kind != ErrorKind::NotFound => {
                    return Err(error.into());
                }
                // Then everything comes out of the volumes.
                Err(_) => return Ok(Vec::new()),
            }
        }
        touched.sort();
        let is_touched = |volume: &VolumeInfo| {
            let first = touched.partition_point(|path| *path < volume.start.path);
            touched
                .get(first)
                .is_some_and(|path| *path <= volume.end.path)
        };
        let suffix = self.suffix_of(Part::Volume { number: 1 });
        let mut volumes = Vec::new();
        for info in self.manifest(full)?.volumes {
            let Some(file) = full.volumes.get(&info.number).cloned() else {
                return Ok(Vec::new());
            };
            let can_be_copied = info.hash().is_some()
                && file.name.suffix == suffix
                && file.size <= store::COPY_SIZE_MAX;
            volumes.push(OldVolume {
                stays: can_be_copied && !is_touched(&info),
                has_edge: false,
                info,
                file,
            });
        }
        let edges: Vec<TreePath> = volumes
            .iter()
            .zip(volumes.iter().skip(1))
            .filter(|(one, next)| {
                one.stays != next.stays && one.info.end.path == next.info.start.path
            })
            .map(|(one, _)| one.info.end.path.clone())
            .collect();
        for volume in &mut volumes {
            let is_in =
                |path: &TreePath| (&volume.info.start.path..=&volume.info.end.path).contains(&path);
            volume.has_edge = edges.iter().any(is_in);
        }
        let any_stays = volumes.iter().any(|volume| volume.stays);
        Ok(if any_stays { volumes } else { Vec::new() })
    }

    /// Compares a volume with its hash: by the store's own, or by reading it.
    fn check_hash(&self, volume: &OldVolume) -> Result<(), Error> {
        let hash = volume.info.hash();
        let object = self.store.stat(&self.object(&volume.file.object)?)?;
        if let (Some(Digest::Sha1(theirs)), Some(Hash::Sha1(ours))) = (object.digest, hash)
            && theirs == ours
        {
            return Ok(());
        }
        self.fetch(&volume.file, hash).map(drop)
    }
}

/// A volume of the old full set.
struct OldVolume {
    info: VolumeInfo,
    file: StoredFile,
    /// Whether it is taken over.
    stays: bool,
    /// Whether it has a part of a file that lies in part in volumes that stay.
    has_edge: bool,
}

/// The volumes in which an object of the old set lies, and how many of them stay.
fn with_path<'a>(volumes: &'a [OldVolume], path: &TreePath) -> (&'a [OldVolume], usize) {
    let first = volumes.partition_point(|volume| volume.info.end.path < *path);
    let end = volumes.partition_point(|volume| volume.info.start.path <= *path);
    let lies_in = volumes.get(first..end).unwrap_or_default();
    let stay = lies_in.iter().filter(|volume| volume.stays).count();
    (lies_in, stay)
}

/// The blocks of a file that lie in volumes that stay, and the number of the last such volume.
fn parts_of(path: &TreePath, lies_in: &[OldVolume], copied: u32) -> (Vec<CopiedPart>, u32) {
    let mut last = copied;
    let part = |volume: &OldVolume| {
        let info = &volume.info;
        let block_of = |position: &Position| position.block.filter(|_| position.path == *path);
        let blocks = block_of(&info.start).unwrap_or(1)..=block_of(&info.end).unwrap_or(u64::MAX);
        let is_new = info.number > copied;
        last = last.max(info.number);
        CopiedPart {
            blocks,
            volume: is_new.then(|| (info.clone(), volume.file.clone())),
        }
    };
    let stay = lies_in.iter().filter(|volume| volume.stays);
    let parts = stay.map(part).collect();
    (parts, last)
}

fn is_no_copy(error: &store::Error) -> bool {
    error.kind == ErrorKind::Unsupported && error.operation == Operation::Copy
}

/// Moves on to the member of a signature file about `path`.
fn signature_of(
    tar: &mut TarReader<Box<dyn BufRead + Send>>,
    path: &TreePath,
) -> Result<(TarHeader, Vec<u8>), Error> {
    let failed =
        |what: Box<dyn std::error::Error + Send + Sync>| damaged(path, std::io::Error::other(what));
    while let Some(header) = tar.next().map_err(|error| failed(error.into()))? {
        let name = MemberName::parse(&header.name).map_err(|error| failed(error.into()))?;
        if name.path == *path {
            let mut bytes = Vec::new();
            let read = tar.data().take(SIGNATURE_SIZE_MAX).read_to_end(&mut bytes);
            read.map_err(|error| failed(error.into()))?;
            return Ok((header, bytes));
        }
    }
    Err(failed("it has no signature".into()))
}

/// Moves on to the content of `path`; gives the size of its first member.
fn find(snapshot: &mut Snapshot, ahead: &mut Option<Entry>, path: &TreePath) -> Result<u64, Error> {
    loop {
        match ahead {
            Some(at) if at.path == *path => return Ok(at.size),
            Some(at) if at.path > *path => {
                return Err(damaged(path, std::io::Error::other("it is in no volume")));
            }
            _ => {}
        }
        match snapshot.next()? {
            Some(Item::Object(entry)) => *ahead = Some(entry),
            Some(Item::Problem(problem)) => {
                return Err(damaged(path, std::io::Error::other(problem)));
            }
            None => return Err(damaged(path, std::io::Error::other("it is in no volume"))),
        }
    }
}

fn damaged(path: &TreePath, source: std::io::Error) -> Error {
    Error::Damaged {
        object: path.to_string(),
        source,
    }
}

/// Hands a file on. Its last byte is compared before anything of the set counts.
fn copy(
    snapshot: &mut Snapshot,
    listed: Listed,
    intake: &Intake,
    on_bytes: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<ControlFlow<()>, Error> {
    let path = listed.entry.path.clone();
    let mut check = Checker::new(&Proof {
        fingerprint: listed.fingerprint,
        block_length: listed.block_length,
    });
    let entry: Arc<Entry> = Arc::new(listed.entry);
    let body = Body::Blocks;
    intake.take(Step::Entry { entry, body })?;
    loop {
        let mut bytes = vec![0; BLOCK];
        let mut size = 0;
        while let Some(room) = bytes.get_mut(size..).filter(|room| !room.is_empty()) {
            match snapshot.read(room).map_err(|error| damaged(&path, error))? {
                0 => break,
                count => size += count,
            }
        }
        if size == 0 {
            break;
        }
        bytes.truncate(size);
        check.push(&bytes);
        intake.take(Step::Data(Block::new(bytes)))?;
        if on_bytes(size as u64).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if !check.ends_right() {
        let what = std::io::Error::other("the content is not what was backed up");
        return Err(damaged(&path, what));
    }
    intake.take(Step::End(Ending::Complete))?;
    Ok(ControlFlow::Continue(()))
}
