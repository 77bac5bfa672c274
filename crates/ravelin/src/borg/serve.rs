//! `ravelin borg serve`: what stands at the other end of SSH.
//!
//! Called through a forced command in `authorized_keys`, what the client may do stands in that
//! command alone. The client's own command line, which `sshd` hands on in
//! `SSH_ORIGINAL_COMMAND`, could only choose how much is logged: it is not read at all.

use std::env;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;

use borg::{Host, ServeOptions};
use rustix::fs::Mode;

use crate::cli::Serve;
use crate::exit::Exit;
use crate::output::Output;

pub(crate) fn run(arguments: &Serve, output: Output) -> Exit {
    rustix::process::umask(Mode::from_bits_truncate(arguments.umask));
    let host = match env::var("BORG_HOST_ID") {
        Ok(id) if !id.is_empty() => Host::named(id),
        _ => Host::this_machine(),
    };
    let options = ServeOptions {
        restrict_to_paths: arguments.restrict_to_paths.clone(),
        restrict_to_repositories: arguments.restrict_to_repositories.clone(),
        append_only: arguments.append_only,
        storage_quota: arguments.storage_quota,
        umask: arguments.umask,
        host,
        home_directory: env::home_dir().unwrap_or_else(|| PathBuf::from("/")),
        now: || engine::clock::system().timestamp(),
    };
    // The plain pipes: standard output of the library would look for line ends in what is sent.
    let pipe = |pipe: &dyn AsFd| pipe.as_fd().try_clone_to_owned().map(File::from);
    let pipes = pipe(&std::io::stdin()).and_then(|input| Ok((input, pipe(&std::io::stdout())?)));
    let served = match pipes {
        Ok((input, answers)) => borg::serve(&options, input, answers, std::io::stderr()),
        Err(source) => Err(borg::Error::Connection { source }),
    };
    match served {
        Ok(()) => Exit::Good,
        Err(error) => {
            output.say(&format!("error: {}", chain(&error)));
            Exit::Failed
        }
    }
}

/// An error and what it rests on.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
