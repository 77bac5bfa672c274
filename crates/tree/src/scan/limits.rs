//! How many files may be open at a time.

use rustix::process::{Resource, getrlimit};

/// Shares of the open files that this process may have; the larger part is left to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Folders on the way down from the root that stay open.
    pub(super) levels: usize,
    /// Folders that the names of one batch may lie in.
    pub(super) batch_folders: usize,
    /// Files of one batch that are open while it waits to be read.
    pub(super) batch_files: usize,
}

impl Limits {
    /// Shares for so many threads.
    pub(crate) fn of_this_process(threads: usize) -> Self {
        let soft = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Self::of(usize::try_from(soft).unwrap_or(usize::MAX), threads)
    }

    /// Less than half of `open_max` for up to four threads.
    fn of(open_max: usize, threads: usize) -> Self {
        let threads = threads.max(1);
        Self {
            levels: (open_max / 16).clamp(2, 64),
            batch_folders: (open_max / 32 / threads).clamp(1, 32),
            batch_files: (open_max / 4 / threads).clamp(1, 128),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_the_files_that_may_be_open_are_left_to_others() {
        for (open_max, threads) in [(64, 1), (64, 4), (256, 4), (1024, 2), (1 << 20, 4)] {
            let limits = Limits::of(open_max, threads);
            let used = limits.levels + threads * (limits.batch_folders + limits.batch_files + 2);
            assert!(used <= open_max / 2, "{limits:?}");
        }
    }
}
