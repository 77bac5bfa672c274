//! `borg list`: the archives of a repository, or the files of an archive.

use std::collections::HashMap;
use std::io::{BufWriter, Write};

use borg::{Access, Archive, Archives, ChunkReader, ChunkRef, Chunks, Id, Item, Tam};
use bstr::BString;
use serde_json::{Map, Value as Json, json};

use super::arguments::Arguments;
use super::fail::Failure;
use super::items::is_further_name;
use super::matcher::Matcher;
use super::pick::Pick;
use super::session::Session;
use super::template::{Template, Value, character};
use super::{printing, stats, text};

const TIME: &str = "%a, %Y-%m-%d %H:%M:%S";

/// Keys of files, in the order of JSON.
const ITEM_KEYS: &[&str] = &[
    "type",
    "mode",
    "user",
    "group",
    "uid",
    "gid",
    "path",
    "healthy",
    "source",
    "linktarget",
    "flags",
];

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.spot(arguments)?;
    if let Some(name) = &spot.archive {
        if arguments.has("json") {
            return Err(Failure::command(
                "The --json option is only valid for listing archives, not archive contents.",
            ));
        }
        let archives = session.open(&spot, Access::Read)?;
        return list_files(session, arguments, &archives, name);
    }
    if arguments.has("json_lines") {
        return Err(Failure::command(
            "The --json-lines option is only valid for listing archive contents, not archives.",
        ));
    }
    let pick = Pick::of(session, arguments)?;
    let archives = session.open(&spot, Access::Read)?;
    list_archives(session, arguments, &archives, &pick)
}

fn parse(pattern: &str) -> Result<Template, Failure> {
    Template::parse(pattern).map_err(|what| Failure::usage(format!("argument --format: {what}")))
}

/// An unknown key in a format.
fn unknown(key: String, known: &str) -> Failure {
    let message = format!("Invalid key \"{key}\" in the format (known: {known})");
    Failure::new(6, "InvalidPlaceholder", message)
}

/// A value, or a failure with a key.
enum Trouble {
    Key(String),
    Failure(Failure),
}

impl From<String> for Trouble {
    fn from(key: String) -> Self {
        Self::Key(key)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

fn list_archives(
    session: &Session,
    arguments: &Arguments,
    archives: &Archives,
    pick: &Pick,
) -> Result<(), Failure> {
    let format = match arguments.text("format") {
        Some(format) => format,
        None if arguments.has("short") => "{archive}{NL}".into(),
        None => "{archive:<36} {time} [{id}]{NL}".into(),
    };
    let template = parse(&format)?;
    let mut list = Vec::new();
    let mut output = BufWriter::new(std::io::stdout().lock());
    for (name, entry) in pick.choose(archives) {
        let mut row = ArchiveRow {
            archives,
            name: &name,
            entry: &entry,
            loaded: None,
        };
        if arguments.has("json") {
            list.push(row.json(&template)?);
            continue;
        }
        let line = template.fill(|key| row.value(key)).map_err(|trouble| match trouble {
            Trouble::Failure(failure) => failure,
            Trouble::Key(key) => unknown(key, "archive, name, barchive, comment, bcomment, id, start, time, end, command_line, hostname, username, tam"),
        })?;
        output.write_all(&line).map_err(printing)?;
    }
    output.flush().map_err(printing)?;
    drop(output);
    if arguments.has("json") {
        let mut data = stats::repository_json(archives);
        data.insert("archives".into(), list.into());
        stats::print_json(&Json::Object(data))?;
    }
    let _ = session;
    Ok(())
}

/// One archive of a list, loaded when more than its name is asked for.
struct ArchiveRow<'a> {
    archives: &'a Archives,
    name: &'a BString,
    entry: &'a borg::ArchiveEntry,
    loaded: Option<(Archive, Tam)>,
}

impl ArchiveRow<'_> {
    fn load(&mut self) -> Result<&(Archive, Tam), Failure> {
        if self.loaded.is_none() {
            let (archive, _, tam) = self.archives.archive_with_tam(self.name)?;
            self.loaded = Some((archive, tam));
        }
        self.loaded
            .as_ref()
            .ok_or_else(|| Failure::no_archive(self.name))
    }

