//! What a file system has: scanned in order, read ahead, restored.

mod acl;
mod bookmarks;
mod entry;
mod path;
mod problem;
mod read_ahead;
mod restore;
mod scan;
mod step;

pub use acl::{ACL_ACCESS_XATTR, ACL_DEFAULT_XATTR, AccountNames, AccountNumbers, BadAcl};
pub use bookmarks::Bookmarks;
pub use entry::{Acl, AclEntry, AclWho, DeviceNumber, Entry, EntryKind, Flags, Owner, Time};
pub use path::{BadPath, TreePath};
pub use problem::{Problem, ProblemKind};
pub use read_ahead::{Options, read_ahead};
pub use restore::{
    Action, Conflict, Fidelity, FileWriter, LeftOut, Owners, Placed, Planner, Refusal, Restore,
    RestoreError, RestoreOptions, RestorePlan, RestoreReport, Restorer, Tally, Zeros,
};
pub use scan::{
    BadPattern, Filter, Listener, Omission, Pattern, Preset, Rule, RuleAction, Rules, Source,
    Style, Verdict, explain, scan,
};
pub use step::{Block, Body, Ending, Step};
