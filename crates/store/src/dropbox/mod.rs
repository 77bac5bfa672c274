//! Dropbox.
//!
//! An object is there when its upload, or the end of its upload session, was answered; Dropbox compares the content
//! hash that is sent along, and its answer is compared once more. Creating is done by Dropbox: mode
//! `add`, no automatic renaming, strict conflicts. Deleting names the revision that was looked at, so
//! it can take neither a folder nor another's newer file. A folder in which no file is gives way to an
//! object of its name; it alone is deleted without a precondition, as Dropbox has none for folders. What
//! somebody puts into it in that moment can be restored: Dropbox keeps what is deleted.
//!
//! A whole account has one lock for writing: small files that come side by side are told to come
//! again. That is an answer like other requests to slow down.

mod call;
mod revisions;
mod sharing;
mod upload;

pub use revisions::{Changes, FileHistory, Revision, RevisionChange};
pub use sharing::{DropboxLink, DropboxRequest};

use std::ops::ControlFlow;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::{Provider, Token};
use crate::http::{Http, Method, Refusal, Request, Service};
use crate::s3::{ranged, reading};
use crate::{
    Capabilities, Content, Digest, DigestKind, Environment, Error, ErrorKind, Folder, Name, Object,
    Operation, Range, Reading, Scope, Space, Store, WriteMode,
};
use hex::FromHex;

/// A folder of a Dropbox.
pub struct Dropbox {
    http: Http,
    account: Account,
    /// With a slash before it, unless empty.
    root: String,
}

struct Account(Token);

impl Service for Account {
    fn sign(&self, http: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        self.0.sign(http, request)
    }

    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        call::kind_of(refusal)
    }

    fn renew(&self, http: &Http, refusal: &Refusal) -> Result<bool, Error> {
        self.0.renew(http, refusal)
    }
}

/// What Dropbox tells of a file.
#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = ".tag", default)]
    tag: String,
    path_display: Option<String>,
    #[serde(default)]
    size: u64,
    rev: Option<String>,
    server_modified: Option<jiff::Timestamp>,
    client_modified: Option<jiff::Timestamp>,
    content_hash: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Metadata>,
    cursor: String,
    has_more: bool,
}

impl Metadata {
    fn object(self, name: Name) -> Object {
        Object {
            name,
            size: self.size,
            modified: self
                .server_modified
                .and_then(|time| SystemTime::try_from(time).ok()),
            version: self.rev,
            digest: self
                .content_hash
                .and_then(|hash| FromHex::from_hex(hash).ok())
                .map(Digest::Dropbox),
        }
    }
}

/// Pages that come again and again.
fn does_not_go_on(object: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, Operation::List)
        .on(object)
        .because("the listing does not go on")
}

impl Dropbox {
    /// Takes a folder. Nothing is asked yet.
    ///
    /// # Errors
    ///
    /// [`SignIn`](ErrorKind::SignIn) when there is no place that a token could be in.
    pub fn new(
        account: Option<&str>,
        path: &str,
        environment: &Environment,
    ) -> Result<Self, Error> {
        Ok(Self {
            http: Http::new(environment),
            account: Account(Token::new(Provider::Dropbox, account, environment)?),
            root: if path.is_empty() {
                String::new()
            } else {
                format!("/{path}")
            },
        })
    }

    fn path(&self, name: &str) -> String {
        if name.is_empty() {
            self.root.clone()
        } else {
            format!("{}/{name}", self.root)
        }
    }

    /// The name of a path, which Dropbox may tell in other capitals than ours.
    fn name(&self, path: &str) -> Option<Name> {
        let start = path.get(..self.root.len())?;
        if start.to_lowercase() != self.root.to_lowercase() {
            return None;
        }
        Name::new(path.get(self.root.len()..)?.strip_prefix('/')?).ok()
    }

