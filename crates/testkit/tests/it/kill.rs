//! Faults strike where they are told to.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ravelin_testkit::kill::{Fault, calls, require_tracer, strike};
use rustix::io::Errno;

/// Writes `one`, syncs it, renames it to `two`, and says so in `three`: with Python, so that it
/// makes the calls that are written here and no others.
const SCRIPT: &str = "
import os, sys
os.chdir(sys.argv[1])
one = os.open('one', os.O_CREAT | os.O_WRONLY, 0o644)
os.write(one, b'0123456789')
os.fsync(one)
os.rename('one', 'two')
if os.fork() == 0:
    three = os.open(sys.argv[1] + '/three', os.O_CREAT | os.O_WRONLY, 0o644)
    os.write(three, b'done')
    os._exit(0)
os.wait()
";

fn program(directory: &Path) -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-S", "-c", SCRIPT])
        .arg(directory)
        .stderr(Stdio::null());
    command
}

/// Runs the program in a new directory with a fault at a call; what is there then, and how it
/// ended.
fn after(number: u64, fault: Fault) -> (Vec<(String, String)>, Option<i32>) {
    let scratch = tempfile::tempdir().unwrap();
    let outcome = strike(
        &mut program(scratch.path()),
        &[scratch.path()],
        number,
        fault,
    );
    assert!(outcome.struck.is_some());
    let mut files: Vec<_> = fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    (files, outcome.status.signal())
}

fn files<const N: usize>(expected: [(&str, &str); N]) -> Vec<(String, String)> {
    expected
        .map(|(name, content)| (name.to_owned(), content.to_owned()))
        .to_vec()
}

#[test]
fn every_call_that_changes_something_is_counted_children_included() {
    let Some(()) = require_tracer() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let found = calls(&mut program(scratch.path()), &[scratch.path()]);
    let names: Vec<&str> = found.iter().map(|call| call.name).collect();
    assert_eq!(
        names,
        ["openat", "write", "fsync", "rename", "openat", "write"]
    );
    assert!(found[3].path.ends_with("two"), "{found:?}");
    assert!(found[5].path.ends_with("three"), "{found:?}");
}

#[test]
fn what_is_elsewhere_does_not_count() {
    let Some(()) = require_tracer() else { return };
    let (scratch, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(calls(&mut program(scratch.path()), &[other.path()]), []);
}

#[test]
fn death_comes_before_the_call() {
    let Some(()) = require_tracer() else { return };
    assert_eq!(after(1, Fault::Kill), (files([]), Some(9)));
    assert_eq!(after(2, Fault::Kill), (files([("one", "")]), Some(9)));
    assert_eq!(
        after(4, Fault::Kill),
        (files([("one", "0123456789")]), Some(9))
    );
}

#[test]
fn death_comes_after_the_call() {
    let Some(()) = require_tracer() else { return };
    assert_eq!(after(1, Fault::KillAfter), (files([("one", "")]), Some(9)));
    assert_eq!(
        after(4, Fault::KillAfter),
        (files([("two", "0123456789")]), Some(9))
    );
}

#[test]
fn the_death_of_a_child_is_the_death_of_all() {
    let Some(()) = require_tracer() else { return };
    let expected = files([("three", ""), ("two", "0123456789")]);
    assert_eq!(after(6, Fault::Kill), (expected, Some(9)));
}

#[test]
fn half_of_a_torn_write_is_there() {
    let Some(()) = require_tracer() else { return };
    assert_eq!(after(2, Fault::Torn), (files([("one", "01234")]), Some(9)));
}

#[test]
fn a_call_that_fails_has_no_effect_and_the_program_goes_on() {
    let Some(()) = require_tracer() else { return };
    let (found, signal) = after(2, Fault::Error(Errno::NOSPC));
    assert_eq!((found, signal), (files([("one", "")]), None));
    let (found, signal) = after(4, Fault::Error(Errno::IO));
    assert_eq!((found, signal), (files([("one", "0123456789")]), None));
}

#[test]
fn a_disk_that_is_full_stays_full() {
    let Some(()) = require_tracer() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let script = "
import os, sys
failed = 0
for name in 'abcd':
    try:
        open(os.path.join(sys.argv[1], name), 'w').write('x')
    except OSError as error:
        assert error.errno == 28
        failed += 1
sys.exit(failed)
";
    let mut command = Command::new("python3");
    command.args(["-S", "-c", script]).arg(scratch.path());
    let outcome = strike(
        &mut command,
        &[scratch.path()],
        3,
        Fault::ErrorFrom(Errno::NOSPC),
    );
    assert_eq!(outcome.status.code(), Some(3));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
}

#[test]
fn a_program_with_many_threads_is_followed() {
    let Some(()) = require_tracer() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let script = "
import os, sys, threading
def write(name):
    for _ in range(20):
        with open(os.path.join(sys.argv[1], name), 'w') as file:
            file.write('x' * 100)
threads = [threading.Thread(target=write, args=(str(n),)) for n in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
";
    let program = || {
        let mut command = Command::new("python3");
        command.args(["-S", "-c", script]).arg(scratch.path());
        command
    };
    assert_eq!(calls(&mut program(), &[scratch.path()]).len(), 8 * 20 * 2);
    let outcome = strike(&mut program(), &[scratch.path()], 100, Fault::Kill);
    assert_eq!((outcome.status.signal(), outcome.calls), (Some(9), 100));
}
