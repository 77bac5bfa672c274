//! A question at the terminal whose answer is not shown.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::sys::termios::{self, LocalFlags, SetArg, SpecialCharacterIndices};
use zeroize::Zeroizing;

/// Longest answer that is read, in bytes.
const LENGTH_MAX: usize = 4096;

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;

/// Whom to ask.
#[derive(Debug)]
pub(crate) struct Terminal {
    input: File,
    output: File,
}

impl Terminal {
    /// The terminal that this program was started from, whatever its streams are.
    pub(crate) fn open() -> io::Result<Self> {
        let input = File::options().read(true).write(true).open("/dev/tty")?;
        let output = input.try_clone()?;
        Ok(Self { input, output })
    }

    /// Standard input and standard error, whatever they are.
    pub(crate) fn streams() -> io::Result<Self> {
        Ok(Self {
            input: io::stdin().as_fd().try_clone_to_owned()?.into(),
            output: io::stderr().as_fd().try_clone_to_owned()?.into(),
        })
    }

    /// Asks, and gives the line that was typed, without its end; `None` when nobody answers.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Interrupted`] when Ctrl-C was typed. The terminal is as it was then, too.
    pub(crate) fn ask_hidden(&mut self, prompt: &str) -> io::Result<Option<Zeroizing<String>>> {
        let before = termios::tcgetattr(&self.input).ok();
        if let Some(before) = &before {
            let mut silent = before.clone();
            // Ctrl-C is read like any other key: a process that it ended would leave a terminal
            // behind that shows nothing.
            silent
                .local_flags
                .remove(LocalFlags::ECHO | LocalFlags::ISIG);
            silent.control_chars[SpecialCharacterIndices::VEOL as usize] = INTERRUPT;
            // Where it cannot be silenced, it is asked all the same, as there is no other way.
            let _ = termios::tcsetattr(&self.input, SetArg::TCSADRAIN, &silent);
        }
        let asked = self
            .output
            .write_all(prompt.as_bytes())
            .and_then(|()| self.output.flush());
        let line = asked.and_then(|()| self.read_line(before.is_some()));
        if let Some(before) = &before {
            let _ = termios::tcsetattr(&self.input, SetArg::TCSADRAIN, before);
            let _ = self.output.write_all(b"\n");
        }
        line
    }

    /// One line, byte by byte: what comes behind it is for the next question.
    fn read_line(&mut self, is_terminal: bool) -> io::Result<Option<Zeroizing<String>>> {
        let mut line = Zeroizing::new(Vec::with_capacity(LENGTH_MAX));
        let mut byte = [0];
        while line.len() < LENGTH_MAX {
            match self.input.read(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(0) if line.is_empty() => return Ok(None),
                Ok(0) => break,
                Ok(_) if byte == *b"\n" => break,
                Ok(_) if is_terminal && byte == [INTERRUPT] => {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(_) => line.push(byte[0]),
            }
        }
        Ok(Some(Zeroizing::new(
            String::from_utf8_lossy(&line).into_owned(),
        )))
    }
}
