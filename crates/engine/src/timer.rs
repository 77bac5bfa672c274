//! What calls `ravelin run`: a line of the user's crontab, or a systemd timer.
//!
//! Neither knows what is due. Both call `ravelin run` every few minutes, and it decides by itself:
//! so missed work is made up, a change of the configuration needs no new timer, and changes of the
//! clock do no harm.
//!
//! Where folders are followed as they change, both begin a run that does so and does not end; one that
//! finds another at it ends at once. So it is begun anew at the next call, whatever ended it. Such a run
//! ends by itself when [`Job::changed`] is touched, which each installation and each removal does: cron
//! does not end what it began.
//!
//! What is installed is looked up where it works, never remembered: what this module says is
//! installed is there.

mod cron;
mod systemd;

pub use systemd::units_of_package;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::config::{Config, Kind};
use crate::{Error, Machine, Places};

/// How long a scheduler may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What runs things on a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduler {
    /// A timer of systemd, of the user or, for root, of the system.
    Systemd,
    /// The user's crontab.
    Cron,
}

impl Scheduler {
    /// The word for people and for flags.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Cron => "cron",
        }
    }
}

/// What is to be called, how often, by whom.
#[derive(Debug, Clone)]
pub struct Job {
    /// The program: this one.
    pub program: PathBuf,
    /// The configuration file.
    pub config: PathBuf,
    /// Whether that is where it is looked for anyway.
    pub usual_config: bool,
    /// The environment that it needs: `PATH`, and where the folders are when they were moved.
    pub environment: Vec<(String, OsString)>,
    /// Whether somebody is to be told when a layer gets no backups: then a small timer of its own
    /// looks at that, so that it is noticed when the other one died.
    pub notifies: bool,
    /// Whether it calls programs of the user's choosing, or the local mail program: a service that is
    /// held to little would hold them to it, too.
    pub calls_others: bool,
    /// The layers whose folders are followed as they change: for each there is one that does
    /// that all the time, begun anew when it has ended.
    pub watches: Vec<String>,
    /// A file that is written anew when the schedule is installed or removed. What goes on until it is
    /// stopped ends then.
    pub changed: PathBuf,
    /// Folders of its own that it writes to, for a service that may write nowhere else.
    pub writes: Vec<PathBuf>,
    /// The stores on this machine, which it writes to when they are there.
    pub stores: Vec<PathBuf>,
    /// How often it is called, in minutes; divides 60.
    pub minutes: u8,
    /// The minute of the hour that it begins with: not the same on all machines.
    pub offset: u8,
    /// The other programs.
    pub tools: Tools,
    /// Where the units of systemd stand.
    pub units: PathBuf,
    /// Where a package puts its own.
    pub units_of_package: PathBuf,
    /// Whether systemd is asked for the whole system rather than for this user.
    pub for_system: bool,
}

/// The programs that the schedulers are spoken to with.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Edits the crontab.
    pub crontab: PathBuf,
    /// Speaks to systemd.
    pub systemctl: PathBuf,
    /// Tells whether the user's systemd lives without a session.
    pub loginctl: PathBuf,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            crontab: PathBuf::from("crontab"),
            systemctl: PathBuf::from("systemctl"),
            loginctl: PathBuf::from("loginctl"),
        }
    }
}

impl Job {
    /// The job of a configuration. What a hardened service may write, and whether it has to watch
    /// and to call others, comes from there.
    #[must_use]
    pub fn of_config(program: PathBuf, config: &Config, minutes: u8, machine: &Machine) -> Self {
        let mut job = Self::new(program, &config.file, minutes, machine);
        job.notifies = !config.notify.is_empty();
        job.calls_others = config.calls_others();
        for layer in &config.layers {
            job.stores.extend(layer.local_store());
            match &layer.kind {
                // Trust and agents of GnuPG.
                Kind::Duplicity(_) => job.stores.push(machine.places.home.join(".gnupg")),
                Kind::Drop { folder, watch } => {
                    job.stores.extend(folder.clone());
                    job.watches.extend(watch.then(|| layer.name.clone()));
                }
                Kind::Borg { .. } => {}
            }
        }
        let metrics = config.metrics.as_ref().and_then(|file| file.parent());
        job.stores.extend(metrics.map(Path::to_owned));
        job
    }

