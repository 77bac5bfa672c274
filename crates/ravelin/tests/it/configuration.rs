//! Before anything is backed up: no configuration, a wrong one, a first one.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::str;

use crate::bench::Bench;

const MINIMAL: &str = "[[source]]\npaths = [\"~\"]\n\n[layer.disk]\nkind = \"borg\"\n\
                       store = \"~/repository\"\npassphrase = { env = \"P\" }\n";

#[test]
fn without_a_configuration_the_next_step_is_named() {
    let bench = Bench::new();
    bench
        .ravelin(["status"])
        .assert()
        .code(1)
        .stdout_eq(str![])
        .stderr_eq(str![[r#"
error: this could not be done [config-missing]
  because: there is no configuration at [HOME]/.config/ravelin/ravelin.toml
  next: run `ravelin quickstart ~/Documents`

"#]]);
}

#[test]
fn all_mistakes_are_shown_with_file_and_line() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npath = [\"~\"]\n\n[layer.disk]\nkind = \"brog\"\nstore = \"repository\"\n",
    );
    bench
        .ravelin(["backup"])
        .assert()
        .code(2)
        .stdout_eq(str![])
        .stderr_eq(str![[r#"
error: this could not be done [config-mistakes]
  because: 4 mistakes in the configuration
           [HOME]/.config/ravelin/ravelin.toml:1: source[1].paths: missing
           [HOME]/.config/ravelin/ravelin.toml:2: source[1].path: unknown key; did you mean `paths`?
           [HOME]/.config/ravelin/ravelin.toml:5: layer.disk.kind: `brog` is not one of `borg`, `duplicity`, `drop`; did you mean `borg`?
           [HOME]/.config/ravelin/ravelin.toml:6: layer.disk.store: `repository` is relative: start it with `/` or `~`
  next: edit [HOME]/.config/ravelin/ravelin.toml, line 1

"#]]);
    bench
        .ravelin(["config", "check", "--json"])
        .assert()
        .code(2)
        .stdout_eq(str![[r#"
{"file":"[HOME]/.config/ravelin/ravelin.toml","valid":false,"mistakes":[{"line":1,"key":"source[1].paths","message":"missing"},{"line":2,"key":"source[1].path","message":"unknown key; did you mean `paths`?"},{"line":5,"key":"layer.disk.kind","message":"`brog` is not one of `borg`, `duplicity`, `drop`; did you mean `borg`?"},{"line":6,"key":"layer.disk.store","message":"`repository` is relative: start it with `/` or `~`"}]}

"#]])
        .stderr_eq(str![]);
}

#[test]
fn a_good_configuration_is_told_only_to_those_who_ask() {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", MINIMAL);
    bench
        .ravelin(["config", "check"])
        .assert()
        .success()
        .stdout_eq(str![])
        .stderr_eq(str![]);
    bench
        .ravelin(["config", "check", "--verbose"])
        .assert()
        .success()
        .stderr_eq(str![[r#"
[HOME]/.config/ravelin/ravelin.toml is fine: 1 source, 1 layer

"#]]);
    bench
        .ravelin(["config", "show"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
source[1].paths = ["[HOME]"]  # line 2
source[1].presets = []  # default
source[1].exclude = []  # default
source[1].exclude-caches = true  # default
source[1].exclude-no-dump = false  # default
source[1].one-file-system = false  # default
layer.disk.kind = "borg"  # line 5
layer.disk.store = "[HOME]/repository"  # line 6
layer.disk.passphrase = { env = "P" }  # line 7
layer.disk.schedule = "daily"  # default
layer.disk.encryption = "repokey-blake2"  # default
layer.disk.compression = "lz4"  # default
layer.disk.lock-wait = "1 s"  # default

"#]]);
}

#[test]
fn every_key_that_is_set_is_shown_with_its_line_and_no_token() {
    let bench = Bench::new();
    let text = "[[source]]
name = \"shop\"
command = [\"pg_dump\", \"shop\"]

[layer.offsite]
kind = \"duplicity\"
store = \"/mnt/offsite\"
passphrase = { command = \"pass show offsite\" }
full-every = \"30 days\"

[[notify]]
on = [\"failure\"]
webhook = \"https://example.org/hook/TOKEN\"

[[notify]]
chat = { file = \"/etc/chat\" }

[[hook]]
on = \"before\"
command = \"systemctl stop shop\"
";
    bench.file(".config/ravelin/ravelin.toml", text);
    let shown = bench.ravelin(["config", "show"]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    for line in [
        "source[1].name = \"shop\"  # line 2",
        "source[1].command = [\"pg_dump\", \"shop\"]  # line 3",
        "layer.offsite.full-every = \"30 days\"  # line 9",
        "notify[1].on = [\"failure\"]  # line 12",
        "notify[1].webhook = \"https://***\"  # line 13",
        "notify[2].chat = { file = \"/etc/chat\" }  # line 16",
        "hook[1].command = \"systemctl stop shop\"  # line 20",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("TOKEN"), "{shown}");
    // Each key once.
    let mut keys: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split(" = ").next())
        .collect();
    let all = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), all, "{shown}");
}

#[test]
fn another_file_can_be_named_by_flag_or_variable() {
    let bench = Bench::new();
    let file = bench.file("other.toml", MINIMAL);
    bench
        .ravelin(["config", "check", "--config", "other.toml"])
        .assert()
        .success();
    bench
        .ravelin(["config", "check"])
        .env("RAVELIN_CONFIG", file)
        .assert()
        .success();
}

#[test]
fn a_configuration_that_others_may_change_is_refused_with_the_command_that_mends_it() {
    let bench = Bench::new();
    let file = bench.file(".config/ravelin/ravelin.toml", MINIMAL);
    fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    bench
        .ravelin(["status"])
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: this could not be done [config-open]
  because: the configuration [HOME]/.config/ravelin/ravelin.toml may be changed by others (mode 666)
  next: run `chmod go-w [HOME]/.config/ravelin/ravelin.toml`

"#]]);
}

#[test]
fn a_wrong_flag_is_a_matter_of_usage() {
    Bench::new().ravelin(["backup", "--jason"]).assert().code(2);
    Bench::new().ravelin([]).assert().code(2);
    Bench::new().ravelin(["--version"]).assert().success();
}

#[test]
fn an_unknown_layer_is_answered_with_those_that_there_are() {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", MINIMAL);
    bench
        .ravelin(["backup", "dsik"])
        .assert()
        .code(2)
        .stderr_eq(str![[r#"
error: this could not be done [no-such-layer]
  because: there is no layer `dsik`
  next: the layers are: disk

"#]]);
}

#[test]
fn status_before_the_first_backup_says_so() {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", MINIMAL);
    bench
        .ravelin(["status"])
        .assert()
        .code(1)
        .stdout_eq(str![[r#"
Not protected: the only layer needs attention.

disk  no backup yet  (borg, [HOME]/repository)
  next        due now: ravelin run
  verified    never: ravelin verify
  drill       never: ravelin drill

Nothing runs this on its own: ravelin schedule install

"#]]);
}
