//! `ravelin store test`

use std::ops::ControlFlow;

use serde::Serialize;
use store::conformance::{Check, Outcome};
use store::probe::{Guard, Report, probe_watched};
use store::{Environment, Location};

use crate::cli::StoreTest;
use crate::commands::{Ended, Session};
use crate::exit::Exit;
use crate::human;
use crate::progress::Progress;

pub(crate) fn run(arguments: &StoreTest, session: &Session<'_>) -> Result<Exit, Ended> {
    let location: Location = arguments
        .location
        .parse()
        .map_err(engine::Error::BadStore)?;
    let mut environment: Environment = session.machine.store_environment();
    environment.patience = super::PATIENCE;
    let progress = Progress::new(session.output.draws);
    let report = probe_watched(&location, &environment, &mut |what| {
        progress.say(what);
        if session.stop.is_requested() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    progress.finish();
    let report = match report {
        Ok(report) => report,
        // What broke off because a person wants to stop is no failure of the place.
        Err(_) if session.stop.is_requested() => return Ok(Exit::Interrupted),
        Err(error) => return Err(engine::Error::from(error).into()),
    };
    if session.output.json {
        session.output.json(&record(&location, &report))?;
    } else {
        session.output.data(text(&location, &report).as_bytes())?;
    }
    Ok(if session.stop.is_requested() {
        Exit::Interrupted
    } else if report.is_good() {
        Exit::Good
    } else {
        Exit::Failed
    })
}

/// What docs/json.md promises.
#[derive(Serialize)]
struct Record {
    store: String,
    good: bool,
    capabilities: CapabilityRecord,
    checks: Vec<CheckRecord>,
    speed: Option<SpeedRecord>,
    latency_ms: Option<f64>,
    clock_skew_seconds: Option<i64>,
    clocks_differ: bool,
    preconditions: Option<bool>,
    space: Option<SpaceRecord>,
    guard: GuardRecord,
    left_over: Vec<String>,
}

#[derive(Serialize)]
struct CapabilityRecord {
    create: bool,
    rename: bool,
    copy: bool,
    checksum: Option<String>,
    resume: bool,
    case_folding: bool,
}

#[derive(Serialize)]
struct CheckRecord {
    rule: &'static str,
    outcome: &'static str,
    seen: Option<String>,
}

#[derive(Serialize)]
struct SpeedRecord {
    up_bytes_per_second: f64,
    down_bytes_per_second: f64,
}

#[derive(Serialize)]
struct SpaceRecord {
    free: u64,
    total: Option<u64>,
}

#[derive(Serialize)]
struct GuardRecord {
    open: bool,
    can_delete: Option<bool>,
    keeps_versions: Option<bool>,
    object_lock: Option<bool>,
    locks_new_objects: Option<bool>,
    rights: Option<Vec<String>>,
}

fn record(location: &Location, report: &Report) -> Record {
    let capabilities = report.capabilities;
    Record {
        store: location.to_string(),
        good: report.is_good(),
        capabilities: CapabilityRecord {
            create: capabilities.create,
            rename: capabilities.rename,
            copy: capabilities.copy,
            checksum: capabilities.digest.map(|kind| kind.to_string()),
            resume: capabilities.resume,
            case_folding: capabilities.case_folding,
        },
        checks: report
            .checks
            .iter()
            .map(|check| CheckRecord {
                rule: check.rule,
                outcome: word(check),
                seen: seen(check),
            })
            .collect(),
        speed: match &report.speed {
            Some(Ok(speed)) => Some(SpeedRecord {
                up_bytes_per_second: speed.up.round(),
                down_bytes_per_second: speed.down.round(),
            }),
            _ => None,
        },
        latency_ms: report
            .latency
            .map(|latency| (latency.as_secs_f64() * 1e5).round() / 1e2),
        clock_skew_seconds: report.clock_skew_seconds,
        clocks_differ: report.clocks_differ(),
        preconditions: report.preconditions,
        space: report.space.map(|space| SpaceRecord {
            free: space.free,
            total: space.total,
        }),
        guard: GuardRecord {
            open: report.guard.is_open(),
            can_delete: report.guard.can_delete,
            keeps_versions: report.guard.keeps_versions,
            object_lock: report.guard.object_lock,
            locks_new_objects: report.guard.locks_new_objects,
            rights: report.guard.rights.clone(),
        },
        left_over: report
            .left_over
            .iter()
            .map(|name| name.to_string())
            .collect(),
    }
}

fn word(check: &Check) -> &'static str {
    match &check.outcome {
        Outcome::Holds => "holds",
        Outcome::NotClaimed => "not-claimed",
        Outcome::Broken(_) => "broken",
        Outcome::Failed(_) if check.is_forbidden() => "forbidden",
        Outcome::Failed(_) => "failed",
    }
}

fn seen(check: &Check) -> Option<String> {
    match &check.outcome {
        Outcome::Holds | Outcome::NotClaimed => None,
        Outcome::Broken(seen) => Some(seen.clone()),
        Outcome::Failed(error) => Some(engine::event::chain(error).join(": ")),
    }
}

fn text(location: &Location, report: &Report) -> String {
    let mut text = format!("{location}\n\n");
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{name:<12}{value}\n"));
    };
    let holds = count(report, "holds");
    line(
        "contract",
        &format!("{holds} of {} rules hold", report.checks.len()),
    );
    for check in &report.checks {
        match word(check) {
            "holds" => {}
            "not-claimed" => line("", &format!("not offered: {}", check.rule)),
            word => line(
                "",
                &format!(
                    "{}: {} ({})",
                    word.to_uppercase(),
                    check.rule,
                    seen(check).unwrap_or_default()
                ),
            ),
        }
    }
    let capabilities = report.capabilities;
    let offers = |has: bool, what: &str| {
        let sign = if has { "yes" } else { "no " };
        format!("{sign} {what}")
    };
    line("offers", &offers(capabilities.create, "write if absent"));
    line("", &offers(capabilities.rename, "rename"));
    line("", &offers(capabilities.copy, "copy within the store"));
    line(
        "",
        &offers(
            capabilities.resume,
            "big uploads go on after this program was killed",
        ),
    );
    match capabilities.digest {
        Some(kind) => line("", &format!("yes its own checksum: {kind}")),
        None => line("", "no  checksum of its own"),
    }
    if report.preconditions == Some(false) {
        line(
            "",
            "the server IGNORES preconditions: it is never asked to keep one",
        );
    }
    if capabilities.case_folding {
        line("", "names that differ only in case are one name");
    }
    let latency = report
        .latency
        .map(|latency| format!(", {:.1} ms for an answer", latency.as_secs_f64() * 1e3))
        .unwrap_or_default();
    match &report.speed {
        Some(Ok(speed)) => line(
            "speed",
            &format!("{} up, {} down{latency}", rate(speed.up), rate(speed.down)),
        ),
        Some(Err(error)) => line(
            "speed",
            &format!("FAILED: {}", engine::event::chain(error).join(": ")),
        ),
        None => line("speed", "not measured"),
    }
    line("clock", &clock(report));
    let space = match report.space {
        Some(space) => match space.total {
            Some(total) => format!("{} of {} free", human::size(space.free), human::size(total)),
            None => format!("{} free", human::size(space.free)),
        },
        None => "not known".to_owned(),
    };
    line("room", &space);
    guard(&report.guard, &mut line);
    if !report.left_over.is_empty() {
        line(
            "left over",
            &format!(
                "{} in {}: these credentials could not delete them",
                human::count(
                    u64::try_from(report.left_over.len()).unwrap_or(u64::MAX),
                    "object"
                ),
                report.scratch
            ),
        );
    }
    text
}

