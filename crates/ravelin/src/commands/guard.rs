//! `ravelin guard`

use engine::guard::Alarm;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::Guard;
use crate::exit::Exit;
use crate::human;

#[derive(Serialize)]
struct Record<'a> {
    /// What stands after the command.
    alarm: Option<&'a Alarm>,
    /// What was ended by it.
    ended: Option<&'a Alarm>,
}

pub(crate) fn run(arguments: &Guard, session: &Session<'_>) -> Result<Exit, Ended> {
    let output = &session.output;
    if arguments.go_on {
        let ended = engine::guard::go_on(session.machine)?;
        if output.json {
            output.json(&Record {
                alarm: None,
                ended: ended.as_ref(),
            })?;
        } else {
            output.say(match ended {
                Some(_) => "the alarm is over: old snapshots are removed again as the rules say",
                None => "there is no alarm",
            });
        }
        return Ok(Exit::Good);
    }
    let alarm = engine::guard::alarm(session.machine);
    if output.json {
        output.json(&Record {
            alarm: alarm.as_ref(),
            ended: None,
        })?;
    } else {
        let text = alarm.as_ref().map(|alarm| text(alarm, &session.zone));
        let text = text.unwrap_or_else(|| "No alarm.\n".to_owned());
        output.data(text.as_bytes())?;
    }
    Ok(if alarm.is_some() {
        Exit::Failed
    } else {
        Exit::Good
    })
}

fn text(alarm: &Alarm, zone: &TimeZone) -> String {
    let mut text = format!(
        "Alarm since {}: {alarm}.\n",
        human::minute(alarm.since, zone)
    );
    for path in alarm.signs.iter().flat_map(|sign| &sign.examples) {
        text.push_str(&format!("  {path}\n"));
    }
    text.push_str(&format!(
        "\nSnapshots up to {} hold what was there before; nothing old is removed from any layer.\n\
         Was it you, or is a drive not mounted? `ravelin guard --go-on`\n\
         If not: take the machine from the network, and restore on a clean one: docs/guide/ransomware.md\n",
        human::minute(alarm.good_until, zone)
    ));
    text
}

/// Says that an alarm stands, to everybody: it is no good news.
pub(super) fn tell(alarm: Option<&Alarm>, session: &Session<'_>) {
    if let Some(alarm) = alarm {
        session.output.say(&format!(
            "ALARM: {alarm}\n  nothing old is removed from any layer\n  next: run `ravelin guard`"
        ));
    }
}
