//! What all commands need: the common options, the environment, questions to a person, and an open
//! repository.

use std::cell::{OnceCell, RefCell};
use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use borg::{
    Access, Archives, Error, Home, Host, KeyError, Location, OpenOptions, Passphrase, Trust,
};
use bstr::BString;
use jiff::Timestamp;
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::arguments::Arguments;
use super::fail::{Failure, SIGNAL_BASE};
use super::log::{Level, Log};
use super::place::{Spot, variable};
use super::text;
use crate::ask::Terminal;

/// What is known before a command begins.
pub(crate) struct Session {
    pub(crate) log: Log,
    /// When the program was started.
    pub(crate) now: Timestamp,
    /// What was typed, as an archive keeps it.
    pub(crate) cmdline: Vec<BString>,
    words: Vec<OsString>,
    pub(crate) home: Home,
    pub(crate) iec: bool,
    pub(crate) umask: u32,
    pub(crate) shows_parts: bool,
    pub(crate) shows_rc: bool,
    bypass_lock: bool,
    lock_wait: Duration,
    rsh: Option<String>,
    remote_path: Option<String>,
    upload_limit: Option<u64>,
    host: OnceCell<Host>,
    /// The number of the signal that asks for an end; 0: none does.
    signal: Arc<AtomicUsize>,
    passphrase: RefCell<Option<Passphrase>>,
    /// What needs no asking; looked for once, since a descriptor can be read once.
    given: OnceCell<Option<Passphrase>>,
}

/// A rate in KiB a second, as bytes.
fn kibibytes(text: &str) -> Result<u64, String> {
    let rate: u64 = text
        .trim()
        .parse()
        .map_err(|_| format!("invalid int value: '{text}'"))?;
    Ok(rate.saturating_mul(1024))
}

/// Permissions that new files do not get.
const UMASK: u32 = 0o077;

impl Session {
    pub(crate) fn new(
        arguments: &Arguments,
        cmdline: Vec<OsString>,
        is_polite: bool,
    ) -> Result<Self, Failure> {
        let level = match arguments.text("log_level").as_deref() {
            Some("--critical") => Level::Critical,
            Some("--error") => Level::Error,
            Some("--info" | "--verbose" | "-v") => Level::Info,
            Some("--debug") => Level::Debug,
            _ => Level::Warning,
        };
        let modern = variable("BORG_EXIT_CODES").is_some_and(|codes| codes == "modern");
        let home_directory = env::home_dir().filter(|home| home.is_absolute());
        let home_directory = home_directory.unwrap_or_else(|| PathBuf::from("/"));
        let umask = arguments.read("umask", |text| {
            u32::from_str_radix(text, 8).map_err(|_| format!("invalid octal value: '{text}'"))
        })?;
        Ok(Self {
            log: Log::new(
                level,
                arguments.has("log_json"),
                arguments.has("progress"),
                modern,
            )
            .told_by(env::var_os("BORG_LOGGING_CONF").as_deref().map(Path::new)),
            now: engine::clock::system().timestamp(),
            cmdline: cmdline
                .iter()
                .map(|word| word.clone().into_vec().into())
                .collect(),
            words: cmdline.into_iter().skip(1).collect(),
            home: Home::from_environment(&home_directory, |name| env::var_os(name)),
            iec: arguments.has("iec"),
            umask: umask.unwrap_or(UMASK),
            shows_parts: arguments.has("consider_part_files"),
            shows_rc: arguments.has("show_rc"),
            bypass_lock: arguments.has("bypass_lock"),
            lock_wait: Duration::from_secs(arguments.number("lock_wait", 1u64)?),
            rsh: arguments.text("rsh").or_else(|| variable("BORG_RSH")),
            remote_path: arguments
                .text("remote_path")
                .or_else(|| variable("BORG_REMOTE_PATH")),
            upload_limit: arguments.read("upload_ratelimit", kibibytes)?,
            host: OnceCell::new(),
            signal: match is_polite {
                true => listen()?,
                false => Arc::default(),
            },
            passphrase: RefCell::default(),
            given: OnceCell::new(),
        })
    }

    /// What was typed behind the name of the program.
    pub(crate) fn words(&self) -> &[OsString] {
        &self.words
    }

    /// Who we are in locks.
    pub(crate) fn host(&self) -> &Host {
        self.host.get_or_init(|| match variable("BORG_HOST_ID") {
            Some(id) => Host::named(id),
            None => Host::this_machine(),
        })
    }

