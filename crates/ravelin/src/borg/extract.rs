//! `borg extract`: the files of an archive, into the current folder.
//!
//! Two passes over the list of files: the first makes the plan of what goes where, the second acts
//! by it (see [`tree::Restorer`] for why nothing leads out of the folder). What stands in the way is
//! replaced, a folder with something in it is not.

use std::env;
use std::io::Write;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use borg::{Access, Archive, Archives, BadItem, ChunkReader, ReadBatch, UnpackError};
use tree::{Conflict, Entry, EntryKind, Fidelity, Owners, Placed, RestoreOptions, Restorer, Zeros};

use super::arguments::Arguments;
use super::fail::{Failure, chain};
use super::items::{Choice, Chosen, chosen};
use super::log::Warning;
use super::matcher::Matcher;
use super::session::Session;
use super::{printing, text};

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let (spot, name) = session.archive(arguments)?;
    let matcher = Matcher::of(arguments)?;
    let choice = Choice {
        matcher: &matcher,
        strip: arguments.number("strip_components", 0usize)?,
        with_parts: session.shows_parts,
    };
    let archives = session.open(&spot, Access::Read)?;
    let archive = archives.archive(name.as_bytes())?;
    let job = Job {
        session,
        archives: &archives,
        archive: &archive,
        choice: &choice,
        lists: arguments.has("list"),
    };
    if arguments.has("dry_run") || arguments.has("stdout") {
        job.read(arguments.has("stdout") && !arguments.has("dry_run"))?;
    } else {
        job.write(arguments)?;
    }
    matcher.warn_of_unmatched(session);
    Ok(())
}

struct Job<'a> {
    session: &'a Session,
    archives: &'a Archives,
    archive: &'a Archive,
    choice: &'a Choice<'a>,
    lists: bool,
}

