//! Comparing the source with the archive: what a backup would find changed, by content, too.
//!
//! The steps of a scan go in, differences come out. Content is compared through the signatures,
//! so no volume is read; that the volumes hold what the signatures say is what
//! [`Archive::verify`] proves. Both together compare the source with what a restore brings.

use std::collections::HashMap;
use std::iter::Peekable;

use tree::{Body, Ending, Entry, EntryKind, Step, TreePath};

use crate::archive::Archive;
use crate::base::is_same;
use crate::collection::BackupSet;
use crate::error::Error;
use crate::listing::{Listed, Listing};
use crate::member::header_of;
use crate::restore::{Checker, Proof};

/// One thing in which source and archive differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: TreePath,
    /// What.
    pub what: DifferenceKind,
}

/// In what an object of the source differs from the one in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceKind {
    /// The source does not have it.
    OnlyInArchive,
    /// The archive does not have it.
    OnlyInSource,
    /// One is a file, the other something else, and the like; links and devices lead elsewhere.
    Kind,
    /// The permissions.
    Mode,
    /// Owner or group.
    Owner,
    /// The second of the last change.
    Time,
    /// The content of a file.
    Content,
    /// It could not be read in the source.
    Unreadable,
}

/// A comparison that is going on.
pub struct Comparison {
    listing: Peekable<Listing>,
    open: Option<Open>,
    /// What was found of the content of files with further names.
    first_names: HashMap<TreePath, bool>,
    differences: Vec<Difference>,
}

/// A file whose content is coming.
struct Open {
    path: TreePath,
    check: Checker,
    has_links: bool,
}

impl Archive {
    /// Begins to compare a source with the state that `sets` restore.
    ///
    /// # Errors
    ///
    /// When the signatures of a set cannot be opened.
    pub fn comparison(&self, sets: &[BackupSet]) -> Result<Comparison, Error> {
        Ok(Comparison {
            listing: self.listing(sets)?.peekable(),
            open: None,
            first_names: HashMap::new(),
            differences: Vec::new(),
        })
    }
}

impl Comparison {
    /// Takes the next step of a scan in which every regular file comes with its content.
    ///
    /// # Errors
    ///
    /// When the signatures are damaged.
    pub fn take(&mut self, step: Step) -> Result<(), Error> {
        match step {
            Step::Entry { entry, body } => self.entry(&entry, body),
            Step::Data(block) => {
                self.push(&block);
                Ok(())
            }
            Step::Hole(mut size) => {
                let zeros = [0; 4096];
                while size > 0 {
                    let count = usize::try_from(size)
                        .unwrap_or(zeros.len())
                        .min(zeros.len());
                    self.push(zeros.get(..count).unwrap_or_default());
                    size -= count as u64;
                }
                Ok(())
            }
            Step::End(ending) => {
                self.end(!matches!(ending, Ending::Failed(_)));
                Ok(())
            }
            Step::Problem(problem) => {
                self.differ(&problem.path, DifferenceKind::Unreadable);
                Ok(())
            }
        }
    }

    /// The differences, in the order of paths as far as the scan had one.
    ///
    /// # Errors
    ///
    /// When the signatures are damaged.
    pub fn finish(mut self) -> Result<Vec<Difference>, Error> {
        while let Some(listed) = self.listing.next().transpose()? {
            self.differ(&listed.entry.path, DifferenceKind::OnlyInArchive);
        }
        Ok(self.differences)
    }

    fn differ(&mut self, path: &TreePath, what: DifferenceKind) {
        self.differences.push(Difference {
            path: path.clone(),
            what,
        });
    }

    fn entry(&mut self, entry: &Entry, body: Body) -> Result<(), Error> {
        // What the format cannot hold is in no archive.
        if header_of(entry).is_none() {
            return Ok(());
        }
        let Some(listed) = self.find(&entry.path)? else {
            self.differ(&entry.path, DifferenceKind::OnlyInSource);
            return Ok(());
        };
        let kept = &listed.entry;
        if kept.kind != entry.kind {
            self.differ(&entry.path, DifferenceKind::Kind);
            return Ok(());
        }
        // Links have neither permissions nor a time that is restored.
        if !matches!(entry.kind, EntryKind::Symlink { .. }) {
            if kept.mode != entry.mode & 0o7777 {
                self.differ(&entry.path, DifferenceKind::Mode);
            }
            if kept.mtime.seconds() != entry.mtime.seconds().max(0) {
                self.differ(&entry.path, DifferenceKind::Time);
            }
        }
        let (one, other) = (&kept.owner, &entry.owner);
        let names = [
            (&one.user, &other.user, one.uid == other.uid),
            (&one.group, &other.group, one.gid == other.gid),
        ];
        if names
            .iter()
            .any(|(one, other, same)| !is_same(one.as_deref(), other.as_deref(), *same))
        {
            self.differ(&entry.path, DifferenceKind::Owner);
        }
        if entry.is_file() {
            self.file(entry, &listed, body);
        }
        Ok(())
    }

    fn file(&mut self, entry: &Entry, listed: &Listed, body: Body) {
        let proof = Proof {
            fingerprint: listed.fingerprint,
            block_length: listed.block_length,
        };
        self.open = Some(Open {
            path: entry.path.clone(),
            check: Checker::new(&proof),
            has_links: entry.links > 1,
        });
        match body {
            Body::Whole(block) => {
                self.push(&block);
                self.end(true);
            }
            Body::Blocks => {}
            Body::None => {
                self.open = None;
                let first = entry.hard_link.as_deref();
                match first.and_then(|first| self.first_names.get(first)) {
                    // All names of a file are stored with one content.
                    Some(true) => {}
                    Some(false) => self.differ(&entry.path, DifferenceKind::Content),
                    None => self.differ(&entry.path, DifferenceKind::Unreadable),
                }
            }
        }
    }

    /// Goes to `path` in the archive; what is passed over is not in the source.
    fn find(&mut self, path: &TreePath) -> Result<Option<Listed>, Error> {
        loop {
            match self.listing.peek() {
                None => return Ok(None),
                Some(Ok(listed)) if listed.entry.path > *path => return Ok(None),
                Some(_) => {}
            }
            let Some(listed) = self.listing.next().transpose()? else {
                return Ok(None);
            };
            if listed.entry.path == *path {
                return Ok(Some(listed));
            }
            self.differ(&listed.entry.path, DifferenceKind::OnlyInArchive);
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        if let Some(open) = &mut self.open {
            open.check.push(bytes);
        }
    }

    fn end(&mut self, is_readable: bool) {
        let Some(open) = self.open.take() else {
            return;
        };
        let is_same = open.check.ends_right();
        if open.has_links {
            self.first_names.insert(open.path.clone(), is_same);
        }
        if !is_readable {
            self.differ(&open.path, DifferenceKind::Unreadable);
        } else if !is_same {
            self.differ(&open.path, DifferenceKind::Content);
        }
    }
}
