//! Uploads to B2: each thread has an address of its own, dropped at the first failure.

use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::json;

use super::{B2, account};
use crate::content::Part;
use crate::http::{Http, Method, Refusal, Request, Service, encode_path};
use crate::resume::{PartSent, Record, Upload, parts};
use crate::{
    Content, Digest, DigestKind, Error, ErrorKind, Name, Object, Operation, Secret, Store as _,
    digest_of, in_parallel,
};
use hex::FromHex;

/// Largest object that is sent in one request. Source: Backblaze recommends parts from 100 MB on.
const SINGLE_MAX: u64 = 100_000_000;

/// Smallest part that makes sense, and the most parts. Source: the documentation of large files.
const PART_MIN: u64 = 16 << 20;
const PARTS_MAX: u64 = 9000;

/// Where to send bytes, with the token for that.
#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
struct Address {
    upload_url: String,
    authorization_token: String,
}

/// Addresses that are free at present.
#[derive(Default)]
pub(super) struct Addresses(Mutex<Vec<Address>>);

/// The token of an address.
struct Token(Secret);

impl Service for Token {
    fn sign(&self, _: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        request.set_header("authorization", self.0.expose().to_owned());
        Ok(())
    }

    /// Whatever is wrong with an address, another one mends it.
    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        let kind = account::kind_of(refusal);
        match kind {
            ErrorKind::SignIn => ErrorKind::Unavailable,
            // The checksum is the only thing in an upload that can be wrong on its way.
            ErrorKind::Invalid if refusal.status == 400 => ErrorKind::Corrupt,
            kind => kind,
        }
    }
}

impl B2 {
    /// An address to upload to: a free one, else a new one that `function` gives.
    fn address(
        &self,
        addresses: &Addresses,
        function: &'static str,
        arguments: serde_json::Value,
        name: &Name,
    ) -> Result<Address, Error> {
        let free = {
            let mut free = addresses.0.lock().unwrap_or_else(PoisonError::into_inner);
            free.pop()
        };
        match free {
            Some(address) => Ok(address),
            None => self
                .function(function, arguments, Operation::Write, name)?
                .json(),
        }
    }

    /// Gives the object, and whether more than one try was made.
    pub(super) fn upload(
        &self,
        name: &Name,
        content: &dyn Content,
    ) -> Result<(Object, bool), Error> {
        if content.size() <= SINGLE_MAX {
            self.upload_whole(name, content)
        } else {
            self.upload_parts(name, content, PART_MIN)
                .map(|object| (object, false))
        }
    }

    fn upload_whole(&self, name: &Name, content: &dyn Content) -> Result<(Object, bool), Error> {
        let sha1 = digest_of(content, DigestKind::Sha1)
            .map_err(|error| Error::from_io(error, Operation::Write, name))?;
        let bucket = self.account.bucket_id(&self.http)?;
        let mut tries = 0;
        let file: super::File = self.patiently(|| {
            tries += 1;
            let arguments = json!({"bucketId": bucket});
            let address = self.address(&self.uploads, "b2_get_upload_url", arguments, name)?;
            let request = Request::new(
                Method::Post,
                address.upload_url.clone(),
                "b2_upload_file",
                Operation::Write,
                name,
            )
            .header("x-bz-file-name", encode_path(&self.full(name)))
            .header("content-type", "b2/x-auto")
            .header("x-bz-content-sha1", sha1.to_hex())
            .content(content);
            let token = Token(Secret::new(address.authorization_token.clone()));
            let answer = self.http.call_once(&token, &request)?;
            self.uploads
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(address);
            answer.json()
        })?;
        confirm(file.content_sha1.as_deref(), sha1, name)?;
        Ok((file.object(name.clone()), tries > 1))
    }

