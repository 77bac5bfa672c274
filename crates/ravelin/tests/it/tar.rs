//! Snapshots as tar files, judged by GNU tar and by stock Borg.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Ignore, StockBorg, Tree, assert_same};

use crate::bench::Bench;

const PASSPHRASE: &str = "a passphrase";

/// A layer on this machine with files of every kind, and the stock program that shares it.
struct Place {
    bench: Bench,
    stock: StockBorg,
}

impl Place {
    fn new() -> Option<Self> {
        let stock = testkit::stock_borg()?.with_passphrase(PASSPHRASE);
        let bench = Bench::new();
        let config = bench.file(
            ".config/ravelin/ravelin.toml",
            "[[source]]\npaths = [\"~/files\"]\n\n[layer.disk]\nkind = \"borg\"\n\
             store = \"~/repository\"\npassphrase = { env = \"P\" }\n",
        );
        fs::set_permissions(config, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(bench.home().join("files")).unwrap();
        Some(Self { bench, stock })
    }

    fn run<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let command = self.bench.ravelin(arguments);
        let command = command
            .env("P", PASSPHRASE)
            .env("BORG_BASE_DIR", self.stock.base_dir());
        command.assert().success().get_output().stdout.clone()
    }

    fn files(&self) -> PathBuf {
        self.bench.home().join("files")
    }

    fn repository(&self) -> String {
        self.bench.home().join("repository").display().to_string()
    }

    /// Where the files are in a snapshot that was unpacked into this folder.
    fn inside(&self, folder: &Path) -> PathBuf {
        folder.join(self.files().strip_prefix("/").unwrap())
    }

    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.bench.home().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }
}

