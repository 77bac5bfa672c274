//! Data sets for measurements, the same to the byte, the name and the nanosecond every time.
//!
//! Each file's content comes from a generator of its own, seeded with the file's name, so all
//! cores can work in any order. A set at a scale is always the same; so is what
//! [`mutate`] makes of it day after day.

mod content;
mod digest;
mod mutate;
mod plan;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

pub use digest::digest;
pub use mutate::mutate;

use crate::Random;
use content::{Content, Generator};
use plan::{Plan, PlannedFile};

/// Which data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// A person's disk: about 1.8 GB in 50,000 files. Mostly small text, some media that do not
    /// compress, logs, databases, a disk image with holes, links, attributes, access control
    /// lists.
    Mixed,
    /// 100,000 small text files, 0.9 GB.
    Small,
    /// Four large files of noise, 1.8 GB.
    Big,
}

impl Set {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mixed, Self::Small, Self::Big];

    /// What people call it: `mixed`, `small`, `big`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mixed => "mixed",
            Self::Small => "small",
            Self::Big => "big",
        }
    }

    /// The set of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }
}

/// Every set and scale has other contents than every other set.
const SEED: u64 = 0x5eed_0000_7261_7631;

/// Makes a data set in a directory, which is created.
///
/// `scale` multiplies the number of small files and the size of large ones: 1.0 for
/// measurements, 0.01 for a test.
///
/// # Errors
///
/// When the directory exists or something cannot be written.
pub fn generate(set: Set, directory: &Path, scale: f64) -> io::Result<()> {
    let plan = Plan::new(set, scale);
    fs::create_dir_all(directory.parent().unwrap_or(directory))?;
    fs::create_dir(directory)?;
    for path in plan.directories() {
        let path = directory.join(path);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    }
    in_parallel(&plan.files, |file| write_file(directory, file))?;
    for (path, target) in &plan.hard_links {
        fs::hard_link(directory.join(target), directory.join(path))?;
    }
    for (path, target) in &plan.symlinks {
        let path = directory.join(path);
        symlink(target, &path)?;
        set_mtime(&path, plan::FIRST_DAY)?;
    }
    // From the bottom up and last of all: every new file changes its directory's time.
    for path in plan.directories().iter().rev() {
        set_mtime(&directory.join(path), plan::FIRST_DAY)?;
    }
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    set_mtime(directory, plan::FIRST_DAY)
}

fn write_file(directory: &Path, planned: &PlannedFile) -> io::Result<()> {
    let path = directory.join(&planned.path);
    let file = File::create_new(&path)?;
    let mut random = Random::named(SEED, planned.path.as_bytes());
    let mut generator = Generator::new(planned.content, &mut random);
    let mut block = vec![0; usize::try_from(planned.size.min(1 << 20)).unwrap_or(1 << 20)];
    let mut at = 0;
    while at < planned.size {
        let len = usize::try_from(planned.size - at)
            .unwrap_or(usize::MAX)
            .min(block.len());
        let hole = planned.content == Content::Image && random.below(5) < 2;
        if !hole {
            generator.fill(&mut random, &mut block[..len]);
            file.write_all_at(&block[..len], at)?;
        }
        at += len as u64;
    }
    file.set_len(planned.size)?;
    if planned.has_xattrs {
        rustix::fs::fsetxattr(
            &file,
            "user.origin",
            planned.path.as_bytes(),
            XattrFlags::empty(),
        )?;
        rustix::fs::fsetxattr(&file, "user.rating", b"5", XattrFlags::empty())?;
    }
    file.set_permissions(Permissions::from_mode(0o644))?;
    if planned.has_acl {
        rustix::fs::fsetxattr(
            &file,
            "system.posix_acl_access",
            &plan::ACL,
            XattrFlags::empty(),
        )?;
    }
    drop(file);
    set_mtime(&path, planned.mtime)
}

/// Does something with each element on all cores. The first error ends it.
fn in_parallel<T: Sync>(work: &[T], act: impl Fn(&T) -> io::Result<()> + Sync) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while let Some(piece) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = act(piece) {
                        next.store(work.len(), Ordering::Relaxed);
                        if let Ok(mut failed) = failed.lock() {
                            *failed = Some(error);
                        }
                    }
                }
            });
        }
    });
    failed.into_inner().ok().flatten().map_or(Ok(()), Err)
}

fn set_mtime(path: &Path, (tv_sec, tv_nsec): (i64, i64)) -> io::Result<()> {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Everything below a directory but itself, in order of path.
fn everything_below(directory: &Path) -> io::Result<Vec<(PathBuf, fs::Metadata)>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                open.push(path.clone());
            }
            found.push((path, metadata));
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Reads every file below a directory, on all cores, so that it is in the page cache.
///
/// Borg drops what it has read from there; whoever is measured after it would start cold.
///
/// # Errors
///
/// When something cannot be read.
pub fn warm(directory: &Path) -> io::Result<()> {
    let files: Vec<PathBuf> = everything_below(directory)?
        .into_iter()
        .filter_map(|(path, metadata)| metadata.is_file().then_some(path))
        .collect();
    in_parallel(&files, |path| {
        io::copy(&mut File::open(path)?, &mut io::sink()).map(drop)
    })
}

/// Bytes of all files below a directory.
///
/// # Errors
///
/// When the directory cannot be read.
pub fn bytes_below(directory: &Path) -> io::Result<u64> {
    Ok(everything_below(directory)?
        .iter()
        .filter(|(_, metadata)| metadata.is_file())
        .map(|(_, metadata)| metadata.len())
        .sum())
}
