//! A repository with bit rot: what is whole comes back, what is not is named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::Bench;

/// Files of the tree. All have the same content, so that of what is stored all but one chunk is
/// the list of files. The list is more than 1.5 MB long, so that it has at least four pieces (of
/// 512 KiB at most) wherever the repository's secret cuts it.
const FILES: usize = 4000;

fn name(number: usize) -> String {
    format!("{number:04}-{}", "x".repeat(200))
}

fn bench(files: usize) -> Bench {
    let bench = Bench::new();
    for number in 0..files {
        bench.file(&format!("Documents/{}", name(number)), "same\n");
    }
    bench
        .ravelin(["quickstart", "Documents"])
        .assert()
        .success();
    bench
}

/// Where the objects of the only segment with content are, in the order in which they were stored.
fn objects(bench: &Bench) -> (PathBuf, Vec<usize>) {
    let folder = bench.home().join(".local/share/ravelin/disk/data/0");
    let mut segments: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    segments.sort_by_key(|path| path.metadata().unwrap().len());
    let segment = segments.pop().unwrap();
    let bytes = fs::read(&segment).unwrap();
    let mut objects = Vec::new();
    let mut at = 8;
    while let Some(header) = bytes.get(at..at + 9) {
        if header[8] == 0 {
            objects.push(at);
        }
        at += usize::try_from(u32::from_le_bytes(header[4..8].try_into().unwrap())).unwrap();
    }
    (segment, objects)
}

fn flip(segment: &Path, at: usize) {
    let mut bytes = fs::read(segment).unwrap();
    bytes[at] ^= 0x10;
    fs::write(segment, bytes).unwrap();
}

#[test]
fn a_hole_in_the_list_of_files_costs_what_stood_there_and_nothing_else() {
    let bench = bench(FILES);
    let (segment, objects) = objects(&bench);
    // Content, four pieces of the list at least, the archive.
    assert!(objects.len() >= 6, "{}", objects.len());
    flip(&segment, objects[2] + 100);
    bench
        .ravelin(["restore", "latest", "Documents", "--to", "restored"])
        .assert()
        .code(3)
        .stderr_eq(snapbox::str![[r#"
...
[..]a part of the list of files is damaged, and what stood there is not restored: [..]
...
"#]]);
    let restored = bench.home().join("restored/Documents");
    let count = fs::read_dir(&restored).unwrap().count();
    assert!(count < FILES, "{count}");
    for around in [0, FILES - 1] {
        assert!(restored.join(name(around)).exists(), "{around}");
    }

    bench
        .ravelin(["ls", "latest", "Documents"])
        .assert()
        .code(1);
    bench.ravelin(["verify", "--data"]).assert().code(1);
    let state = || {
        let status = bench.ravelin(["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        status["layers"][0]["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state(), "damaged");
}

#[test]
fn damaged_content_stays_known_until_all_content_was_read_again() {
    let bench = bench(100);
    let (segment, objects) = objects(&bench);
    flip(&segment, objects[0] + 60);
    let state = || {
        let status = bench.ravelin(["status", "--json"]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        status["layers"][0]["state"].as_str().unwrap().to_owned()
    };
    let later = || std::thread::sleep(std::time::Duration::from_millis(1100));
    bench.ravelin(["verify", "--data"]).assert().code(1);
    assert_eq!(state(), "damaged");
    later();
    bench.ravelin(["verify"]).assert().success();
    assert_eq!(state(), "damaged");
    flip(&segment, objects[0] + 60);
    later();
    bench.ravelin(["verify", "--data"]).assert().success();
    assert_eq!(state(), "good");
}

#[test]
fn a_damaged_snapshot_does_not_hide_the_others() {
    let bench = bench(FILES);
    let (segment, objects) = objects(&bench);
    let archive = *objects.last().unwrap();
    bench.ravelin(["backup"]).assert().success();
    flip(&segment, archive + 100);
    let listed = bench.ravelin(["snapshots", "--json"]).output().unwrap();
    assert_eq!(listed.status.code(), Some(1));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let list = listed["snapshots"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert!(list[0]["files"].is_null(), "{list:?}");
    // With the configuration.
    assert_eq!(list[1]["files"], FILES + 1);
}

#[test]
fn a_lost_commit_is_found() {
    let bench = bench(FILES);
    let data = bench.home().join(".local/share/ravelin/disk/data/0");
    let newest = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.parse::<u32>().unwrap()
        });
    fs::remove_file(newest.unwrap()).unwrap();
    bench.ravelin(["verify"]).assert().code(1);
    bench.ravelin(["verify", "--data"]).assert().code(1);
}
