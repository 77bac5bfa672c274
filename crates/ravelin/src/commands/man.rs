//! `ravelin man`

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};

use super::{Ended, Session};
use crate::cli::{Cli, Man};
use crate::exit::Exit;

pub(crate) fn run(arguments: &Man, session: &Session<'_>) -> Result<Exit, Ended> {
    let mut program = Cli::command();
    // Without it the flags that every command understands are missing below.
    program.build();
    match &arguments.to {
        None => {
            let mut page = Vec::new();
            page_of(program).render(&mut page)?;
            session.output.data(&page)?;
        }
        Some(folder) => {
            fs::create_dir_all(folder)?;
            write(folder, "ravelin", &program)?;
        }
    }
    Ok(Exit::Good)
}

/// Writes the page of a command, and of those below it.
fn write(folder: &Path, name: &str, command: &Command) -> io::Result<()> {
    let mut page = Vec::new();
    page_of(command.clone()).render(&mut page)?;
    fs::write(folder.join(format!("{name}.1")), page)?;
    let below = command
        .get_subcommands()
        .filter(|below| !below.is_hide_set());
    for below in below.filter(|below| below.get_name() != "help") {
        write(folder, &format!("{name}-{}", below.get_name()), below)?;
    }
    Ok(())
}

fn page_of(command: Command) -> clap_mangen::Man {
    let version = concat!("ravelin ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command)
        .source(version)
        .manual("Ravelin")
}
