//! S3 and what speaks like it.
//!
//! An object is there when its PUT, or the completion of its parts, was answered: before that, it
//! cannot be seen. So an interrupted write leaves the old object, and at worst parts that no
//! listing shows. Parts are recorded on disk (see [`resume`](crate::resume)) and used again.
//!
//! Not every server that speaks like S3 honours `If-None-Match`: some take it and replace the
//! object all the same. So the first creation tries it out on an object of its own.

mod credentials;
mod sign;
mod upload;

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;

use crate::body::Exact;
use crate::http::{Answer, Http, Method, Refusal, Request, Service, encode_path};
use crate::xml::{self, Element};
use crate::{
    Capabilities, Content, Digest, DigestKind, Environment, Error, ErrorKind, Folder, Name, Object,
    Operation, Range, Reading, S3Location, Scope, Space, Store, WriteMode, digest_of,
};
use credentials::Credentials;
use sign::sign;

/// Signs for this region when nobody says which: most servers besides Amazon's accept it.
const REGION: &str = "us-east-1";

/// A bucket, or a folder of one.
pub struct S3 {
    http: Http,
    bucket: String,
    /// Address of the bucket without a slash at its end.
    base: String,
    /// With a slash at its end, unless empty.
    prefix: String,
    signer: Signer,
    /// Whether the server honours `If-None-Match`, once it was tried.
    create: OnceLock<bool>,
}

struct Signer {
    credentials: Credentials,
    region: Mutex<String>,
    /// How far the server's clock is ahead of ours, in seconds; set when it refuses our time.
    skew_seconds: Mutex<i64>,
}

/// Longest life of an address that S3 signs.
///
/// Source: AWS documentation, "Download and upload objects with presigned URLs".
pub const PRESIGNED_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

impl S3 {
    /// Takes a location. Nothing is asked yet.
    #[must_use]
    pub fn new(location: &S3Location, environment: &Environment) -> Self {
        let region = location
            .region
            .clone()
            .or_else(|| credentials::region(environment));
        let region = region.unwrap_or_else(|| REGION.to_owned());
        let scheme = if location.tls { "https" } else { "http" };
        let bucket = &location.bucket;
        let base = match &location.server {
            Some(server) => {
                let host = if server.host.contains(':') {
                    format!("[{}]", server.host)
                } else {
                    server.host.clone()
                };
                let port = server
                    .port
                    .map(|port| format!(":{port}"))
                    .unwrap_or_default();
                format!("{scheme}://{host}{port}/{bucket}")
            }
            // A dot in the bucket's name would not fit the certificate.
            None if bucket.contains('.') => {
                format!("{scheme}://s3.{region}.amazonaws.com/{bucket}")
            }
            None => format!("{scheme}://{bucket}.s3.{region}.amazonaws.com"),
        };
        let prefix = if location.prefix.is_empty() {
            String::new()
        } else {
            format!("{}/", location.prefix)
        };
        Self {
            http: Http::new(environment),
            bucket: bucket.clone(),
            base,
            prefix,
            signer: Signer {
                credentials: Credentials::find(location, environment),
                region: Mutex::new(region),
                skew_seconds: Mutex::new(0),
            },
            create: OnceLock::new(),
        }
    }

    /// How far the server's clock is ahead of ours, in seconds, as far as it complained.
    #[must_use]
    pub fn skew_seconds(&self) -> i64 {
        *self
            .signer
            .skew_seconds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn request(
        &self,
        method: Method,
        class: &'static str,
        operation: Operation,
        name: &Name,
    ) -> Request<'_> {
        let url = format!(
            "{}/{}",
            self.base,
            encode_path(&format!("{}{name}", self.prefix))
        );
        Request::new(method, url, class, operation, name)
    }

    fn call(&self, request: &Request<'_>) -> Result<Answer, Error> {
        self.http.call(&self.signer, request)
    }

    fn call_xml(&self, request: &Request<'_>) -> Result<Element, Error> {
        xml::parse(&self.call(request)?.bytes()?)
            .map_err(|error| request.error(ErrorKind::Invalid).because(error))
    }

