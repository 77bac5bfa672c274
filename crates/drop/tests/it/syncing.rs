//! One thing at a time that two devices can do to each other.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use ravelin_drop::{Device, Did, Error, Folder, Selection};
use store::{Memory, Store, WriteMode};

use crate::bench::{Machine, at, environment, name, plain};

fn two() -> (Arc<dyn Store>, Machine, Machine) {
    let memory = Memory::new();
    Folder::create(&memory, &environment()).unwrap();
    let machines = (Machine::new("laptop"), Machine::new("desktop"));
    (Arc::new(memory), machines.0, machines.1)
}

/// What the second device has after both have synchronised.
#[track_caller]
fn both(store: &Arc<dyn Store>, first: &Machine, second: &Machine, seconds: i64) {
    first.sync(store, at(seconds));
    second.sync(store, at(seconds + 1));
    first.sync(store, at(seconds + 2));
    assert_eq!(first.files(), second.files());
    assert_eq!(first.files(), plain(&**store));
}

#[test]
fn files_edits_and_deletions_travel_both_ways() {
    let (store, laptop, desktop) = two();
    laptop.write("a/one", b"1");
    laptop.write("empty", b"");
    desktop.write("b/two", b"2");
    both(&store, &laptop, &desktop, 0);
    assert_eq!(laptop.files().len(), 3);
    desktop.write("a/one", b"edited");
    desktop.remove("empty");
    both(&store, &laptop, &desktop, 10);
    assert_eq!(laptop.read("a/one").unwrap(), b"edited");
    assert_eq!(laptop.read("empty"), None);
    // Nothing to do, nothing is done.
    let report = laptop.sync(&store, at(20));
    assert_eq!((report.steps.len(), report.adopted.len()), (0, 0));
}

#[test]
fn a_full_disk_is_not_taken_for_a_file_that_cannot_be_read() {
    if testkit::require_root().is_none() {
        return;
    }
    let (store, laptop, _) = two();
    laptop.write("large", &vec![7; 6 << 20]);
    laptop.write("small", b"1");
    let small_disk = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(small_disk.path())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        testkit::say_skipped("a tmpfs cannot be mounted here");
        return;
    }
    let mut environment = environment();
    environment.state = Some(small_disk.path().to_owned());
    let device = Device::new("laptop");
    let state = laptop.state();
    let folder = Folder::on(Arc::clone(&store), &environment, &device, Some(&state));
    let report = laptop.sync_with(&mut folder.unwrap().unwrap(), at(0));
    let _ = testkit::run(std::process::Command::new("umount").arg(small_disk.path()));
    let problems: Vec<String> = report
        .unwrap()
        .problems
        .iter()
        .map(|it| it.what.clone())
        .collect();
    let [problem] = &problems[..] else {
        panic!("{problems:?}");
    };
    let held = format!("cannot hold a copy in {}", small_disk.path().display());
    assert!(problem.starts_with(&held), "{problem}");
    assert!(problem.contains("No space left"), "{problem}");
    // What there is room for is there.
    assert_eq!(plain(&*store).len(), 1);
}

#[test]
fn of_two_edits_at_once_both_stay_and_the_copy_is_named_after_its_device() {
    let (store, laptop, desktop) = two();
    laptop.write("report.odt", b"first");
    both(&store, &laptop, &desktop, 0);
    laptop.write("report.odt", b"from the laptop");
    desktop.write("report.odt", b"from the desktop");
    both(&store, &laptop, &desktop, 10);
    let files = laptop.files();
    assert_eq!(files["report.odt"], b"from the laptop");
    assert_eq!(
        files["report (conflict desktop 2027-01-15 08.00.11).odt"],
        b"from the desktop"
    );
}

