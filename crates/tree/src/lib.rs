//! What a file system has: scanned in order, read ahead, restored.

mod acl;
mod entry;
mod path;
mod problem;
mod step;

pub use acl::{ACL_ACCESS_XATTR, ACL_DEFAULT_XATTR, AccountNames, AccountNumbers, BadAcl};
pub use entry::{Acl, AclEntry, AclWho, DeviceNumber, Entry, EntryKind, Flags, Owner, Time};
pub use path::{BadPath, TreePath};
pub use problem::{Problem, ProblemKind};
pub use step::{Block, Body, Ending, Step};
