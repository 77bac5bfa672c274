//! Where a store is, as people write it: our own forms and duplicity's.
//!
//! | written | meant |
//! |---|---|
//! | `/path`, `file:/path`, `file:///path`, `file://relative` | a folder of this machine |
//! | `sftp://user@host:port/path` | below the login folder; `//path` is absolute |
//! | `s3://endpoint/bucket/prefix?region=…`, `s3:///bucket/prefix` | S3; without endpoint Amazon's |
//! | `b2://bucket/prefix` | Backblaze B2 |
//! | `gdrive:/Folder`, `dropbox:/Folder` | signed in by `ravelin store login` |
//! | `webdav+https://user@host/path` | WebDAV |
//! | `rclone:remote:path` | whatever the `rclone` program knows |
//! | `memory:` | forgotten at the end; for tests |
//!
//! Of duplicity: `scp://`, `ssh://` and its `paramiko+`/`pexpect+` prefixes, `boto3+s3://bucket`,
//! `b2://key_id:key@bucket/folder`, `gdrive://account@host/folder`, `dpbx:///folder`, `webdav://`,
//! `webdavs://`, `rclone://remote:folder`. Source: duplicity's manual, section URL format.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::Secret;

/// Where a store is. Prints without passwords.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine.
    Disk(PathBuf),
    /// In memory.
    Memory,
    /// A folder of another machine, through the user's own `ssh`.
    Sftp {
        /// Where and as whom; no user means what the configuration of `ssh` says.
        server: Server,
        /// The folder; relative to the login folder unless it starts with `/`.
        path: String,
    },
    /// A bucket of an S3 service.
    S3(S3Location),
    /// A bucket of Backblaze B2.
    B2 {
        /// The application key's id and secret, where the location holds them.
        key: Option<(String, Option<Secret>)>,
        /// The bucket's name.
        bucket: String,
        /// The folder in it; no slash at its ends.
        prefix: String,
    },
    /// A folder of Google Drive.
    Drive {
        /// Which account's token to use; a service account's address, or any name.
        account: Option<String>,
        /// The folder; no slash at its ends.
        path: String,
    },
    /// A folder of Dropbox.
    Dropbox {
        /// Which account's token to use.
        account: Option<String>,
        /// The folder; no slash at its ends.
        path: String,
    },
    /// A folder of a WebDAV server.
    WebDav {
        /// Whether the connection is encrypted.
        tls: bool,
        /// Where and as whom.
        server: Server,
        /// The folder; no slash at its ends.
        path: String,
    },
    /// What the `rclone` program calls it: `remote:path`.
    Rclone(String),
}

/// A server and who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Name or address; IPv6 addresses without brackets.
    pub host: String,
    /// `None` is the usual port.
    pub port: Option<u16>,
    /// Who is asking.
    pub user: Option<String>,
    /// The password, where the location holds it.
    pub password: Option<Secret>,
}

/// A place in an S3 service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Location {
    /// The service; `None` is Amazon's. Its user and password are access key and secret.
    pub server: Option<Server>,
    /// Access key id and secret of a location without a server.
    pub key: Option<(String, Option<Secret>)>,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The bucket's name.
    pub bucket: String,
    /// The folder in it; no slash at its ends.
    pub prefix: String,
    /// The region to sign for.
    pub region: Option<String>,
}

/// Why a text is not a [`Location`]. Never holds the text itself: it may have a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLocation {
    /// The text before the first colon is no kind of store.
    #[error(
        "`{0}` is no kind of store; known are file, sftp, s3, b2, gdrive, dropbox, webdav+https, rclone"
    )]
    Scheme(String),
    /// Something has to be there.
    #[error("the location names no {0}")]
    Missing(&'static str),
    /// Something is there and cannot be.
    #[error("the {0} of the location is not valid")]
    Invalid(&'static str),
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let Some((scheme, rest)) = split_scheme(text) else {
            return disk(text);
        };
        let lower = scheme.to_ascii_lowercase();
        // `pexpect+sftp` names a way of duplicity's to reach the same place.
        let kind = lower
            .strip_prefix("paramiko+")
            .or_else(|| lower.strip_prefix("pexpect+"))
            .unwrap_or(&lower);
        match kind {
            "file" => disk(&decode(rest.strip_prefix("//").unwrap_or(rest), "path")?),
            "memory" => Ok(Self::Memory),
            "sftp" | "scp" | "ssh" => sftp(rest),
            "s3" | "s3+https" | "s3+http" => s3(rest, kind != "s3+http"),
            "boto3+s3" => s3(&format!("///{}", rest.trim_start_matches('/')), true),
            "b2" => b2(rest),
            "gdrive" | "gdocs" | "pydrive" => {
                let (account, path) = consumer(rest)?;
                Ok(Self::Drive { account, path })
            }
            "dropbox" | "dpbx" => {
                let (account, path) = consumer(rest)?;
                Ok(Self::Dropbox { account, path })
            }
            "webdav+https" | "webdavs" => webdav(rest, true),
            "webdav+http" | "webdav" => webdav(rest, false),
            "rclone" => rclone(rest),
            _ => Err(BadLocation::Scheme(scheme.chars().take(32).collect())),
        }
    }
}

