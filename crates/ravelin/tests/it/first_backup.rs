//! One command protects a folder; from then on there are snapshots to look into.

use std::fs;

use snapbox::str;
use testkit::{Ignore, assert_same};

use crate::bench::Bench;

/// What differs from run to run, as snapbox's patterns.
fn quickstart(bench: &Bench) {
    bench.file("Documents/letters/ada.txt", "Dear Ada,\n");
    bench.file("Documents/numbers", "1 1 2 3 5 8 13\n");
    bench
        .ravelin(["quickstart", "Documents", "--verbose"])
        .assert()
        .success();
}

#[test]
fn quickstart_ends_with_a_backup_that_is_verified_and_proved_and_says_what_is_next() {
    let bench = Bench::new();
    bench.file("Documents/letters/ada.txt", "Dear Ada,\n");
    bench.file("Documents/numbers", "1 1 2 3 5 8 13\n");
    bench
        .ravelin(["quickstart", "Documents", "--verbose"])
        .assert()
        .success()
        .stdout_eq(str![])
        .stderr_eq(str![[r#"
Configuration: ~/.config/ravelin/ravelin.toml
Repository:    ~/.local/share/ravelin/disk
Passphrase:    ~/.config/ravelin/disk.passphrase  (keep a copy elsewhere: without it nothing can be restored)
disk: created
disk: backed up as [..]-20[..]
  3 files, [..] B, [..] new, in [..]
disk: all data verified, [..] B read back, 1 snapshot, [..] objects
proof: restored [HOME_IN_SNAPSHOTS]/Documents/numbers (15 B) into a scratch folder, every byte is the same

Next:
  ravelin status                           is everything protected?
  ravelin snapshots                        which snapshots are there?
  ravelin find NAME                        look for a file in all of them
  ravelin restore latest PATH --to FOLDER  bring something back
  ravelin backup                           back up again
  ravelin schedule install                 back up by itself from now on
  ravelin runbook                          the page for the worst day, to be printed

"#]]);
    // A second time there is nobody to talk to, as in cron, and it adds a snapshot.
    bench
        .ravelin(["quickstart"])
        .assert()
        .success()
        .stdout_eq(str![])
        .stderr_eq(str![]);
    bench
        .ravelin(["snapshots"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
TIME                 FILES   SIZE  SNAPSHOT
20[..]      3  [..] B  [..]
20[..]      3  [..] B  [..]

"#]]);
    bench
        .ravelin(["status"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
Protected by 1 layer.

disk  good  (borg, [HOME]/.local/share/ravelin/disk)
  last backup just now, [..]
  size        3 files, [..] B
  next        20[..]
  verified    just now, all data, all well
  drill       never: ravelin drill
  restored    just now
  lately      size ▄▄  [..] B
              new  █▁  0 B to [..]
              took [..]

Nothing runs this on its own: ravelin schedule install

"#]]);
}

#[test]
fn quickstart_refuses_to_change_a_configuration_behind_a_persons_back() {
    let bench = Bench::new();
    quickstart(&bench);
    bench.file("Music/song", "la");
    bench
        .ravelin(["quickstart", "Music"])
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: this could not be done [config-exists]
  because: there is a configuration already: [HOME]/.config/ravelin/ravelin.toml
  next: edit [HOME]/.config/ravelin/ravelin.toml, line 1

"#]]);
}

#[test]
fn snapshots_are_looked_into() {
    let bench = Bench::new();
    quickstart(&bench);
    bench.file("Documents/numbers", "1 1 2 3 5 8 13 21\n");
    fs::remove_file(bench.home().join("Documents/letters/ada.txt")).unwrap();
    bench.file("Documents/new", "");
    bench.ravelin(["backup"]).assert().success();
    bench
        .ravelin(["ls", "latest"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
MODE        OWNER   SIZE  MODIFIED          PATH
-rw-------  [..] B  20[..]  [HOME_IN_SNAPSHOTS]/.config/ravelin/ravelin.toml
drwxr-xr-x  [..]  20[..]  [HOME_IN_SNAPSHOTS]/Documents/

"#]]);
    bench
        .ravelin(["ls", "latest", "Documents"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
MODE        OWNER  SIZE  MODIFIED          PATH
drwxr-xr-x  [..]  20[..]  [HOME_IN_SNAPSHOTS]/Documents/
drwxr-xr-x  [..]  20[..]  [HOME_IN_SNAPSHOTS]/Documents/letters/
-rw-r--r--  [..]   0 B  20[..]  [HOME_IN_SNAPSHOTS]/Documents/new
-rw-r--r--  [..]  18 B  20[..]  [HOME_IN_SNAPSHOTS]/Documents/numbers

"#]]);
    bench
        .ravelin(["cat", "latest~1", "Documents/letters/ada.txt"])
        .assert()
        .success()
        .stdout_eq("Dear Ada,\n");
    bench
        .ravelin(["find", "*.txt"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
[HOME_IN_SNAPSHOTS]/Documents/letters/ada.txt
  20[..]  10 B  [..]

"#]]);
    bench
        .ravelin(["diff", "latest~1", "latest", "--json"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
[{"path":"[HOME_IN_SNAPSHOTS]/Documents","change":"metadata","metadata":["modified"]},{"path":"[HOME_IN_SNAPSHOTS]/Documents/letters","change":"metadata","metadata":["modified"]},{"path":"[HOME_IN_SNAPSHOTS]/Documents/letters/ada.txt","change":"removed","size_before":10},{"path":"[HOME_IN_SNAPSHOTS]/Documents/new","change":"added","size_after":0},{"path":"[HOME_IN_SNAPSHOTS]/Documents/numbers","change":"content","size_before":15,"size_after":18,"metadata":["modified"]}]

"#]]);
    bench
        .ravelin(["cat", "latest", "Documents/letters/ada.txt"])
        .assert()
        .code(1)
        .stdout_eq(str![])
        .stderr_eq(str![[r#"
error: this could not be done [no-such-path]
  because: layer `disk`
  because: no file Documents/letters/ada.txt stands in snapshot `[..]`
  next: run `ravelin find ada.txt`

"#]]);
}

#[test]
fn a_deleted_file_comes_back_and_what_stands_there_is_never_lost() {
    let bench = Bench::new();
    quickstart(&bench);
    let letter = bench.home().join("Documents/letters/ada.txt");
    fs::remove_file(&letter).unwrap();
    bench.file("Documents/numbers", "other numbers\n");
    bench
        .ravelin(["restore", "latest", "Documents", "--in-place"])
        .assert()
        .success();
    assert_eq!(fs::read_to_string(&letter).unwrap(), "Dear Ada,\n");
    let beside = |name: &str| fs::read_to_string(bench.home().join("Documents").join(name));
    assert_eq!(beside("numbers").unwrap(), "other numbers\n");
    assert_eq!(beside("numbers (restored)").unwrap(), "1 1 2 3 5 8 13\n");
}

#[test]
fn a_path_that_begins_with_a_dot_is_meant_from_the_current_folder() {
    let bench = Bench::new();
    quickstart(&bench);
    let letters = bench.home().join("Documents/letters");
    bench.file("Documents/letters/ada.txt", "Dear Charles,\n");
    bench.file("Documents/numbers", "not saved yet\n");
    bench
        .ravelin(["restore", "latest", ".", "--in-place"])
        .args(["--conflict", "overwrite"])
        .current_dir(&letters)
        .assert()
        .success();
    let read = |path: &str| fs::read_to_string(bench.home().join(path)).unwrap();
    assert_eq!(read("Documents/letters/ada.txt"), "Dear Ada,\n");
    assert_eq!(read("Documents/numbers"), "not saved yet\n");
    bench
        .ravelin(["cat", "latest", "../numbers"])
        .current_dir(&letters)
        .assert()
        .success()
        .stdout_eq("1 1 2 3 5 8 13\n");
}

#[test]
fn a_layer_that_is_away_is_not_made_anew() {
    let bench = Bench::new();
    quickstart(&bench);
    let store = bench.home().join(".local/share/ravelin/disk");
    fs::rename(&store, bench.home().join("unplugged")).unwrap();
    bench.ravelin(["quickstart"]).assert().code(1);
    assert!(!store.exists());
    fs::rename(bench.home().join("unplugged"), &store).unwrap();
    bench.ravelin(["quickstart"]).assert().success();
}

#[test]
fn a_dry_run_changes_nothing() {
    let bench = Bench::new();
    quickstart(&bench);
    let target = bench.home().join("target");
    bench.ravelin(["backup", "--dry-run"]).assert().success();
    bench
        .ravelin([
            "restore",
            "latest",
            "Documents",
            "--to",
            "target",
            "--dry-run",
        ])
        .assert()
        .success()
        .stdout_eq(str![[r#"
...
create        [..]Documents/numbers
...
"#]]);
    assert!(!target.exists());
    let snapshots = bench.ravelin(["snapshots", "--json"]).output().unwrap();
    let snapshots: serde_json::Value = serde_json::from_slice(&snapshots.stdout).unwrap();
    assert_eq!(snapshots["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn what_cannot_be_read_is_named_the_rest_is_kept_and_the_exit_code_tells() {
    let bench = Bench::new();
    quickstart(&bench);
    // A file that not even root may read.
    let config = bench.home().join(".config/ravelin/ravelin.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replacen("paths = [", "paths = [\"/sys/bus/platform/uevent\", ", 1);
    fs::write(&config, text).unwrap();
    bench
        .ravelin(["backup"])
        .assert()
        .code(3)
        .stderr_eq(str![[r#"
...
  sys/bus/platform/uevent: [..]
...
"#]]);
    bench
        .ravelin(["restore", "latest", "Documents", "--to", "target"])
        .assert()
        .success();
    assert_same(
        &bench.home().join("Documents"),
        &bench.home().join("target/Documents"),
        &Ignore::default(),
    );
}

#[test]
fn a_wrong_passphrase_and_a_held_lock_have_exit_codes_of_their_own() {
    let bench = Bench::new();
    quickstart(&bench);
    let passphrase = bench.home().join(".config/ravelin/disk.passphrase");
    let right = fs::read(&passphrase).unwrap();
    fs::write(&passphrase, "wrong").unwrap();
    bench.ravelin(["snapshots"]).assert().code(12);
    bench.ravelin(["backup"]).assert().code(12);
    fs::write(&passphrase, right).unwrap();

    let lock = bench
        .home()
        .join(".local/share/ravelin/disk/lock.exclusive");
    fs::create_dir(&lock).unwrap();
    fs::write(lock.join("elsewhere@1.77-0"), "").unwrap();
    bench.ravelin(["backup"]).assert().code(11);
    fs::remove_dir_all(&lock).unwrap();
    bench.ravelin(["backup"]).assert().success();
}

#[test]
fn a_store_that_cannot_be_written_is_still_read() {
    let Some(()) = testkit::require_root() else {
        return;
    };
    let bench = Bench::new();
    quickstart(&bench);
    let store = bench.home().join(".local/share/ravelin/disk");
    let mount = |arguments: &[&str]| {
        let mut command = std::process::Command::new(arguments[0]);
        let status = command.args(&arguments[1..]).status();
        status.is_ok_and(|status| status.success())
    };
    let place = store.to_str().unwrap();
    if !mount(&["mount", "--bind", "-o", "ro", place, place]) {
        testkit::say_skipped(format_args!("nothing can be mounted here"));
        return;
    }
    let listed = bench.ravelin(["snapshots"]).output().unwrap();
    let restored = bench
        .ravelin(["restore", "latest", "Documents", "--to", "restored"])
        .output()
        .unwrap();
    let backed_up = bench.ravelin(["backup"]).output().unwrap();
    assert!(mount(&["umount", place]));
    assert!(listed.status.success(), "{listed:?}");
    assert!(restored.status.success(), "{restored:?}");
    assert_eq!(backed_up.status.code(), Some(1));
}

#[test]
fn an_empty_folder_can_become_a_store_and_a_plain_repository_is_not_taken_for_an_encrypted_one() {
    let bench = Bench::new();
    bench.file("Documents/numbers", "1 1 2 3 5 8 13\n");
    fs::create_dir(bench.home().join("repository")).unwrap();
    let configure = |encryption: &str| {
        bench.private_file("passphrase", "of the test");
        bench.file(
            ".config/ravelin/ravelin.toml",
            &format!(
                "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
                 store = \"~/repository\"\nencryption = \"{encryption}\"\n{}",
                match encryption {
                    "none" => "",
                    _ => "passphrase = { file = \"~/passphrase\" }\n",
                }
            ),
        );
    };
    configure("none");
    bench.ravelin(["init"]).assert().success();
    bench.ravelin(["backup"]).assert().success();
    configure("repokey-blake2");
    bench
        .ravelin(["backup"])
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: layer `disk` was not backed up [repository-unknown]
  because: the repository is not encrypted, although the configuration says `repokey-blake2`
  next: [..]

"#]]);
}

#[test]
fn a_backup_without_anything_to_back_up_shows_in_the_status() {
    let bench = Bench::new();
    quickstart(&bench);
    fs::rename(
        bench.home().join("Documents"),
        bench.home().join("elsewhere"),
    )
    .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(10));
    bench.ravelin(["backup"]).assert().code(1);
    let status = bench.ravelin(["status", "--json"]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["layers"][0]["state"], "failed");
}
