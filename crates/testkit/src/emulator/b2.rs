//! Backblaze B2's own interface.
//!
//! Source: Backblaze's documentation of the B2 Native API; checked against b2sdk, the
//! `b2` tool and rclone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use super::http::{Answer, Faults, HttpServer, Request, decode};

/// Smallest part of a large file: much less than the real one, so that tests stay small.
const PART_MIN: usize = 1 << 20;

/// A B2 account with one bucket.
#[derive(Debug)]
pub struct B2Emulator {
    server: HttpServer,
    /// What goes wrong.
    pub faults: Faults,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    base: String,
    bucket: String,
    /// What the key may do.
    capabilities: Vec<String>,
    /// Counts up when tokens are declared expired.
    generation: u64,
    versions: Vec<Version>,
    large: BTreeMap<String, Large>,
    next: u64,
    page: usize,
    size_max: Option<usize>,
    /// The mode in which the bucket locks new objects.
    retention: Option<&'static str>,
}

#[derive(Debug, Clone)]
struct Version {
    id: String,
    name: String,
    bytes: Arc<Vec<u8>>,
    sha1: String,
    action: &'static str,
    time: u64,
    info: Value,
    content_type: String,
}

#[derive(Debug, Clone)]
struct Large {
    name: String,
    parts: BTreeMap<u32, (Vec<u8>, String)>,
    info: Value,
    content_type: String,
}

/// All that a master key may do here.
const ALL: [&str; 9] = [
    "listBuckets",
    "writeBuckets",
    "readBuckets",
    "readBucketRetentions",
    "listFiles",
    "readFiles",
    "writeFiles",
    "deleteFiles",
    "shareFiles",
];

impl B2Emulator {
    /// An account with key id `key`, secret `secret` and the bucket `bucket`.
    #[must_use]
    pub fn start() -> Self {
        let faults = Faults::default();
        let state = Arc::new(Mutex::new(State {
            bucket: "bucket".into(),
            capabilities: ALL.map(str::to_owned).to_vec(),
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

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// All tokens given so far have expired.
    pub fn expire(&self) {
        self.with(|state| state.generation += 1);
    }

    /// The key may do only this.
    pub fn set_capabilities(&self, capabilities: &[&str]) {
        self.with(|state| {
            state.capabilities = capabilities.iter().map(ToString::to_string).collect();
        });
    }

    /// The bucket locks new objects in this mode: `compliance` or `governance`. Told to keys that
    /// may know; deletions are not refused here.
    pub fn set_retention(&self, mode: &'static str) {
        self.with(|state| state.retention = Some(mode));
    }

    /// How many objects a page of a listing has.
    pub fn set_page(&self, size: usize) {
        self.with(|state| state.page = size);
    }

    /// The account's cap in bytes.
    pub fn set_size_max(&self, size: usize) {
        self.with(|state| state.size_max = Some(size));
    }

    /// The bytes of the newest version of a name, unless it is hidden.
    #[must_use]
    pub fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.with(|state| state.newest(name).map(|version| version.bytes.to_vec()))
    }

    /// Puts an object there, as if another client had.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        self.with(|state| {
            state.add(name, bytes.to_vec(), "upload", json!({}), "b2/x-auto");
        });
    }

    /// How many versions there are in all, hidden ones and hide markers included.
    #[must_use]
    pub fn versions(&self) -> usize {
        self.with(|state| state.versions.len())
    }

