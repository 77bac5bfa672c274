//! A Borg repository as a layer.

mod content;
mod intake;
mod keys;
mod repair;
mod restore;
mod upkeep;
mod verify;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use tree::{Entry, TreePath};

use borg::{
    Archive, Archives, Backend, ChunkRef, Compression, Encryption, Error as BorgError, Home, Host,
    Location, MountWhat, OpenOptions, Passphrase, RepositoryOptions, Trust,
};

use super::{
    Access, Depth, Details, Error, Fingerprint, Found, Intake, Item, Layer, LeftOut, Locked,
    NewSnapshot, PartVerified, RestoreStep, Shown, Snapshot, Statistics, Unusable, Verification,
    VerifyStep,
};
use crate::{Machine, Random, Selection, config};

/// An open repository.
struct BorgLayer {
    /// `None` while an intake has it, and for good when that failed.
    archives: Option<Archives>,
    host: Host,
    compression: Compression,
}

/// Opens the repository of a layer, or creates it.
pub(super) fn open(
    layer: &config::Layer,
    encryption: Encryption,
    compression: &Compression,
    lock_wait: Duration,
    access: Access,
    machine: &Machine,
) -> Result<Box<dyn Layer>, Error> {
    let way = Way::new(layer, encryption, lock_wait, machine)?;
    let archives = if access == Access::Create {
        let options = new_repository(machine.random)?;
        let now = machine.now().timestamp();
        let Way {
            location,
            home,
            host,
            passphrase,
            ..
        } = &way;
        Archives::create(location, home, host, encryption, passphrase, &options, now)?
    } else {
        let access = match access {
            Access::Read | Access::Cold => borg::Access::Read,
            Access::Write | Access::Create => borg::Access::Write,
        };
        let options = way.options(access);
        let open = |options: &OpenOptions| {
            Archives::open(
                &way.location,
                &way.home,
                options,
                &way.passphrase,
                way.trust(),
            )
        };
        let opened = match open(&options) {
            // What cannot be written can be read without a lock: nobody else can write it either.
            Err(BorgError::Io { source, .. })
                if options.access == borg::Access::Read
                    && source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                open(&OpenOptions {
                    access: borg::Access::NoLock,
                    ..options
                })
            }
            opened => opened,
        };
        opened.map_err(|error| way.explain(error))?
    };
    if encryption.encrypts() && !archives.encryption().encrypts() {
        return Err(Error::NotEncrypted {
            configured: encryption.to_string(),
        });
    }
    Ok(Box::new(BorgLayer {
        archives: Some(archives),
        host: way.host,
        compression: compression.clone(),
    }))
}

/// Looks who has locked the repository, and with `force` breaks the lock.
pub(super) fn unlock(
    layer: &config::Layer,
    encryption: Encryption,
    force: bool,
    machine: &Machine,
) -> Result<Locked, Error> {
    let way = Way::new(layer, encryption, Duration::ZERO, machine)?;
    let options = way.options(borg::Access::Write);
    let holder = match Backend::open(&way.location, &options) {
        Ok(_) => return Ok(Locked::No),
        Err(BorgError::Locked { holder, .. }) => holder,
        Err(error) => return Err(way.explain(error)),
    };
    if !force {
        return Ok(Locked::By(holder));
    }
    Backend::break_lock(&way.location, &options)?;
    Ok(Locked::Broken(holder))
}

/// A mount point, or a folder that a person has made for it: a repository can be created there.
fn is_empty_folder(location: &Location) -> bool {
    let Location::Local(path) = location else {
        return false;
    };
    path.read_dir()
        .is_ok_and(|mut entries| entries.next().is_none())
}

/// Opens the repository of a layer that may be damaged.
pub(super) fn open_damaged(
    layer: &config::Layer,
    encryption: Encryption,
    lock_wait: Duration,
    write: bool,
    trusted: bool,
    machine: &Machine,
) -> Result<Box<dyn crate::upkeep::Repair>, Error> {
    let way = Way::new(layer, encryption, lock_wait, machine)?;
    repair::open(&way, write, trusted, machine)
}

