//! A drop folder as a layer: a run makes the folder of this machine and the one at the store the
//! same, in both directions.
//!
//! What the other layers are fed with is not looked at: the folder that the configuration names is
//! the source, whatever the sources are. A snapshot is the state at the end of a day, in UTC, on
//! which any device has changed something; every single version is within reach of the verbs for
//! drop folders.

mod repair;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::drop::{Device, Did, Folder, Sync as Synchronisation, Version};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use store::{Folder as StoreFolder, Location, Name, Scope};
use tree::{Entry, EntryKind, FileWriter, Placed, ProblemKind, Step, Time, TreePath};

use super::{
    Access, Committed, Depth, Details, Error, Fingerprint, Found, Intake, Item, Layer, NewSnapshot,
    RestoreStep, Snapshot, Statistics, Unusable, Verification, VerifyStep, place,
};
use crate::event::{PathRecord, ProblemRecord, chain};
use crate::{Machine, Selection, Stop, config};

/// So long another run may be at the folder.
const BUSY_FOR: Duration = Duration::from_secs(120);

/// So often it is looked at whether it is done.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Read at once from a file's content.
const READ_SIZE: usize = 256 << 10;

/// Opens the drop folder, or creates it.
pub(super) fn open(
    layer: &config::Layer,
    folder: &Path,
    access: Access,
    machine: &Machine,
) -> Result<Box<dyn Layer>, Error> {
    Ok(Box::new(reach(layer, folder, access, machine)?))
}

/// Opens a drop folder that may be damaged.
pub(super) fn open_damaged(
    layer: &config::Layer,
    folder: &Path,
    write: bool,
    machine: &Machine,
) -> Result<Box<dyn crate::upkeep::Repair>, Error> {
    let access = if write { Access::Write } else { Access::Read };
    let reached = reach(layer, folder, access, machine)?;
    Ok(Box::new(repair::DropRepair::new(reached, write)))
}

fn reach(
    layer: &config::Layer,
    folder: &Path,
    access: Access,
    machine: &Machine,
) -> Result<DropLayer, Error> {
    let location: Location = layer.store.parse()?;
    let environment = machine.store_environment();
    let state = machine.places.state.join("drop");
    // Dropbox keeps the history itself: there is nothing to create.
    if !matches!(location, Location::Dropbox { .. }) {
        let store = place::open(layer, access, machine)?;
        if access == Access::Create {
            Folder::create(&*store, &environment)?;
        }
    }
    let device = Device::new(&machine.host);
    let opened = Folder::open(&location, &environment, &device, Some(&state))?;
    let mut there = opened.ok_or_else(|| place::not_created(layer))?;
    there.refresh(machine.now().timestamp())?;
    let base = TreePath::from_local(folder).map_err(|source| Error::Io {
        action: format!("use the folder {}", folder.display()),
        source: io::Error::other(source),
    })?;
    Ok(DropLayer {
        there,
        here: folder.to_owned(),
        base,
        device,
        state,
        random: environment.random,
        stop: Arc::clone(&machine.stop),
        host: machine.host.clone(),
        user: machine.user.clone(),
    })
}

struct DropLayer {
    /// The drop folder at the store.
    there: Folder,
    /// The folder of this machine.
    here: PathBuf,
    /// The same, as a backup stores paths.
    base: TreePath,
    device: Device,
    state: PathBuf,
    random: store::Random,
    stop: Arc<Stop>,
    host: String,
    user: String,
}

impl DropLayer {
    /// The files of a snapshot, by path.
    fn versions(&mut self, snapshot: &Snapshot) -> Result<Vec<Version>, Error> {
        let time: Result<Timestamp, _> = snapshot.id.parse();
        let time = time.map_err(|_| Error::NoSnapshot {
            name: snapshot.name.clone(),
        })?;
        let mut versions = self.there.as_of(time)?;
        versions.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(versions)
    }

    /// A snapshot as a scan would give it: each folder before what is in it.
    fn list(&mut self, snapshot: &Snapshot) -> Result<Vec<(Entry, Option<Version>)>, Error> {
        let mut list = vec![(directory(self.base.clone(), snapshot.time), None)];
        let mut known = BTreeSet::from([self.base.clone()]);
        for version in self.versions(snapshot)? {
            let path = self.path_of(&version.path);
            let mut missing = Vec::new();
            let mut above = path.parent();
            while let Some(folder) = above.filter(|folder| !known.contains(folder)) {
                above = folder.parent();
                missing.push(folder);
            }
            for folder in missing.into_iter().rev() {
                known.insert(folder.clone());
                list.push((directory(folder, snapshot.time), None));
            }
            if let Some(entry) = file(path, &version) {
                list.push((entry, Some(version)));
            }
        }
        Ok(list)
    }

    /// Where a file of the drop folder stands on this machine.
    fn path_of(&self, name: &Name) -> TreePath {
        let parts = name.as_str().split('/');
        parts.fold(self.base.clone(), |path, part| path.join(part.as_bytes()))
    }
}

