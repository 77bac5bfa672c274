//! Making a set: steps of a scan go in, volumes, signatures and a manifest come out.
//!
//! Order of writing: volumes, then signatures, then the manifest, whose presence makes the set
//! count. Cut off anywhere before that, the store holds files of an unfinished set, which no
//! restore of ours looks at and the next run of this machine removes before it writes anything,
//! or goes on with where that is wanted: see `resume.rs`. A run that is stopped removes them itself: for
//! the stock program an unfinished set that is newer stands before the latest. The archive directory
//! gets its copy of the manifest last: it is there of finished sets only, so that one that the store
//! has lost can be put back.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::TryLockError;
use std::io::Read;
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use store::Name;
use tree::{Body, Ending, Entry, Problem, Step, TreePath};

use crate::archive::{Archive, Protection};
use crate::base::{Base, BaseKind, Signatures, Stats};
use crate::collection::{BackupSet, Chain, Collection, StoredFile};
use crate::error::Error;
use crate::librsync::{
    Command, DeltaReader, DeltaWriter, Signature, SignatureWriter, block_length,
};
use crate::manifest::{Change, ChangedFile, Hash, Manifest, Position, VolumeInfo};
use crate::member::{MemberKind, MemberName, header_of, note_size};
use crate::name::{FileName, Part, SetKind, Suffix};
use crate::resume::{Begun, Compared, Reach, ReadBack, Seam};
use crate::retention::RemovalPlan;
use crate::spool::Spool;
use crate::tar::{TarHeader, TarKind, padding, write_end, write_header};
use crate::time::SetTime;
use crate::volume::{Abort, Encoded, Pool, Stream, Uploads, seal_deflated, seal_plain};

/// Data of a file is cut into members of so many bytes. Duplicity's resume depends on it.
pub(crate) const BLOCK: usize = 64 << 10;

/// A volume ends when it is this near to its target, as gzip's and gpg's trailers need room.
const SLACK: u64 = 50 << 10;

/// A delta of an unchanged file is at most a copy and its coordinates.
const IDENTITY_MAX: usize = 4 + 1 + 16 + 1;

/// Keys that are made before they are needed: those of the files that each set has.
const KEYS_AHEAD: usize = 3;

/// What kind of set is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// A full set.
    Full,
    /// An increment on the newest chain; a full set where there is none that can take one.
    Increment,
}

/// What a set that was made holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Regular files in the source, changed or not.
    pub files: u64,
    /// Bytes of content of those.
    pub bytes: u64,
    /// Objects that are new or changed.
    pub changed: u64,
    /// Objects that are gone.
    pub deleted: u64,
    /// Bytes written to the store.
    pub stored_bytes: u64,
    /// Volumes of the set.
    pub volumes: u32,
    /// Those of them that the store has copied from an earlier set.
    pub copied_volumes: u32,
    /// Bytes of those.
    pub copied_bytes: u64,
    /// Bytes of content and of deltas that went into the volumes, before compression.
    pub raw_bytes: u64,
    /// Those of deltas.
    pub delta_bytes: u64,
    /// Objects that the scan reported as unreadable or as changing while they were read.
    pub incomplete: u64,
    /// Further names of files whose content did not come with their first name: not in the set.
    pub left_out: Vec<TreePath>,
}

/// Takes in one set.
///
/// Shared with the threads that read ahead, which ask [`wants`](Self::wants); one thread at a time
/// calls [`take`](Self::take), in scan order. Dropped without a commit it removes what it has
/// stored; what stays, when the store cannot be reached, the next run removes.
pub struct Intake {
    archive: Archive,
    set: SetKind,
    base: Option<Arc<Base>>,
    given_up: Vec<SetKind>,
    /// What is in the set already, if one that was cut off is gone on with.
    reach: Option<Reach>,
    // Dropped in this order: the uploads end, what they have stored goes, others may begin.
    writer: Mutex<Writer>,
    leftovers: Leftovers,
    lock: Option<Lock>,
}

/// Files of a set that is not finished. Dropped, it removes them from the store.
struct Leftovers {
    archive: Archive,
    set: SetKind,
    stay: AtomicBool,
}

impl Leftovers {
    /// They are the next run's, or of a set that is finished.
    fn leave(&self) {
        self.stay.store(true, Ordering::Relaxed);
    }

    /// Where the store cannot be reached, it would be waited for in vain.
    fn heed(&self, error: &Error) {
        if matches!(error, Error::Store(error) if error.is_passing()) {
            self.leave();
        }
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        if *self.stay.get_mut() || self.archive.has_part(self.set) {
            return;
        }
        let Ok(collection) = self.archive.collection(self.set.end()) else {
            return;
        };
        let sets = collection.incomplete.into_iter();
        let sets = sets.chain(collection.orphan_signatures);
        let plan = RemovalPlan {
            sets: sets.filter(|set| set.kind == self.set).collect(),
            ..RemovalPlan::default()
        };
        // If it fails, the next run does it.
        let _ = self.archive.remove_files(&plan);
    }
}

/// Hears of every object that is new, changed or gone, with its bytes of content.
pub type ChangeListener = Arc<dyn Fn(Change, &TreePath, u64) + Send + Sync>;

