//! `ravelin info`

use engine::Snapshot;
use engine::layer::Details;
use engine::upkeep::SnapshotStatistics;
use serde::Serialize;

use super::{Ended, Session};
use crate::cli::Info;
use crate::exit::Exit;
use crate::human;

#[derive(Serialize)]
struct SnapshotRecord<'a> {
    #[serde(flatten)]
    snapshot: &'a Snapshot,
    host: &'a str,
    user: &'a str,
    #[serde(flatten)]
    statistics: &'a SnapshotStatistics,
}

pub(crate) fn run(arguments: &Info, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_layer(&arguments.of, |opened| {
        let Some(typed) = &arguments.snapshot else {
            let sums = opened.upkeep(|upkeep| upkeep.statistics())?;
            if session.output.json {
                return session.answer(&sums);
            }
            let mut text = format!("snapshots  {}\n", human::grouped(sums.snapshots));
            if let Some(chains) = sums.chains {
                text.push_str(&format!("chains     {}\n", human::grouped(chains)));
            }
            if let Some(shared) = sums.shared {
                text.push_str(&format!(
                    "read       {}\ndifferent  {}, in {}\n",
                    human::size(shared.bytes),
                    human::size(shared.unique_bytes),
                    human::count(shared.unique_pieces, "piece"),
                ));
            }
            text.push_str(&format!("stored     {}\n", human::size(sums.stored_bytes)));
            session.output.data(text.as_bytes())?;
            return Ok(Exit::Good);
        };
        let snapshot = opened.snapshot(typed, &session.zone)?;
        let details = opened.layer.details(&snapshot);
        let details: Details = opened.check(details)?;
        let statistics = opened.upkeep(|upkeep| upkeep.snapshot_statistics(&snapshot))?;
        if session.output.json {
            return session.answer(&SnapshotRecord {
                snapshot: &snapshot,
                host: &details.host,
                user: &details.user,
                statistics: &statistics,
            });
        }
        let mut text = format!(
            "name    {}\nmade    {}, on {}{}\nholds   {}, {}\nown     {}\n",
            snapshot.name,
            human::minute(snapshot.time, &session.zone),
            details.host.escape_debug(),
            match details.user.is_empty() {
                true => String::new(),
                false => format!(" by {}", details.user.escape_debug()),
            },
            human::count(statistics.files, "file"),
            human::size(statistics.bytes),
            human::size(statistics.own_stored_bytes),
        );
        if !statistics.comment.is_empty() {
            let comment = statistics.comment.escape_debug();
            text.push_str(&format!("remark  {comment}\n"));
        }
        session.output.data(text.as_bytes())?;
        Ok(Exit::Good)
    })
}
