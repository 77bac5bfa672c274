//! What is restored, and how exactly.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use testkit::{Ignore, Tree, assert_same, is_root, require_root, rsync_differences};
use tree::{
    Acl, AclEntry, AclWho, Action, Body, DeviceNumber, Ending, Entry, EntryKind, Fidelity, Flags,
    Options, Owner, Owners, Placed, ProblemKind, RestoreOptions, RestorePlan, RestoreReport,
    Restorer, Step, Time, TreePath, Zeros, read_ahead,
};

use crate::scan::source;

/// One piece of a file's content.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Data(Vec<u8>),
    Hole(u64),
}

/// What an archive holds of one object.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) entry: Entry,
    pub(crate) content: Vec<Piece>,
}

/// Everything below a directory, with paths relative to it.
pub(crate) fn archive(directory: &Path) -> Vec<Member> {
    let root = TreePath::from_local(directory).unwrap();
    let below = |path: &TreePath| {
        let rest = path.as_bytes().get(root.as_bytes().len()..).unwrap();
        TreePath::new(rest.strip_prefix(b"/").unwrap_or(rest)).unwrap()
    };
    let mut members: Vec<Member> = Vec::new();
    let on_step = |step| {
        match step {
            Step::Entry { entry, body } => {
                let mut entry = (*entry).clone();
                entry.path = below(&entry.path);
                entry.hard_link = entry.hard_link.map(|path| Arc::new(below(&path)));
                let content = match body {
                    Body::Whole(block) => vec![Piece::Data(block.to_vec())],
                    Body::None | Body::Blocks => Vec::new(),
                };
                members.push(Member { entry, content });
            }
            Step::Data(block) => {
                let content = &mut members.last_mut().unwrap().content;
                content.push(Piece::Data(block.to_vec()));
            }
            Step::Hole(length) => {
                let content = &mut members.last_mut().unwrap().content;
                content.push(Piece::Hole(length));
            }
            Step::End(Ending::Complete) => {}
            Step::End(ending) => panic!("{ending:?}"),
            Step::Problem(problem) => panic!("{problem}"),
        }
        ControlFlow::Continue(())
    };
    read_ahead(&source(&[directory]), Options::default(), |_| true, on_step).unwrap();
    members
}

/// An entry as a hostile or a plain archive could have it.
pub(crate) fn member(path: impl AsRef<[u8]>, kind: EntryKind) -> Member {
    let root = is_root();
    let owner = Owner {
        uid: if root {
            0
        } else {
            rustix::process::geteuid().as_raw()
        },
        gid: if root {
            0
        } else {
            rustix::process::getegid().as_raw()
        },
        user: None,
        group: None,
    };
    let directory = kind == EntryKind::Directory;
    let entry = Entry {
        path: TreePath::new(path).unwrap(),
        kind,
        mode: if directory { 0o755 } else { 0o644 },
        owner,
        mtime: Time::new(1_600_000_000, 123_456_789),
        ctime: Time::default(),
        atime: Time::new(1_600_000_001, 1),
        size: 0,
        device: 1,
        inode: 0,
        links: 1,
        hard_link: None,
        xattrs: BTreeMap::new(),
        acl_access: None,
        acl_default: None,
        flags: Flags::default(),
    };
    Member {
        entry,
        content: Vec::new(),
    }
}

pub(crate) fn file(path: impl AsRef<[u8]>, content: &[u8]) -> Member {
    let mut member = member(path, EntryKind::File);
    member.entry.size = content.len() as u64;
    member.content.push(Piece::Data(content.to_vec()));
    member
}

pub(crate) fn folder(path: impl AsRef<[u8]>) -> Member {
    member(path, EntryKind::Directory)
}

pub(crate) fn link(path: impl AsRef<[u8]>, target: &str) -> Member {
    let target = target.into();
    member(path, EntryKind::Symlink { target })
}

pub(crate) fn hard_link(path: impl AsRef<[u8]>, first: &str) -> Member {
    let mut member = member(path, EntryKind::File);
    member.entry.hard_link = Some(Arc::new(TreePath::new(first).unwrap()));
    member
}

pub(crate) fn plan(restorer: &Restorer, members: &[Member]) -> RestorePlan {
    let mut planner = restorer.planner();
    for member in members {
        planner.add(&member.entry);
    }
    planner.finish()
}

