//! The drop folder as a person meets it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use snapbox::cmd::cargo_bin;
use snapbox::str;

use crate::bench::{Bench, files_below};

/// What a command prints on stdout.
fn output(bench: &Bench, arguments: &[&str]) -> Vec<u8> {
    let output = bench
        .ravelin(arguments.iter().copied())
        .assert()
        .success()
        .get_output()
        .clone();
    output.stdout
}

fn json(bench: &Bench, arguments: &[&str]) -> serde_json::Value {
    let arguments = [&["--json"], arguments].concat();
    serde_json::from_slice(&output(bench, &arguments)).unwrap()
}

#[test]
fn a_file_is_put_changed_deleted_and_brought_back() {
    let bench = Bench::new();
    bench.file("report.txt", "one");
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n\
         [layer.drop]\nkind = \"drop\"\nstore = \"~/nas\"\nfolder = \"~/Drop\"\n",
    );
    bench
        .ravelin(["drop", "ls"])
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: this could not be done [layer-not-created]
  because: cannot open the store `[HOME]/nas`: it does not exist
  because: no drop folder is there yet
  next: `ravelin drop init` makes one; if there should be one, check whether the drive is mounted

"#]]);
    output(&bench, &["drop", "init"]);
    output(&bench, &["drop", "put", "report.txt", "--to", "a"]);
    bench.file("report.txt", "two");
    output(&bench, &["drop", "put", "report.txt", "--to", "a"]);
    // Plain, for every other program.
    assert_eq!(
        fs::read(bench.home().join("nas/a/report.txt")).unwrap(),
        b"two"
    );
    let history = json(&bench, &["drop", "history", "a/report.txt"]);
    let first = history["files"][0]["version"].as_str().unwrap();
    assert_eq!(
        output(&bench, &["drop", "get", "a/report.txt", "--version", first]),
        b"one"
    );
    output(&bench, &["drop", "rm", "a/report.txt"]);
    bench
        .ravelin(["drop", "get", "a/report.txt"])
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: this could not be done [no-such-path]
  because: there is no file `a/report.txt` in the drop folder
  next: `ravelin drop ls` and `ravelin drop deleted` list the files

