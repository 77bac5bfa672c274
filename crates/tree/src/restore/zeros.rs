//! Finds the zeros in content that may as well be holes.

/// File systems allocate in blocks of this size or of multiples.
const BLOCK_SIZE: usize = 4096;

/// Shortest run that becomes a hole. A shorter one would save less than the map of the file grows.
const HOLE_SIZE_MIN: usize = 4 * BLOCK_SIZE;

/// What has to be written of `bytes`, which stand at `offset`, with its own offset.
///
/// Left out are runs of zeros of at least four whole blocks.
pub(super) fn data_runs(offset: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let position = offset + at as u64;
            let (length, is_hole) = next_run(position, rest);
            at += length;
            if !is_hole {
                return Some((position, rest.get(..length).unwrap_or(rest)));
            }
        }
    })
}

/// Length of what comes next, and whether it is a hole.
fn next_run(position: u64, bytes: &[u8]) -> (usize, bool) {
    if bytes.len() < HOLE_SIZE_MIN {
        return (bytes.len(), false);
    }
    // A hole starts at a block.
    let block = BLOCK_SIZE as u64;
    let mut start = usize::try_from(position.next_multiple_of(block) - position).unwrap_or(0);
    loop {
        let zeros = zero_blocks(bytes.get(start..).unwrap_or_default());
        if zeros >= HOLE_SIZE_MIN {
            return if start == 0 {
                (zeros, true)
            } else {
                (start, false)
            };
        }
        start += zeros + BLOCK_SIZE;
        if start >= bytes.len() {
            return (bytes.len(), false);
        }
    }
}

/// Bytes of whole blocks of zeros at the beginning.
fn zero_blocks(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks_exact(BLOCK_SIZE);
    blocks.take_while(|block| is_zero(block)).count() * BLOCK_SIZE
}

fn is_zero(block: &[u8]) -> bool {
    // Most data shows itself in the first bytes; the rest is looked at in long words.
    let (words, rest) = block.as_chunks::<32>();
    let zero = [0; 32];
    words.iter().all(|word| *word == zero) && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: usize = BLOCK_SIZE;
    const BLOCK_OFFSET: u64 = BLOCK_SIZE as u64;

    fn runs(offset: u64, bytes: &[u8]) -> Vec<(u64, usize)> {
        data_runs(offset, bytes)
            .map(|(offset, run)| (offset, run.len()))
            .collect()
    }

    #[test]
    fn long_runs_of_zeros_are_left_out_and_short_ones_are_not() {
        let mut bytes = vec![0; 20 * BLOCK];
        bytes[7 * BLOCK + 5] = 1;
        bytes[9 * BLOCK] = 1;
        assert_eq!(runs(0, &bytes), [(7 * BLOCK_OFFSET, 3 * BLOCK)]);
        assert_eq!(runs(0, &[0; 4 * BLOCK - 1]), [(0, 4 * BLOCK - 1)]);
        assert_eq!(runs(0, &[]), []);
    }

    #[test]
    fn holes_start_at_blocks_of_the_file_not_of_the_piece() {
        let bytes = vec![0; 8 * BLOCK];
        assert_eq!(runs(1, &bytes), [(1, BLOCK - 1), (8 * BLOCK_OFFSET, 1)]);
    }

    proptest! {
        #[test]
        fn what_is_left_out_is_zero(
            offset in 0..3 * BLOCK_OFFSET,
            pieces in proptest::collection::vec((0..30_000usize, any::<bool>()), 0..12)
        ) {
            let mut bytes = Vec::new();
            for (length, zero) in pieces {
                bytes.resize(bytes.len() + length, u8::from(!zero));
            }
            let mut rebuilt = vec![0; bytes.len()];
            for (at, run) in data_runs(offset, &bytes) {
                let start = usize::try_from(at - offset).unwrap();
                rebuilt[start..start + run.len()].copy_from_slice(run);
            }
            prop_assert_eq!(rebuilt, bytes);
        }
    }
}
