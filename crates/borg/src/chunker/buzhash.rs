//! The rolling hash, in a form without a chain from byte to byte.
//!
//! The hash of a window of `w` bytes `b` is the exclusive or of `rotl(T[b(j)], w-1-j)`, `T` being
//! the table of numbers. With prefixes `P(n)`, the exclusive or of `rotr(T[b(j)], j)` for all
//! `j < n`, the hash of the window at `i` is `rotl(P(i+w) ^ P(i), i+w-1)`, and its low bits are
//! zero exactly if `(P(i+w) ^ P(i)) & rotr(mask, i+w-1)` is zero. So each byte is looked up once,
//! and the test needs nothing from its neighbours: processors do many of them at a time.

use super::table;
#[cfg(target_arch = "x86_64")]
use super::vbmi::{self, Vbmi};

/// Finds cuts. Holds the table of one repository.
pub(super) struct Buzhash {
    table: Box<[u32; 256]>,
    window: usize,
    mask: u32,
    /// Prefixes of the bytes last looked at.
    prefixes: Vec<u32>,
    /// A faster form, where the processor has it and the window is the usual one.
    #[cfg(target_arch = "x86_64")]
    vbmi: Option<Vbmi>,
}

/// Bytes looked up between two rounds of tests.
const BLOCK: usize = 1024;

/// Rotations repeat after so many bytes.
const CYCLE: usize = 32;

