//! MD4 (RFC 1320) over several messages at a time.
//!
//! MD4 is a chain of dependent additions: one message leaves most of a processor idle. Several
//! side by side fill it, and the compiler turns the lanes into vector instructions.

/// How many messages are hashed side by side where there are that many.
pub(super) const LANES: usize = 8;

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Order of the words in the second and third round, four steps a row.
const SECOND: [[usize; 4]; 4] = [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]];
const THIRD: [[usize; 4]; 4] = [[0, 8, 4, 12], [2, 10, 6, 14], [1, 9, 5, 13], [3, 11, 7, 15]];

type Lane<const N: usize> = [u32; N];

/// Bytes that are absorbed at a time.
const BLOCK: usize = 64;

/// MD4 of each message. Those that are shorter than others end earlier.
#[inline(always)]
pub(super) fn md4<const N: usize>(messages: [&[u8]; N]) -> [[u8; 16]; N] {
    let mut state = START.map(|word| [word; N]);
    let mut digests = [[0; 16]; N];
    let mut lengths = [0; N];
    for (length, message) in lengths.iter_mut().zip(messages) {
        *length = message.len();
    }
    let whole = lengths.iter().map(|length| length / BLOCK).min();
    let whole = whole.unwrap_or(0);
    for index in 0..whole {
        let mut blocks = [&[0; BLOCK]; N];
        for (block, message) in blocks.iter_mut().zip(messages) {
            let at = message.get(index * BLOCK..);
            *block = at.and_then(<[u8]>::first_chunk).unwrap_or(&[0; BLOCK]);
        }
        absorb(&mut state, blocks);
    }
    let all = lengths.iter().map(|&length| block_count(length)).max();
    for index in whole..all.unwrap_or(0) {
        let mut padded = [[0; BLOCK]; N];
        for (block, message) in padded.iter_mut().zip(messages) {
            pad(message, index, block);
        }
        let mut blocks = [&[0; BLOCK]; N];
        for (block, padded) in blocks.iter_mut().zip(&padded) {
            *block = padded;
        }
        absorb(&mut state, blocks);
        for (lane, (digest, length)) in digests.iter_mut().zip(lengths).enumerate() {
            if block_count(length) == index + 1 {
                for (word, bytes) in state.iter().zip(digest.chunks_exact_mut(4)) {
                    bytes.copy_from_slice(&word[lane].to_le_bytes());
                }
            }
        }
    }
    digests
}

/// How many blocks a message of this length is with what is put behind it: a one bit, zeros, and
/// the length in eight bytes.
fn block_count(length: usize) -> usize {
    (length + 8) / BLOCK + 1
}

/// A block of a message and what is put behind that.
fn pad(message: &[u8], index: usize, block: &mut [u8; BLOCK]) {
    let rest = message.get(index * BLOCK..).unwrap_or_default();
    for (to, from) in block.iter_mut().zip(rest) {
        *to = *from;
    }
    let begins_in = message.len() / BLOCK;
    if index == begins_in
        && let Some(end) = block.get_mut(message.len() % BLOCK)
    {
        *end = 0x80;
    }
    if index + 1 == block_count(message.len()) {
        let bits = (message.len() as u64).wrapping_mul(8).to_le_bytes();
        if let Some(place) = block.last_chunk_mut() {
            *place = bits;
        }
    }
}

#[inline(always)]
fn absorb<const N: usize>(state: &mut [Lane<N>; 4], blocks: [&[u8; BLOCK]; N]) {
    let mut words = [[0; N]; 16];
    for (lane, block) in blocks.iter().enumerate() {
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            word[lane] = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    let [mut a, mut b, mut c, mut d] = *state;
    let choose = |x: u32, y: u32, z: u32| (x & y) | (!x & z);
    let majority = |x: u32, y: u32, z: u32| (x & y) | (x & z) | (y & z);
    let parity = |x: u32, y: u32, z: u32| x ^ y ^ z;
    for row in words.as_chunks::<4>().0 {
        a = turn::<N, 3>([a, b, c, d], &row[0], 0, choose);
        d = turn::<N, 7>([d, a, b, c], &row[1], 0, choose);
        c = turn::<N, 11>([c, d, a, b], &row[2], 0, choose);
        b = turn::<N, 19>([b, c, d, a], &row[3], 0, choose);
    }
    for row in SECOND {
        a = turn::<N, 3>([a, b, c, d], &words[row[0]], 0x5a82_7999, majority);
        d = turn::<N, 5>([d, a, b, c], &words[row[1]], 0x5a82_7999, majority);
        c = turn::<N, 9>([c, d, a, b], &words[row[2]], 0x5a82_7999, majority);
        b = turn::<N, 13>([b, c, d, a], &words[row[3]], 0x5a82_7999, majority);
    }
    for row in THIRD {
        a = turn::<N, 3>([a, b, c, d], &words[row[0]], 0x6ed9_eba1, parity);
        d = turn::<N, 9>([d, a, b, c], &words[row[1]], 0x6ed9_eba1, parity);
        c = turn::<N, 11>([c, d, a, b], &words[row[2]], 0x6ed9_eba1, parity);
        b = turn::<N, 15>([b, c, d, a], &words[row[3]], 0x6ed9_eba1, parity);
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d]) {
        for (sum, word) in sum.iter_mut().zip(word) {
            *sum = sum.wrapping_add(word);
        }
    }
}

/// One step in every lane: `SHIFT` is a constant so that the rotation is one, too.
#[inline(always)]
fn turn<const N: usize, const SHIFT: u32>(
    [a, b, c, d]: [Lane<N>; 4],
    word: &Lane<N>,
    constant: u32,
    mix: impl Fn(u32, u32, u32) -> u32,
) -> Lane<N> {
    let mut out = [0; N];
    for (lane, out) in out.iter_mut().enumerate() {
        let mixed = mix(b[lane], c[lane], d[lane]);
        let sum = a[lane].wrapping_add(mixed).wrapping_add(word[lane]);
        *out = sum.wrapping_add(constant).rotate_left(SHIFT);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test suite of RFC 1320.
    #[test]
    fn the_rfc_agrees() {
        for (message, digest) in [
            ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
            ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
            ("message digest", "d9130a8164549fe818874806e1c7014b"),
            (
                "abcdefghijklmnopqrstuvwxyz",
                "d79e1c308aa5bbcdeea8ed63df412da9",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "e33b4ddc9c38f2199c3e7b164fcc0536",
            ),
        ] {
            let [digest_of] = md4([message.as_bytes()]);
            assert_eq!(hex::encode(digest_of), digest);
        }
    }

    #[test]
    fn lanes_may_be_of_several_lengths() {
        let bytes: Vec<u8> = (0..200).collect();
        for start in 0..130 {
            let lanes: [&[u8]; LANES] =
                std::array::from_fn(|lane| &bytes[..(start + lane * 11) % 190]);
            for (together, message) in md4(lanes).iter().zip(lanes) {
                let [alone] = md4([message]);
                assert_eq!(*together, alone, "{}", message.len());
            }
        }
    }

    #[test]
    fn lanes_do_not_mix() {
        for length in [0, 1, 55, 56, 63, 64, 65, 119, 120, 512, 1000] {
            let messages: Vec<Vec<u8>> = (0..LANES)
                .map(|lane| vec![lane.to_le_bytes()[0]; length])
                .collect();
            let lanes: [&[u8]; LANES] = std::array::from_fn(|lane| messages[lane].as_slice());
            for (together, message) in md4(lanes).iter().zip(lanes) {
                let [alone] = md4([message]);
                assert_eq!(*together, alone, "{length}");
            }
        }
    }
}
