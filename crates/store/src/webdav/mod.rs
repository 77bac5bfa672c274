//! WebDAV: Nextcloud, NAS boxes, and what else speaks it.
//!
//! A write goes to a name of its own, then gets its final name with MOVE, which servers do in one step: with
//! `Overwrite: T` it replaces, with `Overwrite: F` it refuses. PUT's own preconditions are not
//! used, for there are servers that ignore them and replace all the same. A crash before the MOVE leaves a
//! `.ravelin-tmp-` file that no listing shows. The size is compared before the MOVE, so that an
//! upload that was cut short replaces nothing. When the answer to the MOVE was lost, the second
//! try finds its source gone; then the target tells whether the first one was carried out.
//!
//! Deleting and reading first make sure that the name is not a folder: DELETE on a folder would take
//! all that is in it. So would a MOVE that replaces: it is asked for only where a file stands. A folder
//! in which nothing is gives way: it is first given a name that nobody knows, so that whoever puts
//! something into it meanwhile meets another folder, and is removed if it is empty then.
//!
//! Some servers decode the destination of a MOVE before they take it apart, and cut it at a `?` or `;`
//! of the name: the file would take another's place. Before the first such name is written, the server
//! is tried with names that nobody has; one that cuts gets no such names.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;

use crate::abandoned::{TEMPORARY, is_older, is_temporary, temporary};
use crate::http::{Http, Method, Refusal, Request, Service, encode_path, origin, parse_http_date};
use crate::retry::same_bytes;
use crate::s3::{ranged, reading};
use crate::xml::{self, Element};
use crate::{
    Capabilities, Content, Environment, Error, ErrorKind, Folder, Name, Object, Operation, Range,
    Reading, Scope, Secret, Server, Space, Store, WriteMode,
};

/// What is asked of each object.
const PROPERTIES: &str = r#"<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:getcontentlength/><D:getlastmodified/><D:getetag/></D:prop></D:propfind>"#;

/// What is asked of the folder that holds all.
const QUOTA: &str = r#"<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:quota-available-bytes/><D:quota-used-bytes/></D:prop></D:propfind>"#;

/// The signs that addresses end or are encoded with.
const MARKS: [char; 4] = ['?', ';', '#', '%'];

/// A folder of a WebDAV server.
pub struct WebDav {
    http: Http,
    /// Address of the folder, without a slash at its end.
    base: String,
    login: Login,
    /// Of each of [`MARKS`] that was tried, whether the server takes it in a destination.
    marks: Mutex<BTreeMap<char, bool>>,
}

struct Login(Option<(String, Secret)>);

impl Service for Login {
    fn sign(&self, _: &Http, request: &mut Request<'_>) -> Result<(), Error> {
        use base64::Engine as _;
        if let Some((user, password)) = &self.0 {
            let pair = format!("{user}:{}", password.expose());
            let value = base64::engine::general_purpose::STANDARD.encode(pair);
            request.set_header("authorization", format!("Basic {value}"));
        }
        Ok(())
    }

    fn explain(&self, refusal: &Refusal) -> ErrorKind {
        match refusal.status {
            // A missing parent folder; the caller creates it.
            409 => ErrorKind::NotFound,
            405 => ErrorKind::AlreadyExists,
            _ => refusal.usual_kind(),
        }
    }
}

/// What a server tells of one thing.
struct Found {
    /// Below our folder; empty for it itself.
    path: String,
    is_folder: bool,
    size: u64,
    modified: Option<SystemTime>,
    version: Option<String>,
}