impl Job<'_> {
    fn each(&self, receive: impl FnMut(Chosen) -> Result<(), Failure>) -> Result<(), Failure> {
        chosen(
            self.session,
            self.archives,
            self.archive,
            self.choice,
            receive,
        )
    }

    fn list(&self, chosen: &Chosen) {
        if self.lists {
            let path = text::path(&chosen.path);
            self.session.log.requested("borg.output.list", &path);
        }
    }

    /// Reads all content, and prints it on demand.
    fn read(&self, prints: bool) -> Result<(), Failure> {
        let mut total = 0;
        if self.session.log.shows_progress() {
            self.each(|chosen| {
                total += chosen.item.chunks.as_ref().map_or(0, |_| chosen.size);
                Ok(())
            })?;
        }
        let mut read = 0;
        let mut reader = ChunkReader::new(self.archives)?;
        let mut output = std::io::stdout().lock();
        self.each(|chosen| {
            self.list(&chosen);
            self.show(&chosen, read, total);
            read += chosen.item.chunks.as_ref().map_or(0, |_| chosen.size);
            let mut rest = chosen.item.chunks.as_deref().unwrap_or_default();
            while !rest.is_empty() {
                let mut batch = ReadBatch::default();
                let count = rest
                    .iter()
                    .take_while(|chunk| batch.takes(chunk.size))
                    .count();
                let (now, later) = rest.split_at(count.max(1));
                rest = later;
                let mut failed = None;
                reader.read_at_once(now, |_, plain| {
                    let done = match plain {
                        Ok(plain) if prints => output.write_all(plain).map_err(printing),
                        Ok(_) => Ok(()),
                        Err(error) => Err(Failure::from(error)),
                    };
                    if failed.is_none() {
                        failed = done.err();
                    }
                });
                if let Some(failure) = failed {
                    if failure.code == 0 || failure.msgid == "Error" {
                        return Err(failure);
                    }
                    let path = text::path(&chosen.path);
                    let message = format!("{path}: {}", failure.message);
                    self.session.log.warn(Warning::Backup, &message);
                    break;
                }
            }
            Ok(())
        })?;
        output.flush().map_err(printing)?;
        self.session.log.end_progress();
        Ok(())
    }

    fn write(&self, arguments: &Arguments) -> Result<(), Failure> {
        let log = &self.session.log;
        let leave = Leave {
            acls: arguments.has("noacls"),
            xattrs: arguments.has("noxattrs"),
            flags: arguments.has("noflags"),
        };
        let options = RestoreOptions {
            conflict: Conflict::Overwrite,
            owners: match arguments.has("numeric_ids") {
                true => Owners::ByNumber,
                false => Owners::ByName,
            },
            fidelity: Fidelity::AsItWas,
            zeros: match arguments.has("sparse") {
                true => Zeros::Holes,
                false => Zeros::Written,
            },
            sync: false,
        };
        let failed = |error: tree::RestoreError| Failure::error(chain(&error));
        let target = env::current_dir()?;
        let restorer = Restorer::open(&target, options).map_err(failed)?;
        let mut planner = restorer.planner();
        let mut total = 0;
        self.each(|chosen| {
            if let Some(entry) = self.entry(&chosen, leave, true) {
                planner.add(&entry);
                total += chosen.item.chunks.as_ref().map_or(0, |_| chosen.size);
            }
            Ok(())
        })?;
        let plan = planner.finish();
        let restore = restorer.start(plan).map_err(failed)?;
        let written = AtomicU64::new(0);
        let signal = self.session.signal_number();
        let advance = |bytes: u64| {
            written.fetch_add(bytes, Ordering::Relaxed);
            match signal.load(Ordering::Relaxed) {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        };
        let mut number = 0;
        let (fed, unpacked) = borg::unpack(self.archives, &advance, |unpacker| {
            self.each(|chosen| {
                self.list(&chosen);
                let Some(entry) = self.entry(&chosen, leave, false) else {
                    return Ok(());
                };
                self.show(&chosen, written.load(Ordering::Relaxed), total);
                let placed = restore.place(number, entry).map_err(failed)?;
                number += 1;
                if let Placed::Content(file) = placed {
                    if chosen.item.chunks_healthy.is_some() {
                        let path = text::path(&chosen.path);
                        let message = format!("{path}: this file was damaged: zeros stand in the place of what was lost");
                        log.warn(Warning::Backup, &message);
                    }
                    let chunks = chosen.item.chunks.as_deref().unwrap_or_default();
                    if unpacker.add(file, chunks).is_break() {
                        return Err(Failure::error("the restore was given up"));
                    }
                }
                Ok(())
            })
        });
        let report = restore.finish();
        for problem in &report.problems {
            self.warn(problem);
        }
        if report.problems_unnamed > 0 {
            let message = format!("and {} more problems", report.problems_unnamed);
            log.warn(Warning::Backup, &message);
        }
        if let Some(signal) = self.session.signal() {
            return Err(signal);
        }
        match unpacked {
            Err(UnpackError::Read(error)) => return Err(error.into()),
            Err(UnpackError::Write(error)) => return Err(failed(error)),
            Ok(()) => fed?,
        }
        if let Some(error) = report.stopped {
            return Err(failed(error));
        }
        self.session.log.end_progress();
        Ok(())
    }

    /// The object that is to be restored; a warning, the first time, where there can be none.
    fn entry(&self, chosen: &Chosen, leave: Leave, warns: bool) -> Option<Entry> {
        match chosen.item.to_entry() {
            Ok(_) if chosen.is_orphan => {
                let path = text::path(&chosen.path);
                if warns {
                    let message = format!(
                        "{path}: not extracted, hardlink source path is unsafe: the archive does not have it (malicious or corrupted archive)"
                    );
                    self.session.log.warn(Warning::HardlinkSource, &message);
                }
                None
            }
            Ok(mut entry) => {
                if entry.kind == EntryKind::File {
                    entry.size = chosen.size;
                }
                leave.out(&mut entry);
                Some(entry)
            }
            Err(error) => {
                let path = text::path(&chosen.path);
                let (kind, what) = match error {
                    BadItem::Path(_) => (
                        Warning::PathTraversal,
                        "not extracted, path contains \"../\" (malicious or corrupted archive)",
                    ),
                    BadItem::HardLink(_) => (
                        Warning::HardlinkSource,
                        "not extracted, hardlink source path is unsafe (malicious or corrupted archive)",
                    ),
                    _ => (Warning::Backup, "not extracted, it is of an unknown kind"),
                };
                if warns {
                    self.session.log.warn(kind, &format!("{path}: {what}"));
                }
                None
            }
        }
    }

    fn warn(&self, problem: &tree::Problem) {
        let path = text::path(problem.path.as_bytes());
        let kind = Warning::of(&problem.what);
        let what = match kind {
            Warning::SymlinkParent => {
                "not extracted, a parent directory is a symlink, or no folder (malicious or corrupted archive)".to_owned()
            }
            Warning::HardlinkSource => {
                "not extracted, hardlink source path is unsafe, or not there (malicious or corrupted archive)".to_owned()
            }
            _ => chain(&problem.what),
        };
        self.session.log.warn(kind, &format!("{path}: {what}"));
    }

    fn show(&self, chosen: &Chosen, written: u64, total: u64) {
        let log = &self.session.log;
        if !log.is_time(false) {
            return;
        }
        let path = text::path(&chosen.path);
        log.show_percent("extract", Some(&path), written, total, |percent| {
            format!("{percent:5.1}% Extracting: {path}")
        });
    }
}

/// What is not taken over.
#[derive(Debug, Clone, Copy)]
struct Leave {
    acls: bool,
    xattrs: bool,
    flags: bool,
}

impl Leave {
    fn out(self, entry: &mut Entry) {
        if self.acls {
            entry.acl_access = None;
            entry.acl_default = None;
        }
        if self.xattrs {
            entry.xattrs.clear();
        }
        if self.flags {
            entry.flags = tree::Flags::default();
        }
    }
}
