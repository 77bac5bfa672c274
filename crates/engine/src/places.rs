//! Where the program keeps what is not a backup: configuration, history, caches.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

/// The program's folders on this machine. None has to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The person's home directory, which `~` stands for in a configuration.
    pub home: PathBuf,
    /// `ravelin.toml` and generated passphrases.
    pub config: PathBuf,
    /// The history of runs. Its loss costs evidence, no restore.
    pub state: PathBuf,
    /// What can be computed again. May be deleted at any time.
    pub cache: PathBuf,
    /// Where `quickstart` puts its first layer.
    pub data: PathBuf,
    /// Where systemd lays out credentials for a service.
    pub credentials: Option<PathBuf>,
}

impl Places {
    /// The places that the XDG base directory specification names, moved by `XDG_CONFIG_HOME`,
    /// `XDG_STATE_HOME`, `XDG_CACHE_HOME` and `XDG_DATA_HOME`.
    ///
    /// `variable` looks up an environment variable. As the specification wants it, an empty or
    /// relative value counts as not set.
    pub fn from_environment(home: &Path, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let absolute = |name: &str| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let below = |name: &str, usual: &str| {
            absolute(name)
                .unwrap_or_else(|| home.join(usual))
                .join("ravelin")
        };
        Self {
            home: home.to_owned(),
            config: below("XDG_CONFIG_HOME", ".config"),
            state: below("XDG_STATE_HOME", ".local/state"),
            cache: below("XDG_CACHE_HOME", ".cache"),
            data: below("XDG_DATA_HOME", ".local/share"),
            credentials: absolute("CREDENTIALS_DIRECTORY"),
        }
    }

    /// The configuration file, unless another is named.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("ravelin.toml")
    }

    /// A path as a person writes it: a leading `~` is the home directory.
    #[must_use]
    pub fn expand(&self, typed: &str) -> PathBuf {
        match typed.strip_prefix('~') {
            Some("") => self.home.clone(),
            Some(rest) if rest.starts_with('/') => self.home.join(rest.trim_start_matches('/')),
            _ => PathBuf::from(typed),
        }
    }

    /// A path as a person writes it: `~` for the home directory.
    #[must_use]
    pub fn shorten(&self, path: &Path) -> String {
        match path.strip_prefix(&self.home) {
            Ok(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }
}

/// Creates a folder that only its owner may look into, with its parents.
///
/// # Errors
///
/// What the system says.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// A new file without a name in a folder, which is gone with its last descriptor.
pub(crate) fn unnamed_file(folder: &Path) -> io::Result<File> {
    create_private_folder(folder)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(open(folder, flags, mode)?.into())
}

/// Creates a file that only its owner may read, private from its first byte, and syncs it.
///
/// # Errors
///
/// [`io::ErrorKind::AlreadyExists`] when something stands there: nothing is ever replaced.
pub fn create_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        create_private_folder(parent)?;
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Puts a file that only its owner may read into the place of another, or of none.
///
/// It is written beside it, synced, and renamed: whoever reads sees the old content or the new,
/// also after a crash. What a crash leaves beside it is replaced the next time.
///
/// # Errors
///
/// What the system says; the old content stands.
pub fn replace_private_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create_private_file(&beside, content)?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)]) -> Places {
        Places::from_environment(Path::new("/home/ada"), |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn variables_move_the_places_unless_they_are_relative() {
        let places = places(&[("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "here")]);
        assert_eq!(places.config_file(), Path::new("/c/ravelin/ravelin.toml"));
        assert_eq!(places.state, Path::new("/home/ada/.local/state/ravelin"));
        assert_eq!(places.credentials, None);
    }

    #[test]
    fn a_tilde_is_the_home_directory_only_where_it_leads() {
        let places = places(&[]);
        assert_eq!(places.expand("~"), Path::new("/home/ada"));
        assert_eq!(places.expand("~/x"), Path::new("/home/ada/x"));
        assert_eq!(places.expand("~ada/x"), Path::new("~ada/x"));
        assert_eq!(places.shorten(Path::new("/home/ada/x")), "~/x");
        assert_eq!(places.shorten(Path::new("/home/adamant")), "/home/adamant");
    }
}