/// The key of the repository of a layer.
pub(super) fn keys(
    layer: &config::Layer,
    encryption: Encryption,
    lock_wait: Duration,
    machine: &Machine,
) -> Result<Box<dyn crate::keys::Keys>, Error> {
    let way = Way::new(layer, encryption, lock_wait, machine)?;
    Ok(Box::new(keys::BorgKeys(way)))
}

/// What it takes to reach a repository.
struct Way {
    location: Location,
    store: String,
    home: Home,
    host: Host,
    passphrase: Passphrase,
    encryption: Encryption,
    lock_wait: Duration,
}

impl Way {
    fn new(
        layer: &config::Layer,
        encryption: Encryption,
        lock_wait: Duration,
        machine: &Machine,
    ) -> Result<Self, Error> {
        let variable = |name: &str| (machine.variable)(name);
        let text = |name: &str| variable(name).and_then(|value| value.into_string().ok());
        let location = layer
            .borg_location()
            .ok_or_else(|| Error::StoreNotRunnable {
                store: layer.store.clone(),
            })?;
        let host = match text("BORG_HOST_ID") {
            Some(id) if !id.is_empty() => Host::named(id),
            _ => Host::this_machine(),
        };
        let passphrase = match &layer.passphrase {
            Some(reference) => machine.keeper().fetch(reference)?.expose().into(),
            None => String::new(),
        };
        Ok(Self {
            location: location.through(text("BORG_RSH"), text("BORG_REMOTE_PATH")),
            store: layer.store.clone(),
            home: Home::from_environment(&machine.places.home, variable),
            host,
            passphrase: Passphrase::new(passphrase),
            encryption,
            lock_wait,
        })
    }

    fn options(&self, access: borg::Access) -> OpenOptions {
        OpenOptions {
            lock_wait: self.lock_wait,
            ..OpenOptions::new(access, &self.host)
        }
    }

    fn trust(&self) -> Trust {
        Trust {
            // The configuration says by name that this one is not encrypted: nobody has put it
            // into the place of another.
            unknown_unencrypted: !self.encryption.keeps_secret(&self.passphrase),
            ..Trust::default()
        }
    }

    fn explain(&self, error: BorgError) -> Error {
        match error {
            BorgError::DoesNotExist { .. } => self.not_created(),
            BorgError::NotARepository { .. } if is_empty_folder(&self.location) => {
                self.not_created()
            }
            error => Error::Borg(error),
        }
    }

    fn not_created(&self) -> Error {
        Error::NotCreated {
            store: self.store.clone(),
        }
    }
}

fn new_repository(random: Random) -> Result<RepositoryOptions, Error> {
    let mut id = [0; 32];
    random(&mut id).map_err(|source| BorgError::Random { source })?;
    Ok(RepositoryOptions {
        make_parents: true,
        ..RepositoryOptions::new(id)
    })
}

impl BorgLayer {
    fn archives(&self) -> Result<&Archives, Error> {
        self.archives
            .as_ref()
            .ok_or(Error::Borg(BorgError::Stopped))
    }

    fn archive(&self, snapshot: &Snapshot) -> Result<Archive, Error> {
        let archives = self.archives()?;
        let list = archives.list();
        let entry = list
            .iter()
            .find(|(_, entry)| entry.id.to_string() == snapshot.id);
        let (name, _) = entry.ok_or_else(|| Error::NoSnapshot {
            name: snapshot.name.clone(),
        })?;
        Ok(archives.archive(name)?)
    }

