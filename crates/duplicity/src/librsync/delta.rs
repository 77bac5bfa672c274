//! Deltas: the new file as copies from the old one and literal bytes.
//!
//! Most places of a changed file match nothing, and each costs a look-up. A bit set that fits
//! into the nearest cache answers nearly all of them; only a hit there asks the table, and only
//! a hit in the table pays for MD4.

use super::md4::{LANES, md4};
use super::rollsum::Rollsum;
use super::signature::ENTRY_SIZE;
use super::sums::{Sums, sums_of};
use super::{DELTA_MAGIC, Signature};

/// Literal bytes are written out when so many have gathered.
const LITERAL_MAX: usize = 64 << 10;

/// Largest block of which several are waited for: that of a file of 16 TiB.
const FOLLOWED_MAX: usize = 4 << 20;

/// How many blocks of one weak sum are tried at one place. More come only from a signature made to
/// slow us down; a match that is missed costs space, not correctness.
const TRIES_MAX: usize = 16;

/// No block.
const NONE: u32 = u32::MAX;

/// Makes the delta from a signature to a file that is pushed through it.
#[derive(Debug)]
pub struct DeltaWriter {
    table: Table,
    block_length: usize,
    /// Bytes that are not written out, and a few before them that are.
    buffer: Vec<u8>,
    /// Where the buffer starts in the file.
    start: u64,
    /// Where the bytes start that match nothing; they end at the window.
    literal: usize,
    /// Where the window starts.
    window: usize,
    /// The sum of the window, once that is whole.
    sum: Option<Rollsum>,
    /// A copy that may still grow.
    copy: Option<(u64, u64)>,
}

impl DeltaWriter {
    /// Starts a delta; its header goes to `out`.
    #[must_use]
    pub fn new(signature: Signature, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(&DELTA_MAGIC.to_be_bytes());
        let block_length = signature.block_length() as usize;
        Self {
            table: Table::new(signature),
            block_length,
            buffer: Vec::new(),
            start: 0,
            literal: 0,
            window: 0,
            sum: None,
            copy: None,
        }
    }

