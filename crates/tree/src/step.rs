//! What reading a tree hands on, in scan order.

use std::ops::Deref;
use std::sync::Arc;

use crate::read_ahead::Share;
use crate::{Entry, Problem};

/// One step of reading a tree. Steps come in scan order, whatever was read ahead.
///
/// A regular file that a reader wants comes either with its whole content
/// ([`Body::Whole`]) or as [`Body::Blocks`], followed by [`Step::Data`] and [`Step::Hole`] steps
/// and exactly one [`Step::End`]. Nothing comes in between.
#[derive(Debug, Clone)]
pub enum Step {
    /// An object was found and its metadata read.
    Entry {
        /// The object.
        entry: Arc<Entry>,
        /// Its content, or how it will come.
        body: Body,
    },
    /// The next bytes of the file that the last [`Step::Entry`] announced.
    Data(Block),
    /// A hole of so many bytes stands here in that file.
    Hole(u64),
    /// That file is finished.
    End(Ending),
    /// Something could not be read. Its neighbours are in the stream. It is itself only if the last
    /// [`Step::Entry`] has its path: then it is a folder that could not be listed, or an object
    /// whose extended attributes could not be read, and lacks those.
    Problem(Arc<Problem>),
}

/// The content that comes with an [`Step::Entry`].
#[derive(Debug, Clone)]
pub enum Body {
    /// None: not a regular file, or nobody wants the bytes.
    None,
    /// All of it, and it did not change meanwhile. Small files come so.
    Whole(Block),
    /// It follows in steps of its own. Large files come so, and small ones that changed each time
    /// they were read.
    Blocks,
}

/// How the content of a file ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// It was read from beginning to end and did not change meanwhile.
    Complete,
    /// It changed while it was read: what was handed on may mix two states. The problem says so.
    Changed(Arc<Problem>),
    /// An error in the middle: what was handed on is not the file, and must not be kept.
    Failed(Arc<Problem>),
}

/// Bytes of a file, shared by all that want them; freed, and its share of the read-ahead memory
/// given back, when the last of them lets go.
#[derive(Debug, Clone)]
pub struct Block(pub(crate) Arc<BlockBytes>);

/// The bytes of a [`Block`] with their share of the memory.
#[derive(Debug)]
pub(crate) struct BlockBytes {
    bytes: Vec<u8>,
    share: Option<Share>,
}

impl Drop for BlockBytes {
    fn drop(&mut self) {
        if let Some(share) = self.share.take() {
            share.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl Block {
    /// A block outside any budget: for tests and for content that does not come from a file.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(BlockBytes { bytes, share: None }))
    }

    /// A block that holds a share of the memory for reading ahead.
    pub(crate) fn sharing(bytes: Vec<u8>, share: Share) -> Self {
        Self(Arc::new(BlockBytes {
            bytes,
            share: Some(share),
        }))
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}