    /// The name that an entry of a listing has, when it is one of ours.
    fn name_of(&self, entry: &Element) -> Option<Name> {
        let key = decoded(entry.text_of("Key"));
        Name::new(key.strip_prefix(&self.prefix)?).ok()
    }

    /// Facts about the bucket that answer "may what is here be destroyed?".
    ///
    /// # Errors
    ///
    /// When the service cannot be asked; what it does not know or allow is `None`.
    pub fn guard(&self) -> Result<BucketGuard, Error> {
        let ask = |what: &str| {
            let url = format!("{}/", self.base);
            let request = Request::new(Method::Get, url, "s3 bucket", Operation::Open, "bucket")
                .query(what, "");
            match self.call_xml(&request) {
                Ok(element) => Ok(Some(element)),
                Err(error) if error.is_passing() || error.kind == ErrorKind::SignIn => Err(error),
                Err(_) => Ok(None),
            }
        };
        let lock = ask("object-lock")?;
        // Governance can be passed by with a right that a key is not told that it has.
        let rule = lock.as_ref().and_then(|lock| lock.child("Rule"));
        let mode = rule
            .and_then(|rule| rule.child("DefaultRetention"))
            .map_or("", |retention| retention.text_of("Mode"));
        Ok(BucketGuard {
            versioning: ask("versioning")?.map(|element| element.text_of("Status") == "Enabled"),
            object_lock: lock
                .as_ref()
                .map(|lock| lock.text_of("ObjectLockEnabled") == "Enabled"),
            locks_new_objects: match mode {
                "COMPLIANCE" => Some(true),
                "GOVERNANCE" => None,
                _ => lock.as_ref().map(|_| false),
            },
        })
    }

    /// An address under which anybody gets the object for so long, by a signature of ours. It is saved
    /// by browsers, never shown, and cannot be taken back.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when there is no such object;
    /// [`Unsupported`](ErrorKind::Unsupported) when the life is none or longer than
    /// [`PRESIGNED_LIFE_MAX`].
    pub fn presigned(&self, name: &Name, life: Duration) -> Result<String, Error> {
        if life < Duration::from_secs(1) || life > PRESIGNED_LIFE_MAX {
            return Err(Error::new(ErrorKind::Unsupported, Operation::Read)
                .on(name)
                .because("an address that S3 signs lives between a second and 7 days"));
        }
        // The answer also tells which region and whose clock the signature has to have.
        self.stat(name)?;
        let file_name = percent_encoding::utf8_percent_encode(
            name.file_name(),
            percent_encoding::NON_ALPHANUMERIC,
        );
        let saved = format!("attachment; filename*=UTF-8''{file_name}");
        let request = self
            .request(Method::Get, "s3 get", Operation::Read, name)
            .query("response-content-disposition", saved);
        let keys = self.signer.credentials.keys(&self.http)?;
        let region = self
            .signer
            .region
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let now = self.signer.now(&self.http);
        sign::presign(&request, &keys, &region, now, life)
    }

    /// Whether the server honours `If-None-Match`: tried once, on an object of our own.
    fn creates(&self) -> Result<bool, Error> {
        if let Some(&known) = self.create.get() {
            return Ok(known);
        }
        let text = format!(".ravelin-probe-{}", self.http.environment.random_name());
        let name = Name::new(&text).map_err(|why| Error::bad_name(&text, Operation::Write, why))?;
        self.put(&name, b"1", WriteMode::Create)?;
        let second = self.put(&name, b"2", WriteMode::Create);
        // A key without the right to delete leaves it there: one byte.
        let _ = self.delete(&name);
        let works = match second {
            Ok(_) => false,
            Err(error) if error.kind == ErrorKind::AlreadyExists => true,
            Err(error) => return Err(error),
        };
        Ok(*self.create.get_or_init(|| works))
    }

