//! `borg create`

mod roots;
mod special;

use std::collections::VecDeque;
use std::io::Read;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use borg::{
    Access, Archives, ChunkerParams, Compression, FilesMemory, Intake, Item, ItemOptions,
    NewArchive,
};
use bstr::{BString, ByteSlice};
use serde_json::{Value, json};
use tree::{Body, Ending, Entry, EntryKind, Listener, Problem, Rule, RuleAction, Source, Step};

use super::arguments::Arguments;
use super::fail::{Failure, chain};
use super::log::Warning;
use super::matcher::Patterns;
use super::place::{hostname, placeholders, username, variable};
use super::session::Session;
use super::stats::{self, Told, dashes};
use super::text;

/// How often a checkpoint is made.
const CHECKPOINT_INTERVAL: u64 = 1800;

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    stats::only_one_kind(arguments)?;
    // The time that the archive has is the time of its name, too.
    let time = arguments.read("timestamp", text::timestamp)?;
    let named = session.spot_at(arguments, time.unwrap_or(session.now))?;
    let Some(name) = named.archive.clone() else {
        return Err(Failure::usage(format!(
            "argument ARCHIVE: \"{}\": No archive specified",
            arguments.text("location").unwrap_or_default()
        )));
    };
    let input = Input::of(arguments)?;
    let is_dry = arguments.has("dry_run");
    for option in ["stats", "quick_stats"] {
        if is_dry && arguments.has(option) {
            let option = option.replace('_', "-");
            let message = format!("Ignoring --{option}. It is not supported when using --dry-run.");
            session.log.notice(&message);
        }
    }
    let new = new_archive(session, arguments, &name, time, &input)?;
    let mut archives = session.open(&named, Access::Write)?;
    let check = archives.manifest().check_features(borg::Operation::Write);
    check.map_err(borg::Error::from)?;
    if archives
        .manifest()
        .archives
        .contains_key(name.as_bytes().as_bstr())
    {
        return Err(Failure::archive_exists(&name));
    }
    let own = [
        archives
            .backend()
            .local()
            .map(|repository| repository.path().to_owned()),
        Some(session.home.cache_of(&archives.backend().id())),
    ];
    let teller = Arc::new(Teller::new(arguments, &input.roots));
    let sources = input.sources(arguments, &own, &teller)?;
    if is_dry {
        for source in &sources {
            try_out(session, source, &teller)?;
        }
        return Ok(());
    }
    session.log.info(&format!(
        "Creating archive at \"{}\"",
        arguments.text("location").unwrap_or_default()
    ));
    let intake = Intake::begin(archives, new, session.host())?;
    if intake.files_memory_damaged() {
        session
            .log
            .notice("The files cache is corrupted: all files are read, and remembered anew.");
    }
    let maker = Maker {
        session,
        arguments,
        teller: &teller,
        intake: &intake,
        roots: &input.roots,
        sizes: std::cell::Cell::new((0, 0)),
    };
    let made = maker.streams(&input).and_then(|()| {
        for source in &sources {
            maker.scan(source)?;
        }
        Ok(())
    });
    maker.show_progress(b"", true);
    match (made, session.signal()) {
        (_, Some(signal)) => {
            let checkpoint = intake.leave_checkpoint()?;
            session
                .log
                .notice(&format!("What was read stands as {checkpoint}."));
            return Err(match signal.code {
                130 => Failure::error("Got Ctrl-C / SIGINT."),
                _ => signal,
            });
        }
        (Err(failure), None) if failure.msgid == STOPPED => {
            // Why it has stopped, the commit says.
            intake.commit()?;
            return Err(failure);
        }
        (Err(failure), None) => return Err(failure),
        (Ok(()), None) => {}
    }
    let statistics;
    (archives, statistics) = intake.commit()?;
    tell(session, arguments, &archives, &name, &statistics)
}

/// The intake takes no more.
const STOPPED: &str = "Stopped";

