//! The key blob: all secrets of a repository under a passphrase.
//!
//! Outer map, in Base64: `algorithm`, `data`, `hash`, `iterations`, `salt`, `version`. A key is
//! derived from the passphrase with PBKDF2-HMAC-SHA256; `data` is the inner map under AES-256-CTR
//! with that key and a zero counter, and `hash` is HMAC-SHA256 of the inner map with the same key.
//! As the salt is new each time, so is the derived key, and the zero counter is never reused.

use std::io;

use aes::Aes256Enc;
use aes::cipher::{KeyIvInit, StreamCipher};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::hash::Hasher;
use super::{BLAKE2_KEY_SIZE, Encryption, KEY_SIZE, Key, Passphrase, Secrets};
use crate::msgpack::{Malformed, Reader, Writer, fill, required};
use crate::{Id, Random};

/// Rounds of key derivation when a blob is written.
///
/// Source: `PBKDF2_ITERATIONS` in Borg 1.4's `constants.py`.
const ROUNDS: u32 = 100_000;

/// Most rounds that are tried: a few seconds of work. Whoever holds the repository can write
/// any number into the blob, and could keep a reader busy for hours.
const ROUNDS_MAX: u64 = 10_000_000;

/// Longest blob that is looked at; real ones have some 600 bytes.
const TEXT_SIZE_MAX: usize = 64 * 1024;

/// Columns of the text form.
const COLUMNS: usize = 70;

