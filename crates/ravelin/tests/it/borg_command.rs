//! Borg's command line: `ravelin borg …`, and the program called through a link of Borg's name.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use snapbox::cmd::cargo_bin;
use tempfile::TempDir;

/// A folder with some files, a repository, and the program under Borg's name.
struct Desk {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let desk = Self {
            folder,
            variables: vec![("BORG_PASSPHRASE", "secret".into())],
        };
        fs::create_dir(desk.path("bin")).unwrap();
        for name in ["borg", "borgfs"] {
            symlink(cargo_bin!("ravelin"), desk.path("bin").join(name)).unwrap();
        }
        fs::create_dir_all(desk.path("input/folder")).unwrap();
        fs::write(desk.path("input/file"), "content").unwrap();
        fs::write(desk.path("input/folder/other"), "x".repeat(100_000)).unwrap();
        desk
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn program(&self) -> PathBuf {
        self.path("bin/borg")
    }

    /// A command, separated by spaces.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(self.program());
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("TZ", "UTC")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path());
        command
    }

    fn output(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output.
    fn borg(&self, line: &str) -> String {
        let output = self.output(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "borg {line}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn code(&self, line: &str) -> i32 {
        self.output(line).status.code().unwrap()
    }

    fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.borg(line)).unwrap()
    }
}

/// Bytes of all files below a folder.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| match entry.file_type().unwrap().is_dir() {
            true => size_of(&entry.path()),
            false => entry.metadata().unwrap().len(),
        })
        .sum()
}

#[test]
fn a_link_named_borg_backs_up_lists_and_restores() {
    let desk = Desk::new();
    desk.borg("init -e repokey repo");
    desk.borg("create repo::first input");
    assert_eq!(desk.borg("list --short repo"), "first\n");
    assert_eq!(
        desk.borg("list --short repo::first"),
        "input\ninput/file\ninput/folder\ninput/folder/other\n"
    );
    fs::create_dir(desk.path("output")).unwrap();
    let mut extract = desk.command("extract ../repo::first");
    let status = extract.current_dir(desk.path("output")).status().unwrap();
    assert!(status.success());
    let restored = fs::read(desk.path("output/input/file")).unwrap();
    assert_eq!(restored, b"content");
    desk.borg("check --verify-data repo");
    assert_eq!(desk.borg("--version"), "borg 1.4.5\n");
}

#[test]
fn options_stand_anywhere_and_may_be_abbreviated() {
    let desk = Desk::new().with("BORG_REPO", "repo");
    desk.borg("--info init --encr none");
    desk.borg("create -vs ::{hostname}-{utcnow:%Y} input -C zstd,1 --exclude=*/other");
    let archive = desk.borg("list --shor");
    assert!(archive.contains("-20"), "{archive}");
    let listed = desk.borg(&format!(
        "list ::{} --format {{path}}{{NL}}",
        archive.trim()
    ));
    assert_eq!(listed, "input\ninput/file\ninput/folder\n");
    for (line, code) in [
        ("list --no-such-option", 2),
        ("list --l", 2),
        ("no-such-command", 2),
        ("create ::a", 2),
        ("create --filter A --filter M ::a input", 2),
        ("init", 2),
    ] {
        assert_eq!(desk.code(line), code, "{line}");
    }
}

#[test]
fn exit_codes_are_the_old_ones_or_the_specific_ones() {
    let desk = Desk::new();
    desk.borg("init -e repokey repo");
    desk.borg("create repo::a input");
    for (line, old, specific) in [
        ("list nowhere", 2, 13),
        ("list input", 2, 15),
        ("list repo::b", 2, 31),
        ("create repo::a input", 2, 30),
        ("list repo::a nothing", 1, 101),
        ("create repo::{x} input", 2, 6),
        ("prune repo", 2, 4),
        ("init -e none repo", 2, 10),
        ("with-lock repo sh -c exit\\t7", 7, 7),
    ] {
        // A word with a space in it.
        let words: Vec<String> = line
            .split(' ')
            .map(|word| word.replace("\\t", " "))
            .collect();
        let code = |modern: bool| {
            let mut command = desk.command("");
            command.args(&words);
            if modern {
                command.env("BORG_EXIT_CODES", "modern");
            }
            command.output().unwrap().status.code().unwrap()
        };
        assert_eq!((code(false), code(true)), (old, specific), "{line}");
    }
    let wrong = Desk {
        folder: desk.folder,
        variables: vec![("BORG_PASSPHRASE", "wrong".into())],
    };
    assert_eq!(wrong.code("list repo"), 2);
    let wrong = wrong.with("BORG_EXIT_CODES", "modern");
    assert_eq!(wrong.code("list repo"), 52);
}