fn new_archive(
    session: &Session,
    arguments: &Arguments,
    name: &str,
    time: Option<jiff::Timestamp>,
    input: &Input,
) -> Result<NewArchive, Failure> {
    let comment = arguments.text("comment").unwrap_or_default();
    let interval: u64 = arguments.number("checkpoint_interval", CHECKPOINT_INTERVAL)?;
    let mut files = FilesMemory {
        suffix: variable("BORG_FILES_CACHE_SUFFIX"),
        ..FilesMemory::default()
    };
    if let Some(runs) = variable("BORG_FILES_CACHE_TTL").and_then(|runs| runs.parse().ok()) {
        files.runs = runs;
    }
    if let Some(mode) = arguments.text("files_cache") {
        let mode = files.with_mode(&mode);
        files = mode.map_err(|error| Failure::usage(format!("argument --files-cache: {error}")))?;
    }
    if input.is_streams_only() {
        // Nothing is scanned, and nothing that is known may be forgotten.
        files.mode = None;
    }
    Ok(NewArchive {
        comment: placeholders(&comment, session.now)?.into(),
        hostname: hostname().into(),
        username: username().into(),
        cmdline: session.cmdline.clone(),
        cwd: Some(roots::current_folder().into()),
        base: roots::base_of(&input.roots),
        item_options: ItemOptions {
            numeric_ids: arguments.has("numeric_ids"),
            atime: arguments.has("atime") && !arguments.has("noatime"),
            ctime: !arguments.has("noctime"),
            flags: !arguments.has("noflags"),
            acls: !arguments.has("noacls"),
            xattrs: !arguments.has("noxattrs"),
        },
        files,
        chunker_params: chunker_params(arguments)?.unwrap_or(ChunkerParams::DEFAULT),
        compression: compression(arguments)?.unwrap_or_default(),
        checkpoint_interval: (interval > 0).then(|| Duration::from_secs(interval)),
        ..NewArchive::new(name, time.unwrap_or(session.now))
    })
}

/// Reads `--chunker-params`.
pub(super) fn chunker_params(arguments: &Arguments) -> Result<Option<ChunkerParams>, Failure> {
    arguments.read("chunker_params", |text| match text {
        "default" => Ok(ChunkerParams::DEFAULT),
        text => text
            .parse()
            .map_err(|error: borg::BadChunkerParams| error.to_string()),
    })
}

/// Reads `--compression`.
pub(super) fn compression(arguments: &Arguments) -> Result<Option<Compression>, Failure> {
    arguments.read("compression", |text| {
        text.parse()
            .map_err(|error: borg::BadCompression| error.to_string())
    })
}

/// What is to be backed up.
struct Input {
    /// Places where scans begin.
    roots: Vec<PathBuf>,
    /// Whether they are all there is, in this order.
    is_list: bool,
    /// Standard input is a file.
    takes_stdin: bool,
    /// What a command prints is a file.
    takes_command: bool,
}

impl Input {
    fn of(arguments: &Arguments) -> Result<Self, Failure> {
        let mut input = Self {
            roots: Vec::new(),
            is_list: arguments.has("paths_from_stdin") || arguments.has("paths_from_command"),
            takes_stdin: false,
            takes_command: arguments.has("content_from_command"),
        };
        if input.takes_command {
            if arguments.all("paths").is_empty() {
                return Err(Failure::command("No command given."));
            }
            return Ok(input);
        }
        if input.is_list {
            if arguments.has("paths_from_stdin") && !arguments.all("paths").is_empty() {
                return Err(Failure::command(
                    "Must not pass PATH with ``--paths-from-stdin``.",
                ));
            }
            input.roots = roots::listed(arguments)?;
            return Ok(input);
        }
        for path in arguments.all("paths") {
            match path.as_encoded_bytes() {
                b"-" => input.takes_stdin = true,
                b"" => return Err(Failure::usage("Empty strings are not accepted as paths.")),
                _ => input.roots.push(roots::root(path)),
            }
        }
        let named = Patterns::of(arguments)?.roots;
        input
            .roots
            .extend(named.iter().map(|path| roots::root(path.as_os_str())));
        if input.roots.is_empty() && !input.takes_stdin {
            return Err(Failure::command(
                "At least one path must be given, as an argument or as a root (R) of a pattern.",
            ));
        }
        Ok(input)
    }

    fn is_streams_only(&self) -> bool {
        self.roots.is_empty() && (self.takes_stdin || self.takes_command)
    }