    fn value(&mut self, key: &str) -> Result<Option<Value>, Trouble> {
        let said = |value: &Option<BString>| value.clone().unwrap_or_default();
        Ok(Some(match key {
            "archive" | "name" => Value::text(text::path(self.name)),
            "barchive" => Value::Bytes(self.name.to_vec()),
            "id" => Value::text(self.entry.id.to_string()),
            "time" | "start" => Value::Time(text::local(self.entry.time.instant()), TIME),
            "end" => {
                let (archive, _) = self.load()?;
                let end = archive.time_end.as_ref().unwrap_or(&archive.time);
                Value::Time(text::local(end.instant()), TIME)
            }
            "comment" => Value::text(text::path(&said(&self.load()?.0.comment))),
            "bcomment" => Value::Bytes(said(&self.load()?.0.comment).to_vec()),
            "hostname" => Value::text(text::path(&said(&self.load()?.0.hostname))),
            "username" => Value::text(text::path(&said(&self.load()?.0.username))),
            "command_line" => Value::text(text::quoted(&self.load()?.0.cmdline)),
            "tam" => Value::text(match self.load()?.1 {
                Tam::Absent => "none",
                Tam::Verified { .. } => "verified",
            }),
            key => return Ok(character(key)),
        }))
    }

    fn json(&mut self, template: &Template) -> Result<Json, Failure> {
        let time = text::iso(self.entry.time.instant());
        let name = text::path(self.name);
        let mut map = Map::new();
        for key in ["archive", "barchive", "name"] {
            map.insert(key.into(), name.clone().into());
        }
        map.insert("id".into(), self.entry.id.to_string().into());
        for key in ["start", "time"] {
            map.insert(key.into(), time.clone().into());
        }
        for key in template.keys() {
            let value: Json = match key {
                "end" => {
                    let (archive, _) = self.load()?;
                    let end = archive.time_end.as_ref().unwrap_or(&archive.time);
                    text::iso(end.instant()).into()
                }
                "command_line" => {
                    let words = self.load()?.0.cmdline.iter();
                    words
                        .map(|word| text::path(word))
                        .collect::<Vec<_>>()
                        .into()
                }
                "comment" | "bcomment" | "hostname" | "username" | "tam" => match self.value(key) {
                    Ok(Some(Value::Text(text))) => text.into(),
                    Ok(Some(Value::Bytes(bytes))) => text::path(&bytes).into(),
                    Ok(_) | Err(Trouble::Key(_)) => continue,
                    Err(Trouble::Failure(failure)) => return Err(failure),
                },
                _ => continue,
            };
            map.insert(key.into(), value);
        }
        Ok(Json::Object(map))
    }
}

fn list_files(
    session: &Session,
    arguments: &Arguments,
    archives: &Archives,
    name: &str,
) -> Result<(), Failure> {
    let matcher = Matcher::of(arguments)?;
    let format = match arguments.text("format") {
        Some(format) => format,
        None if arguments.has("short") => "{path}{NL}".into(),
        None => "{mode} {user:6} {group:6} {size:8} {mtime} {path}{extra}{NL}".into(),
    };
    let template = parse(&format)?;
    let needs = |keys: &[&str]| template.keys().any(|key| keys.contains(&key));
    let (archive, id, _) = archives.archive_with_tam(name.as_bytes())?;
    let chunks = match needs(&["dsize", "dcsize", "unique_chunks"]) {
        true => Some(archives.chunks(session.host())?),
        false => None,
    };
    let mut row = ItemRow {
        name,
        id,
        chunks,
        reader: ChunkReader::new(archives)?,
    };
    let is_json = arguments.has("json_lines");
    let mut output = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
    let mut failed = None;
    let listed = archives.items(&archive, |item| {
        let mut step = || -> Result<(), Failure> {
            session.go_on()?;
            if item.part.is_some() && !session.shows_parts || !matcher.matches(&item.path) {
                return Ok(());
            }
            let line =
                match is_json {
                    true => row.json(&item, &template)?,
                    false => template
                        .fill(|key| row.value(&item, key))
                        .map_err(|trouble| match trouble {
                            Trouble::Failure(failure) => failure,
                            Trouble::Key(key) => unknown(key, "see `borg help list`"),
                        })?,
                };
            output.write_all(&line).map_err(printing)
        };
        step().map_err(|failure| {
            failed = Some(failure);
            borg::Error::Stopped
        })
    });
    match failed {
        Some(failure) => return Err(failure),
        None => listed?,
    }
    output.flush().map_err(printing)?;
    matcher.warn_of_unmatched(session);
    Ok(())
}

