//! What stands at a place where backups are to be kept: perhaps backups, made by other programs.

use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use duplicity::Prefixes;
use store::{Folder, Location, Scope};

/// Most entries of a folder that are looked at.
const LOOKED_AT_MAX: usize = 4096;

/// What stands in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing, or no folder: a new store may be made there.
    Nothing,
    /// A Borg 1.x repository.
    Borg,
    /// A duplicity archive; older versions of Déjà Dup make such, too.
    Duplicity,
    /// A restic repository, as newer versions of Déjà Dup make it. This program cannot use it.
    Restic,
    /// Other files.
    Other,
}

impl Standing {
    /// Looks into a folder. One that cannot be read holds something else.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        let Ok(entries) = fs::read_dir(folder) else {
            return match folder.symlink_metadata() {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::Nothing,
                _ => Self::Other,
            };
        };
        let names: Vec<_> = entries
            .take(LOOKED_AT_MAX)
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .collect();
        let has = |name: &str| names.iter().any(|known| known == name);
        let is_duplicity = |name: &std::ffi::OsString| {
            let name = name.to_string_lossy();
            name.starts_with("duplicity-full.") && name.contains(".difftar")
        };
        if names.is_empty() {
            Self::Nothing
        } else if has("config") && has("data") && begins(&folder.join("config"), b"[repository]") {
            Self::Borg
        } else if has("config") && has("keys") && has("snapshots") && has("index") {
            Self::Restic
        } else if names.iter().any(is_duplicity) {
            Self::Duplicity
        } else {
            Self::Other
        }
    }

    /// Looks at a location, which need not be on this machine. Away from it duplicity's archives are
    /// recognised, and files that are something else.
    ///
    /// # Errors
    ///
    /// When the store cannot be listed.
    pub fn of(location: &Location, environment: &store::Environment) -> Result<Self, store::Error> {
        if let Location::Disk(path) = location {
            return Ok(Self::at(path));
        }
        let store = store::open(location, environment)?;
        let prefixes = Prefixes::default();
        let mut standing = Self::Nothing;
        let mut looked_at = 0;
        store.list(&Folder::root(), Scope::Folder, &mut |object| {
            looked_at += 1;
            standing = match prefixes.read(object.name.as_str()) {
                Some(_) => Self::Duplicity,
                None => Self::Other,
            };
            if standing == Self::Duplicity || looked_at >= LOOKED_AT_MAX {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(standing)
    }

    /// The backups in a folder and directly below it.
    #[must_use]
    pub fn backups_below(folder: &Path) -> Vec<(PathBuf, Self)> {
        let is_backup = |found: &Self| matches!(found, Self::Borg | Self::Duplicity | Self::Restic);
        let here = Self::at(folder);
        if is_backup(&here) {
            return vec![(folder.to_owned(), here)];
        }
        let entries = fs::read_dir(folder).into_iter().flatten();
        let mut found: Vec<(PathBuf, Self)> = entries
            .take(LOOKED_AT_MAX)
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let path = entry.path();
                let standing = entry.file_type().ok()?.is_dir().then(|| Self::at(&path))?;
                is_backup(&standing).then_some((path, standing))
            })
            .collect();
        found.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

fn begins(file: &Path, with: &[u8]) -> bool {
    let mut start = Vec::new();
    let limit = u64::try_from(with.len()).unwrap_or(0);
    let read = File::open(file).and_then(|file| file.take(limit).read_to_end(&mut start));
    read.is_ok() && start == with
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_of_other_programs_are_recognised() {
        let folder = tempfile::tempdir().unwrap();
        let make = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        make("borg/config", "[repository]\nversion = 1\n");
        make("borg/data/0/1", "");
        make("deja/duplicity-full.20260101T000000Z.vol1.difftar.gpg", "");
        make("new-deja/config", "x");
        for part in ["keys", "snapshots", "index"] {
            make(&format!("new-deja/{part}/x"), "");
        }
        make("photos/config", "[core]");
        fs::create_dir(folder.path().join("empty")).unwrap();
        let of = |name: &str| Standing::at(&folder.path().join(name));
        assert_eq!(of("photos"), Standing::Other);
        assert_eq!(of("empty"), Standing::Nothing);
        assert_eq!(of("missing"), Standing::Nothing);
        let found = Standing::backups_below(folder.path());
        let kinds: Vec<Standing> = found.iter().map(|(_, standing)| *standing).collect();
        assert_eq!(
            kinds,
            [Standing::Borg, Standing::Duplicity, Standing::Restic]
        );
        let direct = Standing::backups_below(&folder.path().join("borg"));
        assert_eq!(direct.len(), 1);
    }
}
