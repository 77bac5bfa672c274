//! Waiting is not failing: a scheduled run leaves a layer out while there is no power, no network
//! or no drive for it, or while it is too early to try again, and says why.
//!
//! What is waited for is remembered in one small file that each scheduled run replaces, so that a
//! drive that is away for a year costs no more than one that is away for an hour.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::{self, Config};
use crate::past::LayerPast;
use crate::{Error, Machine, replace_private_file};

/// Wait after the first failure in a row; it doubles with each.
const RETRY_FIRST: SignedDuration = SignedDuration::from_mins(10);

/// Longest wait between two tries.
const RETRY_MAX: SignedDuration = SignedDuration::from_hours(6);

/// What a layer waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "for", rename_all = "kebab-case")]
pub enum Wait {
    /// The machine runs on battery, and the configuration says to wait then.
    Power,
    /// The store is elsewhere and there is no network.
    Network,
    /// The network costs by the byte, and the configuration says to wait then.
    Metered,
    /// The folder of the store was there, and is not now.
    Drive {
        /// Which folder.
        store: PathBuf,
    },
    /// It failed, and it is too early to try again.
    Retry {
        /// When it is tried again.
        at: Timestamp,
        /// How often it failed in a row.
        failures: u32,
    },
    /// A hook said to wait.
    Hook {
        /// Which program.
        program: String,
    },
}

impl Wait {
    /// The reason as a clause, times in a zone.
    #[must_use]
    pub fn reason(&self, zone: &TimeZone) -> String {
        match self {
            Self::Retry { at, failures } => {
                let at = at.to_zoned_datetime(zone.clone());
                let times = if *failures == 1 { "time" } else { "times" };
                format!(
                    "it failed {failures} {times} in a row, the next try is at {}",
                    at.strftime("%Y-%m-%d %H:%M")
                )
            }
            other => other.to_string(),
        }
    }
}

/// The reason as a clause, times in UTC.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Power => f.write_str("the machine runs on battery"),
            Self::Network => f.write_str("there is no network"),
            Self::Metered => f.write_str("the network is metered"),
            Self::Drive { store } => {
                write!(
                    f,
                    "{} is not there: is its drive connected?",
                    store.display()
                )
            }
            Self::Retry { .. } => f.write_str(&self.reason(&TimeZone::UTC)),
            Self::Hook { program } => write!(f, "`{program}` says to wait"),
        }
    }
}

/// A layer that is due and waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Which layer.
    pub layer: String,
    /// Since when it waits for this.
    pub since: Timestamp,
    /// For what.
    #[serde(flatten)]
    pub wait: Wait,
}

/// Why work on a layer has to wait, if it has to.
pub(crate) fn reason_to_wait(
    layer: &config::Layer,
    past: &LayerPast,
    config: &Config,
    machine: &Machine,
) -> Option<Wait> {
    let surroundings = machine.surroundings;
    if config.wait.battery && (surroundings.on_battery)() {
        return Some(Wait::Power);
    }
    if is_elsewhere(&layer.store) {
        if !(surroundings.online)() {
            return Some(Wait::Network);
        }
        if config.wait.metered && (surroundings.metered)() {
            return Some(Wait::Metered);
        }
    } else if let Some(folder) = local_folder(&layer.store)
        && past.succeeded.is_some()
        && !folder.exists()
    {
        // It was there, or it could not have succeeded. One that was never there is an error.
        let store = folder.to_owned();
        return Some(Wait::Drive { store });
    }
    None
}

/// When a layer that failed is tried again; `None` when now.
pub(crate) fn too_early(past: &LayerPast, now: Timestamp) -> Option<Wait> {
    let failed = past.failed?;
    let doublings = past.failures.saturating_sub(1).min(16);
    let pause = (RETRY_FIRST * (1 << doublings)).min(RETRY_MAX);
    let at = failed.checked_add(pause).ok()?;
    // A failure in the future was recorded by a clock that was set back since.
    (failed <= now && at > now).then_some(Wait::Retry {
        at,
        failures: past.failures,
    })
}

/// The folder of this machine that a store is.
pub(crate) fn local_folder(store: &str) -> Option<&Path> {
    let path = store.strip_prefix("file://").unwrap_or(store);
    path.starts_with('/').then(|| Path::new(path))
}

/// Whether a store is on another machine.
fn is_elsewhere(store: &str) -> bool {
    if local_folder(store).is_some() {
        return false;
    }
    let host = store
        .split_once("://")
        .map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let is_here = ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|here| host == *here || host.starts_with(&format!("{here}:")));
    !is_here
}

fn file(machine: &Machine) -> PathBuf {
    machine.places.state.join("waiting.json")
}

/// What the last scheduled run left waiting.
#[must_use]
pub fn waiting(machine: &Machine) -> Vec<Waiting> {
    let read = fs::read(file(machine)).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Remembers what waits now. What waited for the same before keeps its beginning.
///
/// # Errors
///
/// [`Error::State`] when it cannot be written.
pub(crate) fn remember(
    held: Vec<(String, Wait)>,
    machine: &Machine,
) -> Result<Vec<Waiting>, Error> {
    let before: BTreeMap<String, Waiting> = waiting(machine)
        .into_iter()
        .map(|waiting| (waiting.layer.clone(), waiting))
        .collect();
    let now = machine.now().timestamp();
    let list: Vec<Waiting> = held
        .into_iter()
        .map(|(layer, wait)| match before.get(&layer) {
            Some(known) if known.wait == wait && known.since <= now => known.clone(),
            _ => Waiting {
                layer,
                since: now,
                wait,
            },
        })
        .collect();
    let path = file(machine);
    let failed = |source| Error::State {
        action: "write",
        path: path.clone(),
        source,
    };
    if list.is_empty() {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => return Ok(list),
        }
    }
    let text = serde_json::to_vec(&list).unwrap_or_default();
    replace_private_file(&path, &text).map_err(failed)?;
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_needed_for_what_is_on_another_machine() {
        for (store, elsewhere) in [
            ("/mnt/backup", false),
            ("file:///mnt/backup", false),
            ("ssh://nas/backup", true),
            ("sftp://ada@localhost:2222/backup", false),
            ("http://[::1]:8080/dav", false),
            ("sftp://localhost.example/backup", true),
            ("b2://bucket/laptop", true),
            ("dropbox:/Ravelin", true),
        ] {
            assert_eq!(is_elsewhere(store), elsewhere, "{store}");
        }
    }

    #[test]
    fn each_failure_in_a_row_doubles_the_wait_up_to_a_bound() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let pause = |failures| {
            let past = LayerPast {
                failures,
                failed: Some(at("2026-11-24T07:00:00Z")),
                ..LayerPast::default()
            };
            match too_early(&past, at("2026-11-24T07:01:00Z")) {
                Some(Wait::Retry { at, .. }) => at.to_string(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(pause(1), "2026-11-24T07:10:00Z");
        assert_eq!(pause(2), "2026-11-24T07:20:00Z");
        assert_eq!(pause(4), "2026-11-24T08:20:00Z");
        assert_eq!(pause(1000), "2026-11-24T13:00:00Z");
        let past = LayerPast {
            failures: 1,
            failed: Some(at("2026-11-24T07:00:00Z")),
            ..LayerPast::default()
        };
        assert_eq!(too_early(&past, at("2026-11-24T07:10:00Z")), None);
        assert_eq!(too_early(&past, at("2026-11-23T07:00:00Z")), None);
    }
}