impl Buzhash {
    /// `window` is odd, `mask_bits` at most 32.
    pub(super) fn new(seed: u32, window: usize, mask_bits: u8) -> Self {
        let mask = u32::try_from((1u64 << mask_bits) - 1).unwrap_or(u32::MAX);
        let table = table::seeded(seed);
        Self {
            #[cfg(target_arch = "x86_64")]
            vbmi: (window == vbmi::WINDOW)
                .then(|| Vbmi::new(&table, mask))
                .flatten(),
            table,
            window,
            mask,
            prefixes: Vec::new(),
        }
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Whether a window of zeros is a place to cut.
    pub(super) fn cuts_zeros(&self) -> bool {
        hash(&self.table, std::iter::repeat_n(0, self.window)) & self.mask == 0
    }

    /// The first place to cut `data` at or behind `from`, or else the first place that has not
    /// been looked at.
    ///
    /// Only places with more than a window of bytes behind them count. All of them are looked
    /// at if these are the `last` bytes; otherwise some may be left for when there are more.
    pub(super) fn find(&mut self, data: &[u8], from: usize, last: bool) -> Result<usize, usize> {
        let to = data.len().saturating_sub(self.window);
        let Some(bytes) = data.get(from..).filter(|_| from < to) else {
            return Err(from);
        };
        #[cfg(target_arch = "x86_64")]
        if let Some(vbmi) = &mut self.vbmi {
            let looked_at = match vbmi.find(bytes) {
                Ok(cut) => return Ok(from + cut),
                Err(count) => from + count,
            };
            if !last {
                return Err(looked_at);
            }
            let rest = data.get(looked_at..).unwrap_or_default();
            return match self.find_portable(rest, to - looked_at) {
                Some(cut) => Ok(looked_at + cut),
                None => Err(to),
            };
        }
        let _ = last;
        match self.find_portable(bytes, to - from) {
            Some(cut) => Ok(from + cut),
            None => Err(to),
        }
    }

    /// The first of the places `0..count` to cut `bytes`, which go on for a window behind them.
    fn find_portable(&mut self, bytes: &[u8], count: usize) -> Option<usize> {
        let window = self.window;
        // The prefixes of a window and of what is looked up ahead; moved to the front when they
        // reach the end.
        let size = (window + 16 * BLOCK).next_multiple_of(BLOCK);
        self.prefixes.resize(size, 0);
        let masks = masks(self.mask, window);
        let mut prefix = 0;
        // Of `prefixes`: the first stands for this place, and so many of them are there.
        let (mut base, mut filled) = (0, 0);
        let mut tested = 0;
        for block in bytes.chunks(BLOCK) {
            if filled + BLOCK > size {
                let keep = tested - base;
                self.prefixes.copy_within(keep..filled, 0);
                base = tested;
                filled -= keep;
            }
            let room = self.prefixes.get_mut(filled..filled + BLOCK)?;
            prefix = look_up(&self.table, block, prefix, room);
            filled += BLOCK;
            // `P(i + w)` is there for all places before this one, in whole cycles.
            let ready = (base + filled)
                .saturating_sub(window)
                .min(count.next_multiple_of(CYCLE));
            let ready = ready - ready % CYCLE;
            if ready > tested {
                let first = tested - base;
                let behind = self.prefixes.get(first..first + ready - tested)?;
                let ahead = self.prefixes.get(first + window..)?;
                if let Some(at) = test(behind, ahead, &masks) {
                    return Some(tested + at).filter(|&at| at < count);
                }
                tested = ready;
                if tested >= count {
                    return None;
                }
            }
        }
        // The last places lack a whole cycle ahead of them.
        (tested..count).find(|&at| {
            let prefix = |place: usize| self.prefixes.get(place - base).copied().unwrap_or(0);
            let mask = masks.get(at % CYCLE).copied().unwrap_or(0);
            (prefix(at + window) ^ prefix(at)) & mask == 0
        })
    }
}

/// The hash of a window, byte by byte.
fn hash(table: &[u32; 256], window: impl Iterator<Item = u8>) -> u32 {
    window.fold(0, |sum: u32, byte| {
        sum.rotate_left(1) ^ table[usize::from(byte)]
    })
}

/// Rotations of 32 bits repeat.
#[expect(clippy::cast_possible_truncation, reason = "below 32")]
pub(super) const fn rotation(at: usize) -> u32 {
    (at % CYCLE) as u32
}

/// `rotr(mask, i+w-1)` for each `i` of a cycle.
fn masks(mask: u32, window: usize) -> [u32; CYCLE] {
    std::array::from_fn(|i| mask.rotate_right(rotation(i + window - 1)))
}

/// Puts `P(n)` for each byte `n` of the block into `out`, going on from `prefix`. A block shorter
/// than `out` is the last one; behind its end the prefix does not change.
fn look_up(table: &[u32; 256], block: &[u8], mut prefix: u32, out: &mut [u32]) -> u32 {
    let (cycles, rest) = block.as_chunks::<CYCLE>();
    let (out, _) = out.as_chunks_mut::<CYCLE>();
    let mut out = out.iter_mut();
    for (cycle, out) in cycles.iter().zip(&mut out) {
        for i in 0..CYCLE {
            out[i] = prefix;
            prefix ^= table[usize::from(cycle[i])].rotate_right(rotation(i));
        }
    }
    if let Some(out) = out.next() {
        for (i, out) in out.iter_mut().enumerate() {
            *out = prefix;
            if let Some(byte) = rest.get(i) {
                prefix ^= table[usize::from(*byte)].rotate_right(rotation(i));
            }
        }
    }
    for out in out {
        out.fill(prefix);
    }
    prefix
}

/// The first place where the prefixes say that a cut is.
fn test(behind: &[u32], ahead: &[u32], masks: &[u32; CYCLE]) -> Option<usize> {
    let (behind, _) = behind.as_chunks::<CYCLE>();
    let (ahead, _) = ahead.as_chunks::<CYCLE>();
    behind
        .iter()
        .zip(ahead)
        .enumerate()
        .find_map(|(cycle, (behind, ahead))| {
            let misses = |i: usize| (behind[i] ^ ahead[i]) & masks[i] != 0;
            // All of them first, which takes a few instructions; which one, rarely.
            let any = (0..CYCLE).fold(false, |any, i| any | !misses(i));
            any.then(|| (0..CYCLE).find(|&i| !misses(i)))
                .flatten()
                .map(|i| cycle * CYCLE + i)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the definition says it, window by window.
    fn find_plainly(buzhash: &Buzhash, data: &[u8], from: usize) -> Option<usize> {
        (from..data.len().saturating_sub(buzhash.window)).find(|&at| {
            let window = data[at..at + buzhash.window].iter().copied();
            hash(&buzhash.table, window) & buzhash.mask == 0
        })
    }

    /// Stock Borg's answers.
    #[test]
    fn hashes_of_stock_borg() {
        let hash_of = |seed| hash(&table::seeded(seed), b"abcdefghijklmnop".iter().copied());
        assert_eq!(hash_of(0), 0xe239_c8c9);
        assert_eq!(hash_of(1), 0xe239_3736);
    }

    proptest! {
        #[test]
        fn cuts_are_where_the_definition_says(
            seed: u32,
            window in (0..100usize).prop_map(|half| 2 * half + 1),
            mask_bits in 1..14u8,
            data in prop::collection::vec(any::<u8>(), 0..6000),
            from in 0..200usize,
        ) {
            let mut buzhash = Buzhash::new(seed, window, mask_bits);
            let plainly = find_plainly(&buzhash, &data, from);
            prop_assert_eq!(buzhash.find(&data, from, true).ok(), plainly);
        }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut data = vec![0; length];
        crate::Random::fill(&mut crate::SystemRandom, &mut data).unwrap();
        data
    }

    #[test]
    fn long_content_with_the_usual_window() {
        let data = noise(300_000);
        for mask_bits in [10, 14, 30] {
            let mut buzhash = Buzhash::new(7, 4095, mask_bits);
            let rolling = Rolling::new(&buzhash, &data);
            for from in [0, 1, 31, 77_777, 295_000] {
                assert_eq!(buzhash.find(&data, from, true).ok(), rolling.find(from));
            }
        }
    }

    proptest! {
        #[test]
        fn all_forms_find_the_same(
            seed: u32,
            mask_bits in 1..20u8,
            length in 0..30_000usize,
            zeros in 0..20_000usize,
            from in 0..10_000usize,
            more in 0..9000usize,
        ) {
            // Stretches of zeros, where all places look alike.
            let mut data = noise(length);
            data.splice(length / 2..length / 2, std::iter::repeat_n(0, zeros));
            let mut buzhash = Buzhash::new(seed, 4095, mask_bits);
            let to = data.len().saturating_sub(4095);
            let portable = data.get(from..).filter(|_| from < to).and_then(|bytes| {
                buzhash.find_portable(bytes, to - from)
            });
            let expected = portable.map(|at| from + at);
            prop_assert_eq!(buzhash.find(&data, from, true).ok(), expected);
            if data.len() > 4095 {
                let rolling = Rolling::new(&buzhash, &data);
                prop_assert_eq!(rolling.find(from), expected);
            }
            // In two steps, as a stream comes.
            let early = data.len().saturating_sub(more);
            let found = match buzhash.find(&data[..early], from, false) {
                Ok(cut) => Ok(cut),
                Err(looked_at) => buzhash.find(&data, looked_at, true),
            };
            prop_assert_eq!(found.ok(), expected);
        }
    }

    /// The hash rolled from byte to byte, for content too long to hash every window.
    struct Rolling(Vec<bool>);

    impl Rolling {
        fn new(buzhash: &Buzhash, data: &[u8]) -> Self {
            let window = buzhash.window;
            let number = |at: usize| buzhash.table[usize::from(data[at])];
            let mut sum = hash(&buzhash.table, data[..window].iter().copied());
            Self(
                (0..data.len() - window)
                    .map(|at| {
                        let cut = sum & buzhash.mask == 0;
                        sum = sum.rotate_left(1)
                            ^ number(at).rotate_left(rotation(window))
                            ^ number(at + window);
                        cut
                    })
                    .collect(),
            )
        }

        fn find(&self, from: usize) -> Option<usize> {
            (from..self.0.len()).find(|&at| self.0[at])
        }
    }
}