pub(crate) fn restore(target: &Path, members: &[Member], options: RestoreOptions) -> RestoreReport {
    let restorer = Restorer::open(target, options).unwrap();
    let plan = plan(&restorer, members);
    let restore = restorer.start(plan).unwrap();
    for (number, member) in members.iter().enumerate() {
        let needs_content = restore.plan().needs_content(number);
        if let Placed::Content(file) = restore.place(number, member.entry.clone()).unwrap() {
            assert!(needs_content || member.entry.hard_link.is_some());
            let mut offset = 0;
            for piece in &member.content {
                match piece {
                    Piece::Data(bytes) => {
                        file.write_at(offset, bytes).unwrap();
                        offset += bytes.len() as u64;
                    }
                    Piece::Hole(length) => {
                        file.hole(offset, *length);
                        offset += length;
                    }
                }
            }
            file.finish().unwrap();
        }
    }
    restore.finish()
}

/// Everything as it was, as far as this user may.
pub(crate) fn faithful() -> RestoreOptions {
    RestoreOptions {
        fidelity: if is_root() {
            Fidelity::AsItWas
        } else {
            Fidelity::Usual
        },
        ..RestoreOptions::default()
    }
}

pub(crate) fn assert_complete(report: &RestoreReport) {
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert!(report.is_complete(), "{problems:#?} {:?}", report.stopped);
}

fn path_of(target: &Path, member: &Member) -> std::path::PathBuf {
    target.join(member.entry.path.as_path())
}

#[test]
fn a_tree_of_every_kind_comes_back_as_it_was() {
    let tree = Tree::every_kind(4);
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    let members = archive(tree.path());
    let report = restore(&target, &members, faithful());
    assert_complete(&report);
    assert_eq!(report.done(Action::Create).entries, members.len() as u64);
    assert_same(tree.path(), &target, &Ignore::default());
    if is_root()
        && let Some(differences) = rsync_differences(tree.path(), &target)
    {
        assert_eq!(differences, Vec::<String>::new());
    }
    testkit::clear_flags(&target);
}

#[test]
fn what_was_restored_is_right_and_nothing_is_done_again() {
    let tree = Tree::every_kind(5);
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("target");
    let members = archive(tree.path());
    assert_complete(&restore(&target, &members, faithful()));
    for conflict in [
        tree::Conflict::KeepBoth,
        tree::Conflict::Skip,
        tree::Conflict::OnlyIfDifferent,
    ] {
        let options = RestoreOptions {
            conflict,
            ..faithful()
        };
        let restorer = Restorer::open(&target, options.clone()).unwrap();
        let plan = plan(&restorer, &members);
        assert_eq!(plan.bytes_to_write(), 0);
        let untouched = plan.tally(Action::AlreadyRight).entries;
        // Flags that lock are looked at again.
        let locked = plan.tally(Action::Mend).entries;
        assert_eq!(untouched + locked, members.len() as u64, "{conflict:?}");
        assert!(locked < 5, "{conflict:?}: {locked}");
        drop(restorer);
        assert_complete(&restore(&target, &members, options));
        assert_same(tree.path(), &target, &Ignore::default());
    }
    testkit::clear_flags(&target);
}

#[test]
fn order_does_not_matter() {
    let tree = Tree::new(6).odd_names().links().attributes().times();
    let scratch = tempfile::tempdir().unwrap();
    let mut members = archive(tree.path());
    // Children before their parents; further names stay after the first.
    members.sort_by_key(|member| {
        let depth = member.entry.path.components().count();
        (member.entry.hard_link.is_some(), usize::MAX - depth)
    });
    let target = scratch.path().join("a/b/target");
    assert_complete(&restore(&target, &members, faithful()));
    assert_same(tree.path(), &target, &Ignore::default());
}

#[test]
fn content_may_come_from_several_threads_in_any_order() {
    let scratch = tempfile::tempdir().unwrap();
    let mut member = member("big", EntryKind::File);
    let piece = 100_000_u64;
    member.entry.size = 40 * piece;
    let restorer = Restorer::open(scratch.path(), RestoreOptions::default()).unwrap();
    let plan = plan(&restorer, std::slice::from_ref(&member));
    let restore = restorer.start(plan).unwrap();
    let Placed::Content(file) = restore.place(0, member.entry).unwrap() else {
        panic!("the content is wanted");
    };
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let file = &file;
            scope.spawn(move || {
                for index in (0..10).rev() {
                    let offset = (index * 4 + u64::from(thread)) * piece;
                    let bytes = vec![thread + 1; usize::try_from(piece).unwrap()];
                    file.write_at(offset, &bytes).unwrap();
                }
            });
        }
    });
    assert!(file.finish().unwrap());
    assert_complete(&restore.finish());
    let content = fs::read(scratch.path().join("big")).unwrap();
    let expected = (0..40).flat_map(|index| vec![index % 4 + 1; 100_000]);
    assert!(content.into_iter().eq(expected));
}