/// What stands before the colon, if it looks like a scheme. `./a:b` and `/a:b` do not.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut characters = scheme.chars();
    let fits = characters.next()?.is_ascii_alphabetic()
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    fits.then_some((scheme, rest))
}

fn disk(path: &str) -> Result<Location, BadLocation> {
    if path.is_empty() {
        return Err(BadLocation::Missing("path"));
    }
    if path.contains('\0') {
        return Err(BadLocation::Invalid("path"));
    }
    Ok(Location::Disk(path.into()))
}

fn sftp(rest: &str) -> Result<Location, BadLocation> {
    let (server, path) = server_and_path(rest)?;
    let server = server.ok_or(BadLocation::Missing("host"))?;
    // One slash ends the host; a second one begins an absolute path.
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = decode(path, "path")?;
    if path.contains(['\0', '\n']) {
        return Err(BadLocation::Invalid("path"));
    }
    Ok(Location::Sftp { server, path })
}

fn s3(rest: &str, tls: bool) -> Result<Location, BadLocation> {
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut region = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("region", value)) => region = Some(decode(value, "region")?),
            _ => return Err(BadLocation::Invalid("query")),
        }
    }
    // The host may be left out and the key still be there: `s3://key:secret@/bucket`.
    let after = rest
        .strip_prefix("//")
        .ok_or(BadLocation::Missing("bucket"))?;
    let (authority, path) = split_authority(after);
    let (user, host) = split_user(authority);
    let (server, key) = if host.is_empty() {
        (None, user.map(credentials).transpose()?)
    } else {
        (Some(server(authority)?), None)
    };
    let path = decode(path, "path")?;
    let (bucket, prefix) = bucket_and_prefix(&path)?;
    Ok(Location::S3(S3Location {
        server,
        key,
        tls,
        bucket,
        prefix,
        region,
    }))
}

fn b2(rest: &str) -> Result<Location, BadLocation> {
    let (user, path) = match rest.strip_prefix("//").unwrap_or(rest).rsplit_once('@') {
        Some((user, path)) => (Some(user), path),
        None => (None, rest.trim_start_matches('/')),
    };
    let key = user.map(credentials).transpose()?;
    let path = decode(path, "path")?;
    let (bucket, prefix) = bucket_and_prefix(&path)?;
    Ok(Location::B2 {
        key,
        bucket,
        prefix,
    })
}

/// Account and folder of a service that a person signs in to.
fn consumer(rest: &str) -> Result<(Option<String>, String), BadLocation> {
    let (account, path) = match rest.strip_prefix("//") {
        None => (None, rest),
        Some(after) => {
            let (authority, path) = split_authority(after);
            (Some(authority).filter(|text| !text.is_empty()), path)
        }
    };
    let account = account
        .map(|account| decode(account, "account"))
        .transpose()?;
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Ok((account, folder(&decode(path, "path")?)?))
}

fn webdav(rest: &str, tls: bool) -> Result<Location, BadLocation> {
    let (server, path) = server_and_path(rest)?;
    let server = server.ok_or(BadLocation::Missing("host"))?;
    Ok(Location::WebDav {
        tls,
        server,
        path: folder(&decode(path, "path")?)?,
    })
}

fn rclone(rest: &str) -> Result<Location, BadLocation> {
    let remote = rest.strip_prefix("//").unwrap_or(rest);
    let (name, _) = remote
        .split_once(':')
        .ok_or(BadLocation::Missing("remote"))?;
    let odd = |c: char| !(c.is_alphanumeric() || "_-.+@ ".contains(c));
    if name.is_empty()
        || name.starts_with(['-', ' '])
        || name.contains(odd)
        || remote.contains('\0')
    {
        return Err(BadLocation::Invalid("remote"));
    }
    Ok(Location::Rclone(remote.to_owned()))
}

/// `//user:password@host:port/path`.
fn server_and_path(rest: &str) -> Result<(Option<Server>, &str), BadLocation> {
    let after = rest
        .strip_prefix("//")
        .ok_or(BadLocation::Missing("host"))?;
    let (authority, path) = split_authority(after);
    if authority.is_empty() {
        return Ok((None, path));
    }
    Ok((Some(server(authority)?), path))
}

