//! Answers the kernel.
//!
//! An inode number is a tree and a node in it, so a tree that was let go of and is loaded again
//! has the same ones: what the kernel remembers stays good.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyXattr,
    Request,
};

use super::content::Cache;
use super::folder_names::folder_names;
use super::tree::{Builder, DIRECTORY, FILE, NodeNumber, Tree};
use super::{MountOptions, MountWhat};
use crate::{Archive, Archives, Error, Item};

/// Nothing ever changes here, so the kernel may remember it for long.
const TTL: Duration = Duration::from_secs(3600);

/// Bytes of plain content that are kept.
const CONTENT_MAX: usize = 128 << 20;

/// Bytes of items that are kept.
const ITEMS_MAX: usize = 32 << 20;

/// Names that are kept, of all trees together; one tree may have more.
const NAMES_MAX: usize = 4_000_000;

/// Chunks that are asked for ahead of who reads a file.
const AHEAD: usize = 4;

/// The lower bits of an inode number are the node; the upper ones the tree, from 1 on.
const NODE_BITS: u32 = 32;

pub(super) struct View {
    archives: Archives,
    options: MountOptions,
    trees: Vec<Slot>,
    /// Whether the trees are folders of the root; else there is one, and its root is the root.
    has_folders: bool,
    /// Counts looks into trees.
    clock: AtomicU64,
    content: Cache,
    items: Cache,
    open: Mutex<HashMap<u64, Arc<OpenFile>>>,
    next_handle: AtomicU64,
}

/// A tree that may not be loaded.
struct Slot {
    /// The folder's name, where it is one.
    name: Vec<u8>,
    archives: Vec<Vec<u8>>,
    time: SystemTime,
    with_versions: bool,
    tree: RwLock<Option<Arc<Tree>>>,
    used: AtomicU64,
}

/// A file that somebody reads.
struct OpenFile {
    item: Item,
    /// Where each chunk begins, and the end.
    starts: Vec<u64>,
}

/// What an inode number stands for.
#[derive(Clone, Copy)]
enum Place {
    /// The root with a folder for each tree.
    Root,
    Node(usize, NodeNumber),
}

impl View {
    pub(super) fn new(
        archives: Archives,
        what: MountWhat,
        options: MountOptions,
    ) -> Result<Self, Error> {
        let (names, has_folders, with_versions) = match what {
            MountWhat::Archive(name) => (vec![name], false, false),
            MountWhat::Archives(names) => (names, true, false),
            MountWhat::Versions(names) => (names, false, true),
        };
        let known: HashMap<Vec<u8>, SystemTime> = archives
            .list()
            .into_iter()
            .map(|(name, entry)| (name.to_vec(), moment(entry.time.instant().as_nanosecond())))
            .collect();
        if let Some(missing) = names.iter().find(|name| !known.contains_key(*name)) {
            return Err(Error::NoArchive {
                name: missing.clone().into(),
            });
        }
        let time = |name: &[u8]| known.get(name).copied().unwrap_or(UNIX_EPOCH);
        let slot = |name: Vec<u8>, archives: Vec<Vec<u8>>| Slot {
            time: archives.last().map_or(UNIX_EPOCH, |last| time(last)),
            name,
            archives,
            with_versions,
            tree: RwLock::default(),
            used: AtomicU64::new(0),
        };
        let trees = match has_folders {
            true => folder_names(&names)
                .into_iter()
                .zip(names)
                .map(|(folder, name)| slot(folder, vec![name]))
                .collect(),
            false => vec![slot(Vec::new(), names)],
        };
        Ok(Self {
            archives,
            options,
            trees,
            has_folders,
            clock: AtomicU64::new(1),
            content: Cache::new(CONTENT_MAX),
            items: Cache::new(ITEMS_MAX),
            open: Mutex::default(),
            next_handle: AtomicU64::new(1),
        })
    }

    fn place(&self, inode: INodeNo) -> Option<Place> {
        let INodeNo(number) = inode;
        if number == 1 {
            return Some(match self.has_folders {
                true => Place::Root,
                false => Place::Node(0, 0),
            });
        }
        let tree = usize::try_from(number >> NODE_BITS).ok()?.checked_sub(1)?;
        let node = u32::try_from(number & u64::from(u32::MAX)).ok()?;
        (tree < self.trees.len()).then_some(Place::Node(tree, node))
    }

