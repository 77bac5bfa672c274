//! `ravelin cat`

use std::io::{self, Read, Write};

use engine::Snapshot;
use tree::{EntryKind, TreePath};

use super::{Ended, Opened, Session};
use crate::cli::Cat;
use crate::exit::Exit;

pub(crate) fn run(arguments: &Cat, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_layer(&arguments.of, |opened| {
        let snapshot = opened.snapshot(&arguments.snapshot, &session.zone)?;
        let path = opened.path(&[&snapshot], Some(&arguments.path))?;
        let name = opened.name.clone();
        let failed = engine::Error::of_layer(&name);
        let found = opened.layer.content(&snapshot, &path);
        if let Err(engine::layer::Error::NoFile { .. }) = found {
            drop(found);
            if let Some(what) = what_stands(opened, &snapshot, &path)? {
                let snapshot = snapshot.name;
                return Err(engine::Error::NotAFile {
                    path,
                    what,
                    snapshot,
                }
                .into());
            }
            let snapshot = snapshot.name;
            return Err(failed(engine::layer::Error::NoFile { path, snapshot }).into());
        }
        let mut content = match found {
            Ok(content) => content,
            Err(error) => return Err(failed(error).into()),
        };
        let mut stdout = session.output.writer();
        let mut buffer = vec![0; 1 << 20];
        loop {
            if session.stop.is_requested() {
                return Ok(Exit::Interrupted);
            }
            let length = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    stdout.flush()?;
                    let action = format!("read {path} to its end");
                    return Err(failed(engine::layer::Error::Io { action, source }).into());
                }
            };
            stdout.write_all(buffer.get(..length).unwrap_or_default())?;
        }
        stdout.flush()?;
        Ok(Exit::Good)
    })
}

/// What stands at a path that is no file, if anything does.
fn what_stands(
    opened: &mut Opened,
    snapshot: &Snapshot,
    path: &TreePath,
) -> Result<Option<&'static str>, Ended> {
    let listed = engine::browse::list(&mut *opened.layer, snapshot, path);
    let items = opened.check(listed)?.items;
    let Some(first) = items.first() else {
        return Ok(None);
    };
    Ok(Some(match first.entry.kind {
        EntryKind::Symlink { .. } => "a symbolic link",
        EntryKind::Fifo | EntryKind::Socket => "a pipe",
        EntryKind::CharDevice(_) | EntryKind::BlockDevice(_) => "a device",
        // Of one that was not backed up itself, what is in it stands there.
        EntryKind::Directory | EntryKind::File => "a folder",
    }))
}
