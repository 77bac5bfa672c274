//! One ordered walk through the sources, by handles of folders.
//!
//! Each object is reached from the handle of its folder, never by a path that the system resolves.
//! So nobody can lead the walk out of the tree by exchanging a folder for a link, and neither the
//! depth nor the length of paths matters.
//!
//! The walk itself opens and lists folders. What else there is it hands on in batches: runs of
//! names that come one after the other in scan order, to be looked at by whoever has the time.
//!
//! Few handles are open at a time. In a deep tree those of the outer folders are closed, and
//! opened again through `..` on the way back if that leads to the same folder, else by the names
//! from the root down; if that does not either, the folder has been moved, and the rest of it is a
//! problem.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::ops::Range;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use super::handle::{open_folder, open_way};
use super::limits::Limits;
use super::listing::{self, Listing, ListingBuffer};
use super::object::problem;
use super::pseudo;
use super::rules::{Decisive, FolderName};
use super::source::{Fate, Folder, Root, Source};
use super::stat::Stat;
use crate::{BadPath, Problem, ProblemKind, TreePath};

/// Most names in a batch.
const BATCH_NAMES_MAX: usize = 128;

/// What comes next in scan order.
#[derive(Default)]
pub(crate) struct Batch {
    pub(super) items: Vec<Item>,
    names: usize,
    /// How many handles of folders are held.
    folders: usize,
}

pub(super) enum Item {
    /// A folder, before what is in it.
    Folder {
        handle: Arc<OwnedFd>,
        path: TreePath,
        stat: Stat,
    },
    /// Names in a folder, none of which is a folder as far as the listing tells.
    Names {
        handle: Arc<OwnedFd>,
        place: Arc<Place>,
        range: Range<usize>,
    },
    /// A folder that cannot be opened; its metadata can perhaps be read.
    Closed {
        handle: Arc<OwnedFd>,
        place: Arc<Place>,
        index: usize,
        error: Errno,
    },
    /// Something that cannot be read.
    Problem(Problem),
}

/// A folder whose names are walked through.
pub(super) struct Place {
    /// Its stored path.
    pub(super) path: TreePath,
    pub(super) listing: Listing,
    /// The rule that decided about it.
    pub(super) decisive: Decisive,
    pub(super) start: Arc<Start>,
    /// Whether a root of its own lies below it.
    holds_roots: bool,
}

/// Where a root is entered.
pub(super) struct Start {
    /// Stands before stored paths to make those that rules are about.
    pub(super) rule_prefix: Vec<u8>,
    /// The folder that the root is in.
    parent: Arc<OwnedFd>,
    path: TreePath,
}

/// The walk.
pub(crate) struct Walk<'a> {
    source: &'a Source,
    limits: Limits,
    /// In scan order, each once, with whether the walk has come to it.
    roots: Vec<(Arc<Root>, bool)>,
    stack: Vec<Level>,
    /// Indices of roots that are to be entered before the stack goes on, at the level of the stack
    /// that they belong to.
    due: Vec<(usize, VecDeque<usize>)>,
    batch: Batch,
    buffer: ListingBuffer,
}

/// A folder on the way down.
struct Level {
    place: Arc<Place>,
    /// The next of its names.
    next: usize,
    /// `None` while it is closed.
    handle: Option<Arc<OwnedFd>>,
    stat: Stat,
    /// The file system that the walk stays on, if it has to.
    root_device: u64,
}

/// A folder's name that the walk has come to.
struct Approach<'n> {
    parent: &'n Arc<OwnedFd>,
    name: &'n CStr,
    path: TreePath,
    above: Decisive,
    start: &'n Arc<Start>,
    /// `None` for a root.
    root_device: Option<u64>,
}

/// What came of approaching a name.
enum Approached {
    /// It is dealt with; nothing below it is in the walk.
    Passed,
    /// It is a folder that was entered.
    Entered,
    /// It is no folder.
    NoFolder,
    /// It is a folder that cannot be opened.
    Closed(Errno),
}

impl<'a> Walk<'a> {
    /// Begins a walk.
    ///
    /// # Errors
    ///
    /// [`BadPath`] of a root with a `..` in its stored path.
    pub(crate) fn new(source: &'a Source, limits: Limits) -> Result<Self, BadPath> {
        let roots = source.roots.iter();
        let mut roots = roots
            .map(|root| Ok((Arc::new(Root::new(root, source.top.as_deref())?), false)))
            .collect::<Result<Vec<_>, _>>()?;
        roots.sort_unstable();
        roots.dedup();
        Ok(Self {
            source,
            limits,
            due: vec![(0, (0..roots.len()).collect())],
            roots,
            stack: Vec::new(),
            batch: Batch::default(),
            buffer: ListingBuffer::default(),
        })
    }

