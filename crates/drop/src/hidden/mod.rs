//! A drop folder with a history of its own: on a disk, S3, B2, SFTP, WebDAV, Drive.
//!
//! # What stands where
//!
//! The files themselves stand under their names, plain. Beside them is one hidden folder:
//!
//! | object | what |
//! |---|---|
//! | `.ravelin-drop/folder.txt` | which drop folder this is |
//! | `.ravelin-drop/index/00000007.txt` | change number 7, a few lines of text |
//! | `.ravelin-drop/checkpoint/00000200.txt` | all that the changes up to number 200 add up to |
//! | `.ravelin-drop/kept/ab/abcd…` | the copy of a content, named by its SHA-256 |
//! | `.ravelin-drop/damaged/abcd…` | a copy that a repair found damaged, and nowhere else |
//! | `.ravelin-drop/config/laptop.toml` | the configuration of a device, without secrets |
//!
//! # The order of steps, and why it is safe
//!
//! 1. The copies of all new contents are written.
//! 2. The change is written under the next number, with the demand that no such object exists.
//!    That is the commit: of several devices exactly one gets the number; the others read the
//!    winner's change and judge their own anew. No other precondition is asked of a store.
//! 3. The plain files are brought in line with it.
//!
//! A crash or cut before 2 leaves copies that no version needs; thinning removes them. One
//! after 2 leaves plain files that are behind: the next run of any device mends them. At no point
//! has a version been overwritten that is not kept: before a plain file is replaced it is looked
//! at, and if it is none of the versions that are known, somebody has put it there by hand, and it
//! becomes a version first.

mod adopt;
pub(crate) mod index;
pub(crate) mod line;
mod mirror;
pub(crate) mod repair;
mod seen;
mod thinning;

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use store::{
    DigestKind, Environment, ErrorKind, Folder as StoreFolder, Name, Range, Reading, Scope, Store,
    WriteMode,
};

use index::Index;
use line::{Kept, Line};
use repair::OnStep;
use seen::Seen;

use crate::keeping::Keeping;
use crate::{
    Change, Content, Damage, Device, Error, Mended, Outcome, Problem, State, Version, VersionId,
    What,
};

/// The hidden folder.
pub(crate) const HIDDEN: &str = ".ravelin-drop";

/// Largest object of the index that is read: 256 MiB.
const INDEX_SIZE_MAX: u64 = 256 << 20;

/// Highest number of a change. Nobody comes that far; more is not ours.
const NUMBER_MAX: u64 = 1 << 50;

/// So many changes are replayed by a new device at most, as a checkpoint holds those before.
const CHECKPOINT_EVERY: u64 = 200;

/// How often a change is judged anew because other devices were faster.
const ATTEMPTS: u32 = 100;

/// A store with a history of our own.
pub(crate) struct Hidden {
    store: Arc<dyn Store>,
    environment: Environment,
    device: Device,
    id: String,
    index: Index,
    seen: Seen,
    /// Whether the store gives a number to one device only.
    exclusive: bool,
    /// The changes that the index was made of, where the store cannot say which came first.
    taken: Vec<Name>,
    problems: Vec<Problem>,
}

pub(crate) fn name(text: &str) -> Result<Name, Error> {
    Name::new(text).map_err(|source| Error::BadName {
        name: text.to_owned(),
        source,
    })
}

