//! The calls of Vorta and of Pika Backup, in their own words: what they type, where they put the
//! passphrase, and what they read of the answers. The stock program answers the same calls, and
//! says what has to be in the answers.
//!
//! Source: the calls of Vorta 0.11.6 (`vorta.borg`) and of Pika Backup 0.8 (`borg::functions`).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use snapbox::cmd::cargo_bin;
use tempfile::TempDir;

/// Where a frontend puts the passphrase.
#[derive(Clone, Copy)]
enum Passphrase {
    /// `BORG_PASSPHRASE`, as Vorta does.
    Variable,
    /// A socket whose number is in `BORG_PASSPHRASE_FD`, as Pika does.
    Socket,
}

/// A home with some files, and a program that a frontend finds as `borg`.
struct Frontend {
    home: TempDir,
    passphrase: Passphrase,
    is_stock: bool,
    variables: &'static [(&'static str, &'static str)],
}

/// What comes of a call.
struct Answer {
    code: Option<i32>,
    /// Standard output.
    text: String,
    /// Standard error: each line is an object of JSON.
    lines: Vec<Value>,
}

impl Frontend {
    fn new(program: &Path, passphrase: Passphrase, variables: &'static [(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        symlink(program, home.path().join("bin/borg")).unwrap();
        for folder in ["input/folder", "input/left-out", "back", "mnt"] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        for (path, content) in [
            ("input/file", "content"),
            ("input/folder/other", "more content"),
            ("input/left-out/.nobackup", ""),
            ("input/left-out/gone", "nobody wants it"),
            ("excludes", "*.tmp\n"),
            ("patterns", "P pf\n+ input/file\n- fm:*\n"),
        ] {
            fs::write(home.path().join(path), content).unwrap();
        }
        symlink("file", home.path().join("input/link")).unwrap();
        // Borg does not remember the newest files of a run. That is to be this one alone, and not,
        // as the clock ticks, now all of them.
        let changed = |path| {
            let metadata = fs::metadata(home.path().join(path)).unwrap();
            (metadata.ctime(), metadata.ctime_nsec())
        };
        while changed("input/folder/other") <= changed("input/file") {
            fs::write(home.path().join("input/folder/other"), "more content").unwrap();
        }
        Self {
            home,
            passphrase,
            is_stock: false,
            variables,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.path("bin/borg"));
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home.path())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.variables.iter().copied())
            .current_dir(self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A call with this passphrase.
    fn with(&self, passphrase: &str, words: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = self.command(words);
        command.envs(variables.iter().copied());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        match self.passphrase {
            Passphrase::Variable => {
                command.env("BORG_PASSPHRASE", passphrase);
            }
            Passphrase::Socket => {
                rustix::io::fcntl_setfd(&ours, rustix::io::FdFlags::empty()).unwrap();
                theirs.write_all(passphrase.as_bytes()).unwrap();
                command.env("BORG_PASSPHRASE_FD", ours.as_raw_fd().to_string());
            }
        }
        drop(theirs);
        command.output().unwrap()
    }

    fn call(&self, words: &[&str]) -> Answer {
        let mut output = self.with("secret", words, &[]);
        if self.is_stock {
            // Some of its warnings are no JSON.
            let said = String::from_utf8(output.stderr).unwrap();
            let lines = said.lines().filter(|line| line.starts_with('{'));
            output.stderr = lines.collect::<Vec<_>>().join("\n").into_bytes();
        }
        Answer::of(&output, words)
    }
}

impl Answer {
    fn of(output: &Output, words: &[&str]) -> Self {
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        let lines = said.lines().map(|line| match serde_json::from_str(line) {
            Ok(line) => line,
            Err(_) => panic!("{words:?} says on standard error: {line}"),
        });
        Self {
            code: output.status.code(),
            lines: lines.collect(),
            text: String::from_utf8(output.stdout.clone()).unwrap(),
        }
    }

    /// The values of standard output, one a line or one in all.
    fn values(&self) -> Vec<Value> {
        match serde_json::from_str(&self.text) {
            Ok(value) => vec![value],
            Err(_) => self
                .text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect(),
        }
    }

    /// Messages of this name.
    fn messages(&self, name: &str) -> Vec<&str> {
        let lines = self.lines.iter().filter(|line| line["name"] == name);
        lines
            .map(|line| line["message"].as_str().unwrap())
            .collect()
    }

    fn of_type(&self, kind: &str) -> Vec<&Value> {
        let lines = self.lines.iter();
        lines.filter(|line| line["type"] == kind).collect()
    }

    /// What a frontend knows an error by.
    fn msgid(&self) -> &str {
        let mut errors = self
            .lines
            .iter()
            .filter(|line| line["levelname"] == "ERROR");
        let error = errors.next().expect("nothing went wrong");
        error["msgid"].as_str().unwrap_or_default()
    }
}

