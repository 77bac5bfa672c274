//! `ravelin runbook`

use super::{Ended, Session};
use crate::cli::Runbook;
use crate::exit::Exit;

pub(crate) fn run(arguments: &Runbook, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    session.with_context(&config, |context| {
        let page = engine::runbook(context)?;
        let page = match arguments.html {
            true => web::sheet_document(&page),
            false => page,
        };
        if session.output.json {
            session.output.json(&serde_json::json!({ "page": page }))?;
        } else {
            session.output.data(page.as_bytes())?;
        }
        Ok(Exit::Good)
    })
}
