//! One connection: requests go out as they come, answers come back in any order.
//!
//! A thread reads answers and hands each to whoever waits for its number. Who waits gives up after
//! the time without progress that patience allows; then the connection counts as dead, and the
//! next operation makes a new one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::wire::{Attributes, Fields, Message, kind, read_message};
use crate::{Error, ErrorKind, Operation};

/// Answers by the number of their request.
type Senders = BTreeMap<u32, Sender<(u8, Vec<u8>)>>;

/// Shared by those who wait and the thread that reads.
type Waiting = Arc<Mutex<Senders>>;

/// The last lines that `ssh` printed.
type LastWords = Arc<Mutex<VecDeque<u8>>>;

/// How much of what `ssh` prints is kept.
const LAST_WORDS_MAX: usize = 2000;

pub(super) struct Session {
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    waiting: Waiting,
    last_words: LastWords,
    next: AtomicU32,
    dead: AtomicBool,
    stall: Duration,
    extensions: BTreeSet<String>,
}

/// An answer that is not there yet.
pub(super) struct Pending {
    receiver: Receiver<(u8, Vec<u8>)>,
}

/// An answer.
pub(super) enum Reply {
    Status(u32),
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<(String, Attributes)>),
    Attributes(Attributes),
    Extended(Vec<u8>),
}

impl Session {
    /// Starts the command and greets the server.
    pub(super) fn connect(mut command: Command, stall: Duration) -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Io, Operation::Open)
                .on("ssh")
                .because(error)
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(mut output), Some(messages)) = pipes else {
            return Err(failed(std::io::ErrorKind::BrokenPipe.into()));
        };
        let last_words = LastWords::default();
        listen(messages, Arc::clone(&last_words));
        let waiting = Waiting::default();
        let mut session = Self {
            child: Mutex::new(child),
            input: Mutex::new(input),
            waiting: Arc::clone(&waiting),
            last_words,
            next: AtomicU32::new(0),
            dead: AtomicBool::new(false),
            stall,
            extensions: BTreeSet::new(),
        };
        // The greeting has the version where others have a number.
        let mut greeting = Message::new(kind::INIT).finish(3);
        greeting.truncate(9);
        let (sender, greeted) = channel();
        lock(&waiting).insert(u32::MAX, sender);
        std::thread::spawn(move || {
            let mut first = true;
            while let Ok(Some((kind, rest))) = read_message(&mut output) {
                let id = if first {
                    Some(u32::MAX)
                } else {
                    Fields(&rest).u32()
                };
                first = false;
                let Some(sender) = id.and_then(|id| lock(&waiting).remove(&id)) else {
                    continue;
                };
                // Who asked may have gone.
                let _ = sender.send((kind, rest));
            }
            // Whoever still waits learns of the end by its channel.
            lock(&waiting).clear();
        });
        session.transmit(&greeting)?;
        let (_, rest) = session.wait(&greeted)?;
        let mut fields = Fields(&rest);
        fields.u32();
        while let (Some(name), Some(_)) = (fields.bytes(), fields.bytes()) {
            session
                .extensions
                .insert(String::from_utf8_lossy(name).into_owned());
        }
        Ok(session)
    }

    /// Whether the server offers an extension.
    pub(super) fn offers(&self, extension: &str) -> bool {
        self.extensions.contains(extension)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Sends a request; its answer is waited for later.
    pub(super) fn send(&self, message: Message) -> Result<Pending, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) & 0x7fff_ffff;
        let (sender, receiver) = channel();
        lock(&self.waiting).insert(id, sender);
        self.transmit(&message.finish(id))?;
        Ok(Pending { receiver })
    }

    /// Waits for an answer.
    pub(super) fn reply(&self, pending: &Pending) -> Result<Reply, Error> {
        let (kind, rest) = self.wait(&pending.receiver)?;
        let mut fields = Fields(&rest);
        fields.u32();
        let reply = match kind {
            101 => fields.u32().map(Reply::Status),
            102 => fields.bytes().map(|handle| Reply::Handle(handle.to_vec())),
            103 => fields.bytes().map(|data| Reply::Data(data.to_vec())),
            104 => names(&mut fields).map(Reply::Names),
            105 => Attributes::read(&mut fields).map(Reply::Attributes),
            201 => Some(Reply::Extended(fields.0.to_vec())),
            _ => None,
        };
        reply.ok_or_else(|| {
            self.dead.store(true, Ordering::Relaxed);
            Error::new(ErrorKind::Invalid, Operation::Open)
                .on("ssh")
                .because("the server sent an answer that makes no sense")
        })
    }

    /// Sends a request and waits for its answer.
    pub(super) fn ask(&self, message: Message) -> Result<Reply, Error> {
        self.reply(&self.send(message)?)
    }

    fn transmit(&self, bytes: &[u8]) -> Result<(), Error> {
        let written = {
            let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
            input.write_all(bytes)
        };
        written.map_err(|_| self.lost())
    }

    fn wait(&self, receiver: &Receiver<(u8, Vec<u8>)>) -> Result<(u8, Vec<u8>), Error> {
        receiver
            .recv_timeout(self.stall)
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => {
                    self.dead.store(true, Ordering::Relaxed);
                    let error = Error::new(ErrorKind::Unavailable, Operation::Open).on("ssh");
                    error.because(format!("no answer for {} seconds", self.stall.as_secs()))
                }
                RecvTimeoutError::Disconnected => self.lost(),
            })
    }

    /// The connection has ended: what `ssh` said tells why.
    fn lost(&self) -> Error {
        self.dead.store(true, Ordering::Relaxed);
        let _ = self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .wait();
        // The thread that reads it may be a moment behind.
        std::thread::sleep(Duration::from_millis(20));
        let words: Vec<u8> = self
            .last_words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect();
        let words = String::from_utf8_lossy(&words);
        let words: String = words
            .trim()
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        // `ssh` has one exit status for all of these; its words are fixed English.
        let kind = if words.contains("Permission denied") {
            ErrorKind::SignIn
        } else if words.contains("Host key verification failed")
            || words.contains("REMOTE HOST IDENTIFICATION HAS CHANGED")
        {
            ErrorKind::Denied
        } else {
            ErrorKind::Unavailable
        };
        let words = if words.is_empty() {
            "the connection ended".to_owned()
        } else {
            words
        };
        Error::new(kind, Operation::Open).on("ssh").because(words)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn lock(waiting: &Waiting) -> std::sync::MutexGuard<'_, Senders> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

fn names(fields: &mut Fields<'_>) -> Option<Vec<(String, Attributes)>> {
    let mut names = Vec::new();
    for _ in 0..fields.u32()? {
        let name = String::from_utf8(fields.bytes()?.to_vec());
        fields.bytes()?;
        let attributes = Attributes::read(fields)?;
        // A name that is no text is none of ours.
        if let Ok(name) = name {
            names.push((name, attributes));
        }
    }
    Some(names)
}

/// Keeps the end of what `ssh` prints.
fn listen(mut messages: impl Read + Send + 'static, last_words: LastWords) {
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = messages.read(&mut buffer) {
            let mut words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
            words.extend(buffer.iter().take(count));
            let excess = words.len().saturating_sub(LAST_WORDS_MAX);
            words.drain(..excess);
        }
    });
}
