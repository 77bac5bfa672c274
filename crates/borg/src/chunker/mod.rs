//! Cutting content into chunks.
//!
//! What content is cut where is part of the format: only who cuts at the same places finds that
//! a chunk is already there. With `buzhash`, let `n` be the bytes from the beginning of a chunk
//! to the end of the file, but at most the maximum. A cut may stand at any `p` from the minimum
//! on with more than a window of bytes behind it (`p + window < n`), and stands at the first one
//! where the hash of the window *behind* it has its low bits zero. Where there is none, the
//! chunk has all `n` bytes. So nothing can be said of `p` before `p + window + 1` bytes are
//! there or the end of the file was seen.

mod buzhash;
mod params;
mod table;
#[cfg(target_arch = "x86_64")]
mod vbmi;

use std::ops::Range;

use buzhash::Buzhash;

pub use params::{BadChunkerParams, ChunkerParams};

/// A piece of content, cut out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// Its bytes.
    Data(Vec<u8>),
    /// So many zeros: from a hole, or content that is all zeros.
    Zeros(usize),
}

/// Cuts one file after the other into chunks.
pub struct Chunker {
    rule: Rule,
    /// The chunk that has begun.
    pending: Vec<u8>,
    /// Memory for the one after it.
    next: Vec<u8>,
}

enum Rule {
    Buzhash {
        buzhash: Box<Buzhash>,
        size_min: usize,
        size_max: usize,
        /// Bytes that are added to a chunk before it is examined: what was added in excess has
        /// to be moved to the next one.
        step: usize,
        /// First place of the pending chunk that has not been examined.
        candidate: usize,
        /// No cut falls within zeros.
        zeros_uncut: bool,
    },
    Fixed {
        block_size: usize,
        header_size: usize,
        /// Bytes of the header that are still to come.
        header_left: usize,
        /// Whether blocks begin anew where a hole begins or ends.
        sparse: bool,
    },
}

