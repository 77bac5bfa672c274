//! Running on its own: what a timer calls, and who calls it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use snapbox::str;

use crate::bench::Bench;

const CONFIG: &str = "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
                      store = \"~/repository\"\nencryption = \"none\"\nschedule = \"daily\"\n";

/// A `crontab` that keeps its table in the home directory, and what else a shell needs.
fn with_crontab(bench: &Bench) -> String {
    let script = bench.file(
        "bin/crontab",
        "#!/bin/sh\ncase $1 in\n-l) cat \"$HOME/tab\" 2>/dev/null || { echo 'no crontab for ada' >&2; exit 1; };;\n\
         -) cat > \"$HOME/tab\";;\nesac\n",
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", script.parent().unwrap().display())
}

#[test]
fn what_is_due_is_done_once_and_a_drive_that_is_away_is_waited_for() {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    bench.file("Documents/letter", "dear");
    bench.ravelin(["init"]).assert().success();
    bench
        .ravelin(["run", "--dry-run"])
        .assert()
        .success()
        .stderr_eq(str![[r#"
disk: would get snapshot [..]
  would read [HOME]/Documents

"#]]);
    bench.ravelin(["run"]).assert().success().stderr_eq(str![]);
    bench
        .ravelin(["run", "--verbose"])
        .assert()
        .success()
        .stderr_eq(str![[r#"
disk: due [..] 00:00

"#]]);
    let snapshots = bench.ravelin(["snapshots", "--json"]).assert().success();
    let stdout = String::from_utf8_lossy(&snapshots.get_output().stdout).into_owned();
    assert_eq!(stdout.matches("\"name\"").count(), 1, "{stdout}");

    // A day later, and the drive is away.
    let history = bench.home().join(".local/state/ravelin/history");
    for file in fs::read_dir(&history).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let begin = text.find("\"at\":\"").unwrap() + 6;
        let day = text.get(begin..begin + 10).unwrap().to_owned();
        fs::write(&path, text.replace(&day, &yesterday(&day))).unwrap();
    }
    let repository = bench.home().join("repository");
    fs::rename(&repository, bench.home().join("away")).unwrap();
    bench.ravelin(["run"]).assert().code(75).stderr_eq(str![[r#"
disk: waiting, because [HOME]/repository is not there: is its drive connected?

"#]]);
    // Said once: cron would send a mail each time.
    bench.ravelin(["run"]).assert().code(75).stderr_eq(str![]);
    bench
        .ravelin(["status"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
Protected by 1 layer.

disk  good  (borg, [HOME]/repository)
  last backup 1 day ago, [..]
  size        2 files, [..] B
  not there   its drive is away, or what was in it is gone
  waiting     since [..]: [HOME]/repository is not there: is its drive connected?
  next        due now: ravelin run
  verified    never: ravelin verify
  drill       1 day ago, 2 files came back unchanged
  restored    1 day ago

Nothing runs this on its own: ravelin schedule install

"#]]);
    fs::rename(bench.home().join("away"), &repository).unwrap();
    bench.ravelin(["run"]).assert().success().stderr_eq(str![]);
}

fn yesterday(day: &str) -> String {
    let day: jiff::civil::Date = day.parse().unwrap();
    day.yesterday().unwrap().to_string()
}

#[test]
fn a_timer_is_installed_in_the_crontab_shown_and_removed() {
    let bench = Bench::new();
    let path = with_crontab(&bench);
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    bench.file("tab", "# mine\n0 4 * * * true\n");
    let schedule = |words: &[&str]| {
        let words = ["schedule"].into_iter().chain(words.iter().copied());
        bench.ravelin(words).env("PATH", &path).assert()
    };
    schedule(&["status"]).success().stdout_eq(str![[r#"
Nothing runs this on its own: ravelin schedule install
  disk        due now

"#]]);
    schedule(&["install", "--by", "cron", "--every", "20"]).success();
    let tab = fs::read_to_string(bench.home().join("tab")).unwrap();
    let line = tab.strip_prefix("# mine\n0 4 * * * true\n").unwrap();
    assert!(line.contains(" * * * * env PATH="), "{line}");
    assert_eq!(
        line.split(' ').next().unwrap().split(',').count(),
        3,
        "{line}"
    );
    schedule(&["install", "--by", "cron", "--every", "7"]).code(2);
    bench
        .ravelin(["status"])
        .env("PATH", &path)
        .assert()
        .code(1)
        .stdout_eq(str![[r#"
...
Runs on its own by cron: installed
...
"#]]);
    schedule(&["remove", "--verbose"])
        .success()
        .stderr_eq(str![[r#"
removed from cron

"#]]);
    let tab = fs::read_to_string(bench.home().join("tab")).unwrap();
    assert_eq!(tab, "# mine\n0 4 * * * true\n");
    schedule(&["remove", "--verbose"])
        .success()
        .stderr_eq(str![[r#"
nothing was installed

"#]]);
}

#[test]
fn where_nothing_can_call_it_the_reasons_are_told() {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    bench
        .ravelin(["schedule", "install"])
        .env("PATH", "/nonexistent")
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: this could not be done [no-scheduler]
  because: systemd: there is no usable `systemctl`: No such file or directory (os error 2)
  because: cron: there is no usable `crontab`: No such file or directory (os error 2)
  next: Install cron, or let anything else call `ravelin run` every few minutes: it decides by itself what is due.

"#]]);
}
