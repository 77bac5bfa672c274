//! An operation over layers, from its beginning to its end: what happens is told to who watches,
//! and kept in the history.

use std::ops::ControlFlow;

use jiff::Timestamp;

use crate::event::{Event, Totals, Verb, Watch};
use crate::explain::Explanation;
use crate::history::{History, Record};
use crate::machine::Context;
use crate::report::{LayersReport, Outcome};
use crate::{Error, Machine, config};

/// An operation that is under way.
pub(crate) struct Operation<'a> {
    record: Record,
    watch: Option<Watch<'a>>,
}

impl<'a> Operation<'a> {
    /// Begins one, and says so. Without a `watch` it is only recorded.
    ///
    /// # Errors
    ///
    /// As [`History::begin`].
    pub(crate) fn begin<'l>(
        verb: Verb,
        layers: impl IntoIterator<Item = &'l config::Layer>,
        started: Timestamp,
        expected: Option<Totals>,
        machine: &Machine,
        watch: Option<Watch<'a>>,
    ) -> Result<Self, Error> {
        let (layers, stores) = layers
            .into_iter()
            .map(|layer| (layer.name.clone(), layer.store.clone()))
            .unzip();
        let record = History::new(&machine.places.state).begin(started, machine.random)?;
        let operation = Self { record, watch };
        operation.tell(Event::Started {
            run: operation.run().to_owned(),
            verb,
            at: started,
            host: machine.host.clone(),
            layers,
            stores,
            expected,
        });
        Ok(operation)
    }

    /// Identifies it; its events stand in the history under this name.
    pub(crate) fn run(&self) -> &str {
        self.record.run()
    }

    /// Says that something happened.
    pub(crate) fn tell(&self, event: Event) {
        self.record.add(&event);
        if let Some(watch) = &self.watch {
            watch.tell(event);
        }
    }

    /// Says that it failed with a layer.
    pub(crate) fn layer_failed(&self, layer: &str, at: Timestamp, failure: &Explanation) {
        self.tell(Event::LayerFailed {
            layer: layer.to_owned(),
            at,
            failure: failure.clone(),
        });
    }

    /// Says how it ended, and what was found in the sources if that was looked at.
    pub(crate) fn finish(
        &self,
        at: Timestamp,
        outcome: Outcome,
        totals: Option<Totals>,
        problems: u64,
    ) {
        self.tell(Event::Finished {
            at,
            outcome,
            totals,
            problems,
        });
    }
}

/// Does one thing with layers, one after another, as an operation.
///
/// `work` says to the operation what comes of a layer; when it breaks, or somebody asks for an end, no other
/// layer follows. `is_good` judges what it gives: `None` is neither good nor bad.
///
/// # Errors
///
/// As [`Operation::begin`].
pub(crate) fn go_through<R>(
    verb: Verb,
    layers: &[&config::Layer],
    context: Context<'_>,
    watch: Watch<'_>,
    is_good: impl Fn(&R) -> Option<bool>,
    mut work: impl FnMut(&Operation<'_>, &config::Layer) -> ControlFlow<(), R>,
) -> Result<LayersReport<R>, Error> {
    let machine = context.machine;
    let clock = || machine.now().timestamp();
    let started = clock();
    let all = layers.iter().copied();
    let operation = Operation::begin(verb, all, started, None, machine, Some(watch))?;
    let mut done = Vec::new();
    for layer in layers {
        if watch.stop.is_requested() {
            break;
        }
        let ControlFlow::Continue(came) = work(&operation, layer) else {
            break;
        };
        done.push(came);
    }
    let judged: Vec<bool> = done.iter().filter_map(is_good).collect();
    let good = judged.iter().filter(|is_good| **is_good).count();
    let outcome = Outcome::of_layers(good, judged.len(), watch.stop.is_requested());
    let finished = clock();
    operation.finish(finished, outcome, None, 0);
    Ok(LayersReport {
        run: operation.run().to_owned(),
        started,
        finished,
        outcome,
        layers: done,
    })
}
