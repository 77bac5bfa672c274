//! A store in a folder of this machine.
//!
//! A write goes to a file with a name of its own, is synced, gets its final name in one step, and
//! then the folder is synced. A crash before the rename leaves a `.ravelin-tmp-` file that no listing shows and
//! [`Store::tidy`] removes; a crash between the rename and the folder's sync leaves the old object or the new one; after
//! that the new one is there whatever happens. Creating uses a hard link as the naming step, which
//! the system refuses when the name is taken; on file systems without hard links, a rename that
//! refuses to replace. Neither ever shows a part of an object.
//!
//! A failed sync is final: the kernel may have dropped the pages, so a second sync that succeeds
//! would prove nothing. The temporary file is removed and the error returned.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::abandoned::{TEMPORARY, is_older, is_temporary};
use crate::{
    Bandwidth, Capabilities, Content, Environment, Error, ErrorKind, Folder, Name, Object,
    Operation, Range, Reading, Scope, Space, Store, WriteMode,
};

/// Is given path, file name and name of a file.
type Visit<'a> = dyn FnMut(&Path, &str, &str) -> io::Result<ControlFlow<()>> + 'a;

/// How much is read and written at once.
const BUFFER_SIZE: usize = 256 * 1024;

/// A folder of this machine as a store.
pub struct Disk {
    root: PathBuf,
    environment: Environment,
    bandwidth: Arc<Bandwidth>,
}

impl Disk {
    /// Takes a folder. It is created at the first write, so that a look does not leave one behind.
    #[must_use]
    pub fn new(root: &Path, environment: &Environment) -> Self {
        Self {
            root: root.to_owned(),
            bandwidth: Arc::clone(&environment.bandwidth),
            environment: environment.clone(),
        }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.root.join(name.as_str())
    }

    /// Calls `visit` with path, file name and name of every regular file.
    fn walk(&self, folder: &Folder, deep: bool, visit: &mut Visit<'_>) -> Result<(), Error> {
        let mut folders = vec![folder.as_str().to_owned()];
        while let Some(relative) = folders.pop() {
            let path = self.root.join(&relative);
            let fail = |error| Error::from_io(error, Operation::List, &path.display());
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(error) if is_absent(&error) => continue,
                Err(error) => return Err(fail(error)),
            };
            for entry in entries {
                let entry = entry.map_err(fail)?;
                let file_name = entry.file_name();
                let Some(file_name) = file_name.to_str() else {
                    continue;
                };
                let name = if relative.is_empty() {
                    file_name.to_owned()
                } else {
                    format!("{relative}/{file_name}")
                };
                let kind = match entry.file_type() {
                    Ok(kind) => kind,
                    Err(error) if is_absent(&error) => continue,
                    Err(error) => return Err(fail(error)),
                };
                if kind.is_dir() && deep {
                    folders.push(name);
                } else if kind.is_file() {
                    match visit(&entry.path(), file_name, &name) {
                        Ok(ControlFlow::Continue(())) => {}
                        Ok(ControlFlow::Break(())) => return Ok(()),
                        Err(error) => return Err(fail(error)),
                    }
                }
            }
        }
        Ok(())
    }

    /// Creates the folders above `path`, durably, each readable by its owner only.
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent() else {
            return Ok(());
        };
        // Above the first part of a relative path is the working folder.
        if parent.as_os_str().is_empty() || parent.is_dir() {
            return Ok(());
        }
        self.create_folders(parent)?;
        match fs::DirBuilder::new().mode(0o700).create(parent) {
            Ok(()) => {
                let above = parent.parent().unwrap_or(parent);
                sync_folder(if above.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    above
                })
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Fills a temporary file beside `path`, and syncs it.
    fn write_temporary(
        &self,
        path: &Path,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<(PathBuf, File)> {
        self.create_folders(path)?;
        let folder = path.parent().unwrap_or(&self.root);
        let temporary = folder.join(format!("{TEMPORARY}{}", self.environment.random_name()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let written = fill(&mut file).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // The first error counts, whatever becomes of the removal.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok((temporary, file))
    }
}

fn fill(content: &dyn Content, file: &mut File, bandwidth: &Arc<Bandwidth>) -> io::Result<()> {
    let mut reader = bandwidth.up(content.open(0)?);
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut total = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count])?;
        total += count as u64;
    }
    if total == content.size() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the content ended early",
        ))
    }
}

