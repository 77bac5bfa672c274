//! A folder of another machine, through the `ssh` program that the person uses anyway.
//!
//! So their configuration, agent, jump hosts, hardware keys and known hosts all hold, and there is
//! no second implementation of SSH to keep safe. `ssh` is started with the SFTP subsystem, and
//! this module speaks version 3 of that protocol through its pipes, many requests at once.
//!
//! A write goes to a name of its own, is synced where the server offers that, and then gets its
//! final name: by `posix-rename`, which replaces in one step, or by `hardlink`, which refuses when the name is
//! taken. Plain version 3 renames are not used: servers differ in whether they replace. A crash
//! before the last step leaves a `.ravelin-tmp-` file that no listing shows.
//!
//! The protocol tells whole seconds and no inode. So that somebody who edits a file in the second in
//! which it was written can be told from us, what is written here is dated one second back.

mod askpass;
mod read;
mod session;
mod wire;

use std::collections::VecDeque;
use std::io::Read;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::abandoned::{is_older, is_temporary, temporary};
use crate::{
    Capabilities, Content, Environment, Error, ErrorKind, Folder, Name, Object, Operation, Range,
    Reading, Scope, Server, Space, Store, WriteMode,
};
use askpass::Askpass;
use session::{Pending, Reply, Session};
use wire::{Attributes, Fields, Message, kind};

/// How much one request reads or writes. Every server takes it.
const BLOCK_SIZE: usize = 32 * 1024;

/// How many requests of one transfer are under way at once: 2 MiB, enough for a long way.
const WINDOW: usize = 64;

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const HARDLINK: &str = "hardlink@openssh.com";
const FSYNC: &str = "fsync@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";

/// A folder of another machine.
pub struct Sftp {
    server: Server,
    root: String,
    environment: Environment,
    session: Mutex<Option<Arc<Session>>>,
}

impl Sftp {
    /// Takes a location. Nothing is connected yet. The variable `RAVELIN_SSH` gives another
    /// program with arguments in place of `ssh`.
    ///
    /// # Errors
    ///
    /// None yet; `ssh` is started by the first operation.
    pub fn new(server: &Server, path: &str, environment: &Environment) -> Result<Self, Error> {
        Ok(Self {
            server: server.clone(),
            root: path.trim_end_matches('/').to_owned() + if path == "/" { "/" } else { "" },
            environment: environment.clone(),
            session: Mutex::new(None),
        })
    }