    /// One request with all bytes.
    fn put(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        let local = |error| Error::from_io(error, Operation::Write, name);
        let digest = digest_of(content, DigestKind::Sha256).map_err(local)?;
        let request = self
            .request(Method::Put, "s3 put", Operation::Write, name)
            .header("x-amz-content-sha256", digest.to_hex())
            .header("x-amz-checksum-sha256", base64(digest))
            .content(content);
        let request = if mode == WriteMode::Create {
            request.header("if-none-match", "*")
        } else {
            request
        };
        let answer = self.call(&request)?;
        confirm(&answer, digest, name)?;
        Ok(Object {
            name: name.clone(),
            size: content.size(),
            modified: None,
            version: answer.header("etag").map(unquote),
            digest: Some(digest),
        })
    }
}

/// What protects a bucket's content from those who hold the keys. `None`: not known or not
/// allowed to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketGuard {
    /// Whether deleted and replaced objects are kept as old versions.
    pub versioning: Option<bool>,
    /// Whether objects can be locked against deletion.
    pub object_lock: Option<bool>,
    /// Whether the bucket locks every new object by itself, so that nobody can delete it.
    pub locks_new_objects: Option<bool>,
}

/// Where the server tells a checksum of what it holds, it must be ours.
fn confirm(answer: &Answer, digest: Digest, name: &Name) -> Result<(), Error> {
    match answer.header("x-amz-checksum-sha256") {
        Some(told) if told != base64(digest) => {
            Err(Error::new(ErrorKind::Corrupt, Operation::Write)
                .on(name)
                .because("the server has another checksum"))
        }
        _ => Ok(()),
    }
}

fn base64(digest: Digest) -> String {
    use base64::Engine as _;
    let bytes: &[u8] = match &digest {
        Digest::Md5(bytes) => bytes,
        Digest::Sha1(bytes) => bytes,
        Digest::Sha256(bytes) | Digest::Dropbox(bytes) => bytes,
    };
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn unbase64(text: &str) -> Option<[u8; 32]> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?;
    bytes.try_into().ok()
}

fn unquote(tag: &str) -> String {
    tag.trim_start_matches("W/").trim_matches('"').to_owned()
}

/// A difference of the clocks that no service minds. Source: AWS allows 15 minutes, others 5.
const SKEW_SECONDS_MAX: u64 = 5 * 60;

impl Signer {
    fn now(&self, http: &Http) -> SystemTime {
        let skew = *self
            .skew_seconds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = (http.environment.clock)();
        let distance = Duration::from_secs(skew.unsigned_abs());
        if skew < 0 {
            now.checked_sub(distance)
        } else {
            now.checked_add(distance)
        }
        .unwrap_or(now)
    }
}

impl Service for Signer {
    fn sign(&self, http: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        let keys = self.credentials.keys(http)?;
        let region = self
            .region
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        sign(request, &keys, &region, self.now(http))
    }

    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        let code =
            xml::parse(refusal.text.as_bytes()).map(|error| error.text_of("Code").to_owned());
        let kind = kind_of(code.as_deref().unwrap_or_default(), refusal);
        // An answer to HEAD does not say why it is no: the server's clock may.
        if kind == ErrorKind::Denied && refusal.text.is_empty() {
            let ours = *self
                .skew_seconds
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if skew_seconds(refusal).is_some_and(|skew| skew.abs_diff(ours) > SKEW_SECONDS_MAX) {
                return ErrorKind::ClockSkew;
            }
        }
        kind
    }

    /// Takes the server's time when it refuses ours, and its region when it names another.
    fn renew(&self, _: &Http, refusal: &Refusal) -> Result<bool, Error> {
        if let Some(region) = refusal.header("x-amz-bucket-region") {
            let mut ours = self.region.lock().unwrap_or_else(PoisonError::into_inner);
            if *ours != region {
                region.clone_into(&mut ours);
                return Ok(true);
            }
        }
        let Some(skew) = skew_seconds(refusal) else {
            return Ok(false);
        };
        let mut ours = self
            .skew_seconds
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A difference that signatures do not mind cannot be the reason.
        let worth = skew.abs_diff(*ours) > 60;
        *ours = skew;
        Ok(worth)
    }
}

