//! Backups in several independent layers: the program for the terminal.
//!
//! This crate reads a person's flags, looks at the environment and the clock, draws, prints and
//! picks the exit code. What it prints was found out by [`engine`].

mod ask;
mod background;
mod borg;
mod cli;
mod commands;
mod duplicity;
mod exit;
mod human;
mod import;
mod interrupt;
mod json;
mod listener;
mod memory;
mod output;
mod paint;
mod progress;
mod rest;
mod spark;
mod table;

use std::env;
use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use clap::error::ErrorKind;
use engine::{Machine, Places};
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use cli::{Cli, Command, Common};
use commands::{Ended, Session};
use exit::Exit;
use output::Output;

fn main() -> ExitCode {
    memory::give_back_at_once();
    let words: Vec<OsString> = env::args_os().collect();
    if let Some(typed) = borg::typed(&words) {
        keep_to_ourselves();
        let program = words.first().cloned().unwrap_or_default();
        return borg::main(typed, program);
    }
    if let Some(arguments) = duplicity::arguments(&words) {
        return as_duplicity(arguments);
    }
    let cli = match Cli::try_parse_from(cli::meant(words)) {
        Ok(cli) => cli,
        Err(mut error) => {
            cli::elsewhere::advise(&mut error);
            let is_answer = matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            );
            // Nobody is left to hear that the answer could not be printed.
            let _ = error.print();
            return if is_answer { Exit::Good } else { Exit::Usage }.into();
        }
    };
    if let Command::Duplicity(stock) = &cli.command {
        return as_duplicity(stock.words.clone());
    }
    let Common {
        json,
        quiet,
        verbose,
        ..
    } = cli.common;
    let output = Output::new(json, quiet, verbose);
    keep_to_ourselves();
    match act(&cli, output) {
        Ok(exit) => exit,
        Err(Ended::Engine(error)) => {
            let explanation = engine::explain(&error);
            output.explain("this could not be done", &explanation);
            Exit::of_code(explanation.code)
        }
        Err(Ended::Drop(error)) => {
            let explanation = engine::explain_drop(&error);
            output.explain("this could not be done", &explanation);
            Exit::of_code(explanation.code)
        }
        // Who reads our output has seen enough.
        Err(Ended::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Good,
        Err(Ended::Output(error)) => {
            output.say(&format!("error: cannot write the output: {error}"));
            Exit::Failed
        }
    }
    .into()
}

/// Speaks duplicity's command line, which knows nothing of ours.
fn as_duplicity(arguments: Vec<OsString>) -> ExitCode {
    keep_to_ourselves();
    match interrupt::listen().and_then(machine) {
        Ok(machine) => duplicity::run(arguments, &machine),
        Err(error) => {
            Output::new(false, false, false).say(&format!("error: {error}"));
            Exit::Failed.into()
        }
    }
}

fn act(cli: &Cli, output: Output) -> Result<Exit, Ended> {
    let machine = machine(interrupt::listen()?)?;
    let config_file = cli.common.config.clone();
    if let Command::Ui(arguments) = &cli.command {
        return commands::ui::run(arguments, config_file.as_deref(), machine, output);
    }
    let session = Session {
        config_file: config_file.unwrap_or_else(|| machine.places.config_file()),
        machine: &machine,
        output,
        stop: &machine.stop,
        zone: engine::clock::zone(),
    };
    commands::run(cli, &session)
}

/// What can be known of this machine by looking at it.
fn machine(stop: Arc<engine::Stop>) -> io::Result<Machine> {
    let no_home = || io::Error::other("cannot tell where the home directory is: HOME is not set");
    let home = env::home_dir()
        .filter(|home| home.is_absolute())
        .ok_or_else(no_home)?;
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy();
    let host = host
        .split('.')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or("localhost");
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    Ok(Machine {
        places: Places::from_environment(&home, |name| env::var_os(name)),
        host: host.to_owned(),
        user: user.map_or_else(|| uid.to_string(), |user| user.name),
        variable: Arc::new(|name: &str| env::var_os(name)),
        clock: Arc::new(engine::clock::system),
        surroundings: engine::Surroundings::system(),
        random: engine::random::system,
        stop,
    })
}

/// Passphrases and keys are in our memory: no core dump, no look inside by other programs of the
/// same user, and nothing that we create may be read by others unless it says so itself. As many
/// open files as we may have: a restore of many small ones needs some hundred.
fn keep_to_ourselves() {
    // Each is a second line of defence; where the system refuses, the first one still stands.
    let no_core = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, no_core);
    let mut files = rustix::process::getrlimit(Resource::Nofile);
    files.current = files.maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, files);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
}
