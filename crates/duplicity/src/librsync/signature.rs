//! Signatures: a weak and a strong checksum of every block of a file.

use super::md4::LANES;
use super::sums::sums_of;
use super::{SIGNATURE_MAGIC, STRONG_LENGTH};

/// Bytes before the first block: magic, block length, strong length.
const HEADER_SIZE: usize = 12;

/// Bytes of a block in the signatures that are made here: its weak sum, and its strong one.
pub(super) const ENTRY_SIZE: usize = 4 + STRONG_LENGTH;

/// Smallest block, and what every block length is a multiple of.
const BLOCK_STEP: u32 = 512;

/// Largest block length that is believed. 2¹⁷ × 512 bytes is the length for a file of 4 PiB.
const BLOCK_LENGTH_MAX: u32 = 64 << 20;

/// The block length for a file of that size, as duplicity since 3.0.4 chooses it: the square root,
/// rounded up to a multiple of 512.
#[must_use]
pub fn block_length(size: u64) -> u32 {
    let root = u32::try_from(size.isqrt()).unwrap_or(BLOCK_LENGTH_MAX);
    root.min(BLOCK_LENGTH_MAX)
        .next_multiple_of(BLOCK_STEP)
        .max(BLOCK_STEP)
}

/// Makes the signature of a file that is pushed through it.
#[derive(Debug)]
pub struct SignatureWriter {
    block_length: usize,
    /// Blocks not hashed yet: fewer than [`LANES`] whole ones and a beginning.
    pending: Vec<u8>,
}

impl SignatureWriter {
    /// Starts a signature; its header goes to `out`.
    #[must_use]
    pub fn new(block_length: u32, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&header(block_length));
        Self {
            block_length: block_length.max(1) as usize,
            pending: Vec::new(),
        }
    }

    /// Takes the next bytes of the file; finished blocks go to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        let stretch = self.block_length.saturating_mul(LANES);
        if !self.pending.is_empty() {
            let (head, rest) = bytes.split_at(bytes.len().min(stretch - self.pending.len()));
            self.pending.extend_from_slice(head);
            bytes = rest;
            if self.pending.len() < stretch {
                return;
            }
            sign(&self.pending, self.block_length, out);
            self.pending.clear();
        }
        let stretches = bytes.chunks_exact(stretch);
        self.pending.extend_from_slice(stretches.remainder());
        for blocks in stretches {
            sign(blocks, self.block_length, out);
        }
    }

    /// The file has ended; what is left goes to `out`.
    pub fn finish(self, out: &mut Vec<u8>) {
        sign(&self.pending, self.block_length, out);
    }
}

/// What stands before the blocks of a signature that is made here.
fn header(block_length: u32) -> [u8; HEADER_SIZE] {
    let strong_length = u32::try_from(STRONG_LENGTH).unwrap_or(u32::MAX);
    let mut header = [0; HEADER_SIZE];
    let words = [SIGNATURE_MAGIC, block_length, strong_length];
    for (place, word) in header.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    header
}

/// Signs at most [`LANES`] blocks, of which the last may be short.
fn sign(bytes: &[u8], block_length: usize, out: &mut Vec<u8>) {
    for (weak, strong) in sums_of(bytes, block_length) {
        out.extend_from_slice(&weak.digest().to_be_bytes());
        let strong = strong.first_chunk::<STRONG_LENGTH>();
        out.extend_from_slice(strong.unwrap_or(&[0; STRONG_LENGTH]));
    }
}

/// Why bytes are not a signature that a delta can be made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// The magic is another: not a signature, or one with other checksums than MD4.
    #[error("not a librsync signature with MD4 sums")]
    Magic,
    /// The lengths in the header make no sense.
    #[error("a signature with impossible lengths")]
    Lengths,
    /// It ends within a block.
    #[error("the signature is cut off")]
    CutOff,
}

/// A signature, ready to be searched.
#[derive(Debug, Clone)]
pub struct Signature {
    block_length: u32,
    strong_length: usize,
    blocks: Vec<u8>,
}

