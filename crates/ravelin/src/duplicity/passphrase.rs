//! Passphrases: from the environment, or from the person at the terminal.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use duplicity::Passphrase;
use nix::sys::termios::{self, LocalFlags, SetArg};

use super::failure::Failure;
use super::log::{Level, Log, warning};
use super::options::Options;

/// What a passphrase is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To read what is there.
    Read,
    /// To read names and signatures only: with keys, the local copies usually suffice.
    List,
    /// To write a set.
    Write,
}

pub(crate) struct Passphrases<'a> {
    options: &'a Options,
    log: &'a Log,
}

impl<'a> Passphrases<'a> {
    pub(crate) fn new(options: &'a Options, log: &'a Log) -> Self {
        Self { options, log }
    }

    fn has_keys(&self) -> bool {
        !self.options.encrypt_keys.is_empty() || !self.options.hidden_encrypt_keys.is_empty()
    }

    /// Whether the key that signs is one that is encrypted to: then they have one passphrase.
    fn signs_with_recipient(&self) -> bool {
        let options = self.options;
        let mut keys = options
            .encrypt_keys
            .iter()
            .chain(&options.hidden_encrypt_keys);
        options
            .sign_key
            .as_ref()
            .is_some_and(|sign| keys.any(|key| key == sign))
    }

    /// What opens the archive.
    pub(crate) fn to_open(&self, asked: Asked) -> Result<Option<Passphrase>, Failure> {
        if let Some(passphrase) = variable("PASSPHRASE") {
            return Ok(Some(passphrase));
        }
        if self.signs_with_recipient()
            && let Some(passphrase) = variable("SIGN_PASSPHRASE")
        {
            self.log
                .notice("PASSPHRASE is not set: SIGN_PASSPHRASE is used for it.");
            return Ok(Some(passphrase));
        }
        if self.options.use_agent || (self.has_keys() && asked != Asked::Read) {
            return Ok(None);
        }
        self.log.info("PASSPHRASE is not set: asking for it.");
        let is_new = asked == Asked::Write && !self.has_keys();
        loop {
            let first = ask("GnuPG passphrase for decryption: ")?;
            if is_new {
                let second = ask("Retype passphrase for decryption to confirm: ")?;
                if first.expose() != second.expose() {
                    self.complain("The two passphrases differ. Please try again.");
                    continue;
                }
                if first.expose().is_empty() {
                    self.complain("An empty passphrase protects nothing. Please try again.");
                    continue;
                }
            }
            return Ok(Some(first));
        }
    }

    /// What opens the key that signs.
    pub(crate) fn to_sign(&self) -> Result<Option<Passphrase>, Failure> {
        if let Some(passphrase) = variable("SIGN_PASSPHRASE") {
            return Ok(Some(passphrase));
        }
        if self.signs_with_recipient()
            && let Some(passphrase) = variable("PASSPHRASE")
        {
            self.log
                .notice("SIGN_PASSPHRASE is not set: PASSPHRASE is used for it.");
            return Ok(Some(passphrase));
        }
        if self.options.use_agent {
            return Ok(None);
        }
        ask("GnuPG passphrase for signing key: ").map(Some)
    }

    fn complain(&self, text: &str) {
        self.log.print(Level::Warning, warning::GENERIC, "", text);
    }
}

/// The passphrase of the archive, where the environment has it.
pub(crate) fn from_environment() -> Option<Passphrase> {
    variable("PASSPHRASE").filter(|passphrase| !passphrase.expose().is_empty())
}

fn variable(name: &str) -> Option<Passphrase> {
    let value = std::env::var_os(name)?;
    Some(Passphrase::new(value.to_string_lossy()))
}

/// Longest passphrase that is read, in bytes.
const LENGTH_MAX: u64 = 4096;

/// Asks at the terminal, without showing what is typed; where there is none, reads a line of
/// standard input.
fn ask(prompt: &str) -> Result<Passphrase, Failure> {
    let terminal = File::options().read(true).write(true).open("/dev/tty");
    let (input, mut output): (File, Box<dyn Write>) = match terminal {
        Ok(terminal) => (
            terminal.try_clone().map_err(|error| failed(&error))?,
            Box::new(terminal),
        ),
        Err(_) => {
            let input = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned();
            (
                input.map_err(|error| failed(&error))?.into(),
                Box::new(io::stderr()),
            )
        }
    };
    let before = termios::tcgetattr(&input).ok();
    if let Some(before) = &before {
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        // Where it cannot be silenced, it is asked all the same, as there is no other way.
        let _ = termios::tcsetattr(&input, SetArg::TCSADRAIN, &silent);
    }
    let _ = output
        .write_all(prompt.as_bytes())
        .and_then(|()| output.flush());
    let line = read_line(&input);
    if let Some(before) = &before {
        let _ = termios::tcsetattr(&input, SetArg::TCSADRAIN, before);
        let _ = output.write_all(b"\n");
    }
    let line = line.map_err(|error| failed(&error))?;
    match line.strip_suffix('\n') {
        Some(text) => Ok(Passphrase::new(text)),
        None if !line.is_empty() => Ok(Passphrase::new(line)),
        None => Err(Failure::exception(
            "EOFError",
            "A passphrase is needed, and there is nobody to ask. Set the environment variable \
             PASSPHRASE.",
        )),
    }
}

/// One line, byte by byte: what comes behind it is for the next question.
fn read_line(input: &File) -> io::Result<String> {
    let mut line = Vec::new();
    let mut one = BufReader::with_capacity(1, input.take(LENGTH_MAX));
    one.read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).into_owned())
}

fn failed(error: &io::Error) -> Failure {
    Failure::system("cannot ask for a passphrase", error)
}
