//! From a stored object back to plain bytes.
//!
//! Nothing is decrypted before its MAC was checked, and nothing is handed out before the hash
//! of the plain bytes was found to be the id it was asked for by: a repository cannot answer
//! with damaged, forged or exchanged content. The manifest alone has no id to compare with;
//! its own authentication takes that place.

use std::io;

use aes::cipher::StreamCipher;
use subtle::ConstantTimeEq;

use super::Key;
use super::object::{COUNTER_SIZE, MAC_SIZE, TYPE_SIZE};
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

/// Opens stored objects; keeps its memory for the next. One a thread.
pub struct Opener {
    decompressor: Decompressor,
    decrypted: Buffer,
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

    /// Like [`Self::open`] for several objects, whose MACs and ids are computed at once.
    ///
    /// `plains` gets at least as many buffers as there are objects; the ones that are there are
    /// used again. The results are in the order of the objects.
    pub fn open_many(
        &self,
        sealed: &[Sealed<'_>],
        opener: &mut Opener,
        plains: &mut Vec<Buffer>,
    ) -> Vec<Result<(), BadObject>> {
        if plains.len() < sealed.len() {
            plains.resize_with(sealed.len(), Buffer::new);
        }
        let envelopes: Vec<_> = sealed
            .iter()
            .map(|sealed| self.envelope(sealed.stored))
            .collect();
        let macs = self.macs(&envelopes);
        let mut results: Vec<Result<(), BadObject>> = envelopes
            .into_iter()
            .enumerate()
            .map(|(index, envelope)| {
                let envelope = envelope?;
                if let Some(mac) = macs.get(index)
                    && !same(mac, envelope.mac)
                {
                    return Err(BadObject::Mac);
                }
                let (Some(sealed), Some(plain)) = (sealed.get(index), plains.get_mut(index)) else {
                    return Err(BadObject::Short { bytes: 0 });
                };
                plain.clear();
                self.unpack(envelope, sealed.size_hint, opener, plain)
            })
            .collect();
        // Whatever failed is hashed as nothing, and its result stays what it is.
        let ids = self.id_hash_many(
            plains
                .iter()
                .zip(&results)
                .map(|(plain, result)| result.map_or(&[][..], |()| &**plain)),
        );
        for (((result, sealed), id), plain) in results.iter_mut().zip(sealed).zip(ids).zip(plains) {
            *result = result.and_then(|()| self.compare(sealed.id, id));
            if result.is_err() {
                plain.clear();
            }
        }
        results
    }

    /// One MAC for each envelope in the modes that encrypt; none otherwise.
    fn macs(&self, envelopes: &[Result<Envelope<'_>, BadObject>]) -> Vec<[u8; MAC_SIZE]> {
        let Some(cipher) = &self.0.cipher else {
            return Vec::new();
        };
        let inputs: Vec<&[u8]> = envelopes
            .iter()
            .map(|envelope| envelope.map_or(&[][..], |envelope| envelope.authenticated))
            .collect();
        cipher.mac.hash_many(&inputs)
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
