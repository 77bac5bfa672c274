//! Paths as the file system has them: bytes.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path inside a backup: components joined by `/`, relative, any bytes but `/` and NUL.
///
/// It never starts or ends with `/` and never has an empty, `.` or `..` component, so joining
/// it to a target can only lead below that target (symbolic links apart: the [`Restorer`] does
/// not follow them). The empty path is the root itself.
///
/// Ordered by components, each compared bytewise: `ord/x` comes before `ord!`.
///
/// [`Restorer`]: crate::Restorer
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Box<[u8]>);

/// Why bytes are not a [`TreePath`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// A component is `..`.
    #[error("the path climbs out of its folder with `..`")]
    Climbs,
    /// A path must not start with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// A NUL byte cannot be part of a name.
    #[error("the path holds a NUL byte")]
    Nul,
}

impl TreePath {
    /// The root of a tree.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Takes a path from an archive, strictly: nothing absolute, nothing that climbs.
    ///
    /// Doubled slashes, `.` components and a trailing slash are dropped.
    ///
    /// # Errors
    ///
    /// [`BadPath`] says what is wrong; nothing of such a path may be used.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, BadPath> {
        let bytes = bytes.as_ref();
        if bytes.starts_with(b"/") {
            return Err(BadPath::Absolute);
        }
        Self::from_components(bytes)
    }

    /// Takes a path of this machine: a leading `/` is dropped, as backup formats store it.
    ///
    /// # Errors
    ///
    /// [`BadPath`] when a component is `..` or a NUL byte stands in it.
    pub fn from_local(path: &Path) -> Result<Self, BadPath> {
        Self::from_components(path.as_os_str().as_bytes())
    }

    fn from_components(bytes: &[u8]) -> Result<Self, BadPath> {
        if bytes.contains(&0) {
            return Err(BadPath::Nul);
        }
        let mut clean = Vec::with_capacity(bytes.len());
        for component in bytes.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return Err(BadPath::Climbs),
                name => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(name);
                }
            }
        }
        Ok(Self(clean.into()))
    }

    /// The path one level down.
    ///
    /// # Panics
    ///
    /// When `name` is not one component: names come from a directory listing.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        assert!(
            !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0),
            "a name from a directory listing is one component"
        );
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes.into())
    }

    /// The bytes, without a leading or trailing slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as a path of this machine, still relative.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Whether this is the root of the tree.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The last component; `None` for the root.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The path one level up; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0.get(..end).unwrap_or_default().into()))
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// Whether this path is `ancestor` or lies below it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        match self.0.strip_prefix(&*ancestor.0) {
            Some(rest) => rest.is_empty() || ancestor.is_root() || rest.starts_with(b"/"),
            None => false,
        }
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Component by component: where the paths part, the end of a component comes first.
        let (one, two) = (self.as_bytes(), other.as_bytes());
        let same = common_length(one, two);
        let rank = |byte: Option<&u8>| match byte {
            None => 0,
            Some(b'/') => 1,
            Some(&byte) => 2 + u16::from(byte),
        };
        rank(one.get(same)).cmp(&rank(two.get(same)))
    }
}

/// How many bytes both begin with.
fn common_length(one: &[u8], two: &[u8]) -> usize {
    const WORD: usize = size_of::<u64>();
    let words = one.chunks_exact(WORD).zip(two.chunks_exact(WORD));
    let same = WORD * words.take_while(|(one, two)| one == two).count();
    let rests = one.get(same..).unwrap_or_default();
    let rests = rests.iter().zip(two.get(same..).unwrap_or_default());
    same + rests.take_while(|(one, two)| one == two).count()
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Shown with control characters and invalid UTF-8 escaped: safe for a terminal and a log.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || is_direction_mark(character) {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

/// Marks that turn the reading direction of what follows: a name could pose as another.
fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(bytes: &[u8]) -> TreePath {
        TreePath::new(bytes).unwrap()
    }

    #[test]
    fn what_leads_out_of_the_tree_is_refused() {
        assert_eq!(TreePath::new("/etc"), Err(BadPath::Absolute));
        assert_eq!(TreePath::new("a/../../b"), Err(BadPath::Climbs));
        assert_eq!(TreePath::new(b"a\0b"), Err(BadPath::Nul));
        assert_eq!(path(b"a//./b/").as_bytes(), b"a/b");
    }

    #[test]
    fn order_is_by_component() {
        assert!(path(b"ord/x") < path(b"ord!"));
        assert!(path(b"") < path(b"a"));
        let names: [&[u8]; 8] = [
            b"a",
            b"a!",
            b"a0",
            b"b",
            b"\xff",
            b"\x01",
            b"longer-name",
            b"longer-namf",
        ];
        let pairs = names.iter().flat_map(|one| names.map(|two| [*one, two]));
        let mut paths: Vec<TreePath> = pairs
            .flat_map(|[one, two]| [one.to_vec(), [one, b"/", two].concat()])
            .map(|bytes| path(&bytes))
            .collect();
        paths.push(TreePath::root());
        for one in &paths {
            for two in &paths {
                let by_component = one.components().cmp(two.components());
                assert_eq!(one.cmp(two), by_component, "{one} and {two}");
            }
        }
    }

    #[test]
    fn an_ancestor_is_a_whole_component() {
        assert!(path(b"a/b").starts_with(&path(b"a")));
        assert!(!path(b"ab").starts_with(&path(b"a")));
        assert!(path(b"ab").starts_with(&TreePath::root()));
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(path(b"a/b").parent(), Some(path(b"a")));
        assert_eq!(path(b"a").parent(), Some(TreePath::root()));
        assert_eq!(TreePath::root().parent(), None);
        assert_eq!(path(b"a/b").name(), Some(b"b".as_slice()));
    }

    #[test]
    fn a_name_cannot_fool_a_terminal() {
        assert_eq!(path(b"a\x1b[2J\n\xff").to_string(), "a\\u{1b}[2J\\n\\xff");
        assert_eq!(path("x\u{202e}gpj".as_bytes()).to_string(), "x\\u{202e}gpj");
    }
}
