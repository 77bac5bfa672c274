//! Tells when something changes in a folder of this machine.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::Error;

/// Watches a folder and all below it, by inotify. A watch that cannot be set (the system has a limit) is no error:
/// the regular look at the folder finds what it missed.
pub struct Watch {
    inotify: OwnedFd,
    folders: BTreeMap<i32, PathBuf>,
}

const EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    ///
    /// When the system has no more watches for the folder itself.
    pub fn new(folder: &Path) -> Result<Self, Error> {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        let inotify =
            inotify::init(flags).map_err(|error| Error::local("watch", folder)(error.into()))?;
        let mut watch = Self {
            inotify,
            folders: BTreeMap::new(),
        };
        watch
            .add(folder)
            .map_err(|error| Error::local("watch", folder)(error.into()))?;
        watch.add_below(folder);
        Ok(watch)
    }

    fn add(&mut self, folder: &Path) -> Result<(), rustix::io::Errno> {
        let descriptor = inotify::add_watch(&self.inotify, folder, EVENTS)?;
        self.folders.insert(descriptor, folder.to_owned());
        Ok(())
    }

    fn add_below(&mut self, folder: &Path) {
        let Ok(entries) = std::fs::read_dir(folder) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && self.add(&entry.path()).is_ok()
            {
                self.add_below(&entry.path());
            }
        }
    }

    /// Waits until something changed, at most so long. Our own unfinished files do not count.
    ///
    /// # Errors
    ///
    /// When the system says no. A signal ends the waiting without an error.
    pub fn wait(&mut self, at_most: Duration) -> Result<bool, Error> {
        let fail = |error: rustix::io::Errno| Error::local("watch", Path::new("."))(error.into());
        let timeout = Timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(fail(error)),
        }
        let mut changed = false;
        let mut new_folders = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    let name = name.unwrap_or_default();
                    changed |= !name.starts_with(b".ravelin-");
                    if event.events().contains(ReadFlags::ISDIR)
                        && let Some(above) = self.folders.get(&event.wd())
                    {
                        new_folders.push(above.join(std::ffi::OsStr::from_bytes(&name)));
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        for folder in new_folders {
            if self.add(&folder).is_ok() {
                self.add_below(&folder);
            }
        }
        Ok(changed)
    }
}
