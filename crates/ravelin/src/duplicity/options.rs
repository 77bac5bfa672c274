//! Duplicity's options: which there are, and what was typed.
//!
//! An option may be shortened as long as one current name begins so. Names of older releases are
//! understood in full, whether they were renamed or have become meaningless: cron scripts outlive
//! releases.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::failure::Failure;
use super::log::{Log, warning};
use super::times::Clock;

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Value,
    Two,
}

/// Options that do something here, by their name in duplicity 3.
const CURRENT: &[(&str, Takes)] = &[
    ("allow-source-mismatch", Takes::Nothing),
    ("archive-dir", Takes::Value),
    ("check-remote", Takes::Nothing),
    ("compare-data", Takes::Nothing),
    ("compression", Takes::Nothing),
    ("concurrency", Takes::Value),
    ("current-time", Takes::Value),
    ("dry-run", Takes::Nothing),
    ("encrypt-key", Takes::Value),
    ("encrypt-secret-keyring", Takes::Value),
    ("encrypt-sign-key", Takes::Value),
    ("encryption", Takes::Nothing),
    ("exclude", Takes::Value),
    ("exclude-device-files", Takes::Nothing),
    ("exclude-filelist", Takes::Value),
    ("exclude-if-present", Takes::Value),
    ("exclude-older-than", Takes::Value),
    ("exclude-other-filesystems", Takes::Nothing),
    ("exclude-regexp", Takes::Value),
    ("file-changed", Takes::Value),
    ("file-prefix", Takes::Value),
    ("file-prefix-archive", Takes::Value),
    ("file-prefix-jsonstat", Takes::Value),
    ("file-prefix-manifest", Takes::Value),
    ("file-prefix-signature", Takes::Value),
    ("files-changed", Takes::Nothing),
    ("files-from", Takes::Value),
    ("filter-globbing", Takes::Nothing),
    ("filter-ignorecase", Takes::Nothing),
    ("filter-literal", Takes::Nothing),
    ("filter-regexp", Takes::Nothing),
    ("filter-strictcase", Takes::Nothing),
    ("force", Takes::Nothing),
    ("full-if-n-inc", Takes::Value),
    ("full-if-older-than", Takes::Value),
    ("gpg-binary", Takes::Value),
    ("gpg-options", Takes::Value),
    ("help", Takes::Nothing),
    ("hidden-encrypt-key", Takes::Value),
    ("ignore-errors", Takes::Nothing),
    ("include", Takes::Value),
    ("include-filelist", Takes::Value),
    ("include-regexp", Takes::Value),
    ("jsonstat", Takes::Nothing),
    ("log-fd", Takes::Value),
    ("log-file", Takes::Value),
    ("log-timestamp", Takes::Nothing),
    ("metadata-sync-mode", Takes::Value),
    ("name", Takes::Value),
    ("no-check-remote", Takes::Nothing),
    ("no-compression", Takes::Nothing),
    ("no-encryption", Takes::Nothing),
    ("no-files-changed", Takes::Nothing),
    ("no-print-statistics", Takes::Nothing),
    ("no-restore-ownership", Takes::Nothing),
    ("null-separator", Takes::Nothing),
    ("num-retries", Takes::Value),
    ("numeric-owner", Takes::Nothing),
    ("path-to-restore", Takes::Value),
    ("print-statistics", Takes::Nothing),
    ("progress", Takes::Nothing),
    ("progress-rate", Takes::Value),
    ("rename", Takes::Two),
    ("restore-ownership", Takes::Nothing),
    ("restore-time", Takes::Value),
    ("s3-endpoint-url", Takes::Value),
    ("s3-region-name", Takes::Value),
    ("s3-unencrypted-connection", Takes::Nothing),
    ("show-changes-in-set", Takes::Value),
    ("sign-key", Takes::Value),
    ("skip-if-no-change", Takes::Nothing),
    ("tempdir", Takes::Value),
    ("time", Takes::Value),
    ("timeout", Takes::Value),
    ("use-agent", Takes::Nothing),
    ("use-gpgsm", Takes::Nothing),
    ("verbosity", Takes::Value),
    ("version", Takes::Nothing),
    ("volsize", Takes::Value),
];

