//! A way from programs with fixed addresses to our emulators: a proxy that speaks TLS with a
//! throw-away authority, and knows no other place, so that nothing leaves this machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use testkit::servers::{Server, free_port, start};

const SCRIPT: &str = r#"
import socket, ssl, sys, threading
port, target, key, cert, hosts = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
def pump(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for s in (a, b):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
def serve(client):
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(4096)
        if not data:
            return
        head += data
    host = head.split(b" ")[1].decode().rsplit(":", 1)[0]
    if not head.startswith(b"CONNECT ") or host not in hosts:
        client.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        client.close()
        return
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    inner = context.wrap_socket(client, server_side=True)
    there = socket.create_connection(("127.0.0.1", target))
    threading.Thread(target=pump, args=(there, inner), daemon=True).start()
    pump(inner, there)
listener = socket.create_server(("127.0.0.1", port), backlog=64)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
"#;

/// The proxy, and the certificate of its authority.
pub(crate) struct Router {
    server: Server,
    pub(crate) certificate: PathBuf,
}

impl Router {
    /// Leads `hosts` to the emulator at `url`.
    pub(crate) fn start(programs: &testkit::CloudPrograms, url: &str, hosts: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (key, certificate) = (folder.path().join("key"), folder.path().join("certificate"));
        let names: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
        let mut make = Command::new(testkit::require("openssl").unwrap());
        make.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
        ])
        .args([
            "-addext",
            &format!("subjectAltName={}", names.join(",")),
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stdin(Stdio::null());
        assert!(testkit::output(&mut make).status.success());
        let port = free_port();
        let mut command = Command::new(programs.program("python"));
        command.args([
            "-c",
            SCRIPT,
            &port.to_string(),
            url.rsplit(':').next().unwrap(),
        ]);
        command.arg(&key).arg(&certificate).args(hosts);
        Self {
            server: start(command, port, folder),
            certificate,
        }
    }

    /// rclone, led through the proxy, with one remote of the name `box`.
    pub(crate) fn rclone(&self, programs: &testkit::CloudPrograms, remote: &str) -> Command {
        let config = self.certificate.with_file_name("rclone.conf");
        if !config.exists() {
            let token = r#"{"access_token":"old","token_type":"bearer","refresh_token":"refresh-0","expiry":"2020-01-01T00:00:00Z"}"#;
            std::fs::write(&config, format!("[box]\n{remote}\ntoken = {token}\n")).unwrap();
        }
        let mut command = Command::new(programs.program("rclone"));
        command
            .arg("--config")
            .arg(config)
            .arg(format!(
                "--http-proxy=http://127.0.0.1:{}",
                self.server.port
            ))
            .arg("--ca-cert")
            .arg(&self.certificate)
            .args(["--retries=1", "--low-level-retries=2"]);
        command
    }
}

/// Copies a small tree to the emulator and back, compares, moves and removes.
pub(crate) fn rclone_round_trip(rclone: &dyn Fn(&[&str]) -> String) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("sub dir/deep")).unwrap();
    std::fs::write(source.join("a"), b"1").unwrap();
    std::fs::write(source.join("it's"), b"2").unwrap();
    std::fs::write(source.join("sub dir/deep/ü"), vec![3; 20 << 20]).unwrap();
    let source = source.to_str().unwrap();
    let _ = rclone(&["copy", source, "box:x"]);
    let _ = rclone(&["check", "--download", source, "box:x"]);
    let _ = rclone(&["moveto", "box:x/a", "box:x/sub dir/moved"]);
    let mut listed: Vec<String> = rclone(&["lsf", "-R", "--files-only", "box:x"])
        .lines()
        .map(str::to_owned)
        .collect();
    listed.sort();
    assert_eq!(listed, ["it's", "sub dir/deep/ü", "sub dir/moved"]);
}
