//! `ravelin prune`

use engine::config::Layer;
use engine::upkeep::{NotPruned, PrunePlan, PruneReport};

use super::{Ended, Session};
use crate::cli::Prune;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

pub(crate) fn run(arguments: &Prune, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let mut layers: Vec<&Layer> = Vec::new();
    for name in &arguments.layers {
        layers.push(engine::find_layer(&config, name)?);
    }
    if layers.is_empty() {
        let with_rules = |layer: &&Layer| layer.is_prunable() && !layer.keep.is_everything();
        layers.extend(config.layers.iter().filter(with_rules));
        if layers.is_empty() && !session.output.json {
            session
                .output
                .tell("no layer has `keep` rules: all snapshots stay");
        }
    }
    session.with_context(&config, |context| {
        if arguments.dry_run {
            let mut plans = Vec::new();
            for layer in layers {
                plans.push(engine::upkeep::prune_plan(layer, context)?);
            }
            if session.output.json {
                session.output.json(&plans)?;
            } else {
                plans.iter().for_each(|plan| show(plan, session));
            }
            return Ok(Exit::Good);
        }
        let listener = Listener::new(session.output);
        let mut reports = Vec::new();
        for layer in layers {
            let watch = listener.watch(session.stop);
            reports.push(engine::upkeep::prune(layer, context, watch)?);
        }
        listener.finish()?;
        if session.output.json {
            session.output.json(&reports)?;
        } else {
            reports.iter().for_each(|report| tell(report, session));
        }
        Ok(Exit::Good)
    })
}

fn show(plan: &PrunePlan, session: &Session<'_>) {
    let output = &session.output;
    if !plan.has_rules {
        output.say(&format!("{}: no `keep` rules, all stay", plan.layer));
    }
    for snapshot in &plan.snapshots {
        let name = &snapshot.name;
        output.say(&match &snapshot.kept_by {
            Some(rule) => format!("{}: {name} stays ({rule})", plan.layer),
            None => format!("{}: {name} would go", plan.layer),
        });
    }
    if plan.left_alone > 0 {
        output.say(&format!(
            "{}: {} of other machines or programs left alone",
            plan.layer,
            human::count(plan.left_alone, "snapshot")
        ));
    }
    if plan.deleted.snapshots > 0 {
        output.say(&format!(
            "{}: {} would be free",
            plan.layer,
            human::size(plan.deleted.unused_bytes)
        ));
    }
}

/// Says what was removed after a backup, and what could not be.
pub(super) fn tell_all(pruned: &[PruneReport], not_pruned: &[NotPruned], session: &Session<'_>) {
    pruned.iter().for_each(|report| tell(report, session));
    for NotPruned { layer, failure } in not_pruned {
        let what = format!("old snapshots of layer `{layer}` were not removed");
        session.output.explain(&what, failure);
    }
}

/// Says in words what was removed, to those who want good news.
fn tell(report: &PruneReport, session: &Session<'_>) {
    if report.removed.is_empty() {
        return;
    }
    let freed = report.freed_bytes.map(human::size);
    let freed = freed.map_or_else(String::new, |freed| format!(", {freed} freed"));
    session.output.tell(&format!(
        "{}: {} removed, {} kept{freed}",
        report.layer,
        human::count(report.removed.len() as u64, "old snapshot"),
        human::grouped(report.kept),
    ));
}
