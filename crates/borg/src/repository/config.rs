//! The repository's configuration file.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::RepositoryOptions;
use super::entry::ENTRY_SIZE_MAX;
use crate::ini::Ini;
use crate::{Error, Id, Random, SystemRandom, save_file};

const FILE: &str = "config";
/// A second name of the former file while a new one is written, so that it can be overwritten.
const FORMER: &str = "config.old";
const SECTION: &str = "repository";
const LAST_SEGMENT_CHECKED: &str = "last_segment_checked";

/// Largest configuration file that is read.
const SIZE_MAX: u64 = 1 << 20;

/// Offsets have 32 bits, and a segment may exceed its limit by one entry.
const SEGMENT_SIZE_LIMIT: u64 = (1 << 32) - ENTRY_SIZE_MAX as u64;

/// What a repository's configuration says.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the repository is known by.
    pub id: Id,
    /// A new segment begins when the current one has more bytes than this.
    pub max_segment_size: u32,
    /// Segments in one folder.
    pub segments_per_dir: u32,
    /// Nothing is ever freed.
    pub append_only: bool,
    /// Bytes that the objects may take; 0 for no limit.
    pub storage_quota: u64,
    /// Bytes that must stay free on the disk beyond what a commit needs.
    pub additional_free_space: u64,
    /// The file, with what we do not know.
    ini: Ini,
}

impl Config {
    /// The configuration of a new repository.
    pub(super) fn new(options: &RepositoryOptions) -> Self {
        let mut ini = Ini::default();
        let number = |flag: bool| u8::from(flag).to_string();
        for (key, value) in [
            ("version", "1".to_owned()),
            ("segments_per_dir", options.segments_per_dir.to_string()),
            ("max_segment_size", options.max_segment_size.to_string()),
            ("append_only", number(options.append_only)),
            ("storage_quota", options.storage_quota.to_string()),
            (
                "additional_free_space",
                options.additional_free_space.to_string(),
            ),
            ("id", Id(options.repository_id).to_string()),
        ] {
            ini.set(SECTION, key, &value);
        }
        Self {
            id: Id(options.repository_id),
            max_segment_size: options.max_segment_size,
            segments_per_dir: options.segments_per_dir,
            append_only: options.append_only,
            storage_quota: options.storage_quota,
            additional_free_space: options.additional_free_space,
            ini,
        }
    }

    pub(super) fn load(repository: &Path) -> Result<Self, Error> {
        let path = repository.join(FILE);
        let not_a_repository = || Error::NotARepository {
            path: repository.to_owned(),
        };
        let metadata = fs::metadata(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => not_a_repository(),
            _ => Error::io("look at", &path)(error),
        })?;
        if !metadata.is_file() {
            return Err(not_a_repository());
        }
        if metadata.len() > SIZE_MAX {
            return Err(Error::Config {
                path: repository.to_owned(),
                what: "the file is too large".into(),
            });
        }
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        Self::parse(repository, &text)
    }

    fn parse(repository: &Path, text: &[u8]) -> Result<Self, Error> {
        let bad = |what: String| Error::Config {
            path: repository.to_owned(),
            what,
        };
        let text = std::str::from_utf8(text).map_err(|_| bad("it is not UTF-8".into()))?;
        let ini: Ini = text.parse().map_err(|error| bad(format!("{error}")))?;
        if !ini.has_section(SECTION) {
            return Err(bad(format!("it has no section `{SECTION}`")));
        }
        let required = |key: &str| {
            ini.get(SECTION, key)
                .ok_or_else(|| bad(format!("`{key}` is missing")))
        };
        let size = |key: &str, text: &str| {
            parse_size(text).ok_or_else(|| bad(format!("`{key}` is no size: `{text}`")))
        };
        let optional_size = |key: &str| ini.get(SECTION, key).map_or(Ok(0), |text| size(key, text));
        let version = required("version")?;
        if version.trim() != "1" {
            return Err(Error::Version {
                path: repository.to_owned(),
                version: version.to_owned(),
            });
        }
        let max_segment_size = size("max_segment_size", required("max_segment_size")?)?;
        if max_segment_size >= SEGMENT_SIZE_LIMIT {
            return Err(bad(format!(
                "`max_segment_size` is {max_segment_size}, but must be less than {SEGMENT_SIZE_LIMIT}"
            )));
        }
        let segments_per_dir = required("segments_per_dir")?;
        Ok(Self {
            id: required("id")?
                .trim()
                .parse()
                .map_err(|error| bad(format!("`id`: {error}")))?,
            max_segment_size: u32::try_from(max_segment_size).unwrap_or(u32::MAX),
            segments_per_dir: segments_per_dir
                .parse()
                .ok()
                .filter(|&count| count > 0)
                .ok_or_else(|| bad(format!("`segments_per_dir` is `{segments_per_dir}`")))?,
            append_only: match ini.get(SECTION, "append_only") {
                None => false,
                Some(text) => parse_flag(text)
                    .ok_or_else(|| bad(format!("`append_only` is neither 0 nor 1: `{text}`")))?,
            },
            storage_quota: optional_size("storage_quota")?,
            additional_free_space: optional_size("additional_free_space")?,
            ini,
        })
    }

    /// Any value, by its key in the file.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.ini.get(SECTION, key)
    }

    /// All keys and values, in the order of the file.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ini.entries(SECTION)
    }

    /// The key blob of the modes that keep it in the repository.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.get("key").filter(|key| !key.is_empty())
    }

    /// A copy in which one value is another, or gone.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when a repository with it could not be opened.
    pub(super) fn with(
        &self,
        repository: &Path,
        key: &str,
        value: Option<&str>,
    ) -> Result<Self, Error> {
        let mut ini = self.ini.clone();
        match value {
            Some(value) => ini.set(SECTION, key, value),
            None => {
                ini.remove(SECTION, key);
            }
        }
        Self::parse(repository, ini.to_string().as_bytes())
    }

    /// Up to where a check that could not be finished has come.
    pub(super) fn last_segment_checked(&self) -> Option<u32> {
        self.get(LAST_SEGMENT_CHECKED)?.parse().ok()
    }

    pub(super) fn with_last_segment_checked(
        &self,
        repository: &Path,
        segment: Option<u32>,
    ) -> Result<Self, Error> {
        let segment = segment.map(|segment| segment.to_string());
        self.with(repository, LAST_SEGMENT_CHECKED, segment.as_deref())
    }

    /// Replaces the file.
    ///
    /// It may hold a key under a passphrase that is being changed because others know it. So the
    /// bytes of the former file are overwritten: it gets a second name first, the new file takes
    /// the usual name, and then the former file is filled with noise and removed. After a crash
    /// anywhere, the usual name leads to one of the two, and the next call clears the rest.
    pub(super) fn save(&self, repository: &Path, file_mode: u32) -> Result<(), Error> {
        let path = repository.join(FILE);
        let former = repository.join(FORMER);
        erase(&former).map_err(Error::io("erase", &former))?;
        // Where there are no hard links the old bytes cannot be reached, as with the stock
        // program; that must not keep a key from being changed.
        let _ = fs::hard_link(&path, &former);
        save_file::write_with_mode(&path, self.ini.to_string().as_bytes(), file_mode)
            .map_err(Error::io("write", &path))?;
        erase(&former).map_err(Error::io("erase", &former))
    }
}

