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
        if session.output.json {
            return session.answer(&compacted);
        }
        if compacted.is_some_and(|compacted| compacted.append_only) {
            session.output.say(match arguments.dry_run {
                true => "nothing would be freed: the repository is append-only",
                false => "nothing freed: the repository is append-only",
            });
            return Ok(Exit::Good);
        }
        let freed = compacted.map(|compacted| human::size(compacted.freed_bytes));
        match (arguments.dry_run, freed) {
            (true, Some(freed)) => session.output.say(&format!("about {freed} would be freed")),
            (true, None) => session
                .output
                .say("only the server knows what would be freed"),
            (false, Some(freed)) => session.output.tell(&format!("{freed} freed")),
            (false, None) => session.output.tell("the server has freed what it could"),
        }
        Ok(Exit::Good)
    })
}
