//! Duplicity's shell patterns as regular expressions over bytes.
//!
//! `*` does not cross a `/`, `**` does, `?` is one character, `[…]` one of a set; nothing can be
//! escaped. A pattern matches all below what it matches; one that ends with `/` matches folders
//! only. Source: duplicity's manual, FILE SELECTION.

use regex::bytes::{Regex, RegexBuilder};

/// One pattern.
#[derive(Debug)]
pub(crate) struct Glob {
    whole: Regex,
    /// Matches what is meant itself, but not what is below, for patterns that end with `/`.
    itself: Option<Regex>,
    /// Matches the folders that lead to what is meant.
    way: Regex,
}

/// What a pattern says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    /// It is meant, or lies in what is meant.
    Yes,
    /// It leads to what may be meant.
    OnTheWay,
    No,
}

/// Why a pattern is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BadGlob {
    Slashes,
    Expression(String),
}

impl Glob {
    pub(crate) fn new(text: &[u8], ignore_case: bool) -> Result<Self, BadGlob> {
        let mut pattern = if text == b"/" { b"/**" } else { text };
        let folders_only = pattern.len() > 1 && pattern.ends_with(b"/");
        if folders_only {
            pattern = pattern.strip_suffix(b"/").unwrap_or(pattern);
        }
        let parts: Vec<&[u8]> = pattern.split(|&byte| byte == b'/').collect();
        let inner = parts.get(1..parts.len().saturating_sub(1));
        if inner.is_some_and(|inner| inner.iter().any(|part| part.is_empty())) {
            return Err(BadGlob::Slashes);
        }
        let whole = expression(pattern);
        let itself = folders_only
            .then(|| compile(&format!("^{whole}$"), ignore_case))
            .transpose()?;
        // Behind a `**` anything may lead to what is meant.
        let double = pattern.windows(2).position(|pair| pair == b"**");
        let cut = double.map_or(pattern, |at| pattern.get(..at + 2).unwrap_or(pattern));
        let ends = cut
            .iter()
            .enumerate()
            .filter(|&(_, &byte)| byte == b'/')
            .map(|(at, _)| at)
            .chain([cut.len()]);
        let ways: Vec<String> = ends
            .map(|end| match cut.get(..end).unwrap_or_default() {
                b"" => "/".to_owned(),
                prefix => expression(prefix),
            })
            .collect();
        Ok(Self {
            whole: compile(&format!("^{whole}($|/)"), ignore_case)?,
            itself,
            way: compile(&format!("^({})$", ways.join("|")), ignore_case)?,
        })
    }

    /// What it says of a path, which has no slash at its end unless it is the root.
    pub(crate) fn of(&self, path: &[u8], is_folder: bool) -> Match {
        if self.whole.is_match(path) {
            let itself = self.itself.as_ref();
            let is_itself = itself.is_some_and(|itself| itself.is_match(path));
            return if is_itself && !is_folder {
                Match::No
            } else {
                Match::Yes
            };
        }
        if self.way.is_match(path) {
            Match::OnTheWay
        } else {
            Match::No
        }
    }
}

/// Compiles an expression; `.` matches any byte or character, a line end, too.
pub(crate) fn compile(expression: &str, ignore_case: bool) -> Result<Regex, BadGlob> {
    RegexBuilder::new(expression)
        .case_insensitive(ignore_case)
        .dot_matches_new_line(true)
        .build()
        .map_err(|error| BadGlob::Expression(error.to_string()))
}

/// One character of a name that is UTF-8, or one byte of one that is not.
const ANY_BUT_SLASH: &str = r"(?:[^/]|(?-u:[\x80-\xff]))";

fn expression(pattern: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((&first, behind)) = rest.split_first() {
        match first {
            b'*' if behind.first() == Some(&b'*') => {
                out.push_str(r"(?s-u:.)*");
                rest = behind.get(1..).unwrap_or_default();
            }
            b'*' => {
                out.push_str(r"(?-u:[^/])*");
                rest = behind;
            }
            b'?' => {
                out.push_str(ANY_BUT_SLASH);
                rest = behind;
            }
            b'[' => match set_end(behind) {
                Some(end) => {
                    let (inside, after) = behind.split_at(end);
                    out.push_str(&set(inside));
                    rest = after.get(1..).unwrap_or_default();
                }
                None => {
                    out.push_str(r"\[");
                    rest = behind;
                }
            },
            _ => {
                let plain = rest
                    .iter()
                    .position(|byte| matches!(byte, b'*' | b'?' | b'['))
                    .unwrap_or(rest.len());
                let (text, after) = rest.split_at(plain);
                out.push_str(&literal(text));
                rest = after;
            }
        }
    }
    out
}