    /// The scans: one, or for a list as many as there are runs of paths in order.
    fn sources(
        &self,
        arguments: &Arguments,
        own: &[Option<PathBuf>],
        teller: &Arc<Teller>,
    ) -> Result<Vec<Source>, Failure> {
        let mut rules: Vec<Rule> = Vec::new();
        // Neither the repository nor its cache is backed up into itself.
        for path in own.iter().flatten() {
            if let Some(stored) = roots::as_stored(path, &self.roots)
                && let Ok(pattern) = tree::Pattern::new(&format!("pf:{stored}"))
            {
                rules.push(Rule::new(RuleAction::Prune, pattern));
            }
        }
        let patterns = Patterns::of(arguments)?.into_rules();
        rules.extend(patterns.as_slice().iter().cloned());
        let listener = Arc::clone(teller);
        let mut source = Source {
            rules: tree::Rules::as_borg(rules),
            markers: arguments
                .all("exclude_if_present")
                .iter()
                .map(|name| name.as_encoded_bytes().to_vec())
                .collect(),
            leave_out_caches: arguments.has("exclude_caches"),
            keep_markers: arguments.has("keep_exclude_tags"),
            leave_out_no_dump: arguments.has("exclude_nodump"),
            one_file_system: arguments.has("one_file_system"),
            on_left_out: Some(Listener::new(move |path| {
                listener.left_out(path.as_bytes());
            })),
            ..Source::default()
        };
        if !self.is_list {
            source.roots.clone_from(&self.roots);
            return Ok(if self.roots.is_empty() {
                Vec::new()
            } else {
                vec![source]
            });
        }
        source.roots_only = true;
        source.rules = tree::Rules::default();
        let mut sources: Vec<Source> = Vec::new();
        for root in &self.roots {
            match sources.last_mut() {
                Some(last) if last.roots.last().is_some_and(|last| last < root) => {
                    last.roots.push(root.clone());
                }
                _ => sources.push(Source {
                    roots: vec![root.clone()],
                    ..source.clone()
                }),
            }
        }
        Ok(sources)
    }
}

/// Says what becomes of files, if that is asked for.
struct Teller {
    lists: bool,
    filter: Option<String>,
    /// Where stored paths are on this machine: a beginning, and what stands before it.
    places: Vec<(Vec<u8>, Vec<u8>)>,
    /// What was left out since the last look, by threads that may not speak.
    left_out: Mutex<VecDeque<Vec<u8>>>,
}

impl Teller {
    fn new(arguments: &Arguments, roots: &[PathBuf]) -> Self {
        Self {
            lists: arguments.has("list"),
            filter: arguments.text("filter"),
            places: roots.iter().map(|root| roots::place_of(root)).collect(),
            left_out: Mutex::default(),
        }
    }

    fn left_out(&self, path: &[u8]) {
        if self.lists && self.takes('x') {
            let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
            left_out.push_back(path.to_vec());
        }
    }

    fn takes(&self, status: char) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.contains(status))
    }

    fn tell(&self, session: &Session, status: char, path: &[u8]) {
        self.tell_left_out(session);
        if self.lists && self.takes(status) {
            session.log.file_status(status, &self.shown(path));
        }
    }

    fn tell_left_out(&self, session: &Session) {
        if !self.lists {
            return;
        }
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        for path in left_out.drain(..) {
            session.log.file_status('x', &self.shown(&path));
        }
    }

    /// The path as it is on this machine; borgmatic looks for its own there.
    fn shown(&self, path: &[u8]) -> Vec<u8> {
        let is_below = |root: &[u8]| {
            let rest = path.strip_prefix(root);
            rest.is_some_and(|rest| root.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
        };
        let mut places = self.places.iter();
        match places.find(|(root, _)| is_below(root)) {
            Some((_, before)) if !before.is_empty() => [before.as_slice(), path].concat(),
            _ => shown(path).to_vec(),
        }
    }
}

