//! `ravelin cat`

use std::io::{self, Read, Write};

use super::{Ended, Session};
use crate::cli::Cat;
use crate::exit::Exit;

pub(crate) fn run(arguments: &Cat, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_layer(&arguments.of, |opened| {
        let snapshot = opened.snapshot(&arguments.snapshot, &session.zone)?;
        let path = opened.path(&[&snapshot], Some(&arguments.path))?;
        let name = opened.name.clone();
        let failed = engine::Error::of_layer(&name);
        let mut content = match opened.layer.content(&snapshot, &path) {
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