/// Zeros that take the place of a hole.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl Chunker {
    /// Sets up a chunker. `seed` is that of the repository's key.
    #[must_use]
    pub fn new(params: ChunkerParams, seed: u32) -> Self {
        let rule = match params {
            ChunkerParams::Buzhash {
                min_exponent,
                max_exponent,
                mask_bits,
                window,
            } => {
                let size_min = 1 << min_exponent;
                let buzhash = Box::new(Buzhash::new(seed, window as usize, mask_bits));
                Rule::Buzhash {
                    zeros_uncut: !buzhash.cuts_zeros(),
                    buzhash,
                    size_min,
                    size_max: 1 << max_exponent,
                    step: (1usize << mask_bits >> 3)
                        .clamp(1 << 8, 1 << 18)
                        .max(window as usize),
                    candidate: size_min,
                }
            }
            ChunkerParams::Fixed {
                block_size,
                header_size,
            } => Rule::Fixed {
                block_size: block_size as usize,
                header_size: header_size as usize,
                header_left: header_size as usize,
                sparse: false,
            },
        };
        Self {
            rule,
            pending: Vec::new(),
            next: Vec::new(),
        }
    }

    /// Lets blocks of a fixed size begin anew at each end of a hole, as `--sparse` does. Cutting
    /// by content knows no such thing.
    #[must_use]
    pub fn sparse(mut self, on: bool) -> Self {
        if let Rule::Fixed { sparse, .. } = &mut self.rule {
            *sparse = on;
        }
        self
    }

    /// Cuts a whole file that lies in memory, without copying it. Nothing may be pending.
    pub fn cuts(&mut self, whole: &[u8]) -> Vec<Range<usize>> {
        debug_assert!(self.pending.is_empty(), "another file has begun");
        let mut cuts = Vec::new();
        let mut start = 0;
        while let Some(rest) = whole.get(start..).filter(|rest| !rest.is_empty()) {
            let size = match &mut self.rule {
                Rule::Buzhash {
                    buzhash,
                    size_min,
                    size_max,
                    ..
                } => {
                    let end = rest.len().min(*size_max);
                    let window = rest.get(..end).unwrap_or(rest);
                    buzhash.find(window, *size_min, true).unwrap_or(end)
                }
                Rule::Fixed {
                    block_size,
                    header_size,
                    ..
                } => {
                    let header_left = header_size.saturating_sub(start);
                    rest.len().min(block(*block_size, header_left))
                }
            };
            cuts.push(start..start + size);
            start += size;
        }
        cuts
    }

    /// Goes on with the content of a file. `emit` gets the chunks that are complete.
    pub fn push(&mut self, mut bytes: &[u8], emit: &mut impl FnMut(Chunk)) {
        while !bytes.is_empty() {
            let wanted = self.wanted().min(bytes.len());
            let (now, later) = bytes.split_at(wanted);
            if self.pending.capacity() - self.pending.len() < now.len() {
                // Doubling would take twice what most chunks need, and they are the largest memory
                // there is.
                let grown = (self.pending.len() / 4).max(now.len());
                self.pending.reserve_exact(grown);
            }
            self.pending.extend_from_slice(now);
            bytes = later;
            while self.cut(false, emit) {}
        }
    }

    /// Goes on with a hole of so many bytes.
    pub fn hole(&mut self, mut length: u64, emit: &mut impl FnMut(Chunk)) {
        let sparse = matches!(
            self.rule,
            Rule::Fixed {
                sparse: true,
                header_left: 0,
                ..
            }
        );
        if sparse {
            self.emit_all(emit);
        }
        while length > 0 {
            let most = usize::try_from(length).unwrap_or(usize::MAX);
            if self.pending.is_empty()
                && let Some(size) = self.zeros_at_once(most, sparse)
            {
                emit(Chunk::Zeros(size));
                length -= size as u64;
            } else {
                let zeros = most.min(ZEROS.len()).min(self.wanted());
                self.push(ZEROS.get(..zeros).unwrap_or(&ZEROS), emit);
                length -= zeros as u64;
            }
        }
    }

    /// Ends the file: what is left is its last chunk. The next file may begin.
    pub fn finish(&mut self, emit: &mut impl FnMut(Chunk)) {
        while self.cut(true, emit) {}
        self.emit_all(emit);
        if let Rule::Fixed {
            header_size,
            header_left,
            ..
        } = &mut self.rule
        {
            *header_left = *header_size;
        }
    }

    /// Forgets the file that has begun. The next file may begin.
    pub fn abandon(&mut self) {
        self.pending.clear();
        self.finish(&mut |_| {});
        if let Rule::Buzhash {
            candidate,
            size_min,
            ..
        } = &mut self.rule
        {
            *candidate = *size_min;
        }
    }

    /// Gives memory for the next chunk, when there is none.
    pub(crate) fn supply(&mut self, memory: impl FnOnce() -> Vec<u8>) {
        if self.next.capacity() == 0 {
            self.next = memory();
        }
    }

    /// How many bytes to add before the pending chunk is examined.
    fn wanted(&self) -> usize {
        let pending = self.pending.len();
        match &self.rule {
            Rule::Buzhash {
                buzhash,
                size_min,
                size_max,
                step,
                ..
            } => {
                let first = size_min + buzhash.window() + 1;
                (pending.max(first) + step).min(*size_max) - pending
            }
            Rule::Fixed {
                block_size,
                header_left,
                ..
            } => block(*block_size, *header_left) - pending,
        }
    }

    /// Hands out the pending chunk if it is complete. True when there may be another behind it.
    /// Before the end of a file, the `last` look must not leave any place out.
    fn cut(&mut self, last: bool, emit: &mut impl FnMut(Chunk)) -> bool {
        match &mut self.rule {
            Rule::Buzhash {
                buzhash,
                size_max,
                candidate,
                ..
            } => {
                let full = self.pending.len() >= *size_max;
                match buzhash.find(&self.pending, *candidate, last || full) {
                    Ok(cut) => {
                        let mut next = std::mem::take(&mut self.next);
                        next.extend_from_slice(self.pending.get(cut..).unwrap_or_default());
                        self.pending.truncate(cut);
                        self.emit_all(emit);
                        self.pending = next;
                        return true;
                    }
                    Err(_) if full => self.emit_all(emit),
                    Err(looked_at) => *candidate = looked_at,
                }
            }
            Rule::Fixed {
                block_size,
                header_left,
                ..
            } => {
                let size = block(*block_size, *header_left);
                if self.pending.len() >= size {
                    *header_left = header_left.saturating_sub(size);
                    self.emit_all(emit);
                }
            }
        }
        false
    }

    /// Hands out the pending chunk as it is.
    fn emit_all(&mut self, emit: &mut impl FnMut(Chunk)) {
        if let Rule::Buzhash {
            candidate,
            size_min,
            ..
        } = &mut self.rule
        {
            *candidate = *size_min;
        }
        if self.pending.is_empty() {
            return;
        }
        if is_zero(&self.pending) {
            emit(Chunk::Zeros(self.pending.len()));
            self.pending.clear();
        } else {
            let next = std::mem::take(&mut self.next);
            emit(Chunk::Data(std::mem::replace(&mut self.pending, next)));
        }
    }

    /// The size of the next chunk of a hole of `most` bytes, when that can be told without
    /// looking, and nothing is pending.
    fn zeros_at_once(&self, most: usize, sparse: bool) -> Option<usize> {
        match &self.rule {
            Rule::Buzhash {
                zeros_uncut,
                size_max,
                ..
            } => (*zeros_uncut && most >= *size_max).then_some(*size_max),
            Rule::Fixed {
                block_size,
                header_left: 0,
                ..
            } if sparse => Some(most.min(*block_size)),
            Rule::Fixed {
                block_size,
                header_left: 0,
                ..
            } => (most >= *block_size).then_some(*block_size),
            Rule::Fixed { .. } => None,
        }
    }
}

