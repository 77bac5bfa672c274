//! Real servers on this machine, started by a test and stopped with it.
//!
//! Each gives `None` where its program is missing, as [`require`](crate::require) does, and panics
//! when it does not start.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a server that does not start is a failed test"
)]

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    /// What it keeps, and its log.
    pub folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody uses at present.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Starts a server and waits until it answers at `port`.
#[must_use]
pub fn start(command: Command, port: u16, folder: tempfile::TempDir) -> Server {
    try_start(command, port, folder).unwrap_or_else(|why| panic!("{why}"))
}

fn try_start(mut command: Command, port: u16, folder: tempfile::TempDir) -> Result<Server, String> {
    let log = File::create(folder.path().join("server.log")).unwrap();
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut server = Server {
        child,
        port,
        folder,
    };
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let has_ended = server.child.try_wait().unwrap().is_some();
        if has_ended || began.elapsed() > Duration::from_secs(60) {
            let log = std::fs::read_to_string(server.folder.path().join("server.log"));
            let log = log.unwrap_or_default();
            return Err(format!("{command:?} does not answer: {log}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(server)
}

/// SeaweedFS with one bucket for whoever asks with key `key` and secret `secret`.
#[must_use]
pub fn seaweed() -> Option<Server> {
    let programs = crate::cloud_programs()?;
    // It wants nine ports, and between our look and its start another program may take one.
    let mut problem = String::new();
    for _ in 0..4 {
        let started = start_seaweed(&programs).and_then(|mut server| {
            make_bucket(&programs, &mut server)?;
            Ok(server)
        });
        match started {
            Ok(server) => return Some(server),
            Err(why) => problem = why,
        }
    }
    panic!("SeaweedFS does not come up: {problem}");
}

fn start_seaweed(programs: &crate::CloudPrograms) -> Result<Server, String> {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = r#"{"identities":[{"name":"test","credentials":[{"accessKey":"key","secretKey":"secret"}],
        "actions":["Admin","Read","Write","List","Tagging"]}]}"#;
    let config_path = folder.path().join("s3.json");
    std::fs::write(&config_path, config).unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let mut command = Command::new(programs.program("weed"));
    command
        .current_dir(folder.path())
        .arg("server")
        .arg(format!("-dir={}", folder.path().join("data").display()))
        .args([
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-s3",
            "-filer",
            "-volume.max=200",
            // They have one number on the whole machine: only one server could run.
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ])
        .args(["-master.volumeSizeLimitMB=128", "-master.telemetry=false"])
        .arg(format!("-s3.port={port}"))
        .arg(format!("-s3.config={}", config_path.display()));
    for part in ["master", "volume", "filer"] {
        command.arg(format!("-{part}.port={}", free_port()));
        command.arg(format!("-{part}.port.grpc={}", free_port()));
    }
    command.arg(format!("-s3.port.grpc={}", free_port()));
    try_start(command, port, folder)
}

/// The port answers before the parts behind it have found each other, so this is repeated.
fn make_bucket(programs: &crate::CloudPrograms, server: &mut Server) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let made = Command::new(programs.program("rclone"))
            .env("RCLONE_CONFIG", "/dev/null")
            .args(["mkdir", "--retries=1", "--low-level-retries=1"])
            .arg(format!(
                ":s3,provider=SeaweedFS,access_key_id=key,secret_access_key=secret,endpoint='http://127.0.0.1:{}':bucket",
                server.port
            ))
            .output()
            .unwrap();
        if made.status.success() {
            return Ok(());
        }
        let has_ended = server.child.try_wait().unwrap().is_some();
        if has_ended || began.elapsed() > Duration::from_secs(60) {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A server of rclone's: the kind, and what else it is told.
#[must_use]
pub fn rclone_serve(kind: &str, arguments: &[&str]) -> Option<Server> {
    let programs = crate::cloud_programs()?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data/bucket")).unwrap();
    let port = free_port();
    let mut command = Command::new(programs.program("rclone"));
    command
        .env("RCLONE_CONFIG", "/dev/null")
        .args(["serve", kind, "--addr"])
        .arg(format!("127.0.0.1:{port}"))
        .args(arguments)
        .arg(folder.path().join("data"));
    Some(start(command, port, folder))
}

/// WsgiDAV for user `me` with password `pw`.
#[must_use]
pub fn wsgidav() -> Option<Server> {
    let programs = crate::cloud_programs()?;
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let config = format!(
        "host: 127.0.0.1\nport: {port}\nserver: cheroot\nprovider_mapping:\n  '/': '{}'\n\
         simple_dc:\n  user_mapping:\n    '*':\n      me:\n        password: pw\n\
         property_manager: true\nlock_storage: true\nverbose: 1\n",
        folder.path().join("data").display()
    );
    let path = folder.path().join("wsgidav.yaml");
    std::fs::write(&path, config).unwrap();
    let mut command = Command::new(programs.program("wsgidav"));
    command.arg("-c").arg(&path);
    Some(start(command, port, folder))
}

/// An SSH server for the person who runs the test, and a configuration for `ssh` that reaches it
/// as host `store`.
#[must_use]
pub fn sshd() -> Option<(Server, std::path::PathBuf)> {
    let sshd = crate::require("sshd")?;
    crate::require("ssh")?;
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    for key in ["host", "client"] {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(folder.path().join(key))
            .status()
            .unwrap();
        assert!(made.success());
    }
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(path("client.pub"), path("authorized_keys")).unwrap();
    std::fs::create_dir(path("data")).unwrap();
    if crate::is_root() {
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let config = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\n\
         PidFile none\nUsePAM no\nPermitRootLogin yes\nSubsystem sftp internal-sftp\nMaxStartups 100\nMaxSessions 10\n",
        path("host").display(),
        path("authorized_keys").display(),
    );
    std::fs::write(path("sshd_config"), config).unwrap();
    let host_key = std::fs::read_to_string(path("host.pub")).unwrap();
    std::fs::write(
        path("known_hosts"),
        format!("[127.0.0.1]:{port} {host_key}"),
    )
    .unwrap();
    let client = format!(
        "Host store\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
        path("client").display(),
        path("known_hosts").display(),
    );
    std::fs::write(path("ssh_config"), client).unwrap();
    let mut command = Command::new(sshd);
    command
        .arg("-D")
        .arg("-e")
        .arg("-f")
        .arg(path("sshd_config"));
    let ssh_config = path("ssh_config");
    Some((start(command, port, folder), ssh_config))
}

/// Whether a file of the server holds these bytes.
#[must_use]
pub fn holds(path: &Path, bytes: &[u8]) -> bool {
    std::fs::read(path).is_ok_and(|found| found == bytes)
}

/// What a browser would show of an address of this machine; follows redirects. Empty when the
/// server just hangs up.
#[must_use]
pub fn fetch(url: &str) -> String {
    use std::io::{Read as _, Write as _};
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let mut stream = TcpStream::connect(host).unwrap();
    // Who hangs up before the question ends has answered, too.
    let _ = write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"
    );
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    match head
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
    {
        Some(target) => fetch(target),
        None => body.to_owned(),
    }
}
