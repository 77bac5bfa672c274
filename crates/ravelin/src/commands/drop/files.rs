//! The files of a drop folder and their versions.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use ::drop::{Error, Folder, Rule, Version};
use serde::Serialize;
use store::Name;

use super::times::{self, Way};
use super::{
    Ended, Place, Session, VersionRecord, modified, problem_records, system_time, tell_problems,
    typed,
};
use crate::exit::Exit;
use crate::human;
use crate::table::{Align, table};

pub(super) fn init(place: &Place, session: &Session<'_>) -> Result<Exit, Ended> {
    let mut folder = match Folder::open(
        &place.location,
        &place.environment,
        &place.device,
        Some(&place.state),
    )? {
        Some(folder) => folder,
        None => {
            let store = store::open(&place.location, &place.environment).map_err(Error::from)?;
            Folder::create(&*store, &place.environment)?;
            place.open()?
        }
    };
    let ignore = ::drop::Ignore::parse("")?;
    let adopted = folder.adopt(Place::now(session), &|name| {
        ignore.is_ignored(name.as_str())
    })?;
    folder.save()?;
    if session.output.json {
        return session.answer(&serde_json::json!({
            "store": place.written,
            "adopted": adopted.iter().map(Name::as_str).collect::<Vec<_>>(),
        }));
    }
    let count = human::count(adopted.len() as u64, "file");
    session.output.tell(&format!(
        "{} is a drop folder; {count} taken in",
        place.written
    ));
    Ok(Exit::Good)
}

pub(super) fn put(
    place: &Place,
    files: &[PathBuf],
    to: Option<&str>,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    let mut pairs = Vec::new();
    for file in files {
        let absolute = std::path::absolute(file)?;
        let name = absolute.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::BadName {
            name: file.display().to_string(),
            source: store::BadName::NotUtf8,
        })?;
        let prefix = to
            .map(|to| to.trim_matches('/'))
            .filter(|to| !to.is_empty());
        let name = prefix.map_or_else(|| name.to_owned(), |to| format!("{to}/{name}"));
        collect(file, &name, &mut pairs)?;
    }
    let mut put = Vec::new();
    for (file, name) in pairs {
        if session.stop.is_requested() {
            return Err(Error::Stopped.into());
        }
        let name = typed(&name)?;
        let now = Place::now(session);
        let version = folder.put(&name, File::open(&file)?, modified(&file)?, now)?;
        session
            .output
            .tell(&format!("{} → {name}, version {version}", file.display()));
        put.push(serde_json::json!({"path": name.as_str(), "version": version.as_str()}));
    }
    folder.save()?;
    if session.output.json {
        session.output.json(&put)?;
    }
    Ok(tell_problems(&folder.take_problems(), session))
}

/// The files below a path, each with its name there. Links are not followed.
fn collect(path: &Path, name: &str, pairs: &mut Vec<(PathBuf, String)>) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_file() {
        pairs.push((path.to_owned(), name.to_owned()));
        return Ok(());
    }
    if !kind.is_dir() {
        let text = format!("{} is neither a file nor a folder", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let below = entry.file_name();
        let text = below.to_str().ok_or_else(|| {
            let text = format!("{} has a name that is not UTF-8", entry.path().display());
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })?;
        let kind = entry.file_type()?;
        if kind.is_dir() || kind.is_file() {
            collect(&entry.path(), &format!("{name}/{text}"), pairs)?;
        }
    }
    Ok(())
}

fn find(folder: &mut Folder, path: &str, version: Option<&str>) -> Result<Version, Ended> {
    let name = typed(path)?;
    match version {
        None => Ok(folder.present(&name).ok_or(Error::NoFile { name })?),
        Some(version) => {
            let id = version.parse().map_err(|_| Error::Unsupported {
                what: "that is not the name of a version: `ravelin drop history PATH` lists them",
            })?;
            Ok(folder.version(&name, &id)?)
        }
    }
}

