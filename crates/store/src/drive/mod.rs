//! Google Drive.
//!
//! Drive has files with ids in folders with ids; names are labels, and two files may have the same one. Here a path is found
//! by asking for each folder's name once. When several files have a name, the same bytes count as one
//! object; different bytes are an error that says so, for nobody can know which one is meant.
//!
//! A new file gets its id before it is sent, so that a repeated request finds that it was carried out. Replacing
//! sends new content to the same id, which Drive does in one step. Nothing here can refuse to
//! replace atomically, so creating is not offered.

mod find;
mod upload;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::auth::{Provider, ServiceAccount, Token};
use crate::http::{Http, Method, Refusal, Request, Service, encode};
use crate::s3::{ranged, reading};
use crate::{
    Capabilities, Content, Digest, DigestKind, Environment, Error, ErrorKind, Folder, Name, Object,
    Operation, Range, Reading, Scope, Space, Store, WriteMode,
};
use hex::FromHex;

/// What is asked of each file.
const FIELDS: &str =
    "id,name,mimeType,size,md5Checksum,createdTime,modifiedTime,headRevisionId,parents";

/// The kind of thing that is a folder.
const FOLDER: &str = "application/vnd.google-apps.folder";

/// A folder of Google Drive.
pub struct Drive {
    http: Http,
    account: Account,
    root: Folder,
    /// Ids of folders by path from the top of the Drive.
    folders: Mutex<BTreeMap<String, Vec<String>>>,
}

enum Account {
    Person(Token),
    Service(Box<ServiceAccount>),
}

impl Service for Account {
    fn sign(&self, http: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        match self {
            Self::Person(token) => token.sign(http, request),
            Self::Service(account) => account.sign(http, request),
        }
    }

    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        kind_of(refusal)
    }

    fn renew(&self, http: &Http, refusal: &Refusal) -> Result<bool, Error> {
        match self {
            Self::Person(token) => token.renew(http, refusal),
            Self::Service(account) => {
                account.renew(refusal);
                Ok(true)
            }
        }
    }
}

/// Source: Google's documentation, "Resolve errors": the status alone says little.
fn kind_of(refusal: &Refusal) -> ErrorKind {
    let json = refusal.json();
    let reason = json
        .pointer("/error/errors/0/reason")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match reason {
        "userRateLimitExceeded" | "rateLimitExceeded" | "sharingRateLimitExceeded" => {
            ErrorKind::Busy
        }
        "backendError" | "internalError" => ErrorKind::Unavailable,
        "storageQuotaExceeded"
        | "teamDriveFileLimitExceeded"
        | "dailyLimitExceeded"
        | "numChildrenInNonRootLimitExceeded" => ErrorKind::Full,
        "notFound" => ErrorKind::NotFound,
        "authError" => ErrorKind::SignIn,
        _ => refusal.usual_kind(),
    }
}

/// What Drive tells of a file.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct File {
    id: String,
    name: String,
    #[serde(default)]
    mime_type: String,
    size: Option<String>,
    md5_checksum: Option<String>,
    created_time: Option<jiff::Timestamp>,
    modified_time: Option<jiff::Timestamp>,
    head_revision_id: Option<String>,
    #[serde(default)]
    parents: Vec<String>,
}

impl File {
    fn is_folder(&self) -> bool {
        self.mime_type == FOLDER
    }

    fn size(&self) -> Option<u64> {
        self.size.as_ref()?.parse().ok()
    }

    fn object(&self, name: Name) -> Object {
        Object {
            name,
            size: self.size().unwrap_or(0),
            modified: self
                .modified_time
                .and_then(|time| SystemTime::try_from(time).ok()),
            version: self
                .head_revision_id
                .clone()
                .or_else(|| Some(self.id.clone())),
            digest: self
                .md5_checksum
                .as_deref()
                .and_then(|md5| FromHex::from_hex(md5).ok())
                .map(Digest::Md5),
        }
    }
}

