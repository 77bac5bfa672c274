//! Borg's own directories on this machine.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::{Error, Id, KeyError, Location, find_key_file};

/// Where Borg keeps keys, what it remembers about repositories, and its caches.
///
/// The stock program uses the same places, so both may work on one repository: a key is found
/// by either, a replayed repository is noticed by either, and neither rebuilds the other's cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Key files of the `keyfile` modes.
    pub keys: PathBuf,
    /// The one key file that counts, wherever it is, in place of those in `keys`.
    pub key_file: Option<PathBuf>,
    /// One folder a repository: what was last seen of it. See [`crate::Trust`].
    pub security: PathBuf,
    /// One folder a repository: chunks and files caches. May be deleted at any time.
    pub cache: PathBuf,
}

impl Home {
    /// The usual places below a person's home directory, moved by the variables that Borg
    /// documents: `BORG_BASE_DIR`, `BORG_CONFIG_DIR`, `BORG_CACHE_DIR`, `BORG_KEYS_DIR`,
    /// `BORG_KEY_FILE`, `BORG_SECURITY_DIR`, `XDG_CONFIG_HOME` and `XDG_CACHE_HOME`.
    ///
    /// `variable` looks one up; an empty value counts as not set.
    pub fn from_environment(
        home_directory: &Path,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Self {
        let path = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        // A base directory of its own takes the place of the home directory, and XDG's
        // variables, which speak about the real one, no longer count.
        let base = path("BORG_BASE_DIR");
        let below = |xdg: &str, usual: &str| match &base {
            Some(base) => base.join(usual),
            None => path(xdg).unwrap_or_else(|| home_directory.join(usual)),
        };
        let config = path("BORG_CONFIG_DIR")
            .unwrap_or_else(|| below("XDG_CONFIG_HOME", ".config").join("borg"));
        Self {
            keys: path("BORG_KEYS_DIR").unwrap_or_else(|| config.join("keys")),
            key_file: path("BORG_KEY_FILE"),
            security: path("BORG_SECURITY_DIR").unwrap_or_else(|| config.join("security")),
            cache: path("BORG_CACHE_DIR")
                .unwrap_or_else(|| below("XDG_CACHE_HOME", ".cache").join("borg")),
        }
    }

    /// Finds the key file of a repository.
    ///
    /// # Errors
    ///
    /// As [`find_key_file`].
    pub fn find_key_file(&self, repository: &Id) -> Result<PathBuf, KeyError> {
        match &self.key_file {
            Some(file) if file.exists() => Ok(file.clone()),
            Some(file) => Err(KeyError::NotFound {
                repository_id: *repository,
                path: file.clone(),
            }),
            None => find_key_file(&self.keys, repository),
        }
    }

    /// Where the key of a repository goes that has none in a file yet.
    #[must_use]
    pub fn new_key_file(&self, location: &Location) -> PathBuf {
        match &self.key_file {
            Some(file) => file.clone(),
            None => location.new_key_file(&self.keys),
        }
    }

    /// Where this machine remembers what it saw of the repository.
    #[must_use]
    pub fn security_of(&self, repository: &Id) -> PathBuf {
        self.security.join(repository.to_string())
    }

    /// Removes the cache of a repository, and unless `keep_security` what is remembered of it.
    ///
    /// # Errors
    ///
    /// [`Error::LocalState`].
    pub fn forget(&self, repository: &Id, keep_security: bool) -> Result<(), Error> {
        let mut folders = vec![self.cache_of(repository)];
        if !keep_security {
            folders.push(self.security_of(repository));
        }
        for path in folders {
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::LocalState { path, source }),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Where this machine caches what stands in the repository.
    #[must_use]
    pub fn cache_of(&self, repository: &Id) -> PathBuf {
        self.cache.join(repository.to_string())
    }
}

/// Creates a directory that only its owner may look into, with its parents.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(variables: &[(&str, &str)]) -> Home {
        Home::from_environment(Path::new("/home/ada"), |name| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_usual_places() {
        let home = home(&[("XDG_CACHE_HOME", "")]);
        assert_eq!(home.keys, Path::new("/home/ada/.config/borg/keys"));
        assert_eq!(home.security, Path::new("/home/ada/.config/borg/security"));
        assert_eq!(home.cache, Path::new("/home/ada/.cache/borg"));
    }

    #[test]
    fn a_base_directory_moves_all_and_silences_xdg() {
        let home = home(&[("BORG_BASE_DIR", "/b"), ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(home.keys, Path::new("/b/.config/borg/keys"));
        assert_eq!(home.cache, Path::new("/b/.cache/borg"));
    }

    #[test]
    fn the_nearest_variable_wins() {
        let home = home(&[
            ("BORG_CONFIG_DIR", "/c"),
            ("BORG_KEYS_DIR", "/k"),
            ("XDG_CACHE_HOME", "/x"),
        ]);
        assert_eq!(home.keys, Path::new("/k"));
        assert_eq!(home.security, Path::new("/c/security"));
        assert_eq!(home.cache, Path::new("/x/borg"));
    }
}
