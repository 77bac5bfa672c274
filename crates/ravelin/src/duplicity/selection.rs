//! Which paths are in: duplicity's rules, of which the first that decides counts.
//!
//! A rule that includes something makes the folders on the way to it count as *scanned*: they are
//! in when something in them is. What no rule decides is in. Source: duplicity's manual, FILE
//! SELECTION.
//!
//! Paths are judged twice: by name alone while the tree is walked, so that nothing is entered that
//! is left out, and with all that is known about them when they come out of the walk.

use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use regex::bytes::Regex;
use tree::{Entry, EntryKind, TreePath};

use super::failure::{Failure, code};
use super::glob::{BadGlob, Glob, Match};
use super::options::{Options, Select};

/// What the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    In,
    Out,
    /// A folder that is in when something in it is.
    Scanned,
}

/// The rules of one run.
#[derive(Debug)]
pub(crate) struct Selection {
    rules: Vec<Rule>,
    /// Only these, and the folders that they are in.
    files_from: Option<HashSet<TreePath>>,
    /// Stands before stored paths to make those that rules are about; `None` in archives.
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    path: PathBuf,
    device: u64,
}

#[derive(Debug)]
enum Rule {
    Glob {
        glob: Glob,
        include: bool,
    },
    Everything {
        include: bool,
    },
    Literal {
        text: Vec<u8>,
        ignore_case: bool,
        include: bool,
    },
    Regexp {
        regexp: Regex,
        include: bool,
    },
    IfPresent(Vec<u8>),
    OlderThan(i64),
    DeviceFiles,
    OtherFilesystems,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Globbing,
    Literal,
    Regexp,
}

/// What is known of a path.
struct Candidate<'a> {
    /// As rules have it.
    name: &'a [u8],
    is_folder: bool,
    /// `None` while the tree is walked.
    entry: Option<&'a Entry>,
}

impl Selection {
    /// The rules about a source, given as a path.
    pub(crate) fn of_source(options: &Options, source: &Path) -> Result<Self, Failure> {
        let device = std::fs::metadata(source).map_or(0, |metadata| metadata.dev());
        let source = Source {
            path: source.to_owned(),
            device,
        };
        Self::new(options, Some(source))
    }

    /// The rules about an archive: patterns are relative to its root.
    pub(crate) fn of_archive(options: &Options) -> Result<Self, Failure> {
        Self::new(options, None)
    }

    fn new(options: &Options, source: Option<Source>) -> Result<Self, Failure> {
        check_filters(&options.select)?;
        let mut selection = Self {
            rules: Vec::new(),
            files_from: None,
            source,
        };
        let (mut mode, mut ignore_case) = (Mode::Globbing, false);
        for select in &options.select {
            match select {
                Select::Globbing => mode = Mode::Globbing,
                Select::Literal => mode = Mode::Literal,
                Select::Regexp => mode = Mode::Regexp,
                Select::IgnoreCase => ignore_case = true,
                Select::StrictCase => ignore_case = false,
                Select::Include(pattern) => selection.pattern(pattern, true, mode, ignore_case)?,
                Select::Exclude(pattern) => selection.pattern(pattern, false, mode, ignore_case)?,
                Select::IncludeRegexp(pattern) => {
                    selection.pattern(pattern, true, Mode::Regexp, ignore_case)?;
                }
                Select::ExcludeRegexp(pattern) => {
                    selection.pattern(pattern, false, Mode::Regexp, ignore_case)?;
                }
                Select::IncludeList(list) | Select::ExcludeList(list) => {
                    let include = matches!(select, Select::IncludeList(_));
                    for (line, include) in lines(list, include, options.null_separator) {
                        selection.pattern(line, include, mode, ignore_case)?;
                    }
                }
                Select::FilesFrom(list) => {
                    selection.files_from = Some(files_from(list, options.null_separator)?);
                }
                // These two go before all others.
                Select::IfPresent(name) => {
                    selection.rules.insert(0, Rule::IfPresent(name.clone()));
                }
                Select::DeviceFiles => selection.rules.insert(0, Rule::DeviceFiles),
                Select::OlderThan(time) => selection.rules.push(Rule::OlderThan(*time)),
                Select::OtherFilesystems => selection.rules.push(Rule::OtherFilesystems),
            }
        }
        if selection.rules.last().is_some_and(Rule::includes) {
            return Err(Failure::new(
                code::REDUNDANT_INCLUSION,
                "The last rule of the selection only includes, and what no rule is about is \
                 included anyway: it has no effect. Probably an --exclude '**' is missing behind it.",
            ));
        }
        Ok(selection)
    }

