//! Archives as a file system that can only be read.
//!
//! ```text
//! filesystem ─┬─ tree: the names of an archive, loaded when somebody first looks into it
//!             ├─ items: an object's metadata, decoded when it is asked for
//!             └─ content: plain chunks, a bounded number of them kept
//! ```
//!
//! What is kept for each object is its name and where its item stands in the archive; items and
//! content are read again when they have left the bounded caches. Requests are answered by several
//! threads; one chunk is fetched once, however many wait for it.
//!
//! When the process is killed, its mount point would stay behind as a place that answers nothing.
//! A watcher, a shell that waits for the end of a pipe, unmounts it then ([`watch`]).

mod content;
mod filesystem;
mod folder_names;
mod items;
mod tree;
mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bstr::BString;
use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use crate::{Archives, Error};
use filesystem::View;
use watch::{Watcher, unmount_at_once};

pub use watch::unmount;

/// Between two looks whether it is over.
const PATIENCE: Duration = Duration::from_millis(20);

/// So long requests may take that are being answered when it ends.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountWhat {
    /// One archive: its tree is at the mount point.
    Archive(Vec<u8>),
    /// All of these archives: a folder for each.
    Archives(Vec<Vec<u8>>),
    /// All of these archives as one tree, oldest first: each file is a folder with its versions.
    Versions(Vec<Vec<u8>>),
}

/// Says under which path something of an archive is shown, if at all.
pub type MountSelect = Box<dyn Fn(&[u8]) -> Option<BString> + Send + Sync>;

/// How it is shown.
#[derive(Default)]
pub struct MountOptions {
    /// Other users see it, too; the permissions of the files hold then.
    pub allow_other: bool,
    /// Files in which a repair has put zeros can be read, zeros and all.
    pub allow_damaged: bool,
    /// Everything belongs to this user.
    pub uid: Option<u32>,
    /// Everything belongs to this group.
    pub gid: Option<u32>,
    /// Permissions that nothing has.
    pub umask: u32,
    /// What is shown of each archive; `None`: everything. A further name of a file whose first is
    /// not shown has its content all the same.
    pub select: Option<MountSelect>,
}

/// A file system that is mounted. Dropped, it is unmounted.
pub struct Mounted {
    mount_point: PathBuf,
    session: Option<BackgroundSession>,
    watcher: Watcher,
}

/// Mounts archives at an empty folder.
///
/// # Errors
///
/// [`Error::NoArchive`]; [`Error::Mount`] when the system says no.
pub fn mount(
    archives: Archives,
    what: MountWhat,
    mount_point: &Path,
    options: MountOptions,
) -> Result<Mounted, Error> {
    let failed = |source: io::Error| Error::Mount {
        path: mount_point.to_owned(),
        source,
    };
    let mount_point = mount_point.canonicalize().map_err(failed)?;
    // A comma would begin the next option.
    let name = archives.location_text().replace(',', "_");
    let allow_other = options.allow_other;
    let view = View::new(archives, what, options)?;
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::FSName(name),
        MountOption::Subtype("ravelin".into()),
    ];
    if allow_other {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    let cores = thread::available_parallelism().map_or(2, usize::from);
    config.n_threads = Some(cores.clamp(2, 8));
    config.clone_fd = true;
    // Before there is anything to unmount: from here on nothing stays behind.
    let watcher = Watcher::start(&mount_point).map_err(failed)?;
    let session = fuser::spawn_mount(view, &mount_point, &config).map_err(failed)?;
    Ok(Mounted {
        mount_point,
        session: Some(session),
        watcher,
    })
}

impl Mounted {
    /// Waits until somebody unmounts it, or `is_stopped` says that we should.
    ///
    /// # Errors
    ///
    /// What ended it, when that was not as wanted.
    pub fn wait(mut self, is_stopped: &dyn Fn() -> bool) -> io::Result<()> {
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        while !session.guard.is_finished() {
            if is_stopped() {
                return self.end(session);
            }
            thread::sleep(PATIENCE);
        }
        let ended = session.join();
        self.watcher.dismiss();
        ended
    }
}

impl Mounted {
    /// Takes it away from the tree of folders at once. Whoever has something open in it gets
    /// errors from then on, and cannot keep us.
    fn end(&mut self, session: BackgroundSession) -> io::Result<()> {
        let ended = unmount_at_once(&self.mount_point);
        if ended.is_ok() {
            let began = Instant::now();
            while !session.guard.is_finished() && began.elapsed() < LAST_WORDS {
                thread::sleep(PATIENCE);
            }
            // Else the end of the process ends it, and the lock of a process that is gone stops
            // nobody.
            if session.guard.is_finished() {
                session.join()?;
            }
            self.watcher.dismiss();
        }
        ended
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // There is nobody left to tell.
            let _ = self.end(session);
        }
    }
}
