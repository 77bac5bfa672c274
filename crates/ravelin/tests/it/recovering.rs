//! A machine's settings are lost, and come back from any of its layers.

use std::fs;
use std::path::Path;

use serde_json::Value;
use snapbox::str;

use crate::bench::Bench;

const SOURCES: &str = "# What matters.\n[[source]]\npaths = [\"~/Documents\"]\n";

const DISK: &str = "\n[layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\n\
                    passphrase = { file = \"~/keys/disk\" }\n";

const OFFSITE: &str = "\n[layer.offsite]\nkind = \"duplicity\"\nstore = \"~/offsite\"\n\
                       passphrase = { file = \"~/keys/offsite\" }\n";

const DROP: &str = "\n[layer.drop]\nkind = \"drop\"\nstore = \"~/nas\"\nfolder = \"~/Drop\"\n";

const FILE: &str = ".config/ravelin/ravelin.toml";

/// A machine with these layers and one backup.
fn machine(config: &str) -> Bench {
    let bench = Bench::new();
    bench.file(FILE, config);
    bench.private_file("keys/disk", "correct horse\n");
    bench.private_file("keys/offsite", "battery staple\n");
    bench.file("Documents/letter", "dear Ada\n");
    bench.file("Drop/note", "milk\n");
    bench.succeeds(["init"], "configured");
    bench.succeeds(["backup"], "created");
    bench
}

/// Everything is lost but the stores and what a person knows.
fn lose(bench: &Bench) {
    for folder in [".config", ".local", ".cache", "keys", "Documents", "Drop"] {
        let _ = fs::remove_dir_all(bench.home().join(folder));
    }
    bench.private_file("paper", "correct horse\n");
    bench.private_file("paper-offsite", "battery staple\n");
}

/// Brings the configuration back, and makes the next backup.
fn recover(bench: &Bench, arguments: &[&str]) -> Value {
    let arguments = [&["--json", "init", "--from"], arguments].concat();
    let output = bench.ravelin(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    bench.file("Documents/letter", "dear Ada, again\n");
    bench.succeeds(["backup", "--quiet"], "recovered");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn read(bench: &Bench, file: &str) -> String {
    fs::read_to_string(bench.home().join(file)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn settings_come_back_from_a_borg_layer_and_its_series_goes_on() {
    let config = format!("{SOURCES}{DISK}");
    let bench = machine(&config);
    lose(&bench);
    let found = recover(&bench, &["repository", "--passphrase-file", "paper"]);
    assert_eq!(read(&bench, FILE), config);
    assert_eq!(read(&bench, "keys/disk"), "correct horse\n");
    assert_eq!(found["layers"][0]["passphrase_is_there"], false);
    assert_eq!(found["encrypted"], true);
    assert_eq!(bench.snapshots("recovered").len(), 2);
}

#[test]
fn settings_come_back_from_a_duplicity_layer_and_its_chain_goes_on() {
    let config = format!("{SOURCES}{OFFSITE}");
    let bench = machine(&config);
    lose(&bench);
    let store = format!("file://{}", bench.home().join("offsite").display());
    recover(&bench, &[&store, "--passphrase-file", "paper-offsite"]);
    assert_eq!(read(&bench, FILE), config);
    assert_eq!(read(&bench, "keys/offsite"), "battery staple\n");
    let names = names(&bench.home().join("offsite"));
    let is_increment = |name: &String| name.starts_with("duplicity-inc.");
    assert!(names.iter().any(is_increment), "{names:?}");
    let fulls = names
        .iter()
        .filter(|name| name.starts_with("duplicity-full."));
    assert_eq!(fulls.filter(|name| name.contains("manifest")).count(), 1);
}

#[test]
fn settings_come_back_from_a_drop_layer_and_its_files_follow() {
    let config = format!("{SOURCES}{DROP}");
    let bench = machine(&config);
    // A person sees a plain folder with nothing but the files.
    assert_eq!(names(&bench.home().join("nas")), [".ravelin-drop", "note"]);
    assert_eq!(names(&bench.home().join("Drop")), ["note"]);
    lose(&bench);
    let found = recover(&bench, &["nas"]);
    assert_eq!(read(&bench, FILE), config);
    assert_eq!(found["encrypted"], false);
    assert_eq!(read(&bench, "Drop/note"), "milk\n");
    assert_eq!(names(&bench.home().join("Drop")), ["note"]);
}

#[test]
fn any_of_several_layers_knows_all_and_no_layer_holds_a_passphrase() {
    let open = OFFSITE.replace(
        "passphrase = { file = \"~/keys/offsite\" }",
        "encryption = \"none\"",
    );
    let config = format!(
        "[[source]]\npaths = [\"~\"]\nexclude = [\"~/nas\", \"~/Drop\"]\n{DISK}{open}{DROP}"
    );
    let bench = machine(&config);
    let listed = bench.ravelin(["ls", "latest", "--recursive", "--layer", "offsite"]);
    let listed = listed.output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(
        listed.contains(FILE) && listed.contains("letter"),
        "{listed}"
    );
    // The other file in that folder opens none of these layers.
    assert!(!listed.contains("keys/disk"), "{listed}");
    assert!(listed.contains("keys/offsite"), "{listed}");
    lose(&bench);
    bench
        .ravelin(["init", "--from", "offsite"])
        .assert()
        .success()
        .stderr_eq(str![[r#"
wrote [HOME]/.config/ravelin/ravelin.toml, as it was in [..] of [..]
disk: [HOME]/repository, MISSING: its passphrase, { file = "[HOME]/keys/disk" }
offsite: [HOME]/offsite, no passphrase
drop: [HOME]/nas, no passphrase
this place is not encrypted: whoever can write there could have written it
next: `ravelin config check`, `ravelin status`, and docs/guide/restore-a-machine.md

"#]]);
    assert_eq!(read(&bench, FILE), config);
}

#[test]
fn what_is_there_is_not_replaced_and_what_is_not_there_is_said() {
    let config = format!("{SOURCES}{DISK}");
    let bench = machine(&config);
    bench
        .ravelin([
            "init",
            "--from",
            "repository",
            "--passphrase-file",
            "keys/disk",
        ])
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: [..] [config-exists]
...
"#]]);
    lose(&bench);
    // Only shown, nothing written.
    let shown = [
        "init",
        "--from",
        "repository",
        "--passphrase-file",
        "paper",
        "--dry-run",
    ];
    let shown = bench.ravelin(shown).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stderr).contains("# What matters."));
    assert!(!bench.home().join(".config").exists());
    bench
        .ravelin([
            "init",
            "--from",
            "repository",
            "--passphrase-file",
            "paper-offsite",
        ])
        .assert()
        .code(12);
    bench.file("photos/one", "x");
    for store in ["photos", "nothing"] {
        bench
            .ravelin(["init", "--from", store])
            .assert()
            .code(1)
            .stderr_eq(str![[r#"
error: [..] [config-not-in-layer]
...
"#]]);
    }
    assert!(!bench.home().join(".config").exists());
}
