//! Compression around a tar file.

use std::io::{self, Read, Write};
use std::path::Path;

use crate::Error;

/// How the bytes of a tar file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TarFilter {
    /// They are not.
    Plain,
    /// `.tar.gz`, `.tgz`.
    Gzip,
    /// `.tar.zst`, `.tar.zstd`.
    Zstd,
    /// `.tar.xz`, `.txz`.
    Xz,
    /// `.tar.lz4`.
    Lz4,
}

/// `gzip -6`, which is its default.
const GZIP_LEVEL: u32 = 6;
/// `zstd -3`, which is its default.
const ZSTD_LEVEL: i32 = 3;
/// `xz -6`, which is its default.
const XZ_LEVEL: u32 = 6;

impl TarFilter {
    /// The filter that belongs to the ending of a file's name; for any other, none.
    #[must_use]
    pub fn of_name(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        match () {
            () if ends(&[".tar.gz", ".tgz"]) => Self::Gzip,
            () if ends(&[".tar.zst", ".tar.zstd"]) => Self::Zstd,
            () if ends(&[".tar.xz", ".txz"]) => Self::Xz,
            () if ends(&[".tar.lz4"]) => Self::Lz4,
            () => Self::Plain,
        }
    }

    /// Lets `work` write, and compresses what it writes. The end is written when it succeeds.
    ///
    /// # Errors
    ///
    /// Those of `work`; [`Error::Tar`] when the output says no.
    pub fn compress<T>(
        self,
        output: &mut dyn Write,
        work: impl FnOnce(&mut dyn Write) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let bad = |source: io::Error| Error::Tar { source };
        let done;
        let ended = match self {
            Self::Plain => {
                done = work(output)?;
                output.flush()
            }
            Self::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                let mut encoder = flate2::write::GzEncoder::new(output, level);
                done = work(&mut encoder)?;
                encoder.finish().and_then(Write::flush)
            }
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(output, ZSTD_LEVEL).map_err(bad)?;
                done = work(&mut encoder)?;
                encoder.finish().and_then(Write::flush)
            }
            Self::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new(output, XZ_LEVEL);
                done = work(&mut encoder)?;
                encoder.finish().and_then(Write::flush)
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(output);
                done = work(&mut encoder)?;
                encoder
                    .finish()
                    .map_err(io::Error::other)
                    .and_then(Write::flush)
            }
        };
        ended.map_err(bad)?;
        Ok(done)
    }

    /// The plain bytes of a compressed input, of one or several streams behind each other.
    ///
    /// # Errors
    ///
    /// When decompression cannot be set up.
    pub fn decompress<'a>(self, input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::Plain => Box::new(input),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
            Self::Zstd => Box::new(zstd::Decoder::new(input)?),
            Self::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(input)),
            Self::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(input)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_back() {
        let plain: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        for (name, is_smaller) in [
            ("x.tar", false),
            ("x.tar.gz", true),
            ("x.tgz", true),
            ("x.tar.zst", true),
            ("x.tar.xz", true),
            ("x.tar.lz4", true),
        ] {
            let filter = TarFilter::of_name(Path::new(name));
            let mut packed = Vec::new();
            let write = |output: &mut dyn Write| {
                output
                    .write_all(&plain)
                    .map_err(|source| Error::Tar { source })
            };
            filter.compress(&mut packed, write).unwrap();
            assert_eq!(packed.len() < plain.len(), is_smaller, "{name}");
            let mut back = Vec::new();
            let mut reader = filter.decompress(packed.as_slice()).unwrap();
            reader.read_to_end(&mut back).unwrap();
            assert!(back == plain, "{name}");
        }
    }
}
