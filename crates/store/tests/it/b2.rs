//! B2 against the emulator, and the emulator against clients that others wrote.

use std::io::Read as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ravelin_store::{
    Environment, ErrorKind, Folder, Name, Operation, Patience, Range, Store, WriteMode, list_all,
    open, read_all,
};
use testkit::emulator::{B2Emulator, Fault, Trouble};

use crate::conformance::{check, environment};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn quick(mut environment: Environment) -> Environment {
    environment.patience = Patience {
        total: Duration::from_secs(10),
        wait_first: Duration::from_millis(10),
        wait_max: Duration::from_millis(50),
        stall: Duration::from_secs(5),
    };
    environment
}

fn at(emulator: &B2Emulator) -> (Arc<dyn Store>, Environment) {
    let mut environment = quick(environment());
    environment.endpoints.b2 = emulator.url();
    let store = open(
        &"b2://key:secret@bucket/pre%20fix".parse().unwrap(),
        &environment,
    )
    .unwrap();
    (store, environment)
}

#[test]
fn b2_keeps_the_contract() {
    let emulator = B2Emulator::start();
    emulator.set_page(7);
    let (store, environment) = at(&emulator);
    check(&*store);
    assert_eq!(
        emulator.versions(),
        0,
        "a deleted name leaves no versions behind"
    );
    assert_eq!(environment.counters.get("b2_authorize_account"), 1);
}

#[test]
fn big_objects_go_in_parts_and_on_after_a_failure() {
    let emulator = B2Emulator::start();
    let (_, mut environment) = at(&emulator);
    let state = tempfile::tempdir().unwrap();
    environment.state = Some(state.path().into());
    environment.patience.total = Duration::ZERO;
    environment.parallel = 1;
    let store = open(&"b2://key:secret@bucket".parse().unwrap(), &environment).unwrap();
    let bytes: Vec<u8> = (0..(101_u32 << 20) / 4)
        .flat_map(u32::to_le_bytes)
        .collect();
    // The line fails for good at the fourth part.
    emulator.faults.add(Fault {
        on: "/upload/part/".into(),
        skip: 3,
        times: 100,
        trouble: Trouble::CutRequest(1000),
    });
    let error = store
        .write(&name("big ü"), &bytes, WriteMode::Replace)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!((emulator.unfinished(), emulator.object("big ü")), (1, None));
    emulator.faults.clear();
    // Another process goes on, as far as this one can be told from one.
    let store = open(&"b2://key:secret@bucket".parse().unwrap(), &environment).unwrap();
    let before = environment.counters.get("b2_upload_part");
    store
        .write(&name("big ü"), &bytes, WriteMode::Replace)
        .unwrap();
    let sent = environment.counters.get("b2_upload_part") - before;
    assert_eq!(sent, 4, "three of seven parts were there");
    assert!(emulator.object("big ü").unwrap() == bytes);
    assert_eq!(emulator.unfinished(), 0);
}

/// The second try is told that there is no such upload: it was finished by the first.
#[test]
fn a_big_object_is_done_though_the_last_answer_is_lost() {
    let emulator = B2Emulator::start();
    let (store, environment) = at(&emulator);
    let bytes: Vec<u8> = (0..(101_u32 << 20) / 4)
        .flat_map(u32::to_le_bytes)
        .collect();
    emulator
        .faults
        .next("b2_finish_large_file", Trouble::LoseAnswer);
    store
        .write(&name("big"), &bytes, WriteMode::Replace)
        .unwrap();
    assert!(emulator.object("pre fix/big").unwrap() == bytes);
    assert_eq!((emulator.versions(), emulator.unfinished()), (1, 0));
    assert_eq!(environment.counters.get("b2_start_large_file"), 1);
}

#[test]
fn every_passing_fault_passes() {
    let emulator = B2Emulator::start();
    let (store, _) = at(&emulator);
    let bytes = vec![7; 200_000];
    let troubles = [
        Trouble::Status(429, Some(1)),
        Trouble::Status(500, None),
        Trouble::Status(503, Some(0)),
        Trouble::Status(408, None),
        Trouble::Answer(
            401,
            r#"{"status":401,"code":"expired_auth_token","message":""}"#.into(),
        ),
        Trouble::CutRequest(100),
        Trouble::CutAnswer(10),
        Trouble::LoseAnswer,
        Trouble::FlipByte,
    ];
    for trouble in troubles {
        emulator.faults.next("/upload/", trouble.clone());
        store
            .write(&name("up"), &bytes, WriteMode::Replace)
            .unwrap_or_else(|error| panic!("{trouble:?}: {error:?}"));
        assert_eq!(
            emulator.object("pre fix/up").as_ref(),
            Some(&bytes),
            "{trouble:?}"
        );
        if trouble == Trouble::FlipByte {
            continue;
        }
        emulator.faults.next("/file/", trouble.clone());
        assert_eq!(
            read_all(&*store, &name("up"), 1 << 20).unwrap(),
            bytes,
            "{trouble:?}"
        );
        emulator.faults.next("b2_list_file_names", trouble.clone());
        assert_eq!(
            list_all(&*store, &Folder::root()).unwrap().len(),
            1,
            "{trouble:?}"
        );
        emulator
            .faults
            .next("b2_list_file_versions", trouble.clone());
        store.delete(&name("up")).unwrap();
        emulator.faults.clear();
    }
}

