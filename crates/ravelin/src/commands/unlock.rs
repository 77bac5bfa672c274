//! `ravelin unlock`

use engine::layer::Locked;
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::Unlock;
use crate::exit::Exit;

#[derive(Serialize)]
struct Record<'a> {
    layer: &'a str,
    /// Who has it locked, or had.
    holder: Option<&'a str>,
    broken: bool,
}

pub(crate) fn run(arguments: &Unlock, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let layer = engine::choose_layer(&config, arguments.layer.as_deref())?;
    let name = layer.name.as_str();
    let locked = engine::layer::unlock(layer, arguments.force, session.machine);
    let locked = locked.map_err(engine::Error::of_layer(name))?;
    let (holder, broken) = match &locked {
        Locked::No => (None, false),
        Locked::By(holder) => (Some(holder.as_str()), false),
        Locked::Broken(holder) => (Some(holder.as_str()), true),
    };
    let exit = match locked {
        Locked::By(_) => Exit::Locked,
        _ => Exit::Good,
    };
    if session.output.json {
        session.output.json(&Record {
            layer: name,
            holder,
            broken,
        })?;
        return Ok(exit);
    }
    match locked {
        Locked::No => session.output.say(&format!("layer `{name}` is not locked")),
        Locked::By(holder) => {
            session
                .output
                .say(&format!("layer `{name}` is locked by {holder}"));
            session.output.say(&format!(
                "  next: when that program is certainly gone, `ravelin unlock --force {name}`"
            ));
        }
        Locked::Broken(holder) => session.output.tell(&format!(
            "layer `{name}` was locked by {holder}, and is free"
        )),
    }
    Ok(exit)
}