impl Signature {
    /// Takes a signature over.
    ///
    /// # Errors
    ///
    /// [`BadSignature`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadSignature> {
        let word = |index: usize| -> Option<u32> {
            bytes
                .get(index * 4..)?
                .first_chunk()
                .copied()
                .map(u32::from_be_bytes)
        };
        if word(0) != Some(SIGNATURE_MAGIC) {
            return Err(BadSignature::Magic);
        }
        let (Some(block_length), Some(strong_length)) = (word(1), word(2)) else {
            return Err(BadSignature::CutOff);
        };
        if !(1..=BLOCK_LENGTH_MAX).contains(&block_length) || !(1..=16).contains(&strong_length) {
            return Err(BadSignature::Lengths);
        }
        let strong_length = strong_length as usize;
        let blocks = bytes.get(HEADER_SIZE..).unwrap_or_default();
        if blocks.len() % (4 + strong_length) != 0 {
            return Err(BadSignature::CutOff);
        }
        Ok(Self {
            block_length,
            strong_length,
            blocks: blocks.to_vec(),
        })
    }

    /// Bytes of every block but the last.
    #[must_use]
    pub fn block_length(&self) -> u32 {
        self.block_length
    }

    /// How many blocks there are.
    #[must_use]
    pub fn block_count(&self) -> usize {
        self.blocks.len() / (4 + self.strong_length)
    }

    /// The sizes that a file with this signature can have.
    #[must_use]
    pub fn sizes(&self) -> std::ops::RangeInclusive<u64> {
        let (count, length) = (self.block_count() as u64, u64::from(self.block_length));
        match count.checked_sub(1) {
            Some(whole) => whole * length + 1..=count * length,
            None => 0..=0,
        }
    }

    /// The blocks of a signature that was made here, if they can be compared with these: they are as
    /// long, and their strong sums, too.
    pub(super) fn alike<'a>(&self, other: &'a [u8]) -> &'a [u8] {
        match other.split_at_checked(HEADER_SIZE) {
            Some((its, blocks))
                if its == header(self.block_length) && self.strong_length == STRONG_LENGTH =>
            {
                blocks
            }
            _ => &[],
        }
    }

    /// Whether both sums of a block are these.
    pub(super) fn is_entry(&self, index: usize, entry: &[u8]) -> bool {
        let blocks = self.blocks.get(index.saturating_mul(ENTRY_SIZE)..);
        blocks.and_then(|blocks| blocks.get(..ENTRY_SIZE)) == Some(entry)
    }

    /// The weak sum of a block.
    pub(super) fn weak(&self, index: usize) -> Option<u32> {
        let at = index.checked_mul(4 + self.strong_length)?;
        self.blocks
            .get(at..)?
            .first_chunk()
            .copied()
            .map(u32::from_be_bytes)
    }

    /// Whether the strong sum of `block` is that of the block with this index.
    pub(super) fn is_strong(&self, index: usize, strong: &[u8; 16]) -> bool {
        let at = index * (4 + self.strong_length) + 4;
        self.blocks.get(at..at + self.strong_length) == strong.get(..self.strong_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(bytes: &[u8], block_length: u32, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = SignatureWriter::new(block_length, &mut out);
        for piece in bytes.chunks(step) {
            writer.push(piece, &mut out);
        }
        writer.finish(&mut out);
        out
    }

    #[test]
    fn block_lengths_are_duplicitys() {
        for (size, length) in [
            (0, 512),
            (262_144, 512),
            (263_169, 1024),
            (1 << 30, 32_768),
            (u64::MAX, 64 << 20),
        ] {
            assert_eq!(block_length(size), length, "{size}");
        }
    }

    #[test]
    fn how_the_bytes_arrive_does_not_matter() {
        let bytes: Vec<u8> = (0..40_000_u32)
            .map(|i| (i * i / 11).to_le_bytes()[0])
            .collect();
        let whole = signature(&bytes, 512, bytes.len());
        assert_eq!(whole.len(), 12 + 12 * bytes.len().div_ceil(512));
        for step in [1, 511, 512, 4096, 5000] {
            assert_eq!(signature(&bytes, 512, step), whole, "{step}");
        }
    }

    #[test]
    fn an_empty_file_has_a_header_only() {
        let bytes = signature(b"", 512, 1);
        assert_eq!(bytes, [0x72, 0x73, 0x01, 0x36, 0, 0, 2, 0, 0, 0, 0, 8]);
        assert_eq!(Signature::parse(&bytes).unwrap().sizes(), 0..=0);
    }

    #[test]
    fn a_broken_signature_is_refused() {
        let good = signature(b"abc", 512, 3);
        assert_eq!(Signature::parse(&good).unwrap().sizes(), 1..=512);
        assert_eq!(Signature::parse(b"rs").unwrap_err(), BadSignature::Magic);
        assert_eq!(
            Signature::parse(&good[..9]).unwrap_err(),
            BadSignature::CutOff
        );
        assert_eq!(
            Signature::parse(&good[..15]).unwrap_err(),
            BadSignature::CutOff
        );
        let mut lying = good.clone();
        lying[4..8].copy_from_slice(&[0; 4]);
        assert_eq!(Signature::parse(&lying).unwrap_err(), BadSignature::Lengths);
    }
}
