//! MessagePack as Borg writes and reads it.
//!
//! Borg keeps to the format as it was before strings and binaries were told apart: both are
//! *raw* values, and `str8` and `bin` are never written. Integers take the fewest bytes that
//! hold them, and maps are written with their keys in order, so that equal content always has
//! equal bytes: deduplication of metadata and the ids of archives rest on that.
//!
//! Reading is strict about what a value says of itself and generous about how it is spelt:
//! longer forms than needed and the newer string types are read. A length is believed only as
//! far as bytes are there, so nothing is allocated because an attacker's number says so.
//!
//! Source: the MessagePack specification, `spec-old.md` and `spec.md`.

mod read;
mod scan;
mod write;

pub(crate) use read::{Head, Reader, fill, required};
pub(crate) use scan::Scanner;
pub(crate) use write::{MapWriter, Writer};

/// Entries of a map that are not understood, but kept: key, and value as it is spelt.
pub(crate) type Others = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;

/// Values may hold values so many levels down. Borg's own structures need six.
pub(crate) const DEPTH_MAX: usize = 32;

/// Why bytes are not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the value does.
    #[error("the data ends in the middle of a value")]
    Truncated,
    /// Another kind of value stands here, or one out of the range that makes sense.
    #[error("expected {expected} at byte {at}")]
    Unexpected {
        /// What should be there.
        expected: &'static str,
        /// Offset from the first byte of the structure.
        at: usize,
    },
    /// Values are nested more deeply than any program of good will nests them.
    #[error("values are nested too deeply")]
    TooDeep,
    /// A map has the same key twice: two readers could see two different things.
    #[error("the key `{key}` stands there twice")]
    DuplicateKey {
        /// Which key, as far as it is known.
        key: &'static str,
    },
    /// A map lacks a key that must be there.
    #[error("the key `{key}` is missing")]
    MissingKey {
        /// Which key.
        key: &'static str,
    },
    /// Something follows the value that should be the last.
    #[error("something follows the end at byte {at}")]
    Trailing {
        /// Offset from the first byte of the structure.
        at: usize,
    },
    /// A value is longer than what may be held in memory for it.
    #[error("a value of more than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out));
        out
    }

    #[test]
    fn a_binary_of_32_bytes_is_spelt_in_the_old_way() {
        let id = written(|w| w.raw([7; 32]));
        assert_eq!(id[..3], [0xda, 0, 32]);
        assert_eq!(written(|w| w.raw([7; 31]))[0], 0xbf);
        assert_eq!(written(|w| w.raw(vec![7; 65536]))[..5], [0xdb, 0, 1, 0, 0]);
    }

    #[test]
    fn integers_take_the_fewest_bytes() {
        for (value, size) in [
            (0, 1),
            (0x7f, 1),
            (0x80, 2),
            (0xff, 2),
            (0x100, 3),
            (0xffff, 3),
            (0x1_0000, 5),
            (0xffff_ffff, 5),
            (0x1_0000_0000, 9),
            (i64::MAX, 9),
            (-1, 1),
            (-0x20, 1),
            (-0x21, 2),
            (-0x80, 2),
            (-0x81, 3),
            (-0x8000, 3),
            (-0x8001, 5),
            (-0x8000_0000, 5),
            (-0x8000_0001, 9),
            (i64::MIN, 9),
        ] {
            let bytes = written(|w| w.signed(value));
            assert_eq!(bytes.len(), size, "{value}");
            assert_eq!(Reader::new(&bytes).signed(), Ok(value));
        }
        let bytes = written(|w| w.unsigned(u64::MAX));
        assert_eq!(Reader::new(&bytes).unsigned(), Ok(u64::MAX));
        assert!(Reader::new(&bytes).signed().is_err());
    }

    #[test]
    fn newer_texts_and_binaries_are_read() {
        for bytes in [b"\xd9\x02ab".as_slice(), b"\xc4\x02ab", b"\xc5\0\x02ab"] {
            assert_eq!(Reader::new(bytes).raw(), Ok(b"ab".as_slice()));
        }
    }

    #[test]
    fn a_length_is_believed_only_as_far_as_bytes_are_there() {
        for bytes in [b"\xdd\xff\xff\xff\xff".as_slice(), b"\xdd\0\0\0\x02a"] {
            assert_eq!(Reader::new(bytes).array(), Err(Malformed::Truncated));
        }
        assert_eq!(
            Reader::new(b"\xdf\0\0\0\x02abc").map(),
            Err(Malformed::Truncated)
        );
        assert_eq!(
            Reader::new(b"\xdb\xff\xff\xff\xff").raw(),
            Err(Malformed::Truncated)
        );
    }

    #[test]
    fn nesting_is_followed_so_far_and_no_further() {
        let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
        assert!(Reader::new(&nested(DEPTH_MAX - 1)).skip().is_ok());
        assert_eq!(
            Reader::new(&nested(DEPTH_MAX)).skip(),
            Err(Malformed::TooDeep)
        );
        assert_eq!(
            Reader::new(&vec![0x91; 2_000_000]).skip(),
            Err(Malformed::TooDeep)
        );
    }

    #[test]
    fn a_value_that_comes_byte_by_byte_is_found_at_its_last_byte() {
        let bytes = written(|w| {
            w.map(2);
            w.raw("a");
            w.array(3);
            w.nil();
            w.raw([b'x'; 300]);
            w.signed(-70_000);
            w.raw("b");
            w.map(0);
        });
        let mut scanner = Scanner::new();
        for length in 0..bytes.len() {
            assert_eq!(scanner.scan(&bytes[..length]), Ok(None), "{length}");
        }
        let with_more = [bytes.as_slice(), b"more"].concat();
        assert_eq!(scanner.scan(&with_more), Ok(Some(bytes.len())));
        assert_eq!(Reader::new(&with_more).encoded(), Ok(bytes.as_slice()));
    }

    #[test]
    fn extension_types_are_refused() {
        for marker in [0xc1, 0xc7, 0xc9, 0xd4, 0xd8] {
            let bytes = [0x91, marker, 0, 0, 0, 0, 0, 0];
            assert_eq!(
                Reader::new(&bytes).skip(),
                Err(Malformed::Unexpected {
                    expected: "a value",
                    at: 1
                })
            );
        }
    }

    #[test]
    fn entries_that_are_not_understood_are_written_where_they_belong() {
        let others = [("a", "1"), ("c", "3"), ("d", "4")]
            .map(|(key, value)| (key.into(), value.into()))
            .into();
        let mut out = b"before".to_vec();
        let mut map = MapWriter::new(&mut out, &others);
        map.key("b").unsigned(2);
        map.key("cc").nil();
        map.finish();
        assert_eq!(out, b"before\x85\xa1a1\xa1b\x02\xa1c3\xa2cc\xc0\xa1d4");
        let many: Others = (0..16u8).map(|key| (vec![key], vec![0xc0])).collect();
        let mut out = b"before".to_vec();
        MapWriter::new(&mut out, &many).finish();
        assert_eq!(out[6..11], [0xde, 0, 16, 0xa1, 0]);
        assert_eq!(out.len(), 6 + 3 + 16 * 3);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = Reader::new(&bytes);
            while reader.skip().is_ok() {}
            let _ = Reader::new(&bytes).map();
            let _ = Reader::new(&bytes).array();
            let _ = Reader::new(&bytes).raw();
            let _ = Reader::new(&bytes).signed();
        }

        #[test]
        fn a_scan_in_pieces_ends_where_a_scan_in_one_ends(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80..0xa4u8], 0..100),
        ) {
            let whole = Scanner::new().scan(&bytes);
            let mut scanner = Scanner::new();
            let mut pieces = Ok(None);
            for length in 0..=bytes.len() {
                pieces = scanner.scan(&bytes[..length]);
                if pieces != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
