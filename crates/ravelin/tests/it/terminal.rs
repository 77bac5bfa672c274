//! What a person at a terminal sees, and nobody else.

use std::process::{Command, Stdio};

use snapbox::cmd::cargo_bin;

use crate::bench::Bench;

const CONFIG: &str = "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
                      store = \"~/repository\"\nencryption = \"none\"\nschedule = \"daily\"\n";

/// A home with some backups in its past.
fn lived_in() -> Bench {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    bench.ravelin(["init"]).assert().success();
    for number in 1..4 {
        bench.file(&format!("Documents/{number}"), &"x".repeat(number * 1000));
        bench.ravelin(["backup"]).assert().success();
    }
    bench
}

/// What a terminal of 80 columns gets to show.
fn at_a_terminal(bench: &Bench, line: &str, no_color: Option<&str>) -> Option<String> {
    let script = testkit::require("script")?;
    let program = format!("stty cols 80; {} {line}", cargo_bin!("ravelin").display());
    let mut command = Command::new(script);
    command
        .args(["-qefc", &program, "/dev/null"])
        .env_clear()
        .env("HOME", bench.home())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TERM", "xterm")
        .envs(no_color.map(|value| ("NO_COLOR", value)))
        .stdin(Stdio::null());
    Some(testkit::run(&mut command))
}

#[test]
fn colours_are_for_a_terminal_and_not_for_who_forbids_them() {
    let bench = lived_in();
    let Some(shown) = at_a_terminal(&bench, "status", None) else {
        return;
    };
    assert!(
        shown.contains("disk  \u{1b}[32mgood\u{1b}[0m  (borg"),
        "{shown}"
    );
    let plain = at_a_terminal(&bench, "status", Some("1")).unwrap();
    assert!(
        plain.contains("disk  good  (borg") && !plain.contains('\u{1b}'),
        "{plain}"
    );
    let piped = bench
        .ravelin(["status"])
        .env("TERM", "xterm")
        .assert()
        .success();
    let piped = String::from_utf8_lossy(&piped.get_output().stdout).into_owned();
    assert!(piped.contains("disk  good  (borg"), "{piped}");
}

#[test]
fn the_past_is_a_table_and_curves_that_fit_eighty_columns() {
    let bench = lived_in();
    bench.ravelin(["verify"]).assert().success();
    let past = bench.ravelin(["history"]).assert().success();
    let past = String::from_utf8_lossy(&past.get_output().stdout).into_owned();
    assert!(
        past.lines().all(|line| line.chars().count() <= 80),
        "{past}"
    );
    assert!(
        past.starts_with("TIME              WHAT    LAYER"),
        "{past}"
    );
    assert!(
        past.contains("disk: the last 3 backups\n  size ▁▃█  1.1 kB to 6.1 kB\n"),
        "{past}"
    );
    let status = bench.ravelin(["status"]).assert().success();
    let status = String::from_utf8_lossy(&status.get_output().stdout).into_owned();
    assert!(
        status.contains("  lately      size ▁▃█  1.1 kB to 6.1 kB\n"),
        "{status}"
    );
    let json = bench
        .ravelin(["history", "--json", "--limit", "2"])
        .assert()
        .success();
    let json: serde_json::Value = serde_json::from_slice(&json.get_output().stdout).unwrap();
    let verbs: Vec<&str> = json
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["verb"].as_str())
        .collect();
    assert_eq!(verbs, ["backup", "verify"]);
    bench.ravelin(["history", "nothing"]).assert().code(2);
}

#[test]
fn snapshots_are_drawn_for_who_looks_and_plain_for_who_reads() {
    let bench = lived_in();
    let Some(shown) = at_a_terminal(&bench, "snapshots", Some("1")) else {
        return;
    };
    let shown = shown.replace('\r', "");
    assert!(
        shown.ends_with(
            "\nthe last 3 snapshots\n  size  ▁▃█  1.1 kB to 6.1 kB\n  files ▁▄█  2 to 4\n"
        ),
        "{shown}"
    );
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80) && !shown.contains('\u{1b}'),
        "{shown}"
    );
    let piped = bench.ravelin(["snapshots"]).assert().success();
    let piped = String::from_utf8_lossy(&piped.get_output().stdout).into_owned();
    assert_eq!(piped.lines().count(), 4, "{piped}");
    let json = at_a_terminal(&bench, "snapshots --json", None).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["snapshots"].as_array().unwrap().len(), 3);
}

#[test]
fn an_error_is_red_where_it_is_seen() {
    let bench = Bench::new();
    let Some(script) = testkit::require("script") else {
        return;
    };
    let program = format!("{} snapshots", cargo_bin!("ravelin").display());
    let mut command = Command::new(script);
    let shown = command
        .args(["-qefc", &program, "/dev/null"])
        .env_clear()
        .env("HOME", bench.home())
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(
        shown.contains("\u{1b}[31m\u{1b}[1merror:\u{1b}[0m"),
        "{shown:?}"
    );
}
