//! Why a screen cannot be shown, or a thing not be done.

use axum::http::StatusCode;
use engine::Explanation;

/// What the error page says.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Nobody is signed in.
    SignIn,
    /// There is nothing at this address.
    NotFound,
    /// The form is not one of this session.
    Stale,
    /// Wait so many seconds.
    TooMany(i64),
    /// What was typed does not do; the key of a message.
    Typed(&'static str),
    /// Something else is under way.
    Busy,
    /// What the engine says.
    Explained(Box<Explanation>),
}

impl Fault {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::SignIn => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Stale => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Typed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy => StatusCode::CONFLICT,
            Self::Explained(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<engine::Error> for Fault {
    fn from(error: engine::Error) -> Self {
        Self::Explained(Box::new(engine::explain(&error)))
    }
}

/// Whether a backup that is there did not open with what a person has typed; nothing at all is not
/// its passphrase either.
pub(crate) fn is_about_the_passphrase(error: &engine::Error) -> bool {
    use engine::Code::{SecretMissing, WrongPassphrase};
    matches!(engine::explain(error).code, WrongPassphrase | SecretMissing)
}
