//! Dropbox against the emulator, the emulator against Dropbox's own library, and signing in.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ravelin_store::{
    Client, Environment, ErrorKind, Folder, Name, Provider, SignIn, Store, WriteMode, list_all,
    open, read_all,
};
use testkit::emulator::{DropboxEmulator, Fault, Trouble};

use crate::b2::quick;
use crate::conformance::{check, environment};
use crate::router::{Router, rclone_round_trip};
use testkit::servers::fetch;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn around(emulator: &DropboxEmulator, state: &std::path::Path) -> Environment {
    let mut environment = quick(environment());
    environment.state = Some(state.into());
    environment.endpoints.dropbox_api = emulator.url();
    environment.endpoints.dropbox_content = emulator.url();
    environment.endpoints.dropbox_authorize = format!("{}/oauth2/authorize", emulator.url());
    environment
}

fn sign_in(environment: &Environment) {
    let client = Client {
        id: "app".into(),
        secret: None,
    };
    let sign_in = SignIn::with_code(Provider::Dropbox, client, environment);
    let code = fetch(sign_in.url());
    sign_in.finish(None, &code).unwrap();
}

fn signed_in(emulator: &DropboxEmulator) -> (Arc<dyn Store>, Environment, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let environment = around(emulator, state.path());
    sign_in(&environment);
    let store = open(&"dropbox:/Pre%20Fix".parse().unwrap(), &environment).unwrap();
    (store, environment, state)
}

#[test]
fn dropbox_keeps_the_contract() {
    let emulator = DropboxEmulator::start();
    emulator.set_page(5);
    let (store, _environment, _state) = signed_in(&emulator);
    check(&*store);
    // A folder is not an object: asking to delete it must not take what is in it.
    store.write(&name("x/y"), b"1", WriteMode::Create).unwrap();
    store.delete(&name("x")).unwrap();
    assert_eq!(emulator.object("/Pre Fix/x/y").unwrap(), b"1");
}

