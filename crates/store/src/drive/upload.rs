//! Uploads to Drive: whole when small, else in a session that goes on after a failure.
//!
//! The address of a session is a secret: whoever has it can write the file. It is kept with the
//! other state, readable by its owner only, and never shown. Drive tells how many bytes a session
//! has, but not which: so a session goes on only with the content that it was begun with.
//!
//! Drive tells the checksum only when the file is there. A new file that is damaged is deleted at
//! once. One that is sent in place of another is sent again by who has patience; until that has
//! worked, the damaged bytes have the name, and the error says so.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Drive, FIELDS, File};
use crate::content::Part;
use crate::digest::Digest;
use crate::http::{Answer, Method, Request, encode, origin};
use crate::resume::{PartSent, Record, Upload};
use crate::{Content, DigestKind, Error, ErrorKind, Name, Object, Operation, digest_of};
use hex::FromHex;

/// Largest object that is sent in one request. Source: Google's limit is 5 MB.
const SINGLE_MAX: u64 = 5_000_000;

/// What one request of a session sends: a multiple of 256 KiB.
const PART_SIZE: u64 = 16 << 20;

/// Stands in the record for the content as a whole: parts are numbered from 1.
const WHOLE: u32 = 0;

/// Separates the parts of a small upload. The length of the metadata is bounded, and the content
/// comes last: a content that holds this text is read right all the same, by its position.
const BOUNDARY: &str = "ravelin-6f0c1d7e9a52";

impl Drive {
    pub(super) fn upload(&self, name: &Name, content: &dyn Content) -> Result<Object, Error> {
        let local = |error| Error::from_io(error, Operation::Write, name);
        let digest = digest_of(content, DigestKind::Md5).map_err(local)?;
        let existing = self.files(name, Operation::Write)?;
        if existing.len() > 1 {
            // Says so when they differ.
            self.file(name, Operation::Write)?;
        }
        let parent = self.make_folder(&name.folder(), Operation::Write)?;
        let file = if content.size() <= SINGLE_MAX {
            self.send_whole(name, content, existing.first(), &parent)?
        } else {
            self.send_session(name, content, digest, existing.first(), &parent)?
        };
        if file
            .md5_checksum
            .as_deref()
            .and_then(|md5| FromHex::from_hex(md5).ok())
            .map(Digest::Md5)
            != Some(digest)
            || file.size() != Some(content.size())
        {
            let why = if existing.is_empty() {
                let request = self.request(
                    Method::Delete,
                    &format!("files/{}", encode(&file.id)),
                    "drive delete",
                    Operation::Write,
                    name,
                );
                // What stays is found damaged by every read.
                let _ = self.http.call(&self.account, &request);
                "Drive has another checksum"
            } else {
                "Drive has another checksum; the damaged bytes have replaced the old ones"
            };
            return Err(Error::new(ErrorKind::Corrupt, Operation::Write)
                .on(name)
                .because(why));
        }
        // Copies of the same bytes that an interrupted program left behind.
        for copy in existing.iter().skip(1) {
            let request = self.request(
                Method::Delete,
                &format!("files/{}", encode(&copy.id)),
                "drive delete",
                Operation::Write,
                name,
            );
            self.http.call(&self.account, &request)?;
        }
        Ok(file.object(name.clone()))
    }

    /// What the file is to be, and where it is sent.
    fn target(
        &self,
        name: &Name,
        existing: Option<&File>,
        parent: &str,
    ) -> Result<(Method, String, Value), Error> {
        let base = format!(
            "{}/upload/drive/v3/files",
            self.http.environment.endpoints.drive
        );
        match existing {
            Some(file) => Ok((
                Method::Patch,
                format!("{base}/{}", encode(&file.id)),
                json!({}),
            )),
            None => {
                let id = self.new_id(Operation::Write, name)?;
                Ok((
                    Method::Post,
                    base,
                    json!({"id": id, "name": name.file_name(), "parents": [parent]}),
                ))
            }
        }
    }

