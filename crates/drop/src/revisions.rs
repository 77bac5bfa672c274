//! A drop folder on Dropbox: its files, revisions and deleted files are the history.
//!
//! There is no hidden folder but for the configurations of devices. A change is written upon the revision that it was made upon (mode
//! `update`, or `add` where there was none; deletions with `parent_rev`), so Dropbox itself refuses
//! what another device was faster with. Names that differ only in capitals are one file there.
//!
//! How long revisions are kept is a matter of the account's plan, 30 days to a year; there is no
//! thinning of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;
use store::{
    DigestKind, Dropbox, Environment, ErrorKind, Name, Reading, Revision, RevisionChange, Store,
};

use crate::hidden;
use crate::hidden::repair::OnStep;
use crate::keeping::{Keeping, Waiter};
use crate::sync::fold;
use crate::{
    Change, Content, Damage, Error, Mended, Outcome, Problem, Rule, State, ThinPlan, Thinned,
    Version, VersionId, What,
};

/// A folder of a Dropbox.
pub(crate) struct Revisions {
    dropbox: Arc<Dropbox>,
    store: Arc<dyn Store>,
    id: String,
    /// Where the listing goes on; empty before the first.
    cursor: String,
    /// The present files, by their names in small letters.
    files: BTreeMap<String, Version>,
    problems: Vec<Problem>,
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The version that a revision is; none in the hidden folder, where no files of a person are.
fn version(revision: Revision) -> Option<Version> {
    hidden::check(&revision.name).ok()?;
    Some(Version {
        id: VersionId::new(&revision.rev).ok()?,
        at: timestamp(revision.received),
        device: None,
        state: State::Present(Content {
            size: revision.size,
            modified: timestamp(revision.modified),
            hash: revision.hash.into(),
        }),
        lost: false,
        path: revision.name,
    })
}

impl Revisions {
    pub(crate) fn open(
        account: Option<&str>,
        path: &str,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let dropbox = Arc::new(Dropbox::new(account, path, environment)?);
        let inner: Arc<dyn Store> = Arc::clone(&dropbox) as Arc<dyn Store>;
        let mut revisions = Self {
            dropbox,
            store: Arc::new(store::Retry::new(inner, environment)),
            id: format!("dropbox:{}/{path}", account.unwrap_or_default()),
            cursor: String::new(),
            files: BTreeMap::new(),
            problems: Vec::new(),
        };
        revisions.read_changes()?;
        Ok(revisions)
    }

    fn read_changes(&mut self) -> Result<(), Error> {
        let cursor = (!self.cursor.is_empty()).then_some(self.cursor.as_str());
        let told = self.dropbox.changes(cursor)?;
        if told.whole {
            self.files.clear();
        }
        for change in told.changes {
            match change {
                RevisionChange::Present(revision) => {
                    let key = fold(revision.name.as_str());
                    if let Some(version) = version(revision) {
                        self.files.insert(key, version);
                    }
                }
                RevisionChange::Deleted(name) => {
                    let key = fold(name.as_str());
                    let below = format!("{key}/");
                    self.files
                        .retain(|other, _| *other != key && !other.starts_with(&below));
                }
            }
        }
        self.cursor = told.cursor;
        Ok(())
    }

