//! The names of archives, as a tree.
//!
//! For a million objects this takes some 50 MB: what each is, is read when somebody asks.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use bstr::BString;

use super::MountSelect;
use super::items::{ItemStore, Place};
use crate::{Archive, Archives, Error, Item, ItemReader};

/// Number of a node in its tree. The root has number 0.
pub(super) type NodeNumber = u32;

/// One name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) parent: NodeNumber,
    name_start: u32,
    name_length: u16,
    /// The kind, as in a mode.
    pub(super) kind: u32,
    /// Which of the tree's archives has its item, and where. `None` for a folder that no item
    /// speaks of.
    pub(super) item: Option<(u16, Place)>,
}

/// The names of one archive, or of several as one.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    names: Vec<u8>,
    /// All nodes but the root, by parent and name.
    order: Vec<NodeNumber>,
    /// For each node, where its children begin in `order`.
    first_child: Vec<u32>,
    /// Further names, and the node with their content.
    links: HashMap<NodeNumber, NodeNumber>,
    /// How many names a node with content has.
    link_counts: HashMap<NodeNumber, u32>,
    pub(super) stores: Vec<ItemStore>,
}

/// Names in a path; no system leads deeper, and a path that is made up must not fill the memory.
const DEPTH_MAX: usize = 16_384;

/// The folder of what is not shown.
const NOWHERE: NodeNumber = NodeNumber::MAX;

const KIND: u32 = 0o170_000;
pub(super) const DIRECTORY: u32 = 0o040_000;
pub(super) const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

impl Tree {
    pub(super) fn node(&self, number: NodeNumber) -> Option<&Node> {
        self.nodes.get(usize::try_from(number).ok()?)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn name(&self, node: &Node) -> &[u8] {
        let start = usize::try_from(node.name_start).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::from(node.name_length));
        self.names.get(start..end).unwrap_or_default()
    }

    /// The children of a folder, by name.
    pub(super) fn children(&self, parent: NodeNumber) -> &[NodeNumber] {
        let at = |index: usize| {
            let start = self.first_child.get(index).copied();
            start.and_then(|start| usize::try_from(start).ok())
        };
        let index = usize::try_from(parent).unwrap_or(usize::MAX);
        let start = at(index).unwrap_or(self.order.len());
        let end = at(index.saturating_add(1)).unwrap_or(self.order.len());
        self.order.get(start..end).unwrap_or_default()
    }

    pub(super) fn child(&self, parent: NodeNumber, name: &[u8]) -> Option<NodeNumber> {
        let children = self.children(parent);
        let name_of = |number: &NodeNumber| self.node(*number).map(|node| self.name(node));
        let found = children.binary_search_by(|child| name_of(child).cmp(&Some(name)));
        children.get(found.ok()?).copied()
    }

    /// The node with the content of this one: itself, unless it is a further name.
    pub(super) fn content_of(&self, number: NodeNumber) -> NodeNumber {
        self.links.get(&number).copied().unwrap_or(number)
    }

    pub(super) fn link_count(&self, number: NodeNumber) -> u32 {
        let count = self.link_counts.get(&self.content_of(number));
        count.copied().unwrap_or(1)
    }
}

/// Makes a tree of archives.
pub(super) struct Builder<'a> {
    select: Option<&'a MountSelect>,
    tree: Tree,
    /// Folders by the one above and the hash of the name, while the tree grows.
    folders: HashMap<(NodeNumber, u64), NodeNumber>,
    /// The folder that was asked for last: most names are in the same one as the name before.
    last_folder: (BString, NodeNumber),
    /// In the archive at hand: nodes that may have further names, by the hash of their path.
    first_names: HashMap<u64, NodeNumber>,
    /// Names in folders that were seen: of folders and, where versions are shown, of versions.
    seen: HashMap<(NodeNumber, u64), NodeNumber>,
    /// How many versions a file has.
    versions: HashMap<NodeNumber, u32>,
    with_versions: bool,
}

