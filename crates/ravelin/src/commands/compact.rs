//! `ravelin compact`

use engine::layer::Access;

use super::{Ended, Session};
use crate::cli::Compact;
use crate::exit::Exit;
use crate::human;

pub(crate) fn run(arguments: &Compact, session: &Session<'_>) -> Result<Exit, Ended> {
    // What can be freed is known to who may write only.
    session.with_open(arguments.layer.as_deref(), Access::Write, |opened| {
        let now = session.machine.now().timestamp();
        let compacted = opened.upkeep(|upkeep| match arguments.dry_run {
            true => upkeep.compact_plan(),
            false => upkeep.compact(now),
        })?;
        let freed = human::size(compacted.freed_bytes);
        if session.output.json {
            session.output.json(&compacted)?;
        } else if arguments.dry_run {
            session.output.say(&format!("about {freed} would be freed"));
        } else {
            session.output.tell(&format!("{freed} freed"));
        }
        Ok(Exit::Good)
    })
}