/// How far the server's clock is ahead of ours, as the answer's date tells.
fn skew_seconds(refusal: &Refusal) -> Option<i64> {
    let theirs = crate::http::parse_http_date(refusal.header("date")?)?;
    Some(match theirs.duration_since(refusal.received) {
        Ok(ahead) => i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX),
        Err(behind) => -i64::try_from(behind.duration().as_secs()).unwrap_or(i64::MAX),
    })
}

/// Source: AWS documentation, "Error responses".
fn kind_of(code: &str, refusal: &Refusal) -> ErrorKind {
    match code {
        "SlowDown" | "RequestLimitExceeded" | "ThrottlingException" => ErrorKind::Busy,
        "InternalError"
        | "ServiceUnavailable"
        | "RequestTimeout"
        | "OperationAborted"
        | "ConditionalRequestConflict" => ErrorKind::Unavailable,
        "RequestTimeTooSkewed" => ErrorKind::ClockSkew,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "AuthorizationHeaderMalformed" => ErrorKind::SignIn,
        "PermanentRedirect" if refusal.header("x-amz-bucket-region").is_some() => ErrorKind::SignIn,
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody" => ErrorKind::Corrupt,
        "QuotaExceeded" | "EntityTooLarge" | "XMinioStorageFull" => ErrorKind::Full,
        "NotImplemented" => ErrorKind::Unsupported,
        _ if refusal.status == 501 => ErrorKind::Unsupported,
        // An answer to HEAD has no body: the region is all there is.
        _ if matches!(refusal.status, 301 | 400)
            && refusal.header("x-amz-bucket-region").is_some() =>
        {
            ErrorKind::SignIn
        }
        _ => refusal.usual_kind(),
    }
}

fn object_of(answer: &Answer, name: &Name, size: u64) -> Object {
    Object {
        name: name.clone(),
        size,
        modified: answer.last_modified(),
        version: answer.header("etag").map(unquote),
        // Of an object in parts it is a checksum of checksums, with their number at its end.
        digest: answer
            .header("x-amz-checksum-sha256")
            .and_then(unbase64)
            .map(Digest::Sha256),
    }
}

/// A key of a listing. Encoded as in a form: a plus sign is a space.
fn decoded(key: &str) -> String {
    let key = key.replace('+', " ");
    percent_decode_str(&key).decode_utf8_lossy().into_owned()
}

fn time_of(entry: &Element, field: &str) -> Option<SystemTime> {
    let time: jiff::Timestamp = entry.text_of(field).parse().ok()?;
    time.try_into().ok()
}

