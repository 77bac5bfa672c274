//! Sources that are read as they were at one moment: from a snapshot of their file system.
//!
//! btrfs only, and a moment for each subvolume: those of several are not the same. The snapshot is made in the
//! subvolume that it is of, in the folder `.ravelin-snapshot/NAME/`, at the path that the subvolume has itself:
//! so that folder looks like `/`, as far as the subvolume goes, and paths in the backup are those of the files.
//! `NAME` says whose it is: it is made from where this configuration keeps its state.
//!
//! # The order of steps
//!
//! The place is written down in the state home and synced before anything is made there, and struck out when
//! all is removed. Who was killed has left what is written down, and the next one removes that first; of
//! several processes only the one that has the turn to back up comes here. What cannot be removed stays
//! written down, and so does what is of a subvolume that is not there, because its file system is not mounted:
//! each run tries again. Nothing is ever deleted but a subvolume, at the place for it, and folders that are
//! empty.
//!
//! The folder that the subvolume begins with, and those from there down to the snapshot, have to be ours, and
//! nobody else may write to them: else somebody could put a link in the way, and let us read or delete
//! something else. Folders above the subvolume are not looked at: who may write there could put another one
//! in its place.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{io, iter, mem};

use rustix::fs::{AtFlags, CWD, StatxFlags, statfs, statx};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tree::{Problem, ProblemKind, TreePath};

use crate::config::Config;
use crate::event::{PathRecord, ProblemRecord};
use crate::{Error, Machine, create_private_folder, program, replace_private_file};

/// The folder for snapshots, in the subvolume that they are of.
pub(crate) const FOLDER: &str = ".ravelin-snapshot";

/// What was made is written down here.
const RECORD: &str = "file-system-snapshots.json";

/// How long the file system may take for one step.
const PATIENCE: Duration = Duration::from_secs(600);

/// Source: `BTRFS_SUPER_MAGIC` in `linux/magic.h`.
const BTRFS: u64 = 0x9123_683e;

/// The inode of the folder that a subvolume begins with.
///
/// Source: `BTRFS_FIRST_FREE_OBJECTID` in `linux/btrfs_tree.h`.
const SUBVOLUME_INODE: u64 = 256;

/// The inode of the empty folder in whose place another subvolume stands, as snapshots have it.
///
/// Source: `BTRFS_EMPTY_SUBVOL_DIR_OBJECTID` in `linux/btrfs_tree.h`.
pub(crate) const PLACE_INODE: u64 = 2;

/// The snapshots of one run, until it is dropped.
#[derive(Debug)]
pub(crate) struct Still {
    record: PathBuf,
    made: Vec<Snapshot>,
    /// What cannot be removed now.
    left: Vec<Snapshot>,
    /// Why not, of earlier runs.
    problems: Vec<Arc<Problem>>,
    /// For which paths of which source.
    covered: Vec<(usize, PathBuf, usize)>,
}

/// One snapshot of a subvolume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Snapshot {
    /// The subvolume. Paths are bytes.
    subvolume: Vec<u8>,
    /// The folder's name below [`FOLDER`].
    name: String,
}

impl Snapshot {
    fn subvolume(&self) -> PathBuf {
        OsString::from_vec(self.subvolume.clone()).into()
    }

    /// The folder that looks like `/`.
    fn top(&self) -> PathBuf {
        self.subvolume().join(FOLDER).join(&self.name)
    }

    /// The snapshot itself.
    fn place(&self) -> PathBuf {
        let subvolume = self.subvolume();
        let below = subvolume.strip_prefix("/").unwrap_or(&subvolume);
        match below.as_os_str().is_empty() {
            true => self.top(),
            false => self.top().join(below),
        }
    }

    /// The folders that lead to it, from the subvolume down.
    fn way(&self) -> Vec<PathBuf> {
        let (place, subvolume) = (self.place(), self.subvolume());
        let above = place.ancestors().skip(1);
        let mut way: Vec<PathBuf> = above
            .take_while(|folder| **folder != subvolume)
            .map(Path::to_owned)
            .collect();
        way.reverse();
        way
    }
}

