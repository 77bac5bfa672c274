//! `borg compact`

use borg::{Access, Backend, Compaction};

use super::arguments::Arguments;
use super::fail::Failure;
use super::session::Session;
use super::text;

/// No key is needed: what is freed is found without looking into anything.
pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let percent: u32 = arguments.number("threshold", 10)?;
    let options = Compaction {
        threshold: f64::from(percent) / 100.0,
        cleanup_commits: arguments.has("cleanup_commits"),
    };
    let repository = Backend::open(&spot.location, &session.options(Access::Write))?;
    if repository
        .local()
        .is_some_and(|local| local.is_append_only())
    {
        session
            .log
            .notice("The repository is append-only: nothing is freed.");
        if arguments.has("dry_run") {
            return Ok(());
        }
    }
    if arguments.has("dry_run") {
        if let Some(local) = repository.local() {
            let transaction = local.begin()?;
            let sparse = transaction.sparse_segments(options.threshold)?;
            transaction.roll_back()?;
            let bytes = sparse.iter().map(|segment| segment.freeable).sum();
            session.log.info(&format!(
                "Would rewrite {} segments and free about {}.",
                sparse.len(),
                text::size(bytes, session.iec)
            ));
        }
        return Ok(());
    }
    let mut progress = |done: usize, total: usize| {
        let [done, total] = [done, total].map(|count| u64::try_from(count).unwrap_or(u64::MAX));
        let what = "Compacting segments";
        session
            .log
            .percent("repository.compact_segments", what, done, total);
    };
    let changes = repository.begin()?;
    let freed = changes.commit_and_compact_watched(&options, session.now, &mut progress)?;
    if let Some(freed) = freed {
        session.log.info(&format!(
            "compaction freed about {} repository space.",
            text::size(freed.freed, session.iec)
        ));
    }
    Ok(())
}
