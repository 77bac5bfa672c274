//! What is lost in one layer comes back from another one, or from the files themselves.
//!
//! The layer that is repaired says which pieces of which files it lacks, and takes nothing but exactly
//! these: a piece is known by a digest that only its own content has. So it does not matter where the
//! bytes come from, nor whether the file there has changed since: what fits is right, and what does not
//! fit changes nothing.
//!
//! The files themselves are asked first, since nothing is nearer, then the layers on this machine, then
//! the others; in each, the snapshots next to the time of the one that is hurt. They are only read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::Serialize;
use tree::TreePath;

use super::Repair;
use crate::event::{PathRecord, Watch};
use crate::layer::{Access, Error as LayerError, Snapshot, VerifyStep};
use crate::machine::Context;
use crate::{Error, config};

/// Snapshots of a layer in which a file is looked for.
const SNAPSHOTS_MAX: usize = 3;

/// A file of which pieces are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostFile {
    /// Where it stands.
    pub path: TreePath,
    /// When the snapshot was made in which it is hurt.
    pub time: Timestamp,
    /// The pieces, in the order of the file.
    pub pieces: Vec<LostPiece>,
}

/// A piece of a file that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostPiece {
    /// By which the layer knows it.
    pub id: [u8; 32],
    /// Where it begins in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub size: u64,
}

/// A file of which lost pieces were found elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Healed {
    /// Which file.
    #[serde(flatten)]
    pub path: PathRecord,
    /// How many pieces.
    pub pieces: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Where they were found.
    pub from: FoundIn,
}

/// Where lost pieces were found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FoundIn {
    /// In the file itself, which stands on this machine.
    Live,
    /// In another layer.
    Layer {
        /// Which.
        layer: String,
        /// In which snapshot.
        snapshot: String,
    },
}

/// Looks elsewhere for what a layer has lost, and offers it to the repair.
///
/// # Errors
///
/// [`Error::Stopped`]; when the layer cannot say what it lacks, or not keep what was found. That another
/// one cannot be read is no error: nothing comes from there.
pub(super) fn gather(
    open: &mut dyn Repair,
    layer: &config::Layer,
    context: Context<'_>,
    watch: Watch<'_>,
) -> Result<Vec<Healed>, Error> {
    let failed = || Error::of_layer(&layer.name);
    let mut search = Search {
        lost: open.lost().map_err(failed())?,
        open,
        healed: Vec::new(),
    };
    let total = search.lost.len();
    let tell = |search: &Search<'_>| {
        let step = VerifyStep {
            phase: "looking elsewhere for what is lost",
            done: (total - search.open_files()) as u64,
            total: total as u64,
        };
        match watch.step(&layer.name, step).is_break() {
            true => Err(Error::Stopped),
            false => Ok(()),
        }
    };
    for at in 0..total {
        tell(&search)?;
        search.in_live_file(at).map_err(failed())?;
    }
    let mut others: Vec<&config::Layer> = context.config.layers.iter().collect();
    others.retain(|other| other.is_runnable() && other.store != layer.store);
    others.sort_by_key(|other| other.local_store().is_none());
    for other in others {
        if search.open_files() == 0 {
            break;
        }
        let Ok(mut opened) = (context.open)(other, Access::Read) else {
            continue;
        };
        let Ok(snapshots) = opened.snapshots() else {
            continue;
        };
        for at in 0..total {
            tell(&search)?;
            let Some(file) = search.lost.get(at).filter(|file| !file.pieces.is_empty()) else {
                continue;
            };
            let path = file.path.clone();
            for snapshot in nearest(&snapshots, file.time) {
                let Ok(mut content) = opened.content(snapshot, &path) else {
                    continue;
                };
                let from = || FoundIn::Layer {
                    layer: other.name.clone(),
                    snapshot: snapshot.name.clone(),
                };
                let mut content = Stream {
                    content: &mut *content,
                    position: Ok(0),
                };
                search.take(at, &mut content, &from).map_err(failed())?;
                if search
                    .lost
                    .get(at)
                    .is_none_or(|file| file.pieces.is_empty())
                {
                    break;
                }
            }
        }
    }
    Ok(search.healed)
}

