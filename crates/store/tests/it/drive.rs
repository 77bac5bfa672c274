//! Google Drive against the emulator, and the emulator against Google's own library.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ravelin_store::{
    Client, DeviceSignIn, Environment, ErrorKind, Folder, Name, Provider, Secret, SignIn, Store,
    WriteMode, list_all, open, read_all,
};
use testkit::emulator::{DriveEmulator, Fault, Trouble};

use crate::b2::quick;
use crate::conformance::{check, environment};
use crate::router::{Router, rclone_round_trip};
use testkit::servers::fetch;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn around(emulator: &DriveEmulator, state: &std::path::Path) -> Environment {
    let mut environment = quick(environment());
    environment.state = Some(state.into());
    environment.endpoints.drive = emulator.url();
    environment.endpoints.google_authorize = format!("{}/authorize", emulator.url());
    environment.endpoints.google_token = format!("{}/token", emulator.url());
    environment.endpoints.google_device = format!("{}/device/code", emulator.url());
    environment
}

fn client() -> Client {
    Client {
        id: "app".into(),
        secret: Some(Secret::new("app secret")),
    }
}

fn signed_in(emulator: &DriveEmulator) -> (Arc<dyn Store>, Environment, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let environment = around(emulator, state.path());
    let sign_in = SignIn::with_code(Provider::Drive, client(), &environment);
    let code = fetch(sign_in.url());
    sign_in.finish(None, &code).unwrap();
    let store = open(&"gdrive:/Some%20Folder/deep".parse().unwrap(), &environment).unwrap();
    (store, environment, state)
}

#[test]
fn drive_keeps_the_contract() {
    let emulator = DriveEmulator::start();
    emulator.set_page(5);
    let (store, _environment, _state) = signed_in(&emulator);
    check(&*store);
    assert_eq!(
        emulator.objects("Some Folder").len(),
        1,
        "threads that need a folder make one"
    );
}