    /// Takes the next bytes of the file; what is settled goes to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.push_signed(bytes, &[], out);
    }

    /// The same, with the file's own signature, as far as that is made: where its blocks are as long as
    /// those of the old one, their sums need not be made again.
    pub fn push_signed(&mut self, bytes: &[u8], signature: &[u8], out: &mut Vec<u8>) {
        let signed = self.table.signature.alike(signature);
        // Pieces bound the buffer whatever the caller hands over.
        for piece in bytes.chunks(LITERAL_MAX.max(self.block_length)) {
            self.buffer.extend_from_slice(piece);
            self.search(signed, false, out);
            if self.window - self.literal >= LITERAL_MAX {
                self.write_literal(out);
            }
            self.buffer.drain(..self.literal);
            self.start += self.literal as u64;
            self.window -= self.literal;
            self.literal = 0;
        }
    }

    /// The file has ended; the rest goes to `out`.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.search(&[], true, out);
        self.search_tail(out);
        self.window = self.buffer.len();
        self.write_literal(out);
        self.write_copy(out);
        out.push(0);
    }

    fn search(&mut self, signed: &[u8], is_end: bool, out: &mut Vec<u8>) {
        let length = self.block_length;
        loop {
            if self.sum.is_none() && self.follow(signed, out) && !is_end {
                // More may come that goes on.
                return;
            }
            let Some(block) = self.buffer.get(self.window..self.window + length) else {
                return;
            };
            let mut sum = self.sum.take().unwrap_or_else(|| Rollsum::of(block));
            let Some(index) = self.roll(&mut sum) else {
                // The window stands at the end of the buffer, to be rolled on by what comes.
                self.sum = Some(sum);
                return;
            };
            self.write_literal(out);
            self.add_copy(index as u64 * length as u64, length as u64, out);
            self.window += length;
            self.literal = self.window;
        }
    }

    /// Takes the blocks that go on where the copy ends, many at a time: most of a file is as it was.
    /// Whether all that are there do.
    fn follow(&mut self, signed: &[u8], out: &mut Vec<u8>) -> bool {
        let length = self.block_length;
        if length > FOLLOWED_MAX {
            return false;
        }
        while let Some(expected) = self.expected() {
            let ahead = self.buffer.get(self.window..).unwrap_or_default();
            let signature = &self.table.signature;
            let known = self.known(signed);
            let (count, all) = if known.is_empty() {
                let Some(stretch) = ahead.get(..length * LANES) else {
                    return true;
                };
                let is_next = |&(index, (weak, strong)): &(usize, Sums)| {
                    signature.weak(index) == Some(weak.digest())
                        && signature.is_strong(index, &strong)
                };
                let sums = (expected..).zip(sums_of(stretch, length));
                (sums.take_while(is_next).count(), LANES)
            } else {
                let entries = known.chunks_exact(ENTRY_SIZE);
                let all = entries.len();
                let is_next = |(index, entry): &(usize, &[u8])| signature.is_entry(*index, entry);
                let count = (expected..).zip(entries).take_while(is_next).count();
                (count, all)
            };
            if count > 0 {
                let size = count * length;
                self.add_copy(expected as u64 * length as u64, size as u64, out);
                self.window += size;
                self.literal = self.window;
            }
            if count < all {
                return false;
            }
        }
        false
    }

    /// What is signed of the whole blocks in the buffer from the window on.
    fn known<'a>(&self, signed: &'a [u8]) -> &'a [u8] {
        let length = self.block_length as u64;
        let at = self.start + self.window as u64;
        if !at.is_multiple_of(length) {
            return &[];
        }
        let first = usize::try_from(at / length).unwrap_or(usize::MAX);
        let entries = signed.get(first.saturating_mul(ENTRY_SIZE)..);
        let entries = entries.unwrap_or_default();
        let whole = (self.buffer.len() - self.window) / self.block_length;
        let whole = whole.min(entries.len() / ENTRY_SIZE);
        entries.get(..whole * ENTRY_SIZE).unwrap_or_default()
    }

    /// Moves the window on until it is a known block or ends with the buffer.
    fn roll(&mut self, sum: &mut Rollsum) -> Option<usize> {
        let length = self.block_length;
        let weight = u32::try_from(length).unwrap_or(u32::MAX);
        let expected = self.expected();
        let outgoing = self.buffer.get(self.window..).unwrap_or_default();
        let incoming = outgoing.get(length..).unwrap_or_default();
        let mut rolled = 0;
        for (&out, &into) in outgoing.iter().zip(incoming) {
            if self.table.may_have(sum.digest()) {
                let block = outgoing.get(rolled..rolled + length)?;
                if let Some(index) = self.table.find(sum.digest(), block, expected) {
                    self.window += rolled;
                    return Some(index);
                }
            }
            sum.roll(out, into, weight);
            rolled += 1;
        }
        let block = outgoing.get(rolled..rolled + length)?;
        self.window += rolled;
        self.table.find(sum.digest(), block, expected)
    }

    /// The block that would continue the copy before.
    fn expected(&self) -> Option<usize> {
        let (start, length) = self.copy?;
        usize::try_from((start + length) / self.block_length as u64).ok()
    }

    /// Looks whether an end of the file is the last block of the old one, which may be short.
    fn search_tail(&mut self, out: &mut Vec<u8>) {
        let Some(last) = self.table.signature.block_count().checked_sub(1) else {
            return;
        };
        let weak = self.table.signature.weak(last);
        let tail = self.buffer.get(self.window..).unwrap_or_default();
        if tail.len() >= self.block_length {
            // A whole window stands unmatched: only what is shorter is of interest.
            self.window += tail.len() + 1 - self.block_length;
        }
        let tail = self.buffer.get(self.window..).unwrap_or_default();
        let mut sum = Rollsum::of(tail);
        let found = (0..tail.len()).find(|&skipped| {
            let rest = tail.get(skipped..).unwrap_or_default();
            let hit = Some(sum.digest()) == weak && {
                let [strong] = md4([rest]);
                self.table.signature.is_strong(last, &strong)
            };
            if let Some(&first) = rest.first().filter(|_| !hit) {
                sum.shrink(first, u32::try_from(rest.len()).unwrap_or(u32::MAX));
            }
            hit
        });
        if let Some(skipped) = found {
            let rest = tail.len() - skipped;
            self.window += skipped;
            self.write_literal(out);
            self.add_copy(last as u64 * self.block_length as u64, rest as u64, out);
            self.literal = self.buffer.len();
        }
    }

    fn add_copy(&mut self, start: u64, length: u64, out: &mut Vec<u8>) {
        match &mut self.copy {
            Some((from, so_far)) if *from + *so_far == start => *so_far += length,
            _ => {
                self.write_copy(out);
                self.copy = Some((start, length));
            }
        }
    }

    fn write_copy(&mut self, out: &mut Vec<u8>) {
        if let Some((start, length)) = self.copy.take() {
            let (start_code, start_bytes) = narrow(start);
            let (length_code, length_bytes) = narrow(length);
            out.push(0x45 + 4 * start_code + length_code);
            out.extend_from_slice(&start.to_be_bytes()[8 - start_bytes..]);
            out.extend_from_slice(&length.to_be_bytes()[8 - length_bytes..]);
        }
    }

    /// Writes out what stands before the window, behind the copy that precedes it.
    fn write_literal(&mut self, out: &mut Vec<u8>) {
        if self.window == self.literal {
            return;
        }
        self.write_copy(out);
        let bytes = self
            .buffer
            .get(self.literal..self.window)
            .unwrap_or_default();
        match u8::try_from(bytes.len()) {
            Ok(length @ 1..=64) => out.push(length),
            _ => {
                let length = bytes.len() as u64;
                let (code, width) = narrow(length);
                out.push(0x41 + code);
                out.extend_from_slice(&length.to_be_bytes()[8 - width..]);
            }
        }
        out.extend_from_slice(bytes);
        self.literal = self.window;
    }
}

