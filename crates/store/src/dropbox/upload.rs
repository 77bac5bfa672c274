//! Uploads to Dropbox: whole when small, else in a session that goes on after a failure.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Dropbox, Metadata};
use crate::content::Part;
use crate::digest::Digest;
use crate::http::Method;
use crate::resume::{PartSent, Record, Upload, parts};
use crate::{Content, DigestKind, Error, ErrorKind, Name, Object, Operation, WriteMode, digest_of};
use hex::FromHex;

/// Largest object that is sent in one request.
const SINGLE_MAX: u64 = 8 << 20;

/// What one request of a session sends: a multiple of 4 MiB.
const PART_SIZE: u64 = 16 << 20;

#[derive(Deserialize)]
struct Session {
    session_id: String,
}

impl Dropbox {
    pub(super) fn upload(
        &self,
        name: &Name,
        content: &dyn Content,
        mode: WriteMode,
    ) -> Result<Object, Error> {
        self.upload_as(name, content, &self.commit(name, mode))
    }

    /// Uploads as these arguments of a commit say.
    pub(super) fn upload_as(
        &self,
        name: &Name,
        content: &dyn Content,
        commit: &Value,
    ) -> Result<Object, Error> {
        match self.upload_once(name, content, commit) {
            Err(error) if is_folder(&error) && self.clear_folder(name)? => {
                self.upload_once(name, content, commit)
            }
            result => result,
        }
    }

    fn upload_once(
        &self,
        name: &Name,
        content: &dyn Content,
        commit: &Value,
    ) -> Result<Object, Error> {
        let hash = self.hash(name, content)?;
        let metadata = if content.size() <= SINGLE_MAX {
            let mut arguments = commit.clone();
            arguments["content_hash"] = json!(hash.to_hex());
            self.send("files/upload", &arguments, content, name)?
                .json()?
        } else {
            self.upload_session(name, content, commit)?
        };
        let metadata: Metadata = metadata;
        if metadata.size != content.size()
            || metadata
                .content_hash
                .as_deref()
                .and_then(|hash| FromHex::from_hex(hash).ok())
                .map(Digest::Dropbox)
                != Some(hash)
        {
            return Err(Error::new(ErrorKind::Corrupt, Operation::Write)
                .on(name)
                .because("Dropbox has another content hash"));
        }
        Ok(metadata.object(name.clone()))
    }

    fn hash(&self, name: &Name, content: &dyn Content) -> Result<Digest, Error> {
        digest_of(content, DigestKind::Dropbox)
            .map_err(|error| Error::from_io(error, Operation::Write, name))
    }

    /// What the upload is to become.
    fn commit(&self, name: &Name, mode: WriteMode) -> Value {
        let path = self.path(name.as_str());
        match mode {
            WriteMode::Replace => json!({"path": path, "mode": "overwrite", "mute": true}),
            // Strict: also the same bytes are a conflict.
            WriteMode::Create => {
                json!({"path": path, "mode": "add", "autorename": false, "strict_conflict": true, "mute": true})
            }
        }
    }

    fn send(
        &self,
        function: &'static str,
        arguments: &Value,
        content: &dyn Content,
        name: &Name,
    ) -> Result<crate::http::Answer, Error> {
        let request = self
            .content(Method::Post, function, arguments, Operation::Write, name)
            .header("content-type", "application/octet-stream")
            .content(content);
        self.http.call(&self.account, &request)
    }

    fn upload_session(
        &self,
        name: &Name,
        content: &dyn Content,
        commit: &Value,
    ) -> Result<Metadata, Error> {
        let record = Record::find(
            &self.http.environment,
            &format!("dropbox:{}", self.root),
            name,
            content,
        );
        let known = record.get().is_some();
        match self.send_session(name, content, commit, &record) {
            // Sessions end after some days, and a changed content cannot go on in one.
            Err(error)
                if known && matches!(error.kind, ErrorKind::NotFound | ErrorKind::Changed) =>
            {
                record.end();
                self.send_session(name, content, commit, &record)
            }
            result => result,
        }
    }

    fn send_session(
        &self,
        name: &Name,
        content: &dyn Content,
        commit: &Value,
        record: &Record,
    ) -> Result<Metadata, Error> {
        let upload = match record.get() {
            Some(upload) => upload,
            None => {
                let empty: &[u8] = &[];
                let session: Session = self
                    .send(
                        "files/upload_session/start",
                        &json!({"close": false}),
                        &empty.to_vec(),
                        name,
                    )?
                    .json()?;
                let upload = Upload {
                    id: session.session_id,
                    size: content.size(),
                    part_size: PART_SIZE,
                    ..Upload::default()
                };
                record.start(upload.clone());
                upload
            }
        };
        let sent = self.send_parts(name, content, commit, record, &upload);
        match &sent {
            Ok(_) => record.end(),
            Err(error) if !error.is_passing() && error.kind != ErrorKind::NotFound => record.end(),
            Err(_) => {}
        }
        sent
    }

    fn send_parts(
        &self,
        name: &Name,
        content: &dyn Content,
        commit: &Value,
        record: &Record,
        upload: &Upload,
    ) -> Result<Metadata, Error> {
        for (number, start, size) in parts(content.size(), upload.part_size) {
            let part = Part {
                whole: content,
                start,
                size,
            };
            let hash = self.hash(name, &part)?;
            if record.tag(number, &hash.to_hex()).is_some() {
                continue;
            }
            if upload.parts.contains_key(&number) {
                return Err(Error::new(ErrorKind::Changed, Operation::Write).on(name));
            }
            let cursor = json!({"session_id": upload.id, "offset": start});
            let arguments =
                json!({"cursor": cursor, "close": false, "content_hash": hash.to_hex()});
            let sent = self.send("files/upload_session/append_v2", &arguments, &part, name);
            // A part whose answer was lost has arrived all the same: Dropbox tells how far it is.
            if let Err(error) = sent
                && correct_offset(&error) != Some(start + size)
            {
                return Err(error);
            }
            record.sent(
                number,
                PartSent {
                    digest: hash.to_hex(),
                    tag: String::new(),
                },
            );
        }
        let cursor = json!({"session_id": upload.id, "offset": content.size()});
        let arguments = json!({"cursor": cursor, "commit": commit});
        let empty: &[u8] = &[];
        match self.send(
            "files/upload_session/finish",
            &arguments,
            &empty.to_vec(),
            name,
        ) {
            // A session ends with its commit: when the answer to that was lost, the object is there.
            Err(error) if error.kind == ErrorKind::NotFound && error.doubtful => {
                let found = self.look(name, Operation::Write);
                found
                    .ok()
                    .filter(|found| found.size == content.size())
                    .ok_or(error)
            }
            answer => answer?.json(),
        }
    }
}

/// Whether a folder has the name.
fn is_folder(error: &Error) -> bool {
    error.kind == ErrorKind::AlreadyExists
        && error
            .source
            .as_ref()
            .is_some_and(|said| said.to_string().contains("conflict/folder"))
}

/// Where the session is, as the refusal of a part tells.
fn correct_offset(error: &Error) -> Option<u64> {
    let said = error.source.as_ref()?.to_string();
    let rest = said.split("\"correct_offset\":").nth(1)?;
    rest.trim_start()
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