#[test]
fn the_passphrase_comes_from_a_command_or_a_descriptor() {
    let mut desk = Desk::new();
    desk.borg("init -e repokey-blake2 repo");
    desk.variables = vec![("BORG_PASSCOMMAND", "echo secret".into())];
    desk.borg("list repo");
    desk.variables = vec![("BORG_PASSCOMMAND", "false".into())];
    assert_eq!(desk.code("list repo"), 2);
    let line = format!(
        "exec {} list repo 9<<EOF\nsecret\nEOF\n",
        desk.program().display()
    );
    let status = Command::new("sh")
        .args(["-c", &line])
        .env_clear()
        .env("HOME", desk.folder.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("BORG_PASSPHRASE_FD", "9")
        .current_dir(desk.folder.path())
        .status()
        .unwrap();
    assert!(status.success());
    // Nobody is there to be asked: not the terminal either from which the tests were started.
    desk.variables.clear();
    let mut alone = Command::new("setsid");
    alone
        .arg("--wait")
        .arg(desk.program())
        .args(["list", "repo"]);
    alone.env_clear().env("HOME", desk.folder.path());
    let alone = alone.current_dir(desk.folder.path()).output().unwrap();
    assert_eq!(alone.status.code(), Some(2));
}

#[test]
fn compact_frees_what_was_deleted() {
    let desk = Desk::new();
    desk.borg("init -e none repo");
    let noise: Vec<u8> = (0..2_000_000u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(desk.path("input/large"), noise).unwrap();
    desk.borg("create -C none repo::a input");
    let full = size_of(&desk.path("repo/data"));
    desk.borg("delete repo::a");
    assert!(size_of(&desk.path("repo/data")) >= full);
    desk.borg("compact repo");
    assert!(size_of(&desk.path("repo/data")) < full / 10);
    desk.borg("check repo");
}

#[test]
fn only_what_another_method_has_compressed_is_compressed_anew() {
    let desk = Desk::new();
    let words: Vec<String> = (0..60_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 22).to_string())
        .collect();
    fs::write(desk.path("input/words"), words.join(" ")).unwrap();
    desk.borg("init -e repokey repo");
    desk.borg("create -C lz4 repo::a input");
    let size = |line: &str| {
        desk.borg(line);
        desk.json("info --json repo")["cache"]["stats"]["unique_csize"].clone()
    };
    let recreate = |how: &str| size(&format!("recreate {how} repo::a"));
    let before = size("check repo");
    let quick = recreate("--recompress -C zstd,1");
    assert_ne!(quick, before);
    let segments = size_of(&desk.path("repo/data"));
    let same = recreate("--recompress if-different -C zstd,19 --comment again");
    // A new archive object, and nothing of what is in the files.
    assert!(size_of(&desk.path("repo/data")) < segments + 5_000);
    assert!(same.as_u64().unwrap().abs_diff(quick.as_u64().unwrap()) < 500);
    let slow = recreate("--recompress always -C zstd,19");
    assert!(slow.as_u64() < quick.as_u64().map(|size| size - 1_000));
    desk.borg("check --verify-data repo");
}

#[test]
fn a_further_name_is_not_compared_without_the_first() {
    let desk = Desk::new();
    fs::hard_link(desk.path("input/file"), desk.path("input/folder/twin")).unwrap();
    desk.borg("init -e none repo");
    desk.borg("create repo::a input");
    fs::write(desk.path("input/file"), "other content").unwrap();
    desk.borg("create repo::b input");
    let whole = desk.borg("diff repo::a b --content-only");
    assert!(whole.contains("input/folder/twin"), "{whole}");
    let output = desk.output("diff repo::a b input/folder");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot find hardlink source"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_a_server_says_is_heard() {
    let desk = Desk::new().with("BORG_RSH", "sh -c 'shift; exec \"$@\"' sh");
    let program = desk.program().to_string_lossy().into_owned();
    let desk = desk.with("BORG_REMOTE_PATH", &program);
    let remote = format!("ssh://there{}", desk.path("repo").display());
    let said = |line: &str, code: i32| {
        let output = desk.output(&format!("{line} {remote}"));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {said}");
        said
    };
    said("init -e none --storage-quota 20M", 0);
    assert_eq!(desk.borg("config repo storage_quota"), "20000000\n");
    let noise: Vec<u8> = (0..500_000u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(desk.path("input/large"), noise).unwrap();
    let limited = format!("create -C none --upload-ratelimit 100000 {remote}::a input");
    desk.borg(&limited);
    assert_eq!(said("compact", 0), "");
    desk.borg(&format!("delete {remote}::a"));
    let freed = said("compact -v", 0);
    assert!(freed.contains("Remote: compaction freed about"), "{freed}");
    desk.borg(&format!("create -C none {remote}::b input"));
    let segments = fs::read_dir(desk.path("repo/data/0")).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    let largest = segments.max_by_key(|path| fs::metadata(path).unwrap().len());
    let largest = largest.unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let found = said("check --repository-only", 1);
    assert!(found.contains("Remote: "), "{found}");
}

#[test]
fn an_append_only_repository_frees_nothing_until_it_is_told_to() {
    let desk = Desk::new();
    desk.borg("init -e none --append-only repo");
    desk.borg("create -C none repo::a input");
    desk.borg("delete repo::a");
    let full = size_of(&desk.path("repo/data"));
    desk.borg("compact repo");
    assert!(size_of(&desk.path("repo/data")) >= full);
    assert!(desk.path("repo/transactions").exists());
    assert_eq!(desk.borg("config repo append_only"), "1\n");
    desk.borg("config repo append_only 0");
    desk.borg("compact repo");
    assert!(size_of(&desk.path("repo/data")) < full);
}

#[test]
fn a_quota_refuses_what_does_not_fit() {
    let desk = Desk::new().with("BORG_EXIT_CODES", "modern");
    desk.borg("init -e none --storage-quota 10M repo");
    let noise: Vec<u8> = (0..3_000_000u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    fs::write(desk.path("input/large"), noise).unwrap();
    assert_eq!(desk.code("create -C none repo::a input"), 20);
    assert_eq!(desk.borg("list repo"), "");
    desk.borg("check repo");
}

#[test]
fn what_wrappers_read_is_json() {
    let desk = Desk::new();
    desk.borg("init -e repokey repo");
    let made = desk.json("create --json repo::a input");
    assert_eq!(made["archive"]["name"], "a");
    assert_eq!(made["archive"]["stats"]["nfiles"], 2);
    assert!(made["cache"]["stats"]["unique_csize"].is_u64());
    let listed = desk.json("list --json repo");
    assert_eq!(listed["archives"][0]["archive"], "a");
    assert_eq!(listed["encryption"]["mode"], "repokey");
    let info = desk.json("info --json repo::a");
    assert_eq!(info["archives"][0]["stats"], made["archive"]["stats"]);
    let output = desk.output("create --log-json --progress --list repo::b input");
    let lines = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert_eq!(kinds("file_status"), 4);
    assert!(kinds("archive_progress") >= 1);
    let last = lines
        .iter()
        .rfind(|line| line["type"] == "archive_progress");
    assert_eq!(last.unwrap()["finished"], true);
    let refused = desk.output("list --log-json repo::c");
    let line = String::from_utf8(refused.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(line["msgid"], "Archive.DoesNotExist");
    assert_eq!(line["levelname"], "ERROR");
}

#[test]
fn old_archives_go_by_the_rules_and_the_rest_stays() {
    let desk = Desk::new();
    desk.borg("init -e none repo");
    for day in 1..=9 {
        desk.borg(&format!(
            "create --timestamp 2026-01-0{day}T12:00:00 repo::day-{day} input"
        ));
    }
    desk.borg("create --timestamp 2026-01-01T00:00:00 repo::other input");
    let said = desk.output("prune --list --dry-run --keep-daily 3 --glob-archives day-* repo");
    let said = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.matches("Would prune:").count(), 6, "{said}");
    assert!(
        said.contains("Keeping archive (rule: daily #1):            day-9"),
        "{said}"
    );
    desk.borg("prune --keep-daily 3 --glob-archives day-* repo");
    assert_eq!(
        desk.borg("list --short repo"),
        "other\nday-7\nday-8\nday-9\n"
    );
    desk.borg("check repo");
}

#[test]
fn unmatched_and_unreadable_things_are_warnings() {
    let desk = Desk::new().with("BORG_EXIT_CODES", "modern");
    desk.borg("init -e none repo");
    assert_eq!(desk.code("create repo::a input missing"), 107);
    assert_eq!(desk.borg("list --short repo"), "a\n");
    fs::create_dir(desk.path("output")).unwrap();
    let mut extract = desk.command("extract ../repo::a input/nothing");
    let output = extract.current_dir(desk.path("output")).output().unwrap();
    assert_eq!(output.status.code(), Some(101));
}

#[test]
fn an_interrupted_backup_leaves_a_checkpoint() {
    let desk = Desk::new();
    desk.borg("init -e none repo");
    // Nobody writes into it: reading it is what the backup waits for.
    let status = Command::new("mkfifo")
        .arg(desk.path("input/zz-fifo"))
        .status();
    assert!(status.unwrap().success());
    let mut child = desk
        .command("create --read-special repo::a input")
        .spawn()
        .unwrap();
    // The other end: opening it waits until the program is there.
    let fifo = fs::OpenOptions::new()
        .write(true)
        .open(desk.path("input/zz-fifo"))
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(fifo);
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert_eq!(desk.borg("list --short repo"), "");
    let with = desk.borg("list --short --consider-checkpoints repo");
    assert_eq!(with, "a.checkpoint\n");
    desk.borg("check repo");
}

#[test]
fn both_programs_work_on_one_repository_in_turn() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = stock.with_passphrase("secret");
    let desk = Desk::new().with("BORG_BASE_DIR", &stock.base_dir().to_string_lossy());
    let repository = desk.path("repo").to_string_lossy().into_owned();
    desk.borg(&format!("init -e keyfile-blake2 {repository}"));
    desk.borg(&format!("create {repository}::ours input"));
    stock.run_in(
        desk.folder.path(),
        ["create", &format!("{repository}::theirs"), "input"],
    );
    let listed = desk.borg(&format!("list --short {repository}"));
    assert_eq!(listed, "ours\ntheirs\n");
    // The cache that either has written is good for the other.
    let line = ["info", "--json", &repository];
    let theirs: serde_json::Value = serde_json::from_str(&stock.run(line)).unwrap();
    let ours = desk.json(&line.join(" "));
    assert_eq!(ours["cache"]["stats"], theirs["cache"]["stats"]);
    let difference = desk.borg(&format!("diff {repository}::ours theirs"));
    assert_eq!(difference, "");
    stock.run(["delete", &format!("{repository}::ours")]);
    desk.borg(&format!(
        "recreate --exclude input/file {repository}::theirs"
    ));
    stock.run(["check", "--verify-data", &repository]);
    let listed = stock.run(["list", "--short", &format!("{repository}::theirs")]);
    assert_eq!(listed, "input\ninput/folder\ninput/folder/other\n");
}

/// One run of borgmatic over all that it does every night, with this program in Borg's place.
#[test]
fn borgmatic_works_with_this_program() {
    let Some(borgmatic) = testkit::stock_borgmatic() else {
        return;
    };
    let desk = Desk::new();
    let home = desk.folder.path();
    let config = desk.path("config.yaml");
    fs::write(
        &config,
        format!(
            "source_directories: [{input:?}]\n\
             repositories: [{{path: {repo:?}, label: disk}}]\n\
             local_path: {program:?}\n\
             encryption_passphrase: secret\n\
             archive_name_format: 'night-{{now:%Y-%m-%dT%H:%M:%S.%f}}'\n\
             keep_daily: 7\n\
             compression: zstd,3\n\
             exclude_patterns: ['*/other']\n\
             checks: [{{name: repository, frequency: always}}, {{name: archives, frequency: always}}, {{name: extract, frequency: always}}]\n\
             user_runtime_directory: {home:?}\n\
             user_state_directory: {home:?}\n",
            input = desk.path("input"),
            repo = desk.path("repo"),
            program = desk.program(),
        ),
    )
    .unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&borgmatic)
            .args(["--config", config.to_str().unwrap(), "--verbosity", "1"])
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .current_dir(home)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "borgmatic {arguments:?}: {out}{said}"
        );
        out
    };
    run(&["repo-create", "--encryption", "repokey-blake2"]);
    run(&["create", "--stats", "--list"]);
    run(&["prune", "compact", "check"]);
    let listed = run(&["list", "--json"]);
    assert!(listed.contains("night-"), "{listed}");
    let info = run(&["info", "--json"]);
    assert!(info.contains("night-"), "{info}");
    fs::create_dir(desk.path("back")).unwrap();
    let back = desk.path("back");
    run(&[
        "extract",
        "--archive",
        "latest",
        "--destination",
        back.to_str().unwrap(),
    ]);
    let restored = back.join(desk.path("input/file").strip_prefix("/").unwrap());
    assert_eq!(fs::read(restored).unwrap(), b"content");
    // Twice at once is refused by the lock, not by damage: the next night works.
    run(&["create"]);
    run(&["check"]);
}