    /// Whether there is nothing to decide.
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.files_from.is_none()
    }

    fn pattern(
        &mut self,
        pattern: &[u8],
        include: bool,
        mode: Mode,
        mut ignore_case: bool,
    ) -> Result<(), Failure> {
        let mut pattern = pattern;
        const IGNORE: &[u8] = b"ignorecase:";
        let head = pattern.get(..IGNORE.len());
        if matches!(mode, Mode::Globbing)
            && head.is_some_and(|head| head.eq_ignore_ascii_case(IGNORE))
        {
            pattern = pattern.get(IGNORE.len()..).unwrap_or_default();
            ignore_case = true;
        }
        if self.source.is_none() && !matches!(mode, Mode::Regexp) {
            pattern = in_archive(pattern)?;
        }
        let rule = match mode {
            Mode::Globbing => {
                let glob = Glob::new(pattern, ignore_case).map_err(|error| bad(pattern, &error))?;
                if let Some(source) = &self.source
                    && glob.of(source.path.as_os_str().as_bytes(), true) == Match::No
                {
                    return Err(outside(pattern, &source.path));
                }
                if pattern == b"**" {
                    Rule::Everything { include }
                } else {
                    Rule::Glob { glob, include }
                }
            }
            Mode::Literal => {
                let text = match pattern.strip_suffix(b"/") {
                    Some(text) if !text.is_empty() => text,
                    _ => pattern,
                };
                let rule = Rule::Literal {
                    text: folded(text, ignore_case),
                    ignore_case,
                    include,
                };
                if let Some(source) = &self.source
                    && of_literal(
                        &folded(text, ignore_case),
                        &folded(source.path.as_os_str().as_bytes(), ignore_case),
                    ) == Match::No
                {
                    return Err(outside(pattern, &source.path));
                }
                rule
            }
            Mode::Regexp => {
                let text = String::from_utf8_lossy(pattern);
                let regexp = regex::bytes::RegexBuilder::new(&text)
                    .case_insensitive(ignore_case)
                    .build()
                    .map_err(|error| {
                        Failure::usage(format!(
                            "The regular expression {text} cannot be used: {error}\n\
                             (Look-around and back-references are not supported here.)"
                        ))
                    })?;
                Rule::Regexp { regexp, include }
            }
        };
        self.rules.push(rule);
        Ok(())
    }

    /// Whether the walk may go on with a path: asked about a folder before what is in it.
    pub(crate) fn admits(&self, path: &TreePath, is_folder: bool) -> bool {
        if path.is_root() {
            return true;
        }
        if let Some(listed) = &self.files_from
            && !listed.contains(path)
        {
            return false;
        }
        let name = self.name(path);
        let candidate = Candidate {
            name: &name,
            is_folder,
            entry: None,
        };
        match self.verdict(&candidate) {
            Verdict::In => true,
            Verdict::Out => false,
            Verdict::Scanned => is_folder,
        }
    }

    /// What the rules say of an object.
    pub(crate) fn judge(&self, entry: &Entry) -> Verdict {
        if entry.path.is_root() || self.rules.is_empty() {
            return Verdict::In;
        }
        let name = self.name(&entry.path);
        let is_folder = entry.is_directory();
        let candidate = Candidate {
            name: &name,
            is_folder,
            entry: Some(entry),
        };
        match self.verdict(&candidate) {
            Verdict::Scanned if !is_folder => Verdict::Out,
            verdict => verdict,
        }
    }

    fn name(&self, path: &TreePath) -> Vec<u8> {
        let Some(source) = &self.source else {
            return path.as_bytes().to_vec();
        };
        let source = source.path.as_os_str().as_bytes();
        let source = source.strip_suffix(b"/").unwrap_or(source);
        [source, b"/", path.as_bytes()].concat()
    }

    fn verdict(&self, candidate: &Candidate<'_>) -> Verdict {
        let mut scanned = false;
        for rule in &self.rules {
            let decided = match rule {
                Rule::Everything { include } => Some(*include),
                Rule::Glob { glob, include } => {
                    match glob.of(candidate.name, candidate.is_folder) {
                        Match::Yes => Some(*include),
                        Match::OnTheWay => {
                            scanned |= include;
                            None
                        }
                        Match::No => None,
                    }
                }
                Rule::Literal {
                    text,
                    ignore_case,
                    include,
                } => match of_literal(text, &folded(candidate.name, *ignore_case)) {
                    Match::Yes => Some(*include),
                    Match::OnTheWay => {
                        scanned |= include;
                        None
                    }
                    Match::No => None,
                },
                Rule::Regexp { regexp, include } => {
                    regexp.is_match(candidate.name).then_some(*include)
                }
                _ => self.leaves_out(rule, candidate).then_some(false),
            };
            match decided {
                Some(true) => return Verdict::In,
                Some(false) if !scanned => return Verdict::Out,
                Some(false) => return Verdict::Scanned,
                None => {}
            }
        }
        if scanned {
            Verdict::Scanned
        } else {
            Verdict::In
        }
    }

    /// Rules that look at more than the name.
    fn leaves_out(&self, rule: &Rule, candidate: &Candidate<'_>) -> bool {
        match (rule, candidate.entry) {
            (Rule::OlderThan(time), Some(entry)) => {
                entry.is_file() && entry.mtime.seconds() < *time
            }
            (Rule::DeviceFiles, Some(entry)) => matches!(
                entry.kind,
                EntryKind::CharDevice(_) | EntryKind::BlockDevice(_)
            ),
            (Rule::OtherFilesystems, Some(entry)) => self
                .source
                .as_ref()
                .is_some_and(|source| entry.device != source.device),
            // Folders are not entered in vain.
            (Rule::OtherFilesystems, None) if candidate.is_folder => {
                self.source.as_ref().is_some_and(|source| {
                    let path = Path::new(std::ffi::OsStr::from_bytes(candidate.name));
                    std::fs::symlink_metadata(path)
                        .is_ok_and(|metadata| metadata.dev() != source.device)
                })
            }
            (Rule::IfPresent(marker), _) if candidate.is_folder => {
                let folder = Path::new(std::ffi::OsStr::from_bytes(candidate.name));
                let marker = folder.join(std::ffi::OsStr::from_bytes(marker));
                std::fs::symlink_metadata(marker).is_ok()
            }
            _ => false,
        }
    }
}