fn untar(folder: &Path, arguments: &[&str]) {
    let output = Command::new("tar")
        .arg("-x")
        .args(arguments)
        .arg("-C")
        .arg(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// What the tar form that every program understands keeps.
fn plain() -> Ignore {
    Ignore {
        root: true,
        sockets: true,
        linked_symlinks: true,
        flags: true,
        ..Ignore::default()
    }
}

#[test]
fn gnu_tar_unpacks_what_was_exported_with_every_compression() {
    let Some(place) = Place::new() else {
        return;
    };
    let tree = Tree::at(&place.files(), 51).odd_names().links();
    let text = "the same words again and again\n".repeat(10_000);
    fs::write(tree.path().join("text"), text).unwrap();
    let noise = testkit::Random::new(51).noise(700_000);
    fs::write(tree.path().join("noise"), noise).unwrap();
    whole_seconds(tree.path());
    place.run(["init"]);
    place.run(["backup"]);
    for ending in ["tar", "tar.gz", "tar.zst", "tar.xz"] {
        let file = place.bench.home().join(format!("x.{ending}"));
        place.run(["tar", "export", "latest", file.to_str().unwrap()]);
        let folder = place.folder(&format!("from-{ending}"));
        if ending == "tar.zst" && Command::new("zstd").arg("--version").output().is_err() {
            continue;
        }
        untar(&folder, &["-f", file.to_str().unwrap()]);
        assert_same(tree.path(), &place.inside(&folder), &plain());
    }
    // On the way through a pipe, with the files of one folder alone.
    let folder = place.folder("part");
    fs::create_dir(tree.path().join("one")).unwrap();
    fs::write(tree.path().join("one/file"), "content").unwrap();
    place.run(["backup"]);
    let one = tree.path().join("one");
    let tar = place.run(["tar", "export", "latest", "-", one.to_str().unwrap()]);
    let file = place.bench.home().join("part.tar");
    fs::write(&file, tar).unwrap();
    untar(&folder, &["-f", file.to_str().unwrap()]);
    let inside = place.inside(&folder);
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
    assert_eq!(fs::read(inside.join("one/file")).unwrap(), b"content");
}

/// Sets the times of files to whole seconds, which is what this form keeps.
fn whole_seconds(folder: &Path) {
    let status = Command::new("find")
        .arg(folder)
        .args([
            "-depth",
            "-exec",
            "touch",
            "-h",
            "-d",
            "2024-05-06 07:08:09 UTC",
            "{}",
            "+",
        ])
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn gnu_tar_unpacks_attributes_and_nanoseconds_of_the_pax_form() {
    let Some(place) = Place::new() else {
        return;
    };
    let tree = Tree::at(&place.files(), 52).odd_names().links();
    fs::write(tree.path().join("marked"), "x").unwrap();
    set_attribute(&tree.path().join("marked"), "user.note", "by hand=100%");
    place.run(["init"]);
    place.run(["backup"]);
    let file = place.bench.home().join("x.tar");
    let name = file.to_str().unwrap();
    place.run(["tar", "export", "latest", name, "--form", "pax"]);
    let folder = place.folder("back");
    untar(
        &folder,
        &["--xattrs", "--xattrs-include=*", "--acls", "-f", name],
    );
    assert_same(tree.path(), &place.inside(&folder), &plain());
    let marked = place.inside(&folder).join("marked");
    let nanoseconds = |path: &Path| fs::metadata(path).unwrap().mtime_nsec();
    assert_eq!(
        nanoseconds(&marked),
        nanoseconds(&tree.path().join("marked"))
    );
    let note = rustix_get(&marked, "user.note");
    assert_eq!(note, b"by hand=100%");
}

fn set_attribute(path: &Path, name: &str, value: &str) {
    rustix::fs::setxattr(
        path,
        name,
        value.as_bytes(),
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
}

fn rustix_get(path: &Path, name: &str) -> Vec<u8> {
    let mut value = vec![0; 1000];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).unwrap();
    value.truncate(length);
    value
}

#[test]
fn the_borg_form_keeps_everything_on_a_way_there_and_back() {
    let Some(place) = Place::new() else {
        return;
    };
    let tree = Tree::at(&place.files(), 53).odd_names().sizes().links();
    fs::write(tree.path().join("marked"), "x").unwrap();
    set_attribute(&tree.path().join("marked"), "user.note", "by hand");
    place.run(["init"]);
    place.run(["backup"]);
    let file = place.bench.home().join("x.tar.lz4");
    let name = file.to_str().unwrap();
    place.run(["tar", "export", "latest", name, "--form", "borg"]);
    place.run(["tar", "import", name, "--name", "again"]);
    // Each item says the same, down to the chunks of its content.
    let repository = place.repository();
    let snapshots = place.stock.run(["list", "--short", &repository]);
    let first = snapshots.lines().find(|name| *name != "again").unwrap();
    let dump = |name: &str| {
        let archive = format!("{repository}::{name}");
        let format = "{type} {mode} {user} {group} {uid} {gid} {size} {mtime} {ctime} {xxh64} \
                      {flags} {path} {source}{NL}";
        place.stock.run(["list", "--format", format, &archive])
    };
    assert_eq!(dump(first), dump("again"));
    place.stock.run(["check", "--verify-data", &repository]);
    let difference = place
        .stock
        .run(["diff", &format!("{repository}::{first}"), "again"]);
    assert_eq!(difference, "");
}

#[test]
fn stock_borg_and_we_import_each_others_exports() {
    let Some(place) = Place::new() else {
        return;
    };
    let tree = Tree::at(&place.files(), 54).odd_names().sizes().links();
    place.run(["init"]);
    place.run(["backup"]);
    let repository = place.repository();
    let home = place.bench.home();
    let snapshots = place.stock.run(["list", "--short", &repository]);
    let first = snapshots.trim_end().to_owned();
    let theirs = home.join("theirs.tar.gz").display().to_string();
    let ours = home.join("ours.tar").display().to_string();
    let archive = format!("{repository}::{first}");
    place.stock.run(["export-tar", &archive, &theirs]);
    place.run(["tar", "export", "latest", &ours]);
    place.run(["tar", "import", &theirs, "--name", "we-theirs"]);
    place
        .stock
        .run(["import-tar", &format!("{repository}::they-ours"), &ours]);
    let list = |name: &str| {
        let format = "{type} {mode} {user} {group} {size} {isomtime} {xxh64} {path}{NL}";
        let archive = format!("{repository}::{name}");
        place.stock.run(["list", "--format", format, &archive])
    };
    assert_eq!(list("we-theirs"), list("they-ours"));
    place.stock.run(["check", "--verify-data", &repository]);
    for name in ["we-theirs", "they-ours"] {
        let folder = place.folder(name);
        let files = tree.path().to_str().unwrap();
        place.run(["restore", name, files, "--to", folder.to_str().unwrap()]);
        let back = folder.join("files");
        let restored = fs::read_dir(&back).unwrap().count();
        assert_eq!(
            restored,
            fs::read_dir(tree.path()).unwrap().count(),
            "{name}"
        );
    }
}

#[test]
fn holes_are_where_gnu_tar_says_that_they_are() {
    use std::os::unix::fs::FileExt as _;

    let Some(place) = Place::new() else {
        return;
    };
    let noise = testkit::Random::new(56).noise(70_000);
    let name = "b".repeat(120);
    for name in ["holes", &name] {
        let file = fs::File::create(place.files().join(name)).unwrap();
        for offset in [0, 1 << 20, 3 << 20] {
            file.write_all_at(&noise, offset).unwrap();
        }
        file.set_len(5 << 20).unwrap();
    }
    place.run(["init"]);
    let tar = place.bench.home().join("holes.tar");
    for (number, form) in [
        &["--format=gnu"][..],
        &["--format=pax"],
        &["--format=pax", "--sparse-version=0.1"],
    ]
    .into_iter()
    .enumerate()
    {
        let status = Command::new("tar")
            .args(["-c", "--sparse", "-f"])
            .arg(&tar)
            .args(form)
            .arg("-C")
            .arg(place.bench.home())
            .arg("files")
            .status();
        assert!(status.unwrap().success());
        assert!(fs::metadata(&tar).unwrap().len() < 2 << 20, "{form:?}");
        let snapshot = format!("snapshot-{number}");
        place.run(["tar", "import", tar.to_str().unwrap(), "--name", &snapshot]);
        let archive = format!("{}::{snapshot}", place.repository());
        let folder = place.folder(&snapshot);
        place.stock.run_in(&folder, ["extract", &archive]);
        let back = folder.join("files");
        for name in ["holes", &name] {
            let content = fs::read(back.join(name)).unwrap();
            assert!(
                content == fs::read(place.files().join("holes")).unwrap(),
                "{form:?}"
            );
        }
    }
}

#[test]
fn a_tar_file_that_is_cut_off_makes_no_snapshot() {
    let Some(place) = Place::new() else {
        return;
    };
    fs::write(
        place.files().join("file"),
        testkit::Random::new(55).noise(100_000),
    )
    .unwrap();
    place.run(["init"]);
    place.run(["backup"]);
    let whole = place.run(["tar", "export", "latest", "-"]);
    let cut = place.bench.home().join("cut.tar");
    fs::write(&cut, &whole[..60_000]).unwrap();
    let import = ["tar", "import", cut.to_str().unwrap(), "--name", "cut"];
    let command = place.bench.ravelin(import).env("P", PASSPHRASE);
    let command = command.env("BORG_BASE_DIR", place.stock.base_dir());
    command.assert().failure();
    let snapshots = place.stock.run(["list", "--short", &place.repository()]);
    assert_eq!(snapshots.lines().count(), 1, "{snapshots}");
    // A file that is there is not replaced.
    let export = ["tar", "export", "latest", cut.to_str().unwrap()];
    let command = place.bench.ravelin(export).env("P", PASSPHRASE);
    let command = command.env("BORG_BASE_DIR", place.stock.base_dir());
    command.assert().failure();
    assert_eq!(fs::metadata(&cut).unwrap().len(), 60_000);
}
