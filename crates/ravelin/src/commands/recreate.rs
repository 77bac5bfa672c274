//! `ravelin recreate`

use engine::layer::Access;
use engine::upkeep::{Recreate as How, Recreated};

use super::{Ended, Opened, Session};
use crate::cli::Recreate;
use crate::exit::Exit;
use crate::human;

pub(crate) fn run(arguments: &Recreate, session: &Session<'_>) -> Result<Exit, Ended> {
    let access = match arguments.dry_run {
        true => Access::Read,
        false => Access::Write,
    };
    let mut how = How {
        compression: arguments.compression.clone(),
        chunker_params: arguments.chunker_params,
        without: Vec::new(),
    };
    session.with_open(arguments.of.layer.as_deref(), access, |opened| {
        let mut snapshots = Vec::new();
        for typed in &arguments.snapshots {
            snapshots.push(opened.snapshot(typed, &session.zone)?);
        }
        if arguments.snapshots.is_empty() {
            snapshots = opened.upkeep(|upkeep| upkeep.all_snapshots())?;
        }
        let everywhere: Vec<_> = snapshots.iter().collect();
        for typed in &arguments.without {
            how.without.push(opened.path(&everywhere, Some(typed))?);
        }
        let mut all = Vec::new();
        for snapshot in &snapshots {
            if session.stop.is_requested() {
                session.output.say(
                    "stopped: each snapshot is as it was, or made anew as a whole; the same command \
                     goes on",
                );
                return Ok(Exit::Interrupted);
            }
            let now = session.machine.now().timestamp();
            let done = opened.upkeep(|upkeep| match arguments.dry_run {
                true => upkeep.recreate_plan(snapshot, &how),
                false => upkeep.recreate(snapshot, &how, now),
            })?;
            if !session.output.json {
                tell(&done, arguments.dry_run, session);
            }
            all.push(done);
        }
        if !arguments.dry_run {
            let done: Vec<String> = all.iter().map(|done| done.snapshot.clone()).collect();
            opened.tell_catalogue(&done, session)?;
        }
        if session.output.json {
            session.output.json(&all)?;
        } else {
            tell_the_end(&all, arguments.dry_run, opened, session);
        }
        Ok(Exit::Good)
    })
}

fn tell(done: &Recreated, dry_run: bool, session: &Session<'_>) {
    let name = &done.snapshot;
    let text = if done.changes {
        let mut what = vec![format!(
            "{}, {}",
            human::count(done.files, "file"),
            human::size(done.bytes)
        )];
        if done.is_compressed_anew {
            what.push("compressed anew".into());
        }
        if done.is_cut_anew {
            what.push("cut anew".into());
        }
        if done.left_out > 0 {
            what.push(format!("without {}", human::count(done.left_out, "name")));
        }
        format!("{name}: {}", what.join(", "))
    } else {
        format!("{name}: nothing to do")
    };
    match dry_run {
        true => session.output.say(&format!("would be {text}")),
        false => session.output.tell(&text),
    }
}

fn tell_the_end(all: &[Recreated], dry_run: bool, opened: &Opened, session: &Session<'_>) {
    let changed = all.iter().filter(|done| done.changes).count();
    if !dry_run && changed > 0 {
        session.output.tell(&format!(
            "{} made anew; `ravelin compact {}` frees what the former ones took",
            human::count(changed as u64, "snapshot"),
            opened.name,
        ));
    }
}