#[test]
fn every_passing_fault_passes_and_makes_no_second_file() {
    let emulator = DriveEmulator::start();
    let (store, _environment, _state) = signed_in(&emulator);
    let bytes = vec![7; 200_000];
    let reason = |reason: &str| format!(r#"{{"error":{{"errors":[{{"reason":"{reason}"}}]}}}}"#);
    let troubles = [
        Trouble::Status(429, Some(1)),
        Trouble::Status(500, None),
        Trouble::Status(503, Some(0)),
        Trouble::Answer(403, reason("userRateLimitExceeded")),
        Trouble::Answer(403, reason("rateLimitExceeded")),
        Trouble::Answer(401, reason("authError")),
        Trouble::CutRequest(100),
        Trouble::CutAnswer(10),
        Trouble::LoseAnswer,
    ];
    for (number, trouble) in troubles.into_iter().enumerate() {
        let file = format!("up{number}");
        emulator.faults.next("/upload/", trouble.clone());
        store
            .write(&name(&file), &bytes, WriteMode::Replace)
            .unwrap_or_else(|error| panic!("{trouble:?}: {error:?}"));
        assert_eq!(
            emulator.objects(&file),
            std::slice::from_ref(&bytes),
            "{trouble:?}"
        );
        emulator.faults.next("/files/id", trouble.clone());
        assert_eq!(
            read_all(&*store, &name(&file), 1 << 20).unwrap(),
            bytes,
            "{trouble:?}"
        );
        emulator.faults.next("/drive/v3/files", trouble.clone());
        assert_eq!(
            list_all(&*store, &Folder::root()).unwrap().len(),
            1,
            "{trouble:?}"
        );
        emulator.faults.next("/files/id", trouble.clone());
        store.delete(&name(&file)).unwrap();
        emulator.faults.clear();
    }
}

#[test]
fn bytes_that_change_on_their_way_are_noticed_both_ways() {
    let emulator = DriveEmulator::start();
    let (store, ..) = &signed_in(&emulator);
    emulator.faults.next("/upload/", Trouble::FlipByte);
    store
        .write(&name("a"), &vec![7; 100_000], WriteMode::Replace)
        .unwrap();
    assert_eq!(emulator.objects("a"), [vec![7; 100_000]]);
    emulator.faults.next("/files/id", Trouble::FlipAnswer);
    assert_eq!(
        read_all(&**store, &name("a"), 1 << 20).unwrap_err().kind,
        ErrorKind::Corrupt
    );
    read_all(&**store, &name("a"), 1 << 20).unwrap();
}

#[test]
fn sessions_go_on_after_a_failure_and_start_over_when_forgotten() {
    let emulator = DriveEmulator::start();
    let (_, mut environment, _state) = signed_in(&emulator);
    let reopen =
        |environment: &Environment| open(&"gdrive:/x".parse().unwrap(), environment).unwrap();
    let bytes: Vec<u8> = (0..(50_u32 << 20) / 4).flat_map(u32::to_le_bytes).collect();
    for forget in [false, true] {
        environment.patience.total = Duration::ZERO;
        let path = format!("big {forget}");
        // The start of the session and two parts go well.
        emulator.faults.add(Fault {
            on: "/upload/".into(),
            skip: 3,
            times: 100,
            trouble: Trouble::CutRequest(1000),
        });
        reopen(&environment)
            .write(&name(&path), &bytes, WriteMode::Replace)
            .unwrap_err();
        emulator.faults.clear();
        if forget {
            emulator.forget_sessions();
        }
        let before = environment.counters.get("drive part");
        reopen(&environment)
            .write(&name(&path), &bytes, WriteMode::Replace)
            .unwrap();
        assert_eq!(
            environment.counters.get("drive part") - before,
            if forget { 4 } else { 2 }
        );
        assert!(emulator.objects(&path) == std::slice::from_ref(&bytes));
    }
    environment.patience.total = Duration::from_secs(10);
    for trouble in [
        Trouble::LoseAnswer,
        Trouble::CutRequest(5_000_000),
        Trouble::Status(503, None),
    ] {
        emulator.faults.add(Fault {
            on: "/upload/".into(),
            skip: 2,
            times: 1,
            trouble,
        });
        reopen(&environment)
            .write(&name("big false"), &bytes, WriteMode::Replace)
            .unwrap();
        assert!(emulator.objects("big false") == std::slice::from_ref(&bytes));
    }
}

#[test]
fn a_session_goes_on_with_its_own_content_only() {
    let emulator = DriveEmulator::start();
    let (_, mut environment, _state) = signed_in(&emulator);
    environment.patience.total = Duration::ZERO;
    let store = || open(&"gdrive:/x".parse().unwrap(), &environment).unwrap();
    let (old, new) = (vec![1; 40 << 20], vec![2; 40 << 20]);
    // The start of the session and a part go well.
    emulator.faults.add(Fault {
        on: "/upload/".into(),
        skip: 2,
        times: 100,
        trouble: Trouble::CutRequest(1000),
    });
    store()
        .write(&name("big"), &old, WriteMode::Replace)
        .unwrap_err();
    emulator.faults.clear();
    store()
        .write(&name("big"), &new, WriteMode::Replace)
        .unwrap();
    assert!(emulator.objects("big") == [new]);
}

#[test]
fn a_new_file_that_arrives_damaged_does_not_stay() {
    let emulator = DriveEmulator::start();
    let (_, mut environment, _state) = signed_in(&emulator);
    environment.patience.total = Duration::ZERO;
    let store = open(&"gdrive:/x".parse().unwrap(), &environment).unwrap();
    emulator.faults.next("/upload/", Trouble::FlipByte);
    let error = store
        .write(&name("a"), &vec![7; 100_000], WriteMode::Replace)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(emulator.objects("a").is_empty());
}

#[test]
fn two_files_of_one_name_are_told_unless_they_are_the_same() {
    let emulator = DriveEmulator::start();
    let (store, _environment, _state) = signed_in(&emulator);
    store
        .write(&name("a"), b"same", WriteMode::Replace)
        .unwrap();
    emulator.duplicate("a", b"same");
    assert_eq!(read_all(&*store, &name("a"), 10).unwrap(), b"same");
    assert_eq!(list_all(&*store, &Folder::root()).unwrap().len(), 1);
    store.write(&name("a"), b"new", WriteMode::Replace).unwrap();
    assert_eq!(
        emulator.objects("a"),
        [b"new"],
        "the copy went away with the old content"
    );

    emulator.duplicate("a", b"other");
    for error in [
        store.stat(&name("a")).unwrap_err(),
        store
            .write(&name("a"), b"newer", WriteMode::Replace)
            .unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Invalid);
        let why = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            why,
            "2 files in Drive have this name and differ: rename or remove all but one"
        );
    }
    store.delete(&name("a")).unwrap();
    assert!(emulator.objects("a").is_empty());
}

