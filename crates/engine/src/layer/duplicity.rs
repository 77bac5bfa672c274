//! A duplicity archive as a layer.
//!
//! A set of the archive is a snapshot. The format gives snapshots no names but their times, so
//! those are their names, as `duplicity --time` takes them: `20261124T073000Z`.
//!
//! The archive stands for the whole file system, as `duplicity backup /` would make it, so paths
//! in it are those of all layers.

mod intake;
mod repair;
mod upkeep;

use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use duplicity::{
    Archive, BackupSet, Collection, Gpg, Passphrase, Protection, SetTime, Settings, Wanted,
};
use store::{DigestKind, Folder, Hasher, Name, WriteMode};
use tree::TreePath;

use super::{
    Access, Depth, Details, Error, Fingerprint, Found, Intake, Item, Layer, NewSnapshot,
    RestoreStep, Snapshot, Unusable, Verification, VerifyStep, place,
};
use crate::config::ArchiveEncryption;
use crate::{Machine, Selection, config};

/// Stands in the store from the beginning: it tells an empty archive from a drive that is not
/// mounted, and a person without this program how to get the files back.
const README: &str = "ravelin-readme.txt";

/// What it says.
const README_TEXT: &str = concat!(
    include_str!("duplicity/readme.txt"),
    include_str!("duplicity/by-hand.txt")
);

/// An open archive.
struct DuplicityLayer {
    archive: Archive,
    collection: Collection,
    full_every: Option<Duration>,
    synthetic_full: bool,
    clock: crate::Clock,
    /// Where it is remembered that a chain is not to be gone on with.
    given_up: PathBuf,
    /// What was deleted since the layer was opened.
    freed_bytes: u64,
}

/// Opens the archive of a layer, or creates it.
pub(super) fn open(
    layer: &config::Layer,
    settings: &config::Duplicity,
    access: Access,
    machine: &Machine,
) -> Result<Box<dyn Layer>, Error> {
    Ok(Box::new(reach(layer, settings, access, machine)?))
}

/// Opens an archive that may be damaged.
pub(super) fn open_damaged(
    layer: &config::Layer,
    settings: &config::Duplicity,
    machine: &Machine,
) -> Result<Box<dyn crate::upkeep::Repair>, Error> {
    let reached = reach(layer, settings, Access::Read, machine)?;
    Ok(Box::new(repair::DuplicityRepair::new(reached)))
}

fn reach(
    layer: &config::Layer,
    settings: &config::Duplicity,
    access: Access,
    machine: &Machine,
) -> Result<DuplicityLayer, Error> {
    let store = place::open(layer, access, machine)?;
    let passphrase = match &layer.passphrase {
        Some(reference) => Some(Passphrase::new(machine.keeper().fetch(reference)?.expose())),
        None => None,
    };
    let cache = machine.places.cache.join(cache_name(layer));
    let random = machine.store_environment().random;
    let mut archive = Settings::new(cache.join("scratch"), random);
    archive.protection = match (settings.encryption, passphrase) {
        (ArchiveEncryption::Passphrase, Some(passphrase)) => Protection::Passphrase(passphrase),
        (ArchiveEncryption::Keys, passphrase) => Protection::Gpg(Box::new(Gpg {
            recipients: settings.encrypt_to.clone(),
            sign_key: settings.sign_with.clone(),
            passphrase,
            ..Gpg::default()
        })),
        // A configuration without a passphrase was refused where one is needed.
        (ArchiveEncryption::Passphrase | ArchiveEncryption::None, _) => Protection::None,
    };
    archive.encrypted_only = settings.encryption != ArchiveEncryption::None;
    archive.archive_dir = Some(cache);
    archive.host = match &settings.host {
        Some(host) => host.clone().into_bytes(),
        None => machine.host.clone().into_bytes(),
    };
    if let Some(size) = settings.volume_size {
        archive.volume_size = size.max(VOLUME_SIZE_MIN);
    }
    let now = SetTime::new(machine.now().timestamp());
    let archive = Archive::new(store.clone(), Folder::root(), archive);
    let mut collection = archive.collection(now)?;
    if collection.files().next().is_none() {
        let readme = Name::new(README).map_err(|error| {
            let refused = store::Error::new(store::ErrorKind::Invalid, store::Operation::Open);
            refused.on(README).because(error)
        })?;
        if access == Access::Create {
            let text = README_TEXT.as_bytes().to_vec();
            store.write(&readme, &text, WriteMode::Replace)?;
        } else {
            match store.stat(&readme) {
                Ok(_) => {}
                Err(error) if error.kind == store::ErrorKind::NotFound => {
                    return Err(place::not_created(layer));
                }
                Err(error) => return Err(error.into()),
            }
        }
        collection = archive.collection(now)?;
    }
    Ok(DuplicityLayer {
        archive,
        collection,
        full_every: settings.full_every,
        synthetic_full: settings.synthetic_full,
        clock: Arc::clone(&machine.clock),
        given_up: machine
            .places
            .state
            .join(cache_name(layer))
            .with_extension("given-up"),
        freed_bytes: 0,
    })
}