    /// What comes next; `None` when all has come.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        while self.batch.names < BATCH_NAMES_MAX && self.batch.folders < self.limits.batch_folders {
            let level = self.stack.len();
            if let Some((at, due)) = self.due.last_mut()
                && *at == level
            {
                match due.pop_front() {
                    Some(index) => self.start(index),
                    None => {
                        self.due.pop();
                    }
                }
            } else if level > 0 {
                self.advance();
            } else {
                break;
            }
        }
        let batch = std::mem::take(&mut self.batch);
        (!batch.items.is_empty()).then_some(batch)
    }

    /// Enters a root, unless the walk has come to it before.
    fn start(&mut self, index: usize) {
        let Some((root, reached)) = self.roots.get_mut(index) else {
            return;
        };
        if std::mem::replace(reached, true) {
            return;
        }
        let root = Arc::clone(root);
        let (parent, name) = match find(&root) {
            Ok(found) => found,
            Err(error) => return self.fail(root.path.clone(), missing(error)),
        };
        let start = Arc::new(Start {
            rule_prefix: root.rule_prefix.clone(),
            parent: Arc::new(parent),
            path: root.path.clone(),
        });
        let approached = if name.kind(0) == FileType::Directory {
            self.approach(Approach {
                parent: &start.parent,
                name: name.name(0),
                path: root.path.clone(),
                above: None,
                start: &start,
                root_device: None,
            })
        } else {
            Approached::NoFolder
        };
        match approached {
            Approached::Passed | Approached::Entered => {}
            Approached::NoFolder => self.push_single(&start, name, None),
            Approached::Closed(error) => self.push_single(&start, name, Some(error)),
        }
    }

    /// Hands on a root that is not entered.
    fn push_single(&mut self, start: &Arc<Start>, listing: Listing, closed: Option<Errno>) {
        let place = Arc::new(Place {
            path: start.path.parent().unwrap_or_default(),
            listing,
            decisive: None,
            start: Arc::clone(start),
            holds_roots: false,
        });
        let handle = Arc::clone(&start.parent);
        self.batch.push(match closed {
            None => Item::Names {
                handle,
                place,
                range: 0..1,
            },
            Some(error) => Item::Closed {
                handle,
                place,
                index: 0,
                error,
            },
        });
    }

    /// Goes on in the innermost folder: up to its next folder, or out of it.
    fn advance(&mut self) {
        let Some(level) = self.stack.last_mut() else {
            return;
        };
        let place = Arc::clone(&level.place);
        let first = level.next;
        if first >= place.listing.len() {
            return self.leave();
        }
        let Some(handle) = level.handle.clone() else {
            level.next = place.listing.len();
            return;
        };
        let room = BATCH_NAMES_MAX.saturating_sub(self.batch.names).max(1);
        let end = place.listing.len().min(first + room);
        let run = (first..end)
            .take_while(|&index| !place.is_apart(index))
            .count();
        if run > 0 {
            level.next = first + run;
            self.batch.push(Item::Names {
                handle,
                place,
                range: first..first + run,
            });
            return;
        }
        level.next = first + 1;
        let root_device = level.root_device;
        self.single(&handle, &place, first, root_device);
    }

    /// Looks at a name that is, or may be, a folder, or has roots below it.
    fn single(
        &mut self,
        handle: &Arc<OwnedFd>,
        place: &Arc<Place>,
        index: usize,
        root_device: u64,
    ) {
        let name = place.listing.name(index);
        let path = place.stored(index);
        let is_root = place.holds_roots && self.reach(&path);
        let kind = match place.listing.kind(index) {
            FileType::Unknown => {
                Stat::at(&**handle, name).map_or(FileType::Unknown, |stat| stat.kind)
            }
            known => known,
        };
        let approached = if kind == FileType::Directory {
            self.approach(Approach {
                parent: handle,
                name,
                path: path.clone(),
                above: place.decisive,
                start: &place.start,
                root_device: (!is_root).then_some(root_device),
            })
        } else {
            Approached::NoFolder
        };
        let (handle, place) = (Arc::clone(handle), Arc::clone(place));
        match approached {
            Approached::Entered => return,
            Approached::Passed => {}
            Approached::NoFolder => self.batch.push(Item::Names {
                handle,
                range: index..index + 1,
                place: Arc::clone(&place),
            }),
            Approached::Closed(error) => self.batch.push(Item::Closed {
                handle,
                place: Arc::clone(&place),
                index,
                error,
            }),
        }
        if place.holds_roots {
            // The walk does not go down here: the roots below come on their own, in their place.
            let below = self.roots_below(&path).collect();
            self.due.push((self.stack.len(), below));
        }
    }

    /// Looks at a folder, and enters it unless something speaks against it.
    fn approach(&mut self, at: Approach<'_>) -> Approached {
        let source = self.source;
        if !source.admits(&at.path, true) {
            return Approached::Passed;
        }
        let folder = FolderName {
            parent: at.parent.as_fd(),
            name: at.name,
        };
        let prefix = &at.start.rule_prefix;
        let decisive = source.decide(prefix, &at.path, at.above, Some(folder));
        let kept = source.rules.keep(decisive);
        if !kept {
            source.tell_left_out(&at.path);
            if !source.rules.look_below(decisive) {
                return Approached::Passed;
            }
        }
        let handle = match open_folder(&**at.parent, at.name) {
            Ok(handle) => handle,
            Err(Errno::NOTDIR | Errno::LOOP) => return Approached::NoFolder,
            Err(_) if !kept => return Approached::Passed,
            Err(Errno::NOENT) => {
                self.fail(at.path, ProblemKind::Vanished);
                return Approached::Passed;
            }
            Err(error) => return Approached::Closed(error),
        };
        let stat = match Stat::of(&handle) {
            Ok(stat) => stat,
            Err(error) => return Approached::Closed(error),
        };
        let folder = Folder {
            flags: stat.flags(Some(&handle)),
            device: stat.device,
            root_device: at.root_device.unwrap_or(stat.device),
        };
        let mut listed = None;
        let buffer = &mut self.buffer;
        let fate = source.fate(
            &folder,
            || pseudo::holds(&handle),
            |name| {
                let (listing, _) = listed.get_or_insert_with(|| Listing::read(&handle, buffer));
                listing.find(name).is_some()
            },
            || listing::is_cache(&handle),
        );
        if matches!(fate, Fate::LeftOut(_)) {
            source.tell_left_out(&at.path);
            return Approached::Passed;
        }
        let handle = Arc::new(handle);
        if kept {
            self.batch.push(Item::Folder {
                handle: Arc::clone(&handle),
                path: at.path.clone(),
                stat,
            });
        }
        if matches!(fate, Fate::NotEntered(_)) {
            return Approached::Passed;
        }
        let (mut listing, failed) =
            listed.unwrap_or_else(|| Listing::read(&*handle, &mut self.buffer));
        if let Some(error) = failed {
            self.fail(at.path.clone(), problem("list the folder", error));
        }
        let is_marked = matches!(fate, Fate::MarkersOnly(_));
        if is_marked {
            listing.retain(|name| source.is_marker(name));
        }
        let place = Arc::new(Place {
            holds_roots: !self.roots_below(&at.path).is_empty(),
            path: at.path,
            listing,
            decisive,
            start: Arc::clone(at.start),
        });
        let names = 0..place.listing.len();
        // A marker may be a folder, which is walked through as others are.
        if is_marked && !names.clone().any(|index| place.is_apart(index)) {
            if !names.is_empty() {
                self.batch.push(Item::Names {
                    handle,
                    place,
                    range: names,
                });
            }
            return Approached::Passed;
        }
        self.descend(Level {
            place,
            next: 0,
            handle: Some(handle),
            stat,
            root_device: folder.root_device,
        });
        Approached::Entered
    }

    /// Goes down into a folder; the outermost that is open is closed when there are too many.
    fn descend(&mut self, level: Level) {
        self.stack.push(level);
        if let Some(outer) = self.stack.len().checked_sub(self.limits.levels + 1)
            && let Some(level) = self.stack.get_mut(outer)
        {
            level.handle = None;
        }
    }

    /// Goes back up. Opens the outer folder again if it was closed meanwhile.
    fn leave(&mut self) {
        let Some(left) = self.stack.pop() else {
            return;
        };
        let Some(level) = self.stack.last_mut() else {
            return;
        };
        if level.handle.is_some() {
            return;
        }
        let is_inner = Arc::ptr_eq(&left.place.start, &level.place.start)
            && left.place.path.parent().as_ref() == Some(&level.place.path);
        let by_dots = || open_folder(&**left.handle.as_ref().filter(|_| is_inner)?, c"..").ok();
        let is_right =
            |handle: &OwnedFd| Stat::of(handle).is_ok_and(|stat| stat.is_same_object(&level.stat));
        let again = by_dots()
            .filter(is_right)
            .or_else(|| open_by_names(&level.place).ok().filter(is_right));
        match again {
            Some(handle) => level.handle = Some(Arc::new(handle)),
            None => {
                level.next = level.place.listing.len();
                let path = level.place.path.clone();
                self.fail(path, ProblemKind::Replaced);
            }
        }
    }

    /// Notes that the walk has come to a path. Says whether it is a root.
    fn reach(&mut self, path: &TreePath) -> bool {
        let found = self.roots.binary_search_by(|(root, _)| root.path.cmp(path));
        match found.ok().and_then(|index| self.roots.get_mut(index)) {
            Some((_, reached)) => {
                *reached = true;
                true
            }
            None => false,
        }
    }

    /// The roots strictly below a path.
    fn roots_below(&self, path: &TreePath) -> Range<usize> {
        let from = self.roots.partition_point(|(root, _)| root.path <= *path);
        let rest = self.roots.get(from..).unwrap_or_default();
        let count = rest
            .iter()
            .take_while(|(root, _)| root.path.starts_with(path))
            .count();
        from..from + count
    }

    fn fail(&mut self, path: TreePath, what: ProblemKind) {
        self.batch.push(Item::Problem(Problem { path, what }));
    }
}

