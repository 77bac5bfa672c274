//! `borg export-tar` and `borg import-tar`

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use borg::{
    Access, ChunkerParams, FilesMemory, ImportOptions, Item, NewArchive, TarFilter, TarForm,
    export_tar, import_tar,
};
use bstr::ByteSlice;

use super::arguments::Arguments;
use super::create::{chunker_params, compression, tell};
use super::fail::Failure;
use super::items::stripped;
use super::log::Warning;
use super::matcher::Matcher;
use super::place::{hostname, placeholders, username};
use super::session::Session;
use super::stats;
use super::text;

/// Bytes that are written to the disk at once.
const BUFFER_SIZE: usize = 1 << 20;

/// How the bytes of the tar file are compressed.
enum Filter {
    /// By us.
    Known(TarFilter),
    /// By a program that was named.
    Program(String),
}

impl Filter {
    fn of(arguments: &Arguments, path: &Path) -> Self {
        match arguments.text("tar_filter").as_deref() {
            None | Some("auto") => Self::Known(TarFilter::of_name(path)),
            Some("") => Self::Known(TarFilter::Plain),
            Some(program) => Self::Program(program.to_owned()),
        }
    }
}

/// Starts a program between us and a file.
fn start(line: &str, input: Stdio, output: Stdio) -> Result<Child, Failure> {
    let words = shlex::split(line).unwrap_or_default();
    let (program, words) = words
        .split_first()
        .ok_or_else(|| Failure::usage(format!("argument --tar-filter: no program: '{line}'")))?;
    let child = Command::new(program)
        .args(words)
        .stdin(input)
        .stdout(output)
        .spawn();
    child.map_err(|error| Failure::error(format!("filter {program}: {error}")))
}

fn end(mut child: Child, line: &str) -> Result<(), Failure> {
    let status = child.wait()?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::error(format!("filter {line} failed: {status}"))),
    }
}

pub(crate) fn export(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let (spot, name) = session.archive(arguments)?;
    let matcher = Matcher::of(arguments)?;
    let strip: usize = arguments.number("strip_components", 0)?;
    let archives = session.open(&spot, Access::Read)?;
    let archive = archives.archive(name.as_bytes())?;
    let path = Path::new(arguments.os("tarfile").unwrap_or_default());
    let filter = Filter::of(arguments, path);
    let lists = arguments.has("list");
    let total = archive.totals.map_or(0, |totals| totals.nfiles);
    let mut done = 0;
    let select = |item: &mut Item| {
        if !matcher.matches(&item.path) {
            return false;
        }
        let Some(new_path) = stripped(&item.path, strip) else {
            return false;
        };
        if lists {
            session
                .log
                .requested("borg.output.list", &text::path(&item.path));
        }
        if item.chunks.is_some() {
            done += 1;
            session
                .log
                .percent("extract", "Exporting", done, total.max(done));
        }
        item.path = new_path;
        true
    };
    let work =
        |output: &mut dyn Write| export_tar(&archives, &archive, TarForm::Gnu, select, output);
    let is_stdout = path == Path::new("-");
    let file: Box<dyn Write> = match is_stdout {
        true => Box::new(io::stdout().lock()),
        false => Box::new(File::create(path).map_err(|error| Failure::file(path, &error))?),
    };
    let exported = match filter {
        Filter::Known(filter) => {
            let mut output = BufWriter::with_capacity(BUFFER_SIZE, file);
            filter.compress(&mut output, work).map_err(Failure::from)
        }
        Filter::Program(line) => {
            drop(file);
            let target = match is_stdout {
                true => Stdio::inherit(),
                false => Stdio::from(File::options().write(true).open(path)?),
            };
            let mut child = start(&line, Stdio::piped(), target)?;
            let mut input = child
                .stdin
                .take()
                .map(|stdin| BufWriter::with_capacity(BUFFER_SIZE, stdin));
            let exported = match &mut input {
                Some(input) => work(input).map_err(Failure::from),
                None => Err(Failure::error("the filter has no input")),
            };
            drop(input);
            end(child, &line)?;
            exported
        }
    };
    let exported = match exported {
        Ok(exported) => exported,
        Err(failure) => {
            if !is_stdout {
                // Half a tar file looks like one.
                fs::remove_file(path)?;
            }
            return Err(failure);
        }
    };
    for (path, why) in exported.left_out {
        session
            .log
            .warn(Warning::Backup, &format!("{}: {why}", text::path(&path)));
    }
    matcher.warn_of_unmatched(session);
    Ok(())
}

pub(crate) fn import(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    stats::only_one_kind(arguments)?;
    let (spot, name) = session.archive(arguments)?;
    let path = Path::new(arguments.os("tarfile").unwrap_or_default());
    let filter = Filter::of(arguments, path);
    let comment = arguments.text("comment").unwrap_or_default();
    let time = arguments.read("timestamp", text::timestamp)?;
    let new = NewArchive {
        comment: placeholders(&comment, session.now)?.into(),
        hostname: hostname().into(),
        username: username().into(),
        cmdline: session.cmdline.clone(),
        chunker_params: chunker_params(arguments)?.unwrap_or(ChunkerParams::DEFAULT),
        compression: compression(arguments)?.unwrap_or_default(),
        files: FilesMemory {
            mode: None,
            ..FilesMemory::default()
        },
        ..NewArchive::new(name.as_str(), time.unwrap_or(session.now))
    };
    let archives = session.open(&spot, Access::Write)?;
    if archives
        .manifest()
        .archives
        .contains_key(name.as_bytes().as_bstr())
    {
        return Err(Failure::archive_exists(&name));
    }
    let file: Box<dyn Read> = match path == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path).map_err(|error| Failure::file(path, &error))?),
    };
    let options = ImportOptions {
        ignore_zeros: arguments.has("ignore_zeros"),
    };
    let host = session.host();
    let (archives, imported) = match filter {
        Filter::Known(filter) => {
            let input = filter.decompress(BufReader::with_capacity(BUFFER_SIZE, file))?;
            import_tar(archives, new, host, options, input)?
        }
        Filter::Program(line) => {
            drop(file);
            let source = match path == Path::new("-") {
                true => Stdio::inherit(),
                false => Stdio::from(File::open(path)?),
            };
            let mut child = start(&line, source, Stdio::piped())?;
            let output = child.stdout.take();
            let output = output.ok_or_else(|| Failure::error("the filter has no output"))?;
            let imported = import_tar(archives, new, host, options, BufReader::new(output))?;
            end(child, &line)?;
            imported
        }
    };
    for (path, why) in &imported.left_out {
        session
            .log
            .warn(Warning::Backup, &format!("{}: {why}", text::path(path)));
    }
    if arguments.has("list") {
        let archive = archives.archive(name.as_bytes())?;
        let filter = arguments.text("filter");
        archives.items(&archive, |item| {
            let status = text::status_of_mode(item.mode);
            if filter.as_ref().is_none_or(|filter| filter.contains(status)) {
                session.log.file_status(status, &item.path);
            }
            Ok(())
        })?;
    }
    tell(session, arguments, &archives, &name, &imported.statistics)
}