fn split_authority(after: &str) -> (&str, &str) {
    after.split_at(after.find('/').unwrap_or(after.len()))
}

fn split_user(authority: &str) -> (Option<&str>, &str) {
    match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    }
}

fn server(authority: &str) -> Result<Server, BadLocation> {
    let (user, host) = split_user(authority);
    let (user, password) = match user.map(credentials).transpose()? {
        Some((user, password)) => (Some(user), password),
        None => (None, None),
    };
    let (host, port) = if let Some(inner) = host.strip_prefix('[') {
        let (address, port) = inner.split_once(']').ok_or(BadLocation::Invalid("host"))?;
        (address, port.strip_prefix(':'))
    } else {
        host.split_once(':')
            .map_or((host, None), |(host, port)| (host, Some(port)))
    };
    let port = port
        .map(|port| port.parse().map_err(|_| BadLocation::Invalid("port")))
        .transpose()?;
    // The host becomes an argument of `ssh` and part of a URL: no option, no second meaning.
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || host.starts_with('-') || !host.chars().all(fits) {
        return Err(BadLocation::Invalid("host"));
    }
    Ok(Server {
        host: host.to_owned(),
        port,
        user,
        password,
    })
}

/// `user:password`, both decoded.
fn credentials(text: &str) -> Result<(String, Option<Secret>), BadLocation> {
    let (user, password) = text
        .split_once(':')
        .map_or((text, None), |(user, password)| (user, Some(password)));
    let user = decode(user, "user")?;
    if user.is_empty() || user.starts_with('-') || user.contains(char::is_control) {
        return Err(BadLocation::Invalid("user"));
    }
    let password = password
        .map(|password| decode(password, "password"))
        .transpose()?;
    Ok((user, password.map(Secret::new)))
}

