//! The content of one regular file.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{self, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::act::{Restore, Task};
use super::attributes::{Attributes, Before, Object};
use super::beneath::Folder;
use super::error::RestoreError;
use super::options::Zeros;
use super::publish::{Lacks, Nameless, Temporary};
use super::standing::identity;
use super::trouble::Trouble;
use super::zeros::data_runs;
use crate::{ProblemKind, TreePath};

/// Takes the content of one file, from any number of threads, in any order.
///
/// Every byte of the recorded size has to come once, as data or as a hole. Then
/// [`finish`](Self::finish) gives the file its attributes and its name; until then there is
/// nothing of it under that name, and dropping the writer leaves nothing behind.
///
/// What goes wrong with this file alone is a problem in the report, and its content is taken and
/// thrown away from then on; errors end the whole restore.
#[derive(Debug)]
#[must_use = "a file that is not finished is not restored"]
pub struct FileWriter<'a> {
    restore: &'a Restore,
    task: Task,
    /// Taken when the file is finished.
    attributes: Option<Attributes>,
    handle: OwnedFd,
    /// None when the file has no name yet.
    temporary: Option<Temporary>,
    made: Stat,
    /// Bytes that came, as data or as holes.
    covered: AtomicU64,
    /// Where the last data ends.
    end: AtomicU64,
    failed: AtomicBool,
    failure: Mutex<Option<ProblemKind>>,
    settled: bool,
}

impl<'a> FileWriter<'a> {
    pub(super) fn create(
        restore: &'a Restore,
        task: Task,
        attributes: Attributes,
    ) -> Result<Self, Errno> {
        let lacks = restore.lacks();
        let (handle, temporary) = create(lacks, &task.folder, attributes.permissions())?;
        let made = fs::fstat(&handle)?;
        Ok(Self {
            restore,
            task,
            attributes: Some(attributes),
            handle,
            temporary,
            made,
            covered: AtomicU64::new(0),
            end: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            settled: false,
        })
    }

    /// Path of the file in the archive.
    #[must_use]
    pub fn path(&self) -> &TreePath {
        &self.task.path
    }