impl Archive {
    /// Begins a set. What an earlier one of this machine that was cut off has left is removed first,
    /// so that a store that it has filled does not stay full; or it is gone on with, where
    /// [`Settings::resume`](crate::Settings::resume) says so. What another program may be writing stays
    /// for a day.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or another run of this machine is writing:
    /// [`Error::Locked`]. That a chain is damaged is none: see [`Intake::given_up`].
    pub fn begin(&self, wanted: Wanted, now: SetTime) -> Result<Intake, Error> {
        let mut lock = self.lock()?;
        self.prepare_keys(KEYS_AHEAD);
        let mut collection = self.collection(now)?;
        if self.put_manifests_back(&collection)? {
            collection = self.collection(now)?;
        }
        let ours = lock.as_ref().and_then(|lock| lock.unfinished);
        let chain = collection.active();
        let chain = chain.filter(|_| wanted == Wanted::Increment);
        let begun = match chain {
            None => self.begun(&collection),
            Some(_) => None,
        };
        let resumed = begun.as_ref().map(|begun| begun.files.kind);
        self.remove_leftovers(&collection, ours, resumed, now)?;
        if let Some(begun) = begun {
            if let Some(lock) = &mut lock {
                lock.note(begun.files.kind);
            }
            if let Some(intake) = self.resume(&begun, &mut lock)? {
                return Ok(intake);
            }
            self.remove_leftovers(&collection, Some(begun.files.kind), None, now)?;
        }
        let time = collection.free_time(now);
        let (mut set, mut base, mut given_up) = (SetKind::Full { time }, None, Vec::new());
        if let Some(chain) = chain {
            match self.base_of(chain)? {
                Some(signatures) => {
                    let start = chain.end();
                    set = SetKind::Incremental { start, end: time };
                    base = Some(Arc::new(signatures));
                }
                None => given_up.extend(chain.sets.iter().map(|set| set.kind)),
            }
        }
        if let Some(lock) = &mut lock {
            lock.note(set);
        }
        let writer = Writer::new(self, set, base.clone());
        let mut intake = Intake::new(self, set, writer, lock);
        intake.base = base;
        intake.given_up = given_up;
        Ok(intake)
    }

    /// Goes on with a set that was cut off, if that can be.
    fn resume(&self, begun: &Begun, lock: &mut Option<Lock>) -> Result<Option<Intake>, Error> {
        let set = begun.files.kind;
        let mut writer = Writer::new(self, set, None);
        let back = self.read_back(begun, &mut |entry, header, signature| {
            writer.copied(entry, header, signature)
        })?;
        let Some(back) = back else {
            return Ok(None);
        };
        if !self.remove_rest(begun, &back)? {
            return Ok(None);
        }
        self.begin_part(set, back.volumes.clone());
        let reach = back.reach();
        writer.go_on(back);
        let mut intake = Intake::new(self, set, writer, lock.take());
        intake.reach = Some(reach);
        Ok(Some(intake))
    }

    /// What an increment on a chain is compared with; `None` when the chain is damaged, and what is
    /// put on it might not be restored.
    fn base_of(&self, chain: &Chain) -> Result<Option<Base>, Error> {
        let read = || {
            if !chain.has_signatures() {
                return Ok(None);
            }
            let last = chain.sets.last().unwrap_or(chain.full());
            // Whoever checks waits for the key, so the signatures are read meanwhile.
            let (checked, base) = std::thread::scope(|scope| {
                let base = scope.spawn(|| Base::load(self, &chain.sets));
                (self.check_chain(last), base.join())
            });
            checked?;
            // The newest opens. If an older one does not, whatever the reason, that is damage.
            for set in &chain.sets {
                match self.manifest(set) {
                    Err(Error::Store(error)) if !Error::is_loss(&error) => {
                        return Err(error.into());
                    }
                    Err(_) => return Ok(None),
                    Ok(_) => {}
                }
            }
            base.map_err(|_| Error::Worker)?.map(Some)
        };
        match read() {
            Err(error) if error.is_damage() => Ok(None),
            read => read,
        }
    }

    /// Whether the newest set is of the same machine and folder, has all its volumes, and opens with
    /// the key at hand: two passphrases in one chain would be found only when restoring.
    fn check_chain(&self, last: &BackupSet) -> Result<(), Error> {
        let manifest =
            if last.is_encrypted() && !matches!(self.settings.protection, Protection::Gpg(_)) {
                let bytes = self.remote_manifest(last)?;
                Manifest::parse(&bytes).map_err(|source| Error::Manifest {
                    set: last.kind,
                    source,
                })?
            } else {
                self.manifest(last)?
            };
        if let Some(&number) = last.missing(&manifest).missing.first() {
            return Err(Error::VolumeMissing {
                number,
                set: last.kind,
            });
        }
        let sides = [
            (&manifest.host, &self.settings.host, true),
            (&manifest.local_dir, &self.settings.local_dir, false),
        ];
        let sides = sides.iter().filter(|_| !self.settings.allow_other_source);
        for &(archive, here, is_host) in sides {
            if archive.as_ref().is_some_and(|archive| archive != here) && !here.is_empty() {
                return Err(Error::OtherSource {
                    archive: String::from_utf8_lossy(archive.as_deref().unwrap_or_default())
                        .into_owned(),
                    here: String::from_utf8_lossy(here).into_owned(),
                    is_host,
                });
            }
        }
        Ok(())
    }
}

impl Intake {
    fn new(archive: &Archive, set: SetKind, writer: Writer, lock: Option<Lock>) -> Self {
        Self {
            archive: archive.clone(),
            set,
            base: None,
            given_up: Vec::new(),
            reach: None,
            writer: Mutex::new(writer),
            leftovers: Leftovers {
                archive: archive.clone(),
                set,
                stay: AtomicBool::new(false),
            },
            lock,
        }
    }

    /// Which set this becomes.
    #[must_use]
    pub fn set(&self) -> SetKind {
        self.set
    }

    /// The sets of the chain that an increment was wanted on, when the chain is damaged: a full set
    /// is made then, as a chain that nobody can restore protects nothing.
    #[must_use]
    pub fn given_up(&self) -> &[SetKind] {
        &self.given_up
    }

