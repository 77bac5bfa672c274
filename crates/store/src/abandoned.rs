//! What interrupted writes leave behind: files that have not got their name yet, and uploads that
//! nobody ends.

use std::time::{Duration, SystemTime};

use crate::{Environment, Name};

/// Starts the names of files that are still written.
pub(crate) const TEMPORARY: &str = ".ravelin-tmp-";

/// Where a file is written before it gets its name: beside it, so that the step is a rename.
pub(crate) fn temporary(name: &Name, environment: &Environment) -> String {
    format!(
        "{}{TEMPORARY}{}",
        name.folder().prefix(),
        environment.random_name()
    )
}

/// Whether a path is one of [`temporary`].
pub(crate) fn is_temporary(path: &str) -> bool {
    let file_name = path.rsplit('/').next();
    file_name.is_some_and(|name| name.starts_with(TEMPORARY))
}

/// Whether the last change is at least `age` ago. What has no time is left alone.
pub(crate) fn is_older(modified: Option<SystemTime>, now: SystemTime, age: Duration) -> bool {
    modified.is_some_and(|modified| now.duration_since(modified).is_ok_and(|past| past >= age))
}