impl Still {
    /// Makes the snapshots that the sources want, after what a killed run has left was removed.
    ///
    /// # Errors
    ///
    /// [`Error::FileSystemSnapshot`] when one cannot be made, also because one of an earlier run is in its
    /// place and cannot be removed. None is there then, but what cannot be removed. Where none is to be made,
    /// that is a problem and no error.
    pub(crate) fn make(config: &Config, machine: &Machine) -> Result<Self, Error> {
        let mut still = Self {
            record: machine.places.state.join(RECORD),
            made: Vec::new(),
            left: Vec::new(),
            problems: Vec::new(),
            covered: Vec::new(),
        };
        still.remove_what_is_left()?;
        let mut hasher = Sha256::new();
        hasher.update(&machine.host);
        hasher.update([0]);
        hasher.update(machine.places.state.as_os_str().as_bytes());
        let mut name = hex::encode(hasher.finalize());
        name.truncate(16);
        for (index, source) in config.sources.iter().enumerate() {
            if !source.file_system_snapshot {
                continue;
            }
            for path in &source.paths {
                let subvolume = subvolume_of(path).map_err(failed(path))?;
                let snapshot = Snapshot {
                    subvolume: subvolume.as_os_str().as_bytes().to_vec(),
                    name: name.clone(),
                };
                let known = still.made.iter().position(|made| *made == snapshot);
                let at = match known {
                    Some(at) => at,
                    None => {
                        still.add(snapshot).map_err(failed(path))?;
                        still.made.len() - 1
                    }
                };
                still.covered.push((index, path.clone(), at));
            }
        }
        Ok(still)
    }

    /// The folder below which a path of a source is to be read.
    pub(crate) fn top(&self, source: usize, path: &Path) -> Option<PathBuf> {
        let mut covered = self.covered.iter();
        let (.., at) = covered.find(|(index, of, _)| *index == source && of == path)?;
        self.made.get(*at).map(Snapshot::top)
    }

    /// What earlier runs have left and cannot be removed.
    pub(crate) fn problems(&self) -> &[Arc<Problem>] {
        &self.problems
    }

    /// Folders on which other file systems are mounted, below the paths that are covered; but for those of
    /// sources that stay on their file systems.
    pub(crate) fn mounts(&self, config: &Config) -> BTreeSet<PathBuf> {
        let leaves = |index: &usize| {
            let source = config.sources.get(*index);
            source.is_some_and(|source| !source.one_file_system)
        };
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let mounts = mounts.split(|byte| *byte == b'\n').filter_map(mount_point);
        mounts
            .filter(|mount| {
                let mut covered = self.covered.iter();
                covered.any(|(index, path, _)| {
                    leaves(index) && mount != path && mount.starts_with(path)
                })
            })
            .collect()
    }

    /// Removes the snapshots. Gives the subvolumes of those that stay until a later run removes them, and why.
    pub(crate) fn end(mut self) -> Vec<ProblemRecord> {
        let stay = self.remove().into_iter();
        stay.map(|(path, reason)| ProblemRecord {
            path: PathRecord::from(path.as_os_str().as_bytes()),
            what: format!("its snapshot stays until a later run removes it: {reason}"),
        })
        .collect()
    }

    fn add(&mut self, snapshot: Snapshot) -> io::Result<()> {
        self.left.retain(|left| *left != snapshot);
        self.made.push(snapshot.clone());
        self.write_down()?;
        // The record may have been lost, with the state of this machine.
        remove(&snapshot)?;
        let way = snapshot.way();
        for folder in &way {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            insist_on_ours(folder)?;
        }
        let mut command = Command::new("btrfs");
        command.args(["subvolume", "snapshot", "-r"]);
        command.arg(snapshot.subvolume()).arg(snapshot.place());
        call(&mut command)
    }

    /// Removes all that it can; says what not, and why.
    fn remove(&mut self) -> Vec<(PathBuf, io::Error)> {
        let mut failures = Vec::new();
        if self.made.is_empty() {
            return failures;
        }
        for snapshot in mem::take(&mut self.made).into_iter().rev() {
            let gone = || io::Error::other("the subvolume is not there any more");
            match remove(&snapshot) {
                Ok(true) => continue,
                Ok(false) => failures.push((snapshot.subvolume(), gone())),
                Err(error) => failures.push((snapshot.subvolume(), error)),
            }
            self.left.push(snapshot);
        }
        if let Err(error) = self.write_down() {
            failures.push((self.record.clone(), error));
        }
        failures
    }