    /// Whether this goes on with a set that was cut off.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.reach.is_some()
    }

    /// Whether the content of this regular file is needed. Asked again, the answer is the same.
    #[must_use]
    pub fn wants(&self, entry: &Entry) -> bool {
        if let Some(reach) = &self.reach
            && reach.covers(&entry.path)
        {
            // Its other names may come behind.
            return entry.links > 1;
        }
        let Some(base) = &self.base else { return true };
        base.find(&entry.path)
            .is_none_or(|known| known.has_changed(entry))
    }

    /// Takes the next step of the scan.
    ///
    /// # Errors
    ///
    /// When the store or the disk for temporary files refuses; the set cannot be finished then.
    pub fn take(&self, step: Step) -> Result<(), Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = writer.take(step);
        taken.inspect_err(|error| self.leftovers.heed(error))
    }

    /// Lets `listener` hear what changed, in the order of the scan.
    pub fn listen(&self, listener: ChangeListener) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.listener = Some(listener);
    }

    /// Takes a volume of an earlier set over as it is: the store copies it. Then the objects that
    /// it holds have to come by [`take_copied`](Self::take_copied) or [`split`](Self::split), and no
    /// others up to its end.
    pub(crate) fn copy_volume(&self, volume: &VolumeInfo, file: &StoredFile) -> Result<(), Error> {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .copy_volume(volume, file)
    }

    /// Says that the next file lies in part in volumes that are taken over.
    pub(crate) fn split(&self, parts: Vec<CopiedPart>) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.copied_parts = parts.into();
    }

    /// Takes the next object, which is in a volume that was taken over, with the member of the
    /// signature file that it had there.
    pub(crate) fn take_copied(
        &self,
        entry: &Entry,
        header: TarHeader,
        signature: &[u8],
    ) -> Result<(), Error> {
        self.writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .copied(entry, header, signature)
    }

    /// Ends the scan. Whether anything differs from the chain: if not, the set may be dropped, and
    /// nothing of it is in the store.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn has_changes(&self) -> Result<bool, Error> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.delete_until(None)?;
        Ok(writer.summary.changed + writer.summary.deleted > 0)
    }

    /// Finishes the set: when this returns, it can be restored.
    ///
    /// # Errors
    ///
    /// When it does not stand. All earlier sets do.
    pub fn commit(self) -> Result<Summary, Error> {
        // Dropped last to first.
        let Self {
            lock,
            leftovers,
            archive,
            writer,
            ..
        } = self;
        let writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let committed = writer.commit(&archive, &leftovers);
        let summary = committed.inspect_err(|error| leftovers.heed(error))?;
        if let Some(lock) = lock {
            lock.finish();
        }
        Ok(summary)
    }

    /// Gives the set up before anything of it was stored, and says so to the next run.
    pub fn cancel(self) {
        self.leftovers.leave();
        drop(self.writer);
        if let Some(lock) = self.lock {
            lock.finish();
        }
    }
}

/// Blocks of a file that lie in a volume that is taken over.
pub(crate) struct CopiedPart {
    pub(crate) blocks: RangeInclusive<u64>,
    /// The volume, when it is to be taken over as soon as the first of them comes.
    pub(crate) volume: Option<(VolumeInfo, StoredFile)>,
}

/// What the volume thread has to know about a volume that is full.
struct VolumeEnd {
    number: u32,
    start: Position,
    end: Position,
}

struct Writer {
    /// First, so that it is dropped before what has to hear it.
    _abort: Abort,
    archive: Archive,
    set: SetKind,
    base: Option<Arc<Base>>,
    /// The next entry of the base that was not met.
    next_base: usize,
    signatures_of_base: Signatures,
    volumes: Stream<VolumeEnd>,
    signatures: Stream<()>,
    uploads: Uploads,
    infos: Arc<Mutex<Vec<VolumeInfo>>>,
    signature_file: Arc<RwLock<Option<Encoded>>>,
    stats: Stats,
    changes: Vec<ChangedFile>,
    summary: Summary,
    volume_number: u32,
    volume_start: Option<Position>,
    last: Position,
    last_entry: Option<TreePath>,
    open: Option<OpenFile>,
    /// Where the file whose content is coming lies in volumes that are taken over, in order.
    copied_parts: VecDeque<CopiedPart>,
    /// How far the volumes of a set that was cut off go.
    reach: Option<Reach>,
    /// The file that lies in them in part, until it comes.
    seam: Option<Seam>,
    /// Content of files with several names, by device and inode, and how many names are to come.
    links: HashMap<(u64, u64), (Arc<Spool>, u64)>,
    /// Where something could not be read: what stood there is not known to be gone.
    unknown: Vec<TreePath>,
    listener: Option<ChangeListener>,
    buffer: Vec<u8>,
}

/// A file whose content is coming.
struct OpenFile {
    entry: Arc<Entry>,
    header: TarHeader,
    kind: MemberKind,
    change: Change,
    /// Nothing but the content can tell whether it changed.
    may_be_same: bool,
    signer: SignatureWriter,
    signature: Vec<u8>,
    delta: Option<DeltaWriter>,
    /// The sizes that the file can have had before.
    old_sizes: RangeInclusive<u64>,
    /// Nothing of it is written: only its other names need it.
    is_passed: bool,
    /// Where it goes on, when its beginning is in a set that was cut off.
    seam: Option<Seam>,
    /// Data for the next member.
    data: Vec<u8>,
    /// Members written.
    blocks: u64,
    /// Bytes of content so far.
    size: u64,
    link: Option<Spool>,
}

impl Writer {
    fn new(archive: &Archive, set: SetKind, base: Option<Arc<Base>>) -> Self {
        let settings = &archive.settings;
        let pool = Pool::new(settings.compressors);
        let abort = Abort::new();
        let uploads = Uploads::new(&archive.store, settings.uploads, &abort);
        let infos = Arc::new(Mutex::new(Vec::new()));
        let signature_file = Arc::new(RwLock::new(None));
        let volumes = {
            let (uploader, infos, sent) = (uploads.uploader(), infos.clone(), archive.clone());
            let is_resumed = archive.is_resumed(set);
            Stream::new(
                &pool,
                archive,
                false,
                move |volume: VolumeEnd, encoded: Encoded| {
                    let name = sent.name_of(
                        set,
                        Part::Volume {
                            number: volume.number,
                        },
                    )?;
                    let info = VolumeInfo {
                        number: volume.number,
                        start: volume.start,
                        end: volume.end,
                        hashes: vec![Hash::Sha1(encoded.hash)],
                    };
                    if is_resumed {
                        sent.note_volume(set, &info);
                    }
                    uploader.send(name, encoded)?;
                    infos
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(info);
                    Ok(())
                },
            )
        };
        let signatures = {
            let file = signature_file.clone();
            Stream::new(&pool, archive, true, move |(), encoded| {
                *file.write().unwrap_or_else(PoisonError::into_inner) = Some(encoded);
                Ok(())
            })
        };
        let root = Position {
            path: TreePath::root(),
            block: None,
        };
        Self {
            _abort: abort,
            archive: archive.clone(),
            set,
            base,
            next_base: 0,
            signatures_of_base: Signatures::new(archive),
            volumes,
            signatures,
            uploads,
            infos,
            signature_file,
            stats: Stats::default(),
            changes: Vec::new(),
            summary: Summary::default(),
            volume_number: 1,
            volume_start: None,
            last: root,
            last_entry: None,
            open: None,
            copied_parts: VecDeque::new(),
            reach: None,
            seam: None,
            links: HashMap::new(),
            unknown: Vec::new(),
            listener: None,
            buffer: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Entry { entry, body } => self.entry(entry, body),
            Step::Data(block) => self.content(&block),
            Step::Hole(size) => self.hole(size),
            Step::End(ending) => self.end(&ending),
            Step::Problem(problem) => {
                self.problem(&problem);
                Ok(())
            }
        }
    }

