//! Both checksums of several blocks at a time, with the widest registers that there are.

#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "a call of what was compiled for instructions that not every processor has"
    )
)]

use super::md4::{LANES, md4};
use super::rollsum::Rollsum;

/// The weak and the strong sum of a block.
pub(super) type Sums = (Rollsum, [u8; 16]);

/// The sums of each block of `bytes`: at most [`LANES`], of which the last may be short.
pub(super) fn sums_of(bytes: &[u8], block_length: usize) -> impl Iterator<Item = Sums> {
    let mut blocks: [&[u8]; LANES] = [&[]; LANES];
    for (block, bytes) in blocks.iter_mut().zip(bytes.chunks(block_length)) {
        *block = bytes;
    }
    let count = bytes.len().div_ceil(block_length);
    sums(blocks).into_iter().take(count)
}

fn sums(blocks: [&[u8]; LANES]) -> [Sums; LANES] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for.
        return unsafe { sums_avx2(blocks) };
    }
    sums_here(blocks)
}

/// The same code, for the compiler to make eight lanes of.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sums_avx2(blocks: [&[u8]; LANES]) -> [Sums; LANES] {
    sums_here(blocks)
}

#[inline(always)]
fn sums_here(blocks: [&[u8]; LANES]) -> [Sums; LANES] {
    let mut sums = [Sums::default(); LANES];
    for (sum, strong) in sums.iter_mut().zip(md4(blocks)) {
        sum.1 = strong;
    }
    for (sum, block) in sums.iter_mut().zip(blocks) {
        sum.0 = Rollsum::of(block);
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_do_not_change_sums() {
        let bytes = testkit::Random::new(5).noise(LANES * 700);
        for length in [0, 1, 63, 64, 512, 699] {
            let mut blocks: [&[u8]; LANES] = [&[]; LANES];
            for (lane, block) in blocks.iter_mut().enumerate() {
                *block = &bytes[lane * 700..][..length + lane % 2];
            }
            for ((weak, strong), (plain, portable)) in
                sums(blocks).into_iter().zip(sums_here(blocks))
            {
                assert_eq!(weak.digest(), plain.digest());
                assert_eq!(strong, portable);
            }
        }
    }
}