/// Current options that tune what works otherwise here, or services that are not ours: accepted.
const WITHOUT_EFFECT: &[(&str, Takes)] = &[
    ("azure-blob-tier", Takes::Value),
    ("azure-max-block-size", Takes::Value),
    ("azure-max-connections", Takes::Value),
    ("azure-max-single-put-size", Takes::Value),
    ("b2-hide-files", Takes::Nothing),
    ("backend-retry-delay", Takes::Value),
    ("cf-backend", Takes::Value),
    ("config-dir", Takes::Value),
    ("copy-blocksize", Takes::Value),
    ("ftp-passive", Takes::Nothing),
    ("ftp-regular", Takes::Nothing),
    ("idr-fakeroot", Takes::Value),
    ("imap-full-address", Takes::Nothing),
    ("imap-mailbox", Takes::Value),
    ("max-blocksize", Takes::Value),
    ("mf-purge", Takes::Nothing),
    ("mp-segment-size", Takes::Value),
    ("par2-options", Takes::Value),
    ("par2-redundancy", Takes::Value),
    ("par2-volumes", Takes::Value),
    ("pydevd", Takes::Nothing),
    ("rsync-options", Takes::Value),
    ("s3-multipart-chunk-size", Takes::Value),
    ("s3-multipart-max-procs", Takes::Value),
    ("scp-command", Takes::Value),
    ("sftp-command", Takes::Value),
    ("ssh-askpass", Takes::Nothing),
    ("ssl-cacert-file", Takes::Value),
    ("ssl-cacert-path", Takes::Value),
    ("swift-storage-policy", Takes::Value),
    ("webdav-headers", Takes::Value),
];

/// Current options that would change what is stored, how safely, or where: refused, as ignoring
/// them would break a promise.
const UNSUPPORTED: &[(&str, Takes)] = &[
    ("copy-links", Takes::Nothing),
    ("s3-kms-grant", Takes::Value),
    ("s3-kms-key-id", Takes::Value),
    ("s3-use-deep-archive", Takes::Nothing),
    ("s3-use-glacier", Takes::Nothing),
    ("s3-use-glacier-ir", Takes::Nothing),
    ("s3-use-ia", Takes::Nothing),
    ("s3-use-onezone-ia", Takes::Nothing),
    ("s3-use-rrs", Takes::Nothing),
    ("s3-use-server-side-encryption", Takes::Nothing),
    ("s3-use-server-side-kms-encryption", Takes::Nothing),
    ("skip-volume", Takes::Value),
    ("ssh-options", Takes::Value),
    ("ssl-no-check-certificate", Takes::Nothing),
];

/// Names of older releases, and what they are called now.
const OLD: &[(&str, &str)] = &[
    ("do-not-restore-ownership", "no-restore-ownership"),
    ("exclude-globbing-filelist", "exclude-filelist"),
    ("file-to-restore", "path-to-restore"),
    ("include-globbing-filelist", "include-filelist"),
    ("num-ret", "num-retries"),
];

/// Options of older releases that have no meaning any more.
const GONE: &[(&str, Takes)] = &[
    ("allow-concurrency", Takes::Nothing),
    ("extra-clean", Takes::Nothing),
    ("gio", Takes::Nothing),
    ("old-filenames", Takes::Nothing),
    ("s3-european-buckets", Takes::Nothing),
    ("s3-multipart-max-timeout", Takes::Value),
    ("s3-use-multiprocessing", Takes::Nothing),
    ("s3-use-new-style", Takes::Nothing),
    ("short-filenames", Takes::Nothing),
    ("ssh-backend", Takes::Value),
    ("time-separator", Takes::Value),
    ("use-scp", Takes::Nothing),
];

