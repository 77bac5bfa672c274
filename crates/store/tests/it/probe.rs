//! What a person learns of their own place.

use std::sync::Arc;
use std::time::Duration;

use ravelin_store::probe::probe;
use testkit::emulator::B2Emulator;

use crate::b2::quick;
use crate::conformance::environment;
use crate::servers::rclone_serve;

#[test]
fn a_folder_is_found_in_order_and_open() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap().parse().unwrap();
    let report = probe(&location, &environment()).unwrap();
    assert!(
        report
            .checks
            .iter()
            .all(ravelin_store::conformance::Check::is_good)
    );
    assert!(report.speed.unwrap().up > 0.0);
    assert_eq!(report.clock_skew_seconds, Some(0));
    assert_eq!(report.guard.can_delete, Some(true));
    assert!(report.guard.is_open() && report.left_over.is_empty());
}

#[test]
fn a_clock_that_is_ten_minutes_off_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut environment = environment();
    let clock = environment.clock.clone();
    environment.clock = Arc::new(move || clock() - Duration::from_secs(600));
    let report = probe(
        &folder.path().to_str().unwrap().parse().unwrap(),
        &environment,
    )
    .unwrap();
    let skew = report.clock_skew_seconds.unwrap();
    assert!((598..=601).contains(&skew), "{skew}");
}

#[test]
fn a_key_that_cannot_delete_closes_the_place() {
    let emulator = B2Emulator::start();
    let mut environment = quick(environment());
    environment.endpoints.b2 = emulator.url();
    let location = "b2://key:secret@bucket".parse().unwrap();
    let report = probe(&location, &environment).unwrap();
    assert!(report.guard.is_open(), "{:?}", report.guard);
    emulator.set_capabilities(&["listBuckets", "listFiles", "readFiles", "writeFiles"]);
    let report = probe(&location, &environment).unwrap();
    assert!(!report.guard.is_open(), "{:?}", report.guard);
    assert_eq!(report.guard.keeps_versions, Some(true));
}

#[test]
fn a_server_that_lies_about_preconditions_is_found_out() {
    let Some(server) = rclone_serve("s3", &["--auth-key", "key,secret"]) else {
        return;
    };
    let location = format!("s3+http://key:secret@127.0.0.1:{}/bucket", server.port);
    let report = probe(&location.parse().unwrap(), &environment()).unwrap();
    assert!(!report.capabilities.create);
    assert!(report.guard.is_open());
}
