//! MD4 (RFC 1320) over several messages of one length at a time.
//!
//! MD4 is a chain of dependent additions: one message leaves most of a processor idle. Several
//! side by side fill it, and the compiler turns the lanes into vector instructions.

/// How many messages are hashed side by side where there are that many.
pub(super) const LANES: usize = 8;

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Order of the words and shifts of the second and third round.
const SECOND: [usize; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
const THIRD: [usize; 16] = [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15];
const SHIFTS: [[u32; 4]; 3] = [[3, 7, 11, 19], [3, 5, 9, 13], [3, 9, 11, 15]];

type Lane<const N: usize> = [u32; N];

/// MD4 of each message. All must be of one length.
pub(super) fn md4<const N: usize>(messages: [&[u8]; N]) -> [[u8; 16]; N] {
    let length = messages.first().map_or(0, |message| message.len());
    debug_assert!(messages.iter().all(|message| message.len() == length));

    let mut state = START.map(|word| [word; N]);
    let whole = length / 64;
    for index in 0..whole {
        let blocks = messages.map(|message| {
            let block = message
                .get(index * 64..)
                .and_then(<[u8]>::first_chunk::<64>);
            block.copied().unwrap_or([0; 64])
        });
        absorb(&mut state, &blocks);
    }
    // The rest, a one bit, zeros, and the length in bits: one or two blocks more.
    let tails = messages.map(|message| {
        let rest = message.get(whole * 64..).unwrap_or_default();
        let mut tail = [0; 128];
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
        if let Some(end) = tail.get_mut(rest.len()) {
            *end = 0x80;
        }
        let end = if rest.len() < 56 { 64 } else { 128 };
        let bits = (length as u64).wrapping_mul(8).to_le_bytes();
        if let Some(place) = tail.get_mut(end - 8..end) {
            place.copy_from_slice(&bits);
        }
        tail
    });
    let halves = if length % 64 < 56 { 1 } else { 2 };
    for half in 0..halves {
        let blocks = tails.map(|tail| {
            tail.get(half * 64..)
                .and_then(<[u8]>::first_chunk::<64>)
                .copied()
                .unwrap_or([0; 64])
        });
        absorb(&mut state, &blocks);
    }

    let mut digests = [[0; 16]; N];
    for (lane, digest) in digests.iter_mut().enumerate() {
        for (word, bytes) in state.iter().zip(digest.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&word[lane].to_le_bytes());
        }
    }
    digests
}

#[inline]
fn absorb<const N: usize>(state: &mut [Lane<N>; 4], blocks: &[[u8; 64]; N]) {
    let mut words = [[0; N]; 16];
    for (lane, block) in blocks.iter().enumerate() {
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            word[lane] = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..16 {
        let next = turn(a, &words[step], SHIFTS[0][step % 4], 0, |lane| {
            (b[lane] & c[lane]) | (!b[lane] & d[lane])
        });
        (a, d, c, b) = (d, c, b, next);
    }
    for step in 0..16 {
        let next = turn(
            a,
            &words[SECOND[step]],
            SHIFTS[1][step % 4],
            0x5a82_7999,
            |lane| (b[lane] & c[lane]) | (b[lane] & d[lane]) | (c[lane] & d[lane]),
        );
        (a, d, c, b) = (d, c, b, next);
    }
    for step in 0..16 {
        let next = turn(
            a,
            &words[THIRD[step]],
            SHIFTS[2][step % 4],
            0x6ed9_eba1,
            |lane| b[lane] ^ c[lane] ^ d[lane],
        );
        (a, d, c, b) = (d, c, b, next);
    }
    for (sum, word) in state.iter_mut().zip([a, b, c, d]) {
        for (sum, word) in sum.iter_mut().zip(word) {
            *sum = sum.wrapping_add(word);
        }
    }
}

#[inline(always)]
fn turn<const N: usize>(
    a: Lane<N>,
    word: &Lane<N>,
    shift: u32,
    constant: u32,
    mix: impl Fn(usize) -> u32,
) -> Lane<N> {
    let mut out = [0; N];
    for (lane, out) in out.iter_mut().enumerate() {
        let sum = a[lane].wrapping_add(mix(lane)).wrapping_add(word[lane]);
        *out = sum.wrapping_add(constant).rotate_left(shift);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 16]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

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
            assert_eq!(hex(digest_of), digest);
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
