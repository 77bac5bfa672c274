//! What of this crate reads bytes from outside, for those who try whether any bytes do harm. Not a part
//! of its interface. One line a parser.

use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::http::{Script, parse_http_date};
use crate::sftp::wire::{Attributes, Fields, read_message};
use crate::{
    Dropbox, Environment, Error, Folder, Location, Name, Patience, Range, Scope, Store, WriteMode,
    open, xml,
};

/// A name, and what reads.
pub type Parser = (&'static str, fn(&[u8]));

/// All of them, but [`answers`], which needs a folder.
pub const PARSERS: &[Parser] = &[
    ("store-xml", |bytes| drop(xml::parse(bytes))),
    ("store-sftp", sftp),
    ("store-http-date", |bytes| {
        let _ = parse_http_date(&String::from_utf8_lossy(bytes));
    }),
    ("store-location", |bytes| {
        if let Ok(location) = String::from_utf8_lossy(bytes).parse::<Location>() {
            drop(location.to_string());
        }
    }),
];

/// The answers of a server: a handle, a list of names with what is told of them.
fn sftp(mut bytes: &[u8]) {
    while let Ok(Some((_, message))) = read_message(&mut bytes) {
        let mut fields = Fields(&message);
        while fields.bytes().is_some() && Attributes::read(&mut fields).is_some() {}
    }
}

/// A sign-in that is fresh for ever.
const SIGNED_IN: &[u8] = br#"{"client_id":"id","client_secret":null,"refresh_token":"r","access_token":"a","access_ends":null}"#;

/// Most bytes that are read of what a service says that it has.
const READ_MAX: u64 = 1 << 16;

/// Lets a service give these answers to each of the things that its store can be asked. Gives the
/// numbers of those that it answered. The form of the answers stands in `http/script.rs`; `state` is a folder for the sign-ins.
///
/// # Panics
///
/// When the answers do harm.
#[must_use]
pub fn answers(location: &str, bytes: &[u8], state: &Path) -> Vec<usize> {
    let (Ok(location), Ok(name)) = (location.parse(), Name::new("folder/name")) else {
        return Vec::new();
    };
    let stores = of_stores();
    let questions = stores.iter().enumerate().filter(|(_, question)| {
        let Ok(environment) = surroundings(bytes, state) else {
            return false;
        };
        open(&location, &environment).is_ok_and(|store| question(&*store, &name).is_ok())
    });
    let mut answered: Vec<usize> = questions.map(|(number, _)| number).collect();
    let Location::Dropbox { account, path } = &location else {
        return answered;
    };
    let dropbox = of_dropbox();
    let questions = dropbox.iter().enumerate().filter(|(_, question)| {
        let Ok(environment) = surroundings(bytes, state) else {
            return false;
        };
        Dropbox::new(account.as_deref(), path, &environment)
            .is_ok_and(|dropbox| question(&dropbox, &name).is_ok())
    });
    answered.extend(questions.map(|(number, _)| stores.len() + number));
    answered
}

/// Something to ask.
type Question<T> = fn(&T, &Name) -> Result<(), Error>;

fn of_stores() -> [Question<dyn Store>; 12] {
    [
        |store, _| store.list(&Folder::root(), Scope::Folder, &mut go_on),
        |store, name| store.list(&name.folder(), Scope::Tree, &mut go_on),
        |store, name| store.stat(name).map(drop),
        |store, name| read(store, name, Range::WHOLE),
        |store, name| {
            let range = Range {
                start: 2,
                size: Some(5),
            };
            read(store, name, range)
        },
        |store, name| {
            let written = store.write(name, &b"abc".to_vec(), WriteMode::Replace);
            written.map(drop)
        },
        |store, name| {
            let written = store.write(name, &b"abc".to_vec(), WriteMode::Create);
            written.map(drop)
        },
        |store, name| store.delete(name),
        |store, name| {
            let other = name.folder().join("other");
            other.map_or(Ok(()), |other| store.rename(name, &other))
        },
        |store, name| {
            let other = name.folder().join("other");
            other.map_or(Ok(()), |other| store.copy(name, &other))
        },
        |store, _| store.space().map(drop),
        |store, _| store.tidy(Duration::from_secs(1)).map(drop),
    ]
}

fn of_dropbox() -> [Question<Dropbox>; 8] {
    [
        |dropbox, _| dropbox.changes(None).map(drop),
        |dropbox, _| dropbox.changes(Some("cursor")).map(drop),
        |dropbox, _| {
            let longest = Duration::from_secs(30);
            dropbox.wait_for_changes("cursor", longest).map(drop)
        },
        |dropbox, _| dropbox.deleted().map(drop),
        |dropbox, name| dropbox.history(name).map(drop),
        |dropbox, name| dropbox.restore_revision(name, "1").map(drop),
        |dropbox, _| dropbox.links().map(drop),
        |dropbox, _| dropbox.file_requests().map(drop),
    ]
}

fn go_on(_: crate::Object) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn read(store: &dyn Store, name: &Name, range: Range) -> Result<(), Error> {
    let body = store.read(name, range)?.body;
    let read = std::io::copy(&mut body.take(READ_MAX), &mut std::io::sink());
    read.map(drop)
        .map_err(|error| Error::from_io(error, crate::Operation::Read, name))
}

fn surroundings(bytes: &[u8], state: &Path) -> std::io::Result<Environment> {
    sign_in(state)?;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut environment = Environment::new(move || now, |bytes| bytes.fill(7));
    environment.patience = Patience::NONE;
    environment.state = Some(state.to_owned());
    environment.script = Some(Arc::new(Script::read(bytes)));
    Ok(environment)
}

/// Keeps sign-ins that need no renewal.
pub(crate) fn sign_in(state: &Path) -> std::io::Result<()> {
    let tokens = state.join("tokens");
    let mut folder = std::fs::DirBuilder::new();
    folder.recursive(true).mode(0o700).create(&tokens)?;
    for service in ["gdrive", "dropbox"] {
        let mut file = std::fs::OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600);
        let mut file = file.open(tokens.join(format!("{service}-default.json")))?;
        std::io::Write::write_all(&mut file, SIGNED_IN)?;
    }
    Ok(())
}
