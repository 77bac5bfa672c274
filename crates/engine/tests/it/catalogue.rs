//! The catalogue knows what stands in the layers: filled by runs or read from them, whole or damaged.

use std::fs;
use std::path::PathBuf;

use ravelin_engine::catalogue::{Located, changed};
use ravelin_engine::{Catalogue, Glob, Layer, Wanted};
use testkit::Random;

use crate::workshop::{Workshop, wait_hours};

fn file(workshop: &Workshop) -> PathBuf {
    workshop.machine.places.cache.join("catalogue.sqlite")
}

fn find(workshop: &Workshop, typed: &str) -> Vec<Located> {
    let mut catalogue = Catalogue::open(&workshop.machine).unwrap();
    let pattern = Glob::new(typed.as_bytes());
    catalogue
        .find(&pattern, &workshop.config, &workshop.machine)
        .unwrap()
}

/// Reads what is missing; says how many snapshots that were.
fn catch_up(workshop: &Workshop) -> u64 {
    let mut catalogue = Catalogue::open(&workshop.machine).unwrap();
    let layers: Vec<_> = workshop.config.layers.iter().collect();
    let caught_up =
        workshop.with(|context, watch| catalogue.catch_up(&layers, context, watch).unwrap());
    let incomplete = catalogue.incomplete(&workshop.config, &workshop.machine);
    assert_eq!(incomplete.unwrap(), Vec::<&_>::new());
    caught_up.iter().map(|layer| layer.read).sum()
}

/// Where a path stands, as `layer: first last count` of each version.
fn stands(workshop: &Workshop, typed: &str) -> Vec<Vec<String>> {
    let found = find(workshop, typed);
    let [located] = &found[..] else {
        panic!("{found:?}");
    };
    let mut catalogue = Catalogue::open(&workshop.machine).unwrap();
    let (config, machine) = (&workshop.config, &workshop.machine);
    let of_path = catalogue.versions(&located.path, config, machine).unwrap();
    assert_eq!(of_path, located.versions);
    let none = located.path.join(b"none");
    assert_eq!(catalogue.versions(&none, config, machine).unwrap(), []);
    let versions = located.versions.iter().map(|version| {
        let layers = version.layers.iter();
        layers
            .map(|at| format!("{} {} {} {}", at.layer, at.first, at.last, at.snapshots))
            .collect()
    });
    versions.collect()
}

#[test]
fn a_version_is_found_in_all_layers_that_have_it() {
    let workshop = Workshop::new(&["disk", "offsite"]);
    workshop.write("letters/ada.txt", "one");
    workshop.back_up(&Wanted::All);
    wait_hours(1);
    workshop.back_up(&Wanted::Named(vec!["disk".to_owned()]));
    wait_hours(1);
    workshop.write("letters/ada.txt", "three");
    workshop.back_up(&Wanted::All);
    let names = |layer: &str| -> Vec<String> {
        let snapshots = workshop.snapshots(layer).into_iter();
        snapshots.map(|snapshot| snapshot.name).collect()
    };
    let (disk, offsite) = (names("disk"), names("offsite"));
    let mut expected = [
        vec![
            format!("disk {} {} 2", disk[0], disk[1]),
            format!("offsite {} {} 1", offsite[0], offsite[0]),
        ],
        vec![
            format!("disk {} {} 1", disk[2], disk[2]),
            format!("offsite {} {} 1", offsite[1], offsite[1]),
        ],
    ];
    let mut found = stands(&workshop, "ada");
    // Both were written within one second, perhaps: then they are in the order of their sizes.
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    // Nothing has to be read for that.
    assert_eq!(catch_up(&workshop), 0);
}

