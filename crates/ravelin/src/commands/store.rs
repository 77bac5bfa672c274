//! `ravelin store`

mod login;
mod test;

use super::{Ended, Session};
use crate::cli::Store;
use crate::exit::Exit;

pub(crate) fn run(which: &Store, session: &Session<'_>) -> Result<Exit, Ended> {
    match which {
        Store::Test(arguments) => test::run(arguments, session),
        Store::Login(arguments) => login::run(arguments, session),
    }
}
