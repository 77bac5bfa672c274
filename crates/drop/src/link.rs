//! Links to single files, for people who have no access to the store.
//!
//! A link is a signed token and a record in the hidden folder. The record says what the link may do; without
//! it, or after its end, the token is worth nothing. Whoever serves links (a web server) calls
//! [`Links::look`] and [`Links::open`] and nothing else: all rules are here.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Environment, ErrorKind, Folder as StoreFolder, Name, Scope, Store};
use subtle::ConstantTimeEq as _;

use crate::hidden::{HIDDEN, name};
use crate::token::{Parsed, Signer, mode};
use crate::{Device, Error, Folder, Version};

/// Longest life of a link: a year.
pub const LIFE_MAX: SignedDuration = SignedDuration::from_hours(365 * 24);

/// Largest record that is read.
const RECORD_SIZE_MAX: u64 = 64 * 1024;

/// The kind of token.
const KIND: &str = "share";

/// Wrong passwords before a link makes its guests wait.
const FREE_TRIES: u32 = 5;

/// A link that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareLink {
    /// Its name in lists and for revoking.
    pub id: String,
    /// What comes behind `/s/` in its address.
    pub token: String,
    /// Which file; its present version is given out.
    pub path: Name,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends.
    pub expires: Timestamp,
    /// Which device made it.
    pub device: Device,
    /// Whether it asks for a password.
    pub has_password: bool,
    /// Whether it ends with its first use.
    pub once: bool,
    /// Whether it has been used, when it ends with its first use.
    pub used: bool,
    /// Whether the file may be saved, not only looked at in the browser. A wish, not a wall: what is shown can
    /// be kept.
    pub download: bool,
}

/// What a new link may do.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// When it ends; at most [`LIFE_MAX`] from now.
    pub expires: Timestamp,
    /// What guests have to type.
    pub password: Option<store::Secret>,
    /// It ends with its first use.
    pub once: bool,
    /// The file may be saved.
    pub download: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    path: String,
    created: Timestamp,
    expires: Timestamp,
    device: Device,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<Hashed>,
    #[serde(default)]
    once: bool,
    #[serde(default = "yes")]
    download: bool,
}

fn yes() -> bool {
    true
}

/// A password after Argon2id with its salt, both in base64.
#[derive(Debug, Serialize, Deserialize)]
struct Hashed {
    salt: String,
    hash: String,
}

/// Why a guest gets nothing. The texts are for the guest.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Never made, revoked, or forged: which, is not told.
    #[error("this link does not exist, or was taken back")]
    Unknown,
    /// Its time is over.
    #[error("this link has expired")]
    Expired,
    /// It was good for one use.
    #[error("this link was good for one use")]
    Used,
    /// It asks for a password.
    #[error("this link asks for a password")]
    PasswordNeeded,
    /// The password is wrong.
    #[error("the password is wrong")]
    WrongPassword,
    /// Too many wrong passwords.
    #[error("too many wrong passwords: wait {} s", wait.as_secs())]
    TooManyTries {
        /// How long.
        wait: Duration,
    },
    /// The file was deleted.
    #[error("the file is not there any more")]
    Gone,
    /// The store cannot be read at present; guests are told no more than that.
    #[error("this cannot be shown at present")]
    Failed(#[from] Error),
}

/// What a browser may show of a file without running anything that stands in it, by the file's name:
/// the type to declare. Pictures, and text as text; no HTML, no SVG, no PDF.
#[must_use]
pub fn viewable(file_name: &str) -> Option<&'static str> {
    let (_, ending) = file_name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "txt" | "md" | "csv" | "log" | "json" | "toml" | "yaml" | "yml" => {
            "text/plain; charset=utf-8"
        }
        _ => return None,
    })
}

/// What may be shown of a link before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// The name of the file, without its folders.
    pub file_name: String,
    /// Bytes; `None` while a password is needed.
    pub size: Option<u64>,
    /// A password has to be given.
    pub needs_password: bool,
    /// The link ends when it is opened.
    pub once: bool,
    /// The file may be saved.
    pub download: bool,
    /// When the link ends.
    pub expires: Timestamp,
}

/// The links of a drop folder.
pub struct Links {
    store: Arc<dyn Store>,
    environment: Environment,
    tries: Mutex<BTreeMap<String, Tries>>,
}

/// Wrong passwords of one link.
#[derive(Debug, Clone, Copy)]
struct Tries {
    wrong: u32,
    last: Timestamp,
}

fn object(id: &str, ending: &str) -> Result<Name, Error> {
    name(&format!("{HIDDEN}/links/{id}.{ending}"))
}

