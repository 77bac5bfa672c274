//! Running on its own: what a timer calls, and who calls it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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

/// With a drop folder that is to be followed.
const WATCHED: &str =
    "\n[layer.files]\nkind = \"drop\"\nstore = \"~/nas\"\nfolder = \"~/Drop\"\nwatch = true\n";

/// A program that goes on until it is stopped; it does not outlive the test.
struct Following(Child);

impl Following {
    /// Starts words as a scheduler does, with nothing but them and a home.
    fn start(bench: &Bench, words: &[String]) -> Self {
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .env("HOME", bench.home())
            .current_dir(bench.home())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// The code that it ends with, by itself.
    fn ends(&mut self, why: &str) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < PATIENCE, "it goes on: {why}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a busy machine may need, and a look of half a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// What cron would run: the last line of its table, in a shell.
fn words_of_cron(bench: &Bench) -> Vec<String> {
    let tab = fs::read_to_string(bench.home().join("tab")).unwrap();
    let line = tab.lines().last().unwrap();
    assert!(
        line.contains(" drop --layer files sync --watch --scheduled # ravelin "),
        "{tab}"
    );
    let command = line.splitn(6, ' ').last().unwrap().replace("\\%", "%");
    vec![
        "/bin/sh".to_owned(),
        "-c".to_owned(),
        format!("exec {command}"),
    ]
}

/// What systemd would run, with its environment.
fn words_of_systemd(bench: &Bench, path: &str) -> Vec<String> {
    bench.file("bin/systemctl", "#!/bin/sh\n");
    let systemctl = bench.home().join("bin/systemctl");
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let planned = bench
        .ravelin(["schedule", "install", "--by", "systemd", "--dry-run"])
        .env("PATH", path)
        .assert()
        .success();
    let planned = String::from_utf8(planned.get_output().stderr.clone()).unwrap();
    let unit = planned.split("would write ").find(|unit| {
        let first = unit.lines().next().unwrap_or_default();
        first.ends_with("/ravelin-watch-files.service:")
    });
    let unit = unit.unwrap_or_else(|| panic!("{planned}"));
    let quoted = |key: &str| -> Vec<String> {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key));
        let words = lines.flat_map(|line| line.split('"').skip(1).step_by(2));
        words.map(str::to_owned).collect()
    };
    assert!(unit.contains("\nType=exec\n"), "{unit}");
    let mut words = vec!["/usr/bin/env".to_owned()];
    words.extend(quoted("Environment="));
    words.extend(quoted("ExecStart="));
    words
}

#[test]
fn what_the_schedule_installs_follows_a_drop_folder_both_ways_and_ends_with_the_schedule() {
    let bench = Bench::new();
    let path = with_crontab(&bench);
    let config = format!("{CONFIG}{WATCHED}");
    let configured = |text: &str| bench.file(".config/ravelin/ravelin.toml", text);
    configured(&config);
    bench.file("Drop/plan", "by train");
    bench
        .ravelin(["drop", "--layer", "files", "init"])
        .assert()
        .success();
    let schedule = |words: &[&str]| {
        let words = ["schedule"].into_iter().chain(words.iter().copied());
        bench.ravelin(words).env("PATH", &path).assert().success()
    };
    schedule(&["install", "--by", "cron"]);
    let (by_cron, by_systemd) = (words_of_cron(&bench), words_of_systemd(&bench, &path));
    let until = |path: &str, content: &str| {
        let began = Instant::now();
        let path = bench.home().join(path);
        while fs::read_to_string(&path).ok().as_deref() != Some(content) {
            assert!(began.elapsed() < PATIENCE, "{path:?} is not {content:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };

    // Both ways.
    let mut following = Following::start(&bench, &by_cron);
    until("nas/plan", "by train");
    bench.file("nas/from elsewhere", "hello");
    until("Drop/from elsewhere", "hello");
    // The next call finds it at work.
    assert_eq!(Following::start(&bench, &by_cron).ends("two"), Some(0));
    assert_eq!(Following::start(&bench, &by_systemd).ends("two"), Some(0));

    // Killed, it is begun anew by whoever calls next.
    following.0.kill().unwrap();
    following.0.wait().unwrap();
    let mut following = Following::start(&bench, &by_systemd);
    bench.file("Drop/plan", "by ship");
    until("nas/plan", "by ship");

    // The drive is pulled out: nothing is deleted, and what changed meanwhile travels afterwards.
    let (nas, away) = (bench.home().join("nas"), bench.home().join("away"));
    fs::rename(&nas, &away).unwrap();
    bench.file("Drop/meanwhile", "1");
    // Its mount point, which is empty.
    fs::create_dir(&nas).unwrap();
    std::thread::sleep(Duration::from_secs(5));
    fs::remove_dir(&nas).unwrap();
    assert!(bench.home().join("Drop/from elsewhere").exists());
    fs::rename(&away, &nas).unwrap();
    until("nas/meanwhile", "1");
    assert_eq!(following.0.try_wait().unwrap(), None);

    // The configuration wants it no longer.
    configured(&config.replace("watch = true", "watch = false"));
    assert_eq!(following.ends("the configuration"), Some(0));
    assert_eq!(Following::start(&bench, &by_cron).ends("unwanted"), Some(0));
    // Another folder, while it goes on.
    configured(&config);
    let mut following = Following::start(&bench, &by_cron);
    bench.file("Drop/plan", "on foot");
    until("nas/plan", "on foot");
    fs::create_dir(bench.home().join("Other")).unwrap();
    configured(&config.replace("~/Drop", "~/Other"));
    until("Other/plan", "on foot");
    // cron does not end what it began.
    assert_eq!(following.0.try_wait().unwrap(), None);
    schedule(&["remove"]);
    assert_eq!(following.ends("the schedule"), Some(0));
}

#[test]
fn a_layer_that_nothing_follows_although_it_should_is_named() {
    let bench = Bench::new();
    let path = with_crontab(&bench);
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    let schedule = |words: &[&str]| {
        let words = ["schedule"].into_iter().chain(words.iter().copied());
        bench.ravelin(words).env("PATH", &path).assert().success()
    };
    schedule(&["install", "--by", "cron"]);
    bench.file(
        ".config/ravelin/ravelin.toml",
        &format!("{CONFIG}{WATCHED}"),
    );
    schedule(&["status"]).stdout_eq(str![[r#"
Runs on its own by cron: installed
...
  nothing follows the folder of `files` as it changes: `ravelin schedule install`
...
"#]]);
    // Without a folder there is nothing to follow.
    let without = WATCHED.replace("folder = \"~/Drop\"\n", "");
    bench.file(
        ".config/ravelin/ravelin.toml",
        &format!("{CONFIG}{without}"),
    );
    bench.ravelin(["config", "check"]).assert().code(2);
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
