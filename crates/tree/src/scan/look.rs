//! Looking at the objects that the walk came to.
//!
//! A regular file is opened first and asked afterwards, so that the metadata, the attributes and
//! the content are those of one object, whatever happens to its name meanwhile. What turns out to
//! be something else than was listed is taken for what it is.
//!
//! Looking at a batch has two parts. First each object is opened, or looked at by name, which never
//! waits for anybody. Then, one by one and in order, each is described in full.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::handle::open_file;
use super::limits::Limits;
use super::object::{self, Examiner, problem};
use super::source::Source;
use super::stat::Stat;
use super::walk::{Batch, Item, Place};
use crate::{Entry, EntryKind, Problem, ProblemKind, TreePath};

/// Looks at objects. One for each thread.
pub(crate) struct Looker<'a> {
    source: &'a Source,
    limits: Limits,
    /// Whether files are opened before anybody wants their content.
    opens_all: bool,
    pub(crate) examiner: Examiner,
}

/// What was seen of an object at first.
pub(crate) enum Seen {
    /// A folder.
    Folder {
        handle: Arc<OwnedFd>,
        path: TreePath,
        stat: Stat,
    },
    /// Anything else, or a folder that cannot be opened.
    Named(Named),
    /// Something that cannot be read.
    Problem(Problem),
}

/// An object that was reached by its name.
pub(crate) struct Named {
    folder: Arc<OwnedFd>,
    place: Arc<Place>,
    index: usize,
    path: TreePath,
    stat: Stat,
    kind: EntryKind,
    /// Of a regular file, as long as few are open.
    handle: Option<OwnedFd>,
    /// Why a folder cannot be opened.
    closed: Option<Errno>,
}

/// An object with all that is to be known about it.
pub(crate) struct Described {
    pub(crate) entry: Entry,
    /// Of a regular file.
    pub(crate) file: Option<File>,
    /// What could not be read of it.
    pub(crate) problem: Option<Problem>,
    /// Birth of the object, see [`Links`](super::links::Links).
    pub(crate) stat: Stat,
}

/// What it takes to read a regular file.
pub(crate) enum File {
    Open(OpenFile),
    /// It cannot be opened.
    Closed(Errno),
    /// Nobody has tried to.
    Unopened(Unopened),
}

/// A regular file that was seen by its name alone.
pub(crate) struct Unopened {
    folder: Arc<OwnedFd>,
    place: Arc<Place>,
    index: usize,
    stat: Stat,
}

/// A regular file and its state when it was described.
pub(crate) struct OpenFile {
    pub(crate) handle: OwnedFd,
    pub(crate) stat: Stat,
}

impl Seen {
    /// Whether the object may have other names.
    pub(crate) fn is_linked(&self) -> bool {
        matches!(self, Self::Named(named) if named.stat.links > 1 && named.closed.is_none())
    }
}

impl<'a> Looker<'a> {
    /// `attributes`: whether extended attributes are read.
    pub(crate) fn new(source: &'a Source, limits: Limits, attributes: bool) -> Self {
        Self {
            source,
            limits,
            // Not every file system tells its flags by name.
            opens_all: attributes || source.leave_out_no_dump,
            examiner: Examiner::new(attributes),
        }
    }