    fn problem(&mut self, problem: &Problem) {
        self.summary.incomplete += 1;
        self.unknown.push(problem.path.clone());
    }

    fn entry(&mut self, entry: Arc<Entry>, body: Body) -> Result<(), Error> {
        if self.open.is_some() {
            return Err(Error::Order);
        }
        let Some(header) = header_of(&entry) else {
            return Ok(());
        };
        if self.is_covered(&entry.path) {
            return self.pass(&entry, header, body);
        }
        let seam = self.meet(&entry, &header)?;
        self.advance(&entry.path)?;
        self.delete_until(Some(&entry.path))?;
        let base = self.base.clone();
        let known = base.as_deref().and_then(|base| base.find(&entry.path));
        let is_changed = known.is_none_or(|known| known.has_changed(&entry));
        if entry.is_file() {
            self.summary.files += 1;
            self.summary.bytes += entry.size;
        }
        if !is_changed {
            self.stats.add(&entry);
            return Ok(());
        }
        let change = if known.is_some() {
            Change::Changed
        } else {
            Change::New
        };
        if !entry.is_file() {
            self.tell(change, &entry.path, 0);
            return self.object(&entry, &header);
        }
        self.open_file(&entry, header, known.map(|known| &known.kind), change)?;
        if let Some(open) = &mut self.open {
            open.seam = seam;
        }
        self.body(body)
    }

    /// What comes of the file that was opened.
    fn body(&mut self, body: Body) -> Result<(), Error> {
        match body {
            Body::Whole(block) => {
                self.content(&block)?;
                self.end(&Ending::Complete)
            }
            Body::Blocks => Ok(()),
            Body::None => self.further_name(),
        }
    }

    /// Goes on behind volumes of the same set, of which everything was [copied](Self::copied).
    fn go_on(&mut self, back: ReadBack) {
        self.reach = Some(back.reach());
        self.seam = back.seam;
        self.volume_number += u32::try_from(back.volumes.len()).unwrap_or(u32::MAX);
        if let Some(info) = back.volumes.last() {
            self.last = info.end.clone();
        }
        *self.infos.lock().unwrap_or_else(PoisonError::into_inner) = back.volumes;
    }

    /// Whether the place of `path` is in volumes of a set that was cut off.
    fn is_covered(&self, path: &TreePath) -> bool {
        self.reach.as_ref().is_some_and(|reach| reach.covers(path))
    }

    /// Passes an object over whose place is in volumes that are there. The content of a file that has
    /// other names is kept for them.
    fn pass(&mut self, entry: &Arc<Entry>, header: TarHeader, body: Body) -> Result<(), Error> {
        if !entry.is_file() || (entry.links <= 1 && matches!(body, Body::None)) {
            return Ok(());
        }
        self.open_file(entry, header, None, Change::New)?;
        if let Some(open) = &mut self.open {
            open.is_passed = true;
        }
        self.body(body)
    }

    /// Where the object that comes goes on, if it is the file that lies in part in volumes that are
    /// there. That has to come.
    fn meet(&mut self, entry: &Entry, header: &TarHeader) -> Result<Option<Seam>, Error> {
        let Some(seam) = self.seam.take_if(|seam| seam.path <= entry.path) else {
            return Ok(None);
        };
        if seam.path == entry.path && seam.is_of(header) {
            return Ok(Some(seam));
        }
        Err(self.cut_back(&seam))
    }

    /// The file where the set goes on is another one: the volumes with the old one cannot stay.
    /// Nothing of this run is in a volume yet.
    fn cut_back(&self, seam: &Seam) -> Error {
        let infos = self.infos.lock().unwrap_or_else(PoisonError::into_inner);
        self.archive.cut_part(self.set, &infos, &seam.path);
        Error::Seam {
            path: seam.path.to_string(),
        }
    }

    /// Who reads the set walks it side by side with others: order is all it has.
    fn advance(&mut self, path: &TreePath) -> Result<(), Error> {
        if self.last_entry.as_ref().is_some_and(|last| path <= last) {
            return Err(Error::Order);
        }
        self.last_entry = Some(path.clone());
        Ok(())
    }

    fn copy_volume(&mut self, volume: &VolumeInfo, file: &StoredFile) -> Result<(), Error> {
        if self.volume_start.is_some() {
            self.end_volume()?;
        }
        let number = self.volume_number;
        self.volume_number += 1;
        let to = self.archive.name_of(self.set, Part::Volume { number })?;
        self.archive
            .store
            .copy(&self.archive.object(&file.object)?, &to)?;
        self.summary.copied_volumes += 1;
        self.summary.copied_bytes += file.size;
        self.last = volume.end.clone();
        self.infos
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(VolumeInfo {
                number,
                ..volume.clone()
            });
        Ok(())
    }

    fn copied(&mut self, entry: &Entry, header: TarHeader, signature: &[u8]) -> Result<(), Error> {
        self.advance(&entry.path)?;
        self.summary.changed += 1;
        if entry.is_file() {
            self.summary.files += 1;
            self.summary.bytes += entry.size;
            if self.archive.settings.list_changes {
                self.changes.push(ChangedFile {
                    change: Change::New,
                    path: entry.path.as_bytes().to_vec(),
                });
            }
        }
        let kind = match entry.is_file() {
            true => MemberKind::Signature,
            false => MemberKind::Snapshot,
        };
        let name = MemberName {
            kind,
            path: entry.path.clone(),
            block: None,
        };
        self.stats.add(entry);
        self.sign(&name, header, signature, entry.is_directory())
    }

