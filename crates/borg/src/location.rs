//! Where a repository is, as people and the stock program write it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::{ServerListener, new_key_file};

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a folder of this machine.
    Local(PathBuf),
    /// Behind SSH.
    Ssh(SshLocation),
}

/// A repository behind SSH, and how to get there.
///
/// Shown as the stock program writes it into its own memory: `ssh://user@host:port/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshLocation {
    /// Who logs in; else `ssh` decides.
    pub user: Option<String>,
    /// A name or an address, with brackets around one of IPv6.
    pub host: String,
    /// The port; else `ssh` decides.
    pub port: Option<u16>,
    /// The path as it is sent to the server: absolute, or with `/~/` or `~` below a home, or
    /// relative to where the server starts.
    pub path: String,
    /// What to run in place of `ssh`: a program and arguments in one line, as `BORG_RSH` has it.
    pub rsh: Option<String>,
    /// What to run there in place of `borg`, as `BORG_REMOTE_PATH` has it.
    pub remote_path: Option<String>,
    /// How much the server shall say, as an option of it: `--info`, `--debug`, …
    pub log_level: Option<String>,
    /// Who hears what it says; else the last lines are in an error, if there is one.
    pub listener: Option<ServerListener>,
    /// Most bytes a second that are sent there; `None` for no limit.
    pub upload_limit: Option<u64>,
}

/// What is no location.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no place of a repository")]
pub struct BadLocation {
    /// As it was written.
    pub text: String,
}

impl Location {
    /// The same place, reached with other programs: see [`SshLocation::rsh`] and
    /// [`SshLocation::remote_path`].
    #[must_use]
    pub fn through(mut self, rsh: Option<String>, remote_path: Option<String>) -> Self {
        if let Self::Ssh(ssh) = &mut self {
            ssh.rsh = rsh.filter(|rsh| !rsh.trim().is_empty());
            ssh.remote_path = remote_path.filter(|path| !path.trim().is_empty());
        }
        self
    }

    /// The same place, whose server says so much to a listener: see [`SshLocation::log_level`].
    #[must_use]
    pub fn heard(mut self, log_level: Option<&str>, listener: ServerListener) -> Self {
        if let Self::Ssh(ssh) = &mut self {
            ssh.log_level = log_level.map(str::to_owned);
            ssh.listener = Some(listener);
        }
        self
    }

    /// The same place, to which so many bytes a second are sent at most: see
    /// [`SshLocation::upload_limit`].
    #[must_use]
    pub fn limited(mut self, upload: Option<u64>) -> Self {
        if let Self::Ssh(ssh) = &mut self {
            ssh.upload_limit = upload.filter(|limit| *limit > 0);
        }
        self
    }

    /// Names a file for the key of a new repository, as the stock program does.
    pub(crate) fn new_key_file(&self, keys_directory: &Path) -> PathBuf {
        match self {
            Self::Local(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                new_key_file(keys_directory, None, &path.to_string_lossy())
            }
            Self::Ssh(ssh) => new_key_file(keys_directory, Some(ssh.bare_host()), &ssh.path),
        }
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::Local(path.to_owned())
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        Self::Local(path.clone())
    }
}

impl From<&Self> for Location {
    fn from(location: &Self) -> Self {
        location.clone()
    }
}

impl FromStr for Location {
    type Err = BadLocation;

    /// Reads `ssh://[user@]host[:port]/path`, `[user@]host:path`, `file:///path` or a path.
    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let bad = || BadLocation { text: text.into() };
        // Behind two colons stands an archive, which is no part of a place.
        let is_path = |path: &str| !path.is_empty() && !path.contains("::");
        if let Some(rest) = text.strip_prefix("ssh://") {
            let at = rest.find('/').ok_or_else(bad)?;
            let (server, path) = rest.split_at(at);
            if !is_path(path) {
                return Err(bad());
            }
            let (user, host, rest) = user_and_host(server).ok_or_else(bad)?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port.parse().map_err(|_| bad())?),
                None if rest.is_empty() => None,
                None => return Err(bad()),
            };
            return Ok(Self::Ssh(SshLocation::new(user, host, port, path)));
        }
        if let Some(path) = text.strip_prefix("file://").filter(|path| is_path(path)) {
            return Ok(Self::Local(PathBuf::from(path)));
        }
        if let Some((user, host, rest)) = user_and_host(text)
            && let Some(path) = rest.strip_prefix(':')
            && is_path(path)
            && !path.starts_with("//")
            && !path.starts_with(':')
        {
            return Ok(Self::Ssh(SshLocation::new(user, host, None, path)));
        }
        match is_path(text) {
            true => Ok(Self::Local(PathBuf::from(text))),
            false => Err(bad()),
        }
    }
}