#[test]
fn check_and_compact_say_how_far_they_are_and_when_they_are_done() {
    let desk = Desk::new();
    desk.borg("init -e none repo");
    desk.borg("create -C none repo::a input");
    desk.borg("create -C none repo::b input");
    desk.borg("delete repo::a");
    for (line, operations) in [
        (
            "check --verify-data --progress --log-json repo",
            [
                "repository.check",
                "check.verify_data",
                "check.rebuild_refcounts",
            ]
            .as_slice(),
        ),
        (
            "compact --progress --log-json repo",
            &["repository.compact_segments"],
        ),
        ("extract --progress --log-json repo::b", &["extract"]),
    ] {
        let output = desk.output(line);
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        let steps: Vec<serde_json::Value> = said
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &serde_json::Value| line["type"] == "progress_percent")
            .collect();
        for (number, operation) in (1..).zip(operations) {
            let of_it: Vec<_> = steps
                .iter()
                .filter(|step| step["msgid"] == *operation)
                .collect();
            let [.., last, done] = of_it.as_slice() else {
                panic!("{operation}: {said}");
            };
            assert!(
                of_it.iter().all(|step| step["operation"] == number),
                "{said}"
            );
            assert_eq!(last["finished"], false, "{said}");
            assert_eq!(done["finished"], true, "{said}");
            if *operation != "extract" {
                assert_eq!(last["current"], last["total"], "{said}");
            }
        }
    }
}