#[test]
fn an_expired_token_is_renewed_once_for_all() {
    let emulator = B2Emulator::start();
    let (store, environment) = at(&emulator);
    store.write(&name("a"), b"1", WriteMode::Replace).unwrap();
    emulator.expire();
    ravelin_store::in_parallel(0..8, 8, |_| read_all(&*store, &name("a"), 10).map(drop)).unwrap();
    store.write(&name("b"), b"1", WriteMode::Replace).unwrap();
    assert!(environment.counters.get("b2_authorize_account") <= 3);
}

#[test]
fn lasting_faults_are_told_apart_and_not_repeated() {
    let emulator = B2Emulator::start();
    let (store, environment) = at(&emulator);
    emulator.set_size_max(10);
    let error = store
        .write(&name("a"), &[0; 100], WriteMode::Replace)
        .unwrap_err();
    assert_eq!(
        (error.kind, error.operation),
        (ErrorKind::Full, Operation::Write)
    );
    assert_eq!(environment.counters.get("b2_upload_file"), 1);
    let wrong = open(&"b2://key:wrong@bucket".parse().unwrap(), &environment).unwrap();
    let error = wrong.stat(&name("a")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignIn);
    let elsewhere = open(&"b2://key:secret@other".parse().unwrap(), &environment).unwrap();
    assert_eq!(
        list_all(&*elsewhere, &Folder::root()).unwrap_err().kind,
        ErrorKind::NotFound
    );
}

#[test]
fn a_key_that_may_not_delete_backs_up_and_hides() {
    let emulator = B2Emulator::start();
    emulator.set_capabilities(&["listBuckets", "listFiles", "readFiles", "writeFiles"]);
    let (store, _) = at(&emulator);
    store.write(&name("a"), b"1", WriteMode::Replace).unwrap();
    store.delete(&name("a")).unwrap();
    assert_eq!(
        store.stat(&name("a")).unwrap_err().kind,
        ErrorKind::NotFound
    );
    assert_eq!(
        emulator.versions(),
        2,
        "the version is still there, under its hide marker"
    );
    assert_eq!(
        store
            .write(&name("b"), b"1", WriteMode::Create)
            .unwrap_err()
            .kind,
        ErrorKind::Unsupported
    );
}

#[test]
fn an_object_that_is_replaced_while_it_is_read_is_noticed() {
    let emulator = B2Emulator::start();
    let (store, _) = at(&emulator);
    store
        .write(&name("a"), &vec![1; 300_000], WriteMode::Replace)
        .unwrap();
    emulator.faults.next("/file/", Trouble::CutAnswer(100_000));
    let mut body = store.read(&name("a"), Range::WHOLE).unwrap().body;
    emulator.put("pre fix/a", &vec![2; 300_000]);
    let error = body.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(
        ravelin_store::Error::unwrap_io(error).unwrap().kind,
        ErrorKind::Changed
    );
}

