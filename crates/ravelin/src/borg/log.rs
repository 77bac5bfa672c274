//! What a command says while it runs: messages, lists and progress on standard error, as text or as
//! lines of JSON, and the exit code that comes of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use borg::{Said, ServerListener, Severity};
use serde_json::{Value, json};

use super::fail::{Failure, SIGNAL_BASE};
use super::logging::Logging;
use super::text;

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    /// As a server counts.
    fn severity(self) -> Severity {
        match self {
            Self::Debug => Severity::Debug,
            Self::Info => Severity::Info,
            Self::Warning => Severity::Warning,
            Self::Error => Severity::Error,
            Self::Critical => Severity::Critical,
        }
    }

    /// As people and frontends read it.
    pub(super) fn name(self) -> &'static str {
        self.severity().name()
    }
}

/// Kinds of warnings that have codes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Warning {
    /// Something without a code.
    Other = 1,
    FileChanged = 100,
    NeverMatched = 101,
    Backup = 102,
    Race = 103,
    Os = 104,
    Permission = 105,
    Io = 106,
    NotFound = 107,
    SymlinkParent = 108,
    PathTraversal = 109,
    HardlinkSource = 110,
}

/// Says things, and remembers what was bad about them.
pub(crate) struct Log {
    level: Level,
    json: bool,
    progress: bool,
    modern_codes: bool,
    warnings: RefCell<BTreeSet<Warning>>,
    failed: Cell<Option<u8>>,
    /// A code that is passed on as it is.
    given: Cell<Option<u8>>,
    last_progress: Cell<Option<Instant>>,
    has_line: Cell<bool>,
    /// What frontends were told of that is not finished yet: the number of the operation and its name.
    operation: RefCell<Option<(u32, String)>>,
    operation_count: Cell<u32>,
    /// Who is told what, where a file says so.
    logging: Option<Logging>,
}

/// Least time between two looks at how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

impl Log {
    pub(crate) fn new(level: Level, json: bool, progress: bool, modern_codes: bool) -> Self {
        Self {
            level,
            json,
            progress,
            modern_codes,
            warnings: RefCell::default(),
            failed: Cell::new(None),
            given: Cell::new(None),
            last_progress: Cell::new(None),
            has_line: Cell::new(false),
            operation: RefCell::new(None),
            operation_count: Cell::new(0),
            logging: None,
        }
    }

    /// Tells whom the settings of a file name. What they want counts more than the options; where they
    /// cannot be used, that is said.
    pub(crate) fn told_by(mut self, path: Option<&Path>) -> Self {
        let Some(path) = path else {
            return self;
        };
        match Logging::read(path) {
            Ok(logging) => self.logging = Some(logging),
            Err(why) => self.notice(&format!(
                "setup_logging for \"{}\" failed with \"{why}\".",
                path.display()
            )),
        }
        self
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn debugs(&self) -> bool {
        self.level == Level::Debug
    }

    /// What is less is not said.
    pub(crate) fn severity(&self) -> Severity {
        self.level.severity()
    }

    /// How much a server shall say, where that is not what it does by itself.
    pub(crate) fn server_level(&self) -> Option<&'static str> {
        match self.level {
            Level::Debug => Some("--debug"),
            Level::Info => Some("--info"),
            Level::Warning => None,
            Level::Error => Some("--error"),
            Level::Critical => Some("--critical"),
        }
    }

    /// Says what a server says, from whatever thread.
    pub(crate) fn server_listener(&self) -> ServerListener {
        let (least, json, progress) = (self.severity(), self.json, self.progress);
        ServerListener::new(move |said| {
            let line = match said {
                Said::Message { severity, text } if *severity >= least => {
                    let text = format!("Remote: {text}");
                    match json {
                        true => json_message(severity.name(), "borg.repository", None, &text),
                        false => text,
                    }
                }
                Said::Progress { line, .. } if progress && json => line.clone(),
                Said::Progress { text, .. } if progress => {
                    let _ = write!(io::stderr().lock(), "{text}\r");
                    return;
                }
                _ => return,
            };
            let _ = writeln!(io::stderr().lock(), "{line}");
        })
    }

    pub(crate) fn debug(&self, message: &str) {
        self.say(Level::Debug, message);
    }

    pub(crate) fn info(&self, message: &str) {
        self.say(Level::Info, message);
    }

