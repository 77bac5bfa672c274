//! Alarms: who is told what, and when.
//!
//! What is told follows from how each layer stands, compared with what each receiver was last
//! told. So a failure is told once and again each day while it lasts, not at each try; a layer
//! that is good again is told to those who heard that it was not; and a message that could not be
//! delivered is tried again the next time.
//!
//! Staleness is judged here too, by a timer of its own (`ravelin notify`): a schedule that died
//! makes no run that could complain.
//!
//! A message that cannot be delivered never fails a backup. It is remembered, and `status` shows
//! it.

mod memory;
mod message;
mod send;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::config::{self, Occasion, Sender};
use crate::due::Due;
use crate::machine::Context;
use crate::report::{LayerResult, Outcome, Report};
use crate::status::{LayerStatus, State, Status, status};
use crate::turn::{Turn, Work};
use crate::{Error, Machine};

pub use memory::Undelivered;
use memory::{Memory, Told};
pub use message::Message;

/// How often it is told again that a layer is not good.
const REMIND: SignedDuration = SignedDuration::from_hours(24);

/// How often the digest comes.
const DIGEST: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a layer that was never backed up is given before that is an alarm.
const FIRST_BACKUP: SignedDuration = SignedDuration::from_hours(48);

/// What the alarm of the guard is remembered as; no layer is called so.
const GUARD: &str = "(guard)";

/// What was told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Notified {
    /// How many messages were delivered.
    pub delivered: usize,
    /// Those that were not.
    pub undelivered: Vec<Undelivered>,
}

/// Tells those who wait for a ping that a run begins; at its end they hear how it went.
///
/// Gives the id that pairs both.
pub(crate) fn run_begins(context: Context<'_>) -> Option<String> {
    let mut bytes = [0; 16];
    (context.machine.random)(&mut bytes).ok()?;
    let id = send::uuid(bytes);
    for notify in &context.config.notify {
        if let Sender::Healthchecks { url } = &notify.sender
            && notify.on.contains(&Occasion::Success)
        {
            // The end tells more; that the start was not heard is not worth a word.
            let _ = send::ping(url, "/start", &id, "");
        }
    }
    Some(id)
}

/// Tells how a run ended, and everything else that is to be told now.
///
/// # Errors
///
/// When the history cannot be read. That a message cannot be delivered stands in the result.
pub(crate) fn run_ended(
    due: &Due,
    id: Option<&str>,
    context: Context<'_>,
) -> Result<Notified, Error> {
    if context.config.notify.is_empty() {
        return Ok(Notified::default());
    }
    let mut told = notify_with(context, due.backup.as_ref())?;
    let Some(outcome) = due.outcome() else {
        return Ok(told);
    };
    let occasion = match outcome {
        Outcome::Good => Occasion::Success,
        Outcome::Skipped => Occasion::Partial,
        Outcome::Partial | Outcome::Failed | Outcome::Stopped => Occasion::Failure,
    };
    let suffix = match outcome {
        Outcome::Good | Outcome::Skipped => "",
        Outcome::Stopped => "/log",
        Outcome::Partial | Outcome::Failed => "/fail",
    };
    let body = message::log(due);
    for notify in &context.config.notify {
        let Sender::Healthchecks { url } = &notify.sender else {
            continue;
        };
        if !notify.on.contains(&occasion) {
            continue;
        }
        match send::ping(url, suffix, id.unwrap_or_default(), &body) {
            Ok(()) => told.delivered += 1,
            Err(reason) => told.undelivered.push(Undelivered {
                receiver: send::name(&notify.sender),
                reason,
                at: context.machine.now().timestamp(),
            }),
        }
    }
    Ok(told)
}

/// Tells what there is to be told, as far as it was not told before.
///
/// # Errors
///
/// When the history or what was told cannot be read or written.
pub fn notify(context: Context<'_>) -> Result<Notified, Error> {
    notify_with(context, None)
}

/// Sends a message to every receiver, to see whether it arrives.
#[must_use]
pub fn test(context: Context<'_>) -> Notified {
    let machine = context.machine;
    let mut notified = Notified::default();
    for notify in &context.config.notify {
        let result = match &notify.sender {
            Sender::Healthchecks { url } => send::ping(url, "/log", "", "a test by ravelin"),
            sender => send::send(sender, &Message::test(machine), machine),
        };
        match result {
            Ok(()) => notified.delivered += 1,
            Err(reason) => notified.undelivered.push(Undelivered {
                receiver: send::name(&notify.sender),
                reason,
                at: machine.now().timestamp(),
            }),
        }
    }
    notified
}

/// What the last attempts could not deliver.
#[must_use]
pub fn undelivered(machine: &Machine) -> Vec<Undelivered> {
    Memory::read(machine).undelivered
}