    /// The usual job of this machine.
    #[must_use]
    pub fn new(program: PathBuf, config: &Path, minutes: u8, machine: &Machine) -> Self {
        let places = &machine.places;
        let for_system = rustix::process::geteuid().is_root();
        let names = [
            "XDG_CONFIG_HOME",
            "XDG_STATE_HOME",
            "XDG_CACHE_HOME",
            "XDG_DATA_HOME",
            "BORG_BASE_DIR",
            "BORG_CACHE_DIR",
            "BORG_CONFIG_DIR",
            "BORG_KEYS_DIR",
            "BORG_SECURITY_DIR",
            "BORG_HOST_ID",
        ];
        let mut environment: Vec<(String, OsString)> = names
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), (machine.variable)(name)?)))
            .collect();
        let path = (machine.variable)("PATH");
        let path = path.unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
        environment.insert(0, ("PATH".to_owned(), path));
        if for_system {
            // A service of the system has no home.
            environment.push(("HOME".to_owned(), places.home.clone().into_os_string()));
        }
        let home = places.config.parent().unwrap_or(&places.config);
        Self {
            program,
            config: config.to_owned(),
            usual_config: config == places.config_file(),
            environment,
            notifies: false,
            calls_others: false,
            watches: Vec::new(),
            changed: changed(places),
            writes: vec![
                places.state.clone(),
                places.cache.clone(),
                places.data.clone(),
                places.home.join(".config/borg"),
                places.home.join(".cache/borg"),
            ],
            stores: Vec::new(),
            minutes,
            offset: offset(&machine.host, &machine.user, minutes),
            tools: Tools::default(),
            units: if for_system {
                PathBuf::from("/etc/systemd/system")
            } else {
                home.join("systemd/user")
            },
            units_of_package: Path::new("/usr/lib/systemd").join(if for_system {
                "system"
            } else {
                "user"
            }),
            for_system,
        }
    }

    /// The minutes of the hour at which it is called.
    fn minutes_of_hour(&self) -> Vec<u8> {
        let step = self.minutes.clamp(1, 60);
        (self.offset % step..60).step_by(step.into()).collect()
    }

    /// The command line that is called.
    fn words(&self, verb: &[&str]) -> Vec<OsString> {
        let mut words = vec![self.program.clone().into_os_string()];
        if !self.usual_config {
            words.push("--config".into());
            words.push(self.config.clone().into_os_string());
        }
        words.extend(verb.iter().map(OsString::from));
        words
    }
}

/// The command that follows the folder of a layer.
fn watching(layer: &str) -> [&str; 6] {
    ["drop", "--layer", layer, "sync", "--watch", "--scheduled"]
}

/// Said of a layer with `watch = true` whose folder nothing follows.
fn not_followed(layer: &str) -> String {
    format!("nothing follows the folder of `{layer}` as it changes: `ravelin schedule install`")
}

/// [`Job::changed`] of this machine's places.
#[must_use]
pub fn changed(places: &Places) -> PathBuf {
    places.state.join("schedule-changed")
}

/// Ends what goes on until it is stopped.
fn end_followers(job: &Job) -> std::io::Result<()> {
    if let Some(folder) = job.changed.parent() {
        crate::create_private_folder(folder)?;
    }
    let text = b"What follows a drop folder by the schedule ends when this is another file.\n";
    crate::replace_private_file(&job.changed, text)
}

/// A minute below `minutes` that is the same each time on one machine and differs between them,
/// so that a hundred machines do not knock at a server at once.
fn offset(host: &str, user: &str, minutes: u8) -> u8 {
    let sum = host
        .bytes()
        .chain([0])
        .chain(user.bytes())
        .fold(0_u32, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(u32::from(byte))
        });
    u8::try_from(sum % u32::from(minutes.max(1))).unwrap_or(0)
}

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Installed {
    /// Who calls us.
    pub by: Scheduler,
    /// How: the line of the crontab, or the path of the timer.
    pub what: String,
    /// Whether it is in force.
    pub enabled: bool,
    /// When it will be called, as far as the scheduler says.
    pub next: Option<Timestamp>,
    /// What stands in the way of its being called, one sentence each.
    pub notes: Vec<String>,
}

/// What an installation would write and call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Who will call us.
    pub by: Scheduler,
    /// The files to be written with their content; for cron, the line.
    pub files: Vec<(PathBuf, String)>,
}

/// Looks at what could be installed: by `by`, or by the first scheduler that works here.
///
/// # Errors
///
/// [`Error::NoScheduler`] with what each said.
pub fn plan(job: &Job, by: Option<Scheduler>) -> Result<Installation, Error> {
    let mut refusals = Vec::new();
    for scheduler in [Scheduler::Systemd, Scheduler::Cron] {
        if by.is_some_and(|by| by != scheduler) {
            continue;
        }
        let usable = match scheduler {
            Scheduler::Systemd => systemd::usable(job).and_then(|()| systemd::files(job)),
            Scheduler::Cron => cron::usable(job)
                .and_then(|()| Ok(vec![(PathBuf::from("crontab"), cron::lines(job)?)])),
        };
        match usable {
            Ok(files) => {
                return Ok(Installation {
                    by: scheduler,
                    files,
                });
            }
            Err(reason) => refusals.push((scheduler.name(), reason)),
        }
    }
    Err(Error::NoScheduler { refusals })
}

