//! The long tail of services, through the `rclone` program and its configuration.
//!
//! One run of the program per operation: slow for many small objects, and as good as rclone's
//! own back end in each. It has no creation that refuses to replace, so there is none here.

use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use crate::body::Exact;
use crate::{
    Capabilities, Content, Environment, Error, ErrorKind, Folder, Name, Object, Operation, Range,
    Reading, Scope, Space, Store, WriteMode,
};

/// Largest listing that is read: some millions of objects.
const LISTING_MAX: u64 = 1 << 30;

/// A remote of rclone's.
pub struct Rclone {
    /// `remote:path`, without a slash at its end.
    remote: String,
    environment: Environment,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    path: String,
    size: i64,
    mod_time: Option<jiff::Timestamp>,
}

#[derive(serde::Deserialize)]
struct About {
    free: Option<u64>,
    total: Option<u64>,
}

impl Rclone {
    /// Takes `remote:path`. The variable `RAVELIN_RCLONE` gives another path of the program.
    #[must_use]
    pub fn new(remote: &str, environment: &Environment) -> Self {
        let trimmed = remote.trim_end_matches('/');
        let remote = if trimmed.ends_with(':') && remote.ends_with('/') {
            remote
        } else {
            trimmed
        };
        Self {
            remote: remote.to_owned(),
            environment: environment.clone(),
        }
    }

    fn path(&self, name: &str) -> String {
        if name.is_empty() {
            self.remote.clone()
        } else if self.remote.ends_with([':', '/']) {
            format!("{}{name}", self.remote)
        } else {
            format!("{}/{name}", self.remote)
        }
    }

    fn command(&self, verb: &str, arguments: &[&str]) -> Command {
        let program = self
            .environment
            .variable("RAVELIN_RCLONE")
            .unwrap_or_else(|| "rclone".to_owned());
        let mut command = Command::new(program);
        // Its own patience is for lists of files; ours is around each operation.
        command
            .arg(verb)
            .args(["--retries=1", "--low-level-retries=3"])
            .args(arguments);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.environment.counters.count("rclone");
        command
    }

    fn output(
        &self,
        verb: &str,
        arguments: &[&str],
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Result<Vec<u8>, Error> {
        let mut running = Running::start(self.command(verb, arguments), operation, object)?;
        let mut bytes = Vec::new();
        if let Some(output) = running.output.take() {
            output
                .take(LISTING_MAX)
                .read_to_end(&mut bytes)
                .map_err(|error| Error::from_io(error, operation, object))?;
        }
        running.end()?;
        Ok(bytes)
    }

    fn items(
        &self,
        path: &str,
        arguments: &[&str],
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Result<Vec<Item>, Error> {
        let remote = self.path(path);
        let mut all = vec!["--files-only", "--no-mimetype"];
        all.extend_from_slice(arguments);
        all.push("--");
        all.push(&remote);
        let bytes = self.output("lsjson", &all, operation, object)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Invalid, operation)
                .on(object)
                .because(error)
        })
    }

    fn object(name: Name, item: &Item) -> Object {
        let modified = item.mod_time.and_then(|time| time.try_into().ok());
        Object {
            name,
            size: u64::try_from(item.size).unwrap_or(0),
            modified,
            version: None,
            digest: None,
        }
    }

    fn look(&self, name: &Name, operation: Operation) -> Result<Object, Error> {
        let remote = self.path(name.as_str());
        let missing = || Error::new(ErrorKind::NotFound, operation).on(name);
        let bytes = self.output(
            "lsjson",
            &["--stat", "--files-only", "--no-mimetype", "--", &remote],
            operation,
            name,
        )?;
        let item: Option<Item> = serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Invalid, operation)
                .on(name)
                .because(error)
        })?;
        Ok(Self::object(name.clone(), &item.ok_or_else(missing)?))
    }

    fn write_once(&self, name: &Name, content: &dyn Content) -> Result<Object, Error> {
        let fail = |error| Error::from_io(error, Operation::Write, name);
        let size = format!("--size={}", content.size());
        let remote = self.path(name.as_str());
        let mut command = self.command("rcat", &[&size, "--", &remote]);
        command.stdin(Stdio::piped());
        let mut running = Running::start(command, Operation::Write, name)?;
        let mut input = running.child.stdin.take();
        let mut reader = self
            .environment
            .bandwidth
            .up(content.open(0).map_err(fail)?);
        let mut block = vec![0; 128 * 1024];
        let mut sent = 0;
        loop {
            let count = reader.read(&mut block).map_err(fail)?;
            if count == 0 {
                break;
            }
            let written = input.as_mut().map(|input| input.write_all(&block[..count]));
            if let Some(Err(_)) = written {
                // The program ended early: its words tell more than the broken pipe.
                drop(input.take());
                running.end()?;
                return Err(fail(io::ErrorKind::BrokenPipe.into()));
            }
            sent += count as u64;
        }
        if sent != content.size() {
            // Killed before its input ends, so that it cannot take the part for the whole.
            drop(running);
            return Err(fail(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the content ended early",
            )));
        }
        drop(input.take());
        running.end()?;
        let object = self.look(name, Operation::Write)?;
        if object.size == content.size() {
            Ok(object)
        } else {
            Err(Error::new(ErrorKind::Corrupt, Operation::Write)
                .on(name)
                .because("rclone tells another size"))
        }
    }
}

