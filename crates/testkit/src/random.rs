//! Random numbers that are the same every time.

/// A generator of random numbers that gives the same ones for the same seed on every machine
/// and in every release.
///
/// Not for secrets. (SplitMix64, by Sebastiano Vigna: one addition and three mixing steps a
/// number.)
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator at its beginning.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A generator of its own for a named thing: a file's content then depends on the seed and
    /// the file's name alone, not on the order in which files are made.
    #[must_use]
    pub fn named(seed: u64, name: &[u8]) -> Self {
        let mut random = Self::new(seed);
        for &byte in name {
            random.state = random.state.rotate_left(9) ^ u64::from(byte);
            random.state = random.next_u64();
        }
        random
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `limit` - 1; 0 when `limit` is 0.
    ///
    /// Slightly uneven for enormous limits, which no test minds.
    pub fn below(&mut self, limit: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(limit);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// An index into something that has `len` elements.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    ///
    /// # Panics
    ///
    /// When there is nothing to choose from.
    pub fn choose<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// Fills a buffer with noise: nothing can compress it.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        let mut words = buffer.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next_u64().to_le_bytes());
        }
        let rest = words.into_remainder();
        let last = self.next_u64().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }

    /// Noise of a length.
    #[must_use]
    pub fn noise(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_never_change() {
        let mut random = Random::new(1234567);
        // The published test vector of SplitMix64.
        assert_eq!(random.next_u64(), 6_457_827_717_110_365_317);
        assert_eq!(random.next_u64(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn names_give_streams_of_their_own() {
        let first = Random::named(1, b"a").next_u64();
        assert_eq!(first, Random::named(1, b"a").next_u64());
        assert_ne!(first, Random::named(1, b"b").next_u64());
        assert_ne!(first, Random::named(2, b"a").next_u64());
    }

    #[test]
    fn a_limit_holds_and_every_number_below_it_comes() {
        let mut random = Random::new(7);
        let mut seen = [0; 6];
        for _ in 0..600 {
            seen[random.index(6)] += 1;
        }
        assert!(seen.iter().all(|&times| times > 50), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn noise_fills_odd_lengths_too() {
        for len in [0, 1, 7, 8, 9, 100] {
            assert_eq!(Random::new(1).noise(len).len(), len);
        }
    }
}
