//! "Send me files": links through which others can upload, and see nothing.
//!
//! What comes in lies in quarantine, in the hidden folder, until somebody accepts it: a guest can
//! neither replace a file nor put one before other people's eyes. A deadline and a quota are
//! required. Whoever serves requests calls [`Requests::receive`] and nothing else.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Environment, ErrorKind, Folder as StoreFolder, Name, Scope, Spool, SpoolError, Store};

use crate::hidden::{HIDDEN, name};
use crate::link::check_life;
use crate::token::{Parsed, Signer, mode};
use crate::{Error, Folder};

/// The kind of token.
const KIND: &str = "request";

/// Largest record that is read.
const RECORD_SIZE_MAX: u64 = 64 * 1024;

/// Files that one request takes at most.
const FILES_MAX: usize = 1000;

/// What of an upload is held in memory: 4 MiB.
const MEMORY_MAX: usize = 4 << 20;

/// A link for uploads that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRequest {
    /// Its name in lists and for closing.
    pub id: String,
    /// What comes behind `/r/` in its address.
    pub token: String,
    /// What guests are asked for.
    pub title: String,
    /// When it was made.
    pub created: Timestamp,
    /// Until when it takes files.
    pub deadline: Timestamp,
    /// Bytes of all its files together.
    pub quota: u64,
    /// What has come in and waits.
    pub received: Vec<Received>,
}

/// What a guest is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// In words.
    pub title: String,
    /// Until when.
    pub deadline: Timestamp,
    /// Bytes that are still taken.
    pub room: u64,
}

/// An upload in quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where it lies.
    pub object: Name,
    /// What its sender called it.
    pub file_name: String,
    /// Bytes.
    pub size: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    title: String,
    created: Timestamp,
    deadline: Timestamp,
    quota: u64,
}

/// Why an upload is not taken. The texts are for the guest.
#[derive(Debug, thiserror::Error)]
pub enum Declined {
    /// Never made, closed, or forged: which, is not told.
    #[error("this link does not exist, or was closed")]
    Unknown,
    /// The deadline is over.
    #[error("the deadline is over")]
    TooLate,
    /// The quota would be exceeded.
    #[error("there is no room for this file")]
    TooLarge,
    /// The name cannot be the name of a file.
    #[error("a file cannot have this name")]
    BadName,
    /// The upload broke off, or its length is another than announced.
    #[error("the upload was not complete")]
    Incomplete,
    /// The store cannot be written at present; guests are told no more than that.
    #[error("nothing can be taken at present")]
    Failed(#[from] Error),
}

/// The requests of a drop folder.
pub struct Requests {
    store: Arc<dyn Store>,
    environment: Environment,
}

fn object(id: &str) -> Result<Name, Error> {
    name(&format!("{HIDDEN}/requests/{id}.json"))
}

fn store_folder(text: String) -> Result<StoreFolder, Error> {
    StoreFolder::new(&text).map_err(|source| Error::BadName { name: text, source })
}

impl Requests {
    /// The requests of the folder at a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, environment: &Environment) -> Self {
        Self {
            store,
            environment: environment.clone(),
        }
    }

    /// Asks for files.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when the deadline is past or more than a year away.
    pub fn create(
        &self,
        title: &str,
        deadline: Timestamp,
        quota: u64,
        now: Timestamp,
    ) -> Result<FileRequest, Error> {
        check_life(deadline, now)?;
        let record = Record {
            title: title.to_owned(),
            created: now,
            deadline,
            quota,
        };
        let signer = Signer::of(&*self.store, &self.environment)?;
        let (token, id) = signer.sign(KIND, deadline, &self.environment);
        let bytes = serde_json::to_vec_pretty(&record).unwrap_or_default();
        self.store
            .write(&object(&id)?, &bytes, mode(&*self.store))?;
        Ok(request(id, token, record, Vec::new()))
    }

