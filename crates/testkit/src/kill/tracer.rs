//! The tracer: every system call of the program stops it for a moment.
//!
//! A call that is to fail is replaced on entry by one that does not exist, and gets its error on
//! the way out; so it has no effect. A program that is killed while it stands at the entry of a
//! call does not make the call. The kernel kills the program when the tracer dies first.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::call::{length_argument, recognise};
use super::{Call, Fault, Outcome};

/// Longest run of a traced program.
const PATIENCE: Duration = Duration::from_secs(600);

/// A call's entry and exit, as the kernel reports them (`linux/ptrace.h`).
const ENTRY: u8 = 1;
const EXIT: u8 = 2;

/// Whether the machine allows what this module does.
pub(super) fn can_trace() -> Result<(), String> {
    let mut tracer =
        Tracer::start(&mut Command::new("true"), &[], None).map_err(|error| error.to_string())?;
    match tracer.follow() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`true` ended with {status}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs a program under the tracer; panics when that is not possible.
pub(super) fn run(
    command: &mut Command,
    directories: &[&Path],
    fault: Option<(u64, Fault)>,
) -> (Outcome, Vec<Call>) {
    let traced = Tracer::start(command, directories, fault).and_then(|mut tracer| {
        let status = tracer.follow()?;
        let calls = tracer.calls.len() as u64;
        let outcome = Outcome {
            status,
            struck: tracer.struck,
            calls,
        };
        Ok((outcome, tracer.calls))
    });
    traced.unwrap_or_else(|error| panic!("cannot trace {command:?}: {error}"))
}

struct Tracer {
    /// The program itself, whose end is the end.
    main: Pid,
    directories: Vec<PathBuf>,
    fault: Option<(u64, Fault)>,
    calls: Vec<Call>,
    struck: Option<Call>,
    /// Threads that have reported at least once: the first report of a new one is a stop that
    /// is no signal of the program's.
    known: HashSet<Pid>,
    /// What is to happen when the call that a thread is in ends.
    at_exit: Vec<(Pid, AtExit)>,
    /// Told when the program has ended.
    ended: Option<mpsc::Sender<()>>,
}

#[derive(Clone, Copy)]
enum AtExit {
    Fail(rustix::io::Errno),
    Kill,
}

impl Tracer {
    #[expect(
        unsafe_code,
        reason = "a child asks to be traced between fork and exec"
    )]
    fn start(
        command: &mut Command,
        directories: &[&Path],
        fault: Option<(u64, Fault)>,
    ) -> io::Result<Self> {
        // Paths in /proc are real ones.
        let directories = directories
            .iter()
            .map(|path| path.canonicalize().or_else(|_| std::path::absolute(path)))
            .collect::<io::Result<Vec<_>>>()?;
        // SAFETY: the closure makes one system call and touches no memory but its own stack.
        unsafe { command.pre_exec(|| ptrace::traceme().map_err(io::Error::from)) };
        let child = command.stdin(Stdio::null()).spawn()?;
        let main = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        // The child stops when it has become the program.
        waitpid(main, None)?;
        ptrace::setoptions(
            main,
            Options::PTRACE_O_TRACESYSGOOD
                | Options::PTRACE_O_TRACECLONE
                | Options::PTRACE_O_TRACEFORK
                | Options::PTRACE_O_TRACEVFORK
                | Options::PTRACE_O_TRACEEXEC
                | Options::PTRACE_O_EXITKILL,
        )?;
        ptrace::syscall(main, None)?;
        Ok(Self {
            main,
            directories,
            fault,
            calls: Vec::new(),
            struck: None,
            known: HashSet::from([main]),
            at_exit: Vec::new(),
            ended: Some(watch(main)),
        })
    }

    /// Follows the program and its children until all have ended.
    fn follow(&mut self) -> io::Result<ExitStatus> {
        let mut status = None;
        loop {
            // Of this thread's children only: other tests have children of their own.
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            let event = match waitpid(None, Some(flags)) {
                Ok(event) => event,
                Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => break,
                Err(error) => return Err(error.into()),
            };
            match event {
                WaitStatus::Exited(process, code) if process == self.main => {
                    status = Some(ExitStatus::from_raw(code << 8));
                    self.ended = None;
                }
                WaitStatus::Signaled(process, signal, _) if process == self.main => {
                    status = Some(ExitStatus::from_raw(signal as i32));
                    self.ended = None;
                }
                WaitStatus::PtraceSyscall(thread) => self.at_call(thread)?,
                WaitStatus::PtraceEvent(thread, ..) => go_on(thread, None)?,
                WaitStatus::Stopped(thread, signal) => {
                    let new = self.known.insert(thread) && signal == Signal::SIGSTOP;
                    go_on(
                        thread,
                        (!new && signal != Signal::SIGTRAP).then_some(signal),
                    )?;
                }
                _ => {}
            }
        }
        status.ok_or_else(|| io::Error::other("the program's end was not seen"))
    }

    /// A thread stands before or after a system call.
    fn at_call(&mut self, thread: Pid) -> io::Result<()> {
        match ptrace::syscall_info(thread) {
            Ok(info) if info.op == ENTRY => self.at_entry(thread)?,
            Ok(info) if info.op == EXIT => self.at_exit(thread)?,
            // Gone in the meantime.
            _ => {}
        }
        go_on(thread, None)
    }

    fn at_entry(&mut self, thread: Pid) -> io::Result<()> {
        let Ok(mut registers) = ptrace::getregs(thread) else {
            return Ok(());
        };
        let arguments = [
            registers.rdi,
            registers.rsi,
            registers.rdx,
            registers.r10,
            registers.r8,
            registers.r9,
        ];
        let number = i64::from_ne_bytes(registers.orig_rax.to_ne_bytes());
        let Some(call) = recognise(thread.as_raw(), number, arguments, &self.directories) else {
            return Ok(());
        };
        self.calls.push(call.clone());
        let Some((at, fault)) = self.fault else {
            return Ok(());
        };
        let count = self.calls.len() as u64;
        let again = matches!((fault, &self.struck), (Fault::ErrorFrom(_), Some(first))
            if first.writes == call.writes);
        if count != at && !again {
            return Ok(());
        }
        match fault {
            Fault::Kill => self.kill(),
            Fault::KillAfter => self.at_exit.push((thread, AtExit::Kill)),
            Fault::Torn => {
                if length_argument(&call).is_some() {
                    registers.rdx /= 2;
                    ptrace::setregs(thread, registers)?;
                }
                self.at_exit.push((thread, AtExit::Kill));
            }
            Fault::Error(error) | Fault::ErrorFrom(error) => {
                registers.orig_rax = u64::MAX;
                ptrace::setregs(thread, registers)?;
                self.at_exit.push((thread, AtExit::Fail(error)));
            }
        }
        self.struck.get_or_insert(call);
        Ok(())
    }

    fn at_exit(&mut self, thread: Pid) -> io::Result<()> {
        let Some(index) = self
            .at_exit
            .iter()
            .position(|(waiting, _)| *waiting == thread)
        else {
            return Ok(());
        };
        match self.at_exit.swap_remove(index).1 {
            AtExit::Kill => self.kill(),
            AtExit::Fail(error) => {
                let mut registers = ptrace::getregs(thread)?;
                let result = -i64::from(error.raw_os_error());
                registers.rax = u64::from_ne_bytes(result.to_ne_bytes());
                ptrace::setregs(thread, registers)?;
            }
        }
        Ok(())
    }

    /// Kills the program and its children. A thread's number that is no process is refused, and
    /// one that has ended is gone: both are as wanted.
    fn kill(&self) {
        for &process in &self.known {
            let _ = kill(process, Signal::SIGKILL);
        }
    }
}

/// Lets a thread run to its next system call. That it may be dead by now is no error.
fn go_on(thread: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills a program that does not end, so that a test fails instead of hanging.
fn watch(process: Pid) -> mpsc::Sender<()> {
    let (ended, wait) = mpsc::channel();
    thread::spawn(move || {
        if wait.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Nobody waits for the process but the tracer, which would have told us.
            let _ = kill(process, Signal::SIGKILL);
        }
    });
    ended
}
