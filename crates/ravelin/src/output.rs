//! Data goes to stdout, people's text to stderr.

use std::borrow::Cow;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use engine::Explanation;
use serde::Serialize;

use crate::paint::{self, Tone, paint};

/// How the program speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Data as JSON.
    pub(crate) json: bool,
    /// Good news are told too.
    pub(crate) talkative: bool,
    /// A person watches: progress is drawn.
    pub(crate) draws: bool,
    /// A person looks at the data, and no program reads them.
    pub(crate) is_looked_at: bool,
    /// Data get colours.
    pub(crate) colours: bool,
    /// What a person has to know gets colours.
    colours_of_news: bool,
}

impl Output {
    /// Good news are told to a person at a terminal, and to nobody else: cron sends mail about
    /// every line. `--verbose` tells them always, `--quiet` never.
    pub(crate) fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        let watched = io::stderr().is_terminal();
        Self {
            json,
            talkative: !quiet && (verbose || watched),
            draws: !quiet && watched,
            is_looked_at: io::stdout().is_terminal(),
            colours: paint::wanted(io::stdout().is_terminal()),
            colours_of_news: paint::wanted(watched),
        }
    }

    /// Writes a JSON document on one line.
    pub(crate) fn json(self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.data(&line)
    }

    /// Writes data as it is.
    #[expect(
        clippy::unused_self,
        reason = "all that is said goes through one value"
    )]
    pub(crate) fn data(self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    /// A writer for data that comes in pieces. It has to be flushed.
    #[expect(
        clippy::unused_self,
        reason = "all that is said goes through one value"
    )]
    pub(crate) fn writer(self) -> BufWriter<StdoutLock<'static>> {
        BufWriter::with_capacity(1 << 16, io::stdout().lock())
    }

    /// Tells good news.
    pub(crate) fn tell(self, text: &str) {
        if self.talkative {
            self.say(text);
        }
    }

    /// Says what a person has to know.
    ///
    /// When stderr is gone there is nobody to tell, and the work goes on.
    #[expect(
        clippy::unused_self,
        reason = "all that is said goes through one value"
    )]
    pub(crate) fn say(self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{}", harmless(text));
    }

    /// Says what went wrong, why, and what to do now.
    pub(crate) fn explain(self, headline: &str, explanation: &Explanation) {
        let error = paint("error:", Tone::Bad, self.colours_of_news);
        self.say(&format!("{error} {headline} [{}]", explanation.code));
        for cause in &explanation.because {
            let cause = cause.replace('\n', "\n           ");
            self.say(&format!("  because: {cause}"));
        }
        self.say(&format!("  next: {}", explanation.next));
    }
}

/// Names come from outside: what would steer the terminal is shown instead. Colours stay.
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |sign: char| sign.is_control() && !matches!(sign, '\n' | '\t');
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for (at, sign) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        match steers(sign) && !is_colour(rest) {
            true => shown.extend(sign.escape_debug()),
            false => shown.push(sign),
        }
    }
    Cow::Owned(shown)
}

/// Whether a text begins with a sequence that does no more than colour.
fn is_colour(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("\u{1b}[") else {
        return false;
    };
    rest.trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == ';')
        .starts_with('m')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_steers_the_terminal() {
        assert_eq!(harmless("a\tb\nü"), "a\tb\nü");
        assert_eq!(harmless("\u{1b}[31mred\u{7}"), "\u{1b}[31mred\\u{7}");
        assert_eq!(harmless("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
    }
}