impl Hidden {
    /// Opens the folder; `None` when there is none.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        environment: &Environment,
        device: Device,
        state: Option<&Path>,
        exclusive: bool,
    ) -> Result<Option<Self>, Error> {
        let Some(id) = folder_id(&*store)? else {
            return Ok(None);
        };
        let mut hidden = Self {
            seen: Seen::load(state, &id),
            id,
            environment: environment.clone(),
            device,
            index: Index::default(),
            exclusive,
            taken: Vec::new(),
            problems: Vec::new(),
            store,
        };
        if exclusive {
            hidden.start_from_checkpoint()?;
        }
        hidden.read_changes()?;
        Ok(Some(hidden))
    }

    /// Makes sure that this is still the folder that was opened. Where a drive was pulled out there is
    /// an empty folder, and nothing in it has been deleted.
    fn check_folder(&self) -> Result<(), Error> {
        if folder_id(&*self.store)?.as_ref() == Some(&self.id) {
            Ok(())
        } else {
            Err(Error::OtherFolder)
        }
    }

    /// Makes a folder of a store. What stands there already becomes its first files.
    pub(crate) fn create(store: &dyn Store, environment: &Environment) -> Result<(), Error> {
        let mut random = [0; 16];
        (environment.random)(&mut random);
        let id = hex::encode(random);
        let mode = if store.capabilities().create {
            WriteMode::Create
        } else {
            WriteMode::Replace
        };
        let text = format!("ravelin drop folder 1\t{id}\n\n{BY_HAND}");
        let folder = name(&format!("{HIDDEN}/folder.txt"))?;
        store.write(&folder, &text.into_bytes(), mode)?;
        Ok(())
    }

    /// A damaged checkpoint costs time, no data: everything is in the changes, too.
    fn start_from_checkpoint(&mut self) -> Result<(), Error> {
        let mut found = self.checkpoints()?;
        while let Some(object) = found.pop() {
            let bytes = match store::read_all(&*self.store, &object, INDEX_SIZE_MAX) {
                // Removed by another device since the listing.
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                bytes => bytes?,
            };
            match Index::from_checkpoint(&object, &bytes) {
                Ok(index) => {
                    self.index = index;
                    return Ok(());
                }
                Err(error @ Error::Newer { .. }) => return Err(error),
                Err(error) => self.problems.push(Problem::new(&object, error.to_string())),
            }
        }
        Ok(())
    }

    /// The checkpoints, oldest first.
    fn checkpoints(&self) -> Result<Vec<Name>, Error> {
        self.names(&format!("{HIDDEN}/checkpoint"))
    }

    fn names(&self, folder: &str) -> Result<Vec<Name>, Error> {
        let folder = StoreFolder::new(folder).map_err(|source| Error::BadName {
            name: folder.to_owned(),
            source,
        })?;
        let mut found = Vec::new();
        self.store.list(&folder, Scope::Folder, &mut |object| {
            found.push(object.name);
            ControlFlow::Continue(())
        })?;
        found.sort_by_key(|name| (number_in(name), name.clone()));
        Ok(found)
    }

    /// The name of a change of ours without its folder and ending.
    fn stem(&self, number: u64, nonce: &str) -> String {
        if self.exclusive {
            return exclusive_stem(number);
        }
        let device = self.device.as_str().chars();
        let device: String = device.filter(char::is_ascii_alphanumeric).collect();
        format!("{number:08}-{device}-{nonce}")
    }

    /// Takes in what other devices have changed.
    fn read_changes(&mut self) -> Result<(), Error> {
        if !self.exclusive {
            return self.read_listed_changes();
        }
        loop {
            let number = self.index.number.saturating_add(1);
            let stem = exclusive_stem(number);
            let object = change_name(&stem)?;
            match store::read_all(&*self.store, &object, INDEX_SIZE_MAX) {
                Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
                bytes => self.index.take_change(number, &stem, &object, &bytes?)?,
            }
        }
    }

    /// Where a store cannot create exclusively, two changes may have one number, and one may come
    /// into sight late. All are listed, and if one has come in between, everything is replayed.
    fn read_listed_changes(&mut self) -> Result<(), Error> {
        let listed = self.names(&format!("{HIDDEN}/index"))?;
        if !listed.starts_with(&self.taken) {
            self.index = Index::default();
            self.taken.clear();
        }
        for object in listed.into_iter().skip(self.taken.len()) {
            let stem = object.file_name().trim_end_matches(".txt").to_owned();
            let number = number_in(&object);
            let bytes = store::read_all(&*self.store, &object, INDEX_SIZE_MAX)?;
            self.index.take_change(number, &stem, &object, &bytes)?;
            self.taken.push(object);
        }
        Ok(())
    }

    /// Writes lines as the next change.
    ///
    /// `lines` is asked again whenever another device was faster; when it has none, nothing is written.
    fn write_change(
        &mut self,
        now: Timestamp,
        mut lines: impl FnMut(&mut Self, &str) -> Result<Vec<Line>, Error>,
    ) -> Result<Option<String>, Error> {
        let mut nonce = [0; 8];
        (self.environment.random)(&mut nonce);
        let nonce = hex::encode(nonce);
        for _ in 0..ATTEMPTS {
            self.read_changes()?;
            let number = self.index.number.saturating_add(1);
            let stem = self.stem(number, &nonce);
            let object = change_name(&stem)?;
            let lines = lines(self, &stem)?;
            if lines.is_empty() {
                return Ok(None);
            }
            let mut text = String::new();
            for line in &lines {
                line.write(now, &self.device, &mut text);
            }
            let text = index::with_header(&format!("change\t{nonce}"), &text);
            let mode = if self.exclusive {
                WriteMode::Create
            } else {
                WriteMode::Replace
            };
            match self.store.write(&object, &text.as_bytes().to_vec(), mode) {
                Err(error) if error.kind == ErrorKind::AlreadyExists => continue,
                Err(error) if error.kind == ErrorKind::Unsupported && self.exclusive => {
                    self.exclusive = false;
                    self.index = Index::default();
                    continue;
                }
                written => written?,
            };
            if self.exclusive {
                self.index
                    .take_change(number, &stem, &object, text.as_bytes())?;
            } else {
                self.read_changes()?;
            }
            if self.exclusive && number.is_multiple_of(CHECKPOINT_EVERY) {
                self.write_checkpoint(now)?;
            }
            return Ok(Some(stem));
        }
        Err(store::Error::new(ErrorKind::Busy, store::Operation::Write)
            .because("other devices were faster each time")
            .into())
    }

    /// Spares new devices the replay. The one before it stays, for who is just reading it.
    fn write_checkpoint(&mut self, now: Timestamp) -> Result<(), Error> {
        let object = name(&format!("{HIDDEN}/checkpoint/{:08}.txt", self.index.number))?;
        let text = self.index.checkpoint(now, &self.device);
        self.store
            .write(&object, &text.into_bytes(), WriteMode::Replace)?;
        let mut old = self.checkpoints()?;
        old.truncate(old.len().saturating_sub(2));
        for object in old {
            self.store.delete(&object)?;
        }
        Ok(())
    }

    /// Makes sure that the copy of a content is kept.
    fn keep(&self, kept: &Kept, content: &dyn store::Content) -> Result<(), Error> {
        let object = kept_name(kept)?;
        // Many bytes are not sent for nothing.
        let look_first = content.size() > 1 << 20 || !self.exclusive;
        if look_first && self.is_kept(&object, content.size())? {
            return Ok(());
        }
        let mode = if self.exclusive {
            WriteMode::Create
        } else {
            WriteMode::Replace
        };
        match self.store.write(&object, content, mode) {
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                if !self.is_kept(&object, content.size())? {
                    // A copy of another size is no copy. Nobody can need it.
                    self.store.write(&object, content, WriteMode::Replace)?;
                }
            }
            written => drop(written?),
        }
        Ok(())
    }

    fn is_kept(&self, object: &Name, size: u64) -> Result<bool, Error> {
        match self.store.stat(object) {
            Ok(found) => Ok(found.size == size),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The lines of those changes that still hold; the outcomes of the others are set.
    fn judge(
        &mut self,
        changes: &[Change<'_>],
        now: Timestamp,
        stem: &str,
        outcomes: &mut [Option<Outcome>],
        safe: &mut BTreeSet<Kept>,
    ) -> Result<Vec<Line>, Error> {
        let mut lines = Vec::new();
        // Deletions come first: a file may stand where a folder was.
        for deletes in [true, false] {
            for (index, change) in changes.iter().enumerate() {
                if matches!(change.what, What::Delete) != deletes {
                    continue;
                }
                let outcome = outcomes.get_mut(index).ok_or(Error::Unsupported {
                    what: "a change was lost",
                })?;
                *outcome = None;
                let live = self.index.live(&change.path).map(|record| &record.version);
                let (state, kept) = match &change.what {
                    What::Delete => (State::Deleted, None),
                    What::Put {
                        content,
                        hash,
                        modified,
                    } => {
                        let content_now = live.and_then(Version::content);
                        if let (Some(live), Some(present)) = (live, content_now)
                            && present.hash == *hash
                        {
                            *outcome = Some(Outcome::Done(live.id.clone()));
                            continue;
                        }
                        let state = State::Present(Content {
                            size: content.size(),
                            modified: *modified,
                            hash: hash.clone(),
                        });
                        (state, Some(self.index.usable(hash)))
                    }
                };
                if live.map(|live| &live.id) != change.base.as_ref() {
                    *outcome = Some(Outcome::Conflict);
                    continue;
                }
                if let (Some(kept), What::Put { content, .. }) = (&kept, &change.what)
                    && !safe.contains(kept)
                {
                    self.keep(kept, *content)?;
                    safe.insert(kept.clone());
                }
                let id = index::version_text(stem, lines.len() + 2);
                lines.push(Line::Change {
                    version: Version {
                        id: VersionId::new(&id).map_err(|_| Error::Unsupported {
                            what: "the name of a version is not valid",
                        })?,
                        path: change.path.clone(),
                        at: now,
                        device: Some(self.device.clone()),
                        state,
                        lost: false,
                    },
                    base: change.base.clone(),
                    kept,
                });
            }
        }
        Ok(lines)
    }

    fn commit_as(
        &mut self,
        device: &Device,
        changes: &[Change<'_>],
        now: Timestamp,
    ) -> Result<Vec<Outcome>, Error> {
        let ours = std::mem::replace(&mut self.device, device.clone());
        let result = self.commit_now(changes, now);
        self.device = ours;
        result
    }

    fn commit_now(
        &mut self,
        changes: &[Change<'_>],
        now: Timestamp,
    ) -> Result<Vec<Outcome>, Error> {
        for change in changes {
            check(&change.path)?;
        }
        let mut outcomes: Vec<Option<Outcome>> = changes.iter().map(|_| None).collect();
        let mut safe = BTreeSet::new();
        let mut made: Vec<(Name, VersionId)> = Vec::new();
        self.write_change(now, |hidden, stem| {
            let lines = hidden.judge(changes, now, stem, &mut outcomes, &mut safe)?;
            made = lines
                .iter()
                .filter_map(|line| match line {
                    Line::Change { version, .. } => {
                        Some((version.path.clone(), version.id.clone()))
                    }
                    _ => None,
                })
                .collect();
            Ok(lines)
        })?;
        for (path, id) in made {
            let record = self.index.version(&path, &id);
            let lost = record.is_none_or(|record| record.version.lost);
            let index = changes.iter().position(|change| change.path == path);
            if let Some(outcome) = index.and_then(|index| outcomes.get_mut(index)) {
                *outcome = Some(if lost {
                    Outcome::Conflict
                } else {
                    Outcome::Done(id)
                });
            }
        }
        self.mirror_changes(changes, now)?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Outcome::Conflict))
            .collect())
    }
}

/// Which drop folder a store holds; `None` when it holds none.
fn folder_id(store: &dyn Store) -> Result<Option<String>, Error> {
    let object = name(&format!("{HIDDEN}/folder.txt"))?;
    let told = match store::read_all(store, &object, 4096) {
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
        told => told?,
    };
    let text = String::from_utf8_lossy(&told);
    let id = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("ravelin drop folder 1\t"));
    match id.filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit())) {
        Some(id) => Ok(Some(id.to_owned())),
        None if text.starts_with("ravelin drop folder ") => Err(Error::Newer { object }),
        None => Err(Error::Index {
            object,
            line: 1,
            what: "it does not say which folder this is",
        }),
    }
}

