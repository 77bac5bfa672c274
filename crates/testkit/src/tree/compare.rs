//! Two directories compared, name by name and attribute by attribute, by a walk of our own.
//!
//! Everything is read through the handle of its directory, so paths of any length work.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, IFlags, Mode, OFlags, Stat};

/// One thing that differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where, relative to both roots; empty for the roots themselves.
    pub path: Vec<u8>,
    /// What: `mode 644, not 600`.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.escape_ascii(), self.what)
    }
}

/// What [`compare`] does not look at. By default it looks at everything that can be restored:
/// never at the times of access and of change of status, nor at inode numbers as such.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ignore {
    /// Owner and group: restored by somebody who is not root.
    pub owners: bool,
    /// Sockets, on either side.
    pub sockets: bool,
    /// The inode flags.
    pub flags: bool,
    /// Which symbolic links are one object under two names.
    pub linked_symlinks: bool,
    /// The attributes of the root itself.
    pub root: bool,
}

/// Compares two directories and names every difference, in order of path.
///
/// # Panics
///
/// When something cannot be read.
#[must_use]
pub fn compare(expected: &Path, found: &Path, ignore: &Ignore) -> Vec<Difference> {
    let open = |path: &Path| {
        rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
    };
    let mut comparison = Comparison {
        ignore,
        path: Vec::new(),
        differences: Vec::new(),
        first_names: Default::default(),
    };
    let sides = [open(expected), open(found)];
    if !ignore.root {
        comparison.attributes(&sides, c".");
    }
    comparison.directories(&sides);
    comparison.differences
}

/// Ends the test with the differences when two directories are not the same.
///
/// # Panics
///
/// When they differ, or when something cannot be read.
pub fn assert_same(expected: &Path, found: &Path, ignore: &Ignore) {
    let differences = compare(expected, found, ignore);
    let shown: Vec<String> = differences
        .iter()
        .take(30)
        .map(Difference::to_string)
        .collect();
    assert!(
        differences.is_empty(),
        "{} is not {}: {} differences\n{}",
        found.display(),
        expected.display(),
        differences.len(),
        shown.join("\n"),
    );
}

struct Comparison<'a> {
    ignore: &'a Ignore,
    path: Vec<u8>,
    differences: Vec<Difference>,
    /// On each side, the first name met of every object that has several.
    first_names: [HashMap<(u64, u64), Vec<u8>>; 2],
}