    fn tell(&self, change: Change, path: &TreePath, size: u64) {
        if let Some(listener) = &self.listener {
            listener(change, path, size);
        }
    }

    /// A directory, link, pipe or device, new or changed.
    fn object(&mut self, entry: &Entry, header: &TarHeader) -> Result<(), Error> {
        self.summary.changed += 1;
        let name = MemberName {
            kind: MemberKind::Snapshot,
            path: entry.path.clone(),
            block: None,
        };
        self.sign(&name, header.clone(), &[], entry.is_directory())?;
        let mut header = header.clone();
        header.name = if entry.path.is_root() {
            b"snapshot/./".to_vec()
        } else {
            name.to_bytes(entry.is_directory())
        };
        self.member(
            &header,
            &[],
            Position {
                path: name.path,
                block: None,
            },
            None,
        )
    }

    fn open_file(
        &mut self,
        entry: &Arc<Entry>,
        header: TarHeader,
        known: Option<&BaseKind>,
        change: Change,
    ) -> Result<(), Error> {
        let old = match (known, &self.base) {
            (Some(BaseKind::File(place)), Some(base)) => {
                self.signatures_of_base.get(base, *place)?
            }
            _ => None,
        };
        let may_be_same = old.is_some()
            && self
                .base
                .as_ref()
                .and_then(|base| base.find(&entry.path))
                .is_some_and(|known| known.is_like(entry));
        let mut signature = Vec::new();
        let signer = SignatureWriter::new(block_length(entry.size), &mut signature);
        let mut data = Vec::new();
        let old_sizes = old.as_ref().map_or(0..=0, Signature::sizes);
        let delta = old.map(|old| DeltaWriter::new(old, &mut data));
        let link = (entry.links > 1 && entry.hard_link.is_none())
            .then(|| Spool::new(&self.archive.settings.scratch));
        self.open = Some(OpenFile {
            entry: entry.clone(),
            header,
            kind: if delta.is_some() {
                MemberKind::Diff
            } else {
                MemberKind::Snapshot
            },
            change,
            may_be_same,
            signer,
            signature,
            delta,
            old_sizes,
            is_passed: false,
            seam: None,
            data,
            blocks: 0,
            size: 0,
            link,
        });
        Ok(())
    }

    /// A further name of a file: the format wants its content once more.
    fn further_name(&mut self) -> Result<(), Error> {
        let Some(entry) = self.open.as_ref().map(|open| open.entry.clone()) else {
            return Ok(());
        };
        let key = (entry.device, entry.inode);
        let Some((spool, left)) = self.links.get_mut(&key) else {
            // Its content did not come with the first name: an error there, reported there.
            if self.open.take().is_some_and(|open| !open.is_passed) {
                self.unknown.push(entry.path.clone());
                self.summary.left_out.push(entry.path.clone());
            }
            return Ok(());
        };
        let spool = spool.clone();
        *left -= 1;
        if *left == 0 {
            self.links.remove(&key);
        }
        let mut buffer = vec![0; BLOCK];
        let mut at = 0;
        while at < spool.size() {
            let count = usize::try_from(spool.size() - at)
                .unwrap_or(BLOCK)
                .min(BLOCK);
            let piece = buffer.get_mut(..count).unwrap_or_default();
            spool
                .read_exact_at(piece, at)
                .map_err(Error::io("read a temporary file"))?;
            at += count as u64;
            self.content(buffer.get(..count).unwrap_or_default())?;
        }
        self.end(&Ending::Complete)
    }

    fn hole(&mut self, mut size: u64) -> Result<(), Error> {
        // The format has no holes.
        let zeros = vec![0; BLOCK];
        while size > 0 {
            let count = usize::try_from(size).unwrap_or(BLOCK).min(BLOCK);
            self.content(zeros.get(..count).unwrap_or_default())?;
            size -= count as u64;
        }
        Ok(())
    }

    fn content(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(open) = &mut self.open else {
            return Err(Error::Order);
        };
        open.size += bytes.len() as u64;
        if let Some(link) = &mut open.link {
            std::io::Write::write_all(link, bytes).map_err(Error::io("write a temporary file"))?;
        }
        for piece in bytes.chunks(BLOCK) {
            let Some(open) = &mut self.open else {
                return Err(Error::Order);
            };
            if open.is_passed {
                continue;
            }
            open.signer.push(piece, &mut open.signature);
            match &mut open.delta {
                Some(delta) => delta.push_signed(piece, &open.signature, &mut open.data),
                None => open.data.extend_from_slice(piece),
            }
            self.full_blocks()?;
        }
        Ok(())
    }

    /// Writes what has gathered as members, as long as they are whole.
    fn full_blocks(&mut self) -> Result<(), Error> {
        while let Some(open) = &mut self.open
            && open.data.len() >= BLOCK
        {
            let rest = open.data.split_off(BLOCK);
            let block = std::mem::replace(&mut open.data, rest);
            open.blocks += 1;
            let number = open.blocks;
            self.block(&block, Some(number), false)?;
        }
        Ok(())
    }

    fn block(&mut self, data: &[u8], number: Option<u64>, is_last: bool) -> Result<(), Error> {
        if let Some(number) = number
            && self.is_copied(number, is_last)?
        {
            return Ok(());
        }
        let Some(open) = &mut self.open else {
            return Err(Error::Order);
        };
        if let Some(seam) = &mut open.seam
            && !seam.holds()
        {
            return match seam.compare(data, is_last) {
                Compared::Same => Ok(()),
                Compared::Other => {
                    let seam = open.seam.take().ok_or(Error::Order)?;
                    Err(self.cut_back(&seam))
                }
            };
        }
        let name = MemberName {
            kind: open.kind,
            path: open.entry.path.clone(),
            block: number,
        };
        let mut header = open.header.clone();
        header.name = name.to_bytes(false);
        header.size = data.len() as u64;
        self.summary.raw_bytes += header.size;
        if open.kind == MemberKind::Diff {
            self.summary.delta_bytes += header.size;
        }
        let start = Position {
            path: name.path,
            block: number,
        };
        let end_block = if is_last { None } else { number };
        self.member(&header, data, start, end_block)
    }

