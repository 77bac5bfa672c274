//! What is in a file: text, noise, records, a disk image.

use crate::Random;

/// What kind of content a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Words and lines; lz4 halves it.
    Text,
    /// Nothing compresses it.
    Noise,
    /// Rows of a database: numbers that grow, flags, keys, little of which compresses.
    Records,
    /// Pieces of noise and text between holes.
    Image,
}

/// Words of a vocabulary: enough that text does not repeat itself at once.
const WORDS: usize = 2048;

/// Longest word with the space behind it.
const WORD_MAX: usize = 12;

/// What goes on from block to block of one file.
pub(super) struct Generator {
    content: Content,
    /// Each with its length; all files choose from one language, by their own habits.
    vocabulary: Vec<([u8; WORD_MAX], usize)>,
    row_number: u64,
}

impl Generator {
    pub(super) fn new(content: Content, random: &mut Random) -> Self {
        let vocabulary = match content {
            Content::Noise | Content::Records => Vec::new(),
            Content::Text | Content::Image => vocabulary(random),
        };
        Self {
            content,
            vocabulary,
            row_number: random.below(1 << 30),
        }
    }

    /// Fills the file's next block.
    pub(super) fn fill(&mut self, random: &mut Random, block: &mut [u8]) {
        match self.content {
            Content::Noise => random.fill(block),
            Content::Text => self.fill_with_text(random, block),
            Content::Records => self.fill_with_records(random, block),
            Content::Image if random.once_in(2) => random.fill(block),
            Content::Image => self.fill_with_text(random, block),
        }
    }

    fn fill_with_text(&self, random: &mut Random, block: &mut [u8]) {
        let mut at = 0;
        while at < block.len() {
            let mut dice = random.next_u64();
            // Five words a throw. Five of six come from the thirty-two that the file likes.
            for _ in 0..5 {
                let among = if dice.is_multiple_of(6) { WORDS } else { 32 };
                let pick = usize::try_from(dice >> 52).unwrap_or(0) & (among - 1);
                let (word, len) = &self.vocabulary[pick];
                let len = (*len).min(block.len() - at);
                block[at..at + len].copy_from_slice(&word[..len]);
                at += len;
                dice = dice.rotate_left(12);
            }
            if dice.is_multiple_of(3) && at < block.len() {
                block[at - 1] = b'\n';
            }
        }
    }

    fn fill_with_records(&mut self, random: &mut Random, block: &mut [u8]) {
        for row in block.chunks_mut(32) {
            self.row_number += 1 + random.below(3);
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&self.row_number.to_le_bytes());
            random.fill(&mut bytes[8..24]);
            bytes[24..28].copy_from_slice(b"row\0");
            bytes[28] = u8::try_from(random.below(4)).unwrap_or(0);
            row.copy_from_slice(&bytes[..row.len()]);
        }
    }
}

/// A file's vocabulary: one language for all files, in an order of the file's own.
fn vocabulary(random: &mut Random) -> Vec<([u8; WORD_MAX], usize)> {
    const LETTERS: &[u8] = b"etaoinshrdlucmfwypvbgkjqxz_(){}=";
    let mut language = Random::new(1);
    let mut words: Vec<_> = (0..WORDS)
        .map(|_| {
            let len = 2 + language.index(WORD_MAX - 2);
            let mut word = [b' '; WORD_MAX];
            for letter in &mut word[..len - 1] {
                let at = language
                    .index(LETTERS.len())
                    .min(language.index(LETTERS.len()));
                *letter = LETTERS[at];
            }
            (word, len)
        })
        .collect();
    for favourite in 0..32 {
        let other = random.index(WORDS);
        words.swap(favourite, other);
    }
    words
}
