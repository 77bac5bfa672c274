//! The folders of a restore: made when needed, finished at the end.
//!
//! A folder is made private and marked ([`UNFINISHED_MODE`]), so that nobody else gets into it while
//! it fills, and so that a later restore recognises it should this one be interrupted. Its own
//! mode, owner and times come when everything in it is done, for a folder without write
//! permission takes no files, and every file in it changes its time. Folders that were made, or
//! whose attributes are to be written, are remembered as a tree of names: less memory than their
//! paths, whatever the depth.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{self, AtFlags, Dir, Mode};
use rustix::io::Errno;

use super::attributes::{AttributeWriter, Attributes, Before, Object};
use super::beneath::Folder;
use super::handles::{Handles, Prefix, prefixes};
use super::key::{PathKey, PathKeys};
use super::names::is_temporary;
use super::standing::{UNFINISHED_MODE, identity};
use super::trouble::Trouble;
use crate::{ProblemKind, TreePath};

/// Mode of a folder that the archive says nothing about.
const UNRECORDED_MODE: u32 = 0o700;

/// The folders of a running restore.
#[derive(Debug)]
pub(super) struct Directories {
    keys: PathKeys,
    handles: Handles,
    /// Parents stand before their children.
    nodes: Vec<Node>,
    index: HashMap<PathKey, usize>,
    /// Folders that stood there and were cleared of leftovers.
    swept: HashSet<PathKey>,
}

#[derive(Debug)]
struct Node {
    /// Index of the parent; the root is its own.
    parent: usize,
    name: Box<[u8]>,
    pending: Option<Pending>,
}

/// What is to be done with a folder at the end.
#[derive(Debug)]
struct Pending {
    /// Which folder it is, so that no other is taken for it.
    identity: (u64, u64),
    made: bool,
    /// None while the archive has not said anything about it.
    attributes: Option<Box<Attributes>>,
}

impl Directories {
    /// `made`: whether the root was made for this restore.
    pub(super) fn new(root: Arc<Folder>, keys: PathKeys, made: bool) -> Result<Self, Errno> {
        let mut directories = Self {
            handles: Handles::new(Arc::clone(&root), keys.clone()),
            keys,
            nodes: vec![Node {
                parent: 0,
                name: Box::default(),
                pending: None,
            }],
            index: HashMap::from([(PathKeys::ROOT, 0)]),
            swept: HashSet::new(),
        };
        if made {
            directories.remember(0, &root, true, None)?;
        } else {
            directories.sweep(PathKeys::ROOT, &root);
        }
        Ok(directories)
    }

    /// The folder at `path`, made if it is missing, with the folders above it.
    pub(super) fn folder(&mut self, path: &TreePath) -> Result<Arc<Folder>, Trouble> {
        let key = self.keys.of(path);
        if let Some(folder) = self.handles.get(key) {
            return Ok(folder);
        }
        match self.handles.open(path) {
            Ok(folder) => {
                self.sweep(key, &folder);
                Ok(folder)
            }
            Err(Errno::NOENT) => self.make_way(path),
            Err(errno) => Err(Trouble::at("open its folder")(errno)),
        }
    }

    /// The folder at `path` if it is there.
    pub(super) fn standing(&mut self, path: &TreePath) -> Result<Arc<Folder>, Errno> {
        let folder = self.handles.open(path)?;
        self.sweep(self.keys.of(path), &folder);
        Ok(folder)
    }

    /// Drops the handle of a folder that has vanished.
    pub(super) fn forget(&mut self, path: &TreePath) {
        let key = self.keys.of(path);
        self.handles.forget(key);
    }

    fn make_way(&mut self, path: &TreePath) -> Result<Arc<Folder>, Trouble> {
        let keys = self.keys.clone();
        let prefixes = prefixes(&keys, path);
        let (mut folder, depth) = self.handles.nearest(&prefixes);
        for (index, prefix) in prefixes.iter().enumerate().skip(depth) {
            folder = match folder.open_below(prefix.name()) {
                Ok(below) => {
                    self.sweep(prefix.key, &below);
                    Arc::new(below)
                }
                Err(Errno::NOENT) => {
                    self.make(&folder, prefixes.get(..=index).unwrap_or_default(), *prefix)?
                }
                Err(errno) => return Err(Trouble::at("open its folder")(errno)),
            };
            self.handles.insert(prefix.key, Arc::clone(&folder));
        }
        Ok(folder)
    }

