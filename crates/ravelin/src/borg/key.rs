//! `borg key …`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use borg::{
    Access, Backend, BadPaper, Encryption, Id, KeyForm, Operation, move_out_of_passphrase,
    read_paper_key,
};
use serde_json::json;

use super::arguments::Arguments;
use super::fail::Failure;
use super::print;
use super::session::{Session, read_file, read_line};
use super::stats::key_name;
use crate::commands::qr::Code;

pub(crate) fn change_passphrase(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let mut archives = session.open(&spot, Access::Read)?;
    let check = archives.manifest().check_features(Operation::Check);
    check.map_err(borg::Error::from)?;
    if archives.encryption() == Encryption::None {
        return Err(Failure::command(
            "This repository is not encrypted, cannot change the passphrase.",
        ));
    }
    let passphrase = session.new_passphrase()?;
    archives.change_passphrase(&passphrase)?;
    session.log.info("Key updated");
    if let Some(file) = archives.key_file() {
        session
            .log
            .info(&format!("Key location: {}", file.display()));
    }
    Ok(())
}

pub(crate) fn export(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let form = match arguments.has("paper") {
        true => KeyForm::Paper,
        false => KeyForm::File,
    };
    let mut text = borg::export_key(&spot.location, &session.home, session.host(), form)?;
    if arguments.has("qr_html") {
        text = page(&text)?;
    }
    put(arguments, &text)
}

/// Writes a secret into a file that only its owner may read, or prints it.
fn put(arguments: &Arguments, text: &str) -> Result<(), Failure> {
    let Some(path) = arguments.os("path").map(Path::new) else {
        return print(text.as_bytes());
    };
    if path == Path::new("-") {
        return print(text.as_bytes());
    }
    if path.is_dir() {
        let message = format!("'{}' must be a file, not a directory", path.display());
        return Err(Failure::command(message));
    }
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(|error| Failure::file(path, &error))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    written.map_err(|error| Failure::file(path, &error))
}

/// A page to be printed, with the key as text and as a code for cameras.
fn page(key: &str) -> Result<String, Failure> {
    let code = Code::of(key)
        .map_err(|error| Failure::error(format!("the key does not fit into a QR code: {error}")))?;
    let image = code.svg();
    let id = key.split_whitespace().nth(1).unwrap_or_default();
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Key of the repository {id}</title>\n</head>\n<body>\n\
         <h1>Key of the Borg repository {id}</h1>\n\
         <p>Save what stands here into a file, and put it back with <code>borg key import REPOSITORY FILE</code>. \
         The passphrase is needed, too: it does not stand here.</p>\n<pre>{key}</pre>\n{image}\n</body>\n</html>\n"
    ))
}

pub(crate) fn export_related_secrets(
    session: &Session,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let archives = session.open(&spot, Access::Read)?;
    if archives.encryption() == Encryption::None {
        return Err(Failure::command("This repository has no secrets."));
    }
    let secrets = archives.related_secrets();
    let value = json!({
        "version": 1,
        "id_key": hex::encode(secrets.id_key),
        "chunk_seed": secrets.chunk_seed.cast_signed(),
        "key_name": key_name(secrets.encryption),
    });
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    put(arguments, &format!("{text}\n"))
}

pub(crate) fn import(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let repository = Backend::open(&spot.location, &session.options(Access::NoLock))?;
    let id = repository.id();
    let path = arguments.os("path").map(Path::new);
    let is_paper = arguments.has("paper");
    match (path, is_paper) {
        (Some(_), true) => {
            return Err(Failure::command(
                "with --paper import from file is not supported",
            ));
        }
        (None, false) => return Err(Failure::command("input file to import key from expected")),
        (Some(path), false) if path != Path::new("-") && !path.exists() => {
            let message = format!("input file does not exist: {}", path.display());
            return Err(Failure::command(message));
        }
        _ => {}
    }
    let blob = match path {
        None => match typed(session, &id)? {
            Some(blob) => blob,
            None => return Ok(()),
        },
        Some(path) => {
            let text = match path == Path::new("-") {
                true => std::io::read_to_string(std::io::stdin())?.into_bytes(),
                false => read_file(path)?,
            };
            in_file(&String::from_utf8_lossy(&text), &id)?
        }
    };
    Ok(borg::put_key(&repository, &session.home, &blob)?)
}

/// The key in a file that was exported.
fn in_file(text: &str, id: &Id) -> Result<String, Failure> {
    let rest = text.strip_prefix("BORG_KEY ").ok_or_else(|| {
        Failure::new(
            43,
            "NotABorgKeyFile",
            "This file is not a Borg key backup, aborting.",
        )
    })?;
    let (found, blob) = rest.split_once('\n').unwrap_or((rest, ""));
    if found.trim() != id.to_string() {
        return Err(other_repository());
    }
    Ok(blob.trim().to_owned())
}

fn other_repository() -> Failure {
    let message = "This key backup seems to be for a different backup repository, aborting.";
    Failure::new(45, "RepoIdMismatch", message)
}

/// Takes the key from somebody who types it from paper; `None` when that is given up.
fn typed(session: &Session, id: &Id) -> Result<Option<String>, Failure> {
    let mut good: Vec<String> = Vec::new();
    loop {
        let number = good.len();
        let prompt = match number {
            0 => "id: ".to_owned(),
            number => format!("{number:2}: "),
        };
        print(prompt.as_bytes())?;
        let Some(line) = read_line()? else {
            print(b"\n - aborted\n")?;
            return Ok(None);
        };
        if line.trim().is_empty() {
            if session.confirm("Abort import? [yN]:", "BORG_ABORT_IMPORT")? {
                print(b"\n - aborted\n")?;
                return Ok(None);
            }
            continue;
        }
        let line = format!("{prompt}{}", line.to_lowercase());
        let mut all = good.join("\n");
        all.push('\n');
        all.push_str(&line);
        match read_paper_key(id, &all) {
            Ok(blob) => return Ok(Some(wrapped(&blob))),
            Err(BadPaper::OtherRepository) => return Err(other_repository()),
            Err(BadPaper::Whole) => {
                print(b"The overall checksum did not match, begin again or enter a blank line to abort.\n")?;
                good.clear();
            }
            // The next one is missing: this one is good.
            Err(BadPaper::Line { number: wrong }) if wrong == number + 1 => good.push(line),
            Err(error) => print(format!("{error}, try again\n").as_bytes())?,
        }
    }
}

/// In lines of 70 characters, as key files have them.
fn wrapped(blob: &str) -> String {
    let lines = blob.as_bytes().chunks(70);
    let lines: Vec<_> = lines.map(String::from_utf8_lossy).collect();
    lines.join("\n")
}

pub(crate) fn migrate_to_repokey(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let options = session.options(Access::Write);
    let is_moved = session.asking(&spot, |passphrase, _| {
        let repository = Backend::open(&spot.location, &options)?;
        move_out_of_passphrase(&repository, passphrase)
    })?;
    if is_moved {
        session.log.info("Key updated");
    } else {
        session
            .log
            .notice("This repository has a key of its own already.");
    }
    Ok(())
}
