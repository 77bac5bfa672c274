//! Pieces of one deflate stream, each compressed on its own.
//!
//! A deflate stream may be made of stretches that do not refer to each other, each ended at a byte
//! border. So several threads compress one volume, and the result is an ordinary stream. A
//! stretch that does not compress is stored, which costs a tenth of a percent in size instead of
//! the time that squeezing it takes.

use flate2::{Compress, Compression, FlushCompress, Status};

/// Bytes of input that are compressed together: eight times deflate's window, so that starting
/// anew costs less than a percent.
pub(crate) const PIECE_SIZE: usize = 256 << 10;

/// Of the time that level 6 takes, gzip's and so duplicity's own, this takes two thirds, and the
/// result is two to three percent larger.
const LEVEL: u32 = 4;

/// How much of a piece is tried before it is compressed…
const SAMPLE_SIZE: usize = 16 << 10;

/// … at this level.
const SAMPLE_LEVEL: u32 = 1;

/// Longest stored block of deflate.
const STORED_MAX: usize = 65_535;

/// The end of a stream: an empty last block.
pub(crate) const END: [u8; 2] = [0x03, 0x00];

/// Compresses pieces; one for every thread.
pub(crate) struct Deflater {
    full: Compress,
    sample: Compress,
}

impl Deflater {
    pub(crate) fn new() -> Self {
        Self {
            full: Compress::new(Compression::new(LEVEL), false),
            sample: Compress::new(Compression::new(SAMPLE_LEVEL), false),
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
                compress(&mut self.sample, sample).len() * 33 > sample.len() * 32
            });
            if hopeless {
                return stored(bytes);
            }
        }
        let squeezed = compress(&mut self.full, bytes);
        if squeezed.len() < bytes.len() {
            squeezed
        } else {
            stored(bytes)
        }
    }
}

fn compress(deflate: &mut Compress, bytes: &[u8]) -> Vec<u8> {
    deflate.reset();
    let mut out = Vec::with_capacity(bytes.len() / 2 + 64);
    loop {
        let done = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = bytes.get(done..).unwrap_or_default();
        let status = deflate.compress_vec(rest, &mut out, FlushCompress::Sync);
        // With room left over, everything is flushed up to a byte border.
        let all_in = usize::try_from(deflate.total_in()).is_ok_and(|taken| taken == bytes.len());
        match status {
            Ok(Status::Ok | Status::BufError | Status::StreamEnd)
                if all_in && out.len() < out.capacity() =>
            {
                return out;
            }
            Ok(_) => out.reserve(out.capacity().max(1024)),
            // Raw deflate of a buffer has no way to fail; what is stored is right in any case.
            Err(_) => return stored(bytes),
        }
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
