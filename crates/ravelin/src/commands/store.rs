//! `ravelin store`

mod login;
mod test;

use std::time::Duration;

use store::Patience;

use super::{Ended, Session};
use crate::cli::Store;
use crate::exit::Exit;

/// How long passing faults are put up with while a person waits.
const PATIENCE: Patience = Patience {
    total: Duration::from_secs(120),
    ..Patience::PATIENT
};

pub(crate) fn run(which: &Store, session: &Session<'_>) -> Result<Exit, Ended> {
    match which {
        Store::Test(arguments) => test::run(arguments, session),
        Store::Login(arguments) => login::run(arguments, session),
    }
}
