//! `ravelin rename`

use engine::layer::Access;

use super::{Ended, Session};
use crate::cli::Rename;
use crate::exit::Exit;

pub(crate) fn run(arguments: &Rename, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_open(arguments.of.layer.as_deref(), Access::Write, |opened| {
        let snapshot = opened.snapshot(&arguments.snapshot, &session.zone)?;
        let now = session.machine.now().timestamp();
        let name = &arguments.name;
        opened.upkeep(|upkeep| upkeep.rename(&snapshot, name, now))?;
        opened.tell_catalogue(&[], session)?;
        session
            .output
            .tell(&format!("{} is called {name} now", snapshot.name));
        Ok(Exit::Good)
    })
}