    /// Whether a block lies in a volume that is taken over; the first one brings it.
    fn is_copied(&mut self, number: u64, is_last: bool) -> Result<bool, Error> {
        let Some(part) = self.copied_parts.front_mut() else {
            return Ok(false);
        };
        if !part.blocks.contains(&number) {
            return Ok(false);
        }
        let volume = part.volume.take();
        if number == *part.blocks.end() || is_last {
            self.copied_parts.pop_front();
        }
        if let Some((volume, file)) = volume {
            self.copy_volume(&volume, &file)?;
        }
        Ok(true)
    }

    fn end(&mut self, ending: &Ending) -> Result<(), Error> {
        let Some(mut open) = self.open.take() else {
            return Err(Error::Order);
        };
        if open.is_passed {
            if matches!(ending, Ending::Complete | Ending::Changed(_)) {
                self.keep_link(&mut open);
            }
            return Ok(());
        }
        if let Some(delta) = open.delta.take() {
            delta.finish(&mut open.data);
        }
        let failed = match ending {
            Ending::Complete => false,
            Ending::Changed(_) => {
                self.summary.incomplete += 1;
                false
            }
            Ending::Failed(_) => {
                self.summary.incomplete += 1;
                true
            }
        };
        if failed && let Some(seam) = open.seam.take_if(|seam| !seam.holds()) {
            return Err(self.cut_back(&seam));
        }
        if failed && open.blocks == 0 {
            // Nothing of it is in a volume: what the chain knows of it stays.
            self.unknown.push(open.entry.path.clone());
            return Ok(());
        }
        if !failed
            && open.may_be_same
            && open.blocks == 0
            && open.data.len() <= IDENTITY_MAX
            && is_identity(&open)
        {
            self.stats.add(&open.entry);
            self.keep_link(&mut open);
            return Ok(());
        }
        let path = open.entry.path.clone();
        let (entry, change) = (open.entry.clone(), open.change);
        let mut header = open.header.clone();
        let size = open.size;
        note_size(&mut header, size);
        let signer = std::mem::replace(&mut open.signer, SignatureWriter::new(1, &mut Vec::new()));
        let mut signature = std::mem::take(&mut open.signature);
        signer.finish(&mut signature);
        self.keep_link(&mut open);
        self.open = Some(open);
        self.full_blocks()?;
        let rest = self
            .open
            .as_mut()
            .map(|open| std::mem::take(&mut open.data))
            .unwrap_or_default();
        let blocks = self.open.as_ref().map_or(0, |open| open.blocks);
        let number = (blocks > 0).then_some(blocks + 1);
        self.block(&rest, number, true)?;
        self.open = None;
        self.summary.changed += 1;
        if failed {
            // Its first blocks are in a volume. This takes them back.
            self.gone(&path)?;
            return Ok(());
        }
        self.tell(change, &path, size);
        if self.archive.settings.list_changes {
            self.changes.push(ChangedFile {
                change,
                path: path.as_bytes().to_vec(),
            });
        }
        self.stats.add(&entry);
        let name = MemberName {
            kind: MemberKind::Signature,
            path,
            block: None,
        };
        self.sign(&name, header, &signature, false)
    }

    /// Keeps the content of a file with several names for those to come.
    fn keep_link(&mut self, open: &mut OpenFile) {
        if let Some(spool) = open.link.take() {
            let key = (open.entry.device, open.entry.inode);
            self.links
                .insert(key, (Arc::new(spool), open.entry.links - 1));
        }
    }

    /// Writes deletions for what the base has before `path` and the scan has not.
    fn delete_until(&mut self, path: Option<&TreePath>) -> Result<(), Error> {
        let Some(base) = self.base.clone() else {
            return Ok(());
        };
        while let Some(known) = base.entries.get(self.next_base)
            && path.is_none_or(|path| known.path <= *path)
        {
            self.next_base += 1;
            let is_met = path == Some(&known.path);
            let is_unknown = self
                .unknown
                .iter()
                .any(|unknown| known.path.starts_with(unknown));
            if is_met || is_unknown || known.path.is_root() {
                continue;
            }
            self.gone(&known.path)?;
            self.tell(Change::Deleted, &known.path, 0);
            if known.is_file() && self.archive.settings.list_changes {
                self.changes.push(ChangedFile {
                    change: Change::Deleted,
                    path: known.path.as_bytes().to_vec(),
                });
            }
        }
        if let Some(path) = path {
            // Behind what was unknown, nothing of it comes any more.
            self.unknown
                .retain(|unknown| path.starts_with(unknown) || *unknown > *path);
        }
        Ok(())
    }

    fn gone(&mut self, path: &TreePath) -> Result<(), Error> {
        self.summary.deleted += 1;
        let name = MemberName {
            kind: MemberKind::Deleted,
            path: path.clone(),
            block: None,
        };
        let header = TarHeader::new(name.to_bytes(false), TarKind::File);
        self.sign(&name, header.clone(), &[], false)?;
        self.member(
            &header,
            &[],
            Position {
                path: path.clone(),
                block: None,
            },
            None,
        )
    }

    /// Writes a member of the signature file.
    fn sign(
        &mut self,
        name: &MemberName,
        mut header: TarHeader,
        data: &[u8],
        is_directory: bool,
    ) -> Result<(), Error> {
        header.name = name.to_bytes(is_directory);
        header.size = data.len() as u64;
        self.buffer.clear();
        write_header(&mut self.buffer, &header);
        self.buffer.extend_from_slice(data);
        self.buffer
            .resize(self.buffer.len() + padding(header.size), 0);
        self.signatures.push(&self.buffer)
    }

