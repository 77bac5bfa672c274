//! How long a restore takes: processor time for each entry.
//!
//! 20,000 small files that are made up, or a tree that is copied, attributes and all, where the
//! time to read it counts too:
//!
//! ```sh
//! cargo run --release -p ravelin-tree --example restore_speed -- /tmp/target
//! cargo run --release -p ravelin-tree --example restore_speed -- /tmp/target /usr
//! ```
#![expect(clippy::print_stdout, reason = "a program for a developer's terminal")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tree::{
    Action, Body, Conflict, Entry, EntryKind, Fidelity, FileWriter, Flags, Options, Owner, Placed,
    ProblemKind, Restore, RestoreError, RestoreOptions, RestorePlan, Restorer, Source, Step, Time,
    TreePath, read_ahead,
};

const FILES: u32 = 20_000;
const FILES_IN_FOLDER: u32 = 100;
const FILE_SIZE: usize = 3000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let target = arguments.next().ok_or("no target")?;
    let options = RestoreOptions {
        conflict: Conflict::OnlyIfDifferent,
        fidelity: Fidelity::AsItWas,
        ..RestoreOptions::default()
    };
    let restorer = Restorer::open(&target, options)?;
    match arguments.next() {
        Some(source) => copy(restorer, source),
        None => make_up(restorer),
    }
}

fn make_up(restorer: Restorer) -> Result<(), Box<dyn std::error::Error>> {
    let entries = made_up_entries();
    let plan = plan(&restorer, &entries);
    let count = entries.len();
    let restore = restorer.start(plan)?;
    let content = vec![b'x'; FILE_SIZE];
    measure("place", count, || {
        for (number, entry) in entries.into_iter().enumerate() {
            if let Placed::Content(file) = restore.place(number, entry)? {
                file.write_at(0, &content)?;
                file.finish()?;
            }
        }
        Ok::<(), RestoreError>(())
    })?;
    finish(restore, count);
    Ok(())
}

/// Reads a tree twice: what is in it for the plan, then with the content that the plan wants.
fn copy(restorer: Restorer, root: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    let base = TreePath::from_local(&root)?;
    let below = |path: &TreePath| {
        let rest = path.components().skip(base.components().count());
        rest.fold(TreePath::root(), |path, name| path.join(name))
    };
    let moved = |entry: &Entry| Entry {
        path: below(&entry.path),
        hard_link: entry.hard_link.as_ref().map(|path| Arc::new(below(path))),
        ..entry.clone()
    };
    let source = Source {
        roots: vec![root],
        ..Source::default()
    };
    let mut entries = Vec::new();
    let list = |step| {
        if let Step::Entry { entry, .. } = step {
            entries.push(moved(&entry));
        }
        ControlFlow::Continue(())
    };
    read_ahead(&source, Options::default(), |_| false, list)?;
    let plan = plan(&restorer, &entries);
    let count = entries.len();
    drop(entries);

    let restore = restorer.start(plan)?;
    let mut number = 0;
    let mut open: Option<(FileWriter<'_>, u64)> = None;
    let mut failure = None;
    measure("read and place", count, || {
        let mut take = |step| -> Result<(), RestoreError> {
            match step {
                Step::Entry { entry, body } => {
                    let placed = restore.place(number, moved(&entry))?;
                    number += 1;
                    if let Placed::Content(file) = placed {
                        match body {
                            Body::Whole(block) => {
                                file.write_at(0, &block)?;
                                file.finish()?;
                            }
                            Body::Blocks => open = Some((file, 0)),
                            Body::None => file.give_up(ProblemKind::Vanished),
                        }
                    }
                }
                Step::Data(block) => {
                    if let Some((file, offset)) = &mut open {
                        file.write_at(*offset, &block)?;
                        *offset += block.len() as u64;
                    }
                }
                Step::Hole(length) => {
                    if let Some((file, offset)) = &mut open {
                        file.hole(*offset, length);
                        *offset += length;
                    }
                }
                Step::End(_) => {
                    if let Some((file, _)) = open.take() {
                        file.finish()?;
                    }
                }
                Step::Problem(problem) => println!("{problem}"),
            }
            Ok(())
        };
        let steps = |step| match take(step) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        };
        read_ahead(&source, Options::default(), |_| true, steps)
    })?;
    drop(open);
    finish(restore, count);
    failure.map_or(Ok(()), |error| Err(error.into()))
}

fn plan(restorer: &Restorer, entries: &[Entry]) -> RestorePlan {
    let plan = measure("plan", entries.len(), || {
        let mut planner = restorer.planner();
        for entry in entries {
            planner.add(entry);
        }
        planner.finish()
    });
    for action in Action::ALL {
        let tally = plan.tally(action);
        if tally.entries > 0 {
            println!(
                "  {action:?}: {} entries, {} bytes",
                tally.entries, tally.bytes
            );
        }
    }
    plan
}

fn finish(restore: Restore, count: usize) {
    let report = measure("finish", count, || restore.finish());
    for problem in report.problems.iter().take(20) {
        println!("{problem}");
    }
    println!(
        "{} problems, without {:?}",
        report.problems.len(),
        report.left_out
    );
}

fn made_up_entries() -> Vec<Entry> {
    let mut entries = Vec::new();
    for number in 0..FILES {
        let folder = format!("folder{:05}", number / FILES_IN_FOLDER);
        if number % FILES_IN_FOLDER == 0 {
            entries.push(entry(&folder, EntryKind::Directory, 0));
        }
        let path = format!("{folder}/file{number:05}");
        entries.push(entry(&path, EntryKind::File, FILE_SIZE));
    }
    entries
}

fn entry(path: &str, kind: EntryKind, size: usize) -> Entry {
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        user: Some("root".into()),
        group: Some("root".into()),
    };
    Entry {
        path: TreePath::new(path).unwrap_or_default(),
        mode: if kind == EntryKind::File {
            0o644
        } else {
            0o755
        },
        kind,
        owner,
        mtime: Time::new(1_600_000_000, 123_456_789),
        ctime: Time::default(),
        atime: Time::new(1_600_000_000, 0),
        size: size as u64,
        device: 0,
        inode: 0,
        links: 1,
        hard_link: None,
        xattrs: BTreeMap::new(),
        acl_access: None,
        acl_default: None,
        flags: Flags::default(),
    }
}

fn measure<T>(what: &str, entries: usize, deed: impl FnOnce() -> T) -> T {
    let began = (Instant::now(), processor_time());
    let result = deed();
    #[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
    let entries = entries.max(1) as f64;
    println!(
        "{what}: {:.2} s, {:.1} µs of processor an entry",
        began.0.elapsed().as_secs_f64(),
        (processor_time() - began.1) * 1e6 / entries,
    );
    result
}

/// Seconds of processor time of this process so far.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "it is shown with two digits")]
    let (seconds, nanoseconds) = (time.tv_sec as f64, time.tv_nsec as f64);
    seconds + nanoseconds / 1e9
}
