//! Reading the sources, and saying why a path is in them or not.
//!
//! Each path is read once. Where the paths of two sources lie in one another, the rules of the
//! source that names the inner one hold there. The stores of layers on this machine are never
//! part of a source: a backup of itself would grow with every run. Nor are the files that hold
//! passphrases: a key does not belong into what it opens, and less into another layer; nor the folders
//! in which snapshots for backups are made ([`still::FOLDER`]).
//!
//! A source may be read from snapshots of its file systems: then each path has the place where it is read
//! ([`Still`]), and paths that are read from different ones do not lie in one another for the walk. What is
//! mounted below them, and other subvolumes, are in no such snapshot; unless they are sources themselves they
//! are named as not covered.
//!
//! The configuration is read too, at its own place, whatever the sources are: from any layer the
//! whole strategy can be known again.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tree::{
    BadPath, Entry, EntryKind, Options, Preset, Problem, ProblemKind, Rule, Rules, Step, TreePath,
    Verdict,
};

use crate::Config;
use crate::config::Source;
use crate::event::chain;
use crate::still::{self, Still};

/// What is read for the sources of a configuration.
#[derive(Debug, Clone)]
pub struct Reading {
    sources: Vec<tree::Source>,
    /// What is never read, stores of layers and files with secrets, and why.
    never: Vec<(TreePath, String)>,
    /// What is known before anything is read: what is not covered though somebody may think so, and what
    /// earlier runs have left.
    problems: Vec<Arc<Problem>>,
}

/// Why a path of this machine is, or is not, in the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is in the backup.
    Included {
        /// The rule that keeps it, where one is about it.
        rule: Option<String>,
    },
    /// It is left out, or a folder above it is.
    LeftOut {
        /// What is left out: the path itself or the folder above it.
        at: TreePath,
        /// The reason, as the end of “it is left out because …”.
        because: String,
    },
    /// No source names it or a folder above it.
    NotInSources,
    /// It cannot be looked at, or is not there.
    Unreadable {
        /// Where it failed.
        at: TreePath,
        /// What the system says.
        because: String,
    },
}

impl Reading {
    /// Turns what is configured into what is read.
    ///
    /// # Errors
    ///
    /// [`BadPath`] of a path with a `..` in it.
    pub fn new(config: &Config) -> Result<Self, BadPath> {
        Self::with(config, None)
    }

    /// The same with snapshots of file systems, where sources want them.
    pub(crate) fn with(config: &Config, still: Option<&Still>) -> Result<Self, BadPath> {
        let stores = config.layers.iter().filter_map(|layer| {
            let because = format!("it is the store of layer `{}`", layer.name);
            Some((layer.local_store()?, because))
        });
        let secrets = config.secret_files().into_iter();
        let secrets = secrets.map(|(path, what)| (path, format!("it holds {what}")));
        let never: Vec<(PathBuf, String)> = stores.chain(secrets).collect();
        // What is read from one place, by the rules of one source.
        let mut groups: Vec<(usize, Option<PathBuf>, Vec<PathBuf>)> = Vec::new();
        for (index, source) in config.sources.iter().enumerate() {
            for path in &source.paths {
                let top = still.and_then(|still| still.top(index, path));
                let is_it = |group: &&mut (usize, Option<PathBuf>, Vec<PathBuf>)| {
                    group.0 == index && group.1 == top
                };
                match groups.iter_mut().find(is_it) {
                    Some((.., paths)) => paths.push(path.clone()),
                    None => groups.push((index, top, vec![path.clone()])),
                }
            }
        }
        let mut named: HashSet<PathBuf> = HashSet::new();
        let mut sources = Vec::new();
        for (number, (index, top, paths)) in groups.iter().enumerate() {
            let Some(source) = config.sources.get(*index) else {
                continue;
            };
            let mut roots = paths.clone();
            roots.retain(|root| named.insert(root.clone()));
            let others = groups
                .iter()
                .enumerate()
                .filter(|&(other, _)| other != number)
                .flat_map(|(_, (.., other))| other);
            let inner = others.filter(|path| !paths.contains(path));
            let left_out: Vec<&Path> = never
                .iter()
                .map(|(path, _)| path.as_path())
                .chain(inner.map(PathBuf::as_path))
                .collect();
            let mut source = tree_source(source, roots, &left_out)?;
            source.top.clone_from(top);
            sources.push(source);
        }
        let never = never
            .into_iter()
            .map(|(path, because)| Ok((TreePath::from_local(&path)?, because)));
        let mut reading = Self {
            sources,
            never: never.collect::<Result<_, BadPath>>()?,
            problems: still.map_or_else(Vec::new, |still| still.problems().to_vec()),
        };
        reading.add_configuration(config)?;
        reading.add_sentinel(config)?;
        for mount in still.iter().flat_map(|still| still.mounts(config)) {
            let is_source = config
                .sources
                .iter()
                .any(|source| source.paths.contains(&mount));
            if !is_source && matches!(reading.explain(&mount)?, Why::Included { .. }) {
                let problem = not_covered(TreePath::from_local(&mount)?);
                reading.problems.push(Arc::new(problem));
            }
        }
        Ok(reading)
    }

