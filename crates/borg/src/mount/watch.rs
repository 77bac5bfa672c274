//! Unmounting, also after our own sudden death.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Waits for a line. When there is none before the pipe ends, we were killed.
///
/// Signals that end us from a terminal must not end it.
const SCRIPT: &str = "trap '' INT HUP TERM QUIT\n\
                      read -r line || exec fusermount3 -u -z -q -- \"$1\" 2>/dev/null";

/// A process that outlives us.
#[derive(Debug)]
pub(super) struct Watcher {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Watcher {
    pub(super) fn start(mount_point: &Path) -> io::Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(mount_point)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// There is nothing to watch over any more.
    pub(super) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.child.wait();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.dismiss();
    }
}

/// How long a mount point may be in use before that is an error: a program that has just ended
/// with it, or one that looks at every new file system, lets go of it at once.
const BUSY_MAX: Duration = Duration::from_secs(3);

/// Unmounts what is mounted at a folder. Waits up to three seconds while it is in use.
///
/// # Errors
///
/// What the system's program says, such as that nothing is mounted there;
/// [`ResourceBusy`](io::ErrorKind::ResourceBusy) when it is in use.
pub fn unmount(mount_point: &Path) -> io::Result<()> {
    let began = Instant::now();
    loop {
        match fusermount(&["-u", "--"], mount_point) {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && began.elapsed() < BUSY_MAX =>
            {
                thread::sleep(Duration::from_millis(50));
            }
            result => return result,
        }
    }
}

/// As [`unmount`], also when it is in use.
pub(super) fn unmount_at_once(mount_point: &Path) -> io::Result<()> {
    fusermount(&["-u", "-z", "--"], mount_point)
}

fn fusermount(options: &[&str], mount_point: &Path) -> io::Result<()> {
    let output = Command::new("fusermount3")
        .args(options)
        .arg(mount_point)
        .stdin(Stdio::null())
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("fusermount3: ");
    // It speaks English in every language.
    let kind = if said.ends_with("Device or resource busy") {
        io::ErrorKind::ResourceBusy
    } else {
        io::ErrorKind::Other
    };
    Err(io::Error::new(kind, said))
}