fn directory(path: TreePath, time: Timestamp) -> Entry {
    entry(path, EntryKind::Directory, 0o755, time)
}

fn file(path: TreePath, version: &Version) -> Option<Entry> {
    let content = version.content()?;
    Some(Entry {
        size: content.size,
        ..entry(path, EntryKind::File, 0o644, content.modified)
    })
}

/// Plain files have no owner, and no rights: they become those of who restores them.
fn entry(path: TreePath, kind: EntryKind, mode: u32, time: Timestamp) -> Entry {
    let owner = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let nanoseconds = u32::try_from(time.subsec_nanosecond()).unwrap_or(0);
    Entry::new(
        path,
        kind,
        mode,
        owner,
        Time::new(time.as_second(), nanoseconds),
    )
}

fn fingerprint(version: &Version) -> Option<Fingerprint> {
    let digits = version.content()?.hash.get(..16)?;
    u64::from_str_radix(digits, 16).ok().map(Fingerprint)
}

impl Layer for DropLayer {
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, Error> {
        let mut days: BTreeMap<_, Timestamp> = BTreeMap::new();
        for at in self.there.moments()? {
            let day = TimeZone::UTC.to_datetime(at).date();
            let last = days.entry(day).or_insert(at);
            *last = at.max(*last);
        }
        let snapshots = days.into_values().map(|time| Snapshot {
            name: time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            id: time.to_string(),
            time,
        });
        Ok(snapshots.collect())
    }

    fn details(&mut self, snapshot: &Snapshot) -> Result<Details, Error> {
        let versions = self.versions(snapshot)?;
        let contents = versions.iter().filter_map(Version::content);
        Ok(Details {
            host: self.host.clone(),
            user: self.user.clone(),
            finished: Some(snapshot.time),
            files: contents.clone().count() as u64,
            bytes: contents.map(|content| content.size).sum(),
        })
    }

    fn entries(
        &mut self,
        snapshot: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        for (entry, version) in self.list(snapshot)? {
            let content = version.as_ref().and_then(fingerprint);
            if receive(Ok(Item { entry, content })).is_break() {
                return Ok(());
            }
        }
        for problem in self.there.take_problems() {
            let unusable = Unusable {
                recorded: problem.path.into_bytes(),
                what: problem.what,
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
        let versions = self.versions(snapshot)?;
        let mut versions = versions.into_iter();
        let version = versions.find(|version| self.path_of(&version.path) == *path);
        let version = version.ok_or_else(|| Error::NoFile {
            path: path.clone(),
            snapshot: snapshot.name.clone(),
        })?;
        Ok(Box::new(self.there.read(&version)?))
    }

    fn restore(
        &mut self,
        snapshot: &Snapshot,
        selection: &Selection,
        restore: &tree::Restore,
        on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), Error> {
        let mut admission = selection.admission();
        let list = self.list(snapshot)?.into_iter();
        let admitted = list.filter_map(|(entry, version)| Some((admission.admit(entry)?, version)));
        let mut step = RestoreStep { bytes: 0 };
        for (number, (entry, version)) in admitted.enumerate() {
            if on_step(step).is_break() {
                break;
            }
            if let (Placed::Content(file), Some(version)) = (restore.place(number, entry)?, version)
            {
                let mut ended = false;
                match self.there.read(&version) {
                    Ok(content) => copy(content, &file, &mut |bytes| {
                        step.bytes += bytes;
                        ended = on_step(step).is_break();
                        ended
                    })?,
                    Err(error) => file.fail(unreadable(error)),
                }
                if ended {
                    file.fail(unreadable(io::Error::from(io::ErrorKind::Interrupted)));
                }
                file.finish()?;
            }
        }
        Ok(())
    }

    fn begin<'a>(
        &'a mut self,
        new: &NewSnapshot,
        _on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Box<dyn Intake + 'a>, Error> {
        let sync = Synchronisation::new(
            &self.here,
            self.device.clone(),
            Some(&self.state),
            Arc::clone(&self.random),
        )?;
        let layer = Mutex::new(self);
        Ok(Box::new(DropIntake {
            sync,
            layer,
            configuration: new.configuration.clone(),
        }))
    }

    fn verify(
        &mut self,
        depth: Depth,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, Error> {
        let present = self.there.list();
        let mut found = Verification {
            snapshots: self.snapshots()?.len() as u64,
            ..Verification::default()
        };
        let mut stored: HashMap<Name, u64> = HashMap::new();
        let everywhere = StoreFolder::root();
        self.there
            .store()
            .list(&everywhere, Scope::Tree, &mut |object| {
                stored.insert(object.name, object.size);
                ControlFlow::Continue(())
            })?;
        let total = present.len() as u64;
        for version in &present {
            let step = VerifyStep {
                phase: "reading files",
                done: found.objects,
                total,
            };
            if on_step(step).is_break() {
                found.stopped = true;
                return Ok(found);
            }
            found.objects += 1;
            let size = version.content().map(|content| content.size);
            match stored.get(&version.path) {
                None => found.findings.push(format!("{} is missing", version.path)),
                Some(stored) if Some(*stored) != size => {
                    let text = format!("{} has another size than was recorded", version.path);
                    found.findings.push(text);
                }
                Some(_) if depth == Depth::Data => match self.read_through(version) {
                    Ok(bytes) => found.read_bytes += bytes,
                    Err(why) => found.findings.push(format!("{}: {why}", version.path)),
                },
                Some(_) => {}
            }
        }
        if depth == Depth::Data {
            let problems = self.there.verify()?.into_iter();
            let findings = problems.map(|problem| format!("{}: {}", problem.path, problem.what));
            found.findings.extend(findings);
        }
        Ok(found)
    }
}

impl DropLayer {
    /// Reads a file to its end, where its checksum is compared.
    fn read_through(&mut self, version: &Version) -> Result<u64, String> {
        let said = |error: &dyn std::error::Error| chain(error).join(": ");
        let mut content = self.there.read(version).map_err(|error| said(&error))?;
        io::copy(&mut content, &mut io::sink()).map_err(|error| said(&error))
    }
}

/// Copies a content into a file, until it ends or `on_bytes` says so. What cannot be read is the
/// file's failure; what cannot be written is ours.
fn copy(
    mut content: impl Read,
    file: &FileWriter<'_>,
    on_bytes: &mut dyn FnMut(u64) -> bool,
) -> Result<(), Error> {
    let mut buffer = vec![0; READ_SIZE];
    let mut offset = 0;
    loop {
        let length = match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                file.fail(unreadable(error));
                return Ok(());
            }
        };
        file.write_at(offset, buffer.get(..length).unwrap_or_default())?;
        offset += length as u64;
        if on_bytes(length as u64) {
            return Ok(());
        }
    }
}

fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ProblemKind {
    ProblemKind::Io {
        action: "read its content at the store",
        source: io::Error::other(why),
    }
}

/// A synchronisation that is going to be made.
struct DropIntake<'a> {
    sync: Synchronisation,
    layer: Mutex<&'a mut DropLayer>,
    configuration: Option<String>,
}

impl Intake for DropIntake<'_> {
    fn wants(&self, _entry: &Entry) -> bool {
        false
    }

    fn take(&self, _step: Step) -> Result<(), Error> {
        Ok(())
    }

    fn commit(self: Box<Self>, now: Timestamp) -> Result<Committed, Error> {
        let Self {
            sync,
            layer,
            configuration,
        } = *self;
        let layer = layer.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (stop, mut uploaded) = (Arc::clone(&layer.stop), 0);
        let mut kept_both = Vec::new();
        let mut on_step = |step: &::drop::Step| {
            match step.did {
                Did::Uploaded => uploaded += step.bytes,
                Did::KeptBoth => kept_both.push(step.path.clone()),
                Did::Downloaded | Did::DeletedHere | Did::DeletedThere => {}
            }
            if stop.is_requested() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let mut waited = Duration::ZERO;
        let report = loop {
            match sync.run(&mut layer.there, now, &mut on_step) {
                // The run that follows the folder is just at it, and does the same.
                Err(::drop::Error::Busy { .. })
                    if waited < BUSY_FOR && !layer.stop.is_requested() =>
                {
                    std::thread::sleep(LOOK_AGAIN);
                    waited += LOOK_AGAIN;
                }
                result => break result?,
            }
        };
        if stop.is_requested() && !report.complete {
            return Err(::drop::Error::Stopped.into());
        }
        let of_file = |name: &Name, what: &str| ProblemRecord {
            path: PathRecord::from(&layer.path_of(name)),
            what: what.to_owned(),
        };
        let mut problems: Vec<ProblemRecord> = Vec::new();
        problems.extend(kept_both.iter().map(|name| {
            let what = "two devices had changed it: this is the version of this one";
            of_file(name, what)
        }));
        problems.extend(report.in_motion.iter().map(|name| {
            let what = "it was being written to; the next run takes it";
            of_file(name, what)
        }));
        problems.extend(report.problems.into_iter().map(|problem| ProblemRecord {
            path: PathRecord::from(problem.path.as_bytes()),
            what: problem.what,
        }));
        if let Some(text) = configuration {
            ::drop::keep_configuration(&**layer.there.store(), &layer.device, &text)?;
        }
        let present = layer.there.list();
        let contents = present.iter().filter_map(Version::content);
        let statistics = Statistics {
            files: contents.clone().count() as u64,
            bytes: contents.map(|content| content.size).sum(),
            added_bytes: uploaded,
        };
        Ok(Committed {
            statistics,
            problems,
            snapshot: layer.snapshots()?.pop().map(|newest| newest.name),
        })
    }
}
