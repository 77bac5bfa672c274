//! `borg debug …`: looks into a repository, for people who look for a mistake. What changes something
//! here does so without regard to archives.

use std::fs;
use std::path::Path;

use borg::{Access, Backend, Id, ItemReader, unpacked};
use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use super::fail::Failure;
use super::print;
use super::session::{Session, read_file};
use super::{VERSION, text};

pub(crate) fn info(_session: &Session, _arguments: &Arguments) -> Result<(), Failure> {
    let uname = rustix::system::uname();
    print(
        format!(
            "Platform: {} {} {} {}\nBorg: {VERSION}, spoken by ravelin {}\nPython: none, this program is written in Rust\nCRC implementation: crc32fast\n",
            uname.sysname().to_string_lossy(),
            uname.nodename().to_string_lossy(),
            uname.release().to_string_lossy(),
            uname.machine().to_string_lossy(),
            env!("CARGO_PKG_VERSION"),
        )
        .as_bytes(),
    )
}

fn done() -> Result<(), Failure> {
    print(b"Done.\n")
}

pub(crate) fn dump_archive_items(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let (spot, name) = session.archive(arguments)?;
    let archives = session.open(&spot, Access::Read)?;
    let archive = archives.archive(name.as_bytes())?;
    for (number, id) in archive.items.iter().enumerate() {
        session.go_on()?;
        let file = format!("{number:06}_{id}.items");
        print(format!("Dumping {file}\n").as_bytes())?;
        fs::write(file, &*archives.read(id)?)?;
    }
    done()
}

fn write_json(arguments: &Arguments, value: &Value) -> Result<(), Failure> {
    let path = arguments
        .os("path")
        .map(Path::new)
        .unwrap_or(Path::new("-"));
    let text = format!(
        "{}\n",
        serde_json::to_string_pretty(value).unwrap_or_default()
    );
    match path == Path::new("-") {
        true => print(text.as_bytes()),
        false => fs::write(path, text).map_err(|error| Failure::file(path, &error)),
    }
}

fn malformed(error: borg::Malformed) -> Failure {
    Failure::new(
        90,
        "IntegrityError",
        format!("Data integrity error: {error}"),
    )
}

pub(crate) fn dump_archive(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let (spot, name) = session.archive(arguments)?;
    let archives = session.open(&spot, Access::Read)?;
    let (archive, id, _) = archives.archive_with_tam(name.as_bytes())?;
    let entry = archives
        .list()
        .into_iter()
        .find(|(known, _)| *known == name.as_bytes());
    let time = entry.map(|(_, entry)| entry.time.as_str().to_owned());
    let mut items = Vec::new();
    let mut reader = ItemReader::new();
    for id in &archive.items {
        reader.push(&archives.read(id)?);
        while let Some(encoded) = reader.next_encoded().map_err(malformed)? {
            items.push(unpacked(encoded).map_err(malformed)?);
        }
    }
    let value = json!({
        "_name": name,
        "_manifest_entry": {"id": id.to_string(), "time": time},
        "_meta": unpacked(&archives.read(&id)?).map_err(malformed)?,
        "_items": items,
    });
    write_json(arguments, &value)
}

pub(crate) fn dump_manifest(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let archives = session.open(&spot, Access::Read)?;
    let value = unpacked(&archives.read(&Id::MANIFEST)?).map_err(malformed)?;
    write_json(arguments, &value)
}