    fn send_whole(
        &self,
        name: &Name,
        content: &dyn Content,
        existing: Option<&File>,
        parent: &str,
    ) -> Result<File, Error> {
        let local = |error| Error::from_io(error, Operation::Write, name);
        let (method, url, metadata) = self.target(name, existing, parent)?;
        let mut body = format!(
            "--{BOUNDARY}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{metadata}\r\n--{BOUNDARY}\r\nContent-Type: application/octet-stream\r\n\r\n"
        )
        .into_bytes();
        let start = body.len();
        std::io::Read::read_to_end(&mut content.open(0).map_err(local)?, &mut body)
            .map_err(local)?;
        if (body.len() - start) as u64 != content.size() {
            return Err(local(std::io::ErrorKind::UnexpectedEof.into()));
        }
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--").as_bytes());
        let request = Request::new(method, url, "drive upload", Operation::Write, name)
            .query("uploadType", "multipart")
            .query("fields", FIELDS)
            .header(
                "content-type",
                format!("multipart/related; boundary={BOUNDARY}"),
            )
            .bytes(body);
        match self.http.call(&self.account, &request) {
            // The id is ours alone: an earlier try has made the file.
            Err(error) if error.kind == ErrorKind::AlreadyExists && error.doubtful => {
                self.by_id(&metadata, name)
            }
            result => result?.json(),
        }
    }

    fn by_id(&self, metadata: &Value, name: &Name) -> Result<File, Error> {
        let id = metadata
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let request = self
            .request(
                Method::Get,
                &format!("files/{}", encode(id)),
                "drive get",
                Operation::Write,
                name,
            )
            .query("fields", FIELDS);
        self.http.call(&self.account, &request)?.json()
    }

    fn send_session(
        &self,
        name: &Name,
        content: &dyn Content,
        digest: Digest,
        existing: Option<&File>,
        parent: &str,
    ) -> Result<File, Error> {
        let place = format!("gdrive:{}", self.root);
        let record = Record::find(&self.http.environment, &place, name, content);
        let same = record.tag(WHOLE, &digest.to_hex()).is_some();
        let sent = match record.get().filter(|_| same) {
            Some(upload) => match self.send_rest(name, content, &upload.id, None) {
                // Sessions end after a week.
                Err(error) if error.kind == ErrorKind::NotFound => {
                    record.end();
                    self.send_new(name, content, digest, existing, parent, &record)
                }
                result => result,
            },
            None => self.send_new(name, content, digest, existing, parent, &record),
        };
        if sent.as_ref().err().is_none_or(|error| !error.is_passing()) {
            record.end();
        }
        sent
    }

    fn send_new(
        &self,
        name: &Name,
        content: &dyn Content,
        digest: Digest,
        existing: Option<&File>,
        parent: &str,
        record: &Record,
    ) -> Result<File, Error> {
        let (method, url, metadata) = self.target(name, existing, parent)?;
        let request = Request::new(method, url, "drive session", Operation::Write, name)
            .query("uploadType", "resumable")
            .query("fields", FIELDS)
            .header("x-upload-content-length", content.size().to_string())
            .json(&metadata);
        let answer = self.http.call(&self.account, &request)?;
        let address = answer.header("location").unwrap_or_default().to_owned();
        // The token is sent there.
        if origin(&address) != origin(&self.http.environment.endpoints.drive) {
            return Err(request
                .error(ErrorKind::Invalid)
                .because("Drive names an upload address elsewhere"));
        }
        let upload = Upload {
            id: address.clone(),
            size: content.size(),
            part_size: PART_SIZE,
            parts: BTreeMap::from([(
                WHOLE,
                PartSent {
                    digest: digest.to_hex(),
                    tag: String::new(),
                },
            )]),
        };
        record.start(upload);
        self.send_rest(name, content, &address, Some(0))
    }

