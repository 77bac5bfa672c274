//! What happens where something stands already.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use tree::{Action, Conflict, EntryKind, Placed, ProblemKind, Refusal, RestoreOptions, Restorer};

use crate::restore::{
    Member, assert_complete, file, folder, hard_link, link, member, plan, restore,
};

const ALL: [Conflict; 4] = [
    Conflict::KeepBoth,
    Conflict::Skip,
    Conflict::Overwrite,
    Conflict::OnlyIfDifferent,
];

fn options(conflict: Conflict) -> RestoreOptions {
    RestoreOptions {
        conflict,
        ..RestoreOptions::default()
    }
}

/// What stands under a path: the content of a file, the target of a link.
fn stands(target: &Path, path: &str) -> String {
    let path = target.join(path);
    match fs::symlink_metadata(&path) {
        Err(_) => "nothing".into(),
        Ok(stat) if stat.is_symlink() => format!("-> {}", fs::read_link(&path).unwrap().display()),
        Ok(stat) if stat.is_dir() => "folder".into(),
        Ok(_) => fs::read_to_string(&path).unwrap(),
    }
}

/// Plans, checks what the plan says of the last member, and restores.
fn actions(target: &Path, members: &[Member], conflict: Conflict) -> Vec<Action> {
    let restorer = Restorer::open(target, options(conflict)).unwrap();
    let plan = plan(&restorer, members);
    let actions = (0..members.len())
        .map(|number| plan.action(number))
        .collect();
    drop(restorer);
    restore(target, members, options(conflict));
    actions
}

#[test]
fn a_file_where_a_file_stands() {
    for (conflict, action, original, copy) in [
        (Conflict::KeepBoth, Action::KeepBoth, "mine", "archived"),
        (Conflict::Skip, Action::Skip, "mine", "nothing"),
        (Conflict::Overwrite, Action::Replace, "archived", "nothing"),
        (
            Conflict::OnlyIfDifferent,
            Action::Replace,
            "archived",
            "nothing",
        ),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join("report.odt"), "mine").unwrap();
        let members = [file("report.odt", b"archived")];
        assert_eq!(actions(scratch.path(), &members, conflict), [action]);
        assert_eq!(stands(scratch.path(), "report.odt"), original);
        assert_eq!(stands(scratch.path(), "report (restored).odt"), copy);
    }
}

#[test]
fn a_file_where_a_folder_stands() {
    for (conflict, empty, full) in [
        (Conflict::KeepBoth, Action::KeepBoth, Action::KeepBoth),
        (Conflict::Skip, Action::Skip, Action::Skip),
        (Conflict::Overwrite, Action::Replace, Action::Refuse),
        (Conflict::OnlyIfDifferent, Action::Replace, Action::Refuse),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        fs::create_dir_all(scratch.path().join("full/mine")).unwrap();
        fs::create_dir(scratch.path().join("empty")).unwrap();
        let members = [file("empty", b"archived"), file("full", b"archived")];
        assert_eq!(actions(scratch.path(), &members, conflict), [empty, full]);
        assert!(scratch.path().join("full/mine").is_dir(), "{conflict:?}");
        let replaced = empty == Action::Replace;
        let expected = if replaced { "archived" } else { "folder" };
        assert_eq!(stands(scratch.path(), "empty"), expected);
        let kept = stands(scratch.path(), "full (restored)");
        assert_eq!(kept == "archived", conflict == Conflict::KeepBoth);
    }
}

#[test]
fn a_folder_where_a_file_or_a_link_stands() {
    for (conflict, action, inside, copy) in [
        (Conflict::KeepBoth, Action::KeepBoth, "nothing", "archived"),
        (Conflict::Skip, Action::Skip, "nothing", "nothing"),
        (Conflict::Overwrite, Action::Replace, "archived", "nothing"),
        (
            Conflict::OnlyIfDifferent,
            Action::Replace,
            "archived",
            "nothing",
        ),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let target = scratch.path().join("target");
        fs::create_dir_all(scratch.path().join("outside")).unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(target.join("a.d"), "mine").unwrap();
        symlink("../outside", target.join("l")).unwrap();
        let members = [
            folder("a.d"),
            file("a.d/b/inside", b"archived"),
            folder("l"),
            file("l/inside", b"archived"),
        ];
        let found = actions(&target, &members, conflict);
        assert_eq!((found[0], found[2]), (action, action));
        let replaced = action == Action::Replace;
        assert_eq!(
            stands(&target, "a.d"),
            if replaced { "folder" } else { "mine" }
        );
        let l = if replaced { "folder" } else { "-> ../outside" };
        assert_eq!(stands(&target, "l"), l);
        assert_eq!(stands(&target, "l/inside"), inside);
        assert_eq!(stands(&target, "a.d (restored)/b/inside"), copy);
        assert_eq!(stands(&target, "l (restored)/inside"), copy);
        let outside = fs::read_dir(scratch.path().join("outside")).unwrap();
        assert_eq!(outside.count(), 0);
    }
}

