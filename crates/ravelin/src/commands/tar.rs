//! `ravelin tar export` and `ravelin tar import`

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use engine::Selection;
use engine::layer::{Access, Exported, NewSnapshot, Statistics, TarFilter, TarForm};
use serde::Serialize;
use tree::TreePath;

use super::{Ended, Session};
use crate::cli::{Filter, Form, Tar, TarExport, TarImport};
use crate::exit::Exit;
use crate::human;

/// Bytes that are written to the disk at once.
const BUFFER_SIZE: usize = 1 << 20;

pub(crate) fn run(which: &Tar, session: &Session<'_>) -> Result<Exit, Ended> {
    match which {
        Tar::Export(arguments) => export(arguments, session),
        Tar::Import(arguments) => import(arguments, session),
    }
}

#[derive(Serialize)]
struct ExportRecord {
    members: u64,
    bytes: u64,
    left_out: Vec<LeftOut>,
}

#[derive(Serialize)]
struct LeftOut {
    path: String,
    why: String,
}

impl LeftOut {
    fn of(left_out: &engine::layer::LeftOut) -> Vec<Self> {
        let left_out = left_out.iter();
        left_out
            .map(|(path, why)| Self {
                path: path.to_string(),
                why: why.clone(),
            })
            .collect()
    }
}

fn export(arguments: &TarExport, session: &Session<'_>) -> Result<Exit, Ended> {
    session.with_layer(&arguments.of, |opened| {
        let snapshot = opened.snapshot(&arguments.snapshot, &session.zone)?;
        let mut paths = Vec::new();
        for typed in &arguments.paths {
            paths.push(opened.path(&[&snapshot], Some(typed))?);
        }
        if paths.is_empty() {
            paths.push(TreePath::root());
        }
        let selection = Selection::in_place(paths);
        let form = match arguments.form {
            Form::Gnu => TarForm::Gnu,
            Form::Pax => TarForm::Pax,
            Form::Borg => TarForm::Borg,
        };
        let filter = filter_of(arguments.compress, &arguments.file);
        let mut work = |output: &mut dyn Write| {
            let mut failed = None;
            let exported = filter.compress(output, |output| {
                let exported = opened.layer.export_tar(&snapshot, form, &selection, output);
                exported.map_err(|error| {
                    failed = Some(error);
                    // Only to get out; the reason is the one above.
                    let source = io::Error::other("stopped");
                    borg::Error::Tar { source }
                })
            });
            exported.map_err(|error| failed.unwrap_or(engine::layer::Error::Borg(error)))
        };
        let is_stdout = arguments.file == Path::new("-");
        let exported = if is_stdout {
            let mut output = BufWriter::with_capacity(BUFFER_SIZE, session.output.writer());
            work(&mut output)
        } else {
            // A file that is there is somebody's.
            let file = File::create_new(&arguments.file)
                .map_err(|source| named("create", &arguments.file, source))?;
            let mut output = BufWriter::with_capacity(BUFFER_SIZE, file);
            let exported = work(&mut output).and_then(|exported| {
                let synced = output.flush().and_then(|()| output.get_ref().sync_all());
                let action = format!("write {}", arguments.file.display());
                match synced {
                    Ok(()) => Ok(exported),
                    Err(source) => Err(engine::layer::Error::Io { action, source }),
                }
            });
            if exported.is_err() {
                // Half a tar file looks like one.
                fs::remove_file(&arguments.file)?;
            }
            exported
        };
        let exported = opened.check(exported)?;
        tell(&exported, is_stdout, session)?;
        Ok(match exported.left_out.is_empty() {
            true => Exit::Good,
            false => Exit::Skipped,
        })
    })
}

fn tell(exported: &Exported, is_stdout: bool, session: &Session<'_>) -> io::Result<()> {
    let output = session.output;
    if output.json && !is_stdout {
        return output.json(&ExportRecord {
            members: exported.members,
            bytes: exported.bytes,
            left_out: LeftOut::of(&exported.left_out),
        });
    }
    say_left_out(&exported.left_out, session);
    output.tell(&format!(
        "{} objects, {}",
        exported.members,
        human::size(exported.bytes)
    ));
    Ok(())
}

fn say_left_out(left_out: &engine::layer::LeftOut, session: &Session<'_>) {
    for (path, why) in left_out {
        session.output.say(&format!("left out: {path}: {why}"));
    }
}

#[derive(Serialize)]
struct ImportRecord<'a> {
    snapshot: &'a str,
    #[serde(flatten)]
    statistics: Statistics,
    left_out: Vec<LeftOut>,
}

fn import(arguments: &TarImport, session: &Session<'_>) -> Result<Exit, Ended> {
    let config = session.config()?;
    let layer = engine::choose_layer(&config, arguments.of.layer.as_deref())?;
    let failed = engine::Error::of_layer(&layer.name);
    let machine = session.machine;
    let now = machine.now();
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => format!("{}-{}", machine.host, now.strftime("%Y-%m-%dT%H:%M:%S")),
    };
    let new = NewSnapshot {
        name,
        time: now.timestamp(),
        host: machine.host.clone(),
        user: machine.user.clone(),
        configuration: None,
    };
    let filter = filter_of(arguments.compress, &arguments.file);
    let input: Box<dyn Read> = match arguments.file == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(
            File::open(&arguments.file).map_err(|source| named("open", &arguments.file, source))?,
        ),
    };
    let input = filter.decompress(BufReader::with_capacity(BUFFER_SIZE, input))?;
    let mut input = BufReader::new(input);
    // A snapshot of nothing would look like a success. An error is told now: what decompresses says it
    // once, and that the input has ended from then on.
    match input.fill_buf() {
        Ok([]) => {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is empty");
            return Err(named("import", &arguments.file, source).into());
        }
        Ok(_) => {}
        Err(source) => {
            return Err(failed(engine::layer::Error::Borg(borg::Error::Tar { source })).into());
        }
    }
    let made = engine::layer::open(layer, Access::Write, machine)
        .and_then(|mut layer| layer.import_tar(&new, &mut input));
    let (statistics, left_out) = made.map_err(failed)?;
    if session.output.json {
        session.output.json(&ImportRecord {
            snapshot: &new.name,
            statistics,
            left_out: LeftOut::of(&left_out),
        })?;
    } else {
        say_left_out(&left_out, session);
        session.output.tell(&format!(
            "{}: {} files, {}",
            new.name,
            statistics.files,
            human::size(statistics.bytes)
        ));
    }
    Ok(match left_out.is_empty() {
        true => Exit::Good,
        false => Exit::Skipped,
    })
}

/// An error of the tar file.
fn named(action: &'static str, path: &Path, source: io::Error) -> engine::Error {
    engine::Error::File {
        action,
        path: path.into(),
        source,
    }
}

fn filter_of(asked: Filter, file: &Path) -> TarFilter {
    match asked {
        Filter::Auto => TarFilter::of_name(file),
        Filter::None => TarFilter::Plain,
        Filter::Gzip => TarFilter::Gzip,
        Filter::Zstd => TarFilter::Zstd,
        Filter::Xz => TarFilter::Xz,
        Filter::Lz4 => TarFilter::Lz4,
    }
}
