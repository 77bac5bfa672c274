//! `ravelin key`

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use engine::keys::{Keys, Place};
use engine::secret::Reference;

use super::qr::{Code, page};
use super::{Ended, Session};
use crate::cli::{ExportKey, Key, KeyPlace, OfLayer};
use crate::exit::Exit;

/// More than any copy of a key has.
const COPY_SIZE_MAX: u64 = 1 << 20;

pub(crate) fn run(which: &Key, session: &Session<'_>) -> Result<Exit, Ended> {
    match which {
        Key::ChangePassphrase(arguments) => {
            let reference = match (&arguments.new_file, &arguments.new_env) {
                (Some(file), _) => {
                    let file = std::path::absolute(file).map_err(|source| reading(file, source))?;
                    Reference::File(file)
                }
                (None, name) => Reference::Environment(name.clone().unwrap_or_default()),
            };
            with_keys(&arguments.of, session, |keys| {
                let new = session.machine.keeper().fetch(&reference)?;
                keys.change_passphrase(&new)
            })?;
            session.output.say(
                "the key has the new passphrase now: put it where the configuration says that the \
                 passphrase is kept, and make new copies of the key",
            );
        }
        Key::Export(arguments) => {
            let copy = match arguments.qr {
                false => with_keys(&arguments.of, session, |keys| keys.export(arguments.paper))?,
                true => code(arguments, session)?,
            };
            match &arguments.file {
                None => session.output.data(copy.as_bytes())?,
                Some(file) => {
                    let written = OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .mode(0o600)
                        .open(file)
                        .and_then(|mut open| {
                            open.write_all(copy.as_bytes())?;
                            open.sync_all()
                        });
                    written.map_err(|source| failed("write", file, source))?;
                    session.output.tell(&format!(
                        "a copy of the key is in {}: keep it, or a print of it, away from this machine",
                        file.display()
                    ));
                }
            }
        }
        Key::Import(arguments) => {
            let copy = read(&arguments.file)?;
            with_keys(&arguments.of, session, |keys| keys.import(&copy))?;
            session
                .output
                .tell("the key is back, and opens the repository");
        }
        Key::Move(arguments) => {
            let place = match arguments.to {
                KeyPlace::Repository => Place::Repository,
                KeyPlace::File => Place::File,
            };
            let now = session.machine.now().timestamp();
            with_keys(&arguments.of, session, |keys| keys.move_to(place, now))?;
            if place == Place::File {
                session.output.say(
                    "from now on it takes a file of this machine to restore: keep a copy \
                     elsewhere, `ravelin key export FILE` writes one",
                );
            }
        }
    }
    Ok(Exit::Good)
}

/// The key as a code, in the form that the file's name asks for.
fn code(arguments: &ExportKey, session: &Session<'_>) -> Result<String, Ended> {
    let (key, paper) = with_keys(&arguments.of, session, |keys| {
        Ok((keys.export(false)?, keys.export(true)?))
    })?;
    let code = Code::of(&key).map_err(io::Error::other)?;
    let ending = arguments.file.as_deref().and_then(Path::extension);
    let ending = ending.map(|ending| ending.to_ascii_lowercase());
    Ok(match ending.as_ref().and_then(|ending| ending.to_str()) {
        Some("svg") => code.svg(),
        Some("html" | "htm") => {
            let config = session.config()?;
            let layer = engine::choose_layer(&config, arguments.of.layer.as_deref())?;
            page(&code, &layer.name, &key, &paper)
        }
        _ => code.lines(arguments.file.is_none() && io::stdout().is_terminal()),
    })
}

fn with_keys<T>(
    of: &OfLayer,
    session: &Session<'_>,
    work: impl FnOnce(&mut dyn Keys) -> Result<T, engine::layer::Error>,
) -> Result<T, Ended> {
    let config = session.config()?;
    let layer = engine::choose_layer(&config, of.layer.as_deref())?;
    let done = engine::layer::keys(layer, session.machine).and_then(|mut keys| work(&mut *keys));
    Ok(done.map_err(engine::Error::of_layer(&layer.name))?)
}

fn read(path: &Path) -> Result<String, Ended> {
    let mut text = String::new();
    let reader: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(io::stdin()),
        _ => Box::new(fs::File::open(path).map_err(|source| reading(path, source))?),
    };
    reader
        .take(COPY_SIZE_MAX)
        .read_to_string(&mut text)
        .map_err(|source| reading(path, source))?;
    Ok(text)
}

fn reading(path: &Path, source: io::Error) -> Ended {
    failed("read", path, source)
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Ended {
    Ended::Engine(engine::Error::File {
        action,
        path: path.into(),
        source,
    })
}
