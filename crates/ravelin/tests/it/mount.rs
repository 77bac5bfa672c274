//! Snapshots as a file system.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use snapbox::cmd::cargo_bin;
use testkit::{Ignore, Tree, assert_same};

use crate::bench::Bench;

/// A layer with two snapshots of a tree, and a folder to mount at. `None` where the machine has no
/// FUSE.
struct Place {
    bench: Bench,
    tree: Tree,
    mount_point: PathBuf,
}

impl Place {
    fn new(seed: u64) -> Option<Self> {
        if !Path::new("/dev/fuse").exists() {
            testkit::say_skipped("this machine has no /dev/fuse");
            return None;
        }
        testkit::require("fusermount3")?;
        let bench = Bench::new();
        let config = bench.file(
            ".config/ravelin/ravelin.toml",
            "[[source]]\npaths = [\"~/files\"]\n\n[layer.disk]\nkind = \"borg\"\n\
             store = \"~/repository\"\npassphrase = { env = \"P\" }\n",
        );
        fs::set_permissions(config, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(bench.home().join("files")).unwrap();
        let tree = Tree::at(&bench.home().join("files"), seed)
            .odd_names()
            .sizes()
            .links();
        let mount_point = bench.home().join("mnt");
        fs::create_dir(&mount_point).unwrap();
        let place = Self {
            bench,
            tree,
            mount_point,
        };
        fs::write(place.tree.path().join("notes.txt"), "first").unwrap();
        place.run(["init"]);
        place.run(["backup"]);
        fs::write(place.tree.path().join("notes.txt"), "second").unwrap();
        place.run(["backup"]);
        Some(place)
    }

    fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let command = self.bench.ravelin(arguments).env("P", "secret");
        let assert = command.assert().success();
        String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
    }

    /// Starts the program so that it stays, and waits until something is mounted.
    fn stay(&self, arguments: &[&str]) -> Child {
        let child = Command::new(cargo_bin!("ravelin"))
            .args(["mount", "--foreground"])
            .arg(&self.mount_point)
            .args(arguments)
            .env_clear()
            .env("HOME", self.bench.home())
            .env("P", "secret")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("it is mounted", || is_mounted(&self.mount_point));
        child
    }

    /// Unmounts as a person does who follows the advice: again while it is in use. Other tests of
    /// this process start programs, which have its open files until they run, and that takes long
    /// on a disk that is busy.
    fn unmount(&self, mount_point: &Path) {
        wait_until("nothing uses the mount point", || {
            let arguments = ["umount", mount_point.to_str().unwrap()];
            let output = self.bench.ravelin(arguments).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || said.contains("busy"), "{said}");
            output.status.success()
        });
    }

    fn inside(&self, folder: &Path) -> PathBuf {
        folder.join(self.tree.path().strip_prefix("/").unwrap())
    }
}

fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = path.display().to_string();
    mounts
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&path))
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "waited for: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn all_snapshots_are_folders_with_the_files_as_they_were() {
    let Some(place) = Place::new(61) else {
        return;
    };
    place.run(["mount", place.mount_point.to_str().unwrap()]);
    let mut folders: Vec<PathBuf> = fs::read_dir(&place.mount_point)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert_eq!(folders.len(), 2);
    let ignore = Ignore {
        sockets: true,
        flags: true,
        linked_symlinks: true,
        ..Ignore::default()
    };
    assert_same(place.tree.path(), &place.inside(&folders[1]), &ignore);
    let notes = place.inside(&folders[0]).join("notes.txt");
    assert_eq!(fs::read(&notes).unwrap(), b"first");
    let written = fs::write(&notes, "changed");
    assert!(written.is_err(), "nothing can be changed");
    place.unmount(&place.mount_point);
    assert!(!is_mounted(&place.mount_point));
    assert_eq!(fs::read_dir(&place.mount_point).unwrap().count(), 0);
    // Its lock is gone as well.
    wait_until("the lock is gone", || {
        let command = place.bench.ravelin(["backup"]).env("P", "secret");
        command.output().unwrap().status.success()
    });
}

#[test]
fn a_mount_in_use_is_left_alone_and_waited_for() {
    let Some(place) = Place::new(69) else {
        return;
    };
    let point = place.mount_point.to_str().unwrap();
    place.run(["mount", point]);
    // The entry itself would keep its folder open.
    let folder = fs::read_dir(point).unwrap().next().unwrap().unwrap().path();
    let notes = place.inside(&folder).join("notes.txt");
    let open = fs::File::open(&notes).unwrap();
    let command = place.bench.ravelin(["umount", point]).assert().code(1);
    let said = String::from_utf8_lossy(&command.get_output().stderr).into_owned();
    assert!(
        said.contains("busy") && said.contains("next: Close"),
        "{said}"
    );
    assert!(is_mounted(&place.mount_point));
    let closed = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        drop(open);
    });
    place.run(["umount", point]);
    closed.join().unwrap();
    assert!(!is_mounted(&place.mount_point));
}

