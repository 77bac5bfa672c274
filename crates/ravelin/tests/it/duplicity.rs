//! Layers of kind `duplicity`, judged by the real duplicity in both directions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use testkit::StockDuplicity;
use testkit::servers::{Server, rclone_serve};

use crate::bench::Bench;

/// A home with a source, a duplicity layer at `store`, and more lines for that layer.
fn bench_at(store: &str, lines: &str) -> Bench {
    let bench = Bench::new();
    bench.file("passphrase", "correct horse\n");
    private(&bench.home().join("passphrase"));
    bench.file(
        ".config/ravelin/ravelin.toml",
        &format!(
            "[[source]]\npaths = [\"~/documents\", \"~/pictures\"]\n\n[[source]]\n\
             paths = [\"~/documents/work\", \"~/mail\"]\nexclude = [\"*.tmp\"]\n\n\
             [layer.offsite]\nkind = \"duplicity\"\nstore = \"{store}\"\n{lines}\n"
        ),
    );
    bench.file("documents/letter.txt", "dear Ada\n");
    bench.file("documents/work/plan.txt", "first\n");
    bench.file("documents/work/noise.tmp", "left out\n");
    bench.file("documents/zeta.txt", "last\n");
    bench.file("mail/inbox", &"a line of mail\n".repeat(20_000));
    bench.file("pictures/ünïcode name.raw", &"\u{1}\u{2}".repeat(70_000));
    std::os::unix::fs::symlink("letter.txt", bench.home().join("documents/link")).unwrap();
    age(&bench.home());
    bench
}

const PASSPHRASE: &str = "passphrase = { file = \"~/passphrase\" }";

fn private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Gives every file below a time of old: the real program sees no edit within the second.
fn age(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            age(&entry.path());
        } else if kind.is_file() {
            let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let file = fs::File::options().write(true).open(entry.path()).unwrap();
            file.set_modified(time).unwrap();
        }
    }
}

fn run(bench: &Bench, arguments: &[&str]) -> String {
    // `ssh` reads no configuration that a test could put into its home.
    let config = bench.home().join("ssh_config");
    let mut command = bench.ravelin(arguments.iter().copied());
    if config.exists() {
        command = command.env("RAVELIN_SSH", format!("ssh -F {}", config.display()));
    }
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?} {}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn json(bench: &Bench, arguments: &[&str]) -> Value {
    let text = run(bench, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|_| {
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        Value::Array(lines)
    })
}

/// The names of the snapshots, oldest first.
fn snapshots(bench: &Bench) -> Vec<String> {
    let found = json(bench, &["snapshots"]);
    let mut names = Vec::new();
    collect_names(&found, &mut names);
    names.sort();
    names
}

fn collect_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| collect_names(value, names)),
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("name") {
                names.push(name.clone());
            }
            map.values().for_each(|value| collect_names(value, names));
        }
        _ => {}
    }
}

/// Where the home is inside snapshots.
fn stored(bench: &Bench, path: &str) -> String {
    let home = bench.home().display().to_string();
    format!("{}/{path}", home.trim_start_matches('/'))
}