/// Clears what an interrupted [`Config::save`] has left.
pub(super) fn erase_former(repository: &Path) -> Result<(), Error> {
    let former = repository.join(FORMER);
    // The crash may have come before the new file was there: then both names lead to one file,
    // whose bytes are still needed.
    erase(&former).map_err(Error::io("erase", &former))
}

/// Overwrites a file with noise and removes it, if it is there. One that has another name too
/// only loses this one.
fn erase(path: &Path) -> io::Result<()> {
    let mut file = match fs::OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    let metadata = file.metadata()?;
    if metadata.nlink() == 1 {
        let mut noise = vec![0; usize::try_from(metadata.len().min(SIZE_MAX)).unwrap_or(0)];
        SystemRandom.fill(&mut noise)?;
        file.write_all(&noise)?;
        file.sync_data()?;
    }
    fs::remove_file(path)
}

/// Reads `1234`, `55G`, `1.7T`: units of a thousand, as Borg reads them.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, factor) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 1e3),
        'M' => (&text[..text.len() - 1], 1e6),
        'G' => (&text[..text.len() - 1], 1e9),
        'T' => (&text[..text.len() - 1], 1e12),
        'P' => (&text[..text.len() - 1], 1e15),
        _ => (text, 1.0),
    };
    if let Ok(exact) = number.trim().parse::<u64>()
        && factor == 1.0
    {
        return Some(exact);
    }
    let size = number.trim().parse::<f64>().ok()? * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range, and fractions of a byte do not count"
    )]
    (0.0..1.8e19).contains(&size).then_some(size as u64)
}

fn parse_flag(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Some(true),
        "0" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "/repository";

    fn text(lines: &str) -> String {
        let id = "ab".repeat(32);
        format!("[repository]\nversion = 1\nid = {id}\n{lines}")
    }

    fn parse(lines: &str) -> Result<Config, Error> {
        Config::parse(Path::new(HERE), text(lines).as_bytes())
    }

    #[test]
    fn sizes_have_units_of_a_thousand() {
        for (text, size) in [
            ("0", 0),
            ("524288000", 524_288_000),
            ("5G", 5_000_000_000),
            ("1.5K", 1500),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for text in ["", "G", "-1", "5g", "nan", "1e99", "5 GB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for lines in [
            "",
            "segments_per_dir = 1000",
            "max_segment_size = 500M",
            "max_segment_size = 500M\nsegments_per_dir = 0",
            "max_segment_size = 4G\nsegments_per_dir = 1000\nappend_only = maybe",
            "max_segment_size = 4273995776\nsegments_per_dir = 1000",
        ] {
            assert!(matches!(parse(lines), Err(Error::Config { .. })), "{lines}");
        }
        let version = text("").replace("version = 1", "version = 2");
        let result = Config::parse(Path::new(HERE), version.as_bytes());
        assert!(matches!(result, Err(Error::Version { .. })));
    }

    #[test]
    fn unknown_keys_are_kept() {
        let config = parse("max_segment_size = 4273995775\nsegments_per_dir = 7\nown = x").unwrap();
        assert_eq!(config.segments_per_dir, 7);
        let path = Path::new(HERE);
        let config = config.with(path, "append_only", Some("1")).unwrap();
        assert!(config.append_only);
        assert_eq!(config.get("own"), Some("x"));
        assert!(config.with(path, "id", None).is_err());
    }

    #[test]
    fn the_former_file_is_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        let lines = "max_segment_size = 5\nsegments_per_dir = 7";
        let config = parse(lines).unwrap();
        config.save(scratch.path(), 0o600).unwrap();
        let watch = scratch.path().join("watch");
        fs::hard_link(scratch.path().join(FILE), &watch).unwrap();
        // A person's own link keeps the content.
        config.save(scratch.path(), 0o600).unwrap();
        assert_eq!(fs::read_to_string(&watch).unwrap(), config.ini.to_string());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 2);
        let file = fs::File::open(scratch.path().join(FILE)).unwrap();
        config.save(scratch.path(), 0o600).unwrap();
        let noise = io::read_to_string(file);
        assert!(noise.is_err() || noise.unwrap() != config.ini.to_string());
    }
}