#[test]
fn stock_borg_shows_the_same() {
    let Some(place) = Place::new(68) else {
        return;
    };
    let Some(stock) = testkit::stock_borg_with_fuse() else {
        return;
    };
    let stock = stock
        .with_passphrase("secret")
        .with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes");
    let theirs = place.bench.home().join("theirs");
    fs::create_dir(&theirs).unwrap();
    let repository = place.bench.home().join("repository").display().to_string();
    for (ours, their_options) in [("", ""), ("--versions", "-oversions")] {
        let options: Vec<&str> = [ours]
            .into_iter()
            .filter(|option| !option.is_empty())
            .collect();
        let mut child = place.stay(&options);
        let mut arguments = vec!["mount"];
        arguments.extend(Some(their_options).filter(|option| !option.is_empty()));
        arguments.extend([repository.as_str(), theirs.to_str().unwrap()]);
        stock.run(arguments);
        let compared = std::panic::catch_unwind(|| match ours {
            // They number versions in another way, so only the files themselves can be compared.
            "--versions" => assert_eq!(contents(&theirs), contents(&place.mount_point)),
            _ => {
                for folder in fs::read_dir(&theirs).unwrap() {
                    let name = folder.unwrap().file_name();
                    let [theirs, ours] = [&theirs, &place.mount_point]
                        .map(|mounted| place.inside(&mounted.join(&name)));
                    assert_same(&theirs, &ours, &Ignore::default());
                }
            }
        });
        place.unmount(&theirs);
        place.unmount(&place.mount_point);
        assert!(child.wait().unwrap().success());
        compared.unwrap();
    }
}

/// The content of all regular files below a folder, sorted, with the folder that each is in.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut contents = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let inside = at.strip_prefix(folder).unwrap().to_owned();
                contents.push((inside, fs::read(entry.path()).unwrap()));
            }
        }
    }
    contents.sort();
    contents
}

#[test]
fn files_are_read_anywhere_by_many_at_once() {
    let Some(place) = Place::new(62) else {
        return;
    };
    let content = testkit::Random::new(63).noise(9 << 20);
    fs::write(place.tree.path().join("large"), &content).unwrap();
    place.run(["backup"]);
    let mut child = place.stay(&["--snapshot", "latest"]);
    let large = place.inside(&place.mount_point).join("large");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (large, content) = (&large, &content);
            scope.spawn(move || {
                let mut random = testkit::Random::new(64 + thread);
                let file = fs::File::open(large).unwrap();
                for _ in 0..40 {
                    let offset = random.index(content.len());
                    let mut part = vec![0; random.index(300_000)];
                    let count =
                        std::os::unix::fs::FileExt::read_at(&file, &mut part, offset as u64);
                    let count = count.unwrap();
                    assert!(part[..count] == content[offset..offset + count]);
                }
            });
        }
    });
    assert!(fs::read(&large).unwrap() == content);
    assert_eq!(fs::metadata(&large).unwrap().size(), content.len() as u64);
    // Ctrl-C ends it tidily, whoever still looks at it.
    let open = fs::File::open(&large).unwrap();
    let status = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
    assert!(child.wait().unwrap().success());
    assert!(!is_mounted(&place.mount_point));
    drop(open);
    // Its lock is gone with it.
    place.run(["backup"]);
}

#[test]
fn each_version_of_a_file_is_there_once() {
    let Some(place) = Place::new(65) else {
        return;
    };
    place.run(["backup"]);
    let mut child = place.stay(&["--versions"]);
    let notes = place.inside(&place.mount_point).join("notes.txt");
    let mut names: Vec<String> = fs::read_dir(&notes)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["notes.00001.txt", "notes.00002.txt"]);
    assert_eq!(fs::read(notes.join(&names[0])).unwrap(), b"first");
    assert_eq!(fs::read(notes.join(&names[1])).unwrap(), b"second");
    place.unmount(&place.mount_point);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_process_that_is_killed_leaves_no_dead_mount_point() {
    let Some(place) = Place::new(66) else {
        return;
    };
    let mut child = place.stay(&[]);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("it is unmounted", || !is_mounted(&place.mount_point));
    assert_eq!(fs::read_dir(&place.mount_point).unwrap().count(), 0);
    // And the lock of a process that is gone stops nobody.
    place.run(["backup"]);
}

#[test]
fn what_cannot_be_mounted_says_why() {
    let Some(place) = Place::new(67) else {
        return;
    };
    let missing = place.bench.home().join("missing");
    let missing = missing.to_str().unwrap();
    for arguments in [
        vec!["mount", missing],
        vec!["umount", place.mount_point.to_str().unwrap()],
    ] {
        let command = place.bench.ravelin(arguments.clone()).env("P", "secret");
        let assert = command.assert().failure();
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains(arguments[1]), "{said}");
    }
}