pub(super) fn get(
    place: &Place,
    path: &str,
    version: Option<&str>,
    to: Option<&Path>,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    let version = find(&mut folder, path, version)?;
    let Some(to) = to else {
        let mut body = folder.read(&version)?;
        let mut out = session.output.writer();
        copy(&mut body, &mut out, &version.path)?;
        out.flush()?;
        return Ok(Exit::Good);
    };
    let target = if to.is_dir() {
        to.join(version.path.file_name())
    } else {
        to.to_owned()
    };
    fetch(&mut folder, &version, &target)?;
    session
        .output
        .tell(&format!("{} → {}", version.path, target.display()));
    Ok(Exit::Good)
}

/// Copies, and tells an error of the store from one of the output.
fn copy(body: &mut impl Read, out: &mut impl Write, name: &Name) -> Result<(), Ended> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = body.read(&mut buffer).map_err(|error| {
            Error::Store(store::Error::from_io(error, store::Operation::Read, name))
        })?;
        if count == 0 {
            return Ok(());
        }
        out.write_all(buffer.get(..count).unwrap_or_default())?;
    }
}

/// Puts a version into a new file of this machine: beside it first, under its name when it is whole.
fn fetch(folder: &mut Folder, version: &Version, target: &Path) -> Result<(), Ended> {
    let local = |action: &'static str| {
        let path = target.to_owned();
        move |source| {
            Ended::Drop(Error::Local {
                action,
                path,
                source,
            })
        }
    };
    if let Some(above) = target.parent() {
        fs::create_dir_all(above).map_err(local("create the folder of"))?;
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let part = target.with_file_name(format!(".ravelin-part-{}-{name}", std::process::id()));
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&part)
            .map_err(local("write"))?;
        let mut body = folder.read(version)?;
        copy(&mut body, &mut file, &version.path)?;
        if let Some(content) = version.content() {
            file.set_modified(system_time(content.modified))
                .map_err(local("write"))?;
        }
        file.sync_all().map_err(local("write"))?;
        // A hard link never replaces what stands there.
        fs::hard_link(&part, target).map_err(local("write"))
    })();
    // What is left of it is of no use to anybody.
    let _ = fs::remove_file(&part);
    result
}

#[derive(Serialize)]
struct Files<'a> {
    store: &'a str,
    files: Vec<VersionRecord>,
}

pub(super) fn ls(place: &Place, path: Option<&str>, session: &Session<'_>) -> Result<Exit, Ended> {
    let folder = place.open()?;
    let below = path.map(typed).transpose()?;
    let prefix = below.as_ref().map(|name| format!("{name}/"));
    let versions: Vec<Version> = folder
        .list()
        .into_iter()
        .filter(|version| match (&below, &prefix) {
            (Some(name), Some(prefix)) => {
                version.path == *name || version.path.as_str().starts_with(prefix)
            }
            _ => true,
        })
        .collect();
    if let Some(name) = below
        && versions.is_empty()
    {
        return Err(Error::NoFile { name }.into());
    }
    show(place, &versions, false, session)
}

/// Shows versions, the oldest first; with `of_one` those of one file.
fn show(
    place: &Place,
    versions: &[Version],
    of_one: bool,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    if session.output.json {
        return session.answer(&Files {
            store: &place.written,
            files: versions.iter().map(VersionRecord::from).collect(),
        });
    }
    let columns = [
        ("TIME", Align::Left),
        ("SIZE", Align::Right),
        ("VERSION", Align::Left),
        (if of_one { "BY" } else { "FILE" }, Align::Left),
    ];
    let rows: Vec<Vec<String>> = versions
        .iter()
        .map(|version| {
            let size = match version.content() {
                Some(content) => human::size(content.size),
                None => "deleted".to_owned(),
            };
            let device = version.device.as_ref().map(ToString::to_string);
            let mut last = if of_one {
                device.unwrap_or_default()
            } else {
                version.path.as_str().escape_debug().to_string()
            };
            if version.lost {
                last.push_str(" (another device was faster)");
            }
            vec![
                human::time(version.at, &session.zone),
                size,
                version.id.to_string(),
                last,
            ]
        })
        .collect();
    session.output.data(table(&columns, &rows).as_bytes())?;
    Ok(Exit::Good)
}

pub(super) fn history(place: &Place, path: &str, session: &Session<'_>) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    let versions = folder.history(&typed(path)?)?;
    show(place, &versions, true, session)
}