    fn change(&mut self, change: &Change<'_>) -> Result<Outcome, Error> {
        let key = fold(change.path.as_str());
        let live = self.files.get(&key).filter(|live| live.path == change.path);
        let result = match &change.what {
            What::Delete => {
                let Some(base) = &change.base else {
                    return Ok(Outcome::Conflict);
                };
                self.dropbox.delete_upon(&change.path, base.as_str())
            }
            What::Put {
                content,
                hash,
                modified,
            } => {
                if let Some(live) = live
                    && live.content().is_some_and(|content| content.hash == *hash)
                {
                    return Ok(Outcome::Done(live.id.clone()));
                }
                let modified = SystemTime::try_from(*modified).unwrap_or(SystemTime::UNIX_EPOCH);
                let rev = change.base.as_ref().map(VersionId::as_str);
                let written = self
                    .dropbox
                    .write_upon(&change.path, *content, rev, modified);
                match written {
                    Ok(object) => {
                        let id = object
                            .version
                            .as_deref()
                            .and_then(|id| VersionId::new(id).ok());
                        let Some(id) = id else {
                            return Ok(Outcome::Conflict);
                        };
                        let version = Version {
                            id: id.clone(),
                            path: change.path.clone(),
                            at: object.modified.map_or(Timestamp::UNIX_EPOCH, timestamp),
                            device: None,
                            state: State::Present(Content {
                                size: object.size,
                                modified: modified.try_into().unwrap_or(Timestamp::UNIX_EPOCH),
                                hash: hash.clone(),
                            }),
                            lost: false,
                        };
                        self.files.insert(key, version);
                        return Ok(Outcome::Done(id));
                    }
                    Err(error) => Err(error),
                }
            }
        };
        match result {
            Ok(()) => {
                self.files.remove(&key);
                let id = VersionId::new("deleted").map_err(|_| Error::Unsupported {
                    what: "the name of a version is not valid",
                })?;
                Ok(Outcome::Done(id))
            }
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(Outcome::Conflict),
            // Deleted by another device: so it is.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(Outcome::Conflict),
            // A name that Dropbox does not take.
            Err(error) if error.kind == ErrorKind::Invalid => Ok(Outcome::Refused(error)),
            Err(error) => Err(error.into()),
        }
    }

    fn versions(&mut self, path: &Name) -> Result<Vec<Version>, Error> {
        let told = match self.dropbox.history(path) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(Vec::new()),
            told => told?,
        };
        let mut versions: Vec<Version> = told.revisions.into_iter().filter_map(version).collect();
        if let Some(deleted) = told.deleted {
            versions.extend(deletion(path, timestamp(deleted)));
        }
        Ok(versions)
    }
}

fn deletion(path: &Name, at: Timestamp) -> Option<Version> {
    Some(Version {
        id: VersionId::new("deleted").ok()?,
        path: path.clone(),
        at,
        device: None,
        state: State::Deleted,
        lost: false,
    })
}

/// Why nothing is thinned here.
const BY_DROPBOX: &str =
    "Dropbox thins its revisions by itself: how long they stay is a matter of the account's plan";

const OWN_COPIES: Error = Error::Unsupported {
    what: "Dropbox looks after its copies itself: there is nothing to repair",
};

impl Keeping for Revisions {
    fn id(&self) -> &str {
        &self.id
    }

    fn digest_kind(&self) -> DigestKind {
        DigestKind::Dropbox
    }

    fn folds_case(&self) -> bool {
        true
    }

    fn refresh(&mut self, _: Timestamp) -> Result<(), Error> {
        self.read_changes()
    }

    /// Nothing is ever beside the history here.
    fn adopt(&mut self, _: Timestamp, _: &dyn Fn(&Name) -> bool) -> Result<Vec<Name>, Error> {
        Ok(Vec::new())
    }

    fn present(&self) -> Vec<Version> {
        let mut present: Vec<Version> = self.files.values().cloned().collect();
        present.sort_by(|a, b| a.path.cmp(&b.path));
        present
    }

    fn live(&self, path: &Name) -> Option<Version> {
        self.files.get(&fold(path.as_str())).cloned()
    }

    fn is_lost(&self, _: &Name, _: &VersionId) -> bool {
        false
    }

    fn ever(&mut self, path: &Name, hash: &str) -> Result<bool, Error> {
        let versions = self.versions(path)?;
        Ok(versions.iter().any(|version| {
            version
                .content()
                .is_some_and(|content| *content.hash == *hash)
        }))
    }

