//! `ravelin runbook`

use super::{Ended, Session};
use crate::exit::Exit;

pub(crate) fn run(session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    session.with_context(&config, |context| {
        let page = engine::runbook(context)?;
        if session.output.json {
            session.output.json(&serde_json::json!({ "page": page }))?;
        } else {
            session.output.data(page.as_bytes())?;
        }
        Ok(Exit::Good)
    })
}