    /// Sends what Drive does not have yet, from `at` where that is known. After each failure Drive is asked how far it is: that
    /// alone is true.
    fn send_rest(
        &self,
        name: &Name,
        content: &dyn Content,
        address: &str,
        mut at: Option<u64>,
    ) -> Result<File, Error> {
        if origin(address) != origin(&self.http.environment.endpoints.drive) {
            return Err(Error::new(ErrorKind::NotFound, Operation::Write).on(name));
        }
        let total = content.size();
        let environment = &self.http.environment;
        loop {
            // Patience is for each part, not for the whole.
            let sent = environment.patiently(|_| {
                let stuck = || {
                    let error = Error::new(ErrorKind::Unavailable, Operation::Write);
                    error.on(name).because("the upload does not go on")
                };
                let start = match at.take() {
                    Some(at) => at,
                    None => match self.position(name, address, total)? {
                        Sent::Done(file) => return Ok(Sent::Done(file)),
                        Sent::UpTo(at) if at < total => at,
                        Sent::UpTo(_) => return Err(stuck()),
                    },
                };
                let part = Part {
                    whole: content,
                    start,
                    size: PART_SIZE.min(total.saturating_sub(start)),
                };
                let range = format!("bytes {start}-{}/{total}", start + part.size.max(1) - 1);
                let request =
                    Request::new(Method::Put, address, "drive part", Operation::Write, name)
                        .header("content-range", range)
                        .content(&part)
                        .accept(&[308]);
                let sent = self.sent(self.http.call_once(&self.account, &request)?)?;
                match sent {
                    // Else the same part would be sent for ever.
                    Sent::UpTo(reached) if reached <= start || reached >= total => Err(stuck()),
                    sent => Ok(sent),
                }
            })?;
            match sent {
                Sent::Done(file) => return Ok(*file),
                Sent::UpTo(position) => at = Some(position),
            }
        }
    }

    fn position(&self, name: &Name, address: &str, total: u64) -> Result<Sent, Error> {
        let request = Request::new(
            Method::Put,
            address,
            "drive position",
            Operation::Write,
            name,
        )
        .header("content-range", format!("bytes */{total}"))
        .accept(&[308]);
        self.sent(self.http.call_once(&self.account, &request)?)
    }

    fn sent(&self, answer: Answer) -> Result<Sent, Error> {
        if answer.status != 308 {
            return Ok(Sent::Done(Box::new(answer.json()?)));
        }
        let last = answer
            .header("range")
            .and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok());
        Ok(Sent::UpTo(last.map_or(0, |last| last.saturating_add(1))))
    }
}

/// How far an upload is.
enum Sent {
    UpTo(u64),
    Done(Box<File>),
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::http::Script;
    use crate::{Environment, Patience};

    /// The answers to the parts of an upload of a byte more than goes in one request.
    fn sent(answers: &str) -> Result<File, Error> {
        let state = tempfile::tempdir().unwrap();
        crate::fuzz::sign_in(state.path()).unwrap();
        let mut environment = Environment {
            patience: Patience::NONE,
            state: Some(state.path().into()),
            ..Environment::fixed()
        };
        environment.script = Some(Arc::new(Script::read(answers.as_bytes())));
        let drive = Drive::new(None, "top", &environment).unwrap();
        let name = Name::new("name").unwrap();
        let content = vec![0; usize::try_from(PART_SIZE).unwrap() + 1];
        let address = format!("{}/upload", environment.endpoints.drive);
        drive.send_rest(&name, &content, &address, Some(0))
    }

    #[test]
    fn an_upload_that_does_not_go_on_is_given_up() {
        let done = "200\n\n{\"id\": \"x\", \"name\": \"name\"}";
        let part = "308\nrange: bytes=0-16777215\n";
        assert!(sent(&format!("{part}\n---\n{done}")).is_ok());
        for range in [
            "",
            "range: 0-18446744073709551615",
            "range: bytes=0-16777216",
        ] {
            let error = sent(&format!("308\n{range}\n\n---\n{done}")).err().unwrap();
            assert_eq!(error.kind, ErrorKind::Unavailable, "{range}");
        }
        let error = sent(&format!("{part}\n---\n{part}\n")).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }
}
