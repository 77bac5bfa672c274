//! The list of those who hold a lock.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::process::Holder;
use super::suffixed;
use crate::{Error, Host};

/// A list is a few lines. More is not read.
const SIZE_MAX: u64 = 1 << 20;

/// Where our births stand in the list. The stock program keeps keys that it does not know.
const BIRTHS: &str = "births";

/// In which part of the list a holder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Shared,
    Exclusive,
}

impl Kind {
    const ALL: [Self; 2] = [Self::Shared, Self::Exclusive];

    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }
}

/// The file `lock.roster`. Only who holds the lock directory may change it.
#[derive(Debug)]
pub(super) struct Roster {
    path: PathBuf,
}

impl Roster {
    pub(super) fn new(lock: &Path) -> Self {
        Self {
            path: suffixed(lock, ".roster"),
        }
    }

    /// Those who hold a shared lock and are not gone.
    pub(super) fn readers(&self, host: &Host) -> Result<Vec<Holder>, Error> {
        Ok(living(&self.load()?, Kind::Shared, host))
    }

    pub(super) fn add(&self, kind: Kind, holder: &Holder, host: &Host) -> Result<(), Error> {
        self.change(host, |of_kind, holders| {
            if of_kind == kind && !holders.contains(holder) {
                holders.push(holder.clone());
            }
        })
    }

    /// Removes a holder, if it is still there, and the file when that was the last one.
    pub(super) fn take_off(&self, kind: Kind, holder: &Holder, host: &Host) -> Result<(), Error> {
        self.change(host, |of_kind, holders| {
            if of_kind == kind {
                holders.retain(|known| known != holder);
            }
        })
    }

    /// Puts one holder in another's place.
    pub(super) fn replace(
        &self,
        kind: Kind,
        former: &Holder,
        holder: &Holder,
        host: &Host,
    ) -> Result<(), Error> {
        self.change(host, |of_kind, holders| {
            if of_kind == kind {
                holders.retain(|known| known != former);
                holders.push(holder.clone());
            }
        })
    }

    pub(super) fn remove(&self) -> Result<(), Error> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(Error::io("remove", &self.path)),
        }
    }

    fn change(&self, host: &Host, change: impl Fn(Kind, &mut Vec<Holder>)) -> Result<(), Error> {
        let mut list = self.load()?;
        let mut births = Map::new();
        let mut is_empty = true;
        for kind in Kind::ALL {
            let mut holders = living(&list, kind, host);
            change(kind, &mut holders);
            is_empty &= holders.is_empty();
            for holder in holders.iter().filter(|holder| !holder.birth().is_empty()) {
                births.insert(holder.file_name(), holder.birth().into());
            }
            let entries = holders
                .iter()
                .map(|holder| json!([holder.host(), holder.pid(), holder.thread()]));
            list.insert(kind.key().into(), entries.collect());
        }
        if is_empty {
            return self.remove();
        }
        list.insert(BIRTHS.into(), births.into());
        // Aside and renamed, so that a kill does not leave half a list.
        let aside = suffixed(&self.path, ".tmp");
        fs::write(&aside, Value::Object(list).to_string())
            .and_then(|()| fs::rename(&aside, &self.path))
            .map_err(Error::io("write", &self.path))
    }

    /// An absent or garbled list is empty, as for the stock program.
    fn load(&self) -> Result<Map<String, Value>, Error> {
        let mut text = Vec::new();
        let read =
            fs::File::open(&self.path).and_then(|file| file.take(SIZE_MAX).read_to_end(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
            Err(error) => Err(Error::io("read", &self.path)(error)),
            Ok(_) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        }
    }
}

fn living(list: &Map<String, Value>, kind: Kind, host: &Host) -> Vec<Holder> {
    let entries = list.get(kind.key()).and_then(Value::as_array);
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let holder = Holder::new(
                entry.get(0)?.as_str()?,
                entry.get(1)?.as_u64()?.try_into().ok()?,
                entry.get(2)?.as_u64()?,
                "",
            );
            let birth = list.get(BIRTHS).and_then(|it| it.get(holder.file_name()));
            let birth = birth.and_then(Value::as_str).unwrap_or_default();
            Some(Holder::new(
                holder.host(),
                holder.pid(),
                holder.thread(),
                birth,
            ))
        })
        .filter(|holder| !holder.is_gone(host))
        .collect()
}
