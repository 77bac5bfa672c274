//! Every object in the golden repositories, read without the help of a repository.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use borg::{
    Archive, BadTam, Buffer, ChunkRef, Encryption, Id, Item, ItemReader, Key, Manifest, Opener,
    Passphrase, Sealed,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

fn cases() -> Vec<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata"))
        .iter()
        .filter(|release| release.is_dir())
        .flat_map(|release| folders(release))
        .collect()
}

/// What the last commit left: the entries of all segments in their order.
fn objects(repository: &Path) -> BTreeMap<Id, Vec<u8>> {
    let mut segments = BTreeMap::new();
    for directory in fs::read_dir(repository.join("data")).unwrap() {
        for segment in fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = segment.unwrap().path();
            let number: u32 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            segments.insert(number, fs::read(path).unwrap());
        }
    }
    let (mut committed, mut pending) = (BTreeMap::new(), BTreeMap::new());
    for segment in segments.values() {
        let mut rest = &segment[8..];
        while let Some((header, _)) = rest.split_first_chunk::<9>() {
            let size = u32::from_le_bytes(header[4..8].try_into().unwrap());
            let (entry, behind) = rest.split_at(usize::try_from(size).unwrap());
            let id = || Id(entry[9..41].try_into().unwrap());
            match header[8] {
                0 => drop(pending.insert(id(), entry[41..].to_vec())),
                1 => drop(pending.remove(&id())),
                _ => committed = pending.clone(),
            }
            rest = behind;
        }
    }
    committed
}

fn key(case: &Path, repository: &Path, manifest: &[u8]) -> Key {
    let encryption = Encryption::of_object(manifest).unwrap();
    let config = fs::read_to_string(repository.join("config")).unwrap();
    let id = config.lines().find_map(|line| line.strip_prefix("id = "));
    let id: Id = id.unwrap().parse().unwrap();
    if encryption == Encryption::None {
        return Key::plaintext(id);
    }
    let blob = match config.split_once("key = ") {
        // Up to the next line that is not indented.
        Some((_, behind)) => {
            let lines = behind.split_inclusive('\n').enumerate();
            lines
                .take_while(|(index, line)| *index == 0 || line.starts_with(['\t', ' ']))
                .map(|(_, line)| line)
                .collect()
        }
        None => borg::read_key_file(&case.join("key"), &id).unwrap(),
    };
    let passphrase = Passphrase::new(fs::read(case.join("passphrase")).unwrap());
    let key = Key::from_blob(encryption, &blob, &passphrase, false).unwrap();
    assert_eq!(key.repository_id(), id);
    key
}

fn open(key: &Key, objects: &BTreeMap<Id, Vec<u8>>, id: Id) -> Vec<u8> {
    let (mut opener, mut plain) = (Opener::new().unwrap(), Buffer::new());
    let sealed = Sealed {
        id,
        stored: &objects[&id],
        size_hint: None,
    };
    key.open(sealed, &mut opener, &mut plain).unwrap();
    plain.to_vec()
}

/// Bytes as the expectations have them: a character for each byte.
fn text(bytes: impl AsRef<[u8]>) -> Value {
    let text: String = bytes.as_ref().iter().copied().map(char::from).collect();
    text.into()
}

fn chunks(chunks: &[ChunkRef]) -> Value {
    let chunk = |chunk: &ChunkRef| json!([chunk.id.to_string(), chunk.size, chunk.csize]);
    chunks.iter().map(chunk).collect()
}

fn item_as_json(item: &Item, content: Option<Vec<u8>>) -> Value {
    let mut map = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), value);
        }
    };
    let name = |name: &Option<_>| Some(name.as_ref().map_or(Value::Null, text));
    let time = |time: Option<tree::Time>| time.map(|time| time.nanoseconds.into());
    put("path", Some(text(&item.path)));
    put("mode", Some(item.mode.into()));
    put("uid", item.uid.map(Into::into));
    put("gid", item.gid.map(Into::into));
    put("user", name(&item.user));
    put("group", name(&item.group));
    put("mtime", time(Some(item.mtime)));
    put("ctime", time(item.ctime));
    put("atime", time(item.atime));
    put("birthtime", time(item.birthtime));
    put("size", item.size.map(Into::into));
    put("chunks", item.chunks.as_deref().map(chunks));
    put("chunks_healthy", item.chunks_healthy.as_deref().map(chunks));
    put("source", item.source.as_ref().map(text));
    put("hardlink_master", item.hardlink_master.map(Into::into));
    put("rdev", item.rdev.map(Into::into));
    put("acl_access", item.acl_access.as_ref().map(text));
    put("acl_default", item.acl_default.as_ref().map(text));
    put("bsdflags", item.bsdflags.map(Into::into));
    put("part", item.part.map(Into::into));
    if !item.xattrs.is_empty() {
        let xattrs = item.xattrs.iter().map(|(name, value)| {
            let value = if value.is_empty() {
                Value::Null
            } else {
                text(value)
            };
            (text(name).as_str().unwrap().to_owned(), value)
        });
        put("xattrs", Some(Value::Object(xattrs.collect())));
    }
    let digest = |content| Id(Sha256::digest(content).into()).to_string();
    put("sha256", content.map(|content| digest(content).into()));
    map.into()
}

