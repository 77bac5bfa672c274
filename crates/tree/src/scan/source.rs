//! What is to be scanned, and what of it is left out.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::preset::Preset;
use super::rules::{Decisive, FolderName, Rules};
use crate::{BadPath, EntryKind, Flags, TreePath};

/// Files and folders to scan, and what of them to leave out.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// Where the scan begins. They are stored without the slash in front, and without what stands
    /// before a `/./`: `/home/ada/./docs` is stored as `docs`, `/home/ada/./` as the empty path.
    ///
    /// What lies in two of them is scanned once. A root that lies in another is scanned also where
    /// the walk through the outer one does not come to it: on another file system, in a folder
    /// that is marked, or behind a symbolic link. Links on the way to a root are followed; if the
    /// last component is one, the link itself is scanned.
    ///
    /// Their stored paths must not overlap unless their places on this machine do.
    pub roots: Vec<PathBuf>,
    /// A folder that stands for `/`, as a copy of the file system of an earlier moment: the roots are
    /// looked for below it, and all that is said of paths is said of those that the roots have.
    pub top: Option<PathBuf>,
    /// Which paths are left out. Roots are judged like all others.
    pub rules: Rules,
    /// A folder that holds an entry of one of these names is left out.
    pub markers: Vec<Vec<u8>>,
    /// Folders with a `CACHEDIR.TAG` are left out: one whose content begins as it must.
    ///
    /// Source: the Cache Directory Tagging Specification, <https://bford.info/cachedir/>.
    pub leave_out_caches: bool,
    /// Of a folder that is marked or tagged, the folder itself and its marker stay in.
    pub keep_markers: bool,
    /// Regular files with more bytes are left out.
    pub size_max: Option<u64>,
    /// What carries the no-dump flag (`chattr +d`) is left out, a folder with all below it.
    pub leave_out_no_dump: bool,
    /// A folder on another file system than its root is kept, but not entered.
    pub one_file_system: bool,
    /// A folder in which the kernel shows its own state (`/proc`, `/sys`) is kept, but not entered.
    /// A root is: who names it means it.
    pub leave_out_pseudo: bool,
    /// No folder is entered: the roots themselves are all there is.
    pub roots_only: bool,
    /// Hears what is left out, from any thread and in no order; of a folder that is not entered,
    /// the folder alone.
    pub on_left_out: Option<Listener>,
    /// What no list of rules can say.
    pub filter: Option<Filter>,
}

/// Hears of objects by their paths.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(&TreePath) + Send + Sync>);

impl Listener {
    /// Calls this for each object.
    pub fn new(hear: impl Fn(&TreePath) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hear))
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

/// Decides about paths one by one, beside the [`Rules`]. What either leaves out is left out, a
/// folder with all below it. Roots are judged like all others.
#[derive(Clone)]
pub struct Filter(Arc<Judge>);

type Judge = dyn Fn(&TreePath, bool) -> bool + Send + Sync;

impl Filter {
    /// A filter that asks `admits` about a stored path, and whether it is a folder. It is asked from
    /// several threads, in any order but about a folder before what is in it.
    pub fn new(admits: impl Fn(&TreePath, bool) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(admits))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}

/// A place where a scan begins, and the path that backups store it under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Root {
    /// Stored path of the root; everything below it is stored below that.
    pub(super) path: TreePath,
    /// The folder that stored paths are relative to.
    pub(super) base: PathBuf,
    /// What stands before stored paths to make the paths that rules are about: nothing, or the
    /// base with a slash behind it, without one in front.
    pub(super) rule_prefix: Vec<u8>,
}

impl Root {
    /// Takes one of [`Source::roots`], with [`Source::top`].
    ///
    /// # Errors
    ///
    /// [`BadPath`] when the stored path would have a `..` in it.
    pub(super) fn new(path: &Path, top: Option<&Path>) -> Result<Self, BadPath> {
        let bytes = path.as_os_str().as_bytes();
        let (base, stored) = match bytes.windows(3).position(|part| part == b"/./") {
            Some(at) => bytes.split_at(at + 1),
            None if path.is_absolute() => (b"/".as_slice(), bytes),
            None => (b".".as_slice(), bytes),
        };
        let mut rule_prefix = Vec::new();
        for component in base.split(|&byte| byte == b'/') {
            if !matches!(component, b"" | b".") {
                rule_prefix.extend_from_slice(component);
                rule_prefix.push(b'/');
            }
        }
        Ok(Self {
            path: TreePath::from_local(Path::new(OsStr::from_bytes(stored)))?,
            base: top.map_or_else(|| OsStr::from_bytes(base).into(), Path::to_owned),
            rule_prefix,
        })
    }
}

/// Why an object is not in a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Omission {
    /// A rule says so.
    Rule {
        /// The rule, as it is written.
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
    /// It is no file but a state that the kernel shows.
    Pseudo,
    /// It lies below a root, and the roots alone are asked for.
    BelowRoot,
}

/// Begins the file that tags a cache.
pub(super) const CACHE_TAG_SIGNATURE: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// The name of that file.
pub(super) const CACHE_TAG_NAME: &[u8] = b"CACHEDIR.TAG";

impl Source {
    /// Says that an object is left out.
    pub(super) fn tell_left_out(&self, path: &TreePath) {
        if let Some(Listener(hear)) = &self.on_left_out {
            hear(path);
        }
    }

