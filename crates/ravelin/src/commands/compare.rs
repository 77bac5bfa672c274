//! `ravelin compare`

use engine::compare::Unequal;

use super::{Ended, Session};
use crate::cli::Compare;
use crate::exit::Exit;
use crate::human;

pub(crate) fn run(arguments: &Compare, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    session.with_context(&config, |context| {
        let layers: Vec<_> = if arguments.layers.is_empty() {
            let layers = config.layers.iter();
            layers.filter(|layer| layer.is_runnable()).collect()
        } else {
            let names = arguments.layers.iter();
            names
                .map(|name| engine::find_layer(&config, name))
                .collect::<Result<_, _>>()?
        };
        let found = engine::compare::compare(&layers, context, session.stop)?;
        if session.output.json {
            return session.answer(&found);
        }
        let mut text = String::new();
        for unequal in &found.unequal {
            text.push_str(&line(unequal));
        }
        session.output.data(text.as_bytes())?;
        for compared in &found.layers {
            session.output.tell(&format!(
                "{}: {}, {}",
                compared.layer,
                compared.snapshot,
                human::time(compared.time, &session.zone)
            ));
        }
        let different = u64::try_from(found.unequal.len()).unwrap_or(u64::MAX);
        session.output.tell(&format!(
            "{} the same in all, {}",
            human::count(found.same, "file"),
            human::count(different, "difference")
        ));
        Ok(Exit::Good)
    })
}

/// One file on a line: `-` where a layer lacks it, `~` where one has another form of it.
fn line(unequal: &Unequal) -> String {
    let mut what = Vec::new();
    if !unequal.missing_in.is_empty() {
        what.push(format!("not in {}", unequal.missing_in.join(", ")));
    }
    if !unequal.other_in.is_empty() {
        what.push(format!(
            "another form in {} than in {}",
            unequal.other_in.join(", "),
            unequal.newest_in.join(", ")
        ));
    }
    let sign = if unequal.missing_in.is_empty() {
        '~'
    } else {
        '-'
    };
    format!("{sign} {} ({})\n", unequal.path, what.join("; "))
}
