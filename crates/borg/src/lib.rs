//! Borg 1.x repositories, read and written.

mod archive;
mod buffer;
mod chunker;
mod compress;
mod id;
mod item;
mod key;
mod manifest;
mod msgpack;
mod random;
mod tam;
mod timestamp;

pub use archive::{Archive, Totals};
pub use buffer::Buffer;
pub use chunker::{BadChunkerParams, Chunk, Chunker, ChunkerParams, is_zero};
pub use compress::{
    BadCompression, BadPayload, Compression, Compressor, Decompressor, PLAIN_SIZE_MAX, Padding,
};
pub use id::{BadId, Id};
pub use item::{BadItem, ChunkRef, ITEM_KEYS, Item, ItemOptions, ItemReader};
pub use key::{
    BadObject, Counters, ENTRY_HEADER_SIZE, Encryption, Key, KeyError, KeyStorage, Object, Opener,
    Passphrase, Reservation, Sealed, UnknownEncryption, find_key_file, key_file_text, new_key_file,
    plan_reservation, read_key_file,
};
pub use manifest::{ArchiveEntry, BadManifest, Manifest, Operation};
pub use msgpack::Malformed;
pub use random::{Random, SystemRandom};
pub use tam::{BadTam, Tam};
pub use timestamp::{BadTimestamp, Timestamp};
