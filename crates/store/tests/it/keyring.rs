//! Sign-ins in the desktop's keyring: GNOME's, as people have it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ravelin_store::{Client, Environment, ErrorKind, Keep, KeptIn, Provider, SignIn, WriteMode};
use ravelin_store::{Store as _, open, read_all};
use testkit::emulator::DropboxEmulator;

use crate::dropbox::{around, name};
use testkit::servers::fetch;

/// A session bus with a keyring on it; both end when dropped.
struct Desktop {
    processes: Vec<Child>,
    folder: tempfile::TempDir,
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Desktop {
    fn start() -> Option<Self> {
        let secret_tool = testkit::require("secret-tool")?;
        let bus = testkit::require("dbus-daemon")?;
        let keyring = testkit::require("gnome-keyring-daemon")?;
        let mut desktop = Self {
            processes: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        let socket = format!("unix:path={}", desktop.path("bus").display());
        let mut command = Command::new(bus);
        command.args(["--session", "--nofork", &format!("--address={socket}")]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        desktop.processes.push(command.spawn().unwrap());
        wait_for(|| desktop.path("bus").exists());
        let mut command = Command::new(keyring);
        command.args(["--foreground", "--unlock", "--components=secrets"]);
        command
            .env("DBUS_SESSION_BUS_ADDRESS", &socket)
            .env("XDG_RUNTIME_DIR", desktop.folder.path())
            .env("XDG_DATA_HOME", desktop.folder.path())
            .env("HOME", desktop.folder.path());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let password = b"password of the keyring";
        child.stdin.take().unwrap().write_all(password).unwrap();
        desktop.processes.push(child);
        script(
            &desktop.path("secret-tool"),
            &format!(
                "DBUS_SESSION_BUS_ADDRESS='{socket}' exec '{}' \"$@\"",
                secret_tool.display()
            ),
        );
        // It says nothing when it is ready.
        wait_for(|| {
            let mut probe = Command::new(desktop.path("secret-tool"));
            probe.args(["store", "--label=probe", "application", "probe"]);
            let mut probe = probe
                .stdin(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            probe.stdin.take().unwrap().write_all(b"x").unwrap();
            probe.wait().unwrap().success()
        });
        Some(desktop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn script(path: &Path, line: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{line}\n")).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

fn wait_for(ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn sign_in(environment: &Environment) -> KeptIn {
    let client = Client {
        id: "app".into(),
        secret: None,
    };
    let sign_in = SignIn::with_code(Provider::Dropbox, client, environment);
    let code = fetch(sign_in.url());
    sign_in.finish(None, &code).unwrap()
}

#[test]
fn a_sign_in_is_kept_and_renewed_in_the_keyring() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let emulator = DropboxEmulator::start();
    emulator.rotate_refresh_tokens();
    let state = tempfile::tempdir().unwrap();
    let mut environment = around(&emulator, state.path());
    environment.keep = Keep::InKeyringElseFile;
    environment.keyring = desktop.path("secret-tool").display().to_string();
    let kept = sign_in(&environment);
    assert_eq!(kept, KeptIn::Keyring("login/dropbox/default".into()));
    let file = state.path().join("tokens/dropbox-default.json");
    let at = |environment: &_| open(&"dropbox:/x".parse().unwrap(), environment).unwrap();
    at(&environment)
        .write(&name("a"), b"1", WriteMode::Create)
        .unwrap();
    // Each renewal gives another refresh token; a later program has to find the last one.
    for _ in 0..2 {
        emulator.expire();
        assert_eq!(read_all(&*at(&environment), &name("a"), 10).unwrap(), b"1");
    }
    let written = std::fs::read_to_string(file).unwrap();
    assert_eq!(written, r#"{"keyring":"login/dropbox/default"}"#);
    let client = Client::of_last_sign_in(Provider::Dropbox, None, &environment);
    assert_eq!(client.unwrap().unwrap().id, "app");

    // Elsewhere, say from cron, nobody answers for the keyring: that is told, with the cure.
    drop(desktop);
    let error = at(&environment).stat(&name("a")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignIn);
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        why.starts_with("the sign-in is in the keyring, which cannot be asked"),
        "{why}"
    );
    assert!(why.ends_with("`ravelin store login dropbox`"), "{why}");
}

#[test]
fn without_a_keyring_a_private_file_keeps_the_sign_in() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let mut environment = around(&emulator, state.path());
    environment.keep = Keep::InKeyringElseFile;
    environment.keyring = "/nonexistent/secret-tool".into();
    let file = state.path().join("tokens/dropbox-default.json");
    assert_eq!(sign_in(&environment), KeptIn::File(file));
    // Whoever insists on the keyring is told that there is none.
    environment.keep = Keep::InKeyring;
    let client = Client {
        id: "app".into(),
        secret: None,
    };
    let sign_in = SignIn::with_code(Provider::Dropbox, client, &environment);
    let code = fetch(sign_in.url());
    let error = sign_in.finish(None, &code).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignIn);
}
