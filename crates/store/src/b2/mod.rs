//! Backblaze B2, through its own interface.
//!
//! An object is there when its upload was answered, and the service has compared its SHA-1. A name
//! keeps its versions: replacing adds one, so nothing that was there can be lost by a write; the
//! bucket's lifecycle rules decide how long old versions are kept and paid for.
//!
//! The service cannot refuse to replace. To create, everybody uploads a version of the name; then
//! the versions are listed, and the *oldest* one that lives has won. Whoever finds an older one takes their own away
//! again. The listing is consistent, so all agree. A program that dies between the two steps of
//! a lost race leaves its version as the newest: a format that creates must be able to live with that.

mod account;
mod upload;

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::json;

use crate::abandoned::is_older;
use crate::http::{Answer, Http, Method, Request, encode_path};
use crate::s3::{ranged, reading};
use crate::{
    Capabilities, Content, Digest, DigestKind, Environment, Error, ErrorKind, Folder, Name, Object,
    Operation, Range, Reading, Scope, Secret, Space, Store, WriteMode,
};
use account::Account;
use hex::FromHex;

/// How many objects a page of a listing has: what one call is billed for.
const PAGE: u32 = 1000;

/// How many unfinished uploads a page has at most.
const UNFINISHED_PAGE: u32 = 100;

/// A bucket of Backblaze B2, or a folder of one.
pub struct B2 {
    http: Http,
    account: Account,
    /// With a slash at its end, unless empty.
    prefix: String,
    uploads: upload::Addresses,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    files: Vec<File>,
    next_file_name: Option<String>,
    next_file_id: Option<String>,
}

/// What the service tells of a version.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    file_id: Option<String>,
    file_name: String,
    #[serde(default)]
    content_length: u64,
    #[serde(default)]
    content_sha1: Option<String>,
    action: String,
    #[serde(default)]
    upload_timestamp: u64,
}

impl B2 {
    /// Takes a location. Nothing is asked yet. Key id and key come from the location, the
    /// environment's password, or `B2_APPLICATION_KEY_ID` and `B2_APPLICATION_KEY`.
    ///
    /// # Errors
    ///
    /// [`SignIn`](ErrorKind::SignIn) when there is no key.
    pub fn new(
        key: Option<&(String, Option<Secret>)>,
        bucket: &str,
        prefix: &str,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let variable = |name| environment.variable(name);
        let id = key
            .map(|(id, _)| id.clone())
            .or_else(|| variable("B2_APPLICATION_KEY_ID"));
        let secret = environment
            .password
            .clone()
            .or_else(|| key.and_then(|(_, secret)| secret.clone()))
            .or_else(|| variable("B2_APPLICATION_KEY").map(Secret::new));
        let (Some(id), Some(secret)) = (id, secret) else {
            return Err(Error::new(ErrorKind::SignIn, Operation::Open).on("B2 application key").because(
                "there is none in the location, in the configuration, or in B2_APPLICATION_KEY_ID and B2_APPLICATION_KEY",
            ));
        };
        Ok(Self {
            http: Http::new(environment),
            account: Account::new(id, secret, bucket),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
            uploads: upload::Addresses::default(),
        })
    }

    /// What the key may do, as B2 calls it: `deleteFiles`, `writeFiles` and so on.
    ///
    /// # Errors
    ///
    /// When the service cannot be asked or does not accept the key.
    pub fn key_capabilities(&self) -> Result<Vec<String>, Error> {
        Ok(self.account.session(&self.http)?.capabilities.clone())
    }