/// Bytes of the next block, when so many of the header are still to come: the header is cut
/// into blocks of its own.
fn block(block_size: usize, header_left: usize) -> usize {
    match header_left {
        0 => block_size,
        left => left.min(block_size),
    }
}

/// Whether all bytes are zero.
#[must_use]
pub fn is_zero(bytes: &[u8]) -> bool {
    // Most content tells at once.
    bytes
        .chunks(256)
        .all(|chunk| chunk.iter().fold(0, |any, byte| any | byte) == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    /// SHA-256 of "0", of "1" and so on.
    fn digests(count: u32) -> Vec<u8> {
        (0..count)
            .flat_map(|number| Sha256::digest(number.to_string()))
            .collect()
    }

    fn sizes(params: &str, seed: u32, data: &[u8]) -> Vec<usize> {
        let mut chunker = Chunker::new(params.parse().unwrap(), seed);
        let cuts = chunker.cuts(data);
        assert!(cuts.iter().flat_map(|cut| &data[cut.clone()]).eq(data));
        cuts.into_iter().map(|cut| cut.len()).collect()
    }

    /// The same, as a stream of pieces; holes are given as sizes without content.
    fn streamed(chunker: &mut Chunker, pieces: &[&[u8]]) -> (Vec<usize>, Vec<u8>) {
        let (mut sizes, mut content) = (Vec::new(), Vec::new());
        let mut emit = |chunk| match chunk {
            Chunk::Data(bytes) => {
                sizes.push(bytes.len());
                content.extend(bytes);
            }
            Chunk::Zeros(size) => {
                sizes.push(size);
                content.resize(content.len() + size, 0);
            }
        };
        for piece in pieces {
            if is_zero(piece) {
                chunker.hole(piece.len() as u64, &mut emit);
            } else {
                chunker.push(piece, &mut emit);
            }
        }
        chunker.finish(&mut emit);
        (sizes, content)
    }

    /// Stock Borg's cuts.
    #[test]
    fn content_is_cut_where_stock_borg_cuts_it() {
        let data = digests(200_000);
        assert_eq!(sizes("default", 0, &data), [2_113_637, 807_253, 3_479_110]);
        assert_eq!(
            sizes("default", 0x1234_5678, &data),
            [716_466, 5_570_157, 113_377]
        );
        assert_eq!(
            sizes("10,14,12,4095", 0, &data[..100_000]),
            [
                5901, 8401, 4331, 2527, 7093, 11_557, 3267, 2388, 4228, 16_384, 7894, 3499, 6493,
                1347, 14_690
            ]
        );
        let zeros = vec![0; 30 << 20];
        assert_eq!(
            sizes("default", 0, &zeros),
            [8 << 20, 8 << 20, 8 << 20, 6 << 20]
        );
    }

    #[test]
    fn a_stream_is_cut_where_the_whole_is() {
        let data = digests(200_000);
        for (params, seed) in [
            ("default", 0),
            ("default", 0x1234_5678),
            ("10,14,12,4095", 5),
        ] {
            let whole = sizes(params, seed, &data);
            let mut chunker = Chunker::new(params.parse().unwrap(), seed);
            for piece in [1 << 20, 4096, 1_234_567, 100] {
                let pieces: Vec<&[u8]> = data.chunks(piece).collect();
                let (sizes, content) = streamed(&mut chunker, &pieces);
                assert!(sizes == whole, "pieces of {piece}");
                assert!(content == data);
            }
        }
    }

    #[test]
    fn blocks_of_a_fixed_size() {
        let data = digests(10);
        assert_eq!(sizes("fixed,100", 0, &data), [100, 100, 100, 20]);
        assert_eq!(sizes("fixed,100,10", 0, &data), [10, 100, 100, 100, 10]);
        assert_eq!(sizes("fixed,100,150", 0, &data), [100, 50, 100, 70]);
        assert_eq!(sizes("fixed,100,150", 0, &data[..120]), [100, 20]);
        for params in ["fixed,100", "fixed,100,10", "fixed,100,150"] {
            let whole = sizes(params, 0, &data);
            let mut chunker = Chunker::new(params.parse().unwrap(), 0);
            for piece in [1, 7, 100, 320] {
                let pieces: Vec<&[u8]> = data.chunks(piece).collect();
                assert_eq!(streamed(&mut chunker, &pieces).0, whole);
            }
        }
    }

    #[test]
    fn blocks_begin_anew_at_each_end_of_a_hole_if_asked_to() {
        let data = digests(10);
        let pieces: [&[u8]; 3] = [&data[..150], &[0; 250], &data[150..]];
        let mut chunker = Chunker::new("fixed,100".parse().unwrap(), 0);
        assert_eq!(
            streamed(&mut chunker, &pieces).0,
            [100, 100, 100, 100, 100, 70]
        );
        let mut chunker = chunker.sparse(true);
        let (sizes, content) = streamed(&mut chunker, &pieces);
        assert_eq!(sizes, [100, 50, 100, 100, 50, 100, 70]);
        assert_eq!(content, pieces.concat());
        let mut chunker = Chunker::new("fixed,100,20".parse().unwrap(), 0).sparse(true);
        assert_eq!(
            streamed(&mut chunker, &pieces).0,
            [20, 100, 30, 100, 100, 50, 100, 70]
        );
    }

    #[test]
    fn a_huge_hole_takes_no_time() {
        let mut chunker = Chunker::new(ChunkerParams::DEFAULT, 0);
        let mut count = 0u64;
        chunker.hole(1 << 40, &mut |chunk| {
            assert_eq!(chunk, Chunk::Zeros(8 << 20));
            count += 1;
        });
        assert_eq!(count, 1 << 17);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing_to_the_next() {
        let data = digests(1000);
        for params in ["fixed,100,150", "10,14,12,63"] {
            let mut chunker = Chunker::new(params.parse().unwrap(), 0);
            let whole = streamed(&mut chunker, &[&data]).0;
            chunker.push(&data[..5000], &mut |_| {});
            chunker.abandon();
            assert_eq!(streamed(&mut chunker, &[&data]).0, whole);
        }
    }

    proptest! {
        #[test]
        fn a_stream_with_holes_is_cut_where_the_whole_is(
            seed: u32,
            pieces in prop::collection::vec((any::<bool>(), 1..3000usize), 0..12),
            params in prop::sample::select(vec![
                "6,10,8,63", "8,11,8,31", "6,7,6,63", "fixed,100", "fixed,64,700",
            ]),
        ) {
            let noise = digests(1200);
            let pieces: Vec<Vec<u8>> = pieces
                .into_iter()
                .map(|(hole, size)| if hole { vec![0; size] } else { noise[size..2 * size].into() })
                .collect();
            let whole = pieces.concat();
            let expected = sizes(params, seed, &whole);
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let mut chunker = Chunker::new(params.parse().unwrap(), seed);
            let (sizes, content) = streamed(&mut chunker, &pieces);
            prop_assert_eq!(sizes, expected);
            prop_assert_eq!(content, whole);
        }
    }
}