/// Lists on standard input, as older releases had them, and uploads beside the work.
const OLD_FLAGS: &[&str] = &[
    "asynchronous-upload",
    "exclude-filelist-stdin",
    "include-filelist-stdin",
];

/// A rule of the selection, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Select {
    Include(Vec<u8>),
    Exclude(Vec<u8>),
    IncludeRegexp(Vec<u8>),
    ExcludeRegexp(Vec<u8>),
    /// The file's name and what is in it.
    IncludeList(Vec<u8>),
    ExcludeList(Vec<u8>),
    FilesFrom(Vec<u8>),
    IfPresent(Vec<u8>),
    OlderThan(i64),
    DeviceFiles,
    OtherFilesystems,
    Globbing,
    Literal,
    Regexp,
    IgnoreCase,
    StrictCase,
}

/// What was typed, without the words that are no options.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) allow_source_mismatch: bool,
    pub(crate) archive_dir: Option<PathBuf>,
    pub(crate) compare_data: bool,
    pub(crate) compress: bool,
    pub(crate) concurrency: Option<usize>,
    pub(crate) dry_run: bool,
    pub(crate) encrypt: bool,
    pub(crate) encrypt_keys: Vec<String>,
    pub(crate) hidden_encrypt_keys: Vec<String>,
    pub(crate) sign_key: Option<String>,
    pub(crate) secret_keyring: Option<PathBuf>,
    pub(crate) file_changed: Option<Vec<u8>>,
    pub(crate) prefixes: duplicity::Prefixes,
    pub(crate) list_changes: bool,
    pub(crate) force: bool,
    pub(crate) full_if_increments: Option<usize>,
    pub(crate) full_if_older_seconds: Option<i64>,
    pub(crate) gpg_binary: Option<PathBuf>,
    pub(crate) gpg_options: Vec<OsString>,
    pub(crate) use_agent: bool,
    pub(crate) use_gpgsm: bool,
    pub(crate) ignore_errors: bool,
    pub(crate) jsonstat: bool,
    pub(crate) name: Option<String>,
    pub(crate) null_separator: bool,
    pub(crate) retries: Option<u32>,
    pub(crate) numeric_owner: bool,
    pub(crate) path_to_restore: Option<Vec<u8>>,
    pub(crate) print_statistics: bool,
    pub(crate) progress: bool,
    pub(crate) progress_seconds: u64,
    pub(crate) renames: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) restore_ownership: bool,
    /// Seconds since 1970.
    pub(crate) restore_time: Option<i64>,
    pub(crate) s3_endpoint: Option<String>,
    pub(crate) s3_region: Option<String>,
    pub(crate) s3_plain: bool,
    pub(crate) changes_in_set: Option<i64>,
    pub(crate) skip_if_no_change: bool,
    pub(crate) select: Vec<Select>,
    pub(crate) tempdir: Option<PathBuf>,
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) volume_size: u64,
    /// Seconds since 1970, instead of the clock's.
    pub(crate) now: Option<i64>,
    /// `--help`, with the rest of its name: `--help-backup`.
    pub(crate) help: Option<String>,
    pub(crate) version: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_source_mismatch: false,
            archive_dir: None,
            compare_data: false,
            compress: true,
            concurrency: None,
            dry_run: false,
            encrypt: true,
            encrypt_keys: Vec::new(),
            hidden_encrypt_keys: Vec::new(),
            sign_key: None,
            secret_keyring: None,
            file_changed: None,
            prefixes: duplicity::Prefixes::default(),
            list_changes: true,
            force: false,
            full_if_increments: None,
            full_if_older_seconds: None,
            gpg_binary: None,
            gpg_options: Vec::new(),
            use_agent: false,
            use_gpgsm: false,
            ignore_errors: false,
            jsonstat: false,
            name: None,
            null_separator: false,
            retries: None,
            numeric_owner: false,
            path_to_restore: None,
            print_statistics: true,
            progress: false,
            progress_seconds: 3,
            renames: Vec::new(),
            restore_ownership: true,
            restore_time: None,
            s3_endpoint: None,
            s3_region: None,
            s3_plain: false,
            changes_in_set: None,
            skip_if_no_change: false,
            select: Vec::new(),
            tempdir: None,
            timeout_seconds: None,
            volume_size: 200 << 20,
            now: None,
            help: None,
            version: false,
        }
    }
}