    /// How many large files were begun and not finished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.with(|state| state.large.len())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn refuse(status: u16, code: &str) -> Answer {
    Answer::json(
        status,
        &json!({"status": status, "code": code, "message": code}),
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
        let path = request.path.clone();
        if let Some(rest) = path.strip_prefix("/file/") {
            return self.download(request, rest);
        }
        let operation = path.rsplit('/').next().unwrap_or_default().to_owned();
        if path.contains("/upload/") {
            return self.upload(request, &path);
        }
        if operation == "b2_authorize_account" {
            return self.authorize(request);
        }
        if operation == "b2_download_file_by_id" {
            let id = request
                .query
                .get("fileId")
                .cloned()
                .unwrap_or_else(|| text(&request.json(), "fileId"));
            let found = self
                .versions
                .iter()
                .find(|version| version.id == id)
                .cloned();
            return found.map_or_else(
                || refuse(404, "not_found"),
                |version| Self::give(request, &version),
            );
        }
        if request.header("authorization") != self.token() {
            return refuse(401, "expired_auth_token");
        }
        let needed = match operation.as_str() {
            "b2_list_buckets" => "listBuckets",
            "b2_list_file_names"
            | "b2_list_file_versions"
            | "b2_list_unfinished_large_files"
            | "b2_list_parts" => "listFiles",
            "b2_delete_file_version" => "deleteFiles",
            "b2_get_file_info" => "readFiles",
            _ => "writeFiles",
        };
        if !self.capabilities.iter().any(|has| has == needed) {
            return refuse(401, "unauthorized");
        }
        let body = request.json();
        match operation.as_str() {
            "b2_list_buckets" => Answer::json(200, &json!({"buckets": [self.bucket_info()]})),
            "b2_create_bucket" | "b2_update_bucket" => Answer::json(200, &self.bucket_info()),
            "b2_get_upload_url" => {
                self.next += 1;
                let url = format!("{}/b2api/v4/upload/file/{}", self.base, self.next);
                Answer::json(
                    200,
                    &json!({"bucketId": "b1", "uploadUrl": url, "authorizationToken": self.token()}),
                )
            }
            "b2_get_upload_part_url" => {
                self.next += 1;
                let id = text(&body, "fileId");
                let url = format!("{}/b2api/v4/upload/part/{id}/{}", self.base, self.next);
                Answer::json(
                    200,
                    &json!({"fileId": id, "uploadUrl": url, "authorizationToken": self.token()}),
                )
            }
            "b2_list_file_names" => self.list(&body, false),
            "b2_list_file_versions" => self.list(&body, true),
            "b2_hide_file" => {
                let version = self.add(
                    &text(&body, "fileName"),
                    Vec::new(),
                    "hide",
                    json!({}),
                    "application/x-bz-hide-marker",
                );
                Answer::json(200, &version.info())
            }
            "b2_delete_file_version" => {
                let id = text(&body, "fileId");
                let before = self.versions.len();
                self.versions.retain(|version| version.id != id);
                if before == self.versions.len() {
                    refuse(400, "file_not_present")
                } else {
                    Answer::json(200, &body)
                }
            }
            "b2_get_file_info" => {
                let id = text(&body, "fileId");
                let found = self.versions.iter().find(|version| version.id == id);
                found.map_or_else(
                    || refuse(404, "not_found"),
                    |version| Answer::json(200, &version.info()),
                )
            }
            "b2_copy_file" => {
                let id = text(&body, "sourceFileId");
                let Some(source) = self
                    .versions
                    .iter()
                    .find(|version| version.id == id)
                    .cloned()
                else {
                    return refuse(404, "not_found");
                };
                let version = self.add(
                    &text(&body, "fileName"),
                    source.bytes.to_vec(),
                    "upload",
                    source.info.clone(),
                    &source.content_type,
                );
                Answer::json(200, &version.info())
            }
            "b2_start_large_file" => {
                self.next += 1;
                let id = format!("large{}", self.next);
                let (name, info) = (
                    text(&body, "fileName"),
                    body.get("fileInfo").cloned().unwrap_or_default(),
                );
                let content_type = text(&body, "contentType");
                let answer = json!({"fileId": id, "fileName": name, "accountId": "a1", "bucketId": "b1", "action": "start",
                    "contentType": content_type, "fileInfo": info, "uploadTimestamp": self.next, "contentLength": 0, "contentSha1": null});
                self.large.insert(
                    id,
                    Large {
                        name,
                        parts: BTreeMap::new(),
                        info,
                        content_type,
                    },
                );
                Answer::json(200, &answer)
            }
            "b2_list_parts" => {
                let Some(large) = self.large.get(&text(&body, "fileId")) else {
                    return refuse(400, "bad_request");
                };
                let parts: Vec<Value> = large
                    .parts
                    .iter()
                    .map(|(number, (bytes, sha1))| json!({"partNumber": number, "contentLength": bytes.len(), "contentSha1": sha1, "fileId": text(&body, "fileId"), "uploadTimestamp": 1}))
                    .collect();
                Answer::json(200, &json!({"parts": parts, "nextPartNumber": null}))
            }
            "b2_list_unfinished_large_files" => {
                let files: Vec<Value> = self
                    .large
                    .iter()
                    .map(|(id, large)| json!({"fileId": id, "fileName": large.name, "accountId": "a1", "bucketId": "b1", "action": "start", "contentType": large.content_type, "fileInfo": large.info, "uploadTimestamp": 1}))
                    .collect();
                Answer::json(200, &json!({"files": files, "nextFileId": null}))
            }
            "b2_cancel_large_file" => match self.large.remove(&text(&body, "fileId")) {
                Some(large) => Answer::json(
                    200,
                    &json!({"fileId": text(&body, "fileId"), "fileName": large.name, "accountId": "a1", "bucketId": "b1"}),
                ),
                None => refuse(400, "bad_request"),
            },
            "b2_finish_large_file" => self.finish(&body),
            _ => refuse(400, "bad_request"),
        }
    }

