//! A part of a store is read back at each scheduled run.

use std::fs;
use std::path::PathBuf;

use crate::bench::Bench;

fn run(bench: &Bench, code: i32) -> serde_json::Value {
    let assert = bench.ravelin(["run", "--json"]).assert().code(code);
    let stdout = String::from_utf8_lossy(&assert.get_output().stdout).into_owned();
    let report = stdout.lines().last().unwrap();
    serde_json::from_str(report).unwrap()
}

#[test]
fn a_part_is_read_each_day_and_damage_in_it_is_found() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n[layer.disk]\nkind = \"borg\"\n\
         store = \"~/repository\"\nencryption = \"none\"\n\
         [verify]\nstructure = \"manual\"\ndata = \"manual\"\ndrill = \"manual\"\n\
         rolling = \"4 weeks\"\n",
    );
    bench.file("Documents/letter", &"dear Ada, ".repeat(5000));
    bench.ravelin(["init"]).assert().success();
    let first = run(&bench, 0);
    let rolled = &first["rolled"][0];
    assert_eq!(rolled["layer"], "disk");
    assert_eq!(rolled["to_the_end"], true);
    assert!(rolled["read_bytes"].as_u64().unwrap() > 0, "{first}");
    let second = run(&bench, 0);
    assert_eq!(second["rolled"].as_array().unwrap().len(), 0, "once a day");
    let status = bench.ravelin(["status"]).assert().success();
    let status = String::from_utf8_lossy(&status.get_output().stdout).into_owned();
    assert!(
        status.contains("read all    just now, by parts"),
        "{status}"
    );

    // A day later, and a bit has rotted.
    let memory = bench.home().join(".local/state/ravelin/rolling.json");
    fs::remove_file(memory).unwrap();
    let segments = fs::read_dir(bench.home().join("repository/data/0")).unwrap();
    let segments = segments.map(|segment| segment.unwrap().path());
    let largest: PathBuf = segments
        .max_by_key(|path| path.metadata().unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).unwrap();
    let found = run(&bench, 1);
    assert_eq!(found["rolled"][0]["findings"].as_array().unwrap().len(), 1);
    let status = bench.ravelin(["status"]).assert().code(1);
    let status = String::from_utf8_lossy(&status.get_output().stdout).into_owned();
    assert!(status.contains("disk  damaged"), "{status}");
}
