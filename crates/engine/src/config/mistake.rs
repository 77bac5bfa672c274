//! What can be wrong with a configuration: every mistake with its line, its key and a way out.

use std::fmt;
use std::path::PathBuf;

/// One mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line in the file, from 1.
    pub line: usize,
    /// The key as a dotted path: `layer.disk.store`. Empty when the file as a whole is meant.
    pub key: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with one key of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The text is not TOML.
    #[error("not TOML: {message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// No key of that name exists here.
    #[error("unknown key{}", meant(.nearest.as_deref()))]
    UnknownKey {
        /// The known key that comes nearest, when one is near enough to be meant.
        nearest: Option<String>,
    },
    /// A key that cannot be left out is left out.
    #[error("missing")]
    Missing,
    /// The value has another type than the key takes.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// What the key takes, with its article.
        expected: &'static str,
        /// What stands there, with its article.
        found: &'static str,
    },
    /// The value is not one of the words that the key takes.
    #[error("`{value}` is not one of {}{}", list(.allowed), meant(.nearest.as_deref()))]
    UnknownWord {
        /// What stands there.
        value: String,
        /// What may stand there.
        allowed: Vec<String>,
        /// The word that comes nearest, when one is near enough to be meant.
        nearest: Option<String>,
    },
    /// The value cannot be read.
    #[error("`{value}` is not {expected}")]
    BadValue {
        /// What stands there.
        value: String,
        /// What the key takes, with its article and an example.
        expected: &'static str,
    },
    /// A secret stands in the file itself.
    #[error(
        "a secret does not belong into this file; say where it is kept: {{ keyring = … }}, {{ command = … }}, {{ file = … }}, {{ env = … }} or {{ credential = … }}"
    )]
    PlainSecret,
    /// A table that takes exactly one of several keys has none or more than one.
    #[error("needs exactly one of {}", list(.allowed))]
    NotExactlyOne {
        /// The keys it takes.
        allowed: Vec<String>,
    },
    /// A list or string that must hold something is empty.
    #[error("must not be empty")]
    Empty,
    /// A key that belongs to another kind of layer.
    #[error("belongs to layers of kind `{kind}`")]
    OtherKind {
        /// The kind that knows the key.
        kind: &'static str,
    },
    /// A path that depends on where the program was started.
    #[error("`{path}` is relative: start it with `/` or `~`")]
    RelativePath {
        /// What stands there.
        path: String,
    },
    /// An exclude rule that cannot be used.
    #[error("not a rule: {message}")]
    BadRule {
        /// What is wrong with it.
        message: String,
    },
    /// A store that is written in no form that is known.
    #[error("not a store: {what}")]
    BadStore {
        /// What is wrong with it. Never holds the text itself: it may have a password in it.
        what: String,
    },
    /// The same name twice.
    #[error("the name is used twice")]
    Twice,
}

/// All mistakes of one configuration file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes {
    /// Which file.
    pub file: PathBuf,
    /// What is wrong with it; never empty.
    pub list: Vec<Mistake>,
}

impl std::error::Error for Mistakes {}

/// One line a mistake, each led by file and line so that editors find it.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.list.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in the configuration")?;
        for mistake in &self.list {
            write!(f, "\n{}:{mistake}", self.file.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        self.fault.fmt(f)
    }
}

fn meant(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |word| format!("; did you mean `{word}`?"))
}

fn list(words: &[String]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// The word of `known` that `typed` most likely means: the one with the fewest edits, if a third
/// of its letters stay right.
pub(crate) fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|word| (edits(typed, word), word))
        .filter(|&(edits, word)| edits <= (word.chars().count() / 3).max(1))
        .min()
        .map(|(_, word)| word.to_owned())
}

/// How many letters have to be added, dropped, changed or swapped with their neighbour
/// (optimal string alignment).
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(64).collect();
    let to: Vec<char> = to.chars().collect();
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let mut least = (last[column] + usize::from(letter != other))
                .min(last[column + 1] + 1)
                .min(current[column] + 1);
            if row > 0 && column > 0 && *letter == to[column - 1] && from[row - 1] == *other {
                least = least.min(before_last[column - 1] + 1);
            }
            current.push(least);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood_and_a_foreign_word_is_not() {
        let known = ["paths", "presets", "exclude", "one-file-system"];
        assert_eq!(nearest("path", known).as_deref(), Some("paths"));
        assert_eq!(nearest("exlcude", known).as_deref(), Some("exclude"));
        assert_eq!(
            nearest("one_file_system", known).as_deref(),
            Some("one-file-system")
        );
        assert_eq!(nearest("frequency", known), None);
    }
}
