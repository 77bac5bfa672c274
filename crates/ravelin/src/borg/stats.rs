//! Sizes of archives and of the whole repository, as tables and as JSON.

use std::env;

use borg::{Archive, Archives, Encryption, Id, RepositoryInfo, Totals};
use jiff::SignedDuration;
use serde_json::{Map, Value, json};

use super::arguments::Arguments;
use super::fail::Failure;
use super::session::Session;
use super::{print, text};

/// Refuses the options of two kinds of statistics at once.
pub(crate) fn only_one_kind(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.has("stats") && arguments.has("quick_stats") {
        return Err(Failure::command(
            "--stats and --quick-stats are mutually exclusive.",
        ));
    }
    Ok(())
}

/// Says that there are no statistics of what is only tried.
pub(crate) fn none_when_dry(session: &Session, arguments: &Arguments) {
    for (name, option) in [("quick_stats", "--quick-stats"), ("stats", "--stats")] {
        if arguments.has(name) {
            let text = format!("Ignoring {option}. It is not supported when using --dry-run.");
            session.log.notice(&text);
        }
    }
}

/// A line between two parts.
pub(crate) fn dashes() -> String {
    "-".repeat(78)
}

/// Over the columns of sizes.
pub(crate) const HEADER: &str =
    "                       Original size      Compressed size    Deduplicated size";

/// Largest size of an archive object: `MAX_DATA_SIZE` in Borg 1.4's `constants.py`.
const OBJECT_SIZE_MAX: f64 = 20_971_479.0;

/// A line of sizes.
pub(crate) fn row(session: &Session, label: &str, sizes: [i64; 3]) -> String {
    let [a, b, c] = sizes.map(|size| text::signed_size(size, session.iec).replace('+', ""));
    format!("{label:<15} {a:>20} {b:>20} {c:>20}")
}

/// A number that is far from its limit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The lines about everything in a repository.
pub(crate) fn repository_rows(session: &Session, info: &RepositoryInfo) -> String {
    let sizes = [info.total_size, info.total_csize, info.unique_csize].map(signed);
    format!(
        "{}\n\n                       Unique chunks         Total chunks\nChunk index:    {:20} {:20}",
        row(session, "All archives:", sizes),
        info.unique_chunks,
        info.total_chunks
    )
}

/// What `--json` says about every repository.
pub(crate) fn repository_json(archives: &Archives) -> Map<String, Value> {
    let modified = archives
        .manifest()
        .timestamp
        .as_ref()
        .map(|time| text::iso_micros(time.instant()));
    let mut encryption = json!({"mode": archives.encryption().to_string()});
    if let (Some(file), Some(encryption)) = (archives.key_file(), encryption.as_object_mut()) {
        encryption.insert("keyfile".into(), file.display().to_string().into());
    }
    let backend = archives.backend();
    let mut data = Map::new();
    data.insert("encryption".into(), encryption);
    data.insert(
        "repository".into(),
        json!({
            "id": backend.id().to_string(),
            "last_modified": modified,
            "location": backend.location().to_string(),
        }),
    );
    data
}

/// What `--json` says about the cache.
pub(crate) fn cache_json(session: &Session, archives: &Archives, info: &RepositoryInfo) -> Value {
    json!({
        "path": session.home.cache_of(&archives.backend().id()).display().to_string(),
        "stats": {
            "total_chunks": info.total_chunks,
            "total_csize": info.total_csize,
            "total_size": info.total_size,
            "total_unique_chunks": info.unique_chunks,
            "unique_csize": info.unique_csize,
            "unique_size": info.unique_size,
        },
    })
}

/// An archive and what is to be told about it.
pub(crate) struct Told<'a> {
    pub(crate) archive: &'a Archive,
    pub(crate) id: Id,
    pub(crate) totals: Totals,
    pub(crate) unique_csize: u64,
    pub(crate) object_size: u64,
}