    fn remove_what_is_left(&mut self) -> Result<(), Error> {
        let left = match fs::read(&self.record) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            left => left.map_err(failed(&self.record))?,
        };
        // A record that is torn was never relied upon: nothing is made before it is whole.
        let left: Vec<Snapshot> = serde_json::from_slice(&left).unwrap_or_default();
        for snapshot in left {
            match remove(&snapshot) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => self.problems.extend(stays(&snapshot, error)),
            }
            self.left.push(snapshot);
        }
        self.write_down().map_err(failed(&self.record))
    }

    /// Keeps what is made, or is going to be, and what is left.
    fn write_down(&self) -> io::Result<()> {
        let all: Vec<&Snapshot> = self.left.iter().chain(&self.made).collect();
        if all.is_empty() {
            return match fs::remove_file(&self.record) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        if let Some(folder) = self.record.parent() {
            create_private_folder(folder)?;
        }
        replace_private_file(&self.record, &serde_json::to_vec(&all)?)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // The next run tries again.
        let _ = self.remove();
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::FileSystemSnapshot { path, source }
}

/// That a snapshot of an earlier run stays.
fn stays(snapshot: &Snapshot, error: io::Error) -> Option<Arc<Problem>> {
    let path = TreePath::from_local(&snapshot.place()).ok()?;
    let source = io::Error::other(format!(
        "{error}; if nothing else helps, call `btrfs subvolume delete`"
    ));
    let action = "remove this snapshot, which an earlier run has left";
    let what = ProblemKind::Io { action, source };
    Some(Arc::new(Problem { path, what }))
}

/// Removes a snapshot and the folders that lead to it, as far as they are there. `false` when the subvolume
/// itself is not there, as where its file system is not mounted: then nothing is known.
fn remove(snapshot: &Snapshot) -> io::Result<bool> {
    let subvolume = snapshot.subvolume();
    if !is_subvolume(&subvolume)? {
        return Ok(false);
    }
    let (way, place) = (snapshot.way(), snapshot.place());
    let is_there = match fs::symlink_metadata(&place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        found => found.map(|_| true)?,
    };
    for folder in iter::once(&subvolume).chain(&way) {
        match insist_on_ours(folder) {
            // It was never made.
            Err(error) if !is_there && error.kind() == io::ErrorKind::NotFound => break,
            // Somebody has removed it; what is left is not ours to tidy up.
            Err(_) if !is_there => return Ok(true),
            looked => looked?,
        }
    }
    if is_there {
        if !is_subvolume(&place)? {
            return Err(io::Error::other(format!(
                "{} is no snapshot: remove it by hand",
                place.display()
            )));
        }
        if !rustix::process::geteuid().is_root() {
            // Of what is read-only, users may not even delete what is theirs.
            let mut command = Command::new("btrfs");
            command.args(["property", "set", "-t", "subvol"]);
            call(command.arg(&place).args(["ro", "false"]))?;
        }
        let mut command = Command::new("btrfs");
        command.args(["subvolume", "delete"]).arg(&place);
        call(&mut command)?;
    }
    for folder in way.iter().rev() {
        match fs::remove_dir(folder) {
            // Another configuration may have one there.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => break,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

fn call(command: &mut Command) -> io::Result<()> {
    let ended = program::run(command.env("LC_ALL", "C"), b"", PATIENCE);
    let ended = ended.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::other("the program `btrfs` is not installed (package btrfs-progs)")
        }
        _ => error,
    })?;
    match ended.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(ended.complaint())),
    }
}

/// Whether a subvolume of btrfs begins here.
fn is_subvolume(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => Ok(found?.ino() == SUBVOLUME_INODE && is_btrfs(path)?),
    }
}

fn is_btrfs(path: &Path) -> io::Result<bool> {
    let found = statfs(path)?;
    Ok(u64::try_from(found.f_type).is_ok_and(|kind| kind & 0xffff_ffff == BTRFS))
}

/// Whether a folder is one, and nobody else may write to it.
fn is_ours(folder: &Path) -> io::Result<bool> {
    let found = fs::symlink_metadata(folder)?;
    let us = rustix::process::geteuid().as_raw();
    Ok(found.is_dir() && found.uid() == us && found.mode() & 0o022 == 0)
}

fn insist_on_ours(folder: &Path) -> io::Result<()> {
    match is_ours(folder)? {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{} is no folder, belongs to somebody else, or others may write to it",
            folder.display()
        ))),
    }
}

