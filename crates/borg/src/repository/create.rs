//! Makes a new repository.
//!
//! The README, by which a repository is recognised, comes first and the configuration, without
//! which it cannot be opened, last. What a crash leaves between the two is in the way of the
//! next try and says so; nothing is in it that could be lost.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{Config, Repository};
use crate::{Error, save_file};

/// Permissions that new files do not get.
///
/// Source: `UMASK_DEFAULT` in Borg 1.4's `constants.py`.
pub(super) const UMASK: u32 = 0o077;

const README: &str = "README";
const README_TEXT: &str = "This is a Borg Backup repository.\n\
    See https://borgbackup.readthedocs.io/\n";

/// How a new repository is to be.
#[derive(Debug, Clone)]
pub struct RepositoryOptions {
    /// What it will be known by, chosen by chance.
    pub repository_id: [u8; 32],
    /// Never free anything.
    pub append_only: bool,
    /// Bytes that the objects may take; 0 for no limit.
    pub storage_quota: u64,
    /// Segments in one folder.
    pub segments_per_dir: u32,
    /// A new segment begins when the current one has more bytes than this.
    pub max_segment_size: u32,
    /// Bytes that must stay free on the disk.
    pub additional_free_space: u64,
    /// Create the folders above as well.
    pub make_parents: bool,
    /// Permissions that files do not get.
    pub umask: u32,
}

impl RepositoryOptions {
    /// Borg's defaults.
    #[must_use]
    pub fn new(repository_id: [u8; 32]) -> Self {
        Self {
            repository_id,
            append_only: false,
            storage_quota: 0,
            segments_per_dir: 1000,
            max_segment_size: 500 * 1024 * 1024,
            additional_free_space: 0,
            make_parents: false,
            umask: UMASK,
        }
    }
}

impl Repository {
    /// Makes a new, empty repository. It is opened afterwards.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`], [`Error::PathOccupied`], [`Error::BelowAnother`],
    /// [`Error::ParentMissing`]: it cannot be there. [`Error::Io`].
    pub fn create(path: &Path, options: &RepositoryOptions) -> Result<(), Error> {
        let path = std::path::absolute(path).map_err(Error::io("find", path))?;
        refuse_occupied(&path)?;
        if let Some(repository) = path.ancestors().skip(1).find(|path| is_repository(path)) {
            return Err(Error::BelowAnother {
                repository: repository.to_owned(),
                path,
            });
        }
        let file_mode = 0o666 & !options.umask;
        let mut directory = fs::DirBuilder::new();
        directory.mode(0o777 & !options.umask);
        if options.make_parents {
            let parent = save_file::parent(&path);
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o777 & !options.umask)
                .create(parent)
                .map_err(Error::io("create", parent))?;
        }
        match directory.create(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::ParentMissing { path });
            }
            result => result.map_err(Error::io("create", &path))?,
        }
        let create = |name: &str| -> io::Result<()> {
            let mut file = save_file::create_new(&path.join(name), file_mode)?;
            file.write_all(README_TEXT.as_bytes())?;
            file.sync_data()
        };
        create(README).map_err(Error::io("create", path.join(README)))?;
        let data = path.join("data");
        directory.create(&data).map_err(Error::io("create", data))?;
        Config::new(options).save(&path, file_mode)?;
        let parent = save_file::parent(&path);
        save_file::sync_directory(parent).map_err(Error::io("sync", parent))
    }
}

fn refuse_occupied(path: &Path) -> Result<(), Error> {
    let path_buf = || -> PathBuf { path.to_owned() };
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("look at", path)(error)),
        Ok(_) if is_repository(path) => return Err(Error::AlreadyExists { path: path_buf() }),
        Ok(metadata) if !metadata.is_dir() => return Err(Error::PathOccupied { path: path_buf() }),
        Ok(_) => {}
    }
    let mut entries = fs::read_dir(path).map_err(Error::io("list", path))?;
    if entries.next().is_some() {
        return Err(Error::PathOccupied { path: path_buf() });
    }
    Ok(())
}

/// Whether the README says that it is one.
fn is_repository(path: &Path) -> bool {
    let mut head = Vec::new();
    let read =
        fs::File::open(path.join(README)).and_then(|file| file.take(100).read_to_end(&mut head));
    let head = String::from_utf8_lossy(&head);
    // The second is what Borg 1.0 wrote.
    read.is_ok() && (head.contains("Borg Backup repository") || head.contains("Borg repository"))
}