fn duplicity(stock: &StockDuplicity, arguments: &[&str], passphrase: &str) -> String {
    let mut command: Command = stock.command(arguments);
    command.env("PASSPHRASE", passphrase);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "duplicity {arguments:?} {}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn names_of(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What the whole life of a layer comes to, at any store.
fn live(bench: &Bench) {
    run(bench, &["init"]);
    run(bench, &["backup"]);
    std::thread::sleep(Duration::from_millis(1100));
    bench.file("documents/work/plan.txt", "second\n");
    bench.file("documents/new.txt", "new\n");
    fs::remove_file(bench.home().join("documents/zeta.txt")).unwrap();
    run(bench, &["backup"]);

    let names = snapshots(bench);
    assert_eq!(names.len(), 2, "{names:?}");
    let plan = stored(bench, "documents/work/plan.txt");
    assert_eq!(run(bench, &["cat", "latest", &plan]), "second\n");
    assert_eq!(run(bench, &["cat", &names[0], &plan]), "first\n");
    let listing = run(bench, &["ls", "--recursive", "latest"]);
    assert!(listing.contains("new.txt") && !listing.contains("noise.tmp"));
    assert!(!listing.contains("zeta.txt"));
    let found = run(bench, &["find", "plan.txt"]);
    assert!(found.contains("plan.txt"), "{found}");
    let changes = run(bench, &["diff", &names[0], &names[1]]);
    assert!(
        changes.contains("new.txt") && changes.contains("zeta.txt") && changes.contains("plan.txt"),
        "{changes}"
    );
    assert!(!changes.contains("inbox"), "{changes}");
    let target = bench.home().join("back");
    let target_text = target.display().to_string();
    run(
        bench,
        &[
            "restore",
            "latest",
            &stored(bench, "documents"),
            "--to",
            &target_text,
        ],
    );
    // The format keeps whole seconds; nothing else may differ.
    let differences: Vec<String> = testkit::compare(
        &bench.home().join("documents"),
        &target.join("documents"),
        &testkit::Ignore::default(),
    )
    .iter()
    .map(ToString::to_string)
    .filter(|line| !line.contains("noise.tmp") && !line.contains("mtime"))
    .collect();
    assert_eq!(differences, [""; 0]);
    run(bench, &["verify", "--data"]);
    let status = run(bench, &["status"]);
    assert!(status.contains("offsite"), "{status}");
}

#[test]
fn the_real_program_restores_and_continues_what_a_layer_holds() {
    let Some(stock) = testkit::stock_duplicity() else {
        return;
    };
    for (lines, passphrase) in [(PASSPHRASE, "correct horse"), ("encryption = \"none\"", "")] {
        let bench = bench_at("~/store", lines);
        live(&bench);
        let url = format!("file://{}", bench.home().join("store").display());
        let names = snapshots(&bench);
        for (name, plan) in [(&names[0], "first\n"), (&names[1], "second\n")] {
            let target = bench.home().join(format!("real {name}"));
            let target_text = target.display().to_string();
            let arguments = ["restore", "--time", name, &url, &target_text];
            let open = ["--no-encryption"];
            let arguments = match passphrase {
                "" => [&arguments[..], &open[..]].concat(),
                _ => arguments.to_vec(),
            };
            duplicity(&stock, &arguments, passphrase);
            let home = target.join(stored(&bench, ""));
            assert_eq!(
                fs::read_to_string(home.join("documents/work/plan.txt")).unwrap(),
                plan
            );
            assert!(!home.join("documents/work/noise.tmp").exists());
            assert_eq!(
                fs::read(home.join("mail/inbox")).unwrap(),
                fs::read(bench.home().join("mail/inbox")).unwrap()
            );
            assert_eq!(
                fs::read(home.join("pictures/ünïcode name.raw")).unwrap(),
                fs::read(bench.home().join("pictures/ünïcode name.raw")).unwrap()
            );
        }
        // And the other way: an increment of the real program's, then one of ours on top of it.
        std::thread::sleep(Duration::from_millis(1100));
        bench.file("documents/work/plan.txt", "third, by the real program\n");
        let home = bench.home();
        let include = |path: &str| format!("--include={}", home.join(path).display());
        let arguments = [
            include("documents"),
            include("pictures"),
            include("mail"),
            "--exclude=**".to_owned(),
            "--allow-source-mismatch".to_owned(),
        ];
        let mut all = vec!["incremental"];
        all.extend(arguments.iter().map(String::as_str));
        if passphrase.is_empty() {
            all.push("--no-encryption");
        }
        all.extend(["/", &url]);
        duplicity(&stock, &all, passphrase);
        let names = snapshots(&bench);
        assert_eq!(names.len(), 3, "{names:?}");
        let plan = stored(&bench, "documents/work/plan.txt");
        assert_eq!(
            run(&bench, &["cat", "latest", &plan]),
            "third, by the real program\n"
        );
        std::thread::sleep(Duration::from_millis(1100));
        bench.file("documents/work/plan.txt", "fourth\n");
        run(&bench, &["backup"]);
        assert_eq!(run(&bench, &["cat", "latest", &plan]), "fourth\n");
        run(&bench, &["verify", "--data"]);
        assert_eq!(snapshots(&bench).len(), 4);
    }
}

#[test]
fn a_new_full_backup_is_made_when_the_last_is_older_than_wanted() {
    let bench = bench_at("~/store", &format!("{PASSPHRASE}\nfull-every = \"3 s\""));
    run(&bench, &["init"]);
    let fulls = || {
        names_of(&bench.home().join("store"))
            .iter()
            .filter(|name| name.starts_with("duplicity-full.") && name.contains("manifest"))
            .count()
    };
    run(&bench, &["backup"]);
    assert_eq!(fulls(), 1);
    std::thread::sleep(Duration::from_millis(3100));
    run(&bench, &["backup"]);
    assert_eq!(fulls(), 2);
    assert_eq!(snapshots(&bench).len(), 2);
}

/// A layer whose chain is a full set of several volumes and an increment that changes one file.
fn bench_with_chain(lines: &str) -> Bench {
    let bench = bench_at(
        "~/store",
        &format!("{PASSPHRASE}\nvolume-size = \"1 MiB\"\n{lines}"),
    );
    let mut random = testkit::Random::new(11);
    let picture = bench.home().join("pictures/large.raw");
    fs::write(picture, random.noise(5 << 20)).unwrap();
    age(&bench.home());
    run(&bench, &["init"]);
    run(&bench, &["backup"]);
    std::thread::sleep(Duration::from_millis(1100));
    bench.file("documents/work/plan.txt", "second\n");
    run(&bench, &["backup"]);
    bench
}

#[test]
fn a_chain_ends_in_a_full_backup_that_the_real_program_restores() {
    let Some(stock) = testkit::stock_duplicity() else {
        return;
    };
    let bench = bench_with_chain("");
    let of = json(&bench, &["synthesize", "--dry-run"]);
    assert_eq!(of.as_array().map(Vec::len), Some(2), "{of}");
    assert_eq!(json(&bench, &["info"])["chains"], 1);
    let made = json(&bench, &["synthesize"]);
    assert!(made["copied_bytes"].as_u64() > Some(3 << 20), "{made}");
    assert!(made["stored_bytes"].as_u64() < Some(3 << 20), "{made}");
    let sums = json(&bench, &["info"]);
    assert_eq!(
        (&sums["chains"], &sums["snapshots"]),
        (&2.into(), &3.into())
    );
    let name = made["snapshot"].as_str().unwrap();
    let holds = json(&bench, &["info", name]);
    assert_eq!(holds["bytes"], made["bytes"]);
    assert!(json(&bench, &["synthesize"]).is_null());
    // The chain before goes, and the full backup stands for itself.
    let names = snapshots(&bench);
    run(&bench, &["delete", &names[0], &names[1]]);
    let target = bench.home().join("real");
    let url = format!("file://{}", bench.home().join("store").display());
    let arguments = ["restore", &url, target.to_str().unwrap()];
    duplicity(&stock, &arguments, "correct horse");
    for file in [
        "pictures/large.raw",
        "documents/work/plan.txt",
        "mail/inbox",
    ] {
        let back = fs::read(target.join(stored(&bench, file))).unwrap();
        assert!(back == fs::read(bench.home().join(file)).unwrap(), "{file}");
    }
}

#[test]
fn a_full_backup_that_is_due_can_come_out_of_the_chain() {
    let bench = bench_with_chain("full-every = \"3 s\"\nsynthetic-full = true");
    std::thread::sleep(Duration::from_millis(3100));
    bench.file("documents/work/plan.txt", "third\n");
    run(&bench, &["backup"]);
    let sums = json(&bench, &["info"]);
    // Two of the chain, the full one that was made of them, and what is new.
    assert_eq!(
        (&sums["chains"], &sums["snapshots"]),
        (&2.into(), &4.into())
    );
    let plan = stored(&bench, "documents/work/plan.txt");
    assert_eq!(run(&bench, &["cat", "latest", &plan]), "third\n");
    run(&bench, &["verify", "--data"]);
}

#[test]
fn a_store_that_was_not_created_is_not_filled() {
    let bench = bench_at("~/store", PASSPHRASE);
    let output = bench.ravelin(["backup"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("[layer-not-created]"), "{said}");
    // A mount point without its drive.
    fs::create_dir(bench.home().join("store")).unwrap();
    let output = bench.ravelin(["backup"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(names_of(&bench.home().join("store")).is_empty());
    run(&bench, &["init"]);
    assert_eq!(
        names_of(&bench.home().join("store")),
        ["ravelin-readme.txt"]
    );
    run(&bench, &["init"]);
    run(&bench, &["backup"]);
}

#[test]
fn a_wrong_passphrase_is_said_and_nothing_is_added() {
    let bench = bench_at("~/store", PASSPHRASE);
    run(&bench, &["init"]);
    run(&bench, &["backup"]);
    bench.file("passphrase", "another\n");
    let before = names_of(&bench.home().join("store"));
    fs::remove_dir_all(bench.home().join(".cache")).unwrap();
    let output = bench.ravelin(["backup"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("[wrong-passphrase]"), "{said}");
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(names_of(&bench.home().join("store")), before);
}

fn serve(kind: &str, arguments: &[&str]) -> Option<(Server, PathBuf)> {
    let server = rclone_serve(kind, arguments)?;
    let data = server.folder.path().join("data");
    Some((server, data))
}

#[test]
fn a_layer_lives_on_a_webdav_server() {
    let Some((server, data)) = serve("webdav", &[]) else {
        return;
    };
    let store = format!("webdav+http://127.0.0.1:{}/laptop", server.port);
    let bench = bench_at(&store, PASSPHRASE);
    live(&bench);
    judge_folder(&bench, &data.join("laptop"));
}

#[test]
fn a_layer_lives_in_a_bucket_of_s3() {
    let Some((server, data)) = serve("s3", &["--auth-key=key,secret"]) else {
        return;
    };
    let store = format!(
        "s3+http://key:secret@127.0.0.1:{}/bucket/laptop",
        server.port
    );
    let bench = bench_at(&store, PASSPHRASE);
    live(&bench);
    judge_folder(&bench, &data.join("bucket/laptop"));
    let shown = run(&bench, &["config", "show"]);
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn a_layer_lives_behind_ssh() {
    let Some(server) = testkit::sshd(None) else {
        return;
    };
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("lap top");
    let store = format!("sftp://server/{}", folder.display()).replace(' ', "%20");
    let bench = bench_at(&store, PASSPHRASE);
    fs::copy(server.config(), bench.home().join("ssh_config")).unwrap();
    live(&bench);
    judge_folder(&bench, &folder);
}

#[test]
fn chains_go_by_the_rules_and_the_one_that_grows_stays() {
    let lines = format!("{PASSPHRASE}\nfull-every = \"1 s\"\nkeep = {{ full = 2 }}");
    let bench = bench_at("~/store", &lines);
    run(&bench, &["init"]);
    let fulls = || {
        names_of(&bench.home().join("store"))
            .iter()
            .filter(|name| name.starts_with("duplicity-full.") && name.contains("manifest"))
            .count()
    };
    for number in 1..=4 {
        bench.file("documents/work/plan.txt", &format!("{number}\n"));
        run(&bench, &["backup"]);
        std::thread::sleep(Duration::from_millis(1100));
    }
    // Each backup has applied the rules.
    assert_eq!(fulls(), 2);
    assert_eq!(snapshots(&bench).len(), 2);
    bench.file(
        ".config/ravelin/ravelin.toml",
        &fs::read_to_string(bench.home().join(".config/ravelin/ravelin.toml"))
            .unwrap()
            .replace("full = 2", "full = 1"),
    );
    let before = names_of(&bench.home().join("store"));
    let plan = json(&bench, &["prune", "--dry-run"]).to_string();
    assert!(plan.contains("\"the chain that grows\""), "{plan}");
    assert!(plan.contains("\"kept_by\":null"), "{plan}");
    assert_eq!(names_of(&bench.home().join("store")), before);
    run(&bench, &["prune"]);
    assert_eq!((fulls(), snapshots(&bench).len()), (1, 1));
    let last = snapshots(&bench).remove(0);
    let plan = stored(&bench, "documents/work/plan.txt");
    assert_eq!(run(&bench, &["cat", "latest", &plan]), "4\n");
    // What the next backup is to stand on cannot be removed by hand either.
    let output = bench.ravelin(["delete", &last]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("[snapshot-needed]"), "{said}");
    run(&bench, &["verify", "--data"]);
}

#[test]
fn a_plain_archive_in_the_place_of_an_encrypted_one_is_refused() {
    let forged = bench_at("~/store", "encryption = \"none\"");
    run(&forged, &["init"]);
    forged.file("documents/letter.txt", "not from Ada\n");
    run(&forged, &["backup"]);

    let bench = bench_at("~/store", PASSPHRASE);
    run(&bench, &["init"]);
    run(&bench, &["backup"]);
    let store = bench.home().join("store");
    for cache in ["kept", "lost"] {
        fs::remove_dir_all(&store).unwrap();
        fs::create_dir(&store).unwrap();
        for name in names_of(&forged.home().join("store")) {
            fs::copy(forged.home().join("store").join(&name), store.join(&name)).unwrap();
        }
        if cache == "lost" {
            fs::remove_dir_all(bench.home().join(".cache")).unwrap();
        }
        let before = names_of(&store);
        let letter = stored(&forged, "documents/letter.txt");
        let target = bench.home().join(cache).display().to_string();
        for arguments in [
            &["cat", "latest", letter.as_str()][..],
            &["restore", "latest", &letter, "--to", &target],
            &["ls", "latest"],
            &["backup"],
        ] {
            let output = bench.ravelin(arguments.iter().copied()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("[not-encrypted]"), "{arguments:?}: {said}");
            assert_ne!(output.status.code(), Some(0), "{arguments:?}");
            assert!(!String::from_utf8_lossy(&output.stdout).contains("not from Ada"));
        }
        let output = bench.ravelin(["verify", "--data"]).output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        assert_eq!(names_of(&store), before);
    }
}

/// The real program restores what the server has got.
fn judge_folder(bench: &Bench, folder: &Path) {
    let Some(stock) = testkit::stock_duplicity() else {
        return;
    };
    let url = format!("file://{}", folder.display());
    let target = bench.home().join("real");
    let target_text = target.display().to_string();
    duplicity(&stock, &["restore", &url, &target_text], "correct horse");
    let plan = target.join(stored(bench, "documents/work/plan.txt"));
    assert_eq!(fs::read_to_string(plan).unwrap(), "second\n");
}
