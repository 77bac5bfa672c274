//! The folder on this machine, reached through handles: a symbolic link is never followed, so that
//! nothing outside of the folder is read or written.
//!
//! A file is replaced by exchanging two names in one step, and deleted by giving it another name
//! first. Then what came out is compared with what was expected. If somebody saved the file in that
//! very moment, their work is in hand, and becomes a conflict copy.
//!
//! `.ravelin-part-…` is an unfinished download: it may be removed. `.ravelin-swap-…` holds what was
//! exchanged: after a crash it is removed only if it is a known version.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, fstat, openat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use store::Name;

use crate::{Error, Problem};

/// Starts the names of unfinished downloads.
const PART: &str = ".ravelin-part-";

/// Starts the names of what was exchanged.
const SWAP: &str = ".ravelin-swap-";

/// What tells a state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    pub(crate) inode: u64,
    /// Nanoseconds since 1970.
    pub(crate) modified: i64,
    /// Nanoseconds since 1970.
    pub(crate) changed: i64,
}

impl Stat {
    fn of(stat: &rustix::fs::Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: u64| {
            seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::try_from(rest).unwrap_or(0))
        };
        Self {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            inode: stat.st_ino,
            modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
            changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// The same file with the same content, perhaps under another name.
    fn is_same_file(&self, other: &Self) -> bool {
        (self.size, self.inode, self.modified) == (other.size, other.inode, other.modified)
    }
}

/// What stands in the folder.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    pub(crate) files: BTreeMap<Name, Stat>,
    /// What an interrupted run left, with the file that it belongs to.
    pub(crate) left: Vec<(Name, Name)>,
    pub(crate) problems: Vec<Problem>,
    /// Folders that could not be read: nothing is known of what is in them.
    pub(crate) unknown: Vec<String>,
}

/// What became of a file that was to be replaced or deleted.
#[derive(Debug)]
pub(crate) enum Placed {
    Done(Stat),
    /// Something else stands there than was expected; nothing was done.
    Changed,
    /// It was edited in that moment. The new content is under this name.
    Edited(Name),
}

