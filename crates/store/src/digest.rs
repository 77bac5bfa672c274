//! The checksums that services compute over what they hold.

use std::io::{self, Read};

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::Content;

/// Source: Dropbox's content hash is taken over blocks of 4 MiB.
const DROPBOX_BLOCK: usize = 4 * 1024 * 1024;

/// A checksum of a whole object, as its service tells it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Digest {
    /// MD5: Google Drive, and S3 for objects uploaded in one piece.
    Md5([u8; 16]),
    /// SHA-1: Backblaze B2.
    Sha1([u8; 20]),
    /// SHA-256: S3 where asked for, Google Drive.
    Sha256([u8; 32]),
    /// SHA-256 of the SHA-256 of each block of 4 MiB: Dropbox.
    Dropbox([u8; 32]),
}

impl Digest {
    /// The checksum as lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        match self {
            Self::Md5(bytes) => hex::encode(bytes),
            Self::Sha1(bytes) => hex::encode(bytes),
            Self::Sha256(bytes) | Self::Dropbox(bytes) => hex::encode(bytes),
        }
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self {
            Self::Md5(_) => "md5",
            Self::Sha1(_) => "sha1",
            Self::Sha256(_) => "sha256",
            Self::Dropbox(_) => "dropbox",
        };
        write!(f, "{name}:{}", self.to_hex())
    }
}

/// Which checksum to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestKind {
    /// See [`Digest::Md5`].
    Md5,
    /// See [`Digest::Sha1`].
    Sha1,
    /// See [`Digest::Sha256`].
    Sha256,
    /// See [`Digest::Dropbox`].
    Dropbox,
}

/// As its maker writes it.
impl std::fmt::Display for DigestKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Md5 => "MD5",
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Dropbox => "Dropbox content hash",
        })
    }
}

/// Computes a checksum as bytes come by.
pub struct Hasher(State);

enum State {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(Sha256),
    Dropbox {
        block: Sha256,
        filled: usize,
        blocks: Sha256,
    },
}

impl Hasher {
    /// Starts with no bytes.
    #[must_use]
    pub fn new(kind: DigestKind) -> Self {
        Self(match kind {
            DigestKind::Md5 => State::Md5(Md5::new()),
            DigestKind::Sha1 => State::Sha1(Sha1::new()),
            DigestKind::Sha256 => State::Sha256(Sha256::new()),
            DigestKind::Dropbox => State::Dropbox {
                block: Sha256::new(),
                filled: 0,
                blocks: Sha256::new(),
            },
        })
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        match &mut self.0 {
            State::Md5(hash) => hash.update(bytes),
            State::Sha1(hash) => hash.update(bytes),
            State::Sha256(hash) => hash.update(bytes),
            State::Dropbox {
                block,
                filled,
                blocks,
            } => {
                while !bytes.is_empty() {
                    let (now, later) = bytes.split_at(bytes.len().min(DROPBOX_BLOCK - *filled));
                    block.update(now);
                    *filled += now.len();
                    bytes = later;
                    if *filled == DROPBOX_BLOCK {
                        blocks.update(block.finalize_reset());
                        *filled = 0;
                    }
                }
            }
        }
    }

    /// The checksum of all bytes.
    #[must_use]
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Md5(hash) => Digest::Md5(hash.finalize().into()),
            State::Sha1(hash) => Digest::Sha1(hash.finalize().into()),
            State::Sha256(hash) => Digest::Sha256(hash.finalize().into()),
            State::Dropbox {
                block,
                filled,
                mut blocks,
            } => {
                if filled > 0 {
                    blocks.update(block.finalize());
                }
                Digest::Dropbox(blocks.finalize().into())
            }
        }
    }
}

/// Reads `content` once and gives its checksum.
///
/// # Errors
///
/// What the content's reader says, or that it ended early.
pub fn digest_of(content: &dyn Content, kind: DigestKind) -> io::Result<Digest> {
    let mut hasher = Hasher::new(kind);
    let mut reader = content.open(0)?;
    let mut buffer = vec![0; 128 * 1024];
    let mut total = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        total += count as u64;
        hasher.update(&buffer[..count]);
    }
    if total != content.size() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the content ended early",
        ));
    }
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], kind: DigestKind, expected: &str) {
        assert_eq!(digest_of(&bytes.to_vec(), kind).unwrap().to_hex(), expected);
    }

    #[test]
    fn digests_of_nothing_and_of_a_word() {
        check(b"", DigestKind::Md5, "d41d8cd98f00b204e9800998ecf8427e");
        check(
            b"abc",
            DigestKind::Sha1,
            "a9993e364706816aba3e25717850c26c9cd0d89d",
        );
        check(
            b"abc",
            DigestKind::Sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        );
        check(
            b"",
            DigestKind::Dropbox,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        );
    }

    #[test]
    fn dropbox_hashes_the_hashes_of_blocks_however_the_bytes_come() {
        let bytes = vec![7; DROPBOX_BLOCK * 2 + 5];
        let mut blocks = Sha256::new();
        for block in bytes.chunks(DROPBOX_BLOCK) {
            blocks.update(Sha256::digest(block));
        }
        let expected = Digest::Dropbox(blocks.finalize().into());
        let mut hasher = Hasher::new(DigestKind::Dropbox);
        for piece in bytes.chunks(1_000_003) {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), expected);
    }
}
