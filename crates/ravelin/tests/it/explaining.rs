//! Why a path is, or is not, in the backup.

use std::os::unix::net::UnixListener;

use snapbox::str;

use crate::bench::Bench;

#[test]
fn a_path_is_in_the_backup_or_the_rule_that_leaves_it_out_is_named() {
    let bench = Bench::new();
    bench.file(
        ".config/ravelin/ravelin.toml",
        "[[source]]\npaths = [\"~/Documents\"]\npresets = [\"trash\"]\nexclude = [\"*.iso\"]\n\
         exclude-larger = \"10 B\"\nexclude-if-present = [\".nobackup\"]\n\n\
         [layer.disk]\nkind = \"borg\"\nstore = \"~/Documents/repository\"\nencryption = \"none\"\n",
    );
    for path in [
        "Documents/report.odt",
        "Documents/disk.iso",
        "Documents/.Trash/old",
        "Documents/repository/config",
        "Documents/private/.nobackup",
        "Music/song",
    ] {
        bench.file(path, "x");
    }
    bench.file("Documents/large", "larger than wanted");
    let explain = |path: &str| bench.ravelin(["explain", path]).assert().success();
    explain("Documents/report.odt").stdout_eq(str![[r#"
[HOME]/Documents/report.odt is in the backup

"#]]);
    explain("Documents/disk.iso").stdout_eq(str![[r#"
[HOME]/Documents/disk.iso is not in the backup: the rule `*.iso` matches

"#]]);
    explain("Documents/.Trash/old").stdout_eq(str![[r#"
[HOME]/Documents/.Trash/old is not in the backup: [HOME]/Documents/.Trash is left out, because the rule `.Trash` of the preset `trash` matches

"#]]);
    explain("Documents/repository/config").stdout_eq(str![[r#"
[HOME]/Documents/repository/config is not in the backup: [HOME]/Documents/repository is left out, because it is the store of layer `disk`

"#]]);
    explain("Documents/private/.nobackup").stdout_eq(str![[r#"
[HOME]/Documents/private/.nobackup is not in the backup: [HOME]/Documents/private is left out, because the folder holds `.nobackup`

"#]]);
    explain("Documents/large").stdout_eq(str![[r#"
[HOME]/Documents/large is not in the backup: it has 18 bytes, more than 10

"#]]);
    explain("Documents/absent").stdout_eq(str![[r#"
[HOME]/Documents/absent is not in the backup: it is not there

"#]]);
    let _socket = UnixListener::bind(bench.home().join("Documents/socket")).unwrap();
    explain("Documents/socket").stdout_eq(str![[r#"
[HOME]/Documents/socket is not in the backup: it is a socket, which only the program behind it can make

"#]]);
    explain("Music/song").stdout_eq(str![[r#"
[HOME]/Music/song is not in the backup: no source names it or a folder above it

"#]]);
    bench
        .ravelin(["explain", "--json", "Documents/disk.iso"])
        .assert()
        .success()
        .stdout_eq(str![[r#"
{"path":"[HOME_IN_SNAPSHOTS]/Documents/disk.iso","included":false,"because":"the rule `*.iso` matches"}

"#]]);
}
