//! What is found, in which order, and what is left out.

use std::ffi::CString;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
use testkit::Tree;
use tree::{
    Entry, EntryKind, Options, Preset, Source, Step, TreePath, Verdict, explain, read_ahead,
};

/// All entries that are found below `roots`; anything that cannot be read fails the test.
pub(crate) fn entries(source: &Source) -> Vec<Entry> {
    let mut entries = Vec::new();
    read_ahead(
        source,
        Options::default(),
        |_| false,
        |step| {
            match step {
                Step::Entry { entry, .. } => entries.push((*entry).clone()),
                Step::Problem(problem) => panic!("{problem:?}"),
                other => panic!("nobody wanted {other:?}"),
            }
            ControlFlow::Continue(())
        },
    )
    .unwrap();
    entries
}

pub(crate) fn source(roots: &[&Path]) -> Source {
    Source {
        roots: roots.iter().map(PathBuf::from).collect(),
        ..Source::default()
    }
}

fn paths(source: &Source, below: &Path) -> Vec<String> {
    let below = TreePath::from_local(below).unwrap();
    let prefix = below.as_bytes().len() + 1;
    entries(source)
        .iter()
        .filter_map(|entry| entry.path.as_bytes().get(prefix..))
        .map(|path| String::from_utf8_lossy(path).into_owned())
        .collect()
}

#[test]
fn a_folder_that_stands_for_the_root_is_seen_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path().join("copy");
    for file in ["data/docs/a", "data/docs/b.o", "data/else", "c"] {
        let file = top.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "x").unwrap();
    }
    let mut source = source(&[Path::new("/data/docs"), Path::new("/c")]);
    source.top = Some(top);
    // Rules are about the paths that the roots have.
    source.rules.add("- sh:/data/docs/*.o").unwrap();
    let found = entries(&source);
    let found: Vec<String> = found.iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(found, ["c", "data/docs", "data/docs/a"]);
    let why = |path: &str| explain(&source, Path::new(path)).unwrap();
    assert!(matches!(why("/data/docs/a"), Verdict::Included { .. }));
    assert!(matches!(why("/data/docs/b.o"), Verdict::Omitted { .. }));
    assert!(matches!(why("/data/else"), Verdict::NotInRoots));
}

#[test]
fn everything_that_the_system_says_is_found() {
    let tree = Tree::every_kind(1);
    let found = entries(&source(&[tree.path()]));
    let mut seen = 0;
    for entry in &found {
        let path = Path::new("/").join(entry.path.as_path());
        let stat = fs::symlink_metadata(&path).unwrap();
        assert_eq!(entry.mode, stat.mode() & 0o7777, "{path:?}");
        assert_eq!((entry.owner.uid, entry.owner.gid), (stat.uid(), stat.gid()));
        assert_eq!(
            (entry.device, entry.inode, entry.links),
            (stat.dev(), stat.ino(), stat.nlink())
        );
        assert_eq!(entry.mtime.seconds(), stat.mtime(), "{path:?}");
        assert_eq!(entry.mtime.subsecond(), stat.mtime_nsec());
        assert_eq!(entry.ctime.seconds(), stat.ctime());
        match &entry.kind {
            EntryKind::File => assert_eq!(entry.size, stat.size()),
            EntryKind::Symlink { target } => {
                assert_eq!(fs::read_link(&path).unwrap().as_os_str().as_bytes(), target);
            }
            EntryKind::Directory => assert!(stat.is_dir()),
            _ => {}
        }
        seen += 1;
    }
    assert_eq!(seen, count(tree.path()), "each object once");
    assert!(found.iter().any(|entry| !entry.xattrs.is_empty()));
}

fn count(path: &Path) -> usize {
    let mut count = 1;
    if fs::symlink_metadata(path).unwrap().is_dir() {
        for child in fs::read_dir(path).unwrap() {
            count += self::count(&child.unwrap().path());
        }
    }
    count
}

#[test]
fn the_order_is_by_component() {
    let tree = Tree::every_kind(2);
    let found = entries(&source(&[tree.path()]));
    assert!(found.windows(2).all(|pair| pair[0].path < pair[1].path));
}

#[test]
fn further_names_of_an_object_say_so() {
    let tree = Tree::new(3).file("b", "x").file("z", "y");
    fs::hard_link(tree.path().join("b"), tree.path().join("a")).unwrap();
    fs::hard_link(tree.path().join("b"), tree.path().join("c")).unwrap();
    let found = entries(&source(&[tree.path()]));
    let first = |name: &str| {
        let entry = found
            .iter()
            .find(|entry| entry.path.name() == Some(name.as_bytes()));
        let first = entry.unwrap().hard_link.as_ref();
        first.map(|path| String::from_utf8_lossy(path.name().unwrap()).into_owned())
    };
    assert_eq!(first("a"), None);
    assert_eq!(first("b").as_deref(), Some("a"));
    assert_eq!(first("c").as_deref(), Some("a"));
    assert_eq!(first("z"), None);
}

#[test]
fn a_root_inside_a_root_is_read_once_unless_the_outer_one_leaves_it_out() {
    let tree = Tree::new(4).file("a/b/c", "x").file("d", "y");
    let inner = tree.path().join("a/b");
    let mut both = source(&[&inner, tree.path(), tree.path()]);
    assert_eq!(paths(&both, tree.path()), ["a", "a/b", "a/b/c", "d"]);
    both.rules
        .add(&format!("pf:{}", tree.path().join("a").display()))
        .unwrap();
    assert_eq!(paths(&both, tree.path()), ["a/b", "a/b/c", "d"]);
}

