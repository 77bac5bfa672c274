//! Keys: what names, hides and authenticates the objects of a repository.
//!
//! The life of a chunk: its plain bytes are hashed into its [`Id`], compressed, encrypted and
//! authenticated. On the way back the order is reversed and nothing is trusted before it was
//! checked: the MAC before decryption, the id after decompression.

pub(crate) mod blob;
mod counters;
mod encryption;
mod file;
mod hash;
mod object;
mod open;
pub(crate) mod paper;
mod passphrase;

use std::fmt;
use std::io;
use std::sync::Arc;

use aes::Aes256Enc;
use aes::cipher::KeyInit;
use zeroize::Zeroizing;

pub use blob::KeyError;
pub use counters::{Counters, Reservation, plan_reservation};
pub use encryption::{Encryption, KeyStorage, UnknownEncryption};
pub use file::{find_key_file, key_file_text, new_key_file, read_key_file};
pub use object::{ENTRY_HEADER_SIZE, Object};
pub use open::{BadObject, Fetched, Opener, Sealed};
pub use paper::BadPaper;
pub use passphrase::Passphrase;

use crate::{Id, Random};
use hash::Hasher;

/// The key of one repository, ready for use. Clones are cheap and share the secrets.
#[derive(Clone)]
pub struct Key(Arc<Inner>);

struct Inner {
    encryption: Encryption,
    secrets: Secrets,
    id_hash: Hasher,
    /// Of the modes that encrypt.
    cipher: Option<Cipher>,
}

/// Computes [`Key::id_hash`] of what comes behind a fixed beginning.
pub(crate) struct IdHasher(Hasher);

impl IdHasher {
    pub(crate) fn hash(&self, rest: &[u8]) -> Id {
        Id(self.0.hash(rest))
    }
}

/// Encryption with a MAC over the result.
struct Cipher {
    /// With the key schedule computed.
    aes: Aes256Enc,
    mac: Hasher,
}

/// What repositories share that name and cut chunks alike.
///
/// Who has it and reads one of the repositories can tell whether known content is in it.
pub struct RelatedSecrets {
    /// The mode that it comes from.
    pub encryption: Encryption,
    /// What ids are keyed with.
    pub id_key: Zeroizing<Vec<u8>>,
    /// What the chunker is seeded with.
    pub chunk_seed: u32,
}

/// What the key blob holds.
#[derive(Clone)]
pub(crate) struct Secrets {
    repository_id: Id,
    enc_key: Zeroizing<Vec<u8>>,
    enc_hmac_key: Zeroizing<Vec<u8>>,
    id_key: Zeroizing<Vec<u8>>,
    chunk_seed: u32,
    tam_required: bool,
}

/// Bytes of the cipher's key, and of the other keys where SHA-256 is used.
const KEY_SIZE: usize = 32;

/// Bytes of the keys of BLAKE2b, all of them random in the first half only: one block.
const BLAKE2_KEY_SIZE: usize = 128;

impl Key {
    /// Makes the key of a new repository.
    ///
    /// # Errors
    ///
    /// When the source of random numbers fails.
    pub fn generate(
        encryption: Encryption,
        repository_id: Id,
        random: &mut dyn Random,
    ) -> io::Result<Self> {
        if encryption == Encryption::None {
            return Ok(Self::plaintext(repository_id));
        }
        let mut secret = |size: usize, random_size: usize| {
            let mut bytes = Zeroizing::new(vec![0; size]);
            random.fill(bytes.get_mut(..random_size).unwrap_or_default())?;
            io::Result::Ok(bytes)
        };
        let enc_key = secret(KEY_SIZE, KEY_SIZE)?;
        let (size, random_size) = if encryption.uses_blake2() {
            (BLAKE2_KEY_SIZE, BLAKE2_KEY_SIZE / 2)
        } else {
            (KEY_SIZE, KEY_SIZE)
        };
        let enc_hmac_key = secret(size, random_size)?;
        let id_key = secret(size, random_size)?;
        let mut chunk_seed = [0; 4];
        random.fill(&mut chunk_seed)?;
        Ok(Self::new(
            encryption,
            Secrets {
                repository_id,
                enc_key,
                enc_hmac_key,
                id_key,
                chunk_seed: u32::from_be_bytes(chunk_seed),
                tam_required: true,
            },
        ))
    }