    /// Whether objects of the bucket can be locked against deletion, and whether new ones are, by
    /// the bucket's own rule; `None` when the key may not ask.
    ///
    /// # Errors
    ///
    /// When the service cannot be asked or does not accept the key.
    pub fn object_lock(&self) -> Result<Option<(bool, bool)>, Error> {
        let capabilities = self.key_capabilities()?;
        match self.account.ask_bucket(&self.http) {
            Ok(bucket) => Ok(bucket.and_then(|bucket| bucket.object_lock(&capabilities))),
            Err(error) if error.kind == ErrorKind::Denied => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn full(&self, name: &Name) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Calls one of the functions of the interface.
    fn function(
        &self,
        function: &'static str,
        arguments: serde_json::Value,
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Result<Answer, Error> {
        let session = self.account.session(&self.http)?;
        let url = format!("{}/b2api/v4/{function}", session.api);
        let request = Request::new(Method::Post, url, function, operation, object).json(&arguments);
        self.http.call(&self.account, &request)
    }

    /// A request for an object by name.
    fn by_name(
        &self,
        method: Method,
        class: &'static str,
        operation: Operation,
        name: &Name,
    ) -> Result<Request<'static>, Error> {
        let session = self.account.session(&self.http)?;
        let url = format!(
            "{}/file/{}/{}",
            session.download,
            self.account.bucket,
            encode_path(&self.full(name))
        );
        Ok(Request::new(method, url, class, operation, name))
    }

    /// All versions of one name, the newest first.
    fn versions(&self, name: &Name, operation: Operation) -> Result<Vec<File>, Error> {
        let full = self.full(name);
        let bucket = self.account.bucket_id(&self.http)?;
        let mut versions = Vec::new();
        let mut next: (String, Option<String>) = (full.clone(), None);
        loop {
            let arguments = json!({"bucketId": bucket, "prefix": full, "maxFileCount": PAGE,
                "startFileName": next.0, "startFileId": next.1});
            let page: Page = self
                .function("b2_list_file_versions", arguments, operation, name)?
                .json()?;
            let ended = page.files.iter().any(|file| file.file_name != full);
            versions.extend(page.files.into_iter().filter(|file| file.file_name == full));
            match (page.next_file_name, page.next_file_id) {
                (Some(file), id)
                    if !ended && file == full && (Some(&file), &id) != (Some(&next.0), &next.1) =>
                {
                    next = (file, id);
                }
                _ => return Ok(versions),
            }
        }
    }

    fn delete_version(&self, name: &Name, id: &str, operation: Operation) -> Result<(), Error> {
        let arguments = json!({"fileName": self.full(name), "fileId": id});
        match self.function("b2_delete_file_version", arguments, operation, name) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    /// Uploads, and takes the upload back if somebody was earlier.
    fn create(&self, name: &Name, content: &dyn Content) -> Result<Object, Error> {
        let taken = || Error::new(ErrorKind::AlreadyExists, Operation::Write).on(name);
        let session = self.account.session(&self.http)?;
        if !session.capabilities.iter().any(|has| has == "deleteFiles") {
            return Err(Error::unsupported(
                Operation::Write,
                name,
                "to create, the key needs to delete what lost a race",
            ));
        }
        if self.stat(name).is_ok() {
            return Err(taken());
        }
        let (object, repeated) = self.upload(name, content)?;
        // Versions older than the last hiding are no longer alive.
        let versions = self.versions(name, Operation::Write)?;
        let alive = versions.iter().take_while(|file| file.action == "upload");
        let oldest = alive.min_by_key(|file| (file.upload_timestamp, file.file_id.clone()));
        if oldest.and_then(|file| file.file_id.as_ref()) == object.version.as_ref() {
            return Ok(object);
        }
        let id = object.version.clone().unwrap_or_default();
        self.delete_version(name, &id, Operation::Write)?;
        // The older one may be our own, of a try whose answer was lost.
        Err(Error {
            doubtful: repeated,
            ..taken()
        })
    }

    fn object_of(answer: &Answer, name: &Name, size: u64) -> Object {
        let sha1 = answer
            .header("x-bz-content-sha1")
            .filter(|sha1| *sha1 != "none");
        let sha1 = sha1.or_else(|| answer.header("x-bz-info-large_file_sha1"));
        Object {
            name: name.clone(),
            size,
            modified: answer
                .header("x-bz-upload-timestamp")
                .and_then(|time| time.parse().ok())
                .map(time),
            version: answer.header("x-bz-file-id").map(str::to_owned),
            digest: sha1
                .and_then(|sha1| FromHex::from_hex(sha1.trim_start_matches("unverified:")).ok())
                .map(Digest::Sha1),
        }
    }
}

impl File {
    fn object(self, name: Name) -> Object {
        Object {
            name,
            size: self.content_length,
            modified: Some(time(self.upload_timestamp)),
            version: self.file_id,
            digest: self
                .content_sha1
                .and_then(|sha1| FromHex::from_hex(sha1).ok())
                .map(Digest::Sha1),
        }
    }
}

/// Times are milliseconds since 1970.
fn time(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(milliseconds))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Store for B2 {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            // Who lost a race has to take their version away.
            create: self.account.may("deleteFiles") != Some(false),
            rename: false,
            copy: true,
            digest: Some(DigestKind::Sha1),
            resume: true,
            case_folding: false,
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let bucket = self.account.bucket_id(&self.http)?;
        let delimiter = (scope == Scope::Folder).then_some("/");
        let mut start: Option<String> = None;
        loop {
            let arguments = json!({"bucketId": bucket, "prefix": format!("{}{}", self.prefix, folder.prefix()),
                "delimiter": delimiter, "maxFileCount": PAGE, "startFileName": start});
            let page: Page = self
                .function("b2_list_file_names", arguments, Operation::List, folder)?
                .json()?;
            for file in page.files {
                let name = file
                    .file_name
                    .strip_prefix(&self.prefix)
                    .and_then(|name| Name::new(name).ok());
                let Some(name) = name.filter(|name| {
                    file.action == "upload" && folder.holds(name, scope == Scope::Tree)
                }) else {
                    continue;
                };
                if each(file.object(name)).is_break() {
                    return Ok(());
                }
            }
            match page.next_file_name {
                None => return Ok(()),
                next if next > start => start = next,
                _ => {
                    return Err(Error::new(ErrorKind::Invalid, Operation::List)
                        .on(folder)
                        .because("the listing does not go on"));
                }
            }
        }
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        let request = self.by_name(Method::Head, "b2 head", Operation::Stat, name)?;
        let answer = self.http.call(&self.account, &request)?;
        let size = answer
            .length()
            .ok_or_else(|| request.error(ErrorKind::Invalid).because("no size"))?;
        Ok(Self::object_of(&answer, name, size))
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let request = ranged(
            self.by_name(Method::Get, "b2 get", Operation::Read, name)?,
            range,
        )
        .accept(&[416]);
        let answer = self.http.call(&self.account, &request)?;
        if answer.status == 416 {
            let object = self.stat(name)?;
            return Ok(Reading {
                object,
                body: Box::new(std::io::empty()),
            });
        }
        reading(answer, name, range, |answer, size| {
            Self::object_of(answer, name, size)
        })
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        match mode {
            WriteMode::Replace => self.upload(name, content).map(|(object, _)| object),
            WriteMode::Create => self.create(name, content),
        }
    }

    /// Deletes all versions; with a key that may not delete, hides the name.
    fn delete(&self, name: &Name) -> Result<(), Error> {
        let session = self.account.session(&self.http)?;
        if session.capabilities.iter().any(|has| has == "deleteFiles") {
            // The oldest first: else an old version would come to light for a moment.
            for file in self.versions(name, Operation::Delete)?.into_iter().rev() {
                self.delete_version(
                    name,
                    file.file_id.as_deref().unwrap_or_default(),
                    Operation::Delete,
                )?;
            }
            return Ok(());
        }
        match self.stat(name) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        let bucket = self.account.bucket_id(&self.http)?;
        let arguments = json!({"bucketId": bucket, "fileName": self.full(name)});
        self.function("b2_hide_file", arguments, Operation::Delete, name)
            .map(drop)
    }

    fn rename(&self, from: &Name, _: &Name) -> Result<(), Error> {
        Err(Error::unsupported(
            Operation::Rename,
            from,
            "B2 would have to copy",
        ))
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let source = self.stat(from)?;
        let arguments = json!({"sourceFileId": source.version, "fileName": self.full(to)});
        self.function("b2_copy_file", arguments, Operation::Copy, to)
            .map(drop)
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        Ok(None)
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        let now = (self.http.environment.clock)();
        let bucket = self.account.bucket_id(&self.http)?;
        let what = "unfinished uploads";
        let mut start: Option<String> = None;
        let mut removed = 0;
        loop {
            let arguments = json!({"bucketId": bucket, "namePrefix": self.prefix,
                "startFileId": start, "maxFileCount": UNFINISHED_PAGE});
            let page = self.function(
                "b2_list_unfinished_large_files",
                arguments,
                Operation::List,
                &what,
            );
            let page: Page = match page {
                // The bucket's own rules clear what we may not look at.
                Err(error) if error.kind == ErrorKind::Denied => return Ok(removed),
                result => result?.json()?,
            };
            for file in page.files {
                if let Some(id) = file.file_id
                    && is_older(Some(time(file.upload_timestamp)), now, age)
                {
                    let arguments = json!({"fileId": id});
                    match self.function(
                        "b2_cancel_large_file",
                        arguments,
                        Operation::Delete,
                        &file.file_name,
                    ) {
                        // Somebody has ended it meanwhile.
                        Err(error) if error.kind == ErrorKind::NotFound => {}
                        result => {
                            result?;
                            removed += 1;
                        }
                    }
                }
            }
            match page.next_file_id {
                next @ Some(_) if next != start => start = next,
                _ => return Ok(removed),
            }
        }
    }
}
