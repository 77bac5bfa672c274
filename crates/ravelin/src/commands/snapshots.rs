//! `ravelin snapshots`

use engine::layer::Details;
use serde::Serialize;

use super::history::{DRAWN, curve};
use super::{Ended, Session};
use crate::cli::OfLayer;
use crate::exit::Exit;
use crate::human;
use crate::table::{Align, table};

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    snapshot: engine::Snapshot,
    /// What is known about it; nothing when that is damaged.
    #[serde(flatten)]
    details: Option<Details>,
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
        let mut damage = None;
        for snapshot in opened.check(snapshots)? {
            // One that is damaged does not hide the others.
            let details = match opened.layer.details(&snapshot) {
                Err(error) if error.is_damage() => {
                    damage.get_or_insert(error);
                    None
                }
                details => Some(opened.check(details)?),
            };
            listed.push(Listed { snapshot, details });
        }
        let ended = |damage: Option<_>| damage.map_or(Ok(Exit::Good), Err);
        if session.output.json {
            session.output.json(&Snapshots {
                layer: &opened.name,
                snapshots: &listed,
            })?;
            return opened.check(ended(damage));
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
                let details = listed.details.as_ref();
                let unknown = || "damaged".to_owned();
                vec![
                    human::time(listed.snapshot.time, &session.zone),
                    details.map_or_else(unknown, |it| human::grouped(it.files)),
                    details.map_or_else(unknown, |it| human::size(it.bytes)),
                    listed.snapshot.name.escape_debug().to_string(),
                ]
            })
            .collect();
        let mut text = table(&columns, &rows);
        // What a program reads stays a table.
        if session.output.is_looked_at {
            text.push_str(&curves(&listed));
        }
        session.output.data(text.as_bytes())?;
        opened.check(ended(damage))
    })
}

/// How what the newest snapshots hold grew and shrank, as lines to be looked at.
fn curves(listed: &[Listed]) -> String {
    let known: Vec<&Details> = listed
        .iter()
        .filter_map(|listed| listed.details.as_ref())
        .collect();
    let newest = known.get(known.len().saturating_sub(DRAWN)..);
    let newest = newest.unwrap_or_default();
    if newest.len() < 2 {
        return String::new();
    }
    let of = |number: fn(&Details) -> u64| -> Vec<u64> {
        newest.iter().map(|details| number(details)).collect()
    };
    let size = curve("size  ", &of(|it| it.bytes), human::size);
    let files = curve("files ", &of(|it| it.files), human::grouped);
    let count = newest.len();
    format!("\nthe last {count} snapshots\n  {size}\n  {files}\n")
}