    /// Makes one folder; one that stands there already is taken.
    fn make(
        &mut self,
        parent: &Folder,
        prefixes: &[Prefix<'_>],
        prefix: Prefix<'_>,
    ) -> Result<Arc<Folder>, Trouble> {
        let mode = Mode::from_raw_mode(UNFINISHED_MODE);
        let made = match fs::mkdirat(parent, prefix.name(), mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(Trouble::at("make the folder")(errno)),
        };
        let opened = if made {
            parent.open_made(prefix.name())
        } else {
            parent.open_below(prefix.name())
        };
        let folder = match opened {
            Ok(folder) => Arc::new(folder),
            Err(Errno::NOTDIR) => return Err(ProblemKind::Appeared.into()),
            Err(errno) => return Err(Trouble::at("open the folder")(errno)),
        };
        if made {
            let node = self.node(prefixes);
            let remembered = self.remember(node, &folder, true, None);
            remembered.map_err(Trouble::at("examine the folder"))?;
            self.swept.insert(prefix.key);
        } else {
            self.sweep(prefix.key, &folder);
        }
        Ok(folder)
    }

    /// Makes the folder that an entry is about, or takes the one that stands there, and remembers
    /// what it is to look like.
    ///
    /// `replace`: whether something else may be removed to make room.
    pub(super) fn place(
        &mut self,
        path: &TreePath,
        attributes: Attributes,
        replace: bool,
    ) -> Result<(), Trouble> {
        let keys = self.keys.clone();
        let prefixes = prefixes(&keys, path);
        let (folder, node) = match (prefixes.last(), path.parent()) {
            (Some(last), Some(parent)) => {
                let home = self.folder(&parent)?;
                if replace {
                    clear_the_way(&home, last.name())?;
                }
                let folder = match self.handles.get(last.key) {
                    Some(folder) => folder,
                    None => self.make(&home, &prefixes, *last)?,
                };
                self.handles.insert(last.key, Arc::clone(&folder));
                (folder, self.node(&prefixes))
            }
            _ => (Arc::clone(&self.handles.root), 0),
        };
        let remembered = self.remember(node, &folder, false, Some(attributes));
        remembered.map_err(Trouble::at("examine the folder"))
    }

    /// The node that the last of the prefixes leads to; those on the way are added before it.
    fn node(&mut self, prefixes: &[Prefix<'_>]) -> usize {
        let known = prefixes.iter().enumerate().rev();
        let known = known.map(|(index, prefix)| (index + 1, self.index.get(&prefix.key)));
        let (depth, mut node) = known
            .filter_map(|(depth, node)| Some((depth, *node?)))
            .next()
            .unwrap_or((0, 0));
        for prefix in prefixes.iter().skip(depth) {
            self.nodes.push(Node {
                parent: node,
                name: prefix.name().into(),
                pending: None,
            });
            node = self.nodes.len() - 1;
            self.index.insert(prefix.key, node);
        }
        node
    }

    fn remember(
        &mut self,
        node: usize,
        folder: &Folder,
        made: bool,
        attributes: Option<Attributes>,
    ) -> Result<(), Errno> {
        let identity = identity(&fs::fstat(folder)?);
        if let Some(node) = self.nodes.get_mut(node) {
            let before = node.pending.take();
            let made = made || before.as_ref().is_some_and(|pending| pending.made);
            let attributes = attributes
                .map(Box::new)
                .or_else(|| before.and_then(|pending| pending.attributes));
            node.pending = Some(Pending {
                identity,
                made,
                attributes,
            });
        }
        Ok(())
    }

    /// Removes what an interrupted restore has left in a folder that stood there: once, before
    /// anything is put into it.
    fn sweep(&mut self, key: PathKey, folder: &Folder) {
        if !folder.readable || !self.swept.insert(key) {
            return;
        }
        // Leftovers harm nobody: what cannot be listed or removed stays.
        let Ok(entries) = Dir::read_from(folder) else {
            return;
        };
        for entry in entries.flatten() {
            if is_temporary(entry.file_name().to_bytes()) {
                let _stays = fs::unlinkat(folder, entry.file_name(), AtFlags::empty());
            }
        }
    }

    /// Gives every folder that was made, and every one that was recorded, its attributes: those
    /// inside before those around them, for the mode of one may bar the way to others.
    pub(super) fn finish(&mut self, writer: AttributeWriter<'_>) {
        for index in (0..self.nodes.len()).rev() {
            let Some(pending) = self
                .nodes
                .get_mut(index)
                .and_then(|node| node.pending.take())
            else {
                continue;
            };
            let path = self.path_of(index);
            if let Err(what) = self.finish_one(&path, pending, writer) {
                writer.results.problem(&path, what);
            }
        }
    }

    fn finish_one(
        &mut self,
        path: &TreePath,
        pending: Pending,
        writer: AttributeWriter<'_>,
    ) -> Result<(), ProblemKind> {
        let failed = |action| {
            move |errno: Errno| ProblemKind::Io {
                action,
                source: errno.into(),
            }
        };
        let folder = self.handles.open(path).map_err(failed("open the folder"))?;
        let stat = fs::fstat(&*folder).map_err(failed("examine the folder"))?;
        if identity(&stat) != pending.identity {
            return Err(ProblemKind::Displaced);
        }
        let object = if folder.readable {
            Object::Opened(folder.as_fd())
        } else {
            Object::Referred(folder.as_fd())
        };
        let Some(attributes) = pending.attributes else {
            let mode = Mode::from_raw_mode(UNRECORDED_MODE);
            return fs::fchmod(&*folder, mode).map_err(failed("set the permissions"));
        };
        let before = if pending.made {
            Before::Made {
                with_acl: folder.passes_acl_on,
            }
        } else {
            Before::Stood
        };
        writer.write(&attributes, object, &stat, before, path);
        writer.write_locks(&attributes, object, path);
        Ok(())
    }

    fn path_of(&self, mut index: usize) -> TreePath {
        let mut names: Vec<&[u8]> = Vec::new();
        while let Some(node) = self.nodes.get(index)
            && index != 0
        {
            names.push(&node.name);
            index = node.parent;
        }
        names.reverse();
        TreePath::new(names.join(&b'/')).unwrap_or_default()
    }
}

/// Removes what stands where a folder goes. A folder, with all it holds, is left.
fn clear_the_way(home: &Folder, name: &[u8]) -> Result<(), Trouble> {
    match fs::unlinkat(home, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
        Err(errno) => Err(Trouble::at("remove what stands there")(errno)),
    }
}
