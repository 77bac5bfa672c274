//! The same over real servers (SFTP, WebDAV, S3), and over what stands for B2 and Google Drive.
//!
//! Fewer operations than in memory, as each asks a real program over a real connection.

use std::path::PathBuf;
use std::sync::Arc;

use store::{Client, Environment, Location, Provider, Secret, SignIn, Store};
use testkit::emulator::{B2Emulator, DriveEmulator};
use testkit::servers;

use crate::bench::{Machine, at, environment};
use crate::chaos;
use crate::place::{OnStore, Place};

const OPERATIONS: u64 = 120;

/// The network breaks off about once in so many calls.
const CUT_EVERY: u64 = 90;

fn open(location: &str, environment: &Environment) -> Arc<dyn Store> {
    let location: Location = location.parse().unwrap();
    store::open(&location, environment).unwrap()
}

/// What one device does to the other, once each; a large file and an empty one are among it. `takes`
/// says whether the server takes the signs of addresses in names.
fn journey(place: &OnStore, takes: bool) {
    let (laptop, desktop) = (Machine::new("laptop"), Machine::new("desktop"));
    let signs = "100% #?&+.txt";
    let sync = |machine: &Machine, seconds: i64| {
        let mut folder = place.open(machine, None).unwrap();
        let report = machine.sync_with(&mut folder, at(seconds)).unwrap();
        assert!(report.complete, "{report:#?}");
        let named: Vec<&str> = report.problems.iter().map(|is| is.path.as_str()).collect();
        assert!(
            if takes {
                named.is_empty()
            } else {
                named.iter().all(|path| *path == signs)
            },
            "{report:#?}"
        );
    };
    let both = |seconds: i64| {
        sync(&laptop, seconds);
        sync(&desktop, seconds + 1);
        sync(&laptop, seconds + 2);
        let mut files = laptop.files();
        assert_eq!(files, desktop.files());
        if !takes {
            // It is kept, and every device has it.
            assert_eq!(files.remove(signs).unwrap(), b"signs");
        }
        assert_eq!(files, place.files());
    };
    let large: Vec<u8> = (0..6_u32 << 18).flat_map(u32::to_le_bytes).collect();
    laptop.write("large", &large);
    laptop.write("a/empty", b"");
    laptop.write("caf\u{e9}", b"composed");
    laptop.write("cafe\u{301}", b"decomposed");
    laptop.write("Case", b"upper");
    laptop.write("case", b"lower");
    laptop.write("report.odt", b"first");
    laptop.write("deep/er/file", b"in folders");
    desktop.write(signs, b"signs");
    both(0);
    assert_eq!(laptop.files().len(), 9);
    laptop.write("report.odt", b"from the laptop");
    desktop.write("report.odt", b"from the desktop");
    desktop.remove("case");
    laptop.remove("a/empty");
    // A folder becomes a file, and a file a folder.
    laptop.write("deep", b"now a file");
    desktop.write("large/below", b"now in a folder");
    both(10);
    let files = laptop.files();
    assert_eq!(files["report.odt"], b"from the laptop");
    let copy = "report (conflict desktop 2027-01-15 08.00.11).odt";
    assert_eq!(files[copy], b"from the desktop");
    assert_eq!(files["deep"], b"now a file");
    assert_eq!(files["large/below"], b"now in a folder");
    std::fs::rename(laptop.path("Case"), laptop.path("CASE")).unwrap();
    let mut folder = place.open(&desktop, None).unwrap();
    let deleted = folder.deleted().unwrap();
    let paths: Vec<&str> = deleted.iter().map(|is| is.path.as_str()).collect();
    assert_eq!(paths, ["a/empty", "case", "deep/er/file", "large"]);
    let last = folder.last_content(&deleted[1].path).unwrap();
    folder.restore(&last, at(20)).unwrap();
    both(30);
    assert_eq!(laptop.read("case").unwrap(), b"lower");
    assert_eq!(desktop.read("CASE").unwrap(), b"upper");
    assert_eq!(folder.verify().unwrap(), []);
}

#[test]
fn over_sftp_devices_stay_the_same_and_lose_nothing() {
    let Some((_server, config)) = servers::sshd() else {
        return;
    };
    let ssh = format!("ssh -F {}", config.display());
    let mut environment = environment();
    environment.variable = Arc::new(move |name| (name == "RAVELIN_SSH").then(|| ssh.clone()));
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let store = open(&format!("sftp://store{}", path.display()), &environment);
        OnStore::new(store, CUT_EVERY).in_folder(path)
    };
    journey(&place("journey"), true);
    chaos::run(&place("three"), 3, 2 * OPERATIONS);
}

#[test]
fn over_webdav_devices_stay_the_same_and_lose_nothing() {
    let Some(server) = servers::wsgidav() else {
        return;
    };
    let place = |name: &str| {
        let location = format!("webdav+http://me:pw@127.0.0.1:{}/{name}", server.port);
        let folder: PathBuf = server.folder.path().join("data").join(name);
        // It tells states of a file apart by the second.
        OnStore::new(open(&location, &environment()), CUT_EVERY)
            .in_folder(folder)
            .of_whole_seconds()
    };
    // It cuts names at a question mark.
    journey(&place("journey"), false);
    chaos::run(&place("two"), 2, OPERATIONS);
}

#[test]
fn over_s3_devices_stay_the_same_and_lose_nothing() {
    let Some(server) = servers::seaweed() else {
        return;
    };
    let place = |name: &str| {
        let location = format!(
            "s3+http://key:secret@127.0.0.1:{}/bucket/{name}",
            server.port
        );
        OnStore::new(open(&location, &environment()), CUT_EVERY)
    };
    journey(&place("journey"), true);
    chaos::run(&place("two"), 2, 2 * OPERATIONS);
}

#[test]
fn over_b2_devices_stay_the_same_and_lose_nothing() {
    let emulator = B2Emulator::start();
    let mut environment = environment();
    environment.endpoints.b2 = emulator.url();
    let place = |name: &str| {
        let location = format!("b2://key:secret@bucket/{name}");
        OnStore::new(open(&location, &environment), CUT_EVERY)
    };
    journey(&place("journey"), true);
    chaos::run(&place("two"), 2, 2 * OPERATIONS);
}

#[test]
fn over_google_drive_devices_stay_the_same_and_lose_nothing() {
    let emulator = DriveEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let mut environment = environment();
    environment.state = Some(state.path().into());
    environment.endpoints.drive = emulator.url();
    environment.endpoints.google_authorize = format!("{}/authorize", emulator.url());
    environment.endpoints.google_token = format!("{}/token", emulator.url());
    let client = Client {
        id: "app".into(),
        secret: Some(Secret::new("app secret")),
    };
    let sign_in = SignIn::with_code(Provider::Drive, client, &environment);
    let code = servers::fetch(sign_in.url());
    sign_in.finish(None, &code).unwrap();
    let place = |name: &str| {
        let location = format!("gdrive:/{name}");
        OnStore::new(open(&location, &environment), CUT_EVERY)
    };
    journey(&place("journey"), true);
    chaos::run(&place("two"), 2, OPERATIONS);
}
