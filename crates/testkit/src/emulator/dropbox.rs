//! Dropbox's interface.
//!
//! Source: Dropbox's documentation for HTTP developers; checked against the official Python library.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::http::{Answer, Faults, HttpServer, Request, hex};
use super::oauth::Tokens;

/// A Dropbox.
#[derive(Debug)]
pub struct DropboxEmulator {
    server: HttpServer,
    /// What goes wrong.
    pub faults: Faults,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tokens: Tokens,
    /// By path in small letters; folders have no file.
    entries: BTreeMap<String, Entry>,
    sessions: BTreeMap<String, Vec<u8>>,
    cursors: BTreeMap<String, Cursor>,
    /// What happened, for cursors.
    log: Vec<String>,
    next: u64,
    page: usize,
    size_max: Option<usize>,
}

#[derive(Debug, Clone)]
struct Entry {
    path: String,
    file: Option<File>,
}

#[derive(Debug, Clone)]
struct File {
    bytes: Arc<Vec<u8>>,
    rev: String,
    hash: String,
}

#[derive(Debug, Clone)]
struct Cursor {
    folder: String,
    recursive: bool,
    after: Option<String>,
    log: usize,
}

impl DropboxEmulator {
    /// An empty Dropbox whose refresh token is `refresh-0`.
    #[must_use]
    pub fn start() -> Self {
        let faults = Faults::default();
        let state = Arc::new(Mutex::new(State {
            page: 2000,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let server = HttpServer::start(&faults, move |request| {
            shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .answer(request)
        });
        Self {
            server,
            faults,
            state,
        }
    }

    /// Its address, of calls and of content.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Access tokens given so far have expired.
    pub fn expire(&self) {
        self.with(|state| state.tokens.expire());
    }

    /// The person has removed the application.
    pub fn revoke(&self) {
        self.with(|state| state.tokens.revoke());
    }

    /// Each renewal gives a new refresh token, and the old one is worth nothing.
    pub fn rotate_refresh_tokens(&self) {
        self.with(|state| state.tokens.rotate = true);
    }

    /// How many objects a page of a listing has.
    pub fn set_page(&self, size: usize) {
        self.with(|state| state.page = size);
    }

    /// The quota in bytes.
    pub fn set_size_max(&self, size: usize) {
        self.with(|state| state.size_max = Some(size));
    }

    /// The bytes of a file.
    #[must_use]
    pub fn object(&self, path: &str) -> Option<Vec<u8>> {
        self.with(|state| {
            Some(
                state
                    .entries
                    .get(&path.to_lowercase())?
                    .file
                    .as_ref()?
                    .bytes
                    .to_vec(),
            )
        })
    }

    /// Puts a file there, as if another client had.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.with(|state| {
            state.store(path, bytes.to_vec());
        });
    }

