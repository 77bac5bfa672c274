//! `ravelin drop sync --watch`
//!
//! A person stops it. What the schedule began nobody sees: it waits for a drive and a network that are
//! away, reads the configuration anew when that has changed, and ends when the schedule is removed or
//! the configuration wants it no longer. It holds a lock while it lives, so that what the schedule begins
//! beside it ends at once, however long it waits.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use ::drop::{Error, Folder, Problem, Watch};
use engine::timer;
use store::Location;

use super::{Drop, Ended, Place, Session, sync};
use crate::cli::drop::Sync;
use crate::exit::Exit;

/// So often both sides are looked at where nothing tells of changes.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// After a change, so long is waited for more of them.
const QUIET: Duration = Duration::from_secs(1);

/// What comes after a folder was followed.
enum Then {
    End(Exit),
    /// From the start: the configuration is another one, or the drive went away.
    Anew,
}

/// Follows the folder until a person stops it, or the schedule.
pub(super) fn run(arguments: &Drop, sync: &Sync, session: &Session<'_>) -> Result<Exit, Ended> {
    let _alone = if sync.scheduled {
        let Some(lock) = lock(arguments, session)? else {
            return Ok(other(session));
        };
        Some(lock)
    } else {
        None
    };
    let schedule = timer::changed(&session.machine.places);
    let since = Mark::of(&schedule);
    loop {
        let until = Until {
            session,
            marks: match sync.scheduled {
                true => vec![
                    (schedule.clone(), since, Some(Exit::Good)),
                    (
                        session.config_file.clone(),
                        Mark::of(&session.config_file),
                        None,
                    ),
                ],
                false => Vec::new(),
            },
        };
        let place = super::place(arguments, session)?;
        if sync.scheduled && !place.watch {
            session
                .output
                .tell("not followed: the configuration has no `watch = true`");
            return Ok(Exit::Good);
        }
        match follow(&place, sync, &until, session)? {
            Then::End(exit) => return Ok(exit),
            Then::Anew => {}
        }
    }
}

/// The right to be the one that the schedule began.
fn lock(arguments: &Drop, session: &Session<'_>) -> Result<Option<File>, Ended> {
    let folder = session.machine.places.state.join("drop");
    engine::create_private_folder(&folder)?;
    let mut which = DefaultHasher::new();
    (&session.config_file, &arguments.layer).hash(&mut which);
    let path = folder.join(format!("scheduled-{:016x}", which.finish()));
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
}

fn other(session: &Session<'_>) -> Exit {
    session.output.tell("another run follows it already");
    Exit::Good
}

fn follow(
    place: &Place,
    arguments: &Sync,
    until: &Until<'_>,
    session: &Session<'_>,
) -> Result<Then, Ended> {
    let mut folder = match open(place, arguments.scheduled, until, session)? {
        Ok(folder) => folder,
        Err(then) => return Ok(then),
    };
    let (path, first) = sync::begin(place, arguments)?;
    let Some(_following) = first.follow(&folder)? else {
        return Ok(Then::End(other(session)));
    };
    // Set before the first look, so that nothing falls between.
    let mut watch = Watch::new(&path)?;
    let mut told = None;
    let mut known: Vec<Problem> = Vec::new();
    loop {
        // The rules may have changed.
        let (_, sync) = sync::begin(place, arguments)?;
        match sync::once(&sync, &mut folder, session) {
            Ok(mut report) => {
                // What was said stays said: it would come with every look.
                let problems = report.problems.clone();
                report.problems.retain(|problem| !known.contains(problem));
                known = problems;
                sync::end(&report, session)?;
            }
            // The network comes back, or the other run ends.
            Err(error) if error.is_passing() || matches!(error, Error::Busy { .. }) => {
                session.output.say(&format!("waiting: {error}"));
            }
            Err(error) => {
                return match away(place, arguments.scheduled) {
                    Some(_) if arguments.scheduled => Ok(Then::Anew),
                    Some(why) => Ok(waiting(&why, session)),
                    None => Err(error.into()),
                };
            }
        }
        if let Some(then) = wait(&mut watch, &folder, &mut told, until)? {
            return Ok(then);
        }
    }
}

