//! What a program used: time, processor, memory.

use std::io;
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

/// Runs a program to its end and says what it used. It reads nothing; where it writes is up to
/// the command.
///
/// # Errors
///
/// When it cannot be started or waited for.
pub fn measure(command: &mut Command) -> io::Result<Usage> {
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
    use std::os::unix::process::ExitStatusExt as _;
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