struct Search<'a> {
    open: &'a mut dyn Repair,
    /// Without the pieces that were found.
    lost: Vec<LostFile>,
    healed: Vec<Healed>,
}

/// Where pieces of a file may be read. Offsets only grow.
trait Pieces {
    /// What is at an offset, and behind it.
    fn at(&mut self, offset: u64) -> io::Result<&mut dyn Read>;
}

impl Pieces for File {
    fn at(&mut self, offset: u64) -> io::Result<&mut dyn Read> {
        self.seek(SeekFrom::Start(offset))?;
        Ok(self)
    }
}

/// A content that comes from its begin to its end.
struct Stream<'a> {
    content: &'a mut dyn Read,
    /// Behind an error nothing is tried: a stream is not where it should be.
    position: Result<u64, io::ErrorKind>,
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let position = self.position?;
        let read = self.content.read(buffer);
        match &read {
            Ok(count) => self.position = Ok(position + *count as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.position = Err(error.kind()),
        }
        read
    }
}

impl Pieces for Stream<'_> {
    fn at(&mut self, offset: u64) -> io::Result<&mut dyn Read> {
        let skipped = offset.checked_sub(self.position?);
        let skipped = skipped.ok_or(io::ErrorKind::InvalidInput)?;
        let passed = io::copy(&mut self.by_ref().take(skipped), &mut io::sink())?;
        match passed < skipped {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(self),
        }
    }
}

impl Search<'_> {
    /// Files of which something is still missing.
    fn open_files(&self) -> usize {
        let open = self.lost.iter().filter(|file| !file.pieces.is_empty());
        open.count()
    }

    fn in_live_file(&mut self, at: usize) -> Result<(), LayerError> {
        let live = self.lost.get(at).and_then(|file| open_live(&file.path));
        match live {
            Some(mut live) => self.take(at, &mut live, &|| FoundIn::Live),
            None => Ok(()),
        }
    }

    /// Takes what fits.
    fn take(
        &mut self,
        at: usize,
        elsewhere: &mut dyn Pieces,
        from: &dyn Fn() -> FoundIn,
    ) -> Result<(), LayerError> {
        let Some(file) = self.lost.get_mut(at) else {
            return Ok(());
        };
        let (mut pieces, mut bytes) = (0, 0);
        let mut missing = Vec::new();
        for piece in std::mem::take(&mut file.pieces) {
            let is_it = match elsewhere.at(piece.offset) {
                Ok(content) => self.open.offer(&piece, &mut content.take(piece.size))?,
                Err(_) => false,
            };
            if is_it {
                pieces += 1;
                bytes += piece.size;
            } else {
                missing.push(piece);
            }
        }
        file.pieces = missing;
        if pieces > 0 {
            self.healed.push(Healed {
                path: PathRecord::from(&file.path),
                pieces,
                bytes,
                from: from(),
            });
        }
        Ok(())
    }
}

/// The regular file that stands at a path on this machine; a link is not followed.
fn open_live(path: &TreePath) -> Option<File> {
    let place = Path::new("/").join(path.as_path());
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).ok()?;
    let file = File::options().read(true).custom_flags(flags).open(place);
    let file = file.ok()?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// The snapshots next to a time, the nearest first.
fn nearest(snapshots: &[Snapshot], time: Timestamp) -> Vec<&Snapshot> {
    let mut nearest: Vec<&Snapshot> = snapshots.iter().collect();
    nearest.sort_by_key(|snapshot| snapshot.time.duration_since(time).abs());
    nearest.truncate(SNAPSHOTS_MAX);
    nearest
}