/// Files come, change, go and become folders, in a random order.
fn mutate(workshop: &Workshop, random: &mut Random) {
    for _ in 0..random.below(12) {
        let folder = ["", "a", "a/b", "a-b", "ü"][random.index(5)];
        let name = ["x", "report.txt", "Report.TXT", "b", "\u{1F980}crab"][random.index(5)];
        let path = workshop.source().join(folder).join(name);
        match random.below(4) {
            0 => {
                let _ = fs::remove_file(&path);
            }
            1 if path.is_dir() => {
                let _ = fs::remove_dir_all(&path);
            }
            1 => {
                let _ = fs::remove_file(&path);
                let _ = fs::create_dir_all(&path);
            }
            _ => {
                let above = path.parent().unwrap();
                if fs::create_dir_all(above).is_ok() && !path.is_dir() {
                    let _ = fs::write(&path, "x".repeat(random.index(50)));
                }
            }
        }
    }
}

#[test]
fn what_runs_have_filled_is_what_the_layers_hold() {
    for seed in 0..12 {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let workshop = Workshop::new(&["disk", "offsite"]);
        workshop.write("first", "one");
        for _ in 0..8 {
            mutate(&workshop, &mut random);
            let wanted = match random.below(3) {
                0 => Wanted::Named(vec!["offsite".to_owned()]),
                1 => Wanted::Named(vec!["disk".to_owned()]),
                _ => Wanted::All,
            };
            workshop.back_up(&wanted);
            wait_hours(1);
        }
        let filled = find(&workshop, "");
        assert!(filled.len() > 3, "{filled:?}");
        let mut catalogue = Catalogue::open(&workshop.machine).unwrap();
        catalogue.clear(&workshop.machine).unwrap();
        drop(catalogue);
        assert_eq!(find(&workshop, ""), []);
        let all = workshop.snapshots("disk").len() + workshop.snapshots("offsite").len();
        assert_eq!(catch_up(&workshop), all as u64);
        assert_eq!(find(&workshop, ""), filled, "seed {seed}");
        // The index finds what looking at every path would.
        for typed in [
            "report",
            "REPORT",
            "re",
            "*.txt",
            "*.TXT",
            "?",
            "a/b",
            "b/rep",
            "**/b/*",
            "crab",
            "ü",
            "[rR]eport*",
            "source/a",
            "source/a/*",
            "**/a/**",
            "b",
            "x",
            "XT",
            "nothing",
            "nothing/at/all",
        ] {
            let pattern = Glob::new(typed.as_bytes());
            let mut expected = filled.clone();
            expected.retain(|located| pattern.matches(&located.path));
            assert_eq!(find(&workshop, typed), expected, "seed {seed}: {typed}");
            // A limited one finds some of them, and knows whether it left any out.
            let mut catalogue = Catalogue::open(&workshop.machine).unwrap();
            for limit in [0, 1, 3, 10_000] {
                let (config, machine) = (&workshop.config, &workshop.machine);
                let some = catalogue.search(&pattern, Some(limit), config, machine);
                let some = some.unwrap();
                assert_eq!(
                    some.found.len(),
                    expected.len().min(limit),
                    "seed {seed}: {typed}"
                );
                assert_eq!(
                    some.has_more,
                    expected.len() > limit,
                    "seed {seed}: {typed}"
                );
                for located in &some.found {
                    assert!(expected.contains(located), "seed {seed}: {typed}");
                }
            }
        }
    }
}

#[test]
fn a_damaged_catalogue_is_thrown_away_and_made_anew() {
    let workshop = Workshop::new(&["disk"]);
    for number in 0..400 {
        workshop.write(&format!("folder-{}/file-{number}", number % 20), "x");
    }
    workshop.back_up(&Wanted::All);
    let before = find(&workshop, "");
    let whole = fs::read(file(&workshop)).unwrap();
    assert!(whole.len() > 16_384, "{}", whole.len());
    let garbage = |from: usize, to: usize| {
        let mut bytes = whole.clone();
        bytes[from..to].fill(0x5a);
        bytes
    };
    let damaged = [
        b"no database".to_vec(),
        Vec::new(),
        whole[..whole.len() / 2].to_vec(),
        garbage(0, 100),
        garbage(4096, 8192),
        garbage(8192, whole.len()),
    ];
    for (number, bytes) in damaged.into_iter().enumerate() {
        for ending in ["-wal", "-shm"] {
            let mut beside = file(&workshop).into_os_string();
            beside.push(ending);
            let _ = fs::remove_file(beside);
        }
        fs::write(file(&workshop), bytes).unwrap();
        // Nothing fails, and the next backup does neither.
        workshop.write("new", &number.to_string());
        let _ = find(&workshop, "file-7");
        wait_hours(1);
        workshop.back_up(&Wanted::All);
        let mut catalogue = Catalogue::open(&workshop.machine).unwrap();
        catalogue.check(&workshop.machine).unwrap();
        drop(catalogue);
        catch_up(&workshop);
        let mut after = find(&workshop, "");
        after.retain(|located| !located.path.to_string().ends_with("new"));
        assert_eq!(after.len(), before.len(), "case {number}");
    }
}

