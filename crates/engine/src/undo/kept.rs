//! Copies of what a restore replaces, and the layer that brings them back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tree::{Entry, EntryKind, Placed, ProblemKind, Time, TreePath};

use super::failed;
use crate::layer::{
    self, Depth, Details, Found, Intake, Item, Layer, NewSnapshot, RestoreStep, Verification,
    VerifyStep,
};
use crate::{Error, Selection, Snapshot};

/// One file or link that was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// Its path below the target, in base64: names need not be text.
    path: String,
    mode: u32,
    owner: (u32, u32),
    /// Nanoseconds since 1970.
    modified: i64,
    size: u64,
    /// Where a link points, in base64.
    link: Option<String>,
}

impl Kept {
    pub(super) fn path(&self) -> Option<TreePath> {
        TreePath::new(STANDARD.decode(&self.path).ok()?).ok()
    }

    fn entry(&self) -> Option<Entry> {
        let kind = match &self.link {
            None => EntryKind::File,
            Some(target) => EntryKind::Symlink {
                target: STANDARD.decode(target).ok()?,
            },
        };
        let time = Time {
            nanoseconds: self.modified,
        };
        let mut entry = Entry::new(self.path()?, kind, self.mode, self.owner, time);
        entry.size = self.size;
        Some(entry)
    }
}

/// Something that stands in the way, and where.
pub(super) struct InTheWay {
    path: TreePath,
    place: PathBuf,
    metadata: fs::Metadata,
}

impl InTheWay {
    /// What is there of these places below the target, and its size in bytes.
    pub(super) fn look(target: &Path, paths: Vec<TreePath>) -> (Vec<Self>, u64) {
        let found = paths.into_iter().filter_map(|path| {
            let place = target.join(path.as_path());
            let metadata = fs::symlink_metadata(&place).ok()?;
            Some(Self {
                path,
                place,
                metadata,
            })
        });
        let found: Vec<Self> = found.collect();
        let bytes = found.iter().map(|one| one.metadata.len()).sum();
        (found, bytes)
    }
}

/// Copies what stands in the way into a folder: number N becomes the file `N`.
pub(super) fn copy_all(found: Vec<InTheWay>, folder: &Path) -> Result<Vec<Kept>, Error> {
    let mut kept = Vec::new();
    for one in found {
        let InTheWay {
            path,
            place,
            metadata,
        } = one;
        let kind = metadata.file_type();
        let mut size = metadata.len();
        let link = if kind.is_symlink() {
            let target = fs::read_link(&place).map_err(failed("keep", &place))?;
            Some(STANDARD.encode(target.into_os_string().into_vec()))
        } else if kind.is_file() {
            let copy = folder.join(kept.len().to_string());
            size = copy_one(&place, &copy).map_err(failed("keep", &place))?;
            None
        } else {
            // Pipes and devices have nothing in them.
            continue;
        };
        let nanoseconds = metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec());
        kept.push(Kept {
            path: STANDARD.encode(path.as_bytes()),
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            modified: nanoseconds,
            size,
            link,
        });
    }
    Ok(kept)
}

/// Copies a file, durably; gives its size.
fn copy_one(from: &Path, to: &Path) -> io::Result<u64> {
    // No link is followed, and no pipe that came meanwhile is waited for.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut source = OpenOptions::new()
        .read(true)
        .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
        .open(from)?;
    if !source.metadata()?.is_file() {
        return Err(io::Error::other("it is no file any more"));
    }
    let mut copy = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    let size = io::copy(&mut source, &mut copy)?;
    copy.sync_all()?;
    Ok(size)
}

/// What is kept, as a layer with one snapshot.
pub(super) struct KeptLayer {
    pub(super) folder: PathBuf,
    pub(super) kept: Vec<Kept>,
    pub(super) snapshot: Snapshot,
}

/// Why nothing else can be asked of it.
const ONLY: layer::Error = layer::Error::Unsupported {
    what: "do more than bring back what was replaced",
};

impl KeptLayer {
    fn items(&self) -> impl Iterator<Item = (usize, Entry)> + '_ {
        let kept = self.kept.iter().enumerate();
        kept.filter_map(|(number, kept)| Some((number, kept.entry()?)))
    }
}

impl Layer for KeptLayer {
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, layer::Error> {
        Ok(vec![self.snapshot.clone()])
    }

    fn details(&mut self, _: &Snapshot) -> Result<Details, layer::Error> {
        Err(ONLY)
    }

    fn entries(
        &mut self,
        _: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), layer::Error> {
        for (_, entry) in self.items() {
            let item = Item {
                entry,
                content: None,
            };
            if receive(Ok(item)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn content<'a>(
        &'a mut self,
        _: &Snapshot,
        _: &TreePath,
    ) -> Result<Box<dyn Read + 'a>, layer::Error> {
        Err(ONLY)
    }

    fn restore(
        &mut self,
        _: &Snapshot,
        selection: &Selection,
        restore: &tree::Restore,
        on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), layer::Error> {
        let mut admission = selection.admission();
        let mut step = RestoreStep { bytes: 0 };
        let admitted = self
            .items()
            .filter_map(|(copy, entry)| Some((copy, admission.admit(entry)?)));
        for (number, (copy, entry)) in admitted.enumerate() {
            if on_step(step).is_break() {
                break;
            }
            let Placed::Content(file) = restore.place(number, entry)? else {
                continue;
            };
            let unreadable = |source| ProblemKind::Io {
                action: "read what was kept of it",
                source,
            };
            match File::open(self.folder.join(copy.to_string())) {
                Err(error) => file.fail(unreadable(error)),
                Ok(mut content) => {
                    let mut buffer = vec![0; 256 << 10];
                    let mut offset = 0;
                    loop {
                        match content.read(&mut buffer) {
                            Ok(0) => break,
                            Ok(count) => {
                                let bytes = buffer.get(..count).unwrap_or_default();
                                file.write_at(offset, bytes)?;
                                offset += bytes.len() as u64;
                                step.bytes += bytes.len() as u64;
                            }
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            Err(error) => {
                                file.fail(unreadable(error));
                                break;
                            }
                        }
                    }
                }
            }
            file.finish()?;
        }
        Ok(())
    }

    fn begin<'a>(
        &'a mut self,
        _: &NewSnapshot,
        _: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Box<dyn Intake + 'a>, layer::Error> {
        Err(ONLY)
    }

    fn verify(
        &mut self,
        _: Depth,
        _: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, layer::Error> {
        Err(ONLY)
    }
}