#[test]
fn a_listing_that_changes_between_pages_keeps_what_stays() {
    let emulator = DriveEmulator::start();
    let (store, _environment, _state) = signed_in(&emulator);
    for number in 0..9 {
        store
            .write(&name(&format!("f{number}")), b"x", WriteMode::Replace)
            .unwrap();
    }
    emulator.set_page(2);
    // Files come while the pages are fetched.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                emulator.duplicate("f0", b"x");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let listed = list_all(&*store, &Folder::root()).unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let names: Vec<&str> = listed.iter().map(|object| object.name.as_str()).collect();
        assert_eq!(
            names,
            (0..9)
                .map(|number| format!("f{number}"))
                .collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_full_drive_says_so_at_once() {
    let emulator = DriveEmulator::start();
    let (store, environment, _state) = signed_in(&emulator);
    emulator.set_size_max(100);
    let error = store
        .write(&name("a"), &[0; 200], WriteMode::Replace)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full);
    assert_eq!(environment.counters.get("drive upload"), 1);
    assert_eq!(store.space().unwrap().unwrap().free, 100);
}

#[test]
fn a_machine_without_a_browser_signs_in_by_a_code_on_another() {
    let emulator = DriveEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = around(&emulator, state.path());
    let sign_in = DeviceSignIn::begin(Provider::Drive, client(), &environment).unwrap();
    assert_eq!(sign_in.user_code(), "ABCD-EFGH");
    sign_in.wait(Some("me@example.org")).unwrap();
    let store = open(
        &"gdrive://me%40example.org/x".parse().unwrap(),
        &environment,
    )
    .unwrap();
    store.write(&name("a"), b"1", WriteMode::Replace).unwrap();
    emulator.revoke();
    let error = store.stat(&name("a")).unwrap_err();
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .ends_with("`ravelin store login gdrive --account me@example.org`")
    );
}

#[test]
fn a_service_account_needs_no_person() {
    let Some(openssl) = testkit::require("openssl") else {
        return;
    };
    let emulator = DriveEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let mut environment = around(&emulator, state.path());
    let key = testkit::run(Command::new(openssl).args([
        "genpkey",
        "-quiet",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:2048",
    ]));
    let file = state.path().join("key.json");
    std::fs::write(
        &file,
        serde_json::json!({"client_email": "x@y", "private_key": key}).to_string(),
    )
    .unwrap();
    let path = file.to_str().unwrap().to_owned();
    environment.variable =
        Arc::new(move |variable| (variable == "GOOGLE_SERVICE_JSON_FILE").then(|| path.clone()));
    let store = open(&"gdrive:/x".parse().unwrap(), &environment).unwrap();
    store.write(&name("a"), b"1", WriteMode::Replace).unwrap();
    emulator.expire();
    assert_eq!(read_all(&*store, &name("a"), 10).unwrap(), b"1");
    // Ours is ten minutes off, and Google refuses what was signed at such a time: its own is taken.
    for ahead in [true, false] {
        let mut environment = environment.clone();
        let clock = environment.clock.clone();
        let distance = Duration::from_secs(600);
        environment.clock = Arc::new(move || {
            if ahead {
                clock() + distance
            } else {
                clock() - distance
            }
        });
        let store = open(&"gdrive:/x".parse().unwrap(), &environment).unwrap();
        assert_eq!(read_all(&*store, &name("a"), 10).unwrap(), b"1");
    }
}

