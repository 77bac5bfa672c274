//! Secrets: where they are kept, and how they are fetched without leaving a trace.
//!
//! A configuration holds references only. What a reference leads to is read when it is needed,
//! kept in memory that is wiped afterwards, and never put on a command line, where every user of
//! the machine could read it.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::Random;

/// Longest secret that is taken: 64 KiB. More is not a passphrase but the wrong file.
const SECRET_SIZE_MAX: u64 = 64 * 1024;

/// A passphrase or a token. Prints as `***` and is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text as a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text itself, for the one who needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// In the desktop's keyring, under this name: asked for by the `secret-tool` program with the
    /// attributes `application ravelin` and `name NAME`.
    Keyring(String),
    /// What a program prints: its name and its arguments. No shell takes part.
    Command(Vec<String>),
    /// In a file that only its owner may read.
    File(PathBuf),
    /// In an environment variable.
    Environment(String),
    /// In a credential that systemd hands to the service.
    Credential(String),
}

/// As it is written in a configuration.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyring(name) => write!(f, "{{ keyring = {name:?} }}"),
            Self::Command(words) => write!(f, "{{ command = {words:?} }}"),
            Self::File(path) => write!(f, "{{ file = {:?} }}", path.display().to_string()),
            Self::Environment(name) => write!(f, "{{ env = {name:?} }}"),
            Self::Credential(name) => write!(f, "{{ credential = {name:?} }}"),
        }
    }
}

/// Why a secret could not be fetched. Never holds any part of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with the secret cannot be read.
    #[error("cannot read the secret in {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read or change the file.
    #[error("{} may be read or changed by others (mode {mode:03o})", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file belongs to somebody else.
    #[error("{} belongs to another user (uid {uid})", path.display())]
    ForeignOwner {
        /// Which file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
    },
    /// The program that should print the secret cannot be started.
    #[error("cannot start `{program}`")]
    Start {
        /// Which program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The program that should print the secret failed.
    #[error("`{program}` ended with {status}{}", said(.stderr))]
    Failed {
        /// Which program.
        program: String,
        /// How it ended.
        status: String,
        /// The last line that it wrote about that.
        stderr: String,
    },
    /// The environment variable is not set.
    #[error("the variable {name} is not set")]
    NotSet {
        /// Its name.
        name: String,
    },
    /// Not started by systemd with that credential.
    #[error("no credential `{name}` was handed to this service")]
    NoCredential {
        /// Its name.
        name: String,
    },
    /// There is nothing in it.
    #[error("the secret in {place} is empty")]
    Empty {
        /// Where it is kept.
        place: String,
    },
    /// It is too long or not text.
    #[error("what is kept in {place} is not a secret: longer than 64 KiB or not text")]
    NotText {
        /// Where it is kept.
        place: String,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!(": {stderr}")
    }
}

/// What fetching a secret needs to know of the machine.
pub struct Keeper<'a> {
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// Where systemd lays out credentials.
    pub credentials: Option<&'a Path>,
}

impl Keeper<'_> {
    /// Fetches a secret. One trailing line break is not part of it.
    ///
    /// # Errors
    ///
    /// [`Error`] says which place failed and why, without the secret.
    pub fn fetch(&self, reference: &Reference) -> Result<Secret, Error> {
        match reference {
            Reference::Keyring(name) => print_of(
                "secret-tool",
                &["lookup", "application", "ravelin", "name", name],
            ),
            Reference::Command(words) => {
                let (program, arguments) = words.split_first().ok_or_else(|| Error::Empty {
                    place: "the command".to_owned(),
                })?;
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                print_of(program, &arguments)
            }
            Reference::File(path) => private_file(path),
            Reference::Environment(name) => {
                let value =
                    (self.variable)(name).ok_or_else(|| Error::NotSet { name: name.clone() })?;
                let place = || format!("the variable {name}");
                let value = value
                    .into_string()
                    .map_err(|_| Error::NotText { place: place() })?;
                text(Zeroizing::new(value.into_bytes()), place)
            }
            Reference::Credential(name) => {
                let missing = || Error::NoCredential { name: name.clone() };
                let folder = self.credentials.ok_or_else(missing)?;
                if name.is_empty() || name.contains('/') || name.starts_with('.') {
                    return Err(missing());
                }
                let path = folder.join(name);
                let file = fs::File::open(&path).map_err(|source| Error::Read {
                    path: path.clone(),
                    source,
                })?;
                whole(file, &path)
            }
        }
    }
}

/// Reads a file that nobody but its owner, who is this user or root, may read or change.
///
/// The checks are made on the open file, so that it cannot be exchanged in between.
fn private_file(path: &Path) -> Result<Secret, Error> {
    let read_error = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    // Not blocking: a pipe in the place of the file must not hang the run.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits();
    let file = fs::OpenOptions::new()
        .read(true)
        .custom_flags(nonblock.cast_signed())
        .open(path)
        .map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if !metadata.is_file() {
        return Err(read_error(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Open {
            path: path.to_owned(),
            mode,
        });
    }
    let uid = metadata.uid();
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(Error::ForeignOwner {
            path: path.to_owned(),
            uid,
        });
    }
    whole(file, path)
}