/// The program at work. Its exit status tells what happened.
struct Running {
    child: Child,
    output: Option<ChildStdout>,
    messages: Arc<Mutex<Vec<u8>>>,
    listener: Option<std::thread::JoinHandle<()>>,
    operation: Operation,
    object: String,
}

impl Running {
    fn start(
        mut command: Command,
        operation: Operation,
        object: &dyn std::fmt::Display,
    ) -> Result<Self, Error> {
        let fail = |error: io::Error| {
            Error::new(ErrorKind::Io, operation)
                .on(object)
                .because(format!("cannot start rclone: {error}"))
        };
        let mut child = command.spawn().map_err(fail)?;
        let output = child.stdout.take();
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&messages);
        let listener = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < 2000 {
                        kept.extend(buffer.iter().take(count));
                    }
                }
            })
        });
        Ok(Self {
            child,
            output,
            messages,
            listener,
            operation,
            object: object.to_string(),
        })
    }

    /// Waits for the end. Source: rclone's documentation, "List of exit codes".
    fn end(&mut self) -> Result<(), Error> {
        let status = self
            .child
            .wait()
            .map_err(|error| Error::from_io(error, self.operation, &self.object))?;
        let kind = match status.code() {
            Some(0) => return Ok(()),
            Some(3 | 4) => ErrorKind::NotFound,
            Some(5) => ErrorKind::Unavailable,
            Some(8) => ErrorKind::Full,
            _ => ErrorKind::Io,
        };
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let text: String = String::from_utf8_lossy(&messages)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(500)
            .collect();
        Err(Error::new(kind, self.operation)
            .on(&self.object)
            .because(text.trim().to_owned()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The output as a body: a failure of the program is a failure of the body.
struct Output(Running);

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match &mut self.0.output {
            Some(output) => output.read(buffer)?,
            None => 0,
        };
        if count == 0 && !buffer.is_empty() {
            self.0.end()?;
        }
        Ok(count)
    }
}

impl Store for Rclone {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn list(
        &self,
        folder: &Folder,
        scope: Scope,
        each: &mut dyn FnMut(Object) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let arguments: &[&str] = if scope == Scope::Tree {
            &["--recursive"]
        } else {
            &[]
        };
        let items = match self.items(folder.as_str(), arguments, Operation::List, folder) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            result => result?,
        };
        for item in items {
            let Ok(name) = folder.join(&item.path) else {
                continue;
            };
            if each(Self::object(name, &item)).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn stat(&self, name: &Name) -> Result<Object, Error> {
        self.look(name, Operation::Stat)
    }

    fn read(&self, name: &Name, range: Range) -> Result<Reading, Error> {
        let object = self.look(name, Operation::Read)?;
        let size = range.size_in(object.size);
        if size == 0 {
            return Ok(Reading {
                object,
                body: Box::new(io::empty()),
            });
        }
        let (offset, count) = (
            format!("--offset={}", range.start),
            format!("--count={size}"),
        );
        let remote = self.path(name.as_str());
        let running = Running::start(
            self.command("cat", &[&offset, &count, "--", &remote]),
            Operation::Read,
            name,
        )?;
        let body = Exact::new(self.environment.bandwidth.down(Output(running)), size, name);
        Ok(Reading {
            object,
            body: Box::new(body),
        })
    }

    fn write(&self, name: &Name, content: &dyn Content, mode: WriteMode) -> Result<Object, Error> {
        if mode == WriteMode::Create {
            return Err(Error::unsupported(
                Operation::Write,
                name,
                "rclone always replaces",
            ));
        }
        match self.write_once(name, content) {
            // Folders in which nothing is give way to an object of their name.
            Err(error)
                if !error.is_passing()
                    && self
                        .output(
                            "rmdirs",
                            &["--", &self.path(name.as_str())],
                            Operation::Write,
                            name,
                        )
                        .is_ok() =>
            {
                self.write_once(name, content)
            }
            result => result,
        }
    }

    fn delete(&self, name: &Name) -> Result<(), Error> {
        let remote = self.path(name.as_str());
        match self.output("deletefile", &["--", &remote], Operation::Delete, name) {
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            result => result.map(drop),
        }
    }

    fn rename(&self, from: &Name, _: &Name) -> Result<(), Error> {
        Err(Error::unsupported(
            Operation::Rename,
            from,
            "rclone may have to copy",
        ))
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let remote = self.path("");
        let Ok(bytes) = self.output(
            "about",
            &["--json", "--", &remote],
            Operation::Space,
            &remote,
        ) else {
            // Most services cannot tell.
            return Ok(None);
        };
        let about: Option<About> = serde_json::from_slice(&bytes).ok();
        Ok(about.and_then(|about| {
            Some(Space {
                free: about.free?,
                total: about.total,
            })
        }))
    }
}
