//! What a program used: time, processor, memory.
//!
//! The kernel begins to count a program's memory before it has taken the place of the process that
//! started it: so the peak is never below that of whoever starts it. A bench that has grown large
//! therefore lets a small process start what it measures: [`apart`] makes the command, and the first
//! line of `main` is [`launch_if_asked`].

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What a program and its children used from start to end.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// How it ended.
    pub status: ExitStatus,
    /// Time that passed.
    pub wall: Duration,
    /// Processor time in the program.
    pub user: Duration,
    /// Processor time in the kernel on its behalf.
    pub system: Duration,
    /// Most memory that one process of it had at a time, in bytes.
    pub peak_memory: u64,
}

impl Usage {
    /// Processor time altogether.
    #[must_use]
    pub fn processor(&self) -> Duration {
        self.user + self.system
    }
}

/// Names the program that a launcher is to start.
const PROGRAM: &str = "TESTKIT_LAUNCH_PROGRAM";

/// Names the file that takes what it used.
const REPORT: &str = "TESTKIT_LAUNCH_REPORT";

/// The same command, started by a small process. Its standard streams are to be set anew.
///
/// # Errors
///
/// When the system does not tell which program this is.
pub fn apart(command: &Command) -> io::Result<Command> {
    let mut apart = Command::new(env::current_exe()?);
    apart.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => apart.env(name, value),
            None => apart.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        apart.current_dir(folder);
    }
    apart.env(PROGRAM, command.get_program());
    Ok(apart)
}

/// Where this process was started to start another [apart]: does that, and ends as it does.
///
/// # Errors
///
/// When the program cannot be started or the report cannot be written.
pub fn launch_if_asked() -> io::Result<()> {
    let (Some(program), Some(report)) = (env::var_os(PROGRAM), env::var_os(REPORT)) else {
        return Ok(());
    };
    let mut command = Command::new(program);
    command
        .args(env::args_os().skip(1))
        .env_remove(PROGRAM)
        .env_remove(REPORT);
    let used = measure(&mut command)?;
    let numbers = [
        u128::from(used.status.into_raw().unsigned_abs()),
        used.wall.as_micros(),
        used.user.as_micros(),
        used.system.as_micros(),
        u128::from(used.peak_memory),
    ];
    fs::write(report, numbers.map(|number| number.to_string()).join(" "))?;
    #[expect(
        clippy::exit,
        reason = "whoever asked wants the program's own end, and nothing after it"
    )]
    std::process::exit(used.status.code().unwrap_or(1))
}

fn read_report(text: &str) -> Option<Usage> {
    let mut numbers = text.split(' ').map(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    Some(Usage {
        status: ExitStatus::from_raw(i32::try_from(next()?).ok()?),
        wall: Duration::from_micros(next()?),
        user: Duration::from_micros(next()?),
        system: Duration::from_micros(next()?),
        peak_memory: next()?,
    })
}

/// Runs a program to its end and says what it used. It reads nothing; where it writes is up to
/// the command.
///
/// # Errors
///
/// When it cannot be started or waited for.
pub fn measure(command: &mut Command) -> io::Result<Usage> {
    if command
        .get_envs()
        .any(|(name, value)| name == PROGRAM && value.is_some())
    {
        let report = tempfile::NamedTempFile::new()?;
        let status = command
            .env(REPORT, report.path())
            .stdin(Stdio::null())
            .status()?;
        return read_report(&fs::read_to_string(report.path())?)
            .ok_or_else(|| io::Error::other(format!("the launcher ended with {status}")));
    }
    let begun = Instant::now();
    let child = command.stdin(Stdio::null()).spawn()?;
    let (status, used) = wait(child)?;
    Ok(Usage {
        status,
        wall: begun.elapsed(),
        user: duration(used.ru_utime),
        system: duration(used.ru_stime),
        // The kernel counts in KiB.
        peak_memory: u64::try_from(used.ru_maxrss).unwrap_or(0) * 1024,
    })
}

/// Waits for a child and takes what the kernel counted for it and the children it waited for.
#[expect(
    unsafe_code,
    reason = "no safe crate offers wait4, and getrusage sums over all children"
)]
fn wait(child: Child) -> io::Result<(ExitStatus, libc::rusage)> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    loop {
        let mut status = 0;
        // SAFETY: a structure of integers, for which all zeros is a value.
        let mut used: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to values of the right type that live through the call. The
        // child is ours and nobody else waits for it: this function owns it.
        let done = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut used) };
        if done == pid {
            return Ok((ExitStatus::from_raw(status), used));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_asleep_is_no_processor_time() {
        let used = measure(Command::new("sleep").arg("0.3")).unwrap();
        assert!(used.status.success());
        assert!(used.wall >= Duration::from_millis(300), "{used:?}");
        assert!(used.processor() < Duration::from_millis(200), "{used:?}");
    }

    #[test]
    fn what_a_child_of_the_program_uses_counts() {
        let script = "dd if=/dev/zero of=/dev/null bs=64M count=3 2>/dev/null; true";
        let used = measure(Command::new("sh").args(["-c", script])).unwrap();
        assert!(used.peak_memory > 60 << 20, "{used:?}");
    }

    #[test]
    fn how_the_program_ended_is_told() {
        let used = measure(Command::new("sh").args(["-c", "exit 3"])).unwrap();
        assert_eq!(used.status.code(), Some(3));
    }
}
