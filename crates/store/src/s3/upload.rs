//! Objects too big for one request: in parts, several at once, going on after a crash.

use std::time::Duration;

use super::{Method, S3, base64, confirm, decoded, time_of, unquote};
use crate::abandoned::is_older;
use crate::content::Part;
use crate::http::Request;
use crate::resume::{PartSent, Record, Upload, parts};
use crate::retry::same_bytes;
use crate::{
    Content, DigestKind, Error, ErrorKind, Name, Object, Operation, Store as _, WriteMode,
    digest_of, in_parallel, xml,
};

/// Largest object that is sent in one request.
pub(super) const SINGLE_MAX: u64 = 64 << 20;

/// Smallest part. Source: S3 takes 5 MiB; larger ones mean fewer requests.
const PART_MIN: u64 = 16 << 20;

/// Most parts. Source: S3 takes 10,000; a reserve is left.
const PARTS_MAX: u64 = 9000;

impl S3 {
    /// Sends an object in parts. Parts that an earlier try sent are used again.
    pub(super) fn upload(
        &self,
        name: &Name,
        content: &dyn Content,
        mode: WriteMode,
    ) -> Result<Object, Error> {
        let place = format!("{}/{}", self.base, self.prefix);
        let record = Record::find(&self.http.environment, &place, name, content);
        let known = record.get().is_some();
        match self.send_parts(name, content, mode, &record) {
            // The service has forgotten the upload that we remembered.
            Err(error) if error.kind == ErrorKind::NotFound && known => {
                record.end();
                self.send_parts(name, content, mode, &record)
            }
            result => result,
        }
    }

    fn send_parts(
        &self,
        name: &Name,
        content: &dyn Content,
        mode: WriteMode,
        record: &Record,
    ) -> Result<Object, Error> {
        let upload = match record.get() {
            Some(upload) => upload,
            None => {
                let part_size = content
                    .size()
                    .div_ceil(PARTS_MAX)
                    .max(PART_MIN)
                    .next_multiple_of(1 << 20);
                let id = self.begin(name)?;
                let upload = Upload {
                    id,
                    size: content.size(),
                    part_size,
                    ..Upload::default()
                };
                record.start(upload.clone());
                upload
            }
        };
        let sent = in_parallel(
            parts(content.size(), upload.part_size),
            self.http.environment.parallel,
            |(number, start, size)| {
                let part = Part {
                    whole: content,
                    start,
                    size,
                };
                let tag = self.send_part(name, &upload.id, number, &part, record)?;
                Ok((number, tag))
            },
        )
        .and_then(|tags| {
            match self.complete(name, &upload.id, &tags, mode) {
                // An upload ends when it is completed: when the answer to that was lost, the object
                // is there. Its bytes tell, for services differ in the checksums they keep.
                Err(error)
                    if error.kind == ErrorKind::NotFound
                        && error.doubtful
                        && same_bytes(self, name, content).unwrap_or(false) =>
                {
                    Ok(self.stat(name)?.version)
                }
                result => result,
            }
        });
        match sent {
            Ok(version) => {
                record.end();
                Ok(Object {
                    name: name.clone(),
                    size: content.size(),
                    modified: None,
                    version,
                    digest: None,
                })
            }
            Err(error) => {
                // What passes may go on later; anything else would only leave parts to be paid for.
                if !error.is_passing() && error.kind != ErrorKind::NotFound {
                    // What this leaves is tidied later.
                    let _ = self.abort(name, &upload.id);
                    record.end();
                }
                Err(error)
            }
        }
    }

    fn begin(&self, name: &Name) -> Result<String, Error> {
        let request = self
            .request(Method::Post, "s3 begin", Operation::Write, name)
            .query("uploads", "")
            .header("x-amz-checksum-algorithm", "SHA256");
        let id = self.call_xml(&request)?.text_of("UploadId").to_owned();
        if id.is_empty() {
            return Err(request
                .error(ErrorKind::Invalid)
                .because("the server names no upload"));
        }
        Ok(id)
    }

