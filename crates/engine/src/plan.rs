//! What a run would do, as a value that can be shown before it is done.

use std::path::PathBuf;
use std::time::Duration;

use jiff::ZonedDateTime;

use crate::event::Totals;
use crate::history::History;
use crate::machine::Context;
use crate::past::Past;
use crate::source::Reading;
use crate::wait::{Wait, reason_to_wait, too_early};
use crate::{Error, Schedule, config};

/// Which layers are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those whose schedule says so.
    Due,
    /// All.
    All,
    /// These, by name, due or not.
    Named(Vec<String>),
}

/// What a run would do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When it was made. Snapshots carry this time.
    pub now: ZonedDateTime,
    /// The paths that would be read.
    pub paths: Vec<PathBuf>,
    /// The commands that would be called because what they print is backed up, by source.
    pub commands: Vec<(String, String)>,
    /// How they would be read.
    pub reading: Reading,
    /// The layers that would get a snapshot.
    pub layers: Vec<config::Layer>,
    /// The layers that are not due, with the time when they will be; `None`: when asked for.
    pub waiting: Vec<(String, Option<ZonedDateTime>)>,
    /// The layers that are due and have to wait; only where [`Wanted::Due`] was asked for.
    pub held: Vec<Held>,
    /// The layers that are left out because this version cannot run them.
    pub not_runnable: Vec<String>,
    /// What the sources would be called in snapshot names: `HOST-2026-11-24T07:30:00`.
    pub snapshot: String,
    /// What the last run that read everything found.
    pub expected: Option<Totals>,
    /// How long a layer may hold up the others, in sum, before it is left behind and finishes alone.
    pub patience: Duration,
}

/// See [`Plan::patience`]: a minute.
const PATIENCE: Duration = Duration::from_secs(60);

/// A layer that is due and has to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Which layer.
    pub layer: String,
    /// For what it waits.
    pub wait: Wait,
}

/// Makes a plan.
///
/// # Errors
///
/// [`Error::NoLayer`] for a name that no layer has, [`Error::NoSource`] when there is nothing to
/// read, [`Error::State`] when the history cannot be read.
pub fn plan(context: Context<'_>, wanted: &Wanted) -> Result<Plan, Error> {
    let now = (context.machine.clock)();
    let history = History::new(&context.machine.places.state);
    let past = Past::read(&history, context.config, now.timestamp())?;
    if let Wanted::Named(names) = wanted {
        for name in names {
            find_layer(context.config, name)?;
        }
    }
    let mut layers = Vec::new();
    let mut waiting = Vec::new();
    let mut held = Vec::new();
    let mut not_runnable = Vec::new();
    for layer in &context.config.layers {
        let past = past.of(&layer.name);
        let last = past
            .succeeded
            .map(|last| last.to_zoned_datetime(now.time_zone().clone()));
        let takes_part = match wanted {
            Wanted::Due => layer.schedule.is_due(last.as_ref(), &now),
            Wanted::All => true,
            Wanted::Named(names) => names.contains(&layer.name),
        };
        // Named, it is tried and says why it cannot; otherwise the others must not end in a
        // failure every time because of it.
        if !layer.is_runnable() && !matches!(wanted, Wanted::Named(_)) {
            not_runnable.push(layer.name.clone());
        } else if takes_part {
            // Who asks by name wants it now.
            let wait = if *wanted == Wanted::Due {
                reason_to_wait(layer, &past, context.config, context.machine)
                    .or_else(|| too_early(&past, now.timestamp()))
            } else {
                None
            };
            match wait {
                Some(wait) => held.push(Held {
                    layer: layer.name.clone(),
                    wait,
                }),
                None => layers.push(layer.clone()),
            }
        } else {
            waiting.push((
                layer.name.clone(),
                layer.schedule.next_due(last.as_ref(), &now),
            ));
        }
    }
    let sources = || context.config.sources.iter();
    let commands: Vec<(String, String)> = sources()
        .filter_map(|source| {
            let printed = source.printed.as_ref()?;
            Some((source.name.clone()?, printed.command.join(" ")))
        })
        .collect();
    let paths: Vec<PathBuf> = sources()
        .filter(|source| source.printed.is_none())
        .flat_map(|source| source.paths.clone())
        .collect();
    if !layers.is_empty()
        && commands.is_empty()
        && !paths.iter().any(|path| path.symlink_metadata().is_ok())
    {
        return Err(Error::NoSource { paths });
    }
    let reading = Reading::new(context.config).map_err(|source| Error::BadPath {
        typed: "a path of a source".to_owned(),
        source,
    })?;
    Ok(Plan {
        snapshot: format!(
            "{}-{}",
            context.machine.host,
            now.strftime("%Y-%m-%dT%H:%M:%S")
        ),
        now,
        paths,
        commands,
        reading,
        layers,
        waiting,
        held,
        not_runnable,
        expected: past.totals,
        patience: PATIENCE,
    })
}

/// The layer of that name.
///
/// # Errors
///
/// [`Error::NoLayer`] when there is none.
pub fn find_layer<'a>(config: &'a config::Config, name: &str) -> Result<&'a config::Layer, Error> {
    config.layer(name).ok_or_else(|| Error::NoLayer {
        name: name.to_owned(),
        known: config
            .layers
            .iter()
            .map(|layer| layer.name.clone())
            .collect(),
    })
}

/// The layer that is meant where only one can be: the one of that name, or the first.
///
/// # Errors
///
/// [`Error::NoLayer`] when there is none of that name.
pub fn choose_layer<'a>(
    config: &'a config::Config,
    name: Option<&str>,
) -> Result<&'a config::Layer, Error> {
    match (name, config.layers.first()) {
        (None, Some(first)) => Ok(first),
        (name, _) => find_layer(config, name.unwrap_or_default()),
    }
}

/// When a layer is due next, for those who show it.
#[must_use]
pub fn next_due(
    schedule: Schedule,
    last_success: Option<jiff::Timestamp>,
    now: &ZonedDateTime,
) -> Option<ZonedDateTime> {
    let last = last_success.map(|last| last.to_zoned_datetime(now.time_zone().clone()));
    schedule.next_due(last.as_ref(), now)
}