#[test]
fn zeros_become_holes_unless_they_shall_not() {
    let scratch = tempfile::tempdir().unwrap();
    let size = 4 << 20;
    let mut content = vec![0; size];
    content[1 << 20] = 1;
    let zeros = [file("zeros", &content)];
    let blocks = |target: &str, options| {
        let target = scratch.path().join(target);
        assert_complete(&restore(&target, &zeros, options));
        assert_eq!(fs::read(target.join("zeros")).unwrap(), content);
        fs::metadata(target.join("zeros")).unwrap().blocks()
    };
    assert!(blocks("holes", RestoreOptions::default()) <= 64);
    let written = RestoreOptions {
        zeros: Zeros::Written,
        ..RestoreOptions::default()
    };
    assert!(blocks("written", written) * 512 >= size as u64);
}

#[test]
fn a_file_of_a_terabyte_of_nothing_is_restored_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let mut huge = member("huge", EntryKind::File);
    huge.entry.size = 1 << 40;
    huge.content = vec![
        Piece::Hole((1 << 40) - 5),
        Piece::Data(b"end".to_vec()),
        Piece::Hole(2),
    ];
    assert_complete(&restore(scratch.path(), &[huge], RestoreOptions::default()));
    let stat = fs::metadata(scratch.path().join("huge")).unwrap();
    assert_eq!(stat.len(), 1 << 40);
    assert!(stat.blocks() < 64);
}

#[test]
fn a_file_that_is_given_up_or_short_or_too_long_leaves_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let members: Vec<Member> = ["given", "dropped", "short", "long", "good"]
        .iter()
        .map(|name| file(name, b"content"))
        .collect();
    let restorer = Restorer::open(scratch.path(), RestoreOptions::default()).unwrap();
    let plan = plan(&restorer, &members);
    let restore = restorer.start(plan).unwrap();
    for (number, member) in members.iter().enumerate() {
        let Placed::Content(file) = restore.place(number, member.entry.clone()).unwrap() else {
            panic!("the content is wanted");
        };
        file.write_at(0, b"conten").unwrap();
        match number {
            0 => file.give_up(ProblemKind::Vanished),
            1 => drop(file),
            2 => assert!(!file.finish().unwrap()),
            3 => {
                file.write_at(6, b"too much").unwrap();
                assert!(file.is_failed());
                assert!(!file.finish().unwrap());
            }
            _ => {
                file.write_at(6, b"t").unwrap();
                assert!(file.finish().unwrap());
            }
        }
    }
    let report = restore.finish();
    assert!(matches!(
        report
            .problems
            .iter()
            .map(|problem| &problem.what)
            .collect::<Vec<_>>()[..],
        [
            ProblemKind::Vanished,
            ProblemKind::GivenUp,
            ProblemKind::Incomplete { missing: 1 },
            ProblemKind::Overlong,
        ]
    ));
    let left: Vec<_> = fs::read_dir(scratch.path()).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert_eq!(fs::read(scratch.path().join("good")).unwrap(), b"content");
}

#[test]
fn what_gives_rights_comes_back_only_on_request() {
    if require_root().is_none() {
        return;
    }
    let mut program = file("program", b"#!/bin/sh\n");
    program.entry.mode = 0o6755;
    // CAP_NET_RAW, permitted and effective.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let xattrs = &mut program.entry.xattrs;
    xattrs.insert(b"security.capability".to_vec(), capability.clone());
    xattrs.insert(b"trusted.note".to_vec(), b"x".to_vec());
    xattrs.insert(b"user.note".to_vec(), b"y".to_vec());
    program.entry.owner.uid = 1234;
    let number = DeviceNumber { major: 1, minor: 3 };
    let mut shared = folder("shared");
    shared.entry.mode = 0o3775;
    let members = [
        program,
        shared,
        member("null", EntryKind::CharDevice(number)),
    ];
    let scratch = tempfile::tempdir().unwrap();
    let xattr = |path: &Path, name: &str| {
        let mut value = [0; 64];
        rustix::fs::lgetxattr(path, name, &mut value)
            .ok()
            .map(|size| value[..size].to_vec())
    };
    for (fidelity, mode, folder_mode, uid) in [
        (Fidelity::Harmless, 0o755, 0o775, 0),
        (Fidelity::Usual, 0o755, 0o3775, 1234),
        (Fidelity::AsItWas, 0o6755, 0o3775, 1234),
    ] {
        let target = scratch.path().join(format!("{fidelity:?}"));
        let options = RestoreOptions {
            fidelity,
            ..RestoreOptions::default()
        };
        let report = restore(&target, &members, options);
        let path = path_of(&target, &members[0]);
        let stat = fs::metadata(&path).unwrap();
        assert_eq!(stat.permissions().mode() & 0o7777, mode, "{fidelity:?}");
        assert_eq!(stat.uid(), uid);
        let stat = fs::metadata(target.join("shared")).unwrap();
        assert_eq!(stat.permissions().mode() & 0o7777, folder_mode);
        assert_eq!(xattr(&path, "user.note").as_deref(), Some(&b"y"[..]));
        let all = fidelity == Fidelity::AsItWas;
        assert_eq!(xattr(&path, "trusted.note").is_some(), all);
        assert_eq!(
            xattr(&path, "security.capability").is_some_and(|value| value == capability),
            all
        );
        assert_eq!(target.join("null").exists(), all);
        assert_eq!(report.is_complete(), all, "the device is named");
        assert_eq!(report.left_out.xattrs, u64::from(!all));
        assert_eq!(report.left_out.set_ids > 0, !all);
    }
}

