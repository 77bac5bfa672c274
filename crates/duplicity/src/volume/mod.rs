//! Files of an archive on their way to the store: compressed by several threads, encrypted,
//! hashed, and uploaded while the next one is being filled.

mod deflate;
mod encode;
mod open_end;
mod pipeline;

#[cfg(test)]
pub(crate) use deflate::{Deflater, END};
pub(crate) use deflate::{PIECE_SIZE, stored};
pub(crate) use encode::{Encoded, seal_deflated, seal_plain};
pub(crate) use pipeline::{Abort, Pool, Stream, Uploads, upload};
