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
            let nobody = "nobody is to be told: there is no [[notify]] in the configuration";
            if arguments.test {
                session.output.say(nobody);
            } else {
                session.output.tell(nobody);
            }
        } else {
            let count = u64::try_from(notified.delivered).unwrap_or(u64::MAX);
            session
                .output
                .tell(&format!("{} delivered", human::count(count, "message")));
        }
        tell(&notified.undelivered, session);
    }
    let reached_nobody = arguments.test && config.notify.is_empty();
    Ok(if notified.undelivered.is_empty() && !reached_nobody {
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
