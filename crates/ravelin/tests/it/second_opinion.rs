//! The stock programs check the layers: what they say is kept and shown.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use snapbox::cmd::cargo_bin;
use snapbox::str;

use crate::bench::{Bench, files_below, flip_a_bit};

fn bench(layer: &str) -> Bench {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        &format!("[[source]]\npaths = [\"~/Documents\"]\n\n[layer.one]\n{layer}\n"),
    );
    bench.private_file("passphrase", "correct horse\n");
    bench.file("Documents/picture", &"\u{7}x".repeat(90_000));
    bench.file("Documents/letter", "dear Ada\n");
    bench.succeeds(["init"], "configured");
    bench.succeeds(["backup"], "created");
    bench
}

const BORG: &str = "kind = \"borg\"\nstore = \"~/repository\"\n\
                    passphrase = { file = \"~/passphrase\" }";
const DUPLICITY: &str = "kind = \"duplicity\"\nstore = \"~/offsite\"\n\
                         passphrase = { file = \"~/passphrase\" }";

/// The program with stock programs on its path.
fn with_path(bench: &Bench, arguments: &[&str], program: &Path) -> snapbox::cmd::Command {
    let folder = program.parent().unwrap().display();
    bench
        .ravelin(arguments.iter().copied())
        .env("PATH", format!("{folder}:/usr/bin:/bin"))
}

#[test]
fn stock_borg_is_asked_and_what_it_says_is_shown() {
    let Some(borg) = testkit::stock_borg() else {
        return;
    };
    let bench = bench(BORG);
    let run = |arguments: &[&str]| with_path(&bench, arguments, &borg.program()).assert();
    run(&["verify", "--second-opinion", "--verbose"])
        .success()
        .stderr_eq(str![[r#"
one: stock borg has checked it in [..]: all well

"#]]);
    run(&["status"]).success().stdout_eq(str![[r#"
...
  2nd opinion just now, stock borg: all well
...
"#]]);
    // Nothing of its work is left, and nothing that our own caches need is gone.
    assert!(
        !bench
            .home()
            .join(".cache/ravelin/second-opinion/one")
            .exists()
    );
    assert!(!bench.home().join("repository/lock.exclusive").exists());
    bench.succeeds(["backup"], "asked");

    flip_a_bit(&bench.home().join("repository/data"));
    let said = run(&["verify", "--second-opinion"]).code(1);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(
        said.starts_with("error: stock borg finds layer `one` damaged\n"),
        "{said}"
    );
    assert!(said.contains("segment"), "{said}");
    run(&["status"]).code(1).stdout_eq(str![[r#"
...
one  damaged  (borg, [HOME]/repository)
...
  2nd opinion just now, stock borg: damage: [..]
...
"#]]);
}

#[test]
fn stock_duplicity_reads_every_volume() {
    let Some(duplicity) = testkit::stock_duplicity() else {
        return;
    };
    let bench = bench(DUPLICITY);
    let run = |arguments: &[&str]| with_path(&bench, arguments, &duplicity.program()).assert();
    run(&["verify", "--second-opinion", "--verbose"])
        .success()
        .stderr_eq(str![[r#"
one: stock duplicity has checked it in [..]: all well

"#]]);
    for file in files_below(&bench.home().join("offsite")) {
        if file.to_string_lossy().contains(".vol1.") {
            let mut bytes = fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&file, bytes).unwrap();
        }
    }
    let said = run(&["verify", "--second-opinion"]).code(1);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(
        said.starts_with("error: stock duplicity finds layer `one` damaged\n"),
        "{said}"
    );
}

#[test]
fn a_wrong_passphrase_is_no_damage() {
    let (Some(borg), Some(duplicity)) = (testkit::stock_borg(), testkit::stock_duplicity()) else {
        return;
    };
    for (layer, program) in [(BORG, borg.program()), (DUPLICITY, duplicity.program())] {
        let bench = bench(layer);
        bench.private_file("passphrase", "battery staple\n");
        let said = with_path(&bench, &["verify", "--second-opinion"], &program);
        let said = said.assert().failure();
        let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert!(said.contains("could not check layer `one`"), "{said}");
        bench.succeeds(["status"], "asked");
        let status = bench.ravelin(["status"]).output().unwrap();
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(!status.contains("damaged"), "{status}");
    }
}

#[test]
fn where_it_is_not_installed_that_is_said_and_this_program_is_no_second_one() {
    for (layer, name) in [(BORG, "borg"), (DUPLICITY, "duplicity")] {
        let bench = bench(layer);
        fs::create_dir(bench.home().join("bin")).unwrap();
        let ours = cargo_bin!("ravelin");
        let program = bench.home().join("bin").join(name);
        for guise in ["none", "link", "copy", "script"] {
            let _ = fs::remove_file(&program);
            match guise {
                "link" => symlink(ours, &program).unwrap(),
                "copy" => drop(fs::copy(ours, &program).unwrap()),
                "script" => {
                    let script = format!("#!/bin/sh\nexec {} {name} \"$@\"\n", ours.display());
                    fs::write(&program, script).unwrap();
                    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
                }
                _ => {}
            }
            bench
                .ravelin(["verify", "--second-opinion"])
                .env("PATH", bench.home().join("bin"))
                .assert()
                .code(1)
                .stderr_eq(format!("one: stock {name} is not installed\n"));
        }
    }
}
