//! `BORG_LOGGING_CONF`: who is told what, in the words of Python's `logging.config.fileConfig`.
//!
//! A message has the name of who says it, such as `borg.archiver`, and a level. The nearest logger by
//! that name that has a level decides whether it is said at all; it goes to the handlers of this logger
//! and of those above it, until one that does not propagate. What the file wants and is not here
//! (classes of other modules, expressions of Python) makes it unusable as a whole: then that is said,
//! and everything is as without it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use jiff::ZonedDateTime;

use super::log::Level;

/// Longest file of settings: 1 MiB.
const SIZE_MAX: u64 = 1 << 20;

type Section = BTreeMap<String, String>;

/// Where messages go.
#[derive(Debug)]
pub(crate) struct Logging {
    /// By name; the root has the empty one.
    loggers: BTreeMap<String, Logger>,
    handlers: Vec<Handler>,
}

#[derive(Debug)]
struct Logger {
    level: Option<u8>,
    propagates: bool,
    handlers: Vec<usize>,
}

#[derive(Debug)]
struct Handler {
    level: u8,
    format: Format,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Error,
    Output,
    File(Mutex<File>),
    Nowhere,
}

/// How a line is made of a message.
#[derive(Debug)]
struct Format {
    pieces: Vec<Piece>,
    date: Option<String>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Field {
        name: String,
        width: usize,
        is_left: bool,
    },
}

/// The numbers of Python's levels.
fn number_of(level: Level) -> u8 {
    match level {
        Level::Debug => 10,
        Level::Info => 20,
        Level::Warning => 30,
        Level::Error => 40,
        Level::Critical => 50,
    }
}

impl Logging {
    /// Reads the settings of a file.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        use io::Read as _;
        let mut text = String::new();
        let file = File::open(path).map_err(|error| error.to_string())?;
        let read = file.take(SIZE_MAX).read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let sections = sections(text)?;
        let keys = |name: &str| -> Result<Vec<String>, String> {
            let keys = section(&sections, name)?.get("keys");
            Ok(list(keys.map_or("", String::as_str)))
        };
        let mut formats = BTreeMap::new();
        for key in keys("formatters").unwrap_or_default() {
            let of = section(&sections, &format!("formatter_{key}"))?;
            let pattern = of.get("format").map_or("%(message)s", String::as_str);
            formats.insert(key, (pattern.to_owned(), of.get("datefmt").cloned()));
        }
        let names = keys("handlers")?;
        let mut handlers = Vec::new();
        for name in &names {
            let of = section(&sections, &format!("handler_{name}"))?;
            let formatter = of.get("formatter").and_then(|name| formats.get(name));
            let (pattern, date) = formatter
                .cloned()
                .unwrap_or_else(|| ("%(message)s".to_owned(), None));
            handlers.push(Handler {
                level: level(of)?.unwrap_or(0),
                format: Format {
                    pieces: pieces(&pattern)?,
                    date: date.filter(|date| !date.is_empty()),
                },
                target: target(of)?,
            });
        }
        let mut loggers = BTreeMap::new();
        for key in keys("loggers")? {
            let of = section(&sections, &format!("logger_{key}"))?;
            let name = match key.as_str() {
                "root" => String::new(),
                _ => of
                    .get("qualname")
                    .cloned()
                    .ok_or("a logger has no qualname")?,
            };
            let wanted = list(of.get("handlers").map_or("", String::as_str));
            let found = wanted.iter().map(|wanted| {
                let index = names.iter().position(|name| name == wanted);
                index.ok_or_else(|| format!("there is no handler {wanted}"))
            });
            let logger = Logger {
                level: level(of)?.filter(|&level| level > 0),
                propagates: of.get("propagate").is_none_or(|value| value.trim() != "0"),
                handlers: found.collect::<Result<_, _>>()?,
            };
            loggers.insert(name, logger);
        }
        if !loggers.contains_key("") {
            return Err("there is no root logger".to_owned());
        }
        Ok(Self { loggers, handlers })
    }

    /// Says something to whom it may concern.
    pub(crate) fn say(&self, level: Level, name: &str, message: &str, now: &ZonedDateTime) {
        let number = number_of(level);
        let chain: Vec<&Logger> = above(name)
            .filter_map(|name| self.loggers.get(name))
            .collect();
        let least = chain.iter().find_map(|logger| logger.level).unwrap_or(30);
        if number < least {
            return;
        }
        for logger in chain {
            for handler in logger
                .handlers
                .iter()
                .filter_map(|&index| self.handlers.get(index))
            {
                if number >= handler.level {
                    let line = handler.format.line(level, name, message, now);
                    handler.target.write(&line);
                }
            }
            if !logger.propagates {
                break;
            }
        }
    }
}

