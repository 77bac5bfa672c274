//! Drills: what comes back, what does not, and the evidence of both.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use snapbox::str;

use crate::bench::Bench;

const CONFIG: &str = "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
                      store = \"~/repository\"\npassphrase = { env = \"PASS\" }\n";

#[test]
fn files_come_back_without_caches_and_stock_borg_agrees() {
    let Some(borg) = testkit::stock_borg() else {
        return;
    };
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    for number in 0..20 {
        bench.file(
            &format!("Documents/it's {number}"),
            &"line\n".repeat(number * 1000),
        );
    }
    let run = |words: &[&str]| {
        let folder = borg.program().parent().unwrap().to_owned();
        let path = format!("{}:/usr/bin:/bin", folder.display());
        bench
            .ravelin(words.iter().copied())
            .env("PASS", "correct horse")
            .env("PATH", path)
            .assert()
    };
    run(&["init"]).success();
    run(&["backup"]).success();
    // Nothing that this machine remembers is needed.
    fs::remove_dir_all(bench.home().join(".cache")).unwrap();
    run(&["drill", "--verbose"]).success().stderr_eq(str![[r#"
disk: [..] files ([..]) came back in [..] without any cache, every byte as it was; stock borg agrees

"#]]);
    let page = run(&["drill", "--evidence"]).success();
    let page = String::from_utf8_lossy(&page.get_output().stdout).into_owned();
    assert!(page.contains("## Layer disk: passed"), "{page}");
    assert!(page.contains("| newest |"), "{page}");
    assert!(
        page.contains("Proved by stock borg: the commands of the runbook restored the same files"),
        "{page}"
    );
    assert!(!page.contains("NO |"), "{page}");
    run(&["status"]).success().stdout_eq(str![[r#"
...
  drill       just now, [..] files came back unchanged
...
"#]]);

    // One flipped bit in what was stored.
    let data = bench.home().join("repository/data/0");
    let largest = fs::read_dir(&data)
        .unwrap()
        .map(|file| file.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    for at in (2000..bytes.len()).step_by(500) {
        bytes[at] ^= 1;
    }
    fs::write(&largest, bytes).unwrap();
    let failed = run(&["drill"]).failure();
    let said = String::from_utf8_lossy(&failed.get_output().stderr).into_owned();
    assert!(said.contains("disk") && said.contains("next: "), "{said}");
    run(&["status"]).code(1).stdout_eq(str![[r#"
Not protected: the only layer needs attention.

disk  failed its drill  ([..])
...
  drill       just now, FAILED: [..]
...
"#]]);
}

#[test]
fn stock_duplicity_and_gpg_with_tar_alone_bring_back_the_same() {
    let (Some(duplicity), Some(_), Some(_)) = (
        testkit::stock_duplicity(),
        testkit::require("gpg"),
        testkit::require("rdiff"),
    ) else {
        return;
    };
    for encryption in ["passphrase = { env = \"PASS\" }", "encryption = \"none\""] {
        let bench = Bench::new();
        bench.file(
            ".config/ravelin/ravelin.toml",
            &format!(
                "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.offsite]\nkind = \"duplicity\"\n\
                 store = \"~/it's an archive\"\n{encryption}\n"
            ),
        );
        for number in 0..20 {
            bench.file(
                &format!("Documents/it's {number}"),
                &"line\n".repeat(number * 1000),
            );
        }
        let odd = OsStr::from_bytes(b"not utf-8 \xff $HOME\n");
        fs::write(bench.home().join("Documents").join(odd), "odd").unwrap();
        let folder = duplicity.program().parent().unwrap().to_owned();
        let path = format!("{}:/usr/bin:/bin", folder.display());
        let agents = || {
            let listed = Command::new("ps").args(["-eo", "args"]).output().unwrap();
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            let home = bench.home().display().to_string();
            let lines = listed.lines().filter(|line| line.contains("gpg-agent"));
            lines.filter(|line| line.contains(&home)).count()
        };
        let run = |words: &[&str], path: &str| {
            let command = bench.ravelin(words.iter().copied());
            command
                .env("PASS", "correct horse")
                .env("PATH", path)
                .assert()
        };
        run(&["init"], &path).success();
        run(&["backup"], &path).success();
        // Sets are told apart by seconds: none may be of one that is still to come when stock duplicity looks.
        let next_second = || std::thread::sleep(std::time::Duration::from_millis(1100));
        next_second();
        // An increment, with a change within a file.
        bench.file("Documents/it's 19", &"line\n".repeat(19 * 1000 + 7));
        run(&["backup"], &path).success();
        next_second();
        fs::remove_dir_all(bench.home().join(".cache")).unwrap();
        let said = run(&["drill", "--verbose"], &path).success();
        let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
        assert!(said.contains("; stock duplicity agrees; g"), "{said}");
        assert!(
            said.contains(" with tar alone brought the same\n"),
            "{said}"
        );
        let evidence = run(&["drill", "--evidence"], &path).success();
        let evidence = String::from_utf8_lossy(&evidence.get_output().stdout).into_owned();
        let proved = evidence
            .matches("the commands of the runbook restored")
            .count();
        assert_eq!(proved, 2, "{evidence}");
        assert!(!bench.home().join(".cache/ravelin/drill/offsite").exists());
        // Nothing of the stock programs' memory is left, nor is an agent.
        assert!(!bench.home().join(".cache/duplicity").exists());
        assert!(!bench.home().join(".gnupg").exists());
        let gone = (0..50).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            agents() == 0
        });
        assert!(gone, "an agent is left");

        // Where neither is installed, the evidence says so.
        let ours = format!("{}/bin", bench.home().display());
        run(&["drill"], &ours).success();
        let evidence = run(&["drill", "--evidence"], &ours).success();
        let evidence = String::from_utf8_lossy(&evidence.get_output().stdout).into_owned();
        assert!(
            evidence.contains("Not proved by stock duplicity, because it is not installed."),
            "{evidence}"
        );
        assert!(
            evidence.contains(" with tar alone, because bash is not installed."),
            "{evidence}"
        );
    }
}

#[test]
fn a_stock_program_that_brings_back_something_else_is_a_fault() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.offsite]\nkind = \"duplicity\"\n\
         store = \"~/archive\"\nencryption = \"none\"\n",
    );
    bench.file("Documents/letter", "dear Ada\n");
    bench.file(
        "bin/duplicity",
        "#!/bin/sh\nfor target; do :; done\ncase $1 in restore) echo other > \"$target\";; esac\n",
    );
    let program = bench.home().join("bin/duplicity");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let run = |words: &[&str]| {
        let path = format!("{}/bin:/usr/bin:/bin", bench.home().display());
        bench
            .ravelin(words.iter().copied())
            .env("PATH", path)
            .assert()
    };
    run(&["init"]).success();
    run(&["backup"]).success();
    run(&["drill"]).code(1).stderr_eq(str![[r#"
error: layer `offsite` did not pass its drill [not-proved]
  because: duplicity says otherwise: [..] came back with other content
  next: run `ravelin verify --data offsite`

"#]]);

    // Unless another backup was made meanwhile, for it brings back the newest: its manifest is there.
    bench.file(
        "bin/duplicity",
        "#!/bin/sh\nfor target; do :; done\ncase $1 in restore) echo other > \"$target\"\n\
         touch ~/archive/duplicity-full.\"$(date -u -d '1 hour' +%Y%m%dT%H%M%SZ)\".manifest;; esac\n",
    );
    run(&["drill"]).success();
    let evidence = run(&["drill", "--evidence"]).success();
    let evidence = String::from_utf8_lossy(&evidence.get_output().stdout).into_owned();
    let said = "Not proved by stock duplicity, because another backup was made meanwhile.";
    assert!(evidence.contains(said), "{evidence}");
}

#[test]
fn a_file_that_is_not_what_was_backed_up_is_noticed_though_the_layer_is_whole() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        &CONFIG.replace("passphrase = { env = \"PASS\" }", "encryption = \"none\""),
    );
    bench.file("Documents/letter", "dear");
    bench.ravelin(["init"]).assert().success();
    bench.ravelin(["backup"]).assert().success();
    // What was recorded says otherwise, as if the layer had stored something else.
    let samples = bench.home().join(".local/state/ravelin/samples.json");
    let text = fs::read_to_string(&samples).unwrap();
    let begin = text.find("\"sha256\":\"").unwrap() + 10;
    let wrong = format!(
        "{}{}{}",
        &text[..begin],
        "0".repeat(64),
        &text[begin + 64..]
    );
    fs::write(&samples, wrong).unwrap();
    bench
        .ravelin(["drill"])
        .env("PATH", "/nonexistent")
        .assert()
        .code(1)
        .stderr_eq(str![[r#"
error: layer `disk` did not pass its drill [not-proved]
  because: [..] came back with other content
  next: run `ravelin verify --data disk`

"#]]);
}

#[test]
fn the_sentinel_of_the_last_backup_has_to_come_back() {
    let bench = Bench::new();
    let config = format!("{CONFIG}\n[verify]\nsentinel = true\n");
    bench.file(".config/ravelin/ravelin.toml", &config);
    bench.file("Documents/letter", "dear Ada\n");
    let run = |words: &[&str]| {
        let command = bench.ravelin(words.iter().copied());
        command.env("PASS", "correct horse").assert()
    };
    run(&["init"]).success();
    run(&["backup"]).success();
    let sentinel = bench.home().join(".local/state/ravelin/sentinel");
    let first = fs::read(&sentinel).unwrap();
    run(&["backup"]).success();
    assert_ne!(fs::read(&sentinel).unwrap(), first);
    // Not what stands there now counts, but what was backed up.
    fs::write(&sentinel, "something else").unwrap();
    let drilled = run(&["drill", "--json"]).success();
    let drilled = String::from_utf8_lossy(&drilled.get_output().stdout).into_owned();
    let report: serde_json::Value = serde_json::from_str(drilled.lines().last().unwrap()).unwrap();
    let files = report["layers"][0]["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["picked"] == "sentinel");
    let file = file.unwrap_or_else(|| panic!("{report}"));
    assert_eq!(file["as_recorded"], true, "{file}");
}

#[test]
fn a_sentinel_that_is_missing_from_a_snapshot_of_its_run_is_a_fault() {
    let bench = Bench::new();
    bench.file(".config/ravelin/ravelin.toml", CONFIG);
    bench.file("Documents/letter", "dear Ada\n");
    let run = |words: &[&str]| {
        let command = bench.ravelin(words.iter().copied());
        let command = command
            .env("PASS", "correct horse")
            .env("PATH", "/nonexistent");
        command.env("BORG_PASSPHRASE", "correct horse").assert()
    };
    run(&["init"]).success();
    run(&["backup"]).success();
    // One that was not written yet is not missed.
    let config = format!("{CONFIG}\n[verify]\nsentinel = true\n");
    bench.file(".config/ravelin/ravelin.toml", &config);
    run(&["drill"]).success();
    run(&["backup"]).success();
    run(&["drill"]).success();
    // Somebody makes the newest snapshot anew without it.
    let snapshots = run(&["snapshots", "--json"]).success();
    let snapshots = String::from_utf8_lossy(&snapshots.get_output().stdout).into_owned();
    let list: serde_json::Value = serde_json::from_str(&snapshots).unwrap();
    let list = list["snapshots"].as_array().unwrap();
    let name = list.last().unwrap()["name"].as_str().unwrap();
    let archive = format!("{}::{name}", bench.home().join("repository").display());
    run(&[
        "borg",
        "recreate",
        "--exclude",
        "*/ravelin/sentinel",
        &archive,
    ])
    .success();
    run(&["drill"]).code(1).stderr_eq(str![[r#"
error: layer `disk` did not pass its drill [not-proved]
  because: [..]/.local/state/ravelin/sentinel: it is missing from [..], though that run wrote it
  next: run `ravelin verify --data disk`

"#]]);
}

#[test]
fn a_passphrase_that_is_typed_is_proved_and_asked_for_again_after_a_while() {
    let bench = Bench::new();
    let config = format!("{CONFIG}\n[verify]\npassphrase = \"12 weeks\"\n");
    bench.file(".config/ravelin/ravelin.toml", &config);
    bench.file("Documents/letter", "dear Ada\n");
    let run = |words: &[&str], typed: &str| {
        // Without a terminal of its own it asks its input.
        let mut command = Command::new("setsid");
        command
            .arg("--wait")
            .arg(snapbox::cmd::cargo_bin!("ravelin"))
            .args(words)
            .env_clear()
            .env("HOME", bench.home())
            .env("PATH", "/usr/bin:/bin")
            .env("TZ", "UTC")
            .env("PASS", "correct horse");
        snapbox::cmd::Command::from_std(command)
            .stdin(typed.to_owned())
            .assert()
    };
    run(&["init"], "").success();
    run(&["backup"], "").success();
    let status = str![[r#"
...
  passphrase  typed never: ravelin drill --type-passphrase disk
...
"#]];
    run(&["status"], "").success().stdout_eq(status.clone());
    // A slip of the finger is not one of the layer.
    let wrong = run(&["drill", "--type-passphrase"], "battery staple\n");
    let said = String::from_utf8_lossy(&wrong.code(12).get_output().stderr).into_owned();
    assert!(said.contains("[wrong-passphrase]"), "{said}");
    run(&["status"], "").success().stdout_eq(status);
    run(&["drill", "--type-passphrase"], "correct horse\n").success();
    run(&["status"], "").success().stdout_eq(str![[r#"
...
  passphrase  typed just now
...
"#]]);
}
