//! Why a path is, or is not, in a scan.

use std::os::fd::AsFd;
use std::path::Path;

use super::folder;
use super::object::{People, examine};
use super::source::{Omission, Source};
use super::walk::open_parent;
use crate::{BadPath, ProblemKind, TreePath};

/// What would become of a path.
#[derive(Debug)]
pub enum Verdict {
    /// It is in the scan.
    Included {
        /// The rule that keeps it, where one is about it.
        rule: Option<String>,
    },
    /// It is left out, or a folder above it is.
    Omitted {
        /// What is left out: the path itself, or the folder above it.
        at: TreePath,
        /// Why.
        omission: Omission,
    },
    /// No root holds it.
    NotInRoots,
    /// It cannot be looked at, or is not there.
    Unreadable {
        /// Where it failed.
        at: TreePath,
        /// Why.
        what: ProblemKind,
    },
}

/// Says what the scan of `source` would do with a path of this machine.
///
/// It takes the same decisions in the same order as the walk, for the path and each folder above
/// it down from its root.
///
/// # Errors
///
/// [`BadPath`] when the path, or a root, has a `..` in it.
pub fn explain(source: &Source, path: &Path) -> Result<Verdict, BadPath> {
    let path = TreePath::from_local(path)?;
    let mut roots = Vec::new();
    for root in &source.roots {
        let root = TreePath::from_local(root)?;
        if path.starts_with(&root) {
            roots.push(root);
        }
    }
    roots.sort_unstable();
    let mut verdict = Verdict::NotInRoots;
    // The outermost root comes first; where it leaves the path out, an inner one may hold it.
    for root in &roots {
        verdict = below(source, root, &path, &roots);
        if matches!(verdict, Verdict::Included { .. }) {
            break;
        }
    }
    Ok(verdict)
}

fn below(source: &Source, root: &TreePath, path: &TreePath, roots: &[TreePath]) -> Verdict {
    let people = People::default();
    let mut way = vec![path.clone()];
    while let Some(above) = way
        .last()
        .filter(|last| *last != root)
        .and_then(TreePath::parent)
    {
        way.push(above);
    }
    let mut root_device = 0;
    for at in way.into_iter().rev() {
        let omitted = |omission| Verdict::Omitted {
            at: at.clone(),
            omission,
        };
        if let Some(omission) = source.by_rule(&at) {
            return omitted(omission);
        }
        let examined = open_parent(&at).and_then(|(parent, name)| {
            examine(parent.as_fd(), &name.name, at.clone(), true, &people)
        });
        let object = match examined {
            Ok(object) => object,
            Err(what) => return Verdict::Unreadable { at, what },
        };
        if let Some(omission) = source.by_metadata(&object.entry) {
            return omitted(omission);
        }
        if roots.contains(&at) {
            root_device = object.entry.device;
        }
        let Some(handle) = object.handle.filter(|_| object.entry.is_directory()) else {
            continue;
        };
        if source.one_file_system && object.entry.device != root_device {
            if at == *path {
                break;
            }
            return omitted(Omission::OtherFileSystem);
        }
        let (names, _) = folder::list(&handle);
        let names = names.iter().map(folder::Name::as_bytes);
        if let Some(omission) = source.by_names(names, || folder::is_cache(&handle)) {
            return omitted(omission);
        }
    }
    Verdict::Included {
        rule: source
            .rules
            .find(path.as_bytes())
            .map(|rule| rule.to_string()),
    }
}
