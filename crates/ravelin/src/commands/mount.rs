//! `ravelin mount` and `ravelin umount`
//!
//! In the background, the program is started once more, since a process with threads cannot be
//! split. It says on its standard output when the files are there; whoever started it goes on
//! then, and it lets go of the terminal.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use engine::layer::{Access, Shown};
use nix::unistd::{dup2_stderr, dup2_stdout};

use super::{Ended, Opened, Session};
use crate::cli::{Mount, Umount};
use crate::exit::Exit;

/// What the program in the background says when it is ready.
const READY: &str = "mounted";

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
        session.output.data(format!("{READY}\n").as_bytes())?;
        let nothing = File::options().write(true).open("/dev/null")?;
        dup2_stdout(&nothing).map_err(io::Error::from)?;
        dup2_stderr(&nothing).map_err(io::Error::from)?;
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
    command
        .args(env::args_os().skip(1))
        .arg("--is-background")
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        // Ctrl-C at this terminal is not meant for it any more.
        .process_group(0);
    let mut child = command.spawn()?;
    let mut said = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut said)?;
    }
    if said.trim_end() == READY {
        session.output.tell(&format!(
            "mounted at {}; `ravelin umount` ends it",
            arguments.mount_point.display()
        ));
        return Ok(Exit::Good);
    }
    // It has said why.
    let code = child.wait()?.code();
    Ok(Exit::of_number(code))
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
            Ok(Exit::Failed)
        }
    }
}