    /// Hands the items of a snapshot on, further names of files with the content of the first. What
    /// is damaged is passed over, and its first reason is the error in the end.
    fn items(
        &self,
        snapshot: &Snapshot,
        mut receive: impl FnMut(borg::Item, Option<&Content>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let archive = self.archive(snapshot)?;
        let mut first_names: HashMap<BString, Content> = HashMap::new();
        let mut ended = false;
        let mut damage = None;
        let receive = |item: borg::Item| {
            // Parts of a file that a checkpoint left are in the file itself, too.
            if item.part.is_some() {
                return Ok(());
            }
            let content = item.chunks.as_ref().map(|chunks| Content {
                chunks: chunks.clone(),
                size: item.content_size(),
                is_repaired: item.chunks_healthy.is_some(),
            });
            let flow = match (&content, &item.source) {
                (None, Some(first)) => {
                    let first = first_names.get(first).cloned();
                    receive(item, first.as_ref())
                }
                _ => {
                    if let (Some(true), Some(content)) = (item.hardlink_master, &content) {
                        first_names.insert(item.path.clone(), content.clone());
                    }
                    receive(item, content.as_ref())
                }
            };
            match flow {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => {
                    ended = true;
                    Err(BorgError::Stopped)
                }
            }
        };
        let result = self
            .archives()?
            .items_around_damage(&archive, receive, |error| {
                damage.get_or_insert(error);
            });
        match (result, damage) {
            (Err(BorgError::Stopped), _) if ended => Ok(()),
            (Err(error), _) | (Ok(()), Some(error)) => Err(Error::Borg(error)),
            (Ok(()), None) => Ok(()),
        }
    }
}

/// The content of a file in an archive.
#[derive(Clone, Default)]
struct Content {
    chunks: Vec<ChunkRef>,
    size: u64,
    /// A repair has put zeros in the place of lost chunks.
    is_repaired: bool,
}

/// The entry of an item; a further name of a file with the size of its content.
fn to_entry(item: &borg::Item, content: Option<&Content>) -> Result<Entry, Unusable> {
    let mut entry = item.to_entry().map_err(|error| Unusable {
        recorded: item.path.to_vec(),
        what: crate::event::chain(&error).join(": "),
    })?;
    if let (Some(content), true) = (content, entry.is_file()) {
        entry.size = content.size;
    }
    Ok(entry)
}

/// Two files have the same content when they have the same chunks, since the cuts depend on the
/// content and a secret of the repository alone.
fn fingerprint(chunks: &[ChunkRef]) -> Fingerprint {
    let mut hasher = DefaultHasher::new();
    for chunk in chunks {
        hasher.write(&chunk.id.0);
    }
    Fingerprint(hasher.finish())
}

impl Layer for BorgLayer {
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, Error> {
        let list = self.archives()?.list();
        let finished = list
            .into_iter()
            .filter(|(name, _)| borg::checkpoint_of(name).is_none());
        let snapshots = finished.map(|(name, entry)| Snapshot {
            name: name.to_str_lossy().into_owned(),
            id: entry.id.to_string(),
            time: entry.time.instant(),
        });
        Ok(snapshots.collect())
    }

    fn details(&mut self, snapshot: &Snapshot) -> Result<Details, Error> {
        let archive = self.archive(snapshot)?;
        let text = |text: &Option<BString>| {
            let text = text.as_ref().map(|text| text.to_str_lossy().into_owned());
            text.unwrap_or_default()
        };
        let (mut files, mut bytes) = (0, 0);
        match &archive.totals {
            Some(totals) => (files, bytes) = (totals.nfiles, totals.size),
            // Archives of old do not say: counted, as Borg does.
            None => self.items(snapshot, |item, _| {
                if item.chunks.is_some() {
                    files += 1;
                    bytes += item.content_size();
                }
                ControlFlow::Continue(())
            })?,
        }
        Ok(Details {
            host: text(&archive.hostname),
            user: text(&archive.username),
            finished: archive.time_end.as_ref().map(borg::Timestamp::instant),
            files,
            bytes,
        })
    }

    fn entries(
        &mut self,
        snapshot: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.items(snapshot, |item, content| {
            let found = to_entry(&item, content).map(|entry| Item {
                entry,
                content: content.map(|content| fingerprint(&content.chunks)),
            });
            receive(found)
        })
    }

