//! A program is killed in the middle of a big upload, and the next one goes on.
//!
//! The one that is killed is this test program once more, running one test that does nothing but
//! upload. It says when it is in the fourth part, and gets no chance to tidy up.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use ravelin_store::{Client, Content, Endpoints, Environment, ErrorKind, Name, Provider, SignIn};
use ravelin_store::{WriteMode, open, read_all};
use testkit::emulator::{B2Emulator, DriveEmulator, DropboxEmulator};

use crate::conformance::environment;
use testkit::servers::{fetch, seaweed};

/// More than S3, Drive and Dropbox are given in one request: five parts of 16 MiB.
const SIZE: u64 = 70 << 20;

/// The same of B2: seven parts.
const SIZE_FOR_B2: u64 = 101 << 20;

/// In the fourth part.
const FAR: u64 = 48 << 20;

const LOCATION: &str = "RAVELIN_TEST_LOCATION";
const STATE: &str = "RAVELIN_TEST_STATE";

/// Tells the process that waits.
fn say(word: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{word}")?;
    stdout.flush()
}

fn size(location: &str) -> u64 {
    if location.starts_with("b2:") {
        SIZE_FOR_B2
    } else {
        SIZE
    }
}

/// Bytes that differ from block to block, and a cry when the fourth part is begun.
struct Big {
    size: u64,
    cries: bool,
}

impl Big {
    fn block(number: u64) -> Vec<u8> {
        (0..1024_u64)
            .flat_map(|index| (number * 1024 + index).to_le_bytes())
            .collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader(0).read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn reader(&self, offset: u64) -> impl Read + Send + use<> {
        struct Blocks {
            at: u64,
            size: u64,
            cries_at: Option<u64>,
        }
        impl Read for Blocks {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if self.cries_at.is_some_and(|far| self.at >= far) {
                    self.cries_at = None;
                    say("far")?;
                    // The end comes while this waits.
                    std::thread::sleep(Duration::from_secs(300));
                }
                let block = Big::block(self.at / 8192);
                let from = usize::try_from(self.at % 8192).unwrap();
                let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX);
                let count = buffer.len().min(block.len() - from).min(left);
                buffer[..count].copy_from_slice(&block[from..from + count]);
                self.at += count as u64;
                Ok(count)
            }
        }
        Blocks {
            at: offset,
            size: self.size,
            // A reader that begins at the start is one of the whole, for its checksum.
            cries_at: (self.cries && offset > 0).then_some(FAR + (1 << 20)),
        }
    }
}

impl Content for Big {
    fn size(&self) -> u64 {
        self.size
    }

    fn open(&self, offset: u64) -> std::io::Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(self.reader(offset)))
    }
}

fn around(state: &Path, variable: impl Fn(&str) -> Option<String>) -> Environment {
    let mut environment = environment();
    environment.state = Some(state.into());
    environment.parallel = 1;
    environment.endpoints = Endpoints::from_variables(&variable);
    environment
}

#[test]
#[ignore = "the others run it in a process of its own, and kill that"]
fn an_upload_that_is_killed() {
    let location = std::env::var(LOCATION).unwrap();
    let state = std::env::var_os(STATE).unwrap();
    let environment = around(Path::new(&state), |name| std::env::var(name).ok());
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    let name = Name::new("big").unwrap();
    let size = size(&location);
    let big = Big { size, cries: true };
    let _ = store.write(&name, &big, WriteMode::Replace);
    // Whoever waits for the cry waits in vain.
    say("written").unwrap();
}

