//! `ravelin completions`

use clap::CommandFactory;

use super::{Ended, Session};
use crate::cli::{Cli, Completions};
use crate::exit::Exit;

pub(crate) fn run(arguments: &Completions, session: &Session<'_>) -> Result<Exit, Ended> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "ravelin", &mut script);
    session.output.data(&script)?;
    Ok(Exit::Good)
}