impl Told<'_> {
    fn duration(&self) -> SignedDuration {
        let end = self.archive.time_end.as_ref().unwrap_or(&self.archive.time);
        end.instant().duration_since(self.archive.time.instant())
    }

    fn sizes(&self) -> [i64; 3] {
        [self.totals.size, self.totals.csize, self.unique_csize].map(signed)
    }

    /// How much of the largest size the archive object takes.
    fn share(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let size = self.object_size as f64;
        size / OBJECT_SIZE_MAX
    }

    /// The line of its sizes.
    pub(crate) fn row(&self, session: &Session) -> String {
        row(session, "This archive:", self.sizes())
    }

    /// What `create --stats` says.
    pub(crate) fn summary(&self, repository: &str) -> String {
        let archive = self.archive;
        let end = archive.time_end.as_ref().unwrap_or(&archive.time);
        format!(
            "Repository: {repository}\nArchive name: {}\nArchive fingerprint: {}\nTime (start): {}\nTime (end):   {}\nDuration: {}\nNumber of files: {}\nUtilization of max. archive size: {:.0}%",
            text::path(&archive.name),
            self.id,
            text::time(archive.time.instant()),
            text::time(end.instant()),
            text::duration(self.duration()),
            self.totals.nfiles,
            self.share() * 100.0
        )
    }

    /// What `info` says.
    pub(crate) fn description(&self) -> String {
        let archive = self.archive;
        let end = archive.time_end.as_ref().unwrap_or(&archive.time);
        let said = |value: &Option<bstr::BString>| {
            value
                .as_ref()
                .map(|value| text::path(value))
                .unwrap_or_default()
        };
        format!(
            "Archive name: {}\nArchive fingerprint: {}\nComment: {}\nHostname: {}\nUsername: {}\nWorking Directory: {}\nTime (start): {}\nTime (end): {}\nDuration: {}\nNumber of files: {}\nCommand line: {}\nUtilization of maximum supported archive size: {:.0}%",
            text::path(&archive.name),
            self.id,
            said(&archive.comment),
            said(&archive.hostname),
            said(&archive.username),
            said(&archive.cwd),
            text::time(archive.time.instant()),
            text::time(end.instant()),
            text::duration(self.duration()),
            self.totals.nfiles,
            text::quoted(&archive.cmdline),
            self.share() * 100.0
        )
    }

    /// The same as JSON; with what only `info` says.
    pub(crate) fn json(&self, is_info: bool) -> Value {
        let archive = self.archive;
        let words = |words: &[bstr::BString]| -> Vec<String> {
            words.iter().map(|word| text::path(word)).collect()
        };
        let said = |value: &Option<bstr::BString>| {
            value
                .as_ref()
                .map(|value| text::path(value))
                .unwrap_or_default()
        };
        let end = archive.time_end.as_ref().unwrap_or(&archive.time);
        let mut value = json!({
            "name": text::path(&archive.name),
            "id": self.id.to_string(),
            "start": text::iso_micros(archive.time.instant()),
            "end": text::iso_micros(end.instant()),
            "duration": self.duration().as_secs_f64(),
            "stats": {
                "original_size": self.totals.size,
                "compressed_size": self.totals.csize,
                "deduplicated_size": self.unique_csize,
                "nfiles": self.totals.nfiles,
            },
            "limits": {"max_archive_size": self.share()},
            "command_line": words(&archive.cmdline),
        });
        if let (true, Some(value)) = (is_info, value.as_object_mut()) {
            value.insert("hostname".into(), said(&archive.hostname).into());
            value.insert("username".into(), said(&archive.username).into());
            value.insert("comment".into(), said(&archive.comment).into());
            value.insert("cwd".into(), said(&archive.cwd).into());
            let params = archive.chunker_params.map(chunker_json);
            value.insert("chunker_params".into(), params.into());
        }
        value
    }
}

fn chunker_json(params: borg::ChunkerParams) -> Value {
    match params {
        borg::ChunkerParams::Buzhash {
            min_exponent,
            max_exponent,
            mask_bits,
            window,
        } => json!(["buzhash", min_exponent, max_exponent, mask_bits, window]),
        borg::ChunkerParams::Fixed {
            block_size,
            header_size,
        } => json!(["fixed", block_size, header_size]),
    }
}

/// How a mode is called in sentences.
pub(crate) fn key_name(encryption: Encryption) -> &'static str {
    match encryption {
        Encryption::None => "plaintext",
        Encryption::Authenticated => "authenticated",
        Encryption::AuthenticatedBlake2 => "authenticated BLAKE2b",
        Encryption::Repokey => "repokey",
        Encryption::RepokeyBlake2 => "repokey BLAKE2b",
        Encryption::Keyfile => "key file",
        Encryption::KeyfileBlake2 => "key file BLAKE2b",
    }
}

/// Prints JSON with sorted keys, indented as `BORG_JSON_INDENT` says.
pub(crate) fn print_json(value: &Value) -> Result<(), Failure> {
    let value = sorted(value);
    let indent = match env::var("BORG_JSON_INDENT") {
        Err(_) => Some("    ".to_owned()),
        Ok(text) if text.eq_ignore_ascii_case("none") => None,
        Ok(text) => match text.parse::<usize>() {
            Ok(width) => Some(" ".repeat(width.min(80))),
            Err(_) => Some(text),
        },
    };
    let mut out = Vec::new();
    match indent {
        None => out = value.to_string().into_bytes(),
        Some(indent) => {
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            let mut writer = serde_json::Serializer::with_formatter(&mut out, formatter);
            serde::Serialize::serialize(&value, &mut writer)
                .map_err(|error| Failure::error(error.to_string()))?;
        }
    }
    out.push(b'\n');
    print(&out)
}

/// With its keys in order.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<(&String, &Value)> = map.iter().collect();
            keys.sort_by_key(|(key, _)| *key);
            let keys = keys.into_iter();
            Value::Object(
                keys.map(|(key, value)| (key.clone(), sorted(value)))
                    .collect(),
            )
        }
        Value::Array(values) => Value::Array(values.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
