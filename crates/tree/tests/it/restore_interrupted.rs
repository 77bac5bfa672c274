//! Restores that are killed, or whose disk fails them, at every single moment.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use rustix::io::Errno;
use testkit::kill::{Fault, calls, require_tracer, strike};
use testkit::{Ignore, Tree, assert_same, compare};
use tree::{Action, Conflict, Placed, RestoreError, RestoreOptions, Restorer};

use crate::restore::{archive, assert_complete, faithful, file, folder, plan, restore};

/// Names the source and the target to the test that plays the restore to be killed.
const SOURCE: &str = "RESTORE_SOURCE";
const TARGET: &str = "RESTORE_TARGET";

/// Status of a child that was told that the disk is full.
const FULL: i32 = 28;

/// Does nothing unless another test starts it as a program of its own.
#[test]
fn a_child_that_restores() {
    let (Some(source), Some(target)) = (std::env::var_os(SOURCE), std::env::var_os(TARGET)) else {
        return;
    };
    let members = archive(Path::new(&source));
    let restorer = match Restorer::open(&target, faithful()) {
        Ok(restorer) => restorer,
        Err(error) => panic!("{error}"),
    };
    let plan = plan(&restorer, &members);
    let restore = match restorer.start(plan) {
        Ok(restore) => restore,
        Err(error) => leave(&error),
    };
    for (number, member) in members.iter().enumerate() {
        let result = restore.place(number, member.entry.clone());
        if let Placed::Content(file) = result.unwrap_or_else(|error| leave(&error)) {
            for piece in &member.content {
                let crate::restore::Piece::Data(bytes) = piece else {
                    panic!("there are no holes");
                };
                // In two halves, so that it can be struck between them.
                let (first, second) = bytes.split_at(bytes.len() / 2);
                let written = file.write_at(0, first);
                let written = written.and_then(|()| file.write_at(first.len() as u64, second));
                written.unwrap_or_else(|error| leave(&error));
            }
            file.finish().unwrap_or_else(|error| leave(&error));
        }
    }
    assert_complete(&restore.finish());
}

fn leave(error: &RestoreError) -> ! {
    assert!(matches!(error, RestoreError::Full { .. }), "{error}");
    #[expect(clippy::exit, reason = "the status says what was met")]
    std::process::exit(FULL);
}

fn child(source: &Path, target: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "restore_interrupted::a_child_that_restores"])
        .env(SOURCE, source)
        .env(TARGET, target);
    command
}

/// A small tree with something of everything that is restored in its own way.
fn small() -> Tree {
    let tree = Tree::new(7)
        .file("a/one", "one".repeat(1000))
        .file("a/two", "two")
        .file("a/empty", "")
        .file("b/c/deep", "deep")
        .directory("b/nothing")
        .symlink("b/link", "../a/one");
    fs::hard_link(tree.path().join("a/two"), tree.path().join("b/two")).unwrap();
    let pipe = tree.path().join("b/pipe");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o640.into(), 0).unwrap();
    tree
}

/// A target that something stands in already: a conflict, and a file that stays.
fn target(scratch: &Path) -> PathBuf {
    let target = scratch.join("target");
    fs::create_dir_all(target.join("b")).unwrap();
    fs::write(target.join("b/mine"), "mine").unwrap();
    symlink("elsewhere", target.join("b/link")).unwrap();
    // Not that of the source, which may have been made in the same tick of the clock.
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    let b = fs::File::open(target.join("b")).unwrap();
    b.set_modified(long_ago).unwrap();
    target
}

/// No file under its final name has another content than it should.
fn assert_nothing_half(source: &Path, target: &Path) {
    for name in ["a/one", "a/two", "a/empty", "b/c/deep", "b/two"] {
        if let Ok(content) = fs::read(target.join(name)) {
            assert_eq!(content, fs::read(source.join(name)).unwrap(), "{name}");
            let times = |path: PathBuf| {
                let stat = fs::metadata(path).unwrap();
                (stat.mtime(), stat.mtime_nsec(), stat.mode())
            };
            assert_eq!(times(target.join(name)), times(source.join(name)), "{name}");
        }
    }
}

/// Whatever was there, running the restore again ends with all of it, and nothing else.
fn assert_finishes(source: &Path, target: &Path, what: &str) {
    assert_nothing_half(source, target);
    let members = archive(source);
    let report = restore(target, &members, faithful());
    assert_complete(&report);
    assert_eq!(fs::read(target.join("b/mine")).unwrap(), b"mine");
    fs::remove_file(target.join("b/mine")).unwrap();
    fs::remove_file(target.join("b/link")).unwrap();
    fs::rename(target.join("b/link (restored)"), target.join("b/link")).unwrap();
    let ignore = Ignore {
        root: true,
        ..Ignore::default()
    };
    let differences = compare(source, target, &ignore);
    // `b` stood there before: it keeps what it was.
    let others: Vec<_> = differences
        .iter()
        .filter(|difference| difference.path != b"b")
        .map(ToString::to_string)
        .collect();
    assert_eq!(others, Vec::<String>::new(), "{what}");
}