impl<'a> Builder<'a> {
    pub(super) fn new(with_versions: bool, select: Option<&'a MountSelect>) -> Self {
        let mut builder = Self {
            select,
            tree: Tree::default(),
            folders: HashMap::new(),
            last_folder: (BString::default(), 0),
            first_names: HashMap::new(),
            seen: HashMap::new(),
            versions: HashMap::new(),
            with_versions,
        };
        builder.add(0, b"", DIRECTORY, None);
        builder
    }

    /// Adds all names of an archive that can be read; where it is damaged, the rest is shown.
    pub(super) fn archive(&mut self, archives: &Archives, archive: &Archive) -> Result<(), Error> {
        let number = u16::try_from(self.tree.stores.len()).map_err(|_| Error::TooManyArchives)?;
        let mut store = ItemStore::new(archive);
        let mut reader = ItemReader::new();
        let mut arrived = 0;
        self.first_names.clear();
        archives.prefetch_ids(&archive.items);
        for id in &archive.items {
            store.add_start(arrived);
            match archives.read(id) {
                Ok(plain) => {
                    arrived += plain.len() as u64;
                    reader.push(&plain);
                }
                Err(error) if error.is_damage() => reader.lose_chunk(),
                Err(error) => return Err(error),
            }
            loop {
                let (item, length) = match reader.next_encoded() {
                    Ok(Some(encoded)) => (Item::read(encoded), encoded.len() as u64),
                    Ok(None) => break,
                    Err(_) => continue,
                };
                let Some(mut item) = item.ok().filter(|item| item.part.is_none()) else {
                    continue;
                };
                let place = Place {
                    offset: arrived - reader.rest().len() as u64 - length,
                    length: u32::try_from(length).unwrap_or(u32::MAX),
                };
                let stored_path = item.path.clone();
                match self.select.map(|select| select(&stored_path)) {
                    None => self.item(&item, &stored_path, (number, place)),
                    Some(Some(path)) => {
                        item.path = path;
                        self.item(&item, &stored_path, (number, place));
                    }
                    Some(None) => self.hidden(&item, (number, place)),
                }
            }
        }
        self.tree.stores.push(store);
        Ok(())
    }

    /// What is not shown, but may have further names that are.
    fn hidden(&mut self, item: &Item, at: (u16, Place)) {
        if item.hardlink_master == Some(true) {
            let node = self.add(NOWHERE, b"", item.mode & KIND, Some(at));
            self.tree.link_counts.insert(node, 0);
            self.first_names.insert(hash(&[&item.path]), node);
        }
    }

    fn item(&mut self, item: &Item, stored_path: &BString, at: (u16, Place)) {
        let kind = item.mode & KIND;
        let names: Vec<&[u8]> = item
            .path
            .split(|byte| *byte == b'/')
            .filter(|name| !matches!(*name, b"" | b"." | b".."))
            .collect();
        if names.len() > DEPTH_MAX {
            return;
        }
        let Some((name, folders)) = names.split_last() else {
            if let Some(root) = self.tree.nodes.first_mut() {
                root.item = Some(at);
            }
            return;
        };
        let parent = self.folder(folders);
        if kind == DIRECTORY {
            let folder = self.folder(&names);
            if let Some(node) = self.node_mut(folder) {
                // Of several archives, the last one speaks.
                node.item = Some(at);
            }
            return;
        }
        let node = if self.with_versions && kind == FILE {
            self.version(&names, name, item, at)
        } else {
            self.name_once(parent, name, kind, at)
        };
        let can_be_linked = kind != SYMLINK;
        match &item.source {
            Some(source) if can_be_linked => {
                if let Some(first) = self.first_names.get(&hash(&[source])).copied()
                    && first != node
                {
                    self.tree.links.insert(node, first);
                    *self.tree.link_counts.entry(first).or_insert(1) += 1;
                }
            }
            None if can_be_linked && item.hardlink_master != Some(false) => {
                self.first_names.insert(hash(&[stored_path]), node);
            }
            _ => {}
        }
    }

