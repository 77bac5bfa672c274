//! Index, hints and integrity file: what the log says, ready for use.
//!
//! They belong to one transaction, whose number is in their names, and can be made again from
//! the log at any time. All three are written aside and synced; then the integrity file gets its
//! name, which is made durable before index and hints get theirs. So an index that is there has
//! its checksums beside it, whatever moment the power fails at; those of older transactions go
//! last. An index that is damaged or missing is only slow, never wrong.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use super::usage::Usage;
use crate::hash_index::HashIndex;
use crate::integrity::{Digests, Expected};
use crate::msgpack::{Malformed, Reader, Writer};
use crate::{Error, save_file};

const INTEGRITY_VERSION: u64 = 2;

/// An integrity file is a few hundred bytes. A larger one is not read.
const INTEGRITY_SIZE_MAX: u64 = 1 << 16;

/// Hints larger than this are made anew from the log.
const HINTS_SIZE_MAX: u64 = 1 << 32;

const INDEX: &str = "index";
const HINTS: &str = "hints";
const INTEGRITY: &str = "integrity";

/// The index of a repository: id → segment and offset.
pub(super) type Index = HashIndex<2>;

/// The newest transaction that has an index.
pub(super) fn newest_transaction(repository: &Path) -> Result<Option<u32>, Error> {
    let entries = fs::read_dir(repository).map_err(Error::io("list", repository))?;
    let mut newest = None;
    for entry in entries {
        let entry = entry.map_err(Error::io("list", repository))?;
        let transaction = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(INDEX)?.strip_prefix('.')?.parse().ok());
        // An empty file is what a power cut can make of one that was not synced.
        if transaction > newest && entry.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            newest = transaction;
        }
    }
    Ok(newest)
}

/// The index of a transaction. `None` when it is missing, damaged or cannot be read.
pub(super) fn load_index(repository: &Path, transaction: u32) -> Option<Index> {
    let expected = expected(repository, transaction, INDEX)?;
    let name = name(INDEX, transaction);
    Index::load(&repository.join(&name), &name, expected.as_ref()).ok()
}

/// The books of a transaction. `None` when they are missing, damaged or of another version.
pub(super) fn load_usage(repository: &Path, transaction: u32) -> Option<Usage> {
    let expected = expected(repository, transaction, HINTS)?;
    let name = name(HINTS, transaction);
    let hints = read_bounded(&repository.join(&name), HINTS_SIZE_MAX).ok()?;
    let digests = Digests::of(&name, &hints, None);
    if expected.is_some_and(|expected| !expected.allows(&digests)) {
        return None;
    }
    let mut usage = Usage::from_hints(&hints).ok()??;
    usage.forget_after(transaction);
    Some(usage)
}

/// Writes all three for a transaction whose commit is durable, and removes those of others.
pub(super) fn save(
    repository: &Path,
    transaction: u32,
    index: &mut Index,
    usage: &Usage,
    file_mode: u32,
) -> Result<(), Error> {
    let path =
        |kind: &str, suffix: &str| repository.join(format!("{}{suffix}", name(kind, transaction)));
    let create = |kind| {
        let aside = path(kind, ".tmp");
        // A killed process may have left one.
        let _ = fs::remove_file(&aside);
        save_file::create_new(&aside, file_mode).map_err(Error::io("create", aside))
    };
    let mut hints_file = create(HINTS)?;
    let mut index_file = create(INDEX)?;
    let mut integrity_file = create(INTEGRITY)?;
    let hints = usage.to_hints();
    let hints_digests = Digests::of(&name(HINTS, transaction), &hints, None);
    let hints_synced = |file: &mut File| {
        file.write_all(&hints)?;
        file.sync_data()
    };
    // The disk can take both at once.
    let (hints_result, index_result) = std::thread::scope(|scope| {
        let hints = scope.spawn(|| hints_synced(&mut hints_file));
        let index = index.save(&mut index_file, &name(INDEX, transaction));
        let hints = hints.join();
        (
            hints.unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))),
            index,
        )
    });
    hints_result.map_err(Error::io("write", path(HINTS, ".tmp")))?;
    let index_digests = index_result.map_err(Error::io("write", path(INDEX, ".tmp")))?;
    integrity_file
        .write_all(&integrity(&hints_digests, &index_digests))
        .and_then(|()| integrity_file.sync_data())
        .map_err(Error::io("write", path(INTEGRITY, ".tmp")))?;
    let sync = || save_file::sync_directory(repository).map_err(Error::io("sync", repository));
    let rename = |kind| {
        let target = path(kind, "");
        fs::rename(path(kind, ".tmp"), &target).map_err(Error::io("rename", target))
    };
    rename(INTEGRITY)?;
    sync()?;
    rename(HINTS)?;
    rename(INDEX)?;
    sync()?;
    remove_others(repository, Some(transaction))
}

/// Removes the files of other transactions than the one, half-written ones included.
pub(super) fn remove_others(repository: &Path, keep: Option<u32>) -> Result<(), Error> {
    let entries = fs::read_dir(repository).map_err(Error::io("list", repository))?;
    for entry in entries {
        let name = entry.map_err(Error::io("list", repository))?.file_name();
        let Some((kind, transaction)) = name.to_str().and_then(|name| name.split_once('.')) else {
            continue;
        };
        if [INDEX, HINTS, INTEGRITY].contains(&kind) && transaction.parse().ok() != keep {
            let path = repository.join(&name);
            fs::remove_file(&path).map_err(Error::io("remove", path))?;
        }
    }
    Ok(())
}

fn name(kind: &str, transaction: u32) -> String {
    format!("{kind}.{transaction}")
}

/// The digests of one of the files: the outer `None` when they cannot be had although they
/// should be there, the inner one when they never were, as in old repositories.
#[expect(
    clippy::option_option,
    reason = "three answers, and only the caller below"
)]
fn expected(repository: &Path, transaction: u32, kind: &str) -> Option<Option<Expected>> {
    let path = repository.join(name(INTEGRITY, transaction));
    match read_bounded(&path, INTEGRITY_SIZE_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(None),
        Err(_) => None,
        Ok(bytes) => parse_integrity(&bytes, kind).ok()?.map(Some),
    }
}

fn integrity(hints: &Digests, index: &Digests) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    writer.map(3);
    writer.raw("version");
    writer.unsigned(INTEGRITY_VERSION);
    writer.raw(HINTS);
    writer.raw(hints.to_json());
    writer.raw(INDEX);
    writer.raw(index.to_json());
    out
}

fn parse_integrity(bytes: &[u8], kind: &str) -> Result<Option<Expected>, Malformed> {
    let mut expected = None;
    let mut is_known = false;
    let mut reader = Reader::new(bytes);
    for _ in 0..reader.map()? {
        match reader.raw()? {
            b"version" => is_known = reader.unsigned()? == INTEGRITY_VERSION,
            key if key == kind.as_bytes() => expected = Expected::from_json(reader.raw()?),
            _ => reader.skip()?,
        }
    }
    reader.end()?;
    Ok(if is_known {
        expected
    } else {
        Some(Expected::Unknown)
    })
}

fn read_bounded(path: &Path, size_max: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.len() > size_max {
        return Err(io::Error::other("the file is too large"));
    }
    let mut bytes = Vec::new();
    file.take(size_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}
