//! From a stored object back to plain bytes.
//!
//! Nothing is decrypted before its MAC was checked, and nothing is handed out before the hash
//! of the plain bytes was found to be the id it was asked for by: a repository cannot answer
//! with damaged, forged or exchanged content. The manifest alone has no id to compare with;
//! its own authentication takes that place.

use std::io;
use std::ops::Range;

use aes::cipher::StreamCipher;
use subtle::ConstantTimeEq;

use super::Key;
use super::hash::{Hasher, hash_jobs};
use super::object::{COUNTER_SIZE, MAC_SIZE, TYPE_SIZE};
use crate::compress::Method;
use crate::{BadPayload, Buffer, Decompressor, Id};

/// A stored object that is to be opened.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    /// What it was asked for by; [`Id::MANIFEST`] is not compared.
    pub id: Id,
    /// What the repository has under that id.
    pub stored: &'a [u8],
    /// The plain size, if it is known. A wrong one does no harm.
    pub size_hint: Option<usize>,
}

/// A stored object that is to be opened, and whose memory may be used for that.
#[derive(Debug)]
pub struct Fetched<'a> {
    /// See [`Sealed::id`].
    pub id: Id,
    /// See [`Sealed::stored`]. It is decrypted in place.
    pub stored: &'a mut [u8],
    /// See [`Sealed::size_hint`].
    pub size_hint: Option<usize>,
}

/// Why a stored object cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadObject {
    /// It is shorter than the shortest of its mode.
    #[error("an object of {bytes} bytes is too short")]
    Short {
        /// How many bytes it has.
        bytes: usize,
    },
    /// It was written in another mode than the repository's.
    #[error("an object of type {found} in a repository of type {expected}")]
    Type {
        /// Its first byte.
        found: u8,
        /// The type byte of the repository's mode.
        expected: u8,
    },
    /// It was changed after it was written, or written with another key.
    #[error("authentication of the object failed")]
    Mac,
    /// It cannot be decompressed.
    #[error("cannot decompress the object")]
    Payload(#[from] BadPayload),
    /// It is not the object that belongs under this id.
    #[error("the content does not match the id")]
    Id,
}

/// Opens stored objects of one key; keeps its memory for the next. One a thread.
pub struct Opener {
    decompressor: Decompressor,
    decrypted: Buffer,
    /// The batch that [`Key::open_many`] was given last.
    batch: Vec<Opened>,
    /// Its plain bytes, which nobody has seen yet: their ids are not compared.
    plains: Buffer,
}

/// An object whose MAC was checked and which was decrypted.
struct Opened {
    id: Id,
    /// Where its plain bytes stand.
    result: Result<Range<usize>, BadObject>,
}

impl Opened {
    /// Its plain bytes; nothing if there are none.
    fn plain<'a>(&self, plains: &'a Buffer) -> &'a [u8] {
        let range = self.result.as_ref().ok();
        range
            .and_then(|range| plains.get(range.clone()))
            .unwrap_or_default()
    }
}

impl Opener {
    /// Sets up decompression.
    ///
    /// # Errors
    ///
    /// When there is no memory for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            decompressor: Decompressor::new()?,
            decrypted: Buffer::new(),
            batch: Vec::new(),
            plains: Buffer::new(),
        })
    }
}

impl Key {
    /// Puts the plain bytes of a stored object into `plain`, in place of what stands there.
    ///
    /// # Errors
    ///
    /// [`BadObject`] says what is wrong with it; `plain` is empty then.
    pub fn open(
        &self,
        sealed: Sealed<'_>,
        opener: &mut Opener,
        plain: &mut Buffer,
    ) -> Result<(), BadObject> {
        plain.clear();
        self.envelope(sealed.stored)
            .and_then(|envelope| {
                if let Some(cipher) = &self.0.cipher
                    && !same(&cipher.mac.hash(envelope.authenticated), envelope.mac)
                {
                    return Err(BadObject::Mac);
                }
                self.unpack(envelope, sealed.size_hint, opener, plain)?;
                self.compare(sealed.id, self.id_hash(plain))
            })
            .inspect_err(|_| plain.clear())
    }

