//! The page through TLS of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use snapbox::cmd::cargo_bin;
use snapbox::str;

use crate::bench::Bench;

/// A page that is served until this value goes.
struct Served {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
    port: String,
}

impl Served {
    fn start(bench: &Bench, arguments: &[&str]) -> Self {
        let mut child = Command::new(cargo_bin!("ravelin"))
            .args(["ui", "--no-browser", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_clear()
            .env("HOME", bench.home())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let link = said.next().unwrap().unwrap();
        let rest = link.strip_prefix("sign in once: https://nas.example:");
        let port = rest.unwrap_or_else(|| panic!("{link}"));
        let port = port.split('/').next().unwrap().to_owned();
        Self { child, said, port }
    }

    /// What a client that knows nothing but this certificate gets.
    fn ask(&self, certificate: &Path, host: &str) -> String {
        let mut client = Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-verify_return_error",
                "-verify_hostname",
            ])
            .args(["nas.example", "-servername", "nas.example", "-connect"])
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("-CAfile")
            .arg(certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = format!(
            "GET /sign-in HTTP/1.1\r\nHost: {host}:{}\r\nConnection: close\r\n\r\n",
            self.port
        );
        let mut input = client.stdin.take().unwrap();
        // Who does not trust the certificate does not read what is asked.
        let _ = input.write_all(request.as_bytes());
        let output = client.wait_with_output().unwrap();
        drop(input);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_certificate_of_its_own_making_is_kept_and_its_fingerprint_told() {
    if testkit::require("openssl").is_none() {
        return;
    }
    let bench = Bench::new();
    let tls = ["--tls", "--name", "nas.example"];
    let mut served = Served::start(&bench, &tls);
    let told = served.said.next().unwrap().unwrap();
    let folder = bench.home().join(".local/state/ravelin/page/tls");
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let mut look = Command::new("openssl");
    let look = look.args(["x509", "-noout", "-sha256", "-fingerprint", "-in"]);
    let seen = testkit::run(look.arg(&certificate));
    let fingerprint = seen.trim().rsplit('=').next().unwrap();
    assert_eq!(fingerprint.len(), 95, "{seen}");
    assert!(told.ends_with(fingerprint), "{told}: {seen}");
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let answer = served.ask(&certificate, "nas.example");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    // Neither another name, nor another way, nor another certificate.
    let answer = served.ask(&certificate, "evil.example");
    assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
    let plain = format!("http://127.0.0.1:{}/sign-in", served.port);
    let refused = "This page speaks TLS: its address begins with https://\n";
    assert_eq!(testkit::servers::fetch(&plain), refused);
    assert_eq!(served.ask(Path::new("/dev/null"), "nas.example"), "");
    drop(served);

    // A browser that trusts it once does so the next time, and other names get another one.
    let mut again = Served::start(&bench, &tls);
    assert!(again.said.next().unwrap().unwrap().ends_with(fingerprint));
    drop(again);
    let more = ["--tls", "--name", "nas.example", "--name", "10.0.0.7"];
    let mut other = Served::start(&bench, &more);
    assert!(!other.said.next().unwrap().unwrap().ends_with(fingerprint));
    let answer = other.ask(&certificate, "10.0.0.7");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[test]
fn a_certificate_that_is_given_is_served_and_its_key_must_be_ones_own() {
    if testkit::require("openssl").is_none() {
        return;
    }
    let bench = Bench::new();
    let (certificate, key) = (bench.home().join("cert.pem"), bench.home().join("key.pem"));
    let mut make = Command::new("openssl");
    make.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
    ])
    .args([
        "-subj",
        "/CN=test",
        "-addext",
        "subjectAltName=DNS:nas.example",
    ])
    .args(["-keyout"])
    .arg(&key)
    .arg("-out")
    .arg(&certificate)
    .stdin(Stdio::null());
    assert!(testkit::output(&mut make).status.success());
    for file in [&certificate, &key] {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let given = |certificate: &str, key: &str| {
        ["--certificate", certificate, "--key", key].map(str::to_owned)
    };
    let (certificate_path, key_path) =
        (certificate.display().to_string(), key.display().to_string());
    let arguments = given(&certificate_path, &key_path);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let served = Served::start(&bench, &arguments);
    let answer = served.ask(&certificate, "nas.example");
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    drop(served);

    let refused = |arguments: &[String], why: &str| {
        let arguments = arguments.iter().map(String::as_str);
        let ui = ["ui", "--no-browser", "--listen", "127.0.0.1:0"];
        let refused = bench.ravelin(ui.into_iter().chain(arguments)).assert();
        let output = refused.failure().get_output().stderr.clone();
        let said = String::from_utf8(output).unwrap();
        assert!(said.contains(why), "{said}");
    };
    refused(&given(&key_path, &key_path), "holds no certificate in PEM");
    refused(
        &given(&certificate_path, &certificate_path),
        "holds no private key in PEM",
    );
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    refused(
        &given(&certificate_path, &key_path),
        "others can read the key",
    );
    bench
        .ravelin(["ui", "--tls", "--no-browser", "--listen", "0.0.0.0:0"])
        .assert()
        .code(2)
        .stderr_eq(str![[r#"
error: 0.0.0.0:[..] can be reached from other machines and there is no password yet: set one with --password-file FILE

"#]]);
}
