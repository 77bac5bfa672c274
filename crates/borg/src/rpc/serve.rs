//! The server's side: does for a client what it asks for, on one repository of this machine.
//!
//! The connection is the session. When it ends, for whatever reason, an open transaction is
//! undone and the lock is released, so a client that vanishes leaves nothing that needs a hand.
//! A server that is killed leaves a lock of a process that is gone, which the next one removes.
//!
//! What a client may reach is decided by [`ServeOptions`], after every link in its path was
//! resolved. The client's passphrase and key never come here.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::VERSION;
use super::failure::Failure;
use super::frames::{Broken, Frames};
use super::request::Request;
use super::said::Severity;
use crate::msgpack::Writer;
use crate::{
    Access, Compaction, Error, Host, Id, OpenOptions, Random, Repository, RepositoryOptions,
    SystemRandom, Transaction,
};

/// Answers are collected up to this before they are sent.
const OUTPUT_SIZE: usize = 64 * 1024;

/// Where no limit is given for waiting, we wait this long.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a client may do.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Only repositories in or below these folders; all when empty.
    pub restrict_to_paths: Vec<PathBuf>,
    /// Only these repositories; all when empty.
    pub restrict_to_repositories: Vec<PathBuf>,
    /// Free nothing, whatever the client asks for. A repository that is created through this is
    /// not append-only by itself.
    pub append_only: bool,
    /// In place of the repository's own quota, in bytes.
    pub storage_quota: Option<u64>,
    /// Permissions that new files do not get.
    pub umask: u32,
    /// What is less is not said.
    pub severity: Severity,
    /// Who we are in locks.
    pub host: Host,
    /// What `~` means.
    pub home_directory: PathBuf,
    /// The clock, for the log of append-only repositories.
    pub now: fn() -> Timestamp,
}

/// Serves one client until it closes the connection.
///
/// `log` is what the client shows to people.
///
/// # Errors
///
/// [`Error::Connection`] when the client sends what is no call, or does not take its answers.
/// What it asked for and cannot have is told to it and no error here.
pub fn serve(
    options: &ServeOptions,
    input: impl Read,
    output: impl Write,
    log: impl Write,
) -> Result<(), Error> {
    let mut frames = Frames::new(input);
    let mut server = Server {
        options,
        output,
        pending: Vec::new(),
        log: Log {
            output: log,
            is_json: false,
            severity: options.severity,
            now: options.now,
        },
        session: None,
    };
    loop {
        if !frames.has_more() || server.pending.len() >= OUTPUT_SIZE {
            server.flush()?;
        }
        let frame = match frames.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            // A client that was killed in the middle of a call is gone like any other.
            Err(Broken::Malformed(crate::Malformed::Truncated)) => break,
            Err(broken) => return Err(broken.into_error()),
        };
        let request =
            Request::parse(frame).map_err(|source| Broken::Malformed(source).into_error())?;
        server.answer(&request)?;
    }
    server.end()
}

impl Broken {
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Io(source) => Error::Connection { source },
            Self::Malformed(source) => Error::Connection {
                source: io::Error::other(source),
            },
        }
    }
}

struct Server<'a, O, L> {
    options: &'a ServeOptions,
    output: O,
    /// Answers that are not sent yet.
    pending: Vec<u8>,
    log: Log<L>,
    session: Option<Session>,
}

/// An open repository, as one client uses it.
struct Session {
    repository: Arc<Repository>,
    access: Access,
    transaction: Option<Transaction<Arc<Repository>>>,
    /// Why the transaction cannot be committed: said again to who tries.
    doom: Option<Failure>,
    /// All objects, while a client asks for them page by page.
    listing: Option<Listing>,
}

struct Listing {
    ids: Vec<Id>,
    /// In the order of the log, or of the index.
    by_position: bool,
    /// Where the last page has ended.
    next: usize,
}

/// What a call gives.
enum Answer {
    Nil,
    Flag(bool),
    Number(u64),
    Bytes(Vec<u8>),
    Ids(Vec<Id>),
    Version,
    /// To a client of Borg 1.0, which introduces itself with this number.
    OldVersion,
}