    /// All sessions have ended, as they do after some days.
    pub fn forget_sessions(&self) {
        self.with(|state| state.sessions.clear());
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refuse(tags: &[&str]) -> Answer {
    let error = tags
        .iter()
        .rev()
        .fold(Value::Null, |inner, tag| match inner {
            Value::Null => json!({".tag": tag}),
            inner => json!({".tag": tag, *tag: inner}),
        });
    Answer::json(
        409,
        &json!({"error_summary": format!("{}/..", tags.join("/")), "error": error}),
    )
}

/// The refusal of a whole upload has its reason a level deeper than that of a session's end.
fn with_reason(answer: &Answer) -> Answer {
    let mut told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let reason = told["error"]["path"].take();
    told["error"] = json!({".tag": "path", "reason": reason, "upload_session_id": "none"});
    Answer::json(409, &told)
}

fn content_hash(bytes: &[u8]) -> String {
    let mut all = Sha256::new();
    for block in bytes.chunks(4 << 20) {
        all.update(Sha256::digest(block));
    }
    hex(all.finalize())
}

fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

impl State {
    fn answer(&mut self, request: &Request) -> Answer {
        match request.path.as_str() {
            "/oauth2/authorize" => return self.tokens.authorize(request),
            "/oauth2/token" => return self.tokens.token(request),
            _ => {}
        }
        if !self.tokens.accepts(request) {
            return Answer::json(
                401,
                &json!({"error_summary": "expired_access_token/", "error": {".tag": "expired_access_token"}}),
            );
        }
        let argument = match request.header("dropbox-api-arg") {
            "" => request.json(),
            header => serde_json::from_str(header).unwrap_or_default(),
        };
        let told = text(&argument, "content_hash");
        if !told.is_empty() && told != content_hash(&request.body) {
            return refuse(&["content_hash_mismatch"]);
        }
        match request.path.trim_start_matches("/2/") {
            "files/upload" => {
                let answer = self.commit(&argument, request.body.clone());
                if answer.status == 409 {
                    with_reason(&answer)
                } else {
                    answer
                }
            }
            "files/upload_session/start" => {
                self.next += 1;
                let id = format!("session-{}", self.next);
                self.sessions.insert(id.clone(), request.body.clone());
                Answer::json(200, &json!({"session_id": id}))
            }
            "files/upload_session/append_v2" => self.append(&argument["cursor"], &request.body),
            "files/upload_session/finish" => {
                let id = text(&argument["cursor"], "session_id");
                let appended = self.append(&argument["cursor"], &request.body);
                if appended.status != 200 {
                    return appended;
                }
                let bytes = self.sessions.get(&id).cloned().unwrap_or_default();
                let answer = self.commit(&argument["commit"], bytes);
                if answer.status == 200 {
                    self.sessions.remove(&id);
                }
                answer
            }
            "files/get_metadata" => match self.entry(&text(&argument, "path")) {
                Some(entry) => Answer::json(200, &entry.metadata()),
                None => refuse(&["path", "not_found"]),
            },
            "files/download" => self.download(request, &argument),
            "files/list_folder" => self.list(&argument),
            "files/list_folder/continue" => {
                match self.cursors.get(&text(&argument, "cursor")).cloned() {
                    Some(cursor) => self.page(&cursor),
                    None => refuse(&["reset"]),
                }
            }
            "files/delete_v2" => self.delete(&argument),
            "files/move_v2" => self.relocate(&argument),
            "files/create_folder_v2" => {
                let path = text(&argument, "path");
                if self.entries.contains_key(&path.to_lowercase()) {
                    return refuse(&["path", "conflict", "folder"]);
                }
                self.folders(&format!("{path}/x"));
                Answer::json(
                    200,
                    &json!({"metadata": self.entries[&path.to_lowercase()].metadata()}),
                )
            }
            "users/get_space_usage" => Answer::json(
                200,
                &json!({"used": self.used(), "allocation": {".tag": "individual", "allocated": self.size_max.unwrap_or(2 << 30)}}),
            ),
            other => Answer::new(400).body(format!("unknown function {other}").into_bytes()),
        }
    }

    /// By path, or by id.
    fn entry(&self, path: &str) -> Option<&Entry> {
        match path.strip_prefix("id:") {
            Some(id) => self.entries.values().find(|entry| hex(&entry.path) == id),
            None => self.entries.get(&path.to_lowercase()),
        }
    }

    fn used(&self) -> usize {
        self.entries
            .values()
            .filter_map(|entry| Some(entry.file.as_ref()?.bytes.len()))
            .sum()
    }

    fn append(&mut self, cursor: &Value, bytes: &[u8]) -> Answer {
        let Some(session) = self.sessions.get_mut(&text(cursor, "session_id")) else {
            return refuse(&["lookup_failed", "not_found"]);
        };
        let offset = cursor["offset"]
            .as_u64()
            .and_then(|offset| usize::try_from(offset).ok());
        if offset != Some(session.len()) {
            return Answer::json(
                409,
                &json!({"error_summary": "incorrect_offset/..", "error": {".tag": "incorrect_offset", "correct_offset": session.len()}}),
            );
        }
        session.extend_from_slice(bytes);
        Answer::json(200, &Value::Null)
    }

    fn commit(&mut self, argument: &Value, bytes: Vec<u8>) -> Answer {
        let path = text(argument, "path");
        let mode = argument["mode"]
            .as_str()
            .map_or_else(|| text(&argument["mode"], ".tag"), str::to_owned);
        let old = self.entries.get(&path.to_lowercase());
        if old.is_some_and(|old| old.file.is_none()) {
            return refuse(&["path", "conflict", "folder"]);
        }
        let same = old
            .and_then(|old| old.file.as_ref())
            .is_some_and(|file| *file.bytes == bytes);
        let strict = argument["strict_conflict"].as_bool() == Some(true);
        if old.is_some() && mode != "overwrite" && (strict || !same) {
            return refuse(&["path", "conflict", "file"]);
        }
        if self
            .size_max
            .is_some_and(|max| self.used() + bytes.len() > max)
        {
            return refuse(&["path", "insufficient_space"]);
        }
        let entry = self.store(&path, bytes);
        Answer::json(200, &entry.metadata())
    }

    fn store(&mut self, path: &str, bytes: Vec<u8>) -> Entry {
        self.folders(path);
        self.next += 1;
        let file = File {
            rev: format!("{:09x}", self.next),
            hash: content_hash(&bytes),
            bytes: Arc::new(bytes),
        };
        let entry = Entry {
            path: path.to_owned(),
            file: Some(file),
        };
        self.entries.insert(path.to_lowercase(), entry.clone());
        self.log.push(path.to_lowercase());
        entry
    }

    /// Makes the folders above a path.
    fn folders(&mut self, path: &str) {
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
            let folder = path[..at].to_owned();
            self.entries.entry(folder.to_lowercase()).or_insert(Entry {
                path: folder,
                file: None,
            });
        }
    }

    fn download(&self, request: &Request, argument: &Value) -> Answer {
        let entry = self.entry(&text(argument, "path"));
        let Some(entry) = entry.filter(|entry| entry.file.is_some()) else {
            return refuse(&["path", "not_found"]);
        };
        let bytes = entry
            .file
            .as_ref()
            .map(|file| Arc::clone(&file.bytes))
            .unwrap_or_default();
        Answer::content(request, &bytes).header(
            "dropbox-api-result",
            entry
                .metadata()
                .to_string()
                .replace(|c: char| !c.is_ascii(), "_"),
        )
    }

    fn list(&mut self, argument: &Value) -> Answer {
        let folder = text(argument, "path").to_lowercase();
        match self.entries.get(&folder) {
            None if !folder.is_empty() => return refuse(&["path", "not_found"]),
            Some(entry) if entry.file.is_some() => return refuse(&["path", "not_folder"]),
            _ => {}
        }
        let recursive = argument["recursive"].as_bool() == Some(true);
        self.page(&Cursor {
            folder,
            recursive,
            after: None,
            log: self.log.len(),
        })
    }

    fn page(&mut self, cursor: &Cursor) -> Answer {
        let prefix = format!("{}/", cursor.folder);
        let mut entries = Vec::new();
        let mut next = Cursor {
            after: None,
            log: self.log.len(),
            ..cursor.clone()
        };
        let mut more = false;
        for (key, entry) in &self.entries {
            let rest = key.strip_prefix(&prefix);
            let inside = rest
                .is_some_and(|rest| !rest.is_empty() && (cursor.recursive || !rest.contains('/')));
            if !inside || cursor.after.as_ref().is_some_and(|after| key <= after) {
                continue;
            }
            if entries.len() == self.page {
                more = true;
                break;
            }
            entries.push(entry.metadata());
            next.after = Some(key.clone());
        }
        if !more {
            // What happened since the listing began comes at its end, perhaps once more.
            for key in self
                .log
                .iter()
                .skip(cursor.log)
                .filter(|key| key.starts_with(&prefix))
            {
                if let Some(entry) = self.entries.get(key) {
                    entries.push(entry.metadata());
                }
            }
            next.after = Some("\u{10ffff}".into());
        } else {
            next.log = cursor.log;
        }
        self.next += 1;
        let id = format!("cursor-{}", self.next);
        self.cursors.insert(id.clone(), next);
        Answer::json(
            200,
            &json!({"entries": entries, "cursor": id, "has_more": more}),
        )
    }

    fn delete(&mut self, argument: &Value) -> Answer {
        let key = text(argument, "path").to_lowercase();
        let Some(entry) = self.entries.get(&key).cloned() else {
            return refuse(&["path_lookup", "not_found"]);
        };
        let rev = text(argument, "parent_rev");
        if !rev.is_empty() && entry.file.as_ref().is_none_or(|file| file.rev != rev) {
            return refuse(&["path_write", "conflict", "file"]);
        }
        let below = format!("{key}/");
        self.entries
            .retain(|other, _| *other != key && !other.starts_with(&below));
        Answer::json(200, &json!({"metadata": entry.metadata()}))
    }

    fn relocate(&mut self, argument: &Value) -> Answer {
        let (from, to) = (
            text(argument, "from_path").to_lowercase(),
            text(argument, "to_path"),
        );
        let Some(entry) = self.entries.get(&from).cloned() else {
            return refuse(&["from_lookup", "not_found"]);
        };
        if self.entries.contains_key(&to.to_lowercase()) {
            return refuse(&["to", "conflict", "file"]);
        }
        self.entries.remove(&from);
        self.folders(&to);
        let moved = Entry {
            path: to.clone(),
            ..entry
        };
        self.entries.insert(to.to_lowercase(), moved.clone());
        self.log.push(to.to_lowercase());
        Answer::json(200, &json!({"metadata": moved.metadata()}))
    }
}

impl Entry {
    fn metadata(&self) -> Value {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let common = json!({"name": name, "path_lower": self.path.to_lowercase(), "path_display": self.path, "id": format!("id:{}", hex(&self.path))});
        let mut value = common;
        match &self.file {
            None => value[".tag"] = json!("folder"),
            Some(file) => {
                value[".tag"] = json!("file");
                value["size"] = json!(file.bytes.len());
                value["rev"] = json!(file.rev);
                value["content_hash"] = json!(file.hash);
                value["server_modified"] = json!("2026-01-01T00:00:00Z");
                value["client_modified"] = json!("2026-01-01T00:00:00Z");
                value["is_downloadable"] = json!(true);
            }
        }
        value
    }
}