/// Installs what was planned. An older installation of the same configuration is replaced; that
/// of another scheduler is removed after the new one stands.
///
/// # Errors
///
/// [`Error::NoScheduler`] with what the scheduler said.
pub fn install(job: &Job, installation: &Installation) -> Result<Installed, Error> {
    let refused = |reason| Error::NoScheduler {
        refusals: vec![(installation.by.name(), reason)],
    };
    // Those who are begun from here on are not meant.
    end_followers(job).map_err(|error| refused(error.to_string()))?;
    match installation.by {
        Scheduler::Systemd => {
            systemd::install(job, &installation.files).map_err(refused)?;
            let _ = cron::remove(job);
        }
        Scheduler::Cron => {
            cron::install(job).map_err(refused)?;
            let _ = systemd::remove(job);
        }
    }
    installed(job)
        .into_iter()
        .find(|installed| installed.by == installation.by)
        .ok_or_else(|| refused("it took the job and does not have it".to_owned()))
}

/// Removes what is installed, and says who had it.
///
/// # Errors
///
/// [`Error::NoScheduler`] with what the scheduler said.
pub fn remove(job: &Job) -> Result<Vec<Scheduler>, Error> {
    let mut removed = Vec::new();
    for installed in installed(job) {
        let result = match installed.by {
            Scheduler::Systemd => systemd::remove(job),
            Scheduler::Cron => cron::remove(job),
        };
        let result = result.and_then(|()| end_followers(job).map_err(|error| error.to_string()));
        result.map_err(|reason| Error::NoScheduler {
            refusals: vec![(installed.by.name(), reason)],
        })?;
        removed.push(installed.by);
    }
    Ok(removed)
}

/// What is installed for this configuration.
#[must_use]
pub fn installed(job: &Job) -> Vec<Installed> {
    [systemd::installed(job), cron::installed(job)]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A job with programs of our own making in the place of the schedulers.
    pub(crate) fn job(folder: &Path) -> Job {
        Job {
            program: PathBuf::from("/opt/my programs/ravelin"),
            config: PathBuf::from("/home/ada/100%/it's.toml"),
            usual_config: false,
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".into())],
            notifies: false,
            calls_others: false,
            watches: Vec::new(),
            changed: folder.join("state/schedule-changed"),
            writes: vec![folder.join("state")],
            stores: vec![PathBuf::from("/mnt/backup")],
            minutes: 15,
            offset: 7,
            tools: Tools {
                crontab: folder.join("crontab"),
                systemctl: folder.join("systemctl"),
                loginctl: folder.join("loginctl"),
            },
            units: folder.join("units"),
            units_of_package: folder.join("usr"),
            for_system: false,
        }
    }

    pub(crate) fn script(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::write(
            &path,
            format!("#!/bin/sh\nhere='{}'\n{text}", folder.display()),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn machines_do_not_all_knock_at_the_same_minute() {
        let offsets: std::collections::BTreeSet<u8> = (0..40)
            .map(|number| offset(&format!("host{number}"), "ada", 15))
            .collect();
        assert!(offsets.len() > 8, "{offsets:?}");
        assert!(offsets.iter().all(|&offset| offset < 15));
        let job = job(Path::new("/nonexistent"));
        assert_eq!(job.minutes_of_hour(), [7, 22, 37, 52]);
    }

    #[test]
    fn where_neither_works_both_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        let Err(Error::NoScheduler { refusals }) = plan(&job, None) else {
            panic!("there is no scheduler");
        };
        let names: Vec<&str> = refusals.iter().map(|&(name, _)| name).collect();
        assert_eq!(names, ["systemd", "cron"]);
        assert!(
            refusals.iter().all(|(_, reason)| !reason.is_empty()),
            "{refusals:?}"
        );
    }

    #[test]
    fn the_one_that_is_installed_takes_the_place_of_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let job = job(folder.path());
        script(folder.path(), "crontab", cron::tests::CRONTAB);
        let first = plan(&job, None).unwrap();
        assert_eq!(first.by, Scheduler::Cron);
        install(&job, &first).unwrap();
        script(folder.path(), "systemctl", "exit 0");
        let second = plan(&job, None).unwrap();
        assert_eq!(second.by, Scheduler::Systemd);
        install(&job, &second).unwrap();
        let now: Vec<Scheduler> = installed(&job).iter().map(|one| one.by).collect();
        assert_eq!(now, [Scheduler::Systemd]);
        assert_eq!(remove(&job).unwrap(), [Scheduler::Systemd]);
        assert_eq!(installed(&job), []);
    }
}