#[test]
fn a_root_may_be_a_file() {
    let tree = Tree::new(5).file("a", "x");
    let found = entries(&source(&[&tree.path().join("a")]));
    assert_eq!(found.len(), 1);
    assert!(found[0].is_file());
}

fn excluding(tree: &Tree) -> Source {
    let mut source = source(&[tree.path()]);
    source.rules.add("+ keep.o").unwrap();
    source.rules.add("*.o").unwrap();
    source.rules.add_preset(Preset::BuildFolders);
    source.markers.push(b".nobackup".to_vec());
    source.leave_out_caches = true;
    source.size_max = Some(100);
    source
}

fn mixed_tree() -> Tree {
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# a cache";
    Tree::new(6)
        .file("a.o", "x")
        .file("keep.o", "x")
        .file("cache/CACHEDIR.TAG", tag)
        .file("cache/x", "x")
        .file("fake/CACHEDIR.TAG", "not a tag")
        .file("large", [0; 101])
        .file("marked/.nobackup", "")
        .file("marked/x", "x")
        .file("src/node_modules/m", "x")
        .file("src/x.o/y", "x")
        .file("src/z", "x")
}

#[test]
fn rules_markers_tags_and_sizes_leave_out() {
    let tree = mixed_tree();
    assert_eq!(
        paths(&excluding(&tree), tree.path()),
        ["fake", "fake/CACHEDIR.TAG", "keep.o", "src", "src/z"]
    );
}

#[test]
fn the_explanation_agrees_with_the_scan_about_every_path() {
    let tree = mixed_tree();
    let source = excluding(&tree);
    let found: Vec<TreePath> = entries(&source)
        .into_iter()
        .map(|entry| entry.path)
        .collect();
    let mut all = vec![tree.path().to_owned()];
    let mut index = 0;
    while let Some(path) = all.get(index).cloned() {
        index += 1;
        if path.is_dir() {
            all.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|child| child.unwrap().path()),
            );
        }
        let verdict = explain(&source, &path).unwrap();
        let included = found.contains(&TreePath::from_local(&path).unwrap());
        assert_eq!(
            matches!(verdict, Verdict::Included { .. }),
            included,
            "{path:?}: {verdict:?}"
        );
        if let Verdict::Omitted { at, .. } = verdict {
            assert!(TreePath::from_local(&path).unwrap().starts_with(&at));
        }
    }
    assert!(index > 15);
    assert!(matches!(
        explain(&source, Path::new("/etc")).unwrap(),
        Verdict::NotInRoots
    ));
    let gone = tree.path().join("gone");
    assert!(matches!(
        explain(&source, &gone).unwrap(),
        Verdict::Missing { .. }
    ));
}

#[test]
fn other_file_systems_are_kept_as_empty_folders_if_asked() {
    if testkit::require_root().is_none() {
        return;
    }
    let tree = Tree::new(7).directory("mount").file("z", "x");
    let mount = tree.path().join("mount");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&mount)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        testkit::say_skipped("a tmpfs cannot be mounted here");
        return;
    }
    fs::write(mount.join("inside"), "x").unwrap();
    let mut one = source(&[tree.path()]);
    let all = paths(&one, tree.path());
    one.one_file_system = true;
    let some = paths(&one, tree.path());
    let explained = explain(&one, &mount.join("inside")).unwrap();
    let with_root = paths(
        &Source {
            roots: vec![tree.path().into(), mount.clone()],
            ..one
        },
        tree.path(),
    );
    let _ = testkit::run(std::process::Command::new("umount").arg(&mount));
    assert_eq!(all, ["mount", "mount/inside", "z"]);
    assert_eq!(some, ["mount", "z"]);
    assert_eq!(with_root, ["mount", "mount/inside", "z"]);
    assert!(matches!(explained, Verdict::Omitted { .. }));
}

#[test]
fn what_the_kernel_makes_up_is_kept_as_an_empty_folder_unless_it_is_a_root() {
    if testkit::require_root().is_none() {
        return;
    }
    let tree = Tree::new(9).directory("proc").file("z", "x");
    let mount = tree.path().join("proc");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "proc", "proc"])
        .arg(&mount)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        testkit::say_skipped("proc cannot be mounted here");
        return;
    }
    let version = mount.join("version");
    let sources = |roots: &[&Path]| Source {
        leave_out_pseudo: true,
        ..source(roots)
    };
    let above = paths(&sources(&[tree.path()]), tree.path());
    let explained = explain(&sources(&[tree.path()]), &version).unwrap();
    let with_root = paths(&sources(&[tree.path(), &version]), tree.path());
    let _ = testkit::run(std::process::Command::new("umount").arg(&mount));
    assert_eq!(above, ["proc", "z"]);
    assert_eq!(with_root, ["proc", "proc/version", "z"]);
    assert!(matches!(
        explained,
        Verdict::Omitted {
            omission: tree::Omission::Pseudo,
            ..
        }
    ));
}

#[test]
fn depth_is_not_limited_by_the_length_of_paths() {
    const DEPTH: usize = 3000;
    let tree = Tree::new(8);
    let name = CString::new("folder").unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut folder = openat(CWD, tree.path(), flags, Mode::empty()).unwrap();
    for _ in 0..DEPTH {
        mkdirat(&folder, &name, Mode::RWXU).unwrap();
        folder = openat(&folder, &name, flags, Mode::empty()).unwrap();
    }
    assert_eq!(entries(&source(&[tree.path()])).len(), DEPTH + 1);
}
