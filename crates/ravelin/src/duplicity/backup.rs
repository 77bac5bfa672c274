//! `backup`, `full`, `incremental`.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use duplicity::{Archive, Change, Collection, Intake, Wanted};
use tree::{Body, Ending, Entry, EntryKind, Filter, Problem, ProblemKind, Step, TreePath};

use super::action::Kind;
use super::failure::{Failure, code};
use super::log::{Level, Log, info, quoted, warning};
use super::passphrase::Asked;
use super::selection::{Deferred, Selection, Verdict};
use super::session::Session;
use super::statistics::{self, Statistics};

pub(crate) fn run(session: &Session<'_>, wanted: Kind, source: &Path) -> Result<u8, Failure> {
    let source = Source::new(session, source)?;
    let collection = session.collection(&session.closed_archive())?;
    let wanted = decide(session, wanted, &collection)?;
    let local_dir = source.path.as_os_str().as_bytes();
    let archive = session.archive(Asked::Write, local_dir)?;
    if session.options.dry_run {
        return rehearse(session, &source, &archive, wanted);
    }
    if wanted == Wanted::Full {
        check_passphrase(session, &archive, &collection)?;
    }
    let total = if session.options.progress {
        Some(preview(session, &source, &archive, wanted)?.raw)
    } else {
        None
    };
    loop {
        match make(session, &source, &archive, wanted, total) {
            Err(failure) if failure.is_passing => session.log.notice(&failure.text),
            made => return made,
        }
    }
}

/// Makes a set, or goes on with one.
fn make(
    session: &Session<'_>,
    source: &Source,
    archive: &Archive,
    wanted: Wanted,
    total: Option<u64>,
) -> Result<u8, Failure> {
    let mut figures = Statistics::begin();
    let intake = archive.begin(wanted, session.now())?;
    let set = intake.set();
    if intake.is_resumed() {
        session.log.notice(&format!(
            "The {set} backup was cut off, and goes on where its volumes end. What has changed \
             before that since then comes with the next increment."
        ));
    }
    let heard = Arc::new(Mutex::new(Heard::default()));
    if session.options.print_statistics
        || session.options.jsonstat
        || session.log.shows(Level::Info)
    {
        let heard = Arc::clone(&heard);
        intake.listen(Arc::new(move |change, path, size| {
            let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.changes.push((change, path.clone(), size));
        }));
    }
    let mut run = Run {
        session,
        source,
        intake: &intake,
        figures: &mut figures,
        heard: &heard,
        progress: Progress::new(session, total),
        failure: None,
    };
    run.all()?;
    let is_skipped =
        session.options.skip_if_no_change && !set.is_full() && !intake.has_changes()?;
    if is_skipped {
        intake.cancel();
        session
            .log
            .notice("Nothing has changed: no backup set is made (--skip-if-no-change).");
    } else {
        let summary = intake.commit()?;
        figures.add_summary(&summary);
    }
    tell(session.log, &heard, &mut figures);
    figures.end();
    tell_size(session, &figures);
    if session.options.jsonstat {
        let json = figures.to_json(set, session);
        session.log.print(Level::Notice, info::GENERIC, "", &json);
        if !is_skipped {
            archive.store_statistics(set, json.as_bytes())?;
        }
    }
    print_statistics(session, &figures);
    Ok(0)
}

/// Says how large the source is, for those who show progress.
fn tell_size(session: &Session<'_>, figures: &Statistics) {
    let size = figures.source_size.to_string();
    session.log.say(Level::Info, info::PROGRESS, &size, "");
}

/// Prints the statistics, unless they are not wanted.
fn print_statistics(session: &Session<'_>, figures: &Statistics) {
    if session.options.print_statistics {
        let text = figures.to_text(&session.clock);
        session.log.print(Level::Notice, info::GENERIC, "", &text);
    }
}

/// What is backed up.
struct Source {
    path: PathBuf,
    selection: Arc<Selection>,
    scan: tree::Source,
    /// The stored path of a source that is a single file: the archive has it as its root.
    single: Option<TreePath>,
}

