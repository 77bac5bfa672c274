//! Pieces of one deflate stream, each compressed on its own.
//!
//! A deflate stream may be made of stretches that do not refer to each other, each ended at a byte
//! border. So several threads compress one volume, and the result is an ordinary stream. A
//! stretch that does not compress is stored, which costs a tenth of a percent in size instead of
//! the time that squeezing it takes.

use libdeflater::{CompressionLvl, Compressor};

use super::open_end::open_end;

/// Bytes of input that are compressed together: eight times deflate's window, so that starting
/// anew costs less than a percent.
pub(crate) const PIECE_SIZE: usize = 256 << 10;

/// Of the time that gzip's and so duplicity's own level takes, this takes a quarter, and what
/// compresses becomes seven percent larger.
const LEVEL: i32 = 1;

/// How much of a piece is tried before it is compressed.
const SAMPLE_SIZE: usize = 16 << 10;

/// Longest stored block of deflate.
const STORED_MAX: usize = 65_535;

/// The end of a stream: an empty last block.
pub(crate) const END: [u8; 2] = [0x03, 0x00];

/// Compresses pieces; one for every thread.
pub(crate) struct Deflater {
    compressor: Compressor,
    buffer: Vec<u8>,
}

impl Deflater {
    pub(crate) fn new() -> Self {
        let level = CompressionLvl::new(LEVEL).unwrap_or_default();
        Self {
            compressor: Compressor::new(level),
            buffer: Vec::new(),
        }
    }

    /// The piece as a stretch of a deflate stream.
    pub(crate) fn piece(&mut self, bytes: &[u8]) -> Vec<u8> {
        if bytes.len() > 2 * SAMPLE_SIZE {
            let middle = bytes.len() / 2 - SAMPLE_SIZE / 2;
            let samples = [
                bytes.get(..SAMPLE_SIZE),
                bytes.get(middle..middle + SAMPLE_SIZE),
            ];
            let hopeless = samples.into_iter().flatten().all(|sample| {
                // Less than three percent saved.
                self.compress(sample).len() * 33 > sample.len() * 32
            });
            if hopeless {
                return stored(bytes);
            }
        }
        let squeezed = self.compress(bytes);
        // What cannot be followed is not used.
        match open_end(squeezed) {
            Some(stretch) if stretch.len() < bytes.len() => stretch,
            _ => stored(bytes),
        }
    }

    /// A whole deflate stream.
    fn compress(&mut self, bytes: &[u8]) -> &[u8] {
        let bound = self.compressor.deflate_compress_bound(bytes.len());
        if self.buffer.len() < bound {
            self.buffer.resize(bound, 0);
        }
        let size = self
            .compressor
            .deflate_compress(bytes, &mut self.buffer)
            .unwrap_or(0);
        self.buffer.get(..size).unwrap_or_default()
    }
}

/// The bytes in stored blocks.
pub(crate) fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 5 * (bytes.len() / STORED_MAX + 1));
    for block in bytes.chunks(STORED_MAX) {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn pieces_and_an_end_are_one_stream() {
        let noise = testkit::Random::new(1).noise(300_000);
        let text: Vec<u8> = (0..PIECE_SIZE).map(|at| b"backup "[at % 7]).collect();
        let mut deflater = Deflater::new();
        let pieces = [
            noise.as_slice(),
            &text,
            b"",
            b"x",
            &noise[..5],
            &text[..70_000],
            &[0; 100_000],
        ];
        let mut stream: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| deflater.piece(piece))
            .collect();
        stream.extend_from_slice(&END);
        let mut back = Vec::new();
        flate2::read::DeflateDecoder::new(stream.as_slice())
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, pieces.concat());
    }

    #[test]
    fn what_does_not_compress_is_stored() {
        let noise = testkit::Random::new(2).noise(PIECE_SIZE);
        let piece = Deflater::new().piece(&noise);
        assert!(piece.len() <= noise.len() + 5 * 5);
        assert!(Deflater::new().piece(&[7; PIECE_SIZE]).len() < 1000);
    }
}
