//! Contents of any size in little memory: those of several gigabytes are mostly zeros in tests, and
//! blocks of zeros are kept once.

use std::sync::{Arc, LazyLock};

use sha2::{Digest as _, Sha256};

/// What Dropbox's content hash takes at once.
const BLOCK_SIZE: usize = 4 << 20;

static ZEROS: LazyLock<(Arc<Vec<u8>>, [u8; 32])> = LazyLock::new(|| {
    let zeros = vec![0; BLOCK_SIZE];
    let digest = Sha256::digest(&zeros).into();
    (Arc::new(zeros), digest)
});

/// Bytes; clones share them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blocks {
    /// All but the last are full.
    blocks: Vec<Arc<Vec<u8>>>,
}

impl From<&[u8]> for Blocks {
    fn from(bytes: &[u8]) -> Self {
        let mut blocks = Self::default();
        blocks.append(bytes);
        blocks
    }
}

impl Blocks {
    pub(super) fn len(&self) -> usize {
        let last = self.blocks.last().map_or(0, |last| last.len());
        self.blocks.len().saturating_sub(1) * BLOCK_SIZE + last
    }

    pub(super) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let mut last = match self.blocks.pop() {
                Some(last) if last.len() < BLOCK_SIZE => last.to_vec(),
                Some(full) => {
                    self.blocks.push(full);
                    Vec::new()
                }
                None => Vec::new(),
            };
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_SIZE - last.len()));
            last.extend_from_slice(now);
            let is_zeros = last == *ZEROS.0;
            self.blocks.push(if is_zeros {
                Arc::clone(&ZEROS.0)
            } else {
                Arc::new(last)
            });
            bytes = rest;
        }
    }

    /// The bytes from `start` to `end`, the end not included.
    pub(super) fn range(&self, start: usize, end: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(end.saturating_sub(start));
        for (number, block) in self.blocks.iter().enumerate() {
            let at = number * BLOCK_SIZE;
            let from = start.saturating_sub(at).min(block.len());
            let to = end.saturating_sub(at).min(block.len());
            bytes.extend_from_slice(&block[from..to.max(from)]);
        }
        bytes
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        self.range(0, self.len())
    }

    /// Dropbox's hash of them: the SHA-256 of the SHA-256 of each block.
    pub(super) fn content_hash(&self) -> String {
        let mut all = Sha256::new();
        for block in &self.blocks {
            if Arc::ptr_eq(block, &ZEROS.0) {
                all.update(ZEROS.1);
            } else {
                all.update(Sha256::digest(block.as_slice()));
            }
        }
        hex::encode(all.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_come_in_parts_are_the_same_bytes() {
        let mut bytes = vec![0; 2 * BLOCK_SIZE + 5];
        bytes[BLOCK_SIZE + 1] = 7;
        let mut blocks = Blocks::default();
        for part in bytes.chunks(BLOCK_SIZE / 3 + 11) {
            blocks.append(part);
        }
        assert_eq!(blocks, Blocks::from(bytes.as_slice()));
        assert_eq!(blocks.len(), bytes.len());
        assert_eq!(blocks.to_vec(), bytes);
        let middle = BLOCK_SIZE - 2..BLOCK_SIZE + 3;
        assert_eq!(blocks.range(middle.start, middle.end), bytes[middle]);
        assert!(Arc::ptr_eq(&blocks.blocks[0], &ZEROS.0));
        let mut hash = Sha256::new();
        for block in bytes.chunks(BLOCK_SIZE) {
            hash.update(Sha256::digest(block));
        }
        assert_eq!(blocks.content_hash(), hex::encode(hash.finalize()));
        assert_eq!(Blocks::default().to_vec(), b"");
    }
}
