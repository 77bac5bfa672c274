//! Archives, targets and neighbours that mean harm: nothing outside the target changes, and what
//! stands next to the harm in the archive is restored.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tree::{
    Conflict, DeviceNumber, EntryKind, Flags, Placed, RestoreOptions, Restorer, Time, TreePath,
};

use crate::restore::{Member, Piece, faithful, file, folder, hard_link, link, member, restore};

const ALL: [Conflict; 4] = [
    Conflict::KeepBoth,
    Conflict::Skip,
    Conflict::Overwrite,
    Conflict::OnlyIfDifferent,
];

/// A place with something to lose, and a target next to it.
struct Scene {
    scratch: tempfile::TempDir,
    before: BTreeMap<String, String>,
}

impl Scene {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        fs::create_dir_all(outside.join("folder")).unwrap();
        fs::create_dir(scratch.path().join("target")).unwrap();
        for name in ["secret", "x", "f0", "f1", "folder/x"] {
            fs::write(outside.join(name), "untouched").unwrap();
        }
        symlink("secret", outside.join("link")).unwrap();
        let before = state(&outside);
        Self { scratch, before }
    }

    fn target(&self) -> std::path::PathBuf {
        self.scratch.path().join("target")
    }

    fn plant(&self, name: &str, to: &str) {
        let path = self.target().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(to, path).unwrap();
    }

    fn assert_untouched(&self, what: &str) {
        let after = state(&self.scratch.path().join("outside"));
        assert_eq!(after, self.before, "{what}");
        let mut left: Vec<_> = fs::read_dir(self.scratch.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["outside", "target"], "{what}");
    }
}

/// Everything that the system says about a directory, and all that is in it.
fn state(path: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let content = if stat.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        let times = (
            stat.mtime(),
            stat.mtime_nsec(),
            stat.ctime(),
            stat.ctime_nsec(),
        );
        let rest = (
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.nlink(),
            stat.ino(),
        );
        all.insert(
            path.display().to_string(),
            format!("{content:?} {times:?} {rest:?}"),
        );
        if stat.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            waiting.extend(entries.map(|entry| entry.unwrap().path()));
        }
    }
    all
}

fn chmod(path: &str) -> Member {
    let mut folder = folder(path);
    folder.entry.mode = 0o777;
    folder
}

fn fifo(path: &str) -> Member {
    member(path, EntryKind::Fifo)
}

/// An attack: what lies in the target before, and what the archive has.
type Attack = (
    &'static str,
    &'static [(&'static str, &'static str)],
    Vec<Member>,
);

fn attacks() -> Vec<Attack> {
    let nothing = &[];
    let d = &[("d", "../outside")];
    let secret = &[("secret", "../outside/secret")];
    let all_through = |way: &str| {
        vec![
            chmod(way),
            file(format!("{way}/x"), b"harm"),
            chmod(&format!("{way}/folder")),
            file(format!("{way}/new"), b"harm"),
            folder(format!("{way}/new-folder")),
            fifo(&format!("{way}/fifo")),
            link(format!("{way}/link"), "elsewhere"),
            hard_link(format!("{way}/hard"), &format!("{way}/secret")),
            hard_link("stolen", &format!("{way}/secret")),
            file("stolen", b"harm"),
        ]
    };
    let mut archived = vec![link("d", "../outside")];
    archived.extend(all_through("d"));
    let mut absolute = vec![link("d", "/etc")];
    absolute.push(file("d/ravelin-was-here", b"harm"));
    let mut chain = vec![link("a", "b"), link("b", "d"), link("d", "../outside")];
    chain.extend(all_through("a"));
    let swapped = vec![
        folder("d"),
        file("d/before", b"x"),
        link("d", "../outside"),
        file("d/x", b"harm"),
    ];
    let unsorted = vec![
        file("d/x", b"harm"),
        link("d", "../outside"),
        chmod("d"),
        file("d/secret", b"harm"),
    ];
    let hard_links = vec![
        link("l", "../outside/secret"),
        hard_link("h", "l"),
        file("h", b"harm"),
        file("l", b"harm"),
        hard_link("self", "self"),
        hard_link("nowhere", "not/here"),
        hard_link("folder", "."),
    ];
    let pipe_then_file = vec![
        fifo("p"),
        file("p", b"x"),
        member("s", EntryKind::Socket),
        file("s", b"x"),
        fifo("f"),
        hard_link("g", "f"),
    ];
    vec![
        ("an archived link", nothing, archived),
        ("an archived absolute link", nothing, absolute),
        ("a chain of links", nothing, chain),
        ("a folder that becomes a link", nothing, swapped),
        ("a link after what is in it", nothing, unsorted),
        ("hard links", nothing, hard_links),
        ("a pipe, then a file", nothing, pipe_then_file),
        ("a planted link", d, all_through("d")),
        (
            "a planted link, without its folder",
            d,
            all_through("d").split_off(1),
        ),
        (
            "a link planted for a file",
            secret,
            vec![file("secret", b"harm")],
        ),
        (
            "a planted link as first name",
            secret,
            vec![hard_link("h", "secret"), file("h", b"harm")],
        ),
        (
            "a planted link further down",
            &[("a/b/c", "../../../outside")],
            vec![folder("a"), chmod("a/b/c"), file("a/b/c/x", b"harm")],
        ),
        (
            "a planted link to itself",
            &[("d", "d")],
            vec![folder("d"), file("d/x", b"harm")],
        ),
        ("values beyond all reason", nothing, unreasonable()),
    ]
}

