//! `borg delete`

use borg::{Access, Archives, Deleted};
use bstr::{BString, ByteSlice};

use super::arguments::Arguments;
use super::fail::Failure;
use super::pick::{Listed, Pick};
use super::place::{Spot, archive_name};
use super::session::Session;
use super::stats::{self, dashes};
use super::text;

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    stats::only_one_kind(arguments)?;
    let spot = session.spot(arguments)?;
    let pick = Pick::of(session, arguments)?.with_checkpoints();
    let is_picked = Pick::is_asked_for(arguments);
    let mut names: Vec<BString> = Vec::new();
    names.extend(spot.archive.iter().map(|name| name.as_str().into()));
    for typed in arguments.all("archives") {
        names.push(archive_name(&typed.to_string_lossy(), session.now)?.into());
    }
    if is_picked && !names.is_empty() {
        return Err(Failure::command(
            "Mixing archive filters and explicitly named archives is not supported.",
        ));
    }
    if names.is_empty() && !is_picked {
        return delete_repository(session, arguments, &spot);
    }
    let mut archives = session.open(&spot, Access::Write)?;
    let check = archives.manifest().check_features(borg::Operation::Delete);
    check.map_err(borg::Error::from)?;
    let chosen: Vec<Listed> = match is_picked {
        true => pick.choose(&archives),
        false => named(session, &archives, &names)?,
    };
    remove(session, arguments, &mut archives, &chosen)
}

/// The archives of these names; warns of those that there are not.
fn named(
    session: &Session,
    archives: &Archives,
    names: &[BString],
) -> Result<Vec<Listed>, Failure> {
    let mut found = Vec::new();
    for (index, name) in names.iter().enumerate() {
        match archives.manifest().archives.get(name.as_bstr()) {
            Some(entry) => found.push((name.clone(), entry.clone())),
            None if names.len() == 1 => return Err(Failure::no_archive(name)),
            None => session.log.warn(
                super::log::Warning::Other,
                &format!("Archive {name} not found ({}/{}).", index + 1, names.len()),
            ),
        }
    }
    Ok(found)
}

/// Deletes archives, and says what is asked for.
fn remove(
    session: &Session,
    arguments: &Arguments,
    archives: &mut Archives,
    chosen: &[Listed],
) -> Result<(), Failure> {
    let is_dry = arguments.has("dry_run");
    if is_dry {
        stats::none_when_dry(session, arguments);
    }
    if arguments.has("list") {
        let what = if is_dry {
            "Would delete archive:"
        } else {
            "Deleting archive:"
        };
        for (index, (name, entry)) in chosen.iter().enumerate() {
            let line = format!(
                "{what} {} ({}/{})",
                archive_line(name, entry),
                index + 1,
                chosen.len()
            );
            session.log.requested("borg.output.list", &line);
        }
    }
    if is_dry || chosen.is_empty() {
        return Ok(());
    }
    let names: Vec<BString> = chosen.iter().map(|(name, _)| name.clone()).collect();
    if arguments.count("force") >= 2 {
        archives.forget_archives(&names, session.now)?;
        session
            .log
            .notice("Done. Run \"borg check --repair\" to clean up the mess.");
        return Ok(());
    }
    session.go_on()?;
    let deleted = delete(
        session,
        archives,
        &names,
        ("archive.delete", "Deleting archives"),
    )?;
    if deleted.missing > 0 {
        let message =
            "Chunks were missing: a deleted archive was corrupted. Run \"borg check --repair\".";
        match arguments.has("force") {
            true => session.log.notice(message),
            false => session.log.warn(super::log::Warning::Other, message),
        }
    }
    print_stats(session, arguments, archives, &deleted)
}

/// Deletes archives and shows progress: the id of its messages, and its words.
pub(crate) fn delete(
    session: &Session,
    archives: &mut Archives,
    names: &[BString],
    (msgid, what): (&str, &str),
) -> Result<Deleted, Failure> {
    // All go in one transaction, so there is nothing between the beginning and the end.
    let total = names.len() as u64;
    let progress = |done| session.log.percent(msgid, what, done, total);
    progress(0);
    let deleted = archives.delete_archives(names, session.host(), session.now)?;
    progress(total);
    session.log.end_progress();
    Ok(deleted)
}

/// A line of sizes of what was deleted.
pub(crate) fn print_stats(
    session: &Session,
    arguments: &Arguments,
    archives: &Archives,
    deleted: &Deleted,
) -> Result<(), Failure> {
    if !arguments.has("stats") && !arguments.has("quick_stats") {
        return Ok(());
    }
    let negative = |bytes: u64| -stats::signed(bytes);
    let sizes = [deleted.total_size, deleted.total_csize, deleted.csize].map(negative);
    let mut lines = vec![
        dashes(),
        stats::HEADER.to_owned(),
        stats::row(session, "Deleted data:", sizes),
    ];
    if arguments.has("stats") {
        let info = archives.repository_info(session.host())?;
        lines.push(stats::repository_rows(session, &info));
    }
    lines.push(dashes());
    for line in lines {
        session.log.requested("borg.output.stats", &line);
    }
    Ok(())
}

/// Name, time and id of an archive.
pub(crate) fn archive_line(name: &[u8], entry: &borg::ArchiveEntry) -> String {
    let (name, time) = (text::path(name), text::time(entry.time.instant()));
    format!("{name:<36} {time} [{}]", entry.id)
}

/// Deletes a whole repository, or its cache.
fn delete_repository(session: &Session, arguments: &Arguments, spot: &Spot) -> Result<(), Failure> {
    let is_dry = arguments.has("dry_run");
    let backend = borg::Backend::open(&spot.location, &session.options(Access::Write))?;
    let id = backend.id();
    if !arguments.has("cache_only") {
        let mut question = format!(
            "You requested to completely DELETE the following repository *including* all archives it contains:\n{}\nRepository ID: {id}\nLocation: {}\n",
            dashes(),
            backend.location()
        );
        drop(backend);
        let opened = session.open(spot, Access::Read);
        match &opened {
            Ok(archives) => {
                question.push_str("\nArchives:\n");
                for (name, entry) in archives.list() {
                    question.push_str(&archive_line(name, entry));
                    question.push('\n');
                }
                if archives.list().is_empty() {
                    question.push_str("This repository seems to not have any archives.\n");
                }
            }
            Err(failure) => question.push_str(&format!(
                "The archives cannot be listed: {}\n",
                failure.message
            )),
        }
        drop(opened);
        question.push_str(&dashes());
        question.push_str("\nType 'YES' if you understand this and want to continue: ");
        if is_dry {
            session.log.info("Would delete repository.");
            return Ok(());
        }
        let variable = "BORG_DELETE_I_KNOW_WHAT_I_AM_DOING";
        if arguments.count("force") == 0 && !session.confirm_word(&question, variable)? {
            return Err(Failure::cancelled());
        }
        let backend = borg::Backend::open(&spot.location, &session.options(Access::Write))?;
        backend.destroy()?;
        session.log.info("Repository deleted.");
        session
            .home
            .forget(&id, arguments.has("keep_security_info"))?;
    } else if !is_dry {
        // Whatever else uses the cache is done first.
        let _lock = match session.home.cache_of(&id) {
            cache if cache.is_dir() => {
                let wait = session.options(Access::Write).lock_wait;
                Some(borg::Lock::exclusive(
                    &cache.join("lock"),
                    session.host(),
                    wait,
                )?)
            }
            _ => None,
        };
        session.home.forget(&id, true)?;
    }
    session.log.info("Cache deleted.");
    Ok(())
}
