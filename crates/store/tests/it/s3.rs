//! S3 against SeaweedFS, and against a server that lies.

use std::time::Duration;

use ravelin_store::{Environment, ErrorKind, Name, Store, WriteMode, open, read_all};

use crate::conformance::{check, environment};
use crate::servers::{rclone_serve, seaweed};

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
    wrong_keys(server.port);
    a_clock_that_is_off(server.port);
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
    check(&*store);
}
