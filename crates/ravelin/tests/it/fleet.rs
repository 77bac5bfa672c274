//! Machines that say how they stand, and who looks after them.

use std::fs;

use snapbox::str;

use crate::bench::Bench;

#[test]
fn a_machine_is_believed_what_it_has_signed() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\n\n[layer.disk]\nkind = \"borg\"\n\
         store = \"~/repository\"\nencryption = \"none\"\nschedule = \"daily\"\n\n\
         [fleet]\nstore = \"~/fleet\"\nkey = { file = \"~/key\" }\n",
    );
    bench.private_file("key", "a key of these machines\n");
    bench.file("Documents/letter", "dear Ada\n");
    fs::create_dir(bench.home().join("fleet")).unwrap();
    bench.succeeds(["init"], "configured");
    bench
        .ravelin(["status", "--fleet"])
        .assert()
        .code(1)
        .stderr_eq("no machine has said yet how it stands: each does at the end of a run\n");
    bench.succeeds(["run"], "created");
    let objects = || -> Vec<_> {
        let folder = fs::read_dir(bench.home().join("fleet")).unwrap();
        folder.map(|object| object.unwrap().path()).collect()
    };
    let [object] = &objects()[..] else {
        panic!("{:?}", objects());
    };
    bench
        .ravelin(["status", "--fleet"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
1 of 1 machine good.

MACHINE [..] STATE
[..]  disk   just now     just now    just now  good

"#]]);
    // Another machine's good word is none for this one, and nobody else can give it.
    let copy = bench.home().join("fleet/other.ravelin-status");
    fs::copy(object, &copy).unwrap();
    let said = bench.ravelin(["status", "--fleet"]).assert().code(4);
    let said = String::from_utf8_lossy(&said.get_output().stdout).into_owned();
    assert!(
        said.contains("NOT BELIEVED: it is signed for another machine"),
        "{said}"
    );
    fs::remove_file(copy).unwrap();
    let text = fs::read_to_string(object).unwrap();
    fs::write(object, text.replace("\"alarm\":false", "\"alarm\":true ")).unwrap();
    let store = bench.home().join("fleet").display().to_string();
    let said = bench
        .ravelin(["status", "--fleet", store.as_str()])
        .assert()
        .code(1);
    let said = String::from_utf8_lossy(&said.get_output().stdout).into_owned();
    assert!(
        said.contains("NOT BELIEVED: its signature is not of this key"),
        "{said}"
    );
    // It says so anew with each run.
    bench.succeeds(["backup"], "forged");
    bench.succeeds(["status", "--fleet"], "backed up");
    // A key that the store could find by trying is none.
    bench.private_file("key", "short\n");
    let said = bench.ravelin(["status", "--fleet"]).assert().failure();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("the key of `[fleet]` has 5 bytes"), "{said}");
}
