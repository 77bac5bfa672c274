//! A timer and a hardened service, of the user or, for root, of the system.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;

use super::{Installed, Job, PATIENCE, Scheduler};
use crate::create_private_folder;
use crate::program::{self, Ended};

/// How it ends well, and that it waits for everybody else.
const MANNERS: &str = "\
# Some files skipped (3), waiting for power, network or a drive (75), and being stopped (130) are no
# failures.
SuccessExitStatus=3 75 130
TimeoutStartSec=infinity
SyslogIdentifier=ravelin
Nice=19
CPUWeight=20
IOWeight=20

";

/// Of a service of the system.
const NETWORK: &str = "Wants=network-online.target\nAfter=network-online.target\n";

/// What any service can do without.
const ALWAYS: &str = "\
UMask=0077
LimitCORE=0
";

/// What a service that reads backups' sources needs none of. For services of any user.
const HARDENING: &str = "\
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
";

/// What only the system's manager can impose, besides the folders that may be written to.
const HARDENING_OF_SYSTEM: &str = "\
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
PrivateDevices=yes
DevicePolicy=closed
KeyringMode=private
RemoveIPC=yes
CapabilityBoundingSet=CAP_DAC_READ_SEARCH CAP_DAC_OVERRIDE
AmbientCapabilities=
";

/// What stands in the units of a package, which know no configuration.
const OF_A_PACKAGE: &str = "\
# `ravelin schedule install` writes units of the same names that fit the configuration: they know the
# stores, and leave room for hooks and commands, which these hold to little. They take the place of
# these.
";

/// What is run, as people are told.
const RUN: &str = "Backups by Ravelin: what is due";
const NOTIFY: &str = "Alarms by Ravelin: what nobody heard of yet";

/// The units that a package brings, for each user and for the system: paths below systemd's folder, and
/// their texts. None is enabled by that.
///
/// `systemctl --user enable --now ravelin.timer ravelin-notify.timer` does it for a user, the same
/// without `--user` for root. `None` when a unit cannot hold the program's path.
#[must_use]
pub fn units_of_package(program: &Path) -> Option<Vec<(PathBuf, String)>> {
    let program = quoted(program.as_os_str()).ok()?;
    let mut units = Vec::new();
    for (manager, for_system) in [("user", false), ("system", true)] {
        for (name, verb, what, when) in [
            ("ravelin", "run", RUN, "OnCalendar=*:00/15"),
            ("ravelin-notify", "notify", NOTIFY, "OnCalendar=00/3:00"),
        ] {
            let mut service = format!("{OF_A_PACKAGE}[Unit]\nDescription={what}\n");
            if for_system {
                service.push_str(NETWORK);
            }
            service.push_str(&format!(
                "\n[Service]\nType=oneshot\nExecStart={program} {verb}\n"
            ));
            if for_system {
                // With a user there is a HOME.
                service.push_str("User=root\n");
            }
            service.push_str(MANNERS);
            service.push_str(ALWAYS);
            service.push_str(HARDENING);
            if for_system {
                service.push_str("ProtectSystem=full\n");
                service.push_str(HARDENING_OF_SYSTEM);
            }
            // Not all machines knock at a server at once, and each always at its own time.
            let spread = "RandomizedDelaySec=14min\nFixedRandomDelay=yes\n";
            let folder = Path::new(manager);
            units.push((folder.join(format!("{name}.service")), service));
            units.push((
                folder.join(format!("{name}.timer")),
                timer(what, when, spread),
            ));
        }
    }
    Some(units)
}

/// The name of the units: of the usual configuration, or with a number of its own.
fn name(job: &Job) -> String {
    if job.usual_config {
        return "ravelin".to_owned();
    }
    let bytes = job.config.as_os_str().as_bytes();
    let number = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("ravelin-{number:016x}")
}

/// Whether a manager is there that takes timers.
pub(super) fn usable(job: &Job) -> Result<(), String> {
    let ended = systemctl(job, &["show-environment"])?;
    if ended.status.success() {
        Ok(())
    } else {
        Err(ended.complaint())
    }
}

