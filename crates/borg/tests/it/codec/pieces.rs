//! Keys, objects, manifest, archives and items.

use std::collections::BTreeMap;

use borg::{
    Archive, ArchiveEntry, Buffer, ChunkRef, Compressor, Encryption, Fetched, Id, Item, ItemReader,
    Key, Manifest, Object, Opener, Operation, Passphrase, Sealed, SystemRandom, Tam, Timestamp,
    Totals,
};
use serde_json::{Value, json};
use testkit::stock_borg;

const PASSPHRASE: &str = "pässword";

fn repository_id() -> Id {
    Id(std::array::from_fn(|index| u8::try_from(index).unwrap()))
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn id(value: &Value) -> Id {
    value.as_str().unwrap().parse().unwrap()
}

fn open(key: &Key, id: Id, stored: &[u8]) -> Vec<u8> {
    let (mut opener, mut plain) = (Opener::new().unwrap(), Buffer::new());
    let size_hint = None;
    let sealed = Sealed {
        id,
        stored,
        size_hint,
    };
    key.open(sealed, &mut opener, &mut plain).unwrap();
    plain.to_vec()
}

fn seal(key: &Key, plain: &[u8], compression: &str, counter: u64) -> Vec<u8> {
    let mut compressor = Compressor::new(&compression.parse().unwrap(), SystemRandom).unwrap();
    let mut object = Object::new();
    key.pack(plain, &mut compressor, &mut object).unwrap();
    key.seal(&mut object, counter);
    object.stored().to_vec()
}

#[test]
fn what_stock_borg_writes_is_read() {
    let Some(stock) = stock_borg() else { return };
    let script = concat!(include_str!("borg_oracle.py"), include_str!("write.py"));
    let written: Value = serde_json::from_str(&stock.run_python(script, [""; 0])).unwrap();
    for encryption in Encryption::ALL {
        let written = &written[encryption.to_string()];
        let key = match written["blob"].as_str() {
            None => Key::plaintext(repository_id()),
            Some(blob) => {
                let passphrase = Passphrase::new(PASSPHRASE);
                Key::from_blob(encryption, blob, &passphrase, false).unwrap()
            }
        };
        assert_eq!(u64::from(key.chunk_seed()), written["chunk_seed"]);
        assert_eq!(key.tam_required(), encryption != Encryption::None);

        let objects = written["objects"].as_array().unwrap();
        let stored: Vec<Vec<u8>> = objects
            .iter()
            .map(|object| unhex(&object["stored"]))
            .collect();
        for (object, stored) in objects.iter().zip(&stored) {
            let plain = unhex(&object["plain"]);
            assert_eq!(key.id_hash(&plain), id(&object["id"]));
            let opened = open(&key, id(&object["id"]), stored);
            assert!(opened == plain, "{encryption}, {}", object["compression"]);
            assert_eq!(Encryption::of_object(stored), Ok(encryption));
        }
        let mut stored = stored;
        let mut fetched: Vec<Fetched<'_>> = objects
            .iter()
            .zip(&mut stored)
            .map(|(object, stored)| Fetched {
                id: id(&object["id"]),
                stored,
                size_hint: Some(7),
            })
            .collect();
        let opener = &mut Opener::new().unwrap();
        let mut count = 0;
        for batch in [&mut *fetched, &mut []] {
            key.open_many(batch, opener, |index, plain| {
                assert!(plain.unwrap() == unhex(&objects[index]["plain"]));
                count += 1;
            });
        }
        assert_eq!(count, objects.len());

        let stored_manifest = unhex(&written["stored_manifest"]);
        let packed = open(&key, Id::MANIFEST, &stored_manifest);
        assert_eq!(packed, unhex(&written["manifest"]));
        let (manifest, tam) = Manifest::open(&key, &packed, true).unwrap();
        let Tam::Verified { salt } = tam else {
            panic!("not verified")
        };
        assert!(
            manifest
                .archives
                .keys()
                .eq(&[b"b".as_slice(), b"n\xc3\xa4me\xff"])
        );
        assert_eq!(manifest.pack(&key, &salt).unwrap(), packed);
        assert!(manifest.check_features(Operation::Check).is_ok());

        for packed in written["archives"].as_array().unwrap() {
            let packed = unhex(packed);
            let (archive, tam) = Archive::open(&key, &packed, true).unwrap();
            let Tam::Verified { salt } = tam else {
                panic!("not verified")
            };
            assert_eq!(archive.name, b"n\xc3\xa4me\xff".as_slice());
            assert_eq!(archive.unknown_keys().count(), 0);
            assert!(archive.pack(&key, &salt) == packed, "{archive:?}");
            // Any byte of it changed, and it is not believed.
            let mut forged = packed;
            let at = forged.len() - 30;
            forged[at] ^= 1;
            assert!(Archive::open(&key, &forged, false).is_err());
        }
    }

    let mut reader = ItemReader::new();
    for packed in written["items"].as_array().unwrap() {
        let packed = unhex(packed);
        let item = Item::read(&packed).unwrap();
        let mut again = Vec::new();
        item.write(&mut again);
        assert!(again == packed, "{item:?}");
        assert_eq!(item.unknown_keys().count(), 0);
        // A stream that comes in pieces.
        let (mut pieces, mut found) = (packed.chunks(50_000), None);
        while found.is_none() {
            reader.push(pieces.next().unwrap());
            found = reader.next_item().unwrap();
        }
        assert_eq!(found, Some(item));
    }
    reader.finish().unwrap();
    for written in written["big_times"].as_array().unwrap() {
        let item = Item::read(&unhex(&written["packed"])).unwrap();
        let mtime: i128 = written["mtime"].as_str().unwrap().parse().unwrap();
        let nearest = mtime.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        assert_eq!(i128::from(item.mtime.nanoseconds), nearest);
    }
}

#[test]
fn what_is_written_is_read_by_stock_borg() {
    let Some(stock) = stock_borg() else { return };
    let noise = testkit::Random::new(5).noise(30_000);
    let text = b"a text that repeats itself, ".repeat(9000);
    let mut modes = serde_json::Map::new();
    for encryption in Encryption::ALL {
        let key = Key::generate(encryption, repository_id(), &mut SystemRandom).unwrap();
        let passphrase = Passphrase::new(PASSPHRASE);
        let blob = key.to_blob(&passphrase, &mut SystemRandom).unwrap();
        let mut objects = Vec::new();
        for compression in COMPRESSIONS {
            for plain in [b"x".as_slice(), &[0; 70_000], &noise, &text] {
                let counter = objects.len() as u64 * 100_000;
                objects.push(json!({
                    "compression": compression,
                    "plain": hex::encode(plain),
                    "id": key.id_hash(plain).to_string(),
                    "stored": hex::encode(seal(&key, plain, compression, counter)),
                }));
            }
        }
        let packed = manifest().pack(&key, &[9; 64]).unwrap();
        modes.insert(
            encryption.to_string(),
            json!({
                "blob": blob,
                "type": encryption.type_byte(),
                "chunk_seed": key.chunk_seed(),
                "objects": objects,
                "manifest": hex::encode(&packed),
                "stored_manifest": hex::encode(seal(&key, &packed, "lz4", 1 << 40)),
                "archive": hex::encode(archive().pack(&key, &[8; 64])),
            }),
        );
    }
    let items = items();
    let mut stream = Vec::new();
    for item in &items {
        item.write(&mut stream);
    }
    let ours = json!({
        "modes": modes,
        "items": hex::encode(&stream),
        "item_count": items.len(),
        "compressions": accepted::<borg::Compression>(&COMPRESSION_TEXTS),
        "chunker_params": accepted::<borg::ChunkerParams>(&CHUNKER_TEXTS),
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ours.to_string()).unwrap();
    let script = concat!(include_str!("borg_oracle.py"), include_str!("read.py"));
    stock.run_python(script, [file.path()]);
}

const COMPRESSIONS: [&str; 15] = [
    "none",
    "lz4",
    "zstd,1",
    "zstd,3",
    "zstd,22",
    "zlib,0",
    "zlib,6",
    "zlib,9",
    "lzma,0",
    "lzma,9",
    "auto,zstd",
    "auto,lzma,3",
    "obfuscate,3,zstd",
    "obfuscate,112,auto,zlib",
    "obfuscate,250,none",
];

const COMPRESSION_TEXTS: [&str; 17] = [
    "none",
    "lz4,3",
    "zstd, 3",
    "zstd,22",
    "zstd,23",
    "zstd,0",
    "zstd,",
    "zlib,9",
    "zlib,10",
    "lzma,9",
    "auto",
    "auto,lzma,6",
    "auto,lzma,6,7",
    "obfuscate,3",
    "obfuscate,123,zstd,3",
    "obfuscate,124,zstd,3",
    "lzo",
];

const CHUNKER_TEXTS: [&str; 16] = [
    "default",
    "19,23,21,4095",
    "buzhash,19,23,21,4095",
    "buzhash,19,23,21,4094",
    "buzhash,19,24,21,4095",
    "buzhash,5,23,21,4095",
    "buzhash,19,23,18,4095",
    "buzhash,19,23,21",
    "buzhash",
    "fixed",
    "fixed,64",
    "fixed,63",
    "fixed,20971479,20971479",
    "fixed,20971480",
    "fixed,4096,512,1",
    "rabin,19,23,21,4095",
];

fn accepted<T: std::str::FromStr>(texts: &[&str]) -> BTreeMap<String, bool> {
    texts
        .iter()
        .map(|text| ((*text).to_owned(), text.parse::<T>().is_ok()))
        .collect()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn manifest() -> Manifest {
    let mut manifest = Manifest::default();
    for name in [b"eins".as_slice(), b"zw\xffei"] {
        let entry = ArchiveEntry {
            id: Id([7; 32]),
            time: time("2026-01-02T03:04:05.678901"),
        };
        manifest.archives.insert(name.into(), entry);
    }
    manifest.advance("2026-02-03T04:05:06Z".parse().unwrap());
    manifest
}

fn archive() -> Archive {
    let mut archive = Archive::new(b"zw\xffei".as_slice(), time("2026-01-02T03:04:05.678901"));
    archive.time_end = Some(time("2026-01-02T03:04:07.000000"));
    archive.items = vec![Id([1; 32]), Id([2; 32])];
    archive.cmdline = vec!["ravelin".into(), b"\xfe".into()];
    archive.hostname = Some("here".into());
    archive.username = Some("me".into());
    archive.cwd = Some("/".into());
    archive.chunker_params = Some(borg::ChunkerParams::DEFAULT);
    archive.totals = Some(Totals {
        size: 1 << 40,
        csize: 300,
        nfiles: 3,
        ..Totals::default()
    });
    archive
}

fn items() -> Vec<Item> {
    let chunk = ChunkRef {
        id: Id([3; 32]),
        size: 300,
        csize: 70_000,
    };
    let file = Item {
        path: b"f\xff".into(),
        mode: 0o100_644,
        uid: Some(1000),
        gid: Some(u32::MAX - 1),
        user: Some("ada".into()),
        mtime: tree::Time { nanoseconds: 5 },
        chunks: Some(vec![chunk]),
        hardlink_master: Some(true),
        ..Item::default()
    };
    vec![
        file.clone(),
        Item {
            mtime: tree::Time {
                nanoseconds: i64::MAX,
            },
            ctime: Some(tree::Time {
                nanoseconds: i64::MIN,
            }),
            chunks: Some(vec![chunk; 70_000]),
            ..file.clone()
        },
        Item {
            xattrs: [
                (b"user.\xff".to_vec(), vec![]),
                (b"a".to_vec(), vec![0; 300]),
            ]
            .into(),
            acl_access: Some("user::rw-\ngroup::r--\nother::r--".into()),
            acl_default: Some("".into()),
            atime: Some(tree::Time { nanoseconds: 1 }),
            birthtime: Some(tree::Time { nanoseconds: 2 }),
            bsdflags: Some(7),
            size: Some(300),
            part: Some(1),
            rdev: Some(259),
            source: Some("x".into()),
            chunks_healthy: Some(vec![chunk]),
            ..file
        },
    ]
}
