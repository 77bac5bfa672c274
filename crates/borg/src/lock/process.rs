//! Which process holds a lock, and whether it is gone.

use std::fmt;
use std::fs;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::Host;

/// A process on a machine, as locks name it.
///
/// Two are the same when their names are: the birth only helps to tell whether one is gone.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    host: String,
    pid: u32,
    /// Always 0 in locks of ours and of the stock program.
    thread: u64,
    /// When the process was born: which start of the machine, which process namespace, and how
    /// many ticks after the start. Empty in locks of the stock program.
    birth: String,
}

impl PartialEq for Holder {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, self.pid, self.thread) == (&other.host, other.pid, other.thread)
    }
}

impl Holder {
    pub(super) fn this_process(host: &Host) -> Self {
        let pid = std::process::id();
        Self {
            host: host.id().to_owned(),
            pid,
            thread: 0,
            birth: birth(pid).unwrap_or_default(),
        }
    }

    pub(super) fn new(host: &str, pid: u32, thread: u64, birth: &str) -> Self {
        Self {
            host: host.into(),
            pid,
            thread,
            birth: birth.into(),
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn thread(&self) -> u64 {
        self.thread
    }

    pub(super) fn birth(&self) -> &str {
        &self.birth
    }

    /// The name of the file that stands for it in a lock directory.
    pub(super) fn file_name(&self) -> String {
        format!("{}.{}-{:x}", self.host, self.pid, self.thread)
    }

    /// `None` when the name is not one that a lock has.
    pub(super) fn from_file_name(name: &str) -> Option<Self> {
        let (rest, thread) = name.rsplit_once('-')?;
        let (host, pid) = rest.rsplit_once('.')?;
        let thread = u64::from_str_radix(thread, 16).ok()?;
        Some(Self::new(host, pid.parse().ok()?, thread, ""))
    }

    /// The same, with the birth that stands in the file.
    pub(super) fn read(path: &Path, name: &str) -> Option<Self> {
        let mut holder = Self::from_file_name(name)?;
        // Somebody else may have removed it meanwhile.
        holder.birth = fs::read_to_string(path).ok()?;
        Some(holder)
    }

    pub(super) fn is_this_process(&self) -> bool {
        self.pid == std::process::id()
    }

    /// Whether it is certain that the process does not exist any more.
    ///
    /// Nothing is known of other machines, and of threads.
    pub(super) fn is_gone(&self, host: &Host) -> bool {
        if self.host != host.id() || self.thread != 0 {
            return false;
        }
        let is_reused = || {
            let now = birth(self.pid);
            now.is_some_and(|now| !self.birth.is_empty() && now != self.birth)
        };
        match self.place() {
            // Another start of the machine: nothing of it lives.
            Place::EarlierBoot => true,
            // A process of another namespace cannot be seen from here.
            Place::OtherNamespace => false,
            Place::Here => !is_alive(self.pid) || is_reused(),
        }
    }

    /// Whether this one lives, or lived, where the other one can see it.
    pub(super) fn may_be_seen_by(&self, other: &Self) -> bool {
        !matches!(self.place_seen_from(&other.birth), Place::OtherNamespace)
    }

    fn place(&self) -> Place {
        self.place_seen_from(&birth(std::process::id()).unwrap_or_default())
    }

    fn place_seen_from(&self, ours: &str) -> Place {
        let mut ours = ours.split(' ');
        let mut theirs = self.birth.split(' ');
        let mut differ = || match (ours.next(), theirs.next()) {
            (Some(ours), Some(theirs)) => ours != theirs && !ours.is_empty() && !theirs.is_empty(),
            _ => false,
        };
        if differ() {
            Place::EarlierBoot
        } else if differ() {
            Place::OtherNamespace
        } else {
            Place::Here
        }
    }
}

/// As a person is told: `host:pid`.
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.pid)
    }
}

enum Place {
    Here,
    EarlierBoot,
    OtherNamespace,
}

/// Whether a process of that number runs. One that only waits to be collected does not.
fn is_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    if test_kill_process(pid) == Err(Errno::SRCH) {
        return false;
    }
    let state = stat(pid.as_raw_nonzero().get()).and_then(|stat| stat.chars().next());
    // The first thread may have ended while others run on.
    let is_ended = matches!(state, Some('Z' | 'X'));
    !is_ended || thread_count(pid) > 1
}

fn thread_count(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).map_or(0, Iterator::count)
}

/// `BOOT NAMESPACE TICKS`; `None` for a process that is not there, or where the system does not
/// say.
fn birth(pid: u32) -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    // The 22nd field; the first two are gone, with the name that could hold anything.
    let ticks = stat(i32::try_from(pid).ok()?)?;
    let ticks = ticks.split(' ').nth(19)?;
    Some(format!("{} {} {ticks}", boot.trim(), namespace.display()))
}

/// The line that the system has about a process, from its state on.
fn stat(pid: i32) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = line.rsplit_once(") ")?;
    Some(fields.to_owned())
}
