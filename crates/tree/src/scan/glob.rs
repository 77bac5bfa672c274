//! Wild cards turned into regular expressions, as Borg understands them.
//!
//! Names are bytes. So `*` is about bytes, and `?` and `[…]` are about characters, where a byte
//! that is no part of a character counts as one.

use std::iter::Peekable;
use std::str::Chars;

/// What wild cards do at a slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slash {
    /// `*` and `?` stop there, and `**/` stands for any number of folders.
    Stops,
    /// It is a character like others.
    Passes,
}

/// A byte that is no part of a character.
const LONE_BYTE: &str = r"(?-u:[\x80-\xff])";

/// Turns wild cards into a regular expression without anchors.
pub(super) fn translate(glob: &str, slash: Slash) -> String {
    let (many, one) = match slash {
        Slash::Stops => (r"(?-u:[^/])*", r"[^/]"),
        Slash::Passes => (r"(?s-u:.)*", r"(?s:.)"),
    };
    let mut expression = String::with_capacity(glob.len() * 2);
    let mut rest = glob;
    while let Some(character) = rest.chars().next() {
        if slash == Slash::Stops
            && let Some(after) = rest.strip_prefix("**/")
        {
            expression.push_str(r"(?:(?-u:[^/])*/)*");
            rest = after;
            continue;
        }
        let mut after = rest.get(character.len_utf8()..).unwrap_or_default();
        match character {
            '*' => expression.push_str(many),
            '?' => expression.push_str(&format!("(?:{one}|{LONE_BYTE})")),
            '[' => match class(after) {
                Some((class, behind)) => {
                    expression.push_str(&class);
                    after = behind;
                }
                None => expression.push_str(r"\["),
            },
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
        rest = after;
    }
    expression
}

/// Reads what follows a `[` up to its `]`; `None` when there is none: then `[` means itself.
fn class(text: &str) -> Option<(String, &str)> {
    let (negated, members) = match text.strip_prefix('!') {
        Some(members) => (true, members),
        None => (false, text),
    };
    // A bracket that stands first is a member.
    let first = members.chars().next()?.len_utf8();
    let end = first + members.get(first..)?.find(']')?;
    let behind = members.get(end + 1..)?;
    let mut inner = String::new();
    let mut characters = members.get(..end)?.chars().peekable();
    while let Some(low) = characters.next() {
        match range_end(&mut characters) {
            Some(high) if low <= high => inner.push_str(&format!("{}-{}", code(low), code(high))),
            // A range that runs backwards holds nothing.
            Some(_) => {}
            None => inner.push_str(&code(low)),
        }
    }
    let class = match (negated, inner.is_empty()) {
        (false, false) => format!("[{inner}]"),
        (true, false) => format!("(?:[^{inner}]|{LONE_BYTE})"),
        (false, true) => r"[a&&b]".to_owned(),
        (true, true) => format!("(?:(?s:.)|{LONE_BYTE})"),
    };
    Some((class, behind))
}

/// Takes `-x` when that stands next: a `-` at the end means itself.
fn range_end(characters: &mut Peekable<Chars<'_>>) -> Option<char> {
    let mut ahead = characters.clone();
    if ahead.next()? != '-' {
        return None;
    }
    let high = ahead.next()?;
    *characters = ahead;
    Some(high)
}

/// A character by its number: nothing in a class needs escaping then.
fn code(character: char) -> String {
    format!(r"\u{{{:x}}}", u32::from(character))
}