impl WebDav {
    /// Takes a location. Nothing is asked yet.
    #[must_use]
    pub fn new(tls: bool, server: &Server, path: &str, environment: &Environment) -> Self {
        let scheme = if tls { "https" } else { "http" };
        let host = if server.host.contains(':') {
            format!("[{}]", server.host)
        } else {
            server.host.clone()
        };
        let port = server
            .port
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        let slash = if path.is_empty() { "" } else { "/" };
        let password = environment
            .password
            .clone()
            .or_else(|| server.password.clone());
        let login = server
            .user
            .clone()
            .map(|user| (user, password.unwrap_or_else(|| Secret::new(""))));
        Self {
            http: Http::new(environment),
            base: format!("{scheme}://{host}{port}{slash}{}", encode_path(path)),
            login: Login(login),
            marks: Mutex::default(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/{}", self.base, encode_path(path))
    }

    fn propfind(
        &self,
        path: &str,
        depth: &str,
        operation: Operation,
        ask: &str,
    ) -> Result<Vec<Element>, Error> {
        let shown = if path.is_empty() { "/" } else { path };
        let request = Request::new(
            Method::Propfind,
            self.url(path),
            "webdav propfind",
            operation,
            shown,
        )
        .header("depth", depth)
        .header("content-type", "application/xml; charset=utf-8")
        .bytes(ask.as_bytes().to_vec());
        let bytes = self.http.call(&self.login, &request)?.bytes()?;
        let answer =
            xml::parse(&bytes).map_err(|error| request.error(ErrorKind::Invalid).because(error))?;
        Ok(answer.all("response").cloned().collect())
    }

    /// Understands one response; `None` when it is not below our folder or has no properties.
    fn found(&self, response: &Element) -> Option<Found> {
        let href = response.text_of("href").trim();
        let own = origin(&self.base);
        let base = percent_decode_str(self.base.get(own.len()..)?)
            .decode_utf8()
            .ok()?;
        let path = percent_decode_str(href.strip_prefix(own).unwrap_or(href))
            .decode_utf8()
            .ok()?;
        let path = path.strip_prefix(&*base)?.trim_matches('/').to_owned();
        let properties = response
            .all("propstat")
            .find(|part| part.text_of("status").split(' ').nth(1) == Some("200"))?
            .child("prop")?;
        let text = |name| Some(properties.text_of(name).trim()).filter(|text| !text.is_empty());
        let modified = text("getlastmodified").and_then(parse_http_date);
        let is_folder = properties
            .child("resourcetype")
            .is_some_and(|kind| kind.child("collection").is_some());
        Some(Found {
            path,
            is_folder,
            // The size of a file has to be there; folders have none.
            size: match text("getcontentlength") {
                Some(size) => size.parse().ok()?,
                None if is_folder => 0,
                None => return None,
            },
            modified,
            version: text("getetag")
                .map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned()),
        })
    }

    fn look(&self, name: &Name, operation: Operation) -> Result<Object, Error> {
        self.look_at(name.as_str(), name, operation)
    }

    /// Looks at a path that stands for an object while it is written.
    fn look_at(&self, path: &str, name: &Name, operation: Operation) -> Result<Object, Error> {
        let missing = || Error::new(ErrorKind::NotFound, operation).on(name);
        let responses = self.propfind(path, "0", operation, PROPERTIES)?;
        let found = responses
            .iter()
            .find_map(|response| self.found(response))
            .ok_or_else(missing)?;
        if found.is_folder {
            return Err(missing().because("it is a folder"));
        }
        Ok(found.object(name.clone()))
    }

    /// Whether PUT honours `If-None-Match`: tried on an object of this name, which is removed. No
    /// other operation relies on it.
    ///
    /// # Errors
    ///
    /// When the server cannot be asked.
    pub fn honours_preconditions(&self, name: &Name) -> Result<bool, Error> {
        let put = || {
            let url = self.url(name.as_str());
            let request = Request::new(Method::Put, url, "webdav put", Operation::Write, name)
                .header("if-none-match", "*")
                .bytes(b"1".to_vec());
            self.http.call(&self.login, &request).map(drop)
        };
        self.create_folders(&name.folder(), Operation::Write)?;
        put()?;
        let second = put();
        self.delete(name)?;
        match second {
            Ok(()) => Ok(false),
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Creates the folders above an object, the outermost first.
    fn create_folders(&self, folder: &Folder, operation: Operation) -> Result<(), Error> {
        // The store's own folder may be missing, too.
        let base = self
            .base
            .get(origin(&self.base).len()..)
            .unwrap_or_default()
            .trim_matches('/')
            .to_owned();
        let mut url = origin(&self.base).to_owned();
        let below = encode_path(folder.as_str());
        for component in base
            .split('/')
            .chain(below.split('/'))
            .filter(|component| !component.is_empty())
        {
            url = format!("{url}/{component}");
            let request = Request::new(
                Method::Mkcol,
                format!("{url}/"),
                "webdav mkcol",
                operation,
                folder,
            );
            match self.http.call(&self.login, &request) {
                // Above our own folder we may not be allowed to do anything, nor need we.
                Err(error)
                    if matches!(
                        error.kind,
                        ErrorKind::AlreadyExists | ErrorKind::Denied | ErrorKind::Invalid
                    ) => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// Calls `visit` with every file.
    fn walk(
        &self,
        folder: &Folder,
        scope: Scope,
        visit: &mut dyn FnMut(Found) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut folders = vec![folder.as_str().to_owned()];
        while let Some(path) = folders.pop() {
            let responses = match self.propfind(&path, "1", Operation::List, PROPERTIES) {
                Err(error) if error.kind == ErrorKind::NotFound => continue,
                result => result?,
            };
            for found in responses.iter().filter_map(|response| self.found(response)) {
                // A server that answers with what was not asked for must not lead us in circles.
                let below = if path.is_empty() {
                    Some(&*found.path)
                } else {
                    found
                        .path
                        .strip_prefix(&path)
                        .and_then(|rest| rest.strip_prefix('/'))
                };
                if below.is_none_or(|rest| rest.is_empty() || rest.contains('/')) {
                    continue;
                }
                if found.is_folder {
                    // What is no name is not ours, nor is anything in it.
                    if scope == Scope::Tree
                        && !is_temporary(&found.path)
                        && Name::new(&found.path).is_ok()
                    {
                        folders.push(found.path);
                    }
                } else if visit(found)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn relocate(
        &self,
        from: &str,
        to: &str,
        replace: bool,
        operation: Operation,
    ) -> Result<(), Error> {
        let (method, class) = match operation {
            Operation::Copy => (Method::Copy, "webdav copy"),
            _ => (Method::Move, "webdav move"),
        };
        let request = Request::new(method, self.url(from), class, operation, to)
            .header("destination", self.url(to))
            .header("overwrite", if replace { "T" } else { "F" });
        self.http.call(&self.login, &request).map(drop)
    }

    /// Gives an upload its name, in the place of an object that may have it.
    fn replace(&self, from: &str, to: &Name) -> Result<(), Error> {
        let mut taken = match self.relocate(from, to.as_str(), false, Operation::Write) {
            Err(error) if error.kind == ErrorKind::AlreadyExists => error,
            result => return result,
        };
        if self.clear_folder(to)? {
            match self.relocate(from, to.as_str(), false, Operation::Write) {
                Err(error) if error.kind == ErrorKind::AlreadyExists => taken = error,
                result => return result,
            }
        }
        // Only a file is replaced.
        self.look(to, Operation::Write).map_err(|error| {
            if error.kind == ErrorKind::NotFound {
                let kind = ErrorKind::Invalid;
                let why = "a folder in which something is has this name";
                Error::new(kind, Operation::Write).on(to).because(why)
            } else {
                error
            }
        })?;
        let moved = self.relocate(from, to.as_str(), true, Operation::Write);
        moved.map_err(|error| Error {
            // The first request may have been carried out, and only its answer lost.
            doubtful: error.doubtful || taken.doubtful,
            ..error
        })
    }

    /// Removes a folder of this name in which nothing is but such folders. Whether it did.
    fn clear_folder(&self, name: &Name) -> Result<bool, Error> {
        let is_empty = |path: &str| -> Result<bool, Error> {
            let folder =
                Folder::new(path).map_err(|why| Error::bad_name(path, Operation::Write, why))?;
            let mut empty = true;
            self.walk(&folder, Scope::Tree, &mut |_| {
                empty = false;
                Ok(ControlFlow::Break(()))
            })?;
            Ok(empty)
        };
        let responses = self.propfind(name.as_str(), "0", Operation::Write, PROPERTIES)?;
        let found = responses.iter().find_map(|response| self.found(response));
        if !found.is_some_and(|found| found.is_folder) || !is_empty(name.as_str())? {
            return Ok(false);
        }
        let aside = temporary(name, &self.http.environment);
        let aside =
            Name::new(&aside).map_err(|why| Error::bad_name(&aside, Operation::Write, why))?;
        self.relocate(name.as_str(), aside.as_str(), false, Operation::Write)?;
        if !is_empty(aside.as_str())? {
            self.relocate(aside.as_str(), name.as_str(), false, Operation::Write)?;
            return Ok(false);
        }
        self.remove(aside.as_str(), name, Operation::Write)?;
        Ok(true)
    }

    /// Deletes what stands there, a folder with all that is in it.
    fn remove(&self, path: &str, name: &Name, operation: Operation) -> Result<(), Error> {
        let url = self.url(path);
        let request = Request::new(Method::Delete, url, "webdav delete", operation, name);
        match self.http.call(&self.login, &request) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    /// Refuses a name with a sign at which the server cuts the destination of a MOVE.
    fn check_marks(&self, name: &Name, operation: Operation) -> Result<(), Error> {
        for mark in MARKS {
            if name.as_str().contains(mark) && !self.takes(mark, name, operation)? {
                let why = format!("this server cuts names at `{mark}`");
                return Err(Error::new(ErrorKind::Invalid, operation)
                    .on(name)
                    .because(why));
            }
        }
        Ok(())
    }

    fn takes(&self, mark: char, name: &Name, operation: Operation) -> Result<bool, Error> {
        let marks = || self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = marks().get(&mark).copied() {
            return Ok(known);
        }
        // In our own folder, which has no such signs but what the location says.
        let from = format!("{TEMPORARY}{}", self.http.environment.random_name());
        // What is decoded twice would become another sign.
        let to = match mark {
            '%' => format!("{from}%41"),
            mark => format!("{from}{mark}x"),
        };
        let to = Name::new(&to).map_err(|why| Error::bad_name(&to, operation, why))?;
        let put = || {
            let url = self.url(&from);
            let request =
                Request::new(Method::Put, url, "webdav put", operation, name).bytes(Vec::new());
            self.http.call(&self.login, &request).map(drop)
        };
        match put() {
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.create_folders(&Folder::root(), operation)?;
                put()?;
            }
            result => result?,
        }
        let moved = self.relocate(&from, to.as_str(), false, operation);
        let arrived = match self.look(&to, operation) {
            Ok(_) => true,
            Err(error) if error.kind == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        for left in [to.as_str(), from.as_str()] {
            // No listing shows it.
            let _ = self.remove(left, name, operation);
        }
        if let Err(error) = moved
            && error.is_passing()
        {
            return Err(error);
        }
        marks().insert(mark, arrived);
        Ok(arrived)
    }
}

impl Found {
    fn object(self, name: Name) -> Object {
        Object {
            name,
            size: self.size,
            modified: self.modified,
            version: self.version,
            digest: None,
        }
    }
}

impl Store for WebDav {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create: true,
            rename: true,
            copy: true,
            ..Capabilities::default()
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.walk(folder, scope, &mut |found| {
            if is_temporary(&found.path) {
                return Ok(ControlFlow::Continue(()));
            }
            match Name::new(&found.path) {
                Ok(name) => Ok(each(found.object(name))),
                Err(_) => Ok(ControlFlow::Continue(())),
            }
        })
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        self.look(name, Operation::Stat)
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let object = self.look(name, Operation::Read)?;
        if range.size_in(object.size) == 0 {
            return Ok(Reading {
                object,
                body: Box::new(std::io::empty()),
            });
        }
        let request = Request::new(
            Method::Get,
            self.url(name.as_str()),
            "webdav get",
            Operation::Read,
            name,
        );
        let answer = self.http.call(&self.login, &ranged(request, range))?;
        let version = answer
            .header("etag")
            .map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
        let changed = version.is_some() && object.version.is_some() && version != object.version;
        let reading = reading(answer, name, range, |_, size| Object {
            size,
            ..object.clone()
        })?;
        if changed || reading.object.size != object.size {
            return Err(Error::new(ErrorKind::Changed, Operation::Read).on(name));
        }
        Ok(reading)
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        self.check_marks(name, Operation::Write)?;
        let folder = name.folder();
        let temporary = temporary(name, &self.http.environment);
        let put = || {
            let request = Request::new(
                Method::Put,
                self.url(&temporary),
                "webdav put",
                Operation::Write,
                name,
            );
            self.http
                .call(&self.login, &request.content(content))
                .map(drop)
        };
        let written = match put() {
            Err(error) if error.kind == ErrorKind::NotFound => self
                .create_folders(&folder, Operation::Write)
                .and_then(|()| put()),
            result => result,
        };
        let confirm = |object: Object| {
            if object.size == content.size() {
                return Ok(object);
            }
            let why = format!("the server has {} bytes of {}", object.size, content.size());
            Err(Error::new(ErrorKind::Corrupt, Operation::Write)
                .on(name)
                .because(why))
        };
        let moved = written
            .and_then(|()| self.look_at(&temporary, name, Operation::Write))
            .and_then(confirm)
            .and_then(|_| {
                let named = match mode {
                    WriteMode::Replace => self.replace(&temporary, name),
                    WriteMode::Create => {
                        self.relocate(&temporary, name.as_str(), false, Operation::Write)
                    }
                };
                match named {
                    Err(error)
                        if error.kind == ErrorKind::NotFound
                            && error.doubtful
                            && same_bytes(self, name, content).unwrap_or(false) =>
                    {
                        Ok(())
                    }
                    result => result,
                }
            });
        if let Err(error) = moved {
            let request = Request::new(
                Method::Delete,
                self.url(&temporary),
                "webdav delete",
                Operation::Write,
                name,
            );
            // What stays is not listed.
            let _ = self.http.call_once(&self.login, &request);
            return Err(error);
        }
        self.look(name, Operation::Write).and_then(confirm)
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        match self.look(name, Operation::Delete) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        self.remove(name.as_str(), name, Operation::Delete)
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.check_marks(to, Operation::Rename)?;
        self.look(from, Operation::Rename)?;
        match self.relocate(from.as_str(), to.as_str(), false, Operation::Rename) {
            // Gone after a try whose answer was lost: who asked looks at the target.
            Err(error)
                if error.doubtful
                    && error.kind == ErrorKind::NotFound
                    && self.look(from, Operation::Rename).is_err() =>
            {
                Err(error)
            }
            Err(error)
                if matches!(
                    error.kind,
                    ErrorKind::NotFound
                        | ErrorKind::Invalid
                        | ErrorKind::Denied
                        | ErrorKind::Unavailable
                ) =>
            {
                self.create_folders(&to.folder(), Operation::Rename)?;
                self.relocate(from.as_str(), to.as_str(), false, Operation::Rename)
            }
            result => result,
        }
    }

    /// Beside the target first: a server may fill a file bit by bit.
    fn copy(&self, from: &Name, to: &Name) -> Result<(), Error> {
        self.check_marks(to, Operation::Copy)?;
        self.look(from, Operation::Copy)?;
        self.create_folders(&to.folder(), Operation::Copy)?;
        let temporary = temporary(to, &self.http.environment);
        self.relocate(from.as_str(), &temporary, true, Operation::Copy)?;
        self.replace(&temporary, to)
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let responses = match self.propfind("", "0", Operation::Space, QUOTA) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        let number = |name: &str| -> Option<u64> {
            let response = responses.first()?;
            response
                .all("propstat")
                .find_map(|part| part.child("prop")?.text_of(name).trim().parse().ok())
        };
        // Some servers tell unlimited space as a negative number: that is no number for us.
        Ok(number("quota-available-bytes").map(|free| Space {
            free,
            total: number("quota-used-bytes").map(|used| used.saturating_add(free)),
        }))
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        let now = (self.http.environment.clock)();
        let mut removed = 0;
        self.walk(&Folder::root(), Scope::Tree, &mut |found| {
            if is_temporary(&found.path) && is_older(found.modified, now, age) {
                let name = Name::new(&found.path)
                    .map_err(|why| Error::bad_name(&found.path, Operation::Delete, why))?;
                self.delete(&name)?;
                removed += 1;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(removed)
    }
}