pub(super) fn restore(
    place: &Place,
    path: &str,
    version: Option<&str>,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    let name = typed(path)?;
    let version = match version {
        Some(version) => find(&mut folder, path, Some(version))?,
        None if folder.present(&name).is_some() => {
            return Err(Ended::Drop(Error::Unsupported {
                what: "the file is there: name the version to go back to with `--version`",
            }));
        }
        None => folder.last_content(&name)?,
    };
    bring_back(&mut folder, &version, session)?;
    folder.save()?;
    Ok(tell_problems(&folder.take_problems(), session))
}

fn bring_back(folder: &mut Folder, version: &Version, session: &Session<'_>) -> Result<(), Ended> {
    let new = folder.restore(version, Place::now(session))?;
    if session.output.json {
        session.output.json(&serde_json::json!({
            "path": version.path.as_str(),
            "restored": version.id.as_str(),
            "version": new.as_str(),
        }))?;
    }
    let text = format!(
        "{} is as in version {}; this is {new}",
        version.path, version.id
    );
    session.output.tell(&text);
    Ok(())
}

pub(super) fn rm(place: &Place, paths: &[String], session: &Session<'_>) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    for path in paths {
        let name = typed(path)?;
        folder.remove(&name, Place::now(session))?;
        session.output.tell(&format!(
            "{name} is deleted; `ravelin drop restore` brings it back"
        ));
    }
    folder.save()?;
    Ok(tell_problems(&folder.take_problems(), session))
}

pub(super) fn deleted(
    place: &Place,
    restore: &[String],
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    if restore.is_empty() {
        let versions = folder.deleted()?;
        return show(place, &versions, false, session);
    }
    for path in restore {
        let name = typed(path)?;
        if folder.present(&name).is_none() {
            let version = folder.last_content(&name)?;
            bring_back(&mut folder, &version, session)?;
        }
    }
    folder.save()?;
    Ok(tell_problems(&folder.take_problems(), session))
}

pub(super) fn as_of(
    place: &Place,
    time: &str,
    to: Option<&Path>,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    let versions = folder.as_of(times::parse(time, Way::Ago, session)?)?;
    let Some(to) = to else {
        return show(place, &versions, false, session);
    };
    let is_empty = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error.into()),
    };
    if !is_empty {
        return Err(Ended::Drop(Error::Unsupported {
            what: "the folder to copy into is not empty",
        }));
    }
    for version in &versions {
        if session.stop.is_requested() {
            return Err(Error::Stopped.into());
        }
        // A name of the store is checked: it cannot lead out of the folder, which is ours.
        fetch(&mut folder, version, &to.join(version.path.as_str()))?;
    }
    let count = human::count(versions.len() as u64, "file");
    session.output.tell(&format!("{count} → {}", to.display()));
    Ok(Exit::Good)
}

pub(super) fn thin(
    place: &Place,
    rule: &str,
    dry_run: bool,
    session: &Session<'_>,
) -> Result<Exit, Ended> {
    let rule: Rule = rule.parse()?;
    let mut folder = place.open()?;
    let now = Place::now(session);
    let plan = folder.thin_plan(&rule, now)?;
    if dry_run {
        return show(place, &plan.versions, false, session);
    }
    let thinned = folder.thin(&plan, now)?;
    folder.save()?;
    if session.output.json {
        return session
            .answer(&serde_json::json!({"versions": thinned.versions, "bytes": thinned.bytes}));
    }
    session.output.tell(&format!(
        "{} let go, {} freed",
        human::count(thinned.versions, "version"),
        human::size(thinned.bytes)
    ));
    Ok(Exit::Good)
}

pub(super) fn verify(place: &Place, session: &Session<'_>) -> Result<Exit, Ended> {
    let mut folder = place.open()?;
    let problems = folder.verify()?;
    if session.output.json {
        session
            .output
            .json(&serde_json::json!({"problems": problem_records(&problems)}))?;
    }
    if problems.is_empty() {
        session.output.tell("every kept copy is what was stored");
        return Ok(Exit::Good);
    }
    tell_problems(&problems, session);
    Ok(Exit::Failed)
}
