//! A shell script that calls duplicity: what can be told from its text, without running it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use engine::Secret;

use super::ImportError;
use super::draft::{Draft, list, quoted};
use crate::duplicity::{Clock, Log, Options, Select, parse_options};

/// Variables with the keys of stores: a script sets them for itself alone.
const CREDENTIALS: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "B2_APPLICATION_KEY_ID",
    "B2_APPLICATION_KEY",
    "BACKEND_PASSWORD",
    "FTP_PASSWORD",
];

/// What may stand before the program's name: it runs what follows.
const RUNNERS: [&str; 7] = ["sudo", "nice", "ionice", "exec", "time", "chronic", "env"];

/// What ends a command.
const ENDS: [&str; 8] = ["|", "||", "&&", ";", "&", ">", ">>", "2>"];

/// What is known of the script's variables.
enum Known {
    Text(String),
    /// What a program prints.
    Command(String),
}

/// What the calls together say.
#[derive(Default)]
struct Calls {
    backup: Option<(Options, String, String)>,
    keep: Option<String>,
}

pub(super) fn read(text: &str, draft: &mut Draft<'_>) -> Result<(), ImportError> {
    let mut variables = BTreeMap::new();
    let home = draft.places.home.display().to_string();
    variables.insert("HOME".to_owned(), Known::Text(home));
    let mut calls = Calls::default();
    let joined = text.replace("\\\n", " ");
    for line in joined.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, command)) = substitution(line) {
            variables.insert(name, Known::Command(command));
            continue;
        }
        let words = shlex::split(line).unwrap_or_default();
        let words: Vec<String> = words.iter().map(|word| expand(word, &variables)).collect();
        let (assigned, rest) = split_assignments(&words);
        for (name, value) in assigned {
            variables.insert(name, Known::Text(value));
        }
        if let Some(arguments) = duplicity_arguments(rest) {
            call(&arguments, &mut calls, draft);
        }
    }
    let (options, source, url) = calls.backup.ok_or(ImportError::Missing(
        "call of duplicity that makes a backup",
    ))?;
    sources(&options, &source, draft);
    layer(&options, &url, calls.keep, &variables, draft);
    Ok(())
}

/// `NAME=$(command)`, also with `export` and with backticks.
fn substitution(line: &str) -> Option<(String, String)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (name, value) = line.split_once('=')?;
    let value = value.trim_matches('"');
    let command = value
        .strip_prefix("$(")
        .and_then(|rest| rest.strip_suffix(')'))
        .or_else(|| {
            value
                .strip_prefix('`')
                .and_then(|rest| rest.strip_suffix('`'))
        })?;
    is_name(name).then(|| (name.to_owned(), command.to_owned()))
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Fills in the variables whose text is known; others stay as they are written.
fn expand(word: &str, variables: &BTreeMap<String, Known>) -> String {
    let mut expanded = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        expanded += before;
        let after = after.strip_prefix('$').unwrap_or(after);
        let (name, behind) = match after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            Some((name, behind)) => (name, behind),
            None => {
                let end = after
                    .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                    .unwrap_or(after.len());
                after.split_at(end)
            }
        };
        match variables.get(name) {
            Some(Known::Text(text)) => expanded += text,
            _ => {
                expanded.push('$');
                expanded += name;
            }
        }
        rest = behind;
    }
    expanded + rest
}

type Assigned = Vec<(String, String)>;

/// The assignments in front, and what comes after them.
fn split_assignments(words: &[String]) -> (Assigned, &[String]) {
    let mut assigned = Vec::new();
    let mut rest = words;
    while let [word, after @ ..] = rest {
        match word.split_once('=') {
            Some((name, value)) if is_name(name) => {
                assigned.push((name.to_owned(), value.to_owned()));
            }
            _ if word == "export" => {}
            _ => break,
        }
        rest = after;
    }
    (assigned, rest)
}

