//! Listens to an operation: draws its progress, or prints its events as JSON lines.

use std::io;
use std::sync::{Mutex, PoisonError};

use engine::{Event, Stop, Watch};

use crate::output::Output;
use crate::progress::Progress;

/// What hears the events of one operation.
pub(crate) struct Listener {
    hear: Box<dyn Fn(Event) + Sync>,
    ending: std::sync::Arc<Ending>,
}

struct Ending {
    progress: Progress,
    /// The first error of our own output, told at the end: the operation does not stop for it.
    failed: Mutex<Option<io::Error>>,
}

impl Listener {
    /// One that speaks the way that the command line asked for.
    pub(crate) fn new(output: Output) -> Self {
        let ending = std::sync::Arc::new(Ending {
            progress: Progress::new(output.draws && !output.json),
            failed: Mutex::new(None),
        });
        let hearing = std::sync::Arc::clone(&ending);
        let hear = move |event: Event| {
            if !output.json {
                hearing.progress.hear(&event);
                if let Some(text) = news(&event) {
                    hearing.progress.aside(|| output.tell(&text));
                }
            } else if let Err(error) = output.json(&event) {
                let mut failed = hearing
                    .failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        };
        Self {
            hear: Box::new(hear),
            ending,
        }
    }

    /// What the engine is given.
    pub(crate) fn watch<'a>(&'a self, stop: &'a Stop) -> Watch<'a> {
        Watch {
            sink: &*self.hear,
            stop,
        }
    }

    /// Ends the drawing.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.ending.progress.finish();
        let mut failed = self
            .ending
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failed.take().map_or(Ok(()), Err)
    }
}

/// What a person at a terminal is told at once, not only in the report.
fn news(event: &Event) -> Option<String> {
    match event {
        Event::LeftBehind { layer, path, .. } => Some(format!(
            "{layer}: too slow for the others; they go on, and it gets what comes after {path} alone"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_is_left_behind_is_named_at_once() {
        let event = Event::LeftBehind {
            layer: "offsite".to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
            path: engine::event::PathRecord::from(&tree::TreePath::new("home/ada").unwrap()),
        };
        assert_eq!(
            news(&event).as_deref(),
            Some(
                "offsite: too slow for the others; they go on, and it gets what comes after home/ada alone"
            )
        );
        assert_eq!(
            news(&Event::Pruned {
                layer: "disk".to_owned(),
                at: jiff::Timestamp::UNIX_EPOCH,
                removed: Vec::new(),
                freed_bytes: None,
            }),
            None
        );
    }
}