    /// Looks at all objects of a batch that are not left out, in order.
    pub(crate) fn look(&self, batch: Batch) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(batch.len());
        let mut open = 0;
        for item in batch.items {
            match item {
                Item::Folder { handle, path, stat } => {
                    seen.push(Seen::Folder { handle, path, stat });
                }
                Item::Problem(problem) => seen.push(Seen::Problem(problem)),
                Item::Names {
                    handle,
                    place,
                    range,
                } => {
                    for index in range {
                        let path = place.stored(index);
                        let prefix = &place.start.rule_prefix;
                        let decisive = self.source.decide(prefix, &path, place.decisive, None);
                        if !self.source.rules.keep(decisive) || !self.source.admits(&path, false) {
                            self.source.tell_left_out(&path);
                            continue;
                        }
                        let may_stay_open = open < self.limits.batch_files;
                        match self.see(&handle, &place, index, path.clone(), may_stay_open) {
                            Ok(Some(named)) => {
                                open += usize::from(named.handle.is_some());
                                seen.push(Seen::Named(named));
                            }
                            Ok(None) => self.source.tell_left_out(&path),
                            Err(what) => seen.push(Seen::Problem(Problem { path, what })),
                        }
                    }
                }
                Item::Closed {
                    handle,
                    place,
                    index,
                    error,
                } => {
                    let path = place.stored(index);
                    match Stat::at(&*handle, place.listing.name(index)) {
                        Ok(stat) if stat.kind == FileType::Directory => {
                            seen.push(Seen::Named(Named {
                                folder: handle,
                                place,
                                index,
                                path,
                                stat,
                                kind: EntryKind::Directory,
                                handle: None,
                                closed: Some(error),
                            }));
                        }
                        _ => seen.push(Seen::Problem(Problem {
                            path,
                            what: problem("open the folder", error),
                        })),
                    }
                }
            }
        }
        seen
    }

    /// Looks at one name. `None` when the object is left out for what it is.
    fn see(
        &self,
        folder: &Arc<OwnedFd>,
        place: &Arc<Place>,
        index: usize,
        path: TreePath,
        may_stay_open: bool,
    ) -> Result<Option<Named>, ProblemKind> {
        let name = place.listing.name(index);
        let mut handle = None;
        if self.opens_all && may_stay_open && place.listing.kind(index) == FileType::RegularFile {
            // If that fails, what follows tells whether and why.
            handle = open_file(&**folder, name).ok();
        }
        let stat = match &handle {
            Some(handle) => Stat::of(handle),
            None => Stat::at(&**folder, name),
        }
        .map_err(|error| problem("look at", error))?;
        match stat.kind {
            FileType::RegularFile => {}
            // It was none when its folder was listed: what is in it was not walked through.
            FileType::Directory => return Err(ProblemKind::Replaced),
            _ => handle = None,
        }
        let kind = object::kind(&**folder, name, &stat)?;
        let flags = stat.flags(handle.as_ref());
        if self.source.by_metadata(&kind, flags, stat.size).is_some() {
            return Ok(None);
        }
        Ok(Some(Named {
            folder: Arc::clone(folder),
            place: Arc::clone(place),
            index,
            path,
            stat,
            kind,
            handle,
            closed: None,
        }))
    }

    /// Reads the rest of what is to be known about an object.
    pub(crate) fn describe(&mut self, seen: Seen) -> Result<Described, Problem> {
        match seen {
            Seen::Problem(problem) => Err(problem),
            Seen::Folder { handle, path, stat } => {
                let flags = stat.flags(Some(&*handle));
                let kind = EntryKind::Directory;
                let mut entry = self.examiner.entry(path, kind, flags, &stat);
                let problem = self
                    .examiner
                    .attributes_of(handle.as_fd(), &mut entry)
                    .err();
                Ok(Described {
                    entry,
                    file: None,
                    problem,
                    stat,
                })
            }
            Seen::Named(named) if named.kind == EntryKind::File => self.describe_file(named),
            Seen::Named(named) => {
                let Named { kind, stat, .. } = named;
                let flags = stat.flags(None::<OwnedFd>);
                let mut entry = self.examiner.entry(named.path, kind, flags, &stat);
                let name = named.place.listing.name(named.index);
                let mut problem = self
                    .examiner
                    .attributes_at(named.folder.as_fd(), name, &mut entry)
                    .err();
                if let Some(error) = named.closed {
                    problem = Some(Problem {
                        path: entry.path.clone(),
                        what: object::problem("open the folder", error),
                    });
                }
                Ok(Described {
                    entry,
                    file: None,
                    problem,
                    stat,
                })
            }
        }
    }

    fn describe_file(&mut self, named: Named) -> Result<Described, Problem> {
        let Named {
            folder,
            place,
            index,
            path,
            stat,
            ..
        } = named;
        let name = place.listing.name(index);
        let opened = match named.handle {
            Some(handle) => Ok(OpenFile { handle, stat }),
            None if !self.opens_all => {
                let flags = stat.flags(None::<OwnedFd>);
                let unopened = Unopened {
                    folder,
                    place,
                    index,
                    stat,
                };
                return Ok(Described {
                    entry: self.examiner.entry(path, EntryKind::File, flags, &stat),
                    file: Some(File::Unopened(unopened)),
                    problem: None,
                    stat,
                });
            }
            None => match self.open_later(&folder, name, &stat) {
                Ok(opened) => opened,
                Err(what) => return Err(Problem { path, what }),
            },
        };
        let kind = EntryKind::File;
        let (file, mut entry, stat, problem);
        match opened {
            Ok(open) => {
                stat = open.stat;
                let flags = stat.flags(Some(&open.handle));
                entry = self.examiner.entry(path, kind, flags, &stat);
                problem = self.examiner.attributes_of(open.handle.as_fd(), &mut entry);
                file = File::Open(open);
            }
            Err(error) => {
                stat = named.stat;
                let flags = stat.flags(None::<OwnedFd>);
                entry = self.examiner.entry(path, kind, flags, &stat);
                problem = self
                    .examiner
                    .attributes_at(folder.as_fd(), name, &mut entry);
                file = File::Closed(error);
            }
        }
        Ok(Described {
            entry,
            file: Some(file),
            problem: problem.err(),
            stat,
        })
    }

    /// Opens a file whose content is wanted, and describes what was opened.
    pub(crate) fn open(&mut self, file: File, entry: &mut Entry) -> Result<OpenFile, ProblemKind> {
        let unopened = match file {
            File::Open(open) => return Ok(open),
            File::Closed(error) => return Err(problem("open", error)),
            File::Unopened(unopened) => unopened,
        };
        let name = unopened.place.listing.name(unopened.index);
        let opened = self.open_later(&unopened.folder, name, &unopened.stat)?;
        let open = opened.map_err(|error| problem("open", error))?;
        // No attributes are read here that could be unreadable.
        let _ = self.examiner.renew(open.handle.as_fd(), &open.stat, entry);
        Ok(open)
    }

    /// Opens a file some time after it was seen. The inner error: it is there, but closed to us.
    fn open_later(
        &self,
        folder: &OwnedFd,
        name: &CStr,
        seen: &Stat,
    ) -> Result<Result<OpenFile, Errno>, ProblemKind> {
        let handle = match open_file(folder, name) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Err(ProblemKind::Vanished),
            // A link, a socket, a device without a driver.
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Err(ProblemKind::Replaced),
            Err(error) => return Ok(Err(error)),
        };
        let stat = Stat::of(&handle).map_err(|error| problem("look at", error))?;
        if !stat.is_same_object(seen) {
            // Programs that save a file put a new one in its place. It is taken for the old one,
            // if it is a file like that and no hard link could get lost.
            let flags = stat.flags(Some(&handle));
            let omission = self.source.by_metadata(&EntryKind::File, flags, stat.size);
            let is_like = stat.kind == FileType::RegularFile
                && (stat.device, stat.links, seen.links) == (seen.device, 1, 1);
            if !is_like || omission.is_some() {
                return Err(ProblemKind::Replaced);
            }
        }
        Ok(Ok(OpenFile { handle, stat }))
    }
}