    fn send_part(
        &self,
        name: &Name,
        id: &str,
        number: u32,
        part: &Part<'_>,
        record: &Record,
    ) -> Result<PartSent, Error> {
        let local = |error| Error::from_io(error, Operation::Write, name);
        let digest = digest_of(part, DigestKind::Sha256).map_err(local)?;
        if let Some(tag) = record.tag(number, &digest.to_hex()) {
            return Ok(PartSent {
                digest: base64(digest),
                tag,
            });
        }
        let request = self
            .request(Method::Put, "s3 part", Operation::Write, name)
            .query("partNumber", number.to_string())
            .query("uploadId", id)
            .header("x-amz-content-sha256", digest.to_hex())
            .header("x-amz-checksum-sha256", base64(digest))
            .content(part);
        let answer = self.call(&request)?;
        confirm(&answer, digest, name)?;
        let tag = answer.header("etag").map(unquote).unwrap_or_default();
        record.sent(
            number,
            PartSent {
                digest: digest.to_hex(),
                tag: tag.clone(),
            },
        );
        Ok(PartSent {
            digest: base64(digest),
            tag,
        })
    }

    /// Makes the parts an object. Gives its version.
    fn complete(
        &self,
        name: &Name,
        id: &str,
        parts: &[(u32, PartSent)],
        mode: WriteMode,
    ) -> Result<Option<String>, Error> {
        let mut body = String::from("<CompleteMultipartUpload>");
        for (number, part) in parts {
            body += &format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>\"{}\"</ETag><ChecksumSHA256>{}</ChecksumSHA256></Part>",
                xml::escape(&part.tag),
                part.digest
            );
        }
        body += "</CompleteMultipartUpload>";
        let bytes = body.into_bytes();
        let digest = digest_of(&bytes, DigestKind::Sha256)
            .map_err(|error| Error::from_io(error, Operation::Write, name))?;
        let mut request = self
            .request(Method::Post, "s3 complete", Operation::Write, name)
            .query("uploadId", id)
            .header("x-amz-content-sha256", digest.to_hex())
            .bytes(bytes);
        if mode == WriteMode::Create {
            request = request.header("if-none-match", "*");
        }
        let answer = self.call_xml(&request)?;
        // The answer begins with 200 before the work is done, so the failure is in the body.
        if answer.name == "Error" {
            let code = answer.text_of("Code").to_owned();
            let kind = if code == "InternalError" {
                ErrorKind::Unavailable
            } else {
                ErrorKind::Invalid
            };
            return Err(request.error(kind).because(code));
        }
        Ok(Some(unquote(answer.text_of("ETag"))))
    }

    fn abort(&self, name: &Name, id: &str) -> Result<(), Error> {
        let request: Request<'_> = self
            .request(Method::Delete, "s3 abort", Operation::Delete, name)
            .query("uploadId", id);
        match self.call(&request) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    /// Ends the uploads below our prefix that were begun `age` ago; see [`Store::tidy`]. A key that
    /// may not look leaves them to the bucket's own rules.
    pub(super) fn end_abandoned(&self, age: Duration) -> Result<u64, Error> {
        let now = self.signer.now(&self.http);
        let mut markers: Option<(String, String)> = None;
        let mut removed = 0;
        loop {
            let mut request = Request::new(
                Method::Get,
                format!("{}/", self.base),
                "s3 uploads",
                Operation::List,
                &"unfinished uploads",
            )
            .query("uploads", "")
            .query("encoding-type", "url")
            .query("prefix", self.prefix.clone());
            if let Some((key, id)) = &markers {
                request = request
                    .query("key-marker", key.clone())
                    .query("upload-id-marker", id.clone());
            }
            let page = match self.call_xml(&request) {
                Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Unsupported) => {
                    return Ok(removed);
                }
                result => result?,
            };
            for upload in page.all("Upload") {
                if let Some(name) = self.name_of(upload)
                    && is_older(time_of(upload, "Initiated"), now, age)
                {
                    self.abort(&name, upload.text_of("UploadId"))?;
                    removed += 1;
                }
            }
            let next = (
                decoded(page.text_of("NextKeyMarker")),
                page.text_of("NextUploadIdMarker").to_owned(),
            );
            // A server whose listing does not go on has told what it will.
            if page.text_of("IsTruncated") != "true" || Some(&next) == markers.as_ref() {
                return Ok(removed);
            }
            markers = Some(next);
        }
    }
}