/// Opens the drop folder. The network is waited for; the drive is, too, by what the schedule began.
fn open(
    place: &Place,
    scheduled: bool,
    until: &Until<'_>,
    session: &Session<'_>,
) -> Result<Result<Folder, Then>, Ended> {
    let mut said = None;
    loop {
        let why = match away(place, scheduled) {
            Some(why) if scheduled => why,
            Some(why) => return Ok(Err(waiting(&why, session))),
            None => match place.open() {
                Err(Ended::Drop(error)) if error.is_passing() => error.to_string(),
                opened => return opened.map(Ok),
            },
        };
        if said.as_ref() != Some(&why) {
            session.output.tell(&format!("waiting: {why}"));
            said = Some(why);
        }
        let mut waited = Duration::ZERO;
        while waited < LOOK_EVERY {
            if let Some(then) = until.over() {
                return Ok(Err(then));
            }
            std::thread::sleep(QUIET);
            waited += QUIET;
        }
    }
}

/// Why the drive of the store is not there, if it is not. A mount point without its drive is an empty
/// folder; a person who names one may also have to be told that it is no drop folder yet.
fn away(place: &Place, scheduled: bool) -> Option<String> {
    let Location::Disk(path) = &place.location else {
        return None;
    };
    let is_empty = scheduled && fs::read_dir(path).is_ok_and(|mut files| files.next().is_none());
    let shown = path.display();
    if !path.exists() {
        Some(format!("{shown} is not there: is its drive connected?"))
    } else if is_empty {
        Some(format!("nothing is in {shown}: is its drive connected?"))
    } else {
        None
    }
}

fn waiting(why: &str, session: &Session<'_>) -> Then {
    session.output.tell(&format!("waiting, because {why}"));
    Then::End(Exit::Waiting)
}

/// What ends the following, besides trouble.
struct Until<'a> {
    session: &'a Session<'a>,
    /// Files, as they were, and what it means when they are others now.
    marks: Vec<(PathBuf, Option<Mark>, Option<Exit>)>,
}

impl Until<'_> {
    fn over(&self) -> Option<Then> {
        if self.session.stop.is_requested() {
            return Some(Then::End(Exit::Interrupted));
        }
        let mut marks = self.marks.iter();
        let (_, _, exit) = marks.find(|(path, mark, _)| Mark::of(path) != *mark)?;
        Some(exit.map_or(Then::Anew, Then::End))
    }
}

/// What a file that was written anew differs in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Mark {
    /// `None` where there is no file.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// Waits for a change on either side, or for the time to look. What ended the following meanwhile.
///
/// `told` is where the service's answer comes, if it can tell: one question at a time is open, in a
/// thread of its own that ends with its answer.
fn wait(
    watch: &mut Watch,
    folder: &Folder,
    told: &mut Option<Receiver<bool>>,
    until: &Until<'_>,
) -> Result<Option<Then>, Ended> {
    if told.is_none()
        && let Some(waiter) = folder.waiter()
    {
        let (send, receive) = channel();
        std::thread::spawn(move || {
            // Who does not listen any more does not need the answer.
            let _ = send.send(waiter(LOOK_EVERY).unwrap_or(false));
        });
        *told = Some(receive);
    }
    let mut waited = Duration::ZERO;
    while waited < LOOK_EVERY {
        if let Some(then) = until.over() {
            return Ok(Some(then));
        }
        if watch.wait(QUIET)? {
            // More may come: an editor that saves writes several times.
            while !until.session.stop.is_requested() && watch.wait(QUIET)? {}
            break;
        }
        waited += QUIET;
        match told.as_ref().map(Receiver::try_recv) {
            Some(Ok(changed)) => {
                *told = None;
                if changed {
                    break;
                }
            }
            Some(Err(TryRecvError::Disconnected)) => *told = None,
            Some(Err(TryRecvError::Empty)) | None => {}
        }
    }
    Ok(until.over())
}
