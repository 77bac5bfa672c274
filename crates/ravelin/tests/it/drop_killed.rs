//! A synchronisation that dies: no content is lost, and the next one needs no help.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use snapbox::cmd::cargo_bin;
use testkit::kill::{Fault, calls, strike};

use crate::bench::{Bench, files_below};

/// Moments of a synchronisation at which it is killed; spread over all its changes to files.
const MOMENTS: u64 = 15;

fn sync(bench: &Bench) -> Command {
    let mut command = Command::new(cargo_bin!("ravelin"));
    command
        .args(["drop", "sync", "Drop", "--store", "nas"])
        .env_clear()
        .env("HOME", bench.home())
        .env("TZ", "UTC")
        .current_dir(bench.home());
    command
}

/// What both sides do before each synchronisation: new files, edits, deletions, and an edit of the
/// same file.
fn change(bench: &Bench, round: u64, contents: &mut BTreeSet<String>) {
    let mut write = |path: String| {
        let content = format!("{path} in round {round}\n").repeat(200);
        bench.file(&path, &content);
        contents.insert(content);
    };
    write(format!("Drop/new/here-{round}"));
    write(format!("Other/new/there-{round}"));
    write("Drop/edited/here".to_owned());
    write("Other/edited/there".to_owned());
    write("Drop/edited/by-both".to_owned());
    write("Other/edited/by-both".to_owned());
    if round > 0 {
        let _ = fs::remove_file(bench.home().join(format!("Drop/new/here-{}", round - 1)));
    }
    bench
        .ravelin(["drop", "sync", "Other", "--store", "nas"])
        .assert()
        .success();
}

/// All files below a folder, with what is in them.
fn contents_below(folder: &Path) -> BTreeMap<PathBuf, String> {
    let named = |path: PathBuf| {
        let content = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(folder).unwrap().to_owned(), content)
    };
    files_below(folder).into_iter().map(named).collect()
}

#[test]
fn a_synchronisation_that_is_killed_loses_nothing_and_the_next_one_needs_no_help() {
    let Some(()) = testkit::kill::require_tracer() else {
        return;
    };
    let bench = Bench::new();
    for folder in ["Drop", "Other"] {
        fs::create_dir(bench.home().join(folder)).unwrap();
    }
    bench
        .ravelin(["drop", "init", "--store", "nas"])
        .assert()
        .success();
    let mut contents = BTreeSet::new();
    change(&bench, 0, &mut contents);
    let home = bench.home();
    let places = [home.as_path()];
    let count = calls(&mut sync(&bench), &places).len() as u64;
    assert!(count > MOMENTS, "{count}");
    for moment in 0..MOMENTS {
        change(&bench, moment + 1, &mut contents);
        let number = 1 + moment * count / MOMENTS;
        let fault = match moment % 3 {
            0 => Fault::Kill,
            1 => Fault::KillAfter,
            _ => Fault::Torn,
        };
        let outcome = strike(&mut sync(&bench), &places, number, fault);
        let what = format!("{fault:?} at {number} of {count}: {:?}", outcome.struck);
        for folder in ["Drop", "Other", "Drop"] {
            let after = bench
                .ravelin(["drop", "sync", folder, "--store", "nas"])
                .output();
            let after = after.unwrap();
            assert!(after.status.success(), "{what}: {after:?}");
        }
        let here = contents_below(&home.join("Drop"));
        assert_eq!(here, contents_below(&home.join("Other")), "{what}");
        bench
            .ravelin(["drop", "verify", "--store", "nas"])
            .assert()
            .success();
    }
    // Every content that somebody ever saved is kept, under whatever name.
    let kept = contents_below(&home.join("nas/.ravelin-drop/kept"));
    let kept: BTreeSet<String> = kept.into_values().collect();
    let lost: Vec<_> = contents.difference(&kept).collect();
    assert_eq!(lost, Vec::<&String>::new());
}
