//! Gives a finished object its name.
//!
//! Until then it has none, or one that says it is not finished. The step is one system call that
//! either happens or does not: nobody, and no crash, ever finds an unfinished object under its
//! final name. Where nothing should stand, nothing is replaced, whatever has appeared there since
//! the plan was made.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

use super::COPIES_MAX;
use super::beneath::Folder;
use super::error::Refusal;
use super::names::{name_beside, temporary_name};
use super::options::Conflict;
use super::standing::stat_in;
use super::trouble::Trouble;
use crate::ProblemKind;

/// What the target's file system has turned out not to do; it is not asked again.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    /// Files without a name (`O_TMPFILE`).
    pub(super) nameless: AtomicBool,
    /// Naming a file by its handle (`AT_EMPTY_PATH`), without more rights than we have.
    link_by_handle: AtomicBool,
    /// Renaming only where nothing stands (`RENAME_NOREPLACE`).
    rename_to_free: AtomicBool,
}

/// Attempts to find a temporary name that nobody has.
const ATTEMPTS: u32 = 64;

/// An object that is finished but for its name.
#[derive(Debug)]
pub(super) enum Nameless<'a> {
    /// A file that was never given one (`O_TMPFILE`). It vanishes with its handle.
    File(BorrowedFd<'a>),
    /// Anything under a temporary name.
    Temporary(Temporary),
}

/// An object under a temporary name, removed unless it is published.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) folder: Arc<Folder>,
    pub(super) name: String,
    published: bool,
}