impl Target {
    /// Where nobody listens, nothing can be done.
    fn write(&self, line: &str) {
        let _ = match self {
            Self::Error => writeln!(io::stderr().lock(), "{line}"),
            Self::Output => writeln!(io::stdout().lock(), "{line}"),
            Self::File(file) => match file.lock() {
                Ok(mut file) => writeln!(file, "{line}"),
                Err(_) => Ok(()),
            },
            Self::Nowhere => Ok(()),
        };
    }
}

impl Format {
    fn line(&self, level: Level, name: &str, message: &str, now: &ZonedDateTime) -> String {
        let mut line = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => line.push_str(text),
                Piece::Field {
                    name: field,
                    width,
                    is_left,
                } => {
                    let value = self.value(field, level, name, message, now);
                    let space = " ".repeat(width.saturating_sub(value.chars().count()));
                    match is_left {
                        true => line.extend([value.as_str(), &space]),
                        false => line.extend([space.as_str(), &value]),
                    }
                }
            }
        }
        line
    }

    fn value(
        &self,
        field: &str,
        level: Level,
        name: &str,
        message: &str,
        now: &ZonedDateTime,
    ) -> String {
        let milliseconds = now.millisecond();
        match field {
            "message" => message.to_owned(),
            "levelname" => level.name().to_owned(),
            "levelno" => number_of(level).to_string(),
            "name" => name.to_owned(),
            "process" => std::process::id().to_string(),
            "msecs" => milliseconds.to_string(),
            "created" => format!("{}.{milliseconds:03}", now.timestamp().as_second()),
            "asctime" => match &self.date {
                Some(date) => jiff::fmt::strtime::format(date, now).unwrap_or_default(),
                None => format!("{},{milliseconds:03}", now.strftime("%Y-%m-%d %H:%M:%S")),
            },
            // Where in Python's sources it was said.
            _ => "ravelin".to_owned(),
        }
    }
}

/// A name, and those that it stands below, up to the root.
fn above(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| match name.rsplit_once('.') {
        Some((above, _)) => Some(above),
        None if name.is_empty() => None,
        None => Some(""),
    })
}

/// Sections of keys and values; a line that is indented goes on with the value above it.
fn sections(text: &str) -> Result<BTreeMap<String, Section>, String> {
    let mut all: BTreeMap<String, Section> = BTreeMap::new();
    let mut current: Option<String> = None;
    let mut last: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let named = trimmed
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(name) = named {
            all.entry(name.to_owned()).or_default();
            (current, last) = (Some(name.to_owned()), None);
            continue;
        }
        let section = current.as_ref().and_then(|name| all.get_mut(name));
        let section = section.ok_or_else(|| format!("no section before: {trimmed}"))?;
        if line.starts_with([' ', '\t'])
            && let Some(value) = last.as_ref().and_then(|key| section.get_mut(key))
        {
            value.push('\n');
            value.push_str(trimmed);
            continue;
        }
        let at = trimmed.find(['=', ':']);
        let at = at.ok_or_else(|| format!("neither a section nor a setting: {trimmed}"))?;
        let (key, value) = trimmed.split_at(at);
        let key = key.trim().to_lowercase();
        section.insert(key.clone(), value[1..].trim().to_owned());
        last = Some(key);
    }
    Ok(all)
}

fn section<'a>(all: &'a BTreeMap<String, Section>, name: &str) -> Result<&'a Section, String> {
    all.get(name)
        .ok_or_else(|| format!("there is no section {name}"))
}