    /// Adds the configuration itself, at the place where it is. One that is read anyway is read
    /// once; one with a password in it is left to the sources. A link is followed: what counts is
    /// the text.
    fn add_configuration(&mut self, config: &Config) -> Result<(), BadPath> {
        let Ok(file) = config.file.canonicalize() else {
            return Ok(());
        };
        let is_wanted = file.is_file() && config.passwords().is_empty();
        if is_wanted && !matches!(self.explain(&file)?, Why::Included { .. }) {
            self.sources.push(tree::Source {
                roots: vec![file],
                ..tree::Source::default()
            });
        }
        Ok(())
    }

    /// Adds the file that every drill has to bring back, which may not have been written yet.
    fn add_sentinel(&mut self, config: &Config) -> Result<(), BadPath> {
        if let Some(file) = &config.sentinel
            && matches!(self.explain(file)?, Why::NotInSources | Why::LeftOut { .. })
        {
            self.sources.push(tree::Source {
                roots: vec![file.clone()],
                ..tree::Source::default()
            });
        }
        Ok(())
    }

    /// Reads everything once, in the order of paths, whatever source they belong to. `wants` is
    /// asked about each regular file, from any thread; `take` gets each step and ends the reading
    /// by saying no. Extended attributes are left alone where nobody takes them in.
    ///
    /// # Errors
    ///
    /// [`BadPath`] of a path with a `..` in it.
    pub fn read(
        &self,
        attributes: bool,
        wants: &(dyn Fn(&Entry) -> bool + Sync),
        take: &mut dyn FnMut(Step) -> bool,
    ) -> Result<(), BadPath> {
        let mut pass = Pass {
            waiting: self.stretches()?,
            options: Options {
                attributes,
                ..Options::default()
            },
            take,
            going: true,
        };
        for problem in &self.problems {
            pass.going = pass.going && (pass.take)(Step::Problem(Arc::clone(problem)));
        }
        while pass.going && !pass.waiting.is_empty() {
            pass.read_next(wants)?;
        }
        Ok(())
    }