#[test]
fn an_edit_counts_more_than_a_deletion() {
    let (store, laptop, desktop) = two();
    laptop.write("x", b"first");
    laptop.write("y", b"first");
    both(&store, &laptop, &desktop, 0);
    laptop.remove("x");
    desktop.write("x", b"edited");
    desktop.remove("y");
    laptop.write("y", b"edited");
    both(&store, &laptop, &desktop, 10);
    assert_eq!(laptop.files().len(), 2);
    assert_eq!(desktop.read("x").unwrap(), b"edited");
    assert_eq!(desktop.read("y").unwrap(), b"edited");
}

#[test]
fn a_lost_state_is_rebuilt_without_transfers_conflicts_or_deletions() {
    let (store, laptop, desktop) = two();
    for number in 0..5 {
        laptop.write(&format!("f{number}"), number.to_string().as_bytes());
    }
    both(&store, &laptop, &desktop, 0);
    laptop.write("f0", b"newer");
    laptop.remove("f1");
    laptop.sync(&store, at(10));
    std::fs::remove_dir_all(desktop.state()).unwrap();
    // One is behind, of which the history knows; it gives way without a conflict. One was deleted
    // by the other: without a state nobody can tell, and it stays.
    let report = desktop.sync(&store, at(20));
    let did: Vec<(&str, Did)> = report
        .steps
        .iter()
        .map(|step| (step.path.as_str(), step.did))
        .collect();
    assert_eq!(did, [("f1", Did::Uploaded), ("f0", Did::Downloaded)]);
    both(&store, &laptop, &desktop, 30);
    assert_eq!(laptop.files().len(), 5);
}

#[test]
fn a_folder_is_replaced_by_a_file_and_the_other_way() {
    let (store, laptop, desktop) = two();
    laptop.write("a/b/c", b"deep");
    laptop.write("x", b"file");
    both(&store, &laptop, &desktop, 0);
    laptop.write("a", b"now a file");
    laptop.write("x/y", b"now a folder");
    both(&store, &laptop, &desktop, 10);
    assert_eq!(desktop.read("a").unwrap(), b"now a file");
    assert_eq!(desktop.read("x/y").unwrap(), b"now a folder");
    // At once, and against each other: both stay.
    laptop.write("z", b"a file here");
    desktop.write("z/inside", b"a folder there");
    laptop.sync(&store, at(20));
    both(&store, &desktop, &laptop, 21);
    let files = laptop.files();
    assert_eq!(files["z"], b"a file here");
    assert_eq!(
        files["z (conflict desktop 2027-01-15 08.00.21)/inside"],
        b"a folder there"
    );
}

#[test]
fn names_of_all_kinds_arrive_as_they_are() {
    let (store, laptop, desktop) = two();
    let names = [
        "caf\u{e9}",
        "cafe\u{301}",
        "CASE",
        "case",
        " space ",
        "tab-less\u{a0}",
        "dots...",
        "-rf",
        "%41",
        "a:b*?\"<>|",
        "😀/🎉",
        "con",
        "aux.txt",
    ];
    for (number, name) in names.iter().enumerate() {
        laptop.write(name, number.to_string().as_bytes());
    }
    let long = "n".repeat(255);
    laptop.write(&long, b"long");
    both(&store, &laptop, &desktop, 0);
    assert_eq!(desktop.files().len(), names.len() + 1);
    // A change of capitals only.
    std::fs::rename(laptop.path("CASE"), laptop.path("Case")).unwrap();
    both(&store, &laptop, &desktop, 10);
    assert!(desktop.read("Case").is_some() && desktop.read("CASE").is_none());
}

#[test]
fn what_cannot_travel_is_named_and_stays() {
    let (store, laptop, desktop) = two();
    laptop.write("good", b"good");
    laptop.write("back\\slash", b"x");
    laptop.write("new\nline", b"x");
    symlink("/etc/passwd", laptop.path("link")).unwrap();
    std::fs::create_dir(laptop.path("locked")).unwrap();
    let bytes = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"latin\xfc");
    std::fs::write(laptop.path("").join(bytes), b"x").unwrap();
    let report = laptop.sync(&store, at(0));
    let named: Vec<&str> = report
        .problems
        .iter()
        .map(|problem| problem.path.as_str())
        .collect();
    assert_eq!(named.len(), 4, "{named:?}");
    desktop.sync(&store, at(1));
    assert_eq!(desktop.files().len(), 1);
}

