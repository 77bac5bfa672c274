//! S3 against SeaweedFS, and against a server that lies.

use std::time::Duration;

use ravelin_store::{Environment, ErrorKind, Location, Name, S3, Store, WriteMode, open, read_all};

use crate::conformance::{broken, check, environment};
use testkit::emulator::{Fault, Inbox, Trouble};
use testkit::servers::{fetch, rclone_serve, seaweed};

fn at(port: u16, environment: &Environment) -> std::sync::Arc<dyn Store> {
    let location = format!("s3+http://key:secret@127.0.0.1:{port}/bucket/pre%20fix");
    open(&location.parse().unwrap(), environment).unwrap()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

#[test]
fn seaweedfs_keeps_the_contract() {
    let Some(server) = seaweed() else { return };
    let mut environment = environment();
    let state = tempfile::tempdir().unwrap();
    environment.state = Some(state.path().into());
    let store = at(server.port, &environment);
    check(&*store);
    big_objects(&*store, &environment);
    presigned_addresses(server.port);
    wrong_keys(server.port);
    a_clock_that_is_off(server.port);
    keys_of_the_machine(server.port);
}

fn big_objects(store: &dyn Store, environment: &Environment) {
    let bytes: Vec<u8> = (0..(70_u32 << 20) / 4).flat_map(u32::to_le_bytes).collect();
    store
        .write(&name("big"), &bytes, WriteMode::Create)
        .unwrap();
    assert!(environment.counters.get("s3 part") >= 5);
    assert!(read_all(store, &name("big"), 1 << 30).unwrap() == bytes);
    let error = store
        .write(&name("big"), &bytes, WriteMode::Create)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::AlreadyExists);
    store.delete(&name("big")).unwrap();
}

/// Whoever has the address gets the object, and nothing else, until its time is over.
fn presigned_addresses(port: u16) {
    let location = format!("s3+http://key:secret@127.0.0.1:{port}/bucket/pre%20fix");
    let Ok(Location::S3(location)) = location.parse() else {
        panic!("no S3");
    };
    let s3 = S3::new(&location, &environment());
    let shared = name("a folder/caf\u{e9} & 100%.txt");
    s3.write(&shared, b"for you", WriteMode::Replace).unwrap();
    let day = Duration::from_secs(24 * 3600);
    let address = s3.presigned(&shared, day).unwrap();
    assert_eq!(fetch(&address), "for you");
    assert!(!address.contains("secret"), "{address}");
    s3.write(&name("a folder/other"), b"not for you", WriteMode::Replace)
        .unwrap();
    let other = address.replace("caf%C3%A9%20%26%20100%25.txt?", "other?");
    assert_ne!(other, address);
    assert!(!fetch(&other).contains("not for you"));
    let forever = address.replace("X-Amz-Expires=86400", "X-Amz-Expires=86401");
    assert_ne!(forever, address);
    assert!(!fetch(&forever).contains("for you"));
    let missing = s3.presigned(&name("missing"), day).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound);
    for life in [Duration::ZERO, 8 * day] {
        let error = s3.presigned(&shared, life).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
    }
    let mut past = environment();
    let clock = past.clock.clone();
    past.clock = std::sync::Arc::new(move || clock() - Duration::from_secs(120));
    let over = S3::new(&location, &past)
        .presigned(&shared, Duration::from_secs(60))
        .unwrap();
    assert!(!fetch(&over).contains("for you"));
}

fn wrong_keys(port: u16) {
    let environment = environment();
    for key in ["key:wrong", "nobody:secret"] {
        let location = format!("s3+http://{key}@127.0.0.1:{port}/bucket");
        let store = open(&location.parse().unwrap(), &environment).unwrap();
        let error = store
            .write(&name("x"), b"x", WriteMode::Replace)
            .unwrap_err();
        assert!(
            matches!(error.kind, ErrorKind::SignIn | ErrorKind::Denied),
            "{error:?}"
        );
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
    assert_eq!(environment.counters.get("s3 put"), 2);
}

/// The server's time is taken when it refuses ours.
fn a_clock_that_is_off(port: u16) {
    for minutes in [-20, 20_i64] {
        let mut environment = environment();
        let clock = environment.clock.clone();
        let distance = Duration::from_secs(60 * minutes.unsigned_abs());
        environment.clock = std::sync::Arc::new(move || {
            if minutes < 0 {
                clock() - distance
            } else {
                clock() + distance
            }
        });
        let store = at(port, &environment);
        // Looking is refused without a word why.
        let error = store.stat(&name("no clock")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound);
        let store = at(port, &environment);
        store
            .write(&name("clock"), b"x", WriteMode::Replace)
            .unwrap();
        assert_eq!(read_all(&*store, &name("clock"), 10).unwrap(), b"x");
    }
}

/// A machine in the cloud has keys of its own, that end and are renewed.
fn keys_of_the_machine(port: u16) {
    let metadata = Inbox::start();
    let answers = |minutes: i64| {
        #[expect(
            clippy::disallowed_methods,
            reason = "the keys end by the clock of the machine, whatever a test says"
        )]
        let end = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes);
        let keys = format!(
            r#"{{"Code": "Success", "AccessKeyId": "key", "SecretAccessKey": "secret",
                "Expiration": "{end:.0}"}}"#
        );
        metadata.faults.clear();
        for (on, body) in [
            ("/api/token", "a token"),
            ("/security-credentials/backup role", keys.as_str()),
            ("/security-credentials/", "backup role\n"),
        ] {
            metadata.faults.add(Fault {
                on: on.to_owned(),
                skip: 0,
                times: u32::MAX,
                trouble: Trouble::Answer(200, body.to_owned()),
            });
        }
    };
    let mut environment = environment();
    environment.endpoints.instance_metadata = metadata.url();
    let location = format!("s3+http://127.0.0.1:{port}/bucket/of-the-machine");
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    // They end within the margin, and are asked for anew each time.
    answers(3);
    let asked = || metadata.faults.count("/security-credentials/backup role");
    store.write(&name("x"), b"1", WriteMode::Replace).unwrap();
    let first = asked();
    assert!(first > 0);
    assert_eq!(read_all(&*store, &name("x"), 10).unwrap(), b"1");
    assert!(asked() > first);
    // These last.
    answers(60);
    let before = asked();
    for _ in 0..3 {
        assert_eq!(read_all(&*store, &name("x"), 10).unwrap(), b"1");
    }
    assert_eq!(asked(), before + 1);
    // A machine without a role has none.
    let nobody = Inbox::start();
    nobody.faults.add(Fault {
        on: "/".to_owned(),
        skip: 0,
        times: u32::MAX,
        trouble: Trouble::Status(404, None),
    });
    environment.endpoints.instance_metadata = nobody.url();
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    let error = store.stat(&name("x")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignIn);
    let said = format!("{error:?}");
    assert!(said.contains("AWS_ACCESS_KEY_ID"), "{said}");
}

#[test]
fn a_server_that_ignores_preconditions_is_found_out() {
    let Some(server) = rclone_serve("s3", &["--auth-key", "key,secret"]) else {
        return;
    };
    let store = at(server.port, &environment());
    let error = store
        .write(&name("x"), b"1", WriteMode::Create)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(!store.capabilities().create);
    // Its objects are files: asked to delete the name of a folder, it fails as if that would pass.
    let mut impatient = environment();
    impatient.patience.total = Duration::from_secs(3);
    let broken = broken(&*at(server.port, &impatient));
    let is_known = |rule: &str| rule.starts_with("a folder is no object");
    assert!(
        broken.iter().all(|check| is_known(check.rule)),
        "{broken:#?}"
    );
}