#[test]
fn killed_at_any_moment_it_is_finished_by_the_next() {
    if require_tracer().is_none() {
        return;
    }
    let tree = small();
    let scratch = tempfile::tempdir().unwrap();
    let all = {
        let target = target(&scratch.path().join("all"));
        calls(&mut child(tree.path(), &target), &[&target])
    };
    assert!(all.len() > 30, "{all:?}");
    let faults = [Fault::Kill, Fault::KillAfter, Fault::Torn];
    let moments = (1..=all.len() as u64).flat_map(|number| faults.map(|fault| (number, fault)));
    for (number, fault) in moments {
        let target = target(&scratch.path().join(format!("{number} {fault:?}")));
        let outcome = strike(&mut child(tree.path(), &target), &[&target], number, fault);
        let what = format!("{fault:?} at {number}: {:?}", outcome.struck);
        assert!(!outcome.status.success(), "{what}");
        assert_finishes(tree.path(), &target, &what);
    }
}

#[test]
fn a_full_disk_ends_it_with_that_error_and_the_next_finishes() {
    if require_tracer().is_none() {
        return;
    }
    let tree = small();
    let scratch = tempfile::tempdir().unwrap();
    let all = {
        let target = target(&scratch.path().join("all"));
        calls(&mut child(tree.path(), &target), &[&target])
    };
    let writes = (1..).zip(&all).filter(|(_, call)| call.writes);
    for (number, call) in writes {
        let target = target(&scratch.path().join(number.to_string()));
        let fault = Fault::ErrorFrom(Errno::NOSPC);
        let outcome = strike(&mut child(tree.path(), &target), &[&target], number, fault);
        let what = format!("{call:?} and later: no space");
        assert!(!outcome.status.success(), "{what}");
        if call.name != "setxattr" && call.name != "fsetxattr" {
            assert_eq!(outcome.status.code(), Some(FULL), "{what}");
        }
        assert_finishes(tree.path(), &target, &what);
    }
}

#[test]
fn what_an_interrupted_restore_left_is_removed_by_the_next() {
    let scratch = tempfile::tempdir().unwrap();
    let leftover = ".ravelin-restore-4194304-17";
    for folder in ["", "a", "untouched"] {
        fs::create_dir_all(scratch.path().join(folder)).unwrap();
        fs::write(scratch.path().join(folder).join(leftover), "half").unwrap();
    }
    fs::write(scratch.path().join(".ravelin-restore-notes"), "mine").unwrap();
    let members = [
        folder("a"),
        file("a/new", b"x"),
        folder("b"),
        file("b/x", b"x"),
    ];
    assert_complete(&restore(
        scratch.path(),
        &members,
        RestoreOptions::default(),
    ));
    assert!(!scratch.path().join(leftover).exists());
    assert!(!scratch.path().join("a").join(leftover).exists());
    assert!(scratch.path().join("untouched").join(leftover).exists());
    assert!(scratch.path().join(".ravelin-restore-notes").exists());
}

#[test]
fn a_folder_that_was_not_finished_is_finished_even_if_folders_are_left_alone() {
    for conflict in [Conflict::KeepBoth, Conflict::Skip] {
        let tree = small();
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("target");
        let members = archive(tree.path());
        let options = RestoreOptions {
            conflict,
            ..faithful()
        };
        let restorer = Restorer::open(&target, options.clone()).unwrap();
        let plan = plan(&restorer, &members);
        let unfinished = restorer.start(plan).unwrap();
        for (number, member) in members.iter().enumerate() {
            if !member.entry.is_file() {
                unfinished.place(number, member.entry.clone()).unwrap();
            }
        }
        drop(unfinished);
        let mode = fs::metadata(target.join("b/c")).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o1700);
        let report = restore(&target, &members, options);
        assert_complete(&report);
        let folders = members.iter().filter(|member| member.entry.is_directory());
        assert_eq!(report.done(Action::Mend).entries, folders.count() as u64);
        assert_same(tree.path(), &target, &Ignore::default());
    }
}

#[test]
fn a_disk_that_is_really_full_is_named() {
    if testkit::require_root().is_none() {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mount = |arguments: &[&str]| {
        let mut command = Command::new("mount");
        command.args(arguments).arg(scratch.path());
        command.output().is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"]) {
        testkit::skip!("nothing can be mounted here");
    }
    let target = scratch.path().join("target");
    let content = vec![1; 600_000];
    let members = [
        file("one", &content),
        file("two", &content),
        file("three", b"x"),
    ];
    let restorer = Restorer::open(&target, RestoreOptions::default()).unwrap();
    let plan = plan(&restorer, &members);
    let running = restorer.start(plan).unwrap();
    let mut errors = 0;
    for (number, member) in members.iter().enumerate() {
        match running.place(number, member.entry.clone()) {
            Ok(Placed::Content(file)) => {
                let bytes = &content[..usize::try_from(member.entry.size).unwrap()];
                let written = file.write_at(0, bytes);
                errors += u32::from(written.and_then(|()| file.finish()).is_err());
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => errors += 1,
        }
    }
    let report = running.finish();
    let readable = fs::read(target.join("one")).is_ok_and(|one| one == content);
    let left = fs::read_dir(&target).unwrap().count();
    // Before anything is asserted, so that it is not left mounted.
    let path = scratch.path();
    let mut unmounted = false;
    for _ in 0..50 {
        unmounted = Command::new("umount").arg(path).status().unwrap().success();
        if unmounted {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(unmounted && readable);
    assert_eq!(
        (errors, left),
        (2, 1),
        "the second is gone, the third not tried"
    );
    assert!(matches!(report.stopped, Some(RestoreError::Full { .. })));
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}
