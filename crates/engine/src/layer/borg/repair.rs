//! A Borg repository that may be damaged.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bstr::ByteSlice;
use jiff::Timestamp;
use tree::TreePath;

use borg::{
    CheckReport, Checked, Checker, Host, Hurt, Id, ManifestState, RepairReport, RepositoryState,
    Tail,
};

use super::{Error, Way};
use crate::Machine;
use crate::event::PathRecord;
use crate::layer::VerifyStep;
use crate::places::unnamed_file;
use crate::upkeep::{Examination, HurtFile, HurtSnapshot, LostFile, LostPiece, Mended, Repair};

struct BorgRepair {
    checker: Checker,
    host: Host,
    found: Option<CheckReport>,
    /// What was offered and is lost here, one after the other in a file without a name.
    pieces: Option<Pieces>,
    /// Where that file is made.
    cache: PathBuf,
}

struct Pieces {
    file: File,
    ids: HashSet<Id>,
    sizes: Vec<usize>,
}

/// Opens a repository in whatever state it is.
pub(super) fn open(
    way: &Way,
    write: bool,
    trusted: bool,
    machine: &Machine,
) -> Result<Box<dyn Repair>, Error> {
    let access = match write {
        true => borg::Access::Write,
        false => borg::Access::Read,
    };
    let mut trust = way.trust();
    trust.relocated = trusted;
    trust.replayed = trusted;
    let checker = Checker::open(
        &way.location,
        &way.home,
        &way.options(access),
        &way.passphrase,
        trust,
    );
    let checker = checker.map_err(|error| way.explain(error))?;
    Ok(Box::new(BorgRepair {
        checker,
        host: way.host.clone(),
        found: None,
        pieces: None,
        cache: machine.places.cache.clone(),
    }))
}

impl Repair for BorgRepair {
    fn examine(
        &mut self,
        data: bool,
        on_step: &mut dyn FnMut(VerifyStep) -> ControlFlow<()>,
    ) -> Result<Examination, Error> {
        let mut check = |data| {
            self.checker.check(data, &mut |step| {
                on_step(VerifyStep {
                    phase: step.phase,
                    done: step.done,
                    total: step.total,
                })
            })
        };
        let mut report = check(data)?;
        if !data && !report.repository.is_good() {
            // Which snapshots damage below them has hurt is known when every object was read.
            report = check(true)?;
        }
        let mut found = Examination {
            snapshots: report.archive_count,
            objects: report.verified_count,
            unused_objects: report.orphans.len() as u64,
            hurt: report.hurt.iter().map(hurt).collect(),
            ..Examination::default()
        };
        let (findings, actions) = (&mut found.findings, &mut found.actions);
        match &report.repository {
            RepositoryState::Local(checked) => below(checked, findings, actions),
            RepositoryState::NotChecked | RepositoryState::Remote { is_good: true, .. } => {}
            RepositoryState::Remote { said, .. } => {
                findings.push("the server has found damage below the snapshots".into());
                findings.extend(said.iter().map(|line| format!("the server: {line}")));
                actions.push("let the server repair what is below the snapshots".into());
            }
        }
        if report.counters_garbled {
            findings.push("what is known of used counters is garbled: nothing can be added".into());
            actions.push("let counters go on far behind all that were used".into());
        }
        if let ManifestState::Lost { what } = &report.manifest {
            findings.push(format!("the list of snapshots is lost: {what}"));
            actions.push(format!(
                "make the list of snapshots anew, with the {} that were found",
                report.archive_count
            ));
        }
        if !report.bad_objects.is_empty() {
            let count = report.bad_objects.len();
            findings.push(format!("{count} objects are not what was written"));
            actions.push(format!(
                "delete {count} objects that are not what was written"
            ));
        }
        for hurt in &report.hurt {
            let name = &hurt.name;
            match &hurt.hurt {
                Hurt::Lost { .. } => {
                    actions.push(format!("remove {name}, of which nothing can be read"));
                }
                Hurt::Forged => actions.push(format!("remove {name}, which is forged")),
                Hurt::NotAuthenticated => {}
                Hurt::Parts {
                    lost_lists,
                    gaps,
                    files,
                } => {
                    if lost_lists + gaps > 0 {
                        actions.push(format!(
                            "write {name} anew without the files whose names are lost"
                        ));
                    }
                    let missing = files.iter().filter(|file| file.missing > 0).count();
                    if missing > 0 {
                        actions.push(format!(
                            "put zeros in the place of what is missing in {missing} files of {name} and is \
                             nowhere else"
                        ));
                    }
                    let healable = files.iter().filter(|file| file.healable > 0).count();
                    if healable > 0 {
                        actions.push(format!(
                            "put back what is there again of {healable} files of {name}"
                        ));
                    }
                }
            }
        }
        if !report.orphans.is_empty() && report.orphans_are_certain {
            actions.push(format!(
                "delete {} objects that nothing uses",
                report.orphans.len()
            ));
        }
        self.found = Some(report);
        Ok(found)
    }

