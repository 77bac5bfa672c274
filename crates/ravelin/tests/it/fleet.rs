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
    let host = object.file_stem().unwrap().to_str().unwrap().to_owned();
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
    // One that was believed is missed, also when an older word of it is put back.
    let good = text;
    fs::remove_file(object).unwrap();
    let said = bench.ravelin(["status", "--fleet"]).assert().code(1);
    let said = String::from_utf8_lossy(&said.get_output().stdout).into_owned();
    assert!(said.contains("0 of 1 machine good."), "{said}");
    assert!(
        said.contains("MISSING: it has said nothing any more since"),
        "{said}"
    );
    std::thread::sleep(std::time::Duration::from_millis(1100));
    bench.succeeds(["backup"], "told again");
    bench.succeeds(["status", "--fleet"], "back");
    fs::write(object, &good).unwrap();
    let said = bench.ravelin(["status", "--fleet"]).assert().code(1);
    let said = String::from_utf8_lossy(&said.get_output().stdout).into_owned();
    assert!(said.contains("an older one was put back"), "{said}");
    // Until a person says that it is no more.
    fs::remove_file(object).unwrap();
    let forget = ["status", "--forget", host.as_str()];
    bench.succeeds(forget, "forgotten");
    bench
        .ravelin(forget)
        .assert()
        .code(1)
        .stderr_eq(format!("nothing was known of {host}\n"));
    let nobody = "no machine has said yet how it stands: each does at the end of a run\n";
    bench
        .ravelin(["status", "--fleet"])
        .assert()
        .code(1)
        .stderr_eq(nobody);
    // It says so anew with each run.
    bench.succeeds(["backup"], "forged");
    bench.succeeds(["status", "--fleet"], "backed up");
    // A key that the store could find by trying is none.
    bench.private_file("key", "short\n");
    let said = bench.ravelin(["status", "--fleet"]).assert().failure();
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("the key of `[fleet]` has 5 bytes"), "{said}");
}