/// One file of a list.
struct ItemRow<'a> {
    name: &'a str,
    id: Id,
    chunks: Option<Chunks>,
    reader: ChunkReader<'a>,
}

impl ItemRow<'_> {
    fn value(&mut self, item: &Item, key: &str) -> Result<Option<Value>, Trouble> {
        let owner = |name: &Option<BString>, number: Option<u32>| match name {
            Some(name) if !name.is_empty() => Value::text(text::path(name)),
            _ => Value::text(number.unwrap_or(0).to_string()),
        };
        let chunks = item.chunks.as_deref().unwrap_or_default();
        let time = |time: Option<tree::Time>| {
            Value::Time(text::local(text::moment(time.unwrap_or(item.mtime))), TIME)
        };
        let iso = |time: Option<tree::Time>| {
            Value::text(text::iso_micros(text::moment(time.unwrap_or(item.mtime))))
        };
        let source = || {
            item.source
                .as_ref()
                .map(|source| text::path(source))
                .unwrap_or_default()
        };
        Ok(Some(match key {
            "type" => Value::text(text::mode(item.mode).get(..1).unwrap_or_default()),
            "mode" => Value::text(mode_of(item)),
            "user" => owner(&item.user, item.uid),
            "group" => owner(&item.group, item.gid),
            "uid" => Value::number(item.uid.unwrap_or(0)),
            "gid" => Value::number(item.gid.unwrap_or(0)),
            "path" => Value::text(text::path(&item.path)),
            "bpath" => Value::Bytes(item.path.to_vec()),
            "source" | "linktarget" => Value::text(source()),
            "extra" => Value::text(match (&item.source, is_further_name(item)) {
                (None, _) => String::new(),
                (Some(_), true) => format!(" link to {}", source()),
                (Some(_), false) => format!(" -> {}", source()),
            }),
            "flags" => Value::number(item.bsdflags.unwrap_or(0)),
            "health" => Value::text(if item.chunks_healthy.is_some() {
                "broken"
            } else {
                "healthy"
            }),
            "size" => Value::number(size_of(item)),
            "csize" => Value::number(
                chunks
                    .iter()
                    .map(|chunk| u64::from(chunk.csize))
                    .sum::<u64>(),
            ),
            "num_chunks" => Value::number(chunks.len()),
            "dsize" => Value::number(self.sum_unique(chunks, |chunk| chunk.size)),
            "dcsize" => Value::number(self.sum_unique(chunks, |chunk| chunk.csize)),
            "unique_chunks" => Value::number(self.sum_unique(chunks, |_| 1)),
            "mtime" => time(Some(item.mtime)),
            "ctime" => time(item.ctime),
            "atime" => time(item.atime),
            "isomtime" => iso(Some(item.mtime)),
            "isoctime" => iso(item.ctime),
            "isoatime" => iso(item.atime),
            "archivename" => Value::text(self.name),
            "archiveid" => Value::text(self.id.to_string()),
            key => match Hasher::named(key) {
                Some(hasher) => Value::text(self.hash(item, hasher)?),
                None => return Ok(character(key)),
            },
        }))
    }

    /// Sums over the chunks that no other file has.
    fn sum_unique(&self, list: &[ChunkRef], of: impl Fn(&ChunkRef) -> u32) -> u64 {
        let Some(known) = &self.chunks else {
            return 0;
        };
        let mut counts: HashMap<Id, u32> = HashMap::new();
        for chunk in list {
            *counts.entry(chunk.id).or_default() += 1;
        }
        list.iter()
            .filter(|chunk| {
                known.get(&chunk.id).map(|known| known.references) == counts.get(&chunk.id).copied()
            })
            .map(|chunk| u64::from(of(chunk)))
            .sum()
    }

    fn hash(&mut self, item: &Item, mut hasher: Hasher) -> Result<String, Failure> {
        let Some(chunks) = &item.chunks else {
            return Ok(String::new());
        };
        let mut result = Ok(());
        for chunk in chunks {
            self.reader.read_at_once(&[*chunk], |_, plain| match plain {
                Ok(plain) => hasher.update(plain),
                Err(error) => result = Err(error),
            });
        }
        result?;
        Ok(hasher.finish())
    }

    fn json(&mut self, item: &Item, template: &Template) -> Result<Vec<u8>, Failure> {
        let mut map = Map::new();
        for key in template
            .keys()
            .filter(|key| ["archivename", "archiveid"].contains(key))
        {
            if let Ok(Some(Value::Text(text))) = self.value(item, key) {
                map.insert(key.into(), text.into());
            }
        }
        let wanted = ITEM_KEYS.iter().copied().chain(template.keys());
        for key in wanted {
            if map.contains_key(key) || ["bpath", "extra", "health"].contains(&key) {
                continue;
            }
            let value = match key {
                "healthy" => json!(item.chunks_healthy.is_none()),
                _ if character(key).is_some() => continue,
                _ => match self.value(item, key) {
                    Ok(Some(Value::Text(text))) => text.into(),
                    Ok(Some(Value::Number(number))) => number.into(),
                    Ok(Some(Value::Bytes(bytes))) => text::path(&bytes).into(),
                    Ok(Some(Value::Time(time, _))) => {
                        text::strftime(time, "%Y-%m-%dT%H:%M:%S.%f").into()
                    }
                    Ok(None) => return Err(unknown(key.into(), "see `borg help list`")),
                    Err(Trouble::Key(key)) => return Err(unknown(key, "see `borg help list`")),
                    Err(Trouble::Failure(failure)) => return Err(failure),
                },
            };
            map.insert(key.into(), value);
        }
        let mut line = Json::Object(map).to_string().into_bytes();
        line.push(b'\n');
        Ok(line)
    }
}