    fn commit(&mut self, changes: &[Change<'_>], _: Timestamp) -> Result<Vec<Outcome>, Error> {
        let mut outcomes: Vec<Option<Outcome>> = changes.iter().map(|_| None).collect();
        for deletes in [true, false] {
            for (change, outcome) in changes.iter().zip(&mut outcomes) {
                if matches!(change.what, What::Delete) == deletes {
                    *outcome = Some(self.change(change)?);
                }
            }
        }
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or(Outcome::Conflict))
            .collect())
    }

    fn read(&mut self, version: &Version) -> Result<Reading, Error> {
        match self
            .dropbox
            .read_revision(&version.path, version.id.as_str())
        {
            Err(error) if error.kind == ErrorKind::NotFound => Err(Error::NoVersion {
                name: version.path.clone(),
                version: version.id.clone(),
            }),
            reading => Ok(reading?),
        }
    }

    fn history(&mut self, path: &Name) -> Result<Vec<Version>, Error> {
        self.versions(path)
    }

    fn deleted(&mut self) -> Result<Vec<Version>, Error> {
        let mut deleted = Vec::new();
        for name in self.dropbox.deleted()? {
            // A folder that was deleted is told, too, and has no revisions.
            let versions = self.versions(&name)?;
            deleted.extend(
                versions
                    .into_iter()
                    .filter(|version| version.state == State::Deleted),
            );
        }
        Ok(deleted)
    }

    /// Dropbox has no call for that: the revisions of each file are asked for.
    fn as_of(&mut self, time: Timestamp) -> Result<Vec<Version>, Error> {
        let mut names: Vec<Name> = self.present().into_iter().map(|live| live.path).collect();
        names.extend(self.dropbox.deleted()?);
        names.sort();
        names.dedup();
        let mut then = Vec::new();
        for name in names {
            let versions = self.versions(&name)?;
            let last = versions.into_iter().rfind(|version| version.at <= time);
            then.extend(last.filter(|version| version.content().is_some()));
        }
        Ok(then)
    }

    /// Those of the present files alone: asking for the revisions of each file would take a
    /// request for each.
    fn moments(&mut self) -> Result<Vec<Timestamp>, Error> {
        Ok(self.present().iter().map(|version| version.at).collect())
    }

    fn restore(&mut self, version: &Version, _: Timestamp) -> Result<Outcome, Error> {
        let restored = self
            .dropbox
            .restore_revision(&version.path, version.id.as_str());
        match restored {
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) => {
                Err(Error::NoVersion {
                    name: version.path.clone(),
                    version: version.id.clone(),
                })
            }
            restored => {
                let restored = self::version(restored?);
                let Some(restored) = restored else {
                    return Ok(Outcome::Conflict);
                };
                let id = restored.id.clone();
                self.files.insert(fold(version.path.as_str()), restored);
                Ok(Outcome::Done(id))
            }
        }
    }

    fn thin_plan(&mut self, _: &Rule, _: Timestamp) -> Result<ThinPlan, Error> {
        Err(Error::Unsupported { what: BY_DROPBOX })
    }

    fn thin(&mut self, _: &ThinPlan, _: Timestamp) -> Result<Thinned, Error> {
        Err(Error::Unsupported { what: BY_DROPBOX })
    }

    /// Dropbox compares its content hashes itself.
    fn verify(&mut self) -> Result<Vec<Problem>, Error> {
        Ok(Vec::new())
    }

    fn examine(&mut self, _: bool, _: OnStep<'_>) -> Result<Damage, Error> {
        Err(OWN_COPIES)
    }

    fn put_back(&mut self, _: &str, _: &dyn store::Content) -> Result<(), Error> {
        Err(OWN_COPIES)
    }

    fn mend(&mut self, _: &Damage, _: &BTreeSet<Box<str>>, _: Timestamp) -> Result<Mended, Error> {
        Err(OWN_COPIES)
    }

    fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    fn save(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn dropbox(&self) -> Option<&Dropbox> {
        Some(&self.dropbox)
    }

    fn waiter(&self) -> Option<Waiter> {
        if self.cursor.is_empty() {
            return None;
        }
        let (dropbox, cursor) = (Arc::clone(&self.dropbox), self.cursor.clone());
        Some(Box::new(move |at_most| {
            Ok(dropbox.wait_for_changes(&cursor, at_most)?)
        }))
    }
}