/// All places in a value, with what stands there.
fn shape(value: &Value, place: &str, places: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                shape(value, &format!("{place}.{name}"), places);
            }
        }
        Value::Array(values) => {
            for value in values {
                shape(value, &format!("{place}[]"), places);
            }
        }
        Value::Null => drop(places.insert(format!("{place}: null"))),
        Value::Bool(_) => drop(places.insert(format!("{place}: flag"))),
        Value::Number(_) => drop(places.insert(format!("{place}: number"))),
        Value::String(_) => drop(places.insert(format!("{place}: text"))),
    }
}

/// Puts the same calls to both programs: ours ends as the stock one does, and all that stands in
/// its answer stands in ours.
fn compare(ours: &Frontend, stock: &Frontend, calls: &[&[&str]]) {
    for words in calls {
        let (answer, expected) = (ours.call(words), stock.call(words));
        assert_eq!(answer.code, expected.code, "{words:?}: {:?}", answer.lines);
        if words.iter().any(|word| word.starts_with("--json")) {
            let [answer, expected] = [&answer, &expected].map(|answer| {
                let mut places = BTreeSet::new();
                for value in answer.values() {
                    shape(&value, "", &mut places);
                }
                places
            });
            let missing: Vec<_> = expected.difference(&answer).collect();
            assert!(missing.is_empty(), "{words:?} lacks {missing:?}");
        }
        let [listed, expected_list] = [&answer, &expected].map(|answer| {
            let list = answer.messages("borg.output.list");
            // How many words there are of each kind; the names of archives and times differ.
            let kinds = list.iter().filter_map(|line| line.split(' ').next());
            let mut kinds: Vec<_> = kinds.map(str::to_owned).collect();
            kinds.sort();
            kinds
        });
        assert_eq!(listed, expected_list, "{words:?}");
        let [told, expected_status] = [&answer, &expected].map(|answer| {
            let lines = answer.of_type("file_status");
            let files = lines.iter().map(|line| {
                let (status, path) = (line["status"].as_str(), line["path"].as_str());
                (status.unwrap().to_owned(), path.unwrap().to_owned())
            });
            files.collect::<BTreeSet<_>>()
        });
        assert_eq!(told, expected_status, "{words:?}");
        for line in answer.of_type("archive_progress") {
            let is_last = line["finished"] == true;
            assert!(is_last || line["nfiles"].is_u64(), "{line}");
            assert!(is_last || line["deduplicated_size"].is_u64(), "{line}");
        }
        for line in answer.of_type("progress_percent") {
            assert!(line["finished"].is_boolean(), "{line}");
        }
        let [over, expected_over] = [&answer, &expected].map(|answer| {
            let lines = answer.of_type("progress_percent");
            let over = lines.iter().filter(|line| line["finished"] == true);
            over.filter_map(|line| line["msgid"].as_str().map(str::to_owned))
                .collect::<BTreeSet<_>>()
        });
        assert!(
            over.is_superset(&expected_over),
            "{words:?}: {over:?}, and Borg says {expected_over:?}"
        );
    }
}

fn both(
    passphrase: Passphrase,
    variables: &'static [(&str, &str)],
) -> Option<(Frontend, Frontend)> {
    let stock = testkit::stock_borg()?;
    let ours = Frontend::new(cargo_bin!("ravelin"), passphrase, variables);
    let mut stock = Frontend::new(&stock.program(), passphrase, variables);
    stock.is_stock = true;
    Some((ours, stock))
}

