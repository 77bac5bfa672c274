//! The guard, as a person meets it.

use std::fs;
use std::io::Read;

use crate::bench::Bench;

fn said(bench: &Bench, arguments: &[&str], code: i32) -> (String, String) {
    let assert = bench.ravelin(arguments.iter().copied()).assert().code(code);
    let output = assert.get_output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn while_files_look_encrypted_no_old_snapshot_goes_until_a_person_says_go_on() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n[layer.disk]\nkind = \"borg\"\n\
         store = \"~/repository\"\nencryption = \"none\"\nkeep = { last = 1 }\n",
    );
    for number in 0..250 {
        let text = format!("letter {number}\n").repeat(200);
        bench.file(&format!("Documents/{number}.txt"), &text);
    }
    bench.ravelin(["init"]).assert().success();
    bench.ravelin(["backup"]).assert().success();
    assert_eq!(said(&bench, &["guard"], 0).0, "No alarm.\n");
    for number in 0..250 {
        let mut noise = vec![0; 3000];
        let mut urandom = fs::File::open("/dev/urandom").unwrap();
        urandom.read_exact(&mut noise).unwrap();
        fs::write(bench.home().join(format!("Documents/{number}.txt")), noise).unwrap();
    }
    let snapshots = || {
        let listed = said(&bench, &["snapshots", "--json"], 0).0;
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        listed["snapshots"].as_array().unwrap().len()
    };
    let (_, stderr) = said(&bench, &["backup"], 4);
    assert!(
        stderr.starts_with("ALARM: about 250 of 251 files (99 %) look encrypted\n"),
        "{stderr}"
    );
    assert!(stderr.contains("[guard-alarm]"), "{stderr}");
    assert_eq!(snapshots(), 2, "the rules keep one");
    let (_, stderr) = said(&bench, &["prune"], 1);
    assert!(stderr.contains("[guard-alarm]"), "{stderr}");
    assert!(stderr.contains("next: run `ravelin guard`"), "{stderr}");
    assert_eq!(snapshots(), 2);
    let (status, _) = said(&bench, &["status"], 0);
    assert!(status.contains("\nALARM since "), "{status}");
    let (told, _) = said(&bench, &["guard"], 1);
    assert!(
        told.contains("/Documents/") && told.contains("--go-on"),
        "{told}"
    );
    let (json, _) = said(&bench, &["guard", "--json"], 1);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["alarm"]["signs"][0]["what"], "scrambled");
    said(&bench, &["guard", "--go-on"], 0);
    said(&bench, &["prune"], 0);
    assert_eq!(snapshots(), 1);
    said(&bench, &["backup"], 0);
}
