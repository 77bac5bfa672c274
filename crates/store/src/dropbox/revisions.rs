//! Dropbox's own history: changes since a moment, revisions, restoring, and writing upon a
//! revision.
//!
//! Source: Dropbox's documentation for HTTP developers, `files` name space.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::json;

use super::{Dropbox, Metadata};
use crate::http::{Anonymous, Method, Request};
use crate::{Content, Error, ErrorKind, Name, Object, Operation, Range, Reading};

/// One revision of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The file, with the capitals that Dropbox shows.
    pub name: Name,
    /// Dropbox's name of the revision.
    pub rev: String,
    /// Bytes.
    pub size: u64,
    /// The content hash, as hexadecimal digits.
    pub hash: String,
    /// When the file was modified, by the device that sent it.
    pub modified: SystemTime,
    /// When it came to Dropbox.
    pub received: SystemTime,
}

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevisionChange {
    /// It is there, with this revision.
    Present(Revision),
    /// It was deleted, and everything below it if it was a folder.
    Deleted(Name),
}

/// Changes, and where to go on.
#[derive(Debug, Clone)]
pub struct Changes {
    /// In their order.
    pub changes: Vec<RevisionChange>,
    /// What to give the next time.
    pub cursor: String,
    /// The cursor that was given is worth nothing any more: these are all files that there are.
    pub whole: bool,
}

#[derive(Deserialize)]
struct Page {
    entries: Vec<Metadata>,
    cursor: String,
    has_more: bool,
}

#[derive(Deserialize)]
struct Revisions {
    entries: Vec<Metadata>,
    #[serde(default)]
    is_deleted: bool,
    server_deleted: Option<jiff::Timestamp>,
}

#[derive(Deserialize)]
struct Poll {
    changes: bool,
}

/// All revisions of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHistory {
    /// Oldest first.
    pub revisions: Vec<Revision>,
    /// When it was deleted, if it is.
    pub deleted: Option<SystemTime>,
}