/// An option as it was typed.
struct Typed {
    name: &'static str,
    values: Vec<OsString>,
}

/// Takes a command line apart: options, and the words that are none.
///
/// The log is set up first, so that whoever listens there hears what is wrong with the rest.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    clock: &Clock,
    log: &mut Log,
) -> Result<(Options, Vec<OsString>), Failure> {
    let mut typed = Vec::new();
    let mut words = Vec::new();
    let mut help = None;
    let mut failure = None;
    let mut rest: VecDeque<OsString> = arguments.into_iter().collect();
    while let Some(argument) = rest.pop_front() {
        let bytes = argument.as_bytes();
        if bytes == b"--" {
            words.extend(rest.drain(..));
        } else if let Some(topic) = bytes.strip_prefix(b"--help-") {
            help = Some(String::from_utf8_lossy(topic).into_owned());
        } else if bytes.len() > 1 && bytes.starts_with(b"-") {
            match option(&argument, &mut rest) {
                Ok(option) => typed.push(option),
                // The log may be set up by what is still to come.
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        } else {
            words.push(argument);
        }
    }
    let (about_log, others): (Vec<_>, Vec<_>) = typed
        .into_iter()
        .partition(|typed| typed.name.starts_with("log-") || typed.name == "verbosity");
    for option in &about_log {
        if let Err(error) = set_log(option, log) {
            failure.get_or_insert(error);
        }
    }
    let mut options = Options::default();
    if help.is_some() || others.iter().any(|option| option.name == "help") {
        options.help = Some(help.unwrap_or_default());
        return Ok((options, words));
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    // Lists are cut at line ends or at NUL, and times are counted from this moment, whichever
    // option comes first.
    let mut clock = clock.clone();
    for option in &others {
        match option.name {
            "null-separator" => options.null_separator = true,
            "current-time" => {
                clock.now = number(option)?;
                options.now = Some(clock.now);
            }
            _ => {}
        }
    }
    for option in others {
        options.set(&option, &clock, log)?;
    }
    Ok((options, words))
}

/// Finds the option and what it takes.
fn option(argument: &OsStr, rest: &mut VecDeque<OsString>) -> Result<Typed, Failure> {
    let shown = argument.to_string_lossy().into_owned();
    let bytes = argument.as_bytes();
    let (name, takes, attached) = match bytes.strip_prefix(b"--") {
        Some(long) => {
            let cut = long.iter().position(|&byte| byte == b'=');
            let (name, value) = match cut {
                Some(at) => (long.get(..at), long.get(at + 1..).map(<[u8]>::to_vec)),
                None => (Some(long), None),
            };
            let name = String::from_utf8_lossy(name.unwrap_or_default()).into_owned();
            let (name, takes) = find(&name)?;
            (name, takes, value)
        }
        None => {
            let (name, takes) = match bytes.get(1) {
                Some(b'v') => ("verbosity", Takes::Value),
                Some(b't') => ("restore-time", Takes::Value),
                Some(b'r') => ("path-to-restore", Takes::Value),
                Some(b'V') => ("version", Takes::Nothing),
                Some(b'h') => ("help", Takes::Nothing),
                _ => return Err(Failure::usage(format!("Unknown option '{shown}'."))),
            };
            let value = bytes.get(2..).filter(|value| !value.is_empty());
            (name, takes, value.map(<[u8]>::to_vec))
        }
    };
    let mut values: Vec<OsString> = attached.map(OsString::from_vec).into_iter().collect();
    let wanted = match takes {
        Takes::Nothing if values.is_empty() => 0,
        Takes::Nothing => {
            return Err(Failure::usage(format!("Option --{name} takes no value.")));
        }
        Takes::Value => 1,
        Takes::Two => 2,
    };
    while values.len() < wanted {
        let is_value = rest.front().is_some_and(|next| is_value(next));
        match rest.pop_front().filter(|_| is_value) {
            Some(value) => values.push(value),
            None => {
                return Err(Failure::usage(format!(
                    "Option --{name} needs {wanted} value(s); one that begins with a dash is \
                     written --{name}=VALUE."
                )));
            }
        }
    }
    Ok(Typed { name, values })
}

/// Whether a word can be the value of the option before it. What begins with a dash is an option,
/// unless it is a number or has a blank in it.
fn is_value(word: &OsStr) -> bool {
    let bytes = word.as_bytes();
    let Some(rest) = bytes.strip_prefix(b"-") else {
        return true;
    };
    let is_number = !rest.is_empty()
        && rest
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    rest.is_empty() || is_number || rest.contains(&b' ')
}

/// The option of this name, of an old name, or the only one that begins so.
fn find(name: &str) -> Result<(&'static str, Takes), Failure> {
    let tables = || CURRENT.iter().chain(WITHOUT_EFFECT).chain(UNSUPPORTED);
    let exact = tables().chain(GONE).find(|(known, _)| *known == name);
    if let Some(&(name, takes)) = exact {
        return Ok((name, takes));
    }
    if let Some(&(_, new)) = OLD.iter().find(|(old, _)| *old == name) {
        return find(new);
    }
    if let Some(&flag) = OLD_FLAGS.iter().find(|flag| **flag == name) {
        return Ok((flag, Takes::Nothing));
    }
    let longer: Vec<_> = tables()
        .filter(|(known, _)| known.starts_with(name))
        .collect();
    match longer.as_slice() {
        [(name, takes)] => Ok((*name, *takes)),
        [] => Err(Failure::usage(format!("Unknown option '--{name}'."))),
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|(name, _)| format!("--{name}"))
                .collect();
            Err(Failure::usage(format!(
                "Option '--{name}' could be any of {}.",
                names.join(", ")
            )))
        }
    }
}

