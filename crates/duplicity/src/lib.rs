//! Duplicity's archives, read and written.

pub mod librsync;
mod manifest;
mod name;
pub mod tar;
mod time;

pub use manifest::{
    BadManifest, Change, ChangedFile, Hash, MANIFEST_SIZE_MAX, Manifest, Position, VolumeInfo,
};
pub use name::{FileName, Part, Prefixes, SetKind, Suffix};
pub use time::SetTime;
