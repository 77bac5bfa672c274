//! Borg's own command line: `ravelin borg …`, and the program called through a link named `borg`.
//!
//! The work is done by the crate [`borg`]; here it is asked for and told about in the words of
//! Borg 1.4: [`grammar`] says what may be typed, [`arguments`] reads it, [`session`] opens what was
//! named, [`log`] says what happens, [`fail`] how it ends. Then one file a command.
//!
//! Source: Borg 1.4's documentation, `docs/usage` and `docs/internals/frontends`, and what the
//! program does.

mod arguments;
mod benchmark;
mod check;
mod compact;
mod config;
mod create;
mod debug;
mod delete;
mod diff;
mod extract;
mod fail;
mod grammar;
mod help;
mod info;
mod init;
mod items;
mod key;
mod list;
mod lock;
mod log;
mod logging;
mod matcher;
mod mount;
mod pick;
mod place;
mod profile;
mod prune;
mod recreate;
mod rename;
mod serve;
mod session;
mod stats;
mod tar;
mod template;
mod text;
mod upgrade;
mod version;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arguments::{Arguments, Typed, parse};
use fail::Failure;
use session::Session;

/// The version of Borg whose command line this is.
pub(crate) const VERSION: &str = "1.4.5";

/// What `--version` says: the stock program's words, or ours to who asks whose this is.
pub(crate) fn whose(stock: String) -> String {
    match std::env::var_os(engine::stock::WHO) {
        Some(_) => format!("ravelin {} as {stock}", env!("CARGO_PKG_VERSION")),
        None => stock,
    }
}

/// What stands behind the name of the program, if it is called by one of Borg's names. Borg's own
/// releases have more behind it: `borg-linux-glibc236`, `borg.exe`.
pub(crate) fn typed(words: &[OsString]) -> Option<Vec<OsString>> {
    let (first, rest) = words.split_first()?;
    let name = Path::new(first).file_name().and_then(OsStr::to_str);
    match name.and_then(|name| name.split(['.', '-']).next()) {
        Some("borg") => Some(rest.to_vec()),
        Some("borgfs") => {
            // Made for lines of fstab: a mount without the word.
            let mut words = vec![OsString::from("mount")];
            words.extend_from_slice(rest);
            Some(words)
        }
        _ => match rest.split_first() {
            Some((word, rest)) if word == "borg" => Some(rest.to_vec()),
            _ => None,
        },
    }
}

/// Does what was typed.
pub(crate) fn main(words: Vec<OsString>, program: OsString) -> ExitCode {
    let mut cmdline = vec![program];
    cmdline.extend(words.iter().cloned());
    let typed = parse(words);
    let nothing = Arguments::default();
    let arguments = match &typed {
        Ok(Typed::Run(_, arguments)) => arguments,
        _ => &nothing,
    };
    // A server has nothing to tidy up that the end of its connection would not tidy up as well.
    let is_polite = !matches!(&typed, Ok(Typed::Run(command, _)) if command.name == "serve");
    let session = match Session::new(arguments, cmdline, is_polite) {
        Ok(session) => session,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "borg: error: {}", failure.message);
            return ExitCode::from(2);
        }
    };
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(session.umask));
    if arguments.has("show_version") {
        session.log.requested(
            "borg.output.show-version",
            &format!("borgbackup version {VERSION}"),
        );
    }
    let ended = match typed {
        Ok(Typed::Run(command, arguments)) => {
            let began = Instant::now();
            let ended = (command.run)(&session, &arguments);
            if let Some(path) = arguments.os("debug_profile") {
                let name = format!("borg {}", command.name);
                let own = processor_time();
                let written = profile::write(Path::new(path), &name, own, began.elapsed());
                ended.and(written)
            } else {
                ended
            }
        }
        Ok(Typed::Help(topic)) => help::show(topic.as_deref()),
        Ok(Typed::Version) => {
            // The stock program's words, which wrappers look at.
            let version = format!("borg {VERSION}");
            print(format!("{}\n", whose(version)).as_bytes())
        }
        Err(failure) => Err(failure),
    };
    session.log.end_progress();
    match ended {
        Ok(()) => {}
        // Who reads our output has seen enough.
        Err(failure) if failure.msgid == BROKEN_PIPE => {}
        Err(mut failure) => {
            if failure.msgid == "Usage" {
                failure.message =
                    format!("{}\nborg: error: {}", help::usage_line(), failure.message);
            }
            session.log.fail(&failure);
        }
    }
    let code = session.log.exit_code();
    session.log.debug(&format!("exit code {code}"));
    if session.shows_rc {
        let kind = match code {
            0 => "success",
            1 | 100..=127 => "warning",
            128.. => "signal",
            _ => "error",
        };
        let message = format!("terminating with {kind} status, rc {code}");
        session.log.requested("borg.output.show-rc", &message);
    }
    ExitCode::from(code)
}

/// What all threads have computed so far.
fn processor_time() -> Duration {
    let clock = rustix::time::ClockId::ProcessCPUTime;
    Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
}

/// Ends a command quietly.
const BROKEN_PIPE: &str = "BrokenPipe";

/// Writes to standard output.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    let written = output.write_all(bytes).and_then(|()| output.flush());
    written.map_err(printing)
}

/// Why standard output cannot be written.
fn printing(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(0, BROKEN_PIPE, ""),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_known_by_borgs_names() {
        let typed = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let typed = typed(&words)?;
            let typed: Vec<_> = typed.iter().map(|word| word.to_str().unwrap()).collect();
            Some(typed.join(" "))
        };
        for (line, expected) in [
            ("borg list r", Some("list r")),
            ("/usr/bin/borg-linux64 list r", Some("list r")),
            ("borgfs r m", Some("mount r m")),
            ("ravelin borg list r", Some("list r")),
            ("ravelin snapshots", None),
            ("/opt/borgmatic list", None),
        ] {
            assert_eq!(typed(line).as_deref(), expected, "{line}");
        }
    }
}
