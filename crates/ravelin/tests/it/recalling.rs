//! A search over all layers, and files as they were at a time, from whichever layer can.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};
use snapbox::str;

use crate::bench::{Bench, files_below};

const CONFIG: &str = "[[source]]\npaths = [\"~/Documents\"]\n\n\
    [layer.offsite]\nkind = \"duplicity\"\nstore = \"~/offsite\"\n\
    passphrase = { env = \"PASS\" }\n\n\
    [layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\npassphrase = { env = \"PASS\" }\n";

/// Two layers with two backups; the letter changes between them.
fn bench() -> Bench {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    bench.file("Documents/letter", "one\n");
    bench.file("Documents/album/picture", &"\u{7}x".repeat(40_000));
    run(&bench, &["init"]);
    run(&bench, &["backup"]);
    // Snapshots have whole seconds.
    sleep(Duration::from_millis(1100));
    bench.file("Documents/letter", "twenty\n");
    bench.file("Documents/new", "new\n");
    run(&bench, &["backup"]);
    bench
}

fn command(bench: &Bench, arguments: &[&str]) -> snapbox::cmd::Command {
    bench
        .ravelin(arguments.iter().copied())
        .env("PASS", "correct horse")
}

fn run(bench: &Bench, arguments: &[&str]) -> String {
    let output = command(bench, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(bench: &Bench, arguments: &[&str]) -> Value {
    let text = run(bench, &[&["--json"], arguments].concat());
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_search_goes_over_all_layers_and_needs_none_of_them() {
    let bench = bench();
    // Neither store is there.
    for store in ["repository", "offsite"] {
        fs::rename(
            bench.home().join(store),
            bench.home().join(format!("{store}-away")),
        )
        .unwrap();
    }
    command(&bench, &["find", "letter"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
[HOME_IN_SNAPSHOTS]/Documents/letter
  20[..]      4 B  offsite: [..]Z, disk: [..]
  20[..]      7 B  offsite: [..]Z, disk: [..]

"#]])
        .stderr_eq(str![]);
    command(&bench, &["find", "--limit", "1", "Documents/"])
        .assert()
        .success()
        .stderr_eq("there are more than 1 path: be more exact, or see all with `--limit 0`\n");
    command(&bench, &["find", "nowhere"])
        .assert()
        .code(1)
        .stderr_eq("no snapshot of any layer holds `nowhere`\n");
    for store in ["repository", "offsite"] {
        fs::rename(
            bench.home().join(format!("{store}-away")),
            bench.home().join(store),
        )
        .unwrap();
    }

    // Without the catalogue it is made anew of the layers, and says the same.
    let found = json(&bench, &["find", "letter"]);
    fs::remove_dir_all(bench.home().join(".cache")).unwrap();
    assert_eq!(json(&bench, &["find", "letter"]), found);
    fs::write(
        bench.home().join(".cache/ravelin/catalogue.sqlite"),
        "rotten",
    )
    .unwrap();
    assert_eq!(json(&bench, &["find", "letter"]), found);
    let rebuilt = json(&bench, &["catalogue", "--rebuild"]);
    assert_eq!(rebuilt["snapshots"], 4);
    assert_eq!(json(&bench, &["find", "letter"]), found);
    assert_eq!(found[0]["versions"][1]["size"], 7);

    // What was deleted is not found any more; what has another name is.
    run(&bench, &["delete", "latest", "--layer", "disk"]);
    run(&bench, &["rename", "latest", "other", "--layer", "disk"]);
    let found = json(&bench, &["find", "letter"]);
    let versions = found[0]["versions"].as_array().unwrap();
    let layers = |version: &Value| version["layers"].as_array().unwrap().len();
    assert_eq!(versions.iter().map(layers).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(versions[0]["layers"][1]["first"], "other");

    // What is made anew of them is known, too.
    let made = json(&bench, &["synthesize", "offsite"]);
    let found = json(&bench, &["find", "letter"]);
    let newest = &found[0]["versions"][1]["layers"][0];
    assert_eq!(
        (&newest["layer"], &newest["last"]),
        (&json!("offsite"), &made["snapshot"])
    );
}

#[test]
fn files_come_back_as_they_were_at_a_time() {
    let bench = bench();
    let snapshots = json(&bench, &["snapshots", "--layer", "disk"]);
    let first = snapshots["snapshots"][0]["time"].as_str().unwrap();
    let restore = |at: &str, to: &str| {
        run(&bench, &["restore", "Documents", "--at", at, "--to", to]);
        fs::read_to_string(bench.home().join(to).join("Documents/letter")).unwrap()
    };
    assert_eq!(restore("now", "now"), "twenty\n");
    assert_eq!(restore(first, "then"), "one\n");
    assert!(!bench.home().join("then/Documents/new").exists());
    command(
        &bench,
        &["restore", "Documents", "--at", "yesterday", "--to", "x"],
    )
    .assert()
    .code(1)
    .stderr_eq(str![[r#"
error: layer `[..]` could not be used [no-such-snapshot]
...
error: layer `[..]` could not be used [no-such-snapshot]
...
"#]]);
    command(
        &bench,
        &["restore", "Documents", "--at", "soon", "--to", "x"],
    )
    .assert()
    .code(2);
}

#[test]
fn a_layer_that_is_away_or_damaged_is_passed_over_and_named() {
    let bench = bench();
    let offsite = bench.home().join("offsite");
    let letter = |to: &str| fs::read_to_string(bench.home().join(to).join("Documents/letter"));
    let arguments = [
        "restore",
        "Documents",
        "--at",
        "now",
        "--layer",
        "disk",
        "--to",
        "a",
    ];
    let recalled = json(&bench, &arguments);
    assert_eq!(recalled["restores"][0]["layer"], "disk");

    // Of two that are alike, the first of the configuration is asked first.
    fs::rename(&offsite, bench.home().join("away")).unwrap();
    let recalled = json(
        &bench,
        &["restore", "Documents", "--at", "now", "--to", "b"],
    );
    assert_eq!(recalled["restores"][0]["layer"], "disk");
    assert_eq!(recalled["passed"][0]["layer"], "offsite");
    assert_eq!(letter("b").unwrap(), "twenty\n");
    fs::rename(bench.home().join("away"), &offsite).unwrap();

    // Every volume of one layer is damaged: what it has comes from the other.
    for file in files_below(&offsite) {
        if file.to_string_lossy().contains(".vol") {
            let mut bytes = fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).unwrap();
        }
    }
    let output = command(
        &bench,
        &["restore", "Documents", "--at", "now", "--to", "c"],
    );
    let output = output.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(letter("c").unwrap(), "twenty\n");
    let picture = bench.home().join("c/Documents/album/picture");
    assert_eq!(fs::read_to_string(picture).unwrap().len(), 80_000);
    // Nothing stands there twice.
    let names = files_below(&bench.home().join("c"));
    assert_eq!(names.len(), 3, "{names:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the rest from layer `disk`"), "{said}");
}

#[test]
fn a_restore_that_was_kept_is_undone_at_the_terminal() {
    let bench = bench();
    let letter = bench.file("Documents/letter", "mine\n");
    fs::remove_file(bench.home().join("Documents/new")).unwrap();
    let restore = [
        "restore",
        "--layer",
        "disk",
        "latest",
        "Documents",
        "--in-place",
        "--conflict",
        "only-if-different",
    ];
    // Nothing is kept unasked.
    command(&bench, &["undo"])
        .assert()
        .success()
        .stderr_eq(str![[r#"
no restore of the last week can be undone

"#]]);
    let report = json(&bench, &[restore.as_slice(), &["--undoable"]].concat());
    let id = report["undo"].as_str().unwrap();
    assert_eq!(fs::read_to_string(&letter).unwrap(), "twenty\n");
    assert!(bench.home().join("Documents/new").exists());
    let listed = json(&bench, &["undo"]);
    assert_eq!(listed[0]["undo"], id);
    assert_eq!(listed[0]["files"], 2);
    assert!(run(&bench, &["undo"]).starts_with(id));

    let undone = json(&bench, &["undo", id]);
    assert_eq!(undone["removed"], 1);
    assert_eq!(fs::read_to_string(&letter).unwrap(), "mine\n");
    assert!(!bench.home().join("Documents/new").exists());
    // And that can be taken back, too.
    let again = undone["undo"].as_str().unwrap();
    command(&bench, &["-v", "undo", again]).assert().success();
    assert_eq!(fs::read_to_string(&letter).unwrap(), "twenty\n");
    command(&bench, &["undo", "0123"])
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: there is no restore `0123` to be undone
  next: `ravelin undo` lists those of the last week

"#]]);
}
