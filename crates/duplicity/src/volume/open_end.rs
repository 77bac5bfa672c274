//! A whole deflate stream becomes a stretch of a longer one.
//!
//! The library compresses whole buffers only, and marks the last block as the stream's end. Where
//! that block begins, and at which bit it ends, nothing says but the blocks themselves: they are
//! followed symbol by symbol, without making their bytes. Then the mark is taken out, and an empty
//! stored block leads to the next byte border.
//!
//! Format: RFC 1951.

/// Longest code of a symbol, in bits.
const CODE_MAX: usize = 15;

/// Most symbols for literals and lengths, for distances, and for code lengths.
const LITERALS: usize = 288;
const DISTANCES: usize = 32;
const LENGTHS: usize = 19;

/// The symbol that ends a block.
const END_OF_BLOCK: usize = 256;

/// In which order the lengths of the codes for code lengths come.
const LENGTH_ORDER: [usize; LENGTHS] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];

/// Behind the last block: an empty stored block without its first three bits.
const EMPTY_STORED: [u8; 4] = [0, 0, 0xff, 0xff];

/// The same blocks, the last one no longer the end, up to a byte border; `None` for what is not one
/// whole deflate stream.
pub(super) fn open_end(deflated: &[u8]) -> Option<Vec<u8>> {
    let (last, end) = last_block(deflated)?;
    let mut out = Vec::with_capacity(deflated.len() + 1 + EMPTY_STORED.len());
    out.extend_from_slice(deflated);
    *out.get_mut(last / 8)? &= !(1 << (last % 8));
    if end % 8 != 0 {
        *out.last_mut()? &= (1 << (end % 8)) - 1;
    }
    // Three zeros say that a stored block comes that is not the last.
    out.resize((end + 3).div_ceil(8), 0);
    out.extend_from_slice(&EMPTY_STORED);
    Some(out)
}

/// At which bit the last block begins, and at which it ends.
fn last_block(deflated: &[u8]) -> Option<(usize, usize)> {
    let mut bits = Bits {
        bytes: deflated,
        next: 0,
        window: 0,
        count: 0,
    };
    let mut codes = Codes::default();
    loop {
        let start = bits.position();
        let is_last = bits.take(1)? == 1;
        match bits.take(2)? {
            0 => bits.skip_stored()?,
            1 => {
                codes.fix()?;
                codes.skip_block(&mut bits)?;
            }
            2 => {
                codes.read(&mut bits)?;
                codes.skip_block(&mut bits)?;
            }
            _ => return None,
        }
        if is_last {
            let end = bits.position();
            return (end.div_ceil(8) == deflated.len()).then_some((start, end));
        }
    }
}

/// Bits, the lowest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    /// The next byte that is not in the window.
    next: usize,
    window: u64,
    /// Bits in the window.
    count: u32,
}

impl Bits<'_> {
    /// Fills the window: 56 bits at least, zeros behind the end.
    #[inline(always)]
    fn fill(&mut self) {
        let ahead = self.bytes.get(self.next..).unwrap_or_default();
        if let Some(word) = ahead.first_chunk() {
            self.window |= u64::from_le_bytes(*word) << self.count;
            let taken = (63 - self.count) / 8;
            self.next += taken as usize;
            self.count += 8 * taken;
        } else {
            while self.count <= 56 {
                let byte = self.bytes.get(self.next).copied().unwrap_or(0);
                self.window |= u64::from(byte) << self.count;
                self.next += 1;
                self.count += 8;
            }
        }
    }

    #[inline(always)]
    fn drop_bits(&mut self, count: u32) {
        self.window >>= count;
        self.count -= count;
    }

    fn take(&mut self, count: u32) -> Option<usize> {
        self.fill();
        let value = self.window & ((1 << count) - 1);
        self.drop_bits(count);
        // More than there is was taken.
        (self.position() <= 8 * self.bytes.len()).then_some(usize::try_from(value).ok()?)
    }

    /// Whether the window holds nothing but the zeros behind the end.
    #[inline(always)]
    fn is_over(&self) -> bool {
        self.next > self.bytes.len() + size_of::<u64>()
    }

    fn position(&self) -> usize {
        8 * self.next - self.count as usize
    }

    fn skip_stored(&mut self) -> Option<()> {
        let at = self.position().div_ceil(8);
        let length: [u8; 2] = *self.bytes.get(at..)?.first_chunk()?;
        self.next = at + 4 + usize::from(u16::from_le_bytes(length));
        (self.window, self.count) = (0, 0);
        (self.next <= self.bytes.len()).then_some(())
    }
}