    /// Warns; the exit code stays what it is.
    pub(crate) fn notice(&self, message: &str) {
        self.say(Level::Warning, message);
    }

    /// Warns of something that was not done as it should be: the exit code will say so.
    pub(crate) fn warn(&self, kind: Warning, message: &str) {
        self.warnings.borrow_mut().insert(kind);
        self.write(Level::Warning, "borg.archiver", Some(kind.msgid()), message);
    }

    pub(crate) fn error(&self, message: &str) {
        self.say(Level::Error, message);
    }

    pub(crate) fn say(&self, level: Level, message: &str) {
        self.write(level, "borg.archiver", None, message);
    }

    /// Says why the command ends, and lets the exit code say it.
    pub(crate) fn fail(&self, failure: &Failure) {
        self.failed.set(Some(failure.code));
        if !failure.message.is_empty() {
            let Failure { msgid, message, .. } = failure;
            self.write(Level::Error, "borg.archiver", Some(msgid), message);
        }
    }

    /// Ends with the code of a command that was run.
    pub(crate) fn exit_with(&self, code: u8) {
        self.given.set(Some(code));
    }

    /// The exit code that was reached without a failure is at least this bad.
    pub(crate) fn set_warned(&self) {
        self.warnings.borrow_mut().insert(Warning::Other);
    }

    /// Says something that was asked for by an option, whatever the level is.
    pub(crate) fn requested(&self, name: &str, message: &str) {
        self.put(Level::Info, name, None, message);
    }

    /// Says what became of a file.
    pub(crate) fn file_status(&self, status: char, path: &[u8]) {
        let path = text::path(path);
        if self.logging.is_some() {
            let line = format!("{status} {path}");
            self.put(Level::Info, "borg.output.list", None, &line);
        } else if self.json {
            let status = status.to_string();
            self.line(&json!({"type": "file_status", "status": status, "path": path}).to_string());
        } else {
            self.line(&format!("{status} {path}"));
        }
    }

    fn write(&self, level: Level, name: &str, msgid: Option<&str>, message: &str) {
        if level >= self.level || self.logging.is_some() {
            self.put(level, name, msgid, message);
        }
    }

    fn put(&self, level: Level, name: &str, msgid: Option<&str>, message: &str) {
        if let Some(logging) = &self.logging {
            return logging.say(level, name, message, &engine::clock::system());
        }
        if !self.json {
            return self.line(message);
        }
        self.line(&json_message(level.name(), name, msgid, message));
    }

    fn line(&self, line: &str) {
        let mut error = io::stderr().lock();
        if self.has_line.replace(false) {
            // Over the progress that stands there.
            let _ = write!(error, "\r\x1b[K");
        }
        // Where nobody listens, nothing can be done.
        let _ = writeln!(error, "{line}");
    }

    /// Whether progress is shown at all.
    pub(crate) fn shows_progress(&self) -> bool {
        self.progress
    }