    /// All requests with what has come in, the next to end first. Those whose deadline is over stay
    /// until they are closed.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn list(&self) -> Result<Vec<FileRequest>, Error> {
        let mut ids = Vec::new();
        let folder = store_folder(format!("{HIDDEN}/requests"))?;
        self.store.list(&folder, Scope::Folder, &mut |object| {
            ids.extend(
                object
                    .name
                    .file_name()
                    .strip_suffix(".json")
                    .map(str::to_owned),
            );
            ControlFlow::Continue(())
        })?;
        let signer = Signer::of(&*self.store, &self.environment)?;
        let mut requests = Vec::new();
        for id in ids {
            if let Some(record) = self.record(&id)? {
                let token = signer.token(KIND, &id, record.deadline).unwrap_or_default();
                let received = self.received(&id)?;
                requests.push(request(id, token, record, received));
            }
        }
        requests.sort_by_key(|request| (request.deadline, request.id.clone()));
        Ok(requests)
    }

    /// Takes no more files. While something waits in quarantine the request stays in the list, as one
    /// that has ended; closed once more after that, it is gone.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] when there is no such request.
    pub fn close(&self, id: &str) -> Result<(), Error> {
        let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let record = if is_id { self.record(id)? } else { None };
        let mut record = record.ok_or(Error::Unsupported {
            what: "there is no request of this name",
        })?;
        if self.received(id)?.is_empty() {
            return Ok(self.store.delete(&object(id)?)?);
        }
        // The end is signed: with another end, the address is worth nothing.
        record.deadline = record.created;
        let bytes = serde_json::to_vec_pretty(&record).unwrap_or_default();
        self.store
            .write(&object(id)?, &bytes, store::WriteMode::Replace)?;
        Ok(())
    }

    /// What a guest may see before anything is sent.
    ///
    /// # Errors
    ///
    /// [`Declined`] says what to tell the guest.
    pub fn look(&self, token: &str, now: Timestamp) -> Result<Asked, Declined> {
        let (id, record) = self.check(token, now)?;
        let taken: u64 = self.received(&id)?.iter().map(|file| file.size).sum();
        Ok(Asked {
            title: record.title,
            deadline: record.deadline,
            room: record.quota.saturating_sub(taken),
        })
    }

    /// The record of a token, if its signature is ours and its time is not over.
    fn check(&self, token: &str, now: Timestamp) -> Result<(String, Record), Declined> {
        let parsed = Parsed::new(token).ok_or(Declined::Unknown)?;
        let id = parsed.id();
        let record = self.record(&id)?.ok_or(Declined::Unknown)?;
        let signer = Signer::of(&*self.store, &self.environment)?;
        if !signer.verify(KIND, &parsed, record.deadline) {
            return Err(Declined::Unknown);
        }
        if record.deadline <= now {
            return Err(Declined::TooLate);
        }
        Ok((id, record))
    }

    /// Takes a file of `size` bytes from a guest into quarantine.
    ///
    /// # Errors
    ///
    /// [`Declined`] says what to tell the guest. Nothing of a file that was not taken stays.
    pub fn receive(
        &self,
        token: &str,
        file_name: &str,
        size: u64,
        content: impl Read,
        now: Timestamp,
    ) -> Result<Received, Declined> {
        let (id, record) = self.check(token, now)?;
        let hidden = file_name.starts_with('.') || file_name.contains('/');
        if hidden || file_name.len() > 200 || Name::new(file_name).is_err() {
            return Err(Declined::BadName);
        }
        let fits = |received: &[Received], more: u64| {
            let sum: u64 = received.iter().map(|file| file.size).sum();
            received.len() < FILES_MAX && sum.saturating_add(more) <= record.quota
        };
        if !fits(&self.received(&id)?, size) {
            return Err(Declined::TooLarge);
        }
        // No more than announced is read, so that nobody can fill the disk.
        let folder = crate::folder::spool_folder(&self.environment);
        let spool = Spool::collect(content.take(size.saturating_add(1)), MEMORY_MAX, &folder);
        let spool = spool.map_err(|error| match error {
            SpoolError::Stream(_) => Declined::Incomplete,
            SpoolError::Hold { folder, source } => Error::cannot_hold(folder, source).into(),
        })?;
        if store::Content::size(&spool) != size {
            return Err(Declined::Incomplete);
        }
        let mut random = [0; 8];
        (self.environment.random)(&mut random);
        let random = hex::encode(random);
        let object = name(&format!("{HIDDEN}/quarantine/{id}/{random}-{file_name}"))?;
        self.store
            .write(&object, &spool, mode(&*self.store))
            .map_err(Error::from)?;
        // Several that came at once may be too much together.
        if !fits(&self.received(&id)?, 0) {
            self.store.delete(&object).map_err(Error::from)?;
            return Err(Declined::TooLarge);
        }
        Ok(Received {
            object,
            file_name: file_name.to_owned(),
            size,
        })
    }

    /// Takes an upload out of quarantine, into a folder. Where a file of its name stands, it gets a
    /// number: a guest chose the name, and replaces nothing. Gives where it is.
    ///
    /// # Errors
    ///
    /// When the store says no. The upload leaves quarantine only when it is in the folder.
    pub fn accept(
        &self,
        folder: &mut Folder,
        received: &Received,
        to: &Name,
        now: Timestamp,
    ) -> Result<Name, Error> {
        let reading = self.store.read(&received.object, store::Range::WHOLE)?;
        let path = folder.put_beside(to, &received.file_name, reading.body, now)?;
        self.store.delete(&received.object)?;
        Ok(path)
    }

    /// Throws an upload away.
    ///
    /// # Errors
    ///
    /// When the store says no.
    pub fn reject(&self, received: &Received) -> Result<(), Error> {
        Ok(self.store.delete(&received.object)?)
    }

    fn received(&self, id: &str) -> Result<Vec<Received>, Error> {
        let mut received = Vec::new();
        let folder = store_folder(format!("{HIDDEN}/quarantine/{id}"))?;
        self.store.list(&folder, Scope::Folder, &mut |object| {
            let file_name = object.name.file_name().split_once('-');
            if let Some(file_name) = file_name.map(|(_, name)| name.to_owned()) {
                received.push(Received {
                    file_name,
                    size: object.size,
                    object: object.name,
                });
            }
            ControlFlow::Continue(())
        })?;
        received.sort_by(|a, b| a.object.cmp(&b.object));
        Ok(received)
    }

    fn record(&self, id: &str) -> Result<Option<Record>, Error> {
        match store::read_all(&*self.store, &object(id)?, RECORD_SIZE_MAX) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            // A record that cannot be read takes nothing.
            bytes => Ok(serde_json::from_slice(&bytes?).ok()),
        }
    }
}

fn request(id: String, token: String, record: Record, received: Vec<Received>) -> FileRequest {
    FileRequest {
        id,
        token,
        title: record.title,
        created: record.created,
        deadline: record.deadline,
        quota: record.quota,
        received,
    }
}
