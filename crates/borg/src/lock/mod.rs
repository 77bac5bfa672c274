//! Locks that the stock program shares with us: many readers or one writer.
//!
//! The directory `lock.exclusive` belongs to who has renamed a prepared directory onto that
//! name: the system lets only one do that. The file in it names the holder. The list of readers,
//! `lock.roster`, is changed only by who holds the directory, who lets go of it at once; a
//! writer keeps it until the end, and takes it only while the list is empty.
//!
//! A holder that was killed is recognised by its process, which is gone, and its lock is
//! removed by the next who wants it: nobody has to unlock by hand. So that a process number that
//! is in use again does not look like the holder, our locks also say when their process was
//! born ([`process`]); the stock program does not look at that and leaves it alone.
//!
//! Every step may be the last one: a directory that was prepared but not renamed is litter, a
//! directory without a file is free, and a reader that was listed is dropped from the list when
//! its process is gone.

mod process;
mod roster;

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use process::Holder;
use roster::{Kind, Roster};

use crate::{Error, Host, save_file};

/// The first pause between two tries; each is half as long again as the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(4);
const PAUSE_LONGEST: Duration = Duration::from_millis(400);

/// How long a reader waits for the list to take itself off. Nobody keeps the list from it for
/// longer than it takes to write a line, but for a writer that has not looked at it yet.
const RELEASE_WAIT: Duration = Duration::from_secs(10);

/// What a process's threads hold, by the path of the lock directory.
static HELD: LazyLock<Mutex<HashMap<PathBuf, Held>>> = LazyLock::new(Mutex::default);

#[derive(Debug, Default)]
struct Held {
    /// A thread holds the directory or is about to take it.
    directory: bool,
    /// So many shared locks are held; the list has one entry for all of them.
    shared: u32,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    place: Place,
    /// `None` for a shared lock.
    directory: Option<Directory>,
}

/// Where a lock is made, and who we are there.
#[derive(Debug)]
struct Place {
    host: Host,
    holder: Holder,
    roster: Roster,
    /// Of the lock directory.
    path: PathBuf,
}

impl Lock {
    /// Takes a lock that nobody else may hold at the same time.
    ///
    /// `path` is the common part of the lock's names, such as `REPOSITORY/lock`.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when others hold it until `wait` is over, [`Error::Io`] when locks
    /// cannot be made there.
    pub fn exclusive(path: &Path, host: &Host, wait: Duration) -> Result<Self, Error> {
        let place = Place::new(path, host)?;
        let mut tries = Tries::new(wait);
        loop {
            let directory = place.take_directory(&mut tries)?;
            let readers = place.roster.readers(host)?;
            let Some(reader) = readers.first() else {
                place.roster.add(Kind::Exclusive, &place.holder, host)?;
                return Ok(Self {
                    place,
                    directory: Some(directory),
                });
            };
            // Readers could not take themselves off the list.
            drop(directory);
            if !tries.pause() {
                return Err(place.locked(reader.to_string()));
            }
        }
    }

    /// Takes a lock that others who only read may hold at the same time.
    ///
    /// # Errors
    ///
    /// As [`Self::exclusive`].
    pub fn shared(path: &Path, host: &Host, wait: Duration) -> Result<Self, Error> {
        let place = Place::new(path, host)?;
        let directory = place.take_directory(&mut Tries::new(wait))?;
        place.roster.add(Kind::Shared, &place.holder, host)?;
        held(&place.path, |held| held.shared += 1);
        drop(directory);
        Ok(Self {
            place,
            directory: None,
        })
    }

    /// Whether nobody has taken the lock away from us, as a person can with [`Lock::break_all`].
    #[must_use]
    pub fn is_held(&self) -> bool {
        match &self.directory {
            Some(directory) => directory.file.exists(),
            None => self
                .place
                .roster
                .readers(&self.place.host)
                .is_ok_and(|readers| readers.contains(&self.place.holder)),
        }
    }

