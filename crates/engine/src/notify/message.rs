//! What is told, in words that stand on their own: in a mail, on a phone, in a chat.

use jiff::{SignedDuration, Timestamp};

use crate::config::Occasion;
use crate::due::Due;
use crate::explain::Explanation;
use crate::guard::Alarm;
use crate::report::{LayerResult, Report};
use crate::second_opinion::OpinionResult;
use crate::status::{LayerStatus, State, Status};
use crate::verify::VerifyResult;
use crate::{Machine, layer};

/// Longest text of a message, in characters: what all services take.
const TEXT_MAX: usize = 1800;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is about; `None` for a test.
    pub occasion: Option<Occasion>,
    /// Which layer, when it is about one.
    pub layer: Option<String>,
    /// Which machine.
    pub host: String,
    /// When.
    pub at: Timestamp,
    /// One line.
    pub title: String,
    /// The rest, a few lines.
    pub text: String,
}

impl Message {
    /// Whether somebody should look at once.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        matches!(
            self.occasion,
            Some(Occasion::Failure | Occasion::Stale | Occasion::Drill)
        )
    }

    fn new(
        occasion: Option<Occasion>,
        layer: Option<&str>,
        what: &str,
        text: &str,
        machine: &Machine,
    ) -> Self {
        let host = &machine.host;
        let title = match layer {
            Some(layer) => format!("{host}: layer {layer} {what}"),
            None => format!("{host}: {what}"),
        };
        let mut text: String = text
            .chars()
            .filter(|character| *character == '\n' || !character.is_control())
            .collect();
        if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
            text.truncate(end);
            text.push('…');
        }
        Self {
            occasion,
            layer: layer.map(str::to_owned),
            host: host.clone(),
            at: machine.now().timestamp(),
            title,
            text: text.trim_end().to_owned(),
        }
    }

    pub(super) fn test(machine: &Machine) -> Self {
        let text = "This is a test. If you read it, alarms reach you.";
        Self::new(None, None, "a test by ravelin", text, machine)
    }

    pub(super) fn of_layer(occasion: Occasion, layer: &LayerStatus, machine: &Machine) -> Self {
        let last = last_good(layer, machine);
        let (what, text) = match occasion {
            Occasion::Failure if layer.state == State::Damaged => {
                let findings = layer.verified.iter().flat_map(|found| &found.findings);
                let opinion = layer.second_opinion.iter();
                let findings = findings.chain(opinion.flat_map(|said| &said.findings));
                let findings: Vec<&str> = findings.map(String::as_str).take(10).collect();
                let next = "Back up to another layer before anything is repaired.";
                (
                    "is damaged",
                    format!("{}\n{last}\nNext: {next}", findings.join("\n")),
                )
            }
            Occasion::Failure => {
                let failure = layer.failure.as_ref().map(explained).unwrap_or_default();
                ("was not backed up", format!("{failure}\n{last}"))
            }
            Occasion::Stale => {
                let waits = layer.waiting.as_ref().map(|waiting| {
                    let zone = machine.now().time_zone().clone();
                    format!("It waits: {}.\n", waiting.wait.reason(&zone))
                });
                let waits = waits.unwrap_or_default();
                (
                    "got no backup for too long",
                    format!("{waits}{last}\nNext: run `ravelin status` on the machine."),
                )
            }
            Occasion::Partial => (
                "was backed up without some files",
                format!(
                    "{} could not be read.\n{last}\nNext: `ravelin backup` names them.",
                    counted(
                        layer.last.as_ref().map_or(0, |last| last.problems),
                        "object"
                    )
                ),
            ),
            Occasion::Drill => {
                let faults = layer.drill.iter().flat_map(|drill| &drill.faults);
                let faults: Vec<&str> = faults.map(String::as_str).take(10).collect();
                let next = format!("`ravelin verify --data {}`", layer.layer);
                (
                    "did not pass its drill",
                    format!("{}\n{last}\nNext: run {next}.", faults.join("\n")),
                )
            }
            Occasion::Recovered => ("is good again", last),
            Occasion::Success | Occasion::Digest => ("was backed up", last),
        };
        Self::new(Some(occasion), Some(&layer.layer), what, &text, machine)
    }

    pub(super) fn of_alarm(alarm: &Alarm, machine: &Machine) -> Self {
        let examples = alarm.signs.iter().flat_map(|sign| &sign.examples);
        let examples: String = examples.map(|path| format!("  {path}\n")).collect();
        let text = format!(
            "{alarm}.\n{examples}Snapshots up to {} hold what was there before. Nothing old is removed \
             from any layer until a person says go on.\n\
             Next: was it you? `ravelin guard --go-on`. If not: take the machine from the network.",
            day(alarm.good_until, machine)
        );
        let what = "many files changed at once: ransomware?";
        Self::new(Some(Occasion::Failure), None, what, &text, machine)
    }

    pub(super) fn of_success(report: &Report, machine: &Machine) -> Self {
        let text = of_backup(report);
        Self::new(Some(Occasion::Success), None, "backed up", &text, machine)
    }

    pub(super) fn digest(status: &Status, machine: &Machine) -> Self {
        let all = status.layers.len();
        let what = if status.good == all {
            "protected".to_owned()
        } else {
            format!("protected by {} of {all} layers", status.good)
        };
        let mut text = String::new();
        for layer in &status.layers {
            let state = match layer.state {
                State::Good => "good",
                State::Late => "late",
                State::Failed => "failed",
                State::DrillFailed => "failed its drill",
                State::Damaged => "damaged",
                State::Never => "no backup yet",
                State::NotRunnable => "not run by itself",
            };
            let last = last_good(layer, machine);
            text.push_str(&format!("{}: {state}. {last}", layer.layer));
            match layer.restored_at {
                Some(at) => text.push_str(&format!(" Last restore: {}.\n", day(at, machine))),
                None => text.push_str(" Never restored.\n"),
            }
        }
        Self::new(Some(Occasion::Digest), None, &what, &text, machine)
    }
}