fn set_log(option: &Typed, log: &mut Log) -> Result<(), Failure> {
    match option.name {
        "log-fd" => {
            let number = number(option)?;
            let number = i32::try_from(number).unwrap_or(-1);
            log.add_descriptor(number).map_err(Failure::usage)
        }
        "log-file" => log.add_file(&path(option)).map_err(Failure::usage),
        "log-timestamp" => {
            log.add_time();
            Ok(())
        }
        _ => {
            let text = text(option);
            let level = match text.to_ascii_lowercase().as_str() {
                "e" | "error" => 0,
                "w" | "warning" => 2,
                "n" | "notice" => 3,
                "i" | "info" => 5,
                "d" | "debug" => 9,
                digit => digit.parse().ok().filter(|digit| *digit <= 9).ok_or_else(|| {
                    Failure::usage(
                        "--verbosity takes a digit from 0 to 9, or error, warning, notice, info, \
                         debug, or the first letter of one.",
                    )
                })?,
            };
            log.set_verbosity(level);
            Ok(())
        }
    }
}

fn value(option: &Typed) -> &OsStr {
    option
        .values
        .first()
        .map(OsString::as_os_str)
        .unwrap_or_default()
}

fn text(option: &Typed) -> String {
    value(option).to_string_lossy().into_owned()
}

fn bytes(option: &Typed) -> Result<Vec<u8>, Failure> {
    let bytes = value(option).as_bytes().to_vec();
    if bytes.is_empty() {
        return Err(Failure::usage(format!(
            "Option --{} cannot be empty.",
            option.name
        )));
    }
    Ok(bytes)
}

fn number(option: &Typed) -> Result<i64, Failure> {
    let text = text(option);
    text.trim().parse().map_err(|_| {
        Failure::usage(format!(
            "--{}: '{text}' is not a whole number.",
            option.name
        ))
    })
}

