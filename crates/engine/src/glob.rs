//! Names as people look for them.

use tree::TreePath;

/// What a person types into a search.
///
/// Without a wildcard it is part of a name: `report` finds `report.odt` and `old-reports`, in
/// either case of letters. With `*`, `?` or `[…]` it describes a whole name, or, when it holds a
/// `/`, a whole path, where `*` stays within one name and `**` crosses folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    pattern: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Part,
    PathPart,
    Name,
    Path,
}

impl Glob {
    /// Takes what was typed.
    #[must_use]
    pub fn new(typed: &[u8]) -> Self {
        let typed = typed.strip_prefix(b"/").unwrap_or(typed);
        let has_wildcard = typed.iter().any(|byte| b"*?[".contains(byte));
        let kind = match (has_wildcard, typed.contains(&b'/')) {
            (false, false) => Kind::Part,
            (false, true) => Kind::PathPart,
            (true, false) => Kind::Name,
            (true, true) => Kind::Path,
        };
        let pattern = match kind {
            Kind::Part | Kind::PathPart => typed.to_ascii_lowercase(),
            Kind::Name | Kind::Path => typed.to_owned(),
        };
        Self { pattern, kind }
    }

    /// Whether a path is what was looked for.
    #[must_use]
    pub fn matches(&self, path: &TreePath) -> bool {
        let name = path.name().unwrap_or_default();
        match self.kind {
            Kind::Part => contains(&name.to_ascii_lowercase(), &self.pattern),
            Kind::PathPart => contains(&path.as_bytes().to_ascii_lowercase(), &self.pattern),
            Kind::Name => wildcard(&self.pattern, name),
            Kind::Path => wildcard(&self.pattern, path.as_bytes()),
        }
    }

    /// What was typed; in small letters where it is a part of a name.
    pub(crate) fn typed(&self) -> &[u8] {
        &self.pattern
    }

    /// Whether it is about the last name of a path alone.
    pub(crate) fn is_of_name(&self) -> bool {
        matches!(self.kind, Kind::Part | Kind::Name)
    }

    /// What every match has in one of its names, in either case of letters.
    pub(crate) fn anchor(&self) -> Anchor<'_> {
        let runs = self.runs();
        let longest = |of: &[Run]| -> Option<Run> {
            let mut longest: Option<Run> = None;
            for run in of {
                if longest.is_none_or(|known| run.length() > known.length()) {
                    longest = Some(*run);
                }
            }
            longest
        };
        let last: Vec<Run> = runs.iter().copied().filter(|run| run.is_last).collect();
        // Below three bytes an index of trigrams is of little use: a longer run further up is better.
        let chosen = longest(&last)
            .filter(|run| self.is_of_name() || run.length() >= 3)
            .or_else(|| longest(&runs));
        let literal = chosen.and_then(|run| self.pattern.get(run.begin..run.end));
        Anchor {
            literal: literal.unwrap_or_default(),
            is_in_name: match self.kind {
                Kind::Part | Kind::Name => true,
                Kind::PathPart => false,
                Kind::Path => chosen.is_some_and(|run| run.is_last),
            },
        }
    }

    /// How many names the paths of all matches have; `None` where they may have any number.
    pub(crate) fn depth(&self) -> Option<usize> {
        let is_bounded =
            self.kind == Kind::Path && !self.pattern.windows(2).any(|two| two == b"**");
        is_bounded.then(|| 1 + self.pattern.iter().filter(|&&byte| byte == b'/').count())
    }

    /// The pieces that every match has as they are.
    fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut begin, mut at) = (0, 0);
        let has_wildcards = matches!(self.kind, Kind::Name | Kind::Path);
        loop {
            let rest = self.pattern.get(at..).unwrap_or_default();
            let length = match rest.first() {
                None => 0,
                Some(b'/') => 1,
                Some(b'*' | b'?') if has_wildcards => 1,
                Some(b'[') if has_wildcards => set_length(rest),
                Some(_) => {
                    at += 1;
                    continue;
                }
            };
            if begin < at {
                let (end, is_last) = (at, true);
                runs.push(Run {
                    begin,
                    end,
                    is_last,
                });
            }
            if rest.starts_with(b"/") || has_wildcards && rest.starts_with(b"**") {
                // What stands before it may be in a folder above.
                runs.iter_mut().for_each(|run| run.is_last = false);
            }
            if length == 0 {
                return runs;
            }
            at += length;
            begin = at;
        }
    }
}

/// What every match has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor<'a> {
    /// A run of bytes of one name.
    pub(crate) literal: &'a [u8],
    /// Whether that is the last name of the path; it may be that of a folder above otherwise.
    pub(crate) is_in_name: bool,
}

/// A piece of a pattern that stands for itself.
#[derive(Debug, Clone, Copy)]
struct Run {
    begin: usize,
    end: usize,
    /// Whether it stands in the last name of every match, unless the pattern is a part of a path.
    is_last: bool,
}

impl Run {
    fn length(&self) -> usize {
        self.end - self.begin
    }
}

/// The length of a set at the beginning of a pattern; of one that has no end, all of it.
fn set_length(pattern: &[u8]) -> usize {
    let inside = pattern.get(1..).unwrap_or_default();
    let negated = usize::from(inside.starts_with(b"!"));
    let inside = inside.get(negated..).unwrap_or_default();
    let end = inside.iter().skip(1).position(|&byte| byte == b']');
    end.map_or(pattern.len(), |end| 1 + negated + end + 2)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    part.is_empty() || bytes.windows(part.len()).any(|window| window == part)
}

