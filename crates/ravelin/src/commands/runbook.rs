//! `ravelin runbook`

use std::io;

use engine::Config;
use engine::config::Kind;

use super::qr::{Code, section};
use super::{Ended, Session};
use crate::cli::Runbook;
use crate::exit::Exit;

pub(crate) fn run(arguments: &Runbook, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    session.with_context(&config, |context| {
        let mut page = engine::runbook(context, &|_| None)?;
        let keys = match arguments.keys {
            true => keys(&config, session)?,
            false => Vec::new(),
        };
        if arguments.html {
            page = web::sheet_document(&page);
            let parts = keys.iter().map(Key::html).collect::<String>();
            let end = page.rfind("</body>").unwrap_or(page.len());
            page.insert_str(end, &parts);
        } else {
            page.extend(keys.iter().map(Key::markdown));
        }
        if session.output.json {
            session.output.json(&serde_json::json!({ "page": page }))?;
        } else {
            session.output.data(page.as_bytes())?;
        }
        Ok(Exit::Good)
    })
}

/// A copy of the key of a layer, locked with its passphrase.
struct Key {
    layer: String,
    code: Code,
    text: String,
    paper: String,
}

impl Key {
    fn html(&self) -> String {
        section(&self.code, &self.layer, &self.text, &self.paper)
    }

    fn markdown(&self) -> String {
        format!(
            "\n## Key of layer {}\n\nWith this and the passphrase, and only with both, the backup can be \
             read: keep them in different places. Save these lines as a file; `ravelin key import FILE`, or \
             `borg key import --paper REPOSITORY`, puts the key back.\n\n```text\n{}\n```\n\nThe same for a \
             camera:\n\n```text\n{}\n```\n",
            self.layer,
            self.paper.trim_end(),
            self.code.lines(false).trim_end_matches('\n'),
        )
    }
}

/// Of all Borg layers that have a key.
fn keys(config: &Config, session: &Session<'_>) -> Result<Vec<Key>, Ended> {
    let mut found = Vec::new();
    for layer in &config.layers {
        if !matches!(layer.kind, Kind::Borg { .. }) || layer.passphrase.is_none() {
            continue;
        }
        let exported = engine::layer::keys(layer, session.machine)
            .and_then(|mut keys| Ok((keys.export(false)?, keys.export(true)?)));
        let (text, paper) = exported.map_err(engine::Error::of_layer(&layer.name))?;
        found.push(Key {
            layer: layer.name.clone(),
            code: Code::of(&text).map_err(io::Error::other)?,
            text,
            paper,
        });
    }
    Ok(found)
}
