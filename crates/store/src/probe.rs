//! What a person's own place really does: the contract tried, the speed measured, the locks looked at.
//!
//! Works in a scratch folder and removes it. It answers the question that a ransomware asks: may
//! who holds these credentials destroy what is here?

use std::io::Read;
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

use crate::conformance::{self, Check};
use crate::{
    B2, Capabilities, Environment, Error, ErrorKind, Folder, Location, Name, Operation, Range, S3,
    Space, Store, WebDav, WriteMode, list_all, open, read_all,
};

/// How much is written and read to measure the speed.
const SPEED_SIZE: usize = 16 << 20;

/// Starts the name of the scratch folder.
const SCRATCH: &str = "ravelin-test-";

/// A difference between the clocks that matters: from here on, services refuse signatures.
const SKEW_MAX_SECONDS: u64 = 5 * 60;

/// What was found out about a place.
#[derive(Debug)]
pub struct Report {
    /// The folder that all of this was tried in.
    pub scratch: Folder,
    /// The rules of the contract, tried.
    pub checks: Vec<Check>,
    /// What the store can do, as tried.
    pub capabilities: Capabilities,
    /// Upload and download of 16 MiB; `None` when that was left out.
    pub speed: Option<Result<Speed, Error>>,
    /// The time from asking for a small object to having it.
    pub latency: Option<Duration>,
    /// How far the store's clock is ahead of ours, in seconds; negative when it is behind. Known
    /// where the store tells when an object was written; seconds are its resolution.
    pub clock_skew_seconds: Option<i64>,
    /// Whether the server honours the precondition `If-None-Match`, tried; `None` where there are
    /// none. A server that ignores it replaces what it should not; the stores here do without
    /// then, as their [`capabilities`](Self::capabilities) say.
    pub preconditions: Option<bool>,
    /// Room that is left, where known.
    pub space: Option<Space>,
    /// What protects the place from those who hold the credentials.
    pub guard: Guard,
    /// Objects that could not be removed afterwards.
    pub left_over: Vec<Name>,
}

impl Report {
    /// Whether the place can be relied on: every rule holds, as far as the credentials let it be
    /// tried, and the speed could be measured.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let measured = !matches!(self.speed, Some(Err(_)));
        let mut checks = self.checks.iter();
        measured && checks.all(|check| check.is_good() || check.is_forbidden())
    }

    /// Whether the clocks differ so much that services which sign with the time refuse.
    #[must_use]
    pub fn clocks_differ(&self) -> bool {
        self.clock_skew_seconds
            .is_some_and(|seconds| seconds.unsigned_abs() >= SKEW_MAX_SECONDS)
    }
}

/// Bytes per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// To the store.
    pub up: f64,
    /// From it.
    pub down: f64,
}

/// What protects a place from those who hold the credentials. `None`: not known, or nobody may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// These credentials can delete an object so that it cannot be seen any more. Tried.
    pub can_delete: Option<bool>,
    /// Replaced and deleted objects are kept as versions for some time.
    pub keeps_versions: Option<bool>,
    /// Objects can be locked against deletion until a date. No object is locked by that alone.
    pub object_lock: Option<bool>,
    /// The place locks every new object by itself, and these credentials know no way around.
    pub locks_new_objects: Option<bool>,
    /// What the service itself calls the rights of these credentials.
    pub rights: Option<Vec<String>>,
}

impl Guard {
    /// Whether who holds the credentials can destroy the backups for good, as far as is known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let kept = self.keeps_versions == Some(true) && !self.may_delete_versions();
        self.can_delete != Some(false) && self.locks_new_objects != Some(true) && !kept
    }

    /// Whether the credentials can destroy kept versions, or give themselves the right to: by a
    /// bucket's rules, by another key, or with the bucket as a whole.
    fn may_delete_versions(&self) -> bool {
        const DESTROYING: [&str; 4] = ["deleteFiles", "deleteBuckets", "writeBuckets", "writeKeys"];
        self.rights.as_ref().is_none_or(|rights| {
            let mut rights = rights.iter();
            rights.any(|right| DESTROYING.contains(&right.as_str()))
        })
    }
}

