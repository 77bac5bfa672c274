//! `cleanup` and the `remove-…` actions: each shows what would go, and removes it with `--force`.

use duplicity::{Archive, Chain, Collection, RemovalPlan, SetTime};

use super::failure::Failure;
use super::log::warning;
use super::session::Session;

pub(crate) fn cleanup(session: &Session<'_>) -> Result<u8, Failure> {
    let archive = session.closed_archive();
    let collection = session.collection(&archive)?;
    let plan = collection.cleanup();
    if session.options.force && !session.options.dry_run {
        // Nobody names these: they are not yet files of the archive.
        archive.tidy()?;
    }
    if plan.is_empty() {
        session.log.warn(
            warning::GENERIC,
            "",
            "No extraneous files found, nothing deleted in cleanup.",
        );
        return Ok(0);
    }
    let names: Vec<&str> = plan.objects().map(|file| file.object.as_str()).collect();
    let names = names.join("\n");
    if session.options.force {
        session
            .log
            .notice(&format!("Deleting these file(s) from backend:\n{names}"));
        remove(session, &archive, &plan)?;
    } else {
        session.log.notice(&format!(
            "Found the following file(s) to delete:\n{names}\n\
             Run duplicity again with the --force option to actually delete."
        ));
    }
    Ok(0)
}

pub(crate) fn older_than(session: &Session<'_>, seconds: i64) -> Result<u8, Failure> {
    let archive = session.closed_archive();
    let collection = session.collection(&archive)?;
    let time = SetTime::from_seconds(seconds);
    let plan = collection.remove_older_than(time);
    if collection
        .active()
        .is_some_and(|active| active.end() < time)
    {
        session.log.warn(
            warning::GENERIC,
            "",
            "Current active backup chain is older than specified time.  However, it will not be \
             deleted.  To remove all your backups, manually purge the repository.",
        );
    }
    chains(session, &archive, &collection, &plan)
}

pub(crate) fn all_but_full(session: &Session<'_>, count: usize) -> Result<u8, Failure> {
    let archive = session.closed_archive();
    let collection = session.collection(&archive)?;
    let plan = collection.remove_all_but_full(at_least_one(count)?);
    chains(session, &archive, &collection, &plan)
}

pub(crate) fn increments(session: &Session<'_>, count: usize) -> Result<u8, Failure> {
    let archive = session.closed_archive();
    let collection = session.collection(&archive)?;
    let plan = collection.remove_increments_of_all_but_full(at_least_one(count)?);
    chains(session, &archive, &collection, &plan)
}

fn at_least_one(count: usize) -> Result<usize, Failure> {
    if count == 0 {
        return Err(Failure::usage(
            "At least one full backup is kept: the count is 1 or more.",
        ));
    }
    Ok(count)
}

fn chains(
    session: &Session<'_>,
    archive: &Archive,
    collection: &Collection,
    plan: &RemovalPlan,
) -> Result<u8, Failure> {
    if !plan.needed.is_empty() {
        let times: Vec<String> = plan
            .needed
            .iter()
            .map(|time| session.pretty(*time))
            .collect();
        session.log.warn(
            warning::GENERIC,
            "",
            &format!(
                "There are backup set(s) at time(s):\n{}\n\
                 Which can't be deleted because newer sets depend on them.",
                times.join("\n")
            ),
        );
    }
    if plan.is_empty() {
        session
            .log
            .notice("No old backup sets found, nothing deleted.");
        return Ok(0);
    }
    let goes = |chain: &&Chain| {
        chain
            .sets
            .iter()
            .any(|set| plan.sets.iter().any(|gone| gone.kind == set.kind))
    };
    let chains = collection.chains.iter().filter(goes);
    let times: Vec<String> = chains.map(|chain| session.pretty(chain.end())).collect();
    let times = times.join("\n");
    if session.options.force {
        session
            .log
            .notice(&format!("Deleting backup chain(s) at time:\n{times}"));
        remove(session, archive, plan)?;
    } else {
        session.log.notice(&format!(
            "Found old backup chain(s) at the following time:\n{times}\n\
             Rerun command with --force option to actually delete."
        ));
    }
    Ok(0)
}

fn remove(session: &Session<'_>, archive: &Archive, plan: &RemovalPlan) -> Result<(), Failure> {
    if session.options.dry_run {
        return Ok(());
    }
    Ok(archive.remove(plan)?)
}
