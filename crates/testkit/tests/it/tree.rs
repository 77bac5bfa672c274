//! Trees are the same for the same seed, and a difference of any kind is named.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ravelin_testkit::{Ignore, Tree, assert_same, compare, require_root, rsync_differences};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};

/// A tree that is quick to make, with something of most kinds.
fn tree() -> Tree {
    Tree::new(1)
        .links()
        .attributes()
        .special_files()
        .file("file", "content")
        .directory("empty")
}

fn differences(change: impl Fn(&Path)) -> Vec<String> {
    let (expected, found) = (tree(), tree());
    change(found.path());
    let ignore = Ignore::default();
    compare(expected.path(), found.path(), &ignore)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn set_mtime(path: &Path, tv_sec: i64, tv_nsec: i64) {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn the_same_seed_makes_the_same_tree() {
    let (one, two) = (Tree::every_kind(7), Tree::every_kind(7));
    assert_same(one.path(), two.path(), &Ignore::default());
}

#[test]
fn rsync_agrees_that_the_trees_of_a_seed_are_the_same() {
    let (one, two) = (Tree::every_kind(7), Tree::every_kind(7));
    let Some(found) = rsync_differences(one.path(), two.path()) else {
        return;
    };
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn another_seed_makes_another_tree() {
    let (one, two) = (Tree::new(1).sizes(), Tree::new(2).sizes());
    assert!(!compare(one.path(), two.path(), &Ignore::default()).is_empty());
}

#[test]
fn a_path_longer_than_the_system_takes_is_compared() {
    use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
    let (one, two) = (Tree::new(1), Tree::new(1));
    for (tree, leaf) in [(&one, "expected"), (&two, "found")] {
        let mut directory = open(tree.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
        for name in std::iter::repeat_n("d".repeat(200).as_str(), 30).chain([leaf]) {
            mkdirat(&directory, name, 0o755.into()).unwrap();
            directory = openat(&directory, name, OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
    }
    let found = compare(one.path(), two.path(), &Ignore::default());
    let missing = found
        .iter()
        .find(|difference| difference.what == "missing")
        .unwrap();
    assert!(missing.path.len() > 6000 && missing.path.ends_with(b"/expected"));
}

#[test]
fn a_missing_file_and_one_too_many_are_named() {
    let found = differences(|path| {
        fs::rename(path.join("file"), path.join("fine")).unwrap();
        set_mtime(path, 1, 2);
    });
    assert_eq!(found[1..], ["file: missing", "fine: should not be there"]);
}

#[test]
fn one_byte_of_content_is_named() {
    let found = differences(|path| {
        let time = fs::metadata(path.join("file")).unwrap().modified().unwrap();
        fs::write(path.join("file"), "contEnt").unwrap();
        fs::File::options()
            .write(true)
            .open(path.join("file"))
            .unwrap()
            .set_modified(time)
            .unwrap();
    });
    assert_eq!(found, ["file: content differs from byte 4"]);
}

#[test]
fn a_nanosecond_is_named() {
    let found = differences(|path| {
        set_mtime(&path.join("file"), 5, 999_999_999);
    });
    assert!(
        found[0].starts_with("file: mtime 5.999999999, not "),
        "{found:?}"
    );
}

#[test]
fn a_mode_is_named() {
    let found = differences(|path| {
        fs::set_permissions(path.join("file"), Permissions::from_mode(0o4600)).unwrap();
    });
    assert_eq!(found, ["file: mode 4600, not 644"]);
}

#[test]
fn a_link_that_became_a_copy_is_named() {
    let found = differences(|path| {
        let name = path.join("links/a second name");
        let time = fs::metadata(&name).unwrap().modified().unwrap();
        let folder_time = fs::metadata(path.join("links"))
            .unwrap()
            .modified()
            .unwrap();
        let content = fs::read(&name).unwrap();
        fs::remove_file(&name).unwrap();
        fs::write(&name, content).unwrap();
        fs::File::open(&name).unwrap().set_modified(time).unwrap();
        fs::File::open(path.join("links"))
            .unwrap()
            .set_modified(folder_time)
            .unwrap();
    });
    assert!(found[0].contains("is the same file as"), "{found:?}");
}

#[test]
fn a_link_to_elsewhere_is_named() {
    let found = differences(|path| {
        let link = path.join("links/absolute");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("/etc/hosts", &link).unwrap();
    });
    assert!(
        found.contains(&"links/absolute: points to /etc/hosts, not /etc/hostname".to_owned()),
        "{found:?}"
    );
}

#[test]
fn an_extended_attribute_and_an_access_control_list_are_named() {
    let found = differences(|path| {
        let file = path.join("file");
        rustix::fs::setxattr(&file, "user.new", b"1", XattrFlags::empty()).unwrap();
        rustix::fs::removexattr(path.join("acls/file"), "system.posix_acl_access").unwrap();
    });
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("acls/file: xattrs")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|line| line.starts_with("file: xattrs")),
        "{found:?}"
    );
}

#[test]
fn an_owner_and_a_device_number_are_named() {
    let Some(()) = require_root() else { return };
    let found = differences(|path| {
        std::os::unix::fs::chown(path.join("file"), Some(77), None).unwrap();
        let null = path.join("special/null");
        fs::remove_file(&null).unwrap();
        let device = rustix::fs::makedev(1, 5);
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(CWD, &null, kind, 0o640.into(), device).unwrap();
    });
    assert!(
        found.contains(&"file: owner 77:0, not 0:0".to_owned()),
        "{found:?}"
    );
    assert!(
        found.contains(&"special/null: device 1:5, not 1:3".to_owned()),
        "{found:?}"
    );
}

#[test]
fn what_is_to_be_ignored_is_not_named() {
    let (one, two) = (tree(), tree().sockets());
    set_mtime(&two.path().join("special"), 1, 1);
    let found = compare(
        one.path(),
        two.path(),
        &Ignore {
            sockets: true,
            ..Ignore::default()
        },
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].what.starts_with("mtime"));
}