/// The arguments, when the words are a call of duplicity.
fn duplicity_arguments(words: &[String]) -> Option<Vec<String>> {
    let at = words
        .iter()
        .position(|word| word.rsplit('/').next() == Some("duplicity"))?;
    let before = words.get(..at)?;
    let runs = |word: &String| {
        RUNNERS.contains(&word.as_str())
            || word.starts_with('-')
            || word.parse::<i32>().is_ok()
            || word.contains('=')
    };
    if !before.iter().all(runs) {
        return None;
    }
    let mut arguments = Vec::new();
    let mut words = words.get(at + 1..)?.iter();
    while let Some(word) = words.next() {
        if ENDS.iter().any(|end| word == end) {
            break;
        }
        // Where it says what it does is of no interest, and must not be opened.
        if word.starts_with("--log-") || word == "--verbosity" {
            if !word.contains('=') {
                words.next();
            }
            continue;
        }
        arguments.push(word.trim_end_matches(';').to_owned());
    }
    Some(arguments)
}

fn call(arguments: &[String], calls: &mut Calls, draft: &mut Draft<'_>) {
    let clock = Clock {
        now: 0,
        zone: jiff::tz::TimeZone::UTC,
    };
    // Never more than the first word: there may be a password among the others.
    let first = arguments.first().map(String::as_str).unwrap_or_default();
    let shown = if first.contains("://") { "" } else { first };
    let shown = format!("duplicity {shown}");
    let arguments = arguments.iter().map(OsString::from);
    let (options, words) = match parse_options(arguments, &clock, &mut Log::new()) {
        Ok(parsed) => parsed,
        Err(failure) => {
            let why = failure.text.lines().next().unwrap_or_default();
            draft.leave_out(&shown, why);
            return;
        }
    };
    let words: Vec<String> = words
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [
            "full" | "incr" | "inc" | "incremental" | "backup",
            source,
            url,
        ]
        | [source, url]
            if url.contains("://") && !source.contains("://") =>
        {
            if calls.backup.is_some() {
                draft.leave_out(&shown, "one backup is taken over");
            } else {
                calls.backup = Some((options, (*source).to_owned(), (*url).to_owned()));
            }
        }
        ["remove-all-but-n-full" | "ra", count, _] if count.parse::<u32>().is_ok() => {
            calls.keep = Some(format!("keep = {{ full = {count} }}"));
        }
        ["remove-older-than" | "ro", time, _] => match clock.time(time) {
            // It was counted back from 1970.
            Ok(seconds) if seconds < 0 => {
                let days = days(seconds.unsigned_abs());
                calls.keep = Some(format!("keep = {{ within = {} }}", quoted(days)));
            }
            _ => draft.leave_out(&shown, "this time is a fixed one"),
        },
        _ => draft.leave_out(
            &shown,
            "only backups and the removal of old ones are taken over",
        ),
    }
}

fn days(seconds: u64) -> String {
    format!("{} days", seconds.div_ceil(24 * 60 * 60))
}

fn sources(options: &Options, source: &str, draft: &mut Draft<'_>) {
    // "These, and nothing else" is what a source's paths say.
    let is_rest = |select: &Select| matches!(select, Select::Exclude(pattern) if pattern == b"**");
    let names_paths = options.select.last().is_some_and(is_rest);
    let (mut paths, mut rules, mut marks) = (Vec::new(), Vec::new(), Vec::new());
    let mut one_file_system = false;
    for select in &options.select {
        match select {
            select if names_paths && is_rest(select) => {}
            Select::Include(pattern) => {
                let pattern = String::from_utf8_lossy(pattern).into_owned();
                if names_paths && !pattern.contains(['*', '?', '[']) {
                    paths.push(pattern);
                } else if let Some(rule) = rule(&pattern) {
                    rules.push(format!("+ {rule}"));
                } else {
                    draft.leave_out(&format!("--include {pattern}"), "write it as a rule");
                }
            }
            Select::Exclude(pattern) => {
                let pattern = String::from_utf8_lossy(pattern).into_owned();
                match rule(&pattern) {
                    Some(rule) => rules.push(rule),
                    None => draft.leave_out(&format!("--exclude {pattern}"), "write it as a rule"),
                }
            }
            Select::ExcludeRegexp(pattern) => {
                rules.push(format!("re:{}", String::from_utf8_lossy(pattern)));
            }
            Select::IfPresent(name) => marks.push(String::from_utf8_lossy(name).into_owned()),
            Select::OtherFilesystems => one_file_system = true,
            _ => draft.leave_out("a list or a switch of the selection", "write it as rules"),
        }
    }
    if paths.is_empty() {
        paths.push(source.to_owned());
    }
    let mut lines = vec![format!("paths = {}", list(paths))];
    if !rules.is_empty() {
        lines.push(format!("exclude = {}", list(rules)));
    }
    if !marks.is_empty() {
        lines.push(format!("exclude-if-present = {}", list(marks)));
    }
    lines.push("exclude-caches = false".into());
    if one_file_system {
        lines.push("one-file-system = true".into());
    }
    draft.source(&lines);
}

