//! The client's side: a repository on another machine, through the person's own `ssh`.
//!
//! Any number of threads may call at once. A call is written under a lock and its answer waited
//! for outside of it, so calls of several threads, objects that are asked for ahead, and puts
//! that nobody waits for are on their way together. One thread reads the answers and hands each
//! to who waits for it; another keeps what is said on standard error.
//!
//! A put that failed is found out at the latest before a commit: that waits for all answers, and
//! does not commit unless all of them are good. When the connection breaks, everybody who waits
//! hears so, and nothing that was not committed counts.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use store::{Bandwidth, LimitedWriter};

use super::failure::Failure;
use super::frames::Frames;
use super::prefetch::Prefetch;
use super::request::positions;
use super::said::{Said, ServerListener};
use super::{IN_FLIGHT_MAX, VERSION};
use crate::OBJECT_SIZE_MAX;
use crate::msgpack::{Head, Reader, Writer};
use crate::{
    Access, Compaction, ENTRY_HEADER_SIZE, Error, Id, Malformed, OpenOptions, RepositoryOptions,
    SshLocation,
};

/// Lines of standard error that are kept for an error's text.
const LINES_KEPT: usize = 20;

/// After the last answer, we listen so long for the reason why there are no more.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// When we close the connection, the other end has so long to undo and to unlock.
const FAREWELL: Duration = Duration::from_secs(30);

/// Objects in one answer to a list.
const PAGE_SIZE: u64 = 10_000;

/// A repository on another machine.
pub struct Remote {
    location: SshLocation,
    id: Id,
    /// Whether the server takes arguments by name: Borg 1.1 and later.
    takes_names: bool,
    /// As it said it.
    server_version: String,
    pipe: Mutex<Pipe>,
    shared: Arc<Shared>,
    prefetch: Mutex<Prefetch<Pending>>,
    in_transaction: AtomicBool,
    child: Child,
    threads: Vec<JoinHandle<()>>,
}

/// What has been written to a repository on another machine and does not count yet.
#[derive(Debug)]
pub struct RemoteChanges {
    remote: Arc<Remote>,
    /// Whether there may be something to undo.
    is_open: bool,
}

/// The version in the answer of a server: major, minor, patch, and what this program has no use
/// for.
fn version_of(answer: &[u8]) -> Option<String> {
    let mut reader = Reader::new(answer);
    for _ in 0..reader.map().ok()? {
        if reader.raw().ok()? != b"server_version" {
            reader.skip().ok()?;
            continue;
        }
        let mut numbers = Vec::new();
        for index in 0..reader.array().ok()? {
            let number = reader.signed().ok()?;
            if index < 3 {
                numbers.push(number.to_string());
            }
        }
        return Some(numbers.join("."));
    }
    None
}

/// The way to the server.
struct Pipe {
    /// `None` once it is closed.
    stdin: Option<LimitedWriter<ChildStdin>>,
    next_number: u64,
    scratch: Vec<u8>,
}

/// What the threads share.
struct Shared {
    location: String,
    state: Mutex<State>,
    /// Something was answered, or the connection is gone.
    changed: Condvar,
    /// The last lines of standard error.
    said: Mutex<Vec<String>>,
    listener: Option<ServerListener>,
}

#[derive(Default)]
struct State {
    /// Who waits for which answer; `None` for nobody.
    waiting: HashMap<u64, Option<Sender<Answer>>>,
    /// Calls without anybody who waits.
    unattended: usize,
    /// The first of those that failed.
    failure: Option<Failure>,
    /// Why there will be no more answers.
    closed: Option<Closed>,
    /// Standard error has ended.
    all_said: bool,
}

#[derive(Debug, Clone)]
enum Closed {
    /// The other end is gone.
    Lost,
    /// It speaks something else.
    Protocol(String),
}

/// A result, as it is encoded.
type Answer = Result<Vec<u8>, Failure>;

/// An answer that is on its way.
struct Pending(Receiver<Answer>);

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.location)
    }
}

impl Remote {
    /// Makes a new, empty repository, which is open then.
    ///
    /// The server chooses its id and its sizes; only what a client may ask for counts of
    /// `options`.
    pub(crate) fn create(
        location: &SshLocation,
        options: &RepositoryOptions,
        open: &OpenOptions,
    ) -> Result<Self, Error> {
        let mut remote = Self::connect(location, options.storage_quota)?;
        remote.id = remote.open_path(open, Some(options))?;
        Ok(remote)
    }