    /// Writes a member of a volume, and ends the volume when it is full.
    fn member(
        &mut self,
        header: &TarHeader,
        data: &[u8],
        start: Position,
        end_block: Option<u64>,
    ) -> Result<(), Error> {
        self.buffer.clear();
        write_header(&mut self.buffer, header);
        self.buffer.extend_from_slice(data);
        self.buffer
            .resize(self.buffer.len() + padding(header.size), 0);
        self.volumes.push(&self.buffer)?;
        self.last = Position {
            path: start.path.clone(),
            block: end_block,
        };
        self.volume_start.get_or_insert(start);
        let full = self.archive.settings.volume_size.saturating_sub(SLACK);
        let size = match self.archive.settings.protection {
            // gpg compresses at the end: only the plain size is known.
            Protection::Gpg(_) => self.volumes.plain_size(),
            _ => self.volumes.stored_size(),
        };
        if size + BLOCK as u64 > full {
            self.end_volume()
        } else {
            Ok(())
        }
    }

    fn end_volume(&mut self) -> Result<(), Error> {
        let root = Position {
            path: TreePath::root(),
            block: None,
        };
        let start = self.volume_start.take().unwrap_or(root);
        self.buffer.clear();
        write_end(&mut self.buffer, self.volumes.plain_size());
        self.volumes.push(&self.buffer)?;
        let number = self.volume_number;
        self.volume_number += 1;
        self.volumes.end_file(VolumeEnd {
            number,
            start,
            end: self.last.clone(),
        })
    }

    fn commit(mut self, archive: &Archive, leftovers: &Leftovers) -> Result<Summary, Error> {
        if self.open.is_some() {
            return Err(Error::Order);
        }
        self.delete_until(None)?;
        if let Some(seam) = self.seam.take() {
            return Err(self.cut_back(&seam));
        }
        // A set has at least one volume, were it empty.
        if self.volume_start.is_some() || self.volume_number == 1 {
            self.end_volume()?;
        }
        self.buffer.clear();
        write_end(&mut self.buffer, self.signatures.plain_size());
        self.signatures.push(&self.buffer)?;
        self.signatures.end_file(())?;
        self.volumes.finish()?;
        self.signatures.finish()?;
        self.summary.stored_bytes = self.uploads.finish()?;

        let file = self
            .signature_file
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let local = file.ok_or(Error::Worker)?;
        let sealed = seal_deflated(&local.spool, archive)?;
        let stored = sealed.as_ref().unwrap_or(&local);
        crate::volume::upload(
            &*archive.store,
            &archive.name_of(self.set, Part::Signatures)?,
            stored,
        )?;
        self.summary.stored_bytes += stored.spool.size();

        let mut infos =
            std::mem::take(&mut *self.infos.lock().unwrap_or_else(PoisonError::into_inner));
        infos.sort_by_key(|info| info.number);
        self.summary.volumes = self.volume_number - 1;
        let manifest = Manifest {
            host: Some(archive.settings.host.clone()).filter(|host| !host.is_empty()),
            local_dir: Some(archive.settings.local_dir.clone()),
            volumes: infos,
            files: archive.settings.list_changes.then_some(self.changes),
        };
        archive.keep(
            &local_name(self.set, Part::Signatures, Suffix::Gzip),
            |out| {
                let mut bytes = store::Content::open(&local.spool, 0)?;
                std::io::copy(&mut bytes, out).map(drop)
            },
        );
        // Whether it stood after an error, nobody knew.
        leftovers.leave();
        archive.remove_part(self.set);
        archive.store_manifest(self.set, &manifest)?;
        // From here on the set stands.
        archive.keep(
            &local_name(self.set, Part::Manifest, Suffix::Plain),
            |out| out.write_all(&manifest.to_bytes()),
        );
        self.stats.save(archive, self.set.end());
        Ok(self.summary)
    }
}

/// Whether a delta says "as it was".
fn is_identity(open: &OpenFile) -> bool {
    let mut reader = DeltaReader::new(open.data.as_slice());
    let mut copied = 0;
    while let Ok(Some(command)) = reader.command() {
        match command {
            Command::Copy { start, length } if start == copied => copied += length,
            _ => return false,
        }
    }
    // All of the new file is there in the old one, and the old one has no more blocks than that.
    copied == open.size && open.old_sizes.contains(&copied)
}

fn local_name(set: SetKind, part: Part, suffix: Suffix) -> FileName {
    FileName {
        set,
        part,
        suffix,
        partial: false,
    }
}

impl Archive {
    /// Stores the figures of a run beside its set, as `--jsonstat` does.
    ///
    /// # Errors
    ///
    /// When the store refuses.
    pub fn store_statistics(&self, set: SetKind, figures: &[u8]) -> Result<(), Error> {
        let name = self.name_of(set, Part::Statistics)?;
        crate::volume::upload(&*self.store, &name, &seal_plain(figures, self)?)
    }

    fn store_manifest(&self, set: SetKind, manifest: &Manifest) -> Result<(), Error> {
        let bytes = manifest.to_bytes();
        let name = self.name_of(set, Part::Manifest)?;
        match self.settings.protection {
            Protection::None => {
                self.store.write(&name, &bytes, store::WriteMode::Replace)?;
                Ok(())
            }
            _ => {
                let sealed = seal_plain(&bytes, self)?;
                crate::volume::upload(&*self.store, &name, &sealed)
            }
        }
    }

    /// Stores the manifests that the store has lost, of sets that are there otherwise: the archive
    /// directory has them of finished sets only. Says whether there were any.
    fn put_manifests_back(&self, collection: &Collection) -> Result<bool, Error> {
        let mut any = false;
        for set in &collection.incomplete {
            let Some(manifest) = self.local_manifest(set).filter(|_| set.manifest.is_none()) else {
                continue;
            };
            if !manifest.volumes.is_empty() && set.missing(&manifest).missing.is_empty() {
                self.store_manifest(set.kind, &manifest)?;
                any = true;
            }
        }
        Ok(any)
    }

    /// The name of a new file in the store.
    pub(crate) fn name_of(&self, set: SetKind, part: Part) -> Result<Name, Error> {
        let suffix = self.suffix_of(part);
        let name = FileName {
            set,
            part,
            suffix,
            partial: false,
        };
        self.object(&self.settings.prefixes.write(&name))
    }