#[test]
fn where_no_archive_goes_frontends_hear_that_it_is_over_and_of_no_percentage() {
    let desk = Desk::new();
    desk.borg("init -e none repo");
    desk.borg("create repo::a input");
    for (line, expected) in [
        ("prune --keep-last 2", [("prune", true)].as_slice()),
        ("delete --glob-archives none*", &[]),
        (
            "prune --keep-hourly 1 --dry-run --glob-archives a",
            &[("prune", true)],
        ),
    ] {
        let output = desk.output(&format!("{line} --progress --log-json repo"));
        assert!(output.status.success());
        let said = String::from_utf8(output.stderr).unwrap();
        let lines = said
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let heard: Vec<_> = lines
            .filter(|line| line["type"] == "progress_percent")
            .map(|line| {
                let msgid = line["msgid"].as_str().unwrap().to_owned();
                (msgid, line["finished"] == true)
            })
            .collect();
        let heard: Vec<_> = heard
            .iter()
            .map(|(id, over)| (id.as_str(), *over))
            .collect();
        assert_eq!(heard, expected, "{line}");
    }
}

/// What is answered at a terminal that the program was started from, though its input is elsewhere:
/// the next answer to each question.
fn at_a_terminal(desk: &Desk, line: &str, answers: &[&str]) -> Option<(String, i32)> {
    use std::io::{Read as _, Write as _};
    let script = testkit::require("script")?;
    let mut command = Command::new(script);
    let borg = format!("{} {line} < /dev/null", desk.program().display());
    command
        .args(["-qefc", &borg, "/dev/null"])
        .env_clear()
        .env("HOME", desk.folder.path())
        .env("TERM", "xterm")
        .current_dir(desk.folder.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut screen = child.stdout.take().unwrap();
    let (mut said, mut part) = (Vec::new(), [0; 256]);
    let mut answers = answers.iter();
    loop {
        let count = screen.read(&mut part).unwrap_or(0);
        if count == 0 {
            break;
        }
        said.extend_from_slice(&part[..count]);
        if said.ends_with(b": ")
            && let Some(answer) = answers.next()
        {
            keys.write_all(answer.as_bytes()).unwrap();
        }
    }
    let status = child.wait().unwrap();
    Some((
        String::from_utf8_lossy(&said).into_owned(),
        status.code().unwrap(),
    ))
}

#[test]
fn a_passphrase_is_asked_for_at_the_terminal_and_not_shown() {
    let desk = Desk::new();
    desk.borg("init -e repokey repo");
    let answers = ["mistaken\n", "secret\n"];
    let Some((said, code)) = at_a_terminal(&desk, "list repo", &answers) else {
        return;
    };
    assert_eq!(code, 0, "{said}");
    let asked = said.matches("Enter passphrase for key").count();
    assert_eq!(asked, 2, "{said}");
    assert!(
        !said.contains("mistaken") && !said.contains("secret"),
        "{said}"
    );
    let (said, code) = at_a_terminal(&desk, "list repo", &["sec\u{3}"]).unwrap();
    assert!(code != 0, "{said}");
}

/// Makes a repository of the mode that died with Borg 1.0, as the real program still can.
const OF_A_PASSPHRASE: &str = r#"
import sys
from borg.helpers import Manifest
from borg.crypto.key import PassphraseKey
from borg.logger import setup_logging
from borg.repository import Repository
setup_logging()
with Repository(sys.argv[1], create=True, exclusive=True) as repository:
    repository._location = type("Location", (), {"canonical_path": lambda self: sys.argv[1]})()
    key = PassphraseKey.create(repository, None)
    manifest = Manifest(key, repository)
    manifest.write()
    repository.commit(compact=False)
"#;

#[test]
fn a_key_made_of_a_passphrase_moves_into_the_repository() {
    let Some(stock) = testkit::stock_borg() else {
        return;
    };
    let stock = stock.with_passphrase("secret");
    let desk = Desk::new().with("BORG_BASE_DIR", &stock.base_dir().to_string_lossy());
    let repository = desk.path("old").to_string_lossy().into_owned();
    let mut python = Command::new(stock.python());
    python.args(["-c", OF_A_PASSPHRASE, &repository]);
    python.env("BORG_PASSPHRASE", "secret");
    python.env("BORG_DISPLAY_PASSPHRASE", "no");
    let _ = testkit::run(&mut python);
    let wrong = desk
        .command(&format!("key migrate-to-repokey {repository}"))
        .env("BORG_PASSPHRASE", "wrong")
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    desk.borg(&format!("key migrate-to-repokey {repository}"));
    desk.borg(&format!("key migrate-to-repokey {repository}"));
    desk.borg(&format!("create {repository}::ours input"));
    stock.run(["check", "--verify-data", &repository]);
    assert_eq!(stock.run(["list", "--short", &repository]), "ours\n");
}

#[test]
fn a_profile_is_read_by_pythons_programs() {
    let Some(python) = testkit::require("python3") else {
        return;
    };
    let desk = Desk::new();
    desk.borg("init -e none repo");
    desk.borg("create --debug-profile create.prof repo::a input");
    desk.borg("debug convert-profile create.prof create.pyprof");
    desk.borg("list --debug-profile list.pyprof repo");
    for (file, name) in [
        ("create.pyprof", "borg create"),
        ("list.pyprof", "borg list"),
    ] {
        let script = "import pstats, sys; pstats.Stats(sys.argv[1]).print_stats()";
        let mut read = Command::new(&python);
        read.args(["-c", script]).arg(desk.path(file));
        let told = testkit::run(&mut read);
        assert!(
            told.contains(name) && told.contains("1 function calls"),
            "{told}"
        );
    }
    assert_eq!(desk.code("debug convert-profile input/file x"), 2);
}

#[test]
fn messages_go_where_the_file_of_settings_says() {
    let desk = Desk::new();
    let log = desk.path("log").display().to_string();
    let settings = format!(
        "[loggers]\nkeys=root\n[handlers]\nkeys=file\n[formatters]\nkeys=short\n[logger_root]\nlevel=INFO\n\
         handlers=file\n[handler_file]\nclass=FileHandler\nformatter=short\nargs=('{log}',)\n\
         [formatter_short]\nformat=%(levelname)s %(name)s %(message)s\n"
    );
    fs::write(desk.path("logging.conf"), settings).unwrap();
    desk.borg("init -e none repo");
    let told = |file: &str| {
        let mut command = desk.command("create --list repo::{now} input/file nowhere");
        command.env("BORG_LOGGING_CONF", desk.path(file));
        let said = command.output().unwrap().stderr;
        String::from_utf8(said).unwrap()
    };
    assert_eq!(told("logging.conf"), "");
    let log = fs::read_to_string(log).unwrap();
    assert!(
        log.contains("INFO borg.output.list A input/file\n"),
        "{log}"
    );
    assert!(log.contains("WARNING borg.archiver nowhere"), "{log}");
    assert!(told("input/file").contains("setup_logging for"));
}