impl Links {
    /// The links of the folder at a store. Wrong passwords are counted by this value: a server keeps it.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, environment: &Environment) -> Self {
        Self {
            store,
            environment: environment.clone(),
            tries: Mutex::default(),
        }
    }

    /// Makes a link.
    ///
    /// # Errors
    ///
    /// [`Error::NoFile`] when there is no such file, [`Error::Unsupported`] when the end is past
    /// or too far, the password is empty, or a file that may only be looked at is not
    /// [`viewable`].
    pub fn create(
        &self,
        folder: &Folder,
        path: &Name,
        new: &NewLink,
        device: &Device,
        now: Timestamp,
    ) -> Result<ShareLink, Error> {
        if folder.present(path).is_none() {
            return Err(Error::NoFile { name: path.clone() });
        }
        check_life(new.expires, now)?;
        if !new.download && viewable(path.file_name()).is_none() {
            return Err(Error::Unsupported {
                what: "only pictures and text can be looked at without saving them",
            });
        }
        let password = new.password.as_ref().map(|password| {
            if password.expose().is_empty() {
                return Err(Error::Unsupported {
                    what: "an empty password protects nothing",
                });
            }
            self.hash(password.expose())
        });
        let record = Record {
            path: path.to_string(),
            created: now,
            expires: new.expires,
            device: device.clone(),
            password: password.transpose()?,
            once: new.once,
            download: new.download,
        };
        let signer = Signer::of(&*self.store, &self.environment)?;
        let (token, id) = signer.sign(KIND, new.expires, &self.environment);
        let bytes = serde_json::to_vec_pretty(&record).unwrap_or_default();
        let object = object(&id, "json")?;
        self.store.write(&object, &bytes, mode(&*self.store))?;
        Ok(link(id, token, record, path.clone(), false))
    }

    /// All links that stand, the next to end first; those whose time is over are removed.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn list(&self, now: Timestamp) -> Result<Vec<ShareLink>, Error> {
        let mut ids = Vec::new();
        let mut used = Vec::new();
        self.each(&mut |file| {
            if let Some(id) = file.strip_suffix(".json") {
                ids.push(id.to_owned());
            } else if let Some(id) = file.strip_suffix(".used") {
                used.push(id.to_owned());
            }
        })?;
        let signer = Signer::of(&*self.store, &self.environment)?;
        let mut links = Vec::new();
        for id in ids {
            let Some(record) = self.record(&id)? else {
                continue;
            };
            if record.expires <= now {
                self.remove(&id)?;
                continue;
            }
            let Ok(path) = Name::new(&record.path) else {
                continue;
            };
            let token = signer.token(KIND, &id, record.expires).unwrap_or_default();
            let used = used.contains(&id);
            links.push(link(id, token, record, path, used));
        }
        links.sort_by_key(|link| (link.expires, link.id.clone()));
        Ok(links)
    }

    /// Takes a link back. Whoever has it gets nothing from now on.
    ///
    /// # Errors
    ///
    /// When there is no such link ([`Error::Unsupported`]), or the store says no.
    pub fn revoke(&self, id: &str) -> Result<(), Error> {
        let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_id || self.record(id)?.is_none() {
            return Err(Error::Unsupported {
                what: "there is no link of this name",
            });
        }
        self.remove(id)
    }

    /// Takes all links back, those of requests included, and makes every token ever given worthless. Gives how many
    /// links to files there were.
    ///
    /// # Errors
    ///
    /// When the store says no. The tokens are worthless first.
    pub fn revoke_all(&self) -> Result<u64, Error> {
        Signer::replace(&*self.store, &self.environment)?;
        let mut ids = Vec::new();
        self.each(&mut |file| ids.extend(file.strip_suffix(".json").map(str::to_owned)))?;
        let count = ids.len() as u64;
        for id in ids {
            self.remove(&id)?;
        }
        Ok(count)
    }

    /// What a guest may see before opening.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says what to tell the guest.
    pub fn look(&self, folder: &Folder, token: &str, now: Timestamp) -> Result<Shown, Refusal> {
        let (id, record) = self.check(token, now)?;
        let version = present(folder, &record)?;
        if record.once && self.is_used(&id)? {
            return Err(Refusal::Used);
        }
        let needs_password = record.password.is_some();
        Ok(Shown {
            file_name: version.path.file_name().to_owned(),
            size: version
                .content()
                .filter(|_| !needs_password)
                .map(|content| content.size),
            needs_password,
            once: record.once,
            download: record.download,
            expires: record.expires,
        })
    }

    /// Gives a guest the file. A link that is good for one use is used up by this.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says what to tell the guest.
    pub fn open(
        &self,
        folder: &mut Folder,
        token: &str,
        password: Option<&str>,
        now: Timestamp,
    ) -> Result<(Version, impl Read + Send + use<>), Refusal> {
        let (id, record) = self.check(token, now)?;
        if let Some(hashed) = &record.password {
            self.check_password(&id, hashed, password, now)?;
        }
        let version = present(folder, &record)?;
        let body = folder.read(&version)?;
        if record.once {
            // Of several guests who come at once, one gets it.
            let object = object(&id, "used")?;
            if !self.store.capabilities().create && self.is_used(&id)? {
                return Err(Refusal::Used);
            }
            let bytes = now.to_string().into_bytes();
            match self.store.write(&object, &bytes, mode(&*self.store)) {
                Err(error) if error.kind == ErrorKind::AlreadyExists => return Err(Refusal::Used),
                written => drop(written.map_err(Error::from)?),
            }
        }
        Ok((version, body))
    }

    /// The record of a token, if its signature is ours and its time is not over.
    fn check(&self, token: &str, now: Timestamp) -> Result<(String, Record), Refusal> {
        let parsed = Parsed::new(token).ok_or(Refusal::Unknown)?;
        let id = parsed.id();
        let record = self.record(&id)?.ok_or(Refusal::Unknown)?;
        let signer = Signer::of(&*self.store, &self.environment)?;
        if !signer.verify(KIND, &parsed, record.expires) {
            return Err(Refusal::Unknown);
        }
        if record.expires <= now {
            return Err(Refusal::Expired);
        }
        Ok((id, record))
    }

    fn check_password(
        &self,
        id: &str,
        hashed: &Hashed,
        password: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let password = password.ok_or(Refusal::PasswordNeeded)?;
        let wait = {
            let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
            let tries = tries.entry(id.to_owned()).or_insert(Tries {
                wrong: 0,
                last: now,
            });
            let wait = wait_after(tries.wrong).saturating_sub(elapsed(tries.last, now));
            if wait.is_zero() {
                // Counted before it is known to be wrong, so that many at once do not slip through.
                tries.wrong = tries.wrong.saturating_add(1);
                tries.last = now;
            }
            wait
        };
        if !wait.is_zero() {
            return Err(Refusal::TooManyTries { wait });
        }
        let salt = STANDARD.decode(&hashed.salt).unwrap_or_default();
        let expected = STANDARD.decode(&hashed.hash).unwrap_or_default();
        let is = slow_hash(password, &salt)?;
        if is.len() != expected.len() || !bool::from(is.ct_eq(&expected)) {
            return Err(Refusal::WrongPassword);
        }
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        tries.remove(id);
        Ok(())
    }

    fn hash(&self, password: &str) -> Result<Hashed, Error> {
        let mut salt = [0; 16];
        (self.environment.random)(&mut salt);
        Ok(Hashed {
            salt: STANDARD.encode(salt),
            hash: STANDARD.encode(slow_hash(password, &salt)?),
        })
    }

    fn is_used(&self, id: &str) -> Result<bool, Error> {
        match self.store.stat(&object(id, "used")?) {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn record(&self, id: &str) -> Result<Option<Record>, Error> {
        let object = object(id, "json")?;
        match store::read_all(&*self.store, &object, RECORD_SIZE_MAX) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            // A record that cannot be read opens nothing.
            bytes => Ok(serde_json::from_slice(&bytes?).ok()),
        }
    }

    fn remove(&self, id: &str) -> Result<(), Error> {
        self.store.delete(&object(id, "json")?)?;
        self.store.delete(&object(id, "used")?)?;
        Ok(())
    }

    fn each(&self, each: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let folder = format!("{HIDDEN}/links");
        let folder = StoreFolder::new(&folder).map_err(|source| Error::BadName {
            name: folder,
            source,
        })?;
        self.store.list(&folder, Scope::Folder, &mut |object| {
            each(object.name.file_name());
            std::ops::ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

pub(crate) fn check_life(end: Timestamp, now: Timestamp) -> Result<(), Error> {
    if end <= now {
        return Err(Error::Unsupported {
            what: "the end of a link must lie in the future",
        });
    }
    if end.duration_since(now) > LIFE_MAX {
        return Err(Error::Unsupported {
            what: "a link lives a year at most",
        });
    }
    Ok(())
}

fn link(id: String, token: String, record: Record, path: Name, used: bool) -> ShareLink {
    ShareLink {
        id,
        token,
        path,
        created: record.created,
        expires: record.expires,
        device: record.device,
        has_password: record.password.is_some(),
        once: record.once,
        used,
        download: record.download,
    }
}

fn present(folder: &Folder, record: &Record) -> Result<Version, Refusal> {
    let path = Name::new(&record.path).map_err(|_| Refusal::Gone)?;
    folder.present(&path).ok_or(Refusal::Gone)
}

/// The longer, the more wrong passwords there were: 1 s, 2 s, 4 s, to an hour.
fn wait_after(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE_TRIES) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(1 << more.min(12)).min(Duration::from_secs(3600)),
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}

/// Argon2id with 19 MiB and two passes: what OWASP's password storage page asks for at least.
fn slow_hash(password: &str, salt: &[u8]) -> Result<Vec<u8>, Error> {
    let fail = |_| Error::Unsupported {
        what: "the password cannot be hashed",
    };
    let params = Params::new(19 * 1024, 2, 1, Some(32)).map_err(fail)?;
    let mut hash = vec![0; 32];
    Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .map_err(fail)?;
    Ok(hash)
}
