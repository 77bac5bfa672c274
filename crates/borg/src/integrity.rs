//! Checksums of files that can be rebuilt: the index, the hints and the caches.
//!
//! An XXH64 runs over the file's name, its bytes and its length, so that a file that was copied
//! to another name, cut short or damaged is noticed. At a *part mark* the part's name and the
//! position are mixed in, and the sum so far becomes that part's digest. The digests stand in
//! another place, as JSON text.
//!
//! They protect against accidents, not against an attacker.

use serde_json::Value;
use xxhash_rust::xxh64::Xxh64;

/// The part mark behind the header of a hash index.
const HEADER_PART: &str = "HashHeader";
/// The part mark at the end of every file.
const FINAL_PART: &str = "final";
const ALGORITHM: &str = "XXH64";

/// The digests of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digests {
    /// Up to the end of the header, in files that have one.
    header: Option<u64>,
    /// Of all.
    whole: u64,
}

/// What a text says about a file's digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// These.
    Digests(Digests),
    /// They are made by an algorithm that we do not know: the file cannot be checked.
    Unknown,
}

impl Digests {
    /// Of a file that is all in memory; `header_size` in files whose header is a part.
    pub(crate) fn of(name: &str, bytes: &[u8], header_size: Option<usize>) -> Self {
        let mut hasher = Hasher::new(name);
        let (header, body) = bytes.split_at(header_size.unwrap_or(0).min(bytes.len()));
        let header = header_size.map(|_| {
            hasher.update(header);
            hasher.header_mark()
        });
        hasher.update(body);
        Self {
            header,
            ..hasher.finish()
        }
    }

    /// The JSON text that Borg keeps them in.
    pub(crate) fn to_json(self) -> String {
        let header = self
            .header
            .map(|digest| format!("\"{HEADER_PART}\": \"{digest:016x}\", "))
            .unwrap_or_default();
        format!(
            "{{\"algorithm\": \"{ALGORITHM}\", \"digests\": {{{header}\"{FINAL_PART}\": \"{:016x}\"}}}}",
            self.whole
        )
    }
}

impl Expected {
    /// Reads what [`Digests::to_json`] and the stock program write. `None` when it is garbled.
    pub(crate) fn from_json(text: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(text).ok()?;
        if value.get("algorithm")?.as_str()? != ALGORITHM {
            return Some(Self::Unknown);
        }
        let digests = value.get("digests")?;
        let digest = |part| u64::from_str_radix(digests.get(part)?.as_str()?, 16).ok();
        Some(Self::Digests(Digests {
            header: digest(HEADER_PART),
            whole: digest(FINAL_PART)?,
        }))
    }

    /// Whether a file with these digests is the one that is meant.
    pub(crate) fn allows(&self, found: &Digests) -> bool {
        match self {
            Self::Digests(expected) => expected == found,
            Self::Unknown => true,
        }
    }
}

/// Computes the digests of a file that passes by in pieces.
pub(crate) struct Hasher {
    sum: Xxh64,
    position: u64,
}

impl Hasher {
    /// Begins a file; `name` is the last component of its final path.
    pub(crate) fn new(name: &str) -> Self {
        let mut hasher = Self {
            sum: Xxh64::new(0),
            position: 0,
        };
        hasher.mix_name(name);
        hasher
    }

    /// Takes the next bytes of the file.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.position += bytes.len() as u64;
    }

    /// The digests of what was taken, as the whole file.
    pub(crate) fn finish(mut self) -> Digests {
        Digests {
            header: None,
            whole: self.mark(FINAL_PART),
        }
    }

    fn header_mark(&mut self) -> u64 {
        self.mark(HEADER_PART)
    }

    fn mark(&mut self, part: &str) -> u64 {
        self.mix_name(part);
        self.sum.update(self.position.to_string().as_bytes());
        self.sum.digest()
    }

    fn mix_name(&mut self, name: &str) {
        self.sum.update(format!("{:10}", name.len()).as_bytes());
        self.sum.update(name.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_give_the_digest_of_the_whole() {
        let mut hasher = Hasher::new("files");
        hasher.update(b"ab");
        hasher.update(b"c");
        assert_eq!(hasher.finish(), Digests::of("files", b"abc", None));
    }

    #[test]
    fn another_name_or_length_gives_another_digest() {
        let digests = Digests::of("index.5", b"abc", None);
        assert_ne!(digests, Digests::of("index.6", b"abc", None));
        assert_ne!(digests, Digests::of("index.5", b"ab", None));
        assert_ne!(digests, Digests::of("index.5", b"abc\0", None));
    }

    #[test]
    fn digests_survive_their_text() {
        for header in [None, Some(2)] {
            let digests = Digests::of("chunks", b"abc", header);
            let expected = Expected::from_json(digests.to_json().as_bytes()).unwrap();
            assert_eq!(expected, Expected::Digests(digests));
            assert!(expected.allows(&digests));
            assert!(!expected.allows(&Digests::of("chunks", b"abd", header)));
        }
    }

    #[test]
    fn an_unknown_algorithm_cannot_be_checked_and_garbage_is_told_apart() {
        let unknown = br#"{"algorithm": "SHA512", "digests": {"final": "00"}}"#;
        assert_eq!(Expected::from_json(unknown), Some(Expected::Unknown));
        for garbage in [
            b"".as_slice(),
            b"{}",
            br#"{"algorithm": "XXH64"}"#,
            br#"{"algorithm": "XXH64", "digests": {"final": "no"}}"#,
        ] {
            assert_eq!(Expected::from_json(garbage), None);
        }
    }
}