/// Matches with one point to come back to, the last `*` or `**`: time grows with the product of
/// both lengths at worst.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    let mut double_star: Option<(usize, usize)> = None;
    loop {
        let rest = pattern.get(at..).unwrap_or_default();
        if rest.starts_with(b"**") {
            // `**/` also stands for no folder at all.
            at += 2;
            if pattern.get(at) == Some(&b'/') {
                at += 1;
            }
            double_star = Some((at, position));
            star = None;
            continue;
        }
        if rest.starts_with(b"*") {
            at += 1;
            star = Some((at, position));
            continue;
        }
        let next = text.get(position).copied();
        match (one(rest, next), next) {
            (_, None) if rest.is_empty() => return true,
            (Some(length), Some(_)) => {
                at += length;
                position += 1;
                continue;
            }
            _ => {}
        }
        // No match here: let the nearest star take one more byte.
        if let Some((after, begin)) = star
            && text.get(begin).is_some_and(|&byte| byte != b'/')
        {
            star = Some((after, begin + 1));
            (at, position) = (after, begin + 1);
            continue;
        }
        match double_star {
            Some((after, begin)) if begin < text.len() => {
                double_star = Some((after, begin + 1));
                star = None;
                (at, position) = (after, begin + 1);
            }
            _ => return false,
        }
    }
}

/// The length of what stands first in the pattern, if it matches one byte.
fn one(pattern: &[u8], byte: Option<u8>) -> Option<usize> {
    let byte = byte?;
    match pattern.first()? {
        b'?' => (byte != b'/').then_some(1),
        b'[' => {
            let inside = pattern.get(1..)?;
            let (negated, inside) = match inside.strip_prefix(b"!") {
                Some(rest) => (true, rest),
                None => (false, inside),
            };
            // A `]` that comes first is one of the set.
            let end = inside.iter().skip(1).position(|&byte| byte == b']')? + 1;
            let set = inside.get(..end)?;
            let matched = in_set(set, byte) != negated && byte != b'/';
            matched.then_some(1 + usize::from(negated) + end + 1)
        }
        &literal => (literal == byte).then_some(1),
    }
}

fn in_set(mut set: &[u8], byte: u8) -> bool {
    while let Some((&first, rest)) = set.split_first() {
        if let [b'-', last, after @ ..] = rest {
            if (first..=*last).contains(&byte) {
                return true;
            }
            set = after;
        } else {
            if first == byte {
                return true;
            }
            set = rest;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(typed: &str, path: &str) -> bool {
        Glob::new(typed.as_bytes()).matches(&TreePath::new(path).unwrap())
    }

    #[test]
    fn every_match_has_the_literal_in_a_name() {
        let literal = |typed: &str| {
            let glob = Glob::new(typed.as_bytes());
            String::from_utf8(glob.anchor().literal.to_owned()).unwrap()
        };
        for (typed, expected) in [
            ("Report", "report"),
            ("a/letters/b", "letters"),
            ("some/where/pic", "pic"),
            ("*.tar.gz", ".tar.gz"),
            ("re[pq]ort?x", "ort"),
            ("[!abc]defg", "defg"),
            ("[]x]yz*", "yz"),
            ("**/work/**/*.rs", ".rs"),
            ("**/work/**/*.c", "work"),
            ("a/bcd**", "bcd"),
            ("*", ""),
            ("a[bcd", "a"),
        ] {
            assert_eq!(literal(typed), expected, "{typed}");
        }
    }

    #[test]
    fn a_match_has_the_literal_in_its_last_name_only_where_nothing_can_come_between() {
        for (typed, is_in_name, depth) in [
            ("report", true, None),
            ("*.odt", true, None),
            ("home/report", false, None),
            ("home/*/*.odt", true, Some(3)),
            ("home/ada/*", false, Some(3)),
            ("home/**/*.odt", true, None),
            ("home/**.odt", true, None),
            ("home/report**", false, None),
        ] {
            let glob = Glob::new(typed.as_bytes());
            assert_eq!(glob.anchor().is_in_name, is_in_name, "{typed}");
            assert_eq!(glob.depth(), depth, "{typed}");
        }
    }

    #[test]
    fn a_word_is_part_of_a_name() {
        assert!(matches("report", "home/ada/Old-Reports.odt"));
        assert!(!matches("ada", "home/ada/report.odt"));
        assert!(matches("/home/ADA", "home/ada/report.odt"));
    }

    #[test]
    fn wildcards_describe_whole_names_or_paths() {
        for (typed, path, expected) in [
            ("*.odt", "home/ada/report.odt", true),
            ("*.od", "home/ada/report.odt", false),
            ("report.???", "x/report.odt", true),
            ("report.[a-o]d[!x]", "x/report.odt", true),
            ("report.[!o]*", "x/report.odt", false),
            ("[]]", "]", true),
            ("home/*/report.odt", "home/ada/report.odt", true),
            ("home/*.odt", "home/ada/report.odt", false),
            ("home/**/report.odt", "home/report.odt", true),
            ("home/**/*.odt", "home/a/b/c.odt", true),
            ("**/c.odt", "home/a/b/c.odt", true),
            ("home/**", "home/a/b", true),
            ("home/*a*b*/x", "home/zazbz/x", true),
            ("home/*a*b*/x", "home/za/zbz/x", false),
            ("**/a*/x", "a1/a2/a3/x", true),
        ] {
            assert_eq!(matches(typed, path), expected, "{typed} {path}");
        }
    }

    #[test]
    fn a_hard_pattern_takes_no_exponential_time() {
        let pattern = "a*".repeat(30) + "b";
        assert!(!matches(&pattern, &"a".repeat(255)));
    }
}