/// What a code means for who only passes by: how many bits it takes with those behind it that
/// belong to it, and what comes next.
type Meaning = u8;

/// How many bits of a [`Meaning`] are the number of bits.
const BITS: Meaning = 0x1f;

/// A distance comes next.
const IS_LENGTH: Meaning = 0x20;

/// The block ends.
const IS_END: Meaning = 0x40;

/// Meanings by the next bits.
struct Table {
    meanings: Vec<Meaning>,
    /// How many bits are looked at.
    bits: usize,
}

impl Table {
    fn new() -> Self {
        Self {
            meanings: vec![0; 1 << CODE_MAX],
            bits: 0,
        }
    }

    /// Lays out the codes of these lengths; `meaning` is that of a symbol, without its code.
    fn build(&mut self, lengths: &[u8], meaning: impl Fn(usize) -> Meaning) -> Option<()> {
        let mut counts = [0_usize; CODE_MAX + 1];
        for &length in lengths {
            *counts.get_mut(usize::from(length))? += 1;
        }
        counts[0] = 0;
        let longest = counts.iter().rposition(|&count| count > 0).unwrap_or(1);
        self.bits = longest;
        let mut next = [0_usize; CODE_MAX + 2];
        for (length, count) in counts.iter().enumerate() {
            next[length + 1] = (next[length] + count) << 1;
        }
        let size = 1 << longest;
        let table = self.meanings.get_mut(..size)?;
        // A code that nothing has takes no bits, which ends the walk.
        table.fill(0);
        for (symbol, &length) in lengths.iter().enumerate() {
            if length == 0 {
                continue;
            }
            let length = usize::from(length);
            let code = next[length];
            next[length] += 1;
            let reversed = code.reverse_bits() >> (usize::BITS as usize - length);
            let meaning = meaning(symbol) + u8::try_from(length).ok()?;
            for place in table.get_mut(reversed..)?.iter_mut().step_by(1 << length) {
                *place = meaning;
            }
        }
        Some(())
    }

    #[inline(always)]
    fn look_up(&self, window: u64) -> Meaning {
        let mask = (1 << self.bits) - 1;
        let index = usize::try_from(window & mask).unwrap_or(0);
        self.meanings.get(index).copied().unwrap_or(0)
    }
}

/// The codes of a block.
struct Codes {
    literals: Table,
    distances: Table,
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            literals: Table::new(),
            distances: Table::new(),
        }
    }
}

impl Codes {
    /// Those that the format fixes.
    fn fix(&mut self) -> Option<()> {
        let mut lengths = [8; LITERALS];
        lengths.get_mut(144..256)?.fill(9);
        lengths.get_mut(256..280)?.fill(7);
        self.build(&lengths, &[5; DISTANCES])
    }

    /// Those that the block brings.
    fn read(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let literals = bits.take(5)? + 257;
        let distances = bits.take(5)? + 1;
        let count = bits.take(4)? + 4;
        let mut lengths = [0; LENGTHS];
        for &symbol in LENGTH_ORDER.get(..count)? {
            *lengths.get_mut(symbol)? = u8::try_from(bits.take(3)?).ok()?;
        }
        let codes = &mut self.distances;
        // The symbol itself is the meaning, above the bits of its code.
        codes.build(&lengths, |symbol| u8::try_from(symbol << 3).unwrap_or(0))?;
        let mut all = [0; LITERALS + DISTANCES];
        let all = all.get_mut(..literals + distances)?;
        let mut at = 0;
        while at < all.len() {
            bits.fill();
            let meaning = codes.look_up(bits.window);
            let code_bits = u32::from(meaning & 7);
            if code_bits == 0 {
                return None;
            }
            bits.take(code_bits)?;
            let (value, times) = match meaning >> 3 {
                16 => (*all.get(at.checked_sub(1)?)?, 3 + bits.take(2)?),
                17 => (0, 3 + bits.take(3)?),
                18 => (0, 11 + bits.take(7)?),
                length => (length, 1),
            };
            all.get_mut(at..at + times)?.fill(value);
            at += times;
        }
        let (literals, distances) = all.split_at_checked(literals)?;
        self.build(literals, distances)
    }

