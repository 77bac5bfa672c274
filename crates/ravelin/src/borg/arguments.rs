//! Reads a command line as Borg's parser does: options anywhere, long ones abbreviated, short ones
//! joined, the options of all commands before the command or behind it.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::fail::Failure;
use super::grammar::{COMMANDS, COMMON};
use super::session::Session;

/// An option.
pub(crate) struct Opt {
    /// All spellings, with their dashes; the last long one names it in messages.
    pub(crate) flags: &'static [&'static str],
    /// What its values are asked for by.
    pub(crate) name: &'static str,
    pub(crate) takes: Takes,
    /// What it is for.
    pub(crate) help: &'static str,
}

/// What follows an option.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Nothing.
    Nothing,
    /// One value, by this name; of several the last one counts.
    Value(&'static str),
    /// One value, and the option may come only once.
    Once(&'static str),
    /// One of these values, which may be left out: then it is the first.
    Optional(&'static str, &'static [&'static str]),
    /// One value each time, and all of them count.
    Each(&'static str),
}

/// An argument by its place.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) count: Count,
}

/// How many arguments there may be in a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    One,
    AtMostOne,
    Any,
    Some,
    /// All that follows, options too.
    Rest,
}

/// A command, or a group of commands.
pub(crate) struct Command {
    /// As it is typed: `create`, `key export`.
    pub(crate) name: &'static str,
    /// One sentence.
    pub(crate) about: &'static str,
    pub(crate) places: &'static [Place],
    pub(crate) options: &'static [&'static [Opt]],
    pub(crate) run: fn(&Session, &Arguments) -> Result<(), Failure>,
}

/// What was typed.
#[derive(Default)]
pub(crate) struct Arguments {
    values: HashMap<&'static str, Vec<OsString>>,
    /// Options in the order in which they were typed.
    pub(crate) in_order: Vec<(&'static str, OsString)>,
}

/// What is to be done.
pub(crate) enum Typed {
    Run(&'static Command, Arguments),
    /// `--help`, of one command or group or of the program.
    Help(Option<String>),
    Version,
}

impl Arguments {
    /// Whether an option was given, or an argument stands in a place.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn os(&self, name: &str) -> Option<&OsStr> {
        self.values.get(name)?.last().map(OsString::as_os_str)
    }

    /// The value as text; bytes that are no text are replaced.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        Some(self.os(name)?.to_string_lossy().into_owned())
    }

    pub(crate) fn all(&self, name: &str) -> &[OsString] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.all(name).len()
    }

    /// The value, read by `read`, which says what is wrong with it.
    pub(crate) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match read(&text) {
            Ok(value) => Ok(Some(value)),
            Err(what) => Err(Failure::usage(format!(
                "argument {}: {what}",
                spelling(name)
            ))),
        }
    }

    /// The value as a number, or what it is without one.
    pub(crate) fn number<T: std::str::FromStr>(
        &self,
        name: &str,
        otherwise: T,
    ) -> Result<T, Failure> {
        let number = self.read(name, |text| {
            text.trim()
                .parse()
                .map_err(|_| format!("invalid int value: '{text}'"))
        });
        Ok(number?.unwrap_or(otherwise))
    }

    /// Makes it as if this had been typed.
    pub(crate) fn put(&mut self, name: &'static str, value: impl Into<OsString>) {
        let value = value.into();
        self.in_order.push((name, value.clone()));
        self.values.entry(name).or_default().push(value);
    }
}

type Words = std::iter::Peekable<std::vec::IntoIter<OsString>>;

/// How an option is written, for messages.
fn spelling(name: &str) -> String {
    let all = COMMANDS
        .iter()
        .flat_map(|command| command.options.iter())
        .chain([&COMMON])
        .flat_map(|options| options.iter());
    all.filter(|option| option.name == name)
        .map(|option| option.flags.join("/"))
        .next()
        .unwrap_or_else(|| name.to_uppercase())
}

