//! What the person decides before a restore.

/// How a restore goes about what it meets and what it takes over.
///
/// The default harms nothing: what stands there stays, what is restored beside it gets a new
/// name, and nothing comes back that gives rights beyond those of ordinary files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// What to do where something stands already.
    pub conflict: Conflict,
    /// Whom restored objects belong to.
    pub owners: Owners,
    /// How much of what was recorded comes back.
    pub fidelity: Fidelity,
    /// What to do with zeros.
    pub zeros: Zeros,
    /// Waits at the end until everything is on the disk (`syncfs`).
    ///
    /// Off by default, as in every tool of the field: the system writes on its own within half a
    /// minute, and on a slow disk the wait is longer than the restore.
    pub sync: bool,
}

/// What to do where something else stands under the name of an entry.
///
/// Whatever is chosen, a folder that has entries is never deleted, a folder where the archive
/// has a folder is gone into, and what stands there exactly as recorded is left alone
/// (but see [`Overwrite`](Self::Overwrite)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conflict {
    /// The restored one gets a new name: `report (restored).odt`.
    #[default]
    KeepBoth,
    /// What stands there is replaced, also when it looks the same: the choice after a power cut
    /// or when the disk is not trusted.
    Overwrite,
    /// What stands there stays, the entry is not restored.
    Skip,
    /// What stands there is replaced unless it is right: of the same kind, and a regular file of
    /// the same size and time of change. Owner, mode and the like of what is right are mended.
    OnlyIfDifferent,
}

/// Whom restored objects belong to.
///
/// Without the right to give files away they belong to whoever restores; the report counts them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Owners {
    /// The user and group of the recorded names; where this machine does not know a name, of the
    /// recorded numbers. The same for the names in ACLs.
    #[default]
    ByName,
    /// The recorded numbers: for a disk of another machine, mounted here.
    ByNumber,
}

/// How much of what was recorded comes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fidelity {
    /// Content, times, permissions without set-uid, set-gid and sticky, and `user.*` attributes. All
    /// belongs to whoever restores. For drills: nothing that a restore could be abused for.
    Harmless,
    /// And owner, sticky, set-gid of folders, ACLs and the no-dump flag.
    #[default]
    Usual,
    /// And set-uid and set-gid of files whose owner could be restored, device nodes, all other
    /// extended attributes (file capabilities, security labels, `trusted.*`), and the immutable
    /// and append-only flags. For a whole system, by root, from an archive that is trusted.
    AsItWas,
}

/// What to do with zeros in the content of files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Zeros {
    /// Long runs become holes, so that sparse files are sparse again.
    #[default]
    Holes,
    /// They are written; only what is announced as a hole is one.
    Written,
}
