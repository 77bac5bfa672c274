//! Borg 1.x repositories, read and written.

mod archive;
mod archives;
mod backend;
mod buffer;
mod cache;
mod check;
mod chunk_index;
mod chunk_reader;
mod chunker;
mod compress;
mod counters_store;
mod error;
mod files_cache;
#[doc(hidden)]
pub mod fuzz;
mod hash_index;
mod home;
mod host;
mod id;
mod ini;
mod intake;
mod integrity;
mod item;
mod item_stream;
mod keep;
mod key;
mod location;
mod lock;
mod manifest;
mod mount;
mod msgpack;
mod random;
mod repository;
mod rpc;
mod save_file;
mod sealer;
mod security;
mod tam;
mod tar;
mod timestamp;
mod unpack;
mod unpacked;
mod uses;

pub use archive::{Archive, Totals};
pub use archives::{
    ArchiveInfo, Archives, ChunkUse, Chunks, Deleted, KeyForm, Recompress, Recreate,
    RepositoryInfo, export_key, import_key, move_out_of_passphrase, put_key, read_paper_key,
};
pub use backend::{Backend, Changes};
pub use buffer::Buffer;
pub use cache::{CacheSettings, cache_lost_checksums};
pub use check::{
    CheckReport, CheckScope, CheckStep, Checker, Hurt, HurtArchive, HurtFile, LostFile, LostPiece,
    ManifestState, RepairReport, RepositoryState,
};
pub use chunk_reader::{ChunkReader, ReadBatch};
pub use chunker::{BadChunkerParams, Chunk, Chunker, ChunkerParams, is_zero};
pub use compress::{
    BadCompression, BadPayload, Compression, Compressor, Decompressor, PLAIN_SIZE_MAX, Padding,
};
pub use error::Error;
pub use files_cache::{BadFilesMode, FilesMemory, FilesMode};
pub use hash_index::{HashIndex, IndexError, VALUE_MAX};
pub use home::Home;
pub use host::Host;
pub use id::{BadId, Id};
pub use intake::{Intake, NewArchive, Statistics};
pub use item::{BadItem, ChunkRef, ITEM_KEYS, Item, ItemOptions, ItemReader};
pub use keep::{Keep, Period, Reason, checkpoint_of, keep};
pub use key::{
    BadObject, BadPaper, Counters, ENTRY_HEADER_SIZE, Encryption, Fetched, Key, KeyError,
    KeyStorage, Object, Opener, Passphrase, RelatedSecrets, Reservation, Sealed, UnknownEncryption,
    find_key_file, key_file_text, new_key_file, plan_reservation, read_key_file,
};
pub use location::{BadLocation, Location, SshLocation};
pub use lock::Lock;
pub use manifest::{ArchiveEntry, BadManifest, Manifest, Operation};
pub use mount::{MountOptions, MountSelect, MountWhat, Mounted, mount, unmount};
pub use msgpack::Malformed;
pub use random::{Random, SystemRandom};
pub use repository::{
    Access, Checked, Compacted, Compaction, Config, Damage, DamageKind, DamagedPlace,
    IndexDifference, LogEntry, OBJECT_SIZE_MAX, OpenOptions, PASSED_SIZE_MIN, Position, Repaired,
    Repository, RepositoryOptions, SparseSegment, Tag, Tail, Transaction, frame_put, parse_size,
};
pub use rpc::{Remote, RemoteChanges, Said, ServeOptions, ServerListener, Severity, serve};
pub use security::Trust;
pub(crate) use tam::TAM_SIZE;
pub use tam::{BadTam, Tam};
pub use tar::{Exported, ImportOptions, Imported, TarFilter, TarForm, export_tar, import_tar};
pub use timestamp::{BadTimestamp, Timestamp};
pub use unpack::{UnpackError, Unpacker, unpack, unreadable};
pub use unpacked::unpacked;