/// The path of the root itself is shown as a dot.
fn shown(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

/// Looks at everything and stores nothing.
fn try_out(session: &Session, source: &Source, teller: &Teller) -> Result<(), Failure> {
    let scanned = tree::scan(source, |step| {
        match step {
            Step::Entry { entry, .. } => teller.tell(session, '-', entry.path.as_bytes()),
            Step::Problem(problem) => warn(session, teller, &problem),
            _ => {}
        }
        match session.signal() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    teller.tell_left_out(session);
    scanned.map_err(|error| Failure::error(error.to_string()))?;
    session.go_on()
}

fn warn(session: &Session, teller: &Teller, problem: &Problem) {
    let path = text::path(shown(problem.path.as_bytes()));
    let message = format!("{path}: {}", chain(&problem.what));
    session.log.warn(Warning::of(&problem.what), &message);
    teller.tell(session, 'E', problem.path.as_bytes());
}

struct Maker<'a> {
    session: &'a Session,
    arguments: &'a Arguments,
    teller: &'a Teller,
    intake: &'a Intake,
    roots: &'a [PathBuf],
    /// Files and bytes so far.
    sizes: std::cell::Cell<(u64, u64)>,
}

impl Maker<'_> {
    fn stopped(error: borg::Error) -> Failure {
        match error {
            borg::Error::Stopped => Failure::new(2, STOPPED, "the archive was given up"),
            error => error.into(),
        }
    }

    /// What does not come from a file system.
    fn streams(&self, input: &Input) -> Result<(), Failure> {
        if input.takes_command {
            let (mut child, name) = roots::start(self.arguments)?;
            if let Some(mut output) = child.stdout.take() {
                self.stream(&mut output)?;
            }
            roots::end(child, &name)?;
        }
        if input.takes_stdin {
            self.stream(&mut std::io::stdin().lock())?;
        }
        Ok(())
    }

    fn stream(&self, content: &mut dyn Read) -> Result<(), Failure> {
        let text = |name: &str, usual: &str| {
            self.arguments
                .text(name)
                .unwrap_or_else(|| usual.to_owned())
        };
        let (path, user, group) = (
            text("stdin_name", "stdin"),
            text("stdin_user", "root"),
            text("stdin_group", "root"),
        );
        let mode = self.arguments.read("stdin_mode", |text| {
            u32::from_str_radix(text, 8).map_err(|_| format!("invalid octal value: '{text}'"))
        })?;
        let uid = nix::unistd::User::from_name(&user).ok().flatten();
        let gid = nix::unistd::Group::from_name(&group).ok().flatten();
        let time = tree::Time::new(self.session.now.as_second(), 0);
        let item = Item {
            path: path.trim_start_matches('/').into(),
            mode: mode.unwrap_or(0o660) & 0o7777 | 0o100_000,
            uid: Some(uid.map_or(0, |user| user.uid.as_raw())),
            gid: Some(gid.map_or(0, |group| group.gid.as_raw())),
            user: Some(user.into()),
            group: Some(group.into()),
            mtime: time,
            ctime: Some(time),
            atime: Some(time),
            hardlink_master: Some(false),
            ..Item::default()
        };
        let name = item.path.clone();
        self.intake
            .take_item(item, Some(content))
            .map_err(Self::stopped)?;
        self.teller.tell(self.session, 'i', &name);
        Ok(())
    }

    /// Reads a tree.
    fn scan(&self, source: &Source) -> Result<(), Failure> {
        let mut failed = None;
        let mut open: Option<(char, BString)> = None;
        let wants = |entry: &Entry| self.intake.wants(entry);
        let options = tree::Options {
            ignore_ctime: self.arguments.text("files_changed").as_deref() == Some("mtime"),
            ..tree::Options::default()
        };
        let scanned = tree::read_ahead(source, options, wants, |step| {
            if self.session.signal().is_some() {
                return ControlFlow::Break(());
            }
            match self.step(step, &mut open) {
                Ok(()) => ControlFlow::Continue(()),
                Err(failure) => {
                    failed = Some(failure);
                    ControlFlow::Break(())
                }
            }
        });
        self.teller.tell_left_out(self.session);
        scanned.map_err(|error| Failure::error(error.to_string()))?;
        failed.map_or(Ok(()), Err)
    }

    fn step(&self, step: Step, open: &mut Option<(char, BString)>) -> Result<(), Failure> {
        match &step {
            Step::Entry { entry, body } => {
                if self.arguments.has("read_special")
                    && let Some((item, mut content)) = special::open(self.roots, entry)
                {
                    let path = entry.path.as_bytes();
                    self.intake
                        .take_item(item, Some(&mut content))
                        .map_err(Self::stopped)?;
                    self.teller.tell(self.session, 'A', path);
                    return Ok(());
                }
                let (entry, body) = (Arc::clone(entry), body.clone());
                self.intake.take(step).map_err(Self::stopped)?;
                self.entry(&entry, &body, open);
                return Ok(());
            }
            Step::End(ending) => {
                if let Some((status, path)) = open.take() {
                    match ending {
                        Ending::Complete => self.teller.tell(self.session, status, &path),
                        Ending::Changed(problem) => self.changed(status, problem),
                        Ending::Failed(problem) => warn(self.session, self.teller, problem),
                    }
                }
            }
            Step::Problem(problem) => warn(self.session, self.teller, problem),
            Step::Data(_) | Step::Hole(_) => {}
        }
        self.intake.take(step).map_err(Self::stopped)
    }

    fn changed(&self, status: char, problem: &Problem) {
        let path = problem.path.as_bytes();
        if self.arguments.text("files_changed").as_deref() == Some("disabled") {
            return self.teller.tell(self.session, status, path);
        }
        let message = format!("{}: file changed while we backed it up", text::path(path));
        self.session.log.warn(Warning::FileChanged, &message);
        self.teller.tell(self.session, 'C', path);
    }

    fn entry(&self, entry: &Entry, body: &Body, open: &mut Option<(char, BString)>) {
        let path = entry.path.as_bytes();
        let (files, bytes) = self.sizes.get();
        let status = match (&entry.kind, &entry.hard_link, body) {
            (EntryKind::Directory, ..) => 'd',
            (EntryKind::Symlink { .. }, ..) => 's',
            (EntryKind::Socket, ..) => return,
            (_, Some(_), _) => 'h',
            (EntryKind::Fifo, ..) => 'f',
            (EntryKind::BlockDevice(_), ..) => 'b',
            (EntryKind::CharDevice(_), ..) => 'c',
            (EntryKind::File, None, body) => {
                self.sizes.set((files + 1, bytes + entry.size));
                match body {
                    Body::None => 'U',
                    _ if self.intake.has_seen(entry) => 'M',
                    _ => 'A',
                }
            }
        };
        self.show_progress(path, false);
        match body {
            Body::Blocks => *open = Some((status, path.into())),
            _ => self.teller.tell(self.session, status, path),
        }
    }

    fn show_progress(&self, path: &[u8], is_last: bool) {
        let log = &self.session.log;
        if !log.is_time(is_last) {
            return;
        }
        let (files, bytes) = self.sizes.get();
        let stored = self.intake.statistics();
        let path = text::path(path);
        let size = |bytes| text::size(bytes, self.session.iec);
        let line = format!(
            "{} O {} C {} D {files} N {path}",
            size(bytes),
            size(stored.totals.csize),
            size(stored.unique_csize)
        );
        let mut values = json!({"finished": is_last});
        if let (false, Some(values)) = (is_last, values.as_object_mut()) {
            for (key, value) in [
                ("original_size", bytes.into()),
                ("compressed_size", stored.totals.csize.into()),
                ("deduplicated_size", stored.unique_csize.into()),
                ("nfiles", files.into()),
                ("path", Value::from(path)),
            ] {
                values.insert(key.into(), value);
            }
        }
        log.progress("archive_progress", &line, values);
    }
}

/// Prints what was asked for about a new archive.
pub(super) fn tell(
    session: &Session,
    arguments: &Arguments,
    archives: &Archives,
    name: &str,
    statistics: &borg::Statistics,
) -> Result<(), Failure> {
    let is_json = arguments.has("json");
    let is_quick = arguments.has("quick_stats");
    if !is_json && !is_quick && !arguments.has("stats") {
        return Ok(());
    }
    let (archive, id, _) = archives.archive_with_tam(name.as_bytes())?;
    let info = match is_quick {
        true => None,
        false => {
            let chunks = archives.chunks(session.host())?;
            let info = archives.repository_info_with(&chunks)?;
            Some(info)
        }
    };
    let told = Told {
        archive: &archive,
        id,
        totals: statistics.totals,
        unique_csize: statistics.unique_csize,
        object_size: archives.read(&id)?.len() as u64,
    };
    if is_json {
        let mut data = stats::repository_json(archives);
        data.insert("archive".into(), told.json(false));
        if let Some(info) = &info {
            data.insert("cache".into(), stats::cache_json(session, archives, info));
        }
        return stats::print_json(&Value::Object(data));
    }
    let mut lines = vec![
        dashes(),
        told.summary(&archives.backend().location().to_string()),
        dashes(),
        stats::HEADER.to_owned(),
        told.row(session),
    ];
    lines.extend(info.map(|info| stats::repository_rows(session, &info)));
    lines.push(dashes());
    for line in lines {
        session.log.requested("borg.output.stats", &line);
    }
    Ok(())
}

/// The number of an inode on its file system.
fn inode(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}
