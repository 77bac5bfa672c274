//! Archives that were made to harm: each thing is refused by name, its neighbours are restored.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use duplicity::snapshot::{Problem, ProblemKind};
use duplicity::tar::{TarHeader, TarKind, write_end, write_header};
use duplicity::{
    Error, FileName, Hash, Item, Manifest, Part, Position, Protection, SetKind, Suffix, VolumeInfo,
};
use ravelin_duplicity as duplicity;
use tree::TreePath;

use crate::support::{Place, at, in_archive};

type Member = (TarHeader, Vec<u8>);

fn file(name: &str, data: &[u8]) -> Member {
    let header = TarHeader {
        mode: 0o644,
        size: data.len() as u64,
        ..TarHeader::new(name.into(), TarKind::File)
    };
    (header, data.to_vec())
}

fn root() -> Member {
    (
        TarHeader {
            mode: 0o755,
            ..TarHeader::new(b"snapshot/./".to_vec(), TarKind::Directory)
        },
        Vec::new(),
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Puts a set of one volume, made of these members, into the store.
fn forge(place: &Place, set: SetKind, members: &[Member]) {
    put(place, set, &gzip(&tar_of(members)));
}

fn tar_of(members: &[Member]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (header, data) in members {
        write_header(&mut tar, header);
        tar.extend_from_slice(data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    let size = tar.len() as u64;
    write_end(&mut tar, size);
    tar
}

fn put(place: &Place, set: SetKind, volume: &[u8]) {
    put_all(place, set, &[volume]);
}

/// Puts a set into the store. By the manifest, anything can be in each of its volumes.
fn put_all(place: &Place, set: SetKind, volumes: &[&[u8]]) {
    let manifest = Manifest {
        volumes: (1..)
            .zip(volumes)
            .map(|(number, volume)| {
                fs::write(path_of(place, set, number), volume).unwrap();
                described(number, volume)
            })
            .collect(),
        ..Manifest::default()
    };
    let path = stored(place, set, Part::Manifest, Suffix::Plain);
    fs::write(path, manifest.to_bytes()).unwrap();
}

fn path_of(place: &Place, set: SetKind, number: u32) -> PathBuf {
    stored(place, set, Part::Volume { number }, Suffix::Gzip)
}

fn stored(place: &Place, set: SetKind, part: Part, suffix: Suffix) -> PathBuf {
    let name = FileName {
        set,
        part,
        suffix,
        partial: false,
    };
    place.path("store").join(name.to_string())
}

fn described(number: u32, volume: &[u8]) -> VolumeInfo {
    let mut hasher = store::Hasher::new(store::DigestKind::Sha1);
    hasher.update(volume);
    let store::Digest::Sha1(hash) = hasher.finish() else {
        unreachable!()
    };
    let position = |text: &str| Position {
        path: TreePath::new(text).unwrap(),
        block: None,
    };
    VolumeInfo {
        number,
        start: position(""),
        end: position("zzz"),
        hashes: vec![Hash::Sha1(hash)],
    }
}

fn full() -> SetKind {
    SetKind::Full { time: at(0) }
}

fn increment() -> SetKind {
    SetKind::Incremental {
        start: at(0),
        end: at(1),
    }
}

/// What is restored from a full set and, if there is one, an increment.
fn restored(members: &[Member], changes: &[Member]) -> (Vec<String>, Vec<String>) {
    let place = Place::new();
    forge(&place, full(), members);
    if !changes.is_empty() {
        forge(&place, increment(), changes);
    }
    let (found, problems) = in_archive(&place.archive(Protection::None), 9, "");
    (
        found.into_keys().filter(|path| path != ".").collect(),
        problems,
    )
}

#[test]
fn a_member_that_leads_elsewhere_is_refused() {
    for name in [
        "snapshot//etc/passwd",
        "snapshot/../x",
        "snapshot/b/../../x",
        "x",
        "snapshot/b\0c",
        "multivol_snapshot/b",
        "signature/b",
    ] {
        let (found, problems) = restored(
            &[
                root(),
                file("snapshot/a", b"1"),
                file(name, b"evil"),
                file("snapshot/c", b"2"),
            ],
            &[],
        );
        // A NUL ends a name in a plain header.
        if name.contains('\0') {
            assert_eq!(found, ["a", "b", "c"]);
        } else {
            assert_eq!(
                (found.len(), problems.len()),
                (2, 1),
                "{name:?} {problems:?}"
            );
        }
    }
}

#[test]
fn members_out_of_order_are_refused() {
    let members = [
        root(),
        file("snapshot/b", b"1"),
        file("snapshot/a", b"moved"),
        file("snapshot/b", b"again"),
        file("snapshot/c", b"2"),
    ];
    let (found, problems) = restored(&members, &[]);
    assert_eq!(found, ["b", "c"]);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_hard_link_and_an_unknown_type_are_refused() {
    let odd = |kind| {
        (
            TarHeader {
                link: b"/etc/passwd".to_vec(),
                ..TarHeader::new(b"snapshot/b".to_vec(), kind)
            },
            Vec::new(),
        )
    };
    for kind in [TarKind::HardLink, TarKind::Other(b'Z')] {
        let (found, problems) = restored(
            &[
                root(),
                file("snapshot/a", b"1"),
                odd(kind),
                file("snapshot/c", b"2"),
            ],
            &[],
        );
        assert_eq!(found, ["a", "c"]);
        assert_eq!(problems.len(), 1);
    }
}

#[test]
fn a_delta_that_does_not_fit_is_an_error_with_the_files_name() {
    let delta = |commands: &[u8]| [b"rs\x026".as_slice(), commands].concat();
    for bad in [
        delta(&[0x45, 0, 11, 0]),
        delta(&[[0x54].as_slice(), &[0x7f; 16], &[0]].concat()),
        delta(&[5, 1]),
        delta(&[]),
        delta(&[0x99]),
        b"junk".to_vec(),
        Vec::new(),
    ] {
        let (found, problems) = restored(
            &[
                root(),
                file("snapshot/a", b"1"),
                file("snapshot/b", b"0123456789"),
                file("snapshot/c", b"2"),
            ],
            &[file("diff/b", &bad)],
        );
        assert_eq!(found, ["a", "c"]);
        assert!(
            problems.len() == 1 && problems[0].contains('b'),
            "{problems:?}"
        );
    }
}

#[test]
fn a_delta_needs_a_file_to_change() {
    let good = b"rs\x026\x01x\0".to_vec();
    let folder = (
        TarHeader::new(b"snapshot/b/".to_vec(), TarKind::Directory),
        Vec::new(),
    );
    for base in [
        vec![root(), folder],
        vec![root()],
        vec![root(), file("diff/b", &good)],
    ] {
        let (found, problems) = restored(&base, &[file("diff/b", &good), file("snapshot/c", b"2")]);
        assert_eq!(found, ["c"]);
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

#[test]
fn blocks_with_a_gap_are_refused() {
    let block = |number: u32| file(&format!("multivol_snapshot/b/{number}"), &[7; 65_536]);
    let place = Place::new();
    forge(
        &place,
        full(),
        &[root(), block(1), block(3), file("snapshot/c", b"2")],
    );
    let (found, problems) = in_archive(&place.archive(Protection::None), 9, "");
    assert!(found.contains_key("c"));
    assert_eq!(problems.len(), 1);
}

/// Why volumes of the only chain cannot be used, in the order in which a restore meets them.
fn damaged_volumes(place: &Place) -> Vec<Error> {
    damaged_volumes_for(place, "")
}

/// The same for a restore of this path.
fn damaged_volumes_for(place: &Place, wanted: &str) -> Vec<Error> {
    let archive = place.archive(Protection::None);
    let collection = archive.collection(at(9)).unwrap();
    let mut snapshot = archive
        .snapshot(&collection.chains[0].sets, &TreePath::new(wanted).unwrap())
        .unwrap();
    let mut damage = Vec::new();
    while let Some(item) = snapshot.next().unwrap() {
        if let Item::Problem(Problem {
            source: ProblemKind::Volume(error),
            ..
        }) = item
        {
            damage.push(*error);
        }
    }
    damage
}

#[test]
fn a_long_name_bomb_is_refused_before_it_is_read() {
    let place = Place::new();
    let bomb = TarHeader {
        size: 4 << 30,
        ..TarHeader::new(b"././@LongLink".to_vec(), TarKind::Other(b'L'))
    };
    forge(&place, full(), &[root(), (bomb, Vec::new())]);
    let damage = damaged_volumes(&place);
    assert!(
        matches!(damage.as_slice(), [Error::Damaged { .. }]),
        "{damage:?}"
    );
}

#[test]
fn a_volume_that_is_not_the_one_of_the_manifest_is_not_looked_at() {
    let place = Place::new();
    forge(&place, full(), &[root(), file("snapshot/a", b"1")]);
    let volume = place
        .store_names()
        .into_iter()
        .find(|name| name.contains("vol1"))
        .unwrap();
    let path = place.path("store").join(volume);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damage = damaged_volumes(&place);
    assert!(
        matches!(damage.as_slice(), [Error::Hash { .. }]),
        "{damage:?}"
    );
    let (found, _) = in_archive(&place.archive(Protection::None), 9, "");
    assert!(found.is_empty());
}

#[test]
fn what_stood_before_the_wanted_in_a_volume_with_a_wrong_hash_never_was() {
    let forged: [&[Member]; 6] = [
        &[file("snapshot/a", b"x"), file("snapshot/b", b"forged")],
        &[file("snapshot/a", b"x"), file("deleted/b", b"")],
        &[file("snapshot/a", b"x"), file("snapshot/c", b"x")],
        &[file("snapshot/a", b"x")],
        &[file("snapshot/ab", b"x"), file("snapshot/aa", b"x")],
        &[file("snapshot/a", b"x"), file("nonsense", b"x")],
    ];
    for members in forged {
        let place = Place::new();
        forge(&place, full(), &[root(), file("snapshot/b", b"old")]);
        forge(&place, increment(), &[root(), file("snapshot/b", b"new")]);
        let mut other = vec![root()];
        other.extend_from_slice(members);
        fs::write(path_of(&place, increment(), 1), gzip(&tar_of(&other))).unwrap();
        let damage = damaged_volumes_for(&place, "b");
        assert!(
            matches!(damage.as_slice(), [Error::Hash { .. }]),
            "{damage:?}"
        );
        let (found, problems) = in_archive(&place.archive(Protection::None), 9, "b");
        assert_eq!(found["b"].content, b"old");
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}

#[test]
fn the_order_of_a_volume_with_a_wrong_hash_does_not_bind_the_next() {
    let place = Place::new();
    let first = gzip(&tar_of(&[root(), file("snapshot/a", b"1")]));
    let second = gzip(&tar_of(&[
        file("snapshot/aa", b"2"),
        file("snapshot/b", b"3"),
    ]));
    put_all(&place, full(), &[&first, &second]);
    let other = gzip(&tar_of(&[root(), file("snapshot/az", b"1")]));
    fs::write(path_of(&place, full(), 1), other).unwrap();
    let (found, problems) = in_archive(&place.archive(Protection::None), 9, "b");
    assert_eq!(found["b"].content, b"3");
    // That volume, and nothing about the order of the second.
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn a_set_from_the_future_does_not_become_the_newest() {
    let place = Place::new();
    forge(&place, full(), &[root(), file("snapshot/a", b"1")]);
    forge(
        &place,
        SetKind::Full {
            time: at(1_000_000),
        },
        &[root()],
    );
    let collection = place.archive(Protection::None).collection(at(9)).unwrap();
    assert_eq!(collection.times(), [at(0)]);
    assert_eq!(collection.future.len(), 1);
}