/// Gives a file a name that must be free.
fn name_if_free(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, path) {
        Ok(()) => fs::remove_file(temporary),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // No hard links here (FAT, some network disks).
        Err(_) => rename_if_free(temporary, path),
    }
}

/// Replaces a file, or folders in which nothing is: objects that are gone leave them behind, and a
/// folder is no object.
fn rename_over(temporary: &Path, path: &Path) -> io::Result<()> {
    match fs::rename(temporary, path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            remove_empty_folders(path)?;
            fs::rename(temporary, path)
        }
        renamed => renamed,
    }
}

/// The system removes no folder in which something is.
fn remove_empty_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty_folders(&entry.path())?;
        }
    }
    fs::remove_dir(folder)
}

fn rename_if_free(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Gone, or a component of the path is a file: either way no such object.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn object(name: &Name, metadata: &Metadata) -> Object {
    Object {
        name: name.clone(),
        size: metadata.len(),
        modified: metadata.modified().ok(),
        // Every write makes a new file, so the inode and its change time tell states apart.
        version: Some(format!(
            "{}-{}.{}",
            metadata.ino(),
            metadata.ctime(),
            metadata.ctime_nsec()
        )),
        digest: None,
    }
}

fn fail(operation: Operation, name: &Name) -> impl Fn(io::Error) -> Error {
    move |error| {
        if is_absent(&error) {
            Error::new(ErrorKind::NotFound, operation)
                .on(name)
                .because(error)
        } else {
            Error::from_io(error, operation, name)
        }
    }
}

impl Disk {
    /// Opens an object for reading.
    fn open(&self, name: &Name) -> Result<(File, Metadata), Error> {
        let fail = fail(Operation::Read, name);
        let file = File::open(self.path(name)).map_err(&fail)?;
        let metadata = file.metadata().map_err(&fail)?;
        if !metadata.is_file() {
            return Err(Error::new(ErrorKind::NotFound, Operation::Read)
                .on(name)
                .because("it is a folder"));
        }
        Ok((file, metadata))
    }
}

impl Store for Disk {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create: true,
            rename: true,
            copy: true,
            ..Capabilities::default()
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.walk(
            folder,
            scope == Scope::Tree,
            &mut |path, file_name, name| {
                let Ok(name) = Name::new(name) else {
                    return Ok(ControlFlow::Continue(()));
                };
                if is_temporary(file_name) {
                    return Ok(ControlFlow::Continue(()));
                }
                match fs::symlink_metadata(path) {
                    Ok(metadata) => Ok(each(object(&name, &metadata))),
                    Err(error) if is_absent(&error) => Ok(ControlFlow::Continue(())),
                    Err(error) => Err(error),
                }
            },
        )
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        let metadata = fs::metadata(self.path(name)).map_err(fail(Operation::Stat, name))?;
        if !metadata.is_file() {
            return Err(Error::new(ErrorKind::NotFound, Operation::Stat)
                .on(name)
                .because("it is a folder"));
        }
        Ok(object(name, &metadata))
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let fail = fail(Operation::Read, name);
        let (mut file, metadata) = self.open(name)?;
        let object = object(name, &metadata);
        file.seek(SeekFrom::Start(range.start.min(object.size)))
            .map_err(&fail)?;
        let size = range.size_in(object.size);
        let body = crate::body::Exact::new(file, size, name);
        Ok(Reading {
            object,
            body: Box::new(self.bandwidth.down(body)),
        })
    }

    fn file(&self, name: &Name) -> Result<Option<File>, Error> {
        if self.bandwidth.limits_down() {
            return Ok(None);
        }
        self.open(name).map(|(file, _)| Some(file))
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        let path = self.path(name);
        let fail = |error| Error::from_io(error, Operation::Write, name);
        let written = self.write_temporary(&path, |file| fill(content, file, &self.bandwidth));
        let (temporary, file) = written.map_err(fail)?;
        let named = match mode {
            WriteMode::Replace => rename_over(&temporary, &path),
            WriteMode::Create => name_if_free(&temporary, &path),
        };
        if let Err(error) = named {
            let _ = fs::remove_file(&temporary);
            return Err(fail(error));
        }
        sync_folder(path.parent().unwrap_or(&self.root)).map_err(fail)?;
        Ok(object(name, &file.metadata().map_err(fail)?))
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_folder(path.parent().unwrap_or(&self.root)),
            // A folder is no object.
            Err(error) if is_absent(&error) || error.kind() == io::ErrorKind::IsADirectory => {
                Ok(())
            }
            Err(error) => Err(error),
        }
        .map_err(|error| Error::from_io(error, Operation::Delete, name))
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let (source, target) = (self.path(from), self.path(to));
        let fail = fail(Operation::Rename, from);
        fs::symlink_metadata(&source).map_err(&fail)?;
        self.create_folders(&target).map_err(&fail)?;
        rename_if_free(&source, &target).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::from_io(error, Operation::Rename, to),
            _ => fail(error),
        })?;
        // The new name first: after a crash in between, both names are better than none.
        for path in [&target, &source] {
            sync_folder(path.parent().unwrap_or(&self.root)).map_err(&fail)?;
        }
        Ok(())
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let path = self.path(to);
        let mut source = File::open(self.path(from)).map_err(fail(Operation::Copy, from))?;
        let size = source
            .metadata()
            .map_err(fail(Operation::Copy, from))?
            .len();
        // Where the file system can share blocks between files, or a server copies, it does.
        let written = self.write_temporary(&path, |file| match io::copy(&mut source, file)? {
            count if count == size => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        });
        let fail = |error| Error::from_io(error, Operation::Copy, to);
        let (temporary, _) = written.map_err(fail)?;
        if let Err(error) = rename_over(&temporary, &path) {
            let _ = fs::remove_file(&temporary);
            return Err(fail(error));
        }
        sync_folder(path.parent().unwrap_or(&self.root)).map_err(fail)
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        // The folder may not be there yet: its disk is that of the nearest folder above.
        let existing = self
            .root
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(Path::new("/"));
        let stat = rustix::fs::statvfs(existing)
            .map_err(|error| Error::from_io(error.into(), Operation::Space, &existing.display()))?;
        Ok(Some(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: Some(stat.f_blocks.saturating_mul(stat.f_frsize)),
        }))
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        let now = (self.environment.clock)();
        let mut removed = 0;
        self.walk(&Folder::root(), true, &mut |path, file_name, _| {
            let modified = || fs::symlink_metadata(path).and_then(|found| found.modified());
            if is_temporary(file_name) && is_older(modified().ok(), now, age) {
                match fs::remove_file(path) {
                    Ok(()) => removed += 1,
                    Err(error) if is_absent(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::new(&folder.path().join("deep/store"), &Environment::fixed());
        (folder, disk)
    }

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_relative_folder_is_created_below_the_working_folder() {
        let first = format!("relative-{}", std::process::id());
        let disk = Disk::new(
            Path::new(&first).join("store").as_path(),
            &Environment::fixed(),
        );
        let written = disk.write(&name("x"), b"1", WriteMode::Create);
        let _ = fs::remove_dir_all(&first);
        written.unwrap();
    }

    #[test]
    fn an_object_is_a_file_of_this_machine_and_stays_as_it_was_opened() {
        let (_folder, disk) = disk();
        assert_eq!(disk.file(&name("x")).unwrap_err().kind, ErrorKind::NotFound);
        disk.write(&name("x"), b"old", WriteMode::Create).unwrap();
        let mut file = disk.file(&name("x")).unwrap().unwrap();
        disk.write(&name("x"), b"newer", WriteMode::Replace)
            .unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"old");
        // Who pays for each byte reads it once.
        disk.bandwidth.set(None, Some(1000));
        assert!(disk.file(&name("x")).unwrap().is_none());
    }

    /// Content that fails after some bytes.
    struct Broken;

    impl Content for Broken {
        fn size(&self) -> u64 {
            1000
        }
        fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send + '_>> {
            Ok(Box::new([1; 500].as_slice()))
        }
    }

    #[test]
    fn a_look_leaves_no_folder_behind() {
        let (folder, disk) = disk();
        assert_eq!(crate::list_all(&disk, &Folder::root()).unwrap(), []);
        assert!(disk.space().unwrap().unwrap().free > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_object_and_no_rubbish() {
        let (_folder, disk) = disk();
        disk.write(&name("a/b"), b"old", WriteMode::Replace)
            .unwrap();
        disk.write(&name("a/b"), &Broken, WriteMode::Replace)
            .unwrap_err();
        disk.write(&name("a/b"), b"new", WriteMode::Create)
            .unwrap_err();
        assert_eq!(crate::read_all(&disk, &name("a/b"), 10).unwrap(), b"old");
        assert_eq!(fs::read_dir(disk.root.join("a")).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_is_not_listed_and_tidied_when_old() {
        let (_folder, disk) = disk();
        disk.write(&name("a/b"), b"x", WriteMode::Replace).unwrap();
        let left = disk.root.join("a").join(format!("{TEMPORARY}1"));
        fs::write(&left, b"half").unwrap();
        assert_eq!(crate::list_all(&disk, &Folder::root()).unwrap().len(), 1);
        let file = File::options().write(true).open(&left).unwrap();
        let now = (disk.environment.clock)();
        file.set_modified(now).unwrap();
        assert_eq!(disk.tidy(Duration::from_secs(3600)).unwrap(), 0);
        file.set_modified(now - Duration::from_secs(3600)).unwrap();
        assert_eq!(disk.tidy(Duration::from_secs(3600)).unwrap(), 1);
        assert!(!left.exists());
        assert!(disk.stat(&name("a/b")).is_ok());
    }

    #[test]
    fn an_object_takes_the_place_of_empty_folders_and_of_no_others() {
        let (_folder, disk) = disk();
        disk.write(&name("a/b/c"), b"x", WriteMode::Replace)
            .unwrap();
        disk.write(&name("a"), b"y", WriteMode::Replace)
            .unwrap_err();
        assert!(disk.stat(&name("a/b/c")).is_ok());
        disk.delete(&name("a/b/c")).unwrap();
        disk.write(&name("a"), b"y", WriteMode::Replace).unwrap();
        assert!(disk.stat(&name("a")).is_ok());
    }

    #[test]
    fn only_the_owner_can_read_it() {
        let (_folder, disk) = disk();
        disk.write(&name("a/b"), b"x", WriteMode::Replace).unwrap();
        assert_eq!(
            fs::metadata(disk.root.join("a/b")).unwrap().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(disk.root.join("a")).unwrap().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn foreign_names_are_left_alone() {
        let (_folder, disk) = disk();
        disk.write(&name("a"), b"x", WriteMode::Replace).unwrap();
        fs::write(disk.root.join("line\nend"), b"").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", disk.root.join("link")).unwrap();
        let listed = crate::list_all(&disk, &Folder::root()).unwrap();
        assert_eq!(listed.len(), 1);
    }
}