/// A pattern of duplicity's, where a double star passes through slashes and a single one does not.
fn rule(pattern: &str) -> Option<String> {
    if pattern.starts_with("ignorecase:") {
        return None;
    }
    let has_double = pattern.contains("**");
    let has_single = pattern.replace("**", "").contains('*');
    match (has_double, has_single) {
        (false, false) if !pattern.contains(['?', '[']) => Some(format!("pp:{pattern}")),
        (false, _) => Some(format!("sh:{pattern}")),
        (true, false) => Some(format!("fm:{}", pattern.replace("**", "*"))),
        (true, true) => None,
    }
}

fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) => {
            let (name, _) = user.split_once(':').unwrap_or((user, ""));
            let behind = rest.get(user.len()..).unwrap_or_default();
            format!("{scheme}://{name}{behind}")
        }
        None => url.to_owned(),
    }
}

fn layer(
    options: &Options,
    url: &str,
    keep: Option<String>,
    variables: &BTreeMap<String, Known>,
    draft: &mut Draft<'_>,
) {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).next();
    let name = draft.name(last.unwrap_or_default());
    let place = without_password(url.strip_prefix("file://").unwrap_or(url));
    if place != url && !url.starts_with("file://") {
        draft.leave_out(
            "the password in the address",
            "docs/stores.md says where each kind of store finds it",
        );
    }
    for name in CREDENTIALS
        .iter()
        .filter(|name| variables.contains_key(**name))
    {
        draft.leave_out(
            name,
            "docs/stores.md says where a store finds its credentials when a timer calls",
        );
    }
    let store = format!("{}/ravelin", place.trim_end_matches('/'));
    let mut lines = vec![
        "kind = \"duplicity\"".into(),
        "# A folder of its own: the old archive stays as it is.".into(),
        format!("store = {}", quoted(store)),
        "schedule = \"daily\"".into(),
    ];
    if !options.encrypt {
        lines.push("encryption = \"none\"".into());
    } else if !options.encrypt_keys.is_empty() || !options.hidden_encrypt_keys.is_empty() {
        let keys = options
            .encrypt_keys
            .iter()
            .chain(&options.hidden_encrypt_keys);
        lines.push("encryption = \"keys\"".into());
        lines.push(format!("encrypt-to = {}", list(keys.cloned())));
        if let Some(key) = &options.sign_key {
            lines.push(format!("sign-with = {}", quoted(key)));
        }
    } else {
        lines.push(match variables.get("PASSPHRASE") {
            Some(Known::Text(text)) if !text.contains('$') => {
                draft.secret(&name, Secret::new(text.clone()))
            }
            Some(Known::Command(command)) => {
                format!("passphrase = {{ command = {} }}", quoted(command))
            }
            _ => "passphrase = { env = \"PASSPHRASE\" }".into(),
        });
    }
    if let Some(seconds) = options.full_if_older_seconds
        && let Ok(seconds) = u64::try_from(seconds)
    {
        lines.push(format!("full-every = {}", quoted(days(seconds))));
    }
    if options.volume_size != Options::default().volume_size {
        let size = format!("{} MiB", options.volume_size >> 20);
        lines.push(format!("volume-size = {}", quoted(size)));
    }
    lines.extend(keep);
    draft.layer(&name, &lines);
}