/// Bytes that stand for themselves.
pub(crate) fn literal(text: &[u8]) -> String {
    let mut out = String::new();
    for chunk in text.utf8_chunks() {
        out.push_str(&regex::escape(chunk.valid()));
        for byte in chunk.invalid() {
            out.push_str(&format!(r"(?-u:\x{byte:02x})"));
        }
    }
    out
}

/// Where the set ends that begins here: a `]` in the first place is one of the set.
fn set_end(text: &[u8]) -> Option<usize> {
    let negated = usize::from(matches!(text.first(), Some(b'!' | b'^')));
    let start = negated + usize::from(text.get(negated) == Some(&b']'));
    let end = text.get(start..)?.iter().position(|&byte| byte == b']')?;
    Some(start + end)
}

fn set(inside: &[u8]) -> String {
    let text = String::from_utf8_lossy(inside);
    let mut characters = text.chars().peekable();
    let mut out = String::from("[");
    if characters
        .next_if(|&first| matches!(first, '!' | '^'))
        .is_some()
    {
        out.push('^');
    }
    let mut is_first = true;
    while let Some(character) = characters.next() {
        // A dash between two is a range, elsewhere it stands for itself.
        if character == '-' && !is_first && characters.peek().is_some() {
            out.push('-');
        } else if character.is_ascii_punctuation() {
            out.push('\\');
            out.push(character);
        } else {
            out.push(character);
        }
        is_first = false;
    }
    out.push(']');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(pattern: &str, path: &str) -> Match {
        Glob::new(pattern.as_bytes(), false)
            .unwrap()
            .of(path.as_bytes(), true)
    }

    #[test]
    fn a_pattern_matches_what_it_names_and_all_below() {
        for (pattern, path, expected) in [
            ("/home/ada", "/home/ada", Match::Yes),
            ("/home/ada", "/home/ada/x/y", Match::Yes),
            ("/home/ada", "/home/adam", Match::No),
            ("/home/ada", "/home", Match::OnTheWay),
            ("/home/ada", "/", Match::OnTheWay),
            ("/home/*/x", "/home/ada/x", Match::Yes),
            ("/home/*/x", "/home/ada/b/x", Match::No),
            ("/home/*/x", "/home/ada", Match::OnTheWay),
            ("**/x", "/home/ada/b/x", Match::Yes),
            ("**.py", "/a/b.py", Match::Yes),
            ("**.py", "/a", Match::OnTheWay),
            ("/a?c", "/aéc", Match::Yes),
            ("/a?c", "/a/c", Match::No),
            ("/[ab]x", "/bx", Match::Yes),
            ("/[!ab]x", "/bx", Match::No),
            ("/[a-c]x", "/bx", Match::Yes),
            ("/[]]x", "/]x", Match::Yes),
            ("/[.]x", "/ax", Match::No),
            ("/a[b", "/a[b", Match::Yes),
            ("/", "/any/thing", Match::Yes),
            ("/a.b", "/axb", Match::No),
        ] {
            assert_eq!(says(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_slash_at_the_end_means_folders() {
        let glob = Glob::new(b"/a/", false).unwrap();
        assert_eq!(glob.of(b"/a", true), Match::Yes);
        assert_eq!(glob.of(b"/a", false), Match::No);
        assert_eq!(glob.of(b"/a/b", false), Match::Yes);
    }

    #[test]
    fn names_that_are_not_utf8_match() {
        let glob = Glob::new(b"/a\xff/*/?", false).unwrap();
        assert_eq!(glob.of(b"/a\xff/\xfe\xfd/\xfc", false), Match::Yes);
    }

    #[test]
    fn case_can_be_ignored_and_empty_parts_are_refused() {
        let glob = Glob::new("/ÄB".as_bytes(), true).unwrap();
        assert_eq!(glob.of("/äb".as_bytes(), false), Match::Yes);
        assert_eq!(Glob::new(b"/a//b", false).unwrap_err(), BadGlob::Slashes);
    }
}
