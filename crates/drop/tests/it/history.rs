//! Versions, deletions, restores and thinning, on stores of all kinds.

use std::io::Read;
use std::sync::Arc;

use ravelin_drop::{Device, Error, Folder, Rule};
use store::{Memory, Name, Store, WriteMode};

use crate::bench::{Poor, at, environment, folder_on, name, plain, scratch};

fn content(folder: &mut Folder, path: &Name, version: &str) -> Vec<u8> {
    let version = folder.version(path, &version.parse().unwrap()).unwrap();
    let mut bytes = Vec::new();
    folder
        .read(&version)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

fn new_folder() -> (Memory, Folder) {
    let memory = Memory::new();
    Folder::create(&memory, &environment()).unwrap();
    let folder = folder_on(Arc::new(memory.clone()), "laptop");
    (memory, folder)
}

#[test]
fn every_version_can_be_read_and_restoring_takes_nothing_away() {
    let (memory, mut folder) = new_folder();
    let path = name("a/report ü.txt");
    for (number, text) in ["one", "two", "", "two"].iter().enumerate() {
        let now = at(i64::try_from(number).unwrap());
        folder.put(&path, text.as_bytes(), now, now).unwrap();
    }
    let ids: Vec<String> = folder
        .history(&path)
        .unwrap()
        .iter()
        .map(|version| version.id.to_string())
        .collect();
    assert_eq!(
        ids,
        ["00000001.1", "00000002.1", "00000003.1", "00000004.1"]
    );
    assert_eq!(content(&mut folder, &path, "00000003.1"), b"");
    assert_eq!(plain(&memory)["a/report ü.txt"], b"two");

    folder.remove(&path, at(10)).unwrap();
    assert!(plain(&memory).is_empty());
    assert!(folder.list().is_empty());
    assert_eq!(folder.deleted().unwrap().len(), 1);
    assert!(matches!(
        folder.remove(&path, at(11)),
        Err(Error::NoFile { .. })
    ));

    let last = folder.last_content(&path).unwrap();
    assert_eq!(last.id.as_str(), "00000004.1");
    let first = folder
        .version(&path, &"00000001.1".parse().unwrap())
        .unwrap();
    folder.restore(&first, at(12)).unwrap();
    assert_eq!(plain(&memory)["a/report ü.txt"], b"one");
    assert_eq!(folder.history(&path).unwrap().len(), 6);
    assert!(folder.deleted().unwrap().is_empty());
    assert_eq!(folder.verify().unwrap(), []);
}

#[test]
fn the_folder_as_of_a_time_has_the_files_that_it_had() {
    let (_memory, mut folder) = new_folder();
    folder.put(&name("a"), &b"1"[..], at(0), at(0)).unwrap();
    folder.put(&name("b"), &b"1"[..], at(10), at(10)).unwrap();
    folder.put(&name("a"), &b"2"[..], at(20), at(20)).unwrap();
    folder.remove(&name("b"), at(30)).unwrap();
    let mut then = |seconds| -> Vec<String> {
        let versions = folder.as_of(at(seconds)).unwrap();
        versions
            .iter()
            .map(|version| format!("{} {}", version.path, version.id))
            .collect()
    };
    assert!(then(-1).is_empty());
    assert_eq!(then(5), ["a 00000001.1"]);
    assert_eq!(then(25), ["a 00000003.1", "b 00000002.1"]);
    assert_eq!(then(35), ["a 00000003.1"]);
}

#[test]
fn of_two_devices_that_change_a_file_at_once_one_wins_and_both_versions_stay() {
    let (memory, mut laptop) = new_folder();
    let mut desktop = folder_on(Arc::new(memory.clone()), "desktop");
    let path = name("x");
    laptop.put(&path, &b"laptop"[..], at(0), at(0)).unwrap();
    // It knows nothing of the other, and finds out when it comes to write.
    desktop.put(&path, &b"desktop"[..], at(1), at(1)).unwrap();
    laptop.refresh(at(2)).unwrap();
    let history = laptop.history(&path).unwrap();
    let devices: Vec<&str> = history
        .iter()
        .filter_map(|version| Some(version.device.as_ref()?.as_str()))
        .collect();
    assert_eq!(devices, ["laptop", "desktop"]);
    assert_eq!(plain(&memory)["x"], b"desktop");
}

#[test]
fn thinning_keeps_what_the_rule_says_and_deletes_only_what_nobody_needs() {
    let (memory, mut folder) = new_folder();
    let hour = 3600;
    // The same content now and then: its copy is needed by several versions.
    for number in 0..100 {
        let text = format!("{}", number % 30);
        let now = at(number * hour);
        folder.put(&name("x"), text.as_bytes(), now, now).unwrap();
    }
    folder
        .put(&name("gone"), &b"gone"[..], at(0), at(0))
        .unwrap();
    folder.remove(&name("gone"), at(1)).unwrap();
    let now = at(100 * hour);
    let plan = folder.thin_plan(&Rule::default(), now).unwrap();
    let before = folder.history(&name("x")).unwrap().len();
    let copies = |memory: &Memory| {
        let kept = store::Folder::new(".ravelin-drop/kept").unwrap();
        store::list_all(memory, &kept).unwrap().len()
    };
    let copies_before = copies(&memory);
    let thinned = folder.thin(&plan, now).unwrap();
    let after = folder.history(&name("x")).unwrap().len();
    assert_eq!(before - after, usize::try_from(thinned.versions).unwrap());
    assert!((27..=30).contains(&after), "{after}");
    assert!(copies(&memory) < copies_before);
    let gone = folder.last_content(&name("gone")).unwrap();
    content(&mut folder, &name("gone"), gone.id.as_str());
    assert_eq!(folder.verify().unwrap(), []);
    // Every version that is left can be read.
    for version in folder.history(&name("x")).unwrap() {
        content(&mut folder, &name("x"), version.id.as_str());
    }
    // Again: nothing more.
    let plan = folder.thin_plan(&Rule::default(), now).unwrap();
    assert_eq!(plan.versions, []);
    // After a year nothing is left of what was deleted, and the present version is.
    let later = at(500 * 24 * hour);
    let plan = folder.thin_plan(&Rule::default(), later).unwrap();
    folder.thin(&plan, later).unwrap();
    assert!(matches!(
        folder.history(&name("gone")),
        Err(Error::NoFile { .. })
    ));
    assert_eq!(folder.history(&name("x")).unwrap().len(), 1);
    assert_eq!(copies(&memory), 1);
    // A new device comes to the same result.
    let mut other = folder_on(Arc::new(memory), "other");
    assert_eq!(other.list(), folder.list());
    assert_eq!(
        other.history(&name("x")).unwrap(),
        folder.history(&name("x")).unwrap()
    );
}

#[test]
fn a_copy_that_was_given_up_is_never_used_again() {
    let (memory, mut laptop) = new_folder();
    let mut desktop = folder_on(Arc::new(memory.clone()), "desktop");
    laptop.put(&name("x"), &b"same"[..], at(0), at(0)).unwrap();
    laptop.put(&name("x"), &b"else"[..], at(1), at(1)).unwrap();
    let later = at(1000 * 86_400);
    let plan = laptop.thin_plan(&Rule::default(), later).unwrap();
    laptop.thin(&plan, later).unwrap();
    desktop.put(&name("y"), &b"same"[..], later, later).unwrap();
    // The deletion is late, or repeated.
    let late = name(
        ".ravelin-drop/kept/09/0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5",
    );
    memory.delete(&late).unwrap();
    assert_eq!(desktop.verify().unwrap(), []);
}

#[test]
fn what_stands_at_the_store_by_hand_becomes_a_version_and_is_never_overwritten_unseen() {
    let (memory, mut folder) = new_folder();
    let nobody = |_: &Name| false;
    let by_hand = |path: &str, text: &str| {
        let bytes = text.as_bytes().to_vec();
        memory
            .write(&name(path), &bytes, WriteMode::Replace)
            .unwrap();
    };
    by_hand("was/here", "before us");
    assert_eq!(folder.adopt(at(0), &nobody).unwrap(), [name("was/here")]);
    assert_eq!(
        folder.history(&name("was/here")).unwrap()[0].device,
        Some(Device::elsewhere())
    );
    by_hand("was/here", "edited by hand");
    assert_eq!(folder.adopt(at(1), &nobody).unwrap().len(), 1);
    assert_eq!(folder.history(&name("was/here")).unwrap().len(), 2);
    // Edited by hand and not yet noticed when a device writes: it is kept beside.
    by_hand("was/here", "edited again");
    folder
        .put(&name("was/here"), &b"ours"[..], at(2), at(2))
        .unwrap();
    let now = plain(&memory);
    assert_eq!(now["was/here"], b"ours");
    assert_eq!(
        now["was/here (conflict elsewhere 2027-01-15 08.00.02)"],
        b"edited again"
    );
    // Deleted by hand: when it stays away, it is deleted. Its versions stay.
    memory.delete(&name("was/here")).unwrap();
    assert!(folder.adopt(at(3), &nobody).unwrap().is_empty());
    assert_eq!(folder.adopt(at(60), &nobody).unwrap().len(), 1);
    assert_eq!(folder.deleted().unwrap().len(), 1);
}

#[test]
fn a_plain_file_that_is_behind_is_mended() {
    let (memory, mut folder) = new_folder();
    folder.put(&name("x"), &b"one"[..], at(0), at(0)).unwrap();
    folder.put(&name("x"), &b"two"[..], at(1), at(1)).unwrap();
    memory
        .write(&name("x"), b"one", WriteMode::Replace)
        .unwrap();
    assert!(folder.adopt(at(2), &|_| false).unwrap().is_empty());
    assert_eq!(plain(&memory)["x"], b"two");
}

#[test]
fn a_damaged_copy_is_found_and_never_given_out_as_good() {
    let (memory, mut folder) = new_folder();
    let id = folder.put(&name("x"), &b"good"[..], at(0), at(0)).unwrap();
    let kept =
        store::list_all(&memory, &store::Folder::new(".ravelin-drop/kept").unwrap()).unwrap();
    memory
        .write(&kept[0].name, b"evil", WriteMode::Replace)
        .unwrap();
    let version = folder.version(&name("x"), &id).unwrap();
    let mut body = folder.read(&version).unwrap();
    assert!(body.read_to_end(&mut Vec::new()).is_err());
    assert_eq!(folder.verify().unwrap().len(), 1);
}

#[test]
fn a_damaged_index_is_refused_and_a_damaged_checkpoint_only_costs_time() {
    let (memory, mut folder) = new_folder();
    for number in 0..201 {
        let text = number.to_string();
        folder
            .put(&name("x"), text.as_bytes(), at(number), at(number))
            .unwrap();
    }
    let checkpoint = name(".ravelin-drop/checkpoint/00000200.txt");
    let mut bytes = store::read_all(&memory, &checkpoint, 1 << 20).unwrap();
    bytes.truncate(1000);
    memory
        .write(&checkpoint, &bytes, WriteMode::Replace)
        .unwrap();
    let mut other = folder_on(Arc::new(memory.clone()), "other");
    assert_eq!(other.history(&name("x")).unwrap().len(), 201);
    assert_eq!(other.take_problems().len(), 1);
    memory
        .write(
            &name(".ravelin-drop/index/00000007.txt"),
            b"rubbish\n",
            WriteMode::Replace,
        )
        .unwrap();
    let opened = Folder::on(Arc::new(memory), &environment(), &Device::new("x"), None);
    assert!(matches!(opened, Err(Error::Index { .. })));
}

#[test]
fn the_index_can_be_read_by_hand() {
    let scratch = scratch();
    let disk = store::Disk::new(scratch.path(), &environment());
    Folder::create(&disk, &environment()).unwrap();
    let mut folder = folder_on(Arc::new(disk), "laptop");
    folder
        .put(&name("report.odt"), &b"monday"[..], at(0), at(0))
        .unwrap();
    folder
        .put(&name("report.odt"), &b"tuesday"[..], at(86_400), at(86_400))
        .unwrap();
    let script = r#"
        cd "$1/.ravelin-drop"
        kept=$(grep -h 'report.odt' index/*.txt | head -1 | cut -f8)
        cat kept/$(echo $kept | cut -c1-2)/$kept
        echo "$kept" "kept/$(echo $kept | cut -c1-2)/$kept" | sha256sum --check --quiet >&2
    "#;
    let output = std::process::Command::new("sh")
        .args(["-ec", script, "sh"])
        .arg(scratch.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"monday");
}

#[test]
fn names_of_our_own_folder_are_refused() {
    let (_memory, mut folder) = new_folder();
    for path in [".ravelin-drop/index/00000001.txt", ".Ravelin-Drop/x"] {
        let put = folder.put(&name(path), &b""[..], at(0), at(0));
        assert!(matches!(put, Err(Error::Reserved { .. })), "{path}");
    }
}

#[test]
fn a_store_that_cannot_create_exclusively_keeps_every_version_and_agrees_on_one_order() {
    let memory = Memory::new();
    // As Google Drive.
    let careless = || {
        Arc::new(Poor {
            creates: false,
            ..Poor::new(&memory)
        })
    };
    Folder::create(&*careless(), &environment()).unwrap();
    let mut laptop = folder_on(careless(), "laptop");
    laptop.put(&name("x"), &b"one"[..], at(0), at(0)).unwrap();
    let change = store::list_all(&memory, &store::Folder::new(".ravelin-drop/index").unwrap());
    let first = change.unwrap()[0].name.clone();
    // Two devices write change number 2 at once: the other's comes into sight late.
    let mut desktop = folder_on(careless(), "desktop");
    desktop
        .put(&name("x"), &b"desktop"[..], at(1), at(1))
        .unwrap();
    let index = store::Folder::new(".ravelin-drop/index").unwrap();
    let all = store::list_all(&memory, &index).unwrap();
    let second = all.iter().find(|object| object.name != first).unwrap();
    let late = store::read_all(&memory, &second.name, 1 << 20).unwrap();
    memory.delete(&second.name).unwrap();
    laptop
        .put(&name("x"), &b"laptop"[..], at(2), at(2))
        .unwrap();
    memory
        .write(&second.name, &late, WriteMode::Create)
        .unwrap();
    laptop.refresh(at(3)).unwrap();
    let mut other = folder_on(careless(), "other");
    assert_eq!(laptop.list(), other.list());
    let history = other.history(&name("x")).unwrap();
    assert_eq!(history.len(), 3);
    assert_eq!(history.iter().filter(|version| version.lost).count(), 1);
    assert_eq!(other.verify().unwrap(), []);
    // Thinning deletes a day after it has given up.
    let copies = |memory: &Memory| {
        let kept = store::Folder::new(".ravelin-drop/kept").unwrap();
        store::list_all(memory, &kept).unwrap().len()
    };
    for (days, left) in [(400, 3), (402, 1)] {
        let now = at(days * 86_400);
        let plan = other.thin_plan(&Rule::default(), now).unwrap();
        other.thin(&plan, now).unwrap();
        assert_eq!(copies(&memory), left, "{days}");
    }
}