    fn lost(&mut self) -> Result<Vec<LostFile>, Error> {
        let Some(found) = &self.found else {
            return Ok(Vec::new());
        };
        let lost = self.checker.lost(found)?;
        let lost = lost.into_iter().filter_map(|file| {
            // What claims to be larger than any piece can be is none.
            let pieces = file.pieces.iter().filter_map(|piece| {
                let size = usize::try_from(piece.size).ok()?;
                (size <= borg::OBJECT_SIZE_MAX).then_some(LostPiece {
                    id: piece.id.0,
                    offset: piece.offset,
                    size: size as u64,
                })
            });
            Some(LostFile {
                path: TreePath::new(file.path.as_slice()).ok()?,
                time: file.time,
                pieces: pieces.collect(),
            })
        });
        Ok(lost.collect())
    }

    fn offer(&mut self, piece: &LostPiece, content: &mut dyn Read) -> Result<bool, Error> {
        let id = Id(piece.id);
        if self
            .pieces
            .as_ref()
            .is_some_and(|pieces| pieces.ids.contains(&id))
        {
            return Ok(true);
        }
        let mut bytes = Vec::new();
        // No piece that was named is larger than an object can be.
        if content.read_to_end(&mut bytes).is_err() || !self.checker.is_piece(&id, &bytes) {
            return Ok(false);
        }
        let failed = |source| Error::Io {
            action: "keep what was found elsewhere".to_owned(),
            source,
        };
        let pieces = match &mut self.pieces {
            Some(pieces) => pieces,
            none => none.insert(Pieces {
                file: unnamed_file(&self.cache).map_err(failed)?,
                ids: HashSet::new(),
                sizes: Vec::new(),
            }),
        };
        pieces.file.write_all(&bytes).map_err(failed)?;
        pieces.ids.insert(id);
        pieces.sizes.push(bytes.len());
        Ok(true)
    }

    fn mend(&mut self, now: Timestamp) -> Result<Mended, Error> {
        let Some(found) = self.found.take() else {
            return Ok(Mended::default());
        };
        let pieces = self.pieces.take();
        let mut sizes = pieces.iter().flat_map(|pieces| &pieces.sizes);
        let mut offset = 0;
        let mut pieces = std::iter::from_fn(|| {
            let mut bytes = vec![0; *sizes.next()?];
            // One that cannot be read back stays lost, with those behind it, and can be found again.
            let file = &pieces.as_ref()?.file;
            file.read_exact_at(&mut bytes, offset).ok()?;
            offset += bytes.len() as u64;
            Some(bytes)
        });
        let checker = &mut self.checker;
        let report = checker.repair_with(&found, &mut pieces, &self.host, now)?;
        Ok(Mended {
            done: sentences(&report),
        })
    }
}

