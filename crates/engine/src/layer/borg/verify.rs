//! Reads a repository back: every item of every archive, and for [`Depth::Data`] every entry of
//! the log and the content of every chunk, once, on all processors.
//!
//! Damage is first found by the objects that suffer from it. Only then, when there is some, the
//! archives are gone through again to name every file that it has hurt.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use borg::{ChunkReader, ChunkRef, Id, PASSED_SIZE_MIN, RepositoryState, Tail};
use bstr::BString;
use crossbeam_channel::{Sender, bounded};

use super::content::REPAIRED;
use super::{BorgLayer, Error};
use crate::layer::{Depth, Layer, PartVerified, Snapshot, Verification, VerifyStep};

/// Hears how far it came; breaks to end it.
type OnStep<'a> = &'a mut dyn FnMut(VerifyStep) -> ControlFlow<()>;

/// Items after which progress is told.
const ITEMS_A_STEP: u64 = 4096;

/// Verifies all archives.
pub(super) fn verify(
    layer: &mut BorgLayer,
    depth: Depth,
    on_step: OnStep<'_>,
) -> Result<Verification, Error> {
    let snapshots = layer.snapshots()?;
    let mut verify = Verify {
        layer,
        snapshots: &snapshots,
        found: Verification::default(),
        hurt: HashMap::new(),
        repaired: Hurt::default(),
        on_step,
    };
    let ended = verify.run(depth)?;
    verify.found.stopped = ended.is_break();
    Ok(verify.found)
}

/// Verifies the checksums of a part.
pub(super) fn verify_for(
    layer: &mut BorgLayer,
    limit: Duration,
    on_step: &mut dyn FnMut(VerifyStep),
) -> Result<PartVerified, Error> {
    let state = layer
        .archives()?
        .backend()
        .check_for(limit, |done, total| {
            on_step(VerifyStep {
                phase: "reading segments",
                done: done as u64,
                total: total as u64,
            });
        })?;
    Ok(match state {
        RepositoryState::NotChecked => PartVerified::default(),
        RepositoryState::Local(checked) => {
            let mut findings: Vec<String> = checked
                .damages
                .iter()
                .map(|place| place.damage.to_string())
                .collect();
            let empty = checked.empty_segments.iter();
            findings.extend(empty.map(|segment| format!("segment {segment} is empty")));
            PartVerified {
                files: Some(checked.segment_count as u64),
                read_bytes: Some(checked.bytes),
                to_the_end: Some(checked.checked_up_to.is_none()),
                findings,
            }
        }
        RepositoryState::Remote { is_good, said } => PartVerified {
            findings: match is_good {
                true => Vec::new(),
                false => {
                    let found = "the server has found damage below the snapshots".to_owned();
                    let said = said.iter().map(|line| format!("the server: {line}"));
                    std::iter::once(found).chain(said).collect()
                }
            },
            ..PartVerified::default()
        },
    })
}

struct Verify<'a> {
    layer: &'a BorgLayer,
    snapshots: &'a [Snapshot],
    found: Verification,
    /// Chunks that cannot be read, and why.
    hurt: HashMap<Id, String>,
    /// Files in which a repair has left zeros.
    repaired: Hurt,
    on_step: OnStep<'a>,
}