    /// Connects to a server and opens the repository there.
    pub(crate) fn open(location: &SshLocation, options: &OpenOptions) -> Result<Self, Error> {
        let mut remote = Self::connect(location, 0)?;
        remote.id = remote.open_path(options, None)?;
        Ok(remote)
    }

    /// Removes the locks of a repository, whoever holds them. For a person who knows that nobody
    /// uses it.
    ///
    /// # Errors
    ///
    /// Those of the connection and of the server.
    pub fn break_lock(location: &SshLocation, options: &OpenOptions) -> Result<(), Error> {
        let options = OpenOptions {
            access: Access::NoLock,
            ..options.clone()
        };
        Self::open(location, &options)?
            .call("break_lock", &[])
            .map(drop)
    }

    /// Starts `ssh` and exchanges versions. A quota is for a repository that will be made: no call
    /// takes one.
    fn connect(location: &SshLocation, storage_quota: u64) -> Result<Self, Error> {
        let mut command = command(location, storage_quota);
        let program = command.get_program().to_string_lossy().into_owned();
        let cannot_start = |source| Error::Start {
            program,
            location: location.to_string(),
            source,
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot_start)?;
        let shared = Arc::new(Shared {
            location: location.to_string(),
            state: Mutex::default(),
            changed: Condvar::new(),
            said: Mutex::default(),
            listener: location.listener.clone(),
        });
        let mut threads = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || shared.listen(stderr)));
        }
        if let Some(stdout) = child.stdout.take() {
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || shared.receive(stdout)));
        }
        let bandwidth = Arc::new(Bandwidth::default());
        bandwidth.set(location.upload_limit, None);
        let mut remote = Self {
            location: location.clone(),
            id: Id::MANIFEST,
            takes_names: false,
            server_version: "unknown".into(),
            pipe: Mutex::new(Pipe {
                stdin: child.stdin.take().map(|stdin| bandwidth.writer(stdin)),
                next_number: 0,
                scratch: Vec::new(),
            }),
            shared,
            prefetch: Mutex::default(),
            in_transaction: AtomicBool::new(false),
            child,
            threads,
        };
        remote.negotiate()?;
        Ok(remote)
    }

    /// Asks a server for its version, without opening anything. One from before Borg 1.1 does not
    /// say it: `unknown`.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub fn server_version(location: &SshLocation) -> Result<String, Error> {
        Ok(Self::connect(location, 0)?.server_version.clone())
    }

    fn negotiate(&mut self) -> Result<(), Error> {
        let answer = self.call(
            "negotiate",
            &[("client_data", &|w: &mut Writer<'_>| {
                w.map(1);
                w.raw("client_version");
                w.array(VERSION.len());
                for number in VERSION {
                    w.signed(number);
                }
            })],
        );
        let answer = answer.map_err(|error| match error {
            // It has not said a word in our protocol.
            Error::ConnectionLost { location, said } => Error::NoServer { location, said },
            error => error,
        })?;
        let head = Reader::new(&answer).head();
        self.takes_names = matches!(head, Ok(Head::Map(_)));
        if let Some(version) = version_of(&answer) {
            self.server_version = version;
        }
        Ok(())
    }

    fn open_path(
        &self,
        options: &OpenOptions,
        create: Option<&RepositoryOptions>,
    ) -> Result<Id, Error> {
        let lock_wait = options.lock_wait.as_secs_f64();
        let path = self.location.path.clone();
        let flag = |flag: bool| move |w: &mut Writer<'_>| w.boolean(flag);
        let append_only = create.map_or(options.append_only, |create| create.append_only);
        // Whole seconds are enough, and fractions need no type of their own then.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is not negative"
        )]
        let lock_wait = lock_wait.ceil() as u64;
        let answer = self.call(
            "open",
            &[
                ("append_only", &flag(append_only)),
                ("create", &flag(create.is_some())),
                (
                    "exclusive",
                    &flag(create.is_some() || options.access == Access::Write),
                ),
                ("lock", &flag(options.access != Access::NoLock)),
                ("lock_wait", &|w: &mut Writer<'_>| w.unsigned(lock_wait)),
                (
                    "make_parent_dirs",
                    &flag(create.is_some_and(|create| create.make_parents)),
                ),
                ("path", &|w: &mut Writer<'_>| w.raw(&path)),
            ],
        )?;
        let id = Reader::new(&answer).raw_array().copied();
        id.map(Id).map_err(|source| self.protocol(&source))
    }

    /// Where it is, as the stock program writes it.
    #[must_use]
    pub fn location(&self) -> &SshLocation {
        &self.location
    }

    /// What it is known by.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    pub(crate) fn load_key(&self) -> Result<Option<String>, Error> {
        let answer = self.call("load_key", &[])?;
        let blob = Reader::new(&answer)
            .raw()
            .map_err(|source| self.protocol(&source))?;
        let blob = String::from_utf8_lossy(blob).into_owned();
        Ok((!blob.is_empty()).then_some(blob))
    }

    pub(crate) fn save_key(&self, blob: &str) -> Result<(), Error> {
        self.call(
            "save_key",
            &[("keydata", &|w: &mut Writer<'_>| w.raw(blob))],
        )
        .map(drop)
    }

    pub(crate) fn get_free_nonce(&self) -> Result<Option<u64>, Error> {
        let answer = self.call("get_free_nonce", &[])?;
        let mut reader = Reader::new(&answer);
        if reader.nil() {
            return Ok(None);
        }
        let free = reader.unsigned();
        free.map(Some).map_err(|source| self.protocol(&source))
    }

    pub(crate) fn commit_nonce_reservation(
        &self,
        next_free: u64,
        expected: Option<u64>,
    ) -> Result<(), Error> {
        self.call(
            "commit_nonce_reservation",
            &[
                ("next_unreserved", &|w: &mut Writer<'_>| {
                    w.unsigned(next_free);
                }),
                ("start_nonce", &|w: &mut Writer<'_>| match expected {
                    Some(expected) => w.unsigned(expected),
                    None => w.nil(),
                }),
            ],
        )
        .map(drop)
    }

    /// Reads an object.
    pub(crate) fn get(&self, id: &Id) -> Result<Vec<u8>, Error> {
        let pending = {
            let mut prefetch = lock(&self.prefetch);
            let pending = match prefetch.take(id) {
                Some(pending) => pending,
                None => self.ask_for(id)?,
            };
            prefetch.fill(|id| self.ask_for(id))?;
            pending
        };
        let mut answer = self.wait(&pending)?;
        // The object is all that follows the head: nothing is copied.
        let mut reader = Reader::new(&answer);
        let object = match reader.head() {
            Ok(Head::Raw(length)) if reader.rest().len() == length => Ok(reader.position()),
            Ok(_) => Err(reader.unexpected("an object")),
            Err(source) => Err(source),
        };
        let from = object.map_err(|source| self.protocol(&source))?;
        if answer.len() - from > OBJECT_SIZE_MAX {
            return Err(Error::ObjectTooLarge {
                size: answer.len() - from,
                size_max: OBJECT_SIZE_MAX,
            });
        }
        answer.drain(..from);
        Ok(answer)
    }

    /// Says what will be read, in this order, after what was named before.
    pub(crate) fn prefetch(&self, objects: impl IntoIterator<Item = (Id, Option<usize>)>) {
        let mut prefetch = lock(&self.prefetch);
        for (id, csize) in objects {
            prefetch.name(id, csize);
        }
        // Who comes for the object hears what is wrong.
        let _ = prefetch.fill(|id| self.ask_for(id));
    }

    fn ask_for(&self, id: &Id) -> Result<Pending, Error> {
        self.send("get", &[("id", &|w: &mut Writer<'_>| w.raw(id.0))])
    }

    /// All objects, in the order in which they are stored where the server can tell.
    pub(crate) fn ids(&self) -> Result<Vec<Id>, Error> {
        let method = if self.takes_names { "scan" } else { "list" };
        let mut ids: Vec<Id> = Vec::new();
        loop {
            let marker = ids.last().copied();
            let answer = self.call(
                method,
                &[
                    ("limit", &|w: &mut Writer<'_>| w.unsigned(PAGE_SIZE)),
                    ("marker", &|w: &mut Writer<'_>| match marker {
                        Some(marker) => w.raw(marker.0),
                        None => w.nil(),
                    }),
                ],
            )?;
            let mut read = || -> Result<usize, Malformed> {
                let mut reader = Reader::new(&answer);
                let count = reader.array()?;
                for _ in 0..count {
                    ids.push(Id(*reader.raw_array()?));
                }
                Ok(count)
            };
            if read().map_err(|source| self.protocol(&source))? == 0 {
                return Ok(ids);
            }
        }
    }

    /// Lets the server check the repository. What it finds, it says in lines: see
    /// [`Self::take_said`].
    pub fn check(&self, repair: bool) -> Result<bool, Error> {
        self.check_limited(repair, Duration::ZERO)
    }

    /// Lets the server check the repository for so many seconds, from where the last such check
    /// has stopped. What it finds, it says in lines.
    pub fn check_for(&self, limit: Duration) -> Result<bool, Error> {
        // None at all would be all of it.
        self.check_limited(false, limit.max(Duration::from_secs(1)))
    }

    fn check_limited(&self, repair: bool, limit: Duration) -> Result<bool, Error> {
        let seconds = limit.as_secs();
        let answer = self.call(
            "check",
            &[
                ("repair", &|w: &mut Writer<'_>| w.boolean(repair)),
                ("save_space", &|w: &mut Writer<'_>| w.boolean(false)),
                ("max_duration", &|w: &mut Writer<'_>| w.unsigned(seconds)),
            ],
        )?;
        let is_good = Reader::new(&answer).boolean();
        is_good.map_err(|source| self.protocol(&source))
    }

    /// What the server has said since the last time, line by line; only the last lines are kept.
    #[must_use]
    pub fn take_said(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.said))
    }

    /// Removes the repository with all that is in it.
    pub fn destroy(&self) -> Result<(), Error> {
        self.call("destroy", &[]).map(drop)
    }

    /// Begins to write.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<RemoteChanges, Error> {
        if self.in_transaction.swap(true, Ordering::AcqRel) {
            return Err(Error::TransactionOpen);
        }
        Ok(RemoteChanges {
            remote: Arc::clone(self),
            is_open: true,
        })
    }

    /// Calls a method and waits for what it gives.
    fn call(&self, method: &str, arguments: &[Argument<'_>]) -> Result<Vec<u8>, Error> {
        let pending = self.send(method, arguments)?;
        self.wait(&pending)
    }

    fn send(&self, method: &str, arguments: &[Argument<'_>]) -> Result<Pending, Error> {
        let (sender, receiver) = bounded(1);
        self.write(method, arguments, Some(sender))?;
        Ok(Pending(receiver))
    }

    /// Writes a call. Waits while too many are on their way.
    fn write(
        &self,
        method: &str,
        arguments: &[Argument<'_>],
        waiting: Option<Sender<Answer>>,
    ) -> Result<(), Error> {
        let mut pipe = lock(&self.pipe);
        pipe.next_number += 1;
        let number = pipe.next_number;
        self.shared.register(number, waiting)?;
        let mut frame = std::mem::take(&mut pipe.scratch);
        frame.clear();
        if self.takes_names {
            let mut writer = Writer::new(&mut frame);
            writer.map(3);
            writer.raw("i");
            writer.unsigned(number);
            writer.raw("m");
            writer.raw(method);
            writer.raw("a");
            writer.map(arguments.len());
            for (name, write) in arguments {
                writer.raw(name);
                write(&mut writer);
            }
        } else {
            let names = positions(method.as_bytes());
            let mut writer = Writer::new(&mut frame);
            writer.array(4);
            writer.unsigned(1);
            writer.unsigned(number);
            writer.raw(method);
            writer.array(names.len());
            for name in names {
                match arguments.iter().find(|(known, _)| known == name) {
                    Some((_, write)) => write(&mut writer),
                    None => writer.nil(),
                }
            }
        }
        let written = match &mut pipe.stdin {
            Some(stdin) => stdin.write_all(&frame),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        if frame.capacity() > 4 * 1024 * 1024 {
            frame = Vec::new();
        }
        pipe.scratch = frame;
        // The thread that reads finds out more about why than a broken pipe says.
        written.map_err(|_| self.shared.wait_closed())
    }

    fn wait(&self, pending: &Pending) -> Result<Vec<u8>, Error> {
        match pending.0.recv() {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(failure)) => Err(failure.into_error(&self.shared.location)),
            Err(_) => Err(self.shared.wait_closed()),
        }
    }

    fn protocol(&self, source: &Malformed) -> Error {
        Error::Protocol {
            location: self.shared.location.clone(),
            what: source.to_string(),
        }
    }
}

/// A name, and what writes the value.
type Argument<'a> = (&'a str, &'a dyn Fn(&mut Writer<'_>));

impl Drop for Remote {
    fn drop(&mut self) {
        // The server ends when it hears no more, after it has let go of the lock.
        lock(&self.pipe).stdin = None;
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        while matches!(self.child.try_wait(), Ok(None)) {
            if began.elapsed() >= FAREWELL {
                // The line is dead. What runs at the other end of it ends by itself.
                let _ = self.child.kill();
                break;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let _ = self.child.wait();
    }
}

impl RemoteChanges {
    /// Stores an object that has its header, without waiting.
    pub(crate) fn put_framed(&self, entry: &[u8]) -> Result<(), Error> {
        let (Some((header, data)), true) = (
            entry.split_first_chunk::<ENTRY_HEADER_SIZE>(),
            entry.len() <= ENTRY_HEADER_SIZE + OBJECT_SIZE_MAX,
        ) else {
            return Err(Error::NotFramed);
        };
        let id: &[u8; 32] = header.last_chunk().ok_or(Error::NotFramed)?;
        self.unattended(
            "put",
            &[
                ("data", &|w: &mut Writer<'_>| w.raw(data)),
                ("id", &|w: &mut Writer<'_>| w.raw(id)),
            ],
        )
    }

    /// Removes an object, without waiting: that it is not there is found out before the commit.
    pub(crate) fn delete(&self, id: &Id) -> Result<(), Error> {
        self.unattended("delete", &[("id", &|w: &mut Writer<'_>| w.raw(id.0))])
    }

    /// Removes objects, many at once, and waits; gives how many of them were not there.
    pub(crate) fn delete_all(&self, ids: &[Id]) -> Result<u64, Error> {
        let mut on_their_way = VecDeque::new();
        let mut missing = 0;
        let mut settle = |pending: Pending| match self.remote.wait(&pending) {
            Ok(_) => Ok(()),
            Err(Error::ObjectNotFound { .. }) => {
                missing += 1;
                Ok(())
            }
            Err(error) => Err(error),
        };
        for id in ids {
            self.remote.shared.require_good()?;
            let arguments: &[Argument<'_>] = &[("id", &|w: &mut Writer<'_>| w.raw(id.0))];
            on_their_way.push_back(self.remote.send("delete", arguments)?);
            if on_their_way.len() >= IN_FLIGHT_MAX
                && let Some(oldest) = on_their_way.pop_front()
            {
                settle(oldest)?;
            }
        }
        on_their_way.into_iter().try_for_each(settle)?;
        Ok(missing)
    }

    fn unattended(&self, method: &str, arguments: &[Argument<'_>]) -> Result<(), Error> {
        self.remote.shared.require_good()?;
        self.remote.write(method, arguments, None)
    }

    /// Makes everything that was written count.
    pub(crate) fn commit(mut self, compaction: Option<&Compaction>) -> Result<(), Error> {
        // Nothing is committed before it is known that all of it is there.
        self.remote.shared.wait_unattended()?;
        let answer = self.remote.call(
            "commit",
            &[
                ("cleanup_commits", &|w: &mut Writer<'_>| {
                    w.boolean(compaction.is_some_and(|it| it.cleanup_commits));
                }),
                ("compact", &|w: &mut Writer<'_>| {
                    w.boolean(compaction.is_some());
                }),
                ("save_space", &|w: &mut Writer<'_>| w.boolean(false)),
                ("threshold", &|w: &mut Writer<'_>| {
                    w.float(compaction.map_or(0.1, |it| it.threshold));
                }),
            ],
        );
        self.is_open = answer.is_err();
        answer.map(drop)
    }
}

impl Drop for RemoteChanges {
    fn drop(&mut self) {
        if self.is_open {
            // Where that cannot be said, the server undoes it when the connection ends.
            let _ = self.remote.call("rollback", &[]);
        }
        self.remote.shared.forget_failure();
        self.remote.in_transaction.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Says that a call is about to be written.
    fn register(&self, number: u64, waiting: Option<Sender<Answer>>) -> Result<(), Error> {
        let mut state = lock(&self.state);
        while state.waiting.len() >= IN_FLIGHT_MAX && state.closed.is_none() {
            state = self.wait_for_change(state);
        }
        if let Some(closed) = &state.closed {
            return Err(self.error(closed));
        }
        state.unattended += usize::from(waiting.is_none());
        state.waiting.insert(number, waiting);
        Ok(())
    }

    fn wait_for_change<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let waited = self.changed.wait(state);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing can be sent or received any more.
    fn wait_closed(&self) -> Error {
        let mut state = lock(&self.state);
        loop {
            if let Some(closed) = &state.closed {
                return self.error(closed);
            }
            state = self.wait_for_change(state);
        }
    }

    /// The reason why a call without anybody who waits has failed, if one has.
    fn require_good(&self) -> Result<(), Error> {
        match &lock(&self.state).failure {
            Some(failure) => Err(failure.clone().into_error(&self.location)),
            None => Ok(()),
        }
    }

    fn wait_unattended(&self) -> Result<(), Error> {
        let mut state = lock(&self.state);
        while state.unattended > 0 && state.closed.is_none() {
            state = self.wait_for_change(state);
        }
        drop(state);
        self.require_good()
    }

    fn forget_failure(&self) {
        lock(&self.state).failure = None;
    }

    fn error(&self, closed: &Closed) -> Error {
        let location = self.location.clone();
        match closed {
            Closed::Lost => Error::ConnectionLost {
                location,
                said: lock(&self.said).join("\n"),
            },
            Closed::Protocol(what) => Error::Protocol {
                location,
                what: what.clone(),
            },
        }
    }

    /// Reads answers until there are no more.
    fn receive(&self, stdout: ChildStdout) {
        let mut frames = Frames::new(stdout);
        let closed = loop {
            match frames.next() {
                Ok(Some(frame)) => {
                    if let Err(malformed) = self.answer(frame) {
                        break Closed::Protocol(described(&malformed, frame));
                    }
                }
                Ok(None)
                | Err(
                    super::frames::Broken::Io(_)
                    | super::frames::Broken::Malformed(Malformed::Truncated),
                ) => break Closed::Lost,
                Err(super::frames::Broken::Malformed(malformed)) => {
                    break Closed::Protocol(malformed.to_string());
                }
            }
        };
        let mut state = lock(&self.state);
        if matches!(closed, Closed::Lost) {
            // The reason comes on the other pipe.
            let waited = self
                .changed
                .wait_timeout_while(state, LAST_WORDS, |state| !state.all_said);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.closed = Some(closed);
        // Their receivers hear that nobody will answer.
        state.waiting.clear();
        self.changed.notify_all();
    }

    fn answer(&self, frame: &[u8]) -> Result<(), Malformed> {
        let (number, answer) = parse(frame)?;
        let mut state = lock(&self.state);
        match (state.waiting.remove(&number), answer) {
            (Some(Some(waiting)), answer) => {
                // Who has given up waiting does not want it any more.
                let _ = waiting.send(answer);
            }
            (Some(None), answer) => {
                state.unattended -= 1;
                if let Err(failure) = answer {
                    state.failure.get_or_insert(failure);
                }
            }
            (None, _) => {
                return Err(Malformed::Unexpected {
                    expected: "an answer to a call",
                    at: 0,
                });
            }
        }
        self.changed.notify_all();
        Ok(())
    }

    fn listen(&self, stderr: ChildStderr) {
        self.keep_lines(stderr);
        lock(&self.state).all_said = true;
        self.changed.notify_all();
    }

    /// Keeps what is said on standard error.
    fn keep_lines(&self, stderr: ChildStderr) {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        loop {
            line.clear();
            // A line without an end must not fill the memory.
            let mut limited = (&mut reader).take(64 * 1024);
            match limited.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let Some(said) = Said::read(&line) else {
                continue;
            };
            if let Some(listener) = &self.listener {
                listener.hear(&said);
            }
            // Progress says nothing that is worth keeping.
            if let Said::Message { text, .. } = said {
                let mut said = lock(&self.said);
                if said.len() >= LINES_KEPT {
                    said.remove(0);
                }
                said.push(text);
            }
        }
    }
}

/// Takes an answer apart: to which call, and what it says.
fn parse(frame: &[u8]) -> Result<(u64, Answer), Malformed> {
    let mut reader = Reader::new(frame);
    if matches!(reader.clone().head()?, Head::Array(_)) {
        if reader.array()? != 4 {
            return Err(reader.unexpected("an answer of four values"));
        }
        reader.skip()?;
        let number = reader.unsigned()?;
        if reader.nil() {
            return Ok((number, Ok(reader.encoded()?.to_vec())));
        }
        let class = String::from_utf8_lossy(reader.raw()?).into_owned();
        return Ok((number, Err(Failure::new(&class, class.clone()))));
    }
    let mut number = None;
    let mut result = None;
    let mut failure = Failure::empty();
    for _ in 0..reader.map()? {
        match reader.raw()? {
            b"i" => number = Some(reader.unsigned()?),
            b"r" => result = Some(reader.encoded()?.to_vec()),
            key => failure.read_entry(key, reader.encoded()?)?,
        }
    }
    let number = number.ok_or(Malformed::MissingKey { key: "i" })?;
    match result {
        Some(result) if failure.class.is_empty() => Ok((number, Ok(result))),
        None if failure.class.is_empty() => Err(Malformed::MissingKey { key: "r" }),
        _ => Ok((number, Err(failure))),
    }
}

/// What came in place of an answer, shown to a person.
fn described(malformed: &Malformed, frame: &[u8]) -> String {
    let head = frame.get(..frame.len().min(64)).unwrap_or_default();
    format!("{malformed}: {}", head.escape_ascii())
}

/// The command that leads to the server.
fn command(location: &SshLocation, storage_quota: u64) -> Command {
    let words = location.rsh.as_deref().and_then(shlex::split);
    let mut words = words.unwrap_or_default();
    if words.is_empty() {
        words.push("ssh".into());
        // A line that was cut must be noticed, or we would wait for ever. Who sets `BORG_RSH`
        // says what they want.
        words.extend(["-oServerAliveInterval=30", "-oServerAliveCountMax=4"].map(str::to_owned));
    }
    if let Some(port) = location.port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    let host = location.bare_host();
    words.push(match &location.user {
        Some(user) => format!("{user}@{host}"),
        None => host.to_owned(),
    });
    let remote = location.remote_path.as_deref().unwrap_or("borg");
    words.extend([remote.to_owned(), "serve".to_owned()]);
    words.extend(location.log_level.clone());
    if storage_quota > 0 {
        words.push(format!("--storage-quota={storage_quota}"));
    }
    // Ctrl-C goes to all programs at the terminal. `ssh` has to stay for what is still to be said
    // to the server; it ends when we close the pipe. It stays at the terminal, since it may have
    // to ask for a passphrase.
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' INT; exec \"$@\"", "sh"])
        .args(words);
    command
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Location;

    fn words(text: &str, rsh: Option<&str>, remote_path: Option<&str>, quota: u64) -> Vec<String> {
        let location = text.parse::<Location>().unwrap();
        let location = location.through(rsh.map(Into::into), remote_path.map(Into::into));
        let Location::Ssh(location) = location else {
            panic!("not behind SSH")
        };
        let command = command(&location, quota);
        let words = command.get_args().skip(3);
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_persons_own_ssh_is_called() {
        assert_eq!(
            words("ssh://ada@[::1]:2222/x", Some("ssh -i 'a key'"), None, 0),
            [
                "ssh", "-i", "a key", "-p", "2222", "ada@::1", "borg", "serve"
            ]
        );
        let usual = words("nas:x", None, Some("/opt/borg"), 5 << 20);
        assert_eq!(usual.first().map(String::as_str), Some("ssh"));
        assert_eq!(
            usual[usual.len() - 4..],
            ["nas", "/opt/borg", "serve", "--storage-quota=5242880"]
        );
    }

    #[test]
    fn answers_of_both_forms_are_understood() {
        let good = parse(b"\x82\xa1i\x05\xa1r\xa2ab").unwrap();
        assert_eq!(good, (5, Ok(b"\xa2ab".to_vec())));
        let old = parse(b"\x94\x01\x05\xc0\x07").unwrap();
        assert_eq!(old, (5, Ok(b"\x07".to_vec())));
        let (number, failed) = parse(b"\x94\x01\x05\xa8KeyError\xa1x").unwrap();
        assert_eq!(
            (number, failed.unwrap_err().class.as_str()),
            (5, "KeyError")
        );
        for bad in [
            b"\x81\xa1i\x05".as_slice(),
            b"\x81\xa1r\x05",
            b"\x05",
            b"Welcome!",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