    /// Whether it is an exclusive one.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.directory.is_some()
    }

    /// Makes the lock one of this process, after a fork from the one that took it.
    ///
    /// The former process must live until this has returned, and must end without releasing.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] and [`Error::Locked`], when the lock is still the former process's.
    pub fn migrate(&mut self) -> Result<(), Error> {
        let holder = Holder::this_process(&self.place.host);
        if holder == self.place.holder {
            return Ok(());
        }
        let kind = match &mut self.directory {
            Some(directory) => {
                let file = directory.path.join(holder.file_name());
                write_file(&file, &holder).map_err(Error::io("create", &file))?;
                let former = std::mem::replace(&mut directory.file, file);
                fs::remove_file(&former).map_err(Error::io("remove", &former))?;
                self.place.roster.replace(
                    Kind::Exclusive,
                    &self.place.holder,
                    &holder,
                    &self.place.host,
                )?;
                Kind::Exclusive
            }
            None => Kind::Shared,
        };
        if kind == Kind::Shared {
            let former = std::mem::replace(&mut self.place.holder, holder.clone());
            let directory = self.place.take_directory(&mut Tries::new(RELEASE_WAIT))?;
            self.place
                .roster
                .replace(Kind::Shared, &former, &holder, &self.place.host)?;
            drop(directory);
        }
        self.place.holder = holder;
        Ok(())
    }

    /// Removes all locks, whoever holds them. For a person who knows that nobody does.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn break_all(path: &Path) -> Result<(), Error> {
        Roster::new(path).remove()?;
        let directory = suffixed(path, ".exclusive");
        let removed = list(&directory)
            .and_then(|names| {
                let mut names = names.iter();
                names.try_for_each(|name| fs::remove_file(directory.join(name)))
            })
            .and_then(|()| fs::remove_dir(&directory));
        match removed {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result.map_err(Error::io("remove", directory)),
        }
    }

    /// Removes what processes that are gone have prepared and not used.
    ///
    /// An empty directory of the stock program stays: its name does not say whose it is.
    pub(crate) fn remove_litter(&self) {
        let parent = save_file::parent(&self.place.path);
        let Some(name) = self.place.path.file_name().and_then(|name| name.to_str()) else {
            return;
        };
        for litter in list(parent).unwrap_or_default() {
            let Some(infix) = litter
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".tmp"))
            else {
                continue;
            };
            let directory = parent.join(&litter);
            let Some(files) = files_of_gone(&directory, |holder| holder.is_gone(&self.place.host))
            else {
                continue;
            };
            let is_unused = || {
                let pid = infix.split_once('-').and_then(|(pid, _)| pid.parse().ok());
                pid.is_some_and(|pid| {
                    Holder::new(self.place.host.id(), pid, 0, "").is_gone(&self.place.host)
                })
            };
            if !files.is_empty() || is_unused() {
                for file in files {
                    let _ = fs::remove_file(directory.join(file));
                }
                let _ = fs::remove_dir(directory);
            }
        }
    }

    fn release(&mut self) -> Result<(), Error> {
        if let Some(directory) = self.directory.take() {
            self.place
                .roster
                .take_off(Kind::Exclusive, &self.place.holder, &self.place.host)?;
            drop(directory);
            return Ok(());
        }
        let directory = self.place.take_directory(&mut Tries::new(RELEASE_WAIT))?;
        let remaining = held(&self.place.path, |held| {
            held.shared = held.shared.saturating_sub(1);
            held.shared
        });
        if remaining == 0 {
            self.place
                .roster
                .take_off(Kind::Shared, &self.place.holder, &self.place.host)?;
        }
        drop(directory);
        Ok(())
    }
}

impl Place {
    fn new(path: &Path, host: &Host) -> Result<Self, Error> {
        // The same directory has the same name in all threads.
        let parent = save_file::parent(path);
        let parent = fs::canonicalize(parent).map_err(Error::io("find", parent))?;
        let path = parent.join(path.file_name().unwrap_or_default());
        Ok(Self {
            host: host.clone(),
            holder: Holder::this_process(host),
            roster: Roster::new(&path),
            path: suffixed(&path, ".exclusive"),
        })
    }

    fn take_directory(&self, tries: &mut Tries) -> Result<Directory, Error> {
        // Files name processes, so the threads of this one have to agree among themselves.
        while held(&self.path, |held| {
            std::mem::replace(&mut held.directory, true)
        }) {
            if !tries.pause() {
                return Err(self.locked(self.holder.to_string()));
            }
        }
        let taken = self.rename_directory(tries);
        if taken.is_err() {
            held(&self.path, |held| held.directory = false);
        }
        taken
    }

    fn rename_directory(&self, tries: &mut Tries) -> Result<Directory, Error> {
        let prepared = Prepared::new(&self.path, &self.holder)
            .map_err(Error::io("create the lock", &self.path))?;
        loop {
            match fs::rename(&prepared.path, &self.path) {
                Ok(()) => {
                    return Ok(Directory {
                        path: self.path.clone(),
                        file: self.path.join(self.holder.file_name()),
                    });
                }
                Err(error) if is_occupied(&error) => {}
                Err(error) => return Err(Error::io("create the lock", &self.path)(error)),
            }
            // Who has just freed the lock must not run out of time.
            if self.remove_gone_holder() {
                continue;
            }
            if !tries.pause() {
                return Err(self.locked(self.directory_holder()));
            }
        }
    }