#[test]
fn where_no_file_can_be_had_it_is_in_memory() {
    let workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    fs::create_dir_all(workshop.machine.places.cache.parent().unwrap()).unwrap();
    fs::write(&workshop.machine.places.cache, "no folder").unwrap();
    let report = workshop.back_up(&Wanted::All);
    assert_eq!(report.outcome, ravelin_engine::Outcome::Good);
    let mut catalogue = Catalogue::open(&workshop.machine).unwrap();
    let layers: Vec<_> = workshop.config.layers.iter().collect();
    let read = workshop.with(|context, watch| catalogue.catch_up(&layers, context, watch).unwrap());
    assert_eq!(read[0].read, 1);
    let pattern = Glob::new(b"a");
    let found = catalogue.find(&pattern, &workshop.config, &workshop.machine);
    assert!(!found.unwrap().is_empty());
}

#[test]
fn what_only_deleted_snapshots_held_is_forgotten() {
    let workshop = Workshop::new(&["disk"]);
    let disk = &workshop.config.layers[0];
    for number in 0..30 {
        workshop.write(&format!("only-{number}"), "x");
        workshop.write("always", "x");
        workshop.back_up(&Wanted::All);
        fs::remove_file(workshop.source().join(format!("only-{number}"))).unwrap();
        wait_hours(1);
    }
    assert_eq!(find(&workshop, "only-7").len(), 1);
    // Twenty-five go: enough to clean up after them.
    let kept: Vec<_> = workshop.snapshots("disk").split_off(25);
    let mut catalogue = Catalogue::open(&workshop.machine).unwrap();
    catalogue.know(disk, &kept, &workshop.machine).unwrap();
    assert_eq!(find(&workshop, "only-7"), []);
    assert_eq!(find(&workshop, "only-27").len(), 1);
    let (first, last) = (&kept[0].name, &kept[4].name);
    let always = stands(&workshop, "always").pop().unwrap();
    assert!(
        always[0].starts_with("disk ") && always[0].contains(last.as_str()),
        "{always:?}"
    );
    assert!(find(&workshop, "always")[0].versions.len() <= 5, "{first}");
    let holdings = catalogue.holdings(&workshop.machine).unwrap();
    assert_eq!((holdings.snapshots, holdings.missing), (5, 0));
    assert!(holdings.paths < 20, "{holdings:?}");
    // The layer says what it really has: the others are read again.
    let mut memory = workshop.memory("disk");
    changed(disk, &[], &mut memory as &mut dyn Layer, &workshop.machine);
    assert_eq!(catch_up(&workshop), 25);
    assert_eq!(find(&workshop, "only-7").len(), 1);
}

#[test]
fn a_layer_that_moved_to_another_store_begins_anew() {
    let mut workshop = Workshop::new(&["disk"]);
    workshop.write("a", "one");
    workshop.back_up(&Wanted::All);
    assert_eq!(find(&workshop, "a").len(), 1);
    workshop.config.layers[0].store.push_str("-elsewhere");
    assert_eq!(find(&workshop, "a"), []);
    assert_eq!(catch_up(&workshop), 1);
    assert_eq!(find(&workshop, "a").len(), 1);
}