/// Refuses names that lie in the hidden folder, or look like it on systems that fold case.
pub(crate) fn check(path: &Name) -> Result<(), Error> {
    let first = path.as_str().split('/').next().unwrap_or_default();
    if first.eq_ignore_ascii_case(HIDDEN) {
        return Err(Error::Reserved { name: path.clone() });
    }
    Ok(())
}

/// The name of a change where the store gives its number to one device only.
fn exclusive_stem(number: u64) -> String {
    format!("{number:08}")
}

/// The number that the name of a change or a checkpoint begins with.
fn number_in(object: &Name) -> u64 {
    let name = object.file_name();
    let end = name.find(|c: char| !c.is_ascii_digit());
    name.get(..end.unwrap_or(name.len()))
        .and_then(|digits| digits.parse().ok())
        .filter(|number| *number <= NUMBER_MAX)
        .unwrap_or(0)
}

fn change_name(stem: &str) -> Result<Name, Error> {
    name(&format!("{HIDDEN}/index/{stem}.txt"))
}

fn kept_name(kept: &Kept) -> Result<Name, Error> {
    let text = kept.text();
    let shard = text.get(..2).unwrap_or_default();
    name(&format!("{HIDDEN}/kept/{shard}/{text}"))
}

impl Keeping for Hidden {
    fn id(&self) -> &str {
        &self.id
    }

