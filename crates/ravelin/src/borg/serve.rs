//! `borg serve`: what stands at the other end of SSH.
//!
//! Called through a forced command in `authorized_keys`, what the client may do stands in that
//! command alone. The client's own command line, which `sshd` hands on in
//! `SSH_ORIGINAL_COMMAND`, could only choose how much is logged: it is not read at all.

use std::env;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use borg::ServeOptions;

use super::arguments::Arguments;
use super::fail::Failure;
use super::init::quota;
use super::session::Session;

pub(crate) fn run(session: &Session, arguments: &Arguments) -> Result<(), Failure> {
    let paths = |name| arguments.all(name).iter().map(PathBuf::from).collect();
    let options = ServeOptions {
        restrict_to_paths: paths("restrict_to_paths"),
        restrict_to_repositories: paths("restrict_to_repositories"),
        append_only: arguments.has("append_only"),
        storage_quota: arguments.read("storage_quota", quota)?,
        umask: session.umask,
        severity: session.log.severity(),
        host: session.host().clone(),
        home_directory: env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
        now: || engine::clock::system().timestamp(),
    };
    // The plain pipes: standard output of the library would look for line ends in what is sent.
    let pipe = |pipe: &dyn AsFd| pipe.as_fd().try_clone_to_owned().map(File::from);
    let input = pipe(&std::io::stdin())?;
    let answers = pipe(&std::io::stdout())?;
    Ok(borg::serve(&options, input, answers, std::io::stderr())?)
}
