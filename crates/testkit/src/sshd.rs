//! A real SSH server on this machine, for one test.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{require, run};
use crate::servers::free_port;
use crate::skip::is_root;

/// An SSH server on a free port of the loopback interface, with keys and configurations of its
/// own, that lets in the person who runs the test. Stopped when dropped.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    folder: tempfile::TempDir,
}

/// Starts an SSH server. With `forced_command`, whoever logs in gets that command, as a line of
/// `authorized_keys` says it.
///
/// `let Some(server) = testkit::sshd(None) else { return };`
///
/// # Panics
///
/// In CI, when there is none to be had; when it does not start.
#[must_use]
pub fn sshd(forced_command: Option<&str>) -> Option<Sshd> {
    let program = require("sshd")?;
    let keygen = require("ssh")?.with_file_name("ssh-keygen");
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    let path = |name: &str| folder.path().join(name);
    let must = |result: std::io::Result<()>| result.unwrap_or_else(|error| panic!("{error}"));
    for key in ["host", "client"] {
        let mut command = Command::new(&keygen);
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        let _ = run(command.arg(path(key)));
    }
    let read = |name: &str| {
        fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("no key: {error}"))
    };
    let options = forced_command.map_or_else(String::new, |command| {
        format!("restrict,command=\"{}\" ", command.replace('"', "\\\""))
    });
    must(fs::write(
        path("authorized_keys"),
        options + &read("client.pub"),
    ));
    if is_root() {
        must(fs::create_dir_all("/run/sshd"));
    }
    let port = free_port();
    must(fs::write(
        path("sshd_config"),
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\n\
             StrictModes no\nPidFile none\nUsePAM no\nPermitRootLogin yes\nMaxStartups 100\n\
             Subsystem sftp internal-sftp\n",
            path("host").display(),
            path("authorized_keys").display(),
        ),
    ));
    must(fs::write(
        path("known_hosts"),
        format!("[127.0.0.1]:{port} {}", read("host.pub")),
    ));
    must(fs::write(
        path("ssh_config"),
        format!(
            "Host server\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {}\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n  \
             BatchMode yes\n",
            path("client").display(),
            path("known_hosts").display(),
        ),
    ));
    let log = File::create(path("log")).unwrap_or_else(|error| panic!("no log: {error}"));
    let child = Command::new(program)
        .args(["-D", "-e", "-f"])
        .arg(path("sshd_config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start sshd: {error}"));
    let mut server = Sshd { child, folder };
    server.wait_until_it_answers(port);
    Some(server)
}

impl Sshd {
    /// The command that reaches the server as host `server`, as `BORG_RSH` has it.
    #[must_use]
    pub fn rsh(&self) -> String {
        format!("ssh -F {}", self.config().display())
    }

    /// The configuration for `ssh` that knows the server as host `server`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("ssh_config")
    }

    fn wait_until_it_answers(&mut self, port: u16) {
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = self.child.try_wait().is_ok_and(|ended| ended.is_some());
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(!ended, "sshd has ended: {log}");
            let waited = began.elapsed();
            assert!(waited < Duration::from_secs(60), "sshd is silent: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that stands in for `ssh`: it runs the command on this machine through a shell, as a
/// server would. `through` is put in front of the shell: a `head` that counts cuts the line after so
/// many bytes.
///
/// # Panics
///
/// When it cannot be written into the folder.
#[must_use]
pub fn rsh_stand_in(folder: &Path, through: &str) -> PathBuf {
    let path = folder.join("rsh");
    let script = format!(
        "#!/bin/sh\nwhile [ \"${{1#-}}\" != \"$1\" ]; do\n  [ \"$1\" = -p ] && shift\n  shift\ndone\n\
         shift\n{through} sh -c \"exec $*\"\n"
    );
    let written = fs::write(&path, script)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    written.unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
    path
}
