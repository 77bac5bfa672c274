//! `ravelin snapshots`

use engine::layer::Details;
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::OfLayer;
use crate::exit::Exit;
use crate::human;
use crate::table::{Align, table};

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    snapshot: engine::Snapshot,
    #[serde(flatten)]
    details: Details,
}

#[derive(Serialize)]
struct Snapshots<'a> {
    layer: &'a str,
    snapshots: &'a [Listed],
}

pub(crate) fn run(of: &OfLayer, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_layer(of, |opened| {
        let snapshots = opened.layer.snapshots();
        let mut listed = Vec::new();
        for snapshot in opened.check(snapshots)? {
            let details = opened.layer.details(&snapshot);
            let details = opened.check(details)?;
            listed.push(Listed { snapshot, details });
        }
        if session.output.json {
            session.output.json(&Snapshots {
                layer: &opened.name,
                snapshots: &listed,
            })?;
            return Ok(Exit::Good);
        }
        if listed.is_empty() {
            let text = format!(
                "layer `{}` has no snapshots yet: run `ravelin backup`",
                opened.name
            );
            session.output.say(&text);
            return Ok(Exit::Good);
        }
        let columns = [
            ("TIME", Align::Left),
            ("FILES", Align::Right),
            ("SIZE", Align::Right),
            ("SNAPSHOT", Align::Left),
        ];
        let rows: Vec<Vec<String>> = listed
            .iter()
            .map(|listed| {
                vec![
                    human::time(listed.snapshot.time, &session.zone),
                    human::grouped(listed.details.files),
                    human::size(listed.details.bytes),
                    listed.snapshot.name.escape_debug().to_string(),
                ]
            })
            .collect();
        session.output.data(table(&columns, &rows).as_bytes())?;
        Ok(Exit::Good)
    })
}
