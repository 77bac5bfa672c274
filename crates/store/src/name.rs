//! Names of objects: checked once, before anything uses them as a path or a key.
//!
//! A name comes from our own formats, from a person, or from a listing that a server sent. All
//! three pass here, so that no store can be led out of its folder by `..`, by a backslash, or by
//! a line end inside a header.

use std::fmt;

/// Longest name in bytes. Source: B2 and S3 allow 1024 bytes for a key with its prefix; half is
/// left for the prefix.
const LENGTH_MAX: usize = 768;

/// Longest component in bytes. Source: `NAME_MAX` of Linux file systems; Dropbox has the same.
const COMPONENT_MAX: usize = 255;

/// The name of one object in a store: components joined by `/`, relative, UTF-8.
///
/// No component is empty, `.` or `..`, and none holds a control character or a backslash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// A folder of a store, the root included. Folders need not be created: writing does it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Folder(Box<str>);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Empty, or with an empty component: a slash at an end or two in a row.
    #[error("a component of the name is empty")]
    Empty,
    /// A component is `.` or `..`.
    #[error("the name climbs with `.` or `..`")]
    Climbs,
    /// A control character or a backslash.
    #[error("the name holds a control character or a backslash")]
    Character,
    /// More than 768 bytes, or a component of more than 255.
    #[error("the name is too long")]
    TooLong,
    /// Not UTF-8.
    #[error("the name is not UTF-8")]
    NotUtf8,
}

impl Name {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`BadName`] says what is wrong; nothing of such a name may be used.
    pub fn new(text: impl AsRef<str>) -> Result<Self, BadName> {
        let text = text.as_ref();
        check(text)?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last component.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folder it lies in.
    #[must_use]
    pub fn folder(&self) -> Folder {
        Folder(
            self.0
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder)
                .into(),
        )
    }
}

impl Folder {
    /// The folder that holds everything.
    #[must_use]
    pub fn root() -> Self {
        Self::default()
    }

    /// Checks the name of a folder; the empty text is the root.
    ///
    /// # Errors
    ///
    /// [`BadName`] as for a [`Name`].
    pub fn new(text: impl AsRef<str>) -> Result<Self, BadName> {
        let text = text.as_ref();
        if !text.is_empty() {
            check(text)?;
        }
        Ok(Self(text.into()))
    }

    /// The folder as text, without a slash at its ends; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of something in this folder.
    ///
    /// # Errors
    ///
    /// [`BadName`] when `rest` is no name, or the whole is too long.
    pub fn join(&self, rest: &str) -> Result<Name, BadName> {
        if self.is_root() {
            Name::new(rest)
        } else {
            Name::new(format!("{}/{rest}", self.0))
        }
    }

    /// What every name below this folder starts with: the folder and a slash, empty for the root.
    #[must_use]
    pub fn prefix(&self) -> String {
        if self.is_root() {
            String::new()
        } else {
            format!("{}/", self.0)
        }
    }

    /// Whether `name` lies in this folder; with `deep`, also further below.
    #[must_use]
    pub fn holds(&self, name: &Name, deep: bool) -> bool {
        name.as_str()
            .strip_prefix(&self.prefix())
            .is_some_and(|rest| deep || !rest.contains('/'))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "/" } else { &self.0 })
    }
}

fn check(text: &str) -> Result<(), BadName> {
    if text.len() > LENGTH_MAX {
        return Err(BadName::TooLong);
    }
    for component in text.split('/') {
        match component {
            "" => return Err(BadName::Empty),
            "." | ".." => return Err(BadName::Climbs),
            _ if component.len() > COMPONENT_MAX => return Err(BadName::TooLong),
            _ if component.contains(|c: char| c.is_control() || c == '\\') => {
                return Err(BadName::Character);
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for (text, why) in [
            ("", BadName::Empty),
            ("/etc/passwd", BadName::Empty),
            ("a//b", BadName::Empty),
            ("a/", BadName::Empty),
            ("..", BadName::Climbs),
            ("a/../b", BadName::Climbs),
            ("a/./b", BadName::Climbs),
            ("a\\..\\b", BadName::Character),
            ("a\r\nHost: b", BadName::Character),
            ("a\0b", BadName::Character),
        ] {
            assert_eq!(Name::new(text), Err(why), "{text:?}");
        }
        assert_eq!(Name::new("x".repeat(256)), Err(BadName::TooLong));
        assert_eq!(Name::new(vec!["x"; 500].join("/")), Err(BadName::TooLong));
    }

    #[test]
    fn a_folder_holds_what_lies_below_its_slash() {
        let folder = Folder::new("data/1").unwrap();
        let check = |name: &str, deep| folder.holds(&Name::new(name).unwrap(), deep);
        assert!(check("data/1/x", false));
        assert!(check("data/1/x/y", true));
        assert!(!check("data/1/x/y", false));
        assert!(!check("data/10", true));
        assert!(Folder::root().holds(&Name::new("x").unwrap(), false));
    }

    #[test]
    fn names_and_folders_fit_together() {
        let name = Name::new("data/1/ü x").unwrap();
        assert_eq!(name.file_name(), "ü x");
        assert_eq!(name.folder().join(name.file_name()), Ok(name));
        assert_eq!(Name::new("x").unwrap().folder(), Folder::root());
    }
}
