//! What a newcomer gets wrong, and what the program says to that: each time what to do now.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::bench::Bench;

const CONFIG: &str = "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
                      store = \"~/repository\"\nencryption = \"repokey\"\n\
                      passphrase = { command = \"echo secret\" }\n";

/// A home with a layer and a snapshot in it.
fn backed_up() -> Bench {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    bench.file("Documents/letters/ada", "Dear Ada");
    bench.ravelin(["init"]).assert().success();
    bench.ravelin(["backup"]).assert().success();
    bench
}

/// How the program ends, and what it says.
fn said(bench: &Bench, line: &str) -> (i32, String) {
    let done = bench.ravelin(line.split(' ')).assert();
    let output = done.get_output();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), text)
}

#[track_caller]
fn advises(bench: &Bench, line: &str, exit: i32, parts: &[&str]) {
    let (code, text) = said(bench, line);
    assert_eq!(code, exit, "{line}: {text}");
    assert!(text.contains("next: "), "{line}: {text}");
    for part in parts {
        assert!(text.contains(part), "{line}: {part} is not in {text}");
    }
}

#[test]
fn quickstart_says_what_it_needs_the_first_time() {
    let bench = Bench::new();
    advises(
        &bench,
        "quickstart",
        2,
        &["what to protect", "run `ravelin quickstart ~/Documents`"],
    );
    advises(
        &bench,
        "quickstart Documets",
        1,
        &["there is no ", "/Documets", "how the paths are written"],
    );
    assert!(!bench.home().join(".config").exists());
}

#[test]
fn help_is_a_word_too() {
    let bench = Bench::new();
    let printed = |line: &str| {
        let done = bench.ravelin(line.split(' ')).assert().success();
        String::from_utf8(done.get_output().stdout.clone()).unwrap()
    };
    assert_eq!(printed("help"), printed("--help"));
    assert_eq!(printed("help backup"), printed("backup --help"));
    assert_eq!(printed("help drop ls"), printed("drop ls --help"));
    assert_eq!(said(&bench, "help bakcup").0, 2);
}

#[test]
fn a_file_that_is_named_is_told_from_our_own() {
    let bench = backed_up();
    bench.file("broken.tar", "this is no tar file");
    bench.file("broken.tar.gz", "this is not compressed");
    bench.file("empty.tar", "");
    bench.file("key", "what is there");
    advises(
        &bench,
        "tar import missing.tar --name n0",
        1,
        &[
            "[file-unusable]",
            "cannot open missing.tar",
            "present folder",
        ],
    );
    for file in ["broken.tar", "broken.tar.gz"] {
        let line = format!("tar import {file} --name of-{file}");
        let parts = [
            "cannot read or write the tar file",
            "`tar -tf FILE`",
            "Nothing was added",
        ];
        advises(&bench, &line, 1, &parts);
    }
    advises(
        &bench,
        "tar import empty.tar --name n1",
        1,
        &["it is empty"],
    );
    for line in ["tar export latest key", "key export key"] {
        let parts = ["[file-unusable]", "what is there is never replaced"];
        advises(&bench, line, 1, &parts);
    }
    assert_eq!(
        fs::read_to_string(bench.home().join("key")).unwrap(),
        "what is there"
    );
    let listed = bench.ravelin(["snapshots"]).assert().success();
    let listed = String::from_utf8_lossy(&listed.get_output().stdout).into_owned();
    assert_eq!(listed.lines().count(), 2, "{listed}");
}

#[test]
fn what_is_no_file_is_named_as_what_it_is() {
    let bench = backed_up();
    advises(
        &bench,
        "cat latest Documents/letters",
        1,
        &[
            "[not-a-file]",
            "is a folder in snapshot",
            "run `ravelin ls ",
        ],
    );
    advises(
        &bench,
        "cat latest Documents/letters/bob",
        1,
        &["[no-such-path]", "run `ravelin find bob`"],
    );
}

#[test]
fn a_time_before_all_snapshots_is_told_in_the_words_of_a_calendar() {
    let bench = backed_up();
    advises(
        &bench,
        "restore Documents --at 2020-02-03 --to back",
        1,
        &[
            "no snapshot is from 2020-02-03 23:59 or before",
            "run `ravelin snapshots --layer disk`",
        ],
    );
}

#[test]
fn what_is_not_mounted_or_cannot_be_says_how() {
    let bench = backed_up();
    if testkit::require("fusermount3").is_none() {
        return;
    }
    advises(
        &bench,
        "umount Documents",
        1,
        &["`findmnt -t fuse.ravelin`"],
    );
    advises(&bench, "mount missing", 1, &["`mkdir` makes it"]);
}

#[test]
fn a_change_of_mode_shows_beside_a_change_of_content() {
    let bench = backed_up();
    let first = bench.ravelin(["snapshots", "--json"]).assert().success();
    let first: serde_json::Value = serde_json::from_slice(&first.get_output().stdout).unwrap();
    let first = first["snapshots"][0]["name"].as_str().unwrap().to_owned();
    let letter = bench.file("Documents/letters/ada", "Dear Ada, dear Bob");
    fs::set_permissions(letter, fs::Permissions::from_mode(0o600)).unwrap();
    // Snapshots are named by the second.
    let again = || {
        bench
            .ravelin(["backup"])
            .assert()
            .get_output()
            .status
            .success()
    };
    assert!(
        again()
            || (1..50).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(100));
                again()
            })
    );
    let shown = bench.ravelin(["diff", &first, "latest"]).assert().success();
    let shown = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
    assert!(shown.contains("letters/ada (mode)\n"), "{shown}");
    let json = bench
        .ravelin(["diff", &first, "latest", "--json"])
        .assert()
        .success();
    let json: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    let changes = json.as_array().unwrap();
    let letter = changes.iter().find(|it| it["change"] == "content").unwrap();
    let metadata: Vec<_> = letter["metadata"].as_array().unwrap().iter().collect();
    assert_eq!(metadata, ["mode", "modified"]);
}

#[test]
fn verbs_of_other_programs_lead_to_ours() {
    let bench = Bench::new();
    for (word, ours) in [
        ("list", "`ravelin snapshots`"),
        ("create", "`ravelin backup`"),
        ("extract", "`ravelin restore"),
        ("check", "`ravelin verify`"),
        ("forget", "`ravelin prune`"),
        ("collection-status", "`ravelin snapshots`"),
    ] {
        let (code, text) = said(&bench, &format!("{word} --last 3"));
        assert_eq!(code, 2, "{word}: {text}");
        assert!(
            text.contains(&format!("tip: here that is {ours}")),
            "{word}: {text}"
        );
        assert_eq!(text.matches("tip:").count(), 1, "{word}: {text}");
    }
    let (_, text) = said(&bench, "snapshot");
    assert!(text.contains("'snapshots'"), "{text}");
}

#[test]
fn settings_to_take_over_may_be_named_without_their_option() {
    let bench = Bench::new();
    let script = "#!/bin/sh\nexport PASSPHRASE=x\nduplicity \"$HOME\" file:///mnt/x\n";
    let script = bench.file("backup.sh", script);
    let script = script.to_str().unwrap();
    let line = format!("init --import duplicity-script {script} --dry-run");
    let (code, text) = said(&bench, &line);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("/mnt/x"), "{text}");
    let parts = ["what to protect", "`ravelin init --source Documents`"];
    advises(&bench, "init Documents", 2, &parts);
    assert!(!bench.home().join(".config").exists());
}
