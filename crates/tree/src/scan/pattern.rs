//! Patterns of paths, in the styles that Borg's users know.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};

use super::glob::{Slash, translate};

/// A pattern of paths. It is compared with the whole path on this machine, without the slash in
/// front: `home/ada/x`.
///
/// | written | about |
/// |---|---|
/// | `pp:home/ada` | this path and all below it |
/// | `pf:home/ada/x` | exactly this path |
/// | `sh:home/*/.cache` | shell: `*` and `?` stop at a slash, `**/` is any number of folders; `[a-z]`, `[!a-z]` |
/// | `fm:*/.cache` | the same, but `*` and `?` pass through slashes, and `**` is nothing special |
/// | `re:\.o$` | a regular expression that is found anywhere in the path |
/// | `/home/*/x` | no style, a slash in front: as `sh:` |
/// | `*.o`, `.cargo/registry` | no style, no slash in front: as `sh:`, below any folder |
///
/// With all but `pf:` and `re:`, what matches a folder matches all below it. A slash at the end of
/// wild cards means *only* what is below it. A slash in front means nothing after a style.
///
/// The expressions are those of the crate [`regex`]. One with look-around or back-references is
/// read by the crate [`fancy_regex`], which takes bytes that are no character for U+FFFD, and gives
/// up, as if it did not match, when it would take too long. A dot in `re:` is a character; a byte
/// that is no part of one is `(?-u:.)`.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Compiled,
}

#[derive(Clone)]
enum Compiled {
    Plain(Regex),
    Fancy(Box<fancy_regex::Regex>),
}

/// How a [`Pattern`] without a style in front is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Shell wild cards, below any folder unless a slash stands in front.
    Plain,
    /// `sh:`
    Shell,
    /// `fm:`
    Glob,
    /// `re:`
    Regex,
    /// `pp:`
    Prefix,
    /// `pf:`
    Full,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Nothing stands there.
    #[error("the pattern is empty")]
    Empty,
    /// Two letters or digits before a colon that are no style.
    #[error("`{style}:` is not a style of patterns")]
    Style {
        /// What stands before the colon.
        style: String,
    },
    /// A regular expression that is none, or would take too much memory.
    #[error("not a regular expression: {what}")]
    Regex {
        /// What is wrong with it.
        what: String,
    },
}

/// Bytes that one compiled expression may take: 4 MiB.
const COMPILED_SIZE_MAX: usize = 4 << 20;

impl Pattern {
    /// Compiles a pattern; without a style in front it is read as [`Style::Plain`].
    ///
    /// # Errors
    ///
    /// [`BadPattern`] says why it is none.
    pub fn new(text: &str) -> Result<Self, BadPattern> {
        Self::with_style(text, Style::Plain)
    }

    /// Compiles a pattern; without a style in front it is read as `style`.
    ///
    /// # Errors
    ///
    /// [`BadPattern`] says why it is none.
    pub fn with_style(text: &str, style: Style) -> Result<Self, BadPattern> {
        let (style, body) = match text.split_once(':') {
            Some((prefix, body)) if is_style(prefix) => (Style::named(prefix)?, body),
            _ => (style, text),
        };
        let expression = expression(style, body)?;
        let plain = RegexBuilder::new(&expression)
            .size_limit(COMPILED_SIZE_MAX)
            .build();
        let regex = match plain {
            Ok(regex) => Compiled::Plain(regex),
            // An expression that is plain but too large is too large for the other crate, too.
            Err(error) => {
                let fancy = fancy_regex::RegexBuilder::new(&expression)
                    .delegate_size_limit(COMPILED_SIZE_MAX)
                    .build();
                let what = error.to_string();
                let fancy = fancy.map_err(|_| BadPattern::Regex { what })?;
                Compiled::Fancy(Box::new(fancy))
            }
        };
        Ok(Self {
            text: text.to_owned(),
            regex,
        })
    }

    /// Whether the pattern is about this path.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        match &self.regex {
            Compiled::Plain(regex) => regex.is_match(path),
            Compiled::Fancy(regex) => regex
                .is_match(&String::from_utf8_lossy(path))
                .unwrap_or(false),
        }
    }

    /// The regular expression that it comes to.
    pub(super) fn expression(&self) -> &str {
        match &self.regex {
            Compiled::Plain(regex) => regex.as_str(),
            Compiled::Fancy(regex) => regex.as_str(),
        }
    }
}

