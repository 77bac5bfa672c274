//! Borg's own command line, as far as this program speaks it.

mod serve;

use crate::cli::Borg;
use crate::exit::Exit;
use crate::output::Output;

/// Does what the command line says.
pub(crate) fn run(command: &Borg, output: Output) -> Exit {
    match command {
        Borg::Serve(arguments) => serve::run(arguments, output),
    }
}
