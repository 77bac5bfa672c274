//! Passphrases: from the environment, or from the person at the terminal.

use std::io;

use duplicity::Passphrase;

use super::failure::Failure;
use super::log::{Level, Log, warning};
use super::options::Options;
use crate::ask::Terminal;

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

/// Asks at the terminal, without showing what is typed; where there is none, reads a line of
/// standard input.
fn ask(prompt: &str) -> Result<Passphrase, Failure> {
    let terminal = Terminal::open().or_else(|_| Terminal::streams());
    let answer = terminal.and_then(|mut terminal| terminal.ask_hidden(prompt));
    match answer.map_err(|error| failed(&error))? {
        Some(text) => Ok(Passphrase::new(text.as_str())),
        None => Err(Failure::exception(
            "EOFError",
            "A passphrase is needed, and there is nobody to ask. Set the environment variable \
             PASSPHRASE.",
        )),
    }
}

fn failed(error: &io::Error) -> Failure {
    Failure::system("cannot ask for a passphrase", error)
}
