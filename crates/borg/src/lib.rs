//! Borg 1.x repositories, read and written.

mod msgpack;

pub use msgpack::Malformed;