fn notify_with(context: Context<'_>, report: Option<&Report>) -> Result<Notified, Error> {
    let machine = context.machine;
    if context.config.notify.is_empty() {
        return Ok(Notified::default());
    }
    let _turn = match Turn::take(Work::Notify, machine) {
        Ok(turn) => turn,
        // The other one tells.
        Err(Error::Busy { .. }) => return Ok(Notified::default()),
        Err(error) => return Err(error),
    };
    let status = status(context)?;
    let now = machine.now().timestamp();
    let mut memory = Memory::read(machine);
    memory.see(context.config, now);
    let mut notified = Notified::default();
    let mut receivers = Vec::new();
    for notify in &context.config.notify {
        if matches!(notify.sender, Sender::Healthchecks { .. }) {
            continue;
        }
        let receiver = unlike(send::name(&notify.sender), &receivers);
        receivers.push(receiver.clone());
        let due = due_messages(notify, &receiver, &status, report, &memory, machine);
        for about in due.over {
            memory.forget(&receiver, &about);
        }
        for (message, told) in due.messages {
            match send::send(&notify.sender, &message, machine) {
                Ok(()) => {
                    notified.delivered += 1;
                    memory.told(&receiver, told, now);
                }
                Err(reason) => notified.undelivered.push(Undelivered {
                    receiver: receiver.clone(),
                    reason,
                    at: now,
                }),
            }
        }
    }
    memory.undelivered.clone_from(&notified.undelivered);
    memory.write(machine)?;
    Ok(notified)
}

/// A name that no other receiver has: two may live at one host.
fn unlike(name: String, others: &[String]) -> String {
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    let free = std::iter::once(name.clone())
        .chain(numbered)
        .find(|name| !others.contains(name));
    free.unwrap_or(name)
}

/// How a layer stands, as far as somebody is told about it.
fn condition(layer: &LayerStatus, memory: &Memory, now: Timestamp) -> Option<Occasion> {
    match layer.state {
        State::Failed | State::Damaged => Some(Occasion::Failure),
        State::Late => Some(Occasion::Stale),
        State::Never => memory
            .seen(&layer.layer)
            .is_some_and(|seen| now.duration_since(seen) > FIRST_BACKUP)
            .then_some(Occasion::Stale),
        State::DrillFailed => Some(Occasion::Drill),
        State::Good if layer.last.as_ref().is_some_and(|last| last.problems > 0) => {
            Some(Occasion::Partial)
        }
        State::Good | State::NotRunnable => None,
    }
}

/// What is due for one receiver.
#[derive(Debug, Default)]
struct DueMessages {
    /// The messages, each with what is remembered when it is delivered.
    messages: Vec<(Message, Told)>,
    /// The matters that are over, where nobody wants to hear it.
    over: Vec<String>,
}

fn due_messages(
    notify: &config::Notify,
    receiver: &str,
    status: &Status,
    report: Option<&Report>,
    memory: &Memory,
    machine: &Machine,
) -> DueMessages {
    let now = status.at;
    let wants = |occasion| notify.on.contains(&occasion);
    let mut messages = Vec::new();
    let mut over = Vec::new();
    for layer in &status.layers {
        let last = memory.last_told(receiver, &layer.layer);
        let told = |occasion| Told {
            about: layer.layer.clone(),
            occasion,
        };
        match (condition(layer, memory, now), last) {
            (Some(occasion), last) if wants(occasion) => {
                let is_new = last.is_none_or(|(told, _)| told != occasion);
                let is_old = last.is_some_and(|(_, at)| now.duration_since(at).abs() >= REMIND);
                // Files that cannot be read are no emergency: once is enough.
                if is_new || (is_old && occasion != Occasion::Partial) {
                    let message = Message::of_layer(occasion, layer, machine);
                    messages.push((message, told(occasion)));
                }
            }
            // Only those who heard of the trouble hear of its end.
            (None, Some((before, _)))
                if before != Occasion::Recovered && before != Occasion::Success =>
            {
                if wants(Occasion::Recovered) {
                    let message = Message::of_layer(Occasion::Recovered, layer, machine);
                    messages.push((message, told(Occasion::Recovered)));
                } else {
                    // Without a word, and the next trouble counts as new.
                    over.push(layer.layer.clone());
                }
            }
            _ => {}
        }
    }
    match (&status.guard, memory.last_told(receiver, GUARD)) {
        (Some(alarm), last)
            if wants(Occasion::Failure)
                && last.is_none_or(|(_, at)| now.duration_since(at).abs() >= REMIND) =>
        {
            let told = Told {
                about: GUARD.to_owned(),
                occasion: Occasion::Failure,
            };
            messages.push((Message::of_alarm(alarm, machine), told));
        }
        // A person has ended it, who needs no word of that.
        (None, Some(_)) => over.push(GUARD.to_owned()),
        _ => {}
    }
    if let Some(report) = report.filter(|_| wants(Occasion::Success)) {
        let is_done = |result: &LayerResult| matches!(result, LayerResult::Done { .. });
        if report.layers.iter().any(|layer| is_done(&layer.result)) {
            let told = Told {
                about: "success".to_owned(),
                occasion: Occasion::Success,
            };
            messages.push((Message::of_success(report, machine), told));
        }
    }
    if wants(Occasion::Digest) {
        let last = memory.last_told(receiver, "digest");
        let begin = last.map_or_else(|| memory.first_seen(), |(_, at)| Some(at));
        if begin.is_some_and(|begin| now.duration_since(begin).abs() >= DIGEST) {
            let told = Told {
                about: "digest".to_owned(),
                occasion: Occasion::Digest,
            };
            messages.push((Message::digest(status, machine), told));
        }
    }
    DueMessages { messages, over }
}
