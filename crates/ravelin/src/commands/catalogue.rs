//! `ravelin catalogue`

use engine::Catalogue;
use engine::catalogue::{CaughtUp, Holdings};
use serde::Serialize;

use super::{Ended, Session};
use crate::cli;
use crate::exit::Exit;
use crate::human;
use crate::listener::Listener;

#[derive(Serialize)]
struct Record {
    #[serde(flatten)]
    holdings: Holdings,
    layers: Vec<CaughtUp>,
}

pub(crate) fn run(arguments: &cli::Catalogue, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let machine = session.machine;
    let mut catalogue = Catalogue::open(machine)?;
    if arguments.rebuild {
        catalogue.clear(machine)?;
    } else if !catalogue.check(machine)? {
        session
            .output
            .say("the catalogue was damaged: it is made anew from the layers");
    }
    let layers: Vec<_> = config.layers.iter().collect();
    let layers: Vec<_> = layers
        .into_iter()
        .filter(|layer| layer.is_runnable())
        .collect();
    let caught_up = catch_up(&mut catalogue, &layers, &config, session)?;
    let is_whole = caught_up.iter().all(|layer| layer.failure.is_none());
    let holdings = catalogue.holdings(machine)?;
    if session.output.json {
        let layers = caught_up;
        session.output.json(&Record { holdings, layers })?;
    } else {
        tell(&caught_up, session);
        session.output.say(&format!(
            "{} versions of {} in {}, {}",
            human::grouped(holdings.versions),
            human::count(holdings.paths, "path"),
            human::count(holdings.snapshots, "snapshot"),
            human::size(holdings.bytes)
        ));
    }
    Ok(match (session.stop.is_requested(), is_whole) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Good,
        (false, false) => Exit::Partial,
    })
}

/// Reads what is not in the catalogue from the layers.
pub(super) fn catch_up(
    catalogue: &mut Catalogue,
    layers: &[&engine::config::Layer],
    config: &engine::Config,
    session: &Session<'_>,
) -> Result<Vec<CaughtUp>, Ended> {
    session.with_context(config, |context| {
        // Events are no part of what is asked for here.
        let output = crate::output::Output {
            json: false,
            ..session.output
        };
        let listener = Listener::new(output);
        let caught_up = catalogue.catch_up(layers, context, listener.watch(session.stop));
        listener.finish()?;
        Ok(caught_up?)
    })
}

/// Says which layers could not be read.
pub(super) fn tell(caught_up: &[CaughtUp], session: &Session<'_>) {
    for layer in caught_up {
        if let Some(failure) = &layer.failure {
            let missing = match layer.missing {
                0 => String::new(),
                missing => format!(", and {} not known", human::count(missing, "snapshot")),
            };
            let headline = format!("layer `{}` could not be read{missing}", layer.layer);
            session.output.explain(&headline, failure);
        }
    }
}