#[test]
fn googles_own_library_finds_the_emulator_right() {
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let emulator = DriveEmulator::start();
    let script = r#"
import sys, io, json, os, hashlib, googleapiclient
from googleapiclient.discovery import build_from_document
from googleapiclient.http import MediaIoBaseUpload, MediaIoBaseDownload
from google.oauth2.credentials import Credentials
base = sys.argv[1]
path = os.path.join(os.path.dirname(googleapiclient.__file__), "discovery_cache/documents/drive.v3.json")
document = json.load(open(path))
document["rootUrl"] = base + "/"
document.pop("mtlsRootUrl", None)
document["baseUrl"] = base + "/drive/v3/"
drive = build_from_document(document, credentials=Credentials("access-0"))
files = drive.files()
folder = files.create(body={"name": "it's", "mimeType": "application/vnd.google-apps.folder"}, fields="id").execute()["id"]
data = bytes(range(256)) * 4096 * 3
def media(resumable):
    return MediaIoBaseUpload(io.BytesIO(data), "application/octet-stream", chunksize=512 * 1024, resumable=resumable)
small = files.create(body={"name": "small", "parents": [folder]}, media_body=media(False), fields="id,md5Checksum").execute()
assert small["md5Checksum"] == hashlib.md5(data).hexdigest()
request = files.create(body={"name": "big", "parents": [folder]}, media_body=media(True), fields="id,size")
response, chunks = None, 0
while response is None:
    status, response = request.next_chunk()
    chunks += 1
assert chunks == 6 and response["size"] == str(len(data)), (chunks, response)
out = io.BytesIO()
download, done = MediaIoBaseDownload(out, files.get_media(fileId=response["id"]), chunksize=1 << 20), False
while not done:
    _, done = download.next_chunk()
assert out.getvalue() == data
assert len(files.list(q="name = 'it\\'s' and trashed = false").execute()["files"]) == 1
found, request = [], files.list(q="'%s' in parents and (name = 'small' or name = 'big') and mimeType != 'x'" % folder, pageSize=1)
while request is not None:
    page = request.execute()
    found += [f["name"] for f in page["files"]]
    request = files.list_next(request, page)
assert sorted(found) == ["big", "small"], found
files.update(fileId=small["id"], addParents="root", removeParents=folder, body={"name": "moved"}).execute()
assert files.get(fileId=small["id"], fields="name,parents").execute()["parents"] == ["root"]
files.update(fileId=small["id"], body={"trashed": True}).execute()
assert files.list(q="name = 'moved' and trashed = false").execute()["files"] == []
files.delete(fileId=folder).execute()
ids = files.generateIds(count=2).execute()["ids"]
files.create(body={"id": ids[0], "name": "x"}).execute()
try:
    files.create(body={"id": ids[0], "name": "x"}).execute()
    assert False
except googleapiclient.errors.HttpError as e:
    assert e.status_code == 409
assert int(drive.about().get(fields="storageQuota").execute()["storageQuota"]["usage"]) > 0
print("good")
"#;
    let said = testkit::run(
        Command::new(programs.program("python"))
            .args(["-W", "ignore", "-c", script])
            .arg(emulator.url()),
    );
    assert_eq!(said.trim(), "good");
}

#[test]
fn rclone_finds_the_emulator_right() {
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let emulator = DriveEmulator::start();
    let router = Router::start(
        &programs,
        &emulator.url(),
        &["www.googleapis.com", "oauth2.googleapis.com"],
    );
    let rclone = |arguments: &[&str]| {
        let remote = "type = drive\nscope = drive\nroot_folder_id = root\nclient_id = app\nclient_secret = app\nchunk_size = 8M\npacer_min_sleep = 1ms";
        testkit::run(router.rclone(&programs, remote).args(arguments))
    };
    rclone_round_trip(&rclone);
    let (store, _environment, _state) = signed_in(&emulator);
    store
        .write(&name("ours/é"), b"ours", WriteMode::Replace)
        .unwrap();
    assert_eq!(rclone(&["cat", "box:Some Folder/deep/ours/é"]), "ours");
    let _ = rclone(&["purge", "box:x"]);
    let left = rclone(&["lsf", "-R", "--files-only", "box:"]);
    assert_eq!(left.trim(), "Some Folder/deep/ours/é");
}
