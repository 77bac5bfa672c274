//! Sources that are read from snapshots of their file system: a real btrfs on a file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use snapbox::str;

use crate::bench::Bench;

/// In a home.
const CONFIG: &str = ".config/ravelin/ravelin.toml";

/// A btrfs that is mounted below a home.
struct Btrfs {
    bench: Bench,
}

impl Btrfs {
    /// With a subvolume `data` that has another one, `nested`, in it. `None` where this machine cannot.
    fn new() -> Option<Self> {
        testkit::require_root()?;
        let mkfs = testkit::require("mkfs.btrfs")?;
        let known = fs::read_to_string("/proc/filesystems").unwrap();
        if !known.lines().any(|line| line.trim() == "btrfs") {
            // A kernel may rightly lack it, also that of a build server.
            testkit::say_skipped("this kernel has no btrfs");
            return None;
        }
        let bench = Bench::new();
        let image = bench.home().join("image");
        fs::File::create(&image)
            .unwrap()
            .set_len(256 << 20)
            .unwrap();
        call(Command::new(mkfs).arg("-q").arg(&image));
        fs::create_dir(bench.home().join("mnt")).unwrap();
        let made = Self { bench };
        if !made.mount().status().unwrap().success() {
            testkit::say_skipped("no file can be mounted here");
            return None;
        }
        for subvolume in ["data", "data/nested"] {
            let path = made.path(subvolume);
            call(
                Command::new("btrfs")
                    .args(["subvolume", "create"])
                    .arg(path),
            );
        }
        Some(made)
    }

    fn mount(&self) -> Command {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]);
        mount.arg(self.bench.home().join("image"));
        mount.arg(self.path(""));
        mount
    }

    fn path(&self, path: &str) -> PathBuf {
        self.bench.home().join("mnt").join(path)
    }

    /// Two layers of what is in these folders of the file system, and of what a program does that is called
    /// before anything is read.
    fn configure(&self, paths: &[&str], more: &str, program: &str) {
        let program = self.script(program);
        let paths: Vec<String> = paths
            .iter()
            .map(|path| format!("\"{}\"", self.path(path).display()))
            .collect();
        self.bench.file(
            CONFIG,
            &format!(
                "[[source]]\npaths = [{}]\nfile-system-snapshot = \"btrfs\"\n{more}\n\
                 [[source]]\nname = \"between\"\ncommand = [\"{}\"]\n\n\
                 [layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\nencryption = \"none\"\n\n\
                 [layer.offsite]\nkind = \"duplicity\"\nstore = \"~/archive\"\nencryption = \"none\"\n",
                paths.join(", "),
                program.display(),
            ),
        );
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.bench.file("between", &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn ravelin(&self, words: &[&str]) -> snapbox::cmd::Command {
        let command = self.bench.ravelin(words.iter().copied());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    }

    /// A snapshot of `data`, with a letter in it, that a killed run has left.
    fn leave_a_snapshot(&self) {
        fs::write(self.path("data/letter"), "dear\n").unwrap();
        self.configure(&["data"], "exclude = [\"nested\"]", "exit 0");
        self.ravelin(&["init"]).assert().success();
        self.be_killed();
    }

    /// A run that is killed after it has made its snapshot; the next one is not.
    fn be_killed(&self) {
        self.script("kill -9 $PPID");
        let ended = self.ravelin(&["backup"]).output().unwrap();
        assert_eq!(ended.status.signal(), Some(9));
        assert_eq!(self.subvolumes(), 3);
        self.script("exit 0");
    }

    /// From now on the source is read as it is; gives the configuration before.
    fn read_live(&self) -> String {
        let config = self.bench.home().join(CONFIG);
        let text = fs::read_to_string(&config).unwrap();
        let live = text.replace("file-system-snapshot = \"btrfs\"\n", "");
        fs::write(config, live).unwrap();
        text
    }

    /// The content of a file in the newest snapshot of a layer.
    fn stored(&self, layer: &str, path: &str) -> Option<String> {
        let path = self.path(path).display().to_string();
        let command = self.ravelin(&["cat", "latest", &path, "--layer", layer]);
        let output = command.output().unwrap();
        let is_there = output.status.success();
        is_there.then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn subvolumes(&self) -> usize {
        let listed = testkit::run(
            Command::new("btrfs")
                .args(["subvolume", "list"])
                .arg(self.path("")),
        );
        listed.lines().count()
    }
}

fn call(command: &mut Command) {
    drop(testkit::run(command));
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.path("data/other"))
            .output();
        let _ = Command::new("umount").arg("-l").arg(self.path("")).output();
    }
}