    fn digest_kind(&self) -> DigestKind {
        DigestKind::Sha256
    }

    fn folds_case(&self) -> bool {
        self.store.capabilities().case_folding
    }

    fn refresh(&mut self, _: Timestamp) -> Result<(), Error> {
        self.check_folder()?;
        self.read_changes()
    }

    fn adopt(
        &mut self,
        now: Timestamp,
        ignored: &dyn Fn(&Name) -> bool,
    ) -> Result<Vec<Name>, Error> {
        self.adopt_plain(now, ignored)
    }

    fn present(&self) -> Vec<Version> {
        self.index
            .all_live()
            .map(|record| record.version.clone())
            .collect()
    }

    fn live(&self, path: &Name) -> Option<Version> {
        self.index.live(path).map(|record| record.version.clone())
    }

    fn is_lost(&self, path: &Name, id: &VersionId) -> bool {
        let record = self.index.version(path, id);
        record.is_some_and(|record| record.version.lost)
    }

    fn ever(&mut self, path: &Name, hash: &str) -> Result<bool, Error> {
        Ok(self.index.ever(path, hash))
    }

    fn commit(&mut self, changes: &[Change<'_>], now: Timestamp) -> Result<Vec<Outcome>, Error> {
        self.commit_now(changes, now)
    }

    fn read(&mut self, version: &Version) -> Result<Reading, Error> {
        let record = self.index.version(&version.path, &version.id);
        let kept = record.and_then(|record| record.kept.as_ref());
        let Some(kept) = kept else {
            return Err(Error::NoVersion {
                name: version.path.clone(),
                version: version.id.clone(),
            });
        };
        match self.store.read(&kept_name(kept)?, Range::WHOLE) {
            Err(error) if error.kind == ErrorKind::NotFound => Err(Error::Missing {
                name: version.path.clone(),
                version: version.id.clone(),
            }),
            reading => Ok(reading?),
        }
    }

    fn history(&mut self, path: &Name) -> Result<Vec<Version>, Error> {
        let records = self.index.versions(path);
        Ok(records
            .iter()
            .map(|record| record.version.clone())
            .collect())
    }

    fn deleted(&mut self) -> Result<Vec<Version>, Error> {
        let mut deleted = Vec::new();
        for records in self.index.all() {
            let mut present = records.iter().rev().filter(|record| !record.version.lost);
            if let Some(last) = present.next()
                && last.version.state == State::Deleted
            {
                deleted.push(last.version.clone());
            }
        }
        Ok(deleted)
    }

    fn as_of(&mut self, time: Timestamp) -> Result<Vec<Version>, Error> {
        let records = self.index.all();
        Ok(records
            .filter_map(|records| index::at_time(records, time))
            .map(|record| record.version.clone())
            .collect())
    }

    fn moments(&mut self) -> Result<Vec<Timestamp>, Error> {
        let records = self.index.all().flatten();
        let shown = records.filter(|record| !record.version.lost);
        Ok(shown.map(|record| record.version.at).collect())
    }

    fn restore(&mut self, version: &Version, now: Timestamp) -> Result<Outcome, Error> {
        let record = self.index.version(&version.path, &version.id);
        let kept = record.and_then(|record| record.kept.clone());
        let (Some(kept), Some(content)) = (kept, version.content()) else {
            return Err(Error::NoVersion {
                name: version.path.clone(),
                version: version.id.clone(),
            });
        };
        let base = self
            .index
            .live(&version.path)
            .map(|record| record.version.id.clone());
        // That it is missing is better known before anything is written.
        self.read(version)?;
        let bytes = mirror::Stored::new(Arc::clone(&self.store), kept_name(&kept)?, content.size);
        let change = Change {
            path: version.path.clone(),
            base,
            what: What::Put {
                content: &bytes,
                hash: content.hash.clone(),
                modified: content.modified,
            },
        };
        let mut outcomes = self.commit_now(&[change], now)?;
        Ok(outcomes.pop().unwrap_or(Outcome::Conflict))
    }

    fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    fn save(&mut self) -> Result<(), Error> {
        self.seen.save()
    }

    fn thin_plan(&mut self, rule: &crate::Rule, now: Timestamp) -> Result<crate::ThinPlan, Error> {
        Ok(self.plan_thinning(rule, now))
    }

    fn thin(&mut self, plan: &crate::ThinPlan, now: Timestamp) -> Result<crate::Thinned, Error> {
        self.thin_now(plan, now)
    }

    fn verify(&mut self) -> Result<Vec<Problem>, Error> {
        let mut problems = Vec::new();
        let needed: Vec<Kept> = self.index.needed().into_iter().cloned().collect();
        for kept in needed {
            let object = kept_name(&kept)?;
            let read = self.store.read(&object, Range::WHOLE);
            let reading = match read {
                Err(error) if error.kind == ErrorKind::NotFound => {
                    problems.push(Problem::new(&object, "the kept copy is missing"));
                    continue;
                }
                reading => reading?,
            };
            let (hash, _) = digest(reading.body, DigestKind::Sha256)
                .map_err(|error| store::Error::from_io(error, store::Operation::Read, &object))?;
            if hash != kept.hash {
                problems.push(Problem::new(&object, "the kept copy is damaged"));
            }
        }
        Ok(problems)
    }

    fn examine(&mut self, data: bool, on_step: OnStep<'_>) -> Result<Damage, Error> {
        self.find_damage(data, on_step)
    }

    fn put_back(&mut self, hash: &str, content: &dyn store::Content) -> Result<(), Error> {
        self.put_copies_back(hash, content)
    }

    fn mend(
        &mut self,
        damage: &Damage,
        put_back: &BTreeSet<Box<str>>,
        now: Timestamp,
    ) -> Result<Mended, Error> {
        self.mend_damage(damage, put_back, now)
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// Checksum and size of what a reader gives.
pub(crate) fn digest(mut reader: impl Read, kind: DigestKind) -> std::io::Result<(Box<str>, u64)> {
    let mut hasher = store::Hasher::new(kind);
    let mut buffer = vec![0; 128 * 1024];
    let mut size = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size += count as u64;
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
    Ok((hasher.finish().to_hex().into(), size))
}

/// Stands in the folder, for who comes without this program.
const BY_HAND: &str = "\
This is a drop folder of Ravelin. The files beside this hidden folder are plain files.

Earlier and deleted versions, by hand:

  grep -h 'report.odt' index/*.txt

prints every change of a file: time, action, version, version before, device, size, time of
modification, kept copy, path. The bytes of a version are in the file that the eighth column
names, in the folder of its first two letters:

  cp kept/ab/abcd... report-of-monday.odt

Its name is the SHA-256 of its content (and `.2` and so on behind it for a further copy):
`sha256sum` tells whether it is whole.
";
