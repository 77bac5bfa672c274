//! The weak checksum: it moves along a file at a few operations a byte.

/// Added to every byte, so that zeros count. Source: `ROLLSUM_CHAR_OFFSET` in librsync.
const OFFSET: u32 = 31;

/// How many bytes are summed up at a time.
const PIECE: usize = 32;
const PIECE_U32: u32 = 32;

/// How often each byte of a piece counts in the weighted sum.
const WEIGHTS: [i16; PIECE] = {
    let (mut weights, mut at, mut weight) = ([0; PIECE], PIECE, 1);
    while at > 0 {
        at -= 1;
        weights[at] = weight;
        weight += 1;
    }
    weights
};

/// rsync's rolling sum in librsync's variant.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rollsum {
    sum: u32,
    weighted: u32,
}

impl Rollsum {
    /// The sum of a block.
    #[inline(always)]
    pub(super) fn of(block: &[u8]) -> Self {
        let mut whole = Self::default();
        let (pieces, rest) = block.as_chunks::<PIECE>();
        for piece in pieces {
            // Within a piece nothing depends on the piece before, so the additions run side by side.
            // Wrapping, as checks would keep them from it.
            let (mut sum, mut weighted) = (0_i32, 0_i32);
            for (weight, byte) in WEIGHTS.iter().zip(piece) {
                let (weight, byte) = (i32::from(*weight), i32::from(*byte));
                sum = sum.wrapping_add(byte);
                weighted = weighted.wrapping_add(weight.wrapping_mul(byte));
            }
            let [sum, weighted] = [sum, weighted].map(i32::cast_unsigned);
            whole.weighted = whole
                .weighted
                .wrapping_add(whole.sum.wrapping_mul(PIECE_U32))
                .wrapping_add(weighted)
                .wrapping_add(OFFSET * (PIECE_U32 * (PIECE_U32 + 1) / 2));
            whole.sum = whole.sum.wrapping_add(sum).wrapping_add(OFFSET * PIECE_U32);
        }
        for byte in rest {
            whole.sum = whole.sum.wrapping_add(u32::from(*byte) + OFFSET);
            whole.weighted = whole.weighted.wrapping_add(whole.sum);
        }
        whole
    }

    /// Moves the window of `length` bytes on by one.
    #[inline]
    pub(super) fn roll(&mut self, out: u8, into: u8, length: u32) {
        self.sum = self
            .sum
            .wrapping_add(u32::from(into))
            .wrapping_sub(u32::from(out));
        self.weighted = self
            .weighted
            .wrapping_add(self.sum)
            .wrapping_sub(length.wrapping_mul(u32::from(out) + OFFSET));
    }

    /// Takes the first byte out of a window of `length` bytes.
    #[inline]
    pub(super) fn shrink(&mut self, out: u8, length: u32) {
        let out = u32::from(out) + OFFSET;
        self.sum = self.sum.wrapping_sub(out);
        self.weighted = self.weighted.wrapping_sub(length.wrapping_mul(out));
    }

    /// The checksum, as signatures hold it.
    #[inline]
    pub(super) fn digest(self) -> u32 {
        (self.weighted << 16) | (self.sum & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(block: &[u8]) -> u32 {
        let (mut sum, mut weighted) = (0_u32, 0_u32);
        for &byte in block {
            sum = sum.wrapping_add(u32::from(byte) + OFFSET);
            weighted = weighted.wrapping_add(sum);
        }
        (weighted << 16) | (sum & 0xffff)
    }

    #[test]
    fn rolling_gives_what_starting_anew_gives() {
        let bytes: Vec<u8> = (0..5000_u32)
            .map(|i| (i * i / 7).to_le_bytes()[0])
            .collect();
        for length in [1, 15, 16, 17, 31, 32, 33, 512] {
            let mut sum = Rollsum::of(&bytes[..length]);
            for start in 0..bytes.len() - length {
                assert_eq!(sum.digest(), plain(&bytes[start..start + length]));
                sum.roll(
                    bytes[start],
                    bytes[start + length],
                    u32::try_from(length).unwrap(),
                );
            }
            for start in bytes.len() - length..bytes.len() {
                assert_eq!(sum.digest(), plain(&bytes[start..]));
                sum.shrink(bytes[start], u32::try_from(bytes.len() - start).unwrap());
            }
        }
    }
}