impl<O: Write, L: Write> Server<'_, O, L> {
    fn answer(&mut self, request: &Request<'_>) -> Result<(), Error> {
        let answer = self.act(request);
        let out = &mut self.pending;
        let number = request.number;
        match (answer, request.is_map) {
            (Ok(answer), true) => {
                let mut writer = Writer::new(out);
                writer.map(2);
                writer.raw("i");
                writer.unsigned(number);
                writer.raw("r");
                answer.write(out);
            }
            (Ok(answer), false) => {
                let mut writer = Writer::new(out);
                writer.array(4);
                writer.unsigned(1);
                writer.unsigned(number);
                writer.nil();
                answer.write(out);
            }
            (Err(failure), true) => failure.write(number, out),
            (Err(failure), false) => {
                let mut writer = Writer::new(out);
                writer.array(4);
                writer.unsigned(1);
                writer.unsigned(number);
                writer.raw(&failure.class);
                writer.raw("Remote Exception (see remote log for the reason)");
                self.log.say(Severity::Error, &failure.message);
            }
        }
        if self.pending.len() >= OUTPUT_SIZE {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let sent = self.output.write_all(&self.pending);
        self.pending.clear();
        sent.and_then(|()| self.output.flush())
            .map_err(|source| Error::Connection { source })
    }

    fn end(mut self) -> Result<(), Error> {
        if self.session.is_none() {
            let hint = "the connection was closed before a repository was opened";
            self.log.say(Severity::Warning, hint);
        }
        self.flush()
    }

    fn act(&mut self, request: &Request<'_>) -> Result<Answer, Failure> {
        match request.method {
            b"negotiate" => {
                if !request.introduces_itself() {
                    return Ok(match request.number("client_data") {
                        Ok(Some(2)) => Answer::OldVersion,
                        _ => Answer::Version,
                    });
                }
                self.log.is_json = true;
                Ok(Answer::Version)
            }
            b"open" => self.open(request),
            b"inject_exception" => Err(injected(request)),
            method => {
                let is_known = METHODS.contains(&method);
                let name = String::from_utf8_lossy(method);
                if !is_known {
                    let mut failure = Failure::new("InvalidRPCMethod", name);
                    failure.message = format!("RPC method {} is not valid.", failure.message);
                    return Err(failure);
                }
                let Some(session) = &mut self.session else {
                    return Err(Failure::new("Error", "no repository is open"));
                };
                if method == b"destroy" {
                    let session = self.session.take();
                    return session.map_or(Ok(Answer::Nil), Session::destroy);
                }
                session.act(request, &mut self.log, self.options.now)
            }
        }
    }

    fn open(&mut self, request: &Request<'_>) -> Result<Answer, Failure> {
        let path = request.bytes("path")?.unwrap_or_default();
        let path = resolve(path, &self.options.home_directory);
        let failed = |error: &Error| Failure::of(error, &path);
        self.options.admit(&path).map_err(|error| failed(&error))?;
        let options = self.options;
        let create = request.flag("create")?.unwrap_or_default();
        let lock_wait = request.float("lock_wait")?;
        let lock_wait = lock_wait.map(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let append_only = request.flag("append_only")?.unwrap_or_default();
        // A client that does not say for what wants to write, maybe, later.
        let access = match (request.flag("lock")?, request.flag("exclusive")?) {
            (Some(false), _) => Access::NoLock,
            (_, Some(false)) => Access::Read,
            _ => Access::Write,
        };
        let opened = (|| {
            if create {
                let mut id = [0; 32];
                let no_chance = |source| Error::Random { source };
                SystemRandom.fill(&mut id).map_err(no_chance)?;
                let new = RepositoryOptions {
                    append_only,
                    storage_quota: options.storage_quota.unwrap_or_default(),
                    make_parents: request.flag("make_parent_dirs").ok().flatten() == Some(true),
                    umask: options.umask,
                    ..RepositoryOptions::new(id)
                };
                Repository::create(&path, &new)?;
            }
            // The one that is open is let go of first: it may be the same.
            self.session = None;
            let open = OpenOptions {
                lock_wait: lock_wait.flatten().unwrap_or(WAIT_MAX),
                append_only: append_only || (options.append_only && !create),
                storage_quota: options.storage_quota,
                umask: options.umask,
                ..OpenOptions::new(access, &options.host)
            };
            Repository::open(&path, &open)
        })();
        let repository = opened.map_err(|error| failed(&error))?;
        let id = repository.id();
        self.session = Some(Session {
            repository: Arc::new(repository),
            access,
            transaction: None,
            doom: None,
            listing: None,
        });
        Ok(Answer::Bytes(id.0.to_vec()))
    }
}

/// What can be called once a repository is open.
const METHODS: [&[u8]; 15] = [
    b"__len__",
    b"break_lock",
    b"check",
    b"commit",
    b"commit_nonce_reservation",
    b"delete",
    b"destroy",
    b"get",
    b"get_free_nonce",
    b"list",
    b"load_key",
    b"put",
    b"rollback",
    b"save_key",
    b"scan",
];

impl ServeOptions {
    /// Whether the repository at this path, which has no links in it, may be reached.
    fn admit(&self, path: &Path) -> Result<(), Error> {
        let real = |allowed: &PathBuf| real_path(allowed);
        let mut folders = self.restrict_to_paths.iter().map(real);
        let mut repositories = self.restrict_to_repositories.iter().map(real);
        // `starts_with` compares whole names: /foobar is not below /foo.
        let in_folder =
            self.restrict_to_paths.is_empty() || folders.any(|folder| path.starts_with(folder));
        let is_one = self.restrict_to_repositories.is_empty()
            || repositories.any(|repository| repository == path);
        if in_folder && is_one {
            Ok(())
        } else {
            Err(Error::PathNotAllowed {
                path: path.to_string_lossy().into_owned(),
            })
        }
    }
}

impl Session {
    fn failure(&self, error: &Error) -> Failure {
        Failure::of(error, self.repository.path())
    }

    fn act<L: Write>(
        &mut self,
        request: &Request<'_>,
        log: &mut Log<L>,
        now: fn() -> Timestamp,
    ) -> Result<Answer, Failure> {
        let required = |name: &'static str| Failure::new("TypeError", format!("`{name}` missing"));
        match request.method {
            b"get" => {
                let id = request.id("id")?.ok_or_else(|| required("id"))?;
                let object = self.repository.get(&id);
                object.map(Answer::Bytes).map_err(|error| match error {
                    // Where no commit can be read, nobody knows what is missing.
                    Error::ObjectNotFound { .. } if self.has_lost_all_commits() => {
                        let what = "no commit can be read".into();
                        self.failure(&Error::CheckNeeded { what })
                    }
                    error => self.failure(&error),
                })
            }
            b"put" => {
                let id = request.id("id")?.ok_or_else(|| required("id"))?;
                let data = request.bytes("data")?.ok_or_else(|| required("data"))?;
                self.change(|transaction| transaction.put(&id, data).map(drop))
            }
            b"delete" => {
                let id = request.id("id")?.ok_or_else(|| required("id"))?;
                self.change(|transaction| transaction.delete(&id))
            }
            b"commit" => self.commit(request, log, now),
            b"rollback" => {
                self.doom = None;
                self.listing = None;
                match self.transaction.take().map(Transaction::roll_back) {
                    Some(Err(error)) => Err(self.failure(&error)),
                    _ => Ok(Answer::Nil),
                }
            }
            b"list" => self.list(request, false),
            b"scan" => self.list(request, true),
            b"__len__" => match self.repository.len() {
                Ok(count) => Ok(Answer::Number(count as u64)),
                Err(error) => Err(self.failure(&error)),
            },
            b"check" => self.check(request, log),
            b"load_key" => {
                let key = self.repository.load_key().unwrap_or_default();
                Ok(Answer::Bytes(key.into_bytes()))
            }
            b"save_key" => {
                let blob = request.bytes("keydata")?;
                let blob = blob.ok_or_else(|| required("keydata"))?;
                let blob = std::str::from_utf8(blob)
                    .map_err(|_| Failure::new("ValueError", "the key is not text"))?;
                let saved = self.repository.save_key(blob);
                saved.map(|()| Answer::Nil).map_err(|e| self.failure(&e))
            }
            b"get_free_nonce" => match self.repository.get_free_nonce() {
                Ok(free) => Ok(free.map_or(Answer::Nil, Answer::Number)),
                Err(error) => Err(self.failure(&error)),
            },
            // A stock client that checks a medium that cannot be written to reserves counters all the
            // same, and stores nothing: without a lock, it could not.
            b"commit_nonce_reservation" if self.access == Access::NoLock => Ok(Answer::Nil),
            b"commit_nonce_reservation" => {
                let next = request.number("next_unreserved")?;
                let next = next.ok_or_else(|| required("next_unreserved"))?;
                let start = request.number("start_nonce")?;
                let reserved = self.repository.commit_nonce_reservation(next, start);
                reserved.map(|()| Answer::Nil).map_err(|e| self.failure(&e))
            }
            b"break_lock" => {
                let broken = Repository::break_lock(self.repository.path());
                broken.map(|()| Answer::Nil).map_err(|e| self.failure(&e))
            }
            _ => Err(Failure::new("InvalidRPCMethod", "")),
        }
    }

    fn has_lost_all_commits(&self) -> bool {
        self.repository.transaction().is_none()
            && matches!(self.repository.tail(), crate::Tail::CommitDamaged { .. })
    }

    fn transaction(&mut self) -> Result<&Transaction<Arc<Repository>>, Error> {
        if self.transaction.is_none() {
            self.transaction = Some(Arc::clone(&self.repository).begin_owned()?);
        }
        self.transaction.as_ref().ok_or(Error::TransactionOpen)
    }

    fn change(
        &mut self,
        change: impl FnOnce(&Transaction<Arc<Repository>>) -> Result<(), Error>,
    ) -> Result<Answer, Failure> {
        let changed = self.transaction().and_then(change);
        self.listing = None;
        match changed {
            Ok(()) => Ok(Answer::Nil),
            // The reason is the one that counts, not that there was one.
            Err(Error::Doomed) => Err(self
                .doom
                .clone()
                .unwrap_or_else(|| self.failure(&Error::Doomed))),
            Err(error) => {
                let failure = self.failure(&error);
                if !matches!(error, Error::ObjectNotFound { .. }) {
                    self.doom.get_or_insert_with(|| failure.clone());
                }
                Err(failure)
            }
        }
    }

    fn commit<L: Write>(
        &mut self,
        request: &Request<'_>,
        log: &mut Log<L>,
        now: fn() -> Timestamp,
    ) -> Result<Answer, Failure> {
        self.listing = None;
        if let Some(doom) = self.doom.take() {
            self.transaction = None;
            return Err(doom);
        }
        let compact = request.flag("compact")?.unwrap_or(true);
        let options = Compaction {
            threshold: request.float("threshold")?.unwrap_or(0.1),
            cleanup_commits: request.flag("cleanup_commits")?.unwrap_or_default(),
        };
        let committed = self.transaction().map(drop).and_then(|()| {
            let transaction = self.transaction.take().ok_or(Error::TransactionOpen)?;
            if compact {
                let compacted = transaction.commit_and_compact(&options, now())?;
                let freed = format!("compaction freed about {} bytes", compacted.freed);
                log.say(Severity::Info, &freed);
                Ok(())
            } else {
                transaction.commit(now()).map(drop)
            }
        });
        committed
            .map(|()| Answer::Nil)
            .map_err(|error| self.failure(&error))
    }

    /// A page of the list of all objects.
    fn list(&mut self, request: &Request<'_>, by_position: bool) -> Result<Answer, Failure> {
        let limit = request.number("limit")?;
        let limit = limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        if limit == 0 {
            let failure = Failure::new("ValueError", "please use limit > 0 or limit = None");
            return Err(failure);
        }
        let mut listing = match self.listing.take() {
            Some(listing) if listing.by_position == by_position => listing,
            _ => {
                let ids = if by_position {
                    let ids = self.repository.ids_by_position();
                    ids.map(|ids| ids.into_iter().map(|(_, id)| id).collect())
                } else {
                    self.repository.ids()
                };
                Listing {
                    ids: ids.map_err(|error| self.failure(&error))?,
                    by_position,
                    next: 0,
                }
            }
        };
        let from = match request.id("marker")? {
            None => 0,
            // A client goes on where it has stopped, mostly.
            Some(marker) if listing.before_next() == Some(&marker) => listing.next,
            Some(marker) => match listing.ids.iter().position(|id| *id == marker) {
                Some(index) => index + 1,
                None => return Err(Failure::new("KeyError", marker.to_string())),
            },
        };
        let to = from.saturating_add(limit).min(listing.ids.len());
        let page = listing.ids.get(from..to).unwrap_or_default().to_vec();
        if to < listing.ids.len() {
            listing.next = to;
            self.listing = Some(listing);
        }
        Ok(Answer::Ids(page))
    }

    fn check<L: Write>(
        &mut self,
        request: &Request<'_>,
        log: &mut Log<L>,
    ) -> Result<Answer, Failure> {
        let repair = request.flag("repair")?.unwrap_or_default();
        let seconds = request.float("max_duration")?.unwrap_or_default();
        let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        log.say(Severity::Info, "Starting repository check");
        let mut shown = Instant::now();
        let mut progress = |done: usize, total: usize| {
            if shown.elapsed() >= Duration::from_secs(1) {
                shown = Instant::now();
                log.progress(done, total);
            }
        };
        let checked = if limit.is_zero() {
            self.repository.check(&mut progress)
        } else {
            self.repository.check_for(limit, &mut progress)
        };
        let checked = checked.map_err(|error| self.failure(&error))?;
        for place in &checked.damages {
            log.say(Severity::Error, &place.damage.to_string());
        }
        for difference in &checked.index_differences {
            let text = format!("the index has object {} in a wrong place", difference.id);
            log.say(Severity::Error, &text);
        }
        if let Some(crate::Tail::CommitDamaged { segment, .. }) = checked.tail {
            log.say(
                Severity::Error,
                &Error::CommitDamaged { segment }.to_string(),
            );
        }
        let mut is_good = checked.is_good();
        log.say(
            Severity::Info,
            match is_good {
                true => "Finished the repository check, no problems found.",
                false => "Finished the repository check, problems found.",
            },
        );
        if repair && (!is_good || checked.index_missing) {
            let repaired = self.repository.repair(&checked);
            repaired.map_err(|error| self.failure(&error))?;
            is_good = true;
        } else if is_good && checked.index_missing {
            // It only saves the next one the time to make it, so it does not matter if it fails.
            let _ = self.repository.repair(&checked);
        }
        Ok(Answer::Flag(is_good))
    }

    fn destroy(mut self) -> Result<Answer, Failure> {
        self.transaction = None;
        let path = self.repository.path().to_owned();
        let destroyed = match Arc::into_inner(self.repository) {
            Some(repository) => repository.destroy(),
            None => Err(Error::TransactionOpen),
        };
        destroyed
            .map(|()| Answer::Nil)
            .map_err(|error| match error {
                Error::AppendOnly { path } => Failure::new(
                    "ValueError",
                    format!("{} is in append-only mode", path.display()),
                ),
                error => Failure::of(&error, &path),
            })
    }
}

impl Listing {
    fn before_next(&self) -> Option<&Id> {
        self.ids.get(self.next.checked_sub(1)?)
    }
}

impl Answer {
    fn write(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        match self {
            Self::Nil => writer.nil(),
            Self::Flag(flag) => writer.boolean(*flag),
            Self::Number(number) => writer.unsigned(*number),
            Self::Bytes(bytes) => writer.raw(bytes),
            Self::Ids(ids) => {
                writer.array(ids.len());
                for id in ids {
                    writer.raw(id.0);
                }
            }
            Self::Version => {
                writer.map(1);
                writer.raw("server_version");
                writer.array(VERSION.len());
                for number in VERSION {
                    writer.signed(number);
                }
            }
            Self::OldVersion => writer.unsigned(2),
        }
    }
}

/// What people at the other end see.
struct Log<L> {
    output: L,
    /// Whether the client has introduced itself as one that reads JSON.
    is_json: bool,
    severity: Severity,
    now: fn() -> Timestamp,
}

impl<L: Write> Log<L> {
    fn say(&mut self, severity: Severity, message: &str) {
        if severity < self.severity {
            return;
        }
        let level = severity.name();
        if self.is_json {
            self.line(&json!({
                "type": "log_message",
                "time": self.time(),
                "message": message,
                "levelname": level,
                "name": "borg.repository",
            }));
        } else {
            // Nobody is harmed when it cannot be said.
            let _ = writeln!(
                self.output,
                "$LOG {level} borg.repository Remote: {message}"
            );
        }
    }

    fn progress(&mut self, done: usize, total: usize) {
        if self.is_json {
            let percent = (done * 100).checked_div(total).unwrap_or(100);
            self.line(&json!({
                "type": "progress_percent",
                "operation": 1,
                "msgid": "repository.check",
                "finished": false,
                "message": format!("Checking segments {percent:3}%"),
                "current": done,
                "total": total,
                "info": [],
                "time": self.time(),
            }));
        }
    }

    /// Seconds since 1970.
    fn time(&self) -> f64 {
        (self.now)()
            .duration_since(Timestamp::UNIX_EPOCH)
            .as_secs_f64()
    }

    fn line(&mut self, line: &serde_json::Value) {
        let _ = writeln!(self.output, "{line}");
    }
}

/// Where a client's path leads, without any link in it: below the home directory for `~`, below
/// the current folder for one that is not absolute.
fn resolve(path: &[u8], home_directory: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let native = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    let path = match path.strip_prefix(b"/").unwrap_or(path) {
        rest if rest.first() == Some(&b'~') => {
            let (user, rest) = match rest.iter().position(|byte| *byte == b'/') {
                Some(at) => (&rest[1..at], &rest[at + 1..]),
                None => (&rest[1..], &[][..]),
            };
            match home_of(user, home_directory) {
                Some(home) => home.join(native(rest)),
                // No such person: a name like any other.
                None => native(path),
            }
        }
        rest if path.starts_with(b"/./") => native(&rest[2..]),
        _ => native(path),
    };
    real_path(&path)
}

fn home_of(user: &[u8], own: &Path) -> Option<PathBuf> {
    if user.is_empty() {
        return Some(own.to_owned());
    }
    let user = std::str::from_utf8(user).ok()?;
    let user = nix::unistd::User::from_name(user).ok().flatten()?;
    Some(user.dir)
}

/// The absolute path without links and `..`, as far as it is there.
fn real_path(path: &Path) -> PathBuf {
    use std::path::Component;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut real = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::ParentDir => {
                real.pop();
            }
            Component::Normal(name) => {
                real.push(name);
                // What is not there has no links in it either.
                if let Ok(found) = real.canonicalize() {
                    real = found;
                }
            }
            _ => {}
        }
    }
    real
}