/// Uploads in another process and kills it. Gives what surrounds the next one.
#[track_caller]
fn killed(location: &str, state: &Path, endpoints: &[(&str, String)]) -> Environment {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "killed::an_upload_that_is_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(LOCATION, location)
        .env(STATE, state)
        .envs(endpoints.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let cry = lines
        .map(Result::unwrap)
        .find(|line| line.ends_with("far") || line.ends_with("written"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(cry.is_some_and(|cry| cry.ends_with("far")));
    around(state, |name| {
        let found = endpoints.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    })
}

/// Uploads in another process, kills it, and uploads again. Gives how many parts that took.
#[track_caller]
fn survives(location: &str, state: &Path, endpoints: &[(&str, String)], part: &str) -> u64 {
    let environment = killed(location, state, endpoints);
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    let name = Name::new("big").unwrap();
    assert_eq!(store.stat(&name).unwrap_err().kind, ErrorKind::NotFound);
    let size = size(location);
    let big = Big { size, cries: false };
    store.write(&name, &big, WriteMode::Replace).unwrap();
    assert!(read_all(&*store, &name, 1 << 30).unwrap() == big.bytes());
    environment.counters.get(part)
}

/// Uploads in another process, kills it, and ends what that left: the next upload begins anew,
/// though it remembers.
#[track_caller]
fn is_tidied(location: &str, state: &Path, endpoints: &[(&str, String)], part: &str) -> u64 {
    let environment = killed(location, state, endpoints);
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    assert_eq!(store.tidy(Duration::from_secs(1 << 32)).unwrap(), 0);
    assert_eq!(store.tidy(Duration::ZERO).unwrap(), 1);
    assert_eq!(store.tidy(Duration::ZERO).unwrap(), 0);
    let name = Name::new("big").unwrap();
    let size = size(location);
    let big = Big { size, cries: false };
    store.write(&name, &big, WriteMode::Replace).unwrap();
    assert!(read_all(&*store, &name, 1 << 30).unwrap() == big.bytes());
    environment.counters.get(part)
}

fn sign_in(provider: Provider, state: &Path, endpoints: &[(&str, String)]) {
    let environment = around(state, |name| {
        let found = endpoints.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone())
    });
    let client = Client {
        id: "app".into(),
        secret: None,
    };
    let sign_in = SignIn::with_code(provider, client, &environment);
    let code = fetch(sign_in.url());
    sign_in.finish(None, &code).unwrap();
}

#[test]
fn s3_goes_on_after_a_kill() {
    let Some(server) = seaweed() else { return };
    let state = tempfile::tempdir().unwrap();
    let location = format!("s3+http://key:secret@127.0.0.1:{}/bucket", server.port);
    assert_eq!(survives(&location, state.path(), &[], "s3 part"), 2);
}

#[test]
fn b2_goes_on_after_a_kill() {
    let emulator = B2Emulator::start();
    let state = tempfile::tempdir().unwrap();
    let endpoints = [("RAVELIN_ENDPOINT_B2", emulator.url())];
    let location = "b2://key:secret@bucket";
    let parts = survives(location, state.path(), &endpoints, "b2_upload_part");
    assert_eq!((parts, emulator.unfinished()), (4, 0));
}

#[test]
fn an_upload_to_s3_that_nobody_goes_on_with_is_ended() {
    let Some(server) = seaweed() else { return };
    let state = tempfile::tempdir().unwrap();
    let location = format!(
        "s3+http://key:secret@127.0.0.1:{}/bucket/a%20b",
        server.port
    );
    let parts = is_tidied(&location, state.path(), &[], "s3 part");
    assert!(parts >= 5, "{parts}");
}

#[test]
fn an_upload_to_b2_that_nobody_goes_on_with_is_ended() {
    let emulator = B2Emulator::start();
    let state = tempfile::tempdir().unwrap();
    let endpoints = [("RAVELIN_ENDPOINT_B2", emulator.url())];
    let location = "b2://key:secret@bucket";
    let parts = is_tidied(location, state.path(), &endpoints, "b2_upload_part");
    assert!(parts >= 7, "{parts}");
    assert_eq!(emulator.unfinished(), 0);
}

#[test]
fn drive_goes_on_after_a_kill() {
    let emulator = DriveEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let endpoints = [
        ("RAVELIN_ENDPOINT_DRIVE", emulator.url()),
        (
            "RAVELIN_ENDPOINT_GOOGLE_AUTHORIZE",
            format!("{}/authorize", emulator.url()),
        ),
        (
            "RAVELIN_ENDPOINT_GOOGLE_TOKEN",
            format!("{}/token", emulator.url()),
        ),
    ];
    sign_in(Provider::Drive, state.path(), &endpoints);
    let parts = survives("gdrive:/x", state.path(), &endpoints, "drive part");
    assert_eq!(parts, 2);
}

#[test]
fn dropbox_goes_on_after_a_kill() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let endpoints = [
        ("RAVELIN_ENDPOINT_DROPBOX_API", emulator.url()),
        ("RAVELIN_ENDPOINT_DROPBOX_CONTENT", emulator.url()),
        (
            "RAVELIN_ENDPOINT_DROPBOX_AUTHORIZE",
            format!("{}/oauth2/authorize", emulator.url()),
        ),
    ];
    sign_in(Provider::Dropbox, state.path(), &endpoints);
    let part = "files/upload_session/append_v2";
    let parts = survives("dropbox:/x", state.path(), &endpoints, part);
    assert_eq!(parts, 2);
}
