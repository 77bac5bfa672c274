//! Dropbox's own shared links and file requests.
//!
//! Source: Dropbox's documentation for HTTP developers, `sharing` and `file_requests` name spaces.

use std::time::SystemTime;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Dropbox;
use crate::{Error, Name, Operation, Secret};

/// A link that Dropbox serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropboxLink {
    /// Its address, which is its name, too.
    pub url: String,
    /// Which file or folder; `None` when it lies outside of the store's folder.
    pub name: Option<Name>,
    /// When it ends.
    pub expires: Option<SystemTime>,
    /// Whether it asks for a password.
    pub has_password: bool,
}

/// A request for files that Dropbox serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropboxRequest {
    /// Its name.
    pub id: String,
    /// The address for those who send files.
    pub url: String,
    /// What they are asked for.
    pub title: String,
    /// Where the files go.
    pub destination: Option<String>,
    /// Until when.
    pub deadline: Option<SystemTime>,
    /// How many came.
    pub files: u64,
    /// It still takes files.
    pub open: bool,
}

#[derive(Deserialize)]
struct Link {
    url: String,
    path_lower: Option<String>,
    expires: Option<jiff::Timestamp>,
    #[serde(default)]
    link_permissions: Permissions,
}

#[derive(Deserialize, Default)]
struct Permissions {
    #[serde(default)]
    require_password: Option<bool>,
    #[serde(default)]
    effective_audience: Value,
}

#[derive(Deserialize)]
struct Links {
    links: Vec<Link>,
    #[serde(default)]
    has_more: bool,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct FileRequest {
    id: String,
    url: String,
    title: String,
    destination: Option<String>,
    deadline: Option<Deadline>,
    #[serde(default)]
    file_count: u64,
    #[serde(default)]
    is_open: bool,
}

#[derive(Deserialize)]
struct Deadline {
    deadline: jiff::Timestamp,
}

#[derive(Deserialize)]
struct FileRequests {
    file_requests: Vec<FileRequest>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    cursor: String,
}

impl From<FileRequest> for DropboxRequest {
    fn from(told: FileRequest) -> Self {
        Self {
            id: told.id,
            url: told.url,
            title: told.title,
            destination: told.destination,
            deadline: told
                .deadline
                .and_then(|deadline| SystemTime::try_from(deadline.deadline).ok()),
            files: told.file_count,
            open: told.is_open,
        }
    }
}

fn stamp(time: SystemTime) -> Option<String> {
    let stamp = jiff::Timestamp::try_from(time).ok()?;
    // Whole seconds: Dropbox takes no fractions.
    Some(
        jiff::Timestamp::from_second(stamp.as_second())
            .ok()?
            .to_string(),
    )
}

impl Dropbox {
    fn link(&self, told: Link) -> DropboxLink {
        let by_password = told.link_permissions.effective_audience[".tag"] == "password";
        DropboxLink {
            name: told.path_lower.as_deref().and_then(|path| self.name(path)),
            url: told.url,
            expires: told
                .expires
                .and_then(|time| SystemTime::try_from(time).ok()),
            has_password: by_password || told.link_permissions.require_password == Some(true),
        }
    }

    /// Makes a link to a file. Expiry, password and no download need a paid plan.
    ///
    /// # Errors
    ///
    /// [`AlreadyExists`](crate::ErrorKind::AlreadyExists) when the file has a link;
    /// [`Denied`](crate::ErrorKind::Denied) or [`Invalid`](crate::ErrorKind::Invalid) when the plan
    /// does not allow the settings.
    pub fn share(
        &self,
        name: &Name,
        expires: Option<SystemTime>,
        password: Option<&Secret>,
        download: bool,
    ) -> Result<DropboxLink, Error> {
        let mut settings = json!({"access": "viewer", "allow_download": download});
        settings["audience"] = json!("public");
        if let Some(stamp) = expires.and_then(stamp) {
            settings["expires"] = json!(stamp);
        }
        if let Some(password) = password {
            settings["require_password"] = json!(true);
            settings["link_password"] = json!(password.expose());
        }
        let arguments = json!({"path": self.path(name.as_str()), "settings": settings});
        let told: Link = self
            .function(
                "sharing/create_shared_link_with_settings",
                &arguments,
                Operation::Write,
                name,
            )?
            .json()?;
        Ok(self.link(told))
    }

    /// All links to files of the store's folder.
    ///
    /// # Errors
    ///
    /// As for every call.
    pub fn links(&self) -> Result<Vec<DropboxLink>, Error> {
        let mut links = Vec::new();
        let mut arguments = json!({});
        loop {
            let told: Links = self
                .function(
                    "sharing/list_shared_links",
                    &arguments,
                    Operation::List,
                    &"links",
                )?
                .json()?;
            links.extend(told.links.into_iter().map(|link| self.link(link)));
            match told.cursor {
                Some(cursor) if told.has_more => {
                    let next = json!({"cursor": cursor});
                    if next == arguments {
                        return Err(super::does_not_go_on(&"links"));
                    }
                    arguments = next;
                }
                _ => break,
            }
        }
        links.retain(|link| link.name.is_some());
        Ok(links)
    }

    /// Takes a link back.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is none.
    pub fn revoke(&self, url: &str) -> Result<(), Error> {
        self.function(
            "sharing/revoke_shared_link",
            &json!({"url": url}),
            Operation::Delete,
            &"link",
        )
        .map(drop)
    }

    /// Asks for files, which go into a folder. A deadline needs a paid plan.
    ///
    /// # Errors
    ///
    /// As for every call.
    pub fn request_files(
        &self,
        title: &str,
        folder: &Name,
        deadline: Option<SystemTime>,
    ) -> Result<DropboxRequest, Error> {
        let mut arguments =
            json!({"title": title, "destination": self.path(folder.as_str()), "open": true});
        if let Some(stamp) = deadline.and_then(stamp) {
            arguments["deadline"] = json!({"deadline": stamp});
        }
        let told: FileRequest = self
            .function("file_requests/create", &arguments, Operation::Write, folder)?
            .json()?;
        Ok(told.into())
    }

    /// All requests for files.
    ///
    /// # Errors
    ///
    /// As for every call.
    pub fn file_requests(&self) -> Result<Vec<DropboxRequest>, Error> {
        let mut requests = Vec::new();
        let mut function = "file_requests/list_v2";
        let mut arguments = json!({"limit": 1000});
        loop {
            let told: FileRequests = self
                .function(function, &arguments, Operation::List, &"requests")?
                .json()?;
            requests.extend(told.file_requests.into_iter().map(DropboxRequest::from));
            if !told.has_more || told.cursor.is_empty() {
                return Ok(requests);
            }
            function = "file_requests/list/continue";
            let next = json!({"cursor": told.cursor});
            if next == arguments {
                return Err(super::does_not_go_on(&"requests"));
            }
            arguments = next;
        }
    }

    /// Takes no more files, and forgets the request.
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) when there is none.
    pub fn close_request(&self, id: &str) -> Result<(), Error> {
        // Only a closed request can be deleted.
        for (function, arguments) in [
            ("file_requests/update", json!({"id": id, "open": false})),
            ("file_requests/delete", json!({"ids": [id]})),
        ] {
            self.function(function, &arguments, Operation::Delete, &id)?;
        }
        Ok(())
    }
}