    /// The sources as stretches that can be read one after another, or one inside another: roots
    /// that follow each other in the order of paths, belong to one source, and lie in no other.
    fn stretches(&self) -> Result<VecDeque<Stretch>, BadPath> {
        let mut roots = Vec::new();
        for (index, source) in self.sources.iter().enumerate() {
            for root in &source.roots {
                roots.push((TreePath::from_local(root)?, index, root));
            }
        }
        roots.sort();
        // What lies in another source is read in the middle of that, so it stands alone.
        let is_inside = |path: &TreePath, index: usize| {
            let others = roots.iter().filter(|(_, other, _)| *other != index);
            others
                .into_iter()
                .any(|(other, _, _)| path.starts_with(other))
        };
        let mut stretches: VecDeque<Stretch> = VecDeque::new();
        for (first, index, root) in roots.iter().cloned() {
            let fits = |last: &&mut Stretch| {
                last.index == index && !is_inside(&first, index) && !is_inside(&last.first, index)
            };
            match stretches.back_mut().filter(fits) {
                Some(last) => last.source.roots.push(root.clone()),
                None => {
                    let Some(source) = self.sources.get(index) else {
                        continue;
                    };
                    let roots = vec![root.clone()];
                    let source = tree::Source {
                        roots,
                        ..source.clone()
                    };
                    stretches.push_back(Stretch {
                        first,
                        index,
                        source,
                    });
                }
            }
        }
        Ok(stretches)
    }

    /// Says whether a path of this machine is read, and if not, why.
    ///
    /// # Errors
    ///
    /// [`BadPath`] when the path has a `..` in it.
    pub fn explain(&self, path: &Path) -> Result<Why, BadPath> {
        let tree_path = TreePath::from_local(path)?;
        let never = self.never.iter();
        let mut never = never.filter(|(at, _)| tree_path.starts_with(at));
        if let Some((at, because)) = never.next() {
            return Ok(Why::LeftOut {
                at: at.clone(),
                because: because.clone(),
            });
        }
        let mut why = Why::NotInSources;
        for source in &self.sources {
            let found = Why::from(tree::explain(source, path)?);
            if matches!(why, Why::NotInSources) || matches!(found, Why::Included { .. }) {
                why = found;
            }
        }
        if matches!(why, Why::Included { .. })
            && let Some(hindrance) = hindrance(path, tree_path)
        {
            return Ok(hindrance);
        }
        Ok(why)
    }
}

/// What keeps an object out of the backup although the rules let it in.
fn hindrance(path: &Path, at: TreePath) -> Option<Why> {
    let kind = path.symlink_metadata().ok()?.file_type();
    if kind.is_socket() {
        let because = "it is a socket, which only the program behind it can make".to_owned();
        return Some(Why::LeftOut { at, because });
    }
    let failure = match kind.is_file() {
        true => File::open(path).err(),
        false if kind.is_dir() => path.read_dir().err(),
        false => None,
    };
    let because = failure?.to_string();
    Some(Why::Unreadable { at, because })
}

/// What a snapshot has not: behind an empty folder of this number another subvolume stands.
fn missing(entry: &Entry) -> Option<Problem> {
    let is_place = entry.inode == still::PLACE_INODE && entry.kind == EntryKind::Directory;
    is_place.then(|| not_covered(entry.path.clone()))
}

fn not_covered(path: TreePath) -> Problem {
    let source = io::Error::other(
        "it is not in the snapshot of the file system: name it in `paths`, too, or exclude it",
    );
    let action = "read what is below";
    let what = ProblemKind::Io { action, source };
    Problem { path, what }
}

/// Roots of one source that are read together.
struct Stretch {
    first: TreePath,
    /// Which source.
    index: usize,
    source: tree::Source,
}

/// One reading of everything.
struct Pass<'a> {
    waiting: VecDeque<Stretch>,
    options: Options,
    take: &'a mut dyn FnMut(Step) -> bool,
    going: bool,
}

