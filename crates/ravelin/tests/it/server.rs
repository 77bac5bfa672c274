//! Servers of others on this machine, started by a test and stopped with it.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server process; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server of rclone's, of this kind; its files are below `data` of its folder, with a folder
/// `bucket` in it.
pub(crate) fn rclone_serve(kind: &str, arguments: &[&str]) -> Option<Server> {
    let programs = testkit::cloud_programs()?;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("data/bucket")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let log = File::create(folder.path().join("server.log")).unwrap();
    let child = Command::new(programs.program("rclone"))
        .env("RCLONE_CONFIG", "/dev/null")
        .args(["serve", kind, "--addr"])
        .arg(format!("127.0.0.1:{port}"))
        .args(arguments)
        .arg(folder.path().join("data"))
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
        assert!(
            server.child.try_wait().unwrap().is_none(),
            "rclone ended at once"
        );
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "rclone does not answer"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    Some(server)
}
