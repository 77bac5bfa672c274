//! Which paths are left out: an ordered list of rules, of which the first that matches decides.

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use regex::bytes::{RegexSet, RegexSetBuilder};
use rustix::fs::{AtFlags, statat};

use super::pattern::{BadPattern, Pattern};
use super::preset::Preset;

/// An ordered list of rules. The first that matches a path decides; what no rule is about stays in.
///
/// A rule that matches a folder holds for all below it, unless a rule that stands before it
/// matches there: `+ ~/Videos/family` and then `~/Videos` keeps one folder of the videos.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Whether rules hold for the path alone that they match, see [`Rules::as_borg`].
    each_for_itself: bool,
    /// All expressions at once, made when first needed; `None` when that would take too much
    /// memory, so that they have to be tried in turn.
    set: OnceLock<Option<RegexSet>>,
}

/// What is to happen with the paths that a pattern is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is to happen.
    pub action: RuleAction,
    /// Which paths.
    pub pattern: Pattern,
    /// The named set that it belongs to.
    pub preset: Option<Preset>,
    /// What else must be so; only folders fulfil it.
    pub(super) condition: Option<Condition>,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleAction {
    /// Keeps it.
    Include,
    /// Leaves it out.
    Exclude,
    /// Leaves it out and does not look below it, whatever other rules say: Borg's `!` and
    /// `--exclude`.
    Prune,
}

/// What must be so for a rule to match a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// One of these stands beside it.
    Beside(&'static [&'static str]),
    /// This stands in it.
    Holds(&'static str),
}

/// A folder whose path is judged, by the handle of the one that it is in.
#[derive(Debug, Clone, Copy)]
pub(super) struct FolderName<'a> {
    pub(super) parent: BorrowedFd<'a>,
    pub(super) name: &'a CStr,
}

/// Which rule decides about a path: its index in the list. `None` when none is about it.
pub(super) type Decisive = Option<usize>;

/// Bytes that all expressions together may take: 64 MiB.
const SET_SIZE_MAX: usize = 64 << 20;

impl Rules {
    /// A list of rules in which each holds for the paths alone that it matches, as in Borg's
    /// pattern files: a file in a folder that is left out is in unless a rule is about the file.
    ///
    /// There is a difference for `re:` and `pf:` only; the other styles match all below a folder.
    #[must_use]
    pub fn as_borg(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            each_for_itself: true,
            set: OnceLock::new(),
        }
    }

    /// Adds a rule behind those that are there.
    pub fn push(&mut self, rule: Rule) {
        self.rules.push(rule);
        self.set = OnceLock::new();
    }

    /// Adds a rule as people write it: `PATTERN` or `- PATTERN` leaves out, `+ PATTERN` keeps,
    /// `! PATTERN` leaves out and does not look below.
    ///
    /// # Errors
    ///
    /// [`BadPattern`] says why the pattern is none.
    pub fn add(&mut self, text: &str) -> Result<(), BadPattern> {
        self.push(text.parse()?);
        Ok(())
    }

    /// Adds the rules of a preset behind those that are there.
    pub fn add_preset(&mut self, preset: Preset) {
        for rule in preset.rules() {
            self.push(rule);
        }
    }

    /// The rules, in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[Rule] {
        &self.rules
    }

    /// Finds the rule that decides about a path, given the one that decided about the folder that
    /// it is in.
    ///
    /// `folder` tells that the path is a folder, and where; the conditions of presets are about
    /// folders only.
    pub(super) fn decide(
        &self,
        path: &[u8],
        above: Decisive,
        folder: Option<FolderName<'_>>,
    ) -> Decisive {
        let above = above.filter(|_| !self.each_for_itself);
        let fulfilled = |index: usize| {
            self.rules.get(index).is_some_and(|rule| {
                rule.condition
                    .is_none_or(|condition| folder.is_some_and(|folder| condition.holds(folder)))
            })
        };
        let found = match self.set() {
            Some(set) if !set.is_match(path) => None,
            Some(set) => set.matches(path).iter().find(|&index| fulfilled(index)),
            None => (0..self.rules.len()).find(|&index| {
                self.rules
                    .get(index)
                    .is_some_and(|rule| rule.pattern.matches(path))
                    && fulfilled(index)
            }),
        };
        match (found, above) {
            (Some(found), Some(above)) => Some(found.min(above)),
            (found, above) => found.or(above),
        }
    }

    /// The rule that [`decide`](Self::decide) found.
    pub(super) fn get(&self, decisive: Decisive) -> Option<&Rule> {
        self.rules.get(decisive?)
    }

    /// Whether what a rule decided about stays in.
    pub(super) fn keep(&self, decisive: Decisive) -> bool {
        self.get(decisive)
            .is_none_or(|rule| rule.action == RuleAction::Include)
    }

    /// Whether something below a folder may stay in that the rule is decisive about.
    pub(super) fn look_below(&self, decisive: Decisive) -> bool {
        let Some(rule) = self.get(decisive) else {
            return true;
        };
        match rule.action {
            RuleAction::Include => true,
            RuleAction::Prune => false,
            RuleAction::Exclude => {
                let earlier = self.rules.get(..decisive.unwrap_or(0)).unwrap_or_default();
                self.each_for_itself
                    || earlier
                        .iter()
                        .any(|rule| rule.action == RuleAction::Include)
            }
        }
    }

    fn set(&self) -> Option<&RegexSet> {
        self.set
            .get_or_init(|| {
                RegexSetBuilder::new(self.rules.iter().map(|rule| rule.pattern.expression()))
                    .size_limit(SET_SIZE_MAX)
                    .build()
                    .ok()
            })
            .as_ref()
    }
}