#[test]
fn a_folder_goes_into_a_folder_and_its_attributes_are_a_matter_of_choice() {
    for conflict in ALL {
        let scratch = tempfile::tempdir().unwrap();
        let a = scratch.path().join("a");
        fs::create_dir(&a).unwrap();
        fs::write(a.join("mine"), "mine").unwrap();
        fs::set_permissions(&a, PermissionsExt::from_mode(0o711)).unwrap();
        let members = [folder("a"), file("a/new", b"archived")];
        assert_complete(&restore(scratch.path(), &members, options(conflict)));
        assert_eq!(stands(&a, "mine"), "mine");
        assert_eq!(stands(&a, "new"), "archived");
        let writes = matches!(conflict, Conflict::Overwrite | Conflict::OnlyIfDifferent);
        let stat = fs::metadata(&a).unwrap();
        let mode = stat.permissions().mode() & 0o777;
        assert_eq!(mode, if writes { 0o755 } else { 0o711 });
        assert_eq!(stat.mtime() == 1_600_000_000, writes);
    }
}

#[test]
fn a_folder_that_was_right_stays_right_when_something_goes_into_it() {
    for conflict in ALL {
        let scratch = tempfile::tempdir().unwrap();
        let members = [folder("a"), file("a/one", b"1"), file("a/two", b"2")];
        assert_complete(&restore(scratch.path(), &members, options(conflict)));
        fs::remove_file(scratch.path().join("a/two")).unwrap();
        let time = rustix::fs::Timespec {
            tv_sec: 1_600_000_000,
            tv_nsec: 123_456_789,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        let a = scratch.path().join("a");
        let no_follow = rustix::fs::AtFlags::empty();
        rustix::fs::utimensat(rustix::fs::CWD, &a, &times, no_follow).unwrap();
        assert_complete(&restore(scratch.path(), &members, options(conflict)));
        assert_eq!(
            fs::metadata(&a).unwrap().mtime(),
            1_600_000_000,
            "{conflict:?}"
        );
    }
}

#[test]
fn what_is_right_but_for_its_mode_is_mended_without_its_content() {
    let scratch = tempfile::tempdir().unwrap();
    let members = [file("a", b"content"), link("l", "a")];
    assert_complete(&restore(
        scratch.path(),
        &members,
        RestoreOptions::default(),
    ));
    let path = scratch.path().join("a");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let done = actions(scratch.path(), &members, Conflict::OnlyIfDifferent);
    assert_eq!(done, [Action::Mend, Action::AlreadyRight]);
    let stat = fs::metadata(&path).unwrap();
    assert_eq!(stat.permissions().mode() & 0o777, 0o644);
    assert_eq!(stat.ino(), inode);
}

#[test]
fn overwrite_trusts_nothing_that_stands_there() {
    let scratch = tempfile::tempdir().unwrap();
    let members = [file("a", b"right"), hard_link("b", "a"), link("l", "x")];
    assert_complete(&restore(
        scratch.path(),
        &members,
        RestoreOptions::default(),
    ));
    let before = fs::metadata(scratch.path().join("a")).unwrap().ino();
    let done = actions(scratch.path(), &members, Conflict::Overwrite);
    assert_eq!(done, [Action::Replace; 3]);
    let after = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().ino();
    assert_ne!(after("a"), before);
    assert_eq!(after("a"), after("b"));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3);
}

#[test]
fn kept_copies_are_found_again_and_others_get_the_next_name() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("a.txt"), "mine").unwrap();
    fs::write(scratch.path().join("d"), "mine").unwrap();
    let first = [
        file("a.txt", b"first"),
        hard_link("b.txt", "a.txt"),
        folder("d"),
        file("d/x", b"first"),
    ];
    let keep_both = options(Conflict::KeepBoth);
    let report = restore(scratch.path(), &first, keep_both.clone());
    assert_complete(&report);
    let new: Vec<String> = report
        .renamed
        .iter()
        .map(|(from, to)| format!("{from} {to}"))
        .collect();
    assert_eq!(new, ["a.txt a (restored).txt", "d d (restored)"]);
    let again = restore(scratch.path(), &first, keep_both.clone());
    assert_complete(&again);
    assert_eq!(again.done(Action::AlreadyRight).entries, 3);
    assert_eq!(again.done(Action::KeepBoth).entries, 1, "the folder");
    let mut second = file("a.txt", b"second");
    second.entry.mtime = tree::Time::new(1_500_000_000, 0);
    assert_complete(&restore(scratch.path(), &[second], keep_both));
    assert_eq!(stands(scratch.path(), "a.txt"), "mine");
    assert_eq!(stands(scratch.path(), "a (restored).txt"), "first");
    assert_eq!(stands(scratch.path(), "a (restored 2).txt"), "second");
    assert_eq!(stands(scratch.path(), "d (restored)/x"), "first");
    let inode = |name: &str| fs::metadata(scratch.path().join(name)).unwrap().ino();
    assert_eq!(inode("b.txt"), inode("a (restored).txt"));
}