#[test]
fn set_uid_does_not_come_back_with_another_owner() {
    if require_root().is_none() {
        return;
    }
    let mut program = file("program", b"x");
    program.entry.mode = 0o4755;
    program.entry.owner.uid = u32::MAX;
    let scratch = tempfile::tempdir().unwrap();
    let report = restore(scratch.path(), &[program], faithful());
    assert_complete(&report);
    assert_eq!((report.left_out.owners, report.left_out.set_ids), (1, 1));
    let stat = fs::metadata(scratch.path().join("program")).unwrap();
    assert_eq!(stat.permissions().mode() & 0o7777, 0o755);
    assert_eq!(stat.uid(), 0);
}

#[test]
fn owners_go_by_name_or_by_number() {
    if require_root().is_none() {
        return;
    }
    let mut member = file("file", b"x");
    member.entry.owner = Owner {
        uid: 4321,
        gid: 4322,
        user: Some("nobody".into()),
        group: Some("no such group here".into()),
    };
    let nobody = fs::read_to_string("/etc/passwd").unwrap();
    let nobody = nobody.lines().find_map(|line| line.strip_prefix("nobody:"));
    let nobody: u32 = nobody.unwrap().split(':').nth(1).unwrap().parse().unwrap();
    let acl = [
        (AclWho::UserOwner, 6),
        (AclWho::User(4321, Some("nobody".into())), 4),
        (AclWho::GroupOwner, 4),
        (AclWho::Mask, 4),
        (AclWho::Other, 4),
    ];
    member.entry.acl_access = Some(Acl {
        entries: acl
            .map(|(who, permissions)| AclEntry { who, permissions })
            .into(),
    });
    for (owners, uid) in [(Owners::ByName, nobody), (Owners::ByNumber, 4321)] {
        let scratch = tempfile::tempdir().unwrap();
        let options = RestoreOptions {
            owners,
            ..RestoreOptions::default()
        };
        assert_complete(&restore(scratch.path(), &[member.clone()], options));
        let path = scratch.path().join("file");
        let stat = fs::metadata(&path).unwrap();
        assert_eq!((stat.uid(), stat.gid()), (uid, 4322));
        let mut raw = [0; 256];
        let size = rustix::fs::getxattr(&path, tree::ACL_ACCESS_XATTR, &mut raw).unwrap();
        let acl = Acl::decode(&raw[..size], &mut ()).unwrap();
        assert_eq!(acl.entries[1].who, AclWho::User(uid, None));
    }
}

#[test]
fn an_acl_of_the_folder_is_not_inherited_by_what_had_none() {
    let scratch = tempfile::tempdir().unwrap();
    let entries = [
        (AclWho::UserOwner, 7),
        (AclWho::User(1, None), 7),
        (AclWho::GroupOwner, 7),
        (AclWho::Mask, 7),
        (AclWho::Other, 0),
    ];
    let acl = Acl {
        entries: entries
            .map(|(who, permissions)| AclEntry { who, permissions })
            .into(),
    };
    rustix::fs::setxattr(
        scratch.path(),
        tree::ACL_DEFAULT_XATTR,
        &acl.encode(&mut ()),
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    let members = [
        file("file", b"x"),
        folder("a"),
        file("a/file", b"x"),
        link("l", "x"),
    ];
    assert_complete(&restore(
        scratch.path(),
        &members,
        RestoreOptions::default(),
    ));
    for path in ["file", "a", "a/file"] {
        let path = scratch.path().join(path);
        for name in [tree::ACL_ACCESS_XATTR, tree::ACL_DEFAULT_XATTR] {
            let acl = rustix::fs::getxattr(&path, name, &mut [0_u8; 64]);
            assert_eq!(acl, Err(rustix::io::Errno::NODATA), "{name} of {path:?}");
        }
        let expected = if path.is_dir() { 0o755 } else { 0o644 };
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, expected);
    }
}