    /// Bytes of content that have to come.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.task.size
    }

    /// Whether the file is lost: further content is thrown away, and need not be fetched.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Takes the bytes that stand at `offset`.
    ///
    /// # Errors
    ///
    /// Only what ends the whole restore: a full disk, for one.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), RestoreError> {
        self.restore.check_stopped()?;
        if self.is_failed() || !self.cover(offset, bytes.len() as u64) {
            return Ok(());
        }
        let result = match self.restore.options().zeros {
            Zeros::Written => self.write_all(offset, bytes),
            Zeros::Holes => {
                let mut runs = data_runs(offset, bytes);
                runs.try_for_each(|(offset, run)| self.write_all(offset, run))
            }
        };
        result.or_else(|errno| match Trouble::at("write the content")(errno) {
            Trouble::Stop(stop) => Err(self.restore.stop(stop)),
            Trouble::Entry(what) => {
                self.fail(what);
                Ok(())
            }
        })
    }

    /// Takes note that `length` bytes of zeros stand at `offset`: a hole, which takes no space.
    pub fn hole(&self, offset: u64, length: u64) {
        self.cover(offset, length);
    }

    /// Gives the file its attributes and its name, and says whether it is restored.
    ///
    /// # Errors
    ///
    /// Only what ends the whole restore.
    pub fn finish(mut self) -> Result<bool, RestoreError> {
        self.restore.check_stopped()?;
        self.settled = true;
        let result = self.settle();
        self.restore.settle(&self.task.path, result)
    }

    /// The same for a file whose size is known only now: it was placed with one that is larger, and
    /// `size` bytes have come. For formats that do not record the size of a file.
    ///
    /// # Errors
    ///
    /// Only what ends the whole restore.
    pub fn finish_at(mut self, size: u64) -> Result<bool, RestoreError> {
        self.task.size = self.task.size.min(size);
        self.finish()
    }

    /// Gives the file up for a reason that the report will name, such as damage in the archive.
    pub fn give_up(self, why: ProblemKind) {
        // Dropped without being settled, it is reported.
        self.fail(why);
    }

    /// The same while others may still be writing; the first reason counts.
    /// [`finish`](Self::finish) reports it.
    pub fn fail(&self, why: ProblemKind) {
        self.failed.store(true, Ordering::Relaxed);
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(why);
    }

    /// Counts content that comes; `false` when there is more of it than there can be.
    fn cover(&self, offset: u64, length: u64) -> bool {
        let fits = offset
            .checked_add(length)
            .is_some_and(|end| end <= self.task.size);
        if fits {
            self.covered.fetch_add(length, Ordering::Relaxed);
        } else {
            self.fail(ProblemKind::Overlong);
        }
        fits
    }

    fn write_all(&self, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
        self.end
            .fetch_max(offset + bytes.len() as u64, Ordering::Relaxed);
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.handle, bytes, offset) {
                Ok(0) => return Err(Errno::IO),
                Ok(written) => {
                    offset += written as u64;
                    bytes = bytes.get(written..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<(), Trouble> {
        if let Some(failure) = self.take_failure() {
            return Err(failure.into());
        }
        let size = self.task.size;
        let covered = self.covered.load(Ordering::Acquire);
        if covered != size {
            let missing = size.saturating_sub(covered);
            let over = covered > size;
            return Err(if over {
                ProblemKind::Overlong.into()
            } else {
                ProblemKind::Incomplete { missing }.into()
            });
        }
        if self.end.load(Ordering::Acquire) < size {
            // A hole at the end.
            fs::ftruncate(&self.handle, size).map_err(Trouble::at("set the size"))?;
        }
        let object = Object::Opened(self.handle.as_fd());
        let attributes = self.attributes.take();
        if let Some(attributes) = &attributes {
            let before = Before::Made {
                with_acl: self.task.folder.passes_acl_on,
            };
            let writer = self.restore.attribute_writer();
            let path = &self.task.path;
            writer.write(attributes, object, &self.made, before, path);
        }
        let object = match self.temporary.take() {
            Some(temporary) => Nameless::Temporary(temporary),
            None => Nameless::File(self.handle.as_fd()),
        };
        let identity = identity(&self.made);
        let destination = self.restore.publish(&self.task, object, identity)?;
        if let Some(attributes) = attributes {
            self.restore.lock_later(&destination, identity, attributes);
        }
        Ok(())
    }

    fn take_failure(&self) -> Option<ProblemKind> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }

    fn report_failure(&self) {
        let what = self.take_failure().unwrap_or(ProblemKind::GivenUp);
        self.restore.lost(&self.task.path, what);
    }
}

impl Drop for FileWriter<'_> {
    fn drop(&mut self) {
        if !self.settled && !self.restore.is_stopped() {
            self.report_failure();
        }
    }
}

/// Makes a file that has no name, or a temporary one where the file system wants a name.
fn create(
    lacks: &Lacks,
    folder: &Arc<Folder>,
    permissions: Mode,
) -> Result<(OwnedFd, Option<Temporary>), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if !lacks.nameless.load(Ordering::Relaxed) {
        // Nobody can reach a file without a name, so it may have its permissions at once.
        match fs::openat(folder, c".", flags | OFlags::TMPFILE, permissions) {
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                lacks.nameless.store(true, Ordering::Relaxed);
            }
            result => return Ok((result?, None)),
        }
    }
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let private = Mode::RUSR | Mode::WUSR;
    let make = |folder: &Folder, name: &str| fs::openat(folder, name, flags, private);
    let (temporary, handle) = Temporary::make(folder, make)?;
    Ok((handle, Some(temporary)))
}