    /// The key of a repository without encryption: it has no secrets.
    #[must_use]
    pub fn plaintext(repository_id: Id) -> Self {
        Self::new(
            Encryption::None,
            Secrets {
                repository_id,
                enc_key: Zeroizing::default(),
                enc_hmac_key: Zeroizing::default(),
                id_key: Zeroizing::default(),
                chunk_seed: 0,
                tam_required: false,
            },
        )
    }

    fn new(encryption: Encryption, secrets: Secrets) -> Self {
        let hasher = |key: &[u8]| {
            if encryption == Encryption::None {
                Hasher::sha256()
            } else if encryption.uses_blake2() {
                Hasher::blake2b(key)
            } else {
                Hasher::hmac_sha256(key)
            }
        };
        // The blob was checked to hold a key of this size in every mode that encrypts.
        let aes = Aes256Enc::new_from_slice(&secrets.enc_key).ok();
        let cipher = aes.filter(|_| encryption.encrypts()).map(|aes| Cipher {
            aes,
            mac: hasher(&secrets.enc_hmac_key),
        });
        Self(Arc::new(Inner {
            encryption,
            id_hash: hasher(&secrets.id_key),
            cipher,
            secrets,
        }))
    }

    /// Which mode the repository is in.
    #[must_use]
    pub fn encryption(&self) -> Encryption {
        self.0.encryption
    }

    /// The same key in a repository that keeps it elsewhere.
    pub(crate) fn with_encryption(&self, encryption: Encryption) -> Self {
        Self::new(encryption, self.0.secrets.clone())
    }

    /// The same key for another repository, before anything was written with it.
    pub(crate) fn of_repository(&self, repository_id: Id) -> Self {
        let secrets = Secrets {
            repository_id,
            ..self.0.secrets.clone()
        };
        Self::new(self.0.encryption, secrets)
    }

    /// The same key for a manifest that must be authenticated, or need not.
    pub(crate) fn with_tam_required(&self, tam_required: bool) -> Self {
        let secrets = Secrets {
            tam_required,
            ..self.0.secrets.clone()
        };
        Self::new(self.0.encryption, secrets)
    }

    /// The same key, but for what chunks are named and cut by.
    ///
    /// # Errors
    ///
    /// [`KeyError::Unrelated`] when the mode names chunks in another way.
    pub(crate) fn related_to(&self, other: &RelatedSecrets) -> Result<Self, KeyError> {
        let encryption = self.0.encryption;
        let is_same = other.encryption.uses_blake2() == encryption.uses_blake2()
            && other.id_key.len() == self.0.secrets.id_key.len()
            && ![other.encryption, encryption].contains(&Encryption::None);
        if !is_same {
            return Err(KeyError::Unrelated {
                encryption,
                other: other.encryption,
            });
        }
        let secrets = Secrets {
            id_key: other.id_key.clone(),
            chunk_seed: other.chunk_seed,
            ..self.0.secrets.clone()
        };
        Ok(Self::new(encryption, secrets))
    }

    /// What another repository needs to name and cut chunks as this one does.
    #[must_use]
    pub fn related_secrets(&self) -> RelatedSecrets {
        RelatedSecrets {
            encryption: self.0.encryption,
            id_key: self.0.secrets.id_key.clone(),
            chunk_seed: self.0.secrets.chunk_seed,
        }
    }

    /// Which repository the key says it belongs to.
    #[must_use]
    pub fn repository_id(&self) -> Id {
        self.0.secrets.repository_id
    }

    /// What the content-defined chunker is seeded with.
    #[must_use]
    pub fn chunk_seed(&self) -> u32 {
        self.0.secrets.chunk_seed
    }

    /// Whether the manifest must be authenticated.
    #[must_use]
    pub fn tam_required(&self) -> bool {
        self.0.secrets.tam_required
    }

    /// The id of a chunk: the keyed hash of its plain content.
    #[must_use]
    pub fn id_hash(&self, plain: &[u8]) -> Id {
        Id(self.0.id_hash.hash(plain))
    }

    /// Hashes buffers that all begin with `prefix`.
    pub(crate) fn id_hasher(&self, prefix: &[u8]) -> IdHasher {
        IdHasher(self.0.id_hash.after(prefix))
    }

