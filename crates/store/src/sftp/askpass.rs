//! Answers `ssh` when it asks for the password.
//!
//! `ssh` takes a password from a terminal, or from a program that it starts. That program is a
//! script that reads a named pipe in a folder which only this user can enter; a thread of ours
//! writes the password into the pipe once it is read. So it stands in no argument list, in no
//! environment and on no disk. Every other question, above all whether to trust an unknown host,
//! is answered by failing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use zeroize::Zeroizing;

use crate::{Environment, Secret};

const SCRIPT: &str =
    "#!/bin/sh\ncase \"$1\" in *[Pp]assword*) exec cat \"${0%/*}/pipe\" ;; esac\nexit 1\n";

/// The script and its pipe; both are gone when this is dropped.
pub(super) struct Askpass {
    folder: PathBuf,
    gone: Arc<AtomicBool>,
}

impl Askpass {
    /// Makes them, for one question.
    pub(super) fn new(password: &Secret, environment: &Environment) -> io::Result<Self> {
        let base = environment.state.clone().unwrap_or_else(std::env::temp_dir);
        let folder = base.join(format!(".askpass-{}", environment.random_name()));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let askpass = Self {
            folder,
            gone: Arc::default(),
        };
        let pipe = askpass.folder.join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let mut script = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o700)
            .open(askpass.script())?;
        script.write_all(SCRIPT.as_bytes())?;
        drop(script);
        let line = Zeroizing::new(format!("{}\n", password.expose()));
        let gone = Arc::clone(&askpass.gone);
        std::thread::spawn(move || {
            // Waits until somebody reads: the script, or we ourselves at the end.
            let Ok(mut pipe) = File::options().write(true).open(pipe) else {
                return;
            };
            if !gone.load(Ordering::SeqCst) {
                // A script that went away shows by what `ssh` says.
                let _ = pipe.write_all(line.as_bytes());
            }
        });
        Ok(askpass)
    }

    fn script(&self) -> PathBuf {
        self.folder.join("askpass")
    }

    /// Tells `ssh` to ask here, once.
    pub(super) fn tell(&self, command: &mut Command) {
        command
            .env("SSH_ASKPASS", self.script())
            .env("SSH_ASKPASS_REQUIRE", "force")
            .args(["-oBatchMode=no", "-oNumberOfPasswordPrompts=1"]);
    }
}

impl Drop for Askpass {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        // Lets the thread go on, if it still waits.
        let reader = File::options()
            .read(true)
            .custom_flags(nonblock)
            .open(self.folder.join("pipe"));
        // Nothing of it is secret: what cannot be removed stays.
        let _ = fs::remove_dir_all(&self.folder);
        drop(reader);
    }
}