impl Source {
    fn new(session: &Session<'_>, path: &Path) -> Result<Self, Failure> {
        let selection = Arc::new(Selection::of_source(&session.options, path)?);
        let is_folder = std::fs::metadata(path)
            .map_err(|error| Failure::system("cannot look at the source", &error))?
            .is_dir();
        let bytes = path.as_os_str().as_bytes();
        let mut root = bytes.to_vec();
        let mut single = None;
        if is_folder {
            let end: &[u8] = if bytes.ends_with(b"/") { b"./" } else { b"/./" };
            root.extend_from_slice(end);
        } else {
            let cut = bytes.iter().rposition(|&byte| byte == b'/');
            let (folder, name) = match cut {
                Some(at) => bytes.split_at(at + 1),
                None => (&b"./"[..], bytes),
            };
            root = [folder, b"./", name].concat();
            single = TreePath::new(name).ok();
        }
        let mut scan = tree::Source {
            roots: vec![OsString::from_vec(root).into()],
            ..tree::Source::default()
        };
        if !selection.is_empty() && single.is_none() {
            let selection = Arc::clone(&selection);
            scan.filter = Some(Filter::new(move |path, is_folder| {
                selection.admits(path, is_folder)
            }));
        }
        Ok(Self {
            path: path.to_owned(),
            selection,
            scan,
            single,
        })
    }

    /// The object as the archive has it.
    fn placed(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        if self.single.as_ref() == Some(&entry.path) {
            let mut entry = (**entry).clone();
            entry.path = TreePath::root();
            return Arc::new(entry);
        }
        Arc::clone(entry)
    }

    fn judge(&self, entry: &Entry) -> Verdict {
        if self.single.is_some() {
            return Verdict::In;
        }
        self.selection.judge(entry)
    }
}

/// Which kind of set is made.
fn decide(session: &Session<'_>, wanted: Kind, collection: &Collection) -> Result<Wanted, Failure> {
    if wanted == Kind::Full {
        return Ok(Wanted::Full);
    }
    let options = &session.options;
    let last_full = session.last_full(collection);
    if let Some(age) = options.full_if_older_seconds
        && last_full.is_none_or(|last| last.seconds() < session.clock.now - age)
    {
        session
            .log
            .notice("Last full backup is too old, forcing full backup");
        return Ok(Wanted::Full);
    }
    let active = collection.active();
    if let (Some(most), Some(chain)) = (options.full_if_increments, active)
        && chain.sets.len() > most
    {
        session
            .log
            .notice("The newest chain has too many increments: a full backup is made.");
        return Ok(Wanted::Full);
    }
    if active.is_some_and(duplicity::Chain::has_signatures) {
        return Ok(Wanted::Increment);
    }
    if wanted == Kind::Increment {
        return Err(Failure::new(
            code::INC_WITHOUT_SIGNATURES,
            "An increment was asked for, and there is no chain with signatures that it could \
             stand on. Make a full backup, or use `backup`, which does so by itself.",
        ));
    }
    session.log.warn(
        warning::GENERIC,
        "",
        "No signatures found, switching to full backup.",
    );
    Ok(Wanted::Full)
}

/// Makes sure that a new chain gets the passphrase of the old ones, where that is not known: two
/// passphrases in one place would be found only when restoring.
fn check_passphrase(
    session: &Session<'_>,
    archive: &Archive,
    collection: &Collection,
) -> Result<(), Failure> {
    let has_keys =
        !session.options.encrypt_keys.is_empty() || !session.options.hidden_encrypt_keys.is_empty();
    let last = collection.active().and_then(|chain| chain.sets.last());
    if let Some(last) = last.filter(|last| last.is_encrypted() && session.options.encrypt)
        && !has_keys
    {
        // Read from the store only where the archive directory lacks it.
        archive.manifest(last)?;
    }
    Ok(())
}

/// What the intake says, until it can be said in turn.
#[derive(Default)]
struct Heard {
    changes: Vec<(Change, TreePath, u64)>,
}

/// Says what changed since it was last called, and counts it.
fn tell(log: &Log, heard: &Mutex<Heard>, figures: &mut Statistics) {
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    for (change, path, size) in heard.changes.drain(..) {
        figures.add_change(change, size);
        announce(log, change, &path);
    }
}

/// A path as the log has it: the root is a dot.
pub(crate) fn shown(path: &TreePath) -> &[u8] {
    if path.is_root() {
        b"."
    } else {
        path.as_bytes()
    }
}

