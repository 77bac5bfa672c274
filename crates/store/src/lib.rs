//! Where a layer's bytes are kept: disk, SSH and cloud services behind one interface.
//!
//! ```
//! use ravelin_store::{Environment, Name, WriteMode};
//!
//! # use ravelin_store as store;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let clock = || std::time::UNIX_EPOCH;
//! # let random = |bytes: &mut [u8]| bytes.fill(7);
//! let environment = Environment::new(clock, random);
//! let store = store::open(&"memory:".parse()?, &environment)?;
//! let name = Name::new("data/1")?;
//! store.write(&name, b"some bytes", WriteMode::Create)?;
//! assert_eq!(store::read_all(&*store, &name, 1000)?, b"some bytes");
//! # Ok(())
//! # }
//! ```

mod abandoned;
mod auth;
mod b2;
mod bandwidth;
mod body;
pub mod conformance;
mod content;
mod counters;
mod digest;
mod disk;
mod drive;
mod dropbox;
mod environment;
mod error;
mod faulty;
#[doc(hidden)]
pub mod fuzz;
mod http;
mod location;
mod memory;
mod name;
mod open;
mod patience;
pub mod probe;
mod rclone;
mod record;
mod resume;
mod retry;
mod s3;
mod secret;
mod sftp;
mod store;
mod transfer;
mod webdav;
mod xml;

pub use auth::{Client, DeviceSignIn, Keep, KeptIn, Provider, SignIn, SignInNeeded};
pub use b2::B2;
pub use bandwidth::{Bandwidth, LimitedWriter};
pub use content::{Content, FileContent, Spool, SpoolError};
pub use counters::Counters;
pub use digest::{Digest, DigestKind, Hasher, digest_of};
pub use disk::Disk;
pub use drive::Drive;
pub use dropbox::{
    Changes, Dropbox, DropboxLink, DropboxRequest, FileHistory, Revision, RevisionChange,
};
pub use environment::{Clock, Endpoints, Environment, Random, Stopping, Variables};
pub use error::{Error, ErrorKind, Operation};
pub use faulty::{Fault, Faulty};
pub use location::{BadLocation, Location, S3Location, Server};
pub use memory::Memory;
pub use name::{BadName, Folder, Name};
pub use open::open;
pub use patience::Patience;
pub use rclone::Rclone;
pub use record::{Call, Record};
pub use retry::Retry;
pub use s3::{BucketGuard, PRESIGNED_LIFE_MAX, S3};
pub use secret::Secret;
pub use sftp::Sftp;
pub use store::{
    ABANDONED, COPY_SIZE_MAX, Capabilities, Object, Range, Reading, Scope, Space, Store, WriteMode,
    list_all, read_all,
};
pub use transfer::{Permit, Permits, in_parallel};
pub use webdav::WebDav;
