//! A drop folder on Dropbox: its own revisions, deleted files, links and requests.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use ravelin_drop::{Device, Did, Error, Folder, Rule, Sync, SyncReport};
use store::{Client, Environment, Location, Patience, Provider, SignIn};
use testkit::emulator::{DropboxEmulator, Trouble};
use testkit::servers::fetch;

use crate::bench::{Machine, at, environment, name};

pub(crate) fn signed_in(emulator: &DropboxEmulator, state: &Path) -> Environment {
    let mut environment = environment();
    #[expect(
        clippy::disallowed_methods,
        reason = "tokens end by the clock of this machine"
    )]
    let clock = SystemTime::now;
    environment.clock = std::sync::Arc::new(clock);
    environment.state = Some(state.into());
    environment.endpoints.dropbox_api = emulator.url();
    environment.endpoints.dropbox_content = emulator.url();
    environment.endpoints.dropbox_notify = emulator.url();
    environment.endpoints.dropbox_authorize = format!("{}/oauth2/authorize", emulator.url());
    environment.patience = Patience {
        total: Duration::from_secs(10),
        wait_first: Duration::from_millis(10),
        wait_max: Duration::from_millis(100),
        stall: Duration::from_secs(10),
    };
    let client = Client {
        id: "app".into(),
        secret: None,
    };
    let sign_in = SignIn::with_code(Provider::Dropbox, client, &environment);
    let code = fetch(sign_in.url());
    sign_in.finish(None, &code).unwrap();
    environment
}

fn open(environment: &Environment) -> Folder {
    let location: Location = "dropbox:/Drop".parse().unwrap();
    let opened = Folder::open(&location, environment, &Device::new("laptop"), None);
    opened.unwrap().unwrap()
}

fn sync(machine: &Machine, environment: &Environment, seconds: i64) -> SyncReport {
    let mut folder = open(environment);
    let sync = machine.sync_of();
    let report = run(&sync, &mut folder, seconds).unwrap();
    assert!(report.complete, "{report:#?}");
    report
}

fn run(sync: &Sync, folder: &mut Folder, seconds: i64) -> Result<SyncReport, Error> {
    sync.run(folder, at(seconds), &mut |_| ControlFlow::Continue(()))
}