/// Writes a small object, reads it back, and deletes it: whether the place is there and the credentials
/// are right. Gives the room that is left, where that is known.
///
/// # Errors
///
/// When any of it does not work. The object may be left over then.
pub fn touch(location: &Location, environment: &Environment) -> Result<Option<Space>, Error> {
    let environment = &of_who_waits(environment);
    let store = open(location, environment)?;
    let text = format!("{SCRATCH}{}", environment.random_name());
    let name = Name::new(&text).map_err(|why| Error::bad_name(&text, Operation::Write, why))?;
    let content = text.as_bytes();
    store.write(&name, &content.to_vec(), WriteMode::Replace)?;
    let read = read_all(&*store, &name, 1024)?;
    store.delete(&name)?;
    if read != content {
        return Err(Error::new(ErrorKind::Corrupt, Operation::Read)
            .on(&name)
            .because("what was read is not what was written"));
    }
    // Not every place tells.
    Ok(store.space().unwrap_or_default())
}

/// A person waits for the answer: what does not pass so soon is said.
fn of_who_waits(environment: &Environment) -> Environment {
    let mut environment = environment.clone();
    let patience = &mut environment.patience;
    patience.total = patience.total.min(PATIENCE);
    environment
}

/// How long passing faults are put up with then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tries a place. Takes some seconds near, some minutes far; moves about 100 MB.
///
/// # Errors
///
/// When the place cannot be reached or the credentials are refused; anything else is in the
/// report.
pub fn probe(location: &Location, environment: &Environment) -> Result<Report, Error> {
    probe_watched(location, environment, &mut |_| ControlFlow::Continue(()))
}

/// The same, telling `watch` what is tried next; when that breaks, the rest is left out of the
/// report, and what was written is removed as always.
///
/// # Errors
///
/// Those of [`probe`].
pub fn probe_watched(
    location: &Location,
    environment: &Environment,
    watch: &mut dyn FnMut(&'static str) -> ControlFlow<()>,
) -> Result<Report, Error> {
    let environment = &of_who_waits(environment);
    let store = open(location, environment)?;
    let text = format!("{SCRATCH}{}", environment.random_name());
    let folder = Folder::new(&text).map_err(|why| Error::bad_name(&text, Operation::Open, why))?;
    let name = |text: &str| {
        folder
            .join(text)
            .map_err(|why| Error::bad_name(text, Operation::Open, why))
    };
    let small = name("small")?;
    let mut stopped = watch("a small object is written").is_break();
    let before = (environment.clock)();
    store.write(&small, b"small", WriteMode::Replace)?;
    let after = (environment.clock)();
    let began = Instant::now();
    let object = store.stat(&small).ok();
    let latency = object.as_ref().map(|_| began.elapsed());
    let skew = object
        .and_then(|object| object.modified)
        .map(|told| skew_seconds(before, after, told));
    stopped = stopped || watch("the speed is measured").is_break();
    let speed = if stopped {
        None
    } else {
        Some(speed(&*store, &name("speed")?))
    };
    let deleted = store.delete(&small);
    let mut guard = guard(location, environment)?;
    guard.can_delete = match deleted {
        Ok(()) => Some(
            store
                .stat(&small)
                .is_err_and(|error| error.kind == ErrorKind::NotFound),
        ),
        Err(error) if error.kind == ErrorKind::Denied => Some(false),
        Err(_) => None,
    };
    let checks = conformance::run_watched(&*store, &folder, &mut |rule| {
        if stopped {
            return ControlFlow::Break(());
        }
        watch(rule)
    });
    let preconditions = match location {
        Location::S3(_) if !stopped => Some(store.capabilities().create),
        Location::WebDav { tls, server, path } if !stopped => {
            WebDav::new(*tls, server, path, environment)
                .honours_preconditions(&name("precondition")?)
                .ok()
        }
        _ => None,
    };
    let left_over = list_all(&*store, &folder)
        .map(|objects| objects.into_iter().map(|object| object.name).collect());
    Ok(Report {
        scratch: folder,
        capabilities: store.capabilities(),
        checks,
        speed,
        latency,
        clock_skew_seconds: skew,
        preconditions,
        space: store.space().ok().flatten(),
        guard,
        left_over: left_over.unwrap_or_default(),
    })
}

/// How far `told` lies outside of the time in which it was written.
fn skew_seconds(before: SystemTime, after: SystemTime, told: SystemTime) -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    if let Ok(ahead) = told.duration_since(after) {
        return seconds(ahead);
    }
    // Many stores cut to seconds, and over SFTP what is written is dated one back.
    match before.duration_since(told) {
        Ok(behind) if behind > Duration::from_secs(2) => -seconds(behind),
        _ => 0,
    }
}