/// Reads what was typed behind the name of the program.
pub(crate) fn parse(words: Vec<OsString>) -> Result<Typed, Failure> {
    let mut arguments = Arguments::default();
    let mut words: Words = words.into_iter().peekable();
    let command = loop {
        let Some(word) = words.next() else {
            return Ok(Typed::Help(None));
        };
        let bytes = word.as_bytes();
        if bytes.len() < 2 || bytes.first() != Some(&b'-') {
            break word;
        }
        match bytes {
            b"-h" | b"--help" => return Ok(Typed::Help(None)),
            b"-V" | b"--version" => return Ok(Typed::Version),
            _ => option(&word, &mut words, &[COMMON], &mut arguments)?,
        }
    };
    let mut name = command.to_string_lossy().into_owned();
    let group = format!("{name} ");
    if COMMANDS.iter().any(|known| known.name.starts_with(&group)) {
        loop {
            let Some(word) = words.next() else {
                return Ok(Typed::Help(Some(name)));
            };
            let bytes = word.as_bytes();
            if matches!(bytes, b"-h" | b"--help") {
                return Ok(Typed::Help(Some(name)));
            }
            if bytes.len() > 1 && bytes.first() == Some(&b'-') {
                option(&word, &mut words, &[COMMON], &mut arguments)?;
                continue;
            }
            name = format!("{name} {}", word.to_string_lossy());
            break;
        }
    }
    let Some(command) = COMMANDS.iter().find(|known| known.name == name) else {
        return Err(Failure::usage(format!(
            "argument <command>: invalid choice: '{name}' (`borg help` lists the commands)"
        )));
    };
    let mut tables: Vec<&'static [Opt]> = command.options.to_vec();
    tables.push(COMMON);
    let mut places = Vec::new();
    let rest_from = command
        .places
        .iter()
        .position(|place| place.count == Count::Rest);
    let mut only_places = false;
    while let Some(word) = words.next() {
        let bytes = word.as_bytes();
        if rest_from.is_some_and(|from| places.len() >= from) {
            places.push(word);
            continue;
        }
        let is_option = bytes.len() > 1 && bytes.first() == Some(&b'-');
        if only_places || !is_option {
            places.push(word);
        } else if bytes == b"--" {
            only_places = true;
        } else if matches!(bytes, b"-h" | b"--help") {
            return Ok(Typed::Help(Some(command.name.to_owned())));
        } else {
            option(&word, &mut words, &tables, &mut arguments)?;
        }
    }
    assign(command, places, &mut arguments)?;
    Ok(Typed::Run(command, arguments))
}

/// Puts arguments into their places.
fn assign(
    command: &Command,
    words: Vec<OsString>,
    arguments: &mut Arguments,
) -> Result<(), Failure> {
    let mut words = words.into_iter().peekable();
    let mut missing = Vec::new();
    for place in command.places {
        let most = match place.count {
            Count::One | Count::AtMostOne => 1,
            Count::Any | Count::Some | Count::Rest => usize::MAX,
        };
        let mut taken = 0;
        while taken < most
            && let Some(word) = words.next()
        {
            arguments.put(place.name, word);
            taken += 1;
        }
        if taken == 0 && matches!(place.count, Count::One | Count::Some) {
            missing.push(place.name.to_uppercase());
        }
    }
    if !missing.is_empty() {
        return Err(Failure::usage(format!(
            "the following arguments are required: {}",
            missing.join(", ")
        )));
    }
    let left: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "unrecognized arguments: {}",
        left.join(" ")
    )))
}

