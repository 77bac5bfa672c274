//! `borg info`

use borg::{Access, Archives, Chunks};
use bstr::{BString, ByteSlice};
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::fail::Failure;
use super::pick::Pick;
use super::print;
use super::session::Session;
use super::stats::{self, Told, dashes};

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.spot(arguments)?;
    let pick = Pick::of(session, arguments)?.with_checkpoints();
    let is_picked = Pick::is_asked_for(arguments);
    if is_picked && spot.archive.is_some() {
        return Err(Failure::command(
            "The options --first, --last, --prefix, and --glob-archives can only be used on repository targets.",
        ));
    }
    let is_json = arguments.has("json");
    let archives = session.open(&spot, Access::Read)?;
    let chunks = archives.chunks(session.host())?;
    let names: Option<Vec<BString>> = match &spot.archive {
        Some(name) => {
            if !archives
                .manifest()
                .archives
                .contains_key(name.as_bytes().as_bstr())
            {
                return Err(Failure::no_archive(name));
            }
            Some(vec![name.as_str().into()])
        }
        None if is_picked => {
            let chosen = pick.choose(&archives).into_iter();
            Some(chosen.map(|(name, _)| name).collect())
        }
        None => None,
    };
    match names {
        Some(names) => about_archives(session, &archives, &chunks, &names, is_json),
        None => about_repository(session, &archives, &chunks, is_json),
    }
}

fn about_archives(
    session: &Session,
    archives: &Archives,
    chunks: &Chunks,
    names: &[BString],
    is_json: bool,
) -> Result<(), Failure> {
    let repository = archives.repository_info_with(chunks)?;
    let mut list = Vec::new();
    for (index, name) in names.iter().enumerate() {
        session.go_on()?;
        let info = archives.archive_info_with(name.as_bstr(), chunks)?;
        let told = Told {
            archive: &info.archive,
            id: info.id,
            totals: info.totals,
            unique_csize: info.unique_csize,
            object_size: info.object_size,
        };
        if is_json {
            list.push(told.json(true));
            continue;
        }
        let mut text = told.description();
        for line in [dashes(), stats::HEADER.to_owned(), told.row(session)] {
            text.push('\n');
            text.push_str(&line);
        }
        text.push('\n');
        text.push_str(&stats::repository_rows(session, &repository));
        text.push('\n');
        if index + 1 < names.len() {
            text.push('\n');
        }
        print(text.as_bytes())?;
    }
    if !is_json {
        return Ok(());
    }
    let mut data = stats::repository_json(archives);
    data.insert(
        "cache".into(),
        stats::cache_json(session, archives, &repository),
    );
    data.insert("archives".into(), list.into());
    stats::print_json(&Value::Object(data))
}

fn about_repository(
    session: &Session,
    archives: &Archives,
    chunks: &Chunks,
    is_json: bool,
) -> Result<(), Failure> {
    let info = archives.repository_info_with(chunks)?;
    let id = archives.backend().id();
    let security = session.home.security_of(&id);
    let cache = session.home.cache_of(&id);
    if is_json {
        let mut data = stats::repository_json(archives);
        data.insert("cache".into(), stats::cache_json(session, archives, &info));
        let security = security.display().to_string();
        data.insert("security_dir".into(), json!(security));
        return stats::print_json(&Value::Object(data));
    }
    let encryption = archives.encryption();
    let mut text = format!(
        "Repository ID: {id}\nLocation: {}\n",
        archives.backend().location()
    );
    let encrypted = match encryption.encrypts() {
        true => format!("Yes ({})", stats::key_name(encryption)),
        false => "No".to_owned(),
    };
    text.push_str(&format!("Encrypted: {encrypted}\n"));
    if let Some(file) = archives.key_file() {
        text.push_str(&format!("Key file: {}\n", file.display()));
    }
    text.push_str(&format!(
        "Cache: {}\nSecurity dir: {}\n{}\n{}\n{}\n",
        cache.display(),
        security.display(),
        dashes(),
        stats::HEADER,
        stats::repository_rows(session, &info)
    ));
    if let Some(repository) = archives.backend().local()
        && repository.storage_quota() > 0
    {
        let quota = super::text::size(repository.storage_quota(), session.iec);
        text.push_str(&format!("Storage quota: {quota}\n"));
    }
    print(text.as_bytes())
}