fn count(report: &Report, wanted: &str) -> usize {
    let checks = report.checks.iter();
    checks.filter(|check| word(check) == wanted).count()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a speed is positive and far below the limits"
)]
fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", human::size(bytes_per_second as u64))
}

fn clock(report: &Report) -> String {
    match report.clock_skew_seconds {
        None => "the store does not tell the time".to_owned(),
        Some(0) => "in step with this machine's".to_owned(),
        Some(seconds) => {
            let direction = if seconds > 0 { "ahead of" } else { "behind" };
            let distance = human::duration(jiff::SignedDuration::from_secs(
                i64::try_from(seconds.unsigned_abs()).unwrap_or(i64::MAX),
            ));
            let advice = if report.clocks_differ() {
                ": set the clock that is wrong, here with `timedatectl set-ntp true`"
            } else {
                ""
            };
            format!("{distance} {direction} this machine's{advice}")
        }
    }
}

fn guard(guard: &Guard, line: &mut impl FnMut(&str, &str)) {
    if guard.is_open() {
        line(
            "ransomware",
            "OPEN: who has these credentials can delete the backups for good",
        );
    } else {
        line(
            "ransomware",
            "guarded: these credentials cannot delete the backups for good",
        );
    }
    let told = |known: Option<bool>, yes: &str, no: &str| match known {
        Some(true) => yes.to_owned(),
        Some(false) => no.to_owned(),
        None => format!("not known whether {yes}"),
    };
    line(
        "",
        &told(
            guard.can_delete,
            "objects can be deleted",
            "objects cannot be deleted",
        ),
    );
    line(
        "",
        &told(
            guard.keeps_versions,
            "old versions are kept",
            "old versions are not kept",
        ),
    );
    line(
        "",
        &told(
            guard.object_lock,
            "objects can be locked until a date",
            "objects cannot be locked",
        ),
    );
    if guard.object_lock == Some(true) {
        line(
            "",
            &told(
                guard.locks_new_objects,
                "new objects are locked by the bucket's own rule",
                "new objects are not locked: the bucket has no rule for it",
            ),
        );
    }
    if let Some(rights) = guard.rights.as_ref().filter(|rights| !rights.is_empty()) {
        line("", &format!("rights: {}", rights.join(", ")));
    }
    if guard.is_open() {
        line("", "what helps: docs/stores.md, Ransomware");
    }
}
