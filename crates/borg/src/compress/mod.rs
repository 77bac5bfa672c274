//! Compression of chunks.
//!
//! Two bytes in front of the payload say how it was compressed, so a reader needs no settings:
//!
//! | bytes | method | payload |
//! |---|---|---|
//! | `00 00` | none | the plain bytes |
//! | `01 00` | lz4 | one block, its plain size not recorded |
//! | `02 00` | lzma | an xz container without check |
//! | `03 00` | zstd | a frame that records its plain size |
//! | `04 00` | obfuscate | big-endian `u32` length, a payload of any method, padding |
//! | `x8 yy` | zlib | a zlib stream, these two bytes included |

mod compressor;
mod decompressor;
mod spec;

pub use compressor::Compressor;
pub use decompressor::{BadPayload, Decompressor};
pub use spec::{BadCompression, Compression, Padding};

/// Most plain bytes that one stored object may hold once decompressed: 32 MiB.
///
/// No object that Borg stores is larger than 20 MiB, and no chunk larger than that before
/// compression. A manifest or an archive is a little more, as it compresses a little. What
/// claims to hold more is made to exhaust memory.
pub const PLAIN_SIZE_MAX: usize = 32 << 20;

const NONE: [u8; 2] = [0, 0];
const LZ4: [u8; 2] = [1, 0];
const LZMA: [u8; 2] = [2, 0];
const ZSTD: [u8; 2] = [3, 0];
const OBFUSCATE: [u8; 2] = [4, 0];

/// What made a payload, without the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    None,
    Lz4,
    Zstd,
    Zlib,
    Lzma,
    Obfuscate,
}

impl Method {
    /// As the first two bytes of a payload say it.
    pub(crate) fn of(id: [u8; 2]) -> Option<Self> {
        match id {
            NONE => Some(Self::None),
            LZ4 => Some(Self::Lz4),
            LZMA => Some(Self::Lzma),
            ZSTD => Some(Self::Zstd),
            OBFUSCATE => Some(Self::Obfuscate),
            id => is_zlib(id).then_some(Self::Zlib),
        }
    }
}

impl Compression {
    /// What it makes of a chunk that can be compressed; nothing where that depends on the chunk.
    pub(crate) fn method(&self) -> Option<Method> {
        match self {
            Self::None => Some(Method::None),
            Self::Lz4 => Some(Method::Lz4),
            Self::Zstd { .. } => Some(Method::Zstd),
            Self::Zlib { .. } => Some(Method::Zlib),
            Self::Lzma { .. } => Some(Method::Lzma),
            Self::Obfuscate { .. } => Some(Method::Obfuscate),
            Self::Auto(_) => None,
        }
    }
}

