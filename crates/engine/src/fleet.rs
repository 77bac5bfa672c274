//! Several machines, seen from one: each puts how it stands into a store that they share.
//!
//! It is one small object a machine, replaced after each run. It is signed (HMAC-SHA-256, with a key that
//! these machines have and the store does not): who can write to the store cannot make a machine look well
//! that is not. He can delete its object or put an older one back, so each carries its time, and what is
//! overdue by then is told by who looks, not by what stands there. Who looks also remembers which machines
//! he has believed and when they spoke last: one whose object is gone, or older than that, is named. The
//! store can also try keys on what it
//! holds, so one that could be guessed is refused. All machines have the same key and trust one another.
//!
//! No names of files and no stores are in it, only names of layers and times. What is read is bounded before
//! it is read, and parsed only after its signature has been found right.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use store::{Folder, Location, Name, Scope, Store, WriteMode};

use crate::config::Fleet;
use crate::layer;
use crate::machine::Context;
use crate::status::{State, Status};
use crate::{Error, Machine, Secret, replace_private_file};

/// How the name of an object ends.
const ENDING: &str = ".ravelin-status";

/// What an object says of its own form.
const FORM: u32 = 1;

/// Largest object that is read: 1 MiB.
const SIZE_MAX: u64 = 1 << 20;

/// Shortest key that is taken, in bytes. The store sees what is signed with it and can try as long as it likes.
const KEY_SIZE_MIN: usize = 16;

/// Most machines that are read.
const MACHINES_MAX: usize = 10_000;

/// How long a layer may be overdue before its machine counts as silent.
const OVERDUE: SignedDuration = SignedDuration::from_hours(24);

/// How one machine stands, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineStatus {
    form: u32,
    /// Its name.
    pub machine: String,
    /// When it said so.
    pub at: Timestamp,
    /// Whether an alarm keeps old snapshots from being removed.
    pub alarm: bool,
    /// Its layers.
    pub layers: Vec<LayerState>,
}

/// How one layer of a machine stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerState {
    /// Which.
    pub layer: String,
    /// Its format.
    pub kind: String,
    /// How it stands.
    pub state: State,
    /// When it got its newest snapshot.
    pub last: Option<Timestamp>,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// When it was last read back.
    pub verified: Option<Timestamp>,
    /// When files last came back in a drill.
    pub drilled: Option<Timestamp>,
}

/// A machine of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its name, as its object is called.
    pub machine: String,
    /// What it says; `None` when that cannot be believed.
    pub status: Option<MachineStatus>,
    /// Why not.
    pub fault: Option<String>,
    /// Whether it was believed before and now has no object.
    pub is_missing: bool,
    /// Whether something is overdue that it has said nothing about.
    pub is_silent: bool,
}

impl Member {
    /// Whether all its layers are good, and it has said so lately.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let is_good = |layer: &LayerState| layer.state == State::Good;
        !self.is_silent
            && self
                .status
                .as_ref()
                .is_some_and(|status| !status.alarm && status.layers.iter().all(is_good))
    }
}

impl MachineStatus {
    fn new(status: &Status, machine: &Machine) -> Self {
        let layers = status.layers.iter().map(|layer| LayerState {
            layer: layer.layer.clone(),
            kind: layer.kind.to_owned(),
            state: layer.state,
            last: layer.last.as_ref().map(|last| last.at),
            next_due: layer.next_due,
            verified: layer.verified.as_ref().map(|verified| verified.at),
            drilled: layer.drill.as_ref().map(|drill| drill.at),
        });
        Self {
            form: FORM,
            machine: machine.host.clone(),
            at: status.at,
            alarm: status.guard.is_some(),
            layers: layers.collect(),
        }
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        let mut due = self.layers.iter().filter_map(|layer| layer.next_due);
        due.any(|due| now.duration_since(due) > OVERDUE)
    }
}

