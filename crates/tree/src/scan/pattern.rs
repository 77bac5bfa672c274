//! Patterns of paths, in the styles that Borg's users know.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

/// A compiled pattern. It is compared with whole paths, as backups store them: relative, no
/// slash in front. What matches a folder matches all that is in it.
///
/// | style | meaning |
/// |---|---|
/// | `pp:home/ada` | this path and what is below it |
/// | `pf:home/ada/x` | exactly this path |
/// | `sh:home/*/.cache` | shell: `*` and `?` stop at a slash, `**/` is any number of folders, `[a-z]`, `[!a-z]` |
/// | `fm:*/.cache` | the same, but `*` and `?` do not stop at a slash |
/// | `re:\.o$` | a regular expression, found anywhere in the path |
/// | `/home/*/x` | without a style, with a slash in front: as `sh:` |
/// | `*.o`, `target` | without either: as `sh:` at any depth |
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Nothing stands there.
    #[error("the pattern is empty")]
    Empty,
    /// A regular expression that is none, or would take too much memory.
    #[error("not a regular expression: {what}")]
    Regex {
        /// What is wrong with it.
        what: String,
    },
}

/// A compiled expression may take so many bytes.
const COMPILED_SIZE_MAX: usize = 1 << 20;

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    ///
    /// [`BadPattern`] says why it is none.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        let expression = match text.split_once(':') {
            Some(("pp", path)) => format!("^{}(?:/|$)", literal(clean(path)?)),
            Some(("pf", path)) => format!("^{}$", literal(clean(path)?)),
            Some(("sh", glob)) => format!("^{}(?:/|$)", shell(clean(glob)?, true)),
            Some(("fm", glob)) => format!("^{}(?:/|$)", shell(clean(glob)?, false)),
            Some(("re", expression)) if !expression.is_empty() => expression.to_owned(),
            Some(("re", _)) => return Err(BadPattern::Empty),
            _ if text.starts_with('/') => format!("^{}(?:/|$)", shell(clean(text)?, true)),
            _ => format!("(?:^|/){}(?:/|$)", shell(clean(text)?, true)),
        };
        let regex = RegexBuilder::new(&expression)
            .unicode(true)
            .dot_matches_new_line(true)
            .size_limit(COMPILED_SIZE_MAX)
            .build()
            .map_err(|error| BadPattern::Regex {
                what: error.to_string(),
            })?;
        Ok(Self {
            text: text.to_owned(),
            regex,
        })
    }

    /// Whether the pattern is about this path.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        self.regex.is_match(path)
    }
}

/// As it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.text)
    }
}

/// Paths are stored without slashes at their ends.
fn clean(path: &str) -> Result<&str, BadPattern> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Err(BadPattern::Empty);
    }
    Ok(path)
}

fn literal(text: &str) -> String {
    regex::escape(text)
}

/// Turns a shell pattern into a regular expression.
///
/// Any byte may stand in a name, also such that are no UTF-8: so the wild cards are about bytes.
fn shell(glob: &str, stop_at_slash: bool) -> String {
    let any = if stop_at_slash {
        "(?-u:[^/])"
    } else {
        "(?-u:.)"
    };
    let mut out = String::new();
    let mut rest = glob;
    let mut at_component = true;
    while let Some(character) = rest.chars().next() {
        if stop_at_slash
            && at_component
            && let Some(after) = rest.strip_prefix("**/")
        {
            out.push_str("(?:(?-u:.)*/)?");
            rest = after;
            continue;
        }
        at_component = character == '/';
        let after = rest.get(character.len_utf8()..).unwrap_or_default();
        rest = match character {
            '*' => {
                let after_all = after.trim_start_matches('*');
                // Two stars that are a whole component pass through folders as well.
                let through =
                    stop_at_slash && after_all.len() < after.len() && after_all.is_empty();
                out.push_str(if through { "(?-u:.)*" } else { any });
                if !through {
                    out.push('*');
                }
                after_all
            }
            '?' => {
                out.push_str(any);
                after
            }
            '[' => match set(after) {
                Some((expression, after)) => {
                    out.push_str(&expression);
                    after
                }
                None => {
                    out.push_str("\\[");
                    after
                }
            },
            other => {
                out.push_str(&literal(other.encode_utf8(&mut [0; 4])));
                after
            }
        };
    }
    out
}

