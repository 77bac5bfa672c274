//! Dropbox's interface.
//!
//! Source: Dropbox's documentation for HTTP developers; checked against the official Python library.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::blocks::Blocks;
use super::http::{Answer, Faults, HttpServer, Request};
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
    sessions: BTreeMap<String, Blocks>,
    cursors: BTreeMap<String, Cursor>,
    /// Every revision of every path, oldest first; a deletion has no file.
    history: BTreeMap<String, Vec<Kept>>,
    links: Vec<Link>,
    requests: Vec<FileRequest>,
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
    bytes: Blocks,
    rev: String,
    hash: String,
    /// When it came, in seconds since 1970.
    at: u64,
    /// When its device says that it was modified.
    modified: String,
}

#[derive(Debug, Clone)]
struct Kept {
    path: String,
    at: u64,
    file: Option<File>,
}

#[derive(Debug, Clone)]
struct Link {
    url: String,
    path: String,
    settings: Value,
}

#[derive(Debug, Clone)]
struct FileRequest {
    id: String,
    told: Value,
}

/// The first second of the emulator: the beginning of 2026.
const START: u64 = 1_767_225_600;

/// Names that Dropbox takes from nobody.
///
/// Source: Dropbox's help, "Files that are not synced".
const DISALLOWED: [&str; 6] = [
    "desktop.ini",
    "thumbs.db",
    ".ds_store",
    "icon\r",
    ".dropbox",
    ".dropbox.attr",
];

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
            let state = || shared.lock().unwrap_or_else(PoisonError::into_inner);
            if request.path.ends_with("/files/list_folder/longpoll") {
                let asked = request.json();
                // A test does not wait for minutes.
                for _ in 0..20 {
                    if state().has_changed(&text(&asked, "cursor")) {
                        return Answer::json(200, &json!({"changes": true}));
                    }
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                return Answer::json(200, &json!({"changes": false}));
            }
            state().answer(request)
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

    /// The files of a folder with their bytes, by their names below it.
    #[must_use]
    pub fn files(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        let prefix = format!("{folder}/");
        self.with(|state| {
            let files = state.entries.values().filter_map(|entry| {
                let name = entry.path.strip_prefix(&prefix)?;
                Some((name.to_owned(), entry.file.as_ref()?.bytes.to_vec()))
            });
            files.collect()
        })
    }

    /// How many bytes a file has, and its content hash.
    #[must_use]
    pub fn size_and_hash(&self, path: &str) -> Option<(usize, String)> {
        self.with(|state| {
            let entry = state.entries.get(&path.to_lowercase())?;
            let file = entry.file.as_ref()?;
            Some((file.bytes.len(), file.hash.clone()))
        })
    }

    /// Whether some revision of some file has this content hash.
    #[must_use]
    pub fn keeps(&self, hash: &str) -> bool {
        self.with(|state| {
            let mut kept = state.history.values().flatten();
            kept.any(|kept| kept.file.as_ref().is_some_and(|file| file.hash == hash))
        })
    }

    /// Puts a file there, as if another client had.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.with(|state| {
            state.store(path, bytes.into(), None);
        });
    }

    /// Deletes a file, as if another client had.
    pub fn delete(&self, path: &str) {
        self.with(|state| {
            state.delete(&json!({"path": path}));
        });
    }

    /// All cursors are worth nothing any more, as they are after some weeks.
    pub fn forget_cursors(&self) {
        self.with(|state| state.cursors.clear());
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

fn text(value: &Value, key: &str) -> String {
    value
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// What a listing tells of what is not there any more.
fn deleted(path: &str) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    json!({".tag": "deleted", "name": name, "path_lower": path.to_lowercase(), "path_display": path})
}

/// A second of 2026 as Dropbox writes it; the emulator does not live to see February.
fn stamp(at: u64) -> String {
    let rest = at.saturating_sub(START);
    let (day, second) = (rest / 86_400 + 1, rest % 86_400);
    format!(
        "2026-01-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
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
        let sent = Blocks::from(request.body.as_slice());
        if !told.is_empty() && told != sent.content_hash() {
            return refuse(&["content_hash_mismatch"]);
        }
        match request.path.trim_start_matches("/2/") {
            "files/upload" => {
                let answer = self.commit(&argument, sent);
                if answer.status == 409 {
                    with_reason(&answer)
                } else {
                    answer
                }
            }
            "files/upload_session/start" => {
                self.next += 1;
                let id = format!("session-{}", self.next);
                self.sessions.insert(id.clone(), sent);
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
            "files/move_v2" => self.relocate(&argument, true),
            "files/copy_v2" => self.relocate(&argument, false),
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
            "files/list_revisions" => self.revisions(&argument),
            "files/restore" => self.restore(&argument),
            "sharing/create_shared_link_with_settings" => self.share(&argument),
            "sharing/list_shared_links" => {
                let links: Vec<Value> = self
                    .links
                    .iter()
                    .filter_map(|link| self.link(link))
                    .collect();
                Answer::json(200, &json!({"links": links, "has_more": false}))
            }
            "sharing/revoke_shared_link" => {
                let before = self.links.len();
                let url = text(&argument, "url");
                self.links.retain(|link| link.url != url);
                if self.links.len() == before {
                    refuse(&["shared_link_not_found"])
                } else {
                    Answer::json(200, &Value::Null)
                }
            }
            "file_requests/create" => self.request_files(&argument),
            "file_requests/list_v2" => {
                let told: Vec<&Value> = self.requests.iter().map(|is| &is.told).collect();
                Answer::json(
                    200,
                    &json!({"file_requests": told, "cursor": "end", "has_more": false}),
                )
            }
            "file_requests/update" => {
                let id = text(&argument, "id");
                match self.requests.iter_mut().find(|is| is.id == id) {
                    Some(found) => {
                        if let Some(open) = argument["open"].as_bool() {
                            found.told["is_open"] = json!(open);
                        }
                        Answer::json(200, &found.told)
                    }
                    None => refuse(&["not_found"]),
                }
            }
            "file_requests/delete" => self.delete_requests(&argument),
            "users/get_space_usage" => Answer::json(
                200,
                &json!({"used": self.used(), "allocation": {".tag": "individual", "allocated": self.size_max.unwrap_or(2 << 30)}}),
            ),
            other => Answer::new(400).body(format!("unknown function {other}").into_bytes()),
        }
    }

    /// By path, by id, or by revision.
    fn entry(&self, path: &str) -> Option<Entry> {
        if let Some(id) = path.strip_prefix("id:") {
            return self
                .entries
                .values()
                .find(|entry| hex::encode(&entry.path) == id)
                .cloned();
        }
        if let Some(rev) = path.strip_prefix("rev:") {
            return self.by_rev(rev);
        }
        self.entries.get(&path.to_lowercase()).cloned()
    }

    fn by_rev(&self, rev: &str) -> Option<Entry> {
        let kept = self.history.values().flatten();
        kept.filter(|kept| kept.file.as_ref().is_some_and(|file| file.rev == rev))
            .map(|kept| Entry {
                path: kept.path.clone(),
                file: kept.file.clone(),
            })
            .next()
    }

    fn has_changed(&self, cursor: &str) -> bool {
        self.cursors
            .get(cursor)
            .is_some_and(|cursor| self.log.len() > cursor.log)
    }

    fn revisions(&self, argument: &Value) -> Answer {
        let key = text(argument, "path").to_lowercase();
        if self
            .entries
            .get(&key)
            .is_some_and(|entry| entry.file.is_none())
        {
            return refuse(&["path", "not_file"]);
        }
        let Some(kept) = self.history.get(&key) else {
            return refuse(&["path", "not_found"]);
        };
        let limit = argument["limit"].as_u64().unwrap_or(10);
        let entries: Vec<Value> = kept
            .iter()
            .rev()
            .filter(|kept| kept.file.is_some())
            .take(usize::try_from(limit).unwrap_or(10))
            .map(|kept| {
                let entry = Entry {
                    path: kept.path.clone(),
                    file: kept.file.clone(),
                };
                let mut told = entry.metadata();
                if let Some(map) = told.as_object_mut() {
                    map.remove(".tag");
                }
                told
            })
            .collect();
        let deleted = kept.last().filter(|kept| kept.file.is_none());
        let mut told =
            json!({"entries": entries, "is_deleted": deleted.is_some(), "has_more": false});
        if let Some(deleted) = deleted {
            told["server_deleted"] = json!(stamp(deleted.at));
        }
        Answer::json(200, &told)
    }

    fn restore(&mut self, argument: &Value) -> Answer {
        let (path, rev) = (text(argument, "path"), text(argument, "rev"));
        let kept = self.by_rev(&rev).and_then(|entry| entry.file);
        let Some(file) = kept else {
            return refuse(&["invalid_revision"]);
        };
        let entry = self.store(&path, file.bytes, Some(file.modified));
        let mut told = entry.metadata();
        if let Some(map) = told.as_object_mut() {
            map.remove(".tag");
        }
        Answer::json(200, &told)
    }

    fn share(&mut self, argument: &Value) -> Answer {
        let path = text(argument, "path").to_lowercase();
        if !self.entries.contains_key(&path) {
            return refuse(&["path", "not_found"]);
        }
        if self.links.iter().any(|link| link.path == path) {
            return refuse(&["shared_link_already_exists"]);
        }
        self.next += 1;
        let link = Link {
            url: format!("https://www.dropbox.com/scl/fi/{}", self.next),
            path,
            settings: argument["settings"].clone(),
        };
        self.links.push(link.clone());
        match self.link(&link) {
            Some(told) => Answer::json(200, &told),
            None => refuse(&["path", "not_found"]),
        }
    }

    fn link(&self, link: &Link) -> Option<Value> {
        let mut told = self.entries.get(&link.path)?.metadata();
        let password = link.settings["require_password"].as_bool() == Some(true);
        let audience = if password { "password" } else { "public" };
        let download = link.settings["allow_download"].as_bool() != Some(false);
        told["url"] = json!(link.url);
        told["link_permissions"] = json!({
            "can_revoke": true,
            "resolved_visibility": {".tag": audience},
            "effective_audience": {".tag": audience},
            "visibility_policies": [],
            "can_set_expiry": true,
            "can_remove_expiry": true,
            "allow_download": download,
            "can_allow_download": true,
            "can_disallow_download": true,
            "allow_comments": false,
            "team_restricts_comments": false,
            "require_password": password,
        });
        if let Some(expires) = link.settings["expires"].as_str() {
            told["expires"] = json!(expires);
        }
        Some(told)
    }

    fn request_files(&mut self, argument: &Value) -> Answer {
        self.next += 1;
        let id = format!("request{}", self.next);
        let mut told = json!({
            "id": id,
            "url": format!("https://www.dropbox.com/request/{id}"),
            "title": text(argument, "title"),
            "created": stamp(START + self.next),
            "is_open": argument["open"].as_bool() != Some(false),
            "file_count": 0,
            "destination": text(argument, "destination"),
        });
        if argument["deadline"].is_object() {
            told["deadline"] = argument["deadline"].clone();
        }
        let told_now = told.clone();
        self.requests.push(FileRequest { id, told });
        Answer::json(200, &told_now)
    }

    fn delete_requests(&mut self, argument: &Value) -> Answer {
        let ids: Vec<&str> = argument["ids"]
            .as_array()
            .map(|ids| ids.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let open = |is: &FileRequest| is.told["is_open"].as_bool() == Some(true);
        let chosen: Vec<&FileRequest> = self
            .requests
            .iter()
            .filter(|is| ids.contains(&is.id.as_str()))
            .collect();
        if chosen.len() < ids.len() {
            return refuse(&["not_found"]);
        }
        if chosen.iter().any(|is| open(is)) {
            return refuse(&["file_request_open"]);
        }
        let told: Vec<Value> = chosen.iter().map(|is| is.told.clone()).collect();
        self.requests.retain(|is| !ids.contains(&is.id.as_str()));
        Answer::json(200, &json!({"file_requests": told}))
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
        session.append(bytes);
        Answer::json(200, &Value::Null)
    }

    fn commit(&mut self, argument: &Value, bytes: Blocks) -> Answer {
        let path = text(argument, "path");
        let mode = argument["mode"]
            .as_str()
            .map_or_else(|| text(&argument["mode"], ".tag"), str::to_owned);
        for component in path.split('/') {
            if DISALLOWED.contains(&component.to_lowercase().as_str()) {
                return refuse(&["path", "disallowed_name"]);
            }
            if matches!(component, "." | "..") || component.chars().count() > 255 {
                return refuse(&["path", "malformed_path"]);
            }
        }
        let in_the_way = path.match_indices('/').skip(1).any(|(at, _)| {
            let above = self.entries.get(&path[..at].to_lowercase());
            above.is_some_and(|above| above.file.is_some())
        });
        if in_the_way {
            return refuse(&["path", "conflict", "file_ancestor"]);
        }
        let old = self.entries.get(&path.to_lowercase());
        let rev = old.and_then(|old| old.file.as_ref()).map(|file| &file.rev);
        let upon =
            mode == "update" && rev.is_some_and(|rev| *rev == text(&argument["mode"], "update"));
        if mode == "update" && old.is_none() {
            return refuse(&["path", "conflict", "file"]);
        }
        if old.is_some_and(|old| old.file.is_none()) {
            return refuse(&["path", "conflict", "folder"]);
        }
        let same = old
            .and_then(|old| old.file.as_ref())
            .is_some_and(|file| file.bytes == bytes);
        let strict = argument["strict_conflict"].as_bool() == Some(true);
        if old.is_some() && mode != "overwrite" && !upon && (strict || !same) {
            return refuse(&["path", "conflict", "file"]);
        }
        if self
            .size_max
            .is_some_and(|max| self.used() + bytes.len() > max)
        {
            return refuse(&["path", "insufficient_space"]);
        }
        let modified = argument["client_modified"].as_str().map(str::to_owned);
        let entry = self.store(&path, bytes, modified);
        Answer::json(200, &entry.metadata())
    }

    fn store(&mut self, path: &str, bytes: Blocks, modified: Option<String>) -> Entry {
        self.folders(path);
        self.next += 1;
        let at = START + self.next;
        let file = File {
            at,
            modified: modified.unwrap_or_else(|| stamp(at)),
            rev: format!("{:09x}", self.next),
            hash: bytes.content_hash(),
            bytes,
        };
        let entry = Entry {
            path: path.to_owned(),
            file: Some(file),
        };
        self.entries.insert(path.to_lowercase(), entry.clone());
        self.note(&entry, true);
        entry
    }

    /// Puts what happened to a path into its history and before the cursors.
    fn note(&mut self, entry: &Entry, present: bool) {
        let key = entry.path.to_lowercase();
        self.log.push(key.clone());
        if entry.file.is_some() {
            self.next += 1;
            let at = START + self.next;
            self.history.entry(key).or_default().push(Kept {
                path: entry.path.clone(),
                at,
                file: entry.file.clone().filter(|_| present),
            });
        }
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
            .map(|file| file.bytes.clone())
            .unwrap_or_default();
        Answer::part_of(request, bytes.len(), |start, end| bytes.range(start, end)).header(
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
        let mut answer = self.page(&Cursor {
            folder: folder.clone(),
            recursive,
            after: None,
            log: self.log.len(),
        });
        if argument["include_deleted"].as_bool() == Some(true) {
            let mut told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let gone = self.history.iter().filter(|(key, _)| {
                key.starts_with(&format!("{folder}/")) && !self.entries.contains_key(*key)
            });
            if let Some(entries) = told["entries"].as_array_mut() {
                entries.extend(gone.map(|(key, kept)| {
                    deleted(kept.last().map_or(key.as_str(), |kept| kept.path.as_str()))
                }));
            }
            answer = Answer::json(200, &told);
        }
        answer
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
                match self.entries.get(key) {
                    Some(entry) => entries.push(entry.metadata()),
                    None => {
                        let kept = self.history.get(key).and_then(|kept| kept.last());
                        entries.push(deleted(
                            kept.map_or(key.as_str(), |kept| kept.path.as_str()),
                        ));
                    }
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
        let gone: Vec<Entry> = self
            .entries
            .iter()
            .filter(|(other, _)| **other == key || other.starts_with(&below))
            .map(|(_, entry)| entry.clone())
            .collect();
        self.entries
            .retain(|other, _| *other != key && !other.starts_with(&below));
        for entry in gone {
            self.note(&entry, false);
        }
        Answer::json(200, &json!({"metadata": entry.metadata()}))
    }

    /// Moves a file, or copies it.
    fn relocate(&mut self, argument: &Value, moves: bool) -> Answer {
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
        if moves {
            self.entries.remove(&from);
            self.note(&entry, false);
        }
        self.folders(&to);
        let moved = Entry {
            path: to.clone(),
            ..entry
        };
        self.entries.insert(to.to_lowercase(), moved.clone());
        self.note(&moved, true);
        Answer::json(200, &json!({"metadata": moved.metadata()}))
    }
}

impl Entry {
    fn metadata(&self) -> Value {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let common = json!({"name": name, "path_lower": self.path.to_lowercase(), "path_display": self.path, "id": format!("id:{}", hex::encode(&self.path))});
        let mut value = common;
        match &self.file {
            None => value[".tag"] = json!("folder"),
            Some(file) => {
                value[".tag"] = json!("file");
                value["size"] = json!(file.bytes.len());
                value["rev"] = json!(file.rev);
                value["content_hash"] = json!(file.hash);
                value["server_modified"] = json!(stamp(file.at));
                value["client_modified"] = json!(file.modified);
                value["is_downloadable"] = json!(true);
            }
        }
        value
    }
}