fn bucket_and_prefix(path: &str) -> Result<(String, String), BadLocation> {
    let path = folder(path)?;
    let (bucket, prefix) = path.split_once('/').unwrap_or((&path, ""));
    if bucket.is_empty() {
        return Err(BadLocation::Missing("bucket"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if !bucket.chars().all(fits) || bucket.starts_with(['.', '-']) {
        return Err(BadLocation::Invalid("bucket"));
    }
    Ok((bucket.to_owned(), prefix.to_owned()))
}

/// A folder without slashes at its ends or doubled ones.
fn folder(path: &str) -> Result<String, BadLocation> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let folder = parts.join("/");
    match crate::Folder::new(&folder) {
        Ok(_) => Ok(folder),
        Err(_) => Err(BadLocation::Invalid("path")),
    }
}

fn decode(text: &str, part: &'static str) -> Result<String, BadLocation> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| BadLocation::Invalid(part))?;
    Ok(decoded.into_owned())
}

/// What would end a component of a URL too early.
const RESERVED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'?')
    .add(b'#')
    .add(b'@')
    .add(b':')
    .add(b'/');

/// The same in a path, where `/` is itself.
const RESERVED_IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#').add(b'@');

/// As it may be shown: no password, no secret key.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = |path: &str| utf8_percent_encode(path, RESERVED_IN_PATH).to_string();
        let user = |user: &str| utf8_percent_encode(user, RESERVED).to_string();
        match self {
            // A path that could be taken for something else is written out.
            Self::Disk(folder) if split_scheme(&folder.to_string_lossy()).is_some() => {
                write!(f, "./{}", folder.display())
            }
            Self::Disk(folder) => write!(f, "{}", folder.display()),
            Self::Memory => f.write_str("memory:"),
            Self::Sftp {
                server,
                path: folder,
            } => write!(f, "sftp://{server}/{}", path(folder)),
            Self::S3(s3) => {
                f.write_str(if s3.tls { "s3://" } else { "s3+http://" })?;
                match (&s3.server, &s3.key) {
                    (Some(server), _) => write!(f, "{server}")?,
                    (None, Some((key, _))) => write!(f, "{}@", user(key))?,
                    (None, None) => {}
                }
                write!(f, "/{}", s3.bucket)?;
                if !s3.prefix.is_empty() {
                    write!(f, "/{}", path(&s3.prefix))?;
                }
                s3.region
                    .as_ref()
                    .map_or(Ok(()), |region| write!(f, "?region={}", user(region)))
            }
            Self::B2 {
                key,
                bucket,
                prefix,
            } => {
                f.write_str("b2://")?;
                if let Some((key, _)) = key {
                    write!(f, "{}@", user(key))?;
                }
                f.write_str(bucket)?;
                if prefix.is_empty() {
                    Ok(())
                } else {
                    write!(f, "/{}", path(prefix))
                }
            }
            Self::Drive {
                account,
                path: folder,
            }
            | Self::Dropbox {
                account,
                path: folder,
            } => {
                f.write_str(if matches!(self, Self::Drive { .. }) {
                    "gdrive:"
                } else {
                    "dropbox:"
                })?;
                if let Some(account) = account {
                    write!(f, "//{}", user(account))?;
                }
                write!(f, "/{}", path(folder))
            }
            Self::WebDav {
                tls,
                server,
                path: folder,
            } => {
                let scheme = if *tls { "webdav+https" } else { "webdav+http" };
                write!(f, "{scheme}://{server}/{}", path(folder))
            }
            Self::Rclone(remote) => write!(f, "rclone:{remote}"),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{}@", utf8_percent_encode(user, RESERVED))?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Location {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(parse(text).to_string(), shown, "{text}");
        assert_eq!(parse(shown).to_string(), shown, "{shown} again");
    }

    #[test]
    fn our_own_forms() {
        check("/mnt/backup", "/mnt/backup");
        check("file:/mnt/a%20b", "/mnt/a b");
        check("./odd:name", "./odd:name");
        check("memory:", "memory:");
        check("sftp://me@nas:2222/backup", "sftp://me@nas:2222/backup");
        check("sftp://nas//srv/backup", "sftp://nas//srv/backup");
        check("sftp://[::1]:22/x", "sftp://[::1]:22/x");
        check(
            "s3://s3.example.org/bucket/a/b",
            "s3://s3.example.org/bucket/a/b",
        );
        check(
            "s3:///bucket?region=eu-central-1",
            "s3:///bucket?region=eu-central-1",
        );
        check(
            "s3+http://127.0.0.1:18333/bucket",
            "s3+http://127.0.0.1:18333/bucket",
        );
        check("b2://bucket/laptop/", "b2://bucket/laptop");
        check("gdrive:/Ravelin", "gdrive:/Ravelin");
        check("dropbox:/Ravelin/x", "dropbox:/Ravelin/x");
        check(
            "webdav+https://me@cloud/remote.php/dav",
            "webdav+https://me@cloud/remote.php/dav",
        );
        check("rclone:box:backup/x", "rclone:box:backup/x");
    }

    #[test]
    fn the_forms_of_duplicity() {
        check("file:///home/me/backup", "/home/me/backup");
        check("file://relative/dir", "relative/dir");
        check("scp://me@host/dir", "sftp://me@host/dir");
        check("paramiko+sftp://me@host/dir", "sftp://me@host/dir");
        check("boto3+s3://bucket/prefix", "s3:///bucket/prefix");
        check("b2://0012:K00%2Fx@bucket/folder", "b2://0012@bucket/folder");
        check(
            "gdrive://x@developer.gserviceaccount.com/dir/?driveID=1",
            "gdrive://x%40developer.gserviceaccount.com/dir",
        );
        check("dpbx:///some_dir", "dropbox:/some_dir");
        check("webdavs://me:pw@host/dir", "webdav+https://me@host/dir");
        check("rclone://remote:/some_dir", "rclone:remote:/some_dir");
    }

    #[test]
    fn a_password_is_taken_and_never_shown() {
        for text in [
            "sftp://me:hunter2@host/x",
            "s3://AKIA:hunter2@host/bucket",
            "s3://AKIA:hunter2@/bucket",
            "b2://id:hunter2@bucket",
            "webdav+https://me:hunter2@host/x",
        ] {
            let location = parse(text);
            let shown = format!("{location} {location:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let Location::WebDav { server, .. } = parse("webdavs://me:a%40b%3A@host/x") else {
            panic!()
        };
        assert_eq!(server.password.unwrap().expose(), "a@b:");
        let error = "sftp://me:hunter2@ho st/x".parse::<Location>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }

    #[test]
    fn what_could_be_an_option_or_another_place_is_refused() {
        for text in [
            "",
            "sftp://-oProxyCommand=x/y",
            "sftp://-x@host/y",
            "sftp://host;x/y",
            "sftp:///path",
            "sftp://host:99999/x",
            "s3://host",
            "s3://host/bucket/../other",
            "b2://",
            "gdrive:/a/../b",
            "rclone:-x:y",
            "rclone:nothing",
            "ftp://host/x",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,60}") {
            let _ = text.parse::<Location>();
        }

        #[test]
        fn what_is_shown_means_the_same(text in "(sftp|s3|b2|gdrive|dropbox|webdavs)://([a-z%@]{1,5}@)?[a-z0-9.]{1,8}(/[a-z0-9 é%?]{1,5}){1,3}") {
            if let Ok(location) = text.parse::<Location>() {
                let shown = location.to_string();
                proptest::prop_assert_eq!(shown.parse::<Location>().map_err(|e| e.to_string()), Ok(location), "{}", shown);
            }
        }
    }
}
