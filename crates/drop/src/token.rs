//! What stands in a link: who made it is signed, so that nobody can guess or forge one.
//!
//! A token is 16 random bytes, the id, and 32 bytes of HMAC-SHA256 over its kind, its id and its
//! end, in URL-safe base64. The key lies in the hidden folder: who can read that can read the files
//! anyway. A new key makes every token worthless at once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;
use store::{Environment, ErrorKind, Store, WriteMode};

use crate::Error;
use crate::hidden::{HIDDEN, name};

/// Bytes of a key.
const KEY_SIZE: usize = 32;

/// Bytes of an id.
const ID_SIZE: usize = 16;

/// Signs tokens and verifies them.
pub(crate) struct Signer {
    key: [u8; KEY_SIZE],
}

/// A token that was taken apart. Its signature is not yet verified.
pub(crate) struct Parsed {
    id: [u8; ID_SIZE],
    mac: Vec<u8>,
}

impl Parsed {
    /// `None` for what cannot be a token.
    pub(crate) fn new(token: &str) -> Option<Self> {
        if token.len() > 100 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (id, mac) = bytes.split_at_checked(ID_SIZE)?;
        Some(Self {
            id: id.try_into().ok()?,
            mac: mac.to_vec(),
        })
    }

    /// The id as it stands in names.
    pub(crate) fn id(&self) -> String {
        hex::encode(self.id)
    }
}

impl Signer {
    /// Reads the key of a folder, or makes one.
    pub(crate) fn of(store: &dyn Store, environment: &Environment) -> Result<Self, Error> {
        let object = name(&format!("{HIDDEN}/links/key"))?;
        match store::read_all(store, &object, 1024) {
            Err(error) if error.kind == ErrorKind::NotFound => {}
            bytes => {
                let key = bytes?.try_into().map_err(|_| Error::Index {
                    object,
                    line: 1,
                    what: "it is no key",
                })?;
                return Ok(Self { key });
            }
        }
        let mut key = [0; KEY_SIZE];
        (environment.random)(&mut key);
        match store.write(&object, &key, mode(store)) {
            // Another device made one at the same time.
            Err(error) if error.kind == ErrorKind::AlreadyExists => Self::of(store, environment),
            written => {
                written?;
                Ok(Self { key })
            }
        }
    }

    /// Makes every token that was ever given worthless.
    pub(crate) fn replace(store: &dyn Store, environment: &Environment) -> Result<(), Error> {
        let object = name(&format!("{HIDDEN}/links/key"))?;
        let mut key = [0; KEY_SIZE];
        (environment.random)(&mut key);
        store.write(&object, &key, WriteMode::Replace)?;
        Ok(())
    }

    fn mac(&self, kind: &str, id: &[u8; ID_SIZE], end: Timestamp) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(format!("ravelin {kind} 1\0{}\0", end.as_second()).as_bytes());
        mac.update(id);
        Some(mac)
    }

    /// A new token and its id.
    pub(crate) fn sign(
        &self,
        kind: &str,
        end: Timestamp,
        environment: &Environment,
    ) -> (String, String) {
        let mut id = [0; ID_SIZE];
        (environment.random)(&mut id);
        let mut bytes = id.to_vec();
        if let Some(mac) = self.mac(kind, &id, end) {
            bytes.extend_from_slice(&mac.finalize().into_bytes());
        }
        (URL_SAFE_NO_PAD.encode(bytes), hex::encode(id))
    }

    /// The token of an id that is known.
    pub(crate) fn token(&self, kind: &str, id: &str, end: Timestamp) -> Option<String> {
        let mut bytes = Vec::new();
        for index in 0..ID_SIZE {
            let digits = id.get(2 * index..2 * index + 2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        }
        let id: [u8; ID_SIZE] = bytes.as_slice().try_into().ok()?;
        bytes.extend_from_slice(&self.mac(kind, &id, end)?.finalize().into_bytes());
        Some(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whether a token was signed by this key for this end. Takes the same time in every case.
    pub(crate) fn verify(&self, kind: &str, parsed: &Parsed, end: Timestamp) -> bool {
        let mac = self.mac(kind, &parsed.id, end);
        mac.is_some_and(|mac| mac.verify_slice(&parsed.mac).is_ok())
    }
}

/// How something new is written.
pub(crate) fn mode(store: &dyn Store) -> WriteMode {
    if store.capabilities().create {
        WriteMode::Create
    } else {
        WriteMode::Replace
    }
}