/// Whether two bytes begin a zlib stream (RFC 1950, section 2.2).
fn is_zlib(id: [u8; 2]) -> bool {
    id[0] & 0x0f == 8 && u16::from_be_bytes(id).is_multiple_of(31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Buffer, Random, SystemRandom};

    const EVERY: [&str; 14] = [
        "none",
        "lz4",
        "zstd,1",
        "zstd,3",
        "zstd,19",
        "zlib,0",
        "zlib,6",
        "lzma,0",
        "lzma,9",
        "auto,zstd",
        "auto,lz4",
        "obfuscate,1,zstd",
        "obfuscate,110,auto,zlib,1",
        "obfuscate,250,none",
    ];

    fn compress(setting: &str, plain: &[u8]) -> Vec<u8> {
        let mut out = Buffer::new();
        Compressor::new(&setting.parse().unwrap(), SystemRandom)
            .unwrap()
            .compress(plain, &mut out)
            .unwrap();
        out.to_vec()
    }

    fn decompress(payload: &[u8]) -> Result<Vec<u8>, BadPayload> {
        let mut out = Buffer::new();
        Decompressor::new()
            .unwrap()
            .decompress(payload, None, &mut out)?;
        Ok(out.to_vec())
    }

    /// Repeats with variations, so that every method gains something.
    fn text(length: usize) -> Vec<u8> {
        let mut text = Vec::with_capacity(length + 64);
        let mut number = 1u64;
        while text.len() < length {
            number = number
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.extend_from_slice(format!("line {} of a long text\n", number >> 52).as_bytes());
        }
        text.truncate(length);
        text
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut noise = vec![0; length];
        SystemRandom.fill(&mut noise).unwrap();
        noise
    }

    #[test]
    fn every_method_gives_back_what_it_got() {
        for setting in EVERY {
            for plain in [
                Vec::new(),
                b"x".to_vec(),
                text(100),
                text(70_000),
                text(3_000_000),
                noise(200_000),
                vec![0; 8 << 20],
            ] {
                let payload = compress(setting, &plain);
                assert!(
                    decompress(&payload) == Ok(plain.clone()),
                    "{setting}, {} bytes",
                    plain.len()
                );
            }
        }
    }

    #[test]
    fn a_compressor_can_be_used_again_and_adds_to_what_is_there() {
        for setting in EVERY {
            let mut compressor = Compressor::new(&setting.parse().unwrap(), SystemRandom).unwrap();
            let mut decompressor = Decompressor::new().unwrap();
            for plain in [text(100_000), noise(5000), text(10), text(200_000)] {
                let mut out = Buffer::new();
                out.extend_from_slice(b"head");
                compressor.compress(&plain, &mut out).unwrap();
                let mut back = Buffer::new();
                back.extend_from_slice(b"before");
                decompressor
                    .decompress(&out[4..], Some(plain.len()), &mut back)
                    .unwrap();
                assert!(back[6..] == plain, "{setting}");
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let plain = noise(10_000);
        for setting in ["lz4", "zstd", "lzma,1", "auto,zstd", "auto,lzma"] {
            assert_eq!(compress(setting, &plain), [&NONE, &*plain].concat());
        }
        assert_eq!(compress("lz4", b""), NONE);
    }

    #[test]
    fn each_method_names_itself() {
        let plain = text(100_000);
        for (setting, id) in [
            ("lz4", LZ4),
            ("zstd", ZSTD),
            ("lzma,1", LZMA),
            ("zlib", [0x78, 0x9c]),
            ("zlib,9", [0x78, 0xda]),
            ("auto,zstd", ZSTD),
            ("obfuscate,110,lz4", OBFUSCATE),
        ] {
            assert_eq!(compress(setting, &plain)[..2], id, "{setting}");
            let setting: Compression = setting.parse().unwrap();
            let expected = setting.method().unwrap_or(Method::Zstd);
            assert_eq!(Method::of(id), Some(expected), "{setting:?}");
        }
    }

    #[test]
    fn zstd_frames_record_their_plain_size() {
        for length in [100, 70_000, 1 << 20] {
            let payload = compress("zstd,3", &text(length));
            assert_eq!(payload[..2], ZSTD);
            let size = zstd::zstd_safe::get_frame_content_size(&payload[2..]).unwrap();
            assert_eq!(size, Some(length as u64));
        }
    }

    #[test]
    fn padding_follows_its_scheme() {
        for (size, padded) in [
            (3, 3),
            (10, 10),
            (11, 12),
            (102, 104),
            (1002, 1024),
            (12_347, 12_800),
            (8_388_610, 8_650_752),
        ] {
            let payload = compress("obfuscate,250,none", &vec![0; size - 2]);
            assert_eq!(payload.len(), padded + 6, "{size}");
        }
        let sizes: Vec<usize> = (0..200)
            .map(|_| compress("obfuscate,110,none", &[0; 1000]).len() - 1008)
            .collect();
        assert!(sizes.iter().all(|&size| size < 1024));
        assert!(sizes.iter().any(|&size| size > 600) && sizes.iter().any(|&size| size < 400));
        let huge = compress("obfuscate,6,none", &noise(8 << 20));
        assert_eq!(huge.len(), 20_970_461);
    }

    #[test]
    fn a_bomb_is_stopped() {
        let zeros = vec![0; 1 << 20];
        // Each of these would become a gigabyte.
        let zlib = {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            for _ in 0..64 {
                std::io::Write::write_all(&mut encoder, &zeros).unwrap();
            }
            encoder.finish().unwrap()
        };
        assert_eq!(decompress(&zlib), Err(BadPayload::TooLarge));
        let zstd = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        let payload = [&ZSTD, &*zstd].concat();
        assert_eq!(decompress(&payload), Err(BadPayload::TooLarge));
        let lz4 = lz4_flex::block::compress(&vec![0; 64 << 20]);
        let payload = [&LZ4, &*lz4].concat();
        assert_eq!(decompress(&payload), Err(BadPayload::TooLarge));
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        for _ in 0..64 {
            std::io::Write::write_all(&mut encoder, &zeros).unwrap();
        }
        let payload = [&LZMA, &*encoder.finish().unwrap()].concat();
        assert_eq!(decompress(&payload), Err(BadPayload::TooLarge));
    }

    #[test]
    fn the_largest_plain_size_is_still_read() {
        let plain = vec![7; PLAIN_SIZE_MAX];
        for setting in ["none", "lz4", "zstd", "zlib,1", "lzma,0"] {
            assert!(decompress(&compress(setting, &plain)).unwrap() == plain);
        }
    }

    #[test]
    fn a_truncated_payload_is_refused() {
        let plain = text(50_000);
        for setting in ["lz4", "zstd", "zlib", "lzma,1"] {
            let payload = compress(setting, &plain);
            for length in [0, 1, 2, 3, 10, payload.len() / 2, payload.len() - 9] {
                let result = decompress(&payload[..length]);
                assert!(result.is_err(), "{setting}, {length} bytes");
            }
        }
        assert_eq!(
            decompress(&[5, 0, 1, 2]),
            Err(BadPayload::Method { id: [5, 0] })
        );
        // Obfuscation within obfuscation, over and over.
        let onion = (0..1000u32).fold(vec![0, 0, b'x'], |inner, _| {
            let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
            [&OBFUSCATE, &length[..], &inner].concat()
        });
        assert_eq!(decompress(&onion), Ok(b"x".to_vec()));
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(
            id in prop_oneof![
                Just(NONE), Just(LZ4), Just(LZMA), Just(ZSTD), Just(OBFUSCATE), Just([0x78, 0x9c]),
                any::<[u8; 2]>(),
            ],
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = decompress(&[&id, &*body].concat());
        }

        #[test]
        fn a_flipped_bit_never_panics(
            setting in 0..EVERY.len(), at in any::<prop::sample::Index>(), bit in 0..8,
        ) {
            let mut payload = compress(EVERY[setting], &text(2000));
            let at = at.index(payload.len());
            payload[at] ^= 1u8 << bit;
            let _ = decompress(&payload);
        }
    }
}
