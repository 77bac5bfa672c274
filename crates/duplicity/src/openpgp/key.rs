//! From a passphrase to the key of one message.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::Receiver;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha256, Sha512};
use store::{Random, Secret};
use zeroize::Zeroizing;

/// What the passphrase is hashed to so many bytes with: 65,011,712, the largest count there is
/// and gpg's own choice on today's machines.
const COUNT: u8 = 255;

/// Code of SHA-256 in OpenPGP.
const SHA256: u8 = 8;

/// Code of AES-256 in OpenPGP.
pub(super) const AES256: u8 = 9;

/// A passphrase for symmetric encryption.
pub type Passphrase = Secret;

/// The key of one message, with the packet that says how the passphrase leads to it.
///
/// Every message has a salt of its own. Reusing one would save the hashing, and would encrypt two
/// messages with one key.
pub(crate) struct SessionKey {
    pub(super) key: Zeroizing<[u8; 32]>,
    pub(super) packets: Vec<u8>,
}

impl SessionKey {
    /// Derives a new key from a passphrase.
    ///
    /// Takes some 50 ms: that is what makes guessing slow.
    #[must_use]
    pub(crate) fn from_passphrase(passphrase: &Passphrase, random: &Random) -> Self {
        let mut salt = [0; 8];
        random(&mut salt);
        let mut key = Zeroizing::new([0; 32]);
        let secret = passphrase.expose().as_bytes();
        iterated::<Sha256>(secret, &salt, COUNT, key.as_mut_slice());
        // Version 4, cipher, iterated and salted, hash, salt, count: no key of its own inside.
        let mut packets = vec![0xc3, 13, 4, AES256, 3, SHA256];
        packets.extend_from_slice(&salt);
        packets.push(COUNT);
        Self { key, packets }
    }
}

/// Session keys, some of them made ahead of their use, so that nobody waits for the hashing.
#[derive(Default)]
pub(crate) struct Keys(Mutex<Option<Receiver<SessionKey>>>);

impl Keys {
    /// Begins to make so many.
    pub(crate) fn prepare(&self, count: usize, passphrase: &Passphrase, random: &Random) {
        let (out, ready) = crossbeam_channel::bounded(count);
        let (passphrase, random) = (passphrase.clone(), random.clone());
        std::thread::spawn(move || {
            for _ in 0..count {
                // Nobody wants any more.
                if out
                    .send(SessionKey::from_passphrase(&passphrase, &random))
                    .is_err()
                {
                    return;
                }
            }
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
    }

    /// A key that nobody had before.
    pub(crate) fn next(&self, passphrase: &Passphrase, random: &Random) -> SessionKey {
        let ready = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        ready
            .and_then(|ready| ready.recv().ok())
            .unwrap_or_else(|| SessionKey::from_passphrase(passphrase, random))
    }
}

/// OpenPGP's iterated and salted key derivation.
///
/// `None` for hashes that are not worth a fast path here.
pub(super) fn derive(
    hash: u8,
    secret: &[u8],
    salt: &[u8],
    count: u8,
    size: usize,
) -> Option<Zeroizing<Vec<u8>>> {
    let mut key = Zeroizing::new(vec![0; size]);
    match hash {
        2 => iterated::<Sha1>(secret, salt, count, &mut key),
        SHA256 => iterated::<Sha256>(secret, salt, count, &mut key),
        10 => iterated::<Sha512>(secret, salt, count, &mut key),
        _ => return None,
    }
    Some(key)
}

fn iterated<D: Digest>(secret: &[u8], salt: &[u8], count: u8, key: &mut [u8]) {
    let total = (16 + usize::from(count & 15)) << (usize::from(count >> 4) + 6);
    let unit = Zeroizing::new([salt, secret].concat());
    let total = total.max(unit.len());
    // Many repetitions at once: the hash is fastest on long stretches.
    let stretch = Zeroizing::new(unit.repeat((1 << 16) / unit.len().max(1) + 1));
    for (round, part) in key.chunks_mut(<D as Digest>::output_size()).enumerate() {
        let mut hash = D::new();
        hash.update(vec![0; round]);
        let mut left = total;
        while left > 0 {
            let bytes = stretch.get(..left.min(stretch.len())).unwrap_or_default();
            hash.update(bytes);
            left -= bytes.len();
        }
        for (to, from) in part.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
    }
}