const ALGORITHM: &str = "sha256";
const VERSION: u64 = 1;
const SALT_SIZE: usize = 32;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The passphrase does not open the key. It might also be the key that is damaged, in a
    /// way that cannot be told from a wrong passphrase.
    #[error("the passphrase does not open the key")]
    WrongPassphrase,
    /// The blob is not one that Borg writes.
    #[error("the key is damaged: {what}")]
    Damaged {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The structure of the blob is not one that Borg writes.
    #[error("the key is damaged")]
    Malformed(#[from] Malformed),
    /// Made by a newer program, in a way that is not known here.
    #[error("the key is of an unknown kind: {what}")]
    Unsupported {
        /// Which version or algorithm.
        what: String,
    },
    /// Opening the key would take hours: somebody has changed it.
    #[error("the key asks for {rounds} rounds of key derivation, more than {ROUNDS_MAX}")]
    Rounds {
        /// How many.
        rounds: u64,
    },
    /// The mode has no key blob.
    #[error("a repository with encryption `{encryption}` has no key to open")]
    NoKey {
        /// The mode.
        encryption: Encryption,
    },
    /// There is no key file for the repository.
    #[error("no key file for repository {repository_id} in {path}")]
    NotFound {
        /// The repository.
        repository_id: Id,
        /// Where it was looked for.
        path: std::path::PathBuf,
    },
    /// The named key file is that of another repository.
    #[error("{path} is not the key file of repository {repository_id}")]
    OtherRepository {
        /// The repository.
        repository_id: Id,
        /// The key file.
        path: std::path::PathBuf,
    },
    /// Chunks of the two modes have different names, so that they would have none in common.
    #[error("{encryption} names chunks in another way than {other}: deduplication will break")]
    Unrelated {
        /// The mode that was asked for.
        encryption: Encryption,
        /// The mode that the secrets come from.
        other: Encryption,
    },
    /// A key file stands where a new one should be made.
    #[error("a key file is already there: {path}")]
    Exists {
        /// The key file.
        path: std::path::PathBuf,
    },
    /// A key file or the folder of key files cannot be read.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How often PBKDF2 hashed in the mode `passphrase`: nothing says so but the programs that did.
const PASSPHRASE_ROUNDS: u32 = 100_000;

impl Key {
    /// Writes the key under a passphrase, as the text that the repository's configuration or a
    /// key file holds. To change the passphrase, write it again.
    ///
    /// # Errors
    ///
    /// When the source of random numbers fails.
    pub fn to_blob(&self, passphrase: &Passphrase, random: &mut dyn Random) -> io::Result<String> {
        let mut salt = [0; SALT_SIZE];
        random.fill(&mut salt)?;
        let derived = derive(passphrase, &salt, ROUNDS);
        let mut data = self.pack_secrets();
        let hash = Hasher::hmac_sha256(&*derived).hash(&data);
        cipher(&derived).apply_keystream(&mut data);

        let mut blob = Vec::new();
        let mut w = Writer::new(&mut blob);
        w.map(6);
        w.raw("algorithm");
        w.raw(ALGORITHM);
        w.raw("data");
        w.raw(&*data);
        w.raw("hash");
        w.raw(hash);
        w.raw("iterations");
        w.unsigned(u64::from(ROUNDS));
        w.raw("salt");
        w.raw(salt);
        w.raw("version");
        w.unsigned(VERSION);
        Ok(wrapped(&STANDARD.encode(blob)))
    }

    /// Opens the text that [`Self::to_blob`] wrote. Line breaks do not matter.
    ///
    /// `tam_required` counts if the blob, being from before Borg 1.0.9, does not say whether the
    /// manifest has to be authenticated.
    ///
    /// # Errors
    ///
    /// [`KeyError::WrongPassphrase`], or the errors that say what is wrong with the blob.
    pub fn from_blob(
        encryption: Encryption,
        text: &str,
        passphrase: &Passphrase,
        tam_required: bool,
    ) -> Result<Self, KeyError> {
        if encryption == Encryption::None {
            return Err(KeyError::NoKey { encryption });
        }
        if text.len() > TEXT_SIZE_MAX {
            return Err(KeyError::Damaged { what: "too long" });
        }
        let compact: String = text.split_ascii_whitespace().collect();
        let blob = STANDARD.decode(compact).map_err(|_| KeyError::Damaged {
            what: "it is not Base64",
        })?;
        let blob = Blob::read(&blob)?;
        let derived = derive(passphrase, blob.salt, blob.rounds);
        let mut data = Zeroizing::new(blob.data.to_vec());
        cipher(&derived).apply_keystream(&mut data);
        let hash = Hasher::hmac_sha256(&*derived).hash(&data);
        if !bool::from(hash.ct_eq(blob.hash)) {
            return Err(KeyError::WrongPassphrase);
        }
        let secrets = read_secrets(&data, tam_required)?;
        // Ciphers of the blake2 modes were always made with one block; others never were.
        if encryption.uses_blake2() != (secrets.id_key.len() == BLAKE2_KEY_SIZE) {
            return Err(KeyError::Damaged {
                what: "it belongs to another encryption mode",
            });
        }
        Ok(Self::new(encryption, secrets))
    }

    /// The key of a repository that was made by a program before Borg 1.0 in the mode `passphrase`: the
    /// passphrase alone makes it, and whoever knows a former one can make it, too. A wrong passphrase
    /// makes a key that opens nothing.
    #[must_use]
    pub fn of_passphrase(repository_id: Id, passphrase: &Passphrase) -> Self {
        let mut derived = Zeroizing::new([0; 3 * KEY_SIZE + 4]);
        // HMAC takes a passphrase of any length.
        let salt = &repository_id.0;
        let rounds = PASSPHRASE_ROUNDS;
        let _ = pbkdf2::pbkdf2::<Hmac<Sha256>>(passphrase.as_bytes(), salt, rounds, &mut *derived);
        let (keys, seed) = derived.split_at(3 * KEY_SIZE);
        let mut keys = keys
            .chunks(KEY_SIZE)
            .map(|key| Zeroizing::new(key.to_vec()));
        let mut key = || keys.next().unwrap_or_default();
        let secrets = Secrets {
            repository_id,
            enc_key: key(),
            enc_hmac_key: key(),
            id_key: key(),
            chunk_seed: seed
                .iter()
                .fold(0, |seed, &byte| seed << 8 | u32::from(byte)),
            // Nothing was authenticated as a whole then.
            tam_required: false,
        };
        Self::new(Encryption::Repokey, secrets)
    }

    fn pack_secrets(&self) -> Zeroizing<Vec<u8>> {
        let secrets = &self.0.secrets;
        // Room for all of it, so that no copy is left behind by growing.
        let mut data = Zeroizing::new(Vec::with_capacity(1024));
        let mut w = Writer::new(&mut data);
        w.map(7);
        w.raw("chunk_seed");
        w.signed(i64::from(secrets.chunk_seed.cast_signed()));
        w.raw("enc_hmac_key");
        w.raw(&*secrets.enc_hmac_key);
        w.raw("enc_key");
        w.raw(&*secrets.enc_key);
        w.raw("id_key");
        w.raw(&*secrets.id_key);
        w.raw("repository_id");
        w.raw(secrets.repository_id.0);
        w.raw("tam_required");
        w.boolean(secrets.tam_required);
        w.raw("version");
        w.unsigned(VERSION);
        data
    }
}

/// The outer map.
pub(crate) struct Blob<'a> {
    data: &'a [u8],
    hash: &'a [u8; 32],
    salt: &'a [u8],
    rounds: u32,
}

impl<'a> Blob<'a> {
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, KeyError> {
        let mut reader = Reader::new(bytes);
        let (mut version, mut algorithm, mut rounds) = (None, None, None);
        let (mut data, mut hash, mut salt) = (None, None, None);
        for _ in 0..reader.map()? {
            match reader.raw()? {
                b"version" => fill(&mut version, reader.unsigned()?, "version")?,
                b"algorithm" => fill(&mut algorithm, reader.raw()?, "algorithm")?,
                b"iterations" => fill(&mut rounds, reader.unsigned()?, "iterations")?,
                b"data" => fill(&mut data, reader.raw()?, "data")?,
                b"hash" => fill(&mut hash, reader.raw_array()?, "hash")?,
                b"salt" => fill(&mut salt, reader.raw()?, "salt")?,
                _ => reader.skip()?,
            }
        }
        let version = required(version, "version")?;
        if version != VERSION {
            let what = format!("version {version}");
            return Err(KeyError::Unsupported { what });
        }
        let algorithm = required(algorithm, "algorithm")?;
        if algorithm != ALGORITHM.as_bytes() {
            let what = format!("algorithm `{}`", algorithm.escape_ascii());
            return Err(KeyError::Unsupported { what });
        }
        let rounds = required(rounds, "iterations")?;
        let bounded = (1..=ROUNDS_MAX).contains(&rounds);
        Ok(Self {
            data: required(data, "data")?,
            hash: required(hash, "hash")?,
            salt: required(salt, "salt")?,
            rounds: u32::try_from(rounds)
                .ok()
                .filter(|_| bounded)
                .ok_or(KeyError::Rounds { rounds })?,
        })
    }
}

pub(crate) fn read_secrets(data: &[u8], tam_required_unsaid: bool) -> Result<Secrets, KeyError> {
    let mut reader = Reader::new(data);
    let (mut version, mut repository_id, mut chunk_seed) = (None, None, None);
    let (mut enc_key, mut enc_hmac_key, mut id_key) = (None, None, None);
    let mut tam_required = None;
    for _ in 0..reader.map()? {
        match reader.raw()? {
            b"version" => fill(&mut version, reader.unsigned()?, "version")?,
            b"repository_id" => {
                fill(&mut repository_id, *reader.raw_array()?, "repository_id")?;
            }
            b"enc_key" => fill(&mut enc_key, reader.raw()?, "enc_key")?,
            b"enc_hmac_key" => fill(&mut enc_hmac_key, reader.raw()?, "enc_hmac_key")?,
            b"id_key" => fill(&mut id_key, reader.raw()?, "id_key")?,
            b"chunk_seed" => fill(&mut chunk_seed, reader.signed()?, "chunk_seed")?,
            b"tam_required" => fill(&mut tam_required, reader.boolean()?, "tam_required")?,
            _ => reader.skip()?,
        }
    }
    let version = required(version, "version")?;
    if version != VERSION {
        let what = format!("version {version}");
        return Err(KeyError::Unsupported { what });
    }
    let sized = |key: Option<&[u8]>, name, sizes: &[usize]| {
        let key = required(key, name)?;
        if !sizes.contains(&key.len()) {
            return Err(KeyError::Damaged {
                what: "a secret in it has a wrong size",
            });
        }
        Ok(Zeroizing::new(key.to_vec()))
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "stored as a signed number of 32 bits; only the bits count"
    )]
    let chunk_seed = required(chunk_seed, "chunk_seed")? as u32;
    Ok(Secrets {
        repository_id: Id(required(repository_id, "repository_id")?),
        enc_key: sized(enc_key, "enc_key", &[KEY_SIZE])?,
        enc_hmac_key: sized(enc_hmac_key, "enc_hmac_key", &[KEY_SIZE, BLAKE2_KEY_SIZE])?,
        id_key: sized(id_key, "id_key", &[KEY_SIZE, BLAKE2_KEY_SIZE])?,
        chunk_seed,
        tam_required: tam_required.unwrap_or(tam_required_unsaid),
    })
}

