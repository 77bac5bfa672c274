//! Bringing files back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ravelin_engine::{
    Code, Error, Event, Outcome, PlannedRestore, RestoreReport, RestoreRequest, Selection, Wanted,
    explain,
};
use tree::{Conflict, RestoreOptions, TreePath};

use crate::workshop::Workshop;

fn workshop() -> Workshop {
    let workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    workshop.write("folder/b", "two");
    fs::hard_link(
        workshop.source().join("a"),
        workshop.source().join("folder/c"),
    )
    .unwrap();
    workshop.back_up(&Wanted::All);
    workshop
}

fn request(
    workshop: &Workshop,
    below: &str,
    target: PathBuf,
    conflict: Conflict,
) -> RestoreRequest {
    let path = TreePath::new(format!("{}/{below}", workshop.prefix())).unwrap();
    let selection = if target == Path::new("/") {
        Selection::in_place(vec![path])
    } else {
        Selection::together(vec![path])
    };
    RestoreRequest {
        layer: workshop.config.layers[0].clone(),
        snapshot: workshop.snapshots("disk")[0].clone(),
        selection,
        target,
        options: RestoreOptions {
            conflict,
            ..RestoreOptions::default()
        },
    }
}

fn plan(workshop: &Workshop, request: RestoreRequest) -> Result<PlannedRestore, Error> {
    workshop.with(|context, _| ravelin_engine::restore_plan(request, context))
}

fn restore(workshop: &Workshop, request: RestoreRequest) -> RestoreReport {
    let planned = plan(workshop, request).unwrap();
    workshop.with(|context, watch| ravelin_engine::restore(planned, context, watch).unwrap())
}

#[test]
fn a_folder_comes_back_elsewhere_without_the_folders_above_it() {
    let workshop = workshop();
    let target = workshop.source().with_file_name("target");
    let report = restore(
        &workshop,
        request(&workshop, "folder", target.clone(), Conflict::KeepBoth),
    );
    assert_eq!(report.outcome, Outcome::Good);
    assert_eq!(fs::read_to_string(target.join("folder/b")).unwrap(), "two");
    // Its first name was not asked for: the content comes with the second.
    assert_eq!(fs::read_to_string(target.join("folder/c")).unwrap(), "one");
    let events = workshop.events.lock().unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Restored { proof: false, .. }))
    );
}

#[test]
fn links_stay_links_where_both_names_come_back() {
    let workshop = workshop();
    let target = workshop.source().with_file_name("target");
    restore(
        &workshop,
        request(&workshop, "", target.clone(), Conflict::KeepBoth),
    );
    let inode = |path: &str| {
        fs::metadata(target.join("source").join(path))
            .unwrap()
            .ino()
    };
    assert_eq!(inode("a"), inode("folder/c"));
}

#[test]
fn in_place_what_is_right_stays_and_what_changed_is_kept_beside() {
    let workshop = workshop();
    fs::remove_file(workshop.source().join("folder/b")).unwrap();
    fs::write(workshop.source().join("a"), "changed meanwhile").unwrap();
    let wanted = || request(&workshop, "", PathBuf::from("/"), Conflict::KeepBoth);
    let planned = plan(&workshop, wanted()).unwrap();
    assert!(
        !workshop.source().join("folder/b").exists(),
        "a plan changes nothing"
    );
    assert!(planned.bytes_to_write() >= 3);
    let report = restore(&workshop, wanted());
    assert_eq!(report.outcome, Outcome::Good);
    assert_eq!(
        fs::read_to_string(workshop.source().join("folder/b")).unwrap(),
        "two"
    );
    assert_eq!(
        fs::read_to_string(workshop.source().join("a")).unwrap(),
        "changed meanwhile"
    );
    assert!(!report.renamed.is_empty());
}

#[test]
fn what_is_not_in_the_snapshot_is_said_before_anything_is_done() {
    let workshop = workshop();
    let target = workshop.source().with_file_name("target");
    let wanted = request(&workshop, "nowhere", target.clone(), Conflict::KeepBoth);
    let error = plan(&workshop, wanted).err().unwrap();
    assert_eq!(explain(&error).code, Code::NoSuchPath);
    assert!(!target.exists());
}

#[test]
fn a_target_that_is_no_folder_is_refused() {
    let workshop = workshop();
    let target = workshop.source().join("a");
    let wanted = request(&workshop, "folder", target, Conflict::KeepBoth);
    let error = plan(&workshop, wanted).err().unwrap();
    assert_eq!(explain(&error).code, Code::RestoreTarget);
}

#[test]
fn a_stop_leaves_what_was_finished() {
    let workshop = workshop();
    let target = workshop.source().with_file_name("target");
    let wanted = || request(&workshop, "", target.clone(), Conflict::OnlyIfDifferent);
    let planned = plan(&workshop, wanted()).unwrap();
    workshop.stop.request();
    let report =
        workshop.with(|context, watch| ravelin_engine::restore(planned, context, watch).unwrap());
    assert_eq!(report.outcome, Outcome::Stopped);
}

#[test]
fn a_quickstart_ends_with_a_proof_and_leaves_no_scratch_files() {
    let workshop = Workshop::new(&["disk", "second"]);
    workshop.write("a", "one");
    workshop.write("large", &"content ".repeat(10_000));
    let done = workshop.with(|context, watch| ravelin_engine::quickstart(context, watch).unwrap());
    assert_eq!(done.outcome(), Outcome::Good);
    let proof = done.proof.unwrap();
    assert!(proof.same);
    assert_eq!(proof.bytes, 80_000);
    assert!(proof.path.path.ends_with("source/large"));
    let scratch = workshop.machine.places.cache.join("proof");
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);
    let events = workshop.events.lock().unwrap();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, Event::Restored { proof: true, .. }))
    );
}

#[test]
fn a_proof_that_fails_is_a_failure() {
    let workshop = Workshop::new(&["disk"]);
    workshop.write("a", "rotted");
    workshop.back_up(&Wanted::All);
    // What is stored has the right length and the wrong bytes.
    let path = TreePath::new(workshop.prefix() + "/a").unwrap();
    workshop.shelves["disk"].damage(&path);
    let snapshot = workshop.snapshots("disk")[0].clone();
    let proof = workshop.with(|context, watch| {
        ravelin_engine::prove(&context.config.layers[0], &snapshot, context, watch).unwrap()
    });
    assert!(!proof.unwrap().same);
}
