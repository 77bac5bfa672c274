//! A layer that keeps everything in memory: a double for the formats, and a model of what every
//! adapter must do.

use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use ravelin_engine::Selection;
use ravelin_engine::layer::{
    Committed, Depth, Details, Error, Fingerprint, Found, Intake, Item, Layer, NewSnapshot,
    RestoreStep, Snapshot, Statistics, Verification, VerifyStep,
};
use tree::{Body, Ending, Entry, Placed, Restore, Step, TreePath};

/// What a layer holds. Outlives the opening of it, as a disk would.
#[derive(Clone, Default)]
pub(crate) struct Shelf(Arc<Mutex<Vec<Kept>>>);

#[derive(Clone)]
struct Kept {
    snapshot: Snapshot,
    details: Details,
    objects: Vec<Object>,
}

#[derive(Clone)]
struct Object {
    entry: Entry,
    content: Option<Arc<Vec<u8>>>,
}

/// What goes wrong, for the tests of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    /// The disk is full before the first snapshot begins.
    Begin,
    /// The disk is full when this many steps were taken.
    Take(usize),
    /// The disk is full when all was taken.
    Commit,
}

/// One opening of a shelf.
pub(crate) struct Memory {
    pub(crate) shelf: Shelf,
    pub(crate) fault: Fault,
    /// At its three hundredth step it waits until something stands there.
    pub(crate) waits_for: Option<Shelf>,
}

fn full(action: &str) -> Error {
    Error::Io {
        action: action.to_owned(),
        source: std::io::ErrorKind::StorageFull.into(),
    }
}

impl Shelf {
    /// Damages the content of a file in all snapshots.
    pub(crate) fn damage(&self, path: &TreePath) {
        for kept in self.0.lock().unwrap().iter_mut() {
            for object in &mut kept.objects {
                if object.entry.path == *path {
                    object.content = Some(Arc::new(b"rotten".to_vec()));
                }
            }
        }
    }
}

impl Memory {
    fn kept(&self, snapshot: &Snapshot) -> Result<Kept, Error> {
        let kept = self.shelf.0.lock().unwrap();
        let found = kept.iter().find(|kept| kept.snapshot.name == snapshot.name);
        found.cloned().ok_or_else(|| Error::NoSnapshot {
            name: snapshot.name.clone(),
        })
    }
}

impl Layer for Memory {
    fn snapshots(&mut self) -> Result<Vec<Snapshot>, Error> {
        let kept = self.shelf.0.lock().unwrap();
        Ok(kept.iter().map(|kept| kept.snapshot.clone()).collect())
    }

    fn details(&mut self, snapshot: &Snapshot) -> Result<Details, Error> {
        Ok(self.kept(snapshot)?.details)
    }

    fn entries(
        &mut self,
        snapshot: &Snapshot,
        receive: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        for object in self.kept(snapshot)?.objects {
            let content = object.content.as_ref().map(|content| fingerprint(content));
            let entry = object.entry;
            if receive(Ok(Item { entry, content })).is_break() {
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
        let kept = self.kept(snapshot)?;
        let content = content_of(&kept.objects, path);
        let content = content.ok_or_else(|| Error::NoFile {
            path: path.clone(),
            snapshot: snapshot.name.clone(),
        })?;
        Ok(Box::new(Cursor::new(content.to_vec())))
    }

    fn restore(
        &mut self,
        snapshot: &Snapshot,
        selection: &Selection,
        restore: &Restore,
        on_step: &(dyn Fn(RestoreStep) -> ControlFlow<()> + Sync),
    ) -> Result<(), Error> {
        let objects = self.kept(snapshot)?.objects;
        let mut admission = selection.admission();
        let mut step = RestoreStep { bytes: 0 };
        let admitted = objects.iter().filter_map(|object| {
            let entry = admission.admit(object.entry.clone())?;
            Some((entry, &object.entry.path))
        });
        for (number, (entry, path)) in admitted.enumerate() {
            if on_step(step).is_break() {
                break;
            }
            if let Placed::Content(file) = restore.place(number, entry)? {
                let content = content_of(&objects, path).unwrap();
                file.write_at(0, &content)?;
                file.finish()?;
                step.bytes += content.len() as u64;
            }
        }
        Ok(())
    }

    fn begin<'a>(
        &'a mut self,
        new: &NewSnapshot,
        _: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Box<dyn Intake + 'a>, Error> {
        if self.fault == Fault::Begin {
            return Err(full("begin"));
        }
        let kept = self.shelf.0.lock().unwrap();
        let mut known = HashMap::new();
        for object in kept.iter().flat_map(|kept| &kept.objects) {
            if let Some(content) = &object.content {
                known.insert(
                    object.entry.path.clone(),
                    (object.entry.clone(), Arc::clone(content)),
                );
            }
        }
        Ok(Box::new(Taking {
            layer: self,
            new: new.clone(),
            known,
            taken: Mutex::default(),
        }))
    }

    fn verify(
        &mut self,
        depth: Depth,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Verification, Error> {
        let kept = self.shelf.0.lock().unwrap();
        let mut found = Verification::default();
        for kept in kept.iter() {
            found.snapshots += 1;
            let step = VerifyStep {
                phase: "looking at snapshots",
                done: found.snapshots,
                total: 0,
            };
            if on_step(step).is_break() {
                found.stopped = true;
                break;
            }
            for object in &kept.objects {
                found.objects += 1;
                let content = object
                    .content
                    .as_ref()
                    .map_or(0, |content| content.len() as u64);
                if object.entry.is_file() && depth == Depth::Data {
                    found.read_bytes += content;
                    if content != object.entry.size && object.entry.hard_link.is_none() {
                        found
                            .findings
                            .push(format!("{} is damaged", object.entry.path));
                    }
                }
            }
        }
        Ok(found)
    }
}

fn content_of(objects: &[Object], path: &TreePath) -> Option<Arc<Vec<u8>>> {
    let object = objects.iter().find(|object| object.entry.path == *path)?;
    match &object.entry.hard_link {
        Some(first) => content_of(objects, first),
        None => object.content.clone(),
    }
}

fn fingerprint(content: &[u8]) -> Fingerprint {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    Fingerprint(hasher.finish())
}

/// A snapshot that is being made.
struct Taking<'a> {
    layer: &'a Memory,
    new: NewSnapshot,
    known: HashMap<TreePath, (Entry, Arc<Vec<u8>>)>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    steps: usize,
    objects: Vec<Object>,
    open: Option<(Entry, Vec<u8>)>,
    added_bytes: u64,
}

impl Taking<'_> {
    /// The content of a file that did not change since the last snapshot.
    fn unchanged(&self, entry: &Entry) -> Option<Arc<Vec<u8>>> {
        let (old, content) = self.known.get(&entry.path)?;
        let same = (old.inode, old.size, old.ctime) == (entry.inode, entry.size, entry.ctime);
        same.then(|| Arc::clone(content))
    }
}