/// Smallest volume that makes sense: a tenth of what duplicity accepts.
const VOLUME_SIZE_MIN: u64 = 1 << 20;

/// Where what can be computed again is kept: by name and store, for another store has other sets.
fn cache_name(layer: &config::Layer) -> String {
    let mut hasher = Hasher::new(DigestKind::Sha1);
    hasher.update(layer.store.as_bytes());
    let hash = hasher.finish().to_hex();
    let hash: String = hash.chars().take(12).collect();
    format!("duplicity/{}-{hash}", layer.name)
}

impl DuplicityLayer {
    fn now(&self) -> SetTime {
        SetTime::new((self.clock)().timestamp())
    }

    /// The sets that restore a snapshot.
    fn sets(&self, snapshot: &Snapshot) -> Result<Vec<BackupSet>, Error> {
        let sets = SetTime::parse(&snapshot.id).and_then(|time| {
            let sets = self.collection.until(time)?;
            (sets.last()?.end() == time).then(|| sets.to_vec())
        });
        sets.ok_or_else(|| Error::NoSnapshot {
            name: snapshot.name.clone(),
        })
    }

    /// Whether a repair has found that nothing more should stand on the chain that grows.
    fn is_given_up(&self) -> bool {
        let chain = self.collection.active().map(duplicity::Chain::start);
        let given_up = std::fs::read_to_string(&self.given_up).ok();
        given_up.is_some_and(|given_up| chain.is_some_and(|chain| chain.to_string() == given_up))
    }

    /// What kind of set is due.
    fn wanted(&self, now: SetTime) -> Wanted {
        let last_full = self
            .collection
            .chains
            .iter()
            .map(duplicity::Chain::start)
            .max();
        let is_old = |last: SetTime, every: Duration| {
            let age = now.seconds().saturating_sub(last.seconds());
            u64::try_from(age).is_ok_and(|age| age >= every.as_secs())
        };
        match (last_full, self.full_every) {
            (Some(last), Some(every)) if is_old(last, every) => Wanted::Full,
            _ if self.is_given_up() => Wanted::Full,
            _ => Wanted::Increment,
        }
    }
}

impl Layer for DuplicityLayer {
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, Error> {
        let times = self.collection.times().into_iter();
        Ok(times
            .map(|time| Snapshot {
                name: time.to_string(),
                id: time.to_string(),
                time: time.timestamp(),
            })
            .collect())
    }

    fn details(&mut self, snapshot: &Snapshot) -> Result<Details, Error> {
        let sets = self.sets(snapshot)?;
        let mut host = String::new();
        if let Some(last) = sets.last() {
            let manifest = self.archive.manifest(last)?;
            host = String::from_utf8_lossy(&manifest.host.unwrap_or_default()).into_owned();
        }
        let (mut files, mut bytes) = (0, 0);
        for listed in self.archive.objects(&sets, &[TreePath::root()])? {
            let entry = listed?.entry;
            if entry.is_file() {
                files += 1;
                bytes += entry.size;
            }
        }
        Ok(Details {
            host,
            // The format does not say.
            user: String::new(),
            finished: None,
            files,
            bytes,
        })
    }