    fn inode(&self, place: Place) -> INodeNo {
        INodeNo(match place {
            Place::Root => 1,
            Place::Node(0, 0) if !self.has_folders => 1,
            Place::Node(tree, node) => (tree as u64 + 1) << NODE_BITS | u64::from(node),
        })
    }

    /// A tree, loaded if need be.
    fn tree(&self, index: usize) -> Result<Arc<Tree>, Errno> {
        let slot = self.trees.get(index).ok_or(Errno::ENOENT)?;
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        slot.used.store(now, Ordering::Relaxed);
        {
            let loaded = slot.tree.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(tree) = &*loaded {
                return Ok(Arc::clone(tree));
            }
        }
        let tree = {
            let mut loaded = slot.tree.write().unwrap_or_else(PoisonError::into_inner);
            if let Some(tree) = &*loaded {
                return Ok(Arc::clone(tree));
            }
            let tree = Arc::new(self.load(slot).map_err(|_| Errno::EIO)?);
            *loaded = Some(Arc::clone(&tree));
            tree
        };
        self.let_go(index);
        Ok(tree)
    }

    fn load(&self, slot: &Slot) -> Result<Tree, Error> {
        let mut builder = Builder::new(slot.with_versions, self.options.select.as_ref());
        for name in &slot.archives {
            let archive: Archive = self.archives.archive(name)?;
            builder.archive(&self.archives, &archive)?;
        }
        Ok(builder.finish())
    }

