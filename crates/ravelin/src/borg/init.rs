//! `borg init`

use std::path::Path;

use borg::{Archives, Encryption, Passphrase, RelatedSecrets, RepositoryOptions};
use serde_json::Value;

use super::arguments::Arguments;
use super::fail::Failure;
use super::session::{Session, read_file};
use super::stats::key_name;

/// Smallest quota: a smaller one leaves no room for one chunk and what belongs to it.
const QUOTA_MIN: u64 = 10_000_000;

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let Some(mode) = arguments.text("encryption") else {
        let message = "the following arguments are required: -e/--encryption";
        return Err(Failure::usage(message));
    };
    let encryption: Encryption = mode.parse().map_err(|_| {
        Failure::usage(format!(
            "argument -e/--encryption: invalid choice: '{mode}'"
        ))
    })?;
    let quota = arguments.read("storage_quota", quota)?;
    let related = arguments.os("import_related_secrets");
    let related = related
        .map(|path| related_secrets(Path::new(path)))
        .transpose()?;
    let mut id = [0; 32];
    engine::random::system(&mut id)?;
    let options = RepositoryOptions {
        append_only: arguments.has("append_only"),
        storage_quota: quota.unwrap_or(0),
        make_parents: arguments.has("make_parent_dirs"),
        umask: session.umask,
        ..RepositoryOptions::new(id)
    };
    session
        .log
        .info(&format!("Initializing repository at \"{}\"", spot.shown()));
    let passphrase = match encryption {
        Encryption::None => Passphrase::new(""),
        _ => session.new_passphrase()?,
    };
    let archives = Archives::create_related(
        &spot.location,
        &session.home,
        session.host(),
        (encryption, related.as_ref()),
        &passphrase,
        &options,
        session.now,
    )?;
    // The cache of an empty repository, so that nothing has to be counted the first time.
    archives.chunks(session.host())?;
    if encryption == Encryption::None {
        session.log.info("Encryption NOT enabled.");
        return Ok(());
    }
    if let Some(file) = archives.key_file() {
        let message = format!("Key in \"{}\" created.", file.display());
        session.log.info(&message);
    }
    session.log.notice(&format!(
        "\nIMPORTANT: to read this repository, both its key and its passphrase are needed.\n\
         The key is in {}.\nKeep a copy of it in a safe place: `borg key export`, with `--paper` to be printed.\n\
         Without it, or without the passphrase, nobody can read the repository any more.\n",
        match archives.key_file() {
            Some(_) => "a file of this machine",
            None => "the configuration of the repository",
        }
    ));
    Ok(())
}

/// Reads a size that a repository may not grow beyond.
pub(crate) fn quota(text: &str) -> Result<u64, String> {
    let bytes = borg::parse_size(text).ok_or_else(|| format!("invalid size: '{text}'"))?;
    match bytes >= QUOTA_MIN {
        true => Ok(bytes),
        false => Err("quota is too small; minimum is 10M".into()),
    }
}

fn related_secrets(path: &Path) -> Result<RelatedSecrets, Failure> {
    let bad = |what: &str| {
        Failure::command(format!(
            "{what} in related secrets file: {}",
            path.display()
        ))
    };
    let text = match path == Path::new("-") {
        true => std::io::read_to_string(std::io::stdin())?.into_bytes(),
        false => read_file(path)?,
    };
    let value: Value = serde_json::from_slice(&text).map_err(|_| bad("Invalid JSON"))?;
    if value.get("version").and_then(Value::as_u64) != Some(1) {
        return Err(bad("Unsupported version"));
    }
    let name = value.get("key_name").and_then(Value::as_str);
    let encryption = Encryption::ALL
        .into_iter()
        .find(|mode| Some(key_name(*mode)) == name)
        .ok_or_else(|| bad("Invalid key_name"))?;
    let id_key = value.get("id_key").and_then(Value::as_str);
    let id_key = id_key.and_then(|digits| hex::decode(digits).ok());
    let seed = value.get("chunk_seed").and_then(Value::as_i64);
    let seed = seed.and_then(|seed| {
        let signed = i32::try_from(seed).ok().map(i32::cast_unsigned);
        signed.or_else(|| u32::try_from(seed).ok())
    });
    Ok(RelatedSecrets {
        encryption,
        id_key: id_key.ok_or_else(|| bad("Invalid id_key"))?.into(),
        chunk_seed: seed.ok_or_else(|| bad("Invalid chunk_seed"))?,
    })
}
