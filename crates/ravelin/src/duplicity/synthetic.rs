//! `synthetic-full`: a full set made of a chain. Duplicity has no such action; what comes of it is an
//! ordinary full set.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::log::{Level, info};
use super::passphrase::Asked;
use super::session::Session;
use super::statistics;

pub(crate) fn run(session: &Session<'_>) -> Result<u8, Failure> {
    let collection = session.collection(&session.closed_archive())?;
    let Some(chain) = collection.active() else {
        return Err(Failure::exception(
            "CollectionsError",
            "No backup chains found",
        ));
    };
    if session.options.dry_run {
        session.log.notice(&format!(
            "A full set would be made of the {} sets of the chain that ends at {}.",
            chain.sets.len(),
            session.pretty(chain.end())
        ));
        return Ok(0);
    }
    let archive = session.archive(Asked::Write, &[])?;
    let (mut done, mut last) = (0_u64, Instant::now());
    let made = archive.synthesize(session.now(), &mut |bytes| {
        done += bytes;
        if last.elapsed() >= Duration::from_millis(500) {
            last = Instant::now();
            session
                .log
                .say(Level::Info, info::PROGRESS, &done.to_string(), "");
        }
        if session.machine.stop.is_requested() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    session.log.notice(&match made {
        None => {
            "The newest chain is a full set alone: there is nothing to put together.".to_owned()
        }
        Some((set, summary)) => format!(
            "A full set was made at {}: {} files, {}, {} volumes.",
            session.pretty(set.end()),
            summary.files,
            statistics::bytes(summary.stored_bytes),
            summary.volumes
        ),
    });
    Ok(0)
}