/// Takes an option, or several short ones in one word, with what belongs to it.
fn option(
    word: &OsStr,
    words: &mut Words,
    tables: &[&'static [Opt]],
    arguments: &mut Arguments,
) -> Result<(), Failure> {
    let bytes = word.as_bytes();
    if bytes.starts_with(b"--") {
        let (flag, value) = match bytes.iter().position(|&byte| byte == b'=') {
            Some(at) => {
                let (flag, value) = bytes.split_at(at);
                (
                    flag,
                    Some(OsString::from_vec(
                        value.get(1..).unwrap_or_default().to_vec(),
                    )),
                )
            }
            None => (bytes, None),
        };
        let flag = String::from_utf8_lossy(flag).into_owned();
        let found = long(&flag, tables)?;
        return take(found, &flag, value, words, arguments);
    }
    let mut rest = bytes.get(1..).unwrap_or_default();
    while let Some((&letter, behind)) = rest.split_first() {
        let flag = format!("-{}", char::from(letter));
        let mut all = tables.iter().flat_map(|table| table.iter());
        let found = all.find(|known| known.flags.contains(&flag.as_str()));
        let Some(found) = found else {
            return Err(unknown(&word.to_string_lossy()));
        };
        if found.takes == Takes::Nothing {
            take(found, &flag, None, words, arguments)?;
            rest = behind;
            continue;
        }
        let behind = behind.strip_prefix(b"=").unwrap_or(behind);
        let value = (!behind.is_empty()).then(|| OsString::from_vec(behind.to_vec()));
        return take(found, &flag, value, words, arguments);
    }
    Ok(())
}

fn unknown(flag: &str) -> Failure {
    Failure::usage(format!("unrecognized arguments: {flag}"))
}

/// Finds a long option by its name or by the only one that begins so.
fn long(flag: &str, tables: &[&'static [Opt]]) -> Result<&'static Opt, Failure> {
    let mut found: Vec<(&'static str, &'static Opt)> = Vec::new();
    for known in tables.iter().flat_map(|table| table.iter()) {
        for spelling in known.flags {
            if *spelling == flag {
                return Ok(known);
            }
            if spelling.starts_with(flag)
                && !found.iter().any(|(_, other)| other.name == known.name)
            {
                found.push((spelling, known));
            }
        }
    }
    match found.as_slice() {
        [] => Err(unknown(flag)),
        [(_, only)] => Ok(only),
        several => {
            let all: Vec<_> = several.iter().map(|(spelling, _)| *spelling).collect();
            Err(Failure::usage(format!(
                "ambiguous option: {flag} could match {}",
                all.join(", ")
            )))
        }
    }
}

fn take(
    option: &'static Opt,
    flag: &str,
    value: Option<OsString>,
    words: &mut Words,
    arguments: &mut Arguments,
) -> Result<(), Failure> {
    let value = match (option.takes, value) {
        (Takes::Nothing, None) => "".into(),
        (Takes::Nothing, Some(value)) => {
            let value = value.to_string_lossy();
            return Err(Failure::usage(format!(
                "argument {flag}: ignored explicit argument '{value}'"
            )));
        }
        (Takes::Optional(_, choices), None) => {
            let given = words.next_if(|word| choices.iter().any(|choice| word == choice));
            given.unwrap_or_else(|| choices.first().copied().unwrap_or_default().into())
        }
        (_, Some(value)) => value,
        (_, None) => words
            .next()
            .ok_or_else(|| Failure::usage(format!("argument {flag}: expected one argument")))?,
    };
    if let Takes::Once(_) = option.takes
        && arguments.has(option.name)
    {
        return Err(Failure::usage(format!(
            "argument {flag}: There can be only one."
        )));
    }
    // The level of messages is one thing, whatever it is spelt as: the last one counts.
    let value = match option.name {
        "log_level" => long_spelling(option, flag).into(),
        _ => value,
    };
    arguments.put(option.name, value);
    Ok(())
}

fn long_spelling(option: &'static Opt, flag: &str) -> &'static str {
    let exact = option.flags.iter().find(|spelling| **spelling == flag);
    let begins = || {
        option
            .flags
            .iter()
            .find(|spelling| spelling.starts_with(flag))
    };
    exact.or_else(begins).map_or("", |spelling| spelling)
}
