//! Archives as tar files, and tar files as archives.
//!
//! | form | what it keeps | read by |
//! |---|---|---|
//! | [`TarForm::Gnu`] | what `stat` says, times in seconds | every tar, stock Borg 1.x |
//! | [`TarForm::Pax`] | nanoseconds, extended attributes, ACLs as well | GNU tar with `--xattrs --acls`, stock Borg 1.x (what it knows) |
//! | [`TarForm::Borg`] | every key of an item, besides all of the above | this program, Borg 2 |
//!
//! The last has each item in the PAX record `BORG.item.meta`, in base64, beside
//! `BORG.item.version=1`, without its chunks: those follow as the content.

mod export;
mod filter;
mod header;
pub(crate) mod import;
mod sparse;

pub use export::{Exported, export_tar};
pub use filter::TarFilter;
pub use import::{ImportOptions, Imported, import_tar};

/// What a tar file keeps of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TarForm {
    /// What every tar program understands, and stock Borg writes.
    #[default]
    Gnu,
    /// POSIX headers with nanoseconds, extended attributes and ACLs.
    Pax,
    /// Everything.
    Borg,
}

/// The PAX records of the third form.
const META: &str = "BORG.item.meta";
const META_VERSION: &str = "BORG.item.version";
const VERSION: &str = "1";

/// Before the name of an extended attribute, as GNU tar and star have it.
const XATTR: &str = "SCHILY.xattr.";
const ACL_ACCESS: &str = "SCHILY.acl.access";
const ACL_DEFAULT: &str = "SCHILY.acl.default";
