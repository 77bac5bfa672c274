//! `borg check`

use std::ops::ControlFlow;
use std::time::Duration;

use borg::{
    Access, Backend, CheckReport, CheckScope, Checked, Checker, Hurt, HurtFile, ManifestState,
    RepositoryState,
};

use super::arguments::Arguments;
use super::fail::Failure;
use super::log::Log;
use super::pick::Pick;
use super::place::Spot;
use super::session::Session;
use super::text;

/// Asked before a repair.
const QUESTION: &str = "This is a potentially dangerous function.\n\
    check --repair might lead to data loss (for kinds of corruption it is not\n\
    capable of dealing with). BE VERY CAREFUL!\n\n\
    Type 'YES' if you understand this and want to continue: ";

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.spot(arguments)?;
    let has = |name| arguments.has(name);
    let (repository_only, archives_only) = (has("repository_only"), has("archives_only"));
    let repair = has("repair");
    let pick = Pick::of(session, arguments)?.with_checkpoints();
    let is_picked = Pick::is_asked_for(arguments);
    let seconds: u64 = arguments.number("max_duration", 0)?;
    if repository_only && archives_only {
        return Err(Failure::usage(
            "argument --archives-only: not allowed with argument --repository-only",
        ));
    }
    if repository_only && (has("verify_data") || is_picked || spot.archive.is_some()) {
        return Err(Failure::command(
            "--repository-only contradicts --first, --last, --glob-archives, --prefix and --verify-data arguments.",
        ));
    }
    if repair && seconds > 0 {
        return Err(Failure::command(
            "--repair does not allow --max-duration argument.",
        ));
    }
    if seconds > 0 && !repository_only {
        return Err(Failure::command(
            "--repository-only is required for --max-duration support.",
        ));
    }
    if repair && !session.confirm_word(QUESTION, "BORG_CHECK_I_KNOW_WHAT_I_AM_DOING")? {
        return Err(Failure::cancelled());
    }
    if repository_only {
        let limit = (seconds > 0).then(|| Duration::from_secs(seconds));
        return check_repository(session, &spot, repair, limit);
    }
    let access = match session.bypasses_lock() && !repair {
        true => Access::NoLock,
        false => Access::Write,
    };
    let options = session.options(access);
    let opened = session.asking(&spot, |passphrase, trust| {
        Checker::open(&spot.location, &session.home, &options, passphrase, trust)
    });
    let mut checker = match opened {
        Ok(checker) => checker,
        Err(failure) if failure.msgid == "NoManifestError" => {
            session.log.error(
                "Repository contains no apparent data at all, cannot continue check/repair.",
            );
            session.log.set_warned();
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    checker.remove_unauthenticated();
    let chosen: Vec<Vec<u8>> = match (&spot.archive, is_picked) {
        (Some(name), _) => vec![name.clone().into_bytes()],
        (None, true) => {
            let chosen = pick.choose(checker.archives()).into_iter();
            chosen.map(|(name, _)| name.into()).collect()
        }
        (None, false) => Vec::new(),
    };
    let takes = |name: &[u8]| chosen.iter().any(|chosen| chosen == name);
    let scope = CheckScope {
        repository: !archives_only,
        data: has("verify_data"),
        archives: (is_picked || spot.archive.is_some()).then_some(&takes),
    };
    let found = look(session, &mut checker, &scope)?;
    tell(session, &found, repair);
    let is_whole = is_whole(&found);
    if repair {
        let repaired = checker.repair(&found, session.host(), session.now)?;
        if repaired.manifest_rebuilt {
            session.log.info("The manifest was made anew:");
            for (name, _) in checker.archives().list() {
                session
                    .log
                    .info(&format!("Found archive {}", text::path(name)));
            }
        }
        if !found.orphans_are_certain && scope.archives.is_none() {
            // What lost parts of archives used is of no use to anybody now, and takes space.
            let again = CheckScope {
                repository: false,
                data: false,
                archives: None,
            };
            let left = look(session, &mut checker, &again)?;
            checker.repair(&left, session.host(), session.now)?;
        }
        session.log.info("Repair completed.");
        return Ok(());
    }
    if !is_whole {
        session.log.set_warned();
    }
    Ok(())
}

fn look(
    session: &Session,
    checker: &mut Checker,
    scope: &CheckScope<'_>,
) -> Result<CheckReport, Failure> {
    let log = &session.log;
    if scope.repository {
        log.info("Starting repository check");
    }
    let list = checker.archives().list();
    let takes = |name: &[u8]| scope.archives.is_none_or(|takes| takes(name));
    let names: Vec<String> = list
        .into_iter()
        .filter(|(name, _)| takes(name))
        .map(|(name, _)| text::path(name))
        .collect();
    let mut phase = "";
    let found = checker.check_scope(scope, &mut |step| {
        if phase != step.phase {
            phase = step.phase;
            if phase == "checking archives" {
                log.info("Starting archive consistency check...");
            }
        }
        let (msgid, what) = match phase {
            "reading segments" => ("repository.check", "Checking segments"),
            "reading objects" => ("check.verify_data", "Verifying data"),
            "looking for archives" => ("check.rebuild_manifest", "Rebuilding manifest"),
            _ => ("check.rebuild_refcounts", "Checking archives"),
        };
        if phase == "checking archives"
            && let Some(name) = usize::try_from(step.done)
                .ok()
                .and_then(|done| names.get(done.checked_sub(1)?))
        {
            log.info(&format!(
                "Analyzed archive {name} ({}/{})",
                step.done, step.total
            ));
        }
        log.percent(msgid, what, step.done, step.total);
        match session.signal() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    log.end_progress();
    match (found, session.signal()) {
        (_, Some(signal)) => Err(signal),
        (found, None) => Ok(found?),
    }
}

/// Whether nothing is lost that was not known before. What a repair has put zeros into is.
fn is_whole(found: &CheckReport) -> bool {
    found.repository.is_good()
        && !found.counters_garbled
        && found.manifest == ManifestState::Good
        && found.bad_objects.is_empty()
        && (found.orphans.is_empty() || !found.orphans_are_certain)
        && found.hurt.iter().all(|archive| match &archive.hurt {
            Hurt::Parts {
                lost_lists,
                gaps,
                files,
            } => *lost_lists == 0 && *gaps == 0 && files.iter().all(|file| file.missing == 0),
            _ => false,
        })
}

/// Says what was found.
fn tell(session: &Session, found: &CheckReport, repair: bool) {
    let log = &session.log;
    match &found.repository {
        RepositoryState::NotChecked => {}
        RepositoryState::Local(checked) => tell_repository(log, checked),
        RepositoryState::Remote { is_good, said } => {
            for line in said {
                log.say(
                    if *is_good {
                        super::log::Level::Info
                    } else {
                        super::log::Level::Error
                    },
                    line,
                );
            }
            log.info("Completed repository check");
        }
    }
    if found.counters_garbled {
        log.error("The file of used counters is garbled.");
    }
    if let ManifestState::Lost { what } = &found.manifest {
        log.error(&format!(
            "Repository manifest is missing or damaged: {what}"
        ));
    }
    for id in &found.bad_objects {
        log.error(&format!(
            "chunk {id}, integrity error: its content is not what was stored"
        ));
    }
    for archive in &found.hurt {
        let name = text::path(&archive.name);
        match &archive.hurt {
            Hurt::Lost { what } => log.error(&format!("Archive {name} is lost: {what}")),
            Hurt::Forged => log.error(&format!(
                "Archive TAM authentication issue for archive {name}: it is forged"
            )),
            Hurt::NotAuthenticated => {
                log.error(&format!(
                    "Archive TAM authentication issue for archive {name}: it is not authenticated"
                ));
            }
            Hurt::Parts {
                lost_lists,
                gaps,
                files,
            } => {
                if lost_lists + gaps > 0 {
                    log.error(&format!("Archive {name}: {lost_lists} pieces of its list of files are lost, {gaps} are damaged"));
                }
                for file in files {
                    tell_file(log, &name, file, repair);
                }
            }
        }
    }
    if !found.orphans.is_empty() && found.orphans_are_certain {
        log.error(&format!("{} orphaned objects found!", found.orphans.len()));
    }
    log.info(if is_whole(found) {
        "Archive consistency check complete, no problems found."
    } else {
        "Archive consistency check complete, problems found."
    });
}

fn tell_file(log: &Log, archive: &str, file: &HurtFile, repair: bool) {
    let path = text::path(&file.path);
    if file.missing > 0 {
        let then = if repair {
            " Replacing with all-zero chunks."
        } else {
            ""
        };
        log.error(&format!(
            "{archive}: {path}: New missing file chunk detected ({} chunks, {} bytes).{then}",
            file.missing, file.missing_bytes
        ));
    }
    if file.healable > 0 && repair {
        log.info(&format!(
            "{archive}: {path}: Healed previously missing file chunk! ({} chunks)",
            file.healable
        ));
        if file.healable == file.zeros && file.missing == 0 {
            log.info(&format!(
                "{archive}: {path}: Completely healed previously damaged file!"
            ));
        }
    } else if file.zeros > file.healable {
        log.notice(&format!(
            "{archive}: {path}: zeros stand in the place of {} chunks that are still missing",
            file.zeros - file.healable
        ));
    }
}

fn tell_repository(log: &Log, checked: &Checked) {
    for place in &checked.damages {
        log.error(&format!("Data integrity error: {}", place.damage));
    }
    if checked.index_missing {
        log.error("The index of the repository is missing.");
    }
    for difference in &checked.index_differences {
        log.error(&format!("Index mismatch for key {}.", difference.id));
    }
    log.info(if checked.is_good() {
        "Finished full repository check, no problems found."
    } else {
        "Finished full repository check, errors found."
    });
}

/// Checks what is below the encryption: no key is needed for that.
fn check_repository(
    session: &Session,
    spot: &Spot,
    repair: bool,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let log = &session.log;
    let repository = Backend::open(&spot.location, &session.options(Access::Write))?;
    log.info("Starting repository check");
    let is_good = match &repository {
        Backend::Local(repository) => {
            let advance = |done: usize, total: usize| {
                log.percent(
                    "repository.check",
                    "Checking segments",
                    done as u64,
                    total as u64,
                );
            };
            let checked = match limit {
                Some(limit) => repository.check_for(limit, advance)?,
                None => repository.check(advance)?,
            };
            log.end_progress();
            tell_repository(log, &checked);
            if let Some(segment) = checked.checked_up_to {
                log.info(&format!(
                    "Finished partial segment check, last segment checked is {segment}."
                ));
            }
            let is_good = checked.is_good();
            if repair && (!is_good || checked.index_missing) {
                repository.repair(&checked)?;
            }
            is_good
        }
        Backend::Remote(remote) => {
            // What it finds, the server says.
            match limit {
                Some(limit) => remote.check_for(limit)?,
                None => remote.check(repair)?,
            }
        }
    };
    if !is_good && !repair {
        log.set_warned();
    }
    Ok(())
}