"#]]);
    let deleted = json(&bench, &["drop", "deleted"]);
    assert_eq!(deleted["files"][0]["path"], "a/report.txt");
    output(&bench, &["drop", "deleted", "--restore", "a/report.txt"]);
    output(
        &bench,
        &["drop", "restore", "a/report.txt", "--version", first],
    );
    output(&bench, &["drop", "get", "a/report.txt", "--to", "back.txt"]);
    assert_eq!(fs::read(bench.home().join("back.txt")).unwrap(), b"one");
    // Nothing of this machine is replaced.
    bench
        .ravelin(["drop", "get", "a/report.txt", "--to", "back.txt"])
        .assert()
        .code(1);
    output(&bench, &["drop", "as-of", "0 seconds", "--to", "then"]);
    assert_eq!(
        fs::read(bench.home().join("then/a/report.txt")).unwrap(),
        b"one"
    );
    output(&bench, &["drop", "verify"]);
    let share = [
        "drop",
        "share",
        "a/report.txt",
        "--expires",
        "7 days",
        "--once",
    ];
    // A link that nobody serves is none.
    bench.ravelin(share).assert().code(1).stderr_eq(str![[r#"
error: this could not be done [unexpected]
  because: no web page is known that serves the links of this drop folder
  next: serve it with `ravelin ui --proxy https://NAME` on a machine that others reach, or name the page with `--page https://NAME`

"#]]);
    assert_eq!(json(&bench, &["drop", "links"]), serde_json::json!([]));
    let page = ["--page", "https://files.example.org/"];
    let link = json(&bench, &[&share[..], &page].concat());
    let id = link[0]["link"].as_str().unwrap();
    let url = link[0]["url"].as_str().unwrap();
    assert!(url.starts_with("https://files.example.org/s/"), "{url}");
    // Where the page was served last is known.
    bench.file(
        ".local/state/ravelin/page/address",
        "https://page.example.org",
    );
    let listed = json(&bench, &["drop", "links"]);
    assert_eq!(listed[0]["once"], true);
    let known = url.replace("files.example.org", "page.example.org");
    assert_eq!(listed[0]["url"], known);
    output(&bench, &["drop", "links", "--revoke", id]);
    assert_eq!(json(&bench, &["drop", "links"]), serde_json::json!([]));
    let asked = json(
        &bench,
        &["drop", "request", "Photos", "--deadline", "7 days"],
    );
    let url = asked[0]["url"].as_str().unwrap();
    assert!(url.starts_with("https://page.example.org/r/"), "{url}");
    // Only S3 signs addresses by itself.
    bench
        .ravelin([
            "drop",
            "share",
            "a/report.txt",
            "--expires",
            "1 hour",
            "--presigned",
        ])
        .assert()
        .code(1);
    // An end is required.
    bench
        .ravelin(["drop", "share", "a/report.txt"])
        .assert()
        .code(2);
}

#[test]
fn a_store_that_signs_addresses_serves_the_file_itself() {
    let Some(server) = testkit::servers::seaweed() else {
        return;
    };
    let bench = Bench::new();
    bench.file("report & plan.txt", "for a guest");
    let store = format!("s3+http://key:secret@127.0.0.1:{}/bucket/drop", server.port);
    let at = ["--store", &store];
    output(&bench, &[&["drop", "init"], &at[..]].concat());
    let file = "report & plan.txt";
    output(&bench, &[&["drop", "put", file], &at[..]].concat());
    let share = ["drop", "share", file, "--presigned"];
    let share = |life| [&share[..], &["--expires", life], &at[..]].concat();
    let link = json(&bench, &share("1 hour"));
    assert_eq!(link[0]["path"], file);
    assert_eq!(link[0]["presigned"], true);
    let url = link[0]["url"].as_str().unwrap();
    assert!(!url.contains("secret"), "{url}");
    assert_eq!(testkit::servers::fetch(url), "for a guest");
    // A person gets the address alone.
    let printed = String::from_utf8(output(&bench, &share("1 hour"))).unwrap();
    assert_eq!(printed.lines().count(), 1);
    assert_eq!(testkit::servers::fetch(printed.trim()), "for a guest");
    // S3 signs for a week at most, and the link is none of ours that could be taken back.
    bench.ravelin(share("8 days")).assert().code(1);
    let links = json(&bench, &[&["drop", "links"], &at[..]].concat());
    assert_eq!(links, serde_json::json!([]));
    let missing = [
        "drop",
        "share",
        "other",
        "--presigned",
        "--expires",
        "1 hour",
    ];
    let missing = [&missing[..], &at[..]].concat();
    bench.ravelin(missing).assert().code(1);
    output(&bench, &[&["drop", "rm", file], &at[..]].concat());
    assert!(!testkit::servers::fetch(url).contains("for a guest"));
}

#[test]
fn two_folders_follow_each_other_until_they_are_stopped() {
    let bench = Bench::new();
    for folder in ["Drop", "Other"] {
        fs::create_dir(bench.home().join(folder)).unwrap();
    }
    bench.file("Drop/x", "1");
    output(&bench, &["drop", "init", "--store", "nas"]);
    let plan = json(&bench, &["drop", "sync", "Drop", "--store", "nas", "-n"]);
    assert_eq!(plan, serde_json::json!({"path": "x", "did": "uploaded"}));
    let mut watching = Command::new(cargo_bin!("ravelin"))
        .args(["drop", "sync", "Drop", "--watch", "--store", "nas"])
        .env_clear()
        .env("HOME", bench.home())
        .current_dir(bench.home())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = |path: &str, content: &[u8]| {
        let began = Instant::now();
        let path = bench.home().join(path);
        while fs::read(&path).ok().as_deref() != Some(content) {
            assert!(began.elapsed() < Duration::from_secs(120), "{path:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until("nas/x", b"1");
    // What a schedule begins beside it ends at once.
    bench
        .ravelin(["drop", "sync", "Drop", "--watch", "--store", "nas", "-v"])
        .assert()
        .success()
        .stderr_eq(str![[r#"
another run follows it already

"#]]);
    bench
        .ravelin(["drop", "sync", "Drop", "--watch", "--store", "away", "-v"])
        .assert()
        .code(75)
        .stderr_eq(str![[r#"
waiting, because [HOME]/away is not there: is its drive connected?

"#]]);
    bench.file("Drop/new/deep", "2");
    until("nas/new/deep", b"2");
    output(&bench, &["drop", "sync", "Other", "--store", "nas"]);
    assert_eq!(fs::read(bench.home().join("Other/new/deep")).unwrap(), b"2");
    let pid = rustix::process::Pid::from_child(&watching);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(watching.wait().unwrap().code(), Some(130));
}

#[test]
fn a_drop_layer_is_kept_in_step_by_a_backup_and_its_days_are_snapshots() {
    let bench = Bench::new();
    bench.file("Documents/letter", "Dear Ada");
    bench.file("Drop/trip/plan.txt", "by train");
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n\
         [layer.drop]\nkind = \"drop\"\nstore = \"~/nas\"\nfolder = \"~/Drop\"\n",
    );
    bench.ravelin(["init"]).assert().success();
    bench
        .ravelin(["backup", "--verbose"])
        .assert()
        .success()
        .stderr_eq(str![[r#"
drop: backed up as 20[..]Z
  1 file, 8 B, 8 B new, in [..]

"#]]);
    let there = bench.home().join("nas/trip/plan.txt");
    assert_eq!(fs::read(&there).unwrap(), b"by train");

    // Somebody changes it at the store, and the next backup brings that here.
    fs::write(&there, "by ship").unwrap();
    bench.ravelin(["backup"]).assert().success();
    let here = bench.home().join("Drop/trip/plan.txt");
    assert_eq!(fs::read(&here).unwrap(), b"by ship");

    let path = here.to_str().unwrap();
    assert_eq!(output(&bench, &["cat", "latest", path]), b"by ship");
    let back = bench.home().join("back");
    output(
        &bench,
        &["restore", "latest", path, "--to", back.to_str().unwrap()],
    );
    assert_eq!(fs::read(back.join("plan.txt")).unwrap(), b"by ship");
    output(&bench, &["drill"]);
    output(&bench, &["verify", "--data"]);
    let status = json(&bench, &["status"]);
    assert_eq!(status["layers"][0]["state"], "good", "{status}");

    // A copy of an earlier version rots.
    let kept = files_below(&bench.home().join("nas")).into_iter();
    let mut kept = kept.filter(|file| fs::read(file).is_ok_and(|bytes| bytes == b"by train"));
    fs::write(kept.next().unwrap(), "rotten!!").unwrap();
    bench.ravelin(["verify"]).assert().success();
    let damaged = bench.ravelin(["verify", "--data"]).assert().code(1);
    let said = String::from_utf8_lossy(&damaged.get_output().stderr).into_owned();
    assert!(said.contains("the kept copy is damaged"), "{said}");
}

#[test]
fn the_drop_folder_of_this_machine_is_a_source_of_the_other_layers() {
    let bench = Bench::new();
    bench.file("Drop/plan.txt", "by train");
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Drop\"]\n\n\
         [layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\nencryption = \"none\"\n\n\
         [layer.drop]\nkind = \"drop\"\nstore = \"~/nas\"\nfolder = \"~/Drop\"\n",
    );
    bench.ravelin(["init"]).assert().success();
    bench.ravelin(["backup"]).assert().success();
    // Another device deletes it, and then the store is lost with its history.
    output(&bench, &["drop", "rm", "plan.txt"]);
    bench.ravelin(["backup", "drop"]).assert().success();
    let here = bench.home().join("Drop/plan.txt");
    assert!(!here.exists());
    fs::remove_dir_all(bench.home().join("nas")).unwrap();
    let path = here.to_str().unwrap();
    let kept = output(&bench, &["cat", "--layer", "disk", "latest", path]);
    assert_eq!(kept, b"by train");
}

#[test]
fn what_both_sides_changed_is_named_by_the_backup() {
    let bench = Bench::new();
    bench.file("Documents/letter", "Dear Ada");
    bench.file("Drop/plan.txt", "by train");
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n\
         [layer.drop]\nkind = \"drop\"\nstore = \"~/nas\"\nfolder = \"~/Drop\"\n",
    );
    bench.ravelin(["init"]).assert().success();
    bench.ravelin(["backup"]).assert().success();
    fs::write(bench.home().join("nas/plan.txt"), "by ship").unwrap();
    fs::write(bench.home().join("Drop/plan.txt"), "on foot, slowly").unwrap();
    let named = bench.ravelin(["backup"]).assert().code(3);
    let said = String::from_utf8_lossy(&named.get_output().stderr).into_owned();
    assert!(said.contains("two devices had changed it"), "{said}");
    let contents: Vec<_> = files_below(&bench.home().join("Drop"))
        .into_iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    assert!(contents.contains(&"by ship".to_owned()), "{contents:?}");
    assert!(
        contents.contains(&"on foot, slowly".to_owned()),
        "{contents:?}"
    );
}

#[test]
fn a_link_that_is_made_at_the_terminal_is_served_by_the_page() {
    let bench = Bench::new();
    bench.file("report.txt", "for a guest");
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n\
         [layer.drop]\nkind = \"drop\"\nstore = \"~/nas\"\n",
    );
    output(&bench, &["drop", "init"]);
    output(&bench, &["drop", "put", "report.txt"]);
    let mut serving = Command::new(cargo_bin!("ravelin"))
        .args(["ui", "--no-browser", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("HOME", bench.home())
        .current_dir(bench.home())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(serving.stderr.take().unwrap()).lines();
    let invitation = said.next().unwrap().unwrap();
    let share = ["drop", "share", "report.txt", "--expires", "1 hour"];
    let link = json(&bench, &share);
    let url = link[0]["url"].as_str().unwrap();
    let (origin, path) = url.split_at(url.find("/s/").unwrap());
    assert!(invitation.contains(origin), "{invitation}: {url}");
    assert!(testkit::servers::fetch(url).contains("report.txt"));
    let host = origin.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let asked = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 0\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serving.kill().unwrap();
    serving.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-disposition: attachment"));
    assert!(answer.contains("for a guest"), "{answer}");
}
