//! The rsync algorithm as librsync writes it down: signatures, deltas, patches.
//!
//! A signature is a list of checksums of a file's blocks. From it and the file's next state comes
//! a delta, without the old file at hand; old file and delta make the new one. All three stream,
//! with memory bounded by the signature and a few blocks.
//!
//! Format: librsync's own documentation; `rdiff` is the judge in the tests.

mod delta;
mod md4;
mod patch;
mod rollsum;
mod signature;
mod sums;

pub use delta::DeltaWriter;
pub use patch::{BadDelta, Command, DeltaReader, Source, Splice};
pub use signature::{BadSignature, Signature, SignatureWriter, block_length};

/// Magic of a signature with MD4 strong sums: `rs\x016`.
const SIGNATURE_MAGIC: u32 = 0x7273_0136;

/// Magic of a delta: `rs\x026`.
const DELTA_MAGIC: u32 = 0x7273_0236;

/// Bytes of MD4 that duplicity keeps of every block.
pub(crate) const STRONG_LENGTH: usize = 8;
