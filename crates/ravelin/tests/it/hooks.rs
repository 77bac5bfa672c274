//! Programs around a backup, and sources that are what a program prints.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::str;

use crate::bench::Bench;

/// A configuration with one layer, and more lines.
fn config(bench: &Bench, more: &str) {
    bench.file(
        ".config/ravelin/ravelin.toml",
        &format!(
            "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
             store = \"~/repository\"\nencryption = \"none\"\n\n{more}\n"
        ),
    );
    bench.file("Documents/letter", "dear");
}

fn script(bench: &Bench, name: &str, text: &str) -> String {
    let path = bench.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{text}\n"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn snapshots(bench: &Bench) -> usize {
    let listed = bench.ravelin(["snapshots", "--json"]).assert().success();
    let stdout = String::from_utf8_lossy(&listed.get_output().stdout).into_owned();
    stdout.matches("\"name\"").count()
}

#[test]
fn hooks_are_called_around_a_backup_and_told_how_it_ended() {
    let bench = Bench::new();
    let say = script(
        &bench,
        "say",
        "echo \"$RAVELIN_HOOK $1 $RAVELIN_LAYERS $RAVELIN_OUTCOME\" >> \"$HOME/said\"",
    );
    let hooks: String = ["before", "after", "failure", "always"]
        .iter()
        .map(|on| format!("[[hook]]\non = \"{on}\"\ncommand = [\"{say}\", \"two words\"]\n"))
        .collect();
    config(&bench, &hooks);
    let said = || fs::read_to_string(bench.home().join("said")).unwrap();
    // There is no layer yet.
    bench.ravelin(["backup"]).assert().code(1);
    assert_eq!(
        said(),
        "before two words disk \nfailure two words disk failed\nalways two words disk failed\n"
    );
    fs::remove_file(bench.home().join("said")).unwrap();
    bench.ravelin(["init"]).assert().success();
    bench
        .ravelin(["backup"])
        .assert()
        .success()
        .stderr_eq(str![]);
    assert_eq!(
        said(),
        "before two words disk \nafter two words disk good\nalways two words disk good\n"
    );
}

