//! What a person learns of their own place.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use ravelin_store::ErrorKind;
use ravelin_store::probe::{probe, probe_watched, touch};
use testkit::emulator::B2Emulator;

use crate::b2::quick;
use crate::conformance::environment;
use testkit::servers::{rclone_serve, wsgidav};

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
    assert!(report.speed.unwrap().unwrap().up > 0.0);
    assert_eq!(report.clock_skew_seconds, Some(0));
    assert_eq!(report.guard.can_delete, Some(true));
    assert!(report.guard.is_open() && report.left_over.is_empty());
}

#[test]
fn a_touch_leaves_nothing_behind_and_finds_what_does_not_work() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap().parse().unwrap();
    let space = touch(&location, &environment()).unwrap();
    assert!(space.unwrap().free > 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let Some(server) = wsgidav() else { return };
    let at = |password: &str| {
        let location = format!("webdav+http://me:{password}@127.0.0.1:{}/a/b", server.port);
        touch(&location.parse().unwrap(), &environment())
    };
    at("pw").unwrap();
    let error = at("wrong").unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::SignIn | ErrorKind::Denied),
        "{error:?}"
    );
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
    assert_eq!(report.guard.object_lock, None, "the key may not know");
}

#[test]
fn a_bucket_that_locks_what_is_new_is_told_from_one_that_could() {
    let emulator = B2Emulator::start();
    let mut environment = quick(environment());
    environment.endpoints.b2 = emulator.url();
    let location = "b2://key:secret@bucket".parse().unwrap();
    let guard = || {
        let stop = &mut |_| ControlFlow::Break(());
        probe_watched(&location, &environment, stop).unwrap().guard
    };
    assert_eq!(guard().object_lock, Some(false));
    emulator.set_retention("governance");
    assert!(!guard().is_open(), "this key has no way around it");
    emulator.set_retention("compliance");
    assert_eq!(guard().locks_new_objects, Some(true));
    assert!(!guard().is_open());
}

#[test]
fn a_server_that_lies_about_preconditions_is_found_out() {
    let Some(server) = rclone_serve("s3", &["--auth-key", "key,secret"]) else {
        return;
    };
    let location = format!("s3+http://key:secret@127.0.0.1:{}/bucket", server.port);
    let report = probe(&location.parse().unwrap(), &environment()).unwrap();
    assert_eq!(report.preconditions, Some(false));
    assert!(!report.capabilities.create);
    assert!(report.is_good() && report.guard.is_open());
    let Some(server) = rclone_serve("webdav", &["--user", "me", "--pass", "pw"]) else {
        return;
    };
    let location = format!("webdav+http://me:pw@127.0.0.1:{}/", server.port);
    let report = probe(&location.parse().unwrap(), &environment()).unwrap();
    assert_eq!(report.preconditions, Some(false));
    // Creating is done by other means there.
    assert!(report.is_good() && report.capabilities.create);
    let Some(server) = wsgidav() else { return };
    let location = format!("webdav+http://me:pw@127.0.0.1:{}/", server.port);
    let report = probe(&location.parse().unwrap(), &environment()).unwrap();
    assert_eq!(report.preconditions, Some(true));
}

#[test]
fn a_watcher_hears_what_is_tried_and_may_stop_it() {
    let folder = tempfile::tempdir().unwrap();
    let location = folder.path().to_str().unwrap().parse().unwrap();
    let mut heard = Vec::new();
    let report = probe_watched(&location, &environment(), &mut |what| {
        heard.push(what);
        if heard.len() > 3 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!((heard.len(), report.checks.len()), (4, 1), "{heard:?}");
    assert!(report.left_over.is_empty());
}