#[test]
fn all_layers_hold_the_moment_before_the_reading_at_the_paths_of_the_files() {
    let Some(btrfs) = Btrfs::new() else {
        return;
    };
    let letter = btrfs.path("data/letter");
    fs::write(&letter, "as it was\n").unwrap();
    fs::write(btrfs.path("data/nested/inner"), "inner\n").unwrap();
    fs::create_dir(btrfs.path("data/other")).unwrap();
    let mut mount = Command::new("mount");
    let other = btrfs.path("data/other");
    call(mount.args(["-t", "tmpfs", "none"]).arg(&other));
    fs::write(other.join("elsewhere"), "elsewhere\n").unwrap();
    // The snapshot is there when this is called, and nothing was read yet.
    let change = format!("echo changed > '{}'", letter.display());
    btrfs.configure(&["data"], "exclude = [\"*.iso\"]", &change);
    fs::write(btrfs.path("data/large.iso"), "left out").unwrap();
    btrfs.ravelin(&["init"]).assert().success();
    btrfs.ravelin(&["backup"]).assert().code(3).stderr_eq(str![[r#"
...
  [..]/mnt/data/nested: cannot read what is below: it is not in the snapshot of the file system: name it in `paths`, too, or exclude it
...
"#]]);
    let said = btrfs.ravelin(&["backup"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("/mnt/data/other: cannot read"), "{said}");
    assert_eq!(fs::read_to_string(&letter).unwrap(), "changed\n");
    for layer in ["disk", "offsite"] {
        fs::write(&letter, "as it was\n").unwrap();
        btrfs.ravelin(&["backup"]).assert().code(3);
        assert_eq!(btrfs.stored(layer, "data/letter").unwrap(), "as it was\n");
        assert_eq!(btrfs.stored(layer, "data/large.iso"), None);
        assert_eq!(btrfs.stored(layer, "data/nested/inner"), None);
    }
    // Nothing is left.
    assert_eq!(btrfs.subvolumes(), 2);
    assert!(!btrfs.path("data/.ravelin-snapshot").exists());

    // What is named is read, from a snapshot of its own.
    btrfs.configure(&["data", "data/nested"], "exclude = [\"other\"]", &change);
    btrfs.ravelin(&["backup"]).assert().success();
    for layer in ["disk", "offsite"] {
        assert_eq!(btrfs.stored(layer, "data/nested/inner").unwrap(), "inner\n");
        assert_eq!(btrfs.stored(layer, "data/other/elsewhere"), None);
    }
    // With the wish to stay on one file system nothing is missed.
    btrfs.configure(&["data"], "one-file-system = true", &change);
    btrfs.ravelin(&["backup"]).assert().success();
    assert_eq!(btrfs.subvolumes(), 2);
}

#[test]
fn what_a_killed_run_has_left_is_removed_by_the_next_and_nothing_else_is() {
    let Some(btrfs) = Btrfs::new() else {
        return;
    };
    fs::write(btrfs.path("data/letter"), "dear\n").unwrap();
    btrfs.configure(&["data"], "exclude = [\"nested\"]", "exit 0");
    btrfs.ravelin(&["init"]).assert().success();
    btrfs.ravelin(&["backup"]).assert().success();
    btrfs.be_killed();
    // A snapshot that somebody else has there is not ours.
    let foreign = btrfs.path("data/.ravelin-snapshot/mine");
    let mut snapshot = Command::new("btrfs");
    snapshot.args(["subvolume", "snapshot", "-r"]);
    call(snapshot.arg(btrfs.path("data/nested")).arg(&foreign));
    // Also where no source wants one any more.
    let text = btrfs.read_live();
    btrfs.ravelin(&["backup"]).assert().success();
    assert!(foreign.is_dir());
    assert_eq!(btrfs.subvolumes(), 3);

    // And where the state of this machine was lost with it.
    call(
        Command::new("btrfs")
            .args(["subvolume", "delete"])
            .arg(&foreign),
    );
    btrfs.bench.file(CONFIG, &text);
    btrfs.be_killed();
    fs::remove_dir_all(btrfs.bench.home().join(".local/state")).unwrap();
    btrfs.ravelin(&["backup"]).assert().success();
    assert_eq!(btrfs.subvolumes(), 2);
    assert!(!btrfs.path("data/.ravelin-snapshot").exists());
}

#[test]
fn what_cannot_be_removed_is_named_and_stops_no_backup_that_needs_no_snapshot() {
    let Some(btrfs) = Btrfs::new() else {
        return;
    };
    btrfs.leave_a_snapshot();
    let mut ours = fs::read_dir(btrfs.path("data/.ravelin-snapshot")).unwrap();
    let top = ours.next().unwrap().unwrap().path();
    // Others may write to a folder that leads to it.
    fs::set_permissions(&top, fs::Permissions::from_mode(0o777)).unwrap();
    let ended = btrfs.ravelin(&["backup"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("[file-system-snapshot]"), "{said}");

    btrfs.read_live();
    let ended = btrfs.ravelin(&["backup"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("cannot remove this snapshot"), "{said}");
    assert!(said.contains("`btrfs subvolume delete`"), "{said}");
    assert_eq!(btrfs.stored("disk", "data/letter").unwrap(), "dear\n");
    let place = btrfs.path("data");
    let place = top.join(place.strip_prefix("/").unwrap());
    let inside = place.join("letter");
    let inside = inside.strip_prefix(btrfs.path("")).unwrap();
    assert_eq!(btrfs.stored("disk", inside.to_str().unwrap()), None);

    // It is as the advice says.
    let mut delete = Command::new("btrfs");
    call(delete.args(["subvolume", "delete"]).arg(&place));
    btrfs.ravelin(&["backup"]).assert().success();
}

#[test]
fn that_a_snapshot_stays_is_in_the_history_as_it_was_told() {
    let Some(btrfs) = Btrfs::new() else {
        return;
    };
    fs::write(btrfs.path("data/letter"), "dear\n").unwrap();
    // When it is to be removed, others may write to a folder that leads to it.
    let place = btrfs.path("data/.ravelin-snapshot");
    let loosen = format!("chmod 777 '{}'/*", place.display());
    btrfs.configure(&["data"], "exclude = [\"nested\"]", &loosen);
    btrfs.ravelin(&["init"]).assert().success();
    let ended = btrfs.ravelin(&["backup"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains("its snapshot stays"), "{said}");
    let history = btrfs.bench.home().join(".local/state/ravelin/history");
    let files = crate::bench::files_below(&history).into_iter();
    let kept: String = files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    assert!(kept.contains("its snapshot stays"), "{kept}");
    let end = kept.lines().last().unwrap();
    assert!(end.contains("\"outcome\":\"skipped\""), "{end}");
    assert!(end.contains("\"problems\":1"), "{end}");
}

#[test]
fn what_is_left_on_a_file_system_that_is_not_mounted_is_removed_later() {
    let Some(btrfs) = Btrfs::new() else {
        return;
    };
    btrfs.leave_a_snapshot();
    call(Command::new("umount").arg(btrfs.path("")));
    btrfs.ravelin(&["backup"]).assert().code(1);
    call(&mut btrfs.mount());
    // What was written down is all that leads to it now.
    btrfs.read_live();
    btrfs.ravelin(&["backup"]).assert().success();
    assert_eq!(btrfs.subvolumes(), 2);
    assert!(!btrfs.path("data/.ravelin-snapshot").exists());
}

#[test]
fn the_sentinel_in_a_snapshot_is_that_of_the_run() {
    let Some(btrfs) = Btrfs::new() else {
        return;
    };
    let data = btrfs.path("data");
    btrfs.bench.file(
        CONFIG,
        &format!(
            "[[source]]\npaths = [\"{}\"]\nexclude = [\"nested\"]\n\
             file-system-snapshot = \"btrfs\"\n\n[verify]\nsentinel = true\n\n\
             [layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\nencryption = \"none\"\n",
            data.display()
        ),
    );
    let ravelin = |words: &[&str]| {
        let command = btrfs.ravelin(words);
        command.env("XDG_STATE_HOME", &data).assert()
    };
    ravelin(&["init"]).success();
    let sentinel = data.join("ravelin/sentinel");
    for _ in 0..2 {
        ravelin(&["backup"]).success();
        let path = sentinel.display().to_string();
        let stored = ravelin(&["cat", "latest", &path, "--layer", "disk"]).success();
        let stored = &stored.get_output().stdout;
        assert_eq!(*stored, fs::read(&sentinel).unwrap());
    }
}

#[test]
fn where_no_snapshot_can_be_made_nothing_is_backed_up_and_that_is_said() {
    let Some(btrfs) = Btrfs::new() else {
        return;
    };
    let refused = |path: &Path, why: &str| {
        btrfs.bench.file(
            CONFIG,
            &format!(
                "[[source]]\npaths = [\"{}\"]\nfile-system-snapshot = \"btrfs\"\n\n\
                 [layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\nencryption = \"none\"\n",
                path.display()
            ),
        );
        let ended = btrfs.ravelin(&["backup"]).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("[file-system-snapshot]"), "{said}");
        assert!(said.contains(why) && said.contains("next: "), "{said}");
        assert_eq!(btrfs.subvolumes(), 2);
    };
    btrfs.bench.file(CONFIG, "");
    btrfs.configure(&["data"], "", "exit 0");
    btrfs.ravelin(&["init"]).assert().success();
    btrfs.bench.file("plain/letter", "dear\n");
    refused(&btrfs.bench.home().join("plain"), "is not on btrfs");
    std::os::unix::fs::symlink(btrfs.path("data"), btrfs.bench.home().join("link")).unwrap();
    refused(&btrfs.bench.home().join("link"), "goes through a link");
    fs::create_dir(btrfs.path("data/folder")).unwrap();
    fs::create_dir(btrfs.bench.home().join("bound")).unwrap();
    let bound = btrfs.bench.home().join("bound");
    let mut mount = Command::new("mount");
    call(
        mount
            .arg("--bind")
            .arg(btrfs.path("data/folder"))
            .arg(&bound),
    );
    refused(&bound, "from the middle of a subvolume");
    call(Command::new("umount").arg(&bound));
    fs::set_permissions(btrfs.path("data"), fs::Permissions::from_mode(0o777)).unwrap();
    refused(&btrfs.path("data"), "does not belong to this user alone");
}
