//! Places where backups are kept: tried, and signed in to.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use snapbox::cmd::Command;
use testkit::emulator::{B2Emulator, DriveEmulator, DropboxEmulator};
use testkit::servers::fetch;

use crate::bench::Bench;

/// The one line of JSON that a command prints.
fn json(command: Command) -> Value {
    let output = command.assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn a_folder_is_tried_and_left_as_it_was() {
    let bench = Bench::new();
    let place = bench.home().join("place");
    let report = json(bench.ravelin(["store", "test", "--json", place.to_str().unwrap()]));
    assert_eq!(report["good"], true);
    assert_eq!(report["store"], place.to_str().unwrap());
    let checks = report["checks"].as_array().unwrap();
    assert!(
        checks.len() >= 17
            && checks
                .iter()
                .all(|check| check["outcome"] == "holds" || check["outcome"] == "not-claimed")
    );
    assert!(report["speed"]["up_bytes_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!(report["clock_skew_seconds"], 0);
    assert!(report["space"]["free"].as_u64().unwrap() > 0);
    assert_eq!(report["guard"]["open"], true);
    assert_eq!(report["left_over"].as_array().unwrap().len(), 0);
    let mut find = std::process::Command::new("find");
    let files = testkit::run(find.arg(&place).args(["-type", "f"]));
    assert_eq!(files, "", "nothing but empty folders stays");
}

#[test]
fn a_person_reads_what_protects_the_place_from_who_has_the_key() {
    let bench = Bench::new();
    let emulator = B2Emulator::start();
    let test = || {
        let command = bench
            .ravelin(["store", "test", "b2://bucket/laptop"])
            .env("RAVELIN_ENDPOINT_B2", emulator.url())
            .env("B2_APPLICATION_KEY_ID", "key")
            .env("B2_APPLICATION_KEY", "secret");
        let output = command.assert().success().get_output().stdout.clone();
        String::from_utf8(output).unwrap()
    };
    let text = test();
    assert!(text.starts_with("b2://bucket/laptop\n"), "{text}");
    assert!(text.contains("16 of 17 rules hold"), "{text}");
    assert!(
        text.contains("OPEN: who has these credentials can delete"),
        "{text}"
    );
    assert!(text.contains("deleteFiles"), "{text}");
    emulator.set_capabilities(&["listBuckets", "listFiles", "readFiles", "writeFiles"]);
    let text = test();
    assert!(
        text.contains("guarded: these credentials cannot delete"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn who_waits_for_a_place_out_of_reach_may_stop_it() {
    let bench = Bench::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut child = std::process::Command::new(snapbox::cmd::cargo_bin!("ravelin"))
        .args(["store", "test", "b2://bucket/laptop"])
        .env_clear()
        .env("HOME", bench.home())
        .env("RAVELIN_ENDPOINT_B2", address)
        .env("B2_APPLICATION_KEY_ID", "key")
        .env("B2_APPLICATION_KEY", "secret")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The first try comes and is cut off; all others are refused, for two minutes.
    drop(listener.accept().unwrap());
    drop(listener);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let begun = std::time::Instant::now();
    let _ =
        testkit::run(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]));
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(begun.elapsed() < std::time::Duration::from_secs(60));
}

#[test]
fn what_is_no_place_is_told_with_the_page_that_helps() {
    let bench = Bench::new();
    bench
        .ravelin(["store", "test", "ftp://me:hunter2@host/x"])
        .assert()
        .code(2)
        .stderr_eq(snapbox::str![[r#"
error: this could not be done [store-location]
  because: this is no place of a store
  because: `ftp` is no kind of store; known are file, sftp, s3, b2, gdrive, dropbox, webdav+https, rclone
  next: docs/stores.md shows how each kind is written, for example `sftp://nas/backup` or `b2://bucket/laptop`.

"#]]);
}

#[test]
fn nobody_is_signed_in_and_the_command_that_mends_it_is_named() {
    let bench = Bench::new();
    bench
        .ravelin(["store", "test", "gdrive://me/Backup"])
        .assert()
        .code(1)
        .stderr_eq(snapbox::str![[r#"
error: this could not be done [store-sign-in]
  because: cannot open the store `gdrive`: the credentials were not accepted
  because: nobody has signed in yet; sign in with `ravelin store login gdrive --account me`
  next: run `ravelin store login gdrive --account me`

"#]]);
}

/// A machine without a display, beside the emulators.
fn dropbox<'a>(
    bench: &Bench,
    emulator: &DropboxEmulator,
    arguments: impl IntoIterator<Item = &'a str>,
) -> Command {
    bench
        .ravelin(arguments)
        .env("RAVELIN_ENDPOINT_DROPBOX_API", emulator.url())
        .env("RAVELIN_ENDPOINT_DROPBOX_CONTENT", emulator.url())
        .env(
            "RAVELIN_ENDPOINT_DROPBOX_AUTHORIZE",
            format!("{}/oauth2/authorize", emulator.url()),
        )
}

/// Signs in as a person would: reads the address, visits it, and pastes the code or lets the
/// browser come back.
pub(crate) fn sign_in(
    bench: &Bench,
    emulator: &DropboxEmulator,
    arguments: &[&str],
) -> (bool, String) {
    let mut command = std::process::Command::new(snapbox::cmd::cargo_bin!("ravelin"));
    command
        .args(["store", "login", "dropbox"])
        .args(arguments)
        .env_clear()
        .env("HOME", bench.home())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("RAVELIN_ENDPOINT_DROPBOX_API", emulator.url())
        .env(
            "RAVELIN_ENDPOINT_DROPBOX_AUTHORIZE",
            format!("{}/oauth2/authorize", emulator.url()),
        )
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let url = lines
        .by_ref()
        .map(|line| line.unwrap().trim().to_owned())
        .find(|line| line.starts_with("http://"))
        .unwrap();
    let code = fetch(&url);
    // In the way with a browser nobody reads it.
    let _ = writeln!(child.stdin.take().unwrap(), "{code}");
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let ended = child.wait_with_output().unwrap();
    let printed = String::from_utf8(ended.stdout).unwrap();
    (
        ended.status.success(),
        format!("{printed}{}", rest.join("\n")),
    )
}

#[test]
fn a_code_is_pasted_and_a_revoked_sign_in_is_mended_by_the_command_that_is_named() {
    let bench = Bench::new();
    let emulator = DropboxEmulator::start();
    let refused = dropbox(&bench, &emulator, ["store", "login", "dropbox"]);
    let refused = refused.assert().code(1).get_output().stderr.clone();
    let refused = String::from_utf8(refused).unwrap();
    assert!(refused.contains("--client-id"), "{refused}");

    let (done, said) = sign_in(&bench, &emulator, &["--client-id", "app", "--json"]);
    assert!(done, "{said}");
    let record: Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    assert_eq!(record["service"], "dropbox");
    assert_eq!(record["kept_in"], "file");
    let file = record["place"].as_str().unwrap();
    assert_eq!(
        fs::metadata(file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let report = dropbox(
        &bench,
        &emulator,
        ["store", "test", "--json", "dropbox:/Backup"],
    );
    assert_eq!(json(report)["good"], true);

    emulator.revoke();
    let test = dropbox(&bench, &emulator, ["store", "test", "dropbox:/Backup"]);
    let told = test.assert().code(1).get_output().stderr.clone();
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("[store-sign-in]"), "{told}");
    assert!(
        told.contains("the sign-in was revoked or has expired")
            && told.ends_with("next: run `ravelin store login dropbox`\n"),
        "{told}"
    );
    // Without a client id: that of the last sign-in is known.
    let (done, said) = sign_in(&bench, &emulator, &["-v"]);
    assert!(done && said.contains("signed in to Dropbox"), "{said}");
    let report = dropbox(
        &bench,
        &emulator,
        ["store", "test", "--json", "dropbox:/Backup"],
    );
    assert_eq!(json(report)["good"], true);
}

#[test]
fn a_browser_comes_back_to_a_port_of_this_machine() {
    let bench = Bench::new();
    let emulator = DropboxEmulator::start();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = port.local_addr().unwrap().port().to_string();
    drop(port);
    let arguments = [
        "--client-id",
        "app",
        "--port",
        &number,
        "--account",
        "work",
        "-v",
    ];
    let (done, said) = sign_in(&bench, &emulator, &arguments);
    assert!(done && said.contains("signed in to Dropbox"), "{said}");
    let report = dropbox(
        &bench,
        &emulator,
        ["store", "test", "--json", "dropbox://work/Backup"],
    );
    assert_eq!(json(report)["good"], true);
}

#[test]
fn a_machine_without_a_browser_shows_a_code() {
    let bench = Bench::new();
    let emulator = DriveEmulator::start();
    let file = bench.file(
        "client.json",
        r#"{"installed":{"client_id":"id.apps.example","client_secret":"canary","redirect_uris":["http://localhost"]}}"#,
    );
    let arguments = [
        "store",
        "login",
        "gdrive",
        "-v",
        "--client-file",
        file.to_str().unwrap(),
    ];
    let login = bench
        .ravelin(arguments)
        .env(
            "RAVELIN_ENDPOINT_GOOGLE_DEVICE",
            format!("{}/device/code", emulator.url()),
        )
        .env(
            "RAVELIN_ENDPOINT_GOOGLE_TOKEN",
            format!("{}/token", emulator.url()),
        );
    let said = login.assert().success().get_output().stderr.clone();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.contains("ABCD-EFGH") && said.contains("signed in to Google Drive"),
        "{said}"
    );
    assert!(!said.contains("canary"));
    let report = bench
        .ravelin(["store", "test", "--json", "gdrive:/Backup"])
        .env("RAVELIN_ENDPOINT_DRIVE", emulator.url())
        .env(
            "RAVELIN_ENDPOINT_GOOGLE_TOKEN",
            format!("{}/token", emulator.url()),
        );
    assert_eq!(json(report)["good"], true);
}
