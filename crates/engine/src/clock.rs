//! The one place below the program where the clock is read.

use std::sync::Arc;

use jiff::ZonedDateTime;

/// Tells what time it is. Tests bring their own.
pub type Clock = Arc<dyn Fn() -> ZonedDateTime + Send + Sync>;

/// The system's clock, in the system's time zone.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the clock is read here and handed on as an argument"
)]
pub fn system() -> ZonedDateTime {
    ZonedDateTime::now()
}
