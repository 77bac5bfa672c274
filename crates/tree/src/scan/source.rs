//! What is to be scanned, and why a path is in it or not.

use std::fmt;
use std::path::PathBuf;

use super::rules::{Preset, Rules};
use crate::{Entry, TreePath};

/// Files and folders to scan, and what of them to leave out.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Where the scan begins: absolute paths. One that lies in another is scanned once.
    pub roots: Vec<PathBuf>,
    /// Which paths are left out.
    pub rules: Rules,
    /// A folder that holds an entry of one of these names is left out.
    pub markers: Vec<Vec<u8>>,
    /// Folders with a `CACHEDIR.TAG` are left out.
    ///
    /// Source: the Cache Directory Tagging Specification, <https://bford.info/cachedir/>.
    pub leave_out_caches: bool,
    /// Larger regular files are left out.
    pub size_max: Option<u64>,
    /// What carries the no-dump flag (`chattr +d`) is left out.
    pub leave_out_no_dump: bool,
    /// A folder on another file system than its root is kept, but not entered.
    pub one_file_system: bool,
}

/// Why an object is not in a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Omission {
    /// A rule says so.
    Rule {
        /// The rule, as it was written.
        rule: String,
        /// The preset that it belongs to.
        preset: Option<Preset>,
    },
    /// The folder holds this marker.
    Marker(Vec<u8>),
    /// The folder is tagged as a cache.
    CacheTag,
    /// The file is larger than wanted.
    Size {
        /// Its bytes.
        size: u64,
        /// The limit.
        size_max: u64,
    },
    /// It carries the no-dump flag.
    NoDump,
    /// It lies on another file system than its root.
    OtherFileSystem,
}

/// Begins the file that tags a cache.
pub(super) const CACHE_TAG_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The name of that file.
pub(super) const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";

impl Source {
    /// Whether the rules leave the path out.
    pub(super) fn by_rule(&self, path: &TreePath) -> Option<Omission> {
        let rule = self.rules.find(path.as_bytes())?;
        (!rule.include).then(|| Omission::Rule {
            rule: rule.pattern.to_string(),
            preset: rule.preset,
        })
    }

    /// Whether what the object is leaves it out.
    pub(crate) fn by_metadata(&self, entry: &Entry) -> Option<Omission> {
        if self.leave_out_no_dump && entry.flags.no_dump {
            return Some(Omission::NoDump);
        }
        let size_max = self.size_max?;
        (entry.is_file() && entry.size > size_max).then_some(Omission::Size {
            size: entry.size,
            size_max,
        })
    }

    /// Whether one of the names in a folder leaves the folder out. `is_cache` is asked when it is
    /// needed.
    pub(super) fn by_names<'a>(
        &self,
        names: impl Iterator<Item = &'a [u8]>,
        is_cache: impl Fn() -> bool,
    ) -> Option<Omission> {
        if self.markers.is_empty() && !self.leave_out_caches {
            return None;
        }
        for name in names {
            if self.markers.iter().any(|marker| marker == name) {
                return Some(Omission::Marker(name.to_vec()));
            }
            if self.leave_out_caches && name == CACHE_TAG_NAME && is_cache() {
                return Some(Omission::CacheTag);
            }
        }
        None
    }
}

/// As the end of “it is left out because …”.
impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule { rule, preset: None } => write!(f, "the rule `{rule}` matches"),
            Self::Rule {
                rule,
                preset: Some(preset),
            } => write!(f, "the rule `{rule}` of the preset `{preset}` matches"),
            Self::Marker(name) => {
                write!(f, "the folder holds `{}`", bstr::BStr::new(name))
            }
            Self::CacheTag => f.write_str("the folder is tagged as a cache by CACHEDIR.TAG"),
            Self::Size { size, size_max } => {
                write!(f, "it has {size} bytes, more than {size_max}")
            }
            Self::NoDump => f.write_str("it carries the no-dump flag"),
            Self::OtherFileSystem => f.write_str("it lies on another file system"),
        }
    }
}