impl Rule {
    fn includes(&self) -> bool {
        match self {
            Self::Glob { include, .. }
            | Self::Everything { include }
            | Self::Literal { include, .. }
            | Self::Regexp { include, .. } => *include,
            _ => false,
        }
    }
}

/// Holds back scanned folders until something in them is in.
#[derive(Debug, Default)]
pub(crate) struct Deferred {
    folders: Vec<Arc<Entry>>,
}

impl Deferred {
    /// Takes an object that is in or scanned, in the order of the walk; gives what is due: the
    /// folders that it is in, and it itself.
    pub(crate) fn take(&mut self, entry: &Arc<Entry>, verdict: Verdict) -> Vec<Arc<Entry>> {
        self.folders
            .retain(|folder| entry.path.starts_with(&folder.path));
        match verdict {
            Verdict::Out => Vec::new(),
            Verdict::Scanned => {
                self.folders.push(Arc::clone(entry));
                Vec::new()
            }
            Verdict::In => {
                let mut due = std::mem::take(&mut self.folders);
                due.push(Arc::clone(entry));
                due
            }
        }
    }
}

fn folded(text: &[u8], ignore_case: bool) -> Vec<u8> {
    if ignore_case {
        String::from_utf8_lossy(text).to_lowercase().into_bytes()
    } else {
        text.to_vec()
    }
}