fn count(option: &Typed) -> Result<u64, Failure> {
    u64::try_from(number(option)?)
        .map_err(|_| Failure::usage(format!("--{} cannot be negative.", option.name)))
}

/// A path, with `~` and `$NAME` put in as a shell would.
fn path(option: &Typed) -> PathBuf {
    expanded(value(option))
}

fn expanded(typed: &OsStr) -> PathBuf {
    let mut out = Vec::new();
    let mut rest = typed.as_bytes();
    if let Some(behind) = rest.strip_prefix(b"~")
        && (behind.is_empty() || behind.starts_with(b"/"))
        && let Some(home) = std::env::home_dir()
    {
        out.extend_from_slice(home.as_os_str().as_bytes());
        rest = behind;
    }
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'$' {
            out.push(first);
            continue;
        }
        let inner = behind.strip_prefix(b"{").unwrap_or(behind);
        let is_braced = inner.len() < behind.len();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let length = inner.iter().take_while(|byte| is_part(byte)).count();
        let (name, mut after) = inner.split_at(length);
        let mut is_whole = length > 0;
        if is_braced {
            is_whole &= after.starts_with(b"}");
            after = after.get(1..).unwrap_or_default();
        }
        match std::env::var_os(OsStr::from_bytes(name)).filter(|_| is_whole) {
            Some(value) => {
                out.extend_from_slice(value.as_bytes());
                rest = after;
            }
            None => out.push(first),
        }
    }
    OsString::from_vec(out).into()
}

/// Words of an option that holds several, with the quotes around all of them taken off.
fn split_words(option: &Typed) -> Vec<OsString> {
    let text = text(option);
    let text = text.trim_matches('"').trim_matches('\'');
    text.split_whitespace().map(OsString::from).collect()
}

fn list(option: &Typed) -> Result<Vec<u8>, Failure> {
    let path = path(option);
    std::fs::read(&path)
        .map_err(|error| Failure::usage(format!("--{}: {}: {error}", option.name, path.display())))
}

fn standard_input() -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes)
        .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    Ok(bytes)
}