fn speed(store: &dyn Store, name: &Name) -> Result<Speed, Error> {
    let content = vec![0x5a; SPEED_SIZE];
    let began = Instant::now();
    store.write(name, &content, WriteMode::Replace)?;
    let up = began.elapsed();
    let began = Instant::now();
    let mut body = store.read(name, Range::WHOLE)?.body;
    let mut buffer = vec![0; 128 * 1024];
    while body
        .read(&mut buffer)
        .map_err(|error| Error::from_io(error, Operation::Read, name))?
        > 0
    {}
    let down = began.elapsed();
    // What cannot be deleted is reported at the end.
    let _ = store.delete(name);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a size of some megabytes is exact"
    )]
    let rate = |time: Duration| SPEED_SIZE as f64 / time.as_secs_f64().max(1e-9);
    Ok(Speed {
        up: rate(up),
        down: rate(down),
    })
}

/// Asks the service what protects the place.
fn guard(location: &Location, environment: &Environment) -> Result<Guard, Error> {
    Ok(match location {
        Location::S3(s3) => {
            let told = S3::new(s3, environment).guard()?;
            Guard {
                keeps_versions: told.versioning,
                object_lock: told.object_lock,
                locks_new_objects: told.locks_new_objects,
                ..Guard::default()
            }
        }
        Location::B2 {
            key,
            bucket,
            prefix,
        } => {
            let b2 = B2::new(key.as_ref(), bucket, prefix, environment)?;
            let rights = b2.key_capabilities()?;
            let lock = b2.object_lock()?;
            // B2 keeps versions always; lifecycle rules end them.
            Guard {
                keeps_versions: Some(true),
                object_lock: lock.map(|(can, _)| can),
                locks_new_objects: lock.map(|(_, does)| does),
                rights: Some(rights),
                ..Guard::default()
            }
        }
        // Deleted and replaced files can be had back for a month or more, whoever deleted them.
        Location::Dropbox { .. } => Guard {
            keeps_versions: Some(true),
            rights: Some(Vec::new()),
            ..Guard::default()
        },
        _ => Guard::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_off_when_it_lies_outside_of_the_writing() {
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(skew_seconds(time(100), time(110), time(105)), 0);
        assert_eq!(skew_seconds(time(100), time(110), time(99)), 0);
        assert_eq!(skew_seconds(time(100), time(110), time(710)), 600);
        assert_eq!(skew_seconds(time(1000), time(1010), time(400)), -600);
    }

    #[test]
    fn a_place_is_open_unless_something_closes_it() {
        let open = Guard {
            can_delete: Some(true),
            ..Guard::default()
        };
        assert!(open.is_open());
        assert!(
            !Guard {
                can_delete: Some(false),
                ..open.clone()
            }
            .is_open()
        );
        let lockable = Guard {
            object_lock: Some(true),
            ..open.clone()
        };
        assert!(lockable.is_open(), "what can be locked is not locked yet");
        let locks_new_objects = Some(true);
        assert!(
            !Guard {
                locks_new_objects,
                ..lockable
            }
            .is_open()
        );
        let versions = Guard {
            keeps_versions: Some(true),
            ..open
        };
        assert!(
            versions.is_open(),
            "who may delete versions, may delete all"
        );
        let rights = Some(vec!["writeFiles".to_owned()]);
        let locked = Guard { rights, ..versions };
        assert!(!locked.is_open());
        for right in ["deleteFiles", "deleteBuckets", "writeBuckets", "writeKeys"] {
            let rights = Some(vec!["writeFiles".to_owned(), right.to_owned()]);
            let guard = Guard {
                rights,
                ..locked.clone()
            };
            assert!(guard.is_open(), "{right} leads to deleting versions");
        }
    }
}
