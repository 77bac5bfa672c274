//! `ravelin comment`

use engine::layer::Access;

use super::{Ended, Session};
use crate::cli::Comment;
use crate::exit::Exit;

pub(crate) fn run(arguments: &Comment, session: &Session<'_>) -> Result<Exit, Ended> {
    let access = match arguments.text {
        Some(_) => Access::Write,
        None => Access::Read,
    };
    session.with_open(arguments.of.layer.as_deref(), access, |opened| {
        let snapshot = opened.snapshot(&arguments.snapshot, &session.zone)?;
        let now = session.machine.now().timestamp();
        match &arguments.text {
            Some(text) => opened.upkeep(|upkeep| upkeep.set_comment(&snapshot, text, now))?,
            None => {
                let found = opened.upkeep(|upkeep| upkeep.snapshot_statistics(&snapshot))?;
                if session.output.json {
                    session.output.json(&found.comment)?;
                } else if !found.comment.is_empty() {
                    let line = format!("{}\n", found.comment.escape_debug());
                    session.output.data(line.as_bytes())?;
                }
            }
        }
        Ok(Exit::Good)
    })
}