fn announce(log: &Log, change: Change, path: &TreePath) {
    if !log.shows(Level::Info) {
        return;
    }
    let (number, letter) = match change {
        Change::New => (info::NEW, 'A'),
        Change::Changed => (info::CHANGED, 'M'),
        Change::Deleted => (info::DELETED, 'D'),
    };
    let name = shown(path);
    let text = format!("{letter} {}", String::from_utf8_lossy(name));
    log.print(Level::Info, number, &quoted(name), &text);
}

/// One pass over the source into an intake.
struct Run<'a, 'b> {
    session: &'a Session<'b>,
    source: &'a Source,
    intake: &'a Intake,
    figures: &'a mut Statistics,
    heard: &'a Mutex<Heard>,
    progress: Progress<'a>,
    failure: Option<Failure>,
}

impl Run<'_, '_> {
    fn all(&mut self) -> Result<(), Failure> {
        let (source, intake) = (self.source, self.intake);
        let wants = |entry: &Entry| {
            if source.judge(entry) != Verdict::In {
                return false;
            }
            match &source.single {
                Some(single) if *single == entry.path => {
                    let mut entry = entry.clone();
                    entry.path = TreePath::root();
                    intake.wants(&entry)
                }
                _ => intake.wants(entry),
            }
        };
        let mut deferred = Deferred::default();
        let mut is_out = false;
        let read = tree::read_ahead(
            &source.scan,
            tree::Options {
                attributes: false,
                ..tree::Options::default()
            },
            wants,
            |step| match self.step(step, &mut deferred, &mut is_out) {
                Ok(()) => ControlFlow::Continue(()),
                Err(failure) => {
                    self.failure = Some(failure);
                    ControlFlow::Break(())
                }
            },
        );
        read.map_err(|error| Failure::usage(format!("the source's path cannot be used: {error}")))?;
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn step(
        &mut self,
        step: Step,
        deferred: &mut Deferred,
        is_out: &mut bool,
    ) -> Result<(), Failure> {
        self.session.check_stop()?;
        match step {
            Step::Entry { entry, body } => {
                let entry = self.source.placed(&entry);
                let verdict = self.source.judge(&entry);
                *is_out = verdict != Verdict::In;
                let mut due = deferred.take(&entry, verdict);
                let last = due.pop();
                for folder in due {
                    self.entry(&folder, Body::None)?;
                }
                if let Some(entry) = last {
                    self.entry(&entry, body)?;
                }
            }
            // Nobody wants the content of what is out, so none of it comes.
            Step::Data(_) | Step::Hole(_) | Step::End(_) if *is_out => {}
            Step::Problem(problem) => {
                self.complain(&problem);
                self.intake.take(Step::Problem(problem))?;
            }
            Step::End(ending) => {
                if let Ending::Changed(problem) | Ending::Failed(problem) = &ending {
                    self.complain(problem);
                }
                self.intake.take(Step::End(ending))?;
            }
            step => self.intake.take(step)?,
        }
        tell(self.session.log, self.heard, self.figures);
        self.progress.report(self.figures);
        Ok(())
    }

    fn entry(&mut self, entry: &Arc<Entry>, body: Body) -> Result<(), Failure> {
        if is_socket(self.session.log, entry) {
            return Ok(());
        }
        self.figures.add_source(entry);
        let entry = Arc::clone(entry);
        Ok(self.intake.take(Step::Entry { entry, body })?)
    }

    fn complain(&mut self, problem: &Problem) {
        self.figures.errors += 1;
        complain(self.session.log, &self.source.path, problem);
    }
}

/// Sockets are in no archive; says so.
fn is_socket(log: &Log, entry: &Entry) -> bool {
    if entry.kind != EntryKind::Socket {
        return false;
    }
    let name = shown(&entry.path);
    let text = format!("Skipping socket {}", String::from_utf8_lossy(name));
    log.say(Level::Info, info::SOCKET, &quoted(name), &text);
    true
}

fn complain(log: &Log, source: &Path, problem: &Problem) {
    let path = source.join(problem.path.as_path());
    let number = match problem.what {
        ProblemKind::Vanished | ProblemKind::Replaced => warning::CANNOT_STAT,
        _ => warning::CANNOT_READ,
    };
    let extra = quoted(path.as_os_str().as_bytes());
    let text = format!("{}: {}", path.display(), duplicity::chain(&problem.what));
    log.warn(number, &extra, &text);
}

/// `--dry-run`: what would be in the set.
fn rehearse(
    session: &Session<'_>,
    source: &Source,
    archive: &Archive,
    wanted: Wanted,
) -> Result<u8, Failure> {
    let mut figures = preview(session, source, archive, wanted)?.figures;
    figures.end();
    tell_size(session, &figures);
    print_statistics(session, &figures);
    Ok(0)
}

struct Previewed {
    figures: Statistics,
    /// Bytes of files that are new or changed.
    raw: u64,
}

fn preview(
    session: &Session<'_>,
    source: &Source,
    archive: &Archive,
    wanted: Wanted,
) -> Result<Previewed, Failure> {
    let is_told = session.options.dry_run;
    let mut figures = Statistics::begin();
    let mut preview = archive.preview(wanted, session.now())?;
    let mut deferred = Deferred::default();
    let mut raw = 0;
    let mut failure = None;
    let mut gone = Vec::new();
    let scanned = tree::scan(&source.scan, |step| {
        if let Err(error) = session.check_stop() {
            failure = Some(error);
            return ControlFlow::Break(());
        }
        match step {
            Step::Entry { entry, .. } => {
                let entry = source.placed(&entry);
                for entry in deferred.take(&entry, source.judge(&entry)) {
                    if is_socket(session.log, &entry) {
                        continue;
                    }
                    figures.add_source(&entry);
                    let change = preview.look(&entry, &mut |path| gone.push(path.clone()));
                    for path in gone.drain(..) {
                        figures.add_change(Change::Deleted, 0);
                        if is_told {
                            announce(session.log, Change::Deleted, &path);
                        }
                    }
                    if let Some(change) = change {
                        let size = if entry.is_file() { entry.size } else { 0 };
                        raw += size;
                        figures.add_change(change, size);
                        if is_told {
                            announce(session.log, change, &entry.path);
                        }
                    }
                }
            }
            Step::Problem(problem) if is_told => {
                figures.errors += 1;
                complain(session.log, &source.path, &problem);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    scanned
        .map_err(|error| Failure::usage(format!("the source's path cannot be used: {error}")))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    preview.finish(&mut |path| gone.push(path.clone()));
    for path in gone {
        figures.add_change(Change::Deleted, 0);
        if is_told {
            announce(session.log, Change::Deleted, &path);
        }
    }
    Ok(Previewed { figures, raw })
}

/// How far the backup is, said from time to time.
struct Progress<'a> {
    log: &'a Log,
    begun: Instant,
    last: Instant,
    every: Duration,
    /// Bytes of files that are new or changed, with `--progress`.
    total: Option<u64>,
    last_size: u64,
}

/// How often programs that listen are told, without `--progress`.
const QUIET_EVERY: Duration = Duration::from_millis(500);

impl<'a> Progress<'a> {
    fn new(session: &'a Session<'_>, total: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            log: session.log,
            begun: now,
            last: now,
            every: match total {
                Some(_) => Duration::from_secs(session.options.progress_seconds),
                None => QUIET_EVERY,
            },
            total,
            last_size: 0,
        }
    }

    fn report(&mut self, figures: &Statistics) {
        if self.last.elapsed() < self.every {
            return;
        }
        self.last = Instant::now();
        let Some(total) = self.total else {
            let size = figures.source_size.to_string();
            self.log.say(Level::Info, info::PROGRESS, &size, "");
            return;
        };
        let done = figures.new_size + figures.changed_size;
        let seconds = self.begun.elapsed().as_secs();
        let percent = (done * 100).checked_div(total).unwrap_or(100).min(100);
        let speed = done.checked_div(seconds).unwrap_or(0);
        let eta = total.saturating_sub(done).checked_div(speed).unwrap_or(0);
        let stalled = u8::from(done == self.last_size);
        self.last_size = done;
        let extra = format!("{done} {seconds} {percent} {eta} {speed} {stalled}");
        let text = format!(
            "{} {:02}:{:02}:{:02} [{}/s] {percent}% ETA {eta}s",
            statistics::bytes(done),
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            statistics::bytes(speed)
        );
        self.log.print(Level::Notice, info::UPLOAD, &extra, &text);
    }
}