fn unreasonable() -> Vec<Member> {
    let mut members = Vec::new();
    for (number, nanoseconds) in [i64::MIN, -1, i64::MAX].into_iter().enumerate() {
        let mut member = file(format!("time{number}"), b"x");
        member.entry.mtime = Time { nanoseconds };
        member.entry.atime = Time { nanoseconds };
        members.push(member);
    }
    let mut owner = file("owner", b"x");
    (owner.entry.owner.uid, owner.entry.owner.gid) = (u32::MAX, u32::MAX);
    let mut mode = file("mode", b"x");
    mode.entry.mode = u32::MAX;
    let mut size = member("size", EntryKind::File);
    size.entry.size = u64::MAX;
    size.content.push(Piece::Hole(u64::MAX));
    let mut xattrs = file("xattrs", b"x");
    for name in [
        &b""[..],
        b"user.",
        b"user.a\0b",
        b"no-namespace",
        b"system.posix_acl_access",
    ] {
        xattrs.entry.xattrs.insert(name.to_vec(), vec![1; 100_000]);
    }
    let mut acl = folder("acl");
    acl.entry.acl_access = Some(tree::Acl {
        entries: Vec::new(),
    });
    acl.entry.acl_default = acl.entry.acl_access.clone();
    let device = DeviceNumber {
        major: u32::MAX,
        minor: u32::MAX,
    };
    members.extend([owner, mode, size, xattrs, acl]);
    members.push(member("device", EntryKind::BlockDevice(device)));
    members.push(link("link-to-nothing", ""));
    members.push(link("link-nul", "a\0b"));
    members.push(link("link-long", &"x".repeat(10_000)));
    members.push(file([b'n'; 256], b"x"));
    members.push(file(vec![b'n'; 10_000], b"x"));
    members.push(file(b"d/".repeat(9000), b"x"));
    members.push(file([b"d".as_slice(); 3].join(&b'/'), b"x"));
    members.push(member("", EntryKind::File));
    members.push(link("", "../outside"));
    members.push(file(".ravelin-restore-1-2", b"x"));
    members
}

#[test]
fn nothing_outside_changes_and_the_neighbours_come_back() {
    for (what, planted, members) in attacks() {
        for conflict in ALL {
            let scene = Scene::new();
            for (name, to) in planted {
                scene.plant(name, to);
            }
            let mut members = members.clone();
            members.insert(0, file("before", b"neighbour"));
            members.push(file("after/x", b"neighbour"));
            let options = RestoreOptions {
                conflict,
                ..faithful()
            };
            let start = Instant::now();
            let report = restore(&scene.target(), &members, options);
            assert!(start.elapsed() < Duration::from_secs(5), "{what}");
            scene.assert_untouched(&format!("{what}, {conflict:?}"));
            assert!(report.stopped.is_none());
            for neighbour in ["before", "after/x"] {
                let content = fs::read(scene.target().join(neighbour)).unwrap();
                assert_eq!(content, b"neighbour", "{what}, {conflict:?}");
            }
            assert!(!Path::new("/etc/ravelin-was-here").exists());
        }
    }
}

#[test]
fn paths_that_lead_elsewhere_are_named_and_the_others_restored() {
    let scene = Scene::new();
    let hostile: [&[u8]; 9] = [
        b"../outside/x",
        b"a/../../outside/x",
        b"..",
        b"/etc/ravelin-was-here",
        b"//etc/ravelin-was-here",
        b"/",
        b"a\0b",
        b"\0",
        b"\x1b[2J/..",
    ];
    let good = file("good", b"neighbour");
    let restorer = Restorer::open(scene.target(), RestoreOptions::default()).unwrap();
    let mut planner = restorer.planner();
    for path in hostile {
        planner.add_unusable(path, TreePath::new(path).unwrap_err());
    }
    planner.add(&good.entry);
    let plan = planner.finish();
    let restore = restorer.start(plan).unwrap();
    let Placed::Content(file) = restore.place(hostile.len(), good.entry).unwrap() else {
        panic!("the content is wanted");
    };
    file.write_at(0, b"neighbour").unwrap();
    file.finish().unwrap();
    let report = restore.finish();
    assert_eq!(report.problems.len(), hostile.len());
    assert_eq!(
        report.problems[8].to_string(),
        ".: the recorded name \"\\x1b[2J/..\" is unusable: \
         the path climbs out of its folder with `..`"
    );
    scene.assert_untouched("paths");
    assert_eq!(fs::read(scene.target().join("good")).unwrap(), b"neighbour");
}

