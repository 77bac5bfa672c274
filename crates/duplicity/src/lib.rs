//! Duplicity's archives, read and written.

mod archive;
mod backup;
mod base;
mod blocks;
mod collection;
mod compare;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod gunzip;
mod inflate;
pub mod librsync;
mod listing;
mod manifest;
mod member;
mod name;
mod openpgp;
mod preview;
mod read_ahead;
mod restore;
mod resume;
mod retention;
pub mod snapshot;
mod spool;
mod synthesize;
pub mod tar;
mod time;
mod verify;
mod volume;

pub use archive::{Archive, Protection, Settings, default_name};
pub use backup::{ChangeListener, Intake, Summary, Wanted};
pub use collection::{BackupSet, Chain, Collection, Missing, StoredFile};
pub use compare::{Comparison, Difference, DifferenceKind};
pub use error::{Error, chain};
pub use listing::{Listed, Listing, Objects};
pub use manifest::{
    BadManifest, Change, ChangedFile, Hash, MANIFEST_SIZE_MAX, Manifest, Position, VolumeInfo,
};
pub use member::{BadMember, MemberKind, MemberName, entry_of, header_of};
pub use name::{FileName, Part, Prefixes, SetKind, Suffix};
pub use openpgp::program::{Gpg, GpgError};
pub use openpgp::{OpenError, Passphrase};
pub use preview::Preview;
pub use restore::{Delivered, Delivery, FileContent, Restored, Selection};
pub use retention::RemovalPlan;
pub use snapshot::{Item, Snapshot};
pub use time::SetTime;
pub use verify::{Depth, Verification};
