//! From paths to ids.

use std::sync::PoisonError;

use serde::Deserialize;
use serde_json::json;

use super::{Drive, FIELDS, FOLDER, File};
use crate::http::Method;
use crate::{Error, ErrorKind, Folder, Name, Operation};

/// How many folders one listing asks for at once.
const FOLDERS_AT_ONCE: usize = 50;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    files: Vec<File>,
    next_page_token: Option<String>,
}

/// A text within a query.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn in_any(ids: &[String]) -> String {
    let parts: Vec<String> = ids
        .iter()
        .map(|id| format!("{} in parents", quote(id)))
        .collect();
    format!("({})", parts.join(" or "))
}

impl Drive {
    /// All that a query finds, the oldest first.
    fn query(
        &self,
        query: &str,
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Result<Vec<File>, Error> {
        let mut files = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut request = self
                .request(Method::Get, "files", "drive list", operation, object)
                .query("q", format!("{query} and trashed = false"))
                .query("fields", format!("nextPageToken,files({FIELDS})"))
                .query("pageSize", "1000");
            if let Some(token) = &token {
                request = request.query("pageToken", token.clone());
            }
            let page: Page = self.http.call(&self.account, &request)?.json()?;
            files.extend(page.files);
            if page.next_page_token.is_some() && page.next_page_token == token {
                return Err(request
                    .error(ErrorKind::Invalid)
                    .because("the listing does not go on"));
            }
            token = page.next_page_token;
            if token.is_none() {
                break;
            }
        }
        files.sort_by(|a, b| (a.created_time, &a.id).cmp(&(b.created_time, &b.id)));
        Ok(files)
    }

    /// What lies in folders.
    pub(super) fn children(&self, ids: &[String], shown: &Folder) -> Result<Vec<File>, Error> {
        let mut files = Vec::new();
        for ids in ids.chunks(FOLDERS_AT_ONCE) {
            files.extend(self.query(&in_any(ids), Operation::List, shown)?);
        }
        Ok(files)
    }

    /// The folder's path from the top of the Drive.
    fn full(&self, folder: &Folder) -> String {
        format!("{}{folder}", self.root.prefix(), folder = folder.as_str())
            .trim_matches('/')
            .to_owned()
    }

    /// The ids of all folders that have this path; none when it does not exist.
    pub(super) fn folder_ids(
        &self,
        folder: &Folder,
        operation: Operation,
    ) -> Result<Vec<String>, Error> {
        let full = self.full(folder);
        let mut ids = vec!["root".to_owned()];
        let mut path = String::new();
        for component in full.split('/').filter(|component| !component.is_empty()) {
            path = format!("{path}/{component}");
            let known = self
                .folders
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&path)
                .cloned();
            ids = match known {
                Some(known) => known,
                None => {
                    let query = format!(
                        "name = {} and mimeType = '{FOLDER}' and {}",
                        quote(component),
                        in_any(&ids)
                    );
                    let found: Vec<String> = self
                        .query(&query, operation, folder)?
                        .into_iter()
                        .map(|file| file.id)
                        .collect();
                    if found.is_empty() {
                        return Ok(found);
                    }
                    self.folders
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(path.clone(), found.clone());
                    found
                }
            };
        }
        Ok(ids)
    }

    /// The id of a folder, made now with those above it if need be. One thread at a time: else two
    /// would make two.
    pub(super) fn make_folder(
        &self,
        folder: &Folder,
        operation: Operation,
    ) -> Result<String, Error> {
        if let Some(id) = self.folder_ids(folder, operation)?.into_iter().next() {
            return Ok(id);
        }
        let mut known = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let full = self.full(folder);
        let mut id = "root".to_owned();
        let mut path = String::new();
        for component in full.split('/').filter(|component| !component.is_empty()) {
            path = format!("{path}/{component}");
            if let Some(first) = known.get(&path).and_then(|ids| ids.first()) {
                id.clone_from(first);
                continue;
            }
            // Another thread, or another program, may have made it since we looked.
            let query = format!(
                "name = {} and mimeType = '{FOLDER}' and {}",
                quote(component),
                in_any(&[id.clone()])
            );
            let mut ids: Vec<String> = self
                .query(&query, operation, folder)?
                .into_iter()
                .map(|file| file.id)
                .collect();
            if ids.is_empty() {
                let made = self.new_id(operation, folder)?;
                let request = self
                    .request(Method::Post, "files", "drive folder", operation, folder)
                    .query("fields", FIELDS)
                    .json(&json!({"name": component, "mimeType": FOLDER, "parents": [id], "id": made}));
                match self.http.call(&self.account, &request) {
                    // The id is ours alone: an earlier try has made it.
                    Err(error) if error.kind == ErrorKind::AlreadyExists && error.doubtful => {}
                    result => drop(result?),
                }
                ids.push(made);
            }
            if let Some(first) = ids.first() {
                id.clone_from(first);
            }
            known.insert(path.clone(), ids);
        }
        Ok(id)
    }

    /// An id for a file that will be made.
    pub(super) fn new_id(
        &self,
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Ids {
            ids: Vec<String>,
        }
        let request = self
            .request(
                Method::Get,
                "files/generateIds",
                "drive ids",
                operation,
                object,
            )
            .query("count", "1")
            .query("space", "drive");
        let ids: Ids = self.http.call(&self.account, &request)?.json()?;
        ids.ids.into_iter().next().ok_or_else(|| {
            request
                .error(ErrorKind::Invalid)
                .because("Drive gives no id")
        })
    }

    pub(super) fn forget_folders(&self) {
        self.folders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// All files of a name, the oldest first.
    pub(super) fn files(&self, name: &Name, operation: Operation) -> Result<Vec<File>, Error> {
        let ids = self.folder_ids(&name.folder(), operation)?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = format!(
            "name = {} and mimeType != '{FOLDER}' and {}",
            quote(name.file_name()),
            in_any(&ids)
        );
        let files = self.query(&query, operation, name)?;
        // Drive compares names without regard to capitals; documents of its own have no bytes.
        Ok(files
            .into_iter()
            .filter(|file| file.name == name.file_name() && file.size().is_some())
            .collect())
    }

    /// The one file of a name.
    pub(super) fn file(&self, name: &Name, operation: Operation) -> Result<File, Error> {
        let files = self.files(name, operation)?;
        let Some(first) = files.first() else {
            return Err(Error::new(ErrorKind::NotFound, operation).on(name));
        };
        let same = |file: &File| {
            file.md5_checksum.is_some()
                && (&file.md5_checksum, &file.size) == (&first.md5_checksum, &first.size)
        };
        if files.len() > 1 && !files.iter().all(same) {
            let why = format!(
                "{} files in Drive have this name and differ: rename or remove all but one",
                files.len()
            );
            return Err(Error::new(ErrorKind::Invalid, operation)
                .on(name)
                .because(why));
        }
        Ok(first.clone())
    }
}