/// A set of characters, from behind its `[`; `None` when it is never closed.
fn set(text: &str) -> Option<(String, &str)> {
    let (negated, body) = match text.strip_prefix('!') {
        Some(body) => (true, body),
        None => (false, text),
    };
    // A `]` that comes first belongs to the set.
    let first = body.chars().next()?.len_utf8();
    let end = first + body.get(first..)?.find(']')?;
    let (members, after) = (body.get(..end)?, body.get(end + 1..)?);
    let mut expression = String::from(if negated { "[^/" } else { "[" });
    for character in members.chars() {
        if matches!(character, '\\' | '[' | ']' | '^' | '&' | '~') {
            expression.push('\\');
        }
        expression.push(character);
    }
    expression.push(']');
    Some((expression, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths, of those in the second list, that the pattern is about.
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let compiled = Pattern::new(pattern).unwrap();
        for path in matching {
            assert!(compiled.matches(path.as_bytes()), "{pattern} and {path}");
        }
        for path in others {
            assert!(!compiled.matches(path.as_bytes()), "{pattern} and {path}");
        }
    }

    #[test]
    fn prefixes_and_whole_paths() {
        check(
            "pp:/home/a",
            &["home/a", "home/a/b"],
            &["home/ab", "x/home/a"],
        );
        check("pf:home/a", &["home/a"], &["home/a/b", "home/ab"]);
        check("pp:a.b", &["a.b"], &["axb"]);
    }

    #[test]
    fn shell_patterns_stop_at_slashes() {
        check(
            "sh:home/*/.cache",
            &["home/a/.cache", "home/a/.cache/x"],
            &["home/a/b/.cache"],
        );
        check(
            "sh:home/**/x",
            &["home/x", "home/a/x", "home/a/b/x/y"],
            &["home/ax", "homex"],
        );
        check("sh:**/x", &["x", "a/b/x"], &["ax"]);
        check("sh:a/**", &["a/b", "a/b/c"], &["a", "ab"]);
        check("sh:a?c", &["abc"], &["a/c", "ac"]);
        check("sh:[a-c]x[!0-9]", &["axb", "cx_"], &["dxb", "ax1", "ax/"]);
        check("sh:a[b", &["a[b"], &["ab"]);
        check("sh:[]]x", &["]x"], &["x"]);
        check("sh:a**b", &["ab", "axxb"], &["a/b"]);
    }

    #[test]
    fn fnmatch_patterns_do_not() {
        check(
            "fm:*/.cache",
            &["home/a/b/.cache", "a/.cache/x"],
            &[".cache"],
        );
        check("fm:home/*.o", &["home/a/b.o"], &["home/b.c"]);
    }

    #[test]
    fn regular_expressions_are_found_anywhere() {
        check(r"re:\.o$", &["a/b.o"], &["a/b.o/c", "bo"]);
        check("re:^a", &["ab"], &["ba"]);
    }

    #[test]
    fn without_a_style_a_slash_in_front_decides() {
        check("/home/*/x", &["home/a/x", "home/a/x/y"], &["y/home/a/x"]);
        check("*.o", &["b.o", "a/b.o", "a/b.o/c"], &["b.oo", "bo"]);
        check(
            "target",
            &["target", "a/target/b"],
            &["targets", "a/mytarget"],
        );
        check("a/b", &["a/b", "x/a/b"], &["xa/b"]);
    }

    #[test]
    fn any_bytes_may_stand_in_a_name() {
        assert!(Pattern::new("sh:a/*").unwrap().matches(b"a/\xff\n"));
        assert!(Pattern::new("fm:*x").unwrap().matches(b"\xff/\nx"));
        assert!(Pattern::new("ä?").unwrap().matches("ä\u{1}".as_bytes()));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for empty in ["", "/", "sh:", "pp:/", "re:"] {
            assert_eq!(
                Pattern::new(empty).unwrap_err(),
                BadPattern::Empty,
                "{empty}"
            );
        }
        assert!(matches!(
            Pattern::new("re:(").unwrap_err(),
            BadPattern::Regex { .. }
        ));
        assert!(matches!(
            Pattern::new("re:(a{1000}){1000}").unwrap_err(),
            BadPattern::Regex { .. }
        ));
    }
}
