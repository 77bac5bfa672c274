//! Snapshots come and go, damage is named and mended, the key is copied: as a person does it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use bstr::ByteSlice as _;
use testkit::StockBorg;

use crate::bench::{Bench, files_below};

const PASSPHRASE: &str = "a passphrase";

fn bench(more: &str) -> Bench {
    let bench = Bench::new();
    let file = bench.file("passphrase", PASSPHRASE);
    fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    configure(&bench, more);
    bench.file("source/same", &"same".repeat(5000));
    bench.ravelin(["init"]).assert().success();
    bench
}

fn configure(bench: &Bench, more: &str) {
    bench.file(
        ".config/ravelin/ravelin.toml",
        &format!(
            "[[source]]\npaths = [\"~/source\"]\n\n[layer.disk]\nkind = \"borg\"\n\
             store = \"~/repository\"\npassphrase = {{ file = \"~/passphrase\" }}\n{more}"
        ),
    );
}

/// The stock program, which shares nothing but the repository.
fn stock() -> Option<StockBorg> {
    let stock = testkit::stock_borg()?.with_passphrase(PASSPHRASE);
    Some(stock.with_env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes"))
}

fn repository(bench: &Bench) -> PathBuf {
    bench.home().join("repository")
}

fn json(bench: &Bench, arguments: &[&str]) -> serde_json::Value {
    let output = bench.ravelin(arguments.iter().copied()).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn names(bench: &Bench) -> Vec<String> {
    let listed = json(bench, &["snapshots", "--json"]);
    let list = listed["snapshots"].as_array().unwrap();
    list.iter()
        .map(|snapshot| snapshot["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_backup_removes_what_the_rules_do_not_keep_and_leaves_what_others_made() {
    let Some(stock) = stock() else {
        return;
    };
    let bench = bench("keep = { last = 2 }\n");
    let archive = format!("{}::by-hand", repository(&bench).display());
    let source = bench.home().join("source");
    stock.run(["create", &archive, source.to_str().unwrap()]);
    for number in 0..4 {
        bench.file("source/changed", &format!("{number}").repeat(50_000));
        bench.ravelin(["backup"]).assert().success();
    }
    let left = names(&bench);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.contains(&"by-hand".to_owned()), "{left:?}");
    configure(&bench, "keep = { last = 1 }\n");
    let plan = json(&bench, &["prune", "--dry-run", "--json"]);
    assert_eq!(plan[0]["left_alone"], 1, "{plan}");
    assert_eq!(plan[0]["snapshots"][0]["kept_by"], serde_json::Value::Null);
    assert_eq!(plan[0]["snapshots"][1]["kept_by"], "last 1");
    assert_eq!(names(&bench), left, "a dry run changes nothing");
    bench.ravelin(["prune"]).assert().success();
    assert_eq!(names(&bench).len(), 2);
    stock.run([
        "check",
        "--verify-data",
        repository(&bench).to_str().unwrap(),
    ]);
}

#[test]
fn compaction_of_an_append_only_repository_says_why_nothing_is_freed() {
    let bench = bench("");
    for number in 0..2 {
        bench.file("source/changed", &format!("{number}").repeat(50_000));
        bench.ravelin(["backup"]).assert().success();
    }
    let repository = repository(&bench).into_os_string().into_string().unwrap();
    let append_only = ["borg", "config", &repository, "append_only", "1"];
    bench.ravelin(append_only).assert().success();
    bench.ravelin(["delete", "latest~1"]).assert().success();
    for (arguments, said) in [
        (
            ["compact", "--dry-run"].as_slice(),
            "nothing would be freed",
        ),
        (&["compact"], "nothing freed"),
        (&["borg", "compact", "--dry-run", &repository], ""),
        (&["borg", "compact", &repository], ""),
    ] {
        let output = bench.ravelin(arguments.iter().copied()).output().unwrap();
        let text = format!("{}{}", output.stdout.as_bstr(), output.stderr.as_bstr());
        assert!(output.status.success(), "{text}");
        assert!(text.contains(said), "{text}");
        assert!(text.contains("append-only"), "{text}");
    }
    let plan = json(&bench, &["compact", "--dry-run", "--json"]);
    assert_eq!(plan["append_only"], true);
    assert_eq!(plan["freed_bytes"], 0);
}

#[test]
fn snapshots_are_deleted_renamed_and_remarked_upon() {
    let bench = bench("");
    for number in 0..3 {
        bench.file("source/changed", &format!("{number}").repeat(50_000));
        bench.ravelin(["backup"]).assert().success();
    }
    let before = names(&bench);
    bench
        .ravelin(["delete", "--dry-run", "latest"])
        .assert()
        .success();
    assert_eq!(names(&bench), before);
    bench
        .ravelin(["delete", "latest", "latest~1"])
        .assert()
        .success();
    assert_eq!(names(&bench), before[..1]);
    bench.ravelin(["compact"]).assert().success();
    bench
        .ravelin(["rename", "latest", "before the move"])
        .assert()
        .success();
    bench
        .ravelin(["comment", "before the move", "to be kept"])
        .assert()
        .success();
    bench
        .ravelin(["comment", "before the move"])
        .assert()
        .success()
        .stdout_eq("to be kept\n");
    let info = json(&bench, &["info", "before the move", "--json"]);
    assert_eq!(info["comment"], "to be kept");
    // The configuration is one of them.
    assert_eq!(info["files"], 3);
    let sums = json(&bench, &["info", "--json"]);
    assert_eq!(sums["snapshots"], 1);
    bench.ravelin(["verify", "--data"]).assert().success();
}

#[test]
fn damage_is_named_by_snapshot_and_file_and_mended() {
    let Some(stock) = stock() else {
        return;
    };
    let bench = bench("");
    let noise = testkit::Random::new(3).noise(300_000);
    fs::write(bench.home().join("source/noise"), noise).unwrap();
    bench.ravelin(["backup"]).assert().success();
    // The largest segment holds hardly anything but that file.
    let mut segments: Vec<_> = fs::read_dir(repository(&bench).join("data/0"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let segment = segments.pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let output = bench
        .ravelin(["repair", "--dry-run", "--data", "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    // Events come first, a line each.
    let lines = String::from_utf8(output.stdout).unwrap();
    let found: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(found["mended"], serde_json::Value::Null);
    let files = found["hurt"][0]["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{found}");
    assert!(files[0]["path"].as_str().unwrap().ends_with("source/noise"));

    bench.ravelin(["repair", "--data"]).assert().success();
    stock.run([
        "check",
        "--verify-data",
        repository(&bench).to_str().unwrap(),
    ]);
    // Backed up again, it is whole again.
    bench.ravelin(["backup"]).assert().success();
    bench.ravelin(["repair"]).assert().success();
    bench.ravelin(["verify", "--data"]).assert().success();
    bench
        .ravelin(["repair", "--dry-run", "--data"])
        .assert()
        .success();
}

/// What a repair of a layer finds.
fn repaired(bench: &Bench, words: &[&str]) -> serde_json::Value {
    let words = [&["repair", "--data", "--json"], words].concat();
    let output = bench.ravelin(words).output().unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(output.lines().last().unwrap()).unwrap()
}

#[test]
fn a_drop_folder_gets_its_lost_copies_back_from_the_file_here_or_from_another_layer() {
    let drop = "\n[layer.drop]\nkind = \"drop\"\nstore = \"~/store\"\nfolder = \"~/source\"\n";
    let bench = bench(drop);
    let live = bench.home().join("source/noise");
    let kept = || {
        let mut kept = files_below(&bench.home().join("store/.ravelin-drop/kept"));
        kept.retain(|path| fs::metadata(path).unwrap().len() == 400_000);
        kept
    };
    let noise = testkit::Random::new(9).noise(400_000);
    fs::write(&live, &noise).unwrap();
    bench.ravelin(["backup"]).assert().success();
    let [copy] = &kept()[..] else {
        panic!("{:?}", kept());
    };
    // The plain file is gone, too: somebody works at the store.
    let spoil = |at: usize| {
        for path in [copy.clone(), bench.home().join("store/noise")] {
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    };
    spoil(7);
    let found = repaired(&bench, &["drop", "--dry-run"]);
    assert_eq!(found["healed"][0]["from"], "live", "{found}");
    assert!(fs::read(copy).unwrap() != noise);
    bench
        .ravelin(["repair", "drop", "--data"])
        .assert()
        .success()
        .stderr_eq(snapbox::str![[r#"
the copy of noise of [..] is damaged
...
[HOME_IN_SNAPSHOTS]/source/noise: 400 kB that is lost here is in the file on this machine
1 copies were put back that were found elsewhere
...
"#]]);
    assert!(fs::read(copy).unwrap() == noise);

    // Then it is another one, and the first layer has what it was.
    fs::write(&live, testkit::Random::new(10).noise(1000)).unwrap();
    spoil(8);
    let found = repaired(&bench, &["drop"]);
    assert_eq!(
        found["healed"][0]["from"]["layer"]["layer"], "disk",
        "{found}"
    );
    assert!(fs::read(copy).unwrap() == noise);
    let again = repaired(&bench, &["drop", "--dry-run"]);
    assert_eq!(again["findings"], serde_json::json!([]), "{again}");
}

#[test]
fn after_a_repair_nothing_more_stands_on_a_chain_of_duplicity_that_is_damaged() {
    let second = "\n[layer.second]\nkind = \"duplicity\"\nstore = \"~/second\"\n\
                  passphrase = { file = \"~/passphrase\" }\n";
    let bench = bench(second);
    let live = bench.home().join("source/noise");
    let names = || {
        let files = files_below(&bench.home().join("second"));
        let names = files
            .iter()
            .map(|path| path.file_name().unwrap().to_owned());
        let names = names.map(|name| name.into_string().unwrap());
        names.collect::<Vec<String>>()
    };
    let full = || {
        let names = names().into_iter();
        let full =
            names.filter(|name| name.starts_with("duplicity-full.") && name.contains(".vol1."));
        full.count()
    };
    bench.ravelin(["backup"]).assert().success();
    fs::write(&live, testkit::Random::new(9).noise(50_000)).unwrap();
    bench.ravelin(["backup"]).assert().success();
    fs::write(bench.home().join("source/later"), "later").unwrap();
    bench.ravelin(["backup"]).assert().success();
    assert_eq!(
        repaired(&bench, &["second"])["actions"],
        serde_json::json!([])
    );
    let mut sets: Vec<String> = names();
    sets.retain(|name| name.starts_with("duplicity-inc.") && name.contains(".vol1."));
    sets.sort();
    let volume = bench.home().join("second").join(&sets[0]);
    let mut bytes = fs::read(&volume).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&volume, bytes).unwrap();

    let found = repaired(&bench, &["second", "--dry-run"]);
    let hurt = found["hurt"].as_array().unwrap();
    assert_eq!(hurt.len(), 2, "{found}");
    let files = hurt[0]["files"].as_array().unwrap();
    let path = files[0]["path"].as_str().unwrap();
    assert!(
        files.len() == 1 && path.ends_with("source/noise"),
        "{found}"
    );
    assert!(
        hurt[1]["what"]
            .as_str()
            .unwrap()
            .starts_with("it stands on "),
        "{found}"
    );
    bench.ravelin(["backup"]).assert().success();
    assert_eq!(full(), 1, "nothing was asked for yet");
    bench
        .ravelin(["repair", "second", "--data"])
        .assert()
        .success()
        .stderr_eq(snapbox::str![[r#"
...
[..]: volume 1 is lost; it had some or all of these files
  [HOME_IN_SNAPSHOTS]/source/noise: 50 kB are missing
[..]: it stands on [..]
[..]: it stands on [..]
the next backup begins a new chain, from the files themselves

"#]]);
    bench.ravelin(["backup"]).assert().success();
    assert_eq!(full(), 2);
    // Once.
    bench.ravelin(["backup"]).assert().success();
    assert_eq!(full(), 2);
    assert_eq!(
        repaired(&bench, &["second"])["actions"],
        serde_json::json!([])
    );

    // The chain that grows now, by what is no volume.
    let mut signatures: Vec<String> = names();
    signatures.retain(|name| name.starts_with("duplicity-full-signatures."));
    signatures.sort();
    let signatures = signatures.pop().unwrap();
    fs::remove_file(bench.home().join("second").join(signatures)).unwrap();
    let found = repaired(&bench, &["second"]);
    assert_eq!(found["actions"].as_array().unwrap().len(), 1, "{found}");
    let refused = bench.ravelin(["synthesize", "second"]).assert().failure();
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(said.contains("a repair has given it up"), "{said}");
    bench.ravelin(["backup"]).assert().success();
    assert_eq!(full(), 3);
}

/// Spoils the segment that is the largest, in many places.
fn spoil(bench: &Bench) {
    let mut segments = files_below(&repository(bench).join("data/0"));
    segments.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let segment = segments.pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    for place in 1..10 {
        let at = bytes.len() * place / 10;
        bytes[at] ^= 1;
    }
    fs::write(&segment, bytes).unwrap();
}

/// What stock borg brings back of a file, after it has checked everything.
fn as_stock_has_it(stock: &StockBorg, bench: &Bench, snapshot: &str) -> Vec<u8> {
    let store = repository(bench).display().to_string();
    stock.run(["check", "--verify-data", store.as_str()]);
    let target = tempfile::tempdir().unwrap();
    stock.run_in(target.path(), ["extract", &format!("{store}::{snapshot}")]);
    let files = files_below(target.path());
    let noise = files.iter().find(|path| path.ends_with("source/noise"));
    fs::read(noise.unwrap()).unwrap()
}

#[test]
fn what_one_layer_has_lost_comes_back_from_another_or_from_the_file_itself() {
    let Some(stock) = stock() else {
        return;
    };
    let second = "\n[layer.second]\nkind = \"duplicity\"\nstore = \"~/second\"\n\
                  passphrase = { file = \"~/passphrase\" }\n";
    let bench = bench(second);
    let live = bench.home().join("source/noise");
    let noise = testkit::Random::new(9).noise(400_000);
    fs::write(&live, &noise).unwrap();
    bench.ravelin(["backup"]).assert().success();
    let snapshot = names(&bench).pop().unwrap();

    // Nothing but the file is asked while it is as it was.
    spoil(&bench);
    let output = bench
        .ravelin(["repair", "--dry-run", "disk", "--json"])
        .output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    let found: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(found["healed"][0]["from"], "live", "{found}");
    bench
        .ravelin(["repair", "disk"])
        .assert()
        .success()
        .stderr_eq(snapbox::str![[r#"
...
[HOME_IN_SNAPSHOTS]/source/noise: [..] that is lost here is in the file on this machine
...
[..] pieces of files were put back that were found elsewhere
...
"#]]);
    assert!(as_stock_has_it(&stock, &bench, &snapshot) == noise);

    // Then it is another one, and the second layer has what it was.
    fs::write(&live, testkit::Random::new(10).noise(1000)).unwrap();
    spoil(&bench);
    bench
        .ravelin(["repair", "disk"])
        .assert()
        .success()
        .stderr_eq(snapbox::str![[r#"
...
[HOME_IN_SNAPSHOTS]/source/noise: [..] that is lost here is in layer `second`, snapshot [..]
...
[..] pieces of files were put back that were found elsewhere
...
"#]]);
    assert!(as_stock_has_it(&stock, &bench, &snapshot) == noise);
    bench.ravelin(["verify", "--data"]).assert().success();

    // What nobody has is zeros, and a later repair finds it where it is then.
    fs::rename(bench.home().join("second"), bench.home().join("away")).unwrap();
    spoil(&bench);
    bench.ravelin(["repair", "disk"]).assert().success();
    bench.ravelin(["verify", "--data", "disk"]).assert().code(1);
    fs::rename(bench.home().join("away"), bench.home().join("second")).unwrap();
    bench.ravelin(["repair", "disk"]).assert().success();
    assert!(as_stock_has_it(&stock, &bench, &snapshot) == noise);
    bench.ravelin(["verify", "--data"]).assert().success();
}

#[test]
fn an_older_state_is_noticed_and_believed_when_a_person_says_so() {
    let bench = bench("");
    bench.ravelin(["backup"]).assert().success();
    let (now, before) = (repository(&bench), bench.home().join("before"));
    let copy = |from: &PathBuf, to: &PathBuf| {
        let _ = fs::remove_dir_all(to);
        drop(testkit::run(
            std::process::Command::new("cp").arg("-a").args([from, to]),
        ));
    };
    copy(&now, &before);
    bench.file("source/new", "new");
    bench.ravelin(["backup"]).assert().success();
    copy(&before, &now);
    for arguments in [["snapshots"], ["backup"], ["repair"]] {
        let output = bench.ravelin(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("[repository-unknown]"), "{said}");
        assert!(said.contains("ravelin repair --trust"), "{said}");
    }
    bench.ravelin(["repair", "--trust"]).assert().success();
    assert_eq!(names(&bench).len(), 1);
    bench.ravelin(["backup"]).assert().success();
    bench.ravelin(["verify", "--data"]).assert().success();
}

#[test]
fn a_copy_of_the_key_brings_a_lost_one_back() {
    let bench = bench("encryption = \"keyfile-blake2\"\n");
    bench.ravelin(["backup"]).assert().success();
    bench
        .ravelin(["key", "export", "key.txt"])
        .assert()
        .success();
    let paper = bench
        .ravelin(["key", "export", "--paper"])
        .output()
        .unwrap();
    bench.file("paper.txt", std::str::from_utf8(&paper.stdout).unwrap());
    for copy in ["key.txt", "paper.txt"] {
        fs::remove_dir_all(bench.home().join(".config/borg/keys")).unwrap();
        let output = bench.ravelin(["snapshots"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("[key-unusable]"), "{said}");
        bench.ravelin(["key", "import", copy]).assert().success();
        assert_eq!(names(&bench).len(), 1);
    }
    // A copy is never written over something.
    bench
        .ravelin(["key", "export", "key.txt"])
        .assert()
        .failure();
    bench
        .ravelin(["key", "move", "repository"])
        .assert()
        .success();
    assert_eq!(names(&bench).len(), 1);
}

#[test]
fn a_code_of_the_key_is_read_by_a_camera_and_brings_it_back() {
    let bench = bench("encryption = \"keyfile-blake2\"\n");
    bench.ravelin(["backup"]).assert().success();
    let lines = bench.ravelin(["key", "export", "--qr"]).output().unwrap();
    let lines = String::from_utf8(lines.stdout).unwrap();
    for file in ["key.svg", "key.html"] {
        bench
            .ravelin(["key", "export", "--qr", file])
            .assert()
            .success();
        let mode = fs::metadata(bench.home().join(file)).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }
    let page = fs::read_to_string(bench.home().join("key.html")).unwrap();
    assert!(page.contains("BORG PAPER KEY v1"), "{page}");
    let text = scan(&lines);
    bench.file("scanned.txt", &text);
    fs::remove_dir_all(bench.home().join(".config/borg/keys")).unwrap();
    bench
        .ravelin(["key", "import", "scanned.txt"])
        .assert()
        .success();
    assert_eq!(names(&bench).len(), 1);
}

/// What a camera reads in lines of half blocks.
fn scan(lines: &str) -> String {
    let rows: Vec<Vec<char>> = lines.lines().map(|line| line.chars().collect()).collect();
    let scale = 4;
    let (width, height) = (rows[0].len() * scale, 2 * rows.len() * scale);
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
        let light = match (y / scale) % 2 {
            0 => ['█', '▀'],
            _ => ['█', '▄'],
        };
        match light.contains(&rows[y / scale / 2][x / scale]) {
            true => 255,
            false => 0,
        }
    });
    picture.detect_grids()[0].decode().unwrap().1
}

#[test]
fn snapshots_are_made_anew_in_another_form_and_without_some_files() {
    let Some(stock) = stock() else { return };
    let bench = bench("compression = \"none\"\n");
    bench.file("source/text", &"a line of text\n".repeat(60_000));
    bench.file("source/secrets/one", "should never have been there");
    bench.ravelin(["backup"]).assert().success();
    bench.file("source/text", &"another line\n".repeat(60_000));
    bench.ravelin(["backup"]).assert().success();
    let names_before = names(&bench);
    let size = || {
        json(&bench, &["info", "--json"])["stored_bytes"]
            .as_u64()
            .unwrap()
    };
    let before = size();
    let anew = [
        "recreate",
        "--compression",
        "zstd,3",
        "--without",
        "source/secrets",
    ];
    let dry_run = bench.ravelin(anew).arg("--dry-run").output().unwrap();
    let said = String::from_utf8_lossy(&dry_run.stderr);
    assert!(said.contains("compressed anew, without 2 names"), "{said}");
    assert_eq!(size(), before, "a dry run changes nothing");
    bench.ravelin(anew).assert().success();
    bench.ravelin(["compact"]).assert().success();
    assert_eq!(names(&bench), names_before);
    assert!(size() < before / 10, "{} of {before}", size());
    let params = ["recreate", "latest", "--chunker-params", "10,14,12,4095"];
    bench.ravelin(params).assert().success();
    let again = bench.ravelin(params).arg("--json").output().unwrap();
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again[0]["changes"], false, "{again}");
    bench.ravelin(["verify", "--data"]).assert().success();
    let repository = repository(&bench);
    let repository = repository.to_str().unwrap();
    stock.run(["check", "--verify-data", repository]);
    for (name, text) in names_before.iter().zip(["a line of text", "another line"]) {
        let archive = format!("{repository}::{name}");
        let listed = stock.run(["list", "--short", &archive]);
        assert!(!listed.contains("secrets"), "{listed}");
        let file = listed.lines().find(|path| path.ends_with("/text")).unwrap();
        let content = stock.run(["extract", "--stdout", &archive, file]);
        assert_eq!(content, format!("{text}\n").repeat(60_000));
    }
    // Without saying how, it is a mistake.
    bench.ravelin(["recreate"]).assert().code(2);
}

#[test]
fn a_part_is_verified_and_the_next_one_goes_on_behind_it() {
    let bench = bench("");
    for number in 0..4u64 {
        let noise = testkit::Random::new(number).noise(100_000);
        fs::write(bench.home().join("source/noise"), noise).unwrap();
        bench.ravelin(["backup"]).assert().success();
    }
    let part = || {
        let command = bench.ravelin(["verify", "--max-duration", "1 s", "--json"]);
        let output = command.output().unwrap();
        // Steps first, and the report in the last line.
        let last = output
            .stdout
            .trim_ascii()
            .rsplit(|byte| *byte == b'\n')
            .next();
        let found: serde_json::Value = serde_json::from_slice(last.unwrap()).unwrap();
        found[0].clone()
    };
    let whole = part();
    assert_eq!(whole["to_the_end"], true, "{whole}");
    assert_eq!(whole["findings"].as_array().unwrap().len(), 0);
    let files = whole["files"].as_u64().unwrap();
    assert!(files > 8, "{whole}");
    // As if the time had been over behind the third.
    let config = repository(&bench).join("config");
    let text = fs::read_to_string(&config).unwrap();
    let text = format!("{}\nlast_segment_checked = 2\n", text.trim_end());
    fs::write(&config, text).unwrap();
    let rest = part();
    assert_eq!(rest["files"].as_u64().unwrap(), files - 3, "{rest}");
    let again = part();
    assert_eq!(again["files"].as_u64().unwrap(), files, "{again}");
    let segment = repository(&bench).join("data/0/0");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let output = bench
        .ravelin(["verify", "--max-duration", "1 s"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("segment 0") && said.contains("ravelin repair"),
        "{said}"
    );
    let status = json(&bench, &["status", "--json"]);
    assert_eq!(status["layers"][0]["state"], "damaged", "{status}");
}

#[test]
fn the_lock_of_another_machine_is_named_and_broken_on_demand_only() {
    let bench = bench("");
    bench.ravelin(["unlock"]).assert().success();
    let lock = repository(&bench).join("lock.exclusive");
    fs::create_dir(&lock).unwrap();
    fs::write(lock.join("elsewhere@17.4242-0"), "").unwrap();
    bench.ravelin(["backup"]).assert().code(11);
    bench
        .ravelin(["unlock"])
        .assert()
        .code(11)
        .stderr_eq(snapbox::str![[r#"
layer `disk` is locked by elsewhere@17:4242
  next: when that program is certainly gone, `ravelin unlock --force disk`

"#]]);
    let broken = json(&bench, &["unlock", "--force", "--json"]);
    assert_eq!(broken["holder"], "elsewhere@17:4242");
    assert_eq!(broken["broken"], true);
    bench.ravelin(["backup"]).assert().success();
}

#[test]
fn a_snapshot_gets_no_name_that_the_stock_program_could_not_see() {
    let bench = bench("");
    bench.ravelin(["backup"]).assert().success();
    for name in ["", "a/b", "../x", "a::b"] {
        let renamed = bench.ravelin(["rename", "latest", name]).assert().code(2);
        let said = String::from_utf8_lossy(&renamed.get_output().stderr).into_owned();
        assert!(said.contains("[snapshot-name]"), "{name}: {said}");
    }
    if let Some(stock) = stock() {
        stock.run([
            "check",
            "--verify-data",
            repository(&bench).to_str().unwrap(),
        ]);
    }
}