    /// Reads what a path, an id or a revision stands for.
    fn read_path(&self, path: &str, name: &Name, range: Range) -> Result<Reading, Error> {
        let arguments = json!({"path": path});
        let request = self.content(
            Method::Post,
            "files/download",
            &arguments,
            Operation::Read,
            name,
        );
        let answer = self
            .http
            .call(&self.account, &ranged(request, range).accept(&[416]))?;
        if answer.status == 416 {
            let object = self.stat(name)?;
            return Ok(Reading {
                object,
                body: Box::new(std::io::empty()),
            });
        }
        let told = answer
            .header("dropbox-api-result")
            .and_then(|json| serde_json::from_str::<Metadata>(json).ok());
        let told = told.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, Operation::Read)
                .on(name)
                .because("Dropbox does not tell what it sends")
        })?;
        reading(answer, name, range, |_, size| Object {
            size,
            ..told.object(name.clone())
        })
    }

    /// Deletes a folder of this name in which no file is. Whether it did.
    fn clear_folder(&self, name: &Name) -> Result<bool, Error> {
        let folder = Folder::new(name.as_str())
            .map_err(|why| Error::bad_name(name.as_str(), Operation::Write, why))?;
        let mut empty = true;
        self.list(&folder, Scope::Tree, &mut |_| {
            empty = false;
            ControlFlow::Break(())
        })?;
        if !empty {
            return Ok(false);
        }
        let arguments = json!({"path": self.path(name.as_str())});
        match self.function("files/delete_v2", &arguments, Operation::Write, name) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(true),
            answer => answer.map(|_| true),
        }
    }

    fn look(&self, name: &Name, operation: Operation) -> Result<Metadata, Error> {
        let arguments = json!({"path": self.path(name.as_str())});
        let found: Metadata = self
            .function("files/get_metadata", &arguments, operation, name)?
            .json()?;
        if found.tag == "file" {
            return Ok(found);
        }
        Err(Error::new(ErrorKind::NotFound, operation)
            .on(name)
            .because("it is a folder"))
    }
}

impl Store for Dropbox {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create: true,
            rename: true,
            copy: true,
            digest: Some(DigestKind::Dropbox),
            resume: true,
            case_folding: true,
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let arguments = json!({"path": self.path(folder.as_str()), "recursive": scope == Scope::Tree, "limit": 2000});
        let mut page: Page =
            match self.function("files/list_folder", &arguments, Operation::List, folder) {
                Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
                answer => answer?.json()?,
            };
        // Pages tell what happened since: the same file may come again, changed or deleted.
        let mut seen = std::collections::BTreeSet::new();
        loop {
            for entry in page.entries {
                let name = entry
                    .path_display
                    .as_deref()
                    .and_then(|path| self.name(path));
                let Some(name) = name
                    .filter(|name| entry.tag == "file" && folder.holds(name, scope == Scope::Tree))
                else {
                    continue;
                };
                if seen.insert(name.clone()) && each(entry.object(name)).is_break() {
                    return Ok(());
                }
            }
            if !page.has_more {
                return Ok(());
            }
            let arguments = json!({"cursor": page.cursor});
            let next: Page = self
                .function(
                    "files/list_folder/continue",
                    &arguments,
                    Operation::List,
                    folder,
                )?
                .json()?;
            if next.has_more && next.cursor == page.cursor {
                return Err(does_not_go_on(folder));
            }
            page = next;
        }
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        Ok(self.look(name, Operation::Stat)?.object(name.clone()))
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        self.read_path(&self.path(name.as_str()), name, range)
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        self.upload(name, content, mode)
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        let found = match self.look(name, Operation::Delete) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        let arguments = json!({"path": self.path(name.as_str()), "parent_rev": found.rev});
        match self.function("files/delete_v2", &arguments, Operation::Delete, name) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let arguments = json!({"from_path": self.path(from.as_str()), "to_path": self.path(to.as_str()), "autorename": false});
        self.function("files/move_v2", &arguments, Operation::Rename, from)
            .map(drop)
            .map_err(|error| {
                if error.kind == ErrorKind::AlreadyExists {
                    error.on(to)
                } else {
                    error
                }
            })
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let arguments = json!({"from_path": self.path(from.as_str()), "to_path": self.path(to.as_str()), "autorename": false});
        let copy = || {
            self.function("files/copy_v2", &arguments, Operation::Copy, from)
                .map(drop)
        };
        match copy() {
            // Dropbox never replaces here.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                self.delete(to)?;
                copy()
            }
            result => result,
        }
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let told: Value = self
            .function(
                "users/get_space_usage",
                &Value::Null,
                Operation::Space,
                &"Dropbox",
            )?
            .json()?;
        let number = |pointer: &str| told.pointer(pointer).and_then(Value::as_u64);
        let (used, total) = (number("/used"), number("/allocation/allocated"));
        Ok(used.zip(total).map(|(used, total)| Space {
            free: total.saturating_sub(used),
            total: Some(total),
        }))
    }
}
