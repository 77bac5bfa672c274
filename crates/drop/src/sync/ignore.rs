//! What is not synchronised: rules of the person, and what no person means.

use store::Name;
use tree::{Rule, RuleAction};

use crate::Error;

/// The file in the folder that holds the person's rules, one a line, as in excludes of a source.
pub(crate) const IGNORE_FILE: &str = ".ravelinignore";

/// What programs leave behind and nobody wants on another device.
const ALWAYS: [&str; 9] = [
    ".DS_Store",
    "._*",
    "Thumbs.db",
    "desktop.ini",
    "~$*",
    ".~lock.*#",
    "*.swp",
    ".stfolder",
    ".dropbox",
];

/// Rules of what is left out; the first that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

impl Ignore {
    /// Reads rules, one a line: `PATTERN` leaves out, `+ PATTERN` keeps, `#` starts a comment.
    /// What programs leave behind (`.DS_Store`, `Thumbs.db`, lock files of offices and editors) is
    /// left out unless a rule keeps it.
    ///
    /// # Errors
    ///
    /// [`Error::BadPattern`] names the line.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut rules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let rule = line.parse().map_err(|source| Error::BadPattern {
                file: IGNORE_FILE.to_owned(),
                line: number + 1,
                source,
            })?;
            rules.push(rule);
        }
        for pattern in ALWAYS {
            // All of them are patterns: a test says so.
            rules.extend(pattern.parse::<Rule>().ok());
        }
        Ok(Self { rules })
    }

    /// Whether a path is left out.
    #[must_use]
    pub fn is_ignored(&self, path: &str) -> bool {
        let ours = |name: &str| name.starts_with(".ravelin-");
        if path.split('/').any(ours) {
            return true;
        }
        let decisive = self
            .rules
            .iter()
            .find(|rule| rule.pattern.matches(path.as_bytes()));
        decisive.is_some_and(|rule| rule.action != RuleAction::Include)
    }
}

/// The folders that a device has; all, unless some are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    only: Vec<Name>,
}

impl Selection {
    /// Only these folders and files.
    #[must_use]
    pub fn only(names: Vec<Name>) -> Self {
        Self { only: names }
    }

    /// Whether a path is selected.
    #[must_use]
    pub fn holds(&self, path: &str) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|name| {
                path.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// Whether something below a folder may be selected.
    pub(crate) fn reaches(&self, folder: &str) -> bool {
        self.holds(folder)
            || self.only.iter().any(|name| {
                name.as_str()
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_leave_is_ignored_unless_a_rule_keeps_it() {
        let ignore = Ignore::parse("# mine\n+ keep.swp\n/private\n*.iso\n").unwrap();
        assert_eq!(ignore.rules.len(), 3 + ALWAYS.len());
        for path in [
            "a/.DS_Store",
            "x.swp",
            "private/x",
            "b/disk.iso",
            ".ravelin-drop/index/1",
            "a/.ravelin-part-1",
            "~$report.docx",
            ".~lock.report.odt#",
        ] {
            assert!(ignore.is_ignored(path), "{path}");
        }
        for path in ["a/private/x", "keep.swp", "report.odt", "ravelin-drop"] {
            assert!(!ignore.is_ignored(path), "{path}");
        }
        assert!(Ignore::parse("re:(").is_err());
    }

    #[test]
    fn a_selection_holds_what_is_below_its_folders() {
        let selection = Selection::only(vec![Name::new("a/b").unwrap()]);
        assert!(selection.holds("a/b") && selection.holds("a/b/c"));
        assert!(!selection.holds("a/bc") && !selection.holds("a"));
        assert!(selection.reaches("a") && !selection.reaches("c"));
        assert!(Selection::default().holds("x"));
    }
}
