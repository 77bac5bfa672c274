//! Writing encrypted messages: cipher feedback with a modification detection code.
//!
//! The packets are those of gpg: the way to the key, then everything else encrypted as one packet
//! of partial lengths, since nobody knows its length beforehand. Inside is a compressed packet
//! around the data.

use aes::Aes256;
use aes::cipher::consts::U16;
use aes::cipher::{
    Array, BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
};
use sha1::Sha1;
use sha2::digest::Digest;
use store::Random;

use super::SessionKey;

/// Size of a partial packet, as a power of two.
const PART_BITS: u8 = 16;
const PART: usize = 1 << PART_BITS;

/// Encrypts one message. Bytes go in, ciphertext comes out; memory is one partial packet.
pub(crate) struct Sealer {
    cipher: Aes256,
    /// The last block of ciphertext, which becomes the next block's key stream.
    feedback: [u8; 16],
    /// How much of the key stream in `stream` is used.
    used: usize,
    stream: [u8; 16],
    code: Sha1,
    part: Vec<u8>,
}

impl Sealer {
    /// Begins a message; its head goes to `out`. What is pushed must be OpenPGP packets.
    #[must_use]
    pub(crate) fn new(key: &SessionKey, random: &Random, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&key.packets);
        out.push(0xd2);
        let mut sealer = Self {
            cipher: Aes256::new((&*key.key).into()),
            feedback: [0; 16],
            used: 16,
            stream: [0; 16],
            code: Sha1::new(),
            part: vec![1],
        };
        // A block of chance and its end once more, so that a wrong key is noticed at once.
        let mut prefix = [0; 18];
        let (chance, check) = prefix.split_at_mut(16);
        random(chance);
        check.copy_from_slice(&chance[14..]);
        sealer.push(&prefix, out);
        sealer
    }

    /// Encrypts the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.code.update(bytes);
        self.encrypt(bytes, out);
    }

    /// Ends the message with the code over all of it.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        self.push(&[0xd3, 20], out);
        let code = std::mem::take(&mut self.code).finalize();
        self.encrypt(&code, out);
        let length = u32::try_from(self.part.len()).unwrap_or(u32::MAX);
        out.push(0xff);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.part);
    }

    fn encrypt(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            let room = PART - self.part.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            let start = self.part.len();
            self.part.extend_from_slice(now);
            let mut part = std::mem::take(&mut self.part);
            self.feed_back(part.get_mut(start..).unwrap_or_default());
            self.part = part;
            bytes = later;
            if self.part.len() == PART {
                out.push(0xe0 | PART_BITS);
                out.append(&mut self.part);
            }
        }
    }

    /// Cipher feedback over bytes that need not be whole blocks.
    fn feed_back(&mut self, bytes: &mut [u8]) {
        let started = bytes.len().min(16 - self.used);
        let (head, rest) = bytes.split_at_mut(started);
        self.mix(head);
        let (blocks, tail) = Array::slice_as_chunks_mut(rest);
        self.cipher.encrypt_with_backend(WholeBlocks {
            blocks,
            feedback: &mut self.feedback,
        });
        if !tail.is_empty() {
            let mut stream = self.feedback.into();
            self.cipher.encrypt_block(&mut stream);
            self.stream = stream.into();
            self.used = 0;
            self.mix(tail);
        }
    }

    /// Uses up key stream that is there.
    fn mix(&mut self, bytes: &mut [u8]) {
        let used = self.used;
        let places = self.stream.iter().zip(&mut self.feedback).skip(used);
        for (byte, (mask, feedback)) in bytes.iter_mut().zip(places) {
            *byte ^= mask;
            *feedback = *byte;
        }
        self.used += bytes.len();
    }
}

/// Cipher feedback over whole blocks. The cipher is got ready once for all of them: that takes as
/// long as a block.
struct WholeBlocks<'a> {
    blocks: &'a mut [Array<u8, U16>],
    feedback: &'a mut [u8; 16],
}

impl BlockSizeUser for WholeBlocks<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for WholeBlocks<'_> {
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        for block in self.blocks {
            let mut stream = Array::from(*self.feedback);
            backend.encrypt_block((&mut stream).into());
            for (byte, mask) in block.iter_mut().zip(stream) {
                *byte ^= mask;
            }
            *self.feedback = (*block).into();
        }
    }
}

/// What stands before the deflate stream: a compressed packet up to the end, by ZIP.
pub(crate) const COMPRESSED_HEAD: [u8; 2] = [0xa3, 1];

/// What stands before the data inside the deflate stream: a literal packet up to the end, binary,
/// without name and date.
pub(crate) const LITERAL_HEAD: [u8; 7] = [0xaf, b'b', 0, 0, 0, 0, 0];