    fn token(&self) -> String {
        format!("token-{}", self.generation)
    }

    fn bucket_info(&self) -> Value {
        let may = self
            .capabilities
            .iter()
            .any(|has| has == "readBucketRetentions");
        let period = self
            .retention
            .map(|_| json!({"duration": 30, "unit": "days"}));
        let lock = json!({"isFileLockEnabled": self.retention.is_some(),
            "defaultRetention": {"mode": self.retention, "period": period}});
        json!({"accountId": "a1", "bucketId": "b1", "bucketName": self.bucket, "bucketType": "allPrivate", "bucketInfo": {},
            "corsRules": [], "lifecycleRules": [], "revision": 1, "options": [],
            "defaultServerSideEncryption": {"isClientAuthorizedToRead": true, "value": {"algorithm": null, "mode": null}},
            "fileLockConfiguration": {"isClientAuthorizedToRead": may, "value": may.then_some(lock)}})
    }

    fn authorize(&self, request: &Request) -> Answer {
        // `key:secret`
        if request.header("authorization") != "Basic a2V5OnNlY3JldA==" {
            return refuse(401, "bad_auth_token");
        }
        let all = self.capabilities.len() == ALL.len();
        let old = json!({"capabilities": self.capabilities, "bucketId": null, "bucketName": null, "namePrefix": null});
        let new = json!({"capabilities": self.capabilities, "namePrefix": null,
            "buckets": if all { Value::Null } else { json!([{"id": "b1", "name": self.bucket}]) }});
        let mut storage = json!({"apiUrl": self.base, "downloadUrl": self.base, "s3ApiUrl": self.base,
            "recommendedPartSize": 5 * PART_MIN, "absoluteMinimumPartSize": PART_MIN, "infoType": "storageApi", "allowed": new});
        if !request.path.contains("/v4/") {
            storage["bucketId"] = Value::Null;
            storage["bucketName"] = Value::Null;
            storage["namePrefix"] = Value::Null;
            storage["capabilities"] = json!(self.capabilities);
        }
        Answer::json(
            200,
            &json!({"accountId": "a1", "authorizationToken": self.token(), "applicationKeyExpirationTimestamp": null,
                "apiInfo": {"storageApi": storage},
                // The form of the first version.
                "apiUrl": self.base, "downloadUrl": self.base, "recommendedPartSize": 5 * PART_MIN,
                "absoluteMinimumPartSize": PART_MIN, "minimumPartSize": PART_MIN, "allowed": old, "s3ApiUrl": self.base}),
        )
    }

