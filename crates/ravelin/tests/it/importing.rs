//! Settings of other programs become a configuration that is understood and works.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use testkit::StockBorg;

use crate::bench::Bench;

const BORGMATIC: &str = r#"
source_directories:
    - ~/files
    - /srv/*
repositories:
    - path: ssh://ada@backup.example:2222/./repo
      label: Far Away
    - path: REPOSITORY
encryption_passphrase: correct horse
compression: zstd,6
exclude_patterns:
    - '*.tmp'
    - ~/files/secret
    - sh:/home/*/.cache
exclude_caches: true
exclude_if_present: [.nobackup]
keep_within: 2d
keep_daily: 7
keep_weekly: 4
keep_secondly: 9
checks:
    - name: repository
      frequency: 2 weeks
    - name: data
      frequency: 3 months
    - name: extract
      frequency: 10 days
commands:
    - before: action
      when: [create]
      run: [touch ~/before]
    - after: error
      run: ["echo {error}"]
healthchecks:
    ping_url: https://hc.example/ping/1
postgresql_databases:
    - name: shop
      hostname: db
      password: hunter2
loki: {url: http://x}
"#;

const FROM_BORGMATIC: &str = r#"# What ravelin protects, and where it keeps the copies; made from other settings.
# Every key is shown in docs/config.toml; `ravelin config check` reads this file over.
#
# Not taken over:
# - source_directories /srv/*: name each path
# - postgresql_databases shop password: put it where the database's own programs find it (~/.pgpass, ~/.my.cnf)
# - keep_secondly: the shortest rule is `hourly`, the longest `yearly`
# - commands echo {error}: nothing is filled in here
# - loki: it has no counterpart here

[[source]]
paths = ["~/files"]
exclude = ["fm:*.tmp", "fm:HOME/files/secret", "sh:/home/*/.cache"]
exclude-if-present = [".nobackup"]
exclude-caches = true

[[source]]
name = "database shop"
command = ["pg_dump", "--host=db", "shop"]
output = "shop.sql"

[layer.far-away]
kind = "borg"
store = "ssh://ada@backup.example:2222/./repo"
passphrase = { file = "~/.config/ravelin/far-away.passphrase" }
schedule = "daily"
compression = "zstd,6"
keep = { within = "2 days", daily = 7, weekly = 4 }

[layer.disk]
kind = "borg"
store = "REPOSITORY"
passphrase = { file = "~/.config/ravelin/disk.passphrase" }
schedule = "daily"
compression = "zstd,6"
keep = { within = "2 days", daily = 7, weekly = 4 }

[[hook]]
on = "before"
command = ["sh", "-c", "touch ~/before"]

[verify]
data = "every 90 days"
drill = "every 10 days"
structure = "every 14 days"

[[notify]]
healthchecks = "https://hc.example/ping/1"
"#;

fn read(bench: &Bench, path: &str) -> String {
    fs::read_to_string(bench.home().join(path)).unwrap()
}

fn run(bench: &Bench, arguments: &[&str]) -> String {
    let assert = bench.ravelin(arguments.iter().copied()).assert().success();
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

#[test]
fn borgmatics_settings_are_taken_over_and_what_is_not_is_named() {
    let bench = Bench::new();
    let repository = bench.home().join("disk.borg").display().to_string();
    let settings = BORGMATIC.replace("REPOSITORY", &repository);
    bench.file(".config/borgmatic/config.yaml", &settings);
    let shown = run(&bench, &["init", "--import", "borgmatic", "--dry-run"]);
    assert!(!shown.contains("correct horse"), "{shown}");
    assert!(!bench.home().join(".config/ravelin").exists());
    run(&bench, &["init", "--import", "borgmatic"]);
    let home = bench.home().display().to_string();
    let expected = FROM_BORGMATIC
        .replace("REPOSITORY", &repository)
        .replace("HOME", &home);
    assert_eq!(read(&bench, ".config/ravelin/ravelin.toml"), expected);
    for name in ["far-away", "disk"] {
        let path = format!(".config/ravelin/{name}.passphrase");
        assert_eq!(read(&bench, &path), "correct horse\n");
        let mode = fs::metadata(bench.home().join(path)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
    run(&bench, &["config", "check"]);
    // A second time nothing is replaced.
    let again = bench.ravelin(["init", "--import", "borgmatic"]).assert();
    let again = again.failure();
    let said = String::from_utf8_lossy(&again.get_output().stderr).into_owned();
    assert!(
        said.contains("config-exists") || said.contains("is there"),
        "{said}"
    );
}

/// The repository that borgmatic wrote into goes on with both.
#[test]
fn a_repository_of_borgmatics_is_gone_on_with() {
    let Some(borg) = testkit::stock_borg() else {
        return;
    };
    let borg: StockBorg = borg.with_passphrase("correct horse");
    let bench = Bench::new();
    bench.file("files/letter", "dear Ada");
    let repository = bench.home().join("repo").display().to_string();
    borg.run(["init", "-e", "repokey", &repository]);
    let old = format!("{repository}::old");
    let files = bench.home().join("files").display().to_string();
    borg.run(["create", &old, &files]);
    let settings = format!(
        "location:\n    source_directories: [{files}]\n    repositories: [{repository}]\n\
         storage:\n    encryption_passphrase: correct horse\nretention:\n    keep_daily: 7\n"
    );
    let settings = bench.file("old.yaml", &settings).display().to_string();
    run(
        &bench,
        &["init", "--import", "borgmatic", "--settings", &settings],
    );
    run(&bench, &["init"]);
    run(&bench, &["backup"]);
    let listed = borg.run(["list", "--short", &repository]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let shown = run(&bench, &["snapshots"]);
    assert!(shown.contains("old"), "{shown}");
}

#[test]
fn a_script_around_duplicity_is_taken_over() {
    let bench = Bench::new();
    bench.file("files/letter", "dear Ada");
    let target = bench.home().join("target").display().to_string();
    let script = format!(
        "#!/bin/sh\n# duplicity /nothing file:///nothing\nexport PASSPHRASE='correct horse'\n\
         TARGET=file://{target}\nSOURCE=\"$HOME/files\"\n\
         nice -n 10 /usr/bin/duplicity --full-if-older-than 30D --volsize 50 \\\n  \
         --exclude '**.tmp' --exclude \"$SOURCE/cache\" --log-file /nowhere/log \"$SOURCE\" \"$TARGET\" \
         >> /var/log/backup 2>&1\n\
         duplicity remove-all-but-n-full 3 --force ${{TARGET}}\n\
         duplicity verify $TARGET $SOURCE\n"
    );
    let settings = bench.file("backup.sh", &script).display().to_string();
    run(
        &bench,
        &[
            "init",
            "--import",
            "duplicity-script",
            "--settings",
            &settings,
        ],
    );
    let home = bench.home().display().to_string();
    let expected = format!(
        r#"# What ravelin protects, and where it keeps the copies; made from other settings.
# Every key is shown in docs/config.toml; `ravelin config check` reads this file over.
#
# Not taken over:
# - duplicity verify: only backups and the removal of old ones are taken over

[[source]]
paths = ["{home}/files"]
exclude = ["fm:*.tmp", "pp:{home}/files/cache"]
exclude-caches = false

[layer.target]
kind = "duplicity"
# A folder of its own: the old archive stays as it is.
store = "{target}/ravelin"
schedule = "daily"
passphrase = {{ file = "~/.config/ravelin/target.passphrase" }}
full-every = "30 days"
volume-size = "50 MiB"
keep = {{ full = 3 }}
"#
    );
    assert_eq!(read(&bench, ".config/ravelin/ravelin.toml"), expected);
    run(&bench, &["init"]);
    run(&bench, &["backup"]);
    assert!(run(&bench, &["ls", "latest", "--recursive"]).contains("letter"));
}

#[test]
fn a_password_in_an_address_goes_nowhere() {
    let bench = Bench::new();
    let script = "PASSPHRASE=$(pass show dup)\nexport FTP_PASSWORD=hunter2\nduplicity ~/files sftp://ada:hunter2@host//srv/dup\n\
                  duplicity collection-status sftp://ada:hunter2@host//srv/dup\n";
    let settings = bench.file("backup.sh", script).display().to_string();
    run(
        &bench,
        &[
            "init",
            "--import",
            "duplicity-script",
            "--settings",
            &settings,
        ],
    );
    let text = read(&bench, ".config/ravelin/ravelin.toml");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(
        text.contains("# - FTP_PASSWORD: docs/stores.md says"),
        "{text}"
    );
    assert!(
        text.contains("store = \"sftp://ada@host//srv/dup/ravelin\""),
        "{text}"
    );
    assert!(
        text.contains("passphrase = { command = \"pass show dup\" }"),
        "{text}"
    );
}

#[test]
fn deja_dups_settings_are_taken_over() {
    let bench = Bench::new();
    let dump = "[/]\nbackend='local'\nexclude-list=['$TRASH', '$DOWNLOAD/big', '/home/it\\'s']\n\
                delete-after=uint32 182\nperiodic=true\nperiodic-period=uint32 1\n\n[local]\nfolder='/mnt/backup'\n";
    let settings = bench.file("deja-dup.dconf", dump).display().to_string();
    run(
        &bench,
        &["init", "--import", "deja-dup", "--settings", &settings],
    );
    let expected = r#"# What ravelin protects, and where it keeps the copies; made from other settings.
# Every key is shown in docs/config.toml; `ravelin config check` reads this file over.

[[source]]
paths = ["~"]
presets = ["caches", "trash"]
exclude = ["~/Downloads/big", "/home/it's"]

[layer.deja-dup]
kind = "duplicity"
# A folder of its own: the old backups stay as they are.
store = "/mnt/backup/ravelin"
# Where Déjà Dup keeps it, once it was told to remember it.
passphrase = { command = "secret-tool lookup owner deja-dup type passphrase" }
schedule = "every 1 days"
keep = { within = "182 days" }
"#;
    assert_eq!(read(&bench, ".config/ravelin/ravelin.toml"), expected);
    run(&bench, &["config", "check"]);
}

#[test]
fn settings_that_are_none_leave_nothing_behind() {
    let bench = Bench::new();
    for (program, text, why) in [
        ("borgmatic", "a: [", "cannot be taken over"),
        (
            "borgmatic",
            "repositories: [/x]\n",
            "no folder that is backed up",
        ),
        (
            "duplicity-script",
            "echo duplicity a b\n",
            "no call of duplicity",
        ),
        ("deja-dup", "nothing", "dconf dump"),
        (
            "deja-dup",
            "[/]\nbackend='remote'\n[remote]\nuri='smb://x/y'\n",
            "can write to",
        ),
    ] {
        let settings = bench.file("settings", text).display().to_string();
        let command = bench.ravelin(["init", "--import", program, "--settings", &settings]);
        let assert = command.assert().code(2);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(
            said.contains(why) && said.contains("next: "),
            "{program}: {said}"
        );
        assert!(!bench.home().join(".config/ravelin").exists());
    }
    let command = bench
        .ravelin(["init", "--import", "borgmatic"])
        .assert()
        .code(2);
    let said = String::from_utf8_lossy(&command.get_output().stderr).into_owned();
    assert!(said.contains("--settings FILE"), "{said}");
}
