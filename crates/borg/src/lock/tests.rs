use std::os::unix::fs::symlink;
use std::process::{Child, Command};

use serde_json::{Value, json};

use super::*;

const NO_WAIT: Duration = Duration::ZERO;
const PATIENCE: Duration = Duration::from_secs(60);

struct Scratch {
    scratch: tempfile::TempDir,
    path: PathBuf,
    host: Host,
}

impl Scratch {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        Self {
            path: scratch.path().join("lock"),
            host: Host::named("nas.example@17"),
            scratch,
        }
    }

    fn exclusive(&self) -> Result<Lock, Error> {
        Lock::exclusive(&self.path, &self.host, NO_WAIT)
    }

    fn shared(&self) -> Result<Lock, Error> {
        Lock::shared(&self.path, &self.host, NO_WAIT)
    }

    /// Puts an exclusive lock there as the stock program does.
    fn hold(&self, file: &str, content: &str) {
        let directory = suffixed(&self.path, ".exclusive");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(file), content).unwrap();
    }

    fn write_roster(&self, roster: &Value) {
        fs::write(suffixed(&self.path, ".roster"), roster.to_string()).unwrap();
    }

    fn roster(&self) -> Value {
        let text = fs::read_to_string(suffixed(&self.path, ".roster")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn names(&self) -> Vec<String> {
        list(self.scratch.path()).unwrap()
    }
}

fn is_locked_by(result: Result<Lock, Error>, expected: &str) -> bool {
    matches!(result, Err(Error::Locked { holder, .. }) if holder == expected)
}

/// A process that has ended; nobody else gets its number soon.
fn gone_pid() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

/// A process that has ended and was not collected.
fn zombie() -> Child {
    let child = Command::new("true").spawn().unwrap();
    let stat = format!("/proc/{}/stat", child.id());
    while !fs::read_to_string(&stat).unwrap().contains(") Z ") {
        thread::yield_now();
    }
    child
}

#[test]
fn a_writer_is_alone() {
    let place = Scratch::new();
    let us = format!("nas.example@17:{}", std::process::id());
    let writer = place.exclusive().unwrap();
    assert!(writer.is_held());
    assert!(is_locked_by(place.exclusive(), &us));
    assert!(is_locked_by(place.shared(), &us));
    drop(writer);
    drop(place.exclusive().unwrap());
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn readers_share_and_keep_a_writer_out() {
    let place = Scratch::new();
    let first = place.shared().unwrap();
    let second = place.shared().unwrap();
    drop(first);
    assert!(second.is_held());
    assert!(place.exclusive().is_err());
    drop(second);
    drop(place.exclusive().unwrap());
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn one_directory_under_two_names_has_one_lock() {
    let place = Scratch::new();
    let other = tempfile::tempdir().unwrap();
    let link = other.path().join("link");
    symlink(place.scratch.path(), &link).unwrap();
    let _writer = place.exclusive().unwrap();
    assert!(Lock::exclusive(&link.join("lock"), &place.host, NO_WAIT).is_err());
}

#[test]
fn the_lock_of_a_process_that_is_gone_is_removed_without_waiting() {
    let place = Scratch::new();
    place.hold(&format!("nas.example@17.{}-0", gone_pid()), "");
    drop(place.exclusive().unwrap());
    let mut zombie = zombie();
    place.hold(&format!("nas.example@17.{}-0", zombie.id()), "");
    drop(place.exclusive().unwrap());
    zombie.wait().unwrap();
    place.hold(&format!("nas.example@17.{}-0", gone_pid()), "");
    drop(place.shared().unwrap());
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn an_empty_lock_directory_is_free() {
    let place = Scratch::new();
    fs::create_dir(suffixed(&place.path, ".exclusive")).unwrap();
    drop(place.exclusive().unwrap());
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn nothing_is_known_of_other_machines_threads_and_formats() {
    for (file, holder) in [
        (format!("other.{}-0", gone_pid()), None),
        (format!("nas.example@17.{}-1", gone_pid()), None),
        ("what is this".into(), Some("what is this")),
    ] {
        let place = Scratch::new();
        place.hold(&file, "");
        let Err(Error::Locked { holder: found, .. }) = place.exclusive() else {
            panic!("{file} was not respected");
        };
        assert!(holder.is_none_or(|holder| holder == found));
    }
}

#[test]
fn a_process_that_lives_is_respected_and_one_that_took_its_number_is_not() {
    let place = Scratch::new();
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let file = format!("nas.example@17.{}-0", child.id());
    place.hold(&file, "");
    assert!(place.exclusive().is_err());
    let directory = suffixed(&place.path, ".exclusive");
    let birth = Holder::this_process(&place.host).birth().to_owned();
    let (start, _) = birth.rsplit_once(' ').unwrap();
    // Born at another time on this start of the machine.
    fs::write(directory.join(&file), format!("{start} 1")).unwrap();
    drop(place.exclusive().unwrap());
    // On another start of the machine.
    let (_, namespace) = start.split_once(' ').unwrap();
    place.hold(&file, &format!("other-boot {namespace} 1"));
    drop(place.exclusive().unwrap());
    // In a container, where the same number is another process.
    let (boot, _) = start.split_once(' ').unwrap();
    place.hold(&file, &format!("{boot} pid:[1] 1"));
    assert!(place.exclusive().is_err());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(place.exclusive().is_err());
}

#[test]
fn what_an_earlier_process_of_our_number_left_is_not_ours() {
    let place = Scratch::new();
    place.hold(&format!("nas.example@17.{}-0", std::process::id()), "");
    let writer = place.exclusive().unwrap();
    assert!(place.exclusive().is_err());
    drop(writer);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn readers_that_are_gone_keep_nobody_out_and_those_of_others_do() {
    let place = Scratch::new();
    let host = "nas.example@17";
    place.write_roster(
        &json!({"shared": [[host, gone_pid(), 0], "garbled", [1, 2]], "exclusive": []}),
    );
    drop(place.exclusive().unwrap());
    place.write_roster(&json!({"shared": [["other", 5, 0]], "exclusive": [], "theirs": 1}));
    assert!(is_locked_by(place.exclusive(), "other:5"));
    drop(place.shared().unwrap());
    let roster = place.roster();
    assert_eq!(roster["shared"], json!([["other", 5, 0]]));
    assert_eq!(roster["theirs"], 1);
    fs::write(suffixed(&place.path, ".roster"), "{\"shared\": [[").unwrap();
    drop(place.exclusive().unwrap());
}

#[test]
fn a_reader_whose_number_is_in_use_again_is_gone() {
    let place = Scratch::new();
    let reader = place.shared().unwrap();
    let mut roster = place.roster();
    let name = reader.place.holder.file_name();
    let birth = roster["births"][&name].as_str().unwrap().to_owned();
    let (start, _) = birth.rsplit_once(' ').unwrap();
    roster["births"][&name] = format!("{start} 1").into();
    std::mem::forget(reader);
    held(
        &suffixed(
            &fs::canonicalize(place.scratch.path()).unwrap().join("lock"),
            ".exclusive",
        ),
        |held| {
            *held = Held::default();
        },
    );
    place.write_roster(&roster);
    drop(place.exclusive().unwrap());
}

#[test]
fn litter_goes_when_its_process_is_gone() {
    let place = Scratch::new();
    let gone = gone_pid();
    let ours = std::process::id();
    let host = "nas.example@17";
    for (directory, file) in [
        (
            "lock.exclusive.abc12_x.tmp".into(),
            Some(format!("{host}.{gone}-0")),
        ),
        (format!("lock.exclusive.{gone}-3.tmp"), None),
        (
            "lock.exclusive.living.tmp".into(),
            Some(format!("{host}.{ours}-0")),
        ),
        (format!("lock.exclusive.{ours}-900000.tmp"), None),
        ("lock.exclusive.whose.tmp".into(), None),
    ] {
        let directory = place.scratch.path().join(directory);
        fs::create_dir(&directory).unwrap();
        if let Some(file) = file {
            fs::write(directory.join(file), "").unwrap();
        }
    }
    place.exclusive().unwrap().remove_litter();
    let mut names = place.names();
    names.sort();
    assert_eq!(
        names,
        [
            &format!("lock.exclusive.{ours}-900000.tmp"),
            "lock.exclusive.living.tmp",
            "lock.exclusive.whose.tmp",
        ]
    );
}

#[test]
fn a_broken_lock_is_noticed_and_the_next_holder_is_left_alone() {
    let place = Scratch::new();
    let broken = place.exclusive().unwrap();
    Lock::break_all(&place.path).unwrap();
    Lock::break_all(&place.path).unwrap();
    assert!(!broken.is_held());
    place.hold("other.5-0", "");
    drop(broken);
    assert!(is_locked_by(place.exclusive(), "other:5"));
}

#[test]
fn a_lock_moves_to_another_process() {
    for exclusive in [true, false] {
        let place = Scratch::new();
        let mut lock = if exclusive {
            place.exclusive().unwrap()
        } else {
            place.shared().unwrap()
        };
        // As if another process had taken it and forked this one.
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let parent = Holder::new(place.host.id(), child.id(), 0, "");
        let kind = if exclusive {
            Kind::Exclusive
        } else {
            Kind::Shared
        };
        let us = std::mem::replace(&mut lock.place.holder, parent.clone());
        lock.place
            .roster
            .replace(kind, &us, &parent, &place.host)
            .unwrap();
        if let Some(directory) = &mut lock.directory {
            let file = directory.path.join(parent.file_name());
            fs::rename(&directory.file, &file).unwrap();
            directory.file = file;
        }
        lock.migrate().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lock.is_held());
        assert!(place.exclusive().is_err());
        assert_eq!(place.roster()[kind.key()][0][1], std::process::id());
        drop(lock);
        assert_eq!(place.names(), Vec::<String>::new());
    }
}

#[test]
fn threads_that_fight_for_it_all_get_it() {
    let place = Scratch::new();
    let writers = AtomicU32::new(0);
    thread::scope(|scope| {
        for number in 0..8 {
            let (place, writers) = (&place, &writers);
            scope.spawn(move || {
                for round in 0..10 {
                    if (number + round) % 4 == 0 {
                        let lock = Lock::exclusive(&place.path, &place.host, PATIENCE).unwrap();
                        assert_eq!(writers.fetch_add(1, Ordering::SeqCst), 0);
                        thread::yield_now();
                        writers.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    } else {
                        let lock = Lock::shared(&place.path, &place.host, PATIENCE).unwrap();
                        assert_eq!(writers.load(Ordering::SeqCst), 0);
                        drop(lock);
                    }
                }
            });
        }
    });
    assert_eq!(place.names(), Vec::<String>::new());
}