fn of_literal(text: &[u8], path: &[u8]) -> Match {
    let begins = |whole: &[u8], part: &[u8]| {
        whole
            .strip_prefix(part)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || part == b"/")
    };
    if begins(path, text) {
        Match::Yes
    } else if begins(text, path) || path.is_empty() {
        Match::OnTheWay
    } else {
        Match::No
    }
}

/// A pattern about an archive, as paths are listed there.
fn in_archive(mut pattern: &[u8]) -> Result<&[u8], Failure> {
    while let Some(rest) = pattern.strip_prefix(b"./") {
        pattern = rest;
    }
    let climbs = pattern
        .split(|&byte| byte == b'/')
        .any(|part| matches!(part, b"." | b".."));
    if pattern.starts_with(b"/") || climbs {
        return Err(Failure::new(
            code::FILE_PREFIX,
            format!(
                "The pattern {} is not valid for a restore: patterns are relative to the root of \
                 the archive, as list-current-files prints paths.",
                String::from_utf8_lossy(pattern)
            ),
        ));
    }
    Ok(pattern)
}

fn outside(pattern: &[u8], source: &Path) -> Failure {
    Failure::new(
        code::FILE_PREFIX,
        format!(
            "The pattern\n    {}\ncan match nothing in the source\n    {}\nPatterns begin with the \
             source's path as it was typed, or with something that matches it, such as `**`.",
            String::from_utf8_lossy(pattern),
            source.display()
        ),
    )
}

fn bad(pattern: &[u8], error: &BadGlob) -> Failure {
    let pattern = String::from_utf8_lossy(pattern);
    let text = match error {
        BadGlob::Slashes => format!("The pattern {pattern} has two slashes in a row."),
        BadGlob::Expression(why) => format!("The pattern {pattern} cannot be used: {why}"),
    };
    Failure::new(code::GLOB, text)
}

fn check_filters(select: &[Select]) -> Result<(), Failure> {
    let is_filter = |select: &Select| {
        matches!(
            select,
            Select::Globbing
                | Select::Literal
                | Select::Regexp
                | Select::IgnoreCase
                | Select::StrictCase
        )
    };
    if select.last().is_some_and(is_filter) {
        return Err(Failure::new(
            code::TRAILING_FILTER,
            "The last option of the selection is a filter mode, with nothing behind it that it \
             could be for.",
        ));
    }
    let mut filters = select.iter().filter(|select| is_filter(select)).peekable();
    if filters.peek().is_some()
        && filters.all(|filter| matches!(filter, Select::Globbing | Select::StrictCase))
    {
        return Err(Failure::new(
            code::REDUNDANT_FILTER,
            "Only --filter-globbing or --filter-strictcase is given, which hold anyway.",
        ));
    }
    Ok(())
}

/// The patterns of a list, with whether each includes.
fn lines(list: &[u8], default: bool, null_separator: bool) -> impl Iterator<Item = (&[u8], bool)> {
    let separator = if null_separator { 0 } else { b'\n' };
    list.split(move |&byte| byte == separator)
        .filter_map(move |line| {
            let line = line.trim_ascii();
            if line.is_empty() || line.starts_with(b"#") {
                return None;
            }
            let (line, include) = match (line.strip_prefix(b"+ "), line.strip_prefix(b"- ")) {
                (Some(line), _) => (line, true),
                (_, Some(line)) => (line, false),
                _ => (line, default),
            };
            let quoted = |quote: &[u8]| line.strip_prefix(quote)?.strip_suffix(quote);
            let line = quoted(b"'").or_else(|| quoted(b"\"")).unwrap_or(line);
            (!line.is_empty()).then_some((line, include))
        })
}