    /// Lets go of trees that were not looked into for longest, but not of this one.
    fn let_go(&self, kept: usize) {
        loop {
            let mut count = 0;
            let mut oldest: Option<(u64, &Slot)> = None;
            for (index, slot) in self.trees.iter().enumerate() {
                // One that is being loaded counts when it is there.
                let Ok(loaded) = slot.tree.try_read() else {
                    continue;
                };
                let Some(tree) = &*loaded else {
                    continue;
                };
                count += tree.len();
                let used = slot.used.load(Ordering::Relaxed);
                if index != kept && oldest.is_none_or(|(oldest, _)| used < oldest) {
                    oldest = Some((used, slot));
                }
            }
            let Some((_, oldest)) = oldest.filter(|_| count > NAMES_MAX) else {
                return;
            };
            *oldest.tree.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// The item of a node; a folder that no item speaks of has none.
    fn item(&self, tree: &Tree, number: NodeNumber) -> Result<Option<Item>, Errno> {
        let node = tree.node(number).ok_or(Errno::ENOENT)?;
        let Some((store, place)) = node.item else {
            return Ok(None);
        };
        let store = tree.stores.get(usize::from(store)).ok_or(Errno::EIO)?;
        let item = store.item(&self.archives, &self.items, place);
        item.map(Some).ok_or(Errno::EIO)
    }

    /// The attributes, as they are wanted.
    fn shown(&self, place: Place) -> Result<FileAttr, Errno> {
        let mut attributes = self.attributes(place)?;
        attributes.uid = self.options.uid.unwrap_or(attributes.uid);
        attributes.gid = self.options.gid.unwrap_or(attributes.gid);
        // Cut to what permissions there are.
        let umask = u16::try_from(self.options.umask & 0o7777).unwrap_or_default();
        attributes.perm &= !umask;
        Ok(attributes)
    }

    fn attributes(&self, place: Place) -> Result<FileAttr, Errno> {
        let Place::Node(index, number) = place else {
            return Ok(folder(self.inode(place), UNIX_EPOCH));
        };
        let slot = self.trees.get(index).ok_or(Errno::ENOENT)?;
        if number == 0 && self.has_folders {
            // A list of all archives must not load them.
            return Ok(folder(self.inode(place), slot.time));
        }
        let tree = self.tree(index)?;
        let node = tree.node(number).ok_or(Errno::ENOENT)?;
        let Some(item) = self.item(&tree, number)? else {
            return Ok(folder(self.inode(place), slot.time));
        };
        if node.kind == DIRECTORY && item.mode & 0o170_000 != DIRECTORY {
            return Ok(folder(self.inode(place), slot.time));
        }
        let first = tree.content_of(number);
        // Names of one object have one number, as everywhere.
        let inode = self.inode(Place::Node(index, first));
        let size = match item.mode & 0o170_000 {
            FILE if first != number => self
                .item(&tree, first)?
                .map_or(0, |item| item.content_size()),
            FILE => item.content_size(),
            _ => item.source.as_ref().map_or(0, |target| target.len() as u64),
        };
        let time = |time: tree::Time| moment(time.nanoseconds.into());
        let mtime = time(item.mtime);
        Ok(FileAttr {
            ino: inode,
            size,
            blocks: size.div_ceil(512),
            atime: item.atime.map_or(mtime, time),
            mtime,
            ctime: item.ctime.map_or(mtime, time),
            crtime: item.birthtime.map_or(mtime, time),
            kind: file_type(node.kind),
            perm: u16::try_from(item.mode & 0o7777).unwrap_or_default(),
            nlink: tree.link_count(number),
            uid: item.uid.unwrap_or_default(),
            gid: item.gid.unwrap_or_default(),
            rdev: item
                .rdev
                .and_then(|rdev| u32::try_from(rdev).ok())
                .unwrap_or_default(),
            blksize: 512 * 1024,
            flags: 0,
        })
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<Place, Errno> {
        let name = name.as_bytes();
        match self.place(parent).ok_or(Errno::ENOENT)? {
            Place::Root => {
                let found = self.trees.iter().position(|slot| slot.name == name);
                found.map(|tree| Place::Node(tree, 0)).ok_or(Errno::ENOENT)
            }
            Place::Node(index, number) => {
                let child = self.tree(index)?.child(number, name);
                child
                    .map(|child| Place::Node(index, child))
                    .ok_or(Errno::ENOENT)
            }
        }
    }

    /// Opens a regular file. One in which a repair has put zeros is not given out as if it were
    /// whole.
    fn open_file(&self, inode: INodeNo) -> Result<OpenFile, Errno> {
        let Some(Place::Node(index, number)) = self.place(inode) else {
            return Err(Errno::EISDIR);
        };
        let tree = self.tree(index)?;
        let item = self
            .item(&tree, tree.content_of(number))?
            .ok_or(Errno::EISDIR)?;
        if item.mode & 0o170_000 != FILE {
            return Err(Errno::EINVAL);
        }
        if item.chunks_healthy.is_some() && !self.options.allow_damaged {
            return Err(Errno::EIO);
        }
        let mut end = 0;
        let mut starts = Vec::with_capacity(item.chunks.iter().flatten().count() + 1);
        starts.push(0);
        for chunk in item.chunks.iter().flatten() {
            end += u64::from(chunk.size);
            starts.push(end);
        }
        Ok(OpenFile { item, starts })
    }

    fn read_file(&self, file: &OpenFile, offset: u64, size: usize) -> Result<Vec<u8>, Errno> {
        let chunks = file.item.chunks.as_deref().unwrap_or_default();
        let mut out = Vec::with_capacity(size);
        let mut index = file.starts.partition_point(|start| *start <= offset);
        index = index.saturating_sub(1);
        let mut offset = offset;
        while out.len() < size {
            let (Some(chunk), Some(start)) = (chunks.get(index), file.starts.get(index)) else {
                break;
            };
            if offset == *start {
                // Somebody reads on from chunk to chunk.
                let end = chunks.len().min(index + 1 + AHEAD);
                if let Some(next) = chunks.get(end - 1).filter(|_| end > index + 1) {
                    self.archives.prefetch(std::slice::from_ref(next));
                }
            }
            let skip = usize::try_from(offset - start).map_err(|_| Errno::EIO)?;
            let wanted = size - out.len();
            let read = self.content.with(&self.archives, &chunk.id, |plain| {
                if plain.len() as u64 != u64::from(chunk.size) {
                    return None;
                }
                let rest = plain.get(skip..).unwrap_or_default();
                let now = rest.get(..wanted.min(rest.len())).unwrap_or_default();
                out.extend_from_slice(now);
                Some(now.len())
            });
            let count = read.flatten().ok_or(Errno::EIO)?;
            offset += count as u64;
            index += 1;
        }
        Ok(out)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn item_at(&self, inode: INodeNo) -> Result<Option<Item>, Errno> {
        match self.place(inode).ok_or(Errno::ENOENT)? {
            Place::Root => Ok(None),
            Place::Node(_, 0) if self.has_folders => Ok(None),
            Place::Node(index, number) => {
                let tree = self.tree(index)?;
                self.item(&tree, tree.content_of(number))
            }
        }
    }
}

impl Filesystem for View {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.find(parent, name).and_then(|place| self.shown(place));
        match found {
            Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let place = self.place(inode).ok_or(Errno::ENOENT);
        match place.and_then(|place| self.shown(place)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        match self.item_at(inode) {
            Ok(Some(item)) => match item.source {
                Some(target) => reply.data(&target),
                None => reply.error(Errno::EINVAL),
            },
            Ok(None) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.open_file(inode) {
            Ok(file) => {
                let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
                self.open().insert(handle, Arc::new(file));
                reply.opened(FileHandle(handle), FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let file = self.open().get(&handle.0).map(Arc::clone);
        let size = usize::try_from(size).unwrap_or_default();
        let read = file
            .ok_or(Errno::EBADF)
            .and_then(|file| self.read_file(&file, offset, size));
        match read {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.open().remove(&handle.0);
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Some(place) = self.place(inode) else {
            return reply.error(Errno::ENOENT);
        };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let dots = [".", ".."].map(|name| (inode, FileType::Directory, name.as_bytes()));
        let mut position = offset;
        let mut add = |entry: (INodeNo, FileType, &[u8])| {
            let (inode, kind, name) = entry;
            position += 1;
            reply.add(inode, position, kind, OsStr::from_bytes(name))
        };
        match place {
            Place::Root => {
                let folders = self.trees.iter().enumerate().map(|(index, slot)| {
                    let inode = self.inode(Place::Node(index, 0));
                    (inode, FileType::Directory, slot.name.as_slice())
                });
                let _ = dots.into_iter().chain(folders).skip(skip).any(&mut add);
            }
            Place::Node(index, number) => {
                let tree = match self.tree(index) {
                    Ok(tree) => tree,
                    Err(error) => return reply.error(error),
                };
                if tree.node(number).is_none_or(|node| node.kind != DIRECTORY) {
                    return reply.error(Errno::ENOTDIR);
                }
                let children = tree.children(number).iter().filter_map(|child| {
                    let node = tree.node(*child)?;
                    let inode = self.inode(Place::Node(index, tree.content_of(*child)));
                    Some((inode, file_type(node.kind), tree.name(node)))
                });
                let _ = dots.into_iter().chain(children).skip(skip).any(&mut add);
            }
        }
        reply.ok();
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.item_at(inode) {
            Ok(item) => {
                let value = item.and_then(|mut item| item.xattrs.remove(name.as_bytes()));
                match value {
                    Some(value) => answer_xattr(&value, size, reply),
                    None => reply.error(Errno::ENODATA),
                }
            }
            Err(error) => reply.error(error),
        }
    }

    fn listxattr(&self, _: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        match self.item_at(inode) {
            Ok(item) => {
                let mut names = Vec::new();
                for name in item.iter().flat_map(|item| item.xattrs.keys()) {
                    names.extend_from_slice(name);
                    names.push(0);
                }
                answer_xattr(&names, size, reply);
            }
            Err(error) => reply.error(error),
        }
    }
}

fn answer_xattr(value: &[u8], size: u32, reply: ReplyXattr) {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    match size {
        0 => reply.size(length),
        size if size < length => reply.error(Errno::ERANGE),
        _ => reply.data(value),
    }
}

/// A time since 1970; one that is out of all reach counts as the nearest that is not.
fn moment(nanoseconds: i128) -> SystemTime {
    let distance = u64::try_from(nanoseconds.unsigned_abs()).unwrap_or(u64::MAX);
    let distance = Duration::from_nanos(distance);
    let moment = match nanoseconds {
        ..0 => UNIX_EPOCH.checked_sub(distance),
        _ => UNIX_EPOCH.checked_add(distance),
    };
    moment.unwrap_or(UNIX_EPOCH)
}

fn folder(inode: INodeNo, time: SystemTime) -> FileAttr {
    FileAttr {
        ino: inode,
        size: 0,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: FileType::Directory,
        perm: 0o755,
        nlink: 1,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: 512,
        flags: 0,
    }
}

fn file_type(kind: u32) -> FileType {
    match kind {
        0o040_000 => FileType::Directory,
        0o120_000 => FileType::Symlink,
        0o060_000 => FileType::BlockDevice,
        0o020_000 => FileType::CharDevice,
        0o010_000 => FileType::NamedPipe,
        0o140_000 => FileType::Socket,
        _ => FileType::RegularFile,
    }
}
