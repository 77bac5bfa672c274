//! `borg upgrade`: authentication of manifests and archives of old programs.

use borg::{Access, Archives, Tam, Trust};
use bstr::{BString, ByteSlice};

use super::arguments::Arguments;
use super::fail::Failure;
use super::print;
use super::session::Session;
use super::text;

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let spot = session.repository(arguments)?;
    let has = |name| arguments.has(name);
    let is_about_manifest = has("tam") || has("check_tam") || has("disable_tam");
    if !is_about_manifest && !has("archives_tam") && !has("check_archives_tam") {
        return Err(Failure::command(
            "Repositories of Borg's ancestor and of Borg 0.xx are not read here. Say what is to be done: --tam, --check-tam, --disable-tam, --archives-tam or --check-archives-tam.",
        ));
    }
    // What is to be authenticated may not be yet.
    let is_lenient = has("disable_tam") || has("check_tam") || has("tam") && has("force");
    let options = session.options(Access::Write);
    let mut archives = session.asking(&spot, |passphrase, trust| {
        let trust = Trust {
            unauthenticated: is_lenient,
            ..trust
        };
        Archives::open(&spot.location, &session.home, &options, passphrase, trust)
    })?;
    let passphrase = session.used_passphrase();
    if has("check_tam") {
        let state = match archives.is_manifest_authentic() {
            true => "verified",
            false => "none",
        };
        return print(format!("Manifest TAM: {state}\n").as_bytes());
    }
    if has("check_archives_tam") {
        return tell_archives(&archives);
    }
    if has("tam") {
        archives.require_authentication(true, &passphrase, session.now)?;
        session
            .log
            .info("The manifest is authenticated, and only such a one is accepted from now on.");
    } else if has("disable_tam") {
        archives.require_authentication(false, &passphrase, session.now)?;
        session
            .log
            .info("A manifest that is not authenticated is accepted from now on.");
    }
    if has("archives_tam") {
        let names: Vec<BString> = archives
            .list()
            .into_iter()
            .map(|(name, _)| name.into())
            .collect();
        for name in names {
            session.go_on()?;
            let (_, _, tam) = archives.archive_with_tam(&name)?;
            if tam == Tam::Absent {
                archives.authenticate(name.as_bstr(), session.host(), session.now)?;
                session
                    .log
                    .info(&format!("Added TAM to archive {}", text::path(&name)));
            }
        }
    }
    Ok(())
}

fn tell_archives(archives: &Archives) -> Result<(), Failure> {
    let mut lines = String::new();
    for (name, _) in archives.list() {
        let (_, _, tam) = archives.archive_with_tam(name)?;
        let state = if tam == Tam::Absent {
            "none"
        } else {
            "verified"
        };
        lines.push_str(&format!("TAM: {state:<10} Archive: {}\n", text::path(name)));
    }
    print(lines.as_bytes())
}
