//! `ravelin repair`

use engine::upkeep::{FoundIn, RepairOptions, RepairReport};

use super::{Ended, Session};
use crate::cli::Repair;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

/// Files of one snapshot that are named on a terminal; JSON names all.
const FILES_NAMED_MAX: usize = 20;

pub(crate) fn run(arguments: &Repair, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let layer = engine::choose_layer(&config, arguments.layer.as_deref())?;
    let how = RepairOptions {
        data: arguments.data,
        dry_run: arguments.dry_run,
        trust: arguments.trust,
    };
    let report = session.with_context(&config, |context| {
        let listener = Listener::new(session.output);
        let report = engine::upkeep::repair(layer, how, context, listener.watch(session.stop));
        listener.finish()?;
        Ok(report?)
    })?;
    if session.output.json {
        session.output.json(&report)?;
    } else {
        tell(&report, session);
    }
    let is_mended = report.mended.as_ref();
    let is_mended = is_mended.is_some_and(|mended| !mended.done.is_empty());
    Ok(match report.found.is_good() || is_mended {
        true => Exit::Good,
        false => Exit::Failed,
    })
}

fn tell(report: &RepairReport, session: &Session<'_>) {
    let (output, found) = (&session.output, &report.found);
    for finding in &found.findings {
        output.say(finding);
    }
    for hurt in &found.hurt {
        output.say(&format!("{}: {}", hurt.snapshot.escape_debug(), hurt.what));
        for file in hurt.files.iter().take(FILES_NAMED_MAX) {
            let what = match (file.missing_bytes, file.has_zeros) {
                (0, true) => "has zeros in the place of what is missing".to_owned(),
                (0, false) => "can be put back".to_owned(),
                (bytes, _) => format!("{} are missing", human::size(bytes)),
            };
            output.say(&format!("  {}: {what}", file.path));
        }
        if let Some(more @ 1..) = hurt.files.len().checked_sub(FILES_NAMED_MAX) {
            let more = human::grouped(more as u64);
            output.say(&format!("  and {more} more; `--json` names all"));
        }
    }
    for healed in &report.healed {
        let place = match &healed.from {
            FoundIn::Live => "the file on this machine".to_owned(),
            FoundIn::Layer { layer, snapshot } => {
                format!("layer `{layer}`, snapshot {}", snapshot.escape_debug())
            }
        };
        output.say(&format!(
            "{}: {} that is lost here is in {place}",
            healed.path,
            human::size(healed.bytes),
        ));
    }
    match &report.mended {
        None => {
            if !report.healed.is_empty() {
                output.say("would put back what is lost here and was found elsewhere");
            }
            for action in &found.actions {
                output.say(&format!("would {action}"));
            }
        }
        Some(mended) => {
            for done in &mended.done {
                output.say(done);
            }
            if mended.done.is_empty() && !found.is_good() {
                output.say(
                    "nothing could be mended: earlier snapshots and other layers may still have it, see \
                     `ravelin restore PATH --at TIME`",
                );
            }
        }
    }
    if found.is_good() && found.actions.is_empty() {
        output.tell(&format!(
            "{}: nothing is damaged, {}",
            report.layer,
            human::count(found.snapshots, "snapshot"),
        ));
    }
}
