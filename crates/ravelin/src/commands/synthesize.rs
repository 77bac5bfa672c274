//! `ravelin synthesize`

use std::ops::ControlFlow;

use engine::Event;
use engine::layer::Access;

use super::{Ended, Opened, Session};
use crate::cli::Synthesize;
use crate::exit::Exit;
use crate::human;
use crate::progress::Progress;

pub(crate) fn run(arguments: &Synthesize, session: &Session<'_>) -> Result<Exit, Ended> {
    let access = match arguments.dry_run {
        true => Access::Read,
        false => Access::Write,
    };
    session.with_open(arguments.layer.as_deref(), access, |opened| {
        if arguments.dry_run {
            return rehearse(opened, session);
        }
        let progress = Progress::new(session.output.draws && !session.output.json);
        let name = opened.name.clone();
        let made = opened.upkeep(|upkeep| {
            upkeep.synthesize(&mut |step| {
                progress.hear(&Event::Step {
                    layer: name.clone(),
                    phase: step.phase.to_owned(),
                    done: step.done,
                    total: step.total,
                });
                match session.stop.is_requested() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })
        });
        progress.finish();
        // Who is asked too late to stop has made it.
        if made.is_err() && session.stop.is_requested() {
            session
                .output
                .say("stopped: nothing was made, and all snapshots are as they were");
            return Ok(Exit::Interrupted);
        }
        let made = made?;
        if made.is_some() {
            opened.tell_catalogue(&[], session)?;
        }
        if session.output.json {
            return session.answer(&made);
        }
        match made {
            None => session
                .output
                .tell("nothing to do: the newest snapshot is a full one"),
            Some(made) => {
                session.output.tell(&format!(
                    "{} is a full snapshot of {}, {}: {} sent, {} copied within the store",
                    made.snapshot,
                    human::count(made.files, "file"),
                    human::size(made.bytes),
                    human::size(made.stored_bytes),
                    human::size(made.copied_bytes),
                ));
                session.output.tell(&format!(
                    "the snapshots before it may go: `ravelin prune --dry-run {name}` says which \
                     the rules keep"
                ));
            }
        }
        Ok(Exit::Good)
    })
}

/// Says what the full snapshot would be made of.
fn rehearse(opened: &mut Opened, session: &Session<'_>) -> Result<Exit, Ended> {
    let chains = opened.upkeep(|upkeep| upkeep.chains())?;
    let Some(chains) = chains else {
        return opened.upkeep(|_| {
            Err(engine::layer::Error::Unsupported {
                what: "end a chain, for each of its snapshots stands alone",
            })
        });
    };
    let last = chains.last().filter(|chain| chain.len() > 1);
    if session.output.json {
        return session.answer(&last);
    }
    match last {
        None => session
            .output
            .say("nothing to do: the newest snapshot is a full one"),
        Some(chain) => session.output.say(&format!(
            "a full snapshot would be made of {}: {}",
            human::count(chain.len() as u64, "snapshot"),
            chain.join(", "),
        )),
    }
    Ok(Exit::Good)
}
