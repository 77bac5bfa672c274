//! The recovery procedure: what the page says is typed in, on a machine that knows nothing.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use snapbox::cmd::cargo_bin;

use crate::bench::Bench;

/// The commands of a part of the page, each block on its own.
fn blocks(part: &str) -> Vec<&str> {
    let blocks = part.split("```bash\n").skip(1);
    let blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0));
    blocks.collect()
}

/// Types a block of the page into a shell of a new machine, with the passphrase.
fn type_in(script: &str, home: &Path, path: &str) {
    fs::create_dir_all(home).unwrap();
    let mut child = Command::new("bash")
        .args(["-e", "-c", script])
        .env_clear()
        .env("HOME", home)
        .env("PATH", path)
        .env("LANG", "C.UTF-8")
        .env("BORG_PASSPHRASE", "correct horse")
        .env("BORG_RELOCATED_REPO_ACCESS_IS_OK", "yes")
        .env("PASSPHRASE", "correct horse")
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"correct horse\n")
        .unwrap();
    let ended = child.wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[test]
fn every_way_that_the_page_describes_brings_the_files_back() {
    let (Some(borg), Some(duplicity), Some(_)) = (
        testkit::stock_borg(),
        testkit::stock_duplicity(),
        testkit::require("gpg"),
    ) else {
        return;
    };
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n\
         [layer.disk]\nkind = \"borg\"\nstore = \"~/it's a repository\"\npassphrase = { env = \"PASS\" }\n\n\
         [layer.offsite]\nkind = \"duplicity\"\nstore = \"~/archive\"\npassphrase = { env = \"PASS\" }\n",
    );
    for number in 0..5 {
        bench.file(
            &format!("Documents/it's {number}"),
            &"line\n".repeat(number * 5000 + 1),
        );
    }
    let run = |words: &[&str]| {
        let command = bench
            .ravelin(words.iter().copied())
            .env("PASS", "correct horse");
        command.assert().success()
    };
    run(&["init"]);
    run(&["backup"]);
    let page = run(&["runbook"]);
    let page = String::from_utf8_lossy(&page.get_output().stdout).into_owned();
    assert!(!page.contains("correct horse"), "{page}");
    let html = run(&["runbook", "--html"]);
    let html = String::from_utf8_lossy(&html.get_output().stdout).into_owned();
    assert!(html.starts_with("<!DOCTYPE html>"), "{html}");
    for command in [
        "borg list",
        "duplicity restore",
        "ravelin --config recovery.toml",
    ] {
        assert!(html.contains(command), "{command} is not in {html}");
    }
    for tag in ["src=", "href=", "@import", "<script"] {
        assert!(
            !html.contains(tag),
            "it needs nothing from elsewhere: {html}"
        );
    }
    let parts: Vec<&str> = page.split("\n### ").skip(1).collect();
    let titles: Vec<&str> = parts
        .iter()
        .filter_map(|part| part.lines().next())
        .collect();
    assert_eq!(
        titles,
        [
            "With Ravelin",
            "With borg alone",
            "With Ravelin",
            "With duplicity alone",
            "With neither"
        ]
    );
    let folder = |program: &Path| program.parent().unwrap().display().to_string();
    let path = format!(
        "{}:{}:{}:/usr/bin:/bin",
        folder(cargo_bin!("ravelin")),
        folder(&borg.program()),
        folder(&duplicity.program())
    );
    let all: Vec<&str> = parts.iter().flat_map(|part| blocks(part)).collect();
    // With Ravelin; with the stock program all and some; by hand.
    assert_eq!(all.len(), 3 + 4, "{page}");
    for (number, block) in all.into_iter().enumerate() {
        let machine = bench.home().join(format!("machine {number}"));
        type_in(block, &machine, &path);
        let found = testkit::run(Command::new("find").arg(&machine).args([
            "(",
            "-path",
            "*restored*/Documents",
            "-o",
            "-path",
            "*/tree/*/Documents",
            ")",
            "-type",
            "d",
        ]));
        let back = Path::new(found.trim());
        for number in 0..5 {
            let name = format!("it's {number}");
            let before = fs::read(bench.home().join("Documents").join(&name)).unwrap();
            assert!(
                before == fs::read(back.join(&name)).unwrap(),
                "{name} in {block}"
            );
        }
    }
}

#[test]
fn the_keys_are_on_the_page_when_they_are_asked_for() {
    let bench = Bench::new();
    bench.file("source/letter", "dear Ada\n");
    bench.private_file("passphrase", "correct horse\n");
    bench.configure("");
    bench.succeeds(["init"], "configured");
    let page = |words: &[&str]| {
        let output = bench.ravelin(words.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let key = page(&["key", "export"]);
    let paper = page(&["key", "export", "--paper"]);
    let secret = key.lines().nth(1).unwrap();
    assert!(!page(&["runbook"]).contains(secret));
    assert!(page(&["runbook", "--keys"]).contains(paper.trim_end()));
    let html = page(&["runbook", "--html", "--keys"]);
    assert!(html.contains(secret) && html.contains("<svg"), "{html}");
    assert!(html.trim_end().ends_with("</body></html>"), "{html}");
}