    /// Frees the directory from a holder whose process is gone. Says whether it is free now.
    fn remove_gone_holder(&self) -> bool {
        // Only one thread of this process comes here, and it does not hold the directory: what
        // names this process was left by an earlier one of the same number.
        let is_gone = |holder: &Holder| {
            holder.is_gone(&self.host)
                || (*holder == self.holder && holder.may_be_seen_by(&self.holder))
        };
        let Some(names) = files_of_gone(&self.path, is_gone) else {
            return false;
        };
        // Of several who do this, one succeeds in removing the file; the directory may have a
        // new holder when the others come to it, and then it is not empty.
        names
            .iter()
            .all(|name| fs::remove_file(self.path.join(name)).is_ok())
            && fs::remove_dir(&self.path).is_ok()
    }

    fn directory_holder(&self) -> String {
        let names = list(&self.path).unwrap_or_default();
        match names.first() {
            Some(name) => Holder::from_file_name(name).map_or(name.clone(), |it| it.to_string()),
            None => "another process".into(),
        }
    }

    fn locked(&self, holder: String) -> Error {
        Error::Locked {
            path: self.path.clone(),
            holder,
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A fork without migration leaves the lock to the process that took it.
        if self.place.holder.is_this_process() {
            // What cannot be released is recognised when this process is gone.
            let _ = self.release();
        }
    }
}

/// The lock directory, held by us.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    file: PathBuf,
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Not if the lock was broken and taken by another one: the name differs then.
        if fs::remove_file(&self.file).is_ok() {
            // Between the two, somebody else may have taken the empty directory.
            let _ = fs::remove_dir(&self.path);
        }
        held(&self.path, |held| held.directory = false);
    }
}

/// A directory with our file in it, not renamed yet.
struct Prepared {
    path: PathBuf,
    file: PathBuf,
}

impl Prepared {
    fn new(target: &Path, holder: &Holder) -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = suffixed(target, &format!(".{}-{count}.tmp", holder.pid()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                // Left by a process that is gone, or made by one on another machine.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                result => result?,
            }
            let file = path.join(holder.file_name());
            let written = write_file(&file, holder);
            let prepared = Self { path, file };
            match written {
                // Somebody took it for litter.
                Err(error) if error.kind() == ErrorKind::NotFound && target_exists(target) => {}
                result => return result.map(|()| prepared),
            }
        }
    }
}

/// Whether the directory that is to hold the lock is still there.
fn target_exists(target: &Path) -> bool {
    save_file::parent(target).is_dir()
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove.
        if fs::remove_file(&self.file).is_ok() {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Counts the time until a lock must be there.
struct Tries {
    deadline: Option<Instant>,
    pause: Duration,
}

impl Tries {
    fn new(wait: Duration) -> Self {
        Self {
            deadline: Instant::now().checked_add(wait),
            pause: PAUSE_FIRST,
        }
    }

    /// Sleeps for a while. False, at once, when the time is over.
    fn pause(&mut self) -> bool {
        let left = self.deadline.map_or(PAUSE_LONGEST, |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        if left.is_zero() {
            return false;
        }
        thread::sleep(self.pause.min(left));
        // Different steps, so that processes that began together do not try together for ever.
        let spread = std::process::id() % 8;
        self.pause = (self.pause * (16 + spread) / 12).min(PAUSE_LONGEST);
        true
    }
}

/// The files of a lock directory, if the holders of all of them are gone.
fn files_of_gone(directory: &Path, is_gone: impl Fn(&Holder) -> bool) -> Option<Vec<String>> {
    let names = list(directory).ok()?;
    let all_gone = names
        .iter()
        .all(|name| Holder::read(&directory.join(name), name).is_some_and(|it| is_gone(&it)));
    all_gone.then_some(names)
}

fn held<T>(path: &Path, change: impl FnOnce(&mut Held) -> T) -> T {
    let mut all = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    change(all.entry(path.to_owned()).or_default())
}

fn write_file(path: &Path, holder: &Holder) -> io::Result<()> {
    save_file::create_new(path, 0o600)?.write_all(holder.birth().as_bytes())
}

fn is_occupied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists
    )
}

fn list(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests;
