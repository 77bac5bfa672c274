//! `ravelin notify`

use engine::notify::{Notified, Undelivered};

use super::{Ended, Session};
use crate::cli::Notify;
use crate::exit::Exit;
use crate::human;

pub(crate) fn run(arguments: &Notify, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let notified: Notified = session.with_context(&config, |context| {
        if arguments.test {
            return Ok(engine::notify::test(context));
        }
        if let Some(file) = &config.metrics {
            let status = engine::status(context)?;
            engine::metrics::write(&status, file)?;
        }
        Ok(engine::notify::notify(context)?)
    })?;
    if session.output.json {
        session.output.json(&notified)?;
    } else {
        if config.notify.is_empty() {
            session
                .output
                .tell("nobody is to be told: there is no [[notify]] in the configuration");
        } else {
            let count = u64::try_from(notified.delivered).unwrap_or(u64::MAX);
            session
                .output
                .tell(&format!("{} delivered", human::count(count, "message")));
        }
        tell(&notified.undelivered, session);
    }
    Ok(if notified.undelivered.is_empty() {
        Exit::Good
    } else {
        Exit::Failed
    })
}

/// Says who could not be told.
pub(super) fn tell(undelivered: &[Undelivered], session: &Session<'_>) {
    for one in undelivered {
        session.output.say(&format!(
            "warning: {} could not be told: {}",
            one.receiver, one.reason
        ));
    }
}
