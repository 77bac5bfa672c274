//! What the program's exit code says.

use std::process::ExitCode;

use engine::{Code, Outcome, Report};

/// How the program ends. The numbers are a promise: scripts and service managers act on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Good,
    Failed,
    Usage,
    Skipped,
    Partial,
    Locked,
    WrongPassphrase,
    Waiting,
    Interrupted,
}

impl Exit {
    /// All ways to end, in the order of their numbers, with what they mean.
    #[cfg(test)]
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::Good, "Everything was done."),
        (
            Self::Failed,
            "It could not be done, or damage was found. The text on stderr says why.",
        ),
        (
            Self::Usage,
            "The command line or the configuration holds mistakes; nothing was done.",
        ),
        (
            Self::Skipped,
            "Backed up or restored, but some files were left out, a hook failed, or an earlier snapshot was found damaged; they are named.",
        ),
        (
            Self::Partial,
            "Some layers are good, some failed; or an alarm of the guard stands.",
        ),
        (Self::Locked, "Another program holds the lock of the store."),
        (
            Self::WrongPassphrase,
            "The passphrase does not open the key.",
        ),
        (
            Self::Waiting,
            "Nothing was done: what is due waits for power, network, a drive, or another run. Not a failure.",
        ),
        (Self::Interrupted, "Stopped by Ctrl-C or SIGTERM, tidily."),
    ];

    /// The number.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Skipped => 3,
            Self::Partial => 4,
            Self::Locked => 11,
            Self::WrongPassphrase => 12,
            Self::Waiting => 75,
            Self::Interrupted => 130,
        }
    }

    /// How another process of this program has ended.
    pub(crate) fn of_number(number: Option<i32>) -> Self {
        let all = [
            Self::Good,
            Self::Usage,
            Self::Skipped,
            Self::Partial,
            Self::Locked,
            Self::WrongPassphrase,
            Self::Interrupted,
        ];
        let found = all
            .into_iter()
            .find(|exit| number == Some(i32::from(exit.number())));
        // Where it was killed, it has failed.
        found.unwrap_or(Self::Failed)
    }

    /// How a run with this report ends.
    pub(crate) fn of_report(report: &Report) -> Self {
        match (report.outcome, report.common_failure()) {
            (Outcome::Failed, Some(code)) => Self::of_code(code),
            (outcome, _) => Self::of_outcome(outcome),
        }
    }

    /// How an operation with this outcome ends.
    pub(crate) fn of_outcome(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Good => Self::Good,
            Outcome::Skipped => Self::Skipped,
            Outcome::Partial => Self::Partial,
            Outcome::Failed => Self::Failed,
            Outcome::Stopped => Self::Interrupted,
        }
    }

    /// How an operation that failed for this reason ends.
    pub(crate) fn of_code(code: Code) -> Self {
        match code {
            Code::ConfigMistakes
            | Code::NoSuchLayer
            | Code::BadPath
            | Code::SnapshotName
            | Code::StoreLocation => Self::Usage,
            Code::RepositoryLocked | Code::AlreadyRunning => Self::Locked,
            Code::WrongPassphrase => Self::WrongPassphrase,
            Code::Stopped => Self::Interrupted,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}