fn derive(passphrase: &Passphrase, salt: &[u8], rounds: u32) -> Zeroizing<[u8; KEY_SIZE]> {
    let mut derived = Zeroizing::new([0; KEY_SIZE]);
    // HMAC takes a passphrase of any length.
    let _ = pbkdf2::pbkdf2::<Hmac<Sha256>>(passphrase.as_bytes(), salt, rounds, &mut *derived);
    derived
}

fn cipher(key: &[u8; KEY_SIZE]) -> ctr::Ctr128BE<Aes256Enc> {
    ctr::Ctr128BE::new(key.into(), &[0; 16].into())
}

/// Lines of [`COLUMNS`] characters, the last one without a line break.
fn wrapped(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / COLUMNS + 1);
    for (index, character) in text.chars().enumerate() {
        if index > 0 && index.is_multiple_of(COLUMNS) {
            lines.push('\n');
        }
        lines.push(character);
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(blob: &[u8]) -> Result<Key, KeyError> {
        let text = STANDARD.encode(blob);
        Key::from_blob(Encryption::Repokey, &text, &Passphrase::new("x"), false)
    }

    fn blob(change: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut blob = Vec::new();
        let mut w = Writer::new(&mut blob);
        w.map(6);
        for (key, value) in [
            ("algorithm", ALGORITHM.as_bytes()),
            ("data", &[1; 20]),
            ("hash", &[2; 32]),
            ("salt", &[3; 32]),
        ] {
            w.raw(key);
            w.raw(value);
        }
        w.raw("version");
        w.unsigned(VERSION);
        w.raw("iterations");
        change(&mut w);
        blob
    }

    #[test]
    fn rounds_beyond_reason_are_refused_before_they_are_begun() {
        for rounds in [0, ROUNDS_MAX + 1, 1 << 31, u64::MAX] {
            let result = open(&blob(|w| w.unsigned(rounds)));
            assert!(matches!(result, Err(KeyError::Rounds { .. })), "{rounds}");
        }
        let result = open(&blob(|w| w.unsigned(1)));
        assert!(matches!(result, Err(KeyError::WrongPassphrase)));
    }

    #[test]
    fn damage_is_told_apart_from_a_wrong_passphrase() {
        let passphrase = Passphrase::new("x");
        let read = |text: &str| Key::from_blob(Encryption::Repokey, text, &passphrase, false);
        for text in ["", "not Base64!", "AAAA", &"A".repeat(100_000)] {
            let result = read(text);
            assert!(
                matches!(
                    result,
                    Err(KeyError::Damaged { .. } | KeyError::Malformed(_))
                ),
                "{text:.20}"
            );
        }
        let twice = blob(|w| {
            w.unsigned(1);
            w.raw("salt");
            w.raw("again");
        });
        // The map says six entries, so the seventh is not looked at.
        assert!(matches!(open(&twice), Err(KeyError::WrongPassphrase)));
        let mut seven = twice;
        seven[0] = 0x87;
        assert!(matches!(
            open(&seven),
            Err(KeyError::Malformed(Malformed::DuplicateKey { key: "salt" }))
        ));
    }

    #[test]
    fn lines_have_seventy_columns() {
        let lines = wrapped(&"x".repeat(141));
        assert_eq!(lines.lines().map(str::len).collect::<Vec<_>>(), [70, 70, 1]);
        assert_eq!(wrapped(&"x".repeat(70)), "x".repeat(70));
    }

    proptest! {
        #[test]
        fn any_blob_is_opened_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&bytes);
            let _ = Blob::read(&bytes);
            let _ = read_secrets(&bytes, true);
        }
    }
}
