//! `ravelin mount` and `ravelin umount`

use std::env;
use std::io;
use std::process::Command;

use engine::layer::{Access, Shown};

use super::{Ended, Opened, Session};
use crate::background::{self, Started};
use crate::cli::{Mount, Umount};
use crate::exit::Exit;

pub(crate) fn run(arguments: &Mount, session: &Session<'_>) -> Result<Exit, Ended> {
    if !arguments.foreground && !arguments.is_background {
        return Ok(start_in_background(arguments, session)?);
    }
    let config = session.config()?;
    let layer = engine::choose_layer(&config, arguments.of.layer.as_deref())?;
    let name = layer.name.clone();
    let failed = |error| engine::Error::of_layer(&name)(error);
    let opened = engine::layer::open(layer, Access::Read, session.machine).map_err(failed)?;
    let mut opened = Opened {
        name: name.clone(),
        layer: opened,
    };
    let shown = match &arguments.snapshot {
        Some(typed) => Shown::One(opened.snapshot(typed, &session.zone)?),
        None if arguments.versions => Shown::Versions,
        None => Shown::All,
    };
    let mounted = opened
        .layer
        .mount(&shown, &arguments.mount_point, arguments.allow_other);
    let mounted = mounted.map_err(failed)?;
    if arguments.is_background {
        background::ready()?;
    }
    let ended = mounted.wait(&|| session.stop.is_requested());
    ended.map_err(|source| {
        let action = format!("keep {} mounted", arguments.mount_point.display());
        failed(engine::layer::Error::Io { action, source })
    })?;
    Ok(Exit::Good)
}

fn start_in_background(arguments: &Mount, session: &Session<'_>) -> io::Result<Exit> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).arg("--is-background");
    match background::start(&mut command)? {
        Started::Ready => {
            session.output.tell(&format!(
                "mounted at {}; `ravelin umount` ends it",
                arguments.mount_point.display()
            ));
            Ok(Exit::Good)
        }
        Started::Ended(code) => Ok(Exit::of_number(code)),
    }
}

pub(crate) fn unmount(arguments: &Umount, session: &Session<'_>) -> Result<Exit, Ended> {
    let mount_point = &arguments.mount_point;
    match engine::layer::unmount(mount_point) {
        Ok(()) => Ok(Exit::Good),
        Err(error) => {
            let output = session.output;
            output.say(&format!(
                "error: cannot unmount {}: {error}",
                mount_point.display()
            ));
            let next = match error.kind() {
                io::ErrorKind::ResourceBusy => {
                    "Close what uses it, also shells whose folder it is, then say it again."
                }
                io::ErrorKind::NotFound => "Install `fusermount3`: Debian's package is fuse3.",
                _ => {
                    "`findmnt -t fuse.ravelin` lists what is mounted; only who mounted it can end it."
                }
            };
            output.say(&format!("  next: {next}"));
            Ok(Exit::Failed)
        }
    }
}
