//! What duplicity says: to the terminal, and to programs in stanzas on a file or a descriptor.
//!
//! A stanza is `KEYWORD code extra`, lines of data if any, the text with `. ` before each line, and
//! an empty line. Source: duplicity's `log.py` and its manual, `--log-fd`.

use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// How much a message matters: shown when the verbosity is at least this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Error = 0,
    Warning = 2,
    Notice = 3,
    Info = 5,
    /// Collection status: shown as information, at a verbosity of 8.
    Status = 8,
    Debug = 9,
}

/// Codes of messages that are no errors.
pub(crate) mod info {
    pub(crate) const GENERIC: u8 = 1;
    pub(crate) const PROGRESS: u8 = 2;
    pub(crate) const COLLECTION: u8 = 3;
    pub(crate) const NEW: u8 = 4;
    pub(crate) const CHANGED: u8 = 5;
    pub(crate) const DELETED: u8 = 6;
    pub(crate) const WRITING: u8 = 7;
    pub(crate) const LISTED: u8 = 10;
    pub(crate) const SOCKET: u8 = 15;
    pub(crate) const UPLOAD: u8 = 16;
}

/// Codes of warnings.
pub(crate) mod warning {
    pub(crate) const GENERIC: u8 = 1;
    pub(crate) const ORPHANED_SIGNATURE: u8 = 2;
    pub(crate) const INCOMPLETE: u8 = 5;
    pub(crate) const ORPHANED: u8 = 6;
    pub(crate) const CANNOT_STAT: u8 = 9;
    pub(crate) const CANNOT_READ: u8 = 10;
    pub(crate) const CANNOT_PROCESS: u8 = 12;
}

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Log {
    verbosity: u8,
    with_time: bool,
    machines: Mutex<Vec<File>>,
}

impl Log {
    /// A log to the terminal, with duplicity's own verbosity.
    pub(crate) fn new() -> Self {
        Self {
            verbosity: Level::Notice as u8,
            with_time: false,
            machines: Mutex::default(),
        }
    }

    pub(crate) fn set_verbosity(&mut self, verbosity: u8) {
        self.verbosity = verbosity;
    }

    pub(crate) fn add_time(&mut self) {
        self.with_time = true;
    }

    /// Writes stanzas to a descriptor that the caller of the program opened.
    pub(crate) fn add_descriptor(&mut self, number: i32) -> Result<(), String> {
        if number < 1 {
            return Err("--log-fd takes a number greater than zero".to_owned());
        }
        let path = format!("/proc/self/fd/{number}");
        if std::fs::symlink_metadata(&path).is_err() {
            return Err(format!("--log-fd: descriptor {number} is not open"));
        }
        #[expect(
            unsafe_code,
            reason = "whoever calls the program gives us the descriptor by its number"
        )]
        // SAFETY: it is open, was handed to this process for this very purpose, and nothing else
        // in the program takes it.
        let file = unsafe { File::from_raw_fd(number) };
        self.machines().push(file);
        Ok(())
    }

    /// Appends stanzas to a file.
    pub(crate) fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|error| format!("--log-file {}: {error}", path.display()))?;
        self.machines().push(file);
        Ok(())
    }

    fn machines(&mut self) -> &mut Vec<File> {
        self.machines
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shows(&self, level: Level) -> bool {
        level as u8 <= self.verbosity
    }

    pub(crate) fn notice(&self, text: &str) {
        self.say(Level::Notice, info::GENERIC, "", text);
    }

    pub(crate) fn info(&self, text: &str) {
        self.say(Level::Info, info::GENERIC, "", text);
    }

    pub(crate) fn warn(&self, code: u8, extra: &str, text: &str) {
        self.say(Level::Warning, code, extra, text);
    }

    /// Says it when the verbosity asks for it.
    pub(crate) fn say(&self, level: Level, code: u8, extra: &str, text: &str) {
        if self.shows(level) {
            self.print(level, code, extra, text);
        }
    }

    /// Says it whatever the verbosity: what was asked for.
    pub(crate) fn print(&self, level: Level, code: u8, extra: &str, text: &str) {
        if !text.is_empty() {
            self.to_person(level, text);
        }
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if !machines.is_empty() {
            let stanza = stanza(level, code, extra, text);
            // Nobody may be listening any more: no reason to fail.
            for machine in machines.iter_mut() {
                let _ = machine.write_all(stanza.as_bytes());
            }
        }
    }

    fn to_person(&self, level: Level, text: &str) {
        let mut line = String::new();
        if self.with_time {
            let now = engine::clock::zone().to_datetime(engine::clock::system().timestamp());
            line = format!(
                "{} {:<6} ",
                now.strftime("%Y-%m-%d %H:%M:%S,%3f"),
                keyword(level)
            );
        }
        line.push_str(text);
        line.push('\n');
        // As in the stock program, only errors go to the standard error output.
        let _ = if level == Level::Error {
            std::io::stderr().lock().write_all(line.as_bytes())
        } else {
            std::io::stdout().lock().write_all(line.as_bytes())
        };
    }
}

fn keyword(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warning => "WARNING",
        Level::Notice => "NOTICE",
        Level::Info | Level::Status => "INFO",
        Level::Debug => "DEBUG",
    }
}

fn stanza(level: Level, code: u8, extra: &str, text: &str) -> String {
    let mut stanza = format!("{} {code}", keyword(level));
    if !extra.is_empty() {
        stanza.push(' ');
        stanza.push_str(extra);
    }
    if !text.is_empty() {
        stanza.push('\n');
        stanza.push_str(text);
        // The data lines of the extra part have no dot: it is put before those of the text.
        let at = stanza.len() - text.len() - 1;
        let text = stanza.split_off(at).replace('\n', "\n. ");
        stanza.push_str(&text);
    }
    stanza.push_str("\n\n");
    stanza
}

/// A name in single quotes, escaped so that it is one printable word: what Python's
/// `unicode-escape` makes of it, and `\x27` for a quote.
pub(crate) fn quoted(name: &[u8]) -> String {
    let mut text = String::from("'");
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\'' => text.push_str("\\x27"),
                ' '..='~' => text.push(character),
                other => match u32::from(other) {
                    number @ 0..=0xff => text.push_str(&format!("\\x{number:02x}")),
                    number @ 0x100..=0xffff => text.push_str(&format!("\\u{number:04x}")),
                    number => text.push_str(&format!("\\U{number:08x}")),
                },
            }
        }
        // The stock program loses the whole stanza here.
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_has_its_text_behind_dots_and_ends_with_an_empty_line() {
        assert_eq!(
            stanza(Level::Error, 23, "CommandLineError", "what\nwhy"),
            "ERROR 23 CommandLineError\n. what\n. why\n\n"
        );
        assert_eq!(stanza(Level::Info, 2, "17", ""), "INFO 2 17\n\n");
        assert_eq!(
            stanza(Level::Status, 3, "\nbackend X\n full T 1 enc", "seen"),
            "INFO 3 \nbackend X\n full T 1 enc\n. seen\n\n"
        );
    }

    #[test]
    fn a_name_is_one_printable_word() {
        let name = "it's é\n\\€\u{1f600}".as_bytes();
        assert_eq!(quoted(name), "'it\\x27s \\xe9\\n\\\\\\u20ac\\U0001f600'");
        assert_eq!(quoted(b"\xff"), "'\\xff'");
    }
}