#[test]
fn golden_repositories_are_read_as_the_stock_program_reads_them() {
    let mut archives = 0;
    for case in cases() {
        let repository = case.join("repository");
        let objects = objects(&repository);
        let key = key(&case, &repository, &objects[&Id::MANIFEST]);
        let packed = open(&key, &objects, Id::MANIFEST);
        let (manifest, tam) = Manifest::open(&key, &packed, false).unwrap();
        // Older releases know fewer item keys, and list those only.
        let newest = case.parent().unwrap().ends_with("borg-1.4.5");
        if let borg::Tam::Verified { salt } = tam
            && newest
        {
            assert!(manifest.pack(&key, &salt).unwrap() == packed, "{case:?}");
        }
        let expected = fs::read_to_string(case.join("expected.jsonl")).unwrap();
        let mut expected = expected
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .peekable();
        while let Some(archive) = expected.next() {
            let name = archive["archive"].as_str().unwrap();
            let name: Vec<u8> = name.chars().map(|c| u8::try_from(c).unwrap()).collect();
            let entry = &manifest.archives[name.as_slice()];
            assert_eq!(entry.id.to_string(), archive["id"]);
            let packed = open(&key, &objects, entry.id);
            let (read, tam) = match Archive::open(&key, &packed, false) {
                Ok((read, tam)) if tam.is_verified() => (read, "verified"),
                Ok((read, _)) => (read, "none"),
                Err(BadTam::Wrong) => (Archive::read(&packed).unwrap(), "invalid"),
                Err(other) => panic!("{case:?}: {other}"),
            };
            assert_eq!(tam, archive["tam"], "{case:?}");
            let metadata = &archive["metadata"];
            assert_eq!(text(&read.name), metadata["name"]);
            assert_eq!(read.time.as_str(), metadata["time"]);
            assert_eq!(
                read.cmdline.iter().map(text).collect::<Value>(),
                metadata["cmdline"]
            );
            assert_eq!(
                read.totals.map(|totals| totals.size).into_value(),
                metadata["size"]
            );
            if let Ok((_, borg::Tam::Verified { salt })) = Archive::open(&key, &packed, true) {
                assert!(read.pack(&key, &salt) == packed, "{case:?}");
            }
            let mut reader = ItemReader::new();
            for id in &read.items {
                reader.push(&open(&key, &objects, *id));
                while let Some(encoded) = reader.next_encoded().unwrap() {
                    let item = Item::read(encoded).unwrap();
                    let mut again = Vec::new();
                    item.write(&mut again);
                    assert!(again == encoded, "{case:?}: {item:?}");
                    item.to_entry().unwrap();
                    let chunk = |chunk: &ChunkRef| open(&key, &objects, chunk.id);
                    let content = item.chunks.as_ref();
                    let content = content.map(|chunks| chunks.iter().flat_map(chunk).collect());
                    let expected = expected.next().unwrap();
                    assert_eq!(item_as_json(&item, content), expected, "{case:?}");
                }
            }
            reader.finish().unwrap();
            assert!(
                expected
                    .peek()
                    .is_none_or(|next| next["archive"].is_string())
            );
            archives += 1;
        }
        assert!(archives > 0);
    }
    assert!(archives > 100, "{archives}");
}

/// Absent is null.
trait IntoValue {
    fn into_value(self) -> Value;
}

impl IntoValue for Option<u64> {
    fn into_value(self) -> Value {
        self.map_or(Value::Null, Into::into)
    }
}