impl Batch {
    /// How many names and folders there are.
    pub(super) fn len(&self) -> usize {
        self.names
    }

    fn push(&mut self, item: Item) {
        self.names += match &item {
            Item::Names { range, .. } => range.len(),
            _ => 1,
        };
        if let Some(handle) = item.handle() {
            let before = self.items.last().and_then(Item::handle);
            if before.is_none_or(|before| !Arc::ptr_eq(before, handle)) {
                self.folders += 1;
            }
        }
        self.items.push(item);
    }
}

impl Item {
    fn handle(&self) -> Option<&Arc<OwnedFd>> {
        match self {
            Self::Folder { handle, .. }
            | Self::Names { handle, .. }
            | Self::Closed { handle, .. } => Some(handle),
            Self::Problem(_) => None,
        }
    }
}

impl Place {
    /// The stored path of a name.
    pub(super) fn stored(&self, index: usize) -> TreePath {
        match self.listing.name(index).to_bytes() {
            // A root that is stored as the empty path, see `find`.
            b"." | b"" => self.path.clone(),
            name => self.path.join(name),
        }
    }

    /// Whether the walk has to look at a name itself.
    fn is_apart(&self, index: usize) -> bool {
        self.holds_roots
            || matches!(
                self.listing.kind(index),
                FileType::Directory | FileType::Unknown
            )
    }
}