impl Drive {
    /// Takes a folder. Nothing is asked yet. The key file of a service account wins over a person's
    /// sign-in.
    ///
    /// # Errors
    ///
    /// [`SignIn`](ErrorKind::SignIn) when a key file cannot be used, or there is no place that
    /// a token could be in.
    pub fn new(
        account: Option<&str>,
        path: &str,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let service = ServiceAccount::find(environment)?;
        let account = match service {
            Some(service) => Account::Service(Box::new(service)),
            None => Account::Person(Token::new(Provider::Drive, account, environment)?),
        };
        let root = Folder::new(path).map_err(|why| Error::bad_name(path, Operation::Open, why))?;
        Ok(Self {
            http: Http::new(environment),
            account,
            root,
            folders: Mutex::default(),
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        class: &'static str,
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Request<'static> {
        let url = format!("{}/drive/v3/{path}", self.http.environment.endpoints.drive);
        Request::new(method, url, class, operation, object)
    }
}

impl Drive {
    /// Deletes one file for good, if it is still there.
    fn remove(&self, file: &File, operation: Operation, name: &Name) -> Result<(), Error> {
        let request = self.request(
            Method::Delete,
            &format!("files/{}", encode(&file.id)),
            "drive delete",
            operation,
            name,
        );
        match self.http.call(&self.account, &request) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }
}

impl Store for Drive {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            rename: true,
            copy: true,
            digest: Some(DigestKind::Md5),
            resume: true,
            ..Capabilities::default()
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let ids = self.folder_ids(folder, Operation::List)?;
        let mut level: BTreeMap<String, Folder> =
            ids.into_iter().map(|id| (id, folder.clone())).collect();
        let mut known: BTreeSet<String> = level.keys().cloned().collect();
        let mut given = BTreeSet::new();
        while !level.is_empty() {
            let mut next = BTreeMap::new();
            for mut file in self.children(&level.keys().cloned().collect::<Vec<_>>(), folder)? {
                let parent = file.parents.iter().find_map(|parent| level.get(parent));
                let Some(name) = parent.and_then(|parent| parent.join(&file.name).ok()) else {
                    continue;
                };
                if file.is_folder() {
                    // A folder in two places, or in itself, must not lead us in circles.
                    if scope == Scope::Tree
                        && known.insert(file.id.clone())
                        && let Ok(path) = Folder::new(name.as_str())
                    {
                        next.insert(std::mem::take(&mut file.id), path);
                    }
                } else if file.size().is_some()
                    && given.insert(name.clone())
                    && each(file.object(name)).is_break()
                {
                    return Ok(());
                }
            }
            level = next;
        }
        Ok(())
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        Ok(self.file(name, Operation::Stat)?.object(name.clone()))
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let file = self.file(name, Operation::Read)?;
        let object = file.object(name.clone());
        if range.size_in(object.size) == 0 {
            return Ok(Reading {
                object,
                body: Box::new(std::io::empty()),
            });
        }
        let request = self
            .request(
                Method::Get,
                &format!("files/{}", encode(&file.id)),
                "drive media",
                Operation::Read,
                name,
            )
            .query("alt", "media");
        let answer = self.http.call(&self.account, &ranged(request, range))?;
        let reading = reading(answer, name, range, |_, size| Object {
            size,
            ..object.clone()
        })?;
        if reading.object.size != object.size {
            return Err(Error::new(ErrorKind::Changed, Operation::Read).on(name));
        }
        Ok(reading)
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        if mode == WriteMode::Create {
            return Err(Error::unsupported(
                Operation::Write,
                name,
                "in Drive, two files may have one name",
            ));
        }
        match self.upload(name, content) {
            // Somebody has removed a folder whose id we remembered.
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.forget_folders();
                self.upload(name, content)
            }
            result => result,
        }
    }

    /// Deletes for good: the trash would go on to count against the quota.
    fn delete(&self, name: &Name) -> Result<(), Error> {
        for file in self.files(name, Operation::Delete)? {
            self.remove(&file, Operation::Delete, name)?;
        }
        Ok(())
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let file = self.file(from, Operation::Rename)?;
        if !self.files(to, Operation::Rename)?.is_empty() {
            return Err(Error::new(ErrorKind::AlreadyExists, Operation::Rename).on(to));
        }
        let target = self.make_folder(&to.folder(), Operation::Rename)?;
        let mut request = self
            .request(
                Method::Patch,
                &format!("files/{}", encode(&file.id)),
                "drive update",
                Operation::Rename,
                from,
            )
            .query("fields", "id")
            .json(&json!({"name": to.file_name()}));
        if !file.parents.contains(&target) {
            request = request
                .query("addParents", target)
                .query("removeParents", file.parents.join(","));
        }
        self.http.call(&self.account, &request).map(drop)
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let file = self.file(from, Operation::Copy)?;
        let replaced = self.files(to, Operation::Copy)?;
        let target = self.make_folder(&to.folder(), Operation::Copy)?;
        let request = self
            .request(
                Method::Post,
                &format!("files/{}/copy", encode(&file.id)),
                "drive copy",
                Operation::Copy,
                from,
            )
            .query("fields", "id")
            .json(&json!({"name": to.file_name(), "parents": [target]}));
        self.http.call(&self.account, &request)?;
        for old in replaced {
            self.remove(&old, Operation::Copy, to)?;
        }
        Ok(())
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let request = self
            .request(
                Method::Get,
                "about",
                "drive about",
                Operation::Space,
                &"Drive",
            )
            .query("fields", "storageQuota");
        let told: Value = self.http.call(&self.account, &request)?.json()?;
        let number = |name: &str| -> Option<u64> {
            told.pointer(&format!("/storageQuota/{name}"))?
                .as_str()?
                .parse()
                .ok()
        };
        // Unlimited accounts have no limit here.
        Ok(number("limit")
            .zip(number("usage"))
            .map(|(limit, usage)| Space {
                free: limit.saturating_sub(usage),
                total: Some(limit),
            }))
    }
}
