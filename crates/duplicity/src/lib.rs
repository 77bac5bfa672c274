//! Duplicity's archives, read and written.

mod collection;
pub mod librsync;
mod manifest;
mod member;
mod name;
mod retention;
pub mod tar;
mod time;

pub use collection::{BackupSet, Chain, Collection, Missing, StoredFile};
pub use manifest::{
    BadManifest, Change, ChangedFile, Hash, MANIFEST_SIZE_MAX, Manifest, Position, VolumeInfo,
};
pub use member::{BadMember, MemberKind, MemberName, entry_of, header_of};
pub use name::{FileName, Part, Prefixes, SetKind, Suffix};
pub use retention::RemovalPlan;
pub use time::SetTime;