impl SshLocation {
    fn new(user: Option<&str>, host: &str, port: Option<u16>, path: &str) -> Self {
        Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            path: normal(path),
            rsh: None,
            remote_path: None,
            log_level: None,
            listener: None,
            upload_limit: None,
        }
    }

    /// The host without the brackets of an IPv6 address.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for SshLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        let lead = match self.path.as_bytes() {
            [b'/', ..] => "",
            [b'~', ..] => "/",
            _ => "/./",
        };
        write!(f, "{lead}{}", self.path)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Ssh(ssh) => ssh.fmt(f),
        }
    }
}

/// `[user@]host` at the front of a text, and what follows it.
///
/// A host that begins with a dash would be taken for a flag of `ssh`.
fn user_and_host(text: &str) -> Option<(Option<&str>, &str, &str)> {
    let end = text.find('/').unwrap_or(text.len());
    let (user, rest) = match text.get(..end)?.split_once('@') {
        Some((user, _)) if !user.is_empty() && !user.contains(':') => {
            (Some(user), text.get(user.len() + 1..)?)
        }
        _ => (None, text),
    };
    let length = if rest.starts_with('[') {
        let length = rest.find(']')? + 1;
        let address = rest.get(1..length - 1)?;
        let is_address = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
        (!address.is_empty() && address.chars().all(is_address)).then_some(length)?
    } else {
        rest.find([':', '/']).unwrap_or(rest.len())
    };
    let (host, rest) = rest.split_at(length);
    let is_flag = |text: &str| text.starts_with('-');
    let is_good = !host.is_empty() && !is_flag(host) && !user.is_some_and(is_flag);
    is_good.then_some((user, host, rest))
}

/// The path without `.`, `..` and double slashes, but for `/./` in front, which means: relative.
///
/// The stock program compares places as text, so they must look the same.
fn normal(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    let is_absolute = path.starts_with('/');
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => match names.last() {
                Some(&last) if last != ".." => {
                    names.pop();
                }
                None if is_absolute => {}
                _ => names.push(".."),
            },
            name => names.push(name),
        }
    }
    let lead = match path {
        _ if path.starts_with("/./") => "/./",
        // POSIX gives exactly two slashes a meaning of their own, so they stay.
        _ if path.starts_with("//") && !path.starts_with("///") => "//",
        _ if is_absolute => "/",
        _ if names.is_empty() => ".",
        _ => "",
    };
    format!("{lead}{}", names.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        text.parse::<Location>().unwrap().to_string()
    }

    #[test]
    fn places_are_read_and_shown_as_the_stock_program_does() {
        // The right side: what `Location(…).canonical_path()` of Borg 1.4.5 gives.
        for (text, shown) in [
            ("ssh://ada@nas:2222/srv/borg", "ssh://ada@nas:2222/srv/borg"),
            ("ssh://nas/srv//borg/", "ssh://nas/srv/borg"),
            ("ssh://[::1]:22/x", "ssh://[::1]:22/x"),
            ("ssh://nas/./x/y", "ssh://nas/./x/y"),
            ("ssh://nas/~/x", "ssh://nas/~/x"),
            ("ssh://nas/~ada/x", "ssh://nas/~ada/x"),
            ("nas:x/y", "ssh://nas/./x/y"),
            ("ada@nas:~/x", "ssh://ada@nas/~/x"),
            ("ada@nas:/x:1/y/../z", "ssh://ada@nas/x:1/z"),
            ("[fe80::1]:x", "ssh://[fe80::1]/./x"),
            ("/srv/a:b", "/srv/a:b"),
            ("a/b:c", "a/b:c"),
            ("file:///srv/x", "/srv/x"),
        ] {
            assert_eq!(canonical(text), shown, "{text}");
        }
    }

    #[test]
    fn what_could_be_a_flag_or_an_archive_is_no_place() {
        for text in [
            "",
            "ssh://",
            "ssh://nas",
            "ssh://nas:x/y",
            "ssh://nas:99999/y",
            "ssh://-oProxyCommand=x/y",
            "ssh://-l@nas/y",
            "nas:x::archive",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
        assert!(matches!("-oX:y".parse(), Ok(Location::Local(_))));
    }
}
