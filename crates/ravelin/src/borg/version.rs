//! `borg version`

use borg::Location;

use super::arguments::Arguments;
use super::fail::Failure;
use super::session::Session;
use super::{VERSION, print};

/// Prints the version of the client and of the server; where there is no server, it is the same.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let server = match arguments.has("location") {
        false => VERSION.to_owned(),
        true => match session.spot(arguments)?.location {
            Location::Local(_) => VERSION.to_owned(),
            Location::Ssh(ssh) => borg::Remote::server_version(&ssh)?,
        },
    };
    print(format!("{VERSION} / {server}\n").as_bytes())
}