/// The code of the narrowest integer that holds `value`, and its bytes.
fn narrow(value: u64) -> (u8, usize) {
    match value {
        0..=0xff => (0, 1),
        0x100..=0xffff => (1, 2),
        0x1_0000..=0xffff_ffff => (2, 4),
        _ => (3, 8),
    }
}

/// The blocks of a signature by their weak sums.
#[derive(Debug)]
struct Table {
    signature: Signature,
    /// A bit for every hash that a block has.
    present: Vec<u64>,
    present_shift: u32,
    /// First block of every hash.
    heads: Vec<u32>,
    heads_shift: u32,
    /// Next block of the same hash, for every block.
    next: Vec<u32>,
}

impl Table {
    fn new(signature: Signature) -> Self {
        let count = signature.block_count();
        // Sixteen bits a block keep false hits rare; 2¹⁶ of them are 8 KiB.
        let present_bits = (count * 16).next_power_of_two().clamp(1 << 16, 1 << 26);
        let buckets = (count * 2).next_power_of_two().max(64);
        let mut table = Self {
            present: vec![0; present_bits / 64],
            present_shift: 32 - present_bits.trailing_zeros(),
            heads: vec![NONE; buckets],
            heads_shift: 32 - buckets.trailing_zeros().min(32),
            next: vec![NONE; count],
            signature,
        };
        // From the back, so that the first of equal blocks is found first.
        for index in (0..count).rev() {
            let Some(weak) = table.signature.weak(index) else {
                continue;
            };
            let bit = scatter(weak, table.present_shift);
            table.present[bit / 64] |= 1 << (bit % 64);
            let bucket = scatter(weak, table.heads_shift);
            table.next[index] = table.heads[bucket];
            table.heads[bucket] = u32::try_from(index).unwrap_or(NONE);
        }
        table
    }

    #[inline]
    fn may_have(&self, weak: u32) -> bool {
        let bit = scatter(weak, self.present_shift);
        self.present[bit / 64] >> (bit % 64) & 1 == 1
    }

    fn find(&self, weak: u32, block: &[u8], expected: Option<usize>) -> Option<usize> {
        if !self.may_have(weak) {
            return None;
        }
        let mut strong = None;
        let mut is_block = |index: usize| {
            self.signature.weak(index) == Some(weak)
                && self
                    .signature
                    .is_strong(index, strong.get_or_insert_with(|| md4([block])[0]))
        };
        if let Some(index) = expected.filter(|&index| is_block(index)) {
            return Some(index);
        }
        let mut index = self.heads.get(scatter(weak, self.heads_shift)).copied()?;
        for _ in 0..TRIES_MAX {
            let at = usize::try_from(index).ok().filter(|_| index != NONE)?;
            if is_block(at) {
                return Some(at);
            }
            index = self.next.get(at).copied()?;
        }
        None
    }
}

/// Spreads a weak sum, whose low bits are few values for text, over `32 - shift` bits.
#[inline]
fn scatter(weak: u32, shift: u32) -> usize {
    (weak.wrapping_mul(0x9e37_79b1) >> shift) as usize
}