pub(crate) fn dump_objects(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let segment: Option<u32> = match arguments.has("segment") {
        true => Some(arguments.number("segment", 0)?),
        false => None,
    };
    let offset: u32 = arguments.number("offset", 0)?;
    if arguments.has("ghost") {
        let backend = Backend::open(&spot.location, &session.options(Access::Read))?;
        let Backend::Local(repository) = &backend else {
            return Err(Failure::command(
                "--ghost needs a repository on this machine.",
            ));
        };
        let mut number = 0;
        let mut failed = None;
        repository.visit_log(|entry| {
            let is_wanted = segment.is_none_or(|segment| entry.at.segment == segment)
                && entry.at.offset >= offset;
            if is_wanted && failed.is_none() {
                let file = format!(
                    "{number:08}_{:08}_{:08}_{:?}_{}.obj",
                    entry.at.segment, entry.at.offset, entry.tag, entry.id
                );
                failed = fs::write(file, &entry.data).err();
                number += 1;
            }
            Ok(())
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        return done();
    }
    let archives = session.open(&spot, Access::Read)?;
    for (number, id) in archives.backend().ids()?.into_iter().enumerate() {
        session.go_on()?;
        fs::write(format!("{number:08}_{id}.obj"), &*archives.read(&id)?)?;
    }
    done()
}

/// Bytes to look for: `hex:…` or `str:…`.
fn wanted(typed: &str) -> Result<Vec<u8>, Failure> {
    let bad = || Failure::command("search term needs to be hex:123abc or str:foobar style");
    match typed.split_once(':') {
        Some(("hex", digits)) => hex::decode(digits).map_err(|_| bad()),
        Some(("str", text)) if !text.is_empty() => Ok(text.as_bytes().to_vec()),
        _ => Err(bad()),
    }
}

pub(crate) fn search_objects(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let wanted = wanted(&arguments.text("wanted").unwrap_or_default())?;
    let archives = session.open(&spot, Access::Read)?;
    for id in archives.backend().ids()? {
        session.go_on()?;
        let plain = archives.read(&id)?;
        let mut found = plain.windows(wanted.len()).enumerate();
        if let Some((offset, _)) = found.find(|(_, part)| *part == wanted) {
            print(
                format!(
                    "object {id}, offset {offset}: found {}\n",
                    text::path(&wanted)
                )
                .as_bytes(),
            )?;
        }
    }
    done()
}

pub(crate) fn id_hash(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let archives = session.open(&spot, Access::Read)?;
    let plain = read_file(Path::new(arguments.os("path").unwrap_or_default()))?;
    print(format!("{}\n", archives.id_hash(&plain)).as_bytes())
}

fn id_of(typed: &str) -> Result<Id, Failure> {
    typed
        .parse()
        .map_err(|_| Failure::command(format!("object id {typed} is invalid.")))
}

pub(crate) fn get_object(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let id = id_of(&arguments.text("id").unwrap_or_default())?;
    let repository = Backend::open(&spot.location, &session.options(Access::Read))?;
    let stored = repository.get(&id)?;
    let path = Path::new(arguments.os("path").unwrap_or_default());
    fs::write(path, stored).map_err(|error| Failure::file(path, &error))?;
    print(format!("object {id} fetched.\n").as_bytes())
}

pub(crate) fn put_object(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let id = id_of(&arguments.text("id").unwrap_or_default())?;
    let data = read_file(Path::new(arguments.os("path").unwrap_or_default()))?;
    let repository = Backend::open(&spot.location, &session.options(Access::Write))?;
    let mut entry = vec![0; borg::ENTRY_HEADER_SIZE];
    entry.extend_from_slice(&data);
    borg::frame_put(&mut entry, &id);
    let changes = repository.begin()?;
    changes.put_framed(&entry)?;
    changes.commit(session.now)?;
    print(format!("object {id} put.\n").as_bytes())
}

pub(crate) fn delete_objects(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let repository = Backend::open(&spot.location, &session.options(Access::Write))?;
    let changes = repository.begin()?;
    for typed in arguments.all("ids") {
        let typed = typed.to_string_lossy();
        let said = match typed.parse::<Id>() {
            Err(_) => format!("object id {typed} is invalid.\n"),
            Ok(id) => match changes.delete(&id) {
                Ok(()) => format!("object {id} deleted.\n"),
                Err(borg::Error::ObjectNotFound { .. }) => format!("object {id} not found.\n"),
                Err(error) => return Err(error.into()),
            },
        };
        print(said.as_bytes())?;
    }
    changes.commit(session.now)?;
    done()
}

pub(crate) fn count_references(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let archives = session.open(&spot, Access::Read)?;
    let chunks = archives.chunks(session.host())?;
    for typed in arguments.all("ids") {
        let typed = typed.to_string_lossy();
        let said = match typed.parse::<Id>() {
            Err(_) => format!("object id {typed} is invalid.\n"),
            Ok(id) => match chunks.get(&id) {
                Some(known) => format!(
                    "object {id} has {} referrers [info from chunks cache].\n",
                    known.references
                ),
                None => format!("object {id} not found [info from chunks cache].\n"),
            },
        };
        print(said.as_bytes())?;
    }
    Ok(())
}

pub(crate) fn dump_hints(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let backend = Backend::open(&spot.location, &session.options(Access::Read))?;
    let Backend::Local(repository) = &backend else {
        return Err(Failure::command(
            "The hints of a repository elsewhere cannot be seen.",
        ));
    };
    let transaction = repository.transaction().unwrap_or(0);
    let path = repository.path().join(format!("hints.{transaction}"));
    let hints = unpacked(&read_file(&path)?).map_err(malformed)?;
    let mut map = Map::new();
    map.insert("transaction".into(), transaction.into());
    map.insert("hints".into(), hints);
    write_json(arguments, &Value::Object(map))
}