    /// Ends a command that was asked to end.
    pub(crate) fn go_on(&self) -> Result<(), Failure> {
        match self.signal() {
            None => Ok(()),
            Some(signal) => Err(signal),
        }
    }

    /// The number of the signal that asks for an end, for other threads; 0: none does.
    pub(crate) fn signal_number(&self) -> &AtomicUsize {
        &self.signal
    }

    /// Whether an end was asked for.
    pub(crate) fn signal(&self) -> Option<Failure> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            number => Some(Failure::signal(u8::try_from(number).unwrap_or(2))),
        }
    }

    /// The repository that was named, or that of `BORG_REPO`.
    pub(crate) fn spot(&self, arguments: &Arguments) -> Result<Spot, Failure> {
        self.spot_at(arguments, self.now)
    }

    /// The same, where placeholders stand for another time.
    pub(crate) fn spot_at(&self, arguments: &Arguments, time: Timestamp) -> Result<Spot, Failure> {
        let typed = arguments.text("location").unwrap_or_default();
        let mut spot = Spot::parse(&typed, time)?;
        spot.location = self.reach(spot.location);
        Ok(spot)
    }

    fn reach(&self, location: Location) -> Location {
        location
            .through(self.rsh.clone(), self.remote_path.clone())
            .limited(self.upload_limit)
            .heard(self.log.server_level(), self.log.server_listener())
    }

    /// The same where an archive makes no sense.
    pub(crate) fn repository(&self, arguments: &Arguments) -> Result<Spot, Failure> {
        let spot = self.spot(arguments)?;
        match &spot.archive {
            None => Ok(spot),
            Some(_) => Err(Failure::usage(format!(
                "argument REPOSITORY: \"{}\": No archive can be specified",
                arguments.text("location").unwrap_or_default()
            ))),
        }
    }

    /// The same where an archive must be named.
    pub(crate) fn archive(&self, arguments: &Arguments) -> Result<(Spot, String), Failure> {
        let spot = self.spot(arguments)?;
        match spot.archive.clone() {
            Some(archive) => Ok((spot, archive)),
            None => Err(Failure::usage(format!(
                "argument ARCHIVE: \"{}\": No archive specified",
                arguments.text("location").unwrap_or_default()
            ))),
        }
    }

    /// How a repository is opened.
    pub(crate) fn options(&self, access: Access) -> OpenOptions {
        let access = match access {
            Access::Read if self.bypass_lock => Access::NoLock,
            access => access,
        };
        OpenOptions {
            lock_wait: self.lock_wait,
            umask: self.umask,
            ..OpenOptions::new(access, self.host())
        }
    }

    /// Opens a repository with its key, and asks what has to be asked.
    pub(crate) fn open(&self, spot: &Spot, access: Access) -> Result<Archives, Failure> {
        let options = self.options(access);
        let archives = self.asking(spot, |passphrase, trust| {
            Archives::open(&spot.location, &self.home, &options, passphrase, trust)
        })?;
        if borg::cache_lost_checksums(&self.home, &archives.backend().id()) {
            self.log
                .notice("Cache integrity data not available: old Borg version modified the cache.");
        }
        self.tell_security(&archives);
        Ok(archives)
    }

    /// Opens something with a passphrase, and asks for what it lacks.
    pub(crate) fn asking<T>(
        &self,
        spot: &Spot,
        open: impl Fn(&Passphrase, Trust) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let mut trust = Trust::default();
        let mut given = match self.passphrase.borrow().clone() {
            Some(known) => Some(known),
            None => self.given()?,
        };
        let is_final = given.is_some();
        let mut tries = 0;
        loop {
            let passphrase = given.clone().unwrap_or_else(|| Passphrase::new(""));
            match open(&passphrase, trust) {
                Ok(opened) => {
                    *self.passphrase.borrow_mut() = Some(passphrase);
                    return Ok(opened);
                }
                Err(Error::Key(KeyError::WrongPassphrase)) if !is_final => {
                    tries += 1;
                    if tries > 3 {
                        let message = "Exceeded the maximum password retries.";
                        return Err(Failure::new(53, "PasswordRetriesExceeded", message));
                    }
                    let prompt = format!("Enter passphrase for key {}: ", spot.shown());
                    given = Some(Passphrase::new(ask_hidden(&prompt)?));
                }
                Err(error @ Error::UnknownUnencrypted { .. }) if !trust.unknown_unencrypted => {
                    let question = "Warning: Attempting to access a previously unknown unencrypted repository!\nDo you want to continue? [yN] ";
                    let variable = "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK";
                    if !self.confirm(question, variable)? {
                        return Err(error.into());
                    }
                    trust.unknown_unencrypted = true;
                }
                Err(Error::Relocated { previous, location }) if !trust.relocated => {
                    let question = format!(
                        "Warning: The repository at location {location} was previously located at {previous}\nDo you want to continue? [yN] "
                    );
                    let variable = "BORG_RELOCATED_REPO_ACCESS_IS_OK";
                    if !self.confirm(&question, variable)? {
                        return Err(Error::Relocated { previous, location }.into());
                    }
                    trust.relocated = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A passphrase that needs no asking.
    fn given(&self) -> Result<Option<Passphrase>, Failure> {
        if let Some(given) = self.given.get() {
            return Ok(given.clone());
        }
        let given = environment_passphrase()?;
        Ok(self.given.get_or_init(|| given).clone())
    }

    /// The passphrase that opened the repository.
    pub(crate) fn used_passphrase(&self) -> Passphrase {
        let used = self.passphrase.borrow().clone();
        used.unwrap_or_else(|| Passphrase::new(""))
    }

    /// Whether locks are to be passed by.
    pub(crate) fn bypasses_lock(&self) -> bool {
        self.bypass_lock
    }

    /// For `--debug`: what this machine remembers of the repository, and how it was compared.
    fn tell_security(&self, archives: &Archives) {
        if !self.log.debugs() {
            return;
        }
        let folder = self.home.security_of(&archives.backend().id());
        if let Ok(previous) = std::fs::read_to_string(folder.join("location")) {
            let message = format!("security: read previous location '{previous}'");
            self.log.debug(&message);
        }
        self.log
            .debug("security: repository checks ok, allowing access");
        self.log.debug(if archives.is_manifest_authentic() {
            "TAM-verified manifest"
        } else {
            "Manifest TAM not found and not required"
        });
    }

    /// Asks a question that is answered with yes or no; a variable may have answered it.
    pub(crate) fn confirm(&self, question: &str, variable: &str) -> Result<bool, Failure> {
        let answer = self.answer(question, variable)?;
        let answer = answer.unwrap_or_else(|| "no".to_owned());
        let yes = matches!(answer.as_str(), "Yes" | "YES" | "yes" | "Y" | "y" | "1");
        if !yes {
            self.ask("Aborting.", "accepted_false", variable);
        }
        Ok(yes)
    }

    /// The same where only a whole word will do.
    pub(crate) fn confirm_word(&self, question: &str, variable: &str) -> Result<bool, Failure> {
        let answer = self.answer(question, variable)?;
        Ok(answer.is_some_and(|answer| answer == "YES"))
    }

    /// What is answered to a question, by a variable or by who is asked; `None` when nobody is there.
    fn answer(&self, question: &str, variable: &str) -> Result<Option<String>, Failure> {
        self.ask(question, "prompt", variable);
        match env::var(variable) {
            Ok(answer) => {
                let message = format!("{answer} (from {variable})");
                self.ask(&message, "env_answer", variable);
                Ok(Some(answer))
            }
            Err(_) => Ok(read_line()?),
        }
    }

    fn ask(&self, message: &str, kind: &str, variable: &str) {
        let mut error = io::stderr().lock();
        let _ = if self.log.is_json() {
            let mut line = json!({
                "type": format!("question_{kind}"),
                "msgid": variable,
                "message": message,
            });
            if let (true, Some(line)) = (kind == "env_answer", line.as_object_mut()) {
                line.insert("env_var".into(), variable.into());
            }
            writeln!(error, "{line}")
        } else if kind == "prompt" {
            write!(error, "{message}")
        } else {
            writeln!(error, "{message}")
        };
        let _ = error.flush();
    }

    /// Takes the passphrase for a new key.
    pub(crate) fn new_passphrase(&self) -> Result<Passphrase, Failure> {
        if let Ok(new) = env::var("BORG_NEW_PASSPHRASE") {
            return Ok(Passphrase::new(new));
        }
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        for _ in 0..3 {
            let first = ask_hidden("Enter new passphrase: ")?;
            let again = ask_hidden("Enter same passphrase again: ")?;
            if first == again {
                self.show_passphrase(&first)?;
                return Ok(Passphrase::new(first));
            }
            self.log.error("Passphrases do not match");
        }
        let message = "Exceeded the maximum password retries.";
        Err(Failure::new(53, "PasswordRetriesExceeded", message))
    }

    fn show_passphrase(&self, passphrase: &str) -> Result<(), Failure> {
        let question = "Do you want your passphrase to be displayed for verification? [yN]: ";
        if self.confirm(question, "BORG_DISPLAY_PASSPHRASE")? {
            let message = format!("Your passphrase (between double-quotes): \"{passphrase}\"");
            self.log.notice(&message);
        }
        Ok(())
    }
}

/// A passphrase that needs no asking.
fn environment_passphrase() -> Result<Option<Passphrase>, Failure> {
    if let Some(passphrase) = env::var_os("BORG_PASSPHRASE") {
        return Ok(Some(Passphrase::new(passphrase.into_vec())));
    }
    if let Ok(line) = env::var("BORG_PASSCOMMAND") {
        return passphrase_of_command(&line).map(Some);
    }
    if let Ok(number) = env::var("BORG_PASSPHRASE_FD") {
        let bad = |what: String| {
            let message = format!("Cannot acquire a passphrase: {what}");
            Failure::new(50, "NoPassphraseFailure", message)
        };
        let number = number
            .parse()
            .map_err(|_| bad(format!("BORG_PASSPHRASE_FD is no number: {number}")))?;
        return read_descriptor(number)
            .map(|bytes| Some(Passphrase::new(without_line_end(bytes))))
            .map_err(|error| bad(error.to_string()));
    }
    Ok(None)
}

/// Reads what comes through a descriptor that we were started with: a file, a pipe or a socket.
fn read_descriptor(number: u16) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    inherited(number)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Only the kernel can give us one by its number without a promise that nobody else uses it.
#[cfg(target_os = "linux")]
fn inherited(number: u16) -> io::Result<File> {
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty());
    let copied = own.and_then(|own| pidfd_getfd(own, number.into(), PidfdGetfdFlags::empty()));
    match copied {
        Ok(descriptor) => Ok(File::from(descriptor)),
        // Kernels before 5.6, and sandboxes that do not know the call. A socket cannot be opened so.
        Err(Errno::NOSYS | Errno::PERM) => File::open(format!("/dev/fd/{number}")),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn inherited(number: u16) -> io::Result<File> {
    File::open(format!("/dev/fd/{number}"))
}

fn passphrase_of_command(line: &str) -> Result<Passphrase, Failure> {
    let bad = |what: String| {
        let message = format!("Passcommand supplied in BORG_PASSCOMMAND failed: {what}");
        Failure::new(51, "PasscommandFailure", message)
    };
    let words = shlex::split(line).ok_or_else(|| bad("it is not well quoted".into()))?;
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| bad("it is empty".into()))?;
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| bad(error.to_string()))?;
    if !output.status.success() {
        return Err(bad(output.status.to_string()));
    }
    Ok(Passphrase::new(without_line_end(output.stdout)))
}

fn without_line_end(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    bytes
}

/// A line of standard input; `None` at its end.
pub(crate) fn read_line() -> Result<Option<String>, Failure> {
    let mut line = Vec::new();
    if io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let line = without_line_end(line);
    Ok(Some(text::path(&line)))
}

/// Asks for a line that is not shown: at the terminal that the program was started from, even where
/// its streams lead elsewhere.
fn ask_hidden(prompt: &str) -> Result<String, Failure> {
    let none = |what: &str| {
        let message = format!("Cannot acquire a passphrase: {what}");
        Failure::new(50, "NoPassphraseFailure", message)
    };
    let Ok(mut terminal) = Terminal::open() else {
        return Err(none(
            "no terminal to ask at, and neither BORG_PASSPHRASE nor BORG_PASSCOMMAND nor BORG_PASSPHRASE_FD is set",
        ));
    };
    match terminal.ask_hidden(prompt) {
        Ok(Some(answer)) => Ok(answer.to_string()),
        Ok(None) => Err(none("nobody answered")),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::signal(2)),
        Err(error) => Err(none(&error.to_string())),
    }
}

/// Notes signals that ask for an end. A second one ends the process on the spot.
fn listen() -> io::Result<Arc<AtomicUsize>> {
    let asked = Arc::new(AtomicUsize::new(0));
    let again = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal).unwrap_or(2);
        let code = i32::from(SIGNAL_BASE) + signal;
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&again))?;
        signal_hook::flag::register(signal, Arc::clone(&again))?;
        signal_hook::flag::register_usize(signal, Arc::clone(&asked), number)?;
    }
    Ok(asked)
}

/// Reads a whole file, and says which one it was when that fails.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::file(path, &error))
}