impl Rule {
    /// A rule that belongs to no preset.
    #[must_use]
    pub fn new(action: RuleAction, pattern: Pattern) -> Self {
        Self {
            action,
            pattern,
            preset: None,
            condition: None,
        }
    }
}

/// As people write it, see [`Rules::add`].
impl std::str::FromStr for Rule {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        let (action, pattern) = match text.split_once(' ') {
            Some(("+", pattern)) => (RuleAction::Include, pattern.trim_start()),
            Some(("-", pattern)) => (RuleAction::Exclude, pattern.trim_start()),
            Some(("!", pattern)) => (RuleAction::Prune, pattern.trim_start()),
            _ => (RuleAction::Exclude, text),
        };
        Ok(Self::new(action, Pattern::new(pattern)?))
    }
}

impl Condition {
    fn holds(self, folder: FolderName<'_>) -> bool {
        let stands =
            |path: Cow<'_, [u8]>| statat(folder.parent, &*path, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        match self {
            Self::Beside(names) => names.iter().any(|name| stands(name.as_bytes().into())),
            Self::Holds(name) => {
                let path = [folder.name.to_bytes(), b"/", name.as_bytes()].concat();
                stands(path.into())
            }
        }
    }
}

/// As people write it, see [`Rules::add`]; what else must be so stands behind it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.pattern.to_string();
        let sign = match self.action {
            RuleAction::Include => "+ ",
            RuleAction::Prune => "! ",
            // Only a pattern that begins like a sign needs one.
            RuleAction::Exclude if ["+ ", "- ", "! "].iter().any(|sign| text.starts_with(sign)) => {
                "- "
            }
            RuleAction::Exclude => "",
        };
        write!(f, "{sign}{text}")?;
        match self.condition {
            Some(Condition::Beside(names)) => write!(f, " beside {}", names.join(" or ")),
            Some(Condition::Holds(name)) => write!(f, " with {name} in it"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(texts: &[&str]) -> Rules {
        let mut rules = Rules::default();
        for text in texts {
            rules.add(text).unwrap();
        }
        rules
    }

    /// Judges a path as the walk does: folder after folder, from the top.
    fn kept(rules: &Rules, path: &str) -> bool {
        let mut decisive = None;
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            decisive = rules.decide(&path.as_bytes()[..end], decisive, None);
            if end < path.len() && !rules.look_below(decisive) {
                return false;
            }
        }
        rules.keep(decisive)
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        for (texts, path, stays) in [
            (&["+ *.keep", "*.o", "- *.keep"][..], "a/b.o", false),
            (&["+ *.keep", "*.o", "- *.keep"], "a/b.keep", true),
            (&["+ *.keep", "*.o", "- *.keep"], "a/b.c", true),
            (&["*.o", "+ b.o"], "b.o", false),
            (&["+ b.o", "*.o"], "b.o", true),
            (&[], "a", true),
        ] {
            assert_eq!(kept(&rules(texts), path), stays, "{texts:?} {path}");
        }
    }

    #[test]
    fn a_rule_holds_below_a_folder_unless_an_earlier_one_matches() {
        for (texts, path, stays) in [
            (&["+ /v/family", "/v"][..], "v/family/x", true),
            (&["+ /v/family", "/v"], "v/x", false),
            (&["/v", "+ /v/family"], "v/family/x", false),
            (&["+ /v/family", "! /v"], "v/family/x", false),
            // What `re:` and `pf:` match is a folder like others.
            (&["pf:v"], "v/x", false),
            (&["re:v$"], "v/x/y", false),
            (&["+ pf:v/x", "pf:v"], "v/x/y", true),
            (&["+ pf:v/x", "pf:v"], "v/z", false),
            // A slash at the end spares the folder itself.
            (&["/v/"], "v", true),
            (&["/v/"], "v/x", false),
        ] {
            assert_eq!(kept(&rules(texts), path), stays, "{texts:?} {path}");
        }
    }

    #[test]
    fn in_a_list_as_borg_has_it_each_path_is_judged_for_itself() {
        let borg = |texts: &[&str]| {
            Rules::as_borg(texts.iter().map(|text| text.parse().unwrap()).collect())
        };
        for (texts, path, stays) in [
            (&["- pf:v"][..], "v/x", true),
            (&["- re:v$"], "v/x", true),
            (&["! pf:v"], "v/x", false),
            (&["- sh:v"], "v/x", false),
            (&["+ sh:v/x", "- sh:v"], "v/x/y", true),
        ] {
            assert_eq!(kept(&borg(texts), path), stays, "{texts:?} {path}");
        }
    }

    #[test]
    fn a_rule_reads_as_it_was_written() {
        for text in ["+ sh:a/b", "*.o", "! re:x$", "a b", "- + x"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("- a".parse::<Rule>().unwrap().to_string(), "a");
    }

    #[test]
    fn rules_that_are_too_large_for_one_automaton_still_work() {
        let mut rules = rules(&["+ *.keep", "*.o"]);
        rules.set = OnceLock::from(None);
        assert!(!kept(&rules, "a.o"));
        assert!(kept(&rules, "a.keep"));
    }
}