#[test]
fn every_passing_fault_passes() {
    let emulator = DropboxEmulator::start();
    let (store, _environment, _state) = signed_in(&emulator);
    let bytes = vec![7; 200_000];
    let troubles = [
        Trouble::Status(429, Some(1)),
        Trouble::Status(500, None),
        Trouble::Status(503, Some(0)),
        Trouble::Answer(
            429,
            r#"{"error":{".tag":"too_many_write_operations"}}"#.into(),
        ),
        Trouble::Answer(401, r#"{"error":{".tag":"expired_access_token"}}"#.into()),
        Trouble::CutRequest(100),
        Trouble::CutAnswer(10),
        Trouble::LoseAnswer,
        Trouble::FlipByte,
    ];
    for trouble in troubles {
        emulator.faults.next("files/upload", trouble.clone());
        store
            .write(&name("up"), &bytes, WriteMode::Create)
            .unwrap_or_else(|error| panic!("{trouble:?}: {error:?}"));
        assert_eq!(
            emulator.object("/Pre Fix/up").as_ref(),
            Some(&bytes),
            "{trouble:?}"
        );
        if trouble != Trouble::FlipByte {
            emulator.faults.next("files/download", trouble.clone());
            assert_eq!(
                read_all(&*store, &name("up"), 1 << 20).unwrap(),
                bytes,
                "{trouble:?}"
            );
            emulator.faults.next("files/list_folder", trouble.clone());
            assert_eq!(
                list_all(&*store, &Folder::root()).unwrap().len(),
                1,
                "{trouble:?}"
            );
            emulator.faults.next("files/move_v2", trouble.clone());
            store
                .rename(&name("up"), &name("moved"))
                .unwrap_or_else(|error| panic!("{trouble:?}: {error:?}"));
            store.rename(&name("moved"), &name("up")).unwrap();
        }
        store.delete(&name("up")).unwrap();
        emulator.faults.clear();
    }
}

#[test]
fn sessions_go_on_after_a_failure_and_start_over_when_forgotten() {
    let emulator = DropboxEmulator::start();
    let (_, mut environment, _state) = signed_in(&emulator);
    environment.patience.total = Duration::ZERO;
    let reopen = || open(&"dropbox:/".parse().unwrap(), &environment).unwrap();
    let bytes: Vec<u8> = (0..(50_u32 << 20) / 4).flat_map(u32::to_le_bytes).collect();
    for forget in [false, true] {
        let path = format!("big {forget}");
        emulator.faults.add(Fault {
            on: "append_v2".into(),
            skip: 2,
            times: 100,
            trouble: Trouble::CutRequest(1000),
        });
        reopen()
            .write(&name(&path), &bytes, WriteMode::Create)
            .unwrap_err();
        emulator.faults.clear();
        if forget {
            emulator.forget_sessions();
        }
        let before = environment.counters.get("files/upload_session/append_v2");
        reopen()
            .write(&name(&path), &bytes, WriteMode::Create)
            .unwrap();
        let sent = environment.counters.get("files/upload_session/append_v2") - before;
        assert_eq!(sent, if forget { 5 } else { 2 });
        assert!(emulator.object(&format!("/{path}")).unwrap() == bytes);
    }
    // The answers to a part and to the end are lost: neither is doubted.
    environment.patience.total = Duration::from_secs(10);
    emulator.faults.next("append_v2", Trouble::LoseAnswer);
    emulator
        .faults
        .next("upload_session/finish", Trouble::LoseAnswer);
    let store = open(&"dropbox:/".parse().unwrap(), &environment).unwrap();
    store
        .write(&name("lost answers"), &bytes, WriteMode::Replace)
        .unwrap();
    assert!(emulator.object("/lost answers").unwrap() == bytes);
}

#[test]
fn a_listing_that_changes_between_pages_gives_each_once() {
    let emulator = DropboxEmulator::start();
    emulator.set_page(3);
    let (store, _environment, _state) = signed_in(&emulator);
    for number in 0..9 {
        emulator.put(&format!("/Pre Fix/f{number}"), b"x");
    }
    let mut seen = Vec::new();
    store
        .list(&Folder::root(), ravelin_store::Scope::Tree, &mut |object| {
            if seen.len() == 1 {
                emulator.put("/Pre Fix/f0", b"changed");
                emulator.put("/Pre Fix/f8", b"changed");
            }
            seen.push(object.name.as_str().to_owned());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    seen.sort();
    assert_eq!(
        seen,
        (0..9)
            .map(|number| format!("f{number}"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn a_full_dropbox_says_so() {
    let emulator = DropboxEmulator::start();
    let (store, environment, _state) = signed_in(&emulator);
    emulator.set_size_max(100);
    let error = store
        .write(&name("a"), &[0; 200], WriteMode::Replace)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Full);
    assert_eq!(environment.counters.get("files/upload"), 1);
    assert_eq!(store.space().unwrap().unwrap().free, 100);
}

#[test]
fn tokens_are_renewed_silently_and_a_revoked_one_names_the_cure() {
    let emulator = DropboxEmulator::start();
    emulator.rotate_refresh_tokens();
    let (store, environment, state) = signed_in(&emulator);
    store.write(&name("a"), b"1", WriteMode::Replace).unwrap();
    // Two programs, eight threads, and a service that gives a new refresh token each time.
    let other = open(&"dropbox:/Pre%20Fix".parse().unwrap(), &environment).unwrap();
    for _ in 0..3 {
        emulator.expire();
        ravelin_store::in_parallel(0..8, 8, |number| {
            let store = if number % 2 == 0 { &store } else { &other };
            read_all(&**store, &name("a"), 10).map(drop)
        })
        .unwrap();
    }
    let path = state.path().join("tokens/dropbox-default.json");
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    emulator.revoke();
    let error = store.stat(&name("a")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignIn);
    let why = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(
        why,
        "the sign-in was revoked or has expired; sign in with `ravelin store login dropbox`"
    );
    sign_in(&environment);
    store.stat(&name("a")).unwrap();

    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let store = open(&"dropbox:/Pre%20Fix".parse().unwrap(), &environment).unwrap();
    assert_eq!(store.stat(&name("a")).unwrap_err().kind, ErrorKind::SignIn);
}

#[test]
fn a_browser_comes_back_with_the_answer_and_a_stranger_is_ignored() {
    let emulator = DropboxEmulator::start();
    let state = tempfile::tempdir().unwrap();
    let environment = around(&emulator, state.path());
    let client = Client {
        id: "app".into(),
        secret: None,
    };
    let sign_in = SignIn::with_browser(Provider::Dropbox, client, 0, &environment).unwrap();
    let url = sign_in.url().to_owned();
    let redirect = url
        .split("redirect_uri=")
        .nth(1)
        .unwrap()
        .replace("%3A", ":")
        .replace("%2F", "/");
    let browser = std::thread::spawn(move || {
        // Somebody who does not know our state; then an icon; then the person.
        for address in [
            format!("{redirect}?code=evil&state=guess"),
            format!("{redirect}favicon.ico"),
        ] {
            let _ = fetch(&address);
        }
        fetch(&url)
    });
    sign_in.wait(None, Duration::from_secs(30)).unwrap();
    assert!(browser.join().unwrap().starts_with("Signed in"));
    let store = open(&"dropbox:/".parse().unwrap(), &environment).unwrap();
    store.write(&name("a"), b"1", WriteMode::Create).unwrap();
    assert!(!format!("{environment:?}").contains("access-"));
}

#[test]
fn the_official_library_finds_the_emulator_right() {
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let emulator = DropboxEmulator::start();
    let script = r#"
import sys, hashlib, dropbox
from dropbox import files, exceptions, dropbox_client
base = sys.argv[1]
dropbox_client._DropboxTransport._get_route_url = lambda self, host, name: base + "/2/" + name
dropbox_client.OAUTH_TOKEN_URL = base + "/oauth2/token"
dbx = dropbox.Dropbox(oauth2_access_token="access-0", app_key="app")
data = bytes(range(256)) * 1024
meta = dbx.files_upload(data, "/Dir/\u00fc 1", mode=files.WriteMode.add, strict_conflict=True)
blocks = b"".join(hashlib.sha256(data[i:i + (4 << 20)]).digest() for i in range(0, len(data), 4 << 20))
assert meta.content_hash == hashlib.sha256(blocks).hexdigest()
try:
    dbx.files_upload(data, "/dir/\u00fc 1", mode=files.WriteMode.add, strict_conflict=True)
    assert False
except exceptions.ApiError as e:
    assert e.error.get_path().reason.is_conflict()
session = dbx.files_upload_session_start(data[:100]).session_id
try:
    dbx.files_upload_session_append_v2(data[:100], files.UploadSessionCursor(session, 7))
    assert False
except exceptions.ApiError as e:
    assert e.error.get_incorrect_offset().correct_offset == 100
dbx.files_upload_session_append_v2(data[100:200], files.UploadSessionCursor(session, 100))
done = dbx.files_upload_session_finish(data[200:], files.UploadSessionCursor(session, 200), files.CommitInfo("/big"))
assert done.size == len(data)
page = dbx.files_list_folder("", recursive=True, limit=1)
names = [e.path_display for e in page.entries]
while page.has_more:
    page = dbx.files_list_folder_continue(page.cursor)
    names += [e.path_display for e in page.entries]
assert sorted(names) == ["/Dir", "/Dir/\u00fc 1", "/big"], names
dbx.files_upload(b"new", "/later")
assert [e.path_display for e in dbx.files_list_folder_continue(page.cursor).entries] == ["/later"]
meta, response = dbx.files_download("/big")
assert response.content == data
dbx.files_move_v2("/big", "/Dir/moved")
dbx.files_delete_v2("/dir")
try:
    dbx.files_get_metadata("/Dir/moved")
    assert False
except exceptions.ApiError as e:
    assert e.error.get_path().is_not_found()
assert dbx.users_get_space_usage().used == 3
# Revisions, writing upon one, deleted files, restoring.
one = dbx.files_upload(b"one", "/h")
two = dbx.files_upload(b"two", "/h", mode=files.WriteMode.update(one.rev))
try:
    dbx.files_upload(b"three", "/h", mode=files.WriteMode.update(one.rev))
    assert False
except exceptions.ApiError as e:
    assert e.error.get_path().reason.is_conflict()
try:
    dbx.files_delete_v2("/h", parent_rev=one.rev)
    assert False
except exceptions.ApiError as e:
    assert e.error.is_path_write()
cursor = dbx.files_list_folder("", recursive=True).cursor
dbx.files_delete_v2("/h", parent_rev=two.rev)
gone = dbx.files_list_folder_continue(cursor).entries
assert [type(e) for e in gone] == [files.DeletedMetadata] and gone[0].path_display == "/h"
listed = dbx.files_list_folder("", recursive=True, include_deleted=True).entries
assert "/h" in [e.path_display for e in listed if isinstance(e, files.DeletedMetadata)]
told = dbx.files_list_revisions("/h", limit=10)
assert told.is_deleted and [e.rev for e in told.entries] == [two.rev, one.rev]
meta, response = dbx.files_download("rev:" + one.rev)
assert response.content == b"one"
back = dbx.files_restore("/h", one.rev)
assert back.rev not in (one.rev, two.rev) and dbx.files_download("/h")[1].content == b"one"
try:
    dbx.files_upload(b"", "/desktop.ini")
    assert False
except exceptions.ApiError as e:
    assert e.error.get_path().reason.is_disallowed_name()
# Links and requests.
from dropbox import sharing, file_requests
import datetime
settings = sharing.SharedLinkSettings(require_password=True, link_password="word", allow_download=False,
    expires=datetime.datetime(2030, 1, 1), audience=sharing.LinkAudience.public)
link = dbx.sharing_create_shared_link_with_settings("/h", settings)
assert link.expires == datetime.datetime(2030, 1, 1) and not link.link_permissions.allow_download
try:
    dbx.sharing_create_shared_link_with_settings("/h")
    assert False
except exceptions.ApiError as e:
    assert e.error.is_shared_link_already_exists()
assert [l.url for l in dbx.sharing_list_shared_links().links] == [link.url]
dbx.sharing_revoke_shared_link(link.url)
assert dbx.sharing_list_shared_links().links == []
made = dbx.file_requests_create("Photos", "/In")
assert [r.id for r in dbx.file_requests_list_v2().file_requests] == [made.id]
try:
    dbx.file_requests_delete([made.id])
    assert False
except exceptions.ApiError as e:
    assert e.error.is_file_request_open()
assert not dbx.file_requests_update(made.id, open=False).is_open
dbx.file_requests_delete([made.id])
assert dbx.file_requests_list_v2().file_requests == []
print("good")
"#;
    let said = testkit::run(
        Command::new(programs.program("python"))
            .args(["-c", script])
            .arg(emulator.url()),
    );
    assert_eq!(said.trim(), "good");
}

#[test]
fn rclone_finds_the_emulator_right() {
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let emulator = DropboxEmulator::start();
    let hosts = [
        "api.dropboxapi.com",
        "content.dropboxapi.com",
        "notify.dropboxapi.com",
        "www.dropbox.com",
    ];
    let router = Router::start(&programs, &emulator.url(), &hosts);
    let rclone = |arguments: &[&str]| {
        let mut command = router.rclone(
            &programs,
            "type = dropbox\nbatch_mode = off\nchunk_size = 8M",
        );
        testkit::run(command.args(arguments))
    };
    rclone_round_trip(&rclone);
    emulator
        .faults
        .next("files/upload", Trouble::Status(429, Some(1)));
    let (store, _environment, _state) = signed_in(&emulator);
    store
        .write(&name("ours/é"), b"ours", WriteMode::Create)
        .unwrap();
    assert_eq!(rclone(&["cat", "box:Pre Fix/ours/é"]), "ours");
    let _ = rclone(&["purge", "box:x"]);
    assert_eq!(emulator.object("/x/it's"), None);
}