fn whole(file: fs::File, path: &Path) -> Result<Secret, Error> {
    let bytes = bounded(file).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    text(bytes, || path.display().to_string())
}

/// What a program prints. Its input is empty, so that it cannot wait for a person.
fn print_of(program: &str, arguments: &[&str]) -> Result<Secret, Error> {
    let start = |source| Error::Start {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    // Complaints are taken in on a thread of their own: a program that complains at length must
    // not wait for us while we wait for its answer.
    let complaints = child.stderr.take();
    let complaints = std::thread::spawn(move || complaints.map(bounded));
    let printed = child.stdout.take().map(bounded).transpose();
    let status = child.wait().map_err(start)?;
    let stderr = complaints.join().ok().flatten().and_then(Result::ok);
    if !status.success() {
        let stderr = stderr.unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr);
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        return Err(Error::Failed {
            program: program.to_owned(),
            status: status.to_string(),
            stderr: last.unwrap_or_default().trim().escape_debug().to_string(),
        });
    }
    let bytes = printed.map_err(start)?.unwrap_or_default();
    text(bytes, || format!("`{program}`"))
}

/// Reads at most a little more than the longest secret; the rest is drained unseen.
fn bounded(mut from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    (&mut from)
        .take(SECRET_SIZE_MAX + 1)
        .read_to_end(&mut bytes)?;
    io::copy(&mut from, &mut io::sink())?;
    Ok(bytes)
}

fn text(bytes: Zeroizing<Vec<u8>>, place: impl Fn() -> String) -> Result<Secret, Error> {
    let not_text = || Error::NotText { place: place() };
    if bytes.len() as u64 > SECRET_SIZE_MAX {
        return Err(not_text());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| not_text())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(Error::Empty { place: place() });
    }
    Ok(Secret::new(text.to_owned()))
}

/// Makes a passphrase out of 32 random bytes: 43 letters, digits, `-` and `_`.
///
/// # Errors
///
/// When the source of random bytes has none.
pub fn generate(random: Random) -> io::Result<Secret> {
    let mut bytes = Zeroizing::new([0; 32]);
    random(&mut *bytes)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn fetch(reference: &Reference) -> Result<Secret, Error> {
        let keeper = Keeper {
            variable: &|name| (name == "LAYER_PASSPHRASE").then(|| OsString::from("from env")),
            credentials: Some(Path::new("/nonexistent")),
        };
        keeper.fetch(reference)
    }

    fn file(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "*** *** Some(***)"
        );
    }

    #[test]
    fn a_file_is_read_without_its_last_line_break() {
        let (_folder, path) = file("correct horse \n", 0o600);
        let secret = fetch(&Reference::File(path)).unwrap();
        assert_eq!(secret.expose(), "correct horse ");
    }

    #[test]
    fn a_file_that_others_may_read_or_change_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
            let (_folder, path) = file("x", mode);
            let error = fetch(&Reference::File(path)).unwrap_err();
            assert!(
                matches!(error, Error::Open { mode: found, .. } if found == mode),
                "{error}"
            );
        }
    }

    #[test]
    fn what_cannot_be_a_secret_is_refused() {
        let (_folder, empty) = file("\n", 0o600);
        assert!(matches!(
            fetch(&Reference::File(empty)),
            Err(Error::Empty { .. })
        ));
        let (_folder, long) = file(&"x".repeat(70_000), 0o600);
        assert!(matches!(
            fetch(&Reference::File(long)),
            Err(Error::NotText { .. })
        ));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        assert!(matches!(
            fetch(&Reference::File(path)),
            Err(Error::Read { .. })
        ));
    }

    #[test]
    fn a_command_is_run_without_a_shell_and_its_complaint_is_kept() {
        let command =
            |words: &[&str]| Reference::Command(words.iter().map(|&word| word.into()).collect());
        let secret = fetch(&command(&["echo", "a $HOME"])).unwrap();
        assert_eq!(secret.expose(), "a $HOME");
        let failed = fetch(&command(&["sh", "-c", "echo no such entry >&2; exit 3"])).unwrap_err();
        assert_eq!(
            failed.to_string(),
            "`sh` ended with exit status: 3: no such entry"
        );
        assert!(matches!(
            fetch(&command(&["/nonexistent"])),
            Err(Error::Start { .. })
        ));
    }

    #[test]
    fn variables_and_credentials() {
        let variable = |name: &str| Reference::Environment(name.to_owned());
        assert_eq!(
            fetch(&variable("LAYER_PASSPHRASE")).unwrap().expose(),
            "from env"
        );
        assert!(matches!(
            fetch(&variable("OTHER")),
            Err(Error::NotSet { .. })
        ));
        for name in ["../etc/passwd", "", ".hidden"] {
            let credential = Reference::Credential(name.to_owned());
            assert!(
                matches!(fetch(&credential), Err(Error::NoCredential { .. })),
                "{name}"
            );
        }
    }
}