/// What is wrong with the log.
fn below(checked: &Checked, findings: &mut Vec<String>, actions: &mut Vec<String>) {
    for place in &checked.damages {
        findings.push(place.damage.to_string());
    }
    if !checked.damages.is_empty() {
        actions.push("write damaged segments anew, with all that is whole in them".into());
    }
    for segment in &checked.empty_segments {
        findings.push(format!("segment {segment} is empty"));
    }
    if !checked.empty_segments.is_empty() {
        actions.push("remove empty segments".into());
    }
    if let Some(Tail::CommitDamaged {
        segment,
        restorable,
    }) = checked.tail
    {
        findings.push(format!("the commit mark of segment {segment} is damaged"));
        actions.push(match restorable {
            true => "write the commit mark anew; nothing is lost".into(),
            false => "make of the newest snapshot what is whole of it".to_owned(),
        });
    }
    if let Some(Tail::RolledBack { index_transaction }) = checked.tail {
        findings.push(format!(
            "segments up to {index_transaction} were removed: this is an older state"
        ));
    }
    if checked.index_missing || !checked.index_differences.is_empty() {
        if !checked.index_differences.is_empty() {
            let count = checked.index_differences.len();
            findings.push(format!("the index is wrong about {count} objects"));
        }
        actions.push("make the index anew".into());
    }
}

fn hurt(hurt: &borg::HurtArchive) -> HurtSnapshot {
    let (what, files) = match &hurt.hurt {
        Hurt::Lost { what } => (format!("nothing of it can be read: {what}"), Vec::new()),
        Hurt::Forged => (
            "its authentication is wrong: it is forged".into(),
            Vec::new(),
        ),
        Hurt::NotAuthenticated => (
            "it is not authenticated: an old program made it, or somebody has put it there".into(),
            Vec::new(),
        ),
        Hurt::Parts {
            lost_lists,
            gaps,
            files,
        } => {
            let mut what = Vec::new();
            if lost_lists + gaps > 0 {
                what.push("a part of its list of files is lost".to_owned());
            }
            if !files.is_empty() {
                what.push(format!("{} files are hurt", files.len()));
            }
            (what.join(", "), files.iter().map(file).collect())
        }
    };
    HurtSnapshot {
        snapshot: hurt.name.to_str_lossy().into_owned(),
        what,
        files,
    }
}

fn file(file: &borg::HurtFile) -> HurtFile {
    HurtFile {
        path: PathRecord::from(file.path.as_bytes()),
        missing_bytes: file.missing_bytes,
        has_zeros: file.zeros > 0,
    }
}

fn sentences(report: &RepairReport) -> Vec<String> {
    let mut done = Vec::new();
    let below = &report.repository;
    if !below.recovered_segments.is_empty() {
        let count = below.recovered_segments.len();
        done.push(format!("{count} damaged segments were written anew"));
    }
    if below.commit_written.is_some() {
        done.push("the commit mark was written anew".into());
    }
    if !below.removed_segments.is_empty() {
        let count = below.removed_segments.len();
        done.push(format!(
            "{count} segments of a transaction that could not be kept were removed"
        ));
    }
    if report.repaired_there {
        done.push("the server has repaired what is below the snapshots".into());
    }
    if report.counters_replaced {
        done.push("counters go on far behind all that were used".into());
    }
    if report.manifest_rebuilt {
        done.push("the list of snapshots was made anew".into());
    }
    for (count, what) in [
        (
            report.deleted_objects,
            "objects that were not what was written were deleted",
        ),
        (
            report.restored_pieces,
            "pieces of files were put back that were found elsewhere",
        ),
        (
            report.mended_archives,
            "snapshots were written anew without what is lost",
        ),
        (
            report.removed_archives,
            "snapshots that could not be kept were removed",
        ),
        (
            report.zeroed_files,
            "files have zeros in the place of what is missing",
        ),
        (report.healed_files, "files have all their content again"),
        (
            report.deleted_orphans,
            "objects that nothing used were deleted",
        ),
    ] {
        if count > 0 {
            done.push(format!("{count} {what}"));
        }
    }
    done
}