/// The units that are written.
pub(super) fn files(job: &Job) -> Result<Vec<(PathBuf, String)>, String> {
    let minutes: Vec<String> = job
        .minutes_of_hour()
        .iter()
        .map(|minute| format!("{minute:02}"))
        .collect();
    let name = name(job);
    let mut units = Vec::new();
    let at_once = "RandomizedDelaySec=60\n";
    let mut add = |name: &str, service: String, what: &str, when: &str, spread: &str| {
        units.push((job.units.join(format!("{name}.service")), service));
        let timer = timer(what, when, spread);
        units.push((job.units.join(format!("{name}.timer")), timer));
    };
    let every = format!("OnCalendar=*:{}", minutes.join(","));
    add(
        &name,
        service(job, Ends::Soon, &["run"], RUN)?,
        RUN,
        &every,
        at_once,
    );
    if job.notifies {
        let when = format!("OnCalendar=00/3:{:02}", (u16::from(job.offset) + 1) % 60);
        let notify = service(job, Ends::Soon, &["notify"], NOTIFY)?;
        add(&notify_name(job), notify, NOTIFY, &when, at_once);
    }
    for layer in &job.watches {
        let what = format!("Drop folder by Ravelin: {layer}, as it changes");
        let watch = service(job, Ends::Never, &super::watching(layer), &what)?;
        // At once, and again when it has ended: a timer lets one that runs alone.
        let when = format!("OnActiveSec=1\n{every}");
        add(
            &watch_name(job, layer),
            watch,
            &what,
            &when,
            "AccuracySec=1s\n",
        );
    }
    Ok(units)
}

/// The name of the units of the small timer.
fn notify_name(job: &Job) -> String {
    format!("{}-notify", name(job))
}

/// What the names of the units that follow folders begin with.
fn watch_prefix(job: &Job) -> String {
    format!("{}-watch-", name(job))
}

/// The name of the units that follow the folder of a layer.
fn watch_name(job: &Job, layer: &str) -> String {
    format!("{}{layer}", watch_prefix(job))
}

/// The timers of ours that are there, by the names of their units.
fn timers_there(job: &Job) -> Vec<String> {
    let mut names = vec![name(job), notify_name(job)];
    let prefix = watch_prefix(job);
    let files = fs::read_dir(&job.units).into_iter().flatten().flatten();
    names.extend(files.filter_map(|file| {
        let file_name = file.file_name().into_string().ok()?;
        let unit = file_name.strip_suffix(".timer")?;
        unit.starts_with(&prefix).then(|| unit.to_owned())
    }));
    names.retain(|name| job.units.join(format!("{name}.timer")).exists());
    names
}

/// When a service ends.
#[derive(PartialEq, Eq)]
enum Ends {
    Soon,
    /// When it is told to.
    Never,
}

/// `when`: what sets the timer off, lines without the last line break.
fn timer(what: &str, when: &str, spread: &str) -> String {
    format!(
        "[Unit]\nDescription={what}\n\n\
         [Timer]\n{when}\nPersistent=yes\n{spread}\n\
         [Install]\nWantedBy=timers.target\n"
    )
}

fn service(job: &Job, ends: Ends, verb: &[&str], what: &str) -> Result<String, String> {
    let mut exec = Vec::new();
    for word in job.words(verb) {
        exec.push(quoted(&word)?);
    }
    let mut service = format!("[Unit]\nDescription={what}\n");
    if job.for_system {
        service.push_str(NETWORK);
    }
    service.push_str(match ends {
        Ends::Soon => "\n[Service]\nType=oneshot\n",
        // Whatever ended it, the timer begins it anew.
        Ends::Never => "\n[Service]\nType=exec\n",
    });
    service.push_str(&format!("ExecStart={}\n", exec.join(" ")));
    for (variable, value) in &job.environment {
        let mut pair = std::ffi::OsString::from(format!("{variable}="));
        pair.push(value);
        service.push_str(&format!("Environment={}\n", quoted(&pair)?));
    }
    service.push_str(MANNERS);
    service.push_str(ALWAYS);
    if job.calls_others {
        service.push_str(
            "# Not hardened further: hooks, commands and `sendmail` may need what that takes away.\n",
        );
        return Ok(service);
    }
    service.push_str(HARDENING);
    if job.for_system && ends == Ends::Never {
        // Folders that are named to it as those that it may write to would keep a drive in use for as
        // long as it goes on.
        service.push_str("ProtectSystem=full\n");
        service.push_str(HARDENING_OF_SYSTEM);
    } else if job.for_system {
        // Everything is read, little is written.
        service.push_str("ProtectSystem=strict\n");
        service.push_str(HARDENING_OF_SYSTEM);
        for folder in job.writes.iter().chain(&job.stores) {
            // With a dash: a drive that is away keeps the service from nothing else.
            let mut path = std::ffi::OsString::from("-");
            path.push(folder);
            service.push_str(&format!("ReadWritePaths={}\n", quoted(&path)?));
        }
    }
    Ok(service)
}

