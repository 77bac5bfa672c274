//! Repositories that real releases of Borg have made, from 1.0 on, through the whole program.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bench::Bench;

fn cases() -> Vec<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../borg/testdata");
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).collect()
    };
    let mut cases: Vec<PathBuf> = folders(&data).iter().flat_map(|it| folders(it)).collect();
    cases.sort();
    cases
}

/// A layer over a copy of the repository.
fn open(case: &Path) -> Bench {
    let bench = Bench::new();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(case.join("repository"))
        .arg(bench.home())
        .status();
    assert!(copied.unwrap().success());
    let passphrase = fs::read_to_string(case.join("passphrase")).unwrap_or_default();
    // All that matters is whether the configuration says that it keeps a secret.
    let name = case.file_name().unwrap().to_str().unwrap();
    let encryption = match name {
        "authenticated" | "authenticated-blake2" => name,
        _ if passphrase.is_empty() => "none",
        _ => "repokey",
    };
    let passphrase_key = if passphrase.is_empty() {
        String::new()
    } else {
        bench.private_file("passphrase", &passphrase);
        "passphrase = { file = \"~/passphrase\" }\n".to_owned()
    };
    if let Ok(key) = fs::read_to_string(case.join("key")) {
        bench.private_file(".config/borg/keys/key", &key);
    }
    bench.file(
        ".config/ravelin/ravelin.toml",
        &format!(
            "[[source]]\npaths = [\"~\"]\n\n[layer.disk]\nkind = \"borg\"\n\
             store = \"~/repository\"\nencryption = \"{encryption}\"\n{passphrase_key}"
        ),
    );
    bench
}

/// What stock Borg reads from the archives: for each, the digests of its files.
fn expected(case: &Path) -> BTreeMap<String, BTreeMap<Vec<u8>, String>> {
    let text = fs::read_to_string(case.join("expected.jsonl")).unwrap();
    let mut archives = BTreeMap::new();
    let mut files = None;
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        if let Some(name) = value["archive"].as_str() {
            // One whose authentication is wrong is not for us to trust.
            let is_trusted = value["tam"] != "invalid" && !name.contains(".checkpoint");
            files = is_trusted.then(|| archives.entry(name.to_owned()).or_insert(BTreeMap::new()));
        } else if let (Some(files), Some(digest)) = (&mut files, value["sha256"].as_str())
            && value["part"].is_null()
            && value["chunks_healthy"].is_null()
        {
            let path = value["path"].as_str().unwrap();
            let path = path
                .chars()
                .map(|byte| u8::try_from(u32::from(byte)).unwrap());
            files.insert(path.collect(), digest.to_owned());
        }
    }
    archives
}

#[test]
fn every_release_is_read_and_every_file_has_its_content() {
    let mut count = 0;
    for case in cases() {
        let name = case.display();
        let bench = open(&case);
        for (archive, files) in expected(&case) {
            let target = format!("restored-{archive}");
            let output = bench
                .ravelin(["restore", &archive, "/", "--to", &target])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // What a repair has lost is left out, and said to be.
            let code = output.status.code();
            assert!(matches!(code, Some(0 | 3)), "{name}, {archive}: {said}");
            for (path, digest) in files {
                let path = bench
                    .home()
                    .join(&target)
                    .join(std::ffi::OsStr::from_bytes(&path));
                let content = fs::read(&path)
                    .unwrap_or_else(|error| panic!("{name}, {archive}, {path:?}: {error}; {said}"));
                let found = hex::encode(Sha256::digest(content));
                assert_eq!(found, digest, "{name}, {archive}, {path:?}");
                count += 1;
            }
        }
        let verified = bench.ravelin(["verify", "--data"]).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        let is_hurt = case.ends_with("repaired");
        let has_wrong_tam = fs::read_to_string(case.join("expected.jsonl"))
            .unwrap()
            .contains("\"tam\": \"invalid\"");
        assert_eq!(
            verified.status.code() != Some(0),
            is_hurt || has_wrong_tam,
            "{name}: {said}"
        );
        make_removable(&bench.home());
    }
    assert!(count > 500, "{count}");
}

/// Folders that were restored without the right to write.
fn make_removable(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
}
