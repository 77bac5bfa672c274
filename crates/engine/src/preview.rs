//! What the rules of the sources leave out, and how much that is: a look at the files before a
//! backup, without reading any.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tree::{BadPath, TreePath};

use crate::{Config, Reading, Why};

/// What is left out and what stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// Regular files that would be backed up.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is left out, the largest first.
    pub left_out: Vec<LeftOutHere>,
    /// Whether it was ended before everything was looked at: the numbers are the least.
    pub ended_early: bool,
}

/// A file or folder that is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOutHere {
    /// Which.
    pub path: TreePath,
    /// Why, as the end of “it is left out because …”.
    pub because: String,
    /// Regular files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Most of what is left out that is named.
const NAMED_MAX: usize = 200;

/// Looks at the sources of a configuration, until `go_on` says no. What cannot be read counts for
/// nothing.
///
/// # Errors
///
/// [`BadPath`] of a path with a `..` in it.
pub fn preview(config: &Config, go_on: &mut dyn FnMut() -> bool) -> Result<Preview, BadPath> {
    let reading = Reading::new(config)?;
    let mut look = Look {
        reading: &reading,
        preview: Preview::default(),
        go_on,
    };
    let sources = config.sources.iter();
    let sources = sources.filter(|source| source.printed.is_none());
    let mut roots: Vec<&PathBuf> = sources.flat_map(|source| &source.paths).collect();
    roots.sort();
    // What lies in another root is looked at there.
    roots.dedup_by(|inner, outer| inner.starts_with(&**outer));
    for root in roots {
        look.at(root)?;
    }
    let mut preview = look.preview;
    preview
        .left_out
        .sort_by_key(|one| std::cmp::Reverse(one.bytes));
    preview.left_out.truncate(NAMED_MAX);
    Ok(preview)
}

struct Look<'a> {
    reading: &'a Reading,
    preview: Preview,
    go_on: &'a mut dyn FnMut() -> bool,
}

impl Look<'_> {
    fn at(&mut self, root: &Path) -> Result<(), BadPath> {
        let mut waiting = vec![root.to_owned()];
        while let Some(path) = waiting.pop() {
            if !(self.go_on)() {
                self.preview.ended_early = true;
                return Ok(());
            }
            let Ok(metadata) = path.symlink_metadata() else {
                continue;
            };
            match self.reading.explain(&path)? {
                Why::LeftOut { because, .. } => {
                    let (files, bytes) = self.weigh(path.clone());
                    self.preview.left_out.push(LeftOutHere {
                        path: TreePath::from_local(&path)?,
                        because,
                        files,
                        bytes,
                    });
                }
                Why::Included { .. } if metadata.is_dir() => waiting.extend(entries(&path)),
                Why::Included { .. } if metadata.is_file() => {
                    self.preview.files += 1;
                    self.preview.bytes += metadata.len();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How much is in what is left out.
    fn weigh(&mut self, path: PathBuf) -> (u64, u64) {
        let (mut files, mut bytes) = (0, 0);
        let mut waiting = vec![path];
        while let Some(path) = waiting.pop() {
            if !(self.go_on)() {
                self.preview.ended_early = true;
                break;
            }
            match path.symlink_metadata() {
                Ok(found) if found.is_dir() => waiting.extend(entries(&path)),
                Ok(found) if found.is_file() => {
                    files += 1;
                    bytes += found.size();
                }
                _ => {}
            }
        }
        (files, bytes)
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Places;

    #[test]
    fn what_rules_leave_out_is_named_and_weighed() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        for (path, size) in [
            ("Documents/a", 100),
            (".cache/x/big", 5000),
            ("Videos/film", 9000),
            ("Videos/other", 1),
        ] {
            let path = home.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, vec![0; size]).unwrap();
        }
        let places = Places::from_environment(home, |_| None);
        let text = "[[source]]\npaths = [\"~\", \"~/Documents\"]\npresets = [\"caches\"]\n\
            exclude = [\"~/Videos\"]\n[layer.a]\nkind = \"borg\"\nstore = \"/nowhere\"\nencryption = \"none\"\n";
        let config = Config::parse(text, Path::new("x"), &places).unwrap();
        let found = preview(&config, &mut || true).unwrap();
        assert_eq!((found.files, found.bytes), (1, 100));
        let sizes: Vec<(u64, u64)> = found
            .left_out
            .iter()
            .map(|one| (one.files, one.bytes))
            .collect();
        assert_eq!(sizes, [(2, 9001), (1, 5000)]);
        let mut steps = 3;
        let cut = preview(&config, &mut || {
            steps -= 1;
            steps > 0
        });
        assert!(cut.unwrap().ended_early);
    }
}