    fn build(&mut self, literals: &[u8], distances: &[u8]) -> Option<()> {
        self.literals.build(literals, |symbol| match symbol {
            ..END_OF_BLOCK => 0,
            END_OF_BLOCK => IS_END,
            _ => IS_LENGTH + length_bits(symbol - END_OF_BLOCK - 1),
        })?;
        self.distances.build(distances, distance_bits)
    }

    /// Passes by the symbols of a block.
    fn skip_block(&self, bits: &mut Bits<'_>) -> Option<()> {
        loop {
            // A length and a distance with all that belongs to them are 48 bits at most.
            bits.fill();
            let meaning = self.literals.look_up(bits.window);
            if meaning == 0 || bits.is_over() {
                return None;
            }
            bits.drop_bits(u32::from(meaning & BITS));
            if meaning & IS_END != 0 {
                return Some(());
            }
            if meaning & IS_LENGTH != 0 {
                let distance = self.distances.look_up(bits.window);
                if distance == 0 {
                    return None;
                }
                bits.drop_bits(u32::from(distance & BITS));
            }
        }
    }
}

/// How many bits say more about a length; the first length has number 0.
fn length_bits(number: usize) -> Meaning {
    match number {
        28.. => 0,
        number => u8::try_from(number / 4).unwrap_or(0).saturating_sub(1),
    }
}

/// How many bits say more about a distance.
fn distance_bits(symbol: usize) -> Meaning {
    u8::try_from(symbol / 2).unwrap_or(0).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use libdeflater::{CompressionLvl, Compressor};
    use testkit::Random;

    use super::*;

    fn inflate(stream: &[u8]) -> Vec<u8> {
        let mut back = Vec::new();
        let mut decoder = flate2::read::DeflateDecoder::new(stream);
        decoder.read_to_end(&mut back).unwrap();
        assert_eq!(decoder.total_in(), stream.len() as u64);
        back
    }

    fn deflate(bytes: &[u8], level: i32) -> Vec<u8> {
        let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap());
        let mut out = vec![0; compressor.deflate_compress_bound(bytes.len())];
        let size = compressor.deflate_compress(bytes, &mut out).unwrap();
        out.truncate(size);
        out
    }

    /// Bytes of several natures, one behind the other: noise, a few letters, repetitions.
    fn mixture(random: &mut Random, size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let count = usize::try_from(random.below(20_000)).unwrap();
            match random.below(4) {
                0 => bytes.extend(random.noise(count)),
                1 => {
                    let letters = 1 + random.below(40);
                    bytes.extend(
                        (0..count).map(|_| b'0' + u8::try_from(random.below(letters)).unwrap()),
                    );
                }
                2 => bytes.extend((0..count).map(|at| b"abcdefghijk"[at % 11])),
                _ => bytes.resize(bytes.len() + count, 0),
            }
        }
        bytes
    }

    #[test]
    fn stretches_of_every_level_make_one_stream() {
        let mut random = Random::new(1);
        let (mut stream, mut plain) = (Vec::new(), Vec::new());
        for round in 0..60 {
            let size = usize::try_from(random.below(1 << (round % 19))).unwrap();
            let bytes = mixture(&mut random, size);
            // Zlib's streams end the same way, and its blocks are others.
            let deflated = match round % 13 {
                0 => {
                    let mut out = Vec::new();
                    let level = flate2::Compression::new(u32::try_from(round % 10).unwrap());
                    let mut encoder = flate2::read::DeflateEncoder::new(bytes.as_slice(), level);
                    encoder.read_to_end(&mut out).unwrap();
                    out
                }
                level => deflate(&bytes, level),
            };
            stream.extend(open_end(&deflated).unwrap());
            plain.extend(bytes);
        }
        stream.extend(super::super::deflate::END);
        assert_eq!(inflate(&stream), plain);
    }

    #[test]
    fn what_is_no_stream_is_refused() {
        let mut random = Random::new(2);
        let bytes = mixture(&mut random, 50_000);
        let good = deflate(&bytes, 1);
        assert!(open_end(&[]).is_none());
        assert!(open_end(&good[..good.len() - 1]).is_none());
        assert!(open_end(&[&good[..], &[0]].concat()).is_none());
        for _ in 0..2000 {
            let mut bad = good.clone();
            let at = usize::try_from(random.below(bad.len() as u64)).unwrap();
            bad[at] ^= 1 << random.below(8);
            // It ends, and does not panic.
            let _ = open_end(&bad);
            let _ = open_end(&random.noise(at.min(500)));
        }
    }
}
