//! `REPOSITORY::ARCHIVE`, and the placeholders in it.

use std::env;
use std::path::{Component, Path, PathBuf};

use borg::{Host, Location};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::fail::Failure;
use super::template::{Template, Value};
use super::{VERSION, text};

/// A repository, and perhaps an archive in it.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    /// The repository as it was written.
    pub(crate) written: String,
    pub(crate) location: Location,
    pub(crate) archive: Option<String>,
}

impl Spot {
    /// Reads what was typed; what is missing of it comes from `BORG_REPO`.
    pub(crate) fn parse(typed: &str, now: Timestamp) -> Result<Self, Failure> {
        let text = placeholders(typed, now)?;
        if let Some(spot) = Self::whole(&text) {
            return Ok(spot);
        }
        let invalid = || Failure::usage(format!("Invalid location format: \"{text}\""));
        let archive = match text.strip_prefix("::") {
            Some(archive) if !archive.contains('/') => archive,
            None if text.is_empty() => "",
            _ => return Err(invalid()),
        };
        let repository = env::var("BORG_REPO").map_err(|_| invalid())?;
        let repository = placeholders(&repository, now)?;
        let mut spot = Self::whole(&repository).ok_or_else(invalid)?;
        spot.archive = (!archive.is_empty()).then(|| archive.to_owned());
        Ok(spot)
    }

    fn whole(text: &str) -> Option<Self> {
        let (repository, archive) = match text.find("::") {
            Some(0) => return None,
            Some(at) => (text.get(..at)?, Some(text.get(at + 2..)?)),
            None => (text, None),
        };
        if archive.is_some_and(|archive| archive.is_empty() || archive.contains('/')) {
            return None;
        }
        let location = match repository.parse().ok()? {
            Location::Local(path) => Location::Local(plain(&path)),
            remote => remote,
        };
        Some(Self {
            written: repository.to_owned(),
            location,
            archive: archive.map(str::to_owned),
        })
    }

    /// As it is shown in messages.
    pub(crate) fn shown(&self) -> String {
        match &self.location {
            Location::Local(path) => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                path.display().to_string()
            }
            remote => remote.to_string(),
        }
    }
}

/// The whole path, without `.` and `..`: places are compared as text.
fn plain(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for component in whole.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
    }
    plain
}

/// A name of an archive in the repository that was named before.
pub(crate) fn archive_name(typed: &str, now: Timestamp) -> Result<String, Failure> {
    let name = placeholders(typed, now)?;
    if name.is_empty() || name.contains('/') || name.contains("::") {
        return Err(Failure::usage(format!("Invalid archive name: \"{name}\"")));
    }
    Ok(name)
}

/// Puts values in the place of placeholders.
pub(crate) fn placeholders(typed: &str, now: Timestamp) -> Result<String, Failure> {
    let invalid = |key: &str| {
        let message = format!("Invalid placeholder \"{key}\" in string: {typed}");
        Failure::new(6, "InvalidPlaceholder", message)
    };
    let template = Template::parse(typed).map_err(|what| {
        let message = format!("Formatting Error: \"{typed}\": {what}");
        Failure::new(5, "PlaceholderError", message)
    })?;
    let value = |key: &str| Ok::<_, String>(placeholder(key, now));
    let filled = template.fill(value).map_err(|key| invalid(&key))?;
    Ok(String::from_utf8_lossy(&filled).into_owned())
}

fn placeholder(key: &str, now: Timestamp) -> Option<Value> {
    const ISO: &str = "%Y-%m-%dT%H:%M:%S";
    let mut version = VERSION.split('.');
    let (major, minor) = (version.next().unwrap_or(""), version.next().unwrap_or(""));
    Some(match key {
        "pid" => Value::number(std::process::id()),
        "hostname" => Value::text(hostname()),
        "fqdn" => Value::text(full_name()),
        "reverse-fqdn" => {
            let name = full_name();
            Value::text(name.split('.').rev().collect::<Vec<_>>().join("."))
        }
        "now" => Value::Time(text::local(now), ISO),
        "utcnow" => Value::Time(TimeZone::UTC.to_datetime(now), ISO),
        "unixtime" => Value::Number(now.as_second()),
        "user" => Value::text(username()),
        "uuid4" => Value::text(uuid4()?),
        "borgversion" | "borgpatch" => Value::text(VERSION),
        "borgmajor" => Value::text(major),
        "borgminor" => Value::text(format!("{major}.{minor}")),
        _ => return None,
    })
}

/// A variable with something in it.
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The short name of this machine.
pub(crate) fn hostname() -> String {
    variable("BORG_HOSTNAME").unwrap_or_else(|| {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        name.split('.').next().unwrap_or_default().to_owned()
    })
}

fn full_name() -> String {
    let host = Host::this_machine();
    let (name, _) = host.id().rsplit_once('@').unwrap_or((host.id(), ""));
    name.to_owned()
}

/// Who runs the program.
pub(crate) fn username() -> String {
    variable("BORG_USERNAME").unwrap_or_else(|| {
        let uid = nix::unistd::getuid();
        let user = nix::unistd::User::from_uid(uid).ok().flatten();
        user.map_or_else(|| uid.to_string(), |user| user.name)
    })
}

fn uuid4() -> Option<String> {
    let mut bytes = [0u8; 16];
    engine::random::system(&mut bytes).ok()?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{number:032x}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let parts = [
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32),
    ];
    Some(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    #[test]
    fn a_repository_and_an_archive_are_told_apart() {
        for (typed, repository, archive) in [
            ("/srv/x", "/srv/x", None),
            ("/srv/x::a", "/srv/x", Some("a")),
            ("/srv/x:y::a:b", "/srv/x:y", Some("a:b")),
            ("ssh://ada@nas:22/./x::a", "ssh://ada@nas:22/./x", Some("a")),
            ("nas:x::a", "nas:x", Some("a")),
            ("x::{utcnow:%Y}-a", "x", Some("2026-a")),
            ("x::{unixtime}", "x", Some("1767323045")),
        ] {
            let spot = Spot::parse(typed, now()).unwrap();
            assert_eq!(spot.written, repository, "{typed}");
            assert_eq!(spot.archive.as_deref(), archive, "{typed}");
        }
        for typed in ["x::", "x::a/b"] {
            assert!(Spot::parse(typed, now()).is_err(), "{typed}");
        }
        assert_eq!(Spot::parse("x::{nonsense}", now()).unwrap_err().code, 6);
        assert_eq!(Spot::parse("x::{now", now()).unwrap_err().code, 5);
    }

    #[test]
    fn a_place_is_the_same_however_it_is_written() {
        for typed in ["/a/b", "/a//b/", "/a/./b", "/a/c/../b", "/../a/b"] {
            assert_eq!(
                Spot::parse(typed, now()).unwrap().shown(),
                "/a/b",
                "{typed}"
            );
        }
    }

    #[test]
    fn a_random_name_has_the_form_of_version_four() {
        let uuid = placeholders("{uuid4}", now()).unwrap();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]));
    }
}
