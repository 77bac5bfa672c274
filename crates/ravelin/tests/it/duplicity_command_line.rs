//! Duplicity's command line: through a link of its name, judged by the real program and by what
//! desktop programs read.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use snapbox::cmd::cargo_bin;
use testkit::{Ignore, StockDuplicity, Tree, assert_same};

const PASSPHRASE: &str = "correct horse";

/// A place with a source, a target and our program under the other's name.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        std::os::unix::fs::symlink(cargo_bin!("ravelin"), scene.path("duplicity")).unwrap();
        fs::create_dir_all(scene.path("source/folder")).unwrap();
        fs::create_dir(scene.path("target")).unwrap();
        fs::write(scene.path("source/letter.txt"), "dear Ada\n").unwrap();
        fs::write(scene.path("source/folder/it's é"), "odd\n").unwrap();
        fs::write(
            scene.path("source/big"),
            testkit::Random::new(7).noise(300_000),
        )
        .unwrap();
        scene.settle();
        scene
    }

    /// Gives the source times without fractions: the format keeps none.
    fn settle(&self) {
        settle(&self.path("source"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn url(&self) -> String {
        format!("file://{}", self.text("target"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("duplicity"));
        command
            .args(arguments)
            .arg("--archive-dir")
            .arg(self.path("cache"))
            .env_clear()
            .env("HOME", self.folder.path())
            .env("TZ", "UTC")
            .env("TMPDIR", self.folder.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PASSPHRASE", PASSPHRASE)
            .stdin(Stdio::null());
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Status and the last error stanza of the log.
    fn failure(&self, arguments: &[&str]) -> (i32, String) {
        let log = self.path("log");
        let _ = fs::remove_file(&log);
        let mut all = arguments.to_vec();
        let log_text = self.text("log");
        all.extend(["--log-file", &log_text]);
        let output = self.output(&all);
        let text = fs::read_to_string(&log).unwrap_or_default();
        let stanza = text
            .split("\n\n")
            .filter(|stanza| stanza.starts_with("ERROR"));
        let stanza = stanza.last().unwrap_or_default().to_owned();
        (output.status.code().unwrap_or(-1), stanza)
    }
}

fn settle(path: &Path) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            settle(&entry.unwrap().path());
        }
    }
    let file = fs::File::open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let seconds = modified.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let whole = UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_modified(whole).unwrap();
}

/// The names of what is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Waits for the next second: sets are told apart by their second.
fn next_second() {
    std::thread::sleep(Duration::from_millis(1100));
}

#[test]
fn a_life_of_backups_as_old_scripts_call_it() {
    let scene = Scene::new();
    let (source, url) = (scene.text("source"), scene.url());
    let said = scene.run(&[&source, &url, "--vols", "1"]);
    assert!(
        said.contains("--------------[ Backup Statistics ]--------------"),
        "{said}"
    );
    assert!(
        said.contains("NewFiles 5\n") && said.contains("Errors 0\n"),
        "{said}"
    );
    next_second();
    fs::write(scene.path("source/letter.txt"), "dear Ada,\n").unwrap();
    fs::remove_file(scene.path("source/big")).unwrap();
    scene.settle();
    let said = scene.run(&["inc", &source, &url]);
    assert!(said.contains("DeletedFiles 1\n"), "{said}");
    let status = scene.run(&["collection-status", &url]);
    for line in [
        "Found primary backup chain with matching signature chain:",
        "Number of contained backup sets: 2",
        " Type of backup set:                            Time:      Num volumes:",
        "No orphaned or incomplete backup sets found.",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let listed = scene.run(&["list-current-files", &url]);
    assert!(
        listed.contains(" letter.txt\n") && !listed.contains(" big\n"),
        "{listed}"
    );
    assert!(
        scene
            .run(&["verify", &url, &source, "--compare-data"])
            .contains("0 difference(s)")
    );
    let (out, file) = (scene.text("out"), scene.text("one file"));
    scene.run(&[&url, &out]);
    assert_same(
        &scene.path("source"),
        &scene.path("out"),
        &Ignore::default(),
    );
    scene.run(&["restore", "--file-to-restore", "folder/it's é", &url, &file]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "odd\n");
    // A set at a time of its own, then only the newest chain.
    next_second();
    scene.run(&["full", &source, &url]);
    let before = names(&scene.path("target"));
    scene.run(&["remove-all-but-n-full", "1", &url]);
    assert_eq!(
        names(&scene.path("target")),
        before,
        "without --force nothing goes"
    );
    scene.run(&["remove-all-but-n-full", "1", "--force", &url]);
    assert_eq!(names(&scene.path("target")).len(), 3);
    fs::write(scene.path("source/letter.txt"), "edited").unwrap();
    let output = scene.output(&["verify", &url, &source, "--compare-data"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn each_failure_has_the_status_and_the_stanza_that_programs_know() {
    let scene = Scene::new();
    let (source, url, out) = (scene.text("source"), scene.url(), scene.text("out"));
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["full", &source, &url, "--unheard-of"],
            23,
            "ERROR 23 CommandLineError",
        ),
        (
            &["full", "/nowhere/at/all", &url],
            23,
            "ERROR 23 CommandLineError",
        ),
        (&["frobnicate", &url], 23, "ERROR 23 CommandLineError"),
        (
            &["full", &source, "gopher://x/y"],
            23,
            "ERROR 23 CommandLineError",
        ),
        (
            &["ls", "--time", "tomorrow", &url],
            23,
            "ERROR 23 CommandLineError",
        ),
        (&["restore", &url, &out], 30, "ERROR 30 CollectionsError"),
        (
            &["list-current-files", &url],
            30,
            "ERROR 30 CollectionsError",
        ),
        (&["inc", &source, &url], 17, "ERROR 17"),
        (
            &["full", &source, &url, "--include", "/elsewhere"],
            14,
            "ERROR 14",
        ),
        (&["full", &source, &url, "--copy-links"], 33, "ERROR 33"),
    ];
    for (arguments, status, stanza) in cases {
        let (code, error) = scene.failure(arguments);
        assert_eq!(code, *status, "{arguments:?}: {error}");
        assert!(error.starts_with(stanza), "{arguments:?}: {error}");
    }
    assert!(names(&scene.path("target")).is_empty());
    scene.run(&["full", &source, &url]);
    let (code, error) = scene.failure(&["restore", &url, &source]);
    assert_eq!((code, error.starts_with("ERROR 11")), (11, true), "{error}");
    let arguments = ["restore", "--path-to-restore", "not/there", &url, &out];
    assert_eq!(scene.failure(&arguments).0, 19);
    // What a desktop program looks for before it asks for the passphrase again.
    let mut command = scene.command(&["restore", &url, &out]);
    let log = scene.path("wrong.log");
    command
        .arg("--log-file")
        .arg(&log)
        .env("PASSPHRASE", "wrong");
    fs::remove_dir_all(scene.path("cache")).unwrap();
    assert_eq!(command.output().unwrap().status.code(), Some(31));
    let said = fs::read_to_string(&log).unwrap();
    assert!(
        said.contains("ERROR 31") && said.contains("Bad session key"),
        "{said}"
    );
    let mut command = scene.command(&["restore", &url, &out]);
    let log = scene.path("none.log");
    command.arg("--log-file").arg(&log);
    // No terminal, and nobody at standard input.
    let mut lonely = Command::new("setsid");
    lonely
        .arg("--wait")
        .arg(command.get_program())
        .args(command.get_args());
    lonely
        .env_clear()
        .env("HOME", scene.folder.path())
        .stdin(Stdio::null());
    lonely.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    assert_eq!(lonely.output().unwrap().status.code(), Some(30));
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("ERROR 30 EOFError"), "{said}");
    // A volume that rotted.
    let folder = scene.path("target");
    let volume = names(&folder)
        .into_iter()
        .find(|name| name.contains(".vol1."));
    let volume = folder.join(volume.unwrap());
    let mut bytes = fs::read(&volume).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&volume, bytes).unwrap();
    let (code, error) = scene.failure(&["restore", &url, &out]);
    assert_eq!((code, error.starts_with("ERROR 21")), (21, true), "{error}");
    fs::remove_file(&volume).unwrap();
    assert_eq!(scene.failure(&["verify", &url, &source]).0, 1);
}

/// The stanzas that a run writes to a descriptor.
fn stanzas(scene: &Scene, arguments: &[&str]) -> Vec<String> {
    let log = scene.path("descriptor.log");
    let file = fs::File::create(&log).unwrap();
    // As a desktop program does it: the descriptor is inherited by number.
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    let number = file.as_raw_fd().to_string();
    let mut all = vec!["--log-fd", &number];
    all.extend(arguments);
    let output = scene.output(&all);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let text = fs::read_to_string(&log).unwrap();
    text.split_terminator("\n\n").map(str::to_owned).collect()
}

#[test]
fn the_stream_for_desktop_programs_has_what_they_read() {
    let scene = Scene::new();
    let (source, url, out) = (scene.text("source"), scene.url(), scene.text("out"));
    let status = |scene: &Scene| {
        let all = stanzas(scene, &["collection-status", &url, "--verbosity=9"]);
        all.into_iter()
            .find(|stanza| stanza.starts_with("INFO 3"))
            .unwrap()
    };
    let empty = status(&scene);
    assert!(empty.starts_with("INFO 3 \nbackend "), "{empty}");
    assert!(!empty.contains("chain-complete"), "{empty}");
    let dry = stanzas(&scene, &["full", "--dry-run", "-v9", &source, &url]);
    let total: u64 = dry
        .iter()
        .filter_map(|stanza| stanza.strip_prefix("INFO 2 ")?.parse::<u64>().ok())
        .sum();
    assert_eq!(total, 300_000 + 9 + 4);
    assert!(names(&scene.path("target")).is_empty());
    let made = stanzas(
        &scene,
        &["full", "-v9", "--no-files-changed", &source, &url],
    );
    assert!(
        made.iter()
            .any(|stanza| stanza == "INFO 4 'letter.txt'\n. A letter.txt"),
        "{made:#?}"
    );
    assert!(
        made.iter()
            .any(|stanza| stanza.starts_with("INFO 4 'folder/it\\x27s \\xe9'")),
        "{made:#?}"
    );
    let full = status(&scene);
    let lines: Vec<&str> = full.lines().collect();
    let at = lines
        .iter()
        .position(|line| *line == "chain-complete")
        .unwrap();
    let words: Vec<&str> = lines[at + 1].split(' ').collect();
    assert_eq!(
        (words[0], words[1], words[3], words[4]),
        ("", "full", "1", "enc"),
        "{full}"
    );
    assert_eq!(words[2].len(), "20261124T073000Z".len());
    assert_eq!(lines[at + 2], "orphaned-sets-num 0");
    let listed = stanzas(&scene, &["list-current-files", &url, "-v9"]);
    let line = listed
        .iter()
        .find(|stanza| stanza.contains("letter.txt"))
        .unwrap();
    let words: Vec<&str> = line.lines().next().unwrap().split(' ').collect();
    assert_eq!(
        (words[0], words[1], words[3], words[4]),
        ("INFO", "10", "'letter.txt'", "reg")
    );
    let back = stanzas(
        &scene,
        &[
            "restore",
            "-v9",
            "--no-restore-ownership",
            "--force",
            &url,
            &out,
        ],
    );
    assert!(
        back.iter()
            .any(|stanza| stanza.starts_with("INFO 7 'letter.txt' reg")),
        "{back:#?}"
    );
    let progress = back
        .iter()
        .rfind(|stanza| stanza.starts_with("INFO 2 "))
        .unwrap();
    let words: Vec<&str> = progress.split(' ').collect();
    assert_eq!((words.len(), words[2]), (4, words[3]), "{progress}");
    // Only what matters, when nobody wants more.
    let quiet = stanzas(&scene, &["verify", "-v0", &url, &source]);
    assert!(quiet.is_empty(), "{quiet:#?}");
}

fn stock_run(stock: &StockDuplicity, arguments: &[&str]) -> String {
    let mut command = stock.command(arguments);
    command.env("PASSPHRASE", PASSPHRASE);
    testkit::run(&mut command)
}

#[test]
fn the_real_program_and_ours_take_turns_on_one_archive() {
    let Some(stock) = testkit::stock_duplicity() else {
        return;
    };
    for more in [
        &[][..],
        &["--no-encryption"],
        &["--no-encryption", "--no-compression"],
    ] {
        let scene = Scene::new();
        let (source, url) = (scene.text("source"), scene.url());
        let ours = |action: &[&str]| scene.run(&[action, more].concat());
        let theirs = |action: &[&str]| stock_run(&stock, &[action, more].concat());
        let edit = |text: &str| {
            next_second();
            fs::write(scene.path("source/letter.txt"), text).unwrap();
            scene.settle();
        };
        ours(&["full", &source, &url]);
        edit("one");
        theirs(&["incremental", &source, &url]);
        edit("two, and longer");
        ours(&["incremental", &source, &url]);
        edit("three");
        fs::remove_file(scene.path("source/folder/it's é")).unwrap();
        scene.settle();
        theirs(&["incremental", &source, &url]);
        for (name, restore) in [("by ours", true), ("by theirs", false)] {
            let out = scene.text(name);
            if restore {
                ours(&["restore", &url, &out]);
            } else {
                theirs(&["restore", &url, &out]);
            }
            assert_same(&scene.path("source"), &scene.path(name), &Ignore::default());
        }
        ours(&["verify", "--compare-data", &url, &source]);
        theirs(&["verify", "--compare-data", &url, &source]);
        next_second();
        theirs(&["full", &source, &url]);
        ours(&["remove-all-inc-of-but-n-full", "1", "--force", &url]);
        let status = theirs(&["collection-status", &url]);
        assert!(
            status.contains("Found 1 secondary backup chain(s)."),
            "{status}"
        );
        assert!(
            status.contains("No orphaned or incomplete backup sets found."),
            "{status}"
        );
    }
}

#[test]
fn both_programs_choose_the_same_files() {
    let Some(stock) = testkit::stock_duplicity() else {
        return;
    };
    let tree = Tree::new(5)
        .file("a/1.py", "1")
        .file("a/2.txt", "2")
        .file("a/b/3.py", "3")
        .file("c/.nobackup", "")
        .file("c/4.py", "4")
        .file("c/d/5", "5")
        .file("[x]/6", "6")
        .file("Upper/7.PY", "7")
        .directory("empty");
    let source = tree.path().display().to_string();
    let at = |text: &str| text.replace('@', &source);
    for rules in [
        &["--include", "@/a/b", "--exclude", "**"][..],
        &["--include", "**.py", "--exclude", "**"],
        &["--include", "ignorecase:**.py", "--exclude", "**"],
        &["--exclude", "@/a/*"],
        &["--exclude", "@/a/", "--exclude", "@/a/2.txt/"],
        &["--exclude", "@/[ac]"],
        &["--exclude", "@/[!ac]"],
        &["--exclude-if-present", ".nobackup"],
        &[
            "--include-regexp",
            "[0-9]\\.py$",
            "--exclude-regexp",
            "/c(/|$)",
        ],
        &["--filter-literal", "--exclude", "@/[x]"],
        &["--filter-ignorecase", "--exclude", "@/UPPER"],
        &[
            "--include",
            "@/a/b/3.py",
            "--exclude",
            "@/a",
            "--exclude",
            "@/c",
        ],
        &["--exclude-older-than", "2001-01-01"],
    ] {
        let scene = Scene::new();
        let rules: Vec<String> = rules.iter().map(|rule| at(rule)).collect();
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let (ours, theirs) = (scene.url(), format!("{}-2", scene.url()));
        let list = |text: String| {
            // Behind the date, `Thu Nov 26 05:38:10 2026`.
            let names = text.lines().filter_map(|line| line.get(25..));
            names.map(str::to_owned).collect::<Vec<_>>()
        };
        scene.run(&[&["full", &source, &ours][..], &rules].concat());
        stock_run(
            &stock,
            &[&["full", &source, &theirs, "--no-encryption"][..], &rules].concat(),
        );
        let ours = list(scene.run(&["list-current-files", &ours, "-v0"]));
        let theirs = list(stock_run(
            &stock,
            &["list-current-files", &theirs, "--no-encryption", "-v0"],
        ));
        assert_eq!(ours, theirs, "{rules:?}");
    }
}

#[test]
fn a_run_that_was_killed_is_cleaned_up_and_disturbs_nobody() {
    let scene = Scene::new();
    let (source, url) = (scene.text("source"), scene.url());
    scene.run(&["full", &source, &url, "--no-encryption"]);
    let good = names(&scene.path("target"));
    next_second();
    fs::write(
        scene.path("source/more"),
        testkit::Random::new(9).noise(5_000_000),
    )
    .unwrap();
    let rehearsal = format!("fortestsonly://{}", scene.text("target"));
    let same = ["--no-encryption", "--name", "one"];
    let mut command =
        scene.command(&[&["full", &source, &rehearsal, "--volsize", "1"][..], &same].concat());
    command.env("DUP_FAIL_BY_SYSTEM_EXIT", "vol2.difftar");
    assert_eq!(command.output().unwrap().status.code(), Some(30));
    assert!(names(&scene.path("target")).len() > good.len());
    let status = scene.run(&[&["collection-status", &url][..], &same].concat());
    assert!(
        status.contains("and 1 incomplete backup set(s)."),
        "{status}"
    );
    scene.run(&[&["verify", &url, &source][..], &same].concat());
    let found = scene.run(&[&["cleanup", &url][..], &same].concat());
    // Volumes are stored side by side: either of the two may be there.
    assert!(found.contains(".difftar"), "{found}");
    // What a write had only begun goes when it is sure that nobody goes on with it.
    let begun = scene.path("target/.ravelin-tmp-1");
    fs::write(&begun, "half").unwrap();
    for name in names(&scene.path("target")) {
        if name.starts_with(".ravelin-tmp-") {
            let file = fs::File::options()
                .write(true)
                .open(scene.path("target").join(name));
            file.unwrap().set_modified(UNIX_EPOCH).unwrap();
        }
    }
    scene.run(&[&["cleanup", "--force", &url][..], &same].concat());
    assert_eq!(names(&scene.path("target")), good);
    scene.run(&[&["inc", &source, &url][..], &same].concat());
    scene.run(&[&["verify", "--compare-data", &url, &source][..], &same].concat());
}

/// The source changes while a full backup is cut off. The stock program, which goes on with its own
/// in the same way, judges what comes of it.
#[test]
fn a_full_backup_that_was_cut_off_goes_on_and_the_next_increment_has_all() {
    let scene = Scene::new();
    let (source, url) = (scene.text("source"), scene.url());
    let noise = |seed| testkit::Random::new(seed).noise(2_500_000);
    fs::write(scene.path("source/early"), noise(3)).unwrap();
    fs::write(scene.path("source/large"), noise(4)).unwrap();
    let rehearsal = format!("fortestsonly://{}", scene.text("target"));
    let same = ["--no-encryption", "--name", "one", "--volsize", "1"];
    let mut command = scene.command(&[&["full", &source, &rehearsal][..], &same].concat());
    command.env("DUP_FAIL_BY_SYSTEM_EXIT", "vol4.difftar");
    assert_eq!(command.output().unwrap().status.code(), Some(30));
    let target = scene.path("target");
    let first = names(&target)
        .into_iter()
        .find(|name| name.contains(".vol1."));
    let first = target.join(first.unwrap());
    let before = fs::read(&first).unwrap();
    fs::write(scene.path("source/a"), "came before the end of the volumes").unwrap();
    fs::write(scene.path("source/large"), noise(5)).unwrap();
    fs::write(scene.path("source/z"), "came behind").unwrap();
    let said = scene.run(&[&["full", &source, &url][..], &same].concat());
    assert!(said.contains("goes on where its volumes end"), "{said}");
    assert!(said.contains("large has changed since"), "{said}");
    assert_eq!(
        fs::read(&first).unwrap(),
        before,
        "the volume was made anew"
    );
    let local = &same[..3];
    let cleanup = scene.run(&[&["cleanup", &url][..], local].concat());
    assert!(!cleanup.contains("difftar"), "{cleanup}");
    let judge = |what: &str| {
        let back = scene.text(what);
        if let Some(stock) = testkit::stock_duplicity() {
            stock_run(&stock, &["restore", "--no-encryption", &url, &back]);
        } else {
            scene.run(&[&["restore", &url, &back][..], local].concat());
        }
        let large = fs::read(scene.path(&format!("{what}/large"))).unwrap();
        assert!(large == noise(5));
        let early = fs::read(scene.path(&format!("{what}/early"))).unwrap();
        assert!(early == noise(3));
        assert!(scene.path(&format!("{what}/z")).exists());
        scene.path(&format!("{what}/a")).exists()
    };
    assert!(!judge("of the full set"), "it has no place there");
    next_second();
    scene.run(&[&["inc", &source, &url][..], local].concat());
    assert!(judge("of the increment"));
    scene.run(&[&["verify", "--compare-data", &url, &source][..], local].concat());
}

#[test]
fn a_single_file_a_rename_and_patterns_are_restored_where_they_belong() {
    let scene = Scene::new();
    let (source, url) = (scene.text("source"), scene.url());
    scene.run(&["full", &source, &url]);
    let renamed = scene.text("renamed");
    scene.run(&[
        "restore",
        "--rename",
        "folder",
        "other/place",
        &url,
        &renamed,
    ]);
    assert!(scene.path("renamed/other/place/it's é").exists());
    assert!(!scene.path("renamed/folder").exists());
    let some = scene.text("some");
    let rules = ["--include", "folder/it*", "--exclude", "**"];
    scene.run(&[&["restore", &url, &some][..], &rules].concat());
    assert_eq!(names(&scene.path("some")), ["folder"]);
    // A source that is one file.
    let (letter, single) = (
        scene.text("source/letter.txt"),
        format!("{}-single", scene.url()),
    );
    scene.run(&["full", &letter, &single]);
    let back = scene.text("back.txt");
    scene.run(&["restore", &single, &back]);
    assert_eq!(fs::read_to_string(&back).unwrap(), "dear Ada\n");
    scene.run(&["verify", "--compare-data", &single, &letter]);
    if let Some(stock) = testkit::stock_duplicity() {
        let theirs = scene.text("theirs.txt");
        stock_run(&stock, &["restore", &single, &theirs]);
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "dear Ada\n");
    }
    let name = std::ffi::OsStr::from_bytes(b"source/\xff\xfe");
    fs::write(scene.folder.path().join(name), "bytes").unwrap();
    next_second();
    let listed = stanzas(&scene, &["inc", "-v5", &source, &url]);
    assert!(
        listed
            .iter()
            .any(|stanza| stanza.starts_with("INFO 4 '\\xff\\xfe'")),
        "{listed:#?}"
    );
}

#[test]
fn a_full_set_made_of_a_chain_is_one_for_the_real_program() {
    let Some(stock) = testkit::stock_duplicity() else {
        return;
    };
    let scene = Scene::new();
    let (source, url) = (scene.text("source"), scene.url());
    stock_run(&stock, &["full", &source, &url]);
    next_second();
    fs::write(scene.path("source/letter.txt"), "dear Ada, again\n").unwrap();
    scene.settle();
    stock_run(&stock, &["incremental", &source, &url]);
    let said = scene.run(&["synthetic-full", &url]);
    assert!(said.contains("A full set was made"), "{said}");
    scene.run(&["remove-all-but-n-full", "1", "--force", &url]);
    let status = stock_run(&stock, &["collection-status", &url]);
    assert!(
        status.contains("Number of contained backup sets: 1"),
        "{status}"
    );
    let out = scene.text("out");
    stock_run(&stock, &["restore", &url, &out]);
    assert_same(
        &scene.path("source"),
        &scene.path("out"),
        &Ignore::default(),
    );
    next_second();
    next_second();
    fs::write(
        scene.path("source/letter.txt"),
        "dear Ada, for the third time\n",
    )
    .unwrap();
    scene.settle();
    let said = stock_run(&stock, &["incremental", &source, &url]);
    assert!(said.contains("ChangedFiles 1\n"), "{said}");
    scene.run(&["verify", "--compare-data", &url, &source]);
}