    /// Like [`Self::open`] for batches of objects, of which those of the call *before* are handed
    /// out: the index in their batch, and the plain bytes. An empty batch fetches the last.
    ///
    /// BLAKE2b computes four hashes in the time of two, so that the MACs of a batch and the ids of
    /// the one before it are computed together. No more than one batch is in memory as plain
    /// bytes.
    pub fn open_many(
        &self,
        next: &mut [Fetched<'_>],
        opener: &mut Opener,
        mut deliver: impl FnMut(usize, Result<&[u8], BadObject>),
    ) {
        let envelopes = next.iter().map(|fetched| self.envelope(fetched.stored));
        let envelopes: Vec<_> = envelopes.collect();
        let (macs, ids) = self.hashes(&envelopes, opener);
        for (index, (opened, id)) in opener.batch.iter().zip(ids).enumerate() {
            let result = match &opened.result {
                Ok(_) => self.compare(opened.id, id),
                Err(bad) => Err(*bad),
            };
            deliver(index, result.map(|()| opened.plain(&opener.plains)));
        }
        let authentic: Vec<Result<u64, BadObject>> = envelopes
            .into_iter()
            .enumerate()
            .map(|(index, envelope)| {
                let Envelope { mac, counter, .. } = envelope?;
                match macs.get(index) {
                    Some(computed) if !same(computed, mac) => Err(BadObject::Mac),
                    _ => Ok(counter),
                }
            })
            .collect();
        let Opener {
            decompressor,
            batch,
            plains,
            ..
        } = opener;
        batch.clear();
        plains.clear();
        for (fetched, authentic) in next.iter_mut().zip(authentic) {
            let start = plains.len();
            let result = authentic.and_then(|counter| {
                let payload = self.decrypt(fetched.stored, counter);
                decompressor.decompress(payload, fetched.size_hint, plains)?;
                Ok(start..plains.len())
            });
            let id = fetched.id;
            batch.push(Opened { id, result });
        }
    }

    /// Decrypts what was authenticated, in place; the payload.
    fn decrypt<'a>(&self, stored: &'a mut [u8], counter: u64) -> &'a [u8] {
        let Some(cipher) = &self.0.cipher else {
            return stored.get(TYPE_SIZE..).unwrap_or_default();
        };
        let payload_at = TYPE_SIZE + MAC_SIZE + COUNTER_SIZE;
        let payload = stored.get_mut(payload_at..).unwrap_or_default();
        cipher.keystream(counter).apply_keystream(payload);
        payload
    }

    /// One MAC for each envelope, in the modes that encrypt, and the ids of what was opened
    /// before. Whatever failed is hashed as nothing, and its result stays what it is.
    fn hashes(
        &self,
        envelopes: &[Result<Envelope<'_>, BadObject>],
        opener: &Opener,
    ) -> (Vec<[u8; MAC_SIZE]>, Vec<Id>) {
        let plains = opener
            .batch
            .iter()
            .map(|opened| opened.plain(&opener.plains));
        let mut jobs: Vec<(&Hasher, &[u8])> =
            plains.map(|plain| (&self.0.id_hash, plain)).collect();
        let count = jobs.len();
        if let Some(cipher) = &self.0.cipher {
            let inputs = envelopes
                .iter()
                .map(|envelope| envelope.map_or(&[][..], |envelope| envelope.authenticated));
            jobs.extend(inputs.map(|input| (&cipher.mac, input)));
        }
        let mut hashes = hash_jobs(&jobs);
        let macs = hashes.split_off(count);
        (macs, hashes.into_iter().map(Id).collect())
    }

    fn envelope<'a>(&self, stored: &'a [u8]) -> Result<Envelope<'a>, BadObject> {
        let short = BadObject::Short {
            bytes: stored.len(),
        };
        let (&found, rest) = stored.split_first().ok_or(short)?;
        if !self.0.encryption.reads(found) {
            return Err(BadObject::Type {
                found,
                expected: self.0.encryption.type_byte(),
            });
        }
        if self.0.cipher.is_none() {
            return Ok(Envelope {
                mac: &[0; MAC_SIZE],
                counter: 0,
                authenticated: rest,
                payload: rest,
            });
        }
        let (mac, authenticated) = rest.split_first_chunk().ok_or(short)?;
        let (counter, payload) = authenticated.split_first_chunk().ok_or(short)?;
        Ok(Envelope {
            mac,
            counter: u64::from_be_bytes(*counter),
            authenticated,
            payload,
        })
    }

    /// Decrypts and decompresses what was authenticated.
    fn unpack(
        &self,
        envelope: Envelope<'_>,
        size_hint: Option<usize>,
        opener: &mut Opener,
        plain: &mut Buffer,
    ) -> Result<(), BadObject> {
        let Opener {
            decompressor,
            decrypted,
            ..
        } = opener;
        let payload = match &self.0.cipher {
            None => envelope.payload,
            Some(cipher) => {
                decrypted.clear();
                let room = decrypted.room(envelope.payload.len());
                let mut keystream = cipher.keystream(envelope.counter);
                // The two have the same length, so this cannot panic.
                keystream.apply_keystream_b2b(envelope.payload, room);
                room
            }
        };
        Ok(decompressor.decompress(payload, size_hint, plain)?)
    }

    /// How a stored object is compressed, if that can be told. Nothing of it is checked.
    pub(crate) fn method_of(&self, stored: &[u8]) -> Option<Method> {
        let envelope = self.envelope(stored).ok()?;
        let mut id = *envelope.payload.first_chunk()?;
        if let Some(cipher) = &self.0.cipher {
            cipher.keystream(envelope.counter).apply_keystream(&mut id);
        }
        Method::of(id)
    }

    fn compare(&self, expected: Id, computed: Id) -> Result<(), BadObject> {
        if expected == Id::MANIFEST || same(&expected.0, &computed.0) {
            Ok(())
        } else {
            Err(BadObject::Id)
        }
    }
}

/// A stored object, taken apart.
#[derive(Debug, Clone, Copy)]
struct Envelope<'a> {
    mac: &'a [u8; MAC_SIZE],
    counter: u64,
    /// What the MAC covers.
    authenticated: &'a [u8],
    payload: &'a [u8],
}

fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}

const _: () = assert!(TYPE_SIZE + MAC_SIZE + COUNTER_SIZE == 41);