#[test]
fn a_link_in_the_way_is_never_followed() {
    let (store, laptop, desktop) = two();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), desktop.path("a")).unwrap();
    laptop.write("a/b", b"x");
    laptop.sync(&store, at(0));
    let report = desktop.sync(&store, at(1));
    assert!(
        report.problems.iter().any(|problem| problem.path == "a/b"),
        "{report:?}"
    );
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn an_empty_folder_is_a_missing_drive_unless_it_is_said_to_be_meant() {
    let (store, laptop, _desktop) = two();
    laptop.write("x", b"1");
    laptop.sync(&store, at(0));
    laptop.remove("x");
    let mut folder = laptop.folder(Arc::clone(&store)).unwrap();
    let mut sync = laptop.sync_of();
    let mut go_on = |_: &ravelin_drop::Step| std::ops::ControlFlow::Continue(());
    let refused = sync.run(&mut folder, at(1), &mut go_on);
    assert!(matches!(refused, Err(Error::FolderGone { files: 1, .. })));
    assert_eq!(plain(&*store).len(), 1);
    sync.allow_empty = true;
    sync.run(&mut folder, at(2), &mut go_on).unwrap();
    assert!(plain(&*store).is_empty());
}

#[test]
fn only_what_is_selected_comes_and_what_is_ignored_stays() {
    let (store, laptop, desktop) = two();
    for path in ["photos/a", "work/b", "work/c.tmp", "top", "work/.DS_Store"] {
        laptop.write(path, path.as_bytes());
    }
    laptop.write(".ravelinignore", b"*.tmp\n");
    laptop.sync(&store, at(0));
    assert_eq!(plain(&*store).len(), 4);
    let mut sync = desktop.sync_of();
    sync.selection = Selection::only(vec![name("work")]);
    let mut folder = desktop.folder(Arc::clone(&store)).unwrap();
    let mut go_on = |_: &ravelin_drop::Step| std::ops::ControlFlow::Continue(());
    sync.run(&mut folder, at(1), &mut go_on).unwrap();
    assert_eq!(desktop.files().into_keys().collect::<Vec<_>>(), ["work/b"]);
    // And what is not selected is not taken for deleted.
    assert_eq!(laptop.sync(&store, at(2)).steps, []);
}

#[test]
fn a_plan_changes_nothing_and_says_what_would_be_done() {
    let (store, laptop, desktop) = two();
    laptop.write("a", b"1");
    laptop.sync(&store, at(0));
    desktop.write("b", b"2");
    let mut folder = desktop.folder(Arc::clone(&store)).unwrap();
    let plan = desktop.sync_of().plan(&mut folder, at(1)).unwrap();
    assert_eq!(
        plan,
        [(name("a"), Did::Downloaded), (name("b"), Did::Uploaded)]
    );
    assert_eq!(plain(&*store).len(), 1);
    assert_eq!(desktop.files().len(), 1);
}

#[test]
fn a_replaced_file_keeps_its_permissions_and_gets_its_time() {
    let (store, laptop, desktop) = two();
    laptop.write("run.sh", b"1");
    both(&store, &laptop, &desktop, 0);
    let mode = std::fs::Permissions::from_mode(0o750);
    std::fs::set_permissions(desktop.path("run.sh"), mode).unwrap();
    laptop.write("run.sh", b"2");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let file = std::fs::File::options()
        .write(true)
        .open(laptop.path("run.sh"))
        .unwrap();
    file.set_modified(time).unwrap();
    both(&store, &laptop, &desktop, 10);
    let metadata = std::fs::metadata(desktop.path("run.sh")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o750);
    assert_eq!(metadata.modified().unwrap(), time);
}

