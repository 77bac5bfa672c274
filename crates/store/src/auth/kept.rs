//! What is kept of a sign-in, and where: in the desktop's keyring, else in a file that only its
//! owner can read.
//!
//! The file `tokens/SERVICE-ACCOUNT.json` is there in both cases: it holds the sign-in, or says
//! that the keyring has it. So it never has to be guessed which of two is the newer one, and a
//! keyring that cannot be asked is told from a sign-in that never was. A new sign-in is put into
//! the keyring before the file says so: a crash in between leaves the old one in force.

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::{Client, Granted, MARGIN, Provider, keyring};
use crate::resume::write_private;
use crate::{Environment, Error, ErrorKind, Operation, Secret};

/// Where new sign-ins are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// In a file that only its owner can read: unattended runs need nothing else.
    #[default]
    InFile,
    /// In the desktop's keyring.
    InKeyring,
    /// In the keyring if there is one that answers, else in a file.
    InKeyringElseFile,
}

/// Where a sign-in was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeptIn {
    /// In this file.
    File(PathBuf),
    /// In the desktop's keyring, under this name.
    Keyring(String),
}

/// What is kept of a sign-in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    pub(super) client_id: String,
    pub(super) client_secret: Option<String>,
    pub(super) refresh_token: String,
    pub(super) access_token: Option<String>,
    /// Seconds since 1970.
    access_ends: Option<u64>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.client_secret.zeroize();
        self.refresh_token.zeroize();
        self.access_token.zeroize();
    }
}

/// What the file says.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    InKeyring { keyring: String },
    Here(Kept),
}

impl Kept {
    /// Of a sign-in that has just been granted; `None` without a lasting token.
    pub(super) fn new(client: &Client, mut granted: Granted, now: SystemTime) -> Option<Self> {
        let secret = client.secret.as_ref();
        let mut kept = Self {
            client_id: client.id.clone(),
            client_secret: secret.map(|secret| secret.expose().to_owned()),
            refresh_token: granted.refresh_token.take()?,
            access_token: None,
            access_ends: None,
        };
        kept.take(granted, now);
        Some(kept)
    }

    /// Takes a renewal. Some services give a new lasting token each time.
    pub(super) fn take(&mut self, granted: Granted, now: SystemTime) {
        self.access_token = Some(granted.access_token);
        let now = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        self.access_ends = granted
            .expires_in
            .map(|seconds| now.saturating_add(seconds));
        if let Some(refresh) = granted.refresh_token {
            self.refresh_token = refresh;
        }
    }

    pub(super) fn is_fresh(&self, now: SystemTime) -> bool {
        let end = self
            .access_ends
            .and_then(|end| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end)));
        self.access_token.is_some() && end.is_none_or(|end| now + MARGIN < end)
    }
}

/// The account of a service, as this machine knows it.
#[derive(Clone)]
pub(super) struct Account {
    pub(super) provider: Provider,
    pub(super) name: Option<String>,
    file: PathBuf,
    keep: Keep,
    keyring: String,
}

impl Account {
    pub(super) fn new(
        provider: Provider,
        name: Option<&str>,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let state = environment.state.as_ref().ok_or_else(|| {
            provider.error(ErrorKind::SignIn, "there is no folder to keep tokens in")
        })?;
        let label = format!("{}-{}", provider.name(), safe(name));
        Ok(Self {
            provider,
            name: name.map(str::to_owned),
            file: state.join("tokens").join(format!("{label}.json")),
            keep: environment.keep,
            keyring: environment.keyring.clone(),
        })
    }

    /// The error of a sign-in that is lost, with what mends it.
    pub(super) fn lost(&self, why: &str) -> Error {
        let needed = super::SignInNeeded {
            provider: self.provider,
            account: self.name.clone(),
            why: why.to_owned(),
        };
        Error::new(ErrorKind::SignIn, Operation::Open)
            .on(self.provider.name())
            .because(needed)
    }

    /// What the keyring calls it.
    fn keyring_name(&self) -> String {
        format!(
            "login/{}/{}",
            self.provider.name(),
            safe(self.name.as_deref())
        )
    }

    pub(super) fn read(&self) -> Result<Kept, Error> {
        match self.written()? {
            Written::Here(kept) => Ok(kept),
            Written::InKeyring { keyring } => {
                let text = keyring::lookup(&self.keyring, &keyring).map_err(|why| {
                    self.lost(&format!("the sign-in is in the keyring, which {why}"))
                })?;
                serde_json::from_str(text.expose())
                    .map_err(|_| self.lost("the kept sign-in cannot be read"))
            }
        }
    }