#[test]
fn a_further_name_whose_first_is_not_restored_gets_its_own_content() {
    let scratch = tempfile::tempdir().unwrap();
    let mut members = vec![
        hard_link("b", "a"),
        hard_link("c", "a"),
        hard_link("d", "b"),
    ];
    for member in &mut members {
        member.entry.size = 1;
        member.content.push(Piece::Data(b"x".to_vec()));
    }
    assert_complete(&restore(
        scratch.path(),
        &members,
        RestoreOptions::default(),
    ));
    let inode = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().ino();
    assert_eq!(fs::read(scratch.path().join("c")).unwrap(), b"x");
    assert_eq!(inode("d"), inode("b"));
}

#[test]
fn a_further_name_waits_for_content_that_is_still_coming() {
    let scratch = tempfile::tempdir().unwrap();
    let members = [file("a", b"x"), hard_link("b", "a")];
    let restorer = Restorer::open(scratch.path(), RestoreOptions::default()).unwrap();
    let plan = plan(&restorer, &members);
    assert!(plan.needs_content(0) && !plan.needs_content(1));
    let restore = restorer.start(plan).unwrap();
    let Placed::Content(file) = restore.place(0, members[0].entry.clone()).unwrap() else {
        panic!("the content is wanted");
    };
    assert!(matches!(
        restore.place(1, members[1].entry.clone()).unwrap(),
        Placed::Done
    ));
    file.write_at(0, b"x").unwrap();
    file.finish().unwrap();
    assert_complete(&restore.finish());
    let inode = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
}

#[test]
fn folders_that_the_archive_does_not_have_are_private() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("x/target");
    let members = [file("a/b/file", b"x"), folder("c")];
    assert_complete(&restore(&target, &members, RestoreOptions::default()));
    let mode = |path: &str| {
        fs::metadata(target.join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(
        (mode("."), mode("a"), mode("a/b"), mode("c")),
        (0o700, 0o700, 0o700, 0o755)
    );
}

#[test]
fn five_thousand_folders_inside_each_other_come_back() {
    let scratch = tempfile::tempdir().unwrap();
    let mut path = b"deep".to_vec();
    path.extend(b"/folder-in-it".repeat(5000));
    let members = [file(&path, b"bottom")];
    assert_complete(&restore(
        scratch.path(),
        &members,
        RestoreOptions::default(),
    ));
    let restorer = Restorer::open(scratch.path(), RestoreOptions::default()).unwrap();
    let plan = plan(&restorer, &members);
    assert_eq!(plan.action(0), Action::AlreadyRight);
}

#[test]
fn the_way_to_the_target_may_be_a_link_but_not_the_target() {
    let scratch = tempfile::tempdir().unwrap();
    let real = scratch.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, scratch.path().join("link")).unwrap();
    for target in ["link", "link/", "link/."] {
        let opened = Restorer::open(scratch.path().join(target), RestoreOptions::default());
        assert!(matches!(
            opened,
            Err(tree::RestoreError::TargetIsLink { .. })
        ));
    }
    let target = scratch.path().join("link/below");
    assert_complete(&restore(
        &target,
        &[file("a", b"x")],
        RestoreOptions::default(),
    ));
    assert!(real.join("below/a").exists());
    fs::write(scratch.path().join("file"), "").unwrap();
    let opened = Restorer::open(scratch.path().join("file"), RestoreOptions::default());
    assert!(matches!(opened, Err(tree::RestoreError::NotAFolder { .. })));
}

#[test]
fn two_restores_into_one_target_wait_for_nobody() {
    let scratch = tempfile::tempdir().unwrap();
    let open = || Restorer::open(scratch.path(), RestoreOptions::default()).unwrap();
    let first = open().start(RestorePlan::default()).unwrap();
    let second = open().start(RestorePlan::default());
    assert!(matches!(second, Err(tree::RestoreError::Busy { .. })));
    drop(first);
    drop(open().start(RestorePlan::default()).unwrap());
}