/// Bytes of content. A symbolic link has as many as its target's name, as the stock program counts.
fn size_of(item: &Item) -> u64 {
    match (&item.chunks, item.size, &item.source) {
        (None, None, Some(source)) if !is_further_name(item) => source.len() as u64,
        _ => item.content_size(),
    }
}

fn mode_of(item: &Item) -> String {
    let mode = text::mode(item.mode);
    match is_further_name(item) {
        true => format!("h{}", mode.get(1..).unwrap_or_default()),
        false => mode,
    }
}

/// A checksum of content.
enum Hasher {
    Md5(md5::Md5),
    Sha1(sha1::Sha1),
    Sha224(sha2::Sha224),
    Sha256(sha2::Sha256),
    Sha384(sha2::Sha384),
    Sha512(sha2::Sha512),
    Blake2b(Box<blake2b_simd::State>),
    Xxh64(Box<xxhash_rust::xxh64::Xxh64>),
}

impl Hasher {
    fn named(name: &str) -> Option<Self> {
        use sha2::Digest as _;
        Some(match name {
            "md5" => Self::Md5(md5::Md5::new()),
            "sha1" => Self::Sha1(sha1::Sha1::new()),
            "sha224" => Self::Sha224(sha2::Sha224::new()),
            "sha256" => Self::Sha256(sha2::Sha256::new()),
            "sha384" => Self::Sha384(sha2::Sha384::new()),
            "sha512" => Self::Sha512(sha2::Sha512::new()),
            "blake2b" => Self::Blake2b(Box::new(blake2b_simd::State::new())),
            "xxh64" => Self::Xxh64(Box::new(xxhash_rust::xxh64::Xxh64::new(0))),
            _ => return None,
        })
    }

    fn update(&mut self, bytes: &[u8]) {
        use sha2::Digest as _;
        match self {
            Self::Md5(state) => state.update(bytes),
            Self::Sha1(state) => state.update(bytes),
            Self::Sha224(state) => state.update(bytes),
            Self::Sha256(state) => state.update(bytes),
            Self::Sha384(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
            Self::Blake2b(state) => {
                state.update(bytes);
            }
            Self::Xxh64(state) => state.update(bytes),
        }
    }

    fn finish(self) -> String {
        use sha2::Digest as _;
        match self {
            Self::Md5(state) => hex::encode(state.finalize()),
            Self::Sha1(state) => hex::encode(state.finalize()),
            Self::Sha224(state) => hex::encode(state.finalize()),
            Self::Sha256(state) => hex::encode(state.finalize()),
            Self::Sha384(state) => hex::encode(state.finalize()),
            Self::Sha512(state) => hex::encode(state.finalize()),
            Self::Blake2b(state) => state.finalize().to_hex().to_string(),
            Self::Xxh64(state) => format!("{:016x}", state.digest()),
        }
    }
}