/// The subvolume that holds a path, if a snapshot of it can be made and removed again.
fn subvolume_of(path: &Path) -> io::Result<PathBuf> {
    let no = |what: String| Err(io::Error::other(what));
    let real = path.canonicalize()?;
    if real != path {
        return no(format!(
            "it goes through a link: write {} instead",
            real.display()
        ));
    }
    if !is_btrfs(path)? {
        return no(
            "it is not on btrfs: other file systems take hooks, see docs/guide/snapshots.md"
                .to_owned(),
        );
    }
    let look = |path: &Path| {
        statx(
            CWD,
            path,
            AtFlags::empty(),
            StatxFlags::INO | StatxFlags::MNT_ID,
        )
    };
    let mount = look(path)?.stx_mnt_id;
    let mut subvolume = path;
    loop {
        let found = look(subvolume)?;
        if found.stx_mnt_id != mount {
            return no("it is mounted from the middle of a subvolume: name the place where the whole subvolume is mounted".to_owned());
        }
        if found.stx_ino == SUBVOLUME_INODE && subvolume.is_dir() {
            break;
        }
        let Some(above) = subvolume.parent() else {
            return no("it is mounted from the middle of a subvolume: name the place where the whole subvolume is mounted".to_owned());
        };
        subvolume = above;
    }
    if !is_ours(subvolume)? {
        return no(format!(
            "the subvolume {} does not belong to this user alone, who has to make a folder in it",
            subvolume.display()
        ));
    }
    if !rustix::process::geteuid().is_root() && !may_delete(subvolume) {
        return no("only root may remove snapshots here: let root run ravelin, or mount the file system with `user_subvol_rm_allowed`".to_owned());
    }
    Ok(subvolume.to_owned())
}

/// Whether users may delete subvolumes of their own on the file system that a path is on.
fn may_delete(path: &Path) -> bool {
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut best: Option<(PathBuf, bool)> = None;
    for line in mounts.split(|byte| *byte == b'\n') {
        let Some(mount) = mount_point(line).filter(|mount| path.starts_with(mount)) else {
            continue;
        };
        let allowed = String::from_utf8_lossy(line).contains("user_subvol_rm_allowed");
        if best
            .as_ref()
            .is_none_or(|(known, _)| mount.starts_with(known))
        {
            best = Some((mount, allowed));
        }
    }
    best.is_some_and(|(_, allowed)| allowed)
}

/// The folder that a line of `mountinfo` is about: its fifth word, with some bytes as octal numbers.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let word = line.split(|byte| *byte == b' ').nth(4)?;
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match number.and_then(|number| u8::from_str_radix(number, 8).ok()) {
            Some(number) => {
                path.push(number);
                rest = after.get(3..)?;
            }
            None => {
                path.push(byte);
                rest = after;
            }
        }
    }
    Some(OsString::from_vec(path).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_a_snapshot_begins_in_its_subvolume() {
        let of = |subvolume: &str| Snapshot {
            subvolume: subvolume.into(),
            name: "ab".to_owned(),
        };
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let root = of("/");
        assert_eq!(root.place(), Path::new("/.ravelin-snapshot/ab"));
        assert_eq!(root.way(), paths(&["/.ravelin-snapshot"]));
        let inner = of("/mnt/data");
        let top = "/mnt/data/.ravelin-snapshot/ab";
        assert_eq!(inner.top(), Path::new(top));
        assert_eq!(inner.place(), Path::new(top).join("mnt/data"));
        let way = ["/mnt/data/.ravelin-snapshot", top, &format!("{top}/mnt")];
        assert_eq!(inner.way(), paths(&way));
    }

    #[test]
    fn what_is_of_a_subvolume_that_is_not_there_stays_written_down() {
        let folder = tempfile::tempdir().unwrap();
        let left = Snapshot {
            // As where nothing is mounted.
            subvolume: folder.path().as_os_str().as_bytes().to_vec(),
            name: "ab".to_owned(),
        };
        let record = folder.path().join(RECORD);
        let text = serde_json::to_vec(&[&left]).unwrap();
        fs::write(&record, &text).unwrap();
        let mut still = Still {
            record: record.clone(),
            made: Vec::new(),
            left: Vec::new(),
            problems: Vec::new(),
            covered: Vec::new(),
        };
        still.remove_what_is_left().unwrap();
        assert!(still.problems().is_empty());
        assert!(still.end().is_empty());
        assert_eq!(fs::read(&record).unwrap(), text);
    }

    #[test]
    fn mount_points_are_read_with_all_bytes() {
        let line = br"36 35 98:0 /m /mnt/a\040b\134c rw,noatime - ext3 /dev/root rw";
        assert_eq!(mount_point(line), Some(PathBuf::from(r"/mnt/a b\c")));
        assert_eq!(mount_point(b""), None);
    }
}