    /// How a new file of this kind is made, as its name says.
    pub(crate) fn suffix_of(&self, part: Part) -> Suffix {
        match (&self.settings.protection, part) {
            (Protection::None, Part::Manifest) => Suffix::Plain,
            (Protection::None, _) if !self.settings.compress => Suffix::Plain,
            (Protection::None, _) => Suffix::Gzip,
            (Protection::Passphrase(_) | Protection::Gpg(_), _) => Suffix::Gpg,
        }
    }

    /// Removes what a run that was cut off has left in the store, and what the archive directory
    /// has of sets that are no longer in the store; but for the set that is gone on with.
    fn remove_leftovers(
        &self,
        collection: &Collection,
        ours: Option<SetKind>,
        resumed: Option<SetKind>,
        now: SetTime,
    ) -> Result<(), Error> {
        let mut plan = RemovalPlan::default();
        // The lock keeps away other runs with this archive directory. Somebody else's set that is
        // being written looks the same as one that was cut off: only its age tells.
        let begun_here = self.begun_here();
        // And so does one whose manifest was lost: what others stand on was whole.
        let headless: HashSet<SetKind> = collection.headless().map(|set| set.kind).collect();
        let is_over = |set: &&BackupSet| {
            let age = now.seconds().saturating_sub(set.end().seconds());
            let is_old = Some(set.kind) == ours
                || begun_here.contains(&set.kind)
                || age > FOREIGN_AGE_SECONDS;
            is_old
                && Some(set.kind) != resumed
                && !headless.contains(&set.kind)
                && self.local_manifest(set).is_none()
        };
        let left = collection.incomplete.iter();
        let left = left.chain(&collection.orphan_signatures);
        plan.sets.extend(left.filter(is_over).cloned());
        match self.remove_files(&plan) {
            // Keys that may add and not delete are a protection: the leftovers are no harm.
            Err(Error::Store(error)) if error.kind == store::ErrorKind::Denied => {}
            removed => removed?,
        }
        for file in std::fs::read_dir(&self.settings.scratch)
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = file.file_name();
            if name
                .to_string_lossy()
                .starts_with(crate::spool::MOMENTARY_PREFIX)
            {
                let _ = std::fs::remove_file(file.path());
            }
        }
        let kept: HashSet<SetKind> = collection
            .sets()
            .filter(|set| set.is_complete())
            .map(|set| set.kind)
            .collect();
        let Some(folder) = &self.settings.archive_dir else {
            return Ok(());
        };
        for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = file.file_name();
            let name = name
                .to_str()
                .and_then(|name| self.settings.prefixes.read(name));
            let is_over = |name: FileName| match name.partial {
                true => Some(name.set) != resumed,
                false => !kept.contains(&name.set),
            };
            if name.is_some_and(is_over) {
                // A cache: surplus is no harm.
                let _ = std::fs::remove_file(file.path());
            }
        }
        Ok(())
    }

    /// The sets that the stock program has begun with this archive directory and not finished: it
    /// has their parts there. As we hold its lock, it is not at work on them.
    fn begun_here(&self) -> HashSet<SetKind> {
        let files = self.settings.archive_dir.iter();
        let files = files.filter_map(|folder| std::fs::read_dir(folder).ok());
        let names = files.flatten().flatten().filter_map(|file| {
            let name = self.settings.prefixes.read(file.file_name().to_str()?)?;
            name.partial.then_some(name.set)
        });
        names.collect()
    }

    /// Keeps other runs of this machine from writing until the lock is dropped; without an archive
    /// directory there is none.
    pub(crate) fn lock(&self) -> Result<Option<Lock>, Error> {
        let Some(folder) = &self.settings.archive_dir else {
            return Ok(None);
        };
        std::fs::create_dir_all(folder).map_err(Error::io("make the archive directory"))?;
        let path = folder.join(LOCK_NAME);
        let mut file = loop {
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(Error::io("open the lock of the archive directory"))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Error::Locked),
                // A file system without locks.
                Err(TryLockError::Error(_)) => return Ok(None),
            }
            // The stock program looks at this kind of lock.
            let locked = rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive);
            if let Err(Errno::ACCESS | Errno::AGAIN) = locked {
                return Err(Error::Locked);
            }
            // Who finishes removes the file: one that was opened before that locks nobody out.
            let is_there = std::fs::metadata(&path)
                .and_then(|there| Ok((there, file.metadata()?)))
                .is_ok_and(|(there, held)| (there.dev(), there.ino()) == (held.dev(), held.ino()));
            if is_there {
                break file;
            }
        };
        let mut noted = String::new();
        // What cannot be read says nothing.
        let _ = file.by_ref().take(NOTE_SIZE_MAX).read_to_string(&mut noted);
        let unfinished = FileName::parse(noted.trim()).map(|name| name.set);
        Ok(Some(Lock {
            file,
            path,
            unfinished,
        }))
    }
}

/// An unfinished set that is not ours is removed when it is older.
const FOREIGN_AGE_SECONDS: i64 = 24 * 3600;

/// Longest note in a lock.
const NOTE_SIZE_MAX: u64 = 1 << 10;

/// Held while a set is written; a crash releases it.
pub(crate) struct Lock {
    file: std::fs::File,
    path: PathBuf,
    /// The set that the last run with this lock began. Whether it finished, the store tells.
    unfinished: Option<SetKind>,
}

impl Lock {
    /// Writes down which set is being written. If that fails, what a crash leaves is removed later.
    fn note(&mut self, set: SetKind) {
        let name = local_name(set, Part::Manifest, Suffix::Plain).to_string();
        let _ = self
            .file
            .set_len(0)
            .and_then(|()| self.file.write_all_at(name.as_bytes(), 0));
    }

    /// Leaves no trace, unless a set is unfinished that the next run has to know of.
    pub(crate) fn release(self) {
        if self.unfinished.is_none() {
            self.finish();
        }
    }

    /// Leaves no trace: nothing is unfinished.
    fn finish(self) {
        // While it is still held, so that nobody takes a file that is about to go.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The stock program's name for it.
const LOCK_NAME: &str = "lockfile";
