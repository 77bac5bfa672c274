//! Looking into snapshots.

use std::ops::ControlFlow;

use ravelin_engine::browse::{ChangeKind, diff, find, list, walk};
use ravelin_engine::layer::Item;
use ravelin_engine::{Glob, Wanted};
use tree::TreePath;

use crate::workshop::{Workshop, wait_hours};

/// Three snapshots: `a` changes in the second, `b` is gone in the third and back in no other.
fn three_snapshots() -> Workshop {
    let workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    workshop.write("folder/b", "two");
    workshop.back_up(&Wanted::All);
    wait_hours(1);
    workshop.write("a", "three");
    workshop.back_up(&Wanted::All);
    wait_hours(1);
    std::fs::remove_file(workshop.source().join("folder/b")).unwrap();
    workshop.back_up(&Wanted::All);
    workshop
}

#[test]
fn a_name_is_found_with_all_its_versions() {
    let workshop = three_snapshots();
    let mut layer = workshop.memory("disk");
    let [first, second, third] = &workshop.snapshots("disk")[..] else {
        panic!("three snapshots");
    };
    let found = find(&mut layer, &Glob::new(b"a")).unwrap();
    let versions: Vec<_> = found
        .iter()
        .filter(|found| found.path.name() == Some(b"a"))
        .flat_map(|found| &found.versions)
        .map(|version| {
            (
                version.entry.size,
                &version.first,
                &version.last,
                version.snapshots,
            )
        })
        .collect();
    assert_eq!(
        versions,
        [
            (3, &first.name, &first.name, 1),
            (5, &second.name, &third.name, 2)
        ]
    );
    let found = find(&mut layer, &Glob::new(b"**/folder/*")).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].versions.len(), 1);
    assert_eq!(found[0].versions[0].last, second.name);
}

#[test]
fn a_difference_names_what_happened() {
    let workshop = three_snapshots();
    let mut layer = workshop.memory("disk");
    let snapshots = workshop.snapshots("disk");
    let below = TreePath::new(workshop.prefix()).unwrap();
    let changes = diff(&mut layer, &snapshots[0], &snapshots[2], &below).unwrap();
    let changes: Vec<_> = changes
        .into_iter()
        .map(|change| (change.path.name().unwrap().to_vec(), change.kind))
        .collect();
    assert_eq!(
        changes,
        [
            (
                b"a".to_vec(),
                ChangeKind::Content {
                    before: 3,
                    after: 5,
                    metadata: vec!["modified"],
                }
            ),
            (b"folder".to_vec(), ChangeKind::Metadata(vec!["modified"])),
            (b"b".to_vec(), ChangeKind::Removed { size: 3 }),
        ]
    );
    let below = below.join(b"folder");
    assert_eq!(
        diff(&mut layer, &snapshots[0], &snapshots[2], &below)
            .unwrap()
            .len(),
        2
    );
    assert!(
        diff(&mut layer, &snapshots[1], &snapshots[1], &below)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_listing_is_one_level_or_everything() {
    let workshop = three_snapshots();
    let mut layer = workshop.memory("disk");
    let snapshots = workshop.snapshots("disk");
    let below = TreePath::new(workshop.prefix()).unwrap();
    let name = |item: &Item| {
        let name = item.entry.path.name().unwrap().to_vec();
        String::from_utf8(name).unwrap()
    };
    let listing = list(&mut layer, &snapshots[0], &below).unwrap();
    let names: Vec<String> = listing.items.iter().map(name).collect();
    assert_eq!(names, ["source", "a", "folder"]);
    let mut walked = |path: &TreePath| {
        let mut names = Vec::new();
        let damage = walk(&mut layer, &snapshots[0], path, &mut |item| {
            names.push(name(&item));
            ControlFlow::Continue(())
        });
        assert!(damage.unwrap().is_none());
        names
    };
    assert_eq!(walked(&below), ["source", "a", "folder", "b"]);
    let nowhere = TreePath::new("nowhere").unwrap();
    assert!(walked(&nowhere).is_empty());
}
