//! What each receiver was last told, so that nobody is told twice and nobody is forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Occasion};
use crate::{Error, Machine, replace_private_file};

/// A message that could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// To whom, without secrets.
    pub receiver: String,
    /// Why not.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What is remembered of a message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// About which layer, or the name of another matter.
    pub(super) about: String,
    pub(super) occasion: Occasion,
}

/// The file `notified.json` of the state home. Lost, everything that is not good is told again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Memory {
    /// When each layer was first seen in a configuration.
    #[serde(default)]
    seen: BTreeMap<String, Timestamp>,
    /// By receiver and matter, what was told last, and when.
    #[serde(default)]
    told: BTreeMap<String, BTreeMap<String, (Occasion, Timestamp)>>,
    #[serde(default)]
    pub(super) undelivered: Vec<Undelivered>,
}

fn file(machine: &Machine) -> PathBuf {
    machine.places.state.join("notified.json")
}

impl Memory {
    pub(super) fn read(machine: &Machine) -> Self {
        let read = fs::read(file(machine)).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    pub(super) fn write(&self, machine: &Machine) -> Result<(), Error> {
        let path = file(machine);
        let text = serde_json::to_vec(self).unwrap_or_default();
        replace_private_file(&path, &text).map_err(|source| Error::State {
            action: "write",
            path,
            source,
        })
    }

    /// Notes the layers of a configuration.
    pub(super) fn see(&mut self, config: &Config, now: Timestamp) {
        self.seen.retain(|name, _| config.layer(name).is_some());
        for layer in &config.layers {
            let seen = self.seen.entry(layer.name.clone()).or_insert(now);
            // A clock that was set back.
            *seen = (*seen).min(now);
        }
    }

    /// When a layer was first seen.
    pub(super) fn seen(&self, layer: &str) -> Option<Timestamp> {
        self.seen.get(layer).copied()
    }

    /// When the first layer was first seen.
    pub(super) fn first_seen(&self) -> Option<Timestamp> {
        self.seen.values().min().copied()
    }

    pub(super) fn told(&mut self, receiver: &str, told: Told, now: Timestamp) {
        let matters = self.told.entry(receiver.to_owned()).or_default();
        matters.insert(told.about, (told.occasion, now));
    }

    pub(super) fn forget(&mut self, receiver: &str, about: &str) {
        if let Some(matters) = self.told.get_mut(receiver) {
            matters.remove(about);
        }
    }

    pub(super) fn last_told(&self, receiver: &str, about: &str) -> Option<(Occasion, Timestamp)> {
        self.told.get(receiver)?.get(about).copied()
    }
}