    /// Whether it is time to show progress again. The last time is always.
    pub(crate) fn is_time(&self, is_last: bool) -> bool {
        if !self.progress {
            return false;
        }
        let is_due = self
            .last_progress
            .get()
            .is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL);
        if is_due || is_last {
            self.last_progress.set(Some(Instant::now()));
        }
        is_due || is_last
    }

    /// Shows how far it is: one line of text, or an object with what it says.
    pub(crate) fn progress(&self, kind: &str, line: &str, mut values: Value) {
        if !self.progress {
            return;
        }
        if self.json {
            if let Some(values) = values.as_object_mut() {
                values.insert("type".into(), kind.into());
                values.insert("time".into(), text::seconds_now().into());
            }
            return self.line(&values.to_string());
        }
        let mut error = io::stderr().lock();
        let width = if io::stderr().is_terminal() { 79 } else { 200 };
        let line: String = line.chars().take(width).collect();
        let _ = write!(error, "{line}\r");
        let _ = error.flush();
        self.has_line.set(io::stderr().is_terminal());
    }

    /// The same for a number of steps out of a total. Where there are none, frontends only hear at the
    /// end that it is over.
    pub(crate) fn percent(&self, msgid: &str, what: &str, done: u64, total: u64) {
        if total == 0 {
            self.operation(msgid);
        } else if self.is_time(done >= total) {
            self.show_percent(msgid, None, done, total, |percent| {
                format!("{what} {percent:5.1}%")
            });
        }
    }

    /// Shows how much is done, of what is named `info`, without a look at the time.
    pub(crate) fn show_percent(
        &self,
        msgid: &str,
        info: Option<&str>,
        done: u64,
        total: u64,
        words: impl FnOnce(f64) -> String,
    ) {
        #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
        let percent = if total == 0 {
            100.0
        } else {
            done as f64 * 100.0 / total as f64
        };
        let line = words(percent);
        let values = json!({
            "operation": self.operation(msgid),
            "msgid": msgid,
            "finished": false,
            "message": line,
            "current": done,
            "total": total,
            "info": info.map(|info| [info]),
        });
        self.progress("progress_percent", &line, values);
    }

    /// The number of the operation of that name. When it is not the one before, that one is over.
    fn operation(&self, msgid: &str) -> u32 {
        let running = self.operation.borrow().clone();
        if let Some((number, name)) = running
            && name == msgid
        {
            return number;
        }
        self.end_operation();
        let number = self.operation_count.get() + 1;
        self.operation_count.set(number);
        self.operation.replace(Some((number, msgid.to_owned())));
        number
    }

    fn end_operation(&self) {
        if let Some((number, msgid)) = self.operation.take()
            && self.json
        {
            let values = json!({"operation": number, "msgid": msgid, "finished": true});
            self.progress("progress_percent", "", values);
        }
    }

    /// Takes the line of progress away, and tells frontends that what they saw is over.
    pub(crate) fn end_progress(&self) {
        self.end_operation();
        if self.progress && !self.json && self.has_line.replace(false) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    /// The exit code of what has happened.
    pub(crate) fn exit_code(&self) -> u8 {
        if let Some(code) = self.failed.get() {
            return if self.modern_codes || code >= SIGNAL_BASE {
                code
            } else {
                2
            };
        }
        if let Some(code) = self.given.get() {
            return code;
        }
        let warnings = self.warnings.borrow();
        let mut kinds = warnings.iter();
        match (kinds.next(), kinds.next()) {
            (None, _) => 0,
            (Some(only), None) if self.modern_codes => *only as u8,
            _ => 1,
        }
    }
}

/// A message as a line for frontends.
fn json_message(level: &str, name: &str, msgid: Option<&str>, message: &str) -> String {
    let mut line = json!({
        "type": "log_message",
        "time": text::seconds_now(),
        "message": message,
        "levelname": level,
        "name": name,
    });
    if let (Some(msgid), Some(line)) = (msgid, line.as_object_mut()) {
        line.insert("msgid".into(), msgid.into());
    }
    line.to_string()
}

impl Warning {
    fn msgid(self) -> &'static str {
        match self {
            Self::Other => "Warning",
            Self::FileChanged => "FileChangedWarning",
            Self::NeverMatched => "IncludePatternNeverMatchedWarning",
            Self::Backup => "BackupError",
            Self::Race => "BackupRaceConditionError",
            Self::Os => "BackupOSError",
            Self::Permission => "BackupPermissionError",
            Self::Io => "BackupIOError",
            Self::NotFound => "BackupFileNotFoundError",
            Self::SymlinkParent => "BackupSymlinkParentError",
            Self::PathTraversal => "BackupPathTraversalError",
            Self::HardlinkSource => "BackupHardlinkSourceError",
        }
    }

    /// The kind of a problem with a file.
    pub(crate) fn of(problem: &tree::ProblemKind) -> Self {
        use tree::{ProblemKind, Refusal};
        match problem {
            ProblemKind::Changed => Self::FileChanged,
            ProblemKind::Replaced => Self::Race,
            ProblemKind::Vanished => Self::NotFound,
            ProblemKind::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Self::Permission,
                io::ErrorKind::NotFound => Self::NotFound,
                _ if source.raw_os_error() == Some(5) => Self::Io,
                _ => Self::Os,
            },
            ProblemKind::Refused(Refusal::ParentNotAFolder { .. }) => Self::SymlinkParent,
            ProblemKind::Refused(Refusal::BadPath { .. }) => Self::PathTraversal,
            ProblemKind::FirstNameMissing { .. } => Self::HardlinkSource,
            _ => Self::Backup,
        }
    }
}
