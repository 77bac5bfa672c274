//! Faults of the line and of the service between us and real servers of S3 and WebDAV.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ravelin_store::{Environment, ErrorKind, Folder, Name, Store, WriteMode};
use ravelin_store::{list_all, open, read_all};
use testkit::emulator::{Fault, Forwarder, Trouble};

use crate::b2::quick;
use crate::conformance::environment;
use testkit::servers::{seaweed, wsgidav};

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn at(location: &str) -> (Arc<dyn Store>, Environment) {
    let environment = quick(environment());
    let store = open(&location.parse().unwrap(), &environment).unwrap();
    (store, environment)
}

fn s3_error(status: u16, code: &str) -> Trouble {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    Trouble::Answer(status, text)
}

/// Each trouble befalls a writing, a reading, a listing and a deletion once, and nobody notices.
fn passes(store: &dyn Store, forwarder: &Forwarder, on: &str, troubles: &[Trouble]) {
    let bytes: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    let object = name("folder/object");
    for trouble in troubles {
        let next = || forwarder.faults.next(on, trouble.clone());
        let seen = |what: &str, error| panic!("{what}, {trouble:?}: {error:?}");
        next();
        let written = store.write(&object, &bytes, WriteMode::Replace);
        written.map_err(|error| seen("write", error)).unwrap();
        next();
        let read = read_all(store, &object, 1 << 20);
        let read = read.map_err(|error| seen("read", error)).unwrap();
        assert!(read == bytes, "{trouble:?}");
        next();
        let listed = list_all(store, &Folder::root());
        let listed = listed.map_err(|error| seen("list", error)).unwrap();
        assert_eq!(listed.len(), 1, "{trouble:?}");
        next();
        let deleted = store.delete(&object);
        deleted.map_err(|error| seen("delete", error)).unwrap();
        forwarder.faults.clear();
        let error = store.stat(&object).unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotFound, "{trouble:?}");
    }
}

/// What passes with every service that speaks HTTP.
fn usual() -> Vec<Trouble> {
    vec![
        Trouble::Status(429, Some(1)),
        Trouble::Status(500, None),
        Trouble::Status(502, None),
        Trouble::Status(503, Some(0)),
        Trouble::Status(408, None),
        Trouble::CutRequest(1000),
        Trouble::CutAnswer(100),
        Trouble::LoseAnswer,
    ]
}

#[test]
fn faults_between_us_and_s3() {
    let Some(server) = seaweed() else { return };
    let forwarder = Forwarder::to(server.port);
    let port = forwarder.port();
    let (store, environment) = at(&format!("s3+http://key:secret@127.0.0.1:{port}/bucket/p"));
    let mut troubles = usual();
    troubles.extend([
        s3_error(503, "SlowDown"),
        s3_error(500, "InternalError"),
        s3_error(409, "OperationAborted"),
        s3_error(400, "RequestTimeout"),
    ]);
    passes(&*store, &forwarder, "/bucket", &troubles);

    // A byte that changes on its way is noticed, there and back, and sent once more.
    let bytes = vec![7; 100_000];
    forwarder.faults.next("/bucket", Trouble::FlipByte);
    store.write(&name("a"), &bytes, WriteMode::Replace).unwrap();
    assert!(read_all(&*store, &name("a"), 1 << 20).unwrap() == bytes);
    forwarder.faults.next("/bucket", Trouble::FlipAnswer);
    let error = read_all(&*store, &name("a"), 1 << 20).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);

    // A token that has run out cannot be renewed here: that is said at once.
    forwarder.faults.add(Fault {
        on: "/bucket".into(),
        skip: 0,
        times: 100,
        trouble: s3_error(400, "ExpiredToken"),
    });
    let before = environment.counters.get("s3 put");
    let error = store
        .write(&name("b"), b"x", WriteMode::Replace)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::SignIn);
    assert_eq!(environment.counters.get("s3 put") - before, 1);
}

#[test]
fn faults_between_us_and_webdav() {
    let Some(server) = wsgidav() else { return };
    let forwarder = Forwarder::to(server.port);
    let port = forwarder.port();
    let (store, _) = at(&format!("webdav+http://me:pw@127.0.0.1:{port}/fol%20der"));
    passes(&*store, &forwarder, "/fol der", &usual());
}

/// The service says when to come again, and is not asked before.
#[test]
fn a_service_that_says_when_is_heeded() {
    let Some(server) = seaweed() else { return };
    let forwarder = Forwarder::to(server.port);
    let port = forwarder.port();
    let (store, environment) = at(&format!("s3+http://key:secret@127.0.0.1:{port}/bucket"));
    forwarder
        .faults
        .next("/bucket", Trouble::Status(503, Some(2)));
    let began = Instant::now();
    store.write(&name("a"), b"1", WriteMode::Replace).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2));
    assert_eq!(environment.counters.get("s3 put"), 2);
    // A wait that is longer than all patience is not begun.
    forwarder
        .faults
        .next("/bucket", Trouble::Status(503, Some(3600)));
    let error = store
        .write(&name("a"), b"2", WriteMode::Replace)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(read_all(&*store, &name("a"), 10).unwrap(), b"1");
}