/// The folder that a root is in, and the root's name and kind.
pub(super) fn find(root: &Root) -> Result<(OwnedFd, Listing), Errno> {
    let base = match root.base.as_os_str().as_bytes() {
        b"" => open_way(CWD, b".")?,
        base => open_way(CWD, base)?,
    };
    let parent = match root.path.parent() {
        Some(parent) if !parent.is_root() => open_way(&base, parent.as_bytes())?,
        _ => base,
    };
    let name = CString::new(root.path.name().unwrap_or(b".")).map_err(|_| Errno::INVAL)?;
    let stat = Stat::at(&parent, &name)?;
    Ok((parent, Listing::of(&name, stat.kind)))
}

/// Opens a folder by the names from its root down.
fn open_by_names(place: &Place) -> Result<OwnedFd, Errno> {
    let mut handle = rustix::io::fcntl_dupfd_cloexec(&place.start.parent, 0)?;
    let root_length = place.start.path.components().count();
    let names = place.path.components().skip(root_length);
    for name in place.start.path.name().into_iter().chain(names) {
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        handle = open_folder(&handle, &name)?;
    }
    if place.path.is_root() {
        handle = open_folder(&handle, c".")?;
    }
    Ok(handle)
}

/// Why a root cannot be found: not there at all is not the same as gone since it was listed.
fn missing(error: Errno) -> ProblemKind {
    ProblemKind::Io {
        action: "find the source",
        source: error.into(),
    }
}
