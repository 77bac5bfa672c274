//! Changes of examples, as damage and malice make them; the same ones for the same seed.

use crate::Random;

/// Words on which parsers go wrong.
const NUMBERS: [u64; 9] = [
    0,
    1,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// Longest input: enough for any header, and quick.
const LENGTH_MAX: usize = 64 << 10;

/// An endless source of changed examples.
#[derive(Debug)]
pub struct Changes {
    examples: Vec<Vec<u8>>,
    random: Random,
}

impl Changes {
    /// Changes of these examples.
    #[must_use]
    pub fn new(mut examples: Vec<Vec<u8>>, seed: u64) -> Self {
        examples.push(Vec::new());
        Self {
            examples,
            random: Random::new(seed),
        }
    }

    fn example(&mut self) -> Vec<u8> {
        let index = self.random.index(self.examples.len());
        self.examples.get(index).cloned().unwrap_or_default()
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.random.index(bytes.len() + 1);
        let length = self.random.index(9).min(bytes.len() - at);
        match self.random.index(8) {
            // A bit flips.
            0 => {
                let bit = self.random.index(8);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            // Another byte stands there.
            1 => {
                let other = self.random.next_u64().to_le_bytes()[0];
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = other;
                }
            }
            // The end is missing, or a piece of the middle.
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..at + length)),
            // A piece comes twice, or something else stands between.
            4 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let word = self.random.next_u64().to_le_bytes();
                bytes.splice(at..at, word.into_iter().take(length.max(1)));
            }
            // A number lies.
            6 => {
                let number = NUMBERS[self.random.index(NUMBERS.len())];
                let number =
                    number.wrapping_add(u64::from(self.random.next_u64().is_multiple_of(2)));
                let width = 1 << self.random.index(4);
                let is_big = self.random.next_u64().is_multiple_of(2);
                let words = number.to_le_bytes().into_iter().take(width);
                let mut word: Vec<u8> = words.collect();
                if is_big {
                    word.reverse();
                }
                let end = (at + width).min(bytes.len());
                bytes.splice(at..end, word);
            }
            // The head of one and the tail of another.
            _ => {
                let other = self.example();
                let from = self.random.index(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

impl Iterator for Changes {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.example();
        for _ in 0..=self.random.index(4) {
            self.change(&mut bytes);
        }
        bytes.truncate(LENGTH_MAX);
        Some(bytes)
    }
}