fn list(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The level of a section, if it says one.
fn level(of: &Section) -> Result<Option<u8>, String> {
    let Some(word) = of.get("level") else {
        return Ok(None);
    };
    Ok(Some(match word.as_str() {
        "NOTSET" => 0,
        "DEBUG" => 10,
        "INFO" => 20,
        "WARNING" | "WARN" => 30,
        "ERROR" => 40,
        "CRITICAL" | "FATAL" => 50,
        _ => return Err(format!("unknown level {word}")),
    }))
}

/// Where a handler writes: its class, and what that is given, as Python would write it.
fn target(of: &Section) -> Result<Target, String> {
    let class = of.get("class").map_or("", String::as_str);
    let class = class.strip_prefix("logging.").unwrap_or(class);
    let arguments = of.get("args").map_or("", String::as_str);
    let inner = arguments
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')');
    let arguments = list(inner);
    let first = arguments.first().map_or("", String::as_str);
    match class {
        "StreamHandler" => match first {
            "" | "sys.stderr" => Ok(Target::Error),
            "sys.stdout" => Ok(Target::Output),
            other => Err(format!("unknown stream {other}")),
        },
        "FileHandler" => {
            let name = literal(first).ok_or_else(|| format!("no name of a file: {first}"))?;
            let mode = arguments.get(1).and_then(|mode| literal(mode));
            let mut options = File::options();
            match mode.as_deref().unwrap_or("a") {
                "a" => options.append(true).create(true),
                "w" => options.write(true).create(true).truncate(true),
                other => return Err(format!("unknown mode {other}")),
            };
            let file = options
                .open(&name)
                .map_err(|error| format!("{name}: {error}"))?;
            Ok(Target::File(Mutex::new(file)))
        }
        "NullHandler" => Ok(Target::Nowhere),
        other => Err(format!("unknown class {other}")),
    }
}

/// The text of a string as Python writes it, without escapes.
fn literal(word: &str) -> Option<String> {
    let quote = word.chars().next().filter(|it| matches!(it, '\'' | '"'))?;
    let inner = word.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(['\\', quote])).then(|| inner.to_owned())
}

/// The pieces of a format such as `%(asctime)s %(levelname)-8s %(message)s`.
fn pieces(pattern: &str) -> Result<Vec<Piece>, String> {
    let bad = || format!("this format is not known: {pattern}");
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((text, behind)) = rest.split_once('%') {
        pieces.push(Piece::Text(text.to_owned()));
        if let Some(behind) = behind.strip_prefix('%') {
            pieces.push(Piece::Text("%".to_owned()));
            rest = behind;
            continue;
        }
        let behind = behind.strip_prefix('(').ok_or_else(bad)?;
        let (name, behind) = behind.split_once(')').ok_or_else(bad)?;
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(bad());
        }
        let end = behind.find(['s', 'd', 'f']).ok_or_else(bad)?;
        let (flags, behind) = behind.split_at(end);
        let digits = flags
            .trim_start_matches('-')
            .split('.')
            .next()
            .unwrap_or("");
        let width = match digits {
            "" => 0,
            digits => digits.parse().map_err(|_| bad())?,
        };
        pieces.push(Piece::Field {
            name: name.to_owned(),
            width: usize::min(width, 200),
            is_left: flags.starts_with('-'),
        });
        rest = behind.get(1..).unwrap_or("");
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: &str = "[loggers]\nkeys=root,list\n[handlers]\nkeys=all\n[formatters]\nkeys=long\n\
        [logger_root]\nlevel=WARNING\nhandlers=all\n[logger_list]\nqualname=borg.output.list\nlevel=INFO\n\
        handlers=\n[handler_all]\nclass=FileHandler\nlevel=NOTSET\nformatter=long\nargs=('PATH', 'w')\n\
        [formatter_long]\nformat=%(asctime)s %(levelname)-8s %(name)s: %(message)s (100%%)\ndatefmt=%Y\n";

    #[test]
    fn the_nearest_logger_decides_and_all_above_it_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let logging = Logging::parse(&SETTINGS.replace("PATH", path.to_str().unwrap())).unwrap();
        let now: ZonedDateTime = "2026-11-26T13:00:00[UTC]".parse().unwrap();
        logging.say(Level::Info, "borg.archiver", "not this", &now);
        logging.say(Level::Error, "borg.archiver", "this", &now);
        logging.say(Level::Info, "borg.output.list", "A file", &now);
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            "2026 ERROR    borg.archiver: this (100%)\n2026 INFO     borg.output.list: A file (100%)\n"
        );
    }

    #[test]
    fn what_is_not_known_is_refused_and_nothing_is_harmed() {
        for (from, to) in [
            ("FileHandler", "handlers.SMTPHandler"),
            ("level=INFO", "level=LOUD"),
            ("keys=all", "keys=none"),
            ("%(name)s", "%(name"),
            ("('PATH', 'w')", "(open('/etc/passwd'),)"),
        ] {
            assert!(Logging::parse(&SETTINGS.replace(from, to)).is_err(), "{to}");
        }
        let settings = SETTINGS.replace("FileHandler", "NullHandler");
        for bytes in testkit::Changes::new(vec![settings.into_bytes()], 1).take(2000) {
            let text = String::from_utf8_lossy(&bytes);
            if !text.contains("FileHandler") {
                drop(Logging::parse(&text));
            }
        }
    }
}