/// Errors that frontends tell apart.
fn errors_have_their_names(frontend: &Frontend) {
    let words = ["list", "--log-json", "--json", "repo"];
    let refused = Answer::of(&frontend.with("wrong", &words, &[]), &words);
    assert_eq!(refused.msgid(), "PassphraseWrong");
    let refused = frontend.call(&["list", "--log-json", "--json", "nowhere"]);
    assert_eq!(refused.msgid(), "Repository.DoesNotExist");
    let again = ["init", "--log-json", "--encryption=repokey", "repo"];
    assert_eq!(frontend.call(&again).msgid(), "Repository.AlreadyExists");
    let mut holder = frontend
        .command(&["with-lock", "repo", "sh", "-c", "echo held; read line"])
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let words = ["create", "--log-json", "--json", "repo::locked", "input"];
    assert_eq!(frontend.call(&words).msgid(), "LockTimeout");
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

/// Ctrl-C by the frontend: Vorta gives it three seconds, then kills.
fn a_cancelled_backup_ends_at_once(frontend: &Frontend) {
    let fifo = frontend.path("input/zz-fifo");
    assert!(
        Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .unwrap()
            .success()
    );
    let words = [
        "create",
        "--log-json",
        "--read-special",
        "repo::cut",
        "input",
    ];
    let mut command = frontend.command(&words);
    let mut child = command.env("BORG_PASSPHRASE", "secret").spawn().unwrap();
    let writer = fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let began = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    // What it waits for does not come before it has heard of the end.
    std::thread::sleep(Duration::from_millis(300));
    drop(writer);
    assert!(!child.wait().unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(3));
    fs::remove_file(fifo).unwrap();
}

/// A mount and its end, as a frontend does it.
fn mounts(frontend: &Frontend, mount: &[&str], unmount: &[&str], file: &str, umask: u32) {
    if !Path::new("/dev/fuse").exists() || testkit::require("fusermount3").is_none() {
        return testkit::say_skipped("this machine has no FUSE");
    }
    let mounted = frontend.call(mount);
    assert_eq!(mounted.code, Some(0), "{:?}", mounted.lines);
    let content = fs::read(frontend.path(file));
    let metadata = fs::metadata(frontend.path(file));
    let unmounted = frontend.call(unmount);
    assert_eq!(content.unwrap(), b"content");
    let metadata = metadata.unwrap();
    assert_eq!((metadata.uid(), metadata.mode() & 0o777 & umask), (4711, 0));
    assert_eq!(unmounted.code, Some(0), "{:?}", unmounted.lines);
}

#[test]
fn vorta_finds_all_that_it_reads() {
    let variables = &[
        ("BORG_HOSTNAME_IS_UNIQUE", "1"),
        ("BORG_RELOCATED_REPO_ACCESS_IS_OK", "1"),
        ("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes"),
        ("BORG_RSH", "ssh"),
    ];
    let Some((ours, stock)) = both(Passphrase::Variable, variables) else {
        return;
    };
    let version = ours.call(&["--version"]).text;
    let number = version.trim().split(' ').nth(1).unwrap();
    assert!(number.starts_with("1.4."), "{version}");
    let create = |archive| {
        let mut words = vec![
            "create",
            "--list",
            "--progress",
            "--info",
            "--log-json",
            "--json",
        ];
        words.extend([
            "--filter=AM",
            "-C",
            "zstd,3",
            "--exclude-if-present",
            ".nobackup",
        ]);
        words.extend(["--exclude-from", "excludes", archive, "input"]);
        words
    };
    let fields = "{mode}{user}{group}{size}{isomtime}{path}{source}{health}{NL}";
    let list = [
        "list",
        "--info",
        "--log-json",
        "--json-lines",
        "--format",
        fields,
        "repo::one",
    ];
    compare(
        &ours,
        &stock,
        &[
            &[
                "init",
                "--info",
                "--log-json",
                "--encryption=repokey-blake2",
                "repo",
            ],
            &["info", "--info", "--json", "--log-json", "repo"],
            &create("repo::one"),
        ],
    );
    for frontend in [&ours, &stock] {
        fs::write(frontend.path("input/file"), "other content").unwrap();
        fs::write(frontend.path("input/new"), "new").unwrap();
    }
    compare(
        &ours,
        &stock,
        &[
            &create("repo::two"),
            &["list", "--info", "--log-json", "--json", "repo"],
            &["info", "--log-json", "--json", "repo::one"],
            &list,
            &[
                "diff",
                "--info",
                "--log-json",
                "--json-lines",
                "repo::one",
                "two",
            ],
            &["rename", "--info", "--log-json", "repo::two", "three"],
            &["break-lock", "--info", "--log-json", "repo"],
            &["check", "--info", "--log-json", "--progress", "repo"],
            &[
                "extract",
                "--dry-run",
                "--log-json",
                "--progress",
                "repo::one",
            ],
            &[
                "export-tar",
                "--strip-components=1",
                "-e",
                "input/folder",
                "repo::one",
                "one.tar",
            ],
            &["key", "export", "--info", "--log-json", "repo", "key"],
            &["key", "import", "--info", "--log-json", "repo", "key"],
            &[
                "key",
                "export",
                "--info",
                "--log-json",
                "--paper",
                "repo",
                "paper",
            ],
            &[
                "key",
                "export",
                "--info",
                "--log-json",
                "--qr-html",
                "repo",
                "page",
            ],
        ],
    );
    for [name, holds] in [
        ["one.tar", "content"],
        ["key", "BORG_KEY "],
        ["paper", "id: "],
        ["page", "<html"],
    ] {
        for frontend in [&ours, &stock] {
            let bytes = fs::read(frontend.path(name)).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.contains(holds), "{name} of {}", frontend.is_stock);
        }
    }
    let words = [
        "extract",
        "--list",
        "--info",
        "--log-json",
        "--patterns-from",
    ];
    let patterns = ours.path("patterns");
    let mut command = ours.command(&words);
    let extracted = command
        .args([patterns.to_str().unwrap(), "../repo::one"])
        .env("BORG_PASSPHRASE", "secret")
        .current_dir(ours.path("back"))
        .output()
        .unwrap();
    let extracted = Answer::of(&extracted, &words);
    assert_eq!(extracted.messages("borg.output.list"), ["input/file"]);
    assert_eq!(fs::read(ours.path("back/input/file")).unwrap(), b"content");
    assert!(!ours.path("back/input/folder").exists());
    let mount = [
        "--log-json",
        "mount",
        "-o",
        "umask=0277,uid=4711",
        "repo::one",
        "mnt",
    ];
    let unmount = ["umount", "--log-json", "mnt"];
    mounts(&ours, &mount, &unmount, "mnt/input/file", 0o277);
    errors_have_their_names(&ours);
    let change = ["--info", "--log-json", "key", "change-passphrase", "repo"];
    let changed = ours.with("secret", &change, &[("BORG_NEW_PASSPHRASE", "other")]);
    assert!(changed.status.success());
    let back = ours.with("other", &change, &[("BORG_NEW_PASSPHRASE", "secret")]);
    assert!(back.status.success());
    let keep = [
        "--keep-hourly",
        "1",
        "--keep-daily",
        "0",
        "--keep-within",
        "1H",
    ];
    let prune = [
        &["prune", "--list", "--info", "--log-json"][..],
        &keep,
        &["repo"],
    ]
    .concat();
    compare(
        &ours,
        &stock,
        &[
            &prune,
            &["delete", "--info", "--log-json", "repo::one", "three"],
            &["--info", "--log-json", "compact", "--progress", "repo"],
            &["list", "--info", "--log-json", "--json", "repo"],
        ],
    );
    a_cancelled_backup_ends_at_once(&ours);
}

