//! Layers of different formats, compared with each other.

use snapbox::str;

use crate::bench::Bench;

#[test]
fn what_one_layer_has_and_another_lacks_is_named() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n\
         [layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\nencryption = \"none\"\n\n\
         [layer.offsite]\nkind = \"duplicity\"\nstore = \"~/archive\"\nencryption = \"none\"\n",
    );
    for name in ["letter", "old", "grown"] {
        bench.file(&format!("Documents/{name}"), "dear");
    }
    std::os::unix::fs::symlink("letter", bench.home().join("Documents/link")).unwrap();
    bench.ravelin(["init"]).assert().success();
    bench.ravelin(["backup"]).assert().success();
    bench
        .ravelin(["compare"])
        .assert()
        .success()
        .stdout_eq(str![]);
    std::fs::remove_file(bench.home().join("Documents/old")).unwrap();
    bench.file("Documents/grown", "dear Ada");
    bench.file("Documents/new", "more");
    bench.ravelin(["backup", "disk"]).assert().success();
    bench
        .ravelin(["compare", "--verbose"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
~ [HOME_IN_SNAPSHOTS]/Documents/grown (another form in offsite than in disk)
- [HOME_IN_SNAPSHOTS]/Documents/new (not in offsite)
- [HOME_IN_SNAPSHOTS]/Documents/old (not in disk)

"#]])
        .stderr_eq(str![[r#"
disk: [..]
offsite: [..]
3 files the same in all, 3 differences

"#]]);
    let found = bench
        .ravelin(["compare", "offsite", "disk", "--json"])
        .assert()
        .success();
    let found: serde_json::Value = serde_json::from_slice(&found.get_output().stdout).unwrap();
    assert_eq!(found["same"], 3);
    assert_eq!(found["unequal"][1]["missing_in"][0], "offsite");
    bench.ravelin(["compare", "nothing"]).assert().code(2);
}