fn time(time: Option<jiff::Timestamp>) -> SystemTime {
    time.and_then(|time| SystemTime::try_from(time).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Dropbox {
    fn revision(&self, entry: &Metadata) -> Option<Revision> {
        Some(Revision {
            name: self.name(entry.path_display.as_deref()?)?,
            rev: entry.rev.clone()?,
            size: entry.size,
            hash: entry.content_hash.clone()?,
            modified: time(entry.client_modified.or(entry.server_modified)),
            received: time(entry.server_modified),
        })
    }

    /// What happened since a cursor; without one, all files that there are.
    ///
    /// # Errors
    ///
    /// As for every call. After one, begin again with the same cursor.
    pub fn changes(&self, cursor: Option<&str>) -> Result<Changes, Error> {
        let mut whole = cursor.is_none();
        let first = match cursor {
            None => self.list_from_start(false),
            Some(cursor) => match self.list_on(cursor) {
                Err(error) if is_reset(&error) => {
                    whole = true;
                    self.list_from_start(false)
                }
                page => page.map(Some),
            },
        };
        let Some(mut page) = first? else {
            // The folder is not there yet: nothing is, and there is no cursor.
            return Ok(Changes {
                changes: Vec::new(),
                cursor: String::new(),
                whole: true,
            });
        };
        let mut changes = Vec::new();
        loop {
            for entry in &page.entries {
                match entry.tag.as_str() {
                    "file" => {
                        changes.extend(self.revision(entry).map(RevisionChange::Present));
                    }
                    "deleted" => {
                        let name = entry
                            .path_display
                            .as_deref()
                            .and_then(|path| self.name(path));
                        changes.extend(name.map(RevisionChange::Deleted));
                    }
                    _ => {}
                }
            }
            if !page.has_more {
                return Ok(Changes {
                    changes,
                    cursor: page.cursor,
                    whole,
                });
            }
            page = self.list_on(&page.cursor)?;
        }
    }

    fn list_from_start(&self, deleted: bool) -> Result<Option<Page>, Error> {
        let arguments = json!({"path": self.root, "recursive": true, "limit": 2000, "include_deleted": deleted});
        match self.function("files/list_folder", &arguments, Operation::List, &"/") {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            answer => Ok(Some(answer?.json()?)),
        }
    }

    fn list_on(&self, cursor: &str) -> Result<Page, Error> {
        let page: Page = self
            .function(
                "files/list_folder/continue",
                &json!({"cursor": cursor}),
                Operation::List,
                &"/",
            )?
            .json()?;
        if page.has_more && page.cursor == cursor {
            return Err(super::does_not_go_on(&"/"));
        }
        Ok(page)
    }

    /// Waits until something changes behind a cursor, at most about so long (30 s to 8 min).
    /// `false` when nothing did.
    ///
    /// # Errors
    ///
    /// As for every call.
    pub fn wait_for_changes(&self, cursor: &str, at_most: Duration) -> Result<bool, Error> {
        let seconds = at_most.as_secs().clamp(30, 480);
        let function = "files/list_folder/longpoll";
        let url = format!(
            "{}/2/{function}",
            self.http.environment.endpoints.dropbox_notify
        );
        // Without a token: the cursor is proof enough.
        let request = Request::new(Method::Post, url, function, Operation::List, &"/")
            .json(&json!({"cursor": cursor, "timeout": seconds}));
        let told: Poll = self.http.call(&Anonymous, &request)?.json()?;
        Ok(told.changes)
    }

    /// The files that are deleted and can be restored.
    ///
    /// # Errors
    ///
    /// As for every call.
    pub fn deleted(&self) -> Result<Vec<Name>, Error> {
        let mut names = Vec::new();
        let mut page = self.list_from_start(true)?;
        while let Some(this) = page {
            let deleted = this.entries.iter().filter(|entry| entry.tag == "deleted");
            names.extend(deleted.filter_map(|entry| self.name(entry.path_display.as_deref()?)));
            page = if this.has_more {
                Some(self.list_on(&this.cursor)?)
            } else {
                None
            };
        }
        names.sort();
        Ok(names)
    }

    /// The last revisions of a file, at most 100, oldest first.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when there never was such a file.
    pub fn history(&self, name: &Name) -> Result<FileHistory, Error> {
        let arguments = json!({"path": self.path(name.as_str()), "mode": "path", "limit": 100});
        let told: Revisions = self
            .function("files/list_revisions", &arguments, Operation::List, name)?
            .json()?;
        let mut revisions: Vec<Revision> = told
            .entries
            .iter()
            .filter_map(|entry| self.revision(entry))
            .collect();
        revisions.reverse();
        Ok(FileHistory {
            revisions,
            deleted: told.is_deleted.then(|| time(told.server_deleted)),
        })
    }

    /// Begins to read a revision.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when Dropbox does not keep it any more.
    pub fn read_revision(&self, name: &Name, rev: &str) -> Result<Reading, Error> {
        self.read_path(&format!("rev:{rev}"), name, Range::WHOLE)
    }

    /// Makes a revision the present one again, as a new revision.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when Dropbox does not keep it any more.
    pub fn restore_revision(&self, name: &Name, rev: &str) -> Result<Revision, Error> {
        let arguments = json!({"path": self.path(name.as_str()), "rev": rev});
        let told: Metadata = self
            .function("files/restore", &arguments, Operation::Write, name)?
            .json()?;
        self.revision(&told)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, Operation::Write).on(name))
    }

    /// Writes a file if it still has this revision; `None`: if there is none. What has the same
    /// content already is done.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) when another device was faster,
    /// [`Invalid`](ErrorKind::Invalid) when Dropbox takes no file of this name.
    pub fn write_upon(
        &self,
        name: &Name,
        content: &dyn Content,
        rev: Option<&str>,
        modified: SystemTime,
    ) -> Result<Object, Error> {
        let mode = match rev {
            Some(rev) => json!({".tag": "update", "update": rev}),
            None => json!("add"),
        };
        let seconds = modified
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let stamp = i64::try_from(seconds)
            .ok()
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(
                || "1970-01-01T00:00:00Z".to_owned(),
                |stamp| stamp.to_string(),
            );
        let commit = json!({
            "path": self.path(name.as_str()),
            "mode": mode,
            "autorename": false,
            "strict_conflict": false,
            "mute": true,
            "client_modified": stamp,
        });
        self.upload_as(name, content, &commit)
    }

    /// Deletes a file if it still has this revision. It can be restored.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](ErrorKind::AlreadyExists) when another device was faster,
    /// [`NotFound`](ErrorKind::NotFound) when there is none.
    pub fn delete_upon(&self, name: &Name, rev: &str) -> Result<(), Error> {
        let arguments = json!({"path": self.path(name.as_str()), "parent_rev": rev});
        self.function("files/delete_v2", &arguments, Operation::Delete, name)
            .map(drop)
    }
}

/// Dropbox says that a listing has to begin anew.
fn is_reset(error: &Error) -> bool {
    error.source.as_ref().is_some_and(|said| {
        said.to_string().contains("\"reset\"") || said.to_string().contains("reset/")
    })
}
