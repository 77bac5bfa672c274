//! A real mail server, aiosmtpd, that keeps what it is given.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::{Recipe, environment};
use crate::program::require;
use crate::skip::missing;

const AIOSMTPD: Recipe = Recipe {
    name: "aiosmtpd-1.4.6",
    requirement: "aiosmtpd==1.4.6",
    packages: &["python3-venv"],
};

/// Listens, says on which port, and writes each mail into a file of its own.
const SERVER: &str = r#"
import asyncio, pathlib, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult
folder, mode = pathlib.Path(sys.argv[1]), sys.argv[2]
context = None
if mode != "plain":
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
class Keep:
    count = 0
    async def handle_DATA(self, server, session, envelope):
        self.count += 1
        head = f"TLS: {session.ssl is not None or mode == 'tls'}\nLogin: {session.auth_data.decode() if session.auth_data else ''}\n"
        (folder / f"mail-{self.count}.new").write_bytes(head.encode() + envelope.content)
        (folder / f"mail-{self.count}.new").rename(folder / f"mail-{self.count}")
        return "250 kept"
def login(server, session, envelope, mechanism, data):
    with open(folder / "logins", "a") as log:
        log.write(data.login.decode() + "\n")
    good = data.login == b"ada" and data.password == b"correct horse"
    return AuthResult(success=good, auth_data=data.login)
keep = Keep()
def smtp():
    if mode == "plain":
        return SMTP(keep, authenticator=login, auth_require_tls=False)
    starttls = mode == "starttls"
    return SMTP(keep, tls_context=context if starttls else None, require_starttls=starttls,
                authenticator=login, auth_required=True, auth_require_tls=starttls)
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(smtp, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"#;

/// How the line to the server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailLine {
    /// Not at all. Who wants to may sign in, and who can listen knows the password then.
    Plain,
    /// By TLS that both agree on; `ada` signs in with `correct horse`.
    StartTls,
    /// By TLS from the first byte; `ada` signs in with `correct horse`.
    Tls,
}

/// A mail server on a free port of this machine, ended when dropped.
#[derive(Debug)]
pub struct MailServer {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
}

/// Starts a real mail server, installed on first use into `target/stock/`.
///
/// Where it, or `openssl` for its certificate, cannot be had the test is said to be skipped and
/// nothing is given back.
///
/// # Panics
///
/// In CI, when it cannot be had. When it does not start.
#[must_use]
pub fn mail_server(line: MailLine) -> Option<MailServer> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let openssl = require("openssl")?;
    let home = match INSTALLED.get_or_init(|| environment(&AIOSMTPD)) {
        Ok(home) => home,
        Err(why) => {
            missing("aiosmtpd", why);
            return None;
        }
    };
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
    certificates(&openssl, folder.path());
    let mode = match line {
        MailLine::Plain => "plain",
        MailLine::StartTls => "starttls",
        MailLine::Tls => "tls",
    };
    let mut child = Command::new(home.join("bin/python"))
        .args(["-c", SERVER])
        .arg(folder.path())
        .arg(mode)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("aiosmtpd: {error}"));
    let mut port = String::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = BufReader::new(stdout).read_line(&mut port);
    }
    let port = port.trim().parse();
    let port = port.unwrap_or_else(|_| panic!("the mail server does not start"));
    Some(MailServer {
        folder,
        child,
        port,
    })
}

/// A test authority, and a certificate that it gives to `localhost`.
fn certificates(openssl: &Path, folder: &Path) {
    let wanted = "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = Test\n\
                  [authority]\nbasicConstraints = critical,CA:TRUE\n\
                  [server]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = DNS:localhost\n";
    fs::write(folder.join("wanted"), wanted).unwrap_or_else(|error| panic!("wanted: {error}"));
    let run = |arguments: &str| {
        let arguments = format!("{arguments} -config wanted -newkey rsa:2048 -nodes -days 2");
        let made = Command::new(openssl)
            .args(arguments.split_whitespace())
            .current_dir(folder)
            .output()
            .unwrap_or_else(|error| panic!("openssl: {error}"));
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
    };
    run(
        "req -x509 -subj /CN=Authority -extensions authority -keyout authority.key -out authority.pem",
    );
    run(
        "req -x509 -CA authority.pem -CAkey authority.key -subj /CN=localhost -extensions server \
         -keyout key.pem -out cert.pem",
    );
}

impl MailServer {
    /// The port on which it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority that a client has to trust: a file in PEM. The server is `localhost` to it,
    /// and nobody else.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// Who tried to sign in, whether the password was right or not.
    #[must_use]
    pub fn logins(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("logins")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// The mails that came, in order. Two lines stand before each: `TLS: ` and `Login: `.
    #[must_use]
    pub fn mails(&self) -> Vec<String> {
        (1..)
            .map(|number| fs::read_to_string(self.folder.path().join(format!("mail-{number}"))))
            .map_while(Result::ok)
            .collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
