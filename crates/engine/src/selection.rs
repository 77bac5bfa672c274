//! Which entries of a snapshot are restored, and where they go.

use std::collections::HashMap;
use std::sync::Arc;

use tree::{Entry, TreePath};

/// Paths of a snapshot, each with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    paths: Vec<TreePath>,
    /// What is taken away from the beginning of each path.
    base: TreePath,
}

impl Selection {
    /// Everything goes to where it was: paths stay as they are.
    #[must_use]
    pub fn in_place(paths: Vec<TreePath>) -> Self {
        Self {
            paths,
            base: TreePath::root(),
        }
    }

    /// Everything goes into one folder. No folder above what was asked for comes with it: one
    /// path arrives under its own name, several keep as much of their paths as tells them apart.
    #[must_use]
    pub fn together(paths: Vec<TreePath>) -> Self {
        let parents = paths.iter().map(|path| path.parent().unwrap_or_default());
        let base = parents.reduce(|a, b| common(&a, &b)).unwrap_or_default();
        Self { paths, base }
    }

    /// Other paths, which go where they would go with these.
    pub(crate) fn narrowed(&self, paths: Vec<TreePath>) -> Self {
        Self {
            paths,
            base: self.base.clone(),
        }
    }

    /// The paths that were asked for.
    #[must_use]
    pub fn paths(&self) -> &[TreePath] {
        &self.paths
    }

    /// Whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.paths.iter().any(TreePath::is_root)
    }

    /// Where a path goes; `None` when it was not asked for.
    #[must_use]
    pub fn destination(&self, path: &TreePath) -> Option<TreePath> {
        if !self.paths.iter().any(|selected| path.starts_with(selected)) {
            return None;
        }
        let skipped = self.base.components().count();
        let rest = path.components().skip(skipped);
        Some(rest.fold(TreePath::root(), |path, name| path.join(name)))
    }

    /// Goes through the entries of a snapshot in order. Two that go through the same entries say
    /// the same.
    #[must_use]
    pub fn admission(&self) -> Admission<'_> {
        Admission {
            selection: self,
            first_names: HashMap::new(),
        }
    }
}

/// Decides about entry after entry.
#[derive(Debug)]
pub struct Admission<'a> {
    selection: &'a Selection,
    /// The first names that were asked for of files whose real first name was not, by the latter.
    first_names: HashMap<Arc<TreePath>, Arc<TreePath>>,
}

impl Admission<'_> {
    /// The entry as it is to be restored, with its new path; `None` when it was not asked for.
    ///
    /// Of a file with several names of which the first was not asked for, the first that was
    /// takes its place: it comes back without [`Entry::hard_link`], so its content is needed.
    pub fn admit(&mut self, mut entry: Entry) -> Option<Entry> {
        let destination = self.selection.destination(&entry.path)?;
        if let Some(first) = entry.hard_link.take() {
            entry.hard_link = match self.selection.destination(&first) {
                Some(first) => Some(Arc::new(first)),
                None => self.first_names.get(&first).cloned(),
            };
            if entry.hard_link.is_none() {
                self.first_names
                    .insert(first, Arc::new(destination.clone()));
            }
        }
        entry.path = destination;
        Some(entry)
    }
}

/// The deepest folder that two paths are both in, or are.
fn common(a: &TreePath, b: &TreePath) -> TreePath {
    let both = a.components().zip(b.components());
    both.take_while(|(a, b)| a == b)
        .fold(TreePath::root(), |path, (name, _)| path.join(name))
}

#[cfg(test)]
mod tests {

    use tree::{EntryKind, Time};

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn together(paths: &[&str]) -> Selection {
        Selection::together(paths.iter().map(|text| path(text)).collect())
    }

    fn goes(selection: &Selection, from: &str) -> Option<String> {
        selection
            .destination(&path(from))
            .map(|path| path.to_string())
    }

    #[test]
    fn what_is_asked_for_arrives_without_the_folders_above_it() {
        let one = together(&["home/ada/Documents"]);
        assert_eq!(
            goes(&one, "home/ada/Documents/x").as_deref(),
            Some("Documents/x")
        );
        assert_eq!(goes(&one, "home/ada"), None);
        assert_eq!(goes(&one, "home/ada/Documents.old"), None);
        let several = together(&["home/ada/x", "home/bob/x"]);
        assert_eq!(goes(&several, "home/bob/x").as_deref(), Some("bob/x"));
        let far = together(&["home/ada/x", "etc/fstab"]);
        assert_eq!(goes(&far, "etc/fstab").as_deref(), Some("etc/fstab"));
        let all = together(&[""]);
        assert!(all.is_everything());
        assert_eq!(goes(&all, "etc/fstab").as_deref(), Some("etc/fstab"));
    }

    #[test]
    fn in_place_paths_stay() {
        let selection = Selection::in_place(vec![path("home/ada/x")]);
        assert_eq!(
            goes(&selection, "home/ada/x").as_deref(),
            Some("home/ada/x")
        );
        assert_eq!(goes(&selection, "home/ada"), None);
    }

    fn file(name: &str, hard_link: Option<&str>) -> Entry {
        Entry {
            size: 1,
            device: 1,
            inode: 1,
            links: 3,
            hard_link: hard_link.map(|first| Arc::new(path(first))),
            ..Entry::new(path(name), EntryKind::File, 0o644, (0, 0), Time::default())
        }
    }

    #[test]
    fn a_further_name_takes_the_place_of_a_first_one_that_was_not_asked_for() {
        let selection = together(&["b"]);
        let mut admission = selection.admission();
        let link = |entry: Option<Entry>| {
            let first = entry.unwrap().hard_link;
            first.map(|first| first.to_string())
        };
        assert_eq!(admission.admit(file("a/1", None)), None);
        assert_eq!(link(admission.admit(file("b/2", Some("a/1")))), None);
        assert_eq!(
            link(admission.admit(file("b/3", Some("a/1")))).as_deref(),
            Some("b/2")
        );
        assert_eq!(
            link(admission.admit(file("b/5", Some("b/4")))).as_deref(),
            Some("b/4")
        );
    }
}
