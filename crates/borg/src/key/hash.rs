//! Hashes with a key: ids of chunks and MACs of what is stored.

use blake2b_simd::{Params, State, many};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Bytes of every hash.
const HASH_SIZE: usize = 32;

/// A hash function that has absorbed its key.
pub(super) enum Hasher {
    /// Without a key.
    Sha256(Sha256),
    /// HMAC-SHA256, both of its inner states prepared.
    HmacSha256(Hmac<Sha256>),
    /// BLAKE2b-256 over key and data; the key is not used in BLAKE2b's own keyed mode.
    Blake2b(Box<State>),
}

impl Hasher {
    pub(super) fn sha256() -> Self {
        Self::Sha256(Sha256::new())
    }

    pub(super) fn hmac_sha256(key: &[u8]) -> Self {
        match Hmac::new_from_slice(key) {
            Ok(hmac) => Self::HmacSha256(hmac),
            Err(_) => unreachable!("HMAC takes a key of any length"),
        }
    }

    pub(super) fn blake2b(key: &[u8]) -> Self {
        let mut state = Params::new().hash_length(HASH_SIZE).to_state();
        state.update(key);
        Self::Blake2b(Box::new(state))
    }

    /// The hash of one buffer.
    pub(super) fn hash(&self, bytes: &[u8]) -> [u8; HASH_SIZE] {
        match self {
            Self::Sha256(sha256) => sha256.clone().chain_update(bytes).finalize().into(),
            Self::HmacSha256(hmac) => hmac
                .clone()
                .chain_update(bytes)
                .finalize()
                .into_bytes()
                .into(),
            Self::Blake2b(state) => digest(state.as_ref().clone().update(bytes)),
        }
    }

    /// The function that hashes what comes behind `prefix`.
    ///
    /// BLAKE2b works on a block when more comes behind it. So the work on its key, a whole block, is done
    /// here once, where `prefix` is not empty, and not for each buffer again.
    pub(super) fn after(&self, prefix: &[u8]) -> Self {
        match self {
            Self::Sha256(sha256) => Self::Sha256(sha256.clone().chain_update(prefix)),
            Self::HmacSha256(hmac) => Self::HmacSha256(hmac.clone().chain_update(prefix)),
            Self::Blake2b(state) => {
                let mut state = state.clone();
                state.update(prefix);
                Self::Blake2b(state)
            }
        }
    }

    /// The hashes of many buffers, in their order; BLAKE2b's in parallel lanes.
    pub(super) fn hash_many(&self, buffers: &[&[u8]]) -> Vec<[u8; HASH_SIZE]> {
        let jobs: Vec<_> = buffers.iter().map(|&buffer| (self, buffer)).collect();
        hash_jobs(&jobs)
    }
}

/// The hash of each buffer by the function beside it, in their order; BLAKE2b's in parallel lanes.
pub(super) fn hash_jobs(jobs: &[(&Hasher, &[u8])]) -> Vec<[u8; HASH_SIZE]> {
    let states: Option<Vec<State>> = jobs
        .iter()
        .map(|(hasher, _)| match hasher {
            Hasher::Blake2b(keyed) if jobs.len() > 1 => Some(keyed.as_ref().clone()),
            _ => None,
        })
        .collect();
    let Some(mut states) = states else {
        return jobs
            .iter()
            .map(|(hasher, buffer)| hasher.hash(buffer))
            .collect();
    };
    // The longest first: then the lanes end at about the same time.
    let mut in_turn: Vec<_> = states
        .iter_mut()
        .zip(jobs.iter().map(|job| job.1))
        .collect();
    in_turn.sort_by_key(|(_, buffer)| std::cmp::Reverse(buffer.len()));
    many::update_many(in_turn);
    states.iter().map(digest).collect()
}

fn digest(state: &State) -> [u8; HASH_SIZE] {
    let mut digest = [0; HASH_SIZE];
    digest.copy_from_slice(state.finalize().as_bytes());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: [u8; HASH_SIZE]) -> String {
        crate::Id(hash).to_string()
    }

    /// RFC 4231, test case 2, and FIPS 180-2, "abc".
    #[test]
    fn published_vectors() {
        assert_eq!(
            hex(Hasher::sha256().hash(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(Hasher::hmac_sha256(b"Jefe").hash(b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    /// Borg uses no keyed mode of its own: the key is the beginning of the data.
    #[test]
    fn the_key_of_blake2b_is_a_prefix() {
        let plain = Params::new().hash_length(32).hash(b"keydata");
        assert_eq!(Hasher::blake2b(b"key").hash(b"data"), plain.as_bytes());
    }

    #[test]
    fn many_at_once_are_the_same_as_one_after_the_other() {
        let bytes: Vec<u8> = (0..20_000u32)
            .map(|i| ((i * i) >> 5).to_le_bytes()[0])
            .collect();
        for hasher in [
            Hasher::sha256(),
            Hasher::hmac_sha256(&[7; 32]),
            Hasher::blake2b(&[7; 128]),
            Hasher::blake2b(&[7; 100]),
        ] {
            let whole = hasher.hash(&bytes[..300]);
            for length in [0, 1, 127, 128, 129, 300] {
                let (prefix, rest) = bytes[..300].split_at(length);
                assert_eq!(hasher.after(prefix).hash(rest), whole);
            }
            for count in [0, 1, 2, 3, 4, 5, 9, 17] {
                let buffers: Vec<&[u8]> = (0..count)
                    .map(|i| &bytes[i..][..[0, 1, 127, 128, 129, 5000, 20_000 - 17][i % 7]])
                    .collect();
                let single: Vec<_> = buffers.iter().map(|b| hasher.hash(b)).collect();
                assert_eq!(hasher.hash_many(&buffers), single);
            }
        }
    }
}