    fn add(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        action: &'static str,
        info: Value,
        content_type: &str,
    ) -> Version {
        self.next += 1;
        let version = Version {
            id: format!("4_z{:08}", self.next),
            name: name.to_owned(),
            sha1: hex::encode(Sha1::digest(&bytes)),
            bytes: Arc::new(bytes),
            action,
            time: 1_700_000_000_000 + self.next,
            info,
            content_type: content_type.to_owned(),
        };
        self.versions.push(version.clone());
        version
    }

    fn newest(&self, name: &str) -> Option<&Version> {
        let newest = self
            .versions
            .iter()
            .rev()
            .find(|version| version.name == name)?;
        (newest.action == "upload").then_some(newest)
    }

    fn upload(&mut self, request: &Request, path: &str) -> Answer {
        if request.header("authorization") != self.token() {
            return refuse(401, "expired_auth_token");
        }
        let mut body = request.body.clone();
        let mut sha1 = request.header("x-bz-content-sha1").to_owned();
        if sha1 == "hex_digits_at_end" {
            let tail = body.split_off(body.len().saturating_sub(40));
            sha1 = String::from_utf8_lossy(&tail).into_owned();
        }
        let actual = hex::encode(Sha1::digest(&body));
        if sha1 != actual && sha1 != "do_not_verify" && sha1 != format!("unverified:{actual}") {
            return refuse(400, "bad_request");
        }
        let used: usize = self
            .versions
            .iter()
            .map(|version| version.bytes.len())
            .sum();
        if self.size_max.is_some_and(|max| used + body.len() > max) {
            return refuse(403, "storage_cap_exceeded");
        }
        if let Some(rest) = path.split("/upload/part/").nth(1) {
            let id = rest.split('/').next().unwrap_or_default();
            let number: u32 = request.header("x-bz-part-number").parse().unwrap_or(0);
            let Some(large) = self.large.get_mut(id) else {
                return refuse(400, "bad_request");
            };
            let answer = json!({"fileId": id, "partNumber": number, "contentLength": body.len(), "contentSha1": actual, "uploadTimestamp": 1});
            large.parts.insert(number, (body, actual));
            return Answer::json(200, &answer);
        }
        let name = decode(request.header("x-bz-file-name"));
        let info: serde_json::Map<String, Value> = request
            .headers
            .iter()
            .filter_map(|(key, value)| {
                Some((
                    key.strip_prefix("x-bz-info-")?.to_owned(),
                    json!(decode(value)),
                ))
            })
            .collect();
        let version = self.add(
            &name,
            body,
            "upload",
            info.into(),
            request.header("content-type"),
        );
        Answer::json(200, &version.info())
    }

    fn finish(&mut self, body: &Value) -> Answer {
        let id = text(body, "fileId");
        let Some(large) = self.large.get(&id) else {
            return refuse(400, "bad_request");
        };
        let told: Vec<String> = body["partSha1Array"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|sha1| Some(sha1.as_str()?.to_owned()))
            .collect();
        let kept: Vec<String> = large.parts.values().map(|(_, sha1)| sha1.clone()).collect();
        let numbered = large
            .parts
            .keys()
            .copied()
            .eq(1..=u32::try_from(large.parts.len()).unwrap_or(0));
        let last = large.parts.len().saturating_sub(1);
        let big = large
            .parts
            .values()
            .take(last)
            .all(|(bytes, _)| bytes.len() >= PART_MIN);
        if told != kept || !numbered || !big || kept.is_empty() {
            return refuse(400, "bad_request");
        }
        let bytes = large
            .parts
            .values()
            .flat_map(|(bytes, _)| bytes.clone())
            .collect();
        let large = large.clone();
        self.large.remove(&id);
        let mut version = self.add(
            &large.name,
            bytes,
            "upload",
            large.info,
            &large.content_type,
        );
        // The service does not know the checksum of a whole large file.
        version.sha1 = "none".into();
        if let Some(last) = self.versions.last_mut() {
            last.sha1.clone_from(&version.sha1);
        }
        Answer::json(200, &version.info())
    }