impl Style {
    /// The style of that name: `sh`, `fm`, `re`, `pp`, `pf`.
    ///
    /// # Errors
    ///
    /// [`BadPattern::Style`] when there is none.
    pub fn named(name: &str) -> Result<Self, BadPattern> {
        Ok(match name {
            "sh" => Self::Shell,
            "fm" => Self::Glob,
            "re" => Self::Regex,
            "pp" => Self::Prefix,
            "pf" => Self::Full,
            _ => {
                return Err(BadPattern::Style {
                    style: name.to_owned(),
                });
            }
        })
    }
}

fn is_style(prefix: &str) -> bool {
    prefix.len() == 2 && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The regular expression that finds the paths.
fn expression(style: Style, body: &str) -> Result<String, BadPattern> {
    if body.is_empty() {
        return Err(BadPattern::Empty);
    }
    let absolute = body.starts_with('/');
    let slash = match style {
        Style::Regex => return Ok(body.to_owned()),
        Style::Prefix | Style::Full => None,
        Style::Plain | Style::Shell => Some(Slash::Stops),
        Style::Glob => Some(Slash::Passes),
    };
    let path = normal(body);
    if path.is_empty() {
        // The root of the file system, with all below it.
        return if absolute && style != Style::Full {
            Ok(String::new())
        } else {
            Err(BadPattern::Empty)
        };
    }
    let begin = if style == Style::Plain && !absolute {
        "(?:^|/)"
    } else {
        "^"
    };
    let path = match slash {
        Some(slash) => translate(&path, slash),
        None => regex::escape(&path),
    };
    let end = match style {
        Style::Full => "$",
        Style::Prefix => "(?:/|$)",
        _ if body.ends_with('/') => "/",
        _ => "(?:/|$)",
    };
    Ok(format!("{begin}{path}{end}"))
}

/// The path without doubled slashes, `.` and `..`, and without slashes at its ends.
fn normal(path: &str) -> String {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." if !components.is_empty() => {
                components.pop();
            }
            ".." if path.starts_with('/') => {}
            other => components.push(other),
        }
    }
    components.join("/")
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.expression() == other.expression()
    }
}

