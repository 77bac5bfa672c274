//! The program in the background: it is started once more, since a process with threads cannot be
//! split. It says on its standard output when it is ready; whoever started it goes on then, and it
//! lets go of the terminal.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::unistd::{dup2_stderr, dup2_stdout};

/// What the program in the background says when it is ready.
const READY: &str = "ready";

/// What came of starting it.
pub(crate) enum Started {
    Ready,
    /// It ended with this code, and has said why.
    Ended(Option<i32>),
}

/// Starts the program with the arguments and the environment of `command`, and waits until it is
/// [`ready`].
pub(crate) fn start(command: &mut Command) -> io::Result<Started> {
    command
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
        return Ok(Started::Ready);
    }
    Ok(Started::Ended(child.wait()?.code()))
}

/// In the background: says that it is ready, and lets go of the terminal.
pub(crate) fn ready() -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{READY}\n").as_bytes())?;
    output.flush()?;
    let nothing = File::options().write(true).open("/dev/null")?;
    dup2_stdout(&nothing).map_err(io::Error::from)?;
    dup2_stderr(&nothing).map_err(io::Error::from)
}