#[test]
fn edits_by_hand_at_the_store_come_to_every_device() {
    let (store, laptop, desktop) = two();
    laptop.write("x", b"1");
    both(&store, &laptop, &desktop, 0);
    store
        .write(&name("x"), b"by hand", WriteMode::Replace)
        .unwrap();
    store
        .write(&name("new"), b"by hand, too", WriteMode::Replace)
        .unwrap();
    let report = laptop.sync(&store, at(10));
    assert_eq!(report.adopted.len(), 2);
    both(&store, &laptop, &desktop, 20);
    assert_eq!(desktop.read("x").unwrap(), b"by hand");
}

#[test]
fn what_an_interrupted_run_exchanged_is_removed_when_known_and_kept_when_not() {
    let (store, laptop, desktop) = two();
    laptop.write("a/x", b"known");
    both(&store, &laptop, &desktop, 0);
    desktop.write("a/.ravelin-part-77", b"half a downl");
    desktop.write("a/.ravelin-swap-77-x", b"known");
    desktop.write("a/.ravelin-swap-78-x", b"saved in the moment of the kill");
    desktop.sync(&store, at(10));
    let files = desktop.files();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(
        files
            .values()
            .any(|bytes| bytes == b"saved in the moment of the kill")
    );
}

#[test]
fn a_drive_that_is_pulled_out_while_its_folder_is_followed_deletes_nothing() {
    let scratch = crate::bench::scratch();
    let (root, away) = (scratch.path().join("drive"), scratch.path().join("away"));
    let disk = store::Disk::new(&root, &environment());
    Folder::create(&disk, &environment()).unwrap();
    let laptop = Machine::new("laptop");
    laptop.write("a/b", b"1");
    let mut folder = laptop.folder(Arc::new(disk)).unwrap();
    laptop.sync_with(&mut folder, at(0)).unwrap();
    std::fs::rename(&root, &away).unwrap();
    std::fs::create_dir(&root).unwrap();
    for seconds in [40, 80, 120] {
        let refused = laptop.sync_with(&mut folder, at(seconds));
        assert!(matches!(refused, Err(Error::OtherFolder)), "{refused:?}");
    }
    assert_eq!(laptop.read("a/b").unwrap(), b"1");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    std::fs::remove_dir(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    let report = laptop.sync_with(&mut folder, at(160)).unwrap();
    assert_eq!((report.steps, report.adopted), (vec![], vec![]));
}

#[test]
fn one_run_follows_a_folder_at_a_time() {
    let (store, laptop, _) = two();
    let folder = laptop.folder(store).unwrap();
    let first = laptop.sync_of().follow(&folder).unwrap();
    assert!(first.is_some());
    assert!(laptop.sync_of().follow(&folder).unwrap().is_none());
    drop(first);
    assert!(laptop.sync_of().follow(&folder).unwrap().is_some());
}

#[test]
fn a_disk_as_the_store_goes_through_the_same_changes() {
    let scratch = crate::bench::scratch();
    let disk = store::Disk::new(scratch.path(), &environment());
    Folder::create(&disk, &environment()).unwrap();
    let store: Arc<dyn Store> = Arc::new(disk);
    let (laptop, desktop) = (Machine::new("laptop"), Machine::new("desktop"));
    laptop.write("a/b/c", b"deep");
    laptop.write("empty", b"");
    laptop.write("large", &vec![7; 5 << 20]);
    both(&store, &laptop, &desktop, 0);
    laptop.write("a", b"now a file");
    desktop.write("large", &vec![8; 5 << 20]);
    both(&store, &laptop, &desktop, 10);
    assert_eq!(desktop.read("a").unwrap(), b"now a file");
    assert_eq!(laptop.read("large").unwrap()[0], 8);
    // By hand, with any program.
    std::fs::write(scratch.path().join("a"), b"by hand").unwrap();
    std::fs::remove_file(scratch.path().join("empty")).unwrap();
    laptop.sync(&store, at(20));
    both(&store, &laptop, &desktop, 60);
    assert_eq!(desktop.read("a").unwrap(), b"by hand");
    assert_eq!(desktop.read("empty"), None);
}
