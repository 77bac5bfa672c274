//! `ravelin explain`

use std::path;

use engine::event::PathRecord;
use engine::{Reading, Why};
use serde::Serialize;
use tree::TreePath;

use super::{Ended, Session};
use crate::cli::Explain;
use crate::exit::Exit;

#[derive(Serialize)]
struct ExplainRecord {
    #[serde(flatten)]
    path: PathRecord,
    included: bool,
    /// Why it is left out, or the rule that keeps it.
    because: Option<String>,
}

pub(crate) fn run(arguments: &Explain, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let path = path::absolute(&arguments.path)?;
    let tree_path = engine::browse::typed_path(&path)?;
    let bad_path = |source| engine::Error::BadPath {
        typed: path.display().to_string(),
        source,
    };
    let why = Reading::new(&config)
        .and_then(|reading| reading.explain(&path))
        .map_err(bad_path)?;
    let (included, because) = words(&why, &tree_path);
    if session.output.json {
        return session.answer(&ExplainRecord {
            path: PathRecord::from(&tree_path),
            included,
            because,
        });
    }
    let what = if included {
        "is in the backup"
    } else {
        "is not in the backup"
    };
    let mut text = format!("/{tree_path} {what}");
    if let Some(because) = because {
        text.push_str(&format!(": {because}"));
    }
    text.push('\n');
    session.output.data(text.as_bytes())?;
    Ok(Exit::Good)
}

/// Whether it is in the backup, and the reason in words.
fn words(why: &Why, path: &TreePath) -> (bool, Option<String>) {
    match why {
        Why::Included { rule } => {
            let kept = |rule: &String| format!("the rule `{rule}` keeps it");
            (true, rule.as_ref().map(kept))
        }
        Why::LeftOut { at, because } if at == path => (false, Some(because.clone())),
        Why::LeftOut { at, because } => {
            (false, Some(format!("/{at} is left out, because {because}")))
        }
        Why::NotInSources => (
            false,
            Some("no source names it or a folder above it".to_owned()),
        ),
        Why::Unreadable { at, because } if at == path => (false, Some(because.clone())),
        Why::Unreadable { at, because } => (false, Some(format!("/{at}: {because}"))),
    }
}