impl Pass<'_> {
    /// Reads the next stretch; those that lie inside of it are read where they belong.
    fn read_next(&mut self, wants: &(dyn Fn(&Entry) -> bool + Sync)) -> Result<(), BadPath> {
        let Some(stretch) = self.waiting.pop_front() else {
            return Ok(());
        };
        let mut bad = Ok(());
        tree::read_ahead(&stretch.source, self.options, wants, |step| {
            let path = match &step {
                Step::Entry { entry, .. } => Some(&entry.path),
                Step::Problem(problem) => Some(&problem.path),
                Step::Data(_) | Step::Hole(_) | Step::End(_) => None,
            };
            while self.going
                && bad.is_ok()
                && let (Some(path), Some(next)) = (path, self.waiting.front())
                && next.first < *path
            {
                bad = self.read_next(wants);
            }
            let missing = match &step {
                Step::Entry { entry, .. } if stretch.source.top.is_some() => missing(entry),
                _ => None,
            };
            self.going = self.going && bad.is_ok() && (self.take)(step);
            if let Some(problem) = missing.filter(|_| !stretch.source.one_file_system) {
                self.going = self.going && (self.take)(Step::Problem(Arc::new(problem)));
            }
            if self.going {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        bad
    }
}

impl From<Verdict> for Why {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Included { rule } => Self::Included { rule },
            Verdict::Omitted { at, omission } => Self::LeftOut {
                at,
                because: omission.to_string(),
            },
            Verdict::NotInRoots => Self::NotInSources,
            Verdict::Missing { at } => Self::Unreadable {
                at,
                because: "it is not there".to_owned(),
            },
            Verdict::NoFolder { at } => Self::Unreadable {
                at,
                because: "it is no folder; of a link, what it leads to is not in the backup"
                    .to_owned(),
            },
            Verdict::Unreadable { at, what } => Self::Unreadable {
                at,
                because: chain(&what).join(": "),
            },
        }
    }
}

fn tree_source(
    source: &Source,
    roots: Vec<PathBuf>,
    left_out: &[&Path],
) -> Result<tree::Source, BadPath> {
    let mut rules = Rules::default();
    // Snapshots for backups, of whichever configuration, are in none.
    let _ = rules.add(&format!("- {}", still::FOLDER));
    let roots_in_tree: Vec<TreePath> = roots
        .iter()
        .map(|root| TreePath::from_local(root))
        .collect::<Result<_, _>>()?;
    for path in left_out {
        let below = TreePath::from_local(path)?;
        // Of a path above a root nothing but the root is in question.
        let holds_root = roots_in_tree.iter().any(|root| root.starts_with(&below));
        if !holds_root || roots.iter().any(|root| root == path) {
            add_path(&mut rules, path);
        }
    }
    for rule in &source.exclude {
        // The configuration was checked for rules that are none.
        let _ = rules.add(rule);
    }
    for &preset in &source.presets {
        add_preset(&mut rules, preset, &roots_in_tree);
    }
    Ok(tree::Source {
        roots,
        rules,
        markers: source
            .exclude_if_present
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect(),
        leave_out_caches: source.exclude_caches,
        size_max: source.exclude_larger,
        leave_out_no_dump: source.exclude_no_dump,
        one_file_system: source.one_file_system,
        leave_out_pseudo: true,
        ..tree::Source::default()
    })
}

/// Adds the rules of a preset, but for those that would leave out a path that was asked for by
/// name: somebody who names `/var/tmp/work` means it.
fn add_preset(rules: &mut Rules, preset: Preset, roots: &[TreePath]) {
    let spares = |rule: &Rule| {
        roots
            .iter()
            .all(|root| !rule.pattern.matches(root.as_bytes()))
    };
    for rule in preset.rules().filter(spares) {
        rules.push(rule);
    }
}