/// Puts how this machine stands where the configuration says.
///
/// # Errors
///
/// When the key cannot be had, or the store says no.
pub fn publish(fleet: &Fleet, status: &Status, machine: &Machine) -> Result<(), Error> {
    let key = fetch(fleet, machine)?;
    let store = open(&fleet.store, machine)?;
    let said = MachineStatus::new(status, machine);
    let object = sign(&said, &key).map_err(|source| Error::State {
        action: "write the status of",
        path: machine.host.clone().into(),
        source,
    })?;
    let name = Name::new(format!("{}{ENDING}", machine.host));
    let name = name.map_err(|source| Error::State {
        action: "name an object after",
        path: machine.host.clone().into(),
        source: io::Error::other(source),
    })?;
    store.write(&name, &object, WriteMode::Replace)?;
    Ok(())
}

/// What the machines say that share a store, in the order of their names, and which of those are missing
/// that were believed before.
///
/// # Errors
///
/// When the place is none, or the store cannot be read. What is wrong with one machine's object is said of
/// that machine.
pub fn read(store: &str, key: &Secret, context: Context<'_>) -> Result<Vec<Member>, Error> {
    let machine = context.machine;
    let place = store;
    let store = open(store, machine)?;
    let now = machine.now().timestamp();
    let mut names = Vec::new();
    store.list(&Folder::root(), Scope::Folder, &mut |object| {
        if object.name.file_name().ends_with(ENDING) {
            names.push(object.name);
        }
        match names.len() < MACHINES_MAX {
            true => std::ops::ControlFlow::Continue(()),
            false => std::ops::ControlFlow::Break(()),
        }
    })?;
    names.sort();
    let is_complete = names.len() < MACHINES_MAX;
    let mut heard = Heard::read(machine);
    let members = names.into_iter().map(|name| {
        let machine = name.file_name();
        let machine = machine.strip_suffix(ENDING).unwrap_or(machine).to_owned();
        let object = store::read_all(&*store, &name, SIZE_MAX);
        let said = object
            .map_err(|error| error.to_string())
            .and_then(|object| check(&object, key))
            .and_then(|said| match said.machine == machine {
                true => Ok(said),
                false => Err("it is signed for another machine".to_owned()),
            })
            .and_then(|said| match heard.last(place, &machine) {
                Some(at) if said.at < at => Err(format!(
                    "it is of {}, though the machine has said something at {at}: an older one was put \
                     back, or its clock was wrong",
                    said.at
                )),
                _ => Ok(said),
            });
        let (status, fault) = match said {
            Ok(status) => (Some(status), None),
            Err(fault) => (None, Some(fault)),
        };
        Member {
            is_silent: status.as_ref().is_none_or(|status| status.is_silent(now)),
            machine,
            status,
            fault,
            is_missing: false,
        }
    });
    let mut members: Vec<Member> = members.collect();
    if is_complete {
        for (name, at) in heard.of(place) {
            if members.iter().all(|member| member.machine != name) {
                members.push(Member {
                    machine: name,
                    status: None,
                    fault: Some(format!("it has said nothing any more since {at}")),
                    is_missing: true,
                    is_silent: true,
                });
            }
        }
        members.sort_by(|one, other| one.machine.cmp(&other.machine));
    }
    heard.remember(place, &members);
    heard.write(machine);
    Ok(members)
}

/// Forgets a machine that is no more, whatever store it was in. Says whether it was known.
///
/// # Errors
///
/// [`Error::State`] when that cannot be kept.
pub fn forget(name: &str, machine: &Machine) -> Result<bool, Error> {
    let mut heard = Heard::read(machine);
    let before = heard.0.len();
    heard.0.retain(|one| one.machine != name);
    let is_known = heard.0.len() < before;
    if is_known {
        heard.try_to_write(machine).map_err(|source| Error::State {
            action: "write",
            path: Heard::file(machine),
            source,
        })?;
    }
    Ok(is_known)
}

/// The machines that were believed, and when each spoke last. Losing it costs noticing, nothing else.
#[derive(Default, Serialize, Deserialize)]
struct Heard(Vec<HeardOf>);

#[derive(Serialize, Deserialize)]
struct HeardOf {
    store: String,
    machine: String,
    at: Timestamp,
}

impl Heard {
    fn file(machine: &Machine) -> PathBuf {
        machine.places.state.join("fleet.json")
    }

    fn read(machine: &Machine) -> Self {
        let bytes = fs::read(Self::file(machine)).ok();
        let heard = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        heard.unwrap_or_default()
    }