impl Options {
    fn set(&mut self, option: &Typed, clock: &Clock, log: &Log) -> Result<(), Failure> {
        let moment = || clock.time(&text(option)).map_err(Failure::usage);
        match option.name {
            "allow-source-mismatch" => self.allow_source_mismatch = true,
            "archive-dir" => self.archive_dir = Some(path(option)),
            "asynchronous-upload" => {
                log.warn(
                    warning::GENERIC,
                    "",
                    "--asynchronous-upload is an old name: uploads always go on beside the work, \
                     --concurrency says how many.",
                );
            }
            "compare-data" => self.compare_data = true,
            "compression" => self.compress = true,
            "no-compression" => self.compress = false,
            "concurrency" => self.concurrency = usize::try_from(count(option)?).ok(),
            "dry-run" => self.dry_run = true,
            "encrypt-key" => self.encrypt_keys.push(text(option)),
            "encrypt-sign-key" => {
                self.encrypt_keys.push(text(option));
                self.sign_key = Some(text(option));
            }
            "hidden-encrypt-key" => self.hidden_encrypt_keys.push(text(option)),
            "sign-key" => self.sign_key = Some(text(option)),
            "encrypt-secret-keyring" => self.secret_keyring = Some(path(option)),
            "encryption" => self.encrypt = true,
            "no-encryption" => self.encrypt = false,
            "file-changed" => self.file_changed = Some(bytes(option)?),
            "file-prefix" => self.prefixes.all = text(option),
            "file-prefix-archive" => self.prefixes.archive = text(option),
            "file-prefix-jsonstat" => self.prefixes.statistics = text(option),
            "file-prefix-manifest" => self.prefixes.manifest = text(option),
            "file-prefix-signature" => self.prefixes.signature = text(option),
            "files-changed" => self.list_changes = true,
            "no-files-changed" => self.list_changes = false,
            "force" => self.force = true,
            "full-if-n-inc" => self.full_if_increments = usize::try_from(count(option)?).ok(),
            "full-if-older-than" => {
                let age = clock.age(&text(option)).map_err(Failure::usage)?;
                self.full_if_older_seconds = Some(age);
            }
            "gpg-binary" => self.gpg_binary = Some(path(option)),
            "gpg-options" => self.gpg_options.extend(split_words(option)),
            "use-agent" => self.use_agent = true,
            "use-gpgsm" => self.use_gpgsm = true,
            "ignore-errors" => {
                log.warn(
                    warning::GENERIC,
                    "",
                    "With --ignore-errors, what cannot be restored is left out and the rest goes on.",
                );
                self.ignore_errors = true;
            }
            "jsonstat" => self.jsonstat = true,
            "name" => self.name = Some(text(option)),
            "null-separator" | "current-time" => {}
            "num-retries" => self.retries = u32::try_from(count(option)?).ok(),
            "numeric-owner" => self.numeric_owner = true,
            "path-to-restore" => self.path_to_restore = Some(bytes(option)?),
            "print-statistics" => self.print_statistics = true,
            "no-print-statistics" => self.print_statistics = false,
            "progress" => self.progress = true,
            "progress-rate" => self.progress_seconds = count(option)?.max(1),
            "rename" => {
                let [from, to] = option.values.as_slice() else {
                    return Err(Failure::usage("--rename takes two paths."));
                };
                let rename = (from.as_bytes().to_vec(), to.as_bytes().to_vec());
                self.renames.push(rename);
            }
            "restore-ownership" => self.restore_ownership = true,
            "no-restore-ownership" => self.restore_ownership = false,
            "restore-time" | "time" => self.restore_time = Some(moment()?),
            "s3-endpoint-url" => self.s3_endpoint = Some(text(option)),
            "s3-region-name" => self.s3_region = Some(text(option)),
            "s3-unencrypted-connection" => self.s3_plain = true,
            "show-changes-in-set" => self.changes_in_set = Some(number(option)?),
            "skip-if-no-change" => self.skip_if_no_change = true,
            "tempdir" => self.tempdir = Some(path(option)),
            "timeout" => self.timeout_seconds = Some(count(option)?),
            "version" => self.version = true,
            "volsize" => {
                let size = count(option)?.saturating_mul(1 << 20);
                if size == 0 {
                    return Err(Failure::usage("--volsize takes a number of MiB from 1 up."));
                }
                self.volume_size = size;
            }
            "metadata-sync-mode" => {
                let text = text(option);
                if !matches!(text.as_str(), "full" | "partial") {
                    return Err(Failure::usage(
                        "--metadata-sync-mode takes full or partial.",
                    ));
                }
            }
            // The store is looked at in any case: a run must not build on what is not there.
            "check-remote" | "no-check-remote" => {}
            name if self.set_selection(option, clock)? => {
                debug_assert!(
                    CURRENT.iter().any(|(known, _)| *known == name) || OLD_FLAGS.contains(&name)
                );
            }
            name if UNSUPPORTED.iter().any(|(known, _)| *known == name) => {
                return Err(Failure::new(
                    super::failure::code::NOT_IMPLEMENTED,
                    format!(
                        "Option --{name} is not supported by this program, and leaving it out \
                         would not do what you asked for."
                    ),
                ));
            }
            name => log.info(&format!("Option --{name} has no effect here.")),
        }
        Ok(())
    }