#[test]
fn revisions_deleted_files_and_restoring_are_dropboxs_own() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = signed_in(&emulator, state.path());
    let mut folder = open(&environment);
    let path = name("a/Report ü.odt");
    let first = folder.put(&path, &b"one"[..], at(0), at(0)).unwrap();
    folder.put(&path, &b"two"[..], at(1), at(1)).unwrap();
    // No hidden folder, no copies.
    assert_eq!(emulator.object("/Drop/a/Report ü.odt").unwrap(), b"two");
    let history = folder.history(&path).unwrap();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0].id, first);
    folder.remove(&path, at(2)).unwrap();
    assert!(folder.list().is_empty());
    let deleted = folder.deleted().unwrap();
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0].path, path);
    let version = folder.version(&path, &first).unwrap();
    let mut bytes = Vec::new();
    folder
        .read(&version)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes, b"one");
    folder.restore(&version, at(3)).unwrap();
    assert_eq!(emulator.object("/Drop/a/Report ü.odt").unwrap(), b"one");
    assert_eq!(folder.list().len(), 1);
    assert!(folder.deleted().unwrap().is_empty());
    let before = folder.as_of(history[1].at).unwrap();
    assert_eq!(before[0].id, history[1].id);
    assert!(matches!(
        folder.thin_plan(&Rule::default(), at(4)),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn two_devices_and_the_dropbox_app_stay_the_same() {
    let emulator = DropboxEmulator::start();
    emulator.set_page(3);
    let state = tempfile::tempdir().unwrap();
    let environment = signed_in(&emulator, state.path());
    let (laptop, desktop) = (Machine::new("laptop"), Machine::new("desktop"));
    for number in 0..8 {
        laptop.write(&format!("f/{number}"), number.to_string().as_bytes());
    }
    laptop.write("empty", b"");
    sync(&laptop, &environment, 0);
    sync(&desktop, &environment, 1);
    assert_eq!(laptop.files(), desktop.files());
    // The app edits, deletes, and adds.
    emulator.put("/Drop/f/1", b"by the app");
    emulator.delete("/Drop/f/2");
    emulator.put("/Drop/new", b"by the app, too");
    desktop.write("f/3", b"by the desktop");
    sync(&desktop, &environment, 2);
    sync(&laptop, &environment, 3);
    assert_eq!(laptop.files(), desktop.files());
    assert_eq!(laptop.read("f/1").unwrap(), b"by the app");
    assert_eq!(laptop.read("f/2"), None);
    // Both edit at once.
    laptop.write("new", b"laptop");
    desktop.write("new", b"desktop");
    sync(&laptop, &environment, 4);
    let report = sync(&desktop, &environment, 5);
    assert!(report.steps.iter().any(|step| step.did == Did::KeptBoth));
    sync(&laptop, &environment, 6);
    assert_eq!(laptop.files(), desktop.files());
    assert_eq!(laptop.read("new").unwrap(), b"laptop");
    assert_eq!(
        laptop
            .read("new (conflict desktop 2027-01-15 08.00.05)")
            .unwrap(),
        b"desktop"
    );
}

#[test]
fn a_device_that_was_overtaken_between_look_and_write_overwrites_nothing() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = signed_in(&emulator, state.path());
    let mut folder = open(&environment);
    folder.put(&name("x"), &b"one"[..], at(0), at(0)).unwrap();
    let stale = folder.present(&name("x")).unwrap();
    emulator.put("/Drop/x", b"somebody else's");
    let content = b"ours".to_vec();
    let change = ravelin_drop::Change {
        path: name("x"),
        base: Some(stale.id.clone()),
        what: ravelin_drop::What::Put {
            content: &content,
            hash: "another".into(),
            modified: at(1),
        },
    };
    let outcomes = folder.commit(&[change], at(1)).unwrap();
    assert!(matches!(outcomes[..], [ravelin_drop::Outcome::Conflict]));
    let change = ravelin_drop::Change {
        path: name("x"),
        base: Some(stale.id),
        what: ravelin_drop::What::Delete,
    };
    let outcomes = folder.commit(&[change], at(1)).unwrap();
    assert!(matches!(outcomes[..], [ravelin_drop::Outcome::Conflict]));
    assert_eq!(emulator.object("/Drop/x").unwrap(), b"somebody else's");
}

#[test]
fn capitals_only_and_refused_names_are_named_and_the_others_travel() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = signed_in(&emulator, state.path());
    let (laptop, desktop) = (Machine::new("laptop"), Machine::new("desktop"));
    laptop.write(".ravelinignore", b"+ desktop.ini\n");
    laptop.write("Case", b"1");
    laptop.write("case", b"2");
    laptop.write("desktop.ini", b"3");
    laptop.write("good", b"4");
    let report = sync(&laptop, &environment, 0);
    let named: Vec<&str> = report
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(named, ["case", "desktop.ini"]);
    // A file for which there is no place keeps no other from travelling.
    assert_eq!(emulator.object("/Drop/good").unwrap(), b"4");
    laptop.remove("case");
    laptop.remove("desktop.ini");
    std::fs::rename(laptop.path("Case"), laptop.path("cASE")).unwrap();
    sync(&laptop, &environment, 1);
    sync(&desktop, &environment, 2);
    assert_eq!(desktop.read("cASE").unwrap(), b"1");
    assert_eq!(desktop.read("Case"), None);
}