#[test]
fn a_listing_that_changes_between_pages_keeps_what_stays() {
    let emulator = B2Emulator::start();
    emulator.set_page(3);
    let (store, _) = at(&emulator);
    for number in 0..12 {
        store
            .write(&name(&format!("f{number:02}")), b"x", WriteMode::Replace)
            .unwrap();
    }
    let mut seen = Vec::new();
    store
        .list(&Folder::root(), ravelin_store::Scope::Tree, &mut |object| {
            if seen.len() == 2 {
                emulator.put("pre fix/a-new", b"y");
                emulator.put("pre fix/f05", b"replaced");
                emulator.put("pre fix/z-new", b"y");
            }
            seen.push(object.name.as_str().to_owned());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    for number in 0..12 {
        assert_eq!(
            seen.iter()
                .filter(|name| **name == format!("f{number:02}"))
                .count(),
            1,
            "{seen:?}"
        );
    }
}

#[test]
fn rclone_finds_the_emulator_right() {
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let emulator = B2Emulator::start();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir_all(source.join("sub dir")).unwrap();
    std::fs::write(source.join("a"), b"1").unwrap();
    std::fs::write(source.join("sub dir/ü"), vec![3; 7 << 20]).unwrap();
    let remote = format!(
        ":b2,account=key,key=secret,endpoint='{}':bucket/x",
        emulator.url()
    );
    let rclone = |arguments: &[&str]| {
        let mut command = Command::new(programs.program("rclone"));
        command.env("RCLONE_CONFIG", "/dev/null").args([
            "--retries=1",
            "--b2-upload-cutoff=5M",
            "--b2-chunk-size=5M",
        ]);
        testkit::run(command.args(arguments))
    };
    let source = source.to_str().unwrap();
    emulator
        .faults
        .next("/upload/", Trouble::Status(503, Some(1)));
    let _ = rclone(&["copy", source, &remote]);
    let _ = rclone(&["check", "--download", source, &remote]);
    assert_eq!(emulator.object("x/sub dir/ü"), Some(vec![3; 7 << 20]));
    // What it wrote, we read.
    let mut environment = quick(environment());
    environment.endpoints.b2 = emulator.url();
    let store = open(&"b2://key:secret@bucket/x".parse().unwrap(), &environment).unwrap();
    assert_eq!(
        read_all(&*store, &name("sub dir/ü"), 9 << 20).unwrap(),
        vec![3; 7 << 20]
    );
    // What we wrote, it reads.
    store
        .write(&name("ours/é"), b"ours", WriteMode::Create)
        .unwrap();
    assert_eq!(rclone(&["cat", &format!("{remote}/ours/é")]), "ours");
    let _ = rclone(&["purge", &remote]);
    assert!(list_all(&*store, &Folder::root()).unwrap().is_empty());
}

#[test]
fn the_official_library_finds_the_emulator_right() {
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let emulator = B2Emulator::start();
    let script = r#"
import sys, hashlib
from b2sdk.v2 import B2Api, InMemoryAccountInfo
api = B2Api(InMemoryAccountInfo())
api.authorize_account(sys.argv[1], "key", "secret")
bucket = api.get_bucket_by_name("bucket")
small = bucket.upload_bytes(b"small", "dir/sm all", file_infos={"k": "v"})
data = bytes(range(256)) * 4096 * 3
big = bucket.upload_bytes(data, "big")
assert [f.file_name for f, _ in bucket.ls(recursive=True)] == ["big", "dir/sm all"]
assert [f and f.file_name for f, _ in bucket.ls()][0] == "big"
import io
out = io.BytesIO()
bucket.download_file_by_name("big").save(out)
assert out.getvalue() == data
assert bucket.get_file_info_by_name("dir/sm all").size == 5
bucket.hide_file("big")
assert [f.file_name for f, _ in bucket.ls(recursive=True)] == ["dir/sm all"]
assert len(list(bucket.ls(recursive=True, latest_only=False))) == 3
api.delete_file_version(small.id_, small.file_name)
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
fn the_official_tool_reads_what_we_wrote_and_we_what_it_wrote() {
    let Some(programs) = testkit::cloud_programs() else {
        return;
    };
    let emulator = B2Emulator::start();
    let mut environment = quick(environment());
    environment.endpoints.b2 = emulator.url();
    let location = "b2://key:secret@bucket".parse().unwrap();
    let store = open(&location, &environment).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let tool = |words: &[&str]| {
        let mut command = Command::new(programs.program("b2"));
        command
            .args(words)
            .env("B2_ACCOUNT_INFO", scratch.path().join("account"))
            .env("HOME", scratch.path())
            .current_dir(scratch.path());
        testkit::run(&mut command)
    };
    let address = emulator.url();
    let sign_in = ["account", "authorize", "--environment", &address];
    tool(&[&sign_in[..], &["key", "secret"]].concat());
    let noise = testkit::Random::new(11).noise(300_000);
    store
        .write(&name("ours/sm all"), &noise, WriteMode::Create)
        .unwrap();
    tool(&["file", "download", "b2://bucket/ours/sm all", "back"]);
    assert!(std::fs::read(scratch.path().join("back")).unwrap() == noise);
    std::fs::create_dir(scratch.path().join("folder")).unwrap();
    std::fs::write(scratch.path().join("folder/\u{fc}"), &noise).unwrap();
    tool(&["sync", "folder", "b2://bucket/theirs"]);
    assert!(read_all(&*store, &name("theirs/\u{fc}"), 1 << 20).unwrap() == noise);
    tool(&["file", "upload", "bucket", "back", "theirs/back"]);
    let listed = tool(&["ls", "--recursive", "b2://bucket"]);
    let listed: Vec<&str> = listed.lines().map(str::trim).collect();
    assert_eq!(listed, ["ours/sm all", "theirs/back", "theirs/\u{fc}"]);
    tool(&["rm", "b2://bucket/theirs/back"]);
    let gone = store.stat(&name("theirs/back")).unwrap_err();
    assert_eq!(gone.kind, ErrorKind::NotFound);
    store.delete(&name("theirs/\u{fc}")).unwrap();
    assert_eq!(
        tool(&["ls", "--recursive", "b2://bucket"]).trim(),
        "ours/sm all"
    );
}
