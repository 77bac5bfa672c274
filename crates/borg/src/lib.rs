//! Borg 1.x repositories, read and written.

mod buffer;
mod compress;
mod msgpack;
mod random;

pub use buffer::Buffer;
pub use compress::{
    BadCompression, BadPayload, Compression, Compressor, Decompressor, PLAIN_SIZE_MAX, Padding,
};
pub use msgpack::Malformed;
pub use random::{Random, SystemRandom};
