//! `ravelin delete`

use engine::layer::Access;
use engine::upkeep::Deleted;
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::Delete;
use crate::exit::Exit;
use crate::human;

#[derive(Serialize)]
struct DeletedRecord<'a> {
    names: &'a [String],
    #[serde(flatten)]
    deleted: Deleted,
}

pub(crate) fn run(arguments: &Delete, session: &Session<'_>) -> Result<Exit, Ended> {
    let access = match arguments.dry_run {
        true => Access::Read,
        false => Access::Write,
    };
    session.with_open(arguments.of.layer.as_deref(), access, |opened| {
        let mut names = Vec::new();
        for typed in &arguments.snapshots {
            names.push(opened.snapshot(typed, &session.zone)?.name);
        }
        names.sort();
        names.dedup();
        let now = session.machine.now().timestamp();
        let deleted = opened.upkeep(|upkeep| match arguments.dry_run {
            true => upkeep.delete_plan(&names),
            false => upkeep.delete(&names, now),
        })?;
        if !arguments.dry_run {
            opened.tell_catalogue(&[], session)?;
        }
        if session.output.json {
            let names = &names;
            return session.answer(&DeletedRecord { names, deleted });
        }
        let bytes = human::size(deleted.unused_bytes);
        if arguments.dry_run {
            for name in &names {
                session.output.say(&format!("{name} would go"));
            }
            session.output.say(&format!("{bytes} would be free"));
        } else {
            session.output.tell(&format!(
                "{} deleted; `ravelin compact {}` frees {bytes}",
                human::count(deleted.snapshots, "snapshot"),
                opened.name,
            ));
        }
        Ok(Exit::Good)
    })
}