    /// The ids of many chunks, in their order.
    ///
    /// In the BLAKE2b modes several are computed at once, so this takes much less time than one
    /// after the other; best with eight or more chunks, or with a few of equal size.
    #[must_use]
    pub fn id_hash_many<'a>(&self, plains: impl IntoIterator<Item = &'a [u8]>) -> Vec<Id> {
        let plains: Vec<&[u8]> = plains.into_iter().collect();
        self.0
            .id_hash
            .hash_many(&plains)
            .into_iter()
            .map(Id)
            .collect()
    }

    /// What the metadata authentication is derived from: `id_key ‖ enc_key ‖ enc_hmac_key`.
    /// `None` when there are no secrets.
    pub(crate) fn tam_secret(&self) -> Option<Zeroizing<Vec<u8>>> {
        let secrets = &self.0.secrets;
        let has_secrets = self.0.encryption != Encryption::None;
        has_secrets.then(|| {
            Zeroizing::new(
                [
                    &**secrets.id_key,
                    &**secrets.enc_key,
                    &**secrets.enc_hmac_key,
                ]
                .concat(),
            )
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("encryption", &self.0.encryption)
            .field("repository_id", &self.0.secrets.repository_id)
            .field("secrets", &format_args!("***"))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Buffer, Compression, Compressor, SystemRandom};

    const REPOSITORY: Id = Id([0x42; 32]);

    fn key(encryption: Encryption) -> Key {
        Key::generate(encryption, REPOSITORY, &mut SystemRandom).unwrap()
    }

    fn sealed(key: &Key, plain: &[u8], counter: u64) -> Object {
        let mut object = Object::new();
        let mut compressor = Compressor::new(&Compression::Lz4, SystemRandom).unwrap();
        key.pack(plain, &mut compressor, &mut object).unwrap();
        key.seal(&mut object, counter);
        object
    }

    fn opened(key: &Key, id: Id, stored: &[u8]) -> Result<Vec<u8>, BadObject> {
        let mut plain = Buffer::new();
        let sealed = Sealed {
            id,
            stored,
            size_hint: None,
        };
        key.open(sealed, &mut Opener::new().unwrap(), &mut plain)?;
        Ok(plain.to_vec())
    }

    #[test]
    fn what_is_sealed_can_be_opened_in_every_mode() {
        for encryption in Encryption::ALL {
            let key = key(encryption);
            for plain in [b"x".to_vec(), vec![b'y'; 100_000]] {
                let mut object = sealed(&key, &plain, 7);
                let stored = object.stored().to_vec();
                assert_eq!(stored[0], encryption.type_byte());
                assert_eq!(object.entry_mut()[ENTRY_HEADER_SIZE..], stored);
                assert_eq!(
                    opened(&key, key.id_hash(&plain), &stored),
                    Ok(plain.clone())
                );
                assert_eq!(opened(&key, Id::MANIFEST, &stored), Ok(plain));
                assert_eq!(opened(&key, Id([1; 32]), &stored), Err(BadObject::Id));
            }
        }
    }

    #[test]
    fn many_at_once_are_the_same_as_one_after_the_other() {
        for encryption in Encryption::ALL {
            let key = key(encryption);
            let plains: Vec<Vec<u8>> = (1..12u8)
                .map(|i| vec![i; 1000 * usize::from(i) % 7000 + 1])
                .collect();
            let mut compressor = Compressor::new(&Compression::None, SystemRandom).unwrap();
            let mut objects: Vec<Object> = plains.iter().map(|_| Object::new()).collect();
            for (plain, object) in plains.iter().zip(&mut objects) {
                key.pack(plain, &mut compressor, object).unwrap();
            }
            key.seal_many(&mut objects, 1000);
            let ids = key.id_hash_many(plains.iter().map(Vec::as_slice));
            let mut counter = 1000;
            for ((object, plain), id) in objects.iter().zip(&plains).zip(&ids) {
                assert_eq!(*id, key.id_hash(plain));
                if encryption.encrypts() {
                    assert_eq!(object.stored()[33..41], u64::to_be_bytes(counter));
                }
                counter += object.blocks();
            }

            // The fourth is damaged, the fifth exchanged: the others do not mind.
            let mut stored: Vec<Vec<u8>> = objects
                .iter()
                .map(|object| object.stored().to_vec())
                .collect();
            let last = stored[3].len() - 1;
            stored[3][last] ^= 1;
            stored[4] = stored[5].clone();
            let opener = &mut Opener::new().unwrap();
            let mut before = 0..0;
            let mut count = 0;
            for range in [0..2, 2..ids.len(), 0..0] {
                let mut next: Vec<_> = ids[range.clone()]
                    .iter()
                    .zip(&mut stored[range.clone()])
                    .map(|(&id, stored)| Fetched {
                        id,
                        stored,
                        size_hint: None,
                    })
                    .collect();
                key.open_many(&mut next, opener, |index, result| {
                    count += 1;
                    match (before.start + index, encryption.encrypts()) {
                        (3, true) => assert_eq!(result, Err(BadObject::Mac)),
                        (3, false) | (4, _) => assert_eq!(result, Err(BadObject::Id)),
                        (index, _) => assert_eq!(result, Ok(&*plains[index])),
                    }
                });
                before = range;
            }
            assert_eq!(count, ids.len());
        }
    }

    #[test]
    fn any_change_of_a_stored_object_is_noticed() {
        for encryption in Encryption::ALL {
            let key = key(encryption);
            let plain = b"a plain text, a plain text, a plain text";
            let stored = sealed(&key, plain, 0).stored().to_vec();
            for at in 0..stored.len() {
                let mut damaged = stored.clone();
                damaged[at] ^= 0x10;
                let result = opened(&key, key.id_hash(plain), &damaged);
                assert!(result.is_err(), "{encryption}, byte {at}");
            }
            for length in 0..stored.len() {
                assert!(opened(&key, key.id_hash(plain), &stored[..length]).is_err());
            }
        }
    }

    #[test]
    fn objects_of_the_passphrase_mode_are_read_with_a_repokey() {
        let key = key(Encryption::Repokey);
        let mut stored = sealed(&key, b"old", 3).stored().to_vec();
        stored[0] = 0x01;
        assert_eq!(
            opened(&key, key.id_hash(b"old"), &stored),
            Ok(b"old".to_vec())
        );
    }

    #[test]
    fn the_counter_goes_on_behind_the_manifest() {
        let key = key(Encryption::RepokeyBlake2);
        let stored = sealed(&key, &[1; 10], 5000).stored().to_vec();
        // 12 bytes with the compression's, 53 in all, four blocks.
        assert_eq!((stored.len(), key.counter_after(&stored)), (53, 5004));
        assert_eq!(key.counter_after(b"short"), 0);
        let none = Key::plaintext(REPOSITORY);
        assert_eq!(none.counter_after(sealed(&none, &[1; 100], 0).stored()), 0);
    }

    #[test]
    fn a_key_comes_back_from_its_blob_with_the_right_passphrase_only() {
        for encryption in Encryption::ALL {
            let key = key(encryption);
            let passphrase = Passphrase::new("pässword");
            let blob = key.to_blob(&passphrase, &mut SystemRandom).unwrap();
            assert!(blob.lines().all(|line| line.len() <= 70));
            let open = |passphrase| Key::from_blob(encryption, &blob, &passphrase, false);
            if encryption == Encryption::None {
                assert!(matches!(open(passphrase), Err(KeyError::NoKey { .. })));
                continue;
            }
            let again = open(passphrase).unwrap();
            assert_eq!(again.id_hash(b"x"), key.id_hash(b"x"));
            assert_eq!(again.repository_id(), REPOSITORY);
            assert_eq!(again.chunk_seed(), key.chunk_seed());
            assert!(again.tam_required());
            for wrong in ["", "passwörd"] {
                let result = open(Passphrase::new(wrong));
                assert!(matches!(result, Err(KeyError::WrongPassphrase)), "{wrong}");
            }
        }
    }

    #[test]
    fn a_key_of_another_mode_is_refused() {
        let passphrase = Passphrase::new("");
        for (written, read) in [
            (Encryption::Repokey, Encryption::RepokeyBlake2),
            (Encryption::KeyfileBlake2, Encryption::Keyfile),
        ] {
            let blob = key(written)
                .to_blob(&passphrase, &mut SystemRandom)
                .unwrap();
            let result = Key::from_blob(read, &blob, &passphrase, false);
            assert!(matches!(result, Err(KeyError::Damaged { .. })));
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let key = key(Encryption::Repokey);
        assert!(format!("{key:?}").contains("***"));
        assert_eq!(format!("{:?}", Passphrase::new("secret")), "***");
    }
}