    /// Addresses are for one try: with patience around getting one and using it.
    fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        self.http.environment.patiently(|_| attempt())
    }

    /// Sends an object in parts. Parts that an earlier try sent are used again.
    fn upload_parts(
        &self,
        name: &Name,
        content: &dyn Content,
        part_min: u64,
    ) -> Result<Object, Error> {
        let place = format!("b2:{}/{}", self.account.bucket, self.prefix);
        let record = Record::find(&self.http.environment, &place, name, content);
        let known = record.get().is_some();
        match self.send_parts(name, content, part_min, &record) {
            // The service has forgotten, or finished, the upload that we remembered.
            Err(error)
                if known && matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) =>
            {
                record.end();
                self.send_parts(name, content, part_min, &record)
            }
            result => result,
        }
    }

    fn send_parts(
        &self,
        name: &Name,
        content: &dyn Content,
        part_min: u64,
        record: &Record,
    ) -> Result<Object, Error> {
        let local = |error| Error::from_io(error, Operation::Write, name);
        let upload = match record.get() {
            Some(upload) => upload,
            None => {
                let sha1 = digest_of(content, DigestKind::Sha1).map_err(local)?;
                let upload = Upload {
                    id: self.begin(name, sha1)?,
                    size: content.size(),
                    part_size: self.part_size(content.size(), part_min)?,
                    ..Upload::default()
                };
                record.start(upload.clone());
                upload
            }
        };
        let addresses = Addresses::default();
        let sent = in_parallel(
            parts(content.size(), upload.part_size),
            self.http.environment.parallel,
            |(number, start, size)| {
                let part = Part {
                    whole: content,
                    start,
                    size,
                };
                self.send_part(name, &upload.id, number, &part, record, &addresses)
            },
        )
        .and_then(|sha1s| {
            let arguments = json!({"fileId": upload.id, "partSha1Array": sha1s});
            match self.function("b2_finish_large_file", arguments, Operation::Write, name) {
                // A large file is one no longer once it is finished: when the answer to that was
                // lost, the object is there. Each part was confirmed; this is the whole's checksum.
                Err(error)
                    if error.doubtful
                        && matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid) =>
                {
                    let sha1 = digest_of(content, DigestKind::Sha1).map_err(local)?;
                    let found = self
                        .stat(name)
                        .ok()
                        .filter(|found| found.size == content.size() && found.digest == Some(sha1));
                    found.ok_or(error)
                }
                answer => Ok(answer?.json::<super::File>()?.object(name.clone())),
            }
        });
        match sent {
            Ok(object) => {
                record.end();
                Ok(object)
            }
            Err(error) => {
                // What passes may go on later; anything else would only leave parts to be paid for.
                if !error.is_passing() {
                    let arguments = json!({"fileId": upload.id});
                    let _ =
                        self.function("b2_cancel_large_file", arguments, Operation::Write, name);
                    record.end();
                }
                Err(error)
            }
        }
    }

    fn part_size(&self, size: u64, part_min: u64) -> Result<u64, Error> {
        let recommended = self.account.session(&self.http)?.part_size;
        // More memory is not taken by larger parts, but more is sent again after a failure.
        Ok(recommended
            .min(4 * part_min)
            .max(part_min)
            .max(size.div_ceil(PARTS_MAX)))
    }

    fn begin(&self, name: &Name, sha1: Digest) -> Result<String, Error> {
        let arguments = json!({"bucketId": self.account.bucket_id(&self.http)?, "fileName": self.full(name),
            "contentType": "b2/x-auto", "fileInfo": {"large_file_sha1": sha1.to_hex()}});
        let file: super::File = self
            .function("b2_start_large_file", arguments, Operation::Write, name)?
            .json()?;
        file.file_id.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, Operation::Write)
                .on(name)
                .because("the service names no upload")
        })
    }

    fn send_part(
        &self,
        name: &Name,
        id: &str,
        number: u32,
        part: &Part<'_>,
        record: &Record,
        addresses: &Addresses,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Sent {
            content_sha1: Option<String>,
        }
        let local = |error| Error::from_io(error, Operation::Write, name);
        let sha1 = digest_of(part, DigestKind::Sha1).map_err(local)?;
        if record.tag(number, &sha1.to_hex()).is_some() {
            return Ok(sha1.to_hex());
        }
        let sent: Sent = self.patiently(|| {
            let arguments = json!({"fileId": id});
            let address = self.address(addresses, "b2_get_upload_part_url", arguments, name)?;
            let request = Request::new(
                Method::Post,
                address.upload_url.clone(),
                "b2_upload_part",
                Operation::Write,
                name,
            )
            .header("x-bz-part-number", number.to_string())
            .header("x-bz-content-sha1", sha1.to_hex())
            .content(part);
            let token = Token(Secret::new(address.authorization_token.clone()));
            let answer = self.http.call_once(&token, &request)?;
            addresses
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(address);
            answer.json()
        })?;
        confirm(sent.content_sha1.as_deref(), sha1, name)?;
        record.sent(
            number,
            PartSent {
                digest: sha1.to_hex(),
                tag: String::new(),
            },
        );
        Ok(sha1.to_hex())
    }
}

/// The service's checksum must be ours.
fn confirm(told: Option<&str>, sha1: Digest, name: &Name) -> Result<(), Error> {
    let told = told.and_then(|told| FromHex::from_hex(told).ok());
    if told.map(Digest::Sha1) == Some(sha1) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, Operation::Write)
        .on(name)
        .because("the service has another checksum"))
}