    fn entries(
        &mut self,
        snapshot: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut objects = self
            .archive
            .objects(&self.sets(snapshot)?, &[TreePath::root()])?;
        for listed in objects.by_ref() {
            let listed = listed?;
            if listed.entry.path.is_root() {
                continue;
            }
            let content = listed.fingerprint.map(|hash| {
                let head = hash.first_chunk().copied().unwrap_or_default();
                Fingerprint(u64::from_le_bytes(head))
            });
            let item = Item {
                entry: listed.entry,
                content,
            };
            if receive(Ok(item)).is_break() {
                return Ok(());
            }
        }
        for problem in objects.take_problems() {
            let unusable = Unusable {
                recorded: problem.name.clone().into_bytes(),
                what: crate::event::chain(&problem).join(": "),
            };
            if receive(Err(unusable)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn content<'a>(
        &'a mut self,
        snapshot: &Snapshot,
        path: &TreePath,
    ) -> Result<Box<dyn Read + 'a>, Error> {
        let content = self.archive.file(&self.sets(snapshot)?, path)?;
        match content {
            Some(content) => Ok(Box::new(content)),
            None => Err(Error::NoFile {
                path: path.clone(),
                snapshot: snapshot.name.clone(),
            }),
        }
    }

    fn restore(
        &mut self,
        snapshot: &Snapshot,
        selection: &Selection,
        restore: &tree::Restore,
        on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), Error> {
        let sets = self.sets(snapshot)?;
        let delivery = self.archive.delivery(&sets, selection.paths())?;
        let mut admission = selection.admission();
        let written = Mutex::new(0);
        let on_bytes = |bytes: u64| {
            let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
            *written += bytes;
            on_step(RestoreStep { bytes: *written })
        };
        // The root is the target itself: a restore into a folder leaves the folder as it is.
        let mut admit = |entry: tree::Entry| {
            let is_below = !entry.path.is_root();
            is_below.then(|| admission.admit(entry)).flatten()
        };
        let delivered = delivery.run(&mut admit, restore, &on_bytes);
        match delivered.stopped {
            None => Ok(()),
            Some(duplicity::Error::Target(error)) => Err((*error).into()),
            Some(error) => Err(error.into()),
        }
    }

    fn upkeep(&mut self) -> Option<&mut dyn crate::upkeep::Upkeep> {
        Some(self)
    }

    fn begin<'a>(
        &'a mut self,
        new: &NewSnapshot,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Box<dyn Intake + 'a>, Error> {
        let now = SetTime::new(new.time);
        let mut wanted = self.wanted(now);
        let mut damaged = Vec::new();
        // A full backup out of what is damaged would be damaged, too.
        if wanted == Wanted::Full && self.synthetic_full && !self.is_given_up() {
            let (phase, mut done) = ("putting a full backup together", 0);
            let made = self.archive.synthesize(now, &mut |bytes| {
                done += bytes;
                let total = 0;
                on_step(VerifyStep { phase, done, total })
            });
            match made {
                Ok(Some(_)) => {
                    self.collection = self.archive.collection(now)?;
                    wanted = Wanted::Increment;
                }
                // Nothing to put together, or it cannot be: the files are at hand.
                Ok(None) => {}
                Err(error) if error.is_damage() => {
                    let chain = self.collection.active();
                    let sets = chain.into_iter().flat_map(|chain| &chain.sets);
                    damaged.extend(sets.map(|set| set.end().to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let intake = self.archive.begin(wanted, now)?;
        let given_up = intake.given_up().iter();
        damaged.extend(given_up.map(|set| set.end().to_string()));
        Ok(Box::new(intake::DuplicityIntake::new(
            intake, damaged, self,
        )))
    }

    fn verify(
        &mut self,
        depth: Depth,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, Error> {
        let depth = match depth {
            Depth::Structure => duplicity::Depth::Structure,
            Depth::Data => duplicity::Depth::Data,
        };
        let found = self
            .archive
            .verify(&self.collection, depth, &mut |done, total| {
                let phase = "reading the archive";
                on_step(VerifyStep { phase, done, total })
            });
        let findings = found
            .findings
            .iter()
            .map(|error| crate::event::chain(error).join(": "));
        Ok(Verification {
            snapshots: found.sets,
            objects: found.files,
            read_bytes: found.read_bytes,
            findings: findings.chain(found.objects).collect(),
            stopped: found.stopped,
        })
    }
}
