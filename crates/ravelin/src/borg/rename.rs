//! `borg rename`

use borg::Access;
use bstr::ByteSlice;

use super::arguments::Arguments;
use super::fail::Failure;
use super::place::archive_name;
use super::session::Session;

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let (spot, name) = session.archive(arguments)?;
    let new = archive_name(&arguments.text("name").unwrap_or_default(), session.now)?;
    let mut archives = session.open(&spot, Access::Write)?;
    archives
        .manifest()
        .check_features(borg::Operation::Check)
        .map_err(borg::Error::from)?;
    let (name, new) = (name.as_bytes().as_bstr(), new.as_bytes().as_bstr());
    archives.rename(name, new, session.host(), session.now)?;
    Ok(())
}