impl Temporary {
    /// Makes something under a temporary name.
    pub(super) fn make<T>(
        folder: &Arc<Folder>,
        mut make: impl FnMut(&Folder, &str) -> Result<T, Errno>,
    ) -> Result<(Self, T), Errno> {
        for _ in 0..ATTEMPTS {
            let name = temporary_name();
            match make(folder, &name) {
                Ok(made) => {
                    let temporary = Self {
                        folder: Arc::clone(folder),
                        name,
                        published: false,
                    };
                    return Ok((temporary, made));
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.published {
            // The next restore into this folder removes what stays.
            let _stays = fs::unlinkat(&*self.folder, &*self.name, AtFlags::empty());
        }
    }
}

/// Where an object goes, and what may happen to what stands there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) folder: &'a Arc<Folder>,
    /// The name that the plan gives it.
    pub(super) name: &'a [u8],
    /// The name in the archive, from which further new names are made.
    pub(super) recorded_name: &'a [u8],
    /// Whether what stands there is replaced.
    pub(super) replace: bool,
    pub(super) conflict: Conflict,
    pub(super) lacks: &'a Lacks,
}

impl Place<'_> {
    /// Gives an object its name; returns which, if it is not the planned one.
    ///
    /// Another one than planned is only taken when both are to be kept and something has appeared
    /// under the planned name.
    pub(super) fn publish(self, mut object: Nameless<'_>) -> Result<Option<Vec<u8>>, Trouble> {
        if self.replace {
            self.replace_with(object)?;
            return Ok(None);
        }
        match self.settle(&mut object, self.name) {
            Ok(()) => return Ok(None),
            Err(Errno::EXIST) if self.conflict == Conflict::KeepBoth => {}
            Err(Errno::EXIST) => return Err(ProblemKind::Appeared.into()),
            Err(errno) => return Err(failed(errno)),
        }
        for copy_number in 1..=COPIES_MAX {
            let name = name_beside(self.recorded_name, false, copy_number);
            match self.settle(&mut object, &name) {
                Ok(()) => return Ok(Some(name)),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Err(Refusal::NoFreeName.into())
    }

    /// Gives the object a name that nothing has.
    fn settle(self, object: &mut Nameless<'_>, name: &[u8]) -> Result<(), Errno> {
        match object {
            Nameless::File(handle) => self.link_handle(*handle, self.folder, name),
            Nameless::Temporary(temporary) => {
                self.rename_to_free(&temporary.name, name)?;
                temporary.published = true;
                Ok(())
            }
        }
    }

    fn replace_with(self, object: Nameless<'_>) -> Result<(), Trouble> {
        let mut temporary = match object {
            Nameless::Temporary(temporary) => temporary,
            Nameless::File(handle) => {
                let link =
                    |folder: &Folder, name: &str| self.link_handle(handle, folder, name.as_bytes());
                Temporary::make(self.folder, link).map_err(failed)?.0
            }
        };
        let rename = || fs::renameat(&**self.folder, &*temporary.name, &**self.folder, self.name);
        match rename() {
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                // An empty folder makes room; one with entries stays.
                match fs::unlinkat(&**self.folder, self.name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => rename().map_err(failed)?,
                    Err(Errno::NOTEMPTY | Errno::EXIST) => {
                        return Err(Refusal::FolderInTheWay.into());
                    }
                    Err(errno) => return Err(Trouble::at("remove the empty folder")(errno)),
                }
            }
            result => result.map_err(failed)?,
        }
        // Renaming onto a name of the same object does nothing: then the temporary name is still
        // there, and goes with `temporary`.
        let stays = stat_in(self.folder, temporary.name.as_bytes());
        temporary.published = !matches!(stays, Ok(Some(_)));
        Ok(())
    }

    /// Gives a file that has no name one that nothing has.
    fn link_handle(
        self,
        handle: BorrowedFd<'_>,
        folder: &Folder,
        name: &[u8],
    ) -> Result<(), Errno> {
        if !self.lacks.link_by_handle.load(Ordering::Relaxed) {
            match fs::linkat(handle, c"", folder, name, AtFlags::EMPTY_PATH) {
                // Older kernels say so to whoever is not root.
                Err(Errno::NOENT) => {}
                result => return result,
            }
        }
        let handle_name = format!("/proc/self/fd/{}", handle.as_raw_fd());
        fs::linkat(CWD, handle_name, folder, name, AtFlags::SYMLINK_FOLLOW)?;
        self.lacks.link_by_handle.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Renames to a name that nothing has.
    fn rename_to_free(self, from: &str, to: &[u8]) -> Result<(), Errno> {
        let folder = &**self.folder;
        if !self.lacks.rename_to_free.load(Ordering::Relaxed) {
            match fs::renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    self.lacks.rename_to_free.store(true, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        // A further name is refused where something stands.
        match fs::linkat(folder, from, folder, to, AtFlags::empty()) {
            Ok(()) => return fs::unlinkat(folder, from, AtFlags::empty()),
            Err(Errno::EXIST) => return Err(Errno::EXIST),
            Err(_) => {}
        }
        // Nor are there further names: what appears in this very moment is lost.
        match stat_in(folder, to)? {
            None => fs::renameat(folder, from, folder, to),
            Some(_) => Err(Errno::EXIST),
        }
    }
}

fn failed(errno: Errno) -> Trouble {
    Trouble::at("give it its name")(errno)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::testing::restore_with;
    use super::*;

    #[test]
    fn file_systems_that_lack_a_call_get_the_same_result() {
        for lacking in 0..8 {
            let scratch = tempfile::tempdir().unwrap();
            let target = scratch.path();
            std::fs::write(target.join("other"), "mine").unwrap();
            let lack = |lacks: &Lacks| {
                let all = [
                    &lacks.nameless,
                    &lacks.link_by_handle,
                    &lacks.rename_to_free,
                ];
                for (bit, lack) in all.into_iter().enumerate() {
                    lack.store(lacking & (1 << bit) != 0, Ordering::Relaxed);
                }
            };
            let names = ["file", "other", "d/file"];
            for conflict in [Conflict::KeepBoth, Conflict::Overwrite] {
                let report = restore_with(target, &names, conflict, lack);
                assert!(report.is_complete(), "{lacking}: {:?}", report.problems);
            }
            let mut all = Vec::new();
            for folder in [target.to_owned(), target.join("d")] {
                for entry in std::fs::read_dir(folder).unwrap() {
                    all.push(entry.unwrap().file_name().into_string().unwrap());
                }
            }
            all.sort();
            assert_eq!(all, ["d", "file", "file", "other", "other (restored)"]);
            for name in names {
                assert_eq!(std::fs::read(target.join(name)).unwrap(), name.as_bytes());
            }
        }
    }
}