impl Intake for Taking<'_> {
    fn wants(&self, entry: &Entry) -> bool {
        entry.hard_link.is_none() && self.unchanged(entry).is_none()
    }

    fn take(&self, step: Step) -> Result<(), Error> {
        let mut taken = self.taken.lock().unwrap();
        taken.steps += 1;
        if let Some(other) = self.layer.waits_for.as_ref().filter(|_| taken.steps == 300) {
            while other.0.lock().unwrap().is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        if self.layer.fault == Fault::Take(taken.steps) {
            return Err(full("take a step"));
        }
        match step {
            Step::Entry { entry, body } => {
                let entry = Entry::clone(&entry);
                let content = match body {
                    Body::Blocks => {
                        taken.open = Some((entry, Vec::new()));
                        return Ok(());
                    }
                    Body::Whole(block) => {
                        taken.added_bytes += block.len() as u64;
                        Some(Arc::new(block.to_vec()))
                    }
                    Body::None => self.unchanged(&entry),
                };
                taken.objects.push(Object { entry, content });
            }
            Step::Data(block) => {
                if let Some((_, content)) = &mut taken.open {
                    content.extend_from_slice(&block);
                }
            }
            Step::Hole(bytes) => {
                if let Some((_, content)) = &mut taken.open {
                    content.resize(content.len() + usize::try_from(bytes).unwrap(), 0);
                }
            }
            Step::End(ending) => {
                if let (Some((entry, content)), false) =
                    (taken.open.take(), matches!(ending, Ending::Failed(_)))
                {
                    taken.added_bytes += content.len() as u64;
                    let content = Some(Arc::new(content));
                    taken.objects.push(Object { entry, content });
                }
            }
            Step::Problem(_) => {}
        }
        Ok(())
    }

    fn commit(self: Box<Self>, now: Timestamp) -> Result<Committed, Error> {
        if self.layer.fault == Fault::Commit {
            return Err(full("commit"));
        }
        let taken = self.taken.into_inner().unwrap();
        let contents = taken
            .objects
            .iter()
            .filter_map(|object| object.content.as_ref());
        let statistics = Statistics {
            files: contents.clone().count() as u64,
            bytes: contents.map(|content| content.len() as u64).sum(),
            added_bytes: taken.added_bytes,
        };
        let mut kept = self.layer.shelf.0.lock().unwrap();
        let id = kept.len().to_string();
        kept.push(Kept {
            snapshot: Snapshot {
                name: self.new.name,
                id,
                time: self.new.time,
            },
            details: Details {
                host: self.new.host,
                user: self.new.user,
                finished: Some(now),
                files: statistics.files,
                bytes: statistics.bytes,
            },
            objects: taken.objects,
        });
        Ok(statistics.into())
    }
}

/// The files of a snapshot with their content.
pub(crate) fn files(layer: &mut Memory, snapshot: &Snapshot) -> BTreeMap<String, String> {
    let mut paths = Vec::new();
    let receive = &mut |found: Found| {
        let entry = found.unwrap().entry;
        if entry.is_file() {
            paths.push(entry.path);
        }
        ControlFlow::Continue(())
    };
    layer.entries(snapshot, receive).unwrap();
    let mut files = BTreeMap::new();
    for path in paths {
        let mut text = String::new();
        let mut content = layer.content(snapshot, &path).unwrap();
        content.read_to_string(&mut text).unwrap();
        files.insert(path.to_string(), text);
    }
    files
}