    fn try_to_write(&self, machine: &Machine) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        replace_private_file(&Self::file(machine), &text)
    }

    fn write(&self, machine: &Machine) {
        let _ = self.try_to_write(machine);
    }

    fn of(&self, store: &str) -> Vec<(String, Timestamp)> {
        let of_store = self.0.iter().filter(|one| one.store == store);
        of_store.map(|one| (one.machine.clone(), one.at)).collect()
    }

    fn last(&self, store: &str, machine: &str) -> Option<Timestamp> {
        let mut heard = self.0.iter();
        let found = heard.find(|one| one.store == store && one.machine == machine);
        found.map(|one| one.at)
    }

    fn remember(&mut self, store: &str, members: &[Member]) {
        for status in members.iter().filter_map(|member| member.status.as_ref()) {
            let is_it = |one: &HeardOf| one.store == store && one.machine == status.machine;
            match self.0.iter_mut().find(|one| is_it(one)) {
                Some(one) => one.at = status.at,
                None => self.0.push(HeardOf {
                    store: store.to_owned(),
                    machine: status.machine.clone(),
                    at: status.at,
                }),
            }
        }
    }
}

/// The key of a fleet.
///
/// # Errors
///
/// When it cannot be had, or is shorter than 16 bytes.
pub fn fetch(fleet: &Fleet, machine: &Machine) -> Result<Secret, Error> {
    let key = machine.keeper().fetch(&fleet.key);
    let key = key.map_err(|error| Error::of_layer("fleet")(layer::Error::Secret(error)))?;
    match key.expose().len() {
        KEY_SIZE_MIN.. => Ok(key),
        size => Err(Error::FleetKey { size }),
    }
}

fn open(place: &str, machine: &Machine) -> Result<Arc<dyn Store>, Error> {
    let location: Location = place.parse().map_err(Error::BadStore)?;
    Ok(store::open(&location, &machine.store_environment())?)
}

fn mac(key: &Secret) -> io::Result<Hmac<Sha256>> {
    // Other keys of the same words sign nothing of this.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()).map_err(io::Error::other)?;
    mac.update(b"ravelin status of a machine\0");
    Ok(mac)
}

/// A line with the signature, and what is signed.
fn sign(status: &MachineStatus, key: &Secret) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(status)?;
    let mut mac = mac(key)?;
    mac.update(&text);
    let mut object = hex::encode(mac.finalize().into_bytes()).into_bytes();
    object.push(b'\n');
    object.extend_from_slice(&text);
    object.push(b'\n');
    Ok(object)
}

/// What is signed, if it is.
fn check(object: &[u8], key: &Secret) -> Result<MachineStatus, String> {
    let foreign = || "its signature is not of this key".to_owned();
    let end = object.iter().position(|&byte| byte == b'\n');
    let (signature, text) = end
        .and_then(|end| object.split_at_checked(end))
        .ok_or_else(foreign)?;
    let text = text.trim_ascii();
    let mut mac = mac(key).map_err(|error| error.to_string())?;
    mac.update(text);
    let signature = hex::decode(signature).map_err(|_| foreign())?;
    mac.verify_slice(&signature).map_err(|_| foreign())?;
    let status: MachineStatus = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match status.form {
        FORM => Ok(status),
        other => Err(format!("it has form {other}, which a newer ravelin reads")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_read_and_nothing_else() {
        let key = Secret::new("fleet".to_owned());
        let status = MachineStatus {
            form: FORM,
            machine: "nas".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            alarm: false,
            layers: Vec::new(),
        };
        let object = sign(&status, &key).unwrap();
        assert_eq!(check(&object, &key), Ok(status));
        assert!(check(&object, &Secret::new("other".to_owned())).is_err());
        for at in 0..object.len() - 1 {
            let mut changed = object.clone();
            changed[at] ^= 1;
            assert!(check(&changed, &key).is_err(), "byte {at}");
        }
        for length in 0..object.len() - 1 {
            assert!(check(&object[..length], &key).is_err(), "{length} bytes");
        }
        assert!(check(b"", &key).is_err());
        assert!(check(b"\xff\xff\n{}", &key).is_err());
    }
}