impl Verify<'_> {
    fn run(&mut self, depth: Depth) -> Result<ControlFlow<()>, Error> {
        self.commit()?;
        let (chunks, mut ended) = self.items()?;
        if ended.is_break() {
            return Ok(ended);
        }
        ended = match depth {
            Depth::Structure => self.presence(&chunks)?,
            Depth::Data => self.content(&chunks)?,
        };
        if depth == Depth::Data && ended.is_continue() {
            ended = self.log(&chunks)?;
        }
        self.name_files()?;
        Ok(ended)
    }

    /// Whether what was committed last is what counts.
    fn commit(&mut self) -> Result<(), Error> {
        let tail = self.layer.archives()?.backend().local().map(|it| it.tail());
        let text = match tail {
            Some(Tail::CommitDamaged { .. }) => {
                "the mark of the last commit is damaged: stock Borg would show an older state"
            }
            Some(Tail::RolledBack { .. }) => "the last commit is missing: what it held is lost",
            _ => return Ok(()),
        };
        self.found.findings.push(text.to_owned());
        Ok(())
    }

    /// Every entry of the log, also of those that no archive refers to, and the index. The content
    /// of these chunks was read.
    fn log(&mut self, chunks: &[ChunkRef]) -> Result<ControlFlow<()>, Error> {
        let archives = self.layer.archives()?;
        let Some(repository) = archives.backend().local() else {
            return Ok(ControlFlow::Continue(()));
        };
        let mut ended = ControlFlow::Continue(());
        let whole: Vec<Id> = chunks
            .iter()
            .filter(|chunk| chunk.size >= PASSED_SIZE_MIN && !self.hurt.contains_key(&chunk.id))
            .map(|chunk| chunk.id)
            .collect();
        let checked = repository.check_unread(&whole, |done, total| {
            let step = VerifyStep {
                phase: "reading segments",
                done: done as u64,
                total: total as u64,
            };
            if (self.on_step)(step).is_break() {
                ended = ControlFlow::Break(());
            }
        })?;
        for place in &checked.damages {
            self.found.findings.push(place.damage.to_string());
        }
        let count = checked.index_differences.len();
        if count > 0 {
            let objects = if count == 1 { "object" } else { "objects" };
            let text = format!("the index differs from the segments in {count} {objects}");
            self.found.findings.push(text);
        }
        Ok(ended)
    }

    /// Goes through all items. Gives each chunk that they refer to once.
    fn items(&mut self) -> Result<(Vec<ChunkRef>, ControlFlow<()>), Error> {
        let mut seen = HashSet::new();
        let mut chunks = Vec::new();
        let total = self.snapshots.len() as u64;
        for snapshot in self.snapshots {
            let mut ended = ControlFlow::Continue(());
            let listed = self.layer.items(snapshot, |item, _| {
                self.found.objects += 1;
                if item.chunks_healthy.is_some() {
                    self.repaired.add(&item.path, snapshot);
                }
                let new = item.chunks.into_iter().flatten();
                chunks.extend(new.filter(|chunk| seen.insert(chunk.id)));
                if self.found.objects.is_multiple_of(ITEMS_A_STEP) {
                    ended = (self.on_step)(VerifyStep {
                        phase: "reading snapshots",
                        done: self.found.snapshots,
                        total,
                    });
                }
                ended
            });
            if let Err(error) = listed {
                let text = crate::event::chain(&error).join(": ");
                self.found
                    .findings
                    .push(format!("{}: {text}", snapshot.name));
            }
            self.found.snapshots += 1;
            if ended.is_break() {
                return Ok((chunks, ended));
            }
        }
        Ok((chunks, ControlFlow::Continue(())))
    }

    /// Whether each chunk is in the repository.
    fn presence(&mut self, chunks: &[ChunkRef]) -> Result<ControlFlow<()>, Error> {
        let archives = self.layer.archives()?;
        let missing = archives.missing(chunks.iter().map(|chunk| chunk.id))?;
        for id in missing {
            let error = borg::Error::ObjectNotFound { id };
            self.hurt.insert(id, error.to_string());
        }
        let total = chunks.len() as u64;
        Ok((self.on_step)(VerifyStep {
            phase: "looking for content",
            done: total,
            total,
        }))
    }

    /// Reads each chunk, on all processors.
    fn content(&mut self, chunks: &[ChunkRef]) -> Result<ControlFlow<()>, Error> {
        let archives = self.layer.archives()?;
        let shared = Shared {
            chunks,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        let cores = thread::available_parallelism().map_or(2, usize::from);
        thread::scope(|scope| {
            let (sender, results) = bounded(cores);
            let workers: Vec<_> = (0..cores)
                .map(|_| {
                    let (sender, shared) = (sender.clone(), &shared);
                    scope.spawn(move || -> Result<(), Error> {
                        shared.read(ChunkReader::new(archives)?, &sender);
                        Ok(())
                    })
                })
                .collect();
            drop(sender);
            let mut ended = ControlFlow::Continue(());
            let mut done = 0;
            for batch in results {
                done += batch.chunks as u64;
                self.found.read_bytes += batch.bytes;
                self.hurt.extend(batch.hurt);
                ended = (self.on_step)(VerifyStep {
                    phase: "reading content",
                    done,
                    total: chunks.len() as u64,
                });
                if ended.is_break() {
                    shared.stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
            for worker in workers {
                worker.join().unwrap_or(Err(Error::Panicked))?;
            }
            Ok(ended)
        })
    }

    /// Names every file that refers to what is damaged.
    fn name_files(&mut self) -> Result<(), Error> {
        let mut hurt: BTreeMap<&str, Hurt> = BTreeMap::new();
        hurt.insert(REPAIRED, std::mem::take(&mut self.repaired));
        if !self.hurt.is_empty() {
            for snapshot in self.snapshots {
                // What ends the list early was found before.
                let _ = self.layer.items(snapshot, |item, _| {
                    let mut chunks = item.chunks.iter().flatten();
                    if let Some(why) = chunks.find_map(|chunk| self.hurt.get(&chunk.id)) {
                        hurt.entry(why).or_default().add(&item.path, snapshot);
                    }
                    ControlFlow::Continue(())
                });
            }
        }
        for (why, files) in hurt {
            self.found.findings.extend(files.findings(why));
        }
        Ok(())
    }
}

/// Files that something is wrong with, and the snapshots in which it is.
#[derive(Default)]
struct Hurt(BTreeMap<BString, Vec<String>>);

impl Hurt {
    fn add(&mut self, path: &BString, snapshot: &Snapshot) {
        let snapshots = self.0.entry(path.clone()).or_default();
        snapshots.push(snapshot.name.clone());
    }

    fn findings(self, why: &str) -> impl Iterator<Item = String> {
        self.0.into_iter().map(move |(path, snapshots)| {
            let path = tree::TreePath::new(path.as_slice())
                .map_or_else(|_| path.to_string(), |path| path.to_string());
            format!("{path} in {}: {why}", snapshots.join(", "))
        })
    }
}

/// What the workers share.
struct Shared<'a> {
    chunks: &'a [ChunkRef],
    /// The first chunk that nobody has taken.
    next: AtomicUsize,
    stop: AtomicBool,
}

/// What came of reading some chunks.
struct BatchFindings {
    chunks: usize,
    bytes: u64,
    hurt: Vec<(Id, String)>,
}

impl Shared<'_> {
    /// Reads batches until there are no more, or nobody wants the results.
    fn read(&self, mut reader: ChunkReader<'_>, results: &Sender<BatchFindings>) {
        let mut behind: &[ChunkRef] = &[];
        loop {
            let batch = self.take();
            let mut read = BatchFindings {
                chunks: behind.len(),
                bytes: 0,
                hurt: Vec::new(),
            };
            reader.read(batch, |index, plain| match plain {
                Ok(plain) => read.bytes += plain.len() as u64,
                Err(error) => {
                    let why = crate::event::chain(&error).join(": ");
                    read.hurt
                        .extend(behind.get(index).map(|chunk| (chunk.id, why)));
                }
            });
            if results.send(read).is_err() || batch.is_empty() {
                return;
            }
            behind = batch;
        }
    }

    /// The next batch; an empty one at the end, or when nobody wants more.
    fn take(&self) -> &[ChunkRef] {
        if self.stop.load(Ordering::Relaxed) {
            return &[];
        }
        let mut start = self.next.load(Ordering::Relaxed);
        loop {
            let rest = self.chunks.get(start..).unwrap_or_default();
            let mut batch = borg::ReadBatch::default();
            let length = rest.iter().take_while(|chunk| batch.takes(chunk.size));
            let batch = rest.get(..length.count()).unwrap_or_default();
            let end = start + batch.len();
            match self
                .next
                .compare_exchange(start, end, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return batch,
                Err(moved) => start = moved,
            }
        }
    }
}
