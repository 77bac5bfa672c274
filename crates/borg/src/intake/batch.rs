//! What travels from the intake to its workers: many small chunks or a few large ones at a time.

use std::ops::{Deref, Range};
use std::sync::{Arc, LazyLock};

use tree::{Block, Entry};

use crate::files_cache::{Place, SeenFile};
use crate::{Item, PLAIN_SIZE_MAX};

/// A batch for BLAKE2b is handed on when it holds so many bytes of content…
///
/// One or two chunks of usual size: with the authentication of the batch before, there are enough
/// of them for the four lanes of BLAKE2b.
const LANES_BYTES: usize = 2 << 20;

/// … or so many, when it is of many small chunks: that keeps all lanes busy as well. Without lanes
/// this is always enough…
const BYTES: usize = 1 << 20;

/// … which these are…
const SMALL_LENGTH: usize = 16;

/// … or so many chunks, or twice as many marks…
const LENGTH_MAX: usize = 256;

/// … or unchanged files that have so many chunks.
const KNOWN_MAX: usize = 16 * LENGTH_MAX;

/// A stretch of the scan, in order: the chunks to be stored and what they belong to.
#[derive(Default)]
pub(super) struct Batch {
    /// The plain chunks.
    pub(super) chunks: Vec<Plain>,
    /// What happens in which order; [`FileMark::Chunks`] refers to `chunks`, first to last.
    pub(super) marks: Vec<Mark>,
    /// Bytes in `chunks`.
    pub(super) bytes: usize,
    /// How many chunks the unchanged files have.
    pub(super) known: usize,
}

impl Batch {
    /// Whether it is enough for a worker. `has_lanes` says whether hashes are computed in lanes.
    pub(super) fn is_full(&self, has_lanes: bool) -> bool {
        let has_enough = !has_lanes || self.chunks.len() >= SMALL_LENGTH;
        self.bytes >= LANES_BYTES
            || (self.bytes >= BYTES && has_enough)
            || self.chunks.len() >= LENGTH_MAX
            || self.marks.len() >= 2 * LENGTH_MAX
            || self.known >= KNOWN_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Adds what happens to a file that is read.
    pub(super) fn mark(&mut self, mark: FileMark) {
        self.marks.push(Mark::File(mark));
    }

    /// Adds a chunk of the file that is open.
    pub(super) fn push(&mut self, chunk: Plain) {
        self.bytes += chunk.len();
        self.chunks.push(chunk);
        match self.marks.last_mut() {
            Some(Mark::File(FileMark::Chunks(count))) => *count += 1,
            _ => self.mark(FileMark::Chunks(1)),
        }
    }
}

/// One event of the scan as the archive sees it.
pub(super) enum Mark {
    /// An item without content of its own.
    Item(Box<Item>),
    /// A file whose chunks are known from an earlier archive.
    Unchanged {
        /// The file.
        entry: Arc<Entry>,
        /// Where the cache of files has its chunks. All of them are in the index.
        place: Place,
    },
    /// Something happens to a file that is read.
    File(FileMark),
}

/// What happens to a file that is read.
pub(super) enum FileMark {
    /// It begins.
    Begin {
        /// The item, without its chunks.
        item: Box<Item>,
        /// How to know it again in the next run, if there is a way.
        memory: Option<SeenFile>,
    },
    /// So many chunks of the batch belong to it.
    Chunks(usize),
    /// It ends, and may be known again in the next run.
    Complete,
    /// It ends; it changed while it was read, so the next run must read it again.
    Changed,
    /// It could not be read to its end and is left out.
    Abandon,
}

/// As many zeros as a chunk can have. Their memory is shared with all other untouched memory.
static ZEROS: LazyLock<Vec<u8>> = LazyLock::new(|| vec![0; PLAIN_SIZE_MAX]);

/// The plain bytes of one chunk.
pub(super) enum Plain {
    /// So many zeros.
    Zeros(usize),
    /// Cut out of a stream.
    Owned(Vec<u8>),
    /// A whole small file, as it was read ahead.
    Block(Block),
    /// A part of a file that was read in one piece.
    Part(Block, Range<usize>),
}

impl Deref for Plain {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Zeros(size) => ZEROS.get(..*size).unwrap_or_default(),
            Self::Owned(bytes) => bytes,
            Self::Block(block) => block,
            Self::Part(block, range) => block.get(range.clone()).unwrap_or_default(),
        }
    }
}