    fn content<'a>(
        &'a mut self,
        snapshot: &Snapshot,
        path: &TreePath,
    ) -> Result<Box<dyn Read + 'a>, Error> {
        let mut found = None;
        self.items(snapshot, |item, content| {
            if item.path.as_bytes() != path.as_bytes() {
                return ControlFlow::Continue(());
            }
            found = content.cloned();
            ControlFlow::Break(())
        })?;
        let content = found.ok_or_else(|| Error::NoFile {
            path: path.clone(),
            snapshot: snapshot.name.clone(),
        })?;
        Ok(Box::new(content::Reader::new(self.archives()?, content)?))
    }

    fn restore(
        &mut self,
        snapshot: &Snapshot,
        selection: &Selection,
        restore: &tree::Restore,
        on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), Error> {
        restore::restore(self, snapshot, selection, restore, on_step)
    }

    fn begin<'a>(
        &'a mut self,
        new: &NewSnapshot,
        _on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Box<dyn Intake + 'a>, Error> {
        let archives = self.archives.take().ok_or(BorgError::Stopped)?;
        intake::begin(archives, self, new)
    }

    fn upkeep(&mut self) -> Option<&mut dyn crate::upkeep::Upkeep> {
        Some(self)
    }

    fn export_tar(
        &mut self,
        snapshot: &Snapshot,
        form: borg::TarForm,
        selection: &Selection,
        output: &mut dyn io::Write,
    ) -> Result<borg::Exported, Error> {
        let archive = self.archive(snapshot)?;
        let select = |item: &mut borg::Item| {
            let path = TreePath::new(&item.path).ok();
            let destination = path.and_then(|path| selection.destination(&path));
            match destination {
                Some(destination) => {
                    if !destination.is_root() {
                        item.path = destination.as_bytes().into();
                    }
                    true
                }
                None => false,
            }
        };
        let archives = self.archives()?;
        Ok(borg::export_tar(archives, &archive, form, select, output)?)
    }

    fn import_tar(
        &mut self,
        new: &NewSnapshot,
        input: &mut dyn Read,
    ) -> Result<(Statistics, LeftOut), Error> {
        let archives = self.archives.take().ok_or(BorgError::Stopped)?;
        let new = intake::new_archive(new, &self.compression);
        let options = borg::ImportOptions::default();
        let (archives, imported) = borg::import_tar(archives, new, &self.host, options, input)?;
        self.archives = Some(archives);
        let statistics = intake::statistics(&imported.statistics);
        Ok((statistics, imported.left_out))
    }

    fn mount(
        mut self: Box<Self>,
        shown: &Shown,
        mount_point: &Path,
        allow_other: bool,
    ) -> Result<borg::Mounted, Error> {
        let archives = self.archives.take().ok_or(BorgError::Stopped)?;
        let list = archives.list();
        let all = || {
            let finished = list
                .iter()
                .filter(|(name, _)| borg::checkpoint_of(name).is_none());
            finished.map(|(name, _)| name.to_vec()).collect()
        };
        let what = match shown {
            Shown::One(snapshot) => {
                let mut list = list.iter();
                let found = list.find(|(_, entry)| entry.id.to_string() == snapshot.id);
                let (name, _) = found.ok_or_else(|| Error::NoSnapshot {
                    name: snapshot.name.clone(),
                })?;
                MountWhat::Archive(name.to_vec())
            }
            Shown::All => MountWhat::Archives(all()),
            Shown::Versions => MountWhat::Versions(all()),
        };
        let options = borg::MountOptions {
            allow_other,
            ..borg::MountOptions::default()
        };
        Ok(borg::mount(archives, what, mount_point, options)?)
    }

    fn verify_for(
        &mut self,
        limit: Duration,
        on_step: &mut dyn FnMut(VerifyStep),
    ) -> Result<PartVerified, Error> {
        verify::verify_for(self, limit, on_step)
    }

    fn verify(
        &mut self,
        depth: Depth,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, Error> {
        verify::verify(self, depth, on_step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_told_apart_by_their_chunks_and_their_order() {
        let chunk = |byte: u8| ChunkRef {
            id: borg::Id([byte; 32]),
            size: 1,
            csize: 1,
        };
        let one = fingerprint(&[chunk(1), chunk(2)]);
        assert_ne!(one, fingerprint(&[chunk(2), chunk(1)]));
        assert_ne!(one, fingerprint(&[chunk(1)]));
        assert_eq!(one, fingerprint(&[chunk(1), chunk(2)]));
    }
}