/// A word for a unit file: quotes, specifiers and variables mean themselves.
fn quoted(word: &OsStr) -> Result<String, String> {
    let text = word
        .to_str()
        .filter(|text| !text.contains(|character: char| character.is_control()))
        .ok_or_else(|| {
            format!(
                "a unit cannot hold {}",
                word.to_string_lossy().escape_debug()
            )
        })?;
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('%', "%%")
        .replace('$', "$$");
    Ok(format!("\"{text}\""))
}

fn systemctl(job: &Job, words: &[&str]) -> Result<Ended, String> {
    let mut command = Command::new(&job.tools.systemctl);
    if !job.for_system {
        command.arg("--user");
    }
    command.args(words).env("LC_ALL", "C");
    program::run(&mut command, b"", PATIENCE)
        .map_err(|error| format!("there is no usable `systemctl`: {error}"))
}

fn succeed(job: &Job, words: &[&str]) -> Result<(), String> {
    let ended = systemctl(job, words)?;
    if ended.status.success() {
        Ok(())
    } else {
        Err(ended.complaint())
    }
}

/// Writes the units, makes them known, and starts the timer. What was written is taken away again
/// when the manager refuses it.
pub(super) fn install(job: &Job, files: &[(PathBuf, String)]) -> Result<(), String> {
    let failed = |error: io::Error| error.to_string();
    fs::create_dir_all(&job.units).map_err(failed)?;
    if job.for_system {
        // The service may not make them itself, and may write only into what is there.
        for folder in &job.writes {
            create_private_folder(folder).map_err(failed)?;
        }
    }
    for timer in timers_of_package(job) {
        // The link of the one would stand in the way of the other's, which has its name.
        let _ = systemctl(job, &["disable", "--now", &timer]);
    }
    // What is followed no longer, or in another way.
    for name in timers_there(job) {
        if name.starts_with(&watch_prefix(job)) {
            remove_timer(job, &name)?;
        }
    }
    for (path, text) in files {
        let beside = path.with_extension("new");
        fs::write(&beside, text).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
    }
    let timers = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|kind| kind == "timer"))
        .filter_map(|(path, _)| path.file_name()?.to_str());
    let mut started = succeed(job, &["daemon-reload"]);
    for timer in timers {
        started = started.and_then(|()| succeed(job, &["enable", "--now", timer]));
    }
    if started.is_err() {
        let _ = remove(job);
    }
    started
}

/// The timers that a package brought for the usual configuration.
fn timers_of_package(job: &Job) -> Vec<String> {
    let names = [name(job), notify_name(job)].into_iter();
    let timers = names.map(|name| format!("{name}.timer"));
    timers
        .filter(|timer| job.usual_config && job.units_of_package.join(timer).exists())
        .collect()
}

pub(super) fn remove(job: &Job) -> Result<(), String> {
    let mut found = false;
    for timer in timers_of_package(job) {
        if !job.units.join(&timer).exists() && succeed(job, &["is-enabled", &timer]).is_ok() {
            succeed(job, &["disable", "--now", &timer])?;
        }
    }
    for name in timers_there(job) {
        found = true;
        remove_timer(job, &name)?;
    }
    if found {
        let _ = systemctl(job, &["daemon-reload"]);
    }
    Ok(())
}