    /// A name that is no folder; in a view of several archives, the last one speaks.
    fn name_once(
        &mut self,
        parent: NodeNumber,
        name: &[u8],
        kind: u32,
        at: (u16, Place),
    ) -> NodeNumber {
        if !self.with_versions {
            return self.add(parent, name, kind, Some(at));
        }
        let key = (parent, hash(&[name]));
        if let Some(node) = self.seen.get(&key).copied() {
            if let Some(known) = self.node_mut(node) {
                known.kind = kind;
                known.item = Some(at);
            }
            return node;
        }
        let node = self.add(parent, name, kind, Some(at));
        self.seen.insert(key, node);
        node
    }

    /// A version of a file: in a folder of the file's name, with a number before the ending.
    fn version(
        &mut self,
        names: &[&[u8]],
        name: &[u8],
        item: &Item,
        at: (u16, Place),
    ) -> NodeNumber {
        let folder = self.folder(names);
        let content = match &item.chunks {
            Some(chunks) => {
                let ids: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.id.0.as_slice()).collect();
                hash(&ids)
            }
            // A further name has the content of the first one.
            None => {
                let first = item.source.as_ref();
                let first = first.and_then(|first| self.first_names.get(&hash(&[first])).copied());
                u64::from(first.unwrap_or_default())
            }
        };
        if let Some(node) = self.seen.get(&(folder, content)).copied() {
            return node;
        }
        let count = self.versions.entry(folder).or_insert(0);
        *count += 1;
        let versioned = version_name(name, *count);
        let node = self.add(folder, &versioned, FILE, Some(at));
        self.seen.insert((folder, content), node);
        node
    }

    /// A folder, with those above it.
    fn folder(&mut self, names: &[&[u8]]) -> NodeNumber {
        let path: BString = names.join(b"/".as_slice()).into();
        if self.last_folder.0 == path {
            return self.last_folder.1;
        }
        let mut folder = 0;
        for name in names {
            let key = (folder, hash(&[name]));
            folder = match self.folders.get(&key) {
                Some(known) => *known,
                None => {
                    let new = self.add(folder, name, DIRECTORY, None);
                    self.folders.insert(key, new);
                    new
                }
            };
        }
        self.last_folder = (path, folder);
        folder
    }

    fn add(
        &mut self,
        parent: NodeNumber,
        name: &[u8],
        kind: u32,
        item: Option<(u16, Place)>,
    ) -> NodeNumber {
        let number = u32::try_from(self.tree.nodes.len()).unwrap_or(u32::MAX);
        let name = name
            .get(..name.len().min(usize::from(u16::MAX)))
            .unwrap_or_default();
        let node = Node {
            parent,
            name_start: u32::try_from(self.tree.names.len()).unwrap_or(u32::MAX),
            name_length: u16::try_from(name.len()).unwrap_or(u16::MAX),
            kind,
            item,
        };
        self.tree.names.extend_from_slice(name);
        self.tree.nodes.push(node);
        number
    }

    fn node_mut(&mut self, number: NodeNumber) -> Option<&mut Node> {
        self.tree.nodes.get_mut(usize::try_from(number).ok()?)
    }

    /// The tree, ready to be asked.
    pub(super) fn finish(self) -> Tree {
        let mut tree = self.tree;
        let count = u32::try_from(tree.nodes.len()).unwrap_or(u32::MAX);
        let mut order: Vec<NodeNumber> = (1..count).collect();
        {
            let key = |number: &NodeNumber| {
                let node = tree.node(*number);
                node.map(|node| (node.parent, tree.name(node)))
            };
            // A name that an archive has twice: the later one counts.
            order.sort_by(|a, b| key(a).cmp(&key(b)).then(b.cmp(a)));
            order.dedup_by(|later, earlier| key(later) == key(earlier));
        }
        let mut first_child = Vec::with_capacity(tree.nodes.len() + 1);
        let mut position = 0;
        for parent in 0..=count {
            while order
                .get(position)
                .and_then(|number| tree.node(*number))
                .is_some_and(|node| node.parent < parent)
            {
                position += 1;
            }
            first_child.push(u32::try_from(position).unwrap_or(u32::MAX));
        }
        tree.order = order;
        tree.first_child = first_child;
        tree.names.shrink_to_fit();
        tree
    }
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// `notes.00002.txt`: the number stands before the ending, so that programs still know it.
fn version_name(name: &[u8], number: u32) -> Vec<u8> {
    let dot = name.iter().rposition(|byte| *byte == b'.');
    let (stem, ending) = match dot {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, &[][..]),
    };
    [stem, format!(".{number:05}").as_bytes(), ending].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChunkRef, Id};

    fn item(path: &str, mode: u32) -> Item {
        Item {
            path: path.into(),
            mode,
            ..Item::default()
        }
    }

    fn at(offset: u64) -> (u16, Place) {
        (0, Place { offset, length: 1 })
    }

    fn names(tree: &Tree, parent: NodeNumber) -> Vec<String> {
        let names = tree.children(parent).iter().filter_map(|child| {
            let node = tree.node(*child)?;
            Some(String::from_utf8_lossy(tree.name(node)).into_owned())
        });
        names.collect()
    }

    #[test]
    fn names_are_found_below_their_folders() {
        let mut builder = Builder::new(false, None);
        for (offset, (path, mode)) in [
            ("b", DIRECTORY),
            ("b/z", FILE),
            ("b/a", FILE),
            ("deep/down/x", FILE),
            ("a", FILE),
            ("../up", FILE),
        ]
        .into_iter()
        .enumerate()
        {
            builder.item(&item(path, mode), &path.into(), at(offset as u64));
        }
        let tree = builder.finish();
        assert_eq!(names(&tree, 0), ["a", "b", "deep", "up"]);
        let b = tree.child(0, b"b").unwrap();
        assert_eq!(names(&tree, b), ["a", "z"]);
        let z = tree.node(tree.child(b, b"z").unwrap()).unwrap();
        assert_eq!(z.item, Some(at(1)));
        assert_eq!(tree.child(b, b"x"), None);
        let deep = tree.child(0, b"deep").unwrap();
        let down = tree.child(deep, b"down").unwrap();
        assert_eq!(names(&tree, down), ["x"]);
        assert_eq!(tree.node(down).unwrap().item, None);
        assert_eq!(tree.children(z.parent + 100), [0_u32; 0]);
    }

    #[test]
    fn further_names_lead_to_the_content_of_the_first() {
        let mut builder = Builder::new(false, None);
        let mut first = item("one", FILE);
        first.hardlink_master = Some(true);
        builder.item(&first, &first.path, at(0));
        let mut second = item("two", FILE);
        second.source = Some("one".into());
        builder.item(&second, &second.path, at(1));
        let tree = builder.finish();
        let (one, two) = (
            tree.child(0, b"one").unwrap(),
            tree.child(0, b"two").unwrap(),
        );
        assert_eq!(tree.content_of(two), one);
        assert_eq!((tree.link_count(one), tree.link_count(two)), (2, 2));
    }

    #[test]
    fn a_version_for_each_content() {
        let file = |path: &str, content: u8| {
            let mut item = item(path, FILE);
            item.chunks = Some(vec![ChunkRef {
                id: Id([content; 32]),
                size: 1,
                csize: 1,
            }]);
            item
        };
        let mut builder = Builder::new(true, None);
        for (offset, content) in [1, 1, 2, 1].into_iter().enumerate() {
            let notes = file("notes.txt", content);
            builder.item(&notes, &notes.path, at(offset as u64));
        }
        let hidden = file(".hidden", 3);
        builder.item(&hidden, &hidden.path, at(9));
        let tree = builder.finish();
        assert_eq!(names(&tree, 0), [".hidden", "notes.txt"]);
        let notes = tree.child(0, b"notes.txt").unwrap();
        assert_eq!(names(&tree, notes), ["notes.00001.txt", "notes.00002.txt"]);
        let hidden = tree.child(0, b".hidden").unwrap();
        assert_eq!(names(&tree, hidden), [".hidden.00001"]);
    }
}
