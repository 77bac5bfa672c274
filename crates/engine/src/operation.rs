//! An operation over layers, from its beginning to its end: what happens is told to who watches,
//! and kept in the history.

use jiff::Timestamp;

use crate::event::{Event, Totals, Verb, Watch};
use crate::history::{History, Record};
use crate::report::Outcome;
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
