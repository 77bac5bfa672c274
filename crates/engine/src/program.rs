//! Other programs, run with bounds: on their time and on what they may say.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Most of a program's output that is kept: 1 MiB. The rest is read and forgotten.
const OUTPUT_SIZE_MAX: u64 = 1 << 20;

/// How often a program is asked whether it is done.
const POLL: Duration = Duration::from_millis(10);

/// A program that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How.
    pub(crate) status: ExitStatus,
    /// What it printed, up to a bound.
    pub(crate) stdout: Vec<u8>,
    /// What it complained about, up to a bound.
    pub(crate) stderr: Vec<u8>,
}

impl Ended {
    /// The last line of what it complained about, or how it ended; safe for a terminal.
    pub(crate) fn complaint(&self) -> String {
        let stderr = String::from_utf8_lossy(&self.stderr);
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        last.map_or_else(
            || self.status.to_string(),
            |line| line.trim().escape_debug().to_string(),
        )
    }
}

/// Runs a program to its end with `input` as its input.
///
/// # Errors
///
/// When it cannot be started, or is not done after `patience`: then it and what it started are
/// killed, and the error is [`io::ErrorKind::TimedOut`].
pub(crate) fn run(command: &mut Command, input: &[u8], patience: Duration) -> io::Result<Ended> {
    run_until(command, input, patience, &|| false)
}

/// The same, and ends it when `stop` says so: then the error is [`io::ErrorKind::Interrupted`].
pub(crate) fn run_until(
    command: &mut Command,
    input: &[u8],
    patience: Duration,
    stop: &dyn Fn() -> bool,
) -> io::Result<Ended> {
    command.stdout(Stdio::piped());
    run_to(command, input, patience, stop)
}

/// The same, without input; what it prints goes into a file.
pub(crate) fn run_into(
    command: &mut Command,
    output: File,
    patience: Duration,
    stop: &dyn Fn() -> bool,
) -> io::Result<Ended> {
    command.stdout(output);
    run_to(command, b"", patience, stop)
}

fn run_to(
    command: &mut Command,
    input: &[u8],
    patience: Duration,
    stop: &dyn Fn() -> bool,
) -> io::Result<Ended> {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        // A program that ends without reading its input is no failure of ours.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        let stdout = scope.spawn(move || stdout.map(bounded));
        let stderr = scope.spawn(move || stderr.map(bounded));
        let status = wait(&mut child, patience, stop);
        if status.is_err() {
            end(&mut child);
        }
        let taken = |thread: thread::ScopedJoinHandle<'_, Option<io::Result<Vec<u8>>>>| {
            thread
                .join()
                .ok()
                .flatten()
                .transpose()
                .ok()
                .flatten()
                .unwrap_or_default()
        };
        let (stdout, stderr) = (taken(stdout), taken(stderr));
        Ok(Ended {
            status: status?,
            stdout,
            stderr,
        })
    })
}

fn wait(child: &mut Child, patience: Duration, stop: &dyn Fn() -> bool) -> io::Result<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped"));
        }
        if begin.elapsed() >= patience {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("not done after {} s", patience.as_secs()),
            ));
        }
        thread::sleep(POLL);
    }
}

/// Kills a program and everything that it started.
pub(crate) fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn bounded(mut from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut from).take(OUTPUT_SIZE_MAX).read_to_end(&mut bytes)?;
    io::copy(&mut from, &mut io::sink())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> io::Result<Ended> {
        run(
            Command::new("sh").args(["-c", script]),
            b"question\n",
            patience,
        )
    }

    #[test]
    fn a_program_gets_its_input_and_its_complaint_is_kept() {
        let long = Duration::from_secs(60);
        let ended = shell(
            "read line; echo \"to $line\"; echo because >&2; exit 3",
            long,
        )
        .unwrap();
        assert_eq!(ended.stdout, b"to question\n");
        assert_eq!(
            (ended.status.code(), ended.complaint().as_str()),
            (Some(3), "because")
        );
        assert_eq!(shell("exit 4", long).unwrap().complaint(), "exit status: 4");
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_started() {
        let error = shell("sleep 600 & sleep 600", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