    fn written(&self) -> Result<Written, Error> {
        let bytes = match std::fs::metadata(&self.file) {
            Ok(metadata) if metadata.mode() & 0o077 != 0 => {
                let why = format!(
                    "others can read {}: run `chmod 600` on it",
                    self.file.display()
                );
                return Err(self.provider.error(ErrorKind::SignIn, why));
            }
            Ok(_) => std::fs::read(&self.file)
                .map(Zeroizing::new)
                .map_err(|error| self.io(error))?,
            Err(_) => return Err(self.lost("nobody has signed in yet")),
        };
        serde_json::from_slice(&bytes).map_err(|_| self.lost("the kept sign-in cannot be read"))
    }

    /// Keeps a new sign-in where the person wants it.
    pub(super) fn keep(&self, kept: &Kept) -> Result<KeptIn, Error> {
        let _alone = self.lock()?;
        if self.keep != Keep::InFile {
            let name = self.keyring_name();
            match self.save_in_keyring(&name, kept) {
                Ok(()) => {
                    let pointer = Written::InKeyring {
                        keyring: name.clone(),
                    };
                    self.write(&pointer)?;
                    return Ok(KeptIn::Keyring(name));
                }
                Err(why) if self.keep == Keep::InKeyring => {
                    let why = format!("the keyring {why}");
                    return Err(self.provider.error(ErrorKind::SignIn, why));
                }
                Err(_) => {}
            }
        }
        self.write(kept)?;
        Ok(KeptIn::File(self.file.clone()))
    }

    /// Keeps a renewal where the sign-in is.
    pub(super) fn renew(&self, kept: &Kept) -> Result<(), Error> {
        match self.written()? {
            Written::Here(_) => self.write(kept),
            Written::InKeyring { keyring } => self
                .save_in_keyring(&keyring, kept)
                .map_err(|why| self.lost(&format!("the sign-in is in the keyring, which {why}"))),
        }
    }

    fn save_in_keyring(&self, name: &str, kept: &Kept) -> Result<(), String> {
        let text = serde_json::to_string(kept).map_err(|error| error.to_string())?;
        let label = format!("Ravelin: {}", self.provider.title());
        keyring::store(&self.keyring, name, &label, &Secret::new(text))
    }

    fn write(&self, value: &impl Serialize) -> Result<(), Error> {
        let bytes = serde_json::to_vec(value)
            .map(Zeroizing::new)
            .map_err(|error| self.provider.error(ErrorKind::Io, error.to_string()))?;
        write_private(&self.file, &bytes).map_err(|error| self.io(error))
    }

    /// Keeps other programs and threads from renewing at the same time.
    pub(super) fn lock(&self) -> Result<File, Error> {
        let path = self.file.with_extension("lock");
        if let Some(folder) = path.parent() {
            let mut private = std::fs::DirBuilder::new();
            let made = private.recursive(true).mode(0o700).create(folder);
            made.map_err(|error| self.io(error))?;
        }
        // Never replaced by another file: all have to lock the same one.
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| self.io(error))?;
        file.lock().map_err(|error| self.io(error))?;
        Ok(file)
    }

    fn io(&self, error: std::io::Error) -> Error {
        Error::from_io(error, Operation::SignIn, self.provider.name())
    }
}

/// An account is a person's word for it: what could lead elsewhere is replaced.
fn safe(account: Option<&str>) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "@-_".contains(c) {
            c
        } else {
            '_'
        }
    };
    account.unwrap_or("default").chars().map(safe).collect()
}

impl Client {
    /// The client of the last sign-in, so that a new one takes no more than a click.
    ///
    /// # Errors
    ///
    /// When what is kept cannot be read; nothing kept is `None`.
    pub fn of_last_sign_in(
        provider: Provider,
        account: Option<&str>,
        environment: &Environment,
    ) -> Result<Option<Self>, Error> {
        let account = Account::new(provider, account, environment)?;
        if !account.file.exists() {
            return Ok(None);
        }
        let kept = account.read()?;
        Ok(Some(Self {
            id: kept.client_id.clone(),
            secret: kept.client_secret.clone().map(Secret::new),
        }))
    }
}