/// Swaps two paths at full speed while something goes on.
fn race(first: &Path, second: &Path, mut deed: impl FnMut()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, first, CWD, second, RenameFlags::EXCHANGE);
            }
        });
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(1000) {
            deed();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_folder_that_somebody_swaps_for_a_link_leads_nowhere() {
    for conflict in [Conflict::Overwrite, Conflict::OnlyIfDifferent] {
        let scene = Scene::new();
        let target = scene.target();
        fs::create_dir(target.join("d")).unwrap();
        fs::create_dir(target.join("d/folder")).unwrap();
        scene.plant("link", "../outside");
        let mut round = 0_i64;
        race(&target.join("d"), &target.join("link"), || {
            round += 1;
            let mut members = vec![chmod("d"), chmod("d/folder")];
            for name in ["x", "f0", "f1", "secret", "folder/x"] {
                members.push(file(format!("d/{name}"), b"harm"));
            }
            members.push(hard_link("d/hard", "d/secret"));
            members.push(link("d/symlink", "x"));
            members.push(fifo("d/fifo"));
            for member in &mut members {
                member.entry.mtime = Time::new(1_600_000_000 + round, 0);
            }
            let options = RestoreOptions {
                conflict,
                ..faithful()
            };
            restore(&target, &members, options);
        });
        scene.assert_untouched("a race");
    }
}

#[test]
fn a_target_that_somebody_swaps_for_a_link_leads_nowhere() {
    let scene = Scene::new();
    let target = scene.target().join("inner");
    fs::create_dir(&target).unwrap();
    scene.plant("link", "../outside");
    race(&target, &scene.target().join("link"), || {
        let Ok(restorer) = Restorer::open(&target, RestoreOptions::default()) else {
            return;
        };
        let members = [
            chmod("folder"),
            file("folder/x", b"harm"),
            file("x", b"harm"),
        ];
        let plan = crate::restore::plan(&restorer, &members);
        let Ok(restore) = restorer.start(plan) else {
            return;
        };
        for (number, member) in members.iter().enumerate() {
            if let Placed::Content(file) = restore.place(number, member.entry.clone()).unwrap() {
                file.write_at(0, b"harm").unwrap();
                file.finish().unwrap();
            }
        }
        restore.finish();
    });
    scene.assert_untouched("a race for the target");
}

fn any_path() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c"), Just("secret"), Just("x")];
    proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"))
}

fn any_target() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("../outside".to_owned()),
        Just("../../outside".to_owned()),
        Just("../outside/secret".to_owned()),
        Just("../outside/folder".to_owned()),
        Just("/tmp".to_owned()),
        Just(".".to_owned()),
        Just("..".to_owned()),
        any_path(),
    ]
}

fn any_member() -> impl Strategy<Value = Member> {
    let kind = prop_oneof![
        3 => any_path().prop_map(|path| file(path, b"harm")),
        2 => any_path().prop_map(|path| chmod(&path)),
        2 => (any_path(), any_target()).prop_map(|(path, target)| link(path, &target)),
        2 => (any_path(), any_path()).prop_map(|(path, first)| hard_link(path, &first)),
        1 => any_path().prop_map(|path| fifo(&path)),
        1 => any_path().prop_map(|path| member(path, EntryKind::Socket)),
    ];
    (kind, 0..0o10000_u32, any::<bool>()).prop_map(|(mut member, mode, no_dump)| {
        member.entry.mode = mode;
        member.entry.flags = Flags {
            no_dump,
            ..Flags::default()
        };
        member
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_an_archive_says_nothing_outside_changes(
        planted in proptest::collection::vec((any_path(), any_target()), 0..4),
        members in proptest::collection::vec(any_member(), 1..24),
        conflict in proptest::sample::select(&ALL[..]),
        twice in any::<bool>(),
    ) {
        let scene = Scene::new();
        for (name, to) in planted {
            let path = scene.target().join(name);
            // Where one planted link stands in another's way, it is left out.
            let mut above = path.ancestors().skip(1).take_while(|above| **above != *scene.target());
            if above.all(|above| !above.is_symlink()) {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let _ = symlink(to, path);
            }
        }
        let mut members = members;
        members.push(file("neighbour", b"good"));
        let options = RestoreOptions { conflict, ..faithful() };
        for _ in 0..=usize::from(twice) {
            let report = restore(&scene.target(), &members, options.clone());
            prop_assert!(report.stopped.is_none());
            scene.assert_untouched("a random archive");
        }
        prop_assert_eq!(fs::read(scene.target().join("neighbour")).unwrap(), b"good");
    }
}