/// Adds a rule that leaves out a path of this machine and what is below it.
fn add_path(rules: &mut Rules, path: &Path) {
    // Rules are text; a path that is none is matched with `?` for each byte that is none.
    let mut pattern = String::from("- pp:");
    match std::str::from_utf8(path.as_os_str().as_bytes()) {
        Ok(text) => pattern.push_str(text),
        Err(_) => {
            pattern = String::from("- sh:");
            for chunk in path.as_os_str().as_bytes().utf8_chunks() {
                pattern.push_str(chunk.valid());
                pattern.extend(chunk.invalid().iter().map(|_| '?'));
            }
        }
    }
    let _ = rules.add(&pattern);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::Places;

    /// Writes files below a folder and a configuration that uses them, `DIR` for the folder.
    fn reading(folder: &Path, files: &[&str], config: &str) -> Reading {
        for file in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let dir = folder.display().to_string();
        let text = format!(
            "{}\n[layer.disk]\nkind = \"borg\"\nencryption = \"none\"\nstore = \"{dir}/home/store\"\n",
            config.replace("DIR", &dir)
        );
        let places = Places::from_environment(Path::new("/nonexistent"), |_| None);
        let config = Config::parse(&text, Path::new("r.toml"), &places).unwrap();
        Reading::new(&config).unwrap()
    }

    /// The files that are read, below the folder, with how often.
    fn files(reading: &Reading, folder: &Path) -> BTreeMap<String, usize> {
        let prefix = TreePath::from_local(folder).unwrap().to_string() + "/";
        let mut found = BTreeMap::new();
        reading
            .read(true, &|_| false, &mut |step| {
                if let Step::Entry { entry, .. } = step
                    && entry.is_file()
                {
                    let path = entry.path.to_string();
                    *found
                        .entry(path.strip_prefix(&prefix).unwrap().to_owned())
                        .or_default() += 1;
                }
                true
            })
            .unwrap();
        found
    }

    fn once<const N: usize>(paths: [&str; N]) -> BTreeMap<String, usize> {
        paths.into_iter().map(|path| (path.to_owned(), 1)).collect()
    }

    #[test]
    fn sources_inside_and_beside_each_other_come_in_the_order_of_paths() {
        let folder = tempfile::tempdir().unwrap();
        let reading = reading(
            folder.path(),
            &["b/a", "b/m/x", "b/m/y", "b/z/q/1", "b/z/r", "a/1", "c/1"],
            "[[source]]\npaths = [\"DIR/c\", \"DIR/b\"]\n\
             [[source]]\npaths = [\"DIR/b/z/q\", \"DIR/a\", \"DIR/b/m\"]\n",
        );
        let mut paths = Vec::new();
        reading
            .read(true, &|_| false, &mut |step| {
                if let Step::Entry { entry, .. } = step {
                    paths.push(entry.path.clone());
                }
                true
            })
            .unwrap();
        assert!(paths.is_sorted(), "{paths:?}");
        assert_eq!(
            files(&reading, folder.path()),
            once(["a/1", "b/a", "b/m/x", "b/m/y", "b/z/q/1", "b/z/r", "c/1"])
        );
    }

    #[test]
    fn a_store_inside_a_source_is_not_backed_up() {
        let folder = tempfile::tempdir().unwrap();
        let reading = reading(
            folder.path(),
            &["home/a", "home/store/data/0"],
            "[[source]]\npaths = [\"DIR/home\"]\n",
        );
        assert_eq!(files(&reading, folder.path()), once(["home/a"]));
        let why = reading
            .explain(&folder.path().join("home/store/data/0"))
            .unwrap();
        assert!(matches!(why, Why::LeftOut { .. }), "{why:?}");
    }

    #[test]
    fn snapshots_for_backups_are_in_no_backup_whatever_rules_say() {
        let folder = tempfile::tempdir().unwrap();
        let reading = reading(
            folder.path(),
            &["home/a", "home/inner/.ravelin-snapshot/other/home/a"],
            "[[source]]\npaths = [\"DIR/home\"]\nexclude = [\"+ *\"]\n",
        );
        assert_eq!(files(&reading, folder.path()), once(["home/a"]));
    }

    #[test]
    fn a_passphrase_is_read_for_no_layer() {
        let folder = tempfile::tempdir().unwrap();
        let reading = reading(
            folder.path(),
            &[
                "home/a",
                "home/keys/disk",
                "home/keys/other",
                "home/keys/chat",
            ],
            "[[source]]\npaths = [\"DIR/home\", \"DIR/home/keys/disk\"]\n\
             [[notify]]\nchat = { file = \"DIR/home/keys/chat\" }\n\
             [layer.usb]\nkind = \"borg\"\nstore = \"DIR/usb\"\n\
             passphrase = { file = \"DIR/home/keys/disk\" }\n",
        );
        let expected = once(["home/a", "home/keys/other"]);
        assert_eq!(files(&reading, folder.path()), expected);
        let why = reading.explain(&folder.path().join("home/keys/disk"));
        let Ok(Why::LeftOut { because, .. }) = why else {
            panic!("{why:?}");
        };
        assert_eq!(because, "it holds the passphrase of layer `usb`");
    }

    #[test]
    fn the_configuration_is_read_once_wherever_it_is() {
        for (file, sources) in [
            ("etc/r.toml", "[\"DIR/home\"]"),
            ("home/r.toml", "[\"DIR/home\"]"),
            (
                "home/.cache/r.toml",
                "[\"DIR/home\"]\npresets = [\"caches\"]",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().display().to_string();
            let text = format!(
                "[[source]]\npaths = {sources}\n[layer.disk]\nkind = \"borg\"\n\
                 encryption = \"none\"\nstore = \"DIR/store\"\n"
            );
            let text = text.replace("DIR", &dir);
            for (path, content) in [(file, text.as_str()), ("home/a", "x")] {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            let places = Places::from_environment(Path::new("/nonexistent"), |_| None);
            let config = Config::parse(&text, &folder.path().join(file), &places).unwrap();
            let reading = Reading::new(&config).unwrap();
            assert_eq!(files(&reading, folder.path()), once([file, "home/a"]));
        }
    }

    #[test]
    fn a_configuration_with_a_password_in_it_is_not_added() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().display().to_string();
        let text = format!(
            "[[source]]\npaths = [\"{dir}/home\"]\n[layer.nas]\nkind = \"duplicity\"\n\
             encryption = \"none\"\nstore = \"sftp://me:secret@nas/backup\"\n"
        );
        fs::create_dir(folder.path().join("home")).unwrap();
        let file = folder.path().join("r.toml");
        fs::write(&file, &text).unwrap();
        let places = Places::from_environment(Path::new("/nonexistent"), |_| None);
        let config = Config::parse(&text, &file, &places).unwrap();
        assert_eq!(config.passwords(), ["layer.nas.store"]);
        assert!(
            config
                .notes()
                .iter()
                .any(|note| note.contains("a password"))
        );
        let reading = Reading::new(&config).unwrap();
        assert_eq!(files(&reading, folder.path()), BTreeMap::new());
    }

    #[test]
    fn where_sources_overlap_the_inner_one_decides_and_nothing_is_read_twice() {
        let folder = tempfile::tempdir().unwrap();
        let reading = reading(
            folder.path(),
            &["home/a.o", "home/work/b.o", "home/work/c", "home/d"],
            "[[source]]\npaths = [\"DIR/home\"]\n\
             [[source]]\npaths = [\"DIR/home/work\", \"DIR/home/d\"]\nexclude = [\"*.o\"]\n\
             [[source]]\npaths = [\"DIR/home/work\"]\n",
        );
        let expected = once(["home/a.o", "home/work/c", "home/d"]);
        assert_eq!(files(&reading, folder.path()), expected);
    }

    #[test]
    fn a_path_that_is_named_is_read_though_a_preset_is_about_it() {
        let folder = tempfile::tempdir().unwrap();
        let reading = reading(
            folder.path(),
            &["home/.cache/a", "home/.thumbnails/b"],
            "[[source]]\npaths = [\"DIR/home/.cache\", \"DIR/home\"]\npresets = [\"caches\"]\n",
        );
        assert_eq!(files(&reading, folder.path()), once(["home/.cache/a"]));
    }

    #[test]
    fn the_reading_ends_when_nothing_more_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let reading = reading(
            folder.path(),
            &["one/a", "two/b"],
            "[[source]]\npaths = [\"DIR/one\"]\n[[source]]\npaths = [\"DIR/two\"]\n",
        );
        let mut steps = 0;
        let mut take = |_| {
            steps += 1;
            false
        };
        reading.read(true, &|_| false, &mut take).unwrap();
        assert_eq!(steps, 1);
    }
}
