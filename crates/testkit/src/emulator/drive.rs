//! Google Drive's interface, version 3.
//!
//! Source: Google's reference of the Drive API; checked against google-api-python-client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::http::{Answer, Faults, HttpServer, Request};
use super::oauth::Tokens;

const FOLDER: &str = "application/vnd.google-apps.folder";

/// Chunks of a resumable upload but the last are multiples of this.
const GRAIN: usize = 256 << 10;

/// A Google Drive.
#[derive(Debug)]
pub struct DriveEmulator {
    server: HttpServer,
    /// What goes wrong.
    pub faults: Faults,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    base: String,
    tokens: Tokens,
    files: BTreeMap<String, File>,
    sessions: BTreeMap<String, Session>,
    next: u64,
    page: usize,
    size_max: Option<usize>,
}

#[derive(Debug, Clone)]
struct File {
    id: String,
    name: String,
    parents: Vec<String>,
    mime: String,
    bytes: Arc<Vec<u8>>,
    revision: u64,
    created: u64,
    trashed: bool,
}

#[derive(Debug)]
struct Session {
    /// The file to be replaced; else a new one.
    id: Option<String>,
    metadata: Value,
    bytes: Vec<u8>,
}

impl DriveEmulator {
    /// An empty Drive whose refresh token is `refresh-0`.
    #[must_use]
    pub fn start() -> Self {
        let faults = Faults::default();
        let state = Arc::new(Mutex::new(State {
            page: 1000,
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        let server = HttpServer::start(&faults, move |request| {
            shared
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .answer(request)
        });
        let emulator = Self {
            server,
            faults,
            state,
        };
        emulator.with(|state| state.base = emulator.server.url());
        emulator
    }

    /// Its address, of the interface and of the tokens.
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

    /// How many files a page of a listing has.
    pub fn set_page(&self, size: usize) {
        self.with(|state| state.page = size);
    }

    /// The quota in bytes.
    pub fn set_size_max(&self, size: usize) {
        self.with(|state| state.size_max = Some(size));
    }

    /// All upload sessions have ended, as they do after a week.
    pub fn forget_sessions(&self) {
        self.with(|state| state.sessions.clear());
    }

    /// The bytes of all files with this name that are not in the trash, the oldest first.
    #[must_use]
    pub fn objects(&self, name: &str) -> Vec<Vec<u8>> {
        self.with(|state| {
            let mut found: Vec<&File> = state
                .files
                .values()
                .filter(|file| file.name == name && !file.trashed)
                .collect();
            found.sort_by_key(|file| file.created);
            found.iter().map(|file| file.bytes.to_vec()).collect()
        })
    }

    /// Makes one more file of the same name and folder as an existing one, with other bytes.
    pub fn duplicate(&self, name: &str, bytes: &[u8]) {
        self.with(|state| {
            let parents = state
                .files
                .values()
                .find(|file| file.name == name)
                .map(|file| file.parents.clone())
                .unwrap_or_default();
            state.create(&json!({"name": name, "parents": parents}), bytes.to_vec());
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refuse(status: u16, reason: &str) -> Answer {
    Answer::json(
        status,
        &json!({"error": {"code": status, "message": reason, "errors": [{"domain": "global", "reason": reason, "message": reason}]}}),
    )
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
            "/authorize" => return self.tokens.authorize(request),
            "/token" => return self.tokens.token(request),
            "/device/code" => return self.tokens.device(&self.base),
            _ => {}
        }
        // The address of a session is good without a token.
        if let Some(id) = request.query.get("upload_id") {
            return self.put(request, &id.clone());
        }
        if !self.tokens.accepts(request) {
            return refuse(401, "authError");
        }
        let path = request.path.clone();
        if let Some(rest) = path.strip_prefix("/upload/drive/v3/files") {
            let id = rest.strip_prefix('/').map(str::to_owned);
            return self.upload(request, id);
        }
        let rest = path.strip_prefix("/drive/v3/").unwrap_or_default();
        match (request.method.as_str(), rest) {
            ("GET", "about") => {
                let used: usize = self.files.values().map(|file| file.bytes.len()).sum();
                Answer::json(
                    200,
                    &json!({"storageQuota": {"limit": self.size_max.unwrap_or(15 << 30).to_string(), "usage": used.to_string()}}),
                )
            }
            ("GET", "files/generateIds") => {
                let count = request
                    .query
                    .get("count")
                    .and_then(|count| count.parse().ok())
                    .unwrap_or(10);
                let ids: Vec<String> = (0..count).map(|_| self.new_id()).collect();
                Answer::json(
                    200,
                    &json!({"ids": ids, "space": "drive", "kind": "drive#generatedIds"}),
                )
            }
            ("GET", "files") => self.list(request),
            ("POST", "files") => self.made(&request.json(), Vec::new()),
            (method, rest) => {
                let id = rest.strip_prefix("files/").unwrap_or_default();
                let (id, is_copy) = match id.strip_suffix("/copy") {
                    Some(id) => (id, method == "POST"),
                    None => (id, false),
                };
                if !self.files.contains_key(id) {
                    return refuse(404, "notFound");
                }
                match method {
                    "POST" if is_copy => {
                        let bytes = self.files[id].bytes.to_vec();
                        self.made(&request.json(), bytes)
                    }
                    "GET" if request.query.get("alt").is_some_and(|alt| alt == "media") => {
                        Answer::content(request, &self.files[id].bytes)
                    }
                    "GET" => Answer::json(200, &self.files[id].resource()),
                    "DELETE" => {
                        self.files.remove(id);
                        Answer::new(204)
                    }
                    "PATCH" => self.update(request, id),
                    _ => refuse(400, "badRequest"),
                }
            }
        }
    }

    fn new_id(&mut self) -> String {
        self.next += 1;
        format!("id{:06}", self.next)
    }

    fn full(&self, more: usize) -> bool {
        let used: usize = self.files.values().map(|file| file.bytes.len()).sum();
        self.size_max.is_some_and(|max| used + more > max)
    }

    fn create(&mut self, metadata: &Value, bytes: Vec<u8>) -> String {
        let id = Some(text(metadata, "id")).filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| self.new_id());
        self.next += 1;
        let parents: Vec<String> = metadata["parents"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|id| Some(id.as_str()?.to_owned()))
            .collect();
        let mime = Some(text(metadata, "mimeType")).filter(|mime| !mime.is_empty());
        let file = File {
            id: id.clone(),
            name: text(metadata, "name"),
            parents: if parents.is_empty() {
                vec!["root".into()]
            } else {
                parents
            },
            mime: mime.unwrap_or_else(|| "application/octet-stream".into()),
            bytes: Arc::new(bytes),
            revision: self.next,
            created: self.next,
            trashed: false,
        };
        self.files.insert(id.clone(), file);
        id
    }

    fn made(&mut self, metadata: &Value, bytes: Vec<u8>) -> Answer {
        if self.files.contains_key(&text(metadata, "id")) {
            return refuse(409, "fileIdInUse");
        }
        if self.full(bytes.len()) {
            return refuse(403, "storageQuotaExceeded");
        }
        let parents = metadata["parents"].as_array().into_iter().flatten();
        if parents
            .filter_map(Value::as_str)
            .any(|parent| parent != "root" && !self.files.contains_key(parent))
        {
            return refuse(404, "notFound");
        }
        let id = self.create(metadata, bytes);
        Answer::json(200, &self.files[&id].resource())
    }

    fn replaced(&mut self, id: &str, metadata: &Value, bytes: Vec<u8>) -> Answer {
        if self.full(bytes.len()) {
            return refuse(403, "storageQuotaExceeded");
        }
        self.next += 1;
        let revision = self.next;
        let Some(file) = self.files.get_mut(id) else {
            return refuse(404, "notFound");
        };
        file.bytes = Arc::new(bytes);
        file.revision = revision;
        if let Some(name) = metadata["name"].as_str() {
            name.clone_into(&mut file.name);
        }
        Answer::json(200, &file.resource())
    }

    fn update(&mut self, request: &Request, id: &str) -> Answer {
        let metadata = request.json();
        // Parents are moved by the query; in the body they are an error.
        if metadata.get("parents").is_some() || metadata.get("addParents").is_some() {
            return refuse(403, "fieldNotWritable");
        }
        let Some(file) = self.files.get_mut(id) else {
            return refuse(404, "notFound");
        };
        if let Some(removed) = request.query.get("removeParents") {
            file.parents
                .retain(|parent| !removed.split(',').any(|id| id == parent));
        }
        if let Some(added) = request.query.get("addParents") {
            file.parents.extend(added.split(',').map(str::to_owned));
        }
        if let Some(name) = metadata["name"].as_str() {
            name.clone_into(&mut file.name);
        }
        if let Some(trashed) = metadata["trashed"].as_bool() {
            file.trashed = trashed;
        }
        Answer::json(200, &file.resource())
    }

    fn upload(&mut self, request: &Request, id: Option<String>) -> Answer {
        match request.query.get("uploadType").map_or("", String::as_str) {
            "media" => self.stored(id, &json!({"name": "Untitled"}), request.body.clone()),
            "multipart" => match split_multipart(request) {
                Some((metadata, bytes)) => self.stored(id, &metadata, bytes),
                None => refuse(400, "badRequest"),
            },
            "resumable" => {
                let upload_id = format!("session-{}", self.new_id());
                self.sessions.insert(
                    upload_id.clone(),
                    Session {
                        id,
                        metadata: request.json(),
                        bytes: Vec::new(),
                    },
                );
                // A client that came under the service's own name stays there.
                let base = match request.header("host") {
                    host if host.ends_with("googleapis.com") => format!("https://{host}"),
                    _ => self.base.clone(),
                };
                let address = format!(
                    "{base}/upload/drive/v3/files?uploadType=resumable&upload_id={upload_id}"
                );
                Answer::new(200).header("location", address)
            }
            _ => refuse(400, "badRequest"),
        }
    }

    fn stored(&mut self, id: Option<String>, metadata: &Value, bytes: Vec<u8>) -> Answer {
        match id {
            Some(id) => self.replaced(&id, metadata, bytes),
            None => self.made(metadata, bytes),
        }
    }

    fn put(&mut self, request: &Request, upload_id: &str) -> Answer {
        let Some(session) = self.sessions.get_mut(upload_id) else {
            return refuse(404, "notFound");
        };
        let range = request
            .header("content-range")
            .trim_start_matches("bytes ")
            .to_owned();
        let (range, total) = range.split_once('/').unwrap_or(("", "*"));
        let total: Option<usize> = total.parse().ok();
        if let Some((start, _)) = range.split_once('-') {
            if start.parse() != Ok(session.bytes.len()) {
                return refuse(400, "badRequest");
            }
            let last = total == Some(session.bytes.len() + request.body.len());
            if !last && !request.body.len().is_multiple_of(GRAIN) {
                return refuse(400, "badRequest");
            }
            session.bytes.extend_from_slice(&request.body);
        } else if range.is_empty() {
            session.bytes.clone_from(&request.body);
        }
        if total == Some(session.bytes.len()) || range.is_empty() {
            let Some(session) = self.sessions.remove(upload_id) else {
                return refuse(404, "notFound");
            };
            return self.stored(session.id, &session.metadata, session.bytes);
        }
        let answer = Answer::new(308);
        match session.bytes.len() {
            0 => answer,
            size => answer.header("range", format!("bytes=0-{}", size - 1)),
        }
    }

    fn list(&self, request: &Request) -> Answer {
        let query = request.query.get("q").map_or("", String::as_str);
        let mut found: Vec<&File> = self
            .files
            .values()
            .filter(|file| matches(query, file))
            .collect();
        found.sort_by_key(|file| std::cmp::Reverse(file.created));
        let wanted = request
            .query
            .get("pageSize")
            .and_then(|size| size.parse().ok())
            .unwrap_or(100);
        let size: usize = self.page.min(wanted);
        // A token is the place of the last file given, so that what comes or goes shifts nothing.
        let after: u64 = request
            .query
            .get("pageToken")
            .and_then(|token| token.parse().ok())
            .unwrap_or(u64::MAX);
        let rest: Vec<&File> = found
            .into_iter()
            .filter(|file| file.created < after)
            .collect();
        let page: Vec<&File> = rest.iter().take(size).copied().collect();
        let mut answer = json!({"kind": "drive#fileList", "incompleteSearch": false, "files": page.iter().map(|file| file.resource()).collect::<Vec<_>>()});
        if let Some(last) = page.last().filter(|_| rest.len() > size) {
            answer["nextPageToken"] = json!(last.created.to_string());
        }
        Answer::json(200, &answer)
    }
}

impl File {
    fn resource(&self) -> Value {
        let mut value = json!({"kind": "drive#file", "id": self.id, "name": self.name, "mimeType": self.mime, "parents": self.parents,
            "trashed": self.trashed, "createdTime": time(self.created), "modifiedTime": time(self.revision)});
        if self.mime != FOLDER {
            value["size"] = json!(self.bytes.len().to_string());
            value["md5Checksum"] = json!(hex::encode(Md5::digest(&*self.bytes)));
            value["headRevisionId"] = json!(format!("rev{}", self.revision));
        }
        value
    }
}

/// A time that grows with a number.
fn time(number: u64) -> String {
    format!(
        "2026-01-01T{:02}:{:02}:{:02}.{:03}Z",
        number / 3_600_000 % 24,
        number / 60_000 % 60,
        number / 1000 % 60,
        number % 1000
    )
}

/// Metadata and bytes of a multipart body. Line ends may be of either kind.
fn split_multipart(request: &Request) -> Option<(Value, Vec<u8>)> {
    let boundary = request
        .header("content-type")
        .split("boundary=")
        .nth(1)?
        .trim_matches('"')
        .to_owned();
    let mark = format!("--{boundary}").into_bytes();
    let find = |from: usize| {
        request.body[from..]
            .windows(mark.len())
            .position(|window| window == mark)
            .map(|at| from + at)
    };
    let first = find(0)? + mark.len();
    let second = find(first)?;
    let last = request
        .body
        .windows(mark.len())
        .rposition(|window| window == mark)?;
    let metadata = after_head(&request.body[first..second])?;
    let content = after_head(&request.body[second + mark.len()..last])?;
    let content = content
        .strip_suffix(b"\r\n")
        .or_else(|| content.strip_suffix(b"\n"))?;
    Some((serde_json::from_slice(metadata).ok()?, content.to_vec()))
}

fn after_head(part: &[u8]) -> Option<&[u8]> {
    let crlf = part
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4);
    let lf = part
        .windows(2)
        .position(|window| window == b"\n\n")
        .map(|at| at + 2);
    let start = match (crlf, lf) {
        (Some(crlf), Some(lf)) => crlf.min(lf),
        (crlf, lf) => crlf.or(lf)?,
    };
    Some(&part[start..])
}

/// Whether a file fits a query.
fn matches(query: &str, file: &File) -> bool {
    let query = query.trim();
    let inner = query
        .strip_prefix('(')
        .and_then(|rest| rest.strip_suffix(')'))
        .filter(|inner| is_balanced(inner));
    if let Some(inner) = inner {
        return matches(inner, file);
    }
    if let Some((left, right)) = split_at(query, " or ") {
        return matches(left, file) || matches(right, file);
    }
    if let Some((left, right)) = split_at(query, " and ") {
        return matches(left, file) && matches(right, file);
    }
    if let Some((id, "parents")) = query.split_once(" in ") {
        return file.parents.contains(&unquote(id));
    }
    let (equal, left, right) = match (query.split_once("!="), query.split_once('=')) {
        (Some((left, right)), _) => (false, left, right),
        (None, Some((left, right))) => (true, left, right),
        (None, None) => return query.is_empty(),
    };
    let right = right.trim();
    let same = match left.trim() {
        "name" => file.name.to_lowercase() == unquote(right).to_lowercase(),
        "mimeType" => file.mime == unquote(right),
        "trashed" => file.trashed.to_string() == right,
        _ => false,
    };
    same == equal
}

/// Splits at a word that stands outside of quotes and parentheses.
fn split_at<'a>(query: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    query
        .match_indices(word)
        .map(|(at, _)| (&query[..at], &query[at + word.len()..]))
        .find(|(left, _)| is_balanced(left))
}

fn is_balanced(text: &str) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return false;
        }
    }
    depth == 0 && !quoted
}

fn unquote(text: &str) -> String {
    let mut plain = String::new();
    let mut escaped = false;
    for character in text.trim().trim_start_matches('\'').chars() {
        match character {
            _ if escaped => {
                plain.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '\'' => break,
            _ => plain.push(character),
        }
    }
    plain
}