fn remove_timer(job: &Job, name: &str) -> Result<(), String> {
    let (timer, service) = (format!("{name}.timer"), format!("{name}.service"));
    let _ = systemctl(job, &["disable", "--now", &timer]);
    if name.starts_with(&watch_prefix(job)) {
        // It does not end by itself.
        let _ = systemctl(job, &["stop", &service]);
    }
    for unit in [timer, service] {
        match fs::remove_file(job.units.join(unit)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error.to_string());
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn installed(job: &Job) -> Option<Installed> {
    let timer = format!("{}.timer", name(job));
    let mut path = job.units.join(&timer);
    if !path.exists() {
        // The package's, if somebody has enabled it.
        path = job.units_of_package.join(&timer);
        if !timers_of_package(job).contains(&timer)
            || succeed(job, &["is-enabled", &timer]).is_err()
        {
            return None;
        }
    }
    let mut notes = Vec::new();
    let enabled = succeed(job, &["is-active", &timer]);
    if let Err(reason) = &enabled {
        notes.push(format!("the timer is not running: {reason}"));
    }
    for layer in &job.watches {
        let timer = format!("{}.timer", watch_name(job, layer));
        if !job.units.join(timer).exists() {
            notes.push(super::not_followed(layer));
        }
    }
    let lingers = job.for_system || Path::new("/var/lib/systemd/linger").join(user()).exists();
    if !lingers {
        notes.push(
            "it runs only while you are logged in; `loginctl enable-linger` changes that"
                .to_owned(),
        );
    }
    let next = systemctl(
        job,
        &[
            "show",
            "--property=NextElapseUSecRealtime",
            "--value",
            "--timestamp=unix",
            &timer,
        ],
    );
    let next = next.ok().and_then(|ended| {
        let text = String::from_utf8(ended.stdout).ok()?;
        let seconds = text.trim().strip_prefix('@')?.parse().ok()?;
        Timestamp::from_second(seconds).ok()
    });
    Some(Installed {
        by: Scheduler::Systemd,
        what: path.display().to_string(),
        enabled: enabled.is_ok(),
        next,
        notes,
    })
}

fn user() -> String {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{job, script};
    use super::*;

    #[test]
    fn the_timer_is_written_started_and_taken_away_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut job = job(folder.path());
        job.watches = vec!["drop".to_owned(), "old".to_owned()];
        script(
            folder.path(),
            "systemctl",
            "echo \"$@\" >> \"$here/calls\"\ncase $2 in show) echo @1795593600;; esac\n",
        );
        let files = files(&job).unwrap();
        install(&job, &files).unwrap();
        let installed = installed(&job).unwrap();
        assert!(installed.enabled);
        assert_eq!(installed.next, Timestamp::from_second(1_795_593_600).ok());
        // One that is followed no longer is stopped and goes.
        job.watches.pop();
        install(&job, &super::files(&job).unwrap()).unwrap();
        let there = timers_there(&job);
        let watching = format!("{}drop", watch_prefix(&job));
        assert_eq!(there, [name(&job), watching.clone()]);
        let unit = fs::read_to_string(job.units.join(format!("{watching}.service"))).unwrap();
        let words = "\"drop\" \"--layer\" \"drop\" \"sync\" \"--watch\" \"--scheduled\"\n";
        assert!(unit.contains(words), "{unit}");
        assert_eq!(
            super::installed(&job).unwrap().notes.len(),
            installed.notes.len()
        );
        job.watches.push("new".to_owned());
        let notes = super::installed(&job).unwrap().notes;
        assert!(
            notes.contains(&super::super::not_followed("new")),
            "{notes:?}"
        );
        remove(&job).unwrap();
        assert_eq!(super::installed(&job), None);
        assert_eq!(fs::read_dir(&job.units).unwrap().count(), 0);
        let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
        let timer = format!("{}.timer", name(&job));
        assert!(
            calls.contains(&format!("--user enable --now {timer}")),
            "{calls}"
        );
        assert!(
            calls.contains(&format!("--user disable --now {timer}")),
            "{calls}"
        );
        for layer in ["drop", "old"] {
            let stopped = format!("--user stop {}{layer}.service", watch_prefix(&job));
            assert!(calls.contains(&stopped), "{calls}");
        }
    }

    #[test]
    fn a_manager_that_refuses_the_timer_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        script(
            folder.path(),
            "systemctl",
            "[ $2 = enable ] && { echo 'Unit is masked.' >&2; exit 1; }; exit 0\n",
        );
        let refused = install(&job, &files(&job).unwrap()).unwrap_err();
        assert_eq!(refused, "Unit is masked.");
        assert_eq!(fs::read_dir(&job.units).unwrap().count(), 0);
    }

    #[test]
    fn a_timer_of_the_package_is_seen_taken_over_and_switched_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut job = job(folder.path());
        job.usual_config = true;
        job.units_of_package = folder.path().join("usr");
        fs::create_dir(&job.units_of_package).unwrap();
        let of_package = job.units_of_package.join("ravelin.timer");
        fs::write(&of_package, "").unwrap();
        // One that is enabled until it is disabled, as systemd has it.
        script(
            folder.path(),
            "systemctl",
            "echo \"$@\" >> \"$here/calls\"\ncase $2 in\nis-enabled) test -e \"$here/enabled\";;\n\
             enable) touch \"$here/enabled\";;\ndisable) rm -f \"$here/enabled\";;\nesac\n",
        );
        assert_eq!(installed(&job), None);
        fs::write(folder.path().join("enabled"), "").unwrap();
        let seen = installed(&job).unwrap();
        assert_eq!(seen.what, of_package.display().to_string());
        // Ours takes its place; there are never two.
        install(&job, &files(&job).unwrap()).unwrap();
        let ours = job.units.join("ravelin.timer").display().to_string();
        assert_eq!(installed(&job).unwrap().what, ours);
        let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
        let off = calls.find("disable --now ravelin.timer").unwrap();
        assert!(
            calls.find("--user enable --now ravelin.timer") > Some(off),
            "{calls}"
        );
        remove(&job).unwrap();
        assert_eq!(installed(&job), None);
        assert!(of_package.exists());
        // And the package's alone is switched off.
        fs::write(folder.path().join("enabled"), "").unwrap();
        remove(&job).unwrap();
        assert_eq!(installed(&job), None);
    }

    /// systemd itself reads the units, and says how exposed the service is.
    #[test]
    fn systemd_accepts_the_units_and_finds_the_service_hardened() {
        let Some(analyze) = testkit::require("systemd-analyze") else {
            return;
        };
        for (for_system, calls_others) in [(false, false), (true, false), (true, true)] {
            let folder = tempfile::tempdir().unwrap();
            let mut job = job(folder.path());
            job.for_system = for_system;
            job.calls_others = calls_others;
            job.notifies = true;
            job.watches = vec!["drop".to_owned()];
            // A program that is there: systemd looks.
            job.program = PathBuf::from("/bin/true");
            let files = files(&job).unwrap();
            judge(&analyze, &files, for_system && !calls_others);
        }
        for (manager, for_system) in [("user", false), ("system", true)] {
            let folder = tempfile::tempdir().unwrap();
            let units = units_of_package(Path::new("/bin/true")).unwrap();
            let of_manager = units
                .into_iter()
                .filter(|(path, _)| path.starts_with(manager));
            let files: Vec<_> = of_manager
                .map(|(path, text)| (folder.path().join(path), text))
                .collect();
            judge(&analyze, &files, for_system);
        }
    }

    /// Writes the units and lets systemd read them; the first is the service.
    fn judge(analyze: &Path, files: &[(PathBuf, String)], is_hardened: bool) {
        for (path, text) in files {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut command = Command::new(analyze);
        command.args(["verify", "--recursive-errors=no", "--man=no"]);
        command.args(files.iter().map(|(path, _)| path));
        let ended = program::run(&mut command, b"", PATIENCE).unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        let about_us: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("ravelin"))
            .collect();
        assert!(ended.status.success(), "{said}");
        assert!(about_us.is_empty(), "{said}");
        if is_hardened {
            let mut command = Command::new(analyze);
            command.args(["security", "--offline=yes", "--no-pager", "--threshold=35"]);
            command.arg(&files[0].0);
            let ended = program::run(&mut command, b"", PATIENCE).unwrap();
            let said = String::from_utf8_lossy(&ended.stdout);
            assert!(ended.status.success(), "{said}\n{}", ended.complaint());
        }
    }
}