    fn command(&self, askpass: Option<&Askpass>) -> Command {
        let words = self
            .environment
            .variable("RAVELIN_SSH")
            .unwrap_or_else(|| "ssh".to_owned());
        let mut words = words.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or("ssh"));
        command.args(words);
        // Nobody is there to answer a question, and a dead connection has to be noticed.
        match askpass {
            Some(askpass) => askpass.tell(&mut command),
            None => {
                command.arg("-oBatchMode=yes");
            }
        }
        command.args([
            "-oConnectTimeout=15",
            "-oServerAliveInterval=15",
            "-oServerAliveCountMax=3",
        ]);
        command.args([
            "-oClearAllForwardings=yes",
            "-oForwardAgent=no",
            "-oForwardX11=no",
            "-oPermitLocalCommand=no",
        ]);
        if let Some(port) = self.server.port {
            command.arg("-p").arg(port.to_string());
        }
        if let Some(user) = &self.server.user {
            command.arg("-l").arg(user);
        }
        command
            .args(["-s", "--"])
            .arg(&self.server.host)
            .arg("sftp");
        command
    }

    fn session(&self) -> Result<Arc<Session>, Error> {
        let mut kept = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = kept.as_ref().filter(|session| !session.is_dead()) {
            return Ok(Arc::clone(session));
        }
        *kept = None;
        self.environment.counters.count("ssh connect");
        let password = self.environment.password.as_ref();
        let password = password.or(self.server.password.as_ref());
        let askpass = password
            .map(|password| Askpass::new(password, &self.environment))
            .transpose()
            .map_err(|error| Error::from_io(error, Operation::Open, "ssh"))?;
        let command = self.command(askpass.as_ref());
        let stall = self.environment.patience.stall;
        let session = Arc::new(Session::connect(command, stall)?);
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Relative to the login folder, unless the location is absolute.
    fn path(&self, name: &str) -> String {
        match (self.root.as_str(), name) {
            ("", "") => ".".to_owned(),
            ("", name) => name.to_owned(),
            (root, "") => root.to_owned(),
            (root, name) => format!("{}/{name}", root.trim_end_matches('/')),
        }
    }

    fn look(
        &self,
        session: &Session,
        path: &str,
        operation: Operation,
        name: &dyn std::fmt::Display,
    ) -> Result<Attributes, Error> {
        match session.ask(Message::new(kind::STAT).bytes(path.as_bytes()))? {
            Reply::Attributes(attributes) => Ok(attributes),
            reply => Err(refused(&reply, operation, name)),
        }
    }

    /// Creates the folders above `path`. Those that are there stay as they are.
    fn create_folders(&self, session: &Session, path: &str) -> Result<(), Error> {
        let Some((folder, _)) = path.rsplit_once('/') else {
            return Ok(());
        };
        let mut end = 0;
        for component in folder.split('/') {
            end += component.len();
            if let Some(above) = folder.get(..end).filter(|above| !above.is_empty()) {
                // Mode 0700. A failure shows when the object itself is made.
                session.ask(
                    Message::new(kind::MKDIR)
                        .bytes(above.as_bytes())
                        .u32(4)
                        .u32(0o700),
                )?;
            }
            end += 1;
        }
        Ok(())
    }

    fn open_temporary(&self, session: &Session, path: &str, name: &Name) -> Result<Vec<u8>, Error> {
        // Write, create, exclusively; mode 0600.
        let open = || {
            Message::new(kind::OPEN)
                .bytes(path.as_bytes())
                .u32(0x02 | 0x08 | 0x20)
                .u32(4)
                .u32(0o600)
        };
        let reply = match session.ask(open())? {
            Reply::Status(2) => {
                self.create_folders(session, path)?;
                session.ask(open())?
            }
            reply => reply,
        };
        match reply {
            Reply::Handle(handle) => Ok(handle),
            reply => Err(refused(&reply, Operation::Write, name)),
        }
    }

    /// Sends the content, many blocks at once, and makes it durable.
    fn fill(
        &self,
        session: &Session,
        handle: &[u8],
        content: &dyn Content,
        name: &Name,
    ) -> Result<(), Error> {
        let local = |error| Error::from_io(error, Operation::Write, name);
        let mut reader = self
            .environment
            .bandwidth
            .up(content.open(0).map_err(local)?);
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let mut block = vec![0; BLOCK_SIZE];
        let mut at = 0;
        loop {
            let count = fill_block(&mut reader, &mut block).map_err(local)?;
            if count == 0 {
                break;
            }
            let message = Message::new(kind::WRITE)
                .bytes(handle)
                .u64(at)
                .bytes(&block[..count]);
            pending.push_back(session.send(message)?);
            at += count as u64;
            if pending.len() >= WINDOW {
                self.settle(session, pending.pop_front(), name)?;
            }
        }
        while let Some(next) = pending.pop_front() {
            self.settle(session, Some(next), name)?;
        }
        if at != content.size() {
            return Err(local(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "the content ended early",
            )));
        }
        if session.offers(FSYNC) {
            let message = Message::new(kind::EXTENDED)
                .bytes(FSYNC.as_bytes())
                .bytes(handle);
            done(&session.ask(message)?, Operation::Write, name)?;
        }
        match session.ask(Message::new(kind::FSTAT).bytes(handle))? {
            Reply::Attributes(attributes) if attributes.size == Some(at) => {
                if let Some(seconds) = attributes.modified_seconds {
                    let before = seconds.saturating_sub(1);
                    // Times of access and of modification. A server that does not set them is none the worse.
                    session.ask(
                        Message::new(kind::FSETSTAT)
                            .bytes(handle)
                            .u32(8)
                            .u32(before)
                            .u32(before),
                    )?;
                }
                Ok(())
            }
            _ => Err(Error::new(ErrorKind::Corrupt, Operation::Write)
                .on(name)
                .because("the server has another size")),
        }
    }

    fn settle(
        &self,
        session: &Session,
        pending: Option<Pending>,
        name: &Name,
    ) -> Result<(), Error> {
        let Some(pending) = pending else {
            return Ok(());
        };
        match session.reply(&pending)? {
            Reply::Status(0) => Ok(()),
            // The protocol has no word for a full disk.
            Reply::Status(4) if matches!(self.space(), Ok(Some(Space { free: 0, .. }))) => {
                Err(Error::new(ErrorKind::Full, Operation::Write).on(name))
            }
            reply => Err(refused(&reply, Operation::Write, name)),
        }
    }

    /// Gives a file its name by a hard link: refused when the name is taken.
    fn link(
        &self,
        session: &Session,
        from: &str,
        to: &str,
        operation: Operation,
        name: &Name,
    ) -> Result<(), Error> {
        if !session.offers(HARDLINK) {
            return Err(Error::unsupported(
                operation,
                name,
                "the server offers no hard links",
            ));
        }
        let link = || {
            Message::new(kind::EXTENDED)
                .bytes(HARDLINK.as_bytes())
                .bytes(from.as_bytes())
                .bytes(to.as_bytes())
        };
        let mut reply = session.ask(link())?;
        if matches!(reply, Reply::Status(2)) {
            self.create_folders(session, to)?;
            reply = session.ask(link())?;
        }
        if matches!(reply, Reply::Status(4)) && self.look(session, to, operation, name).is_ok() {
            return Err(Error::new(ErrorKind::AlreadyExists, operation).on(name));
        }
        done(&reply, operation, name)?;
        done(
            &session.ask(Message::new(kind::REMOVE).bytes(from.as_bytes()))?,
            operation,
            name,
        )
    }

    fn replace(&self, session: &Session, from: &str, to: &str, name: &Name) -> Result<(), Error> {
        if !session.offers(POSIX_RENAME) {
            return Err(Error::unsupported(
                Operation::Write,
                name,
                "the server cannot replace a file in one step",
            ));
        }
        let rename = || {
            Message::new(kind::EXTENDED)
                .bytes(POSIX_RENAME.as_bytes())
                .bytes(from.as_bytes())
                .bytes(to.as_bytes())
        };
        let mut reply = session.ask(rename())?;
        if matches!(reply, Reply::Status(3 | 4)) && self.clear_folder(session, to, name)? {
            reply = session.ask(rename())?;
        }
        done(&reply, Operation::Write, name)
    }

    /// Whether a folder stands there, which is no object.
    fn is_folder(&self, session: &Session, path: &str) -> Result<bool, Error> {
        let reply = session.ask(Message::new(kind::LSTAT).bytes(path.as_bytes()))?;
        Ok(matches!(reply, Reply::Attributes(found) if found.is_folder()))
    }

    /// Removes a folder in which nothing is but such folders: objects that are gone leave them
    /// behind. `false` when it is none, or stays.
    fn clear_folder(&self, session: &Session, path: &str, name: &Name) -> Result<bool, Error> {
        if !self.is_folder(session, path)? {
            return Ok(false);
        }
        for (file_name, attributes) in self.entries(session, path, name.as_str())? {
            if matches!(file_name.as_str(), "." | "..") {
                continue;
            }
            let below = format!("{path}/{file_name}");
            if !attributes.is_folder() || !self.clear_folder(session, &below, name)? {
                return Ok(false);
            }
        }
        // The server refuses for a folder in which something is.
        let reply = session.ask(Message::new(kind::RMDIR).bytes(path.as_bytes()))?;
        Ok(matches!(reply, Reply::Status(0)))
    }

    /// Calls `visit` with the path and the attributes of every file.
    fn walk(
        &self,
        session: &Session,
        folder: &Folder,
        scope: Scope,
        visit: &mut dyn FnMut(String, Attributes) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let mut folders = vec![folder.as_str().to_owned()];
        while let Some(relative) = folders.pop() {
            for (file_name, attributes) in
                self.entries(session, &self.path(&relative), &relative)?
            {
                let path = if relative.is_empty() {
                    file_name
                } else {
                    format!("{relative}/{file_name}")
                };
                if attributes.is_folder() {
                    // What is no name is not ours, nor is anything in it.
                    if scope == Scope::Tree && !is_temporary(&path) && Name::new(&path).is_ok() {
                        folders.push(path);
                    }
                } else if attributes.is_file() && visit(path, attributes)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The entries of a folder; none when it does not exist.
    fn entries(
        &self,
        session: &Session,
        path: &str,
        shown: &str,
    ) -> Result<Vec<(String, Attributes)>, Error> {
        let handle = match session.ask(Message::new(kind::OPENDIR).bytes(path.as_bytes()))? {
            Reply::Handle(handle) => handle,
            Reply::Status(2) => return Ok(Vec::new()),
            reply => {
                // A file in the place of a folder has nothing below it.
                let is_folder = self
                    .look(session, path, Operation::List, &shown)
                    .map(|found| found.is_folder());
                return if matches!(is_folder, Ok(false)) {
                    Ok(Vec::new())
                } else {
                    Err(refused(&reply, Operation::List, &shown))
                };
            }
        };
        let mut entries = Vec::new();
        let ended = loop {
            match session.ask(Message::new(kind::READDIR).bytes(&handle))? {
                Reply::Names(names) => entries.extend(names),
                Reply::Status(1) => break Ok(()),
                reply => break Err(refused(&reply, Operation::List, &shown)),
            }
        };
        session.ask(Message::new(kind::CLOSE).bytes(&handle))?;
        ended.map(|()| entries)
    }
}

/// Reads until the block is full or the content ends.
fn fill_block(reader: &mut impl Read, block: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn done(reply: &Reply, operation: Operation, name: &dyn std::fmt::Display) -> Result<(), Error> {
    match reply {
        Reply::Status(0) => Ok(()),
        reply => Err(refused(reply, operation, name)),
    }
}

/// Source: draft-ietf-secsh-filexfer-02, section 7.
fn refused(reply: &Reply, operation: Operation, name: &dyn std::fmt::Display) -> Error {
    let (kind, why) = match reply {
        Reply::Status(2) => (ErrorKind::NotFound, "the server has no such file"),
        Reply::Status(3) => (ErrorKind::Denied, "the server does not allow it"),
        Reply::Status(6 | 7) => (ErrorKind::Unavailable, "the server lost its connection"),
        Reply::Status(8) => (ErrorKind::Unsupported, "the server cannot do that"),
        Reply::Status(4) => (
            ErrorKind::Io,
            "the server reports a failure and says no more",
        ),
        _ => (
            ErrorKind::Invalid,
            "the server's answer makes no sense here",
        ),
    };
    Error::new(kind, operation).on(name).because(why)
}

fn modified(attributes: &Attributes) -> Option<SystemTime> {
    let seconds = attributes.modified_seconds?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.into()))
}

fn object(name: Name, attributes: &Attributes) -> Object {
    Object {
        name,
        size: attributes.size.unwrap_or(0),
        modified: modified(attributes),
        // The protocol tells seconds and no inode: nothing that changes with every write.
        version: None,
        digest: None,
    }
}

impl Store for Sftp {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create: true,
            rename: true,
            ..Capabilities::default()
        }
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let session = self.session()?;
        self.walk(&session, folder, scope, &mut |path, attributes| {
            if is_temporary(&path) {
                return Ok(ControlFlow::Continue(()));
            }
            let Ok(name) = Name::new(path) else {
                return Ok(ControlFlow::Continue(()));
            };
            Ok(each(object(name, &attributes)))
        })
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        let session = self.session()?;
        let path = self.path(name.as_str());
        match self.look(&session, &path, Operation::Stat, name) {
            Ok(attributes) if attributes.is_file() => Ok(object(name.clone(), &attributes)),
            Ok(_) => Err(Error::new(ErrorKind::NotFound, Operation::Stat)
                .on(name)
                .because("it is no file")),
            // Below a file the server says no more than that it failed.
            Err(error) if error.kind == ErrorKind::Io => Err(Error {
                kind: ErrorKind::NotFound,
                ..error
            }),
            Err(error) => Err(error),
        }
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let session = self.session()?;
        read::open(
            session,
            &self.path(name.as_str()),
            name,
            range,
            &self.environment.bandwidth,
        )
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        let session = self.session()?;
        let path = self.path(name.as_str());
        let temporary = self.path(&temporary(name, &self.environment));
        let handle = self.open_temporary(&session, &temporary, name)?;
        let filled = self.fill(&session, &handle, content, name);
        let closed = session
            .ask(Message::new(kind::CLOSE).bytes(&handle))
            .and_then(|reply| done(&reply, Operation::Write, name));
        let named = filled.and(closed).and_then(|()| match mode {
            WriteMode::Replace => self.replace(&session, &temporary, &path, name),
            WriteMode::Create => self.link(&session, &temporary, &path, Operation::Write, name),
        });
        if let Err(error) = named {
            // What stays is not listed.
            let _ = session.ask(Message::new(kind::REMOVE).bytes(temporary.as_bytes()));
            return Err(error);
        }
        let attributes = self.look(&session, &path, Operation::Write, name)?;
        Ok(object(name.clone(), &attributes))
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        let session = self.session()?;
        let path = self.path(name.as_str());
        match session.ask(Message::new(kind::REMOVE).bytes(path.as_bytes()))? {
            Reply::Status(0 | 2) => Ok(()),
            // A folder is no object.
            Reply::Status(3 | 4) if self.is_folder(&session, &path)? => Ok(()),
            reply => Err(refused(&reply, Operation::Delete, name)),
        }
    }

    fn rename(&self, from: &Name, to: &Name) -> Result<(), Error> {
        let session = self.session()?;
        let source = self.path(from.as_str());
        match session.ask(Message::new(kind::LSTAT).bytes(source.as_bytes()))? {
            Reply::Attributes(_) => {}
            reply => return Err(refused(&reply, Operation::Rename, from)),
        }
        self.link(
            &session,
            &source,
            &self.path(to.as_str()),
            Operation::Rename,
            to,
        )
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let session = self.session()?;
        if !session.offers(STATVFS) {
            return Ok(None);
        }
        let path = self.path("");
        let reply = session.ask(
            Message::new(kind::EXTENDED)
                .bytes(STATVFS.as_bytes())
                .bytes(path.as_bytes()),
        )?;
        let Reply::Extended(bytes) = reply else {
            return Ok(None);
        };
        let mut fields = Fields(&bytes);
        let mut next = || fields.u64().unwrap_or(0);
        let (_block, fragment, blocks, _free, available) = (next(), next(), next(), next(), next());
        Ok(Some(Space {
            free: available.saturating_mul(fragment),
            total: Some(blocks.saturating_mul(fragment)),
        }))
    }

    fn tidy(&self, age: Duration) -> Result<u64, Error> {
        let session = self.session()?;
        let now = (self.environment.clock)();
        let mut removed = 0;
        self.walk(
            &session,
            &Folder::root(),
            Scope::Tree,
            &mut |path, attributes| {
                if is_temporary(&path) && is_older(modified(&attributes), now, age) {
                    let full = self.path(&path);
                    let reply = session.ask(Message::new(kind::REMOVE).bytes(full.as_bytes()))?;
                    done(&reply, Operation::Delete, &path)?;
                    removed += 1;
                }
                Ok(ControlFlow::Continue(()))
            },
        )?;
        Ok(removed)
    }
}
