//! `borg break-lock` and `borg with-lock`

use std::io;
use std::process::Command;

use borg::{Access, Backend, Lock};

use super::arguments::Arguments;
use super::fail::Failure;
use super::session::Session;

pub(crate) fn break_lock(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let options = session.options(Access::NoLock);
    let repository = Backend::open(&spot.location, &options)?;
    let cache = session.home.cache_of(&repository.id()).join("lock");
    drop(repository);
    Backend::break_lock(&spot.location, &options)?;
    if cache.parent().is_some_and(std::path::Path::is_dir) {
        Lock::break_all(&cache)?;
    }
    Ok(())
}

pub(crate) fn with_lock(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let repository = Backend::open(&spot.location, &session.options(Access::Write))?;
    let command = arguments.os("command").unwrap_or_default();
    let status = Command::new(command).args(arguments.all("args")).status();
    drop(repository);
    let status = status.map_err(|error| {
        let name = command.to_string_lossy();
        match error.kind() {
            io::ErrorKind::NotFound => Failure::command(format!("'{name}' not found")),
            _ => Failure::command(format!("cannot run '{name}': {error}")),
        }
    })?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => {
            session.log.exit_with(u8::try_from(code).unwrap_or(2));
            Ok(())
        }
        None => Err(Failure::error(format!("the command ended: {status}"))),
    }
}