#[test]
fn a_copy_takes_no_name_that_the_archive_has() {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["a", "a (restored)"] {
        fs::write(scratch.path().join(name), "mine").unwrap();
    }
    let members = [
        file("a", b"one"),
        file("a (restored)", b"two"),
        file("a (restored 2)", b"three"),
    ];
    assert_complete(&restore(
        scratch.path(),
        &members,
        options(Conflict::KeepBoth),
    ));
    let all: Vec<String> = {
        let entries = fs::read_dir(scratch.path()).unwrap();
        let mut all: Vec<_> = entries
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        all.sort();
        all
    };
    assert_eq!(all, ["mine", "mine", "one", "three", "two"]);
}

#[test]
fn of_two_entries_with_one_path_the_later_counts() {
    let scratch = tempfile::tempdir().unwrap();
    let mut second = folder("d");
    second.entry.mode = 0o711;
    let members = [
        folder("d"),
        file("a", b"first"),
        file("a", b"second!"),
        second,
    ];
    let restorer = Restorer::open(scratch.path(), RestoreOptions::default()).unwrap();
    let plan = plan(&restorer, &members);
    assert_eq!(plan.action(1), Action::Superseded);
    assert_eq!(plan.bytes_to_write(), 7);
    assert_eq!(plan.tally(Action::Create).entries, 2);
    assert_complete(&restore(
        scratch.path(),
        &members,
        RestoreOptions::default(),
    ));
    assert_eq!(stands(scratch.path(), "a"), "second!");
    let mode = fs::metadata(scratch.path().join("d"))
        .unwrap()
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o711);
}

#[test]
fn a_folder_stays_a_folder_whatever_else_has_its_name() {
    let scratch = tempfile::tempdir().unwrap();
    let members = [
        file("a", b"file"),
        file("a/b", b"child of a file"),
        folder("a"),
        file("c/d", b"x"),
        file("c", b"file"),
        member("c", EntryKind::Fifo),
        file("neighbour", b"x"),
    ];
    let report = restore(scratch.path(), &members, RestoreOptions::default());
    let refusals: Vec<_> = report
        .problems
        .iter()
        .map(|problem| match &problem.what {
            ProblemKind::Refused(refusal) => refusal.clone(),
            other => panic!("{other}"),
        })
        .collect();
    let parent = members[0].entry.path.clone();
    assert_eq!(
        refusals,
        [
            Refusal::ParentNotAFolder { parent },
            Refusal::TwoKinds,
            Refusal::TwoKinds,
            Refusal::TwoKinds,
        ]
    );
    assert_eq!(stands(scratch.path(), "a"), "file");
    assert_eq!(stands(scratch.path(), "c/d"), "x");
    assert_eq!(stands(scratch.path(), "neighbour"), "x");
}

#[test]
fn what_appears_after_the_plan_was_made_is_not_replaced() {
    for (conflict, copy) in [
        (Conflict::KeepBoth, "archived"),
        (Conflict::Overwrite, "nothing"),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let members = [file("a", b"archived"), link("b", "x"), folder("c")];
        let restorer = Restorer::open(scratch.path(), options(conflict)).unwrap();
        let plan = plan(&restorer, &members);
        let restore = restorer.start(plan).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(scratch.path().join(name), "new").unwrap();
        }
        for (number, member) in members.iter().enumerate() {
            if let Placed::Content(file) = restore.place(number, member.entry.clone()).unwrap() {
                file.write_at(0, b"archived").unwrap();
                file.finish().unwrap();
            }
        }
        let report = restore.finish();
        for name in ["a", "b", "c"] {
            assert_eq!(stands(scratch.path(), name), "new");
        }
        assert_eq!(stands(scratch.path(), "a (restored)"), copy);
        let keeps = conflict == Conflict::KeepBoth;
        assert_eq!(report.problems.len(), if keeps { 1 } else { 3 });
        assert!(matches!(report.problems[0].what, ProblemKind::Appeared));
    }
}

#[test]
fn the_plan_alone_changes_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("a/b");
    let restorer = Restorer::open(&target, RestoreOptions::default()).unwrap();
    let plan = plan(&restorer, &[folder("x"), file("x/y", b"12345")]);
    assert_eq!(plan.tally(Action::Create).entries, 2);
    assert_eq!(plan.bytes_to_write(), 5);
    assert!(!scratch.path().join("a").exists());
}
