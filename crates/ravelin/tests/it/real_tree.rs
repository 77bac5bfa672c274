//! A tree that nobody made for the test: the programs of this machine.

use std::path::{Path, PathBuf};

use testkit::rsync_differences;

use crate::bench::Bench;

/// What is backed up. `RAVELIN_REAL_TREE=/usr` takes all of it, which needs some minutes and twice
/// its size in the temporary folder.
fn tree() -> PathBuf {
    let chosen = std::env::var_os("RAVELIN_REAL_TREE");
    chosen.map_or_else(|| PathBuf::from("/usr/share/doc"), PathBuf::from)
}

#[test]
fn the_programs_of_this_machine_come_back_with_every_attribute_and_byte() {
    let Some(()) = testkit::require_root() else {
        return;
    };
    let tree = tree();
    let bench = Bench::new();
    // Everything, also what the presets of a first configuration would leave out.
    bench.file(
        ".config/ravelin/ravelin.toml",
        &format!(
            "[[source]]\npaths = [{tree:?}]\nexclude-caches = false\n\n\
             [layer.disk]\nkind = \"borg\"\nstore = \"~/repository\"\nencryption = \"none\"\n"
        ),
    );
    bench.ravelin(["init"]).assert().success();
    bench.ravelin(["backup"]).assert().success();
    bench
        .ravelin(["restore", "latest"])
        .arg(&tree)
        .args(["--to", "restored", "--as-it-was"])
        .assert()
        .success();
    let restored = bench.home().join("restored");
    let restored = restored.join(tree.file_name().unwrap_or_default());
    assert_same(&tree, &restored);
    bench.ravelin(["backup"]).assert().success();
    bench.ravelin(["verify", "--data"]).assert().success();
}

fn assert_same(tree: &Path, restored: &Path) {
    if let Some(differences) = rsync_differences(tree, restored) {
        assert_eq!(differences, Vec::<String>::new());
    }
}
