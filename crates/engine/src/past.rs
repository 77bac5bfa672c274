//! What the history says that decisions about the next run need.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::event::{Event, Totals, Verb};
use crate::history::{History, Operation};
use crate::layer::Depth;
use crate::{Error, config};

/// Further back nothing is looked for: what is older than this counts as never.
const HORIZON: SignedDuration = SignedDuration::from_hours(400 * 24);

/// How far a recorded time may lie in the future. What lies further was recorded by a clock that
/// was wrong, and would keep work from being done until that day: it does not count.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(1);

/// The past of all layers.
#[derive(Debug, Default)]
pub(crate) struct Past {
    layers: HashMap<String, LayerPast>,
    /// What the last complete reading found.
    pub(crate) totals: Option<Totals>,
}

/// The past of one layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct LayerPast {
    /// When it last got a snapshot.
    pub(crate) succeeded: Option<Timestamp>,
    /// When it first got one, as far as is known.
    pub(crate) first_succeeded: Option<Timestamp>,
    /// How often it failed since, and when last.
    pub(crate) failures: u32,
    pub(crate) failed: Option<Timestamp>,
    /// When it was last read back, at least so deep.
    pub(crate) structure: Option<Timestamp>,
    pub(crate) data: Option<Timestamp>,
    /// When it was last drilled.
    pub(crate) drilled: Option<Timestamp>,
    /// When reading it back last failed, after it last worked.
    pub(crate) unverified: Option<Timestamp>,
    /// When a drill last could not be made, after it last could.
    pub(crate) undrilled: Option<Timestamp>,
    /// When the stock program last checked it, and when it last could not, after it last could.
    pub(crate) second_opinion: Option<Timestamp>,
    pub(crate) no_second_opinion: Option<Timestamp>,
}

impl LayerPast {
    fn is_complete(&self, with_opinion: bool) -> bool {
        self.succeeded.is_some()
            && self.structure.is_some()
            && self.data.is_some()
            && self.drilled.is_some()
            && (!with_opinion || self.second_opinion.is_some())
    }
}

impl Past {
    /// Reads no further back than it has to.
    pub(crate) fn read(
        history: &History,
        config: &config::Config,
        now: Timestamp,
    ) -> Result<Self, Error> {
        Self::read_with(history, config, now, &|_| false)
    }

    /// The same, and for these layers also when the stock program was last asked.
    pub(crate) fn read_with(
        history: &History,
        config: &config::Config,
        now: Timestamp,
        has_opinion: &dyn Fn(&config::Layer) -> bool,
    ) -> Result<Self, Error> {
        let mut past = Self::default();
        for operation in history.operations()? {
            let is_complete =
                |layer: &config::Layer| past.of(&layer.name).is_complete(has_opinion(layer));
            if past.totals.is_some() && config.layers.iter().all(is_complete) {
                break;
            }
            let Some(&Event::Started { verb, at, .. }) = operation.events.first() else {
                continue;
            };
            if now.duration_since(at) > HORIZON {
                break;
            }
            past.take_in(&operation, verb, config, now);
        }
        Ok(past)
    }

    /// The past of a layer; empty for one that never took part.
    pub(crate) fn of(&self, layer: &str) -> LayerPast {
        self.layers.get(layer).cloned().unwrap_or_default()
    }

    fn of_mut(&mut self, layer: &str) -> &mut LayerPast {
        self.layers.entry(layer.to_owned()).or_default()
    }

    /// Operations come newest first, so what is known already stays.
    fn take_in(
        &mut self,
        operation: &Operation,
        verb: Verb,
        config: &config::Config,
        now: Timestamp,
    ) {
        for event in operation.events_of(config) {
            match *event {
                Event::LayerDone { ref layer, at, .. } if is_credible(at, now) => {
                    let layer = self.of_mut(layer);
                    layer.succeeded.get_or_insert(at);
                    layer.first_succeeded = Some(at);
                }
                Event::LayerFailed { ref layer, at, .. } if is_credible(at, now) => {
                    let layer = self.of_mut(layer);
                    if verb == Verb::Backup && layer.succeeded.is_none() {
                        layer.failures += 1;
                        layer.failed.get_or_insert(at);
                    }
                    if verb == Verb::Verify && layer.structure.is_none() {
                        layer.unverified.get_or_insert(at);
                    }
                    if verb == Verb::Drill && layer.drilled.is_none() {
                        layer.undrilled.get_or_insert(at);
                    }
                    if verb == Verb::SecondOpinion && layer.second_opinion.is_none() {
                        layer.no_second_opinion.get_or_insert(at);
                    }
                }
                Event::Verified {
                    ref layer,
                    depth,
                    at,
                    ..
                } if is_credible(at, now) => {
                    let layer = self.of_mut(layer);
                    layer.structure.get_or_insert(at);
                    if depth == Depth::Data {
                        layer.data.get_or_insert(at);
                    }
                }
                Event::Drilled { ref layer, at, .. } if is_credible(at, now) => {
                    self.of_mut(layer).drilled.get_or_insert(at);
                }
                Event::SecondOpinion { ref layer, at, .. } if is_credible(at, now) => {
                    self.of_mut(layer).second_opinion.get_or_insert(at);
                }
                Event::Committing { totals } => {
                    self.totals.get_or_insert(totals);
                }
                _ => {}
            }
        }
    }
}

/// Whether a recorded time can be true.
pub(crate) fn is_credible(at: Timestamp, now: Timestamp) -> bool {
    at.duration_since(now) <= AHEAD_MAX
}