impl Eq for Pattern {}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A pattern, what it is about, and what it is not about.
    type Case = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
    );

    fn check(cases: &[Case]) {
        for (text, matching, others) in cases {
            let pattern = Pattern::new(text).unwrap();
            for path in *matching {
                assert!(pattern.matches(path.as_bytes()), "{text} is about {path}");
            }
            for path in *others {
                assert!(
                    !pattern.matches(path.as_bytes()),
                    "{text} is not about {path}"
                );
            }
        }
    }

    #[test]
    fn plain_patterns_are_found_below_any_folder() {
        check(&[
            (
                "*.o",
                &["a.o", "x/y/b.o", "d.o/in"],
                &["a.oo", "a.o.c", "o"],
            ),
            (
                "target",
                &["target", "a/target", "a/target/x"],
                &["targets", "mytarget"],
            ),
            (
                ".cargo/registry",
                &["home/ada/.cargo/registry/x"],
                &["cargo/registry", ".cargo"],
            ),
            (
                "/home/*/x",
                &["home/ada/x", "home/ada/x/y"],
                &["home/a/b/x", "srv/home/ada/x"],
            ),
            ("a/b/", &["a/b/c", "z/a/b/c"], &["a/b", "z/a/b"]),
            ("a//./b/../c", &["a/c"], &["a/b/c"]),
        ]);
    }

    #[test]
    fn shell_wild_cards_stop_at_slashes() {
        check(&[
            (
                "sh:home/*/.cache",
                &["home/a/.cache", "home/a/.cache/x"],
                &["home/a/b/.cache", "home/.cache"],
            ),
            (
                "sh:/home/a",
                &["home/a", "home/a/b"],
                &["home/ab", "x/home/a"],
            ),
            ("sh:**/*.o", &["a.o", "x/a.o", "x/y/a.o"], &["a.c"]),
            (
                "sh:home/**/x",
                &["home/x", "home/a/x", "home/a/b/x"],
                &["home/ax", "x"],
            ),
            ("sh:a?c", &["abc", "aéc"], &["a/c", "ac", "abbc"]),
            ("sh:a**b", &["ab", "axxb"], &["a/b"]),
            ("sh:dir/", &["dir/x", "dir/x/y"], &["dir"]),
            ("sh:[a-c]x[!0-9]", &["axy", "bx-"], &["dxy", "ax1", "ax"]),
            ("sh:[]x]", &["]", "x"], &["[", "a"]),
            ("sh:[!]x]", &["a", "["], &["]", "x"]),
            ("sh:[", &["["], &["a"]),
            ("sh:[?]", &["?"], &["a"]),
            ("sh:[^a]", &["^", "a"], &["b"]),
            ("sh:[a-]", &["a", "-"], &["b"]),
            (r"sh:a\*", &[r"a\x"], &["a*", "ax"]),
            ("sh:[z-a]x", &[], &["zx", "ax", "x"]),
            ("sh:a.b", &["a.b"], &["axb"]),
        ]);
    }

    #[test]
    fn glob_wild_cards_pass_through_slashes() {
        check(&[
            (
                "fm:*/.cache",
                &["a/.cache", "a/b/.cache", "a/b/.cache/c"],
                &[".cache", "a/.caches"],
            ),
            ("fm:home/*/x", &["home/a/b/x"], &["home/x"]),
            ("fm:a?b", &["a/b", "axb"], &["ab"]),
            ("fm:*.o/", &["a.o/b"], &["a.o"]),
            ("fm:*", &["a", "a/b"], &[]),
        ]);
    }

    #[test]
    fn prefixes_are_whole_components() {
        check(&[
            (
                "pp:home/ada",
                &["home/ada", "home/ada/x"],
                &["home/adam", "x/home/ada"],
            ),
            ("pp:/home/ada/", &["home/ada", "home/ada/x"], &["home"]),
            ("pp:a*", &["a*", "a*/b"], &["ab"]),
            ("pp:/", &["a", "a/b"], &[]),
            ("pf:/home/ada", &["home/ada"], &["home/ada/x", "home"]),
        ]);
    }

    #[test]
    fn expressions_are_found_anywhere() {
        check(&[
            (r"re:\.o$", &["a.o", "x/y.o"], &["a.o/x"]),
            ("re:^home/[ab]/", &["home/a/x"], &["home/a", "x/home/a/x"]),
            ("re:b", &["abc"], &["ac"]),
        ]);
    }

    #[test]
    fn expressions_may_look_around_and_back() {
        check(&[
            (
                r"re:file(\d)\1\1$",
                &["file333", "x/file111"],
                &["file123", "file33"],
            ),
            (
                "re:^home/(?!ada)",
                &["home/eve", "home/"],
                &["home/ada", "home"],
            ),
        ]);
    }

    #[test]
    fn names_are_bytes() {
        let matches = |pattern: &str, path: &[u8]| Pattern::new(pattern).unwrap().matches(path);
        assert!(matches("*.o", b"\xff\xfe.o"));
        assert!(matches("sh:a?b", b"a\xffb"));
        assert!(matches("sh:a[!x]b", b"a\xffb"));
        assert!(matches("sh:a?b", b"a\nb"));
        assert!(matches("fm:*b", b"\xff/\nb"));
        assert!(matches(r"re:^(?-u:\xff)$", b"\xff"));
        assert!(!matches("sh:a?b", b"a/b"));
    }

    #[test]
    fn a_style_may_be_the_callers() {
        let pattern = Pattern::with_style("*/x", Style::Glob).unwrap();
        assert!(pattern.matches(b"a/b/x"));
        let pattern = Pattern::with_style("sh:*/x", Style::Glob).unwrap();
        assert!(!pattern.matches(b"a/b/x"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for empty in ["", "sh:", "pf:/", "re:", "."] {
            assert_eq!(Pattern::new(empty), Err(BadPattern::Empty), "{empty}");
        }
        let style = "zz".to_owned();
        assert_eq!(Pattern::new("zz:a"), Err(BadPattern::Style { style }));
        for bad in ["re:(", r"re:(?=a", "re:(a{1000}){1000}"] {
            assert!(
                matches!(Pattern::new(bad), Err(BadPattern::Regex { .. })),
                "{bad}"
            );
        }
        // A colon elsewhere is a part of a name.
        assert!(Pattern::new("C::x").is_ok());
        assert!(Pattern::new("abc:x").is_ok());
    }
}
