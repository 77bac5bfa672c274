//! `ravelin history`

use engine::History;
use engine::event::Verb;
use engine::timeline::{Ended as How, Moment, timeline};
use jiff::SignedDuration;

use super::{Ended, Session};
use crate::cli as arguments;
use crate::exit::Exit;
use crate::human;
use crate::paint::{Tone, paint};
use crate::spark::spark;
use crate::table::{Align, table};

/// Backups that are drawn: a line of them fits beside its words in 80 columns.
pub(super) const DRAWN: usize = 30;

pub(crate) fn run(arguments: &arguments::History, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    if let Some(name) = &arguments.layer {
        engine::choose_layer(&config, Some(name))?;
    }
    let history = History::new(&session.machine.places.state);
    let is_wanted = |moment: &Moment| {
        arguments
            .layer
            .as_ref()
            .is_none_or(|it| *it == moment.layer)
    };
    let moments = timeline(&history, is_wanted, arguments.limit)?;
    if session.output.json {
        return session.answer(&moments);
    }
    if moments.is_empty() {
        session
            .output
            .say("nothing was done yet: run `ravelin backup`");
        return Ok(Exit::Good);
    }
    let columns = [
        ("TIME", Align::Left),
        ("WHAT", Align::Left),
        ("LAYER", Align::Left),
        ("TOOK", Align::Right),
        ("SIZE", Align::Right),
        ("NEW", Align::Right),
        ("ENDED", Align::Left),
    ];
    let rows: Vec<Vec<String>> = moments.iter().map(|moment| row(moment, session)).collect();
    let mut text = table(&columns, &rows);
    for layer in &config.layers {
        let of_layer = |moment: &Moment| is_backup(moment) && moment.layer == layer.name;
        let wanted = arguments.layer.as_ref();
        if wanted.is_some_and(|name| *name != layer.name) {
            continue;
        }
        let backups = timeline(&history, of_layer, DRAWN)?;
        if let Some(lines) = curves(&backups) {
            text.push_str(&format!(
                "\n{}: the last {} backups\n",
                layer.name,
                backups.len()
            ));
            for line in lines {
                text.push_str(&format!("  {line}\n"));
            }
        }
    }
    session.output.data(text.as_bytes())?;
    Ok(Exit::Good)
}

/// Whether something is a backup that stands.
pub(super) fn is_backup(moment: &Moment) -> bool {
    moment.verb == Verb::Backup && moment.ended == How::Good && moment.bytes.is_some()
}

/// How sizes, growth and durations of backups went; nothing of fewer than two.
pub(super) fn curves(backups: &[Moment]) -> Option<[String; 3]> {
    if backups.len() < 2 {
        return None;
    }
    let sizes: Vec<u64> = backups.iter().filter_map(|backup| backup.bytes).collect();
    let new: Vec<u64> = backups
        .iter()
        .filter_map(|backup| backup.added_bytes)
        .collect();
    let took: Vec<u64> = backups.iter().filter_map(|backup| backup.took_ms).collect();
    Some([
        curve("size", &sizes, human::size),
        curve("new", &new, human::size),
        curve("took", &took, milliseconds),
    ])
}

/// A line that is looked at, with what its ends are.
pub(super) fn curve(name: &str, numbers: &[u64], shown: fn(u64) -> String) -> String {
    let least = shown(numbers.iter().min().copied().unwrap_or(0));
    let most = shown(numbers.iter().max().copied().unwrap_or(0));
    let range = if least == most {
        least
    } else {
        format!("{least} to {most}")
    };
    format!("{name:<5}{}  {range}", spark(numbers))
}

fn milliseconds(number: u64) -> String {
    human::duration(SignedDuration::from_millis(
        i64::try_from(number).unwrap_or(i64::MAX),
    ))
}

fn row(moment: &Moment, session: &Session<'_>) -> Vec<String> {
    let verb = match moment.verb {
        Verb::Backup => "backup",
        Verb::Verify => "verify",
        Verb::SecondOpinion => "second opinion",
        Verb::Restore => "restore",
        Verb::Drill => "drill",
        Verb::Prune => "prune",
    };
    let (ended, tone) = match moment.ended {
        How::Good => ("good".to_owned(), Tone::Good),
        How::Failed { code } => (format!("failed [{code}]"), Tone::Bad),
        How::Damaged { findings } => (human::count(findings, "finding"), Tone::Bad),
        How::Unfinished => ("did not end".to_owned(), Tone::Warning),
    };
    vec![
        human::minute(moment.at, &session.zone),
        verb.to_owned(),
        moment.layer.clone(),
        moment.took_ms.map(milliseconds).unwrap_or_default(),
        moment.bytes.map(human::size).unwrap_or_default(),
        moment.added_bytes.map(human::size).unwrap_or_default(),
        paint(&ended, tone, session.output.colours),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(bytes: u64, took_ms: u64) -> Moment {
        Moment {
            at: jiff::Timestamp::UNIX_EPOCH,
            verb: Verb::Backup,
            layer: "disk".to_owned(),
            ended: How::Good,
            took_ms: Some(took_ms),
            files: Some(1),
            bytes: Some(bytes),
            added_bytes: Some(0),
        }
    }

    #[test]
    fn a_curve_says_what_its_ends_are() {
        assert_eq!(curves(&[backup(1, 1)]), None);
        let lines = curves(&[backup(1000, 400), backup(8000, 90_000)]).unwrap();
        assert_eq!(
            lines,
            [
                "size ▁█  1.0 kB to 8.0 kB",
                "new  ▄▄  0 B",
                "took ▁█  0.4 s to 1 min 30 s"
            ]
        );
    }
}