    /// Whether the filter lets a path in.
    pub(super) fn admits(&self, path: &TreePath, is_folder: bool) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|Filter(admits)| admits(path, is_folder))
    }

    /// The rule that decides about a path, see [`Rules::decide`].
    pub(super) fn decide(
        &self,
        prefix: &[u8],
        path: &TreePath,
        above: Decisive,
        folder: Option<FolderName<'_>>,
    ) -> Decisive {
        if self.rules.as_slice().is_empty() {
            None
        } else if prefix.is_empty() {
            self.rules.decide(path.as_bytes(), above, folder)
        } else {
            let local = [prefix, path.as_bytes()].concat();
            let local = local.strip_suffix(b"/").unwrap_or(&local);
            self.rules.decide(local, above, folder)
        }
    }

    /// Why a rule leaves something out.
    pub(super) fn by_rule(&self, decisive: Decisive) -> Option<Omission> {
        if self.rules.keep(decisive) {
            return None;
        }
        let rule = self.rules.get(decisive)?;
        Some(Omission::Rule {
            rule: rule.to_string(),
            preset: rule.preset,
        })
    }

    /// Whether what the object is leaves it out.
    pub(super) fn by_metadata(
        &self,
        kind: &EntryKind,
        flags: Flags,
        size: u64,
    ) -> Option<Omission> {
        if self.leave_out_no_dump && flags.no_dump {
            return Some(Omission::NoDump);
        }
        let size_max = self.size_max?;
        (*kind == EntryKind::File && size > size_max).then_some(Omission::Size { size, size_max })
    }

    /// What becomes of a folder whose path has been judged.
    ///
    /// `is_pseudo` says whether it lies on a file system that keeps no files, `holds` whether a name
    /// is in it, `is_tag` whether its `CACHEDIR.TAG` is a real one.
    pub(super) fn fate(
        &self,
        folder: &Folder,
        is_pseudo: impl FnOnce() -> bool,
        mut holds: impl FnMut(&[u8]) -> bool,
        is_tag: impl FnOnce() -> bool,
    ) -> Fate {
        if let Some(omission) = self.by_metadata(&EntryKind::Directory, folder.flags, 0) {
            return Fate::LeftOut(omission);
        }
        if self.roots_only {
            return Fate::NotEntered(Omission::BelowRoot);
        }
        if self.one_file_system && folder.device != folder.root_device {
            return Fate::NotEntered(Omission::OtherFileSystem);
        }
        if self.leave_out_pseudo && folder.device != folder.root_device && is_pseudo() {
            return Fate::NotEntered(Omission::Pseudo);
        }
        let mut omission = None;
        if let Some(marker) = self.markers.iter().find(|marker| holds(marker)) {
            omission = Some(Omission::Marker(marker.clone()));
        } else if self.leave_out_caches && holds(CACHE_TAG_NAME) && is_tag() {
            omission = Some(Omission::CacheTag);
        }
        match omission {
            None => Fate::Entered,
            Some(omission) if self.keep_markers => Fate::MarkersOnly(omission),
            Some(omission) => Fate::LeftOut(omission),
        }
    }

    /// Whether a name in a folder of [`Fate::MarkersOnly`] stays in.
    pub(super) fn is_marker(&self, name: &[u8]) -> bool {
        self.markers.iter().any(|marker| marker == name)
            || self.leave_out_caches && name == CACHE_TAG_NAME
    }
}

/// What is known of a folder when its fate is decided.
pub(super) struct Folder {
    pub(super) flags: Flags,
    pub(super) device: u64,
    /// The file system of its root.
    pub(super) root_device: u64,
}

/// What becomes of a folder.
pub(super) enum Fate {
    /// The walk goes on in it.
    Entered,
    /// It stays in, what is in it does not.
    NotEntered(Omission),
    /// It stays in with its markers, what else is in it does not.
    MarkersOnly(Omission),
    /// It is left out with all that is in it.
    LeftOut(Omission),
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
                // Shown as a path is: safe for a terminal.
                match TreePath::new(name) {
                    Ok(name) => write!(f, "the folder holds `{name}`"),
                    Err(_) => f.write_str("the folder holds a marker"),
                }
            }
            Self::CacheTag => f.write_str("the folder is tagged as a cache by CACHEDIR.TAG"),
            Self::Size { size, size_max } => {
                write!(f, "it has {size} bytes, more than {size_max}")
            }
            Self::NoDump => f.write_str("it carries the no-dump flag"),
            Self::OtherFileSystem => f.write_str("it lies on another file system"),
            Self::Pseudo => {
                f.write_str("the kernel shows its own state there, nothing is kept in it")
            }
            Self::BelowRoot => f.write_str("only the sources themselves are asked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_stored_without_what_stands_before_slash_dot_slash() {
        for (path, base, stored, prefix) in [
            ("/home/ada", "/", "home/ada", ""),
            ("/home/ada/./docs", "/home/ada/", "docs", "home/ada/"),
            ("docs/x", ".", "docs/x", ""),
            ("./docs", ".", "docs", ""),
            ("a/./b", "a/", "b", "a/"),
            ("/", "/", "", ""),
            ("/srv/./", "/srv/", "", "srv/"),
        ] {
            let root = Root::new(Path::new(path), None).unwrap();
            assert_eq!(root.base, Path::new(base), "{path}");
            assert_eq!(root.path.as_bytes(), stored.as_bytes(), "{path}");
            assert_eq!(root.rule_prefix, prefix.as_bytes(), "{path}");
        }
        assert_eq!(Root::new(Path::new("/a/../b"), None), Err(BadPath::Climbs));
        assert!(Root::new(Path::new("../a/./b"), None).is_ok());
    }
}
