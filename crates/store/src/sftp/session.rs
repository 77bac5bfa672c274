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
use std::time::{Duration, Instant};

use super::wire::{Attributes, Fields, Message, kind, read_message};
use crate::{Error, ErrorKind, Operation};

/// Answers by the number of their request.
type Senders = BTreeMap<u32, Sender<(u8, Vec<u8>)>>;

/// Shared by those who wait and the thread that reads.
type Waiting = Arc<Mutex<Senders>>;

/// The last lines that `ssh` printed.
type LastWords = Arc<Mutex<VecDeque<u8>>>;

/// Why the answers could not be understood, once that has happened.
type Nonsense = Arc<Mutex<Option<String>>>;

/// How much of what `ssh` prints is kept.
const LAST_WORDS_MAX: usize = 2000;

/// How long an `ssh` whose connection has ended may take to say why. Then it is killed: one that
/// still holds a connection would never end by itself.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(2);

pub(super) struct Session {
    child: Mutex<Child>,
    input: Mutex<ChildStdin>,
    waiting: Waiting,
    last_words: LastWords,
    nonsense: Nonsense,
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
        let nonsense = Nonsense::default();
        let mut session = Self {
            child: Mutex::new(child),
            input: Mutex::new(input),
            waiting: Arc::clone(&waiting),
            last_words,
            nonsense: Arc::clone(&nonsense),
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
            loop {
                let (kind, rest) = match read_message(&mut output) {
                    Ok(Some(message)) => message,
                    Ok(None) => break,
                    Err(error) => {
                        if error.kind() == std::io::ErrorKind::InvalidData {
                            *nonsense.lock().unwrap_or_else(PoisonError::into_inner) =
                                Some(error.to_string());
                        }
                        break;
                    }
                };
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

    /// The connection has ended, or makes no sense: what was read and what `ssh` said tell why.
    fn lost(&self) -> Error {
        self.dead.store(true, Ordering::Relaxed);
        let nonsense = {
            let nonsense = self.nonsense.lock();
            nonsense.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let patience = if nonsense.is_some() {
            Duration::ZERO
        } else {
            LAST_WORDS_WAIT
        };
        end(
            &mut self.child.lock().unwrap_or_else(PoisonError::into_inner),
            patience,
        );
        if let Some(why) = nonsense {
            return Error::new(ErrorKind::Invalid, Operation::Open)
                .on("ssh")
                .because(why);
        }
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
        let kind = kind_of(&words);
        let words = if words.is_empty() {
            "the connection ended".to_owned()
        } else {
            words
        };
        Error::new(kind, Operation::Open).on("ssh").because(words)
    }
}

/// What went wrong, from what `ssh` said: it has one exit status for all of it, but its words are
/// fixed English. What only a person can mend is not tried again.
fn kind_of(words: &str) -> ErrorKind {
    let says = |text: &str| words.contains(text);
    if says("Permission denied") || says("Too many authentication failures") {
        ErrorKind::SignIn
    } else if says("Host key verification failed") || says("REMOTE HOST IDENTIFICATION HAS CHANGED")
    {
        ErrorKind::Denied
    } else if says("subsystem request failed")
        || says("Bad configuration option")
        || says("Bad owner or permissions")
        || says("Unable to negotiate")
    {
        ErrorKind::Invalid
    } else {
        ErrorKind::Unavailable
    }
}

/// Waits for the end of a process, and kills it when that takes longer than `patience`.
fn end(child: &mut Child, patience: Duration) {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            _ => return,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_person_can_mend_is_not_a_passing_fault() {
        for (words, kind) in [
            (
                "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures",
                ErrorKind::SignIn,
            ),
            ("me@host: Permission denied (publickey).", ErrorKind::SignIn),
            ("Host key verification failed.", ErrorKind::Denied),
            ("subsystem request failed on channel 0", ErrorKind::Invalid),
            (
                "/home/me/.ssh/config: line 3: Bad configuration option: hots",
                ErrorKind::Invalid,
            ),
            (
                "ssh: connect to host h port 22: Connection refused",
                ErrorKind::Unavailable,
            ),
            ("", ErrorKind::Unavailable),
        ] {
            assert_eq!(kind_of(words), kind, "{words}");
        }
    }
}
