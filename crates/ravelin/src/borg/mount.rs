//! `borg mount` and `borg umount`

use std::env;
use std::path::Path;
use std::process::Command;

use borg::{Access, MountOptions, MountWhat};

use super::arguments::Arguments;
use super::fail::Failure;
use super::items::stripped;
use super::matcher::Matcher;
use super::pick::Pick;
use super::session::Session;
use crate::background::{self, Started};

/// Tells the program that it is the one in the background.
const IN_BACKGROUND: &str = "_RAVELIN_BORG_MOUNT";

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let point = Path::new(arguments.os("mountpoint").unwrap_or_default());
    if !point.is_dir() {
        return Err(Failure::command(format!(
            "{}: Mount point must be a writable directory",
            point.display()
        )));
    }
    let is_background = env::var_os(IN_BACKGROUND).is_some();
    if !is_background && !arguments.has("foreground") {
        return start_in_background(session);
    }
    let spot = session.spot(arguments)?;
    let options = options(arguments)?;
    let matcher = Matcher::of(arguments)?;
    let strip: usize = arguments.number("strip_components", 0)?;
    let pick = Pick::of(session, arguments)?;
    if spot.archive.is_some() && Pick::is_asked_for(arguments) {
        return Err(Failure::command(
            "The options --first, --last, --prefix, and --glob-archives can only be used on repository targets.",
        ));
    }
    let archives = session.open(&spot, Access::Read)?;
    let what = match &spot.archive {
        Some(name) => MountWhat::Archive(name.clone().into_bytes()),
        None => {
            let names = pick.choose(&archives).into_iter();
            let names = names.map(|(name, _)| name.into()).collect();
            match options.versions {
                true => MountWhat::Versions(names),
                false => MountWhat::Archives(names),
            }
        }
    };
    let mut mounting = MountOptions {
        allow_other: options.allow_other,
        allow_damaged: options.allow_damaged,
        uid: options.uid,
        gid: options.gid,
        umask: options.umask,
        ..MountOptions::default()
    };
    if !matcher.takes_all() || strip > 0 {
        let matcher = matcher.into_pure();
        mounting.select = Some(Box::new(move |path: &[u8]| {
            let is_wanted = matcher(path);
            is_wanted.then(|| stripped(&path.into(), strip)).flatten()
        }));
    }
    let mounted = borg::mount(archives, what, point, mounting)?;
    if is_background {
        background::ready()?;
    }
    mounted.wait(&|| session.signal().is_some())?;
    Ok(())
}

#[derive(Default)]
struct Options {
    allow_other: bool,
    allow_damaged: bool,
    versions: bool,
    uid: Option<u32>,
    gid: Option<u32>,
    umask: u32,
}

/// Reads what `-o` says.
fn options(arguments: &Arguments) -> Result<Options, Failure> {
    let mut options = Options::default();
    let text = arguments.text("options").unwrap_or_default();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let number = |radix| {
            u32::from_str_radix(value, radix)
                .map_err(|_| Failure::command(format!("mount option {name}: no number: {value}")))
        };
        match name {
            "uid" => options.uid = Some(number(10)?),
            "gid" => options.gid = Some(number(10)?),
            "umask" => options.umask = number(8)?,
            "allow_other" => options.allow_other = true,
            "allow_damaged_files" => options.allow_damaged = true,
            "versions" => options.versions = true,
            // What is so anyway, or what mount itself uses in fstab.
            "ignore_permissions"
            | "defer_permissions"
            | "default_permissions"
            | "ro"
            | "noauto"
            | "user"
            | "nofail"
            | "defaults"
            | "_netdev"
            | "allow_root" => {}
            other => {
                return Err(Failure::command(format!("unknown mount option: {other}")));
            }
        }
    }
    Ok(options)
}

fn start_in_background(session: &Session) -> Result<(), Failure> {
    let mut command = Command::new(env::current_exe()?);
    let words = session.words();
    command.arg("borg").args(words).env(IN_BACKGROUND, "1");
    if let Started::Ended(code) = background::start(&mut command)? {
        let code = code.and_then(|code| u8::try_from(code).ok());
        session.log.exit_with(code.unwrap_or(2));
    }
    Ok(())
}

pub(crate) fn unmount(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let point = Path::new(arguments.os("mountpoint").unwrap_or_default());
    let _ = session;
    borg::unmount(point)
        .map_err(|error| Failure::error(format!("cannot unmount {}: {error}", point.display())))
}