/// An open folder.
pub(crate) struct Local {
    root: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Local {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty());
        let root = root.map_err(|error| Error::local("open", path)(error.into()))?;
        Ok(Self {
            root,
            path: path.to_owned(),
        })
    }

    fn fail(&self, action: &'static str, path: &Name) -> impl Fn(Errno) -> Error + use<> {
        let path = self.path.join(path.as_str());
        move |error| Error::local(action, &path)(error.into())
    }

    /// Reads the names and states of all files for which `ignored` (given whether it is a folder)
    /// does not say that they are left out. Unfinished downloads are removed.
    pub(crate) fn scan(&self, ignored: &dyn Fn(&str, bool) -> bool) -> Result<Scanned, Error> {
        let mut scanned = Scanned::default();
        let root = self.root.try_clone();
        let root = root.map_err(Error::local("read", &self.path))?;
        let mut open = vec![(root, String::new())];
        while let Some((folder, prefix)) = open.pop() {
            if let Err(error) = self.scan_folder(&folder, &prefix, ignored, &mut scanned, &mut open)
            {
                if prefix.is_empty() {
                    return Err(Error::local("read", &self.path)(error.into()));
                }
                scanned
                    .problems
                    .push(Problem::new(&prefix, format!("cannot be read: {error}")));
                scanned.unknown.push(prefix);
            }
        }
        Ok(scanned)
    }

    fn scan_folder(
        &self,
        folder: &OwnedFd,
        prefix: &str,
        ignored: &dyn Fn(&str, bool) -> bool,
        scanned: &mut Scanned,
        open: &mut Vec<(OwnedFd, String)>,
    ) -> Result<(), Errno> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            if matches!(bytes, b"." | b"..") {
                continue;
            }
            let mut problem = |what: &str| {
                let shown = OsStr::from_bytes(bytes).display().to_string();
                let path = format!("{prefix}{}", shown.escape_debug());
                scanned.problems.push(Problem::new(path, what));
            };
            let stat = match statat(folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            let kind = FileType::from_raw_mode(stat.st_mode);
            let Ok(text) = std::str::from_utf8(bytes) else {
                problem("its name is not text in UTF-8, so it stays on this machine");
                continue;
            };
            let path = format!("{prefix}{text}");
            if text.starts_with(PART) && kind == FileType::RegularFile {
                // Ours, and unfinished.
                let _ = unlinkat(folder, entry.file_name(), AtFlags::empty());
                continue;
            }
            if let Some(of) = text.strip_prefix(SWAP) {
                let of = of.split_once('-').map_or(of, |(_, name)| name);
                let names = Name::new(&path)
                    .ok()
                    .zip(Name::new(format!("{prefix}{of}")).ok());
                scanned.left.extend(names);
                continue;
            }
            if ignored(&path, kind == FileType::Directory) {
                continue;
            }
            let name = match Name::new(&path) {
                Ok(name) => name,
                Err(error) => {
                    problem(&format!("{error}, so it stays on this machine"));
                    continue;
                }
            };
            match kind {
                FileType::RegularFile => {
                    scanned.files.insert(name, Stat::of(&stat));
                }
                FileType::Directory => {
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    match openat(folder, entry.file_name(), flags, Mode::empty()) {
                        Ok(below) => open.push((below, format!("{path}/"))),
                        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                        Err(error) => {
                            problem(&format!("cannot be read: {error}"));
                            scanned.unknown.push(format!("{path}/"));
                        }
                    }
                }
                FileType::Symlink => {
                    problem("it is a symbolic link, so it stays on this machine");
                }
                _ => problem("it is no regular file, so it stays on this machine"),
            }
        }
        Ok(())
    }

    /// The handle of the folder that a file is in, and its last name.
    fn folder_of<'a>(&self, path: &'a Name, create: bool) -> Result<(OwnedFd, &'a str), Errno> {
        let mut folder = self.root.try_clone().map_err(|_| Errno::MFILE)?;
        let text = path.as_str();
        let (above, name) = text.rsplit_once('/').unwrap_or(("", text));
        for part in above.split('/').filter(|part| !part.is_empty()) {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder = match openat(&folder, part, flags, Mode::empty()) {
                Err(Errno::NOENT) if create => {
                    match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error),
                    }
                    openat(&folder, part, flags, Mode::empty())?
                }
                opened => opened?,
            };
        }
        Ok((folder, name))
    }

    /// A file's state; `None` when no regular file stands there.
    pub(crate) fn stat(&self, path: &Name) -> Option<Stat> {
        let (folder, name) = self.folder_of(path, false).ok()?;
        let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        regular.then(|| Stat::of(&stat))
    }

    /// Opens a file for reading, with its state.
    pub(crate) fn read(&self, path: &Name) -> Result<(File, Stat), Error> {
        let fail = self.fail("read", path);
        let (folder, name) = self.folder_of(path, false).map_err(&fail)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&folder, name, flags, Mode::empty()).map_err(&fail)?;
        let stat = fstat(&file).map_err(&fail)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(fail(Errno::INVAL));
        }
        Ok((File::from(file), Stat::of(&stat)))
    }

    /// The state of an open file.
    pub(crate) fn stat_open(file: &File) -> Option<Stat> {
        fstat(file).ok().map(|stat| Stat::of(&stat))
    }

    /// Puts content under a name, where `expected` stands now, or nothing.
    ///
    /// `random` makes the name of the unfinished file; `modified` is nanoseconds since 1970. The content is synced
    /// before it gets its name.
    pub(crate) fn place(
        &self,
        path: &Name,
        mut content: impl Read,
        modified: i64,
        expected: Option<&Stat>,
        random: &str,
    ) -> Result<Placed, Error> {
        let fail = self.fail("write", path);
        let (folder, name) = self.folder_of(path, true).map_err(&fail)?;
        let part = format!("{PART}{random}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&folder, part.as_str(), flags, Mode::from_raw_mode(0o666));
        let mut file = File::from(file.map_err(&fail)?);
        let drop_part = || {
            // The error that led here counts.
            let _ = unlinkat(&folder, part.as_str(), AtFlags::empty());
        };
        let written = write_all(&mut content, &mut file, modified, path);
        if let Err(error) = written {
            drop_part();
            return Err(match store::Error::unwrap_io(error) {
                Ok(error) => error.into(),
                Err(error) => Error::local("write", &self.path.join(path.as_str()))(error),
            });
        }
        // A file that is replaced keeps its permissions.
        if expected.is_some()
            && let Ok(old) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)
        {
            let _ = rustix::fs::fchmod(&file, Mode::from_raw_mode(old.st_mode & 0o777));
        }
        let swap = swap_name(name, random);
        renameat_with(
            &folder,
            part.as_str(),
            &folder,
            swap.as_str(),
            RenameFlags::NOREPLACE,
        )
        .map_err(|error| {
            drop_part();
            fail(error)
        })?;
        let placed = self.exchange(&folder, &swap, name, path, expected)?;
        let _ = rustix::fs::fsync(&folder);
        match placed {
            Placed::Done(_) => {
                let stat = fstat(&file).map_err(&fail)?;
                Ok(Placed::Done(Stat::of(&stat)))
            }
            other => Ok(other),
        }
    }

    /// Gives the file `swap` the name `name`.
    fn exchange(
        &self,
        folder: &OwnedFd,
        swap: &str,
        name: &str,
        path: &Name,
        expected: Option<&Stat>,
    ) -> Result<Placed, Error> {
        let fail = self.fail("replace", path);
        let give_up = |error: Errno| {
            let _ = unlinkat(folder, swap, AtFlags::empty());
            match error {
                Errno::EXIST | Errno::NOENT | Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY => {
                    Ok(Placed::Changed)
                }
                error => Err(fail(error)),
            }
        };
        let done = Stat {
            size: 0,
            inode: 0,
            modified: 0,
            changed: 0,
        };
        let Some(expected) = expected else {
            return match renameat_with(folder, swap, folder, name, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(Placed::Done(done)),
                Err(error) => give_up(error),
            };
        };
        // A look before: exchanging with a folder is possible, and not meant.
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => return give_up(error),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || !Stat::of(&stat).is_same_file(expected)
        {
            return give_up(Errno::EXIST);
        }
        match renameat_with(folder, swap, folder, name, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return self.exchange_in_steps(folder, swap, name, path, expected);
            }
            Err(error) => return give_up(error),
        }
        self.let_go(folder, swap, path, expected)
    }

    /// For file systems that cannot exchange: the old file steps aside first.
    fn exchange_in_steps(
        &self,
        folder: &OwnedFd,
        swap: &str,
        name: &str,
        path: &Name,
        expected: &Stat,
    ) -> Result<Placed, Error> {
        let fail = self.fail("replace", path);
        let aside = format!("{SWAP}old{}", swap.strip_prefix(SWAP).unwrap_or(swap));
        renameat_with(folder, name, folder, aside.as_str(), RenameFlags::NOREPLACE)
            .map_err(&fail)?;
        if let Err(error) = renameat_with(folder, swap, folder, name, RenameFlags::NOREPLACE) {
            let _ = renameat_with(folder, aside.as_str(), folder, name, RenameFlags::NOREPLACE);
            let _ = unlinkat(folder, swap, AtFlags::empty());
            return Err(fail(error));
        }
        self.let_go(folder, &aside, path, expected)
    }

    /// Removes what was exchanged if it is what was expected.
    fn let_go(
        &self,
        folder: &OwnedFd,
        swap: &str,
        path: &Name,
        expected: &Stat,
    ) -> Result<Placed, Error> {
        let fail = self.fail("replace", path);
        let out = statat(folder, swap, AtFlags::SYMLINK_NOFOLLOW).map_err(&fail)?;
        let out = Stat::of(&out);
        if out.is_same_file(expected) {
            unlinkat(folder, swap, AtFlags::empty()).map_err(&fail)?;
            return Ok(Placed::Done(out));
        }
        let prefix = path.folder().prefix();
        let name = crate::hidden::name(&format!("{prefix}{swap}"))?;
        Ok(Placed::Edited(name))
    }

    /// Deletes a file if it is what is expected.
    pub(crate) fn remove(
        &self,
        path: &Name,
        expected: &Stat,
        random: &str,
    ) -> Result<Placed, Error> {
        let fail = self.fail("delete", path);
        let (folder, name) = match self.folder_of(path, false) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Placed::Changed),
            Err(error) => return Err(fail(error)),
        };
        let stat = match statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Stat::of(&stat),
            Err(Errno::NOENT) => return Ok(Placed::Changed),
            Err(error) => return Err(fail(error)),
        };
        if !stat.is_same_file(expected) {
            return Ok(Placed::Changed);
        }
        let swap = swap_name(name, random);
        renameat_with(
            &folder,
            name,
            &folder,
            swap.as_str(),
            RenameFlags::NOREPLACE,
        )
        .map_err(&fail)?;
        self.let_go(&folder, &swap, path, expected)
    }

    /// Removes what an interrupted run left behind.
    pub(crate) fn remove_left(&self, path: &Name) -> Result<(), Error> {
        let fail = self.fail("delete", path);
        let (folder, name) = self.folder_of(path, false).map_err(&fail)?;
        unlinkat(&folder, name, AtFlags::empty()).map_err(&fail)
    }

    /// Gives a file or folder another name; never replaces. `false` when that one is taken.
    pub(crate) fn rename(&self, from: &Name, to: &Name) -> Result<bool, Error> {
        let fail = self.fail("rename", from);
        let (source, old) = self.folder_of(from, false).map_err(&fail)?;
        let (target, new) = self.folder_of(to, true).map_err(&fail)?;
        match renameat_with(&source, old, &target, new, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(fail(error)),
        }
    }

    /// Removes a folder if there is nothing in it but such folders. Whether it did.
    pub(crate) fn clear_empty(&self, path: &Name) -> bool {
        let Ok((above, last)) = self.folder_of(path, false) else {
            return false;
        };
        clear(&above, last).is_ok()
    }

    /// Removes the folders above a file that have become empty.
    pub(crate) fn prune(&self, path: &Name) {
        let mut folder = path.folder();
        while !folder.is_root() {
            let Ok(name) = Name::new(folder.as_str()) else {
                return;
            };
            let Ok((above, last)) = self.folder_of(&name, false) else {
                return;
            };
            // The system refuses for a folder that is not empty.
            if unlinkat(&above, last, AtFlags::REMOVEDIR).is_err() {
                return;
            }
            folder = name.folder();
        }
    }
}

fn clear<P: rustix::path::Arg + Copy>(above: &OwnedFd, name: P) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(above, name, flags, Mode::empty())?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            clear(&folder, entry.file_name())?;
        }
    }
    // The system refuses for a folder that is not empty.
    unlinkat(above, name, AtFlags::REMOVEDIR)
}

/// The name of what is exchanged tells whose it is, cut where it would be too long.
fn swap_name(name: &str, random: &str) -> String {
    let room = 255_usize.saturating_sub(SWAP.len() + random.len() + 1);
    let mut end = name.len().min(room);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{SWAP}{random}-{}", name.get(..end).unwrap_or_default())
}

fn write_all(
    content: &mut impl Read,
    file: &mut File,
    modified: i64,
    path: &Name,
) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // What the store says is told from what this disk says.
            Err(error) => {
                return Err(store::Error::from_io(error, store::Operation::Read, path).into());
            }
        };
        file.write_all(buffer.get(..count).unwrap_or_default())?;
    }
    let time = Timespec {
        tv_sec: modified.div_euclid(1_000_000_000),
        tv_nsec: modified.rem_euclid(1_000_000_000),
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::futimens(&*file, &times)?;
    file.sync_all()
}