/// The paths of a list of files, with the folders that they are in.
fn files_from(list: &[u8], null_separator: bool) -> Result<HashSet<TreePath>, Failure> {
    let separator = if null_separator { 0 } else { b'\n' };
    let mut paths = HashSet::new();
    for line in list.split(|&byte| byte == separator) {
        if line.is_empty() {
            continue;
        }
        let path = TreePath::new(line).map_err(|error| {
            Failure::new(
                code::ABSOLUTE_FILES_FROM,
                format!(
                    "The list of files holds the path\n    {}\nPaths in it are relative to the \
                     source: {error}.",
                    String::from_utf8_lossy(line)
                ),
            )
        })?;
        let mut path = Some(path);
        while let Some(ancestor) = path.filter(|path| !path.is_root()) {
            path = ancestor.parent();
            paths.insert(ancestor);
        }
    }
    if paths.is_empty() {
        return Err(Failure::new(
            code::EMPTY_FILES_FROM,
            "The list of files to back up is empty: the backup would be, too.",
        ));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(select: Vec<Select>) -> Result<Selection, Failure> {
        let options = Options {
            select,
            ..Options::default()
        };
        let source = Source {
            path: "/s".into(),
            device: 1,
        };
        Selection::new(&options, Some(source))
    }

    fn include(pattern: &str) -> Select {
        Select::Include(pattern.into())
    }

    fn exclude(pattern: &str) -> Select {
        Select::Exclude(pattern.into())
    }

    fn verdict(selection: &Selection, path: &str, is_folder: bool) -> Verdict {
        let name = selection.name(&TreePath::new(path).unwrap());
        selection.verdict(&Candidate {
            name: &name,
            is_folder,
            entry: None,
        })
    }

    #[test]
    fn the_first_rule_that_decides_counts_and_the_way_to_it_is_scanned() {
        let rules = selection(vec![include("/s/a/b"), exclude("**")]).unwrap();
        assert_eq!(verdict(&rules, "a", true), Verdict::Scanned);
        assert_eq!(verdict(&rules, "a/b", true), Verdict::In);
        assert_eq!(verdict(&rules, "a/b/c", false), Verdict::In);
        assert_eq!(verdict(&rules, "a/x", false), Verdict::Out);
        assert!(rules.admits(&TreePath::new("a").unwrap(), true));
        assert!(!rules.admits(&TreePath::new("a").unwrap(), false));
    }

    #[test]
    fn mistakes_have_their_numbers() {
        for (select, number) in [
            (vec![include("/elsewhere"), exclude("**")], 14),
            (vec![exclude("/s//a")], 15),
            (vec![exclude("/s/a"), include("/s/b")], 16),
            (vec![exclude("/s/a"), Select::Literal], 71),
            (vec![Select::Globbing, exclude("/s/a")], 70),
            (vec![Select::FilesFrom(b"/a\n".to_vec())], 72),
            (vec![Select::FilesFrom(b"\n".to_vec())], 73),
        ] {
            assert_eq!(
                selection(select.clone()).unwrap_err().code,
                number,
                "{select:?}"
            );
        }
    }

    #[test]
    fn lists_have_comments_signs_and_quotes() {
        let list = b"# no\n\n  /a \n- /b\n+ '/c d'\n\"/e\"\n";
        let read: Vec<_> = lines(list, true, false).collect();
        let expected: [(&[u8], bool); 4] = [
            (b"/a", true),
            (b"/b", false),
            (b"/c d", true),
            (b"/e", true),
        ];
        assert_eq!(read, expected);
    }

    #[test]
    fn scanned_folders_come_with_the_first_thing_in_them() {
        let entry = |path: &str| {
            let path = TreePath::new(path).unwrap();
            let kind = EntryKind::Directory;
            Arc::new(Entry::new(path, kind, 0, (0, 0), tree::Time::default()))
        };
        let mut deferred = Deferred::default();
        assert!(deferred.take(&entry("a"), Verdict::Scanned).is_empty());
        assert!(deferred.take(&entry("a/b"), Verdict::Scanned).is_empty());
        assert!(deferred.take(&entry("a/c"), Verdict::Scanned).is_empty());
        let due = deferred.take(&entry("a/c/d"), Verdict::In);
        let due: Vec<String> = due.iter().map(|entry| entry.path.to_string()).collect();
        assert_eq!(due, ["a", "a/c", "a/c/d"]);
        assert_eq!(deferred.take(&entry("a/c/e"), Verdict::In).len(), 1);
    }

    #[test]
    fn literal_rules_take_special_characters_as_they_are() {
        let rules = selection(vec![Select::Literal, exclude("/s/[a]*")]).unwrap();
        assert_eq!(verdict(&rules, "[a]*/x", false), Verdict::Out);
        assert_eq!(verdict(&rules, "a", false), Verdict::In);
    }
}
