//! Which paths a command is about: excludes, patterns and paths of the command line.

use std::cell::Cell;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tree::{Pattern, Rule, RuleAction, Rules, Style};

use super::arguments::Arguments;
use super::fail::Failure;
use super::log::Warning;
use super::session::{Session, read_file};

/// What options say about paths.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    /// In the order in which they were given.
    pub(crate) rules: Vec<Rule>,
    /// Roots that pattern files name.
    pub(crate) roots: Vec<PathBuf>,
}

impl Patterns {
    /// Reads `--exclude`, `--exclude-from`, `--pattern` and `--patterns-from`.
    pub(crate) fn of(arguments: &Arguments) -> Result<Self, Failure> {
        let mut patterns = Self::default();
        for (name, value) in &arguments.in_order {
            let text = value.to_string_lossy();
            match *name {
                "exclude" => patterns.exclude(&text)?,
                "exclude_from" => {
                    for line in lines(Path::new(value))? {
                        patterns.exclude(&line)?;
                    }
                }
                "pattern" => patterns.line(&text, &mut Style::Shell)?,
                "patterns_from" => {
                    let mut style = Style::Shell;
                    for line in lines(Path::new(value))? {
                        patterns.line(&line, &mut style)?;
                    }
                }
                _ => {}
            }
        }
        Ok(patterns)
    }

    fn exclude(&mut self, text: &str) -> Result<(), Failure> {
        let pattern = compile(text, Style::Glob)?;
        self.rules.push(Rule::new(RuleAction::Prune, pattern));
        Ok(())
    }

    /// A line of a pattern file: a sign and a pattern, `R` and a root, `P` and a style.
    fn line(&mut self, line: &str, style: &mut Style) -> Result<(), Failure> {
        let bad = || Failure::usage(format!("unable to parse pattern/command: {line}"));
        let mut characters = line.chars();
        let sign = characters.next().ok_or_else(bad)?;
        let rest = characters.as_str().trim_start();
        if rest.is_empty() {
            return Err(bad());
        }
        let action = match sign {
            'R' | 'r' => {
                self.roots.push(rest.into());
                return Ok(());
            }
            'P' | 'p' => {
                *style = Style::named(rest).map_err(|_| bad())?;
                return Ok(());
            }
            '+' => RuleAction::Include,
            '-' => RuleAction::Exclude,
            '!' => RuleAction::Prune,
            _ => return Err(bad()),
        };
        self.rules.push(Rule::new(action, compile(rest, *style)?));
        Ok(())
    }

    /// For a scan: exact paths come first, as in Borg, which looks them up before all others.
    pub(crate) fn into_rules(self) -> Rules {
        let (mut first, others): (Vec<Rule>, Vec<Rule>) = self
            .rules
            .into_iter()
            .partition(|rule| is_exact(&rule.pattern));
        first.extend(others);
        Rules::as_borg(first)
    }
}

fn is_exact(pattern: &Pattern) -> bool {
    pattern.to_string().starts_with("pf:")
}

fn compile(text: &str, style: Style) -> Result<Pattern, Failure> {
    Pattern::with_style(text, style)
        .map_err(|error| Failure::usage(format!("Invalid pattern: {text}: {error}")))
}

/// Lines without comments, empty ones and space around them.
fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = match path.as_os_str().as_bytes() {
        b"-" => std::io::read_to_string(std::io::stdin())?.into_bytes(),
        _ => read_file(path)?,
    };
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// Says whether a command is about a path of an archive.
pub(crate) struct Matcher {
    rules: Vec<Rule>,
    /// Paths of the command line, and whether something was found for them.
    wanted: Vec<(Pattern, String, Cell<bool>)>,
}

impl Matcher {
    /// From the options and the paths of a command.
    pub(crate) fn of(arguments: &Arguments) -> Result<Self, Failure> {
        let rules = Patterns::of(arguments)?.rules;
        let wanted = arguments.all("paths").iter().map(|path| {
            let text = path.to_string_lossy().into_owned();
            if text.is_empty() {
                return Err(Failure::usage("Empty strings are not accepted as paths."));
            }
            let pattern = compile(&text, Style::Prefix)?;
            Ok((pattern, text, Cell::new(false)))
        });
        Ok(Self {
            wanted: wanted.collect::<Result<_, _>>()?,
            rules,
        })
    }

    /// Whether there is anything that it leaves out.
    pub(crate) fn takes_all(&self) -> bool {
        self.rules.is_empty() && self.wanted.is_empty()
    }

    /// Whether the command is about this path.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let exact = self.rules.iter().filter(|rule| is_exact(&rule.pattern));
        let others = self.rules.iter().filter(|rule| !is_exact(&rule.pattern));
        for rule in exact.chain(others) {
            if rule.pattern.matches(path) {
                return rule.action == RuleAction::Include;
            }
        }
        if self.wanted.is_empty() {
            return true;
        }
        for (pattern, _, is_found) in &self.wanted {
            if pattern.matches(path) {
                is_found.set(true);
                return true;
            }
        }
        false
    }

    /// The same as a function that threads may share; nobody hears of what was not found.
    pub(crate) fn into_pure(self) -> impl Fn(&[u8]) -> bool + Send + Sync {
        let (mut rules, others): (Vec<Rule>, Vec<Rule>) = self
            .rules
            .into_iter()
            .partition(|rule| is_exact(&rule.pattern));
        rules.extend(others);
        let wanted: Vec<Pattern> = self
            .wanted
            .into_iter()
            .map(|(pattern, ..)| pattern)
            .collect();
        move |path| {
            let decisive = rules.iter().find(|rule| rule.pattern.matches(path));
            match decisive {
                Some(rule) => rule.action == RuleAction::Include,
                None => wanted.is_empty() || wanted.iter().any(|pattern| pattern.matches(path)),
            }
        }
    }

    /// Warns of paths for which nothing was found.
    pub(crate) fn warn_of_unmatched(&self, session: &Session) {
        for (_, text, is_found) in &self.wanted {
            if !is_found.get() {
                let message = format!("Include pattern '{text}' never matched.");
                session.log.warn(Warning::NeverMatched, &message);
            }
        }
    }
}