#[test]
fn a_hook_can_put_a_backup_off_or_forbid_it() {
    let bench = Bench::new();
    let decide = script(
        &bench,
        "decide",
        "echo 'the database is being moved' >&2; exit $(cat \"$HOME/code\")",
    );
    let cleanup = script(
        &bench,
        "clean up",
        "echo \"$RAVELIN_OUTCOME\" >> \"$HOME/ends\"",
    );
    config(
        &bench,
        &format!(
            "[[hook]]\non = \"before\"\ncommand = \"{decide}\"\n\
             [[hook]]\non = \"always\"\ncommand = [\"{cleanup}\"]\n"
        ),
    );
    bench.ravelin(["init"]).assert().success();
    bench.file("code", "75");
    for verb in ["run", "backup"] {
        bench.ravelin([verb]).assert().code(75).stderr_eq(str![[r#"
disk: waiting, because `[HOME]/bin/decide` says to wait

"#]]);
    }
    bench.file("code", "4");
    bench.ravelin(["run"]).assert().code(1).stderr_eq(str![[r#"
error: this could not be done [hook-refused]
  because: the hook `[HOME]/bin/decide` before the backup says no: the database is being moved
  next: See what it said. Exit code 0 lets the backup go on, 75 puts it off without an alarm.

"#]]);
    // It counts as a failure of the layer, which the status shows.
    bench
        .ravelin(["status"])
        .assert()
        .code(1)
        .stdout_eq(str!["...\ndisk  failed [..]\n..."]);
    assert_eq!(snapshots(&bench), 0);
    bench.file("code", "0");
    bench.ravelin(["backup"]).assert().success();
    assert_eq!(snapshots(&bench), 1);
    let ends = fs::read_to_string(bench.home().join("ends")).unwrap();
    assert_eq!(ends, "put-off\nput-off\nfailed\ngood\n");
}

#[test]
fn a_hook_for_the_end_that_fails_or_hangs_is_reported_and_the_snapshot_stands() {
    let bench = Bench::new();
    let hang = script(&bench, "hang", "sleep 600");
    config(
        &bench,
        &format!("[[hook]]\non = \"after\"\ncommand = \"{hang}\"\npatience = \"1 s\"\n"),
    );
    bench.ravelin(["init"]).assert().success();
    bench
        .ravelin(["backup"])
        .assert()
        .code(3)
        .stderr_eq(str![[r#"
warning: the hook `[HOME]/bin/hang` failed: not done after 1 s

"#]]);
    assert_eq!(snapshots(&bench), 1);
}

#[test]
fn a_database_is_dumped_into_every_layer_and_comes_back_by_the_line_beside_it() {
    let (Some(sqlite), Some(_)) = (testkit::require("sqlite3"), testkit::require("gpg")) else {
        return;
    };
    let bench = Bench::new();
    let sqlite = sqlite.display().to_string();
    let database = bench.home().join("shop.db");
    let query = |database: &std::path::Path, text: &str| {
        testkit::run(std::process::Command::new(&sqlite).arg(database).arg(text))
    };
    query(
        &database,
        "create table fruit (name text); insert into fruit values ('apple'), ('pear');",
    );
    config(
        &bench,
        &format!(
            "[layer.offsite]\nkind = \"duplicity\"\nstore = \"~/archive\"\nencryption = \"none\"\n\n\
             [[source]]\nname = \"shop\"\ncommand = [\"{sqlite}\", \"-readonly\", \"{}\", \".dump\"]\n\
             output = \"shop.sql\"\n",
            database.display()
        ),
    );
    bench.ravelin(["init"]).assert().success();
    bench
        .ravelin(["backup"])
        .assert()
        .success()
        .stderr_eq(str![]);
    let commands = bench.home().join(".local/state/ravelin/commands");
    assert!(
        !commands.join("shop").exists(),
        "the dump stays on the disk"
    );
    for layer in ["disk", "offsite"] {
        let back = bench.home().join(layer);
        bench
            .ravelin([
                "restore",
                "latest",
                "--layer",
                layer,
                &commands.join("shop").display().to_string(),
                "--to",
                &back.display().to_string(),
            ])
            .assert()
            .success();
        let found = testkit::run(
            std::process::Command::new("find")
                .arg(&back)
                .args(["-name", "shop.sql"]),
        );
        let folder = std::path::Path::new(found.trim())
            .parent()
            .unwrap()
            .to_owned();
        let how = fs::read_to_string(folder.join("how-to-restore.txt")).unwrap();
        let line = how.lines().last().unwrap().trim();
        assert_eq!(line, "sqlite3 NEW-DATABASE < shop.sql");
        let _ = testkit::run(
            std::process::Command::new("sh")
                .args(["-c", line])
                .current_dir(&folder),
        );
        let rows = query(
            &folder.join("NEW-DATABASE"),
            "select name from fruit order by name;",
        );
        assert_eq!(rows, "apple\npear\n");
    }
    // A command that fails half-way: its file is missed by name, the rest is there.
    let half = script(
        &bench,
        "half",
        "echo 'create table'; echo 'lost the server' >&2; exit 1",
    );
    config(
        &bench,
        &format!("[[source]]\nname = \"shop\"\ncommand = \"{half}\"\noutput = \"shop.sql\"\n"),
    );
    bench
        .ravelin(["backup"])
        .assert()
        .code(3)
        .stderr_eq(str![[r#"
1 object could not be read and is left out or may be incomplete:
  [HOME_IN_SNAPSHOTS]/.local/state/ravelin/commands/shop/shop.sql: cannot run the command: lost the server

"#]]);
    bench
        .ravelin(["ls", "latest", "-r"])
        .assert()
        .success()
        .stdout_eq(str!["...\n[..]Documents/letter\n..."]);
    let listed = bench.ravelin(["find", "shop.sql", "--json"]).assert();
    let stdout = String::from_utf8_lossy(&listed.get_output().stdout).into_owned();
    assert!(!stdout.contains(".part"), "{stdout}");
}