    /// Notes a rule of the selection. `false` when the option is something else.
    fn set_selection(&mut self, option: &Typed, clock: &Clock) -> Result<bool, Failure> {
        let rule = match option.name {
            "include" => Select::Include(bytes(option)?),
            "exclude" => Select::Exclude(bytes(option)?),
            "include-regexp" => Select::IncludeRegexp(bytes(option)?),
            "exclude-regexp" => Select::ExcludeRegexp(bytes(option)?),
            "include-filelist" => Select::IncludeList(list(option)?),
            "exclude-filelist" => Select::ExcludeList(list(option)?),
            "include-filelist-stdin" => Select::IncludeList(standard_input()?),
            "exclude-filelist-stdin" => Select::ExcludeList(standard_input()?),
            "files-from" => Select::FilesFrom(list(option)?),
            "exclude-if-present" => Select::IfPresent(bytes(option)?),
            "exclude-older-than" => {
                Select::OlderThan(clock.time(&text(option)).map_err(Failure::usage)?)
            }
            "exclude-device-files" => Select::DeviceFiles,
            "exclude-other-filesystems" => Select::OtherFilesystems,
            "filter-globbing" => Select::Globbing,
            "filter-literal" => Select::Literal,
            "filter-regexp" => Select::Regexp,
            "filter-ignorecase" => Select::IgnoreCase,
            "filter-strictcase" => Select::StrictCase,
            _ => return Ok(false),
        };
        self.select.push(rule);
        Ok(true)
    }
}

/// The names of all options that do something, for the help.
pub(crate) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    CURRENT.iter().map(|&(name, takes)| {
        let value = match takes {
            Takes::Nothing => "",
            Takes::Value => " VALUE",
            Takes::Two => " FROM TO",
        };
        (name, value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn parsed(line: &str) -> Result<(Options, Vec<OsString>), Failure> {
        let clock = Clock {
            now: 1_000_000_000,
            zone: TimeZone::UTC,
        };
        parse(line.split(' ').map(OsString::from), &clock, &mut Log::new())
    }

    #[test]
    fn options_may_stand_anywhere_and_be_shortened() {
        let (options, words) =
            parsed("full --no-encrypt /src --vols=5 --num-ret 2 file:///x -v0 -t now").unwrap();
        assert_eq!(words, ["full", "/src", "file:///x"]);
        assert!(!options.encrypt);
        assert_eq!(options.volume_size, 5 << 20);
        assert_eq!(options.retries, Some(2));
        assert_eq!(options.restore_time, Some(1_000_000_000));
    }

    #[test]
    fn what_could_be_several_options_is_refused_by_their_names() {
        let failure = parsed("--encrypt x").unwrap_err();
        assert!(failure.text.contains("--encrypt-key"), "{}", failure.text);
        assert_eq!(
            (failure.code, failure.extra.as_str()),
            (23, "CommandLineError")
        );
        assert!(parsed("--unheard-of").is_err());
    }

    #[test]
    fn old_names_are_understood() {
        let line = "--file-to-restore a --do-not-restore-ownership --short-filenames --gio \
                    --s3-multipart-max-timeout 3 --time-separator _";
        let (options, words) = parsed(line).unwrap();
        assert_eq!(options.path_to_restore.as_deref(), Some(&b"a"[..]));
        assert!(!options.restore_ownership);
        assert!(words.is_empty());
    }

    #[test]
    fn a_value_begins_with_a_dash_only_where_it_cannot_be_an_option() {
        assert_eq!(
            parsed("--show-changes-in-set -1").unwrap().0.changes_in_set,
            Some(-1)
        );
        assert!(parsed("--name --force").is_err());
        let clock = Clock {
            now: 0,
            zone: TimeZone::UTC,
        };
        let arguments = ["--gpg-options", "--cipher-algo AES192"].map(OsString::from);
        let (options, _) = parse(arguments, &clock, &mut Log::new()).unwrap();
        assert_eq!(options.gpg_options, ["--cipher-algo", "AES192"]);
    }

    #[test]
    fn what_would_break_a_promise_is_refused_and_what_only_tunes_is_not() {
        assert_eq!(parsed("--copy-links").unwrap_err().code, 33);
        assert!(parsed("--copy-blocksize 5 --ssh-askpass").is_ok());
    }

    #[test]
    fn two_values_are_taken_by_a_rename() {
        let (options, words) = parsed("--rename a/b c x").unwrap();
        assert_eq!(options.renames, [(b"a/b".to_vec(), b"c".to_vec())]);
        assert_eq!(words, ["x"]);
    }
}
