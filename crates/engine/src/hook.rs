//! Programs of the user's choosing that are called around a backup: to stop a service, to mount a
//! drive, to say no.
//!
//! A hook before the backup decides by its exit code: 0 goes on, 75 (`EX_TEMPFAIL`) puts the backup
//! off until the next run, anything else forbids it. Once one was called, the hooks for the end are
//! called however it ends, so that what was stopped is started again. A hook for the end that fails
//! is reported; it takes nothing back from a snapshot that stands.
//!
//! No shell takes part. What is going on is told in variables: `RAVELIN_HOOK`, `RAVELIN_LAYERS`
//! and, at the end, `RAVELIN_OUTCOME`.

use std::process::Command;

use crate::config::{Hook, Moment};
use crate::event::Watch;
use crate::machine::Context;
use crate::report::Outcome;
use crate::{Error, Wait, program};

/// By this exit code a hook puts the backup off: `EX_TEMPFAIL` of `sysexits.h`.
const POSTPONE: i32 = 75;

/// A hook that did not do its work.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HookFault {
    /// Which program.
    pub program: String,
    /// What went wrong.
    pub reason: String,
}

/// The hooks of one backup.
pub(crate) struct Hooks<'a> {
    context: Context<'a>,
    layers: String,
}

impl<'a> Hooks<'a> {
    /// Those for a backup of these layers.
    pub(crate) fn new(layers: &[crate::config::Layer], context: Context<'a>) -> Self {
        let names: Vec<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
        Self {
            context,
            layers: names.join(","),
        }
    }

    fn on(&self, moment: Moment) -> impl Iterator<Item = &'a Hook> {
        let hooks = self.context.config.hooks.iter();
        hooks.filter(move |hook| hook.on == moment)
    }

    /// Asks whether the backup may be made; with a reason, it is put off.
    ///
    /// # Errors
    ///
    /// [`Error::Hook`] when one forbids it or cannot be called, [`Error::Stopped`].
    pub(crate) fn before(&self, watch: Watch<'_>) -> Result<Option<Wait>, Error> {
        for hook in self.on(Moment::Before) {
            if watch.stop.is_requested() {
                return Err(Error::Stopped);
            }
            let program = name(hook);
            let stop = || watch.stop.is_requested();
            let ended = match self.call(hook, None, &stop) {
                Err(_) if watch.stop.is_requested() => return Err(Error::Stopped),
                Err(reason) => return Err(Error::Hook { program, reason }),
                Ok(ended) => ended,
            };
            match ended.status.code() {
                Some(0) => {}
                Some(POSTPONE) => return Ok(Some(Wait::Hook { program })),
                _ => {
                    let reason = ended.complaint();
                    return Err(Error::Hook { program, reason });
                }
            }
        }
        Ok(None)
    }

    /// Tells those that wait for the end how it ended; `None` when it was put off.
    pub(crate) fn after(&self, outcome: Option<Outcome>) -> Vec<HookFault> {
        let moment = match outcome {
            Some(Outcome::Good | Outcome::Skipped) => Some(Moment::After),
            Some(Outcome::Partial | Outcome::Failed) => Some(Moment::Failure),
            Some(Outcome::Stopped) | None => None,
        };
        let by_outcome = moment.into_iter().flat_map(|moment| self.on(moment));
        let mut faults = Vec::new();
        for hook in by_outcome.chain(self.on(Moment::Always)) {
            let reason = match self.call(hook, Some(outcome), &|| false) {
                Ok(ended) if ended.status.success() => continue,
                Ok(ended) => ended.complaint(),
                Err(reason) => reason,
            };
            faults.push(HookFault {
                program: name(hook),
                reason,
            });
        }
        faults
    }

    fn call(
        &self,
        hook: &Hook,
        end: Option<Option<Outcome>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<program::Ended, String> {
        let mut words = hook.command.iter();
        let mut command = Command::new(words.next().map_or("", String::as_str));
        command
            .args(words)
            .env("RAVELIN_HOOK", hook.on.name())
            .env("RAVELIN_LAYERS", &self.layers);
        if let Some(outcome) = end {
            let outcome = match outcome {
                Some(Outcome::Good) => "good",
                Some(Outcome::Skipped) => "skipped",
                Some(Outcome::Partial) => "partial",
                Some(Outcome::Failed) => "failed",
                Some(Outcome::Stopped) => "stopped",
                None => "put-off",
            };
            command.env("RAVELIN_OUTCOME", outcome);
        }
        program::run_until(&mut command, b"", hook.patience, stop)
            .map_err(|error| error.to_string())
    }
}

fn name(hook: &Hook) -> String {
    hook.command.first().cloned().unwrap_or_default()
}