#[test]
fn a_folder_is_replaced_by_a_file_and_the_other_way() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = signed_in(&emulator, state.path());
    let (laptop, desktop) = (Machine::new("laptop"), Machine::new("desktop"));
    laptop.write("a/b/c", b"deep");
    laptop.write("x", b"file");
    laptop.write("caf\u{e9}", b"composed");
    laptop.write("cafe\u{301}", b"decomposed");
    sync(&laptop, &environment, 0);
    sync(&desktop, &environment, 1);
    laptop.write("a", b"now a file");
    laptop.write("x/y", b"now a folder");
    sync(&laptop, &environment, 2);
    sync(&desktop, &environment, 3);
    assert_eq!(laptop.files(), desktop.files());
    assert_eq!(laptop.files(), emulator.files("/Drop"));
    assert_eq!(desktop.read("a").unwrap(), b"now a file");
    assert_eq!(desktop.read("x/y").unwrap(), b"now a folder");
    assert_eq!(desktop.read("cafe\u{301}").unwrap(), b"decomposed");
    // What was in the folder is deleted there. Of a file whose name a folder has, Dropbox tells nothing.
    let mut folder = open(&environment);
    let deleted: Vec<String> = folder
        .deleted()
        .unwrap()
        .iter()
        .map(|version| version.path.to_string())
        .collect();
    assert_eq!(deleted, ["a/b/c"]);
    // A folder in which something is does not give way.
    emulator.put("/Drop/full/inside", b"somebody's");
    let refused = folder.put(&name("full"), &b"a file"[..], at(4), at(4));
    assert!(refused.is_err());
    assert_eq!(emulator.object("/Drop/full/inside").unwrap(), b"somebody's");
}

#[test]
fn large_files_travel_in_sessions_and_cut_connections_pass() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = signed_in(&emulator, state.path());
    let (laptop, desktop) = (Machine::new("laptop"), Machine::new("desktop"));
    let large: Vec<u8> = (0..(9_u32 << 20) / 4).flat_map(u32::to_le_bytes).collect();
    laptop.write("large", &large);
    emulator.faults.next("append_v2", Trouble::CutRequest(1000));
    emulator
        .faults
        .next("list_folder", Trouble::Status(503, None));
    sync(&laptop, &environment, 0);
    emulator
        .faults
        .next("files/download", Trouble::CutAnswer(5_000_000));
    // A download that broke off begins again with the next run at the latest.
    let mut folder = open(&environment);
    let _ = run(&desktop.sync_of(), &mut folder, 1);
    sync(&desktop, &environment, 2);
    assert!(desktop.read("large").unwrap() == large);
}

#[test]
fn a_cursor_that_is_worth_nothing_any_more_is_begun_anew() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = signed_in(&emulator, state.path());
    let mut folder = open(&environment);
    folder.put(&name("a"), &b"1"[..], at(0), at(0)).unwrap();
    folder.put(&name("b"), &b"1"[..], at(0), at(0)).unwrap();
    folder.refresh(at(1)).unwrap();
    emulator.delete("/Drop/a");
    emulator.forget_cursors();
    folder.refresh(at(2)).unwrap();
    let left: Vec<String> = folder
        .list()
        .iter()
        .map(|version| version.path.to_string())
        .collect();
    assert_eq!(left, ["b"]);
    // Long poll: told when something changes.
    let wait = |folder: &Folder| folder.waiter().unwrap()(Duration::from_secs(1)).unwrap();
    assert!(!wait(&folder));
    emulator.put("/Drop/c", b"1");
    assert!(wait(&folder));
}

#[test]
fn links_and_requests_are_dropboxs_own() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = signed_in(&emulator, state.path());
    let mut folder = open(&environment);
    folder.put(&name("x"), &b"1"[..], at(0), at(0)).unwrap();
    let dropbox = folder.dropbox().unwrap();
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let secret = store::Secret::new("word");
    let link = dropbox
        .share(&name("x"), Some(until), Some(&secret), false)
        .unwrap();
    assert_eq!(link.expires, Some(until));
    assert!(link.has_password && link.url.starts_with("https://"));
    let again = dropbox.share(&name("x"), None, None, true).unwrap_err();
    assert_eq!(again.kind, store::ErrorKind::AlreadyExists);
    assert_eq!(dropbox.links().unwrap(), std::slice::from_ref(&link));
    dropbox.revoke(&link.url).unwrap();
    assert!(dropbox.links().unwrap().is_empty());
    assert_eq!(
        dropbox.revoke(&link.url).unwrap_err().kind,
        store::ErrorKind::NotFound
    );
    let made = dropbox
        .request_files("Photos", &name("In"), Some(until))
        .unwrap();
    assert!(made.open && made.destination.as_deref() == Some("/Drop/In"));
    assert_eq!(
        dropbox.file_requests().unwrap(),
        std::slice::from_ref(&made)
    );
    dropbox.close_request(&made.id).unwrap();
    assert!(dropbox.file_requests().unwrap().is_empty());
}