impl Store for S3 {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create: self.create.get() != Some(&false),
            rename: false,
            copy: true,
            digest: Some(DigestKind::Sha256),
            resume: true,
            case_folding: false,
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut token: Option<String> = None;
        loop {
            let mut request = Request::new(
                Method::Get,
                format!("{}/", self.base),
                "s3 list",
                Operation::List,
                folder,
            )
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("prefix", format!("{}{}", self.prefix, folder.prefix()));
            if scope == Scope::Folder {
                request = request.query("delimiter", "/");
            }
            if let Some(token) = &token {
                request = request.query("continuation-token", token.clone());
            }
            let page = self.call_xml(&request)?;
            for entry in page.all("Contents") {
                let Some(name) = self.name_of(entry) else {
                    continue;
                };
                let size = entry.text_of("Size").parse();
                let size =
                    size.map_err(|error| request.error(ErrorKind::Invalid).because(error))?;
                let object = Object {
                    name,
                    size,
                    modified: time_of(entry, "LastModified"),
                    version: Some(unquote(entry.text_of("ETag"))),
                    digest: None,
                };
                if folder.holds(&object.name, scope == Scope::Tree) && each(object).is_break() {
                    return Ok(());
                }
            }
            if page.text_of("IsTruncated") != "true" {
                return Ok(());
            }
            let next = page.text_of("NextContinuationToken").to_owned();
            if next.is_empty() || Some(&next) == token.as_ref() {
                return Err(request
                    .error(ErrorKind::Invalid)
                    .because("the listing does not go on"));
            }
            token = Some(next);
        }
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        let request = self.request(Method::Head, "s3 head", Operation::Stat, name);
        let answer = self.call(&request)?;
        let size = answer
            .length()
            .ok_or_else(|| request.error(ErrorKind::Invalid).because("no size"))?;
        Ok(object_of(&answer, name, size))
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let request = self.request(Method::Get, "s3 get", Operation::Read, name);
        let mut request = ranged(request, range).accept(&[416]);
        if range == Range::WHOLE {
            // Else the server does not tell the checksum that it keeps.
            request = request.header("x-amz-checksum-mode", "ENABLED");
        }
        let answer = self.call(&request)?;
        if answer.status == 416 {
            let object = self.stat(name)?;
            return Ok(Reading {
                object,
                body: Box::new(std::io::empty()),
            });
        }
        reading(answer, name, range, |answer, size| {
            object_of(answer, name, size)
        })
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        if mode == WriteMode::Create && !self.creates()? {
            return Err(Error::unsupported(
                Operation::Write,
                name,
                "the server takes If-None-Match and replaces all the same",
            ));
        }
        if content.size() <= upload::SINGLE_MAX {
            self.put(name, content, mode)
        } else {
            self.upload(name, content, mode)
        }
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        let request = self.request(Method::Delete, "s3 delete", Operation::Delete, name);
        match self.call(&request) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    fn rename(&self, from: &Name, _: &Name) -> Result<(), Error> {
        Err(Error::unsupported(
            Operation::Rename,
            from,
            "S3 would have to copy",
        ))
    }

    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let source = encode_path(&format!("{}/{}{from}", self.bucket, self.prefix));
        let request = self
            .request(Method::Put, "s3 copy", Operation::Copy, to)
            .header("x-amz-copy-source", format!("/{source}"));
        // An error that comes late stands in the body of an answer that says 200.
        let done = self.call_xml(&request)?;
        match done.name.as_str() {
            "CopyObjectResult" => Ok(()),
            _ => Err(request
                .error(ErrorKind::Unavailable)
                .because(format!("S3 says {}", done.text_of("Code")))),
        }
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        Ok(None)
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        self.end_abandoned(age)
    }
}

/// Adds the range, unless it is the whole.
pub(crate) fn ranged<'a>(request: Request<'a>, range: Range) -> Request<'a> {
    if range == Range::WHOLE {
        return request;
    }
    let end = match range.size {
        // An empty range cannot be said: one byte is asked for and left.
        Some(size) => range.start.saturating_add(size.max(1) - 1).to_string(),
        None => String::new(),
    };
    request.header("range", format!("bytes={}-{end}", range.start))
}

/// The body of a download, exactly as long as it has to be, whether the server heeded the range
/// or not.
pub(crate) fn reading(
    answer: Answer,
    name: &Name,
    range: Range,
    object: impl FnOnce(&Answer, u64) -> Object,
) -> Result<Reading, Error> {
    let invalid = |why: &'static str| {
        Error::new(ErrorKind::Invalid, Operation::Read)
            .on(name)
            .because(why)
    };
    let (total, skip) = match answer.content_range() {
        Some((start, total)) => {
            if start.is_some_and(|start| start != range.start) {
                return Err(invalid("the server sent another range"));
            }
            (total, 0)
        }
        None => (
            answer
                .length()
                .ok_or_else(|| invalid("the server told no size"))?,
            range.start,
        ),
    };
    let object = object(&answer, total);
    let mut body = answer.into_body();
    if skip > 0 {
        std::io::copy(&mut body.by_ref().take(skip), &mut std::io::sink())
            .map_err(|error| Error::from_io(error, Operation::Read, name))?;
    }
    let body = Exact::new(body, range.size_in(total), name);
    Ok(Reading {
        object,
        body: Box::new(body),
    })
}