impl Comparison<'_> {
    fn differ(&mut self, what: impl Into<String>) {
        self.differences.push(Difference {
            path: self.path.clone(),
            what: what.into(),
        });
    }

    /// Says so when a value differs, the expected one first.
    fn same<T: PartialEq>(&mut self, what: &str, values: [T; 2], show: impl Fn(&T) -> String) {
        if values[0] != values[1] {
            self.differ(format!(
                "{what} {}, not {}",
                show(&values[1]),
                show(&values[0])
            ));
        }
    }

    fn directories(&mut self, sides: &[OwnedFd; 2]) {
        let names = sides.each_ref().map(|side| self.names(side));
        let all: BTreeSet<&CString> = names[0].keys().chain(names[1].keys()).collect();
        for name in all {
            let length = self.path.len();
            if length > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            match [names[0].get(name), names[1].get(name)] {
                [Some(expected), Some(found)] => self.entries(sides, name, [expected, found]),
                [Some(_), None] => self.differ("missing"),
                _ => self.differ("should not be there"),
            }
            self.path.truncate(length);
        }
    }

    /// What is in a directory, sockets left out on demand.
    fn names(&self, side: &OwnedFd) -> BTreeMap<CString, Stat> {
        let mut names = BTreeMap::new();
        for entry in self.read(Dir::read_from(side)) {
            let name = self.read(entry).file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = self.read(rustix::fs::statat(side, &name, AtFlags::SYMLINK_NOFOLLOW));
            if kind(&stat) != FileType::Socket || !self.ignore.sockets {
                names.insert(name, stat);
            }
        }
        names
    }

    fn entries(&mut self, sides: &[OwnedFd; 2], name: &CStr, stats: [&Stat; 2]) {
        let kinds = stats.map(kind);
        self.same("is a", kinds, |kind| format!("{kind:?}"));
        if kinds[0] != kinds[1] {
            return;
        }
        self.attributes(sides, name);
        if kinds[0] != FileType::Directory {
            self.linked(stats);
        }
        match kinds[0] {
            FileType::Directory => {
                let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
                let below = sides
                    .each_ref()
                    .map(|side| self.read(rustix::fs::openat(side, name, open, Mode::empty())));
                self.directories(&below);
            }
            FileType::RegularFile => {
                self.same("size", stats.map(|stat| stat.st_size), i64::to_string);
                if stats[0].st_size == stats[1].st_size {
                    self.contents(sides, name);
                }
            }
            FileType::Symlink => {
                let targets = sides.each_ref().map(|side| {
                    self.read(rustix::fs::readlinkat(side, name, Vec::new()))
                        .into_bytes()
                });
                self.same("points to", targets, |target| {
                    target.escape_ascii().to_string()
                });
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                self.same("device", stats.map(|stat| stat.st_rdev), |number| {
                    format!(
                        "{}:{}",
                        rustix::fs::major(*number),
                        rustix::fs::minor(*number)
                    )
                });
            }
            _ => {}
        }
    }

    /// Mode, owner, time, extended attributes and flags.
    fn attributes(&mut self, sides: &[OwnedFd; 2], name: &CStr) {
        let stats = sides
            .each_ref()
            .map(|side| self.read(rustix::fs::statat(side, name, AtFlags::SYMLINK_NOFOLLOW)));
        self.same("mode", stats.map(|stat| stat.st_mode & 0o7777), |mode| {
            format!("{mode:o}")
        });
        if !self.ignore.owners {
            self.same(
                "owner",
                stats.map(|stat| (stat.st_uid, stat.st_gid)),
                |(uid, gid)| format!("{uid}:{gid}"),
            );
        }
        self.same(
            "mtime",
            stats.map(|stat| (stat.st_mtime, stat.st_mtime_nsec)),
            |time| format!("{}.{:09}", time.0, time.1),
        );
        let xattrs = sides.each_ref().map(|side| self.read(xattrs(side, name)));
        self.same("xattrs", xattrs, |xattrs| format!("{xattrs:?}"));
        if !self.ignore.flags
            && matches!(kind(&stats[0]), FileType::RegularFile | FileType::Directory)
        {
            let flags = sides.each_ref().map(|side| flags(side, name));
            self.same("flags", flags, |flags| format!("{flags:?}"));
        }
    }

    /// Whether both are the same further name of the same object, or both of none.
    fn linked(&mut self, stats: [&Stat; 2]) {
        if self.ignore.linked_symlinks && kind(stats[0]) == FileType::Symlink {
            return;
        }
        let path = self.path.clone();
        let mut first = |side: usize| {
            let object = (stats[side].st_dev, stats[side].st_ino);
            self.first_names[side]
                .entry(object)
                .or_insert_with(|| path.clone())
                .clone()
        };
        let names = [first(0), first(1)];
        self.same("is the same file as", names, |name| {
            name.escape_ascii().to_string()
        });
    }

    fn contents(&mut self, sides: &[OwnedFd; 2], name: &CStr) {
        let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let mut files = sides
            .each_ref()
            .map(|side| File::from(self.read(rustix::fs::openat(side, name, open, Mode::empty()))));
        let mut blocks = [vec![0; 1 << 18], vec![0; 1 << 18]];
        let mut at = 0;
        loop {
            let mut filled = [0, 0];
            for side in 0..2 {
                filled[side] = self.read(fill(&mut files[side], &mut blocks[side]));
            }
            let [expected, found] = [&blocks[0][..filled[0]], &blocks[1][..filled[1]]];
            if expected != found {
                let same = expected
                    .iter()
                    .zip(found)
                    .take_while(|(a, b)| a == b)
                    .count();
                self.differ(format!("content differs from byte {}", at + same));
                return;
            }
            if expected.is_empty() {
                return;
            }
            at += expected.len();
        }
    }

    /// The value, or the test's end with the path that cannot be read.
    fn read<T, E: Into<io::Error>>(&self, result: Result<T, E>) -> T {
        result.unwrap_or_else(|error| {
            panic!(
                "cannot compare {}: {}",
                self.path.escape_ascii(),
                error.into()
            )
        })
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// All extended attributes, access control lists and capabilities among them.
fn xattrs(directory: &OwnedFd, name: &CStr) -> io::Result<BTreeMap<String, String>> {
    // There is no call relative to a directory; the handle's own link in /proc makes one.
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    let path = CString::new(path)?;

    let mut list = vec![0; 1 << 16];
    let length = match rustix::fs::llistxattr(&path, &mut list) {
        Ok(length) => length,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    let mut found = BTreeMap::new();
    for attribute in list[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 1 << 16];
        let attribute_name = CString::new(attribute)?;
        let length = rustix::fs::lgetxattr(&path, &attribute_name, &mut value)?;
        found.insert(
            attribute.escape_ascii().to_string(),
            value[..length].escape_ascii().to_string(),
        );
    }
    Ok(found)
}

/// The inode flags that a backup keeps; none where the file system has no such thing.
fn flags(directory: &OwnedFd, name: &CStr) -> IFlags {
    let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    rustix::fs::openat(directory, name, open, Mode::empty())
        .and_then(rustix::fs::ioctl_getflags)
        .unwrap_or(IFlags::empty())
        & (IFlags::NODUMP | IFlags::IMMUTABLE | IFlags::APPEND)
}
