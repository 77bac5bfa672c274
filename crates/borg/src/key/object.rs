//! From compressed bytes to a stored object, without moving them.
//!
//! ```text
//! | 41: room for the segment's header | type | MAC 32 | counter 8 | AES-256-CTR(compressed) |
//! | 41: room for the segment's header | type | compressed |      without encryption
//! ```
//!
//! The MAC covers the counter and what follows, but not the type.

use std::io;
use std::ops::Range;

use aes::cipher::{InnerIvInit, StreamCipher, StreamCipherCoreWrapper};

use super::hash::{Hasher, hash_jobs};
use super::{Cipher, Key};
use crate::compress::Method;
use crate::{Buffer, Compressor, Id};

/// Bytes that a segment puts in front of an object: CRC, size, tag and id.
pub const ENTRY_HEADER_SIZE: usize = 4 + 4 + 1 + 32;

/// Where the type byte stands.
const TYPE_AT: usize = ENTRY_HEADER_SIZE;

/// Bytes of one block of the cipher; the counter counts them.
pub(super) const BLOCK_SIZE: usize = 16;

pub(super) const TYPE_SIZE: usize = 1;
pub(super) const MAC_SIZE: usize = 32;
pub(super) const COUNTER_SIZE: usize = 8;

const MAC: Range<usize> = TYPE_AT + TYPE_SIZE..TYPE_AT + TYPE_SIZE + MAC_SIZE;
const COUNTER: Range<usize> = MAC.end..MAC.end + COUNTER_SIZE;

pub(super) type Ctr = ctr::Ctr64BE<aes::Aes256Enc>;

/// One object on its way into a segment. Its memory can be used again.
#[derive(Debug, Default)]
pub struct Object {
    buffer: Buffer,
    /// Where the compressed bytes begin.
    payload_at: usize,
}

impl Object {
    /// An object without content or memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the repository stores under the object's id.
    #[must_use]
    pub fn stored(&self) -> &[u8] {
        self.buffer.get(TYPE_AT..).unwrap_or_default()
    }

    /// The same with [`ENTRY_HEADER_SIZE`] bytes in front, into which a segment writes its
    /// header before it writes all of this.
    pub fn entry_mut(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// How it is compressed; to be asked before it is sealed.
    pub(crate) fn method(&self) -> Option<Method> {
        let payload = self.buffer.get(self.payload_at..)?;
        Method::of(*payload.first_chunk()?)
    }

    /// Bytes that the memory could hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// How many counter values [`Key::seal`] will use.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        let payload = self.buffer.len() - self.payload_at.min(self.buffer.len());
        payload.div_ceil(BLOCK_SIZE) as u64
    }
}

impl Key {
    /// Begins an object with the compressed form of `plain`. It has to be sealed next.
    ///
    /// # Errors
    ///
    /// Those of [`Compressor::compress`].
    pub fn pack(
        &self,
        plain: &[u8],
        compressor: &mut Compressor,
        object: &mut Object,
    ) -> io::Result<()> {
        let Object { buffer, payload_at } = object;
        *payload_at = match self.0.cipher {
            Some(_) => COUNTER.end,
            None => TYPE_AT + TYPE_SIZE,
        };
        buffer.clear();
        buffer.room(*payload_at).fill(0);
        buffer.advance(*payload_at);
        compressor.compress(plain, buffer)
    }

    /// Encrypts and authenticates a packed object, in place, as the mode asks for.
    ///
    /// `counter` is the first of [`Object::blocks`] values that no other object of this key has
    /// used or will ever use: see [`super::Counters`]. With two objects under the same counter
    /// both could be read without the key.
    pub fn seal(&self, object: &mut Object, counter: u64) {
        self.encrypt(object, counter);
        if let Some(cipher) = &self.0.cipher {
            let mac = cipher.mac.hash(authenticated(&object.buffer));
            set_mac(object, &mac);
        }
    }

    /// Like [`Self::seal`] for several objects, whose MACs are computed at once. They use the
    /// values from `counter` on, as many as their [`Object::blocks`] together.
    pub fn seal_many(&self, objects: &mut [Object], counter: u64) {
        self.encrypt_many(objects, counter);
        self.authenticate(objects, &[]);
    }

    /// The first half of [`Self::seal_many`]; the objects have to be authenticated next.
    pub(crate) fn encrypt_many(&self, objects: &mut [Object], mut counter: u64) {
        for object in objects {
            self.encrypt(object, counter);
            counter += object.blocks();
        }
    }

    /// The second half of [`Self::seal_many`], and on the way the ids of plain chunks: BLAKE2b
    /// computes four hashes in the time of two, so that it is worth while to do both together.
    pub(crate) fn authenticate(&self, objects: &mut [Object], plains: &[&[u8]]) -> Vec<Id> {
        let ids = plains.iter().map(|&plain| (&self.0.id_hash, plain));
        let mut jobs: Vec<(&Hasher, &[u8])> = ids.collect();
        if let Some(cipher) = &self.0.cipher {
            let macs = objects
                .iter()
                .map(|object| (&cipher.mac, authenticated(&object.buffer)));
            jobs.extend(macs);
        }
        let mut hashes = hash_jobs(&jobs);
        let macs = hashes.split_off(plains.len());
        for (object, mac) in objects.iter_mut().zip(&macs) {
            set_mac(object, mac);
        }
        hashes.into_iter().map(Id).collect()
    }

    /// The first counter value that no object up to the manifest has used, as far as the
    /// manifest can tell. Zero without encryption.
    #[must_use]
    pub fn counter_after(&self, stored_manifest: &[u8]) -> u64 {
        let counter = stored_manifest
            .get(TYPE_SIZE + MAC_SIZE..)
            .and_then(|rest| rest.first_chunk())
            .filter(|_| self.0.cipher.is_some());
        let blocks = stored_manifest.len().div_ceil(BLOCK_SIZE) as u64;
        counter.map_or(0, |counter| {
            u64::from_be_bytes(*counter).saturating_add(blocks)
        })
    }

    fn encrypt(&self, object: &mut Object, counter: u64) {
        if let Some(type_byte) = object.buffer.get_mut(TYPE_AT) {
            *type_byte = self.0.encryption.type_byte();
        }
        let Some(cipher) = &self.0.cipher else {
            return;
        };
        if let Some(place) = object.buffer.get_mut(COUNTER) {
            place.copy_from_slice(&counter.to_be_bytes());
        }
        if let Some(payload) = object.buffer.get_mut(object.payload_at..) {
            cipher.keystream(counter).apply_keystream(payload);
        }
    }
}

impl Cipher {
    /// The key stream from a counter value on. The upper half of the counter block is zero.
    pub(super) fn keystream(&self, counter: u64) -> Ctr {
        let block = u128::from(counter).to_be_bytes();
        let core = ctr::CtrCore::inner_iv_init(self.aes.clone(), &block.into());
        StreamCipherCoreWrapper::from_core(core)
    }
}

/// What the MAC covers.
fn authenticated(buffer: &[u8]) -> &[u8] {
    buffer.get(COUNTER.start..).unwrap_or_default()
}

fn set_mac(object: &mut Object, mac: &[u8; MAC_SIZE]) {
    if let Some(place) = object.buffer.get_mut(MAC) {
        place.copy_from_slice(mac);
    }
}