    fn list(&self, body: &Value, all: bool) -> Answer {
        let (prefix, delimiter) = (text(body, "prefix"), text(body, "delimiter"));
        let (start, start_id) = (text(body, "startFileName"), text(body, "startFileId"));
        let max = body["maxFileCount"]
            .as_u64()
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(100)
            .min(self.page);
        // Sorted by name, the newest first.
        let mut sorted: Vec<&Version> = self.versions.iter().rev().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let mut files: Vec<Value> = Vec::new();
        let mut last: Option<&str> = None;
        let mut folders = std::collections::BTreeSet::new();
        let mut begun = start_id.is_empty();
        for version in sorted {
            if !version.name.starts_with(&prefix) || version.name < start {
                continue;
            }
            if !begun {
                begun = version.name > start || version.id == start_id;
                if !begun {
                    continue;
                }
            }
            let first = last != Some(version.name.as_str());
            last = Some(&version.name);
            if !all && (!first || version.action != "upload") {
                continue;
            }
            let rest = version.name.get(prefix.len()..).unwrap_or_default();
            let folder = rest
                .split_once('/')
                .filter(|_| !delimiter.is_empty())
                .map(|(folder, _)| format!("{prefix}{folder}/"));
            if let Some(folder) = &folder
                && folders.contains(folder)
            {
                continue;
            }
            if files.len() == max {
                return Answer::json(
                    200,
                    &json!({"files": files, "nextFileName": version.name, "nextFileId": version.id}),
                );
            }
            match folder {
                Some(folder) => {
                    files.push(json!({"action": "folder", "fileName": folder, "fileId": null, "contentLength": 0, "size": 0, "uploadTimestamp": 0}));
                    folders.insert(folder);
                }
                None => files.push(version.info()),
            }
        }
        Answer::json(
            200,
            &json!({"files": files, "nextFileName": null, "nextFileId": null}),
        )
    }

    fn download(&self, request: &Request, rest: &str) -> Answer {
        if request.header("authorization") != self.token() {
            return refuse(401, "expired_auth_token");
        }
        let name = rest
            .strip_prefix(&format!("{}/", self.bucket))
            .unwrap_or_default();
        let found = self.newest(name);
        found.map_or_else(
            || refuse(404, "not_found"),
            |version| Self::give(request, version),
        )
    }

    fn give(request: &Request, version: &Version) -> Answer {
        let mut answer = Answer::content(request, &version.bytes)
            .header("x-bz-file-id", version.id.clone())
            .header(
                "x-bz-file-name",
                version
                    .name
                    .bytes()
                    .map(|byte| format!("%{byte:02X}"))
                    .collect::<String>(),
            )
            .header("x-bz-content-sha1", version.sha1.clone())
            .header("x-bz-upload-timestamp", version.time.to_string())
            .header("accept-ranges", "bytes")
            .header("content-type", version.content_type.clone());
        for (key, value) in version.info.as_object().into_iter().flatten() {
            answer = answer.header(
                &format!("x-bz-info-{key}"),
                value.as_str().unwrap_or_default(),
            );
        }
        answer
    }
}

impl Version {
    fn info(&self) -> Value {
        json!({"accountId": "a1", "bucketId": "b1", "action": self.action, "fileId": if self.action == "folder" { Value::Null } else { json!(self.id) },
            "fileName": self.name, "contentLength": self.bytes.len(), "size": self.bytes.len(), "contentSha1": self.sha1,
            "contentMd5": null, "serverSideEncryption": {"algorithm": null, "mode": null},
            "fileRetention": {"isClientAuthorizedToRead": true, "value": {"mode": null, "retainUntilTimestamp": null}},
            "legalHold": {"isClientAuthorizedToRead": true, "value": null}, "contentType": self.content_type, "fileInfo": self.info, "uploadTimestamp": self.time})
    }
}