/// For the tests of Borg's own client: an error of this name, with arguments that are known.
fn injected(request: &Request<'_>) -> Failure {
    let kind = request.bytes("kind").ok().flatten().unwrap_or_default();
    let class = match kind {
        b"divide" => return Failure::new("ZeroDivisionError", "division by zero"),
        kind => String::from_utf8_lossy(kind).into_owned(),
    };
    let argument = if kind == b"PathNotAllowed" {
        "foo"
    } else {
        "test string"
    };
    Failure {
        message: class.clone(),
        class,
        arguments: vec![argument.into(), "test string2".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ServeOptions {
        ServeOptions {
            restrict_to_paths: Vec::new(),
            restrict_to_repositories: Vec::new(),
            append_only: false,
            storage_quota: None,
            umask: 0o077,
            severity: Severity::Warning,
            host: Host::named("test"),
            home_directory: "/home/ada".into(),
            now: || Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn tildes_and_links_are_resolved_before_anything_is_admitted() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().canonicalize().unwrap();
        std::fs::create_dir(folder.join("foo")).unwrap();
        std::fs::create_dir(folder.join("foobar")).unwrap();
        std::os::unix::fs::symlink(folder.join("foobar"), folder.join("foo/out")).unwrap();
        let path = |rest: &str| resolve(folder.join(rest).as_os_str().as_encoded_bytes(), &folder);
        let mut options = options();
        options.restrict_to_paths = vec![folder.join("foo")];
        for (rest, is_admitted) in [
            ("foo", true),
            ("foo/new", true),
            ("foo/../foo/new", true),
            ("foobar", false),
            ("foo/out/new", false),
            ("foo/../foobar", false),
            ("foo/new/../../foobar", false),
            ("", false),
        ] {
            assert_eq!(options.admit(&path(rest)).is_ok(), is_admitted, "{rest}");
        }
        for text in ["~/foo/x", "/~/foo/x"] {
            assert_eq!(resolve(text.as_bytes(), &folder), folder.join("foo/x"));
        }
        options.restrict_to_repositories = vec![folder.join("foo/one")];
        assert!(options.admit(&path("foo/one")).is_ok());
        assert!(options.admit(&path("foo/one/below")).is_err());
    }

    #[test]
    fn relative_paths_are_below_the_current_folder() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        for text in ["x/y", "/./x/y", "./x/y"] {
            assert_eq!(resolve(text.as_bytes(), Path::new("/h")), here.join("x/y"));
        }
    }
}