/// What happened, for who keeps logs.
pub(super) fn log(due: &Due) -> String {
    let mut text = due.backup.as_ref().map(of_backup).unwrap_or_default();
    for report in &due.verify {
        for layer in &report.layers {
            let name = &layer.layer;
            match &layer.result {
                VerifyResult::Failed { failure } => {
                    text.push_str(&format!("{name}: not verified: {}\n", explained(failure)));
                }
                VerifyResult::Done(found) if !found.findings.is_empty() => {
                    text.push_str(&format!("{name}: damaged: {}\n", found.findings.join("; ")));
                }
                VerifyResult::Done(_) => {
                    let depth = match report.depth {
                        layer::Depth::Structure => "structure",
                        layer::Depth::Data => "all data",
                    };
                    text.push_str(&format!("{name}: verified: {depth}\n"));
                }
            }
        }
    }
    for opinion in due.second_opinion.iter().flat_map(|report| &report.layers) {
        let (name, program) = (&opinion.layer, opinion.program.unwrap_or_default());
        match &opinion.result {
            OpinionResult::Absent => {}
            OpinionResult::Failed { failure } => text.push_str(&format!(
                "{name}: stock {program} could not check it: {}\n",
                explained(failure)
            )),
            OpinionResult::Done { findings, .. } if findings.is_empty() => {
                text.push_str(&format!("{name}: stock {program} finds all well\n"));
            }
            OpinionResult::Done { findings, .. } => text.push_str(&format!(
                "{name}: stock {program} finds damage: {}\n",
                findings.join("; ")
            )),
        }
    }
    for waiting in &due.waiting {
        text.push_str(&format!("{}: waits: {}\n", waiting.layer, waiting.wait));
    }
    text
}

fn of_backup(report: &Report) -> String {
    let mut text = String::new();
    for layer in &report.layers {
        let name = &layer.layer;
        match &layer.result {
            LayerResult::Done {
                snapshot,
                statistics,
                damaged,
            } => {
                text.push_str(&format!(
                    "{name}: {snapshot}, {}, {} bytes, {} new\n",
                    counted(statistics.files, "file"),
                    statistics.bytes,
                    statistics.added_bytes
                ));
                for snapshot in damaged {
                    text.push_str(&format!(
                        "{name}: the earlier snapshot {snapshot} is damaged\n"
                    ));
                }
            }
            LayerResult::Failed { failure } => {
                text.push_str(&format!("{name}: failed: {}\n", explained(failure)));
            }
            LayerResult::Stopped => text.push_str(&format!("{name}: stopped\n")),
        }
    }
    if report.problems.count > 0 {
        let count = counted(report.problems.count, "object");
        text.push_str(&format!("{count} could not be read\n"));
        for problem in report.problems.first.iter().take(20) {
            text.push_str(&format!("  {}: {}\n", problem.path, problem.what));
        }
    }
    text
}

fn explained(failure: &Explanation) -> String {
    format!(
        "{} [{}]\nNext: {}",
        failure.because.join(": "),
        failure.code,
        failure.next
    )
}

fn last_good(layer: &LayerStatus, machine: &Machine) -> String {
    match &layer.last {
        Some(last) => {
            let days = machine.now().timestamp().duration_since(last.at);
            let ago = match days.as_secs() / SignedDuration::from_hours(24).as_secs() {
                0 => "less than a day ago".to_owned(),
                days => format!("{} ago", counted(days.unsigned_abs(), "day")),
            };
            format!("Last good backup: {}, {ago}.", day(last.at, machine))
        }
        None => "It never got a backup.".to_owned(),
    }
}

fn day(at: Timestamp, machine: &Machine) -> String {
    let zone = machine.now().time_zone().clone();
    at.to_zoned_datetime(zone)
        .strftime("%Y-%m-%d %H:%M")
        .to_string()
}

fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