#[test]
fn pika_finds_all_that_it_reads() {
    let Some((ours, stock)) = both(Passphrase::Socket, &[]) else {
        return;
    };
    let rsh = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new";
    let call = |command: &[&'static str], options: &[&'static str], places: &[&'static str]| {
        let words = [
            command,
            &["--rsh", rsh],
            options,
            &["--log-json", "--"],
            places,
        ];
        words.concat()
    };
    assert!(
        ours.call(&["--log-json", "--version", "--"])
            .text
            .starts_with("borg 1.4.")
    );
    let fields = "--format={hostname}{username}{comment}{end}{command_line}";
    let create = [
        "--progress",
        "--json",
        "--compression=zstd",
        "--exclude-caches",
    ];
    let create = [
        &create[..],
        &["--exclude=pp:input/left-out", "--exclude=sh:**/*.tmp"],
    ]
    .concat();
    let keep = [
        "--prefix=a1b2c3-",
        "--keep-within=1H",
        "--keep-hourly=48",
        "--keep-daily=14",
    ];
    let keep = [
        &keep[..],
        &["--keep-weekly=4", "--keep-monthly=12", "--keep-yearly=10"],
    ]
    .concat();
    let prune_info = [&keep[..], &["--dry-run", "--list"]].concat();
    let prune = [&keep[..], &["--progress"]].concat();
    let list = ["--json", "--consider-checkpoints", fields];
    compare(
        &ours,
        &stock,
        &[
            &call(&["init"], &["--encryption=repokey-blake2"], &["repo"]),
            &call(&["list"], &["--json", "--last=1", fields], &["repo"]),
            &call(&["create"], &create, &["repo::a1b2c3-00000001", "input"]),
            &call(&["create"], &create, &["repo::a1b2c3-00000002", "input"]),
            &call(&["list"], &list, &["repo"]),
            &call(&["prune"], &prune_info, &["repo"]),
            &call(&["prune"], &prune, &["repo"]),
            &call(&["check"], &["--progress"], &["repo"]),
            &call(&["break-lock"], &[], &["repo"]),
        ],
    );
    let mount = call(&["mount"], &["-o", "umask=0000,uid=4711"], &["repo", "mnt"]);
    let unmount = call(&["umount"], &[], &["mnt"]);
    mounts(&ours, &mount, &unmount, "mnt/a1b2c3-00000001/input/file", 0);
    errors_have_their_names(&ours);
    let change = call(&["key", "change-passphrase"], &[], &["repo"]);
    let changed = ours.with("secret", &change, &[("BORG_NEW_PASSPHRASE", "other")]);
    assert!(changed.status.success());
    let back = ours.with("other", &change, &[("BORG_NEW_PASSPHRASE", "secret")]);
    assert!(back.status.success());
    compare(
        &ours,
        &stock,
        &[
            &call(&["delete"], &["--progress"], &["repo", "a1b2c3-00000001"]),
            &call(&["compact"], &["--progress"], &["repo"]),
            &call(&["list"], &["--json", fields], &["repo"]),
        ],
    );
    a_cancelled_backup_ends_at_once(&ours);
}
